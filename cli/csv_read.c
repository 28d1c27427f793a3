#include "csv_read.h"

#include "stele.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void csv_reader_init(struct csv_reader *reader, struct input *input, char separator, size_t cell_count_max)
{
    memset(reader, 0, sizeof *reader);
    reader->input = input;
    reader->separator = separator;
    reader->cell_count_max = cell_count_max;
    reader->row_bytes_max = CSV_ROW_BYTES_MAX;
}

void csv_reader_done(struct csv_reader *reader)
{
    free(reader->text);
    free(reader->cells);
    reader->text = NULL;
    reader->cells = NULL;
    reader->text_capacity = reader->cell_capacity = 0;
}

static int malformed(struct csv_reader *reader, struct input_place place, bool is_final, const char *text)
{
    reader->problem.text = text;
    reader->problem.place = place;
    reader->problem.is_final = is_final;
    reader->is_broken = true;
    return STELE_E_FORMAT;
}

static int grow_text(struct csv_reader *reader)
{
    size_t capacity = reader->text_capacity ? reader->text_capacity * 2 : 4096;
    char *text = realloc(reader->text, capacity);

    if (!text)
        return STELE_E_NOMEM;
    reader->text = text;
    reader->text_capacity = capacity;
    return STELE_OK;
}

static int put_byte(struct csv_reader *reader, char byte)
{
    if (reader->text_bytes >= reader->row_bytes_max)
        return malformed(reader, reader->input->place, true,
                         "the row is longer than 64 MiB: is a quote opened and never closed?");
    if (reader->text_bytes == reader->text_capacity) {
        int rc = grow_text(reader);

        if (rc)
            return rc;
    }
    reader->text[reader->text_bytes++] = byte;
    return STELE_OK;
}

/* Cells past cell_count_max are counted, and their bytes thrown away. */
static int open_cell(struct csv_reader *reader, struct csv_cell **out_cell)
{
    size_t index = (size_t)reader->cell_count;

    *out_cell = NULL;
    if (reader->cell_count++ >= reader->cell_count_max)
        return STELE_OK;
    if (index == reader->cell_capacity) {
        size_t capacity = index ? index * 2 : 16;
        struct csv_cell *cells = realloc(reader->cells, capacity * sizeof *cells);

        if (!cells)
            return STELE_E_NOMEM;
        reader->cells = cells;
        reader->cell_capacity = capacity;
    }
    *out_cell = &reader->cells[index];
    (*out_cell)->place = reader->input->place;
    return STELE_OK;
}

static int read_plain(struct csv_reader *reader)
{
    struct input *input = reader->input;
    int rc = STELE_OK;

    while (!rc) {
        int byte = input_peek(input);

        if (byte < 0 || byte == '\n' || byte == '\r' || byte == reader->separator)
            break;
        if (byte == '"')
            return malformed(reader, input->place, false,
                             "a quote inside a field that does not begin with one: put the whole field in "
                             "quotes and write the quote twice");
        rc = put_byte(reader, (char)byte);
        if (!rc)
            input_take(input);
    }
    return rc;
}

/* From the opening quote to behind the closing one. */
static int read_quoted(struct csv_reader *reader)
{
    struct input *input = reader->input;
    struct input_place opened = input->place;
    int rc = STELE_OK;

    input_take(input);
    while (!rc) {
        int byte = input_peek(input);

        if (byte == INPUT_END)
            return malformed(reader, opened, true, "this quote is never closed");
        if (byte == INPUT_FAILED)
            return input->code;
        if (byte == '"') {
            input_take(input);
            if (input_peek(input) != '"')
                return STELE_OK;
        }
        rc = put_byte(reader, (char)byte);
        if (!rc)
            input_take(input);
    }
    return rc;
}

/* Take what ends a cell; *@out_is_last tells whether the row ends with it. */
static int take_end_of_cell(struct csv_reader *reader, bool was_quoted, bool *out_is_last)
{
    struct input *input = reader->input;
    struct input_place place = input->place;
    int byte = input_peek(input);

    *out_is_last = byte != reader->separator;
    if (byte == INPUT_END)
        return STELE_OK;
    if (byte == INPUT_FAILED)
        return input->code;
    if (byte == reader->separator || byte == '\n') {
        input_take(input);
        return STELE_OK;
    }
    if (byte == '\r') {
        input_take(input);
        byte = input_peek(input);
        if (byte == INPUT_FAILED)
            return input->code;
        if (byte == '\n') {
            input_take(input);
            return STELE_OK;
        }
        return malformed(reader, place, false,
                         "a carriage return without a line feed behind it: put the field in quotes");
    }
    assert(was_quoted);
    return malformed(reader, place, false,
                     "something stands between the closing quote and the end of the field: a quote inside a "
                     "field is written twice");
}

static int read_cell(struct csv_reader *reader, bool *out_is_last, struct input_place *out_end)
{
    size_t begin = reader->text_bytes;
    struct csv_cell *cell = NULL;
    bool is_quoted = false;
    int rc = open_cell(reader, &cell);

    if (rc)
        return rc;
    is_quoted = input_peek(reader->input) == '"';
    rc = is_quoted ? read_quoted(reader) : read_plain(reader);
    if (rc)
        return rc;
    *out_end = reader->input->place;
    if (cell) {
        cell->bytes = reader->text_bytes - begin;
        cell->is_quoted = is_quoted;
        rc = put_byte(reader, '\0');
        if (rc)
            return rc;
    } else {
        reader->text_bytes = begin;
    }
    return take_end_of_cell(reader, is_quoted, out_is_last);
}

/* The text may have moved while it grew: its places are filled in at the end. */
static void point_cells_at_text(struct csv_reader *reader, struct csv_row *row)
{
    const char *text = reader->text;
    size_t kept_count =
        row->cell_count < reader->cell_count_max ? (size_t)row->cell_count : reader->cell_count_max;

    for (size_t i = 0; i < kept_count; i++) {
        reader->cells[i].text = text;
        text += reader->cells[i].bytes + 1;
    }
    row->cells = reader->cells;
}

int csv_read_row(struct csv_reader *reader, struct csv_row *out_row)
{
    bool is_last = false;
    int first = 0;
    int rc = STELE_OK;

    if (reader->is_broken) {
        if (reader->problem.is_final)
            return STELE_END;
        input_take_line(reader->input);
        reader->is_broken = false;
    }
    first = input_peek(reader->input);
    if (first == INPUT_FAILED)
        return reader->input->code;
    reader->text_bytes = 0;
    reader->cell_count = 0;
    out_row->place = out_row->end = reader->input->place;
    if (first == INPUT_END)
        return STELE_END;
    while (!rc && !is_last)
        rc = read_cell(reader, &is_last, &out_row->end);
    if (rc)
        return rc;
    out_row->cell_count = reader->cell_count;
    point_cells_at_text(reader, out_row);
    return STELE_OK;
}
