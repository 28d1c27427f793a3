/*
 * The store against an array in memory: random sequences of every call that writes, by two handles in turns, with
 * reopening, checkpoints and resizes among them. Now and then the file is copied as it is: the copy is what a kill
 * at that moment leaves, and must come to the same records by recovery and by reading the journal's tail.
 */
#include "scratch.h"

enum { MODEL_BYTES_MAX = 192 * KIB, HANDLES = 2 };

static struct {
    struct chance chance;
    struct stele *handles[HANDLES]; /* NULL: closed */
    size_t record_bytes;
    uint64_t count, count_max;
    uint8_t *records, *scratch, *before;
    uint64_t ring_bytes;
    uint64_t user_version;
    uint64_t last_sequence;
    unsigned commits, refused;
} model;

static uint64_t below(uint64_t end) { return chance_below(&model.chance, end); }

static struct stele *a_handle(void)
{
    struct stele *store = model.handles[below(HANDLES)];

    if (store)
        return store;
    return model.handles[0] ? model.handles[0] : model.handles[1];
}

/* Of @count records, in memory. */
static size_t bytes_of(uint64_t count)
{
    return (size_t)(count * model.record_bytes);
}

static void compare_with(struct stele *store)
{
    assert_u64(stele_count(store), model.count);
    if (model.count == 0)
        return;
    memset(model.scratch, 0xdd, bytes_of(model.count));
    assert_ok(stele_read(store, 0, (size_t)model.count, model.scratch));
    for (uint64_t i = 0; i < model.count; i++) {
        if (memcmp(model.scratch + i * model.record_bytes, model.records + i * model.record_bytes, model.record_bytes))
            fail_msg("record %" PRIu64 " of %" PRIu64 " differs", i, model.count);
    }
}

static void compare_all(void)
{
    for (unsigned i = 0; i < HANDLES; i++) {
        if (model.handles[i])
            compare_with(model.handles[i]);
    }
}

static void compare_one(void)
{
    uint64_t index = below(model.count + 2);
    int rc = stele_get(a_handle(), index, model.scratch);

    assert_int_equal(rc, index < model.count ? STELE_OK : STELE_E_RANGE);
    if (rc == STELE_OK)
        assert_memory_equal(model.scratch, model.records + index * model.record_bytes, model.record_bytes);
}

/* ---- the model's own changes ---- */

static void model_set_count(uint64_t count)
{
    if (count > model.count)
        memset(model.records + bytes_of(model.count), 0, bytes_of(count - model.count));
    model.count = count;
}

static void model_append(const uint8_t *records, uint64_t n)
{
    memcpy(model.records + bytes_of(model.count), records, bytes_of(n));
    model.count += n;
}

static void keep(void) { memcpy(model.before, model.records, bytes_of(model.count)); }

/* Put the model back to what keep() kept, with @count. */
static void put_back(uint64_t count)
{
    model.count = count;
    memcpy(model.records, model.before, bytes_of(count));
}

/* Whether a write worked; if it was too big for the ring nothing may have changed. */
static bool is_done(int rc)
{
    if (rc == STELE_E_TOO_BIG) {
        model.refused++;
        return false;
    }
    assert_ok(rc);
    model.commits++;
    return true;
}

/* ---- operations ---- */

static void do_set(void)
{
    uint64_t index = below(model.count);

    if (model.count == 0)
        return;
    chance_fill(&model.chance, model.scratch, model.record_bytes);
    if (is_done(stele_set(a_handle(), index, model.scratch)))
        memcpy(model.records + index * model.record_bytes, model.scratch, model.record_bytes);
}

static void do_set_many(void)
{
    uint64_t indexes[20], n = below(COUNT_OF(indexes) + 1);

    if (model.count == 0)
        return;
    for (uint64_t i = 0; i < n; i++) {
        indexes[i] = below(4) && i ? (indexes[i - 1] + 1) % model.count : below(model.count);
        chance_fill(&model.chance, model.scratch + i * model.record_bytes, model.record_bytes);
    }
    if (!is_done(stele_set_many(a_handle(), indexes, (size_t)n, model.scratch)))
        return;
    for (uint64_t i = 0; i < n; i++)
        memcpy(model.records + indexes[i] * model.record_bytes, model.scratch + i * model.record_bytes,
               model.record_bytes);
}

