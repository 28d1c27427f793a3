/*
 * Recovery: what a dead writer left comes to the same however often it is interrupted, what is lost is told to
 * everybody and listed when it is given up, and damage keeps nobody out.
 *
 * Functions of os.h have others in their place here, so that a test can see them, stop at each, or spoil a page.
 */
#include "guard.h"
#include "journal.h"
#include "replay.h"
#include "scratch.h"
#include "wrap.h"

enum { RECORD_BYTES = 16, COUNT = 400, ENTRIES_MAX = 200, WRITES_MAX = 256, KILLED = 9 };

/* ---- the system ---- */

static struct {
    uint64_t offset, bytes;
} durable_writes[WRITES_MAX];
static unsigned durable_count;
static unsigned kill_at;             /* the process ends before its kill_at-th change; 0: never */
static uint64_t unreadable_offset;   /* of a page of the file that no map for reading can read; 0: none */

static void maybe_die(void)
{
    if (kill_at && --kill_at == 0)
        _exit(KILLED);
}

WRAPPED(int, stele_os_write, const struct stele_os_file *file, uint64_t offset, const void *bytes, size_t byte_count)
{
    maybe_die();
    return REAL(stele_os_write)(file, offset, bytes, byte_count);
}

/* A page that the disk never got, given up by the cache before a read: from then on it is as the disk has it. */
static struct {
    uint64_t offset;  /* of bytes that turn into zeros; 0: none */
    unsigned at_read; /* the read that finds them so; reads of them are counted down */
    bool is_gone;
} page;

WRAPPED(int, stele_os_read, const struct stele_os_file *file, uint64_t offset, void *out, size_t byte_count)
{
    static const uint8_t zeros[RECORD_BYTES];

    if (page.offset && page.offset >= offset && page.offset - offset < byte_count && page.at_read &&
        --page.at_read == 0) {
        poke(scratch_path, page.offset, zeros, sizeof(zeros));
        page.is_gone = true;
    }
    return REAL(stele_os_read)(file, offset, out, byte_count);
}

WRAPPED(int, stele_os_write_durable, const struct stele_os_file *file, uint64_t offset, const void *bytes,
        size_t byte_count)
{
    maybe_die();
    /* What is on the disk stays as it is. */
    if (page.offset >= offset && page.offset - offset < byte_count)
        page.at_read = 0;
    if (durable_count < WRITES_MAX) {
        durable_writes[durable_count].offset = offset;
        durable_writes[durable_count++].bytes = byte_count;
    }
    return REAL(stele_os_write_durable)(file, offset, bytes, byte_count);
}

WRAPPED(int, stele_os_store, const struct stele_os_file *file, uint64_t offset, const void *bytes, size_t byte_count,
        void *view)
{
    maybe_die();
    return REAL(stele_os_store)(file, offset, bytes, byte_count, view);
}

WRAPPED(int, stele_os_zero, const struct stele_os_file *file, uint64_t offset, uint64_t byte_count, bool is_sparse)
{
    maybe_die();
    return REAL(stele_os_zero)(file, offset, byte_count, is_sparse);
}

WRAPPED(int, stele_os_flush, void *address, size_t byte_count)
{
    maybe_die();
    return REAL(stele_os_flush)(address, byte_count);
}

WRAPPED(int, stele_os_sync, const struct stele_os_file *file)
{
    maybe_die();
    return REAL(stele_os_sync)(file);
}

WRAPPED(int, stele_os_map, const struct stele_os_file *file, uint64_t offset, size_t byte_count, bool is_writable,
        bool is_random, void **out)
{
    int rc = REAL(stele_os_map)(file, offset, byte_count, is_writable, is_random, out);

    if (rc == STELE_OK && !is_writable && unreadable_offset && unreadable_offset >= offset &&
        unreadable_offset - offset < byte_count)
        REQUIRE(system_break_page((uint8_t *)*out + (unreadable_offset - offset)));
    return rc;
}

/* ---- stores that a writer left ---- */

