/*
 * Edits: what differs is committed and nothing else, nothing of another's commit is undone, and an edit that is larger
 * than a journal goes in piece by piece, whatever stops it.
 */
#include "guard.h"
#include "scratch.h"
#include "wrap.h"

enum { RECORD_BYTES = 64, COUNT = 4000, PER_BLOCK = 64 };

static uint8_t records[COUNT * RECORD_BYTES] CARRIED; /* what the store is to hold */
static uint8_t found[COUNT * RECORD_BYTES];

/* Where a child ends by itself: at the so-many-th store or sync. */
static unsigned crash_at CARRIED;
static unsigned steps_done;
static unsigned fail_at; /* durable write there; 0: none */
static uint64_t fail_offset, fail_end; /* of the file */

static void step(void)
{
    if (crash_at && ++steps_done == crash_at)
        _exit(9);
}

WRAPPED(int, stele_os_store, const struct stele_os_file *file, uint64_t offset, const void *bytes, size_t byte_count,
        void *view)
{
    step();
    return REAL(stele_os_store)(file, offset, bytes, byte_count, view);
}

WRAPPED(int, stele_os_write_durable, const struct stele_os_file *file, uint64_t offset, const void *bytes,
        size_t byte_count)
{
    step();
    if (fail_at && offset >= fail_offset && offset < fail_end && --fail_at == 0)
        return stele_fail(STELE_E_IO, "no sync, says the test");
    return REAL(stele_os_write_durable)(file, offset, bytes, byte_count);
}

static struct stele *store_of(uint64_t journal_bytes)
{
    struct stele *store = create_store(RECORD_BYTES, COUNT, journal_bytes, 0);

    assert_store(store);
    fill_records(records, RECORD_BYTES, 0, COUNT, 0);
    assert_ok(stele_append(store, records, COUNT, NULL));
    return store;
}

static struct stele_edit *edit_of(struct stele *store, uint64_t first, uint64_t count, unsigned flags)
{
    struct stele_edit *edit = NULL;

    assert_ok(stele_edit_open(store, first, count, flags, &edit));
    assert_memory_equal(stele_edit_records(edit), records + first * RECORD_BYTES, (size_t)count * RECORD_BYTES);
    return edit;
}

/* Give record @index of @edit, which begins at @first, its @age-th edition. */
static void change(struct stele_edit *edit, uint64_t first, uint64_t index, uint64_t age)
{
    fill_record((uint8_t *)stele_edit_records(edit) + (index - first) * RECORD_BYTES, RECORD_BYTES, index, age);
}

static void expect(uint64_t index, uint64_t age)
{
    fill_record(records + index * RECORD_BYTES, RECORD_BYTES, index, age);
}

static void assert_holds(struct stele *store)
{
    assert_u64(stele_count(store), COUNT);
    assert_ok(stele_read(store, 0, COUNT, found));
    assert_memory_equal(found, records, sizeof(records));
}

static void commits(struct stele_edit *edit, uint64_t wanted)
{
    uint64_t count = 99;

    assert_ok(stele_edit_commit(edit, STELE_DURABLE, &count));
    assert_u64(count, wanted);
}

/* ---- what is committed ---- */

static void what_differs_is_committed_and_nothing_else(void **state)
{
    static const struct { uint64_t first, n, changed[4]; } cases[] = {
        { 0, COUNT, { 0, 1, 2000, COUNT - 1 } }, { 5, 1, { 5 } }, { 63, 2, { 63, 64 } }, { 100, 300, { 100, 399 } },
        { COUNT - 1, 1, { COUNT - 1 } }, { 1000, 1000, { UINT64_MAX } },
    };
    struct stele *store = store_of(64 * KIB), *reader = open_store(STELE_READ_ONLY);

    assert_store(reader);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct stele_edit *edit = edit_of(store, cases[i].first, cases[i].n, 0);
        struct stele_view far;
        uint64_t n = 0;
        for (; n < 4 && (n == 0 || cases[i].changed[n]) && cases[i].changed[n] != UINT64_MAX; n++)
            change(edit, cases[i].first, cases[i].changed[n], i + 1);
        assert_holds(reader); /* nobody sees it */
        assert_holds(store);
        assert_ok(stele_view_open(store, 600, 100, &far));
        commits(edit, n);
        assert_int_equal(stele_view_changed(&far), 0); /* what did not differ was not stored */
        stele_view_close(&far);
        for (uint64_t k = 0; k < n; k++)
            expect(cases[i].changed[k], i + 1);
        assert_holds(reader);
    }
    assert_verifies(store);
    assert_ok(stele_close(reader));
    assert_ok(stele_close(store));
    store = open_store(STELE_READ_WRITE);
    assert_store(store);
    assert_holds(store);
    assert_ok(stele_close(store));
}

static void what_is_discarded_is_nowhere(void **state)
{
    struct stele *store = store_of(64 * KIB);
    struct stele_edit *edit = edit_of(store, 0, COUNT, 0);
    struct stele_info before = info_of(store);

    memset(stele_edit_records(edit), 7, sizeof(records));
    stele_edit_discard(edit);
    stele_edit_discard(NULL);
    assert_holds(store);
    commits(edit_of(store, 0, COUNT, 0), 0); /* nothing differs, nothing is written */
    assert_u64(info_of(store).sequence, before.sequence);
    assert_verifies(store);
    assert_ok(stele_close(store));
}

