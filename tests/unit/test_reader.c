/*
 * A reader beside writers that come, go and die: whatever it asks first afterwards, it gets the records of the moment,
 * or is told why not.
 */
#include "live.h"
#include "scratch.h"
#include "wrap.h"

#include <pthread.h>

enum { RECORD_BYTES = 16, COUNT = 1000, CHANGED = 5, HOUR_MS = 3600 * 1000 };

static uint8_t expected[(COUNT + 30) * RECORD_BYTES];
static uint8_t found[(COUNT + 30) * RECORD_BYTES];
static uint8_t changed[RECORD_BYTES] CARRIED;

/* ---- a slot that is being written ---- */

static int torn_reads; /* how many reads of the header are to find a slot half written */

WRAPPED(int, stele_os_read, const struct stele_os_file *file, uint64_t offset, void *out, size_t byte_count)
{
    int rc = REAL(stele_os_read)(file, offset, out, byte_count);

    if (rc == STELE_OK && offset == 0 && byte_count > STELE_SLOT_BYTES && torn_reads > 0) {
        torn_reads--;
        memset((uint8_t *)out + 512, torn_reads, 512);
    }
    return rc;
}

/* ---- a writer that is slow ---- */

static uint64_t store_us; /* what each store takes longer; atomic */

WRAPPED(int, stele_os_store, const struct stele_os_file *file, uint64_t offset, const void *bytes, size_t byte_count,
        void *view)
{
    stele_os_sleep_us(stele_load(&store_us));
    return REAL(stele_os_store)(file, offset, bytes, byte_count, view);
}

/* ---- the store ---- */

/* A store of COUNT records, of which @expected is a copy. */
static struct stele *store_of_all(void)
{
    struct stele *store = create_store(RECORD_BYTES, COUNT, 64 * KIB, 0);

    assert_store(store);
    fill_records(expected, RECORD_BYTES, 0, COUNT + 30, 1);
    fill_record(changed, RECORD_BYTES, CHANGED, 2);
    assert_ok(stele_append(store, expected, COUNT, NULL));
    return store;
}

static void poke_live(size_t offset, uint64_t word)
{
    poke(scratch_path, STELE_LIVE_OFFSET + offset, &word, sizeof(word));
}

#define LIVE_WORD(name) (offsetof(struct stele_live, name) + offsetof(struct stele_live_line, word))

/* ---- the first thing that a reader asks ---- */

/* Each returns the code of the call; where that is STELE_OK what was found must be as @expected, @count records. */

static int ask_get(struct stele *store, uint64_t count)
{
    uint8_t record[RECORD_BYTES];
    int rc = stele_get(store, CHANGED, record);

    if (!rc)
        assert_memory_equal(record, expected + CHANGED * RECORD_BYTES, RECORD_BYTES);
    return rc;
}

static int ask_get_many(struct stele *store, uint64_t count)
{
    const uint64_t indexes[] = { CHANGED, count - 1 };
    int rc = stele_get_many(store, indexes, 2, found, NULL);

    if (!rc) {
        assert_memory_equal(found, expected + CHANGED * RECORD_BYTES, RECORD_BYTES);
        assert_memory_equal(found + RECORD_BYTES, expected + (size_t)(count - 1) * RECORD_BYTES, RECORD_BYTES);
    }
    return rc;
}

static int ask_read(struct stele *store, uint64_t count)
{
    int rc = stele_read(store, 0, (size_t)count, found);

    if (!rc)
        assert_memory_equal(found, expected, (size_t)count * RECORD_BYTES);
    return rc;
}

static int ask_scan(struct stele *store, uint64_t count)
{
    struct stele_cursor *cursor;
    const void *batch;
    uint64_t at = 0;
    size_t n;
    int rc = stele_cursor_open(store, 0, UINT64_MAX, &cursor);

    if (rc)
        return rc;
    while (!(rc = stele_cursor_next(cursor, &batch, &n))) {
        assert_memory_equal(batch, expected + at * RECORD_BYTES, n * RECORD_BYTES);
        at += n;
    }
    stele_cursor_close(cursor);
    if (rc == STELE_END)
        assert_u64(at, count);
    return rc == STELE_END ? STELE_OK : rc;
}

