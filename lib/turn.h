/*
 * The writer's turn: one thread of one process at a time may change a store.
 *
 * Taking it waits for the other threads of the handle, then for W; then it looks whether what the handle knows is
 * still so: another session, a dead writer, a file that was replaced.
 */
#ifndef STELE_TURN_H
#define STELE_TURN_H

#include "handle.h"

/*
 * Take the turn within lock_wait_ms; the store is idle, nothing is pending, and what the handle knows of it is up to
 * date.
 *
 * Errors:  STELE_E_READONLY, STELE_E_POISONED, STELE_E_BUSY, STELE_E_STALE; what recovery and settling return; the turn
 *          is not taken then
 * Owner:   caller gives it back
 */
int stele_turn_take(struct stele *store);
/* As stele_turn_take, but what this handle left pending stays so. */
int stele_turn_take_pending(struct stele *store);
void stele_turn_give(struct stele *store);

/* Wait for W until @deadline_us (stele_os_clock_us), backing off. Errors: STELE_E_BUSY */
int stele_turn_wait_lock(struct stele *store, uint64_t deadline_us);

#endif
