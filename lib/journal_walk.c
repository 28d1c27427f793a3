#include "journal.h"

#include "error.h"
#include "hash.h"

#include <stdlib.h>

#define SCAN_STEP_BYTES (UINT64_C(1) << 20)

/* ---- believing an entry ---- */

static int cannot_be(const struct stele_entry_head *head, const char *what)
{
    return stele_fail(STELE_E_DAMAGED, "journal entry %" PRIu64 ": %s cannot be", head->sequence, what);
}

static bool is_inside(uint64_t first, uint64_t n, uint64_t end) { return first <= end && n <= end - first; }

/* Each number of an item against the layout: nothing is applied of an entry that holds one wrong item. */
static int check_item(const struct stele_layout *layout, const struct stele_entry_head *head,
                      const struct stele_item *item)
{
    if (item->flags & ~STELE_ITEM_OPTIONAL)
        return stele_fail(STELE_E_VERSION, "journal entry %" PRIu64 ": item flags %#x need a newer stele",
                          head->sequence, item->flags);
    bool is_of_caller = item->type >= STELE_ITEM_USER && item->type <= STELE_ITEM_TIME;
    if ((item->type == STELE_ITEM_COUNT || is_of_caller) && item->region != 0)
        return cannot_be(head, "an item's region");
    switch (item->type) {
    case STELE_ITEM_COUNT:
        return item->bytes == 0 && item->first <= item->n && item->n <= layout->capacity
                   ? STELE_OK : cannot_be(head, "the count item");
    case STELE_ITEM_RECORDS:
        return item->region == STELE_REGION_RECORDS && is_inside(item->first, item->n, layout->capacity) &&
                       item->n != 0 && item->bytes / item->n == layout->record_bytes &&
                       item->bytes % item->n == 0
                   ? STELE_OK : cannot_be(head, "the records item");
    case STELE_ITEM_SUMS:
    case STELE_ITEM_REPAIR:
        return item->region == STELE_REGION_SUMS && is_inside(item->first, item->n, layout->block_count) &&
                       item->n != 0 && item->bytes == item->n * 8
                   ? STELE_OK : cannot_be(head, "the sums item");
    case STELE_ITEM_USER:
        return item->bytes == STELE_USER_BYTES ? STELE_OK : cannot_be(head, "the user item");
    case STELE_ITEM_TAG:
        return item->bytes >= 1 && item->bytes <= STELE_TAG_BYTES_MAX ? STELE_OK : cannot_be(head, "the tag item");
    case STELE_ITEM_TIME:
        return item->bytes == 0 ? STELE_OK : cannot_be(head, "the time item");
    default:
        if (item->flags & STELE_ITEM_OPTIONAL)
            return STELE_OK;
        return stele_fail(STELE_E_VERSION, "journal entry %" PRIu64 ": item type %u needs a newer stele",
                          head->sequence, item->type);
    }
}

static int check_items(const struct stele_walk *walk, const struct stele_entry_head *head, const uint8_t *at,
                       const uint8_t *end)
{
    if (head->kind != STELE_ENTRY_COMMIT || head->flags != 0)
        return stele_fail(STELE_E_VERSION, "journal entry %" PRIu64 ": kind %u, flags %#x need a newer stele",
                          head->sequence, head->kind, head->flags);
    const uint8_t *first = at;
    while (at < end) {
        struct stele_item item;
        if ((size_t)(end - at) < sizeof(item))
            return cannot_be(head, "the last item's size");
        memcpy(&item, at, sizeof(item));
        at += sizeof(item);
        if (item.bytes > (uint64_t)(end - at) || stele_round_up(item.bytes, 8) > (uint64_t)(end - at))
            return cannot_be(head, "an item's size");
        /* Images behind it are of the count that it says: a count item elsewhere would cut them. */
        if (item.type == STELE_ITEM_COUNT && at != first + sizeof(item))
            return cannot_be(head, "the count item's place");
        int rc = check_item(walk->layout, head, &item);
        if (rc)
            return rc;
        at += stele_round_up(item.bytes, 8);
    }
    return STELE_OK;
}

const struct stele_item *stele_item_next(const uint8_t **at, const uint8_t *end, const uint8_t **out_payload)
{
    if (*at >= end)
        return NULL;
    /* Entries stand at multiples of 8 in memory from malloc, so items are aligned. */
    const struct stele_item *item = (const void *)*at;
    *out_payload = *at + sizeof(*item);
    *at = *out_payload + stele_round_up(item->bytes, 8);
    return item;
}

