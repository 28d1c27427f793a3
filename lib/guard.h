/*
 * Copies that survive a page which cannot be read: file cut by another process, media error.
 *
 * A fault inside a guarded copy ends the copy with a code; a fault anywhere else goes to the handler that the
 * application had before. No system call per copy. An application that replaces the handler afterwards loses the
 * guard. The handler stays for the life of the process, at exit too, so the library must not be unloaded: it is
 * linked with -z nodelete.
 */
#ifndef STELE_GUARD_H
#define STELE_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Install the process-wide handler once; idempotent, any thread. */
int stele_guard_install(void);

/*
 * Copy @byte_count bytes from the map at @shared to @out, as stele_copy_shared does; false if a page could not be
 * read: @out is then undefined.
 *
 * Threads: any; not reentrant from a signal handler
 */
bool stele_guard_copy(void *out, const void *shared, size_t byte_count);

/* The other way: store @bytes to the map at @shared; false if a page could not be had: some may be stored then. */
bool stele_guard_store(void *shared, const void *bytes, size_t byte_count);
/*
 * Have each page of a writable map, from @shared on, in memory and writable, without changing it; false if one could
 * not be had.
 */
bool stele_guard_touch(void *shared, size_t byte_count);

/*
 * Watch the map of @byte_count bytes at @base, whose words are loaded and stored bare: when a page of it cannot be
 * read, zeros are put in its place, for this process alone, and *@out_is_cut becomes 1.
 *
 * Errors:  STELE_E_NOMEM
 * Owner:   *out_is_cut lives until stele_guard_unwatch, which comes before the map goes
 * Threads: any
 */
int stele_guard_watch(void *base, size_t byte_count, bool is_writable, uint64_t **out_is_cut);
void stele_guard_unwatch(uint64_t *is_cut);

#endif
