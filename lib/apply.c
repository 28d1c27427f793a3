#include "apply.h"

#include "error.h"

#include <stdlib.h>

#define BATCH_BYTES (UINT64_C(64) << 10)

/* Readers that wait for even stripes see that the writer goes on. */
static void go_on(struct stele *store)
{
    uint64_t *progress = &store->live.words->progress.word;
    stele_store(progress, stele_load(progress) + 1);
}

void stele_apply_touch(struct stele *store, uint64_t end_index)
{
    uint64_t *stored_end = &store->live.words->stored_end;
    if (!store->stores.windows || stele_load(stored_end) >= end_index)
        return;
    stele_store(stored_end, end_index);
    stele_fence_release();
}

int stele_apply_records(struct stele *store, uint64_t index, const uint8_t *records, uint64_t record_count)
{
    uint64_t at = 0, bytes = record_count * store->fixed.record_bytes;
    uint64_t offset = stele_record_offset(&store->fixed, index);
    stele_apply_touch(store, index + record_count);
    while (at < bytes) {
        /* Small pieces: a folio made by a large write costs each later store dear. */
        uint64_t piece = stele_min(bytes - at, UINT64_C(16384));
        int rc = stele_window_store(&store->stores, offset + at, records + at, piece);
        if (rc)
            return rc;
        at += piece;
        go_on(store);
    }
    return STELE_OK;
}

int stele_apply_words(struct stele *store, uint64_t block, const uint64_t *words, uint64_t word_count)
{
    stele_apply_touch(store, stele_block_first(&store->fixed, block + word_count));
    int rc = stele_window_store(&store->stores, stele_word_offset(&store->superblock.layout, block), words,
                                word_count * 8);
    go_on(store);
    return rc;
}

int stele_apply_allocate(struct stele *store, uint64_t index, uint64_t record_count)
{
    const struct stele_layout *layout = &store->superblock.layout;
    if (!(store->superblock.slot.features_incompatible & STELE_FEATURE_SPARSE) || record_count == 0)
        return STELE_OK;
    uint64_t first = stele_round_down(stele_record_offset(layout, index), STELE_PAGE_BYTES);
    uint64_t end = stele_round_up(stele_record_offset(layout, index + record_count), STELE_PAGE_BYTES);
    int rc = stele_os_allocate(&store->file, first, stele_min(end, layout->sums_offset) - first);
    if (rc)
        return rc;
    uint64_t block = stele_block_of(layout, index);
    uint64_t block_end = stele_block_of(layout, index + record_count - 1) + 1;
    first = stele_round_down(stele_word_offset(layout, block), STELE_PAGE_BYTES);
    end = stele_round_up(stele_word_offset(layout, block_end), STELE_PAGE_BYTES);
    return stele_os_allocate(&store->file, first, stele_min(end, layout->file_bytes) - first);
}

int stele_apply_prepare_records(struct stele *store, uint64_t index, uint64_t record_count)
{
    int rc = stele_apply_allocate(store, index, record_count);
    return rc ? rc : stele_window_prepare(&store->stores, stele_record_offset(&store->fixed, index),
                                          record_count * store->fixed.record_bytes);
}

int stele_apply_prepare_word(struct stele *store, uint64_t block)
{
    int rc = stele_apply_allocate(store, stele_block_first(&store->fixed, block), 1);
    return rc ? rc : stele_window_prepare(&store->stores, stele_word_offset(&store->superblock.layout, block), 8);
}

/* What images @first and following will be stored to: records, or whole blocks. */
static int allocate_images(struct stele *store, uint64_t first, uint64_t n, bool is_words)
{
    const struct stele_layout *layout = &store->superblock.layout;
    if (!is_words)
        return stele_apply_allocate(store, first, n);
    uint64_t index = stele_block_first(layout, first);
    return stele_apply_allocate(store, index, stele_min(n * layout->records_per_block, layout->capacity - index));
}

/* One run of images out of the ring, in batches: records, or words where @is_words. */
static int apply_run(struct stele *store, const struct stele_run *run, uint64_t stride, bool is_words, uint8_t *batch)
{
    int rc = STELE_OK;
    for (uint64_t at = 0, n; at < run->n && !rc; at += n) {
        n = stele_min(stele_max(BATCH_BYTES / stride, 1), run->n - at);
        rc = stele_os_read(&store->file, store->fixed.journal_offset + run->place + at * stride, batch,
                           (size_t)(n * stride));
        if (!rc)
            rc = allocate_images(store, run->first + at, n, is_words);
        if (!rc)
            rc = is_words ? stele_apply_words(store, run->first + at, (const void *)batch, n)
                          : stele_apply_records(store, run->first + at, batch, n);
    }
    return rc;
}

int stele_apply_replay(struct stele *store, const struct stele_replay *replay)
{
    uint8_t *batch = malloc((size_t)stele_max(BATCH_BYTES, store->fixed.record_bytes));
    int rc = batch ? STELE_OK : stele_fail(STELE_E_NOMEM, "out of memory to replay the journal");
    for (size_t i = 0; i < replay->records.count && !rc; i++)
        rc = apply_run(store, &replay->records.list[i], replay->records.stride, false, batch);
    for (size_t i = 0; i < replay->words.count && !rc; i++)
        rc = apply_run(store, &replay->words.list[i], replay->words.stride, true, batch);
    free(batch);
    return rc;
}

int stele_apply_reduce(struct stele *store, const struct stele_slot *slot, uint64_t last_sequence,
                       struct stele_replay *out)
{
    struct stele_walk walk;
    stele_walk_init(&walk, &store->file, &store->superblock.layout, slot);
    stele_replay_init(out, &store->superblock.layout, slot, store->writer_id);
    int rc = stele_replay_walk(out, &walk, last_sequence);
    if (!rc)
        rc = stele_replay_finish(out, &store->superblock.layout);
    stele_walk_done(&walk);
    return rc;
}