static void records_of_every_size_are_edited(void **state)
{
    static const uint32_t sizes[] = { 1, 7, 100, 4096, 5000, 70000 };
    struct chance chance = chance_begin();

    for (size_t s = 0; s < COUNT_OF(sizes); s++) {
        const size_t bytes = sizes[s], n = bytes > 1000 ? 9 : 9000 / bytes;
        uint8_t *model = malloc(bytes * n), *back = malloc(bytes * n);
        struct stele *store = create_store(sizes[s], n, 0, 0);
        struct stele_edit *edit;
        uint64_t changed = 0;

        REQUIRE(model && back);
        assert_store(store);
        chance_fill(&chance, model, bytes * n);
        assert_ok(stele_append(store, model, n, NULL));
        assert_ok(stele_edit_open(store, 1, n - 2, 0, &edit));
        for (size_t i = 1; i < n - 1; i += 3, changed++) {
            model[i * bytes + bytes - 1] ^= 0x55; /* its last byte */
            ((uint8_t *)stele_edit_records(edit))[(i - 1) * bytes + bytes - 1] ^= 0x55;
        }
        commits(edit, changed);
        assert_verifies(store);
        assert_ok(stele_read(store, 0, n, back));
        assert_memory_equal(back, model, bytes * n);
        assert_ok(stele_close(store));
        REQUIRE(remove(scratch_path) == 0);
        free(model);
        free(back);
    }
}

struct Gappy { uint8_t a; /* and three bytes */ uint32_t b; uint8_t c; /* and three more */ };

static void padding_is_no_difference_and_never_stored(void **state)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele_schema *schema = NULL;
    struct stele *store = NULL;
    struct stele_edit *edit;
    struct Gappy gappy[1000] = { { 0 } }, back[1000];

    int rc = STELE_SCHEMA(&schema, struct Gappy, STELE_FIELD(a), STELE_FIELD(b), STELE_FIELD(c));
    assert_ok(rc);
    options.schema = schema;
    assert_ok(stele_create(scratch_path, &options, &store));
    stele_schema_free(schema);
    assert_ok(stele_append(store, gappy, 1000, NULL));
    assert_ok(stele_edit_open(store, 0, 1000, 0, &edit));
    uint8_t *bytes = stele_edit_records(edit);
    for (size_t i = 0; i < 1000; i++)
        memset(bytes + i * sizeof(struct Gappy) + 1, 0xee, 3);
    commits(edit, 0);
    assert_ok(stele_edit_open(store, 0, 1000, 0, &edit));
    bytes = stele_edit_records(edit);
    for (size_t i = 0; i < 1000; i++) {
        memset(bytes + i * sizeof(struct Gappy) + 1, 0xee, 3);
        if (i % 100 == 7)
            gappy[i].b = ((struct Gappy *)(void *)bytes)[i].b = 5;
    }
    commits(edit, 10);
    assert_ok(stele_read(store, 0, 1000, back));
    assert_memory_equal(back, gappy, sizeof(gappy));
    assert_verifies(store);
    assert_ok(stele_close(store));
}

static void words_of_the_program_s_own_go_with_the_edit(void **state)
{
    struct stele *store = store_of(64 * KIB);
    struct stele_edit *edit = edit_of(store, 0, COUNT, 0);
    uint8_t words[64];

    memset(words, 3, sizeof(words));
    change(edit, 0, 9, 1);
    expect(9, 1);
    assert_ok(stele_edit_user(edit, 41, words));
    stele_edit_discard(edit_of(store, 0, 1, 0));
    assert_u64(info_of(store).user_version, 0);
    commits(edit, 1);
    assert_u64(info_of(store).user_version, 41);
    assert_memory_equal(info_of(store).user, words, sizeof(words));
    edit = edit_of(store, 0, 0, 0);
    assert_null(stele_edit_records(edit));
    assert_ok(stele_edit_user(edit, 42, words));
    commits(edit, 0); /* also without a record */
    assert_u64(info_of(store).user_version, 42);
    assert_holds(store);
    assert_ok(stele_close(store));
}

static void an_asynchronous_edit_is_seen_here_at_once_and_everywhere_after_a_sync(void **state)
{
    static const uint64_t journals[] = { 1 * MIB, 16 * KIB }; /* one piece, many */

    for (size_t i = 0; i < COUNT_OF(journals); i++) {
        struct stele *store = store_of(journals[i]), *second = open_store(STELE_READ_WRITE);
        struct stele_edit *edit = edit_of(store, 0, COUNT, i ? STELE_EDIT_LOCK : 0);
        uint64_t count = 99;
        assert_store(second);
        for (uint64_t k = 0; k < COUNT; k += 2) {
            change(edit, 0, k, 1);
            expect(k, 1);
        }
        assert_ok(stele_edit_commit(edit, STELE_ASYNC, &count));
        assert_u64(count, COUNT / 2);
        assert_holds(store);
        commits(edit_of(store, 0, COUNT, 0), 0); /* it is in what the next one begins with */
        expect(1, 2);
        assert_ok(stele_edit_open(store, 0, COUNT, 0, &edit));
        change(edit, 0, 1, 2);
        assert_ok(stele_edit_commit(edit, STELE_ASYNC, &count));
        assert_ok(stele_sync(store));
        assert_holds(second);
        assert_verifies(store);
        assert_ok(stele_close(second));
        assert_ok(stele_close(store));
        REQUIRE(remove(scratch_path) == 0);
    }
}

/* ---- conflicts ---- */

