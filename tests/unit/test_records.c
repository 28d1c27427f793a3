/*
 * Records of every size: 1 to 4097 bytes, 64 KiB and 1 MiB, with counts round the edges of cells and blocks. Each
 * store is filled by small and bulk appends, changed, read in every way, verified and opened again.
 */
#include "scratch.h"

struct trial {
    struct stele *store;
    size_t record_bytes;
    uint64_t count;
    uint8_t *model, *out;
};

static void compare(const struct trial *trial)
{
    struct stele_cursor *cursor;
    const void *batch;
    size_t n;
    uint64_t at = 0;
    int rc;

    assert_u64(stele_count(trial->store), trial->count);
    memset(trial->out, 0xee, (size_t)((trial->count + 1) * trial->record_bytes));
    assert_ok(stele_read(trial->store, 0, (size_t)trial->count, trial->out));
    assert_memory_equal(trial->out, trial->model, (size_t)(trial->count * trial->record_bytes));
    /* Not a byte behind what was asked for. */
    assert_u64(trial->out[trial->count * trial->record_bytes], 0xee);
    assert_ok(stele_cursor_open(trial->store, 0, UINT64_MAX, &cursor));
    while ((rc = stele_cursor_next(cursor, &batch, &n)) == STELE_OK) {
        assert_memory_equal(batch, trial->model + at * trial->record_bytes, n * trial->record_bytes);
        at += n;
    }
    assert_int_equal(rc, STELE_END);
    assert_u64(at, trial->count);
    stele_cursor_close(cursor);
    for (uint64_t i = 0; i < trial->count; i += 1 + trial->count / 3) {
        memset(trial->out, 0xee, trial->record_bytes + 1);
        assert_ok(stele_get(trial->store, i, trial->out));
        assert_memory_equal(trial->out, trial->model + i * trial->record_bytes, trial->record_bytes);
        assert_u64(trial->out[trial->record_bytes], 0xee);
    }
    assert_code(stele_get(trial->store, trial->count, trial->out), STELE_E_RANGE);
    assert_verifies(trial->store);
}

static void append(struct trial *trial, uint64_t n)
{
    uint8_t *at = trial->model + trial->count * trial->record_bytes;
    uint64_t first = 99;

    fill_records(at, trial->record_bytes, trial->count, n, 1);
    assert_ok(stele_append(trial->store, at, (size_t)n, &first));
    assert_u64(first, trial->count);
    trial->count += n;
}

static void set(struct trial *trial, uint64_t index)
{
    uint8_t *at = trial->model + index * trial->record_bytes;

    fill_record(at, trial->record_bytes, index, 2);
    assert_ok(stele_set(trial->store, index, at));
}

static void set_count(struct trial *trial, uint64_t count)
{
    if (count > trial->count)
        memset(trial->model + trial->count * trial->record_bytes, 0,
               (size_t)((count - trial->count) * trial->record_bytes));
    assert_ok(stele_set_count(trial->store, count));
    trial->count = count;
}

/* @edge records by small appends and a bulk one; then changes at both ends and round the edge. */
static void live(uint32_t record_bytes, uint64_t edge, uint32_t flags)
{
    uint64_t ring = 2 * stele_round_up(record_bytes + 512, 4096), most = edge + 3;
    struct trial trial = { .record_bytes = record_bytes };

    trial.model = malloc((size_t)((most + 1) * record_bytes));
    trial.out = malloc((size_t)((most + 1) * record_bytes));
    assert_true(trial.model && trial.out);
    trial.store = create_store(record_bytes, edge, ring < 16 * KIB ? 16 * KIB : ring, flags);
    assert_store(trial.store);
    if (edge > 1)
        append(&trial, 1);
    append(&trial, edge - trial.count);
    compare(&trial);
    set(&trial, 0);
    set(&trial, edge - 1);
    append(&trial, 1); /* behind the capacity: the store grows */
    if (edge > 1)
        set(&trial, edge / 2);
    compare(&trial);
    set_count(&trial, edge + 3);
    set(&trial, edge + 1);
    set_count(&trial, edge - 1);
    set_count(&trial, edge);
    assert_ok(stele_close(trial.store));
    trial.store = open_store(STELE_READ_ONLY);
    assert_store(trial.store);
    compare(&trial);
    assert_ok(stele_close(trial.store));
    free(trial.model);
    free(trial.out);
    assert_int_equal(unlink(scratch_path), 0);
}

