/*
 * Drafts: files that get their name when they are complete.
 *
 * No file is without a name here. A draft has a random one beside its target, and is marked for deletion as soon as
 * all its handles are open, since a file that is marked opens no more: the system removes it when the last one is
 * closed. So only a kill within the moment before that leaves something, an empty file. The mark is taken off for a
 * moment when the draft gets the access list of another file, and just before it is renamed. Mark and name are changed
 * through the journal handle, which alone has the right to delete, and which is opened again without it once the draft
 * has its name.
 *
 * Who may use the new file is what the access list of its folder passes on, as is the custom here; the permissions
 * that were asked for are those of other systems.
 *
 * Replacing. Systems since Windows 10 on NTFS take the name from a file that is open, if all share deleting; others do
 * not, and there the old file is renamed first and deleted after: a kill in between leaves both under random names. On
 * all of them a file that anybody has mapped stays, the caller's own maps count too, and the code is STELE_E_BUSY.
 */
#include "os_win32.h"

#include "error.h"

#include <aclapi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#define NAME_TRIES_COUNT 100
/* Of the target's name in a temporary one, so that the whole stays below the 255 units of a name. */
#define NAME_BYTES_MAX 200
#define NAME_UNITS_MAX 255u
#define RENAME_TRIES_COUNT 8
#define RENAME_REPLACE 1
#define RENAME_POSIX 2
#define RENAME_CLASS ((FILE_INFO_BY_HANDLE_CLASS)3)
#define RENAME_EX_CLASS ((FILE_INFO_BY_HANDLE_CLASS)22)

static int fail_in_directory(const char *directory, const char *target, DWORD system_code)
{
    int code = stele_os_code(system_code);

    if (code == STELE_E_ABSENT)
        return stele_os_fail(code, system_code, "%s cannot be created: there is no directory %s; make it first",
                             target, directory);
    if (code == STELE_E_ACCESS || code == STELE_E_READONLY)
        return stele_os_fail(code, system_code,
                             "%s cannot be created: you may not write to %s; choose another directory", target,
                             directory);
    if (code == STELE_E_FULL)
        return stele_os_fail(code, system_code, "%s cannot be created: no room in %s; make room and try again",
                             target, directory);
    if (code == STELE_E_BUSY)
        return stele_os_fail(code, system_code, "%s: another program has it in use; close it there", target);
    if (system_code == ERROR_INVALID_NAME || system_code == ERROR_FILENAME_EXCED_RANGE)
        return stele_os_fail(STELE_E_USAGE, system_code,
                             "%s cannot be created: its name is too long or has characters that no file name may "
                             "have (< > : \" | ? *)",
                             target);
    return stele_os_fail(code, system_code, "%s cannot be created", target);
}

static int fail_exists(const char *target, const char *what)
{
    return stele_fail(STELE_E_EXISTS, "%s %s; choose another name", target, what);
}

/* Where the name begins in @path, behind a slash of either kind or the colon of a drive. */
static size_t name_place(const char *path)
{
    size_t at = strlen(path);

    while (at > 0 && path[at - 1] != '/' && path[at - 1] != '\\' && !(at == 2 && path[1] == ':'))
        at--;
    return at;
}

/* Keep @path and its directory in @draft. */
static int set_target(struct stele_os_draft *draft, const char *path)
{
    size_t at = name_place(path);

    if (!path[at])
        return stele_fail(STELE_E_USAGE, "'%s' names no file; add a name to the path", path);
    draft->target = strdup(path);
    draft->directory = strdup(at > 0 ? path : ".");
    if (!draft->target || !draft->directory)
        return stele_fail(STELE_E_NOMEM, "no memory for the name of %s", path);
    /* The slash goes, unless it is the root's. */
    if (at > 0)
        draft->directory[at > 1 && path[at - 1] != ':' && path[at - 2] != ':' ? at - 1 : at] = '\0';
    return STELE_OK;
}