/* What somebody else commits while record 70 is edited; 64 to 127 are its block. */
enum other { NOTHING, SAME_RECORD, SAME_AGAIN, NEIGHBOUR, NEXT_BLOCK, FAR, APPEND, CUT_FAR, CUT_AND_BACK, CUT_BELOW };

static const struct { const char *name; enum other other; int code; } others[] = {
    { "nothing", NOTHING, STELE_OK },
    { "the same record", SAME_RECORD, STELE_E_CONFLICT },
    { "the same record to what the edit makes it", SAME_AGAIN, STELE_OK },
    { "another record of the block", NEIGHBOUR, STELE_E_CONFLICT },
    { "a record of the next block", NEXT_BLOCK, STELE_OK },
    { "a record far away", FAR, STELE_OK },
    { "a record behind the last", APPEND, STELE_OK },
    { "a cut behind the edit", CUT_FAR, STELE_OK },
    { "a cut, and zeros in its place", CUT_AND_BACK, STELE_E_CONFLICT },
    { "a cut", CUT_BELOW, STELE_E_RANGE },
};

static void do_other(struct stele *store, enum other other)
{
    static const uint64_t indexes[] = { [SAME_RECORD] = 70, [SAME_AGAIN] = 70, [NEIGHBOUR] = 100, [NEXT_BLOCK] = 128,
                                        [FAR] = 900 };

    if (other == NOTHING)
        return;
    if (other == APPEND) {
        assert_ok(stele_append(store, records, 1, NULL));
        return;
    }
    if (other >= CUT_FAR) {
        assert_ok(stele_set_count(store, other == CUT_FAR ? 1200 : 68));
        if (other == CUT_AND_BACK)
            assert_ok(stele_set_count(store, COUNT));
        return;
    }
    expect(indexes[other], other == SAME_AGAIN ? 1 : 2);
    assert_ok(stele_set(store, indexes[other], records + indexes[other] * RECORD_BYTES));
}

/* @when: 0 before record 70 is stored to in the edit, 1 after that. */
static void meet(unsigned which, bool is_own_handle, bool is_late)
{
    struct stele *store = store_of(64 * KIB), *second = open_store(STELE_READ_WRITE);
    struct stele_edit *edit = edit_of(store, 0, 1000, 0);
    uint64_t count = 99, now;
    uint8_t before[RECORD_BYTES], after[RECORD_BYTES];

    assert_store(second);
    if (is_late)
        change(edit, 0, 70, 1);
    do_other(is_own_handle ? store : second, others[which].other);
    if (!is_late)
        change(edit, 0, 70, 1);
    now = stele_count(store);
    if (now > 70)
        assert_ok(stele_get(store, 70, before));
    int rc = stele_edit_commit(edit, STELE_DURABLE, &count);
    if (rc != others[which].code)
        fail_msg("%s, by %s handle, %s: %d (%s)", others[which].name, is_own_handle ? "its own" : "another",
                 is_late ? "after the store" : "before it", rc, stele_last_error()->text);
    assert_u64(stele_count(store), now);
    if (rc) {
        assert_u64(count, 0);
        assert_int_equal(stele_edit_commit(edit, STELE_DURABLE, NULL), rc); /* it stays one */
        stele_edit_discard(edit);
        if (now > 70) {
            assert_ok(stele_get(store, 70, after));
            assert_memory_equal(after, before, RECORD_BYTES);
        }
    } else {
        expect(70, 1);
        assert_u64(count, others[which].other != SAME_AGAIN);
        assert_ok(stele_read(second, 0, (size_t)stele_min(now, COUNT), found));
        assert_memory_equal(found, records, (size_t)stele_min(now, COUNT) * RECORD_BYTES);
    }
    assert_verifies(store);
    assert_ok(stele_close(second));
    assert_ok(stele_close(store));
    REQUIRE(remove(scratch_path) == 0);
}

static void another_s_commit_is_never_undone(void **state)
{
    for (unsigned i = 0; i < COUNT_OF(others); i++) {
        for (unsigned way = 0; way < 4; way++)
            meet(i, way & 1, way & 2);
    }
}

static void a_conflict_in_one_block_keeps_all_of_the_edit_out(void **state)
{
    struct stele *store = store_of(64 * KIB);
    struct stele_edit *edit = edit_of(store, 0, COUNT, 0);
    uint64_t count = 99;

    for (uint64_t i = 0; i < COUNT; i++)
        change(edit, 0, i, 1);
    expect(COUNT - 1, 2);
    assert_ok(stele_set(store, COUNT - 1, records + (COUNT - 1) * RECORD_BYTES));
    assert_code(stele_edit_commit(edit, STELE_DURABLE, &count), STELE_E_CONFLICT);
    assert_says("records 3968 to 3999");
    assert_u64(count, 0);
    assert_holds(store);
    stele_edit_discard(edit);
    assert_ok(stele_close(store));
}

/*
 * Another process commits all the time, whole blocks at once: all words of a record but the first, which only edits
 * change, count how often.
 */
enum { RACED = 512, WORDS = RECORD_BYTES / 8 };

static uint64_t raced_index(uint64_t number, uint64_t i) { return (number * 37 + i) % RACED; }

