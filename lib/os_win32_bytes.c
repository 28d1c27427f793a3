/*
 * Bytes and maps: reading, storing, syncing, allocating.
 *
 * Views agree with views, in every process; that they agree with ReadFile and WriteFile is promised nowhere. So bytes
 * that anybody maps are stored through views, and a sync finds them only after FlushViewOfFile.
 *
 * Each map has a section of its own, as large as the file was then, whose handle is closed at once: the view keeps
 * it. A file that grew needs a new section; the old views stay. While any view is open, in any process, the system
 * refuses to cut the file, so what is mapped cannot vanish; media errors remain, and the guard is for them.
 */
#include "os_win32.h"

#include "bits.h"
#include "error.h"
#include "guard.h"

#include <winioctl.h>
#include <winternl.h>

/* A call takes 32 bits. */
#define CALL_BYTES_MAX ((size_t)1 << 30)
#define ZERO_PIECE_BYTES 65536
#define FLUSH_TRIES_COUNT 2000
#define FLUSH_DATA_SYNC_ONLY 4
#define VOLUME_FULL_SIZE_CLASS 7

static DWORD call_bytes(size_t byte_count)
{
    return (DWORD)(byte_count < CALL_BYTES_MAX ? byte_count : CALL_BYTES_MAX);
}

static bool is_inside(uint64_t offset, uint64_t byte_count)
{
    uint64_t end;

    return stele_add_fits(offset, byte_count, &end) && end <= (uint64_t)INT64_MAX;
}

static int fail_at(int code, DWORD system_code, uint64_t offset, const char *what)
{
    code = stele_os_fail(code, system_code, "%s at byte %" PRIu64, what, offset);
    stele_fail_at(offset);
    return code;
}

static int fail_to_write(DWORD system_code, uint64_t offset)
{
    switch (system_code) {
    case ERROR_DISK_FULL:
    case ERROR_HANDLE_DISK_FULL:
        return fail_at(STELE_E_FULL, system_code, offset,
                       "the disk is full: make room and try again; write refused");
    case STELE_OS_ERROR_QUOTA:
        return fail_at(STELE_E_FULL, system_code, offset,
                       "the disk quota is used up: make room and try again; write refused");
    case ERROR_FILE_TOO_LARGE:
        return fail_at(STELE_E_FULL, system_code, offset,
                       "the file would pass the size limit of the file system; write refused");
    case ERROR_WRITE_PROTECT:
        return fail_at(STELE_E_READONLY, system_code, offset,
                       "the medium is or became write-protected; write refused");
    case ERROR_USER_MAPPED_FILE:
        return fail_at(STELE_E_BUSY, system_code, offset,
                       "the file cannot be cut while a program has it mapped: close it there");
    default:
        return fail_at(STELE_E_IO, system_code, offset, "the system could not write (see the event log)");
    }
}

static OVERLAPPED place_of(uint64_t offset)
{
    return (OVERLAPPED){ .Offset = (DWORD)offset, .OffsetHigh = (DWORD)(offset >> 32) };
}

int stele_os_read(const struct stele_os_file *file, uint64_t offset, void *out, size_t byte_count)
{
    unsigned char *to = out;

    if (!is_inside(offset, byte_count))
        return stele_fail(STELE_E_TRUNCATED, "byte %" PRIu64 " lies behind the end of any file", offset);
    while (byte_count > 0) {
        OVERLAPPED place = place_of(offset);
        DWORD done = 0;
        bool is_read = ReadFile(stele_os_handle(file), to, call_bytes(byte_count), &done, &place);

        if (!is_read && GetLastError() != ERROR_HANDLE_EOF)
            return fail_at(STELE_E_IO, GetLastError(), offset, "the system could not read (see the event log)");
        if (done == 0)
            return fail_at(STELE_E_TRUNCATED, 0, offset, "the file is cut (restore it from a backup): bytes are gone");
        to += done;
        offset += done;
        byte_count -= done;
    }
    return STELE_OK;
}

