/* Rewrite: the same records in a new file of another size, put in the old one's place. */
#include "checkpoint.h"
#include "create.h"
#include "error.h"
#include "handle.h"
#include "open.h"
#include "options.h"
#include "sums.h"
#include "turn.h"

#include <stdlib.h>

#define PROGRESS_BYTES (UINT64_C(4) << 20)
#define WORDS_MAX 2048u

struct rewrite {
    struct stele *old;
    const struct stele_os_file *file; /* the new one */
    struct stele_layout layout;       /* the new one's */
    bool is_forced, is_sparse;
    uint64_t count, reported_bytes;
    uint8_t *block;
    uint64_t words[WORDS_MAX];
    uint64_t word_block, word_count;
};

static int flush_words(struct rewrite *rewrite)
{
    int rc = STELE_OK;
    if (rewrite->word_count && !stele_is_zero(rewrite->words, (size_t)rewrite->word_count * 8))
        rc = stele_os_write(rewrite->file, stele_word_offset(&rewrite->layout, rewrite->word_block), rewrite->words,
                            (size_t)rewrite->word_count * 8);
    rewrite->word_block += rewrite->word_count;
    rewrite->word_count = 0;
    return rc;
}

/* A word that says "known damaged" whatever it said before. */
static uint64_t marked(uint64_t word)
{
    uint64_t even = word & ~UINT64_C(1);
    return even ? even : 2;
}

static int damaged(const struct rewrite *rewrite, uint64_t block, uint64_t record_count)
{
    uint64_t first = stele_block_first(&rewrite->layout, block);
    return stele_fail(STELE_E_DAMAGED, "%s: block %" PRIu64 " (records %" PRIu64 " to %" PRIu64 ") does not fit its "
                      "checksum; nothing was changed. With STELE_FORCE (--force) damaged blocks are carried over, "
                      "marked", rewrite->old->path, block, first, first + record_count - 1);
}

/* Each block against its old word: nothing is blessed by being copied. */
static int copy_block(struct rewrite *rewrite, uint64_t block)
{
    struct stele *old = rewrite->old;
    const struct stele_layout *from = &old->superblock.layout;
    uint64_t records = stele_block_records(from, block, rewrite->count);
    uint64_t first = stele_block_first(from, block), word, computed;
    size_t bytes = (size_t)(records * from->record_bytes);
    int rc = stele_handle_read(old, stele_word_offset(from, block), &word, sizeof(word));
    if (!rc)
        rc = stele_handle_read(old, stele_record_offset(from, first), rewrite->block, bytes);
    if (rc)
        return rc;
    if (stele_word_is_known_damaged(word) ||
        !stele_sum_check(from, old->superblock.slot.sum_seed, block, rewrite->block, records, word, &computed)) {
        if (!rewrite->is_forced)
            return damaged(rewrite, block, records);
        word = marked(word);
    }
    /* A new file reads as zero: what is zero need not be written, and stays a hole in a sparse store. */
    if (!stele_is_zero(rewrite->block, bytes))
        rc = stele_os_write(rewrite->file, stele_record_offset(&rewrite->layout, first), rewrite->block, bytes);
    if (!rc && rewrite->word_count == WORDS_MAX)
        rc = flush_words(rewrite);
    rewrite->words[rewrite->word_count++] = word;
    return rc;
}

static int copy_records(struct rewrite *rewrite)
{
    const struct stele *old = rewrite->old;
    const uint64_t record_bytes = rewrite->layout.record_bytes;
    uint64_t blocks = stele_blocks_below(&rewrite->layout, rewrite->count);
    int rc = STELE_OK;
    for (uint64_t block = 0; block < blocks && !rc; block++) {
        rc = copy_block(rewrite, block);
        uint64_t done = stele_block_first(&rewrite->layout, block) * record_bytes;
        if (rc || !old->progress || done - rewrite->reported_bytes < PROGRESS_BYTES)
            continue;
        rewrite->reported_bytes = done;
        if (old->progress(old->progress_context, done, rewrite->count * record_bytes))
            rc = stele_fail(STELE_E_INTERRUPTED, "%s: resize stopped; the store is as before", old->path);
    }
    return rc ? rc : flush_words(rewrite);
}

