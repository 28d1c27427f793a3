/*
 * Transactions: records staged in memory, committed as one, and the single-call writers that are made of them.
 */
#ifndef STELE_TXN_H
#define STELE_TXN_H

#include "commit.h"

/* Up to this many bytes an append is journaled; more goes behind the count. */
#define STELE_LOGGED_APPEND_BYTES_MAX (UINT64_C(64) << 10)

#endif