static int ask_view(struct stele *store, uint64_t count)
{
    struct stele_view view;
    int rc = stele_view_open(store, 0, count, &view);

    if (!rc) {
        assert_memory_equal(view.records, expected, (size_t)count * RECORD_BYTES);
        assert_int_equal(stele_view_changed(&view), 0);
        stele_view_close(&view);
    }
    return rc;
}

static int ask_verify(struct stele *store, uint64_t count)
{
    struct stele_verify_report report = STELE_VERIFY_REPORT_INIT;
    int rc = stele_verify(store, NULL, &report);

    if (!rc)
        assert_u64(report.record_count, count);
    return rc;
}

static int ask_count(struct stele *store, uint64_t count)
{
    assert_u64(stele_count(store), count);
    return STELE_OK;
}

static const struct question {
    const char *name;
    int (*ask)(struct stele *store, uint64_t count);
} questions[] = {
    { "get", ask_get }, { "get_many", ask_get_many }, { "read", ask_read }, { "scan", ask_scan },
    { "view", ask_view }, { "verify", ask_verify }, { "count", ask_count },
};

static struct stele *readers[COUNT_OF(questions)];

static void open_readers(void)
{
    for (size_t i = 0; i < COUNT_OF(questions); i++) {
        readers[i] = open_store(STELE_READ_ONLY);
        assert_store(readers[i]);
    }
}

/* A reader for each question, so that each is the first one that is asked. */
static void ask_all(uint64_t count)
{
    for (size_t i = 0; i < COUNT_OF(questions); i++) {
        int rc = questions[i].ask(readers[i], count);
        if (rc)
            fail_msg("%s is %d: %s", questions[i].name, rc, stele_last_error()->text);
    }
}

static void close_readers(void)
{
    for (size_t i = 0; i < COUNT_OF(questions); i++)
        assert_ok(stele_close(readers[i]));
}

/* ---- writers that come ---- */

static void a_view_taken_after_a_writer_came_tells_what_changed(void **state)
{
    struct stele *store = store_of_all(), *reader;
    struct stele_view view, far;

    assert_ok(stele_close(store));
    reader = open_store(STELE_READ_ONLY);
    assert_store(reader);
    store = open_store(STELE_READ_WRITE);
    assert_store(store);
    assert_ok(stele_view_open(reader, 0, 10, &view));
    assert_ok(stele_view_open(reader, COUNT - 10, 10, &far));
    assert_int_equal(stele_view_changed(&view), 0);
    assert_ok(stele_set(store, CHANGED, changed));
    assert_memory_equal((const uint8_t *)view.records + CHANGED * RECORD_BYTES, changed, RECORD_BYTES);
    assert_int_equal(stele_view_changed(&view), 1);
    assert_int_equal(stele_view_changed(&far), 0);
    stele_view_close(&view);
    stele_view_close(&far);
    assert_ok(stele_close(reader));
    assert_ok(stele_close(store));
}

static void change_and_die(void *context)
{
    struct stele *store = open_store(STELE_READ_WRITE);

    REQUIRE(store && stele_set(store, CHANGED, changed) == STELE_OK);
    _exit(7);
}

static void a_dead_writer_s_tail_is_forgotten_when_the_next_writer_comes(void **state)
{
    struct stele *store = store_of_all();

    assert_ok(stele_close(store));
    assert_int_equal(exit_of_child(change_and_die, NULL), 7);
    open_readers();
    uint8_t *place = expected + CHANGED * RECORD_BYTES;
    memcpy(place, changed, RECORD_BYTES);
    for (size_t i = 0; i < COUNT_OF(questions); i++) {
        if (questions[i].ask == ask_view)
            assert_code(ask_view(readers[i], COUNT), STELE_E_CONFLICT);
        else
            assert_ok(questions[i].ask(readers[i], COUNT));
    }
    /* The ring is used anew, for the same record too. */
    store = open_store(STELE_READ_WRITE);
    assert_store(store);
    fill_record(place, RECORD_BYTES, CHANGED, 3);
    assert_ok(stele_set(store, CHANGED, place));
    assert_ok(stele_append(store, expected + COUNT * RECORD_BYTES, 30, NULL));
    ask_all(COUNT + 30);
    close_readers();
    assert_ok(stele_close(store));
}

/* ---- a first open that dies, or takes long ---- */

