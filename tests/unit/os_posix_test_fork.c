/*
 * Handles in a child of fork: every call is refused, closing takes nothing that is the child's own, and the parent
 * goes on as if there had been no child.
 */
#include "scratch.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { RECORD_BYTES = 64, COUNT = 1000, OWN_MAPS = 64, OWN_BLOCKS = 64 };

static uint8_t record[RECORD_BYTES];
static uint8_t records[COUNT * RECORD_BYTES];

/* What the parent has open. */
static struct stele *parents;
static struct stele_txn *parents_txn;
static struct stele_view parents_view;
static struct stele_cursor *parents_cursor;
static struct stele_edit *parents_edit;
static uint64_t parents_count;

static void open_everything(uint64_t count, uint32_t flags)
{
    const void *batch;
    size_t n;

    parents = create_store(RECORD_BYTES, count, 64 * KIB, flags);
    assert_store(parents);
    fill_records(records, RECORD_BYTES, 0, COUNT, 1);
    assert_ok(stele_append(parents, records, COUNT, NULL));
    assert_ok(stele_set_count(parents, count));
    parents_count = count;
    assert_ok(stele_get(parents, 0, record)); /* a window is mapped */
    assert_ok(stele_view_open(parents, 0, count, &parents_view));
    assert_ok(stele_cursor_open(parents, 0, UINT64_MAX, &parents_cursor));
    assert_ok(stele_cursor_next(parents_cursor, &batch, &n));
    assert_ok(stele_edit_open(parents, 0, COUNT, 0, &parents_edit));
    ((uint8_t *)stele_edit_records(parents_edit))[5 * RECORD_BYTES] ^= 1;
    assert_ok(stele_begin(parents, &parents_txn));
    fill_record(record, RECORD_BYTES, 3, 2);
    assert_ok(stele_txn_set(parents_txn, 3, record));
}

/* The parent still has the turn, and all it had open. */
static void assert_parent_goes_on(void)
{
    struct stele *other = open_store(STELE_READ_ONLY);
    uint8_t back[RECORD_BYTES];

    assert_store(other);
    assert_null(open_store(STELE_READ_WRITE));
    assert_int_equal(stele_last_error()->code, STELE_E_BUSY);
    assert_ok(stele_txn_get(parents_txn, 3, back));
    assert_memory_equal(back, record, RECORD_BYTES);
    assert_ok(stele_commit(parents_txn, STELE_DURABLE, NULL));
    assert_ok(stele_get(other, 3, back));
    assert_memory_equal(back, record, RECORD_BYTES);
    assert_memory_equal((const uint8_t *)parents_view.records + 4 * RECORD_BYTES, records + 4 * RECORD_BYTES,
                        RECORD_BYTES);
    assert_int_equal(stele_view_changed(&parents_view), 1);
    stele_view_close(&parents_view);
    stele_cursor_close(parents_cursor);
    stele_edit_discard(parents_edit);
    assert_u64(stele_count(parents), parents_count);
    if (parents_count == COUNT)
        assert_verifies(parents);
    assert_ok(stele_close(other));
    assert_ok(stele_close(parents));
}

/* ---- every call ---- */

static int call_get(void) { return stele_get(parents, 0, record); }
static int call_get_many(void) { return stele_get_many(parents, &(uint64_t){ 0 }, 1, record, NULL); }
static int call_read(void) { return stele_read(parents, 0, 1, record); }
static int call_count(void) { return stele_count(parents) == 0 ? STELE_E_USAGE : 0; }
static int call_info(void) { return stele_info(parents, &(struct stele_info)STELE_INFO_INIT); }
static int call_view_open(void) { return stele_view_open(parents, 0, 1, &(struct stele_view){ .record_count = 0 }); }
static int call_view_changed(void) { return stele_view_changed(&parents_view); }
static int call_view_copy(void) { return stele_view_copy(&parents_view, 0, 1, record); }
static int call_cursor_open(void) { return stele_cursor_open(parents, 0, 1, &(struct stele_cursor *){ NULL }); }
static int call_append(void) { return stele_append(parents, record, 1, NULL); }
static int call_set(void) { return stele_set(parents, 0, record); }
static int call_set_many(void) { return stele_set_many(parents, &(uint64_t){ 0 }, 1, record); }
static int call_set_count(void) { return stele_set_count(parents, 0); }
static int call_reserve(void) { return stele_reserve(parents, 2 * COUNT); }
static int call_begin(void) { return stele_begin(parents, &(struct stele_txn *){ NULL }); }
static int call_txn_set(void) { return stele_txn_set(parents_txn, 0, record); }
static int call_txn_append(void) { return stele_txn_append(parents_txn, record, 1, NULL); }
static int call_txn_set_count(void) { return stele_txn_set_count(parents_txn, 1); }
static int call_txn_get(void) { return stele_txn_get(parents_txn, 0, record); }
static int call_commit(void) { return stele_commit(parents_txn, STELE_DURABLE, NULL); }
static int call_outcome(void) { return stele_outcome(parents, 1); }
static int call_sync(void) { return stele_sync(parents); }
static int call_checkpoint(void) { return stele_checkpoint(parents); }

