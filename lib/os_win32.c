/*
 * Files: opening, closing, who they are.
 *
 * Paths are UTF-8 and may be long. A path is made whole before anything else, because only then it shows what it
 * leads to: NUL in any folder is a device, Z: may be a network drive. Both are refused before they are opened.
 */
#include "os_win32.h"

#include "error.h"

#include <stdlib.h>
#include <wchar.h>

/* From here on a path must be in the form without a limit: folders may have 248, files 260. */
#define PLAIN_PATH_COUNT_MAX 247
#define SHARING_TRIES_COUNT 8
#define STATUS_DELETE_PENDING_CODE ((LONG)0xC0000056)

int stele_os_code(DWORD system_code)
{
    switch (system_code) {
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND:
    case ERROR_INVALID_DRIVE:
    case ERROR_NOT_READY:
        return STELE_E_ABSENT;
    case ERROR_ACCESS_DENIED:
    case ERROR_PRIVILEGE_NOT_HELD:
        return STELE_E_ACCESS;
    case ERROR_WRITE_PROTECT:
    case ERROR_FILE_READ_ONLY:
        return STELE_E_READONLY;
    case ERROR_DISK_FULL:
    case ERROR_HANDLE_DISK_FULL:
    case STELE_OS_ERROR_QUOTA:
    case ERROR_FILE_TOO_LARGE:
        return STELE_E_FULL;
    case ERROR_NOT_ENOUGH_MEMORY:
    case ERROR_OUTOFMEMORY:
    case ERROR_NO_SYSTEM_RESOURCES:
        return STELE_E_NOMEM;
    case ERROR_FILE_EXISTS:
    case ERROR_ALREADY_EXISTS:
        return STELE_E_EXISTS;
    case ERROR_SHARING_VIOLATION:
    case ERROR_LOCK_VIOLATION:
    case ERROR_USER_MAPPED_FILE:
        return STELE_E_BUSY;
    case ERROR_NOT_SUPPORTED:
    case ERROR_INVALID_FUNCTION:
    case ERROR_CALL_NOT_IMPLEMENTED:
        return STELE_E_UNSUPPORTED;
    default:
        return STELE_E_IO;
    }
}

struct stele_os_description stele_os_describe(DWORD system_code)
{
    struct stele_os_description description = { "no description" };
    wchar_t wide[200];
    DWORD count = FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS |
                                     FORMAT_MESSAGE_MAX_WIDTH_MASK,
                                 NULL, system_code, 0, wide, sizeof(wide) / sizeof(wide[0]), NULL);

    while (count > 0 && (wide[count - 1] <= L' ' || wide[count - 1] == L'.'))
        count--;
    if (count > 0) {
        int bytes = WideCharToMultiByte(CP_UTF8, 0, wide, (int)count, description.text,
                                        (int)sizeof(description.text) - 1, NULL, NULL);

        if (bytes > 0)
            description.text[bytes] = '\0';
    }
    return description;
}

void (*stele_os_native(const char *name))(void)
{
    HMODULE native = GetModuleHandleW(L"ntdll.dll");

    return native ? (void (*)(void))GetProcAddress(native, name) : NULL;
}

/* ---- paths ---- */

static int fail_of_memory(const char *path)
{
    return stele_fail(STELE_E_NOMEM, "no memory for the name of %s", path);
}

static int fail_not_there(const char *path, DWORD system_code)
{
    return stele_os_fail(STELE_E_ABSENT, system_code, "%s is not there; check the path or create it first", path);
}

static int to_wide(const char *path, wchar_t **out)
{
    int count = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, NULL, 0);

    if (count <= 0)
        return stele_fail(STELE_E_USAGE, "the name of the store is no UTF-8; give its path in UTF-8");
    *out = malloc((size_t)count * sizeof(**out));
    if (!*out)
        return fail_of_memory(path);
    MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, *out, count);
    return STELE_OK;
}

