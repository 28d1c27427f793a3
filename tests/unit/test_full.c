/*
 * A full disk, or a process that may make its files no larger: wherever the room ends, a change is there whole or not
 * at all, the store goes on as it was, and does the same change once there is room.
 *
 * Functions of os.h that take disk have others in their place, which refuse the n-th call; where the system limits the
 * size of files, the limit does the same with the real ones.
 */
#include "deeds.h"
#include "fault.h"
#include "wrap.h"

static bool is_half_done; /* the refused store or write leaves its first half */

static int refuse(void)
{
    return stele_fail_system(STELE_E_FULL, ENOSPC, "the disk is full, says the test");
}

WRAPPED(int, stele_os_allocate, const struct stele_os_file *file, uint64_t offset, uint64_t byte_count)
{
    return fault_is_now() ? refuse() : REAL(stele_os_allocate)(file, offset, byte_count);
}

WRAPPED(int, stele_os_set_bytes, const struct stele_os_file *file, uint64_t bytes)
{
    return fault_is_now() ? refuse() : REAL(stele_os_set_bytes)(file, bytes);
}

WRAPPED(int, stele_os_zero, const struct stele_os_file *file, uint64_t offset, uint64_t byte_count, bool is_sparse)
{
    return fault_is_now() ? refuse() : REAL(stele_os_zero)(file, offset, byte_count, is_sparse);
}

WRAPPED(int, stele_os_write, const struct stele_os_file *file, uint64_t offset, const void *bytes, size_t byte_count)
{
    bool is_refused = fault_is_now();

    if (is_refused && !is_half_done)
        return refuse();
    int rc = REAL(stele_os_write)(file, offset, bytes, is_refused ? byte_count / 2 : byte_count);
    return is_refused ? refuse() : rc;
}

WRAPPED(int, stele_os_store, const struct stele_os_file *file, uint64_t offset, const void *bytes, size_t byte_count,
        void *view)
{
    bool is_refused = fault_is_now();

    if (is_refused && !is_half_done)
        return refuse();
    int rc = REAL(stele_os_store)(file, offset, bytes, is_refused ? byte_count / 2 : byte_count, view);
    return is_refused ? refuse() : rc;
}

/* ---- what must be so ---- */

static void fail_deed(const struct deed *deed, uint64_t at, const char *wrong)
{
    fail_msg("%s, %" PRIu64 ": %s (%s)", deed->name, at, wrong, stele_last_error()->text);
}

/* The journal has it: the next one to open the store puts it in place. */
static void judge_the_durable(const struct deed *deed, uint64_t at)
{
    uint64_t sequence = stele_last_error()->sequence;

    if (!stele_last_error()->outcome_done || !strstr(stele_last_error()->text, scratch_path))
        fail_deed(deed, at, "the commit is in doubt without need");
    assert_code(stele_outcome(bench.store, sequence), STELE_E_POISONED);
    assert_code(stele_close(bench.store), STELE_E_POISONED);
    struct stele *store = open_store(STELE_READ_WRITE);
    assert_store(store);
    assert_ok(stele_outcome(store, sequence));
    assert_ok(stele_close(store));
    bench_judge(deed->name, (unsigned)at, &bench.wanted);
}

/* @rc is what the deed came to without room; there is room again. */
static void judge(const struct deed *deed, uint64_t at, int rc, const struct stele_info *before)
{
    if (rc == STELE_E_UNKNOWN) {
        judge_the_durable(deed, at);
        return;
    }
    if (rc != STELE_OK && rc != STELE_E_FULL)
        fail_deed(deed, at, "another code");
    if (rc && !strstr(stele_last_error()->text, "full") && !strstr(stele_last_error()->text, "ulimit -f"))
        fail_deed(deed, at, "says nothing of room");
    if (!bench.store) {
        bench_judge(deed->name, (unsigned)at, &bench.sure);
        return;
    }
    if (rc) {
        struct stele_info after = info_of(bench.store);
        if (!bench_is(bench.store, &bench.sure))
            fail_deed(deed, at, "something changed");
        /* Room that was made before the records were refused stays. */
        if (after.capacity != before->capacity && deed->make != append_beyond_the_capacity)
            fail_deed(deed, at, "the capacity changed");
        assert_verifies(bench.store);
        rc = deed->make();
        if (rc)
            fail_deed(deed, at, "refused again, with room");
    }
    if (!bench.store) {
        bench_judge(deed->name, (unsigned)at, &bench.sure);
        return;
    }
    if (!bench_is(bench.store, &bench.sure))
        fail_deed(deed, at, "it is not there");
    assert_ok(stele_close(bench.store));
    bench_judge(deed->name, (unsigned)at, &bench.sure);
}

