/* Backup: what a look at the live store finds: where blocks are read, and which commit it is as of. */
#include "backup.h"

#include "error.h"

#define RETRY_US 200u

static int look(struct stele_backup *backup, struct stele_moment *out)
{
    struct stele *store = backup->store;
    const struct stele_live *words = store->live.words;
    int rc = stele_reader_current(store, &out->reading);
    if (rc)
        return rc;
    out->session = out->reading ? out->reading->session : stele_load_acquire(&words->session.word);
    if (stele_reader_overlay(out->reading)) {
        out->is_idle = true;
        out->sequence = out->reading->overlay.sequence;
        out->count = out->reading->overlay.count;
        out->layout_version = out->reading->layout_version;
        return STELE_OK;
    }
    /* Loaded in the order in which a commit stores them: a look between two of its stores differs from one after. */
    out->is_idle = stele_load_acquire(&words->state.word) == STELE_STATE_IDLE;
    out->count = stele_min(stele_load_acquire(&words->count.word), store->index_limit);
    out->sequence = stele_load_acquire(&words->version.word);
    out->layout_version = stele_load_acquire(&words->layout_version.word);
    return STELE_OK;
}

int stele_backup_check_header(const struct stele_backup *backup)
{
    const struct stele *store = backup->store;
    struct stele_os_stat stat;
    if (!backup->from.may_write || stele_layout_has_strangers(&backup->from.slot))
        return stele_fail(STELE_E_VERSION, "%s has features or regions of a newer stele and cannot be copied by this "
                          "one", store->path);
    int rc = stele_os_stat(&store->file, &stat);
    if (rc)
        return rc;
    if (stat.bytes < backup->from.layout.file_bytes)
        return stele_fail(STELE_E_TRUNCATED, "%s: the file was cut to %" PRIu64 " bytes, its header says %" PRIu64
                          ": stele export --range saves the records that are left", store->path, stat.bytes,
                          backup->from.layout.file_bytes);
    if (stat.links == 0)
        return stele_fail(STELE_E_STALE, "%s: the file was removed or replaced while it was being copied",
                          store->path);
    return STELE_OK;
}

int stele_backup_locate(struct stele_backup *backup, struct stele_moment *out)
{
    struct stele *store = backup->store;
    uint64_t deadline_us = stele_os_clock_us() + (uint64_t)store->read_wait_ms * 1000;
    struct stele_moment after = { .reading = NULL };
    for (;;) {
        int rc = look(backup, out);
        if (!rc)
            rc = stele_superblock_read(&store->file, &backup->from);
        if (!rc)
            rc = look(backup, &after);
        if (rc)
            return rc;
        if (backup->from.slot.layout_version == out->layout_version && after.session == out->session &&
            after.layout_version == out->layout_version) {
            backup->place = *out;
            return stele_backup_check_header(backup);
        }
        if (stele_os_clock_us() >= deadline_us)
            return stele_fail(STELE_E_BUSY, "%s: a writer that makes it larger does not come to an end", store->path);
        stele_os_sleep_us(RETRY_US);
    }
}

bool stele_backup_is_in_place(const struct stele_backup *backup)
{
    const struct stele *store = backup->store;
    if (!stele_reader_is_current(store, backup->place.reading)) /* a fence, too */
        return false;
    return stele_reader_overlay(backup->place.reading) ||
           stele_load(&store->live.words->layout_version.word) == backup->place.layout_version;
}

int stele_backup_is_still(struct stele_backup *backup, bool *out_is_still)
{
    const struct stele_moment *began = &backup->now;
    struct stele_moment after;
    int rc = look(backup, &after);
    *out_is_still = !rc && after.is_idle && after.session == began->session && after.sequence == began->sequence &&
                    after.count == began->count && after.layout_version == began->layout_version &&
                    after.reading == began->reading;
    return rc;
}

const struct stele_replay *stele_backup_images(const struct stele_moment *moment)
{
    const struct stele_replay *overlay = stele_reader_overlay(moment->reading);
    return overlay && overlay->records.count + overlay->words.count ? overlay : NULL;
}

int stele_backup_read_header(struct stele_backup *backup)
{
    const struct stele *store = backup->store;
    struct stele_superblock now;
    int rc = stele_superblock_read(&store->file, &now);
    if (rc)
        return rc;
    if (stele_reader_overlay(backup->now.reading)) {
        backup->from = now;
        return now.slot.layout_version == backup->now.layout_version ? STELE_OK : STELE_END;
    }
    backup->walk_layout = now.layout;
    /* Only what was logged since the last pass is walked: a ring may be long, and a still moment is short. */
    if (!backup->is_walking || now.slot.generation != backup->walk_generation) {
        stele_walk_done(&backup->walk);
        stele_replay_done(&backup->replay);
        stele_walk_init(&backup->walk, &store->file, &backup->walk_layout, &now.slot);
        stele_replay_init(&backup->replay, &backup->walk_layout, &now.slot, store->writer_id);
        backup->replay.is_brief = true;
        backup->walk_generation = now.slot.generation;
        backup->is_walking = true;
    }
    backup->from = now;
    rc = stele_replay_walk(&backup->replay, &backup->walk, backup->now.sequence);
    if (rc || backup->walk.sequence != backup->now.sequence) {
        backup->is_walking = false;
        if (backup->has_turn)
            return rc ? rc : stele_fail(STELE_E_DAMAGED, "%s: the journal ends at commit %" PRIu64 ", but %" PRIu64
                                        " was applied", store->path, backup->walk.sequence, backup->now.sequence);
        /* A ring that is being written to may look like anything. */
        rc = rc == STELE_E_NOMEM || rc == STELE_E_IO ? rc : STELE_END;
    }
    return rc;
}
