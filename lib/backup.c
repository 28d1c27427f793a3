/* Backup: passes until one was the last, and the file that they make. */
#include "backup.h"

#include "create.h"
#include "error.h"
#include "options.h"
#include "turn.h"

#include <stdlib.h>

#define NEAR_BYTES (UINT64_C(4) << 20) /* a pass that copied no more is worth the writer's turn */
#define PROGRESS_BYTES (UINT64_C(4) << 20)
#define SHARED_PASSES_MAX 8u   /* before the turn is taken however much moves */
#define UNSTILL_PASSES_MAX 64u /* of a handle that cannot take it */
#define STUCK_US 50000u        /* without an idle moment a reader asks whether the writer lives */

/* ---- what has to be copied ---- */

/* The blocks of a stripe are one in each cycle of STELE_STRIPE_COUNT blocks: one bit for all of them. */
static void mark(struct stele_backup *backup, uint64_t first_block, uint64_t block_count)
{
    for (uint64_t i = 0; i < stele_min(block_count, STELE_STRIPE_COUNT); i++) {
        uint64_t place = (first_block + i) % STELE_STRIPE_COUNT;
        backup->dirty[place / 64] |= UINT64_C(1) << (place % 64);
    }
}

/* Images that a dead writer left in the ring are not in the file: they are laid over in each pass. */
static void mark_overlay(struct stele_backup *backup, const struct stele_replay *overlay)
{
    const struct stele_layout *layout = &backup->store->fixed;
    for (size_t i = 0; i < overlay->records.count; i++) {
        const struct stele_run *run = &overlay->records.list[i];
        uint64_t first = stele_block_of(layout, run->first);
        mark(backup, first, stele_block_of(layout, run->first + run->n - 1) - first + 1);
    }
    for (size_t i = 0; i < overlay->words.count; i++)
        mark(backup, overlay->words.list[i].first, overlay->words.list[i].n);
}

/*
 * Mark what moved since the pass that began at @began. A block whose stripe is even and not above the version of that
 * time was not stored to since, across sessions too: versions never repeat, and a recovery gives the stripes of what
 * it stores a version above all before it.
 */
static void mark_dirty(struct stele_backup *backup, const struct stele_moment *began)
{
    const struct stele_replay *overlay = stele_backup_images(&backup->now);
    memset(backup->dirty, 0, sizeof(backup->dirty));
    /* In the order in which stripes lie in memory. */
    for (uint64_t low = 0; low < STELE_STRIPE_COUNT / 8; low++) {
        for (uint64_t high = 0; high < 8; high++) {
            uint64_t block = high * (STELE_STRIPE_COUNT / 8) + low;
            uint64_t word = stele_load_acquire(stele_live_stripe(&backup->store->live, block));
            if ((word & 1) || word >> 1 > began->sequence)
                mark(backup, block, 1);
        }
    }
    if (overlay)
        mark_overlay(backup, overlay);
    backup->first_new = stele_block_of(&backup->store->fixed, began->count);
}

/* The first block from @block on that this pass copies; there may be none of that number. */
static uint64_t next_block(const struct stele_backup *backup, uint64_t block)
{
    while (block < backup->first_new) {
        uint64_t place = block % STELE_STRIPE_COUNT;
        uint64_t rest = backup->dirty[place / 64] >> (place % 64);
        if (rest)
            return stele_min(block + (uint64_t)__builtin_ctzll(rest), backup->first_new);
        block = stele_min(stele_round_down(block, 64) + 64, backup->first_new);
    }
    return block;
}

/* ---- a pass ---- */

static int tell(struct stele_backup *backup, uint64_t block)
{
    const struct stele_layout *layout = &backup->store->fixed;
    uint64_t total = backup->now.count * layout->record_bytes;
    uint64_t done = total;
    if (stele_backup_is_first(backup))
        done = stele_min(stele_block_first(layout, block) * layout->record_bytes, total);
    backup->quiet_bytes = 0;
    if (backup->progress && backup->progress(backup->progress_context, done, total))
        return stele_fail(STELE_E_INTERRUPTED, "%s: backup stopped; no file was made", backup->store->path);
    return STELE_OK;
}

