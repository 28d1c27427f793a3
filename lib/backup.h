/*
 * Backup: the state of a live store as of one commit, in a file of its own (protocol: lib/DESIGN.md, Backup).
 *
 * Passes copy blocks without holding anybody up; a pass copies what moved since the one before began. What is copied
 * while it is being stored may be torn: its stripe then says so to the next pass. The last pass runs where nothing
 * moves: under the writer's turn, or, for a handle that only reads, between two looks at the store that are alike.
 *
 * Threads: the one that called stele_backup
 */
#ifndef STELE_BACKUP_H
#define STELE_BACKUP_H

#include "handle.h"
#include "reader.h"

#define STELE_BACKUP_PIECE_BYTES (UINT64_C(1) << 20) /* asked for ahead and copied at once */

/* The store as one look finds it. */
struct stele_moment {
    const struct stele_reading *reading; /* NULL: a read-write handle */
    uint64_t session, sequence, count, layout_version;
    bool is_idle;
};

struct stele_backup {
    struct stele *store;
    stele_progress *progress;
    void *progress_context;
    struct stele_os_draft draft;
    struct stele_layout to;        /* the copy's */
    struct stele_superblock from;  /* the store's header at the last look; its layout is where blocks are read */
    struct stele_moment now;       /* at the begin of this pass */
    struct stele_moment place;     /* what `from` belongs to: it may have been looked up since */
    bool has_turn, is_sparse;

    /* what a pass copies */
    uint64_t dirty[STELE_STRIPE_COUNT / 64]; /* places of blocks in the cycle of stripes; see mark_dirty */
    uint64_t first_new;            /* block: from here on all are copied */
    uint64_t copied_end;           /* block: no pass has put anything into the copy from here on */
    uint64_t cloned_end;           /* block: the first pass finds records below it in the copy */
    uint64_t pass_bytes, pass_count, quiet_bytes;
    uint64_t asked_until;
    uint64_t hole_end;             /* block: nothing is stored up to it */

    /* the piece in hand */
    uint8_t *records;
    uint64_t *words;
    uint64_t piece_blocks;

    /* header of the last commit copied: the slot and what the ring adds */
    struct stele_walk walk;
    struct stele_replay replay;
    struct stele_layout walk_layout; /* the ring is judged by it */
    uint64_t walk_generation;
    bool is_walking;

    uint64_t near_since_us, told_us; /* of a handle that waits for a still moment */

    struct stele_lookup damaged;   /* block: 1, or 0 where a later pass found it good */
    uint64_t unremembered_count;
};

static inline bool stele_backup_is_first(const struct stele_backup *backup) { return backup->pass_count == 0; }

/* Whether the copy reads as zeros from @block on. */
static inline bool stele_backup_is_fresh(const struct stele_backup *backup, uint64_t block)
{
    return block >= stele_max(backup->copied_end, backup->cloned_end);
}

/* ---- looking at the store: backup_look.c ---- */

/*
 * Look at store and header until the two agree on where everything is, and keep that in @backup.
 *
 * Errors:  STELE_E_BUSY, what reading the header returns, what stele_backup_check_header returns
 */
int stele_backup_locate(struct stele_backup *backup, struct stele_moment *out);
/* Whether what was just read was read where it belongs: a growth may give the old sums' space to records. */
bool stele_backup_is_in_place(const struct stele_backup *backup);
/* Whether a pass that began at backup->now may be the last: nothing was committed since. */
int stele_backup_is_still(struct stele_backup *backup, bool *out_is_still);
/* What has to be laid over what is read from the file; NULL: nothing. */
const struct stele_replay *stele_backup_images(const struct stele_moment *moment);
/* Whether the file is whole and ours to copy. Errors: STELE_E_VERSION, STELE_E_TRUNCATED, STELE_E_STALE */
int stele_backup_check_header(const struct stele_backup *backup);
/*
 * Read what header and ring say as of the commit that this pass copies.
 *
 * Errors:  STELE_END they say it of another one; STELE_E_DAMAGED; what reading them returns
 */
int stele_backup_read_header(struct stele_backup *backup);

/* ---- pieces: backup_piece.c ---- */

/*
 * Of a sparse store: find the first block from @block on that may hold something. Where neither records nor words were
 * ever stored, and the copy has nothing either, there is nothing to do; who stores there later moves the stripe.
 */
int stele_backup_skip_hole(struct stele_backup *backup, uint64_t block, uint64_t *out_block);
/*
 * Copy @block_count blocks from @block on, of which the copy has either all or none, with their words as they are.
 *
 * Shape:   at most piece_blocks; all below backup->now.count
 * Errors:  STELE_E_FULL, STELE_E_IO, STELE_E_TRUNCATED, STELE_E_STALE, STELE_E_BUSY
 */
int stele_backup_copy_piece(struct stele_backup *backup, uint64_t block, uint64_t block_count);

#endif
