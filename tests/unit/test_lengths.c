/*
 * Files of every length from 0 to 128 KiB, where header, schema and live region stand: each is refused by a sentence,
 * for reading, writing and recovery, and keeps its length and its bytes. Also a file that shrinks under handles that
 * are open, and names that lead elsewhere while something is half done: nobody writes into another file.
 */
#include "guard.h"
#include "scratch.h"

enum { RECORD_BYTES = 64, COUNT = 100, END = 128 * KIB, RING = 16 * KIB };

static void make_store(void)
{
    uint8_t records[COUNT * RECORD_BYTES];
    struct stele *store = create_store(RECORD_BYTES, 2 * COUNT, RING, 0);

    assert_store(store);
    fill_records(records, RECORD_BYTES, 0, COUNT, 1);
    assert_ok(stele_append(store, records, COUNT, NULL));
    assert_ok(stele_close(store));
}

/* ---- closed ---- */

/* A file cut below its second slot still rules by its first; below that nothing does, and below 8 bytes it is none. */
static int expected_code(uint64_t bytes)
{
    return bytes < 8 ? STELE_E_FORMAT : bytes < STELE_SLOT_BYTES ? STELE_E_DAMAGED : STELE_E_TRUNCATED;
}

static void assert_refused(uint64_t bytes, int code)
{
    const int expected = expected_code(bytes);
    /* The schema's bytes are gone: that is how a cut inside of it shows. */
    const bool is_schema_gone = bytes >= STELE_SLOT_BYTES && bytes < STELE_SCHEMA_OFFSET + 1024;

    if (code != expected && !(is_schema_gone && code == STELE_E_DAMAGED))
        fail_msg("a file of %" PRIu64 " bytes: %d, not %d: %s", bytes, code, expected, stele_last_error()->text);
    if (!strstr(stele_last_error()->text, scratch_path) || strlen(stele_last_error()->text) < strlen(scratch_path) + 20)
        fail_msg("a file of %" PRIu64 " bytes: no sentence: %s", bytes, stele_last_error()->text);
}

static void a_file_of_every_length_is_refused_and_stays_as_it_is(void **state)
{
    static uint8_t whole[END], now[END];
    struct stele_options writing = STELE_OPTIONS_INIT;
    const unsigned step = scale_percent() < 100 ? 97 : 1;

    make_store();
    peek(scratch_path, 0, whole, sizeof(whole));
    writing.mode = STELE_READ_WRITE;
    writing.lock_wait_ms = 1;
    FILE *file = file_at(scratch_path, "r+b", 0);
    for (uint64_t bytes = END; bytes != UINT64_MAX; bytes = bytes >= step || bytes == 0 ? bytes - step : 0) {
        struct stele_recovery recovery = STELE_RECOVERY_INIT;
        struct stele *store = NULL;
        REQUIRE(system_set_bytes(file, bytes));
        assert_refused(bytes, stele_open(scratch_path, NULL, &store));
        assert_refused(bytes, stele_open(scratch_path, &writing, &store));
        if (bytes % 16 == 0)
            assert_refused(bytes, stele_recover(scratch_path, &writing, &recovery));
        assert_null(store);
        if (bytes % 512 == 1 || bytes < 16) {
            assert_u64(size_of_file(scratch_path), bytes);
            peek(scratch_path, 0, now, (size_t)bytes);
            assert_memory_equal(now, whole, (size_t)bytes);
        }
        if (bytes == 0)
            break;
    }
    fclose(file);
}

/* ---- open ---- */

static void require_code(int rc)
{
    REQUIRE(rc >= STELE_E_INTERRUPTED && rc <= STELE_END);
    REQUIRE(rc >= 0 || *stele_last_error()->text);
}

