/*
 * A file that another process cuts while it is open: every call comes back with a code, whichever comes first, no
 * record is made up, nothing is written on what is left, and the process lives. Where the system lets nobody cut what
 * is mapped, the attempt changes nothing. The same when the medium is gone, of which only what is mapped tells.
 *
 * Each case is a child of its own, so that a fault is seen as one.
 */
#include "guard.h"
#include "maps.h"
#include "scratch.h"

enum { RECORD_BYTES = 64, COUNT = 4000, LAST = COUNT - 1 };
enum mode { LIVE_READER, DETACHED_READER, WRITER, IN_TRANSACTION, MODES };

static const char *const mode_names[MODES] = { "live reader", "detached reader", "writer", "in transaction" };
static uint8_t records[COUNT * RECORD_BYTES] CARRIED;
static uint8_t found[COUNT * RECORD_BYTES];
static char image_path[128] CARRIED;
static uint64_t records_offset CARRIED;

/* What is open when the file is cut. */
static struct stele *store;
static struct stele_view view;
static struct stele_cursor *cursor;
static uint64_t scanned; /* by it */
static struct stele_txn *txn;
static bool is_cut;
static bool has_written; /* a call that writes did, so that no more is known of what others read */
static uint64_t left_bytes; /* of the file */

/* ---- the calls; each a code ---- */

/* A record that was read is the one that was written; the page in which the file ends now is filled with zeros. */
static void require_record(uint64_t index, const uint8_t *record)
{
    uint64_t end = records_offset + (index + 1) * RECORD_BYTES;

    if (has_written)
        return;
    if (end <= left_bytes)
        REQUIRE(memcmp(record, records + index * RECORD_BYTES, RECORD_BYTES) == 0);
    else
        REQUIRE(end <= stele_round_up(left_bytes, 4096));
}

static int get(uint64_t index)
{
    uint8_t record[RECORD_BYTES];
    int rc = stele_get(store, index, record);

    if (!rc)
        require_record(index, record);
    return rc;
}

static int call_get_first(void) { return get(0); }
static int call_get_last(void) { return get(LAST); }

static int call_get_many(void)
{
    const uint64_t indexes[] = { 0, COUNT / 2, LAST };
    int codes[3];
    int rc = stele_get_many(store, indexes, 3, found, codes);

    for (unsigned i = 0; i < 3; i++) {
        if (!codes[i])
            require_record(indexes[i], found + i * RECORD_BYTES);
    }
    return rc;
}

static int call_read(void)
{
    int rc = stele_read(store, 0, COUNT, found);

    for (uint64_t i = 0; i < COUNT && !rc; i++)
        require_record(i, found + i * RECORD_BYTES);
    return rc;
}

static int call_count(void)
{
    uint64_t count = stele_count(store);

    REQUIRE(count == COUNT || count == 0 || has_written);
    return STELE_OK;
}

static int call_info(void)
{
    struct stele_info info = STELE_INFO_INIT;

    return stele_info(store, &info);
}

static int call_verify(void)
{
    struct stele_verify_report report = STELE_VERIFY_REPORT_INIT;
    int rc = stele_verify(store, NULL, &report);

    REQUIRE(rc != STELE_OK || !is_cut);
    return rc;
}

static int call_view_open(void)
{
    struct stele_view own = { .record_count = 0 };
    int rc = stele_view_open(store, 0, COUNT, &own);

    if (!rc && stele_view_copy(&own, LAST, 1, found) == STELE_OK)
        require_record(LAST, found);
    stele_view_close(&own);
    return rc;
}

static int call_view_changed(void) { return stele_view_changed(&view); }

static int call_view_copy(void)
{
    int rc = stele_view_copy(&view, LAST, 1, found);

    if (!rc)
        require_record(LAST, found);
    return rc;
}

static int call_cursor(void)
{
    const void *batch;
    size_t n;
    int rc;

    while (!(rc = stele_cursor_next(cursor, &batch, &n))) {
        REQUIRE(n > 0 && (n <= COUNT - scanned || has_written));
        scanned += n;
    }
    REQUIRE(rc != STELE_END || scanned == COUNT || has_written);
    return rc;
}

static int call_cursor_open(void)
{
    struct stele_cursor *own = NULL;
    const void *batch;
    size_t n;
    int rc = stele_cursor_open(store, 0, UINT64_MAX, &own);

    if (!rc)
        rc = stele_cursor_next(own, &batch, &n);
    stele_cursor_close(own);
    return rc;
}