static int copy_blocks(struct stele_backup *backup)
{
    const struct stele_layout *layout = &backup->store->fixed;
    const uint64_t count = backup->now.count, end = stele_blocks_below(layout, count);
    const uint64_t block_bytes = layout->records_per_block * layout->record_bytes;
    int rc = STELE_OK;
    for (uint64_t block = next_block(backup, 0), n; block < end && !rc; block = next_block(backup, block + n)) {
        uint64_t data = block;
        n = 0;
        rc = stele_backup_skip_hole(backup, block, &data);
        if (!rc && data > block) {
            n = data - block;
        } else if (!rc) {
            /* What is fresh in the copy and what is not are told apart by piece. */
            uint64_t limit = block < backup->copied_end ? stele_min(end, backup->copied_end) : end;
            for (n = 1; n < backup->piece_blocks && block + n < limit && next_block(backup, block + n) == block + n;)
                n++;
            rc = stele_backup_copy_piece(backup, block, n);
        }
        backup->quiet_bytes += n * block_bytes;
        if (!rc && backup->quiet_bytes >= PROGRESS_BYTES)
            rc = tell(backup, block + n);
    }
    if (!rc && (stele_backup_is_first(backup) || backup->pass_bytes > NEAR_BYTES))
        rc = tell(backup, end);
    return rc;
}

/* The store grew: so does the copy. Its sums move, and where they were records come to lie. */
static int make_room(struct stele_backup *backup)
{
    const struct stele_os_file *file = &backup->draft.file;
    const struct stele_layout old = backup->to;
    struct stele_layout next;
    if (backup->now.count <= old.capacity)
        return STELE_OK;
    if (backup->now.count > backup->from.layout.capacity)
        return stele_fail(STELE_E_DAMAGED, "%s: a count of %" PRIu64 " with a capacity of %" PRIu64,
                          backup->store->path, backup->now.count, backup->from.layout.capacity);
    int rc = stele_layout_grow(&old, backup->from.layout.capacity, &next);
    if (!rc && !backup->is_sparse)
        rc = stele_os_allocate(file, old.file_bytes, next.file_bytes - old.file_bytes);
    if (!rc)
        rc = stele_os_set_bytes(file, next.file_bytes);
    for (uint64_t block = 0, n; block < backup->copied_end && !rc; block += n) {
        n = stele_min(backup->piece_blocks, backup->copied_end - block);
        rc = stele_os_read(file, stele_word_offset(&old, block), backup->words, (size_t)n * 8);
        if (!rc && !stele_is_zero(backup->words, (size_t)n * 8))
            rc = stele_os_write(file, stele_word_offset(&next, block), backup->words, (size_t)n * 8);
    }
    if (!rc)
        rc = stele_os_zero(file, old.sums_offset, old.file_bytes - old.sums_offset, backup->is_sparse);
    backup->to = next;
    return rc;
}

static int begin_pass(struct stele_backup *backup)
{
    struct stele_moment before = backup->now;
    backup->pass_bytes = 0;
    backup->asked_until = backup->hole_end = 0;
    if (stele_backup_is_first(backup))
        return STELE_OK;
    int rc = stele_backup_locate(backup, &backup->now);
    if (!rc)
        rc = make_room(backup);
    if (!rc)
        mark_dirty(backup, &before);
    return rc;
}

/* After a pass that could not be the last: see that one will be. */
static int go_on(struct stele_backup *backup)
{
    struct stele *store = backup->store;
    bool is_near = backup->pass_bytes <= NEAR_BYTES;
    if (backup->has_turn)
        return STELE_OK;
    if (store->is_writable) {
        if (!is_near && backup->pass_count < SHARED_PASSES_MAX)
            return STELE_OK;
        int rc = stele_turn_take(store);
        backup->has_turn = !rc;
        return rc;
    }
    if (!is_near && backup->pass_count < UNSTILL_PASSES_MAX)
        return STELE_OK;
    uint64_t now_us = stele_os_clock_us();
    if (backup->near_since_us == 0)
        backup->near_since_us = backup->told_us = now_us;
    if (!is_near || now_us - backup->near_since_us >= (uint64_t)store->read_wait_ms * 1000)
        return stele_fail(STELE_E_BUSY, "%s: %s; a handle opened for writing takes the writer's turn for the last step",
                          store->path, backup->now.is_idle ? "writers leave no moment in which it does not change"
                                                           : "a writer that stopped in the middle has it");
    if (now_us - backup->told_us < STUCK_US)
        return STELE_OK;
    backup->told_us = now_us;
    int rc = tell(backup, UINT64_MAX);
    /* Who died in the middle leaves a state that never ends: if nobody else is present, the ring says what is so. */
    return rc || backup->now.is_idle ? rc : stele_reader_attach(store);
}

