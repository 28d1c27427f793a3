#include "window.h"

#include "error.h"
#include "window_pool.h"

#include <assert.h>
#include <stdlib.h>

/* A pool's table spans the file as it is this many times over: room to grow. */
#define POOL_ROOM 16u

static uint64_t least_window_bytes(uint64_t file_bytes)
{
    uint64_t spanned = (uint64_t)STELE_WINDOW_TABLE_COUNT * STELE_WINDOW_TABLE_COUNT / POOL_ROOM;
    uint64_t bytes = stele_os_granularity();

    while (bytes < file_bytes / spanned)
        bytes *= 2;
    return bytes;
}

uint64_t stele_window_budget_least(uint64_t file_bytes, uint64_t overlap_bytes)
{
    /* So that the readers' share still holds several windows of the size that choose_window_bytes gives it. */
    return stele_max(STELE_WINDOW_BUDGET_MIN, stele_max(8 * overlap_bytes, 32 * least_window_bytes(file_bytes)));
}

static uint64_t choose_window_bytes(const struct stele_window_plan *plan)
{
    uint64_t bytes = plan->budget_bytes ? least_window_bytes(plan->file_bytes) : STELE_WINDOW_BYTES_MIN;

    if (stele_window_is_torture())
        return least_window_bytes(plan->file_bytes);
    /* One level of the table spans the file as it is, the other one 4096 times that: room to grow. */
    while (!plan->budget_bytes && bytes < plan->file_bytes / STELE_WINDOW_TABLE_COUNT)
        bytes *= 2;
    while (plan->budget_bytes && bytes < STELE_WINDOW_BYTES_MIN && bytes <= plan->budget_bytes / 32)
        bytes *= 2;
    return bytes;
}

int stele_windows_init(struct stele_windows *windows, const struct stele_os_file *file,
                       const struct stele_window_plan *plan)
{
    int rc;

    memset(windows, 0, sizeof(*windows));
    windows->file = file;
    windows->first_offset = plan->first_offset;
    windows->overlap_bytes = plan->overlap_bytes;
    windows->window_bytes = choose_window_bytes(plan);
    windows->window_shift = (uint32_t)__builtin_ctzll(windows->window_bytes);
    windows->is_writable = plan->is_writable;
    windows->fork_count = stele_os_fork_count();
    assert(windows->overlap_bytes <= INT64_MAX - windows->window_bytes);
    rc = stele_os_mutex_init(&windows->mutex);
    if (rc)
        return rc;
    if (plan->budget_bytes || stele_window_is_torture())
        rc = stele_window_pool_init(windows, plan->budget_bytes ? plan->budget_bytes : UINT64_MAX);
    if (rc) {
        stele_os_mutex_done(&windows->mutex);
        return rc;
    }
    windows->is_ready = true;
    return STELE_OK;
}

/* Unmap what was mapped without a budget, and forget the tables. */
static void drop_all(struct stele_windows *windows, bool is_ours)
{
    struct stele_window *window = windows->all;

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
}

void stele_windows_done(struct stele_windows *windows)
{
    bool is_ours = windows->fork_count == stele_os_fork_count();

    if (!windows->is_ready)
        return;
    windows->is_ready = false;
    drop_all(windows, is_ours);
    stele_window_pool_done(windows, is_ours);
    /* The parent may have been mapping when it forked. */
    if (is_ours)
        stele_os_mutex_done(&windows->mutex);
}

void stele_windows_drop(struct stele_windows *windows)
{
    drop_all(windows, true);
    if (windows->pool)
        stele_window_pool_drop(windows);
}

