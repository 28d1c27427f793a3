/*
 * Force and refusal: what fails changes nothing, nobody replaces or recovers what others use or nobody asked for, and
 * the next one to come is not misled by one who failed.
 *
 * Functions of os.h are wrapped, to count, to look in between, and to come in between.
 */
#include "journal.h"
#include "scratch.h"
#include "wrap.h"

enum { RECORD_BYTES = 16, COUNT = 100, RING_BYTES = 512 * KIB };

/* ---- what is wrapped ---- */

static unsigned sync_count;
static const struct stele_os_file *looking; /* asks who is present whenever W is given back; NULL: nobody */
static bool was_present;

WRAPPED(int, stele_os_sync, const struct stele_os_file *file)
{
    sync_count++;
    return REAL(stele_os_sync)(file);
}

WRAPPED(void, stele_os_unlock_writer, const struct stele_os_file *file)
{
    bool is_held;

    REAL(stele_os_unlock_writer)(file);
    if (!looking)
        return;
    REQUIRE(stele_os_is_present_held(looking, &is_held) == STELE_OK);
    was_present = was_present || is_held;
}

static void (*before_publish)(void); /* what somebody does just then, once */

WRAPPED(int, stele_os_draft_publish, struct stele_os_draft *draft, bool is_replacing, struct stele_os_file *out_file)
{
    void (*act)(void) = before_publish;

    before_publish = NULL;
    if (act)
        act();
    return REAL(stele_os_draft_publish)(draft, is_replacing, out_file);
}

/* ---- stores with a lost entry ---- */

static uint8_t records[COUNT * RECORD_BYTES] CARRIED;
static struct stele *left_open; /* by a child that dies: in sight, so that it counts as no leak */

static void append_and_die(void *context)
{
    left_open = create_store(RECORD_BYTES, COUNT, RING_BYTES, 0);
    REQUIRE(left_open);
    for (uint64_t i = 0; i < COUNT; i++)
        REQUIRE(stele_append(left_open, records + i * RECORD_BYTES, 1, NULL) == STELE_OK);
    _exit(7);
}

static void flip_bit(uint64_t offset)
{
    uint8_t byte;

    peek(scratch_path, offset, &byte, 1);
    byte ^= 1;
    poke(scratch_path, offset, &byte, 1);
}

static void lose_an_entry(void)
{
    fill_records(records, RECORD_BYTES, 0, COUNT, 1);
    assert_int_equal(exit_of_child(append_and_die, NULL), 7);
    flip_bit(STELE_JOURNAL_OFFSET + 50 * 4096 + 100);
}

/* Of all but the live region, whose words are for the moment. */
static uint64_t print_of_lasting(void)
{
    static uint8_t bytes[16 * MIB];
    uint64_t size = size_of_file(scratch_path), print = size;

    assert_true(size <= sizeof(bytes));
    peek(scratch_path, 0, bytes, (size_t)size);
    for (uint64_t at = 0; at + 8 <= size; at += 8) {
        uint64_t word;
        memcpy(&word, bytes + at, 8);
        if (at >= STELE_LIVE_OFFSET && at < STELE_LIVE_OFFSET + STELE_LIVE_BYTES)
            continue;
        print = (print ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        print ^= print >> 29;
    }
    return print;
}

static int create_by_force(uint64_t capacity)
{
    struct stele_schema *schema = schema_of_bytes(RECORD_BYTES);
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store = NULL;

    options.schema = schema;
    options.flags = STELE_FORCE;
    options.capacity_records = capacity;
    options.lock_wait_ms = 100;
    int rc = stele_create(scratch_path, &options, &store);
    stele_schema_free(schema);
    if (!rc)
        assert_ok(stele_close(store));
    return rc;
}

static int open_for_writing(void)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store = NULL;

    options.mode = STELE_READ_WRITE;
    options.lock_wait_ms = 100;
    int rc = stele_open(scratch_path, &options, &store);
    if (!rc)
        assert_ok(stele_close(store));
    return rc;
}

/* ---- creating by force ---- */

static void a_creation_by_force_that_fails_recovers_nothing(void **state)
{
    lose_an_entry();
    assert_code(open_for_writing(), STELE_E_DAMAGED);
    uint64_t print = print_of_lasting();
    /* More than any disk has. */
    assert_code(create_by_force(UINT64_C(1) << 44), STELE_E_FULL);
    assert_u64(print_of_lasting(), print);
    assert_code(open_for_writing(), STELE_E_DAMAGED);
    assert_code(create_by_force(UINT64_C(1) << 60), STELE_E_RANGE);
    assert_u64(print_of_lasting(), print);
    /* One that does not fail replaces it. */
    assert_ok(create_by_force(10));
    struct stele *store = open_store(STELE_READ_ONLY);
    assert_store(store);
    assert_u64(stele_count(store), 0);
    assert_verifies(store);
    assert_ok(stele_close(store));
}

