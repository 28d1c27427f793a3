/* C text to schema: the layout is the compiler's own, and what cannot be stored is refused with its place. */
#include "error.h"
#include "schema.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static struct stele_schema *parse(const char *text, const char *name, uint32_t pack)
{
    struct stele_schema *schema = NULL;

    if (stele_schema_parse(text, name, pack, &schema) != STELE_OK)
        fail_msg("%s\n%s", stele_last_error()->text, text);
    return schema;
}

/* ---- layouts ------------------------------------------------------------------------------- */

/* Declares the struct for the compiler and as text, so that the two cannot differ. */
#define BOTH(name, ...) __VA_ARGS__; static const char text_of_##name[] = #__VA_ARGS__ ";";

enum { LENGTH = 3 };
static const char prelude[] = "enum { LENGTH = 3 };";

BOTH(classic, struct classic {
    char c; short s; int i; long long q; float f; double d; _Bool b; unsigned char u; signed char k;
    unsigned short us; unsigned ui; unsigned long long uq; short int si; unsigned long long int uli; })
BOTH(fixed, struct fixed {
    uint8_t a; uint16_t b; uint8_t c; uint32_t d; uint8_t e; uint64_t f; int8_t g; int64_t h; int16_t i;
    int32_t j; })
BOTH(arrays, struct arrays {
    char id[7]; char names[4][16]; double m[4][4]; uint8_t raw[5]; int8_t small[3]; float v[LENGTH * 2 + 1];
    _Bool flags[2][3][4][5]; unsigned char grid[2][2][2][2][9]; char one[1]; })
BOTH(nested, struct nested {
    char c; struct point { short x; double y; } p; struct point points[2][2]; struct { char a; int b; } q[2];
    struct { int anonymous; struct { char deep; short deeper; }; }; char last; })
BOTH(packed, struct __attribute__((packed)) packed {
    char c; int i; short s; struct { char a; double d; } inner; uint64_t q[2]; })
BOTH(packed_behind, struct packed_behind {
    char c; int i; struct { char a; int b; } x; } __attribute__((__packed__)))
BOTH(packed_member, struct packed_member {
    char c; int i __attribute__((packed)); short s; char d; __attribute__((packed)) double e; char g;
    int __attribute__((packed)) h; char j;
    struct { char a; int b; } k __attribute__((packed)); char l; double m; })
BOTH(enums, struct enums {
    char c; enum colour { RED, GREEN = 5, BLUE } colour; enum colour more[2]; char d; })
BOTH(unusual, struct unusual {
    const volatile char c; int a, b[2], d; unsigned e, f; int const g; char h; int int16_like; })
BOTH(lists, struct lists {
    char c[(1 << 3) - (6 / 2)]; int i[~-3]; short s[0x10 % 7 | 8]; char d['\n']; char e[2u]; })

#pragma pack(push, 1)
BOTH(pack1, struct pack1 { char c; int i; short s; })
#pragma pack(2)
BOTH(pack2, struct pack2 { char c; int i; double d; struct { char a; double b; } n[2]; char e; })
#pragma pack(4)
BOTH(pack4, struct pack4 {
    char c; double d; long long q; struct { char a; long long b; } n; short s; })
BOTH(pack4_packed, struct __attribute__((packed)) pack4_packed { char c; double d; short s; })
#pragma pack(pop)

struct expectation {
    const char *name;
    size_t offset, bytes;
    uint32_t type;
};

#define AT(structure, member, type) { #member, offsetof(struct structure, member), \
                                      sizeof(((struct structure *)0)->member), type }
static size_t all_bytes(const struct stele_field *field)
{
    size_t bytes = field->bytes;

    for (size_t d = 0; d < 4 && field->dims[d]; d++)
        bytes *= field->dims[d];
    return bytes;
}

static void compare(const char *text, const char *name, uint32_t pack, size_t record_bytes,
                    const struct expectation *expected, size_t expected_count)
{
    char all[4096];
    struct stele_schema *schema;

    snprintf(all, sizeof(all), "%s%s", prelude, text);
    schema = parse(all, name, pack);
    assert_string_equal(stele_schema_name(schema), name);
    assert_int_equal(stele_schema_field_count(schema), expected_count);
    for (size_t i = 0; i < expected_count; i++) {
        const struct stele_field *field = stele_schema_field(schema, i);

        assert_string_equal(field->name, expected[i].name);
        if (field->offset != expected[i].offset || field->type != expected[i].type ||
            all_bytes(field) != expected[i].bytes)
            fail_msg("%s.%s: offset %u type %u bytes %zu; compiler: %zu %u %zu", name, field->name,
                     (unsigned)field->offset, field->type, all_bytes(field), expected[i].offset,
                     expected[i].type, expected[i].bytes);
    }
    assert_int_equal(stele_schema_record_bytes(schema), record_bytes);
    stele_schema_free(schema);
}

