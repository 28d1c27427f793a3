/* CSV and TSV: what RFC 4180 allows is read, what it does not is refused with its exact place. */
#include "csv_read.h"

#include "stele.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CELLS_MAX 64

/* Text handed out in pieces, so that every place can be the end of a read. */
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

/* Write a row as "line:column text|line:column text", with ; behind it. */
static void describe_row(const struct csv_row *row, char *out, size_t capacity)
{
    size_t used = strlen(out);

    for (size_t i = 0; i < row->cell_count; i++)
        used += (size_t)snprintf(out + used, capacity - used, "%s%" PRIu64 ":%" PRIu64 " %s%.*s",
                                 i ? "|" : "", row->cells[i].place.line, row->cells[i].place.column,
                                 row->cells[i].is_quoted ? "'" : "", (int)row->cells[i].bytes,
                                 row->cells[i].text);
    snprintf(out + used, capacity - used, ";");
}

/* All of @text as one line: rows as describe_row, malformed ones as "!line:column;", a failed source as "#".
 */
static void describe(const char *text, size_t bytes, size_t piece_bytes, char separator, char *out,
                     size_t capacity)
{
    struct pieces pieces = {.text = text, .bytes = bytes, .piece_bytes = piece_bytes};
    struct input input;
    struct csv_reader reader;
    struct csv_row row;
    int rc = STELE_OK;

    out[0] = '\0';
    assert_int_equal(input_init(&input, true, read_piece, &pieces), STELE_OK);
    csv_reader_init(&reader, &input, separator, CELLS_MAX);
    while ((rc = csv_read_row(&reader, &row)) != STELE_END) {
        size_t used = strlen(out);

        if (rc == STELE_E_FORMAT)
            snprintf(out + used, capacity - used, "!%s%" PRIu64 ":%" PRIu64 ";",
                     reader.problem.is_final ? "!" : "", reader.problem.place.line,
                     reader.problem.place.column);
        else
            describe_row(&row, out, capacity);
    }
    csv_reader_done(&reader);
    input_done(&input);
}

struct text_case {
    const char *name, *text, *expected;
};

static void check_cases(const struct text_case *cases, size_t case_count, char separator)
{
    char seen[1024];

    for (size_t i = 0; i < case_count; i++) {
        for (size_t piece_bytes = 1; piece_bytes <= strlen(cases[i].text) + 1; piece_bytes++) {
            describe(cases[i].text, strlen(cases[i].text), piece_bytes, separator, seen, sizeof seen);
            if (strcmp(seen, cases[i].expected) != 0)
                fail_msg("%s, in pieces of %zu bytes: %s, expected %s", cases[i].name, piece_bytes, seen,
                         cases[i].expected);
        }
    }
}

#define CHECK(cases, separator) check_cases(cases, sizeof(cases) / sizeof((cases)[0]), separator)

