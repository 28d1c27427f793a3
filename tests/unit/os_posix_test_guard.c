/*
 * The suite of the guard in the words of POSIX: SIGBUS, and whoever had it before.
 *
 * What a fault outside the guard does ends the process or meets the handler of an application, so those tests
 * run in children.
 */
#include "guard.h"
#include "pages.h"
#include "scratch.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* ---- pages ---- */

unsigned char *pages;
size_t page_bytes;
static int descriptor;

bool pages_make(void)
{
    page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    descriptor = memfd_create("guard", MFD_CLOEXEC);
    if (descriptor < 0 || ftruncate(descriptor, (off_t)(page_bytes * PAGE_COUNT)))
        return false;
    pages = mmap(NULL, page_bytes * PAGE_COUNT, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (pages == MAP_FAILED)
        return false;
    for (size_t page = 0; page < PAGE_COUNT; page++)
        memset(pages + page * page_bytes, (int)page + 1, page_bytes);
    return true;
}

void pages_drop(void)
{
    munmap(pages, page_bytes * PAGE_COUNT);
    close(descriptor);
}

void pages_leave(size_t count)
{
    assert_int_equal(ftruncate(descriptor, (off_t)(count * page_bytes)), 0);
}

static int make_pages(void **state)
{
    return pages_make() ? 0 : -1;
}

static int drop_pages(void **state)
{
    pages_drop();
    return 0;
}

/* ---- children ---- */

/* As waitpid gives it. */
static int status_of_child(void (*work)(void))
{
    int status = 0;
    pid_t child;

    fflush(NULL);
    child = fork();
    if (child == 0) {
        static const struct rlimit no_core = { 0, 0 };

        setrlimit(RLIMIT_CORE, &no_core);
        /* cmocka catches faults to go on with its next test: not in a child. */
        signal(SIGSEGV, SIG_DFL);
        work();
        _exit(0);
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static volatile unsigned char
    seen; /* so that nobody, valgrind included, leaves out a load whose value is not used */

/* A call: the compiler knows that one may end in siglongjmp, but not that a load may. */
__attribute__((noinline)) static void touch(const unsigned char *page)
{
    seen = *(const volatile unsigned char *)page;
}

/* ---- watched maps in children of fork ---- */

static void touch_the_last_page(void)
{
    touch(pages + 7 * page_bytes);
}

static void faults_of_a_child_are_its_own(void **state)
{
    uint64_t *is_cut;
    int status;

    system_return_faults();
    assert_int_equal(stele_guard_watch(pages, page_bytes * PAGE_COUNT, true, &is_cut), STELE_OK);
    pages_leave(7);
    /* In a child of fork the addresses may be those of another map. */
    status = status_of_child(touch_the_last_page);
    assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0); /* a sanitizer reports the signal and exits */
    assert_int_equal(*is_cut, 0);
    assert_int_equal(((volatile unsigned char *)pages)[7 * page_bytes], 0);
    assert_int_equal(*is_cut, 1);
    stele_guard_unwatch(is_cut);
}

static volatile int is_over; /* atomic */

static void *watch_and_unwatch(void *context)
{
    uint64_t *is_cut;

    while (!__atomic_load_n(&is_over, __ATOMIC_RELAXED)) {
        if (stele_guard_watch(context, page_bytes, false, &is_cut))
            abort();
        stele_guard_unwatch(is_cut);
    }
    return NULL;
}

static void watch_once(void)
{
    uint64_t *is_cut;

    alarm(20);
    REQUIRE(stele_guard_install() == STELE_OK);
    REQUIRE(stele_guard_watch(pages, page_bytes, false, &is_cut) == STELE_OK);
    stele_guard_unwatch(is_cut);
}

static void a_child_of_fork_can_watch_whatever_other_threads_were_doing(void **state)
{
    pthread_t threads[2];

    __atomic_store_n(&is_over, 0, __ATOMIC_RELAXED);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, watch_and_unwatch, pages + i * page_bytes), 0);
    for (unsigned i = 0; i < 200; i++)
        assert_int_equal(status_of_child(watch_once), 0);
    __atomic_store_n(&is_over, 1, __ATOMIC_RELAXED);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
}

/* ---- handlers ---- */

static void second_install_leaves_a_later_handler_alone(void **state)
{
    struct sigaction later = { .sa_handler = SIG_IGN }, now;

    sigaction(SIGBUS, &later, NULL);
    assert_int_equal(stele_guard_install(), STELE_OK);
    sigaction(SIGBUS, NULL, &now);
    assert_true(now.sa_handler == SIG_IGN);
}

/* ---- what the application had before; each in a process that has not installed the guard yet ---- */

static unsigned char *lost_page;  /* of a file that ends before it */
static unsigned char *lost_again; /* another one */
static sigjmp_buf resume;
static volatile sig_atomic_t heard_count;
static void *volatile heard_address;
static volatile int heard_code;
static volatile sig_atomic_t was_blocked, other_was_blocked;

