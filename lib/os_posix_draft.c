/*
 * Drafts: files that get their name when they are complete.
 *
 * Where the file system can, a draft has no name at all until then (O_TMPFILE), so a kill leaves nothing
 * behind. It is named through /proc/self/fd; without /proc a draft has a random name from the start.
 */
#include "os_posix.h"

#include "error.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define NAME_TRIES_COUNT 100
/* Of the target's name in a temporary one, so that the whole stays below the 255 bytes of a name. */
#define NAME_BYTES_MAX 200
#define XATTR_BYTES_MAX 65536

static int fail_in_directory(const char *directory, const char *target, int system_code)
{
    int code = stele_os_code(system_code);

    if (code == STELE_E_ABSENT)
        return stele_fail_system(code, system_code,
                                 "%s cannot be created: there is no directory %s; make it first", target,
                                 directory);
    if (code == STELE_E_ACCESS || code == STELE_E_READONLY)
        return stele_fail_system(code, system_code,
                                 "%s cannot be created: you may not write to %s; choose another directory",
                                 target, directory);
    if (code == STELE_E_FULL)
        return stele_fail_system(code, system_code,
                                 "%s cannot be created: no room in %s; make room and try again", target,
                                 directory);
    return stele_fail_system(code, system_code, "%s cannot be created", target);
}

static int fail_exists(const char *target, const char *what)
{
    return stele_fail(STELE_E_EXISTS, "%s %s; choose another name", target, what);
}

/* Keep @path and its directory in @draft. */
static int set_target(struct stele_os_draft *draft, const char *path)
{
    const char *slash = strrchr(path, '/');

    if (!*path || (slash && !slash[1]))
        return stele_fail(STELE_E_USAGE, "'%s' names no file; add a name to the path", path);
    draft->target = strdup(path);
    draft->directory = strdup(slash ? path : ".");
    if (!draft->target || !draft->directory)
        return stele_fail(STELE_E_NOMEM, "no memory for the name of %s", path);
    if (slash)
        draft->directory[slash == path ? 1 : slash - path] = '\0';
    return STELE_OK;
}

/* Put a random name beside the target in *@out; the caller frees it. */
static int random_name(const struct stele_os_draft *draft, char **out)
{
    const char *slash = strrchr(draft->target, '/');
    const char *name = slash ? slash + 1 : draft->target;
    size_t room_bytes = strlen(draft->directory) + NAME_BYTES_MAX + 32;
    uint32_t chance;
    int rc = stele_os_random(&chance, sizeof(chance));

    if (rc)
        return rc;
    *out = malloc(room_bytes);
    if (!*out)
        return stele_fail(STELE_E_NOMEM, "no memory for a temporary name");
    snprintf(*out, room_bytes, "%s/.%.*s.%08" PRIx32 ".tmp", draft->directory, NAME_BYTES_MAX, name, chance);
    return STELE_OK;
}

static int open_named(struct stele_os_draft *draft, mode_t permissions, int *out_descriptor)
{
    for (int tries = 0; tries < NAME_TRIES_COUNT; tries++) {
        char *name;
        int rc = random_name(draft, &name);

        if (rc)
            return rc;
        *out_descriptor = stele_os_open_raw(name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, permissions);
        if (*out_descriptor >= 0) {
            draft->temporary = name;
            return STELE_OK;
        }
        free(name);
        if (errno != EEXIST)
            return fail_in_directory(draft->directory, draft->target, errno);
    }
    return fail_in_directory(draft->directory, draft->target, EEXIST);
}

static int open_nameless(struct stele_os_draft *draft, mode_t permissions, int *out_descriptor)
{
    *out_descriptor = stele_os_open_raw(draft->directory, O_RDWR | O_TMPFILE, permissions);
    if (*out_descriptor >= 0 && access(stele_os_alias(*out_descriptor).path, F_OK)) {
        /* It could never get its name. */
        close(*out_descriptor);
        *out_descriptor = -1;
        errno = EOPNOTSUPP;
    }
    if (*out_descriptor >= 0)
        return STELE_OK;
    /* What systems and file systems say that do not know such files. */
    if (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL || errno == ENOENT || errno == ENOSYS)
        return open_named(draft, permissions, out_descriptor);
    return fail_in_directory(draft->directory, draft->target, errno);
}

int stele_os_check_free(const char *path)
{
    struct stat status;

    return lstat(path, &status) ? STELE_OK
                                : stele_fail(STELE_E_EXISTS, "%s is there already; choose another name", path);
}

