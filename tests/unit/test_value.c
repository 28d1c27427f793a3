/* Values of the command line: text to the bytes of a field and back, exactly. */
#include "value.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { I8, U8, I16, U16, I32, U32, I64, U64, F32, F64, BOOL, TEXT, BYTES, MATRIX, NAMES, NESTED,
       FIELD_COUNT };

static const struct stele_field fields[FIELD_COUNT] = {
    { .name = "i8", .type = STELE_I8, .offset = 0 },
    { .name = "u8", .type = STELE_U8, .offset = 1 },
    { .name = "i16", .type = STELE_I16, .offset = 2 },
    { .name = "u16", .type = STELE_U16, .offset = 4 },
    { .name = "i32", .type = STELE_I32, .offset = 6 },
    { .name = "u32", .type = STELE_U32, .offset = 10 },
    { .name = "i64", .type = STELE_I64, .offset = 14 },
    { .name = "u64", .type = STELE_U64, .offset = 22 },
    { .name = "f32", .type = STELE_F32, .offset = 30 },
    { .name = "f64", .type = STELE_F64, .offset = 34 },
    { .name = "bool", .type = STELE_BOOL, .offset = 42 },
    { .name = "text", .type = STELE_TEXT, .bytes = 6, .offset = 43 },
    { .name = "bytes", .type = STELE_BYTES, .bytes = 3, .offset = 49 },
    { .name = "matrix", .type = STELE_I16, .dims = { 2, 3 }, .offset = 52 },
    { .name = "names", .type = STELE_TEXT, .bytes = 4, .dims = { 2 }, .offset = 64 },
    { .name = "points[1].x", .type = STELE_U8, .dims = { 2 }, .offset = 72 },
};

enum { RECORD_BYTES = 74 };

static struct stele_schema *schema;

static int make_schema(void **state)
{
    return stele_schema_new("All", RECORD_BYTES, fields, FIELD_COUNT, &schema);
}

static int free_schema(void **state)
{
    stele_schema_free(schema);
    return 0;
}

/* Store @text in the field and print it back in @form. Returns the code of storing. */
static int round_trip(size_t field, const char *text, unsigned flags, enum value_form form, char out[256])
{
    unsigned char record[RECORD_BYTES], before[RECORD_BYTES];
    char error[VALUE_ERROR_BYTES] = { 0 };
    struct text printed = { 0 };
    int rc = STELE_OK;

    memset(record, 0xa5, sizeof record);
    memcpy(before, record, sizeof record);
    rc = value_parse(schema, field, 0, text, strlen(text), flags, record, error);
    if (rc) {
        assert_memory_equal(record, before, sizeof record);
        assert_true(error[0]);
        snprintf(out, 256, "%s", error);
        return rc;
    }
    assert_int_equal(value_print(schema, field, 0, record, form, 0, &printed), STELE_OK);
    snprintf(out, 256, "%s", printed.length ? printed.bytes : "");
    text_done(&printed);
    /* Only the element's own bytes may change. */
    memcpy(record + fields[field].offset, before, value_element_bytes(stele_schema_field(schema, field)));
    assert_memory_equal(record, before, sizeof record);
    return STELE_OK;
}

struct value_case {
    size_t field;
    const char *text;
    int code;
    const char *plain; /* printed back; of a refusal: part of the sentence */
};

static void check_cases(const struct value_case *cases, size_t case_count)
{
    char out[256];

    for (size_t i = 0; i < case_count; i++) {
        int code = round_trip(cases[i].field, cases[i].text, 0, VALUE_PLAIN, out);

        print_message("%s = %s: %d %s\n", fields[cases[i].field].name, cases[i].text, code, out);
        assert_int_equal(code, cases[i].code);
        if (code)
            assert_non_null(strstr(out, cases[i].plain));
        else
            assert_string_equal(out, cases[i].plain);
    }
}