static void well_formed_rows_are_read_with_the_place_of_each_cell(void **state)
{
    static const struct text_case cases[] = {
        {"nothing", "", ""},
        {"one cell", "a", "1:1 a;"},
        {"two rows", "a,bc\nd,e\n", "1:1 a|1:3 bc;2:1 d|2:3 e;"},
        {"no line feed at the end", "a\nb", "1:1 a;2:1 b;"},
        {"CR LF", "a,b\r\nc,d\r\n", "1:1 a|1:3 b;2:1 c|2:3 d;"},
        {"both ends of line", "a\r\nb\nc\r\n", "1:1 a;2:1 b;3:1 c;"},
        {"empty cells", ",,\n", "1:1 |1:2 |1:3 ;"},
        {"a separator last", "a,", "1:1 a|1:3 ;"},
        {"a blank line is a row", "a\n\nb\n", "1:1 a;2:1 ;3:1 b;"},
        {"a blank line with CR", "a\r\n\r\n", "1:1 a;2:1 ;"},
        {"blank lines only", "\n\n", "1:1 ;2:1 ;"},
        {"quotes", "\"a\",\"b\"\n", "1:1 'a|1:5 'b;"},
        {"empty quotes", "\"\",x\n", "1:1 '|1:4 x;"},
        {"doubled quotes", "\"a\"\"b\"\"\",c\n", "1:1 'a\"b\"|1:10 c;"},
        {"only quotes", "\"\"\"\"\n", "1:1 '\";"},
        {"a separator in quotes", "\"a,b\",c\n", "1:1 'a,b|1:7 c;"},
        {"a line feed in quotes", "\"a\nb\",c\nd\n", "1:1 'a\nb|2:4 c;3:1 d;"},
        {"CR and CR LF in quotes", "\"a\r\r\nb\",c\n", "1:1 'a\r\r\nb|2:4 c;"},
        {"quotes at the end", "x,\"a\"", "1:1 x|1:3 'a;"},
        {"spaces are kept", " a , b \n", "1:1  a |1:5  b ;"},
        {"columns count bytes", "\xc3\xa9,b\n", "1:1 \xc3\xa9|1:4 b;"},
        {"a byte order mark",
         "\xef\xbb\xbf"
         "a,b\n",
         "1:1 a|1:3 b;"},
        {"a byte order mark and quotes", "\xef\xbb\xbf\"a\",b\n", "1:1 'a|1:5 b;"},
        {"a mark alone", "\xef\xbb\xbf", ""},
        {"two bytes of a mark", "\xef\xbb", "1:1 \xef\xbb;"},
        {"a mark later on", "a,\xef\xbb\xbf\n", "1:1 a|1:3 \xef\xbb\xbf;"},
        {"a backslash is a character", "\\N,a\\\n", "1:1 \\N|1:4 a\\;"},
        {"a tab is a character", "a\tb\n", "1:1 a\tb;"},
    };

    CHECK(cases, ',');
}

static void tabs_separate_under_the_same_rules(void **state)
{
    static const struct text_case cases[] = {
        {"cells", "a\tb,c\n", "1:1 a|1:3 b,c;"},
        {"a tab in quotes", "\"a\tb\"\tc\n", "1:1 'a\tb|1:7 c;"},
        {"a quote inside", "a\tb\"c\nd\n", "!1:4;2:1 d;"},
    };

    CHECK(cases, '\t');
}

static void malformed_rows_are_refused_with_their_place_and_the_next_line_is_read(void **state)
{
    static const struct text_case cases[] = {
        {"a quote inside a field", "a\"b,c\nd\n", "!1:2;2:1 d;"},
        {"a quote behind a space", "x, \"a\"\nd\n", "!1:4;2:1 d;"},
        {"a quote at a field's end", "ab\",c\nd\n", "!1:3;2:1 d;"},
        {"text behind the closing quote", "\"a\"b,c\nd\n", "!1:4;2:1 d;"},
        {"a space behind the closing quote", "\"a\" ,c\nd\n", "!1:4;2:1 d;"},
        {"a backslash before a quote", "\"a\\\"b\",c\nd\n", "!1:5;2:1 d;"},
        {"in the second field", "ok,\"a\"b\n", "!1:7;"},
        {"in the second line", "a\nb,c\"\nd\n", "1:1 a;!2:4;3:1 d;"},
        {"behind a field of two lines", "\"a\nbc\"d,e\nf\n", "!2:4;3:1 f;"},
        {"CR inside a field", "a\rb,c\nd\n", "!1:2;2:1 d;"},
        {"CR behind quotes", "\"a\"\rb\nd\n", "!1:4;2:1 d;"},
        {"CR at the end", "a,b\r", "!1:4;"},
        {"CR twice", "a\r\r\nb\n", "!1:2;2:1 b;"},
        {"two in one file", "a\"\nb\nc\"\n", "!1:2;2:1 b;!3:2;"},
        {"a quote never closed", "a,\"b\nc,d\n", "!!1:3;"},
        {"a quote never closed, alone", "\"", "!!1:1;"},
        {"a doubled quote never closed", "x\n\"a\"\"\n", "1:1 x;!!2:1;"},
    };

    CHECK(cases, ',');
}