/* Passes until one was the last. */
static int copy_all(struct stele_backup *backup)
{
    for (;;) {
        bool is_last = backup->has_turn;
        int rc = begin_pass(backup);
        if (!rc)
            rc = copy_blocks(backup);
        if (!rc)
            rc = stele_backup_read_header(backup);
        if (!rc && !backup->store->is_writable)
            rc = stele_backup_is_still(backup, &is_last);
        if (rc == STELE_OK && is_last)
            return STELE_OK;
        backup->pass_count++;
        if (rc == STELE_OK || rc == STELE_END)
            rc = go_on(backup);
        if (rc)
            return rc;
    }
}

/* ---- the copy ---- */

/* Share the disk of the records where the file system can: a first pass that has nothing to write. */
static int clone_records(struct stele_backup *backup)
{
    const struct stele_layout *layout = &backup->from.layout;
    uint64_t blocks = stele_blocks_below(layout, backup->now.count);
    uint64_t bytes = stele_round_up(blocks * layout->records_per_block * layout->record_bytes, STELE_REGION_ALIGN);
    uint64_t bytes_max = stele_round_up(layout->capacity * layout->record_bytes, STELE_REGION_ALIGN);
    if (blocks == 0)
        return STELE_OK;
    bytes = stele_min(bytes, bytes_max);
    if (stele_os_draft_clone(&backup->draft, &backup->store->file, layout->records_offset, bytes) == STELE_OK) {
        /* Granules are whole: what stands behind the count came with them. */
        uint64_t kept = backup->now.count * layout->record_bytes;
        backup->cloned_end = blocks;
        return stele_os_zero(&backup->draft.file, layout->records_offset + kept, bytes - stele_min(kept, bytes),
                             backup->is_sparse);
    }
    /* Whatever of it came: blocks that are not written must read as zeros. */
    return stele_os_set_bytes(&backup->draft.file, 0);
}

/* A header for the state that was copied: another file, the same records. */
static int make_slot(const struct stele_backup *backup, struct stele_slot *out)
{
    const struct stele_replay *overlay = stele_reader_overlay(backup->now.reading);
    struct stele_slot slot = backup->from.slot, fresh;
    int rc = stele_create_slot(&backup->to, backup->is_sparse, backup->store->schema, &fresh);
    if (rc)
        return rc;
    stele_replay_to_slot(overlay ? overlay : &backup->replay, &slot);
    memset(slot.regions, 0, sizeof(slot.regions));
    stele_layout_to(&backup->to, &slot);
    memcpy(slot.origin_file_id, slot.file_id, sizeof(slot.origin_file_id));
    memcpy(slot.file_id, fresh.file_id, sizeof(slot.file_id));
    slot.origin_sequence = slot.sequence = backup->now.sequence;
    slot.count = backup->now.count;
    slot.generation = 1;
    slot.session = fresh.session;
    slot.chain = fresh.chain;
    slot.ring_head = 0;
    slot.layout_version = 1;
    slot.checkpoint_us = fresh.checkpoint_us;
    slot.library_version = fresh.library_version;
    slot.state_flags |= STELE_CLEAN;
    *out = slot;
    return STELE_OK;
}

