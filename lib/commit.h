/*
 * A commit: from staged records to one durable journal entry, put in place and published.
 *
 * Order (DESIGN.md, Commit): check and compute everything that can fail; write and sync the entry; store records and
 * words with their stripes odd; count; version; stripes even.
 *
 * Threads: the one that has the turn
 */
#ifndef STELE_COMMIT_H
#define STELE_COMMIT_H

#include "handle.h"

struct stele_staged {
    uint64_t index;
    const uint8_t *record;
};

struct stele_word {
    uint64_t block, word;
};

/* What a commit does. Zeroed it does nothing; done frees the words. */
struct stele_commit_plan {
    uint64_t old_count;
    uint64_t lowest; /* count on the way: records from here to old_count are gone, or staged anew */
    uint64_t new_count;
    const struct stele_staged *records; /* ascending by index, each once; the caller's */
    size_t record_count;
    struct stele_word *words; /* ascending by block */
    size_t word_count, word_room;
    const struct stele_word *repaired; /* words of damaged blocks as they were, for the journal; the caller's */
    size_t repaired_count;
    const uint8_t *user; /* 64 bytes, or NULL */
    uint64_t user_version;
    const uint8_t *tag; /* or NULL */
    size_t tag_bytes;
};

/*
 * Compute the words of all blocks that @plan changes; each is checked first.
 *
 * Shape:   records between old_count and new_count that are not staged are zero already, behind the count
 * Errors:  STELE_E_DAMAGED a block fails its sum; STELE_E_NOMEM, STELE_E_TRUNCATED, STELE_E_IO
 */
int stele_commit_compute(struct stele *store, struct stele_commit_plan *plan);

/* Bytes that the entry of @plan takes in the ring, exactly; its words need not be computed yet. */
uint64_t stele_commit_entry_bytes(const struct stele *store, const struct stele_commit_plan *plan);

/*
 * Check that an entry of @entry_bytes fits the ring at all.
 *
 * Errors:  STELE_E_TOO_BIG naming the ring that would do
 */
int stele_commit_check_size(const struct stele *store, uint64_t entry_bytes);

/*
 * Add @plan to the commits that wait to be settled; its sequence to *@out_sequence.
 *
 * Shape:   what is not durable, or does not end the turn, cuts nothing and raises the count by what is staged only; the
 *          room is there
 * Errors:  before anything changed: STELE_E_TOO_BIG, STELE_E_FULL, STELE_E_NOMEM, STELE_E_CONFLICT one before it
 *          failed; STELE_E_UNKNOWN as stele_commit
 * Durability: STELE_ASYNC: after return it survives the death of the process; else see stele_settle_wait
 */
int stele_commit_add(struct stele *store, const struct stele_commit_plan *plan, enum stele_durability durability,
                     uint64_t *out_sequence);
/*
 * Commit @plan, durably, within the turn; its sequence to *@out_sequence (NULL is fine).
 *
 * Errors:  as stele_commit_add and stele_settle_wait
 */
int stele_commit_write(struct stele *store, const struct stele_commit_plan *plan, uint64_t *out_sequence);

void stele_commit_plan_done(struct stele_commit_plan *plan); /* safe twice, and on a zeroed struct */

#endif
