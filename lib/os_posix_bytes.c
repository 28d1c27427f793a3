/*
 * Bytes and maps: reading, storing, syncing, allocating.
 *
 * RLIMIT_FSIZE. A write that reaches the limit raises SIGXFSZ, which kills by default, and a library must not
 * kill its process. Masking the signal around each write would cost two system calls per store, so the limit
 * is kept in a variable: a write that ends below it, every one where there is no limit, costs one comparison.
 * Only a write that may reach the limit masks the signal and takes it from the queue. The limit is read anew
 * at each open, writer's turn, allocation and durable write. What remains: a program that lowers the limit below
 * the store's size in the middle of its own commit.
 */
#include "os_posix.h"

#include "bits.h"
#include "error.h"
#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* The kernel caps a call a little below 2 GiB; a signed size of 32 bit does too. */
#define CALL_BYTES_MAX ((size_t)1 << 30)
/* Zeros go out in pieces that make small folios: stores into large ones are dear later. */
#define ZERO_PIECE_BYTES 16384

static uint64_t size_limit; /* atomic; 0: not read yet, so every write is a careful one */

void stele_os_size_limit_refresh(void)
{
    struct rlimit limit;
    uint64_t bytes = 0;

    if (getrlimit(RLIMIT_FSIZE, &limit) == 0)
        bytes = limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : (uint64_t)limit.rlim_cur;
    stele_store(&size_limit, bytes);
}

/* The time during which SIGXFSZ cannot reach this thread. */
struct quiet {
    sigset_t before;
    bool was_pending;
};

static void quiet_begin(struct quiet *quiet)
{
    sigset_t excess, pending;

    sigemptyset(&excess);
    sigaddset(&excess, SIGXFSZ);
    pthread_sigmask(SIG_BLOCK, &excess, &quiet->before);
    sigpending(&pending);
    quiet->was_pending = sigismember(&pending, SIGXFSZ) == 1;
}

static void quiet_end(const struct quiet *quiet)
{
    static const struct timespec at_once = { 0 };
    int system_code = errno;
    sigset_t excess;

    sigemptyset(&excess);
    sigaddset(&excess, SIGXFSZ);
    /* One that was pending before is not ours to take. */
    if (!quiet->was_pending) {
        while (sigtimedwait(&excess, NULL, &at_once) < 0 && errno == EINTR)
            continue;
    }
    pthread_sigmask(SIG_SETMASK, &quiet->before, NULL);
    errno = system_code;
}

static size_t call_bytes(size_t byte_count)
{
    return byte_count < CALL_BYTES_MAX ? byte_count : CALL_BYTES_MAX;
}

static bool is_inside(uint64_t offset, uint64_t byte_count)
{
    uint64_t end;

    return stele_add_fits(offset, byte_count, &end) && end <= (uint64_t)INT64_MAX;
}

static int fail_at(int code, int system_code, uint64_t offset, const char *what)
{
    code = stele_fail_system(code, system_code, "%s at byte %" PRIu64, what, offset);
    stele_fail_at(offset);
    return code;
}

static int fail_to_write(int system_code, uint64_t offset)
{
    switch (system_code) {
    case ENOSPC:
        return fail_at(STELE_E_FULL, system_code, offset,
                       "the disk is full: make room and try again; write refused");
    case EDQUOT:
        return fail_at(STELE_E_FULL, system_code, offset,
                       "the disk quota is used up: make room and try again; write refused");
    case EFBIG:
        return fail_at(STELE_E_FULL, system_code, offset,
                       "the file would pass the size limit of the process (ulimit -f) or the file "
                       "system; write refused");
    case EPERM:
        return fail_at(STELE_E_READONLY, system_code, offset,
                       "the file became immutable or is sealed; write refused");
    case EROFS:
        return fail_at(STELE_E_READONLY, system_code, offset,
                       "the file system is or became read-only (see the system log); write refused");
    default:
        return fail_at(STELE_E_IO, system_code, offset, "the system could not write (see the system log)");
    }
}

