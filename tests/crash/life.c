#include "life.h"

#include "bits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            printf("%s:%d: not so: %s (%s)\n", __FILE__, __LINE__, #condition, stele_last_error()->text);    \
            fflush(stdout);                                                                                  \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

static uint64_t mix(uint64_t *state)
{
    uint64_t mixed = *state += UINT64_C(0x9e3779b97f4a7c15);

    mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    return mixed ^ (mixed >> 29);
}

static uint64_t below(struct life *life, uint64_t end) { return end ? mix(&life->chance) % end : 0; }

struct stele_options life_options(const struct work *work)
{
    struct stele_options options = STELE_OPTIONS_INIT;

    options.mode = STELE_READ_WRITE;
    options.lock_wait_ms = 200;
    options.read_wait_ms = 200;
    options.capacity_records = work->capacity;
    options.journal_bytes = work->journal_bytes;
    options.flags = work->flags;
    return options;
}

/* ---- states ---- */

static struct life_state *last(struct life *life) { return &life->states[life->state_count - 1]; }

static struct life_state *begin_state(struct life *life)
{
    struct life_state *state = &life->states[life->state_count];
    const struct life_state *before = life->state_count ? state - 1 : NULL;

    MUST(life->state_count < LIFE_STATES_MAX);
    *state = (struct life_state){ .acked = SIZE_MAX, .durable = SIZE_MAX };
    state->records = malloc(LIFE_BYTES_MAX);
    MUST(state->records);
    memset(state->records, 0, LIFE_BYTES_MAX);
    if (before) {
        state->count = before->count;
        memcpy(state->records, before->records, (size_t)(before->count * life->work->record_bytes));
    }
    sim_notice();
    state->begun = life->log->count;
    life->state_count++;
    return state;
}

static uint8_t *record_of(struct life *life, struct life_state *state, uint64_t index)
{
    MUST((index + 1) * life->work->record_bytes <= LIFE_BYTES_MAX);
    return state->records + index * life->work->record_bytes;
}

static void fill(struct life *life, struct life_state *state, uint64_t index)
{
    uint64_t chance = ++life->age * UINT64_C(0x100000001b3);
    uint8_t *record = record_of(life, state, index);

    for (size_t at = 0; at < life->work->record_bytes; at += 8) {
        uint64_t word = mix(&chance);
        memcpy(record + at, &word, life->work->record_bytes - at < 8 ? life->work->record_bytes - at : 8);
    }
}

static void cut_records(struct life *life, struct life_state *state, uint64_t count)
{
    if (count < state->count)
        memset(record_of(life, state, count), 0, (size_t)((state->count - count) * life->work->record_bytes));
    state->count = count;
}

static uint64_t sequence_of(struct stele *store)
{
    struct stele_info info = STELE_INFO_INIT;

    return stele_info(store, &info) ? 0 : info.sequence;
}

/* A call came back that makes all commits durable. */
static void all_is_durable(struct life *life)
{
    sim_notice();
    for (size_t i = 0; i < life->state_count; i++) {
        if (life->states[i].durable == SIZE_MAX && life->states[i].acked != SIZE_MAX)
            life->states[i].durable = life->log->count;
    }
}

/* What came of the call that began the last state. */
static void end_state(struct life *life, unsigned handle, int rc)
{
    struct life_state *state = last(life);

    if (rc) {
        /* The number may be that of one before it, which this one would have been synced with. */
        if (rc == STELE_E_UNKNOWN && stele_last_error()->sequence > state[-1].sequence)
            state->sequence = stele_last_error()->sequence;
        life->stopped = rc;
        life->stopped_handle = handle;
        life->is_stopped_by_commit = true;
        return;
    }
    if (!state->sequence)
        state->sequence = sequence_of(life->handles[handle]);
    sim_notice();
    state->acked = life->log->count;
    if (!life->is_async)
        all_is_durable(life);
}

/* ---- calls ---- */

/* A call failed, or a process died in one that cannot say so. */
static bool is_over(struct life *life)
{
    if (sim.dead && !life->stopped)
        life->stopped = STELE_E_IO;
    return life->stopped != 0;
}

static bool is_on(struct life *life, unsigned handle)
{
    sim.process = life->processes[handle];
    return !is_over(life) && life->handles[handle];
}

static void stop(struct life *life, unsigned handle, int rc)
{
    life->stopped = rc;
    life->stopped_handle = handle;
    life->is_stopped_by_commit = false;
}

