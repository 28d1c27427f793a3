/*
 * Files larger than what may be mapped: everything works at any index, from several threads and processes, within the
 * budget; holes cost no work.
 *
 * Where addresses are short the budget is the default; elsewhere a small one stands in for it.
 */
#include "maps.h"
#include "window_pool.h"

#include <pthread.h>

#define GIB (UINT64_C(1) << 30)
enum { RECORD_BYTES = 4096, MARKS = 300, THREAD_COUNT = 4 }; /* a block has one record */

static const uint64_t budget_bytes = SIZE_MAX == UINT32_MAX ? 0 : 64 * MIB;

static int make_scratch(void **state)
{
    maps_reset();
    return scratch_make(state);
}

static int drop_scratch(void **state)
{
    return map_count == 0 && scratch_drop(state) == 0 ? 0 : -1;
}

#define IN_LARGE_SCRATCH(test) cmocka_unit_test_setup_teardown(test, make_scratch, drop_scratch)

/* Where no hole is known each is read, and in a torture build each sum is a map: there the files are smaller. */
static uint64_t records_of(uint64_t file_bytes)
{
    uint64_t part = stele_window_is_torture() ? 64 : stele_os_needs_views() ? 16 : 1;
    return file_bytes / part / RECORD_BYTES;
}

static struct stele *open_with(uint64_t max_mapped_bytes, uint32_t mode)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store = NULL;

    options.mode = mode;
    options.max_mapped_bytes = max_mapped_bytes;
    return stele_open(scratch_path, &options, &store) ? NULL : store;
}

static struct stele *sparse_store(uint64_t count)
{
    struct stele *store = create_store(RECORD_BYTES, count, 4 * MIB, STELE_SPARSE);

    assert_store(store);
    assert_ok(stele_set_count(store, count));
    assert_ok(stele_close(store));
    maps_reset();
    store = open_with(budget_bytes, STELE_READ_WRITE);
    assert_store(store);
    return store;
}

/* ---- marks: records that are not zero, by ascending index ---- */

static struct mark {
    uint64_t index, age; /* age 0: none here */
} marks[MARKS];
static uint8_t marked[MARKS * RECORD_BYTES];

static int by_index(const void *left, const void *right)
{
    uint64_t a = ((const struct mark *)left)->index, b = ((const struct mark *)right)->index;
    return a < b ? -1 : a > b;
}

static void mark_some(struct stele *store, struct chance *chance, uint64_t count)
{
    static uint64_t indexes[MARKS];

    for (size_t i = 0; i < MARKS; i++)
        marks[i] = (struct mark){ i < 2 ? i * (count - 1) : chance_below(chance, count), 1 };
    /* Neighbours, so that some share a block. */
    for (size_t i = 2; i < MARKS; i += 7)
        marks[i].index = stele_min(marks[i - 1].index + 1, count - 1);
    qsort(marks, MARKS, sizeof(marks[0]), by_index);
    for (size_t i = 0; i < MARKS; i++) {
        indexes[i] = marks[i].index;
        fill_record(marked + i * RECORD_BYTES, RECORD_BYTES, marks[i].index, 1);
    }
    assert_ok(stele_set_many(store, indexes, MARKS, marked));
}

static bool is_expected(const uint8_t *record, uint64_t index)
{
    struct mark key = { .index = index };
    const struct mark *mark = bsearch(&key, marks, MARKS, sizeof(marks[0]), by_index);
    uint8_t expected[RECORD_BYTES];

    if (!mark)
        return stele_is_zero(record, RECORD_BYTES);
    fill_record(expected, RECORD_BYTES, index, mark->age);
    return memcmp(record, expected, RECORD_BYTES) == 0;
}

static void scan(struct stele *store, uint64_t first, uint64_t count)
{
    struct stele_cursor *cursor;
    const void *records;
    uint64_t at = first;
    size_t n = 0;
    int rc;

    assert_ok(stele_cursor_open(store, first, count, &cursor));
    while ((rc = stele_cursor_next(cursor, &records, &n)) == STELE_OK) {
        for (size_t i = 0; i < n; i++, at++) {
            if (!is_expected((const uint8_t *)records + i * RECORD_BYTES, at))
                fail_msg("record %" PRIu64 " is another", at);
        }
    }
    assert_int_equal(rc, STELE_END);
    assert_u64(at, first + count);
    stele_cursor_close(cursor);
}

