/*
 * Out of memory, and out of addresses: in each public call each allocation and each map fails, once and from there on.
 * The call says so, keeps nothing that it took, changes nothing, and does its work when it is asked again.
 *
 * malloc and its kin, and the maps of os.h, have others in their place, which count, fail, and keep a balance.
 */
#include "deeds.h"
#include "fault.h"
#include "window_pool.h"
#include "wrap.h"

/* ---- the system ---- */

enum { MEMORY, MAPS };

static int failing;
static long balance; /* of allocations and maps taken and given back */

static bool is_refused(int kind)
{
    return failing == kind && fault_is_now();
}

WRAPPED(void *, malloc, size_t bytes)
{
    void *out = is_refused(MEMORY) ? NULL : REAL(malloc)(bytes);

    balance += out != NULL;
    return out;
}

WRAPPED(void *, calloc, size_t count, size_t bytes)
{
    void *out = is_refused(MEMORY) ? NULL : REAL(calloc)(count, bytes);

    balance += out != NULL;
    return out;
}

WRAPPED(void *, realloc, void *old, size_t bytes)
{
    void *out = is_refused(MEMORY) ? NULL : REAL(realloc)(old, bytes);

    balance += out != NULL && old == NULL;
    return out;
}

WRAPPED(char *, strdup, const char *text)
{
    char *out = is_refused(MEMORY) ? NULL : REAL(strdup)(text);

    balance += out != NULL;
    return out;
}

WRAPPED(void, free, void *memory)
{
    balance -= memory != NULL;
    REAL(free)(memory);
}

WRAPPED(int, stele_os_map, const struct stele_os_file *file, uint64_t offset, size_t byte_count, bool is_writable,
        bool is_random, void **out)
{
    int rc = is_refused(MAPS) ? stele_fail(STELE_E_FULL, "no address space, says the test")
                              : REAL(stele_os_map)(file, offset, byte_count, is_writable, is_random, out);

    balance += rc == STELE_OK;
    return rc;
}

WRAPPED(void, stele_os_unmap, void *address, size_t byte_count)
{
    balance -= address != NULL;
    REAL(stele_os_unmap)(address, byte_count);
}

/* ---- the calls ---- */

static const char text[] =
    "enum Color { RED, GREEN = 7 };\n"
    "#define LENGTH 4\n"
    "typedef struct { uint32_t x, y; } Point;\n"
    "struct Record { uint64_t id; enum Color color; Point points[LENGTH]; char name[20]; };\n";

static uint8_t out[ROOM * RECORD_BYTES];
static struct stele *made; /* what a call gave, for the one who asked to end */

static int end(int rc)
{
    struct stele *store = made;

    made = NULL;
    return rc ? rc : stele_close(store);
}

static int parse(void)
{
    struct stele_schema *schema = NULL;
    int rc = stele_schema_parse(text, "Record", 0, &schema);

    stele_schema_free(schema);
    return rc;
}

static int new_schema(void)
{
    struct stele_field field = { .name = "bytes", .type = STELE_BYTES, .bytes = RECORD_BYTES };
    struct stele_schema *schema = NULL;
    int rc = stele_schema_new("Record", RECORD_BYTES, &field, 1, &schema);

    stele_schema_free(schema);
    return rc;
}

static struct stele_schema *bytes_schema; /* made while nothing fails */

static int create_at(const char *path, uint32_t flags)
{
    struct stele_options options = STELE_OPTIONS_INIT;

    options.schema = bytes_schema;
    options.capacity_records = CAPACITY;
    options.flags = flags;
    return end(stele_create(path, &options, &made));
}

static char new_path[128];

static int create(void)
{
    int rc = create_at(new_path, 0);

    /* It is whole or not there; what only closing it could not do is done by the next one. */
    if (is_file(new_path))
        REQUIRE(unlink(new_path) == 0);
    return rc;
}

static int open_as(uint32_t mode)
{
    struct stele_options options = STELE_OPTIONS_INIT;

    options.mode = mode;
    options.schema = bytes_schema;
    return end(stele_open(scratch_path, &options, &made));
}

static int open_to_read(void)
{
    return open_as(STELE_READ_ONLY);
}

static int open_to_write(void)
{
    return open_as(STELE_READ_WRITE);
}

static int recover(void)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele_recovery recovery = STELE_RECOVERY_INIT;

    return stele_recover(scratch_path, &options, &recovery);
}

static int resize(void)
{
    struct stele_options options = STELE_OPTIONS_INIT;

    options.capacity_records = 3 * CAPACITY;
    return stele_resize(scratch_path, &options);
}

static int get(void)
{
    return stele_get(bench.store, 50, out);
}

static int get_many(void)
{
    static const uint64_t indexes[] = { 3, 99, 0 };

    return stele_get_many(bench.store, indexes, COUNT_OF(indexes), out, NULL);
}

static int read_all(void)
{
    return stele_read(bench.store, 0, FILLED, out);
}