static void words_of_an_earlier_life_are_not_believed_after_a_first_open_died(void **state)
{
    static uint8_t lives[4][STELE_LIVE_BYTES];
    struct stele *store = store_of_all();
    struct chance chance = chance_begin();

    assert_ok(stele_close(store));
    peek(scratch_path, STELE_LIVE_OFFSET, lives[0], STELE_LIVE_BYTES);
    memset(lives[1], 0, STELE_LIVE_BYTES);
    memset(lives[2], 0xff, STELE_LIVE_BYTES);
    chance_fill(&chance, lives[3], STELE_LIVE_BYTES);
    for (size_t i = 0; i < COUNT_OF(lives); i++) {
        poke(scratch_path, STELE_LIVE_OFFSET, lives[i], STELE_LIVE_BYTES);
        open_readers();
        /* Its first two stores, and no more. */
        poke_live(LIVE_WORD(session), chance_next(&chance));
        poke_live(LIVE_WORD(state), STELE_STATE_RECOVERING);
        ask_all(COUNT);
        close_readers();
    }
    store = open_store(STELE_READ_WRITE);
    assert_store(store);
    assert_verifies(store);
    assert_ok(stele_close(store));
}

/* What a first open does before it reads the journal, which may take long. */
static void hold_a_first_open(void *context)
{
    struct stele_os_file file;
    struct stele_superblock superblock;
    struct stele_live_map live;
    uint64_t session;
    char byte;

    REQUIRE(stele_os_open(scratch_path, true, &file) == STELE_OK);
    REQUIRE(stele_superblock_read(&file, &superblock) == STELE_OK);
    REQUIRE(stele_live_map(&file, &superblock.layout, true, &live) == STELE_OK);
    REQUIRE(stele_os_lock_writer(&file) == STELE_OK);
    REQUIRE(stele_live_claim(&live, &session) == STELE_OK);
    stele_store(&live.words->count.word, 3);
    parent_tell("x", 1);
    (void)parent_hear(&byte, 1); /* for ever */
}

static void readers_wait_for_a_first_open_and_keep_their_count_meanwhile(void **state)
{
    struct stele *store = store_of_all();
    char byte;

    assert_ok(stele_close(store));
    open_readers();
    struct child child = child_start(hold_a_first_open, NULL);
    assert_true(child_hear(&child, &byte, 1));
    for (size_t i = 0; i < COUNT_OF(questions); i++)
        assert_code(questions[i].ask(readers[i], COUNT),
                    questions[i].ask == ask_count ? STELE_OK : STELE_E_BUSY);
    child_kill(&child);
    ask_all(COUNT);
    close_readers();
}

/* ---- a file that was replaced ---- */

static int replace_by_resize(void)
{
    struct stele_options options = STELE_OPTIONS_INIT;

    options.capacity_records = 5 * COUNT;
    return stele_resize(scratch_path, &options);
}

static int replace_by_create(void)
{
    struct stele *store = create_store(RECORD_BYTES, COUNT, 0, STELE_FORCE);

    if (!store)
        return stele_last_error()->code;
    assert_ok(stele_append(store, expected, COUNT, NULL));
    assert_ok(stele_close(store));
    return STELE_OK;
}

static void assert_all_are_stale(void)
{
    struct stele *old = NULL;

    for (size_t i = 0; i < COUNT_OF(questions); i++) {
        if (questions[i].ask != ask_count)
            assert_code(questions[i].ask(readers[i], COUNT), STELE_E_STALE);
    }
    /* Not even under another name. */
    assert_code(stele_open(scratch_name("old"), NULL, &old), STELE_E_STALE);
}

static void readers_of_a_file_that_was_replaced_are_told(void **state)
{
    int (*const replaced_by[])(void) = { replace_by_resize, replace_by_create };

    for (unsigned i = 0; i < 4; i++) {
        bool is_live = i % 2;
        struct stele *store = store_of_all();
        if (!is_live)
            assert_ok(stele_close(store));
        open_readers(); /* live while the writer is there, else detached */
        if (is_live)
            assert_ok(stele_close(store));
        assert_true(system_link(scratch_path, scratch_name("old")));
        int rc = replaced_by[i / 2]();
        if (rc && stele_os_needs_views()) {
            /* Windows replaces no file that is mapped: its readers read on. */
            assert_code(rc, STELE_E_BUSY);
            ask_all(COUNT);
        } else {
            assert_ok(rc);
            store = open_store(STELE_READ_WRITE);
            assert_store(store);
            assert_ok(stele_set(store, CHANGED, changed));
            assert_all_are_stale();
            assert_ok(stele_close(store));
        }
        close_readers();
        assert_int_equal(unlink(scratch_name("old")), 0);
        assert_int_equal(unlink(scratch_path), 0);
    }
}

