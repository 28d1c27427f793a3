#include "layout.h"

#include "error.h"

#define CAPACITY_BYTES_DEFAULT (UINT64_C(64) << 10) /* what the alignment of the sums would waste */

uint64_t stele_records_per_block(uint64_t record_bytes)
{
    uint64_t records = 1;
    while (records * 2 * record_bytes <= STELE_BLOCK_BYTES)
        records *= 2;
    return records;
}

uint64_t stele_records_per_cell(uint64_t record_bytes)
{
    uint64_t per_block = stele_records_per_block(record_bytes);
    uint64_t records = 1;
    while (records < per_block && records * record_bytes < STELE_CELL_BYTES)
        records *= 2;
    return records;
}

uint64_t stele_journal_bytes_default(uint64_t record_bytes, uint64_t capacity)
{
    uint64_t least = stele_max(UINT64_C(1) << 20, 4 * (record_bytes + STELE_PAGE_BYTES));
    /* An eighth of the data, so that a small store does not carry a large ring, up to 64 MiB. */
    uint64_t most = stele_max(least, UINT64_C(64) << 20);
    uint64_t data;
    if (!stele_mul_fits(record_bytes, capacity, &data))
        data = UINT64_MAX;
    return stele_round_up(stele_min(stele_max(least, data / 8), most), STELE_PAGE_BYTES);
}

static int check_journal(uint64_t record_bytes, uint64_t journal_bytes)
{
    if (journal_bytes % STELE_PAGE_BYTES || journal_bytes < STELE_JOURNAL_BYTES_MIN ||
        journal_bytes > STELE_JOURNAL_BYTES_MAX)
        return stele_fail(STELE_E_RANGE, "journal of %" PRIu64 " bytes: must be a multiple of 4096 from 16K to 128M",
                          journal_bytes);
    /* One entry with the record, its sum and its head, page by page, and as much again. */
    uint64_t entry_bytes = stele_round_up(record_bytes + 512, STELE_PAGE_BYTES);
    if (journal_bytes < 2 * entry_bytes)
        return stele_fail(STELE_E_TOO_BIG,
                          "journal of %" PRIu64 " bytes cannot hold a record of %" PRIu64
                          " bytes twice; use at least %" PRIu64,
                          journal_bytes, record_bytes,
                          stele_max(2 * entry_bytes, STELE_JOURNAL_BYTES_MIN));
    return STELE_OK;
}

/* Fill what follows from record_bytes, capacity, records_offset and journal; false when it is beyond the limits. */
static bool derive(struct stele_layout *layout)
{
    layout->records_per_block = stele_records_per_block(layout->record_bytes);
    layout->records_per_cell = stele_records_per_cell(layout->record_bytes);
    layout->block_shift = (uint64_t)__builtin_ctzll(layout->records_per_block);
    if (layout->capacity > STELE_CAPACITY_MAX)
        return false;
    layout->block_count = stele_div_up(layout->capacity, layout->records_per_block);
    layout->sums_bytes = layout->block_count * 8;
    /* 2^48 records of 2^24 bytes fit 64 bits no more: check before adding. */
    uint64_t data;
    if (!stele_mul_fits(layout->capacity, layout->record_bytes, &data) || data > STELE_FILE_BYTES_MAX)
        return false;
    uint64_t records_end = layout->records_offset + data;
    if (layout->sums_offset == 0)
        layout->sums_offset = stele_round_up(records_end, STELE_REGION_ALIGN);
    layout->file_bytes = stele_round_up(layout->sums_offset + layout->sums_bytes, STELE_PAGE_BYTES);
    return layout->file_bytes <= STELE_FILE_BYTES_MAX;
}

