/* Transactions: what they see, what they leave, and what the journal ring takes of them. */
#include "scratch.h"

enum { RECORD_BYTES = 100 };

static uint8_t record[RECORD_BYTES], other[RECORD_BYTES];

static struct stele *small_store(uint64_t count)
{
    struct stele *store = create_store(RECORD_BYTES, 10000, 16 * KIB, 0);
    static uint8_t records[10000 * RECORD_BYTES];

    assert_store(store);
    fill_records(records, RECORD_BYTES, 0, count, 0);
    assert_ok(stele_append(store, records, (size_t)count, NULL));
    return store;
}

/* Record @index is that of @age; UINT64_MAX: zeros. */
static void assert_record(struct stele *store, uint64_t index, uint64_t age)
{
    memset(other, 0, sizeof(other));
    if (age != UINT64_MAX)
        fill_record(other, RECORD_BYTES, index, age);
    assert_ok(stele_get(store, index, record));
    assert_memory_equal(record, other, RECORD_BYTES);
}

static void set_aged(struct stele_txn *txn, uint64_t index, uint64_t age)
{
    fill_record(record, RECORD_BYTES, index, age);
    assert_ok(stele_txn_set(txn, index, record));
}

static void a_transaction_sees_its_own_changes_and_others_see_them_after_the_commit(void **state)
{
    struct stele *store = small_store(50);
    struct stele_txn *txn;
    uint64_t first = 0, sequence = 0, next = 0;

    assert_ok(stele_begin(store, &txn));
    set_aged(txn, 7, 1);
    set_aged(txn, 7, 2);
    fill_record(record, RECORD_BYTES, 50, 1);
    assert_ok(stele_txn_append(txn, record, 1, &first));
    assert_u64(first, 50);
    assert_u64(stele_txn_count(txn), 51);
    fill_record(other, RECORD_BYTES, 7, 2);
    assert_ok(stele_txn_get(txn, 7, record));
    assert_memory_equal(record, other, RECORD_BYTES);
    fill_record(other, RECORD_BYTES, 8, 0);
    assert_ok(stele_txn_get(txn, 8, record));
    assert_memory_equal(record, other, RECORD_BYTES);
    assert_record(store, 7, 0);
    assert_u64(stele_count(store), 50);
    assert_code(stele_get(store, 50, record), STELE_E_RANGE);
    assert_ok(stele_commit(txn, STELE_DURABLE, &sequence));
    assert_record(store, 7, 2);
    assert_record(store, 8, 0);
    assert_record(store, 50, 1);
    assert_u64(stele_count(store), 51);
    assert_ok(stele_outcome(store, sequence));
    assert_code(stele_outcome(store, sequence + 1), STELE_E_RANGE);
    assert_ok(stele_begin(store, &txn));
    set_aged(txn, 0, 3);
    assert_ok(stele_commit(txn, STELE_DURABLE, &next));
    assert_u64(next, sequence + 1);
    assert_verifies(store);
    assert_ok(stele_close(store));
}

static void an_abort_leaves_everything_as_it_was(void **state)
{
    struct stele *store = small_store(50);
    struct stele_info before = info_of(store), after;
    struct stele_txn *txn;
    uint8_t user[64] = { 1 };

    assert_ok(stele_begin(store, &txn));
    set_aged(txn, 7, 1);
    assert_ok(stele_txn_set_count(txn, 3));
    assert_ok(stele_txn_set_count(txn, 4000));
    assert_ok(stele_txn_append(txn, record, 1, NULL));
    assert_ok(stele_txn_user(txn, 5, user));
    assert_ok(stele_txn_tag(txn, "tag", 3));
    stele_abort(txn);
    stele_abort(NULL);
    after = info_of(store);
    assert_memory_equal(&before, &after, sizeof(before));
    for (uint64_t i = 0; i < 50; i++)
        assert_record(store, i, 0);
    assert_verifies(store);
    assert_ok(stele_close(store));
}

