#include "recover.h"

#include "apply.h"
#include "block.h"
#include "checkpoint.h"
#include "error.h"

#include <stdlib.h>

#define CONFIRM_TRIES 3u

#define LOSSES_MAX 32u /* ranges of lost entries that one forced recovery lists one by one */

/* What the walk came to. */
struct finding {
    struct stele_replay replay;
    uint64_t highest_sequence;
    struct stele_history losses[LOSSES_MAX];
    unsigned loss_count;
};

static int lost(const struct stele *store, const struct stele_scan *scan)
{
    if (scan->is_header_lost)
        return stele_fail(STELE_E_DAMAGED, "%s: the journal holds commits of a later header, which is lost; restore a "
                          "backup, or go on without them by: stele recover --force", store->path);
    return stele_fail(STELE_E_DAMAGED, "%s: commits %" PRIu64 " to %" PRIu64 " were acknowledged, but the journal "
                      "that holds them is damaged; restore a backup, or go on without them by: "
                      "stele recover --force", store->path, scan->lost_first, scan->lost_last);
}

/* What is given up, for the history; behind the last place for it ranges become one. */
static void add_loss(struct finding *finding, uint64_t last_kept, uint64_t first_new)
{
    if (finding->loss_count == LOSSES_MAX) {
        finding->losses[LOSSES_MAX - 1].first_new = first_new;
        return;
    }
    finding->losses[finding->loss_count++] = (struct stele_history){
        .last_kept = last_kept, .first_new = first_new, .kind = STELE_RECOVERY_FORCED };
}

/* Walk to the end; where an acknowledged entry is lost, stop, or when forced go on behind it. */
static int find(struct stele *store, const struct stele_superblock *superblock, bool is_forced, struct finding *out)
{
    struct stele_walk walk;
    stele_walk_init(&walk, &store->file, &superblock->layout, &superblock->slot);
    stele_replay_init(&out->replay, &superblock->layout, &superblock->slot, store->writer_id);
    int rc;
    while ((rc = stele_replay_walk(&out->replay, &walk, UINT64_MAX)) == STELE_OK) {
        struct stele_scan scan;
        rc = stele_journal_scan(&walk, &superblock->slot, &scan);
        if (rc)
            break;
        out->highest_sequence = scan.highest_sequence;
        if ((scan.is_entry_lost || scan.is_header_lost) && !is_forced) {
            rc = lost(store, &scan);
            break;
        }
        if (!scan.is_entry_lost) {
            /* The later header's commits cannot be told from what is in place: all of them are given up. */
            if (scan.is_header_lost)
                add_loss(out, walk.sequence, scan.highest_sequence + 1);
            break;
        }
        add_loss(out, scan.lost_first - 1, scan.lost_last + 1);
        rc = stele_walk_resume(&walk, &scan);
        if (rc)
            break;
    }
    if (!rc)
        rc = stele_replay_finish(&out->replay, &superblock->layout);
    stele_walk_done(&walk);
    return rc;
}

int stele_recover_look(struct stele *store, const struct stele_superblock *superblock, struct stele_replay *out)
{
    struct finding finding = { .loss_count = 0 };
    struct stele_walk walk;
    struct stele_walk_entry first;
    stele_walk_init(&walk, &store->file, &superblock->layout, &superblock->slot);
    int rc = stele_walk_next(&walk, &first);
    stele_walk_done(&walk);
    if (rc == STELE_END && (superblock->slot.state_flags & STELE_CLEAN) && !superblock->damage) {
        /*
         * A writer takes the clean flag out of both slots before it writes an entry (a new file does not have it), so
         * where both slots are whole and have it nothing can be lost, and the ring need not be read.
         */
        stele_replay_init(out, &superblock->layout, &superblock->slot, store->writer_id);
        return STELE_OK;
    }
    if (rc == STELE_OK || rc == STELE_END)
        rc = find(store, superblock, false, &finding);
    *out = finding.replay;
    return rc;
}

/* The walked tail again, byte for byte: the cache may show entries that the disk never got. */
static int rewrite_tail(struct stele *store, const struct stele_replay *replay)
{
    if (replay->entry_count == 0)
        return STELE_OK;
    const uint64_t step = UINT64_C(1) << 20, ring_bytes = store->fixed.journal_bytes;
    uint8_t *bytes = malloc((size_t)step);
    int rc = bytes ? STELE_OK : stele_fail(STELE_E_NOMEM, "out of memory to rewrite the journal's tail");
    /* Whole pages: a sync promises nothing for a sector that it covers in part. The padding is there. */
    uint64_t from = stele_round_down(replay->first_place, STELE_PAGE_BYTES);
    uint64_t end = stele_round_up(replay->tail, STELE_PAGE_BYTES);
    uint64_t left = end > from ? end - from : ring_bytes - from + end;
    while (!rc && left) {
        if (from == ring_bytes)
            from = 0;
        uint64_t piece = stele_min(stele_min(step, left), ring_bytes - from);
        rc = stele_os_read(&store->file, store->fixed.journal_offset + from, bytes, (size_t)piece);
        if (!rc)
            rc = stele_os_write_durable(&store->file, store->fixed.journal_offset + from, bytes, (size_t)piece);
        from += piece;
        left -= piece;
    }
    free(bytes);
    return rc;
}