/* Put a random name beside the target in *@out; the caller frees it. */
static int random_name(const char *target, char **out)
{
    size_t at = name_place(target);
    size_t name_bytes = strlen(target + at);
    size_t room_bytes = at + NAME_BYTES_MAX + 32;
    uint32_t chance;
    int rc = stele_os_random(&chance, sizeof(chance));

    if (rc)
        return rc;
    if (name_bytes > NAME_BYTES_MAX) {
        name_bytes = NAME_BYTES_MAX;
        /* Not within a character. */
        while (((unsigned char)target[at + name_bytes] & 0xC0) == 0x80)
            name_bytes--;
    }
    *out = malloc(room_bytes);
    if (!*out)
        return stele_fail(STELE_E_NOMEM, "no memory for a temporary name");
    snprintf(*out, room_bytes, "%.*s.%.*s.%08" PRIx32 ".tmp", (int)at, target, (int)name_bytes, target + at, chance);
    return STELE_OK;
}

static int open_named(struct stele_os_draft *draft, HANDLE *out_handle)
{
    DWORD system_code = ERROR_FILE_EXISTS;

    for (int tries = 0; tries < NAME_TRIES_COUNT && stele_os_code(system_code) == STELE_E_EXISTS; tries++) {
        char *name = NULL;
        wchar_t *wide = NULL;
        int rc = random_name(draft->target, &name);

        if (!rc)
            rc = stele_os_wide_path(name, &wide);
        if (rc) {
            free(name);
            return rc;
        }
        *out_handle = stele_os_open_raw(wide, GENERIC_READ | GENERIC_WRITE, CREATE_NEW, FILE_ATTRIBUTE_NORMAL);
        system_code = GetLastError();
        free(wide);
        if (*out_handle != INVALID_HANDLE_VALUE) {
            draft->temporary = name;
            return STELE_OK;
        }
        free(name);
    }
    return fail_in_directory(draft->directory, draft->target, system_code);
}

int stele_os_check_free(const char *path)
{
    wchar_t *wide = NULL;
    DWORD attributes;
    int rc;

    /* No name is taken by nobody; that it is none the draft says. */
    if (!*path)
        return STELE_OK;
    rc = stele_os_wide_path(path, &wide);
    if (rc)
        return rc;
    /* Of a link it tells about the link itself. Files of the system's own use exist and tell nothing. */
    attributes = GetFileAttributesW(wide);
    if (attributes != INVALID_FILE_ATTRIBUTES || GetLastError() == ERROR_SHARING_VIOLATION)
        rc = stele_fail(STELE_E_EXISTS, "%s is there already; choose another name", path);
    free(wide);
    return rc;
}

/* Have the file go with its last handle, or not; false where the system refuses, as where a file is mapped. */
static bool mark_for_deletion(HANDLE handle, bool is_to_go)
{
    FILE_DISPOSITION_INFO disposition = { .DeleteFile = is_to_go };

    return SetFileInformationByHandle(handle, FileDispositionInfo, &disposition, sizeof(disposition));
}

/* Some systems find a name that is too long only when the draft is to get it, and call it something else. */
static int check_name(const char *path, const wchar_t *wide)
{
    const wchar_t *name = wide + wcslen(wide);

    while (name > wide && name[-1] != L'\\' && name[-1] != L'/')
        name--;
    return wcslen(name) <= NAME_UNITS_MAX
               ? STELE_OK
               : stele_fail(STELE_E_IO, "%s cannot be created: its name has more than %u characters; choose a "
                            "shorter one", path, NAME_UNITS_MAX);
}

int stele_os_draft_open(const char *path, uint32_t permissions, struct stele_os_draft *out)
{
    struct stele_os_draft draft = { .target = NULL };
    struct stele_error kept;
    wchar_t *wide = NULL;
    HANDLE handle = INVALID_HANDLE_VALUE;
    int rc = set_target(&draft, path);

    (void)permissions;
    /* What is wrong with the path is said of it, and not of the random name. */
    if (!rc)
        rc = stele_os_wide_path(path, &wide);
    if (!rc)
        rc = check_name(path, wide);
    if (!rc)
        rc = open_named(&draft, &handle);
    free(wide);
    if (rc)
        goto out;
    draft.file = (struct stele_os_file){
        .handle = (intptr_t)handle, .journal = (intptr_t)handle, .is_open = true, .is_writable = true
    };
    rc = stele_os_check_is_regular(path, handle, true);
    if (!rc)
        rc = stele_os_lock_attach(&draft.file, path);
    if (rc)
        goto out;
    stele_os_journal_attach(&draft.file, true);
    (void)mark_for_deletion(stele_os_journal_handle(&draft.file), true);
    *out = draft;
    return STELE_OK;

out:
    stele_error_keep(&kept);
    stele_os_draft_discard(&draft);
    stele_error_restore(&kept);
    return rc;
}

