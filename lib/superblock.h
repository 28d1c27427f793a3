/*
 * The superblock: two header slots, of which the valid one with the higher generation rules, and how they flip.
 *
 * Invariants
 *  1. A flip writes the other slot, syncs, then this one, syncs: at every moment one slot is whole.
 *  2. Space that a flip frees (ring, old sums) is reused only after both writes.
 *  3. What this library does not know in a slot is carried unchanged.
 */
#ifndef STELE_SUPERBLOCK_H
#define STELE_SUPERBLOCK_H

#include "format.h"
#include "layout.h"
#include "os.h"

struct stele_superblock {
    struct stele_slot slot; /* the ruling one */
    struct stele_layout layout;
    uint32_t ruling;        /* 0: A, 1: B */
    uint32_t damage;        /* STELE_FILE_DAMAGE_SLOT_A | _SLOT_B: does not verify, the other serves */
    bool may_write;         /* no read-only-compatible feature or region that we do not know */
};

/*
 * Read both slots of @file, choose the ruling one and check every field of it.
 *
 * Errors:  STELE_E_FORMAT not a store; STELE_E_VERSION; STELE_E_DAMAGED neither slot verifies, or a field cannot be;
 *          STELE_E_TRUNCATED; STELE_E_IO
 */
int stele_superblock_read(const struct stele_os_file *file, struct stele_superblock *out);

/* Choose between two slots as read from disk: the rule of FORMAT.md, section 2, without the file. */
int stele_superblock_choose(const struct stele_slot slots[2], uint32_t *out_ruling, uint32_t *out_damage);

/* Compute the slot's hash. */
void stele_slot_seal(struct stele_slot *slot);

/*
 * Write the ruling slot again, with identical bytes: after a failed sync the cache may show a slot that the disk
 * never got.
 *
 * Durability: after return the ruling slot is on disk
 */
int stele_superblock_rewrite(const struct stele_os_file *file, const struct stele_superblock *superblock);

/*
 * Make @next the content of both slots, with the next generation, and @superblock's.
 *
 * Errors:  any: which of the two contents rules after a power cut is not known
 * Durability: after return both slots are on disk
 */
int stele_superblock_flip(const struct stele_os_file *file, struct stele_superblock *superblock,
                          const struct stele_slot *next);

/* Write @slot as both slots of a new file, without a sync. */
int stele_superblock_write_new(const struct stele_os_file *file, const struct stele_slot *slot);

/* Add an entry to the history of @slot. */
void stele_slot_add_history(struct stele_slot *slot, const struct stele_history *entry);

#endif
