/* Schemas: the rules, the bytes, hostile bytes, padding, and how a difference is told. */
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
#define NAME_OF_63 "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijk"

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

/* ---- rules --------------------------------------------------------------------------------- */

static const struct {
    const char *what;
    uint64_t record_bytes;
    size_t field_count;
    struct stele_field fields[3];
    const char *message; /* part of it; NULL: good */
} rules[] = {
    { "one field", 4, 1, { { .name = "a", .type = STELE_I32, .bytes = 4 } }, NULL },
    { "natural size", 4, 1, { { .name = "a", .type = STELE_I32 } }, NULL },
    { "every dimension", 24, 1, { { .name = "a", .type = STELE_U8, .dims = { 1, 2, 3, 4 } } }, NULL },
    { "padding all around", 9, 1, { { .name = "a", .type = STELE_U8, .offset = 4 } }, NULL },
    { "fields that touch", 3, 2,
      { { .name = "a", .type = STELE_I8 }, { .name = "b", .type = STELE_I16, .offset = 1 } }, NULL },
    { "largest record", 16 << 20, 1, { { .name = "a", .type = STELE_TEXT, .bytes = 16 << 20 } }, NULL },
    { "longest name", 1, 1, { { .name = NAME_OF_63, .type = STELE_I8 } }, NULL },
    { "nested name", 1, 1, { { .name = "a.b[0][12].c", .type = STELE_I8 } }, NULL },
    { "name beyond ASCII", 1, 1,
      { { .name = "gr\xC3\xB6\xC3\x9F" "e_\xF0\x9F\x98\x80", .type = STELE_I8 } }, NULL },

    { "no field", 4, 0, { { 0 } }, "0 fields" },
    { "empty record", 0, 1, { { .name = "a", .type = STELE_I8 } }, "record of 0 bytes" },
    { "record too large", (16 << 20) + 1, 1, { { .name = "a", .type = STELE_I8 } }, "16777216 are possible" },
    { "record far too large", UINT64_MAX, 1, { { .name = "a", .type = STELE_I8 } }, "16777216 are possible" },
    { "no name", 4, 1, { { .type = STELE_I8 } }, "name of field 0" },
    { "empty name", 4, 1, { { .name = "", .type = STELE_I8 } }, "name of field 0" },
    { "name too long", 4, 1, { { .name = NAME_OF_63 "l", .type = STELE_I8 } }, "name of field 0" },
    { "name with space", 4, 1, { { .name = "a b", .type = STELE_I8 } }, "name of field 0" },
    { "name with line end", 4, 1, { { .name = "a\n", .type = STELE_I8 } }, "name of field 0" },
    { "name with sign", 4, 1, { { .name = "a=b", .type = STELE_I8 } }, "name of field 0" },
    { "name of digits", 4, 1, { { .name = "1a", .type = STELE_I8 } }, "name of field 0" },
    { "name that is an element", 4, 1, { { .name = "a[0]", .type = STELE_I8 } }, "name of field 0" },
    { "name with open bracket", 4, 1, { { .name = "a[0.b", .type = STELE_I8 } }, "name of field 0" },
    { "name with empty bracket", 4, 1, { { .name = "a[].b", .type = STELE_I8 } }, "name of field 0" },
    { "name with dot behind", 4, 1, { { .name = "a.", .type = STELE_I8 } }, "name of field 0" },
    { "name with dot in front", 4, 1, { { .name = ".a", .type = STELE_I8 } }, "name of field 0" },
    { "name cut in a character", 4, 1, { { .name = "a\xC3", .type = STELE_I8 } }, "name of field 0" },
    { "name overlong", 4, 1, { { .name = "\xC0\xAF", .type = STELE_I8 } }, "name of field 0" },
    { "name overlong in 3", 4, 1, { { .name = "\xE0\x80\xAF", .type = STELE_I8 } }, "name of field 0" },
    { "name with a surrogate", 4, 1, { { .name = "\xED\xA0\x80", .type = STELE_I8 } }, "name of field 0" },
    { "name beyond Unicode", 4, 1, { { .name = "\xF4\x90\x80\x80", .type = STELE_I8 } }, "name of field 0" },
    { "name of Latin 1", 4, 1, { { .name = "gr\xF6\xDF" "e", .type = STELE_I8 } }, "name of field 0" },
    { "type 0", 4, 1, { { .name = "a" } }, "field `a`: 0 is no type" },
    { "type 14", 4, 1, { { .name = "a", .type = 14 } }, "14 is no type" },
    { "type 257", 4, 1, { { .name = "a", .type = 257 } }, "257 is no type" },
    { "wrong size", 4, 1, { { .name = "a", .type = STELE_I32, .bytes = 2 } }, "2 bytes is no size of i32" },
    { "text without size", 4, 1, { { .name = "a", .type = STELE_TEXT } }, "text needs its size" },
    { "bytes without size", 4, 1, { { .name = "a", .type = STELE_BYTES } }, "bytes needs its size" },
    { "flags", 4, 1, { { .name = "a", .type = STELE_I8, .flags = 1 } }, "must be zero" },
    { "reserved", 4, 1, { { .name = "a", .type = STELE_I8, .reserved = { 0, 0, 1 } } }, "must be zero" },
    { "gap in dimensions", 4, 1, { { .name = "a", .type = STELE_I8, .dims = { 2, 0, 2 } } },
      "dimension 2 is 0" },
    { "behind the record", 4, 1, { { .name = "a", .type = STELE_I32, .offset = 1 } },
      "inside the record of 4 bytes" },
    { "far behind", 4, 1, { { .name = "a", .type = STELE_I8, .offset = UINT64_MAX } }, "inside the record" },
    { "offset that wraps", 4, 1, { { .name = "a", .type = STELE_I32, .offset = UINT64_MAX - 1 } },
      "inside the record" },
    { "size that wraps", 4, 1,
      { { .name = "a", .type = STELE_I8, .dims = { 1u << 31, 1u << 31, 1u << 31, 1u << 31 } } },
      "inside the record" },
    { "size that wraps to 0", 4, 1,
      { { .name = "a", .type = STELE_TEXT, .bytes = 1u << 31, .dims = { 1u << 31, 4 } } },
      "inside the record" },
    { "overlap", 8, 2,
      { { .name = "a", .type = STELE_I32 }, { .name = "b", .type = STELE_I32, .offset = 3 } },
      "`b` at offset 3 does not stand behind field `a`" },
    { "descending", 8, 2,
      { { .name = "a", .type = STELE_I32, .offset = 4 }, { .name = "b", .type = STELE_I32 } },
      "`b` at offset 0 does not stand behind" },
    { "name twice", 8, 3,
      { { .name = "a", .type = STELE_I8 }, { .name = "b", .type = STELE_I8, .offset = 1 },
        { .name = "a", .type = STELE_I8, .offset = 2 } },
      "`a` is there twice" },
};