/* As FILE_RENAME_INFO of systems that have flags in it. */
struct rename_information {
    DWORD flags;
    HANDLE root;
    DWORD name_bytes;
    wchar_t name[];
};

/* Rename the file of @handle to @path, one attempt; 0 or a code of GetLastError. */
static DWORD rename_once(HANDLE handle, FILE_INFO_BY_HANDLE_CLASS class, DWORD flags, const wchar_t *path)
{
    size_t name_bytes = wcslen(path) * sizeof(*path);
    size_t all_bytes = sizeof(struct rename_information) + name_bytes + sizeof(*path);
    struct rename_information *information = calloc(1, all_bytes);
    DWORD system_code = 0;

    if (!information)
        return ERROR_NOT_ENOUGH_MEMORY;
    information->flags = flags;
    information->name_bytes = (DWORD)name_bytes;
    memcpy(information->name, path, name_bytes);
    if (!SetFileInformationByHandle(handle, class, information, (DWORD)all_bytes))
        system_code = GetLastError();
    free(information);
    return system_code;
}

/* As rename_once, trying again while scanners are in the way. */
static DWORD rename_to(HANDLE handle, FILE_INFO_BY_HANDLE_CLASS class, DWORD flags, const wchar_t *path)
{
    DWORD system_code = rename_once(handle, class, flags, path);

    for (DWORD tries = 0; tries < RENAME_TRIES_COUNT && system_code == ERROR_SHARING_VIOLATION; tries++) {
        Sleep(1 + 4 * tries);
        system_code = rename_once(handle, class, flags, path);
    }
    return system_code;
}

static int publish_new(struct stele_os_draft *draft, const wchar_t *target)
{
    DWORD system_code = rename_to(stele_os_journal_handle(&draft->file), RENAME_CLASS, 0, target);

    if (stele_os_code(system_code) == STELE_E_EXISTS)
        return fail_exists(draft->target, "is there already");
    if (system_code)
        return fail_in_directory(draft->directory, draft->target, system_code);
    return STELE_OK;
}

/* Put the file of @old out of the way under a random name; 0 or a code. */
static DWORD rename_aside(const struct stele_os_draft *draft, HANDLE old)
{
    char *name = NULL;
    wchar_t *wide = NULL;
    DWORD system_code = ERROR_NOT_ENOUGH_MEMORY;

    if (!random_name(draft->target, &name) && !stele_os_wide_path(name, &wide))
        system_code = rename_to(old, RENAME_CLASS, 0, wide);
    free(wide);
    free(name);
    return system_code;
}

/* Put @draft in the place of the file of @old, which nobody has mapped; 0 or a code. */
static DWORD replace(const struct stele_os_draft *draft, HANDLE old, const wchar_t *target)
{
    HANDLE handle = stele_os_journal_handle(&draft->file);
    DWORD system_code = rename_to(handle, RENAME_EX_CLASS, RENAME_REPLACE | RENAME_POSIX, target);
    DWORD refusal;

    if (system_code != ERROR_INVALID_PARAMETER && stele_os_code(system_code) != STELE_E_UNSUPPORTED)
        return system_code;
    system_code = rename_aside(draft, old);
    if (system_code)
        return system_code;
    refusal = rename_to(handle, RENAME_CLASS, 0, target);
    if (refusal)
        (void)rename_to(old, RENAME_CLASS, 0, target);
    else
        (void)mark_for_deletion(old, true);
    return refusal;
}