/* ---- the n-th call ---- */

static bool refuse_at(const struct deed *deed, unsigned at, bool is_for_ever, bool has_other)
{
    struct stele *other = NULL;

    bench_open(has_other ? &other : NULL);
    struct stele_info before = info_of(bench.store);
    fault_begin(at, is_for_ever);
    int rc = deed->make();
    bool has_failed = fault_end();
    if (!has_failed)
        assert_ok(rc);
    if (other) {
        struct stele_error kept;
        stele_error_keep(&kept);
        assert_ok(stele_close(other));
        stele_error_restore(&kept);
    }
    judge(deed, at, rc, &before);
    return has_failed;
}

static unsigned skipped; /* where repetitions are few */

static bool is_left_out(void)
{
    unsigned one_of = 100 / (scale_percent() ? scale_percent() : 1);

    return one_of > 1 && skipped++ % one_of != 0;
}

static void refuse_everywhere(uint32_t flags)
{
    unsigned run_count = 0;

    fault_end();
    bench_make_base(flags);
    for (size_t i = 0; i < COUNT_OF(deeds); i++) {
        for (unsigned variant = 0; variant < 8; variant++) {
            bool has_failed = true;
            is_half_done = variant & 1;
            if (is_left_out())
                continue;
            for (unsigned at = 1; has_failed; at++, run_count++)
                has_failed = refuse_at(&deeds[i], at, variant & 2, variant & 4);
        }
    }
    print_message("%u runs\n", run_count);
}

static void a_change_without_room_is_no_change_and_is_made_when_there_is_some(void **state)
{
    refuse_everywhere(0);
}

static void the_same_where_disk_is_taken_record_by_record(void **state)
{
    refuse_everywhere(STELE_SPARSE);
}

/* ---- a limit of the process: the signal that comes with it kills nobody ---- */

static void change_below_a_limit(uint32_t flags)
{
    static const uint64_t below[] = { 3 * MIB, 4 * MIB, 4 * MIB + 4096, 4 * MIB + 64 * KIB, 4 * MIB + 128 * KIB };
    uint64_t whole;

    fault_end();
    bench_make_base(flags);
    whole = size_of_file(deed_base);
    for (size_t i = 0; i < COUNT_OF(deeds); i++) {
        for (size_t k = 0; k < COUNT_OF(below) + 8; k++) {
            uint64_t limit = k < COUNT_OF(below) ? below[k] : whole + (k - COUNT_OF(below)) * 12 * KIB;
            bench_open(NULL);
            struct stele_info before = info_of(bench.store);
            REQUIRE(system_limit_file_bytes(limit));
            int rc = deeds[i].make();
            REQUIRE(system_limit_file_bytes(UINT64_MAX));
            if (rc == STELE_E_POISONED || rc == STELE_E_IO)
                fail_deed(&deeds[i], limit, "the code is not that of a full disk");
            /* A sync without room is a failed one: what follows is its suite's matter. */
            bool is_done_for = rc == STELE_E_FULL && bench.store && stele_sync(bench.store) == STELE_E_POISONED;
            if (is_done_for) {
                assert_code(stele_close(bench.store), STELE_E_POISONED);
                bench_judge(deeds[i].name, (unsigned)limit, &bench.sure);
                continue;
            }
            /* Asking took the place of its sentence. */
            if (rc == STELE_E_FULL && bench.store)
                stele_fail(rc, "full");
            judge(&deeds[i], limit, rc, &before);
        }
    }
}

static void a_limit_on_the_size_of_files_is_an_error_and_no_death(void **state)
{
    if (!system_limit_file_bytes(UINT64_MAX)) {
        print_message("SKIP: this system sets no limit on the size of files\n");
        skip();
    }
    change_below_a_limit(0);
    assert_int_equal(unlink(scratch_path), 0);
    change_below_a_limit(STELE_SPARSE);
}

static int create_with(uint32_t flags)
{
    struct stele_schema *schema = schema_of_bytes(RECORD_BYTES);
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store = NULL;

    options.schema = schema;
    options.capacity_records = CAPACITY;
    options.flags = flags;
    int rc = stele_create(scratch_path, &options, &store);
    stele_schema_free(schema);
    return rc ? rc : stele_close(store);
}

