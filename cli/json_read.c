#include "json_read.h"

#include "stele.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yajl/yajl_parse.h>

struct json_reader {
    struct input *input;
    const struct json_sink *sink;
    void *context;
    char *line; /* a line feed follows, so that its last token is seen to end */
    size_t line_bytes, line_capacity, line_bytes_max;
    struct input_place place; /* of the line */
    uint64_t row_number;
    uint64_t *seen_row_numbers; /* per key: the last row that had it */
    yajl_handle parser;
    size_t token_end; /* behind the last token, in the line */
    bool is_in_object, is_complete;
    struct json_value value;
    int code; /* what stopped the parser from inside */
    struct json_problem problem;
};

int json_reader_new(struct input *input, const struct json_sink *sink, void *context, size_t key_count,
                    size_t line_bytes_max, struct json_reader **out_reader)
{
    struct json_reader *reader = calloc(1, sizeof *reader);

    if (!reader)
        return STELE_E_NOMEM;
    reader->seen_row_numbers = calloc(key_count ? key_count : 1, sizeof *reader->seen_row_numbers);
    if (!reader->seen_row_numbers) {
        json_reader_free(reader);
        return STELE_E_NOMEM;
    }
    reader->input = input;
    reader->sink = sink;
    reader->context = context;
    reader->line_bytes_max = line_bytes_max;
    *out_reader = reader;
    return STELE_OK;
}

void json_reader_free(struct json_reader *reader)
{
    if (!reader)
        return;
    free(reader->seen_row_numbers);
    free(reader->line);
    free(reader);
}

const struct json_problem *json_reader_problem(const struct json_reader *reader)
{
    return &reader->problem;
}

struct input_place json_reader_place(const struct json_reader *reader)
{
    return reader->place;
}

static struct input_place place_in_line(const struct json_reader *reader, size_t offset)
{
    struct input_place place = reader->place;

    place.column += offset;
    return place;
}

static void set_problem(struct json_reader *reader, size_t offset, const char *text)
{
    snprintf(reader->problem.text, sizeof reader->problem.text, "%s", text);
    reader->problem.place = place_in_line(reader, offset);
}

/* Note the problem at @offset of the line. Returns 0: the parser stops. */
static int stop(struct json_reader *reader, size_t offset, const char *text)
{
    set_problem(reader, offset, text);
    reader->code = STELE_E_FORMAT;
    return 0;
}

/* Between two tokens stands nothing but this. */
static bool is_between_tokens(char byte)
{
    return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n' || byte == ',' || byte == ':';
}

/* Where the token that the parser just took begins. */
static size_t take_token(struct json_reader *reader)
{
    size_t begin = reader->token_end;

    while (begin < reader->line_bytes && is_between_tokens(reader->line[begin]))
        begin++;
    reader->token_end = yajl_get_bytes_consumed(reader->parser);
    return begin;
}

static int hand_out(struct json_reader *reader, enum json_kind kind, const char *text, size_t bytes,
                    size_t begin)
{
    struct json_value *value = &reader->value;

    if (!reader->is_in_object)
        return stop(reader, begin, "a line must be one object: {\"field\": value, …}");
    value->kind = kind;
    value->text = text;
    value->bytes = bytes;
    value->place = place_in_line(reader, begin);
    reader->code = reader->sink->take_value(reader->context, value);
    if (value->depth > 0)
        value->index[value->depth - 1]++;
    return reader->code == STELE_OK;
}

static int on_null(void *context)
{
    struct json_reader *reader = context;

    return hand_out(reader, JSON_NULL, "null", 4, take_token(reader));
}

static int on_boolean(void *context, int is_true)
{
    struct json_reader *reader = context;

    return hand_out(reader, JSON_BOOL, is_true ? "true" : "false", is_true ? 4 : 5, take_token(reader));
}

static int on_number(void *context, const char *text, size_t bytes)
{
    struct json_reader *reader = context;

    return hand_out(reader, JSON_NUMBER, text, bytes, take_token(reader));
}

static int on_string(void *context, const unsigned char *text, size_t bytes)
{
    struct json_reader *reader = context;

    return hand_out(reader, JSON_TEXT, (const char *)text, bytes, take_token(reader));
}

