/* What a store is and how it is. Never writes. */
#include "error.h"
#include "options.h"
#include "reader.h"

static void fill_from_slot(const struct stele_slot *slot, struct stele_info *out)
{
    out->format_version = slot->format_version;
    out->library_version = slot->library_version;
    out->clean = slot->state_flags & STELE_CLEAN;
    out->sparse = slot->features_incompatible & STELE_FEATURE_SPARSE ? 1 : 0;
    memcpy(out->file_id, slot->file_id, sizeof(out->file_id));
    memcpy(out->origin_file_id, slot->origin_file_id, sizeof(out->origin_file_id));
    out->origin_sequence = slot->origin_sequence;
    out->features_incompatible = slot->features_incompatible;
    out->features_read_only = slot->features_read_only;
    out->features_compatible = slot->features_compatible;
    out->created_us = slot->created_us;
    out->modified_us = slot->modified_us;
    out->checkpoint_us = slot->checkpoint_us;
    out->generation = slot->generation;
    out->session = slot->session;
    out->layout_version = slot->layout_version;
    out->checkpoint_sequence = slot->sequence;
    out->schema_bytes = slot->schema_bytes;
    out->recovery_count = slot->history_total;
    if (slot->history_total) {
        const struct stele_history *last = &slot->history[(slot->history_total - 1) % STELE_HISTORY_COUNT];
        out->recovery_kind = last->kind;
        out->recovery_last_kept = last->last_kept;
        out->recovery_first_new = last->first_new;
        out->recovery_us = (uint64_t)last->time_s * 1000000;
    }
}

static void fill_from_layout(const struct stele_layout *layout, struct stele_info *out)
{
    out->record_bytes = layout->record_bytes;
    out->records_per_block = layout->records_per_block;
    out->records_per_cell = layout->records_per_cell;
    out->capacity = layout->capacity;
    out->records_offset = layout->records_offset;
    out->sums_offset = layout->sums_offset;
    out->sums_bytes = layout->sums_bytes;
    out->journal_offset = layout->journal_offset;
    out->journal_bytes = layout->journal_bytes;
    out->live_offset = layout->live_offset;
    out->live_bytes = layout->live_bytes;
    out->schema_offset = layout->schema_offset;
}

/* What the ring adds to the header: user, tag and time of commits since the checkpoint. */
static void fill_from_ring(struct stele *store, const struct stele_superblock *superblock, struct stele_info *out)
{
    struct stele_slot slot = superblock->slot;
    struct stele_replay replay;
    struct stele_walk walk;
    stele_walk_init(&walk, &store->file, &superblock->layout, &superblock->slot);
    stele_replay_init(&replay, &superblock->layout, &superblock->slot, store->writer_id);
    replay.is_brief = true;
    /* A writer may be at work: what cannot be followed is left out, this is for display. */
    (void)stele_replay_walk(&replay, &walk, UINT64_MAX);
    stele_replay_to_slot(&replay, &slot);
    out->journal_entry_count = (uint32_t)stele_min(replay.entry_count, UINT32_MAX);
    struct stele_ring ring = { .bytes = superblock->layout.journal_bytes, .head = replay.first_place,
                               .tail = replay.tail };
    out->journal_used_bytes = replay.entry_count ? stele_ring_used(&ring) : 0;
    out->modified_us = slot.modified_us;
    out->user_version = slot.user_version;
    memcpy(out->user, slot.user, sizeof(out->user));
    out->tag_bytes = slot.tag_bytes;
    memcpy(out->tag, slot.tag, sizeof(out->tag));
    out->sequence = replay.sequence;
    stele_walk_done(&walk);
    stele_replay_done(&replay);
}

static int fill_state(struct stele *store, struct stele_info *out)
{
    const struct stele_live *words = store->live.words;
    bool is_present = true;
    int rc = store->is_present ? STELE_OK : stele_os_is_present_held(&store->file, &is_present);
    if (rc)
        return rc;
    out->writer_pid = (uint32_t)stele_load(&words->writer_pid);
    out->writer_started_us = stele_load(&words->writer_started_us);
    out->last_commit_us = stele_load(&words->last_commit_us);
    out->state = STELE_STATE_CLOSED;
    if (!is_present)
        return STELE_OK;
    out->state = (uint32_t)stele_min(stele_load_acquire(&words->state.word), STELE_STATE_FAILED);
    out->sequence = stele_load(&words->applied.word);
    out->session = stele_load(&words->session.word);
    return STELE_OK;
}

int stele_info(struct stele *store, struct stele_info *out)
{
    struct stele_info info = STELE_INFO_INIT;
    struct stele_superblock superblock;
    struct stele_os_stat stat;
    if (!store || !out)
        return stele_fail(STELE_E_USAGE, "stele_info: store and out must not be NULL");
    int rc = stele_handle_check(store);
    if (!rc)
        rc = stele_superblock_read(&store->file, &superblock);
    if (!rc)
        rc = stele_os_stat(&store->file, &stat);
    if (rc)
        return rc;
    fill_from_slot(&superblock.slot, &info);
    fill_from_layout(&superblock.layout, &info);
    fill_from_ring(store, &superblock, &info);
    rc = fill_state(store, &info);
    if (rc)
        return rc;
    info.header_damage = superblock.damage | store->opened_damage;
    info.file_bytes = stat.bytes;
    info.disk_bytes = stat.disk_bytes;
    info.count = stele_count(store);
    info.opened_entries_replayed = store->opened_entry_count;
    return stele_struct_give(&info, sizeof(info), out);
}

const struct stele_schema *stele_schema_of(const struct stele *store)
{
    return store ? store->schema : NULL;
}
