/*
 * The bytes of a schema. A schema is always made from them, so one set of rules serves the program's fields
 * and the file's bytes; only the code of a broken rule differs.
 */
#include "schema.h"

#include "error.h"

#include <stdlib.h>
#include <string.h>

static_assert(STELE_NAME_BYTES_MAX == STELE_FIELD_NAME_BYTES_MAX, "public and format limits agree");
static_assert(STELE_RECORD_BYTES_MAX == STELE_RECORD_BYTES_LIMIT, "public and format limits agree");

enum { DIM_COUNT = 4, ENUM_VALUE_BYTES = 4,
       /* an attribute, a value and a letter */
       CONSTANT_BYTES_MIN = sizeof(struct stele_schema_attribute) + ENUM_VALUE_BYTES + 1 };

/* ---- names --------------------------------------------------------------------------------- */

/* Bytes of the UTF-8 character at @text, 0 if it is none (overlong, a surrogate, cut off). */
static size_t character_bytes(const uint8_t *text, size_t text_bytes)
{
    uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    size_t bytes = text[0] < 0x80 ? 1 : text[0] < 0xC2 ? 0 : text[0] < 0xE0 ? 2 : text[0] < 0xF0 ? 3 : 4;
    uint32_t value = bytes == 1 ? text[0] : text[0] & (0x7Fu >> bytes);

    if (bytes == 0 || text[0] > 0xF4 || bytes > text_bytes)
        return 0;
    for (size_t i = 1; i < bytes; i++) {
        if ((text[i] & 0xC0) != 0x80)
            return 0;
        value = value << 6 | (text[i] & 0x3Fu);
    }
    if (value < least[bytes] || (value >= 0xD800 && value < 0xE000) || value > 0x10FFFF)
        return 0;
    return bytes;
}

static bool is_digit(uint8_t byte)
{
    return byte >= '0' && byte <= '9';
}

/* Bytes of the C identifier that @text starts with, 0 if none; letters beyond ASCII are fine. */
static size_t identifier_bytes(const uint8_t *text, size_t text_bytes)
{
    size_t at = 0;

    while (at < text_bytes) {
        uint8_t byte = text[at];
        bool is_letter = (byte | 0x20) >= 'a' && (byte | 0x20) <= 'z' && byte < 0x80;
        size_t bytes = 1;

        if (byte >= 0x80)
            bytes = character_bytes(text + at, text_bytes - at);
        else if (!is_letter && byte != '_' && byte != '$' && (at == 0 || !is_digit(byte)))
            break;
        if (bytes == 0)
            return 0;
        at += bytes;
    }
    return at;
}

static bool is_identifier(const uint8_t *text, size_t text_bytes)
{
    return text_bytes > 0 && text_bytes <= STELE_FIELD_NAME_BYTES_MAX &&
           identifier_bytes(text, text_bytes) == text_bytes;
}

/* identifier { "[" digits "]" } "." … identifier: what a field of a flattened struct is called. */
static bool is_field_name(const uint8_t *text, size_t text_bytes)
{
    size_t at = 0;

    if (text_bytes > STELE_FIELD_NAME_BYTES_MAX)
        return false;
    for (;;) {
        size_t bytes = identifier_bytes(text + at, text_bytes - at);

        at += bytes;
        if (bytes == 0 || at == text_bytes)
            return bytes > 0;
        while (at < text_bytes && text[at] == '[') {
            size_t digits = at + 1;

            for (at = digits; at < text_bytes && is_digit(text[at]); at++)
                ;
            if (at == digits || at == text_bytes || text[at] != ']')
                return false;
            at++;
        }
        if (at == text_bytes || text[at] != '.')
            return false;
        at++;
    }
}

/* ---- rules --------------------------------------------------------------------------------- */

