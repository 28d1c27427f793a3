/* The typed layer: what the compiler says of a struct is what the C text says. */
#include "error.h"
#include "schema.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* Declares the struct for the compiler and as text, so that the two cannot differ. */
#define BOTH(name, ...) __VA_ARGS__; static const char text_of_##name[] = #__VA_ARGS__ ";";

BOTH(scalars, struct scalars {
    char c; signed char i8; unsigned char u8; short i16; unsigned short u16; int i32; unsigned int u32;
    long long i64; unsigned long long u64; float f32; double f64; _Bool flag;
    int64_t fixed; uint64_t ufixed; })
BOTH(arrays, struct arrays {
    char text[256]; unsigned char bytes[16]; uint8_t one[1]; int8_t i8[3]; short i16[2]; uint16_t u16[5];
    int i32[1]; uint32_t u32[7]; int64_t i64[2]; uint64_t u64[3]; float f32[4]; double f64[2];
    bool flags[9]; })
BOTH(shaped, struct shaped {
    double m[4][4]; char names[4][16]; unsigned char grid[2][3][9]; int cube[2][3][4][5];
    enum sign { MINUS, PLUS } sign; })
BOTH(nested, struct nested {
    int id; struct { short x; double y; } points[2]; struct { char tag[4]; } inner; })

#pragma pack(push, 1)
BOTH(SMTEST, struct SMTEST { char c; int i; short s; })
#pragma pack(pop)
struct unpacked { char c; int i; short s; };
struct plain { unsigned int sign; };
BOTH(coloured, struct coloured { enum colour { RED, GREEN } colour; })

static void assert_fits(const char *text, uint32_t pack, int rc, struct stele_schema *typed)
{
    struct stele_schema *parsed = NULL;

    if (rc)
        fail_msg("%s", stele_last_error()->text);
    if (stele_schema_parse(text, NULL, pack, &parsed) || stele_schema_check(parsed, typed) ||
        stele_schema_check(typed, parsed))
        fail_msg("%s", stele_last_error()->text);
    assert_string_equal(stele_schema_name(typed), stele_schema_name(parsed));
    stele_schema_free(parsed);
    stele_schema_free(typed);
}

static void scalars_are_told_by_the_compiler(void **state)
{
    struct stele_schema *schema = NULL;
    int rc = STELE_SCHEMA(&schema, struct scalars, STELE_FIELD(c), STELE_FIELD(i8), STELE_FIELD(u8),
                          STELE_FIELD(i16), STELE_FIELD(u16), STELE_FIELD(i32),
                          STELE_FIELD(u32), STELE_FIELD(i64), STELE_FIELD(u64), STELE_FIELD(f32),
                          STELE_FIELD(f64), STELE_FIELD(flag),
                          STELE_FIELD(fixed), STELE_FIELD(ufixed));

    (void)state;
    assert_fits(text_of_scalars, 0, rc, schema);
}

static void arrays_are_told_by_the_compiler(void **state)
{
    struct stele_schema *schema = NULL;
    int rc = STELE_SCHEMA(&schema, struct arrays, STELE_FIELD(text), STELE_FIELD(bytes), STELE_FIELD(one),
                          STELE_FIELD(i8), STELE_FIELD(i16), STELE_FIELD(u16), STELE_FIELD(i32),
                          STELE_FIELD(u32), STELE_FIELD(i64), STELE_FIELD(u64), STELE_FIELD(f32),
                          STELE_FIELD(f64),
                          STELE_FIELD(flags));

    (void)state;
    assert_fits(text_of_arrays, 0, rc, schema);
}

static void shapes_are_named(void **state)
{
    struct stele_schema *schema = NULL;
    int rc = STELE_SCHEMA(&schema, struct shaped, STELE_FIELD_AS(m, STELE_F64, 4, 4),
                          STELE_FIELD_AS(names, STELE_TEXT, 4), STELE_FIELD_AS(grid, STELE_BYTES, 2, 3),
                          STELE_FIELD_AS(cube, STELE_I32, 2, 3, 4, 5), STELE_FIELD_AS(sign, STELE_I32));

    (void)state;
    assert_fits(text_of_shaped, 0, rc, schema);
}

static void nested_members_are_named_with_their_path(void **state)
{
    struct stele_schema *schema = NULL;
    int rc = STELE_SCHEMA(&schema, struct nested, STELE_FIELD(id), STELE_FIELD(points[0].x),
                          STELE_FIELD(points[0].y), STELE_FIELD(points[1].x), STELE_FIELD(points[1].y),
                          STELE_FIELD(inner.tag));

    (void)state;
    assert_fits(text_of_nested, 0, rc, schema);
}

