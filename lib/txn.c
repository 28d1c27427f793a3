#include "txn.h"

#include "bulk.h"
#include "error.h"
#include "growth.h"
#include "settle.h"
#include "syncer.h"
#include "turn.h"

#include <stdlib.h>

#define INDEX_DROPPED UINT64_MAX

struct stele_txn {
    struct stele *store;
    bool keeps_turn; /* the turn is of who began it, and stays */
    uint8_t *records; /* images, in the order in which their records were first staged */
    uint64_t *indexes;
    size_t staged_count, room;
    struct stele_lookup places; /* index -> position */
    uint64_t base_count, lowest, count;
    bool has_user;
    uint64_t user_version;
    uint8_t user[STELE_USER_BYTES], tag[STELE_TAG_BYTES_MAX];
    size_t tag_bytes;
};

static void txn_free(struct stele_txn *txn)
{
    free(txn->records);
    free(txn->indexes);
    stele_lookup_done(&txn->places);
    free(txn);
}

/* Under the turn. */
static void start(struct stele_txn *txn, struct stele *store)
{
    txn->store = store;
    txn->base_count = txn->lowest = txn->count = stele_settle_count(store);
    __atomic_fetch_add(&store->open_count, 1, __ATOMIC_RELAXED);
}

int stele_begin(struct stele *store, struct stele_txn **out)
{
    if (!store || !out)
        return stele_fail(STELE_E_USAGE, "stele_begin: store and out must not be NULL");
    struct stele_txn *txn = calloc(1, sizeof(*txn));
    if (!txn)
        return stele_fail(STELE_E_NOMEM, "out of memory for a transaction");
    int rc = stele_turn_take_pending(store);
    if (rc) {
        free(txn);
        return rc;
    }
    start(txn, store);
    *out = txn;
    return STELE_OK;
}

int stele_txn_begin_in_turn(struct stele *store, struct stele_txn **out)
{
    struct stele_txn *txn = calloc(1, sizeof(*txn));
    if (!txn)
        return stele_fail(STELE_E_NOMEM, "out of memory for a transaction");
    start(txn, store);
    txn->keeps_turn = true;
    *out = txn;
    return STELE_OK;
}

/* End @txn; if its commit is to be waited for, until it is settled, with the result of that to *@rc. */
static void end(struct stele_txn *txn, const uint64_t *waited_sequence, int *rc)
{
    struct stele *store = txn->store;
    bool gives_turn = !txn->keeps_turn;
    txn_free(txn);
    if (waited_sequence) {
        stele_turn_give(store);
        *rc = stele_settle_wait(store, *waited_sequence);
        gives_turn = false;
    }
    /* Before the turn is given: who closes the store may be waiting for it. */
    __atomic_fetch_sub(&store->open_count, 1, __ATOMIC_RELEASE);
    if (gives_turn && store->fork_count == stele_os_fork_count())
        stele_turn_give(store); /* in a child of fork the turn is the parent's */
}

void stele_abort(struct stele_txn *txn)
{
    if (txn)
        end(txn, NULL, NULL);
}

/* ---- staging ---- */

static int make_room(struct stele_txn *txn, size_t more)
{
    if (txn->room - txn->staged_count >= more)
        return STELE_OK;
    size_t record_bytes = (size_t)txn->store->fixed.record_bytes, bytes;
    size_t room = txn->room ? txn->room * 2 : 4;
    if (room < txn->staged_count + more)
        room = txn->staged_count + more;
    if (__builtin_mul_overflow(room, record_bytes, &bytes))
        return stele_fail(STELE_E_NOMEM, "out of memory to stage %zu records", room);
    uint8_t *records = realloc(txn->records, bytes);
    if (records)
        txn->records = records;
    uint64_t *indexes = records ? realloc(txn->indexes, room * sizeof(*indexes)) : NULL;
    if (!indexes)
        return stele_fail(STELE_E_NOMEM, "out of memory to stage %zu records", room);
    txn->indexes = indexes;
    txn->room = room;
    return STELE_OK;
}

/* Stage @record (NULL: zeros) as record @index. There is room. */
static int stage(struct stele_txn *txn, uint64_t index, const void *record)
{
    size_t record_bytes = (size_t)txn->store->fixed.record_bytes;
    uint64_t *position;
    bool is_new;
    int rc = stele_lookup_put(&txn->places, index, &position, &is_new);
    if (rc)
        return rc;
    if (is_new) {
        *position = txn->staged_count++;
        txn->indexes[*position] = index;
    }
    uint8_t *image = txn->records + *position * record_bytes;
    if (!record) {
        memset(image, 0, record_bytes);
        return STELE_OK;
    }
    memcpy(image, record, record_bytes);
    stele_schema_clear_padding(txn->store->schema, image, 1);
    return STELE_OK;
}

