/*
 * Verify: damage of every part of the file is told, with its place, through every kind of handle; what a writer
 * changes meanwhile is none.
 */
#include "journal.h"
#include "scratch.h"
#include "sums.h"

enum { RECORD_BYTES = 64, COUNT = 1000, PER_BLOCK = 64, RING_BYTES = 64 * KIB };

static uint8_t records[COUNT * RECORD_BYTES] CARRIED;
static struct stele *left_open; /* by a child that dies: in sight, so that it counts as no leak */

static void store_of_all(uint64_t capacity)
{
    struct stele *store = create_store(RECORD_BYTES, capacity, RING_BYTES, 0);

    assert_store(store);
    fill_records(records, RECORD_BYTES, 0, COUNT, 1);
    assert_ok(stele_append(store, records, COUNT, NULL));
    assert_ok(stele_close(store));
}

static void flip_bit(uint64_t offset)
{
    uint8_t byte;

    peek(scratch_path, offset, &byte, 1);
    byte ^= 16;
    poke(scratch_path, offset, &byte, 1);
}

static struct stele_verify_report verify(struct stele *store, int code)
{
    struct stele_verify_report report = STELE_VERIFY_REPORT_INIT;

    assert_code(stele_verify(store, NULL, &report), code);
    return report;
}

/* ---- everything but the blocks ---- */

static void set_some(struct stele *store)
{
    for (uint64_t i = 0; i < 6; i++)
        REQUIRE(stele_set(store, i * 100, records) == STELE_OK);
}

static void set_some_and_die(void *context)
{
    left_open = open_store(STELE_READ_WRITE);
    REQUIRE(left_open);
    set_some(left_open);
    _exit(7);
}

static void damage_outside_of_the_records_is_told_through_every_handle(void **state)
{
    struct place {
        const char *word;
        uint32_t bit;
        uint64_t offset;
    };

    store_of_all(COUNT);
    for (unsigned is_detached = 0; is_detached < 2; is_detached++) {
        struct stele *handles[2] = { NULL };
        if (is_detached) {
            assert_int_equal(exit_of_child(set_some_and_die, NULL), 7);
            handles[0] = handles[1] = open_store(STELE_READ_ONLY);
            assert_store(handles[0]);
        } else {
            handles[0] = open_store(STELE_READ_WRITE);
            assert_store(handles[0]);
            set_some(handles[0]);
            handles[1] = open_store(STELE_READ_ONLY);
            assert_store(handles[1]);
        }
        struct stele_info info = info_of(handles[1]);
        assert_u64(info.journal_entry_count, 6);
        const struct place places[] = {
            { "header slot A", STELE_FILE_DAMAGE_SLOT_A, 300 },
            { "header slot B", STELE_FILE_DAMAGE_SLOT_B, STELE_SLOT_BYTES + 4090 },
            { "schema", STELE_FILE_DAMAGE_SCHEMA, info.schema_offset },
            { "schema", STELE_FILE_DAMAGE_SCHEMA, info.schema_offset + info.schema_bytes - 1 },
            { "zero space", STELE_FILE_DAMAGE_SLACK, info.schema_offset + info.schema_bytes },
            { "zero space", STELE_FILE_DAMAGE_SLACK, STELE_LIVE_OFFSET - 1 },
            { "journal", STELE_FILE_DAMAGE_JOURNAL, info.journal_offset + 8 },
            { "journal", STELE_FILE_DAMAGE_JOURNAL, info.journal_offset + 2 * 4096 + 100 },
            { "journal", STELE_FILE_DAMAGE_JOURNAL, info.journal_offset + 5 * 4096 + 100 }, /* the last one */
            { "zero space", STELE_FILE_DAMAGE_SLACK, info.records_offset + COUNT * RECORD_BYTES },
            { "zero space", STELE_FILE_DAMAGE_SLACK, info.sums_offset - 1 },
            { "zero space", STELE_FILE_DAMAGE_SLACK, info.sums_offset + info.sums_bytes },
            { "zero space", STELE_FILE_DAMAGE_SLACK, info.file_bytes - 1 },
        };
        for (size_t i = 0; i < COUNT_OF(places); i++) {
            flip_bit(places[i].offset);
            for (unsigned k = 0; k < 2; k++) {
                struct stele_verify_report report = verify(handles[k], STELE_E_DAMAGED);
                assert_says(places[i].word);
                assert_u64(report.file_damage, places[i].bit);
                assert_u64(report.record_count, COUNT);
                /* What a detached handle reads of a record may be the very byte in the journal. */
                if (is_detached && places[i].bit == STELE_FILE_DAMAGE_JOURNAL)
                    continue;
                assert_u64(report.damaged_count, 0);
                assert_u64(report.first_damaged_block, UINT64_MAX);
            }
            flip_bit(places[i].offset);
            for (unsigned k = 0; k < 2; k++)
                assert_verifies(handles[k]);
        }
        assert_ok(stele_close(handles[0]));
        if (!is_detached)
            assert_ok(stele_close(handles[1]));
    }
}

