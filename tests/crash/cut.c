#include "cut.h"

#include "bits.h"
#include "format.h"

#include <stdlib.h>
#include <string.h>

#define EXHAUSTIVE_MAX 4096u
#define SECTORS_PER_PAGE (SIM_PAGE_BYTES / CUT_SECTOR_BYTES)
#define GARBAGE_MAX 8u

/* Whose bytes the simulation's memory holds now. */
static const struct cut *loaded;

/* splitmix64 */
static uint64_t mix(uint64_t *state)
{
    uint64_t mixed = *state += UINT64_C(0x9e3779b97f4a7c15);

    mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ (mixed >> 31);
}

static bool is_live(uint64_t offset)
{
    return offset >= STELE_LIVE_OFFSET && offset < STELE_LIVE_OFFSET + STELE_LIVE_BYTES;
}

/* ---- the walk over events ---- */

static void file_begin(struct cut_file *file, const struct sim_file *from)
{
    if (!file->durable) {
        file->durable = calloc(1, (size_t)SIM_FILE_BYTES_MAX);
        file->dirty = calloc(CUT_DIRTY_MAX, sizeof(*file->dirty));
        file->places = malloc(CUT_SECTORS_MAX * sizeof(*file->places));
    }
    if (!file->durable || !file->dirty || !file->places)
        abort();
    for (size_t page = 0; page < SIM_PAGES_MAX; page++) {
        size_t at = page * SIM_PAGE_BYTES;

        if (from->is_used && from->touched[page])
            memcpy(file->durable + at, from->memory + at, SIM_PAGE_BYTES);
        else if (file->touched[page])
            memset(file->durable + at, 0, SIM_PAGE_BYTES);
        file->touched[page] = from->is_used && from->touched[page];
        file->changed[page] = true;
    }
    memset(file->places, 0xff, CUT_SECTORS_MAX * sizeof(*file->places));
    file->dirty_count = 0;
    file->sizes[0] = from->bytes;
    file->size_count = 1;
}

void cut_begin(struct cut *cut, const struct sim_log *log)
{
    cut->log = log;
    cut->is_own_only = false;
    cut->at = 0;
    cut->name = cut->name_durable = sim_find_name();
    for (unsigned i = 0; i < SIM_FILES_MAX; i++)
        file_begin(&cut->files[i], &sim.files[i]);
    loaded = NULL;
}

void cut_done(struct cut *cut)
{
    for (unsigned i = 0; i < SIM_FILES_MAX; i++) {
        free(cut->files[i].durable);
        free(cut->files[i].dirty);
        free(cut->files[i].places);
    }
    memset(cut, 0, sizeof(*cut));
    loaded = NULL;
}

static void touch(struct cut_file *file, uint64_t offset)
{
    file->touched[offset / SIM_PAGE_BYTES] = file->changed[offset / SIM_PAGE_BYTES] = true;
}

static struct cut_sector *sector_of(struct cut_file *file, uint32_t number)
{
    struct cut_sector *sector;

    if (file->places[number] >= 0)
        return &file->dirty[file->places[number]];
    if (file->dirty_count == CUT_DIRTY_MAX)
        abort();
    sector = &file->dirty[file->dirty_count];
    sector->number = number;
    sector->count = 0;
    sector->is_mapped = sector->is_stuck = false;
    file->places[number] = (int16_t)file->dirty_count++;
    return sector;
}