static void a_live_layout_of_a_later_writer_stops_readers_that_were_there_before(void **state)
{
    struct stele *store = store_of_all();

    open_readers();
    ask_all(COUNT);
    poke_live(offsetof(struct stele_live, live_layout_version), STELE_LIVE_LAYOUT_VERSION + 1);
    poke_live(LIVE_WORD(session), 0x5e55);
    for (size_t i = 0; i < COUNT_OF(questions); i++) {
        if (questions[i].ask != ask_count)
            assert_code(questions[i].ask(readers[i], COUNT), STELE_E_VERSION);
    }
    poke_live(offsetof(struct stele_live, live_layout_version), STELE_LIVE_LAYOUT_VERSION);
    ask_all(COUNT);
    close_readers();
    assert_ok(stele_close(store));
}

/* ---- a header slot that is being written ---- */

static void a_slot_that_is_being_written_is_no_damage(void **state)
{
    struct stele *store = store_of_all(), *reader;

    for (unsigned has_writer = 0; has_writer < 2; has_writer++) {
        struct stele_txn *txn = NULL;
        /* A writer may have the turn all the time, or take it between a look at it and the read. */
        if (has_writer)
            assert_ok(stele_begin(store, &txn));
        torn_reads = 1;
        reader = open_store(STELE_READ_ONLY);
        assert_store(reader);
        assert_verifies(reader);
        assert_u64(info_of(reader).header_damage, 0);
        for (int reads = 1; reads <= 2; reads++) {
            torn_reads = reads;
            assert_u64(info_of(reader).header_damage, 0);
            torn_reads = reads;
            assert_verifies(reader);
            assert_int_equal(torn_reads, 0);
        }
        stele_abort(txn);
        assert_ok(stele_close(reader));
    }
    assert_ok(stele_close(store));
    /* What is torn and stays so is damage. */
    poke(scratch_path, STELE_SLOT_BYTES + 512, "torn", 4);
    reader = open_store(STELE_READ_ONLY);
    assert_store(reader);
    assert_u64(info_of(reader).header_damage, STELE_FILE_DAMAGE_SLOT_B);
    assert_code(ask_verify(reader, COUNT), STELE_E_DAMAGED);
    assert_ok(stele_close(reader));
}

/* ---- a writer that died beside a living one ---- */

static void read_beside_a_dead_writer(void *context)
{
    uint8_t record[RECORD_BYTES];
    uint64_t odd = 1;
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *server, *handles[3];

    /* Whoever waited for it all would not come to an end in time. */
    options.read_wait_ms = HOUR_MS;
    REQUIRE(stele_open(scratch_path, &options, &handles[0]) == STELE_OK);
    options.mode = STELE_READ_WRITE;
    REQUIRE(stele_open(scratch_path, &options, &server) == STELE_OK);
    options.mode = STELE_READ_ONLY;
    REQUIRE(stele_get(handles[0], CHANGED, record) == STELE_OK);
    handles[1] = server;
    /* What another process leaves that dies between two stores of a commit. */
    poke_live(LIVE_WORD(state), STELE_STATE_COMMITTING);
    poke_live(STELE_LIVE_STRIPES_OFFSET, odd);
    REQUIRE(stele_open(scratch_path, &options, &handles[2]) == STELE_OK);
    for (unsigned i = 0; i < 3; i++) {
        REQUIRE(stele_get(handles[i], CHANGED, record) == STELE_E_BUSY);
        REQUIRE(strstr(stele_last_error()->text, "died"));
        REQUIRE(stele_read(handles[i], 0, COUNT, found) == STELE_E_BUSY);
        REQUIRE(stele_get(handles[i], COUNT - 1, record) == STELE_OK);
    }
    /* The next writer puts it right, for all. */
    REQUIRE(stele_set(server, CHANGED, changed) == STELE_OK);
    for (unsigned i = 0; i < 3; i++) {
        REQUIRE(stele_get(handles[i], CHANGED, record) == STELE_OK);
        REQUIRE(memcmp(record, changed, RECORD_BYTES) == 0);
    }
    REQUIRE(stele_close(handles[0]) == STELE_OK && stele_close(handles[2]) == STELE_OK);
    REQUIRE(stele_close(server) == STELE_OK);
}

