/*
 * Locks.
 *
 * A lock of LockFileEx belongs to the handle that took it, goes with the process, and hides the bytes from other
 * handles; so it lies where no bytes are. There is no question "who holds it", only an attempt. P is therefore many
 * bytes: a handle holds one of them exclusively, and who probes asks for all of them *shared* and gives them back at
 * once, so that those who probe never see each other. Whoever wants a byte exclusively may meet a probe; a shared
 * attempt on the same byte tells a probe, beside which it succeeds, from a holder, beside which it fails.
 *
 * Windows grants a handle a shared lock on top of its own exclusive one, and the next unlock then takes the exclusive
 * one away. So what a handle holds is never probed by itself, and one mutex stands around all that it does.
 *
 * There is no fork: no handle is ever inherited.
 */
#include "os_win32.h"

#include "error.h"

#include <stdlib.h>

/* Far behind any data; a file ends at 2^61. */
#define WRITER_OFFSET (UINT64_C(1) << 62)
#define PRESENT_OFFSET (WRITER_OFFSET + 4096)
#define PRESENT_BYTES 1024u
#define NOT_PRESENT UINT32_MAX
#define PROBES_MAX 10000

uint64_t stele_os_forks;

struct locks {
    HANDLE handle;
    SRWLOCK mutex; /* of all that follows, and of each lock while it is tried */
    uint32_t present_byte; /* which one of P it holds; or NOT_PRESENT */
    bool is_alone;         /* it holds the others too */
    bool is_writer;
};

static struct locks *locks_of(const struct stele_os_file *file)
{
    return (struct locks *)file->lock;
}

int stele_os_lock_attach(struct stele_os_file *file, const char *path)
{
    DWORD access = GENERIC_READ | (file->is_writable ? GENERIC_WRITE : 0);
    struct locks *locks = malloc(sizeof(*locks));
    DWORD system_code;

    if (!locks)
        return stele_fail(STELE_E_NOMEM, "no memory to open one more store");
    *locks = (struct locks){ .mutex = SRWLOCK_INIT, .present_byte = NOT_PRESENT };
    locks->handle = ReOpenFile(stele_os_handle(file), access, STELE_OS_SHARE_ALL, 0);
    if (locks->handle == INVALID_HANDLE_VALUE) {
        system_code = GetLastError();
        free(locks);
        return stele_os_fail(stele_os_code(system_code), system_code,
                             "%s cannot be opened a second time, for its locks", path);
    }
    file->lock = (intptr_t)locks;
    return STELE_OK;
}

/* One attempt; 0 or a code of GetLastError. */
static DWORD lock_call(HANDLE handle, DWORD flags, uint64_t offset, uint32_t byte_count)
{
    OVERLAPPED place = { .Offset = (DWORD)offset, .OffsetHigh = (DWORD)(offset >> 32) };
    DWORD system_code;

    if (byte_count == 0 || LockFileEx(handle, flags | LOCKFILE_FAIL_IMMEDIATELY, 0, byte_count, 0, &place))
        return 0;
    system_code = GetLastError();
    return system_code == ERROR_IO_PENDING ? ERROR_LOCK_VIOLATION : system_code;
}

static void unlock(HANDLE handle, uint64_t offset, uint32_t byte_count)
{
    OVERLAPPED place = { .Offset = (DWORD)offset, .OffsetHigh = (DWORD)(offset >> 32) };

    if (byte_count > 0)
        (void)UnlockFileEx(handle, 0, byte_count, 0, &place);
}

/* Whether another handle holds any of it; 0, or a code. Nothing of it may be this handle's own. */
static DWORD probe(HANDLE handle, uint64_t offset, uint32_t byte_count, bool *out_is_held)
{
    DWORD system_code = lock_call(handle, 0, offset, byte_count);

    if (!system_code)
        unlock(handle, offset, byte_count);
    *out_is_held = system_code == ERROR_LOCK_VIOLATION;
    return *out_is_held ? 0 : system_code;
}

