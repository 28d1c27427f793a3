/*
 * Replay: what the journal's entries since the checkpoint come to, as the last image of each record and the last word
 * of each block (protocol: lib/DESIGN.md, Recovery).
 *
 * Images stay in the ring; replay knows their places, as runs, so that its size goes with the number of items and not
 * with that of records. Recovery stores them, a checkpoint re-stores those of other handles, a read-only handle of a
 * store whose writer died lays them over the file.
 */
#ifndef STELE_REPLAY_H
#define STELE_REPLAY_H

#include "journal.h"

/* Images of neighbours, one behind the other in the ring. */
struct stele_run {
    uint64_t first;    /* index of the first record, or block */
    uint64_t n;        /* how many */
    uint64_t place;    /* of the first one's bytes in the ring */
    uint64_t sequence; /* of the entry */
};

/* In log order at first; after stele_replay_finish by ascending index, no two overlapping. */
struct stele_runs {
    struct stele_run *list;
    size_t count, room;
    uint64_t stride; /* bytes of one image */
};

/* "From @sequence on nothing at or above @lowest is left of what came before." */
struct stele_cut {
    uint64_t sequence, lowest;
};

struct stele_replay {
    struct stele_runs records, words;
    bool is_brief; /* set after init: counts, user, tag and time only */
    struct stele_cut *cuts;
    size_t cut_count, cut_room;
    uint64_t count;      /* of records, afterwards */
    uint64_t sequence, chain;
    uint64_t first_place, tail; /* ring; tail == first_place where nothing was found */
    uint64_t entry_count;
    uint64_t foreign_count;     /* entries of another writer than the one given to init */
    uint64_t writer;
    uint64_t time_us;           /* of the last entry that says so; 0: none does */
    bool has_user, has_tag;
    uint64_t user_version;
    uint8_t user[STELE_USER_BYTES];
    uint32_t tag_bytes;
    uint8_t tag[STELE_TAG_BYTES_MAX];
};

/* Begin at the checkpoint that @slot describes; entries not of @writer are counted as foreign. */
void stele_replay_init(struct stele_replay *replay, const struct stele_layout *layout, const struct stele_slot *slot,
                       uint64_t writer);
/* Add @entry, which the walk has validated. Errors: STELE_E_NOMEM */
int stele_replay_add(struct stele_replay *replay, const struct stele_walk_entry *entry);
/* Walk from where @walk is to its end, or to @last_sequence, and add all. Errors: as stele_walk_next */
int stele_replay_walk(struct stele_replay *replay, struct stele_walk *walk, uint64_t last_sequence);
/*
 * Drop what truncations cut and what lies above the last count; sort, and let the last image of each win.
 *
 * Errors:  STELE_E_NOMEM
 */
int stele_replay_finish(struct stele_replay *replay, const struct stele_layout *layout);
void stele_replay_done(struct stele_replay *replay); /* safe twice, and on a zeroed struct */

/* The first of the finished @runs that ends behind @index; runs->count where none does. */
size_t stele_runs_at(const struct stele_runs *runs, uint64_t index);
/* The ring place of the image of @index in the finished @runs; false where there is none. */
bool stele_runs_find(const struct stele_runs *runs, uint64_t index, uint64_t *out_place);
/* How many images there are. */
uint64_t stele_runs_total(const struct stele_runs *runs);

/* Put checkpoint, count and what transactions said of user and tag into @slot. */
void stele_replay_to_slot(const struct stele_replay *replay, struct stele_slot *slot);

#endif
