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

static struct sigaction previous;

/*
 * A watched map. Nodes are never freed, so that the handler may walk them at any moment; they are used again. No
 * mutex: a child of fork would find it locked for ever if another thread held it.
 */
struct watch {
    uint64_t is_cut; /* first: it is what the owner holds */
    bool is_taken;   /* atomic */
    bool is_writable;
    uintptr_t first; /* atomic; 0: watches nothing; those that follow belong to it */
    uintptr_t last;  /* atomic */
    pid_t process;   /* atomic; a child of fork has other maps there */
    struct watch *next;
};

static struct watch *watches; /* atomic; grows at the front only */

static struct watch *take_watch(void)
{
    struct watch *watch;

    for (watch = __atomic_load_n(&watches, __ATOMIC_ACQUIRE); watch; watch = watch->next) {
        if (!__atomic_exchange_n(&watch->is_taken, true, __ATOMIC_ACQ_REL))
            return watch;
    }
    watch = calloc(1, sizeof(*watch));
    if (!watch)
        return NULL;
    watch->is_taken = true;
    watch->next = __atomic_load_n(&watches, __ATOMIC_ACQUIRE);
    while (!__atomic_compare_exchange_n(&watches, &watch->next, watch, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        continue;
    return watch;
}

int stele_guard_watch(void *base, size_t byte_count, bool is_writable, uint64_t **out_is_cut)
{
    struct watch *watch = take_watch();

    if (!watch)
        return stele_fail(STELE_E_NOMEM, "out of memory to watch a map");
    stele_store(&watch->is_cut, 0);
    __atomic_store_n(&watch->is_writable, is_writable, __ATOMIC_RELAXED);
    __atomic_store_n(&watch->last, (uintptr_t)base + (byte_count - 1), __ATOMIC_RELAXED);
    __atomic_store_n(&watch->process, getpid(), __ATOMIC_RELAXED);
    __atomic_store_n(&watch->first, (uintptr_t)base, __ATOMIC_RELEASE);
    *out_is_cut = &watch->is_cut;
    return STELE_OK;
}

void stele_guard_unwatch(uint64_t *is_cut)
{
    struct watch *watch = (struct watch *)(void *)is_cut;

    __atomic_store_n(&watch->first, 0, __ATOMIC_RELAXED);
    /* The handler must find it gone before it finds it taken again. */
    __atomic_thread_fence(__ATOMIC_RELEASE);
    __atomic_store_n(&watch->is_taken, false, __ATOMIC_RELEASE);
}

/* Whether @watch watches @address now. Its words count only if it was not given to another map meanwhile. */
static bool is_watching(const struct watch *watch, uintptr_t address, bool *out_is_writable)
{
    uintptr_t first = __atomic_load_n(&watch->first, __ATOMIC_ACQUIRE);
    uintptr_t last = __atomic_load_n(&watch->last, __ATOMIC_RELAXED);
    pid_t process = __atomic_load_n(&watch->process, __ATOMIC_RELAXED);

    *out_is_writable = __atomic_load_n(&watch->is_writable, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return first && address >= first && address <= last && process == getpid() &&
           __atomic_load_n(&watch->first, __ATOMIC_RELAXED) == first;
}

/* Put zeros in the place of the page at @address if it is of a watched map. Async-signal-safe: loads and a map. */
static bool put_zeros(uintptr_t address)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    bool is_writable;

    for (struct watch *watch = __atomic_load_n(&watches, __ATOMIC_ACQUIRE); watch; watch = watch->next) {
        if (!is_watching(watch, address, &is_writable))
            continue;
        stele_store_release(&watch->is_cut, 1);
        return mmap((void *)(address & ~(page - 1)), page, PROT_READ | (is_writable ? PROT_WRITE : 0),
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
#ifdef STELE_TSAN
            /* It runs handlers with every signal blocked. */
            pthread_sigmask(SIG_SETMASK, &((const ucontext_t *)context)->uc_sigmask, NULL);
#endif
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

static int install_system_code;

static void install(void)
{
    struct sigaction ours = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK };
    struct sigaction before;

    sigemptyset(&ours.sa_mask);
    if (sigaction(SIGBUS, NULL, &before)) {
        install_system_code = errno;
        return;
    }
    /* A child that was forked in the middle of this comes here again. */
    if ((before.sa_flags & SA_SIGINFO) && before.sa_sigaction == on_signal)
        return;
    /* Known before ours can run: a fault in another thread may come at once. */
    previous = before;
    install_system_code = sigaction(SIGBUS, &ours, NULL) ? errno : 0;
}

int stele_guard_install(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT; /* begins anew in a child, where a mutex would stay locked */

    pthread_once(&once, install);
    return install_system_code ? stele_fail_system(STELE_E_IO, install_system_code,
                                                   "no handler for unreadable pages can be installed")
                               : STELE_OK;
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

/* What a guarded piece of work needs to know. */
struct work {
    unsigned char *shared;
    const unsigned char *bytes;
    size_t byte_count;
    size_t page_bytes;
};

/* Do @work on its stretch of a map; false if a page of it could not be had. */
static bool guard(void (*act)(const struct work *work), const struct work *work)
{
    struct frame frame;

    if (work->byte_count == 0)
        return true;
    frame.first = (uintptr_t)work->shared;
    frame.last = (uintptr_t)work->shared + (work->byte_count - 1);
    frame.outer = innermost;
    if (__builtin_setjmp(frame.resume))
        return false;
    innermost = &frame;
    /* The act is a call, so the frame is whole before it and there until it is over. */
    act(work);
    innermost = frame.outer;
    return true;
}

static void act_store(const struct work *work)
{
    memcpy(work->shared, work->bytes, work->byte_count);
}

bool stele_guard_store(void *shared, const void *bytes, size_t byte_count)
{
    struct work work = { .shared = shared, .bytes = bytes, .byte_count = byte_count };

    return guard(act_store, &work);
}

static void act_touch(const struct work *work)
{
    for (size_t at = 0; at < work->byte_count; at += work->page_bytes)
        __atomic_fetch_or(work->shared + at, 0, __ATOMIC_RELAXED);
}

bool stele_guard_touch(void *shared, size_t byte_count)
{
    size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    size_t within = (uintptr_t)shared % page_bytes;
    struct work work = { .shared = (unsigned char *)shared - within, .byte_count = byte_count + within,
                         .page_bytes = page_bytes };

    return byte_count == 0 || guard(act_touch, &work);
}
