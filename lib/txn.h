/*
 * Transactions: records staged in memory, committed as one, and the single-call writers that are made of them.
 */
#ifndef STELE_TXN_H
#define STELE_TXN_H

#include "commit.h"

/* Up to this many bytes an append is journaled; more goes behind the count. */
#define STELE_LOGGED_APPEND_BYTES_MAX (UINT64_C(64) << 10)

/*
 * As stele_begin, for who has the turn already and keeps it over stele_commit and stele_abort: several transactions
 * with nobody between them.
 *
 * Shape:   the caller has the turn (stele_turn_take) and gives it back when the last one is gone
 * Errors:  STELE_E_NOMEM
 */
int stele_txn_begin_in_turn(struct stele *store, struct stele_txn **out);

#endif