static void rules_of_a_schema_hold(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rules); i++) {
        struct stele_schema *schema = NULL;
        int rc = stele_schema_new("t", rules[i].record_bytes, rules[i].fields, rules[i].field_count, &schema);

        if (rc != (rules[i].message ? STELE_E_SCHEMA : STELE_OK) || !schema != (rc != STELE_OK))
            fail_msg("%s: code %d, %s", rules[i].what, rc, stele_last_error()->text);
        if (rc && !strstr(stele_last_error()->text, rules[i].message))
            fail_msg("%s: %s", rules[i].what, stele_last_error()->text);
        stele_schema_free(schema);
    }
    stele_schema_free(NULL);
}

static void name_of_the_struct_is_checked(void **state)
{
    static const struct stele_field field = { .name = "a", .type = STELE_I8 };
    static const struct {
        const char *name, *stored;
    } cases[] = {
        { "Member", "Member" },
        { "struct Member", "Member" },
        { NAME_OF_63, NAME_OF_63 },
        { NULL, NULL },
        { "", NULL },
        { NAME_OF_63 "l", NULL },
        { "a.b", NULL },
        { "a b", NULL },
        { "\xFF", NULL },
        { "struct ", NULL },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct stele_schema *schema = NULL;

        assert_int_equal(stele_schema_new(cases[i].name, 1, &field, 1, &schema),
                         cases[i].stored ? STELE_OK : STELE_E_SCHEMA);
        if (cases[i].stored)
            assert_string_equal(stele_schema_name(schema), cases[i].stored);
        stele_schema_free(schema);
    }
}

