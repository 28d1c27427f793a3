/*
 * Putting images in place: records and words, by window_store, so that every view of every process sees them.
 *
 * Not here: stripes, count, order against the journal. The callers (txn, recover, checkpoint) argue those.
 */
#ifndef STELE_APPLY_H
#define STELE_APPLY_H

#include "handle.h"

/* Store @record_count packed records from @index on. Errors: STELE_E_FULL, STELE_E_IO; some may be stored */
int stele_apply_records(struct stele *store, uint64_t index, const uint8_t *records, uint64_t record_count);
/* Store @word_count words from that of @block on. Errors: as stele_apply_records */
int stele_apply_words(struct stele *store, uint64_t block, const uint64_t *words, uint64_t word_count);
/*
 * Say that records below @end_index, or sums of their blocks, may be stored to from now on (FORMAT.md, 6: stored_end);
 * nothing where stores are writes. Who stores through the functions here need not.
 */
void stele_apply_touch(struct stele *store, uint64_t end_index);
/* In a sparse store, allocate disk for @record_count records from @index on and their words. Errors: STELE_E_FULL */
int stele_apply_allocate(struct stele *store, uint64_t index, uint64_t record_count);

/*
 * Do now what could fail when @record_count records from @index on, or the word of @block, are stored: disk in a sparse
 * store, and where stores go through views, pages that can be written.
 *
 * Errors:  STELE_E_FULL, STELE_E_IO, STELE_E_NOMEM; nothing is stored
 */
int stele_apply_prepare_records(struct stele *store, uint64_t index, uint64_t record_count);
int stele_apply_prepare_word(struct stele *store, uint64_t block);
/* Store every last image that @replay came to, out of the ring. Errors: STELE_E_FULL, _IO, _NOMEM */
int stele_apply_replay(struct stele *store, const struct stele_replay *replay);

/*
 * Walk the ring from the checkpoint that @slot describes up to @last_sequence, and reduce it.
 *
 * Owner:   caller calls stele_replay_done, also after an error
 */
int stele_apply_reduce(struct stele *store, const struct stele_slot *slot, uint64_t last_sequence,
                       struct stele_replay *out);

#endif
