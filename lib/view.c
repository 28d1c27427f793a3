/* Views: records in the map itself, without a copy. */
#include "error.h"
#include "guard.h"
#include "reader.h"

/* What hides in struct stele_view: pointers in 8-byte words, so that the size is the same on 32 and 64 bit. */
struct hidden {
    uint64_t store, version;
    uint64_t map, map_bytes; /* a map of its own; map_bytes 0: the pinned window, if any */
    uint64_t session;
};
static_assert(sizeof(struct stele_view) == 64, "part of the interface");
static_assert(sizeof(struct hidden) == sizeof(((struct stele_view *)0)->hidden), "fits");

static struct hidden hidden_of(const struct stele_view *view)
{
    struct hidden hidden;
    memcpy(&hidden, view->hidden, sizeof(hidden));
    return hidden;
}

static void *pointer_of(uint64_t word) { return (void *)(uintptr_t)word; }
static uint64_t word_of(const void *pointer) { return (uint64_t)(uintptr_t)pointer; }

/* Records whose newest bytes are in the ring, not in the file. */
static bool is_hidden(const struct stele_replay *overlay, uint64_t first_index, uint64_t record_count)
{
    if (!overlay)
        return false;
    size_t at = stele_runs_at(&overlay->records, first_index);
    return at < overlay->records.count && overlay->records.list[at].first < first_index + record_count;
}

static int map_records(struct stele *store, struct stele_view *view, struct hidden *hidden)
{
    uint64_t bytes;
    uint64_t offset = stele_record_offset(&store->fixed, view->first_index);
    if (!stele_mul_fits(view->record_count, store->fixed.record_bytes, &bytes) || bytes > SIZE_MAX)
        return stele_fail(STELE_E_FULL, "%s: a view of %" PRIu64 " records does not fit the address space", store->path,
                          view->record_count);
    if (bytes == 0)
        return STELE_OK;
    if (stele_window_fits(&store->windows, offset, bytes)) {
        struct stele_pin pin;
        int rc = stele_window_pin_view(&store->windows, offset, (size_t)bytes, &pin);
        if (rc)
            return stele_fail_prefix(store->path);
        view->records = pin.bytes;
        hidden->map = word_of(pin.window);
        return STELE_OK;
    }
    const uint8_t *records;
    void *map;
    size_t map_bytes;
    int rc = stele_window_map_alone(&store->windows, offset, bytes, &records, &map, &map_bytes);
    if (rc)
        return stele_fail_prefix(store->path);
    view->records = records;
    hidden->map = word_of(map);
    hidden->map_bytes = map_bytes;
    return STELE_OK;
}

int stele_view_open(struct stele *store, uint64_t first_index, uint64_t record_count, struct stele_view *out)
{
    if (!store || !out)
        return stele_fail(STELE_E_USAGE, "stele_view_open: store and out must not be NULL");
    int rc = stele_handle_check(store);
    if (rc)
        return rc;
    const struct stele_live *words = store->live.words;
    const struct stele_reading *reading;
    rc = stele_reader_current(store, &reading);
    if (rc)
        return rc;
    /* Version and session before the count: what changes afterwards is a change. */
    struct hidden hidden = { .store = word_of(store), .version = stele_load_acquire(&words->version.word),
                             .session = reading ? reading->session : stele_load_acquire(&words->session.word) };
    rc = stele_reader_check_range(store, reading, first_index, record_count);
    if (rc)
        return rc;
    if (is_hidden(stele_reader_overlay(reading), first_index, record_count))
        return stele_fail(STELE_E_CONFLICT, "%s: records of the range are still in the journal of a writer that died; "
                          "use stele_get, or stele recover", store->path);
    struct stele_view view = { .record_count = record_count, .first_index = first_index };
    rc = map_records(store, &view, &hidden);
    if (rc)
        return rc;
    memcpy(view.hidden, &hidden, sizeof(hidden));
    __atomic_fetch_add(&store->open_count, 1, __ATOMIC_RELAXED);
    *out = view;
    return STELE_OK;
}

int stele_view_changed(const struct stele_view *view)
{
    const struct hidden hidden = view ? hidden_of(view) : (struct hidden){ 0 };
    const struct stele *store = pointer_of(hidden.store);
    if (!store)
        return stele_fail(STELE_E_USAGE, "stele_view_changed: the view is not open");
    if (stele_handle_check(store))
        return STELE_E_USAGE;
    /* What was read through the view was read before what is looked at here. */
    stele_fence_acquire();
    const struct stele_live *words = store->live.words;
    if (stele_load(&words->session.word) != hidden.session)
        return 1;
    const struct stele_reading *reading = __atomic_load_n(&store->reading, __ATOMIC_ACQUIRE);
    /* In a session in which the handle is detached nobody writes; stripes are of an earlier life. */
    if (view->record_count == 0 || (stele_reader_overlay(reading) && reading->session == hidden.session))
        return 0;
    const struct stele_layout *layout = &store->fixed;
    uint64_t first = stele_block_of(layout, view->first_index);
    uint64_t blocks = stele_block_of(layout, view->first_index + view->record_count - 1) - first + 1;
    /* Stripes first say "being stored" before the version moves, so the version alone cannot answer. */
    for (uint64_t i = 0; i < stele_min(blocks, STELE_STRIPE_COUNT); i++) {
        uint64_t stripe = stele_load(stele_live_stripe(&store->live, first + i));
        if ((stripe & 1) || stripe >> 1 > hidden.version)
            return 1;
    }
    return 0;
}

int stele_view_copy(const struct stele_view *view, uint64_t first, size_t count, void *out)
{
    const struct hidden hidden = view ? hidden_of(view) : (struct hidden){ 0 };
    struct stele *store = pointer_of(hidden.store);
    if (!store || (count && !out))
        return stele_fail(STELE_E_USAGE, "stele_view_copy: the view is not open, or out is NULL");
    if (stele_handle_check(store))
        return STELE_E_USAGE;
    if (first > view->record_count || count > view->record_count - first)
        return stele_fail(STELE_E_RANGE, "record %" PRIu64 " and %zu more of a view of %" PRIu64, first, count,
                          view->record_count);
    const size_t record_bytes = (size_t)store->fixed.record_bytes;
    if (count && !stele_guard_copy(out, (const uint8_t *)view->records + first * record_bytes, count * record_bytes))
        return stele_handle_fault(store, stele_record_offset(&store->fixed, view->first_index + first),
                                  count * record_bytes);
    return STELE_OK;
}

void stele_view_close(struct stele_view *view)
{
    if (!view)
        return;
    const struct hidden hidden = hidden_of(view);
    struct stele *store = pointer_of(hidden.store);
    if (!store)
        return;
    if (hidden.map && store->fork_count == stele_os_fork_count()) {
        struct stele_pin pin = { .window = pointer_of(hidden.map) };
        if (hidden.map_bytes)
            stele_window_unmap_alone(&store->windows, pointer_of(hidden.map), (size_t)hidden.map_bytes);
        else
            stele_window_unpin(&pin);
    }
    __atomic_fetch_sub(&store->open_count, 1, __ATOMIC_RELEASE);
    memset(view, 0, sizeof(*view));
}
