/*
 * Opening a store that exists: a handle from a file, for reading or for writing.
 */
#ifndef STELE_OPEN_H
#define STELE_OPEN_H

#include "handle.h"

/*
 * Make a handle of @file with @options (read by stele_options_read), whose header is @superblock.
 *
 * Owner:   on success the handle owns the file, and @file is empty; caller calls stele_handle_free
 */
int stele_handle_new(const char *path, const struct stele_options *options, struct stele_os_file *file,
                     const struct stele_superblock *superblock, struct stele_schema *schema, struct stele **out);
/* Free the handle and all it owns; gives its locks back. NULL is fine. */
void stele_handle_free(struct stele *store);

/* Read and check the schema that @superblock names. Errors: STELE_E_DAMAGED, STELE_E_VERSION. Owner: caller frees */
int stele_open_schema(const struct stele_os_file *file, const struct stele_superblock *superblock,
                      struct stele_schema **out);

/*
 * Open the store at @path as @options say; @is_forced: recovery goes on behind lost entries.
 *
 * Errors:  as stele_open
 */
int stele_open_path(const char *path, const struct stele_options *options, bool is_forced, struct stele **out);

#endif