static void do_append(bool is_bulk)
{
    uint64_t room = model.count_max - model.count, first = 99;
    uint64_t n = is_bulk ? below(room + 1) : below(stele_min(room, 5) + 1);

    chance_fill(&model.chance, model.scratch, bytes_of(n));
    if (!is_done(stele_append(a_handle(), model.scratch, (size_t)n, &first)))
        return;
    assert_u64(first, model.count);
    model_append(model.scratch, n);
}

static void do_set_count(void)
{
    uint64_t count = below(2) ? below(model.count_max + 1) : below(model.count + 1);

    if (is_done(stele_set_count(a_handle(), count)))
        model_set_count(count);
}

static void txn_step(struct stele_txn *txn)
{
    uint64_t n, first, index;

    switch (below(6)) {
    case 0:
    case 1:
        index = below(model.count + 1);
        chance_fill(&model.chance, model.scratch, model.record_bytes);
        if (index == model.count) {
            assert_code(stele_txn_set(txn, index, model.scratch), STELE_E_RANGE);
            break;
        }
        assert_ok(stele_txn_set(txn, index, model.scratch));
        memcpy(model.records + index * model.record_bytes, model.scratch, model.record_bytes);
        break;
    case 2:
        n = below(stele_min(model.count_max - model.count, 8) + 1);
        chance_fill(&model.chance, model.scratch, bytes_of(n));
        assert_ok(stele_txn_append(txn, model.scratch, (size_t)n, &first));
        assert_u64(first, model.count);
        model_append(model.scratch, n);
        break;
    case 3:
        n = below(3) ? stele_min(model.count + below(10), model.count_max) : below(model.count_max + 1);
        if (below(2))
            n = model.count - below(stele_min(model.count, 6) + 1);
        assert_ok(stele_txn_set_count(txn, n));
        model_set_count(n);
        break;
    default:
        index = below(model.count + 1);
        if (index == model.count) {
            assert_code(stele_txn_get(txn, index, model.scratch), STELE_E_RANGE);
            break;
        }
        assert_ok(stele_txn_get(txn, index, model.scratch));
        assert_memory_equal(model.scratch, model.records + index * model.record_bytes, model.record_bytes);
    }
    assert_u64(stele_txn_count(txn), model.count);
}

static void do_txn(void)
{
    struct stele *store = a_handle();
    struct stele_txn *txn;
    uint64_t count = model.count, sequence = 0, user_version = model.user_version;
    uint8_t user[64] = { 7 };

    keep();
    assert_ok(stele_begin(store, &txn));
    for (uint64_t steps = below(12); steps > 0; steps--)
        txn_step(txn);
    if (below(3) == 0) {
        user_version = below(1000);
        assert_ok(stele_txn_user(txn, user_version, user));
    }
    if (below(3) == 0)
        assert_ok(stele_txn_tag(txn, &sequence, 8));
    if (below(5) == 0) {
        stele_abort(txn);
        put_back(count);
    } else if (is_done(stele_commit(txn, STELE_DURABLE, &sequence))) {
        assert_true(sequence >= model.last_sequence);
        model.last_sequence = sequence;
        model.user_version = user_version;
    } else {
        put_back(count);
    }
}

static struct stele_options options_of_model(void)
{
    struct stele_options options = STELE_OPTIONS_INIT;

    options.mode = STELE_READ_WRITE;
    options.lock_wait_ms = 1000;
    return options;
}

static void close_handle(unsigned which)
{
    assert_ok(stele_close(model.handles[which]));
    model.handles[which] = NULL;
}

static void open_handle(unsigned which)
{
    struct stele_options options = options_of_model();

    assert_ok(stele_open(scratch_path, &options, &model.handles[which]));
}

static void do_reopen(void)
{
    unsigned which = (unsigned)below(HANDLES);

    if (!model.handles[which]) {
        open_handle(which);
    } else if (model.handles[1 - which] && below(2)) {
        close_handle(which);
    } else {
        close_handle(which);
        open_handle(which);
    }
    assert_verifies(a_handle());
    assert_u64(info_of(a_handle()).user_version, model.user_version);
}

static void do_resize(void)
{
    struct stele_options options = options_of_model();

    for (unsigned i = 0; i < HANDLES; i++)
        close_handle(i);
    options.capacity_records = model.count + below(50);
    options.journal_bytes = below(2) ? model.ring_bytes + 4096 * below(8) : 0;
    int rc = stele_resize(scratch_path, &options);
    if (rc != STELE_E_TOO_BIG)
        assert_ok(rc);
    open_handle(0);
    assert_verifies(a_handle());
}