static int call_edit_open(void) { return stele_edit_open(parents, 0, 1, 0, &(struct stele_edit *){ NULL }); }
static int call_edit_user(void) { return stele_edit_user(parents_edit, 1, records); }
static int call_edit_commit(void) { return stele_edit_commit(parents_edit, STELE_DURABLE, NULL); }

static int call_edit_discard(void)
{
    REQUIRE(!stele_edit_records(parents_edit));
    stele_edit_discard(parents_edit);
    return STELE_E_USAGE;
}

static int call_cursor_next(void)
{
    const void *batch;
    size_t n;

    return stele_cursor_next(parents_cursor, &batch, &n);
}

static int call_verify(void)
{
    return stele_verify(parents, NULL, &(struct stele_verify_report)STELE_VERIFY_REPORT_INIT);
}

/* These have no code, but must come back. */
static int call_txn_count(void)
{
    (void)stele_txn_count(parents_txn);
    (void)stele_schema_of(parents);
    return STELE_E_USAGE;
}

static int call_view_close(void)
{
    stele_view_close(&parents_view);
    stele_view_close(&parents_view);
    return STELE_E_USAGE;
}

static int call_cursor_close(void)
{
    stele_cursor_close(parents_cursor);
    return STELE_E_USAGE;
}

static int call_abort(void)
{
    stele_abort(parents_txn);
    return STELE_E_USAGE;
}

static int call_close(void) { return stele_close(parents) == STELE_OK ? STELE_E_USAGE : 0; }

static const struct call {
    const char *name;
    int (*call)(void);
} calls[] = {
    { "get", call_get }, { "get_many", call_get_many }, { "read", call_read }, { "count", call_count },
    { "info", call_info }, { "view_open", call_view_open }, { "view_changed", call_view_changed },
    { "view_copy", call_view_copy }, { "cursor_open", call_cursor_open }, { "cursor_next", call_cursor_next },
    { "append", call_append }, { "set", call_set }, { "set_many", call_set_many }, { "set_count", call_set_count },
    { "reserve", call_reserve }, { "begin", call_begin }, { "txn_set", call_txn_set },
    { "txn_append", call_txn_append }, { "txn_set_count", call_txn_set_count }, { "txn_get", call_txn_get },
    { "txn_count", call_txn_count }, { "commit", call_commit }, { "outcome", call_outcome }, { "sync", call_sync },
    { "checkpoint", call_checkpoint }, { "verify", call_verify }, { "view_close", call_view_close },
    { "edit_open", call_edit_open }, { "edit_user", call_edit_user }, { "edit_commit", call_edit_commit },
    { "edit_discard", call_edit_discard },
    { "cursor_close", call_cursor_close }, { "abort", call_abort }, { "close", call_close },
};

static void call_one(void *context)
{
    const struct call *call = context;
    int rc = call->call();

    if (rc != STELE_E_USAGE)
        fprintf(stderr, "%s is %d\n", call->name, rc);
    _exit(rc == STELE_E_USAGE ? 0 : 1);
}

static void every_call_is_refused_in_a_child_and_the_parent_goes_on(void **state)
{
    open_everything(COUNT, 0);
    for (size_t i = 0; i < COUNT_OF(calls); i++) {
        struct call call = calls[i];
        if (exit_of_child(call_one, &call) != 0)
            fail_msg("%s in a child", calls[i].name);
    }
    assert_parent_goes_on();
}

/* ---- memory ---- */