static void a_store_of_16_GiB_does_all_that_a_small_one_does(void **state)
{
    const uint64_t count = records_of(16 * GIB);
    struct chance chance = chance_begin();
    struct stele *store = sparse_store(count);
    struct stele_view view;
    static uint8_t record[RECORD_BYTES], few[500 * RECORD_BYTES];

    mark_some(store, &chance, count);
    for (unsigned i = 0; i < MARKS; i++) {
        assert_ok(stele_get(store, marks[i].index, record));
        assert_true(is_expected(record, marks[i].index));
    }
    for (unsigned i = 0; i < MARKS; i += 3) {
        fill_record(record, RECORD_BYTES, marks[i].index, 2);
        marks[i].age = 2;
        for (size_t k = i; k-- && marks[k].index == marks[i].index;)
            marks[k].age = 2;
        for (size_t k = i + 1; k < MARKS && marks[k].index == marks[i].index; k++)
            marks[k].age = 2;
        assert_ok(stele_set(store, marks[i].index, record));
    }
    for (unsigned i = 0; i < scaled(2000, 200); i++) {
        uint64_t index = chance_below(&chance, count);
        assert_ok(stele_get(store, index, record));
        assert_true(is_expected(record, index));
    }
    /* Journaled behind the count, and not. */
    fill_records(few, RECORD_BYTES, count, 500, 1);
    assert_ok(stele_append(store, few, 10, NULL));
    assert_ok(stele_append(store, few + 10 * RECORD_BYTES, 490, NULL));
    for (uint64_t i = 0; i < 500; i++) {
        assert_ok(stele_get(store, count + i, record));
        assert_memory_equal(record, few + i * RECORD_BYTES, RECORD_BYTES);
    }
    for (unsigned i = 0; i < MARKS; i += 10) {
        uint64_t first = stele_min(marks[i].index, count - 2000);
        assert_ok(stele_view_open(store, first, 2000, &view));
        for (uint64_t k = 0; k < 2000; k += 7)
            assert_true(is_expected((const uint8_t *)view.records + k * RECORD_BYTES, first + k));
        stele_view_close(&view);
    }
    /* All of it where addresses are short; elsewhere that is a matter of patience. */
    uint64_t scanned = SIZE_MAX == UINT32_MAX ? count : count / 1000 * stele_min(scale_percent(), 100);
    scan(store, 0, scanned / 2);
    scan(store, count - scanned / 2, scanned / 2);
    assert_verifies(store);
    assert_ok(stele_close(store));
    store = open_with(budget_bytes, STELE_READ_ONLY);
    assert_store(store);
    scan(store, marks[MARKS / 2].index, 1000);
    assert_verifies(store);
    assert_ok(stele_close(store));
    assert_true(mapped_bytes_most <= (budget_bytes ? budget_bytes : 512 * MIB));
}

/* ---- threads ---- */

struct walker {
    struct stele *store;
    struct chance chance;
    uint64_t count;
    unsigned round_count, wrong_count;
};

static void *get_at_random(void *context)
{
    struct walker *walker = context;
    uint8_t record[RECORD_BYTES];

    for (unsigned i = 0; i < walker->round_count; i++) {
        uint64_t index = chance_below(&walker->chance, 2) ? marks[chance_below(&walker->chance, MARKS)].index
                                                           : chance_below(&walker->chance, walker->count);
        struct stele_view view;

        if (stele_get(walker->store, index, record) || !is_expected(record, index))
            walker->wrong_count++;
        if (i % 16)
            continue;
        if (stele_view_open(walker->store, index, 1, &view) || !is_expected(view.records, index))
            walker->wrong_count++;
        else
            stele_view_close(&view);
    }
    return NULL;
}

