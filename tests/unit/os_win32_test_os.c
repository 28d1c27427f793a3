/*
 * The suite of os.h in the words of Windows: what it calls by its own names, and what it answers only in trouble.
 *
 * Trouble is provoked at the calls: stele_os_native, which finds what newer systems have, is wrapped, and the linker
 * finds some functions of kernel32 here first. Each does what it always does until it is told to refuse.
 */
#include "bits.h"
#include "files.h"
#include "os_win32.h"
#include "wrap.h"

#include <aclapi.h>
#include <ntsecapi.h>
#include <sddl.h>
#include <winioctl.h>
#include <winternl.h>

static void set_attributes(const char *path, DWORD attributes)
{
    assert_true(SetFileAttributesA(path, attributes));
}

/* ---- what stele_os_native finds ---- */

enum { AS_IT_IS, NO_NARROW_FLUSH, FLUSH_SAYS };

static int flush_kind;
static NTSTATUS flush_status;
static unsigned flush_count;

static NTSTATUS NTAPI flush_says(HANDLE handle, ULONG flags, PVOID parameters, ULONG bytes, PIO_STATUS_BLOCK block)
{
    flush_count++;
    return flush_status;
}

WRAPPED(FARPROC, stele_os_native, const char *name)
{
    union {
        NTSTATUS(NTAPI *ours)(HANDLE, ULONG, PVOID, ULONG, PIO_STATUS_BLOCK);
        FARPROC any;
    } function = { .ours = flush_says };

    if (flush_kind == AS_IT_IS || strcmp(name, "NtFlushBuffersFileEx") != 0)
        return REAL(stele_os_native)(name);
    return flush_kind == FLUSH_SAYS ? function.any : NULL;
}

/* ---- what kernel32 refuses ---- */

/* The name of the pointer through which a function that takes @bytes of arguments is called. */
#if defined(__i386__)
#define IMPORTED(name, bytes) __asm__("__imp__" #name "@" #bytes)
#else
#define IMPORTED(name, bytes) __asm__("__imp_" #name)
#endif

/* From now on the call fails with @code, @count times, once it was let through @after times. */
struct refusal {
    DWORD code;
    unsigned count, after;
};

static struct refusal of_open, of_write, of_control, of_flush, of_flush_view, of_set, of_random;
static FILE_INFO_BY_HANDLE_CLASS set_class; /* of which one the last speaks */

static bool is_refused(struct refusal *refusal)
{
    if (refusal->count == 0 || (refusal->after > 0 && refusal->after--))
        return false;
    refusal->count--;
    SetLastError(refusal->code);
    return true;
}

/* The function itself. */
static FARPROC real(const char *name)
{
    return GetProcAddress(GetModuleHandleA("kernel32.dll"), name);
}

#define CALL_REAL(type, name, ...) ((union { FARPROC any; type call; }){ .any = real(name) }.call(__VA_ARGS__))

typedef BOOLEAN(WINAPI *random_call)(PVOID, ULONG);
typedef UINT(WINAPI *drive_call)(LPCWSTR);
typedef HANDLE(WINAPI *open_call)(LPCWSTR, DWORD, DWORD, LPSECURITY_ATTRIBUTES, DWORD, DWORD, HANDLE);
typedef BOOL(WINAPI *write_call)(HANDLE, LPCVOID, DWORD, LPDWORD, LPOVERLAPPED);
typedef BOOL(WINAPI *control_call)(HANDLE, DWORD, LPVOID, DWORD, LPVOID, DWORD, LPDWORD, LPOVERLAPPED);
typedef BOOL(WINAPI *flush_call)(HANDLE);
typedef BOOL(WINAPI *flush_view_call)(LPCVOID, SIZE_T);
typedef BOOL(WINAPI *set_call)(HANDLE, FILE_INFO_BY_HANDLE_CLASS, LPVOID, DWORD);

static HANDLE WINAPI open_or_refuse(LPCWSTR path, DWORD access, DWORD shared, LPSECURITY_ATTRIBUTES security,
                                    DWORD disposition, DWORD flags, HANDLE template)
{
    if (is_refused(&of_open))
        return INVALID_HANDLE_VALUE;
    return CALL_REAL(open_call, "CreateFileW", path, access, shared, security, disposition, flags, template);
}

static BOOL WINAPI write_or_refuse(HANDLE handle, LPCVOID bytes, DWORD byte_count, LPDWORD done, LPOVERLAPPED place)
{
    return !is_refused(&of_write) && CALL_REAL(write_call, "WriteFile", handle, bytes, byte_count, done, place);
}

static BOOL WINAPI control_or_refuse(HANDLE handle, DWORD code, LPVOID in, DWORD in_bytes, LPVOID out, DWORD out_bytes,
                                     LPDWORD done, LPOVERLAPPED place)
{
    return !is_refused(&of_control) && CALL_REAL(control_call, "DeviceIoControl", handle, code, in, in_bytes, out,
                                                 out_bytes, done, place);
}

static BOOL WINAPI flush_or_refuse(HANDLE handle)
{
    return !is_refused(&of_flush) && CALL_REAL(flush_call, "FlushFileBuffers", handle);
}

static BOOL WINAPI flush_view_or_refuse(LPCVOID view, SIZE_T byte_count)
{
    return !is_refused(&of_flush_view) && CALL_REAL(flush_view_call, "FlushViewOfFile", view, byte_count);
}

static BOOL WINAPI set_or_refuse(HANDLE handle, FILE_INFO_BY_HANDLE_CLASS class, LPVOID information, DWORD byte_count)
{
    return !(class == set_class && is_refused(&of_set)) &&
           CALL_REAL(set_call, "SetFileInformationByHandle", handle, class, information, byte_count);
}

static wchar_t network_drive; /* the letter of one, as long as it is not 0 */