#define COMPARE(structure, pack, ...)                                                      \
    do {                                                                                   \
        const struct expectation expected[] = { __VA_ARGS__ };                             \
        compare(text_of_##structure, #structure, pack, sizeof(struct structure), expected, \
                COUNT_OF(expected));                                                       \
    } while (0)

static void scalars_lie_where_the_compiler_puts_them(void **state)
{
    (void)state;
    COMPARE(classic, 0, AT(classic, c, STELE_TEXT), AT(classic, s, STELE_I16), AT(classic, i, STELE_I32),
            AT(classic, q, STELE_I64), AT(classic, f, STELE_F32), AT(classic, d, STELE_F64),
            AT(classic, b, STELE_BOOL), AT(classic, u, STELE_U8), AT(classic, k, STELE_I8),
            AT(classic, us, STELE_U16), AT(classic, ui, STELE_U32), AT(classic, uq, STELE_U64),
            AT(classic, si, STELE_I16), AT(classic, uli, STELE_U64));
    COMPARE(fixed, 0, AT(fixed, a, STELE_U8), AT(fixed, b, STELE_U16), AT(fixed, c, STELE_U8),
            AT(fixed, d, STELE_U32), AT(fixed, e, STELE_U8), AT(fixed, f, STELE_U64), AT(fixed, g, STELE_I8),
            AT(fixed, h, STELE_I64), AT(fixed, i, STELE_I16), AT(fixed, j, STELE_I32));
    COMPARE(unusual, 0, AT(unusual, c, STELE_TEXT), AT(unusual, a, STELE_I32), AT(unusual, b, STELE_I32),
            AT(unusual, d, STELE_I32), AT(unusual, e, STELE_U32), AT(unusual, f, STELE_U32),
            AT(unusual, g, STELE_I32), AT(unusual, h, STELE_TEXT), AT(unusual, int16_like, STELE_I32));
    COMPARE(lists, 0, AT(lists, c, STELE_TEXT), AT(lists, i, STELE_I32), AT(lists, s, STELE_I16),
            AT(lists, d, STELE_TEXT), AT(lists, e, STELE_TEXT));
}

static void arrays_lie_where_the_compiler_puts_them(void **state)
{
    (void)state;
    COMPARE(arrays, 0, AT(arrays, id, STELE_TEXT), AT(arrays, names, STELE_TEXT), AT(arrays, m, STELE_F64),
            AT(arrays, raw, STELE_BYTES), AT(arrays, small, STELE_I8), AT(arrays, v, STELE_F32),
            AT(arrays, flags, STELE_BOOL), AT(arrays, grid, STELE_BYTES), AT(arrays, one, STELE_TEXT));
}

static void last_dimension_of_chars_is_the_size_of_the_text(void **state)
{
    static const struct {
        const char *declaration;
        uint32_t type, bytes, dims[4];
    } cases[] = {
        { "char a;", STELE_TEXT, 1, { 0 } },
        { "char a[1];", STELE_TEXT, 1, { 0 } },
        { "char a[256];", STELE_TEXT, 256, { 0 } },
        { "char a[4][16];", STELE_TEXT, 16, { 4 } },
        { "char a[2][3][4][5][6];", STELE_TEXT, 6, { 2, 3, 4, 5 } },
        { "unsigned char a;", STELE_U8, 1, { 0 } },
        { "uint8_t a[9];", STELE_BYTES, 9, { 0 } },
        { "unsigned char a[3][9];", STELE_BYTES, 9, { 3 } },
        { "signed char a[3];", STELE_I8, 1, { 3 } },
        { "int8_t a[3];", STELE_I8, 1, { 3 } },
        { "double a[4][4];", STELE_F64, 8, { 4, 4 } },
        { "int a[2][3][4][5];", STELE_I32, 4, { 2, 3, 4, 5 } },
        { "bool a[3];", STELE_BOOL, 1, { 3 } },
        { "name_t a;", STELE_TEXT, 32, { 0 } },
        { "name_t a[4];", STELE_TEXT, 32, { 4 } },
        { "row_t a[2][3];", STELE_I16, 2, { 2, 3, 5, 6 } },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char text[256];
        struct stele_schema *schema;
        const struct stele_field *field;

        snprintf(text, sizeof(text), "typedef char name_t[32]; typedef short row_t[5][6]; struct s { %s };",
                 cases[i].declaration);
        schema = parse(text, NULL, 0);
        field = stele_schema_field(schema, 0);
        assert_int_equal(field->type, cases[i].type);
        assert_int_equal(field->bytes, cases[i].bytes);
        assert_memory_equal(field->dims, cases[i].dims, sizeof(field->dims));
        assert_int_equal(stele_schema_record_bytes(schema), all_bytes(field));
        stele_schema_free(schema);
    }
}