static uint8_t expected[COUNT * RECORD_BYTES];
static unsigned commit_count CARRIED; /* of the child that dies */
static uint8_t found[COUNT * RECORD_BYTES];
static char before_path[128], image_path[128];

/* Where the entries of the ring stand. */
static struct {
    uint64_t place, bytes, sequence;
} entries[ENTRIES_MAX];
static size_t entry_count;

/* Of a child that ends with it: in sight, so that it counts as no leak. */
static struct stele *left_open;

static void set_some_and_die(void *context)
{
    uint8_t record[RECORD_BYTES];

    left_open = open_store(STELE_READ_WRITE);
    REQUIRE(left_open);
    for (unsigned i = 0; i < commit_count; i++) {
        fill_record(record, RECORD_BYTES, i, 2);
        REQUIRE(stele_set(left_open, i * 3, record) == STELE_OK);
    }
    _exit(7);
}

static void find_entries(void)
{
    struct stele_os_file file;
    struct stele_superblock superblock;
    struct stele_walk walk;
    struct stele_walk_entry entry;

    assert_ok(stele_os_open(scratch_path, false, &file));
    assert_ok(stele_superblock_read(&file, &superblock));
    stele_walk_init(&walk, &file, &superblock.layout, &superblock.slot);
    for (entry_count = 0; stele_walk_next(&walk, &entry) == STELE_OK; entry_count++) {
        assert_true(entry_count < ENTRIES_MAX);
        entries[entry_count].place = superblock.layout.journal_offset + entry.place;
        entries[entry_count].bytes = entry.head->length;
        entries[entry_count].sequence = entry.head->sequence;
    }
    stele_walk_done(&walk);
    stele_os_close(&file);
}

/*
 * A store of COUNT records whose writer died after it had set every third of them, @commits in all: what was put in
 * place and the live region never reached the disk, headers and journal did.
 */
static void make_image(unsigned commits)
{
    static uint8_t bytes[4 * MIB];
    struct stele *store = create_store(RECORD_BYTES, COUNT, 512 * KIB, 0);

    assert_store(store);
    fill_records(expected, RECORD_BYTES, 0, COUNT, 1);
    assert_ok(stele_append(store, expected, COUNT, NULL));
    assert_ok(stele_close(store));
    snprintf(before_path, sizeof(before_path), "%s/before", scratch_folder);
    snprintf(image_path, sizeof(image_path), "%s/image", scratch_folder);
    copy_file(scratch_path, before_path);
    commit_count = commits;
    assert_int_equal(exit_of_child(set_some_and_die, NULL), 7);
    for (unsigned i = 0; i < commits; i++)
        fill_record(expected + i * 3 * RECORD_BYTES, RECORD_BYTES, i, 2);
    copy_file(before_path, image_path);
    peek(scratch_path, 0, bytes, STELE_LIVE_OFFSET);
    poke(image_path, 0, bytes, STELE_LIVE_OFFSET);
    peek(scratch_path, STELE_JOURNAL_OFFSET, bytes, 512 * KIB);
    poke(image_path, STELE_JOURNAL_OFFSET, bytes, 512 * KIB);
    copy_file(image_path, scratch_path);
    find_entries();
    assert_u64(entry_count, commits);
}

static struct stele_recovery recover(uint32_t flags)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele_recovery recovery = STELE_RECOVERY_INIT;

    options.flags = flags;
    assert_ok(stele_recover(scratch_path, &options, &recovery));
    return recovery;
}

static void assert_opens_are_refused(void)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele_recovery recovery = STELE_RECOVERY_INIT;
    struct stele *store;

    assert_code(stele_open(scratch_path, NULL, &store), STELE_E_DAMAGED);
    assert_says("recover --force");
    assert_code(stele_recover(scratch_path, &options, &recovery), STELE_E_DAMAGED);
    options.mode = STELE_READ_WRITE;
    assert_code(stele_open(scratch_path, &options, &store), STELE_E_DAMAGED);
    assert_says("recover --force");
}