/* @wide from its drive on, with @room_count characters left free before it. */
static int make_whole(const char *path, const wchar_t *wide, size_t room_count, wchar_t **out)
{
    DWORD count = GetFullPathNameW(wide, 0, NULL, NULL);
    wchar_t *whole = count ? malloc((count + room_count) * sizeof(*whole)) : NULL;

    if (count && !whole)
        return fail_of_memory(path);
    if (!count || GetFullPathNameW(wide, count, whole + room_count, NULL) >= count) {
        free(whole);
        return fail_not_there(path, GetLastError());
    }
    *out = whole;
    return STELE_OK;
}

static int check_drive(const char *path, const wchar_t *letter)
{
    wchar_t root[] = { letter[0], L':', L'\\', L'\0' };
    UINT type = GetDriveTypeW(root);

    if (type == DRIVE_NO_ROOT_DIR)
        return stele_fail(STELE_E_ABSENT, "%s: there is no drive %c: here; check the path", path, (char)letter[0]);
    if (type == DRIVE_REMOTE)
        return stele_fail(STELE_E_REMOTE,
                          "%s: drive %c: is a network drive, over which locks and maps of several machines do not "
                          "agree; copy the store to a disk of this machine",
                          path, (char)letter[0]);
    return STELE_OK;
}

static int fail_of_name(const char *path, DWORD system_code)
{
    return stele_os_fail(STELE_E_USAGE, system_code,
                         "%s has characters that no file name may have (< > : \" | ? *), or ends with a slash; name "
                         "another file",
                         path);
}

/* Where @whole leads, as far as the name shows. */
static int check_place(const char *path, const wchar_t *whole)
{
    bool is_literal = wcsncmp(whole, L"\\\\?\\", 4) == 0;
    const wchar_t *place = is_literal ? whole + 4 : whole;
    bool has_letter = ((place[0] | 0x20) >= L'a' && (place[0] | 0x20) <= L'z') && place[1] == L':';

    if (wcsncmp(whole, L"\\\\.\\", 4) == 0)
        return stele_fail(STELE_E_FORMAT, "%s is a device, not a store; name a regular file", path);
    if ((is_literal && _wcsnicmp(place, L"UNC\\", 4) == 0) || (!is_literal && wcsncmp(place, L"\\\\", 2) == 0))
        return stele_fail(STELE_E_REMOTE,
                          "%s is on a network share, over which locks and maps of several machines do not agree; "
                          "copy the store to a disk of this machine",
                          path);
    if (is_literal && !has_letter && _wcsnicmp(place, L"Volume{", 7) != 0)
        return stele_fail(STELE_E_FORMAT, "%s is a device, not a store; name a regular file", path);
    /* A second stream of a file has no name of its own that could be given to it or taken. */
    if (wcschr(has_letter ? place + 2 : place, L':'))
        return fail_of_name(path, ERROR_INVALID_NAME);
    return has_letter ? check_drive(path, place) : STELE_OK;
}

int stele_os_wide_path(const char *path, wchar_t **out)
{
    static const wchar_t unlimited[] = L"\\\\?\\";
    const size_t room_count = wcslen(unlimited);
    wchar_t *wide = NULL, *whole = NULL;
    int rc = *path ? to_wide(path, &wide) : fail_not_there("''", ERROR_PATH_NOT_FOUND);

    if (rc)
        goto out;
    rc = make_whole(path, wide, room_count, &whole);
    if (!rc)
        rc = check_place(path, whole + room_count);
    if (rc)
        goto out;
    /* The form without a limit is taken as it is: no relative parts, no other slashes. It is made only of a whole. */
    if (wcslen(whole + room_count) > PLAIN_PATH_COUNT_MAX && wcsncmp(whole + room_count, unlimited, room_count) != 0)
        wmemcpy(whole, unlimited, room_count);
    else
        wmemmove(whole, whole + room_count, wcslen(whole + room_count) + 1);
    *out = whole;
    whole = NULL;

out:
    free(wide);
    free(whole);
    return rc;
}

/* ---- opening ---- */

