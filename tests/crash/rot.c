/* The medium changes bytes by itself, below what was acknowledged: it is said, and nothing is built on it. */
#include "crash.h"

#include "bits.h"
#include "format.h"

#include <string.h>

enum { STEP = 2 }; /* events from one try to the next, at full scale */

static size_t tries;

/* Go to the next event that is tried, and let all processes die there; false: there is none. */
static bool go_to_next(void)
{
    static struct cut_choice choice;
    size_t step = (size_t)STEP * 100 / (scale_percent() < 100 ? scale_percent() + 1 : 100);

    for (size_t i = 0; i < step || outer.events[cut.at - 1].is_more; i++) {
        if (cut.at == outer.count)
            return false;
        cut_step(&cut);
    }
    choice.is_death = true;
    cut_load(&cut, &choice);
    return true;
}

static struct stele *open_it(uint32_t mode)
{
    struct stele_options options = life_options(life.work);
    struct stele *store = NULL;

    options.flags = 0;
    options.mode = mode;
    sim.process = 8;
    return stele_open(LIFE_PATH, &options, &store) ? NULL : store;
}

static void wrong(const char *what)
{
    fail_msg("STELE_SEED=%" PRIu64 ", life %s, event %zu: %s (%s)", seed, life.work->name, cut.at, what,
             stele_last_error()->text);
}

static void flip_bit(uint64_t offset)
{
    struct sim_file *file = &sim.files[sim_find_name()];

    file->memory[offset] ^= 4;
    file->shadow[offset] ^= 4;
    sim_touch(file, offset, 1);
}

/*
 * The place of an entry that another one, later, in the ring too, proves to have been acknowledged: both were written
 * since a header was.
 */
static bool find_proven_entry(uint64_t *out_offset)
{
    struct stele_entry_head head, last = { .sequence = 0 };
    uint64_t last_offset = 0;

    for (size_t at = cut.at; at-- > 0;) {
        const struct sim_event *event = &outer.events[at];

        if (event->kind != SIM_WRITE || event->file != cut.name)
            continue;
        if (event->offset < 2 * STELE_SLOT_BYTES)
            return false;
        if (event->offset < STELE_JOURNAL_OFFSET || event->offset >= STELE_RECORDS_ALIGN * 2 ||
            event->byte_count < sizeof(head))
            continue;
        memcpy(&head, event->bytes, sizeof(head));
        if (head.magic != STELE_ENTRY_MAGIC)
            continue;
        if (last.sequence && last.synced_seq >= head.sequence && head.session == last.session &&
            event->offset / STELE_PAGE_BYTES != last_offset / STELE_PAGE_BYTES) {
            *out_offset = event->offset;
            return true;
        }
        if (!last.sequence) {
            last = head;
            last_offset = event->offset;
        }
    }
    return false;
}

static void rot_entries(void)
{
    uint64_t offset = 0;

    while (go_to_next()) {
        struct stele *store;

        if (sim_find_name() < 0 || !find_proven_entry(&offset))
            continue;
        flip_bit(offset + cut.at % 64);
        for (uint32_t mode = STELE_READ_ONLY; mode <= STELE_READ_WRITE; mode++) {
            store = open_it(mode);
            if (store || stele_last_error()->code != STELE_E_DAMAGED)
                wrong("an acknowledged entry is rotten, and nobody says so");
        }
        tries++;
    }
}

/* The place of the last entry, if it was written since a header was, and the state that it made. */
static bool find_last_entry(uint64_t *out_offset, size_t *out_state)
{
    struct stele_entry_head head;

    for (size_t at = cut.at; at-- > 0;) {
        const struct sim_event *event = &outer.events[at];

        if (event->kind != SIM_WRITE || event->file != cut.name || event->byte_count < sizeof(head))
            continue;
        if (event->offset < 2 * STELE_SLOT_BYTES)
            return false;
        if (event->offset < STELE_JOURNAL_OFFSET || event->offset >= STELE_RECORDS_ALIGN * 2)
            continue;
        memcpy(&head, event->bytes, sizeof(head));
        *out_offset = event->offset;
        for (size_t i = 1; i < life.state_count; i++) {
            if (life.states[i].sequence == head.sequence) {
                *out_state = i;
                return head.magic == STELE_ENTRY_MAGIC;
            }
        }
        return false;
    }
    return false;
}

static bool is_damaged[LIFE_BYTES_MAX];

static int note_damage(void *context, const struct stele_damage *damage)
{
    (void)context;
    for (uint64_t i = 0; i < damage->record_count; i++)
        is_damaged[damage->first_index + i] = true;
    return 0;
}

