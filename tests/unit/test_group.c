/*
 * Group commit: threads of one handle share syncs; each commit is whole, durable at its return, and knows what became
 * of it when a sync fails; who waits in another handle gets the turn.
 */
#include "scratch.h"
#include "wrap.h"

enum { RECORD_BYTES = 16, COUNT = 1024, THREADS = 8, SLOW_US = 2000, EACH = 40 };

/* ---- the system ---- */

static uint32_t durable_count, failing_from; /* atomic; 0: none fails */
static uint32_t is_slow, is_held;            /* atomic: syncs take their time; they wait */

WRAPPED(int, stele_os_write_durable, const struct stele_os_file *file, uint64_t offset, const void *bytes,
        size_t byte_count)
{
    uint32_t nth = __atomic_add_fetch(&durable_count, 1, __ATOMIC_SEQ_CST);
    uint32_t from = __atomic_load_n(&failing_from, __ATOMIC_SEQ_CST);

    if (__atomic_load_n(&is_slow, __ATOMIC_SEQ_CST))
        stele_os_sleep_us(SLOW_US);
    while (__atomic_load_n(&is_held, __ATOMIC_SEQ_CST))
        stele_os_sleep_us(100);
    if (from && nth >= from)
        return stele_fail(STELE_E_IO, "the sync failed");
    return REAL(stele_os_write_durable)(file, offset, bytes, byte_count);
}

/* ---- words of the suite ---- */

struct thread {
    struct stele_os_thread thread;
    struct stele *store;
    uint64_t number;
    struct {
        int code;
        uint64_t sequence;
    } done[EACH];
};

static struct stele *open_patient(void)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store = NULL;

    options.mode = STELE_READ_WRITE;
    options.lock_wait_ms = 60000;
    options.read_wait_ms = 60000;
    REQUIRE(stele_open(scratch_path, &options, &store) == STELE_OK);
    return store;
}

static struct stele *make_store(void)
{
    struct stele *store = create_store(RECORD_BYTES, COUNT, 64 * KIB, 0);

    assert_store(store);
    assert_ok(stele_set_count(store, COUNT));
    assert_ok(stele_close(store));
    store = open_patient();
    __atomic_store_n(&durable_count, 0, __ATOMIC_SEQ_CST);
    return store;
}

/* Record @index of @age, in one transaction of its own. */
static int set_aged(struct stele *store, uint64_t index, uint64_t age, uint64_t *out_sequence)
{
    uint8_t record[RECORD_BYTES];
    struct stele_txn *txn;
    int rc = stele_begin(store, &txn);

    if (rc)
        return rc;
    fill_record(record, RECORD_BYTES, index, age);
    REQUIRE(stele_txn_set(txn, index, record) == STELE_OK);
    return stele_commit(txn, STELE_DURABLE, out_sequence);
}

static bool has_age(struct stele *store, uint64_t index, uint64_t age)
{
    uint8_t record[RECORD_BYTES], wanted[RECORD_BYTES];

    fill_record(wanted, RECORD_BYTES, index, age);
    return stele_get(store, index, record) == STELE_OK && memcmp(record, wanted, RECORD_BYTES) == 0;
}

/* All threads change blocks that the others change too: records of each lie among those of the others. */
static uint64_t index_of(const struct thread *thread, uint64_t k) { return k * THREADS + thread->number; }

static void commit_each(void *context)
{
    struct thread *thread = context;

    for (uint64_t k = 0; k < EACH; k++) {
        thread->done[k].sequence = 0;
        thread->done[k].code = set_aged(thread->store, index_of(thread, k), 1, &thread->done[k].sequence);
        /* What it was told is there is there for it, at once. */
        if (thread->done[k].code == STELE_OK)
            REQUIRE(has_age(thread->store, index_of(thread, k), 1));
    }
}

static void start_all(struct thread *threads, struct stele *store)
{
    for (uint64_t i = 0; i < THREADS; i++) {
        threads[i].store = store;
        threads[i].number = i;
        assert_ok(stele_os_thread_start(&threads[i].thread, commit_each, &threads[i]));
    }
}

static void join_all(struct thread *threads)
{
    for (size_t i = 0; i < THREADS; i++)
        stele_os_thread_join(&threads[i].thread);
}

/* ---- tests ---- */

static void threads_share_syncs_and_each_commit_is_there(void **state)
{
    struct stele *store = make_store();
    static struct thread threads[THREADS];

    __atomic_store_n(&is_slow, 1, __ATOMIC_SEQ_CST);
    start_all(threads, store);
    join_all(threads);
    __atomic_store_n(&is_slow, 0, __ATOMIC_SEQ_CST);
    /* While one sync goes on the others gather behind it; a few are alone at the beginning and the end. */
    assert_true(durable_count <= THREADS * EACH / 3);
    assert_ok(stele_close(store));
    store = open_store(STELE_READ_ONLY);
    assert_store(store);
    for (size_t i = 0; i < THREADS; i++) {
        for (uint64_t k = 0; k < EACH; k++) {
            assert_code(threads[i].done[k].code, STELE_OK);
            assert_true(has_age(store, index_of(&threads[i], k), 1));
            assert_ok(stele_outcome(store, threads[i].done[k].sequence));
        }
    }
    assert_verifies(store);
    assert_ok(stele_close(store));
}