static void fields_and_their_names_are_copies(void **state)
{
    char name[] = "first";
    struct stele_field fields[2] = { { .name = name, .type = STELE_F64 },
                                     { .name = "second", .type = STELE_TEXT, .bytes = 3, .offset = 9 } };
    struct stele_schema *schema = NULL;
    size_t index = 0;

    (void)state;
    assert_int_equal(stele_schema_new("t", 12, fields, 2, &schema), STELE_OK);
    memset(name, 0, sizeof(name));
    memset(fields, 0, sizeof(fields));
    assert_int_equal(stele_schema_field_count(schema), 2);
    assert_int_equal(stele_schema_record_bytes(schema), 12);
    assert_string_equal(stele_schema_field(schema, 0)->name, "first");
    assert_int_equal(stele_schema_field(schema, 0)->bytes, 8);
    assert_null(stele_schema_field(schema, 2));
    assert_ptr_equal(stele_schema_find(schema, "second", &index), stele_schema_field(schema, 1));
    assert_int_equal(index, 1);
    assert_null(stele_schema_find(schema, "third", &index));
    assert_int_equal(index, 1);
    assert_non_null(stele_schema_find(schema, "first", NULL));
    assert_int_equal(stele_schema_pack(schema), 1); /* 12 is no multiple of 8 */
    stele_schema_free(schema);
}

static void schema_larger_than_its_region_is_refused(void **state)
{
    struct stele_field *fields = calloc(STELE_FIELD_COUNT_MAX + 1, sizeof(*fields));
    char (*names)[64] = calloc(STELE_FIELD_COUNT_MAX + 1, sizeof(*names));
    struct stele_schema *schema = NULL;
    uint32_t bytes = 0;

    (void)state;
    for (size_t i = 0; i <= STELE_FIELD_COUNT_MAX; i++) {
        snprintf(names[i], sizeof(names[i]), "f%zu", i);
        fields[i] = (struct stele_field){ .name = names[i], .type = STELE_I8, .offset = i };
    }
    assert_int_equal(stele_schema_new("t", 4096, fields, STELE_FIELD_COUNT_MAX, &schema), STELE_OK);
    stele_schema_encoded(schema, &bytes);
    assert_true(bytes <= STELE_SCHEMA_BYTES_MAX && bytes > STELE_SCHEMA_BYTES_MAX - 48);
    stele_schema_free(schema);
    schema = NULL;
    assert_int_equal(stele_schema_new("t", 4096, fields, STELE_FIELD_COUNT_MAX + 1, &schema), STELE_E_SCHEMA);
    for (size_t i = 0; i < STELE_FIELD_COUNT_MAX; i++)
        snprintf(names[i], sizeof(names[i]), "field_%zu", i);
    assert_int_equal(stele_schema_new("t", 4096, fields, STELE_FIELD_COUNT_MAX, &schema), STELE_E_SCHEMA);
    assert_non_null(strstr(stele_last_error()->text, "more than 57344 bytes"));
    assert_null(schema);
    free(names);
    free(fields);
}

/* ---- bytes --------------------------------------------------------------------------------- */

static const struct stele_enum_constant signs[] = { { "MINUS", -1 }, { "ZERO", 0 }, { "PLUS", 1 } };

/* A schema with a bit of all. */
static struct stele_schema *sample(void)
{
    static const struct stele_field fields[] = {
        { .name = "id", .type = STELE_TEXT, .bytes = 5, .dims = { 2 } },
        { .name = "sign", .type = STELE_I32, .offset = 12 },
        { .name = "points[0].x", .type = STELE_F64, .dims = { 2, 2 }, .offset = 16 },
        { .name = "raw", .type = STELE_BYTES, .bytes = 3, .offset = 50 },
    };
    static const struct stele_field_enum enums[COUNT_OF(fields)] = { [1] = { signs, COUNT_OF(signs) } };
    struct stele_schema *schema = NULL;

    assert_int_equal(stele_schema_make("sample", 56, 8, fields, enums, COUNT_OF(fields), &schema), STELE_OK);
    return schema;
}