static void make_lost_pages(void)
{
    page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    descriptor = memfd_create("lost", MFD_CLOEXEC);
    REQUIRE(descriptor >= 0);
    lost_page = mmap(NULL, 2 * page_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    REQUIRE(lost_page != MAP_FAILED);
    lost_again = lost_page + page_bytes;
}

static void note_masks(void)
{
    sigset_t mask;

    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    was_blocked = sigismember(&mask, SIGBUS);
    other_was_blocked = sigismember(&mask, SIGUSR1);
}

static void on_bus_with_info(int signal_number, siginfo_t *info, void *context)
{
    heard_count++;
    heard_address = info->si_addr;
    heard_code = info->si_code;
    note_masks();
    if (info->si_code > 0)
        siglongjmp(resume, 1);
}

static void on_bus(int signal_number)
{
    heard_count++;
    note_masks();
    siglongjmp(resume, 1);
}

static void handler_with_info_hears_foreign_faults(void)
{
    struct sigaction action = { .sa_sigaction = on_bus_with_info, .sa_flags = SA_SIGINFO };
    unsigned char byte;

    make_lost_pages();
    sigaddset(&action.sa_mask, SIGUSR1);
    REQUIRE(sigaction(SIGBUS, &action, NULL) == 0);
    REQUIRE(stele_guard_install() == STELE_OK);
    if (!sigsetjmp(resume, 1)) {
        touch(lost_again);
        REQUIRE(false);
    }
    REQUIRE(heard_count == 1 && heard_address == lost_again && heard_code == BUS_ADRERR);
    REQUIRE(was_blocked == 1 && other_was_blocked == 1);
    /* A guarded one stays ours, also after that. */
    REQUIRE(!stele_guard_copy(&byte, lost_page, 1) && heard_count == 1);
    /* The target of a guarded copy is not guarded: it is the caller's. */
    if (!sigsetjmp(resume, 1)) {
        (void)stele_guard_copy(lost_again, &byte, 1);
        REQUIRE(false);
    }
    REQUIRE(heard_count == 2 && heard_address == lost_again);
    /* A signal that somebody sent is no fault. */
    REQUIRE(raise(SIGBUS) == 0 && heard_count == 3 && heard_code <= 0);
}

static void plain_handler_hears_foreign_faults(void)
{
    struct sigaction action = { .sa_handler = on_bus, .sa_flags = SA_NODEFER };

    make_lost_pages();
    REQUIRE(sigaction(SIGBUS, &action, NULL) == 0);
    REQUIRE(stele_guard_install() == STELE_OK);
    for (int i = 1; i <= 3; i++) {
        if (!sigsetjmp(resume, 1)) {
            touch(lost_page);
            REQUIRE(false);
        }
        REQUIRE(heard_count == i && was_blocked == 0 && other_was_blocked == 0);
    }
}

static void one_shot_handler_hears_one_fault(void)
{
    struct sigaction action = { .sa_handler = on_bus, .sa_flags = (int)SA_RESETHAND };

    make_lost_pages();
    REQUIRE(sigaction(SIGBUS, &action, NULL) == 0);
    REQUIRE(stele_guard_install() == STELE_OK);
    if (!sigsetjmp(resume, 1))
        touch(lost_page);
    REQUIRE(heard_count == 1);
    touch(lost_page);
    REQUIRE(false);
}

static void set_plain(void (*handler)(int))
{
    make_lost_pages();
    REQUIRE(signal(SIGBUS, handler) != SIG_ERR);
    REQUIRE(stele_guard_install() == STELE_OK);
}

static void default_and_a_fault(void)
{
    set_plain(SIG_DFL);
    touch(lost_page);
}

static void default_and_a_sent_signal(void)
{
    set_plain(SIG_DFL);
    raise(SIGBUS);
}

static void ignored_and_a_fault(void)
{
    set_plain(SIG_IGN);
    touch(lost_page);
}

static void ignored_and_a_sent_signal(void)
{
    set_plain(SIG_IGN);
    raise(SIGBUS);
    raise(SIGBUS);
}

static void fault_goes_to_whoever_had_it_before(void **state)
{
    static const struct {
        void (*work)(void);
        int signal_number; /* 0: the child ends well */
    } cases[] = {
        { handler_with_info_hears_foreign_faults, 0 },
        { plain_handler_hears_foreign_faults, 0 },
        { one_shot_handler_hears_one_fault, SIGBUS },
        { default_and_a_fault, SIGBUS },
        { default_and_a_sent_signal, SIGBUS },
        { ignored_and_a_fault, SIGBUS },
        { ignored_and_a_sent_signal, 0 },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int status = status_of_child(cases[i].work);

        print_message("case %zu: status %#x\n", i, (unsigned)status);
        if (cases[i].signal_number)
            assert_true(WIFSIGNALED(status) && WTERMSIG(status) == cases[i].signal_number);
        else
            assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
}

int system_tests(void)
{
    /* First, while this process and so its children have no guard yet. */
    const struct CMUnitTest foreign[] = {
        cmocka_unit_test(fault_goes_to_whoever_had_it_before),
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(faults_of_a_child_are_its_own, make_pages, drop_pages),
        cmocka_unit_test_setup_teardown(a_child_of_fork_can_watch_whatever_other_threads_were_doing, make_pages,
                                        drop_pages),
        cmocka_unit_test(second_install_leaves_a_later_handler_alone),
    };
    int failed_count = cmocka_run_group_tests_name("guard, foreign", foreign, NULL, NULL);

    if (stele_guard_install())
        return failed_count + 1;
    system_note_faults();
    return failed_count + cmocka_run_group_tests_name("guard, system", tests, NULL, NULL);
}
