/* The store as a whole: create, open, close, sync, checkpoint, recover, outcome. */
#include "checkpoint.h"
#include "create.h"
#include "error.h"
#include "open.h"
#include "options.h"
#include "reader.h"
#include "recover.h"
#include "settle.h"
#include "syncer.h"
#include "turn.h"

#define RACES_MAX 10u

/* ---- create ---- */

/* Lay the live region of a new file out and put both slots: last, so that a file without them is no store. */
static int finish_new(struct stele *store, const struct stele_slot *slot)
{
    struct stele_live_state state = { .sequence = slot->sequence, .chain = slot->chain, .ring_head = slot->ring_head,
                                      .ring_tail = slot->ring_head, .count = 0,
                                      .layout_version = slot->layout_version };
    struct stele_live *words = store->live.words;
    stele_live_publish(&store->live, &state);
    stele_store(&words->session.word, slot->session);
    stele_store(&words->writer_pid, stele_os_process_id());
    stele_store(&words->writer_started_us, stele_os_now_us());
    store->session = slot->session;
    int rc = stele_superblock_write_new(&store->file, slot);
    if (!rc)
        rc = stele_os_sync(&store->file);
    /* The creator is the first writer, before anybody can find the file. */
    if (!rc)
        rc = stele_os_lock_writer(&store->file);
    if (!rc)
        rc = stele_os_lock_present(&store->file);
    store->is_present = !rc;
    return rc;
}

static int create_in(struct stele_os_draft *draft, const char *path, const struct stele_options *options,
                     const struct stele_layout *layout, struct stele **out)
{
    bool is_sparse = options->flags & STELE_SPARSE;
    struct stele_superblock superblock = { .layout = *layout, .may_write = true };
    struct stele_schema *schema = NULL;
    uint32_t schema_bytes;
    int rc = stele_create_slot(layout, is_sparse, options->schema, &superblock.slot);
    if (!rc)
        rc = stele_create_fill(&draft->file, layout, is_sparse, options->schema);
    if (rc)
        return rc;
    /* The handle keeps a schema of its own, as opening would. */
    const uint8_t *encoded = stele_schema_encoded(options->schema, &schema_bytes);
    rc = stele_schema_decode(encoded, schema_bytes, &schema);
    if (rc)
        return rc;
    stele_slot_seal(&superblock.slot);
    rc = stele_handle_new(path, options, &draft->file, &superblock, schema, out);
    if (rc) {
        stele_schema_free(schema);
        return rc;
    }
    rc = finish_new(*out, &superblock.slot);
    /* Publishing is the draft's: the file goes back to it, and comes from it again. */
    draft->file = (*out)->file;
    if (rc) {
        memset(&(*out)->file, 0, sizeof((*out)->file));
        stele_handle_free(*out);
    }
    return rc;
}

static int in_use(const char *path)
{
    return stele_fail(STELE_E_BUSY, "%s is open for writing elsewhere and cannot be replaced", path);
}

/* A store that cannot be opened may be replaced too, with its locks held and not a byte of it changed. */
static int lock_damaged(const char *path, struct stele_os_file *out)
{
    int rc = stele_os_open(path, true, out);
    if (!rc && (stele_os_lock_writer(out) || stele_os_lock_present_alone(out))) {
        stele_os_close(out);
        rc = in_use(path);
    }
    return rc;
}

/*
 * Whether @path is a store that nobody uses, so that STELE_FORCE may put another in its place: an open one with the
 * turn to *@out_old, or a damaged one, locked, to *@out_damaged, or neither where there is nothing.
 */
static int check_replaceable(const char *path, const struct stele_options *options, struct stele **out_old,
                             struct stele_os_file *out_damaged)
{
    struct stele_options open_options = *options;
    struct stele *old = NULL;
    open_options.flags = 0;
    open_options.schema = NULL;
    open_options.mode = STELE_READ_WRITE;
    /* Never forced: until the new one is there, the old one keeps what it has, the traces of its damage too. */
    int rc = stele_open_path(path, &open_options, false, &old);
    if (rc == STELE_E_DAMAGED || rc == STELE_E_TRUNCATED)
        return lock_damaged(path, out_damaged);
    if (rc == STELE_E_ABSENT)
        return STELE_OK;
    if (!rc)
        rc = stele_turn_take(old);
    if (!rc) {
        rc = stele_os_lock_present_alone(&old->file);
        if (rc) {
            stele_turn_give(old);
            rc = in_use(path);
        }
    }
    if (!rc) {
        *out_old = old;
        return STELE_OK;
    }
    struct stele_error kept;
    stele_error_keep(&kept);
    (void)stele_close(old);
    stele_error_restore(&kept);
    return rc;
}