static UINT WINAPI drive_type(LPCWSTR root)
{
    return network_drive && root && (root[0] & ~0x20) == network_drive ? DRIVE_REMOTE
                                                                       : CALL_REAL(drive_call, "GetDriveTypeW", root);
}

/* In place of the one of advapi32. */
BOOLEAN NTAPI RtlGenRandom(PVOID out, ULONG byte_count)
{
    union {
        FARPROC any;
        random_call call;
    } function = { .any = GetProcAddress(LoadLibraryA("advapi32.dll"), "SystemFunction036") };

    return !is_refused(&of_random) && function.call(out, byte_count);
}

extern drive_call imported_drive IMPORTED(GetDriveTypeW, 4);
extern open_call imported_open IMPORTED(CreateFileW, 28);
extern write_call imported_write IMPORTED(WriteFile, 20);
extern control_call imported_control IMPORTED(DeviceIoControl, 32);
extern flush_call imported_flush IMPORTED(FlushFileBuffers, 4);
extern flush_view_call imported_flush_view IMPORTED(FlushViewOfFile, 8);
extern set_call imported_set IMPORTED(SetFileInformationByHandle, 16);

drive_call imported_drive = drive_type;
open_call imported_open = open_or_refuse;
write_call imported_write = write_or_refuse;
control_call imported_control = control_or_refuse;
flush_call imported_flush = flush_or_refuse;
flush_view_call imported_flush_view = flush_view_or_refuse;
set_call imported_set = set_or_refuse;

static void refuse_nothing(void)
{
    of_open = of_write = of_control = of_flush = of_flush_view = of_set = of_random = (struct refusal){ 0, 0, 0 };
}

static int make_folder(void **state)
{
    refuse_nothing();
    flush_kind = AS_IT_IS;
    flush_count = 0;
    return scratch_make(state);
}

/* ---- files ---- */

/* "Q:\a.stele" of a drive that is not there. */
static const char *on_no_drive(void)
{
    static char path[] = "?:\\a.stele";

    for (char letter = 'D'; letter <= 'Z'; letter++) {
        if (!(GetLogicalDrives() >> (letter - 'A') & 1))
            path[0] = letter;
    }
    assert_true(path[0] != '?');
    return path;
}

static void assert_open_says(const char *path, int code, const char *words)
{
    for (int is_writable = 0; is_writable < 2; is_writable++) {
        struct stele_os_file file = { .handle = 77 };
        int rc = stele_os_open(path, is_writable, &file);

        print_message("%s: %s\n", path, rc ? stele_last_error()->text : "opened");
        assert_int_equal(rc, code);
        if (rc) {
            assert_says(words);
            assert_int_equal(file.handle, 77);
            assert_false(file.is_open);
        } else {
            assert_true(file.is_open && file.is_writable == is_writable);
            stele_os_close(&file);
        }
    }
}

static void open_says_what_is_there(void **state)
{
    static const struct {
        const char *name;
        int code;
        const char *words;
    } in_folder[] = {
        { "a.stele", STELE_OK, NULL },
        { "A.STELE", STELE_OK, NULL },
        { "absent", STELE_E_ABSENT, "is not there" },
        { "a.stele/x", STELE_E_ABSENT, "is not there" },
        { "", STELE_E_FORMAT, "is a directory, not a store" },
        { "folder", STELE_E_FORMAT, "is a directory, not a store" },
        { "NUL", STELE_E_FORMAT, "is a device, not a store" },
        { "a?b", STELE_E_USAGE, "characters that no file name may have" },
        { "a|b.stele", STELE_E_USAGE, "characters that no file name may have" },
    };
    static const struct {
        const char *path;
        int code;
        const char *words;
    } elsewhere[] = {
        { "NUL", STELE_E_FORMAT, "is a device, not a store" },
        { "nul", STELE_E_FORMAT, "is a device, not a store" },
        { "\\\\.\\pipe\\stele", STELE_E_FORMAT, "is a device, not a store" },
        { "\\\\.\\C:", STELE_E_FORMAT, "is a device, not a store" },
        { "\\\\server\\share\\a.stele", STELE_E_REMOTE, "is on a network share" },
        { "//server/share/a.stele", STELE_E_REMOTE, "is on a network share" },
        { "\\\\?\\UNC\\server\\share\\a.stele", STELE_E_REMOTE, "is on a network share" },
        { "", STELE_E_ABSENT, "is not there" },
        { "a\xFF.stele", STELE_E_USAGE, "no UTF-8" },
    };

    make_file(scratch_path, 10);
    assert_true(system_add_folder(scratch_name("folder")));
    for (size_t i = 0; i < COUNT_OF(in_folder); i++)
        assert_open_says(scratch_name(in_folder[i].name), in_folder[i].code, in_folder[i].words);
    for (size_t i = 0; i < COUNT_OF(elsewhere); i++)
        assert_open_says(elsewhere[i].path, elsewhere[i].code, elsewhere[i].words);
    assert_open_says(on_no_drive(), STELE_E_ABSENT, "there is no drive");
    network_drive = L'N';
    assert_open_says("N:\\a.stele", STELE_E_REMOTE, "drive N: is a network drive");
    assert_open_says("n:a.stele", STELE_E_REMOTE, "is a network drive");
    assert_open_says("\\\\?\\N:\\a.stele", STELE_E_REMOTE, "drive N: is a network drive");
    network_drive = 0;
}

/* A list that gives nobody anything. */
static void close_to_everybody(const char *path)
{
    ACL list;
    char name[128];

    assert_true(InitializeAcl(&list, sizeof(list), ACL_REVISION));
    snprintf(name, sizeof(name), "%s", path);
    assert_int_equal(SetNamedSecurityInfoA(name, SE_FILE_OBJECT,
                                           DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION, NULL,
                                           NULL, &list, NULL),
                     0);
}

