/*
 * Repair: what is damaged becomes what was asked for, after it was handed out, all or nothing; what is good stays.
 */
#include "journal.h"
#include "scratch.h"
#include "sums.h"

enum { RECORD_BYTES = 64, COUNT = 1000, PER_BLOCK = 64, RING_BYTES = 64 * KIB, BLOCK_BYTES = 4096 };

static uint8_t records[COUNT * RECORD_BYTES], found[COUNT * RECORD_BYTES];

static struct stele_info store_of_all(void)
{
    struct stele *store = create_store(RECORD_BYTES, COUNT, RING_BYTES, 0);

    assert_store(store);
    fill_records(records, RECORD_BYTES, 0, COUNT, 1);
    assert_ok(stele_append(store, records, COUNT, NULL));
    struct stele_info info = info_of(store);
    assert_ok(stele_close(store));
    return info;
}

static void flip_bit(uint64_t offset)
{
    uint8_t byte;

    peek(scratch_path, offset, &byte, 1);
    byte ^= 16;
    poke(scratch_path, offset, &byte, 1);
}

static uint64_t word_of(const struct stele_info *info, uint64_t block)
{
    uint64_t word;

    peek(scratch_path, info->sums_offset + block * 8, &word, 8);
    return word;
}

/* ---- what is handed out ---- */

struct taken {
    uint64_t block, word, first, count;
    uint8_t records[BLOCK_BYTES];
};

struct log {
    struct stele *store;
    uint64_t version; /* that the store must still have */
    size_t count, refuse_at; /* 0: never */
    struct taken taken[20];
};

static struct log handed;

static int take(void *context, uint64_t block, uint64_t old_word, uint64_t first_index, const void *old_records,
                size_t record_count)
{
    struct log *log = context;
    uint8_t now[BLOCK_BYTES];

    assert_true(log->count < COUNT_OF(log->taken));
    log->taken[log->count] = (struct taken){ block, old_word, first_index, record_count, { 0 } };
    memcpy(log->taken[log->count].records, old_records, record_count * RECORD_BYTES);
    /* Nothing has changed yet. */
    peek(scratch_path, 4 * MIB + block * BLOCK_BYTES, now, record_count * RECORD_BYTES);
    assert_memory_equal(now, old_records, record_count * RECORD_BYTES);
    log->count++;
    return log->count == log->refuse_at;
}

static int repair(struct stele *store, uint64_t first, uint64_t count, const void *with, uint32_t how)
{
    handed.count = 0;
    return stele_repair(store, first, count, with, how, take, &handed);
}

static void assert_records(struct stele *store, const uint8_t *expected)
{
    assert_ok(stele_read(store, 0, COUNT, found));
    assert_memory_equal(found, expected, sizeof(found));
}

static void each_way_makes_damage_good_and_leaves_good_blocks_alone(void **state)
{
    static uint8_t expected[COUNT * RECORD_BYTES], other[COUNT * RECORD_BYTES];

    fill_records(other, RECORD_BYTES, 0, COUNT, 2);
    for (uint32_t how = STELE_REPAIR_REPLACE; how <= STELE_REPAIR_ACCEPT; how++) {
        struct stele_info info = store_of_all();
        uint64_t known = 0x1230;
        flip_bit(info.records_offset + 3 * BLOCK_BYTES + 99);
        flip_bit(info.sums_offset + 7 * 8 + 2);
        poke(scratch_path, info.sums_offset + 9 * 8, &known, 8);
        known = 0; /* "never written", with bytes that are not zero */
        poke(scratch_path, info.sums_offset + 12 * 8, &known, 8);
        flip_bit(info.records_offset + COUNT * RECORD_BYTES - 1); /* block 15, of 40 records */
        const uint64_t damaged[] = { 3, 7, 9, 12, 15 };
        struct stele *store = open_store(STELE_READ_WRITE);
        assert_store(store);
        struct stele *reader = open_store(STELE_READ_ONLY);
        assert_store(reader);
        assert_ok(stele_read(store, 0, COUNT, expected));
        for (size_t i = 0; i < COUNT_OF(damaged); i++) {
            uint64_t n = damaged[i] == 15 ? 40 : PER_BLOCK, at = damaged[i] * BLOCK_BYTES;
            if (how == STELE_REPAIR_REPLACE)
                memcpy(expected + at, other + at, (size_t)((size_t)n * RECORD_BYTES));
            if (how == STELE_REPAIR_ZERO)
                memset(expected + at, 0, (size_t)((size_t)n * RECORD_BYTES));
        }
        uint64_t words[5];
        for (size_t i = 0; i < 5; i++)
            words[i] = word_of(&info, damaged[i]);
        assert_ok(repair(store, 0, COUNT, how == STELE_REPAIR_REPLACE ? other : NULL, how));
        assert_u64(handed.count, 5);
        for (size_t i = 0; i < 5; i++) {
            assert_u64(handed.taken[i].block, damaged[i]);
            assert_u64(handed.taken[i].word, words[i]);
            assert_u64(handed.taken[i].first, damaged[i] * PER_BLOCK);
            assert_u64(handed.taken[i].count, damaged[i] == 15 ? 40 : PER_BLOCK);
        }
        assert_verifies(store);
        assert_verifies(reader);
        assert_records(store, expected);
        assert_records(reader, expected);
        /* And writable again. */
        assert_ok(stele_set(store, 3 * PER_BLOCK + 5, other));
        assert_verifies(reader);
        /* Nothing to do, nothing done. */
        struct stele_info before = info_of(store);
        assert_ok(repair(store, 0, COUNT, NULL, STELE_REPAIR_ZERO));
        assert_u64(handed.count, 0);
        assert_u64(info_of(store).sequence, before.sequence);
        assert_ok(stele_close(reader));
        assert_ok(stele_close(store));
        remove(scratch_path);
    }
}