static void integers_are_exact_to_their_ends_and_refused_behind_them(void **state)
{
    static const struct value_case cases[] = {
        { I8, "127", STELE_OK, "127" },
        { I8, "-128", STELE_OK, "-128" },
        { I8, "128", STELE_E_RANGE, "\"128\" does not fit i8: -128 to 127" },
        { I8, "-129", STELE_E_RANGE, "-128 to 127" },
        { U8, "255", STELE_OK, "255" },
        { U8, "256", STELE_E_RANGE, "0 to 255" },
        { U8, "-1", STELE_E_RANGE, "0 to 255" },
        { U8, "-0", STELE_OK, "0" },
        { I16, "-32768", STELE_OK, "-32768" },
        { I16, "32768", STELE_E_RANGE, "32767" },
        { U16, "65535", STELE_OK, "65535" },
        { U16, "65536", STELE_E_RANGE, "65535" },
        { I32, "-2147483648", STELE_OK, "-2147483648" },
        { I32, "2147483648", STELE_E_RANGE, "2147483647" },
        { U32, "4294967295", STELE_OK, "4294967295" },
        { U32, "4294967296", STELE_E_RANGE, "4294967295" },
        { I64, "9223372036854775807", STELE_OK, "9223372036854775807" },
        { I64, "-9223372036854775808", STELE_OK, "-9223372036854775808" },
        { I64, "9223372036854775808", STELE_E_RANGE, "9223372036854775807" },
        { I64, "-9223372036854775809", STELE_E_RANGE, "-9223372036854775808" },
        { U64, "18446744073709551615", STELE_OK, "18446744073709551615" },
        { U64, "18446744073709551616", STELE_E_RANGE, "18446744073709551615" },
        { U64, "99999999999999999999999999", STELE_E_RANGE, "18446744073709551615" },
        { U64, "0xffffffffffffffff", STELE_OK, "18446744073709551615" },
        { U64, "0x10000000000000000", STELE_E_RANGE, "18446744073709551615" },
        { I64, "-0x10", STELE_OK, "-16" },
        { I64, "0XaF", STELE_OK, "175" },
        { I64, "+7", STELE_OK, "7" },
        { I64, "007", STELE_OK, "7" },
        { I64, "", STELE_E_USAGE, "not an integer" },
        { I64, "-", STELE_E_USAGE, "not an integer" },
        { I64, "0x", STELE_E_USAGE, "not an integer" },
        { I64, "0xg", STELE_E_USAGE, "not an integer" },
        { I64, "1.0", STELE_E_USAGE, "not an integer" },
        { I64, "1e3", STELE_E_USAGE, "not an integer" },
        { I64, " 1", STELE_E_USAGE, "not an integer" },
        { I64, "1 ", STELE_E_USAGE, "not an integer" },
        { I64, "--1", STELE_E_USAGE, "not an integer" },
        { I64, "a", STELE_E_USAGE, "not an integer" },
    };

    check_cases(cases, sizeof cases / sizeof cases[0]);
}

static void floats_print_the_shortest_digits_that_read_back(void **state)
{
    static const struct value_case cases[] = {
        { F64, "0.1", STELE_OK, "0.1" },
        { F64, "0.30000000000000004", STELE_OK, "0.30000000000000004" },
        { F64, "1e23", STELE_OK, "1e+23" },
        { F64, "100000", STELE_OK, "100000" },
        { F64, "1234.5", STELE_OK, "1234.5" },
        { F64, "-0", STELE_OK, "-0" },
        { F64, "0", STELE_OK, "0" },
        { F64, "5e-324", STELE_OK, "5e-324" },
        { F64, "1.7976931348623157e308", STELE_OK, "1.7976931348623157e+308" },
        { F64, "2.2250738585072014e-308", STELE_OK, "2.2250738585072014e-308" },
        { F64, "9007199254740993", STELE_OK, "9007199254740992" },
        { F64, "1e-5", STELE_OK, "0.00001" },
        { F64, "1.5e-6", STELE_OK, "1.5e-6" },
        { F64, ".5", STELE_OK, "0.5" },
        { F64, "5.", STELE_OK, "5" },
        { F64, "+2E2", STELE_OK, "200" },
        { F64, "1e17", STELE_OK, "1e+17" },
        { F64, "12345678901234567", STELE_OK, "12345678901234568" },
        { F32, "0.1", STELE_OK, "0.1" },
        { F32, "16777217", STELE_OK, "16777216" },
        { F32, "3.4028235e38", STELE_OK, "3.4028235e+38" },
        { F32, "1e-45", STELE_OK, "1e-45" },
        { F32, "0.33333334", STELE_OK, "0.33333334" },
        { F64, "nan", STELE_OK, "NaN" },
        { F64, "NaN", STELE_OK, "NaN" },
        { F32, "-Infinity", STELE_OK, "-Infinity" },
        { F64, "inf", STELE_OK, "Infinity" },
        { F64, "1e309", STELE_E_RANGE, "does not fit f64" },
        { F32, "1e39", STELE_E_RANGE, "does not fit f32" },
        { F32, "3.5e38", STELE_E_RANGE, "does not fit f32" },
        { F64, "", STELE_E_USAGE, "not a number" },
        { F64, "1,5", STELE_E_USAGE, "not a number" },
        { F64, "1e", STELE_E_USAGE, "not a number" },
        { F64, "1e+", STELE_E_USAGE, "not a number" },
        { F64, ".", STELE_E_USAGE, "not a number" },
        { F64, "0x1p3", STELE_E_USAGE, "not a number" },
        { F64, " 1", STELE_E_USAGE, "not a number" },
        { F64, "1 ", STELE_E_USAGE, "not a number" },
        { F64, "nan(7)", STELE_E_USAGE, "not a number" },
        { F64, "infinite", STELE_E_USAGE, "not a number" },
    };

    check_cases(cases, sizeof cases / sizeof cases[0]);
}

