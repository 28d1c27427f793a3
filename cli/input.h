/*
 * Input: the bytes of a data file, one after the other, with the place of each.
 *
 * Invariants
 *  1. line and column name the byte that input_peek shows: both count from 1, the column in bytes.
 *  2. A line ends with its line feed; a carriage return is a byte like any other.
 *  3. A byte order mark (EF BB BF) at the very start of text is not shown and does not count.
 *
 * Not here: what the bytes mean, where they come from.
 */
#ifndef STELE_CLI_INPUT_H
#define STELE_CLI_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INPUT_BUFFER_BYTES ((size_t)64 << 10)

/* What input_peek shows where there is no byte. */
enum { INPUT_END = -1, INPUT_FAILED = -2 };

/*
 * Put the next bytes, at most @capacity_bytes, to @out and how many to *@out_bytes; 0 bytes: the end.
 *
 * Errors:  any negative code: no more is asked for
 */
typedef int input_source(void *context, void *out, size_t capacity_bytes, size_t *out_bytes);

struct input_place {
    uint64_t line;
    uint64_t column;
};

struct input {
    input_source *source;
    void *source_context;
    uint8_t *buffer;   /* INPUT_BUFFER_BYTES */
    size_t begin, end; /* of the bytes not taken yet */
    struct input_place place;
    uint64_t taken_bytes; /* of the file, with its byte order mark */
    int code;             /* of the source; STELE_END at its end */
};

/*
 * Make @input the bytes that @source gives when called with @source_context, as text or as they are.
 *
 * Errors:  STELE_E_NOMEM; a source that fails at once shows in input_peek
 * Owner:   input_done frees
 */
int input_init(struct input *input, bool is_text, input_source *source, void *source_context);
void input_done(struct input *input); /* safe twice, and on a zeroed struct */

/* Ask the source for more; only for input_peek. */
bool input_fill(struct input *input);

/* Show the next byte of @input, or INPUT_END, or INPUT_FAILED: input->code says why. */
static inline int input_peek(struct input *input)
{
    if (input->begin == input->end && !input_fill(input))
        return input->code < 0 ? INPUT_FAILED : INPUT_END;
    return input->buffer[input->begin];
}

/* Take the byte that input_peek showed. */
static inline void input_take(struct input *input)
{
    if (input->buffer[input->begin] == '\n') {
        input->place.line++;
        input->place.column = 1;
    } else {
        input->place.column++;
    }
    input->begin++;
    input->taken_bytes++;
}

/*
 * Copy the bytes at hand, at most @capacity_bytes, to @out and take them, without counting lines. Returns how
 * many they were.
 */
size_t input_copy(struct input *input, void *out, size_t capacity_bytes);

/* Take all bytes up to and with the next line feed, or to the end. */
void input_take_line(struct input *input);

#endif