static void nested_structs_are_flattened(void **state)
{
    (void)state;
    COMPARE(nested, 0, AT(nested, c, STELE_TEXT), AT(nested, p.x, STELE_I16), AT(nested, p.y, STELE_F64),
            AT(nested, points[0][0].x, STELE_I16), AT(nested, points[0][0].y, STELE_F64),
            AT(nested, points[0][1].x, STELE_I16), AT(nested, points[0][1].y, STELE_F64),
            AT(nested, points[1][0].x, STELE_I16), AT(nested, points[1][0].y, STELE_F64),
            AT(nested, points[1][1].x, STELE_I16), AT(nested, points[1][1].y, STELE_F64),
            AT(nested, q[0].a, STELE_TEXT), AT(nested, q[0].b, STELE_I32), AT(nested, q[1].a, STELE_TEXT),
            AT(nested, q[1].b, STELE_I32), AT(nested, anonymous, STELE_I32), AT(nested, deep, STELE_TEXT),
            AT(nested, deeper, STELE_I16), AT(nested, last, STELE_TEXT));
}

static void packing_is_the_compilers(void **state)
{
    (void)state;
    COMPARE(packed, 0, AT(packed, c, STELE_TEXT), AT(packed, i, STELE_I32), AT(packed, s, STELE_I16),
            AT(packed, inner.a, STELE_TEXT), AT(packed, inner.d, STELE_F64), AT(packed, q, STELE_U64));
    COMPARE(packed_behind, 0, AT(packed_behind, c, STELE_TEXT), AT(packed_behind, i, STELE_I32),
            AT(packed_behind, x.a, STELE_TEXT), AT(packed_behind, x.b, STELE_I32));
    COMPARE(packed_member, 0, AT(packed_member, c, STELE_TEXT), AT(packed_member, i, STELE_I32),
            AT(packed_member, s, STELE_I16), AT(packed_member, d, STELE_TEXT),
            AT(packed_member, e, STELE_F64), AT(packed_member, g, STELE_TEXT),
            AT(packed_member, h, STELE_I32), AT(packed_member, j, STELE_TEXT),
            AT(packed_member, k.a, STELE_TEXT), AT(packed_member, k.b, STELE_I32),
            AT(packed_member, l, STELE_TEXT), AT(packed_member, m, STELE_F64));
    COMPARE(pack1, 1, AT(pack1, c, STELE_TEXT), AT(pack1, i, STELE_I32), AT(pack1, s, STELE_I16));
    COMPARE(pack2, 2, AT(pack2, c, STELE_TEXT), AT(pack2, i, STELE_I32), AT(pack2, d, STELE_F64),
            AT(pack2, n[0].a, STELE_TEXT), AT(pack2, n[0].b, STELE_F64), AT(pack2, n[1].a, STELE_TEXT),
            AT(pack2, n[1].b, STELE_F64), AT(pack2, e, STELE_TEXT));
    COMPARE(pack4, 4, AT(pack4, c, STELE_TEXT), AT(pack4, d, STELE_F64), AT(pack4, q, STELE_I64),
            AT(pack4, n.a, STELE_TEXT), AT(pack4, n.b, STELE_I64), AT(pack4, s, STELE_I16));
    COMPARE(pack4_packed, 4, AT(pack4_packed, c, STELE_TEXT), AT(pack4_packed, d, STELE_F64),
            AT(pack4_packed, s, STELE_I16));
    assert_int_equal(sizeof(struct pack1), 7);
}