/* Whether the last call was refused for a moment only: shared with nobody, or about to go. */
static bool is_passing(DWORD system_code)
{
    LONG(NTAPI *last_status)(void);

    if (system_code == ERROR_SHARING_VIOLATION || system_code == ERROR_LOCK_VIOLATION)
        return true;
    if (system_code != ERROR_ACCESS_DENIED)
        return false;
    last_status = (LONG(NTAPI *)(void))stele_os_native("RtlGetLastNtStatus");
    return last_status && last_status() == STATUS_DELETE_PENDING_CODE;
}

HANDLE stele_os_open_raw(const wchar_t *path, DWORD access, DWORD disposition, DWORD flags)
{
    for (DWORD tries = 0;; tries++) {
        HANDLE handle = CreateFileW(path, access, STELE_OS_SHARE_ALL, NULL, disposition, flags, NULL);
        DWORD system_code = GetLastError();

        if (handle != INVALID_HANDLE_VALUE || tries == SHARING_TRIES_COUNT || !is_passing(system_code)) {
            SetLastError(system_code);
            return handle;
        }
        /* Short waits, then long ones: a tenth of a second in all. */
        Sleep(tries < 4 ? 1 + 2 * tries : 20);
    }
}

static int fail_read_only(const char *path, DWORD system_code)
{
    return stele_os_fail(STELE_E_READONLY, system_code,
                         "%s cannot be opened for writing: it has the read-only attribute; open it read-only, or take "
                         "the attribute away (attrib -r)",
                         path);
}

static int fail_of_access(const char *path, const wchar_t *wide, bool is_writable, DWORD system_code)
{
    DWORD attributes = GetFileAttributesW(wide);

    if (attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_DIRECTORY))
        return stele_fail(STELE_E_FORMAT, "%s is a directory, not a store; name a file in it", path);
    if (is_writable && attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_READONLY))
        return fail_read_only(path, system_code);
    return stele_os_fail(STELE_E_ACCESS, system_code, "%s cannot be opened for %s; ask its owner for permission%s",
                         path, is_writable ? "writing" : "reading", is_writable ? " or open it read-only" : "");
}

static int fail_to_open(const char *path, const wchar_t *wide, bool is_writable, DWORD system_code)
{
    const char *purpose = is_writable ? "writing" : "reading";
    DWORD attributes;

    switch (system_code) {
    case ERROR_ACCESS_DENIED:
        return fail_of_access(path, wide, is_writable, system_code);
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND:
    case ERROR_INVALID_NAME:
    case ERROR_DIRECTORY:
        /* A directory may have been named with a slash behind it. */
        attributes = GetFileAttributesW(wide);
        if (attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_DIRECTORY))
            return fail_of_access(path, wide, is_writable, system_code);
        if (system_code == ERROR_INVALID_NAME)
            return fail_of_name(path, system_code);
        return fail_not_there(path, system_code);
    case ERROR_FILENAME_EXCED_RANGE:
        return stele_os_fail(STELE_E_USAGE, system_code, "%s has a part that is longer than names may be; shorten it",
                             path);
    case ERROR_SHARING_VIOLATION:
    case ERROR_LOCK_VIOLATION:
        return stele_os_fail(STELE_E_BUSY, system_code,
                             "%s cannot be opened for %s: another program has the file open without sharing it; "
                             "close it there",
                             path, purpose);
    case ERROR_WRITE_PROTECT:
        return stele_os_fail(STELE_E_READONLY, system_code,
                             "%s cannot be opened for writing; open it read-only or copy it to a writable medium",
                             path);
    case ERROR_NOT_READY:
        return stele_os_fail(STELE_E_ABSENT, system_code, "%s: there is no medium in the drive; put it in", path);
    case ERROR_TOO_MANY_OPEN_FILES:
        return stele_os_fail(STELE_E_IO, system_code, "%s cannot be opened; close other files", path);
    default:
        return stele_os_fail(stele_os_code(system_code), system_code, "%s cannot be opened for %s", path, purpose);
    }
}