/* ---- blocks ---- */

static struct stele_damage damages[32];
static size_t damage_count, stop_after;

static int note_damage(void *context, const struct stele_damage *damage)
{
    assert_ptr_equal(context, &damages);
    assert_true(damage_count < COUNT_OF(damages));
    damages[damage_count++] = *damage;
    return damage_count == stop_after;
}

static struct stele_verify_options noting(void)
{
    struct stele_verify_options options = STELE_VERIFY_OPTIONS_INIT;

    options.damaged = note_damage;
    options.damaged_context = &damages;
    damage_count = 0;
    stop_after = 0;
    return options;
}

static void assert_damage(const struct stele_damage *damage, uint32_t kind, uint64_t block)
{
    uint64_t n = block == COUNT / PER_BLOCK ? COUNT % PER_BLOCK : PER_BLOCK;

    assert_u64(damage->kind, kind);
    assert_u64(damage->block_index, block);
    assert_u64(damage->first_index, block * PER_BLOCK);
    assert_u64(damage->record_count, n);
    assert_u64(damage->bytes, n * RECORD_BYTES);
    assert_u64(damage->file_offset, 4 * MIB + block * PER_BLOCK * RECORD_BYTES);
    assert_u64(damage->reserved, 0);
}

static void damaged_blocks_are_told_one_by_one_with_their_place(void **state)
{
    struct stele_verify_report report = STELE_VERIFY_REPORT_INIT;
    struct stele_verify_options options = noting();
    struct stele_damage full[2];
    uint64_t word;

    store_of_all(COUNT);
    struct stele *store = open_store(STELE_READ_ONLY);
    assert_store(store);
    struct stele_info info = info_of(store);
    assert_u64(info.records_per_block, PER_BLOCK);
    flip_bit(info.records_offset + 3 * 4096 + 99);      /* block 3 */
    flip_bit(info.sums_offset + 7 * 8 + 2);             /* the word of block 7 */
    peek(scratch_path, info.sums_offset + 9 * 8, &word, 8);
    word &= ~UINT64_C(1);
    assert_true(stele_word_is_known_damaged(word));
    poke(scratch_path, info.sums_offset + 9 * 8, &word, 8);
    flip_bit(info.records_offset + COUNT * RECORD_BYTES - 1); /* the last record */
    assert_code(stele_verify(store, &options, &report), STELE_E_DAMAGED);
    assert_says("4 of 16 blocks");
    assert_u64(report.damaged_count, 4);
    assert_u64(report.known_count, 1);
    assert_u64(report.unreadable_count, 0);
    assert_u64(report.first_damaged_block, 3);
    assert_u64(report.file_damage, 0);
    assert_u64(report.block_count, 16);
    assert_u64(report.record_count, COUNT);
    assert_u64(report.bytes, COUNT * RECORD_BYTES);
    assert_u64(report.never_written_count, 0);
    assert_u64(damage_count, 4);
    assert_damage(&damages[0], STELE_DAMAGE_SUM, 3);
    assert_damage(&damages[1], STELE_DAMAGE_SUM, 7);
    assert_damage(&damages[2], STELE_DAMAGE_KNOWN, 9);
    assert_damage(&damages[3], STELE_DAMAGE_SUM, 15);
    for (size_t i = 0; i < 4; i++) {
        peek(scratch_path, info.sums_offset + damages[i].block_index * 8, &word, 8);
        assert_u64(damages[i].stored_word, word);
        assert_true(damages[i].kind != STELE_DAMAGE_SUM || damages[i].computed_word != word);
    }
    full[0] = damages[0];
    full[1] = damages[1];
    /* The one who is told may say that it is enough. */
    options = noting();
    stop_after = 2;
    assert_code(stele_verify(store, &options, &report), STELE_E_INTERRUPTED);
    assert_u64(damage_count, 2);
    assert_memory_equal(damages, full, sizeof(full));
    assert_u64(report.damaged_count, 2);
    assert_u64(report.block_count, 8);
    /* A part. */
    options = noting();
    options.first_index = 4 * PER_BLOCK;
    options.record_count = 3 * PER_BLOCK;
    assert_ok(stele_verify(store, &options, &report));
    assert_u64(report.block_count, 3);
    options.record_count++;
    assert_code(stele_verify(store, &options, &report), STELE_E_DAMAGED);
    assert_u64(report.first_damaged_block, 7);
    options.first_index = COUNT - 1;
    options.record_count = 0;
    assert_code(stele_verify(store, &options, &report), STELE_E_DAMAGED);
    assert_u64(report.damaged_count, 1);
    assert_u64(report.first_damaged_block, 15);
    options.record_count = 2;
    assert_code(stele_verify(store, &options, &report), STELE_E_RANGE);
    options.first_index = COUNT + 1;
    options.record_count = 0;
    assert_code(stele_verify(store, &options, &report), STELE_E_RANGE);
    options.first_index = 0;
    options.flags = 1;
    assert_code(stele_verify(store, &options, &report), STELE_E_USAGE);
    assert_ok(stele_close(store));
}