static void open_needs_permission(void **state)
{
    struct stele_os_file file = { 0 };

    make_file(scratch_path, 1);
    set_attributes(scratch_path, FILE_ATTRIBUTE_READONLY);
    assert_ok(stele_os_open(scratch_path, false, &file));
    stele_os_close(&file);
    assert_code(stele_os_open(scratch_path, true, &file), STELE_E_READONLY);
    assert_says("read-only attribute");
    assert_says("attrib -r");
    set_attributes(scratch_path, FILE_ATTRIBUTE_NORMAL);
    if (system_is_wine()) {
        print_message("Wine keeps nobody out by an access list who has the rights of root\n");
        return;
    }
    make_file(scratch_name("secret"), 1);
    close_to_everybody(scratch_name("secret"));
    assert_code(stele_os_open(scratch_name("secret"), false, &file), STELE_E_ACCESS);
    assert_says("ask its owner for permission");
    assert_code(stele_os_open(scratch_name("secret"), true, &file), STELE_E_ACCESS);
    assert_says("open it read-only");
}

/* Another program, which shares no more than @share. */
static DWORD share CARRIED;

static void hold_without_sharing(void *context)
{
    HANDLE handle = CreateFileA(scratch_path, GENERIC_READ, share, NULL, OPEN_EXISTING, 0, NULL);
    char byte;

    REQUIRE(handle != INVALID_HANDLE_VALUE);
    parent_tell("x", 1);
    REQUIRE(parent_hear(&byte, 1));
    CloseHandle(handle);
    parent_tell("x", 1);
    REQUIRE(parent_hear(&byte, 1));
}

/* What passes is waited for; what does not is told. */
static void open_when_refused(void)
{
    static const struct {
        DWORD system_code;
        int code;
    } cases[] = {
        { ERROR_WRITE_PROTECT, STELE_E_READONLY }, { ERROR_NOT_READY, STELE_E_ABSENT },
        { ERROR_TOO_MANY_OPEN_FILES, STELE_E_IO }, { ERROR_NOT_ENOUGH_MEMORY, STELE_E_NOMEM },
        { ERROR_ACCESS_DENIED, STELE_E_ACCESS },   { ERROR_CRC, STELE_E_IO },
    };
    struct stele_os_file file = { 0 };

    of_open = (struct refusal){ ERROR_SHARING_VIOLATION, 3, 0 };
    assert_ok(stele_os_open(scratch_path, true, &file));
    assert_int_equal(of_open.count, 0);
    stele_os_close(&file);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        of_open = (struct refusal){ cases[i].system_code, 1, 0 };
        assert_code(stele_os_open(scratch_path, true, &file), cases[i].code);
        assert_int_equal(stele_last_error()->system_code, cases[i].system_code);
    }
}

static void open_has_a_code_for_every_refusal(void **state)
{
    static const struct {
        DWORD share;
        int code, code_for_writing;
    } cases[] = {
        { 0, STELE_E_BUSY, STELE_E_BUSY },
        { FILE_SHARE_READ, STELE_OK, STELE_E_BUSY },
        { FILE_SHARE_READ | FILE_SHARE_WRITE, STELE_OK, STELE_OK },
    };
    static const struct {
        DWORD system_code;
        int code;
    } codes[] = {
        { ERROR_PATH_NOT_FOUND, STELE_E_ABSENT },      { ERROR_ACCESS_DENIED, STELE_E_ACCESS },
        { ERROR_WRITE_PROTECT, STELE_E_READONLY },     { ERROR_HANDLE_DISK_FULL, STELE_E_FULL },
        { ERROR_DISK_FULL, STELE_E_FULL },             { ERROR_NOT_READY, STELE_E_ABSENT },   
        { ERROR_FILE_TOO_LARGE, STELE_E_FULL },        { ERROR_NOT_ENOUGH_MEMORY, STELE_E_NOMEM },
        { ERROR_FILE_EXISTS, STELE_E_EXISTS },         { ERROR_ALREADY_EXISTS, STELE_E_EXISTS },
        { ERROR_SHARING_VIOLATION, STELE_E_BUSY },     { ERROR_USER_MAPPED_FILE, STELE_E_BUSY },
        { ERROR_NOT_SUPPORTED, STELE_E_UNSUPPORTED },  { ERROR_CRC, STELE_E_IO },
        { ERROR_TOO_MANY_OPEN_FILES, STELE_E_IO },     { ERROR_DEVICE_NOT_CONNECTED, STELE_E_IO },
    };

    make_file(scratch_path, 1);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct stele_os_file file = { 0 };
        struct child child;
        char byte;

        share = cases[i].share;
        child = child_start(hold_without_sharing, NULL);
        assert_true(child_hear(&child, &byte, 1));
        for (int is_writable = 0; is_writable < 2; is_writable++) {
            int code = is_writable ? cases[i].code_for_writing : cases[i].code;

            assert_code(stele_os_open(scratch_path, is_writable, &file), code);
            if (code)
                assert_says("another program has the file open without sharing it");
            stele_os_close(&file);
        }
        child_tell(&child, "x", 1);
        assert_true(child_hear(&child, &byte, 1));
        assert_ok(stele_os_open(scratch_path, true, &file));
        stele_os_close(&file);
        child_tell(&child, "x", 1);
        assert_int_equal(child_end(&child), 0);
    }
    for (size_t i = 0; i < COUNT_OF(codes); i++)
        assert_int_equal(stele_os_code(codes[i].system_code), codes[i].code);
    open_when_refused();
}

/* How many handles the next process that is started would have, too. */
static unsigned inheritable_count(void)
{
    unsigned count = 0;
    DWORD flags;

    for (uintptr_t handle = 4; handle < 0x4000; handle += 4)
        count += GetHandleInformation((HANDLE)handle, &flags) && (flags & HANDLE_FLAG_INHERIT);
    return count;
}

