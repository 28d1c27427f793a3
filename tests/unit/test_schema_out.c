/* Schemas as C: what is printed lays the record out in the same way, or it is said that nothing does. */
#include "schema_out.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <string.h>

static struct stele_schema *parse(const char *text, uint32_t pack)
{
    struct stele_schema *schema = NULL;
    int rc = stele_schema_parse(text, NULL, pack, &schema);

    if (rc)
        print_message("%s\n%s\n", text, stele_last_error()->text);
    assert_int_equal(rc, STELE_OK);
    return schema;
}

static void declarations_lay_the_record_out_in_the_same_way(void **state)
{
    static const struct {
        const char *text;
        uint32_t pack;
        const char *part; /* of what is printed */
    } cases[] = {
        { "struct M { char id[256]; char name[256]; };", 0, "    char id[256]; /* offset 0 */\n" },
        { "struct S { char c; int i; short s; };", 1, "#pragma pack(push, 1)\n" },
        { "struct S { char c; int i; short s; };", 0, "    int32_t i; /* offset 4 */\n" },
        { "struct S { char c; double d; };", 4, "#pragma pack(push, 4)\n" },
        { "struct S { double m[4][4]; char names[4][16]; uint8_t b[3][2]; };", 0, "names[4][16]; /*" },
        { "struct S { char c; unsigned char u; uint8_t b[1]; bool f; char t[1]; };", 0, "uint8_t u; /*" },
        { "struct P { float x, y; }; struct S { int n; struct P a; struct P points[3]; };", 0,
          "} points[3];" },
        { "struct P { char x; }; struct Q { struct P p[2]; short k; }; struct S { struct Q q[2][3]; };", 0,
          "} q[2][3];" },
        { "enum color { RED, BLUE = -7 }; struct S { enum color c; enum color d[2]; };", 0,
          "enum S_c d[2]; /*" },
        { "struct S { int8_t a; uint16_t b; int64_t c; uint64_t d; float e; uint32_t f; };", 2,
          "uint64_t d;" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct stele_schema *schema = parse(cases[i].text, cases[i].pack), *again = NULL;
        struct text out = { 0 };

        assert_int_equal(schema_out_c(schema, &out), STELE_OK);
        print_message("%s", out.bytes);
        assert_non_null(strstr(out.bytes, cases[i].part));
        again = parse(out.bytes, 0);
        assert_int_equal(stele_schema_check(schema, again), STELE_OK);
        assert_int_equal(stele_schema_record_bytes(schema), stele_schema_record_bytes(again));
        stele_schema_free(schema);
        stele_schema_free(again);
        text_done(&out);
    }
}

static void a_layout_that_c_cannot_give_is_told_in_a_comment(void **state)
{
    static const struct {
        struct stele_field fields[3];
        size_t field_count;
        uint64_t record_bytes;
    } cases[] = {
        { { { .name = "a", .type = STELE_I32, .offset = 1 } }, 1, 8 },
        { { { .name = "a", .type = STELE_U8 }, { .name = "b", .type = STELE_U8, .offset = 3 },
            { .name = "c", .type = STELE_I32, .offset = 4 } }, 3, 8 },
        { { { .name = "a", .type = STELE_U8, .dims = { 4 } } }, 1, 4 },
        { { { .name = "a", .type = STELE_I32 }, { .name = "b", .type = STELE_I32, .offset = 8 } }, 2, 12 },
        { { { .name = "a", .type = STELE_U8 } }, 1, 3 },
        { { { .name = "p[1].x", .type = STELE_U8 }, { .name = "y", .type = STELE_U8, .offset = 1 } }, 2, 2 },
        { { { .name = "a.while", .type = STELE_U8 } }, 1, 1 },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct stele_schema *schema = NULL;
        struct text out = { 0 };

        assert_int_equal(stele_schema_new("S", cases[i].record_bytes, cases[i].fields,
                                          cases[i].field_count, &schema), STELE_OK);
        assert_int_equal(schema_out_c(schema, &out), STELE_E_UNSUPPORTED);
        print_message("%s", out.bytes);
        assert_int_equal(strncmp(out.bytes, "/*\n", 3), 0);
        assert_non_null(strstr(out.bytes, cases[i].fields[0].name));
        assert_string_equal(out.bytes + out.length - 4, " */\n");
        stele_schema_free(schema);
        text_done(&out);
    }
}

static void numpy_gets_names_formats_offsets_and_itemsize(void **state)
{
    struct stele_schema *schema = parse("struct S { char c[3]; double d[2]; uint8_t b[4]; short m[2][3]; "
                                        "bool f; };", 0);
    struct text out = { 0 };

    schema_out_numpy(schema, &out);
    assert_string_equal(out.bytes,
                        "numpy.dtype({'names': ['c', 'd', 'b', 'm', 'f'], 'formats': ['S3', ('<f8', (2,)), "
                        "'V4', ('<i2', (2, 3)), '?'], 'offsets': [0, 8, 24, 28, 40], 'itemsize': 48})\n");
    stele_schema_free(schema);
    text_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(declarations_lay_the_record_out_in_the_same_way),
        cmocka_unit_test(a_layout_that_c_cannot_give_is_told_in_a_comment),
        cmocka_unit_test(numpy_gets_names_formats_offsets_and_itemsize),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
