/* Backup: pieces, runs of neighbouring blocks: read where they are, judged, put into the copy. */
#include "backup.h"

#include "error.h"
#include "sums.h"

#define DAMAGED_MAX 65536u /* blocks remembered one by one */

int stele_backup_skip_hole(struct stele_backup *backup, uint64_t block, uint64_t *out_block)
{
    const struct stele_layout *layout = &backup->from.layout;
    const struct stele_replay *overlay = stele_backup_images(&backup->place);
    uint64_t record_at = stele_record_offset(layout, stele_block_first(layout, block));
    uint64_t word_at = stele_word_offset(layout, block), record_data, word_data;
    *out_block = block;
    bool is_same = stele_backup_is_fresh(backup, block) ||
                   (stele_backup_is_first(backup) && block < backup->cloned_end);
    if (!backup->is_sparse || !is_same || block < backup->hole_end || overlay)
        return STELE_OK;
    int rc = stele_os_next_data(&backup->store->file, record_at, &record_data);
    if (!rc)
        rc = stele_os_next_data(&backup->store->file, word_at, &word_data);
    if (rc || !stele_backup_is_in_place(backup))
        return rc;
    uint64_t records_end = block + (record_data - record_at) / (layout->records_per_block * layout->record_bytes);
    *out_block = stele_min(records_end, block + (word_data - word_at) / 8);
    /* Asked for each block it would be dear: not again before this one and what follows were looked at. */
    if (*out_block == block)
        backup->hole_end = block + 64;
    return STELE_OK;
}

/* Put what the ring has of images of @first to @end over their copies, which begin at @out. */
static int lay_over(struct stele_backup *backup, const struct stele_runs *runs, uint64_t first, uint64_t end,
                    uint8_t *out)
{
    const struct stele *store = backup->store;
    int rc = STELE_OK;
    for (size_t at = stele_runs_at(runs, first); at < runs->count && runs->list[at].first < end && !rc; at++) {
        const struct stele_run *run = &runs->list[at];
        uint64_t from = stele_max(run->first, first), to = stele_min(run->first + run->n, end);
        rc = stele_os_read(&store->file,
                           store->fixed.journal_offset + run->place + (from - run->first) * runs->stride,
                           out + (from - first) * runs->stride, (size_t)((to - from) * runs->stride));
    }
    return rc;
}

/* Block by block, after the whole piece could not be read. What is gone is marked: it is never taken for good. */
static int read_readable(struct stele_backup *backup, uint64_t block, uint64_t block_count, uint64_t count)
{
    const struct stele_layout *layout = &backup->from.layout;
    const uint64_t block_bytes = layout->records_per_block * layout->record_bytes;
    for (uint64_t i = 0; i < block_count; i++) {
        uint8_t *out = backup->records + i * block_bytes;
        uint64_t bytes = stele_block_records(layout, block + i, count) * layout->record_bytes;
        int rc = stele_handle_read(backup->store, stele_word_offset(layout, block + i), &backup->words[i], 8);
        if (rc == STELE_E_IO)
            backup->words[i] = 0;
        else if (rc)
            return rc;
        int unread = stele_handle_read(backup->store, stele_record_offset(layout, stele_block_first(layout, block + i)),
                                       out, bytes);
        if (unread == STELE_E_IO)
            memset(out, 0, (size_t)bytes);
        else if (unread)
            return unread;
        if (rc || unread)
            backup->words[i] = stele_max(backup->words[i] & ~UINT64_C(1), 2);
    }
    return STELE_OK;
}

static void ask_ahead(struct stele_backup *backup, uint64_t offset)
{
    /* Backwards: another pass. */
    if (offset < backup->asked_until - stele_min(backup->asked_until, 2 * STELE_BACKUP_PIECE_BYTES))
        backup->asked_until = offset;
    if (offset + STELE_BACKUP_PIECE_BYTES < backup->asked_until)
        return;
    backup->asked_until = stele_max(backup->asked_until, offset);
    stele_os_will_need(&backup->store->file, backup->asked_until, STELE_BACKUP_PIECE_BYTES);
    backup->asked_until += STELE_BACKUP_PIECE_BYTES;
}