static int call_outcome(void) { return stele_outcome(store, 1); }

/* Those that write: none may say that it did where the file is cut. */
static int refused(int rc)
{
    REQUIRE(rc < 0 || !is_cut);
    has_written = has_written || rc >= 0 || rc == STELE_E_UNKNOWN;
    return rc;
}

static int call_set(void) { return refused(stele_set(store, LAST, found)); }
static int call_set_many(void) { return refused(stele_set_many(store, &(uint64_t){ 0 }, 1, found)); }
static int call_append(void) { return refused(stele_append(store, found, 1, NULL)); }
static int call_append_many(void) { return refused(stele_append(store, found, COUNT, NULL)); }
static int call_set_count(void) { return refused(stele_set_count(store, 1)); }
static int call_reserve(void) { return refused(stele_reserve(store, UINT64_C(10) * COUNT)); }
static int call_checkpoint(void) { return refused(stele_checkpoint(store)); }
static int call_sync(void) { return refused(stele_sync(store)); }

static int call_begin(void)
{
    struct stele_txn *own = NULL;
    int rc = stele_begin(store, &own);

    stele_abort(own);
    return refused(rc);
}

/* These need a transaction that was begun before the cut; without it they say so. */
static int call_txn_get(void) { return stele_txn_get(txn, LAST - 1, found); }
static int call_txn_set(void) { return stele_txn_set(txn, LAST - 2, found); }
static int call_txn_append(void) { return stele_txn_append(txn, found, 10, NULL); }
static int call_txn_set_count(void) { return stele_txn_set_count(txn, COUNT / 2); }

static int call_txn_commit(void)
{
    int rc = stele_commit(txn, STELE_DURABLE, NULL);

    txn = NULL;
    return refused(rc);
}

static const struct call {
    const char *name;
    int (*call)(void);
    bool is_writing;
} calls[] = {
    { "get the first", call_get_first, false }, { "get the last", call_get_last, false },
    { "get_many", call_get_many, false }, { "read", call_read, false }, { "count", call_count, false },
    { "info", call_info, false }, { "verify", call_verify, false }, { "view_open", call_view_open, false },
    { "view_changed", call_view_changed, false }, { "view_copy", call_view_copy, false },
    { "cursor_next", call_cursor, false }, { "cursor_open", call_cursor_open, false },
    { "outcome", call_outcome, false }, { "txn_get", call_txn_get, true }, { "txn_set", call_txn_set, true },
    { "txn_append", call_txn_append, true }, { "txn_set_count", call_txn_set_count, true },
    { "commit", call_txn_commit, true }, { "set", call_set, true }, { "set_many", call_set_many, true },
    { "append", call_append, true }, { "append many", call_append_many, true },
    { "set_count", call_set_count, true }, { "reserve", call_reserve, true }, { "begin", call_begin, true },
    { "checkpoint", call_checkpoint, true }, { "sync", call_sync, true },
};

/* ---- the cases ---- */

struct sample {
    enum mode mode;
    uint64_t cut_bytes;
    size_t first_call;
    bool is_restored; /* the file gets its length back, without what was in it */
};

static void open_for(enum mode mode)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *writer = NULL;

    options.lock_wait_ms = options.read_wait_ms = 5;
    options.mode = mode == WRITER || mode == IN_TRANSACTION ? STELE_READ_WRITE : STELE_READ_ONLY;
    if (mode == LIVE_READER) {
        writer = open_store(STELE_READ_WRITE);
        REQUIRE(writer);
    }
    REQUIRE(stele_open(scratch_path, &options, &store) == STELE_OK);
    REQUIRE(stele_view_open(store, 0, COUNT, &view) == STELE_OK);
    scanned = 0;
    REQUIRE(stele_cursor_open(store, 0, UINT64_MAX, &cursor) == STELE_OK);
    REQUIRE(stele_get(store, 0, found) == STELE_OK);
    if (mode == IN_TRANSACTION) {
        REQUIRE(stele_begin(store, &txn) == STELE_OK);
        REQUIRE(stele_txn_set(txn, LAST, found) == STELE_OK);
    }
    if (writer)
        REQUIRE(stele_close(writer) == STELE_OK);
}

/* Nobody could cut the file: it is whole, and what reads and what writes goes on. */
static void require_untouched(size_t first_call, uint64_t full_bytes)
{
    left_bytes = full_bytes;
    REQUIRE(size_of_file(scratch_path) == full_bytes);
    for (size_t i = 0; i < COUNT_OF(calls); i++) {
        const struct call *call = &calls[(first_call + i) % COUNT_OF(calls)];
        REQUIRE(call->is_writing || call->call() >= 0);
    }
    if (txn)
        REQUIRE(stele_commit(txn, STELE_DURABLE, NULL) == STELE_OK);
    txn = NULL;
}

