#include "sums.h"

#include "hash.h"

uint64_t stele_sum_cell(const struct stele_layout *layout, uint64_t sum_seed, uint64_t first_index,
                        const uint8_t *records, uint64_t record_count)
{
    if (record_count == 0)
        return 0;
    return stele_hash64(records, (size_t)(record_count * layout->record_bytes), first_index + sum_seed);
}

uint64_t stele_sum_block(const struct stele_layout *layout, uint64_t sum_seed, uint64_t block,
                         const uint8_t *records, uint64_t record_count)
{
    uint64_t sum = 0;
    uint64_t first_index = stele_block_first(layout, block);
    for (uint64_t at = 0; at < record_count; at += layout->records_per_cell) {
        uint64_t in_cell = stele_min(layout->records_per_cell, record_count - at);
        sum += stele_sum_cell(layout, sum_seed, first_index + at, records + at * layout->record_bytes, in_cell);
    }
    return sum & (UINT64_MAX >> 1);
}

bool stele_sum_check(const struct stele_layout *layout, uint64_t sum_seed, uint64_t block, const uint8_t *records,
                     uint64_t record_count, uint64_t word, uint64_t *out_computed)
{
    if (stele_word_is_unwritten(word) && stele_is_zero(records, (size_t)(record_count * layout->record_bytes))) {
        *out_computed = 0;
        return true;
    }
    *out_computed = stele_word_of(stele_sum_block(layout, sum_seed, block, records, record_count));
    return *out_computed == word;
}

uint64_t stele_sum_after(const struct stele_layout *layout, uint64_t sum_seed, uint64_t old_sum,
                         const struct stele_sum_change *change)
{
    uint64_t sum = old_sum;
    uint64_t first_index = stele_block_first(layout, change->block);
    uint64_t end = stele_max(change->old_count, change->new_count);
    for (uint64_t at = 0; at < end; at += layout->records_per_cell) {
        uint64_t was = change->old_count > at ? stele_min(layout->records_per_cell, change->old_count - at) : 0;
        uint64_t is = change->new_count > at ? stele_min(layout->records_per_cell, change->new_count - at) : 0;
        const uint8_t *old_cell = change->old_records + at * layout->record_bytes;
        const uint8_t *new_cell = change->new_records + at * layout->record_bytes;
        if (was == is && memcmp(old_cell, new_cell, (size_t)(was * layout->record_bytes)) == 0)
            continue;
        sum -= stele_sum_cell(layout, sum_seed, first_index + at, old_cell, was);
        sum += stele_sum_cell(layout, sum_seed, first_index + at, new_cell, is);
    }
    return sum & (UINT64_MAX >> 1);
}
