/* The rest: clocks, chance, threads. */
#include "os_win32.h"

#include "bits.h"
#include "error.h"

#include <ntsecapi.h>

#define CALL_BYTES_MAX ((size_t)1 << 20)
#define US_PER_S UINT64_C(1000000)
/* From 1601, where Windows begins to count, to 1970, in its units of 100 ns. */
#define EPOCH_TICKS UINT64_C(116444736000000000)
/* A wait that fits every counter; who waits longer waits again. */
#define WAIT_MS_MAX UINT64_C(1000000)
#define HIGH_RESOLUTION 2

uint64_t stele_os_now_us(void)
{
    FILETIME now;

    GetSystemTimePreciseAsFileTime(&now);
    return (((uint64_t)now.dwHighDateTime << 32 | now.dwLowDateTime) - EPOCH_TICKS) / 10;
}

uint64_t stele_os_clock_us(void)
{
    LARGE_INTEGER frequency, now;
    uint64_t per_s, ticks;

    /* Neither fails on systems that we run on. */
    QueryPerformanceFrequency(&frequency);
    QueryPerformanceCounter(&now);
    per_s = (uint64_t)frequency.QuadPart;
    ticks = (uint64_t)now.QuadPart;
    return ticks / per_s * US_PER_S + ticks % per_s * US_PER_S / per_s;
}

/* Sleep counts in steps of up to 16 ms; newer systems have a timer that does not. False: there is none. */
static bool sleep_by_timer(uint64_t us)
{
    LARGE_INTEGER due = { .QuadPart = -(LONGLONG)(us * 10) };
    HANDLE timer = CreateWaitableTimerExW(NULL, NULL, HIGH_RESOLUTION, TIMER_ALL_ACCESS);
    bool is_set;

    if (!timer)
        return false;
    is_set = SetWaitableTimer(timer, &due, 0, NULL, NULL, FALSE);
    if (is_set)
        WaitForSingleObject(timer, INFINITE);
    CloseHandle(timer);
    return is_set;
}

void stele_os_sleep_us(uint64_t us)
{
    uint64_t now_us = stele_os_clock_us();
    uint64_t until_us;

    if (!stele_add_fits(now_us, us, &until_us))
        until_us = UINT64_MAX;
    /* Both may end a little early. */
    for (; now_us < until_us; now_us = stele_os_clock_us()) {
        uint64_t rest_us = stele_min(until_us - now_us, WAIT_MS_MAX * 1000);

        if (!sleep_by_timer(rest_us))
            Sleep((DWORD)stele_div_up(rest_us, 1000));
    }
}

void stele_os_yield(void)
{
    SwitchToThread();
}

int stele_os_random(void *out, size_t byte_count)
{
    unsigned char *to = out;

    while (byte_count > 0) {
        size_t call_bytes = byte_count < CALL_BYTES_MAX ? byte_count : CALL_BYTES_MAX;

        if (!RtlGenRandom(to, (ULONG)call_bytes))
            return stele_fail(STELE_E_IO, "the system gives no random numbers");
        to += call_bytes;
        byte_count -= call_bytes;
    }
    return STELE_OK;
}

uint64_t stele_os_process_id(void)
{
    return GetCurrentProcessId();
}

void stele_os_wake(const uint64_t *word)
{
    /* WakeByAddressAll reaches the threads of one process; who waits for another's change looks now and then. */
    (void)word;
}

/* ---- mutex and condition ---- */

_Static_assert(sizeof(SRWLOCK) <= sizeof(struct stele_os_mutex), "fits");
_Static_assert(sizeof(CONDITION_VARIABLE) <= sizeof(struct stele_os_condition), "fits");
_Static_assert(_Alignof(SRWLOCK) <= _Alignof(struct stele_os_mutex), "fits");
_Static_assert(_Alignof(CONDITION_VARIABLE) <= _Alignof(struct stele_os_condition), "fits");

static SRWLOCK *mutex_of(struct stele_os_mutex *mutex)
{
    return (SRWLOCK *)(void *)mutex->storage;
}

static CONDITION_VARIABLE *condition_of(struct stele_os_condition *condition)
{
    return (CONDITION_VARIABLE *)(void *)condition->storage;
}

int stele_os_mutex_init(struct stele_os_mutex *mutex)
{
    InitializeSRWLock(mutex_of(mutex));
    return STELE_OK;
}

void stele_os_mutex_done(struct stele_os_mutex *mutex)
{
    /* Nothing of it lies elsewhere. */
    (void)mutex;
}

void stele_os_mutex_lock(struct stele_os_mutex *mutex)
{
    AcquireSRWLockExclusive(mutex_of(mutex));
}

void stele_os_mutex_unlock(struct stele_os_mutex *mutex)
{
    ReleaseSRWLockExclusive(mutex_of(mutex));
}

int stele_os_condition_init(struct stele_os_condition *condition)
{
    InitializeConditionVariable(condition_of(condition));
    return STELE_OK;
}

void stele_os_condition_done(struct stele_os_condition *condition)
{
    /* Nothing of it lies elsewhere. */
    (void)condition;
}

bool stele_os_condition_wait(struct stele_os_condition *condition, struct stele_os_mutex *mutex,
                             uint64_t deadline_us)
{
    uint64_t now_us;

    /* A wait may end a little early. */
    while ((now_us = stele_os_clock_us()) < deadline_us) {
        uint64_t wait_ms = stele_min(stele_div_up(deadline_us - now_us, 1000), WAIT_MS_MAX);

        if (SleepConditionVariableSRW(condition_of(condition), mutex_of(mutex), (DWORD)wait_ms, 0))
            return true;
    }
    return false;
}

void stele_os_condition_broadcast(struct stele_os_condition *condition)
{
    WakeAllConditionVariable(condition_of(condition));
}

/* ---- threads ---- */

_Static_assert(sizeof(HANDLE) <= sizeof(((struct stele_os_thread *)0)->storage), "fits");

static DWORD WINAPI run_thread(void *argument)
{
    struct stele_os_thread *thread = argument;

    thread->run(thread->context);
    return 0;
}

int stele_os_thread_start(struct stele_os_thread *out, void (*run)(void *context), void *context)
{
    HANDLE *handle = (HANDLE *)(void *)out->storage;

    out->run = run;
    out->context = context;
    *handle = CreateThread(NULL, 0, run_thread, out, 0, NULL);
    if (!*handle)
        return stele_os_fail(STELE_E_NOMEM, GetLastError(), "the system gives no thread");
    return STELE_OK;
}

void stele_os_thread_join(struct stele_os_thread *thread)
{
    HANDLE *handle = (HANDLE *)(void *)thread->storage;

    WaitForSingleObject(*handle, INFINITE);
    CloseHandle(*handle);
}
