/*
 * Windows with a budget: which go and which stay, what passes the budget and what is refused, several threads.
 *
 * The file is sparse; each of its pages begins with its number. In a build with window_torture every window goes at
 * its unpin, so what is said there is only that nothing more than the budget is ever mapped.
 */
#include "maps.h"
#include "window_store.h"
#include "window_pool.h"

#include <pthread.h>

enum { OVERLAP = 5000, WINDOW_COUNT = 64 };
#define BUDGET (UINT64_C(4) * MIB)
#define FIRST (UINT64_C(256) * KIB)

static struct stele_os_file file;
static struct stele_windows windows;
static uint64_t stretch; /* that a window takes, with its overlap */
static unsigned room;    /* windows that the budget holds */

static void number_pages(uint64_t from, uint64_t end)
{
    for (uint64_t at = from; at < end; at += 4096)
        assert_ok(stele_os_write(&file, at, &at, sizeof(at)));
}

static uint64_t start_of(uint64_t index) { return FIRST + index * windows.window_bytes; }
static uint64_t number_in(const void *bytes)
{
    uint64_t number;
    memcpy(&number, bytes, sizeof(number));
    return number;
}

static int make_windows(void **state)
{
    struct stele_window_plan plan = { .first_offset = FIRST, .overlap_bytes = OVERLAP, .budget_bytes = BUDGET };

    if (scratch_make(state))
        return -1;
    poke(scratch_path, 0, "", 0);
    if (stele_os_open(scratch_path, true, &file) || stele_windows_init(&windows, &file, &plan))
        return -1;
    maps_reset();
    stretch = windows.window_bytes + OVERLAP;
    room = (unsigned)(BUDGET / stretch);
    if (stele_os_set_bytes(&file, start_of(WINDOW_COUNT)))
        return -1;
    for (uint64_t i = 0; i < WINDOW_COUNT; i++)
        number_pages(start_of(i), start_of(i) + 1);
    return 0;
}

static int drop_windows(void **state)
{
    stele_windows_done(&windows);
    stele_windows_done(&windows);
    if (mapped_bytes || map_count)
        return -1;
    stele_os_close(&file);
    return scratch_drop(state);
}

#define WITH_WINDOWS(test) cmocka_unit_test_setup_teardown(test, make_windows, drop_windows)

static bool is_mapped(uint64_t index)
{
    for (size_t i = 0; i < map_count; i++) {
        if (maps[i].offset == start_of(index))
            return true;
    }
    return false;
}

static void hold(uint64_t index, struct stele_pin *out)
{
    assert_ok(stele_window_pin(&windows, start_of(index), 4096, out));
    assert_u64(number_in(out->bytes), start_of(index));
}

static void use(uint64_t index)
{
    struct stele_pin pin = { 0 };

    hold(index, &pin);
    stele_window_unpin(&pin);
    assert_null(pin.bytes);
    stele_window_unpin(&pin);
}

static void a_budget_holds_windows_of_a_sixteenth_of_it(void **state)
{
    static const struct { uint64_t budget, window; } cases[] = {
        { 2 * MIB, 128 * KIB }, { 4 * MIB, 256 * KIB }, { 5 * MIB, 256 * KIB }, { 8 * MIB - 1, 256 * KIB },
        { UINT64_C(512) * MIB, 32 * MIB }, { UINT64_C(1) << 34, 64 * MIB }, { UINT64_MAX, 64 * MIB },
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct stele_windows some;
        struct stele_window_plan plan = { .overlap_bytes = OVERLAP, .budget_bytes = cases[i].budget };

        assert_ok(stele_windows_init(&some, &file, &plan));
        if (!stele_window_is_torture())
            assert_u64(some.window_bytes, cases[i].window);
        assert_true(some.window_bytes % stele_os_granularity() == 0);
        stele_windows_done(&some);
    }
}

