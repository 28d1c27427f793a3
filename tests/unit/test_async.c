/*
 * Asynchronous commits: seen at once by the handle, by others when they are synced; in order, whole, and not lost by
 * the death of the process, whoever writes next.
 */
#include "scratch.h"
#include "wrap.h"

enum { RECORD_BYTES = 24, COUNT = 300, CAPACITY = 4000, MODEL_MAX = 4000, AGES_MAX = 1000, KILLED = 9 };

/* ---- the system ---- */

static unsigned durable_count; /* journal writes that were synced */
static uint64_t durable_bytes;
static bool is_sync_failing, is_write_failing;

WRAPPED(int, stele_os_write_durable, const struct stele_os_file *file, uint64_t offset, const void *bytes,
        size_t byte_count)
{
    durable_count++;
    durable_bytes += byte_count;
    if (is_sync_failing)
        return stele_fail(STELE_E_IO, "the sync failed");
    return REAL(stele_os_write_durable)(file, offset, bytes, byte_count);
}

WRAPPED(int, stele_os_write, const struct stele_os_file *file, uint64_t offset, const void *bytes, size_t byte_count)
{
    if (is_write_failing)
        return stele_fail(STELE_E_IO, "the write failed");
    return REAL(stele_os_write)(file, offset, bytes, byte_count);
}

/* ---- words of the suite ---- */

static struct stele *open_mode(uint32_t mode, uint32_t flags, uint32_t interval_ms)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store = NULL;

    options.mode = mode;
    options.flags = flags;
    options.sync_interval_ms = interval_ms;
    options.read_wait_ms = 10000;
    REQUIRE(stele_open(scratch_path, &options, &store) == STELE_OK);
    return store;
}

/* A handle that syncs nothing by itself. */
static struct stele *open_quiet(void) { return open_mode(STELE_READ_WRITE, STELE_NO_THREADS, 3600000); }

static void make_store(void)
{
    static uint8_t records[COUNT * RECORD_BYTES];
    struct stele *store = create_store(RECORD_BYTES, CAPACITY, 16 * KIB, 0);

    assert_store(store);
    fill_records(records, RECORD_BYTES, 0, COUNT, 0);
    assert_ok(stele_append(store, records, COUNT, NULL));
    assert_ok(stele_close(store));
}

static void set_aged(struct stele *store, uint64_t index, uint64_t age, enum stele_durability durability,
                     uint64_t *out_sequence)
{
    uint8_t record[RECORD_BYTES];
    struct stele_txn *txn;

    fill_record(record, RECORD_BYTES, index, age);
    REQUIRE(stele_begin(store, &txn) == STELE_OK);
    REQUIRE(stele_txn_set(txn, index, record) == STELE_OK);
    REQUIRE(stele_commit(txn, durability, out_sequence) == STELE_OK);
}

static void append_aged(struct stele *store, uint64_t index, uint64_t age, enum stele_durability durability)
{
    uint8_t record[RECORD_BYTES];
    struct stele_txn *txn;
    uint64_t first = 0;

    fill_record(record, RECORD_BYTES, index, age);
    REQUIRE(stele_begin(store, &txn) == STELE_OK);
    REQUIRE(stele_txn_append(txn, record, 1, &first) == STELE_OK && first == index);
    REQUIRE(stele_commit(txn, durability, NULL) == STELE_OK);
}

static bool has_age(struct stele *store, uint64_t index, uint64_t age)
{
    uint8_t record[RECORD_BYTES], wanted[RECORD_BYTES];

    fill_record(wanted, RECORD_BYTES, index, age);
    return stele_get(store, index, record) == STELE_OK && memcmp(record, wanted, RECORD_BYTES) == 0;
}

static void assert_clean(struct stele *store)
{
    struct stele_verify_report report = STELE_VERIFY_REPORT_INIT;

    assert_ok(stele_verify(store, NULL, &report));
    assert_u64(report.damaged_count, 0);
}

/* ---- who sees what ---- */

