#include "judge.h"

#include "bits.h"
#include "format.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char judge_why[1024];

#define WRONG(...) (snprintf(judge_why, sizeof(judge_why), __VA_ARGS__), false)

struct judge_range judge_range(const struct life *life, size_t event_count, bool is_death)
{
    struct judge_range range = { .may_be_absent = life->created > event_count };

    for (size_t i = 0; i < life->state_count; i++) {
        if ((is_death ? life->states[i].acked : life->states[i].durable) <= event_count)
            range.first = i;
        if (life->states[i].begun < event_count || i == 0)
            range.end = i + 1;
    }
    return range;
}

static bool is_state(const struct life *life, const struct life_state *state, uint64_t count, const uint8_t *records)
{
    return state->count == count && memcmp(state->records, records, (size_t)(count * life->work->record_bytes)) == 0;
}

static bool find_state(const struct life *life, const struct judge_range *range, uint64_t count,
                       const uint8_t *records, size_t *out_state)
{
    for (size_t i = range->end; i-- > range->first;) {
        if (is_state(life, &life->states[i], count, records)) {
            *out_state = i;
            return true;
        }
    }
    for (size_t i = 0; i < life->state_count; i++) {
        if (is_state(life, &life->states[i], count, records))
            return WRONG("it is in state %zu, of %zu to %zu", i, range->first, range->end - 1);
    }
    return WRONG("%" PRIu64 " records that are none of the states %zu to %zu", count, range->first, range->end - 1);
}

/* What is there it says is there, and what is not, not. */
static bool is_outcome_right(const struct life *life, const struct judge_range *range, struct stele *store,
                             size_t found)
{
    for (size_t i = range->first; i < range->end; i++) {
        const struct life_state *state = &life->states[i];
        int wanted = i <= found ? STELE_OK : STELE_E_ABSENT, rc;

        if (!state->sequence)
            continue;
        rc = stele_outcome(store, state->sequence);
        if (rc != wanted && !(rc == STELE_E_BUSY && range->is_undecided && i > found))
            return WRONG("commit %" PRIu64 " %s there, but stele_outcome says %d: %s", state->sequence,
                         wanted ? "is not" : "is", rc, rc ? stele_last_error()->text : "");
    }
    return true;
}

bool judge_store(const struct life *life, const struct judge_range *range, struct stele *store, size_t *out_state)
{
    static uint8_t records[LIFE_BYTES_MAX];
    uint64_t count = stele_count(store);
    int rc;

    *out_state = SIZE_MAX;
    if (count * life->work->record_bytes > LIFE_BYTES_MAX)
        return WRONG("%" PRIu64 " records", count);
    rc = count ? stele_read(store, 0, (size_t)count, records) : STELE_OK;
    if (rc == STELE_E_BUSY && range->is_undecided)
        return true;
    if (rc)
        return WRONG("records cannot be read: %s", stele_last_error()->text);
    return find_state(life, range, count, records, out_state) && is_outcome_right(life, range, store, *out_state);
}

bool judge_verifies(struct stele *store, uint32_t allowed)
{
    struct stele_verify_report report = STELE_VERIFY_REPORT_INIT;
    int rc = stele_verify(store, NULL, &report);

    if (rc == STELE_OK || (rc == STELE_E_DAMAGED && report.damaged_count == 0 && !(report.file_damage & ~allowed)))
        return true;
    return WRONG("verify: %s (%" PRIu64 " blocks, file damage %#x)", stele_last_error()->text, report.damaged_count,
                 (unsigned)report.file_damage);
}

static bool is_not_there(const struct judge_range *range, int rc, size_t *out_state)
{
    *out_state = SIZE_MAX;
    if (range->may_be_absent && (rc == STELE_E_ABSENT || rc == STELE_E_FORMAT))
        return true;
    return WRONG("it cannot be opened: %s", stele_last_error()->text);
}

static bool look_by_reading(const struct life *life, const struct judge_range *range, uint32_t allowed,
                            size_t *out_state)
{
    struct stele *store = NULL;
    bool is_right;
    int rc = stele_open(LIFE_PATH, NULL, &store);

    if (rc)
        return is_not_there(range, rc, out_state);
    is_right = judge_store(life, range, store, out_state) && judge_verifies(store, allowed);
    (void)stele_close(store);
    return is_right;
}

