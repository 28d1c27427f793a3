/* Scans: every record once and in order, whatever the batch, and what they do while the store changes. */
#include "scratch.h"
#include "wrap.h"

static struct stele *cutter; /* cuts the store to @cut_to records when the next batch is asked for ahead */
static uint64_t cut_to;

WRAPPED(void, stele_os_will_need, const struct stele_os_file *file, uint64_t offset, uint64_t byte_count)
{
    struct stele *store = cutter;

    cutter = NULL;
    if (store)
        REQUIRE(stele_set_count(store, cut_to) == STELE_OK);
    REAL(stele_os_will_need)(file, offset, byte_count);
}

static uint8_t *records;
static size_t record_bytes;

static struct stele *store_of(uint32_t bytes, uint64_t count)
{
    struct stele *store = create_store(bytes, count, 0, 0);

    assert_store(store);
    record_bytes = bytes;
    records = realloc(records, (size_t)(count * bytes));
    assert_non_null(records);
    fill_records(records, bytes, 0, count, 0);
    assert_ok(stele_append(store, records, (size_t)count, NULL));
    return store;
}

static int drop_all(void **state)
{
    free(records);
    records = NULL;
    return scratch_drop(state);
}

#define IN_STORE(test) cmocka_unit_test_setup_teardown(test, scratch_make_fast, drop_all)

static void scan(struct stele *store, uint64_t first, uint64_t n, uint64_t end)
{
    struct stele_cursor *cursor;
    const void *batch = NULL;
    size_t batch_count = 0;
    uint64_t at = first;
    int rc;

    assert_ok(stele_cursor_open(store, first, n, &cursor));
    while ((rc = stele_cursor_next(cursor, &batch, &batch_count)) == STELE_OK) {
        assert_true(batch_count > 0);
        assert_true(at + batch_count <= end);
        assert_memory_equal(batch, records + at * record_bytes, batch_count * record_bytes);
        at += batch_count;
    }
    assert_int_equal(rc, STELE_END);
    assert_u64(at, end);
    assert_int_equal(stele_cursor_next(cursor, &batch, &batch_count), STELE_END);
    stele_cursor_close(cursor);
}

static void every_record_comes_once_and_in_order(void **state)
{
    static const struct { uint32_t bytes; uint64_t count; } stores[] = {
        { 1, 300000 }, { 24, 50000 }, { 100, 7000 }, { 4097, 130 }, { 300000, 5 },
    };

    for (size_t i = 0; i < COUNT_OF(stores); i++) {
        uint64_t count = stores[i].count;
        struct stele *store = store_of(stores[i].bytes, count), *reader;
        scan(store, 0, UINT64_MAX, count);
        scan(store, 0, count, count);
        scan(store, count, 0, count);
        scan(store, count, UINT64_MAX, count);
        scan(store, count - 1, 1, count);
        scan(store, 1, count - 2, count - 1);
        scan(store, count / 3, UINT64_MAX, count);
        scan(store, count / 3, count / 2, count / 3 + count / 2);
        reader = open_store(STELE_READ_ONLY);
        assert_store(reader);
        scan(reader, 0, UINT64_MAX, count);
        assert_ok(stele_close(store));
        scan(reader, 1, UINT64_MAX, count);
        assert_ok(stele_close(reader));
        reader = open_store(STELE_READ_ONLY);
        assert_store(reader);
        scan(reader, 0, UINT64_MAX, count); /* nobody writes */
        assert_ok(stele_close(reader));
        assert_int_equal(unlink(scratch_path), 0);
    }
}

static void ranges_outside_are_refused(void **state)
{
    static const struct { uint64_t first, n; } cases[] = {
        { 0, 101 }, { 100, 1 }, { 101, 0 }, { 101, UINT64_MAX }, { 1, UINT64_MAX - 1 }, { UINT64_MAX, 1 },
    };
    struct stele *store = store_of(24, 100);
    struct stele_cursor *cursor = NULL;
    const void *batch;
    size_t n;

    for (size_t i = 0; i < COUNT_OF(cases); i++)
        assert_code(stele_cursor_open(store, cases[i].first, cases[i].n, &cursor), STELE_E_RANGE);
    assert_null(cursor);
    assert_code(stele_cursor_open(NULL, 0, 1, &cursor), STELE_E_USAGE);
    assert_code(stele_cursor_open(store, 0, 1, NULL), STELE_E_USAGE);
    assert_code(stele_cursor_next(NULL, &batch, &n), STELE_E_USAGE);
    assert_ok(stele_cursor_open(store, 0, 1, &cursor));
    assert_code(stele_cursor_next(cursor, NULL, &n), STELE_E_USAGE);
    assert_code(stele_cursor_next(cursor, &batch, NULL), STELE_E_USAGE);
    assert_ok(stele_cursor_next(cursor, &batch, &n));
    assert_u64(n, 1);
    stele_cursor_close(cursor);
    assert_ok(stele_close(store));
}

