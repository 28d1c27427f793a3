/* A store as a whole: made, opened, refused, closed; races of creators. */
#include "scratch.h"

static uint8_t record[64];

static struct stele_options options_for(const struct stele_schema *schema, uint32_t flags)
{
    struct stele_options options = STELE_OPTIONS_INIT;

    options.schema = schema;
    options.flags = flags;
    options.mode = STELE_READ_WRITE;
    options.journal_bytes = 16 * KIB;
    options.lock_wait_ms = 200;
    return options;
}

/* ---- creating ---- */

static void a_new_store_is_what_was_asked_for(void **state)
{
    struct stele_schema *schema = schema_of_bytes(24);
    struct stele_options options = options_for(schema, 0);
    struct stele *store;

    options.capacity_records = 1000;
    assert_ok(stele_create(scratch_path, &options, &store));
    struct stele_info info = info_of(store);
    assert_u64(info.struct_bytes, sizeof(info));
    assert_u64(info.format_version, 1);
    assert_u64(info.state, STELE_STATE_IDLE);
    assert_u64(info.record_bytes, 24);
    assert_u64(info.records_per_block, 128);
    assert_u64(info.records_per_cell, 8);
    assert_u64(info.capacity, 1000);
    assert_u64(info.count, 0);
    assert_u64(info.journal_bytes, 16 * KIB);
    assert_u64(info.records_offset, 4 * MIB);
    assert_u64(info.sums_bytes, 64);
    assert_u64(info.file_bytes, size_of_file(scratch_path));
    assert_u64(info.sparse, 0);
    assert_false(stele_is_zero(info.file_id, 16));
    assert_true(stele_is_zero(info.origin_file_id, 16));
    assert_u64(info.writer_pid, (uint64_t)getpid());
    assert_ok(stele_schema_check(stele_schema_of(store), schema));
    assert_u64(stele_count(store), 0);
    assert_code(stele_get(store, 0, record), STELE_E_RANGE);
    assert_verifies(store);
    assert_ok(stele_close(store));
    store = open_store(STELE_READ_ONLY);
    assert_store(store);
    assert_u64(info_of(store).state, STELE_STATE_CLOSED);
    assert_u64(info_of(store).clean, 1);
    assert_ok(stele_close(store));
    stele_schema_free(schema);
}

enum thing { A_STORE, SOME_FILE, AN_EMPTY_FILE, A_LINK_TO_NOWHERE, A_FIFO, A_FOLDER, A_SOCKET, THINGS };

/* False: the system has no such thing. */
static bool put_in_the_way(enum thing thing, const struct stele_options *options)
{
    struct stele *store;

    switch (thing) {
    case A_STORE:
        assert_ok(stele_create(scratch_path, options, &store));
        assert_ok(stele_close(store));
        return true;
    case SOME_FILE:
        poke(scratch_path, 0, "hello", 5);
        return true;
    case AN_EMPTY_FILE:
        poke(scratch_path, 0, "", 0);
        return true;
    case A_LINK_TO_NOWHERE: /* the file behind it must not appear */
        return system_add_link(scratch_name("target"), scratch_path);
    case A_FIFO:
        return system_add_fifo(scratch_path);
    case A_FOLDER:
        return system_add_folder(scratch_path);
    default:
        return system_add_socket(scratch_path);
    }
}

static void what_is_there_already_is_never_overwritten(void **state)
{
    struct stele_schema *schema = schema_of_bytes(8);
    struct stele *store = NULL;
    struct stele_options options = options_for(schema, 0);

    for (enum thing thing = A_STORE; thing < THINGS; thing++) {
        bool is_regular = thing <= AN_EMPTY_FILE;
        if (!put_in_the_way(thing, &options))
            continue;
        uint64_t print = is_regular ? print_of_file(scratch_path) : 0;
        store = (struct stele *)&store;
        assert_code(stele_create(scratch_path, &options, &store), STELE_E_EXISTS);
        assert_ptr_equal(store, &store); /* untouched */
        if (is_regular)
            assert_u64(print_of_file(scratch_path), print);
        assert_int_equal(access(scratch_name("target"), F_OK), -1);
        assert_int_equal(thing == A_FOLDER ? rmdir(scratch_path) : remove(scratch_path), 0);
    }
    stele_schema_free(schema);
}

