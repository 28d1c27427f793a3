/* Replay: what a log comes to, against a model that is an array. */
#include "replay.h"

#include "scratch.h"

enum { RECORD_BYTES = 600, PER_BLOCK = 4, CAPACITY = 200, BLOCKS = 50 };

static struct stele_layout layout;
static struct stele_slot slot;

/* An entry in memory, as the walk hands it over. */
static struct {
    struct stele_entry entry;
    struct stele_walk_entry walked;
    uint64_t trailer;
} log_entry;

static void begin_log(uint64_t count)
{
    assert_ok(stele_layout_plan(RECORD_BYTES, CAPACITY, 0, &layout));
    assert_u64(layout.records_per_block, PER_BLOCK);
    slot = (struct stele_slot){ .session = 7, .sequence = 100, .chain = 42, .count = count, .ring_head = 4096 };
}

static uint8_t *add(uint16_t type, uint32_t region, uint64_t first, uint64_t n, size_t payload_bytes)
{
    uint8_t *payload;

    assert_ok(stele_entry_add(&log_entry.entry, type, region, first, n, payload_bytes, &payload));
    return payload;
}

static void seal(uint64_t sequence, uint64_t writer, uint64_t place)
{
    struct stele_entry_identity identity = { .sequence = sequence, .session = 7, .writer = writer };
    size_t padded_bytes;

    assert_ok(stele_entry_seal(&log_entry.entry, &identity, &log_entry.trailer, &padded_bytes));
    const uint8_t *bytes = log_entry.entry.bytes;
    log_entry.walked = (struct stele_walk_entry){
        .head = (const void *)bytes, .place = place, .items = bytes + sizeof(struct stele_entry_head),
        .items_end = bytes + log_entry.entry.used_bytes - STELE_ENTRY_TRAILER_BYTES };
}

/* ---- the model ---- */

struct cell {
    bool is_there;
    uint64_t value, sequence;
};

struct model {
    struct cell records[CAPACITY], words[BLOCKS];
    uint64_t count;
};

static void model_cut(struct model *model, uint64_t lowest)
{
    for (uint64_t i = lowest; i < CAPACITY; i++)
        model->records[i].is_there = false;
    for (uint64_t b = (lowest + PER_BLOCK - 1) / PER_BLOCK; b < BLOCKS; b++)
        model->words[b].is_there = false;
}

static void compare(const struct stele_runs *runs, const struct cell *cells, size_t cell_count)
{
    uint64_t there = 0, place;

    for (size_t i = 0; i < cell_count; i++) {
        assert_int_equal(stele_runs_find(runs, i, &place), cells[i].is_there);
        if (!cells[i].is_there)
            continue;
        there++;
        assert_u64(place, cells[i].value);
        assert_u64(runs->list[stele_runs_at(runs, i)].sequence, cells[i].sequence);
    }
    assert_u64(stele_runs_total(runs), there);
    for (size_t i = 1; i < runs->count; i++)
        assert_true(runs->list[i - 1].first + runs->list[i - 1].n <= runs->list[i].first);
}

static bool has(const struct stele_runs *runs, uint64_t index)
{
    uint64_t place;

    return stele_runs_find(runs, index, &place);
}

/* ---- tests ---- */

static void an_empty_log_is_the_slot(void **state)
{
    struct stele_replay replay;
    struct stele_slot after;

    begin_log(30);
    stele_replay_init(&replay, &layout, &slot, 1);
    assert_ok(stele_replay_finish(&replay, &layout));
    assert_u64(replay.count, 30);
    assert_u64(replay.sequence, 100);
    assert_u64(replay.entry_count, 0);
    assert_u64(replay.tail, replay.first_place);
    assert_false(has(&replay.records, 0));
    after = slot;
    stele_replay_to_slot(&replay, &after);
    assert_memory_equal(&after, &slot, sizeof(slot));
    stele_replay_done(&replay);
    stele_replay_done(&replay);
}

