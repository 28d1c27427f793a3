/*
 * The handle: everything that an open store is made of.
 *
 * Who may touch what: fields up to `windows` never change after open. Those of the writer belong to the thread that
 * has the turn (turn.h); `superblock` is read by others under `mutex`. `reading` is replaced atomically.
 */
#ifndef STELE_HANDLE_H
#define STELE_HANDLE_H

#include "journal.h"
#include "live.h"
#include "pending.h"
#include "replay.h"
#include "schema.h"
#include "superblock.h"
#include "window_store.h"

/* How a read-only handle sees the store; immutable once published, freed at close. */
struct stele_reading {
    struct stele_reading *previous;
    bool is_detached; /* nobody writes: the slot's count and the ring's tail laid over the file */
    uint64_t session; /* of live when this was built */
    uint64_t layout_version;
    struct stele_replay overlay;
};

/*
 * Commits that are on their way to the disk together (settle.h). Locks, taken in this order: placing, then runs; the
 * handle's mutex is never held while another is taken.
 */
struct stele_group {
    struct stele_os_mutex placing;  /* the file's records and sums against what is computed from them */
    struct stele_os_mutex runs;     /* the two runs, and the state of live */
    uint32_t entry_count, async_count; /* of both; changed under `runs`; atomic */
    struct stele_pending open;      /* commits are added by who has the turn */
    struct stele_pending closing;   /* being synced and put in place by the leader */
    uint64_t tail;                  /* of the ring, behind the last entry added; as live's while nothing is pending */
    uint64_t logged, chain;         /* of that entry, ditto */

    /* under the handle's mutex */
    struct stele_os_condition moved; /* any of these */
    bool is_led;                    /* a thread is the leader */
    bool is_writer_held;            /* the handle has W; atomic */
    uint32_t waiter_count;          /* durable commits that are not settled: W stays */
    uint64_t settled;               /* sequence up to which all is in place */
    bool is_failed;
    bool is_failed_done;            /* durable all the same, up to failed_last */
    uint64_t failed_first, failed_last; /* whose outcome nobody knows; what came later is nowhere */
    struct stele_error why;
};

struct stele_proof;

struct stele {
    struct stele_os_file file;
    char *path;
    struct stele_schema *schema;
    uint64_t fork_count;
    uint64_t writer_id; /* random; in the entries that this handle writes */
    uint32_t lock_wait_ms, read_wait_ms;
    bool is_writable;
    stele_progress *progress;
    void *progress_context;
    uint32_t sync_interval_ms;
    bool has_no_threads;
    uint64_t index_limit;      /* no record of this size can have it: words of live are clamped to it */
    struct stele_layout fixed; /* as at open: for what never changes (record size, records' place, blocks) */
    struct stele_live_map live;
    struct stele_windows windows;
    struct stele_window_stores stores; /* of the one that has the turn */

    struct stele_os_mutex mutex; /* the turn's words, superblock, making of readings */
    struct stele_os_condition turn_over;
    bool is_turn_taken;            /* changed under `mutex`; atomic */
    uint32_t open_count;           /* transactions, edits, views, cursors; atomic */
    struct stele_reading *reading; /* atomic; NULL for a read-write handle */
    struct stele_superblock superblock;
    struct stele_proof *proof;     /* STELE_VERIFY_READS: what was found good; else NULL */
    uint32_t opened_damage;        /* header slots that did not verify when it was opened */
    uint64_t opened_entry_count;
    struct stele_recovery recovered; /* what its open did */

    /* the writer's */
    bool is_present;           /* holds P */
    bool is_poisoned;          /* atomic */
    uint64_t session;          /* that superblock and what follows belong to */
    uint64_t last_logged;      /* by this handle, or seen at the checkpoint */
    uint64_t last_head;        /* of the ring, ditto */
    uint64_t last_holds;       /* of the turn given back */
    bool has_foreign;          /* the ring holds entries of others since the checkpoint */
    struct stele_lookup checked; /* blocks found good since the checkpoint */
    struct stele_group group;
    struct stele_os_thread syncer;
    struct stele_os_condition syncer_wanted;
    bool has_syncer;           /* changed by who has the turn */
    bool is_closing;           /* the syncer is to end; under `mutex` */
    uint8_t *old_block, *new_block; /* a block each */
    bool has_user, has_tag;    /* own commits since the checkpoint set them */
    uint64_t user_version, modified_us;
    uint32_t tag_bytes;
    uint8_t user[STELE_USER_BYTES], tag[STELE_TAG_BYTES_MAX];
};

static inline bool stele_handle_is_poisoned(const struct stele *store)
{
    return __atomic_load_n(&store->is_poisoned, __ATOMIC_ACQUIRE);
}
static inline void stele_handle_poison(struct stele *store)
{
    __atomic_store_n(&store->is_poisoned, true, __ATOMIC_RELEASE);
}

/* Bytes of the longest stretch that must not straddle a window: a record, or a block. */
static inline uint64_t stele_handle_overlap(const struct stele_layout *layout)
{
    return stele_max(layout->record_bytes, STELE_BLOCK_BYTES);
}

/* Raise the error of a handle in a child of the process that opened it. */
int stele_handle_forked(const struct stele *store);
/* Whether the handle may be used in this process. Errors: STELE_E_USAGE in a forked child */
static inline int stele_handle_check(const struct stele *store)
{
    return store->fork_count == stele_os_fork_count() ? 0 : stele_handle_forked(store);
}

/*
 * Copy @byte_count bytes of the file from @offset on to @out, through the windows, guarded.
 *
 * Shape:   at most stele_handle_overlap
 * Errors:  STELE_E_TRUNCATED, STELE_E_IO the page cannot be read
 */
int stele_handle_copy(struct stele *store, uint64_t offset, void *out, size_t byte_count);

/*
 * Read @byte_count bytes of the file from @offset on as every process sees them now: by the system, and where views
 * agree with views only, what windows show through them.
 *
 * Errors:  STELE_E_TRUNCATED, STELE_E_IO
 */
int stele_handle_read(struct stele *store, uint64_t offset, void *out, uint64_t byte_count);

/*
 * Take every map of the file away, so that a system which keeps mapped files in their place lets another have its
 * name; the locks stay. On other systems nothing is done. The words of live are a copy until stele_handle_map.
 *
 * Shape:   nobody else uses @store
 * Errors:  STELE_E_NOMEM, with nothing changed
 */
int stele_handle_unmap(struct stele *store);
/* Map what stele_handle_unmap took away. Where that fails @store is good for closing only. */
void stele_handle_map(struct stele *store);

/* Raise that the file was cut below its live region. */
int stele_handle_cut(const struct stele *store);

/* The code for a page of the file at @offset that could not be read: cut off or unreadable. */
int stele_handle_fault(struct stele *store, uint64_t offset, size_t byte_count);

/* Take @superblock as what rules now; other threads may be reading the old one. */
void stele_handle_set_superblock(struct stele *store, const struct stele_superblock *superblock);

/*
 * Publish @draft, the file @next_id, in the place of the file of @store, whose W and P are held alone; then say so in
 * both slots of the old one and begin a new session there, so that who has it open looks and finds out.
 *
 * Errors:  as stele_os_draft_publish; STELE_E_BUSY the system does not let go of the old file's name
 * Owner:   as stele_os_draft_publish
 */
int stele_handle_replace(struct stele *store, struct stele_os_draft *draft, const uint8_t next_id[16],
                         struct stele_os_file *out_file);

/* Load the words of the ring from live, clamped. Errors: STELE_E_DAMAGED */
int stele_handle_ring(const struct stele *store, struct stele_ring *out);

#endif