static void bytes_are_those_of_the_format(void **state)
{
    static const struct stele_field field = { .name = "sign", .type = STELE_I32, .dims = { 2 }, .offset = 4 };
    static const struct stele_field_enum own = { signs, 2 };
    static const uint8_t expected[] = {
        1, 0, 0, 0, /* version */ 160, 0, 0, 0, /* bytes */ 12, 0, 0, 0, 0, 0, 0, 0, /* record_bytes */
        2, 0, 0, 0, /* pack */ 1, 0, 0, 0, /* field_count */
        'M', 'e', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        72, 0, /* bytes */ 5, /* i32 */ 0, /* flags */ 4, 0, 0, 0, /* element_bytes */
        2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, /* dims */ 4, 0, 0, 0, 0, 0, 0, 0, /* offset */
        4, 0, /* name_bytes */ 2, 0, /* attribute_count */ 0, 0, 0, 0, 's', 'i', 'g', 'n',
        0x01, 0x80, 9, 0, 0xFF, 0xFF, 0xFF, 0xFF, 'M', 'I', 'N', 'U', 'S',
        0x01, 0x80, 8, 0, 0, 0, 0, 0, 'Z', 'E', 'R', 'O', 0, 0, 0,
    };
    struct stele_schema *schema = NULL;
    const uint8_t *bytes;
    uint32_t byte_count = 0;

    (void)state;
    assert_int_equal(stele_schema_make("Me", 12, 2, &field, &own, 1, &schema), STELE_OK);
    bytes = stele_schema_encoded(schema, &byte_count);
    assert_int_equal(byte_count, sizeof(expected));
    assert_memory_equal(bytes, expected, sizeof(expected));
    stele_schema_free(schema);
}

static void assert_same(const struct stele_schema *a, const struct stele_schema *b)
{
    uint32_t a_bytes = 0, b_bytes = 0;
    const uint8_t *a_encoded = stele_schema_encoded(a, &a_bytes);
    const uint8_t *b_encoded = stele_schema_encoded(b, &b_bytes);
    int32_t a_value = 0, b_value = 0;

    assert_int_equal(a_bytes, b_bytes);
    assert_memory_equal(a_encoded, b_encoded, a_bytes);
    assert_string_equal(stele_schema_name(a), stele_schema_name(b));
    assert_int_equal(stele_schema_pack(a), stele_schema_pack(b));
    assert_int_equal(stele_schema_check(a, b), STELE_OK);
    for (size_t i = 0; i < stele_schema_field_count(a); i++) {
        for (size_t e = 0; stele_schema_enum(a, i, e, &a_value); e++) {
            assert_string_equal(stele_schema_enum(a, i, e, &a_value), stele_schema_enum(b, i, e, &b_value));
            assert_int_equal(a_value, b_value);
        }
    }
}

/* Decode a copy of its own size, so that a sanitizer sees reads behind it. */
static int decode(const uint8_t *bytes, size_t byte_count, struct stele_schema **out)
{
    uint8_t *copy = malloc(byte_count ? byte_count : 1);
    int rc;

    memcpy(copy, bytes, byte_count);
    rc = stele_schema_decode(copy, byte_count, out);
    free(copy);
    return rc;
}

