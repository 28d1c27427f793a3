/*
 * CSV and TSV: rows of cells out of bytes, as RFC 4180 says, strictly.
 *
 * A row ends with LF, CR LF or the end of the input. A cell that begins with a quote ends with a quote and
 * may hold separators, line ends and doubled quotes; any other cell holds neither quotes nor line ends.
 * A blank line is a row of one empty cell. Each cell knows where it begins. Memory is bounded by the largest
 * row, at most CSV_ROW_BYTES_MAX, whatever the input.
 *
 * Not here: what the text means, whether it is UTF-8, how many cells there should be.
 */
#ifndef STELE_CLI_CSV_READ_H
#define STELE_CLI_CSV_READ_H

#include "input.h"

#define CSV_ROW_BYTES_MAX ((size_t)64 << 20)

struct csv_cell {
    const char *text; /* without its quotes; a zero byte follows; may hold others */
    size_t bytes;
    bool is_quoted;
    struct input_place place; /* of its first byte, the opening quote if there is one */
};

struct csv_row {
    const struct csv_cell *cells; /* min(cell_count, cell_count_max of the reader) of them */
    uint64_t cell_count;          /* in the input */
    struct input_place place;     /* of the first byte */
    struct input_place end;       /* behind the last byte of the last cell */
};

struct csv_problem {
    const char *text;         /* what is wrong and what to do; static */
    struct input_place place; /* of the byte that is wrong */
    bool is_final;            /* nothing behind it can be read */
};

struct csv_reader {
    struct input *input;
    char separator;
    char *text;
    size_t text_bytes, text_capacity;
    struct csv_cell *cells;
    size_t cell_capacity, cell_count_max;
    size_t row_bytes_max; /* CSV_ROW_BYTES_MAX; tests set less */
    uint64_t cell_count;
    bool is_broken; /* the rest of the line belongs to a malformed row */
    struct csv_problem problem;
};

/*
 * Make @reader read rows of @input with cells between @separator, and keep @cell_count_max cells of each row:
 * further ones are counted only.
 *
 * Owner:   csv_reader_done frees; @input stays the caller's
 */
void csv_reader_init(struct csv_reader *reader, struct input *input, char separator, size_t cell_count_max);
void csv_reader_done(struct csv_reader *reader); /* safe twice, and on a zeroed struct */

/*
 * Read the next row into @out_row, which is valid until the next call.
 *
 * Errors:  STELE_END no row is left; STELE_E_FORMAT malformed, reader->problem says what and where: the next
 *          call goes on behind the end of that line, or finds nothing if the problem is final;
 *          STELE_E_NOMEM; what the source of the input says
 */
int csv_read_row(struct csv_reader *reader, struct csv_row *out_row);

#endif