/* Read words and records of @block_count blocks below @count; STELE_END if they moved to another place meanwhile. */
static int read_piece(struct stele_backup *backup, uint64_t block, uint64_t block_count, uint64_t count)
{
    struct stele *store = backup->store;
    const struct stele_layout *layout = &backup->from.layout;
    const struct stele_replay *overlay = stele_backup_images(&backup->place);
    uint64_t first = stele_block_first(layout, block);
    uint64_t end = stele_min(stele_block_first(layout, block + block_count), count);
    uint64_t at = stele_record_offset(layout, first);
    ask_ahead(backup, at);
    int rc = stele_handle_read(store, stele_word_offset(layout, block), backup->words, block_count * 8);
    if (!rc)
        rc = stele_handle_read(store, at, backup->records, (end - first) * layout->record_bytes);
    if (rc == STELE_E_IO)
        rc = read_readable(backup, block, block_count, count);
    if (!rc && overlay)
        rc = lay_over(backup, &overlay->words, block, block + block_count, (uint8_t *)backup->words);
    if (!rc && overlay)
        rc = lay_over(backup, &overlay->records, first, end, backup->records);
    return stele_backup_is_in_place(backup) ? rc : STELE_END;
}

/* Words go as they are: a damaged block stays one. That it is one is remembered until a later pass finds it good. */
static int judge(struct stele_backup *backup, uint64_t block, uint64_t word, const uint8_t *records,
                 uint64_t record_count)
{
    uint64_t computed, *value;
    bool is_new;
    bool is_good = !stele_word_is_known_damaged(word) &&
                   stele_sum_check(&backup->from.layout, backup->from.slot.sum_seed, block, records, record_count,
                                   word, &computed);
    if (is_good) {
        value = backup->damaged.count ? stele_lookup_find(&backup->damaged, block) : NULL;
        if (value)
            *value = 0;
        return STELE_OK;
    }
    if (backup->damaged.count >= DAMAGED_MAX && !stele_lookup_find(&backup->damaged, block)) {
        backup->unremembered_count++;
        return STELE_OK;
    }
    int rc = stele_lookup_put(&backup->damaged, block, &value, &is_new);
    if (!rc)
        *value = 1;
    return rc;
}

/* Put the piece into the copy, but for zeros where it has zeros already: in a sparse one they stay a hole. */
static int write_piece(struct stele_backup *backup, uint64_t block, uint64_t block_count, uint64_t count)
{
    const struct stele_layout *to = &backup->to;
    const uint64_t block_bytes = to->records_per_block * to->record_bytes;
    const uint64_t end = stele_block_first(to, block) + stele_min(block_count * to->records_per_block,
                                                                  count - stele_block_first(to, block));
    bool is_cloned = stele_backup_is_first(backup) && block + block_count <= backup->cloned_end &&
                     !stele_backup_images(&backup->place);
    bool has_zeros = stele_backup_is_fresh(backup, block);
    int rc = STELE_OK;
    for (uint64_t i = 0, n; i < block_count && !is_cloned && !rc; i += n) {
        bool is_wanted = false;
        for (n = 0; i + n < block_count; n++) {
            uint64_t bytes = stele_block_records(to, block + i + n, count) * to->record_bytes;
            bool is_data = !has_zeros || !stele_is_zero(backup->records + (i + n) * block_bytes, (size_t)bytes);
            if (n && is_data != is_wanted)
                break;
            is_wanted = is_data;
        }
        uint64_t from = stele_block_first(to, block + i);
        uint64_t bytes = (stele_min(stele_block_first(to, block + i + n), end) - from) * to->record_bytes;
        if (is_wanted)
            rc = stele_os_write(&backup->draft.file, stele_record_offset(to, from),
                                backup->records + i * block_bytes, (size_t)bytes);
    }
    if (!rc && (!has_zeros || !stele_is_zero(backup->words, (size_t)block_count * 8)))
        rc = stele_os_write(&backup->draft.file, stele_word_offset(to, block), backup->words, (size_t)block_count * 8);
    return rc;
}

int stele_backup_copy_piece(struct stele_backup *backup, uint64_t block, uint64_t block_count)
{
    const uint64_t count = backup->now.count;
    const struct stele_layout *layout = &backup->store->fixed;
    const uint64_t block_bytes = layout->records_per_block * layout->record_bytes;
    int rc;
    while ((rc = read_piece(backup, block, block_count, count)) == STELE_END) {
        struct stele_moment moment;
        rc = stele_backup_locate(backup, &moment);
        if (rc)
            return rc;
    }
    for (uint64_t i = 0; i < block_count && !rc; i++)
        rc = judge(backup, block + i, backup->words[i], backup->records + i * block_bytes,
                   stele_block_records(layout, block + i, count));
    if (!rc)
        rc = write_piece(backup, block, block_count, count);
    backup->copied_end = stele_max(backup->copied_end, block + block_count);
    backup->pass_bytes += block_count * block_bytes;
    return rc;
}
