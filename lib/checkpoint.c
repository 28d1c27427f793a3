#include "checkpoint.h"

#include "apply.h"
#include "block.h"
#include "error.h"

void stele_checkpoint_poison(struct stele *store)
{
    struct stele_error kept;
    stele_error_keep(&kept);
    stele_handle_poison(store);
    stele_live_set_state(&store->live, STELE_STATE_FAILED);
    /* After a failed sync the cache counts as clean: stored again it is dirty again and is not thrown away. */
    struct stele_superblock now; /* another handle may have made the last checkpoint */
    struct stele_replay replay = { .count = 0 };
    uint64_t applied = stele_load(&store->live.words->applied.word);
    if (stele_superblock_read(&store->file, &now) == STELE_OK &&
        stele_apply_reduce(store, &now.slot, applied, &replay) == STELE_OK)
        (void)stele_apply_replay(store, &replay);
    stele_replay_done(&replay);
    stele_log(STELE_LOG_ERROR, "%s: a sync failed; the handle is read-only from here", store->path);
    stele_error_restore(&kept);
    stele_fail_in(store->path);
    stele_fail_advise("nothing acknowledged is lost; close the handle and open the store again");
}

int stele_checkpoint_sync(struct stele *store)
{
    int rc = stele_window_flush(&store->stores);
    if (!rc)
        rc = stele_os_sync(&store->file);
    if (rc)
        stele_checkpoint_poison(store);
    return rc;
}

/* Put what this handle's own commits and, where others wrote too, the ring says into @slot. */
static int fill_slot(struct stele *store, struct stele_slot *slot)
{
    const struct stele_live *words = store->live.words;
    if (store->has_foreign) {
        struct stele_replay replay;
        uint64_t applied = stele_load(&words->applied.word);
        int rc = stele_apply_reduce(store, slot, applied, &replay);
        if (!rc && replay.sequence != applied)
            rc = stele_fail(STELE_E_DAMAGED, "%s: the journal ends at commit %" PRIu64 ", but %" PRIu64 " was applied",
                            store->path, replay.sequence, applied);
        /* A writeback error of another handle's stores may never be told to this one: store them again. */
        if (!rc)
            rc = stele_apply_replay(store, &replay);
        if (!rc)
            stele_replay_to_slot(&replay, slot);
        stele_replay_done(&replay);
        return rc;
    }
    slot->count = stele_load(&words->count.word);
    slot->sequence = stele_load(&words->applied.word);
    slot->chain = stele_load(&words->chain.word);
    if (store->modified_us)
        slot->modified_us = store->modified_us;
    if (store->has_user) {
        slot->user_version = store->user_version;
        memcpy(slot->user, store->user, sizeof(slot->user));
    }
    if (store->has_tag) {
        slot->tag_bytes = store->tag_bytes;
        memcpy(slot->tag, store->tag, sizeof(slot->tag));
    }
    return STELE_OK;
}

/* The rest of this lap, or a new one where less than half, or than what is needed, is left. */
static uint64_t next_head(const struct stele_ring *ring, uint64_t need_bytes)
{
    uint64_t page = stele_round_up(ring->tail, STELE_PAGE_BYTES);
    uint64_t left = ring->bytes - stele_min(page, ring->bytes);
    return left >= stele_max(need_bytes, ring->bytes / 2) ? page : 0;
}

/* The ring is empty from here: forget what was true of its entries. */
static void start_over(struct stele *store, uint64_t head)
{
    struct stele_live *words = store->live.words;
    stele_store(&words->ring_head.word, head);
    stele_store(&words->ring_tail.word, head);
    store->group.tail = head; /* nothing is pending: nobody else looks at it */
    stele_store(&words->count_high.word, stele_load(&words->count.word));
    store->has_foreign = store->has_user = store->has_tag = false;
    store->modified_us = 0;
    store->last_head = head;
    store->last_logged = stele_load(&words->logged.word);
    stele_block_forget(store);
}

int stele_checkpoint_make(struct stele *store, uint64_t need_bytes, bool is_clean)
{
    struct stele_superblock now;
    struct stele_ring ring;
    /* The flip would free the ring under what is pending. */
    assert(!stele_pending_is_any(&store->group.open) && !stele_pending_is_any(&store->group.closing));
    int rc = stele_handle_ring(store, &ring);
    /* Another handle may have flipped since: the file says what rules. */
    if (!rc)
        rc = stele_superblock_read(&store->file, &now);
    if (rc)
        return rc;
    stele_handle_set_superblock(store, &now);
    struct stele_slot slot = now.slot;
    rc = fill_slot(store, &slot);
    if (rc)
        return rc;
    stele_os_touch(&store->file);
    rc = stele_checkpoint_sync(store);
    if (rc)
        return rc;
    uint64_t head = next_head(&ring, need_bytes);
    slot.ring_head = head;
    slot.checkpoint_us = stele_os_now_us();
    slot.state_flags = is_clean ? slot.state_flags | STELE_CLEAN : slot.state_flags & ~STELE_CLEAN;
    /* A death between the two slots leaves state not idle: the next begin recovers and writes both. */
    stele_live_set_state(&store->live, STELE_STATE_COMMITTING);
    rc = stele_superblock_flip(&store->file, &now, &slot);
    if (rc) {
        stele_checkpoint_poison(store);
        return rc;
    }
    stele_handle_set_superblock(store, &now);
    start_over(store, head);
    stele_live_set_state(&store->live, STELE_STATE_IDLE);
    return STELE_OK;
}
