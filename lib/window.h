/*
 * Windows: aligned views of one file, so that it is never mapped whole.
 *
 * The file from first_offset on is cut into windows of window_bytes; each is mapped when first needed, with an overlap
 * into the next one, so that no stretch up to overlap_bytes straddles. When the file has grown, the window at its old
 * end is mapped anew and the old map stays while somebody may point into it.
 *
 * Without a budget every window stays mapped until done: a lookup takes no lock and changes nothing, a two-level table
 * that never moves, and a pin costs nothing. With one (window_pool.h) a pin holds its window, and of the others the
 * least recently used go when room is needed.
 *
 * Invariants
 *  1. A window starts on a multiple of window_bytes and never moves while pinned.
 *  2. Nothing is mapped behind the end of the file, as it was when mapped, and nothing before first_offset.
 *
 * Built with window_torture every window is one granule and is forbidden at the unpin, so that a wrong use faults, and
 * stores go through views as on a system that needs them.
 *
 * Not here: byte order, checksums, locking. Callers get plain bytes, read-only but for copies of their own.
 */
#ifndef STELE_WINDOW_H
#define STELE_WINDOW_H

#include "bits.h"
#include "os.h"

#define STELE_WINDOW_TABLE_COUNT 4096u /* entries a level */
#define STELE_WINDOW_BYTES_MIN (UINT64_C(64) << 20) /* without a budget */
#define STELE_WINDOW_BUDGET_MIN (UINT64_C(2) << 20)

struct stele_window_pool; /* what a budget adds: window_pool.h */

/* One mapped window. */
struct stele_window {
    const uint8_t *bytes;
    uint64_t mapped_bytes; /* of the file: shorter than a window and its overlap where the file ended */
    struct stele_window *next; /* in stele_windows.all, or in a list of the pool */

    /* of a pool only */
    struct stele_windows *windows;
    uint64_t index;
    uint32_t state; /* atomic: pins, and what window_pool.c says of them */
    uint32_t used;  /* atomic: the pool's tick at the last pin */
    uint64_t dirty_first, dirty_end; /* within: stored and not flushed; equal where nothing is */
};

struct stele_windows {
    const struct stele_os_file *file;
    uint64_t first_offset;
    uint64_t window_bytes;  /* a power of two */
    uint32_t window_shift;
    uint64_t overlap_bytes;
    struct stele_window **tables[STELE_WINDOW_TABLE_COUNT]; /* atomic; each of STELE_WINDOW_TABLE_COUNT */
    struct stele_window *all; /* every map ever made, for done */
    struct stele_window_pool *pool; /* NULL without a budget; with one `tables` stays empty */
    struct stele_os_mutex mutex; /* for making maps */
    uint64_t fork_count; /* a child does not inherit maps: the addresses may be others' there */
    bool is_writable; /* maps for storing: see stele_window_store */
    bool is_ready;
};

struct stele_pin {
    const uint8_t *bytes;
    struct stele_window *window; /* NULL: nothing pinned */
};

struct stele_window_plan {
    uint64_t first_offset;  /* a multiple of 64 KiB */
    uint64_t file_bytes;    /* about */
    uint64_t overlap_bytes; /* stretches up to this never straddle */
    uint64_t budget_bytes;  /* to be mapped at once; 0: no budget */
    bool is_writable;
};

/* The least budget that windows over a file of @file_bytes with @overlap_bytes can work with. */
uint64_t stele_window_budget_least(uint64_t file_bytes, uint64_t overlap_bytes);
/*
 * Make @windows of @file as @plan says.
 *
 * Shape:   a budget is at least stele_window_budget_least
 * Owner:   @file outlives @windows; caller calls done
 */
int stele_windows_init(struct stele_windows *windows, const struct stele_os_file *file,
                       const struct stele_window_plan *plan);