static void an_empty_commit_writes_nothing_and_its_sequence_is_there(void **state)
{
    struct stele *store = small_store(5);
    struct stele_info before, after;
    struct stele_txn *txn;
    uint64_t sequence = 0;

    assert_ok(stele_close(store));
    for (unsigned round = 0; round < 3; round++) {
        store = open_store(STELE_READ_WRITE);
        assert_store(store);
        before = info_of(store);
        assert_ok(stele_begin(store, &txn));
        assert_ok(stele_txn_set_count(txn, 5));
        assert_ok(stele_txn_append(txn, NULL, 0, NULL));
        assert_ok(stele_commit(txn, STELE_DURABLE, &sequence));
        after = info_of(store);
        assert_memory_equal(&before, &after, sizeof(before));
        assert_ok(stele_outcome(store, sequence));
        assert_ok(stele_close(store));
    }
}

static void what_a_lower_count_cut_does_not_come_back_with_a_higher_one(void **state)
{
    static const struct { uint64_t low, high; } cases[] = {
        { 0, 40 }, { 0, 500 }, { 1, 40 }, { 31, 33 }, { 32, 64 }, { 33, 70 }, { 39, 40 }, { 39, 41 }, { 39, 300 },
        { 40, 300 }, { 20, 20 }, { 0, 0 }, { 31, 40 }, { 32, 40 },
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct stele *store = small_store(40);
        struct stele_txn *txn;
        assert_ok(stele_begin(store, &txn));
        set_aged(txn, 5, 1);
        set_aged(txn, 39, 1);
        assert_ok(stele_txn_set_count(txn, cases[i].low));
        assert_u64(stele_txn_count(txn), cases[i].low);
        assert_code(stele_txn_get(txn, cases[i].low, record), STELE_E_RANGE);
        assert_code(stele_txn_set(txn, cases[i].low, record), STELE_E_RANGE);
        assert_ok(stele_txn_set_count(txn, cases[i].high));
        for (uint64_t k = cases[i].low; k < cases[i].high; k++) {
            memset(record, 1, sizeof(record));
            assert_ok(stele_txn_get(txn, k, record));
            assert_true(stele_is_zero(record, RECORD_BYTES));
        }
        if (cases[i].high > 35)
            set_aged(txn, 35, 9);
        assert_ok(stele_commit(txn, STELE_DURABLE, NULL));
        for (unsigned round = 0; round < 2; round++) {
            assert_u64(stele_count(store), cases[i].high);
            for (uint64_t k = 0; k < cases[i].high; k++) {
                if (k == 35)
                    assert_record(store, k, 9);
                else if (k >= cases[i].low)
                    assert_record(store, k, UINT64_MAX);
                else
                    assert_record(store, k, k == 5 || k == 39);
            }
            assert_verifies(store);
            assert_ok(stele_close(store));
            store = open_store(STELE_READ_WRITE);
            assert_store(store);
        }
        assert_ok(stele_close(store));
        assert_int_equal(unlink(scratch_path), 0);
    }
}

static void what_is_appended_where_something_was_cut_is_what_stays(void **state)
{
    struct stele *store = small_store(40);
    struct stele_txn *txn;
    uint64_t first = 0;

    assert_ok(stele_begin(store, &txn));
    for (uint64_t i = 25; i < 40; i++)
        set_aged(txn, i, 1);
    assert_ok(stele_txn_set_count(txn, 30));
    for (uint64_t i = 30; i < 45; i++) {
        fill_record(record, RECORD_BYTES, i, 2);
        assert_ok(stele_txn_append(txn, record, 1, &first));
        assert_u64(first, i);
    }
    set_aged(txn, 33, 3);
    assert_ok(stele_commit(txn, STELE_DURABLE, NULL));
    assert_u64(stele_count(store), 45);
    for (uint64_t i = 0; i < 45; i++)
        assert_record(store, i, i < 25 ? 0 : i < 30 ? 1 : i == 33 ? 3 : 2);
    assert_verifies(store);
    assert_ok(stele_close(store));
}