static void packed_struct_of_7_bytes_fits_its_file_and_the_unpacked_one_does_not(void **state)
{
    struct stele_schema *file = NULL, *packed = NULL, *unpacked = NULL;

    (void)state;
    assert_int_equal(stele_schema_parse(text_of_SMTEST, "SMTEST", 1, &file), STELE_OK);
    assert_int_equal(stele_schema_record_bytes(file), 7);
    assert_int_equal(STELE_SCHEMA(&packed, struct SMTEST, STELE_FIELD(c), STELE_FIELD(i), STELE_FIELD(s)),
                     STELE_OK);
    assert_int_equal(STELE_SCHEMA(&unpacked, struct unpacked, STELE_FIELD(c), STELE_FIELD(i),
    STELE_FIELD(s)),
                     STELE_OK);
    assert_int_equal(stele_schema_pack(packed), 1);
    assert_int_equal(stele_schema_pack(unpacked), 0);
    assert_int_equal(stele_schema_check(file, packed), STELE_OK);
    assert_int_equal(stele_schema_check(file, unpacked), STELE_E_SCHEMA);
    assert_string_equal(stele_last_error()->text,
                        "field `i`: program has offset 4, file has offset 1: is the struct packed?"
                        " (A 32-bit program for Linux may put 8-byte members on multiples of 4: _Alignas(8) helps)");
    stele_schema_free(file);
    stele_schema_free(packed);
    stele_schema_free(unpacked);
}

static void enum_of_the_compiler_fits_the_enum_of_the_file(void **state)
{
    struct stele_schema *schema = NULL, *plain = NULL, *file = NULL;
    int rc = STELE_SCHEMA(&schema, struct coloured, STELE_FIELD(colour));

    (void)state;
    assert_fits(text_of_coloured, 0, rc, schema);
    /* an i32 without constants is no enum, and u32 is not the same */
    assert_int_equal(STELE_SCHEMA(&plain, struct plain, STELE_FIELD(sign)), STELE_OK);
    assert_int_equal(stele_schema_parse("struct plain { int sign; };", NULL, 0, &file), STELE_OK);
    assert_int_equal(stele_schema_check(file, plain), STELE_E_SCHEMA);
    assert_string_equal(stele_last_error()->text, "field `sign`: program has u32, file has i32");
    stele_schema_free(plain);
    stele_schema_free(file);
}

static void members_out_of_order_are_refused(void **state)
{
    struct stele_schema *schema = NULL;

    (void)state;
    assert_int_equal(STELE_SCHEMA(&schema, struct unpacked, STELE_FIELD(i), STELE_FIELD(c)),
    STELE_E_SCHEMA);
    assert_null(schema);
}

static void members_not_named_are_padding(void **state)
{
    struct stele_schema *schema = NULL;
    const struct stele_padding *padding;
    size_t count = 0;

    (void)state;
    assert_int_equal(STELE_SCHEMA(&schema, struct unpacked, STELE_FIELD(c), STELE_FIELD(s)), STELE_OK);
    padding = stele_schema_padding(schema, &count);
    assert_int_equal(count, 2);
    assert_int_equal(padding[0].offset, 1);
    assert_int_equal(padding[0].bytes, 7);
    assert_int_equal(padding[1].offset, 10);
    assert_int_equal(padding[1].bytes, 2);
    stele_schema_free(schema);
}

#define EIGHT(row) \
    int f##row##0, f##row##1, f##row##2, f##row##3, f##row##4, f##row##5, f##row##6, f##row##7;
#define EIGHT_FIELDS(row) \
    STELE_FIELD(f##row##0), STELE_FIELD(f##row##1), STELE_FIELD(f##row##2), STELE_FIELD(f##row##3), \
        STELE_FIELD(f##row##4), STELE_FIELD(f##row##5), STELE_FIELD(f##row##6), STELE_FIELD(f##row##7)

struct wide {
    EIGHT(0) EIGHT(1) EIGHT(2) EIGHT(3) EIGHT(4) EIGHT(5) EIGHT(6) EIGHT(7)
    EIGHT(8) EIGHT(9) EIGHT(a) EIGHT(b) EIGHT(c) EIGHT(d) EIGHT(e) EIGHT(f)
};

static void struct_of_128_fields_is_possible(void **state)
{
    struct stele_schema *schema = NULL;
    int rc = STELE_SCHEMA(&schema, struct wide, EIGHT_FIELDS(0), EIGHT_FIELDS(1), EIGHT_FIELDS(2),
                          EIGHT_FIELDS(3), EIGHT_FIELDS(4), EIGHT_FIELDS(5), EIGHT_FIELDS(6),
                          EIGHT_FIELDS(7), EIGHT_FIELDS(8),
                          EIGHT_FIELDS(9), EIGHT_FIELDS(a), EIGHT_FIELDS(b), EIGHT_FIELDS(c),
                          EIGHT_FIELDS(d),
                          EIGHT_FIELDS(e), EIGHT_FIELDS(f));

    (void)state;
    assert_int_equal(rc, STELE_OK);
    assert_int_equal(stele_schema_field_count(schema), 128);
    assert_string_equal(stele_schema_field(schema, 127)->name, "ff7");
    assert_int_equal(stele_schema_field(schema, 127)->offset, 127 * sizeof(int));
    stele_schema_free(schema);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalars_are_told_by_the_compiler),
        cmocka_unit_test(arrays_are_told_by_the_compiler),
        cmocka_unit_test(shapes_are_named),
        cmocka_unit_test(nested_members_are_named_with_their_path),
        cmocka_unit_test(packed_struct_of_7_bytes_fits_its_file_and_the_unpacked_one_does_not),
        cmocka_unit_test(enum_of_the_compiler_fits_the_enum_of_the_file),
        cmocka_unit_test(members_out_of_order_are_refused),
        cmocka_unit_test(members_not_named_are_padding),
        cmocka_unit_test(struct_of_128_fields_is_possible),
    };

    return cmocka_run_group_tests_name("typed", tests, NULL, NULL);
}
