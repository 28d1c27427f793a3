/*
 * The suite of children in the words of Windows: there is no fork, so no child ever has a handle of its parent's
 * stores; what could reach one are handles of the system, and they must not be inherited.
 */
#include "scratch.h"

#include <windows.h>

static void no_fork(void **state)
{
    print_message("Windows has no fork: no child has its parent's handles\n");
    skip();
}

/* How many handles the next process that is started would have, too. */
static unsigned inheritable_count(void)
{
    unsigned count = 0;
    DWORD flags;

    for (uintptr_t handle = 4; handle < 0x4000; handle += 4)
        count += GetHandleInformation((HANDLE)handle, &flags) && (flags & HANDLE_FLAG_INHERIT);
    return count;
}

static void descriptors_are_above_two_and_close_on_exec(void **state)
{
    unsigned before = inheritable_count();
    size_t all_before = system_handle_count();
    struct stele *store = create_store(8, 1000, 64 * KIB, 0), *reader = open_store(STELE_READ_ONLY);
    struct stele_view view;
    uint8_t record[8] = { 1 };

    assert_store(store);
    assert_store(reader);
    assert_ok(stele_append(store, record, 1, NULL));
    assert_ok(stele_view_open(reader, 0, 1, &view));
    assert_true(system_handle_count() > all_before);
    assert_int_equal(inheritable_count(), before);
    stele_view_close(&view);
    assert_ok(stele_close(reader));
    assert_ok(stele_close(store));
    assert_int_equal(system_handle_count(), all_before);
}

#define WITHOUT_FORK(test) { #test, no_fork, NULL, NULL, NULL }

int system_tests(void)
{
    const struct CMUnitTest tests[] = {
        WITHOUT_FORK(every_call_is_refused_in_a_child_and_the_parent_goes_on),
        WITHOUT_FORK(a_child_that_closes_everything_keeps_its_own_memory),
        WITHOUT_FORK(a_child_of_a_child_is_one_too),
        WITHOUT_FORK(a_child_does_not_wait_for_threads_that_it_does_not_have),
        WITHOUT_FORK(a_child_can_do_nothing_with_its_parent_s_handle_and_disturbs_nobody),
        WITHOUT_FORK(a_close_in_the_child_takes_no_file_or_memory_that_is_not_the_handle_s),
        IN_SCRATCH(descriptors_are_above_two_and_close_on_exec),
    };

    return cmocka_run_group_tests_name("fork, system", tests, NULL, NULL);
}