int stele_os_read(const struct stele_os_file *file, uint64_t offset, void *out, size_t byte_count)
{
    unsigned char *to = out;
    ssize_t done;

    if (!is_inside(offset, byte_count))
        return stele_fail(STELE_E_TRUNCATED, "byte %" PRIu64 " lies behind the end of any file", offset);
    while (byte_count > 0) {
        done = pread(stele_os_descriptor(file), to, call_bytes(byte_count), (off_t)offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return fail_at(STELE_E_IO, errno, offset, "the system could not read (see the system log)");
        if (done == 0)
            return fail_at(STELE_E_TRUNCATED, 0, offset, "the file is cut (restore it from a backup): bytes are gone");
        to += done;
        offset += (uint64_t)done;
        byte_count -= (size_t)done;
    }
    return STELE_OK;
}

enum durability { CACHED, DURABLE };

/* One write, perhaps a short one. Returns as pwrite does. */
static ssize_t write_some(int descriptor, const unsigned char *bytes, size_t byte_count, uint64_t offset,
                          enum durability durability)
{
    struct iovec vector = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = call_bytes(byte_count) };
    bool is_careful = offset + vector.iov_len > stele_load(&size_limit);
    struct quiet quiet;
    ssize_t done;

    if (is_careful)
        quiet_begin(&quiet);
    do {
        if (durability == DURABLE)
            done = pwritev2(descriptor, &vector, 1, (off_t)offset, RWF_DSYNC);
        else
            done = pwrite(descriptor, vector.iov_base, vector.iov_len, (off_t)offset);
    } while (done < 0 && errno == EINTR);
    if (is_careful)
        quiet_end(&quiet);
    return done;
}

/* All of @bytes; 0 or an errno, and in *@out_offset where it stopped. */
static int write_all(int descriptor, uint64_t *out_offset, const unsigned char *bytes, size_t byte_count,
                     enum durability durability)
{
    while (byte_count > 0) {
        ssize_t done = write_some(descriptor, bytes, byte_count, *out_offset, durability);

        if (done < 0)
            return errno;
        if (done == 0)
            return EIO;
        bytes += done;
        *out_offset += (uint64_t)done;
        byte_count -= (size_t)done;
    }
    return 0;
}

int stele_os_write(const struct stele_os_file *file, uint64_t offset, const void *bytes, size_t byte_count)
{
    int system_code;

    if (!is_inside(offset, byte_count))
        return fail_to_write(EFBIG, offset);
    system_code = write_all(stele_os_descriptor(file), &offset, bytes, byte_count, CACHED);
    return system_code ? fail_to_write(system_code, offset) : STELE_OK;
}

/*
 * Give @file the journal descriptor that kernels need which cannot sync a single write; false: there is none.
 * Several threads may come here at once, and one wins.
 */
static bool open_journal(const struct stele_os_file *file)
{
    /* Not const where it lives; the descriptor is filled in late because almost nobody needs it. */
    intptr_t *place = (intptr_t *)(uintptr_t)&file->journal;
    intptr_t none = file->handle;
    int descriptor =
        stele_os_open_raw(stele_os_alias((int)file->handle).path, O_WRONLY | O_DSYNC | O_NONBLOCK, 0);

    if (descriptor < 0)
        return false;
    if (!__atomic_compare_exchange_n(place, &none, (intptr_t)descriptor, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_ACQUIRE))
        close(descriptor);
    return true;
}

int stele_os_write_durable(const struct stele_os_file *file, uint64_t offset, const void *bytes,
                           size_t byte_count)
{
    intptr_t journal = __atomic_load_n(&file->journal, __ATOMIC_ACQUIRE);
    const unsigned char *from = bytes;
    uint64_t at = offset;
    int system_code = EOPNOTSUPP;

    if (!is_inside(offset, byte_count))
        return fail_to_write(EFBIG, offset);
    stele_os_size_limit_refresh();
    if (journal == file->handle) {
        system_code = write_all((int)journal, &at, from, byte_count, DURABLE);
        if (system_code != EOPNOTSUPP && system_code != ENOSYS)
            goto out;
        if (open_journal(file))
            journal = __atomic_load_n(&file->journal, __ATOMIC_ACQUIRE);
    }
    from += at - offset;
    byte_count -= (size_t)(at - offset);
    system_code = write_all((int)journal, &at, from, byte_count, CACHED);
    /* Neither way to sync a single write, as without /proc on an old kernel: the whole file, then. */
    if (!system_code && journal == file->handle)
        return stele_os_sync(file);

out:
    return system_code ? fail_to_write(system_code, at) : STELE_OK;
}