static void the_least_budget_follows_the_record_and_the_file(void **state)
{
    assert_u64(stele_window_budget_least(0, 16384), STELE_WINDOW_BUDGET_MIN);
    assert_u64(stele_window_budget_least(0, 16 * MIB), 128 * MIB);
    /* A file whose table needs larger windows: 2^50 bytes, 2^20 windows. */
    assert_u64(stele_window_budget_least(UINT64_C(1) << 50, 16384), UINT64_C(32) << 30);
    for (unsigned shift = 20; shift < 60; shift++) {
        uint64_t file_bytes = UINT64_C(1) << shift, least = stele_window_budget_least(file_bytes, 16384);
        struct stele_windows some;
        /* The readers' share where stores have one too. */
        struct stele_window_plan plan = { .file_bytes = file_bytes, .overlap_bytes = 16384,
                                          .budget_bytes = least - least / 4 };

        assert_ok(stele_windows_init(&some, &file, &plan));
        assert_true(file_bytes >> some.window_shift <= UINT64_C(1) << 20);
        assert_true(4 * (some.window_bytes + some.overlap_bytes) <= plan.budget_bytes);
        stele_windows_done(&some);
    }
}

static void idle_windows_go_least_recently_used_first(void **state)
{
    struct chance chance = chance_begin();
    uint64_t used[WINDOW_COUNT] = { 0 }; /* when; 0: not mapped */

    for (uint64_t now = 1; now < scaled(4000, 400); now++) {
        /* Half of them among a few, so that some are met again. */
        uint64_t end = chance_below(&chance, 2) ? WINDOW_COUNT : stele_min(room + 2, WINDOW_COUNT);
        uint64_t index = chance_below(&chance, end);
        unsigned count = 0;

        use(index);
        used[index] = now;
        for (uint64_t i = 0; i < WINDOW_COUNT; i++)
            count += used[i] != 0;
        if (count > room) {
            uint64_t oldest = index;
            for (uint64_t i = 0; i < WINDOW_COUNT; i++)
                oldest = used[i] && used[i] < used[oldest] ? i : oldest;
            used[oldest] = 0;
        }
        for (uint64_t i = 0; i < WINDOW_COUNT; i++) {
            if (is_mapped(i) != (used[i] != 0 && !stele_window_is_torture()))
                fail_msg("step %" PRIu64 ": window %" PRIu64 " was used at %" PRIu64, now, i, used[i]);
        }
    }
    assert_true(mapped_bytes_most <= BUDGET);
}

static void pinned_windows_stay_where_they_are(void **state)
{
    struct stele_pin pins[4] = { 0 };
    const uint8_t *places[COUNT_OF(pins)];

    for (uint64_t i = 0; i < COUNT_OF(pins); i++) {
        hold(i, &pins[i]);
        places[i] = pins[i].bytes;
    }
    for (unsigned round = 0; round < 3; round++) {
        for (uint64_t i = COUNT_OF(pins); i < WINDOW_COUNT; i++)
            use(i);
        for (uint64_t i = 0; i < COUNT_OF(pins); i++) {
            struct stele_pin again = { 0 };
            assert_u64(number_in(pins[i].bytes), start_of(i));
            hold(i, &again);
            assert_ptr_equal(again.bytes, places[i]);
            stele_window_unpin(&again);
        }
    }
    assert_true(mapped_bytes_most <= BUDGET);
    for (uint64_t i = 0; i < COUNT_OF(pins); i++)
        stele_window_unpin(&pins[i]);
    for (uint64_t i = COUNT_OF(pins); i < WINDOW_COUNT; i++)
        use(i);
    assert_false(is_mapped(0));
}

static void a_moment_passes_the_budget_by_its_window_and_a_view_does_not(void **state)
{
    static struct stele_pin views[BUDGET / 4096], moment, second;
    unsigned count = 0;

    while (stele_window_pin_view(&windows, start_of(count), 4096, &views[count]) == STELE_OK)
        count++;
    /* In a build with small windows the file ends first. */
    assert_int_equal(count, room < WINDOW_COUNT ? room : WINDOW_COUNT);
    if (count == WINDOW_COUNT)
        goto out;
    assert_int_equal(stele_last_error()->code, STELE_E_FULL);
    assert_says("max_mapped_bytes");
    assert_ok(stele_window_pin(&windows, start_of(40), 4096, &moment));
    assert_ok(stele_window_pin(&windows, start_of(41), 4096, &second));
    assert_u64(number_in(moment.bytes), start_of(40));
    assert_true(mapped_bytes > BUDGET && mapped_bytes <= BUDGET + 2 * stretch);
    assert_code(stele_window_pin_view(&windows, start_of(42), 4096, &views[count]), STELE_E_FULL);
    stele_window_unpin(&moment);
    stele_window_unpin(&second);
    assert_true(mapped_bytes <= BUDGET);
    for (unsigned i = 0; i < count; i++)
        assert_u64(number_in(views[i].bytes), start_of(i));
    /* Of one that is there already nothing more is asked. */
    assert_ok(stele_window_pin_view(&windows, start_of(0) + 8192, 1, &views[count]));
    stele_window_unpin(&views[count]);
    stele_window_unpin(&views[0]);
    assert_ok(stele_window_pin_view(&windows, start_of(42), 4096, &views[0]));
out:
    for (unsigned i = 0; i < count; i++)
        stele_window_unpin(&views[i]);
}