static uint64_t next_random(uint64_t *random)
{
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    return *random;
}

/* The fewest digits at which printf's own form of @value reads back. */
static int fewest_digits(double value, bool is_f32)
{
    char out[40];

    for (int digits = 1; digits < 17; digits++) {
        snprintf(out, sizeof out, "%.*e", digits - 1, value);
        if (is_f32 ? strtof(out, NULL) == (float)value : strtod(out, NULL) == value)
            return digits;
    }
    return 17;
}

static int digits_of(const char *text)
{
    int digits = 0, zeros = 0;

    for (; *text && *text != 'e'; text++) {
        if (*text < '0' || *text > '9' || (*text == '0' && !digits))
            continue;
        digits++;
        zeros = *text == '0' ? zeros + 1 : 0;
    }
    return digits - zeros;
}

static void check_random_float(uint64_t bits, bool is_f32)
{
    size_t field = is_f32 ? F32 : F64, bytes = is_f32 ? 4 : 8;
    unsigned char record[RECORD_BYTES] = { 0 }, again[RECORD_BYTES] = { 0 };
    char error[VALUE_ERROR_BYTES];
    struct text out = { 0 };
    double value = 0;
    float narrow = 0;

    memcpy(record + fields[field].offset, &bits, bytes);
    memcpy(&narrow, &bits, 4);
    memcpy(&value, &bits, 8);
    value = is_f32 ? (double)narrow : value;
    value_print(schema, field, 0, record, VALUE_PLAIN, 0, &out);
    assert_int_equal(value_parse(schema, field, 0, out.bytes, out.length, 0, again, error), STELE_OK);
    if (__builtin_isnan(value)) {
        assert_true(value_is_nan(schema, field, 0, again));
    } else {
        assert_memory_equal(record, again, sizeof record);
        if (!__builtin_isinf(value) && value != 0)
            assert_int_equal(digits_of(out.bytes), fewest_digits(value, is_f32));
    }
    text_done(&out);
}

static void random_floats_come_back_bit_for_bit_with_the_fewest_digits(void **state)
{
    const char *given = getenv("STELE_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 2 + 1;
    uint64_t random = seed | 1;

    print_message("STELE_SEED=%" PRIu64 "\n", seed);
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = next_random(&random);

        check_random_float(bits, false);
        check_random_float(bits & UINT32_MAX, true);
        check_random_float(bits >> 12, false); /* subnormal */
        check_random_float(bits >> 41, true);
    }
}

