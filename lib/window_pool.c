/*
 * Windows with a budget.
 *
 * A window's state is a count of pins and two bits. CLOSED: it is not mapped, its memory waits to be used again.
 * RETIRED: the file has grown and another map has its place in the table; it goes with its last pin.
 *
 * Why a pin needs no lock. Closing changes the state from no pins to CLOSED in one step, so a pin that came before
 * stops it and one that comes after fails. The memory of a window stays, but may by then be another window's: so who
 * pinned looks into the table again, and lets go if it does not lead to this window any more. The table forgets a
 * window before its memory is used again, and the state that lets it be pinned is stored after that, with release: so
 * who could pin it in its next life finds the table as it is then.
 */
#include "window_pool.h"

#include "error.h"

#include <assert.h>
#include <stdlib.h>

#ifndef STELE_WINDOW_TORTURE
#define STELE_WINDOW_TORTURE 0
#endif

enum { CLOSED = 1 << 30, RETIRED = 1 << 29 };

#define QUARANTINE_COUNT 256u
#define QUARANTINE_BYTES_MAX (1u << 20) /* of one: large ones would use the addresses up */

/* What was stored through a window that is gone. */
struct owed {
    uint64_t index;
    uint64_t first, end; /* within the window */
};

struct stele_window_pool {
    struct stele_window **tables[STELE_WINDOW_TABLE_COUNT]; /* atomic, as in struct stele_windows */
    uint64_t budget_bytes;
    uint32_t is_over; /* atomic: more than the budget is mapped, so an unpin looks what can go */
    uint32_t tick;    /* atomic: goes on with each pin of another window than the last */

    /* under the mutex */
    uint64_t mapped_bytes; /* windows and views alone */
    struct stele_window *mapped, *spare;
    struct owed *owed; /* ascending by index; each window once */
    size_t owed_count, owed_room;
    struct stele_error lost; /* of a flush that failed, until it is told; code 0: none */
    struct { void *map; size_t bytes; } quarantine[QUARANTINE_COUNT]; /* of a torture build: the last that went */
    uint32_t quarantine_next;
};

bool stele_window_is_torture(void) { return STELE_WINDOW_TORTURE; }

int stele_window_pool_init(struct stele_windows *windows, uint64_t budget_bytes)
{
    windows->pool = calloc(1, sizeof(*windows->pool));
    if (!windows->pool)
        return stele_fail(STELE_E_NOMEM, "no memory for windows onto the store");
    windows->pool->budget_bytes = budget_bytes;
    return STELE_OK;
}

/* ---- unmapping: all under the mutex ---- */

static void unmap(struct stele_window_pool *pool, void *map, size_t byte_count)
{
    if (STELE_WINDOW_TORTURE && byte_count <= QUARANTINE_BYTES_MAX) {
        /* Not at once: the address would be the next map's, and a wrong use of it would find bytes. */
        uint32_t place = pool->quarantine_next++ % QUARANTINE_COUNT;

        stele_os_forbid(map, byte_count);
        stele_os_unmap(pool->quarantine[place].map, pool->quarantine[place].bytes);
        pool->quarantine[place].map = map;
        pool->quarantine[place].bytes = byte_count;
    } else {
        stele_os_unmap(map, byte_count);
    }
}

static void count_mapped(struct stele_window_pool *pool)
{
    __atomic_store_n(&pool->is_over, pool->mapped_bytes > pool->budget_bytes, __ATOMIC_RELAXED);
}

static struct stele_window **entry_of(const struct stele_window_pool *pool, uint64_t index)
{
    struct stele_window **table =
        __atomic_load_n(&pool->tables[index / STELE_WINDOW_TABLE_COUNT], __ATOMIC_ACQUIRE);

    return table ? &table[index % STELE_WINDOW_TABLE_COUNT] : NULL;
}

static void flush_stretch(struct stele_window_pool *pool, const uint8_t *bytes, uint64_t byte_count)
{
    struct stele_error before;

    stele_error_keep(&before);
    if (stele_os_flush((void *)(uintptr_t)bytes, (size_t)byte_count) && !pool->lost.code)
        stele_error_keep(&pool->lost);
    stele_error_restore(&before);
}

static void flush(struct stele_window_pool *pool, struct stele_window *window)
{
    if (window->dirty_first < window->dirty_end)
        flush_stretch(pool, window->bytes + window->dirty_first, window->dirty_end - window->dirty_first);
    window->dirty_first = window->dirty_end = 0;
}