static void race(void *context)
{
    struct stele *store = open_store(STELE_READ_WRITE);
    char byte;

    REQUIRE(store);
    parent_tell("x", 1);
    for (uint64_t number = 1; number < 100000; number++) {
        struct stele_txn *txn;
        REQUIRE(stele_begin(store, &txn) == STELE_OK);
        for (uint64_t i = 0; i < 2 * PER_BLOCK; i++) {
            uint64_t words[WORDS];
            REQUIRE(stele_txn_get(txn, raced_index(number, i), words) == STELE_OK);
            for (unsigned w = 1; w < WORDS; w++)
                words[w]++;
            REQUIRE(stele_txn_set(txn, raced_index(number, i), words) == STELE_OK);
        }
        REQUIRE(stele_commit(txn, STELE_DURABLE, NULL) == STELE_OK);
        stele_os_sleep_us(number % 16 * 100);
        if (number % 8 == 0) {
            parent_tell("x", 1);
            REQUIRE(parent_hear(&byte, 1));
            if (byte == 'q')
                break;
        }
    }
    REQUIRE(stele_close(store) == STELE_OK);
}

static void edits_beside_a_busy_writer_lose_nothing_and_tear_nothing(void **state)
{
    static uint64_t words[RACED][WORDS];
    uint64_t wanted[RACED] = { 0 }, raced[RACED] = { 0 };
    struct chance chance = chance_begin();
    struct stele *store = create_store(RECORD_BYTES, RACED, 256 * KIB, 0);
    unsigned good = 0, conflicts = 0, rounds = scaled(60, 10);
    char byte;

    assert_store(store);
    assert_ok(stele_append(store, words, RACED, NULL));
    struct child child = child_start(race, NULL);
    assert_true(child_hear(&child, &byte, 1));
    for (unsigned round = 0; round < rounds; round++) {
        for (unsigned tries = 0; tries < 8; tries++) {
            struct stele_edit *edit;
            uint64_t first = chance_below(&chance, RACED - 8);
            unsigned flags = tries == 7 ? STELE_EDIT_LOCK : 0;
            assert_ok(stele_edit_open(store, first, 8, flags, &edit));
            uint64_t *edited = stele_edit_records(edit);
            for (unsigned i = 0; i < 8; i++) {
                edited[i * WORDS] += 1;
                if (i == 3 && !flags)
                    stele_os_sleep_us(chance_below(&chance, 400));
            }
            int rc = stele_edit_commit(edit, STELE_DURABLE, NULL);
            for (unsigned i = 0; i < 8 && !rc; i++)
                wanted[first + i]++;
            good += !rc;
            conflicts += rc == STELE_E_CONFLICT;
            if (rc) {
                assert_int_equal(rc, STELE_E_CONFLICT);
                assert_false(flags);
                stele_edit_discard(edit);
            }
        }
        assert_true(child_hear(&child, &byte, 1));
        child_tell(&child, "g", 1);
    }
    assert_true(child_hear(&child, &byte, 1));
    child_tell(&child, "q", 1);
    assert_int_equal(child_end(&child), 0);
    print_message("%u edits, %u conflicts\n", good, conflicts);
    assert_ok(stele_read(store, 0, RACED, words));
    for (uint64_t number = 1; number <= 8 * (rounds + 1); number++) {
        for (uint64_t i = 0; i < 2 * PER_BLOCK; i++)
            raced[raced_index(number, i)]++;
    }
    for (unsigned i = 0; i < RACED; i++) {
        assert_u64(words[i][0], wanted[i]);
        for (unsigned w = 1; w < WORDS; w++)
            assert_u64(words[i][w], raced[i]);
    }
    assert_verifies(store);
    assert_ok(stele_close(store));
}

/* ---- larger than half a journal ---- */

static void all_changed(struct stele_edit *edit)
{
    for (uint64_t i = 0; i < COUNT; i++)
        change(edit, 0, i, 1);
}

/* How many of the first records are as edited; the others must be as before. */
static uint64_t edited_count(struct stele *store)
{
    uint8_t was[RECORD_BYTES], is[RECORD_BYTES];
    uint64_t count = 0;

    assert_ok(stele_read(store, 0, COUNT, found));
    for (uint64_t i = 0; i < COUNT; i++) {
        fill_record(was, RECORD_BYTES, i, 0);
        fill_record(is, RECORD_BYTES, i, 1);
        if (count == i && memcmp(found + i * RECORD_BYTES, is, RECORD_BYTES) == 0)
            count++;
        else
            assert_memory_equal(found + i * RECORD_BYTES, was, RECORD_BYTES);
    }
    return count;
}

static void what_is_larger_than_half_a_journal_goes_in_pieces(void **state)
{
    struct stele *store = store_of(16 * KIB);
    struct stele_edit *edit = edit_of(store, 0, COUNT, 0);
    uint64_t sequence = info_of(store).sequence;

    all_changed(edit);
    commits(edit, COUNT);
    assert_u64(edited_count(store), COUNT);
    /* 250 KiB in entries of at most 8. */
    assert_in_range(info_of(store).sequence - sequence, 32, 40);
    assert_verifies(store);
    assert_ok(stele_close(store));
}