static void threads_get_at_random_from_4_GiB_with_64_MiB_mapped(void **state)
{
    const uint64_t count = records_of(4 * GIB);
    struct chance chance = chance_begin();
    struct stele *store = sparse_store(count);
    struct walker walkers[THREAD_COUNT] = { 0 };
    pthread_t threads[THREAD_COUNT];

    mark_some(store, &chance, count);
    assert_ok(stele_close(store));
    store = open_with(64 * MIB, STELE_READ_ONLY);
    assert_store(store);
    maps_reset();
    for (size_t i = 0; i < THREAD_COUNT; i++) {
        walkers[i] = (struct walker){ store, { chance_next(&chance) }, count, scaled(20000, 500), 0 };
        assert_int_equal(pthread_create(&threads[i], NULL, get_at_random, &walkers[i]), 0);
    }
    for (size_t i = 0; i < THREAD_COUNT; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(walkers[i].wrong_count, 0);
    }
    assert_true(mapped_bytes_most <= 64 * MIB + THREAD_COUNT * 5 * MIB);
    assert_true(mapped_bytes <= 64 * MIB);
    assert_ok(stele_close(store));
}

/* ---- holes ---- */

static void verify_does_not_read_what_was_never_written(void **state)
{
    const uint64_t count = records_of(16 * GIB);
    struct chance chance = chance_begin();
    struct stele *store = sparse_store(count);
    struct stele_verify_report report = STELE_VERIFY_REPORT_INIT;
    struct stele_info info = info_of(store);

    /* At both ends, and nothing in between. */
    mark_some(store, &chance, 1000);
    fill_record(marked, RECORD_BYTES, count - 1, 1);
    assert_ok(stele_set(store, count - 1, marked));
    assert_ok(stele_close(store));
    for (unsigned is_writing = 0; is_writing < 2; is_writing++) {
        store = open_with(is_writing ? budget_bytes : 0, is_writing ? STELE_READ_WRITE : STELE_READ_ONLY);
        assert_store(store);
        watched_count = 0;
        watch_first = info.records_offset + 128 * MIB;
        watch_end = info.sums_offset - 128 * MIB;
        assert_ok(stele_verify(store, NULL, &report));
        assert_u64(report.block_count, count);
        assert_true(report.never_written_count >= count - MARKS);
        if (!stele_os_needs_views())
            assert_int_equal(watched_count, 0);
        assert_ok(stele_close(store));
    }
}

static void damage_in_a_hole_is_found(void **state)
{
    enum { count = 8192 };
    static const uint64_t places[] = { 0, 17, 18, 5001, count - 1 };
    struct chance chance = chance_begin();
    struct stele *store = sparse_store(count);
    struct stele_info info = info_of(store);

    assert_ok(stele_close(store));
    for (size_t i = 0; i < COUNT_OF(places); i++) {
        struct stele_verify_report report = STELE_VERIFY_REPORT_INIT;
        uint64_t offset = info.records_offset + places[i] * RECORD_BYTES + chance_below(&chance, RECORD_BYTES);
        uint8_t byte = (uint8_t)(1 << chance_below(&chance, 8)), zero = 0;

        poke(scratch_path, offset, &byte, 1);
        store = open_with(budget_bytes, i % 2 ? STELE_READ_WRITE : STELE_READ_ONLY);
        assert_store(store);
        assert_code(stele_verify(store, NULL, &report), STELE_E_DAMAGED);
        assert_u64(report.damaged_count, 1);
        assert_u64(report.first_damaged_block, places[i]);
        assert_ok(stele_close(store));
        poke(scratch_path, offset, &zero, 1);
        /* A word that promises bytes where there are none. */
        uint64_t block = places[i] ^ 2;
        poke(scratch_path, info.sums_offset + block * 8, &byte, 1);
        store = open_with(budget_bytes, STELE_READ_ONLY);
        assert_store(store);
        assert_code(stele_verify(store, NULL, &report), STELE_E_DAMAGED);
        assert_u64(report.first_damaged_block, block);
        assert_ok(stele_close(store));
        poke(scratch_path, info.sums_offset + block * 8, &zero, 1);
    }
    store = open_with(budget_bytes, STELE_READ_ONLY);
    assert_store(store);
    assert_verifies(store);
    assert_ok(stele_close(store));
}