static int check_shape(const struct stele_field *field, int code)
{
    uint32_t natural_bytes = stele_type_bytes(field->type);

    if (stele_type_is_sized(field->type) ? field->bytes == 0 : field->bytes != natural_bytes)
        return stele_fail(code, "field `%s`: %" PRIu32 " bytes is no size of %s", field->name, field->bytes,
                          stele_type_name(field->type));
    for (size_t d = 1; d < DIM_COUNT; d++) {
        if (field->dims[d] && !field->dims[d - 1])
            return stele_fail(code, "field `%s`: dimension %zu is 0 and the next is not", field->name, d);
    }
    return STELE_OK;
}

/* Check the last field of @schema against the record and the fields before it. */
static int check_place(const struct stele_schema *schema, int code)
{
    const struct stele_field *field = &schema->fields[schema->field_count - 1];
    const struct stele_field *before = schema->field_count > 1 ? field - 1 : NULL;
    uint64_t bytes = stele_field_bytes(field, schema->record_bytes);

    if (bytes > schema->record_bytes || field->offset > schema->record_bytes - bytes)
        return stele_fail(code,
                          "field `%s` at offset %" PRIu64 " is not inside the record of %" PRIu64 " bytes",
                          field->name, field->offset, schema->record_bytes);
    if (before && field->offset < before->offset + stele_field_bytes(before, schema->record_bytes))
        return stele_fail(code, "field `%s` at offset %" PRIu64 " does not stand behind field `%s`",
                          field->name, field->offset, before->name);
    for (size_t i = 0; i + 1 < schema->field_count; i++) {
        if (strcmp(schema->fields[i].name, field->name) == 0)
            return stele_fail(code, "field `%s` is there twice", field->name);
    }
    return STELE_OK;
}

/* ---- decode -------------------------------------------------------------------------------- */

static bool is_zero(const uint8_t *bytes, size_t byte_count)
{
    for (size_t i = 0; i < byte_count; i++) {
        if (bytes[i])
            return false;
    }
    return true;
}

static int load_constant(struct stele_schema *schema, const uint8_t *value, size_t value_bytes, int code)
{
    const struct stele_field *field = &schema->fields[schema->field_count - 1];
    struct stele_field_enum *own = &schema->enums[schema->field_count - 1];
    struct stele_enum_constant *constant = &schema->constants[schema->constant_count];

    if (field->type != STELE_I32)
        return stele_fail(code, "field `%s`: an enum is an i32", field->name);
    if (value_bytes <= ENUM_VALUE_BYTES ||
        !is_identifier(value + ENUM_VALUE_BYTES, value_bytes - ENUM_VALUE_BYTES))
        return stele_fail(code, "field `%s`: enum constant %zu is not an identifier of 1 to %u bytes",
                          field->name, own->constant_count, STELE_FIELD_NAME_BYTES_MAX);
    memcpy(&constant->value, value, ENUM_VALUE_BYTES);
    memcpy(constant->name, value + ENUM_VALUE_BYTES, value_bytes - ENUM_VALUE_BYTES);
    if (!own->constants)
        own->constants = constant;
    own->constant_count++;
    schema->constant_count++;
    return STELE_OK;
}

/* Read the @attribute_count attributes in the @byte_count bytes behind the last field's name. */
static int load_attributes(struct stele_schema *schema, const uint8_t *bytes, size_t byte_count,
                           size_t attribute_count, int code)
{
    const char *name = schema->fields[schema->field_count - 1].name;
    size_t at = 0;

    for (size_t i = 0; i < attribute_count; i++) {
        struct stele_schema_attribute attribute;
        int rc = STELE_OK;

        if (byte_count - at < sizeof(attribute))
            return stele_fail(code, "field `%s`: attribute %zu is cut off", name, i);
        memcpy(&attribute, bytes + at, sizeof(attribute));
        at += sizeof(attribute);
        if (attribute.bytes > byte_count - at)
            return stele_fail(code, "field `%s`: attribute %zu is cut off", name, i);
        if (attribute.tag == STELE_ATTRIBUTE_ENUM)
            rc = load_constant(schema, bytes + at, attribute.bytes, code);
        else if (!(attribute.tag & STELE_ATTRIBUTE_OPTIONAL))
            rc = stele_fail(STELE_E_VERSION, "field `%s`: attribute %u is of a newer version", name,
                            (unsigned)attribute.tag);
        if (rc)
            return rc;
        at += attribute.bytes;
    }
    if (byte_count - at >= 8 || !is_zero(bytes + at, byte_count - at))
        return stele_fail(code, "field `%s`: bytes behind its attributes are not zero", name);
    return STELE_OK;
}