static int out_of_range(const struct stele_txn *txn, uint64_t index)
{
    return stele_fail(STELE_E_RANGE, "%s: record %" PRIu64 " does not exist: there are %" PRIu64, txn->store->path,
                      index, txn->count);
}

int stele_txn_set(struct stele_txn *txn, uint64_t index, const void *record)
{
    if (!txn || !record)
        return stele_fail(STELE_E_USAGE, "stele_txn_set: txn and record must not be NULL");
    if (index >= txn->count)
        return out_of_range(txn, index);
    int rc = stele_handle_check(txn->store);
    if (!rc)
        rc = make_room(txn, 1);
    return rc ? rc : stage(txn, index, record);
}

int stele_txn_append(struct stele_txn *txn, const void *records, size_t record_count, uint64_t *out_first_index)
{
    if (!txn || (!records && record_count))
        return stele_fail(STELE_E_USAGE, "stele_txn_append: txn and records must not be NULL");
    if (record_count > STELE_CAPACITY_MAX - txn->count)
        return stele_fail(STELE_E_RANGE, "%s: %zu more records: a store holds at most 2^48", txn->store->path,
                          record_count);
    int rc = stele_handle_check(txn->store);
    if (!rc)
        rc = make_room(txn, record_count);
    /* The count moves last: a failure in the middle leaves images that no index leads to. */
    for (size_t i = 0; i < record_count && !rc; i++)
        rc = stage(txn, txn->count + i, (const uint8_t *)records + i * (size_t)txn->store->fixed.record_bytes);
    if (rc)
        return rc;
    if (out_first_index)
        *out_first_index = txn->count;
    txn->count += record_count;
    return STELE_OK;
}

/* Forget what is staged at or above @count: it must not come back when the count rises again. */
static int drop_above(struct stele_txn *txn, uint64_t count)
{
    struct stele_lookup kept = { .slots = NULL };
    for (size_t i = 0; i < txn->staged_count; i++) {
        uint64_t *position;
        bool is_new;
        if (txn->indexes[i] == INDEX_DROPPED || txn->indexes[i] >= count)
            continue;
        int rc = stele_lookup_put(&kept, txn->indexes[i], &position, &is_new);
        if (rc) {
            stele_lookup_done(&kept);
            return rc;
        }
        *position = i;
    }
    for (size_t i = 0; i < txn->staged_count; i++) {
        if (txn->indexes[i] >= count)
            txn->indexes[i] = INDEX_DROPPED;
    }
    stele_lookup_done(&txn->places);
    txn->places = kept;
    return STELE_OK;
}

int stele_txn_set_count(struct stele_txn *txn, uint64_t record_count)
{
    if (!txn)
        return stele_fail(STELE_E_USAGE, "stele_txn_set_count: txn must not be NULL");
    if (record_count > STELE_CAPACITY_MAX)
        return stele_fail(STELE_E_RANGE, "%s: %" PRIu64 " records: a store holds at most 2^48", txn->store->path,
                          record_count);
    int rc = stele_handle_check(txn->store);
    /* Also where the count rises: a failed append may have left images up there. */
    if (!rc && record_count != txn->count)
        rc = drop_above(txn, stele_min(record_count, txn->count));
    if (rc)
        return rc;
    txn->lowest = stele_min(txn->lowest, record_count);
    txn->count = record_count;
    return STELE_OK;
}

/* The record behind all commits of this handle: what is pending, else what is in place, both of one moment. */
static int read_below(struct stele *store, uint64_t index, void *out_record)
{
    const size_t record_bytes = (size_t)store->fixed.record_bytes;
    struct stele_group *group = &store->group;
    int rc = STELE_OK;
    stele_os_mutex_lock(&group->placing);
    stele_os_mutex_lock(&group->runs);
    const uint8_t *image = stele_settle_find(store, index, true);
    if (image)
        memcpy(out_record, image, record_bytes);
    stele_os_mutex_unlock(&group->runs);
    if (!image)
        rc = stele_handle_copy(store, stele_record_offset(&store->fixed, index), out_record, record_bytes);
    stele_os_mutex_unlock(&group->placing);
    return rc;
}

