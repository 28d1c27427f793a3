/*
 * Flipped bits: every bit of the headers, the schema, the used journal, records and sums is noticed, or stands in the
 * list of harmless bits of FORMAT.md section 8, which is read here. Nothing damaged is handed out as good, or made
 * good.
 */
#include "journal.h"
#include "scratch.h"

enum { ENTRIES_MAX = 16, RANGES_MAX = 64, HARMLESS_ROWS = 9 };

/* ---- stores to spoil ---- */

/* Records with their count, as they are meant to be. */
struct state {
    uint64_t count;
    uint8_t *records;
};

struct range {
    uint64_t from, to; /* bytes of the file */
};

static struct {
    uint64_t record_bytes;
    struct stele_info info;
    struct state now, before; /* with all entries of the ring; without the last one */
    struct range entries[ENTRIES_MAX];
    size_t entry_count;
    struct range named[ENTRIES_MAX * 4]; /* records and words in place that the entries hold images of */
    size_t named_count;
    struct range harmless[RANGES_MAX];
    size_t harmless_count;
    uint8_t *image; /* the file as it was made */
    uint8_t *buffer;
    FILE *file; /* only written through */
} sample;

static void state_free(struct state *state)
{
    free(state->records);
    *state = (struct state){ .count = 0 };
}

/* Set records [first, first + n) to their @age-th edition, and the count if they go past it. */
static void state_put(struct state *state, uint64_t first, uint64_t n, uint64_t age)
{
    uint64_t bytes = sample.record_bytes;

    if (first + n > state->count) {
        state->records = realloc(state->records, (size_t)((first + n) * bytes));
        state->count = first + n;
    }
    REQUIRE(state->records);
    fill_records(state->records + first * bytes, (size_t)bytes, first, n, age);
}

static void state_copy(struct state *to, const struct state *from)
{
    state_free(to);
    to->count = from->count;
    to->records = malloc((size_t)(from->count * sample.record_bytes + 1));
    REQUIRE(to->records);
    memcpy(to->records, from->records, (size_t)(from->count * sample.record_bytes));
}

static void put(uint64_t offset, const void *bytes, size_t byte_count)
{
    REQUIRE(fseeko(sample.file, (off_t)offset, SEEK_SET) == 0);
    REQUIRE(fwrite(bytes, 1, byte_count, sample.file) == byte_count);
}

/* Put the image back: only what is not zero is written. */
static void restore(void)
{
    uint64_t bytes = sample.info.file_bytes;

    REQUIRE(system_set_bytes(sample.file, 0) && system_set_bytes(sample.file, bytes));
    for (uint64_t at = 0; at < bytes; at += 4096) {
        if (!stele_is_zero(sample.image + at, 4096))
            put(at, sample.image + at, 4096);
    }
}

/* Where the images of an entry belong. */
static void find_named(const struct stele_walk_entry *entry)
{
    const uint8_t *at = entry->items, *payload;
    const struct stele_item *item;

    while ((item = stele_item_next(&at, entry->items_end, &payload))) {
        uint64_t from = item->type == STELE_ITEM_RECORDS
                            ? sample.info.records_offset + item->first * sample.record_bytes
                            : sample.info.sums_offset + item->first * 8;
        if (item->type != STELE_ITEM_RECORDS && item->type != STELE_ITEM_SUMS)
            continue;
        assert_true(sample.named_count < COUNT_OF(sample.named));
        sample.named[sample.named_count++] = (struct range){ from, from + item->bytes };
    }
}

static void find_entries(void)
{
    struct stele_os_file file = { .is_open = false };
    struct stele_superblock superblock;
    struct stele_walk walk;
    struct stele_walk_entry entry;

    assert_ok(stele_os_open(scratch_path, false, &file));
    assert_ok(stele_superblock_read(&file, &superblock));
    stele_walk_init(&walk, &file, &superblock.layout, &superblock.slot);
    sample.entry_count = 0;
    while (stele_walk_next(&walk, &entry) == STELE_OK) {
        uint64_t from = sample.info.journal_offset + entry.place;
        assert_true(sample.entry_count < ENTRIES_MAX);
        sample.entries[sample.entry_count++] = (struct range){ from, from + entry.head->length };
        find_named(&entry);
    }
    stele_walk_done(&walk);
    stele_os_close(&file);
}

/* Take the store at scratch_path, which is shut, for the one to spoil. */
static void take_sample(void)
{
    struct stele *store = open_store(STELE_READ_ONLY);

    assert_store(store);
    assert_verifies(store);
    sample.info = info_of(store);
    assert_u64(sample.info.count, sample.now.count);
    assert_ok(stele_close(store));
    find_entries();
    sample.image = malloc((size_t)sample.info.file_bytes);
    sample.buffer = malloc((size_t)stele_max(sample.info.file_bytes, sample.info.capacity * sample.record_bytes));
    assert_non_null(sample.image);
    assert_non_null(sample.buffer);
    assert_u64(size_of_file(scratch_path), sample.info.file_bytes);
    peek(scratch_path, 0, sample.image, (size_t)sample.info.file_bytes);
    sample.file = file_at(scratch_path, "r+b", 0);
    assert_int_equal(setvbuf(sample.file, NULL, _IONBF, 0), 0);
}