/* Memory of the child's own comes to lie where the parent's maps were. */
static void close_all_over_own_memory(void *context)
{
    static uint8_t *maps[OWN_MAPS];
    static uint8_t *blocks[OWN_BLOCKS];
    const size_t map_bytes = 4 * MIB, block_bytes = 200000;

    for (unsigned i = 0; i < OWN_MAPS; i++) {
        maps[i] = mmap(NULL, map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        REQUIRE(maps[i] != MAP_FAILED);
        for (size_t at = 0; at < map_bytes; at += 4096)
            maps[i][at] = (uint8_t)(i + 1);
    }
    for (unsigned i = 0; i < OWN_BLOCKS; i++) {
        blocks[i] = malloc(block_bytes);
        REQUIRE(blocks[i]);
        memset(blocks[i], (int)i + 1, block_bytes);
    }
    stele_view_close(&parents_view);
    stele_cursor_close(parents_cursor);
    stele_abort(parents_txn);
    stele_edit_discard(parents_edit);
    REQUIRE(stele_close(parents) == STELE_OK);
    for (unsigned i = 0; i < OWN_MAPS; i++) {
        for (size_t at = 0; at < map_bytes; at += 4096)
            REQUIRE(maps[i][at] == i + 1);
    }
    for (unsigned i = 0; i < OWN_BLOCKS; i++) {
        REQUIRE(blocks[i][0] == i + 1 && blocks[i][block_bytes - 1] == i + 1);
        free(blocks[i]);
    }
    /* And the store can be opened again. */
    struct stele *own = open_store(STELE_READ_ONLY);
    REQUIRE(own);
    REQUIRE(stele_count(own) == parents_count);
    REQUIRE(stele_get(own, 0, record) == STELE_OK);
    REQUIRE(stele_close(own) == STELE_OK);
}

static void a_child_that_closes_everything_keeps_its_own_memory(void **state)
{
    /* Small, and so large that a view has a map of its own. */
    const uint64_t counts[] = { COUNT, 6 * MIB };

    for (size_t i = 0; i < COUNT_OF(counts); i++) {
        open_everything(counts[i], STELE_SPARSE);
        assert_int_equal(exit_of_child(close_all_over_own_memory, NULL), 0);
        assert_parent_goes_on();
        assert_int_equal(unlink(scratch_path), 0);
    }
}

static void fork_again(void *context)
{
    struct stele *own = open_store(STELE_READ_ONLY);

    REQUIRE(own && stele_get(parents, 0, record) == STELE_E_USAGE);
    REQUIRE(stele_close(parents) == STELE_OK);
    parents = own;
    /* To the child of this one both are strange. */
    REQUIRE(exit_of_child(call_one, &(struct call){ "get", call_get }) == 0);
    REQUIRE(exit_of_child(call_one, &(struct call){ "close", call_close }) == 0);
    REQUIRE(stele_get(own, 0, record) == STELE_OK);
    REQUIRE(stele_close(own) == STELE_OK);
}

static void a_child_of_a_child_is_one_too(void **state)
{
    open_everything(COUNT, 0);
    assert_int_equal(exit_of_child(fork_again, NULL), 0);
    fill_record(record, RECORD_BYTES, 3, 2);
    assert_parent_goes_on();
}

/* ---- threads of the parent ---- */

static int waiting_pipe[2];

static void *wait_for_the_turn(void *context)
{
    struct stele_txn *txn;
    intptr_t is_good;

    (void)!write(waiting_pipe[1], "x", 1);
    is_good = stele_begin(parents, &txn) == STELE_OK;
    if (is_good)
        stele_abort(txn);
    return (void *)is_good;
}

/* The signal by which a child ended that closed the parent's handle: SIGKILL if all went well. */
static int signal_of_closing_child(void)
{
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        alarm(60);
        /* Not by its end: to memcheck what the thread holds is lost in here. */
        raise(call_close() == STELE_E_USAGE ? SIGKILL : SIGTERM);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void a_child_does_not_wait_for_threads_that_it_does_not_have(void **state)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store = create_store(RECORD_BYTES, COUNT, 64 * KIB, 0);
    pthread_t thread;
    void *is_good;
    char byte;

    assert_store(store);
    assert_ok(stele_append(store, records, COUNT, NULL));
    assert_ok(stele_close(store));
    options.mode = STELE_READ_WRITE;
    options.lock_wait_ms = 60000;
    assert_ok(stele_open(scratch_path, &options, &parents));
    assert_ok(stele_begin(parents, &parents_txn));
    assert_int_equal(pipe2(waiting_pipe, O_CLOEXEC), 0);
    assert_int_equal(pthread_create(&thread, NULL, wait_for_the_turn, NULL), 0);
    assert_int_equal(read(waiting_pipe[0], &byte, 1), 1);
    for (unsigned i = 0; i < 20; i++) {
        usleep(1000); /* so that most find the thread asleep; none depends on it */
        assert_int_equal(signal_of_closing_child(), SIGKILL);
    }
    stele_abort(parents_txn);
    assert_int_equal(pthread_join(thread, &is_good), 0);
    assert_true((intptr_t)is_good);
    close(waiting_pipe[0]);
    close(waiting_pipe[1]);
    assert_ok(stele_close(parents));
}

/* ---- two handles and the child of one ---- */

static void use_the_parent_s_handle(void *context)
{
    struct stele_info info = STELE_INFO_INIT;
    struct stele_verify_report report = STELE_VERIFY_REPORT_INIT;
    struct stele_view view;
    struct stele_cursor *cursor;
    struct stele_txn *txn;
    const void *batch;
    size_t n;

    REQUIRE(stele_get(parents, 0, record) == STELE_E_USAGE);
    REQUIRE(strstr(stele_last_error()->text, "fork") != NULL);
    REQUIRE(stele_read(parents, 0, 1, record) == STELE_E_USAGE);
    REQUIRE(stele_set(parents, 0, record) == STELE_E_USAGE);
    REQUIRE(stele_append(parents, record, 1, NULL) == STELE_E_USAGE);
    REQUIRE(stele_set_count(parents, 0) == STELE_E_USAGE);
    REQUIRE(stele_reserve(parents, 99) == STELE_E_USAGE);
    REQUIRE(stele_begin(parents, &txn) == STELE_E_USAGE);
    REQUIRE(stele_checkpoint(parents) == STELE_E_USAGE);
    REQUIRE(stele_sync(parents) == STELE_E_USAGE);
    REQUIRE(stele_verify(parents, NULL, &report) == STELE_E_USAGE);
    REQUIRE(stele_info(parents, &info) == STELE_E_USAGE);
    REQUIRE(stele_view_open(parents, 0, 1, &view) == STELE_E_USAGE);
    REQUIRE(stele_cursor_open(parents, 0, 1, &cursor) == STELE_E_USAGE);
    REQUIRE(stele_outcome(parents, 1) == STELE_E_USAGE);
    REQUIRE(stele_count(parents) == 0);
    REQUIRE(stele_view_changed(&parents_view) == STELE_E_USAGE);
    REQUIRE(stele_view_copy(&parents_view, 0, 1, record) == STELE_E_USAGE);
    REQUIRE(stele_cursor_next(parents_cursor, &batch, &n) == STELE_E_USAGE);
    REQUIRE(stele_commit(parents_txn, STELE_DURABLE, NULL) == STELE_E_USAGE);
    stele_view_close(&parents_view);
    stele_cursor_close(parents_cursor);
    REQUIRE(stele_close(parents) == STELE_OK);
    /* A handle of its own: to write it would have to wait for the parent's transaction. */
    struct stele *own = open_store(STELE_READ_ONLY);
    REQUIRE(own);
    REQUIRE(stele_get(own, 0, record) == STELE_OK);
    REQUIRE(stele_count(own) == 8);
    REQUIRE(stele_close(own) == STELE_OK);
    REQUIRE(open_store(STELE_READ_WRITE) == NULL);
    REQUIRE(stele_last_error()->code == STELE_E_BUSY);
}

static void abort_the_parent_s_transaction(void *context)
{
    stele_abort(parents_txn);
    REQUIRE(stele_close(parents) != 1);
}

static void a_child_can_do_nothing_with_its_parent_s_handle_and_disturbs_nobody(void **state)
{
    uint8_t value[8] = { 42 }, back[8];

    parents = create_store(8, 10, 16 * KIB, 0);
    assert_store(parents);
    assert_ok(stele_append(parents, record, 8, NULL));
    struct stele *other = open_store(STELE_READ_WRITE);
    assert_store(other);
    assert_ok(stele_view_open(parents, 0, 8, &parents_view));
    assert_ok(stele_cursor_open(parents, 0, UINT64_MAX, &parents_cursor));
    assert_ok(stele_begin(parents, &parents_txn));
    assert_ok(stele_txn_set(parents_txn, 3, value));
    assert_int_equal(exit_of_child(use_the_parent_s_handle, NULL), 0);
    assert_int_equal(exit_of_child(abort_the_parent_s_transaction, NULL), 0);
    /* The turn is still the parent's. */
    assert_code(stele_set(other, 0, record), STELE_E_BUSY);
    assert_ok(stele_commit(parents_txn, STELE_DURABLE, NULL));
    assert_ok(stele_set(other, 0, record));
    assert_ok(stele_get(parents, 3, back));
    assert_memory_equal(back, value, 8);
    assert_int_equal(stele_view_changed(&parents_view), 1);
    stele_view_close(&parents_view);
    stele_cursor_close(parents_cursor);
    assert_verifies(parents);
    assert_ok(stele_close(other));
    assert_ok(stele_close(parents));
}

/* A daemon: closes what it inherited, opens files of its own, which get the numbers and the addresses. */
static void close_all_and_begin_anew(void *context)
{
    enum { FILES = 40, MAPS = 40 };
    int files[FILES];
    uint8_t *maps[MAPS];

    for (int descriptor = 3; descriptor < 200; descriptor++)
        close(descriptor);
    for (int i = 0; i < FILES; i++) {
        files[i] = open("/dev/null", O_RDWR | O_CLOEXEC);
        REQUIRE(files[i] >= 0);
    }
    for (int i = 0; i < MAPS; i++) {
        maps[i] = mmap(NULL, 4 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        REQUIRE(maps[i] != MAP_FAILED);
        maps[i][0] = maps[i][4 * MIB - 1] = 7;
    }
    REQUIRE(stele_close(parents) == STELE_OK);
    for (int i = 0; i < FILES; i++)
        REQUIRE(fcntl(files[i], F_GETFD) >= 0);
    for (int i = 0; i < MAPS; i++)
        REQUIRE(maps[i][0] == 7 && maps[i][4 * MIB - 1] == 7);
}

static void a_close_in_the_child_takes_no_file_or_memory_that_is_not_the_handle_s(void **state)
{
    parents = create_store(8, 10, 16 * KIB, 0);
    assert_store(parents);
    assert_ok(stele_append(parents, record, 8, NULL));
    assert_ok(stele_get(parents, 0, record)); /* a window is mapped */
    assert_int_equal(exit_of_child(close_all_and_begin_anew, NULL), 0);
    assert_ok(stele_set(parents, 0, record));
    assert_verifies(parents);
    assert_ok(stele_close(parents));
}

/* ---- descriptors ---- */

static void open_with_nothing_below_three(void *context)
{
    int report = fcntl(2, F_DUPFD_CLOEXEC, 50);
    close(0);
    close(1);
    close(2);
    struct stele *store = open_store(STELE_READ_WRITE);
    bool is_good = store && fcntl(0, F_GETFD) < 0 && fcntl(1, F_GETFD) < 0 && fcntl(2, F_GETFD) < 0;
    for (int descriptor = 3; descriptor < 100; descriptor++) {
        int flags = fcntl(descriptor, F_GETFD);
        char link[64], target[256] = { 0 };
        snprintf(link, sizeof(link), "/proc/self/fd/%d", descriptor);
        if (flags >= 0 && readlink(link, target, sizeof(target) - 1) > 0 && strstr(target, "a.stele"))
            is_good = is_good && (flags & FD_CLOEXEC);
    }
    if (is_good)
        is_good = stele_close(store) == STELE_OK;
    if (!is_good)
        dprintf(report, "store %p: %s\n", (void *)store, stele_last_error()->text);
    _exit(is_good ? 0 : 3);
}

static void descriptors_are_above_two_and_close_on_exec(void **state)
{
    struct stele *store = create_store(8, 10, 16 * KIB, 0);

    assert_store(store);
    assert_ok(stele_close(store));
    assert_int_equal(exit_of_child(open_with_nothing_below_three, NULL), 0);
}

int system_tests(void)
{
    const struct CMUnitTest tests[] = {
        IN_SCRATCH(every_call_is_refused_in_a_child_and_the_parent_goes_on),
        IN_SCRATCH(a_child_that_closes_everything_keeps_its_own_memory),
        IN_SCRATCH(a_child_of_a_child_is_one_too),
        IN_SCRATCH(a_child_does_not_wait_for_threads_that_it_does_not_have),
        IN_SCRATCH(a_child_can_do_nothing_with_its_parent_s_handle_and_disturbs_nobody),
        IN_SCRATCH(a_close_in_the_child_takes_no_file_or_memory_that_is_not_the_handle_s),
        IN_SCRATCH(descriptors_are_above_two_and_close_on_exec),
    };

    return cmocka_run_group_tests_name("fork, system", tests, NULL, NULL);
}