int stele_os_check_is_regular(const char *path, HANDLE handle, bool is_writable)
{
    BY_HANDLE_FILE_INFORMATION information;
    FILE_REMOTE_PROTOCOL_INFO protocol;

    if (GetFileType(handle) != FILE_TYPE_DISK)
        return stele_fail(STELE_E_FORMAT, "%s is a device or a pipe, not a store; name a regular file", path);
    if (!GetFileInformationByHandle(handle, &information))
        return stele_os_fail(STELE_E_IO, GetLastError(), "%s cannot be examined", path);
    if (information.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY)
        return stele_fail(STELE_E_FORMAT, "%s is a directory, not a store; name a file in it", path);
    /* The attribute keeps everybody out; where another system stands in for Windows, not its administrator. */
    if (is_writable && (information.dwFileAttributes & FILE_ATTRIBUTE_READONLY))
        return fail_read_only(path, 0);
    /* It succeeds for remote files only: a link may have led there. */
    if (GetFileInformationByHandleEx(handle, FileRemoteProtocolInfo, &protocol, sizeof(protocol)))
        return stele_fail(STELE_E_REMOTE,
                          "%s leads to a network share, over which locks and maps of several machines do not agree; "
                          "copy the store to a disk of this machine",
                          path);
    return STELE_OK;
}

void stele_os_journal_attach(struct stele_os_file *file, bool is_draft)
{
    HANDLE journal = ReOpenFile(stele_os_journal_handle(file), GENERIC_WRITE | (is_draft ? DELETE : 0),
                                STELE_OS_SHARE_ALL, FILE_FLAG_WRITE_THROUGH);

    if (journal != INVALID_HANDLE_VALUE)
        file->journal = (intptr_t)journal;
}

int stele_os_open(const char *path, bool is_writable, struct stele_os_file *out)
{
    struct stele_os_file file = { .handle = -1, .journal = -1, .is_writable = is_writable };
    struct stele_error kept;
    wchar_t *wide = NULL;
    HANDLE handle;
    int rc = stele_os_wide_path(path, &wide);

    if (rc)
        return rc;
    handle = stele_os_open_raw(wide, GENERIC_READ | (is_writable ? GENERIC_WRITE : 0), OPEN_EXISTING,
                               FILE_ATTRIBUTE_NORMAL);
    if (handle == INVALID_HANDLE_VALUE) {
        rc = fail_to_open(path, wide, is_writable, GetLastError());
        goto out;
    }
    file.handle = file.journal = (intptr_t)handle;
    file.is_open = true;
    rc = stele_os_check_is_regular(path, handle, is_writable);
    if (rc)
        goto out;
    if (is_writable)
        stele_os_journal_attach(&file, false);
    rc = stele_os_lock_attach(&file, path);
    if (rc)
        goto out;
    *out = file;
    file.is_open = false;

out:
    stele_error_keep(&kept);
    stele_os_close(&file);
    stele_error_restore(&kept);
    free(wide);
    return rc;
}

void stele_os_close(struct stele_os_file *file)
{
    if (!file->is_open)
        return;
    stele_os_lock_detach(file);
    if (file->journal != file->handle)
        CloseHandle(stele_os_journal_handle(file));
    CloseHandle(stele_os_handle(file));
    *file = (struct stele_os_file){ .handle = -1, .journal = -1 };
}

int stele_os_stat(const struct stele_os_file *file, struct stele_os_stat *out)
{
    FILE_STANDARD_INFO information;

    if (!GetFileInformationByHandleEx(stele_os_handle(file), FileStandardInfo, &information, sizeof(information)))
        return stele_os_fail(STELE_E_IO, GetLastError(), "the store's file cannot be examined");
    *out = (struct stele_os_stat){
        .bytes = (uint64_t)information.EndOfFile.QuadPart,
        .disk_bytes = (uint64_t)information.AllocationSize.QuadPart,
        .links = information.DeletePending ? 0 : information.NumberOfLinks,
    };
    return STELE_OK;
}
