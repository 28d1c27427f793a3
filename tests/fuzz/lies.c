#include "lies.h"

#include "fuzz.h"
#include "hash.h"
#include "journal.h"
#include "sums.h"
#include "superblock.h"

#include <string.h>

enum { ENTRIES_MAX = 64, ROOM_EXTRA = 64 };

/* ---- places ---- */

static struct stele_slot *slot_at(struct image *image, unsigned which)
{
    return image_at(image, which * STELE_SLOT_BYTES, STELE_SLOT_BYTES);
}

/* The region of @kind as the slot with the higher generation says; whatever it says. */
static struct stele_region region_of(struct image *image, uint32_t kind)
{
    const struct stele_slot *a = slot_at(image, 0), *b = slot_at(image, 1);
    const struct stele_slot *slot = b->generation > a->generation ? b : a;

    for (size_t i = 0; i < STELE_REGION_COUNT; i++) {
        if (slot->regions[i].kind == kind)
            return slot->regions[i];
    }
    return (struct stele_region){ .kind = 0 };
}

static struct stele_entry_head *head_at(struct image *image, uint64_t offset)
{
    uint32_t magic;

    if (offset >= IMAGE_BYTES || offset % 8)
        return NULL;
    memcpy(&magic, image->bytes + offset, sizeof(magic));
    return magic == STELE_ENTRY_MAGIC ? image_at(image, offset, sizeof(struct stele_entry_head)) : NULL;
}

/* Where entries begin, in the ring's order; whether they fit or not. */
static size_t find_entries(struct image *image, uint64_t *out)
{
    const struct stele_region ring = region_of(image, STELE_REGION_JOURNAL);
    const uint64_t end = ring.offset + stele_min(ring.bytes, IMAGE_BYTES);
    size_t count = 0;

    for (uint64_t at = ring.offset; ring.offset < IMAGE_BYTES && at < end && at < IMAGE_BYTES; at += 8) {
        if (!image->is_used[at / IMAGE_PAGE])
            at = stele_round_up(at + 1, IMAGE_PAGE) - 8;
        else if (head_at(image, at) && count < ENTRIES_MAX)
            out[count++] = at;
    }
    return count;
}

/* ---- numbers ---- */

/* Another number in place of the @bytes long one at @at. */
static void put_lie(uint8_t *at, size_t bytes, uint64_t *state)
{
    uint64_t value = 0;

    memcpy(&value, at, bytes);
    switch (chance_below(state, 5)) {
    case 0:
        value ^= UINT64_C(1) << chance_below(state, 8 * bytes);
        break;
    case 1:
        value += chance_below(state, 17) - 8;
        break;
    case 2:
        value += (chance_below(state, 5) - 2) * 4096;
        break;
    case 3:
        value = chance_next(state);
        break;
    default:
        value = chance_boundary(state);
        break;
    }
    memcpy(at, &value, bytes);
}

/* A number of 1, 2, 4 or 8 bytes somewhere in a structure. */
static void put_lie_within(uint8_t *at, size_t structure_bytes, uint64_t *state)
{
    size_t bytes = (size_t)1 << chance_below(state, 4);

    put_lie(at + chance_below(state, structure_bytes / bytes) * bytes, bytes, state);
}

/* ---- what is changed ---- */

/* The numbers of a slot: those before the history matter most. */
static void lie_in_slot(struct image *image, uint64_t *state)
{
    struct stele_slot *a = slot_at(image, 0), *b = slot_at(image, 1);
    const uint64_t kind = chance_below(state, 8);
    struct stele_slot *slot = chance_below(state, 2) ? a : b;
    uint8_t *bytes = (uint8_t *)slot;

    if (kind < 3)
        put_lie_within(bytes + 136, 160 - 136, state); /* record_bytes to state_flags */
    else if (kind < 5)
        put_lie_within(bytes + 176, 224 - 176, state); /* layout_version to chain */
    else if (kind < 7)
        put_lie_within((uint8_t *)&slot->regions[chance_below(state, 7)], sizeof(struct stele_region), state);
    else
        put_lie_within(bytes, STELE_SLOT_BYTES, state);
    if (chance_below(state, 4))
        memcpy(slot == a ? b : a, slot, sizeof(*slot));
}

