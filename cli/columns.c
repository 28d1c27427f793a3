#include "columns.h"

#include "cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Columns while they are collected; taken holds a byte per byte of the record. */
struct collection {
    const struct stele_schema *schema;
    struct columns columns;
    size_t capacity;
    bool *taken;
    char *error;
};

static void collection_init(struct collection *collection, const struct stele_schema *schema, char *error)
{
    memset(collection, 0, sizeof *collection);
    collection->schema = schema;
    collection->taken = cli_allocate((size_t)stele_schema_record_bytes(schema));
    collection->error = error;
}

/* Hand the columns over if @rc is STELE_OK. */
static int collection_done(struct collection *collection, int rc, struct columns *out)
{
    free(collection->taken);
    if (rc)
        columns_done(&collection->columns);
    *out = collection->columns;
    return rc;
}

static void add_column(struct collection *collection, struct column column)
{
    struct columns *columns = &collection->columns;

    if (columns->column_count == collection->capacity) {
        collection->capacity = collection->capacity ? collection->capacity * 2 : 16;
        columns->columns = cli_grow(columns->columns, collection->capacity * sizeof column);
    }
    columns->columns[columns->column_count++] = column;
}

static int add_part(struct collection *collection, const struct value_part *part)
{
    const struct stele_field *field = stele_schema_field(collection->schema, part->field_index);

    for (uint64_t i = 0; i < part->element_count; i++) {
        struct column column = { .field_index = part->field_index, .element_index = part->first_element + i };
        bool *taken = &collection->taken[field->offset + column.element_index * value_element_bytes(field)];

        if (*taken) {
            snprintf(collection->error, VALUE_ERROR_BYTES, "field `%s` stands for two columns", field->name);
            return STELE_E_USAGE;
        }
        *taken = true;
        add_column(collection, column);
    }
    return STELE_OK;
}

static int add_name(struct collection *collection, const char *name, size_t name_bytes, bool is_one_cell)
{
    struct value_part part;
    int rc = value_find(collection->schema, name, name_bytes, &part, collection->error);

    if (rc)
        return rc;
    if (is_one_cell && part.is_list) {
        snprintf(collection->error, VALUE_ERROR_BYTES,
                 "`%.*s` has %" PRIu64 " elements: each is a column of its own, the first is `%.*s[0]`",
                 (int)name_bytes, name, part.element_count, (int)name_bytes, name);
        return STELE_E_USAGE;
    }
    return add_part(collection, &part);
}

static int add_all(struct collection *collection)
{
    int rc = STELE_OK;

    for (size_t i = 0; !rc && i < stele_schema_field_count(collection->schema); i++) {
        struct value_part part = { .field_index = i };

        part.element_count = value_element_count(stele_schema_field(collection->schema, i));
        rc = add_part(collection, &part);
    }
    return rc;
}

int columns_from_list(const struct stele_schema *schema, const char *list, struct columns *out,
                      char error[VALUE_ERROR_BYTES])
{
    struct collection collection;
    const char *word = list;
    int rc = STELE_OK;

    collection_init(&collection, schema, error);
    if (!list)
        rc = add_all(&collection);
    while (!rc && word) {
        size_t word_bytes = strcspn(word, ",");

        if (word_bytes == 1 && word[0] == '-')
            add_column(&collection, (struct column){ .is_ignored = true });
        else
            rc = add_name(&collection, word, word_bytes, false);
        word = word[word_bytes] ? word + word_bytes + 1 : NULL;
    }
    return collection_done(&collection, rc, out);
}

int columns_from_header(const struct stele_schema *schema, const struct csv_row *header, struct columns *out,
                        size_t *out_cell_index, char error[VALUE_ERROR_BYTES])
{
    struct collection collection;
    int rc = STELE_OK;

    collection_init(&collection, schema, error);
    for (size_t i = 0; !rc && i < header->cell_count; i++) {
        *out_cell_index = i;
        rc = add_name(&collection, header->cells[i].text, header->cells[i].bytes, true);
    }
    return collection_done(&collection, rc, out);
}

void columns_done(struct columns *columns)
{
    free(columns->columns);
    columns->columns = NULL;
    columns->column_count = 0;
}

void column_name(const struct stele_schema *schema, const struct column *column, struct text *out)
{
    struct value_part part = { .field_index = column->field_index,
                               .first_element = column->element_index,
                               .element_count = 1 };

    if (column->is_ignored)
        text_add_char(out, '-');
    else
        value_part_name(schema, &part, out);
}
