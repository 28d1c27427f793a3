#include "apply.h"

#include "error.h"

#include <stdlib.h>

#define BATCH_BYTES (UINT64_C(64) << 10)

int stele_apply_records(struct stele *store, uint64_t index, const uint8_t *records, uint64_t record_count)
{
    uint64_t at = 0, bytes = record_count * store->fixed.record_bytes;
    uint64_t offset = stele_record_offset(&store->fixed, index);
    while (at < bytes) {
        /* Small pieces: a folio made by a large write costs each later store dear. */
        uint64_t piece = stele_min(bytes - at, UINT64_C(16384));
        int rc = stele_os_store(&store->file, offset + at, records + at, (size_t)piece, NULL);
        if (rc)
            return rc;
        at += piece;
        if (at % BATCH_BYTES == 0)
            stele_store(&store->live.words->progress.word, stele_load(&store->live.words->progress.word) + 1);
    }
    return STELE_OK;
}

int stele_apply_words(struct stele *store, uint64_t block, const uint64_t *words, uint64_t word_count)
{
    return stele_os_store(&store->file, stele_word_offset(&store->superblock.layout, block), words,
                          (size_t)(word_count * 8), NULL);
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

/* How many images from @from on are neighbours both in the ring and in the store. */
static size_t run_of(const struct stele_images *images, size_t from, uint64_t record_bytes)
{
    size_t n = 1;
    while (from + n < images->count && n * record_bytes < BATCH_BYTES &&
           images->list[from + n].index == images->list[from].index + n &&
           images->list[from + n].value == images->list[from].value + n * record_bytes)
        n++;
    return n;
}

static int apply_record_images(struct stele *store, const struct stele_images *images)
{
    const uint64_t record_bytes = store->fixed.record_bytes;
    uint8_t *bytes = malloc((size_t)(BATCH_BYTES + record_bytes));
    int rc = bytes ? STELE_OK : stele_fail(STELE_E_NOMEM, "out of memory to replay the journal");
    for (size_t i = 0, n; i < images->count && !rc; i += n) {
        n = run_of(images, i, record_bytes);
        rc = stele_os_read(&store->file, store->fixed.journal_offset + images->list[i].value, bytes,
                           (size_t)(n * record_bytes));
        if (!rc)
            rc = stele_apply_allocate(store, images->list[i].index, n);
        if (!rc)
            rc = stele_apply_records(store, images->list[i].index, bytes, n);
    }
    free(bytes);
    return rc;
}

int stele_apply_replay(struct stele *store, const struct stele_replay *replay)
{
    int rc = apply_record_images(store, &replay->records);
    for (size_t i = 0; i < replay->words.count && !rc; i++) {
        const struct stele_image *word = &replay->words.list[i];
        rc = stele_apply_allocate(store, stele_block_first(&store->fixed, word->index), 1);
        if (!rc)
            rc = stele_apply_words(store, word->index, &word->value, 1);
    }
    return rc;
}

int stele_apply_reduce(struct stele *store, const struct stele_slot *slot, uint64_t last_sequence,
                       struct stele_replay *out)
{
    struct stele_walk walk;
    stele_walk_init(&walk, &store->file, &store->superblock.layout, slot);
    stele_replay_init(out, slot, store->writer_id);
    int rc = stele_replay_walk(out, &walk, last_sequence);
    if (!rc)
        stele_replay_finish(out, &store->superblock.layout);
    stele_walk_done(&walk);
    return rc;
}
