/*
 * The live region: volatile words that the processes which have the file open share (FORMAT.md, section 6).
 *
 * Invariants
 *  1. Words and stripes are stored under the writer's lock only; readers load them.
 *  2. Every word is loaded once and clamped before it is used: another process may have stored anything.
 *  3. A stripe is odd exactly while records of its blocks, or the count in them, are being stored.
 */
#ifndef STELE_LIVE_H
#define STELE_LIVE_H

#include "bits.h"
#include "format.h"
#include "layout.h"
#include "os.h"

struct stele_live_map {
    struct stele_live *words;
    uint64_t *stripes;
    void *base;
    size_t map_bytes;
    uint64_t fork_count; /* a child does not inherit the map */
    uint64_t *is_cut;    /* atomic: not 0 once a page of it could not be read, and words are zeros */
    void *copy;          /* where words and stripes are while nothing is mapped; NULL else */
};

/* A set of stripes, and so of blocks. */
struct stele_stripe_set {
    uint64_t bits[STELE_STRIPE_COUNT / 64];
};

/* What a handle that just recovered or laid out publishes. */
struct stele_live_state {
    uint64_t sequence, chain, ring_head, ring_tail, count, layout_version;
};

/*
 * Map the live region of @file.
 *
 * Errors:  STELE_E_TRUNCATED; STELE_E_FULL no disk for it (@is_writable faults every page in); STELE_E_IO
 * Owner:   caller calls done
 */
int stele_live_map(const struct stele_os_file *file, const struct stele_layout *layout, bool is_writable,
                   struct stele_live_map *out);
void stele_live_done(struct stele_live_map *live); /* safe twice, and on a zeroed struct */

/*
 * Unmap the region; words and stripes are a copy of this process from here, until stele_live_return.
 *
 * Shape:   no other thread uses @live
 * Errors:  STELE_E_NOMEM, with nothing changed
 */
int stele_live_leave(struct stele_live_map *live);
/* Map it again. Errors: as stele_live_map, the copy stays */
int stele_live_return(struct stele_live_map *live, const struct stele_os_file *file, const struct stele_layout *layout,
                      bool is_writable);

/* Whether the file was cut under the map: what was loaded from it may be zeros, what was stored is lost. */
static inline bool stele_live_is_cut(const struct stele_live_map *live)
{
    return live->is_cut && stele_load(live->is_cut) != 0;
}

/* Whether magic and live layout are ours. Errors: STELE_E_VERSION */
int stele_live_check(const struct stele_live_map *live);

/*
 * Begin a new session before any other store: from here every other handle looks at the file anew.
 *
 * Errors:  STELE_E_IO no random bytes
 */
int stele_live_claim(struct stele_live_map *live, uint64_t *out_session);
/* Publish @state: scalars, then the count. Stripes are the caller's. */
void stele_live_publish(struct stele_live_map *live, const struct stele_live_state *state);
/* Set every stripe that is odd or above @version to @version. */
void stele_live_settle_stripes(struct stele_live_map *live, uint64_t version);
void stele_live_set_state(struct stele_live_map *live, uint64_t state);

static inline void stele_stripes_clear(struct stele_stripe_set *set) { memset(set, 0, sizeof(*set)); }
static inline void stele_stripes_add(struct stele_stripe_set *set, uint64_t block)
{
    uint64_t stripe = stele_stripe_of(block);
    set->bits[stripe / 64] |= UINT64_C(1) << (stripe % 64);
}
/* Add the stripes of @block_count blocks from @first_block on; all of them when there are more than stripes. */
void stele_stripes_add_range(struct stele_stripe_set *set, uint64_t first_block, uint64_t block_count);
/* Make the stripes of @set odd, ascending, each once; a release fence follows. */
void stele_stripes_hold(struct stele_live_map *live, const struct stele_stripe_set *set);
/* Give the stripes of @set the even word of @version; what was stored before is visible to who sees it. */
void stele_stripes_release(struct stele_live_map *live, const struct stele_stripe_set *set, uint64_t version);

static inline const uint64_t *stele_live_stripe(const struct stele_live_map *live, uint64_t block)
{
    return &live->stripes[stele_stripe_of(block)];
}

#endif
