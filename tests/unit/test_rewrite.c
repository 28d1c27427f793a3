/* Resizing: the same records in a file of another size, in the old one's place; damage, others, and what is kept. */
#include "os.h"
#include "scratch.h"

#include <dirent.h>

enum { RECORD_BYTES = 100, COUNT = 200 };

static uint8_t records[COUNT * RECORD_BYTES] CARRIED, out[COUNT * RECORD_BYTES];

static struct stele *filled_store(uint64_t capacity, uint32_t flags)
{
    struct stele *store = create_store(RECORD_BYTES, capacity, 16 * KIB, flags);

    assert_store(store);
    fill_records(records, RECORD_BYTES, 0, COUNT, 0);
    assert_ok(stele_append(store, records, COUNT, NULL));
    return store;
}

static int resize(uint64_t capacity, uint64_t journal_bytes, uint32_t flags)
{
    struct stele_options options = STELE_OPTIONS_INIT;

    options.capacity_records = capacity;
    options.journal_bytes = journal_bytes;
    options.flags = flags;
    options.lock_wait_ms = 200;
    return stele_resize(scratch_path, &options);
}

static void assert_filled(struct stele *store)
{
    assert_u64(stele_count(store), COUNT);
    assert_ok(stele_read(store, 0, COUNT, out));
    assert_memory_equal(out, records, sizeof(records));
}

static void capacity_and_journal_become_what_was_asked_for_and_the_rest_stays(void **state)
{
    static const struct { uint64_t capacity, journal_bytes, is_capacity, is_journal; } cases[] = {
        { 100000, 0, 100000, 16 * KIB },   { COUNT, 0, COUNT, 16 * KIB },     { 0, MIB, COUNT, MIB },
        { 0, 0, COUNT, MIB },              { 5000, 20 * KIB, 5000, 20 * KIB }, { COUNT + 1, 4 * MIB, COUNT + 1, 4 * MIB },
        { 3000, 16 * KIB, 3000, 16 * KIB },
    };
    struct stele *store = filled_store(1000, 0);
    struct stele_txn *txn;
    uint8_t user[64] = { 5 };

    assert_ok(stele_begin(store, &txn));
    assert_ok(stele_txn_user(txn, 77, user));
    assert_ok(stele_txn_tag(txn, "label", 5));
    assert_ok(stele_commit(txn, STELE_DURABLE, NULL));
    struct stele_info first = info_of(store), before = first;
    assert_ok(stele_close(store));
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_ok(resize(cases[i].capacity, cases[i].journal_bytes, 0));
        store = open_store(i % 2 ? STELE_READ_WRITE : STELE_READ_ONLY);
        assert_store(store);
        struct stele_info info = info_of(store);
        assert_u64(info.capacity, cases[i].is_capacity);
        assert_u64(info.journal_bytes, cases[i].is_journal);
        assert_u64(info.file_bytes, size_of_file(scratch_path));
        assert_u64(info.record_bytes, RECORD_BYTES);
        assert_u64(info.user_version, 77);
        assert_memory_equal(info.user, user, 64);
        assert_u64(info.tag_bytes, 5);
        assert_memory_equal(info.tag, "label", 5);
        assert_u64(info.created_us, first.created_us);
        assert_true(memcmp(info.file_id, before.file_id, 16) != 0);
        assert_memory_equal(info.origin_file_id, before.file_id, 16);
        assert_true(info.sequence >= before.sequence); /* numbers go on */
        assert_filled(store);
        assert_verifies(store);
        before = info;
        assert_ok(stele_close(store));
    }
    store = open_store(STELE_READ_WRITE);
    assert_store(store);
    assert_ok(stele_set(store, COUNT - 1, records));
    assert_ok(stele_append(store, records, 1, NULL));
    assert_verifies(store);
    assert_ok(stele_close(store));
}

