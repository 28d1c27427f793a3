/*
 * Reading one record, whole, in whatever state the store is (protocol: lib/DESIGN.md, Readers).
 *
 * Live: somebody has the store open for writing; records are copied under their stripe. Detached: nobody has; the
 * header's count and the ring's tail, laid over the file in memory, are the state. A read-only handle goes from
 * detached to live when a writer comes.
 *
 * Threads: any
 */
#ifndef STELE_READER_H
#define STELE_READER_H

#include "handle.h"

/* Find out how @store, a read-only handle, is to read. Errors: STELE_E_BUSY, what reading header and ring returns */
int stele_reader_attach(struct stele *store);
/* Free the readings of a handle that is being closed. */
void stele_reader_detach(struct stele *store);

/*
 * Give how @store reads now to *@out, looking anew if the session moved: somebody came to write, recovered, or put
 * another file in its place. NULL for a read-write handle, which always reads live.
 *
 * Errors:  STELE_E_STALE the file was replaced; STELE_E_BUSY; what reading header and ring returns
 * Owner:   the handle, until it is closed; it may be out of date at once: ask stele_reader_is_current afterwards
 */
int stele_reader_current(struct stele *store, const struct stele_reading **out);
/* Whether the session is still the one of @reading. What was read before the call was read in it. */
bool stele_reader_is_current(const struct stele *store, const struct stele_reading *reading);
/* The images that @reading lays over the file; NULL where it reads live. */
const struct stele_replay *stele_reader_overlay(const struct stele_reading *reading);
/* Records there are, as @reading sees it. */
uint64_t stele_reader_count(const struct stele *store, const struct stele_reading *reading);

/*
 * Check that @record_count records from @first_index on exist, as @reading sees it.
 *
 * Errors:  STELE_E_RANGE
 */
int stele_reader_check_range(const struct stele *store, const struct stele_reading *reading, uint64_t first_index,
                             uint64_t record_count);

/*
 * Copy record @index to @out.
 *
 * Errors:  STELE_E_RANGE; STELE_E_BUSY a writer stopped while storing it; STELE_E_TRUNCATED, STELE_E_IO
 */
int stele_reader_copy(struct stele *store, uint64_t index, void *out);

/*
 * Copy @record_count records from @first_index on, each whole.
 *
 * Errors:  as stele_reader_copy; @out is undefined then
 */
int stele_reader_copy_range(struct stele *store, uint64_t first_index, uint64_t record_count, void *out);

#endif