static void random_integers_come_back_bit_for_bit(void **state)
{
    const char *given = getenv("STELE_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 2 + 1;
    uint64_t random = seed | 1;

    print_message("STELE_SEED=%" PRIu64 "\n", seed);
    for (int i = 0; i < 20000; i++) {
        unsigned char record[RECORD_BYTES] = { 0 }, again[RECORD_BYTES] = { 0 };
        uint64_t bits = next_random(&random) >> (next_random(&random) % 64);
        size_t field = next_random(&random) % 8;
        char error[VALUE_ERROR_BYTES];
        struct text out = { 0 };

        memcpy(record + fields[field].offset, &bits, value_element_bytes(stele_schema_field(schema, field)));
        value_print(schema, field, 0, record, VALUE_PLAIN, 0, &out);
        assert_int_equal(value_parse(schema, field, 0, out.bytes, out.length, 0, again, error), STELE_OK);
        assert_memory_equal(record, again, sizeof record);
        text_done(&out);
    }
}

static void bools_and_bytes_take_what_they_print(void **state)
{
    static const struct value_case cases[] = {
        { BOOL, "true", STELE_OK, "true" },
        { BOOL, "FALSE", STELE_OK, "false" },
        { BOOL, "1", STELE_OK, "true" },
        { BOOL, "0", STELE_OK, "false" },
        { BOOL, "2", STELE_E_USAGE, "\"2\" is not true, false, 1 or 0" },
        { BOOL, "", STELE_E_USAGE, "not true" },
        { BOOL, "yes", STELE_E_USAGE, "not true" },
        { BYTES, "00fF80", STELE_OK, "00ff80" },
        { BYTES, "ff", STELE_OK, "ff0000" },
        { BYTES, "", STELE_OK, "000000" },
        { BYTES, "fff", STELE_E_USAGE, "odd number" },
        { BYTES, "0x01", STELE_E_USAGE, "not hex" },
        { BYTES, "zz", STELE_E_USAGE, "not hex" },
        { BYTES, "00112233", STELE_E_RANGE, "has 4 bytes, the field 3" },
    };

    check_cases(cases, sizeof cases / sizeof cases[0]);
}

static void text_that_is_too_long_or_no_utf8_is_refused(void **state)
{
    static const struct value_case cases[] = {
        { TEXT, "", STELE_OK, "" },
        { TEXT, "abcdef", STELE_OK, "abcdef" },
        { TEXT, "a b\tc", STELE_OK, "a b\tc" },
        { TEXT, "z\xc3\xbcrich", STELE_E_RANGE, "has 7 bytes, the field 6" },
        { TEXT, "abcdefg", STELE_E_RANGE, "has 7 bytes, the field 6" },
        { TEXT, "\xf0\x9f\x98\x80", STELE_OK, "\xf0\x9f\x98\x80" },
        { TEXT, "a\xff", STELE_E_USAGE, "byte 1 of \"a?\" (0xff) is not UTF-8" },
        { TEXT, "\xc0\x80", STELE_E_USAGE, "not UTF-8" },         /* overlong */
        { TEXT, "\xe0\x80\x80", STELE_E_USAGE, "not UTF-8" },
        { TEXT, "\xed\xa0\x80", STELE_E_USAGE, "not UTF-8" },     /* a surrogate */
        { TEXT, "\xf4\x90\x80\x80", STELE_E_USAGE, "not UTF-8" }, /* past U+10FFFF */
        { TEXT, "\xe2\x82", STELE_E_USAGE, "not UTF-8" },         /* cut */
        { TEXT, "\x80", STELE_E_USAGE, "not UTF-8" },
    };
    unsigned char record[RECORD_BYTES] = { 0 };
    char error[VALUE_ERROR_BYTES];

    check_cases(cases, sizeof cases / sizeof cases[0]);
    assert_int_equal(value_parse(schema, TEXT, 0, "a\0b", 3, 0, record, error), STELE_E_USAGE);
    assert_non_null(strstr(error, "zero character"));
}

static void truncation_never_cuts_a_character(void **state)
{
    static const struct {
        const char *text, *kept;
    } cases[] = {
        { "abcdefgh", "abcdef" },
        { "abcde\xc3\xbc", "abcde" },
        { "abcd\xc3\xbc", "abcd\xc3\xbc" },
        { "abc\xf0\x9f\x98\x80", "abc" },
        { "ab\xf0\x9f\x98\x80z", "ab\xf0\x9f\x98\x80" },
        { "abcd\xe2\x82\xac", "abcd" },
    };
    char out[256];

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(round_trip(TEXT, cases[i].text, VALUE_TRUNCATE, VALUE_PLAIN, out), STELE_OK);
        assert_string_equal(out, cases[i].kept);
    }
    assert_int_equal(round_trip(TEXT, "abcdefgh\xff", VALUE_TRUNCATE, VALUE_PLAIN, out), STELE_E_USAGE);
    assert_int_equal(round_trip(BYTES, "00112233", VALUE_TRUNCATE, VALUE_PLAIN, out), STELE_E_RANGE);
}

