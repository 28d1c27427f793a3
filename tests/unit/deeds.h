/*
 * What the suites of failures do to a store, each deed a function, and what must be in it before and after.
 */
#ifndef DEEDS_H
#define DEEDS_H

#include "scratch.h"

enum { RECORD_BYTES = 64, FILLED = 100, CAPACITY = 2000, ROOM = 4500, RING_BYTES = 16 * KIB, BULK = 1500 };

/* Which edition each record has; 0: zeros. */
struct state {
    uint64_t count;
    uint8_t ages[ROOM];
};

static struct {
    struct stele *store;
    struct state sure, wanted; /* what was acknowledged; what the last call was to make of it */
    uint64_t sequence; /* of the last commit, acknowledged or in doubt */
} bench;

static uint8_t deed_records[ROOM * RECORD_BYTES], deed_found[ROOM * RECORD_BYTES];

static inline void bench_age(uint64_t first, uint64_t count, uint8_t age)
{
    for (uint64_t i = 0; i < count; i++) {
        uint8_t *record = deed_records + i * RECORD_BYTES;

        bench.wanted.ages[first + i] = age;
        memset(record, 0, RECORD_BYTES);
        if (age)
            fill_record(record, RECORD_BYTES, first + i, age);
    }
}

/* Of a call that came back with @rc. */
static inline int bench_note(int rc)
{
    if (rc == STELE_OK)
        bench.sure = bench.wanted;
    return rc;
}

static inline bool bench_is(struct stele *store, const struct state *state)
{
    uint8_t record[RECORD_BYTES];

    if (stele_count(store) != state->count)
        return false;
    REQUIRE(stele_read(store, 0, (size_t)state->count, deed_found) == STELE_OK);
    for (uint64_t i = 0; i < state->count; i++) {
        memset(record, 0, sizeof(record));
        if (state->ages[i])
            fill_record(record, RECORD_BYTES, i, state->ages[i]);
        if (memcmp(record, deed_found + i * RECORD_BYTES, RECORD_BYTES) != 0)
            return false;
    }
    return true;
}

/* ---- the deeds ---- */

static inline int commit_one(uint64_t index, uint8_t age)
{
    struct stele_txn *txn = NULL;

    bench.wanted = bench.sure;
    bench_age(index, 1, age);
    int rc = stele_begin(bench.store, &txn);
    if (rc)
        return rc;
    rc = stele_txn_set(txn, index, deed_records);
    if (!rc)
        return bench_note(stele_commit(txn, STELE_DURABLE, &bench.sequence));
    stele_abort(txn);
    return rc;
}

static inline int set_one(void)
{
    return commit_one(7, 2);
}

static inline int set_until_the_ring_is_emptied(void)
{
    int rc = STELE_OK;

    for (uint64_t i = 0; i < 9 && !rc; i++)
        rc = commit_one(i * 11, 3);
    return rc;
}

static inline int set_many(void)
{
    uint64_t indexes[30];

    bench.wanted = bench.sure;
    for (uint64_t i = 0; i < COUNT_OF(indexes); i++)
        indexes[i] = 20 + i;
    bench_age(20, COUNT_OF(indexes), 4);
    return bench_note(stele_set_many(bench.store, indexes, COUNT_OF(indexes), deed_records));
}

static inline int append(uint64_t count)
{
    bench.wanted = bench.sure;
    bench.wanted.count += count;
    bench_age(bench.sure.count, count, 5);
    return bench_note(stele_append(bench.store, deed_records, (size_t)count, NULL));
}

static inline int append_few(void)
{
    return append(5);
}

static inline int append_in_bulk(void)
{
    return append(BULK);
}

static inline int append_beyond_the_capacity(void)
{
    return append(CAPACITY + 1000);
}

static inline int set_count(uint64_t count)
{
    bench.wanted = bench.sure;
    for (uint64_t i = bench.sure.count; i < count; i++)
        bench.wanted.ages[i] = 0;
    bench.wanted.count = count;
    return bench_note(stele_set_count(bench.store, count));
}

static inline int cut(void)
{
    return set_count(40);
}

static inline int raise_the_count(void)
{
    return set_count(BULK);
}

static inline int cut_and_append_in_bulk(void)
{
    int rc = cut();

    return rc ? rc : append_in_bulk();
}

static inline int reserve(void)
{
    return stele_reserve(bench.store, 3 * CAPACITY);
}

static inline int empty_the_ring(void)
{
    return stele_checkpoint(bench.store);
}

static inline int close_it(void)
{
    struct stele *store = bench.store;

    bench.store = NULL;
    return stele_close(store);
}

static const struct deed {
    const char *name;
    int (*make)(void);
} deeds[] = {
    { "set", set_one },
    { "sets that empty the ring", set_until_the_ring_is_emptied },
    { "set_many", set_many },
    { "append", append_few },
    { "bulk append", append_in_bulk },
    { "bulk append that grows", append_beyond_the_capacity },
    { "cut", cut },
    { "raise", raise_the_count },
    { "cut, bulk append", cut_and_append_in_bulk },
    { "reserve", reserve },
    { "checkpoint", empty_the_ring },
    { "close", close_it },
};

/* ---- the store that each begins with ---- */

static char deed_base[128];

/* Make the store that each run starts from a copy of. */
static inline void bench_make_base(uint32_t flags)
{
    struct stele *store = create_store(RECORD_BYTES, CAPACITY, RING_BYTES, flags);

    assert_store(store);
    memset(&bench, 0, sizeof(bench));
    bench.wanted.count = FILLED;
    bench_age(0, FILLED, 1);
    assert_ok(bench_note(stele_append(store, deed_records, FILLED, NULL)));
    assert_ok(stele_close(store));
    snprintf(deed_base, sizeof(deed_base), "%s/base", scratch_folder);
    copy_file(scratch_path, deed_base);
}

/* A handle on a fresh copy, with an entry in its ring; *@out_other: a second one, which committed too. */
static inline void bench_open(struct stele **out_other)
{
    struct stele *other = NULL;

    copy_file(deed_base, scratch_path);
    memset(&bench, 0, sizeof(bench));
    bench.sure.count = FILLED;
    memset(bench.sure.ages, 1, FILLED);
    bench.wanted = bench.sure;
    if (out_other) {
        other = bench.store = open_store(STELE_READ_WRITE);
        assert_store(other);
        assert_ok(commit_one(90, 6));
        *out_other = other;
    }
    bench.store = open_store(STELE_READ_WRITE);
    assert_store(bench.store);
    assert_ok(commit_one(91, 6));
}

/*
 * Everything is there, through a handle that is opened for it, and nothing is damaged: in the eyes of the next one,
 * because the first tells of a header slot that it found half written and mended.
 */
static inline void bench_judge(const char *name, unsigned at, const struct state *state)
{
    struct stele *store = open_store(STELE_READ_WRITE);

    assert_store(store);
    if (!bench_is(store, state))
        fail_msg("%s, %u: records differ", name, at);
    assert_ok(stele_close(store));
    store = open_store(STELE_READ_WRITE);
    assert_store(store);
    assert_verifies(store);
    assert_ok(stele_close(store));
}

#endif