static void blocks_that_a_cut_took_are_told(void **state)
{
    struct stele_verify_report report = STELE_VERIFY_REPORT_INIT;
    struct stele_verify_options options = noting();

    store_of_all(COUNT);
    set_size_of_file(scratch_path, 4 * MIB + 10 * 4096);
    /* A file that was cut is read as far as it goes. */
    struct stele *store = open_store(STELE_READ_ONLY);
    assert_store(store);
    assert_code(stele_verify(store, &options, &report), STELE_E_DAMAGED);
    /* The words lie behind the records: without them none can be told good. */
    assert_u64(report.damaged_count, 16);
    assert_u64(report.unreadable_count, 16);
    for (size_t i = 0; i < 16; i++)
        assert_damage(&damages[i], STELE_DAMAGE_CUT, i);
    assert_ok(stele_close(store));
}

/* ---- several threads ---- */

static void what_is_told_does_not_depend_on_the_number_of_threads(void **state)
{
    static const uint32_t jobs[] = { 0, 1, 2, 3, 7, 64, 1000 };
    static struct stele_damage alone[32];
    struct stele_verify_report report = STELE_VERIFY_REPORT_INIT, expected = STELE_VERIFY_REPORT_INIT;
    const uint64_t count = 40 * MIB / RECORD_BYTES; /* ten chunks */
    struct chance chance = chance_begin();
    struct stele *store = create_store(RECORD_BYTES, count, 0, 0);

    assert_store(store);
    assert_ok(stele_set_count(store, count));
    for (uint64_t i = 0; i < 100; i++)
        assert_ok(stele_set(store, chance_below(&chance, count), records));
    struct stele_info info = info_of(store);
    assert_ok(stele_close(store));
    for (unsigned i = 0; i < 20; i++) {
        uint8_t one = 1;
        poke(scratch_path, info.records_offset + (i * 500 + chance_below(&chance, 500)) * 4096 + 77, &one, 1);
    }
    store = open_store(STELE_READ_ONLY);
    assert_store(store);
    for (size_t i = 0; i < COUNT_OF(jobs) * 3; i++) {
        struct stele_verify_options options = noting();
        options.jobs = jobs[i % COUNT_OF(jobs)];
        options.first_index = i < COUNT_OF(jobs) ? 0 : 70 * PER_BLOCK;
        stop_after = i < COUNT_OF(jobs) * 2 ? 0 : 11;
        assert_code(stele_verify(store, &options, &report), stop_after ? STELE_E_INTERRUPTED : STELE_E_DAMAGED);
        if (i % COUNT_OF(jobs) == 0) {
            memcpy(alone, damages, sizeof(alone));
            expected = report;
            assert_u64(report.damaged_count, stop_after ? 11 : damage_count);
            assert_true(damage_count >= 11 && report.damaged_count <= 20);
        }
        assert_memory_equal(damages, alone, sizeof(damages[0]) * damage_count);
        assert_memory_equal(&report, &expected, sizeof(report));
    }
    struct stele_verify_options options = noting();
    options.reserved = 1;
    assert_code(stele_verify(store, &options, &report), STELE_E_USAGE);
    assert_ok(stele_close(store));
}