/* The first: nothing is allocated to find out. The second: nor is the disk filled up. */
static void what_cannot_be_made_is_refused_before_any_work(void **state)
{
    struct stele_schema *schema = schema_of_bytes(4096);
    struct stele_options options = options_for(schema, 0);
    struct stele *store;

    options.capacity_records = UINT64_C(1) << 40; /* 4 PiB */
    assert_code(stele_create(scratch_path, &options, &store), STELE_E_FULL);
    assert_non_null(strstr(stele_last_error()->text, "bytes are needed"));
    assert_int_equal(access(scratch_path, F_OK), -1);
    poke(scratch_path, 0, "x", 1);
    assert_code(stele_create(scratch_path, &options, &store), STELE_E_EXISTS);
    assert_u64(size_of_file(scratch_path), 1);
    stele_schema_free(schema);
}

static void force_replaces_a_store_but_no_other_file(void **state)
{
    struct stele_schema *schema = schema_of_bytes(8);
    struct stele_options options = options_for(schema, STELE_FORCE), plain = options_for(schema, 0);
    struct stele *store = NULL, *second = NULL;
    uint8_t id[16], junk[100];

    /* Nothing there: as without. */
    assert_ok(stele_create(scratch_path, &options, &store));
    assert_ok(stele_append(store, record, 1, NULL));
    memcpy(id, info_of(store).file_id, 16);
    /* In use: not replaced. */
    assert_code(stele_create(scratch_path, &options, &second), STELE_E_BUSY);
    assert_ok(stele_set(store, 0, record));
    assert_ok(stele_close(store));
    /* A reader may have it open: it finds out. */
    struct stele *reader = open_store(STELE_READ_ONLY);
    assert_store(reader);
    int rc = stele_create(scratch_path, &options, &store);
    if (rc) {
        /* Or the system replaces nothing that is mapped: then the reader is in the way. */
        assert_true(stele_os_needs_views() && rc == STELE_E_BUSY);
        assert_ok(stele_get(reader, 0, record));
        assert_ok(stele_close(reader));
        reader = NULL;
        assert_ok(stele_create(scratch_path, &options, &store));
    }
    assert_u64(stele_count(store), 0);
    assert_true(memcmp(id, info_of(store).file_id, 16) != 0);
    assert_verifies(store);
    assert_ok(stele_close(store));
    assert_ok(stele_close(reader));
    /* A damaged store is one. */
    memset(junk, 0xff, sizeof(junk));
    poke(scratch_path, 100, junk, sizeof(junk));
    poke(scratch_path, 4196, junk, sizeof(junk));
    assert_code(stele_open(scratch_path, NULL, &store), STELE_E_DAMAGED);
    assert_ok(stele_create(scratch_path, &options, &store));
    assert_ok(stele_close(store));
    /* Other files are not. */
    assert_int_equal(unlink(scratch_path), 0);
    poke(scratch_path, 0, "precious data of another program", 32);
    uint64_t print = print_of_file(scratch_path);
    assert_code(stele_create(scratch_path, &options, &store), STELE_E_FORMAT);
    assert_u64(print_of_file(scratch_path), print);
    set_size_of_file(scratch_path, 0);
    assert_code(stele_create(scratch_path, &options, &store), STELE_E_FORMAT);
    assert_int_equal(unlink(scratch_path), 0);
    assert_true(system_add_folder(scratch_path));
    assert_code(stele_create(scratch_path, &options, &store), STELE_E_FORMAT);
    assert_int_equal(rmdir(scratch_path), 0);
    if (system_add_fifo(scratch_path)) {
        assert_code(stele_create(scratch_path, &options, &store), STELE_E_FORMAT);
        assert_code(stele_create(scratch_path, &plain, &store), STELE_E_EXISTS);
    }
    stele_schema_free(schema);
}

