#include "rows.h"

#include "cli.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* What no field covers is padding. */
int rows_raw_open(struct rows *rows)
{
    const struct stele_schema *schema = rows->options.schema;
    size_t record_bytes = (size_t)stele_schema_record_bytes(schema);

    rows->is_padding = cli_allocate(record_bytes);
    memset(rows->is_padding, true, record_bytes);
    rows->padding_bytes = record_bytes;
    for (size_t i = 0; i < stele_schema_field_count(schema); i++) {
        const struct stele_field *field = stele_schema_field(schema, i);
        size_t field_bytes = (size_t)(value_element_count(field) * value_element_bytes(field));

        memset(rows->is_padding + field->offset, false, field_bytes);
        rows->padding_bytes -= field_bytes;
    }
    return STELE_OK;
}

static void clear_padding(struct rows *rows)
{
    size_t record_bytes = (size_t)stele_schema_record_bytes(rows->options.schema);
    bool was_zero = true;

    for (size_t i = 0; i < record_bytes; i++) {
        if (rows->is_padding[i] && rows->record[i]) {
            rows->record[i] = 0;
            was_zero = false;
        }
    }
    rows->padded_count += !was_zero;
}

int rows_raw_next(struct rows *rows, bool skip)
{
    size_t record_bytes = (size_t)stele_schema_record_bytes(rows->options.schema);
    size_t have_bytes = 0;

    while (have_bytes < record_bytes && input_peek(&rows->input) >= 0)
        have_bytes += input_copy(&rows->input, rows->record + have_bytes, record_bytes - have_bytes);
    if (rows->input.code < 0)
        return rows->input.code;
    if (have_bytes == 0)
        return STELE_END;
    if (have_bytes < record_bytes) {
        rows->problem.is_final = true;
        return rows_refuse(rows, (struct input_place){ 0 },
                           "the last record has %zu of %zu bytes: not a whole number of records", have_bytes,
                           record_bytes);
    }
    if (!skip && rows->padding_bytes)
        clear_padding(rows);
    return STELE_OK;
}
