/* Block sums: the vectors of FORMAT.md, changes by cells against sums computed anew, damage that stays visible. */
#include "sums.h"

#include "hash.h"
#include "scratch.h"

static struct stele_layout layout_of_records(uint64_t record_bytes)
{
    struct stele_layout layout;

    assert_ok(stele_layout_plan(record_bytes, UINT64_C(1) << 30, 0, &layout));
    return layout;
}

static void count_up(uint8_t *bytes, size_t byte_count)
{
    for (size_t i = 0; i < byte_count; i++)
        bytes[i] = (uint8_t)i;
}

static void hashes_are_those_of_the_test_vectors(void **state)
{
    static const uint8_t on_disk[2][16] = {
        { 0x7e, 0x0a, 0xed, 0xff, 0x11, 0x7a, 0x07, 0xaf, 0x6f, 0x8d, 0x82, 0x4a, 0x86, 0x7c, 0x07, 0x40 },
        { 0xe4, 0x6e, 0x65, 0x45, 0x36, 0xf4, 0x32, 0x61, 0xb8, 0xdf, 0x83, 0xf9, 0xef, 0x0f, 0x62, 0x09 },
    };
    const uint64_t session = UINT64_C(0x1122334455667788);
    uint8_t bytes[4080], hash[16];

    count_up(bytes, sizeof(bytes));
    stele_hash128(bytes, 4080, hash);
    assert_memory_equal(hash, on_disk[0], 16);
    stele_hash128(bytes, 88, hash);
    assert_memory_equal(hash, on_disk[1], 16);
    assert_u64(stele_hash64(bytes, 56, session), UINT64_C(0x353122428e3dfe0c));
    assert_u64(stele_hash64(bytes, 112, session), UINT64_C(0x51c6dbe10b72c271));
}

static void cells_and_words_are_those_of_the_test_vectors(void **state)
{
    /* Records of 16 bytes: 8 a cell, so the second cell begins with record 8 more. */
    struct stele_layout layout = layout_of_records(16);
    uint8_t bytes[256];

    count_up(bytes, 128);
    count_up(bytes + 128, 48);
    assert_u64(stele_sum_cell(&layout, 7, 5, bytes, 8), UINT64_C(0xc5888c685661cd48));
    assert_u64(stele_sum_cell(&layout, 7, 13, bytes + 128, 3), UINT64_C(0xd2ccb3c910729121));
    assert_u64(stele_sum_cell(&layout, 7, 13, bytes + 128, 0), 0);
    /* As block 0 of a store of seed 12: cells of first records 0 and 8, seeds 12 and 20. */
    assert_u64(stele_sum_block(&layout, 12, 0, bytes, 11), UINT64_C(0x1855403166d45e69));
    assert_u64(stele_word_of(UINT64_C(0x1855403166d45e69)), UINT64_C(0x30aa8062cda8bcd3));
    assert_u64(stele_sum_of(UINT64_C(0x30aa8062cda8bcd3)), UINT64_C(0x1855403166d45e69));
}

/* FORMAT.md's table must hold the numbers that are repeated above. */
static void the_format_document_holds_the_same_vectors(void **state)
{
    static const char *const vectors[] = {
        "c5888c685661cd48", "d2ccb3c910729121", "1855403166d45e69", "30aa8062cda8bcd3", "353122428e3dfe0c",
        "51c6dbe10b72c271", "7e 0a ed ff 11 7a 07 af 6f 8d 82 4a 86 7c 07 40",
        "e4 6e 65 45 36 f4 32 61 b8 df 83 f9 ef 0f 62 09",
    };
    const char *top = getenv("STELE_SOURCE");
    char path[512], *text = calloc(1, 128 * KIB);
    FILE *file;

    snprintf(path, sizeof(path), "%s/lib/FORMAT.md", top ? top : ".");
    file = fopen(path, "r");
    assert_non_null(file);
    assert_true(fread(text, 1, 128 * KIB - 1, file) > 1000);
    fclose(file);
    for (size_t i = 0; i < COUNT_OF(vectors); i++)
        assert_non_null(strstr(text, vectors[i]));
    free(text);
}

