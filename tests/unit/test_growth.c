/* Growth: more capacity in place, at every edge, many times, without disk, and under the eyes of others. */
#include "scratch.h"
#include "wrap.h"

enum { RECORD_BYTES = 100, PER_BLOCK = 32 };

static uint8_t record[RECORD_BYTES], other[RECORD_BYTES];

static void append_one(struct stele *store, uint64_t index)
{
    uint64_t first = 99;

    fill_record(record, RECORD_BYTES, index, 0);
    assert_ok(stele_append(store, record, 1, &first));
    assert_u64(first, index);
}

static void assert_filled(struct stele *store, uint64_t count)
{
    assert_u64(stele_count(store), count);
    for (uint64_t i = 0; i < count; i++) {
        fill_record(other, RECORD_BYTES, i, 0);
        assert_ok(stele_get(store, i, record));
        assert_memory_equal(record, other, RECORD_BYTES);
    }
    assert_verifies(store);
}

static void a_full_store_of_every_capacity_takes_one_more(void **state)
{
    for (uint64_t capacity = 1; capacity <= 2 * PER_BLOCK + 2; capacity++) {
        struct stele *store = create_store(RECORD_BYTES, capacity, 16 * KIB, capacity % 2 ? STELE_SPARSE : 0);
        assert_store(store);
        for (uint64_t i = 0; i < capacity; i++)
            append_one(store, i);
        struct stele_info before = info_of(store), after;
        assert_u64(before.capacity, capacity);
        append_one(store, capacity);
        after = info_of(store);
        assert_true(after.capacity > capacity);
        assert_true(after.sums_offset > before.sums_offset);
        assert_u64(after.records_offset, before.records_offset);
        assert_u64(after.layout_version, before.layout_version + 1);
        assert_u64(after.file_bytes, size_of_file(scratch_path));
        assert_filled(store, capacity + 1);
        assert_ok(stele_close(store));
        store = open_store(STELE_READ_ONLY);
        assert_store(store);
        assert_filled(store, capacity + 1);
        assert_ok(stele_close(store));
        assert_int_equal(unlink(scratch_path), 0);
    }
}

static void many_growths_one_after_the_other_lose_nothing(void **state)
{
    struct stele *store = create_store(RECORD_BYTES, 1, 16 * KIB, 0), *second = open_store(STELE_READ_WRITE);
    uint64_t growths = scaled(300, 20);

    assert_store(store);
    assert_store(second);
    for (uint64_t i = 0; i < growths; i++) {
        struct stele *writer = i % 3 ? store : second;
        uint64_t version = info_of(writer).layout_version;
        assert_ok(stele_reserve(writer, info_of(writer).capacity + 1));
        assert_u64(info_of(writer).layout_version, version + 1);
        append_one(i % 2 ? store : second, i);
    }
    assert_filled(store, growths);
    assert_filled(second, growths);
    assert_ok(stele_close(store));
    assert_ok(stele_close(second));
    store = open_store(STELE_READ_WRITE);
    assert_store(store);
    assert_filled(store, growths);
    assert_ok(stele_close(store));
}

static void a_reserve_is_room_and_nothing_else(void **state)
{
    struct stele *store = create_store(RECORD_BYTES, 10, 16 * KIB, 0);

    assert_store(store);
    append_one(store, 0);
    struct stele_info before = info_of(store);
    assert_ok(stele_reserve(store, 0));
    assert_ok(stele_reserve(store, 10));
    struct stele_info after = info_of(store);
    assert_memory_equal(&before, &after, sizeof(before));
    assert_ok(stele_reserve(store, 100000));
    after = info_of(store);
    assert_true(after.capacity >= 100000 && after.capacity < 110000);
    assert_u64(after.count, 1);
    assert_u64(after.sequence, before.sequence);
    /* Disk for all of it is there: blocks of the whole array. */
    assert_true(after.disk_bytes >= 100000 * RECORD_BYTES);
    assert_code(stele_reserve(store, (UINT64_C(1) << 48) + 1), STELE_E_RANGE);
    assert_code(stele_reserve(store, UINT64_MAX), STELE_E_RANGE);
    assert_code(stele_reserve(NULL, 1), STELE_E_USAGE);
    assert_u64(info_of(store).capacity, after.capacity);
    assert_ok(stele_close(store));
    store = open_store(STELE_READ_WRITE);
    assert_store(store);
    assert_u64(info_of(store).capacity, after.capacity);
    assert_filled(store, 1);
    assert_ok(stele_close(store));
}