static void spoil(uint64_t offset)
{
    uint8_t byte;

    peek(scratch_path, offset, &byte, 1);
    byte ^= 4;
    poke(scratch_path, offset, &byte, 1);
}

static void assert_records(struct stele *store)
{
    assert_u64(stele_count(store), COUNT);
    assert_ok(stele_read(store, 0, COUNT, found));
    assert_memory_equal(found, expected, sizeof(expected));
}

/* ---- the same bytes, however often ---- */

static uint64_t print_of_records(void)
{
    static uint8_t bytes[64 * KIB];
    struct stele *store = open_store(STELE_READ_ONLY);
    uint64_t print = 1;

    assert_store(store);
    struct stele_info info = info_of(store);
    assert_verifies(store);
    assert_records(store);
    assert_ok(stele_close(store));
    assert_u64(info.journal_entry_count, 0);
    for (uint64_t at = info.records_offset; at < info.sums_offset + info.sums_bytes; at++) {
        if ((at - info.records_offset) % sizeof(bytes) == 0)
            peek(scratch_path, at, bytes, (size_t)stele_min(sizeof(bytes), info.file_bytes - at));
        print = (print ^ bytes[(at - info.records_offset) % sizeof(bytes)]) * UINT64_C(0x9e3779b97f4a7c15);
    }
    return print;
}

static unsigned change CARRIED; /* before which recovery is killed */

static void recover_and_be_killed(void *context)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele_recovery recovery = STELE_RECOVERY_INIT;

    kill_at = change;
    REQUIRE(stele_recover(scratch_path, &options, &recovery) == STELE_OK);
    kill_at = 0;
}

static void a_recovery_that_is_killed_and_made_again_gives_the_same_bytes(void **state)
{
    int code = KILLED;
    unsigned stops = 0;

    make_image(60);
    struct stele_recovery recovery = recover(0);
    assert_u64(recovery.kind, STELE_RECOVERY_REPLAY);
    assert_u64(recovery.entry_count, 60);
    assert_u64(recovery.restored_count, 60);
    uint64_t print = print_of_records();
    assert_u64(recover(0).kind, STELE_RECOVERY_NONE);
    assert_u64(print_of_records(), print);
    unsigned step = scale_percent() < 50 ? 4 : 1;
    for (unsigned at = 1; code == KILLED; at += step) {
        copy_file(image_path, scratch_path);
        change = at;
        code = exit_of_child(recover_and_be_killed, NULL);
        stops += code == KILLED ? step : 0;
        /* And once more in the middle of the second. */
        change = at / 2 + 1;
        (void)exit_of_child(recover_and_be_killed, NULL);
        recover(0);
        assert_u64(print_of_records(), print);
    }
    assert_int_equal(code, 0);
    assert_true(stops > 8); /* slots, tail, records, sums, sync, flip, the checkpoint of close */
}

static void what_recovery_makes_durable_are_whole_pages(void **state)
{
    make_image(60);
    durable_count = 0;
    recover(0);
    assert_true(durable_count > 0 && durable_count < WRITES_MAX);
    for (unsigned i = 0; i < durable_count; i++) {
        assert_u64(durable_writes[i].offset % STELE_PAGE_BYTES, 0);
        assert_u64(durable_writes[i].bytes % STELE_PAGE_BYTES, 0);
    }
    for (size_t i = 0; i < entry_count; i++) {
        bool is_covered = false;
        assert_true(entries[i].bytes % STELE_PAGE_BYTES != 0); /* else nothing is shown */
        for (unsigned k = 0; k < durable_count; k++)
            is_covered = is_covered || (entries[i].place >= durable_writes[k].offset &&
                                        entries[i].place + stele_round_up(entries[i].bytes, STELE_PAGE_BYTES) <=
                                            durable_writes[k].offset + durable_writes[k].bytes);
        assert_true(is_covered);
    }
}

/* ---- loss is told ---- */

static void create_append_and_die(void *context)
{
    left_open = create_store(RECORD_BYTES, COUNT, 512 * KIB, 0);
    REQUIRE(left_open);
    for (unsigned i = 0; i < 20; i++)
        REQUIRE(stele_append(left_open, expected, 1, NULL) == STELE_OK);
    _exit(7);
}

