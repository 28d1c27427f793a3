#include "rows.h"

#include "cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool is_name_of(const struct stele_field *field, const char *key, size_t bytes)
{
    return field && strlen(field->name) == bytes && memcmp(field->name, key, bytes) == 0;
}

/* Lines mostly have their keys in the order of the fields: the next one is tried first. */
static bool find_key(void *context, const char *key, size_t bytes, size_t *out_key_index)
{
    struct rows *rows = context;
    const struct stele_schema *schema = rows->options.schema;
    size_t field_index = rows->last_key_index + 1;
    char name[STELE_NAME_BYTES_MAX + 1];

    if (field_index >= stele_schema_field_count(schema))
        field_index = 0;
    if (!is_name_of(stele_schema_field(schema, field_index), key, bytes)) {
        if (bytes > STELE_NAME_BYTES_MAX || memchr(key, '\0', bytes))
            return false;
        memcpy(name, key, bytes);
        name[bytes] = '\0';
        if (!stele_schema_find(schema, name, &field_index))
            return false;
    }
    rows->last_key_index = *out_key_index = field_index;
    return true;
}

static size_t dimension_count(const struct stele_field *field)
{
    size_t count = 0;

    while (count < 4 && field->dims[count])
        count++;
    return count;
}

/* An array must be as long as its dimension: fewer elements are more often a mistake than meant. */
static int check_array_end(struct rows *rows, const struct json_value *value, const struct stele_field *field)
{
    char error[VALUE_ERROR_BYTES];

    if (value->depth >= dimension_count(field))
        snprintf(error, sizeof error, "an array, one value is expected");
    else if (value->index[value->depth] != field->dims[value->depth])
        snprintf(error, sizeof error, "the array has %" PRIu64 " elements, %" PRIu32 " are expected",
                 value->index[value->depth], field->dims[value->depth]);
    else
        return STELE_OK;
    return rows_refuse(rows, value->place, "field `%s`: %s", field->name, error);
}

/*
 * The flat indexes of the elements that @value is for: one, or with null in the place of an array all of it.
 * False after a refusal.
 */
static bool find_elements(struct rows *rows, const struct json_value *value, const struct stele_field *field,
                          uint64_t *out_first, uint64_t *out_count)
{
    size_t dims = dimension_count(field);
    uint64_t first = 0;
    uint64_t count = 1;

    if (value->depth > dims || (value->depth < dims && value->kind != JSON_NULL)) {
        if (dims == 0)
            rows_refuse(rows, value->place, "field `%s`: an array, one value is expected", field->name);
        else
            rows_refuse(rows, value->place, "field `%s`: an array is expected, nested %zu deep", field->name,
                        dims);
        return false;
    }
    for (size_t i = 0; i < dims; i++) {
        if (i < value->depth && value->index[i] >= field->dims[i]) {
            rows_refuse(rows, value->place, "field `%s`: the array has more than %" PRIu32 " elements",
                        field->name, field->dims[i]);
            return false;
        }
        first = first * field->dims[i] + (i < value->depth ? value->index[i] : 0);
        count *= i < value->depth ? 1 : field->dims[i];
    }
    *out_first = first;
    *out_count = count;
    return true;
}

static bool is_one_of(const struct json_value *value, const char *const *words)
{
    for (; *words; words++)
        if (strlen(*words) == value->bytes && memcmp(*words, value->text, value->bytes) == 0)
            return true;
    return false;
}

/* What JSON must have here, or NULL if it has. */
static const char *kind_expected(const struct rows *rows, const struct json_value *value,
                                 const struct stele_field *field)
{
    static const char *const not_finite[] = { "NaN", "Infinity", "-Infinity", NULL };
    int32_t constant = 0;

    switch (field->type) {
    case STELE_TEXT:
        return value->kind == JSON_TEXT ? NULL : "a string is expected";
    case STELE_BYTES:
        return value->kind == JSON_TEXT ? NULL : "a string of hex digits is expected";
    case STELE_BOOL:
        return value->kind == JSON_BOOL || value->kind == JSON_NUMBER ? NULL : "true or false is expected";
    case STELE_F32:
    case STELE_F64:
        if (value->kind == JSON_NUMBER || (value->kind == JSON_TEXT && is_one_of(value, not_finite)))
            return NULL;
        return "a number, \"NaN\", \"Infinity\" or \"-Infinity\" is expected";
    default:
        if (value->kind == JSON_NUMBER)
            return NULL;
        if (!stele_schema_enum(rows->options.schema, value->key_index, 0, &constant))
            return "a number is expected";
        return value->kind == JSON_TEXT ? NULL : "a number or the name of a constant is expected";
    }
}

static int take_value(void *context, const struct json_value *value)
{
    struct rows *rows = context;
    const struct stele_schema *schema = rows->options.schema;
    const struct stele_field *field = stele_schema_field(schema, value->key_index);
    uint64_t element_index = 0;
    uint64_t element_count = 0;
    const char *expected = NULL;
    char error[VALUE_ERROR_BYTES];

    if (value->kind == JSON_ARRAY_END)
        return check_array_end(rows, value, field);
    if (!find_elements(rows, value, field, &element_index, &element_count))
        return STELE_E_FORMAT;
    if (value->kind == JSON_NULL || (value->kind == JSON_TEXT && field->type != STELE_TEXT &&
                                     rows_is_null(rows, value->text, value->bytes))) {
        for (uint64_t i = 0; i < element_count; i++)
            rows_take_null(rows, value->key_index, element_index + i);
        return STELE_OK;
    }
    expected = kind_expected(rows, value, field);
    if (expected)
        return rows_refuse_value(rows, value->place, value->key_index, element_index, expected);
    if (value_parse(schema, value->key_index, element_index, value->text, value->bytes, rows->options.flags,
                    rows->record, error) != STELE_OK)
        return rows_refuse_value(rows, value->place, value->key_index, element_index, error);
    return STELE_OK;
}

static const struct json_sink sink = { .find_key = find_key, .take_value = take_value };

int rows_ndjson_open(struct rows *rows)
{
    return json_reader_new(&rows->input, &sink, rows, stele_schema_field_count(rows->options.schema),
                           JSON_LINE_BYTES_MAX, &rows->json);
}

int rows_ndjson_next(struct rows *rows, bool skip)
{
    const struct json_problem *problem = json_reader_problem(rows->json);
    int rc = STELE_OK;

    rows->problem.text[0] = '\0';
    rc = json_read_row(rows->json, skip);
    if (rc == STELE_E_TOO_BIG || (rc == STELE_E_FORMAT && rows->problem.text[0] == '\0'))
        return rows_refuse(rows, problem->place, "%s", problem->text);
    return rc;
}
