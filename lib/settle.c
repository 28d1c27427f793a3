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
static void collect_stripes(const struct stele *store, struct stele_stripe_set *set, uint64_t *count, uint64_t *high)
{
    const struct stele_layout *layout = &store->fixed;
    const struct stele_entry_head *head;
    stele_stripes_clear(set);
    for (size_t at = 0; (head = next_entry(&store->entry, &at)) != NULL;) {
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
static int store_images(struct stele *store)
{
    const struct stele_entry_head *head;
    int rc = STELE_OK;
    for (size_t at = 0; !rc && (head = next_entry(&store->entry, &at)) != NULL;) {
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

/* ---- pending ---- */

bool stele_settle_is_own(const struct stele *store)
{
    const struct stele_live *words = store->live.words;
    return stele_load_acquire(&words->session.word) == store->pending.session &&
           stele_load_acquire(&words->applied.word) < store->pending.last_sequence;
}

void stele_settle_forget(struct stele *store)
{
    stele_os_mutex_lock(&store->pending.mutex);
    stele_pending_clear(&store->pending);
    stele_os_mutex_unlock(&store->pending.mutex);
    store->entry.used_bytes = store->entry.start_bytes = 0;
}

/* The run may or may not be in the ring: nobody knows before a recovery. */
static int unknown(struct stele *store, uint64_t sequence)
{
    struct stele_error why;
    uint64_t first = stele_settle_is_due(store) ? store->pending.first_sequence : sequence;
    stele_error_keep(&why);
    stele_checkpoint_poison(store);
    stele_settle_forget(store);
    if (first == sequence)
        return stele_fail_unknown(sequence, 0, "%s: commit %" PRIu64 " may or may not be there: %s; close the "
                                  "handle, open the store again and ask stele_outcome", store->path, sequence, why.text);
    return stele_fail_unknown(sequence, 0, "%s: commits %" PRIu64 " to %" PRIu64 " may or may not be there: %s; close "
                              "the handle, open the store again and ask stele_outcome", store->path, first, sequence,
                              why.text);
}

static void tell_logged(struct stele *store, uint64_t sequence, uint64_t trailer)
{
    struct stele_live *words = store->live.words;
    stele_store(&words->logged.word, sequence);
    stele_store(&words->chain.word, trailer);
    stele_store(&words->ring_tail.word, store->run_place + store->entry.used_bytes);
}

int stele_settle_later(struct stele *store, uint64_t sequence, uint64_t trailer)
{
    struct stele_live *words = store->live.words;
    const struct stele_entry *run = &store->entry;
    bool is_first = store->pending.entry_count == 1;
    stele_live_set_state(&store->live, STELE_STATE_COMMITTING);
    if (is_first) {
        stele_store(&words->run_place, store->run_place);
        stele_store(&words->run_chain, stele_load(&words->chain.word));
    }
    int rc = stele_os_write(&store->file, store->fixed.journal_offset + store->run_place + run->start_bytes,
                            run->bytes + run->start_bytes, run->used_bytes - run->start_bytes);
    if (rc)
        return unknown(store, sequence);
    tell_logged(store, sequence, trailer);
    stele_live_set_state(&store->live, STELE_STATE_IDLE);
    return STELE_OK;
}

/* ---- settling ---- */

/* Between odd and even nothing blocks or faults; readers look again when the stripes are even. */
static int put_in_place(struct stele *store, uint64_t sequence)
{
    struct stele_live *words = store->live.words;
    struct stele_stripe_set set;
    uint64_t count = stele_load(&words->count.word), high = stele_load(&words->count_high.word);
    collect_stripes(store, &set, &count, &high);
    stele_stripes_hold(&store->live, &set);
    int rc = store_images(store);
    if (rc) {
        struct stele_error why;
        stele_error_keep(&why);
        store->is_poisoned = true;
        stele_live_set_state(&store->live, STELE_STATE_FAILED);
        return stele_fail_unknown(sequence, 1, "%s: commit %" PRIu64 " is durable but could not be put in place: %s; "
                                  "the next one to open the store does that", store->path, sequence, why.text);
    }
    stele_store_release(&words->count.word, count);
    stele_store(&words->count_high.word, high);
    stele_store_release(&words->version.word, sequence);
    stele_stripes_release(&store->live, &set, sequence);
    stele_store_release(&words->applied.word, sequence);
    return STELE_OK;
}

int stele_settle_run(struct stele *store, uint64_t sequence, uint64_t trailer)
{
    struct stele_live *words = store->live.words;
    const struct stele_entry *run = &store->entry;
    /*
     * The order is the guarantee (DESIGN.md, Commit):
     *  1. the whole run durable, in one write and one sync: from here a crash replays it;
     *  2. records and sums in place: a crash may tear them, step 1 repairs that;
     *  3. count and version published: readers may look.
     */
    stele_live_set_state(&store->live, STELE_STATE_COMMITTING);
    int rc = stele_os_write_durable(&store->file, store->fixed.journal_offset + store->run_place, run->bytes,
                                    (size_t)stele_round_up(run->used_bytes, STELE_PAGE_BYTES));
    if (rc)
        return unknown(store, sequence);
    tell_logged(store, sequence, trailer);
    stele_store(&words->synced.word, sequence);
    rc = put_in_place(store, sequence);
    stele_settle_forget(store);
    if (rc)
        return rc;
    if (stele_live_is_cut(&store->live)) {
        store->is_poisoned = true;
        return stele_fail_unknown(sequence, 0, "%s: the file was cut during commit %" PRIu64 "; restore it from a "
                                  "backup", store->path, sequence);
    }
    stele_live_set_state(&store->live, STELE_STATE_IDLE);
    stele_os_wake(&words->version.word);
    return STELE_OK;
}

int stele_settle_pending(struct stele *store)
{
    if (!stele_settle_is_due(store))
        return STELE_OK;
    return stele_settle_run(store, store->pending.last_sequence, stele_load(&store->live.words->chain.word));
}