static void bad_requests_are_refused_and_leave_nothing_behind(void **state)
{
    struct stele_schema *schema = schema_of_bytes(100000);
    struct stele *store = (struct stele *)&schema;
    struct stele_options options = options_for(schema, 0);

    assert_code(stele_create(NULL, &options, &store), STELE_E_USAGE);
    assert_code(stele_create(scratch_path, &options, NULL), STELE_E_USAGE);
    assert_code(stele_create(scratch_path, NULL, &store), STELE_E_USAGE);
    assert_code(stele_create(scratch_path, &options, &store), STELE_E_TOO_BIG); /* ring of 16 KiB */
    assert_says("at least");
    options.journal_bytes = 16 * KIB + 1;
    assert_code(stele_create(scratch_path, &options, &store), STELE_E_RANGE);
    options.journal_bytes = 0;
    assert_code(stele_create("", &options, &store), STELE_E_USAGE);
    options.capacity_records = (UINT64_C(1) << 48) + 1;
    assert_code(stele_create(scratch_path, &options, &store), STELE_E_RANGE);
    options.capacity_records = UINT64_C(1) << 48; /* beyond 2^61 bytes */
    assert_code(stele_create(scratch_path, &options, &store), STELE_E_RANGE);
    options.capacity_records = 0;
    options.flags = 2;
    assert_code(stele_create(scratch_path, &options, &store), STELE_E_USAGE);
    options.flags = 0;
    assert_code(stele_create(scratch_name("no/such/a.stele"), &options, &store), STELE_E_ABSENT);
    assert_ptr_equal(store, &schema);
    assert_int_equal(rmdir(scratch_folder), 0); /* nothing in it */
    assert_true(system_add_folder(scratch_folder));
    stele_schema_free(schema);
}

/* ---- two creators ---- */

static void race(void *context)
{
    struct stele_schema *schema = schema_of_bytes(8);
    struct stele_options options = options_for(schema, STELE_CREATE);
    struct stele_info info = STELE_INFO_INIT;
    struct stele *store;
    char go;

    options.lock_wait_ms = 20000;
    REQUIRE(parent_hear(&go, 1));
    REQUIRE(stele_open(scratch_path, &options, &store) == STELE_OK);
    REQUIRE(stele_info(store, &info) == STELE_OK);
    REQUIRE(stele_append(store, info.file_id, 1, NULL) == STELE_OK);
    REQUIRE(stele_close(store) == STELE_OK);
    stele_schema_free(schema);
    parent_tell(info.file_id, 16);
}

static void of_two_that_create_at_once_one_wins_and_the_other_opens_its_store(void **state)
{
    for (unsigned i = 0; i < scaled(200, 5); i++) {
        struct child children[2];
        uint8_t ids[2][16];
        for (unsigned k = 0; k < 2; k++)
            children[k] = child_start(race, NULL);
        for (unsigned k = 0; k < 2; k++)
            child_tell(&children[k], "x", 1);
        for (unsigned k = 0; k < 2; k++) {
            assert_true(child_hear(&children[k], ids[k], 16));
            assert_int_equal(child_end(&children[k]), 0);
        }
        assert_memory_equal(ids[0], ids[1], 16);
        struct stele *store = open_store(STELE_READ_ONLY);
        assert_store(store);
        assert_u64(stele_count(store), 2);
        assert_ok(stele_close(store));
        assert_int_equal(unlink(scratch_path), 0);
        assert_int_equal(rmdir(scratch_folder), 0); /* no temporary file either */
        assert_true(system_add_folder(scratch_folder));
    }
}

/* ---- opening ---- */