/* The place of window @index in pool->owed, or where it would be. */
static size_t owed_place(const struct stele_window_pool *pool, uint64_t index)
{
    size_t low = 0, high = pool->owed_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (pool->owed[middle].index < index)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Remember what of @window is not flushed; false where there is no memory for that. */
static bool owe(struct stele_window_pool *pool, const struct stele_window *window)
{
    size_t place = owed_place(pool, window->index);
    struct owed *owed = place < pool->owed_count ? &pool->owed[place] : NULL;

    if (owed && owed->index == window->index) {
        owed->first = stele_min(owed->first, window->dirty_first);
        owed->end = stele_max(owed->end, window->dirty_end);
        return true;
    }
    if (pool->owed_count == pool->owed_room) {
        size_t room = pool->owed_room ? pool->owed_room * 2 : 256;

        owed = room <= SIZE_MAX / sizeof(*owed) ? realloc(pool->owed, room * sizeof(*owed)) : NULL;
        if (!owed)
            return false;
        pool->owed = owed;
        pool->owed_room = room;
    }
    owed = &pool->owed[place];
    memmove(owed + 1, owed, (pool->owed_count++ - place) * sizeof(*owed));
    *owed = (struct owed){ .index = window->index, .first = window->dirty_first, .end = window->dirty_end };
    return true;
}

/* Close @window, which has no pins; false if somebody pinned it meanwhile. */
static bool close_idle(struct stele_window_pool *pool, struct stele_window *window)
{
    uint32_t idle = __atomic_load_n(&window->state, __ATOMIC_RELAXED) & RETIRED;
    struct stele_window **entry, **link;

    if (!__atomic_compare_exchange_n(&window->state, &idle, CLOSED, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        return false;
    entry = entry_of(pool, window->index);
    if (*entry == window)
        __atomic_store_n(entry, NULL, __ATOMIC_RELAXED);
    /* Not now: whoever needs the room may be between odd and even, where nothing waits for a disk. */
    if (window->dirty_first < window->dirty_end && !owe(pool, window))
        flush(pool, window);
    unmap(pool, (void *)(uintptr_t)window->bytes, (size_t)window->mapped_bytes);
    pool->mapped_bytes -= window->mapped_bytes;
    for (link = &pool->mapped; *link != window; link = &(*link)->next)
        continue;
    *link = window->next;
    window->next = pool->spare;
    pool->spare = window;
    return true;
}

/* Close the idle window that was used longest ago; false where there is none. */
static bool close_oldest(struct stele_window_pool *pool)
{
    for (;;) {
        uint32_t tick = __atomic_load_n(&pool->tick, __ATOMIC_RELAXED), oldest_age = 0;
        struct stele_window *oldest = NULL;

        for (struct stele_window *window = pool->mapped; window; window = window->next) {
            /* By difference: the tick comes round. */
            uint32_t age = tick - __atomic_load_n(&window->used, __ATOMIC_RELAXED);

            if (__atomic_load_n(&window->state, __ATOMIC_RELAXED) & ~(uint32_t)RETIRED)
                continue;
            if (!oldest || age > oldest_age) {
                oldest = window;
                oldest_age = age;
            }
        }
        if (!oldest)
            return false;
        if (close_idle(pool, oldest))
            return true;
    }
}

/* ---- mapping: under the mutex ---- */

static int over_budget(const struct stele_window_pool *pool, uint64_t byte_count)
{
    return stele_fail(STELE_E_FULL, "a view needs %" PRIu64 " bytes mapped; of max_mapped_bytes %" PRIu64 " views that "
                      "are open hold so much that it does not fit: close some, take a smaller one, or open the store "
                      "with more", byte_count, pool->budget_bytes);
}

static int map_as(const struct stele_windows *windows, uint64_t offset, size_t byte_count, enum stele_window_use use,
                  void **out)
{
    return use == STELE_WINDOW_PRIVATE ? stele_os_map_private(windows->file, offset, byte_count, out)
                                       : stele_os_map(windows->file, offset, byte_count, windows->is_writable, true,
                                                      out);
}

/* Map a stretch: what is idle goes as far as the budget, or the address space, asks for it. */
static int map_counted(struct stele_windows *windows, uint64_t offset, size_t byte_count, enum stele_window_use use,
                       void **out)
{
    struct stele_window_pool *pool = windows->pool;
    struct stele_error before;
    uint64_t room = pool->budget_bytes > byte_count ? pool->budget_bytes - byte_count : 0;
    int rc;

    if (use != STELE_WINDOW_MOMENT && byte_count > pool->budget_bytes)
        return over_budget(pool, byte_count);
    while (pool->mapped_bytes > room && close_oldest(pool))
        continue;
    if (use != STELE_WINDOW_MOMENT && pool->mapped_bytes > room)
        return over_budget(pool, byte_count);
    stele_error_keep(&before);
    rc = map_as(windows, offset, byte_count, use, out);
    while (rc == STELE_E_FULL && close_oldest(pool)) {
        rc = map_as(windows, offset, byte_count, use, out);
        if (!rc)
            stele_error_restore(&before);
    }
    if (!rc)
        pool->mapped_bytes += byte_count;
    count_mapped(pool);
    return rc;
}

static int table_make(struct stele_window_pool *pool, uint64_t index, struct stele_window ***out_entry)
{
    struct stele_window ***table = &pool->tables[index / STELE_WINDOW_TABLE_COUNT];

    if (!*table) {
        struct stele_window **fresh = calloc(STELE_WINDOW_TABLE_COUNT, sizeof(*fresh));

        if (!fresh)
            return stele_fail(STELE_E_NOMEM, "no memory for the table of windows");
        __atomic_store_n(table, fresh, __ATOMIC_RELEASE);
    }
    *out_entry = &(*table)[index % STELE_WINDOW_TABLE_COUNT];
    return STELE_OK;
}

/* Map window @index and put it into its place in the table, pinned once. */
static int window_open(struct stele_windows *windows, uint64_t index, uint64_t file_bytes, enum stele_window_use use,
                       struct stele_window **out)
{
    struct stele_window_pool *pool = windows->pool;
    struct stele_window *window, *old, **entry = NULL;
    uint64_t offset = 0;
    size_t byte_count = 0;
    void *map = NULL;
    int rc = table_make(pool, index, &entry);

    if (!rc)
        rc = stele_window_stretch(windows, index, file_bytes, &offset, &byte_count);
    if (rc)
        return rc;
    if (!pool->spare) {
        pool->spare = calloc(1, sizeof(*window));
        if (!pool->spare)
            return stele_fail(STELE_E_NOMEM, "no memory to map one more window");
        pool->spare->state = CLOSED;
    }
    rc = map_counted(windows, offset, byte_count, use, &map);
    if (rc)
        return rc;
    window = pool->spare;
    pool->spare = window->next;
    window->bytes = map;
    window->mapped_bytes = byte_count;
    window->windows = windows;
    window->index = index;
    /* Not that of the last pin, or its first pin would not move it to the front. */
    __atomic_store_n(&window->used, __atomic_load_n(&pool->tick, __ATOMIC_RELAXED) - 1, __ATOMIC_RELAXED);
    window->dirty_first = window->dirty_end = 0;
    window->next = pool->mapped;
    pool->mapped = window;
    old = *entry;
    __atomic_store_n(entry, window, __ATOMIC_RELEASE);
    /* From here it can be pinned, also by who found it in the table in an earlier life. */
    __atomic_store_n(&window->state, 1, __ATOMIC_RELEASE);
    if (old) {
        (void)__atomic_fetch_or(&old->state, RETIRED, __ATOMIC_RELAXED);
        (void)close_idle(pool, old);
    }
    count_mapped(pool);
    *out = window;
    return STELE_OK;
}

/* ---- pins ---- */

static void touch(struct stele_window_pool *pool, struct stele_window *window)
{
    uint32_t tick = __atomic_load_n(&pool->tick, __ATOMIC_RELAXED);

    /* Two threads at once may get the same number: it only says who goes first. */
    if (__atomic_load_n(&window->used, __ATOMIC_RELAXED) != tick) {
        __atomic_store_n(&pool->tick, tick + 1, __ATOMIC_RELAXED);
        __atomic_store_n(&window->used, tick + 1, __ATOMIC_RELAXED);
    }
}

/* Pin window @index if it is mapped and reaches @needed_bytes. The mutex is not held. */
static struct stele_window *pin_mapped(struct stele_window_pool *pool, uint64_t index, uint64_t needed_bytes)
{
    struct stele_window **entry = entry_of(pool, index);
    struct stele_window *window = entry ? __atomic_load_n(entry, __ATOMIC_ACQUIRE) : NULL;
    uint32_t state;

    if (!window)
        return NULL;
    state = __atomic_load_n(&window->state, __ATOMIC_RELAXED);
    do {
        if (state & (CLOSED | RETIRED))
            return NULL;
    } while (!__atomic_compare_exchange_n(&window->state, &state, state + 1, true, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED));
    if (__atomic_load_n(entry, __ATOMIC_RELAXED) == window && needed_bytes <= window->mapped_bytes)
        return window;
    stele_window_unpin_counted(window);
    return NULL;
}

/* The same under the mutex, where no window closes: mapped now if it was not. */
static int pin_or_open(struct stele_windows *windows, uint64_t index, uint64_t needed_bytes, uint64_t file_bytes,
                       enum stele_window_use use, struct stele_window **out)
{
    struct stele_window **entry = entry_of(windows->pool, index);
    struct stele_window *window = entry ? *entry : NULL;

    if (!window || needed_bytes > window->mapped_bytes)
        return window_open(windows, index, file_bytes, use, out);
    /* Another thread has been here first. */
    (void)__atomic_fetch_add(&window->state, 1, __ATOMIC_ACQUIRE);
    *out = window;
    return STELE_OK;
}

int stele_window_pool_pin(struct stele_windows *windows, uint64_t offset, uint64_t byte_count,
                          enum stele_window_use use, struct stele_pin *out)
{
    struct stele_window_pool *pool = windows->pool;
    uint64_t index = (offset - windows->first_offset) >> windows->window_shift;
    uint64_t within = (offset - windows->first_offset) & (windows->window_bytes - 1);
    uint64_t file_bytes = 0;
    struct stele_window *window = NULL;
    bool is_spanned = index / STELE_WINDOW_TABLE_COUNT < STELE_WINDOW_TABLE_COUNT;

    if (is_spanned)
        window = pin_mapped(pool, index, within + byte_count);
    if (!window) {
        int rc = stele_window_check_file(windows, offset, byte_count, &file_bytes);

        if (!rc && !is_spanned)
            rc = stele_window_outgrown();
        if (rc)
            return rc;
        stele_os_mutex_lock(&windows->mutex);
        rc = pin_or_open(windows, index, within + byte_count, file_bytes, use, &window);
        stele_os_mutex_unlock(&windows->mutex);
        if (rc)
            return rc;
    }
    touch(pool, window);
    out->bytes = window->bytes + within;
    out->window = window;
    return STELE_OK;
}

/* Close what is to go: @window if it was retired or the build closes all at once, others while too much is mapped. */
static void trim(struct stele_windows *windows, struct stele_window *window)
{
    struct stele_window_pool *pool = windows->pool;
    uint32_t state;

    stele_os_mutex_lock(&windows->mutex);
    /* By now it may be gone, pinned again, or another window: then it is not idle, or idle all the same. */
    state = __atomic_load_n(&window->state, __ATOMIC_RELAXED);
    if (state == RETIRED || (state == 0 && STELE_WINDOW_TORTURE))
        (void)close_idle(pool, window);
    while (pool->mapped_bytes > pool->budget_bytes && close_oldest(pool))
        continue;
    count_mapped(pool);
    stele_os_mutex_unlock(&windows->mutex);
}

void stele_window_unpin_counted(struct stele_window *window)
{
    struct stele_windows *windows = window->windows; /* before it may be gone */
    uint32_t left = __atomic_sub_fetch(&window->state, 1, __ATOMIC_RELEASE);

    if (left & ~(uint32_t)RETIRED)
        return;
    if (left == RETIRED || STELE_WINDOW_TORTURE || __atomic_load_n(&windows->pool->is_over, __ATOMIC_RELAXED))
        trim(windows, window);
}

/* ---- views alone ---- */

int stele_window_pool_map(struct stele_windows *windows, uint64_t offset, size_t byte_count,
                          enum stele_window_use use, void **out)
{
    int rc;

    stele_os_mutex_lock(&windows->mutex);
    rc = map_counted(windows, offset, byte_count, use, out);
    stele_os_mutex_unlock(&windows->mutex);
    return rc;
}

void stele_window_pool_unmap(struct stele_windows *windows, void *map, size_t byte_count)
{
    stele_os_mutex_lock(&windows->mutex);
    unmap(windows->pool, map, byte_count);
    windows->pool->mapped_bytes -= byte_count;
    count_mapped(windows->pool);
    stele_os_mutex_unlock(&windows->mutex);
}

/* ---- stores ---- */

void stele_window_pool_dirty(struct stele_window *window, uint64_t within, uint64_t byte_count)
{
    bool is_clean = window->dirty_first == window->dirty_end;

    window->dirty_first = is_clean ? within : stele_min(window->dirty_first, within);
    window->dirty_end = stele_max(window->dirty_end, within + byte_count);
}

/*
 * Flush what a window that is gone was stored through. Any view of the file does: when a view goes, its dirty pages
 * stay dirty pages of the file's section, which all views show, and a flush writes those of the section.
 */
static void flush_owed(struct stele_windows *windows, const struct owed *owed)
{
    struct stele_window_pool *pool = windows->pool;
    const struct stele_window *window = *entry_of(pool, owed->index);
    uint64_t offset = windows->first_offset + (owed->index << windows->window_shift);
    void *map = NULL;

    if (window && owed->end <= window->mapped_bytes) {
        flush_stretch(pool, window->bytes + owed->first, owed->end - owed->first);
        return;
    }
    if (map_counted(windows, offset, (size_t)owed->end, STELE_WINDOW_MOMENT, &map)) {
        if (!pool->lost.code)
            stele_error_keep(&pool->lost);
        return;
    }
    flush_stretch(pool, (const uint8_t *)map + owed->first, owed->end - owed->first);
    unmap(pool, map, (size_t)owed->end);
    pool->mapped_bytes -= owed->end;
    count_mapped(pool);
}

/* Flush all; what fails is in pool->lost. Under the mutex. */
static void flush_all(struct stele_windows *windows)
{
    struct stele_window_pool *pool = windows->pool;

    for (struct stele_window *window = pool->mapped; window; window = window->next)
        flush(pool, window);
    /* All windows are clean now: those that make room for these maps are not owed. */
    for (size_t i = 0; i < pool->owed_count; i++)
        flush_owed(windows, &pool->owed[i]);
    pool->owed_count = 0;
}

int stele_window_pool_flush(struct stele_windows *windows)
{
    struct stele_window_pool *pool = windows->pool;
    int rc;

    stele_os_mutex_lock(&windows->mutex);
    flush_all(windows);
    rc = pool->lost.code;
    if (rc)
        stele_error_restore(&pool->lost);
    pool->lost = (struct stele_error){ .code = STELE_OK };
    stele_os_mutex_unlock(&windows->mutex);
    return rc;
}

/* ---- the end ---- */

static void empty_quarantine(struct stele_window_pool *pool)
{
    for (size_t i = 0; i < QUARANTINE_COUNT; i++) {
        stele_os_unmap(pool->quarantine[i].map, pool->quarantine[i].bytes);
        pool->quarantine[i].map = NULL;
    }
}

void stele_window_pool_drop(struct stele_windows *windows)
{
    stele_os_mutex_lock(&windows->mutex);
    flush_all(windows);
    while (close_oldest(windows->pool))
        continue;
    empty_quarantine(windows->pool);
    count_mapped(windows->pool);
    stele_os_mutex_unlock(&windows->mutex);
}

static void free_list(struct stele_window *window, bool is_ours)
{
    while (window) {
        struct stele_window *next = window->next;

        if (is_ours && window->state != CLOSED)
            stele_os_unmap((void *)(uintptr_t)window->bytes, (size_t)window->mapped_bytes);
        free(window);
        window = next;
    }
}

void stele_window_pool_done(struct stele_windows *windows, bool is_ours)
{
    struct stele_window_pool *pool = windows->pool;

    if (!pool)
        return;
    if (is_ours)
        flush_all(windows);
    windows->pool = NULL;
    free_list(pool->mapped, is_ours);
    free_list(pool->spare, is_ours);
    if (is_ours)
        empty_quarantine(pool);
    for (size_t i = 0; i < STELE_WINDOW_TABLE_COUNT; i++)
        free(pool->tables[i]);
    free(pool->owed);
    free(pool);
}
