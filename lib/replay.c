#include "replay.h"

#include "error.h"

#include <stdlib.h>

void stele_replay_init(struct stele_replay *replay, const struct stele_slot *slot, uint64_t writer)
{
    *replay = (struct stele_replay){
        .count = slot->count,
        .count_high = slot->count,
        .sequence = slot->sequence,
        .chain = slot->chain,
        .first_place = slot->ring_head,
        .tail = slot->ring_head,
        .writer = writer,
    };
}

static int put_image(struct stele_images *images, uint64_t index, uint64_t value, uint64_t sequence)
{
    uint64_t *position;
    bool is_new;
    int rc = stele_lookup_put(&images->places, index, &position, &is_new);
    if (rc)
        return rc;
    if (is_new) {
        if (images->count == images->room) {
            size_t room = images->room ? images->room * 2 : 64;
            struct stele_image *list = realloc(images->list, room * sizeof(*list));
            if (!list)
                return stele_fail(STELE_E_NOMEM, "out of memory for %zu journal images", room);
            images->list = list;
            images->room = room;
        }
        *position = images->count++;
    }
    images->list[*position] = (struct stele_image){ .index = index, .value = value, .sequence = sequence };
    return STELE_OK;
}

static int put_cut(struct stele_replay *replay, uint64_t sequence, uint64_t lowest)
{
    if (replay->cut_count == replay->cut_room) {
        size_t room = replay->cut_room ? replay->cut_room * 2 : 16;
        struct stele_cut *cuts = realloc(replay->cuts, room * sizeof(*cuts));
        if (!cuts)
            return stele_fail(STELE_E_NOMEM, "out of memory for %zu truncations", room);
        replay->cuts = cuts;
        replay->cut_room = room;
    }
    replay->cuts[replay->cut_count++] = (struct stele_cut){ .sequence = sequence, .lowest = lowest };
    return STELE_OK;
}

static int add_item(struct stele_replay *replay, const struct stele_layout *layout,
                    const struct stele_walk_entry *entry, const struct stele_item *item, const uint8_t *payload)
{
    const uint64_t sequence = entry->head->sequence;
    const uint64_t place = entry->place + (uint64_t)(payload - (const uint8_t *)entry->head);
    int rc = STELE_OK;
    switch (item->type) {
    case STELE_ITEM_COUNT:
        rc = item->first < replay->count ? put_cut(replay, sequence, item->first) : STELE_OK;
        replay->count = item->n;
        replay->count_high = stele_max(replay->count_high, item->n);
        break;
    case STELE_ITEM_RECORDS:
        for (uint64_t i = 0; i < item->n && !rc; i++)
            rc = put_image(&replay->records, item->first + i, place + i * layout->record_bytes, sequence);
        break;
    case STELE_ITEM_SUMS:
        for (uint64_t i = 0; i < item->n && !rc; i++) {
            uint64_t word;
            memcpy(&word, payload + i * 8, sizeof(word));
            rc = put_image(&replay->words, item->first + i, word, sequence);
        }
        break;
    case STELE_ITEM_USER:
        replay->has_user = true;
        replay->user_version = item->first;
        memcpy(replay->user, payload, STELE_USER_BYTES);
        break;
    case STELE_ITEM_TAG:
        replay->has_tag = true;
        replay->tag_bytes = (uint32_t)item->bytes;
        memset(replay->tag, 0, sizeof(replay->tag));
        memcpy(replay->tag, payload, (size_t)item->bytes);
        break;
    case STELE_ITEM_TIME:
        replay->time_us = item->first;
        break;
    default:
        break; /* the walk refused what must not be skipped */
    }
    return rc;
}