/* Cells, blocks, and more than a piece of a bulk append. */
static void live_round_the_edges(uint32_t record_bytes)
{
    uint64_t per_cell = stele_records_per_cell(record_bytes), per_block = stele_records_per_block(record_bytes);
    uint64_t edges[] = { per_cell, per_block, per_block * 2 };

    for (size_t i = 0; i < COUNT_OF(edges); i++) {
        if (i && edges[i] == edges[i - 1])
            continue; /* the cell is the block */
        for (unsigned side = 0; side < 3; side++) {
            uint64_t edge = edges[i] + side - 1;
            if (edge)
                live(record_bytes, edge, record_bytes % 2 ? STELE_SPARSE : 0);
        }
    }
}

static void records_of_1_to_4097_bytes_live_in_blocks_and_cells(void **state)
{
    const uint32_t stride = scale_percent() < 100 ? 100 / (scale_percent() + 1) * 5 + 1 : 1;

    for (uint32_t record_bytes = 1; record_bytes <= 4097; record_bytes += stride)
        live_round_the_edges(record_bytes);
}

static void sizes_at_the_borders_live_at_every_edge(void **state)
{
    static const uint32_t sizes[] = { 1, 2, 3, 7, 8, 63, 64, 65, 127, 128, 129, 255, 256, 257, 511, 512, 513, 1023,
                                      1024, 1025, 2047, 2048, 2049, 4095, 4096, 4097 };
    const size_t stride = scale_percent() < 100 ? 5 : 1;

    for (size_t i = 0; i < COUNT_OF(sizes); i += stride)
        live_round_the_edges(sizes[i]);
}

static void large_records_live_too(void **state)
{
    for (uint64_t count = 1; count <= 3; count++) {
        live(65536, count, count == 2 ? STELE_SPARSE : 0);
        if (count < 3 || scale_percent() >= 100)
            live(1048576, count, count == 2 ? STELE_SPARSE : 0);
    }
    live(65535, 2, 0);
    live(65537, 2, 0);
}

static void bulk_appends_of_every_length_round_a_block_meet_the_block_that_is_there(void **state)
{
    enum { RECORD_BYTES = 4097 / 16 }; /* 16 a block */
    static uint8_t model[400 * RECORD_BYTES], out[400 * RECORD_BYTES];

    for (uint64_t before = 0; before <= 33; before += scale_percent() < 100 ? 8 : 1) {
        struct stele *store = create_store(RECORD_BYTES, 1, 16 * KIB, 0);
        struct trial trial = { .store = store, .record_bytes = RECORD_BYTES, .model = model, .out = out };
        assert_store(store);
        if (before)
            append(&trial, before);
        for (uint64_t n = 63; n <= 66; n++)
            append(&trial, n);
        compare(&trial);
        assert_ok(stele_close(store));
        assert_int_equal(unlink(scratch_path), 0);
    }
}

static void get_many_gives_each_record_its_code(void **state)
{
    static const uint64_t indexes[] = { 3, 99, 0, 100, UINT64_MAX, 3, 50 };
    struct stele *store = create_store(24, 100, 0, 0);
    uint8_t records[100 * 24], out[COUNT_OF(indexes) * 24];
    int codes[COUNT_OF(indexes)];

    assert_store(store);
    fill_records(records, 24, 0, 100, 0);
    assert_ok(stele_append(store, records, 100, NULL));
    memset(out, 0xee, sizeof(out));
    assert_code(stele_get_many(store, indexes, COUNT_OF(indexes), out, codes), STELE_E_RANGE);
    assert_says("record 100");
    for (size_t i = 0; i < COUNT_OF(indexes); i++) {
        assert_int_equal(codes[i], indexes[i] < 100 ? STELE_OK : STELE_E_RANGE);
        if (codes[i] == STELE_OK)
            assert_memory_equal(out + i * 24, records + indexes[i] * 24, 24);
        else
            assert_u64(out[i * 24], 0xee); /* untouched */
    }
    assert_ok(stele_get_many(store, indexes, 3, out, NULL));
    assert_ok(stele_get_many(store, NULL, 0, NULL, NULL));
    assert_code(stele_get_many(store, NULL, 1, out, NULL), STELE_E_USAGE);
    assert_ok(stele_close(store));
}