static void pack_pragmas_nest_and_end(void **state)
{
    static const struct {
        const char *text;
        uint32_t pack, offset_of_i, bytes, stored_pack;
    } cases[] = {
        { "struct s { char c; int i; };", 0, 4, 8, 0 },
        { "struct s { char c; int i; };", 1, 1, 5, 1 },
        { "struct s { char c; int i; };", 16, 4, 8, 16 },
        { "#pragma pack(1)\nstruct s { char c; int i; };", 0, 1, 5, 1 },
        { "#pragma pack(1)\n#pragma pack()\nstruct s { char c; int i; };", 0, 4, 8, 0 },
        { "#pragma pack(1)\n#pragma pack()\nstruct s { char c; int i; };", 2, 2, 6, 2 },
        { "#pragma pack(push, 1)\n#pragma pack(2)\nstruct s { char c; int i; };\n#pragma pack(pop)", 0, 2, 6,
          2 },
        { "#pragma pack(push, 1)\n#pragma pack(pop)\nstruct s { char c; int i; };", 0, 4, 8, 0 },
        { "#pragma pack(1)\n#pragma pack(push)\n#pragma pack(4)\n#pragma pack(pop)\nstruct s { char c; int "
          "i; };",
          0, 1, 5, 1 },
        { " # pragma  pack ( push , \\\n 1 ) /* why */\nstruct s { char c; int i; };", 0, 1, 5, 1 },
        { "#define P 2\n#pragma pack(P)\nstruct s { char c; int i; };", 0, 2, 6, 2 },
        { "#define PACKED __attribute__((packed))\nstruct PACKED s { char c; int i; };", 0, 1, 5, 1 },
        { "typedef struct { char c; int i; } __attribute__((packed, unused)) s;", 0, 1, 5, 1 },
        { "/* #pragma pack(1) */ struct s { char c; int i; };", 0, 4, 8, 0 },
        { "// \\\n#pragma pack(1)\nstruct s { char c; int i; };", 0, 4, 8, 0 },
        { "#if 0\n#pragma pack(1)\n#endif\nstruct s { char c; int i; };", 0, 4, 8, 0 },
        { "#ifdef _MSC_VER\n#pragma pack(1)\n#else\n#pragma pack(2)\n#endif\nstruct s { char c; int i; };", 0,
          2, 6, 2 },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct stele_schema *schema = parse(cases[i].text, "s", cases[i].pack);

        assert_int_equal(stele_schema_field(schema, 1)->offset, cases[i].offset_of_i);
        assert_int_equal(stele_schema_record_bytes(schema), cases[i].bytes);
        assert_int_equal(stele_schema_pack(schema), cases[i].stored_pack);
        stele_schema_free(schema);
    }
}

static void enum_constants_go_with_their_fields(void **state)
{
    char text[512];
    struct stele_schema *schema;
    int32_t value = 0;

    (void)state;
    COMPARE(enums, 0, AT(enums, c, STELE_TEXT), AT(enums, colour, STELE_I32), AT(enums, more, STELE_I32),
            AT(enums, d, STELE_TEXT));
    snprintf(text, sizeof(text), "%s", text_of_enums);
    schema = parse(text, NULL, 0);
    assert_null(stele_schema_enum(schema, 0, 0, &value));
    assert_string_equal(stele_schema_enum(schema, 1, 0, &value), "RED");
    assert_int_equal(value, RED);
    assert_string_equal(stele_schema_enum(schema, 1, 1, &value), "GREEN");
    assert_int_equal(value, GREEN);
    assert_string_equal(stele_schema_enum(schema, 2, 2, &value), "BLUE");
    assert_int_equal(value, BLUE);
    assert_null(stele_schema_enum(schema, 2, 3, &value));
    assert_null(stele_schema_enum(schema, 4, 0, &value));
    stele_schema_free(schema);
}

/* ---- what a header holds ------------------------------------------------------------------- */

static const char header[] =
    "/* a header */\n"
    "#ifndef MEMBER_H\n"
    "#define MEMBER_H\n"
    "#include <stdint.h>\n"
    "#if !defined(WIDTH) && (__x86_64__ || __GNUC__ >= 4)\n"
    "#  define WIDTH (8 * 2)\n"
    "#elif 1\n"
    "#error don't\n"
    "#else\n"
    "#define WIDTH 1\n"
    "#endif\n"
    "#define MAX(a, b) ((a) > (b) ? (a) : (b))\n"
    "#ifdef __cplusplus\n"
    "extern \"C\" {\n"
    "#endif\n"
    "enum kind { ONE = 1, TWO, LAST = TWO << 2 };\n"
    "typedef enum kind kind_t, *kind_pointer;\n"
    "typedef void (*callback)(struct other *first, int second);\n"
    "struct forward;\n"
    "union either { int i; float f; };\n"
    "struct hard { char *name; unsigned bits : 3; struct hard *next; };\n"
    "_Static_assert(sizeof(int) == 4, \"32 bits; { }\");\n"
    "extern int counter, table[3];\n"
    "static const struct pair { short a, b; } origin = { 1, 2 };\n"
    "static inline int twice(int x) { if (x) { return 2 * x; } return '}'; }\n"
    "int function(const struct forward *f, void (*done)(int));\n"
    "typedef struct member {\n"
    "    kind_t kind;   // one of \\\n      many\n"
    "    char name[WIDTH];\n"
    "    struct pair pair;\n"
    "    uint16_t sums[LAST];\n"
    "    _Static_assert(1, \"fine\");\n"
    "} Member, *MemberPointer;\n"
    "#ifdef __cplusplus\n"
    "}\n"
    "#endif\n"
    "int behind(Member *member);\n"
    "#endif\n";

