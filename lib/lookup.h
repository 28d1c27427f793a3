/*
 * A map from u64 to u64 in memory: which record has an image where, which block was checked.
 *
 * Open addressing, grown at three quarters; nothing is ever removed but all at once.
 */
#ifndef STELE_LOOKUP_H
#define STELE_LOOKUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct stele_lookup_slot {
    uint64_t key_plus_1; /* 0: free; keys stay below 2^63 */
    uint64_t value;
};

struct stele_lookup {
    struct stele_lookup_slot *slots;
    size_t slot_count; /* a power of two, or 0 */
    size_t count;
};

/* Where the value of @key is, or NULL. */
uint64_t *stele_lookup_find(const struct stele_lookup *lookup, uint64_t key);
/* Find @key, or add it with value 0; *@out_is_new says which. Errors: STELE_E_NOMEM */
int stele_lookup_put(struct stele_lookup *lookup, uint64_t key, uint64_t **out_value, bool *out_is_new);
void stele_lookup_clear(struct stele_lookup *lookup); /* forgets all, keeps the memory */
void stele_lookup_done(struct stele_lookup *lookup);  /* safe twice, and on a zeroed struct */

#endif
