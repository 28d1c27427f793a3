#include "text.h"

#include "cli.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void make_room(struct text *text, size_t byte_count)
{
    size_t needed = text->length + byte_count + 1;

    assert(needed > byte_count);
    if (needed <= text->room)
        return;
    text->room = needed < 256 ? 256 : needed + needed / 2;
    text->bytes = cli_grow(text->bytes, text->room);
}

void text_add(struct text *text, const void *bytes, size_t byte_count)
{
    make_room(text, byte_count);
    if (byte_count)
        memcpy(text->bytes + text->length, bytes, byte_count);
    text->length += byte_count;
    text->bytes[text->length] = '\0';
}

void text_add_char(struct text *text, char c)
{
    text_add(text, &c, 1);
}

void text_add_string(struct text *text, const char *string)
{
    text_add(text, string, strlen(string));
}

void text_add_format(struct text *text, const char *format, ...)
{
    va_list list;
    int length;

    va_start(list, format);
    length = vsnprintf(NULL, 0, format, list);
    va_end(list);
    assert(length >= 0);
    make_room(text, (size_t)length);
    va_start(list, format);
    vsnprintf(text->bytes + text->length, (size_t)length + 1, format, list);
    va_end(list);
    text->length += (size_t)length;
}

static void add_json_character(struct text *text, const char *bytes, size_t character_bytes)
{
    static const char named[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    const char *place = bytes[0] ? strchr(named, bytes[0]) : NULL;

    if (!character_bytes) {
        text_add_string(text, "\xef\xbf\xbd");
    } else if (place) {
        text_add_char(text, '\\');
        text_add_char(text, letters[place - named]);
    } else if ((unsigned char)bytes[0] < 0x20) {
        text_add_format(text, "\\u%04x", (unsigned)(unsigned char)bytes[0]);
    } else {
        text_add(text, bytes, character_bytes);
    }
}

void text_add_json(struct text *text, const char *bytes, size_t byte_count)
{
    size_t done_bytes = 0;

    text_add_char(text, '"');
    while (done_bytes < byte_count) {
        size_t character_bytes = utf8_character(bytes + done_bytes, byte_count - done_bytes);

        add_json_character(text, bytes + done_bytes, character_bytes);
        done_bytes += character_bytes ? character_bytes : 1;
    }
    text_add_char(text, '"');
}

void text_add_csv(struct text *text, const char *bytes, size_t byte_count, char separator, bool is_quoted)
{
    for (size_t i = 0; i < byte_count && !is_quoted; i++)
        is_quoted = bytes[i] == separator || bytes[i] == '"' || bytes[i] == '\r' || bytes[i] == '\n';
    if (!is_quoted) {
        text_add(text, bytes, byte_count);
        return;
    }
    text_add_char(text, '"');
    for (size_t i = 0; i < byte_count; i++) {
        if (bytes[i] == '"')
            text_add_char(text, '"');
        text_add_char(text, bytes[i]);
    }
    text_add_char(text, '"');
}

void text_add_hex(struct text *text, const void *bytes, size_t byte_count)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *from = bytes;

    for (size_t i = 0; i < byte_count; i++) {
        text_add_char(text, digits[from[i] >> 4]);
        text_add_char(text, digits[from[i] & 15]);
    }
}

void text_clear(struct text *text)
{
    text->length = 0;
    if (text->bytes)
        text->bytes[0] = '\0';
}

void text_done(struct text *text)
{
    free(text->bytes);
    *text = (struct text){ 0 };
}

size_t utf8_character(const char *bytes, size_t byte_count)
{
    static const uint32_t lowest[] = { 0, 0, 0x80, 0x800, 0x10000 };
    const unsigned char *from = (const unsigned char *)bytes;
    size_t character_bytes = 0;
    uint32_t code = 0;

    if (!byte_count)
        return 0;
    if (from[0] < 0x80)
        return 1;
    character_bytes = from[0] >= 0xf0 ? 4 : from[0] >= 0xe0 ? 3 : 2;
    if (from[0] < 0xc2 || from[0] > 0xf4 || character_bytes > byte_count)
        return 0;
    code = from[0] & (0x7fU >> character_bytes);
    for (size_t i = 1; i < character_bytes; i++) {
        if ((from[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (from[i] & 0x3fU);
    }
    if (code < lowest[character_bytes] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
        return 0;
    return character_bytes;
}

size_t utf8_valid(const char *bytes, size_t byte_count)
{
    size_t valid_bytes = 0;

    while (valid_bytes < byte_count) {
        size_t character_bytes = utf8_character(bytes + valid_bytes, byte_count - valid_bytes);

        if (!character_bytes)
            break;
        valid_bytes += character_bytes;
    }
    return valid_bytes;
}