bool stele_os_needs_views(void)
{
    /* Where file I/O and maps disagree, as on FUSE with direct I/O, the file system counts as a network. */
    return false;
}

int stele_os_store(const struct stele_os_file *file, uint64_t offset, const void *bytes, size_t byte_count,
                   void *view)
{
    if (!view)
        return stele_os_write(file, offset, bytes, byte_count);
    /* The caller has the pages in the cache and writable (stele_os_populate); but the medium may fail all the same. */
    if (!stele_guard_store(view, bytes, byte_count))
        return fail_at(STELE_E_IO, 0, offset, "a page of the store could not be had for storing (see the system log)");
    return STELE_OK;
}

/* fallocate, with interruptions tried again and without a signal at the size limit; 0 or an errno. */
static int allocate_call(int descriptor, int mode, uint64_t offset, uint64_t byte_count)
{
    struct quiet quiet;
    int rc;

    quiet_begin(&quiet);
    do
        rc = fallocate(descriptor, mode, (off_t)offset, (off_t)byte_count);
    while (rc && errno == EINTR);
    rc = rc ? errno : 0;
    quiet_end(&quiet);
    return rc;
}

static int set_bytes_call(int descriptor, uint64_t bytes)
{
    struct quiet quiet;
    int rc;

    quiet_begin(&quiet);
    do
        rc = ftruncate(descriptor, (off_t)bytes);
    while (rc && errno == EINTR);
    rc = rc ? errno : 0;
    quiet_end(&quiet);
    return rc;
}

static int write_zeros(int descriptor, uint64_t *out_offset, uint64_t byte_count)
{
    static const unsigned char zeros[ZERO_PIECE_BYTES];
    int system_code = 0;

    while (byte_count > 0 && !system_code) {
        /* The first piece ends on a border, so that the others are whole pages. */
        uint64_t piece_bytes = stele_min(byte_count, ZERO_PIECE_BYTES - *out_offset % ZERO_PIECE_BYTES);

        system_code = write_all(descriptor, out_offset, zeros, (size_t)piece_bytes, CACHED);
        byte_count -= piece_bytes;
    }
    return system_code;
}

int stele_os_zero(const struct stele_os_file *file, uint64_t offset, uint64_t byte_count, bool is_sparse)
{
    int mode = (is_sparse ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE) | FALLOC_FL_KEEP_SIZE;
    int system_code;

    if (byte_count == 0)
        return STELE_OK;
    if (!is_inside(offset, byte_count))
        return fail_to_write(EFBIG, offset);
    system_code = allocate_call(stele_os_descriptor(file), mode, offset, byte_count);
    if (system_code == EOPNOTSUPP || system_code == ENOSYS)
        system_code = write_zeros(stele_os_descriptor(file), &offset, byte_count);
    return system_code ? fail_to_write(system_code, offset) : STELE_OK;
}

int stele_os_sync(const struct stele_os_file *file)
{
    int rc;

    do
        rc = fdatasync(stele_os_descriptor(file));
    while (rc && errno == EINTR);
    if (rc)
        return stele_fail_system(errno == ENOSPC || errno == EDQUOT ? STELE_E_FULL : STELE_E_IO, errno,
                                 "the system could not make the store durable (see the system log)");
    return STELE_OK;
}

/*
 * Allocation for file systems that have no call for it: zeros behind the end of the file. Holes inside stay
 * as they are: filling them means writing back what was read, and that could undo what another process stored
 * in between. A store into such a hole may find the disk full later, and says so with a code.
 */