static void a_view_alone_is_counted(void **state)
{
    const uint8_t *bytes = NULL;
    void *map = NULL, *second = NULL;
    size_t map_bytes = 0, second_bytes = 0;
    struct stele_pin pin = { 0 };

    number_pages(start_of(2), start_of(2) + 1);
    for (uint64_t i = 0; i < room && i < WINDOW_COUNT; i++)
        use(i);
    uint64_t most = stele_min(BUDGET, start_of(WINDOW_COUNT) - FIRST);
    if (most == BUDGET) {
        assert_code(stele_window_map_alone(&windows, FIRST, BUDGET + 1, &bytes, &map, &map_bytes), STELE_E_FULL);
        assert_says("max_mapped_bytes");
        assert_null(map);
    }
    assert_ok(stele_window_map_alone(&windows, FIRST, most, &bytes, &map, &map_bytes));
    assert_u64(number_in(bytes + (start_of(2) - FIRST)), start_of(2));
    assert_true(mapped_bytes_most <= BUDGET);
    if (most == BUDGET) {
        /* Its budget is used up: no other view, moments still. */
        assert_code(stele_window_pin_view(&windows, start_of(1), 1, &pin), STELE_E_FULL);
        assert_code(stele_window_map_alone(&windows, FIRST, 1, &bytes, &second, &second_bytes), STELE_E_FULL);
        use(1);
        assert_true(mapped_bytes == BUDGET);
    }
    stele_window_unmap_alone(&windows, map, map_bytes);
    assert_ok(stele_window_map_alone(&windows, FIRST + 1, 1, &bytes, &second, &second_bytes));
    stele_window_unmap_alone(&windows, second, second_bytes);
}

static void a_window_that_grew_is_another_and_the_old_one_goes_with_its_last_pin(void **state)
{
    struct stele_pin old = { 0 }, second = { 0 }, grown = { 0 };
    uint64_t end = start_of(WINDOW_COUNT);

    assert_ok(stele_window_pin(&windows, end - 4096, 4096, &old));
    assert_ok(stele_window_pin(&windows, end - 4096, 4096, &second));
    assert_code(stele_window_pin(&windows, end - 4096, 4097, &grown), STELE_E_TRUNCATED);
    assert_ok(stele_os_set_bytes(&file, end + 2 * windows.window_bytes));
    number_pages(end, end + 1);
    assert_ok(stele_window_pin(&windows, end - 4096, 4096 + 8, &grown));
    assert_u64(number_in(grown.bytes + 4096), end);
    assert_true(grown.bytes != old.bytes);
    uint64_t with_old = mapped_bytes;
    stele_window_unpin(&old);
    assert_u64(mapped_bytes, with_old);
    uint64_t shown = 77;
    assert_ok(stele_os_write(&file, end - 4096, &shown, sizeof(shown)));
    assert_u64(number_in(second.bytes), 77);
    stele_window_unpin(&second);
    assert_true(mapped_bytes < with_old);
    assert_u64(number_in(grown.bytes), 77);
    stele_window_unpin(&grown);
}