static void zero_bytes_are_bytes(void **state)
{
    static const char text[] = "a\0b,\"c\0\"\n";
    struct pieces pieces = {.text = text, .bytes = sizeof text - 1, .piece_bytes = 3};
    struct input input;
    struct csv_reader reader;
    struct csv_row row;

    assert_int_equal(input_init(&input, true, read_piece, &pieces), STELE_OK);
    csv_reader_init(&reader, &input, ',', CELLS_MAX);
    assert_int_equal(csv_read_row(&reader, &row), STELE_OK);
    assert_int_equal(row.cell_count, 2);
    assert_int_equal(row.cells[0].bytes, 3);
    assert_memory_equal(row.cells[0].text, "a\0b", 4);
    assert_int_equal(row.cells[1].bytes, 2);
    assert_memory_equal(row.cells[1].text, "c\0", 3);
    assert_int_equal(csv_read_row(&reader, &row), STELE_END);
    csv_reader_done(&reader);
    input_done(&input);
}

static void cells_past_the_most_are_counted_and_not_kept(void **state)
{
    static const char text[] = "a,b,c,d,\"e\ne\"\nf,g\n";
    struct pieces pieces = {.text = text, .bytes = sizeof text - 1, .piece_bytes = 100};
    struct input input;
    struct csv_reader reader;
    struct csv_row row;

    assert_int_equal(input_init(&input, true, read_piece, &pieces), STELE_OK);
    csv_reader_init(&reader, &input, ',', 2);
    assert_int_equal(csv_read_row(&reader, &row), STELE_OK);
    assert_int_equal(row.cell_count, 5);
    assert_string_equal(row.cells[0].text, "a");
    assert_string_equal(row.cells[1].text, "b");
    assert_int_equal(row.end.line, 2);
    assert_int_equal(row.end.column, 3);
    assert_int_equal(csv_read_row(&reader, &row), STELE_OK);
    assert_int_equal(row.cell_count, 2);
    assert_string_equal(row.cells[1].text, "g");
    assert_int_equal(row.cells[1].place.line, 3);
    assert_int_equal(row.end.line, 3);
    assert_int_equal(row.end.column, 4);
    csv_reader_done(&reader);
    input_done(&input);
}

static void a_source_that_fails_is_passed_on_and_no_half_row_is_handed_out(void **state)
{
    static const char *const texts[] = {"", "a", "a,", "\"a", "\"a\"", "a\r", "x\na,\"b"};

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct pieces pieces = {
            .text = texts[i], .bytes = strlen(texts[i]), .piece_bytes = 1, .code = STELE_E_IO};
        struct input input;
        struct csv_reader reader;
        struct csv_row row;
        int rc = STELE_OK;

        assert_int_equal(input_init(&input, true, read_piece, &pieces), STELE_OK);
        csv_reader_init(&reader, &input, ',', CELLS_MAX);
        do
            rc = csv_read_row(&reader, &row);
        while (rc == STELE_OK && row.place.line == 1 && texts[i][0] == 'x');
        if (rc != STELE_E_IO)
            fail_msg("\"%s\": code %d, expected %d", texts[i], rc, STELE_E_IO);
        csv_reader_done(&reader);
        input_done(&input);
    }
}

static int read_without_end(void *context, void *out, size_t capacity_bytes, size_t *out_bytes)
{
    size_t *given_bytes = context;

    memset(out, 'x', capacity_bytes);
    if (*given_bytes == 0)
        *(char *)out = '"';
    *given_bytes += capacity_bytes;
    *out_bytes = capacity_bytes;
    return STELE_OK;
}

static void a_row_without_end_is_refused_before_memory_is_out(void **state)
{
    size_t given_bytes = 0;
    struct input input;
    struct csv_reader reader;
    struct csv_row row;

    assert_int_equal(input_init(&input, true, read_without_end, &given_bytes), STELE_OK);
    csv_reader_init(&reader, &input, ',', CELLS_MAX);
    assert_int_equal(reader.row_bytes_max, CSV_ROW_BYTES_MAX);
    reader.row_bytes_max = (size_t)1 << 20;
    assert_int_equal(csv_read_row(&reader, &row), STELE_E_FORMAT);
    assert_true(reader.problem.is_final);
    assert_true(reader.text_capacity <= reader.row_bytes_max);
    assert_true(given_bytes <= reader.row_bytes_max + 2 * INPUT_BUFFER_BYTES);
    assert_int_equal(csv_read_row(&reader, &row), STELE_END);
    csv_reader_done(&reader);
    input_done(&input);
}