/* All of @bytes; 0 or a code of GetLastError, and in *@out_offset where it stopped. */
static DWORD write_all(HANDLE handle, uint64_t *out_offset, const unsigned char *bytes, size_t byte_count)
{
    while (byte_count > 0) {
        OVERLAPPED place = place_of(*out_offset);
        DWORD done = 0;

        if (!WriteFile(handle, bytes, call_bytes(byte_count), &done, &place))
            return GetLastError();
        if (done == 0)
            return ERROR_WRITE_FAULT;
        bytes += done;
        *out_offset += done;
        byte_count -= done;
    }
    return 0;
}

int stele_os_write(const struct stele_os_file *file, uint64_t offset, const void *bytes, size_t byte_count)
{
    DWORD system_code;

    if (!is_inside(offset, byte_count))
        return fail_to_write(ERROR_FILE_TOO_LARGE, offset);
    system_code = write_all(stele_os_handle(file), &offset, bytes, byte_count);
    return system_code ? fail_to_write(system_code, offset) : STELE_OK;
}

/* What older systems and other file systems say of the narrow call, and nothing that a disk says. */
static bool is_unknown_call(NTSTATUS status)
{
    static const uint32_t unknown[] = { 0xC0000002, 0xC000000D, 0xC0000010, 0xC00000BB };

    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        if ((uint32_t)status == unknown[i])
            return true;
    }
    return false;
}

/*
 * Make what was written through @handle durable without what else the file system has in memory; 0 or a code of
 * GetLastError. The narrow call exists since Windows 10, on NTFS. One that failed is not tried the wide way: an error
 * is told once, and the second would find nothing.
 */
static DWORD flush_data(HANDLE handle)
{
    NTSTATUS(NTAPI *flush)(HANDLE, ULONG, PVOID, ULONG, PIO_STATUS_BLOCK);
    ULONG(NTAPI *code_of)(NTSTATUS);
    IO_STATUS_BLOCK block;
    NTSTATUS status;

    flush = (NTSTATUS(NTAPI *)(HANDLE, ULONG, PVOID, ULONG, PIO_STATUS_BLOCK))stele_os_native(
        "NtFlushBuffersFileEx");
    if (!flush)
        return FlushFileBuffers(handle) ? 0 : GetLastError();
    status = flush(handle, FLUSH_DATA_SYNC_ONLY, NULL, 0, &block);
    if (status >= 0)
        return 0;
    if (is_unknown_call(status))
        return FlushFileBuffers(handle) ? 0 : GetLastError();
    code_of = (ULONG(NTAPI *)(NTSTATUS))stele_os_native("RtlNtStatusToDosError");
    return code_of ? code_of(status) : ERROR_WRITE_FAULT;
}

int stele_os_write_durable(const struct stele_os_file *file, uint64_t offset, const void *bytes,
                           size_t byte_count)
{
    DWORD system_code;

    if (!is_inside(offset, byte_count))
        return fail_to_write(ERROR_FILE_TOO_LARGE, offset);
    system_code = write_all(stele_os_journal_handle(file), &offset, bytes, byte_count);
    /* Write-through alone is not enough: drives are known that do not honour it. */
    if (!system_code)
        system_code = flush_data(stele_os_journal_handle(file));
    return system_code ? fail_to_write(system_code, offset) : STELE_OK;
}

bool stele_os_needs_views(void)
{
    return true;
}

int stele_os_store(const struct stele_os_file *file, uint64_t offset, const void *bytes, size_t byte_count,
                   void *view)
{
    (void)file;
    if (!view)
        return stele_fail(STELE_E_UNSUPPORTED, "bytes that others have mapped are stored through a view only, here");
    if (!stele_guard_store(view, bytes, byte_count))
        return fail_at(STELE_E_IO, 0, offset, "a page of the store could not be had for storing (see the event log)");
    return STELE_OK;
}

static DWORD control(HANDLE handle, DWORD request, void *argument, size_t argument_bytes)
{
    DWORD done = 0;

    return DeviceIoControl(handle, request, argument, (DWORD)argument_bytes, NULL, 0, &done, NULL) ? 0
                                                                                                 : GetLastError();
}

