/*
 * Checkpoint: make every applied byte durable in place, flip the header, and so free the ring.
 *
 * Threads: the one that has the turn
 */
#ifndef STELE_CHECKPOINT_H
#define STELE_CHECKPOINT_H

#include "handle.h"

/*
 * Checkpoint @store; the ring is empty afterwards and takes an entry of @need_bytes. @is_clean: the last writer closes.
 *
 * Errors:  a failed sync poisons the handle: STELE_E_IO; nothing is lost, the next begin of another handle recovers
 * Durability: after return records and sums are durable in place
 */
int stele_checkpoint_make(struct stele *store, uint64_t need_bytes, bool is_clean);

/*
 * Make all that was stored in records and sums durable.
 *
 * Errors:  STELE_E_IO, STELE_E_FULL: the handle is poisoned
 */
int stele_checkpoint_sync(struct stele *store);
/*
 * A sync failed under @store: mark the store failed for all, put the last images since the checkpoint in place
 * again, so that eviction cannot bring old bytes back, and make the handle read-only. Keeps the thread's last error.
 */
void stele_checkpoint_poison(struct stele *store);

#endif