static void a_rotten_first_entry_of_a_store_s_first_life_is_told_to_readers_too(void **state)
{
    struct stele *store;

    assert_int_equal(exit_of_child(create_append_and_die, NULL), 7);
    store = open_store(STELE_READ_ONLY);
    assert_store(store);
    assert_u64(info_of(store).clean, 0);
    assert_u64(stele_count(store), 20);
    assert_ok(stele_close(store));
    find_entries();
    assert_u64(entry_count, 20);
    spoil(entries[0].place + 100);
    assert_opens_are_refused();
}

static void a_header_that_was_lost_is_told_whatever_the_old_one_says(void **state)
{
    uint8_t old[STELE_SLOT_BYTES];

    make_image(3);
    /* Both writes of the flip lost: two good slots of an earlier life. The readers' quick look believes them. */
    peek(before_path, 0, old, sizeof(old));
    poke(scratch_path, 0, old, sizeof(old));
    poke(scratch_path, STELE_SLOT_BYTES, old, 8);
    peek(before_path, STELE_SLOT_BYTES, old, sizeof(old));
    poke(scratch_path, STELE_SLOT_BYTES, old, sizeof(old));
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store;
    options.mode = STELE_READ_WRITE;
    assert_code(stele_open(scratch_path, &options, &store), STELE_E_DAMAGED);
    /* One lost, the other rotten: the one that is left says "closed in good order", and is not believed. */
    for (unsigned rotten = 0; rotten < 2; rotten++) {
        copy_file(image_path, scratch_path);
        peek(before_path, (1 - rotten) * STELE_SLOT_BYTES, old, sizeof(old));
        poke(scratch_path, (1 - rotten) * STELE_SLOT_BYTES, old, sizeof(old));
        spoil(rotten * STELE_SLOT_BYTES + 200);
        assert_opens_are_refused();
    }
}

/* ---- loss that is given up ---- */

static void commits_of_a_lost_header_are_given_up_and_their_numbers_never_given_out_again(void **state)
{
    uint8_t old[STELE_SLOT_BYTES], record[RECORD_BYTES];
    uint64_t sequence = 0;
    struct stele_txn *txn;

    make_image(3);
    peek(before_path, 0, old, sizeof(old));
    poke(scratch_path, 0, old, sizeof(old));
    spoil(STELE_SLOT_BYTES + 200);
    struct stele_recovery recovery = recover(STELE_FORCE);
    assert_u64(recovery.kind, STELE_RECOVERY_FORCED);
    assert_true(recovery.lost_first <= entries[0].sequence);
    assert_true(recovery.lost_last >= entries[2].sequence);
    assert_true(recovery.first_new > entries[2].sequence);
    assert_u64(recovery.header_damage, STELE_FILE_DAMAGE_SLOT_B);
    for (unsigned round = 0; round < 2; round++) {
        struct stele *store = open_store(STELE_READ_WRITE);
        assert_store(store);
        for (size_t i = 0; i < 3; i++)
            assert_code(stele_outcome(store, entries[i].sequence), STELE_E_ABSENT);
        fill_record(record, RECORD_BYTES, 0, 3);
        assert_ok(stele_begin(store, &txn));
        assert_ok(stele_txn_set(txn, 0, record));
        assert_ok(stele_commit(txn, STELE_DURABLE, &sequence));
        assert_true(sequence > recovery.first_new - 1);
        assert_ok(stele_outcome(store, sequence));
        assert_ok(stele_close(store));
    }
}

struct loss {
    size_t first, last; /* entries */
};

static struct loss losses[ENTRIES_MAX];

/* @holes of @width entries each. */
static void spoil_entries(size_t holes, size_t width)
{
    for (size_t i = 0; i < holes; i++) {
        losses[i].first = 5 + i * (width + 1);
        losses[i].last = losses[i].first + width - 1;
        for (size_t k = losses[i].first; k <= losses[i].last; k++)
            spoil(entries[k].place + 100);
    }
}

