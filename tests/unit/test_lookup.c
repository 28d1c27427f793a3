/* The map in memory: against an array, through many growths, and at its edges. */
#include "lookup.h"

#include "scratch.h"

static void an_empty_map_finds_nothing(void **state)
{
    struct stele_lookup lookup = { .slots = NULL };

    assert_null(stele_lookup_find(&lookup, 0));
    assert_null(stele_lookup_find(&lookup, UINT64_MAX - 1));
    stele_lookup_clear(&lookup);
    stele_lookup_done(&lookup);
    stele_lookup_done(&lookup);
}

static void what_was_put_is_found_with_its_value(void **state)
{
    static const uint64_t keys[] = { 0, 1, 63, 64, 65, UINT64_C(1) << 32, (UINT64_C(1) << 48) - 1,
                                     (UINT64_C(1) << 63) - 1 };
    struct stele_lookup lookup = { .slots = NULL };
    uint64_t *value;
    bool is_new;

    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        assert_ok(stele_lookup_put(&lookup, keys[i], &value, &is_new));
        assert_true(is_new);
        assert_u64(*value, 0);
        *value = i + 100;
        assert_ok(stele_lookup_put(&lookup, keys[i], &value, &is_new));
        assert_false(is_new);
        assert_u64(*value, i + 100);
    }
    assert_u64(lookup.count, COUNT_OF(keys));
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        assert_non_null(stele_lookup_find(&lookup, keys[i]));
        assert_u64(*stele_lookup_find(&lookup, keys[i]), i + 100);
    }
    assert_null(stele_lookup_find(&lookup, 2));
    stele_lookup_done(&lookup);
}

static void runs_and_strides_survive_every_growth(void **state)
{
    static const uint64_t strides[] = { 1, 8, 4096, UINT64_C(1) << 20, UINT64_C(1) << 40 };
    const uint64_t n = scaled(20000, 500);

    for (size_t s = 0; s < COUNT_OF(strides); s++) {
        struct stele_lookup lookup = { .slots = NULL };

        for (uint64_t i = 0; i < n; i++) {
            uint64_t *value;
            bool is_new;
            assert_ok(stele_lookup_put(&lookup, i * strides[s], &value, &is_new));
            assert_true(is_new);
            *value = ~i;
        }
        assert_u64(lookup.count, n);
        assert_true(lookup.slot_count > lookup.count);
        for (uint64_t i = 0; i < n; i++) {
            const uint64_t *value = stele_lookup_find(&lookup, i * strides[s]);
            assert_non_null(value);
            assert_u64(*value, ~i);
        }
        assert_null(stele_lookup_find(&lookup, n * strides[s]));
        stele_lookup_done(&lookup);
    }
}

static void random_puts_agree_with_an_array(void **state)
{
    enum { KEYS = 1000 };
    struct chance chance = chance_begin();
    struct stele_lookup lookup = { .slots = NULL };
    uint64_t values[KEYS] = { 0 };
    bool is_there[KEYS] = { false };
    size_t count = 0;

    for (unsigned step = 0; step < scaled(50000, 3000); step++) {
        uint64_t key = chance_below(&chance, KEYS);
        if (chance_below(&chance, 4000) == 0) {
            stele_lookup_clear(&lookup);
            memset(is_there, 0, sizeof(is_there));
            count = 0;
        } else if (chance_below(&chance, 2)) {
            uint64_t *value;
            bool is_new;
            assert_ok(stele_lookup_put(&lookup, key, &value, &is_new));
            assert_int_equal(is_new, !is_there[key]);
            assert_u64(*value, is_there[key] ? values[key] : 0);
            count += is_new;
            is_there[key] = true;
            *value = values[key] = chance_next(&chance);
        } else {
            const uint64_t *value = stele_lookup_find(&lookup, key);
            assert_int_equal(value != NULL, is_there[key]);
            if (value)
                assert_u64(*value, values[key]);
        }
        assert_u64(lookup.count, count);
    }
    stele_lookup_done(&lookup);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_map_finds_nothing),
        cmocka_unit_test(what_was_put_is_found_with_its_value),
        cmocka_unit_test(runs_and_strides_survive_every_growth),
        cmocka_unit_test(random_puts_agree_with_an_array),
    };

    return cmocka_run_group_tests_name("lookup", tests, NULL, NULL);
}
