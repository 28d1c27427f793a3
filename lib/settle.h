/*
 * Settling: runs of commits are made durable, put in place and published (DESIGN.md, Commit, steps 3 to 5, and Groups).
 *
 * A durable commit adds its entry to the open run and waits until that is settled. Whoever waits while nobody leads
 * becomes the leader: it closes the run, syncs it with one write, puts it in place; meanwhile others add to the next.
 */
#ifndef STELE_SETTLE_H
#define STELE_SETTLE_H

#include "handle.h"

/* A run is settled before it gets longer, and never becomes longer than half the ring. */
#define STELE_RUN_BYTES_MAX (UINT64_C(8) << 20)

/* Whether @store has entries that are not settled. Any thread. */
static inline bool stele_settle_is_due(const struct stele *store)
{
    return __atomic_load_n(&store->group.entry_count, __ATOMIC_ACQUIRE) != 0;
}

/* Tell how many entries there are, after a run changed; group.runs is locked. */
static inline void stele_settle_tell(struct stele_group *group)
{
    __atomic_store_n(&group->async_count, group->open.async_count + group->closing.async_count, __ATOMIC_RELEASE);
    __atomic_store_n(&group->entry_count, group->open.entry_count + group->closing.entry_count, __ATOMIC_RELEASE);
}

/* ---- with the turn ---- */

/* W was just taken, and the store is idle: forget what another handle settled; true if that was anything. */
bool stele_settle_catch_up(struct stele *store);
/* Begin where live is, when nothing is pending. */
void stele_settle_begin(struct stele *store);
/* The count behind all commits of this handle, settled or not. */
uint64_t stele_settle_count(struct stele *store);

/*
 * Lock group.runs for adding an entry; @is_async: while no run is closing, so that what is acknowledged lies in the
 * ring behind what is there already.
 *
 * Owner:   caller unlocks
 */
void stele_settle_lock(struct stele *store, bool is_async);
/*
 * The entry that was just sealed in the open run, and added to its images, is an asynchronous commit: it goes to the
 * ring, with all before it, and survives the death of the process. group.runs is locked.
 *
 * Errors:  STELE_E_UNKNOWN the ring could not be written; the handle is poisoned, group.runs still locked
 */
int stele_settle_later(struct stele *store);

/*
 * Settle all there is.
 *
 * Errors:  STELE_E_UNKNOWN the sync failed, now or since the turn was taken; STELE_E_CONFLICT the last commit is
 *          nowhere, as one before it failed so; the handle is poisoned
 */
int stele_settle_pending(struct stele *store);
/* As stele_settle_pending, for a commit that comes behind it. Errors: STELE_E_CONFLICT nothing of it is anywhere */
int stele_settle_before(struct stele *store);

/* ---- without it ---- */

/* Count the caller in: W is kept until its wait ends. The turn is taken. */
void stele_settle_join(struct stele *store);
/*
 * Wait, after stele_settle_join, until commit @sequence is settled.
 *
 * Errors:  STELE_E_UNKNOWN as stele_commit; STELE_E_CONFLICT one before it failed and nothing of it is anywhere
 * Durability: after return all commits up to it survive power loss
 */
int stele_settle_wait(struct stele *store, uint64_t sequence);

/* Give W back if nobody of this handle needs it; the handle's mutex is locked. */
void stele_settle_release(struct stele *store);

/*
 * For who reads: lock group.runs if asynchronous commits are pending that no other handle has put in place; false, and
 * nothing locked, else. Their images count until then.
 */
bool stele_settle_lock_read(struct stele *store);
/*
 * The last pending image of record @index; NULL where there is none. For who stages on top of it, @is_all: also out of
 * a run of durable commits only, which nobody may read before it is synced. group.runs is locked.
 */
const uint8_t *stele_settle_find(const struct stele *store, uint64_t index, bool is_all);

#endif