static int view(void)
{
    struct stele_view view = { .record_count = 0 };
    int rc = stele_view_open(bench.store, 5, 60, &view);

    if (!rc)
        rc = stele_view_copy(&view, 0, 60, out);
    if (!rc && stele_view_changed(&view) < 0)
        rc = stele_last_error()->code;
    stele_view_close(&view);
    return rc;
}

static int scan(void)
{
    struct stele_cursor *cursor = NULL;
    const void *records;
    size_t count;
    int rc = stele_cursor_open(bench.store, 0, UINT64_MAX, &cursor);

    while (!rc)
        rc = stele_cursor_next(cursor, &records, &count);
    stele_cursor_close(cursor);
    return rc == STELE_END ? STELE_OK : rc;
}

static int info(void)
{
    struct stele_info info = STELE_INFO_INIT;

    return stele_info(bench.store, &info);
}

static int outcome(void)
{
    return stele_outcome(bench.store, bench.sequence);
}

static int verify(void)
{
    struct stele_verify_report report = STELE_VERIFY_REPORT_INIT;

    return stele_verify(bench.store, NULL, &report);
}

static int sync_it(void)
{
    return stele_sync(bench.store);
}

/* Every call of a transaction; what a failed one staged goes with it. */
static int transaction(void)
{
    static const uint8_t user[64];
    struct stele_txn *txn = NULL;
    uint64_t first;

    bench.wanted = bench.sure;
    bench.wanted.count = 3 + FILLED;
    int rc = stele_begin(bench.store, &txn);
    bench_age(0, 90, 7);
    for (uint64_t i = 0; i < 90 && !rc; i++)
        rc = stele_txn_set(txn, i, deed_records + i * RECORD_BYTES);
    if (!rc)
        rc = stele_txn_set_count(txn, 90);
    bench_age(90, 13, 7);
    if (!rc)
        rc = stele_txn_append(txn, deed_records, 13, &first);
    if (!rc)
        rc = stele_txn_get(txn, 95, out);
    if (!rc)
        rc = stele_txn_user(txn, 1, user);
    if (!rc)
        rc = stele_txn_tag(txn, "tag", 3);
    if (!rc)
        return bench_note(stele_commit(txn, STELE_DURABLE, &bench.sequence));
    stele_abort(txn);
    return rc;
}

/* Commits behind ones that are pending: what fails takes nothing of those along. */
static int behind_pending(void)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele_txn *txn = NULL;
    int kind = failing, rc = STELE_OK;

    options.mode = STELE_READ_WRITE;
    options.flags = STELE_NO_THREADS;
    options.sync_interval_ms = 3600000;
    failing = -1; /* to get there */
    REQUIRE(stele_close(bench.store) == STELE_OK && stele_open(scratch_path, &options, &bench.store) == STELE_OK);
    for (uint64_t n = 1; n < 9 && !rc; n++) {
        /* Again, it does not make good what the first time may have lost. */
        uint64_t first = n > 1 ? n * 3 : bench.sure.ages[60] == 8 ? 61 : 60;

        bench.wanted = bench.sure;
        bench_age(first, n, 8);
        rc = stele_begin(bench.store, &txn);
        for (uint64_t i = 0; i < n && !rc; i++)
            rc = stele_txn_set(txn, first + i, deed_records + i * RECORD_BYTES);
        if (!rc)
            rc = bench_note(stele_commit(txn, STELE_ASYNC, &bench.sequence));
        else
            stele_abort(txn);
        txn = NULL;
        failing = kind;
    }
    return rc ? rc : stele_sync(bench.store);
}

enum need { NOTHING, STORE, SECOND, DEAD };

static const struct call {
    const char *name;
    int (*make)(void);
    enum need need; /* a handle; one beside another that commits too; a dead writer's file */
} calls[] = {
    { "schema_parse", parse, NOTHING },
    { "schema_new", new_schema, NOTHING },
    { "create", create, NOTHING },
    { "open read-only", open_to_read, DEAD },
    { "open", open_to_write, DEAD },
    { "recover", recover, DEAD },
    { "resize", resize, DEAD },
    { "get", get, STORE },
    { "get_many", get_many, STORE },
    { "read", read_all, STORE },
    { "view", view, STORE },
    { "cursor", scan, STORE },
    { "info", info, SECOND },
    { "outcome", outcome, SECOND },
    { "verify", verify, SECOND },
    { "sync", sync_it, SECOND },
    { "transaction", transaction, STORE },
    { "behind pending ones", behind_pending, STORE },
    { "set", set_one, SECOND },
    { "sets that empty the ring", set_until_the_ring_is_emptied, SECOND },
    { "set_many", set_many, STORE },
    { "append", append_few, STORE },
    { "bulk append", append_in_bulk, SECOND },
    { "bulk append that grows", append_beyond_the_capacity, SECOND },
    { "set_count down", cut, STORE },
    { "set_count up", raise_the_count, SECOND },
    { "reserve", reserve, STORE },
    { "checkpoint", empty_the_ring, SECOND },
    { "close", close_it, STORE },
};