static DWORD set_bytes_call(HANDLE handle, uint64_t bytes)
{
    FILE_END_OF_FILE_INFO end = { .EndOfFile = { .QuadPart = (LONGLONG)bytes } };

    if (SetFileInformationByHandle(handle, FileEndOfFileInfo, &end, sizeof(end)))
        return 0;
    /* What file systems say of sizes that they do not know. */
    return GetLastError() == ERROR_INVALID_PARAMETER ? ERROR_FILE_TOO_LARGE : GetLastError();
}

static DWORD write_zeros(HANDLE handle, uint64_t *out_offset, uint64_t byte_count)
{
    static const unsigned char zeros[ZERO_PIECE_BYTES];
    DWORD system_code = 0;

    while (byte_count > 0 && !system_code) {
        /* The first piece ends on a border, so that the others are whole pages. */
        uint64_t piece_bytes = stele_min(byte_count, ZERO_PIECE_BYTES - *out_offset % ZERO_PIECE_BYTES);

        system_code = write_all(handle, out_offset, zeros, (size_t)piece_bytes);
        byte_count -= piece_bytes;
    }
    return system_code;
}

int stele_os_zero(const struct stele_os_file *file, uint64_t offset, uint64_t byte_count, bool is_sparse)
{
    FILE_ZERO_DATA_INFORMATION stretch = { .FileOffset = { .QuadPart = (LONGLONG)offset },
                                           .BeyondFinalZero = { .QuadPart = (LONGLONG)(offset + byte_count) } };
    DWORD system_code;

    if (byte_count == 0)
        return STELE_OK;
    if (!is_inside(offset, byte_count))
        return fail_to_write(ERROR_FILE_TOO_LARGE, offset);
    /* In a file that may have holes the next call leaves one. Where it may not, the disk is given back later. */
    if (is_sparse)
        (void)control(stele_os_handle(file), FSCTL_SET_SPARSE, NULL, 0);
    system_code = control(stele_os_handle(file), FSCTL_SET_ZERO_DATA, &stretch, sizeof(stretch));
    if (system_code)
        system_code = write_zeros(stele_os_handle(file), &offset, byte_count);
    return system_code ? fail_to_write(system_code, offset) : STELE_OK;
}

int stele_os_sync(const struct stele_os_file *file)
{
    DWORD system_code;

    if (FlushFileBuffers(stele_os_handle(file)))
        return STELE_OK;
    system_code = GetLastError();
    return stele_os_fail(stele_os_code(system_code) == STELE_E_FULL ? STELE_E_FULL : STELE_E_IO, system_code,
                         "the system could not make the store durable (see the event log)");
}

/*
 * Allocation for file systems that have no call for it: zeros behind the end of the file. Holes inside stay as they
 * are, here and where there is a call: a page that was stored through a view and not flushed yet counts as a hole, so
 * filling holes could undo it. A flush of such a page may find the disk full later, and says so with a code.
 */
static DWORD allocate_by_writing(HANDLE handle, uint64_t old_bytes, uint64_t *out_offset, uint64_t end)
{
    *out_offset = stele_max(*out_offset, old_bytes);
    return *out_offset < end ? write_zeros(handle, out_offset, end - *out_offset) : 0;
}

/* As FILE_FS_FULL_SIZE_INFORMATION. */
struct volume_size {
    int64_t total_units, caller_free_units, free_units;
    uint32_t sectors_per_unit, bytes_per_sector;
};

/* Refuse at once what cannot fit: else the whole disk is taken for a moment, and others meet a full one. */
static int check_free_bytes(HANDLE handle, uint64_t need_bytes)
{
    NTSTATUS(NTAPI *query)(HANDLE, PIO_STATUS_BLOCK, PVOID, ULONG, int);
    struct volume_size size = { 0 };
    IO_STATUS_BLOCK status;
    uint64_t free_bytes;

    query = (NTSTATUS(NTAPI *)(HANDLE, PIO_STATUS_BLOCK, PVOID, ULONG, int))stele_os_native(
        "NtQueryVolumeInformationFile");
    /* A file system that says nothing of its size is asked by allocating. */
    if (!query || query(handle, &status, &size, sizeof(size), VOLUME_FULL_SIZE_CLASS) < 0 || size.total_units <= 0 ||
        !stele_mul_fits((uint64_t)size.caller_free_units, (uint64_t)size.sectors_per_unit * size.bytes_per_sector,
                        &free_bytes) ||
        need_bytes <= free_bytes)
        return STELE_OK;
    return stele_fail(STELE_E_FULL,
                      "the disk is full: %" PRIu64 " bytes are needed, %" PRIu64 " are free; make room, or ask for "
                       "less",
                      need_bytes, free_bytes);
}

