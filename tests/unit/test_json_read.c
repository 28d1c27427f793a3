/* NDJSON: values with their places; numbers as the text of the file; what is not JSON refused where it is. */
#include "json_read.h"

#include "stele.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *const keys[] = { "a", "b", "outer.inner", "\xc3\xa9" };
#define KEY_COUNT (sizeof keys / sizeof keys[0])
#define LINE_BYTES_MAX 100000

struct pieces {
    const char *text;
    size_t bytes, piece_bytes;
    int code; /* at the end */
};

static int read_piece(void *context, void *out, size_t capacity_bytes, size_t *out_bytes)
{
    struct pieces *pieces = context;
    size_t bytes = pieces->bytes < pieces->piece_bytes ? pieces->bytes : pieces->piece_bytes;

    if (bytes == 0 && pieces->code)
        return pieces->code;
    if (bytes > capacity_bytes)
        bytes = capacity_bytes;
    memcpy(out, pieces->text, bytes);
    pieces->text += bytes;
    pieces->bytes -= bytes;
    *out_bytes = bytes;
    return STELE_OK;
}

/* What was seen, as text. */
struct seen {
    char text[4096];
    size_t bytes;
    uint64_t refused_line; /* values of this line are refused */
};

static void note(struct seen *seen, const char *format, ...) __attribute__((format(STELE_PRINTF, 2, 3)));
static void note(struct seen *seen, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    seen->bytes +=
        (size_t)vsnprintf(seen->text + seen->bytes, sizeof seen->text - seen->bytes, format, arguments);
    va_end(arguments);
    assert_true(seen->bytes < sizeof seen->text);
}

static bool find_key(void *context, const char *key, size_t bytes, size_t *out_key_index)
{
    for (size_t i = 0; i < KEY_COUNT; i++) {
        if (strlen(keys[i]) == bytes && memcmp(keys[i], key, bytes) == 0) {
            *out_key_index = i;
            return true;
        }
    }
    return false;
}

/* "a[0][1]@line:column=n 12 " */
static int take_value(void *context, const struct json_value *value)
{
    static const char letters[] = {
        [JSON_NULL] = '0', [JSON_BOOL] = 'b', [JSON_NUMBER] = 'n', [JSON_TEXT] = 't', [JSON_ARRAY_END] = ']'
    };
    struct seen *seen = context;

    if (value->place.line == seen->refused_line)
        return STELE_E_RANGE;
    note(seen, "%s", keys[value->key_index]);
    for (size_t i = 0; i < value->depth; i++)
        note(seen, "[%" PRIu64 "]", value->index[i]);
    note(seen, "@%" PRIu64 ":%" PRIu64 "=%c", value->place.line, value->place.column, letters[value->kind]);
    if (value->kind == JSON_ARRAY_END)
        note(seen, "%" PRIu64 " ", value->index[value->depth]);
    else if (memchr(value->text, '\0', value->bytes))
        note(seen, "%zu bytes with a zero ", value->bytes);
    else
        note(seen, "%.*s ", (int)value->bytes, value->text);
    return STELE_OK;
}

static const struct json_sink sink = { .find_key = find_key, .take_value = take_value };

/* All of @text: values, then ";" behind each good line and "!line:column;" behind each bad one. */
static void read_all(const char *text, size_t bytes, size_t piece_bytes, uint64_t refused_line,
                     struct seen *seen)
{
    struct pieces pieces = { .text = text, .bytes = bytes, .piece_bytes = piece_bytes };
    struct input input;
    struct json_reader *reader = NULL;
    int rc = STELE_OK;

    seen->bytes = 0;
    seen->text[0] = '\0';
    seen->refused_line = refused_line;
    assert_int_equal(input_init(&input, true, read_piece, &pieces), STELE_OK);
    assert_int_equal(json_reader_new(&input, &sink, seen, KEY_COUNT, LINE_BYTES_MAX, &reader), STELE_OK);
    while ((rc = json_read_row(reader, false)) != STELE_END) {
        const struct json_problem *problem = json_reader_problem(reader);

        if (rc == STELE_E_FORMAT)
            note(seen, "!%" PRIu64 ":%" PRIu64 ";", problem->place.line, problem->place.column);
        else
            note(seen, rc == STELE_OK ? ";" : rc == STELE_E_RANGE ? "?;" : "#;");
    }
    json_reader_free(reader);
    input_done(&input);
}

struct text_case {
    const char *name, *text, *expected;
};

static void check_cases(const struct text_case *cases, size_t case_count, uint64_t refused_line)
{
    static struct seen seen;

    for (size_t i = 0; i < case_count; i++) {
        for (size_t piece_bytes = 1; piece_bytes <= strlen(cases[i].text) + 1; piece_bytes++) {
            read_all(cases[i].text, strlen(cases[i].text), piece_bytes, refused_line, &seen);
            if (strcmp(seen.text, cases[i].expected) != 0)
                fail_msg("%s: %s, expected %s", cases[i].name, seen.text, cases[i].expected);
        }
    }
}