static void records_that_a_dead_writer_left_half_stored_are_busy_at_once(void **state)
{
    assert_ok(stele_close(store_of_all()));
    assert_int_equal(exit_of_child(read_beside_a_dead_writer, NULL), 0);
}

/* ---- a reader that stays ---- */

/* Open and close for each byte that comes, until there are no more. */
static void come_and_go(void *context)
{
    char byte;

    child_watch(600);
    while (parent_hear(&byte, 1)) {
        struct stele *store = open_store(STELE_READ_WRITE);
        REQUIRE(store && stele_close(store) == STELE_OK);
        parent_tell("x", 1);
    }
}

static void a_reader_does_not_grow_by_the_writers_that_come_and_go(void **state)
{
    static struct stele *reader; /* in sight, so that it counts as no leak of the child */
    uint64_t before = 0;
    char byte = 'x';
    const unsigned warm_up = 20, cycles = scaled(1000, 50);

    assert_ok(stele_close(store_of_all()));
    reader = open_store(STELE_READ_ONLY);
    assert_store(reader);
    struct child child = child_start(come_and_go, NULL);
    for (unsigned i = 0; i < warm_up + cycles; i++) {
        if (i == warm_up)
            before = system_heap_bytes();
        child_tell(&child, &byte, 1);
        assert_true(child_hear(&child, &byte, 1));
        assert_ok(ask_get(reader, COUNT));
    }
    uint64_t after = system_heap_bytes();
    print_message("%u writers: %" PRIu64 " bytes more\n", cycles, after - stele_min(before, after));
    assert_true(after < before + cycles * UINT64_C(1024)); /* what is kept of each is less than its header slot */
    assert_int_equal(child_end(&child), 0);
    assert_ok(stele_close(reader));
}

/* ---- while a recovery has not flipped yet ---- */

/* As another handle's recovery leaves the live region between what it publishes and the flip, or dies there. */
static void stop_before_the_flip(uint64_t applied)
{
    poke_live(LIVE_WORD(session), UINT64_C(0x5555));
    poke_live(LIVE_WORD(state), STELE_STATE_RECOVERING);
    poke_live(LIVE_WORD(applied), applied);
}

static void a_recovery_on_its_way_to_the_flip_is_no_damage_to_verify(void **state)
{
    struct stele *store = store_of_all();
    struct stele *reader = open_store(STELE_READ_ONLY);
    uint64_t sequence = info_of(store).sequence;

    assert_store(reader);
    assert_ok(stele_set(store, CHANGED, changed));
    assert_verifies(reader);
    stop_before_the_flip(sequence + (UINT64_C(1) << 33));
    assert_verifies(store);
    assert_verifies(reader);
    assert_ok(stele_close(reader));
    assert_ok(stele_close(store));
}

static void a_count_that_cannot_be_does_not_keep_verify_at_work_for_ever(void **state)
{
    struct stele_verify_report report = STELE_VERIFY_REPORT_INIT;
    struct stele *store = store_of_all();
    struct stele *reader = open_store(STELE_READ_ONLY);

    assert_store(reader);
    assert_verifies(reader);
    poke_live(LIVE_WORD(count), UINT64_C(1) << 40);
    assert_code(stele_verify(store, NULL, &report), STELE_E_DAMAGED);
    assert_says("a count of 1099511627776");
    assert_code(stele_verify(reader, NULL, &report), STELE_E_DAMAGED);
    poke_live(LIVE_WORD(count), COUNT);
    assert_verifies(reader);
    assert_ok(stele_close(reader));
    assert_ok(stele_close(store));
}

static uint64_t commit_one(struct stele *store)
{
    struct stele_txn *txn;
    uint64_t sequence = 0;

    assert_ok(stele_begin(store, &txn));
    assert_ok(stele_txn_set(txn, CHANGED, changed));
    assert_ok(stele_commit(txn, STELE_DURABLE, &sequence));
    return sequence;
}

