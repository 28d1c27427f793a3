/* Views: the records in the map itself, what they tell of changes, and where they are refused. */
#include "scratch.h"

enum { RECORD_BYTES = 100, COUNT = 200 };

static uint8_t records[COUNT * RECORD_BYTES] CARRIED, out[COUNT * RECORD_BYTES];

static struct stele *store_of(uint64_t count)
{
    struct stele *store = create_store(RECORD_BYTES, 1000, 64 * KIB, 0);

    assert_store(store);
    fill_records(records, RECORD_BYTES, 0, COUNT, 0);
    assert_ok(stele_append(store, records, (size_t)count, NULL));
    return store;
}

static void a_view_is_the_records_themselves(void **state)
{
    static const struct { uint64_t first, n; } cases[] = {
        { 0, COUNT }, { 0, 1 }, { COUNT - 1, 1 }, { 31, 2 }, { 32, 32 }, { 5, 0 }, { COUNT, 0 },
    };
    struct stele *store = store_of(COUNT);

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct stele_view view;
        assert_ok(stele_view_open(store, cases[i].first, cases[i].n, &view));
        assert_u64(view.first_index, cases[i].first);
        assert_u64(view.record_count, cases[i].n);
        if (cases[i].n)
            assert_memory_equal(view.records, records + cases[i].first * RECORD_BYTES,
                                (size_t)(cases[i].n * RECORD_BYTES));
        for (uint64_t k = 0; k < cases[i].n; k += 7) {
            assert_ok(stele_view_copy(&view, k, (size_t)(cases[i].n - k), out));
            assert_memory_equal(out, records + (cases[i].first + k) * RECORD_BYTES,
                                (size_t)((cases[i].n - k) * RECORD_BYTES));
        }
        assert_int_equal(stele_view_changed(&view), 0);
        stele_view_close(&view);
        stele_view_close(&view);
        assert_null(view.records);
        assert_code(stele_view_changed(&view), STELE_E_USAGE);
        assert_code(stele_view_copy(&view, 0, 1, out), STELE_E_USAGE);
    }
    stele_view_close(NULL);
    assert_ok(stele_close(store));
}

static void ranges_outside_are_refused(void **state)
{
    static const struct { uint64_t first, n; } cases[] = {
        { 0, COUNT + 1 }, { COUNT, 1 }, { COUNT + 1, 0 }, { 1, UINT64_MAX }, { UINT64_MAX, 1 }, { UINT64_MAX, UINT64_MAX },
    };
    struct stele *store = store_of(COUNT);
    struct stele_view view, untouched;

    memset(&view, 0xee, sizeof(view));
    untouched = view;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_code(stele_view_open(store, cases[i].first, cases[i].n, &view), STELE_E_RANGE);
        assert_memory_equal(&view, &untouched, sizeof(view));
    }
    assert_code(stele_view_open(NULL, 0, 1, &view), STELE_E_USAGE);
    assert_code(stele_view_open(store, 0, 1, NULL), STELE_E_USAGE);
    assert_ok(stele_view_open(store, 10, 20, &view));
    assert_code(stele_view_copy(&view, 0, 21, out), STELE_E_RANGE);
    assert_code(stele_view_copy(&view, 20, 1, out), STELE_E_RANGE);
    assert_code(stele_view_copy(&view, UINT64_MAX, 1, out), STELE_E_RANGE);
    assert_code(stele_view_copy(&view, 1, SIZE_MAX, out), STELE_E_RANGE);
    assert_code(stele_view_copy(&view, 0, 1, NULL), STELE_E_USAGE);
    assert_ok(stele_view_copy(&view, 20, 0, NULL));
    stele_view_close(&view);
    assert_ok(stele_close(store));
}

static void a_view_shows_commits_and_says_that_there_were_some(void **state)
{
    struct stele *store = store_of(COUNT), *reader = open_store(STELE_READ_ONLY);
    struct stele_view view, far, others;
    uint8_t record[RECORD_BYTES];

    assert_store(reader);
    assert_ok(stele_view_open(store, 40, 10, &view));
    assert_ok(stele_view_open(reader, 40, 10, &others));
    assert_ok(stele_view_open(store, 150, 10, &far));
    fill_record(record, RECORD_BYTES, 45, 9);
    assert_ok(stele_set(store, 45, record));
    assert_memory_equal((const uint8_t *)view.records + 5 * RECORD_BYTES, record, RECORD_BYTES);
    assert_memory_equal((const uint8_t *)others.records + 5 * RECORD_BYTES, record, RECORD_BYTES);
    assert_int_equal(stele_view_changed(&view), 1);
    assert_int_equal(stele_view_changed(&others), 1);
    assert_int_equal(stele_view_changed(&far), 0); /* another block */
    stele_view_close(&view);
    /* Opened anew it knows. */
    assert_ok(stele_view_open(store, 40, 10, &view));
    assert_int_equal(stele_view_changed(&view), 0);
    /* Cut off below it, and appended behind it. */
    assert_ok(stele_append(store, record, 1, NULL));
    assert_int_equal(stele_view_changed(&view), 0);
    assert_ok(stele_set_count(store, 42));
    assert_int_equal(stele_view_changed(&view), 1);
    assert_int_equal(stele_view_changed(&far), 1);
    stele_view_close(&view);
    stele_view_close(&others);
    stele_view_close(&far);
    assert_ok(stele_close(reader));
    assert_ok(stele_close(store));
}