int stele_txn_get(struct stele_txn *txn, uint64_t index, void *out_record)
{
    if (!txn || !out_record)
        return stele_fail(STELE_E_USAGE, "stele_txn_get: txn and out_record must not be NULL");
    if (index >= txn->count)
        return out_of_range(txn, index);
    int rc = stele_handle_check(txn->store);
    if (rc)
        return rc;
    const struct stele_layout *layout = &txn->store->fixed;
    const uint64_t *position = stele_lookup_find(&txn->places, index);
    if (position) {
        memcpy(out_record, txn->records + *position * layout->record_bytes, (size_t)layout->record_bytes);
        return STELE_OK;
    }
    if (index < txn->lowest)
        return read_below(txn->store, index, out_record);
    memset(out_record, 0, (size_t)layout->record_bytes);
    return STELE_OK;
}

uint64_t stele_txn_count(const struct stele_txn *txn)
{
    return txn ? txn->count : 0;
}

int stele_txn_user(struct stele_txn *txn, uint64_t version, const void *bytes64)
{
    if (!txn || !bytes64)
        return stele_fail(STELE_E_USAGE, "stele_txn_user: txn and bytes64 must not be NULL");
    txn->has_user = true;
    txn->user_version = version;
    memcpy(txn->user, bytes64, STELE_USER_BYTES);
    return STELE_OK;
}

int stele_txn_tag(struct stele_txn *txn, const void *bytes, size_t byte_count)
{
    if (!txn || !bytes || byte_count == 0 || byte_count > STELE_TAG_BYTES_MAX)
        return stele_fail(STELE_E_USAGE, "stele_txn_tag: a tag has 1 to %u bytes", STELE_TAG_BYTES_MAX);
    memcpy(txn->tag, bytes, byte_count);
    txn->tag_bytes = byte_count;
    return STELE_OK;
}

/* ---- commit ---- */

static int by_index(const void *a, const void *b)
{
    const struct stele_staged *left = a, *right = b;
    return left->index < right->index ? -1 : left->index > right->index;
}

/*
 * Records that were cut and came back as zeros are below the old count, so they are staged: what recovery starts
 * from may still show them.
 */
static int stage_zeros(struct stele_txn *txn)
{
    uint64_t end = stele_min(txn->base_count, txn->count);
    if (txn->lowest >= end)
        return STELE_OK;
    uint64_t bytes = (end - txn->lowest) * txn->store->fixed.record_bytes;
    int rc = stele_commit_check_size(txn->store, stele_min(bytes, UINT64_C(1) << 40));
    for (uint64_t index = txn->lowest; index < end && !rc; index++) {
        if (stele_lookup_find(&txn->places, index))
            continue;
        rc = make_room(txn, 1);
        if (!rc)
            rc = stage(txn, index, NULL);
    }
    return rc;
}

/* The staged records that are left, in order; the caller frees *@out. */
static int sort_staged(const struct stele_txn *txn, struct stele_staged **out, size_t *out_count)
{
    size_t n = 0;
    struct stele_staged *staged = malloc((txn->staged_count + 1) * sizeof(*staged));
    if (!staged)
        return stele_fail(STELE_E_NOMEM, "out of memory to commit %zu records", txn->staged_count);
    for (size_t i = 0; i < txn->staged_count; i++) {
        if (txn->indexes[i] < txn->count)
            staged[n++] = (struct stele_staged){ .index = txn->indexes[i],
                                                 .record = txn->records + i * (size_t)txn->store->fixed.record_bytes };
    }
    qsort(staged, n, sizeof(*staged), by_index);
    *out = staged;
    *out_count = n;
    return STELE_OK;
}

/* How many of the records of @plan are staged behind the count. */
static uint64_t staged_behind_of(const struct stele_txn *txn, const struct stele_commit_plan *plan)
{
    uint64_t staged_behind = 0;
    for (size_t i = plan->record_count; i-- > 0 && plan->records[i].index >= txn->base_count;)
        staged_behind++;
    return staged_behind;
}

/* Whether @plan can go behind others that are pending, and be one: it cuts nothing and zeroes nothing in place. */
static bool is_plain(const struct stele_txn *txn, const struct stele_commit_plan *plan)
{
    return txn->lowest == txn->base_count && txn->count - txn->base_count == staged_behind_of(txn, plan);
}