static int fail_mapped(const char *target)
{
    return stele_fail(STELE_E_BUSY, "%s cannot be replaced while a program has it open: close it there", target);
}

static int check_replaceable(const struct stele_os_draft *draft, const wchar_t *target, DWORD attributes)
{
    if (attributes & FILE_ATTRIBUTE_DIRECTORY)
        return fail_exists(draft->target, "is no regular file, so it is not replaced");
    if (attributes & FILE_ATTRIBUTE_REPARSE_POINT) {
        WIN32_FIND_DATAW entry;
        HANDLE search = FindFirstFileW(target, &entry);

        if (search != INVALID_HANDLE_VALUE)
            FindClose(search);
        /* Other reparse points are files whose bytes are kept in a special way. */
        if (search != INVALID_HANDLE_VALUE && entry.dwReserved0 == IO_REPARSE_TAG_SYMLINK)
            return fail_exists(draft->target, "is a symbolic link, which is not replaced");
    }
    if (attributes & FILE_ATTRIBUTE_READONLY)
        return stele_fail(STELE_E_READONLY,
                          "%s has the read-only attribute and is not replaced; take it away (attrib -r)",
                          draft->target);
    return STELE_OK;
}

static int publish_over(struct stele_os_draft *draft, const wchar_t *target)
{
    DWORD attributes = GetFileAttributesW(target);
    DWORD system_code;
    HANDLE old;
    int rc;

    if (attributes == INVALID_FILE_ATTRIBUTES)
        return publish_new(draft, target);
    rc = check_replaceable(draft, target, attributes);
    if (rc)
        return rc;
    old = stele_os_open_raw(target, DELETE | SYNCHRONIZE | FILE_READ_ATTRIBUTES, OPEN_EXISTING,
                            FILE_FLAG_OPEN_REPARSE_POINT);
    if (old == INVALID_HANDLE_VALUE)
        return fail_in_directory(draft->directory, draft->target, GetLastError());
    /* What is mapped cannot be marked; so the mark is the question, taken back at once. */
    if (!mark_for_deletion(old, true)) {
        rc = fail_mapped(draft->target);
        goto out;
    }
    (void)mark_for_deletion(old, false);
    system_code = replace(draft, old, target);
    if (system_code == ERROR_ACCESS_DENIED || stele_os_code(system_code) == STELE_E_BUSY)
        rc = fail_mapped(draft->target);
    else if (system_code)
        rc = fail_in_directory(draft->directory, draft->target, system_code);

out:
    CloseHandle(old);
    return rc;
}

/* Write-through handles rename durably where the file system knows how; the flush is for the others. */
static int sync_name(const struct stele_os_draft *draft)
{
    if (FlushFileBuffers(stele_os_journal_handle(&draft->file)))
        return STELE_OK;
    return stele_os_fail(STELE_E_IO, GetLastError(),
                         "%s is complete, but its directory entry could not be made durable (see the event log)",
                         draft->target);
}

/* Give up the right to delete: while a handle has it, programs that do not share deleting cannot open the file. */
static void drop_right_to_delete(struct stele_os_file *file)
{
    HANDLE before = stele_os_journal_handle(file);

    stele_os_journal_attach(file, false);
    if (stele_os_journal_handle(file) != before && file->handle != (intptr_t)before)
        CloseHandle(before);
}

int stele_os_draft_publish(struct stele_os_draft *draft, bool is_replacing, struct stele_os_file *out_file)
{
    HANDLE journal = stele_os_journal_handle(&draft->file);
    wchar_t *target = NULL;
    bool is_named;
    int rc = stele_os_wide_path(draft->target, &target);

    if (rc)
        return rc;
    (void)mark_for_deletion(journal, false);
    rc = is_replacing ? publish_over(draft, target) : publish_new(draft, target);
    free(target);
    is_named = !rc;
    if (!rc)
        rc = sync_name(draft);
    if (!rc || (is_named && is_replacing)) {
        free(draft->temporary);
        draft->temporary = NULL;
    }
    if (rc) {
        /* An error changes nothing, as far as it can be undone: what stands where another was stays. */
        if (draft->temporary)
            (void)mark_for_deletion(journal, true);
        return rc;
    }
    drop_right_to_delete(&draft->file);
    *out_file = draft->file;
    draft->file = (struct stele_os_file){ .is_open = false };
    stele_os_draft_discard(draft);
    return STELE_OK;
}