/*
 * Whether the tail, now that it is durable, still reads as it did: after a sync that failed the cache holds clean pages
 * that the disk does not, and one that was given up between the walk and the rewriting came back as it was before.
 * What is put in place is what this walk believed.
 */
static int confirm_tail(struct stele *store, const struct stele_superblock *superblock,
                        const struct stele_replay *replay, bool *out_is_same)
{
    struct stele_walk walk;
    struct stele_walk_entry entry;
    int rc = STELE_OK;
    stele_walk_init(&walk, &store->file, &superblock->layout, &superblock->slot);
    while (!rc && walk.sequence < replay->sequence)
        rc = stele_walk_next(&walk, &entry);
    *out_is_same = !rc && walk.sequence == replay->sequence && walk.chain == replay->chain;
    stele_walk_done(&walk);
    return rc == STELE_END ? STELE_OK : rc;
}

/* Find the tail and make it durable, until it reads so. */
static int find_durable(struct stele *store, bool is_forced, struct finding *out)
{
    for (unsigned tries = 0; tries < CONFIRM_TRIES; tries++) {
        bool is_same = true;
        int rc = find(store, &store->superblock, is_forced, out);
        if (!rc)
            rc = rewrite_tail(store, &out->replay);
        /* Behind a forced gap chains do not lead on from the head; who forces has a damaged ring to begin with. */
        if (!rc && out->loss_count == 0)
            rc = confirm_tail(store, &store->superblock, &out->replay, &is_same);
        if (rc || is_same)
            return rc;
        stele_replay_done(&out->replay);
        memset(out, 0, sizeof(*out));
    }
    return stele_fail(STELE_E_IO, "%s: the journal reads otherwise each time; the medium fails", store->path);
}

/* Every stripe that the images, or a count that moves, touch. */
static void collect_stripes(const struct stele *store, const struct stele_replay *replay,
                            struct stele_stripe_set *set)
{
    const struct stele_layout *layout = &store->fixed;
    stele_stripes_clear(set);
    for (size_t i = 0; i < replay->records.count; i++) {
        const struct stele_run *run = &replay->records.list[i];
        uint64_t block = stele_block_of(layout, run->first);
        stele_stripes_add_range(set, block, stele_block_of(layout, run->first + run->n - 1) - block + 1);
    }
    for (size_t i = 0; i < replay->words.count; i++)
        stele_stripes_add_range(set, replay->words.list[i].first, replay->words.list[i].n);
    uint64_t seen = stele_min(stele_load(&store->live.words->count.word), STELE_CAPACITY_MAX);
    uint64_t low = stele_min(seen, replay->count), high = stele_max(seen, replay->count);
    uint64_t first = low ? stele_block_of(layout, low - 1) : 0;
    if (seen != replay->count && seen > replay->count)
        stele_stripes_add_range(set, first, stele_blocks_below(layout, high) - first);
    stele_stripes_add(set, first);
}

static bool is_unreadable(int rc) { return rc == STELE_E_TRUNCATED || rc == STELE_E_IO; }

/* Whether @block fits the word that the journal gave it, which is in place by now. */
static int check_word(struct stele *store, uint64_t block, uint64_t count, struct stele_recovery *report)
{
    uint64_t records = stele_block_records(&store->fixed, block, count), word, computed;
    int rc = stele_block_word(store, block, &word);
    if (!rc)
        rc = stele_block_copy(store, block, records, store->old_block);
    if (!is_unreadable(rc) && rc)
        return rc;
    /* What cannot be read is damage like any other: it must not keep the store from being opened. */
    if (!rc && stele_sum_check(&store->fixed, store->superblock.slot.sum_seed, block, store->old_block, records, word,
                               &computed))
        return STELE_OK;
    if (report->damaged_count++ == 0)
        report->first_damaged_block = block;
    stele_log(STELE_LOG_ERROR, "%s: block %" PRIu64 " does not fit its journaled checksum", store->path, block);
    return STELE_OK;
}

/* Final states against logged sums: what differs is damage, to be reported, never to be blessed. */
static int check_words(struct stele *store, const struct stele_replay *replay, struct stele_recovery *report)
{
    int rc = stele_block_reserve(store);
    for (size_t i = 0; i < replay->words.count && !rc; i++) {
        for (uint64_t k = 0; k < replay->words.list[i].n && !rc; k++)
            rc = check_word(store, replay->words.list[i].first + k, replay->count, report);
    }
    return rc;
}

