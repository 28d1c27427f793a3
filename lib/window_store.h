/*
 * Stores into the bytes that windows show, so that every view of every process sees them.
 *
 * Where file I/O and views agree a store is a write. Where views agree with views only, a handle that writes has
 * windows of its own for that: writable, with the last part of the budget, flushed before a sync and not sooner.
 * Readers' windows and public views are read-only everywhere.
 *
 * Threads: the one that has the turn; one at a time
 */
#ifndef STELE_WINDOW_STORE_H
#define STELE_WINDOW_STORE_H

#include "window.h"

struct stele_window_stores {
    const struct stele_os_file *file;
    struct stele_windows *windows; /* NULL: a store is a write */
};

/* Whether bytes that are mapped must be read and stored through views (os.h); in a torture build they are. */
bool stele_window_needs_views(void);

/*
 * Make @stores into @file from @plan->first_offset on; what the plan says of overlap is not used.
 *
 * Owner:   @file outlives @stores; caller calls done
 */
int stele_window_stores_init(struct stele_window_stores *stores, const struct stele_os_file *file,
                             const struct stele_window_plan *plan);
void stele_window_stores_done(struct stele_window_stores *stores); /* safe twice, and on a zeroed struct */
void stele_window_stores_drop(struct stele_window_stores *stores); /* as stele_windows_drop */

/* Put @byte_count bytes at @offset. Errors: STELE_E_FULL, STELE_E_IO, STELE_E_TRUNCATED; some may be stored */
int stele_window_store(struct stele_window_stores *stores, uint64_t offset, const void *bytes, uint64_t byte_count);
/*
 * Make a stretch inside the file read as zeros, all of it stored but for holes, so that the next flush and sync are
 * sure to put zeros onto the disk. @is_sparse: leave a hole, where the system can. Errors: as stele_window_store
 */
int stele_window_zero(struct stele_window_stores *stores, uint64_t offset, uint64_t byte_count, bool is_sparse);
/* Find the first piece from @offset on that does not read as zeros; *@out_offset is @end where there is none. */
int stele_window_next_data(struct stele_window_stores *stores, uint64_t offset, uint64_t end, uint64_t *out_offset);
/* Do now what could fail when the stretch is stored, as far as it fits. Errors: as stele_window_store; none stored */
int stele_window_prepare(struct stele_window_stores *stores, uint64_t offset, uint64_t byte_count);
/*
 * Have the next stele_os_sync make all that was stored durable.
 *
 * Errors:  STELE_E_FULL, STELE_E_IO; to be taken for a sync that failed
 */
int stele_window_flush(struct stele_window_stores *stores);

#endif