int stele_layout_plan(uint64_t record_bytes, uint64_t capacity, uint64_t journal_bytes, struct stele_layout *out)
{
    if (record_bytes == 0 || record_bytes > STELE_RECORD_BYTES_LIMIT)
        return stele_fail(STELE_E_RANGE, "record of %" PRIu64 " bytes: must be 1 to 16777216", record_bytes);
    if (capacity > STELE_CAPACITY_MAX)
        return stele_fail(STELE_E_RANGE, "capacity of %" PRIu64 " records: at most 2^48", capacity);
    if (journal_bytes == 0)
        journal_bytes = stele_journal_bytes_default(record_bytes, capacity);
    int rc = check_journal(record_bytes, journal_bytes);
    if (rc)
        return rc;
    struct stele_layout layout = {
        .record_bytes = record_bytes,
        .capacity = capacity ? capacity : stele_max(CAPACITY_BYTES_DEFAULT / record_bytes, 1),
        .live_offset = STELE_LIVE_OFFSET,
        .live_bytes = STELE_LIVE_BYTES,
        .journal_offset = STELE_JOURNAL_OFFSET,
        .journal_bytes = journal_bytes,
        .records_offset = stele_round_up(STELE_JOURNAL_OFFSET + journal_bytes, STELE_RECORDS_ALIGN),
        .schema_offset = STELE_SCHEMA_OFFSET,
        .schema_room_bytes = STELE_SCHEMA_BYTES_MAX,
    };
    if (!derive(&layout))
        return stele_fail(STELE_E_RANGE, "%" PRIu64 " records of %" PRIu64 " bytes: a store is at most 2^61 bytes",
                          capacity, record_bytes);
    *out = layout;
    return STELE_OK;
}

int stele_layout_grow(const struct stele_layout *old, uint64_t capacity, struct stele_layout *out)
{
    struct stele_layout layout = *old;
    /* The copied sums may not run over the old ones: a growth adds at least their size. */
    uint64_t least_end = old->sums_offset + stele_round_up(old->sums_bytes, STELE_REGION_ALIGN);
    uint64_t least = stele_div_up(least_end - old->records_offset, old->record_bytes);
    layout.capacity = stele_max(capacity, least);
    layout.sums_offset = 0;
    if (capacity > STELE_CAPACITY_MAX || !derive(&layout))
        return stele_fail(STELE_E_RANGE, "capacity of %" PRIu64 " records of %" PRIu64
                          " bytes: at most 2^48 records and 2^61 bytes", capacity, old->record_bytes);
    *out = layout;
    return STELE_OK;
}

/* ---- the region table ---- */

static const struct stele_region *region_of(const struct stele_slot *slot, uint32_t kind)
{
    for (unsigned i = 0; i < STELE_REGION_COUNT; i++) {
        if (slot->regions[i].kind == kind)
            return &slot->regions[i];
    }
    return NULL;
}

static bool is_known(uint32_t kind) { return kind >= STELE_REGION_LIVE && kind <= STELE_REGION_SCHEMA; }

bool stele_layout_has_strangers(const struct stele_slot *slot)
{
    for (unsigned i = 0; i < STELE_REGION_COUNT; i++) {
        if (slot->regions[i].kind && !is_known(slot->regions[i].kind))
            return true;
    }
    return false;
}

static int damaged(const char *what, uint64_t value)
{
    return stele_fail(STELE_E_DAMAGED, "header: %s is %" PRIu64 ", which cannot be", what, value);
}

/* Each entry inside the file's limits, known kinds once, none overlapping another. */
static int check_regions(const struct stele_slot *slot, bool *out_may_write)
{
    const struct stele_region *regions = slot->regions;
    for (unsigned i = 0; i < STELE_REGION_COUNT; i++) {
        if (regions[i].kind == 0)
            continue;
        if (!is_known(regions[i].kind)) {
            if (regions[i].flags & STELE_REGION_NO_OPEN)
                return stele_fail(STELE_E_VERSION, "region of kind %" PRIu32 " needs a newer stele", regions[i].kind);
            if (regions[i].flags & STELE_REGION_NO_WRITE)
                *out_may_write = false;
        }
        if (regions[i].offset > STELE_FILE_BYTES_MAX || regions[i].bytes > STELE_FILE_BYTES_MAX)
            return damaged("offset of a region", regions[i].offset);
        if (regions[i].offset < STELE_SCHEMA_OFFSET)
            return damaged("offset of a region", regions[i].offset);
        for (unsigned j = 0; j < i; j++) {
            if (regions[j].kind == 0)
                continue;
            if (regions[j].kind == regions[i].kind && is_known(regions[i].kind))
                return damaged("second region of the same kind", regions[i].kind);
            if (regions[i].offset < regions[j].offset + regions[j].bytes &&
                regions[j].offset < regions[i].offset + regions[i].bytes)
                return damaged("offset of a region that overlaps another", regions[i].offset);
        }
    }
    return STELE_OK;
}

