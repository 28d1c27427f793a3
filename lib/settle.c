#include "settle.h"

#include "apply.h"
#include "checkpoint.h"
#include "error.h"

#include <stdlib.h>

/* ---- the run ---- */

/* The entry of the run at *@at, which moves behind it; NULL at the end. */
static const struct stele_entry_head *next_entry(const struct stele_entry *run, size_t *at)
{
    if (*at >= run->used_bytes)
        return NULL;
    const struct stele_entry_head *head = (const void *)(run->bytes + *at);
    *at += (size_t)head->length;
    return head;
}

static const uint8_t *items_of(const struct stele_entry_head *head, const uint8_t **out_end)
{
    *out_end = (const uint8_t *)head + head->length - STELE_ENTRY_TRAILER_BYTES;
    return (const uint8_t *)head + sizeof(*head);
}

/* What a count that goes from @old over @lowest to @new touches: its old last block, and all that is cut. */
static void add_count_stripes(const struct stele_layout *layout, uint64_t old, uint64_t lowest, uint64_t new,
                              struct stele_stripe_set *set)
{
    uint64_t low = stele_min(lowest, new);
    if (old && new != old)
        stele_stripes_add(set, stele_block_of(layout, old - 1));
    if (low < old)
        stele_stripes_add_range(set, stele_block_of(layout, low),
                                stele_blocks_below(layout, old) - stele_block_of(layout, low));
}

/* The stripes of all that the run changes, and the count and the highest count that it comes to. */
static void collect_stripes(const struct stele *store, const struct stele_entry *run, struct stele_stripe_set *set,
                            uint64_t *count, uint64_t *high)
{
    const struct stele_layout *layout = &store->fixed;
    const struct stele_entry_head *head;
    stele_stripes_clear(set);
    for (size_t at = 0; (head = next_entry(run, &at)) != NULL;) {
        const uint8_t *end, *payload, *items = items_of(head, &end);
        const struct stele_item *item;
        while ((item = stele_item_next(&items, end, &payload)) != NULL) {
            if (item->type == STELE_ITEM_RECORDS) {
                uint64_t block = stele_block_of(layout, item->first);
                stele_stripes_add_range(set, block, stele_block_of(layout, item->first + item->n - 1) - block + 1);
            } else if (item->type == STELE_ITEM_SUMS) {
                stele_stripes_add_range(set, item->first, item->n);
            } else if (item->type == STELE_ITEM_COUNT) {
                add_count_stripes(layout, *count, item->first, item->n, set);
                *count = item->n;
                *high = stele_max(*high, item->n);
            }
        }
    }
}

/* In log order: what is stored is what was hashed, and the last image wins. */
static int store_images(struct stele *store, const struct stele_entry *run)
{
    const struct stele_entry_head *head;
    int rc = STELE_OK;
    for (size_t at = 0; !rc && (head = next_entry(run, &at)) != NULL;) {
        const uint8_t *end, *payload, *items = items_of(head, &end);
        const struct stele_item *item;
        while (!rc && (item = stele_item_next(&items, end, &payload)) != NULL) {
            if (item->type == STELE_ITEM_RECORDS) {
                assert(item->bytes == item->n * store->fixed.record_bytes);
                rc = stele_apply_records(store, item->first, payload, item->n);
            } else if (item->type == STELE_ITEM_SUMS) {
                rc = stele_apply_words(store, item->first, (const void *)payload, item->n);
            }
        }
    }
    return rc;
}

/* ---- where the run stands ---- */

/* Whether no other handle settled @run, or recovered: its images count. */
static bool is_own(const struct stele *store, const struct stele_pending *run)
{
    const struct stele_live *words = store->live.words;
    return stele_load_acquire(&words->session.word) == run->session &&
           stele_load_acquire(&words->applied.word) < run->last_sequence;
}