/* Read the field at the @byte_count bytes at @bytes and put how many it took to *@out_bytes. */
static int load_field(struct stele_schema *schema, const uint8_t *bytes, size_t byte_count, int code,
                      size_t *out_bytes)
{
    size_t field_index = schema->field_count;
    struct stele_field *field = &schema->fields[field_index];
    struct stele_schema_field head;
    size_t name_end;
    int rc;

    if (byte_count < sizeof(head))
        return stele_fail(code, "schema: field %zu is cut off", field_index);
    memcpy(&head, bytes, sizeof(head));
    name_end = sizeof(head) + head.name_bytes;
    if (head.bytes > byte_count || head.bytes % 8 || head.bytes < name_end || head.reserved)
        return stele_fail(code, "schema: sizes of field %zu do not fit", field_index);
    if (!is_field_name(bytes + sizeof(head), head.name_bytes))
        return stele_fail(code, "schema: the name of field %zu is not an identifier of 1 to %u bytes",
                          field_index, STELE_FIELD_NAME_BYTES_MAX);
    memcpy(schema->names[field_index], bytes + sizeof(head), head.name_bytes);
    *field = (struct stele_field){ .name = schema->names[field_index], .type = head.type, .flags = head.flags,
                                   .bytes = head.element_bytes, .offset = head.offset };
    memcpy(field->dims, head.dims, sizeof(field->dims));
    schema->field_count++;
    if (stele_type_bytes(field->type) == 0 || field->flags)
        return stele_fail(STELE_E_VERSION, "field `%s`: type %" PRIu32 " or flags %" PRIu32
                          " are of a newer version", field->name, field->type, field->flags);
    rc = check_shape(field, code);
    if (!rc)
        rc = check_place(schema, code);
    if (!rc)
        rc = load_attributes(schema, bytes + name_end, head.bytes - name_end, head.attribute_count, code);
    *out_bytes = head.bytes;
    return rc;
}

static int check_head(const struct stele_schema_head *head, size_t byte_count, int code)
{
    size_t name_bytes = strnlen((const char *)head->name, sizeof(head->name));

    if (head->version != STELE_SCHEMA_VERSION)
        return stele_fail(STELE_E_VERSION, "schema: version %" PRIu32 " is newer than %u", head->version,
                          STELE_SCHEMA_VERSION);
    if (head->bytes != byte_count)
        return stele_fail(code, "schema: says %" PRIu32 " bytes, %zu are there", head->bytes, byte_count);
    if (head->record_bytes == 0 || head->record_bytes > STELE_RECORD_BYTES_LIMIT)
        return stele_fail(code, "schema: a record of %" PRIu64 " bytes; 1 to %" PRIu64 " are possible",
                          head->record_bytes, STELE_RECORD_BYTES_LIMIT);
    if (!stele_is_pack(head->pack))
        return stele_fail(code, "schema: pack is %" PRIu32 ", not 0, 1, 2, 4, 8 or 16", head->pack);
    if (head->field_count == 0 || head->field_count > STELE_FIELD_COUNT_MAX)
        return stele_fail(code, "schema: %" PRIu32 " fields; 1 to %zu are possible", head->field_count,
                          STELE_FIELD_COUNT_MAX);
    if (!is_identifier(head->name, name_bytes) ||
        !is_zero(head->name + name_bytes, sizeof(head->name) - name_bytes))
        return stele_fail(code, "schema: the struct's name is not an identifier of 1 to %u bytes",
                          STELE_FIELD_NAME_BYTES_MAX);
    return STELE_OK;
}

/* Room for all that @field_count fields in @byte_count bytes can hold, zeroed. */
static struct stele_schema *allocate(size_t field_count, size_t byte_count)
{
    struct stele_schema *schema = calloc(1, sizeof(*schema));