static int on_start_map(void *context)
{
    struct json_reader *reader = context;
    size_t begin = take_token(reader);

    if (reader->is_in_object)
        return stop(reader, begin,
                    "an object inside a record: nested fields are written flat, as \"outer.inner\"");
    if (reader->value.depth > 0)
        return stop(reader, begin, "a line must be one object: {\"field\": value, …}");
    reader->is_in_object = true;
    return 1;
}

static int on_end_map(void *context)
{
    struct json_reader *reader = context;

    take_token(reader);
    reader->is_complete = true;
    return 1;
}

static int on_map_key(void *context, const unsigned char *key, size_t bytes)
{
    struct json_reader *reader = context;
    size_t begin = take_token(reader);
    const char *what = NULL;
    char text[192];

    if (!reader->sink->find_key(reader->context, (const char *)key, bytes, &reader->value.key_index))
        what = "no such field";
    else if (reader->seen_row_numbers[reader->value.key_index] == reader->row_number)
        what = "this key stands in the object twice";
    if (what) {
        snprintf(text, sizeof text, "%s: \"%.*s\"", what, bytes < 100 ? (int)bytes : 100, (const char *)key);
        return stop(reader, begin, text);
    }
    reader->seen_row_numbers[reader->value.key_index] = reader->row_number;
    return 1;
}

static int on_start_array(void *context)
{
    struct json_reader *reader = context;
    size_t begin = take_token(reader);

    if (!reader->is_in_object)
        return stop(reader, begin, "a line must be one object: {\"field\": value, …}");
    if (reader->value.depth == JSON_DEPTH_MAX)
        return stop(reader, begin, "arrays are at most four deep");
    reader->value.index[reader->value.depth++] = 0;
    return 1;
}

static int on_end_array(void *context)
{
    struct json_reader *reader = context;
    size_t begin = take_token(reader);

    assert(reader->value.depth > 0);
    reader->value.depth--;
    return hand_out(reader, JSON_ARRAY_END, "]", 1, begin);
}

static const yajl_callbacks callbacks = {
    .yajl_null = on_null,
    .yajl_boolean = on_boolean,
    .yajl_number = on_number,
    .yajl_string = on_string,
    .yajl_start_map = on_start_map,
    .yajl_map_key = on_map_key,
    .yajl_end_map = on_end_map,
    .yajl_start_array = on_start_array,
    .yajl_end_array = on_end_array,
};

/* The four hexadecimal digits at @text, or -1. */
static int32_t hex_unit(const char *text, const char *end)
{
    int32_t unit = 0;

    if (end - text < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        char c = text[i];

        if (c >= '0' && c <= '9')
            unit = unit << 4 | (c - '0');
        else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))
            unit = unit << 4 | ((c | 0x20) - 'a' + 10);
        else
            return -1;
    }
    return unit;
}

/*
 * yajl turns half a surrogate pair into a question mark. Backslashes stand in strings only, so all escapes
 * of a line can be looked at before it is parsed.
 */
static bool has_lone_surrogate(const struct json_reader *reader, size_t *out_offset)
{
    const char *end = reader->line + reader->line_bytes;
    const char *at = reader->line;

    while ((at = memchr(at, '\\', (size_t)(end - at))) != NULL && end - at >= 2) {
        int32_t unit = at[1] == 'u' ? hex_unit(at + 2, end) : -1;

        *out_offset = (size_t)(at - reader->line);
        if (unit >= 0xDC00 && unit <= 0xDFFF)
            return true;
        if (unit >= 0xD800 && unit <= 0xDBFF) {
            int32_t low = end - at >= 8 && at[6] == '\\' && at[7] == 'u' ? hex_unit(at + 8, end) : -1;

            if (low < 0xDC00 || low > 0xDFFF)
                return true;
            at += 10;
        }
        at += 2;
    }
    return false;
}

/*
 * Where the byte stands that the parser cannot go on with. It has taken that byte if it begins no token or is
 * not UTF-8, not yet in the midst of a token, and the whole token if that is well-formed but out of place.
 */