static void a_sparse_store_holds_a_thousand_million_records_on_little_disk(void **state)
{
    const uint64_t count = 1000000000;
    struct stele *store = create_store(16, 1, 64 * KIB, STELE_SPARSE);
    uint8_t zeros[16] = { 0 };

    assert_store(store);
    fill_record(record, 16, 1, 1);
    assert_ok(stele_append(store, record, 1, NULL));
    assert_ok(stele_set_count(store, count));
    assert_u64(stele_count(store), count);
    assert_ok(stele_set(store, count - 1, record));
    assert_ok(stele_set(store, count / 2, record));
    assert_ok(stele_get(store, count / 2, other));
    assert_memory_equal(other, record, 16);
    assert_ok(stele_get(store, 0, other));
    assert_memory_equal(other, record, 16);
    assert_ok(stele_get(store, count - 2, other));
    assert_memory_equal(other, zeros, 16);
    assert_ok(stele_append(store, record, 1, NULL));
    struct stele_info info = info_of(store);
    assert_u64(info.sparse, 1);
    assert_true(info.file_bytes > count * 16);
    assert_true(info.disk_bytes < 8 * MIB);
    struct stele_verify_options options = STELE_VERIFY_OPTIONS_INIT;
    struct stele_verify_report report = STELE_VERIFY_REPORT_INIT;
    options.first_index = count - 1000;
    assert_ok(stele_verify(store, &options, &report));
    assert_true(report.never_written_count > 0);
    assert_ok(stele_close(store));
    store = open_store(STELE_READ_ONLY);
    assert_store(store);
    assert_u64(stele_count(store), count + 1);
    assert_ok(stele_get(store, count - 1, other));
    assert_memory_equal(other, record, 16);
    assert_ok(stele_close(store));
}

/* ---- no disk ---- */

static uint64_t file_bytes_max = UINT64_MAX; /* of calls below, where the system itself sets no limit */

static void limit_file_bytes(uint64_t bytes)
{
    if (!system_limit_file_bytes(bytes))
        file_bytes_max = bytes;
}

static int check_room(uint64_t offset, uint64_t byte_count)
{
    if (byte_count > file_bytes_max || offset > file_bytes_max - byte_count)
        return stele_fail(STELE_E_FULL, "no more than %" PRIu64 " bytes, says the test", file_bytes_max);
    return STELE_OK;
}

WRAPPED(int, stele_os_allocate, const struct stele_os_file *file, uint64_t offset, uint64_t byte_count)
{
    int rc = check_room(offset, byte_count);

    return rc ? rc : REAL(stele_os_allocate)(file, offset, byte_count);
}

WRAPPED(int, stele_os_set_bytes, const struct stele_os_file *file, uint64_t bytes)
{
    int rc = check_room(bytes, 0);

    return rc ? rc : REAL(stele_os_set_bytes)(file, bytes);
}

static const bool is_sparse_of[] = { false, true };