static void header_is_read_and_its_other_content_skipped(void **state)
{
    static const char *const names[] = { NULL, "member", "Member", "struct member" };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        struct stele_schema *schema = parse(header, names[i], 0);

        assert_string_equal(stele_schema_name(schema), "member");
        assert_int_equal(stele_schema_field_count(schema), 5);
        assert_int_equal(stele_schema_field(schema, 1)->bytes, 16);
        assert_string_equal(stele_schema_field(schema, 3)->name, "pair.b");
        assert_int_equal(stele_schema_field(schema, 3)->offset, 22);
        assert_int_equal(stele_schema_field(schema, 4)->dims[0], 8);
        assert_int_equal(stele_schema_record_bytes(schema), 40);
        stele_schema_free(schema);
    }
    stele_schema_free(parse(header, "pair", 0));
}

static void windows_line_ends_are_fine(void **state)
{
    struct stele_schema *schema = parse(
        "#define N \\\r\n 4\r\n#pragma pack(1)\r\nstruct s {\r\n char c[N]; // text\r\n int i;\r\n};\r\n",
        NULL, 0);

    (void)state;
    assert_int_equal(stele_schema_record_bytes(schema), 8);
    stele_schema_free(schema);
}

static void struct_that_is_not_there_is_absent(void **state)
{
    static const struct {
        const char *text, *name;
    } cases[] = {
        { "", NULL },
        { "int i;", NULL },
        { "struct s;", "s" },
        { "struct s { int i; };", "t" },
        { "/* struct s", NULL },
        { header, "forward" },
        { header, "kind_pointer" },
        { header, "counter" },
        { header, "" },
        { "#if 0\nstruct s { int i; };\n#endif", NULL },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct stele_schema *schema = NULL;

        assert_int_equal(stele_schema_parse(cases[i].text, cases[i].name, 0, &schema), STELE_E_ABSENT);
        assert_null(schema);
    }
}

static void wrong_call_is_a_usage_error(void **state)
{
    struct stele_schema *schema = NULL;

    (void)state;
    assert_int_equal(stele_schema_parse(NULL, NULL, 0, &schema), STELE_E_USAGE);
    assert_int_equal(stele_schema_parse("struct s { int i; };", NULL, 3, &schema), STELE_E_USAGE);
    assert_int_equal(stele_schema_parse("struct s { int i; };", NULL, 32, &schema), STELE_E_USAGE);
    assert_null(schema);
}

/* ---- refusals ------------------------------------------------------------------------------ */