static int allocate_by_writing(int descriptor, uint64_t old_bytes, uint64_t *out_offset, uint64_t end)
{
    *out_offset = stele_max(*out_offset, old_bytes);
    return *out_offset < end ? write_zeros(descriptor, out_offset, end - *out_offset) : 0;
}

/* Refuse at once what cannot fit: else the whole disk is taken for a moment, and others meet a full one. */
static int check_free_bytes(int descriptor, uint64_t need_bytes)
{
    struct statvfs status;
    uint64_t free_bytes;

    /* A file system that says nothing of its size is asked by allocating. */
    if (fstatvfs(descriptor, &status) || status.f_blocks == 0 ||
        !stele_mul_fits(status.f_bfree, status.f_frsize, &free_bytes) || need_bytes <= free_bytes)
        return STELE_OK;
    return stele_fail(STELE_E_FULL,
                      "the disk is full: %" PRIu64 " bytes are needed, %" PRIu64 " are free; make room, or ask for "
                       "less",
                      need_bytes, free_bytes);
}

int stele_os_allocate(const struct stele_os_file *file, uint64_t offset, uint64_t byte_count)
{
    int descriptor = stele_os_descriptor(file);
    struct stele_os_stat before = { 0 };
    uint64_t end;
    int system_code;
    int rc;

    if (byte_count == 0)
        return STELE_OK;
    if (!is_inside(offset, byte_count))
        return fail_to_write(EFBIG, offset);
    end = offset + byte_count;
    rc = stele_os_stat(file, &before);
    if (rc)
        return rc;
    /* What lies inside of the file may be there already; what comes behind its end is not. */
    if (end > before.bytes)
        rc = check_free_bytes(descriptor, end - stele_max(offset, before.bytes));
    if (rc)
        return rc;
    stele_os_size_limit_refresh();
    system_code = allocate_call(descriptor, 0, offset, byte_count);
    if (system_code == EOPNOTSUPP || system_code == ENOSYS)
        system_code = allocate_by_writing(descriptor, before.bytes, &offset, end);
    if (!system_code)
        return STELE_OK;
    /*
     * Give back what was allocated behind the old end, also where the size has not moved yet. Nobody stores
     * or looks there: growth is announced after allocation, by the one process that holds the writer's lock.
     */
    if (end > before.bytes)
        (void)set_bytes_call(descriptor, before.bytes);
    return fail_to_write(system_code, offset);
}

int stele_os_set_bytes(const struct stele_os_file *file, uint64_t bytes)
{
    int system_code;

    if (!is_inside(bytes, 0))
        return fail_to_write(EFBIG, bytes);
    stele_os_size_limit_refresh();
    system_code = set_bytes_call(stele_os_descriptor(file), bytes);
    return system_code ? fail_to_write(system_code, bytes) : STELE_OK;
}

int stele_os_next_data(const struct stele_os_file *file, uint64_t offset, uint64_t *out_offset)
{
    struct stele_os_stat status = { 0 };
    off_t found = lseek(stele_os_descriptor(file), (off_t)offset, SEEK_DATA);
    int system_code = errno;
    int rc = STELE_OK;

    if (found >= 0) {
        *out_offset = (uint64_t)found;
        return STELE_OK;
    }
    /* ENXIO: no data behind it; anything else: a file system that does not say. */
    if (system_code == ENXIO)
        rc = stele_os_stat(file, &status);
    if (!rc)
        *out_offset = stele_max(offset, status.bytes);
    return rc;
}

void stele_os_will_need(const struct stele_os_file *file, uint64_t offset, uint64_t byte_count)
{
    if (is_inside(offset, byte_count))
        (void)posix_fadvise(stele_os_descriptor(file), (off_t)offset, (off_t)byte_count, POSIX_FADV_WILLNEED);
}

void stele_os_write_behind(const struct stele_os_file *file, uint64_t offset, uint64_t byte_count)
{
    /* With WRITE alone it neither waits nor takes a pending error from the sync that is to report it. */
    if (is_inside(offset, byte_count))
        (void)sync_file_range(stele_os_descriptor(file), (off_t)offset, (off_t)byte_count, SYNC_FILE_RANGE_WRITE);
}