/* Handles opened on the whole file, which shrinks step by step. */
static void shrink(void *context)
{
    uint8_t record[RECORD_BYTES] = { 0 };
    struct stele *reader, *writer;
    const unsigned step = scale_percent() < 100 ? 4099 : 127;

    REQUIRE(stele_guard_install() == STELE_OK);
    system_return_faults();
    REQUIRE((writer = open_store(STELE_READ_WRITE)) && (reader = open_store(STELE_READ_ONLY)));
    for (uint64_t bytes = END; bytes > step; bytes -= step) {
        struct stele_info info = STELE_INFO_INIT;
        if (!system_cut(scratch_path, bytes))
            break; /* here nobody cuts what is mapped */
        int read_code = stele_get(reader, bytes % COUNT, record);
        require_code(read_code);
        REQUIRE(read_code != STELE_OK);
        require_code(stele_get(writer, bytes % COUNT, record));
        REQUIRE(stele_set(writer, bytes % COUNT, record) < 0);
        REQUIRE(stele_append(writer, record, 1, NULL) < 0);
        require_code(stele_info(reader, &info));
        require_code(stele_info(writer, &info));
        /* The file is not made longer, whatever is tried. */
        REQUIRE(size_of_file(scratch_path) == bytes);
    }
    require_code(stele_close(reader));
    require_code(stele_close(writer));
}

static void a_file_that_shrinks_under_open_handles_gives_codes_at_every_length(void **state)
{
    make_store();
    assert_int_equal(exit_of_child(shrink, NULL), 0);
}

/* ---- names ---- */

/* What a writer does while its file's name comes to stand for another. */
static int work_of(struct stele *store, struct stele_txn *txn, unsigned which)
{
    uint8_t record[RECORD_BYTES] = { 9 };
    int rc;

    switch (which) {
    case 0:
        return stele_commit(txn, STELE_DURABLE, NULL);
    case 1:
        rc = stele_txn_set(txn, 1, record);
        return rc ? rc : stele_commit(txn, STELE_DURABLE, NULL);
    case 2:
        stele_abort(txn);
        return stele_checkpoint(store);
    case 3:
        stele_abort(txn);
        return stele_reserve(store, 5000);
    default:
        stele_abort(txn);
        rc = stele_set(store, 0, record);
        return rc ? rc : stele_append(store, record, 1, NULL);
    }
}

static void a_name_that_leads_elsewhere_takes_no_writer_along(void **state)
{
    uint8_t record[RECORD_BYTES] = { 7 };

    for (unsigned which = 0; which < 5; which++) {
        const char *other = scratch_name("other.stele"), *old = scratch_name("old.stele");
        struct stele_txn *txn = NULL;
        make_store();
        copy_file(scratch_path, other);
        uint64_t print = print_of_file(other);
        struct stele *store = open_store(STELE_READ_WRITE);
        assert_store(store);
        assert_ok(stele_begin(store, &txn));
        assert_ok(stele_txn_set(txn, 0, record));
        if (rename(scratch_path, old) || rename(other, scratch_path)) {
            /* Here nobody takes the name of what is mapped. */
            stele_abort(txn);
            assert_ok(stele_close(store));
            print_message("this system keeps the name of a file that is open\n");
            return;
        }
        (void)work_of(store, txn, which);
        (void)stele_close(store);
        if (print_of_file(scratch_path) != print)
            fail_msg("work %u went into the file that took the name", which);
        /* The one that moved is a store, whatever came of the work. */
        assert_int_equal(unlink(scratch_path), 0);
        assert_int_equal(rename(old, scratch_path), 0);
        store = open_store(STELE_READ_ONLY);
        assert_store(store);
        assert_verifies(store);
        assert_ok(stele_close(store));
        assert_int_equal(unlink(scratch_path), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FAST_SCRATCH(a_file_of_every_length_is_refused_and_stays_as_it_is),
        IN_FAST_SCRATCH(a_file_that_shrinks_under_open_handles_gives_codes_at_every_length),
        IN_FAST_SCRATCH(a_name_that_leads_elsewhere_takes_no_writer_along),
    };

    if (stele_guard_install())
        return 1;
    system_note_faults();
    return cmocka_run_group_tests_name("lengths", tests, NULL, NULL);
}
