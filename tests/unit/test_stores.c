/*
 * Stores on a system where views agree with views only: records and sums are read, stored and zeroed through views,
 * each is flushed before a sync counts on it, and a file that loses its name has no view left at that moment.
 *
 * Such a system is played by functions in the place of os.h's: they refuse to read, write or zero mapped bytes, and to
 * sync while something that was stored is not flushed. The disk is another file: what was stored reaches it when the
 * process that stored it flushes it.
 */
#include "maps.h"
#include "handle.h"
#include "window_store.h"

enum { RECORD_BYTES = 600, CAPACITY = 3000, LIST_MAX = 65536, MODEL_MAX = 20000, DISK_BYTES = 64 << 20 };

#define LEAST STELE_WINDOW_BUDGET_MIN

/* ---- the system ---- */

/* Stored by this process and not flushed, by offset in the file: it outlives the view. */
static struct dirty {
    uint64_t first, end;
} dirty[LIST_MAX];
static size_t dirty_count;
static unsigned store_count, flush_count, sync_count, publish_count;
static bool is_flush_failing, is_dying_in_flush, is_publish_failing, is_mapping_failing_after_publish;
static const struct stele *watched; /* whose stripes are to be even at each flush */
static char disk_path[128] CARRIED; /* "": no disk */
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

static uint64_t offset_of(const uint8_t *address)
{
    for (size_t i = 0; i < map_count; i++) {
        if (address >= maps[i].address && address < maps[i].address + maps[i].bytes)
            return maps[i].offset + (uint64_t)(address - maps[i].address);
    }
    REQUIRE(false && "an address that is mapped");
    return 0;
}

static void add_dirty(uint64_t first, uint64_t end)
{
    struct dirty *last = dirty_count ? &dirty[dirty_count - 1] : NULL;

    if (last && last->end == first) {
        last->end = end;
        return;
    }
    REQUIRE(dirty_count < LIST_MAX);
    dirty[dirty_count++] = (struct dirty){ first, end };
}

WRAPPED(int, stele_os_store, const struct stele_os_file *file, uint64_t offset, const void *bytes, size_t byte_count,
        void *view)
{
    const uint8_t *at = view;
    bool is_writable = false;

    REQUIRE(view && offset >= records_offset);
    for (size_t i = 0; i < map_count; i++)
        is_writable |= maps[i].is_writable && at >= maps[i].address &&
                       at + byte_count <= maps[i].address + maps[i].bytes;
    REQUIRE(is_writable);
    add_dirty(offset, offset + byte_count);
    store_count++;
    return REAL(stele_os_store)(file, offset, bytes, byte_count, view);
}

static void judge_stripes(void)
{
    for (size_t i = 0; watched && i < STELE_STRIPE_COUNT; i++)
        REQUIRE((stele_load(&watched->live.stripes[i]) & 1) == 0);
}

WRAPPED(int, stele_os_flush, void *address, size_t byte_count)
{
    uint64_t first = offset_of(address), end = first + byte_count;

    flush_count++;
    judge_stripes();
    if (is_dying_in_flush)
        _exit(7);
    for (size_t i = 0; i < dirty_count;) {
        struct dirty whole = dirty[i];
        uint64_t from = stele_max(whole.first, first), to = stele_min(whole.end, end);

        if (from >= to) {
            i++;
            continue;
        }
        if (!is_flush_failing && disk_path[0])
            poke(disk_path, from, (const uint8_t *)address + (from - first), (size_t)(to - from));
        dirty[i] = dirty[--dirty_count];
        if (whole.first < from)
            add_dirty(whole.first, from);
        if (to < whole.end)
            add_dirty(to, whole.end);
    }
    if (is_flush_failing)
        return stele_fail(STELE_E_IO, "a flush failed, says the test");
    return REAL(stele_os_flush)(address, byte_count);
}

/* As a system that does not know its holes. */
WRAPPED(int, stele_os_next_data, const struct stele_os_file *file, uint64_t offset, uint64_t *out_offset)
{
    *out_offset = offset;
    return STELE_OK;
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
    disk_path[0] = '\0';
    watched = NULL;
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
    snprintf(disk_path, sizeof(disk_path), "%s.disk", scratch_path);
    poke(disk_path, DISK_BYTES - 1, "", 1);
    store = open_with(budget_bytes, STELE_READ_WRITE);
    assert_store(store);
    return store;
}