static void reserve_with_a_size_limit(void *context)
{
    const uint32_t flags = *(const bool *)context ? STELE_SPARSE : 0;
    struct stele *store = create_store(RECORD_BYTES, 10, 16 * KIB, flags);
    static uint8_t many[3000 * RECORD_BYTES];
    struct stele_txn *txn;

    REQUIRE(store);
    for (uint64_t i = 0; i < 10; i++) {
        fill_record(record, RECORD_BYTES, i, 0);
        REQUIRE(stele_append(store, record, 1, NULL) == STELE_OK);
    }
    uint64_t bytes = size_of_file(scratch_path);
    struct stele_info before = STELE_INFO_INIT, after = STELE_INFO_INIT;
    REQUIRE(stele_info(store, &before) == STELE_OK);
    /* From not a byte more to nearly enough. */
    for (uint64_t more = 0; more <= 192 * KIB; more += 4096) {
        limit_file_bytes(bytes + more);
        REQUIRE(stele_reserve(store, 3000) == STELE_E_FULL);
        REQUIRE(stele_append(store, many, 3000, NULL) == STELE_E_FULL);
        REQUIRE(stele_set_count(store, 3000) == STELE_E_FULL);
        REQUIRE(stele_begin(store, &txn) == STELE_OK);
        REQUIRE(stele_txn_set_count(txn, 3000) == STELE_OK);
        REQUIRE(stele_txn_set(txn, 0, many) == STELE_OK);
        REQUIRE(stele_commit(txn, STELE_DURABLE, NULL) == STELE_E_FULL);
        REQUIRE(stele_count(store) == 10);
        REQUIRE(stele_info(store, &after) == STELE_OK);
        REQUIRE(after.capacity == before.capacity && after.sequence == before.sequence);
        REQUIRE(size_of_file(scratch_path) <= bytes + more);
        REQUIRE(stele_get(store, 0, other) == STELE_OK);
    }
    REQUIRE(stele_set(store, 9, record) == STELE_OK); /* what needs no room goes on */
    limit_file_bytes(UINT64_MAX);
    REQUIRE(stele_reserve(store, 3000) == STELE_OK);
    REQUIRE(stele_append(store, many, 3000, NULL) == STELE_OK);
    REQUIRE(stele_close(store) == STELE_OK);
}

static void without_disk_growth_is_refused_and_goes_on_when_there_is_some(void **state)
{
    for (size_t i = 0; i < COUNT_OF(is_sparse_of); i++) {
        assert_int_equal(exit_of_child(reserve_with_a_size_limit, (void *)(uintptr_t)&is_sparse_of[i]), 0);
        struct stele *store = open_store(STELE_READ_WRITE);
        assert_store(store);
        assert_u64(stele_count(store), 3010);
        fill_record(other, RECORD_BYTES, 5, 0);
        assert_ok(stele_get(store, 5, record));
        assert_memory_equal(record, other, RECORD_BYTES);
        assert_verifies(store);
        assert_ok(stele_close(store));
        assert_int_equal(unlink(scratch_path), 0);
    }
}

static void an_append_that_needs_less_than_the_reserve_ahead_gets_what_there_is(void **state)
{
    struct stele *store = create_store(RECORD_BYTES, 100000, 16 * KIB, 0);
    static uint8_t many[1000 * RECORD_BYTES];

    assert_store(store);
    assert_ok(stele_set_count(store, 100000));
    /* Not room for twice the capacity, but for some. */
    limit_file_bytes(size_of_file(scratch_path) + MIB);
    int rc = stele_append(store, many, 1000, NULL);
    limit_file_bytes(UINT64_MAX);
    assert_ok(rc);
    assert_u64(stele_count(store), 101000);
    assert_true(info_of(store).capacity < 120000);
    assert_verifies(store);
    assert_ok(stele_close(store));
}

/* ---- sums ---- */

static void damage_moves_along_and_stays_visible(void **state)
{
    struct stele *store = create_store(RECORD_BYTES, 100, 16 * KIB, 0);
    struct stele_verify_report report = STELE_VERIFY_REPORT_INIT;
    uint8_t byte;

    assert_store(store);
    for (uint64_t i = 0; i < 100; i++)
        append_one(store, i);
    struct stele_info info = info_of(store);
    uint64_t offset = info.records_offset + 40 * RECORD_BYTES, word = 2;
    peek(scratch_path, offset, &byte, 1);
    byte ^= 1;
    poke(scratch_path, offset, &byte, 1);
    poke(scratch_path, info.sums_offset + 8 * 2, &word, 8); /* known damaged */
    assert_ok(stele_reserve(store, 100000));
    assert_code(stele_verify(store, NULL, &report), STELE_E_DAMAGED);
    assert_u64(report.damaged_count, 2);
    assert_u64(report.known_count, 1);
    assert_u64(report.first_damaged_block, 1);
    assert_u64(report.block_count, 4);
    assert_ok(stele_close(store));
}