/* ---- finding one ---- */

static bool is_head(const struct stele_entry_head *head)
{
    return head->magic == STELE_ENTRY_MAGIC && head->length >= sizeof(*head) + STELE_ENTRY_TRAILER_BYTES &&
           head->length % 8 == 0 && head->sequence >> 62 == 0 &&
           head->hash == stele_hash64(head, offsetof(struct stele_entry_head, hash), head->session);
}

static int read_ring(const struct stele_walk *walk, uint64_t place, void *out, size_t byte_count)
{
    return stele_os_read(walk->file, walk->layout->journal_offset + place, out, byte_count);
}

/* Read the entry of @head at @place whole; STELE_END if its trailer is wrong. */
static int read_entry(struct stele_walk *walk, const struct stele_entry_head *head, uint64_t place)
{
    if (head->length > walk->layout->journal_bytes - place)
        return STELE_END;
    size_t length = (size_t)head->length;
    if (length > walk->room_bytes) {
        uint8_t *bytes = realloc(walk->bytes, length);
        if (!bytes)
            return stele_fail(STELE_E_NOMEM, "out of memory for a journal entry of %zu bytes", length);
        walk->bytes = bytes;
        walk->room_bytes = length;
    }
    int rc = read_ring(walk, place, walk->bytes, length);
    if (rc)
        return rc;
    uint64_t trailer;
    memcpy(&trailer, walk->bytes + length - sizeof(trailer), sizeof(trailer));
    /* The head is taken from what was hashed, not from what was read before. */
    if (memcmp(head, walk->bytes, sizeof(*head)) != 0 ||
        trailer != stele_hash64(walk->bytes, length - sizeof(trailer), head->session))
        return STELE_END;
    return STELE_OK;
}

static int try_place(struct stele_walk *walk, uint64_t place, struct stele_walk_entry *out)
{
    struct stele_entry_head head;
    if (place > walk->layout->journal_bytes || walk->layout->journal_bytes - place < sizeof(head))
        return STELE_END;
    int rc = read_ring(walk, place, &head, sizeof(head));
    if (rc)
        return rc;
    if (!is_head(&head) || head.session != walk->session || head.sequence != walk->sequence + 1 ||
        head.chain != walk->chain)
        return STELE_END;
    rc = read_entry(walk, &head, place);
    if (rc)
        return rc;
    const uint8_t *items = walk->bytes + sizeof(head);
    const uint8_t *items_end = walk->bytes + head.length - STELE_ENTRY_TRAILER_BYTES;
    rc = check_items(walk, &head, items, items_end);
    if (rc)
        return rc;
    *out = (struct stele_walk_entry){ .head = (const void *)walk->bytes, .place = place, .items = items,
                                      .items_end = items_end };
    return STELE_OK;
}

void stele_walk_init(struct stele_walk *walk, const struct stele_os_file *file, const struct stele_layout *layout,
                     const struct stele_slot *slot)
{
    *walk = (struct stele_walk){ .file = file, .layout = layout, .session = slot->session,
                                 .sequence = slot->sequence, .chain = slot->chain, .place = slot->ring_head };
}

int stele_walk_next(struct stele_walk *walk, struct stele_walk_entry *out)
{
    const uint64_t page = stele_round_up(walk->place, STELE_PAGE_BYTES);
    const uint64_t places[] = { walk->place, page, 0 };
    for (unsigned i = 0; i < 3; i++) {
        if ((i == 1 && page == walk->place) || (i == 2 && walk->place == 0))
            continue;
        int rc = try_place(walk, places[i], out);
        if (rc == STELE_END)
            continue;
        if (rc)
            return rc;
        walk->sequence = out->head->sequence;
        memcpy(&walk->chain, out->items_end, sizeof(walk->chain));
        walk->place = out->place + out->head->length;
        walk->walked_bytes += out->head->length;
        return STELE_OK;
    }
    return STELE_END;
}

int stele_walk_resume(struct stele_walk *walk, const struct stele_scan *scan)
{
    struct stele_entry_head head;
    int rc = read_ring(walk, scan->resume_place, &head, sizeof(head));
    if (rc)
        return rc;
    walk->sequence = scan->lost_last;
    walk->chain = head.chain;
    walk->place = scan->resume_place;
    return STELE_OK;
}