static void require_codes(size_t first_call)
{
    for (size_t i = 0; i < COUNT_OF(calls); i++) {
        const struct call *call = &calls[(first_call + i) % COUNT_OF(calls)];
        int rc = call->call();
        if (rc < STELE_E_INTERRUPTED || rc > STELE_END) {
            fprintf(stderr, "%s is %d\n", call->name, rc);
            _exit(2);
        }
        if (rc < 0 && !*stele_last_error()->text)
            _exit(3);
    }
}

/* The file gets its length back: there are zeros where records were, and what the calls say of them is not asked. */
static void restore_and_call(uint64_t full_bytes)
{
    REQUIRE(system_cut(scratch_path, full_bytes));
    left_bytes = 0;
    for (size_t i = 0; i < COUNT_OF(calls); i++) {
        if (calls[i].call != call_verify && calls[i].call != call_read)
            (void)stele_get(store, i, found);
        (void)stele_set(store, i, found);
    }
    (void)stele_read(store, 0, COUNT, found);
}

static struct sample sample CARRIED;

static void close_all(void)
{
    stele_abort(txn);
    txn = NULL;
    stele_view_close(&view);
    stele_cursor_close(cursor);
    int rc = stele_close(store);
    REQUIRE(rc <= STELE_OK && rc != STELE_E_USAGE);
}

static void cut_and_call(void *context)
{
    uint64_t full_bytes = size_of_file(scratch_path);

    REQUIRE(stele_guard_install() == STELE_OK);
    system_return_faults();
    open_for(sample.mode);
    left_bytes = sample.cut_bytes;
    is_cut = system_cut(scratch_path, left_bytes);
    if (is_cut)
        require_codes(sample.first_call);
    else
        require_untouched(sample.first_call, full_bytes);
    /* Nothing was written on what is left, but for words of the live region. */
    REQUIRE(size_of_file(scratch_path) == (is_cut ? left_bytes : full_bytes));
    if (is_cut && sample.is_restored)
        restore_and_call(full_bytes);
    close_all();
}

static void lose_and_call(void *context)
{
    REQUIRE(stele_guard_install() == STELE_OK);
    system_return_faults();
    open_for(sample.mode);
    left_bytes = size_of_file(scratch_path);
    for (size_t i = 0; i < map_count; i++)
        REQUIRE(system_break((void *)(uintptr_t)maps[i].address, (size_t)maps[i].bytes));
    require_codes(sample.first_call);
    close_all();
}

static void make_image(void)
{
    struct stele *made = create_store(RECORD_BYTES, COUNT, 64 * KIB, 0);

    assert_store(made);
    snprintf(image_path, sizeof(image_path), "%s/image", scratch_folder);
    fill_records(records, RECORD_BYTES, 0, COUNT, 1);
    assert_ok(stele_append(made, records, COUNT, NULL));
    records_offset = info_of(made).records_offset;
    assert_u64(records_offset, 4 * MIB);
    assert_ok(stele_close(made));
    copy_file(scratch_path, image_path);
}

static void try_sample(void (*work)(void *context), struct sample next)
{
    copy_file(image_path, scratch_path);
    sample = next;
    int code = exit_of_child(work, NULL);
    if (code != 0)
        fail_msg("%s, cut to %" PRIu64 " bytes, first %s: %d", mode_names[sample.mode], sample.cut_bytes,
                 calls[sample.first_call].name, code);
}

static void every_call_gives_a_code_whichever_comes_first_after_a_cut(void **state)
{
    static const uint64_t cuts[] = {
        0, 4 * KIB, 8 * KIB, 64 * KIB, 65 * KIB, 68 * KIB, 128 * KIB, 132 * KIB, 576 * KIB, 1 * MIB, 2 * MIB,
        2 * MIB + 64 * KIB, 4 * MIB, 4 * MIB + 100, 4 * MIB + 8 * KIB, 4 * MIB + 100001,
    };
    size_t step = scale_percent() < 50 ? 9 : 3; /* each call comes first with every third cut */

    make_image();
    for (size_t i = 0; i < COUNT_OF(cuts); i++) {
        for (unsigned mode = 0; mode < MODES; mode++) {
            for (size_t first = (i + mode) % step; first < COUNT_OF(calls); first += step)
                try_sample(cut_and_call, (struct sample){ (enum mode)mode, cuts[i], first, false });
        }
    }
}

