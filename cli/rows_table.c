#include "rows.h"

#include "cli.h"

#include <inttypes.h>
#include <stdio.h>

static int refuse_malformed(struct rows *rows)
{
    const struct csv_problem *problem = &rows->csv.problem;

    rows->problem.is_final = problem->is_final;
    return rows_refuse(rows, problem->place, "%s", problem->text);
}

static size_t column_count_max(const struct rows *rows)
{
    uint64_t elements = 0;

    if (rows->columns)
        return rows->columns->column_count;
    for (size_t i = 0; i < stele_schema_field_count(rows->options.schema); i++)
        elements += value_element_count(stele_schema_field(rows->options.schema, i));
    return (size_t)elements;
}

static int refuse_count(struct rows *rows, const struct csv_row *row, const char *what)
{
    size_t expected = column_count_max(rows);
    struct text name = { 0 };
    int rc = STELE_OK;

    if (row->cell_count > expected)
        return rows_refuse(rows, row->cells[expected].place,
                           "%s has %" PRIu64 " columns, %zu are expected: the last ones have no field", what,
                           row->cell_count, expected);
    column_name(rows->options.schema, &rows->columns->columns[row->cell_count], &name);
    rc = rows_refuse(rows, row->end,
                     "%s has %" PRIu64 " columns, %zu are expected: the first missing is `%s`", what,
                     row->cell_count, expected, name.bytes);
    text_done(&name);
    return rc;
}

static int name_columns(struct rows *rows, const struct csv_row *row)
{
    size_t cell_index = 0;
    char error[VALUE_ERROR_BYTES] = "";
    int rc = STELE_OK;

    /* More cells than elements: then a name is unknown or double, and among the first of them. */
    struct csv_row kept = *row;

    if (kept.cell_count > rows->csv.cell_count_max)
        kept.cell_count = rows->csv.cell_count_max;
    rc = columns_from_header(rows->options.schema, &kept, &rows->header, &cell_index, error);
    if (rc)
        return rows_refuse(rows, row->cells[cell_index].place,
                           "header: %s; --columns says what each column is, - for none", error);
    rows->columns = &rows->header;
    return STELE_OK;
}

static int read_header(struct rows *rows)
{
    struct csv_row row;
    int rc = csv_read_row(&rows->csv, &row);

    if (rc == STELE_END)
        return rows_refuse(rows, rows->input.place, "header: the file is empty");
    if (rc == STELE_E_FORMAT)
        return refuse_malformed(rows);
    if (rc)
        return rc;
    if (!rows->columns)
        return name_columns(rows, &row);
    if (row.cell_count != rows->columns->column_count)
        return refuse_count(rows, &row, "the header");
    return STELE_OK;
}

int rows_table_open(struct rows *rows)
{
    int rc = STELE_OK;

    rows->columns = rows->options.columns;
    csv_reader_init(&rows->csv, &rows->input, rows->options.format == ROWS_TSV ? '\t' : ',',
                    column_count_max(rows) + 1);
    if (!rows->options.has_header)
        return STELE_OK;
    rc = read_header(rows);
    rows->csv.cell_count_max = column_count_max(rows) + 1;
    return rc;
}

static int take_cell(struct rows *rows, const struct column *column, const struct csv_cell *cell)
{
    const struct stele_field *field = stele_schema_field(rows->options.schema, column->field_index);
    char error[VALUE_ERROR_BYTES];

    if (column->is_ignored)
        return STELE_OK;
    /* Quotes tell a text that is just this word from a null: so export writes it. */
    if (rows_is_null(rows, cell->text, cell->bytes) && !(cell->is_quoted && field->type == STELE_TEXT)) {
        rows_take_null(rows, column->field_index, column->element_index);
        return STELE_OK;
    }
    if (value_parse(rows->options.schema, column->field_index, column->element_index, cell->text, cell->bytes,
                    rows->options.flags, rows->record, error) != STELE_OK)
        return rows_refuse_value(rows, cell->place, column->field_index, column->element_index, error);
    return STELE_OK;
}

int rows_table_next(struct rows *rows, bool skip)
{
    struct csv_row row;
    int rc = csv_read_row(&rows->csv, &row);

    if (rc == STELE_E_FORMAT)
        return refuse_malformed(rows);
    if (rc || skip)
        return rc;
    if (row.cell_count != rows->columns->column_count)
        return refuse_count(rows, &row, "the row");
    for (size_t i = 0; !rc && i < row.cell_count; i++)
        rc = take_cell(rows, &rows->columns->columns[i], &row.cells[i]);
    return rc;
}