int stele_os_allocate(const struct stele_os_file *file, uint64_t offset, uint64_t byte_count)
{
    HANDLE handle = stele_os_handle(file);
    struct stele_os_stat before = { 0 };
    FILE_ALLOCATION_INFO allocation;
    uint64_t end;
    DWORD system_code = 0;
    int rc;

    if (byte_count == 0)
        return STELE_OK;
    if (!is_inside(offset, byte_count))
        return fail_to_write(ERROR_FILE_TOO_LARGE, offset);
    end = offset + byte_count;
    rc = stele_os_stat(file, &before);
    /* What lies inside of the file is there already, or a hole that stays one. */
    if (rc || end <= before.bytes)
        return rc;
    rc = check_free_bytes(handle, end - stele_max(offset, before.bytes));
    if (rc)
        return rc;
    allocation.AllocationSize.QuadPart = (LONGLONG)end;
    if (!SetFileInformationByHandle(handle, FileAllocationInfo, &allocation, sizeof(allocation)))
        system_code = GetLastError();
    if (!system_code)
        system_code = set_bytes_call(handle, end);
    else if (stele_os_code(system_code) != STELE_E_FULL)
        system_code = allocate_by_writing(handle, before.bytes, &offset, end);
    if (!system_code)
        return STELE_OK;
    /*
     * Give back what was allocated behind the old end. Nobody stores or looks there: growth is announced after
     * allocation, by the one process that holds the writer's lock.
     */
    (void)set_bytes_call(handle, before.bytes);
    return fail_to_write(system_code, offset);
}

int stele_os_set_bytes(const struct stele_os_file *file, uint64_t bytes)
{
    struct stele_os_stat before = { 0 };
    DWORD system_code;
    int rc;

    if (!is_inside(bytes, 0))
        return fail_to_write(ERROR_FILE_TOO_LARGE, bytes);
    rc = stele_os_stat(file, &before);
    if (rc)
        return rc;
    /* Raised without allocation is raised by a hole; where there are none, by disk. */
    if (bytes > before.bytes)
        (void)control(stele_os_handle(file), FSCTL_SET_SPARSE, NULL, 0);
    system_code = set_bytes_call(stele_os_handle(file), bytes);
    return system_code ? fail_to_write(system_code, bytes) : STELE_OK;
}

int stele_os_next_data(const struct stele_os_file *file, uint64_t offset, uint64_t *out_offset)
{
    /* A page that was stored through a view and is not flushed yet is told as a hole: nothing may be skipped. */
    (void)file;
    *out_offset = offset;
    return STELE_OK;
}

void stele_os_will_need(const struct stele_os_file *file, uint64_t offset, uint64_t byte_count)
{
    /* Nothing reads a file ahead without a view of it, and views are read by clusters anyway. */
    (void)file;
    (void)offset;
    (void)byte_count;
}

void stele_os_write_behind(const struct stele_os_file *file, uint64_t offset, uint64_t byte_count)
{
    /* Views are written by stele_os_flush; what went through a handle the system writes within a second. */
    (void)file;
    (void)offset;
    (void)byte_count;
}

void stele_os_touch(const struct stele_os_file *file)
{
    FILETIME now;

    GetSystemTimeAsFileTime(&now);
    (void)SetFileTime(stele_os_handle(file), NULL, NULL, &now);
}

/* ---- maps ---- */

size_t stele_os_granularity(void)
{
    SYSTEM_INFO information;

    GetSystemInfo(&information);
    return information.dwAllocationGranularity;
}

