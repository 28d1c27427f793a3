#include "turn.h"

#include "block.h"
#include "error.h"
#include "recover.h"
#include "settle.h"

#define BACK_OFF_US_MIN 20u
#define BACK_OFF_US_MAX 2000u
#define COURTESY_US 1000u /* how long one who is waited for lets the other go first */

static int busy(const struct stele *store, const char *who)
{
    return stele_fail(STELE_E_BUSY, "%s: %s is writing; waited %" PRIu32 " ms for its turn to end", store->path, who,
                      store->lock_wait_ms);
}

static int take_thread_turn(struct stele *store, uint64_t deadline_us)
{
    int rc = STELE_OK;
    stele_os_mutex_lock(&store->mutex);
    while (store->is_turn_taken && !rc) {
        if (!stele_os_condition_wait(&store->turn_over, &store->mutex, deadline_us) && store->is_turn_taken)
            rc = busy(store, "another thread, or an open transaction of this one,");
    }
    if (!rc)
        __atomic_store_n(&store->is_turn_taken, true, __ATOMIC_RELEASE);
    stele_os_mutex_unlock(&store->mutex);
    return rc;
}

static void give_thread_turn(struct stele *store)
{
    stele_os_mutex_lock(&store->mutex);
    __atomic_store_n(&store->is_turn_taken, false, __ATOMIC_RELEASE);
    stele_settle_release(store);
    stele_os_condition_broadcast(&store->turn_over);
    stele_os_mutex_unlock(&store->mutex);
}

int stele_turn_wait_lock(struct stele *store, uint64_t deadline_us)
{
    uint64_t back_off_us = BACK_OFF_US_MIN;
    int rc;
    while ((rc = stele_os_lock_writer(&store->file)) == STELE_E_BUSY) {
        if (stele_os_clock_us() >= deadline_us)
            return busy(store, "another process");
        /* Whoever holds W sees this and does not take it again at once. */
        stele_store(&store->live.words->wanted.word, 1);
        stele_os_sleep_us(back_off_us);
        back_off_us = stele_min(back_off_us * 2, BACK_OFF_US_MAX);
    }
    return rc;
}

/* Somebody waited when this handle gave W back: let one have it first, for a millisecond at most. */
static void let_others_go_first(struct stele *store)
{
    const struct stele_live *words = store->live.words;
    if (!stele_load(&words->wanted.word))
        return;
    uint64_t until_us = stele_os_clock_us() + COURTESY_US;
    while (stele_load(&words->holds.word) == store->last_holds && stele_os_clock_us() < until_us)
        stele_os_sleep_us(BACK_OFF_US_MIN);
}

/* What others did since: forget what was true of the old session, read the header of a new layout. */
static int catch_up(struct stele *store)
{
    const struct stele_live *words = store->live.words;
    struct stele_superblock now;
    bool is_new_session = stele_load(&words->session.word) != store->session;
    if (is_new_session || stele_load(&words->layout_version.word) != store->superblock.slot.layout_version) {
        int rc = stele_superblock_read(&store->file, &now);
        if (rc)
            return rc;
        if (!stele_is_zero(now.slot.superseded_by, sizeof(now.slot.superseded_by)))
            return stele_fail(STELE_E_STALE, "%s: the store was rewritten into a new file; open it again", store->path);
        stele_handle_set_superblock(store, &now);
    }
    uint64_t logged = stele_load(&words->logged.word);
    if (is_new_session || stele_load(&words->ring_head.word) != store->last_head) {
        stele_block_forget(store);
        store->has_user = store->has_tag = false;
        store->modified_us = 0;
        store->has_foreign = true; /* the ring is looked at when it is emptied: it knows */
    }
    if (logged != store->last_logged) {
        stele_block_forget(store); /* a checkpoint of theirs may have left the head where it was */
        store->has_foreign = true;
    }
    store->session = stele_load(&words->session.word);
    store->last_head = stele_load(&words->ring_head.word);
    store->last_logged = logged;
    return STELE_OK;
}

/* The count that a commit starts from is another process's word. */
static int check_count(const struct stele *store)
{
    uint64_t count = stele_load(&store->live.words->count.word);
    if (count > store->superblock.layout.capacity)
        return stele_fail(STELE_E_DAMAGED, "%s: live region: a count of %" PRIu64 " with a capacity of %" PRIu64,
                          store->path, count, store->superblock.layout.capacity);
    return STELE_OK;
}