void stele_settle_begin(struct stele *store)
{
    const struct stele_live *words = store->live.words;
    struct stele_group *group = &store->group;
    stele_os_mutex_lock(&group->runs);
    group->tail = stele_load(&words->ring_tail.word);
    group->chain = stele_load(&words->chain.word);
    group->logged = stele_load(&words->logged.word);
    stele_os_mutex_unlock(&group->runs);
}

bool stele_settle_catch_up(struct stele *store)
{
    struct stele_group *group = &store->group;
    bool is_settled = stele_settle_is_due(store) && !is_own(store, &group->open);
    if (is_settled) {
        stele_os_mutex_lock(&group->runs);
        stele_pending_clear(&group->open);
        stele_settle_tell(group);
        stele_os_mutex_unlock(&group->runs);
    }
    return is_settled;
}

uint64_t stele_settle_count(struct stele *store)
{
    struct stele_group *group = &store->group;
    stele_os_mutex_lock(&group->runs);
    uint64_t count = stele_pending_is_any(&group->open)      ? group->open.count
                     : stele_pending_is_any(&group->closing) ? group->closing.count
                                                             : stele_load(&store->live.words->count.word);
    stele_os_mutex_unlock(&group->runs);
    return count;
}

bool stele_settle_lock_read(struct stele *store)
{
    struct stele_group *group = &store->group;
    if (!__atomic_load_n(&group->async_count, __ATOMIC_ACQUIRE))
        return false;
    stele_os_mutex_lock(&group->runs);
    if ((group->open.async_count && is_own(store, &group->open)) ||
        (group->closing.async_count && is_own(store, &group->closing)))
        return true;
    stele_os_mutex_unlock(&group->runs);
    return false;
}

const uint8_t *stele_settle_find(const struct stele *store, uint64_t index, bool is_all)
{
    const struct stele_group *group = &store->group;
    const uint8_t *image = is_all || group->open.async_count ? stele_pending_find(&group->open, index) : NULL;
    if (!image && (is_all || group->closing.async_count))
        image = stele_pending_find(&group->closing, index);
    return image;
}

/* ---- the ring ---- */

/* What is in the ring up to the end of @run. */
static void tell_logged(struct stele *store, const struct stele_pending *run)
{
    struct stele_live *words = store->live.words;
    stele_store(&words->logged.word, run->last_sequence);
    stele_store(&words->chain.word, run->chain);
    stele_store(&words->ring_tail.word, run->place + run->run.used_bytes);
}

/*
 * A failure is the last that the handle does: nobody knows of the commits of @run, and what was added since is nowhere.
 * Who waits reads it from here.
 */
static void fail_run(struct stele *store, const struct stele_pending *run, bool is_done)
{
    struct stele_group *group = &store->group;
    struct stele_error why;
    stele_error_keep(&why);
    stele_os_mutex_lock(&store->mutex);
    if (!group->is_failed) {
        group->is_failed = true;
        group->is_failed_done = is_done;
        group->failed_first = run->first_sequence;
        group->failed_last = run->last_sequence;
        group->why = why;
    }
    stele_os_mutex_unlock(&store->mutex);
}

/* What the failure that @store met says of commit @sequence; the handle's mutex is locked. */
static int failure_of(const struct stele *store, uint64_t sequence)
{
    const struct stele_group *group = &store->group;
    if (sequence > group->failed_last)
        return stele_fail(STELE_E_CONFLICT, "%s: nothing of commit %" PRIu64 " is in the store, as one before it "
                          "failed: %s; close the handle and open the store again", store->path, sequence,
                          group->why.text);
    if (group->is_failed_done)
        return stele_fail_unknown(sequence, 1, "%s: commit %" PRIu64 " is durable but could not be put in place: %s; "
                                  "the next one to open the store does that", store->path, sequence, group->why.text);
    if (group->failed_first == sequence)
        return stele_fail_unknown(sequence, 0, "%s: commit %" PRIu64 " may or may not be there: %s; close the handle, "
                                  "open the store again and ask stele_outcome", store->path, sequence, group->why.text);
    return stele_fail_unknown(sequence, 0, "%s: commits %" PRIu64 " to %" PRIu64 " may or may not be there: %s; close "
                              "the handle, open the store again and ask stele_outcome", store->path,
                              group->failed_first, sequence, group->why.text);
}