static void a_part_of_a_block_is_repaired_only_if_its_own_sum_says_so(void **state)
{
    static const struct {
        uint64_t first, count;
        bool is_original; /* what it is replaced by */
        int code;
    } cases[] = {
        { 3 * PER_BLOCK + 1, 1, true, STELE_OK },
        { 3 * PER_BLOCK + 1, 1, false, STELE_E_RANGE },
        { 3 * PER_BLOCK + 2, 1, true, STELE_E_RANGE }, /* another one */
        { 3 * PER_BLOCK + 2, PER_BLOCK, true, STELE_E_RANGE },
        { 2 * PER_BLOCK, PER_BLOCK + 2, true, STELE_OK },
        { 2 * PER_BLOCK, PER_BLOCK + 1, true, STELE_E_RANGE },
        { 2 * PER_BLOCK, PER_BLOCK, false, STELE_OK }, /* a good one */
        { 3 * PER_BLOCK, PER_BLOCK, false, STELE_OK },
        { 0, 0, true, STELE_OK },
        { COUNT, 0, true, STELE_OK },
        { COUNT, 1, true, STELE_E_RANGE },
        { COUNT + 1, 0, true, STELE_E_RANGE },
        { 5, UINT64_MAX, true, STELE_E_RANGE },
    };
    static uint8_t other[COUNT * RECORD_BYTES];

    fill_records(other, RECORD_BYTES, 0, COUNT, 2);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct stele_info info = store_of_all();
        flip_bit(info.records_offset + 3 * BLOCK_BYTES + RECORD_BYTES + 9);
        struct stele *store = open_store(STELE_READ_WRITE);
        assert_store(store);
        uint64_t sequence = info_of(store).sequence;
        const uint8_t *with = cases[i].is_original ? records : other;
        uint64_t at = cases[i].first < COUNT ? cases[i].first : 0;
        assert_code(repair(store, cases[i].first, cases[i].count, with + at * RECORD_BYTES, STELE_REPAIR_REPLACE),
                    cases[i].code);
        if (cases[i].code) {
            assert_u64(info_of(store).sequence, sequence);
            assert_u64(handed.count, 0);
        }
        if (cases[i].code && cases[i].first < COUNT && cases[i].count < COUNT) {
            assert_says("192..256");
            /* Not by the other ways either. */
            assert_code(repair(store, cases[i].first, cases[i].count, NULL, STELE_REPAIR_ZERO), STELE_E_RANGE);
            assert_code(repair(store, cases[i].first, cases[i].count, NULL, STELE_REPAIR_ACCEPT), STELE_E_RANGE);
        }
        assert_ok(stele_close(store));
        remove(scratch_path);
    }
}

static void who_does_not_take_what_is_handed_out_keeps_it(void **state)
{
    struct stele_info info = store_of_all();

    for (unsigned i = 0; i < 16; i += 2)
        flip_bit(info.records_offset + i * BLOCK_BYTES);
    struct stele *store = open_store(STELE_READ_WRITE);
    assert_store(store);
    uint64_t sequence = info_of(store).sequence;
    handed.refuse_at = 5;
    assert_code(repair(store, 0, COUNT, NULL, STELE_REPAIR_ZERO), STELE_E_INTERRUPTED);
    handed.refuse_at = 0;
    assert_says("block 8");
    assert_u64(handed.count, 5);
    /* A ring of 64 KiB takes seven blocks at once. */
    assert_u64(info_of(store).sequence, sequence);
    struct stele_verify_report report = STELE_VERIFY_REPORT_INIT;
    assert_code(stele_verify(store, NULL, &report), STELE_E_DAMAGED);
    assert_u64(report.damaged_count, 8);
    assert_ok(repair(store, 0, COUNT, NULL, STELE_REPAIR_ZERO));
    assert_u64(handed.count, 8);
    assert_u64(info_of(store).sequence, sequence + 2);
    assert_verifies(store);
    assert_ok(stele_close(store));
}