/* The new header: another file, the same records. */
static int make_slot(const struct rewrite *rewrite, struct stele_slot *out)
{
    const struct stele_slot *from = &rewrite->old->superblock.slot;
    struct stele_slot fresh;
    int rc = stele_create_slot(&rewrite->layout, rewrite->is_sparse, rewrite->old->schema, &fresh);
    if (rc)
        return rc;
    struct stele_slot slot = *from; /* what we do not know is carried */
    memset(slot.regions, 0, sizeof(slot.regions));
    stele_layout_to(&rewrite->layout, &slot);
    memcpy(slot.file_id, fresh.file_id, sizeof(slot.file_id));
    memcpy(slot.origin_file_id, from->file_id, sizeof(slot.origin_file_id));
    slot.origin_sequence = from->sequence;
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

static int fill(struct rewrite *rewrite, struct stele_slot *out_slot)
{
    int rc = make_slot(rewrite, out_slot);
    if (!rc)
        rc = stele_create_fill(rewrite->file, &rewrite->layout, rewrite->is_sparse, rewrite->old->schema);
    if (!rc)
        rc = copy_records(rewrite);
    if (!rc)
        rc = stele_superblock_write_new(rewrite->file, out_slot);
    if (!rc)
        rc = stele_os_sync(rewrite->file);
    return rc;
}

static int check_strangers(const struct stele *old)
{
    if (stele_layout_has_strangers(&old->superblock.slot))
        return stele_fail(STELE_E_VERSION, "%s has regions of a newer stele and cannot be rewritten by this one",
                          old->path);
    return STELE_OK;
}

/* With W and P alone. */
static int rewrite_into(struct rewrite *rewrite, const struct stele_options *options)
{
    struct stele *old = rewrite->old;
    struct stele_os_draft draft = { .target = NULL };
    struct stele_os_file published = { .is_open = false };
    struct stele_slot slot;
    uint64_t capacity = options->capacity_records ? options->capacity_records : old->superblock.layout.capacity;
    rewrite->count = stele_load(&old->live.words->count.word);
    if (capacity < rewrite->count)
        return stele_fail(STELE_E_RANGE, "%s: a capacity of %" PRIu64 " is less than the %" PRIu64 " records there are",
                          old->path, capacity, rewrite->count);
    int rc = check_strangers(old);
    if (!rc)
        rc = stele_layout_plan(old->fixed.record_bytes, capacity,
                               options->journal_bytes ? options->journal_bytes : old->fixed.journal_bytes,
                               &rewrite->layout);
    if (!rc)
        rc = stele_os_draft_open(old->path, 0600, &draft);
    if (rc)
        return rc;
    rewrite->file = &draft.file;
    rc = fill(rewrite, &slot);
    if (!rc)
        rc = stele_os_draft_dress(&draft, &old->file);
    if (!rc)
        rc = stele_handle_replace(old, &draft, slot.file_id, &published);
    stele_os_close(&published);
    struct stele_error kept;
    stele_error_keep(&kept);
    stele_os_draft_discard(&draft);
    stele_error_restore(&kept);
    return rc;
}

/* Empty the ring and see that nobody else is present. */
static int prepare(struct stele *old)
{
    int rc = stele_turn_take(old);
    if (rc)
        return rc;
    rc = stele_os_lock_present_alone(&old->file);
    if (rc == STELE_E_BUSY)
        rc = stele_fail(STELE_E_BUSY, "%s is open for writing elsewhere; close it there first", old->path);
    /* Others may have committed since it was opened: the header must know all that is copied. */
    if (!rc)
        rc = stele_checkpoint_make(old, 0, false);
    if (rc)
        stele_turn_give(old);
    return rc;
}

int stele_resize(const char *path, const struct stele_options *options)
{
    struct stele_options read;
    struct stele *old;
    if (!path)
        return stele_fail(STELE_E_USAGE, "stele_resize: path must not be NULL");
    int rc = stele_options_read(options, STELE_FORCE, &read);
    if (rc)
        return rc;
    bool is_forced = read.flags & STELE_FORCE;
    read.flags = 0;
    read.mode = STELE_READ_WRITE;
    rc = stele_open_path(path, &read, false, &old);
    if (rc)
        return rc;
    struct rewrite *rewrite = calloc(1, sizeof(*rewrite));
    uint8_t *block = malloc((size_t)stele_handle_overlap(&old->fixed));
    if (!rewrite || !block) {
        rc = stele_fail(STELE_E_NOMEM, "out of memory to resize %s", path);
        goto out;
    }
    rc = prepare(old);
    if (rc)
        goto out;
    *rewrite = (struct rewrite){ .old = old, .is_forced = is_forced, .block = block,
        .is_sparse = old->superblock.slot.features_incompatible & STELE_FEATURE_SPARSE };
    rc = rewrite_into(rewrite, &read);
    stele_turn_give(old);
    if (rc)
        stele_fail_in(path);
out:
    free(rewrite);
    free(block);
    struct stele_error kept;
    stele_error_keep(&kept);
    int closed = stele_close(old);
    if (rc || !closed)
        stele_error_restore(&kept);
    return rc ? rc : closed;
}
