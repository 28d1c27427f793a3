/*
 * Growable text: bytes with a length, always zero-terminated once something was added.
 *
 * A zeroed struct is an empty text. Running out of memory ends the process (cli_grow).
 */
#ifndef STELE_CLI_TEXT_H
#define STELE_CLI_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text {
    char *bytes; /* NULL while nothing was ever added */
    size_t length, room;
};

void text_add(struct text *text, const void *bytes, size_t byte_count);
void text_add_char(struct text *text, char c);
void text_add_string(struct text *text, const char *string);
void text_add_format(struct text *text, const char *format, ...) __attribute__((format(STELE_PRINTF, 2, 3)));
/* Add @bytes as a JSON string with its quotes; bytes that are not UTF-8 become U+FFFD. */
void text_add_json(struct text *text, const char *bytes, size_t byte_count);
/* Add @bytes as a CSV cell: quoted if it holds @separator, a quote, CR or LF, or if @is_quoted says so. */
void text_add_csv(struct text *text, const char *bytes, size_t byte_count, char separator, bool is_quoted);
void text_add_hex(struct text *text, const void *bytes, size_t byte_count);
void text_clear(struct text *text); /* keeps the room */
void text_done(struct text *text);  /* safe twice, and on a zeroed struct */

/* Bytes of the UTF-8 character at @bytes (1 to 4), or 0 if there is no valid one in @byte_count bytes. */
size_t utf8_character(const char *bytes, size_t byte_count);
/* How many of the @byte_count bytes at @bytes are valid UTF-8: byte_count if all. */
size_t utf8_valid(const char *bytes, size_t byte_count);

#endif
