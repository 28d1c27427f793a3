/*
 * Syncs that fail, each of them, once and for ever: nothing is acknowledged that may be lost, what is in doubt is said
 * to be so, the handle is done for, and nobody commits before a recovery.
 *
 * Functions of os.h that make bytes durable have others in their place, which count and fail.
 */
#include "deeds.h"
#include "fault.h"
#include "wrap.h"

/* What a durable write that fails has done all the same. */
enum leftover { NOTHING, HALF, ALL, LEFTOVERS };
static enum leftover leftover;

static uint64_t durable_bytes; /* written so while they are counted */
static unsigned sync_count;

static int refuse(void)
{
    return leftover == HALF ? stele_fail_system(STELE_E_FULL, ENOSPC, "the disk is full, says the test")
                            : stele_fail_system(STELE_E_IO, EIO, "the medium fails, says the test");
}

WRAPPED(int, stele_os_write_durable, const struct stele_os_file *file, uint64_t offset, const void *bytes,
        size_t byte_count)
{
    durable_bytes += byte_count;
    sync_count++;
    if (!fault_is_now())
        return REAL(stele_os_write_durable)(file, offset, bytes, byte_count);
    if (leftover != NOTHING)
        REQUIRE(stele_os_write(file, offset, bytes, leftover == ALL ? byte_count : byte_count / 2) == STELE_OK);
    return refuse();
}

WRAPPED(int, stele_os_sync, const struct stele_os_file *file)
{
    sync_count++;
    return fault_is_now() ? refuse() : REAL(stele_os_sync)(file);
}

WRAPPED(int, stele_os_flush, void *address, size_t byte_count)
{
    return fault_is_now() ? refuse() : REAL(stele_os_flush)(address, byte_count);
}

/* ---- what must be so ---- */

static const char *what; /* is going on */

static void assert_explains(const char *word)
{
    const char *text = stele_last_error()->text;

    if (!strstr(text, word) || !strstr(text, scratch_path))
        fail_msg("%s, sync %u: '%s' or the path is not in: %s", what, fault.at, word, text);
}

/* Whatever is asked of a handle that saw a sync fail, but reading. */
static void assert_poisoned(struct stele *store, uint64_t sequence)
{
    struct stele_txn *txn;
    uint8_t record[RECORD_BYTES];

    assert_code(stele_outcome(store, sequence), STELE_E_POISONED);
    assert_explains("open");
    assert_code(stele_begin(store, &txn), STELE_E_POISONED);
    assert_explains("close it");
    assert_code(stele_set(store, 0, deed_records), STELE_E_POISONED);
    assert_code(stele_append(store, deed_records, 1, NULL), STELE_E_POISONED);
    assert_code(stele_set_count(store, 1), STELE_E_POISONED);
    assert_code(stele_reserve(store, 3 * CAPACITY), STELE_E_POISONED);
    assert_code(stele_sync(store), STELE_E_POISONED);
    assert_code(stele_checkpoint(store), STELE_E_POISONED);
    assert_ok(stele_get(store, 30, record));
}

/* The state that a handle finds: outcome says which; only a commit in doubt may be there or not. */
static const struct state *decide(struct stele *store, int rc, uint64_t sequence)
{
    if (rc != STELE_E_UNKNOWN)
        return &bench.sure;
    int outcome = stele_outcome(store, sequence);
    if (outcome != STELE_OK && outcome != STELE_E_ABSENT)
        fail_msg("%s: outcome is %d: %s", what, outcome, stele_last_error()->text);
    /* What is on the disk to the last byte is found again, and what is not there cannot be. */
    if (leftover == ALL)
        assert_int_equal(outcome, STELE_OK);
    if (leftover == NOTHING)
        assert_int_equal(outcome, STELE_E_ABSENT);
    return outcome == STELE_OK ? &bench.wanted : &bench.sure;
}

/* A handle that was there all the time: it commits when it has recovered, and not before. */
static void commit_by_another(struct stele *other, int rc, uint64_t sequence, uint64_t session)
{
    uint8_t record[RECORD_BYTES];

    fill_record(record, RECORD_BYTES, 95 % 40, 8);
    if (fault.is_for_ever) {
        int refused = stele_set(other, 95 % 40, record);
        if (refused != STELE_E_IO && refused != STELE_E_FULL)
            fail_msg("%s: another handle's set is %d while no sync works", what, refused);
        assert_explains("");
    }
    fault_end();
    assert_ok(stele_sync(other));
    assert_true(info_of(other).session != session);
    bench.sure = *decide(other, rc, sequence);
    if (!bench_is(other, &bench.sure))
        fail_msg("%s: another handle finds records that differ", what);
    bench.store = other;
    assert_ok(commit_one(15, 8));
    assert_ok(stele_close(other));
}

