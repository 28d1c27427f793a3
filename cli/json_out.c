#include "json_out.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void begin_value(struct json_out *out, const char *key)
{
    if (out->is_filled)
        text_add_char(&out->text, ',');
    if (out->depth)
        text_add_format(&out->text, "\n%*s", (int)(2 * out->depth), "");
    if (key) {
        text_add_json(&out->text, key, strlen(key));
        text_add_string(&out->text, ": ");
    }
    out->is_filled = true;
}

void json_begin(struct json_out *out, const char *key, char bracket)
{
    begin_value(out, key);
    text_add_char(&out->text, bracket);
    out->depth++;
    out->is_filled = false;
}

void json_end(struct json_out *out, char bracket)
{
    out->depth--;
    if (out->is_filled)
        text_add_format(&out->text, "\n%*s", (int)(2 * out->depth), "");
    text_add_char(&out->text, bracket);
    out->is_filled = true;
}

void json_string(struct json_out *out, const char *key, const char *value)
{
    begin_value(out, key);
    text_add_json(&out->text, value, strlen(value));
}

void json_number(struct json_out *out, const char *key, uint64_t value)
{
    begin_value(out, key);
    text_add_format(&out->text, "%" PRIu64, value);
}

void json_signed(struct json_out *out, const char *key, int64_t value)
{
    begin_value(out, key);
    text_add_format(&out->text, "%" PRId64, value);
}

void json_bool(struct json_out *out, const char *key, bool value)
{
    begin_value(out, key);
    text_add_string(&out->text, value ? "true" : "false");
}

void json_null(struct json_out *out, const char *key)
{
    begin_value(out, key);
    text_add_string(&out->text, "null");
}

void json_hex(struct json_out *out, const char *key, const void *bytes, size_t byte_count)
{
    begin_value(out, key);
    text_add_char(&out->text, '"');
    text_add_hex(&out->text, bytes, byte_count);
    text_add_char(&out->text, '"');
}

void json_print(struct json_out *out)
{
    text_add_char(&out->text, '\n');
    fwrite(out->text.bytes, 1, out->text.length, stdout);
    text_done(&out->text);
    *out = (struct json_out){ 0 };
}