static void the_handle_sees_it_at_once_and_others_when_it_is_synced(void **state)
{
    make_store();
    struct stele *store = open_quiet(), *reader = open_mode(STELE_READ_ONLY, 0, 0);
    uint8_t records[4 * RECORD_BYTES], wanted[RECORD_BYTES], got[RECORD_BYTES];
    uint64_t sequence = 0, seen = 0;
    struct stele_txn *txn;

    durable_count = 0;
    set_aged(store, 5, 1, STELE_ASYNC, &sequence);
    append_aged(store, COUNT, 1, STELE_ASYNC);
    set_aged(store, COUNT, 2, STELE_ASYNC, NULL);
    assert_u64(durable_count, 0);
    assert_true(sequence != 0);
    assert_u64(stele_count(store), COUNT + 1);
    assert_true(has_age(store, 5, 1) && has_age(store, 6, 0) && has_age(store, COUNT, 2));
    assert_ok(stele_read(store, 4, 4, records));
    fill_record(wanted, RECORD_BYTES, 5, 1);
    assert_memory_equal(records + RECORD_BYTES, wanted, RECORD_BYTES);
    assert_ok(stele_begin(store, &txn));
    assert_u64(stele_txn_count(txn), COUNT + 1);
    assert_ok(stele_txn_get(txn, 5, got));
    assert_memory_equal(got, wanted, RECORD_BYTES);
    stele_abort(txn);
    struct stele_cursor *cursor;
    const void *batch;
    size_t n;
    assert_ok(stele_cursor_open(store, 0, UINT64_MAX, &cursor));
    while (stele_cursor_next(cursor, &batch, &n) == STELE_OK)
        seen += n;
    stele_cursor_close(cursor);
    assert_u64(seen, COUNT + 1);

    assert_u64(stele_count(reader), COUNT);
    assert_true(has_age(reader, 5, 0));
    assert_code(stele_outcome(reader, sequence), STELE_E_BUSY);
    assert_u64(durable_count, 0);
    assert_ok(stele_sync(store));
    assert_u64(durable_count, 1);
    assert_u64(stele_count(reader), COUNT + 1);
    assert_true(has_age(reader, 5, 1) && has_age(reader, COUNT, 2));
    assert_ok(stele_outcome(reader, sequence));
    assert_clean(reader);
    assert_ok(stele_close(reader));
    assert_ok(stele_close(store));
}

static void a_durable_commit_takes_along_what_is_pending_with_one_sync(void **state)
{
    make_store();
    struct stele *store = open_quiet(), *reader = open_mode(STELE_READ_ONLY, 0, 0);

    for (uint64_t i = 0; i < 10; i++)
        set_aged(store, i * 20, 1, STELE_ASYNC, NULL);
    durable_count = 0;
    durable_bytes = 0;
    set_aged(store, 7, 1, STELE_DURABLE, NULL);
    assert_u64(durable_count, 1);
    assert_true(durable_bytes <= 4096); /* eleven entries of about 230 bytes */
    assert_true(has_age(reader, 0, 1) && has_age(reader, 180, 1) && has_age(reader, 7, 1));
    assert_ok(stele_close(store));
    assert_ok(stele_close(reader));
}

static void a_commit_of_nothing_that_is_durable_makes_what_came_before_so(void **state)
{
    make_store();
    struct stele *store = open_quiet();
    struct stele_txn *txn;
    uint64_t async = 0, empty = 0;

    set_aged(store, 1, 1, STELE_ASYNC, &async);
    durable_count = 0;
    assert_ok(stele_begin(store, &txn));
    assert_ok(stele_commit(txn, STELE_DURABLE, &empty));
    assert_u64(durable_count, 1);
    assert_u64(empty, async);
    assert_ok(stele_close(store));
}