/* Set, append, truncate, raise, or some of them, by one entry. */
static void random_entry(struct chance *chance, struct model *model, uint64_t sequence, uint64_t place)
{
    uint64_t lowest = model->count, new_count = model->count, at = sizeof(struct stele_entry_head);

    assert_ok(stele_entry_begin(&log_entry.entry));
    if (chance_below(chance, 3) == 0)
        lowest = chance_below(chance, model->count + 1);
    if (chance_below(chance, 3) == 0 || lowest < model->count)
        new_count = lowest + chance_below(chance, CAPACITY - lowest + 1);
    if (lowest != model->count || new_count != model->count) {
        add(STELE_ITEM_COUNT, 0, lowest, new_count, 0);
        at += sizeof(struct stele_item);
        model_cut(model, lowest);
    }
    model->count = new_count;
    for (uint64_t runs = chance_below(chance, 4); runs > 0 && new_count; runs--) {
        uint64_t first = chance_below(chance, new_count), n = 1 + chance_below(chance, stele_min(new_count - first, 6));
        add(STELE_ITEM_RECORDS, STELE_REGION_RECORDS, first, n, (size_t)n * RECORD_BYTES);
        for (uint64_t i = 0; i < n; i++)
            model->records[first + i] = (struct cell){ true, place + at + 32 + i * RECORD_BYTES, sequence };
        at += stele_item_bytes(n * RECORD_BYTES);
    }
    for (uint64_t runs = chance_below(chance, 3); runs > 0 && new_count; runs--) {
        uint64_t first = chance_below(chance, (new_count + PER_BLOCK - 1) / PER_BLOCK);
        uint64_t n = 1 + chance_below(chance, stele_min((new_count + PER_BLOCK - 1) / PER_BLOCK - first, 3));
        add(STELE_ITEM_SUMS, STELE_REGION_SUMS, first, n, (size_t)n * 8);
        for (uint64_t i = 0; i < n; i++)
            model->words[first + i] = (struct cell){ true, place + at + 32 + i * 8, sequence };
        at += stele_item_bytes(n * 8);
    }
}

static void random_logs_come_to_what_the_model_says(void **state)
{
    struct chance chance = chance_begin();

    for (unsigned round = 0; round < scaled(2000, 100); round++) {
        static struct model model;
        struct stele_replay replay;
        uint64_t place = 4096, entries = chance_below(&chance, 12);
        begin_log(chance_below(&chance, CAPACITY + 1));
        memset(&model, 0, sizeof(model));
        model.count = slot.count;
        stele_replay_init(&replay, &layout, &slot, 1);
        for (uint64_t i = 0; i < entries; i++) {
            random_entry(&chance, &model, 101 + i, place);
            seal(101 + i, 1 + i % 3, place);
            assert_ok(stele_replay_add(&replay, &log_entry.walked));
            assert_u64(replay.tail, place + log_entry.entry.used_bytes);
            assert_u64(replay.chain, log_entry.trailer);
            place += 4096 * (1 + chance_below(&chance, 3));
        }
        assert_ok(stele_replay_finish(&replay, &layout));
        /* What lies above the last count is gone. */
        model_cut(&model, model.count);
        assert_u64(replay.count, model.count);
        assert_u64(replay.sequence, 100 + entries);
        assert_u64(replay.entry_count, entries);
        assert_u64(replay.foreign_count, entries - (entries + 2) / 3);
        assert_u64(replay.first_place, 4096);
        compare(&replay.records, model.records, CAPACITY);
        compare(&replay.words, model.words, BLOCKS);
        stele_replay_done(&replay);
    }
    stele_entry_done(&log_entry.entry);
}

static void what_a_truncation_cut_does_not_come_back_when_the_count_rises(void **state)
{
    struct stele_replay replay;

    begin_log(40);
    stele_replay_init(&replay, &layout, &slot, 1);
    assert_ok(stele_entry_begin(&log_entry.entry));
    add(STELE_ITEM_RECORDS, STELE_REGION_RECORDS, 9, 12, 12 * RECORD_BYTES);
    add(STELE_ITEM_SUMS, STELE_REGION_SUMS, 2, 4, 32);
    seal(101, 1, 4096);
    assert_ok(stele_replay_add(&replay, &log_entry.walked));
    assert_ok(stele_entry_begin(&log_entry.entry));
    add(STELE_ITEM_COUNT, 0, 10, 40, 0); /* down to 10 and up again, in one entry, which says 15 anew */
    add(STELE_ITEM_RECORDS, STELE_REGION_RECORDS, 15, 1, RECORD_BYTES);
    seal(102, 1, 65536);
    assert_ok(stele_replay_add(&replay, &log_entry.walked));
    assert_ok(stele_replay_finish(&replay, &layout));
    assert_u64(replay.count, 40);
    assert_true(has(&replay.records, 9));
    for (uint64_t i = 10; i < 40; i++)
        assert_int_equal(has(&replay.records, i), i == 15);
    assert_u64(replay.records.list[stele_runs_at(&replay.records, 15)].sequence, 102);
    /* Block 2 begins below the cut, at record 8: its word stays. */
    assert_true(has(&replay.words, 2));
    assert_false(has(&replay.words, 3));
    stele_replay_done(&replay);
    stele_entry_done(&log_entry.entry);
}