static void open_without_standard_handles(void *context)
{
    static const DWORD standard[] = { STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, STD_ERROR_HANDLE };
    struct stele_os_draft draft = { 0 };
    struct stele_os_file file, second = { 0 };
    unsigned before;

    for (size_t i = 0; i < COUNT_OF(standard); i++) {
        CloseHandle(GetStdHandle(standard[i]));
        SetStdHandle(standard[i], NULL);
    }
    before = inheritable_count();
    file = open_file(true);
    if (stele_os_draft_open(scratch_name("draft"), 0600, &draft) || inheritable_count() != before)
        _exit(2);
    if (stele_os_draft_publish(&draft, false, &second) || inheritable_count() != before)
        _exit(3);
    stele_os_close(&second);
    stele_os_close(&file);
}

static void descriptors_stay_above_the_standard_ones(void **state)
{
    make_file(scratch_path, 1);
    assert_int_equal(exit_of_child(open_without_standard_handles, NULL), 0);
}

/* ---- bytes ---- */

/* False: the system does not count. */
static bool write_call_count(uint64_t *out)
{
    IO_COUNTERS counters = { 0 };

    assert_true(GetProcessIoCounters(GetCurrentProcess(), &counters));
    *out = counters.WriteOperationCount;
    return !system_is_wine();
}

/* FILE_MODE_INFORMATION. */
static bool is_write_through(HANDLE handle)
{
    IO_STATUS_BLOCK block;
    ULONG mode = 0;

    assert_true(NtQueryInformationFile(handle, &block, &mode, sizeof(mode), (FILE_INFORMATION_CLASS)16) >= 0);
    return mode & 2; /* FILE_WRITE_THROUGH */
}

static void durable_write_is_one_call(void **state)
{
    static unsigned char bytes[64 * KIB];
    struct stele_os_file file;
    uint64_t before, after;
    bool is_counted;

    make_file(scratch_path, 128 * KIB);
    file = open_file(true);
    flush_kind = FLUSH_SAYS;
    is_counted = write_call_count(&before);
    assert_ok(stele_os_write_durable(&file, 4096, bytes, 8192));
    assert_ok(stele_os_write_durable(&file, 0, bytes, sizeof(bytes)));
    assert_int_equal(flush_count, 2);
    write_call_count(&after);
    assert_true(!is_counted || after == before + 2);
    /* What else was written through the other handle waits for nobody here. */
    assert_true(file.journal != file.handle && is_write_through(stele_os_journal_handle(&file)));
    assert_false(is_write_through(stele_os_handle(&file)));
    stele_os_close(&file);
}

static void durable_write_finds_another_way_on_old_systems(void **state)
{
    /* STATUS_NOT_IMPLEMENTED, _INVALID_PARAMETER, _INVALID_DEVICE_REQUEST, _NOT_SUPPORTED: the call is not known. */
    static const uint32_t unknown[] = { 0xC0000002, 0xC000000D, 0xC0000010, 0xC00000BB };
    struct stele_os_file file;
    char out[9] = "";

    make_file(scratch_path, 100);
    file = open_file(true);
    flush_kind = NO_NARROW_FLUSH;
    assert_ok(stele_os_write_durable(&file, 5, "one two ", 8));
    flush_kind = FLUSH_SAYS;
    for (size_t i = 0; i < COUNT_OF(unknown); i++) {
        flush_status = (NTSTATUS)unknown[i];
        assert_ok(stele_os_write_durable(&file, 9, "xyz ", 4));
    }
    assert_int_equal(flush_count, COUNT_OF(unknown));
    assert_ok(stele_os_read(&file, 5, out, 8));
    assert_string_equal(out, "one xyz ");
    stele_os_close(&file);
}

static void flush_has_a_code_for_every_refusal(void)
{
    static const struct {
        uint32_t status;
        int code;
    } cases[] = {
        { 0xC000007F, STELE_E_FULL },     /* STATUS_DISK_FULL */
        { 0xC00000A2, STELE_E_READONLY }, /* STATUS_MEDIA_WRITE_PROTECTED */
        { 0xC0000185, STELE_E_IO },       /* STATUS_IO_DEVICE_ERROR */
        { 0xC000009C, STELE_E_IO },       /* STATUS_DEVICE_DATA_ERROR */
    };
    struct stele_os_file file;

    file = open_file(true);
    flush_kind = FLUSH_SAYS;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        flush_status = (NTSTATUS)cases[i].status;
        assert_code(stele_os_write_durable(&file, 4096, "x", 1), cases[i].code);
        assert_true(stele_last_error()->system_code != 0);
    }
    /* An error is told once; asking again another way would hide it. */
    assert_int_equal(flush_count, COUNT_OF(cases));
    assert_true(bytes_of(&file) == 8192);
    stele_os_close(&file);
}

static void flush_of_a_view_waits_for_who_writes_it(void)
{
    struct stele_os_file file = open_file(true);
    void *map;

    assert_ok(stele_os_map(&file, 0, 8192, true, true, &map));
    of_flush_view = (struct refusal){ ERROR_LOCK_VIOLATION, 30, 0 };
    assert_ok(stele_os_flush(map, 8192));
    assert_int_equal(of_flush_view.count, 0);
    of_flush_view = (struct refusal){ ERROR_DISK_FULL, 1, 0 };
    assert_code(stele_os_flush(map, 8192), STELE_E_FULL);
    of_flush_view = (struct refusal){ ERROR_IO_DEVICE, 1, 0 };
    assert_code(stele_os_flush(map, 8192), STELE_E_IO);
    of_flush = (struct refusal){ ERROR_IO_DEVICE, 1, 0 };
    assert_code(stele_os_sync(&file), STELE_E_IO);
    of_flush = (struct refusal){ ERROR_DISK_FULL, 1, 0 };
    assert_code(stele_os_sync(&file), STELE_E_FULL);
    stele_os_unmap(map, 8192);
    stele_os_close(&file);
}

