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

struct stele_window; /* one mapped window */

struct stele_windows {
    const struct stele_os_file *file;
    uint64_t window_bytes;  /* a power of two, at least 64 MiB */
    uint32_t window_shift;
    uint64_t overlap_bytes;
    struct stele_window **tables[STELE_WINDOW_TABLE_COUNT]; /* atomic; each of STELE_WINDOW_TABLE_COUNT */
    struct stele_window *all; /* every map ever made, for done */
    struct stele_os_mutex mutex; /* for making maps */
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

/*
 * Pin the @byte_count bytes from @offset and point @out at them.
 *
 * Shape:   byte_count <= overlap_bytes
 * Errors:  STELE_E_TRUNCATED the file ends before; STELE_E_FULL address space; STELE_E_NOMEM
 * Owner:   caller unpins; out->bytes is dead from then on
 * Threads: any
 */
int stele_window_pin(struct stele_windows *windows, uint64_t offset, size_t byte_count, struct stele_pin *out);
void stele_window_unpin(struct stele_pin *pin); /* safe twice, and on a zeroed struct */

/* Map a stretch of any length for itself alone; for views that no window holds. Owner: caller calls unmap. */
int stele_window_map_alone(struct stele_windows *windows, uint64_t offset, uint64_t byte_count,
                           const uint8_t **out_bytes, void **out_map, size_t *out_map_bytes);
void stele_window_unmap_alone(void *map, size_t map_bytes);

#endif