static bool is_writer_to_stop; /* atomic */

static void *write_into_holes(void *context)
{
    struct walker *walker = context;
    uint8_t record[RECORD_BYTES];

    while (!__atomic_load_n(&is_writer_to_stop, __ATOMIC_ACQUIRE)) {
        uint64_t index = chance_below(&walker->chance, walker->count);
        fill_record(record, RECORD_BYTES, index, 1);
        if (stele_set(walker->store, index, record))
            walker->wrong_count++;
        /* A truncation gives holes back, and zeros for what is above. */
        if (chance_below(&walker->chance, 16) == 0 &&
            (stele_set_count(walker->store, walker->count / 2) || stele_set_count(walker->store, walker->count)))
            walker->wrong_count++;
    }
    return NULL;
}

static void what_a_writer_puts_into_holes_meanwhile_is_no_damage(void **state)
{
    const uint64_t count = 4096;
    struct chance chance = chance_begin();
    struct stele *store = sparse_store(count), *reader = open_with(budget_bytes, STELE_READ_ONLY);
    struct walker walker = { store, { chance_next(&chance) }, count, 0, 0 };
    pthread_t thread;

    assert_store(reader);
    __atomic_store_n(&is_writer_to_stop, false, __ATOMIC_RELEASE);
    assert_int_equal(pthread_create(&thread, NULL, write_into_holes, &walker), 0);
    for (unsigned i = 0; i < scaled(300, 30); i++) {
        struct stele_verify_report report = STELE_VERIFY_REPORT_INIT;
        assert_ok(stele_verify(i % 2 ? reader : store, NULL, &report));
        assert_u64(report.damaged_count, 0);
    }
    __atomic_store_n(&is_writer_to_stop, true, __ATOMIC_RELEASE);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(walker.wrong_count, 0);
    assert_ok(stele_close(reader));
    assert_ok(stele_close(store));
}

/* ---- views at any index ---- */

static void a_view_begins_at_any_record_and_overlapping_ones_agree(void **state)
{
    static const struct { uint32_t record_bytes, count; } cases[] = {
        { 1, 300000 }, { 24, 40000 }, { 100, 10000 }, { 4097, 700 }, { 70000, 60 },
    };
    struct chance chance = chance_begin();

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const size_t n = cases[i].count, size = cases[i].record_bytes;
        uint8_t *records = malloc(n * size);
        struct stele *store = create_store(cases[i].record_bytes, n, 512 * KIB, 0), *reader;

        assert_store(store);
        assert_non_null(records);
        fill_records(records, size, 0, n, 1);
        assert_ok(stele_append(store, records, n, NULL));
        reader = open_with(2 * MIB, STELE_READ_ONLY);
        assert_store(reader);
        for (unsigned round = 0; round < scaled(300, 100); round++) {
            struct stele_view views[3];
            size_t first = (size_t)chance_below(&chance, n);
            size_t count = (size_t)stele_min(n - first, 1 + chance_below(&chance, 400000 / size)), end = first + count;
            size_t middle = first + (size_t)chance_below(&chance, count);

            assert_ok(stele_view_open(reader, first, count, &views[0]));
            assert_ok(stele_view_open(reader, middle, end - middle, &views[1]));
            assert_ok(stele_view_open(store, middle, 1, &views[2]));
            assert_memory_equal(views[0].records, records + first * size, count * size);
            assert_memory_equal(views[1].records, records + middle * size, (end - middle) * size);
            /* Committed once, seen in all of them. */
            if (round % 10 == 0) {
                fill_record(records + middle * size, size, middle, 2 + round);
                assert_ok(stele_set(store, middle, records + middle * size));
                assert_memory_equal((const uint8_t *)views[0].records + (middle - first) * size,
                                    records + middle * size, size);
                assert_memory_equal(views[1].records, records + middle * size, size);
                assert_memory_equal(views[2].records, records + middle * size, size);
                for (unsigned k = 0; k < 3; k++)
                    assert_int_equal(stele_view_changed(&views[k]), 1);
            }
            for (unsigned k = 0; k < 3; k++)
                stele_view_close(&views[k]);
        }
        assert_ok(stele_close(reader));
        assert_ok(stele_close(store));
        free(records);
        assert_int_equal(remove(scratch_path), 0);
    }
}