static void write_has_a_code_for_every_refusal(void **state)
{
    static const struct {
        DWORD system_code;
        int code;
    } cases[] = {
        { ERROR_DISK_FULL, STELE_E_FULL },         { ERROR_HANDLE_DISK_FULL, STELE_E_FULL },
        { ERROR_FILE_TOO_LARGE, STELE_E_FULL },    { ERROR_WRITE_PROTECT, STELE_E_READONLY },
        { ERROR_IO_DEVICE, STELE_E_IO },           { ERROR_CRC, STELE_E_IO },
        { ERROR_DEVICE_NOT_CONNECTED, STELE_E_IO },
    };
    struct stele_os_file file;

    make_file(scratch_path, 8192);
    file = open_file(true);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        of_write = (struct refusal){ cases[i].system_code, 1, 0 };
        assert_code(stele_os_write(&file, 4096, "x", 1), cases[i].code);
        assert_true(stele_last_error()->file_offset == 4096);
        of_write.count = 1;
        assert_code(stele_os_write_durable(&file, 0, "x", 1), cases[i].code);
        for (int is_sparse = 0; is_sparse < 2; is_sparse++) {
            of_write.count = 1;
            of_control = (struct refusal){ ERROR_NOT_SUPPORTED, 2, 0 };
            assert_code(stele_os_zero(&file, 0, 10, is_sparse), cases[i].code);
        }
        of_control.count = 0;
        of_write.count = 1;
        of_set = (struct refusal){ ERROR_NOT_SUPPORTED, 1, 0 };
        set_class = FileAllocationInfo;
        assert_code(stele_os_allocate(&file, 0, 100000), cases[i].code);
        assert_true(bytes_of(&file) == 8192);
    }
    stele_os_close(&file);
    flush_has_a_code_for_every_refusal();
    flush_kind = AS_IT_IS;
    flush_of_a_view_waits_for_who_writes_it();
}

static void zeros_and_room_are_written_where_there_is_no_call_for_them(void **state)
{
    static const DWORD codes[] = { ERROR_NOT_SUPPORTED, ERROR_INVALID_FUNCTION, ERROR_CALL_NOT_IMPLEMENTED };
    static unsigned char out[300 * KIB];
    struct stele_os_file file;

    for (size_t i = 0; i < COUNT_OF(codes); i++) {
        make_file(scratch_path, 5000);
        file = open_file(true);
        of_set = (struct refusal){ codes[i], 1, 0 };
        set_class = FileAllocationInfo;
        assert_ok(stele_os_allocate(&file, 4000, sizeof(out) - 4000));
        assert_true(bytes_of(&file) == sizeof(out) && of_set.count == 0);
        of_control = (struct refusal){ codes[i], 2, 0 };
        assert_ok(stele_os_zero(&file, 3, 200 * KIB, true));
        assert_int_equal(of_control.count, 0);
        assert_ok(stele_os_read(&file, 0, out, sizeof(out)));
        assert_true(out[0] == 1 && out[2] == 3 && stele_is_zero(out + 3, sizeof(out) - 3));
        stele_os_close(&file);
    }
}

static void size_limit_is_a_code_and_no_signal(void **state)
{
    static const uint64_t sizes[] = { UINT64_C(1) << 61, UINT64_C(1) << 62, INT64_MAX, UINT64_C(1) << 63, UINT64_MAX };
    struct stele_os_file file;

    make_file(scratch_path, 100);
    file = open_file(true);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        assert_code(stele_os_allocate(&file, 0, sizes[i]), STELE_E_FULL);
        int rc = stele_os_set_bytes(&file, sizes[i]);
        assert_true(rc == STELE_E_FULL || (system_is_wine() && rc == STELE_E_IO)); /* it knows no better word */
        assert_true(bytes_of(&file) == 100);
    }
    stele_os_close(&file);
}

static void full_disk_is_a_code_and_leaves_the_size(void **state)
{
    static unsigned char bytes[64 * KIB];
    struct stele_os_file file;

    make_file(scratch_path, 4096);
    file = open_file(true);
    assert_ok(stele_os_allocate(&file, 0, 64 * KIB));
    set_class = FileAllocationInfo;
    of_set = (struct refusal){ ERROR_DISK_FULL, 1, 0 };
    assert_code(stele_os_allocate(&file, 4096, 4096 * KIB), STELE_E_FULL);
    assert_says("disk is full");
    assert_true(of_set.count == 0 && bytes_of(&file) == 64 * KIB);
    /* Where there is no call for it, half of the way. */
    of_set = (struct refusal){ ERROR_NOT_SUPPORTED, 1, 0 };
    of_write = (struct refusal){ ERROR_DISK_FULL, 1, 20 };
    assert_code(stele_os_allocate(&file, 4096, 4096 * KIB), STELE_E_FULL);
    assert_says("disk is full");
    assert_true(of_write.count == 0 && bytes_of(&file) == 64 * KIB);
    /* More than any disk has is refused before anything is taken. */
    of_set = (struct refusal){ ERROR_IO_DEVICE, 1, 0 };
    assert_code(stele_os_allocate(&file, 4096, UINT64_C(1) << 60), STELE_E_FULL);
    assert_says("bytes are needed");
    assert_int_equal(of_set.count, 1);
    refuse_nothing();
    assert_ok(stele_os_write(&file, 0, bytes, sizeof(bytes)));
    stele_os_close(&file);
}

/* ---- maps ---- */

static void live_on(void *context)
{
    char byte;

    parent_tell("x", 1);
    REQUIRE(parent_hear(&byte, 1));
}