static void the_folder_holds_the_store_alone_afterwards(void)
{
    DIR *folder = opendir(scratch_folder);
    struct dirent *entry;
    unsigned count = 0;

    assert_non_null(folder);
    while ((entry = readdir(folder))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        assert_string_equal(entry->d_name, "a.stele");
        count++;
    }
    closedir(folder);
    assert_int_equal(count, 1);
}

static void what_cannot_be_is_refused_and_changes_nothing(void **state)
{
    static const struct { uint64_t capacity, journal_bytes; uint32_t flags; int code; } cases[] = {
        { COUNT - 1, 0, 0, STELE_E_RANGE }, { 1, 0, 0, STELE_E_RANGE },
        { (UINT64_C(1) << 48) + 1, 0, 0, STELE_E_RANGE }, { UINT64_MAX, 0, 0, STELE_E_RANGE },
        { UINT64_C(1) << 60, 0, 0, STELE_E_RANGE }, { 0, 4096, 0, STELE_E_RANGE }, { 0, 16 * KIB + 8, 0, STELE_E_RANGE },
        { 0, 256 * MIB, 0, STELE_E_RANGE }, { COUNT - 1, 0, STELE_FORCE, STELE_E_RANGE },
        { 1000, 0, STELE_CREATE, STELE_E_USAGE }, { 1000, 0, 2, STELE_E_USAGE },
    };
    struct stele *store = filled_store(1000, 0);
    uint8_t id[16];

    memcpy(id, info_of(store).file_id, 16);
    assert_ok(stele_close(store));
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_code(resize(cases[i].capacity, cases[i].journal_bytes, cases[i].flags), cases[i].code);
        store = open_store(STELE_READ_ONLY);
        assert_store(store);
        assert_memory_equal(info_of(store).file_id, id, 16);
        assert_u64(info_of(store).capacity, 1000);
        assert_filled(store);
        assert_verifies(store);
        assert_ok(stele_close(store));
        the_folder_holds_the_store_alone_afterwards();
    }
    assert_code(stele_resize(NULL, NULL), STELE_E_USAGE);
    assert_int_equal(unlink(scratch_path), 0);
    assert_code(resize(1000, 0, 0), STELE_E_ABSENT);
    poke(scratch_path, 0, "other", 5);
    assert_code(resize(1000, 0, 0), STELE_E_FORMAT);
    the_folder_holds_the_store_alone_afterwards();
}

static void damage_stops_it_and_force_carries_it_over_marked(void **state)
{
    struct stele *store = filled_store(1000, 0);
    struct stele_verify_report report = STELE_VERIFY_REPORT_INIT;
    uint8_t id[16], byte;

    struct stele_info info = info_of(store);
    memcpy(id, info.file_id, 16);
    assert_ok(stele_close(store));
    uint64_t offset = info.records_offset + 70 * RECORD_BYTES + 3; /* block 2: records 64 to 95 */
    peek(scratch_path, offset, &byte, 1);
    byte ^= 8;
    poke(scratch_path, offset, &byte, 1);
    records[70 * RECORD_BYTES + 3] = byte;
    assert_code(resize(5000, 0, 0), STELE_E_DAMAGED);
    assert_says("records 64 to 95");
    store = open_store(STELE_READ_ONLY);
    assert_store(store);
    assert_memory_equal(info_of(store).file_id, id, 16);
    assert_filled(store);
    assert_ok(stele_close(store));
    the_folder_holds_the_store_alone_afterwards();
    for (unsigned round = 0; round < 2; round++) { /* marked stays marked */
        assert_ok(resize(5000 + round, 0, STELE_FORCE));
        store = open_store(STELE_READ_WRITE);
        assert_store(store);
        assert_u64(info_of(store).capacity, 5000 + round);
        assert_filled(store);
        assert_code(stele_verify(store, NULL, &report), STELE_E_DAMAGED);
        assert_u64(report.damaged_count, 1);
        assert_u64(report.known_count, 1);
        assert_u64(report.first_damaged_block, 2);
        assert_code(stele_set(store, 71, records), STELE_E_DAMAGED);
        assert_ok(stele_set(store, 63, records + 63 * RECORD_BYTES));
        assert_ok(stele_close(store));
        assert_code(resize(9000, 0, 0), STELE_E_DAMAGED);
    }
}