void stele_settle_lock(struct stele *store, bool is_async)
{
    struct stele_group *group = &store->group;
    for (;;) {
        stele_os_mutex_lock(&group->runs);
        if (!is_async || !stele_pending_is_any(&group->closing))
            return;
        stele_os_mutex_unlock(&group->runs);
        stele_os_mutex_lock(&store->mutex);
        if (group->is_led)
            (void)stele_os_condition_wait(&group->moved, &store->mutex, stele_os_clock_us() + 1000);
        stele_os_mutex_unlock(&store->mutex);
    }
}

int stele_settle_later(struct stele *store)
{
    struct stele_live *words = store->live.words;
    struct stele_pending *open = &store->group.open;
    stele_live_set_state(&store->live, STELE_STATE_COMMITTING);
    if (open->written_bytes == 0) {
        stele_store(&words->run_place, open->place);
        stele_store(&words->run_chain, open->chain_before);
    }
    int rc = stele_os_write(&store->file, store->fixed.journal_offset + open->place + open->written_bytes,
                            open->run.bytes + open->written_bytes, open->run.used_bytes - open->written_bytes);
    if (rc) {
        fail_run(store, open, false);
        stele_checkpoint_poison(store);
        stele_os_mutex_lock(&store->mutex);
        rc = failure_of(store, open->last_sequence);
        stele_os_mutex_unlock(&store->mutex);
        stele_pending_clear(open);
        stele_settle_tell(&store->group);
        return rc;
    }
    open->written_bytes = open->run.used_bytes;
    tell_logged(store, open);
    open->async_count++;
    stele_settle_tell(&store->group);
    stele_live_set_state(&store->live, STELE_STATE_IDLE);
    return STELE_OK;
}

/* ---- leading ---- */

/* Between odd and even nothing blocks or faults; readers look again when the stripes are even. */
static int put_in_place(struct stele *store, const struct stele_pending *run)
{
    struct stele_live *words = store->live.words;
    struct stele_stripe_set set;
    uint64_t count = stele_load(&words->count.word), high = stele_load(&words->count_high.word);
    collect_stripes(store, &run->run, &set, &count, &high);
    stele_stripes_hold(&store->live, &set);
    int rc = store_images(store, &run->run);
    if (rc)
        return rc;
    stele_store_release(&words->count.word, count);
    stele_store(&words->count_high.word, high);
    stele_store_release(&words->version.word, run->last_sequence);
    stele_stripes_release(&store->live, &set, run->last_sequence);
    stele_store_release(&words->applied.word, run->last_sequence);
    return STELE_OK;
}

/* False if there is nothing in the open run: an asynchronous commit of it failed. */
static bool close_run(struct stele *store)
{
    struct stele_group *group = &store->group;
    stele_os_mutex_lock(&group->runs);
    struct stele_pending empty = group->closing;
    bool is_any = stele_pending_is_any(&group->open);
    if (is_any) {
        group->closing = group->open;
        group->open = empty; /* its memory serves the next */
        stele_live_set_state(&store->live, STELE_STATE_COMMITTING);
    }
    stele_os_mutex_unlock(&group->runs);
    return is_any;
}

