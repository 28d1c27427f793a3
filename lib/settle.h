/*
 * Settling: the run of entries that is not synced is made durable, put in place and published (DESIGN.md, Commit,
 * steps 3 to 5). A durable commit is a run that ends with it; an asynchronous one leaves its run pending.
 *
 * Threads: the one that has the turn
 */
#ifndef STELE_SETTLE_H
#define STELE_SETTLE_H

#include "handle.h"

/* A run is settled before it gets longer, and never becomes longer than half the ring. */
#define STELE_RUN_BYTES_MAX (UINT64_C(8) << 20)

/* Whether @store has entries that are neither synced nor in place. */
static inline bool stele_settle_is_due(const struct stele *store) { return stele_pending_is_any(&store->pending); }

/* Whether the turn finds the pending entries as it left them: no other handle settled them, or recovered. */
bool stele_settle_is_own(const struct stele *store);
/* Forget pending entries that another handle settled. */
void stele_settle_forget(struct stele *store);

/*
 * Leave the entry that was sealed last pending: it goes to the ring, and survives the death of the process.
 *
 * Errors:  STELE_E_UNKNOWN the ring could not be written; the handle is poisoned
 */
int stele_settle_later(struct stele *store, uint64_t sequence, uint64_t trailer);
/*
 * Sync the run, whose last entry is @sequence, put it in place, and publish.
 *
 * Errors:  STELE_E_UNKNOWN as stele_commit; the handle is poisoned
 * Durability: after return the run survives power loss
 */
int stele_settle_run(struct stele *store, uint64_t sequence, uint64_t trailer);
/* Settle what is pending; nothing to do where nothing is. Errors: as stele_settle_run */
int stele_settle_pending(struct stele *store);

#endif