/* ---- progress ---- */

static uint64_t reported[64];
static size_t report_count, stop_at;

static int note_progress(void *context, uint64_t done, uint64_t total)
{
    assert_ptr_equal(context, &reported);
    assert_u64(total, 20 * MIB);
    assert_true(report_count < COUNT_OF(reported));
    reported[report_count++] = done;
    return report_count == stop_at;
}

static void progress_goes_up_and_can_stop_the_work(void **state)
{
    struct stele_verify_report report = STELE_VERIFY_REPORT_INIT;
    struct stele_verify_options options = STELE_VERIFY_OPTIONS_INIT;
    struct stele *store = create_store(RECORD_BYTES, 20 * MIB / RECORD_BYTES, 0, 0);

    assert_store(store);
    assert_ok(stele_set_count(store, 20 * MIB / RECORD_BYTES));
    options.progress = note_progress;
    options.progress_context = &reported;
    report_count = stop_at = 0;
    assert_ok(stele_verify(store, &options, &report));
    assert_u64(report.never_written_count, report.block_count);
    assert_true(report_count >= 4);
    for (size_t i = 1; i < report_count; i++)
        assert_true(reported[i] > reported[i - 1] && reported[i] <= 20 * MIB);
    report_count = 0;
    stop_at = 2;
    assert_code(stele_verify(store, &options, &report), STELE_E_INTERRUPTED);
    assert_u64(report_count, 2);
    assert_u64(report.bytes, reported[1]);
    report_count = 0;
    options.jobs = 3;
    assert_code(stele_verify(store, &options, &report), STELE_E_INTERRUPTED);
    assert_u64(report_count, 2);
    assert_u64(report.bytes, reported[1]);
    assert_ok(stele_set(store, 5, records));
    assert_verifies(store);
    assert_ok(stele_close(store));
}

/* ---- as they are read ---- */

static struct stele *open_verifying(uint32_t mode)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store = NULL;

    options.mode = mode;
    options.flags = STELE_VERIFY_READS;
    assert_ok(stele_open(scratch_path, &options, &store));
    return store;
}