/* One commit more, beyond the capacity now and then, so that what an earlier life left shows. */
static bool go_on(const struct life *life, const struct judge_range *range, struct stele *store, size_t found)
{
    static uint8_t records[LIFE_BYTES_MAX];
    const struct life_state *state = &life->states[found];
    size_t record_bytes = life->work->record_bytes;
    uint64_t count = state->count + 40 + life->work->capacity / 2;
    uint64_t was = state->count;

    count = stele_min(count, LIFE_BYTES_MAX / record_bytes);
    if (stele_set_count(store, count) || (was && stele_set(store, was / 2, state->records)))
        return WRONG("a commit after it: %s", stele_last_error()->text);
    if (stele_read(store, 0, (size_t)count, records))
        return WRONG("records after it: %s", stele_last_error()->text);
    for (uint64_t i = 0; i < count; i++) {
        const uint8_t *record = records + i * record_bytes;
        bool is_right = i == was / 2 && was ? memcmp(record, state->records, record_bytes) == 0
                        : i < was ? memcmp(record, state->records + i * record_bytes, record_bytes) == 0
                                  : stele_is_zero(record, record_bytes);
        if (!is_right)
            return WRONG("record %" PRIu64 " after one more commit", i);
    }
    /* What was lost stays lost, whatever is committed since. */
    return is_outcome_right(life, range, store, found) && judge_verifies(store, 0);
}

#define SLOTS (STELE_FILE_DAMAGE_SLOT_A | STELE_FILE_DAMAGE_SLOT_B)

/* Open for writing; with @is_dying the process ends without a word. */
static bool look_by_writing(const struct life *life, const struct judge_range *range, bool is_dying, bool goes_on,
                            size_t *out_state)
{
    struct stele_options options = life_options(life->work);
    struct stele *store = NULL;
    bool is_right;
    int rc;

    options.flags = 0;
    rc = stele_open(LIFE_PATH, &options, &store);
    if (rc)
        return is_not_there(range, rc, out_state);
    /* A handle keeps saying that a slot was torn when it came; who comes after it finds both whole. */
    is_right = judge_store(life, range, store, out_state) && judge_verifies(store, is_dying ? SLOTS : 0);
    if (is_right && goes_on)
        is_right = go_on(life, range, store, *out_state);
    if (is_dying)
        sim.dead |= 1u << sim.process;
    rc = stele_close(store);
    sim.dead &= ~(1u << sim.process);
    if (is_right && !is_dying && rc)
        return WRONG("it cannot be closed: %s", stele_last_error()->text);
    return is_right;
}

/* Either may rot from here: both have to be whole, and the same. */
static bool slots_are_same(void)
{
    const struct sim_file *file = &sim.files[sim_find_name()];

    if (memcmp(file->memory, file->memory + STELE_SLOT_BYTES, STELE_SLOT_BYTES) == 0)
        return true;
    return WRONG("the header slots differ after it was closed");
}

bool judge_image(const struct life *life, const struct judge_range *range, bool goes_on, size_t *out_state)
{
    size_t by_reading = 0, again = 0, closed = 0;

    sim.process = 8;
    sim_watch_calls(200000, 5000000);
    bool is_right = look_by_reading(life, range, SLOTS, &by_reading) &&
                    look_by_writing(life, range, true, false, out_state);
    if (is_right && by_reading != *out_state)
        is_right = WRONG("a reader saw state %zu, recovery made it %zu", by_reading, *out_state);
    if (is_right && *out_state != SIZE_MAX) {
        is_right = look_by_writing(life, range, false, goes_on, &again);
        if (is_right)
            is_right = slots_are_same();
        if (is_right && !goes_on)
            is_right = look_by_reading(life, range, 0, &closed);
        if (is_right && (again != *out_state || (!goes_on && closed != again)))
            is_right = WRONG("recovery made state %zu, once more %zu, closed %zu", *out_state, again, closed);
    }
    sim_watch_calls(0, 0);
    return is_right;
}