static void sums_of_many_blocks_move_with_their_holes(void **state)
{
    static const uint64_t indexes[] = { 0, 1, 2046, 2047, 2048, 2049, 4095, 4096, 4097, 6143, 6144, 6999 };
    static uint8_t large[2049]; /* one a block: words of more than three pieces */

    for (unsigned sparse = 0; sparse < 2; sparse++) {
        struct stele *store = create_store(sizeof(large), 7000, 16 * KIB, sparse ? STELE_SPARSE : 0);
        struct stele_verify_report report = STELE_VERIFY_REPORT_INIT;
        assert_store(store);
        assert_ok(stele_set_count(store, 7000));
        for (size_t i = 0; i < COUNT_OF(indexes); i++) {
            fill_record(large, sizeof(large), indexes[i], 3);
            assert_ok(stele_set(store, indexes[i], large));
        }
        for (unsigned round = 0; round < 3; round++) {
            assert_ok(stele_reserve(store, info_of(store).capacity + 1));
            assert_ok(stele_verify(store, NULL, &report));
            assert_u64(report.never_written_count, 7000 - COUNT_OF(indexes));
        }
        assert_ok(stele_close(store));
        assert_int_equal(unlink(scratch_path), 0);
    }
}

static void what_a_cut_growth_left_behind_the_end_means_nothing(void **state)
{
    static uint8_t junk[300 * KIB];

    for (unsigned sparse = 0; sparse < 2; sparse++) {
        struct stele *store = create_store(RECORD_BYTES, 10, 16 * KIB, sparse ? STELE_SPARSE : 0);
        assert_store(store);
        for (uint64_t i = 0; i < 10; i++)
            append_one(store, i);
        assert_ok(stele_close(store));
        memset(junk, 0xa5, sizeof(junk));
        poke(scratch_path, size_of_file(scratch_path), junk, sizeof(junk));
        store = open_store(STELE_READ_WRITE);
        assert_store(store);
        assert_filled(store, 10);
        assert_ok(stele_set_count(store, 2500)); /* over the junk */
        for (uint64_t i = 10; i < 2500; i++) {
            assert_ok(stele_get(store, i, record));
            assert_true(stele_is_zero(record, RECORD_BYTES));
        }
        assert_verifies(store);
        assert_ok(stele_set(store, 2400, junk));
        assert_verifies(store);
        assert_ok(stele_close(store));
        assert_int_equal(unlink(scratch_path), 0);
    }
}

static void a_region_of_a_newer_stele_stands_in_the_way(void **state)
{
    struct stele *store = create_store(RECORD_BYTES, 10, 16 * KIB, 0);
    struct stele_slot slot;

    assert_store(store);
    assert_ok(stele_close(store));
    peek(scratch_path, 0, &slot, sizeof(slot));
    slot.regions[10] = (struct stele_region){ .kind = 77, .flags = STELE_REGION_KEEP, .offset = 64 * MIB, .bytes = 99 };
    stele_slot_seal(&slot);
    poke(scratch_path, 0, &slot, sizeof(slot));
    poke(scratch_path, sizeof(slot), &slot, sizeof(slot));
    store = open_store(STELE_READ_WRITE);
    assert_store(store);
    for (uint64_t i = 0; i < 10; i++)
        append_one(store, i);
    assert_code(stele_append(store, record, 1, NULL), STELE_E_VERSION);
    assert_code(stele_reserve(store, 11), STELE_E_VERSION);
    assert_filled(store, 10);
    assert_ok(stele_close(store));
}

/* ---- others ---- */

