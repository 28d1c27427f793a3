/* Repair: damaged blocks are made good, after what they hold was handed out. */
#include "block.h"
#include "commit.h"
#include "error.h"
#include "schema.h"
#include "turn.h"

#include <stdlib.h>

#define BATCH_BYTES (UINT64_C(256) << 10)
#define ITEMS_BYTES UINT64_C(256) /* more than the heads of a block's items in an entry */
#define PROGRESS_BYTES (UINT64_C(4) << 20)

typedef int stele_repair_log(void *context, uint64_t block, uint64_t old_word, uint64_t first_index,
                             const void *old_records, size_t record_count);

struct repair {
    struct stele *store;
    uint64_t first, end; /* records */
    const uint8_t *records;
    uint32_t how;
    stele_repair_log *log;
    void *context;
    uint64_t count;      /* of the store */
    uint64_t reported_bytes;
    /* The batch: new images, one behind the other, and words. */
    size_t block_count_max, block_count, staged_count;
    uint8_t *images;
    struct stele_staged *staged;
    struct stele_word *words, *old_words;
};

static int unreadable(const struct repair *repair, uint64_t block, int code)
{
    struct stele_error why;
    stele_error_keep(&why);
    uint64_t first = stele_block_first(&repair->store->fixed, block);
    int rc = stele_fail(code, "block %" PRIu64 " (records from %" PRIu64 " on) cannot be repaired where it is: %s; "
                        "restore a backup to another medium", block, first, why.text);
    stele_fail_at(stele_record_offset(&repair->store->fixed, first));
    return rc;
}

/* Block and word as they are, to store->old_block and *@out_word. What was checked before is looked at anew. */
static int look(const struct repair *repair, uint64_t block, uint64_t *out_word, bool *out_is_damaged)
{
    struct stele *store = repair->store;
    uint64_t records = stele_block_records(&store->fixed, block, repair->count), computed;
    int rc = stele_block_word(store, block, out_word);
    if (!rc)
        rc = stele_block_copy(store, block, records, store->old_block);
    if (rc)
        return unreadable(repair, block, rc);
    *out_is_damaged = stele_word_is_known_damaged(*out_word) ||
                      !stele_sum_check(&store->fixed, store->superblock.slot.sum_seed, block, store->old_block,
                                       records, *out_word, &computed);
    return STELE_OK;
}

/* What becomes of the damaged @block, to store->new_block. */
static int decide(const struct repair *repair, uint64_t block, uint64_t old_word)
{
    struct stele *store = repair->store;
    const struct stele_layout *layout = &store->fixed;
    const uint64_t record_bytes = layout->record_bytes, first = stele_block_first(layout, block);
    const uint64_t records = stele_block_records(layout, block, repair->count);
    const uint64_t from = stele_max(first, repair->first), end = stele_min(first + records, repair->end);
    uint8_t *to = store->new_block + (from - first) * record_bytes;
    uint64_t computed;
    memcpy(store->new_block, store->old_block, (size_t)(records * record_bytes));
    if (repair->how == STELE_REPAIR_ZERO) {
        memset(to, 0, (size_t)((end - from) * record_bytes));
    } else if (repair->how == STELE_REPAIR_REPLACE) {
        memcpy(to, repair->records + (from - repair->first) * record_bytes, (size_t)((end - from) * record_bytes));
        stele_schema_clear_padding(store->schema, to, (size_t)(end - from));
    }
    if (end - from == records || (!stele_word_is_known_damaged(old_word) &&
                                  stele_sum_check(layout, store->superblock.slot.sum_seed, block, store->new_block,
                                                  records, old_word, &computed)))
        return STELE_OK;
    int rc = stele_fail(STELE_E_RANGE, "%s: block %" PRIu64 " is damaged, and which of its records are wrong is not "
                        "known: repair all of them, %" PRIu64 "..%" PRIu64 ", or bring the wrong ones back as they "
                        "were; it was not changed", store->path, block, first, first + records);
    stele_fail_at(stele_record_offset(layout, first));
    return rc;
}

/* Blocks that the range covers in part are refused before anything changes. */
static int check_edges(const struct repair *repair)
{
    const struct stele_layout *layout = &repair->store->fixed;
    const uint64_t edges[2] = { stele_block_of(layout, repair->first), stele_block_of(layout, repair->end - 1) };
    int rc = STELE_OK;
    for (unsigned i = 0; i < 2 && !rc; i++) {
        uint64_t word;
        bool is_damaged;
        rc = look(repair, edges[i], &word, &is_damaged);
        if (!rc && is_damaged)
            rc = decide(repair, edges[i], word);
    }
    return rc;
}

static void stage(struct repair *repair, uint64_t block, uint64_t old_word)
{
    struct stele *store = repair->store;
    const struct stele_layout *layout = &store->fixed;
    const uint64_t records = stele_block_records(layout, block, repair->count);
    uint8_t *image = repair->images + repair->staged_count * (size_t)layout->record_bytes;
    memcpy(image, store->new_block, (size_t)(records * layout->record_bytes));
    for (uint64_t i = 0; i < records; i++)
        repair->staged[repair->staged_count++] = (struct stele_staged){
            .index = stele_block_first(layout, block) + i, .record = image + i * layout->record_bytes };
    uint64_t sum = stele_sum_block(layout, store->superblock.slot.sum_seed, block, image, records);
    repair->words[repair->block_count] = (struct stele_word){ .block = block, .word = stele_word_of(sum) };
    repair->old_words[repair->block_count++] = (struct stele_word){ .block = block, .word = old_word };
}