#define CHECK(cases) check_cases(cases, sizeof(cases) / sizeof((cases)[0]), 0)

static void values_are_handed_out_with_their_places(void **state)
{
    static const struct text_case cases[] = {
        { "nothing", "", "" },
        { "an empty object", "{}\n", ";" },
        { "a number", "{\"a\":1}\n", "a@1:6=n1 ;" },
        { "all kinds", "{\"a\": null, \"b\": true, \"outer.inner\": \"x\"}",
          "a@1:7=0null b@1:18=btrue outer.inner@1:39=tx ;" },
        { "false", "{\"b\":false}", "b@1:6=bfalse ;" },
        { "white space everywhere", " { \"a\"\t:\t1 , \"b\" : 2 } \r\n", "a@1:10=n1 b@1:20=n2 ;" },
        { "two lines", "{\"a\":1}\n{\"a\":2}\n", "a@1:6=n1 ;a@2:6=n2 ;" },
        { "CR LF and no end of line", "{\"a\":1}\r\n{\"a\":2}", "a@1:6=n1 ;a@2:6=n2 ;" },
        { "blank lines are passed over", "\n{\"a\":1}\n \t\r\n\n{\"a\":2}\n\n", "a@2:6=n1 ;a@5:6=n2 ;" },
        { "a byte order mark", "\xef\xbb\xbf{\"a\":1}\n", "a@1:6=n1 ;" },
        { "an array", "{\"a\":[1,2, 3]}\n", "a[0]@1:7=n1 a[1]@1:9=n2 a[2]@1:12=n3 a@1:13=]3 ;" },
        { "an empty array", "{\"a\":[]}\n", "a@1:7=]0 ;" },
        { "arrays in an array", "{\"a\":[[1],[2,3]]}\n",
          "a[0][0]@1:8=n1 a[0]@1:9=]1 a[1][0]@1:12=n2 a[1][1]@1:14=n3 a[1]@1:15=]2 a@1:16=]2 ;" },
        { "a value behind an array", "{\"a\":[1],\"b\":2}\n", "a[0]@1:7=n1 a@1:8=]1 b@1:14=n2 ;" },
        { "four deep", "{\"a\":[[[[7]]]]}\n",
          "a[0][0][0][0]@1:10=n7 a[0][0][0]@1:11=]1 a[0][0]@1:12=]1 a[0]@1:13=]1 a@1:14=]1 ;" },
        { "escapes", "{\"a\":\"\\\"\\\\\\/\\n\\u0041\\u00e9\",\"b\":1}\n",
          "a@1:6=t\"\\/\nA\xc3\xa9 b@1:33=n1 ;" },
        { "escaped quotes at both ends", "{\"a\":\"\\\"x\\\"\",\"b\":1}\n", "a@1:6=t\"x\" b@1:18=n1 ;" },
        { "a surrogate pair", "{\"a\":\"\\ud83d\\ude00\"}\n", "a@1:6=t\xf0\x9f\x98\x80 ;" },
        { "a backslash before u", "{\"a\":\"\\\\ud83d\"}\n", "a@1:6=t\\ud83d ;" },
        { "UTF-8", "{\"\xc3\xa9\":\"\xe2\x82\xac\",\"b\":1}\n", "\xc3\xa9@1:7=t\xe2\x82\xac b@1:17=n1 ;" },
        { "an escaped key", "{\"\\u0061\":1}\n", "a@1:11=n1 ;" },
        { "empty text", "{\"a\":\"\"}\n", "a@1:6=t ;" },
    };

    CHECK(cases);
}

static void numbers_keep_every_digit(void **state)
{
    static const char *const numbers[] = {
        "0",
        "-0",
        "9223372036854775807",
        "-9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "123456789012345678901234567890",
        "1.0",
        "1e3",
        "-1.5E-300",
        "0.1000000000000000055",
        "1e999999",
    };
    static struct seen seen;
    char text[128], expected[128];

    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        snprintf(text, sizeof text, "{\"a\":%s}", numbers[i]);
        snprintf(expected, sizeof expected, "a@1:6=n%s ;", numbers[i]);
        read_all(text, strlen(text), 7, 0, &seen);
        assert_string_equal(seen.text, expected);
    }
}