static void another_writer_finds_it_in_place_and_what_it_changes_is_seen(void **state)
{
    make_store();
    struct stele *first = open_quiet(), *second = open_quiet();

    for (uint64_t round = 1; round <= 20; round++) {
        set_aged(first, 5, 2 * round, STELE_ASYNC, NULL);
        append_aged(first, COUNT + 2 * (round - 1), round, STELE_ASYNC);
        set_aged(second, 6, 2 * round, STELE_ASYNC, NULL);
        assert_true(has_age(second, 5, 2 * round));
        assert_u64(stele_count(second), COUNT + 2 * round - 1);
        set_aged(second, 5, 2 * round + 1, STELE_ASYNC, NULL);
        append_aged(second, COUNT + 2 * round - 1, round, STELE_ASYNC);
        /* What is pending there is not seen here, and what was pending here is in place. */
        assert_true(has_age(first, 5, 2 * round));
        assert_u64(stele_count(first), COUNT + 2 * round - 1);
        assert_ok(stele_sync(second));
        assert_true(has_age(first, 5, 2 * round + 1));
        assert_u64(stele_count(first), COUNT + 2 * round);
    }
    assert_ok(stele_checkpoint(first));
    assert_clean(first);
    assert_ok(stele_close(first));
    assert_ok(stele_close(second));
}

static void checkpoints_growth_cuts_and_bulk_come_behind_what_is_pending(void **state)
{
    make_store();
    struct stele *store = open_quiet();
    static uint8_t records[CAPACITY * RECORD_BYTES];

    set_aged(store, 5, 1, STELE_ASYNC, NULL);
    assert_ok(stele_checkpoint(store));
    set_aged(store, 6, 1, STELE_ASYNC, NULL);
    fill_records(records, RECORD_BYTES, COUNT, 3000, 0);
    assert_ok(stele_append(store, records, 3000, NULL));
    set_aged(store, 7, 1, STELE_ASYNC, NULL);
    append_aged(store, COUNT + 3000, 1, STELE_ASYNC);
    assert_ok(stele_set_count(store, COUNT));
    set_aged(store, 8, 1, STELE_ASYNC, NULL);
    assert_ok(stele_reserve(store, 2 * CAPACITY));
    set_aged(store, 9, 1, STELE_ASYNC, NULL);
    assert_ok(stele_set_count(store, COUNT + 10));
    for (uint64_t i = 0; i < 3 * CAPACITY; i++)
        append_aged(store, COUNT + 10 + i, i, STELE_ASYNC);
    assert_u64(stele_count(store), COUNT + 10 + 3 * CAPACITY);
    for (uint64_t i = 5; i < 10; i++)
        assert_true(has_age(store, i, 1));
    assert_ok(stele_close(store));
    store = open_mode(STELE_READ_ONLY, 0, 0);
    assert_u64(stele_count(store), COUNT + 10 + 3 * CAPACITY);
    for (uint64_t i = 0; i < 3 * CAPACITY; i++)
        assert_true(has_age(store, COUNT + 10 + i, i));
    assert_clean(store);
    assert_ok(stele_close(store));
}

/* ---- time ---- */

static void the_interval_syncs_it_by_a_thread_or_by_ticks(void **state)
{
    make_store();
    struct stele *reader = open_mode(STELE_READ_ONLY, 0, 0), *store = open_mode(STELE_READ_WRITE, 0, 20);
    uint64_t until_us = stele_os_clock_us() + 30000000;

    set_aged(store, 5, 1, STELE_ASYNC, NULL);
    while (!has_age(reader, 5, 1) && stele_os_clock_us() < until_us)
        stele_os_sleep_us(1000);
    assert_true(has_age(reader, 5, 1));
    set_aged(store, 5, 2, STELE_ASYNC, NULL);
    while (!has_age(reader, 5, 2) && stele_os_clock_us() < until_us)
        stele_os_sleep_us(1000);
    assert_true(has_age(reader, 5, 2));
    assert_ok(stele_close(store));

    store = open_mode(STELE_READ_WRITE, STELE_NO_THREADS, 3600000);
    set_aged(store, 5, 3, STELE_ASYNC, NULL);
    assert_ok(stele_tick(store));
    assert_true(has_age(reader, 5, 2));
    assert_ok(stele_close(store));
    assert_true(has_age(reader, 5, 3));

    store = open_mode(STELE_READ_WRITE, STELE_NO_THREADS, 1);
    assert_ok(stele_tick(store));
    set_aged(store, 5, 4, STELE_ASYNC, NULL);
    stele_os_sleep_us(2000);
    assert_true(has_age(reader, 5, 3));
    assert_ok(stele_tick(store));
    assert_true(has_age(reader, 5, 4));
    assert_ok(stele_close(store));
    assert_ok(stele_close(reader));
}