static const struct {
    const char *text, *place, *part;
} refusals[] = {
    { "struct s { char *name; };", "line 1, column 17: ", "pointer" },
    { "struct s {\n    int a;\n    int **b;\n};", "line 3, column 9: ", "pointer" },
    { "struct s { struct s *next; };", "line 1, column 21: ", "pointer" },
    { "struct s { void *p; };", "line 1, column 17: ", "pointer" },
    { "typedef char *string;\nstruct s { string a; };", "line 1, column 14: ", "pointer" },
    { "struct s { int (*f)(int); };", "line 1, column 16: ", "functions" },
    { "typedef int (*f)(int);\nstruct s { f a; };", "line 1, column 13: ", "functions" },
    { "struct s { int f(void); };", "line 1, column 17: ", "functions" },
    { "struct s { int a; unsigned b : 3; };", "line 1, column 30: ", "bit-fields" },
    { "struct s { int : 3; };", "line 1, column 16: ", "bit-fields" },
    { "struct s { union { int i; float f; } u; };", "line 1, column 12: ", "union" },
    { "struct s { int a;\n  union { int i; float f; }; };", "line 2, column 3: ", "union" },
    { "union u { int i; };\nstruct s { union u a; };", "line 1, column 1: ", "union" },
    { "union u { int i; };", "line 1, column 1: ", "union" },
    { "struct s { int n; char text[]; };", "line 1, column 28: ", "flexible" },
    { "struct s { int a[0]; };", "line 1, column 17: ", "length 0" },
    { "struct s { int a[2 - 3]; };", "line 1, column 17: ", "length -1" },
    { "struct s { int a[2][0]; };", "line 1, column 20: ", "length 0" },
    { "struct s { foo a; };", "line 1, column 12: ", "unknown type `foo`" },
    { "struct s { FILE a; };", "line 1, column 12: ", "unknown type `FILE`" },
    { "struct s { void a; };", "line 1, column 12: ", "unknown type `void`" },
    { "struct s { __int128 a; };", "line 1, column 12: ", "unknown type" },
    { "struct s { struct t a; };", "line 1, column 12: ", "struct `t` is not defined" },
    { "struct s { enum e a; };", "line 1, column 12: ", "enum is not defined" },
    { "struct s { struct s a; };", "line 1, column 12: ", "itself" },
    { "struct s { struct { struct s b; } a; };", "line 1, column 21: ", "itself" },
    { "struct s {\n\tlong a; };", "line 2, column 2: ", "int64_t or int32_t" },
    { "struct s { unsigned long a; };", "line 1, column 21: ", "fixed-width" },
    { "struct s { long int a; };", "line 1, column 12: ", "fixed-width" },
    { "struct s { long double a; };", "line 1, column 12: ", "long double" },
    { "struct s { size_t a; };", "line 1, column 12: ", "fixed-width" },
    { "struct s { time_t a; };", "line 1, column 12: ", "fixed-width" },
    { "struct s { short char a; };", "line 1, column 12: ", "no type" },
    { "struct s { unsigned float a; };", "line 1, column 12: ", "no type" },
    { "struct s { int a, a; };", "line 1, column 19: ", "twice" },
    { "struct s { int a; struct { int a; }; };", "line 1, column 1: ", "twice" },
    { "struct s { int a; };\nstruct s { int b; };", "line 2, column 8: ", "defined twice" },
    { "struct s { int a[2][2][2][2][2]; };", "line 1, column 16: ", "5 dimensions; 4 " },
    { "struct s { char a[2][2][2][2][2][2]; };", "line 1, column 17: ", "6 dimensions; 5 " },
    { "struct s { int a[1][1][1][1][1][1][1][1][1]; };", "line 1, column 16: ", "dimensions" },
    { "struct s { char a[16777217]; };", "line 1, column 18: ", "16 MiB" },
    { "struct s { char a[16777216]; char b; };", "line 1, column 35: ", "16 MiB" },
    { "struct s { int a[4096][4096]; };", "line 1, column 16: ", "16 MiB" },
    { "struct s { char a[16777213]; int b; };", "line 1, column 34: ", "16 MiB" },
    { "struct s { };", "line 1, column 1: ", "without members" },
    { "struct s { int a[N]; };", "line 1, column 18: ", "`N` is not a known number" },
    { "struct s { int a[sizeof(int)]; };", "line 1, column 18: ", "not a known number" },
    { "struct s { int a[1.5]; };", "line 1, column 18: ", "integer" },
    { "struct s { int a[4 / (2 - 2)]; };", "line 1, column 20: ", "division by zero" },
    { "struct s { int a[1 << 63]; };", "line 1, column 20: ", "shift" },
    { "struct s { int a[9223372036854775807 + 1]; };", "line 1, column 38: ", "64 bits" },
    { "struct s { int a[9223372036854775808]; };", "line 1, column 18: ", "integer" },
    { "struct s { int a[(-9223372036854775807 - 1) / -1]; };", "line 1, column 45: ", "64 bits" },
    { "#define F(x) 3\nstruct s { int a[F]; };", "line 2, column 18: ", "`F` is not a known number" },
    { "#define N N\nstruct s { int a[N]; };", "line 2, column 18: ", "`N` is not a known number" },
    { "#define N 3\n#undef N\nstruct s { int a[N]; };", "line 3, column 18: ", "`N` is not a known number" },
    { "struct s { int a[3; };", "line 1, column 19: ", "`]`" },
    { "struct s { int a };", "line 1, column 18: ", "`;`" },
    { "struct s { int a;", "line 1, column 1: ", "`}` is missing" },
    { "struct s { int 3a; };", "line 1, column 16: ", "name of a field" },
    { "struct s { 7; };", "line 1, column 12: ", "type is missing" },
    { "struct s { _Alignas(16) int a; };", "line 1, column 12: ", "_Alignas" },
    { "struct s { _Atomic int a; };", "line 1, column 12: ", "_Atomic" },
    { "struct s { int a __attribute__((aligned(16))); };", "line 1, column 33: ", "aligned" },
    { "struct s { int a; } __attribute__((packed, aligned(4)));", "line 1, column 44: ", "aligned" },
    { "enum e { A = 4294967296 }; struct s { enum e a; };", "line 1, column 10: ", "32 bits" },
    { "enum e { A, } __attribute__((packed)); struct s { enum e a; };", "line 1, column 1: ", "packed enum" },
    { "enum e { A = \"x\" }; struct s { enum e a; };", "line 1, column 14: ", "integer" },
    { "struct t { char *p; };\nstruct s { struct t a; };", "line 1, column 17: ", "pointer" },
    { "typedef struct { char c; int i; } UNKNOWN s;", "line 1, column 43: ", "`;`" },
    { "#pragma pack(3)\nstruct s { int a; };", "line 1, column 9: ", "1, 2, 4, 8 or 16" },
    { "#pragma pack(pop)\nstruct s { int a; };", "line 1, column 9: ", "without a push" },
    { "struct s { char c;\n#pragma pack(1)\nint a; };", "line 1, column 1: ", "inside of a struct" },
    { "_Pragma(\"pack(1)\") struct s { int a; };", "line 1, column 1: ", "#pragma line" },
    { "#endif\nstruct s { int a; };", "line 1, column 2: ", "without an #if" },
    { "struct s { int a; } x; struct abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklm { int "
      "b; };",
      "line 1, column 24: ", "longer than 63" },
    { "struct s { struct { int abcdefghijklmnopqrstuvwxyzabcdefghijkl; } abcdefghijklmnopqrstuvwxyz; };",
      "line 1, column 25: ", "longer than 63" },
};

