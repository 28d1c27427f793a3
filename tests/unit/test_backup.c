/*
 * Backup: the copy is the store as of one commit, whatever is committed, grown, cut, replaced or broken meanwhile, and
 * a store of its own; what stops it leaves nothing.
 *
 * Others act in the middle of it where it calls the system: see the functions that stand in the place of os.h's.
 */
#include "files.h"
#include "handle.h"
#include "wrap.h"
#include "window_store.h"

enum { RECORD_BYTES = 100, PER_BLOCK = 32, COUNT_MAX = 6000, STATES_MAX = 400 };

static char out_path[128] CARRIED;

/* ---- what happens in the middle ---- */

static void (*between)(void); /* called at each call of the system that a backup makes but once at a time */
static bool is_between;
static int writes_left = -1; /* of the copy, before the disk is full; -1: there is room */
static bool can_clone;
static uint64_t asked_bytes, asked_max, written_bytes, clone_count;
static uint64_t bad_first, bad_end; /* of the file: what the medium cannot read */

static void step(void)
{
    if (!between || is_between)
        return;
    is_between = true;
    between();
    is_between = false;
}

WRAPPED(void, stele_os_will_need, const struct stele_os_file *file, uint64_t offset, uint64_t byte_count)
{
    if (!is_between) {
        asked_bytes += byte_count;
        asked_max = byte_count > asked_max ? byte_count : asked_max;
    }
    step();
    REAL(stele_os_will_need)(file, offset, byte_count);
}

WRAPPED(int, stele_os_read, const struct stele_os_file *file, uint64_t offset, void *out, size_t byte_count)
{
    step();
    if (offset < bad_end && offset + byte_count > bad_first)
        return stele_fail(STELE_E_IO, "a bad sector, says the test");
    return REAL(stele_os_read)(file, offset, out, byte_count);
}

WRAPPED(int, stele_os_write, const struct stele_os_file *file, uint64_t offset, const void *bytes, size_t byte_count)
{
    step();
    if (is_between)
        return REAL(stele_os_write)(file, offset, bytes, byte_count);
    written_bytes += byte_count;
    if (writes_left == 0)
        return stele_fail(STELE_E_FULL, "no room, says the test");
    writes_left -= writes_left > 0;
    return REAL(stele_os_write)(file, offset, bytes, byte_count);
}

WRAPPED(int, stele_os_sync, const struct stele_os_file *file)
{
    if (!is_between && writes_left == 0)
        return stele_fail(STELE_E_IO, "no sync, says the test");
    return REAL(stele_os_sync)(file);
}

/* As of a file system that can: what is there is there at once. */
WRAPPED(int, stele_os_draft_clone, struct stele_os_draft *draft, const struct stele_os_file *from, uint64_t offset,
        uint64_t byte_count)
{
    static uint8_t piece[64 * KIB];

    clone_count++;
    if (!can_clone)
        return REAL(stele_os_draft_clone)(draft, from, offset, byte_count);
    assert_u64((offset | byte_count) % (64 * KIB), 0);
    step();
    for (uint64_t at = offset; at < offset + byte_count; at += sizeof(piece)) {
        REQUIRE(REAL(stele_os_read)(from, at, piece, sizeof(piece)) == STELE_OK);
        REQUIRE(REAL(stele_os_write)(&draft->file, at, piece, sizeof(piece)) == STELE_OK);
    }
    step();
    return STELE_OK;
}

/* ---- stores ---- */

static int setup(void **state)
{
    int rc = scratch_make_fast(state);

    snprintf(out_path, sizeof(out_path), "%s/copy.stele", scratch_folder);
    between = NULL;
    writes_left = -1;
    can_clone = false;
    bad_first = bad_end = 0;
    return rc;
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, scratch_drop)

static uint8_t records[COUNT_MAX * RECORD_BYTES], found[COUNT_MAX * RECORD_BYTES];

static struct stele *filled_store(size_t count, uint64_t capacity, uint32_t flags)
{
    struct stele *store = create_store(RECORD_BYTES, capacity, 64 * KIB, flags);

    assert_store(store);
    fill_records(records, RECORD_BYTES, 0, count, 0);
    if (count)
        assert_ok(stele_append(store, records, count, NULL));
    return store;
}

static struct stele *open_copy(uint32_t mode)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store = NULL;

    options.mode = mode;
    return stele_open(out_path, &options, &store) ? NULL : store;
}

static int backup(struct stele *store)
{
    return stele_backup(store, out_path, NULL);
}

static void drop_copy(void)
{
    assert_int_equal(unlink(out_path), 0);
}

static void assert_no_copy(void)
{
    assert_false(is_file(out_path));
    assert_u64(entry_count(), 1);
}