static int set_mode(const struct stele_os_draft *draft, mode_t mode)
{
    if (fchmod(stele_os_descriptor(&draft->file), mode))
        return stele_fail_system(STELE_E_IO, errno, "%s cannot get its permissions", draft->target);
    return STELE_OK;
}

int stele_os_draft_open(const char *path, uint32_t permissions, struct stele_os_draft *out)
{
    mode_t mode = (mode_t)(permissions & 0777), asked;
    struct stele_os_draft draft = { 0 };
    struct stele_error kept;
    struct stat status;
    int descriptor = -1;
    int rc = set_target(&draft, path);

    if (rc)
        goto out;
    rc = open_nameless(&draft, mode | 0600, &descriptor);
    if (rc)
        goto out;
    draft.file = (struct stele_os_file){
        .handle = descriptor, .journal = descriptor, .lock = -1, .is_open = true, .is_writable = true
    };
    if (fstat(descriptor, &status)) {
        rc = stele_fail_system(STELE_E_IO, errno, "%s cannot be examined", path);
        goto out;
    }
    asked = status.st_mode & mode;
    /*
     * The owner may read and write it while it is made, whatever is asked and whatever the umask takes away: the
     * lock descriptor is opened by what the mode says.
     */
    if ((status.st_mode & 0600) != 0600)
        rc = set_mode(&draft, (status.st_mode & 0777) | 0600);
    if (!rc)
        rc = stele_os_lock_attach(&draft.file, draft.temporary);
    if (!rc && (asked & 0600) != 0600)
        rc = set_mode(&draft, asked);
    if (rc)
        goto out;
    stele_os_size_limit_refresh();
    *out = draft;
    return STELE_OK;

out:
    stele_error_keep(&kept);
    stele_os_draft_discard(&draft);
    stele_error_restore(&kept);
    return rc;
}

/* Give a nameless draft the name @name; 0 or an errno. */
static int link_nameless(const struct stele_os_draft *draft, const char *name)
{
    struct stele_os_alias alias = stele_os_alias(stele_os_descriptor(&draft->file));

    return linkat(AT_FDCWD, alias.path, AT_FDCWD, name, AT_SYMLINK_FOLLOW) ? errno : 0;
}

static int give_temporary_name(struct stele_os_draft *draft)
{
    int system_code = EEXIST;

    for (int tries = 0; tries < NAME_TRIES_COUNT && system_code == EEXIST; tries++) {
        char *name;
        int rc = random_name(draft, &name);

        if (rc)
            return rc;
        system_code = link_nameless(draft, name);
        if (!system_code) {
            draft->temporary = name;
            return STELE_OK;
        }
        free(name);
    }
    return fail_in_directory(draft->directory, draft->target, system_code);
}

