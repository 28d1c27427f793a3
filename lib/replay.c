#include "replay.h"

#include "error.h"

#include <stdlib.h>

void stele_replay_init(struct stele_replay *replay, const struct stele_layout *layout, const struct stele_slot *slot,
                       uint64_t writer)
{
    *replay = (struct stele_replay){
        .records = { .stride = layout->record_bytes },
        .words = { .stride = sizeof(uint64_t) },
        .count = slot->count,
        .sequence = slot->sequence,
        .chain = slot->chain,
        .first_place = slot->ring_head,
        .tail = slot->ring_head,
        .writer = writer,
    };
}

static int put_run(struct stele_runs *runs, const struct stele_item *item, uint64_t place, uint64_t sequence)
{
    if (runs->count == runs->room) {
        size_t room = runs->room ? runs->room * 2 : 64;
        struct stele_run *list = realloc(runs->list, room * sizeof(*list));
        if (!list)
            return stele_fail(STELE_E_NOMEM, "out of memory for %zu journal items", room);
        runs->list = list;
        runs->room = room;
    }
    runs->list[runs->count++] =
        (struct stele_run){ .first = item->first, .n = item->n, .place = place, .sequence = sequence };
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

static int add_item(struct stele_replay *replay, const struct stele_walk_entry *entry, const struct stele_item *item,
                    const uint8_t *payload)
{
    const uint64_t sequence = entry->head->sequence;
    const uint64_t place = entry->place + (uint64_t)(payload - (const uint8_t *)entry->head);
    int rc = STELE_OK;
    switch (item->type) {
    case STELE_ITEM_COUNT:
        rc = item->first < replay->count ? put_cut(replay, sequence, item->first) : STELE_OK;
        replay->count = item->n;
        break;
    case STELE_ITEM_RECORDS:
        rc = replay->is_brief ? STELE_OK : put_run(&replay->records, item, place, sequence);
        break;
    case STELE_ITEM_SUMS:
        rc = replay->is_brief ? STELE_OK : put_run(&replay->words, item, place, sequence);
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

int stele_replay_add(struct stele_replay *replay, const struct stele_walk_entry *entry)
{
    const uint8_t *at = entry->items;
    const uint8_t *payload;
    const struct stele_item *item;
    while ((item = stele_item_next(&at, entry->items_end, &payload)) != NULL) {
        int rc = add_item(replay, entry, item, payload);
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
        rc = stele_replay_add(replay, &entry);
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

/* Shorten the runs by what every later cut, and the last count, left of them. */
static void drop_cut(const struct stele_replay *replay, struct stele_runs *runs, uint64_t records_per_image)
{
    size_t kept = 0;
    for (size_t i = 0; i < runs->count; i++) {
        struct stele_run run = runs->list[i];
        uint64_t records = stele_min(replay->count, lowest_after(replay, run.sequence));
        uint64_t limit = stele_div_up(records, records_per_image);
        if (run.first >= limit)
            continue;
        run.n = stele_min(run.n, limit - run.first);
        runs->list[kept++] = run;
    }
    runs->count = kept;
}

static struct stele_run tail_of(const struct stele_run *run, uint64_t first, uint64_t stride)
{
    uint64_t skipped = first - run->first;
    return (struct stele_run){ .first = first, .n = run->n - skipped, .place = run->place + skipped * stride,
                               .sequence = run->sequence };
}

/*
 * Merge two sorted lists without overlap into @out, which has room for older + 2 * newer: where they overlap the newer
 * wins. Gives how many came out.
 */
static size_t merge(const struct stele_run *older, size_t older_count, const struct stele_run *newer,
                    size_t newer_count, uint64_t stride, struct stele_run *out)
{
    size_t i = 0, k = 0, n = 0;
    struct stele_run rest = older_count ? older[0] : (struct stele_run){ 0 };
    while (i < older_count) {
        uint64_t end = rest.first + rest.n;
        if (k == newer_count || end <= newer[k].first) {
            out[n++] = rest;
            end = UINT64_MAX; /* all of it is out */
        } else if (newer[k].first + newer[k].n <= rest.first) {
            out[n++] = newer[k++];
            continue;
        } else {
            uint64_t newer_end = newer[k].first + newer[k].n;
            if (rest.first < newer[k].first) {
                out[n] = rest;
                out[n++].n = newer[k].first - rest.first;
            }
            if (end > newer_end) {
                rest = tail_of(&rest, newer_end, stride);
                out[n++] = newer[k++];
                continue;
            }
        }
        if (++i < older_count)
            rest = older[i];
    }
    while (k < newer_count)
        out[n++] = newer[k++];
    return n;
}

/* Sort runs that stand in log order: halves first, so the depth is the logarithm of their number. */
static int reduce(struct stele_run **list, size_t *count, uint64_t stride)
{
    if (*count < 2)
        return STELE_OK;
    size_t half = *count / 2, older_count = half, newer_count = *count - half;
    struct stele_run *older = malloc(older_count * sizeof(**list)), *newer = malloc(newer_count * sizeof(**list));
    struct stele_run *merged = NULL;
    int rc = older && newer ? STELE_OK : stele_fail(STELE_E_NOMEM, "out of memory for %zu journal items", *count);
    if (!rc) {
        memcpy(older, *list, older_count * sizeof(**list));
        memcpy(newer, *list + half, newer_count * sizeof(**list));
        rc = reduce(&older, &older_count, stride);
    }
    if (!rc)
        rc = reduce(&newer, &newer_count, stride);
    if (!rc) {
        merged = malloc((older_count + 2 * newer_count) * sizeof(**list));
        if (!merged)
            rc = stele_fail(STELE_E_NOMEM, "out of memory for %zu journal items", *count);
    }
    if (!rc) {
        *count = merge(older, older_count, newer, newer_count, stride, merged);
        free(*list);
        *list = merged;
    }
    free(older);
    free(newer);
    return rc;
}

int stele_replay_finish(struct stele_replay *replay, const struct stele_layout *layout)
{
    for (size_t i = replay->cut_count; i-- > 1;)
        replay->cuts[i - 1].lowest = stele_min(replay->cuts[i - 1].lowest, replay->cuts[i].lowest);
    drop_cut(replay, &replay->records, 1);
    drop_cut(replay, &replay->words, layout->records_per_block);
    int rc = reduce(&replay->records.list, &replay->records.count, replay->records.stride);
    return rc ? rc : reduce(&replay->words.list, &replay->words.count, replay->words.stride);
}

size_t stele_runs_at(const struct stele_runs *runs, uint64_t index)
{
    size_t low = 0, high = runs->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (runs->list[middle].first + runs->list[middle].n <= index)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool stele_runs_find(const struct stele_runs *runs, uint64_t index, uint64_t *out_place)
{
    size_t at = stele_runs_at(runs, index);
    if (at == runs->count || runs->list[at].first > index)
        return false;
    *out_place = runs->list[at].place + (index - runs->list[at].first) * runs->stride;
    return true;
}

uint64_t stele_runs_total(const struct stele_runs *runs)
{
    uint64_t total = 0;
    for (size_t i = 0; i < runs->count; i++)
        total += runs->list[i].n;
    return total;
}

void stele_replay_done(struct stele_replay *replay)
{
    free(replay->records.list);
    free(replay->words.list);
    free(replay->cuts);
    replay->records = replay->words = (struct stele_runs){ .list = NULL };
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