void life_create(struct life *life)
{
    struct stele_field field = { .name = "bytes", .type = STELE_BYTES, .bytes = life->work->record_bytes };
    struct stele_options options = life_options(life->work);
    struct stele_schema *schema = NULL;
    int rc;

    MUST(stele_schema_new("Record", life->work->record_bytes, &field, 1, &schema) == STELE_OK);
    options.schema = schema;
    sim.process = life->processes[0];
    rc = stele_create(LIFE_PATH, &options, &life->handles[0]);
    stele_schema_free(schema);
    if (rc) {
        stop(life, 0, rc);
        return;
    }
    (void)begin_state(life);
    last(life)->begun = 0;
    sim_notice();
    last(life)->acked = last(life)->durable = life->created = life->log->count;
    last(life)->is_same = true;
}

int life_open(struct life *life, unsigned handle)
{
    struct stele_options options = life_options(life->work);
    int rc;

    options.flags &= (uint32_t)STELE_NO_THREADS;
    sim.process = life->processes[handle];
    rc = stele_open(LIFE_PATH, &options, &life->handles[handle]);
    if (rc)
        life->handles[handle] = NULL;
    return rc;
}

static void reopen(struct life *life, unsigned handle)
{
    int rc;

    if (is_over(life))
        return;
    sim.process = life->processes[handle];
    rc = stele_close(life->handles[handle]);
    life->handles[handle] = NULL;
    if (!rc)
        rc = life_open(life, handle);
    if (rc)
        stop(life, handle, rc);
    else
        all_is_durable(life);
}

void life_kill(struct life *life, unsigned handle)
{
    unsigned process = life->processes[handle];

    sim_notice();
    if (!(sim.dead >> process & 1)) {
        sim_keep();
        sim.dead |= 1u << process;
    }
    sim_bury();
    (void)stele_close(life->handles[handle]);
    life->handles[handle] = NULL;
    sim.dead &= ~(1u << process);
}

static void set_some(struct life *life, unsigned handle, const uint64_t *indexes, size_t n)
{
    struct stele_txn *txn = NULL;
    uint64_t sequence = 0;
    int rc;

    if (!is_on(life, handle))
        return;
    struct life_state *state = begin_state(life);
    rc = stele_begin(life->handles[handle], &txn);
    for (size_t i = 0; i < n; i++) {
        fill(life, state, indexes[i]);
        if (!rc)
            rc = stele_txn_set(txn, indexes[i], record_of(life, state, indexes[i]));
    }
    if (!rc)
        rc = stele_commit(txn, life->is_async ? STELE_ASYNC : STELE_DURABLE, &sequence);
    else if (txn)
        stele_abort(txn);
    if (!rc)
        state->sequence = sequence;
    end_state(life, handle, rc);
}

static void set_any(struct life *life, unsigned handle, size_t n)
{
    uint64_t indexes[256];
    uint64_t step, first;

    if (!is_on(life, handle) || last(life)->count < n)
        return;
    MUST(n <= 256);
    /* Different ones, spread over all. */
    step = last(life)->count / n;
    first = below(life, step);
    for (size_t i = 0; i < n; i++)
        indexes[i] = first + i * step;
    set_some(life, handle, indexes, n);
}

static void append(struct life *life, unsigned handle, uint64_t n)
{
    if (!is_on(life, handle))
        return;
    struct life_state *state = begin_state(life);
    uint64_t first = state->count;
    state->count += n;
    for (uint64_t i = first; i < state->count; i++)
        fill(life, state, i);
    end_state(life, handle, stele_append(life->handles[handle], record_of(life, state, first), (size_t)n, NULL));
}

static void set_count(struct life *life, unsigned handle, uint64_t count)
{
    if (!is_on(life, handle))
        return;
    cut_records(life, begin_state(life), count);
    end_state(life, handle, stele_set_count(life->handles[handle], count));
}

