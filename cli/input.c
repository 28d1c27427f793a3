#include "input.h"

#include "stele.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t byte_order_mark[3] = { 0xEF, 0xBB, 0xBF };

bool input_fill(struct input *input)
{
    size_t got_bytes = 0;

    assert(input->begin == input->end);
    if (input->code)
        return false;
    input->code = input->source(input->source_context, input->buffer, INPUT_BUFFER_BYTES, &got_bytes);
    if (input->code)
        return false;
    assert(got_bytes <= INPUT_BUFFER_BYTES);
    input->begin = 0;
    input->end = got_bytes;
    if (got_bytes == 0)
        input->code = STELE_END;
    return got_bytes > 0;
}

/* The mark is looked for over as many short reads as a pipe may take for it. */
static void drop_byte_order_mark(struct input *input)
{
    size_t have_bytes = 0;

    while (have_bytes < sizeof byte_order_mark && !input->code) {
        size_t got_bytes = 0;
        int rc = input->source(input->source_context, input->buffer + have_bytes,
                               INPUT_BUFFER_BYTES - have_bytes, &got_bytes);

        input->code = rc ? rc : got_bytes ? 0 : STELE_END;
        if (!rc)
            have_bytes += got_bytes;
    }
    input->end = have_bytes;
    if (have_bytes >= sizeof byte_order_mark &&
        memcmp(input->buffer, byte_order_mark, sizeof byte_order_mark) == 0) {
        input->begin = sizeof byte_order_mark;
        input->taken_bytes = sizeof byte_order_mark;
    }
}

int input_init(struct input *input, bool is_text, input_source *source, void *source_context)
{
    memset(input, 0, sizeof *input);
    input->source = source;
    input->source_context = source_context;
    input->place.line = 1;
    input->place.column = 1;
    input->buffer = malloc(INPUT_BUFFER_BYTES);
    if (!input->buffer)
        return STELE_E_NOMEM;
    if (is_text)
        drop_byte_order_mark(input);
    return STELE_OK;
}

void input_done(struct input *input)
{
    free(input->buffer);
    input->buffer = NULL;
    input->begin = input->end = 0;
}

size_t input_copy(struct input *input, void *out, size_t capacity_bytes)
{
    size_t bytes = input->end - input->begin;

    if (bytes > capacity_bytes)
        bytes = capacity_bytes;
    memcpy(out, input->buffer + input->begin, bytes);
    input->begin += bytes;
    input->taken_bytes += bytes;
    return bytes;
}

void input_take_line(struct input *input)
{
    int byte = 0;

    while (byte != '\n' && (byte = input_peek(input)) >= 0)
        input_take(input);
}