static void json_quotes_what_is_no_json_number(void **state)
{
    static const struct value_case cases[] = {
        { F64, "NaN", STELE_OK, "\"NaN\"" },
        { F32, "-inf", STELE_OK, "\"-Infinity\"" },
        { F64, "1.5", STELE_OK, "1.5" },
        { U64, "18446744073709551615", STELE_OK, "18446744073709551615" },
        { TEXT, "a\"\\\n", STELE_OK, "\"a\\\"\\\\\\n\"" },
        { TEXT, "\x01\t", STELE_OK, "\"\\u0001\\t\"" },
        { BYTES, "abcdef", STELE_OK, "\"abcdef\"" },
        { BOOL, "1", STELE_OK, "true" },
    };
    char out[256];

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(round_trip(cases[i].field, cases[i].text, 0, VALUE_JSON, out), STELE_OK);
        assert_string_equal(out, cases[i].plain);
    }
}

static void text_ends_at_its_first_zero_and_shows_bytes_that_are_no_utf8(void **state)
{
    static const struct {
        const char *bytes; /* six */
        int code;
        const char *plain, *replaced, *shown;
    } cases[] = {
        { "ab\0cd\0", STELE_OK, "ab", "ab", "\"ab\"" },
        { "\0abcde", STELE_OK, "", "", "\"\"" },
        { "abcdef", STELE_OK, "abcdef", "abcdef", "\"abcdef\"" },
        { "a\xff\xfe" "b\0\0", STELE_E_USAGE, "", "a\xef\xbf\xbd\xef\xbf\xbd" "b", "\"a\\xff\\xfeb\"" },
        { "ab\0\xff\0\0", STELE_OK, "ab", "ab", "\"ab\"" },
        { "\x1b\"\\\0\0\0", STELE_OK, "\x1b\"\\", "\x1b\"\\", "\"\\x1b\\\"\\\\\"" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        unsigned char record[RECORD_BYTES] = { 0 };
        struct text out = { 0 };

        memcpy(record + fields[TEXT].offset, cases[i].bytes, 6);
        text_add_string(&out, "<");
        assert_int_equal(value_print(schema, TEXT, 0, record, VALUE_PLAIN, 0, &out), cases[i].code);
        assert_string_equal(out.bytes + 1, cases[i].plain);
        text_clear(&out);
        assert_int_equal(value_print(schema, TEXT, 0, record, VALUE_PLAIN, VALUE_REPLACE, &out), STELE_OK);
        assert_string_equal(out.length ? out.bytes : "", cases[i].replaced);
        text_clear(&out);
        assert_int_equal(value_print(schema, TEXT, 0, record, VALUE_SHOWN, 0, &out), STELE_OK);
        assert_string_equal(out.bytes, cases[i].shown);
        text_done(&out);
    }
}

static void names_find_fields_parts_and_elements(void **state)
{
    static const struct {
        const char *name;
        int code;
        size_t field;
        uint64_t first, count;
        bool is_list;
        const char *sentence;
    } cases[] = {
        { "i8", STELE_OK, I8, 0, 1, false, NULL },
        { "matrix", STELE_OK, MATRIX, 0, 6, true, NULL },
        { "matrix[1]", STELE_OK, MATRIX, 3, 3, true, NULL },
        { "matrix[1][2]", STELE_OK, MATRIX, 5, 1, false, NULL },
        { "names[1]", STELE_OK, NAMES, 1, 1, false, NULL },
        { "points[1].x", STELE_OK, NESTED, 0, 2, true, NULL },
        { "points[1].x[1]", STELE_OK, NESTED, 1, 1, false, NULL },
        { "matrix[2]", STELE_E_RANGE, 0, 0, 0, false, "elements are 0 to 1" },
        { "matrix[1][3]", STELE_E_RANGE, 0, 0, 0, false, "elements are 0 to 2" },
        { "matrix[99999999999999999999]", STELE_E_RANGE, 0, 0, 0, false, "elements are 0 to 1" },
        { "matrix[0][0][0]", STELE_E_RANGE, 0, 0, 0, false, "matrix has 2 dimensions" },
        { "i8[0]", STELE_E_RANGE, 0, 0, 0, false, "i8 has 0 dimensions" },
        { "matrix[-1]", STELE_E_USAGE, 0, 0, 0, false, "expected an index" },
        { "matrix[", STELE_E_USAGE, 0, 0, 0, false, "expected an index" },
        { "matrix[1", STELE_E_USAGE, 0, 0, 0, false, "expected an index" },
        { "matrix[1]x", STELE_E_USAGE, 0, 0, 0, false, "expected an index" },
        { "matrx", STELE_E_ABSENT, 0, 0, 0, false, "did you mean matrix?" },
        { "points[2].x", STELE_E_ABSENT, 0, 0, 0, false, "did you mean points[1].x?" },
        { "", STELE_E_ABSENT, 0, 0, 0, false, "no field" },
        { "quite another", STELE_E_ABSENT, 0, 0, 0, false, "stele schema" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char error[VALUE_ERROR_BYTES] = { 0 };
        struct value_part part = { 0 };
        struct text name = { 0 };
        int code = value_find(schema, cases[i].name, strlen(cases[i].name), &part, error);

        print_message("%s: %d %s\n", cases[i].name, code, error);
        assert_int_equal(code, cases[i].code);
        if (code) {
            assert_non_null(strstr(error, cases[i].sentence));
            continue;
        }
        assert_int_equal(part.field_index, cases[i].field);
        assert_int_equal(part.first_element, cases[i].first);
        assert_int_equal(part.element_count, cases[i].count);
        assert_int_equal(part.is_list, cases[i].is_list);
        value_part_name(schema, &part, &name);
        assert_string_equal(name.bytes, cases[i].name);
        text_done(&name);
    }
}

static void columns_are_the_elements_of_all_fields_in_order(void **state)
{
    char error[VALUE_ERROR_BYTES];
    struct value_selection columns = { 0 };
    struct text names = { 0 };

    assert_int_equal(value_select(schema, NULL, true, &columns, error), STELE_OK);
    assert_int_equal(columns.part_count, 13 + 6 + 2 + 2);
    value_selection_done(&columns);
    assert_int_equal(value_select(schema, "names,matrix[1],u8", true, &columns, error), STELE_OK);
    for (size_t i = 0; i < columns.part_count; i++) {
        value_part_name(schema, &columns.parts[i], &names);
        text_add_char(&names, ' ');
    }
    assert_string_equal(names.bytes, "names[0] names[1] matrix[1][0] matrix[1][1] matrix[1][2] u8 ");
    value_selection_done(&columns);
    assert_int_equal(value_select(schema, "u8,,i8", true, &columns, error), STELE_E_ABSENT);
    assert_null(columns.parts);
    text_done(&names);
}

static void lists_nest_as_the_dimensions_do(void **state)
{
    static const struct {
        const char *name, *text;
        int code;
        const char *json; /* of a refusal: part of the sentence */
    } cases[] = {
        { "matrix", "[[1,2,3],[4,5,6]]", STELE_OK, "[[1,2,3],[4,5,6]]" },
        { "matrix", " [ [1, 2 ,3] , [ -4,0x5,6 ] ] ", STELE_OK, "[[1,2,3],[-4,5,6]]" },
        { "matrix[1]", "[7,8,9]", STELE_OK, "[7,8,9]" },
        { "matrix[1][1]", "12", STELE_OK, "12" },
        { "names", "[a b,\"c,]\"]", STELE_OK, "[\"a b\",\"c,]\"]" },
        { "names", "[\"\\u00fc\\n\",\"\\\"\"]", STELE_OK, "[\"\xc3\xbc\\n\",\"\\\"\"]" },
        { "names", "[\"\\u20ac\",\"\"]", STELE_OK, "[\"\xe2\x82\xac\",\"\"]" },
        { "matrix", "[1,2,3,4,5,6]", STELE_E_USAGE, "expected [ at element 0" },
        { "matrix", "[[1,2,3],[4,5]]", STELE_E_USAGE, "too few values" },
        { "matrix", "[[1,2,3,4],[4,5,6]]", STELE_E_USAGE, "too many values" },
        { "matrix", "[[1,2,3],[4,5,6]", STELE_E_USAGE, "expected ]" },
        { "matrix", "[[1,2,3],[4,5,6]]]", STELE_E_USAGE, "behind the list" },
        { "matrix", "7", STELE_E_USAGE, "expected [" },
        { "matrix", "[[1,,3],[4,5,6]]", STELE_E_USAGE, "nothing where a value is expected at element 1" },
        { "matrix", "[[1,2,3],[4,99999,6]]", STELE_E_RANGE, "does not fit i16" },
        { "names", "[\"a,b]", STELE_E_USAGE, "closing quote" },
        { "names", "[\"\\q\",b]", STELE_E_USAGE, "unknown escape" },
        { "names", "[\"\\u12\",b]", STELE_E_USAGE, "four hex digits" },
        { "names", "[\"\\ud83d\",b]", STELE_E_USAGE, "half of a character" },
        { "names", "[abcde,b]", STELE_E_RANGE, "has 5 bytes, the field 4" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        unsigned char record[RECORD_BYTES] = { 0 };
        char error[VALUE_ERROR_BYTES] = { 0 };
        struct value_part part = { 0 };
        struct text out = { 0 };
        int code = STELE_OK;

        assert_int_equal(value_find(schema, cases[i].name, strlen(cases[i].name), &part, error), STELE_OK);
        code = value_parse_part(schema, &part, cases[i].text, strlen(cases[i].text), 0, record, error);
        print_message("%s = %s: %d %s\n", cases[i].name, cases[i].text, code, error);
        assert_int_equal(code, cases[i].code);
        if (code) {
            assert_non_null(strstr(error, cases[i].json));
            continue;
        }
        assert_int_equal(value_print_part(schema, &part, record, VALUE_JSON, 0, &out), STELE_OK);
        assert_string_equal(out.bytes, cases[i].json);
        text_done(&out);
    }
}

static void nulls_are_nan_zero_or_empty(void **state)
{
    unsigned char record[RECORD_BYTES];
    struct text out = { 0 };

    memset(record, 0x61, sizeof record);
    value_set_null(schema, F32, 0, record);
    value_set_null(schema, F64, 0, record);
    value_set_null(schema, TEXT, 0, record);
    value_set_null(schema, MATRIX, 5, record);
    assert_true(value_is_nan(schema, F32, 0, record));
    assert_true(value_is_nan(schema, F64, 0, record));
    assert_false(value_is_nan(schema, TEXT, 0, record));
    value_print(schema, TEXT, 0, record, VALUE_JSON, 0, &out);
    value_print(schema, MATRIX, 5, record, VALUE_JSON, 0, &out);
    assert_string_equal(out.bytes, "\"\"0");
    assert_int_equal(record[fields[MATRIX].offset + 9], 0x61);
    assert_int_equal(record[fields[NAMES].offset], 0x61);
    text_done(&out);
}

static void rows_quote_what_would_be_read_otherwise(void **state)
{
    static const struct {
        const char *list, *text, *null_text, *cells, *object;
    } cases[] = {
        { "text,u8", "a,b", NULL, "\"a,b\",0", "{\"text\":\"a,b\",\"u8\":0}" },
        { "text,u8", "a\"b", NULL, "\"a\"\"b\",0", "{\"text\":\"a\\\"b\",\"u8\":0}" },
        { "text,u8", "a\nb", NULL, "\"a\nb\",0", "{\"text\":\"a\\nb\",\"u8\":0}" },
        { "text,u8", " a ", NULL, " a ,0", "{\"text\":\" a \",\"u8\":0}" },
        { "text", "", NULL, "\"\"", "{\"text\":\"\"}" },
        { "text,u8", "", NULL, ",0", "{\"text\":\"\",\"u8\":0}" },
        { "text,f64", "\\N", "\\N", "\"\\N\",\\N", "{\"text\":\"\\\\N\",\"f64\":\"\\\\N\"}" },
        { "text,f64", "", "", "\"\",", "{\"text\":\"\",\"f64\":\"\"}" },
        { "f64,names", "", NULL, "NaN,,", "{\"f64\":\"NaN\",\"names\":[\"\",\"\"]}" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct value_style style = { .separator = ',', .null_text = cases[i].null_text };
        struct value_selection columns = { 0 }, parts = { 0 };
        unsigned char record[RECORD_BYTES] = { 0 };
        char error[VALUE_ERROR_BYTES];
        struct text out = { 0 };

        value_set_null(schema, F64, 0, record);
        value_parse(schema, TEXT, 0, cases[i].text, strlen(cases[i].text), 0, record, error);
        assert_int_equal(value_select(schema, cases[i].list, true, &columns, error), STELE_OK);
        assert_int_equal(value_select(schema, cases[i].list, false, &parts, error), STELE_OK);
        assert_int_equal(value_print_cells(schema, &columns, record, &style, &out, NULL), STELE_OK);
        assert_string_equal(out.bytes, cases[i].cells);
        text_clear(&out);
        assert_int_equal(value_print_object(schema, &parts, record, &style, &out, NULL), STELE_OK);
        assert_string_equal(out.bytes, cases[i].object);
        value_selection_done(&columns);
        value_selection_done(&parts);
        text_done(&out);
    }
}

static void a_row_with_bad_text_is_refused_whole_and_its_field_told(void **state)
{
    struct value_style style = { .separator = ';' };
    struct value_selection columns = { 0 };
    unsigned char record[RECORD_BYTES] = { 0 };
    char error[VALUE_ERROR_BYTES];
    struct text out = { 0 };
    size_t part_index = 99;

    record[fields[TEXT].offset] = 0xff;
    assert_int_equal(value_select(schema, "u8,text,i8", true, &columns, error), STELE_OK);
    text_add_string(&out, "before");
    assert_int_equal(value_print_cells(schema, &columns, record, &style, &out, &part_index), STELE_E_USAGE);
    assert_int_equal(part_index, 1);
    part_index = 99;
    assert_int_equal(value_print_object(schema, &columns, record, &style, &out, &part_index), STELE_E_USAGE);
    assert_int_equal(part_index, 1);
    assert_string_equal(out.bytes, "before");
    style.flags = VALUE_REPLACE;
    assert_int_equal(value_print_cells(schema, &columns, record, &style, &out, NULL), STELE_OK);
    assert_string_equal(out.bytes, "before0;\xef\xbf\xbd;0");
    value_selection_done(&columns);
    text_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_are_exact_to_their_ends_and_refused_behind_them),
        cmocka_unit_test(floats_print_the_shortest_digits_that_read_back),
        cmocka_unit_test(random_floats_come_back_bit_for_bit_with_the_fewest_digits),
        cmocka_unit_test(random_integers_come_back_bit_for_bit),
        cmocka_unit_test(bools_and_bytes_take_what_they_print),
        cmocka_unit_test(text_that_is_too_long_or_no_utf8_is_refused),
        cmocka_unit_test(truncation_never_cuts_a_character),
        cmocka_unit_test(json_quotes_what_is_no_json_number),
        cmocka_unit_test(text_ends_at_its_first_zero_and_shows_bytes_that_are_no_utf8),
        cmocka_unit_test(names_find_fields_parts_and_elements),
        cmocka_unit_test(columns_are_the_elements_of_all_fields_in_order),
        cmocka_unit_test(lists_nest_as_the_dimensions_do),
        cmocka_unit_test(nulls_are_nan_zero_or_empty),
        cmocka_unit_test(rows_quote_what_would_be_read_otherwise),
        cmocka_unit_test(a_row_with_bad_text_is_refused_whole_and_its_field_told),
    };

    return cmocka_run_group_tests(tests, make_schema, free_schema);
}
