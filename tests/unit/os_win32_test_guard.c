/*
 * The suite of the guard in the words of Windows: vectored handlers, and whoever else hears of a fault.
 *
 * Nobody can cut a file that is mapped, and no medium fails when it is asked to. So pages are lost here by taking all
 * access from them, which is an access violation, as Wine tells of lost pages, too; of every second one a handler that
 * comes before the others makes the in-page error that Windows would tell of.
 */
#include "guard.h"
#include "pages.h"
#include "scratch.h"

#include <windows.h>

/* ---- pages ---- */

unsigned char *pages;
size_t page_bytes;

static bool is_inside(const EXCEPTION_RECORD *record)
{
    return record->ExceptionCode == (DWORD)EXCEPTION_ACCESS_VIOLATION && record->NumberParameters >= 2 && pages &&
           record->ExceptionInformation[1] - (uintptr_t)pages < PAGE_COUNT * page_bytes;
}

static LONG CALLBACK tell_of_the_medium(EXCEPTION_POINTERS *exception)
{
    EXCEPTION_RECORD *record = exception->ExceptionRecord;

    if (is_inside(record) && (record->ExceptionInformation[1] - (uintptr_t)pages) / page_bytes % 2) {
        record->ExceptionCode = (DWORD)EXCEPTION_IN_PAGE_ERROR;
        record->ExceptionInformation[2] = (ULONG_PTR)(LONG)0xC000009C; /* STATUS_DEVICE_DATA_ERROR */
        record->NumberParameters = 3;
    }
    return EXCEPTION_CONTINUE_SEARCH;
}

static void *medium;

bool pages_make(void)
{
    SYSTEM_INFO information;
    HANDLE section;

    GetSystemInfo(&information);
    page_bytes = information.dwPageSize;
    section = CreateFileMappingA(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, (DWORD)(PAGE_COUNT * page_bytes), NULL);
    pages = section ? MapViewOfFile(section, FILE_MAP_WRITE, 0, 0, 0) : NULL;
    CloseHandle(section);
    medium = AddVectoredExceptionHandler(1, tell_of_the_medium);
    for (size_t page = 0; pages && page < PAGE_COUNT; page++)
        memset(pages + page * page_bytes, (int)page + 1, page_bytes);
    return pages && medium;
}

void pages_drop(void)
{
    /* The guard may have put other memory there. */
    if (!UnmapViewOfFile(pages))
        VirtualFree(pages, 0, MEM_RELEASE);
    pages = NULL;
    RemoveVectoredExceptionHandler(medium);
}

void pages_leave(size_t count)
{
    DWORD before;

    for (size_t page = 0; page < PAGE_COUNT; page++)
        assert_true(VirtualProtect(pages + page * page_bytes, page_bytes,
                                   page < count ? PAGE_READWRITE : PAGE_NOACCESS, &before));
}

/* ---- what the application had before; each in a process that has not installed the guard yet ---- */

static volatile unsigned char *lost_page, *lost_again;
static volatile unsigned heard_count;
static volatile uintptr_t heard_address;
static volatile unsigned char seen;

static void make_lost_pages(void)
{
    SYSTEM_INFO information;

    GetSystemInfo(&information);
    page_bytes = information.dwPageSize;
    lost_page = VirtualAlloc(NULL, 2 * page_bytes, MEM_RESERVE | MEM_COMMIT, PAGE_NOACCESS);
    REQUIRE(lost_page);
    lost_again = lost_page + page_bytes;
}

/* Take note of a fault in the lost pages, and mend the page, so that it goes on. */
static LONG hear_and_mend(EXCEPTION_POINTERS *exception)
{
    uintptr_t address = exception->ExceptionRecord->ExceptionInformation[1];
    DWORD before;

    if (exception->ExceptionRecord->ExceptionCode != (DWORD)EXCEPTION_ACCESS_VIOLATION ||
        address - (uintptr_t)lost_page >= 2 * page_bytes)
        return EXCEPTION_CONTINUE_SEARCH;
    heard_count++;
    heard_address = address;
    VirtualProtect((void *)(address & ~(uintptr_t)(page_bytes - 1)), page_bytes, PAGE_READWRITE, &before);
    return EXCEPTION_CONTINUE_EXECUTION;
}

static LONG WINAPI filter(EXCEPTION_POINTERS *exception)
{
    return hear_and_mend(exception);
}

static LONG CALLBACK handler(EXCEPTION_POINTERS *exception)
{
    return hear_and_mend(exception);
}

static LONG CALLBACK listener(EXCEPTION_POINTERS *exception)
{
    heard_count += exception->ExceptionRecord->ExceptionCode == (DWORD)EXCEPTION_ACCESS_VIOLATION;
    return EXCEPTION_CONTINUE_SEARCH;
}

