#include "bulk.h"

#include "apply.h"
#include "block.h"
#include "checkpoint.h"
#include "error.h"
#include "growth.h"

#include <stdlib.h>

#define PIECE_BYTES (UINT64_C(16) << 10) /* the folio that a write makes is as large as the write */
#define WORDS_MAX 2048u
#define BEHIND_BYTES (UINT64_C(8) << 20)
#define PROGRESS_BYTES (UINT64_C(4) << 20)

int stele_bulk_clear_way(struct stele *store)
{
    const struct stele_live *words = store->live.words;
    if (stele_load(&words->count.word) >= stele_load(&words->count_high.word))
        return STELE_OK;
    return stele_checkpoint_make(store, 0, false);
}

struct bulk {
    struct stele *store;
    const uint8_t *records;
    uint64_t first, end;   /* of the records */
    uint8_t *piece;        /* where padding has to be cleared first */
    uint64_t words[WORDS_MAX];
    uint64_t word_block, word_count; /* waiting to be stored */
    uint64_t reported_bytes;
    uint64_t behind; /* records up to here are on their way to the disk */
};

static int flush_words(struct bulk *bulk)
{
    int rc = bulk->word_count ? stele_apply_words(bulk->store, bulk->word_block, bulk->words, bulk->word_count)
                              : STELE_OK;
    bulk->word_count = 0;
    return rc;
}

static int add_word(struct bulk *bulk, uint64_t block, uint64_t word)
{
    int rc = bulk->word_count == WORDS_MAX ? flush_words(bulk) : STELE_OK;
    if (bulk->word_count == 0)
        bulk->word_block = block;
    bulk->words[bulk->word_count++] = word;
    return rc;
}

static int report(struct bulk *bulk, uint64_t index)
{
    const uint64_t record_bytes = bulk->store->fixed.record_bytes;
    uint64_t done = (index - bulk->first) * record_bytes;
    if (!bulk->store->progress || done - bulk->reported_bytes < PROGRESS_BYTES)
        return STELE_OK;
    bulk->reported_bytes = done;
    if (bulk->store->progress(bulk->store->progress_context, done, (bulk->end - bulk->first) * record_bytes))
        return stele_fail(STELE_E_INTERRUPTED, "%s: append stopped; nothing of it is in the store", bulk->store->path);
    return STELE_OK;
}

/* Copying and writing side by side: without it the sync at the end waits for all of it at once. */
static void write_behind(struct bulk *bulk, uint64_t index)
{
    const struct stele_layout *layout = &bulk->store->fixed;
    uint64_t bytes = (index - bulk->behind) * layout->record_bytes;
    if (bytes < BEHIND_BYTES)
        return;
    stele_os_write_behind(&bulk->store->file, stele_record_offset(layout, bulk->behind), bytes);
    bulk->behind = index;
}

/* Store records @index to @end, whole blocks but for the first and the last, and sum those that begin here. */
static int put_piece(struct bulk *bulk, uint64_t index, uint64_t end)
{
    struct stele *store = bulk->store;
    const struct stele_layout *layout = &store->fixed;
    const uint8_t *records = bulk->records + (index - bulk->first) * layout->record_bytes;
    size_t padding_count;
    (void)stele_schema_padding(store->schema, &padding_count);
    if (padding_count) {
        memcpy(bulk->piece, records, (size_t)((end - index) * layout->record_bytes));
        stele_schema_clear_padding(store->schema, bulk->piece, (size_t)(end - index));
        records = bulk->piece;
    }
    int rc = stele_apply_records(store, index, records, end - index);
    for (uint64_t at = index; at < end && !rc;) {
        uint64_t block = stele_block_of(layout, at);
        uint64_t block_end = stele_min(stele_block_first(layout, block + 1), end);
        /* The partly filled old last block has its word in the entry. */
        if (at == stele_block_first(layout, block)) {
            uint64_t sum = stele_sum_block(layout, store->superblock.slot.sum_seed, block,
                                           records + (at - index) * layout->record_bytes, block_end - at);
            rc = add_word(bulk, block, stele_word_of(sum));
        }
        at = block_end;
    }
    return rc;
}

static int put_records(struct bulk *bulk)
{
    const struct stele_layout *layout = &bulk->store->fixed;
    uint64_t piece_blocks = stele_max(PIECE_BYTES / (layout->records_per_block * layout->record_bytes), 1);
    uint64_t piece_records = piece_blocks * layout->records_per_block;
    int rc = stele_apply_allocate(bulk->store, bulk->first, bulk->end - bulk->first);
    if (rc)
        return rc;
    bulk->piece = malloc((size_t)(piece_records * layout->record_bytes));
    if (!bulk->piece)
        return stele_fail(STELE_E_NOMEM, "out of memory for a piece of a bulk append");
    for (uint64_t index = bulk->first; index < bulk->end && !rc;) {
        /* Up to a multiple of the piece, so that all but the first begin with a block. */
        uint64_t next = stele_min((index / piece_records + 1) * piece_records, bulk->end);
        rc = put_piece(bulk, index, next);
        if (!rc)
            rc = report(bulk, next);
        write_behind(bulk, next);
        index = next;
    }
    if (!rc)
        rc = flush_words(bulk);
    free(bulk->piece);
    return rc;
}

