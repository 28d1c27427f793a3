#include "pending.h"

#include "error.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void stele_pending_done(struct stele_pending *pending)
{
    stele_entry_done(&pending->run);
    free(pending->images);
    free(pending->blocks);
    stele_lookup_done(&pending->block_places);
    stele_lookup_done(&pending->image_places);
    memset(pending, 0, sizeof(*pending));
}

/* Memory for @more of @item_bytes behind @count in *@list, which has room for *@room. */
static int make_room(void **list, size_t *room, size_t count, size_t more, size_t item_bytes)
{
    if (*room - count >= more)
        return STELE_OK;
    size_t wanted = *room * 2 > count + more ? *room * 2 : count + more + 64, bytes;
    void *grown = __builtin_mul_overflow(wanted, item_bytes, &bytes) ? NULL : realloc(*list, bytes);
    if (!grown)
        return stele_fail(STELE_E_NOMEM, "out of memory for %zu records that wait to be synced", count + more);
    *list = grown;
    *room = wanted;
    return STELE_OK;
}

int stele_pending_reserve(struct stele_pending *pending, size_t image_count, size_t block_count)
{
    void *images = pending->images, *blocks = pending->blocks;
    int rc = make_room(&images, &pending->image_room, pending->image_count, image_count, sizeof(*pending->images));
    pending->images = images;
    if (!rc)
        rc = make_room(&blocks, &pending->block_room, pending->block_count, block_count, sizeof(*pending->blocks));
    pending->blocks = blocks;
    return rc;
}

static int find_block(struct stele_pending *pending, uint64_t block, struct stele_pending_block **out)
{
    uint64_t *position;
    bool is_new;
    int rc = stele_lookup_put(&pending->block_places, block, &position, &is_new);
    if (rc)
        return rc;
    if (is_new) {
        *position = pending->block_count++;
        pending->blocks[*position] = (struct stele_pending_block){ .block = block };
    }
    *out = &pending->blocks[*position];
    return STELE_OK;
}

static int add_image(struct stele_pending *pending, const struct stele_layout *layout, uint64_t index, size_t at)
{
    struct stele_pending_block *block;
    uint64_t *position;
    bool is_new;
    int rc = find_block(pending, stele_block_of(layout, index), &block);
    if (!rc)
        rc = stele_lookup_put(&pending->image_places, index, &position, &is_new);
    if (rc)
        return rc;
    if (is_new) {
        *position = pending->image_count++;
        pending->images[*position] = (struct stele_pending_image){ .index = index, .older = block->newest };
        block->newest = pending->image_count;
    }
    pending->images[*position].at = at;
    return STELE_OK;
}

/* Add the items of the entry from byte @start to @entry_end of the run. */
static int add_entry(struct stele_pending *pending, const struct stele_layout *layout, size_t start, size_t entry_end)
{
    const struct stele_entry *entry = &pending->run;
    const uint8_t *at = entry->bytes + start + sizeof(struct stele_entry_head);
    const uint8_t *end = entry->bytes + entry_end - STELE_ENTRY_TRAILER_BYTES, *payload;
    const struct stele_item *item;
    int rc = STELE_OK;
    while (!rc && (item = stele_item_next(&at, end, &payload)) != NULL) {
        for (uint64_t i = 0; item->type == STELE_ITEM_RECORDS && i < item->n && !rc; i++)
            rc = add_image(pending, layout, item->first + i,
                           (size_t)(payload - entry->bytes) + (size_t)(i * layout->record_bytes));
        for (uint64_t i = 0; item->type == STELE_ITEM_SUMS && i < item->n && !rc; i++) {
            struct stele_pending_block *block;
            rc = find_block(pending, item->first + i, &block);
            if (!rc)
                memcpy(&block->word, payload + i * 8, 8);
        }
    }
    return rc;
}

static void forget_images(struct stele_pending *pending)
{
    pending->image_count = pending->block_count = 0;
    stele_lookup_clear(&pending->block_places);
    stele_lookup_clear(&pending->image_places);
}

int stele_pending_add(struct stele_pending *pending, const struct stele_layout *layout)
{
    const struct stele_entry *run = &pending->run;
    int rc = add_entry(pending, layout, run->start_bytes, run->used_bytes);
    if (!rc)
        return rc;
    /* Some of its images are in: all over, without it. There is memory for those that were there before. */
    struct stele_error kept;
    stele_error_keep(&kept);
    forget_images(pending);
    for (size_t at = 0; at < run->start_bytes;) {
        const struct stele_entry_head *head = (const void *)(run->bytes + at);
        int again = add_entry(pending, layout, at, at + (size_t)head->length);
        assert(again == STELE_OK);
        (void)again;
        at += (size_t)head->length;
    }
    stele_error_restore(&kept);
    return rc;
}

void stele_pending_clear(struct stele_pending *pending)
{
    pending->entry_count = pending->async_count = 0;
    pending->run.used_bytes = pending->run.start_bytes = pending->written_bytes = 0;
    forget_images(pending);
}

static const struct stele_pending_block *block_at(const struct stele_pending *pending, uint64_t block)
{
    const uint64_t *position = stele_lookup_find(&pending->block_places, block);
    return position ? &pending->blocks[*position] : NULL;
}

const uint8_t *stele_pending_find(const struct stele_pending *pending, uint64_t index)
{
    const uint64_t *position = stele_lookup_find(&pending->image_places, index);
    return position ? pending->run.bytes + pending->images[*position].at : NULL;
}

void stele_pending_lay(const struct stele_pending *pending, const struct stele_layout *layout, uint64_t block,
                       uint8_t *records, uint64_t *word)
{
    const struct stele_pending_block *found = block_at(pending, block);
    if (!found)
        return;
    for (size_t i = found->newest; i; i = pending->images[i - 1].older) {
        const struct stele_pending_image *image = &pending->images[i - 1];
        uint64_t within = image->index - stele_block_first(layout, block);
        memcpy(records + within * layout->record_bytes, pending->run.bytes + image->at,
               (size_t)layout->record_bytes);
    }
    *word = found->word;
}
