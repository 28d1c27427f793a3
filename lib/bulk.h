/*
 * Bulk: many records behind the count, written in place, synced, then published by one small entry.
 *
 * What lies behind the count means nothing, so it needs no journal; but it may not lie below any count that a
 * recovery could start from or pass through, so records freed since the checkpoint ask for a checkpoint first.
 *
 * Threads: the one that has the turn
 */
#ifndef STELE_BULK_H
#define STELE_BULK_H

#include "commit.h"

/* Make sure that nothing below the highest count since the checkpoint lies behind the count. Errors: as checkpoint */
int stele_bulk_clear_way(struct stele *store);

/*
 * Append @record_count records of @records to a store of @count, as one commit.
 *
 * Errors:  STELE_E_FULL, _INTERRUPTED, _IO: nothing published; as stele_commit_write
 */
int stele_bulk_append(struct stele *store, const uint8_t *records, uint64_t record_count);

/*
 * Make everything from record @first to @end, which lies behind the count, zero, with words 0, and durable.
 *
 * Errors:  STELE_E_FULL, STELE_E_IO; a failed sync poisons
 */
int stele_bulk_zero(struct stele *store, uint64_t first, uint64_t end);

#endif