static void a_damaged_store_that_others_have_open_is_not_replaced(void **state)
{
    struct stele_os_file file;

    /* A server that is there, one that writes, one that is there beside a writer that died in the middle. */
    for (unsigned kind = 0; kind < 3; kind++) {
        uint64_t committing = STELE_STATE_COMMITTING;
        lose_an_entry();
        uint64_t print = print_of_lasting();
        assert_ok(stele_os_open(scratch_path, true, &file));
        assert_ok(kind == 1 ? stele_os_lock_writer(&file) : stele_os_lock_present(&file));
        if (kind == 2)
            poke(scratch_path, STELE_LIVE_OFFSET + offsetof(struct stele_live, state), &committing, 8);
        assert_code(create_by_force(10), STELE_E_BUSY);
        assert_u64(print_of_lasting(), print);
        stele_os_close(&file);
        assert_ok(create_by_force(10));
        assert_ok(open_for_writing());
        assert_int_equal(unlink(scratch_path), 0);
    }
}

static void a_store_that_was_cut_is_replaced_by_force_only(void **state)
{
    lose_an_entry();
    set_size_of_file(scratch_path, 3 * MIB);
    uint64_t print = print_of_lasting();
    assert_code(open_for_writing(), STELE_E_TRUNCATED);
    assert_code(create_by_force(UINT64_C(1) << 44), STELE_E_FULL);
    assert_u64(print_of_lasting(), print);
    assert_ok(create_by_force(10));
    assert_ok(open_for_writing());
}

/* ---- one who failed ---- */

static void an_open_that_fails_is_gone_before_the_next_one_may_come(void **state)
{
    static const uint8_t zeros[STELE_LIVE_BYTES];
    struct stele_os_file file;

    lose_an_entry();
    poke(scratch_path, STELE_LIVE_OFFSET, zeros, sizeof(zeros)); /* as after a power cut: never laid out */
    assert_ok(stele_os_open(scratch_path, false, &file));
    was_present = false;
    looking = &file;
    assert_code(open_for_writing(), STELE_E_DAMAGED);
    looking = NULL;
    /* Whoever finds it present would take the live region for that of another version. */
    assert_false(was_present);
    stele_os_close(&file);
    assert_code(open_for_writing(), STELE_E_DAMAGED);
}

static void a_report_that_cannot_be_given_is_refused_before_anything_is_done(void **state)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele_recovery recovery = STELE_RECOVERY_INIT;
    struct stele_info info = STELE_INFO_INIT;
    struct stele_verify_report report = STELE_VERIFY_REPORT_INIT;

    fill_records(records, RECORD_BYTES, 0, COUNT, 1);
    assert_int_equal(exit_of_child(append_and_die, NULL), 7);
    uint64_t print = print_of_file(scratch_path);
    for (uint32_t bytes = 0; bytes < 4; bytes++) {
        recovery.struct_bytes = bytes;
        assert_code(stele_recover(scratch_path, &options, &recovery), STELE_E_USAGE);
    }
    options.struct_bytes = 3;
    recovery.struct_bytes = sizeof(recovery);
    assert_code(stele_recover(scratch_path, &options, &recovery), STELE_E_USAGE);
    assert_u64(print_of_file(scratch_path), print);
    struct stele *store = open_store(STELE_READ_ONLY);
    assert_store(store);
    info.struct_bytes = report.struct_bytes = 0;
    assert_code(stele_info(store, &info), STELE_E_USAGE);
    assert_code(stele_verify(store, NULL, &report), STELE_E_USAGE);
    assert_u64(info_of(store).journal_entry_count, COUNT);
    assert_ok(stele_close(store));
}

