/*
 * Columns: which element of a record each cell of a table belongs to.
 *
 * Invariants
 *  1. No element belongs to two columns.
 */
#ifndef STELE_CLI_COLUMNS_H
#define STELE_CLI_COLUMNS_H

#include "csv_read.h"
#include "value.h"

struct column {
    size_t field_index;
    uint64_t element_index;
    bool is_ignored; /* belongs to nothing */
};

struct columns {
    struct column *columns;
    size_t column_count;
};

/*
 * Make *@out from @list, names with commas between them and "-" for a column to ignore, or of all elements
 * for NULL. A field with dimensions stands for all its elements.
 *
 * Errors:  a sentence in @error; STELE_E_ABSENT, STELE_E_RANGE, STELE_E_USAGE as value_find, also for an
 *          element named twice
 * Owner:   columns_done
 */
int columns_from_list(const struct stele_schema *schema, const char *list, struct columns *out,
                      char error[VALUE_ERROR_BYTES]);

/*
 * Make *@out from the names in the cells of @header, each a field without dimensions or one element.
 *
 * Errors:  as columns_from_list; *@out_cell_index is the cell
 * Owner:   columns_done
 */
int columns_from_header(const struct stele_schema *schema, const struct csv_row *header, struct columns *out,
                        size_t *out_cell_index, char error[VALUE_ERROR_BYTES]);

void columns_done(struct columns *columns); /* safe twice, and on a zeroed struct */

/* Add the name of @column: `field`, `field[0]`, or "-". */
void column_name(const struct stele_schema *schema, const struct column *column, struct text *out);

#endif