/* The machine stops, and nobody has the file open: records and sums are those of the disk; the rest was synced. */
static void lose_power(void)
{
    uint64_t end = size_of_file(scratch_path);
    uint8_t *bytes = malloc((size_t)(end - records_offset));

    assert_non_null(bytes);
    assert_true(end <= DISK_BYTES);
    peek(disk_path, records_offset, bytes, (size_t)(end - records_offset));
    poke(scratch_path, records_offset, bytes, (size_t)(end - records_offset));
    free(bytes);
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
    for (unsigned i = 0; i < scaled(400, 150); i++) {
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
    lose_power();
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

/* ---- zeros ---- */

static struct rise {
    uint32_t flags;
    uint64_t count;
    bool is_killed; /* in its first flush, which else fails */
} rise CARRIED;

static void rise_and_die(void *context)
{
    static struct stele *volatile held; /* to memcheck, what only a register holds is lost */
    struct stele *store = open_with(LEAST, STELE_READ_WRITE);

    held = store;
    REQUIRE(held);
    is_dying_in_flush = rise.is_killed;
    REQUIRE(stele_set_count(store, rise.count) == STELE_OK);
    _exit(8);
}

static void rise_again_and_lose_power(void)
{
    static const uint8_t zeros[RECORD_BYTES];
    static uint8_t records[2900 * RECORD_BYTES];
    struct stele *store = made_store(LEAST, rise.flags);

    fill_records(records, RECORD_BYTES, 0, 2900, 1);
    assert_ok(stele_append(store, records, 2900, NULL));
    assert_ok(stele_set_count(store, 50));
    assert_ok(stele_close(store));
    if (rise.is_killed) {
        assert_int_equal(exit_of_child(rise_and_die, NULL), 7);
    } else {
        store = open_with(LEAST, STELE_READ_WRITE);
        assert_store(store);
        is_flush_failing = true;
        assert_code(stele_set_count(store, rise.count), STELE_E_IO);
        (void)stele_close(store);
        is_flush_failing = false;
    }
    rise.is_killed = false;
    assert_int_equal(exit_of_child(rise_and_die, NULL), 8);
    lose_power();
    store = open_with(LEAST, STELE_READ_WRITE);
    assert_store(store);
    assert_u64(stele_count(store), rise.count);
    for (uint64_t i = 0; i < rise.count; i++) {
        assert_ok(stele_get(store, i, found));
        assert_memory_equal(found, i < 50 ? records + i * RECORD_BYTES : zeros, RECORD_BYTES);
    }
    assert_verifies(store);
    assert_ok(stele_close(store));
    assert_true(remove(scratch_path) == 0 && remove(disk_path) == 0);
}

static void zeros_that_were_not_flushed_are_flushed_by_who_needs_them(void **state)
{
    static const struct rise cases[] = {
        { 0, 2900, true }, { 0, 2900, false }, { 0, 6000, true }, { 0, 6000, false },
        { STELE_SPARSE, 2900, true }, { STELE_SPARSE, 2900, false }, { STELE_SPARSE, 6000, true },
        { STELE_SPARSE, 6000, false },
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        rise = cases[i];
        rise_again_and_lose_power();
    }
}

static void what_nobody_stored_to_is_not_zeroed(void **state)
{
    struct stele *store = made_store(LEAST, STELE_SPARSE);
    uint8_t record[RECORD_BYTES];

    store_count = 0;
    assert_ok(stele_set_count(store, CAPACITY - 1));
    assert_u64(store_count, 0);
    fill_record(record, RECORD_BYTES, 0, 1);
    assert_ok(stele_set(store, 40, record));
    assert_ok(stele_set_count(store, 10));
    /* As far as record 40 now, and then over the old sums, but not to the end. */
    store_count = 0;
    assert_ok(stele_set_count(store, CAPACITY - 2));
    assert_in_range(store_count, 1, 30);
    store_count = 0;
    assert_ok(stele_set_count(store, 90000));
    assert_in_range(store_count, 1, 60);
    assert_ok(stele_close(store));
    /* A file that comes from where nobody says so: what is not zero is found. */
    uint64_t offset = records_offset + 60000 * RECORD_BYTES;
    store = open_with(LEAST, STELE_READ_WRITE);
    assert_store(store);
    assert_ok(stele_set_count(store, 100));
    assert_ok(stele_close(store));
    poke(scratch_path, offset + 5, "x", 1);
    store = open_with(LEAST, STELE_READ_WRITE);
    assert_store(store);
    assert_ok(stele_set_count(store, 80000));
    assert_ok(stele_get(store, 60000, found));
    assert_true(stele_is_zero(found, RECORD_BYTES));
    assert_verifies(store);
    assert_ok(stele_close(store));
}

/* ---- a transaction wider than the windows that store it ---- */

/* How many stretches are not flushed and in no window any more. */
static size_t gone_count(void)
{
    size_t n = dirty_count;

    for (size_t i = 0; i < dirty_count; i++) {
        for (size_t k = 0; k < map_count; k++) {
            if (maps[k].is_writable && dirty[i].first >= maps[k].offset &&
                dirty[i].end <= maps[k].offset + maps[k].bytes) {
                n--;
                break;
            }
        }
    }
    return n;
}

static void nothing_is_flushed_while_stripes_are_odd_and_all_of_it_is_before_the_sync(void **state)
{
    static uint8_t records[2900 * RECORD_BYTES];
    struct stele *store = made_store(LEAST, 0);
    struct stele_txn *txn;
    unsigned flush_count_before;

    fill_records(records, RECORD_BYTES, 0, 2900, 1);
    assert_ok(stele_append(store, records, 2900, NULL));
    assert_ok(stele_checkpoint(store));
    assert_ok(stele_begin(store, &txn));
    for (uint64_t i = 0; i < 2900; i += 50) {
        fill_record(records + i * RECORD_BYTES, RECORD_BYTES, i, 2);
        assert_ok(stele_txn_set(txn, i, records + i * RECORD_BYTES));
    }
    watched = store;
    flush_count_before = flush_count;
    uint64_t progress = stele_load(&store->live.words->progress.word);
    assert_ok(stele_commit(txn, STELE_DURABLE, NULL));
    watched = NULL;
    assert_u64(flush_count, flush_count_before);
    assert_true(stele_load(&store->live.words->progress.word) >= progress + 58);
    assert_true(gone_count() > 0);
    assert_ok(stele_checkpoint(store));
    assert_u64(dirty_count, 0);
    assert_true(flush_count > flush_count_before);
    assert_ok(stele_close(store));
    lose_power();
    store = open_with(LEAST, STELE_READ_WRITE);
    assert_store(store);
    for (uint64_t i = 0; i < 2900; i++) {
        assert_ok(stele_get(store, i, found));
        assert_memory_equal(found, records + i * RECORD_BYTES, RECORD_BYTES);
    }
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

static void what_was_stored_through_a_window_that_is_gone_is_flushed_later(void **state)
{
    struct stele_window_stores stores;
    struct stele_window_plan plan = { .budget_bytes = LEAST };
    struct stele_os_file file;

    poke(scratch_path, 0, "", 0);
    assert_ok(stele_os_open(scratch_path, true, &file));
    assert_ok(stele_os_set_bytes(&file, 8 * MIB));
    assert_ok(stele_window_stores_init(&stores, &file, &plan));
    flush_count = 0;
    for (unsigned pass = 0; pass < 2; pass++) {
        assert_ok(stele_window_store(&stores, 100, "some", 4));
        for (uint64_t at = MIB; at < 8 * MIB; at += 64 * KIB)
            assert_ok(stele_window_prepare(&stores, at, 4096));
        assert_ok(stele_window_store(&stores, 9000, "more", 4));
        for (uint64_t at = 8 * MIB; at > MIB; at -= 64 * KIB)
            assert_ok(stele_window_store(&stores, at - 8, "other", 5));
        assert_true(flush_count == 0 && dirty_count > 100 && mapped_bytes <= LEAST);
        if (pass == 0)
            assert_ok(stele_window_flush(&stores));
        assert_u64(dirty_count, pass == 0 ? 0 : dirty_count);
        flush_count = 0;
    }
    is_flush_failing = true;
    assert_code(stele_window_flush(&stores), STELE_E_IO);
    is_flush_failing = false;
    assert_u64(dirty_count, 0);
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
        WITH_VIEWS(zeros_that_were_not_flushed_are_flushed_by_who_needs_them),
        WITH_VIEWS(what_nobody_stored_to_is_not_zeroed),
        WITH_VIEWS(nothing_is_flushed_while_stripes_are_odd_and_all_of_it_is_before_the_sync),
        WITH_VIEWS(a_flush_that_fails_is_a_sync_that_failed),
        WITH_VIEWS(what_was_stored_through_a_window_that_is_gone_is_flushed_later),
        WITH_VIEWS(what_cannot_be_stored_is_refused_before_the_journal_says_it),
        WITH_VIEWS(a_file_has_no_view_left_when_another_takes_its_name),
        WITH_VIEWS(creation_by_force_leaves_the_old_file_no_view_either),
    };

    return cmocka_run_group_tests_name("stores", tests, NULL, NULL);
}