static bool is_lost(size_t entry, size_t holes)
{
    for (size_t i = 0; i < holes; i++) {
        if (entry >= losses[i].first && entry <= losses[i].last)
            return true;
    }
    return false;
}

/* Each range that was given up stands in the history, in order; behind the 32nd they may be one. */
static void assert_history(size_t holes)
{
    struct stele_slot slots[2];
    size_t listed = 0;

    peek(scratch_path, 0, slots, sizeof(slots));
    const struct stele_slot *slot = &slots[slots[1].generation > slots[0].generation];
    for (uint64_t i = 0; i < slot->history_total; i++) {
        const struct stele_history *entry = &slot->history[i];
        if (entry->kind != STELE_RECOVERY_FORCED)
            continue;
        assert_true(listed < holes);
        assert_u64(entry->last_kept + 1, entries[losses[listed].first].sequence);
        size_t last = holes > 32 && listed == 31 ? holes - 1 : listed;
        assert_u64(entry->first_new - 1, entries[losses[last].last].sequence);
        listed++;
    }
    assert_u64(listed, holes > 32 ? 32 : holes);
}

static void recovery_by_force_ends_in_an_open_store_and_lists_what_it_gave_up(void **state)
{
    static const struct { size_t holes, width; } cases[] = {
        { 1, 1 }, { 1, 3 }, { 2, 1 }, { 3, 2 }, { 8, 1 }, { 9, 1 }, { 32, 1 }, { 33, 1 }, { 40, 1 }, { 20, 3 },
    };

    make_image(100);
    for (size_t n = 0; n < COUNT_OF(cases); n++) {
        size_t holes = cases[n].holes;
        copy_file(image_path, scratch_path);
        spoil_entries(holes, cases[n].width);
        assert_opens_are_refused();
        struct stele_recovery recovery = recover(STELE_FORCE);
        assert_u64(recovery.kind, STELE_RECOVERY_FORCED);
        assert_u64(recovery.entry_count, entry_count - holes * cases[n].width);
        assert_u64(recovery.lost_first, entries[losses[0].first].sequence);
        assert_u64(recovery.lost_last, entries[losses[holes - 1].last].sequence);
        assert_u64(recovery.last_kept, entries[entry_count - 1].sequence);
        assert_history(holes);
        struct stele *store = open_store(STELE_READ_WRITE);
        assert_store(store);
        for (size_t i = 0; i < entry_count; i++) {
            uint8_t record[RECORD_BYTES], old[RECORD_BYTES];
            bool is_merged = holes > 32 && i > losses[31].first && i < losses[holes - 1].last;
            if (is_lost(i, holes) || !is_merged)
                assert_code(stele_outcome(store, entries[i].sequence), is_lost(i, holes) ? STELE_E_ABSENT : STELE_OK);
            fill_record(old, RECORD_BYTES, i * 3, 1);
            assert_ok(stele_get(store, i * 3, record));
            assert_memory_equal(record, is_lost(i, holes) ? old : expected + i * 3 * RECORD_BYTES, RECORD_BYTES);
        }
        assert_ok(stele_close(store));
        /* Once more: nothing is lost twice. */
        assert_u64(recover(STELE_FORCE).kind, STELE_RECOVERY_NONE);
        assert_history(holes);
    }
}

/* ---- damage keeps nobody out ---- */

static unsigned error_count;

static void count_errors(void *context, int level, const char *text)
{
    error_count += level == 0;
}