static void what_cannot_be_stored_is_refused_with_line_and_column(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(refusals); i++) {
        struct stele_schema *schema = NULL;
        int rc = stele_schema_parse(refusals[i].text, NULL, 0, &schema);
        const char *text = stele_last_error()->text;

        if (rc != STELE_E_SCHEMA || schema)
            fail_msg("code %d (%s) for %s", rc, text, refusals[i].text);
        if (strncmp(text, refusals[i].place, strlen(refusals[i].place)) != 0 ||
            !strstr(text, refusals[i].part))
            fail_msg("\"%s\", not %s…%s, for %s", text, refusals[i].place, refusals[i].part,
                     refusals[i].text);
    }
}

static void largest_record_is_possible(void **state)
{
    struct stele_schema *schema = parse("struct s { char a[16 << 20]; };", NULL, 0);

    (void)state;
    assert_int_equal(stele_schema_record_bytes(schema), STELE_RECORD_BYTES_MAX);
    stele_schema_free(schema);
}

static void too_many_fields_are_refused(void **state)
{
    struct stele_schema *schema = NULL;
    char *text = malloc(100000);
    size_t at = (size_t)sprintf(text, "struct s {\n");

    (void)state;
    for (size_t i = 0; i < STELE_FIELD_COUNT_MAX; i++)
        at += (size_t)sprintf(text + at, "char f%zu;\n", i);
    sprintf(text + at, "};");
    schema = parse(text, NULL, 0);
    assert_int_equal(stele_schema_field_count(schema), STELE_FIELD_COUNT_MAX);
    stele_schema_free(schema);
    schema = NULL;
    sprintf(text + at, "char last;\n};");
    assert_int_equal(stele_schema_parse(text, NULL, 0, &schema), STELE_E_SCHEMA);
    assert_non_null(strstr(stele_last_error()->text, "line 1194, column 6: too many fields"));
    assert_int_equal(stele_schema_parse("struct s { struct { char c; } a[100000]; };", NULL, 0, &schema),
                     STELE_E_SCHEMA);
    assert_non_null(strstr(stele_last_error()->text, "too many fields"));
    free(text);
}

/* ---- hostile text -------------------------------------------------------------------------- */

static char *repeated(const char *front, const char *middle, size_t count, const char *back)
{
    char *text = malloc(strlen(front) + strlen(middle) * count + strlen(back) + 1);
    char *at = text + sprintf(text, "%s", front);

    for (size_t i = 0; i < count; i++)
        at += sprintf(at, "%s", middle);
    sprintf(at, "%s", back);
    return text;
}

