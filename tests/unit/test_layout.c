/* Where everything is: formulas against FORMAT.md, growth, and layouts out of hostile headers. */
#include "layout.h"

#include "scratch.h"

static uint64_t slow_per_block(uint64_t record_bytes)
{
    uint64_t best = 1;

    for (uint64_t p = 1; p <= 4096; p *= 2) {
        if (p * record_bytes <= 4096)
            best = p;
    }
    return best;
}

static uint64_t slow_per_cell(uint64_t record_bytes)
{
    for (uint64_t p = 1;; p *= 2) {
        if (p * record_bytes >= 128 || p == slow_per_block(record_bytes))
            return p;
    }
}

static void blocks_and_cells_are_as_the_format_says_for_every_record_size(void **state)
{
    static const struct { uint64_t record_bytes, per_block, per_cell; } cases[] = {
        { 1, 4096, 128 }, { 2, 2048, 64 }, { 3, 1024, 64 }, { 7, 512, 32 }, { 16, 256, 8 }, { 127, 32, 2 },
        { 128, 32, 1 }, { 129, 16, 1 }, { 512, 8, 1 }, { 2048, 2, 1 }, { 2049, 1, 1 }, { 4096, 1, 1 },
        { 4097, 1, 1 }, { 65536, 1, 1 }, { 1048576, 1, 1 }, { 16777216, 1, 1 },
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_u64(stele_records_per_block(cases[i].record_bytes), cases[i].per_block);
        assert_u64(stele_records_per_cell(cases[i].record_bytes), cases[i].per_cell);
    }
    for (uint64_t record_bytes = 1; record_bytes <= 5000; record_bytes++) {
        assert_u64(stele_records_per_block(record_bytes), slow_per_block(record_bytes));
        assert_u64(stele_records_per_cell(record_bytes), slow_per_cell(record_bytes));
    }
}

/* FORMAT.md, section 1, for a new store. */
static void check_rules(const struct stele_layout *layout)
{
    uint64_t records_end = layout->records_offset + layout->capacity * layout->record_bytes;

    assert_u64(layout->schema_offset, 8192);
    assert_u64(layout->schema_room_bytes, 57344);
    assert_u64(layout->live_offset, 65536);
    assert_u64(layout->live_bytes, 524288);
    assert_u64(layout->journal_offset, 2 * MIB);
    assert_u64(layout->journal_bytes % 4096, 0);
    assert_true(layout->journal_bytes >= 16 * KIB && layout->journal_bytes <= 128 * MIB);
    assert_u64(layout->records_offset % (2 * MIB), 0);
    assert_true(layout->records_offset >= layout->journal_offset + layout->journal_bytes);
    assert_u64(layout->sums_offset % (64 * KIB), 0);
    assert_true(layout->sums_offset >= records_end);
    assert_u64(layout->block_count, (layout->capacity + layout->records_per_block - 1) / layout->records_per_block);
    assert_u64(layout->sums_bytes, layout->block_count * 8);
    assert_u64(UINT64_C(1) << layout->block_shift, layout->records_per_block);
    assert_u64(layout->file_bytes % 4096, 0);
    assert_true(layout->file_bytes >= layout->sums_offset + layout->sums_bytes);
    assert_true(layout->file_bytes < layout->sums_offset + layout->sums_bytes + 4096);
}

static void a_planned_layout_keeps_the_rules_and_comes_back_out_of_a_header(void **state)
{
    struct chance chance = chance_begin();

    for (unsigned i = 0; i < scaled(5000, 300); i++) {
        struct stele_layout layout, again;
        struct stele_slot slot = { .schema_bytes = 88 };
        bool may_write = true;
        uint64_t record_bytes = 1 + chance_below(&chance, UINT64_C(1) << chance_below(&chance, 25));
        uint64_t capacity = chance_next(&chance) >> (16 + chance_below(&chance, 48));
        int rc = stele_layout_plan(record_bytes, capacity, 0, &layout);

        if (rc == STELE_E_RANGE)
            continue; /* beyond 2^61 bytes, or 2^24 of a record */
        assert_ok(rc);
        check_rules(&layout);
        assert_u64(layout.record_bytes, record_bytes);
        assert_true(layout.capacity == capacity || (capacity == 0 && layout.capacity > 0));
        stele_layout_to(&layout, &slot);
        memset(&again, 0xee, sizeof(again));
        assert_ok(stele_layout_of(&slot, &again, &may_write));
        assert_true(may_write);
        assert_memory_equal(&layout, &again, sizeof(layout));
    }
}