static void drop_sample(void)
{
    fclose(sample.file);
    free(sample.image);
    free(sample.buffer);
    state_free(&sample.now);
    state_free(&sample.before);
    unlink(scratch_path);
    memset(&sample, 0, sizeof(sample));
}

/* A store that was closed in good order, with @count records and room behind them. */
static void make_clean(uint64_t record_bytes, uint64_t count, uint64_t capacity)
{
    sample.record_bytes = record_bytes;
    state_put(&sample.now, 0, count, 1);
    struct stele *store = create_store((uint32_t)record_bytes, capacity, 16 * KIB, 0);
    assert_store(store);
    assert_ok(stele_append(store, sample.now.records, (size_t)count, NULL));
    assert_ok(stele_close(store));
    take_sample();
    assert_u64(sample.entry_count, 0);
}

/* What the killed writer committed, entry by entry. */
static const struct {
    uint64_t first, n, age, count; /* count: cut to that instead */
} commits[] = {
    { 3, 1, 2, 0 },   { 150, 60, 2, 0 }, { 0, 3, 3, 0 },  { 0, 0, 0, 100 },
    { 100, 1, 4, 0 }, { 99, 1, 5, 0 },   { 70, 1, 6, 0 },
};

static int commit_one(struct stele *store, size_t i)
{
    uint64_t indexes[8];

    if (commits[i].count)
        return stele_set_count(store, commits[i].count);
    state_put(&sample.now, commits[i].first, commits[i].n, commits[i].age);
    const uint8_t *records = sample.now.records + commits[i].first * sample.record_bytes;
    if (commits[i].first >= stele_count(store))
        return stele_append(store, records, (size_t)commits[i].n, NULL);
    for (uint64_t k = 0; k < commits[i].n; k++)
        indexes[k] = commits[i].first + k;
    return stele_set_many(store, indexes, (size_t)commits[i].n, records);
}

static void commit_and_die(void *context)
{
    /* Reachable to the end: not to close it is no leak here. */
    static struct stele *store;

    sample.record_bytes = 64;
    state_put(&sample.now, 0, 150, 1);
    store = open_store(STELE_READ_WRITE);
    REQUIRE(store);
    for (size_t i = 0; i < COUNT_OF(commits); i++) {
        if (i + 1 == COUNT_OF(commits))
            copy_file(scratch_path, scratch_name("before"));
        REQUIRE(commit_one(store, i) == STELE_OK);
        if (commits[i].count)
            sample.now.count = commits[i].count;
    }
    REQUIRE(info_of(store).journal_entry_count == COUNT_OF(commits));
}

/* Records and sums as they were before the last commit was put in place. */
static void take_last_out_of_place(void)
{
    struct stele *store = open_store(STELE_READ_ONLY);
    assert_store(store);
    struct stele_info info = info_of(store);
    size_t bytes = (size_t)(info.file_bytes - info.records_offset);
    uint8_t *before = malloc(bytes);

    peek(scratch_name("before"), info.records_offset, before, bytes);
    poke(scratch_path, info.records_offset, before, bytes);
    free(before);
    assert_ok(stele_close(store));
}

/* A store whose writer died with the commits above in the ring. */
static void make_unclean_at(bool is_last_in_place)
{
    sample.record_bytes = 64;
    state_put(&sample.now, 0, 150, 1);
    struct stele *store = create_store(64, 300, 64 * KIB, 0);
    assert_store(store);
    assert_ok(stele_append(store, sample.now.records, 150, NULL));
    assert_ok(stele_close(store));
    assert_int_equal(exit_of_child(commit_and_die, NULL), 0);
    if (!is_last_in_place)
        take_last_out_of_place();
    unlink(scratch_name("before"));
    for (size_t i = 0; i < COUNT_OF(commits); i++) {
        if (i + 1 == COUNT_OF(commits))
            state_copy(&sample.before, &sample.now);
        if (commits[i].count)
            sample.now.count = commits[i].count;
        else
            state_put(&sample.now, commits[i].first, commits[i].n, commits[i].age);
    }
    take_sample();
    assert_u64(sample.entry_count, COUNT_OF(commits));
}

static void make_unclean(void) { make_unclean_at(false); }

/* ---- one flip ---- */

static void flip(uint64_t bit)
{
    uint8_t byte = (uint8_t)(sample.image[bit / 8] ^ (1u << (bit % 8)));

    put(bit / 8, &byte, 1);
}

static void flip_back(uint64_t bit)
{
    put(bit / 8, sample.image + bit / 8, 1);
}

struct seen {
    int open_code, verify_code;
    struct stele_verify_report report;
    struct stele_damage damage; /* the last one that verify named */
    unsigned damage_count;
};

static int note_damage(void *context, const struct stele_damage *damage)
{
    struct seen *seen = context;

    seen->damage = *damage;
    seen->damage_count++;
    return 0;
}