/* The copy is a sound store of the @count @expected records, and goes on as one. */
static void assert_copy(size_t count, const uint8_t *expected, size_t record_bytes)
{
    struct stele *copy = open_copy(STELE_READ_ONLY);
    uint8_t *got = malloc((count + 1) * record_bytes);

    assert_store(copy);
    assert_non_null(got);
    assert_u64(stele_count(copy), count);
    assert_ok(stele_read(copy, 0, count, got));
    assert_memory_equal(got, expected, count * record_bytes);
    assert_verifies(copy);
    assert_u64(info_of(copy).journal_entry_count, 0);
    assert_u64(info_of(copy).clean, 1);
    assert_ok(stele_close(copy));
    copy = open_copy(STELE_READ_WRITE);
    assert_store(copy);
    memset(got, 7, record_bytes);
    assert_ok(stele_append(copy, got, 1, NULL));
    if (count)
        assert_ok(stele_set(copy, count / 2, got));
    assert_verifies(copy);
    assert_ok(stele_close(copy));
    free(got);
}

/* ---- a store at rest ---- */

static void a_copy_is_the_store_under_an_id_of_its_own(void **state)
{
    static const struct { uint32_t record_bytes; uint64_t count, capacity; uint32_t flags, mode; } cases[] = {
        { 1, 0, 1, 0, STELE_READ_ONLY },           { 1, 1, 1, STELE_SPARSE, STELE_READ_WRITE },
        { 7, 5000, 9000, 0, STELE_READ_WRITE },    { 100, 31, 32, 0, STELE_READ_ONLY },
        { 100, 32, 32, 0, STELE_READ_WRITE },      { 100, 33, 4000, STELE_SPARSE, STELE_READ_ONLY },
        { 4096, 300, 300, 0, STELE_READ_ONLY },    { 5000, 450, 1000, 0, STELE_READ_WRITE },
        { 300000, 9, 10, STELE_SPARSE, STELE_READ_WRITE },
    };

    for (size_t i = 0; i < COUNT_OF(cases) * 2; i++) {
        const size_t record_bytes = cases[i / 2].record_bytes;
        const size_t count = (size_t)cases[i / 2].count;
        uint8_t *all = malloc((count + 1) * record_bytes), user[64] = { 5 };
        struct stele *store = create_store(cases[i / 2].record_bytes, cases[i / 2].capacity, 2 * MIB,
                                           cases[i / 2].flags);
        struct stele_txn *txn;

        can_clone = i % 2;
        assert_store(store);
        assert_non_null(all);
        fill_records(all, record_bytes, 0, count, i);
        if (count)
            assert_ok(stele_append(store, all, count, NULL));
        assert_ok(stele_begin(store, &txn));
        assert_ok(stele_txn_user(txn, 77 + i, user));
        assert_ok(stele_txn_tag(txn, "label", 5));
        assert_ok(stele_commit(txn, STELE_DURABLE, NULL));
        if (cases[i / 2].mode == STELE_READ_ONLY) {
            assert_ok(stele_close(store));
            store = open_store(STELE_READ_ONLY);
            assert_store(store);
        }
        uint64_t print = print_of_file(scratch_path);
        struct stele_info from = info_of(store);
        assert_ok(backup(store));
        if (cases[i / 2].mode == STELE_READ_ONLY)
            assert_u64(print_of_file(scratch_path), print);
        struct stele *copy = open_copy(STELE_READ_ONLY);
        assert_store(copy);
        struct stele_info to = info_of(copy);
        assert_true(memcmp(to.file_id, from.file_id, 16) != 0);
        assert_memory_equal(to.origin_file_id, from.file_id, 16);
        assert_u64(to.origin_sequence, from.sequence);
        assert_u64(to.sequence, from.sequence);
        assert_true(to.session != from.session);
        assert_u64(to.capacity, from.capacity);
        assert_u64(to.journal_bytes, from.journal_bytes);
        assert_u64(to.sparse, from.sparse);
        assert_u64(to.user_version, 77 + i);
        assert_memory_equal(to.user, user, 64);
        assert_u64(to.tag_bytes, 5);
        assert_memory_equal(to.tag, "label", 5);
        assert_u64(to.created_us, from.created_us);
        assert_u64(to.modified_us, from.modified_us);
        assert_u64(to.file_bytes, size_of_file(out_path));
        assert_ok(stele_schema_check(stele_schema_of(copy), stele_schema_of(store)));
        assert_ok(stele_close(copy));
        assert_copy(count, all, record_bytes);
        assert_u64(entry_count(), 2);
        assert_verifies(store);
        assert_ok(stele_close(store));
        drop_copy();
        assert_int_equal(unlink(scratch_path), 0);
        free(all);
    }
}

static void what_cannot_be_is_refused_and_makes_no_file(void **state)
{
    struct stele *store = filled_store(100, 100, 0);
    struct stele_options options = STELE_OPTIONS_INIT;

    assert_code(stele_backup(NULL, out_path, NULL), STELE_E_USAGE);
    assert_code(stele_backup(store, NULL, NULL), STELE_E_USAGE);
    assert_code(stele_backup(store, scratch_path, NULL), STELE_E_EXISTS);
    assert_code(stele_backup(store, scratch_name("no-folder/copy"), NULL), STELE_E_ABSENT);
    options.flags = STELE_FORCE;
    assert_code(stele_backup(store, out_path, &options), STELE_E_USAGE);
    assert_no_copy();
    poke(out_path, 0, "other", 5);
    assert_code(backup(store), STELE_E_EXISTS);
    assert_u64(size_of_file(out_path), 5);
    drop_copy();

    struct stele_txn *txn;
    assert_ok(stele_begin(store, &txn));
    assert_code(backup(store), STELE_E_BUSY);
    assert_no_copy();
    stele_abort(txn);
    assert_ok(backup(store));
    assert_ok(stele_close(store));
}