/* Take it exclusively; ERROR_LOCK_VIOLATION where another handle holds any of it, and not where it is being probed. */
static DWORD take(HANDLE handle, uint64_t offset, uint32_t byte_count)
{
    DWORD system_code = ERROR_LOCK_VIOLATION;
    bool is_held = false;

    for (unsigned tries = 0; tries < PROBES_MAX && system_code == ERROR_LOCK_VIOLATION && !is_held; tries++) {
        DWORD probe_code;

        if (tries > 0)
            SwitchToThread();
        system_code = lock_call(handle, LOCKFILE_EXCLUSIVE_LOCK, offset, byte_count);
        if (system_code != ERROR_LOCK_VIOLATION)
            break;
        probe_code = probe(handle, offset, byte_count, &is_held);
        system_code = probe_code ? probe_code : system_code;
    }
    return system_code;
}

/* Ask all of P but byte @own, in two stretches: what comes before it and what comes behind. */
static uint64_t before_bytes(uint32_t own)
{
    return own == NOT_PRESENT ? PRESENT_BYTES : own;
}

static uint64_t behind_bytes(uint32_t own)
{
    return own == NOT_PRESENT ? 0 : PRESENT_BYTES - own - 1;
}

static void give_others(struct locks *locks)
{
    if (locks->is_alone) {
        unlock(locks->handle, PRESENT_OFFSET, (uint32_t)before_bytes(locks->present_byte));
        unlock(locks->handle, PRESENT_OFFSET + locks->present_byte + 1, (uint32_t)behind_bytes(locks->present_byte));
    }
    locks->is_alone = false;
}

static void give_present(struct locks *locks)
{
    give_others(locks);
    if (locks->present_byte != NOT_PRESENT)
        unlock(locks->handle, PRESENT_OFFSET + locks->present_byte, 1);
    locks->present_byte = NOT_PRESENT;
}

static void give_writer(struct locks *locks)
{
    if (locks->is_writer)
        unlock(locks->handle, WRITER_OFFSET, 1);
    locks->is_writer = false;
}

void stele_os_lock_detach(struct stele_os_file *file)
{
    struct locks *locks = locks_of(file);

    if (!locks)
        return;
    /* Explicitly: when a handle is closed the system takes its time. */
    give_present(locks);
    give_writer(locks);
    CloseHandle(locks->handle);
    free(locks);
    file->lock = 0;
}

static int fail_closed(void)
{
    return stele_fail(STELE_E_STALE, "the store is closed; open it again");
}

static int result_of(DWORD system_code, const char *busy)
{
    if (!system_code)
        return STELE_OK;
    if (system_code == ERROR_LOCK_VIOLATION)
        return stele_fail(STELE_E_BUSY, "%s", busy);
    if (stele_os_code(system_code) == STELE_E_UNSUPPORTED)
        return stele_os_fail(STELE_E_UNSUPPORTED, system_code,
                             "this system or file system has no locks; keep the store on a local file system");
    return stele_os_fail(STELE_E_IO, system_code, "the store cannot be locked");
}

int stele_os_lock_writer(const struct stele_os_file *file)
{
    struct locks *locks = locks_of(file);
    DWORD system_code = 0;

    if (!locks)
        return fail_closed();
    AcquireSRWLockExclusive(&locks->mutex);
    if (!locks->is_writer) {
        system_code = take(locks->handle, WRITER_OFFSET, 1);
        locks->is_writer = !system_code;
    }
    ReleaseSRWLockExclusive(&locks->mutex);
    return result_of(system_code, "another writer has the store; wait for it to finish");
}

void stele_os_unlock_writer(const struct stele_os_file *file)
{
    struct locks *locks = locks_of(file);

    if (!locks)
        return;
    AcquireSRWLockExclusive(&locks->mutex);
    give_writer(locks);
    ReleaseSRWLockExclusive(&locks->mutex);
}

