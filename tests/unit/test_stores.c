/*
 * Stores on a system where views agree with views only: records and sums are read, stored and zeroed through views,
 * each is flushed before a sync counts on it, and a file that loses its name has no view left at that moment.
 *
 * Such a system is played by functions in the place of os.h's: they refuse to read, write or zero mapped bytes, and to
 * sync while something that was stored is not flushed.
 */
#include "maps.h"
#include "handle.h"
#include "window_store.h"

enum { RECORD_BYTES = 600, CAPACITY = 3000, LIST_MAX = 65536, MODEL_MAX = 20000 };

#define LEAST STELE_WINDOW_BUDGET_MIN

/* ---- the system ---- */

static struct dirty {
    const uint8_t *first, *end;
} dirty[LIST_MAX];
static size_t dirty_count;
static unsigned store_count, flush_count, sync_count, publish_count;
static bool is_flush_failing, is_publish_failing, is_mapping_failing_after_publish;
static uint64_t records_offset CARRIED; /* of the store at hand; 0: not known, nothing is judged */

WRAPPED(bool, stele_os_needs_views, void)
{
    return true;
}

static bool is_mapped_file(const struct stele_os_file *file)
{
    for (size_t i = 0; i < map_count; i++) {
        if (maps[i].handle == file->handle)
            return true;
    }
    return false;
}

/* File I/O reaches records and sums of a file only while nobody has mapped it. */
static void judge_file_io(const struct stele_os_file *file, uint64_t offset, size_t byte_count)
{
    REQUIRE(!records_offset || offset + byte_count <= records_offset || !is_mapped_file(file));
}

WRAPPED(int, stele_os_read, const struct stele_os_file *file, uint64_t offset, void *out, size_t byte_count)
{
    judge_file_io(file, offset, byte_count);
    return REAL(stele_os_read)(file, offset, out, byte_count);
}

WRAPPED(int, stele_os_write, const struct stele_os_file *file, uint64_t offset, const void *bytes, size_t byte_count)
{
    judge_file_io(file, offset, byte_count);
    return REAL(stele_os_write)(file, offset, bytes, byte_count);
}

WRAPPED(int, stele_os_zero, const struct stele_os_file *file, uint64_t offset, uint64_t byte_count, bool is_sparse)
{
    judge_file_io(file, offset, (size_t)byte_count);
    return REAL(stele_os_zero)(file, offset, byte_count, is_sparse);
}

WRAPPED(int, stele_os_store, const struct stele_os_file *file, uint64_t offset, const void *bytes, size_t byte_count,
        void *view)
{
    const uint8_t *at = view;
    bool is_writable = false;

    REQUIRE(view && offset >= records_offset);
    for (size_t i = 0; i < map_count; i++)
        is_writable |= maps[i].is_writable && at >= maps[i].address && at + byte_count <= maps[i].address + maps[i].bytes;
    REQUIRE(is_writable);
    REQUIRE(dirty_count < LIST_MAX);
    dirty[dirty_count++] = (struct dirty){ at, at + byte_count };
    store_count++;
    return REAL(stele_os_store)(file, offset, bytes, byte_count, view);
}

WRAPPED(int, stele_os_flush, void *address, size_t byte_count)
{
    const uint8_t *first = address, *end = first + byte_count;

    flush_count++;
    for (size_t i = 0; i < dirty_count;) {
        if (dirty[i].first >= first && dirty[i].end <= end)
            dirty[i] = dirty[--dirty_count];
        else
            i++;
    }
    if (is_flush_failing)
        return stele_fail(STELE_E_IO, "a flush failed, says the test");
    return REAL(stele_os_flush)(address, byte_count);
}

WRAPPED(int, stele_os_sync, const struct stele_os_file *file)
{
    sync_count++;
    REQUIRE(dirty_count == 0);
    return REAL(stele_os_sync)(file);
}

WRAPPED(int, stele_os_draft_publish, struct stele_os_draft *draft, bool is_replacing, struct stele_os_file *out_file)
{
    publish_count++;
    for (size_t i = 0; i < map_count; i++)
        REQUIRE(!is_replacing || maps[i].handle == draft->file.handle);
    if (is_publish_failing)
        return stele_fail(STELE_E_BUSY, "somebody has it mapped, says the test");
    if (is_mapping_failing_after_publish)
        refuse_live_region = true;
    return REAL(stele_os_draft_publish)(draft, is_replacing, out_file);
}