/* ---- deaths ---- */

static void commit_and_die(void *context)
{
    struct stele *store = open_quiet();

    for (uint64_t i = 0; i < 200; i++) {
        set_aged(store, i, i + 1, STELE_ASYNC, NULL);
        append_aged(store, COUNT + i, i, STELE_ASYNC);
    }
    _exit(KILLED);
}

static void nothing_is_lost_when_the_process_dies(void **state)
{
    for (unsigned is_beside = 0; is_beside < 2; is_beside++) {
        make_store();
        struct stele *beside = is_beside ? open_quiet() : NULL;
        assert_int_equal(exit_of_child(commit_and_die, NULL), KILLED);
        /* Who was there all along finds them at its next turn; else they are recovered. */
        if (beside) {
            assert_ok(stele_sync(beside));
            assert_u64(stele_count(beside), COUNT + 200);
        }
        struct stele *store = open_mode(STELE_READ_ONLY, 0, 0);
        assert_u64(stele_count(store), COUNT + 200);
        for (uint64_t i = 0; i < 200; i++)
            assert_true(has_age(store, i, i + 1) && has_age(store, COUNT + i, i));
        assert_clean(store);
        assert_ok(stele_close(store));
        assert_ok(stele_close(beside));
        remove(scratch_path);
    }
}

static void closing_without_a_sync_leaves_it_to_the_next_open(void **state)
{
    make_store();
    struct stele *store = open_quiet();

    set_aged(store, 5, 1, STELE_ASYNC, NULL);
    durable_count = 0;
    assert_ok(stele_close_nosync(store));
    assert_u64(durable_count, 0);
    store = open_mode(STELE_READ_ONLY, 0, 0);
    assert_true(has_age(store, 5, 1));
    assert_ok(stele_close(store));
    store = open_quiet();
    assert_true(has_age(store, 5, 1));
    assert_ok(stele_close(store));
}

static void live_words_that_do_not_fit_the_ring_end_in_a_recovery(void **state)
{
    static const uint64_t SPOILED[] = { 1, 4096, 8192, UINT64_MAX, 16 * KIB };
    for (size_t i = 0; i < COUNT_OF(SPOILED); i++) {
        make_store();
        struct stele *beside = open_quiet(), *store = open_quiet();
        set_aged(store, 5, 1, STELE_DURABLE, NULL);
        for (uint64_t k = 0; k < 30; k++)
            set_aged(store, 6 + k, 1, STELE_ASYNC, NULL);
        assert_ok(stele_close_nosync(store));
        poke(scratch_path, 64 * KIB + 1056, &SPOILED[i], 8);
        assert_ok(stele_sync(beside));
        for (uint64_t k = 0; k < 31; k++)
            assert_true(has_age(beside, 5 + k, 1));
        assert_clean(beside);
        assert_ok(stele_close(beside));
        remove(scratch_path);
    }
}

/* ---- failures ---- */

static void a_sync_that_fails_leaves_the_outcome_to_a_recovery(void **state)
{
    enum { BY_SYNC, BY_COMMIT, BY_CUT, BY_BULK, WAYS };
    static const uint8_t many[3000 * RECORD_BYTES];

    for (unsigned way = BY_SYNC; way < WAYS; way++) {
        make_store();
        struct stele *store = open_quiet();
        uint64_t async = 0, durable = 0;
        struct stele_txn *txn;
        uint8_t record[RECORD_BYTES];

        set_aged(store, 5, 1, STELE_ASYNC, &async);
        is_sync_failing = true;
        if (way == BY_CUT) {
            /* It settles what is pending before it is logged itself: nothing of it is in doubt. */
            assert_ok(stele_begin(store, &txn));
            assert_ok(stele_txn_set_count(txn, COUNT - 1));
            assert_code(stele_commit(txn, STELE_DURABLE, &durable), STELE_E_CONFLICT);
            assert_u64(durable, 0);
        } else if (way == BY_BULK) {
            assert_code(stele_append(store, many, 3000, NULL), STELE_E_CONFLICT);
        } else if (way == BY_COMMIT) {
            fill_record(record, RECORD_BYTES, 6, 1);
            assert_ok(stele_begin(store, &txn));
            assert_ok(stele_txn_set(txn, 6, record));
            assert_code(stele_commit(txn, STELE_DURABLE, &durable), STELE_E_UNKNOWN);
            assert_u64(durable, async + 1);
        } else {
            assert_code(stele_sync(store), STELE_E_UNKNOWN);
        }
        is_sync_failing = false;
        assert_says("stele_outcome");
        assert_code(stele_sync(store), STELE_E_POISONED);
        assert_code(stele_outcome(store, async), STELE_E_POISONED);
        stele_close(store);
        store = open_quiet();
        assert_code(stele_outcome(store, async), has_age(store, 5, 1) ? STELE_OK : STELE_E_ABSENT);
        assert_clean(store);
        assert_ok(stele_close(store));
        remove(scratch_path);
    }
}