static void the_mode_of_the_file_is_kept(void **state)
{
    struct stele *store = filled_store(100, 100, 0);

    assert_ok(stele_close(store));
    for (unsigned i = 0; i < SYSTEM_MODES; i++) {
        if (!system_set_mode(scratch_path, i)) {
            print_message("this file system keeps no attributes\n");
            skip();
        }
        store = open_store(STELE_READ_ONLY);
        assert_store(store);
        assert_ok(backup(store));
        assert_ok(stele_close(store));
        assert_true(system_has_mode(out_path, i));
        drop_copy();
    }
}

static void holes_stay_holes_and_cost_no_work(void **state)
{
    struct stele *store = create_store(RECORD_BYTES, 10, 16 * KIB, STELE_SPARSE);
    uint8_t record[RECORD_BYTES];

    assert_store(store);
    fill_record(record, RECORD_BYTES, 1, 1);
    assert_ok(stele_set_count(store, 3000000)); /* 300 MB */
    assert_ok(stele_set(store, 2900000, record));
    for (unsigned i = 0; i < 2; i++) {
        asked_bytes = written_bytes = 0;
        assert_ok(backup(store));
        struct stele *copy = open_copy(STELE_READ_ONLY);
        assert_store(copy);
        assert_u64(stele_count(copy), 3000000);
        assert_ok(stele_get(copy, 2900000, found));
        assert_memory_equal(found, record, RECORD_BYTES);
        assert_u64(info_of(copy).sparse, 1);
        if (!stele_window_needs_views()) { /* those know few holes, or none */
            assert_true(info_of(copy).disk_bytes < 8 * MIB);
            assert_true(asked_bytes < 16 * MIB);
        }
        assert_true(written_bytes < 8 * MIB);
        assert_verifies(copy);
        assert_ok(stele_close(copy));
        drop_copy();
        assert_ok(stele_close(store));
        store = open_store(STELE_READ_ONLY);
        assert_store(store);
    }
    assert_ok(stele_close(store));
}

static void it_reads_ahead_in_small_steps_and_within_a_budget(void **state)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store = create_store(4096, 6000, 16 * KIB, 0);
    uint8_t *all = malloc(5000 * 4096);

    assert_store(store);
    assert_non_null(all);
    fill_records(all, 4096, 0, 5000, 3);
    assert_ok(stele_append(store, all, 5000, NULL));
    assert_ok(stele_close(store));
    for (unsigned mode = STELE_READ_ONLY; mode <= STELE_READ_WRITE; mode++) {
        options.mode = mode;
        options.max_mapped_bytes = 4 * MIB;
        assert_ok(stele_open(scratch_path, &options, &store));
        asked_bytes = asked_max = 0;
        assert_ok(backup(store));
        assert_ok(stele_close(store));
        assert_true(asked_bytes >= 5000 * 4096);
        assert_true(asked_bytes < 5000 * 4096 + 4 * MIB);
        assert_true(asked_max <= MIB);
        assert_copy(5000, all, 4096);
        drop_copy();
    }
    free(all);
}

/* ---- what stops it ---- */

struct watch {
    unsigned calls, stop_at;
    uint64_t last, total;
};

static int watch(void *context, uint64_t done, uint64_t total)
{
    struct watch *watch = context;

    assert_true(done >= watch->last && done <= total);
    watch->last = done;
    watch->total = total;
    return ++watch->calls == watch->stop_at;
}

static void progress_is_told_and_a_stop_leaves_nothing(void **state)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store = create_store(4096, 5000, 16 * KIB, STELE_SPARSE);
    struct watch seen = { .calls = 0 };

    assert_store(store);
    assert_ok(stele_set_count(store, 5000)); /* 20 MB */
    options.progress = watch;
    options.progress_context = &seen;
    assert_ok(stele_backup(store, out_path, &options));
    unsigned calls = seen.calls;
    assert_true(calls >= 1);
    assert_u64(seen.total, 5000 * 4096);
    assert_u64(seen.last, seen.total);
    drop_copy();
    for (unsigned stop_at = 1; stop_at <= calls; stop_at++) {
        seen = (struct watch){ .stop_at = stop_at };
        assert_code(stele_backup(store, out_path, &options), STELE_E_INTERRUPTED);
        assert_no_copy();
        assert_ok(stele_set(store, 0, records)); /* its turn is not held */
    }
    assert_ok(stele_close(store));
}

