/*
 * The guard by SIGBUS.
 *
 * A thread inside a guarded copy has a frame, which says where to go on and which addresses are its own. The
 * handler leaves for the innermost frame that owns the address; the signal mask is not saved (that would be a
 * system call per copy), so the handler runs with SIGBUS unblocked (SA_NODEFER) and blocks nothing itself.
 * Every other SIGBUS goes to whoever had it before.
 *
 * Words of the live region are loaded and stored bare, too often for a frame each: for a fault in such a map the
 * handler puts a page of zeros over the one that is gone, and says so in a word that the owner asks.
 */
#include "guard.h"

#include "bits.h"
#include "error.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct frame {
    void *resume[5]; /* of __builtin_setjmp: three stores, where sigsetjmp is a call and mangles */
    uintptr_t first; /* addresses from first to last, both included, are guarded */
    uintptr_t last;
    struct frame *outer;
};

static _Thread_local struct frame *volatile innermost;

static pthread_mutex_t install_mutex = PTHREAD_MUTEX_INITIALIZER;
static bool is_installed; /* atomic */
static struct sigaction previous;

/* A watched map. Nodes are never freed, so that the handler may walk them at any moment; they are used again. */
struct watch {
    uint64_t is_cut; /* first: it is what the owner holds */
    uintptr_t first; /* atomic; 0: not in use */
    uintptr_t last;
    bool is_writable;
    struct watch *next;
};

static struct watch *watches; /* atomic; grows at the front only */
static pthread_mutex_t watch_mutex = PTHREAD_MUTEX_INITIALIZER;

int stele_guard_watch(void *base, size_t byte_count, bool is_writable, uint64_t **out_is_cut)
{
    struct watch *watch;

    pthread_mutex_lock(&watch_mutex);
    for (watch = watches; watch && watch->first; watch = watch->next)
        ;
    if (!watch) {
        watch = calloc(1, sizeof(*watch));
        if (watch) {
            watch->next = watches;
            __atomic_store_n(&watches, watch, __ATOMIC_RELEASE);
        }
    }
    if (watch) {
        watch->is_cut = 0;
        watch->last = (uintptr_t)base + (byte_count - 1);
        watch->is_writable = is_writable;
        __atomic_store_n(&watch->first, (uintptr_t)base, __ATOMIC_RELEASE);
        *out_is_cut = &watch->is_cut;
    }
    pthread_mutex_unlock(&watch_mutex);
    return watch ? STELE_OK : stele_fail(STELE_E_NOMEM, "out of memory to watch a map");
}

void stele_guard_unwatch(uint64_t *is_cut)
{
    struct watch *watch = (struct watch *)(void *)is_cut;

    __atomic_store_n(&watch->first, 0, __ATOMIC_RELEASE);
}

/* Put zeros in the place of the page at @address if it is of a watched map. Async-signal-safe: two loads and a map. */
static bool put_zeros(uintptr_t address)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);

    for (struct watch *watch = __atomic_load_n(&watches, __ATOMIC_ACQUIRE); watch; watch = watch->next) {
        uintptr_t first = __atomic_load_n(&watch->first, __ATOMIC_ACQUIRE);

        if (!first || address < first || address > watch->last)
            continue;
        __atomic_store_n(&watch->is_cut, 1, __ATOMIC_RELEASE);
        return mmap((void *)(address & ~(page - 1)), page, PROT_READ | (watch->is_writable ? PROT_WRITE : 0),
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED;
    }
    return false;
}

/* What the kernel would have done with @signal, had we not been there. */
static void take_default(int signal_number, const siginfo_t *info)
{
    struct sigaction fallback = { .sa_handler = SIG_DFL };

    sigemptyset(&fallback.sa_mask);
    sigaction(signal_number, &fallback, NULL);
    /* A fault comes again at the same instruction when the handler returns; a signal that was sent does not.
     */
    if (info->si_code <= 0)
        raise(signal_number);
}

/* Call the previous handler with the signals blocked that it asked for. */
static void call_previous(int signal_number, siginfo_t *info, void *context)
{
    struct sigaction handler = previous;
    sigset_t mask = handler.sa_mask;
    sigset_t before;
    int system_code = errno;

    if (!(handler.sa_flags & SA_NODEFER))
        sigaddset(&mask, signal_number);
    if ((unsigned)handler.sa_flags & (unsigned)SA_RESETHAND)
        previous = (struct sigaction){ .sa_handler = SIG_DFL };
    pthread_sigmask(SIG_BLOCK, &mask, &before);
    errno = system_code;
    if (handler.sa_flags & SA_SIGINFO)
        handler.sa_sigaction(signal_number, info, context);
    else
        handler.sa_handler(signal_number);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void on_signal(int signal_number, siginfo_t *info, void *context)
{
    uintptr_t address = (uintptr_t)info->si_addr;
    /* From the access of this thread itself: not sent by somebody, no early warning of bad memory elsewhere.
     */
    bool is_fault = info->si_code > 0 && info->si_code != BUS_MCEERR_AO;

    for (struct frame *frame = is_fault ? innermost : NULL; frame; frame = frame->outer) {
        if (address >= frame->first && address <= frame->last) {
            innermost = frame->outer;
            __builtin_longjmp(frame->resume, 1);
        }
    }
    if (is_fault && put_zeros(address))
        return;
    if ((previous.sa_flags & SA_SIGINFO) ||
        (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN))
        call_previous(signal_number, info, context);
    else if (previous.sa_handler == SIG_DFL || info->si_code > 0)
        /* A fault kills also the program that ignores the signal; one that was sent does not. */
        take_default(signal_number, info);
}

int stele_guard_install(void)
{
    struct sigaction ours = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK };
    int rc = STELE_OK;

    if (__atomic_load_n(&is_installed, __ATOMIC_ACQUIRE))
        return STELE_OK;
    sigemptyset(&ours.sa_mask);
    pthread_mutex_lock(&install_mutex);
    if (is_installed)
        goto out;
    /* Known before ours can run: a fault in another thread may come at once. */
    if (sigaction(SIGBUS, NULL, &previous) || sigaction(SIGBUS, &ours, NULL)) {
        rc = stele_fail_system(STELE_E_IO, errno, "no handler for unreadable pages can be installed");
        goto out;
    }
    __atomic_store_n(&is_installed, true, __ATOMIC_RELEASE);

out:
    pthread_mutex_unlock(&install_mutex);
    return rc;
}

bool stele_guard_copy(void *out, const void *shared, size_t byte_count)
{
    struct frame frame;

    if (byte_count == 0)
        return true;
    frame.first = (uintptr_t)shared;
    frame.last = (uintptr_t)shared + (byte_count - 1);
    frame.outer = innermost;
    if (__builtin_setjmp(frame.resume))
        return false;
    innermost = &frame;
    /* The frame is whole before the first byte is touched, and there until the last one was. */
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    stele_copy_shared(out, shared, byte_count);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    innermost = frame.outer;
    return true;
}

bool stele_guard_run(void (*work)(void *context), void *context)
{
    struct frame frame;

    frame.first = 0;
    frame.last = UINTPTR_MAX;
    frame.outer = innermost;
    if (__builtin_setjmp(frame.resume))
        return false;
    innermost = &frame;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    work(context);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    innermost = frame.outer;
    return true;
}