static void user_and_tag_come_back_and_the_last_one_counts(void **state)
{
    struct stele *store = small_store(3);
    uint8_t user[64], tag[64];

    for (unsigned i = 1; i <= 4; i++) {
        struct stele_txn *txn;
        memset(user, (int)i, sizeof(user));
        memset(tag, 'a' + (int)i, sizeof(tag));
        assert_ok(stele_begin(store, &txn));
        assert_ok(stele_txn_user(txn, 10 * i, user));
        assert_ok(stele_txn_tag(txn, tag, 65 - 16 * i));
        assert_ok(stele_commit(txn, STELE_DURABLE, NULL));
        for (unsigned round = 0; round < 3; round++) {
            struct stele_info info = info_of(store);
            assert_u64(info.user_version, 10 * i);
            assert_memory_equal(info.user, user, 64);
            assert_u64(info.tag_bytes, 65 - 16 * i);
            assert_memory_equal(info.tag, tag, 65 - 16 * i);
            assert_true(stele_is_zero(info.tag + info.tag_bytes, 64 - info.tag_bytes));
            if (round == 0)
                assert_ok(stele_checkpoint(store));
            if (round == 1) {
                assert_ok(stele_set(store, 0, record)); /* says nothing of them */
                assert_ok(stele_close(store));
                store = open_store(STELE_READ_WRITE);
                assert_store(store);
            }
        }
    }
    assert_ok(stele_close(store));
}

static void a_second_begin_of_the_thread_waits_its_time_and_is_refused(void **state)
{
    struct stele *store = small_store(3);
    struct stele_txn *txn, *second = NULL;

    assert_ok(stele_begin(store, &txn));
    assert_code(stele_begin(store, &second), STELE_E_BUSY);
    assert_null(second);
    assert_code(stele_set(store, 0, record), STELE_E_BUSY);
    assert_code(stele_checkpoint(store), STELE_E_BUSY);
    set_aged(txn, 1, 1);
    assert_ok(stele_commit(txn, STELE_DURABLE, NULL));
    assert_ok(stele_begin(store, &second));
    stele_abort(second);
    assert_record(store, 1, 1);
    assert_ok(stele_close(store));
}

static void calls_that_break_a_rule_are_refused_and_the_transaction_goes_on(void **state)
{
    struct stele *store = small_store(3);
    struct stele_txn *txn;
    uint64_t sequence = 77;
    uint8_t user[64] = { 0 };

    assert_code(stele_begin(NULL, &txn), STELE_E_USAGE);
    assert_code(stele_begin(store, NULL), STELE_E_USAGE);
    assert_code(stele_commit(NULL, STELE_DURABLE, NULL), STELE_E_USAGE);
    assert_ok(stele_begin(store, &txn));
    assert_code(stele_txn_set(txn, 0, NULL), STELE_E_USAGE);
    assert_code(stele_txn_set(NULL, 0, record), STELE_E_USAGE);
    assert_code(stele_txn_set(txn, 3, record), STELE_E_RANGE);
    assert_code(stele_txn_set(txn, UINT64_MAX, record), STELE_E_RANGE);
    assert_code(stele_txn_get(txn, 3, record), STELE_E_RANGE);
    assert_code(stele_txn_get(txn, 0, NULL), STELE_E_USAGE);
    assert_code(stele_txn_append(txn, NULL, 1, NULL), STELE_E_USAGE);
    /* More than a store may hold; with 32 bits only more than memory may. */
    assert_code(stele_txn_append(txn, record, SIZE_MAX, NULL),
                SIZE_MAX >> 31 >> 17 ? STELE_E_RANGE : STELE_E_NOMEM);
    assert_code(stele_txn_set_count(txn, (UINT64_C(1) << 48) + 1), STELE_E_RANGE);
    assert_code(stele_txn_set_count(txn, UINT64_MAX), STELE_E_RANGE);
    assert_code(stele_txn_tag(txn, "", 0), STELE_E_USAGE);
    assert_code(stele_txn_tag(txn, user, 65), STELE_E_USAGE);
    assert_code(stele_txn_tag(txn, NULL, 3), STELE_E_USAGE);
    assert_code(stele_txn_user(txn, 1, NULL), STELE_E_USAGE);
    assert_u64(stele_txn_count(txn), 3);
    assert_u64(stele_txn_count(NULL), 0);
    set_aged(txn, 2, 5);
    assert_ok(stele_commit(txn, STELE_DURABLE, NULL));
    assert_record(store, 2, 5);
    /* A durability that is not known: nothing committed, the transaction gone all the same. */
    assert_ok(stele_begin(store, &txn));
    set_aged(txn, 2, 6);
    assert_code(stele_commit(txn, (enum stele_durability)7, &sequence), STELE_E_USAGE);
    assert_u64(sequence, 77);
    assert_record(store, 2, 5);
    assert_ok(stele_close(store));
}