static void a_ring_that_cannot_be_written_poisons_before_anything_else_changes(void **state)
{
    make_store();
    struct stele *store = open_quiet();
    struct stele_txn *txn;
    uint8_t record[RECORD_BYTES];
    uint64_t sequence = 0;

    fill_record(record, RECORD_BYTES, 6, 1);
    assert_ok(stele_begin(store, &txn));
    assert_ok(stele_txn_set(txn, 6, record));
    is_write_failing = true;
    assert_code(stele_commit(txn, STELE_ASYNC, &sequence), STELE_E_UNKNOWN);
    is_write_failing = false;
    assert_true(sequence != 0 && has_age(store, 6, 0));
    assert_code(stele_sync(store), STELE_E_POISONED);
    stele_close(store);
    store = open_quiet();
    assert_clean(store);
    assert_ok(stele_close(store));
}

/* ---- chance ---- */

struct model {
    uint64_t ages[MODEL_MAX];
    uint64_t count;
};

/* What all have committed; what is pending in one handle is pending in none other, as its begin settles that first. */
static struct model model;

static void check_all(struct stele *store)
{
    assert_u64(stele_count(store), model.count);
    for (uint64_t i = 0; i < model.count; i++) {
        if (!has_age(store, i, model.ages[i]))
            fail_msg("record %" PRIu64 " is not of age %" PRIu64, i, model.ages[i]);
    }
}

static void change(struct chance *chance, struct stele *store, uint64_t age)
{
    enum stele_durability durability = chance_below(chance, 4) ? STELE_ASYNC : STELE_DURABLE;
    struct stele_txn *txn;
    uint8_t record[RECORD_BYTES];
    unsigned what = (unsigned)chance_below(chance, 20);

    assert_ok(stele_begin(store, &txn));
    assert_u64(stele_txn_count(txn), model.count);
    if (what == 0) {
        model.count = chance_below(chance, model.count + 1);
        assert_ok(stele_txn_set_count(txn, model.count));
    }
    for (uint64_t n = 1 + chance_below(chance, 20); n; n--) {
        uint64_t index = chance_below(chance, model.count + 1);
        if (index == MODEL_MAX)
            continue;
        fill_record(record, RECORD_BYTES, index, age);
        if (index == model.count)
            assert_ok(stele_txn_append(txn, record, 1, NULL));
        else
            assert_ok(stele_txn_set(txn, index, record));
        model.count += index == model.count;
        model.ages[index] = age;
    }
    assert_ok(stele_commit(txn, durability, NULL));
}

