/*
 * Blocks of an open store: their bytes, their words, and the check before the first change.
 *
 * A block is checked against its word before its first change since the checkpoint, so damage is never blessed by a
 * new sum. Words and bytes come through the windows, guarded.
 *
 * Threads: the one that has the turn
 */
#ifndef STELE_BLOCK_H
#define STELE_BLOCK_H

#include "handle.h"
#include "sums.h"

/* The word of @block. Errors: STELE_E_TRUNCATED, STELE_E_IO */
int stele_block_word(struct stele *store, uint64_t block, uint64_t *out_word);

/* Copy the first @record_count records of @block to @out. Errors: STELE_E_TRUNCATED, STELE_E_IO */
int stele_block_copy(struct stele *store, uint64_t block, uint64_t record_count, uint8_t *out);

/*
 * Copy the first @record_count records of @block to store->old_block and its word to *@out_word; check them if they
 * were not since the checkpoint.
 *
 * Errors:  STELE_E_DAMAGED naming block and records; STELE_E_TRUNCATED, STELE_E_IO, STELE_E_NOMEM
 */
int stele_block_load(struct stele *store, uint64_t block, uint64_t record_count, uint64_t *out_word);

/*
 * The word of @block when its first @old_count records, in store->old_block under @old_word, become the first
 * @new_count records of store->new_block.
 */
uint64_t stele_block_word_after(const struct stele *store, uint64_t block, uint64_t old_word, uint64_t old_count,
                                uint64_t new_count);

/* Room for a block in store->old_block and store->new_block. Errors: STELE_E_NOMEM */
int stele_block_reserve(struct stele *store);

/* Forget which blocks were checked: a checkpoint, or another writer's session. */
void stele_block_forget(struct stele *store);

#endif
