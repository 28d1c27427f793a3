/*
 * Schemas: what a record looks like, as fields and as the bytes that a store keeps.
 *
 * Pure: no file, no system. A schema never changes after it is made, so any thread may read it.
 */
#ifndef STELE_SCHEMA_H
#define STELE_SCHEMA_H

#include "format.h"
#include "stele.h"

#include <stdbool.h>

struct stele_enum_constant {
    char name[STELE_FIELD_NAME_BYTES_MAX + 1];
    int32_t value;
};

/* What the parser knows of a field beyond struct stele_field. */
struct stele_field_enum {
    const struct stele_enum_constant *constants;
    size_t constant_count;
};

/* Bytes of the record that no field covers. */
struct stele_padding {
    uint32_t offset;
    uint32_t bytes;
};

/*
 * As stele_schema_new, with @pack and, per field, its enum constants (@enums may be NULL).
 */
int stele_schema_make(const char *name, uint64_t record_bytes, uint32_t pack, const struct stele_field *fields,
                      const struct stele_field_enum *enums, size_t field_count, struct stele_schema **out);

/* The bytes that go to the file: *@out_bytes of them, owned by the schema (FORMAT.md, section 3). */
const uint8_t *stele_schema_encoded(const struct stele_schema *schema, uint32_t *out_bytes);

/*
 * Make a schema of the @byte_count bytes at @bytes, which may be hostile.
 *
 * Errors:  STELE_E_DAMAGED a size, count or offset does not fit; STELE_E_VERSION newer schema or attribute
 */
int stele_schema_decode(const uint8_t *bytes, size_t byte_count, struct stele_schema **out);

/* The padding of a record, *@out_count stretches by ascending offset; owned by the schema. */
const struct stele_padding *stele_schema_padding(const struct stele_schema *schema, size_t *out_count);

/* Zero the padding of @record_count packed records at @records. */
void stele_schema_clear_padding(const struct stele_schema *schema, uint8_t *records, size_t record_count);

#endif
