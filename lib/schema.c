/* What a schema says: its fields, its padding, and how it differs from another. */
#include "schema.h"

#include "error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DIM_COUNT = 4, TYPE_LAST = STELE_BYTES, DESCRIPTION_BYTES = 96 };

static const struct {
    const char *name;
    uint32_t bytes;
} types[TYPE_LAST + 1] = {
    [STELE_I8] = { "i8", 1 },   [STELE_U8] = { "u8", 1 },     [STELE_I16] = { "i16", 2 },
    [STELE_U16] = { "u16", 2 }, [STELE_I32] = { "i32", 4 },   [STELE_U32] = { "u32", 4 },
    [STELE_I64] = { "i64", 8 }, [STELE_U64] = { "u64", 8 },   [STELE_F32] = { "f32", 4 },
    [STELE_F64] = { "f64", 8 }, [STELE_BOOL] = { "bool", 1 }, [STELE_TEXT] = { "text", 1 },
    [STELE_BYTES] = { "bytes", 1 },
};

uint32_t stele_type_bytes(uint32_t type)
{
    return type <= TYPE_LAST ? types[type].bytes : 0;
}

const char *stele_type_name(uint32_t type)
{
    return type <= TYPE_LAST && types[type].name ? types[type].name : "no type";
}

bool stele_type_is_sized(uint32_t type)
{
    return type == STELE_TEXT || type == STELE_BYTES;
}

bool stele_is_pack(uint32_t pack)
{
    return pack <= 16 && (pack & (pack - 1)) == 0;
}

/* ---- fields -------------------------------------------------------------------------------- */

uint64_t stele_field_bytes(const struct stele_field *field, uint64_t limit)
{
    uint64_t bytes = field->bytes;

    for (size_t d = 0; d < DIM_COUNT && field->dims[d]; d++) {
        if (bytes > limit)
            return UINT64_MAX;
        bytes *= field->dims[d]; /* both below 2^32 */
    }
    return bytes > limit ? UINT64_MAX : bytes;
}

int stele_schema_new(const char *name, uint64_t record_bytes, const struct stele_field *fields,
                     size_t field_count, struct stele_schema **out)
{
    static const char keyword[] = "struct ";
    uint32_t pack = 0;

    if (name && strncmp(name, keyword, strlen(keyword)) == 0)
        name += strlen(keyword);
    /* A field off its natural place was packed: whoever writes the struct down again must say so. */
    for (size_t i = 0; i < field_count && i < STELE_FIELD_COUNT_MAX; i++) {
        uint32_t bytes = stele_type_bytes(fields[i].type);

        if (bytes && (fields[i].offset % bytes || record_bytes % bytes))
            pack = 1;
    }
    return stele_schema_make(name, record_bytes, pack, fields, NULL, field_count, out);
}

void stele_schema_free(struct stele_schema *schema)
{
    if (!schema)
        return;
    free(schema->encoded);
    free(schema->fields);
    free(schema->enums);
    free(schema->names);
    free(schema->paddings);
    free(schema->constants);
    free(schema);
}

const uint8_t *stele_schema_encoded(const struct stele_schema *schema, uint32_t *out_bytes)
{
    *out_bytes = schema->encoded_bytes;
    return schema->encoded;
}

const struct stele_field *stele_schema_field(const struct stele_schema *schema, size_t field_index)
{
    return field_index < schema->field_count ? &schema->fields[field_index] : NULL;
}

size_t stele_schema_field_count(const struct stele_schema *schema)
{
    return schema->field_count;
}

uint64_t stele_schema_record_bytes(const struct stele_schema *schema)
{
    return schema->record_bytes;
}

uint32_t stele_schema_pack(const struct stele_schema *schema)
{
    return schema->pack;
}

const char *stele_schema_name(const struct stele_schema *schema)
{
    return schema->name;
}

const struct stele_field *stele_schema_find(const struct stele_schema *schema, const char *name,
                                            size_t *out_index)
{
    for (size_t i = 0; i < schema->field_count; i++) {
        if (strcmp(schema->fields[i].name, name) == 0) {
            if (out_index)
                *out_index = i;
            return &schema->fields[i];
        }
    }
    return NULL;
}

const char *stele_schema_enum(const struct stele_schema *schema, size_t field_index, size_t enum_index,
                              int32_t *out_value)
{
    const struct stele_field_enum *own;

    if (field_index >= schema->field_count)
        return NULL;
    own = &schema->enums[field_index];
    if (enum_index >= own->constant_count)
        return NULL;
    *out_value = own->constants[enum_index].value;
    return own->constants[enum_index].name;
}

void stele_schema_find_padding(struct stele_schema *schema)
{
    uint64_t covered = 0;

    for (size_t i = 0; i <= schema->field_count; i++) {
        const struct stele_field *field = i < schema->field_count ? &schema->fields[i] : NULL;
        uint64_t start = field ? field->offset : schema->record_bytes;

        if (start > covered)
            schema->paddings[schema->padding_count++] =
                (struct stele_padding){ (uint32_t)covered, (uint32_t)(start - covered) };
        if (field)
            covered = start + stele_field_bytes(field, schema->record_bytes);
    }
}

