/*
 * Copies from pages that are gone: a code for the copy, on any thread, and zeros in a map that is watched. Every other
 * fault goes where it went before: that is told in the words of the system.
 */
#include "guard.h"
#include "pages.h"
#include "scratch.h"

#include <pthread.h>

static int make_pages(void **state)
{
    return pages_make() ? 0 : -1;
}

static int drop_pages(void **state)
{
    pages_drop();
    return 0;
}

static void copy_ends_with_a_code_where_pages_are_gone(void **state)
{
    unsigned char *out = malloc(page_bytes * PAGE_COUNT);

    system_return_faults();
    assert_non_null(out);
    assert_true(stele_guard_copy(out, pages, page_bytes * PAGE_COUNT));
    assert_memory_equal(out, pages, page_bytes * PAGE_COUNT);
    pages_leave(5);
    for (size_t page = 0; page < PAGE_COUNT; page++) {
        memset(out, 0, page_bytes);
        assert_int_equal(stele_guard_copy(out, pages + page * page_bytes, page_bytes), page < 5);
        assert_true(page >= 5 || (out[0] == page + 1 && out[page_bytes - 1] == page + 1));
    }
    /* Over the border, up to it, and one byte behind it. */
    assert_false(stele_guard_copy(out, pages + 4 * page_bytes, 2 * page_bytes));
    assert_true(stele_guard_copy(out, pages, 5 * page_bytes));
    assert_false(stele_guard_copy(out, pages, 5 * page_bytes + 1));
    assert_true(stele_guard_copy(out, pages + 7 * page_bytes, 0));
    /* And where they come back. */
    pages_leave(PAGE_COUNT);
    assert_true(stele_guard_copy(out, pages + 7 * page_bytes, page_bytes));
    assert_true(out[0] == 0 || out[0] == PAGE_COUNT);
    free(out);
}

static void guard_works_again_after_a_thousand_faults(void **state)
{
    unsigned char byte;

    system_return_faults();
    pages_leave(1);
    for (int i = 0; i < 1000; i++) {
        assert_false(stele_guard_copy(&byte, pages + page_bytes, 1));
        assert_true(stele_guard_copy(&byte, pages, 1));
    }
}

static void *copy_in_a_thread(void *context)
{
    unsigned char byte;
    intptr_t wrong_count = 0;

    for (size_t i = 0; i < 2000; i++) {
        size_t page = (i + (size_t)(uintptr_t)context) % PAGE_COUNT;

        if (stele_guard_copy(&byte, pages + page * page_bytes, 1) != (page < 4))
            wrong_count++;
        if (page < 4 && byte != page + 1)
            wrong_count++;
    }
    return (void *)wrong_count;
}

static void threads_fault_side_by_side(void **state)
{
    pthread_t threads[4];
    void *wrong_count;

    system_return_faults();
    pages_leave(4);
    for (uintptr_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, copy_in_a_thread, (void *)i), 0);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], &wrong_count), 0);
        assert_null(wrong_count);
    }
}

/* ---- watched maps ---- */

static void a_lost_page_of_a_watched_map_is_zeros_and_its_owner_is_told(void **state)
{
    volatile unsigned char *bytes = pages;
    uint64_t *is_cut;

    system_return_faults();
    assert_int_equal(stele_guard_watch(pages, page_bytes * PAGE_COUNT, true, &is_cut), STELE_OK);
    pages_leave(7);
    assert_int_equal(bytes[page_bytes], 2);
    assert_int_equal(*is_cut, 0);
    assert_int_equal(bytes[7 * page_bytes], 0);
    assert_int_equal(*is_cut, 1);
    bytes[7 * page_bytes] = 1;
    assert_int_equal(bytes[7 * page_bytes], 1);
    /* The others stay, or are zeros as well where the system replaces nothing less than a map. */
    assert_true(bytes[6 * page_bytes] == 7 || bytes[6 * page_bytes] == 0);
    stele_guard_unwatch(is_cut);
}

static void a_store_into_a_lost_page_of_a_watched_map_goes_nowhere(void **state)
{
    volatile unsigned char *bytes = pages;
    uint64_t *is_cut;

    system_return_faults();
    assert_int_equal(stele_guard_watch(pages, page_bytes * PAGE_COUNT, true, &is_cut), STELE_OK);
    pages_leave(6);
    bytes[7 * page_bytes + 8] = 1;
    assert_int_equal(*is_cut, 1);
    assert_int_equal(bytes[7 * page_bytes + 8], 1);
    assert_int_equal(bytes[7 * page_bytes], 0);
    assert_int_equal(bytes[6 * page_bytes], 0);
    stele_guard_unwatch(is_cut);
}

#define IN_PAGES(test) cmocka_unit_test_setup_teardown(test, make_pages, drop_pages)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_PAGES(copy_ends_with_a_code_where_pages_are_gone),
        IN_PAGES(guard_works_again_after_a_thousand_faults),
        IN_PAGES(threads_fault_side_by_side),
        IN_PAGES(a_lost_page_of_a_watched_map_is_zeros_and_its_owner_is_told),
        IN_PAGES(a_store_into_a_lost_page_of_a_watched_map_goes_nowhere),
    };
    /* First, for a part of it wants a process without a guard; then it installs it and notes who has faults. */
    int failed_count = system_tests();

    return failed_count + cmocka_run_group_tests_name("guard", tests, NULL, NULL);
}
