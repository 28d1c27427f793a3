#include "schema_out.h"

#include "value.h"

#include <inttypes.h>

static const struct {
    const char *name, *numpy;
} types[] = {
    { "?", "V" },     { "i8", "<i1" },  { "u8", "<u1" },  { "i16", "<i2" }, { "u16", "<u2" },
    { "i32", "<i4" }, { "u32", "<u4" }, { "i64", "<i8" }, { "u64", "<u8" }, { "f32", "<f4" },
    { "f64", "<f8" }, { "bool", "?" },  { "text", "S" },  { "bytes", "V" },
};

const char *schema_type_name(uint32_t type)
{
    return types[type <= STELE_BYTES ? type : 0].name;
}

static void field_json(const struct stele_schema *schema, size_t field_index, struct json_out *out)
{
    const struct stele_field *field = stele_schema_field(schema, field_index);
    const char *constant = NULL;
    int32_t value = 0;

    json_begin(out, NULL, '{');
    json_string(out, "name", field->name);
    json_string(out, "type", schema_type_name(field->type));
    json_number(out, "offset", field->offset);
    json_number(out, "element_bytes", value_element_bytes(field));
    json_begin(out, "dims", '[');
    for (unsigned i = 0; i < 4 && field->dims[i]; i++)
        json_number(out, NULL, field->dims[i]);
    json_end(out, ']');
    if (stele_schema_enum(schema, field_index, 0, &value)) {
        json_begin(out, "constants", '{');
        for (size_t i = 0; (constant = stele_schema_enum(schema, field_index, i, &value)) != NULL; i++)
            json_signed(out, constant, value);
        json_end(out, '}');
    }
    json_end(out, '}');
}

void schema_out_json(const struct stele_schema *schema, const char *key, struct json_out *out)
{
    json_begin(out, key, '{');
    json_string(out, "name", stele_schema_name(schema));
    json_number(out, "record_bytes", stele_schema_record_bytes(schema));
    json_number(out, "pack", stele_schema_pack(schema));
    json_begin(out, "fields", '[');
    for (size_t i = 0; i < stele_schema_field_count(schema); i++)
        field_json(schema, i, out);
    json_end(out, ']');
    json_end(out, '}');
}

static void field_numpy(const struct stele_field *field, struct text *out)
{
    bool is_sized = field->type == STELE_TEXT || field->type == STELE_BYTES;

    text_add_format(out, field->dims[0] ? "('%s" : "'%s",
                    types[field->type <= STELE_BYTES ? field->type : 0].numpy);
    if (is_sized)
        text_add_format(out, "%" PRIu32, value_element_bytes(field));
    text_add_char(out, '\'');
    if (!field->dims[0])
        return;
    text_add_string(out, ", (");
    for (unsigned i = 0; i < 4 && field->dims[i]; i++)
        text_add_format(out, i ? ", %" PRIu32 : "%" PRIu32, field->dims[i]);
    text_add_string(out, field->dims[1] ? "))" : ",))");
}

void schema_out_numpy(const struct stele_schema *schema, struct text *out)
{
    size_t field_count = stele_schema_field_count(schema);

    text_add_string(out, "numpy.dtype({'names': [");
    for (size_t i = 0; i < field_count; i++) {
        const char *name = stele_schema_field(schema, i)->name;

        text_add_format(out, "%s'%s'", i ? ", " : "", name);
    }
    text_add_string(out, "], 'formats': [");
    for (size_t i = 0; i < field_count; i++) {
        text_add_string(out, i ? ", " : "");
        field_numpy(stele_schema_field(schema, i), out);
    }
    text_add_string(out, "], 'offsets': [");
    for (size_t i = 0; i < field_count; i++)
        text_add_format(out, "%s%" PRIu64, i ? ", " : "", stele_schema_field(schema, i)->offset);
    text_add_format(out, "], 'itemsize': %" PRIu64 "})\n", stele_schema_record_bytes(schema));
}
