#include "value.h"

#include <assert.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const unsigned char *element_at(const struct stele_field *field, uint64_t element_index,
                                       const void *record)
{
    return (const unsigned char *)record + field->offset + element_index * value_element_bytes(field);
}

/* ---- numbers ---- */

static bool is_signed(uint32_t type)
{
    return type == STELE_I8 || type == STELE_I16 || type == STELE_I32 || type == STELE_I64;
}

static void print_integer(uint32_t type, const unsigned char *from, size_t element_bytes, struct text *out)
{
    uint64_t word = 0;
    unsigned unused_bits = 64 - 8 * (unsigned)element_bytes;

    memcpy(&word, from, element_bytes);
    if (is_signed(type) && word >> (63 - unused_bits))
        text_add_format(out, "-%" PRIu64, 0 - (word | ~(UINT64_MAX >> unused_bits)));
    else
        text_add_format(out, "%" PRIu64, word);
}

static double read_float(uint32_t type, const unsigned char *from)
{
    float narrow = 0;
    double wide = 0;

    if (type == STELE_F32) {
        memcpy(&narrow, from, sizeof narrow);
        return (double)narrow;
    }
    memcpy(&wide, from, sizeof wide);
    return wide;
}

static bool reads_back(const char *digits, uint32_t type, double value)
{
    double back = type == STELE_F32 ? (double)strtof(digits, NULL) : strtod(digits, NULL);

    return !memcmp(&back, &value, sizeof back);
}

/*
 * The shortest "d.ddde±x" that reads back as @value. A normal number that has a short form shows it, with
 * zeros behind, at DBL_DIG digits too; so only subnormal ones need the search from one digit on.
 */
static void print_shortest(char *out, size_t room, uint32_t type, double value)
{
    int sure_digits = type == STELE_F32 ? FLT_DIG : DBL_DIG;
    double smallest = type == STELE_F32 ? (double)FLT_MIN : DBL_MIN;
    int digits = value != 0 && fabs(value) < smallest ? 1 : sure_digits;

    do {
        snprintf(out, room, "%.*e", digits - 1, value);
        digits++;
    } while (digits <= 17 && !reads_back(out, type, value));
}

/* Write digits with a point where people expect it: 0.001, 1234.5; others stay scientific: 1e+21. */
static void place_point(const char *scientific, struct text *out)
{
    const char *mark = strchr(scientific, 'e');
    int exponent = (int)strtol(mark + 1, NULL, 10);
    char digits[32] = { 0 };
    int digit_count = 0;

    for (const char *c = scientific; c < mark; c++)
        if (*c >= '0' && *c <= '9')
            digits[digit_count++] = *c;
    while (digit_count > 1 && digits[digit_count - 1] == '0')
        digit_count--;
    if (scientific[0] == '-')
        text_add_char(out, '-');
    if (exponent < -5 || exponent > 16) {
        text_add(out, digits, 1);
        text_add_string(out, digit_count > 1 ? "." : "");
        text_add(out, digits + 1, (size_t)digit_count - 1);
        text_add_format(out, "e%c%d", exponent < 0 ? '-' : '+', abs(exponent));
        return;
    }
    if (exponent < 0)
        text_add_string(out, "0.");
    for (int i = exponent + 1; i < 0; i++)
        text_add_char(out, '0');
    for (int i = 0; i < digit_count || i <= exponent; i++) {
        if (i == exponent + 1 && i > 0)
            text_add_char(out, '.');
        text_add_char(out, i < digit_count ? digits[i] : '0');
    }
}

static void print_float(uint32_t type, const unsigned char *from, enum value_form form, struct text *out)
{
    double value = read_float(type, from);
    const char *quote = form == VALUE_JSON ? "\"" : "";
    char scientific[40];

    if (value_is_a_nan(value)) {
        text_add_format(out, "%sNaN%s", quote, quote);
    } else if (value_is_infinite(value)) {
        text_add_format(out, "%s%sInfinity%s", quote, value < 0 ? "-" : "", quote);
    } else {
        print_shortest(scientific, sizeof scientific, type, value);
        place_point(scientific, out);
    }
}