static void deep_text_ends_in_an_error(void **state)
{
    static const struct {
        const char *front, *middle, *back;
    } cases[] = {
        { "", "struct {", "" },
        { "struct s { int a[", "(", "" },
        { "struct s { int a[", "-", "1]; };" },
        { "", "{", "" },
        { "", "(", "" },
        { "int x = ", "{", ";" },
        { "", "#if 1\n", "" },
        { "", "#pragma pack(push)\n", "" },
        { "struct s ", "__attribute__((packed)) ", "" },
        { "struct s { int ", "__attribute__((", "" },
        { "typedef int ", "(*", "" },
        { "struct s { int a", "[1]", "; };" },
        { "enum { ", "enum {", "" },
        { "#define A A B\n#define B A A\nint ", "A ", ";" },
        { "struct s { char a; ", "struct { ", "" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char *text = repeated(cases[i].front, cases[i].middle, 100000, cases[i].back);
        struct stele_schema *schema = NULL;

        assert_true(stele_schema_parse(text, NULL, 0, &schema) < 0);
        assert_null(schema);
        free(text);
    }
}

static void structs_in_structs_in_structs_end_in_an_error(void **state)
{
    struct stele_schema *schema = NULL;
    char text[4096] = "struct s0 { int a; };";
    size_t at = strlen(text);

    (void)state;
    for (int i = 1; i <= 40; i++)
        at += (size_t)sprintf(text + at, "struct s%d { struct s%d a; };", i, i - 1);
    assert_int_equal(stele_schema_parse(text, NULL, 0, &schema), STELE_E_SCHEMA);
    assert_non_null(strstr(stele_last_error()->text, "structs nest more than"));
    assert_int_equal(stele_schema_parse(text, "s32", 0, &schema), STELE_E_SCHEMA);
    assert_non_null(strstr(stele_last_error()->text, "longer than 63"));
    assert_int_equal(stele_schema_parse(text, "s31", 0, &schema), STELE_OK);
    stele_schema_free(schema);
}

static void macros_that_double_end_in_an_error(void **state)
{
    char text[4096] = "#define M0 1+1\n";
    struct stele_schema *schema = NULL;
    size_t at = strlen(text);

    (void)state;
    for (int i = 1; i <= 15; i++)
        at += (size_t)sprintf(text + at, "#define M%d M%d+M%d+M%d+M%d\n", i, i - 1, i - 1, i - 1, i - 1);
    sprintf(text + at, "struct s { int a[M15]; };");
    assert_int_equal(stele_schema_parse(text, NULL, 0, &schema), STELE_E_SCHEMA);
    assert_non_null(strstr(stele_last_error()->text, "too much text"));
    sprintf(text + at, "#define M16 M15\n#define M17 M16\nstruct s { int a[M17]; };");
    assert_int_equal(stele_schema_parse(text, NULL, 0, &schema), STELE_E_SCHEMA);
    assert_non_null(strstr(stele_last_error()->text, "macros nest"));
}

static uint64_t next_random(uint64_t *random)
{
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    return *random;
}

static uint64_t seed_of_test(void)
{
    const char *given = getenv("STELE_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : UINT64_C(0x9E3779B97F4A7C15);

    print_message("STELE_SEED=%llu\n", (unsigned long long)seed);
    return seed ? seed : 1;
}

static void try_text(const char *text)
{
    struct stele_schema *schema = NULL;
    int rc = stele_schema_parse(text, NULL, 0, &schema);

    assert_true(rc == STELE_OK || rc == STELE_E_SCHEMA || rc == STELE_E_ABSENT);
    assert_int_equal(rc == STELE_OK, schema != NULL);
    if (rc)
        assert_true(strlen(stele_last_error()->text) > 0);
    stele_schema_free(schema);
}

/* In memory of its own size, so that a sanitizer sees reads behind it. */
static void try_cut(const char *text, size_t bytes)
{
    char *cut = malloc(bytes + 1);

    assert_non_null(cut);
    memcpy(cut, text, bytes);
    cut[bytes] = 0;
    try_text(cut);
    free(cut);
}

static void every_cut_and_change_of_a_text_is_survived(void **state)
{
    static const char parts[] = "{}()[];,*:#\"'\\\n/ 0a=<-";
    uint64_t random = seed_of_test();
    char text[sizeof(header)];

    (void)state;
    for (size_t bytes = 0; bytes < sizeof(header); bytes++)
        try_cut(header, bytes);
    for (size_t at = 0; at + 1 < sizeof(header); at++) {
        for (size_t p = 0; p + 1 < sizeof(parts); p++) {
            memcpy(text, header, sizeof(header));
            text[at] = parts[p];
            try_text(text);
        }
    }
    for (size_t run = 0; run < 20000; run++) {
        memcpy(text, header, sizeof(header));
        for (int change = 0; change < 8; change++)
            text[next_random(&random) % (sizeof(header) - 1)] =
                parts[next_random(&random) % (sizeof(parts) - 1)];
        try_text(text);
    }
    for (size_t i = 0; i < COUNT_OF(refusals); i++) {
        for (size_t bytes = 0; bytes < strlen(refusals[i].text); bytes++)
            try_cut(refusals[i].text, bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalars_lie_where_the_compiler_puts_them),
        cmocka_unit_test(arrays_lie_where_the_compiler_puts_them),
        cmocka_unit_test(last_dimension_of_chars_is_the_size_of_the_text),
        cmocka_unit_test(nested_structs_are_flattened),
        cmocka_unit_test(packing_is_the_compilers),
        cmocka_unit_test(pack_pragmas_nest_and_end),
        cmocka_unit_test(enum_constants_go_with_their_fields),
        cmocka_unit_test(header_is_read_and_its_other_content_skipped),
        cmocka_unit_test(windows_line_ends_are_fine),
        cmocka_unit_test(struct_that_is_not_there_is_absent),
        cmocka_unit_test(wrong_call_is_a_usage_error),
        cmocka_unit_test(what_cannot_be_stored_is_refused_with_line_and_column),
        cmocka_unit_test(largest_record_is_possible),
        cmocka_unit_test(too_many_fields_are_refused),
        cmocka_unit_test(deep_text_ends_in_an_error),
        cmocka_unit_test(structs_in_structs_in_structs_end_in_an_error),
        cmocka_unit_test(macros_that_double_end_in_an_error),
        cmocka_unit_test(every_cut_and_change_of_a_text_is_survived),
    };

    return cmocka_run_group_tests_name("spec", tests, NULL, NULL);
}