static void a_link_to_nowhere_is_not_tried_for_ever(void **state)
{
    struct stele_schema *schema = schema_of_bytes(RECORD_BYTES);
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store = NULL;

    if (!system_add_link(scratch_name("nowhere"), scratch_name("link"))) {
        print_message("this system makes no symbolic links, or not for this user\n");
        stele_schema_free(schema);
        skip();
    }
    assert_int_equal(unlink(scratch_name("link")), 0);
    options.schema = schema;
    options.flags = STELE_CREATE;
    sync_count = 0;
    assert_ok(stele_open(scratch_path, &options, &store));
    assert_true(sync_count > 0);
    assert_ok(stele_close(store));
    assert_int_equal(unlink(scratch_path), 0);
    assert_true(system_add_link(scratch_name("nowhere"), scratch_path));
    sync_count = 0;
    store = NULL;
    assert_code(stele_open(scratch_path, &options, &store), STELE_E_EXISTS);
    assert_u64(sync_count, 0); /* each try would cost a whole file */
    assert_int_equal(access(scratch_name("nowhere"), F_OK), -1);
    assert_null(store);
    assert_int_equal(unlink(scratch_path), 0);
    assert_int_equal(rmdir(scratch_folder), 0); /* nothing is left of the tries */
    assert_true(system_add_folder(scratch_folder));
    stele_schema_free(schema);
}

/* ---- what became of it ---- */

static void numbers_that_a_dead_writer_may_have_given_out_are_absent(void **state)
{
    fill_records(records, RECORD_BYTES, 0, COUNT, 1);
    assert_int_equal(exit_of_child(append_and_die, NULL), 7);
    uint64_t last = 0;
    for (unsigned is_recovered = 0; is_recovered < 2; is_recovered++) {
        struct stele *store = open_store(is_recovered ? STELE_READ_WRITE : STELE_READ_ONLY);
        assert_store(store);
        if (!is_recovered)
            last = info_of(store).sequence;
        assert_u64(last, COUNT);
        assert_ok(stele_outcome(store, 1));
        assert_ok(stele_outcome(store, last));
        assert_code(stele_outcome(store, last + 1), STELE_E_ABSENT);
        assert_code(stele_outcome(store, last + 2), STELE_E_ABSENT);
        assert_code(stele_outcome(store, last + (UINT64_C(1) << 33)), STELE_E_RANGE);
        assert_ok(stele_close(store));
    }
}

/* ---- what comes to be there while a new file is made ---- */

static struct stele *come_between;

static void a_writer_comes(void)
{
    uint8_t record[RECORD_BYTES] = { 7 };

    come_between = create_store(RECORD_BYTES, COUNT, RING_BYTES, 0);
    REQUIRE(come_between && stele_append(come_between, record, 1, NULL) == STELE_OK);
}

static void a_writer_comes_and_goes(void)
{
    a_writer_comes();
    REQUIRE(stele_close(come_between) == STELE_OK);
}

static void another_file_comes(void)
{
    poke(scratch_path, 0, "thesis", 6);
}

static void force_replaces_nothing_that_came_after_it_looked_and_is_in_use_or_no_store(void **state)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store = NULL;
    char text[6];

    options.schema = schema_of_bytes(RECORD_BYTES);
    options.flags = STELE_FORCE;
    options.lock_wait_ms = 100;
    before_publish = a_writer_comes;
    assert_code(stele_create(scratch_path, &options, &store), STELE_E_BUSY);
    assert_u64(stele_count(come_between), 1);
    assert_ok(stele_close(come_between));

    /* What nobody uses goes, as if it had been there from the start. */
    assert_int_equal(remove(scratch_path), 0);
    before_publish = a_writer_comes_and_goes;
    assert_ok(stele_create(scratch_path, &options, &store));
    assert_u64(stele_count(store), 0);
    assert_ok(stele_close(store));

    assert_int_equal(remove(scratch_path), 0);
    before_publish = another_file_comes;
    assert_code(stele_create(scratch_path, &options, &store), STELE_E_FORMAT);
    peek(scratch_path, 0, text, sizeof(text));
    assert_memory_equal(text, "thesis", sizeof(text));
    stele_schema_free((struct stele_schema *)(uintptr_t)options.schema);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_SCRATCH(a_creation_by_force_that_fails_recovers_nothing),
        IN_SCRATCH(a_damaged_store_that_others_have_open_is_not_replaced),
        IN_SCRATCH(a_store_that_was_cut_is_replaced_by_force_only),
        IN_SCRATCH(an_open_that_fails_is_gone_before_the_next_one_may_come),
        IN_SCRATCH(a_report_that_cannot_be_given_is_refused_before_anything_is_done),
        IN_SCRATCH(a_link_to_nowhere_is_not_tried_for_ever),
        IN_SCRATCH(numbers_that_a_dead_writer_may_have_given_out_are_absent),
        IN_SCRATCH(force_replaces_nothing_that_came_after_it_looked_and_is_in_use_or_no_store),
    };

    return cmocka_run_group_tests_name("force", tests, NULL, NULL);
}