/* Cut to @low, raise to @high by zeros, append @n, set one: all in one. */
static void mixed_txn(struct life *life, unsigned handle, uint64_t low, uint64_t high, uint64_t n)
{
    struct stele_txn *txn = NULL;
    int rc;

    if (!is_on(life, handle))
        return;
    struct life_state *state = begin_state(life);
    rc = stele_begin(life->handles[handle], &txn);
    if (!rc)
        rc = stele_txn_set_count(txn, low);
    cut_records(life, state, low);
    if (!rc)
        rc = stele_txn_set_count(txn, high);
    cut_records(life, state, high);
    for (uint64_t i = 0; i < n; i++) {
        cut_records(life, state, high + i + 1);
        fill(life, state, high + i);
        if (!rc)
            rc = stele_txn_append(txn, record_of(life, state, high + i), 1, NULL);
    }
    if (state->count) {
        uint64_t index = below(life, state->count);
        fill(life, state, index);
        if (!rc)
            rc = stele_txn_set(txn, index, record_of(life, state, index));
    }
    if (!rc)
        rc = stele_commit(txn, STELE_DURABLE, NULL);
    else if (txn)
        stele_abort(txn);
    end_state(life, handle, rc);
}

/* Asynchronous, if the others are. */
static void append_in_txn(struct life *life, unsigned handle, uint64_t n)
{
    struct stele_txn *txn = NULL;
    uint64_t sequence = 0, first;
    int rc;

    if (!is_on(life, handle))
        return;
    struct life_state *state = begin_state(life);
    first = state->count;
    state->count += n;
    for (uint64_t i = first; i < state->count; i++)
        fill(life, state, i);
    rc = stele_begin(life->handles[handle], &txn);
    if (!rc)
        rc = stele_txn_append(txn, record_of(life, state, first), (size_t)n, NULL);
    if (!rc)
        rc = stele_commit(txn, life->is_async ? STELE_ASYNC : STELE_DURABLE, &sequence);
    else if (txn)
        stele_abort(txn);
    if (!rc)
        state->sequence = sequence;
    end_state(life, handle, rc);
}

static void sync_all(struct life *life, unsigned handle)
{
    int rc;

    if (!is_on(life, handle))
        return;
    rc = stele_sync(life->handles[handle]);
    if (rc)
        stop(life, handle, rc);
    else
        all_is_durable(life);
}

/* So long after that what is pending is due. */
static void tick(struct life *life, unsigned handle)
{
    int rc;

    if (!is_on(life, handle))
        return;
    sim.clock_us += 200000;
    rc = stele_tick(life->handles[handle]);
    if (rc)
        stop(life, handle, rc);
    else
        all_is_durable(life);
}

static void checkpoint(struct life *life, unsigned handle)
{
    int rc;

    if (!is_on(life, handle))
        return;
    rc = stele_checkpoint(life->handles[handle]);
    if (rc)
        stop(life, handle, rc);
    else
        all_is_durable(life);
}

static void reserve(struct life *life, unsigned handle, uint64_t n)
{
    int rc;

    if (!is_on(life, handle))
        return;
    rc = stele_reserve(life->handles[handle], n);
    if (rc)
        stop(life, handle, rc);
}

static void open_second(struct life *life)
{
    int rc = is_over(life) ? STELE_OK : life_open(life, 1);

    if (rc)
        stop(life, 1, rc);
}

static void resize(struct life *life, uint64_t capacity, uint64_t journal_bytes)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    int rc;

    if (is_over(life))
        return;
    sim.process = life->processes[0];
    rc = stele_close(life->handles[0]);
    life->handles[0] = NULL;
    options.capacity_records = capacity;
    options.journal_bytes = journal_bytes;
    if (!rc)
        rc = stele_resize(LIFE_PATH, &options);
    if (!rc)
        rc = life_open(life, 0);
    if (rc)
        stop(life, 0, rc);
}

/* The process of @handle is killed between two calls, and another one comes. */
static void die_and_recover(struct life *life, unsigned handle)
{
    int rc;

    if (!is_on(life, handle))
        return;
    life_kill(life, handle);
    rc = life_open(life, handle);
    if (rc)
        stop(life, handle, rc);
    else if (!life->handles[1 - handle])
        all_is_durable(life); /* it was recovered */
}

/* ---- what they do ---- */

static void work_create(struct life *life) { (void)life; }

static void work_append(struct life *life)
{
    for (unsigned i = 0; i < 6; i++)
        append(life, 0, 1 + below(life, 5));
    reopen(life, 0);
    append(life, 0, 1);
    append(life, 0, 7);
}

static void work_bulk(struct life *life)
{
    append(life, 0, 5);
    append(life, 0, 60);
    append(life, 0, 100);
    set_any(life, 0, 1);
    append(life, 0, 50);
}

/* Into space that was freed since the checkpoint. */
static void work_bulk_after_cut(struct life *life)
{
    append(life, 0, 80);
    checkpoint(life, 0);
    set_any(life, 0, 3);
    set_count(life, 0, 20);
    append(life, 0, 70);
    set_count(life, 0, 9);
    set_any(life, 0, 2);
    append(life, 0, 90);
}