static int make_scratch(void **state)
{
    records_offset = 0;
    is_flush_failing = is_publish_failing = is_mapping_failing_after_publish = false;
    maps_reset();
    return scratch_make_fast(state);
}

static int drop_scratch(void **state)
{
    return map_count == 0 && dirty_count == 0 && scratch_drop(state) == 0 ? 0 : -1;
}

#define WITH_VIEWS(test) cmocka_unit_test_setup_teardown(test, make_scratch, drop_scratch)

static struct stele *open_with(uint64_t budget_bytes, uint32_t mode)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store = NULL;

    options.mode = mode;
    options.max_mapped_bytes = budget_bytes;
    options.lock_wait_ms = 200;
    return stele_open(scratch_path, &options, &store) ? NULL : store;
}

static struct stele *made_store(uint64_t budget_bytes, uint32_t flags)
{
    struct stele *store = create_store(RECORD_BYTES, CAPACITY, 256 * KIB, flags);

    assert_store(store);
    records_offset = info_of(store).records_offset;
    assert_ok(stele_close(store));
    store = open_with(budget_bytes, STELE_READ_WRITE);
    assert_store(store);
    return store;
}

/* ---- everything that a store can do ---- */

static uint8_t model[MODEL_MAX][RECORD_BYTES], found[256 * RECORD_BYTES];
static uint64_t model_count, age;

static void append_some(struct stele *store, struct chance *chance)
{
    /* Few are journaled, many are not. */
    uint64_t n = chance_below(chance, 2) ? 1 + chance_below(chance, 50) : 200 + chance_below(chance, 1500);

    n = stele_min(n, MODEL_MAX - model_count);
    fill_records(model[model_count], RECORD_BYTES, model_count, n, ++age);
    assert_ok(stele_append(store, model[model_count], (size_t)n, NULL));
    model_count += n;
}

static void set_one(struct stele *store, struct chance *chance)
{
    if (model_count == 0)
        return;
    uint64_t index = chance_below(chance, model_count);
    fill_record(model[index], RECORD_BYTES, index, ++age);
    assert_ok(stele_set(store, index, model[index]));
}

static void set_count(struct stele *store, struct chance *chance)
{
    uint64_t count = chance_below(chance, stele_min(model_count + 2000, MODEL_MAX));

    assert_ok(stele_set_count(store, count));
    if (count > model_count)
        memset(model[model_count], 0, (size_t)(count - model_count) * RECORD_BYTES);
    model_count = count;
}

static void look_at_some(struct stele *store, struct chance *chance)
{
    uint64_t first = chance_below(chance, model_count + 1);
    uint64_t n = stele_min(model_count - first, 1 + chance_below(chance, 255));

    assert_u64(stele_count(store), model_count);
    assert_ok(stele_read(store, first, (size_t)n, found));
    assert_memory_equal(found, model[first], (size_t)n * RECORD_BYTES);
}

static void do_anything(uint64_t budget_bytes, uint32_t flags)
{
    struct chance chance = chance_begin();
    struct stele *store = made_store(budget_bytes, flags), *reader = open_with(budget_bytes, STELE_READ_ONLY);

    assert_store(reader);
    model_count = 0;
    store_count = flush_count = sync_count = 0;
    for (unsigned i = 0; i < scaled(400, 40); i++) {
        switch (chance_below(&chance, 10)) {
        case 0:
        case 1: append_some(store, &chance); break;
        case 2: set_count(store, &chance); break;
        case 3: assert_ok(stele_checkpoint(store)); break;
        case 4:
            assert_ok(stele_close(store));
            store = open_with(budget_bytes, STELE_READ_WRITE);
            assert_store(store);
            break;
        default: set_one(store, &chance);
        }
        look_at_some(store, &chance);
        look_at_some(reader, &chance);
    }
    assert_verifies(store);
    assert_verifies(reader);
    assert_true(store_count > 100 && flush_count > 0 && sync_count > 0);
    if (budget_bytes)
        assert_true(mapped_bytes_most <= 2 * budget_bytes);
    assert_ok(stele_close(reader));
    assert_ok(stele_close(store));
    /* What is in the file is what other systems would have put there. */
    records_offset = 0;
    store = open_store(STELE_READ_WRITE);
    assert_store(store);
    assert_verifies(store);
    for (uint64_t at = 0, n; at < model_count; at += n) {
        n = stele_min(model_count - at, 256);
        assert_ok(stele_read(store, at, (size_t)n, found));
        assert_memory_equal(found, model[at], (size_t)n * RECORD_BYTES);
    }
    assert_ok(stele_close(store));
}