static void recovery_reports_a_block_that_is_damaged_or_unreadable_and_goes_on(void **state)
{
    for (unsigned is_unreadable = 0; is_unreadable < 1u + system_may_break(); is_unreadable++) {
        system_return_faults();
        make_image(4); /* records 0 to 9 */
        struct stele_verify_report report = STELE_VERIFY_REPORT_INIT;
        if (is_unreadable)
            unreadable_offset = STELE_RECORDS_ALIGN * 2; /* a page, and block 0 is just that */
        else
            spoil(STELE_RECORDS_ALIGN * 2 + 100 * RECORD_BYTES);
        error_count = 0;
        stele_log_to(count_errors, NULL);
        struct stele_recovery recovery = recover(0);
        stele_log_to(NULL, NULL);
        assert_u64(error_count, 1);
        assert_u64(recovery.kind, STELE_RECOVERY_REPLAY);
        assert_u64(recovery.entry_count, 4);
        assert_u64(recovery.damaged_count, 1);
        assert_u64(recovery.first_damaged_block, 0);
        assert_u64(recovery.count, COUNT);
        struct stele *store = open_store(STELE_READ_WRITE);
        assert_store(store);
        assert_ok(stele_read(store, 256, 144, found));
        assert_memory_equal(found, expected + 256 * RECORD_BYTES, 144 * RECORD_BYTES);
        assert_code(stele_get(store, 0, found), is_unreadable ? STELE_E_IO : STELE_OK);
        assert_code(stele_verify(store, NULL, &report), STELE_E_DAMAGED);
        assert_u64(report.damaged_count, 1);
        assert_u64(report.first_damaged_block, 0);
        assert_u64(report.unreadable_count, is_unreadable);
        assert_ok(stele_set(store, 300, expected + 300 * RECORD_BYTES));
        assert_ok(stele_close(store));
        unreadable_offset = 0;
        assert_int_equal(unlink(scratch_path), 0);
    }
}

static int drop_and_mend(void **state)
{
    unreadable_offset = 0;
    return scratch_drop(state);
}

/* ---- records that look like a journal ---- */

static uint8_t forged[8 * KIB];

enum {
    SOME_AT_PAGES = 128, /* the records of an entry begin at 128 or 96 of a page, so that some copies begin a page */
    NONE_AT_PAGES = 136,
};

/* Entries as of a session and with sequences of somebody's choice, each @stride bytes, as the bytes of records. */
static void forge(uint64_t session, uint64_t sequence, size_t stride)
{
    struct stele_entry entry = { .bytes = NULL };
    struct stele_entry_identity identity = { .sequence = sequence, .session = session, .synced_seq = sequence - 1 };
    uint64_t trailer;
    size_t padded_bytes;
    uint8_t *payload;

    assert_ok(stele_entry_begin(&entry));
    assert_ok(stele_entry_add(&entry, STELE_ITEM_TIME, 0, 1, 0, 0, &payload));
    assert_ok(stele_entry_seal(&entry, &identity, &trailer, &padded_bytes));
    memset(forged, 0, sizeof(forged));
    for (size_t at = 0; at + entry.used_bytes <= sizeof(forged); at += stride)
        memcpy(forged + at, entry.bytes, entry.used_bytes);
    stele_entry_done(&entry);
}

static const bool is_own_session_of[] = { false, true };

static void store_the_forged_and_die(void *context)
{
    struct stele_info info = STELE_INFO_INIT;

    left_open = open_store(STELE_READ_WRITE);
    REQUIRE(left_open && stele_info(left_open, &info) == STELE_OK);
    forge(*(const bool *)context ? info.session : 12345, info.sequence + (UINT64_C(1) << 40), SOME_AT_PAGES);
    REQUIRE(stele_append(left_open, forged, 1, NULL) == STELE_OK);
    REQUIRE(stele_append(left_open, forged, 1, NULL) == STELE_OK);
    _exit(7);
}

static void records_that_hold_entries_raise_no_false_alarm(void **state)
{
    for (size_t i = 0; i < COUNT_OF(is_own_session_of); i++) {
        struct stele *store = create_store(sizeof(forged), 10, 64 * KIB, 0);
        static uint8_t record[sizeof(forged)];
        assert_store(store);
        assert_ok(stele_close(store));
        assert_int_equal(exit_of_child(store_the_forged_and_die, (void *)(uintptr_t)&is_own_session_of[i]), 7);
        store = open_store(STELE_READ_ONLY);
        assert_store(store);
        assert_u64(stele_count(store), 2);
        assert_verifies(store);
        assert_ok(stele_get(store, 1, record));
        assert_ok(stele_close(store));
        struct stele_recovery recovery = recover(0);
        assert_u64(recovery.kind, STELE_RECOVERY_REPLAY);
        assert_u64(recovery.entry_count, 2);
        assert_u64(recovery.count, 2);
        /* Nor are numbers skipped for it. */
        assert_u64(recovery.first_new, recovery.last_kept + (UINT64_C(1) << 32) + 1);
        assert_int_equal(unlink(scratch_path), 0);
    }
}