/* What the table says must be what the formulas say. */
static int check_layout(const struct stele_slot *slot, const struct stele_layout *layout)
{
    const struct stele_region *records = region_of(slot, STELE_REGION_RECORDS);
    const struct stele_region *sums = region_of(slot, STELE_REGION_SUMS);
    if (slot->records_per_block != layout->records_per_block)
        return damaged("records per block", slot->records_per_block);
    if (slot->records_per_cell != layout->records_per_cell)
        return damaged("records per cell", slot->records_per_cell);
    if (layout->live_offset % STELE_REGION_ALIGN || layout->live_bytes != STELE_LIVE_BYTES)
        return damaged("live region's offset", layout->live_offset);
    if (layout->journal_offset % STELE_REGION_ALIGN)
        return damaged("journal's offset", layout->journal_offset);
    if (check_journal(layout->record_bytes, layout->journal_bytes))
        return damaged("journal's size", layout->journal_bytes);
    if (layout->records_offset % STELE_RECORDS_ALIGN)
        return damaged("records' offset", layout->records_offset);
    if (records->bytes != layout->capacity * layout->record_bytes)
        return damaged("records' size", records->bytes);
    if (layout->sums_offset % STELE_REGION_ALIGN || layout->sums_offset < records->offset + records->bytes)
        return damaged("sums' offset", layout->sums_offset);
    if (sums->bytes != layout->sums_bytes)
        return damaged("sums' size", sums->bytes);
    if (layout->schema_offset % 8 || layout->schema_room_bytes < slot->schema_bytes)
        return damaged("schema's size", slot->schema_bytes);
    return STELE_OK;
}

int stele_layout_of(const struct stele_slot *slot, struct stele_layout *out, bool *out_may_write)
{
    int rc = check_regions(slot, out_may_write);
    if (rc)
        return rc;
    const struct stele_region *live = region_of(slot, STELE_REGION_LIVE);
    const struct stele_region *journal = region_of(slot, STELE_REGION_JOURNAL);
    const struct stele_region *records = region_of(slot, STELE_REGION_RECORDS);
    const struct stele_region *sums = region_of(slot, STELE_REGION_SUMS);
    const struct stele_region *schema = region_of(slot, STELE_REGION_SCHEMA);
    if (!live || !journal || !records || !sums || !schema)
        return stele_fail(STELE_E_DAMAGED, "header: a region of kinds 1 to 5 is missing");
    if (slot->record_bytes == 0 || slot->record_bytes > STELE_RECORD_BYTES_LIMIT)
        return damaged("record size", slot->record_bytes);
    if (slot->capacity == 0 || slot->capacity > STELE_CAPACITY_MAX)
        return damaged("capacity", slot->capacity);
    struct stele_layout layout = {
        .record_bytes = slot->record_bytes,
        .capacity = slot->capacity,
        .live_offset = live->offset,
        .live_bytes = live->bytes,
        .journal_offset = journal->offset,
        .journal_bytes = journal->bytes,
        .records_offset = records->offset,
        .sums_offset = sums->offset,
        .schema_offset = schema->offset,
        .schema_room_bytes = schema->bytes,
    };
    if (sums->offset == 0 || !derive(&layout))
        return damaged("capacity", slot->capacity);
    rc = check_layout(slot, &layout);
    if (!rc)
        *out = layout;
    return rc;
}

static void put_region(struct stele_slot *slot, uint32_t kind, uint64_t offset, uint64_t bytes)
{
    struct stele_region *free_entry = NULL;
    for (unsigned i = 0; i < STELE_REGION_COUNT; i++) {
        struct stele_region *region = &slot->regions[i];
        if (region->kind == kind) {
            region->offset = offset;
            region->bytes = bytes;
            return;
        }
        if (region->kind == 0 && !free_entry)
            free_entry = region;
    }
    assert(free_entry);
    free_entry->kind = kind;
    free_entry->flags = 0;
    free_entry->offset = offset;
    free_entry->bytes = bytes;
    free_entry->parameter = 0;
}

void stele_layout_to(const struct stele_layout *layout, struct stele_slot *slot)
{
    slot->record_bytes = (uint32_t)layout->record_bytes;
    slot->records_per_block = (uint32_t)layout->records_per_block;
    slot->records_per_cell = (uint32_t)layout->records_per_cell;
    slot->capacity = layout->capacity;
    put_region(slot, STELE_REGION_LIVE, layout->live_offset, layout->live_bytes);
    put_region(slot, STELE_REGION_JOURNAL, layout->journal_offset, layout->journal_bytes);
    put_region(slot, STELE_REGION_RECORDS, layout->records_offset, layout->capacity * layout->record_bytes);
    put_region(slot, STELE_REGION_SUMS, layout->sums_offset, layout->sums_bytes);
    put_region(slot, STELE_REGION_SCHEMA, layout->schema_offset, layout->schema_room_bytes);
}