static void damage_in_the_middle_stops_it_and_says_how_far_it_got(void **state)
{
    struct stele *store = store_of(16 * KIB);
    const uint64_t offset = info_of(store).records_offset + 2000 * RECORD_BYTES;
    uint8_t byte = (uint8_t)(records[2000 * RECORD_BYTES] ^ 1);
    uint64_t count = 99, more = 99;

    assert_ok(stele_close(store));
    poke(scratch_path, offset, &byte, 1);
    store = open_store(STELE_READ_WRITE);
    assert_store(store);
    struct stele_edit *edit = NULL;
    assert_ok(stele_edit_open(store, 0, COUNT, 0, &edit));
    all_changed(edit);
    assert_code(stele_edit_commit(edit, STELE_DURABLE, &count), STELE_E_DAMAGED);
    assert_in_range(count, 1800, 1984);
    assert_code(stele_edit_commit(edit, STELE_DURABLE, &more), STELE_E_DAMAGED);
    assert_u64(more, 0);
    stele_edit_discard(edit);
    assert_ok(stele_close(store));
    byte ^= 1;
    poke(scratch_path, offset, &byte, 1);
    store = open_store(STELE_READ_WRITE);
    assert_store(store);
    assert_u64(edited_count(store), count);
    assert_ok(stele_edit_open(store, 0, COUNT, 0, &edit));
    all_changed(edit);
    commits(edit, COUNT - count);
    assert_u64(edited_count(store), COUNT);
    assert_verifies(store);
    assert_ok(stele_close(store));
}

/* In an entry, or in a header when the journal is emptied for the next piece. */
static void fail_in_the_middle(bool is_entry, unsigned flags)
{
    struct stele *store = store_of(16 * KIB);
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele_edit *edit = edit_of(store, 0, COUNT, flags);
    uint64_t count = 99;

    all_changed(edit);
    fail_offset = is_entry ? info_of(store).journal_offset : 0;
    fail_end = info_of(store).journal_offset + (is_entry ? info_of(store).journal_bytes : 0);
    fail_at = 5;
    int rc = stele_edit_commit(edit, STELE_DURABLE, &count);
    assert_true(is_entry ? rc == STELE_E_UNKNOWN : rc < 0);
    assert_true(count > 0 && count < COUNT);
    assert_code(stele_edit_commit(edit, STELE_DURABLE, NULL), STELE_E_POISONED);
    stele_edit_discard(edit);
    assert_true(stele_close(store) != STELE_OK);
    options.mode = STELE_READ_WRITE;
    assert_ok(stele_open(scratch_path, &options, &store));
    assert_in_range(edited_count(store), count, COUNT - 1); /* the piece in doubt may be there */
    count = edited_count(store);
    assert_ok(stele_edit_open(store, 0, COUNT, 0, &edit));
    all_changed(edit);
    commits(edit, COUNT - count);
    assert_u64(edited_count(store), COUNT);
    assert_verifies(store);
    assert_ok(stele_close(store));
    REQUIRE(remove(scratch_path) == 0);
}

static void what_failed_in_the_middle_is_committed_again(void **state)
{
    for (unsigned way = 0; way < 4; way++)
        fail_in_the_middle(way & 1, way & 2 ? STELE_EDIT_LOCK : 0);
}

static void an_atomic_edit_is_one_commit_or_none(void **state)
{
    static const struct { uint64_t n; int code; } cases[] = { { 1, 0 }, { 100, 0 }, { 150, 0 }, { 300, STELE_E_TOO_BIG },
                                                              { COUNT, STELE_E_TOO_BIG } };
    struct stele *store = store_of(16 * KIB);

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct stele_edit *edit = edit_of(store, 0, COUNT, STELE_EDIT_ATOMIC);
        uint64_t sequence = info_of(store).sequence, count = 99;
        for (uint64_t k = 0; k < cases[i].n; k++)
            change(edit, 0, k, i + 1);
        assert_code(stele_edit_commit(edit, STELE_DURABLE, &count), cases[i].code);
        assert_u64(count, cases[i].code ? 0 : cases[i].n);
        assert_u64(info_of(store).sequence, sequence + (cases[i].code ? 0 : 1));
        for (uint64_t k = 0; k < count; k++)
            expect(k, i + 1);
        if (cases[i].code) {
            assert_says("stele resize");
            stele_edit_discard(edit);
        }
        assert_holds(store);
    }
    assert_verifies(store);
    assert_ok(stele_close(store));
}

static void edit_and_die(void *context)
{
    struct stele *store = open_store(STELE_READ_WRITE);
    struct stele_edit *edit = NULL;

    REQUIRE(store && stele_edit_open(store, 0, COUNT, 0, &edit) == STELE_OK);
    all_changed(edit);
    steps_done = 0;
    REQUIRE(stele_edit_commit(edit, STELE_DURABLE, NULL) == STELE_OK);
    crash_at = 0;
    REQUIRE(stele_close(store) == STELE_OK);
}

static void each_record_is_old_or_new_at_every_crash(void **state)
{
    struct chance chance = chance_begin();
    unsigned inside = 0, crashes = scaled(24, 3);
    int code;

    for (unsigned i = 0; i < crashes; i++) {
        assert_ok(stele_close(store_of(16 * KIB)));
        crash_at = 1 + (unsigned)chance_below(&chance, 300);
        code = exit_of_child(edit_and_die, NULL);
        crash_at = 0;
        assert_true(code == 9 || code == 0);
        struct stele *store = open_store(STELE_READ_WRITE);
        assert_store(store);
        assert_verifies(store);
        uint64_t count = edited_count(store);
        inside += count > 0 && count < COUNT;
        assert_true(code == 9 || count == COUNT);
        /* It is finished by doing it again. */
        struct stele_edit *edit = NULL;
        assert_ok(stele_edit_open(store, 0, COUNT, 0, &edit));
        all_changed(edit);
        commits(edit, COUNT - count);
        assert_u64(edited_count(store), COUNT);
        assert_verifies(store);
        assert_ok(stele_close(store));
        REQUIRE(remove(scratch_path) == 0);
    }
    print_message("%u crashes, %u between pieces\n", crashes, inside);
    assert_true(inside > 0 || crashes < 20);
}