static void what_is_no_store_is_told_from_what_is_not_there(void **state)
{
    struct stele *store = (struct stele *)&record;
    struct stele_options writing = options_for(NULL, 0);

    for (unsigned mode = 0; mode < 2; mode++) {
        const struct stele_options *options = mode ? &writing : NULL;
        assert_code(stele_open(scratch_path, options, &store), STELE_E_ABSENT);
        poke(scratch_path, 0, "", 0);
        assert_code(stele_open(scratch_path, options, &store), STELE_E_FORMAT);
        assert_says("empty");
        poke(scratch_path, 0, "text", 4);
        assert_code(stele_open(scratch_path, options, &store), STELE_E_FORMAT);
        set_size_of_file(scratch_path, 10 * MIB);
        assert_code(stele_open(scratch_path, options, &store), STELE_E_FORMAT);
        assert_int_equal(unlink(scratch_path), 0);
        assert_true(system_add_folder(scratch_path));
        assert_code(stele_open(scratch_path, options, &store), STELE_E_FORMAT);
        assert_says("directory");
        assert_int_equal(rmdir(scratch_path), 0);
        if (system_add_fifo(scratch_path)) {
            assert_code(stele_open(scratch_path, options, &store), STELE_E_FORMAT);
            assert_says("FIFO");
            assert_int_equal(unlink(scratch_path), 0);
        }
        assert_code(stele_open(system_device(), options, &store), STELE_E_FORMAT);
        assert_says("device");
        if (system_add_link(scratch_path, scratch_path)) {
            assert_true(stele_open(scratch_path, options, &store) < 0);
            assert_int_equal(unlink(scratch_path), 0);
        }
    }
    assert_code(stele_open(NULL, NULL, &store), STELE_E_USAGE);
    assert_code(stele_open(scratch_path, NULL, NULL), STELE_E_USAGE);
    assert_ptr_equal(store, &record);
}

static void a_link_to_a_store_opens_it(void **state)
{
    struct stele *store = create_store(8, 10, 16 * KIB, 0), *linked;

    assert_store(store);
    if (!system_add_link(scratch_path, scratch_name("link"))) {
        assert_ok(stele_close(store));
        print_message("this system makes no symbolic links, or not for this user\n");
        skip();
    }
    assert_ok(stele_open(scratch_name("link"), NULL, &linked));
    assert_memory_equal(info_of(store).file_id, info_of(linked).file_id, 16);
    assert_ok(stele_close(linked));
    assert_ok(stele_close(store));
}

static void every_shorter_file_is_told_or_read_as_far_as_it_goes(void **state)
{
    struct stele *store = create_store(64, 1000, 16 * KIB, 0);
    static uint8_t records[1000 * 64];

    assert_store(store);
    assert_ok(stele_append(store, records, 1000, NULL));
    struct stele_info info = info_of(store);
    assert_ok(stele_close(store));
    uint64_t full = size_of_file(scratch_path);
    for (uint64_t bytes = full - 1; bytes > 0; bytes -= stele_min(bytes, bytes > 128 * KIB ? 99991 : 1021)) {
        struct stele_options writing = options_for(NULL, 0);
        set_size_of_file(scratch_path, bytes);
        int rc = stele_open(scratch_path, NULL, &store);
        if (rc == STELE_OK) {
            struct stele_verify_report report = STELE_VERIFY_REPORT_INIT;
            assert_true(bytes >= info.records_offset);
            /* Behind the sums nothing is missed. */
            bool is_whole = bytes >= info.sums_offset + info.sums_bytes;
            assert_code(stele_verify(store, NULL, &report), is_whole ? STELE_OK : STELE_E_DAMAGED);
            uint64_t readable = (bytes - info.records_offset) / 64 / 64 * 64; /* whole pages */
            if (readable && readable <= 1000)
                assert_ok(stele_get(store, 0, record));
            if (bytes < info.records_offset + 60000)
                assert_code(stele_get(store, 999, record), STELE_E_TRUNCATED);
            assert_ok(stele_close(store));
        } else {
            assert_true(rc == STELE_E_TRUNCATED || rc == STELE_E_DAMAGED || rc == STELE_E_FORMAT);
            assert_true(bytes < info.records_offset);
        }
        rc = stele_open(scratch_path, &writing, &store);
        assert_true(rc == STELE_E_TRUNCATED || rc == STELE_E_DAMAGED || rc == STELE_E_FORMAT);
        assert_u64(size_of_file(scratch_path), bytes);
    }
}

