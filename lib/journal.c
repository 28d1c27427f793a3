#include "journal.h"

#include "error.h"
#include "hash.h"

#include <stdlib.h>

static int reserve(struct stele_entry *entry, size_t byte_count)
{
    if (entry->room_bytes - entry->used_bytes >= byte_count)
        return STELE_OK;
    size_t room_bytes = (size_t)stele_round_up(stele_max(entry->used_bytes + byte_count, 2 * entry->room_bytes),
                                               STELE_PAGE_BYTES);
    uint8_t *bytes = realloc(entry->bytes, room_bytes);
    if (!bytes)
        return stele_fail(STELE_E_NOMEM, "out of memory for a journal entry of %zu bytes", room_bytes);
    entry->bytes = bytes;
    entry->room_bytes = room_bytes;
    return STELE_OK;
}

int stele_entry_follow(struct stele_entry *entry)
{
    entry->start_bytes = entry->used_bytes;
    int rc = reserve(entry, STELE_PAGE_BYTES);
    if (rc)
        return rc;
    entry->used_bytes += sizeof(struct stele_entry_head);
    return STELE_OK;
}

void stele_entry_drop(struct stele_entry *entry)
{
    /* Its page goes to the ring with what was sealed before it: a walk must not find it there. */
    if (entry->used_bytes > entry->start_bytes)
        memset(entry->bytes + entry->start_bytes, 0, entry->used_bytes - entry->start_bytes);
    entry->used_bytes = entry->start_bytes;
}

int stele_entry_begin(struct stele_entry *entry)
{
    entry->used_bytes = 0;
    return stele_entry_follow(entry);
}

int stele_entry_add(struct stele_entry *entry, uint16_t type, uint32_t region, uint64_t first, uint64_t n,
                    size_t payload_bytes, uint8_t **out_payload)
{
    size_t item_bytes = (size_t)stele_item_bytes(payload_bytes);
    int rc = reserve(entry, item_bytes);
    if (rc)
        return rc;
    struct stele_item item = { .type = type, .region = region, .bytes = payload_bytes, .first = first, .n = n };
    uint8_t *at = entry->bytes + entry->used_bytes;
    memcpy(at, &item, sizeof(item));
    memset(at + sizeof(item), 0, item_bytes - sizeof(item));
    entry->used_bytes += item_bytes;
    *out_payload = at + sizeof(item);
    return STELE_OK;
}

int stele_entry_seal(struct stele_entry *entry, const struct stele_entry_identity *identity,
                     uint64_t *out_trailer, size_t *out_padded_bytes)
{
    size_t padded_bytes = (size_t)stele_round_up(entry->used_bytes + STELE_ENTRY_TRAILER_BYTES, STELE_PAGE_BYTES);
    int rc = reserve(entry, padded_bytes - entry->used_bytes);
    if (rc)
        return rc;
    memset(entry->bytes + entry->used_bytes, 0, padded_bytes - entry->used_bytes);
    struct stele_entry_head head = {
        .magic = STELE_ENTRY_MAGIC,
        .kind = STELE_ENTRY_COMMIT,
        .length = entry->used_bytes - entry->start_bytes + STELE_ENTRY_TRAILER_BYTES,
        .sequence = identity->sequence,
        .session = identity->session,
        .chain = identity->chain,
        .synced_seq = identity->synced_seq,
        .writer = identity->writer,
    };
    head.hash = stele_hash64(&head, offsetof(struct stele_entry_head, hash), head.session);
    memcpy(entry->bytes + entry->start_bytes, &head, sizeof(head));
    uint64_t trailer = stele_hash64(entry->bytes + entry->start_bytes, entry->used_bytes - entry->start_bytes,
                                    head.session);
    memcpy(entry->bytes + entry->used_bytes, &trailer, sizeof(trailer));
    entry->used_bytes += sizeof(trailer);
    *out_trailer = trailer;
    *out_padded_bytes = padded_bytes;
    return STELE_OK;
}

void stele_entry_done(struct stele_entry *entry)
{
    free(entry->bytes);
    memset(entry, 0, sizeof(*entry));
}

bool stele_ring_place(const struct stele_ring *ring, uint64_t padded_bytes, uint64_t *out_place)
{
    /* An acknowledged sector is never written again before its space is free: begin on a fresh page. */
    uint64_t place = stele_round_up(ring->tail, STELE_PAGE_BYTES);
    uint64_t head_page = stele_round_down(ring->head, STELE_PAGE_BYTES);
    bool is_empty = ring->head == ring->tail;
    if (!is_empty && ring->tail <= ring->head) {
        /* The used part runs over the end: only the stretch before the head is free. */
        if (place >= head_page || padded_bytes >= head_page - place)
            return false;
        *out_place = place;
        return true;
    }
    if (place <= ring->bytes && padded_bytes <= ring->bytes - place &&
        !(place + padded_bytes == ring->bytes && ring->head == 0)) {
        *out_place = place;
        return true;
    }
    if (padded_bytes < head_page) {
        *out_place = 0;
        return true;
    }
    return false;
}

bool stele_ring_follows(const struct stele_ring *ring, uint64_t byte_count)
{
    uint64_t end = stele_round_up(ring->tail + byte_count, STELE_PAGE_BYTES);
    uint64_t head_page = stele_round_down(ring->head, STELE_PAGE_BYTES);
    if (ring->tail <= ring->head)
        return end < head_page;
    return end <= ring->bytes && !(end == ring->bytes && ring->head == 0);
}

uint64_t stele_ring_used(const struct stele_ring *ring)
{
    return ring->tail >= ring->head ? ring->tail - ring->head : ring->bytes - ring->head + ring->tail;
}

int stele_journal_blank(const struct stele_os_file *file, const struct stele_layout *layout)
{
    static const uint8_t zeros[16384]; /* small pieces leave small folios in the cache */
    for (uint64_t at = 0; at < layout->journal_bytes; at += sizeof(zeros)) {
        size_t bytes = (size_t)stele_min(sizeof(zeros), layout->journal_bytes - at);
        int rc = stele_os_write(file, layout->journal_offset + at, zeros, bytes);
        if (rc)
            return rc;
    }
    return STELE_OK;
}
