/*
 * Power cuts and deaths at every event of many lives of a store, on the simulated disk.
 *
 * Each life runs once, and its events are written down. Then for every event the images are made that a cut can leave
 * there: all of them where they are few, else some by chance. What fails prints one line; with it as STELE_CRASH only
 * that image is made. STELE_SEED changes what lives do and what chance picks, STELE_TEST_SCALE how many images there
 * are: at 100 no fewer than STATES.
 */
#include "crash.h"

#include <stdlib.h>
#include <string.h>

enum { STATES = 50000, STATES_WANTED = 56000 /* short lives do not use up their part */, EXHAUSTIVE_MAX = 4096, WORKS_MAX = 64, DEFAULT_SEED = 20240229, INNER_CUTS = 4 };

struct life life;
struct sim_log outer;
struct cut cut;
uint64_t seed;
static struct sim_log inner;
static struct cut inner_cut;
static uint64_t states, cuts, inner_states; /* cuts: states without those that deaths leave */

static struct { char work[32]; uint64_t event, image, inner_event, inner_image; int fields; } only;

unsigned scale_percent(void)
{
    const char *given = getenv("STELE_TEST_SCALE");

    return given && *given ? (unsigned)strtoul(given, NULL, 10) : 100;
}

static void read_environment(void)
{
    const char *given = getenv("STELE_SEED"), *line = getenv("STELE_CRASH");

    seed = given && *given ? strtoull(given, NULL, 0) : DEFAULT_SEED;
    if (line)
        only.fields = sscanf(line, "%31[^/]/%" SCNu64 "/%" SCNu64 "/%" SCNu64 "/%" SCNu64, only.work, &only.event,
                             &only.image, &only.inner_event, &only.inner_image);
}

#define DEATH UINT64_MAX /* number of the image that a death of all processes leaves */

static void failed(uint64_t event, uint64_t image, const char *more)
{
    fail_msg("STELE_SEED=%" PRIu64 " STELE_CRASH=%s/%" PRIu64 "/%" PRIu64 "%s: %s", seed, life.work->name, event,
             image, more, judge_why);
}

/* The image @number of those after the events so far. */
static void load(struct cut *of, uint64_t number, bool is_counted)
{
    static struct cut_choice choice;

    cut_choose(of, seed, number, is_counted, &choice);
    choice.is_death = number == DEATH;
    cut_load(of, &choice);
}

/* The recovery of the image is itself cut: it has to come to state @found. */
static void cut_recovery(uint64_t image, bool is_counted, size_t found)
{
    struct judge_range range = { .first = found, .end = found + 1 };
    struct stele_options options = life_options(life.work);
    struct stele *store = NULL;
    uint64_t chance = seed ^ (image << 8) ^ cut.at;
    size_t now;

    load(&cut, image, is_counted);
    cut_begin(&inner_cut, &inner);
    sim.log = &inner;
    sim.process = 8;
    options.flags = 0;
    if (stele_open(LIFE_PATH, &options, &store) == STELE_OK) {
        sim.dead |= 1u << sim.process;
        (void)stele_close(store);
        sim.dead &= ~(1u << sim.process);
    }
    sim_notice();
    sim.log = NULL;
    uint64_t step = 1 + inner.count / INNER_CUTS, next = chance % step;
    while (inner_cut.at < inner.count) {
        cut_step(&inner_cut);
        if (only.fields >= 5 ? inner_cut.at != only.inner_event : inner_cut.at <= next)
            continue;
        next += step;
        for (uint64_t number = only.fields >= 5 ? only.inner_image : 0; number < 2; number++) {
            load(&inner_cut, inner_cut.at % 3 ? number : DEATH, false);
            if (!judge_image(&life, &range, false, &now)) {
                char more[64];
                snprintf(more, sizeof(more), "/%zu/%" PRIu64, inner_cut.at, number);
                failed(cut.at, image, more);
            }
            inner_states++;
        }
    }
    sim_log_clear(&inner);
}

static void judge_one(uint64_t image, bool is_counted)
{
    struct judge_range range = judge_range(&life, cut.at, image == DEATH);
    size_t found = SIZE_MAX;

    if (only.fields >= 3 && image != only.image)
        return;
    load(&cut, image, is_counted);
    if (!judge_image(&life, &range, states % 4 == 0 || only.fields >= 3, &found))
        failed(cut.at, image, "");
    states++;
    cuts += image != DEATH;
    if (found != SIZE_MAX && (states % 32 == 0 || only.fields >= 3))
        cut_recovery(image, is_counted, found);
}

/* Where processes and disk can be cut; below a tenth of the images not everywhere. */
static bool is_point(size_t at)
{
    size_t stride = only.fields >= 2 || scale_percent() >= 10 ? 1 : 10 / (scale_percent() + 1) + 1;

    return at == 0 || (!outer.events[at - 1].is_more && at % stride == 0);
}

