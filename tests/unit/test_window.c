/*
 * Windows without a budget: bytes across their borders, growth, files that end, several threads.
 *
 * The files are sparse: a window has at least 64 MiB. Byte i of the marked stretches is a function of i. In a build
 * with window_torture windows are as small as can be; what is said of their number holds in the others.
 */
#include "scratch.h"
#include "window_pool.h"

#include <pthread.h>

#define WINDOW STELE_WINDOW_BYTES_MIN
enum { OVERLAP = 5000 };

static struct stele_os_file file;
static struct stele_windows windows;

static unsigned char byte_at(uint64_t offset)
{
    return (unsigned char)((offset * UINT64_C(0x9E3779B97F4A7C15)) >> 56);
}

static void mark(uint64_t offset, size_t byte_count)
{
    unsigned char *bytes = malloc(byte_count);

    assert_non_null(bytes);
    for (size_t i = 0; i < byte_count; i++)
        bytes[i] = byte_at(offset + i);
    assert_int_equal(stele_os_write(&file, offset, bytes, byte_count), STELE_OK);
    free(bytes);
}

static bool is_marked(const uint8_t *bytes, uint64_t offset, size_t byte_count)
{
    for (size_t i = 0; i < byte_count; i++) {
        if (bytes[i] != byte_at(offset + i))
            return false;
    }
    return true;
}

static int make_file(void **state)
{
    if (scratch_make(state))
        return -1;
    poke(scratch_path, 0, "", 0);
    return stele_os_open(scratch_path, true, &file);
}

static int drop_file(void **state)
{
    stele_windows_done(&windows);
    stele_windows_done(&windows);
    stele_os_close(&file);
    return scratch_drop(state);
}

static size_t map_count(void)
{
    size_t count = 0;

    for (const struct stele_window *window = windows.all; window; window = window->next)
        count++;
    return count;
}

static void assert_maps(size_t count)
{
    if (!stele_window_is_torture())
        assert_int_equal(map_count(), count);
}

static struct stele_window_plan plan_of(uint64_t file_bytes)
{
    return (struct stele_window_plan){ .file_bytes = file_bytes, .overlap_bytes = OVERLAP };
}

static void open_windows(uint64_t file_bytes)
{
    assert_int_equal(stele_os_set_bytes(&file, file_bytes), STELE_OK);
    struct stele_window_plan plan = plan_of(file_bytes);
    assert_int_equal(stele_windows_init(&windows, &file, &plan), STELE_OK);
}

static void window_is_a_power_of_two_that_lets_the_table_span_the_file(void **state)
{
    static const struct {
        uint64_t file_bytes, window_bytes;
    } cases[] = {
        { 0, WINDOW },
        { 1, WINDOW },
        { UINT64_C(1) << 38, WINDOW },
        { (UINT64_C(1) << 38) + STELE_WINDOW_TABLE_COUNT, WINDOW * 2 },
        { UINT64_C(1) << 40, UINT64_C(1) << 28 },
        { UINT64_C(1) << 61, UINT64_C(1) << 49 },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct stele_window_plan plan = plan_of(cases[i].file_bytes);
        assert_int_equal(stele_windows_init(&windows, &file, &plan), STELE_OK);
        assert_true(windows.window_bytes == cases[i].window_bytes || stele_window_is_torture());
        assert_true(cases[i].file_bytes >> windows.window_shift < STELE_WINDOW_TABLE_COUNT * STELE_WINDOW_TABLE_COUNT);
        assert_true(UINT64_C(1) << windows.window_shift == windows.window_bytes);
        stele_windows_done(&windows);
    }
}

static void stretch_over_a_border_is_one_piece(void **state)
{
    struct stele_pin pin = { 0 };

    open_windows(3 * WINDOW);
    for (uint64_t border = WINDOW; border <= 2 * WINDOW; border += WINDOW) {
        mark(border - 2 * OVERLAP, 4 * OVERLAP);
        for (uint64_t offset = border - OVERLAP - 1; offset <= border + 1; offset++) {
            assert_int_equal(stele_window_pin(&windows, offset, OVERLAP, &pin), STELE_OK);
            assert_true(is_marked(pin.bytes, offset, OVERLAP));
            stele_window_unpin(&pin);
            assert_null(pin.bytes);
            stele_window_unpin(&pin);
        }
    }
    assert_maps(3);
}