static void work_set(struct life *life)
{
    append(life, 0, 40);
    for (unsigned i = 0; i < 12; i++)
        set_any(life, 0, 1 + i % 3);
}

static void work_set_count(struct life *life)
{
    append(life, 0, 30);
    set_count(life, 0, 12);
    set_count(life, 0, 35);
    set_any(life, 0, 2);
    set_count(life, 0, 33);
    set_count(life, 0, 0);
    set_count(life, 0, 20);
    append(life, 0, 3);
}

/* All sizes up to what the ring takes, so that it is emptied at many places. */
static void work_txn(struct life *life)
{
    append(life, 0, 60);
    for (size_t n = 1; n <= 48; n += 4)
        set_any(life, 0, n);
    mixed_txn(life, 0, 50, 58, 3);
    mixed_txn(life, 0, 10, 40, 1);
    mixed_txn(life, 0, 41, 41, 9);
}

/* Many laps of a small ring. */
static void work_wrap(struct life *life)
{
    static const size_t sizes[] = { 1, 20, 1, 40, 28, 1, 1, 1, 24, 12, 50, 1 };

    append(life, 0, 50);
    for (unsigned i = 0; i < 2 * sizeof(sizes) / sizeof(sizes[0]); i++)
        set_any(life, 0, sizes[i % 12]);
}

/* Entries of a page to the byte: head in the middle of the four pages of the ring, tail round to it. */
static void work_wrap_exact(struct life *life)
{
    uint64_t indexes[24];

    append(life, 0, 30);
    reopen(life, 0);
    for (unsigned i = 0; i < 24; i++)
        indexes[i] = i;
    for (unsigned i = 0; i < 12; i++) {
        set_some(life, 0, indexes, 24);
        if (i == 1)
            checkpoint(life, 0);
    }
}

static void work_growth(struct life *life)
{
    append(life, 0, 10);
    append(life, 0, 30);
    set_any(life, 0, 2);
    reserve(life, 0, 300);
    append(life, 0, 5);
    set_count(life, 0, 400);
    set_any(life, 0, 3);
    append(life, 0, 200);
}

static void work_resize(struct life *life)
{
    append(life, 0, 20);
    set_any(life, 0, 2);
    resize(life, 300, 32768);
    set_any(life, 0, 2);
    append(life, 0, 4);
    resize(life, 64, 16384);
    set_any(life, 0, 1);
}

static void work_checkpoint(struct life *life)
{
    append(life, 0, 30);
    for (unsigned i = 0; i < 4; i++) {
        set_any(life, 0, 2);
        set_any(life, 0, 1);
        checkpoint(life, 0);
    }
    set_any(life, 0, 1);
    reopen(life, 0);
    set_any(life, 0, 2);
}

static void work_recovery(struct life *life)
{
    append(life, 0, 30);
    for (unsigned i = 0; i < 3; i++) {
        set_any(life, 0, 3);
        set_any(life, 0, 1);
        set_count(life, 0, last(life)->count - 2);
        die_and_recover(life, 0);
        set_any(life, 0, 1);
    }
}

/* Two processes take turns. */
static void work_two(struct life *life)
{
    append(life, 0, 30);
    open_second(life);
    for (unsigned i = 0; i < 10; i++)
        set_any(life, i % 2, 1 + i % 4);
    append(life, 1, 3);
    set_count(life, 0, 25);
    checkpoint(life, 1);
    set_any(life, 0, 2);
    append(life, 1, 60);
    set_any(life, 0, 1);
    checkpoint(life, 0);
    set_any(life, 1, 1);
}

static void work_two_grow(struct life *life)
{
    append(life, 0, 10);
    open_second(life);
    append(life, 1, 40);
    set_any(life, 0, 2);
    append(life, 0, 90);
    set_any(life, 1, 40);
    set_any(life, 0, 44);
    set_any(life, 1, 30);
    set_count(life, 1, 300);
    set_any(life, 0, 3);
}

/* One of two dies between calls, and the other goes on. */
static void work_two_die(struct life *life)
{
    append(life, 0, 30);
    open_second(life);
    set_any(life, 1, 2);
    die_and_recover(life, 0);
    set_any(life, 0, 1);
    set_any(life, 1, 1);
    die_and_recover(life, 1);
    set_any(life, 1, 2);
    checkpoint(life, 0);
    set_any(life, 1, 1);
}