/* The n-th sync of a deed; false: it has fewer. */
static bool fail_at(const struct deed *deed, unsigned at, bool is_for_ever, bool has_other)
{
    struct stele *other = NULL;

    bench_open(has_other ? &other : NULL);
    struct stele *mine = bench.store;
    uint64_t session = info_of(mine).session;
    what = deed->name;
    bench.sequence = 0;
    fault_begin(at, is_for_ever);
    int rc = deed->make();
    uint64_t sequence = bench.sequence;
    bool has_failed = fault.failed != 0;
    /* What is in the journal needs no flush of a handle that closes beside others. */
    bool is_needless = has_failed && deed->make == close_it && has_other && rc == STELE_OK;
    if (!has_failed || is_needless) {
        fault_end();
        assert_ok(rc);
        if (bench.store)
            assert_ok(stele_close(bench.store));
        if (other)
            assert_ok(stele_close(other));
        bench_judge(what, 0, &bench.wanted);
        return has_failed;
    }
    if (rc == STELE_E_UNKNOWN) {
        sequence = sequence && deed->make == set_one ? sequence : stele_last_error()->sequence;
        assert_u64(stele_last_error()->sequence, sequence);
        assert_true(sequence != 0);
        assert_explains("stele_outcome");
    } else if (rc != STELE_E_IO && rc != STELE_E_FULL) {
        fail_msg("%s: sync %u failed and the call is %d: %s", what, at, rc, stele_last_error()->text);
    }
    assert_explains("close");
    assert_explains("says the test");
    if (bench.store) {
        assert_poisoned(mine, sequence);
        assert_code(stele_close(mine), STELE_E_POISONED);
    }
    if (other)
        commit_by_another(other, rc, sequence, session);
    fault_end();
    struct stele *store = open_store(STELE_READ_WRITE);
    assert_store(store);
    if (!other)
        bench.sure = *decide(store, rc, sequence);
    assert_ok(stele_close(store));
    bench_judge(what, at, &bench.sure);
    return true;
}

static unsigned skipped; /* where repetitions are few */

static bool is_left_out(void)
{
    unsigned one_of = 100 / (scale_percent() ? scale_percent() : 1);

    return one_of > 1 && skipped++ % one_of != 0;
}

static void fail_everywhere(uint32_t flags)
{
    unsigned run_count = 0;

    fault_end();
    bench_make_base(flags);
    for (size_t i = 0; i < COUNT_OF(deeds); i++) {
        for (unsigned variant = 0; variant < LEFTOVERS * 4; variant++) {
            leftover = variant % LEFTOVERS;
            bool is_for_ever = variant / LEFTOVERS % 2, has_other = variant / LEFTOVERS / 2;
            if (is_left_out())
                continue;
            unsigned at = 1;
            while (fail_at(&deeds[i], at, is_for_ever, has_other))
                at++;
            run_count += at;
        }
    }
    print_message("%u runs\n", run_count);
}

static void a_sync_that_fails_is_never_taken_for_one_that_did_not(void **state)
{
    fail_everywhere(0);
}

static void the_same_in_a_sparse_store(void **state)
{
    fail_everywhere(STELE_SPARSE);
}

static void a_recovery_whose_sync_fails_is_made_again_from_the_start(void **state)
{
    fault_end();
    bench_make_base(0);
    for (unsigned variant = 0; variant < LEFTOVERS * 2; variant++) {
        bool has_failed = true;
        for (unsigned at = 1; has_failed; at++) {
            struct stele *other;
            bench_open(&other);
            what = "recovery";
            leftover = ALL;
            fault_begin(1, false);
            assert_code(set_one(), STELE_E_UNKNOWN);
            fault_end();
            bench.sure = bench.wanted;
            assert_code(stele_close(bench.store), STELE_E_POISONED);
            leftover = variant % LEFTOVERS;
            bench.store = other;
            fault_begin(at, variant >= LEFTOVERS);
            int rc = commit_one(3, 7);
            has_failed = fault_end();
            assert_true(has_failed == (rc != STELE_OK));
            if (rc == STELE_E_UNKNOWN) { /* its own sync, behind the recovery */
                assert_code(stele_close(other), STELE_E_POISONED);
                other = open_store(STELE_READ_WRITE);
                assert_store(other);
                bench.sure = *decide(other, rc, bench.sequence);
            } else if (rc) {
                assert_explains("says the test");
                bench.store = other;
                assert_ok(commit_one(5, 7));
            }
            assert_ok(stele_close(other));
            bench_judge(what, at, &bench.sure);
        }
    }
}

