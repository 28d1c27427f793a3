#include "window.h"

#include "error.h"

#include <assert.h>
#include <stdlib.h>

int stele_windows_init(struct stele_windows *windows, const struct stele_os_file *file, uint64_t file_bytes,
                       uint64_t overlap_bytes)
{
    struct stele_windows fresh = { .file = file,
                                   .overlap_bytes = overlap_bytes,
                                   .window_bytes = STELE_WINDOW_BYTES_MIN,
                                   .fork_count = stele_os_fork_count() };
    int rc;

    /* One level of the table spans the file as it is, the other one 4096 times that: room to grow. */
    while (fresh.window_bytes < file_bytes / STELE_WINDOW_TABLE_COUNT)
        fresh.window_bytes *= 2;
    fresh.window_shift = (uint32_t)__builtin_ctzll(fresh.window_bytes);
    assert(overlap_bytes <= INT64_MAX - fresh.window_bytes);
    *windows = fresh;
    rc = stele_os_mutex_init(&windows->mutex);
    if (rc)
        return rc;
    windows->is_ready = true;
    return STELE_OK;
}

void stele_windows_done(struct stele_windows *windows)
{
    struct stele_window *window = windows->all;
    bool is_ours = windows->fork_count == stele_os_fork_count();

    if (!windows->is_ready)
        return;
    windows->is_ready = false;
    while (window) {
        struct stele_window *next = window->next;

        if (is_ours)
            stele_os_unmap((void *)(uintptr_t)window->bytes, (size_t)window->mapped_bytes);
        free(window);
        window = next;
    }
    windows->all = NULL;
    for (size_t i = 0; i < STELE_WINDOW_TABLE_COUNT; i++) {
        free(windows->tables[i]);
        windows->tables[i] = NULL;
    }
    /* The parent may have been mapping when it forked. */
    if (is_ours)
        stele_os_mutex_done(&windows->mutex);
}

/* Fail unless the file reaches to the end of the stretch now; *@out_file_bytes is where it ends. */
static int check_file_reaches(const struct stele_windows *windows, uint64_t offset, uint64_t byte_count,
                              uint64_t *out_file_bytes)
{
    struct stele_os_stat status = { 0 };
    uint64_t end;
    int rc = stele_os_stat(windows->file, &status);

    if (rc)
        return rc;
    if (!stele_add_fits(offset, byte_count, &end) || end > status.bytes) {
        rc = stele_fail(STELE_E_TRUNCATED,
                        "the file ends at byte %" PRIu64 ", before the %" PRIu64 " bytes at %" PRIu64
                        "; restore it from a backup",
                        status.bytes, byte_count, offset);
        stele_fail_at(offset);
        return rc;
    }
    *out_file_bytes = status.bytes;
    return STELE_OK;
}

/* Map window @index of a file of @file_bytes and put it in front of windows->all. */
static int window_new(struct stele_windows *windows, uint64_t index, uint64_t file_bytes,
                      struct stele_window **out)
{
    uint64_t offset = index << windows->window_shift;
    uint64_t byte_count = stele_min(windows->window_bytes + windows->overlap_bytes, file_bytes - offset);
    struct stele_window *window;
    void *map = NULL;
    int rc;

    if (byte_count > SIZE_MAX)
        return stele_fail(STELE_E_FULL,
                          "a window of %" PRIu64 " bytes does not fit the address space; use a 64-bit "
                          "program",
                          byte_count);
    window = malloc(sizeof(*window));
    if (!window)
        return stele_fail(STELE_E_NOMEM, "no memory to map one more window");
    rc = stele_os_map(windows->file, offset, (size_t)byte_count, false, true, &map);
    if (rc) {
        free(window);
        return rc;
    }
    *window = (struct stele_window){ .bytes = map, .mapped_bytes = byte_count, .next = windows->all };
    windows->all = window;
    *out = window;
    return STELE_OK;
}

/* Have the entry of window @index hold a map that reaches @needed_bytes into it. Under the mutex. */
static int entry_fill(struct stele_windows *windows, uint64_t index, uint64_t needed_bytes,
                      uint64_t file_bytes, struct stele_window **out)
{
    struct stele_window ***table = &windows->tables[index / STELE_WINDOW_TABLE_COUNT];
    struct stele_window **entry;
    int rc;

    if (!*table) {
        struct stele_window **fresh = calloc(STELE_WINDOW_TABLE_COUNT, sizeof(*fresh));

        if (!fresh)
            return stele_fail(STELE_E_NOMEM, "no memory for the table of windows");
        __atomic_store_n(table, fresh, __ATOMIC_RELEASE);
    }
    entry = &(*table)[index % STELE_WINDOW_TABLE_COUNT];
    *out = *entry;
    /* Another thread may have been here first. */
    if (*out && needed_bytes <= (*out)->mapped_bytes)
        return STELE_OK;
    rc = window_new(windows, index, file_bytes, out);
    if (rc)
        return rc;
    /* The map it replaces stays in windows->all: somebody may point into it. */
    __atomic_store_n(entry, *out, __ATOMIC_RELEASE);
    return STELE_OK;
}

int stele_window_pin_new(struct stele_windows *windows, uint64_t offset, size_t byte_count,
                         struct stele_pin *out)
{
    uint64_t index = offset >> windows->window_shift;
    uint64_t within = offset & (windows->window_bytes - 1);
    uint64_t file_bytes = 0;
    struct stele_window *window = NULL;
    int rc;

    assert(byte_count > 0 && stele_window_fits(windows, offset, byte_count));
    rc = check_file_reaches(windows, offset, byte_count, &file_bytes);
    if (rc)
        return rc;
    if (index / STELE_WINDOW_TABLE_COUNT >= STELE_WINDOW_TABLE_COUNT)
        return stele_fail(STELE_E_FULL,
                          "the store has grown more than %u times since it was opened; open it again",
                          STELE_WINDOW_TABLE_COUNT);
    stele_os_mutex_lock(&windows->mutex);
    rc = entry_fill(windows, index, within + byte_count, file_bytes, &window);
    stele_os_mutex_unlock(&windows->mutex);
    if (rc)
        return rc;
    out->bytes = window->bytes + within;
    out->window = window;
    return STELE_OK;
}

int stele_window_map_alone(struct stele_windows *windows, uint64_t offset, uint64_t byte_count,
                           const uint8_t **out_bytes, void **out_map, size_t *out_map_bytes)
{
    uint64_t start = stele_round_down(offset, stele_os_granularity());
    uint64_t map_bytes = byte_count + (offset - start);
    uint64_t file_bytes = 0;
    void *map = NULL;
    int rc;

    assert(byte_count > 0);
    rc = check_file_reaches(windows, offset, byte_count, &file_bytes);
    if (rc)
        return rc;
    if (map_bytes > SIZE_MAX)
        return stele_fail(STELE_E_FULL,
                          "a view of %" PRIu64 " bytes does not fit the address space; take several "
                          "smaller ones",
                          byte_count);
    rc = stele_os_map(windows->file, start, (size_t)map_bytes, false, true, &map);
    if (rc)
        return rc;
    *out_bytes = (const uint8_t *)map + (offset - start);
    *out_map = map;
    *out_map_bytes = (size_t)map_bytes;
    return STELE_OK;
}

void stele_window_unmap_alone(void *map, size_t map_bytes)
{
    stele_os_unmap(map, map_bytes);
}

int stele_window_map_words(const struct stele_os_file *file, uint64_t offset, size_t byte_count, bool is_writable,
                           void **out_map)
{
    return stele_os_map(file, offset, byte_count, is_writable, true, out_map);
}