void stele_windows_done(struct stele_windows *windows); /* unmaps; safe twice, and on a zeroed struct */
/* Unmap all: nobody else uses @windows now, and nothing is pinned. They are mapped again when needed. */
void stele_windows_drop(struct stele_windows *windows);

/* How many bytes from @offset can be pinned at once: to the end of its window and that one's overlap. */
static inline uint64_t stele_window_reach(const struct stele_windows *windows, uint64_t offset)
{
    uint64_t within = (offset - windows->first_offset) & (windows->window_bytes - 1);

    return windows->window_bytes + windows->overlap_bytes - within;
}
static inline bool stele_window_fits(const struct stele_windows *windows, uint64_t offset, uint64_t byte_count)
{
    return byte_count <= stele_window_reach(windows, offset);
}

/* The slow path of stele_window_pin: map what is not mapped yet, or count the pin. */
int stele_window_pin_new(struct stele_windows *windows, uint64_t offset, size_t byte_count, struct stele_pin *out);
/* The slow path of stele_window_unpin. */
void stele_window_unpin_counted(struct stele_window *window);

/*
 * Pin the @byte_count bytes from @offset and point @out at them. For a moment: it may pass the budget by one window.
 *
 * Shape:   0 < byte_count; it fits (stele_window_fits), as every byte_count <= overlap_bytes does
 * Errors:  STELE_E_TRUNCATED the file ends before; STELE_E_FULL address space; STELE_E_NOMEM
 * Owner:   caller unpins; out->bytes is dead from then on
 * Threads: any
 */
static inline int stele_window_pin(struct stele_windows *windows, uint64_t offset, size_t byte_count,
                                   struct stele_pin *out)
{
    uint64_t index = (offset - windows->first_offset) >> windows->window_shift;
    uint64_t within = (offset - windows->first_offset) & (windows->window_bytes - 1);
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
    out->window = NULL; /* it stays mapped: nothing to hold */
    return 0;
}

/* Safe twice, and on a zeroed struct. */
static inline void stele_window_unpin(struct stele_pin *pin)
{
    if (pin->window)
        stele_window_unpin_counted(pin->window);
    pin->bytes = NULL;
    pin->window = NULL;
}

/*
 * As stele_window_pin, for as long as the caller likes.
 *
 * Errors:  also STELE_E_FULL it does not fit the budget beside what is pinned
 */
int stele_window_pin_view(struct stele_windows *windows, uint64_t offset, size_t byte_count, struct stele_pin *out);

/*
 * Map the @byte_count bytes from @offset for themselves alone; for views that no window holds.
 *
 * Shape:   0 < byte_count
 * Errors:  STELE_E_TRUNCATED the file ends before; STELE_E_FULL address space, or the budget
 * Owner:   caller calls stele_window_unmap_alone with *@out_map and *@out_map_bytes
 */
int stele_window_map_alone(struct stele_windows *windows, uint64_t offset, uint64_t byte_count,
                           const uint8_t **out_bytes, void **out_map, size_t *out_map_bytes);
/* The same, writable and for this process alone, as stele_os_map_private; counted like any view. */
int stele_window_map_private(struct stele_windows *windows, uint64_t offset, uint64_t byte_count, uint8_t **out_bytes,
                             void **out_map, size_t *out_map_bytes);
void stele_window_unmap_alone(struct stele_windows *windows, void *map, size_t map_bytes);

/*
 * Map the @byte_count bytes of @file from @offset to stay where they are, also for storing if @is_writable: the live
 * region's words.
 *
 * Shape:   offset a multiple of 64 KiB; inside the file: the caller has checked its size
 * Errors:  STELE_E_FULL address space; STELE_E_IO
 * Owner:   caller calls stele_window_unmap_words with *@out_map and @byte_count
 */
int stele_window_map_words(const struct stele_os_file *file, uint64_t offset, size_t byte_count, bool is_writable,
                           void **out_map);
void stele_window_unmap_words(void *map, size_t map_bytes);

#endif
