/*
 * The syncer: one thread a handle that settles what is pending once the interval has passed. It starts with the first
 * asynchronous commit; with STELE_NO_THREADS there is none, and stele_tick does its work.
 */
#ifndef STELE_SYNCER_H
#define STELE_SYNCER_H

#include "handle.h"

/* Have a syncer, unless the caller forbade it. The turn is taken. Errors: STELE_E_NOMEM the system gives no thread */
int stele_syncer_start(struct stele *store);
/* Something began to be pending. */
void stele_syncer_wake(struct stele *store);
/* End it; what is pending stays so. The turn is not taken. */
void stele_syncer_stop(struct stele *store);
/* Settle what is pending for longer than the interval. Errors: as stele_turn_take */
int stele_syncer_tick(struct stele *store);

#endif