static void a_new_session_changes_every_view_of_a_reader(void **state)
{
    struct stele *store = store_of(COUNT), *reader;
    struct stele_view view;

    assert_ok(stele_close(store));
    reader = open_store(STELE_READ_ONLY);
    assert_store(reader);
    assert_ok(stele_view_open(reader, 0, 10, &view));
    assert_int_equal(stele_view_changed(&view), 0);
    store = open_store(STELE_READ_WRITE);
    assert_store(store);
    assert_int_equal(stele_view_changed(&view), 1); /* or may have been */
    assert_memory_equal(view.records, records, 10 * RECORD_BYTES);
    stele_view_close(&view);
    assert_ok(stele_view_open(reader, 0, 10, &view));
    assert_int_equal(stele_view_changed(&view), 0);
    stele_view_close(&view);
    assert_ok(stele_close(store));
    assert_ok(stele_close(reader));
}

static uint32_t mode_of_writer_through CARRIED;

static void write_through_a_view(void *context)
{
    struct stele *store = open_store(mode_of_writer_through);
    struct stele_view view;

    REQUIRE(store && stele_view_open(store, 0, COUNT, &view) == STELE_OK);
    parent_tell("x", 1);
    *(volatile uint8_t *)(uintptr_t)view.records = 1;
}

static void the_map_cannot_be_written_through(void **state)
{
    static const uint32_t modes[] = { STELE_READ_ONLY, STELE_READ_WRITE };
    uint8_t record[RECORD_BYTES];
    char byte;

    assert_ok(stele_close(store_of(COUNT)));
    for (size_t i = 0; i < COUNT_OF(modes); i++) {
        mode_of_writer_through = modes[i];
        struct child child = child_start(write_through_a_view, NULL);
        assert_true(child_hear(&child, &byte, 1));
        assert_int_not_equal(child_end(&child), 0);
        struct stele *store = open_store(STELE_READ_ONLY);
        assert_store(store);
        assert_ok(stele_get(store, 0, record));
        assert_memory_equal(record, records, RECORD_BYTES);
        assert_ok(stele_close(store));
    }
}

static void write_and_die(void *context)
{
    struct stele *store = open_store(STELE_READ_WRITE);

    REQUIRE(store && stele_set(store, 50, records) == STELE_OK);
    _exit(7);
}

static void records_that_wait_in_a_dead_writer_s_journal_are_no_view(void **state)
{
    struct stele *store = store_of(COUNT), *reader;
    struct stele_view view;

    assert_ok(stele_close(store));
    assert_int_equal(exit_of_child(write_and_die, NULL), 7);
    reader = open_store(STELE_READ_ONLY);
    assert_store(reader);
    assert_code(stele_view_open(reader, 0, COUNT, &view), STELE_E_CONFLICT);
    assert_code(stele_view_open(reader, 50, 1, &view), STELE_E_CONFLICT);
    assert_ok(stele_get(reader, 50, out));
    assert_memory_equal(out, records, RECORD_BYTES);
    assert_ok(stele_view_open(reader, 0, 50, &view));
    stele_view_close(&view);
    assert_ok(stele_view_open(reader, 51, COUNT - 51, &view));
    stele_view_close(&view);
    assert_ok(stele_close(reader));
}

/* Both together fit what a program of 32 bits maps by default. */
enum { LARGE_COUNT = 60000 };

static void a_view_may_be_larger_than_a_window(void **state)
{
    struct stele *store = create_store(4096, LARGE_COUNT, 64 * KIB, STELE_SPARSE);
    struct stele_view view, second;
    static uint8_t record[4096];

    assert_store(store);
    assert_ok(stele_set_count(store, LARGE_COUNT)); /* holes */
    fill_record(record, sizeof(record), 1, 1);
    assert_ok(stele_set(store, 0, record));
    assert_ok(stele_set(store, LARGE_COUNT / 2, record));
    assert_ok(stele_set(store, LARGE_COUNT - 1, record));
    assert_ok(stele_view_open(store, 0, LARGE_COUNT, &view));
    assert_ok(stele_view_open(store, LARGE_COUNT / 2 - 1, LARGE_COUNT / 2 + 1, &second));
    const uint8_t *bytes = view.records;
    assert_memory_equal(bytes, record, 4096);
    assert_memory_equal(bytes + (size_t)LARGE_COUNT / 2 * 4096, record, 4096);
    assert_memory_equal(bytes + (size_t)(LARGE_COUNT - 1) * 4096, record, 4096);
    assert_memory_equal((const uint8_t *)second.records + 4096, record, 4096);
    assert_ok(stele_view_copy(&view, LARGE_COUNT / 2, 1, out));
    assert_memory_equal(out, record, 4096);
    assert_int_equal(stele_view_changed(&view), 0);
    assert_ok(stele_set(store, LARGE_COUNT / 3, record));
    assert_int_equal(stele_view_changed(&view), 1);
    stele_view_close(&view);
    stele_view_close(&second);
    assert_ok(stele_close(store));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FAST_SCRATCH(a_view_is_the_records_themselves),
        IN_FAST_SCRATCH(ranges_outside_are_refused),
        IN_FAST_SCRATCH(a_view_shows_commits_and_says_that_there_were_some),
        IN_FAST_SCRATCH(a_new_session_changes_every_view_of_a_reader),
        IN_FAST_SCRATCH(the_map_cannot_be_written_through),
        IN_FAST_SCRATCH(records_that_wait_in_a_dead_writer_s_journal_are_no_view),
        IN_SCRATCH(a_view_may_be_larger_than_a_window),
    };

    return cmocka_run_group_tests_name("view", tests, NULL, NULL);
}
