/* A schema as C, JSON and a NumPy dtype. */
#ifndef STELE_CLI_SCHEMA_OUT_H
#define STELE_CLI_SCHEMA_OUT_H

#include "json_out.h"
#include "stele.h"

/* "i8" to "bytes", as FORMAT.md names them. */
const char *schema_type_name(uint32_t type);
/* Add @schema as an object with the keys name, record_bytes, pack, fields. */
void schema_out_json(const struct stele_schema *schema, const char *key, struct json_out *out);
void schema_out_numpy(const struct stele_schema *schema, struct text *out);
/*
 * Add C declarations that lay the record out in the same way.
 *
 * Errors:  STELE_E_UNSUPPORTED no C struct under one #pragma pack does: @out holds the fields in a comment
 */
int schema_out_c(const struct stele_schema *schema, struct text *out);

#endif
