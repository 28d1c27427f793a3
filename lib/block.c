#include "block.h"

#include "error.h"

#include <stdlib.h>

int stele_block_word(struct stele *store, uint64_t block, uint64_t *out_word)
{
    return stele_handle_copy(store, stele_word_offset(&store->superblock.layout, block), out_word, sizeof(*out_word));
}

int stele_block_copy(struct stele *store, uint64_t block, uint64_t record_count, uint8_t *out)
{
    if (record_count == 0)
        return STELE_OK;
    const struct stele_layout *layout = &store->fixed;
    return stele_handle_copy(store, stele_record_offset(layout, stele_block_first(layout, block)), out,
                             (size_t)(record_count * layout->record_bytes));
}

static int damaged(const struct stele *store, uint64_t block, uint64_t record_count, bool is_known)
{
    uint64_t first = stele_block_first(&store->fixed, block);
    int rc = stele_fail(STELE_E_DAMAGED,
                        "%s: block %" PRIu64 " (records %" PRIu64 " to %" PRIu64 ") %s; nothing was changed. "
                        "stele verify lists all damage", store->path, block, first, first + record_count - 1,
                        is_known ? "is marked as damaged" : "does not fit its checksum");
    stele_fail_at(stele_record_offset(&store->fixed, first));
    return rc;
}

int stele_block_load(struct stele *store, uint64_t block, uint64_t record_count, uint64_t *out_word)
{
    int rc = stele_block_word(store, block, out_word);
    if (!rc)
        rc = stele_block_copy(store, block, record_count, store->old_block);
    if (rc || record_count == 0)
        return rc;
    if (stele_word_is_known_damaged(*out_word))
        return damaged(store, block, record_count, true);
    uint64_t *value;
    bool is_new;
    if (stele_lookup_find(&store->checked, block))
        return STELE_OK;
    uint64_t computed;
    if (!stele_sum_check(&store->fixed, store->superblock.slot.sum_seed, block, store->old_block, record_count,
                         *out_word, &computed))
        return damaged(store, block, record_count, false);
    return stele_lookup_put(&store->checked, block, &value, &is_new);
}

uint64_t stele_block_word_after(const struct stele *store, uint64_t block, uint64_t old_word, uint64_t old_count,
                                uint64_t new_count)
{
    const struct stele_layout *layout = &store->fixed;
    bool is_unwritten = stele_word_is_unwritten(old_word) || old_count == 0;
    if (is_unwritten && stele_is_zero(store->new_block, (size_t)(new_count * layout->record_bytes)))
        return 0;
    /* An unwritten block has no sum to start from: the first change computes all of it. */
    struct stele_sum_change change = { .block = block, .old_records = store->old_block,
                                       .old_count = is_unwritten ? 0 : old_count,
                                       .new_records = store->new_block, .new_count = new_count };
    uint64_t old_sum = is_unwritten ? 0 : stele_sum_of(old_word);
    return stele_word_of(stele_sum_after(layout, store->superblock.slot.sum_seed, old_sum, &change));
}

int stele_block_reserve(struct stele *store)
{
    size_t bytes = (size_t)stele_handle_overlap(&store->fixed);
    if (!store->old_block)
        store->old_block = malloc(bytes);
    if (!store->new_block)
        store->new_block = malloc(bytes);
    if (!store->old_block || !store->new_block)
        return stele_fail(STELE_E_NOMEM, "out of memory for a block of %zu bytes", bytes);
    return STELE_OK;
}

void stele_block_forget(struct stele *store)
{
    stele_lookup_clear(&store->checked);
}