/* ---- text ---- */

static void add_replaced(struct text *out, const char *bytes, size_t byte_count)
{
    size_t done_bytes = 0;

    while (done_bytes < byte_count) {
        size_t valid_bytes = utf8_valid(bytes + done_bytes, byte_count - done_bytes);

        text_add(out, bytes + done_bytes, valid_bytes);
        done_bytes += valid_bytes;
        if (done_bytes < byte_count) {
            text_add_string(out, "\xef\xbf\xbd");
            done_bytes++;
        }
    }
}

static void add_shown(struct text *out, const char *bytes, size_t byte_count)
{
    size_t done_bytes = 0;

    text_add_char(out, '"');
    while (done_bytes < byte_count) {
        size_t character_bytes = utf8_character(bytes + done_bytes, byte_count - done_bytes);
        unsigned char first = (unsigned char)bytes[done_bytes];

        if (!character_bytes || first < 0x20 || first == 0x7f)
            text_add_format(out, "\\x%02x", (unsigned)first);
        else if (first == '"' || first == '\\')
            text_add_format(out, "\\%c", first);
        else
            text_add(out, bytes + done_bytes, character_bytes);
        done_bytes += character_bytes ? character_bytes : 1;
    }
    text_add_char(out, '"');
}

static int print_text(const char *bytes, size_t room_bytes, enum value_form form, unsigned flags,
                      struct text *out)
{
    const char *zero = memchr(bytes, 0, room_bytes);
    size_t byte_count = zero ? (size_t)(zero - bytes) : room_bytes;

    if (form == VALUE_SHOWN) {
        add_shown(out, bytes, byte_count);
        return STELE_OK;
    }
    if (!(flags & VALUE_REPLACE) && utf8_valid(bytes, byte_count) < byte_count)
        return STELE_E_USAGE;
    if (form == VALUE_JSON)
        text_add_json(out, bytes, byte_count);
    else
        add_replaced(out, bytes, byte_count);
    return STELE_OK;
}

/* ---- elements, parts, records ---- */

bool value_is_nan(const struct stele_schema *schema, size_t field_index, uint64_t element_index,
                  const void *record)
{
    const struct stele_field *field = stele_schema_field(schema, field_index);

    return (field->type == STELE_F32 || field->type == STELE_F64) &&
           value_is_a_nan(read_float(field->type, element_at(field, element_index, record)));
}

int value_print(const struct stele_schema *schema, size_t field_index, uint64_t element_index,
                const void *record, enum value_form form, unsigned flags, struct text *out)
{
    const struct stele_field *field = stele_schema_field(schema, field_index);
    const unsigned char *from = element_at(field, element_index, record);
    uint32_t element_bytes = value_element_bytes(field);

    assert(element_index < value_element_count(field));
    switch (field->type) {
    case STELE_F32:
    case STELE_F64:
        print_float(field->type, from, form, out);
        break;
    case STELE_BOOL:
        text_add_string(out, *from ? "true" : "false");
        break;
    case STELE_TEXT:
        return print_text((const char *)from, element_bytes, form, flags, out);
    case STELE_BYTES:
        text_add_string(out, form == VALUE_JSON ? "\"" : "");
        text_add_hex(out, from, element_bytes);
        text_add_string(out, form == VALUE_JSON ? "\"" : "");
        break;
    default:
        print_integer(field->type, from, element_bytes, out);
        break;
    }
    return STELE_OK;
}

/* As value_print_part; NaN is the string @null_text, if there is one. */
static int print_part(const struct stele_schema *schema, const struct value_part *part, const void *record,
                      enum value_form form, unsigned flags, const char *null_text, struct text *out)
{
    const struct stele_field *field = stele_schema_field(schema, part->field_index);
    size_t before_bytes = out->length;
    int rc = STELE_OK;