/* ---- the ring ---- */

/* Bytes of the entry that sets @n records: neighbours, or each in a block of its own. */
static uint64_t entry_bytes(uint64_t n, bool is_scattered)
{
    uint64_t record_items = is_scattered ? n * (32 + 104) : 32 + (n * RECORD_BYTES + 7) / 8 * 8;
    uint64_t words = is_scattered ? n * 40 : 32 + (n + 31) / 32 * 8;

    return 64 + record_items + words + 32 + 8;
}

static int set_records(struct stele *store, uint64_t n, bool is_scattered, uint64_t age)
{
    struct stele_txn *txn;

    assert_ok(stele_begin(store, &txn));
    for (uint64_t i = 0; i < n; i++)
        set_aged(txn, is_scattered ? i * 64 : i, age);
    return stele_commit(txn, STELE_DURABLE, NULL);
}

/* The ring that the last error names. */
static uint64_t named_ring(void)
{
    const char *at = strstr(stele_last_error()->text, "--journal ");

    assert_non_null(at);
    return strtoull(at + strlen("--journal "), NULL, 10);
}

static void what_fills_the_ring_fits_and_one_record_more_changes_nothing(void **state)
{
    const uint64_t most = 16 * KIB - 4096;
    struct stele *store = small_store(9984);
    uint64_t n = 1;

    while (entry_bytes(n + 1, false) <= most)
        n++;
    assert_ok(set_records(store, n, false, 1));
    assert_record(store, n - 1, 1);
    struct stele_info before = info_of(store), after;
    assert_code(set_records(store, n + 1, false, 2), STELE_E_TOO_BIG);
    after = info_of(store);
    assert_memory_equal(&before, &after, sizeof(before));
    assert_record(store, 0, 1);
    assert_record(store, n, 0);
    assert_verifies(store);
    assert_ok(stele_close(store));
}

static void the_ring_that_a_refusal_names_takes_the_transaction(void **state)
{
    /* Round each page that an entry may need. */
    for (uint64_t n = 40; n < 400; n += scale_percent() < 100 ? 61 : 7) {
        for (unsigned is_scattered = 0; is_scattered < 2; is_scattered++) {
            struct stele_options options = STELE_OPTIONS_INIT;
            struct stele *store = small_store(9984);
            uint64_t count = is_scattered && n > 156 ? 156 - n % 10 : n;
            int rc = set_records(store, count, is_scattered, 1);
            assert_ok(stele_close(store));
            if (rc == STELE_E_TOO_BIG) {
                options.journal_bytes = named_ring();
                assert_ok(stele_resize(scratch_path, &options));
                store = open_store(STELE_READ_WRITE);
                assert_store(store);
                assert_record(store, 0, 0);
                assert_ok(set_records(store, count, is_scattered, 1));
                assert_record(store, 0, 1);
                assert_verifies(store);
                assert_ok(stele_close(store));
            } else {
                assert_ok(rc);
            }
            assert_int_equal(unlink(scratch_path), 0);
        }
    }
}

