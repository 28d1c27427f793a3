/*
 * What the bodies of os.h share among themselves on POSIX systems.
 *
 * Not here: anything that another module may call.
 */
#ifndef STELE_OS_POSIX_H
#define STELE_OS_POSIX_H

#include "os.h"

#include <sys/types.h>

/* Offsets go to 2^62 and beyond, also on 32 bit. */
_Static_assert(sizeof(off_t) == 8, "build with -D_FILE_OFFSET_BITS=64");

static inline int stele_os_descriptor(const struct stele_os_file *file)
{
    return (int)file->handle;
}

/* The code that @system_code (errno) stands for where nothing better is known. */
int stele_os_code(int system_code);

/*
 * Open @path, close-on-exec and above 2, so that a program that closed its standard input or output cannot
 * write into a store by accident. Returns -1 and errno.
 */
int stele_os_open_raw(const char *path, int flags, mode_t permissions);

/* "/proc/self/fd/N": leads to the open file itself, whatever its name is by now. */
struct stele_os_alias {
    char path[32];
};
struct stele_os_alias stele_os_alias(int descriptor);

/*
 * Give @file its lock descriptor: an open file description of its own on the same inode. @path is the way
 * there where /proc is missing, NULL where there is none.
 *
 * Errors:  STELE_E_STALE @path leads elsewhere by now; STELE_E_NOMEM, _ACCESS, _IO
 */
int stele_os_lock_attach(struct stele_os_file *file, const char *path);
/* Give back the locks and the descriptor. A child leaves those of its parent alone. */
void stele_os_lock_detach(struct stele_os_file *file);

/* Have fork() close lock descriptors in the child, from now on. Idempotent. */
void stele_os_watch_forks(void);

/* Learn RLIMIT_FSIZE anew (see os_posix_bytes.c). */
void stele_os_size_limit_refresh(void);

#endif