/* A layout that fits itself, if not the file. */
static void lie_in_layout(struct image *image, uint64_t *state)
{
    static const uint64_t rings[] = { 16384, 20480, 65536, UINT64_C(1) << 20, UINT64_C(128) << 20 };
    struct stele_slot *a = slot_at(image, 0), *b = slot_at(image, 1);
    struct stele_layout layout;
    uint64_t record_bytes = chance_below(state, 2) ? a->record_bytes : chance_boundary(state);
    uint64_t capacity = chance_below(state, 2) ? a->capacity : chance_boundary(state);
    /* The largest costs so much time that it comes seldom. */
    uint64_t ring = rings[chance_below(state, chance_below(state, 16) ? COUNT_OF(rings) - 1 : COUNT_OF(rings))];

    if (record_bytes == 0 || record_bytes > STELE_RECORD_BYTES_LIMIT ||
        stele_layout_plan(record_bytes, capacity, ring, &layout))
        return;
    memset(a->regions, 0, sizeof(a->regions));
    stele_layout_to(&layout, a);
    a->count = stele_min(chance_boundary(state), capacity);
    memcpy(b, a, sizeof(*a));
    if (chance_below(state, 2))
        image->file_bytes = layout.file_bytes;
}

static void lie_in_schema(struct image *image, uint64_t *state)
{
    struct stele_slot *a = slot_at(image, 0);
    const struct stele_region room = region_of(image, STELE_REGION_SCHEMA);
    const size_t bytes = (size_t)stele_min(a->schema_bytes, STELE_SCHEMA_BYTES_MAX);
    uint8_t *at = image_at(image, room.offset, bytes + ROOM_EXTRA);
    struct stele_schema_head head;

    if (!at || bytes < sizeof(head) + 8)
        return;
    if (chance_below(state, 4)) {
        put_lie_within(at + stele_round_down(chance_below(state, bytes - 8), 8), 8, state);
        return;
    }
    size_t changed = (LLVMFuzzerMutate(at, bytes, bytes + ROOM_EXTRA - 8) + 7) / 8 * 8;
    memcpy(&head, at, sizeof(head));
    head.bytes = a->schema_bytes = slot_at(image, 1)->schema_bytes = (uint32_t)changed;
    memcpy(at, &head, sizeof(head));
}

/* The items of the entry at @head: those inside the image. */
static size_t find_items(struct image *image, uint64_t entry_offset, struct stele_item **out, size_t room)
{
    const struct stele_entry_head *head = head_at(image, entry_offset);
    uint64_t at = entry_offset + sizeof(*head), end = entry_offset + stele_min(head->length, IMAGE_BYTES) - 8;
    size_t count = 0;

    while (at < end && count < room) {
        struct stele_item *item = image_at(image, at, sizeof(*item));
        if (!item)
            break;
        out[count++] = item;
        at += sizeof(*item) + stele_round_up(stele_min(item->bytes, IMAGE_BYTES), 8);
    }
    return count;
}

static void lie_in_entry(struct image *image, uint64_t *state)
{
    uint64_t entries[ENTRIES_MAX];
    struct stele_item *items[16];
    size_t count = find_entries(image, entries);

    if (count == 0)
        return;
    uint64_t at = entries[chance_below(state, count)];
    struct stele_entry_head *head = head_at(image, at);
    uint64_t kind = chance_below(state, 8);
    size_t item_count = find_items(image, at, items, COUNT_OF(items));
    uint8_t *payload = image_at(image, at, stele_min(head->length, IMAGE_BYTES));

    if (kind < 2)
        put_lie_within((uint8_t *)head, 56, state);
    else if (kind < 6 && item_count)
        put_lie_within((uint8_t *)items[chance_below(state, item_count)], sizeof(struct stele_item), state);
    else if (kind == 6)
        memset(head, 0, sizeof(*head));
    else if (payload && head->length > 80)
        put_lie_within(payload + 64, (size_t)head->length - 72, state);
}