/* ---- each of them ---- */

static char dead_path[128];

static void leave_entries_and_die(void *context)
{
    bench.store = open_store(STELE_READ_WRITE);
    REQUIRE(bench.store);
    for (uint64_t i = 0; i < 3; i++)
        REQUIRE(commit_one(i, 9) == STELE_OK);
    _exit(7);
}

static void make_files(void)
{
    fault_end();
    bench_make_base(0);
    assert_int_equal(exit_of_child(leave_entries_and_die, NULL), 7);
    snprintf(dead_path, sizeof(dead_path), "%s/dead", scratch_folder);
    snprintf(new_path, sizeof(new_path), "%s/new", scratch_folder);
    copy_file(scratch_path, dead_path);
    bytes_schema = schema_of_bytes(RECORD_BYTES);
}

static struct stele *prepare(const struct call *call)
{
    struct stele *other = NULL;

    if (call->need == DEAD) {
        copy_file(dead_path, scratch_path);
        memset(&bench, 0, sizeof(bench));
        bench.sure.count = FILLED;
        memset(bench.sure.ages, 1, FILLED);
        memset(bench.sure.ages, 9, 3);
    } else if (call->need != NOTHING) {
        bench_open(call->need == SECOND ? &other : NULL);
    }
    return other;
}

static void fail_call(const struct call *call, unsigned at, const char *wrong)
{
    fail_msg("%s, %u: %s (%s)", call->name, at, wrong, stele_last_error()->text);
}

/* A call that failed, made again where nothing fails. */
static void make_again(const struct call *call, unsigned at)
{
    if (bench.store && !bench_is(bench.store, &bench.sure))
        fail_call(call, at, "something changed");
    if (call->make != close_it && call->make())
        fail_call(call, at, "it fails again, with memory");
    if (bench.store && !bench_is(bench.store, &bench.sure))
        fail_call(call, at, "it is not there");
}

/* The @at-th allocation of @call; false: it has fewer. */
static bool fail_at(const struct call *call, unsigned at, bool is_for_ever)
{
    struct stele *other = prepare(call);
    size_t handles = system_handle_count();
    long before = balance;

    fault_begin(at, is_for_ever);
    int rc = call->make();
    bool has_failed = fault_end();
    if (!has_failed && rc)
        fail_call(call, at, "it fails, with memory");
    if (rc && rc != (failing == MAPS ? STELE_E_FULL : STELE_E_NOMEM))
        fail_call(call, at, "another code");
    /* A file that is open keeps what it found out until it is closed. */
    if (call->need == NOTHING || call->need == DEAD) {
        if (balance != before)
            fail_call(call, at, "memory or a map is left");
        if (system_handle_count() != handles)
            fail_call(call, at, "a file is left open");
    }
    if (rc)
        make_again(call, at);
    if (other)
        assert_ok(stele_close(other));
    if (bench.store) {
        assert_ok(stele_close(bench.store));
        bench.store = NULL;
    }
    if (call->need != NOTHING)
        bench_judge(call->name, at, &bench.sure);
    return has_failed;
}

static unsigned skipped; /* where repetitions are few */

static bool is_left_out(void)
{
    unsigned one_of = 100 / (scale_percent() ? scale_percent() : 1);

    return one_of > 1 && skipped++ % one_of != 0;
}

static void fail_everywhere(int kind)
{
    unsigned run_count = 0;

    make_files();
    failing = kind;
    /* What is kept for good, as the list of watched maps, is there from here on. */
    struct stele *other;
    bench_open(&other);
    assert_ok(stele_close(other));
    assert_ok(close_it());
    long before = balance;
    for (size_t i = 0; i < COUNT_OF(calls) * 2; i++) {
        bool has_failed = true;
        for (unsigned at = 1; has_failed; at++) {
            if (is_left_out() && at > 1 && at < 100)
                continue;
            has_failed = fail_at(&calls[i / 2], at, i % 2);
            run_count++;
        }
        if (balance != before)
            fail_call(&calls[i / 2], 0, "memory or a map is left behind the close");
    }
    stele_schema_free(bytes_schema);
    print_message("%u runs\n", run_count);
}

static void each_allocation_of_each_call_fails_and_nothing_is_changed_or_kept(void **state)
{
    fail_everywhere(MEMORY);
}

static void each_map_of_each_call_fails_and_nothing_is_changed_or_kept(void **state)
{
    /* What a commit mapped before its entry is forbidden at once there, and mapped again when the entry is durable. */
    if (stele_window_is_torture()) {
        print_message("not with window_torture: its commits map where no other does\n");
        return;
    }
    fail_everywhere(MAPS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FAST_SCRATCH(each_allocation_of_each_call_fails_and_nothing_is_changed_or_kept),
        IN_FAST_SCRATCH(each_map_of_each_call_fails_and_nothing_is_changed_or_kept),
    };

    return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