/* Take any one byte of P that is free; handles begin in different places. */
static DWORD take_present(struct locks *locks)
{
    static uint32_t turn; /* atomic */
    uint32_t first = GetCurrentProcessId() * 37 + __atomic_fetch_add(&turn, 1, __ATOMIC_RELAXED);
    DWORD system_code = ERROR_LOCK_VIOLATION;

    for (uint32_t i = 0; i < PRESENT_BYTES && system_code == ERROR_LOCK_VIOLATION; i++) {
        uint32_t byte = (first + i) % PRESENT_BYTES;

        system_code = take(locks->handle, PRESENT_OFFSET + byte, 1);
        if (!system_code)
            locks->present_byte = byte;
    }
    return system_code;
}

int stele_os_lock_present(const struct stele_os_file *file)
{
    struct locks *locks = locks_of(file);
    DWORD system_code = 0;

    if (!locks)
        return fail_closed();
    AcquireSRWLockExclusive(&locks->mutex);
    if (locks->present_byte == NOT_PRESENT)
        system_code = take_present(locks);
    else
        give_others(locks);
    ReleaseSRWLockExclusive(&locks->mutex);
    return result_of(system_code, "another process holds the store for itself alone; wait for it to finish");
}

/* Take all of P but the byte that is held, or nothing. */
static DWORD take_others(struct locks *locks)
{
    uint32_t before = (uint32_t)before_bytes(locks->present_byte);
    DWORD system_code = take(locks->handle, PRESENT_OFFSET, before);

    if (system_code)
        return system_code;
    system_code = take(locks->handle, PRESENT_OFFSET + locks->present_byte + 1,
                       (uint32_t)behind_bytes(locks->present_byte));
    if (system_code)
        unlock(locks->handle, PRESENT_OFFSET, before);
    locks->is_alone = !system_code;
    return system_code;
}

int stele_os_lock_present_alone(const struct stele_os_file *file)
{
    struct locks *locks = locks_of(file);
    bool was_present;
    DWORD system_code = 0;

    if (!locks)
        return fail_closed();
    AcquireSRWLockExclusive(&locks->mutex);
    was_present = locks->present_byte != NOT_PRESENT;
    if (!was_present)
        system_code = take_present(locks);
    if (!system_code && !locks->is_alone)
        system_code = take_others(locks);
    if (system_code && !was_present)
        give_present(locks);
    ReleaseSRWLockExclusive(&locks->mutex);
    return result_of(system_code, "others have the store open for writing; close it there first");
}

void stele_os_unlock_present(const struct stele_os_file *file)
{
    struct locks *locks = locks_of(file);

    if (!locks)
        return;
    AcquireSRWLockExclusive(&locks->mutex);
    give_present(locks);
    ReleaseSRWLockExclusive(&locks->mutex);
}

int stele_os_is_writer_held(const struct stele_os_file *file, bool *out_is_held)
{
    struct locks *locks = locks_of(file);
    bool is_held = false;
    DWORD system_code = 0;

    if (!locks)
        return fail_closed();
    AcquireSRWLockExclusive(&locks->mutex);
    if (!locks->is_writer)
        system_code = probe(locks->handle, WRITER_OFFSET, 1, &is_held);
    ReleaseSRWLockExclusive(&locks->mutex);
    if (!system_code)
        *out_is_held = is_held;
    return result_of(system_code, "");
}

int stele_os_is_present_held(const struct stele_os_file *file, bool *out_is_held)
{
    struct locks *locks = locks_of(file);
    bool is_held = false;
    DWORD system_code = 0;

    if (!locks)
        return fail_closed();
    AcquireSRWLockExclusive(&locks->mutex);
    if (!locks->is_alone) {
        uint32_t own = locks->present_byte;

        system_code = probe(locks->handle, PRESENT_OFFSET, (uint32_t)before_bytes(own), &is_held);
        if (!system_code && !is_held)
            system_code = probe(locks->handle, PRESENT_OFFSET + (uint64_t)own + 1, (uint32_t)behind_bytes(own),
                                &is_held);
    }
    ReleaseSRWLockExclusive(&locks->mutex);
    if (!system_code)
        *out_is_held = is_held;
    return result_of(system_code, "");
}