void stele_walk_done(struct stele_walk *walk)
{
    free(walk->bytes);
    walk->bytes = NULL;
    walk->room_bytes = 0;
}

/* ---- the rest of the ring ---- */

struct scan_state {
    struct stele_walk reader; /* a buffer of its own */
    const struct stele_walk *walk;
    uint64_t slot_sequence;
    uint64_t hash_budget_bytes;
    struct stele_scan scan;
    uint64_t resume_sequence; /* of the first good entry behind the loss */
    uint64_t skip_until;      /* end of the last whole entry */
};

/* What a whole entry at @place proves. */
static void take_entry(struct scan_state *state, const struct stele_entry_head *head, uint64_t place)
{
    struct stele_scan *scan = &state->scan;
    bool is_ours = head->session == state->walk->session;
    bool is_behind = is_ours && head->sequence > state->walk->sequence;
    if (is_behind && head->synced_seq > state->walk->sequence)
        scan->is_entry_lost = true;
    if (is_behind && head->sequence < state->resume_sequence) {
        state->resume_sequence = head->sequence;
        scan->resume_place = place;
    }
    if (!is_ours && head->sequence >= state->slot_sequence + (UINT64_C(1) << 32)) {
        scan->is_header_lost = true;
        scan->highest_sequence = stele_max(scan->highest_sequence, head->sequence);
    }
}

/* A head that hashes right, at @place. */
static int look_at(struct scan_state *state, const struct stele_entry_head *head, uint64_t place)
{
    if (head->session == state->walk->session)
        state->scan.highest_sequence = stele_max(state->scan.highest_sequence, head->sequence);
    if (head->length > state->hash_budget_bytes)
        return STELE_OK;
    state->hash_budget_bytes -= head->length;
    int rc = read_entry(&state->reader, head, place);
    if (rc)
        return rc == STELE_END ? STELE_OK : rc;
    /* Records may hold anything, an image of a ring too: what is inside of a whole entry is no entry. */
    state->skip_until = place + head->length;
    take_entry(state, head, place);
    return STELE_OK;
}

static int scan_step(struct scan_state *state, const uint8_t *bytes, uint64_t from, uint64_t byte_count)
{
    /*
     * The first entry after a sync begins a page, so the proof of a loss, or its end, stands there. In between may be
     * what records hold: an overwritten entry leaves the rest of its body.
     */
    for (uint64_t at = 0; at + sizeof(struct stele_entry_head) <= byte_count; at += STELE_PAGE_BYTES) {
        uint32_t magic;
        memcpy(&magic, bytes + at, sizeof(magic));
        if (magic != STELE_ENTRY_MAGIC || from + at < state->skip_until)
            continue;
        struct stele_entry_head head;
        memcpy(&head, bytes + at, sizeof(head));
        if (!is_head(&head))
            continue;
        int rc = look_at(state, &head, from + at);
        if (rc)
            return rc;
    }
    return STELE_OK;
}

int stele_journal_scan(const struct stele_walk *walk, const struct stele_slot *slot, struct stele_scan *out)
{
    const uint64_t ring_bytes = walk->layout->journal_bytes;
    struct scan_state state = { .reader = { .file = walk->file, .layout = walk->layout }, .walk = walk,
                                .slot_sequence = slot->sequence, .hash_budget_bytes = 2 * ring_bytes,
                                .resume_sequence = UINT64_MAX };
    int rc = STELE_OK;
    const size_t room = (size_t)(SCAN_STEP_BYTES + sizeof(struct stele_entry_head));
    uint8_t *bytes = malloc(room);
    if (!bytes) {
        rc = stele_fail(STELE_E_NOMEM, "out of memory to read the journal");
        goto out;
    }
    state.scan.highest_sequence = stele_max(slot->sequence, walk->sequence);
    for (uint64_t from = 0; from < ring_bytes && !rc; from += SCAN_STEP_BYTES) {
        /* A head may begin in this step and end in the next. */
        uint64_t byte_count = stele_min(room - 8, ring_bytes - from);
        rc = read_ring(walk, from, bytes, (size_t)byte_count);
        if (!rc)
            rc = scan_step(&state, bytes, from, byte_count);
    }
    if (rc)
        goto out;
    if (state.scan.is_entry_lost) {
        state.scan.lost_first = walk->sequence + 1;
        state.scan.lost_last = state.resume_sequence - 1;
    }
    *out = state.scan;
out:
    stele_walk_done(&state.reader);
    free(bytes);
    return rc;
}