static void malformed_lines_are_refused_with_their_place_and_the_next_line_is_read(void **state)
{
    static const struct text_case cases[] = {
        { "no JSON", "hello\n{\"a\":1}\n", "!1:1;a@2:6=n1 ;" },
        { "a key without quotes", "{a:1}\n", "!1:2;" },
        { "an unknown word", "{\"a\":nil}\n", "!1:7;" },
        { "NaN bare", "{\"a\":NaN}\n", "!1:6;" },
        { "a comma last", "{\"a\":1,}\n", "a@1:6=n1 !1:8;" },
        { "a comma last in an array", "{\"a\":[1,]}\n", "a[0]@1:7=n1 !1:9;" },
        { "no comma", "{\"a\":1 \"b\":2}\n", "a@1:6=n1 !1:8;" },
        { "no colon", "{\"a\" 1}\n", "!1:6;" },
        { "a leading zero", "{\"a\":01}\n", "a@1:6=n0 !1:7;" },
        { "a plus sign", "{\"a\":+1}\n", "!1:6;" },
        { "a number without digits", "{\"a\":-}\n", "!1:7;" },
        { "a point without digits", "{\"a\":1.}\n", "!1:8;" },
        { "hexadecimal", "{\"a\":0x10}\n", "a@1:6=n0 !1:7;" },
        { "single quotes", "{'a':1}\n", "!1:2;" },
        { "a tab in text", "{\"a\":\"x\ty\"}\n", "!1:8;" },
        { "an unknown escape", "{\"a\":\"x\\qy\"}\n", "!1:9;" },
        { "half a unicode escape", "{\"a\":\"\\u00g0\"}\n", "!1:11;" },
        { "a high surrogate alone", "{\"a\":\"x\\ud83dy\"}\n", "!1:8;" },
        { "a high surrogate twice", "{\"a\":\"\\ud83d\\ud83d\"}\n", "!1:7;" },
        { "a low surrogate alone", "{\"a\":\"\\ude00\"}\n", "!1:7;" },
        { "not UTF-8", "{\"a\":\"x\xff\"}\n", "!1:8;" },
        { "a character cut short", "{\"a\":\"\xe2\x82\"}\n", "!1:9;" },
        { "the line ends in the object", "{\"a\":1\n{\"a\":2}\n", "a@1:6=n1 !1:7;a@2:6=n2 ;" },
        { "the line ends in text", "{\"a\":\"x\n", "!1:8;" },
        { "the line ends in a number", "{\"a\":1", "a@1:6=n1 !1:7;" },
        { "the line ends behind a brace", "{", "!1:2;" },
        { "two objects in a line", "{\"a\":1}{\"a\":2}\n", "a@1:6=n1 !1:8;" },
        { "text behind the object", "{\"a\":1} x\n", "a@1:6=n1 !1:9;" },
        { "a bracket too much", "{\"a\":1}}\n", "a@1:6=n1 !1:8;" },
        { "the wrong bracket", "{\"a\":[1}}\n", "a[0]@1:7=n1 !1:8;" },
        { "a comment", "{\"a\":1 /* one */}\n", "a@1:6=n1 !1:8;" },
        { "an array at the top", "[{\"a\":1}]\n", "!1:1;" },
        { "a number at the top", " 12\n", "!1:2;" },
        { "text at the top", "\"a\"\n", "!1:1;" },
        { "an object in the object", "{\"a\":{\"b\":1}}\n", "!1:6;" },
        { "an object in an array", "{\"a\":[{\"b\":1}]}\n", "!1:7;" },
        { "five deep", "{\"a\":[[[[[7]]]]]}\n", "!1:10;" },
        { "an unknown key", "{\"a\":1, \"c\":2}\n", "a@1:6=n1 !1:9;" },
        { "an empty key", "{\"\":1}\n", "!1:2;" },
        { "a double key", "{\"a\":1,\"b\":2, \"a\":1}\n", "a@1:6=n1 b@1:12=n2 !1:15;" },
        { "a double key, one escaped", "{\"a\":1,\"\\u0061\":1}\n", "a@1:6=n1 !1:8;" },
        { "a key again in the next line", "{\"a\":1}\n{\"a\":1}\n", "a@1:6=n1 ;a@2:6=n1 ;" },
    };

    CHECK(cases);
}

static void a_value_that_is_refused_ends_its_line_only(void **state)
{
    static const struct text_case cases[] = {
        { "the second", "{\"a\":1}\n{\"a\":2,\"b\":3}\n{\"a\":4}\n", "a@1:6=n1 ;?;a@3:6=n4 ;" },
        { "with an array", "{\"a\":1}\n{\"a\":[2],\"b\":3}\n{\"a\":4}\n", "a@1:6=n1 ;?;a@3:6=n4 ;" },
    };

    check_cases(cases, sizeof cases / sizeof cases[0], 2);
}

static void zero_characters_are_characters(void **state)
{
    static const char text[] = "{\"a\":\"x\\u0000y\"}\n";
    static struct seen seen;

    read_all(text, sizeof text - 1, 100, 0, &seen);
    assert_string_equal(seen.text, "a@1:6=t3 bytes with a zero ;");
}