static void words_are_unwritten_odd_or_known_damaged(void **state)
{
    struct stele_layout layout = layout_of_records(100);
    uint8_t records[32 * 100] = { 0 };
    uint64_t computed = 7;

    assert_u64(stele_word_of(0), 1);
    assert_u64(stele_word_of(UINT64_MAX), UINT64_MAX);
    assert_u64(stele_sum_of(stele_word_of(UINT64_MAX)), UINT64_MAX >> 1);
    assert_true(stele_word_is_unwritten(0));
    assert_false(stele_word_is_unwritten(1));
    assert_false(stele_word_is_known_damaged(0));
    assert_false(stele_word_is_known_damaged(1));
    assert_true(stele_word_is_known_damaged(2));
    /* Word 0: valid for zeros alone. */
    assert_true(stele_sum_check(&layout, 1, 0, records, 32, 0, &computed));
    assert_u64(computed, 0);
    for (size_t at = 0; at < sizeof(records); at += 37) {
        records[at] = 1;
        assert_false(stele_sum_check(&layout, 1, 0, records, 32, 0, &computed));
        assert_u64(computed & 1, 1);
        records[at] = 0;
    }
    records[31 * 100] = 1; /* above the count */
    assert_true(stele_sum_check(&layout, 1, 0, records, 31, 0, &computed));
    /* An even word is right for nothing, even where the odd one would be. */
    assert_false(stele_sum_check(&layout, 1, 0, records, 32, computed & ~UINT64_C(1), &computed));
    assert_true(stele_sum_check(&layout, 1, 0, records, 32, computed, &computed));
    assert_false(stele_sum_check(&layout, 1, 0, records, 32, computed ^ 1, &computed));
}

static void a_sum_binds_bytes_to_their_place_their_count_and_their_store(void **state)
{
    struct stele_layout layout = layout_of_records(128);
    uint8_t records[32 * 128], swapped[32 * 128];
    uint64_t sum;

    fill_records(records, 128, 0, 32, 0);
    memcpy(swapped, records, sizeof(records));
    memcpy(swapped, records + 128, 128);
    memcpy(swapped + 128, records, 128);
    sum = stele_sum_block(&layout, 9, 4, records, 32);
    assert_true(sum != stele_sum_block(&layout, 9, 4, swapped, 32));
    assert_true(sum != stele_sum_block(&layout, 9, 5, records, 32));
    assert_true(sum != stele_sum_block(&layout, 10, 4, records, 32));
    assert_true(sum != stele_sum_block(&layout, 9, 4, records, 31));
    assert_u64(sum >> 63, 0);
    /* Index and seed are added modulo 2^64. */
    assert_u64(stele_sum_cell(&layout, UINT64_MAX, 5, records, 1), stele_sum_cell(&layout, 0, 4, records, 1));
}