/* Blocks 0 and 2 are damaged. */
static void assert_refuses_damage(struct stele *store)
{
    static uint8_t read[COUNT * RECORD_BYTES];
    const uint64_t indexes[] = { 64, 1, 200, 190 };
    int codes[4];
    struct stele_cursor *cursor;
    const void *batch;
    size_t n;

    for (unsigned again = 0; again < 2; again++) {
        assert_ok(stele_get(store, 64, read));
        assert_memory_equal(read, records + 64 * RECORD_BYTES, RECORD_BYTES);
        assert_code(stele_get(store, 5, read), STELE_E_DAMAGED);
        assert_says("block 0 (records 0 to 63)");
        assert_code(stele_get_many(store, indexes, 4, read, codes), STELE_E_DAMAGED);
        assert_int_equal(codes[0], STELE_OK);
        assert_int_equal(codes[1], STELE_E_DAMAGED);
        assert_int_equal(codes[2], STELE_OK);
        assert_int_equal(codes[3], STELE_E_DAMAGED);
        assert_code(stele_read(store, 60, 100, read), STELE_E_DAMAGED);
        assert_code(stele_read(store, 100, 29, read), STELE_E_DAMAGED);
        assert_says("block 2");
        assert_ok(stele_read(store, 192, COUNT - 192, read));
        assert_memory_equal(read, records + 192 * RECORD_BYTES, (COUNT - 192) * RECORD_BYTES);
        assert_ok(stele_cursor_open(store, 64, UINT64_MAX, &cursor));
        assert_code(stele_cursor_next(cursor, &batch, &n), STELE_E_DAMAGED);
        stele_cursor_close(cursor);
    }
}

static void damage_is_never_given_as_data_where_reads_are_verified(void **state)
{
    uint64_t known = 2;

    store_of_all(COUNT);
    struct stele *stores[2] = { open_verifying(STELE_READ_WRITE) };
    stores[1] = open_verifying(STELE_READ_ONLY);
    struct stele_info info = info_of(stores[1]);
    flip_bit(info.records_offset + 5 * RECORD_BYTES);
    poke(scratch_path, info.sums_offset + 2 * 8, &known, 8);
    for (unsigned i = 0; i < 2; i++)
        assert_refuses_damage(stores[i]);
    /* Checked again after a change. */
    uint8_t record[RECORD_BYTES];
    memcpy(record, records + 300 * RECORD_BYTES, RECORD_BYTES);
    assert_ok(stele_set(stores[0], 300, record));
    for (unsigned i = 0; i < 2; i++)
        assert_ok(stele_get(stores[i], 301, record));
    flip_bit(info.records_offset + 310 * RECORD_BYTES);
    assert_ok(stele_get(stores[1], 302, record));
    assert_ok(stele_set(stores[0], 301, records + 301 * RECORD_BYTES));
    for (unsigned i = 0; i < 2; i++)
        assert_code(stele_get(stores[i], 302, record), STELE_E_DAMAGED);
    flip_bit(info.records_offset + 310 * RECORD_BYTES);
    /* The sums move. */
    assert_ok(stele_reserve(stores[0], 4 * COUNT));
    for (unsigned i = 0; i < 2; i++)
        assert_refuses_damage(stores[i]);
    assert_ok(stele_close(stores[0]));
    assert_refuses_damage(stores[1]);
    assert_ok(stele_close(stores[1]));
    /* Behind a dead writer: what the journal has is laid over the file, for the sums too. */
    flip_bit(info.records_offset + 5 * RECORD_BYTES);
    assert_int_equal(exit_of_child(set_some_and_die, NULL), 7);
    flip_bit(info.records_offset + 5 * RECORD_BYTES);
    stores[1] = open_verifying(STELE_READ_ONLY);
    for (uint64_t i = 1; i < 6; i++)
        memcpy(records + i * 100 * RECORD_BYTES, records, RECORD_BYTES);
    assert_refuses_damage(stores[1]);
    assert_ok(stele_close(stores[1]));
}

/* ---- beside writers ---- */

static uint8_t many[3000 * RECORD_BYTES];

static struct chance writer_chance CARRIED;