/* Write @bytes inside one sector. */
static void write_sector(struct cut_file *file, const struct sim_event *event, uint64_t offset, const uint8_t *bytes,
                         size_t byte_count)
{
    uint32_t number = (uint32_t)(offset / CUT_SECTOR_BYTES);
    uint64_t start = (uint64_t)number * CUT_SECTOR_BYTES;
    const uint8_t *now = file->durable + start;
    struct cut_sector *sector;

    if (file->places[number] >= 0)
        now = file->dirty[file->places[number]].versions[file->dirty[file->places[number]].count - 1];
    /* The same bytes again are no other version; but what no sync takes along is dirty again. */
    if (memcmp(now + (offset - start), bytes, byte_count) == 0) {
        if (file->places[number] >= 0) {
            file->dirty[file->places[number]].is_stuck = false;
            file->dirty[file->places[number]].process = event->process;
        }
        return;
    }
    sector = sector_of(file, number);
    if (sector->count == CUT_VERSIONS_MAX) {
        memmove(sector->versions[0], sector->versions[1], (CUT_VERSIONS_MAX - 1) * CUT_SECTOR_BYTES);
        sector->count--;
    }
    memcpy(sector->versions[sector->count],
           sector->count ? sector->versions[sector->count - 1] : file->durable + start, CUT_SECTOR_BYTES);
    memcpy(sector->versions[sector->count] + (offset - start), bytes, byte_count);
    sector->count++;
    sector->is_mapped |= event->kind == SIM_MAPPED;
    sector->is_stuck = false;
    sector->process = event->process;
    touch(file, start); /* a page that has to be loaded */
}

static void write_bytes(struct cut_file *file, const struct sim_event *event)
{
    for (uint64_t at = 0, n; at < event->byte_count; at += n) {
        uint64_t offset = event->offset + at;

        n = stele_min(event->byte_count - at, CUT_SECTOR_BYTES - offset % CUT_SECTOR_BYTES);
        if (is_live(offset)) {
            memcpy(file->durable + offset, event->bytes + at, (size_t)n);
            touch(file, offset);
        } else {
            write_sector(file, event, offset, event->bytes + at, (size_t)n);
        }
    }
}

/* @process: only what it wrote last; -1: all. */
static void make_durable(struct cut_file *file, uint64_t first, uint64_t end, int process)
{
    for (size_t i = 0; i < file->dirty_count;) {
        struct cut_sector *sector = &file->dirty[i];
        uint64_t start = (uint64_t)sector->number * CUT_SECTOR_BYTES;

        if (sector->is_stuck || (process >= 0 && sector->process != (unsigned)process) || start < first || start + CUT_SECTOR_BYTES > end) {
            i++;
            continue;
        }
        memcpy(file->durable + start, sector->versions[sector->count - 1], CUT_SECTOR_BYTES);
        touch(file, start);
        file->places[sector->number] = -1;
        if (i < --file->dirty_count) {
            *sector = file->dirty[file->dirty_count];
            file->places[sector->number] = (int16_t)i;
        }
    }
}

static void stick(struct cut_file *file, uint64_t first, uint64_t byte_count)
{
    for (size_t i = 0; i < file->dirty_count; i++) {
        uint64_t start = (uint64_t)file->dirty[i].number * CUT_SECTOR_BYTES;

        if (start >= first && start - first < byte_count)
            file->dirty[i].is_stuck = true;
    }
}

static void set_size(struct cut_file *file, uint64_t bytes)
{
    if (file->size_count == CUT_SIZES_MAX)
        memmove(&file->sizes[1], &file->sizes[2], (CUT_SIZES_MAX - 2) * sizeof(file->sizes[0]));
    else
        file->size_count++;
    file->sizes[file->size_count - 1] = bytes;
}

void cut_step(struct cut *cut)
{
    const struct sim_event *event = &cut->log->events[cut->at++];
    struct cut_file *file = &cut->files[event->file >= 0 ? event->file : 0];

    switch (event->kind) {
    case SIM_WRITE:
    case SIM_MAPPED: write_bytes(file, event); break;
    case SIM_SIZE: set_size(file, event->byte_count); break;
    case SIM_SYNC:
        make_durable(file, 0, UINT64_MAX, cut->is_own_only ? (int)event->process : -1);
        file->sizes[0] = file->sizes[file->size_count - 1];
        file->size_count = 1;
        break;
    case SIM_SYNC_RANGE: make_durable(file, event->offset, event->offset + event->byte_count, -1); break;
    case SIM_SYNC_FAILED: stick(file, event->offset, event->byte_count); break;
    case SIM_NAME: cut->name = event->file; break;
    case SIM_NAME_DURABLE: cut->name_durable = cut->name; break;
    default: abort();
    }
}