static int commit(struct repair *repair)
{
    struct stele_commit_plan plan = {
        .old_count = repair->count, .lowest = repair->count, .new_count = repair->count,
        .records = repair->staged, .record_count = repair->staged_count,
        .words = repair->words, .word_count = repair->block_count,
        .repaired = repair->old_words, .repaired_count = repair->block_count,
    };
    if (repair->block_count == 0)
        return STELE_OK;
    repair->block_count = repair->staged_count = 0;
    return stele_commit_write(repair->store, &plan, NULL);
}

static int repair_block(struct repair *repair, uint64_t block)
{
    struct stele *store = repair->store;
    uint64_t old_word;
    bool is_damaged;
    int rc = look(repair, block, &old_word, &is_damaged);
    if (rc || !is_damaged)
        return rc;
    rc = decide(repair, block, old_word);
    if (rc)
        return rc;
    if (repair->log(repair->context, block, old_word, stele_block_first(&store->fixed, block), store->old_block,
                    (size_t)stele_block_records(&store->fixed, block, repair->count)))
        return stele_fail(STELE_E_INTERRUPTED, "%s: what block %" PRIu64 " holds was not taken; it is as before",
                          store->path, block);
    stage(repair, block, old_word);
    return repair->block_count == repair->block_count_max ? commit(repair) : STELE_OK;
}

static int report_progress(struct repair *repair, uint64_t block)
{
    struct stele *store = repair->store;
    uint64_t done = (stele_block_first(&store->fixed, block) - repair->first) * store->fixed.record_bytes;
    if (!store->progress || block == stele_block_of(&store->fixed, repair->first) ||
        done - repair->reported_bytes < PROGRESS_BYTES)
        return STELE_OK;
    repair->reported_bytes = done;
    if (store->progress(store->progress_context, done, (repair->end - repair->first) * store->fixed.record_bytes))
        return stele_fail(STELE_E_INTERRUPTED, "%s: repair was stopped before block %" PRIu64, store->path, block);
    return STELE_OK;
}

static int make_batch(struct repair *repair)
{
    const struct stele_layout *layout = &repair->store->fixed;
    const uint64_t block_bytes = layout->records_per_block * layout->record_bytes;
    const uint64_t entry_bytes = stele_min(BATCH_BYTES, stele_ring_entry_bytes_max(layout->journal_bytes) / 2);
    size_t blocks = (size_t)stele_max(entry_bytes / (block_bytes + ITEMS_BYTES), 1);
    size_t records = blocks * (size_t)layout->records_per_block;
    repair->block_count_max = blocks;
    repair->images = malloc(blocks * (size_t)block_bytes);
    repair->staged = malloc(records * sizeof(*repair->staged));
    repair->words = malloc(blocks * sizeof(*repair->words));
    repair->old_words = malloc(blocks * sizeof(*repair->old_words));
    if (!repair->images || !repair->staged || !repair->words || !repair->old_words)
        return stele_fail(STELE_E_NOMEM, "out of memory to repair %zu blocks at once", blocks);
    return stele_block_reserve(repair->store);
}

/* The turn is taken. */
static int make(struct repair *repair)
{
    struct stele *store = repair->store;
    repair->count = stele_load(&store->live.words->count.word);
    uint64_t n = repair->end - repair->first;
    if (repair->first > repair->count || n > repair->count - repair->first)
        return stele_fail(STELE_E_RANGE, "%s: %" PRIu64 " records from %" PRIu64 " on do not all exist: there are %"
                          PRIu64, store->path, n, repair->first, repair->count);
    if (n == 0)
        return STELE_OK;
    int rc = make_batch(repair);
    if (!rc)
        rc = check_edges(repair);
    uint64_t end_block = stele_blocks_below(&store->fixed, repair->end);
    for (uint64_t block = stele_block_of(&store->fixed, repair->first); block < end_block && !rc; block++) {
        rc = report_progress(repair, block);
        if (!rc)
            rc = repair_block(repair, block);
    }
    return rc ? rc : commit(repair);
}

int stele_repair(struct stele *store, uint64_t first_index, uint64_t record_count, const void *records_or_null,
                 uint32_t how, stele_repair_log *log, void *context)
{
    if (!store || !log)
        return stele_fail(STELE_E_USAGE, "stele_repair: store and log must not be NULL");
    if (how < STELE_REPAIR_REPLACE || how > STELE_REPAIR_ACCEPT || (how == STELE_REPAIR_REPLACE) != !!records_or_null)
        return stele_fail(STELE_E_USAGE, "stele_repair: records go with STELE_REPAIR_REPLACE, and with nothing else");
    if (record_count > UINT64_MAX - first_index)
        return stele_fail(STELE_E_RANGE, "%s: there are no %" PRIu64 " records from %" PRIu64 " on", store->path,
                          record_count, first_index);
    struct repair repair = { .store = store, .first = first_index, .end = first_index + record_count,
                             .records = records_or_null, .how = how, .log = log, .context = context };
    int rc = stele_turn_take(store);
    if (rc)
        return rc;
    rc = make(&repair);
    stele_turn_give(store);
    free(repair.images);
    free(repair.staged);
    free(repair.words);
    free(repair.old_words);
    return rc;
}