/* A section that a child has keeps the file from being cut; so does the parent's own. */
static void map_is_not_inherited(void **state)
{
    struct stele_os_file file;
    struct child child;
    void *map;
    char byte;

    make_file(scratch_path, 100000);
    file = open_file(true);
    assert_ok(stele_os_map(&file, 0, 100000, true, false, &map));
    child = child_start(live_on, NULL);
    assert_true(child_hear(&child, &byte, 1));
    assert_code(stele_os_set_bytes(&file, 10), STELE_E_BUSY);
    assert_says("mapped");
    assert_false(system_cut(scratch_path, 10));
    assert_true(bytes_of(&file) == 100000);
    stele_os_unmap(map, 100000);
    assert_ok(stele_os_set_bytes(&file, 10));
    stele_os_close(&file);
    assert_true(system_cut(scratch_path, 5));
    child_tell(&child, "x", 1);
    assert_int_equal(child_end(&child), 0);
}

static void populate_is_a_code_where_a_store_would_fault(void **state)
{
    struct stele_os_file file;
    unsigned char *bytes;
    void *map;

    make_file(scratch_path, 64 * KIB);
    file = open_file(true);
    assert_ok(stele_os_map(&file, 0, 64 * KIB, true, true, &map));
    bytes = map;
    assert_ok(stele_os_populate(bytes, 64 * KIB));
    assert_int_equal(bytes[5], 6);
    assert_true(system_break_page(bytes + 4096));
    assert_ok(stele_os_populate(bytes, 4096));
    assert_ok(stele_os_populate(bytes + 8192, 56 * KIB));
    assert_code(stele_os_populate(bytes, 64 * KIB), STELE_E_FULL);
    assert_code(stele_os_store(&file, 4095, "ab", 2, bytes + 4095), STELE_E_IO);
    assert_ok(stele_os_store(&file, 8192, "ab", 2, bytes + 8192));
    stele_os_unmap(map, 64 * KIB);
    stele_os_close(&file);
}

/* ---- locks ---- */

static void use_what_the_parent_locked(void *context)
{
    struct stele_os_file own;

    REQUIRE(stele_os_fork_count() == 0);
    own = open_file(true);
    REQUIRE(is_writer_held(&own) && is_present_held(&own));
    REQUIRE(stele_os_lock_writer(&own) == STELE_E_BUSY);
    REQUIRE(stele_os_lock_present_alone(&own) == STELE_E_BUSY);
    REQUIRE(stele_os_lock_present(&own) == STELE_OK);
    stele_os_unlock_writer(&own);
    stele_os_unlock_present(&own);
    stele_os_close(&own);
}

static void fork_leaves_the_locks_with_the_parent(void **state)
{
    struct stele_os_file file, other;

    make_file(scratch_path, 100);
    file = open_file(true);
    other = open_file(true);
    assert_ok(stele_os_lock_writer(&file));
    assert_ok(stele_os_lock_present(&file));
    assert_int_equal(exit_of_child(use_what_the_parent_locked, NULL), 0);
    assert_true(is_writer_held(&other) && is_present_held(&other));
    stele_os_close(&other);
    stele_os_close(&file);
}

static void say_fork_count(void *context)
{
    REQUIRE(stele_os_fork_count() == 0);
}

static void fork_without_open_files_does_not_count(void **state)
{
    assert_true(stele_os_fork_count() == 0);
    assert_int_equal(exit_of_child(say_fork_count, NULL), 0);
}

static void locks_are_free_though_a_child_lives_on(void **state)
{
    struct stele_os_file file;
    struct child child;
    char byte;

    make_file(scratch_path, 100);
    file = open_file(true);
    assert_ok(stele_os_lock_writer(&file));
    assert_ok(stele_os_lock_present(&file));
    child = child_start(live_on, NULL);
    assert_true(child_hear(&child, &byte, 1));
    stele_os_close(&file);
    file = open_file(true);
    assert_false(is_writer_held(&file) || is_present_held(&file));
    assert_ok(stele_os_lock_writer(&file));
    assert_ok(stele_os_lock_present_alone(&file));
    stele_os_close(&file);
    child_tell(&child, "x", 1);
    assert_int_equal(child_end(&child), 0);
}

/* ---- drafts ---- */

static void draft_has_a_name_of_its_own_where_it_must(void **state)
{
    struct stele_os_draft draft = { 0 }, second = { 0 };
    struct stele_os_file file = { 0 }, other = { 0 }, replaced = { 0 };
    void *map;

    assert_ok(stele_os_draft_open(scratch_path, 0600, &draft));
    assert_non_null(draft.temporary);
    assert_memory_equal(draft.temporary, scratch_name(".a.stele."), strlen(scratch_folder) + 10);
    assert_int_equal(entry_count(), 1);
    /* Nobody comes in before it has its name. */
    assert_true(system_is_wine() || stele_os_open(draft.temporary, false, &other) < 0);
    assert_ok(stele_os_write(&draft.file, 0, "new", 4));
    assert_ok(stele_os_draft_publish(&draft, false, &file));
    assert_int_equal(entry_count(), 1);
    /* Other programs may open it, also those that share neither deleting nor writing with others. */
    FILE *plain = fopen(scratch_path, "rb");
    assert_non_null(plain);
    fclose(plain);
    assert_ok(stele_os_draft_open(scratch_path, 0600, &second));
    if (system_is_wine()) {
        print_message("Wine lets what is mapped be replaced\n");
    } else {
        assert_ok(stele_os_map(&file, 0, 4, false, true, &map));
        assert_code(stele_os_draft_publish(&second, true, &replaced), STELE_E_BUSY);
        assert_true(second.file.is_open && !replaced.is_open);
        stele_os_unmap(map, 4);
    }
    assert_ok(stele_os_draft_publish(&second, true, &replaced));
    assert_true(bytes_of(&replaced) == 0);
    stele_os_close(&replaced);
    stele_os_close(&file);
    assert_int_equal(entry_count(), 1);
}

