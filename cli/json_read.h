/*
 * NDJSON: one JSON object a line, handed out value by value, with the place of each.
 *
 * Numbers are handed out as the text that stands in the file, so that no digit is lost. A key is known or
 * it is an error, and no line has one twice. Values are scalars or arrays of scalars, at most
 * JSON_DEPTH_MAX deep. A line of nothing but white space is passed over. Memory is bounded by the longest
 * line.
 *
 * Not here: what a value means for its field.
 */
#ifndef STELE_CLI_JSON_READ_H
#define STELE_CLI_JSON_READ_H

#include "input.h"

#define JSON_LINE_BYTES_MAX ((size_t)128 << 20) /* enough for any record */
#define JSON_DEPTH_MAX 4

enum json_kind {
    JSON_NULL,
    JSON_BOOL,     /* text is "true" or "false" */
    JSON_NUMBER,   /* text as it stands in the file */
    JSON_TEXT,     /* text with its escapes resolved: UTF-8, but surrogates are let through */
    JSON_ARRAY_END /* index[depth] is how many elements it had */
};

struct json_value {
    enum json_kind kind;
    size_t key_index;
    size_t depth;                       /* in how many arrays it stands */
    uint64_t index[JSON_DEPTH_MAX + 1]; /* its place in each, outermost first */
    const char *text;                   /* no zero byte follows; may hold some */
    size_t bytes;
    struct input_place place; /* of its first byte; of an array the closing bracket */
};

/* What a reader tells its user. Both are called with the context given to json_reader_init. */
struct json_sink {
    /* Put the index of the key with the @bytes bytes at @key to *@out_key_index; false: there is none. */
    bool (*find_key)(void *context, const char *key, size_t bytes, size_t *out_key_index);
    /* Take @value. A code other than STELE_OK ends the line, and json_read_row returns it. */
    int (*take_value)(void *context, const struct json_value *value);
};

struct json_problem {
    char text[256]; /* what is wrong and what to do */
    struct input_place place;
};

struct json_reader;

/*
 * Make *@out_reader read lines of @input, at most @line_bytes_max long, and hand their values to @sink,
 * called with @context; find_key gives indexes below @key_count.
 *
 * Errors:  STELE_E_NOMEM
 * Owner:   caller frees *out_reader; @input and @sink stay the caller's
 */
int json_reader_new(struct input *input, const struct json_sink *sink, void *context, size_t key_count,
                    size_t line_bytes_max, struct json_reader **out_reader);
void json_reader_free(struct json_reader *reader); /* NULL is fine */

/*
 * Read the next line and hand out its values. With @skip it is passed over unread.
 *
 * Errors:  STELE_END no line is left; STELE_E_FORMAT malformed, an unknown key or a double one:
 *          json_reader_problem says what and where; STELE_E_TOO_BIG the line is too long;
 *          STELE_E_NOMEM; what take_value and the source of the input say.
 *          The next call goes on with the next line
 */
int json_read_row(struct json_reader *reader, bool skip);

/* The problem of the last STELE_E_FORMAT or STELE_E_TOO_BIG; owned by the reader. */
const struct json_problem *json_reader_problem(const struct json_reader *reader);
/* Where the line of the last json_read_row begins. */
struct input_place json_reader_place(const struct json_reader *reader);

#endif