static int fail_to_map(DWORD system_code, uint64_t offset, size_t byte_count)
{
    switch (system_code) {
    case ERROR_NOT_ENOUGH_MEMORY:
    case ERROR_INVALID_ADDRESS:
    case ERROR_COMMITMENT_LIMIT:
    case ERROR_NO_SYSTEM_RESOURCES:
    case ERROR_WORKING_SET_QUOTA:
        return stele_os_fail(STELE_E_FULL, system_code,
                             "no address space to map %zu bytes of the store from byte %" PRIu64
                             "; close other stores, or use a 64-bit program",
                             byte_count, offset);
    default:
        return stele_os_fail(system_code == ERROR_ACCESS_DENIED ? STELE_E_ACCESS : STELE_E_IO, system_code,
                             "%zu bytes of the store from byte %" PRIu64 " cannot be mapped", byte_count, offset);
    }
}

/* A view with @access of a section with @protection. */
static int map_bytes(const struct stele_os_file *file, uint64_t offset, size_t byte_count, DWORD protection,
                     DWORD access, void **out)
{
    HANDLE section;
    void *map;
    DWORD system_code;
    int rc;

    if (!is_inside(offset, byte_count))
        return stele_fail(STELE_E_TRUNCATED, "byte %" PRIu64 " lies behind the end of any file", offset);
    /* What is stored through the map, or made writable, may meet a page that cannot be had. */
    rc = stele_guard_install();
    if (rc)
        return rc;
    section = CreateFileMappingW(stele_os_handle(file), NULL, protection, 0, 0, NULL);
    if (!section)
        return fail_to_map(GetLastError(), offset, byte_count);
    map = MapViewOfFile(section, access, (DWORD)(offset >> 32), (DWORD)offset, byte_count);
    system_code = GetLastError();
    CloseHandle(section);
    /* The rights were there for the section, so it is its size that is meant. */
    if (!map && system_code == ERROR_ACCESS_DENIED)
        return fail_at(STELE_E_TRUNCATED, system_code, offset, "the file ends inside of what is to be mapped");
    if (!map)
        return fail_to_map(system_code, offset, byte_count);
    *out = map;
    return STELE_OK;
}

int stele_os_map(const struct stele_os_file *file, uint64_t offset, size_t byte_count, bool is_writable,
                 bool is_random, void **out)
{
    (void)is_random; /* views are not read ahead far enough to turn it off */
    return map_bytes(file, offset, byte_count, is_writable ? PAGE_READWRITE : PAGE_READONLY,
                     is_writable ? FILE_MAP_WRITE : FILE_MAP_READ, out);
}

int stele_os_map_private(const struct stele_os_file *file, uint64_t offset, size_t byte_count, void **out)
{
    return map_bytes(file, offset, byte_count, PAGE_WRITECOPY, FILE_MAP_COPY, out);
}

void stele_os_unmap(void *address, size_t byte_count)
{
    (void)byte_count;
    /* The guard may have put zeros in the place of a map that could not be read any more. */
    if (address && !UnmapViewOfFile(address))
        (void)VirtualFree(address, 0, MEM_RELEASE);
}

int stele_os_populate(void *address, size_t byte_count)
{
    if (stele_guard_touch(address, byte_count))
        return STELE_OK;
    return stele_fail(STELE_E_FULL,
                      "pages of the store cannot be made writable: the disk is full under a hole, or the medium "
                      "fails (see the event log); make room, then verify");
}

int stele_os_flush(void *address, size_t byte_count)
{
    DWORD system_code = 0;

    for (unsigned tries = 0; tries < FLUSH_TRIES_COUNT; tries++) {
        if (FlushViewOfFile(address, byte_count))
            return STELE_OK;
        system_code = GetLastError();
        /* Pages of it are being written at this moment. */
        if (system_code != ERROR_LOCK_VIOLATION)
            break;
        Sleep(tries < 10 ? 0 : 1);
    }
    return stele_os_fail(stele_os_code(system_code) == STELE_E_FULL ? STELE_E_FULL : STELE_E_IO, system_code,
                         "the system could not write what was stored (see the event log)");
}

void stele_os_forbid(void *address, size_t byte_count)
{
    DWORD before;

    (void)VirtualProtect(address, byte_count, PAGE_NOACCESS, &before);
}