static void without_disk_at_any_moment_nothing_is_left(void **state)
{
    struct stele *store = filled_store(COUNT_MAX, COUNT_MAX, 0);
    unsigned full_count = 0;
    int rc;

    for (unsigned clone = 0; clone < 2; clone++) {
        can_clone = clone;
        for (int left = 0;; left++) {
            writes_left = left;
            rc = backup(store);
            writes_left = -1;
            if (!rc)
                break;
            full_count++;
            assert_true(rc == STELE_E_FULL || rc == STELE_E_IO);
            assert_says("says the test");
            assert_no_copy();
            assert_ok(stele_set(store, 0, records));
        }
        assert_copy(COUNT_MAX, records, RECORD_BYTES);
        drop_copy();
    }
    assert_true(full_count > 8);
    assert_ok(stele_close(store));
}

/* ---- damage ---- */

static void damage_is_kept_and_told(void **state)
{
    struct stele_verify_report report = STELE_VERIFY_REPORT_INIT;
    struct stele *store = filled_store(200, 300, 0);
    struct stele_info info = info_of(store);
    uint64_t marked = 6;
    uint8_t byte;

    assert_ok(stele_close(store));
    uint64_t offset = info.records_offset + 70 * RECORD_BYTES + 3; /* block 2: records 64 to 95 */
    peek(scratch_path, offset, &byte, 1);
    byte ^= 8;
    poke(scratch_path, offset, &byte, 1);
    records[70 * RECORD_BYTES + 3] = byte;
    poke(scratch_path, info.sums_offset + 5 * 8, &marked, 8);
    for (unsigned i = 0; i < 4; i++) {
        can_clone = i / 2;
        store = open_store(i % 2 ? STELE_READ_WRITE : STELE_READ_ONLY);
        assert_store(store);
        assert_code(backup(store), STELE_E_DAMAGED);
        assert_says("2 blocks are damaged, the first is block 2");
        assert_int_equal(stele_last_error()->outcome_done, 1);
        assert_ok(stele_close(store));
        store = open_copy(STELE_READ_ONLY);
        assert_store(store);
        assert_code(stele_verify(store, NULL, &report), STELE_E_DAMAGED);
        assert_u64(report.damaged_count, 2);
        assert_u64(report.known_count, 1);
        assert_u64(report.first_damaged_block, 2);
        assert_u64(report.file_damage, 0);
        assert_ok(stele_read(store, 0, 200, found));
        assert_memory_equal(found, records, 200 * RECORD_BYTES);
        peek(out_path, info_of(store).sums_offset + 5 * 8, &marked, 8);
        assert_u64(marked, 6);
        assert_ok(stele_close(store));
        drop_copy();
    }
}

static struct stele *other; /* who acts in the middle */

static void cut_to_60(void)
{
    struct stele *store = other;

    other = NULL;
    if (store)
        REQUIRE(stele_set_count(store, 60) == STELE_OK);
}

static void damage_that_is_cut_off_meanwhile_is_none(void **state)
{
    struct stele *store = filled_store(200, 300, 0), *reader = open_store(STELE_READ_ONLY);
    struct stele_info info = info_of(store);
    uint64_t marked = 6;

    assert_store(reader);
    other = store;
    between = cut_to_60;
    poke(scratch_path, info.sums_offset + 5 * 8, &marked, 8);
    assert_ok(backup(reader));
    assert_null(other);
    between = NULL;
    assert_copy(60, records, RECORD_BYTES);
    assert_ok(stele_close(reader));
    assert_ok(stele_close(store));
}

static void a_block_that_cannot_be_read_is_marked_and_the_rest_is_there(void **state)
{
    struct stele_verify_report report = STELE_VERIFY_REPORT_INIT;
    struct stele *store = filled_store(200, 300, 0);
    struct stele_info info = info_of(store);

    /* Where records are read through views no sector is bad in a test. */
    if (!stele_window_needs_views()) {
        bad_first = info.records_offset + 70 * RECORD_BYTES;
        bad_end = bad_first + 1;
        assert_code(backup(store), STELE_E_DAMAGED);
        assert_int_equal(stele_last_error()->outcome_done, 1);
        bad_first = bad_end = 0;
        struct stele *copy = open_copy(STELE_READ_ONLY);
        assert_store(copy);
        assert_code(stele_verify(copy, NULL, &report), STELE_E_DAMAGED);
        assert_u64(report.damaged_count, 1);
        assert_u64(report.known_count, 1);
        assert_u64(report.first_damaged_block, 2);
        assert_ok(stele_read(copy, 0, 200, found));
        memset(records + 64 * RECORD_BYTES, 0, PER_BLOCK * RECORD_BYTES);
        assert_memory_equal(found, records, 200 * RECORD_BYTES);
        assert_ok(stele_close(copy));
    }
    assert_ok(stele_close(store));
}

/* ---- others at work ---- */

/* Every state that the store was in, by commit. */
static struct state {
    uint64_t sequence, user_version;
    size_t count;
    uint8_t *bytes;
} states[STATES_MAX];
static unsigned state_count;
static uint8_t model[COUNT_MAX * RECORD_BYTES];
static size_t model_count;
static uint64_t model_version;
static struct chance chance;
static unsigned deeds_left;
static uint64_t pending_sequence; /* of what was just committed; 0: info says which it is */

