/*
 * Windows: aligned views of one file, so that it is never mapped whole.
 *
 * The file is cut into windows of window_bytes; each is mapped when first needed, with an overlap into the next
 * one, so that no stretch up to overlap_bytes straddles. A lookup takes no lock: a two-level table that never
 * moves. When the file has grown, the window at its old end is mapped anew and the old map stays until done,
 * because somebody may point into it.
 *
 * Invariants
 *  1. A window starts on a multiple of window_bytes and never moves while pinned.
 *  2. Nothing is mapped behind the end of the file, as it was when mapped.
 *
 * Not here: byte order, checksums, locking. Callers get plain bytes, read-only.
 */
#ifndef STELE_WINDOW_H
#define STELE_WINDOW_H

#include "bits.h"
#include "os.h"

#define STELE_WINDOW_TABLE_COUNT 4096u /* entries a level */
#define STELE_WINDOW_BYTES_MIN (UINT64_C(64) << 20)

/* One mapped window. */
struct stele_window {
    const uint8_t *bytes;
    uint64_t mapped_bytes; /* of the file: shorter than a window and its overlap where the file ended */
    struct stele_window *next; /* in stele_windows.all */
};

struct stele_windows {
    const struct stele_os_file *file;
    uint64_t window_bytes;  /* a power of two, at least 64 MiB */
    uint32_t window_shift;
    uint64_t overlap_bytes;
    struct stele_window **tables[STELE_WINDOW_TABLE_COUNT]; /* atomic; each of STELE_WINDOW_TABLE_COUNT */
    struct stele_window *all; /* every map ever made, for done */
    struct stele_os_mutex mutex; /* for making maps */
    uint64_t fork_count; /* a child does not inherit maps: the addresses may be others' there */
    bool is_ready;
};

struct stele_pin {
    const uint8_t *bytes;
    struct stele_window *window; /* NULL: nothing pinned */
};

/*
 * Make @windows of @file, which is about @file_bytes long, so that stretches up to @overlap_bytes never straddle.
 *
 * Owner:   @file outlives @windows; caller calls done
 */
int stele_windows_init(struct stele_windows *windows, const struct stele_os_file *file, uint64_t file_bytes,
                       uint64_t overlap_bytes);
void stele_windows_done(struct stele_windows *windows); /* unmaps; safe twice, and on a zeroed struct */

/* Whether the stretch can be pinned: it ends inside the window that it starts in, or inside that one's overlap. */
static inline bool stele_window_fits(const struct stele_windows *windows, uint64_t offset, uint64_t byte_count)
{
    uint64_t within = offset & (windows->window_bytes - 1);

    return byte_count <= windows->window_bytes + windows->overlap_bytes - within;
}

/* The slow path of stele_window_pin: map what is not mapped yet. */
int stele_window_pin_new(struct stele_windows *windows, uint64_t offset, size_t byte_count, struct stele_pin *out);

/*
 * Pin the @byte_count bytes from @offset and point @out at them.
 *
 * Shape:   0 < byte_count; it fits (stele_window_fits), as every byte_count <= overlap_bytes does
 * Errors:  STELE_E_TRUNCATED the file ends before; STELE_E_FULL address space; STELE_E_NOMEM
 * Owner:   caller unpins; out->bytes is dead from then on
 * Threads: any
 */
static inline int stele_window_pin(struct stele_windows *windows, uint64_t offset, size_t byte_count,
                                   struct stele_pin *out)
{
    uint64_t index = offset >> windows->window_shift;
    uint64_t within = offset & (windows->window_bytes - 1);
    struct stele_window **table;
    struct stele_window *window;

    if (index / STELE_WINDOW_TABLE_COUNT >= STELE_WINDOW_TABLE_COUNT)
        return stele_window_pin_new(windows, offset, byte_count, out);
    table = __atomic_load_n(&windows->tables[index / STELE_WINDOW_TABLE_COUNT], __ATOMIC_ACQUIRE);
    if (!table)
        return stele_window_pin_new(windows, offset, byte_count, out);
    window = __atomic_load_n(&table[index % STELE_WINDOW_TABLE_COUNT], __ATOMIC_ACQUIRE);
    if (!window || within + byte_count > window->mapped_bytes)
        return stele_window_pin_new(windows, offset, byte_count, out);
    out->bytes = window->bytes + within;
    out->window = window;
    return 0;
}

/* Safe twice, and on a zeroed struct. */
static inline void stele_window_unpin(struct stele_pin *pin)
{
    pin->bytes = NULL;
    pin->window = NULL;
}

/*
 * Map the @byte_count bytes from @offset for themselves alone; for views that no window holds.
 *
 * Shape:   0 < byte_count
 * Errors:  STELE_E_TRUNCATED the file ends before; STELE_E_FULL address space
 * Owner:   caller calls stele_window_unmap_alone with *@out_map and *@out_map_bytes
 */
int stele_window_map_alone(struct stele_windows *windows, uint64_t offset, uint64_t byte_count,
                           const uint8_t **out_bytes, void **out_map, size_t *out_map_bytes);
void stele_window_unmap_alone(void *map, size_t map_bytes);

/*
 * Map the @byte_count bytes of @file from @offset to stay where they are, also for storing if @is_writable: the live
 * region's words.
 *
 * Shape:   offset a multiple of 64 KiB; inside the file: the caller has checked its size
 * Errors:  STELE_E_FULL address space; STELE_E_IO
 * Owner:   caller calls stele_window_unmap_alone with *@out_map and @byte_count
 */
int stele_window_map_words(const struct stele_os_file *file, uint64_t offset, size_t byte_count, bool is_writable,
                           void **out_map);

#endif
