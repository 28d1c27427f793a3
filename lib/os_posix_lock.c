/*
 * Locks, and what becomes of them in a forked child.
 *
 * An open-file-description lock lives as long as its description, and a child of fork() shares that: were the
 * child to keep the descriptor, a dead server's lock would live on in it. So the child closes all lock
 * descriptors before fork() returns there, and the handles of the parent are dead in it
 * (stele_os_fork_count). Children made by vfork, posix_spawn or a bare clone run no such handler; they are
 * expected to exec at once.
 */
#include "os_posix.h"

#include "error.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Far behind any data; a file ends at 2^61. */
#define WRITER_OFFSET (INT64_C(1) << 62)
#define PRESENT_OFFSET (WRITER_OFFSET + 4096)
#define LOCKS_BYTES 8192

/* Lock descriptors of this process, in no order. Held while one is being opened, so that no fork misses it.
 */
static pthread_mutex_t registry_mutex = PTHREAD_MUTEX_INITIALIZER;
static int *registry;
static size_t registry_count;
static size_t registry_room_count;
uint64_t stele_os_forks;

static void before_fork(void)
{
    pthread_mutex_lock(&registry_mutex);
}

static void after_fork_in_parent(void)
{
    pthread_mutex_unlock(&registry_mutex);
}

static void after_fork_in_child(void)
{
    if (registry_count > 0)
        __atomic_store_n(&stele_os_forks, stele_os_fork_count() + 1, __ATOMIC_RELAXED); /* no other thread is here */
    for (size_t i = 0; i < registry_count; i++)
        close(registry[i]);
    registry_count = 0;
    pthread_mutex_unlock(&registry_mutex);
}

static void watch_forks(void)
{
    /* It can fail for want of memory only; then children are as those of vfork: they must exec. */
    (void)pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

void stele_os_watch_forks(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, watch_forks);
}

static int registry_reserve(void)
{
    size_t room_count = registry_room_count ? registry_room_count * 2 : 16;
    int *grown;

    if (registry_count < registry_room_count)
        return STELE_OK;
    grown = realloc(registry, room_count * sizeof(*grown));
    if (!grown)
        return stele_fail(STELE_E_NOMEM, "no memory to open one more store (%zu are open)", registry_count);
    registry = grown;
    registry_room_count = room_count;
    return STELE_OK;
}

/* Open @path for locks if it leads to the inode of @descriptor; 0 or an errno, ESTALE where it leads
 * elsewhere. */
static int open_same(int descriptor, const char *path, int flags, int *out_lock)
{
    struct stat ours, theirs;
    int lock = stele_os_open_raw(path, flags | O_NONBLOCK, 0);

    if (lock < 0)
        return errno;
    if (fstat(descriptor, &ours) || fstat(lock, &theirs) || ours.st_dev != theirs.st_dev ||
        ours.st_ino != theirs.st_ino) {
        close(lock);
        return ESTALE;
    }
    *out_lock = lock;
    return 0;
}

int stele_os_lock_attach(struct stele_os_file *file, const char *path)
{
    int descriptor = stele_os_descriptor(file);
    struct stele_os_alias alias = stele_os_alias(descriptor);
    const char *name = path ? path : alias.path;
    int flags = file->is_writable ? O_RDWR : O_RDONLY;
    int lock = -1;
    int system_code;
    int rc;

    stele_os_watch_forks();
    pthread_mutex_lock(&registry_mutex);
    rc = registry_reserve();
    if (rc)
        goto out;
    system_code = open_same(descriptor, alias.path, flags, &lock);
    if (system_code && path)
        system_code = open_same(descriptor, path, flags, &lock);
    if (system_code == ESTALE) {
        rc = stele_fail(STELE_E_STALE, "%s was replaced while it was being opened; open it again", name);
        goto out;
    }
    if (system_code) {
        rc = stele_fail_system(stele_os_code(system_code), system_code,
                               "%s cannot be opened a second time, for its locks", name);
        goto out;
    }
    registry[registry_count++] = lock;
    file->lock = lock;
    file->fork_count = stele_os_fork_count();

out:
    pthread_mutex_unlock(&registry_mutex);
    return rc;
}

static bool is_of_this_process(const struct stele_os_file *file)
{
    return file->is_open && file->lock >= 0 && file->fork_count == stele_os_fork_count();
}

