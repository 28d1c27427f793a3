/*
 * Pending: what the asynchronous commits of a handle come to, until they are synced and put in place (protocol:
 * lib/DESIGN.md, Asynchronous commits).
 *
 * The entries stand in the handle's run, one behind the other as in the ring; this knows where in it the last image of
 * each record is, and the last word of each block.
 *
 * Threads: the one that has the turn changes it, under `mutex`; others look under it
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
    struct stele_os_mutex mutex;
    uint32_t entry_count; /* changed under the mutex; atomic */
    uint64_t session;     /* that they were written in */
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

void stele_pending_done(struct stele_pending *pending); /* frees all but the mutex, which is the caller's */

static inline bool stele_pending_is_any(const struct stele_pending *pending)
{
    return __atomic_load_n(&pending->entry_count, __ATOMIC_ACQUIRE) != 0;
}

/* Room for @image_count more images and @block_count more words. Errors: STELE_E_NOMEM, with nothing changed */
int stele_pending_reserve(struct stele_pending *pending, size_t image_count, size_t block_count);
/*
 * Add the items of the @entry that was sealed last; there is room.
 *
 * Shape:   it has no count item that cuts
 */
int stele_pending_add(struct stele_pending *pending, const struct stele_layout *layout, const struct stele_entry *entry);
/* Forget all: it is in place, or another handle saw to it. */
void stele_pending_clear(struct stele_pending *pending);

/* Where the image of record @index is in the run; false where it has none. */
bool stele_pending_find(const struct stele_pending *pending, uint64_t index, size_t *out_at);
/* Lay the images of @block, out of @run, over its @records; *@word becomes its last. */
void stele_pending_lay(const struct stele_pending *pending, const struct stele_layout *layout, uint64_t block,
                       const uint8_t *run, uint8_t *records, uint64_t *word);

#endif
