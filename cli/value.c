#include "value.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN_BYTES_MAX = 48, NUMBER_BYTES_MAX = 400 };

static const char *const type_names[] = { "?",   "i8",  "u8",  "i16", "u16",  "i32",  "u32",
                                          "i64", "u64", "f32", "f64", "bool", "text", "bytes" };

uint64_t value_element_count(const struct stele_field *field)
{
    uint64_t count = 1;

    for (unsigned i = 0; i < 4 && field->dims[i]; i++)
        count *= field->dims[i];
    return count;
}

uint32_t value_element_bytes(const struct stele_field *field)
{
    static const uint32_t bytes[] = { 0, 1, 1, 2, 2, 4, 4, 8, 8, 4, 8, 1, 0, 0 };

    return field->bytes || field->type > STELE_BYTES ? field->bytes : bytes[field->type];
}

/* A value as messages show it: short, and without control characters. */
struct shown {
    char text[SHOWN_BYTES_MAX + 8];
};

static struct shown show(const char *bytes, size_t byte_count)
{
    struct shown out = { "\"" };
    size_t length = 1, done_bytes = 0;

    while (done_bytes < byte_count && length < SHOWN_BYTES_MAX) {
        size_t character_bytes = utf8_character(bytes + done_bytes, byte_count - done_bytes);

        if (character_bytes && (unsigned char)bytes[done_bytes] >= 0x20) {
            memcpy(out.text + length, bytes + done_bytes, character_bytes);
            length += character_bytes;
        } else {
            out.text[length++] = '?';
        }
        done_bytes += character_bytes ? character_bytes : 1;
    }
    memcpy(out.text + length, done_bytes < byte_count ? "…\"" : "\"", done_bytes < byte_count ? 5 : 2);
    return out;
}

/* ---- integers ---- */

static unsigned hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return (unsigned)(c - '0');
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10 : 16;
}

/* Digits with sign, or 0x…, to a magnitude. STELE_E_RANGE: a number, but above 64 bits. */
static int parse_magnitude(const char *bytes, size_t byte_count, uint64_t *out, bool *out_is_negative)
{
    size_t i = byte_count && (bytes[0] == '-' || bytes[0] == '+') ? 1 : 0;
    bool is_hex = byte_count - i > 2 && bytes[i] == '0' && (bytes[i + 1] == 'x' || bytes[i + 1] == 'X');
    unsigned base = is_hex ? 16 : 10;
    bool is_above = false;
    uint64_t magnitude = 0;

    *out_is_negative = byte_count && bytes[0] == '-';
    i += is_hex ? 2 : 0;
    if (i == byte_count)
        return STELE_E_USAGE;
    for (; i < byte_count; i++) {
        unsigned digit = hex_digit(bytes[i]);

        if (digit >= base)
            return STELE_E_USAGE;
        is_above = is_above || magnitude > (UINT64_MAX - digit) / base;
        magnitude = magnitude * base + digit;
    }
    *out = magnitude;
    return is_above ? STELE_E_RANGE : STELE_OK;
}

static bool find_enum(const struct stele_schema *schema, size_t field_index, const char *bytes,
                      size_t byte_count, int32_t *out)
{
    const char *name = NULL;

    for (size_t i = 0; (name = stele_schema_enum(schema, field_index, i, out)) != NULL; i++)
        if (strlen(name) == byte_count && !memcmp(name, bytes, byte_count))
            return true;
    return false;
}

static int parse_integer(const struct stele_schema *schema, size_t field_index, const char *bytes,
                         size_t byte_count, uint64_t *out, char error[VALUE_ERROR_BYTES])
{
    uint32_t type = stele_schema_field(schema, field_index)->type;
    bool is_signed = type == STELE_I8 || type == STELE_I16 || type == STELE_I32 || type == STELE_I64;
    unsigned bits = 8 * value_element_bytes(stele_schema_field(schema, field_index));
    uint64_t highest = UINT64_MAX >> (64 - bits + (is_signed ? 1 : 0));
    uint64_t lowest = is_signed ? highest + 1 : 0; /* its magnitude */
    bool is_negative = false, is_enum = false;
    uint64_t magnitude = 0;
    int32_t constant = 0;
    int rc = parse_magnitude(bytes, byte_count, &magnitude, &is_negative);

    is_enum = stele_schema_enum(schema, field_index, 0, &constant) != NULL;
    if (rc == STELE_E_USAGE && find_enum(schema, field_index, bytes, byte_count, &constant)) {
        *out = (uint64_t)(int64_t)constant;
        return STELE_OK;
    }
    if (rc == STELE_E_USAGE) {
        snprintf(error, VALUE_ERROR_BYTES, "%s is not an integer%s", show(bytes, byte_count).text,
                 is_enum ? " and not the name of a constant of this field" : "");
        return rc;
    }
    if (rc || magnitude > (is_negative ? lowest : highest)) {
        snprintf(error, VALUE_ERROR_BYTES, "%s does not fit %s: %s%" PRIu64 " to %" PRIu64,
                 show(bytes, byte_count).text, type_names[type], lowest ? "-" : "", lowest, highest);
        return STELE_E_RANGE;
    }
    *out = is_negative ? 0 - magnitude : magnitude;
    return STELE_OK;
}