static void see(struct stele *store, struct seen *out)
{
    struct stele_verify_options options = STELE_VERIFY_OPTIONS_INIT;

    memset(out, 0, sizeof(*out));
    out->report.struct_bytes = sizeof(out->report);
    options.damaged = note_damage;
    options.damaged_context = out;
    out->verify_code = stele_verify(store, &options, &out->report);
}

/* Every record but those of the named block is what it was in @state. */
static bool has_records(struct stele *store, const struct state *state, const struct seen *seen)
{
    const uint64_t bytes = sample.record_bytes;
    const uint64_t skip_from = seen->damage_count ? seen->damage.first_index : state->count;
    const uint64_t skip_to = seen->damage_count ? skip_from + seen->damage.record_count : state->count;

    if (stele_count(store) != state->count || stele_read(store, 0, (size_t)skip_from, sample.buffer) ||
        memcmp(sample.buffer, state->records, (size_t)(skip_from * bytes)) != 0)
        return false;
    return stele_read(store, skip_to, (size_t)(state->count - skip_to), sample.buffer) == STELE_OK &&
           memcmp(sample.buffer, state->records + skip_to * bytes, (size_t)((state->count - skip_to) * bytes)) == 0;
}

static bool is_in(const struct range *range, uint64_t offset)
{
    return offset >= range->from && offset < range->to;
}

/* The block whose records or word stand at @offset; UINT64_MAX: neither. */
static uint64_t block_at(uint64_t offset)
{
    const struct stele_info *info = &sample.info;

    if (offset >= info->records_offset && offset < info->records_offset + info->count * info->record_bytes)
        return (offset - info->records_offset) / info->record_bytes / info->records_per_block;
    if (offset >= info->sums_offset && offset < info->sums_offset + info->sums_bytes)
        return (offset - info->sums_offset) / 8;
    return UINT64_MAX;
}

#define assert_flip(bit, condition)                                                                          \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            fail_msg("bit %" PRIu64 " of byte %" PRIu64 ": not so: %s (last error: %s)", (bit) % 8, (bit) / 8, \
                     #condition, stele_last_error()->text);                                                  \
    } while (0)

/* Damage of one block, and only that, by its block number and its records below the count. */
static void assert_names_block(uint64_t bit, const struct seen *seen)
{
    const uint64_t per_block = sample.info.records_per_block;
    const uint64_t block = block_at(bit / 8);
    const uint64_t first = block * per_block;

    assert_flip(bit, seen->verify_code == STELE_E_DAMAGED);
    assert_flip(bit, seen->damage_count == 1 && seen->report.damaged_count == 1);
    assert_flip(bit, seen->damage.block_index == block && seen->report.first_damaged_block == block);
    assert_flip(bit, seen->damage.first_index == first);
    assert_flip(bit, seen->damage.record_count == stele_min(per_block, sample.info.count - first));
    assert_flip(bit, seen->report.file_damage == 0);
}

/* What stands at @offset, by FORMAT.md. */
enum place { SLOT, SCHEMA, ENTRY, LAST_ENTRY, BLOCK, HARMLESS, ZEROS };

static enum place place_of(uint64_t offset)
{
    if (offset < 2 * STELE_SLOT_BYTES)
        return SLOT;
    if (is_in(&(struct range){ sample.info.schema_offset, sample.info.schema_offset + sample.info.schema_bytes },
              offset))
        return SCHEMA;
    for (size_t i = 0; i < sample.entry_count; i++) {
        if (is_in(&sample.entries[i], offset))
            return i + 1 < sample.entry_count ? ENTRY : LAST_ENTRY;
    }
    for (size_t i = 0; i < sample.harmless_count; i++) {
        if (is_in(&sample.harmless[i], offset))
            return HARMLESS;
    }
    return block_at(offset) != UINT64_MAX ? BLOCK : ZEROS;
}

/* Flip @bit, open, verify, read: whatever stands there, what FORMAT.md promises of it holds. */
static void assert_noticed(uint64_t bit)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store = NULL;
    struct seen seen = { .open_code = 0 };
    const enum place place = place_of(bit / 8);
    const struct state *state = place == LAST_ENTRY ? &sample.before : &sample.now;

    flip(bit);
    seen.open_code = stele_open(scratch_path, &options, &store);
    if (place == SCHEMA || place == ENTRY) {
        assert_flip(bit, seen.open_code == STELE_E_DAMAGED);
    } else {
        assert_flip(bit, seen.open_code == STELE_OK);
        see(store, &seen);
        assert_flip(bit, has_records(store, state, &seen));
        if (place == SLOT) {
            uint32_t slot = bit / 8 < STELE_SLOT_BYTES ? STELE_FILE_DAMAGE_SLOT_A : STELE_FILE_DAMAGE_SLOT_B;
            assert_flip(bit, seen.verify_code == STELE_E_DAMAGED);
            assert_flip(bit, seen.report.file_damage == slot && seen.report.damaged_count == 0);
            assert_flip(bit, info_of(store).header_damage == slot);
        } else if (place == BLOCK) {
            assert_names_block(bit, &seen);
        } else if (place == ZEROS) {
            assert_flip(bit, seen.verify_code == STELE_E_DAMAGED);
            assert_flip(bit, seen.report.file_damage == STELE_FILE_DAMAGE_SLACK && seen.damage_count == 0);
        } else {
            assert_flip(bit, seen.verify_code == STELE_OK);
        }
        assert_flip(bit, stele_close(store) == STELE_OK);
    }
    flip_back(bit);
}

