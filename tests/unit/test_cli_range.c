/* Numbers, sizes and ranges as the command line takes them, and the nearest word of a typo. */
#include "cli.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <string.h>

static void sizes_are_powers_of_1024_and_checked_for_overflow(void **state)
{
    static const struct {
        const char *text;
        int code;
        uint64_t size;
    } cases[] = {
        { "0", STELE_OK, 0 },
        { "17", STELE_OK, 17 },
        { "1K", STELE_OK, 1024 },
        { "3m", STELE_OK, 3 << 20 },
        { "2G", STELE_OK, UINT64_C(2) << 30 },
        { "1T", STELE_OK, UINT64_C(1) << 40 },
        { "16777215T", STELE_OK, UINT64_C(16777215) << 40 },
        { "16777216T", STELE_E_RANGE, 0 },
        { "18446744073709551615", STELE_OK, UINT64_MAX },
        { "18446744073709551616", STELE_E_RANGE, 0 },
        { "", STELE_E_USAGE, 0 },
        { "K", STELE_E_USAGE, 0 },
        { "1KK", STELE_E_USAGE, 0 },
        { "1KB", STELE_E_USAGE, 0 },
        { "1.5K", STELE_E_USAGE, 0 },
        { "-1", STELE_E_USAGE, 0 },
        { " 1", STELE_E_USAGE, 0 },
        { "0x10", STELE_E_USAGE, 0 },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t size = 0;

        print_message("%s\n", cases[i].text);
        assert_int_equal(cli_size(cases[i].text, &size), cases[i].code);
        assert_int_equal(size, cases[i].size);
    }
}

static void ranges_are_half_open_and_count_from_the_end_when_negative(void **state)
{
    static const struct {
        const char *text;
        uint64_t count;
        int code; /* of reading, or else of resolving */
        uint64_t first, end;
    } cases[] = {
        { "2..5", 10, STELE_OK, 2, 5 },
        { "2..", 10, STELE_OK, 2, 10 },
        { "..5", 10, STELE_OK, 0, 5 },
        { "..", 10, STELE_OK, 0, 10 },
        { "-3..", 10, STELE_OK, 7, 10 },
        { "..-3", 10, STELE_OK, 0, 7 },
        { "-3..-1", 10, STELE_OK, 7, 9 },
        { "2..-2", 10, STELE_OK, 2, 8 },
        { "8..-5", 10, STELE_OK, 8, 8 },
        { "5..5", 10, STELE_OK, 5, 5 },
        { "10..", 10, STELE_OK, 10, 10 },
        { "7", 10, STELE_OK, 7, 8 },
        { "-1", 10, STELE_OK, 9, 10 },
        { "-10", 10, STELE_OK, 0, 1 },
        { "10", 10, STELE_E_RANGE, 10, 10 },
        { "-11", 10, STELE_E_RANGE, 10, 10 },
        { "-0", 10, STELE_E_RANGE, 10, 10 },
        { "0", 0, STELE_E_RANGE, 0, 0 },
        { "..", 0, STELE_OK, 0, 0 },
        { "8..12", 10, STELE_E_RANGE, 8, 10 },
        { "11..12", 10, STELE_E_RANGE, 10, 10 },
        { "-12..2", 10, STELE_E_RANGE, 0, 2 },
        { "18446744073709551615", 10, STELE_E_RANGE, 10, 10 },
        { "18446744073709551616", 10, STELE_E_RANGE, 0, 0 },
        { "5..2", 10, STELE_E_USAGE, 0, 0 },
        { "-1..-3", 10, STELE_E_USAGE, 0, 0 },
        { "", 10, STELE_E_USAGE, 0, 0 },
        { "a", 10, STELE_E_USAGE, 0, 0 },
        { "1.2", 10, STELE_E_USAGE, 0, 0 },
        { "1...2", 10, STELE_E_USAGE, 0, 0 },
        { "1..2..3", 10, STELE_E_USAGE, 0, 0 },
        { "1..2x", 10, STELE_E_USAGE, 0, 0 },
        { "-", 10, STELE_E_USAGE, 0, 0 },
        { "--1", 10, STELE_E_USAGE, 0, 0 },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct cli_range range = { 0 };
        uint64_t first = 0, end = 0;
        int code = cli_range(cases[i].text, &range);

        print_message("%s of %d\n", cases[i].text, (int)cases[i].count);
        if (!code)
            code = cli_range_resolve(&range, cases[i].count, &first, &end);
        assert_int_equal(code, cases[i].code);
        assert_int_equal(first, cases[i].first);
        assert_int_equal(end, cases[i].end);
    }
}

static void a_typo_finds_the_word_that_was_meant(void **state)
{
    static const char *const words[] = { "capacity", "journal", "sparse", "mode", "pack", "name", "force" };
    static const struct {
        const char *typo, *word;
    } cases[] = {
        { "capcity", "capacity" }, { "capacitiy", "capacity" }, { "journla", "journal" }, { "moed", "mode" },
        { "packs", "pack" },       { "forse", "force" },        { "xyzzy", NULL },        { "", NULL },
        { "a-word-that-is-longer-than-any-option-and-than-sixty-three-bytes-too", NULL },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *found = cli_nearest(cases[i].typo, words, sizeof words / sizeof words[0]);

        print_message("%s\n", cases[i].typo);
        if (cases[i].word)
            assert_string_equal(found, cases[i].word);
        else
            assert_null(found);
    }
}

static void each_code_of_the_library_has_its_exit_code(void **state)
{
    for (int code = STELE_E_INTERRUPTED; code <= STELE_END; code++) {
        int expected = CLI_REFUSED;

        if (code >= STELE_OK)
            expected = CLI_DONE;
        else if (code == STELE_E_USAGE || code == STELE_E_RANGE || code == STELE_E_SCHEMA)
            expected = CLI_USAGE;
        else if (code == STELE_E_INTERRUPTED)
            expected = CLI_INTERRUPTED;
        assert_int_equal(cli_exit_of(code), expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_powers_of_1024_and_checked_for_overflow),
        cmocka_unit_test(ranges_are_half_open_and_count_from_the_end_when_negative),
        cmocka_unit_test(a_typo_finds_the_word_that_was_meant),
        cmocka_unit_test(each_code_of_the_library_has_its_exit_code),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