static void longer_stretch_fits_up_to_the_end_of_the_overlap(void **state)
{
    struct stele_pin pin = { 0 };

    open_windows(2 * WINDOW);
    uint64_t window = windows.window_bytes;
    mark(window, OVERLAP);
    assert_true(stele_window_fits(&windows, 0, window + OVERLAP));
    assert_false(stele_window_fits(&windows, 0, window + OVERLAP + 1));
    assert_false(stele_window_fits(&windows, 1, window + OVERLAP));
    assert_true(stele_window_fits(&windows, window - 1, OVERLAP + 1));
    assert_true(stele_window_fits(&windows, window, window));
    assert_int_equal(stele_window_pin(&windows, 0, (size_t)window + OVERLAP, &pin), STELE_OK);
    assert_true(is_marked(pin.bytes + window, window, OVERLAP));
    stele_window_unpin(&pin);
}

static void pin_behind_the_end_says_where_the_file_ends(void **state)
{
    static const struct {
        uint64_t offset;
        size_t byte_count;
        int code;
    } cases[] = {
        { WINDOW + 99, 1, STELE_OK },
        { WINDOW + 100, 1, STELE_E_TRUNCATED },
        { WINDOW + 99, 2, STELE_E_TRUNCATED },
        { WINDOW - 10, 110, STELE_OK },
        { WINDOW - 10, 111, STELE_E_TRUNCATED },
        { 2 * WINDOW, 1, STELE_E_TRUNCATED },
        { UINT64_C(1) << 60, 1, STELE_E_TRUNCATED },
        { UINT64_MAX, 1, STELE_E_TRUNCATED },
    };
    struct stele_pin pin = { 0 };

    open_windows(WINDOW + 100);
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
            struct stele_pin before = pin;

            assert_int_equal(stele_window_pin(&windows, cases[i].offset, cases[i].byte_count, &pin),
                             cases[i].code);
            if (cases[i].code) {
                assert_memory_equal(&before, &pin, sizeof(pin));
                assert_true(stele_last_error()->file_offset == cases[i].offset);
                assert_non_null(strstr(stele_last_error()->text, "byte 67108964"));
            }
            stele_window_unpin(&pin);
        }
    }
    assert_maps(2);
}

static void growth_adds_maps_and_keeps_the_old_ones(void **state)
{
    struct stele_pin first = { 0 }, second = { 0 }, third = { 0 };

    open_windows(WINDOW / 2);
    mark(0, 4096);
    assert_int_equal(stele_window_pin(&windows, 0, 4096, &first), STELE_OK);
    assert_int_equal(stele_window_pin(&windows, WINDOW / 2, 1, &second), STELE_E_TRUNCATED);
    assert_int_equal(stele_os_set_bytes(&file, 2 * WINDOW), STELE_OK);
    mark(WINDOW - OVERLAP, 2 * OVERLAP);
    assert_int_equal(stele_window_pin(&windows, WINDOW - 1, OVERLAP, &second), STELE_OK);
    assert_true(is_marked(second.bytes, WINDOW - 1, OVERLAP));
    /* The old map is another one, and still good. */
    assert_true(first.bytes + WINDOW - 1 != second.bytes);
    assert_true(is_marked(first.bytes, 0, 4096));
    assert_maps(2);
    assert_int_equal(stele_window_pin(&windows, 0, 4096, &third), STELE_OK);
    assert_true(third.bytes + WINDOW - 1 == second.bytes || stele_window_is_torture());
    assert_maps(2);
    stele_window_unpin(&first);
    stele_window_unpin(&second);
    stele_window_unpin(&third);
}

static void views_show_what_is_stored_later(void **state)
{
    struct stele_pin pin = { 0 };

    open_windows(WINDOW);
    assert_int_equal(stele_window_pin(&windows, 12345, 100, &pin), STELE_OK);
    assert_false(is_marked(pin.bytes, 12345, 100));
    mark(12345, 100);
    assert_true(is_marked(pin.bytes, 12345, 100));
    stele_window_unpin(&pin);
}

static void stretch_alone_may_be_of_any_length(void **state)
{
    static const struct {
        uint64_t offset, byte_count;
        int code;
    } cases[] = {
        { 0, 3 * WINDOW + 1, STELE_OK },
        { 1, 3 * WINDOW, STELE_OK },
        { 4095, 2, STELE_OK },
        { WINDOW - 1, 2 * WINDOW, STELE_OK },
        { 3 * WINDOW, 1, STELE_OK },
        { 3 * WINDOW, 2, STELE_E_TRUNCATED },
        { 3 * WINDOW + 1, 1, STELE_E_TRUNCATED },
        { 1, UINT64_MAX, STELE_E_TRUNCATED },
    };

    open_windows(3 * WINDOW + 1);
    mark(0, 8192);
    mark(WINDOW - 100, 200);
    mark(3 * WINDOW, 1);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const uint8_t *bytes = NULL;
        void *map = NULL;
        size_t map_bytes = 0;

        assert_int_equal(
            stele_window_map_alone(&windows, cases[i].offset, cases[i].byte_count, &bytes, &map, &map_bytes),
            cases[i].code);
        if (cases[i].code) {
            assert_null(map);
            continue;
        }
        assert_true(map_bytes >= cases[i].byte_count);
        assert_true(is_marked(bytes, cases[i].offset, 1));
        if (cases[i].offset + cases[i].byte_count == 3 * WINDOW + 1)
            assert_true(is_marked(bytes + cases[i].byte_count - 1, 3 * WINDOW, 1));
        stele_window_unmap_alone(&windows, map, map_bytes);
    }
    assert_maps(0);
}