static int put_in_place(struct stele *store, const struct stele_replay *replay, uint64_t base,
                        struct stele_recovery *report)
{
    struct stele_stripe_set *set = malloc(sizeof(*set));
    if (!set)
        return stele_fail(STELE_E_NOMEM, "out of memory to recover");
    collect_stripes(store, replay, set);
    stele_stripes_hold(&store->live, set);
    int rc = stele_apply_replay(store, replay);
    if (!rc)
        rc = check_words(store, replay, report);
    if (rc)
        goto out; /* stripes stay odd: readers must not take half of it */
    struct stele_live_state state = { .sequence = base, .count = replay->count,
                                      .layout_version = store->superblock.slot.layout_version };
    stele_live_publish(&store->live, &state);
    stele_stripes_release(&store->live, set, base);
    stele_live_settle_stripes(&store->live, base);
out:
    free(set);
    return rc;
}

static int flip(struct stele *store, const struct finding *finding, uint64_t session, uint64_t base)
{
    const struct stele_replay *replay = &finding->replay;
    struct stele_slot slot = store->superblock.slot;
    uint64_t now_us = stele_os_now_us(), chain;
    int rc = stele_os_random(&chain, sizeof(chain));
    if (rc)
        return rc;
    stele_replay_to_slot(replay, &slot);
    slot.chain = chain;
    slot.sequence = base;
    slot.session = session;
    slot.ring_head = 0;
    slot.checkpoint_us = now_us;
    slot.state_flags &= ~STELE_CLEAN;
    for (unsigned i = 0; i < finding->loss_count; i++) {
        struct stele_history loss = finding->losses[i];
        loss.session = session;
        loss.time_s = (uint32_t)(now_us / 1000000);
        stele_slot_add_history(&slot, &loss);
    }
    struct stele_history entry = { .last_kept = replay->sequence, .first_new = base + 1, .session = session,
                                   .kind = STELE_RECOVERY_REPLAY, .time_s = (uint32_t)(now_us / 1000000) };
    stele_slot_add_history(&slot, &entry);
    struct stele_superblock next = store->superblock;
    rc = stele_superblock_flip(&store->file, &next, &slot);
    if (rc)
        return rc;
    stele_handle_set_superblock(store, &next);
    stele_store(&store->live.words->chain.word, chain);
    return STELE_OK;
}

static void report_of(const struct stele *store, const struct finding *finding, uint64_t base,
                      struct stele_recovery *out)
{
    const struct stele_replay *replay = &finding->replay;
    out->kind = finding->loss_count ? STELE_RECOVERY_FORCED
                : replay->entry_count ? STELE_RECOVERY_REPLAY : STELE_RECOVERY_NONE;
    out->entry_count = replay->entry_count;
    out->restored_count = stele_runs_total(&replay->records);
    out->last_kept = replay->sequence;
    out->first_new = base + 1;
    out->count = replay->count;
    if (finding->loss_count) {
        out->lost_first = finding->losses[0].last_kept + 1;
        out->lost_last = finding->losses[finding->loss_count - 1].first_new - 1;
    }
    if (replay->entry_count)
        stele_log(STELE_LOG_NOTICE, "%s: recovered: %" PRIu64 " commits replayed", store->path, replay->entry_count);
}

/* Nothing in memory is believed: another handle may have flipped, grown or died since. */
static int read_header(struct stele *store)
{
    struct stele_superblock now;
    struct stele_os_stat stat;
    int rc = stele_superblock_read(&store->file, &now);
    if (!rc)
        rc = stele_os_stat(&store->file, &stat);
    if (rc)
        return rc;
    if (!now.may_write)
        return stele_fail(STELE_E_READONLY, "%s has features of a newer stele that allow reading only", store->path);
    if (stat.bytes < now.layout.file_bytes)
        return stele_fail(STELE_E_TRUNCATED, "%s: the file has %" PRIu64 " bytes, its header says %" PRIu64
                          "; open it read-only to save what is left", store->path, stat.bytes, now.layout.file_bytes);
    stele_handle_set_superblock(store, &now);
    return STELE_OK;
}

