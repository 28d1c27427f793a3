/* The single-call writers: each is one durable transaction, or a bulk append. */
#include "bulk.h"
#include "error.h"
#include "growth.h"
#include "settle.h"
#include "turn.h"
#include "txn.h"

int stele_append(struct stele *store, const void *records, size_t record_count, uint64_t *out_first_index)
{
    if (!store || (!records && record_count))
        return stele_fail(STELE_E_USAGE, "stele_append: store and records must not be NULL");
    struct stele_txn *txn;
    uint64_t first_index = 0, bytes;
    const uint64_t logged_max = stele_min(STELE_LOGGED_APPEND_BYTES_MAX, store->fixed.journal_bytes / 4);
    bool fits = stele_mul_fits(record_count, store->fixed.record_bytes, &bytes);
    int rc;
    /* One record may be larger than that: the ring holds it, creation saw to it. */
    if (record_count <= 1 || (fits && bytes <= logged_max)) {
        rc = stele_begin(store, &txn);
        if (rc)
            return rc;
        rc = stele_txn_append(txn, records, record_count, &first_index);
        if (rc)
            stele_abort(txn);
        else
            rc = stele_commit(txn, STELE_DURABLE, NULL);
    } else {
        rc = stele_turn_take_pending(store);
        if (rc)
            return rc;
        rc = stele_settle_before(store);
        first_index = stele_load(&store->live.words->count.word);
        if (!rc)
            rc = record_count <= STELE_CAPACITY_MAX - first_index
                     ? stele_bulk_append(store, records, record_count)
                     : stele_fail(STELE_E_RANGE, "%s: %zu more records: a store holds at most 2^48", store->path,
                                  record_count);
        stele_turn_give(store);
    }
    if (out_first_index && (!rc || rc == STELE_E_UNKNOWN))
        *out_first_index = first_index;
    return rc;
}

int stele_set(struct stele *store, uint64_t index, const void *record)
{
    return stele_set_many(store, &index, 1, record);
}

int stele_set_many(struct stele *store, const uint64_t *indexes, size_t index_count, const void *records)
{
    if (!store || (index_count && (!indexes || !records)))
        return stele_fail(STELE_E_USAGE, "stele_set: store, indexes and records must not be NULL");
    struct stele_txn *txn;
    int rc = stele_begin(store, &txn);
    if (rc)
        return rc;
    for (size_t i = 0; i < index_count && !rc; i++)
        rc = stele_txn_set(txn, indexes[i], (const uint8_t *)records + i * (size_t)store->fixed.record_bytes);
    if (rc) {
        stele_abort(txn);
        return rc;
    }
    return stele_commit(txn, STELE_DURABLE, NULL);
}

int stele_set_count(struct stele *store, uint64_t record_count)
{
    struct stele_txn *txn;
    int rc = stele_begin(store, &txn);
    if (rc)
        return rc;
    rc = stele_txn_set_count(txn, record_count);
    if (rc) {
        stele_abort(txn);
        return rc;
    }
    return stele_commit(txn, STELE_DURABLE, NULL);
}

int stele_reserve(struct stele *store, uint64_t record_count)
{
    if (!store)
        return stele_fail(STELE_E_USAGE, "stele_reserve: store must not be NULL");
    if (record_count > STELE_CAPACITY_MAX)
        return stele_fail(STELE_E_RANGE, "%s: %" PRIu64 " records: a store holds at most 2^48", store->path,
                          record_count);
    int rc = stele_turn_take(store);
    if (rc)
        return rc;
    rc = stele_growth_make(store, record_count, false);
    stele_turn_give(store);
    return rc;
}
