/* The live region: words and stripes as other processes see them, and words that nobody of ours stored. */
#include "live.h"

#include "scratch.h"

static struct stele_os_file file;
static struct stele_layout layout;
static struct stele_live_map live;

static int make_live(void **state)
{
    if (scratch_make_fast(state))
        return -1;
    poke(scratch_path, 0, "", 1);
    set_size_of_file(scratch_path, 2 * MIB);
    if (stele_os_open(scratch_path, true, &file) ||
        stele_layout_plan(100, 1000, 0, &layout))
        return -1;
    return stele_live_map(&file, &layout, true, &live);
}

static int drop_live(void **state)
{
    stele_live_done(&live);
    stele_live_done(&live);
    stele_os_close(&file);
    return scratch_drop(state);
}

#define IN_LIVE(test) cmocka_unit_test_setup_teardown(test, make_live, drop_live)

static uint64_t word_at(uint64_t offset)
{
    uint64_t word;

    peek(scratch_path, STELE_LIVE_OFFSET + offset, &word, 8);
    return word;
}

static void published_words_stand_where_the_format_says(void **state)
{
    struct stele_live_state now = { .sequence = 11, .chain = 12, .ring_head = 4096, .ring_tail = 8192, .count = 13,
                                    .layout_version = 14 };
    static const struct { uint64_t offset, value; } words[] = {
        { 0, 0x4556494c454c4554 }, { 8, 1 }, { 256, 11 }, { 320, 11 }, { 384, 11 }, { 448, 12 }, { 512, 4096 },
        { 576, 8192 }, { 640, 11 }, { 704, 13 }, { 768, 13 }, { 832, 14 }, { 128, STELE_STATE_FAILED },
    };

    assert_code(stele_live_check(&live), STELE_E_VERSION);
    stele_live_publish(&live, &now);
    stele_live_set_state(&live, STELE_STATE_FAILED);
    for (size_t i = 0; i < COUNT_OF(words); i++)
        assert_u64(word_at(words[i].offset), words[i].value);
    assert_ok(stele_live_check(&live));
}

static void another_live_layout_is_refused(void **state)
{
    struct stele_live_state now = { .sequence = 1 };

    stele_live_publish(&live, &now);
    stele_store(&live.words->live_layout_version, 2);
    assert_code(stele_live_check(&live), STELE_E_VERSION);
    assert_says("2");
    stele_store(&live.words->live_layout_version, 1);
    stele_store(&live.words->magic, 1);
    assert_code(stele_live_check(&live), STELE_E_VERSION);
}

static void a_claim_changes_the_session_and_says_that_recovery_is_on(void **state)
{
    uint64_t before = 0, session = 0;

    for (unsigned i = 0; i < 10; i++) {
        stele_live_set_state(&live, STELE_STATE_IDLE);
        assert_ok(stele_live_claim(&live, &session));
        assert_true(session != before);
        assert_u64(word_at(64), session);
        assert_u64(word_at(128), STELE_STATE_RECOVERING);
        before = session;
    }
}

static void stripes_are_odd_while_held_and_even_with_the_version_afterwards(void **state)
{
    static const uint64_t blocks[] = { 0, 1, 63, 64, 4095, 4096, 4097, 99999 };
    static struct stele_stripe_set set;

    stele_stripes_clear(&set);
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        stele_stripes_add(&set, blocks[i]);
        stele_stripes_add(&set, blocks[i]);
    }
    for (uint64_t version = 5; version < 8; version++) {
        stele_stripes_hold(&live, &set);
        stele_stripes_hold(&live, &set); /* each once: odd stays odd */
        for (uint64_t stripe = 0, odd = 0; stripe < STELE_STRIPE_COUNT; stripe++) {
            odd += live.stripes[stripe] & 1;
            if (stripe == STELE_STRIPE_COUNT - 1)
                assert_u64(odd, COUNT_OF(blocks));
        }
        for (size_t i = 0; i < COUNT_OF(blocks); i++)
            assert_u64(*stele_live_stripe(&live, blocks[i]) & 1, 1);
        stele_stripes_release(&live, &set, version);
        for (size_t i = 0; i < COUNT_OF(blocks); i++) {
            assert_u64(*stele_live_stripe(&live, blocks[i]), version << 1);
            assert_u64(word_at(65536 + 8 * stele_stripe_of(blocks[i])), version << 1);
        }
        assert_u64(*stele_live_stripe(&live, 2), 0);
    }
}

static void a_range_is_the_stripes_of_its_blocks_and_at_most_all(void **state)
{
    static const struct { uint64_t first, n; } cases[] = {
        { 0, 0 }, { 0, 1 }, { 5, 3 }, { 4090, 20 }, { 32760, 100 }, { 7, 32767 }, { 7, 32768 }, { 0, UINT64_MAX },
        { UINT64_C(1) << 47, 5000 },
    };
    static struct stele_stripe_set set, expected;

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        stele_stripes_clear(&set);
        stele_stripes_clear(&expected);
        stele_stripes_add_range(&set, cases[i].first, cases[i].n);
        for (uint64_t k = 0; k < cases[i].n && k < 40000; k++)
            stele_stripes_add(&expected, cases[i].first + k);
        assert_memory_equal(&set, &expected, sizeof(set));
    }
}

static void settling_leaves_no_stripe_odd_or_ahead_of_the_version(void **state)
{
    struct chance chance = chance_begin();
    static uint64_t before[STELE_STRIPE_COUNT];

    for (size_t i = 0; i < STELE_STRIPE_COUNT; i++)
        before[i] = live.stripes[i] = chance_below(&chance, 400);
    live.stripes[9] = before[9] = UINT64_MAX;
    stele_live_settle_stripes(&live, 100);
    for (size_t i = 0; i < STELE_STRIPE_COUNT; i++) {
        bool is_kept = before[i] % 2 == 0 && before[i] / 2 <= 100;
        assert_u64(live.stripes[i], is_kept ? before[i] : 200);
    }
}

static void a_file_that_ends_inside_the_region_is_no_fault(void **state)
{
    static const uint64_t lengths[] = { 0, 8192, 65536, 65537, 589823 };

    for (size_t i = 0; i < COUNT_OF(lengths); i++) {
        struct stele_live_map map = { .base = NULL };
        stele_live_done(&live);
        set_size_of_file(scratch_path, lengths[i]);
        assert_code(stele_live_map(&file, &layout, true, &map), STELE_E_TRUNCATED);
        assert_code(stele_live_map(&file, &layout, false, &map), STELE_E_TRUNCATED);
        assert_null(map.base);
    }
    set_size_of_file(scratch_path, 589824);
    assert_ok(stele_live_map(&file, &layout, false, &live));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_LIVE(published_words_stand_where_the_format_says),
        IN_LIVE(another_live_layout_is_refused),
        IN_LIVE(a_claim_changes_the_session_and_says_that_recovery_is_on),
        IN_LIVE(stripes_are_odd_while_held_and_even_with_the_version_afterwards),
        IN_LIVE(a_range_is_the_stripes_of_its_blocks_and_at_most_all),
        IN_LIVE(settling_leaves_no_stripe_odd_or_ahead_of_the_version),
        IN_LIVE(a_file_that_ends_inside_the_region_is_no_fault),
    };

    return cmocka_run_group_tests_name("live", tests, NULL, NULL);
}