static void random_schema_survives_its_bytes(void **state)
{
    uint64_t random = seed_of_test();

    (void)state;
    for (int run = 0; run < 500; run++) {
        struct stele_field fields[40];
        char names[40][STELE_NAME_BYTES_MAX + 1];
        struct stele_field_enum enums[40] = { { NULL, 0 } };
        size_t field_count = 1 + (size_t)(next_random(&random) % 40);
        struct stele_schema *made = NULL, *decoded = NULL;
        const uint8_t *bytes;
        uint32_t byte_count = 0;
        uint64_t offset = 0;

        for (size_t i = 0; i < field_count; i++) {
            uint64_t total;

            snprintf(names[i], sizeof(names[i]), "%.*s%zu", (int)(next_random(&random) % 50), NAME_OF_63, i);
            if (names[i][0] < 'a')
                names[i][0] = '_', snprintf(names[i] + 1, sizeof(names[i]) - 1, "%zu", i);
            fields[i] =
                (struct stele_field){ .name = names[i], .type = 1 + (uint32_t)(next_random(&random) % 13) };
            fields[i].bytes = stele_type_is_sized(fields[i].type) ? 1 + (uint32_t)(next_random(&random) % 300)
                                                                  : stele_type_bytes(fields[i].type);
            for (size_t d = 0, count = (size_t)(next_random(&random) % 5); d < count; d++)
                fields[i].dims[d] = 1 + (uint32_t)(next_random(&random) % 5);
            if (fields[i].type == STELE_I32 && next_random(&random) % 2)
                enums[i] = (struct stele_field_enum){ signs, (size_t)(1 + next_random(&random) % COUNT_OF(signs)) };
            fields[i].offset = offset += next_random(&random) % 3 ? 0 : next_random(&random) % 9;
            total = stele_field_bytes(&fields[i], UINT32_MAX);
            offset += total;
        }
        offset += next_random(&random) % 4;
        if (stele_schema_make("random", offset, 0, fields, enums, field_count, &made) != STELE_OK)
            fail_msg("run %d: %s", run, stele_last_error()->text);
        bytes = stele_schema_encoded(made, &byte_count);
        assert_int_equal(byte_count % 8, 0);
        assert_int_equal(decode(bytes, byte_count, &decoded), STELE_OK);
        assert_same(made, decoded);
        for (size_t i = 0; i < field_count; i++) {
            assert_string_equal(stele_schema_field(decoded, i)->name, fields[i].name);
            assert_int_equal(stele_schema_field(decoded, i)->type, fields[i].type);
            assert_int_equal(stele_schema_field(decoded, i)->bytes, fields[i].bytes);
            assert_int_equal(stele_schema_field(decoded, i)->offset, fields[i].offset);
            assert_memory_equal(stele_schema_field(decoded, i)->dims, fields[i].dims, sizeof(fields[i].dims));
        }
        stele_schema_free(made);
        stele_schema_free(decoded);
    }
}

static void every_truncation_is_refused(void **state)
{
    struct stele_schema *schema = sample();
    uint32_t byte_count = 0;
    const uint8_t *bytes = stele_schema_encoded(schema, &byte_count);

    (void)state;
    for (uint32_t cut = 0; cut < byte_count; cut++) {
        struct stele_schema *decoded = NULL;
        uint8_t *shorter = malloc(byte_count);

        assert_int_equal(decode(bytes, cut, &decoded), STELE_E_DAMAGED);
        assert_null(decoded);
        /* and with a head that agrees with the cut */
        memcpy(shorter, bytes, byte_count);
        memcpy(shorter + offsetof(struct stele_schema_head, bytes), &cut, sizeof(cut));
        assert_int_equal(decode(shorter, cut, &decoded), STELE_E_DAMAGED);
        assert_null(decoded);
        free(shorter);
    }
    stele_schema_free(schema);
}

static void every_changed_byte_gives_a_code_or_another_sound_schema(void **state)
{
    struct stele_schema *schema = sample();
    uint32_t byte_count = 0;
    const uint8_t *bytes = stele_schema_encoded(schema, &byte_count);
    uint8_t *changed = malloc(byte_count);
    size_t good = 0, bad = 0;

    (void)state;
    for (uint32_t at = 0; at < byte_count; at++) {
        for (unsigned value = 1; value < 256; value++) {
            struct stele_schema *decoded = NULL;
            uint32_t again_bytes = 0;
            int rc;

            memcpy(changed, bytes, byte_count);
            changed[at] = (uint8_t)(changed[at] ^ value);
            rc = decode(changed, byte_count, &decoded);
            assert_true(rc == STELE_OK || rc == STELE_E_DAMAGED || rc == STELE_E_VERSION);
            assert_int_equal(rc == STELE_OK, decoded != NULL);
            good += rc == STELE_OK;
            bad += rc != STELE_OK;
            if (!decoded)
                continue;
            assert_memory_equal(stele_schema_encoded(decoded, &again_bytes), changed, byte_count);
            assert_int_equal(again_bytes, byte_count);
            stele_schema_free(decoded);
        }
    }
    assert_true(good > 0 && bad > good);
    free(changed);
    stele_schema_free(schema);
}