/* ---- paths ---- */

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

static void opening_recovering_and_resizing_a_dead_writer_s_store_lose_nothing(void **state)
{
    static int (*const calls[])(void) = { open_for_writing, recover, resize };
    static char dead[128];

    fault_end();
    bench_make_base(0);
    for (uint64_t i = 0; i < 3; i++)
        bench.sure.ages[i] = 9;
    assert_int_equal(exit_of_child(leave_entries_and_die, NULL), 7);
    snprintf(dead, sizeof(dead), "%s/dead", scratch_folder);
    copy_file(scratch_path, dead);
    for (size_t i = 0; i < COUNT_OF(calls); i++) {
        for (unsigned variant = 0; variant < LEFTOVERS * 2; variant++) {
            bool has_failed = true;
            if (is_left_out())
                continue;
            for (unsigned at = 1; has_failed; at++) {
                what = "a dead writer's store";
                copy_file(dead, scratch_path);
                leftover = variant % LEFTOVERS;
                fault_begin(at, variant >= LEFTOVERS);
                int rc = calls[i]();
                has_failed = fault.failed != 0;
                if (rc)
                    assert_explains("says the test");
                /* Behind the new file's name only the mark in the old one is left to make. */
                else if (has_failed && calls[i] != resize)
                    fail_msg("call %zu: sync %u failed and nobody said so", i, at);
                fault_end();
                bench_judge(what, at, &bench.sure);
                if (!rc && calls[i] == resize) {
                    struct stele *store = open_store(STELE_READ_ONLY);
                    assert_store(store);
                    assert_u64(info_of(store).capacity, 3 * CAPACITY);
                    assert_ok(stele_close(store));
                }
            }
        }
    }
}

static void a_new_store_whose_sync_fails_is_not_there(void **state)
{
    bool has_failed = true;

    fault_end();

    for (unsigned at = 1; has_failed; at++) {
        for (unsigned is_for_ever = 0; is_for_ever < 2; is_for_ever++) {
            leftover = NOTHING;
            what = "creation";
            fault_begin(at, is_for_ever);
            struct stele *store = create_store(RECORD_BYTES, CAPACITY, RING_BYTES, 0);
            has_failed = fault_end();
            assert_true(has_failed == (store == NULL));
            if (has_failed) {
                assert_explains("says the test");
                assert_false(is_file(scratch_path));
                store = create_store(RECORD_BYTES, CAPACITY, RING_BYTES, 0);
            }
            assert_store(store);
            assert_verifies(store);
            assert_ok(stele_close(store));
            assert_int_equal(unlink(scratch_path), 0);
        }
    }
}

/* ---- what it costs ---- */

static void a_durable_commit_of_up_to_3584_bytes_is_one_sync_of_at_most_8_kib(void **state)
{
    static const uint32_t sizes[] = { 1, 7, 64, 512, 1000, 2048, 3000, 3583, 3584 };
    static uint8_t record[3584];

    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        struct stele *store = create_store(sizes[i], 200, MIB, 0);
        assert_store(store);
        for (unsigned n = 0; n < 120; n++) {
            fill_record(record, sizes[i], n, 1);
            sync_count = 0;
            durable_bytes = 0;
            assert_ok(n < 60 ? stele_append(store, record, 1, NULL) : stele_set(store, n - 60, record));
            assert_int_equal(sync_count, 1);
            assert_true(durable_bytes <= 8 * KIB);
        }
        assert_ok(stele_close(store));
        assert_int_equal(unlink(scratch_path), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FAST_SCRATCH(a_sync_that_fails_is_never_taken_for_one_that_did_not),
        IN_FAST_SCRATCH(the_same_in_a_sparse_store),
        IN_FAST_SCRATCH(a_recovery_whose_sync_fails_is_made_again_from_the_start),
        IN_FAST_SCRATCH(opening_recovering_and_resizing_a_dead_writer_s_store_lose_nothing),
        IN_FAST_SCRATCH(a_new_store_whose_sync_fails_is_not_there),
        IN_FAST_SCRATCH(a_durable_commit_of_up_to_3584_bytes_is_one_sync_of_at_most_8_kib),
    };

    return cmocka_run_group_tests_name("syncs", tests, NULL, NULL);
}