/* Below scale 100 not each bit is flipped, but each n-th. */
static uint64_t step_of_scale(void)
{
    const unsigned scale = scale_percent();

    return scale && scale < 100 ? 100 / scale : 1;
}

/* Each @step-th bit of a range, from a random one on. */
static void assert_noticed_each(struct chance *chance, uint64_t from, uint64_t to, uint64_t step)
{
    for (uint64_t bit = 8 * from + chance_below(chance, step); bit < 8 * to; bit += step)
        assert_noticed(bit);
}

static void assert_noticed_all(struct chance *chance, uint64_t from, uint64_t to)
{
    assert_noticed_each(chance, from, to, step_of_scale());
}

/* ---- the list of harmless bits ---- */

struct harmless_row {
    char where[64], from[80], to[64];
};

static size_t read_harmless_rows(struct harmless_row *rows, size_t room)
{
    char path[512], line[1024];
    const char *top = getenv("STELE_SOURCE");
    size_t count = 0;
    bool is_inside = false;

    snprintf(path, sizeof(path), "%s/lib/FORMAT.md", top ? top : ".");
    FILE *page = fopen(path, "rb");
    if (!page)
        fail_msg("%s cannot be read: set STELE_SOURCE to the top of the project", path);
    while (fgets(line, sizeof(line), page)) {
        if (line[0] == '#')
            is_inside = !strncmp(line, "## 8. Harmless bits", 19);
        if (!is_inside || line[0] != '|' || !strncmp(line, "|-", 2) || !strncmp(line, "| where", 7))
            continue;
        assert_true(count < room);
        struct harmless_row *row = &rows[count++];
        memset(row, 0, sizeof(*row));
        assert_true(sscanf(line, "| %63[^|]| %79[^|]| %63[^|]|", row->where, row->from, row->to) >= 2);
        for (char *end = row->from + strlen(row->from); end > row->from && end[-1] == ' ';)
            *--end = 0;
        for (char *end = row->to + strlen(row->to); end > row->to && end[-1] == ' ';)
            *--end = 0;
    }
    fclose(page);
    return count;
}

static int compare_ranges(const void *a, const void *b)
{
    const struct range *one = a, *other = b;

    return one->from < other->from ? -1 : one->from > other->from;
}

/* Ring places outside the entries. */
static size_t free_ring(struct range *out)
{
    struct range entries[ENTRIES_MAX];
    uint64_t at = sample.info.journal_offset;
    size_t count = 0;

    memcpy(entries, sample.entries, sizeof(entries));
    qsort(entries, sample.entry_count, sizeof(entries[0]), compare_ranges);
    for (size_t i = 0; i < sample.entry_count; i++) {
        out[count++] = (struct range){ at, entries[i].from };
        at = entries[i].to;
    }
    out[count++] = (struct range){ at, sample.info.journal_offset + sample.info.journal_bytes };
    return count;
}

/* A place as the table names it. */
static uint64_t offset_named(const char *name)
{
    const struct stele_info *info = &sample.info;
    const uint64_t blocks_used = stele_div_up(info->count, info->records_per_block);
    const struct {
        const char *name;
        uint64_t offset;
    } names[] = {
        { "journal.offset", info->journal_offset },
        { "journal end", info->journal_offset + info->journal_bytes },
        { "records.offset", info->records_offset },
        { "record_bytes * count from records.offset", info->records_offset + info->count * info->record_bytes },
        { "records end", info->records_offset + info->capacity * info->record_bytes },
        { "word of the first block wholly at or above the count", info->sums_offset + 8 * blocks_used },
        { "sums end", info->sums_offset + info->sums_bytes },
        { "end of the layout", stele_round_up(info->sums_offset + info->sums_bytes, 4096) },
        { "end of the file", size_of_file(scratch_path) },
    };
    if (name[0] >= '0' && name[0] <= '9')
        return strtoull(name, NULL, 10);
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (!strcmp(name, names[i].name))
            return names[i].offset;
    }
    fail_msg("FORMAT.md section 8 names a place that this test does not know: %s", name);
    return 0;
}

/* The ranges of one row of the table in this store. */
static size_t ranges_of(const struct harmless_row *row, struct range *out)
{
    if (!strncmp(row->where, "journal free", 12))
        return free_ring(out);
    if (!strncmp(row->where, "journal last group", 18)) {
        if (sample.entry_count)
            out[0] = sample.entries[sample.entry_count - 1];
        return sample.entry_count > 0;
    }
    if (!strncmp(row->where, "in place", 8)) {
        memcpy(out, sample.named, sample.named_count * sizeof(out[0]));
        return sample.named_count;
    }
    out[0] = (struct range){ offset_named(row->from), offset_named(row->to) };
    assert_true(out[0].from <= out[0].to);
    return 1;
}