static void random_changes_are_survived(void **state)
{
    uint64_t random = seed_of_test();
    struct stele_schema *schema = sample();
    uint32_t byte_count = 0;
    const uint8_t *bytes = stele_schema_encoded(schema, &byte_count);
    uint8_t *changed = malloc(byte_count);

    (void)state;
    for (int run = 0; run < 50000; run++) {
        struct stele_schema *decoded = NULL;

        memcpy(changed, bytes, byte_count);
        for (int i = 0; i < 4; i++)
            changed[next_random(&random) % byte_count] =
                (uint8_t)(next_random(&random) % 4 ? next_random(&random) % 3 : next_random(&random));
        decode(changed, byte_count, &decoded);
        stele_schema_free(decoded);
    }
    free(changed);
    stele_schema_free(schema);
}

static void newer_versions_are_told_from_damage(void **state)
{
    struct stele_schema *schema = sample(), *decoded = NULL;
    uint32_t byte_count = 0, kept_bytes = 0;
    const uint8_t *bytes = stele_schema_encoded(schema, &byte_count);
    uint8_t *changed = malloc(byte_count);
    size_t field = sizeof(struct stele_schema_head) + 48; /* `sign`: the first one takes 48 bytes */
    size_t attribute = field + sizeof(struct stele_schema_field) + strlen("sign");
    struct {
        const char *what;
        size_t at;
        uint8_t value;
        int code;
    } cases[] = {
        { "schema version 2", 0, 2, STELE_E_VERSION },
        { "type 14", field + offsetof(struct stele_schema_field, type), 14, STELE_E_VERSION },
        { "flags", field + offsetof(struct stele_schema_field, flags), 1, STELE_E_VERSION },
        { "unknown attribute that matters", attribute + 1, 0, STELE_E_VERSION },
        { "unknown attribute that does not", attribute, 2, STELE_OK },
        { "enum that is an f32", field + offsetof(struct stele_schema_field, type), STELE_F32,
          STELE_E_DAMAGED },
        { "reserved word", field + offsetof(struct stele_schema_field, reserved), 1, STELE_E_DAMAGED },
        { "padding behind attributes", field + 88 - 1, 1, STELE_E_DAMAGED },
        { "pack 3", offsetof(struct stele_schema_head, pack), 3, STELE_E_DAMAGED },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        memcpy(changed, bytes, byte_count);
        assert_int_not_equal(changed[cases[i].at], cases[i].value);
        changed[cases[i].at] = cases[i].value;
        if (decode(changed, byte_count, &decoded) != cases[i].code)
            fail_msg("%s: %s", cases[i].what, stele_last_error()->text);
        if (cases[i].code == STELE_OK) {
            int32_t value = 0;

            assert_string_equal(stele_schema_enum(decoded, 1, 0, &value), "ZERO"); /* MINUS is skipped */
            assert_memory_equal(stele_schema_encoded(decoded, &kept_bytes), changed, byte_count);
            stele_schema_free(decoded);
        }
        decoded = NULL;
    }
    free(changed);
    stele_schema_free(schema);
}

static void sizes_that_do_not_fit_are_damage(void **state)
{
    static const struct {
        uint32_t head_bytes, byte_count;
        uint16_t field_bytes, attribute_count;
        const char *message;
    } cases[] = {
        { 136, 136, 48, 0, NULL },
        { 136, 144, 48, 0, "says 136 bytes, 144 are there" },
        { 144, 144, 48, 0, "8 bytes behind the last field" },
        { 144, 144, 56, 0, "bytes behind its attributes" },
        { 135, 135, 47, 0, "sizes of field 0" },
        { 128, 128, 40, 0, "sizes of field 0" },
        { 136, 136, 56, 0, "sizes of field 0" },
        { 136, 136, 48, 2, "attribute 1 is cut off" },
    };
    static const struct stele_field field = { .name = "a", .type = STELE_U8 };
    const uint8_t attribute[] = { 2, 0x80, 0, 0 };
    struct stele_schema *schema = NULL;
    uint8_t bytes[160] = { 0 };
    uint32_t made_bytes = 0;

    (void)state;
    assert_int_equal(stele_schema_new("t", 1, &field, 1, &schema), STELE_OK);
    memcpy(bytes, stele_schema_encoded(schema, &made_bytes), 136);
    assert_int_equal(made_bytes, 136);
    stele_schema_free(schema);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        schema = NULL;
        memcpy(bytes + offsetof(struct stele_schema_head, bytes), &cases[i].head_bytes, 4);
        memcpy(bytes + 88, &cases[i].field_bytes, 2);
        memcpy(bytes + 88 + offsetof(struct stele_schema_field, attribute_count), &cases[i].attribute_count,
               sizeof(cases[i].attribute_count));
        if (cases[i].attribute_count)
            memcpy(bytes + 88 + 41, attribute, sizeof(attribute));
        assert_int_equal(decode(bytes, cases[i].byte_count, &schema),
                         cases[i].message ? STELE_E_DAMAGED : STELE_OK);
        if (cases[i].message && !strstr(stele_last_error()->text, cases[i].message))
            fail_msg("%s, not %s", stele_last_error()->text, cases[i].message);
        stele_schema_free(schema);
    }
}