static void ranges_outside_leave_the_output_untouched(void **state)
{
    static const struct { uint64_t first; size_t n; int code; } cases[] = {
        { 0, 100, STELE_OK }, { 99, 1, STELE_OK }, { 100, 0, STELE_OK }, { 0, 0, STELE_OK },
        { 0, 101, STELE_E_RANGE }, { 100, 1, STELE_E_RANGE }, { 101, 0, STELE_E_RANGE }, { 1, SIZE_MAX, STELE_E_RANGE },
        { UINT64_MAX, 1, STELE_E_RANGE }, { UINT64_MAX, 0, STELE_E_RANGE },
    };
    struct stele *store = create_store(24, 100, 0, 0);
    uint8_t records[100 * 24], out[100 * 24], untouched[100 * 24];

    assert_store(store);
    fill_records(records, 24, 0, 100, 0);
    assert_ok(stele_append(store, records, 100, NULL));
    memset(untouched, 0xee, sizeof(untouched));
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        memset(out, 0xee, sizeof(out));
        assert_code(stele_read(store, cases[i].first, cases[i].n, out), cases[i].code);
        size_t bytes = cases[i].code == STELE_OK ? cases[i].n * 24 : 0;
        assert_true(bytes == 0 || memcmp(out, records + cases[i].first * 24, bytes) == 0);
        assert_memory_equal(out + bytes, untouched, sizeof(out) - bytes);
    }
    assert_code(stele_read(store, 0, 1, NULL), STELE_E_USAGE);
    assert_code(stele_get(store, 0, NULL), STELE_E_USAGE);
    assert_code(stele_get(NULL, 0, out), STELE_E_USAGE);
    assert_u64(stele_count(NULL), 0);
    assert_ok(stele_close(store));
}

static void padding_is_zero_on_disk_whatever_the_program_had_there(void **state)
{
    const struct stele_field fields[] = {
        { .name = "a", .type = STELE_U8, .offset = 1 }, { .name = "b", .type = STELE_U32, .offset = 8 },
    };
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele_schema *schema;
    struct stele *store;
    static uint8_t records[40000 * 16], out[16];
    static const uint8_t expected[16] = { 0, 0xcc, 0, 0, 0, 0, 0, 0, 0xcc, 0xcc, 0xcc, 0xcc, 0, 0, 0, 0 };

    assert_ok(stele_schema_new("Padded", 16, fields, 2, &schema));
    options.schema = schema;
    assert_ok(stele_create(scratch_path, &options, &store));
    stele_schema_free(schema);
    memset(records, 0xcc, sizeof(records));
    assert_ok(stele_append(store, records, 2, NULL));
    assert_ok(stele_append(store, records, 40000, NULL)); /* bulk */
    assert_ok(stele_set(store, 1, records));
    for (uint64_t i = 0; i < 40002; i += 1 + i / 2) {
        assert_ok(stele_get(store, i, out));
        assert_memory_equal(out, expected, 16);
    }
    assert_verifies(store);
    uint64_t offset = info_of(store).records_offset;
    assert_ok(stele_close(store));
    peek(scratch_path, offset + 16 * 40001, out, 16);
    assert_memory_equal(out, expected, 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FAST_SCRATCH(records_of_1_to_4097_bytes_live_in_blocks_and_cells),
        IN_FAST_SCRATCH(sizes_at_the_borders_live_at_every_edge),
        IN_FAST_SCRATCH(large_records_live_too),
        IN_FAST_SCRATCH(bulk_appends_of_every_length_round_a_block_meet_the_block_that_is_there),
        IN_FAST_SCRATCH(get_many_gives_each_record_its_code),
        IN_FAST_SCRATCH(ranges_outside_leave_the_output_untouched),
        IN_FAST_SCRATCH(padding_is_zero_on_disk_whatever_the_program_had_there),
    };

    return cmocka_run_group_tests_name("records", tests, NULL, NULL);
}