static void a_commit_alone_is_one_sync(void **state)
{
    struct stele *store = make_store();

    for (uint32_t i = 0; i < 10; i++) { /* the ring takes more */
        assert_ok(set_aged(store, i, 1, NULL));
        assert_int_equal(durable_count, i + 1);
    }
    assert_ok(stele_close(store));
}

/* Every failure in turn: what was acknowledged is there, what is unknown is as stele_outcome says, the rest is not. */
static void a_sync_that_fails_tells_each_thread_what_became_of_its_commit(void **state)
{
    unsigned failures = scaled(20, 3), unknown_count = 0;
    for (unsigned nth = 1; nth <= failures; nth++) {
        struct stele *store = make_store();
        static struct thread threads[THREADS];

        __atomic_store_n(&is_slow, nth % 2, __ATOMIC_SEQ_CST);
        __atomic_store_n(&failing_from, nth, __ATOMIC_SEQ_CST);
        start_all(threads, store);
        join_all(threads);
        __atomic_store_n(&failing_from, 0, __ATOMIC_SEQ_CST);
        __atomic_store_n(&is_slow, 0, __ATOMIC_SEQ_CST);
        assert_code(stele_sync(store), STELE_E_POISONED);
        stele_close(store);
        store = open_patient();
        for (size_t i = 0; i < THREADS; i++) {
            for (uint64_t k = 0; k < EACH; k++) {
                int code = threads[i].done[k].code;
                bool is_there = has_age(store, index_of(&threads[i], k), 1);
                if (code == STELE_OK)
                    assert_true(is_there);
                else if (code == STELE_E_UNKNOWN)
                    assert_code(stele_outcome(store, threads[i].done[k].sequence),
                                is_there ? STELE_OK : STELE_E_ABSENT);
                else if (code != STELE_E_CONFLICT && code != STELE_E_POISONED && code != STELE_E_IO)
                    fail_msg("code %d", code);
                else /* the last: it met a checkpoint that failed, before its own entry was anywhere */
                    assert_false(is_there);
                unknown_count += code == STELE_E_UNKNOWN;
            }
        }
        assert_verifies(store);
        assert_ok(stele_close(store));
        remove(scratch_path);
    }
    assert_true(unknown_count >= failures);
}

static void commit_one(void *context)
{
    struct thread *thread = context;

    thread->done[0].code = set_aged(thread->store, 5, 1, NULL);
}

/* Of @way: nothing at all, a cut, more than the capacity, one record. */
static int commit_behind(struct stele_txn *txn, unsigned way)
{
    static const uint8_t records[4 * COUNT * RECORD_BYTES];

    if (way == 1)
        assert_ok(stele_txn_set_count(txn, COUNT / 2));
    if (way == 2)
        assert_ok(stele_txn_append(txn, records, 2 * COUNT, NULL));
    if (way == 3)
        assert_ok(stele_txn_set(txn, 6, records));
    return stele_commit(txn, STELE_DURABLE, NULL);
}