static void a_program_with_another_struct_is_told_the_first_field_that_differs(void **state)
{
    const struct stele_field ours[] = {
        { .name = "id", .type = STELE_U64 }, { .name = "age", .type = STELE_U16, .offset = 8 },
        { .name = "name", .type = STELE_TEXT, .bytes = 6, .offset = 10 },
    };
    struct stele_field theirs[3];
    struct stele_schema *schema;
    struct stele_options options;
    struct stele *store;

    assert_ok(stele_schema_new("Member", 16, ours, 3, &schema));
    options = options_for(schema, 0);
    assert_ok(stele_create(scratch_path, &options, &store));
    assert_ok(stele_close(store));
    assert_ok(stele_open(scratch_path, &options, &store));
    assert_ok(stele_close(store));
    stele_schema_free(schema);
    for (unsigned mode = 0; mode < 2; mode++) {
        memcpy(theirs, ours, sizeof(ours));
        theirs[1].type = STELE_I16;
        assert_ok(stele_schema_new("Member", 16, theirs, 3, &schema));
        options = options_for(schema, 0);
        options.mode = mode;
        assert_code(stele_open(scratch_path, &options, &store), STELE_E_SCHEMA);
        assert_says("age");
        assert_says("u16");
        assert_says("i16");
        assert_says(scratch_path);
        stele_schema_free(schema);
    }
}

static void callers_with_smaller_structs_are_served(void **state)
{
    struct stele *store = create_store(8, 10, 16 * KIB, 0);

    assert_store(store);
    assert_ok(stele_append(store, record, 1, NULL));
    struct stele_info full = info_of(store);
    for (uint32_t bytes = 4; bytes <= sizeof(full) + 64; bytes += 4) {
        uint8_t *theirs = malloc(bytes + 1);
        memset(theirs, 0xee, bytes + 1);
        memcpy(theirs, &bytes, 4);
        assert_ok(stele_info(store, (void *)theirs));
        size_t common = bytes < sizeof(full) ? bytes : sizeof(full);
        assert_memory_equal(theirs + 4, (uint8_t *)&full + 4, common - 4);
        assert_true(bytes <= sizeof(full) || stele_is_zero(theirs + sizeof(full), bytes - sizeof(full)));
        assert_u64(theirs[bytes], 0xee);
        free(theirs);
    }
    full.struct_bytes = 0;
    assert_code(stele_info(store, &full), STELE_E_USAGE);
    assert_code(stele_info(store, NULL), STELE_E_USAGE);
    assert_code(stele_info(NULL, &full), STELE_E_USAGE);
    assert_ok(stele_close(store));
}

static void a_read_only_handle_refuses_every_write(void **state)
{
    struct stele *store = create_store(8, 10, 16 * KIB, 0);
    struct stele_txn *txn;
    uint64_t index = 0;

    assert_store(store);
    assert_ok(stele_append(store, record, 2, NULL));
    assert_ok(stele_close(store));
    uint64_t print = print_of_file(scratch_path);
    store = open_store(STELE_READ_ONLY);
    assert_store(store);
    assert_code(stele_append(store, record, 1, NULL), STELE_E_READONLY);
    assert_code(stele_set(store, 0, record), STELE_E_READONLY);
    assert_code(stele_set_many(store, &index, 1, record), STELE_E_READONLY);
    assert_code(stele_set_count(store, 0), STELE_E_READONLY);
    assert_code(stele_reserve(store, 1000), STELE_E_READONLY);
    assert_code(stele_begin(store, &txn), STELE_E_READONLY);
    assert_code(stele_checkpoint(store), STELE_E_READONLY);
    assert_code(stele_sync(store), STELE_E_READONLY);
    assert_u64(stele_count(store), 2);
    assert_verifies(store);
    assert_ok(stele_close(store));
    assert_u64(print_of_file(scratch_path), print);
}