static void learn_harmless(void)
{
    struct harmless_row rows[HARMLESS_ROWS];

    assert_int_equal(read_harmless_rows(rows, COUNT_OF(rows)), HARMLESS_ROWS);
    sample.harmless_count = 0;
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        sample.harmless_count += ranges_of(&rows[i], sample.harmless + sample.harmless_count);
}

/* ---- tests: each bit ---- */

static void every_bit_of_both_header_slots_is_reported_and_the_other_slot_serves(void **state)
{
    struct chance chance = chance_begin();

    make_clean(64, 100, 200);
    assert_noticed_all(&chance, 0, 2 * STELE_SLOT_BYTES);
    drop_sample();
}

static void bits_of_both_header_slots_are_reported_while_the_journal_is_needed(void **state)
{
    struct chance chance = chance_begin();

    make_unclean();
    assert_noticed_each(&chance, 0, 2 * STELE_SLOT_BYTES, 7 * step_of_scale());
    drop_sample();
}

static void every_bit_of_the_schema_is_refused(void **state)
{
    struct chance chance = chance_begin();

    make_clean(64, 100, 200);
    assert_noticed_all(&chance, sample.info.schema_offset, sample.info.schema_offset + sample.info.schema_bytes);
    drop_sample();
}

static void every_bit_of_an_acknowledged_entry_is_refused_and_of_the_last_one_takes_it_away(void **state)
{
    struct chance chance = chance_begin();

    make_unclean();
    for (size_t i = 0; i < sample.entry_count; i++)
        assert_noticed_all(&chance, sample.entries[i].from, sample.entries[i].to);
    drop_sample();
}

/* Stores of every kind of block: many records of a cell, few, one, and records larger than a block. */
static const struct {
    uint64_t record_bytes, count, capacity;
} sizes[] = {
    { 1, 4096 + 30, 9000 }, { 7, 512 + 130, 1200 }, { 64, 64 + 5, 200 }, { 512, 8 + 3, 40 }, { 5000, 2, 5 },
};

/* Every record is as before or as after the last entry, unless its block is named. */
static bool has_records_of_either(struct stele *store, const struct seen *seen)
{
    const size_t bytes = (size_t)sample.record_bytes;

    if (stele_count(store) != sample.before.count)
        return false;
    for (uint64_t i = 0; i < sample.before.count; i++) {
        if (seen->damage_count && i - seen->damage.first_index < seen->damage.record_count)
            continue;
        if (stele_get(store, i, sample.buffer) ||
            (memcmp(sample.buffer, sample.before.records + i * bytes, bytes) != 0 &&
             memcmp(sample.buffer, sample.now.records + i * bytes, bytes) != 0))
            return false;
    }
    return true;
}

static void every_bit_of_a_last_entry_that_was_in_place_leaves_whole_records_or_a_named_block(void **state)
{
    struct chance chance = chance_begin();
    const uint64_t step = step_of_scale();

    make_unclean_at(true);
    const struct range *last = &sample.entries[sample.entry_count - 1];
    for (uint64_t bit = 8 * last->from + chance_below(&chance, step); bit < 8 * last->to; bit += step) {
        struct seen seen;
        flip(bit);
        struct stele *store = open_store(STELE_READ_ONLY);
        assert_flip(bit, store != NULL);
        see(store, &seen);
        assert_flip(bit, has_records_of_either(store, &seen));
        assert_flip(bit, seen.report.file_damage == 0 && seen.damage_count <= 1);
        if (seen.damage_count)
            assert_u64(seen.damage.block_index, commits[COUNT_OF(commits) - 1].first / sample.info.records_per_block);
        assert_flip(bit, stele_close(store) == STELE_OK);
        flip_back(bit);
    }
    drop_sample();
}

/* Also a handle that is open meanwhile says so: all bits go through one handle, some through an open of their own. */
static void spoil_blocks(struct chance *chance)
{
    const struct stele_info *info = &sample.info;
    const struct range ranges[] = {
        { info->records_offset, info->records_offset + info->count * info->record_bytes },
        { info->sums_offset, info->sums_offset + 8 * stele_div_up(info->count, info->records_per_block) },
    };
    const uint64_t step = step_of_scale();
    struct stele *store = open_store(STELE_READ_ONLY);

    assert_store(store);
    for (size_t i = 0; i < COUNT_OF(ranges); i++) {
        for (uint64_t bit = 8 * ranges[i].from + chance_below(chance, step); bit < 8 * ranges[i].to; bit += step) {
            struct seen seen;
            if (chance_below(chance, 64) == 0) {
                assert_noticed(bit);
                continue;
            }
            flip(bit);
            see(store, &seen);
            assert_names_block(bit, &seen);
            flip_back(bit);
        }
    }
    assert_verifies(store);
    assert_ok(stele_close(store));
}

static void every_bit_of_records_and_sums_names_its_block_and_its_records(void **state)
{
    struct chance chance = chance_begin();

    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        make_clean(sizes[i].record_bytes, sizes[i].count, sizes[i].capacity);
        spoil_blocks(&chance);
        drop_sample();
    }
}

