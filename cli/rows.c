#include "rows.h"

#include "cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int rows_init(struct rows *rows, const struct rows_options *options, input_source *source,
              void *source_context)
{
    int rc = STELE_OK;

    memset(rows, 0, sizeof *rows);
    rows->options = *options;
    rows->record = cli_allocate((size_t)stele_schema_record_bytes(options->schema));
    rows->null_counts = cli_allocate(stele_schema_field_count(options->schema) * sizeof *rows->null_counts);
    rc = input_init(&rows->input, options->format != ROWS_RAW, source, source_context);
    if (rc)
        return rc;
    switch (options->format) {
    case ROWS_CSV:
    case ROWS_TSV:
        return rows_table_open(rows);
    case ROWS_NDJSON:
        return rows_ndjson_open(rows);
    case ROWS_RAW:
        break;
    }
    return rows_raw_open(rows);
}

void rows_done(struct rows *rows)
{
    json_reader_free(rows->json);
    csv_reader_done(&rows->csv);
    columns_done(&rows->header);
    input_done(&rows->input);
    free(rows->record);
    free(rows->null_counts);
    free(rows->null_fields);
    free(rows->is_padding);
    memset(rows, 0, sizeof *rows);
}

static int read_one(struct rows *rows, bool skip)
{
    rows->null_field_count = 0;
    rows->problem.is_final = false;
    switch (rows->options.format) {
    case ROWS_CSV:
    case ROWS_TSV:
        return rows_table_next(rows, skip);
    case ROWS_NDJSON:
        return rows_ndjson_next(rows, skip);
    case ROWS_RAW:
        break;
    }
    return rows_raw_next(rows, skip);
}

int rows_next(struct rows *rows, void *out_record)
{
    size_t record_bytes = (size_t)stele_schema_record_bytes(rows->options.schema);
    int rc = STELE_OK;

    memset(rows->record, 0, record_bytes);
    rc = read_one(rows, false);
    if (rc)
        return rc;
    memcpy(out_record, rows->record, record_bytes);
    for (size_t i = 0; i < rows->null_field_count; i++)
        rows->null_counts[rows->null_fields[i]]++;
    return STELE_OK;
}

int rows_skip(struct rows *rows)
{
    int rc = read_one(rows, true);

    return rc == STELE_E_FORMAT && !rows->problem.is_final ? STELE_OK : rc;
}

int rows_refuse(struct rows *rows, struct input_place place, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(rows->problem.text, sizeof rows->problem.text, format, arguments);
    va_end(arguments);
    rows->problem.place = place;
    return STELE_E_FORMAT;
}

int rows_refuse_value(struct rows *rows, struct input_place place, size_t field_index, uint64_t element_index,
                      const char *error)
{
    struct column column = { .field_index = field_index, .element_index = element_index };
    struct text name = { 0 };
    int rc = STELE_OK;

    column_name(rows->options.schema, &column, &name);
    rc = rows_refuse(rows, place, "field `%s`: %s", name.bytes, error);
    text_done(&name);
    return rc;
}

void rows_take_null(struct rows *rows, size_t field_index, uint64_t element_index)
{
    value_set_null(rows->options.schema, field_index, element_index, rows->record);
    if (rows->null_field_count == rows->null_field_capacity) {
        rows->null_field_capacity = rows->null_field_capacity ? rows->null_field_capacity * 2 : 16;
        rows->null_fields =
            cli_grow(rows->null_fields, rows->null_field_capacity * sizeof *rows->null_fields);
    }
    rows->null_fields[rows->null_field_count++] = field_index;
}

bool rows_is_null(const struct rows *rows, const char *text, size_t bytes)
{
    const char *null_text = rows->options.null_text;

    return null_text && strlen(null_text) == bytes && memcmp(null_text, text, bytes) == 0;
}