static void two_handles_of_one_process_take_turns(void **state)
{
    struct stele *a = create_store(8, 10, 16 * KIB, 0), *b = open_store(STELE_READ_WRITE);
    struct stele *reader = open_store(STELE_READ_ONLY);
    struct stele_txn *txn;

    assert_store(a);
    assert_store(b);
    assert_store(reader);
    for (uint64_t i = 0; i < 300; i++) {
        uint64_t first = 99;
        assert_ok(stele_append(i % 3 ? a : b, &i, 1, &first));
        assert_u64(first, i);
        uint64_t value = 99;
        assert_ok(stele_get(i % 2 ? reader : i % 3 ? b : a, i, &value));
        assert_u64(value, i);
    }
    assert_ok(stele_begin(a, &txn));
    assert_code(stele_set(b, 0, record), STELE_E_BUSY);
    stele_abort(txn);
    assert_ok(stele_set(b, 0, record));
    assert_ok(stele_close(a));
    assert_ok(stele_set(b, 1, record));
    assert_ok(stele_close(b));
    assert_u64(stele_count(reader), 300);
    assert_verifies(reader);
    assert_ok(stele_close(reader));
}

/* ---- closing ---- */

static void close_refuses_while_something_is_open_and_frees_nothing(void **state)
{
    struct stele *store = create_store(8, 10, 16 * KIB, 0);
    struct stele_txn *txn;
    struct stele_view view, second;
    struct stele_cursor *cursor;

    assert_store(store);
    assert_ok(stele_append(store, record, 8, NULL));
    assert_ok(stele_begin(store, &txn));
    assert_code(stele_close(store), STELE_E_USAGE);
    assert_ok(stele_txn_set(txn, 0, record));
    assert_ok(stele_commit(txn, STELE_DURABLE, NULL));
    assert_ok(stele_view_open(store, 0, 8, &view));
    assert_ok(stele_view_open(store, 0, 0, &second));
    assert_code(stele_close(store), STELE_E_USAGE);
    assert_ok(stele_view_copy(&view, 0, 8, record));
    stele_view_close(&view);
    assert_code(stele_close(store), STELE_E_USAGE);
    stele_view_close(&second);
    assert_ok(stele_cursor_open(store, 0, UINT64_MAX, &cursor));
    assert_code(stele_close(store), STELE_E_USAGE);
    assert_says("open");
    stele_cursor_close(cursor);
    stele_cursor_close(NULL);
    assert_ok(stele_close(store));
    assert_ok(stele_close(NULL));
}

static void the_last_one_to_close_leaves_an_empty_journal(void **state)
{
    struct stele *a = create_store(8, 10, 16 * KIB, 0), *b = open_store(STELE_READ_WRITE), *reader;

    assert_store(a);
    assert_store(b);
    assert_ok(stele_append(a, record, 3, NULL));
    assert_ok(stele_close(a));
    assert_u64(info_of(b).journal_entry_count, 1);
    assert_u64(info_of(b).clean, 0);
    assert_ok(stele_close(b));
    reader = open_store(STELE_READ_ONLY);
    assert_store(reader);
    assert_u64(info_of(reader).journal_entry_count, 0);
    assert_u64(info_of(reader).clean, 1);
    assert_u64(info_of(reader).opened_entries_replayed, 0);
    assert_ok(stele_close(reader));
}

static void removed_and_replaced_files_are_stale_for_who_writes(void **state)
{
    struct stele *store = create_store(8, 10, 16 * KIB, 0);

    assert_store(store);
    assert_ok(stele_append(store, record, 3, NULL));
    if (unlink(scratch_path) == 0) {
        if (system_is_wine()) {
            assert_ok(stele_close(store));
            print_message("Wine tells nobody that a file loses its name when the last one closes it\n");
            skip();
        }
        assert_code(stele_append(store, record, 1, NULL), STELE_E_STALE);
        assert_code(stele_set(store, 0, record), STELE_E_STALE);
    } else {
        /* A system that removes nothing that is mapped. */
        assert_true(stele_os_needs_views());
        assert_ok(stele_append(store, record, 1, NULL));
        assert_int_equal(access(scratch_path, F_OK), 0);
    }
    assert_ok(stele_get(store, 2, record)); /* what it had can be read */
    assert_ok(stele_close(store));
    (void)unlink(scratch_path);
    assert_int_equal(access(scratch_path, F_OK), -1);
}