/* One more entry behind the last, of items that say anything. */
static void add_entry(struct image *image, uint64_t *state)
{
    const struct stele_region ring = region_of(image, STELE_REGION_JOURNAL);
    const struct stele_slot *slot = slot_at(image, 0);
    uint64_t entries[ENTRIES_MAX], length = sizeof(struct stele_entry_head);
    uint64_t at = stele_round_down(ring.offset + slot->ring_head, 8);
    size_t count = find_entries(image, entries);

    if (count)
        at = stele_round_up(entries[count - 1] + stele_min(head_at(image, entries[count - 1])->length, IMAGE_BYTES),
                            chance_below(state, 2) ? 8 : 4096);
    for (uint64_t n = chance_below(state, 4); n > 0; n--) {
        uint64_t payload = chance_below(state, 3) * 64;
        struct stele_item *item = image_at(image, at + length, sizeof(*item) + payload);
        if (!item)
            return;
        *item = (struct stele_item){ .type = (uint16_t)(1 + chance_below(state, 9)), .bytes = payload,
                                     .region = (uint32_t)chance_below(state, 6), .n = payload / 64,
                                     .first = chance_below(state, 2) ? chance_below(state, 128)
                                                                    : chance_boundary(state),
                                     .flags = (uint16_t)(chance_below(state, 8) == 0) };
        if (item->type == STELE_ITEM_SUMS)
            item->n = payload / 8;
        if (item->type == STELE_ITEM_COUNT)
            item->n = item->first + chance_below(state, 3);
        length += sizeof(*item) + payload;
    }
    struct stele_entry_head *head = image_at(image, at, length + 8);
    if (head)
        *head = (struct stele_entry_head){ .magic = STELE_ENTRY_MAGIC, .length = length + 8, .session = slot->session,
                                           .sequence = slot->sequence + count + 1,
                                           .synced_seq = slot->sequence + chance_below(state, count + 2) };
}

static void lie_in_length(struct image *image, uint64_t *state)
{
    if (chance_below(state, 2))
        put_lie((uint8_t *)&image->file_bytes, sizeof(image->file_bytes), state);
    else
        image->file_bytes = chance_below(state, image->file_bytes + 4096);
}

/* A page that is zeros, stands elsewhere too, or has other bytes. */
static void spoil_page(struct image *image, uint64_t *state)
{
    size_t used[IMAGE_PAGES], count = 0;

    for (size_t i = 0; i < IMAGE_PAGES; i++) {
        if (image->is_used[i])
            used[count++] = i;
    }
    if (count == 0)
        return;
    uint8_t *page = image->bytes + used[chance_below(state, count)] * IMAGE_PAGE;
    uint8_t *other = image_at(image, (used[chance_below(state, count)] + chance_below(state, 2)) * IMAGE_PAGE,
                              IMAGE_PAGE);
    uint64_t kind = chance_below(state, 8);
    size_t bytes = kind % 2 ? 512 : IMAGE_PAGE, from = (size_t)chance_below(state, IMAGE_PAGE / bytes) * bytes;

    if (kind < 2)
        memset(page + from, 0, bytes);
    else if (kind < 4 && other)
        memmove(other + from, page + from, bytes);
    else if (kind < 6)
        put_lie_within(page, IMAGE_PAGE, state);
    else
        LLVMFuzzerMutate(page + from, bytes, bytes);
}

static void lie_in_words(struct image *image, uint64_t *state)
{
    const struct stele_region sums = region_of(image, STELE_REGION_SUMS);
    uint8_t *word = image_at(image, sums.offset + 8 * chance_below(state, stele_min(sums.bytes / 8 + 1, 64)), 8);
    uint8_t *live = image_at(image, STELE_LIVE_OFFSET + 64 * chance_below(state, 17), 8);

    if (word && chance_below(state, 2))
        put_lie(word, 8, state);
    else
        put_lie(live, 8, state);
}

