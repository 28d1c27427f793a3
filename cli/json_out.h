/*
 * JSON output: one value a line, indented by two blanks, keys in the order they are given.
 *
 * A zeroed struct writes a new document. Every function takes the key, NULL inside arrays and for the
 * outermost value.
 */
#ifndef STELE_CLI_JSON_OUT_H
#define STELE_CLI_JSON_OUT_H

#include "text.h"

struct json_out {
    struct text text;   /* what was written; text_done() it */
    unsigned depth;
    bool is_filled;     /* a value stands before, on this level */
};

void json_begin(struct json_out *out, const char *key, char bracket); /* '{' or '[' */
void json_end(struct json_out *out, char bracket);                    /* '}' or ']' */
void json_string(struct json_out *out, const char *key, const char *value);
void json_number(struct json_out *out, const char *key, uint64_t value);
void json_signed(struct json_out *out, const char *key, int64_t value);
void json_bool(struct json_out *out, const char *key, bool value);
void json_null(struct json_out *out, const char *key);
void json_hex(struct json_out *out, const char *key, const void *bytes, size_t byte_count);
/* Print the document and a line end to stdout, and free it. */
void json_print(struct json_out *out);

#endif
