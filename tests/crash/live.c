/*
 * What goes wrong under handles that live on: another process dies in the middle, syncs fail.
 */
#include "crash.h"

#include "bits.h"

#include <string.h>

enum { WRITER = 2, READER = 3, NEXT = 4 }; /* processes beside those of the life */

static struct stele *writer, *reader;

static struct stele *open_as(unsigned process, uint32_t mode)
{
    struct stele_options options = life_options(life.work);
    struct stele *store = NULL;

    options.flags &= (uint32_t)STELE_NO_THREADS;
    options.mode = mode;
    sim.process = process;
    return stele_open(LIFE_PATH, &options, &store) ? NULL : store;
}

static void open_witnesses(struct life *of)
{
    (void)of;
    writer = open_as(WRITER, STELE_READ_WRITE);
    reader = open_as(READER, STELE_READ_ONLY);
}

static void wrong(uint64_t n, const char *what)
{
    fail_msg("STELE_SEED=%" PRIu64 ", life %s, %" PRIu64 ": %s: %s (%s)", seed, life.work->name, n, what, judge_why,
             stele_last_error()->text);
}

static void drop(struct stele **store, unsigned process)
{
    sim.process = process;
    if (*store)
        (void)stele_close(*store);
    *store = NULL;
}

/* ---- deaths ---- */

static void judge_witnesses(size_t died_at)
{
    struct judge_range range = judge_range(&life, died_at, true);
    size_t by_writer = 0, by_reader = 0;
    bool is_async = strstr(life.work->name, "async") != NULL;

    sim_watch_calls(500000, 20000000);
    sim.process = READER;
    range.is_undecided = true;
    /* What is asynchronous others see later. */
    if (!is_async && !judge_store(&life, &range, reader, &by_reader))
        wrong(died_at, "a reader, before a writer comes");
    sim.process = WRITER;
    range.is_undecided = false;
    if (stele_sync(writer))
        wrong(died_at, "the turn");
    if (!judge_store(&life, &range, writer, &by_writer) || !judge_verifies(writer, 0))
        wrong(died_at, "the other writer");
    sim.process = READER;
    if (!judge_store(&life, &range, reader, &by_reader) || by_reader != by_writer)
        wrong(died_at, "a reader, behind the writer");
    sim.process = WRITER;
    if (stele_set_count(writer, life.states[by_writer].count + 1) || !judge_verifies(writer, 0))
        wrong(died_at, "the commit after it");
    sim_watch_calls(0, 0);
}

/* Let the process that makes the event behind @at die there; false: there is none. */
static bool die_once(const struct work *work, size_t at)
{
    bool has_died;

    life_begin(&life, work, seed, &outer);
    life.after_create = open_witnesses;
    sim.die_at = at;
    life_run(&life);
    has_died = sim.die_at == SIZE_MAX;
    sim.die_at = SIZE_MAX;
    if (has_died && (sim.dead & 3)) {
        unsigned handle = sim.dead & 1 ? 0 : 1;

        sim_bury();
        if (life.handles[handle])
            life_kill(&life, handle);
        if (writer && reader && life.created < at)
            judge_witnesses(at);
    }
    sim_bury();
    sim.dead = 0;
    drop(&writer, WRITER);
    drop(&reader, READER);
    (void)tidy(NULL);
    return has_died;
}

void a_process_that_dies_anywhere_leaves_the_others_a_whole_store(void **state)
{
    size_t step = scale_percent() >= 100 ? 1 : 100 / (scale_percent() + 1), deaths = 0;

    (void)state;
    for (size_t i = 0; i < work_count; i++) {
        /* Who resizes wants to be alone. */
        if (strcmp(works[i].name, "resize") == 0)
            continue;
        for (size_t at = 1 + i % step; die_once(&works[i], at); at += step)
            deaths++;
    }
    print_message("%zu deaths\n", deaths);
    assert_true(deaths > 100);
}

/* ---- syncs ---- */