/* The ring goes round: shorter entries overwrite the heads of longer ones, whose records stay in sight behind them. */
static void go_round_and_die(void *context)
{
    struct stele_info info = STELE_INFO_INIT;

    left_open = open_store(STELE_READ_WRITE);
    REQUIRE(left_open && stele_info(left_open, &info) == STELE_OK);
    forge(12345, info.sequence + (UINT64_C(1) << 40), NONE_AT_PAGES);
    REQUIRE(stele_append(left_open, forged, 1, NULL) == STELE_OK);
    for (unsigned i = 0; i < 20; i++)
        REQUIRE(stele_set(left_open, 0, forged) == STELE_OK);
    REQUIRE(stele_checkpoint(left_open) == STELE_OK);
    for (unsigned i = 0; i < commit_count; i++) {
        struct stele_txn *txn;
        REQUIRE(stele_begin(left_open, &txn) == STELE_OK);
        REQUIRE(stele_txn_tag(txn, "tag", 3) == STELE_OK);
        REQUIRE(stele_commit(txn, STELE_DURABLE, NULL) == STELE_OK);
    }
    _exit(7);
}

static void what_is_left_of_overwritten_entries_raises_no_false_alarm(void **state)
{
    for (unsigned commits = 0; commits < 14; commits++) {
        struct stele *store = create_store(sizeof(forged), 10, 64 * KIB, 0);
        assert_store(store);
        assert_ok(stele_close(store));
        commit_count = commits;
        assert_int_equal(exit_of_child(go_round_and_die, NULL), 7);
        store = open_store(STELE_READ_ONLY);
        assert_store(store);
        assert_verifies(store);
        assert_ok(stele_close(store));
        assert_u64(recover(0).entry_count, commits);
        assert_int_equal(unlink(scratch_path), 0);
    }
}

/* ---- what it costs ---- */

enum { SMALL_COMMITS = 100, SMALL_PER_COMMIT = 64 * KIB };

static void append_bytes_and_die(void *context)
{
    static uint8_t bytes[SMALL_PER_COMMIT];

    left_open = open_store(STELE_READ_WRITE);
    REQUIRE(left_open);
    for (unsigned i = 0; i < SMALL_COMMITS; i++) {
        memset(bytes, (int)i + 1, sizeof(bytes));
        REQUIRE(stele_append(left_open, bytes, sizeof(bytes), NULL) == STELE_OK);
    }
    _exit(7);
}

static void recover_in_little_memory(void *context)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele_recovery recovery = STELE_RECOVERY_INIT;
    uint64_t before = system_peak_bytes();

    REQUIRE(stele_recover(scratch_path, &options, &recovery) == STELE_OK);
    REQUIRE(recovery.entry_count == SMALL_COMMITS);
    REQUIRE(recovery.count == (uint64_t)SMALL_COMMITS * SMALL_PER_COMMIT);
    /* The records themselves are 6 MiB, in the map; an image of each by itself would be 200 MiB and more. */
    REQUIRE(system_peak_bytes() - before < 64 * MIB);
}