static void a_refused_transaction_does_not_grow_the_file(void **state)
{
    struct stele *store = create_store(RECORD_BYTES, 10, 16 * KIB, 0);
    static uint8_t records[200 * RECORD_BYTES];
    struct stele_txn *txn;

    assert_store(store);
    uint64_t bytes = size_of_file(scratch_path);
    for (size_t n = 100; n <= 200; n++) {
        struct stele_info before = info_of(store), after;
        assert_ok(stele_begin(store, &txn));
        assert_ok(stele_txn_append(txn, records, n, NULL));
        int rc = stele_commit(txn, STELE_DURABLE, NULL);
        if (rc == STELE_E_TOO_BIG) {
            after = info_of(store);
            assert_memory_equal(&before, &after, sizeof(before));
            assert_u64(size_of_file(scratch_path), bytes);
        } else {
            assert_ok(rc);
            assert_ok(stele_close(store));
            assert_int_equal(unlink(scratch_path), 0);
            store = create_store(RECORD_BYTES, 10, 16 * KIB, 0);
            assert_store(store);
        }
    }
    assert_ok(stele_close(store));
}

static void a_transaction_larger_than_any_ring_says_so(void **state)
{
    struct stele *store = small_store(1);
    struct stele_txn *txn;

    assert_ok(stele_begin(store, &txn));
    assert_ok(stele_txn_set_count(txn, 0));
    static uint8_t records[4000 * RECORD_BYTES];
    for (unsigned i = 0; i < 400; i++)
        assert_ok(stele_txn_append(txn, records, 4000, NULL));
    assert_code(stele_commit(txn, STELE_DURABLE, NULL), STELE_E_TOO_BIG);
    assert_says("smaller pieces");
    assert_null(strstr(stele_last_error()->text, "--journal"));
    assert_u64(stele_count(store), 1);
    assert_ok(stele_close(store));
}

static void a_damaged_block_stops_the_commit_and_nothing_is_blessed(void **state)
{
    struct stele *store = small_store(100);
    uint64_t offset = info_of(store).records_offset;
    struct stele_verify_report report = STELE_VERIFY_REPORT_INIT;
    uint8_t byte;

    assert_ok(stele_close(store));
    peek(scratch_path, offset + 40 * RECORD_BYTES, &byte, 1);
    byte ^= 16;
    poke(scratch_path, offset + 40 * RECORD_BYTES, &byte, 1);
    store = open_store(STELE_READ_WRITE);
    assert_store(store);
    fill_record(record, RECORD_BYTES, 41, 1);
    assert_code(stele_set(store, 41, record), STELE_E_DAMAGED);
    assert_says("records 32 to 63");
    assert_record(store, 41, 0);
    assert_code(stele_set_count(store, 50), STELE_E_DAMAGED); /* would cut the block */
    assert_u64(stele_count(store), 100);
    fill_record(record, RECORD_BYTES, 64, 1);
    assert_ok(stele_set(store, 64, record)); /* the next block is good */
    assert_record(store, 64, 1);
    assert_code(stele_verify(store, NULL, &report), STELE_E_DAMAGED);
    assert_u64(report.damaged_count, 1);
    assert_u64(report.first_damaged_block, 1);
    assert_ok(stele_close(store));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FAST_SCRATCH(a_transaction_sees_its_own_changes_and_others_see_them_after_the_commit),
        IN_FAST_SCRATCH(an_abort_leaves_everything_as_it_was),
        IN_FAST_SCRATCH(an_empty_commit_writes_nothing_and_its_sequence_is_there),
        IN_FAST_SCRATCH(what_a_lower_count_cut_does_not_come_back_with_a_higher_one),
        IN_FAST_SCRATCH(what_is_appended_where_something_was_cut_is_what_stays),
        IN_FAST_SCRATCH(user_and_tag_come_back_and_the_last_one_counts),
        IN_FAST_SCRATCH(a_second_begin_of_the_thread_waits_its_time_and_is_refused),
        IN_FAST_SCRATCH(calls_that_break_a_rule_are_refused_and_the_transaction_goes_on),
        IN_FAST_SCRATCH(what_fills_the_ring_fits_and_one_record_more_changes_nothing),
        IN_FAST_SCRATCH(the_ring_that_a_refusal_names_takes_the_transaction),
        IN_FAST_SCRATCH(a_refused_transaction_does_not_grow_the_file),
        IN_FAST_SCRATCH(a_transaction_larger_than_any_ring_says_so),
        IN_FAST_SCRATCH(a_damaged_block_stops_the_commit_and_nothing_is_blessed),
    };

    return cmocka_run_group_tests_name("txn", tests, NULL, NULL);
}