/* Commits that are synced in groups: by a durable one, by asking, in time, at the end of the ring, at close. */
static void work_async(struct life *life)
{
    append(life, 0, 30);
    for (unsigned i = 0; i < 4; i++) {
        life->is_async = true;
        for (unsigned k = 0; k < 4; k++)
            set_any(life, 0, 1 + k % 3);
        append_in_txn(life, 0, 2);
        if (i == 0)
            sync_all(life, 0);
        if (i == 1)
            tick(life, 0);
        life->is_async = false;
        if (i == 2)
            set_any(life, 0, 1);
        if (i == 3)
            reopen(life, 0);
    }
    life->is_async = true;
    for (unsigned k = 0; k < 30; k++)
        set_any(life, 0, 1 + k % 5);
    life->is_async = false;
    set_count(life, 0, 20);
    life->is_async = true;
    set_any(life, 0, 2);
    append_in_txn(life, 0, 3);
    checkpoint(life, 0);
    set_any(life, 0, 2);
    die_and_recover(life, 0);
    set_any(life, 0, 1);
    append_in_txn(life, 0, 120);
    set_any(life, 0, 1);
}

static void work_async_two(struct life *life)
{
    append(life, 0, 30);
    open_second(life);
    for (unsigned i = 0; i < 6; i++) {
        life->is_async = i % 3 != 2;
        set_any(life, i % 2, 1 + i % 3);
        set_any(life, i % 2, 2);
        set_any(life, i / 2 % 2, 1);
    }
    life->is_async = true;
    set_any(life, 0, 1);
    append_in_txn(life, 1, 2);
    set_any(life, 1, 1);
    die_and_recover(life, 1);
    set_any(life, 0, 2);
    set_any(life, 1, 2);
    die_and_recover(life, 1);
    set_any(life, 1, 1);
    sync_all(life, 0);
    set_any(life, 0, 1);
    set_any(life, 0, 1);
}

/* name, bytes of a record, capacity, bytes of the ring, flags, what it does */
const struct work works[] = {
    { "create", 96, 64, 16384, 0, work_create },
    { "append", 96, 200, 16384, 0, work_append },
    { "bulk", 120, 400, 16384, 0, work_bulk },
    { "bulk_after_cut", 120, 400, 16384, 0, work_bulk_after_cut },
    { "set", 64, 100, 16384, 0, work_set },
    { "set_large", 1500, 60, 16384, 0, work_set },
    { "set_count", 200, 64, 16384, 0, work_set_count },
    { "txn", 160, 100, 16384, 0, work_txn },
    { "wrap", 150, 100, 16384, 0, work_wrap },
    { "wrap_exact", 163, 64, 16384, 0, work_wrap_exact },
    { "growth", 120, 10, 16384, 0, work_growth },
    { "growth_sparse", 120, 10, 16384, STELE_SPARSE, work_growth },
    { "resize", 96, 30, 16384, 0, work_resize },
    { "checkpoint", 96, 64, 16384, 0, work_checkpoint },
    { "recovery", 96, 64, 16384, 0, work_recovery },
    { "async", 96, 64, 16384, STELE_NO_THREADS, work_async },
    { "async_two", 96, 64, 16384, STELE_NO_THREADS, work_async_two },
    { "two", 96, 200, 16384, 0, work_two },
    { "two_grow", 160, 20, 16384, 0, work_two_grow },
    { "two_die", 96, 64, 16384, 0, work_two_die },
};
const size_t work_count = sizeof(works) / sizeof(works[0]);

/* ---- the whole ---- */

void life_begin(struct life *life, const struct work *work, uint64_t seed, struct sim_log *log)
{
    sim_reset(seed);
    *life = (struct life){ .work = work, .log = log, .processes = { 0, 1 }, .chance = seed, .created = SIZE_MAX };
    sim.log = log;
}

void life_run(struct life *life)
{
    sim_watch_calls(1000000, 0);
    life_create(life);
    if (!life->stopped && life->after_create)
        life->after_create(life);
    if (!life->stopped)
        life->work->run(life);
    sim_notice();
    sim_watch_calls(0, 0);
}

void life_done(struct life *life)
{
    for (unsigned i = 0; i < LIFE_HANDLES; i++) {
        if (life->handles[i])
            life_kill(life, i);
    }
    for (size_t i = 0; i < life->state_count; i++)
        free(life->states[i].records);
    life->state_count = 0;
    sim.log = NULL;
}
