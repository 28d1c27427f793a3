/*
 * A store as a whole: made, opened, refused, closed; races of creators; what a child of fork may do with its
 * parent's handle.
 */
#include "scratch.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

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

static void permissions_are_those_asked_for_and_0600_by_default(void **state)
{
    static const struct { uint32_t asked, is; } cases[] = {
        { 0, 0600 }, { 0600, 0600 }, { 0644, 0644 }, { 0660, 0660 }, { 0400, 0400 }, { 0777, 0777 },
    };
    struct stele_schema *schema = schema_of_bytes(8);
    mode_t mask = umask(0);

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct stele_options options = options_for(schema, 0);
        struct stele *store;
        struct stat status;
        options.permissions = cases[i].asked;
        if (stele_create(scratch_path, &options, &store)) {
            assert_u64(cases[i].asked, 0400); /* may be refused to who is not root */
            continue;
        }
        assert_int_equal(stat(scratch_path, &status), 0);
        assert_u64(status.st_mode & 07777, cases[i].is);
        assert_ok(stele_close(store));
        assert_int_equal(unlink(scratch_path), 0);
    }
    umask(mask);
    stele_schema_free(schema);
}

/* As an ordinary user: who is root may do anything with a file of any mode. */
static void create_under_masks(void *context)
{
    static const mode_t masks[] = { 0777, 0700, 0200, 0400, 0077 };
    const struct stele_schema *schema = context;

    REQUIRE(geteuid() != 0 || (setgid(65534) == 0 && setuid(65534) == 0));
    for (size_t i = 0; i < COUNT_OF(masks); i++) {
        struct stele_options options = options_for(schema, 0);
        struct stele *store;
        struct stat status;
        umask(masks[i]);
        REQUIRE(stele_create(scratch_path, &options, &store) == STELE_OK);
        REQUIRE(stele_append(store, record, 1, NULL) == STELE_OK);
        REQUIRE(stele_close(store) == STELE_OK);
        REQUIRE(stat(scratch_path, &status) == 0 && (status.st_mode & 07777) == (0600 & ~masks[i]));
        REQUIRE(unlink(scratch_path) == 0);
    }
}

static void a_mask_that_takes_the_owner_s_rights_away_keeps_nobody_from_creating(void **state)
{
    struct stele_schema *schema = schema_of_bytes(8);

    assert_int_equal(chmod(scratch_folder, 0777), 0);
    assert_int_equal(exit_of_child(create_under_masks, schema), 0);
    stele_schema_free(schema);
}