static void plans_beyond_the_limits_are_refused(void **state)
{
    static const struct { uint64_t record_bytes, capacity, journal_bytes; int code; } cases[] = {
        { 1, 1, 16384, STELE_OK },
        { 0, 1, 0, STELE_E_RANGE },
        { 16777216, 1, 0, STELE_OK },
        { 16777217, 1, 0, STELE_E_RANGE },
        { UINT64_MAX, 1, 0, STELE_E_RANGE },
        { 1, UINT64_C(1) << 48, 0, STELE_OK },
        { 1, (UINT64_C(1) << 48) + 1, 0, STELE_E_RANGE },
        { 1, UINT64_MAX, 0, STELE_E_RANGE },
        { 8000, UINT64_C(1) << 48, 0, STELE_OK },
        { 8192, UINT64_C(1) << 48, 0, STELE_E_RANGE }, /* 2^61 bytes of records alone */
        { 16777216, UINT64_C(1) << 48, 0, STELE_E_RANGE },
        { 8, 1, 16383, STELE_E_RANGE },
        { 8, 1, 12288, STELE_E_RANGE },
        { 8, 1, 16384 + 8, STELE_E_RANGE },
        { 8, 1, UINT64_C(128) << 20, STELE_OK },
        { 8, 1, (UINT64_C(128) << 20) + 4096, STELE_E_RANGE },
        { 8, 1, UINT64_MAX - 4095, STELE_E_RANGE },
        { 7680, 1, 16384, STELE_OK }, /* with 512 bytes around it two pages, twice */
        { 7681, 1, 16384, STELE_E_TOO_BIG },
        { 7681, 1, 24576, STELE_OK },
        { 16777216, 1, 2 * 16777216, STELE_E_TOO_BIG },
        { 16777216, 1, 2 * (16777216 + 4096), STELE_OK },
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct stele_layout layout;
        assert_code(stele_layout_plan(cases[i].record_bytes, cases[i].capacity, cases[i].journal_bytes, &layout),
                    cases[i].code);
    }
}

static void the_ring_that_is_chosen_holds_every_record_size(void **state)
{
    for (uint64_t record_bytes = 1; record_bytes <= STELE_RECORD_BYTES_MAX; record_bytes = record_bytes * 3 / 2 + 1) {
        for (uint64_t capacity = 1; capacity <= UINT64_C(1) << 30; capacity *= 1024) {
            struct stele_layout layout;
            assert_ok(stele_layout_plan(record_bytes, capacity, 0, &layout));
            assert_true(layout.journal_bytes >= MIB);
        }
    }
}

static void the_message_of_a_small_ring_names_one_that_would_do(void **state)
{
    struct stele_layout layout;
    const char *at;

    assert_code(stele_layout_plan(100000, 1, 16384, &layout), STELE_E_TOO_BIG);
    at = strstr(stele_last_error()->text, "at least ");
    assert_non_null(at);
    assert_ok(stele_layout_plan(100000, 1, strtoull(at + 9, NULL, 10), &layout));
}

static void growth_moves_the_sums_behind_the_old_ones_and_nothing_else(void **state)
{
    struct chance chance = chance_begin();

    for (unsigned i = 0; i < scaled(3000, 200); i++) {
        struct stele_layout old, next;
        uint64_t record_bytes = 1 + chance_below(&chance, 6000);

        assert_ok(stele_layout_plan(record_bytes, 1 + chance_below(&chance, 1000000), 0, &old));
        for (unsigned step = 0; step < 5; step++) {
            uint64_t capacity = old.capacity + 1 + chance_below(&chance, 1000);
            assert_ok(stele_layout_grow(&old, capacity, &next));
            check_rules(&next);
            assert_true(next.capacity >= capacity);
            assert_true(next.sums_offset >= old.sums_offset + old.sums_bytes);
            assert_u64(next.records_offset, old.records_offset);
            assert_u64(next.journal_bytes, old.journal_bytes);
            assert_u64(next.records_per_block, old.records_per_block);
            old = next;
        }
    }
}

