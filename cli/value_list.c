/* Lists: "[v, v]", nested as the dimensions of the field are; elements bare or as JSON strings. */
#include "value.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct list_reader {
    const struct stele_schema *schema;
    const struct value_part *part;
    const char *place, *end;
    unsigned flags;
    unsigned char *record;
    char *error;           /* VALUE_ERROR_BYTES */
    uint64_t done_count;   /* elements read */
    struct text element;   /* the one being read, without its quotes */
};

static void skip_blanks(struct list_reader *reader)
{
    while (reader->place < reader->end && (*reader->place == ' ' || *reader->place == '\t'))
        reader->place++;
}

static bool take(struct list_reader *reader, char c)
{
    skip_blanks(reader);
    if (reader->place == reader->end || *reader->place != c)
        return false;
    reader->place++;
    return true;
}

static int say(struct list_reader *reader, const char *what)
{
    snprintf(reader->error, VALUE_ERROR_BYTES, "%s at element %" PRIu64 "; a list looks like [1, 2, 3]", what,
             reader->done_count);
    return STELE_E_USAGE;
}

/* The four hex digits of a \u escape, as UTF-8. Surrogates are refused: the character itself can be given. */
static int read_unicode(struct list_reader *reader)
{
    uint32_t code = 0;

    for (unsigned i = 0; i < 4; i++) {
        static const char digits[] = "0123456789abcdef";
        char c = reader->place < reader->end ? *reader->place : '\0';
        const char *digit = c ? strchr(digits, c >= 'A' && c <= 'F' ? c + 0x20 : c) : NULL;

        if (!digit)
            return say(reader, "\\u needs four hex digits");
        code = code << 4 | (uint32_t)(digit - digits);
        reader->place++;
    }
    if (code >= 0xd800 && code <= 0xdfff)
        return say(reader, "\\u with half of a character: write the character itself");
    if (code >= 0x800)
        text_add_char(&reader->element, (char)(0xe0 | code >> 12));
    if (code >= 0x80) {
        text_add_char(&reader->element, (char)(code >= 0x800 ? 0x80 | (code >> 6 & 0x3f) : 0xc0 | code >> 6));
        code = 0x80 | (code & 0x3f);
    }
    text_add_char(&reader->element, (char)code);
    return STELE_OK;
}

static int read_string(struct list_reader *reader)
{
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    int rc = STELE_OK;

    while (reader->place < reader->end && *reader->place != '"' && !rc) {
        char c = *reader->place++;
        const char *letter = NULL;

        if (c != '\\') {
            text_add_char(&reader->element, c);
            continue;
        }
        c = reader->place < reader->end ? *reader->place++ : '\0';
        letter = c ? strchr(letters, c) : NULL;
        if (letter)
            text_add_char(&reader->element, meanings[letter - letters]);
        else
            rc = c == 'u' ? read_unicode(reader) : say(reader, "unknown escape in a string");
    }
    if (!rc && !take(reader, '"'))
        rc = say(reader, "a string without its closing quote");
    return rc;
}

static int read_element(struct list_reader *reader)
{
    int rc = STELE_OK;

    text_clear(&reader->element);
    if (take(reader, '"')) {
        rc = read_string(reader);
        if (rc)
            return rc;
    } else {
        const char *from = reader->place;

        while (reader->place < reader->end && *reader->place != ',' && *reader->place != ']')
            reader->place++;
        while (reader->place > from && reader->place[-1] == ' ')
            reader->place--;
        if (reader->place == from)
            return say(reader, "nothing where a value is expected");
        text_add(&reader->element, from, (size_t)(reader->place - from));
    }
    rc = value_parse(reader->schema, reader->part->field_index,
                     reader->part->first_element + reader->done_count,
                     reader->element.bytes ? reader->element.bytes : "", reader->element.length,
                     reader->flags, reader->record, reader->error);
    if (!rc)
        reader->done_count++;
    return rc;
}

/* Read the list of dimension @dim; there are at most four. */
static int read_list(struct list_reader *reader, unsigned dim)
{
    const struct stele_field *field = stele_schema_field(reader->schema, reader->part->field_index);
    int rc = STELE_OK;

    if (dim == 4 || !field->dims[dim])
        return read_element(reader);
    if (!take(reader, '['))
        return say(reader, "expected [");
    for (uint32_t i = 0; i < field->dims[dim] && !rc; i++) {
        if (i && !take(reader, ','))
            rc = say(reader, "expected a comma (too few values?)");
        else
            rc = read_list(reader, dim + 1);
    }
    if (!rc && !take(reader, ']'))
        rc = say(reader, "expected ] (too many values?)");
    return rc;
}

int value_parse_part(const struct stele_schema *schema, const struct value_part *part, const char *bytes,
                     size_t byte_count, unsigned flags, void *record, char error[VALUE_ERROR_BYTES])
{
    struct list_reader reader = { .schema = schema, .part = part, .place = bytes, .end = bytes + byte_count,
                                  .flags = flags, .record = record, .error = error };
    int rc = STELE_OK;

    if (!part->is_list)
        return value_parse(schema, part->field_index, part->first_element, bytes, byte_count, flags, record,
                           error);
    rc = read_list(&reader, part->dim_first);
    skip_blanks(&reader);
    if (!rc && reader.place < reader.end)
        rc = say(&reader, "something stands behind the list");
    text_done(&reader.element);
    return rc;
}