static void a_new_store_without_room_is_not_there(void **state)
{
    fault_end();
    for (unsigned is_sparse = 0; is_sparse < 2; is_sparse++) {
        uint32_t flags = is_sparse ? STELE_SPARSE : 0;
        bool has_failed = true;
        assert_ok(create_with(flags));
        uint64_t whole = size_of_file(scratch_path);
        assert_int_equal(unlink(scratch_path), 0);
        for (unsigned at = 1; has_failed; at++) {
            fault_begin(at, true);
            int rc = create_with(flags);
            has_failed = fault_end();
            if (rc)
                assert_says(scratch_path);
            assert_code(rc, has_failed ? STELE_E_FULL : STELE_OK);
            assert_true(is_file(scratch_path) == !has_failed);
        }
        assert_int_equal(unlink(scratch_path), 0);
        for (uint64_t limit = 64 * KIB; limit < whole && system_limit_file_bytes(limit); limit += 64 * KIB) {
            int rc = create_with(flags);
            REQUIRE(system_limit_file_bytes(UINT64_MAX));
            assert_code(rc, STELE_E_FULL);
            assert_says("ulimit -f");
            assert_false(is_file(scratch_path));
        }
        assert_ok(create_with(flags));
        assert_int_equal(unlink(scratch_path), 0);
    }
}

/* ---- a dead writer's store ---- */

static void leave_entries_and_die(void *context)
{
    bench.store = open_store(STELE_READ_WRITE);
    REQUIRE(bench.store);
    for (uint64_t i = 0; i < 3; i++)
        REQUIRE(commit_one(i, 9) == STELE_OK);
    _exit(7);
}

static int open_for_writing(void)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store = NULL;

    options.mode = STELE_READ_WRITE;
    int rc = stele_open(scratch_path, &options, &store);
    return rc ? rc : stele_close(store);
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

static void without_room_a_dead_writer_s_store_waits_for_it(void **state)
{
    static int (*const calls[])(void) = { open_for_writing, recover, resize };
    static char dead[128];

    fault_end();
    for (unsigned is_sparse = 0; is_sparse < 2; is_sparse++) {
        bench_make_base(is_sparse ? STELE_SPARSE : 0);
        assert_int_equal(exit_of_child(leave_entries_and_die, NULL), 7);
        for (uint64_t i = 0; i < 3; i++)
            bench.sure.ages[i] = 9;
        snprintf(dead, sizeof(dead), "%s/dead", scratch_folder);
        copy_file(scratch_path, dead);
        for (size_t i = 0; i < COUNT_OF(calls) * 4; i++) {
            bool has_failed = true;
            is_half_done = i & 1;
            for (unsigned at = 1; has_failed; at++) {
                copy_file(dead, scratch_path);
                fault_begin(at, i & 2);
                int rc = calls[i / 4]();
                has_failed = fault_end();
                if (rc) {
                    assert_code(rc, STELE_E_FULL);
                    assert_says(scratch_path);
                    assert_says("says the test");
                } else if (has_failed && calls[i / 4] != resize) {
                    /* Behind the new file's name only the old one is left to put away. */
                    fail_msg("call %zu: %u was refused and nobody said so", i / 4, at);
                }
                if (calls[i / 4] == resize) {
                    struct stele *store = open_store(STELE_READ_ONLY);
                    assert_store(store);
                    assert_u64(info_of(store).capacity, rc ? CAPACITY : 3 * CAPACITY);
                    assert_ok(stele_close(store));
                }
                if (rc)
                    assert_ok(calls[i / 4]());
                bench_judge("a dead writer's store", at, &bench.sure);
            }
        }
        assert_int_equal(unlink(scratch_path), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FAST_SCRATCH(a_change_without_room_is_no_change_and_is_made_when_there_is_some),
        IN_FAST_SCRATCH(the_same_where_disk_is_taken_record_by_record),
        IN_FAST_SCRATCH(a_limit_on_the_size_of_files_is_an_error_and_no_death),
        IN_FAST_SCRATCH(a_new_store_without_room_is_not_there),
        IN_FAST_SCRATCH(without_room_a_dead_writer_s_store_waits_for_it),
    };

    return cmocka_run_group_tests_name("full", tests, NULL, NULL);
}
