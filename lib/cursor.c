/* Scans: batches of whole records, read ahead. */
#include "error.h"
#include "reader.h"

#include <stdlib.h>

#define BATCH_BYTES (UINT64_C(256) << 10)
#define CUTS_MAX 100u /* of the store during one batch */
#define AHEAD_BYTES (UINT64_C(1) << 20) /* asked for in steps: read-ahead by the system would make large folios */

struct stele_cursor {
    struct stele *store;
    uint64_t next, end; /* end UINT64_MAX: as many as there are */
    uint64_t asked_until; /* file offset up to which pages were asked for */
    uint64_t batch_records;
    uint8_t *batch;
};

int stele_cursor_open(struct stele *store, uint64_t first_index, uint64_t record_count, struct stele_cursor **out)
{
    if (!store || !out)
        return stele_fail(STELE_E_USAGE, "stele_cursor_open: store and out must not be NULL");
    int rc = stele_handle_check(store);
    if (rc)
        return rc;
    const struct stele_reading *reading;
    rc = stele_reader_current(store, &reading);
    bool is_open_ended = record_count == UINT64_MAX;
    if (!rc)
        rc = stele_reader_check_range(store, reading, first_index, is_open_ended ? 0 : record_count);
    if (rc)
        return rc;
    const struct stele_layout *layout = &store->fixed;
    struct stele_cursor *cursor = calloc(1, sizeof(*cursor));
    if (cursor) {
        /* Whole blocks, so that each batch but the first copies a stripe's records at once. */
        uint64_t block_bytes = layout->records_per_block * layout->record_bytes;
        cursor->batch_records = stele_max(BATCH_BYTES / block_bytes, 1) * layout->records_per_block;
        cursor->batch = malloc((size_t)(cursor->batch_records * layout->record_bytes));
    }
    if (!cursor || !cursor->batch) {
        free(cursor);
        return stele_fail(STELE_E_NOMEM, "out of memory for a cursor");
    }
    cursor->store = store;
    cursor->next = first_index;
    cursor->end = is_open_ended ? UINT64_MAX : first_index + record_count;
    __atomic_fetch_add(&store->open_count, 1, __ATOMIC_RELAXED);
    *out = cursor;
    return STELE_OK;
}

static void ask_ahead(struct stele_cursor *cursor, uint64_t end)
{
    const struct stele_layout *layout = &cursor->store->fixed;
    uint64_t at = stele_record_offset(layout, cursor->next);
    uint64_t limit = stele_record_offset(layout, end);
    if (cursor->asked_until < at)
        cursor->asked_until = at;
    while (cursor->asked_until < limit && cursor->asked_until < at + 2 * AHEAD_BYTES) {
        uint64_t bytes = stele_min(AHEAD_BYTES, limit - cursor->asked_until);
        stele_os_will_need(&cursor->store->file, cursor->asked_until, bytes);
        cursor->asked_until += bytes;
    }
}

/* Copy the next batch, of *@out_count records; STELE_E_RANGE if they were cut off meanwhile. */
static int copy_batch(struct stele_cursor *cursor, uint64_t *out_count)
{
    const struct stele_reading *reading;
    int rc = stele_reader_current(cursor->store, &reading);
    if (rc)
        return rc;
    uint64_t end = stele_min(cursor->end, stele_reader_count(cursor->store, reading));
    if (cursor->next >= end)
        return STELE_END;
    ask_ahead(cursor, end);
    /* Up to a multiple of the batch, so that the following ones begin with a block. */
    uint64_t batch_end = (cursor->next / cursor->batch_records + 1) * cursor->batch_records;
    *out_count = stele_min(batch_end, end) - cursor->next;
    return stele_reader_copy_range(cursor->store, cursor->next, *out_count, cursor->batch);
}

int stele_cursor_next(struct stele_cursor *cursor, const void **out_records, size_t *out_count)
{
    if (!cursor || !out_records || !out_count)
        return stele_fail(STELE_E_USAGE, "stele_cursor_next: cursor, out_records and out_count must not be NULL");
    int rc = stele_handle_check(cursor->store);
    if (rc)
        return rc;
    uint64_t n = 0;
    rc = copy_batch(cursor, &n);
    /* The scan ends where the records end by now. */
    for (unsigned i = 0; i < CUTS_MAX && rc == STELE_E_RANGE; i++)
        rc = copy_batch(cursor, &n);
    if (rc)
        return rc;
    cursor->next += n;
    *out_records = cursor->batch;
    *out_count = (size_t)n;
    return STELE_OK;
}

void stele_cursor_close(struct stele_cursor *cursor)
{
    if (!cursor)
        return;
    __atomic_fetch_sub(&cursor->store->open_count, 1, __ATOMIC_RELEASE);
    free(cursor->batch);
    free(cursor);
}