static void records_and_sums_are_met_through_views_only_and_flushed_before_a_sync(void **state)
{
    do_anything(0, 0);
}

static void so_they_are_with_the_least_budget(void **state)
{
    do_anything(LEAST, 0);
}

static void so_they_are_in_a_sparse_store(void **state)
{
    do_anything(LEAST, STELE_SPARSE);
}

static void commit_and_die(void *context)
{
    static struct stele *store;
    static uint8_t records[40 * RECORD_BYTES];

    store = open_with(LEAST, STELE_READ_WRITE);
    REQUIRE(store);
    fill_records(records, RECORD_BYTES, 0, 40, 2);
    for (unsigned i = 0; i < 40; i++)
        REQUIRE(stele_set(store, i * 50, records + i * RECORD_BYTES) == STELE_OK);
    _exit(7);
}

static void recovery_stores_through_views_and_flushes_them(void **state)
{
    static uint8_t records[2000 * RECORD_BYTES], expected[RECORD_BYTES];
    struct stele *store = made_store(LEAST, 0);

    fill_records(records, RECORD_BYTES, 0, 2000, 1);
    assert_ok(stele_append(store, records, 2000, NULL));
    assert_ok(stele_close(store));
    assert_int_equal(exit_of_child(commit_and_die, NULL), 7);
    store_count = flush_count = 0;
    store = open_with(LEAST, STELE_READ_WRITE);
    assert_store(store);
    assert_true(store_count >= 80); /* forty records in forty blocks */
    assert_true(flush_count > 0);
    for (unsigned i = 0; i < 40; i++) {
        fill_record(expected, RECORD_BYTES, i, 2);
        assert_ok(stele_get(store, i * 50, found));
        assert_memory_equal(found, expected, RECORD_BYTES);
    }
    assert_verifies(store);
    assert_ok(stele_close(store));
}

/* ---- what fails ---- */

static void a_flush_that_fails_is_a_sync_that_failed(void **state)
{
    struct stele *store = made_store(0, 0);
    struct stele_verify_report report = STELE_VERIFY_REPORT_INIT;
    uint8_t record[RECORD_BYTES];

    fill_record(record, RECORD_BYTES, 0, 1);
    assert_ok(stele_append(store, record, 1, NULL));
    is_flush_failing = true;
    assert_ok(stele_set(store, 0, record));
    assert_code(stele_checkpoint(store), STELE_E_IO);
    is_flush_failing = false;
    assert_code(stele_set(store, 0, record), STELE_E_POISONED);
    (void)stele_close(store);
    store = open_with(0, STELE_READ_WRITE);
    assert_store(store);
    assert_ok(stele_get(store, 0, found));
    assert_memory_equal(found, record, RECORD_BYTES);
    assert_ok(stele_verify(store, NULL, &report));
    assert_ok(stele_close(store));
}

static void a_window_whose_flush_failed_when_it_went_is_remembered(void **state)
{
    struct stele_window_stores stores;
    struct stele_window_plan plan = { .budget_bytes = LEAST };
    struct stele_os_file file;

    poke(scratch_path, 0, "", 0);
    assert_ok(stele_os_open(scratch_path, true, &file));
    assert_ok(stele_os_set_bytes(&file, 8 * MIB));
    assert_ok(stele_window_stores_init(&stores, &file, &plan));
    is_flush_failing = true;
    assert_ok(stele_window_store(&stores, 100, "some", 4));
    for (uint64_t at = MIB; at < 8 * MIB; at += 64 * KIB)
        assert_ok(stele_window_prepare(&stores, at, 4096));
    assert_true(flush_count > 0 && mapped_bytes <= LEAST);
    is_flush_failing = false;
    assert_u64(dirty_count, 0);
    assert_code(stele_window_flush(&stores), STELE_E_IO);
    assert_says("says the test");
    /* Told once: the next one speaks of what came since. */
    assert_ok(stele_window_flush(&stores));
    stele_window_stores_done(&stores);
    stele_window_stores_done(&stores);
    stele_os_close(&file);
}