static void enum_constants_are_checked(void **state)
{
    static const struct stele_field fields[] = { { .name = "a", .type = STELE_I32 },
                                                 { .name = "b", .type = STELE_U32 } };
    static const struct stele_enum_constant nameless = { "", 1 }, spaced = { "A B", 1 };
    const struct stele_field_enum cases[] = { { &nameless, 1 }, { &spaced, 1 }, { signs, 100000 } };
    const struct stele_field_enum good = { signs, 1 };
    struct stele_schema *schema = NULL;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_int_equal(stele_schema_make("t", 4, 0, &fields[0], &cases[i], 1, &schema), STELE_E_SCHEMA);
        assert_null(schema);
    }
    assert_int_equal(stele_schema_make("t", 4, 0, &fields[1], &good, 1, &schema), STELE_E_SCHEMA);
    assert_string_equal(stele_last_error()->text, "field `b`: an enum is an i32");
}

/* ---- padding ------------------------------------------------------------------------------- */

static void padding_is_all_that_no_field_covers(void **state)
{
    struct stele_schema *schema = sample();
    const struct stele_padding *padding;
    size_t count = 0;
    uint8_t records[3 * 56 + 8];

    (void)state;
    padding = stele_schema_padding(schema, &count);
    assert_int_equal(count, 3);
    assert_int_equal(padding[0].offset, 10);
    assert_int_equal(padding[0].bytes, 2);
    assert_int_equal(padding[1].offset, 48);
    assert_int_equal(padding[1].bytes, 2);
    assert_int_equal(padding[2].offset, 53);
    assert_int_equal(padding[2].bytes, 3);

    memset(records, 0xAA, sizeof(records));
    stele_schema_clear_padding(schema, records, 3);
    for (size_t i = 0; i < sizeof(records); i++) {
        size_t at = i % 56;
        int is_padding = i < 3 * 56 && ((at >= 10 && at < 12) || (at >= 48 && at < 50) || at >= 53);

        assert_int_equal(records[i], is_padding ? 0 : 0xAA);
    }
    stele_schema_free(schema);
}

/* ---- check --------------------------------------------------------------------------------- */

#define FILE_STRUCT "struct f { char c; int i; double m[4][4]; char names[4][16]; short s; };"