/* ---- the turn, the budget, what is refused ---- */

static void a_lock_keeps_others_out_until_the_edit_ends(void **state)
{
    struct stele *store = store_of(64 * KIB), *second = open_store(STELE_READ_WRITE);

    assert_store(second);
    for (int is_discarded = 0; is_discarded < 2; is_discarded++) {
        struct stele_edit *edit = edit_of(store, 0, COUNT, STELE_EDIT_LOCK), *more;
        struct stele_txn *txn;
        change(edit, 0, 9, 1);
        assert_code(stele_set(second, 500, records), STELE_E_BUSY);
        assert_code(stele_edit_open(second, 0, 1, 0, &more), STELE_E_BUSY);
        assert_code(stele_begin(store, &txn), STELE_E_BUSY);
        assert_ok(stele_get(second, 9, found));
        if (is_discarded) {
            stele_edit_discard(edit);
        } else {
            commits(edit, 1);
            expect(9, 1);
        }
        expect(500, (uint64_t)is_discarded + 3);
        assert_ok(stele_set(second, 500, records + 500 * RECORD_BYTES));
        assert_holds(store);
    }
    /* After an error too. */
    struct stele_edit *edit = edit_of(store, 0, COUNT, STELE_EDIT_LOCK | STELE_EDIT_ATOMIC);
    all_changed(edit);
    assert_code(stele_edit_commit(edit, STELE_DURABLE, NULL), STELE_E_TOO_BIG);
    assert_code(stele_set(second, 500, records), STELE_E_BUSY);
    stele_edit_discard(edit);
    assert_ok(stele_set(second, 500, records + 500 * RECORD_BYTES));
    assert_ok(stele_close(second));
    assert_ok(stele_close(store));
}

enum { LARGE = 4096, LARGE_COUNT = 4096 }; /* 16 MiB */

static void an_edit_is_counted_and_a_range_beyond_the_budget_goes_piece_by_piece(void **state)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store = create_store(LARGE, LARGE_COUNT, 256 * KIB, STELE_SPARSE);
    struct stele_edit *edit, *second;
    static uint8_t record[LARGE];

    assert_store(store);
    assert_ok(stele_set_count(store, LARGE_COUNT));
    assert_ok(stele_close(store));
    options.mode = STELE_READ_WRITE;
    options.max_mapped_bytes = 4 * MIB;
    assert_ok(stele_open(scratch_path, &options, &store));
    assert_code(stele_edit_open(store, 0, LARGE_COUNT, 0, &edit), STELE_E_FULL);
    assert_says("max_mapped_bytes");
    assert_ok(stele_edit_open(store, 0, 640, 0, &edit));
    assert_code(stele_edit_open(store, 640, 640, 0, &second), STELE_E_FULL);
    assert_says("max_mapped_bytes");
    stele_edit_discard(edit);
    for (uint64_t first = 0; first < LARGE_COUNT; first += 512) {
        assert_ok(stele_edit_open(store, first, 512, 0, &edit));
        uint8_t *bytes = stele_edit_records(edit);
        for (uint64_t i = 0; i < 512; i += 64)
            bytes[i * LARGE + 4095] = 7;
        commits(edit, 8);
    }
    for (uint64_t i = 0; i < LARGE_COUNT; i += 32) {
        assert_ok(stele_get(store, i, record));
        assert_int_equal(record[4095], i % 64 ? 0 : 7);
    }
    assert_ok(stele_close(store));
}

static void the_store_may_grow_under_an_edit(void **state)
{
    struct stele *store = store_of(64 * KIB);
    struct stele_edit *edit = edit_of(store, 0, 1000, 0);

    change(edit, 0, 500, 1);
    assert_ok(stele_reserve(store, UINT64_C(100) * COUNT));
    assert_ok(stele_checkpoint(store));
    expect(500, 1);
    commits(edit, 1);
    assert_holds(store);
    assert_verifies(store);
    assert_ok(stele_close(store));
}

static void a_page_that_cannot_be_read_is_a_code(void **state)
{
    const bool is_unreadable = system_may_break();
    struct stele *store = store_of(64 * KIB);
    struct stele_edit *edit = edit_of(store, 0, COUNT, 0);
    uint64_t count = 99;

    system_return_faults();
    change(edit, 0, 5, 1);
    uint8_t *page = (uint8_t *)stele_edit_records(edit) + 128 * KIB;
    REQUIRE(!is_unreadable || system_break(page - (uintptr_t)page % 4096, 4096));
    if (is_unreadable) {
        assert_code(stele_edit_commit(edit, STELE_DURABLE, &count), STELE_E_IO);
        assert_u64(count, 0);
    }
    stele_edit_discard(edit);
    assert_holds(store);
    assert_ok(stele_close(store));
}