/* Move the temporary name to the target if nothing is there; 0 or an errno. */
static int rename_to_free_name(const struct stele_os_draft *draft)
{
    if (renameat2(AT_FDCWD, draft->temporary, AT_FDCWD, draft->target, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP)
        return errno;
    /* File systems that cannot: a link never replaces. A kill in between leaves both names. */
    if (link(draft->temporary, draft->target))
        return errno;
    (void)unlink(draft->temporary);
    return 0;
}

static int publish_new(struct stele_os_draft *draft)
{
    int system_code = draft->temporary ? rename_to_free_name(draft) : link_nameless(draft, draft->target);

    if (system_code == EEXIST)
        return fail_exists(draft->target, "is there already");
    if (system_code)
        return fail_in_directory(draft->directory, draft->target, system_code);
    return STELE_OK;
}

static int publish_over(struct stele_os_draft *draft)
{
    struct stat status;
    int rc;

    if (lstat(draft->target, &status) == 0) {
        if (S_ISLNK(status.st_mode))
            return fail_exists(draft->target, "is a symbolic link, which is not replaced");
        if (!S_ISREG(status.st_mode))
            return fail_exists(draft->target, "is no regular file, so it is not replaced");
    } else if (errno != ENOENT) {
        return fail_in_directory(draft->directory, draft->target, errno);
    }
    if (!draft->temporary) {
        rc = give_temporary_name(draft);
        if (rc)
            return rc;
    }
    if (rename(draft->temporary, draft->target))
        return fail_in_directory(draft->directory, draft->target, errno);
    return STELE_OK;
}

static int sync_directory(const struct stele_os_draft *draft)
{
    int descriptor = stele_os_open_raw(draft->directory, O_RDONLY | O_DIRECTORY, 0);
    int rc = descriptor < 0 ? -1 : fsync(descriptor);
    int system_code = errno;

    if (descriptor >= 0)
        close(descriptor);
    /* A directory that may be written but not read; file systems that need no such sync. */
    if (!rc || system_code == EACCES || system_code == EINVAL || system_code == EROFS)
        return STELE_OK;
    return stele_fail_system(STELE_E_IO, system_code,
                             "%s is complete, but its directory entry could not be made durable (see the "
                             "system log)",
                             draft->target);
}

int stele_os_draft_publish(struct stele_os_draft *draft, bool is_replacing, struct stele_os_file *out_file)
{
    int rc = is_replacing ? publish_over(draft) : publish_new(draft);

    if (rc)
        return rc;
    free(draft->temporary);
    draft->temporary = NULL;
    rc = sync_directory(draft);
    if (rc) {
        /* An error changes nothing, as far as it can be undone. */
        if (!is_replacing)
            (void)unlink(draft->target);
        return rc;
    }
    *out_file = draft->file;
    draft->file = (struct stele_os_file){ 0 };
    stele_os_draft_discard(draft);
    return STELE_OK;
}

void stele_os_draft_discard(struct stele_os_draft *draft)
{
    if (draft->temporary)
        (void)unlink(draft->temporary);
    stele_os_close(&draft->file);
    free(draft->temporary);
    free(draft->directory);
    free(draft->target);
    *draft = (struct stele_os_draft){ 0 };
}

/* Best effort: what this user or the file system cannot carry over is left out. */
static void copy_attributes(int from, int to, bool is_same_owner)
{
    char *names = malloc(XATTR_BYTES_MAX);
    char *value = malloc(XATTR_BYTES_MAX);
    ssize_t names_bytes = names && value ? flistxattr(from, names, XATTR_BYTES_MAX) : -1;

    for (ssize_t at = 0; at < names_bytes; at += (ssize_t)strlen(names + at) + 1) {
        ssize_t value_bytes;

        /* An access list names the owner's group without saying which one that is. */
        if (!is_same_owner && strncmp(names + at, "system.", 7) == 0)
            continue;
        value_bytes = fgetxattr(from, names + at, value, XATTR_BYTES_MAX);
        if (value_bytes >= 0)
            (void)fsetxattr(to, names + at, value, (size_t)value_bytes, 0);
    }
    free(names);
    free(value);
}

int stele_os_draft_dress(struct stele_os_draft *draft, const struct stele_os_file *from)
{
    int to = stele_os_descriptor(&draft->file);
    struct stat theirs, ours;
    mode_t mode;
    bool is_same_owner;

    if (fstat(stele_os_descriptor(from), &theirs))
        return stele_fail_system(STELE_E_IO, errno, "the old file cannot be examined");
    /* The group alone can often be given where the owner cannot. */
    if (fchown(to, theirs.st_uid, theirs.st_gid) && fchown(to, (uid_t)-1, theirs.st_gid))
        errno = 0;
    if (fstat(to, &ours))
        return stele_fail_system(STELE_E_IO, errno, "%s cannot be examined", draft->target);
    is_same_owner = ours.st_uid == theirs.st_uid && ours.st_gid == theirs.st_gid;
    mode = theirs.st_mode & 0777;
    /* Another group must not get what the old one had. */
    if (ours.st_gid != theirs.st_gid)
        mode &= (mode_t)~070 | ((mode & 07) << 3);
    if (fchmod(to, mode))
        return stele_fail_system(stele_os_code(errno), errno, "%s cannot get the permissions of the old file",
                                 draft->target);
    copy_attributes(stele_os_descriptor(from), to, is_same_owner);
    return STELE_OK;
}

int stele_os_draft_clone(struct stele_os_draft *draft, const struct stele_os_file *from, uint64_t offset,
                         uint64_t byte_count)
{
    struct file_clone_range range = { .src_fd = stele_os_descriptor(from), .src_offset = offset,
                                      .src_length = byte_count, .dest_offset = offset };
    int code = STELE_E_UNSUPPORTED;

    if (ioctl(stele_os_descriptor(&draft->file), FICLONERANGE, &range) == 0)
        return STELE_OK;
    if (errno == ENOSPC || errno == EDQUOT)
        code = STELE_E_FULL;
    else if (errno == EIO)
        code = STELE_E_IO;
    return stele_fail_system(code, errno, "%s cannot share the disk of another file", draft->target);
}