static const struct {
    const char *file, *program;
    uint32_t file_pack;
    const char *message; /* NULL: they fit */
} differences[] = {
    { FILE_STRUCT, FILE_STRUCT, 0, NULL },
    { FILE_STRUCT, "struct other { char c; int i; double m[4][4]; char names[4][16]; short s; };", 0, NULL },
    { "struct f { enum { A } e; };", "struct f { unsigned e; };", 0, NULL },
    { "struct f { unsigned e; };", "struct f { enum { A } e; };", 0, NULL },
    { "struct f { enum { A } e; };", "struct f { enum { A, B } e; };", 0, NULL },
    { "struct f { enum { A } e; };", "struct f { int e; };", 0, NULL },
    { "struct f { enum { A } e; };", "struct f { float e; };", 0,
      "field `e`: program has f32, file has i32" },
    { "struct f { enum { A } e; };", "struct f { unsigned e[1]; };", 0,
      "field `e`: program has u32[1], file has i32" },
    { "struct f { char c; int i; short s; };", "struct f { char c; int i; short s; };", 1,
      "field `i`: program has offset 4, file has offset 1: is the struct packed?"
      " (A 32-bit program for Linux may put 8-byte members on multiples of 4: _Alignas(8) helps)" },
    { "struct f { int i; short s; };", "struct f { int i; short s; };", 1,
      "record: program has 8 bytes, file has 6: is the struct packed?"
      " (A 32-bit program for Linux may put 8-byte members on multiples of 4: _Alignas(8) helps)" },
    { FILE_STRUCT, "struct f { unsigned char c; int i; double m[4][4]; char names[4][16]; short s; };", 0,
      "field `c`: program has u8, file has text(1)" },
    { FILE_STRUCT, "struct f { char c; int i; double m[4][5]; char names[4][16]; short s; };", 0,
      "field `m`: program has f64[4][5], file has f64[4][4]" },
    { FILE_STRUCT, "struct f { char c; int i; float m[4][4]; char names[4][16]; short s; };", 0,
      "field `m`: program has f32[4][4], file has f64[4][4]" },
    { FILE_STRUCT, "struct f { char c; int i; double m[4][4]; char names[64]; short s; };", 0,
      "field `names`: program has text(64), file has text(16)[4]" },
    { FILE_STRUCT, "struct f { char c; unsigned i; double m[4][4]; char names[4][16]; short s; };", 0,
      "field `i`: program has u32, file has i32" },
    { FILE_STRUCT, "struct f { char c; int j; double m[4][4]; char names[4][16]; short s; };", 0,
      "field `i` at offset 4 of the file is called `j` in the program" },
    { FILE_STRUCT, "struct f { char c; double m[4][4]; char names[4][16]; short s; };", 0,
      "field `i` at offset 4 of the file is missing in the program" },
    { FILE_STRUCT, "struct f { char c; int i; double m[4][4]; char names[4][16]; };", 0,
      "field `s` at offset 200 of the file is missing in the program" },
    { FILE_STRUCT, "struct f { char c; short extra; int i; double m[4][4]; char names[4][16]; short s; };",
      0, "field `extra` at offset 2 of the program is missing in the file" },
    { FILE_STRUCT, "struct f { char c; int i; double m[4][4]; char names[4][16]; short s, t; };", 0,
      "field `t` at offset 202 of the program is missing in the file" },
    { "struct f { int a, b; };", "struct f { int b, a; };", 0,
      "field `a`: program has offset 4, file has offset 0: fields stand in another order" },
};

static void first_difference_is_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(differences); i++) {
        struct stele_schema *file = NULL, *program = NULL;
        int rc;

        assert_int_equal(stele_schema_parse(differences[i].file, NULL, differences[i].file_pack, &file),
                         STELE_OK);
        assert_int_equal(stele_schema_parse(differences[i].program, NULL, 0, &program), STELE_OK);
        rc = stele_schema_check(file, program);
        if (rc != (differences[i].message ? STELE_E_SCHEMA : STELE_OK))
            fail_msg("%s against %s: code %d", differences[i].program, differences[i].file, rc);
        if (rc)
            assert_string_equal(stele_last_error()->text, differences[i].message);
        stele_schema_free(file);
        stele_schema_free(program);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_of_a_schema_hold),
        cmocka_unit_test(name_of_the_struct_is_checked),
        cmocka_unit_test(fields_and_their_names_are_copies),
        cmocka_unit_test(schema_larger_than_its_region_is_refused),
        cmocka_unit_test(bytes_are_those_of_the_format),
        cmocka_unit_test(random_schema_survives_its_bytes),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(every_changed_byte_gives_a_code_or_another_sound_schema),
        cmocka_unit_test(random_changes_are_survived),
        cmocka_unit_test(newer_versions_are_told_from_damage),
        cmocka_unit_test(sizes_that_do_not_fit_are_damage),
        cmocka_unit_test(enum_constants_are_checked),
        cmocka_unit_test(padding_is_all_that_no_field_covers),
        cmocka_unit_test(first_difference_is_named),
    };

    return cmocka_run_group_tests_name("schema", tests, NULL, NULL);
}
