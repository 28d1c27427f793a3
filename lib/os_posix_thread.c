/* The rest: clocks, chance, threads. */
#include "os_posix.h"

#include "bits.h"
#include "error.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* A call for this many random bytes is not interrupted and never short. */
#define CALL_BYTES_MAX 256
#define US_PER_S UINT64_C(1000000)
/* The longest wait: what every time_t holds. */
#define SECONDS_MAX UINT64_C(0x7fffffff)

static uint64_t clock_us(clockid_t clock)
{
    struct timespec now;

    /* Fails for unknown clocks only. */
    if (clock_gettime(clock, &now))
        return 0;
    return (uint64_t)now.tv_sec * US_PER_S + (uint64_t)now.tv_nsec / 1000;
}

static struct timespec timespec_of(uint64_t us)
{
    return (struct timespec){ .tv_sec = (time_t)stele_min(us / US_PER_S, SECONDS_MAX),
                              .tv_nsec = (long)(us % US_PER_S * 1000) };
}

uint64_t stele_os_now_us(void)
{
    return clock_us(CLOCK_REALTIME);
}

uint64_t stele_os_clock_us(void)
{
    return clock_us(CLOCK_MONOTONIC);
}

void stele_os_sleep_us(uint64_t us)
{
    struct timespec rest = timespec_of(us);

    while (nanosleep(&rest, &rest) && errno == EINTR)
        continue;
}

void stele_os_yield(void)
{
    sched_yield();
}

/* For kernels and sandboxes without getrandom. */
static int random_from_device(unsigned char *out, size_t byte_count)
{
    int descriptor = stele_os_open_raw("/dev/urandom", O_RDONLY, 0);

    if (descriptor < 0)
        return stele_fail_system(STELE_E_IO, errno,
                                 "the system gives no random numbers, neither by getrandom nor from "
                                 "/dev/urandom");
    while (byte_count > 0) {
        ssize_t done = read(descriptor, out, byte_count < CALL_BYTES_MAX ? byte_count : CALL_BYTES_MAX);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            break;
        out += done;
        byte_count -= (size_t)done;
    }
    close(descriptor);
    return byte_count ? stele_fail(STELE_E_IO, "/dev/urandom could not be read") : STELE_OK;
}

int stele_os_random(void *out, size_t byte_count)
{
    unsigned char *to = out;

    while (byte_count > 0) {
        ssize_t done = getrandom(to, byte_count < CALL_BYTES_MAX ? byte_count : CALL_BYTES_MAX, 0);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return random_from_device(to, byte_count);
        to += done;
        byte_count -= (size_t)done;
    }
    return STELE_OK;
}

uint64_t stele_os_process_id(void)
{
    return (uint64_t)getpid();
}

void stele_os_wake(const uint64_t *word)
{
    /* The machine is little-endian: the low half stands first. Not private: the word is shared with
     * processes. */
    (void)syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* ---- mutex and condition ---- */

_Static_assert(sizeof(pthread_mutex_t) <= sizeof(struct stele_os_mutex), "fits");
_Static_assert(sizeof(pthread_cond_t) <= sizeof(struct stele_os_condition), "fits");
_Static_assert(_Alignof(pthread_mutex_t) <= _Alignof(struct stele_os_mutex), "fits");
_Static_assert(_Alignof(pthread_cond_t) <= _Alignof(struct stele_os_condition), "fits");

static pthread_mutex_t *mutex_of(struct stele_os_mutex *mutex)
{
    return (pthread_mutex_t *)(void *)mutex->storage;
}

static pthread_cond_t *condition_of(struct stele_os_condition *condition)
{
    return (pthread_cond_t *)(void *)condition->storage;
}

int stele_os_mutex_init(struct stele_os_mutex *mutex)
{
    int system_code = pthread_mutex_init(mutex_of(mutex), NULL);

    if (system_code)
        return stele_fail_system(STELE_E_NOMEM, system_code, "the system gives no mutex");
    return STELE_OK;
}

void stele_os_mutex_done(struct stele_os_mutex *mutex)
{
    (void)pthread_mutex_destroy(mutex_of(mutex));
}

void stele_os_mutex_lock(struct stele_os_mutex *mutex)
{
    (void)pthread_mutex_lock(mutex_of(mutex));
}

void stele_os_mutex_unlock(struct stele_os_mutex *mutex)
{
    (void)pthread_mutex_unlock(mutex_of(mutex));
}

int stele_os_condition_init(struct stele_os_condition *condition)
{
    pthread_condattr_t attributes;
    int system_code = pthread_condattr_init(&attributes);

    if (system_code)
        return stele_fail_system(STELE_E_NOMEM, system_code, "the system gives no condition");
    /* A clock that somebody sets must not prolong a wait. */
    system_code = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    if (!system_code)
        system_code = pthread_cond_init(condition_of(condition), &attributes);
    pthread_condattr_destroy(&attributes);
    if (system_code)
        return stele_fail_system(STELE_E_NOMEM, system_code, "the system gives no condition");
    return STELE_OK;
}

void stele_os_condition_done(struct stele_os_condition *condition)
{
    (void)pthread_cond_destroy(condition_of(condition));
}

bool stele_os_condition_wait(struct stele_os_condition *condition, struct stele_os_mutex *mutex,
                             uint64_t deadline_us)
{
    struct timespec deadline = timespec_of(deadline_us);

    return pthread_cond_timedwait(condition_of(condition), mutex_of(mutex), &deadline) == 0;
}

void stele_os_condition_broadcast(struct stele_os_condition *condition)
{
    (void)pthread_cond_broadcast(condition_of(condition));
}

/* ---- threads ---- */

_Static_assert(sizeof(pthread_t) <= sizeof(((struct stele_os_thread *)0)->storage), "fits");

static void *run_thread(void *argument)
{
    struct stele_os_thread *thread = argument;

    thread->run(thread->context);
    return NULL;
}

int stele_os_thread_start(struct stele_os_thread *out, void (*run)(void *context), void *context)
{
    sigset_t all, old;
    int system_code;

    out->run = run;
    out->context = context;
    /* The application's signals are its own threads' to handle; faults are the faulting thread's. */
    sigfillset(&all);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGSEGV);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    system_code = pthread_create((pthread_t *)(void *)out->storage, NULL, run_thread, out);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (system_code)
        return stele_fail_system(STELE_E_NOMEM, system_code, "the system gives no thread");
    return STELE_OK;
}

void stele_os_thread_join(struct stele_os_thread *thread)
{
    pthread_t id;

    memcpy(&id, thread->storage, sizeof(id));
    (void)pthread_join(id, NULL);
}