static void lines_passed_over_count_and_are_not_looked_at(void **state)
{
    static const char text[] = "{broken\n\n{\"a\":1}\n{\"a\":2}\n";
    struct pieces pieces = { .text = text, .bytes = sizeof text - 1, .piece_bytes = 5 };
    static struct seen seen;
    struct input input;
    struct json_reader *reader = NULL;

    assert_int_equal(input_init(&input, true, read_piece, &pieces), STELE_OK);
    assert_int_equal(json_reader_new(&input, &sink, &seen, KEY_COUNT, LINE_BYTES_MAX, &reader), STELE_OK);
    assert_int_equal(json_read_row(reader, true), STELE_OK);
    assert_int_equal(json_read_row(reader, true), STELE_OK);
    assert_int_equal(json_reader_place(reader).line, 3);
    assert_int_equal(json_read_row(reader, false), STELE_OK);
    assert_string_equal(seen.text, "a@4:6=n2 ");
    assert_int_equal(json_read_row(reader, true), STELE_END);
    json_reader_free(reader);
    input_done(&input);
}

static void a_source_that_fails_is_passed_on_and_no_half_line_is_handed_out(void **state)
{
    static const char *const texts[] = { "", "{", "{\"a\":1", "{\"a\":1}" };
    static struct seen seen;

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct pieces pieces = {
            .text = texts[i], .bytes = strlen(texts[i]), .piece_bytes = 1, .code = STELE_E_IO
        };
        struct input input;
        struct json_reader *reader = NULL;

        assert_int_equal(input_init(&input, true, read_piece, &pieces), STELE_OK);
        assert_int_equal(json_reader_new(&input, &sink, &seen, KEY_COUNT, LINE_BYTES_MAX, &reader), STELE_OK);
        assert_int_equal(json_read_row(reader, false), STELE_E_IO);
        assert_string_equal(seen.text, "");
        json_reader_free(reader);
        input_done(&input);
    }
}

static int read_without_end(void *context, void *out, size_t capacity_bytes, size_t *out_bytes)
{
    size_t *left_bytes = context;
    size_t bytes = *left_bytes < capacity_bytes ? *left_bytes : capacity_bytes;

    memset(out, '[', bytes);
    *left_bytes -= bytes;
    *out_bytes = bytes;
    return STELE_OK;
}

static void a_line_without_end_is_refused_before_memory_is_out(void **state)
{
    size_t left_bytes = LINE_BYTES_MAX + 1;
    static struct seen seen;
    struct input input;
    struct json_reader *reader = NULL;

    assert_int_equal(input_init(&input, true, read_without_end, &left_bytes), STELE_OK);
    assert_int_equal(json_reader_new(&input, &sink, &seen, KEY_COUNT, LINE_BYTES_MAX, &reader), STELE_OK);
    assert_int_equal(json_read_row(reader, false), STELE_E_TOO_BIG);
    assert_int_equal(json_read_row(reader, false), STELE_END);
    json_reader_free(reader);
    input_done(&input);
}

/* STELE_TEST_SCALE is in percent. */
static long scaled(long count)
{
    const char *percent = getenv("STELE_TEST_SCALE");

    return percent ? 1 + count * strtol(percent, NULL, 10) / 100 : count;
}

/* Bytes changed at random: nothing but codes may come of it. */
static void random_damage_gives_values_or_a_place_never_more(void **state)
{
    static const char good[] = "{\"a\":[1,[2.5e3,null]],\"b\":\"\\ud83d\\ude00x\\n\",\"outer.inner\":true}\n";
    static struct seen seen;
    const char *given = getenv("STELE_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    uint64_t random = seed;
    char text[sizeof good];

    print_message("STELE_SEED=%" PRIu64 "\n", seed);
    for (long i = scaled(20000); i > 0; i--) {
        memcpy(text, good, sizeof good);
        for (int change = 0; change < 3; change++) {
            random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            text[(random >> 40) % (sizeof good - 1)] = (char)(random >> 33);
        }
        read_all(text, sizeof good - 1, 1 + (size_t)(random >> 50) % 80, 0, &seen);
        assert_true(seen.bytes > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_handed_out_with_their_places),
        cmocka_unit_test(numbers_keep_every_digit),
        cmocka_unit_test(malformed_lines_are_refused_with_their_place_and_the_next_line_is_read),
        cmocka_unit_test(a_value_that_is_refused_ends_its_line_only),
        cmocka_unit_test(zero_characters_are_characters),
        cmocka_unit_test(lines_passed_over_count_and_are_not_looked_at),
        cmocka_unit_test(a_source_that_fails_is_passed_on_and_no_half_line_is_handed_out),
        cmocka_unit_test(a_line_without_end_is_refused_before_memory_is_out),
        cmocka_unit_test(random_damage_gives_values_or_a_place_never_more),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