/* ---- killed ---- */

static void write_and_die(void *context)
{
    struct stele *store = open_store(STELE_READ_WRITE);

    REQUIRE(store);
    for (uint64_t i = 0; i < 20; i++)
        REQUIRE(stele_set(store, i % 8, &i) == STELE_OK);
    _exit(7);
}

static void a_writer_that_died_is_recovered_and_its_commits_are_all_there(void **state)
{
    struct stele *store = create_store(8, 10, 64 * KIB, 0);
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele_recovery recovery = STELE_RECOVERY_INIT;
    uint64_t value = 0;

    assert_store(store);
    assert_ok(stele_append(store, record, 8, NULL));
    assert_ok(stele_close(store));
    assert_int_equal(exit_of_child(write_and_die, NULL), 7);
    uint64_t print = print_of_file(scratch_path);
    store = open_store(STELE_READ_ONLY);
    assert_store(store);
    assert_true(info_of(store).opened_entries_replayed > 0);
    assert_ok(stele_get(store, 3, &value));
    assert_u64(value, 19);
    assert_verifies(store);
    assert_ok(stele_close(store));
    assert_u64(print_of_file(scratch_path), print); /* reading writes nothing */
    assert_ok(stele_recover(scratch_path, &options, &recovery));
    assert_u64(recovery.kind, STELE_RECOVERY_REPLAY);
    assert_true(recovery.entry_count > 0);
    assert_u64(recovery.count, 8);
    /* No number is given out twice, whatever was lost behind what is known. */
    assert_u64(recovery.first_new, recovery.last_kept + (UINT64_C(1) << 32) + 1);
    assert_u64(recovery.damaged_count, 0);
    assert_u64(recovery.lost_first, 0);
    assert_ok(stele_recover(scratch_path, &options, &recovery));
    assert_u64(recovery.kind, STELE_RECOVERY_NONE);
    store = open_store(STELE_READ_ONLY);
    assert_store(store);
    assert_ok(stele_get(store, 2, &value));
    assert_u64(value, 18);
    assert_verifies(store);
    assert_ok(stele_close(store));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_SCRATCH(a_new_store_is_what_was_asked_for),
        IN_SCRATCH(what_is_there_already_is_never_overwritten),
        IN_SCRATCH(what_cannot_be_made_is_refused_before_any_work),
        IN_SCRATCH(force_replaces_a_store_but_no_other_file),
        IN_SCRATCH(bad_requests_are_refused_and_leave_nothing_behind),
        IN_FAST_SCRATCH(of_two_that_create_at_once_one_wins_and_the_other_opens_its_store),
        IN_SCRATCH(what_is_no_store_is_told_from_what_is_not_there),
        IN_SCRATCH(a_link_to_a_store_opens_it),
        IN_FAST_SCRATCH(every_shorter_file_is_told_or_read_as_far_as_it_goes),
        IN_SCRATCH(a_program_with_another_struct_is_told_the_first_field_that_differs),
        IN_SCRATCH(callers_with_smaller_structs_are_served),
        IN_SCRATCH(a_read_only_handle_refuses_every_write),
        IN_FAST_SCRATCH(two_handles_of_one_process_take_turns),
        IN_SCRATCH(close_refuses_while_something_is_open_and_frees_nothing),
        IN_SCRATCH(the_last_one_to_close_leaves_an_empty_journal),
        IN_SCRATCH(removed_and_replaced_files_are_stale_for_who_writes),
        IN_SCRATCH(a_writer_that_died_is_recovered_and_its_commits_are_all_there),
    };

    return cmocka_run_group_tests_name("store", tests, NULL, NULL) + system_tests();
}
