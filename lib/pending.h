/*
 * Pending: a run of journal entries that are neither synced nor in place, one behind the other as in the ring, and what
 * they come to: where in it the last image of each record is, and the last word of each block (protocol: lib/DESIGN.md,
 * Groups).
 *
 * Threads: the caller's lock
 */
#ifndef STELE_PENDING_H
#define STELE_PENDING_H

#include "journal.h"
#include "lookup.h"

struct stele_pending_image {
    uint64_t index;
    size_t at;    /* byte of the run */
    size_t older; /* 1 + position of the next one of the block; 0: none */
};

struct stele_pending_block {
    uint64_t block, word;
    size_t newest; /* as older */
};

struct stele_pending {
    uint32_t entry_count;
    uint32_t async_count;    /* of them acknowledged already */
    struct stele_entry run;
    uint64_t place;          /* of the run's first byte in the ring */
    uint64_t chain_before;   /* trailer of the entry before the run */
    uint64_t chain;          /* trailer of its last */
    size_t written_bytes;    /* of the run that are in the ring */
    uint64_t session;        /* that they were written in */
    uint64_t first_sequence, last_sequence;
    uint64_t count;       /* of records, after the last of them */
    uint64_t began_us;    /* stele_os_clock_us of the first */
    struct stele_pending_image *images;
    size_t image_count, image_room;
    struct stele_pending_block *blocks;
    size_t block_count, block_room;
    struct stele_lookup block_places; /* block -> position in blocks */
    struct stele_lookup image_places; /* index -> position in images */
};

void stele_pending_done(struct stele_pending *pending); /* safe twice, and on a zeroed struct */

static inline bool stele_pending_is_any(const struct stele_pending *pending)
{
    return pending->entry_count != 0;
}

/* Room for @image_count more images and @block_count more words. Errors: STELE_E_NOMEM, with nothing changed */
int stele_pending_reserve(struct stele_pending *pending, size_t image_count, size_t block_count);
/* Add the items of the entry that was sealed last. Errors: STELE_E_NOMEM, with nothing changed */
int stele_pending_add(struct stele_pending *pending, const struct stele_layout *layout);
/* Forget all: it is in place, or another handle saw to it. The memory is kept. */
void stele_pending_clear(struct stele_pending *pending);

/* The last image of record @index; NULL where it has none. */
const uint8_t *stele_pending_find(const struct stele_pending *pending, uint64_t index);
/* Lay the images of @block over its @records; *@word becomes its last. */
void stele_pending_lay(const struct stele_pending *pending, const struct stele_layout *layout, uint64_t block,
                       uint8_t *records, uint64_t *word);

#endif
