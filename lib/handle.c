#include "handle.h"

#include "error.h"
#include "guard.h"

int stele_handle_forked(const struct stele *store)
{
    return stele_fail(STELE_E_USAGE, "%s: the handle belongs to the parent process; open the store again "
                          "after fork", store->path);
}

int stele_handle_cut(const struct stele *store)
{
    return stele_fail(STELE_E_TRUNCATED, "%s: the file was cut under this handle; close it and restore the file from a "
                      "backup", store->path);
}

int stele_handle_fault(struct stele *store, uint64_t offset, size_t byte_count)
{
    struct stele_os_stat stat;
    int rc = stele_os_stat(&store->file, &stat);
    if (rc)
        return rc;
    if (offset > stat.bytes || byte_count > stat.bytes - offset)
        rc = stele_fail(STELE_E_TRUNCATED, "%s: the file was cut at byte %" PRIu64 "; bytes from %" PRIu64
                        " on are gone", store->path, stat.bytes, offset);
    else
        rc = stele_fail(STELE_E_IO, "%s: the system cannot read the page at byte %" PRIu64, store->path, offset);
    stele_fail_at(offset);
    return rc;
}

int stele_handle_copy(struct stele *store, uint64_t offset, void *out, size_t byte_count)
{
    struct stele_pin pin;
    int rc = stele_window_pin(&store->windows, offset, byte_count, &pin);
    if (rc)
        return stele_fail_prefix(store->path);
    if (!stele_guard_copy(out, pin.bytes, byte_count))
        rc = stele_handle_fault(store, offset, byte_count);
    stele_window_unpin(&pin);
    return rc;
}

int stele_handle_read(struct stele *store, uint64_t offset, void *out, uint64_t byte_count)
{
    const uint64_t piece_max = stele_handle_overlap(&store->fixed);
    uint8_t *to = out;
    /* Header and journal are never mapped. */
    if (!stele_window_needs_views() || offset < store->fixed.records_offset)
        return stele_os_read(&store->file, offset, out, (size_t)byte_count);
    while (byte_count) {
        uint64_t piece = stele_min(byte_count, piece_max);
        int rc = stele_handle_copy(store, offset, to, (size_t)piece);
        if (rc)
            return rc;
        offset += piece;
        to += piece;
        byte_count -= piece;
    }
    return STELE_OK;
}

int stele_handle_unmap(struct stele *store)
{
    if (!stele_window_needs_views())
        return STELE_OK;
    int rc = stele_live_leave(&store->live);
    if (rc)
        return rc;
    stele_windows_drop(&store->windows);
    stele_window_stores_drop(&store->stores);
    return STELE_OK;
}

void stele_handle_map(struct stele *store)
{
    struct stele_error kept;
    stele_error_keep(&kept);
    if (store->live.copy && stele_live_return(&store->live, &store->file, &store->fixed, store->is_writable)) {
        stele_log(STELE_LOG_WARNING, "%s: the live region could not be mapped again: %s", store->path,
                  stele_last_error()->text);
        /* It closes without a word to others; closing the file gives the locks back. */
        stele_handle_poison(store);
        store->is_present = false;
    }
    stele_error_restore(&kept);
}

void stele_handle_set_superblock(struct stele *store, const struct stele_superblock *superblock)
{
    stele_os_mutex_lock(&store->mutex);
    store->superblock = *superblock;
    stele_os_mutex_unlock(&store->mutex);
}

/* Nobody can open the file of @store any more, so a failure here changes nothing that counts. */
static void retire(struct stele *store, const uint8_t next_id[16])
{
    struct stele_superblock superblock = store->superblock;
    struct stele_slot slot = superblock.slot;
    uint64_t session;
    memcpy(slot.superseded_by, next_id, sizeof(slot.superseded_by));
    if (stele_superblock_flip(&store->file, &superblock, &slot))
        stele_log(STELE_LOG_WARNING, "%s: the old file could not be marked as superseded", store->path);
    if (stele_live_claim(&store->live, &session) == STELE_OK)
        stele_live_set_state(&store->live, STELE_STATE_IDLE);
}

int stele_handle_replace(struct stele *store, struct stele_os_draft *draft, const uint8_t next_id[16],
                         struct stele_os_file *out_file)
{
    int rc = stele_handle_unmap(store);
    if (rc)
        return rc;
    rc = stele_os_draft_publish(draft, true, out_file);
    stele_handle_map(store);
    if (!rc)
        retire(store, next_id);
    return rc;
}

int stele_handle_ring(const struct stele *store, struct stele_ring *out)
{
    const struct stele_live *words = store->live.words;
    struct stele_ring ring = { .bytes = store->fixed.journal_bytes, .head = stele_load(&words->ring_head.word),
                               .tail = stele_load(&words->ring_tail.word) };
    if (ring.head >= ring.bytes || ring.head % 8 || ring.tail > ring.bytes || ring.tail % 8)
        return stele_fail(STELE_E_DAMAGED, "%s: live region: ring head %" PRIu64 " or tail %" PRIu64 " cannot be",
                          store->path, ring.head, ring.tail);
    *out = ring;
    return STELE_OK;
}
