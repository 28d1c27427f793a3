/*
 * Schemas: what a record looks like, as fields and as the bytes that a store keeps.
 *
 * Pure: no file, no system. A schema never changes after it is made, so any thread may read it.
 *
 * Invariants
 *  1. Fields stand by ascending offset, do not overlap, and lie inside the record.
 *  2. Each byte of the record belongs to one field or to one stretch of padding.
 *  3. The encoded bytes are kept as they came, so attributes of newer versions survive.
 *
 * Not here: hashes and places (superblock), C text (spec).
 */
#ifndef STELE_SCHEMA_H
#define STELE_SCHEMA_H

#include "format.h"
#include "stele.h"

#include <stdbool.h>

/* No schema has more: a field takes 40 bytes, its name and padding to 8. */
#define STELE_FIELD_COUNT_MAX \
    ((STELE_SCHEMA_BYTES_MAX - sizeof(struct stele_schema_head)) / (sizeof(struct stele_schema_field) + 8))

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

/* Open to the two bodies of this module alone. */
struct stele_schema {
    uint64_t record_bytes;
    uint32_t pack;
    uint32_t encoded_bytes;
    uint8_t *encoded;
    size_t field_count, constant_count, padding_count;
    struct stele_field *fields;
    struct stele_field_enum *enums;
    char (*names)[STELE_FIELD_NAME_BYTES_MAX + 1];
    struct stele_enum_constant *constants;
    struct stele_padding *paddings;
    char name[STELE_FIELD_NAME_BYTES_MAX + 1];
};

/*
 * As stele_schema_new, with @pack and, per field, its enum constants (@enums may be NULL).
 */
int stele_schema_make(const char *name, uint64_t record_bytes, uint32_t pack,
                      const struct stele_field *fields, const struct stele_field_enum *enums,
                      size_t field_count, struct stele_schema **out);

/* The bytes that go to the file: *@out_bytes of them, owned by the schema (FORMAT.md, section 3). */
const uint8_t *stele_schema_encoded(const struct stele_schema *schema, uint32_t *out_bytes);

/*
 * Make a schema of the @byte_count bytes at @bytes, which may be hostile.
 *
 * Errors:  STELE_E_DAMAGED a size, count or offset does not fit; STELE_E_VERSION newer schema, type or
 *          attribute; STELE_E_NOMEM
 * Owner:   caller frees *out, which keeps a copy of the bytes
 */
int stele_schema_decode(const uint8_t *bytes, size_t byte_count, struct stele_schema **out);

/* The padding of a record, *@out_count stretches by ascending offset; owned by the schema. */
const struct stele_padding *stele_schema_padding(const struct stele_schema *schema, size_t *out_count);

/* Zero the padding of @record_count packed records at @records. */
void stele_schema_clear_padding(const struct stele_schema *schema, uint8_t *records, size_t record_count);

/* Fill in the padding of @schema, whose fields are complete. */
void stele_schema_find_padding(struct stele_schema *schema);

/* The bytes of @field with all its elements, or UINT64_MAX when that is more than @limit. */
uint64_t stele_field_bytes(const struct stele_field *field, uint64_t limit);

/* The size of one element of @type, 1 for text and bytes, 0 for no type. */
uint32_t stele_type_bytes(uint32_t type);
/* "i32", "text" …; never NULL. */
const char *stele_type_name(uint32_t type);
/* Whether fields of @type say their own size: text and bytes. */
bool stele_type_is_sized(uint32_t type);

/* Whether @pack is a #pragma pack value, or 0: natural. */
bool stele_is_pack(uint32_t pack);

#endif