static void replay_costs_by_the_item_and_not_by_the_record(void **state)
{
    struct stele *store = create_store(1, (uint64_t)SMALL_COMMITS * SMALL_PER_COMMIT, 16 * MIB, 0);
    struct stele_os_file file;
    struct stele_superblock superblock;
    struct stele_replay replay;
    struct stele_walk walk;

    assert_store(store);
    assert_ok(stele_close(store));
    assert_int_equal(exit_of_child(append_bytes_and_die, NULL), 7);
    assert_ok(stele_os_open(scratch_path, false, &file));
    assert_ok(stele_superblock_read(&file, &superblock));
    stele_walk_init(&walk, &file, &superblock.layout, &superblock.slot);
    stele_replay_init(&replay, &superblock.layout, &superblock.slot, 0);
    assert_ok(stele_replay_walk(&replay, &walk, UINT64_MAX));
    assert_u64(replay.entry_count, SMALL_COMMITS);
    assert_ok(stele_replay_finish(&replay, &superblock.layout));
    /* One run of records and a few of words for each entry. */
    assert_true(replay.records.count <= SMALL_COMMITS * 2);
    assert_true(replay.words.count <= SMALL_COMMITS * 4);
    assert_true((replay.records.room + replay.words.room) * sizeof(struct stele_run) < 256 * KIB);
    assert_u64(stele_runs_total(&replay.records), (uint64_t)SMALL_COMMITS * SMALL_PER_COMMIT);
    stele_walk_done(&walk);
    stele_replay_done(&replay);
    stele_os_close(&file);
    assert_int_equal(exit_of_child(recover_in_little_memory, NULL), 0);
}

/* Each read of the last entry, up to when it is durable, may be the first that finds it as the disk has it. */
static void what_turns_back_while_it_recovers_is_there_or_not_and_never_half(void **state)
{
    uint8_t record[RECORD_BYTES], wanted[RECORD_BYTES], old[RECORD_BYTES];
    bool is_gone = true;
    unsigned gone_count = 0;

    for (unsigned nth = 1; is_gone; nth++) {
        make_image(4);
        find_entries();
        assert_u64(entry_count, 4);
        /* The image of its record: behind the head of the entry and that of the item. */
        page.offset = entries[3].place + sizeof(struct stele_entry_head) + sizeof(struct stele_item);
        page.at_read = nth;
        page.is_gone = false;
        struct stele *store = open_store(STELE_READ_WRITE);
        assert_store(store);
        is_gone = page.is_gone;
        gone_count += is_gone;
        page.offset = 0;
        assert_verifies(store);
        fill_record(wanted, RECORD_BYTES, 3, 2);
        fill_record(old, RECORD_BYTES, 9, 1);
        assert_ok(stele_get(store, 9, record));
        assert_memory_equal(record, is_gone ? old : wanted, RECORD_BYTES);
        fill_record(wanted, RECORD_BYTES, 2, 2);
        assert_ok(stele_get(store, 6, record));
        assert_memory_equal(record, wanted, RECORD_BYTES);
        assert_ok(stele_close(store));
        remove(scratch_path);
    }
    assert_true(gone_count >= 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FAST_SCRATCH(a_recovery_that_is_killed_and_made_again_gives_the_same_bytes),
        IN_SCRATCH(what_recovery_makes_durable_are_whole_pages),
        IN_SCRATCH(a_rotten_first_entry_of_a_store_s_first_life_is_told_to_readers_too),
        IN_SCRATCH(a_header_that_was_lost_is_told_whatever_the_old_one_says),
        IN_SCRATCH(commits_of_a_lost_header_are_given_up_and_their_numbers_never_given_out_again),
        IN_FAST_SCRATCH(recovery_by_force_ends_in_an_open_store_and_lists_what_it_gave_up),
        cmocka_unit_test_setup_teardown(recovery_reports_a_block_that_is_damaged_or_unreadable_and_goes_on, scratch_make,
                                        drop_and_mend),
        IN_SCRATCH(records_that_hold_entries_raise_no_false_alarm),
        IN_FAST_SCRATCH(what_is_left_of_overwritten_entries_raises_no_false_alarm),
        IN_FAST_SCRATCH(replay_costs_by_the_item_and_not_by_the_record),
        IN_SCRATCH(what_turns_back_while_it_recovers_is_there_or_not_and_never_half),
    };

    if (stele_guard_install())
        return 1;
    system_note_faults();
    return cmocka_run_group_tests_name("recover", tests, NULL, NULL);
}
