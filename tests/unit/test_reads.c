/*
 * A medium that cannot be read: in each public call each question to the system that does not change the file fails,
 * once and from there on: reads, sizes, random numbers, pages to be faulted in. The call gives a code or does its work
 * without the answer; what was acknowledged is there afterwards, and what was refused is not.
 */
#include "deeds.h"
#include "fault.h"
#include "wrap.h"

/* ---- the system ---- */

static int refused(void)
{
    return stele_fail(STELE_E_IO, "the medium cannot be read, says the test");
}

WRAPPED(int, stele_os_read, const struct stele_os_file *file, uint64_t offset, void *out, size_t byte_count)
{
    return fault_is_now() ? refused() : REAL(stele_os_read)(file, offset, out, byte_count);
}

WRAPPED(int, stele_os_stat, const struct stele_os_file *file, struct stele_os_stat *out)
{
    return fault_is_now() ? refused() : REAL(stele_os_stat)(file, out);
}

WRAPPED(int, stele_os_random, void *out, size_t byte_count)
{
    return fault_is_now() ? refused() : REAL(stele_os_random)(out, byte_count);
}

WRAPPED(int, stele_os_populate, void *address, size_t byte_count)
{
    return fault_is_now() ? refused() : REAL(stele_os_populate)(address, byte_count);
}

WRAPPED(int, stele_os_next_data, const struct stele_os_file *file, uint64_t offset, uint64_t *out_offset)
{
    return fault_is_now() ? refused() : REAL(stele_os_next_data)(file, offset, out_offset);
}

WRAPPED(int, stele_os_is_writer_held, const struct stele_os_file *file, bool *out_is_held)
{
    return fault_is_now() ? refused() : REAL(stele_os_is_writer_held)(file, out_is_held);
}

WRAPPED(int, stele_os_is_present_held, const struct stele_os_file *file, bool *out_is_held)
{
    return fault_is_now() ? refused() : REAL(stele_os_is_present_held)(file, out_is_held);
}

/* ---- the calls beside those of deeds.h ---- */

static uint8_t out[FILLED * RECORD_BYTES];

static int open_and_close(uint32_t mode)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store = NULL;

    options.mode = mode;
    int rc = stele_open(scratch_path, &options, &store);
    return rc ? rc : stele_close(store);
}

static int open_to_read(void)
{
    return open_and_close(STELE_READ_ONLY);
}

static int open_to_write(void)
{
    return open_and_close(STELE_READ_WRITE);
}

static int recover(void)
{
    struct stele_recovery recovery = STELE_RECOVERY_INIT;

    return stele_recover(scratch_path, NULL, &recovery);
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

/* A handle; one beside another that commits too; the file of a dead writer. */
enum need { STORE, SECOND, DEAD };

static const struct call {
    const char *name;
    int (*make)(void);
    enum need need;
} calls[] = {
    { "open read-only", open_to_read, DEAD },
    { "open", open_to_write, DEAD },
    { "recover", recover, DEAD },
    { "resize", resize, DEAD },
    { "get", get, SECOND },
    { "read", read_all, SECOND },
    { "view", view, STORE },
    { "cursor", scan, STORE },
    { "info", info, SECOND },
    { "outcome", outcome, SECOND },
    { "verify", verify, SECOND },
    { "sync", sync_it, SECOND },
    { "set", set_one, SECOND },
    { "sets that empty the ring", set_until_the_ring_is_emptied, SECOND },
    { "set_many", set_many, STORE },
    { "append", append_few, STORE },
    { "bulk append", append_in_bulk, SECOND },
    { "bulk append that grows", append_beyond_the_capacity, SECOND },
    { "set_count down", cut, STORE },
    { "set_count up", raise_the_count, SECOND },
    { "cut, bulk append", cut_and_append_in_bulk, STORE },
    { "reserve", reserve, STORE },
    { "checkpoint", empty_the_ring, SECOND },
    { "close", close_it, SECOND },
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

static struct stele *prepare(const struct call *call)
{
    struct stele *other = NULL;

    if (call->need != DEAD) {
        bench_open(call->need == SECOND ? &other : NULL);
        return other;
    }
    copy_file(dead_path, scratch_path);
    memset(&bench, 0, sizeof(bench));
    bench.sure.count = FILLED;
    memset(bench.sure.ages, 1, FILLED);
    memset(bench.sure.ages, 9, 3);
    bench.wanted = bench.sure;
    return NULL;
}

/* What may be there after @rc: a commit in doubt is there or not, and nothing else is open. */
static const struct state *state_after(int rc)
{
    struct stele *store = open_store(STELE_READ_ONLY);

    assert_store(store);
    bool is_wanted = rc == STELE_E_UNKNOWN && bench_is(store, &bench.wanted);
    assert_ok(stele_close(store));
    return is_wanted ? &bench.wanted : &bench.sure;
}

/* The @at-th question of @call; false: it has fewer. */
static bool fail_at(const struct call *call, unsigned at, bool is_for_ever)
{
    struct stele *other = prepare(call);
    size_t handles = system_handle_count();

    fault_begin(at, is_for_ever);
    int rc = call->make();
    bool has_failed = fault_end();
    if (!has_failed && rc)
        fail_msg("%s, %u: it fails, and nothing failed (%s)", call->name, at, stele_last_error()->text);
    if (rc && !stele_last_error()->text[0])
        fail_msg("%s, %u: %d without a sentence", call->name, at, rc);
    if (call->need == DEAD && system_handle_count() != handles)
        fail_msg("%s, %u: a file is left open", call->name, at);
    /* Who met it may be done for; closing takes its files and its maps away all the same. */
    if (bench.store)
        (void)stele_close(bench.store);
    bench.store = NULL;
    if (other)
        (void)stele_close(other);
    bench_judge(call->name, at, state_after(rc));
    return has_failed;
}

static void fail_everywhere(bool is_for_ever)
{
    unsigned failed_count = 0;
    unsigned step = 100 / (scale_percent() ? scale_percent() : 1);

    fault_end();
    bench_make_base(0);
    assert_int_equal(exit_of_child(leave_entries_and_die, NULL), 7);
    snprintf(dead_path, sizeof(dead_path), "%s/dead", scratch_folder);
    copy_file(scratch_path, dead_path);
    for (size_t i = 0; i < COUNT_OF(calls); i++) {
        for (unsigned at = 1; fail_at(&calls[i], at, is_for_ever); at += step > 1 && at > 3 ? step : 1)
            failed_count++;
    }
    assert_true(failed_count > COUNT_OF(calls));
    print_message("%u runs\n", failed_count);
}

static void each_question_of_each_call_fails_once_and_nothing_is_lost(void **state)
{
    fail_everywhere(false);
}

static void each_question_of_each_call_fails_from_there_on_and_nothing_is_lost(void **state)
{
    fail_everywhere(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FAST_SCRATCH(each_question_of_each_call_fails_once_and_nothing_is_lost),
        IN_FAST_SCRATCH(each_question_of_each_call_fails_from_there_on_and_nothing_is_lost),
    };

    return cmocka_run_group_tests_name("reads", tests, NULL, NULL);
}