/* What a power cut leaves behind the recovery: that which it made, and nothing else. */
static void cut_after(uint64_t n, size_t found, size_t first_event)
{
    static struct cut_choice choice;
    size_t now = 0, step = 1 + (outer.count - first_event) / 4;

    sim.log = NULL;
    begin_cut();
    while (cut.at < outer.count) {
        struct judge_range range;

        cut_step(&cut);
        if (cut.at < first_event || (cut.at != outer.count && cut.at % step))
            continue;
        range = judge_range(&life, cut.at, false);
        if (cut.at == outer.count)
            range = (struct judge_range){ .first = found, .end = found + 1 };
        for (uint64_t k = 0; k < 3; k++) {
            cut_choose(&cut, seed ^ n, k, false, &choice);
            cut_load(&cut, &choice);
            if (!judge_image(&life, &range, false, &now))
                wrong(n, "a power cut after a sync failed");
        }
    }
}

static void judge_poisoned(uint64_t n)
{
    static const uint8_t record[4096];
    struct stele *store = life.handles[life.stopped_handle];

    sim.process = life.processes[life.stopped_handle];
    if (!store)
        return;
    if (life.is_stopped_by_commit && life.stopped != STELE_E_UNKNOWN && life.stopped != STELE_E_IO &&
        life.stopped != STELE_E_CONFLICT)
        wrong(n, "the code of a commit whose sync failed");
    if (stele_set(store, 0, record) != STELE_E_POISONED || stele_checkpoint(store) != STELE_E_POISONED ||
        stele_sync(store) != STELE_E_POISONED || stele_outcome(store, 1) != STELE_E_POISONED)
        wrong(n, "a handle whose sync failed goes on");
}

/* The @n-th sync fails, and the following too if @is_for_ever; false: there is no such sync. */
static bool fail_once(const struct work *work, uint64_t n, bool is_for_ever)
{
    struct judge_range range;
    struct stele *next;
    size_t found = 0, failed_at;
    bool has_failed;

    life_begin(&life, work, seed, &outer);
    sim.fail_at[SIM_CALL_SYNC] = n;
    sim.is_failing_on = is_for_ever;
    life_run(&life);
    has_failed = sim.failed_count > 0;
    failed_at = outer.count;
    if (has_failed && life.created != SIZE_MAX) {
        /* The old file of a resize need not be told that it is none any more. */
        if (!life.stopped && strcmp(work->name, "resize") != 0)
            wrong(n, "a sync failed and nobody was told");
        if (life.stopped)
            judge_poisoned(n);
        if (life.stopped && is_for_ever && (next = open_as(NEXT, STELE_READ_WRITE)) != NULL)
            wrong(n, "opened for writing without a recovery");
        sim_clear_faults();
        range = judge_range(&life, outer.count, false);
        next = open_as(NEXT, STELE_READ_WRITE);
        if (!next || !judge_store(&life, &range, next, &found) || !judge_verifies(next, 3))
            wrong(n, "the next handle");
        sim_notice();
        sim.dead = 0x1f;
        (void)stele_close(next);
        for (unsigned i = 0; i < LIFE_HANDLES; i++) {
            if (life.handles[i])
                life_kill(&life, i);
        }
        sim.dead = 0;
        cut_after(n, found, failed_at);
    }
    (void)tidy(NULL);
    return has_failed;
}

static void fail_everywhere(bool is_for_ever)
{
    uint64_t step = scale_percent() >= 100 ? 1 : 100 / (scale_percent() + 1), failures = 0;

    for (size_t i = 0; i < work_count; i++) {
        for (uint64_t n = 1 + i % step; fail_once(&works[i], n, is_for_ever); n += step)
            failures++;
    }
    print_message("%" PRIu64 " syncs\n", failures);
    assert_true(failures > work_count);
}

void a_sync_that_fails_is_told_and_nothing_acknowledged_is_lost(void **state)
{
    (void)state;
    fail_everywhere(false);
}

void syncs_that_fail_for_ever_are_told_and_nothing_acknowledged_is_lost(void **state)
{
    (void)state;
    fail_everywhere(true);
}