/* What the new file is to take the place of; both empty: of nothing. */
struct replaced {
    struct stele *old;            /* a store, with the turn */
    struct stele_os_file damaged; /* one that cannot be opened, with its locks */
};

static void replaced_done(struct replaced *replaced)
{
    struct stele_error kept;
    stele_error_keep(&kept);
    if (replaced->old) {
        stele_turn_give(replaced->old);
        stele_handle_free(replaced->old);
    }
    stele_os_close(&replaced->damaged);
    *replaced = (struct replaced){ .old = NULL };
    stele_error_restore(&kept);
}

/* Whether what was found has lost its name since: what has the name now is another file, which was not looked at. */
static int has_lost_name(const struct replaced *replaced, bool *out_is_lost)
{
    const struct stele_os_file *file = replaced->old ? &replaced->old->file : &replaced->damaged;
    struct stele_os_stat stat = { .links = 1 };
    int rc = file->is_open ? stele_os_stat(file, &stat) : STELE_OK;
    *out_is_lost = stat.links == 0;
    return rc;
}

/*
 * Give @draft its name: in place of what was found there, or where nothing was. Whatever came to be there since, while
 * the new file was made, is looked at in its turn: nothing is replaced that was not locked.
 */
static int publish(struct stele_os_draft *draft, const char *path, const struct stele_options *options,
                   struct replaced *replaced, struct stele *store)
{
    bool is_forced = options->flags & STELE_FORCE;
    int rc = STELE_E_EXISTS;
    for (unsigned i = 0; i < RACES_MAX && rc == STELE_E_EXISTS; i++) {
        bool is_lost = i > 0;
        rc = is_lost ? STELE_OK : has_lost_name(replaced, &is_lost);
        if (!rc && is_lost) {
            replaced_done(replaced);
            rc = check_replaceable(path, options, &replaced->old, &replaced->damaged);
        }
        if (rc)
            return rc;
        if (replaced->old)
            return stele_handle_replace(replaced->old, draft, store->superblock.slot.file_id, &store->file);
        rc = stele_os_draft_publish(draft, replaced->damaged.is_open, &store->file);
        if (!is_forced || replaced->damaged.is_open)
            return rc;
    }
    return rc;
}

int stele_create(const char *path, const struct stele_options *options, struct stele **out)
{
    struct stele_options read;
    struct stele_layout layout;
    struct stele_os_draft draft = { .target = NULL };
    struct replaced replaced = { .old = NULL };
    struct stele *store = NULL;
    if (!path || !out)
        return stele_fail(STELE_E_USAGE, "stele_create: path and out must not be NULL");
    int rc = stele_options_read(options, STELE_CREATE | STELE_SPARSE | STELE_VERIFY_READS | STELE_NO_THREADS |
                                STELE_FORCE, &read);
    if (!rc && !read.schema)
        rc = stele_fail(STELE_E_USAGE, "stele_create: options->schema is required: it says what a record is");
    if (!rc)
        rc = stele_layout_plan(stele_schema_record_bytes(read.schema), read.capacity_records, read.journal_bytes,
                               &layout);
    if (rc)
        return rc;
    read.mode = STELE_READ_WRITE;
    rc = read.flags & STELE_FORCE ? check_replaceable(path, &read, &replaced.old, &replaced.damaged)
                                 : stele_os_check_free(path);
    if (!rc)
        rc = stele_os_draft_open(path, read.permissions, &draft);
    if (!rc)
        rc = create_in(&draft, path, &read, &layout, &store);
    if (!rc) {
        memset(&store->file, 0, sizeof(store->file));
        rc = publish(&draft, path, &read, &replaced, store);
        if (rc)
            stele_handle_free(store);
    }
    if (!rc)
        stele_os_unlock_writer(&store->file);
    if (!rc)
        *out = store;
    if (rc)
        stele_fail_in(path);
    replaced_done(&replaced);
    struct stele_error kept;
    stele_error_keep(&kept);
    stele_os_draft_discard(&draft);
    stele_error_restore(&kept);
    return rc;
}

/* ---- open, close ---- */