    if (!schema)
        return NULL;
    schema->encoded = malloc(byte_count);
    schema->fields = calloc(field_count, sizeof(*schema->fields));
    schema->enums = calloc(field_count, sizeof(*schema->enums));
    schema->names = calloc(field_count, sizeof(*schema->names));
    schema->paddings = calloc(field_count + 1, sizeof(*schema->paddings));
    schema->constants = calloc(byte_count / CONSTANT_BYTES_MIN, sizeof(*schema->constants));
    if (schema->encoded && schema->fields && schema->enums && schema->names && schema->paddings &&
        schema->constants)
        return schema;
    stele_schema_free(schema);
    return NULL;
}

/* Make a schema of its bytes; @code is that of a broken rule. */
static int load(const uint8_t *bytes, size_t byte_count, int code, struct stele_schema **out)
{
    struct stele_schema *schema = NULL;
    struct stele_schema_head head;
    size_t at = sizeof(head);
    int rc;

    if (byte_count < sizeof(head) || byte_count > STELE_SCHEMA_BYTES_MAX)
        return stele_fail(code, "schema: %zu bytes; %zu to %u are possible", byte_count, sizeof(head),
                          STELE_SCHEMA_BYTES_MAX);
    memcpy(&head, bytes, sizeof(head));
    rc = check_head(&head, byte_count, code);
    if (rc)
        return rc;
    schema = allocate(head.field_count, byte_count);
    if (!schema)
        return stele_fail(STELE_E_NOMEM, "schema: no memory for %" PRIu32 " fields", head.field_count);
    schema->record_bytes = head.record_bytes;
    schema->pack = head.pack;
    schema->encoded_bytes = (uint32_t)byte_count;
    memcpy(schema->encoded, bytes, byte_count);
    memcpy(schema->name, head.name, sizeof(schema->name));
    for (uint32_t i = 0; i < head.field_count; i++) {
        size_t used = 0;

        rc = load_field(schema, bytes + at, byte_count - at, code, &used);
        if (rc)
            goto out;
        at += used;
    }
    if (at != byte_count) {
        rc = stele_fail(code, "schema: %zu bytes behind the last field", byte_count - at);
        goto out;
    }
    stele_schema_find_padding(schema);
    *out = schema;
    schema = NULL;
out:
    stele_schema_free(schema);
    return rc;
}

int stele_schema_decode(const uint8_t *bytes, size_t byte_count, struct stele_schema **out)
{
    return load(bytes, byte_count, STELE_E_DAMAGED, out);
}

/* ---- encode -------------------------------------------------------------------------------- */

/* Where encoded bytes go: what does not fit is counted and not written. */
struct sink {
    uint8_t *bytes;
    size_t byte_count;
};

static void put(struct sink *sink, const void *bytes, size_t byte_count)
{
    if (sink->byte_count <= STELE_SCHEMA_BYTES_MAX && byte_count <= STELE_SCHEMA_BYTES_MAX - sink->byte_count)
        memcpy(sink->bytes + sink->byte_count, bytes, byte_count);
    sink->byte_count += byte_count;
}

static size_t name_bytes_of(const char *name)
{
    return name ? strnlen(name, STELE_FIELD_NAME_BYTES_MAX + 1) : 0;
}

/* Check what the encoded form could not hold. */
static int check_encodable(const struct stele_field *field, size_t field_index)
{
    size_t name_bytes = name_bytes_of(field->name);

    if (name_bytes == 0 || !is_field_name((const uint8_t *)field->name, name_bytes))
        return stele_fail(STELE_E_SCHEMA, "the name of field %zu is not an identifier of 1 to %u bytes",
                          field_index, STELE_FIELD_NAME_BYTES_MAX);
    if (stele_type_bytes(field->type) == 0)
        return stele_fail(STELE_E_SCHEMA, "field `%s`: %" PRIu32 " is no type", field->name, field->type);
    if (field->flags || field->reserved[0] || field->reserved[1] || field->reserved[2])
        return stele_fail(STELE_E_SCHEMA, "field `%s`: flags and reserved words must be zero", field->name);
    if (field->bytes == 0 && stele_type_is_sized(field->type))
        return stele_fail(STELE_E_SCHEMA, "field `%s`: %s needs its size in bytes", field->name,
                          stele_type_name(field->type));
    return STELE_OK;
}