static void draft_replaces_regular_files_only(void **state)
{
    static const struct {
        const char *name;
        int code_replacing;
        const char *words;
    } cases[] = {
        { "file", STELE_OK, "" },
        { "folder", STELE_E_EXISTS, "is no regular file" },
        { "guarded", STELE_E_READONLY, "read-only attribute" },
        { "link", STELE_E_EXISTS, "is a symbolic link" },
    };
    size_t count = COUNT_OF(cases);

    make_file(scratch_name("file"), 5);
    make_file(scratch_name("guarded"), 5);
    set_attributes(scratch_name("guarded"), FILE_ATTRIBUTE_READONLY);
    assert_true(system_add_folder(scratch_name("folder")));
    if (!system_add_link("file", scratch_name("link")))
        count--;
    for (size_t i = 0; i < count; i++) {
        struct stele_os_draft draft = { 0 };
        struct stele_os_file file = { 0 };

        assert_ok(stele_os_draft_open(scratch_name(cases[i].name), 0600, &draft));
        assert_code(stele_os_draft_publish(&draft, false, &file), STELE_E_EXISTS);
        assert_says("is there already; choose another name");
        assert_code(stele_os_draft_publish(&draft, true, &file), cases[i].code_replacing);
        assert_says(cases[i].words);
        stele_os_draft_discard(&draft);
        stele_os_close(&file);
        assert_int_equal(entry_count(), count);
    }
}

static void draft_says_why_it_cannot_be(void **state)
{
    static const struct {
        const char *name;
        int code;
        const char *words;
    } cases[] = {
        { "none/a.stele", STELE_E_ABSENT, "no directory" }, { "file/a.stele", STELE_E_ABSENT, "no directory" },
        { "folder/", STELE_E_USAGE, "names no file" },      { "a?b", STELE_E_USAGE, "characters" },
        { "NUL", STELE_E_FORMAT, "device" },
    };
    struct stele_os_draft draft = { 0 };
    struct stele_os_file file = { 0 };
    char name[400];

    make_file(scratch_name("file"), 1);
    assert_true(system_add_folder(scratch_name("folder")));
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_code(stele_os_draft_open(scratch_name(cases[i].name), 0600, &draft), cases[i].code);
        assert_says(cases[i].words);
        assert_true(!draft.target && !draft.file.is_open);
    }
    assert_code(stele_os_draft_open("", 0600, &draft), STELE_E_USAGE);
    assert_code(stele_os_draft_open("\\\\server\\share\\a.stele", 0600, &draft), STELE_E_REMOTE);
    /* A name as long as names get leaves no room in a temporary one for all of it. */
    snprintf(name, sizeof(name), "%s/", scratch_folder);
    memset(name + strlen(scratch_folder) + 1, 'n', 255);
    name[strlen(scratch_folder) + 256] = '\0';
    assert_ok(stele_os_draft_open(name, 0600, &draft));
    assert_ok(stele_os_draft_publish(&draft, true, &file));
    stele_os_close(&file);
    name[strlen(scratch_folder) + 256] = 'n';
    name[strlen(scratch_folder) + 257] = '\0';
    assert_code(stele_os_draft_open(name, 0600, &draft), STELE_E_IO);
    assert_says("more than 255 characters");
}

/* Who may do what with a file, as text; the caller frees it by LocalFree. */
static char *access_of(const char *path)
{
    PSECURITY_DESCRIPTOR descriptor;
    char *text = NULL, name[128];

    snprintf(name, sizeof(name), "%s", path);
    assert_int_equal(GetNamedSecurityInfoA(name, SE_FILE_OBJECT, DACL_SECURITY_INFORMATION, NULL, NULL, NULL, NULL,
                                           &descriptor),
                     0);
    assert_true(ConvertSecurityDescriptorToStringSecurityDescriptorA(descriptor, SDDL_REVISION_1,
                                                                     DACL_SECURITY_INFORMATION, &text, NULL));
    LocalFree(descriptor);
    return text;
}

static void permissions_are_those_asked_for_less_the_umask(void **state)
{
    static const uint32_t cases[] = { 0600, 0666, 0444, 0777, 0 };
    char *expected, *access;

    /* Those of its folder, as of every file that is made there. */
    make_file(scratch_name("plain"), 1);
    expected = access_of(scratch_name("plain"));
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct stele_os_draft draft = { 0 };
        struct stele_os_file file = { 0 };

        assert_ok(stele_os_draft_open(scratch_path, cases[i], &draft));
        assert_ok(stele_os_draft_publish(&draft, true, &file));
        stele_os_close(&file);
        access = access_of(scratch_path);
        assert_string_equal(access, expected);
        LocalFree(access);
        assert_false(GetFileAttributesA(scratch_path) & FILE_ATTRIBUTE_READONLY);
    }
    LocalFree(expected);
}

static void die_in_a_draft(void *context)
{
    struct stele_os_draft draft = { 0 };
    char byte;

    REQUIRE(stele_os_draft_open(scratch_path, 0600, &draft) == STELE_OK);
    REQUIRE(stele_os_write(&draft.file, 0, "half", 4) == STELE_OK);
    parent_tell("x", 1);
    (void)parent_hear(&byte, 1);
}

static void killed_draft_leaves_nothing(void **state)
{
    struct child child = child_start(die_in_a_draft, NULL);
    char byte;

    assert_true(child_hear(&child, &byte, 1));
    assert_int_equal(entry_count(), 1);
    child_kill(&child);
    assert_int_equal(entry_count(), 0);
}