static void wrong_calls_change_nothing(void **state)
{
    struct stele_info info = store_of_all();

    flip_bit(info.records_offset);
    uint64_t print = print_of_file(scratch_path);
    struct stele *reader = open_store(STELE_READ_ONLY);
    assert_store(reader);
    assert_code(repair(reader, 0, COUNT, NULL, STELE_REPAIR_ZERO), STELE_E_READONLY);
    assert_code(repair(NULL, 0, COUNT, NULL, STELE_REPAIR_ZERO), STELE_E_USAGE);
    assert_code(repair(reader, 0, COUNT, NULL, STELE_REPAIR_REPLACE), STELE_E_USAGE);
    assert_code(repair(reader, 0, COUNT, records, STELE_REPAIR_ZERO), STELE_E_USAGE);
    assert_code(repair(reader, 0, COUNT, NULL, 0), STELE_E_USAGE);
    assert_code(repair(reader, 0, COUNT, NULL, STELE_REPAIR_ACCEPT + 1), STELE_E_USAGE);
    assert_code(stele_repair(reader, 0, COUNT, NULL, STELE_REPAIR_ZERO, NULL, NULL), STELE_E_USAGE);
    assert_ok(stele_close(reader));
    assert_u64(print_of_file(scratch_path), print);
}

/* ---- a crash ---- */

static struct stele *left_open; /* by a child that dies: in sight, so that it counts as no leak */

static int take_quietly(void *context, uint64_t block, uint64_t old_word, uint64_t first_index,
                        const void *old_records, size_t record_count)
{
    return 0;
}

static void repair_and_die(void *context)
{
    left_open = open_store(STELE_READ_WRITE);
    REQUIRE(left_open);
    REQUIRE(stele_repair(left_open, 0, COUNT, NULL, STELE_REPAIR_ZERO, take_quietly, NULL) == STELE_OK);
    _exit(7);
}

static void a_repair_is_there_after_a_crash_and_its_entry_says_what_was(void **state)
{
    struct stele_info info = store_of_all();
    static uint8_t ring[RING_BYTES];
    uint64_t known = 0x1230, seen = 0;

    flip_bit(info.records_offset + 3 * BLOCK_BYTES + 99);
    poke(scratch_path, info.sums_offset + 9 * 8, &known, 8);
    assert_int_equal(exit_of_child(repair_and_die, NULL), 7);
    /* What was put in place is lost again: the ring has it. */
    flip_bit(info.records_offset + 3 * BLOCK_BYTES + 50);
    poke(scratch_path, info.sums_offset + 9 * 8, &known, 8);
    peek(scratch_path, info.journal_offset, ring, sizeof(ring));
    for (size_t at = 0; at + 40 <= sizeof(ring); at += 8) {
        struct stele_item item;
        uint64_t word;
        memcpy(&item, ring + at, sizeof(item));
        memcpy(&word, ring + at + 32, 8);
        seen += item.type == STELE_ITEM_REPAIR && item.region == STELE_REGION_SUMS && item.n == 1 && item.first == 9 &&
                word == known;
    }
    assert_u64(seen, 1);
    memset(records + 3 * BLOCK_BYTES, 0, BLOCK_BYTES);
    memset(records + 9 * BLOCK_BYTES, 0, BLOCK_BYTES);
    struct stele *reader = open_store(STELE_READ_ONLY);
    assert_store(reader);
    assert_verifies(reader);
    assert_records(reader, records);
    struct stele *store = open_store(STELE_READ_WRITE);
    assert_store(store);
    assert_verifies(store);
    assert_records(store, records);
    assert_ok(stele_close(reader));
    assert_ok(stele_close(store));
}

static void records_of_every_size_are_repaired(void **state)
{
    static const uint32_t sizes[] = { 1, 7, 1000, 4096, 5000, 70000 };

    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        uint64_t count = 3 * (4096 / sizes[i]) + 4;
        struct stele *store = create_store(sizes[i], count, 0, 0);
        assert_store(store);
        uint8_t *bytes = malloc((size_t)count * sizes[i]), *after = malloc((size_t)count * sizes[i]);
        assert_true(bytes && after);
        fill_records(bytes, sizes[i], 0, count, 1);
        assert_ok(stele_append(store, bytes, (size_t)count, NULL));
        struct stele_info info = info_of(store);
        assert_ok(stele_close(store));
        flip_bit(info.records_offset + count * sizes[i] - 1);
        flip_bit(info.records_offset);
        store = open_store(STELE_READ_WRITE);
        assert_store(store);
        assert_ok(stele_repair(store, 0, count, bytes, STELE_REPAIR_REPLACE, take_quietly, NULL));
        assert_verifies(store);
        assert_ok(stele_read(store, 0, (size_t)count, after));
        assert_memory_equal(after, bytes, (size_t)count * sizes[i]);
        assert_ok(stele_close(store));
        remove(scratch_path);
        free(bytes);
        free(after);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_SCRATCH(each_way_makes_damage_good_and_leaves_good_blocks_alone),
        IN_SCRATCH(a_part_of_a_block_is_repaired_only_if_its_own_sum_says_so),
        IN_SCRATCH(who_does_not_take_what_is_handed_out_keeps_it),
        IN_SCRATCH(wrong_calls_change_nothing),
        IN_SCRATCH(a_repair_is_there_after_a_crash_and_its_entry_says_what_was),
        IN_SCRATCH(records_of_every_size_are_repaired),
    };

    return cmocka_run_group_tests_name("repair", tests, NULL, NULL);
}