/* Each record that is not said to be damaged is what it was before the commit whose entry is rotten, or after it. */
static void compare_around(struct stele *store, size_t state)
{
    struct stele_verify_options options = STELE_VERIFY_OPTIONS_INIT;
    struct stele_verify_report report = STELE_VERIFY_REPORT_INIT;
    const struct life_state *before = &life.states[state - 1], *after = &life.states[state];
    size_t record_bytes = life.work->record_bytes;
    uint8_t record[4096];

    memset(is_damaged, 0, sizeof(is_damaged));
    options.damaged = note_damage;
    (void)stele_verify(store, &options, &report);
    for (uint64_t i = 0; i < stele_count(store); i++) {
        if (is_damaged[i])
            continue;
        if (stele_get(store, i, record))
            wrong("a record cannot be read");
        if (!(i < before->count && memcmp(record, before->records + i * record_bytes, record_bytes) == 0) &&
            !(i < after->count && memcmp(record, after->records + i * record_bytes, record_bytes) == 0))
            wrong("a record is neither what it was before the commit nor what it was behind it");
    }
}

static void rot_last_entry(void)
{
    uint64_t offset = 0;
    size_t state = 0;

    /* A write of several commits is a last entry of several. */
    while (!strstr(life.work->name, "async") && go_to_next()) {
        struct stele *store;

        if (sim_find_name() < 0 || !find_last_entry(&offset, &state))
            continue;
        flip_bit(offset + cut.at % 64);
        store = open_it(STELE_READ_WRITE);
        if (!store)
            continue; /* said to be damaged */
        compare_around(store, state);
        (void)stele_close(store);
        tries++;
    }
}

/* Of a record that is there, once the store was recovered; its block has another one. */
static bool rot_record(uint64_t *out_index)
{
    struct stele *store = open_it(STELE_READ_WRITE);
    struct stele_info info = STELE_INFO_INIT;
    bool is_done = false;

    if (!store)
        return false;
    if (stele_info(store, &info) == STELE_OK && info.count > 1 && info.records_per_block > 1) {
        *out_index = cut.at % stele_min(info.count, info.records_per_block);
        is_done = true;
    }
    (void)stele_close(store);
    if (is_done)
        flip_bit(info.records_offset + *out_index * info.record_bytes + cut.at % info.record_bytes);
    return is_done;
}

static void change_neighbours(void)
{
    static const uint8_t record[4096];

    while (go_to_next()) {
        struct stele_verify_report report = STELE_VERIFY_REPORT_INIT;
        uint64_t index = 0;
        struct stele *store;

        if (sim_find_name() < 0 || !rot_record(&index))
            continue;
        store = open_it(STELE_READ_WRITE);
        if (!store)
            wrong("a rotten record keeps the store from being opened");
        if (stele_set(store, index ? 0 : 1, record) != STELE_E_DAMAGED)
            wrong("a block with a rotten record was changed");
        if (stele_verify(store, NULL, &report) != STELE_E_DAMAGED || report.damaged_count != 1)
            wrong("a rotten record is good by now");
        (void)stele_close(store);
        tries++;
    }
}

static void make_new_files(void)
{
    while (go_to_next()) {
        struct stele_options options = STELE_OPTIONS_INIT;
        uint64_t index = 0;

        if (sim_find_name() < 0 || !rot_record(&index))
            continue;
        options.capacity_records = 700;
        if (stele_resize(LIFE_PATH, &options) != STELE_E_DAMAGED)
            wrong("a rotten record went into a new file");
        tries++;
    }
}

static void in_every_life(void (*try)(void))
{
    tries = 0;
    for (size_t i = 0; i < work_count; i++) {
        life_begin(&life, &works[i], seed, &outer);
        run_life();
        begin_cut();
        cut_step(&cut);
        try();
        (void)tidy(NULL);
    }
    assert_true(tries > work_count);
}

void a_rotten_entry_before_others_is_not_taken_for_the_end(void **state)
{
    (void)state;
    in_every_life(rot_entries);
}

void a_rotten_last_entry_takes_nothing_along_that_was_there_before(void **state)
{
    (void)state;
    in_every_life(rot_last_entry);
}

void a_rotten_record_is_not_made_good_by_who_changes_its_neighbour(void **state)
{
    (void)state;
    in_every_life(change_neighbours);
}

void a_rotten_record_is_not_made_good_by_a_new_file(void **state)
{
    (void)state;
    in_every_life(make_new_files);
}
