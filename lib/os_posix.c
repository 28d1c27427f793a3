/* Files: opening, closing, who they are. */
#include "os_posix.h"

#include "error.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int stele_os_code(int system_code)
{
    switch (system_code) {
    case ENOENT:
    case ENOTDIR:
        return STELE_E_ABSENT;
    case EACCES:
    case EPERM:
        return STELE_E_ACCESS;
    case EROFS:
        return STELE_E_READONLY;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return STELE_E_FULL;
    case ENOMEM:
        return STELE_E_NOMEM;
    case EEXIST:
        return STELE_E_EXISTS;
    case EOPNOTSUPP:
    case ENOSYS:
        return STELE_E_UNSUPPORTED;
    default:
        return STELE_E_IO;
    }
}

int stele_os_open_raw(const char *path, int flags, mode_t permissions)
{
    int descriptor;
    int raised;
    int system_code;

    do
        descriptor = open(path, flags | O_CLOEXEC | O_NOCTTY, permissions);
    while (descriptor < 0 && errno == EINTR);
    if (descriptor < 0 || descriptor > 2)
        return descriptor;
    raised = fcntl(descriptor, F_DUPFD_CLOEXEC, 3);
    system_code = errno;
    close(descriptor);
    errno = system_code;
    return raised;
}

struct stele_os_alias stele_os_alias(int descriptor)
{
    struct stele_os_alias alias;

    snprintf(alias.path, sizeof(alias.path), "/proc/self/fd/%d", descriptor);
    return alias;
}

static int fail_to_open(const char *path, bool is_writable, int system_code)
{
    const char *purpose = is_writable ? "writing" : "reading";

    switch (system_code) {
    case ENOENT:
    case ENOTDIR:
        return stele_fail_system(STELE_E_ABSENT, system_code,
                                 "%s is not there; check the path or create it first", path);
    case EACCES:
        return stele_fail_system(STELE_E_ACCESS, system_code,
                                 "%s cannot be opened for %s; ask its owner for permission%s",
                                 path, purpose, is_writable ? " or open it read-only" : "");
    case EPERM:
        return stele_fail_system(
            is_writable ? STELE_E_READONLY : STELE_E_ACCESS, system_code,
            "%s cannot be opened for %s: it is immutable, append-only or sealed; open it read-only, or "
            "take the attribute away (chattr -i)",
            path, purpose);
    case EROFS:
        return stele_fail_system(STELE_E_READONLY, system_code,
                                 "%s cannot be opened for writing; open it read-only or copy it to a "
                                 "writable medium",
                                 path);
    case ETXTBSY:
        return stele_fail_system(STELE_E_ACCESS, system_code,
                                 "%s cannot be opened for %s: the system runs it as a program or swaps to "
                                 "it",
                                 path, purpose);
    case EISDIR:
        return stele_fail_system(STELE_E_FORMAT, system_code,
                                 "%s is a directory, not a store; name a file in it", path);
    case ENXIO:
    case ENODEV:
        return stele_fail_system(STELE_E_FORMAT, system_code,
                                 "%s is a socket or a device, not a store; name a regular file",
                                 path);
    case EMFILE:
    case ENFILE:
        return stele_fail_system(STELE_E_IO, system_code,
                                 "%s cannot be opened; close other files or raise the limit (ulimit -n)",
                                 path);
    case EAGAIN:
        return stele_fail_system(STELE_E_BUSY, system_code,
                                 "%s cannot be opened: another process holds a lease on it; try again",
                                 path);
    default:
        return stele_fail_system(stele_os_code(system_code), system_code, "%s cannot be opened for %s", path,
                                 purpose);
    }
}

static int check_is_regular(const char *path, int descriptor)
{
    struct stat status;
    const char *what = "something else";

    if (fstat(descriptor, &status))
        return stele_fail_system(STELE_E_IO, errno, "%s cannot be examined", path);
    if (S_ISREG(status.st_mode))
        return STELE_OK;
    if (S_ISDIR(status.st_mode))
        what = "a directory";
    else if (S_ISFIFO(status.st_mode))
        what = "a FIFO";
    else if (S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode))
        what = "a device";
    else if (S_ISSOCK(status.st_mode))
        what = "a socket";
    return stele_fail(STELE_E_FORMAT, "%s is %s, not a store; name a regular file", path, what);
}

int stele_os_open(const char *path, bool is_writable, struct stele_os_file *out)
{
    struct stele_os_file file = { .handle = -1, .journal = -1, .lock = -1, .is_writable = is_writable };
    struct stele_error kept;
    int descriptor;
    int rc;

    /* Non-blocking: nobody may ever have the other end of a FIFO, and some devices wait for a carrier. */
    descriptor = stele_os_open_raw(path, (is_writable ? O_RDWR : O_RDONLY) | O_NONBLOCK, 0);
    if (descriptor < 0)
        return fail_to_open(path, is_writable, errno);
    file.handle = file.journal = descriptor;
    file.is_open = true;
    rc = check_is_regular(path, descriptor);
    if (rc)
        goto out;
    rc = stele_os_lock_attach(&file, path);
    if (rc)
        goto out;
    stele_os_size_limit_refresh();
    *out = file;
    return STELE_OK;

out:
    stele_error_keep(&kept);
    stele_os_close(&file);
    stele_error_restore(&kept);
    return rc;
}

void stele_os_close(struct stele_os_file *file)
{
    /* What a child of fork inherited it may have closed long ago, and the number be another file's by now. */
    bool is_inherited = file->lock >= 0 && file->fork_count != stele_os_fork_count();

    if (!file->is_open)
        return;
    stele_os_lock_detach(file);
    if (file->journal != file->handle && !is_inherited)
        close((int)file->journal);
    if (!is_inherited)
        close(stele_os_descriptor(file));
    *file = (struct stele_os_file){ .handle = -1, .journal = -1, .lock = -1 };
}

int stele_os_stat(const struct stele_os_file *file, struct stele_os_stat *out)
{
    struct statx status;

    /*
     * Not fstat: on systems with multigrain timestamps a look at the times makes the next write change them, and its
     * sync write the inode too. Measured before each commit: 128 us instead of 90.
     */
    if (statx(stele_os_descriptor(file), "", AT_EMPTY_PATH, STATX_NLINK | STATX_SIZE | STATX_BLOCKS,
              &status))
        return stele_fail_system(STELE_E_IO, errno, "the store's file cannot be examined");
    *out = (struct stele_os_stat){
        .bytes = status.stx_size,
        .disk_bytes = status.stx_blocks * 512,
        .links = status.stx_nlink,
    };
    return STELE_OK;
}