static void note_state(void)
{
    struct stele_info info = STELE_INFO_INIT;
    struct state *state = &states[state_count++];

    REQUIRE(state_count <= STATES_MAX && stele_info(other, &info) == STELE_OK && info.count == model_count);
    if (pending_sequence)
        info.sequence = pending_sequence;
    pending_sequence = 0;
    *state = (struct state){ .sequence = info.sequence, .count = model_count, .user_version = model_version,
                             .bytes = malloc(model_count * RECORD_BYTES + 1) };
    REQUIRE(state->bytes);
    memcpy(state->bytes, model, model_count * RECORD_BYTES);
}

static void forget_states(void)
{
    while (state_count)
        free(states[--state_count].bytes);
}

/* Each does one thing to the store and, if it was done, to the model. */

static int deed_set(void)
{
    uint8_t record[RECORD_BYTES];
    size_t index = (size_t)chance_below(&chance, model_count);
    int rc;

    if (!model_count)
        return STELE_END;
    chance_fill(&chance, record, sizeof(record));
    rc = stele_set(other, index, record);
    if (!rc)
        memcpy(model + index * RECORD_BYTES, record, RECORD_BYTES);
    return rc;
}

static int deed_txn(void)
{
    static uint8_t next[sizeof(model)];
    uint8_t user[64] = { 1 };
    struct stele_txn *txn;
    int rc = stele_begin(other, &txn);

    if (rc)
        return rc;
    memcpy(next, model, model_count * RECORD_BYTES);
    for (unsigned i = 0; i < 20 && model_count; i++) {
        size_t index = (size_t)chance_below(&chance, model_count);
        chance_fill(&chance, next + index * RECORD_BYTES, RECORD_BYTES);
        REQUIRE(stele_txn_set(txn, index, next + index * RECORD_BYTES) == STELE_OK);
    }
    REQUIRE(stele_txn_user(txn, model_version + 1, user) == STELE_OK);
    rc = stele_commit(txn, STELE_DURABLE, NULL);
    if (!rc) {
        memcpy(model, next, model_count * RECORD_BYTES);
        model_version++;
    }
    return rc;
}

/* Others see it with the next that is durable, or with the next deed_sync. */
static int deed_async(void)
{
    uint8_t record[RECORD_BYTES];
    struct stele_txn *txn;
    size_t index = (size_t)chance_below(&chance, model_count);
    int rc = model_count ? stele_begin(other, &txn) : STELE_END;

    if (rc)
        return rc;
    chance_fill(&chance, record, sizeof(record));
    REQUIRE(stele_txn_set(txn, index, record) == STELE_OK);
    rc = stele_commit(txn, STELE_ASYNC, &pending_sequence);
    if (!rc)
        memcpy(model + index * RECORD_BYTES, record, RECORD_BYTES);
    else
        pending_sequence = 0;
    return rc;
}

/* No thread of the library's does it here: what happens between calls is to come out the same again. */
static int deed_sync(void)
{
    return stele_sync(other);
}

static int append_of(size_t count)
{
    int rc;

    if (count > COUNT_MAX - model_count)
        return STELE_END;
    chance_fill(&chance, model + model_count * RECORD_BYTES, count * RECORD_BYTES);
    rc = stele_append(other, model + model_count * RECORD_BYTES, count, NULL);
    if (!rc)
        model_count += count;
    return rc;
}

static int deed_append(void) { return append_of(1 + (size_t)chance_below(&chance, 50)); }
static int deed_bulk(void) { return append_of(700 + (size_t)chance_below(&chance, 1500)); }

static int deed_count(void)
{
    size_t count = (size_t)(chance_below(&chance, 2) ? chance_below(&chance, model_count + 1)
                                                      : chance_below(&chance, COUNT_MAX + 1));
    int rc = stele_set_count(other, count);

    if (!rc && count > model_count)
        memset(model + model_count * RECORD_BYTES, 0, (count - model_count) * RECORD_BYTES);
    if (!rc)
        model_count = count;
    return rc;
}

static int deed_checkpoint(void) { return stele_checkpoint(other); }

/* The last one to write closes, the next one begins a session: a first open, where nobody else is present. */
static int deed_session(void)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    int rc = stele_close(other);

    other = NULL;
    options.mode = STELE_READ_WRITE;
    options.flags = STELE_NO_THREADS;
    options.lock_wait_ms = 1;
    if (!rc)
        rc = stele_open(scratch_path, &options, &other);
    if (rc == STELE_E_BUSY) /* the backup has the turn */
        between = NULL;
    return rc;
}

static void act(void)
{
    static int (*const deeds[])(void) = { deed_set, deed_set, deed_txn, deed_append, deed_bulk, deed_count,
                                          deed_checkpoint, deed_session,
                                          deed_async, deed_async, deed_sync };

    if (deeds_left == 0 || chance_below(&chance, 3))
        return;
    deeds_left--;
    int rc = deeds[chance_below(&chance, COUNT_OF(deeds))]();
    if (rc == STELE_OK)
        note_state();
    else
        REQUIRE(rc == STELE_E_BUSY || rc == STELE_END);
}

