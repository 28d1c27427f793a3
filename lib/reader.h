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

/* Records there are. */
uint64_t stele_reader_count(const struct stele *store);

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

/* The overlay of a detached handle; NULL where there is none. */
const struct stele_replay *stele_reader_overlay(const struct stele *store);

#endif
