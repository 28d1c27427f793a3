#include "growth.h"

#include "apply.h"
#include "checkpoint.h"
#include "error.h"

#include <stdlib.h>

#define COPY_BYTES (UINT64_C(16) << 10)
#define STEP_BYTES_MAX (UINT64_C(1) << 30)

/* What appends ask for next would else be a growth each time. */
static uint64_t ahead_of(const struct stele_layout *layout, uint64_t capacity)
{
    uint64_t now = layout->capacity;
    uint64_t step_records_max = stele_max(STEP_BYTES_MAX / layout->record_bytes, 1);
    uint64_t step = stele_max(stele_min(now, step_records_max), now / 8);
    return stele_min(stele_max(capacity, now + step), STELE_CAPACITY_MAX);
}

/* Old words to their new place, zeros behind them: an earlier growth that was cut may have left bytes there. */
static int copy_words(struct stele *store, const struct stele_layout *old, const struct stele_layout *next,
                      bool is_sparse)
{
    uint64_t at = 0;
    uint8_t *bytes = malloc((size_t)COPY_BYTES);
    int rc = bytes ? STELE_OK : stele_fail(STELE_E_NOMEM, "out of memory to move the sums");
    while (!rc && at < old->sums_bytes) {
        uint64_t piece = stele_min(COPY_BYTES, old->sums_bytes - at);
        rc = stele_handle_read(store, old->sums_offset + at, bytes, piece);
        /* In a sparse store a hole stays a hole: what was not one has just been zeroed. */
        if (!rc && !(is_sparse && stele_is_zero(bytes, (size_t)piece)))
            rc = stele_window_store(&store->stores, next->sums_offset + at, bytes, piece);
        at += piece;
    }
    free(bytes);
    return rc;
}

static int prepare(struct stele *store, const struct stele_layout *old, const struct stele_layout *next)
{
    bool is_sparse = store->superblock.slot.features_incompatible & STELE_FEATURE_SPARSE;
    struct stele_os_stat stat;
    int rc = stele_os_stat(&store->file, &stat);
    if (rc)
        return rc;
    if (is_sparse)
        rc = stat.bytes < next->file_bytes ? stele_os_set_bytes(&store->file, next->file_bytes) : STELE_OK;
    else
        rc = stele_os_allocate(&store->file, old->file_bytes, next->file_bytes - old->file_bytes);
    if (rc)
        return rc;
    uint64_t records_end = next->records_offset + next->capacity * next->record_bytes, zero_end = next->file_bytes;
    if (store->stores.windows) {
        /* Old words, and what a growth that was cut left behind them, become records; behind the end nothing was. */
        stele_apply_touch(store, (stat.bytes - next->records_offset) / next->record_bytes + 1);
        zero_end = stele_max(records_end, stele_min(stat.bytes, zero_end));
    }
    /* Between old and new end only the gap and the new words must read as zero. */
    rc = stele_window_zero(&store->stores, records_end, zero_end - records_end, is_sparse);
    if (!rc)
        rc = copy_words(store, old, next, is_sparse);
    return rc;
}

static int flip(struct stele *store, const struct stele_layout *next)
{
    struct stele_superblock now;
    int rc = stele_superblock_read(&store->file, &now);
    if (rc)
        return rc;
    /* Checkpoint values stay the ruling slot's; a layout flip changes the layout only. */
    struct stele_slot slot = now.slot;
    stele_layout_to(next, &slot);
    slot.layout_version++;
    stele_live_set_state(&store->live, STELE_STATE_COMMITTING);
    rc = stele_superblock_flip(&store->file, &now, &slot);
    if (rc) {
        stele_checkpoint_poison(store);
        return rc;
    }
    now.layout = *next;
    stele_handle_set_superblock(store, &now);
    stele_store_release(&store->live.words->layout_version.word, slot.layout_version);
    stele_live_set_state(&store->live, STELE_STATE_IDLE);
    return STELE_OK;
}

int stele_growth_make(struct stele *store, uint64_t capacity, bool is_ahead)
{
    const struct stele_layout old = store->superblock.layout;
    if (capacity <= old.capacity)
        return STELE_OK;
    if (stele_layout_has_strangers(&store->superblock.slot))
        return stele_fail(STELE_E_VERSION, "%s has regions of a newer stele and cannot grow with this one",
                          store->path);
    struct stele_layout next;
    int rc = stele_layout_grow(&old, is_ahead ? ahead_of(&old, capacity) : capacity, &next);
    if (rc)
        return rc;
    rc = prepare(store, &old, &next);
    if (rc == STELE_E_FULL && is_ahead && next.capacity > capacity) {
        /* No disk for the reserve: what is asked for may still fit. */
        rc = stele_layout_grow(&old, capacity, &next);
        if (!rc)
            rc = prepare(store, &old, &next);
    }
    if (rc)
        return rc;
    rc = stele_checkpoint_sync(store);
    if (rc)
        return rc;
    return flip(store, &next);
}
