#include "load.h"

#include "system.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Rows between two looks at the clock. */
#define LOAD_TICK_ROWS 256

void load_init(struct load *load, struct cli *cli, struct stele *store, struct rows *rows,
               const char *data_name)
{
    memset(load, 0, sizeof *load);
    load->cli = cli;
    load->store = store;
    load->rows = rows;
    load->data_name = data_name;
    load->record_bytes = (size_t)stele_schema_record_bytes(stele_schema_of(store));
    load->batch_capacity = LOAD_BATCH_BYTES / load->record_bytes;
    if (load->batch_capacity == 0)
        load->batch_capacity = 1;
    if (load->batch_capacity > LOAD_BATCH_RECORDS && rows->options.format != ROWS_RAW)
        load->batch_capacity = LOAD_BATCH_RECORDS;
    load->batch = cli_allocate(load->batch_capacity * load->record_bytes);
}

void load_asynchronously(struct load *load)
{
    struct stele_info info = STELE_INFO_INIT;
    size_t bytes = LOAD_ASYNC_BYTES;

    /* Each is one entry of the journal, which holds some of them. */
    if (!stele_info(load->store, &info) && info.journal_bytes / 8 < bytes)
        bytes = (size_t)(info.journal_bytes / 8);
    load->is_async = true;
    if (load->batch_capacity > bytes / load->record_bytes)
        load->batch_capacity = bytes / load->record_bytes ? bytes / load->record_bytes : 1;
}

void load_done(struct load *load)
{
    free(load->batch);
    load->batch = NULL;
}

static int tick(const struct load *load)
{
    if (cli_interrupted())
        return STELE_E_INTERRUPTED;
    if (load->row_count % LOAD_TICK_ROWS == 0 &&
        cli_tick(load->cli, load->rows->input.taken_bytes, load->total_bytes) != 0)
        return STELE_E_INTERRUPTED;
    return STELE_OK;
}

/* The rows read since the last batch are in: stored with this one, or skipped. */
static int flush(struct load *load)
{
    int rc = STELE_OK;

    if (load->batch_count)
        rc = cli_append(load->store, load->batch, load->batch_count, load->is_async, NULL);
    load->is_in_doubt = rc == STELE_E_UNKNOWN;
    if (rc)
        return rc;
    load->stored_count += load->batch_count;
    load->batch_count = 0;
    load->row_count_in = load->row_count;
    return STELE_OK;
}

static void tell_refused(const struct load *load)
{
    const struct row_problem *problem = &load->rows->problem;

    cli_tick_done(load->cli);
    if (problem->place.line)
        cli_message(load->cli, "%s:%" PRIu64 ":%" PRIu64 ": %s", load->data_name, problem->place.line,
                    problem->place.column, problem->text);
    else
        cli_message(load->cli, "%s: row %" PRIu64 ": %s", load->data_name, load->row_count, problem->text);
}

/* What is no row at all, since it has no end, cannot be skipped. */
static int take_refused(struct load *load)
{
    if (!load->skips_refused || load->rows->problem.is_final) {
        tell_refused(load);
        return STELE_E_FORMAT;
    }
    load->row_count++;
    if (load->skipped_count++ < LOAD_REASONS_SHOWN)
        tell_refused(load);
    return STELE_OK;
}

static int read_rows(struct load *load, bool *out_is_store)
{
    int rc = STELE_OK;

    while (!rc) {
        rc = tick(load);
        if (rc)
            break;
        rc = rows_next(load->rows, load->batch + load->batch_count * load->record_bytes);
        if (rc == STELE_E_FORMAT) {
            rc = take_refused(load);
            continue;
        }
        if (rc)
            break;
        load->row_count++;
        if (++load->batch_count == load->batch_capacity) {
            rc = flush(load);
            *out_is_store = rc != STELE_OK;
        }
    }
    return rc == STELE_END ? STELE_OK : rc;
}

int load_pass(struct load *load, uint64_t row_count)
{
    int rc = STELE_OK;

    while (!rc && load->passed_count < row_count) {
        rc = tick(load);
        if (!rc)
            rc = rows_skip(load->rows);
        if (rc == STELE_E_FORMAT)
            tell_refused(load);
        if (!rc) {
            load->passed_count++;
            load->row_count++;
        }
    }
    load->row_count_in = load->row_count;
    return rc;
}

int load_run(struct load *load, bool *out_is_store)
{
    int rc = STELE_OK;
    int flush_rc = STELE_OK;

    *out_is_store = false;
    rc = read_rows(load, out_is_store);
    /* What was read before it stopped is good, whatever stopped it, unless the store did. */
    if (!*out_is_store) {
        flush_rc = flush(load);
        if (flush_rc) {
            *out_is_store = true;
            rc = flush_rc;
        }
    }
    cli_tick_done(load->cli);
    return rc;
}