/* Foreign faults are heard, with their address; guarded ones are not. */
static void require_foreign_faults_are_heard(void)
{
    unsigned char byte = 1;

    REQUIRE(stele_guard_install() == STELE_OK);
    REQUIRE(!stele_guard_copy(&byte, (const unsigned char *)(uintptr_t)lost_page, 1) && heard_count == 0);
    seen = *lost_again;
    REQUIRE(heard_count == 1 && heard_address == (uintptr_t)lost_again);
    /* A guarded one stays ours, also after that. */
    REQUIRE(!stele_guard_copy(&byte, (const unsigned char *)(uintptr_t)lost_page, 1) && heard_count == 1);
    /* The target of a guarded copy is not guarded: it is the caller's. */
    REQUIRE(stele_guard_copy((unsigned char *)(uintptr_t)lost_page, &byte, 1));
    REQUIRE(heard_count == 2 && heard_address == (uintptr_t)lost_page && *lost_page == byte);
}

static void unhandled_filter_hears_foreign_faults(void *context)
{
    make_lost_pages();
    SetUnhandledExceptionFilter(filter);
    require_foreign_faults_are_heard();
}

static void earlier_handler_hears_foreign_faults(void *context)
{
    make_lost_pages();
    REQUIRE(AddVectoredExceptionHandler(1, handler));
    require_foreign_faults_are_heard();
}

static void later_handler_hears_all_and_passes_them_on(void *context)
{
    unsigned char byte = 1;

    make_lost_pages();
    REQUIRE(stele_guard_install() == STELE_OK);
    REQUIRE(AddVectoredExceptionHandler(1, listener));
    for (unsigned i = 1; i <= 3; i++)
        REQUIRE(!stele_guard_copy(&byte, (const unsigned char *)(uintptr_t)lost_page, 1) && heard_count == i);
}

static void nobody_hears(void *context)
{
    make_lost_pages();
    REQUIRE(stele_guard_install() == STELE_OK);
    seen = *lost_page;
}

/* It is no fault, so it goes past the guard, whatever its parameters look like. */
static void raised_by_somebody(void *context)
{
    ULONG_PTR parameters[2] = { 0 };

    make_lost_pages();
    REQUIRE(stele_guard_install() == STELE_OK);
    parameters[1] = (ULONG_PTR)lost_page;
    RaiseException(0xE0000001, 0, 2, parameters);
}

static void fault_goes_to_whoever_had_it_before(void **state)
{
    static const struct {
        void (*work)(void *context);
        int code; /* -1: it dies of the fault */
    } cases[] = {
        { unhandled_filter_hears_foreign_faults, 0 },
        { earlier_handler_hears_foreign_faults, 0 },
        { later_handler_hears_all_and_passes_them_on, 0 },
        { nobody_hears, -1 },
        { raised_by_somebody, -1 },
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        print_message("case %zu\n", i);
        assert_int_equal(exit_of_child(cases[i].work, NULL), cases[i].code);
    }
}

static void second_install_leaves_a_later_handler_alone(void **state)
{
    void *later = AddVectoredExceptionHandler(1, listener);
    unsigned char byte;

    assert_non_null(later);
    assert_true(pages_make());
    pages_leave(0);
    RemoveVectoredExceptionHandler(medium); /* its page is even */
    assert_int_equal(stele_guard_install(), STELE_OK);
    heard_count = 0;
    assert_false(stele_guard_copy(&byte, pages, 1));
    assert_int_equal(heard_count, 1); /* it still comes first */
    RemoveVectoredExceptionHandler(later);
    pages_drop();
}

static void no_fork(void **state)
{
    print_message("Windows has no fork: no child has its parent's maps\n");
    skip();
}

#define WITHOUT_FORK(test) { #test, no_fork, NULL, NULL, NULL }

int system_tests(void)
{
    /* First, while this process has no guard yet. */
    const struct CMUnitTest foreign[] = {
        cmocka_unit_test(fault_goes_to_whoever_had_it_before),
    };
    const struct CMUnitTest tests[] = {
        WITHOUT_FORK(faults_of_a_child_are_its_own),
        WITHOUT_FORK(a_child_of_fork_can_watch_whatever_other_threads_were_doing),
        cmocka_unit_test(second_install_leaves_a_later_handler_alone),
    };
    int failed_count = cmocka_run_group_tests_name("guard, foreign", foreign, NULL, NULL);

    if (stele_guard_install())
        return failed_count + 1;
    system_note_faults();
    return failed_count + cmocka_run_group_tests_name("guard, system", tests, NULL, NULL);
}