/* ---- random tables, written and read back ---- */

static uint64_t next_random(uint64_t *random)
{
    *random = *random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *random >> 33;
}

static size_t random_cell(uint64_t *random, char *out)
{
    static const char letters[] = "ab,\"\n\r\t \\\xc3";
    size_t bytes = (size_t)(next_random(random) % 6);

    for (size_t i = 0; i < bytes; i++)
        out[i] = letters[next_random(random) % (sizeof letters - 1)];
    return bytes;
}

static bool needs_quotes(const char *cell, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (strchr(",\"\n\r", cell[i]))
            return true;
    return false;
}

static size_t write_cell(const char *cell, size_t bytes, bool is_quoted, char *out)
{
    size_t used = 0;

    if (is_quoted)
        out[used++] = '"';
    for (size_t i = 0; i < bytes; i++) {
        if (cell[i] == '"')
            out[used++] = '"';
        out[used++] = cell[i];
    }
    if (is_quoted)
        out[used++] = '"';
    return used;
}

static void check_random_table(uint64_t *random)
{
    static char cells[8][8][8], text[8192];
    size_t cell_bytes[8][8];
    size_t rows = 1 + next_random(random) % 8, columns = 1 + next_random(random) % 8, used = 0;
    struct pieces pieces = {.text = text, .piece_bytes = (size_t)(1 + next_random(random) % 40)};
    struct input input;
    struct csv_reader reader;
    struct csv_row row;

    for (size_t r = 0; r < rows; r++) {
        for (size_t c = 0; c < columns; c++) {
            size_t bytes = cell_bytes[r][c] = random_cell(random, cells[r][c]);
            bool is_quoted = needs_quotes(cells[r][c], bytes) || next_random(random) % 2;

            if (c > 0)
                text[used++] = ',';
            used += write_cell(cells[r][c], bytes, is_quoted, text + used);
        }
        if (next_random(random) % 2)
            text[used++] = '\r';
        text[used++] = '\n';
    }
    pieces.bytes = used;
    assert_int_equal(input_init(&input, true, read_piece, &pieces), STELE_OK);
    csv_reader_init(&reader, &input, ',', CELLS_MAX);
    for (size_t r = 0; r < rows; r++) {
        assert_int_equal(csv_read_row(&reader, &row), STELE_OK);
        assert_int_equal(row.cell_count, columns);
        for (size_t c = 0; c < columns; c++) {
            assert_int_equal(row.cells[c].bytes, cell_bytes[r][c]);
            assert_memory_equal(row.cells[c].text, cells[r][c], cell_bytes[r][c]);
        }
    }
    assert_int_equal(csv_read_row(&reader, &row), STELE_END);
    csv_reader_done(&reader);
    input_done(&input);
}

/* STELE_TEST_SCALE is in percent. */
static long scaled(long count)
{
    const char *percent = getenv("STELE_TEST_SCALE");

    return percent ? 1 + count * strtol(percent, NULL, 10) / 100 : count;
}

static void random_tables_come_back_as_they_were_written(void **state)
{
    const char *given = getenv("STELE_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    uint64_t random = seed;

    print_message("STELE_SEED=%" PRIu64 "\n", seed);
    for (long i = scaled(3000); i > 0; i--)
        check_random_table(&random);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(well_formed_rows_are_read_with_the_place_of_each_cell),
        cmocka_unit_test(tabs_separate_under_the_same_rules),
        cmocka_unit_test(malformed_rows_are_refused_with_their_place_and_the_next_line_is_read),
        cmocka_unit_test(zero_bytes_are_bytes),
        cmocka_unit_test(cells_past_the_most_are_counted_and_not_kept),
        cmocka_unit_test(a_source_that_fails_is_passed_on_and_no_half_row_is_handed_out),
        cmocka_unit_test(a_row_without_end_is_refused_before_memory_is_out),
        cmocka_unit_test(random_tables_come_back_as_they_were_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