/* Grow, cut, set, bulk load, checkpoint, come and go, until killed. */
static void write_for_ever(void *context)
{
    struct chance chance = writer_chance;

    for (;;) {
        left_open = open_store(STELE_READ_WRITE);
        REQUIRE(left_open);
        for (unsigned i = 0; i < 20; i++) {
            uint64_t count = stele_count(left_open), indexes[20];
            chance_fill(&chance, many, 256);
            switch (chance_below(&chance, 6)) {
            case 0:
                REQUIRE(stele_append(left_open, many, 1 + (size_t)chance_below(&chance, 3000), NULL) == STELE_OK);
                break;
            case 1:
                REQUIRE(stele_append(left_open, many, 1 + (size_t)chance_below(&chance, 30), NULL) == STELE_OK);
                break;
            case 2:
                REQUIRE(stele_set_count(left_open, count > 60000 ? 10 : chance_below(&chance, count + 1)) ==
                        STELE_OK);
                break;
            case 3:
                REQUIRE(stele_checkpoint(left_open) == STELE_OK);
                break;
            default:
                for (unsigned k = 0; k < 20; k++)
                    indexes[k] = chance_below(&chance, count);
                if (count)
                    REQUIRE(stele_set_many(left_open, indexes, 20, many) == STELE_OK);
            }
        }
        REQUIRE(stele_close(left_open) == STELE_OK);
    }
}

static void what_writers_change_meanwhile_is_no_damage(void **state)
{
    struct chance chance = chance_begin();
    unsigned good_count = 0, busy_count = 0, read_count = 0;

    store_of_all(100);
    struct stele *reader = open_store(STELE_READ_ONLY);
    assert_store(reader);
    struct stele *verifying = open_verifying(STELE_READ_ONLY);
    writer_chance.state = chance_next(&chance);
    struct child child = child_start(write_for_ever, NULL);
    uint64_t until_us = stele_os_clock_us() + 20000 * scaled(100, 10); /* not to pass: to have tried enough */
    while (stele_os_clock_us() < until_us) {
        struct stele_verify_report report = STELE_VERIFY_REPORT_INIT;
        struct stele_verify_options options = STELE_VERIFY_OPTIONS_INIT;
        options.jobs = (good_count + busy_count) % 4;
        int rc = stele_verify(reader, &options, &report);
        if (rc && rc != STELE_E_BUSY)
            fail_msg("verify %u is %d, file damage %u: %s", good_count, rc, report.file_damage,
                     stele_last_error()->text);
        *(rc ? &busy_count : &good_count) += 1;
        for (unsigned i = 0; i < 20; i++) {
            uint8_t record[RECORD_BYTES];
            rc = stele_get(verifying, chance_below(&chance, stele_count(verifying) + 1), record);
            if (rc && rc != STELE_E_BUSY && rc != STELE_E_RANGE)
                fail_msg("get is %d: %s", rc, stele_last_error()->text);
            read_count += !rc;
        }
    }
    print_message("%u good, %u busy\n", good_count, busy_count);
    child_kill(&child);
    assert_true(good_count > 0 && read_count > 0);
    assert_ok(stele_close(verifying));
    assert_ok(stele_close(reader));
    struct stele *store = open_store(STELE_READ_WRITE);
    assert_store(store);
    assert_verifies(store);
    assert_ok(stele_close(store));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_SCRATCH(damage_outside_of_the_records_is_told_through_every_handle),
        IN_SCRATCH(damaged_blocks_are_told_one_by_one_with_their_place),
        IN_SCRATCH(blocks_that_a_cut_took_are_told),
        IN_SCRATCH(what_is_told_does_not_depend_on_the_number_of_threads),
        IN_SCRATCH(progress_goes_up_and_can_stop_the_work),
        IN_SCRATCH(damage_is_never_given_as_data_where_reads_are_verified),
        IN_FAST_SCRATCH(what_writers_change_meanwhile_is_no_damage),
    };

    return cmocka_run_group_tests_name("verify", tests, NULL, NULL);
}
