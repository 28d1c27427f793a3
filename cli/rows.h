/*
 * Rows: the records of a data file, one after the other, whatever its format.
 *
 * A row is refused as a whole, with the place of the value that does not fit, and the next one can be read
 * all the same. Every row counts, refused or not: the n-th stays the n-th.
 */
#ifndef STELE_CLI_ROWS_H
#define STELE_CLI_ROWS_H

#include "columns.h"
#include "csv_read.h"
#include "input.h"
#include "json_read.h"
#include "value.h"

enum rows_format { ROWS_CSV, ROWS_TSV, ROWS_NDJSON, ROWS_RAW };

struct rows_options {
    const struct stele_schema *schema;
    enum rows_format format;
    const struct columns *columns; /* tables; without columns: all elements, or what the header says */
    bool has_header;               /* tables: the first line has names */
    const char *null_text;         /* this cell is null; NULL: none */
    unsigned flags;                /* of value_parse */
};

struct row_problem {
    char text[512];           /* what is wrong, with the field's name where there is one */
    struct input_place place; /* where it begins; raw: line 0 */
    bool is_final;            /* no further row can be read */
};

struct rows {
    struct rows_options options;
    struct input input;
    struct columns header; /* columns that the header named */
    const struct columns *columns;
    struct csv_reader csv;
    struct json_reader *json;
    uint8_t *record;       /* that is being read */
    uint64_t *null_counts; /* per field, of the rows read whole */
    size_t *null_fields;   /* of this row */
    size_t null_field_count, null_field_capacity;
    size_t last_key_index;
    bool *is_padding;      /* raw: per byte of the record; NULL: there is none */
    uint64_t padded_count; /* raw: records whose padding was not zero */
    size_t padding_bytes;  /* raw: of a record */
    struct row_problem problem;
};

/*
 * Make @rows the records that the bytes of @source, called with @source_context, hold under @options, whose
 * schema and columns stay in use; a header is read at once.
 *
 * Errors:  STELE_E_FORMAT the header does not fit, rows->problem says how; STELE_E_NOMEM; those of the source
 * Owner:   rows_done, also after an error
 */
int rows_init(struct rows *rows, const struct rows_options *options, input_source *source,
              void *source_context);
void rows_done(struct rows *rows); /* safe twice, and on a zeroed struct */

/*
 * Read the next row into @out_record.
 *
 * Errors:  STELE_END; STELE_E_FORMAT the row is refused, rows->problem says why and whether more can be read;
 *          STELE_E_NOMEM; those of the source
 */
int rows_next(struct rows *rows, void *out_record);

/*
 * Pass over the next row, well-formed or not.
 *
 * Errors:  STELE_E_FORMAT it cannot be passed over; else as rows_next
 */
int rows_skip(struct rows *rows);

/* For the bodies in rows_table.c, rows_ndjson.c and rows_raw.c. */
int rows_refuse(struct rows *rows, struct input_place place, const char *format, ...)
    __attribute__((format(STELE_PRINTF, 3, 4)));
/* Refuse the row because of element @element_index of field @field_index: @error. */
int rows_refuse_value(struct rows *rows, struct input_place place, size_t field_index, uint64_t element_index,
                      const char *error);
void rows_take_null(struct rows *rows, size_t field_index, uint64_t element_index);
bool rows_is_null(const struct rows *rows, const char *text, size_t bytes);

int rows_table_open(struct rows *rows);
int rows_table_next(struct rows *rows, bool skip);
int rows_ndjson_open(struct rows *rows);
int rows_ndjson_next(struct rows *rows, bool skip);
int rows_raw_open(struct rows *rows);
int rows_raw_next(struct rows *rows, bool skip);

#endif