/* ---- images ---- */

static const struct cut_file *named_file(const struct cut *cut)
{
    return cut->name >= 0 ? &cut->files[cut->name] : NULL;
}

uint64_t cut_image_count(const struct cut *cut)
{
    const struct cut_file *file = named_file(cut);
    uint64_t count = cut->name == cut->name_durable ? 1 : 2;

    if (!file)
        return 1;
    count *= file->size_count;
    for (size_t i = 0; i < file->dirty_count && count <= EXHAUSTIVE_MAX; i++)
        count *= file->dirty[i].count + 1;
    return count <= EXHAUSTIVE_MAX ? count : UINT64_MAX;
}

void cut_choose(const struct cut *cut, uint64_t seed, uint64_t number, bool is_counted, struct cut_choice *out)
{
    const struct cut_file *file = named_file(cut);
    uint64_t rest = number;

    out->is_death = false;
    out->chance = seed ^ (cut->at * UINT64_C(0x9e3779b97f4a7c15)) ^ (number << 20);
    (void)mix(&out->chance);
    if (!is_counted)
        rest = mix(&out->chance) >> 1;
    out->has_old_name = false;
    if (cut->name != cut->name_durable) {
        out->has_old_name = rest & 1;
        rest >>= 1;
    }
    if (!file)
        return;
    out->size = (unsigned)(rest % file->size_count);
    rest /= file->size_count;
    /* By chance: all kinds of mixtures, also those where nearly all or nearly nothing came through. */
    uint64_t bias = mix(&out->chance) % 4;
    for (size_t i = 0; i < file->dirty_count; i++) {
        uint64_t options = file->dirty[i].count + 1u;

        if (!is_counted) {
            rest = mix(&out->chance) >> 1;
            if (bias == 1 && rest >> 40 & 3)
                rest = options - 1;
            else if (bias == 2 && rest >> 40 & 3)
                rest = 0;
            else if (file->dirty[i].is_mapped)
                options++;
        }
        out->version[i] = (uint16_t)(rest % options);
        rest /= options;
    }
}

static void load_page(struct sim_file *to, const struct cut_file *from, size_t page)
{
    size_t at = page * SIM_PAGE_BYTES;

    memcpy(to->memory + at, from->durable + at, SIM_PAGE_BYTES);
    memcpy(to->shadow + at, from->durable + at, SIM_PAGE_BYTES);
    to->touched[page] |= from->touched[page];
    to->stale[page] = false;
}

static void put_sector(struct sim_file *to, uint64_t start, const uint8_t *bytes)
{
    memcpy(to->memory + start, bytes, CUT_SECTOR_BYTES);
    memcpy(to->shadow + start, bytes, CUT_SECTOR_BYTES);
    sim_touch(to, start, CUT_SECTOR_BYTES);
}

static void load_sector(struct sim_file *to, const struct cut_file *from, const struct cut_sector *sector,
                        uint16_t version, uint64_t *chance)
{
    uint64_t start = (uint64_t)sector->number * CUT_SECTOR_BYTES;
    uint8_t bytes[CUT_SECTOR_BYTES];

    if (version == 0 || start >= to->bytes)
        return;
    if (version <= sector->count) {
        put_sector(to, start, sector->versions[version - 1]);
        return;
    }
    for (size_t at = 0; at < CUT_SECTOR_BYTES; at += 8) {
        uint64_t pick = mix(chance) % (sector->count + 1u);

        memcpy(bytes + at, pick ? sector->versions[pick - 1] + at : from->durable + start + at, 8);
    }
    put_sector(to, start, bytes);
}