static int make_copy(struct stele_backup *backup)
{
    const struct stele *store = backup->store;
    const struct stele_os_file *file = &backup->draft.file;
    struct stele_slot slot;
    int rc = stele_backup_locate(backup, &backup->now);
    backup->is_sparse = backup->from.slot.features_incompatible & STELE_FEATURE_SPARSE;
    if (!rc)
        rc = stele_layout_plan(store->fixed.record_bytes, stele_max(backup->from.layout.capacity, 1),
                               store->fixed.journal_bytes, &backup->to);
    if (!rc)
        rc = make_room(backup); /* has nothing to make: it looks at the count */
    if (!rc)
        rc = clone_records(backup);
    if (!rc)
        rc = stele_create_fill(file, &backup->to, backup->is_sparse, store->schema);
    if (!rc)
        rc = copy_all(backup);
    if (backup->has_turn)
        stele_turn_give(backup->store);
    if (!rc)
        rc = stele_backup_check_header(backup);
    if (!rc)
        rc = make_slot(backup, &slot);
    if (!rc)
        rc = stele_superblock_write_new(file, &slot);
    return rc ? rc : stele_os_sync(file);
}

/* The copy is there; that what it was made of is damaged must not go unsaid. */
static int report(const struct stele_backup *backup, const char *out_path)
{
    const uint64_t end = stele_blocks_below(&backup->to, backup->now.count);
    uint64_t count = backup->unremembered_count, first = UINT64_MAX;
    for (size_t i = 0; i < backup->damaged.slot_count; i++) {
        const struct stele_lookup_slot *slot = &backup->damaged.slots[i];
        if (slot->key_plus_1 == 0 || slot->value == 0 || slot->key_plus_1 > end)
            continue;
        count++;
        first = stele_min(first, slot->key_plus_1 - 1);
    }
    if (count == 0)
        return STELE_OK;
    struct stele_error detail;
    int rc = stele_fail(STELE_E_DAMAGED, "%s: %" PRIu64 " blocks are damaged, the first is block %" PRIu64 "; they are "
                        "so in %s too, which is complete otherwise: keep earlier backups. stele verify names them",
                        backup->store->path, count, first, out_path);
    stele_error_keep(&detail);
    detail.outcome_done = 1;
    stele_error_restore(&detail);
    return rc;
}

static int prepare(struct stele_backup *backup, const char *out_path, uint32_t permissions)
{
    const struct stele_layout *layout = &backup->store->fixed;
    const uint64_t block_bytes = layout->records_per_block * layout->record_bytes;
    backup->piece_blocks = stele_max(STELE_BACKUP_PIECE_BYTES / block_bytes, 1);
    backup->records = malloc((size_t)(backup->piece_blocks * block_bytes));
    backup->words = malloc((size_t)backup->piece_blocks * 8);
    if (!backup->records || !backup->words)
        return stele_fail(STELE_E_NOMEM, "out of memory to back up %s", backup->store->path);
    int rc = stele_os_check_free(out_path);
    return rc ? rc : stele_os_draft_open(out_path, permissions ? permissions : 0600, &backup->draft);
}

static void done(struct stele_backup *backup)
{
    struct stele_error kept;
    stele_error_keep(&kept);
    stele_os_draft_discard(&backup->draft);
    stele_error_restore(&kept);
    stele_walk_done(&backup->walk);
    stele_replay_done(&backup->replay);
    stele_lookup_done(&backup->damaged);
    free(backup->records);
    free(backup->words);
    free(backup);
}

int stele_backup(struct stele *store, const char *out_path, const struct stele_options *options)
{
    struct stele_options read, given = STELE_OPTIONS_INIT;
    struct stele_os_file published = { .is_open = false };
    if (!store || !out_path)
        return stele_fail(STELE_E_USAGE, "stele_backup: store and out_path must not be NULL");
    int rc = stele_handle_check(store);
    if (!rc)
        rc = stele_options_read(options, 0, &read);
    if (!rc && options)
        rc = stele_struct_take(&given, sizeof(given), options);
    if (rc)
        return rc;
    struct stele_backup *backup = calloc(1, sizeof(*backup));
    if (!backup)
        return stele_fail(STELE_E_NOMEM, "out of memory to back up %s", store->path);
    backup->store = store;
    backup->progress = given.progress;
    backup->progress_context = given.progress_context;
    rc = prepare(backup, out_path, given.permissions);
    if (!rc)
        rc = make_copy(backup);
    if (!rc && given.permissions == 0)
        rc = stele_os_draft_dress(&backup->draft, &store->file);
    if (!rc)
        rc = stele_os_draft_publish(&backup->draft, false, &published);
    stele_os_close(&published);
    if (!rc)
        rc = report(backup, out_path);
    done(backup);
    return rc;
}
