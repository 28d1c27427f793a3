/*
 * Load: rows into a store, batch by batch, so that memory is bounded and what is in stays in.
 *
 * Each batch is one append: all of its records or none. row_count_in says how many rows of the data file are
 * done with, stored or skipped, as of the last batch: the --skip-rows that continues.
 */
#ifndef STELE_CLI_LOAD_H
#define STELE_CLI_LOAD_H

#include "cli.h"
#include "rows.h"

#define LOAD_BATCH_BYTES ((size_t)8 << 20)
#define LOAD_BATCH_RECORDS ((size_t)16384)
#define LOAD_ASYNC_BYTES ((size_t)32 << 10)
#define LOAD_REASONS_SHOWN 10

struct load {
    struct cli *cli;
    struct stele *store;
    struct rows *rows;
    const char *data_name;
    uint64_t total_bytes; /* of the data; 0: unknown */
    bool skips_refused;   /* --on-error skip */
    bool is_async;        /* batches are small and not synced one by one */
    uint8_t *batch;
    size_t record_bytes, batch_capacity, batch_count;
    uint64_t row_count;     /* read or passed over */
    uint64_t passed_count;  /* by --skip-rows */
    uint64_t stored_count;  /* rows, by this run */
    uint64_t skipped_count; /* refused, by this run */
    uint64_t row_count_in;
    bool is_in_doubt; /* the last batch may be in or not */
};

/* Make @load ready to store @rows, which come from @data_name, into @store. Owner: load_done. */
void load_init(struct load *load, struct cli *cli, struct stele *store, struct rows *rows,
               const char *data_name);
/* Have batches go in asynchronously from here on. */
void load_asynchronously(struct load *load);
void load_done(struct load *load); /* safe twice, and on a zeroed struct */

/*
 * Pass over the first @row_count rows.
 *
 * Errors:  STELE_END there are fewer; as load_run
 */
int load_pass(struct load *load, uint64_t row_count);

/*
 * Store all rows that are left, or all up to the first that is refused if those are not to be skipped.
 * Refused rows are told on stderr.
 *
 * Errors:  STELE_E_FORMAT stopped at a refused row; STELE_E_INTERRUPTED; STELE_E_IO, STELE_E_NOMEM of the
 *          source; load->store's, then *@out_is_store is true
 */
int load_run(struct load *load, bool *out_is_store);

#endif