static void judge_event(uint64_t quota)
{
    uint64_t count = cut_image_count(&cut);
    bool is_counted = count <= EXHAUSTIVE_MAX && count <= 4 * quota;

    if (!is_point(cut.at) || (only.fields >= 2 && cut.at != only.event))
        return;
    judge_one(DEATH, is_counted);
    for (uint64_t number = 0; number < (is_counted ? count : quota); number++)
        judge_one(number, is_counted);
}

int tidy(void **state)
{
    (void)state;
    life_done(&life);
    sim.log = NULL;
    sim_log_clear(&outer);
    sim_log_clear(&inner);
    return 0;
}

void run_life(void)
{
    life_run(&life);
    if (life.stopped)
        fail_msg("STELE_SEED=%" PRIu64 ": life %s stopped: %s", seed, life.work->name, stele_last_error()->text);
    for (unsigned i = 0; i < LIFE_HANDLES; i++) {
        if (life.handles[i])
            life_kill(&life, i);
    }
    sim.log = NULL;
}

/* From no file at all: what the files are now is not what they were. */
void begin_cut(void)
{
    for (unsigned i = 0; i < SIM_FILES_MAX; i++) {
        struct sim_file *file = &sim.files[i];

        file->is_named = file->is_used = false;
        file->bytes = 0;
    }
    cut_begin(&cut, &outer);
}

/* With two processes once more, and syncs that are good for one of them only. */
static void walk(bool is_own_only, uint64_t wanted)
{
    uint64_t points_left = 0;

    for (size_t at = 1; at <= outer.count; at++)
        points_left += is_point(at);
    begin_cut();
    cut.is_own_only = is_own_only;
    while (cut.at < outer.count) {
        cut_step(&cut);
        judge_event(wanted > cuts && points_left ? (wanted - cuts) / points_left + 1 : 1);
        points_left -= is_point(cut.at);
    }
}

static void every_cut_leaves_what_was_acknowledged(void **state)
{
    const struct work *work = *state;
    uint64_t before = states, inner_before = inner_states, cuts_before = cuts;
    /* What short lives could not use up is for the longer ones. */
    uint64_t wanted = (uint64_t)STATES_WANTED * scale_percent() / 100 * (uint64_t)(work - works + 1) / work_count;
    bool is_shared = strstr(work->name, "two") != NULL;

    if (only.fields >= 1 && strcmp(only.work, work->name) != 0)
        skip();
    life_begin(&life, work, seed, &outer);
    run_life();
    if (is_shared)
        walk(true, wanted > cuts ? cuts + (wanted - cuts) / 2 : cuts_before);
    walk(false, wanted);
    print_message("%s: %zu events, %" PRIu64 " images, and %" PRIu64 " of cut recoveries\n", work->name, outer.count,
                  states - before, inner_states - inner_before);
}

static void there_were_as_many_power_cuts_as_are_wanted(void **state)
{
    (void)state;
    print_message("%" PRIu64 " images, %" PRIu64 " of them of power cuts, and %" PRIu64 " of recoveries that were cut\n",
                  states, cuts, inner_states);
    if (only.fields == 0)
        assert_true(cuts >= (uint64_t)STATES * scale_percent() / 100);
}

/* With a word only the tests whose names it fits, as a pattern of cmocka. */
int main(int count, char **words)
{
    static const struct CMUnitTest others[] = {
        cmocka_unit_test(there_were_as_many_power_cuts_as_are_wanted),
        cmocka_unit_test_teardown(a_rotten_entry_before_others_is_not_taken_for_the_end, tidy),
        cmocka_unit_test_teardown(a_rotten_last_entry_takes_nothing_along_that_was_there_before, tidy),
        cmocka_unit_test_teardown(a_rotten_record_is_not_made_good_by_who_changes_its_neighbour, tidy),
        cmocka_unit_test_teardown(a_rotten_record_is_not_made_good_by_a_new_file, tidy),
        cmocka_unit_test_teardown(a_process_that_dies_anywhere_leaves_the_others_a_whole_store, tidy),
        cmocka_unit_test_teardown(a_sync_that_fails_is_told_and_nothing_acknowledged_is_lost, tidy),
        cmocka_unit_test_teardown(syncs_that_fail_for_ever_are_told_and_nothing_acknowledged_is_lost, tidy),
    };
    static struct CMUnitTest tests[WORKS_MAX];
    static char names[WORKS_MAX][80];

    read_environment();
    for (size_t i = 0; i < work_count && i < WORKS_MAX - 8; i++) {
        snprintf(names[i], sizeof(names[i]), "every_cut_of_%s_leaves_what_was_acknowledged", works[i].name);
        tests[i] = (struct CMUnitTest){ .name = names[i], .test_func = every_cut_leaves_what_was_acknowledged,
                                        .teardown_func = tidy,
                                        .initial_state = (void *)(uintptr_t)&works[i] };
    }
    if (count > 1)
        cmocka_set_test_filter(words[1]);
    print_message("seed: STELE_SEED=%" PRIu64 "\n", seed);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        tests[work_count + i] = others[i];
    return _cmocka_run_group_tests("crash", tests, work_count + sizeof(others) / sizeof(others[0]), NULL, NULL);
}