static void growth_beyond_the_limits_is_refused(void **state)
{
    struct stele_layout old, next;

    assert_ok(stele_layout_plan(8, 100, 0, &old));
    assert_ok(stele_layout_grow(&old, UINT64_C(1) << 48, &next));
    assert_code(stele_layout_grow(&old, (UINT64_C(1) << 48) + 1, &next), STELE_E_RANGE);
    assert_code(stele_layout_grow(&old, UINT64_MAX, &next), STELE_E_RANGE);
    assert_ok(stele_layout_plan(STELE_RECORD_BYTES_MAX, 1, 0, &old));
    assert_code(stele_layout_grow(&old, UINT64_C(1) << 37, &next), STELE_E_RANGE);
    assert_code(stele_layout_grow(&old, UINT64_C(1) << 48, &next), STELE_E_RANGE);
}

/* ---- hostile headers ---- */

static void begin_slot(struct stele_slot *slot)
{
    struct stele_layout layout;

    assert_ok(stele_layout_plan(100, 1000, 0, &layout));
    memset(slot, 0, sizeof(*slot));
    slot->schema_bytes = 88;
    stele_layout_to(&layout, slot);
}

static void every_number_of_the_region_table_must_be_what_the_formulas_say(void **state)
{
    static const uint64_t values[] = { 0, 1, 7, 8, 4095, 4096, 8191, 65535, 65537, UINT64_C(1) << 31,
                                       (UINT64_C(1) << 32) - 1, UINT64_C(1) << 32, (UINT64_C(1) << 61) - 1,
                                       UINT64_C(1) << 61, (UINT64_C(1) << 61) + 4096, INT64_MAX, UINT64_C(1) << 63,
                                       UINT64_MAX - 4095, UINT64_MAX };
    unsigned refused = 0;

    for (unsigned region = 0; region < 5; region++) {
        for (unsigned which = 0; which < 2; which++) {
            for (size_t i = 0; i < COUNT_OF(values); i++) {
                struct stele_slot slot;
                struct stele_layout layout;
                bool may_write = true;
                begin_slot(&slot);
                uint64_t *number = which ? &slot.regions[region].bytes : &slot.regions[region].offset;
                if (*number == values[i])
                    continue;
                *number = values[i];
                int rc = stele_layout_of(&slot, &layout, &may_write);
                /* Another place is as good, if it is aligned and free; the schema's room may be smaller. */
                if (rc == STELE_OK) {
                    bool is_schema = slot.regions[region].kind == STELE_REGION_SCHEMA;
                    assert_true(which == 0 || (is_schema && values[i] >= 88 && values[i] <= 57344));
                    assert_true(which == 1 || values[i] >= UINT64_C(1) << 31);
                    assert_true(which == 1 || values[i] % (is_schema ? 8 : 65536) == 0);
                    assert_true(which == 1 || values[i] <= UINT64_C(1) << 61);
                    continue;
                }
                assert_int_equal(rc, STELE_E_DAMAGED);
                refused++;
            }
        }
    }
    assert_true(refused > 150);
}

static void a_known_region_that_is_missing_or_there_twice_is_damage(void **state)
{
    struct stele_layout layout;
    struct stele_slot slot;
    bool may_write = true;

    for (unsigned i = 0; i < 5; i++) {
        begin_slot(&slot);
        slot.regions[i].kind = 0;
        assert_code(stele_layout_of(&slot, &layout, &may_write), STELE_E_DAMAGED);
        assert_says("missing");
        begin_slot(&slot);
        slot.regions[23] = slot.regions[i];
        slot.regions[23].offset = UINT64_C(1) << 40;
        assert_code(stele_layout_of(&slot, &layout, &may_write), STELE_E_DAMAGED);
        assert_says("same kind");
    }
}