static void where_addresses_run_out_idle_windows_make_room(void **state)
{
    struct stele_pin pins[WINDOW_COUNT] = { 0 };
    unsigned count = 0;

    stele_fail(STELE_E_BUSY, "something of before");
    refuse_above_bytes = 3 * stretch;
    for (uint64_t i = 0; i < WINDOW_COUNT; i++)
        use(i);
    assert_true(mapped_bytes_most <= refuse_above_bytes);
    assert_true(refused_count > 0 || stele_window_is_torture());
    /* What was refused and then went well is no error of the caller's. */
    assert_int_equal(stele_last_error()->code, STELE_E_BUSY);
    while (stele_window_pin(&windows, start_of(count), 4096, &pins[count]) == STELE_OK)
        count++;
    assert_int_equal(count, 3);
    assert_says("no address space");
    stele_window_unpin(&pins[1]);
    assert_ok(stele_window_pin(&windows, start_of(30), 4096, &pins[1]));
    for (unsigned i = 0; i < count; i++)
        stele_window_unpin(&pins[i]);
}

static void dropped_windows_are_mapped_again_when_needed(void **state)
{
    for (unsigned round = 0; round < 3; round++) {
        for (uint64_t i = 0; i < 3; i++)
            use(i);
        stele_windows_drop(&windows);
        assert_u64(mapped_bytes, 0);
    }
}

/* ---- threads ---- */

enum { THREAD_COUNT = 4 };

struct walker {
    struct chance chance;
    unsigned round_count, wrong_count;
};

static void *pin_at_random(void *context)
{
    struct walker *walker = context;

    for (unsigned i = 0; i < walker->round_count; i++) {
        struct stele_pin pin = { 0 };
        uint64_t index = chance_below(&walker->chance, WINDOW_COUNT);
        /* Sometimes up to the end of the file, which grows. */
        size_t reach = chance_below(&walker->chance, 4) ? 4096 : (size_t)(windows.window_bytes + 8);
        int rc = chance_below(&walker->chance, 3)
                     ? stele_window_pin(&windows, start_of(index), reach, &pin)
                     : stele_window_pin_view(&windows, start_of(index), reach, &pin);

        if (rc || number_in(pin.bytes) != start_of(index) || pin.bytes[reach - 1] != 0)
            walker->wrong_count++;
        stele_window_unpin(&pin);
    }
    return NULL;
}

static void threads_pin_at_random_while_windows_go_and_the_file_grows(void **state)
{
    struct chance chance = chance_begin();
    struct walker walkers[THREAD_COUNT] = { 0 };
    pthread_t threads[THREAD_COUNT];
    uint64_t end = start_of(WINDOW_COUNT) + 4096;

    assert_ok(stele_os_set_bytes(&file, end));
    for (size_t i = 0; i < THREAD_COUNT; i++) {
        walkers[i].chance.state = chance_next(&chance);
        walkers[i].round_count = scaled(20000, 1000);
        assert_int_equal(pthread_create(&threads[i], NULL, pin_at_random, &walkers[i]), 0);
    }
    for (uint64_t i = 0; i < 200; i++)
        assert_ok(stele_os_set_bytes(&file, end += 4096));
    for (size_t i = 0; i < THREAD_COUNT; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(walkers[i].wrong_count, 0);
    }
    assert_true(mapped_bytes_most <= BUDGET + THREAD_COUNT * stretch);
    assert_true(mapped_bytes <= BUDGET);
}

/* ---- of a store ---- */

static struct stele *open_with(uint64_t budget_bytes, uint32_t mode)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store = NULL;

    options.mode = mode;
    options.max_mapped_bytes = budget_bytes;
    return stele_open(scratch_path, &options, &store) ? NULL : store;
}