static int check_file(const struct stele *store)
{
    struct stele_os_stat stat;
    int rc = stele_os_stat(&store->file, &stat);
    if (!rc && stat.links == 0)
        rc = stele_fail(STELE_E_STALE, "%s: the file was removed or replaced; what is written to it would be lost",
                        store->path);
    if (!rc && stat.bytes < store->superblock.layout.file_bytes)
        rc = stele_fail(STELE_E_TRUNCATED, "%s: the file was cut to %" PRIu64 " bytes; its header says %" PRIu64,
                        store->path, stat.bytes, store->superblock.layout.file_bytes);
    return rc;
}

static int look(struct stele *store)
{
    struct stele_live *words = store->live.words;
    stele_store(&words->holds.word, stele_load(&words->holds.word) + 1);
    stele_store(&words->wanted.word, 0);
    int rc = check_file(store);
    if (!rc && stele_live_is_cut(&store->live))
        rc = stele_handle_cut(store);
    if (!rc && stele_load_acquire(&words->state.word) != STELE_STATE_IDLE) {
        struct stele_recovery report;
        rc = stele_recover_make(store, false, &report);
    }
    /* Another handle put them in place: a writeback error of its stores may never be told to this one. */
    if (!rc && stele_settle_catch_up(store))
        store->has_foreign = true;
    if (!rc)
        rc = catch_up(store);
    /* What another handle left pending comes first: this one's commits go behind it. */
    if (!rc && !stele_settle_is_due(store) && stele_load(&words->logged.word) != stele_load(&words->applied.word))
        rc = stele_recover_pending(store);
    if (!rc)
        rc = check_count(store);
    if (!rc)
        stele_settle_begin(store);
    return rc;
}

/*
 * Whether the handle still has W, for commits that wait to be settled; all that is known of the store is so then. If
 * others wait for W, no more are let in: it is given back first.
 */
static bool has_writer(struct stele *store, uint64_t deadline_us)
{
    struct stele_group *group = &store->group;
    stele_os_mutex_lock(&store->mutex);
    while (group->waiter_count && stele_load(&store->live.words->wanted.word) && stele_os_clock_us() < deadline_us)
        (void)stele_os_condition_wait(&group->moved, &store->mutex, deadline_us);
    if (group->is_writer_held && group->waiter_count == 0 && stele_load(&store->live.words->wanted.word)) {
        /* The last that waited left it, as the turn was taken by then. */
        __atomic_store_n(&group->is_writer_held, false, __ATOMIC_RELEASE);
        store->last_logged = stele_load(&store->live.words->logged.word);
        store->last_holds = stele_load(&store->live.words->holds.word);
        stele_os_unlock_writer(&store->file);
    }
    bool is_held = group->is_writer_held;
    stele_os_mutex_unlock(&store->mutex);
    return is_held;
}

/* Take W and look at the store. */
static int take_writer(struct stele *store, uint64_t deadline_us)
{
    let_others_go_first(store);
    int rc = stele_turn_wait_lock(store, deadline_us);
    if (rc)
        return rc;
    stele_os_mutex_lock(&store->mutex);
    __atomic_store_n(&store->group.is_writer_held, true, __ATOMIC_RELEASE);
    stele_os_mutex_unlock(&store->mutex);
    rc = look(store);
    if (rc) {
        stele_os_mutex_lock(&store->mutex);
        __atomic_store_n(&store->group.is_writer_held, false, __ATOMIC_RELEASE);
        stele_os_unlock_writer(&store->file);
        stele_os_mutex_unlock(&store->mutex);
    }
    return rc;
}

int stele_turn_take_pending(struct stele *store)
{
    int rc = stele_handle_check(store);
    if (rc)
        return rc;
    if (!store->is_writable)
        return stele_fail(STELE_E_READONLY, "%s: opened read-only; open it with STELE_READ_WRITE to change it",
                          store->path);
    uint64_t deadline_us = stele_os_clock_us() + (uint64_t)store->lock_wait_ms * 1000;
    rc = take_thread_turn(store, deadline_us);
    if (rc)
        return rc;
    /* Asked under the turn: another thread's commit may have failed while this one waited. */
    if (stele_handle_is_poisoned(store)) {
        rc = stele_fail(STELE_E_POISONED, "%s: a commit or a sync failed under this handle; close it and open the "
                        "store again", store->path);
        goto out;
    }
    if (!has_writer(store, deadline_us))
        rc = take_writer(store, deadline_us);
out:
    if (rc)
        give_thread_turn(store);
    return rc;
}

int stele_turn_take(struct stele *store)
{
    int rc = stele_turn_take_pending(store);
    if (rc)
        return rc;
    rc = stele_settle_pending(store);
    if (rc)
        stele_turn_give(store);
    return rc;
}

void stele_turn_give(struct stele *store)
{
    give_thread_turn(store);
}