static void an_open_end_goes_on_with_what_is_appended_and_stops_at_what_is_cut(void **state)
{
    struct stele *store = store_of(4096, 100);
    struct stele_cursor *open_ended, *fixed;
    const void *batch;
    size_t n;
    uint64_t seen = 0;

    assert_ok(stele_cursor_open(store, 0, UINT64_MAX, &open_ended));
    assert_ok(stele_cursor_open(store, 0, 100, &fixed));
    while (seen < 100) {
        assert_ok(stele_cursor_next(open_ended, &batch, &n));
        seen += n;
    }
    assert_int_equal(stele_cursor_next(open_ended, &batch, &n), STELE_END);
    assert_ok(stele_append(store, records, 10, NULL));
    assert_ok(stele_cursor_next(open_ended, &batch, &n));
    assert_u64(n, 10);
    assert_memory_equal(batch, records, 10 * record_bytes);
    /* The other one was told how many; they go while it is on its way. */
    assert_ok(stele_cursor_next(fixed, &batch, &n));
    assert_true(n < 100);
    assert_ok(stele_set_count(store, n + 3));
    seen = n;
    assert_ok(stele_cursor_next(fixed, &batch, &n));
    assert_u64(n, 3);
    assert_memory_equal(batch, records + seen * record_bytes, 3 * record_bytes);
    assert_int_equal(stele_cursor_next(fixed, &batch, &n), STELE_END);
    stele_cursor_close(open_ended);
    stele_cursor_close(fixed);
    assert_ok(stele_close(store));
}

static void a_batch_is_a_copy_that_commits_do_not_change(void **state)
{
    struct stele *store = store_of(100, 64);
    struct stele_cursor *cursor;
    const void *batch;
    uint8_t record[100] = { 1 };
    size_t n;

    assert_ok(stele_cursor_open(store, 0, UINT64_MAX, &cursor));
    assert_ok(stele_cursor_next(cursor, &batch, &n));
    assert_u64(n, 64);
    for (uint64_t i = 0; i < 64; i++)
        assert_ok(stele_set(store, i, record));
    assert_memory_equal(batch, records, 64 * record_bytes);
    stele_cursor_close(cursor);
    assert_ok(stele_close(store));
}

static void append_and_die(void *context)
{
    static struct stele *volatile held; /* to memcheck, what only a register holds is lost */
    struct stele *store = open_store(STELE_READ_WRITE);
    uint8_t record[100];

    held = store;
    fill_record(record, sizeof(record), 0, 0);
    REQUIRE(held && stele_set(store, 3, record) == STELE_OK);
    REQUIRE(stele_append(store, record, 1, NULL) == STELE_OK);
    _exit(7);
}

static void a_scan_sees_what_a_dead_writer_left_in_the_journal(void **state)
{
    struct stele *store = store_of(100, 64);

    assert_ok(stele_close(store));
    assert_int_equal(exit_of_child(append_and_die, NULL), 7);
    records = realloc(records, 65 * record_bytes);
    memcpy(records + 3 * record_bytes, records, record_bytes);
    memcpy(records + 64 * record_bytes, records, record_bytes);
    store = open_store(STELE_READ_ONLY);
    assert_store(store);
    scan(store, 0, UINT64_MAX, 65);
    scan(store, 2, 3, 5);
    assert_ok(stele_close(store));
}

static void a_batch_that_is_cut_while_it_is_fetched_ends_the_scan_where_the_records_end(void **state)
{
    static const uint64_t counts[] = { 7, 0 };
    struct stele *store = store_of(16, 1000), *other = open_store(STELE_READ_WRITE);

    assert_store(other);
    for (size_t i = 0; i < COUNT_OF(counts); i++) {
        cut_to = counts[i];
        cutter = other;
        scan(store, 0, UINT64_MAX, cut_to);
        assert_null(cutter);
    }
    assert_ok(stele_close(other));
    assert_ok(stele_close(store));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_STORE(every_record_comes_once_and_in_order),
        IN_STORE(ranges_outside_are_refused),
        IN_STORE(an_open_end_goes_on_with_what_is_appended_and_stops_at_what_is_cut),
        IN_STORE(a_batch_is_a_copy_that_commits_do_not_change),
        IN_STORE(a_scan_sees_what_a_dead_writer_left_in_the_journal),
        IN_STORE(a_batch_that_is_cut_while_it_is_fetched_ends_the_scan_where_the_records_end),
    };

    return cmocka_run_group_tests_name("cursor", tests, NULL, NULL);
}