/* Settle what the open run holds; one thread at a time. */
static void lead(struct stele *store)
{
    struct stele_group *group = &store->group;
    struct stele_live *words = store->live.words;
    const struct stele_pending *run = &group->closing;
    if (!close_run(store))
        return;
    /*
     * The order is the guarantee (DESIGN.md, Commit):
     *  1. the whole run durable, in one write and one sync: from here a crash replays it;
     *  2. records and sums in place: a crash may tear them, step 1 repairs that;
     *  3. count and version published: readers may look.
     */
    int rc = stele_os_write_durable(&store->file, store->fixed.journal_offset + run->place, run->run.bytes,
                                    (size_t)stele_round_up(run->run.used_bytes, STELE_PAGE_BYTES));
    if (rc)
        fail_run(store, run, false);
    stele_os_mutex_lock(&group->placing);
    if (!rc) {
        tell_logged(store, run);
        stele_store(&words->synced.word, run->last_sequence);
        rc = put_in_place(store, run);
        if (rc) {
            fail_run(store, run, true);
            stele_handle_poison(store);
            stele_live_set_state(&store->live, STELE_STATE_FAILED);
        } else if (stele_live_is_cut(&store->live)) {
            rc = stele_fail(STELE_E_TRUNCATED, "the file was cut meanwhile; restore it from a backup");
            fail_run(store, run, false);
            stele_handle_poison(store);
        }
    } else {
        stele_checkpoint_poison(store);
    }
    uint64_t settled = run->last_sequence;
    stele_os_mutex_lock(&group->runs);
    stele_pending_clear(&group->closing);
    if (rc)
        stele_pending_clear(&group->open);
    else
        stele_live_set_state(&store->live, STELE_STATE_IDLE);
    stele_settle_tell(group);
    stele_os_mutex_unlock(&group->runs);
    stele_os_mutex_unlock(&group->placing);
    if (rc)
        return;
    stele_os_wake(&words->version.word);
    stele_os_mutex_lock(&store->mutex);
    group->settled = settled;
    stele_os_mutex_unlock(&store->mutex);
}

/* ---- waiting ---- */

void stele_settle_join(struct stele *store)
{
    stele_os_mutex_lock(&store->mutex);
    store->group.waiter_count++;
    stele_os_mutex_unlock(&store->mutex);
}

void stele_settle_release(struct stele *store)
{
    struct stele_live *words = store->live.words;
    struct stele_group *group = &store->group;
    if (store->is_turn_taken || group->waiter_count || !group->is_writer_held)
        return;
    store->last_logged = stele_load(&words->logged.word);
    store->last_holds = stele_load(&words->holds.word);
    __atomic_store_n(&group->is_writer_held, false, __ATOMIC_RELEASE);
    stele_os_unlock_writer(&store->file);
}

int stele_settle_wait(struct stele *store, uint64_t sequence)
{
    struct stele_group *group = &store->group;
    int rc = STELE_OK;
    stele_os_mutex_lock(&store->mutex);
    while (group->settled < sequence && !group->is_failed) {
        if (group->is_led) {
            (void)stele_os_condition_wait(&group->moved, &store->mutex, UINT64_MAX);
            continue;
        }
        group->is_led = true;
        stele_os_mutex_unlock(&store->mutex);
        lead(store);
        stele_os_mutex_lock(&store->mutex);
        group->is_led = false;
        stele_os_condition_broadcast(&group->moved);
    }
    if (group->settled < sequence)
        rc = failure_of(store, sequence);
    group->waiter_count--;
    stele_settle_release(store);
    if (group->waiter_count == 0)
        stele_os_condition_broadcast(&group->moved);
    stele_os_mutex_unlock(&store->mutex);
    return rc;
}

static bool has_failed(struct stele *store)
{
    stele_os_mutex_lock(&store->mutex);
    bool is_failed = store->group.is_failed;
    stele_os_mutex_unlock(&store->mutex);
    return is_failed;
}

int stele_settle_pending(struct stele *store)
{
    /* What failed is due no more, and not settled either. */
    if (!stele_settle_is_due(store) && !has_failed(store))
        return STELE_OK;
    stele_settle_join(store);
    return stele_settle_wait(store, store->group.logged);
}

int stele_settle_before(struct stele *store)
{
    struct stele_error why;
    int rc = stele_settle_pending(store);
    if (rc != STELE_E_UNKNOWN)
        return rc;
    stele_error_keep(&why);
    return stele_fail(STELE_E_CONFLICT, "nothing of this commit is in the store, as one before it failed: %s",
                      why.text);
}