static void a_file_that_gets_its_length_back_is_no_fault_either(void **state)
{
    static const uint64_t cuts[] = { 0, 64 * KIB, 132 * KIB, 2 * MIB, 4 * MIB + 8 * KIB };

    make_image();
    for (size_t i = 0; i < COUNT_OF(cuts); i++) {
        for (unsigned mode = 0; mode < MODES; mode++)
            try_sample(cut_and_call, (struct sample){ (enum mode)mode, cuts[i], i, true });
    }
}

static void every_call_gives_a_code_whichever_comes_first_when_the_medium_is_gone(void **state)
{
    size_t step = scale_percent() < 50 ? 4 : 1;

    make_image();
    for (unsigned mode = 0; mode < MODES; mode++) {
        for (size_t first = mode % step; first < COUNT_OF(calls); first += step)
            try_sample(lose_and_call, (struct sample){ (enum mode)mode, size_of_file(image_path), first, false });
    }
}

static void check_codes(void *context)
{
    uint8_t record[RECORD_BYTES];
    uint64_t edge = 8 * KIB / RECORD_BYTES;

    REQUIRE(stele_guard_install() == STELE_OK);
    system_return_faults();
    for (unsigned mode = 0; mode < IN_TRANSACTION; mode++) {
        int code_of_set = mode == WRITER ? STELE_E_TRUNCATED : STELE_E_READONLY;
        /* Below the live region nothing can be told any more. */
        copy_file(image_path, scratch_path);
        open_for((enum mode)mode);
        is_cut = system_cut(scratch_path, 4 * KIB);
        if (is_cut) {
            REQUIRE(stele_get(store, 0, record) == STELE_E_TRUNCATED);
            REQUIRE(strstr(stele_last_error()->text, "cut") != NULL);
            REQUIRE(stele_set(store, 0, record) == code_of_set);
        } else {
            require_untouched(0, size_of_file(scratch_path));
        }
        close_all();
        /* Inside the records those in front of the cut can be read, those behind it not. */
        copy_file(image_path, scratch_path);
        open_for((enum mode)mode);
        is_cut = system_cut(scratch_path, 4 * MIB + 8 * KIB);
        REQUIRE(stele_get(store, edge - 1, record) == STELE_OK);
        REQUIRE(stele_get(store, edge, record) == (is_cut ? STELE_E_TRUNCATED : STELE_OK));
        if (is_cut)
            REQUIRE(stele_set(store, 0, record) == code_of_set);
        close_all();
    }
}

static void the_code_says_that_the_file_was_cut(void **state)
{
    make_image();
    assert_int_equal(exit_of_child(check_codes, NULL), 0);
}

static void a_view_of_a_file_that_was_cut_gives_a_code_and_no_fault(void **state)
{
    enum { LEFT = 8 * KIB / RECORD_BYTES };

    system_return_faults();
    make_image();
    open_for(DETACHED_READER);
    bool was_cut = system_cut(scratch_path, records_offset + 8 * KIB);
    /* Where nobody can cut it, the medium fails. */
    if (!was_cut)
        assert_true(system_break_page((void *)((uintptr_t)view.records + 8 * KIB)));
    assert_ok(stele_view_copy(&view, 0, LEFT, found));
    assert_memory_equal(found, records, LEFT * RECORD_BYTES);
    assert_code(stele_view_copy(&view, LEFT, 1, found), was_cut ? STELE_E_TRUNCATED : STELE_E_IO);
    assert_code(stele_view_copy(&view, LEFT - 1, 2, found), was_cut ? STELE_E_TRUNCATED : STELE_E_IO);
    assert_ok(stele_view_copy(&view, LEFT - 10, 10, found));
    close_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FAST_SCRATCH(every_call_gives_a_code_whichever_comes_first_after_a_cut),
        IN_FAST_SCRATCH(a_file_that_gets_its_length_back_is_no_fault_either),
        IN_FAST_SCRATCH(every_call_gives_a_code_whichever_comes_first_when_the_medium_is_gone),
        IN_FAST_SCRATCH(the_code_says_that_the_file_was_cut),
        IN_FAST_SCRATCH(a_view_of_a_file_that_was_cut_gives_a_code_and_no_fault),
    };

    if (stele_guard_install())
        return 1;
    system_note_faults();
    return cmocka_run_group_tests_name("cut", tests, NULL, NULL);
}