int stele_replay_add(struct stele_replay *replay, const struct stele_layout *layout,
                     const struct stele_walk_entry *entry)
{
    const uint8_t *at = entry->items;
    const uint8_t *payload;
    const struct stele_item *item;
    while ((item = stele_item_next(&at, entry->items_end, &payload)) != NULL) {
        int rc = add_item(replay, layout, entry, item, payload);
        if (rc)
            return rc;
    }
    if (replay->entry_count == 0)
        replay->first_place = entry->place;
    replay->entry_count++;
    replay->foreign_count += entry->head->writer != replay->writer;
    replay->sequence = entry->head->sequence;
    memcpy(&replay->chain, entry->items_end, sizeof(replay->chain));
    replay->tail = entry->place + entry->head->length;
    return STELE_OK;
}

int stele_replay_walk(struct stele_replay *replay, struct stele_walk *walk, uint64_t last_sequence)
{
    struct stele_walk_entry entry;
    int rc = STELE_END;
    while (walk->sequence < last_sequence && (rc = stele_walk_next(walk, &entry)) == STELE_OK) {
        rc = stele_replay_add(replay, walk->layout, &entry);
        if (rc)
            return rc;
        rc = STELE_END;
    }
    return rc == STELE_END ? STELE_OK : rc;
}

/* The lowest count that any truncation behind @sequence left: cuts are in log order, their lowest made cumulative. */
static uint64_t lowest_after(const struct stele_replay *replay, uint64_t sequence)
{
    size_t low = 0, high = replay->cut_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (replay->cuts[middle].sequence > sequence)
            high = middle;
        else
            low = middle + 1;
    }
    return low < replay->cut_count ? replay->cuts[low].lowest : UINT64_MAX;
}

static int by_index(const void *a, const void *b)
{
    const struct stele_image *left = a, *right = b;
    return left->index < right->index ? -1 : left->index > right->index;
}

/* Keep the images whose first record is below the last count and below every later cut. */
static void drop_cut(const struct stele_replay *replay, struct stele_images *images, uint64_t records_per_image)
{
    size_t kept = 0;
    for (size_t i = 0; i < images->count; i++) {
        uint64_t first = images->list[i].index * records_per_image;
        if (first < replay->count && first < lowest_after(replay, images->list[i].sequence))
            images->list[kept++] = images->list[i];
    }
    images->count = kept;
    if (kept > 1)
        qsort(images->list, kept, sizeof(*images->list), by_index);
    stele_lookup_done(&images->places); /* its positions are no longer right */
}

void stele_replay_finish(struct stele_replay *replay, const struct stele_layout *layout)
{
    for (size_t i = replay->cut_count; i-- > 1;)
        replay->cuts[i - 1].lowest = stele_min(replay->cuts[i - 1].lowest, replay->cuts[i].lowest);
    drop_cut(replay, &replay->records, 1);
    drop_cut(replay, &replay->words, layout->records_per_block);
}

const struct stele_image *stele_images_find(const struct stele_images *images, uint64_t index)
{
    struct stele_image key = { .index = index };
    if (images->count == 0)
        return NULL;
    return bsearch(&key, images->list, images->count, sizeof(key), by_index);
}

static void images_done(struct stele_images *images)
{
    free(images->list);
    stele_lookup_done(&images->places);
    memset(images, 0, sizeof(*images));
}

void stele_replay_done(struct stele_replay *replay)
{
    images_done(&replay->records);
    images_done(&replay->words);
    free(replay->cuts);
    replay->cuts = NULL;
    replay->cut_count = replay->cut_room = 0;
}

void stele_replay_to_slot(const struct stele_replay *replay, struct stele_slot *slot)
{
    slot->count = replay->count;
    slot->sequence = replay->sequence;
    slot->chain = replay->chain;
    if (replay->has_user) {
        slot->user_version = replay->user_version;
        memcpy(slot->user, replay->user, sizeof(slot->user));
    }
    if (replay->has_tag) {
        slot->tag_bytes = replay->tag_bytes;
        memcpy(slot->tag, replay->tag, sizeof(slot->tag));
    }
    if (replay->time_us)
        slot->modified_us = replay->time_us;
}