static void a_store_that_is_open_for_writing_elsewhere_is_busy(void **state)
{
    struct stele *store = filled_store(1000, 0);
    struct stele_txn *txn;

    assert_code(resize(5000, 0, 0), STELE_E_BUSY);
    assert_says("open for writing");
    assert_ok(stele_begin(store, &txn));
    assert_code(resize(5000, 0, 0), STELE_E_BUSY);
    assert_ok(stele_txn_set(txn, 0, records));
    assert_ok(stele_commit(txn, STELE_DURABLE, NULL));
    assert_ok(stele_append(store, records, 1, NULL));
    assert_verifies(store);
    assert_ok(stele_close(store));
    assert_ok(resize(5000, 0, 0));
    the_folder_holds_the_store_alone_afterwards();
}

static void a_reader_of_the_old_file_is_stale_or_reads_on_and_a_new_one_sees_the_new(void **state)
{
    struct stele *store = filled_store(1000, 0), *reader;
    struct stele_view view;
    uint8_t record[RECORD_BYTES];

    assert_ok(stele_close(store));
    reader = open_store(STELE_READ_ONLY);
    assert_store(reader);
    assert_ok(stele_view_open(reader, 0, COUNT, &view));
    int rc = resize(5000, 0, 0);
    assert_memory_equal(view.records, records, sizeof(records)); /* the old file lives while it is open */
    if (rc && stele_os_needs_views()) {
        /* Windows replaces no file that is mapped. */
        assert_code(rc, STELE_E_BUSY);
        assert_filled(reader);
        stele_view_close(&view);
        assert_ok(stele_close(reader));
        the_folder_holds_the_store_alone_afterwards();
        assert_ok(resize(5000, 0, 0));
        return;
    }
    assert_ok(rc);
    for (uint64_t i = 0; i < COUNT; i += 17) {
        rc = stele_get(reader, i, record);
        assert_true(rc == STELE_OK || rc == STELE_E_STALE);
        if (rc == STELE_OK)
            assert_memory_equal(record, records + i * RECORD_BYTES, RECORD_BYTES);
    }
    stele_view_close(&view);
    store = open_store(STELE_READ_WRITE);
    assert_store(store);
    fill_record(record, RECORD_BYTES, 0, 9);
    assert_ok(stele_set(store, 0, record)); /* goes to the new file alone */
    rc = stele_get(reader, 0, out);
    assert_true(rc == STELE_E_STALE || (rc == STELE_OK && memcmp(out, records, RECORD_BYTES) == 0));
    assert_ok(stele_close(reader));
    assert_ok(stele_close(store));
    reader = open_store(STELE_READ_ONLY);
    assert_store(reader);
    assert_ok(stele_get(reader, 0, out));
    assert_memory_equal(out, record, RECORD_BYTES);
    assert_ok(stele_close(reader));
}

static void the_mode_of_the_file_is_kept(void **state)
{
    struct stele *store = filled_store(1000, 0);
    struct stele_os_file file;
    struct stele_os_stat status;

    assert_ok(stele_close(store));
    for (unsigned i = 0; i < SYSTEM_MODES; i++) {
        if (!system_set_mode(scratch_path, i)) {
            print_message("this file system keeps no attributes\n");
            skip();
        }
        assert_ok(resize(1000 + i, 0, 0));
        assert_true(system_has_mode(scratch_path, i));
        assert_ok(stele_os_open(scratch_path, false, &file));
        assert_ok(stele_os_stat(&file, &status));
        assert_u64(status.links, 1);
        stele_os_close(&file);
    }
}