/* Bytes that the file got but no sync covered: chance, or what stood elsewhere on the disk. */
static void load_garbage(struct sim_file *to, uint64_t first, uint64_t end, uint64_t *chance)
{
    uint8_t bytes[CUT_SECTOR_BYTES];
    uint64_t sectors = end > first ? (end - first) / CUT_SECTOR_BYTES : 0;

    for (unsigned i = 0; sectors && i < GARBAGE_MAX; i++) {
        uint64_t sector = mix(chance) % sectors;
        uint64_t places[] = { 0, STELE_JOURNAL_OFFSET, STELE_JOURNAL_OFFSET + STELE_PAGE_BYTES, first };

        /* Half of them at the two ends, where sums and records come to lie. */
        if (i % 2)
            sector = i % 4 == 1 ? sector % 64 % sectors : sectors - 1 - sector % 16 % sectors;
        for (size_t at = 0; at < CUT_SECTOR_BYTES; at += 8) {
            uint64_t word = mix(chance);
            memcpy(bytes + at, &word, 8);
        }
        if (mix(chance) & 1)
            memcpy(bytes, to->memory + places[mix(chance) % 4], CUT_SECTOR_BYTES);
        put_sector(to, first + sector * CUT_SECTOR_BYTES, bytes);
    }
}

static void load_live(struct sim_file *to, uint64_t *chance)
{
    uint64_t kind = mix(chance) % 4, end = sizeof(struct stele_live);

    if (kind == 0 || to->bytes < STELE_LIVE_OFFSET + STELE_LIVE_BYTES)
        return;
    for (uint64_t at = 0; at < end + 64; at += 8) {
        /* The words, and eight stripes anywhere. */
        uint64_t place = at < end ? at : STELE_LIVE_STRIPES_OFFSET + mix(chance) % STELE_STRIPE_COUNT * 8;
        uint64_t word = kind == 1 ? 0 : mix(chance);

        if (kind == 3 && word & 1)
            continue;
        memcpy(to->memory + STELE_LIVE_OFFSET + place, &word, 8);
        memcpy(to->shadow + STELE_LIVE_OFFSET + place, &word, 8);
        sim_touch(to, STELE_LIVE_OFFSET + place, 8);
    }
}

void cut_load(struct cut *cut, const struct cut_choice *choice)
{
    int name = choice->has_old_name ? cut->name_durable : cut->name;
    uint64_t chance = choice->chance;

    sim_notice();
    for (unsigned i = 0; i < SIM_FILES_MAX; i++) {
        sim.files[i].is_named = sim.files[i].is_used = (int)i == name;
        sim.files[i].watched_count = 0;
        sim.files[i].writer = -1;
    }
    if (name < 0)
        return;
    struct cut_file *from = &cut->files[name];
    struct sim_file *to = &sim.files[name];
    for (size_t page = 0; page < SIM_PAGES_MAX; page++) {
        if ((to->stale[page] || from->changed[page] || loaded != cut) && (to->touched[page] || from->touched[page]))
            load_page(to, from, page);
        from->changed[page] = false;
    }
    if (loaded != cut) {
        for (unsigned i = 0; i < SIM_FILES_MAX; i++) {
            if ((int)i != name)
                memset(cut->files[i].changed, 1, sizeof(cut->files[i].changed));
        }
        loaded = cut;
    }
    to->bytes = from->sizes[choice->is_death || choice->has_old_name ? from->size_count - 1 : choice->size];
    for (size_t i = 0; i < from->dirty_count && !choice->has_old_name; i++)
        load_sector(to, from, &from->dirty[i],
                    choice->is_death ? (uint16_t)from->dirty[i].count : choice->version[i], &chance);
    if (choice->is_death)
        return;
    if (to->bytes > from->sizes[0] && mix(&chance) % 2)
        load_garbage(to, from->sizes[0], to->bytes, &chance);
    load_live(to, &chance);
}