/* Room for the new count, and zeros where it rises over records that nobody staged; nothing is pending. */
static int prepare_rise(struct stele_txn *txn, const struct stele_commit_plan *plan)
{
    uint64_t staged_behind = staged_behind_of(txn, plan);
    if (txn->count <= txn->base_count)
        return STELE_OK;
    int rc = stele_growth_make(txn->store, txn->count, staged_behind != 0);
    if (rc || staged_behind == txn->count - txn->base_count)
        return rc;
    rc = stele_bulk_clear_way(txn->store);
    return rc ? rc : stele_bulk_zero(txn->store, txn->base_count, txn->count);
}

/* Bring the store to where @plan can be committed, and say how: a plan that is not plain is durable at once. */
static int prepare(struct stele_txn *txn, const struct stele_commit_plan *plan, enum stele_durability *durability)
{
    struct stele *store = txn->store;
    bool fits = txn->count <= store->superblock.layout.capacity;
    int rc = STELE_OK;
    if (!is_plain(txn, plan))
        *durability = STELE_DURABLE;
    /* Behind a failure too: nothing may be built on it, and the state of live stays as it is. */
    if (!fits || !is_plain(txn, plan) || stele_handle_is_poisoned(store))
        rc = stele_settle_before(store);
    if (!rc && !stele_settle_is_due(store))
        rc = prepare_rise(txn, plan);
    if (!rc && *durability == STELE_ASYNC)
        rc = stele_syncer_start(store);
    return rc;
}

/* *@out_waits: it is added, and is to be waited for when the turn is given back. */
static int commit(struct stele_txn *txn, enum stele_durability durability, uint64_t *out_sequence, bool *out_waits)
{
    struct stele *store = txn->store;
    struct stele_staged *staged = NULL;
    struct stele_commit_plan plan = { .old_count = txn->base_count };
    int rc = stage_zeros(txn);
    if (!rc)
        rc = sort_staged(txn, &staged, &plan.record_count);
    if (rc)
        goto out;
    plan.lowest = txn->lowest;
    plan.new_count = txn->count;
    plan.records = staged;
    plan.user = txn->has_user ? txn->user : NULL;
    plan.user_version = txn->user_version;
    plan.tag = txn->tag_bytes ? txn->tag : NULL;
    plan.tag_bytes = txn->tag_bytes;
    if (!plan.record_count && !plan.user && !plan.tag && plan.new_count == plan.old_count &&
        plan.lowest == plan.old_count) {
        *out_sequence = store->group.logged;
        /* Nothing to say, but what came before is to be as durable as this. */
        if (durability == STELE_DURABLE)
            rc = stele_settle_pending(store);
        goto out;
    }
    /* Before the file grows for it: a transaction that does not fit changes nothing. */
    rc = stele_commit_check_size(store, stele_commit_entry_bytes(store, &plan));
    if (!rc)
        rc = prepare(txn, &plan, &durability);
    if (!rc)
        rc = stele_commit_compute(store, &plan);
    if (!rc)
        rc = stele_commit_add(store, &plan, durability, out_sequence);
    if (!rc && durability == STELE_DURABLE) {
        stele_settle_join(store);
        /* Others may stage on top of it meanwhile, but not on a count that is cut. */
        *out_waits = !txn->keeps_turn && is_plain(txn, &plan);
        if (!*out_waits)
            rc = stele_settle_wait(store, *out_sequence);
    } else if (!rc && __atomic_load_n(&store->group.async_count, __ATOMIC_ACQUIRE) == 1) {
        stele_syncer_wake(store);
    }
out:
    stele_commit_plan_done(&plan);
    free(staged);
    return rc;
}

int stele_commit(struct stele_txn *txn, enum stele_durability durability, uint64_t *out_sequence)
{
    if (!txn)
        return stele_fail(STELE_E_USAGE, "stele_commit: txn must not be NULL");
    uint64_t sequence = 0;
    bool waits = false;
    int rc = stele_handle_check(txn->store);
    if (!rc)
        rc = durability == STELE_DURABLE || durability == STELE_ASYNC
                 ? commit(txn, durability, &sequence, &waits)
                 : stele_fail(STELE_E_USAGE, "stele_commit: durability %d is not known", (int)durability);
    end(txn, waits ? &sequence : NULL, &rc);
    if (out_sequence && (!rc || rc == STELE_E_UNKNOWN))
        *out_sequence = sequence;
    return rc;
}