int stele_open(const char *path, const struct stele_options *options, struct stele **out)
{
    struct stele_options read;
    if (!path || !out)
        return stele_fail(STELE_E_USAGE, "stele_open: path and out must not be NULL");
    int rc = stele_options_read(options, STELE_CREATE | STELE_SPARSE | STELE_VERIFY_READS | STELE_NO_THREADS, &read);
    if (rc)
        return rc;
    bool is_creating = read.flags & STELE_CREATE;
    if (is_creating)
        read.mode = STELE_READ_WRITE;
    else if (read.flags & STELE_SPARSE)
        return stele_fail(STELE_E_USAGE, "stele_open: STELE_SPARSE goes with STELE_CREATE");
    for (unsigned i = 0; i < RACES_MAX; i++) {
        rc = stele_open_path(path, &read, false, out);
        if (rc != STELE_E_ABSENT || !is_creating)
            return rc;
        rc = stele_create(path, &read, out);
        if (rc != STELE_E_EXISTS)
            return rc; /* else another was faster: open the winner's */
    }
    return rc;
}

/* The last one out empties the ring, so that the next open replays nothing. */
static int close_writer(struct stele *store, bool is_checkpointing)
{
    bool is_present = true, has_pending = stele_settle_is_due(store);
    int rc = stele_turn_take(store);
    /* Who is writing or waiting is present too, and closes later; a file that was replaced has nothing to keep. */
    if ((rc == STELE_E_BUSY || rc == STELE_E_STALE) && !has_pending)
        return STELE_OK;
    if (rc)
        return rc;
    if (is_checkpointing)
        rc = stele_os_is_present_held(&store->file, &is_present);
    if (!rc && !is_present)
        rc = stele_checkpoint_make(store, 0, true);
    /* P goes while W is held: of two that close at once the second finds itself alone. */
    stele_os_unlock_present(&store->file);
    store->is_present = false;
    stele_turn_give(store);
    return rc;
}

static int close_store(struct stele *store, bool is_syncing)
{
    if (!store)
        return STELE_OK;
    if (store->fork_count != stele_os_fork_count()) {
        stele_handle_free(store); /* the parent's locks and turn are not ours to give */
        return STELE_OK;
    }
    uint32_t open_count = __atomic_load_n(&store->open_count, __ATOMIC_ACQUIRE);
    if (open_count)
        return stele_fail(STELE_E_USAGE, "%s: %" PRIu32 " transactions, edits, views or cursors are open; end them "
                          "before the store is closed", store->path, open_count);
    stele_syncer_stop(store);
    int rc = is_syncing && store->is_writable && store->is_present ? close_writer(store, true) : STELE_OK;
    struct stele_error kept;
    stele_error_keep(&kept);
    stele_handle_free(store);
    stele_error_restore(&kept);
    return rc;
}

int stele_close(struct stele *store)
{
    return close_store(store, true);
}

int stele_close_nosync(struct stele *store)
{
    return close_store(store, false);
}

/* ---- durability on demand ---- */

int stele_sync(struct stele *store)
{
    if (!store)
        return stele_fail(STELE_E_USAGE, "stele_sync: store must not be NULL");
    int rc = stele_turn_take(store);
    if (!rc)
        stele_turn_give(store);
    return rc;
}

int stele_tick(struct stele *store)
{
    if (!store)
        return stele_fail(STELE_E_USAGE, "stele_tick: store must not be NULL");
    int rc = stele_handle_check(store);
    return rc ? rc : stele_syncer_tick(store);
}

int stele_checkpoint(struct stele *store)
{
    if (!store)
        return stele_fail(STELE_E_USAGE, "stele_checkpoint: store must not be NULL");
    int rc = stele_turn_take(store);
    if (rc)
        return rc;
    rc = stele_checkpoint_make(store, 0, false);
    stele_turn_give(store);
    return rc;
}

int stele_recover(const char *path, const struct stele_options *options, struct stele_recovery *out)
{
    struct stele_options read;
    struct stele *store;
    if (!path || !out)
        return stele_fail(STELE_E_USAGE, "stele_recover: path and out must not be NULL");
    int rc = stele_struct_check(out);
    if (!rc)
        rc = stele_options_read(options, STELE_FORCE, &read);
    if (rc)
        return rc;
    bool is_forced = read.flags & STELE_FORCE;
    read.flags = 0;
    read.mode = STELE_READ_WRITE;
    rc = stele_open_path(path, &read, is_forced, &store);
    if (rc)
        return rc;
    struct stele_recovery report = store->recovered;
    report.header_damage = store->opened_damage;
    report.count = stele_count(store);
    rc = stele_close(store);
    return rc ? rc : stele_struct_give(&report, sizeof(report), out);
}

