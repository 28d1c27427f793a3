/*
 * The maps that the library has made and not taken away: functions of os.h have others in their place here, which keep
 * the list, refuse maps when they are told to, and end the test at a map of what is never to be mapped.
 *
 * A suite that includes this lists forbid, map and unmap in meson.build.
 */
#ifndef MAPS_H
#define MAPS_H

#include "format.h"
#include "scratch.h"
#include "wrap.h"

#include <pthread.h>

enum { MAPS_MAX = 4096 };

static struct map {
    const uint8_t *address;
    uint64_t offset, bytes;
    intptr_t handle; /* of the file */
    bool is_writable;
} maps[MAPS_MAX];
static size_t map_count;
static uint64_t mapped_bytes, mapped_bytes_most; /* without the live region */
static uint64_t refuse_above_bytes = UINT64_MAX; /* as if there were no addresses for more */
static unsigned refused_count;
static bool refuse_live_region, refuse_writable;
static uint64_t watch_first, watch_end; /* of files */
static unsigned watched_count; /* maps that began in that stretch */
static pthread_mutex_t maps_mutex = PTHREAD_MUTEX_INITIALIZER;

static bool is_live_region(const struct map *map)
{
    return map->offset == STELE_LIVE_OFFSET && map->bytes == STELE_LIVE_BYTES;
}

static inline void maps_reset(void)
{
    mapped_bytes_most = mapped_bytes;
    refuse_above_bytes = UINT64_MAX;
    refuse_live_region = refuse_writable = false;
    refused_count = 0;
    watch_first = watch_end = watched_count = 0;
}

static void maps_forget(const void *address, size_t byte_count)
{
    pthread_mutex_lock(&maps_mutex);
    for (size_t i = 0; i < map_count; i++) {
        if (maps[i].address != address)
            continue;
        REQUIRE(maps[i].bytes == byte_count);
        if (!is_live_region(&maps[i]))
            mapped_bytes -= byte_count;
        maps[i] = maps[--map_count];
        break;
    }
    pthread_mutex_unlock(&maps_mutex);
}

WRAPPED(int, stele_os_map, const struct stele_os_file *file, uint64_t offset, size_t byte_count, bool is_writable,
        bool is_random, void **out)
{
    struct map map = { .offset = offset, .bytes = byte_count, .handle = file->handle, .is_writable = is_writable };
    bool is_live = is_live_region(&map);
    int rc;

    pthread_mutex_lock(&maps_mutex);
    if (is_live ? refuse_live_region
                : mapped_bytes + byte_count > refuse_above_bytes || (refuse_writable && is_writable)) {
        refused_count++;
        pthread_mutex_unlock(&maps_mutex);
        return stele_fail(STELE_E_FULL, "no address space, says the test");
    }
    pthread_mutex_unlock(&maps_mutex);
    rc = REAL(stele_os_map)(file, offset, byte_count, is_writable, is_random, out);
    if (rc)
        return rc;
    map.address = *out;
    pthread_mutex_lock(&maps_mutex);
    REQUIRE(map_count < MAPS_MAX);
    maps[map_count++] = map;
    watched_count += offset >= watch_first && offset < watch_end;
    if (!is_live) {
        mapped_bytes += byte_count;
        if (mapped_bytes > mapped_bytes_most)
            mapped_bytes_most = mapped_bytes;
    }
    pthread_mutex_unlock(&maps_mutex);
    return rc;
}

WRAPPED(void, stele_os_forbid, void *address, size_t byte_count)
{
    maps_forget(address, byte_count);
    REAL(stele_os_forbid)(address, byte_count);
}

WRAPPED(void, stele_os_unmap, void *address, size_t byte_count)
{
    maps_forget(address, byte_count);
    REAL(stele_os_unmap)(address, byte_count);
}

#endif