/* ---- tests: anywhere ---- */

static uint64_t random_bit_in(struct chance *chance, const struct range *range)
{
    return 8 * range->from + chance_below(chance, 8 * (range->to - range->from));
}

static void the_listed_bits_are_harmless(void **state)
{
    struct harmless_row rows[HARMLESS_ROWS];
    struct range ranges[RANGES_MAX];
    struct chance chance = chance_begin();
    const unsigned flips = scaled(300, 20);

    make_unclean();
    /* What a growth that was cut may leave. */
    REQUIRE(system_set_bytes(sample.file, sample.info.file_bytes + 8192));
    sample.image = realloc(sample.image, (size_t)sample.info.file_bytes + 8192);
    memset(sample.image + sample.info.file_bytes, 0, 8192);
    learn_harmless();
    assert_int_equal(read_harmless_rows(rows, COUNT_OF(rows)), HARMLESS_ROWS);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        size_t count = ranges_of(&rows[i], ranges);
        uint64_t bytes = 0;
        for (size_t k = 0; k < count; k++) {
            bytes += ranges[k].to - ranges[k].from;
            for (unsigned n = 0; n < flips && ranges[k].from < ranges[k].to; n++) {
                uint64_t bit = random_bit_in(&chance, &ranges[k]);
                enum place place = place_of(bit / 8);
                assert_flip(bit, place == HARMLESS || place == LAST_ENTRY);
                assert_noticed(bit);
            }
        }
        if (bytes == 0)
            fail_msg("row '%s' of FORMAT.md section 8 names no byte of the store", rows[i].where);
    }
    drop_sample();
}

/* Half of the bits anywhere in the file, half in those places where it matters. */
static void flip_at_random(struct chance *chance, unsigned flips)
{
    const struct stele_info *info = &sample.info;
    const struct range matters[] = {
        { 0, info->schema_offset + info->schema_bytes },
        { info->schema_offset + info->schema_bytes, info->live_offset },
        { info->journal_offset, info->journal_offset + info->journal_bytes },
        { info->records_offset, info->records_offset + info->count * info->record_bytes },
        { info->records_offset, info->file_bytes },
        { info->sums_offset, info->sums_offset + info->sums_bytes },
        { info->sums_offset + info->sums_bytes, info->file_bytes },
    };
    const struct range all = { 0, info->file_bytes };

    learn_harmless();
    for (unsigned i = 0; i < flips; i++)
        assert_noticed(random_bit_in(chance, i % 2 ? &matters[chance_below(chance, COUNT_OF(matters))] : &all));
}

static void random_bits_anywhere_are_noticed_or_listed(void **state)
{
    struct chance chance = chance_begin();
    const unsigned flips = scaled(100000, 500);

    make_unclean();
    flip_at_random(&chance, flips / 2);
    drop_sample();
    make_clean(512, 21, 40);
    flip_at_random(&chance, flips / 4);
    drop_sample();
    make_clean(5000, 3, 5);
    flip_at_random(&chance, flips / 4);
    drop_sample();
}

/* ---- tests: writers ---- */

/* All bytes of the file but the live region, which every first writer lays out anew. */
static void assert_file_is(const uint8_t *image, uint64_t bit)
{
    const struct stele_info *info = &sample.info;

    assert_flip(bit, size_of_file(scratch_path) == info->file_bytes);
    peek(scratch_path, 0, sample.buffer, (size_t)info->file_bytes);
    memcpy(sample.buffer + info->live_offset, image + info->live_offset, (size_t)info->live_bytes);
    assert_flip(bit, memcmp(sample.buffer, image, (size_t)info->file_bytes) == 0);
}

static void assert_write_is_refused(struct stele *store, uint64_t bit, const struct seen *seen)
{
    uint64_t index = seen->damage.first_index + bit % seen->damage.record_count;
    uint8_t *record = malloc((size_t)sample.record_bytes);
    uint8_t *before = malloc((size_t)sample.info.file_bytes);
    struct stele_txn *txn = NULL;

    peek(scratch_path, 0, before, (size_t)sample.info.file_bytes);
    fill_record(record, (size_t)sample.record_bytes, index, 77);
    assert_flip(bit, stele_set(store, index, record) == STELE_E_DAMAGED);
    assert_file_is(before, bit);
    if (block_at(bit / 8) == (sample.info.count - 1) / sample.info.records_per_block &&
        sample.info.count % sample.info.records_per_block) {
        assert_flip(bit, stele_append(store, record, 1, NULL) == STELE_E_DAMAGED);
        assert_file_is(before, bit);
    }
    /* Together with a good block: all or none. */
    assert_flip(bit, stele_begin(store, &txn) == STELE_OK);
    assert_flip(bit, stele_txn_set(txn, index ? 0 : sample.info.count - 1, record) == STELE_OK);
    assert_flip(bit, stele_txn_set(txn, index, record) == STELE_OK);
    assert_flip(bit, stele_commit(txn, STELE_DURABLE, NULL) == STELE_E_DAMAGED);
    assert_file_is(before, bit);
    free(before);
    free(record);
}