/* ---- floats ---- */

static bool is_float_text(const char *bytes, size_t byte_count)
{
    size_t i = 0, digit_count = 0;

    if (i < byte_count && (bytes[i] == '-' || bytes[i] == '+'))
        i++;
    for (bool is_point_seen = false; i < byte_count; i++) {
        if (bytes[i] >= '0' && bytes[i] <= '9')
            digit_count++;
        else if (bytes[i] == '.' && !is_point_seen)
            is_point_seen = true;
        else
            break;
    }
    if (!digit_count || i == byte_count)
        return digit_count > 0;
    if (bytes[i] != 'e' && bytes[i] != 'E')
        return false;
    i++;
    if (i < byte_count && (bytes[i] == '-' || bytes[i] == '+'))
        i++;
    digit_count = byte_count - i;
    while (i < byte_count && bytes[i] >= '0' && bytes[i] <= '9')
        i++;
    return digit_count > 0 && i == byte_count;
}

static bool same_word(const char *bytes, size_t byte_count, const char *word)
{
    if (strlen(word) != byte_count)
        return false;
    for (size_t i = 0; i < byte_count; i++)
        if ((bytes[i] | 0x20) != (word[i] | 0x20))
            return false;
    return true;
}

static bool parse_special(const char *bytes, size_t byte_count, double *out)
{
    size_t sign_bytes = byte_count && (bytes[0] == '-' || bytes[0] == '+') ? 1 : 0;

    if (same_word(bytes + sign_bytes, byte_count - sign_bytes, "nan"))
        *out = (double)NAN;
    else if (same_word(bytes + sign_bytes, byte_count - sign_bytes, "inf") ||
             same_word(bytes + sign_bytes, byte_count - sign_bytes, "infinity"))
        *out = (double)INFINITY;
    else
        return false;
    if (sign_bytes && bytes[0] == '-')
        *out = -*out;
    return true;
}

/* The text as strtod wants it: zero-terminated. What is longer comes from memory. */
static double read_double(const char *bytes, size_t byte_count, bool is_f32)
{
    char small[NUMBER_BYTES_MAX];
    struct text large = { 0 };
    const char *from = small;
    double value = 0;

    if (byte_count < sizeof small) {
        memcpy(small, bytes, byte_count);
        small[byte_count] = '\0';
    } else {
        text_add(&large, bytes, byte_count);
        from = large.bytes;
    }
    value = is_f32 ? (double)strtof(from, NULL) : strtod(from, NULL);
    text_done(&large);
    return value;
}

static int parse_float(uint32_t type, const char *bytes, size_t byte_count, void *out,
                       char error[VALUE_ERROR_BYTES])
{
    double value = 0;
    float narrow = 0;

    if (!parse_special(bytes, byte_count, &value)) {
        if (!is_float_text(bytes, byte_count)) {
            snprintf(error, VALUE_ERROR_BYTES, "%s is not a number", show(bytes, byte_count).text);
            return STELE_E_USAGE;
        }
        value = read_double(bytes, byte_count, type == STELE_F32);
        if (value_is_infinite(value)) {
            snprintf(error, VALUE_ERROR_BYTES, "%s does not fit %s: up to %s", show(bytes, byte_count).text,
                     type_names[type], type == STELE_F32 ? "3.4028235e+38" : "1.7976931348623157e+308");
            return STELE_E_RANGE;
        }
    }
    narrow = (float)value;
    memcpy(out, type == STELE_F32 ? (const void *)&narrow : &value, type == STELE_F32 ? 4 : 8);
    return STELE_OK;
}

/* ---- bool, text, bytes ---- */

static int parse_bool(const char *bytes, size_t byte_count, unsigned char *out, char error[VALUE_ERROR_BYTES])
{
    if (same_word(bytes, byte_count, "true") || (byte_count == 1 && bytes[0] == '1')) {
        *out = 1;
    } else if (same_word(bytes, byte_count, "false") || (byte_count == 1 && bytes[0] == '0')) {
        *out = 0;
    } else {
        snprintf(error, VALUE_ERROR_BYTES, "%s is not true, false, 1 or 0", show(bytes, byte_count).text);
        return STELE_E_USAGE;
    }
    return STELE_OK;
}