/* The failure that others met while it was open is its own: it does not begin anew where the sync failed. */
static void fail_under_a_transaction(unsigned way)
{
    struct stele *store = make_store(), *next;
    struct thread thread = { .store = store };
    struct stele_txn *txn;
    struct stele_info info = STELE_INFO_INIT;
    uint32_t before = __atomic_load_n(&durable_count, __ATOMIC_SEQ_CST);

    __atomic_store_n(&is_held, 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(&failing_from, before + 1, __ATOMIC_SEQ_CST);
    assert_ok(stele_os_thread_start(&thread.thread, commit_one, &thread));
    while (__atomic_load_n(&durable_count, __ATOMIC_SEQ_CST) == before)
        stele_os_sleep_us(100);
    assert_ok(stele_begin(store, &txn));
    __atomic_store_n(&is_held, 0, __ATOMIC_SEQ_CST);
    stele_os_thread_join(&thread.thread);
    assert_code(thread.done[0].code, STELE_E_UNKNOWN);
    __atomic_store_n(&failing_from, 0, __ATOMIC_SEQ_CST);
    /* To settle what came before is all that a commit of nothing does. */
    assert_code(commit_behind(txn, way), way == 0 ? STELE_E_UNKNOWN : STELE_E_CONFLICT);
    assert_ok(stele_info(store, &info));
    assert_u64(info.state, STELE_STATE_FAILED);
    stele_close(store);
    next = open_patient();
    assert_u64(stele_count(next), COUNT);
    assert_verifies(next);
    assert_ok(stele_close(next));
    remove(scratch_path);
}

/* The next transaction is staged while the one before it waits for the disk, and that one does not wait for it. */
static void a_commit_does_not_wait_for_the_transaction_behind_it(void **state)
{
    struct stele *store = make_store();
    struct thread thread = { .store = store };
    struct stele_txn *txn;
    uint8_t record[RECORD_BYTES], wanted[RECORD_BYTES];

    __atomic_store_n(&is_held, 1, __ATOMIC_SEQ_CST);
    assert_ok(stele_os_thread_start(&thread.thread, commit_one, &thread));
    while (__atomic_load_n(&durable_count, __ATOMIC_SEQ_CST) == 0)
        stele_os_sleep_us(100);
    assert_ok(stele_begin(store, &txn));
    assert_ok(stele_txn_get(txn, 5, record));
    fill_record(wanted, RECORD_BYTES, 5, 1);
    assert_memory_equal(record, wanted, RECORD_BYTES);
    /* It is no more than staged on: who reads gets what is durable. */
    assert_false(has_age(store, 5, 1));
    __atomic_store_n(&is_held, 0, __ATOMIC_SEQ_CST);
    stele_os_thread_join(&thread.thread);
    assert_code(thread.done[0].code, STELE_OK);
    assert_true(has_age(store, 5, 1));
    fill_record(record, RECORD_BYTES, 6, 2);
    assert_ok(stele_txn_set(txn, 6, record));
    assert_ok(stele_commit(txn, STELE_DURABLE, NULL));
    assert_true(has_age(store, 6, 2));
    assert_verifies(store);
    assert_ok(stele_close(store));
    remove(scratch_path);
    for (unsigned way = 0; way < 4; way++)
        fail_under_a_transaction(way);
}

static void commit_beside(void *context)
{
    struct stele *store = open_patient();

    for (uint64_t k = 0; k < EACH; k++)
        REQUIRE(set_aged(store, COUNT - 1 - k, k + 1, NULL) == STELE_OK);
    REQUIRE(stele_close(store) == STELE_OK);
}

static void another_process_gets_its_turn_beside_many_threads(void **state)
{
    struct stele *store = make_store();
    static struct thread threads[THREADS];
    struct child child = child_start(commit_beside, NULL);

    start_all(threads, store);
    join_all(threads);
    assert_int_equal(child_end(&child), 0);
    for (size_t i = 0; i < THREADS; i++) {
        for (uint64_t k = 0; k < EACH; k++) {
            assert_code(threads[i].done[k].code, STELE_OK);
            assert_true(has_age(store, index_of(&threads[i], k), 1));
        }
    }
    for (uint64_t k = 0; k < EACH; k++)
        assert_true(has_age(store, COUNT - 1 - k, k + 1));
    assert_verifies(store);
    assert_ok(stele_close(store));
}

static void mix(void *context)
{
    struct thread *thread = context;
    uint8_t record[RECORD_BYTES];

    for (uint64_t k = 0; k < EACH; k++) {
        struct stele_txn *txn;
        uint64_t index = index_of(thread, k), first;
        REQUIRE(stele_begin(thread->store, &txn) == STELE_OK);
        fill_record(record, RECORD_BYTES, index, 1);
        REQUIRE(stele_txn_set(txn, index, record) == STELE_OK);
        REQUIRE(stele_txn_append(txn, record, 1, &first) == STELE_OK);
        REQUIRE(stele_commit(txn, k % 3 ? STELE_ASYNC : STELE_DURABLE, &thread->done[k].sequence) == STELE_OK);
        if (k % 16 == thread->number)
            REQUIRE(stele_checkpoint(thread->store) == STELE_OK);
    }
}

static void asynchronous_durable_appends_and_checkpoints_go_together(void **state)
{
    struct stele *store = make_store();
    static struct thread threads[THREADS];

    for (uint64_t i = 0; i < THREADS; i++) {
        threads[i].store = store;
        threads[i].number = i;
        assert_ok(stele_os_thread_start(&threads[i].thread, mix, &threads[i]));
    }
    join_all(threads);
    assert_u64(stele_count(store), COUNT + THREADS * EACH);
    assert_ok(stele_close(store));
    store = open_store(STELE_READ_ONLY);
    assert_store(store);
    assert_u64(stele_count(store), COUNT + THREADS * EACH);
    for (size_t i = 0; i < THREADS; i++) {
        for (uint64_t k = 0; k < EACH; k++) {
            assert_true(has_age(store, index_of(&threads[i], k), 1));
            assert_ok(stele_outcome(store, threads[i].done[k].sequence));
        }
    }
    assert_verifies(store);
    assert_ok(stele_close(store));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FAST_SCRATCH(threads_share_syncs_and_each_commit_is_there),
        IN_FAST_SCRATCH(a_commit_alone_is_one_sync),
        IN_FAST_SCRATCH(a_sync_that_fails_tells_each_thread_what_became_of_its_commit),
        IN_FAST_SCRATCH(a_commit_does_not_wait_for_the_transaction_behind_it),
        IN_FAST_SCRATCH(another_process_gets_its_turn_beside_many_threads),
        IN_FAST_SCRATCH(asynchronous_durable_appends_and_checkpoints_go_together),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