static void a_budget_that_cannot_do_is_refused_and_the_least_is_named(void **state)
{
    static const uint32_t sizes[] = { 16, 65536, 1 << 20 };

    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        struct stele_options options = STELE_OPTIONS_INIT;
        struct stele_schema *schema = schema_of_bytes(sizes[i]);
        uint64_t least = stele_max(STELE_WINDOW_BUDGET_MIN, 8 * (uint64_t)stele_max(sizes[i], 16 * KIB));
        char words[64];
        struct stele *store = NULL;

        snprintf(words, sizeof(words), "at least %" PRIu64, least);
        options.schema = schema;
        options.flags = STELE_SPARSE;
        options.max_mapped_bytes = least - 1;
        assert_code(stele_create(scratch_path, &options, &store), STELE_E_RANGE);
        assert_says(words);
        assert_false(is_file(scratch_path));
        options.max_mapped_bytes = least;
        assert_ok(stele_create(scratch_path, &options, &store));
        assert_ok(stele_set_count(store, 100));
        assert_verifies(store);
        assert_ok(stele_close(store));
        for (uint32_t mode = STELE_READ_ONLY; mode <= STELE_READ_WRITE; mode++) {
            assert_null(open_with(least - 1, mode));
            assert_says(words);
            assert_null(open_with(1, mode));
            assert_int_equal(stele_last_error()->code, STELE_E_RANGE);
            store = open_with(least, mode);
            assert_store(store);
            assert_verifies(store);
            assert_ok(stele_close(store));
        }
        stele_schema_free(schema);
        assert_int_equal(remove(scratch_path), 0);
    }
}

static void views_of_a_store_keep_its_budget(void **state)
{
    enum { RECORD = 4096, COUNT = 4096, VIEWS_MAX = 64 };
    static uint8_t record[RECORD];
    struct stele *store = create_store(RECORD, COUNT, 64 * KIB, STELE_SPARSE), *reader;
    struct stele_view views[VIEWS_MAX], large;
    unsigned count = 0;

    assert_store(store);
    assert_ok(stele_set_count(store, COUNT));
    for (uint64_t i = 0; i < COUNT; i += 64) {
        fill_record(record, RECORD, i, 1);
        assert_ok(stele_set(store, i, record));
    }
    assert_ok(stele_close(store));
    maps_reset();
    reader = open_with(2 * MIB, STELE_READ_ONLY);
    assert_store(reader);
    assert_code(stele_view_open(reader, 0, 513, &large), STELE_E_FULL);
    assert_says("max_mapped_bytes");
    assert_ok(stele_view_open(reader, 0, 512, &large));
    assert_code(stele_view_open(reader, 1000, 1, &views[0]), STELE_E_FULL);
    stele_view_close(&large);
    while (count < VIEWS_MAX && stele_view_open(reader, count * 64, 3, &views[count]) == STELE_OK)
        count++;
    if (!stele_window_is_torture())
        assert_in_range(count, 8, VIEWS_MAX - 1);
    /* Reads go on beside views that hold all there is. */
    for (uint64_t i = 0; i < COUNT; i += 64) {
        static uint8_t expected[RECORD];
        fill_record(expected, RECORD, i, 1);
        assert_ok(stele_get(reader, i, record));
        assert_memory_equal(record, expected, RECORD);
    }
    assert_code(stele_close(reader), STELE_E_USAGE);
    for (unsigned i = 0; i < count; i++) {
        fill_record(record, RECORD, i * 64, 1);
        assert_memory_equal(views[i].records, record, RECORD);
        stele_view_close(&views[i]);
    }
    assert_ok(stele_view_open(reader, 3000, 480, &large));
    stele_view_close(&large);
    assert_verifies(reader);
    assert_true(mapped_bytes_most <= 2 * MIB + 256 * KIB);
    assert_ok(stele_close(reader));
    assert_u64(map_count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_WINDOWS(a_budget_holds_windows_of_a_sixteenth_of_it),
        WITH_WINDOWS(the_least_budget_follows_the_record_and_the_file),
        WITH_WINDOWS(idle_windows_go_least_recently_used_first),
        WITH_WINDOWS(pinned_windows_stay_where_they_are),
        WITH_WINDOWS(a_moment_passes_the_budget_by_its_window_and_a_view_does_not),
        WITH_WINDOWS(a_view_alone_is_counted),
        WITH_WINDOWS(a_window_that_grew_is_another_and_the_old_one_goes_with_its_last_pin),
        WITH_WINDOWS(where_addresses_run_out_idle_windows_make_room),
        WITH_WINDOWS(dropped_windows_are_mapped_again_when_needed),
        WITH_WINDOWS(threads_pin_at_random_while_windows_go_and_the_file_grows),
        IN_SCRATCH(a_budget_that_cannot_do_is_refused_and_the_least_is_named),
        IN_FAST_SCRATCH(views_of_a_store_keep_its_budget),
    };

    return cmocka_run_group_tests_name("budget", tests, NULL, NULL);
}