void stele_os_touch(const struct stele_os_file *file)
{
    (void)futimens(stele_os_descriptor(file), NULL);
}

/* ---- maps ---- */

size_t stele_os_granularity(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static int map_bytes(const struct stele_os_file *file, uint64_t offset, size_t byte_count, int protection, int kind,
                     void **out)
{
    void *map;

    if (!is_inside(offset, byte_count))
        return stele_fail(STELE_E_TRUNCATED, "byte %" PRIu64 " lies behind the end of any file", offset);
    map = mmap(NULL, byte_count, protection, kind, stele_os_descriptor(file), (off_t)offset);
    if (map == MAP_FAILED && (errno == ENOMEM || errno == EAGAIN || errno == EOVERFLOW))
        return stele_fail_system(STELE_E_FULL, errno,
                                 "no address space to map %zu bytes of the store from byte %" PRIu64
                                 "; raise the limit (ulimit -v) or close other stores",
                                 byte_count, offset);
    if (map == MAP_FAILED && errno == ENODEV)
        return stele_fail_system(STELE_E_UNSUPPORTED, errno,
                                 "this file system cannot map files for sharing; move the store to "
                                 "another one");
    if (map == MAP_FAILED)
        return stele_fail_system(errno == EACCES ? STELE_E_ACCESS : STELE_E_IO, errno,
                                 "%zu bytes of the store from byte %" PRIu64 " cannot be mapped", byte_count,
                                 offset);
    /* Advice: a kernel without it is slower, and a child keeps a map that none of its handles uses. */
    (void)madvise(map, byte_count, MADV_DONTFORK);
    *out = map;
    return STELE_OK;
}

int stele_os_map(const struct stele_os_file *file, uint64_t offset, size_t byte_count, bool is_writable,
                 bool is_random, void **out)
{
    int rc = map_bytes(file, offset, byte_count, PROT_READ | (is_writable ? PROT_WRITE : 0), MAP_SHARED, out);

    if (!rc && is_random)
        (void)madvise(*out, byte_count, MADV_RANDOM);
    return rc;
}

int stele_os_map_private(const struct stele_os_file *file, uint64_t offset, size_t byte_count, void **out)
{
    int rc = map_bytes(file, offset, byte_count, PROT_READ | PROT_WRITE, MAP_PRIVATE, out);

    /* As all maps of records: read-ahead makes large folios of the file's pages, and those make stores dear. */
    if (!rc)
        (void)madvise(*out, byte_count, MADV_RANDOM);
    return rc;
}

void stele_os_unmap(void *address, size_t byte_count)
{
    if (address)
        (void)munmap(address, byte_count);
}

int stele_os_populate(void *address, size_t byte_count)
{
    size_t page_bytes = stele_os_granularity();
    size_t within = (uintptr_t)address % page_bytes;
    unsigned char *first = (unsigned char *)address - within;
    int rc;

    byte_count += within;
    do
        rc = madvise(first, byte_count, MADV_POPULATE_WRITE);
    while (rc && (errno == EINTR || errno == EAGAIN));
    /* A kernel before 5.14 does not know the advice. */
    if (rc && errno == EINVAL) {
        rc = stele_guard_touch(first, byte_count) ? 0 : -1;
        errno = EFAULT;
    }
    if (!rc)
        return STELE_OK;
    if (errno == EFAULT)
        return stele_fail_system(
            STELE_E_FULL, errno,
            "pages of the store cannot be made writable: the disk is full under a hole, the file was "
            "cut, or the medium fails; make room, then verify");
    return stele_fail_system(errno == ENOMEM ? STELE_E_NOMEM : STELE_E_IO, errno,
                             "pages of the store cannot be made writable");
}

int stele_os_flush(void *address, size_t byte_count)
{
    /* The page cache is one: the sync of the file knows of every store. */
    (void)address;
    (void)byte_count;
    return STELE_OK;
}

void stele_os_forbid(void *address, size_t byte_count)
{
    (void)mprotect(address, byte_count, PROT_NONE);
}
