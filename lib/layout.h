/*
 * Where everything is: the places and sizes of a store's regions, and the arithmetic of records, cells and blocks.
 *
 * Pure. A layout that came out of stele_layout_of or stele_layout_plan is consistent: no sum of its fields
 * overflows, regions are aligned and do not overlap.
 */
#ifndef STELE_LAYOUT_H
#define STELE_LAYOUT_H

#include "bits.h"
#include "format.h"

struct stele_layout {
    uint64_t record_bytes;
    uint64_t records_per_block, records_per_cell;
    uint64_t block_shift; /* log2 of records_per_block */
    uint64_t capacity;
    uint64_t block_count; /* of the capacity */
    uint64_t live_offset, live_bytes;
    uint64_t journal_offset, journal_bytes;
    uint64_t records_offset;
    uint64_t sums_offset, sums_bytes;
    uint64_t schema_offset, schema_room_bytes;
    uint64_t file_bytes; /* end of the sums, rounded up to a page */
};

uint64_t stele_records_per_block(uint64_t record_bytes);
uint64_t stele_records_per_cell(uint64_t record_bytes);

/* The ring that a store of @record_bytes and @capacity gets when nobody says. */
uint64_t stele_journal_bytes_default(uint64_t record_bytes, uint64_t capacity);

/*
 * Lay out a new store; capacity and journal_bytes 0: a little, and what fits that.
 *
 * Errors:  STELE_E_RANGE record, capacity or file size beyond the format's limits; STELE_E_TOO_BIG the ring cannot
 *          hold a record twice
 */
int stele_layout_plan(uint64_t record_bytes, uint64_t capacity, uint64_t journal_bytes, struct stele_layout *out);

/*
 * Lay out @old with room for at least @capacity records: sums at or behind the old sums' end (FORMAT.md, 1).
 *
 * Errors:  STELE_E_RANGE
 */
int stele_layout_grow(const struct stele_layout *old, uint64_t capacity, struct stele_layout *out);

/*
 * Read the layout out of @slot, which may be hostile.
 *
 * Errors:  STELE_E_DAMAGED naming the field; STELE_E_VERSION a region that must not be opened
 */
int stele_layout_of(const struct stele_slot *slot, struct stele_layout *out, bool *out_may_write);

/* Write the regions of @layout into the region table of @slot; entries of unknown kinds stay. */
void stele_layout_to(const struct stele_layout *layout, struct stele_slot *slot);

/* Whether @slot has regions of kinds that this library does not know (growth must not move them). */
bool stele_layout_has_strangers(const struct stele_slot *slot);

static inline uint64_t stele_block_of(const struct stele_layout *layout, uint64_t index)
{
    return index >> layout->block_shift;
}
static inline uint64_t stele_block_first(const struct stele_layout *layout, uint64_t block)
{
    return block << layout->block_shift;
}
/* Records of @block below @count. */
static inline uint64_t stele_block_records(const struct stele_layout *layout, uint64_t block, uint64_t count)
{
    uint64_t first = stele_block_first(layout, block);
    return first >= count ? 0 : stele_min(layout->records_per_block, count - first);
}
/* Blocks that have a record below @count. */
static inline uint64_t stele_blocks_below(const struct stele_layout *layout, uint64_t count)
{
    return stele_div_up(count, layout->records_per_block);
}
static inline uint64_t stele_record_offset(const struct stele_layout *layout, uint64_t index)
{
    return layout->records_offset + index * layout->record_bytes;
}
static inline uint64_t stele_word_offset(const struct stele_layout *layout, uint64_t block)
{
    return layout->sums_offset + block * 8;
}
/* The stripe of @block (FORMAT.md, 6): neighbours stand on different lines. */
static inline uint64_t stele_stripe_of(uint64_t block)
{
    return (8 * block + (block / 4096 % 8)) % STELE_STRIPE_COUNT;
}

#endif
