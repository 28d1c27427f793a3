#include "lookup.h"

#include "error.h"

#include <stdlib.h>
#include <string.h>

#define SLOT_COUNT_MIN 64u

/* Fibonacci hashing: indexes come in runs, the multiplication spreads them. */
static size_t place_of(uint64_t key, size_t slot_count)
{
    uint64_t mixed = (key + 1) * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(mixed ^ (mixed >> 32)) & (slot_count - 1);
}

static struct stele_lookup_slot *slot_of(const struct stele_lookup *lookup, uint64_t key)
{
    size_t at = place_of(key, lookup->slot_count);
    while (lookup->slots[at].key_plus_1 != 0 && lookup->slots[at].key_plus_1 != key + 1)
        at = (at + 1) & (lookup->slot_count - 1);
    return &lookup->slots[at];
}

uint64_t *stele_lookup_find(const struct stele_lookup *lookup, uint64_t key)
{
    if (lookup->count == 0)
        return NULL;
    struct stele_lookup_slot *slot = slot_of(lookup, key);
    return slot->key_plus_1 ? &slot->value : NULL;
}

static int grow(struct stele_lookup *lookup)
{
    struct stele_lookup larger = { .slot_count = lookup->slot_count ? lookup->slot_count * 2 : SLOT_COUNT_MIN,
                                   .count = lookup->count };
    larger.slots = calloc(larger.slot_count, sizeof(*larger.slots));
    if (!larger.slots)
        return stele_fail(STELE_E_NOMEM, "out of memory for a table of %zu entries", larger.slot_count);
    for (size_t i = 0; i < lookup->slot_count; i++) {
        if (lookup->slots[i].key_plus_1)
            *slot_of(&larger, lookup->slots[i].key_plus_1 - 1) = lookup->slots[i];
    }
    free(lookup->slots);
    *lookup = larger;
    return STELE_OK;
}

int stele_lookup_put(struct stele_lookup *lookup, uint64_t key, uint64_t **out_value, bool *out_is_new)
{
    struct stele_lookup_slot *slot = lookup->slot_count ? slot_of(lookup, key) : NULL;
    *out_is_new = !slot || slot->key_plus_1 == 0;
    if (*out_is_new && lookup->count >= lookup->slot_count / 4 * 3) {
        int rc = grow(lookup);
        if (rc)
            return rc;
        slot = slot_of(lookup, key);
    }
    if (*out_is_new) {
        slot->key_plus_1 = key + 1;
        slot->value = 0;
        lookup->count++;
    }
    *out_value = &slot->value;
    return STELE_OK;
}

void stele_lookup_clear(struct stele_lookup *lookup)
{
    if (lookup->count)
        memset(lookup->slots, 0, lookup->slot_count * sizeof(*lookup->slots));
    lookup->count = 0;
}

void stele_lookup_done(struct stele_lookup *lookup)
{
    free(lookup->slots);
    memset(lookup, 0, sizeof(*lookup));
}
