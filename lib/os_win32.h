/*
 * What the bodies of os.h share among themselves on Windows.
 *
 * A file is three handles of one file, each opened from the first one and not by name: reads, stores and maps;
 * durable writes (write-through); locks, which stand in a small struct of their own. All share reading, writing
 * and deleting, so that nothing of ours keeps others away. None has the right to delete: while one with it is open,
 * programs that do not share deleting, as most do not, could not open the file.
 *
 * Not here: anything that another module may call.
 */
#ifndef STELE_OS_WIN32_H
#define STELE_OS_WIN32_H

#include "os.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#define STELE_OS_SHARE_ALL (FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE)

static inline HANDLE stele_os_handle(const struct stele_os_file *file)
{
    return (HANDLE)file->handle;
}

static inline HANDLE stele_os_journal_handle(const struct stele_os_file *file)
{
    return (HANDLE)file->journal;
}

/* The code that @system_code (of GetLastError) stands for where nothing better is known. */
int stele_os_code(DWORD system_code);

/* What the system calls @system_code, in UTF-8, without a full stop. */
struct stele_os_description {
    char text[256];
};
struct stele_os_description stele_os_describe(DWORD system_code);

/* As stele_fail_system does with an errno, with a code of GetLastError. */
#define stele_os_fail(code, system_code, ...) \
    stele_fail_described(code, (int)(system_code), stele_os_describe(system_code).text, __VA_ARGS__)

/* What the library's headers of Windows do not name. */
#define STELE_OS_ERROR_QUOTA 1295 /* the user's, on the disk */

/* The function @name of ntdll, for what newer systems have; NULL where it is not there. To be cast to its type. */
void (*stele_os_native(const char *name))(void);

/*
 * Put @path as the system wants it in *@out: UTF-16, whole from the drive on, in the form without a limit where it
 * is long.
 *
 * Errors:  STELE_E_USAGE no UTF-8; STELE_E_FORMAT a device; STELE_E_REMOTE a network drive; STELE_E_ABSENT no such
 *          drive, or no name; STELE_E_NOMEM
 * Owner:   caller frees *out
 */
int stele_os_wide_path(const char *path, wchar_t **out);

/*
 * As CreateFileW, sharing all; tries again for a tenth of a second where scanners and indexers are in the way.
 * Returns INVALID_HANDLE_VALUE and GetLastError.
 */
HANDLE stele_os_open_raw(const wchar_t *path, DWORD access, DWORD disposition, DWORD flags);

/* Fail unless @handle is of a regular file on a disk of this machine; for writing, one that is not read-only. */
int stele_os_check_is_regular(const char *path, HANDLE handle, bool is_writable);

/* Give @file its journal handle, with the right to delete if @is_draft; where there is none it stays the first. */
void stele_os_journal_attach(struct stele_os_file *file, bool is_draft);

/*
 * Give @file its lock handle.
 *
 * Errors:  STELE_E_NOMEM, _ACCESS, _IO
 */
int stele_os_lock_attach(struct stele_os_file *file, const char *path);
/* Give back the locks and the handle. */
void stele_os_lock_detach(struct stele_os_file *file);

#endif