void stele_os_draft_discard(struct stele_os_draft *draft)
{
    /* It is marked, unless it was mapped when it failed to get its name. */
    if (draft->temporary && draft->file.is_open)
        (void)mark_for_deletion(stele_os_journal_handle(&draft->file), true);
    stele_os_close(&draft->file);
    free(draft->temporary);
    free(draft->directory);
    free(draft->target);
    *draft = (struct stele_os_draft){ .target = NULL };
}

static bool is_same_list(const ACL *a, const ACL *b)
{
    return a && b ? a->AclSize == b->AclSize && memcmp(a, b, a->AclSize) == 0 : a == b;
}

/* Best effort: what this user or the file system cannot carry over is left out. */
static void copy_access_list(HANDLE from, HANDLE to)
{
    PSECURITY_DESCRIPTOR theirs = NULL, ours = NULL;
    SECURITY_INFORMATION what = DACL_SECURITY_INFORMATION;
    SECURITY_DESCRIPTOR_CONTROL control;
    PACL their_list = NULL, our_list = NULL;
    DWORD revision;

    if (GetSecurityInfo(from, SE_FILE_OBJECT, what, NULL, NULL, &their_list, NULL, &theirs) ||
        GetSecurityInfo(to, SE_FILE_OBJECT, what, NULL, NULL, &our_list, NULL, &ours))
        goto out;
    /* Mostly both are what their folder passes on. */
    if (is_same_list(their_list, our_list))
        goto out;
    /* A list that takes nothing from its folder goes on taking nothing. */
    if (GetSecurityDescriptorControl(theirs, &control, &revision))
        what |= control & SE_DACL_PROTECTED ? PROTECTED_DACL_SECURITY_INFORMATION
                                            : UNPROTECTED_DACL_SECURITY_INFORMATION;
    (void)SetSecurityInfo(to, SE_FILE_OBJECT, what, NULL, NULL, their_list, NULL);

out:
    LocalFree(theirs);
    LocalFree(ours);
}

int stele_os_draft_dress(struct stele_os_draft *draft, const struct stele_os_file *from)
{
    const DWORD kept = FILE_ATTRIBUTE_HIDDEN | FILE_ATTRIBUTE_SYSTEM | FILE_ATTRIBUTE_ARCHIVE |
                       FILE_ATTRIBUTE_NOT_CONTENT_INDEXED;
    HANDLE journal = stele_os_journal_handle(&draft->file);
    BY_HANDLE_FILE_INFORMATION theirs;
    wchar_t *name = NULL;
    HANDLE handle;
    int rc;

    if (!GetFileInformationByHandle(stele_os_handle(from), &theirs))
        return stele_os_fail(STELE_E_IO, GetLastError(), "the old file cannot be examined");
    rc = stele_os_wide_path(draft->temporary, &name);
    if (rc)
        return rc;
    /* Nobody can open what is to be deleted. */
    (void)mark_for_deletion(journal, false);
    handle = stele_os_open_raw(name, READ_CONTROL | WRITE_DAC, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL);
    if (handle != INVALID_HANDLE_VALUE) {
        copy_access_list(stele_os_handle(from), handle);
        CloseHandle(handle);
    }
    if (theirs.dwFileAttributes & kept)
        (void)SetFileAttributesW(name, theirs.dwFileAttributes & kept);
    (void)mark_for_deletion(journal, true);
    free(name);
    return STELE_OK;
}

int stele_os_draft_clone(struct stele_os_draft *draft, const struct stele_os_file *from, uint64_t offset,
                         uint64_t byte_count)
{
    (void)from;
    (void)offset;
    (void)byte_count;
    return stele_fail(STELE_E_UNSUPPORTED, "%s cannot share the disk of another file", draft->target);
}
