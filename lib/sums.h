/*
 * Block sums: what a block's bytes hash to (FORMAT.md, section 4).
 *
 * Pure: callers bring the bytes. A sum binds bytes to their index and to the store, so swapped, shifted and foreign
 * records show. An incremental change keeps damage elsewhere in the block visible: nothing is ever blessed.
 */
#ifndef STELE_SUMS_H
#define STELE_SUMS_H

#include "layout.h"

/* A word as stored. */
static inline uint64_t stele_word_of(uint64_t sum) { return (sum & (UINT64_MAX >> 1)) << 1 | 1; }
static inline uint64_t stele_sum_of(uint64_t word) { return word >> 1; }
static inline bool stele_word_is_unwritten(uint64_t word) { return word == 0; }
static inline bool stele_word_is_known_damaged(uint64_t word) { return word != 0 && (word & 1) == 0; }

/* Hash of a cell: @record_count packed records at @records, the first of which is record @first_index. */
uint64_t stele_sum_cell(const struct stele_layout *layout, uint64_t sum_seed, uint64_t first_index,
                        const uint8_t *records, uint64_t record_count);

/* Sum of the first @record_count records of @block, which stand at @records. */
uint64_t stele_sum_block(const struct stele_layout *layout, uint64_t sum_seed, uint64_t block,
                         const uint8_t *records, uint64_t record_count);

/* Whether @word fits the first @record_count records of @block, at @records; *@out_computed is what does. */
bool stele_sum_check(const struct stele_layout *layout, uint64_t sum_seed, uint64_t block, const uint8_t *records,
                     uint64_t record_count, uint64_t word, uint64_t *out_computed);

/* What a commit does to one block. */
struct stele_sum_change {
    uint64_t block;
    const uint8_t *old_records; /* the block as it is */
    uint64_t old_count;         /* its records below the count before */
    const uint8_t *new_records; /* the block as it will be */
    uint64_t new_count;         /* … after */
};

/*
 * The sum behind @change, from the @old_sum, by the cells that differ.
 */
uint64_t stele_sum_after(const struct stele_layout *layout, uint64_t sum_seed, uint64_t old_sum,
                         const struct stele_sum_change *change);

#endif