    for (uint64_t i = 0; i < part->element_count && !rc; i++) {
        uint64_t span = part->element_count;

        /* A bracket for each dimension that begins here, and below for each that ends here. */
        for (unsigned d = part->dim_first; part->is_list && d < 4 && field->dims[d]; d++) {
            text_add_string(out, i % span == 0 ? "[" : "");
            span /= field->dims[d];
        }
        if (null_text && value_is_nan(schema, part->field_index, part->first_element + i, record))
            text_add_json(out, null_text, strlen(null_text));
        else
            rc = value_print(schema, part->field_index, part->first_element + i, record, form, flags, out);
        span = part->element_count;
        for (unsigned d = part->dim_first; part->is_list && d < 4 && field->dims[d]; d++) {
            text_add_string(out, (i + 1) % span == 0 ? "]" : "");
            span /= field->dims[d];
        }
        if (i + 1 < part->element_count)
            text_add_string(out, form == VALUE_SHOWN ? ", " : ",");
    }
    if (rc) {
        out->length = before_bytes;
        out->bytes[before_bytes] = '\0';
    }
    return rc;
}

int value_print_part(const struct stele_schema *schema, const struct value_part *part, const void *record,
                     enum value_form form, unsigned flags, struct text *out)
{
    return print_part(schema, part, record, form, flags, NULL, out);
}

int value_print_object(const struct stele_schema *schema, const struct value_selection *selection,
                       const void *record, const struct value_style *style, struct text *out,
                       size_t *out_part_index)
{
    size_t before_bytes = out->length;
    struct text name = { 0 };
    int rc = STELE_OK;

    text_add_char(out, '{');
    for (size_t i = 0; i < selection->part_count && !rc; i++) {
        const struct value_part *part = &selection->parts[i];

        text_clear(&name);
        value_part_name(schema, part, &name);
        text_add_string(out, i ? "," : "");
        text_add_json(out, name.bytes, name.length);
        text_add_char(out, ':');
        rc = print_part(schema, part, record, VALUE_JSON, style->flags, style->null_text, out);
        if (rc && out_part_index)
            *out_part_index = i;
    }
    text_add_char(out, '}');
    if (rc) {
        out->length = before_bytes;
        out->bytes[before_bytes] = '\0';
    }
    text_done(&name);
    return rc;
}

static int print_cell(const struct stele_schema *schema, const struct value_part *part, const void *record,
                      const struct value_style *style, bool is_alone, struct text *cell, struct text *out)
{
    const struct stele_field *field = stele_schema_field(schema, part->field_index);
    const char *null_text = style->null_text;
    bool is_quoted = false;
    int rc = STELE_OK;

    if (null_text && value_is_nan(schema, part->field_index, part->first_element, record)) {
        text_add_csv(out, null_text, strlen(null_text), style->separator, false);
        return STELE_OK;
    }
    text_clear(cell);
    rc = value_print(schema, part->field_index, part->first_element, record, VALUE_PLAIN, style->flags, cell);
    if (rc)
        return rc;
    if (field->type == STELE_TEXT)
        is_quoted = (is_alone && !cell->length) ||
                    (null_text && strlen(null_text) == cell->length &&
                     (!cell->length || !memcmp(null_text, cell->bytes, cell->length)));
    text_add_csv(out, cell->bytes, cell->length, style->separator, is_quoted);
    return STELE_OK;
}

int value_print_cells(const struct stele_schema *schema, const struct value_selection *selection,
                      const void *record, const struct value_style *style, struct text *out,
                      size_t *out_part_index)
{
    size_t before_bytes = out->length;
    struct text cell = { 0 };
    int rc = STELE_OK;

    for (size_t i = 0; i < selection->part_count && !rc; i++) {
        if (i)
            text_add_char(out, style->separator);
        rc = print_cell(schema, &selection->parts[i], record, style, selection->part_count == 1, &cell, out);
        if (rc && out_part_index)
            *out_part_index = i;
    }
    if (rc && out->bytes) {
        out->length = before_bytes;
        out->bytes[before_bytes] = '\0';
    }
    text_done(&cell);
    return rc;
}