static int encode_field(struct sink *sink, const struct stele_field *field,
                        const struct stele_field_enum *own, size_t field_index)
{
    static const uint8_t zeros[8] = { 0 };
    size_t constant_count = own ? own->constant_count : 0;
    size_t start = sink->byte_count;
    struct stele_schema_field head;
    int rc = check_encodable(field, field_index);

    if (rc)
        return rc;
    if (constant_count > STELE_SCHEMA_BYTES_MAX / CONSTANT_BYTES_MIN)
        return stele_fail(STELE_E_SCHEMA, "field `%s`: %zu enum constants are too many", field->name,
                          constant_count);
    head = (struct stele_schema_field){ .type = (uint8_t)field->type, .offset = field->offset,
                                        .name_bytes = (uint16_t)name_bytes_of(field->name),
                                        .attribute_count = (uint16_t)constant_count };
    head.element_bytes = field->bytes ? field->bytes : stele_type_bytes(field->type);
    memcpy(head.dims, field->dims, sizeof(head.dims));
    put(sink, &head, sizeof(head));
    put(sink, field->name, head.name_bytes);
    for (size_t i = 0; i < constant_count; i++) {
        size_t name_bytes = name_bytes_of(own->constants[i].name);
        struct stele_schema_attribute attribute = { .tag = STELE_ATTRIBUTE_ENUM };

        attribute.bytes = (uint16_t)(ENUM_VALUE_BYTES + name_bytes);
        put(sink, &attribute, sizeof(attribute));
        put(sink, &own->constants[i].value, ENUM_VALUE_BYTES);
        put(sink, own->constants[i].name, name_bytes);
    }
    put(sink, zeros, (8 - sink->byte_count % 8) % 8);
    if (sink->byte_count > STELE_SCHEMA_BYTES_MAX)
        return stele_fail(STELE_E_SCHEMA, "field `%s`: the schema up to it takes more than %u bytes",
                          field->name, STELE_SCHEMA_BYTES_MAX);
    head.bytes = (uint16_t)(sink->byte_count - start);
    memcpy(sink->bytes + start, &head, sizeof(head));
    return STELE_OK;
}

int stele_schema_make(const char *name, uint64_t record_bytes, uint32_t pack,
                      const struct stele_field *fields, const struct stele_field_enum *enums,
                      size_t field_count, struct stele_schema **out)
{
    struct stele_schema_head head = { .version = STELE_SCHEMA_VERSION, .record_bytes = record_bytes,
                                      .pack = pack };
    struct sink sink = { malloc(STELE_SCHEMA_BYTES_MAX), 0 };
    int rc = STELE_OK;

    if (!sink.bytes)
        return stele_fail(STELE_E_NOMEM, "schema: no memory for %u bytes", STELE_SCHEMA_BYTES_MAX);
    if (field_count > STELE_FIELD_COUNT_MAX) {
        rc = stele_fail(STELE_E_SCHEMA, "schema: %zu fields; 1 to %zu are possible", field_count,
                        STELE_FIELD_COUNT_MAX);
        goto out;
    }
    memcpy(head.name, name ? name : "", name_bytes_of(name));
    put(&sink, &head, sizeof(head));
    for (size_t i = 0; i < field_count; i++) {
        rc = encode_field(&sink, &fields[i], enums ? &enums[i] : NULL, i);
        if (rc)
            goto out;
    }
    head.bytes = (uint32_t)sink.byte_count;
    head.field_count = (uint32_t)field_count;
    memcpy(sink.bytes, &head, sizeof(head));
    rc = load(sink.bytes, sink.byte_count, STELE_E_SCHEMA, out);
out:
    free(sink.bytes);
    return rc;
}