const struct stele_padding *stele_schema_padding(const struct stele_schema *schema, size_t *out_count)
{
    *out_count = schema->padding_count;
    return schema->paddings;
}

void stele_schema_clear_padding(const struct stele_schema *schema, uint8_t *records, size_t record_count)
{
    for (size_t i = 0; schema->padding_count && i < record_count; i++) {
        uint8_t *record = records + i * (size_t)schema->record_bytes;

        for (size_t p = 0; p < schema->padding_count; p++)
            memset(record + schema->paddings[p].offset, 0, schema->paddings[p].bytes);
    }
}

/* ---- check --------------------------------------------------------------------------------- */

/* Write "f64[4][4]" or "text(16)[4]" for @field. */
static void describe(const struct stele_field *field, char out_text[DESCRIPTION_BYTES])
{
    int at = snprintf(out_text, DESCRIPTION_BYTES, "%s", stele_type_name(field->type));

    if (stele_type_is_sized(field->type))
        at += snprintf(out_text + at, (size_t)(DESCRIPTION_BYTES - at), "(%" PRIu32 ")", field->bytes);
    for (size_t d = 0; d < DIM_COUNT && field->dims[d]; d++)
        at += snprintf(out_text + at, (size_t)(DESCRIPTION_BYTES - at), "[%" PRIu32 "]", field->dims[d]);
}

/* A compiled enum is seen as u32 by the typed layer: the language does not tell it from unsigned int. */
static bool is_enum_of_other(const struct stele_schema *enum_schema, size_t field_index,
                             const struct stele_field *other)
{
    return enum_schema->enums[field_index].constant_count > 0 && other->type == STELE_U32;
}

/* What is behind most offsets and sizes that differ. */
#define PACKED_HINT ": is the struct packed? (A 32-bit program for Linux may put 8-byte members on multiples of 4: " \
                    "_Alignas(8) helps)"

static int check_field(const struct stele_schema *file, const struct stele_schema *program,
                       size_t field_index)
{
    const struct stele_field *here = &file->fields[field_index];
    const struct stele_field *there = &program->fields[field_index];
    char file_text[DESCRIPTION_BYTES], program_text[DESCRIPTION_BYTES];

    if ((here->type != there->type && !is_enum_of_other(file, field_index, there) &&
         !is_enum_of_other(program, field_index, here)) ||
        here->bytes != there->bytes || memcmp(here->dims, there->dims, sizeof(here->dims)) != 0) {
        describe(here, file_text);
        describe(there, program_text);
        return stele_fail(STELE_E_SCHEMA, "field `%s`: program has %s, file has %s", here->name, program_text,
                          file_text);
    }
    if (here->offset != there->offset)
        return stele_fail(STELE_E_SCHEMA,
                          "field `%s`: program has offset %" PRIu64 ", file has offset %" PRIu64 PACKED_HINT,
                          here->name, there->offset, here->offset);
    return STELE_OK;
}

/* Fail for the fields at @field_index, of which the names differ or one is not there. */
static int fail_names(const struct stele_schema *file, const struct stele_schema *program, size_t field_index)
{
    const struct stele_field *here = stele_schema_field(file, field_index);
    const struct stele_field *there = stele_schema_field(program, field_index);
    bool is_here_known = here && stele_schema_find(program, here->name, NULL);
    bool is_there_known = there && stele_schema_find(file, there->name, NULL);

    if (here && there && !is_here_known && !is_there_known && here->offset == there->offset)
        return stele_fail(STELE_E_SCHEMA,
                          "field `%s` at offset %" PRIu64 " of the file is called `%s` in the program",
                          here->name, here->offset, there->name);
    if (here && !is_here_known)
        return stele_fail(STELE_E_SCHEMA,
                          "field `%s` at offset %" PRIu64 " of the file is missing in the program",
                          here->name, here->offset);
    if (there && !is_there_known)
        return stele_fail(STELE_E_SCHEMA,
                          "field `%s` at offset %" PRIu64 " of the program is missing in the file",
                          there->name, there->offset);
    assert(here && there); /* a known name alone behind the other's end would have differed before */
    return stele_fail(STELE_E_SCHEMA, "field `%s`: program has offset %" PRIu64 ", file has offset %" PRIu64
                      ": fields stand in another order", here->name,
                      stele_schema_find(program, here->name, NULL)->offset, here->offset);
}

int stele_schema_check(const struct stele_schema *file, const struct stele_schema *program)
{
    for (size_t i = 0; i < file->field_count || i < program->field_count; i++) {
        int rc;

        if (i >= file->field_count || i >= program->field_count ||
            strcmp(file->fields[i].name, program->fields[i].name) != 0)
            return fail_names(file, program, i);
        rc = check_field(file, program, i);
        if (rc)
            return rc;
    }
    if (file->record_bytes != program->record_bytes)
        return stele_fail(STELE_E_SCHEMA, "record: program has %" PRIu64 " bytes, file has %" PRIu64
                          PACKED_HINT, program->record_bytes, file->record_bytes);
    return STELE_OK;
}