static void done_is_safe_on_a_zeroed_struct(void **state)
{
    struct stele_pin pin = { 0 };

    memset(&windows, 0, sizeof(windows));
    stele_windows_done(&windows);
    stele_window_unpin(&pin);
}

/* ---- threads ---- */

enum { SPOT_COUNT = 64, ROUND_COUNT_MAX = 20000, THREAD_COUNT = 4 };
static uint64_t spots[SPOT_COUNT]; /* marked stretches of OVERLAP bytes */

struct walker {
    uint64_t random;
    unsigned round_count;
    int wrong_count;
};

static void *pin_at_random(void *context)
{
    struct walker *walker = context;

    for (unsigned i = 0; i < walker->round_count; i++) {
        struct stele_pin pin = { 0 };
        uint64_t offset;

        walker->random = walker->random * UINT64_C(6364136223846793005) + 1442695040888963407u;
        offset = spots[(walker->random >> 33) % SPOT_COUNT];
        if (stele_window_pin(&windows, offset, OVERLAP, &pin) || !is_marked(pin.bytes, offset, 64) ||
            !is_marked(pin.bytes + OVERLAP - 64, offset + OVERLAP - 64, 64))
            walker->wrong_count++;
        stele_window_unpin(&pin);
    }
    return NULL;
}

static void threads_pin_at_random_while_the_file_grows(void **state)
{
    uint64_t seed = chance_begin().state;
    struct walker walkers[THREAD_COUNT] = { 0 };
    pthread_t threads[THREAD_COUNT];

    assert_int_equal(stele_os_set_bytes(&file, SPOT_COUNT * WINDOW / 4 + WINDOW / 2), STELE_OK);
    for (uint64_t i = 0; i < SPOT_COUNT; i++) {
        /* Every fourth one straddles a border. */
        spots[i] = (i + 1) * WINDOW / 4 - 100 - seed % 4000;
        mark(spots[i], OVERLAP);
    }
    struct stele_window_plan plan = plan_of(0);
    assert_int_equal(stele_windows_init(&windows, &file, &plan), STELE_OK);
    for (size_t i = 0; i < THREAD_COUNT; i++) {
        walkers[i].random = seed + i;
        walkers[i].round_count = scaled(ROUND_COUNT_MAX, 500);
        assert_int_equal(pthread_create(&threads[i], NULL, pin_at_random, &walkers[i]), 0);
    }
    for (uint64_t i = 0; i < 200; i++)
        assert_int_equal(stele_os_set_bytes(&file, SPOT_COUNT * WINDOW / 4 + WINDOW / 2 + i * 4096),
                         STELE_OK);
    for (size_t i = 0; i < THREAD_COUNT; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(walkers[i].wrong_count, 0);
    }
    /* Nobody maps a window twice that was whole already. */
    if (!stele_window_is_torture())
        assert_in_range(map_count(), SPOT_COUNT / 4, SPOT_COUNT / 4 + 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(window_is_a_power_of_two_that_lets_the_table_span_the_file),
        cmocka_unit_test_setup_teardown(stretch_over_a_border_is_one_piece, make_file, drop_file),
        cmocka_unit_test_setup_teardown(longer_stretch_fits_up_to_the_end_of_the_overlap, make_file,
                                        drop_file),
        cmocka_unit_test_setup_teardown(pin_behind_the_end_says_where_the_file_ends, make_file, drop_file),
        cmocka_unit_test_setup_teardown(growth_adds_maps_and_keeps_the_old_ones, make_file, drop_file),
        cmocka_unit_test_setup_teardown(views_show_what_is_stored_later, make_file, drop_file),
        cmocka_unit_test_setup_teardown(stretch_alone_may_be_of_any_length, make_file, drop_file),
        cmocka_unit_test(done_is_safe_on_a_zeroed_struct),
        cmocka_unit_test_setup_teardown(threads_pin_at_random_while_the_file_grows, make_file, drop_file),
    };

    return cmocka_run_group_tests_name("window", tests, NULL, NULL);
}