int stele_recover_make(struct stele *store, bool is_forced, struct stele_recovery *out)
{
    struct finding found = { .loss_count = 0 }, *finding = &found;
    struct stele_recovery report = { .first_damaged_block = UINT64_MAX };
    uint64_t session = 0, base = 0;
    /*
     * The order is the guarantee (DESIGN.md, Recovery):
     *  1. a new session, before anything else changes;
     *  2. header and tail are on disk before anything is built on them;
     *  3. images in place, stripes odd until all of them are;
     *  4. durable, then the flip that empties the ring.
     */
    int rc = stele_live_claim(&store->live, &session);
    if (!rc)
        rc = read_header(store);
    report.header_damage = store->superblock.damage;
    if (!rc)
        rc = stele_superblock_rewrite(&store->file, &store->superblock);
    if (!rc)
        rc = find_durable(store, is_forced, finding);
    if (rc)
        goto out;
    base = finding->highest_sequence + STELE_SEQUENCE_LEAP;
    if (base >> 62) {
        rc = stele_fail(STELE_E_DAMAGED, "%s: commit number %" PRIu64 " cannot be", store->path, base);
        goto out;
    }
    stele_block_forget(store);
    rc = put_in_place(store, &finding->replay, base, &report);
    if (!rc)
        rc = stele_window_flush(&store->stores);
    if (!rc)
        rc = stele_os_sync(&store->file);
    if (!rc)
        rc = flip(store, finding, session, base);
    if (rc)
        goto out;
    report_of(store, finding, base, &report);
    store->session = session;
    store->last_logged = base;
    store->last_head = 0;
    store->has_foreign = store->has_user = store->has_tag = false;
    store->modified_us = 0;
    stele_live_set_state(&store->live, STELE_STATE_IDLE);
    stele_os_wake(&store->live.words->version.word);
    *out = report;
out:
    stele_replay_done(&finding->replay);
    if (!rc || rc == STELE_E_DAMAGED)
        return rc;
    stele_fail_in(store->path);
    return stele_fail_advise("recovery did not finish and begins anew at the next attempt");
}

/* The run that another handle left, as a checkpoint just before it would have the ring. */
static void slot_of_run(const struct stele *store, struct stele_slot *out)
{
    const struct stele_live *words = store->live.words;
    *out = store->superblock.slot;
    out->session = store->session;
    out->count = stele_load(&words->count.word);
    out->sequence = stele_load(&words->synced.word);
    out->chain = stele_load(&words->run_chain);
    out->ring_head = stele_load(&words->run_place);
}

/* Make the run @replay durable, put it in place, publish it: steps 3 to 5 of a commit. */
static int settle_replay(struct stele *store, const struct stele_replay *replay)
{
    struct stele_live *words = store->live.words;
    struct stele_stripe_set *set = malloc(sizeof(*set));
    if (!set)
        return stele_fail(STELE_E_NOMEM, "out of memory to settle another handle's commits");
    collect_stripes(store, replay, set);
    stele_live_set_state(&store->live, STELE_STATE_COMMITTING);
    int rc = rewrite_tail(store, replay);
    if (!rc)
        stele_store(&words->synced.word, replay->sequence);
    if (!rc) {
        stele_stripes_hold(&store->live, set);
        rc = stele_apply_replay(store, replay);
    }
    if (rc) {
        stele_checkpoint_poison(store);
        goto out;
    }
    stele_store_release(&words->count.word, replay->count);
    stele_store(&words->count_high.word, stele_max(stele_load(&words->count_high.word), replay->count));
    stele_store_release(&words->version.word, replay->sequence);
    stele_stripes_release(&store->live, set, replay->sequence);
    stele_store_release(&words->applied.word, replay->sequence);
    stele_live_set_state(&store->live, STELE_STATE_IDLE);
    stele_os_wake(&words->version.word);
out:
    free(set);
    return rc;
}

int stele_recover_pending(struct stele *store)
{
    const struct stele_live *words = store->live.words;
    uint64_t logged = stele_load(&words->logged.word), place = stele_load(&words->run_place);
    struct stele_slot *slot = malloc(sizeof(*slot));
    struct stele_replay replay = { .count = 0 };
    struct stele_walk walk;
    if (!slot)
        return stele_fail(STELE_E_NOMEM, "out of memory to settle another handle's commits");
    slot_of_run(store, slot);
    bool is_whole = place < store->fixed.journal_bytes && place % STELE_PAGE_BYTES == 0;
    int rc = STELE_OK;
    if (is_whole) {
        stele_walk_init(&walk, &store->file, &store->superblock.layout, slot);
        stele_replay_init(&replay, &store->superblock.layout, slot, store->writer_id);
        rc = stele_replay_walk(&replay, &walk, logged);
        if (!rc)
            rc = stele_replay_finish(&replay, &store->superblock.layout);
        stele_walk_done(&walk);
        is_whole = replay.sequence == logged;
    }
    if (!rc && is_whole) {
        rc = settle_replay(store, &replay);
        /* Another writer's: its images are stored again before the checkpoint counts on them. */
        store->has_foreign = true;
        stele_block_forget(store);
    }
    stele_replay_done(&replay);
    free(slot);
    /* The live words do not tell what is in the ring: only a recovery can. */
    if (!rc && !is_whole) {
        struct stele_recovery report;
        rc = stele_recover_make(store, false, &report);
    }
    return rc;
}
