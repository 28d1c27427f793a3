/*
 * Making the file of a store: laid out, written, and durable before it has a name.
 */
#ifndef STELE_CREATE_H
#define STELE_CREATE_H

#include "layout.h"
#include "os.h"
#include "schema.h"

/*
 * Write everything but the header slots into the empty @file: sizes, ring, schema, a live region of @session.
 *
 * Errors:  STELE_E_FULL, STELE_E_IO
 */
int stele_create_fill(const struct stele_os_file *file, const struct stele_layout *layout, bool is_sparse,
                      const struct stele_schema *schema);

/* A header slot for a new file of @layout and @schema, with fresh ids. Errors: STELE_E_IO no random bytes */
int stele_create_slot(const struct stele_layout *layout, bool is_sparse, const struct stele_schema *schema,
                      struct stele_slot *out);

#endif