static void name_that_is_not_durable_is_taken_back(void **state)
{
    struct stele_os_draft draft = { 0 };
    struct stele_os_file file = { 0 };

    assert_ok(stele_os_draft_open(scratch_path, 0600, &draft));
    of_flush = (struct refusal){ ERROR_IO_DEVICE, 1, 0 };
    assert_code(stele_os_draft_publish(&draft, false, &file), STELE_E_IO);
    assert_false(file.is_open);
    stele_os_draft_discard(&draft);
    assert_int_equal(entry_count(), 0);
}

static void dress_takes_mode_owner_and_attributes(void **state)
{
    struct stele_os_draft draft = { 0 };
    struct stele_os_file old, file = { 0 };
    PSECURITY_DESCRIPTOR descriptor;
    char *expected, *access;

    make_file(scratch_path, 10);
    /* For its owner alone, and not passed on from the folder. */
    assert_true(ConvertStringSecurityDescriptorToSecurityDescriptorA("D:P(A;;FA;;;OW)(A;;FA;;;WD)", SDDL_REVISION_1,
                                                                     &descriptor, NULL));
    assert_true(SetFileSecurityA(scratch_path, DACL_SECURITY_INFORMATION, descriptor));
    LocalFree(descriptor);
    set_attributes(scratch_path, FILE_ATTRIBUTE_HIDDEN);
    expected = access_of(scratch_path);
    old = open_file(true);
    assert_ok(stele_os_draft_open(scratch_path, 0600, &draft));
    assert_ok(stele_os_draft_dress(&draft, &old));
    stele_os_close(&old);
    assert_ok(stele_os_draft_publish(&draft, true, &file));
    stele_os_close(&file);
    access = access_of(scratch_path);
    assert_string_equal(access, expected);
    assert_true(GetFileAttributesA(scratch_path) & FILE_ATTRIBUTE_HIDDEN);
    LocalFree(access);
    LocalFree(expected);
}

static void dress_gives_a_foreign_group_no_more_than_everybody(void **state)
{
    print_message("a file of Windows has no group whose rights it could pass to another\n");
    skip();
}

/* ---- the rest ---- */

/* There is one source of chance on every system; where it says no, nobody invents anything. */
static void random_bytes_come_from_elsewhere_on_old_systems(void **state)
{
    static unsigned char bytes[3 * MIB];

    assert_ok(stele_os_random(bytes, sizeof(bytes)));
    for (size_t at = 0; at + 16 <= sizeof(bytes); at += 4096)
        assert_false(stele_is_zero(bytes + at, 16));
    of_random = (struct refusal){ 0, 1, 2 };
    assert_code(stele_os_random(bytes, sizeof(bytes)), STELE_E_IO);
    of_random = (struct refusal){ 0, 1, 0 };
    assert_code(stele_os_random(bytes, 8), STELE_E_IO);
}

static void wait_for_the_word(void *context)
{
    struct stele_os_file file = open_file(true);
    const uint64_t *word;
    void *map;

    REQUIRE(stele_os_map(&file, 0, 4096, false, true, &map) == STELE_OK);
    word = map;
    parent_tell("x", 1);
    while ((uint32_t)stele_load(word) == 0)
        stele_os_sleep_us(1000);
}

/* Nobody of another process can be woken; who waits looks now and then. */
static void wake_reaches_a_waiter_in_another_process(void **state)
{
    static const unsigned char zeros[4096];
    struct stele_os_file file;
    struct child child;
    void *map, *reading;
    char byte;

    poke(scratch_path, 0, zeros, sizeof(zeros));
    file = open_file(true);
    assert_ok(stele_os_map(&file, 0, 4096, true, true, &map));
    assert_ok(stele_os_map(&file, 0, 4096, false, true, &reading));
    child = child_start(wait_for_the_word, NULL);
    assert_true(child_hear(&child, &byte, 1));
    stele_store_release((uint64_t *)map, 2);
    stele_os_wake(map);
    stele_os_wake(reading);
    assert_int_equal(child_end(&child), 0);
    stele_os_unmap(reading, 4096);
    stele_os_unmap(map, 4096);
    stele_os_close(&file);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, scratch_drop)

int system_tests(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(open_says_what_is_there),
        IN_FOLDER(open_needs_permission),
        IN_FOLDER(open_has_a_code_for_every_refusal),
        IN_FOLDER(descriptors_stay_above_the_standard_ones),
        IN_FOLDER(durable_write_is_one_call),
        IN_FOLDER(durable_write_finds_another_way_on_old_systems),
        IN_FOLDER(write_has_a_code_for_every_refusal),
        IN_FOLDER(zeros_and_room_are_written_where_there_is_no_call_for_them),
        IN_FOLDER(size_limit_is_a_code_and_no_signal),
        IN_FOLDER(full_disk_is_a_code_and_leaves_the_size),
        IN_FOLDER(map_is_not_inherited),
        IN_FOLDER(populate_is_a_code_where_a_store_would_fault),
        IN_FOLDER(fork_leaves_the_locks_with_the_parent),
        IN_FOLDER(fork_without_open_files_does_not_count),
        IN_FOLDER(locks_are_free_though_a_child_lives_on),
        IN_FOLDER(draft_has_a_name_of_its_own_where_it_must),
        IN_FOLDER(draft_replaces_regular_files_only),
        IN_FOLDER(draft_says_why_it_cannot_be),
        IN_FOLDER(permissions_are_those_asked_for_less_the_umask),
        IN_FOLDER(killed_draft_leaves_nothing),
        IN_FOLDER(name_that_is_not_durable_is_taken_back),
        IN_FOLDER(dress_takes_mode_owner_and_attributes),
        IN_FOLDER(dress_gives_a_foreign_group_no_more_than_everybody),
        IN_FOLDER(random_bytes_come_from_elsewhere_on_old_systems),
        IN_FOLDER(wake_reaches_a_waiter_in_another_process),
    };

    return cmocka_run_group_tests_name("os, system", tests, NULL, NULL);
}
