/* Small arithmetic at its edges, and copies of every length. */
#include "bits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void least_and_greatest_take_either_side(void **state)
{
    assert_true(stele_min(1, 2) == 1 && stele_min(2, 1) == 1 && stele_min(UINT64_MAX, 0) == 0);
    assert_true(stele_max(1, 2) == 2 && stele_max(2, 1) == 2 && stele_max(UINT64_MAX, 0) == UINT64_MAX);
}

static void rounding_keeps_multiples_and_moves_the_rest(void **state)
{
    static const struct {
        uint64_t value, alignment, down, up;
    } cases[] = {
        { 0, 1, 0, 0 },
        { 0, 4096, 0, 0 },
        { 1, 4096, 0, 4096 },
        { 4095, 4096, 0, 4096 },
        { 4096, 4096, 4096, 4096 },
        { 4097, 4096, 4096, 8192 },
        { 7, 1, 7, 7 },
        { (UINT64_C(1) << 63) - 1, UINT64_C(1) << 62, UINT64_C(1) << 62, UINT64_C(1) << 63 },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_true(stele_round_down(cases[i].value, cases[i].alignment) == cases[i].down);
        assert_true(stele_round_up(cases[i].value, cases[i].alignment) == cases[i].up);
    }
}

static void division_rounds_up_without_overflow(void **state)
{
    assert_true(stele_div_up(0, 7) == 0);
    assert_true(stele_div_up(1, 7) == 1);
    assert_true(stele_div_up(7, 7) == 1);
    assert_true(stele_div_up(8, 7) == 2);
    assert_true(stele_div_up(UINT64_MAX, 2) == UINT64_C(1) << 63);
    assert_true(stele_div_up(UINT64_MAX, 1) == UINT64_MAX);
}

static void sums_and_products_say_when_they_do_not_fit(void **state)
{
    uint64_t out;

    assert_true(stele_add_fits(UINT64_MAX - 1, 1, &out) && out == UINT64_MAX);
    assert_false(stele_add_fits(UINT64_MAX, 1, &out));
    assert_true(stele_mul_fits(UINT64_C(1) << 32, UINT32_MAX, &out) && out == (uint64_t)UINT32_MAX << 32);
    assert_false(stele_mul_fits(UINT64_C(1) << 32, UINT64_C(1) << 32, &out));
    assert_true(stele_mul_fits(0, UINT64_MAX, &out) && out == 0);
}

static void one_byte_that_is_not_zero_is_found_wherever_it_is(void **state)
{
    unsigned char bytes[70] = { 0 };

    for (size_t byte_count = 0; byte_count <= sizeof(bytes); byte_count++) {
        assert_true(stele_is_zero(bytes, byte_count));
        for (size_t at = 0; at < sizeof(bytes); at++) {
            bytes[at] = 0x80;
            assert_int_equal(stele_is_zero(bytes, byte_count), at >= byte_count);
            bytes[at] = 0;
        }
    }
}

static void words_come_back_whole(void **state)
{
    uint64_t word = 0;

    stele_store(&word, UINT64_C(0x0123456789abcdef));
    assert_true(stele_load(&word) == UINT64_C(0x0123456789abcdef));
    stele_store_release(&word, UINT64_MAX);
    stele_fence_release();
    stele_fence_acquire();
    assert_true(stele_load_acquire(&word) == UINT64_MAX);
}

static void copy_takes_the_bytes_and_no_others(void **state)
{
    unsigned char from[80], to[80];

    for (size_t i = 0; i < sizeof(from); i++)
        from[i] = (unsigned char)(i + 1);
    for (size_t start = 0; start < 9; start++) {
        for (size_t byte_count = 0; byte_count <= 70; byte_count++) {
            memset(to, 0, sizeof(to));
            stele_copy_shared(to + start, from + 3, byte_count);
            assert_true(stele_is_zero(to, start));
            assert_memory_equal(to + start, from + 3, byte_count);
            assert_true(stele_is_zero(to + start + byte_count, sizeof(to) - start - byte_count));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(least_and_greatest_take_either_side),
        cmocka_unit_test(rounding_keeps_multiples_and_moves_the_rest),
        cmocka_unit_test(division_rounds_up_without_overflow),
        cmocka_unit_test(sums_and_products_say_when_they_do_not_fit),
        cmocka_unit_test(one_byte_that_is_not_zero_is_found_wherever_it_is),
        cmocka_unit_test(words_come_back_whole),
        cmocka_unit_test(copy_takes_the_bytes_and_no_others),
    };

    return cmocka_run_group_tests_name("bits", tests, NULL, NULL);
}