/* Open for writing, try to change it, change another block, close: the damage is still there and still named. */
static void write_around(uint64_t bit)
{
    const uint64_t per_block = sample.info.records_per_block;
    uint64_t other = block_at(bit / 8) ? 0 : sample.info.count - 1;
    struct seen seen;

    restore();
    flip(bit);
    struct stele *store = open_store(STELE_READ_WRITE);
    assert_flip(bit, store != NULL);
    see(store, &seen);
    assert_names_block(bit, &seen);
    assert_write_is_refused(store, bit, &seen);
    if (other / per_block != block_at(bit / 8))
        assert_flip(bit, stele_set(store, other, sample.now.records + other * sample.record_bytes) == STELE_OK);
    assert_flip(bit, stele_checkpoint(store) == STELE_OK);
    assert_flip(bit, stele_close(store) == STELE_OK);
    store = open_store(STELE_READ_ONLY);
    assert_flip(bit, store != NULL);
    see(store, &seen);
    assert_names_block(bit, &seen);
    assert_flip(bit, has_records(store, &sample.now, &seen));
    assert_flip(bit, stele_close(store) == STELE_OK);
}

static void a_writer_refuses_a_damaged_block_and_never_makes_it_good(void **state)
{
    struct chance chance = chance_begin();
    const unsigned flips = scaled(60, 6);

    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        make_clean(sizes[i].record_bytes, sizes[i].count, sizes[i].capacity);
        const struct stele_info *info = &sample.info;
        const struct range records = { info->records_offset, info->records_offset + info->count * info->record_bytes };
        const struct range words = { info->sums_offset,
                                     info->sums_offset + 8 * stele_div_up(info->count, info->records_per_block) };
        for (unsigned n = 0; n < flips; n++)
            write_around(random_bit_in(&chance, n % 3 ? &records : &words));
        drop_sample();
    }
}

/* A bit of another record of the block flips after the writer has checked the block and changed it. */
static void spoil_behind_the_check(struct chance *chance)
{
    const struct stele_info *info = &sample.info;
    const uint64_t bytes = sample.record_bytes;
    uint64_t index = chance_below(chance, info->count - 1), other;
    uint64_t first = index / info->records_per_block * info->records_per_block;
    uint64_t n = stele_min(info->records_per_block, info->count - first);
    uint8_t *record = malloc((size_t)bytes), byte;
    struct seen seen;

    do {
        other = first + chance_below(chance, n);
    } while (other == index);
    uint64_t bit = 8 * (info->records_offset + other * bytes) + chance_below(chance, 8 * bytes);
    restore();
    struct stele *store = open_store(STELE_READ_WRITE);
    assert_flip(bit, store != NULL);
    for (uint64_t age = 50; age < 53; age++) {
        fill_record(record, (size_t)bytes, index, age);
        assert_flip(bit, stele_set(store, index, record) == STELE_OK);
        if (age > 50)
            continue;
        peek(scratch_path, bit / 8, &byte, 1);
        byte = (uint8_t)(byte ^ (1u << (bit % 8)));
        poke(scratch_path, bit / 8, &byte, 1);
    }
    assert_flip(bit, stele_close(store) == STELE_OK);
    store = open_store(STELE_READ_ONLY);
    assert_flip(bit, store != NULL);
    see(store, &seen);
    assert_names_block(bit, &seen);
    assert_flip(bit, stele_close(store) == STELE_OK);
    free(record);
}

static void damage_that_comes_after_a_block_was_checked_still_shows(void **state)
{
    struct chance chance = chance_begin();
    const unsigned flips = scaled(100, 10);

    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        make_clean(sizes[i].record_bytes, sizes[i].count, sizes[i].capacity);
        for (unsigned n = 0; n < flips && sample.info.records_per_block > 1; n++)
            spoil_behind_the_check(&chance);
        drop_sample();
    }
}

static void a_writer_that_is_refused_for_the_journal_or_the_schema_changes_nothing(void **state)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct chance chance = chance_begin();
    const unsigned flips = scaled(200, 20);

    make_unclean();
    uint8_t *spoilt = malloc((size_t)sample.info.file_bytes);
    options.mode = STELE_READ_WRITE;
    for (unsigned i = 0; i < flips; i++) {
        const struct range schema = { sample.info.schema_offset, sample.info.schema_offset + sample.info.schema_bytes };
        struct stele *store = NULL;
        uint64_t bit = random_bit_in(&chance, i % 4 ? &sample.entries[chance_below(&chance, sample.entry_count - 1)]
                                                    : &schema);
        restore();
        flip(bit);
        memcpy(spoilt, sample.image, (size_t)sample.info.file_bytes);
        spoilt[bit / 8] = (uint8_t)(spoilt[bit / 8] ^ (1u << (bit % 8)));
        for (unsigned k = 0; k < 2; k++) {
            assert_flip(bit, stele_open(scratch_path, &options, &store) == STELE_E_DAMAGED);
            assert_file_is(spoilt, bit);
        }
    }
    free(spoilt);
    drop_sample();
}