static size_t error_offset(const struct json_reader *reader, const char *text)
{
    size_t consumed = yajl_get_bytes_consumed(reader->parser);
    size_t offset = reader->token_end;

    if (strncmp(text, "parse error", strlen("parse error")) == 0) {
        while (offset < reader->line_bytes && is_between_tokens(reader->line[offset]))
            offset++;
        return offset;
    }
    if (consumed > 0 && (strstr(text, "invalid char in") || strstr(text, "invalid bytes")))
        consumed--;
    return consumed < reader->line_bytes ? consumed : reader->line_bytes;
}

/* yajl says "lexical error: invalid char in json text.\n". */
static void set_parser_problem(struct json_reader *reader)
{
    unsigned char *text = yajl_get_error(reader->parser, 0, NULL, 0);
    const char *sentence = text ? (const char *)text : "error";
    const char *colon = strstr(sentence, ": ");

    size_t offset = error_offset(reader, sentence);

    sentence = colon ? colon + 2 : sentence;
    if (offset == reader->line_bytes)
        sentence = "the line ends in the midst of it";
    snprintf(reader->problem.text, sizeof reader->problem.text, "not JSON: %.*s",
             (int)strcspn(sentence, ".\n"), sentence);
    reader->problem.place = place_in_line(reader, offset);
    if (text)
        yajl_free_error(reader->parser, text);
}

static int parse_line(struct json_reader *reader)
{
    yajl_status status = yajl_status_ok;

    reader->parser = yajl_alloc(&callbacks, NULL, reader);
    if (!reader->parser)
        return STELE_E_NOMEM;
    status = yajl_parse(reader->parser, (const unsigned char *)reader->line, reader->line_bytes + 1);
    if (status == yajl_status_ok && !reader->is_complete) {
        set_problem(reader, reader->line_bytes, "not JSON: the line ends in the midst of it");
        reader->code = STELE_E_FORMAT;
    } else if (status == yajl_status_error) {
        set_parser_problem(reader);
        reader->code = STELE_E_FORMAT;
    }
    yajl_free(reader->parser);
    reader->parser = NULL;
    return reader->code;
}

static int grow_line(struct json_reader *reader)
{
    size_t capacity = reader->line_capacity ? reader->line_capacity * 2 : 4096;
    char *line = realloc(reader->line, capacity);

    if (!line)
        return STELE_E_NOMEM;
    reader->line = line;
    reader->line_capacity = capacity;
    return STELE_OK;
}

/* Up to the line feed, which is taken and does not count. */
static int read_line(struct json_reader *reader)
{
    struct input *input = reader->input;
    int byte = 0;

    reader->line_bytes = 0;
    reader->place = input->place;
    do {
        byte = input_peek(input);
        if (reader->line_bytes == reader->line_bytes_max) {
            set_problem(reader, reader->line_bytes, "the line is longer than any record needs");
            input_take_line(input);
            return STELE_E_TOO_BIG;
        }
        if (reader->line_bytes == reader->line_capacity && grow_line(reader) != STELE_OK)
            return STELE_E_NOMEM;
        if (byte >= 0)
            input_take(input);
        reader->line[reader->line_bytes++] = (char)(byte < 0 ? '\n' : byte);
    } while (byte >= 0 && byte != '\n');
    reader->line_bytes--;
    if (byte == INPUT_FAILED)
        return input->code;
    return byte == '\n' || reader->line_bytes > 0 ? STELE_OK : STELE_END;
}

static bool is_blank(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (text[i] != ' ' && text[i] != '\t' && text[i] != '\r')
            return false;
    return true;
}

int json_read_row(struct json_reader *reader, bool skip)
{
    size_t offset = 0;
    int rc = STELE_OK;

    do
        rc = read_line(reader);
    while (!rc && is_blank(reader->line, reader->line_bytes));
    if (rc || skip)
        return rc;
    reader->row_number++;
    reader->token_end = 0;
    reader->is_in_object = reader->is_complete = false;
    memset(&reader->value, 0, sizeof reader->value);
    reader->code = STELE_OK;
    if (has_lone_surrogate(reader, &offset)) {
        set_problem(reader, offset,
                    "half a surrogate pair: characters above U+FFFF are two \\u escapes, or UTF-8");
        return STELE_E_FORMAT;
    }
    return parse_line(reader);
}