int stele_window_check_file(const struct stele_windows *windows, uint64_t offset, uint64_t byte_count,
                            uint64_t *out_file_bytes)
{
    struct stele_os_stat status = { 0 };
    uint64_t end;
    int rc = stele_os_stat(windows->file, &status);

    if (rc)
        return rc;
    assert(offset >= windows->first_offset);
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

int stele_window_stretch(const struct stele_windows *windows, uint64_t index, uint64_t file_bytes,
                         uint64_t *out_offset, size_t *out_bytes)
{
    uint64_t offset = windows->first_offset + (index << windows->window_shift);
    uint64_t byte_count = stele_min(windows->window_bytes + windows->overlap_bytes, file_bytes - offset);

    if (byte_count > SIZE_MAX)
        return stele_fail(STELE_E_FULL,
                          "a window of %" PRIu64 " bytes does not fit the address space; use a 64-bit "
                          "program",
                          byte_count);
    *out_offset = offset;
    *out_bytes = (size_t)byte_count;
    return STELE_OK;
}

int stele_window_outgrown(void)
{
    return stele_fail(STELE_E_FULL, "the store has grown out of its table of windows since it was opened; open it "
                      "again");
}

/* Map window @index of a file of @file_bytes and put it in front of windows->all. */
static int window_new(struct stele_windows *windows, uint64_t index, uint64_t file_bytes,
                      struct stele_window **out)
{
    uint64_t offset = 0;
    size_t byte_count = 0;
    struct stele_window *window;
    void *map = NULL;
    int rc = stele_window_stretch(windows, index, file_bytes, &offset, &byte_count);

    if (rc)
        return rc;
    window = malloc(sizeof(*window));
    if (!window)
        return stele_fail(STELE_E_NOMEM, "no memory to map one more window");
    rc = stele_os_map(windows->file, offset, byte_count, false, true, &map);
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
    uint64_t index = (offset - windows->first_offset) >> windows->window_shift;
    uint64_t within = (offset - windows->first_offset) & (windows->window_bytes - 1);
    uint64_t file_bytes = 0;
    struct stele_window *window = NULL;
    int rc;

    assert(byte_count > 0 && stele_window_fits(windows, offset, byte_count));
    if (windows->pool)
        return stele_window_pool_pin(windows, offset, byte_count, STELE_WINDOW_MOMENT, out);
    rc = stele_window_check_file(windows, offset, byte_count, &file_bytes);
    if (rc)
        return rc;
    if (index / STELE_WINDOW_TABLE_COUNT >= STELE_WINDOW_TABLE_COUNT)
        return stele_window_outgrown();
    stele_os_mutex_lock(&windows->mutex);
    rc = entry_fill(windows, index, within + byte_count, file_bytes, &window);
    stele_os_mutex_unlock(&windows->mutex);
    if (rc)
        return rc;
    out->bytes = window->bytes + within;
    out->window = NULL;
    return STELE_OK;
}

int stele_window_pin_view(struct stele_windows *windows, uint64_t offset, size_t byte_count, struct stele_pin *out)
{
    assert(byte_count > 0 && stele_window_fits(windows, offset, byte_count));
    return windows->pool ? stele_window_pool_pin(windows, offset, byte_count, STELE_WINDOW_VIEW, out)
                         : stele_window_pin(windows, offset, byte_count, out);
}

static int map_view(struct stele_windows *windows, uint64_t offset, uint64_t byte_count, enum stele_window_use use,
                    uint8_t **out_bytes, void **out_map, size_t *out_map_bytes)
{
    uint64_t start = stele_round_down(offset, stele_os_granularity());
    uint64_t map_bytes = byte_count + (offset - start);
    uint64_t file_bytes = 0;
    void *map = NULL;
    int rc;

    assert(byte_count > 0);
    rc = stele_window_check_file(windows, offset, byte_count, &file_bytes);
    if (rc)
        return rc;
    if (map_bytes > SIZE_MAX)
        return stele_fail(STELE_E_FULL,
                          "a view of %" PRIu64 " bytes does not fit the address space; take several "
                          "smaller ones",
                          byte_count);
    if (windows->pool)
        rc = stele_window_pool_map(windows, start, (size_t)map_bytes, use, &map);
    else
        rc = use == STELE_WINDOW_PRIVATE ? stele_os_map_private(windows->file, start, (size_t)map_bytes, &map)
                                         : stele_os_map(windows->file, start, (size_t)map_bytes, false, true, &map);
    if (rc)
        return rc;
    *out_bytes = (uint8_t *)map + (offset - start);
    *out_map = map;
    *out_map_bytes = (size_t)map_bytes;
    return STELE_OK;
}

int stele_window_map_alone(struct stele_windows *windows, uint64_t offset, uint64_t byte_count,
                           const uint8_t **out_bytes, void **out_map, size_t *out_map_bytes)
{
    uint8_t *bytes = NULL;
    int rc = map_view(windows, offset, byte_count, STELE_WINDOW_VIEW, &bytes, out_map, out_map_bytes);

    if (!rc)
        *out_bytes = bytes;
    return rc;
}

int stele_window_map_private(struct stele_windows *windows, uint64_t offset, uint64_t byte_count, uint8_t **out_bytes,
                             void **out_map, size_t *out_map_bytes)
{
    return map_view(windows, offset, byte_count, STELE_WINDOW_PRIVATE, out_bytes, out_map, out_map_bytes);
}

void stele_window_unmap_alone(struct stele_windows *windows, void *map, size_t map_bytes)
{
    if (windows->pool)
        stele_window_pool_unmap(windows, map, map_bytes);
    else
        stele_os_unmap(map, map_bytes);
}

int stele_window_map_words(const struct stele_os_file *file, uint64_t offset, size_t byte_count, bool is_writable,
                           void **out_map)
{
    return stele_os_map(file, offset, byte_count, is_writable, true, out_map);
}

void stele_window_unmap_words(void *map, size_t map_bytes)
{
    stele_os_unmap(map, map_bytes);
}