static int parse_text(const char *bytes, size_t byte_count, unsigned flags, unsigned char *out,
                      size_t room_bytes, char error[VALUE_ERROR_BYTES])
{
    size_t valid_bytes = utf8_valid(bytes, byte_count), fitting_bytes = 0;

    if (valid_bytes < byte_count) {
        snprintf(error, VALUE_ERROR_BYTES, "byte %zu of %s (0x%02x) is not UTF-8", valid_bytes,
                 show(bytes, byte_count).text, (unsigned)(unsigned char)bytes[valid_bytes]);
        return STELE_E_USAGE;
    }
    if (byte_count && memchr(bytes, 0, byte_count)) {
        snprintf(error, VALUE_ERROR_BYTES, "%s holds a zero character, which ends a text",
                 show(bytes, byte_count).text);
        return STELE_E_USAGE;
    }
    if (byte_count > room_bytes && !(flags & VALUE_TRUNCATE)) {
        snprintf(error, VALUE_ERROR_BYTES, "%s has %zu bytes, the field %zu", show(bytes, byte_count).text,
                 byte_count, room_bytes);
        return STELE_E_RANGE;
    }
    while (fitting_bytes < byte_count) {
        size_t character_bytes = utf8_character(bytes + fitting_bytes, byte_count - fitting_bytes);

        if (fitting_bytes + character_bytes > room_bytes)
            break;
        fitting_bytes += character_bytes;
    }
    memset(out, 0, room_bytes);
    if (fitting_bytes)
        memcpy(out, bytes, fitting_bytes);
    return STELE_OK;
}

static int parse_bytes(const char *bytes, size_t byte_count, unsigned char *out, size_t room_bytes,
                       char error[VALUE_ERROR_BYTES])
{
    for (size_t i = 0; i < byte_count; i++) {
        if (hex_digit(bytes[i]) < 16)
            continue;
        snprintf(error, VALUE_ERROR_BYTES, "%s is not hex: two digits 0-9, a-f for each byte",
                 show(bytes, byte_count).text);
        return STELE_E_USAGE;
    }
    if (byte_count % 2) {
        snprintf(error, VALUE_ERROR_BYTES, "%s has an odd number of hex digits; a byte has two",
                 show(bytes, byte_count).text);
        return STELE_E_USAGE;
    }
    if (byte_count / 2 > room_bytes) {
        snprintf(error, VALUE_ERROR_BYTES, "%s has %zu bytes, the field %zu", show(bytes, byte_count).text,
                 byte_count / 2, room_bytes);
        return STELE_E_RANGE;
    }
    memset(out, 0, room_bytes);
    for (size_t i = 0; i < byte_count / 2; i++)
        out[i] = (unsigned char)(hex_digit(bytes[2 * i]) << 4 | hex_digit(bytes[2 * i + 1]));
    return STELE_OK;
}

int value_parse(const struct stele_schema *schema, size_t field_index, uint64_t element_index,
                const char *bytes, size_t byte_count, unsigned flags, void *record,
                char error[VALUE_ERROR_BYTES])
{
    const struct stele_field *field = stele_schema_field(schema, field_index);
    size_t element_bytes = value_element_bytes(field);
    unsigned char *out = (unsigned char *)record + field->offset + element_index * element_bytes;
    uint64_t integer = 0;
    int rc = STELE_OK;

    assert(element_index < value_element_count(field));
    switch (field->type) {
    case STELE_F32:
    case STELE_F64:
        return parse_float(field->type, bytes, byte_count, out, error);
    case STELE_BOOL:
        return parse_bool(bytes, byte_count, out, error);
    case STELE_TEXT:
        return parse_text(bytes, byte_count, flags, out, element_bytes, error);
    case STELE_BYTES:
        return parse_bytes(bytes, byte_count, out, element_bytes, error);
    default:
        rc = parse_integer(schema, field_index, bytes, byte_count, &integer, error);
        if (!rc)
            memcpy(out, &integer, element_bytes);
        return rc;
    }
}

void value_set_null(const struct stele_schema *schema, size_t field_index, uint64_t element_index,
                    void *record)
{
    const struct stele_field *field = stele_schema_field(schema, field_index);
    size_t element_bytes = value_element_bytes(field);
    unsigned char *out = (unsigned char *)record + field->offset + element_index * element_bytes;

    if (field->type == STELE_F32 || field->type == STELE_F64)
        parse_float(field->type, "nan", 3, out, NULL);
    else
        memset(out, 0, element_bytes);
}