static void a_file_that_is_cut_under_an_edit_is_a_code(void **state)
{
    for (unsigned way = 0; way < 4 && system_may_break(); way++) {
        struct stele *store = store_of(64 * KIB);
        struct stele_edit *edit = edit_of(store, 0, COUNT, way & 1 ? STELE_EDIT_LOCK : 0);
        uint64_t count = 99, end = info_of(store).records_offset + (way & 2 ? 0 : 128 * KIB);
        system_return_faults();
        change(edit, 0, 5, 1);
        change(edit, 0, COUNT - 1, 1);
        bool is_cut = system_cut(scratch_path, end);
        int rc = stele_edit_commit(edit, STELE_DURABLE, &count);
        if (rc != (is_cut ? STELE_E_TRUNCATED : STELE_OK))
            fail_msg("way %u: %d (%s)", way, rc, stele_last_error()->text);
        assert_u64(count, is_cut ? 0 : 2);
        if (rc)
            stele_edit_discard(edit);
        (void)stele_close(store);
        REQUIRE(remove(scratch_path) == 0);
    }
}

static void what_cannot_be_an_edit_is_refused(void **state)
{
    static const struct { uint64_t first, n; } ranges[] = {
        { 0, COUNT + 1 }, { COUNT, 1 }, { COUNT + 1, 0 }, { 1, UINT64_MAX }, { UINT64_MAX, 1 }, { UINT64_MAX, UINT64_MAX },
    };
    struct stele *store = store_of(64 * KIB), *reader = open_store(STELE_READ_ONLY);
    struct stele_edit *edit = NULL;
    uint64_t count = 99;

    assert_store(reader);
    for (size_t i = 0; i < COUNT_OF(ranges); i++)
        assert_code(stele_edit_open(store, ranges[i].first, ranges[i].n, 0, &edit), STELE_E_RANGE);
    assert_code(stele_edit_open(NULL, 0, 1, 0, &edit), STELE_E_USAGE);
    assert_code(stele_edit_open(store, 0, 1, 0, NULL), STELE_E_USAGE);
    assert_code(stele_edit_open(store, 0, 1, 4, &edit), STELE_E_USAGE);
    assert_code(stele_edit_open(reader, 0, 1, 0, &edit), STELE_E_READONLY);
    assert_null(edit);
    assert_null(stele_edit_records(NULL));
    assert_code(stele_edit_user(NULL, 1, records), STELE_E_USAGE);
    assert_code(stele_edit_commit(NULL, STELE_DURABLE, &count), STELE_E_USAGE);
    assert_u64(count, 99);
    edit = edit_of(store, 0, 1, 0);
    assert_code(stele_edit_user(edit, 1, NULL), STELE_E_USAGE);
    assert_code(stele_edit_commit(edit, (enum stele_durability)77, NULL), STELE_E_USAGE);
    assert_code(stele_close(store), STELE_E_USAGE);
    assert_says("edits");
    stele_edit_discard(edit);
    assert_ok(stele_close(reader));
    assert_ok(stele_close(store));
}

/* ---- chance ---- */

/* Pages hold records of several blocks, blocks lie in several pages. */
enum { ODD_BYTES = 100, ODD_COUNT = 400, ODD_PER_BLOCK = 32, OPEN_MAX = 4 };

static uint8_t model[ODD_COUNT][ODD_BYTES];
static uint64_t touched[ODD_COUNT]; /* by block: number of the last commit */
static uint64_t commit_number;

static struct open_edit {
    struct stele_edit *edit;
    uint64_t first, n, opened_at;
    uint8_t ages[ODD_COUNT]; /* what was stored last to a record; 0: nothing */
} open_edits[OPEN_MAX];

static void touch(uint64_t index) { touched[index / ODD_PER_BLOCK] = commit_number; }

static void set_some(struct stele *store, struct chance *chance)
{
    uint64_t indexes[3];
    uint8_t images[3][ODD_BYTES];
    size_t n = (size_t)chance_below(chance, 3) + 1;

    commit_number++;
    for (size_t i = 0; i < n; i++) {
        indexes[i] = chance_below(chance, ODD_COUNT);
        fill_record(images[i], ODD_BYTES, indexes[i], chance_next(chance));
        memcpy(model[indexes[i]], images[i], ODD_BYTES);
        touch(indexes[i]);
    }
    for (size_t i = 0; i < n; i++)
        memcpy(images[i], model[indexes[i]], ODD_BYTES); /* one index twice: the last image counts */
    assert_ok(stele_set_many(store, indexes, n, images));
}

static void open_some(struct stele *store, struct open_edit *open, struct chance *chance)
{
    memset(open, 0, sizeof(*open));
    open->first = chance_below(chance, ODD_COUNT);
    open->n = chance_below(chance, ODD_COUNT - open->first) + 1;
    open->opened_at = commit_number;
    assert_ok(stele_edit_open(store, open->first, open->n, 0, &open->edit));
}

static void store_some(struct open_edit *open, struct chance *chance)
{
    uint8_t *records_of_it = stele_edit_records(open->edit);

    for (uint64_t i = chance_below(chance, chance_below(chance, 4) ? 4 : 200); i-- > 0;) {
        uint64_t index = open->first + chance_below(chance, open->n);
        open->ages[index] = (uint8_t)(chance_below(chance, 250) + 1);
        fill_record(records_of_it + (index - open->first) * ODD_BYTES, ODD_BYTES, index, open->ages[index]);
    }
}