static void the_outcome_of_a_commit_after_a_reader_was_opened_is_known_to_it(void **state)
{
    assert_ok(stele_close(store_of_all()));
    struct stele *reader = open_store(STELE_READ_ONLY);
    struct stele *store = open_store(STELE_READ_WRITE);

    assert_store(reader);
    assert_store(store);
    uint64_t sequence = commit_one(store);
    assert_ok(stele_outcome(reader, sequence));
    assert_code(stele_outcome(reader, sequence + 1), STELE_E_RANGE);
    assert_ok(stele_close(reader));
    assert_ok(stele_close(store));
}

static void an_outcome_that_no_writer_has_decided_is_busy_and_who_may_write_decides_it(void **state)
{
    struct stele *store = store_of_all();
    struct stele *reader = open_store(STELE_READ_ONLY);
    uint64_t sequence = commit_one(store);

    assert_store(reader);
    /* Of a handle whose sync failed: given out, in no word of the live region. */
    poke_live(LIVE_WORD(state), STELE_STATE_FAILED);
    assert_ok(stele_outcome(reader, sequence));
    assert_code(stele_outcome(reader, sequence + 1), STELE_E_BUSY);
    stop_before_the_flip(sequence + (UINT64_C(1) << 33));
    assert_code(stele_outcome(reader, sequence + 1), STELE_E_BUSY);
    assert_code(stele_outcome(store, sequence + 1), STELE_E_ABSENT);
    assert_code(stele_outcome(reader, sequence + 1), STELE_E_ABSENT);
    assert_ok(stele_outcome(reader, sequence));
    assert_ok(stele_close(reader));
    assert_ok(stele_close(store));
}

/* ---- threads of one handle ---- */

static uint64_t is_over; /* atomic */

static void *get_until_it_is_over(void *context)
{
    static uint8_t record[RECORD_BYTES];
    int rc = STELE_OK;

    while (!rc && !stele_load_acquire(&is_over)) {
        rc = stele_get(context, CHANGED, record);
        stele_os_sleep_us(100);
    }
    return (void *)(intptr_t)rc;
}

static void threads_of_the_handle_that_writes_wait_for_its_slow_writer(void **state)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store;
    pthread_t reader;
    void *code;

    assert_ok(stele_close(store_of_all()));
    options.mode = STELE_READ_WRITE;
    options.read_wait_ms = 60000;
    assert_ok(stele_open(scratch_path, &options, &store));
    stele_store_release(&is_over, 0);
    assert_int_equal(pthread_create(&reader, NULL, get_until_it_is_over, store), 0);
    stele_store(&store_us, 60000); /* far longer than a dead writer is waited for */
    for (unsigned i = 0; i < 4; i++)
        assert_ok(stele_set(store, CHANGED, changed));
    stele_store(&store_us, 0);
    stele_store_release(&is_over, 1);
    assert_int_equal(pthread_join(reader, &code), 0);
    assert_int_equal((intptr_t)code, STELE_OK);
    assert_ok(stele_close(store));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_SCRATCH(a_view_taken_after_a_writer_came_tells_what_changed),
        IN_SCRATCH(a_dead_writer_s_tail_is_forgotten_when_the_next_writer_comes),
        IN_SCRATCH(words_of_an_earlier_life_are_not_believed_after_a_first_open_died),
        IN_SCRATCH(readers_wait_for_a_first_open_and_keep_their_count_meanwhile),
        IN_SCRATCH(readers_of_a_file_that_was_replaced_are_told),
        IN_SCRATCH(a_live_layout_of_a_later_writer_stops_readers_that_were_there_before),
        IN_SCRATCH(a_slot_that_is_being_written_is_no_damage),
        IN_SCRATCH(records_that_a_dead_writer_left_half_stored_are_busy_at_once),
        IN_SCRATCH(a_recovery_on_its_way_to_the_flip_is_no_damage_to_verify),
        IN_SCRATCH(a_count_that_cannot_be_does_not_keep_verify_at_work_for_ever),
        IN_SCRATCH(the_outcome_of_a_commit_after_a_reader_was_opened_is_known_to_it),
        IN_SCRATCH(an_outcome_that_no_writer_has_decided_is_busy_and_who_may_write_decides_it),
        IN_FAST_SCRATCH(a_reader_does_not_grow_by_the_writers_that_come_and_go),
        IN_FAST_SCRATCH(threads_of_the_handle_that_writes_wait_for_its_slow_writer),
    };

    return cmocka_run_group_tests_name("reader", tests, NULL, NULL);
}
