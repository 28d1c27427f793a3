#include "value.h"

#include "cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- names ---- */

/* Read "[12]" at *@place; STELE_END when there is none. */
static int read_index(const char **place, const char *end, uint64_t *out)
{
    const char *c = *place;
    uint64_t index = 0;

    if (c == end)
        return STELE_END;
    if (*c++ != '[' || c == end || *c < '0' || *c > '9')
        return STELE_E_USAGE;
    for (; c < end && *c >= '0' && *c <= '9'; c++)
        index = index > UINT32_MAX ? index : index * 10 + (uint64_t)(*c - '0');
    if (c == end || *c++ != ']')
        return STELE_E_USAGE;
    *place = c;
    *out = index;
    return STELE_OK;
}

/* The field that @name is, or begins with before a "["; its bytes in *@out_bytes. */
static bool find_field(const struct stele_schema *schema, const char *name, size_t name_bytes,
                       size_t *out_index, size_t *out_bytes)
{
    size_t best_bytes = 0;

    for (size_t i = 0; i < stele_schema_field_count(schema); i++) {
        const char *field_name = stele_schema_field(schema, i)->name;
        size_t bytes = strlen(field_name);

        if (bytes > best_bytes && bytes <= name_bytes && !memcmp(field_name, name, bytes) &&
            (bytes == name_bytes || name[bytes] == '[')) {
            best_bytes = bytes;
            *out_index = i;
        }
    }
    *out_bytes = best_bytes;
    return best_bytes > 0;
}

static void say_no_field(const struct stele_schema *schema, const char *name, size_t name_bytes,
                         char error[VALUE_ERROR_BYTES])
{
    size_t field_count = stele_schema_field_count(schema);
    const char **names = cli_allocate(field_count * sizeof *names);
    struct text asked = { 0 };
    const char *nearest = NULL;

    text_add(&asked, name, name_bytes);
    for (size_t i = 0; i < field_count; i++)
        names[i] = stele_schema_field(schema, i)->name;
    nearest = cli_nearest(asked.bytes, names, field_count);
    if (nearest)
        snprintf(error, VALUE_ERROR_BYTES, "no field \"%.80s\"; did you mean %s?", asked.bytes, nearest);
    else
        snprintf(error, VALUE_ERROR_BYTES, "no field \"%.80s\"; `stele schema FILE` lists them", asked.bytes);
    text_done(&asked);
    free(names);
}

int value_find(const struct stele_schema *schema, const char *name, size_t name_bytes, struct value_part *out,
               char error[VALUE_ERROR_BYTES])
{
    struct value_part part = { 0 };
    const struct stele_field *field = NULL;
    const char *place = NULL, *end = name + name_bytes;
    size_t field_name_bytes = 0;
    uint64_t index = 0;
    int rc = STELE_OK;

    if (!find_field(schema, name, name_bytes, &part.field_index, &field_name_bytes)) {
        say_no_field(schema, name, name_bytes, error);
        return STELE_E_ABSENT;
    }
    field = stele_schema_field(schema, part.field_index);
    part.element_count = value_element_count(field);
    place = name + field_name_bytes;
    while ((rc = read_index(&place, end, &index)) == STELE_OK) {
        uint32_t dim = part.dim_first < 4 ? field->dims[part.dim_first] : 0;

        if (!dim) {
            snprintf(error, VALUE_ERROR_BYTES, "%s has %u dimensions, \"%.*s\" has more indexes", field->name,
                     part.dim_first, (int)(name_bytes < 80 ? name_bytes : 80), name);
            return STELE_E_RANGE;
        }
        if (index >= dim) {
            snprintf(error, VALUE_ERROR_BYTES, "%.*s: index out of range, elements are 0 to %" PRIu32,
                     (int)(name_bytes < 80 ? name_bytes : 80), name, dim - 1);
            return STELE_E_RANGE;
        }
        part.element_count /= dim;
        part.first_element += index * part.element_count;
        part.dim_first++;
    }
    if (rc != STELE_END) {
        snprintf(error, VALUE_ERROR_BYTES, "\"%.*s\": expected an index like [2] behind %s",
                 (int)(name_bytes < 80 ? name_bytes : 80), name, field->name);
        return rc;
    }
    part.is_list = part.dim_first < 4 && field->dims[part.dim_first];
    *out = part;
    return STELE_OK;
}

void value_part_name(const struct stele_schema *schema, const struct value_part *part, struct text *out)
{
    const struct stele_field *field = stele_schema_field(schema, part->field_index);
    uint64_t span = value_element_count(field), rest = part->first_element;

    text_add_string(out, field->name);
    for (unsigned d = 0; d < part->dim_first; d++) {
        span /= field->dims[d];
        text_add_format(out, "[%" PRIu64 "]", rest / span);
        rest %= span;
    }
}

/* ---- selections ---- */

/* Add @part, or each of its elements. *@room counts places. */
static void add_part(const struct stele_schema *schema, struct value_selection *selection, size_t *room,
                     const struct value_part *part, bool is_expanded)
{
    const struct stele_field *field = stele_schema_field(schema, part->field_index);
    uint64_t piece_count = is_expanded ? part->element_count : 1;
    unsigned dim_count = 0;

    while (dim_count < 4 && field->dims[dim_count])
        dim_count++;
    for (uint64_t i = 0; i < piece_count; i++) {
        struct value_part piece = *part;

        if (is_expanded)
            piece = (struct value_part){ .field_index = part->field_index,
                                         .first_element = part->first_element + i,
                                         .element_count = 1,
                                         .dim_first = dim_count };
        if (selection->part_count == *room) {
            *room = *room ? 2 * *room : 16;
            selection->parts = cli_grow(selection->parts, *room * sizeof *selection->parts);
        }
        selection->parts[selection->part_count++] = piece;
    }
}

int value_select(const struct stele_schema *schema, const char *list, bool is_expanded,
                 struct value_selection *out, char error[VALUE_ERROR_BYTES])
{
    struct value_selection selection = { 0 };
    struct value_part part = { 0 };
    size_t room = 0;
    int rc = STELE_OK;

    for (size_t i = 0; !list && i < stele_schema_field_count(schema); i++) {
        const struct stele_field *field = stele_schema_field(schema, i);

        part = (struct value_part){ .field_index = i, .element_count = value_element_count(field),
                                    .is_list = field->dims[0] != 0 };
        add_part(schema, &selection, &room, &part, is_expanded);
    }
    while (list && !rc) {
        size_t name_bytes = strcspn(list, ",");

        rc = value_find(schema, list, name_bytes, &part, error);
        if (!rc)
            add_part(schema, &selection, &room, &part, is_expanded);
        list = list[name_bytes] ? list + name_bytes + 1 : NULL;
    }
    if (rc)
        value_selection_done(&selection);
    else
        *out = selection;
    return rc;
}

void value_selection_done(struct value_selection *selection)
{
    free(selection->parts);
    *selection = (struct value_selection){ 0 };
}