static void two_handles_in_random_order_agree_with_a_model(void **state)
{
    struct chance chance = chance_begin();
    unsigned rounds = scaled(4000, 100);

    make_store();
    struct stele *stores[2] = { open_quiet(), open_quiet() };
    memset(&model, 0, sizeof(model));
    model.count = COUNT;
    for (unsigned round = 0; round < rounds; round++) {
        unsigned which = (unsigned)chance_below(&chance, 2);
        for (uint64_t n = 1 + chance_below(&chance, 8); n; n--)
            change(&chance, stores[which], round + 1);
        if (chance_below(&chance, 8) == 0)
            check_all(stores[which]);
        if (chance_below(&chance, 40) == 0)
            assert_ok(stele_checkpoint(stores[which]));
        if (chance_below(&chance, 30) == 0) {
            /* The other is there, so nobody recovers: its next turn settles what this one leaves. */
            assert_ok(chance_below(&chance, 2) ? stele_close_nosync(stores[which]) : stele_close(stores[which]));
            stores[which] = open_quiet();
        }
    }
    assert_ok(stele_sync(stores[0]));
    assert_ok(stele_sync(stores[1]));
    check_all(stores[0]);
    check_all(stores[1]);
    assert_clean(stores[0]);
    assert_ok(stele_close_nosync(stores[0]));
    assert_ok(stele_close_nosync(stores[1]));
    stores[0] = open_mode(STELE_READ_ONLY, 0, 0);
    check_all(stores[0]);
    assert_clean(stores[0]);
    assert_ok(stele_close(stores[0]));
}

struct reading {
    struct stele *store;
    uint32_t is_over; /* atomic */
    uint32_t wrong_count;
};

static void read_on(void *context)
{
    struct reading *reading = context;
    uint64_t last[COUNT] = { 0 };

    while (!__atomic_load_n(&reading->is_over, __ATOMIC_ACQUIRE)) {
        for (uint64_t i = 0; i < COUNT; i++) {
            uint8_t record[RECORD_BYTES], wanted[RECORD_BYTES];
            uint64_t age = last[i];
            bool is_same = false;
            REQUIRE(stele_get(reading->store, i, record) == STELE_OK);
            /* Never older than what this thread has seen. */
            for (; !is_same && age < last[i] + AGES_MAX; age++) {
                fill_record(wanted, RECORD_BYTES, i, age);
                is_same = memcmp(record, wanted, RECORD_BYTES) == 0;
            }
            __atomic_fetch_add(&reading->wrong_count, !is_same, __ATOMIC_RELAXED);
            last[i] = is_same ? age - 1 : last[i];
        }
    }
}

static void threads_of_the_handle_read_while_it_commits(void **state)
{
    make_store();
    struct reading reading = { .store = open_mode(STELE_READ_WRITE, 0, 1) };
    struct stele_os_thread threads[2];

    for (size_t i = 0; i < 2; i++)
        assert_ok(stele_os_thread_start(&threads[i], read_on, &reading));
    for (unsigned i = 0, n = scaled(20000, 500); i < n; i++)
        set_aged(reading.store, i % COUNT, i / COUNT + 1, i % 50 ? STELE_ASYNC : STELE_DURABLE, NULL);
    __atomic_store_n(&reading.is_over, 1, __ATOMIC_RELEASE);
    for (size_t i = 0; i < 2; i++)
        stele_os_thread_join(&threads[i]);
    assert_int_equal(reading.wrong_count, 0);
    assert_clean(reading.store);
    assert_ok(stele_close(reading.store));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_SCRATCH(the_handle_sees_it_at_once_and_others_when_it_is_synced),
        IN_SCRATCH(a_durable_commit_takes_along_what_is_pending_with_one_sync),
        IN_SCRATCH(a_commit_of_nothing_that_is_durable_makes_what_came_before_so),
        IN_SCRATCH(another_writer_finds_it_in_place_and_what_it_changes_is_seen),
        IN_FAST_SCRATCH(checkpoints_growth_cuts_and_bulk_come_behind_what_is_pending),
        IN_SCRATCH(the_interval_syncs_it_by_a_thread_or_by_ticks),
        IN_SCRATCH(nothing_is_lost_when_the_process_dies),
        IN_SCRATCH(closing_without_a_sync_leaves_it_to_the_next_open),
        IN_SCRATCH(live_words_that_do_not_fit_the_ring_end_in_a_recovery),
        IN_SCRATCH(a_sync_that_fails_leaves_the_outcome_to_a_recovery),
        IN_SCRATCH(a_ring_that_cannot_be_written_poisons_before_anything_else_changes),
        IN_FAST_SCRATCH(two_handles_in_random_order_agree_with_a_model),
        IN_FAST_SCRATCH(threads_of_the_handle_read_while_it_commits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