static void the_last_word_of_user_tag_and_time_goes_to_the_slot(void **state)
{
    struct stele_replay replay;
    struct stele_slot after;

    begin_log(3);
    stele_replay_init(&replay, &layout, &slot, 1);
    for (unsigned i = 1; i <= 3; i++) {
        assert_ok(stele_entry_begin(&log_entry.entry));
        memset(add(STELE_ITEM_USER, 0, 10 * i, 0, 64), (int)i, 64);
        memset(add(STELE_ITEM_TAG, 0, 0, 0, 64 / i), 'a' + (int)i, 64 / i);
        add(STELE_ITEM_TIME, 0, 1000 * i, 0, 0);
        seal(100 + i, 1, 4096 * i);
        assert_ok(stele_replay_add(&replay, &log_entry.walked));
    }
    assert_ok(stele_replay_finish(&replay, &layout));
    after = slot;
    stele_replay_to_slot(&replay, &after);
    assert_u64(after.user_version, 30);
    assert_u64(after.user[63], 3);
    assert_u64(after.tag_bytes, 21);
    assert_u64(after.tag[20], 'd');
    assert_true(stele_is_zero(after.tag + 21, 64 - 21)); /* the longer tag before it leaves nothing */
    assert_u64(after.modified_us, 3000);
    assert_u64(after.sequence, 103);
    assert_u64(after.chain, log_entry.trailer);
    stele_replay_done(&replay);
    stele_entry_done(&log_entry.entry);
}

static void items_that_may_be_skipped_and_repairs_change_nothing(void **state)
{
    struct stele_replay replay;

    begin_log(40);
    stele_replay_init(&replay, &layout, &slot, 1);
    assert_ok(stele_entry_begin(&log_entry.entry));
    memset(add(STELE_ITEM_REPAIR, STELE_REGION_SUMS, 3, 2, 16), 0xff, 16);
    memset(add(4711, 0, 3, 2, 160), 0xff, 160);
    seal(101, 1, 4096);
    assert_ok(stele_replay_add(&replay, &log_entry.walked));
    assert_ok(stele_replay_finish(&replay, &layout));
    assert_u64(replay.records.count, 0);
    assert_u64(replay.words.count, 0);
    assert_u64(replay.count, 40);
    assert_u64(replay.entry_count, 1);
    stele_replay_done(&replay);
    stele_entry_done(&log_entry.entry);
}

/* Through a file, up to a given sequence. */
static void a_walk_ends_at_the_sequence_that_was_asked_for(void **state)
{
    struct stele_os_file file = { .is_open = false };
    uint64_t chain = 42, place = 4096;

    begin_log(0);
    poke(scratch_path, 4 * MIB, "", 1);
    assert_ok(stele_os_open(scratch_path, true, &file));
    for (uint64_t i = 1; i <= 5; i++) {
        struct stele_entry_identity identity = { .sequence = 100 + i, .session = 7, .chain = chain };
        size_t padded_bytes;
        assert_ok(stele_entry_begin(&log_entry.entry));
        add(STELE_ITEM_COUNT, 0, i - 1, i, 0);
        assert_ok(stele_entry_seal(&log_entry.entry, &identity, &chain, &padded_bytes));
        assert_ok(stele_os_write(&file, layout.journal_offset + place, log_entry.entry.bytes, padded_bytes));
        place += padded_bytes;
    }
    for (uint64_t last = 100; last <= 106; last++) {
        struct stele_walk walk;
        struct stele_replay replay;
        stele_walk_init(&walk, &file, &layout, &slot);
        stele_replay_init(&replay, &layout, &slot, 1);
        assert_ok(stele_replay_walk(&replay, &walk, last));
        assert_u64(replay.count, last < 105 ? last - 100 : 5);
        assert_u64(replay.entry_count, last < 105 ? last - 100 : 5);
        stele_replay_done(&replay);
        stele_walk_done(&walk);
    }
    stele_entry_done(&log_entry.entry);
    stele_os_close(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_log_is_the_slot),
        cmocka_unit_test(random_logs_come_to_what_the_model_says),
        cmocka_unit_test(what_a_truncation_cut_does_not_come_back_when_the_count_rises),
        cmocka_unit_test(the_last_word_of_user_tag_and_time_goes_to_the_slot),
        cmocka_unit_test(items_that_may_be_skipped_and_repairs_change_nothing),
        IN_SCRATCH(a_walk_ends_at_the_sequence_that_was_asked_for),
    };

    return cmocka_run_group_tests_name("replay", tests, NULL, NULL);
}