static struct stele *open_for_deeds(void)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store = NULL;

    options.mode = STELE_READ_WRITE;
    options.flags = STELE_NO_THREADS;
    options.lock_wait_ms = 1; /* the backup's last step has it, or nobody */
    assert_ok(stele_open(scratch_path, &options, &store));
    return store;
}

/* The copy is one of the states, and says which. */
static unsigned find_state(void)
{
    struct stele *copy = open_copy(STELE_READ_ONLY);
    unsigned at = state_count;

    assert_store(copy);
    struct stele_info info = info_of(copy);
    while (at && states[at - 1].sequence != info.origin_sequence)
        at--;
    assert_true(at > 0);
    /* The same number twice: a checkpoint or a session of no commit. */
    assert_u64(info.user_version, states[at - 1].user_version);
    assert_ok(stele_close(copy));
    assert_copy(states[at - 1].count, states[at - 1].bytes, RECORD_BYTES);
    return at - 1;
}

static void the_copy_is_of_one_commit_whatever_is_committed_meanwhile(void **state)
{
    unsigned moved_count = 0, busy_count = 0, rounds = scaled(120, 12);

    chance = chance_begin();
    for (unsigned round = 0; round < rounds; round++) {
        uint32_t mode = round % 2 ? STELE_READ_WRITE : STELE_READ_ONLY;
        struct stele *store = create_store(RECORD_BYTES, 100, 128 * KIB, round / 2 % 2 ? STELE_SPARSE : 0);
        assert_store(store);
        assert_ok(stele_close(store));
        other = open_for_deeds();
        model_count = 0;
        model_version = 0;
        note_state();
        deeds_left = (unsigned)chance_below(&chance, 12);
        while (deeds_left)
            act();
        struct stele_options patient = STELE_OPTIONS_INIT; /* a slow machine's deeds come to an end */
        patient.mode = mode;
        assert_ok(stele_open(scratch_path, &patient, &store));
        can_clone = round / 4 % 2;
        deeds_left = (unsigned)chance_below(&chance, 40);
        unsigned before = state_count;
        between = act;
        int rc = backup(store);
        between = NULL;
        if (rc == STELE_E_BUSY) {
            busy_count++;
            assert_no_copy();
        } else {
            assert_ok(rc);
            moved_count += find_state() >= before;
            drop_copy();
        }
        assert_ok(stele_close(other));
        assert_ok(stele_close(store));
        assert_int_equal(unlink(scratch_path), 0);
        forget_states();
    }
    print_message("%u of %u copies are of a commit made meanwhile, %u found no moment\n", moved_count, rounds,
                  busy_count);
    assert_true(moved_count * 4 > rounds);
    assert_true(busy_count * 4 < rounds);
}

static void asynchronous_commits_of_the_handle_are_in_its_copy(void **state)
{
    struct stele *store = filled_store(200, 300, 0), *reader;
    struct stele_txn *txn;

    assert_ok(stele_close(store));
    store = open_for_deeds();
    reader = open_store(STELE_READ_ONLY);
    assert_store(reader);
    assert_ok(stele_begin(store, &txn));
    assert_ok(stele_txn_set(txn, 7, records));
    assert_ok(stele_commit(txn, STELE_ASYNC, NULL));
    assert_ok(backup(reader)); /* who reads only sees it later */
    assert_copy(200, records, RECORD_BYTES);
    drop_copy();
    memcpy(records + 7 * RECORD_BYTES, records, RECORD_BYTES);
    assert_ok(backup(store));
    assert_copy(200, records, RECORD_BYTES);
    drop_copy();
    assert_ok(backup(reader));
    assert_copy(200, records, RECORD_BYTES);
    assert_ok(stele_close(reader));
    assert_ok(stele_close(store));
}

static uint64_t turn;

static void change_one(void)
{
    uint8_t record[RECORD_BYTES];

    fill_record(record, RECORD_BYTES, 0, ++turn);
    int rc = stele_set(other, turn % 200, record);
    REQUIRE(rc == STELE_OK || rc == STELE_E_BUSY);
}

static void writers_without_rest_are_outwaited_by_who_can_take_their_turn(void **state)
{
    struct stele *store = filled_store(200, 300, 0), *reader = open_store(STELE_READ_ONLY);

    assert_store(reader);
    other = open_for_deeds();
    between = change_one;
    assert_code(backup(reader), STELE_E_BUSY);
    assert_no_copy();
    assert_ok(backup(store));
    between = NULL;
    struct stele *copy = open_copy(STELE_READ_ONLY);
    assert_store(copy);
    assert_verifies(copy);
    assert_ok(stele_close(copy));
    assert_ok(stele_close(other));
    assert_ok(stele_close(reader));
    assert_ok(stele_close(store));
}