/* What the history of recoveries says of @sequence: given out, and kept or not. */
static int look_up(const struct stele_slot *slot, uint64_t sequence, uint64_t applied)
{
    uint64_t kept_count = stele_min(slot->history_total, STELE_HISTORY_COUNT);
    uint64_t oldest_known = UINT64_MAX;
    for (uint64_t i = 0; i < kept_count; i++) {
        const struct stele_history *entry = &slot->history[(slot->history_total - 1 - i) % STELE_HISTORY_COUNT];
        /* A recovery's own number, the last before first_new, is what empty commits behind it answered: it is there. */
        uint64_t gap_end = entry->kind == STELE_RECOVERY_FORCED ? entry->first_new : entry->first_new - 1;
        if (sequence > entry->last_kept && sequence < gap_end)
            return stele_fail(STELE_E_ABSENT, "commit %" PRIu64 " is not in the store", sequence);
        oldest_known = stele_min(oldest_known, entry->last_kept);
    }
    if (sequence > applied)
        return stele_fail(STELE_E_RANGE, "commit %" PRIu64 " was never given out: the last is %" PRIu64, sequence,
                          applied);
    if (slot->history_total > STELE_HISTORY_COUNT && sequence <= oldest_known)
        return stele_fail(STELE_E_UNKNOWN, "commit %" PRIu64 " is older than the history of %u recoveries", sequence,
                          STELE_HISTORY_COUNT);
    return STELE_OK;
}

/* One look; STELE_END where the session changed meanwhile. */
static int ask_outcome(struct stele *store, uint64_t sequence)
{
    const struct stele_live *words = store->live.words;
    const struct stele_reading *reading;
    struct stele_superblock now;
    int rc = stele_reader_current(store, &reading);
    if (rc)
        return rc;
    const struct stele_replay *overlay = stele_reader_overlay(reading);
    uint64_t session = overlay ? reading->session : stele_load_acquire(&words->session.word);
    uint64_t state = stele_load_acquire(&words->state.word);
    uint64_t applied = overlay ? overlay->sequence : stele_load_acquire(&words->applied.word);
    uint64_t logged = stele_load_acquire(&words->logged.word);
    rc = stele_superblock_read(&store->file, &now);
    if (stele_load_acquire(&words->session.word) != session)
        return STELE_END;
    if (rc)
        return rc;
    /* Until the next writer has decided: what a failed commit left, and what a recovery gives up. */
    if (!overlay && (now.slot.session != session ||
                     (sequence > applied && (sequence <= logged || state != STELE_STATE_IDLE))))
        return stele_fail(STELE_E_BUSY, "%s: a writer is at work, or stopped and left commit %" PRIu64 " undecided; "
                          "ask again, or open the store for writing and ask there", store->path, sequence);
    rc = look_up(&now.slot, sequence, applied);
    /* Of a writer that died: given out perhaps, but not in the store, and no recovery will bring it back. */
    if (rc == STELE_E_RANGE && overlay && sequence < applied + STELE_SEQUENCE_LEAP)
        rc = stele_fail(STELE_E_ABSENT, "commit %" PRIu64 " is not in the store", sequence);
    return rc;
}

int stele_outcome(struct stele *store, uint64_t sequence)
{
    if (!store)
        return stele_fail(STELE_E_USAGE, "stele_outcome: store must not be NULL");
    int rc = stele_handle_check(store);
    if (!rc && stele_handle_is_poisoned(store))
        rc = stele_fail(STELE_E_POISONED, "%s: this handle saw a sync fail; open the store anew and ask there",
                        store->path);
    /* Who may write decides it: taking the turn recovers. */
    if (!rc && store->is_writable && (stele_settle_is_due(store) ||
                                      stele_load_acquire(&store->live.words->state.word) != STELE_STATE_IDLE)) {
        rc = stele_turn_take(store);
        if (!rc)
            stele_turn_give(store);
    }
    if (rc)
        return rc;
    uint64_t deadline_us = stele_os_clock_us() + (uint64_t)store->read_wait_ms * 1000;
    while ((rc = ask_outcome(store, sequence)) == STELE_END) {
        if (stele_os_clock_us() >= deadline_us)
            return stele_fail(STELE_E_BUSY, "%s: writers come and go too fast to say what became of commit %" PRIu64
                              "; ask again", store->path, sequence);
    }
    return rc;
}