static void what_cannot_be_stored_is_refused_before_the_journal_says_it(void **state)
{
    static uint8_t records[50 * RECORD_BYTES];
    struct stele *store = made_store(LEAST, 0);

    fill_records(records, RECORD_BYTES, 0, 50, 1);
    assert_ok(stele_append(store, records, 50, NULL));
    assert_ok(stele_close(store));
    store = open_with(LEAST, STELE_READ_WRITE);
    assert_store(store);
    assert_ok(stele_get(store, 0, found)); /* the reader's windows are there */
    uint64_t sequence = info_of(store).sequence;
    refuse_writable = true;
    assert_code(stele_set(store, 3, records), STELE_E_FULL);
    assert_true(refused_count > 0);
    refuse_writable = false;
    assert_u64(info_of(store).sequence, sequence);
    assert_ok(stele_get(store, 3, found));
    assert_memory_equal(found, records + 3 * RECORD_BYTES, RECORD_BYTES);
    assert_ok(stele_set(store, 3, records));
    assert_ok(stele_close(store));
}

/* ---- another file in its place ---- */

static int resize(uint64_t capacity)
{
    struct stele_options options = STELE_OPTIONS_INIT;

    options.capacity_records = capacity;
    options.lock_wait_ms = 200;
    return stele_resize(scratch_path, &options);
}

static void a_file_has_no_view_left_when_another_takes_its_name(void **state)
{
    static uint8_t records[500 * RECORD_BYTES];
    struct stele *store = made_store(0, 0);

    fill_records(records, RECORD_BYTES, 0, 500, 1);
    assert_ok(stele_append(store, records, 500, NULL));
    assert_ok(stele_close(store));
    publish_count = 0;
    assert_ok(resize(9000));
    assert_u64(publish_count, 1);
    /* Refused: the old one is as it was, and the new one gone. */
    is_publish_failing = true;
    assert_code(resize(20000), STELE_E_BUSY);
    is_publish_failing = false;
    store = open_with(0, STELE_READ_WRITE);
    assert_store(store);
    assert_u64(info_of(store).capacity, 9000);
    assert_ok(stele_read(store, 0, 256, found));
    assert_memory_equal(found, records, 256 * RECORD_BYTES);
    assert_verifies(store);
    assert_ok(stele_close(store));
    /* The old one cannot be mapped again to be told: the new one is there all the same. */
    is_mapping_failing_after_publish = true;
    assert_ok(resize(7000));
    is_mapping_failing_after_publish = refuse_live_region = false;
    store = open_with(0, STELE_READ_WRITE);
    assert_store(store);
    assert_u64(info_of(store).capacity, 7000);
    assert_verifies(store);
    assert_ok(stele_close(store));
}

static void creation_by_force_leaves_the_old_file_no_view_either(void **state)
{
    struct stele_schema *schema = schema_of_bytes(RECORD_BYTES);
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store = made_store(0, 0), *reader;
    uint8_t record[RECORD_BYTES];

    fill_record(record, RECORD_BYTES, 0, 1);
    assert_ok(stele_append(store, record, 1, NULL));
    assert_ok(stele_close(store));
    options.schema = schema;
    options.flags = STELE_FORCE;
    is_publish_failing = true;
    assert_code(stele_create(scratch_path, &options, &store), STELE_E_BUSY);
    is_publish_failing = false;
    store = open_with(0, STELE_READ_WRITE);
    assert_store(store);
    assert_ok(stele_get(store, 0, found));
    assert_memory_equal(found, record, RECORD_BYTES);
    assert_ok(stele_close(store));
    publish_count = 0;
    assert_ok(stele_create(scratch_path, &options, &store));
    assert_u64(publish_count, 1);
    reader = open_with(0, STELE_READ_ONLY);
    assert_store(reader);
    assert_u64(stele_count(reader), 0);
    assert_ok(stele_close(reader));
    assert_ok(stele_append(store, record, 1, NULL));
    assert_verifies(store);
    assert_ok(stele_close(store));
    stele_schema_free(schema);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_VIEWS(records_and_sums_are_met_through_views_only_and_flushed_before_a_sync),
        WITH_VIEWS(so_they_are_with_the_least_budget),
        WITH_VIEWS(so_they_are_in_a_sparse_store),
        WITH_VIEWS(recovery_stores_through_views_and_flushes_them),
        WITH_VIEWS(a_flush_that_fails_is_a_sync_that_failed),
        WITH_VIEWS(a_window_whose_flush_failed_when_it_went_is_remembered),
        WITH_VIEWS(what_cannot_be_stored_is_refused_before_the_journal_says_it),
        WITH_VIEWS(a_file_has_no_view_left_when_another_takes_its_name),
        WITH_VIEWS(creation_by_force_leaves_the_old_file_no_view_either),
    };

    return cmocka_run_group_tests_name("stores", tests, NULL, NULL);
}