/* A progress that acts once, when the first pass ends. */
static int act_once(void *context, uint64_t done, uint64_t total)
{
    void (*const *deed)(void) = context;

    if (done == total && other)
        (*deed)();
    return 0;
}

static int backup_with(struct stele *store, void (*deed)(void))
{
    struct stele_options options = STELE_OPTIONS_INIT;

    options.progress = act_once;
    options.progress_context = &deed;
    return stele_backup(store, out_path, &options);
}

/* The version says so, and the stripe not yet. */
static void change_and_hold_the_stripe(void)
{
    struct stele *store = other;
    uint64_t *stripe = (uint64_t *)(uintptr_t)stele_live_stripe(&store->live, 0);
    uint64_t before = stele_load(stripe);

    other = NULL;
    REQUIRE(stele_set(store, 0, records + RECORD_BYTES) == STELE_OK);
    stele_store(stripe, before | 1);
}

static void a_stripe_that_is_about_to_be_given_back_counts_as_moved(void **state)
{
    struct stele *store = filled_store(200, 300, 0), *second = open_for_deeds();

    other = second;
    assert_ok(backup_with(store, change_and_hold_the_stripe));
    memcpy(records, records + RECORD_BYTES, RECORD_BYTES);
    assert_copy(200, records, RECORD_BYTES);
    stele_live_settle_stripes(&store->live, info_of(store).sequence);
    assert_verifies(store);
    assert_ok(stele_close(second));
    assert_ok(stele_close(store));
}

static void raise_to_640(void)
{
    REQUIRE(stele_set_count(other, 640) == STELE_OK);
    other = NULL;
}

static void what_stood_behind_the_count_is_not_shared(void **state)
{
    struct stele *store = filled_store(640, 640, 0), *reader = open_store(STELE_READ_ONLY);

    assert_store(reader);
    assert_ok(stele_set_count(store, PER_BLOCK));
    can_clone = true;
    other = store;
    assert_ok(backup_with(reader, raise_to_640));
    memset(records + PER_BLOCK * RECORD_BYTES, 0, (640 - PER_BLOCK) * RECORD_BYTES);
    assert_copy(640, records, RECORD_BYTES);
    assert_ok(stele_close(reader));
    assert_ok(stele_close(store));
}

/* ---- death, replacement, cuts ---- */

static void write_and_die(void *context)
{
    struct stele *store = open_store(STELE_READ_WRITE);
    uint8_t record[RECORD_BYTES];

    memset(record, 9, sizeof(record));
    REQUIRE(store && stele_set(store, 5, record) == STELE_OK);
    REQUIRE(stele_append(store, record, 1, NULL) == STELE_OK);
    _exit(0);
}

static void what_a_dead_writer_left_in_the_journal_is_in_the_copy(void **state)
{
    struct stele *store = filled_store(200, 300, 0);
    uint8_t old[RECORD_BYTES];

    assert_ok(stele_close(store));
    memcpy(old, records + 5 * RECORD_BYTES, sizeof(old));
    assert_int_equal(exit_of_child(write_and_die, NULL), 0);
    memset(records + 5 * RECORD_BYTES, 9, RECORD_BYTES);
    memset(records + 200 * RECORD_BYTES, 9, RECORD_BYTES);
    store = open_store(STELE_READ_ONLY);
    assert_store(store);
    /* As if it had died before it put them in place. */
    poke(scratch_path, info_of(store).records_offset + 5 * RECORD_BYTES, old, sizeof(old));
    uint64_t print = print_of_file(scratch_path);
    for (unsigned i = 0; i < 2; i++) {
        can_clone = i;
        assert_ok(backup(store));
        assert_u64(print_of_file(scratch_path), print);
        assert_copy(201, records, RECORD_BYTES);
        drop_copy();
    }
    assert_ok(stele_close(store));
}

static void recover_it(void)
{
    if (other)
        return;
    other = open_store(STELE_READ_WRITE);
    REQUIRE(other && stele_append(other, records, 1, NULL) == STELE_OK);
}

static void a_recovery_in_the_middle_is_followed(void **state)
{
    struct stele *store = filled_store(200, 300, 0);

    assert_ok(stele_close(store));
    assert_int_equal(exit_of_child(write_and_die, NULL), 0);
    memset(records + 5 * RECORD_BYTES, 9, RECORD_BYTES);
    memset(records + 200 * RECORD_BYTES, 9, RECORD_BYTES);
    store = open_store(STELE_READ_ONLY);
    assert_store(store);
    other = NULL;
    between = recover_it;
    assert_ok(backup(store));
    between = NULL;
    memcpy(records + 201 * RECORD_BYTES, records, RECORD_BYTES);
    assert_copy(202, records, RECORD_BYTES);
    assert_ok(stele_close(other));
    assert_ok(stele_close(store));
}

