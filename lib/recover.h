/*
 * Recovery: what a dead writer left is made whole, from the ring alone (protocol: lib/DESIGN.md, Recovery).
 *
 * Cut anywhere and run again, it ends in the same bytes. Live readers never see time run backwards.
 *
 * Threads: the one that has the turn, or the one that opens
 */
#ifndef STELE_RECOVER_H
#define STELE_RECOVER_H

#include "handle.h"

/* Every recovery goes on this far above the highest sequence seen, so that none is ever given out twice. */
#define STELE_SEQUENCE_LEAP (UINT64_C(1) << 32)

/*
 * Recover @store and report to *@out. @is_forced: go on behind an acknowledged entry that is lost.
 *
 * Errors:  STELE_E_DAMAGED an acknowledged entry or a later header is lost; STELE_E_VERSION, STELE_E_FULL,
 *          STELE_E_IO …; live state stays recovering, so that the next begin tries again
 * Durability: after return everything that was acknowledged is durable in place
 */
int stele_recover_make(struct stele *store, bool is_forced, struct stele_recovery *out);

/*
 * Settle the entries that another handle left pending, as the live words say: sync them, put them in place, publish.
 * Where the words do not fit the ring, @store is recovered.
 *
 * Shape:   state is idle, logged is above applied, and this handle has nothing pending
 * Errors:  a failed sync poisons; what recovery returns
 */
int stele_recover_pending(struct stele *store);

/*
 * Reduce the ring of @slot without changing anything, for handles that only read.
 *
 * Errors:  STELE_E_DAMAGED as above
 * Owner:   caller calls stele_replay_done, also after an error
 */
int stele_recover_look(struct stele *store, const struct stele_superblock *superblock, struct stele_replay *out);

#endif