static void what_is_there_already_is_never_overwritten(void **state)
{
    struct stele_schema *schema = schema_of_bytes(8);
    struct stele *store = NULL;
    char target[128];
    struct stele_options options = options_for(schema, 0);

    snprintf(target, sizeof(target), "%s", scratch_name("target"));
    for (unsigned kind = 0; kind < 7; kind++) {
        uint64_t print = 0;
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int descriptor = -1;
        switch (kind) {
        case 0: /* a store */
            assert_ok(stele_create(scratch_path, &options, &store));
            assert_ok(stele_close(store));
            break;
        case 1: /* some file */
            poke(scratch_path, 0, "hello", 5);
            break;
        case 2: /* an empty one */
            poke(scratch_path, 0, "", 0);
            break;
        case 3: /* a link to nowhere: the file behind it must not appear */
            assert_int_equal(symlink(target, scratch_path), 0);
            break;
        case 4:
            assert_int_equal(mkfifo(scratch_path, 0600), 0);
            break;
        case 5:
            assert_int_equal(mkdir(scratch_path, 0700), 0);
            break;
        default:
            descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
            snprintf(address.sun_path, sizeof(address.sun_path), "%s", scratch_path);
            assert_int_equal(bind(descriptor, (const struct sockaddr *)&address, sizeof(address)), 0);
        }
        if (kind < 3)
            print = print_of_file(scratch_path);
        store = (struct stele *)&store;
        assert_code(stele_create(scratch_path, &options, &store), STELE_E_EXISTS);
        assert_ptr_equal(store, &store); /* untouched */
        if (kind < 3)
            assert_u64(print_of_file(scratch_path), print);
        assert_int_equal(access(target, F_OK), -1);
        close(descriptor);
        assert_int_equal(remove(scratch_path), 0);
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
    assert_ok(stele_create(scratch_path, &options, &store));
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
    assert_int_equal(truncate(scratch_path, 0), 0);
    assert_code(stele_create(scratch_path, &options, &store), STELE_E_FORMAT);
    assert_int_equal(unlink(scratch_path), 0);
    assert_int_equal(mkdir(scratch_path, 0700), 0);
    assert_code(stele_create(scratch_path, &options, &store), STELE_E_FORMAT);
    assert_int_equal(rmdir(scratch_path), 0);
    assert_int_equal(mkfifo(scratch_path, 0600), 0);
    assert_code(stele_create(scratch_path, &options, &store), STELE_E_FORMAT);
    assert_code(stele_create(scratch_path, &plain, &store), STELE_E_EXISTS);
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
    assert_int_equal(mkdir(scratch_folder, 0700), 0);
    stele_schema_free(schema);
}

/* ---- two creators ---- */

struct racer {
    int go[2], out[2];
};

static void race(void *context)
{
    struct racer *racer = context;
    struct stele_schema *schema = schema_of_bytes(8);
    struct stele_options options = options_for(schema, STELE_CREATE);
    struct stele *store;
    char byte;

    options.lock_wait_ms = 20000;
    close(racer->go[1]);
    REQUIRE(read(racer->go[0], &byte, 1) == 0); /* both at once: the pipe is closed */
    REQUIRE(stele_open(scratch_path, &options, &store) == STELE_OK);
    struct stele_info info = STELE_INFO_INIT;
    REQUIRE(stele_info(store, &info) == STELE_OK);
    REQUIRE(stele_append(store, info.file_id, 1, NULL) == STELE_OK);
    REQUIRE(stele_close(store) == STELE_OK);
    stele_schema_free(schema);
    REQUIRE(write(racer->out[1], info.file_id, 16) == 16);
}

static void of_two_that_create_at_once_one_wins_and_the_other_opens_its_store(void **state)
{
    for (unsigned i = 0; i < scaled(200, 5); i++) {
        struct racer racer;
        uint8_t ids[2][16];
        pid_t children[2];
        assert_int_equal(pipe2(racer.go, O_CLOEXEC), 0);
        assert_int_equal(pipe2(racer.out, O_CLOEXEC), 0);
        fflush(NULL);
        for (unsigned k = 0; k < 2; k++) {
            children[k] = fork();
            if (children[k] == 0) {
                alarm(60);
                race(&racer);
                _exit(0);
            }
        }
        close(racer.go[0]);
        close(racer.go[1]);
        for (unsigned k = 0; k < 2; k++) {
            int status = -1;
            assert_int_equal(waitpid(children[k], &status, 0), children[k]);
            assert_int_equal(status, 0);
        }
        assert_int_equal(read(racer.out[0], ids, sizeof(ids)), sizeof(ids));
        close(racer.out[0]);
        close(racer.out[1]);
        assert_memory_equal(ids[0], ids[1], 16);
        struct stele *store = open_store(STELE_READ_ONLY);
        assert_store(store);
        assert_u64(stele_count(store), 2);
        assert_ok(stele_close(store));
        assert_int_equal(unlink(scratch_path), 0);
        assert_int_equal(rmdir(scratch_folder), 0); /* no temporary file either */
        assert_int_equal(mkdir(scratch_folder, 0700), 0);
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
        assert_int_equal(truncate(scratch_path, 10 * MIB), 0);
        assert_code(stele_open(scratch_path, options, &store), STELE_E_FORMAT);
        assert_int_equal(unlink(scratch_path), 0);
        assert_int_equal(mkdir(scratch_path, 0700), 0);
        assert_code(stele_open(scratch_path, options, &store), STELE_E_FORMAT);
        assert_says("directory");
        assert_int_equal(rmdir(scratch_path), 0);
        assert_int_equal(mkfifo(scratch_path, 0600), 0);
        assert_code(stele_open(scratch_path, options, &store), STELE_E_FORMAT);
        assert_says("FIFO");
        assert_int_equal(unlink(scratch_path), 0);
        assert_code(stele_open("/dev/null", options, &store), STELE_E_FORMAT);
        assert_says("device");
        assert_int_equal(symlink(scratch_path, scratch_path), 0);
        assert_true(stele_open(scratch_path, options, &store) < 0);
        assert_int_equal(unlink(scratch_path), 0);
    }
    assert_code(stele_open(NULL, NULL, &store), STELE_E_USAGE);
    assert_code(stele_open(scratch_path, NULL, NULL), STELE_E_USAGE);
    assert_ptr_equal(store, &record);
}

static void a_link_to_a_store_opens_it(void **state)
{
    struct stele *store = create_store(8, 10, 16 * KIB, 0), *linked;

    assert_store(store);
    assert_int_equal(symlink(scratch_path, scratch_name("link")), 0);
    assert_ok(stele_open(scratch_name("link"), NULL, &linked));
    assert_memory_equal(info_of(store).file_id, info_of(linked).file_id, 16);
    assert_ok(stele_close(linked));
    assert_ok(stele_close(store));
}

static void every_shorter_file_is_told_or_read_as_far_as_it_goes(void **state)
{
    struct stele *store = create_store(64, 1000, 16 * KIB, 0);
    static uint8_t records[1000 * 64];
    char cut[128];

    assert_store(store);
    assert_ok(stele_append(store, records, 1000, NULL));
    struct stele_info info = info_of(store);
    assert_ok(stele_close(store));
    snprintf(cut, sizeof(cut), "%s", scratch_path);
    uint64_t full = size_of_file(scratch_path);
    for (uint64_t bytes = full - 1; bytes > 0; bytes -= stele_min(bytes, bytes > 128 * KIB ? 99991 : 1021)) {
        struct stele_options writing = options_for(NULL, 0);
        assert_int_equal(truncate(scratch_path, (off_t)bytes), 0);
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
    assert_int_equal(unlink(scratch_path), 0);
    assert_code(stele_append(store, record, 1, NULL), STELE_E_STALE);
    assert_code(stele_set(store, 0, record), STELE_E_STALE);
    assert_ok(stele_get(store, 2, record)); /* what it had can be read */
    assert_ok(stele_close(store));
    assert_int_equal(access(scratch_path, F_OK), -1);
}

/* ---- forks ---- */

static struct stele *parents;
static struct stele_txn *parents_txn;
static struct stele_view parents_view;
static struct stele_cursor *parents_cursor;

static void use_the_parent_s_handle(void *context)
{
    struct stele_info info = STELE_INFO_INIT;
    struct stele_verify_report report = STELE_VERIFY_REPORT_INIT;
    struct stele_view view;
    struct stele_cursor *cursor;
    struct stele_txn *txn;
    const void *batch;
    size_t n;

    REQUIRE(stele_get(parents, 0, record) == STELE_E_USAGE);
    REQUIRE(strstr(stele_last_error()->text, "fork") != NULL);
    REQUIRE(stele_read(parents, 0, 1, record) == STELE_E_USAGE);
    REQUIRE(stele_set(parents, 0, record) == STELE_E_USAGE);
    REQUIRE(stele_append(parents, record, 1, NULL) == STELE_E_USAGE);
    REQUIRE(stele_set_count(parents, 0) == STELE_E_USAGE);
    REQUIRE(stele_reserve(parents, 99) == STELE_E_USAGE);
    REQUIRE(stele_begin(parents, &txn) == STELE_E_USAGE);
    REQUIRE(stele_checkpoint(parents) == STELE_E_USAGE);
    REQUIRE(stele_sync(parents) == STELE_E_USAGE);
    REQUIRE(stele_verify(parents, NULL, &report) == STELE_E_USAGE);
    REQUIRE(stele_info(parents, &info) == STELE_E_USAGE);
    REQUIRE(stele_view_open(parents, 0, 1, &view) == STELE_E_USAGE);
    REQUIRE(stele_cursor_open(parents, 0, 1, &cursor) == STELE_E_USAGE);
    REQUIRE(stele_outcome(parents, 1) == STELE_E_USAGE);
    REQUIRE(stele_count(parents) == 0);
    REQUIRE(stele_view_changed(&parents_view) == STELE_E_USAGE);
    REQUIRE(stele_view_copy(&parents_view, 0, 1, record) == STELE_E_USAGE);
    REQUIRE(stele_cursor_next(parents_cursor, &batch, &n) == STELE_E_USAGE);
    REQUIRE(stele_commit(parents_txn, STELE_DURABLE, NULL) == STELE_E_USAGE);
    stele_view_close(&parents_view);
    stele_cursor_close(parents_cursor);
    REQUIRE(stele_close(parents) == STELE_OK);
    /* A handle of its own: to write it would have to wait for the parent's transaction. */
    struct stele *own = open_store(STELE_READ_ONLY);
    REQUIRE(own);
    REQUIRE(stele_get(own, 0, record) == STELE_OK);
    REQUIRE(stele_count(own) == 8);
    REQUIRE(stele_close(own) == STELE_OK);
    REQUIRE(open_store(STELE_READ_WRITE) == NULL);
    REQUIRE(stele_last_error()->code == STELE_E_BUSY);
}

static void abort_the_parent_s_transaction(void *context)
{
    stele_abort(parents_txn);
    REQUIRE(stele_close(parents) != 1);
}

static void a_child_can_do_nothing_with_its_parent_s_handle_and_disturbs_nobody(void **state)
{
    uint8_t value[8] = { 42 }, back[8];

    parents = create_store(8, 10, 16 * KIB, 0);
    assert_store(parents);
    assert_ok(stele_append(parents, record, 8, NULL));
    struct stele *other = open_store(STELE_READ_WRITE);
    assert_store(other);
    assert_ok(stele_view_open(parents, 0, 8, &parents_view));
    assert_ok(stele_cursor_open(parents, 0, UINT64_MAX, &parents_cursor));
    assert_ok(stele_begin(parents, &parents_txn));
    assert_ok(stele_txn_set(parents_txn, 3, value));
    assert_int_equal(exit_of_child(use_the_parent_s_handle, NULL), 0);
    assert_int_equal(exit_of_child(abort_the_parent_s_transaction, NULL), 0);
    /* The turn is still the parent's. */
    assert_code(stele_set(other, 0, record), STELE_E_BUSY);
    assert_ok(stele_commit(parents_txn, STELE_DURABLE, NULL));
    assert_ok(stele_set(other, 0, record));
    assert_ok(stele_get(parents, 3, back));
    assert_memory_equal(back, value, 8);
    assert_int_equal(stele_view_changed(&parents_view), 1);
    stele_view_close(&parents_view);
    stele_cursor_close(parents_cursor);
    assert_verifies(parents);
    assert_ok(stele_close(other));
    assert_ok(stele_close(parents));
}

/* A daemon: closes what it inherited, opens files of its own, which get the numbers and the addresses. */
static void close_all_and_begin_anew(void *context)
{
    enum { FILES = 40, MAPS = 40 };
    int files[FILES];
    uint8_t *maps[MAPS];

    for (int descriptor = 3; descriptor < 200; descriptor++)
        close(descriptor);
    for (int i = 0; i < FILES; i++) {
        files[i] = open("/dev/null", O_RDWR | O_CLOEXEC);
        REQUIRE(files[i] >= 0);
    }
    for (int i = 0; i < MAPS; i++) {
        maps[i] = mmap(NULL, 4 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        REQUIRE(maps[i] != MAP_FAILED);
        maps[i][0] = maps[i][4 * MIB - 1] = 7;
    }
    REQUIRE(stele_close(parents) == STELE_OK);
    for (int i = 0; i < FILES; i++)
        REQUIRE(fcntl(files[i], F_GETFD) >= 0);
    for (int i = 0; i < MAPS; i++)
        REQUIRE(maps[i][0] == 7 && maps[i][4 * MIB - 1] == 7);
}

static void a_close_in_the_child_takes_no_file_or_memory_that_is_not_the_handle_s(void **state)
{
    parents = create_store(8, 10, 16 * KIB, 0);
    assert_store(parents);
    assert_ok(stele_append(parents, record, 8, NULL));
    assert_ok(stele_get(parents, 0, record)); /* a window is mapped */
    assert_int_equal(exit_of_child(close_all_and_begin_anew, NULL), 0);
    assert_ok(stele_set(parents, 0, record));
    assert_verifies(parents);
    assert_ok(stele_close(parents));
}

/* ---- descriptors ---- */

static void open_with_nothing_below_three(void *context)
{
    int report = fcntl(2, F_DUPFD_CLOEXEC, 50);
    close(0);
    close(1);
    close(2);
    struct stele *store = open_store(STELE_READ_WRITE);
    bool is_good = store && fcntl(0, F_GETFD) < 0 && fcntl(1, F_GETFD) < 0 && fcntl(2, F_GETFD) < 0;
    for (int descriptor = 3; descriptor < 100; descriptor++) {
        int flags = fcntl(descriptor, F_GETFD);
        char link[64], target[256] = { 0 };
        snprintf(link, sizeof(link), "/proc/self/fd/%d", descriptor);
        if (flags >= 0 && readlink(link, target, sizeof(target) - 1) > 0 && strstr(target, "a.stele"))
            is_good = is_good && (flags & FD_CLOEXEC);
    }
    if (is_good)
        is_good = stele_close(store) == STELE_OK;
    if (!is_good)
        dprintf(report, "store %p: %s\n", (void *)store, stele_last_error()->text);
    _exit(is_good ? 0 : 3);
}

static void descriptors_are_above_two_and_close_on_exec(void **state)
{
    struct stele *store = create_store(8, 10, 16 * KIB, 0);

    assert_store(store);
    assert_ok(stele_close(store));
    assert_int_equal(exit_of_child(open_with_nothing_below_three, NULL), 0);
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
        IN_SCRATCH(permissions_are_those_asked_for_and_0600_by_default),
        IN_SCRATCH(a_mask_that_takes_the_owner_s_rights_away_keeps_nobody_from_creating),
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
        IN_SCRATCH(a_child_can_do_nothing_with_its_parent_s_handle_and_disturbs_nobody),
        IN_SCRATCH(a_close_in_the_child_takes_no_file_or_memory_that_is_not_the_handle_s),
        IN_SCRATCH(descriptors_are_above_two_and_close_on_exec),
        IN_SCRATCH(a_writer_that_died_is_recovered_and_its_commits_are_all_there),
    };

    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