static void a_writer_takes_a_spoilt_last_entry_for_torn_and_keeps_the_state_before(void **state)
{
    struct chance chance = chance_begin();
    const unsigned flips = scaled(100, 10);

    make_unclean();
    for (unsigned i = 0; i < flips; i++) {
        uint64_t bit = random_bit_in(&chance, &sample.entries[sample.entry_count - 1]);
        struct seen seen;
        restore();
        flip(bit);
        struct stele *store = open_store(STELE_READ_WRITE);
        assert_flip(bit, store != NULL);
        see(store, &seen);
        assert_flip(bit, seen.verify_code == STELE_OK && has_records(store, &sample.before, &seen));
        assert_flip(bit, stele_close(store) == STELE_OK);
    }
    drop_sample();
}

static void a_writer_mends_a_header_slot_from_the_other_and_says_so(void **state)
{
    struct chance chance = chance_begin();
    const unsigned flips = scaled(150, 10);

    make_unclean();
    for (unsigned i = 0; i < flips; i++) {
        struct stele_recovery recovery = STELE_RECOVERY_INIT;
        struct stele_options options = STELE_OPTIONS_INIT;
        struct seen seen;
        const struct range slots = { 0, 2 * STELE_SLOT_BYTES };
        uint64_t bit = random_bit_in(&chance, &slots);
        restore();
        flip(bit);
        options.mode = STELE_READ_WRITE;
        assert_flip(bit, stele_recover(scratch_path, &options, &recovery) == STELE_OK);
        assert_flip(bit, recovery.header_damage == (bit / 8 < STELE_SLOT_BYTES ? STELE_FILE_DAMAGE_SLOT_A
                                                                             : STELE_FILE_DAMAGE_SLOT_B));
        struct stele *store = open_store(STELE_READ_ONLY);
        assert_flip(bit, store != NULL);
        see(store, &seen);
        assert_flip(bit, seen.verify_code == STELE_OK && has_records(store, &sample.now, &seen));
        assert_flip(bit, stele_close(store) == STELE_OK);
    }
    drop_sample();
}

static void a_writer_is_not_led_astray_by_harmless_bits(void **state)
{
    struct chance chance = chance_begin();
    const unsigned flips = scaled(200, 20);

    make_unclean();
    learn_harmless();
    for (unsigned i = 0; i < flips; i++) {
        struct seen seen;
        const struct range *range;
        do {
            range = &sample.harmless[chance_below(&chance, sample.harmless_count)];
        } while (range->from == range->to || place_of(range->from) == LAST_ENTRY);
        /* The first page of the live region is where words stand. */
        uint64_t bit = i % 2 ? random_bit_in(&chance, range)
                             : 8 * sample.info.live_offset + chance_below(&chance, 8 * 4096);
        restore();
        flip(bit);
        struct stele *store = open_store(STELE_READ_WRITE);
        assert_flip(bit, store != NULL);
        assert_flip(bit, stele_set(store, 1, sample.now.records + sample.record_bytes) == STELE_OK);
        assert_flip(bit, stele_close(store) == STELE_OK);
        store = open_store(STELE_READ_ONLY);
        assert_flip(bit, store != NULL);
        see(store, &seen);
        assert_flip(bit, seen.verify_code == STELE_OK && has_records(store, &sample.now, &seen));
        assert_flip(bit, stele_close(store) == STELE_OK);
    }
    drop_sample();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FAST_SCRATCH(every_bit_of_both_header_slots_is_reported_and_the_other_slot_serves),
        IN_FAST_SCRATCH(bits_of_both_header_slots_are_reported_while_the_journal_is_needed),
        IN_FAST_SCRATCH(every_bit_of_the_schema_is_refused),
        IN_FAST_SCRATCH(every_bit_of_an_acknowledged_entry_is_refused_and_of_the_last_one_takes_it_away),
        IN_FAST_SCRATCH(every_bit_of_a_last_entry_that_was_in_place_leaves_whole_records_or_a_named_block),
        IN_FAST_SCRATCH(every_bit_of_records_and_sums_names_its_block_and_its_records),
        IN_FAST_SCRATCH(the_listed_bits_are_harmless),
        IN_FAST_SCRATCH(random_bits_anywhere_are_noticed_or_listed),
        IN_FAST_SCRATCH(a_writer_refuses_a_damaged_block_and_never_makes_it_good),
        IN_FAST_SCRATCH(damage_that_comes_after_a_block_was_checked_still_shows),
        IN_FAST_SCRATCH(a_writer_that_is_refused_for_the_journal_or_the_schema_changes_nothing),
        IN_FAST_SCRATCH(a_writer_takes_a_spoilt_last_entry_for_torn_and_keeps_the_state_before),
        IN_FAST_SCRATCH(a_writer_mends_a_header_slot_from_the_other_and_says_so),
        IN_FAST_SCRATCH(a_writer_is_not_led_astray_by_harmless_bits),
    };
    return cmocka_run_group_tests_name("flip", tests, NULL, NULL);
}