static void a_sparse_store_stays_sparse_and_zeros_stay_holes(void **state)
{
    struct stele *store = create_store(RECORD_BYTES, 10, 16 * KIB, STELE_SPARSE);
    uint8_t record[RECORD_BYTES];

    assert_store(store);
    fill_record(record, RECORD_BYTES, 1, 1);
    assert_ok(stele_set_count(store, 300000)); /* 30 MB */
    assert_ok(stele_set(store, 299999, record));
    assert_ok(stele_close(store));
    assert_ok(resize(1000000, 0, 0));
    store = open_store(STELE_READ_ONLY);
    assert_store(store);
    struct stele_info info = info_of(store);
    assert_u64(info.sparse, 1);
    assert_u64(info.capacity, 1000000);
    assert_true(info.disk_bytes < 8 * MIB);
    assert_u64(stele_count(store), 300000);
    assert_ok(stele_get(store, 299999, out));
    assert_memory_equal(out, record, RECORD_BYTES);
    assert_verifies(store);
    assert_ok(stele_close(store));
}

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

static void progress_is_told_and_can_stop_it(void **state)
{
    struct stele *store = create_store(4096, 5000, 16 * KIB, STELE_SPARSE);
    struct stele_options options = STELE_OPTIONS_INIT;
    struct watch seen = { .calls = 0 };

    assert_store(store);
    assert_ok(stele_set_count(store, 5000)); /* 20 MB */
    assert_ok(stele_close(store));
    options.capacity_records = 6000;
    options.progress = watch;
    options.progress_context = &seen;
    assert_ok(stele_resize(scratch_path, &options));
    assert_true(seen.calls >= 2);
    assert_u64(seen.total, 5000 * 4096);
    for (unsigned stop_at = 1; stop_at <= 2; stop_at++) {
        seen = (struct watch){ .stop_at = stop_at };
        options.capacity_records = 7000;
        assert_code(stele_resize(scratch_path, &options), STELE_E_INTERRUPTED);
        store = open_store(STELE_READ_WRITE);
        assert_store(store);
        assert_u64(info_of(store).capacity, 6000);
        assert_u64(stele_count(store), 5000);
        assert_ok(stele_close(store));
        the_folder_holds_the_store_alone_afterwards();
    }
}

static void write_and_die(void *context)
{
    struct stele *store = open_store(STELE_READ_WRITE);

    REQUIRE(store && stele_set(store, 5, records) == STELE_OK);
    _exit(7);
}

static void what_a_dead_writer_left_in_the_journal_comes_along(void **state)
{
    struct stele *store = filled_store(1000, 0);

    assert_ok(stele_close(store));
    assert_int_equal(exit_of_child(write_and_die, NULL), 7);
    assert_ok(resize(5000, MIB, 0));
    memcpy(records + 5 * RECORD_BYTES, records, RECORD_BYTES);
    store = open_store(STELE_READ_ONLY);
    assert_store(store);
    assert_filled(store);
    assert_verifies(store);
    assert_ok(stele_close(store));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FAST_SCRATCH(capacity_and_journal_become_what_was_asked_for_and_the_rest_stays),
        IN_FAST_SCRATCH(what_cannot_be_is_refused_and_changes_nothing),
        IN_FAST_SCRATCH(damage_stops_it_and_force_carries_it_over_marked),
        IN_FAST_SCRATCH(a_store_that_is_open_for_writing_elsewhere_is_busy),
        IN_FAST_SCRATCH(a_reader_of_the_old_file_is_stale_or_reads_on_and_a_new_one_sees_the_new),
        IN_SCRATCH(the_mode_of_the_file_is_kept),
        IN_SCRATCH(a_sparse_store_stays_sparse_and_zeros_stay_holes),
        IN_FAST_SCRATCH(progress_is_told_and_can_stop_it),
        IN_FAST_SCRATCH(what_a_dead_writer_left_in_the_journal_comes_along),
    };

    return cmocka_run_group_tests_name("rewrite", tests, NULL, NULL);
}
