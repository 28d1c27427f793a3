/*
 * Values: text to the bytes of a field and back.
 *
 * An element is one number, bool, text or byte string of a field; a field with dimensions has the product
 * of them, counted flat from 0, the last dimension fastest. Everything works on a whole record's bytes.
 *
 *   integers  decimal with optional sign, or 0x…; exact over all of i64 and u64; an enum constant by name
 *   floats    decimal or scientific, NaN, Infinity, -Infinity (and nan, inf); printed with the shortest
 *             digits that read back the same, independent of the locale
 *   bool      true, false, 1, 0
 *   text      UTF-8 without zero characters; ends at the first zero byte of the field
 *   bytes     hex, printed in lower case; fewer than the field has: zeros follow
 *
 * Errors of all functions here: a sentence in @error, which names the value and not the field.
 */
#ifndef STELE_CLI_VALUE_H
#define STELE_CLI_VALUE_H

#include "stele.h"
#include "text.h"

#include <float.h>
#include <stdbool.h>

#define VALUE_ERROR_BYTES 256

/* isnan and isinf are macros that some compilers warn about for what they do to other types. */
static inline bool value_is_a_nan(double value)
{
    return value != value;
}

static inline bool value_is_infinite(double value)
{
    return value > DBL_MAX || value < -DBL_MAX;
}

/* Elements of @field: 1 without dimensions. */
uint64_t value_element_count(const struct stele_field *field);
/* Bytes of one element. */
uint32_t value_element_bytes(const struct stele_field *field);

/* ---- parts: a field, a part of it (m[1]), or an element of it (m[1][2]) --------------------- */

struct value_part {
    size_t field_index;
    uint64_t first_element, element_count;
    unsigned dim_first; /* dimensions before this one are fixed by the name */
    bool is_list;       /* dimensions are left: it reads and prints as a (nested) array */
};

/*
 * Find @name (@name_bytes long): `field`, `field[2]`, `field[1][2]`.
 *
 * Errors:  with the nearest name: STELE_E_ABSENT no such field; STELE_E_RANGE past the dimension;
 *          STELE_E_USAGE malformed
 */
int value_find(const struct stele_schema *schema, const char *name, size_t name_bytes, struct value_part *out,
               char error[VALUE_ERROR_BYTES]);

struct value_selection {
    struct value_part *parts;
    size_t part_count;
};

/*
 * Make *@out from @list, names with commas between them, or of all fields for NULL. With @is_expanded each
 * element is a part of its own: the columns of a CSV file.
 *
 * Errors:  as value_find
 * Owner:   value_selection_done
 */
int value_select(const struct stele_schema *schema, const char *list, bool is_expanded,
                 struct value_selection *out, char error[VALUE_ERROR_BYTES]);
void value_selection_done(struct value_selection *selection); /* safe twice, and on a zeroed struct */

/* Add the name of @part to @out: `field`, `field[0]`, `field[1][2]`. */
void value_part_name(const struct stele_schema *schema, const struct value_part *part, struct text *out);

/* ---- reading text -------------------------------------------------------------------------- */

enum { VALUE_TRUNCATE = 1 /* flags: cut text that is too long, between characters */ };

/*
 * Read element @element_index of field @field_index from the @byte_count bytes of @bytes into @record.
 *
 * Errors:  @record unchanged: STELE_E_RANGE it does not fit ("300 does not fit i8: -128 to 127");
 *          STELE_E_USAGE it is no such value (also text that is not UTF-8)
 */
int value_parse(const struct stele_schema *schema, size_t field_index, uint64_t element_index,
                const char *bytes, size_t byte_count, unsigned flags, void *record,
                char error[VALUE_ERROR_BYTES]);

/*
 * As value_parse for all elements of @part: one as it is; a list as [v, v] nested as its dimensions are,
 * elements bare or as JSON strings. After an error @record may hold some of them.
 */
int value_parse_part(const struct stele_schema *schema, const struct value_part *part, const char *bytes,
                     size_t byte_count, unsigned flags, void *record, char error[VALUE_ERROR_BYTES]);

/* Make the element null: NaN in float fields, else zero or empty. */
void value_set_null(const struct stele_schema *schema, size_t field_index, uint64_t element_index,
                    void *record);

/* ---- printing ------------------------------------------------------------------------------ */

enum value_form {
    VALUE_PLAIN, /* as in a CSV cell, before quoting */
    VALUE_JSON,  /* strings quoted, NaN and infinities as strings, lists as nested arrays */
    VALUE_SHOWN  /* for people: as JSON, but NaN and hex bare, and bytes that are not UTF-8 as \xNN */
};

enum { VALUE_REPLACE = 1 /* flags: bytes of text that are not UTF-8 become U+FFFD */ };

/* Whether the element is a float field's NaN. */
bool value_is_nan(const struct stele_schema *schema, size_t field_index, uint64_t element_index,
                  const void *record);

/*
 * Add element @element_index of field @field_index of @record to @out in @form.
 *
 * Errors:  STELE_E_USAGE text is not UTF-8 (never with VALUE_SHOWN or VALUE_REPLACE), @out unchanged
 */
int value_print(const struct stele_schema *schema, size_t field_index, uint64_t element_index,
                const void *record, enum value_form form, unsigned flags, struct text *out);
/* As value_print for all elements of @part; a list as a nested array. */
int value_print_part(const struct stele_schema *schema, const struct value_part *part, const void *record,
                     enum value_form form, unsigned flags, struct text *out);

/* How a record looks as a row. */
struct value_style {
    char separator;        /* of cells */
    const char *null_text; /* for NaN, in JSON a string; NULL: NaN */
    unsigned flags;        /* VALUE_REPLACE */
};

/*
 * Add @record as {"name":value,…} to @out, without a line end.
 *
 * Errors:  STELE_E_USAGE text is not UTF-8: its part in *@out_part_index (NULL is fine), @out as before
 */
int value_print_object(const struct stele_schema *schema, const struct value_selection *selection,
                       const void *record, const struct value_style *style, struct text *out,
                       size_t *out_part_index);
/*
 * As value_print_object, as CSV cells of an expanded @selection. A text cell equal to the null text, and an
 * empty one that is alone in its row, are quoted.
 */
int value_print_cells(const struct stele_schema *schema, const struct value_selection *selection,
                      const void *record, const struct value_style *style, struct text *out,
                      size_t *out_part_index);

#endif