static void a_writer_that_stopped_in_the_middle_is_busy_until_one_recovers(void **state)
{
    struct stele *store = filled_store(200, 300, 0), *reader = open_store(STELE_READ_ONLY);
    uint64_t word = STELE_STATE_COMMITTING;

    assert_store(reader);
    stele_store(&store->live.words->state.word, word);
    assert_code(backup(reader), STELE_E_BUSY);
    assert_no_copy();
    assert_ok(backup(store)); /* its turn recovers */
    assert_copy(200, records, RECORD_BYTES);
    drop_copy();
    assert_ok(backup(reader));
    assert_ok(stele_close(reader));
    assert_ok(stele_close(store));
}

static void stop_in_the_middle(void *context)
{
    struct stele *store = open_store(STELE_READ_WRITE);
    char word;

    REQUIRE(store);
    parent_tell("o", 1);
    REQUIRE(parent_hear(&word, 1));
    stele_store(&store->live.words->state.word, STELE_STATE_COMMITTING);
    parent_tell("s", 1);
    (void)parent_hear(&word, 1);
}

static void when_the_last_writer_died_in_the_middle_the_journal_says_what_is_so(void **state)
{
    struct stele *store = filled_store(200, 300, 0);
    struct child child;
    char word;

    assert_ok(stele_close(store));
    child = child_start(stop_in_the_middle, NULL);
    assert_true(child_hear(&child, &word, 1));
    store = open_store(STELE_READ_ONLY); /* while it lives */
    assert_store(store);
    child_tell(&child, "s", 1);
    assert_true(child_hear(&child, &word, 1));
    child_kill(&child);
    assert_ok(backup(store));
    assert_copy(200, records, RECORD_BYTES);
    assert_ok(stele_close(store));
}

static int resized;

static void resize_it(void)
{
    struct stele_options options = STELE_OPTIONS_INIT;

    if (resized != 1)
        return;
    options.capacity_records = 5000;
    options.lock_wait_ms = 50;
    resized = stele_resize(scratch_path, &options);
    REQUIRE(resized == STELE_OK || resized == STELE_E_BUSY);
}

static void a_store_that_is_replaced_meanwhile_is_stale(void **state)
{
    struct stele *store = filled_store(200, 300, 0);

    assert_ok(stele_close(store));
    store = open_store(STELE_READ_ONLY);
    assert_store(store);
    resized = 1;
    between = resize_it;
    int rc = backup(store);
    between = NULL;
    if (resized == STELE_OK) {
        assert_code(rc, STELE_E_STALE);
        assert_no_copy();
    } else { /* Windows replaces no file that is mapped */
        assert_ok(rc);
    }
    assert_ok(stele_close(store));
}

static bool is_cut_file;

static void cut_it(void)
{
    if (!is_cut_file)
        is_cut_file = system_cut(scratch_path, 4 * MIB + 4096);
}

static void a_file_that_is_cut_is_told_and_makes_none(void **state)
{
    struct stele *store = filled_store(COUNT_MAX, COUNT_MAX, 0);

    assert_ok(stele_close(store));
    store = open_store(STELE_READ_ONLY);
    assert_store(store);
    is_cut_file = false;
    between = cut_it;
    int rc = backup(store);
    between = NULL;
    if (is_cut_file) {
        assert_code(rc, STELE_E_TRUNCATED);
        assert_no_copy();
        assert_code(backup(store), STELE_E_TRUNCATED);
        assert_no_copy();
    } else { /* Windows cuts no file that is mapped */
        assert_ok(rc);
    }
    assert_ok(stele_close(store));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(a_copy_is_the_store_under_an_id_of_its_own),
        IN_FOLDER(what_cannot_be_is_refused_and_makes_no_file),
        IN_FOLDER(the_mode_of_the_file_is_kept),
        IN_FOLDER(holes_stay_holes_and_cost_no_work),
        IN_FOLDER(it_reads_ahead_in_small_steps_and_within_a_budget),
        IN_FOLDER(progress_is_told_and_a_stop_leaves_nothing),
        IN_FOLDER(without_disk_at_any_moment_nothing_is_left),
        IN_FOLDER(damage_is_kept_and_told),
        IN_FOLDER(damage_that_is_cut_off_meanwhile_is_none),
        IN_FOLDER(a_block_that_cannot_be_read_is_marked_and_the_rest_is_there),
        IN_FOLDER(the_copy_is_of_one_commit_whatever_is_committed_meanwhile),
        IN_FOLDER(asynchronous_commits_of_the_handle_are_in_its_copy),
        IN_FOLDER(writers_without_rest_are_outwaited_by_who_can_take_their_turn),
        IN_FOLDER(a_stripe_that_is_about_to_be_given_back_counts_as_moved),
        IN_FOLDER(what_stood_behind_the_count_is_not_shared),
        IN_FOLDER(what_a_dead_writer_left_in_the_journal_is_in_the_copy),
        IN_FOLDER(a_recovery_in_the_middle_is_followed),
        IN_FOLDER(a_writer_that_stopped_in_the_middle_is_busy_until_one_recovers),
        IN_FOLDER(when_the_last_writer_died_in_the_middle_the_journal_says_what_is_so),
        IN_FOLDER(a_store_that_is_replaced_meanwhile_is_stale),
        IN_FOLDER(a_file_that_is_cut_is_told_and_makes_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