static void regions_of_a_newer_stele_do_what_their_flags_say(void **state)
{
    static const struct { uint32_t flags; int code; bool may_write; } cases[] = {
        { 0, STELE_OK, true },
        { STELE_REGION_KEEP, STELE_OK, true },
        { STELE_REGION_NO_WRITE, STELE_OK, false },
        { STELE_REGION_NO_WRITE | STELE_REGION_KEEP, STELE_OK, false },
        { STELE_REGION_NO_OPEN, STELE_E_VERSION, true },
        { 7, STELE_E_VERSION, true },
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct stele_layout layout;
        struct stele_slot slot;
        bool may_write = true;
        begin_slot(&slot);
        assert_false(stele_layout_has_strangers(&slot));
        slot.regions[9] = (struct stele_region){ .kind = 77, .flags = cases[i].flags, .offset = UINT64_C(1) << 41,
                                                 .bytes = 4096 };
        assert_true(stele_layout_has_strangers(&slot));
        assert_code(stele_layout_of(&slot, &layout, &may_write), cases[i].code);
        if (cases[i].code == STELE_OK)
            assert_int_equal(may_write, cases[i].may_write);
        /* Written anew the entry stays as it was. */
        struct stele_region stranger = slot.regions[9];
        assert_ok(stele_layout_plan(100, 5000, 0, &layout));
        stele_layout_to(&layout, &slot);
        assert_memory_equal(&slot.regions[9], &stranger, sizeof(stranger));
        /* Inside of ours it may not lie. */
        slot.regions[9].offset = layout.records_offset + 4096;
        slot.regions[9].flags = 0;
        assert_code(stele_layout_of(&slot, &layout, &may_write), STELE_E_DAMAGED);
        assert_says("overlaps");
    }
}

static void records_and_blocks_find_each_other(void **state)
{
    struct stele_layout layout;

    assert_ok(stele_layout_plan(100, 1000, 0, &layout)); /* 32 a block */
    assert_u64(stele_block_of(&layout, 31), 0);
    assert_u64(stele_block_of(&layout, 32), 1);
    assert_u64(stele_block_first(&layout, 3), 96);
    assert_u64(stele_block_records(&layout, 0, 0), 0);
    assert_u64(stele_block_records(&layout, 0, 31), 31);
    assert_u64(stele_block_records(&layout, 0, 33), 32);
    assert_u64(stele_block_records(&layout, 1, 33), 1);
    assert_u64(stele_block_records(&layout, 2, 33), 0);
    assert_u64(stele_blocks_below(&layout, 0), 0);
    assert_u64(stele_blocks_below(&layout, 32), 1);
    assert_u64(stele_blocks_below(&layout, 33), 2);
    assert_u64(stele_record_offset(&layout, 7), layout.records_offset + 700);
    assert_u64(stele_word_offset(&layout, 7), layout.sums_offset + 56);
}

static void stripes_are_those_of_the_test_vectors(void **state)
{
    static const uint64_t vectors[][2] = { { 0, 0 }, { 1, 8 }, { 4095, 32760 }, { 4096, 1 }, { 4097, 9 },
                                           { 32768, 0 } };
    static bool is_used[STELE_STRIPE_COUNT];

    for (size_t i = 0; i < COUNT_OF(vectors); i++)
        assert_u64(stele_stripe_of(vectors[i][0]), vectors[i][1]);
    /* As many blocks as stripes use each of them once. */
    for (uint64_t block = 0; block < STELE_STRIPE_COUNT; block++) {
        assert_false(is_used[stele_stripe_of(block)]);
        is_used[stele_stripe_of(block)] = true;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_and_cells_are_as_the_format_says_for_every_record_size),
        cmocka_unit_test(a_planned_layout_keeps_the_rules_and_comes_back_out_of_a_header),
        cmocka_unit_test(plans_beyond_the_limits_are_refused),
        cmocka_unit_test(the_ring_that_is_chosen_holds_every_record_size),
        cmocka_unit_test(the_message_of_a_small_ring_names_one_that_would_do),
        cmocka_unit_test(growth_moves_the_sums_behind_the_old_ones_and_nothing_else),
        cmocka_unit_test(growth_beyond_the_limits_is_refused),
        cmocka_unit_test(every_number_of_the_region_table_must_be_what_the_formulas_say),
        cmocka_unit_test(a_known_region_that_is_missing_or_there_twice_is_damage),
        cmocka_unit_test(regions_of_a_newer_stele_do_what_their_flags_say),
        cmocka_unit_test(records_and_blocks_find_each_other),
        cmocka_unit_test(stripes_are_those_of_the_test_vectors),
    };

    return cmocka_run_group_tests_name("layout", tests, NULL, NULL);
}