/* The word of the old last block, when the count does not end with a block: it is below the count, so it is logged. */
static int plan_edge(struct stele *store, const struct bulk *bulk, struct stele_commit_plan *plan)
{
    const struct stele_layout *layout = &store->fixed;
    uint64_t block = stele_block_of(layout, bulk->first);
    uint64_t end = stele_min(stele_block_first(layout, block + 1), bulk->end);
    if (bulk->first == stele_block_first(layout, block))
        return STELE_OK;
    /* Staged for the sum alone: the records are in place already. */
    struct stele_staged *staged = calloc((size_t)(end - bulk->first), sizeof(*staged));
    uint8_t *records = malloc((size_t)((end - bulk->first) * layout->record_bytes));
    int rc = staged && records ? STELE_OK : stele_fail(STELE_E_NOMEM, "out of memory for the edge of a bulk append");
    if (!rc) {
        memcpy(records, bulk->records, (size_t)((end - bulk->first) * layout->record_bytes));
        stele_schema_clear_padding(store->schema, records, (size_t)(end - bulk->first));
        for (uint64_t i = 0; i < end - bulk->first; i++)
            staged[i] = (struct stele_staged){ .index = bulk->first + i, .record = records + i * layout->record_bytes };
        plan->records = staged;
        plan->record_count = (size_t)(end - bulk->first);
        rc = stele_commit_compute(store, plan);
    }
    plan->records = NULL;
    plan->record_count = 0;
    free(staged);
    free(records);
    return rc;
}

int stele_bulk_append(struct stele *store, const uint8_t *records, uint64_t record_count)
{
    const uint64_t count = stele_load(&store->live.words->count.word);
    struct stele_commit_plan plan = { .old_count = count, .lowest = count, .new_count = count + record_count };
    struct bulk *bulk = calloc(1, sizeof(*bulk));
    if (!bulk)
        return stele_fail(STELE_E_NOMEM, "out of memory for a bulk append");
    bulk->store = store;
    bulk->records = records;
    bulk->first = bulk->behind = count;
    bulk->end = count + record_count;
    int rc = stele_growth_make(store, bulk->end, true);
    if (!rc)
        rc = stele_bulk_clear_way(store);
    if (!rc)
        rc = plan_edge(store, bulk, &plan);
    if (!rc)
        rc = put_records(bulk);
    /* Data first: the entry that publishes it may reach the disk before anything that is not synced. */
    if (!rc)
        rc = stele_checkpoint_sync(store);
    if (!rc)
        rc = stele_commit_write(store, &plan, NULL);
    stele_commit_plan_done(&plan);
    free(bulk);
    return rc;
}

/*
 * Up to where records of @first to @end, and the sums of their blocks, may have been stored to. Behind it they read as
 * zeros, in the file and on the disk: nobody stored there, so no zeros wait there for a flush that never came.
 */
static int find_stored_end(struct stele *store, uint64_t first, uint64_t end, uint64_t *out_end)
{
    const struct stele_layout *layout = &store->superblock.layout;
    uint64_t stored_end = store->stores.windows ? stele_load(&store->live.words->stored_end) : end;
    uint64_t from = stele_max(first, stele_min(stored_end, end));
    uint64_t bytes_end = stele_record_offset(layout, end), data = bytes_end;
    uint64_t words_end = stele_word_offset(layout, stele_blocks_below(layout, end)), word = words_end;
    int rc = STELE_OK;
    if (from < end)
        rc = stele_window_next_data(&store->stores, stele_record_offset(layout, from), bytes_end, &data);
    if (!rc && from < end)
        rc = stele_window_next_data(&store->stores, stele_word_offset(layout, stele_blocks_below(layout, from)),
                                    words_end, &word);
    /* Bytes of another system, by which the file came here. */
    if (data < bytes_end || word < words_end) {
        stele_apply_touch(store, end);
        from = end;
    }
    *out_end = from;
    return rc;
}

int stele_bulk_zero(struct stele *store, uint64_t first, uint64_t end)
{
    const struct stele_layout *layout = &store->superblock.layout;
    bool is_sparse = store->superblock.slot.features_incompatible & STELE_FEATURE_SPARSE;
    uint64_t stored_end = end;
    int rc = find_stored_end(store, first, end, &stored_end);
    if (!rc)
        rc = stele_window_zero(&store->stores, stele_record_offset(layout, first),
                               (stored_end - first) * layout->record_bytes, is_sparse);
    /* Words of the blocks wholly behind the count; that of the partly filled one is the entry's. */
    uint64_t first_block = stele_blocks_below(layout, first), end_block = stele_blocks_below(layout, stored_end);
    if (!rc && end_block > first_block)
        rc = stele_window_zero(&store->stores, stele_word_offset(layout, first_block), (end_block - first_block) * 8,
                               is_sparse);
    return rc ? rc : stele_checkpoint_sync(store);
}
