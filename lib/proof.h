/*
 * Proof that what is read fits its sum: STELE_VERIFY_READS.
 *
 * Each block is checked when it is first read through a handle, and again after its stripe moved. What was found good
 * is remembered in a table of fixed size; a block that was pushed out of it is checked once more.
 *
 * Threads: any
 */
#ifndef STELE_PROOF_H
#define STELE_PROOF_H

#include "handle.h"

/* Errors: STELE_E_NOMEM. Owner: caller frees *@out. */
int stele_proof_new(const struct stele_superblock *superblock, struct stele_proof **out);
void stele_proof_free(struct stele_proof *proof); /* NULL is fine */

/*
 * Check that @block fits its sum, as @reading sees it with @count records. Its records were read under the even
 * @stripe word, or detached, with 0.
 *
 * Errors:  STELE_END a writer was in the way: look again; STELE_E_DAMAGED; STELE_E_TRUNCATED, STELE_E_IO, STELE_E_NOMEM
 */
int stele_proof_check(struct stele *store, const struct stele_reading *reading, uint64_t block, uint64_t stripe,
                      uint64_t count);

#endif
