/*
 * What the caller asked for, checked: structs of any size, flags that are known, defaults filled in.
 */
#ifndef STELE_OPTIONS_H
#define STELE_OPTIONS_H

#include "stele.h"

#define STELE_WAIT_MS_DEFAULT 5000u
#define STELE_SYNC_INTERVAL_MS_DEFAULT 100u

/*
 * Read @options (NULL: all defaults) into *@out.
 *
 * Errors:  STELE_E_USAGE an unknown flag outside @flags_known, mode, or something not zero where it must be
 */
int stele_options_read(const struct stele_options *options, uint32_t flags_known, struct stele_options *out);

/*
 * Copy a struct of @our_bytes at @ours to the caller's @theirs, which begins with its own size: the smaller of the
 * two is filled, the rest of theirs zeroed.
 *
 * Errors:  STELE_E_USAGE the caller's size is not set
 */
int stele_struct_give(const void *ours, size_t our_bytes, void *theirs);
/* Whether the caller's size is set. Errors: STELE_E_USAGE */
int stele_struct_check(const void *theirs);
/* The other way: bytes that the caller has and we do not know must be zero. */
int stele_struct_take(void *ours, size_t our_bytes, const void *theirs);

#endif