static void every_bit_of_a_block_counts(void **state)
{
    static const uint64_t sizes[] = { 1, 7, 100, 129, 4096 };

    for (size_t s = 0; s < COUNT_OF(sizes); s++) {
        struct stele_layout layout = layout_of_records(sizes[s]);
        uint64_t records = layout.records_per_block > 40 ? 40 : layout.records_per_block, computed;
        size_t bytes = (size_t)(records * sizes[s]);
        uint8_t *block = calloc(1, bytes);
        fill_records(block, (size_t)sizes[s], 0, records, 1);
        uint64_t word = stele_word_of(stele_sum_block(&layout, 3, 2, block, records));
        assert_true(stele_sum_check(&layout, 3, 2, block, records, word, &computed));
        for (size_t bit = 0; bit < bytes * 8; bit += scale_percent() < 100 ? 13 : 1) {
            block[bit / 8] ^= (uint8_t)(1u << bit % 8);
            assert_false(stele_sum_check(&layout, 3, 2, block, records, word, &computed));
            block[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        for (unsigned bit = 0; bit < 64; bit++)
            assert_false(stele_sum_check(&layout, 3, 2, block, records, word ^ UINT64_C(1) << bit, &computed));
        free(block);
    }
}

/* A change of some records and of the count, made up by chance. */
struct trial {
    struct stele_layout layout;
    uint64_t seed, block, old_count, new_count;
    uint8_t *old_records, *new_records;
};

static void begin_trial(struct trial *trial, struct chance *chance)
{
    static const uint64_t sizes[] = { 1, 2, 3, 7, 16, 64, 100, 127, 128, 129, 512, 1000, 2048, 4096, 5000 };
    uint64_t record_bytes = sizes[chance_below(chance, COUNT_OF(sizes))];

    trial->layout = layout_of_records(record_bytes);
    uint64_t per_block = trial->layout.records_per_block;
    size_t bytes = (size_t)(per_block * record_bytes);
    trial->seed = chance_next(chance);
    trial->block = chance_below(chance, 1000);
    trial->old_count = chance_below(chance, per_block + 1);
    trial->new_count = chance_below(chance, 3) ? chance_below(chance, per_block + 1) : trial->old_count;
    trial->old_records = malloc(bytes);
    trial->new_records = malloc(bytes);
    chance_fill(chance, trial->old_records, bytes);
    memcpy(trial->new_records, trial->old_records, bytes);
    for (uint64_t i = chance_below(chance, 5); i > 0; i--)
        chance_fill(chance, trial->new_records + chance_below(chance, per_block) * record_bytes, (size_t)record_bytes);
}

static void end_trial(struct trial *trial)
{
    free(trial->old_records);
    free(trial->new_records);
}

static uint64_t sum_after_trial(const struct trial *trial, uint64_t old_sum)
{
    struct stele_sum_change change = { .block = trial->block, .old_records = trial->old_records,
                                       .old_count = trial->old_count, .new_records = trial->new_records,
                                       .new_count = trial->new_count };

    return stele_sum_after(&trial->layout, trial->seed, old_sum, &change);
}

static void a_changed_sum_is_the_one_computed_anew(void **state)
{
    struct chance chance = chance_begin();

    for (unsigned i = 0; i < scaled(20000, 500); i++) {
        struct trial trial;
        begin_trial(&trial, &chance);
        uint64_t old_sum = stele_sum_block(&trial.layout, trial.seed, trial.block, trial.old_records, trial.old_count);
        uint64_t new_sum = stele_sum_block(&trial.layout, trial.seed, trial.block, trial.new_records, trial.new_count);
        assert_u64(sum_after_trial(&trial, old_sum), new_sum);
        end_trial(&trial);
    }
}

static void damage_elsewhere_in_the_block_stays_visible(void **state)
{
    struct chance chance = chance_begin();
    unsigned tried = 0;

    for (unsigned i = 0; i < scaled(20000, 500); i++) {
        struct trial trial;
        begin_trial(&trial, &chance);
        const struct stele_layout *layout = &trial.layout;
        uint64_t kept = trial.old_count < trial.new_count ? trial.old_count : trial.new_count;
        uint64_t old_sum = stele_sum_block(layout, trial.seed, trial.block, trial.old_records, trial.old_count);
        uint64_t victim = chance_below(&chance, kept), cell = victim / layout->records_per_cell;
        uint64_t from = cell * layout->records_per_cell, end = from + layout->records_per_cell;
        size_t at = (size_t)(from * layout->record_bytes), cell_bytes = (size_t)((end - from) * layout->record_bytes);
        bool is_cell_changed = memcmp(trial.old_records + at, trial.new_records + at, cell_bytes) != 0;
        /* A cell that the change leaves alone, whole below both counts. */
        if (kept && end <= kept && !is_cell_changed) {
            size_t byte = at + (size_t)chance_below(&chance, cell_bytes);
            uint8_t bit = (uint8_t)(1u << chance_below(&chance, 8));
            uint64_t computed;
            trial.old_records[byte] ^= bit;
            trial.new_records[byte] ^= bit;
            uint64_t word = stele_word_of(sum_after_trial(&trial, old_sum));
            assert_false(stele_sum_check(layout, trial.seed, trial.block, trial.new_records, trial.new_count, word,
                                         &computed));
            tried++;
        }
        end_trial(&trial);
    }
    assert_true(tried > 50);
}

static void changes_one_after_the_other_end_at_the_sum_of_the_last_state(void **state)
{
    struct chance chance = chance_begin();
    struct stele_layout layout = layout_of_records(24);
    uint8_t was[4096], is[4096];
    uint64_t was_count = 0, sum = 0;

    memset(was, 0, sizeof(was));
    for (unsigned step = 0; step < scaled(5000, 300); step++) {
        memcpy(is, was, sizeof(is));
        uint64_t is_count = chance_below(&chance, 4) ? was_count : chance_below(&chance, layout.records_per_block + 1);
        for (unsigned n = (unsigned)chance_below(&chance, 4); n > 0; n--)
            chance_fill(&chance, is + chance_below(&chance, layout.records_per_block) * 24, 24);
        struct stele_sum_change change = { .block = 3, .old_records = was, .old_count = was_count, .new_records = is,
                                           .new_count = is_count };
        sum = stele_sum_after(&layout, 77, sum, &change);
        assert_u64(sum, stele_sum_block(&layout, 77, 3, is, is_count));
        memcpy(was, is, sizeof(was));
        was_count = is_count;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashes_are_those_of_the_test_vectors),
        cmocka_unit_test(cells_and_words_are_those_of_the_test_vectors),
        cmocka_unit_test(the_format_document_holds_the_same_vectors),
        cmocka_unit_test(words_are_unwritten_odd_or_known_damaged),
        cmocka_unit_test(a_sum_binds_bytes_to_their_place_their_count_and_their_store),
        cmocka_unit_test(every_bit_of_a_block_counts),
        cmocka_unit_test(a_changed_sum_is_the_one_computed_anew),
        cmocka_unit_test(damage_elsewhere_in_the_block_stays_visible),
        cmocka_unit_test(changes_one_after_the_other_end_at_the_sum_of_the_last_state),
    };

    return cmocka_run_group_tests_name("sums", tests, NULL, NULL);
}