/* Whether a commit of @open is to succeed; what differs must be what was stored. */
static bool is_to_succeed(const struct open_edit *open, uint64_t *out_count)
{
    const uint8_t *records_of_it = stele_edit_records(open->edit);
    uint8_t image[ODD_BYTES];
    bool is_touched = false;

    *out_count = 0;
    for (uint64_t i = open->first; i < open->first + open->n; i++) {
        const uint8_t *own = records_of_it + (i - open->first) * ODD_BYTES;
        if (memcmp(own, model[i], ODD_BYTES) == 0)
            continue;
        ++*out_count;
        is_touched = is_touched || touched[i / ODD_PER_BLOCK] > open->opened_at;
        if (is_touched)
            continue;
        fill_record(image, ODD_BYTES, i, open->ages[i]);
        assert_true(open->ages[i] && memcmp(image, own, ODD_BYTES) == 0);
    }
    return !is_touched;
}

static bool commit_some(struct open_edit *open)
{
    static uint8_t now[ODD_COUNT * ODD_BYTES];
    uint64_t wanted, count = 99;
    bool succeeds = is_to_succeed(open, &wanted);

    memcpy(now, stele_edit_records(open->edit), (size_t)open->n * ODD_BYTES);
    assert_code(stele_edit_commit(open->edit, STELE_DURABLE, &count), succeeds ? STELE_OK : STELE_E_CONFLICT);
    assert_u64(count, succeeds ? wanted : 0);
    commit_number++;
    for (uint64_t i = open->first; i < open->first + open->n && succeeds; i++) {
        const uint8_t *own = now + (i - open->first) * ODD_BYTES;
        if (memcmp(own, model[i], ODD_BYTES)) {
            memcpy(model[i], own, ODD_BYTES);
            touch(i);
        }
    }
    if (!succeeds)
        stele_edit_discard(open->edit);
    open->edit = NULL;
    return succeeds;
}

static void edits_at_random_undo_nothing_and_make_nothing_up(void **state)
{
    struct chance chance = chance_begin();
    struct stele *handles[2] = { create_store(ODD_BYTES, ODD_COUNT, 16 * KIB, 0) };
    unsigned good = 0, conflicts = 0;

    assert_store(handles[0]);
    handles[1] = open_store(STELE_READ_WRITE);
    assert_store(handles[1]);
    commit_number = 0;
    memset(touched, 0, sizeof(touched));
    chance_fill(&chance, model, sizeof(model));
    assert_ok(stele_append(handles[0], model, ODD_COUNT, NULL));
    for (unsigned round = 0; round < scaled(3000, 200); round++) {
        struct open_edit *open = &open_edits[chance_below(&chance, OPEN_MAX)];
        struct stele *store = handles[chance_below(&chance, 2)];
        if (chance_below(&chance, 8) == 0) {
            set_some(store, &chance);
        } else if (!open->edit) {
            open_some(store, open, &chance);
        } else if (chance_below(&chance, 3)) {
            store_some(open, &chance);
        } else {
            bool is_good = commit_some(open);
            good += is_good;
            conflicts += !is_good;
        }
        if (round % 100 == 0) {
            static uint8_t back[ODD_COUNT * ODD_BYTES];
            assert_ok(stele_read(handles[1], 0, ODD_COUNT, back));
            assert_memory_equal(back, model, sizeof(model));
        }
    }
    for (size_t i = 0; i < OPEN_MAX; i++) {
        stele_edit_discard(open_edits[i].edit);
        open_edits[i].edit = NULL;
    }
    print_message("%u edits, %u conflicts\n", good, conflicts);
    assert_verifies(handles[0]);
    assert_ok(stele_close(handles[1]));
    assert_ok(stele_close(handles[0]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FAST_SCRATCH(what_differs_is_committed_and_nothing_else),
        IN_FAST_SCRATCH(what_is_discarded_is_nowhere),
        IN_FAST_SCRATCH(records_of_every_size_are_edited),
        IN_FAST_SCRATCH(padding_is_no_difference_and_never_stored),
        IN_FAST_SCRATCH(words_of_the_program_s_own_go_with_the_edit),
        IN_FAST_SCRATCH(an_asynchronous_edit_is_seen_here_at_once_and_everywhere_after_a_sync),
        IN_FAST_SCRATCH(another_s_commit_is_never_undone),
        IN_FAST_SCRATCH(a_conflict_in_one_block_keeps_all_of_the_edit_out),
        IN_FAST_SCRATCH(edits_beside_a_busy_writer_lose_nothing_and_tear_nothing),
        IN_FAST_SCRATCH(what_is_larger_than_half_a_journal_goes_in_pieces),
        IN_FAST_SCRATCH(damage_in_the_middle_stops_it_and_says_how_far_it_got),
        IN_FAST_SCRATCH(what_failed_in_the_middle_is_committed_again),
        IN_FAST_SCRATCH(an_atomic_edit_is_one_commit_or_none),
        IN_FAST_SCRATCH(each_record_is_old_or_new_at_every_crash),
        IN_FAST_SCRATCH(a_lock_keeps_others_out_until_the_edit_ends),
        IN_FAST_SCRATCH(an_edit_is_counted_and_a_range_beyond_the_budget_goes_piece_by_piece),
        IN_FAST_SCRATCH(the_store_may_grow_under_an_edit),
        IN_FAST_SCRATCH(a_page_that_cannot_be_read_is_a_code),
        IN_FAST_SCRATCH(a_file_that_is_cut_under_an_edit_is_a_code),
        IN_FAST_SCRATCH(what_cannot_be_an_edit_is_refused),
        IN_FAST_SCRATCH(edits_at_random_undo_nothing_and_make_nothing_up),
    };

    if (stele_guard_install())
        return 1;
    system_note_faults();
    return cmocka_run_group_tests_name("edit", tests, NULL, NULL);
}