static void views_and_cursors_live_through_growth(void **state)
{
    struct stele *store = create_store(RECORD_BYTES, 64, 16 * KIB, 0);
    struct stele_view view;

    assert_store(store);
    for (uint64_t i = 0; i < 64; i++)
        append_one(store, i);
    assert_ok(stele_view_open(store, 0, 64, &view));
    const uint8_t *bytes = view.records;
    for (uint64_t i = 64; i < 5000; i += 500)
        assert_ok(stele_set_count(store, i));
    for (uint64_t i = 0; i < 64; i++) {
        fill_record(other, RECORD_BYTES, i, 0);
        assert_memory_equal(bytes + i * RECORD_BYTES, other, RECORD_BYTES);
        assert_ok(stele_view_copy(&view, i, 1, record));
        assert_memory_equal(record, other, RECORD_BYTES);
    }
    fill_record(record, RECORD_BYTES, 5, 7);
    assert_ok(stele_set(store, 5, record));
    assert_memory_equal(bytes + 5 * RECORD_BYTES, record, RECORD_BYTES); /* the same pages still */
    assert_int_equal(stele_view_changed(&view), 1);
    stele_view_close(&view);
    assert_verifies(store);
    assert_ok(stele_close(store));
}

static void read_along(void *context)
{
    struct stele *reader = open_store(STELE_READ_ONLY);
    uint64_t count;

    REQUIRE(reader);
    parent_tell("r", 1);
    while (parent_hear(&count, sizeof(count))) {
        struct stele_verify_report report = STELE_VERIFY_REPORT_INIT;
        REQUIRE(stele_count(reader) == count);
        fill_record(other, RECORD_BYTES, count - 1, 0);
        REQUIRE(stele_get(reader, count - 1, record) == STELE_OK);
        REQUIRE(memcmp(record, other, RECORD_BYTES) == 0);
        REQUIRE(stele_verify(reader, NULL, &report) == STELE_OK);
        REQUIRE(report.record_count == count);
        parent_tell("k", 1);
    }
    REQUIRE(stele_close(reader) == STELE_OK);
}

static void a_reader_in_another_process_sees_growth_without_opening_anew(void **state)
{
    static struct stele *store; /* in sight of a child that is a fork, so that it counts as no leak there */
    char byte;

    store = create_store(RECORD_BYTES, 1, 16 * KIB, 0);
    assert_store(store);
    append_one(store, 0);
    struct child child = child_start(read_along, NULL);
    assert_true(child_hear(&child, &byte, 1));
    for (uint64_t count = 2; count < 400; count += 1) {
        append_one(store, count - 1);
        if (count % 13 == 0)
            assert_ok(stele_reserve(store, info_of(store).capacity + 1));
        if (count % 7)
            continue;
        child_tell(&child, &count, sizeof(count));
        assert_true(child_hear(&child, &byte, 1));
    }
    assert_int_equal(child_end(&child), 0);
    assert_ok(stele_close(store));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FAST_SCRATCH(a_full_store_of_every_capacity_takes_one_more),
        IN_FAST_SCRATCH(many_growths_one_after_the_other_lose_nothing),
        IN_FAST_SCRATCH(a_reserve_is_room_and_nothing_else),
        IN_SCRATCH(a_sparse_store_holds_a_thousand_million_records_on_little_disk),
        IN_FAST_SCRATCH(without_disk_growth_is_refused_and_goes_on_when_there_is_some),
        IN_FAST_SCRATCH(an_append_that_needs_less_than_the_reserve_ahead_gets_what_there_is),
        IN_FAST_SCRATCH(damage_moves_along_and_stays_visible),
        IN_FAST_SCRATCH(sums_of_many_blocks_move_with_their_holes),
        IN_FAST_SCRATCH(what_a_cut_growth_left_behind_the_end_means_nothing),
        IN_FAST_SCRATCH(a_region_of_a_newer_stele_stands_in_the_way),
        IN_FAST_SCRATCH(views_and_cursors_live_through_growth),
        IN_FAST_SCRATCH(a_reader_in_another_process_sees_growth_without_opening_anew),
    };

    return cmocka_run_group_tests_name("growth", tests, NULL, NULL);
}