/* What a kill now would leave: the bytes that were stored. */
static void do_kill(void)
{
    struct stele_options options = options_of_model();
    struct stele *copy = NULL;
    char path[128];

    snprintf(path, sizeof(path), "%s", scratch_name("killed.stele"));
    copy_file(scratch_path, path);
    assert_ok(stele_open(path, NULL, &copy));
    compare_with(copy);
    assert_verifies(copy);
    assert_u64(info_of(copy).user_version, model.user_version);
    assert_ok(stele_close(copy));
    assert_ok(stele_open(path, &options, &copy));
    compare_with(copy);
    assert_verifies(copy);
    assert_u64(info_of(copy).user_version, model.user_version);
    assert_ok(stele_outcome(copy, model.last_sequence));
    assert_ok(stele_close(copy));
    assert_int_equal(unlink(path), 0);
}

static void step(void)
{
    switch (below(24)) {
    case 0: case 1: case 2: case 3:
        do_set();
        break;
    case 4: case 5:
        do_set_many();
        break;
    case 6: case 7: case 8:
        do_append(false);
        break;
    case 9:
        do_append(true);
        break;
    case 10: case 11:
        do_set_count();
        break;
    case 12: case 13: case 14: case 15: case 16:
        do_txn();
        break;
    case 17:
        assert_ok(stele_reserve(a_handle(), model.count + below(20)));
        break;
    case 18:
        assert_ok(stele_checkpoint(a_handle()));
        break;
    case 19:
        assert_ok(stele_sync(a_handle()));
        break;
    case 20: case 21:
        do_reopen();
        break;
    case 22:
        do_kill();
        break;
    default:
        if (below(4) == 0 && model.handles[0] && model.handles[1])
            do_resize();
        else
            compare_all();
    }
    compare_one();
}

static void begin_life(void)
{
    static const uint32_t sizes[] = { 1, 2, 3, 7, 16, 33, 100, 128, 129, 511, 512, 1000, 2048, 2049, 4095, 4096, 4097,
                                      7000, 20000 };
    struct stele_options options = options_of_model();
    uint32_t record_bytes = below(2) ? sizes[below(COUNT_OF(sizes))] : 1 + (uint32_t)below(3000);
    struct stele_schema *schema = schema_of_bytes(record_bytes);

    model.record_bytes = record_bytes;
    model.count = 0;
    model.count_max = stele_min(MODEL_BYTES_MAX / record_bytes, 20000);
    model.ring_bytes = stele_round_up(2 * stele_round_up(record_bytes + 512, 4096), 4096);
    model.ring_bytes = stele_max(model.ring_bytes, 16 * KIB) + 4096 * below(3);
    model.user_version = 0;
    model.last_sequence = 0;
    options.schema = schema;
    options.journal_bytes = model.ring_bytes;
    options.capacity_records = below(2) ? 1 + below(model.count_max) : 1;
    options.flags = below(2) ? STELE_SPARSE : 0;
    assert_ok(stele_create(scratch_path, &options, &model.handles[0]));
    stele_schema_free(schema);
}

static void end_life(void)
{
    compare_all();
    for (unsigned i = 0; i < HANDLES; i++)
        close_handle(i);
    open_handle(0);
    compare_all();
    assert_verifies(model.handles[0]);
    close_handle(0);
    assert_int_equal(unlink(scratch_path), 0);
}

static void random_lives_of_a_store_are_those_of_an_array(void **state)
{
    unsigned lives = scaled(60, 4);

    model.chance = chance_begin();
    model.records = malloc(MODEL_BYTES_MAX * 3);
    model.scratch = malloc(MODEL_BYTES_MAX * 3);
    model.before = malloc(MODEL_BYTES_MAX * 3);
    assert_true(model.records && model.scratch && model.before);
    for (unsigned life = 0; life < lives; life++) {
        begin_life();
        for (unsigned i = 0; i < 100; i++)
            step();
        end_life();
        /* Few lives may meet no refusal: then there are more of them. */
        if (life + 1 == lives && model.refused == 0 && lives < 60)
            lives++;
    }
    assert_true(model.commits > lives * 30);
    assert_true(model.refused > 0);
    free(model.records);
    free(model.scratch);
    free(model.before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FAST_SCRATCH(random_lives_of_a_store_are_those_of_an_array),
    };

    return cmocka_run_group_tests_name("model", tests, NULL, NULL);
}
