/*
 * Processes that were started by one that has stores open: nothing of the parent's lives on in them, and what they open
 * themselves is theirs.
 */
#include "scratch.h"

enum { RECORD_BYTES = 64, COUNT = 1000 };

static uint8_t records[COUNT * RECORD_BYTES];

static struct stele *create_filled(void)
{
    struct stele *store = create_store(RECORD_BYTES, COUNT, 64 * KIB, 0);

    assert_store(store);
    fill_records(records, RECORD_BYTES, 0, COUNT, 1);
    assert_ok(stele_append(store, records, COUNT, NULL));
    return store;
}

/* ---- what the parent had open ---- */

static void live_on(void *context)
{
    char byte;

    parent_tell("x", 1);
    REQUIRE(parent_hear(&byte, 1));
}

static void what_a_parent_has_open_ends_with_it_though_a_child_lives_on(void **state)
{
    struct stele *store = create_filled(), *reader = open_store(STELE_READ_ONLY);
    struct stele_cursor *cursor;
    struct stele_txn *txn;
    struct stele_view view;
    struct stele_os_file file;
    uint8_t record[RECORD_BYTES];
    char byte;
    bool is_held = true;

    assert_store(reader);
    assert_ok(stele_view_open(store, 0, COUNT, &view));
    assert_ok(stele_cursor_open(reader, 0, UINT64_MAX, &cursor));
    assert_ok(stele_begin(store, &txn));
    struct child child = child_start(live_on, NULL);
    assert_true(child_hear(&child, &byte, 1));
    fill_record(record, RECORD_BYTES, 3, 2);
    assert_ok(stele_txn_set(txn, 3, record));
    assert_ok(stele_commit(txn, STELE_DURABLE, NULL));
    assert_int_equal(stele_view_changed(&view), 1);
    stele_view_close(&view);
    stele_cursor_close(cursor);
    assert_ok(stele_close(reader));
    assert_ok(stele_close(store));
    assert_ok(stele_os_open(scratch_path, true, &file));
    assert_ok(stele_os_is_writer_held(&file, &is_held));
    assert_false(is_held);
    assert_ok(stele_os_is_present_held(&file, &is_held));
    assert_false(is_held);
    stele_os_close(&file);
    store = open_store(STELE_READ_ONLY);
    assert_store(store);
    assert_u64(info_of(store).clean, 1); /* it was the last to close */
    assert_ok(stele_close(store));
    assert_true(system_cut(scratch_path, 100)); /* nobody has it mapped */
    assert_int_equal(unlink(scratch_path), 0);
    assert_int_equal(access(scratch_path, F_OK), -1);
    child_tell(&child, "x", 1);
    assert_int_equal(child_end(&child), 0);
}

/* ---- what a child opens ---- */

static void append_beside_the_parent(void *context)
{
    static uint8_t record[RECORD_BYTES];
    struct stele *own = open_store(STELE_READ_WRITE);
    uint64_t first = 0;
    char byte;

    REQUIRE(own && stele_count(own) == COUNT);
    fill_record(record, RECORD_BYTES, COUNT, 1);
    REQUIRE(stele_append(own, record, 1, &first) == STELE_OK && first == COUNT);
    parent_tell("x", 1);
    REQUIRE(parent_hear(&byte, 1));
    fill_record(record, RECORD_BYTES, 7, 2);
    uint8_t back[RECORD_BYTES];
    REQUIRE(stele_get(own, 7, back) == STELE_OK && memcmp(back, record, RECORD_BYTES) == 0);
    parent_tell("x", 1);
    REQUIRE(parent_hear(&byte, 1)); /* where the parent kills it, with the store open */
}

static void a_child_opens_the_store_itself_and_either_sees_what_the_other_does(void **state)
{
    struct stele *store = create_filled();
    uint8_t record[RECORD_BYTES], back[RECORD_BYTES];
    char byte;

    struct child child = child_start(append_beside_the_parent, NULL);
    assert_true(child_hear(&child, &byte, 1));
    assert_u64(stele_count(store), COUNT + 1);
    fill_record(record, RECORD_BYTES, COUNT, 1);
    assert_ok(stele_get(store, COUNT, back));
    assert_memory_equal(back, record, RECORD_BYTES);
    fill_record(record, RECORD_BYTES, 7, 2);
    assert_ok(stele_set(store, 7, record));
    child_tell(&child, "x", 1);
    assert_true(child_hear(&child, &byte, 1));
    child_kill(&child);
    assert_ok(stele_set(store, 8, record));
    assert_verifies(store);
    assert_ok(stele_close(store));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_SCRATCH(what_a_parent_has_open_ends_with_it_though_a_child_lives_on),
        IN_SCRATCH(a_child_opens_the_store_itself_and_either_sees_what_the_other_does),
    };

    return cmocka_run_group_tests_name("fork", tests, NULL, NULL) + system_tests();
}