enum { SEEN_BYTES = 100, SEEN_COUNT = 2000, SEEN_FIRST = 777, SEEN_ROUNDS = 20 };

/* The index of the record that is to change, at each round. */
static uint64_t seen_index(uint64_t round) { return SEEN_FIRST + 50 + round * 13; }

/* Holds a view that overlaps the parent's, and tells what it sees there after each commit that it hears of. */
static void watch_a_view(void *context)
{
    struct stele *store = open_with(2 * MIB, STELE_READ_ONLY);
    struct stele_view view;
    uint8_t ready = 1, expected[SEEN_BYTES];
    uint64_t round;

    REQUIRE(store && stele_view_open(store, SEEN_FIRST, 1000, &view) == STELE_OK);
    parent_tell(&ready, 1);
    while (parent_hear(&round, sizeof(round))) {
        uint64_t index = seen_index(round);
        fill_record(expected, SEEN_BYTES, index, 2 + round);
        REQUIRE(memcmp((const uint8_t *)view.records + (index - SEEN_FIRST) * SEEN_BYTES, expected, SEEN_BYTES) == 0);
        REQUIRE(stele_view_changed(&view) == 1);
        stele_view_close(&view);
        REQUIRE(stele_view_open(store, SEEN_FIRST, 1000, &view) == STELE_OK);
        REQUIRE(stele_view_changed(&view) == 0);
        parent_tell(&ready, 1);
    }
    stele_view_close(&view);
    REQUIRE(stele_close(store) == STELE_OK);
}

static void a_commit_is_seen_in_an_overlapping_view_of_another_process(void **state)
{
    static uint8_t records[SEEN_COUNT * SEEN_BYTES];
    struct stele *store = create_store(SEEN_BYTES, SEEN_COUNT, 256 * KIB, 0);
    struct stele_view view;
    uint8_t ready = 0;

    assert_store(store);
    fill_records(records, SEEN_BYTES, 0, SEEN_COUNT, 1);
    assert_ok(stele_append(store, records, SEEN_COUNT, NULL));
    struct child child = child_start(watch_a_view, NULL);
    assert_true(child_hear(&child, &ready, 1));
    for (uint64_t round = 0; round < SEEN_ROUNDS; round++) {
        uint64_t index = seen_index(round);
        assert_ok(stele_view_open(store, index - 20, 300, &view));
        fill_record(records + index * SEEN_BYTES, SEEN_BYTES, index, 2 + round);
        assert_ok(stele_set(store, index, records + index * SEEN_BYTES));
        assert_memory_equal(view.records, records + (index - 20) * SEEN_BYTES, 300 * SEEN_BYTES);
        assert_int_equal(stele_view_changed(&view), 1);
        stele_view_close(&view);
        child_tell(&child, &round, sizeof(round));
        assert_true(child_hear(&child, &ready, 1));
    }
    assert_int_equal(child_end(&child), 0);
    assert_verifies(store);
    assert_ok(stele_close(store));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_LARGE_SCRATCH(a_store_of_16_GiB_does_all_that_a_small_one_does),
        IN_LARGE_SCRATCH(threads_get_at_random_from_4_GiB_with_64_MiB_mapped),
        IN_LARGE_SCRATCH(verify_does_not_read_what_was_never_written),
        IN_LARGE_SCRATCH(damage_in_a_hole_is_found),
        IN_LARGE_SCRATCH(what_a_writer_puts_into_holes_meanwhile_is_no_damage),
        IN_FAST_SCRATCH(a_view_begins_at_any_record_and_overlapping_ones_agree),
        IN_FAST_SCRATCH(a_commit_is_seen_in_an_overlapping_view_of_another_process),
    };

    return cmocka_run_group_tests_name("large", tests, NULL, NULL);
}