void lies_tell(struct image *image, uint64_t *state)
{
    static void (*const lies[])(struct image *image, uint64_t *state) = {
        lie_in_slot, lie_in_slot, lie_in_slot, lie_in_layout, lie_in_schema, lie_in_schema, lie_in_entry, lie_in_entry,
        lie_in_entry, add_entry, add_entry, lie_in_length, spoil_page, lie_in_words,
    };

    lies[chance_below(state, COUNT_OF(lies))](image, state);
}

/* ---- checksums ---- */

static void seal_entry(struct image *image, uint64_t at)
{
    struct stele_entry_head *head = head_at(image, at);
    /* The trailer of another may have gone over it. */
    if (!head)
        return;
    uint8_t *whole = head->length >= 72 && head->length % 8 == 0 ? image_at(image, at, head->length) : NULL;

    head->hash = stele_hash64(head, offsetof(struct stele_entry_head, hash), head->session);
    if (whole) {
        uint64_t trailer = stele_hash64(whole, (size_t)head->length - 8, head->session);
        memcpy(whole + head->length - 8, &trailer, 8);
    }
}

/* Chain the entries from the slot's head on as the walk will follow them, and seal the others as they are. */
static void repair_entries(struct image *image, uint64_t *state)
{
    const struct stele_region ring = region_of(image, STELE_REGION_JOURNAL);
    const struct stele_slot *a = slot_at(image, 0), *b = slot_at(image, 1);
    const struct stele_slot *slot = b->generation > a->generation ? b : a;
    const bool is_numbered = chance_below(state, 4) != 0;
    uint64_t entries[ENTRIES_MAX], chain = slot->chain, sequence = slot->sequence;
    uint64_t at = ring.offset + slot->ring_head;
    size_t count = find_entries(image, entries);

    for (size_t i = 0; i < count; i++)
        seal_entry(image, entries[i]);
    for (size_t i = 0; i < ENTRIES_MAX; i++) {
        struct stele_entry_head *head = head_at(image, at);
        if (!head)
            head = head_at(image, at = stele_round_up(at, 4096));
        if (!head)
            head = head_at(image, at = ring.offset);
        if (!head || head->length < 72 || head->length % 8 || !image_at(image, at, head->length))
            return;
        if (is_numbered) {
            head->sequence = ++sequence;
            head->session = slot->session;
            head->synced_seq = stele_min(head->synced_seq, sequence);
        }
        head->chain = chain;
        seal_entry(image, at);
        memcpy(&chain, image->bytes + at + head->length - 8, 8);
        at += head->length;
    }
}

static void repair_words(struct image *image)
{
    const struct stele_slot *slot = slot_at(image, 0);
    struct stele_layout layout;
    bool may_write;

    if (stele_layout_of(slot, &layout, &may_write))
        return;
    for (uint64_t block = 0; block < 64 && stele_block_first(&layout, block) < slot->count; block++) {
        uint64_t n = stele_block_records(&layout, block, slot->count);
        uint8_t *records = image_at(image, stele_record_offset(&layout, stele_block_first(&layout, block)),
                                    n * layout.record_bytes);
        uint8_t *word = image_at(image, stele_word_offset(&layout, block), 8);
        if (!records || !word)
            return;
        uint64_t truth = stele_word_of(stele_sum_block(&layout, slot->sum_seed, block, records, n));
        memcpy(word, &truth, 8);
    }
}

void lies_repair(struct image *image, uint64_t *state)
{
    struct stele_slot *slots[] = { slot_at(image, 0), slot_at(image, 1) };
    const struct stele_region room = region_of(image, STELE_REGION_SCHEMA);
    const uint64_t left_out = chance_below(state, 32);

    if (left_out != 0)
        repair_entries(image, state);
    if (chance_below(state, 4) == 0)
        repair_words(image);
    for (size_t i = 0; i < COUNT_OF(slots); i++) {
        uint8_t *schema = image_at(image, room.offset, stele_min(slots[i]->schema_bytes, STELE_SCHEMA_BYTES_MAX));
        if (schema && left_out != 1)
            stele_hash128(schema, (size_t)stele_min(slots[i]->schema_bytes, STELE_SCHEMA_BYTES_MAX),
                          slots[i]->schema_hash);
        if (left_out != 2 + i)
            stele_slot_seal(slots[i]);
    }
}