/* As fcntl with an open-file-description lock command; EINTR is tried again. */
static int lock_call(const struct stele_os_file *file, int command, struct flock *lock)
{
    int rc;

    do
        rc = fcntl((int)file->lock, command, lock);
    while (rc && errno == EINTR);
    return rc;
}

static void unlock(const struct stele_os_file *file, int64_t offset, int64_t byte_count)
{
    struct flock lock = { .l_type = F_UNLCK, .l_whence = SEEK_SET, .l_start = offset, .l_len = byte_count };

    /* In a child of fork the descriptor is closed, its number perhaps another file's. */
    if (is_of_this_process(file))
        (void)lock_call(file, F_OFD_SETLK, &lock);
}

void stele_os_lock_detach(struct stele_os_file *file)
{
    pthread_mutex_lock(&registry_mutex);
    if (is_of_this_process(file)) {
        /* Explicitly: a child that was made without our fork handler may keep the description alive. */
        if (file->is_writable)
            unlock(file, WRITER_OFFSET, LOCKS_BYTES);
        for (size_t i = 0; i < registry_count; i++) {
            if (registry[i] == (int)file->lock) {
                registry[i] = registry[--registry_count];
                break;
            }
        }
        close((int)file->lock);
    }
    file->lock = -1;
    pthread_mutex_unlock(&registry_mutex);
}

static int fail_of_child(void)
{
    return stele_fail(STELE_E_STALE,
                      "the store was opened before a fork; open it again in the child process");
}

static int try_lock(const struct stele_os_file *file, short type, int64_t offset, const char *busy)
{
    struct flock lock = { .l_type = type, .l_whence = SEEK_SET, .l_start = offset, .l_len = 1 };

    if (!is_of_this_process(file))
        return fail_of_child();
    if (lock_call(file, F_OFD_SETLK, &lock) == 0)
        return STELE_OK;
    if (errno == EAGAIN || errno == EACCES)
        return stele_fail(STELE_E_BUSY, "%s", busy);
    if (errno == EINVAL)
        return stele_fail_system(STELE_E_UNSUPPORTED, errno,
                                 "this system or file system has no locks that belong to an open file; "
                                 "keep the store on a local file system");
    return stele_fail_system(STELE_E_IO, errno, "the store cannot be locked");
}

static int probe(const struct stele_os_file *file, int64_t offset, bool *out_is_held)
{
    /* Asking for an exclusive lock finds shared ones too, and needs no right to write. */
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = offset, .l_len = 1 };

    if (!is_of_this_process(file))
        return fail_of_child();
    if (lock_call(file, F_OFD_GETLK, &lock))
        return stele_fail_system(errno == EINVAL ? STELE_E_UNSUPPORTED : STELE_E_IO, errno,
                                 "the store's locks cannot be examined; keep it on a local file system");
    *out_is_held = lock.l_type != F_UNLCK;
    return STELE_OK;
}

int stele_os_lock_writer(const struct stele_os_file *file)
{
    /* What is written in this turn is measured by the limit as it is now. */
    stele_os_size_limit_refresh();
    return try_lock(file, F_WRLCK, WRITER_OFFSET, "another writer has the store; wait for it to finish");
}

void stele_os_unlock_writer(const struct stele_os_file *file)
{
    unlock(file, WRITER_OFFSET, 1);
}

int stele_os_lock_present(const struct stele_os_file *file)
{
    return try_lock(file, F_RDLCK, PRESENT_OFFSET,
                    "another process holds the store for itself alone; wait for it to finish");
}

int stele_os_lock_present_alone(const struct stele_os_file *file)
{
    return try_lock(file, F_WRLCK, PRESENT_OFFSET,
                    "others have the store open for writing; close it there first");
}

void stele_os_unlock_present(const struct stele_os_file *file)
{
    unlock(file, PRESENT_OFFSET, 1);
}

int stele_os_is_writer_held(const struct stele_os_file *file, bool *out_is_held)
{
    return probe(file, WRITER_OFFSET, out_is_held);
}

int stele_os_is_present_held(const struct stele_os_file *file, bool *out_is_held)
{
    return probe(file, PRESENT_OFFSET, out_is_held);
}
