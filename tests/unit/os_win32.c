/*
 * What the suites need of the system: Windows.
 *
 * A child is this program again, with the address of the function and the two ends of its pipes on the command line;
 * what is CARRIED comes first through the pipe. A constructor takes it from there, so that no suite's main knows of
 * it. Addresses are the same in both, because suites are linked without a movable base.
 */
#include "system.h"

#include "os.h"

#include <io.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>
#include <winioctl.h>
#include <winternl.h>

#define SECONDS_MAX 60
#define DEVICE_DATA_ERROR 0xC000009CUL /* STATUS_DEVICE_DATA_ERROR, of a header that does not go with windows.h */
#define MARK "--as-child"

/* ---- folders ---- */

enum { PATH_MAX_COUNT = 1200 };

/* A path of ours, in UTF-8, in the form without a limit. */
struct wide {
    wchar_t path[PATH_MAX_COUNT];
};

static struct wide wide(const char *path)
{
    wchar_t given[PATH_MAX_COUNT];
    struct wide out = { .path = L"\\\\?\\" };
    DWORD count;

    REQUIRE(MultiByteToWideChar(CP_UTF8, 0, path, -1, given, PATH_MAX_COUNT) > 0);
    count = GetFullPathNameW(given, PATH_MAX_COUNT - 4, out.path + 4, NULL);
    REQUIRE(count > 0 && count < PATH_MAX_COUNT - 4);
    return out;
}

bool system_make_folder(char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    char *tail = name + strlen(name) - 6;

    for (unsigned tries = 0; tries < 100; tries++) {
        uint64_t chance;

        REQUIRE(stele_os_random(&chance, sizeof(chance)) == STELE_OK);
        for (unsigned i = 0; i < 6; i++, chance /= 36)
            tail[i] = letters[chance % 36];
        if (CreateDirectoryW(wide(name).path, NULL))
            return true;
    }
    return false;
}

static bool drop_folder(const struct wide *folder)
{
    bool is_empty = true;
    WIN32_FIND_DATAW entry;
    struct wide path;
    HANDLE search;

    swprintf(path.path, PATH_MAX_COUNT, L"%ls\\*", folder->path);
    search = FindFirstFileW(path.path, &entry);
    if (search == INVALID_HANDLE_VALUE)
        return false;
    do {
        if (wcscmp(entry.cFileName, L".") == 0 || wcscmp(entry.cFileName, L"..") == 0)
            continue;
        swprintf(path.path, PATH_MAX_COUNT, L"%ls\\%ls", folder->path, entry.cFileName);
        if (entry.dwFileAttributes & FILE_ATTRIBUTE_READONLY)
            SetFileAttributesW(path.path, FILE_ATTRIBUTE_NORMAL);
        if (entry.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY)
            is_empty = drop_folder(&path) && is_empty;
        else
            is_empty = DeleteFileW(path.path) && is_empty; /* not while a test that failed has it open */
    } while (FindNextFileW(search, &entry));
    FindClose(search);
    return is_empty && RemoveDirectoryW(folder->path);
}

bool system_drop_folder(const char *folder)
{
    struct wide path = wide(folder);

    return drop_folder(&path);
}

const char *system_place(void)
{
    const char *given = getenv("TMPDIR");

    return given && strlen(given) < 40 ? given : ".";
}

const char *system_fast_place(void)
{
    /* Windows has none; whoever starts the suites may know one, as under Wine. */
    const char *given = getenv("STELE_FAST_PLACE");

    return given && *given && strlen(given) < 40 ? given : NULL;
}

/* ---- files, memory, faults ---- */

static const DWORD modes[SYSTEM_MODES] = {
    FILE_ATTRIBUTE_HIDDEN, FILE_ATTRIBUTE_SYSTEM, FILE_ATTRIBUTE_HIDDEN | FILE_ATTRIBUTE_SYSTEM, FILE_ATTRIBUTE_NORMAL,
    FILE_ATTRIBUTE_HIDDEN,
};
static const DWORD mode_mask = FILE_ATTRIBUTE_HIDDEN | FILE_ATTRIBUTE_SYSTEM;

bool system_set_mode(const char *path, unsigned mode)
{
    return SetFileAttributesA(path, modes[mode]) && system_has_mode(path, mode);
}

bool system_has_mode(const char *path, unsigned mode)
{
    DWORD attributes = GetFileAttributesA(path);

    return attributes != INVALID_FILE_ATTRIBUTES && (attributes & mode_mask) == (modes[mode] & mode_mask);
}

/* Address space, and memory: Wine gives address space away that it holds from the start, so only memory tells there. */
static VM_COUNTERS memory_max;
static bool is_memory_limited;

bool system_link(const char *path, const char *second)
{
    return CreateHardLinkA(second, path, NULL);
}

bool system_limit_file_bytes(uint64_t bytes)
{
    (void)bytes;
    return false;
}

/* What is not asked for by PROCESS_MEMORY_COUNTERS: address space. */
static VM_COUNTERS memory_counters(void)
{
    VM_COUNTERS counters = { .VirtualSize = 0 };
    ULONG bytes = 0;

    REQUIRE(NtQueryInformationProcess(GetCurrentProcess(), ProcessVmCounters, &counters, sizeof(counters), &bytes) >= 0);
    return counters;
}

bool system_limit_memory(uint64_t more_bytes)
{
    memory_max = memory_counters();
    memory_max.PeakVirtualSize += (SIZE_T)more_bytes;
    memory_max.PeakWorkingSetSize += (SIZE_T)more_bytes;
    is_memory_limited = true;
    return true;
}

/* At the end of a child. */
static void check_memory(void)
{
    VM_COUNTERS now = memory_counters();

    REQUIRE(!is_memory_limited || (now.PeakVirtualSize <= memory_max.PeakVirtualSize &&
                                   now.PeakWorkingSetSize <= memory_max.PeakWorkingSetSize));
}

uint64_t system_heap_bytes(void)
{
    _HEAPINFO entry = { ._pentry = NULL };
    uint64_t bytes = 0;

    while (_heapwalk(&entry) == _HEAPOK)
        bytes += entry._useflag == _USEDENTRY ? entry._size : 0;
    return bytes;
}

uint64_t system_peak_bytes(void)
{
    return memory_counters().PeakWorkingSetSize;
}

enum { BROKEN_MAX = 64 };

static struct {
    const uint8_t *first;
    size_t byte_count;
} broken[BROKEN_MAX];
static size_t broken_count;

/* As a page that cannot be read faults: with a code of its own, which nothing else here can be made to raise. */
static LONG CALLBACK tell_broken(EXCEPTION_POINTERS *fault)
{
    EXCEPTION_RECORD *record = fault->ExceptionRecord;

    if (record->ExceptionCode != EXCEPTION_ACCESS_VIOLATION)
        return EXCEPTION_CONTINUE_SEARCH;
    for (size_t i = 0; i < broken_count; i++) {
        if (record->ExceptionInformation[1] - (uintptr_t)broken[i].first >= broken[i].byte_count)
            continue;
        record->ExceptionCode = EXCEPTION_IN_PAGE_ERROR;
        record->ExceptionInformation[2] = DEVICE_DATA_ERROR;
        record->NumberParameters = 3;
    }
    return EXCEPTION_CONTINUE_SEARCH;
}

bool system_break(void *address, size_t byte_count)
{
    DWORD before;

    /* Before all others. */
    if (broken_count == 0)
        REQUIRE(AddVectoredExceptionHandler(1, tell_broken));
    REQUIRE(broken_count < BROKEN_MAX);
    broken[broken_count].first = address;
    broken[broken_count++].byte_count = byte_count;
    return VirtualProtect(address, byte_count, PAGE_NOACCESS, &before);
}

bool system_may_break(void)
{
    return true;
}

/* A vectored handler comes before those that cmocka sets. */
void system_note_faults(void) {}
void system_return_faults(void) {}

bool system_add_folder(const char *path)
{
    return CreateDirectoryW(wide(path).path, NULL);
}

bool system_add_link(const char *target, const char *path)
{
    DWORD attributes;

    /* 2: also for who has no right to, where the user is a developer. Wine says that it did, and did nothing. */
    if (!CreateSymbolicLinkA(path, target, 2))
        return false;
    attributes = GetFileAttributesA(path);
    return attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_REPARSE_POINT);
}

bool system_add_fifo(const char *path)
{
    (void)path; /* pipes have a place of their own, outside of folders */
    return false;
}

bool system_add_socket(const char *path)
{
    (void)path;
    return false;
}

const char *system_device(void)
{
    return "NUL";
}

/* mingw's ftruncate asks for the free space first, of places that it does not always find. */
bool system_set_bytes(FILE *file, uint64_t bytes)
{
    HANDLE handle = (HANDLE)_get_osfhandle(fileno(file));
    LARGE_INTEGER place = { .QuadPart = 0 }, end = { .QuadPart = (LONGLONG)bytes };

    return fflush(file) == 0 && SetFilePointerEx(handle, place, &place, FILE_CURRENT) &&
           SetFilePointerEx(handle, end, NULL, FILE_BEGIN) && SetEndOfFile(handle) &&
           SetFilePointerEx(handle, place, NULL, FILE_BEGIN);
}

bool system_lengthen(const char *path, uint64_t bytes)
{
    HANDLE file = CreateFileA(path, GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                              OPEN_EXISTING, 0, NULL);
    DWORD returned = 0;
    bool is_longer;

    REQUIRE(file != INVALID_HANDLE_VALUE);
    /* Where this fails, as under Wine, holes come by themselves or the disk has to do. */
    DeviceIoControl(file, FSCTL_SET_SPARSE, NULL, 0, NULL, 0, &returned, NULL);
    is_longer = SetFilePointerEx(file, (LARGE_INTEGER){ .QuadPart = (LONGLONG)bytes }, NULL, FILE_BEGIN) &&
                SetEndOfFile(file);
    CloseHandle(file);
    return is_longer;
}

bool system_cut(const char *path, uint64_t bytes)
{
    HANDLE file = CreateFileA(path, GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                              OPEN_EXISTING, 0, NULL);
    bool is_cut;

    REQUIRE(file != INVALID_HANDLE_VALUE);
    REQUIRE(SetFilePointerEx(file, (LARGE_INTEGER){ .QuadPart = (LONGLONG)bytes }, NULL, FILE_BEGIN));
    is_cut = SetEndOfFile(file);
    REQUIRE(is_cut || GetLastError() == ERROR_USER_MAPPED_FILE);
    CloseHandle(file);
    return is_cut;
}

bool system_is_wine(void)
{
    return GetProcAddress(GetModuleHandleA("ntdll.dll"), "wine_get_version") != NULL;
}

size_t system_handle_count(void)
{
    size_t count = 0;
    DWORD flags;

    /* GetProcessHandleCount says nothing under Wine. */
    for (uintptr_t handle = 4; handle < 0x4000; handle += 4)
        count += GetHandleInformation((HANDLE)handle, &flags) != 0;
    return count;
}

/* ---- what is carried ---- */

/* The linker sorts what is in sections of one name by what follows the dollar. */
static char carried_first[16] __attribute__((section(".carry$a"), used));
static char carried_last[16] __attribute__((section(".carry$z"), used));

static char *carried_begin(void)
{
    return carried_first;
}

static size_t carried_bytes(void)
{
    return (size_t)((uintptr_t)carried_last - (uintptr_t)carried_first);
}

/* ---- children ---- */

static HANDLE from_parent, to_parent;

static bool write_all(HANDLE handle, const void *bytes, size_t byte_count)
{
    for (size_t done = 0; done < byte_count;) {
        DWORD some = 0;

        if (!WriteFile(handle, (const char *)bytes + done, (DWORD)(byte_count - done), &some, NULL))
            return false;
        done += some;
    }
    return true;
}

static bool read_all(HANDLE handle, void *out, size_t byte_count)
{
    for (size_t done = 0; done < byte_count;) {
        DWORD some = 0;

        if (!ReadFile(handle, (char *)out + done, (DWORD)(byte_count - done), &some, NULL) || some == 0)
            return false;
        done += some;
    }
    return true;
}

/* A pipe of which the child inherits one end. */
static void make_pipe(HANDLE *out_read, HANDLE *out_write, bool is_read_inherited)
{
    REQUIRE(CreatePipe(out_read, out_write, NULL, 0));
    REQUIRE(SetHandleInformation(is_read_inherited ? *out_read : *out_write, HANDLE_FLAG_INHERIT,
                                 HANDLE_FLAG_INHERIT));
}

struct child child_start(void (*work)(void *context), void *context)
{
    HANDLE to[2], from[2];
    STARTUPINFOA startup = { .cb = sizeof(startup) };
    PROCESS_INFORMATION process;
    struct child child;
    char program[MAX_PATH], line[MAX_PATH + 160];

    make_pipe(&to[0], &to[1], true);
    make_pipe(&from[0], &from[1], false);
    REQUIRE(GetModuleFileNameA(NULL, program, sizeof(program)));
    snprintf(line, sizeof(line), "\"%s\" " MARK " %llx %llx %llx %llx", program,
             (unsigned long long)(uintptr_t)work, (unsigned long long)(uintptr_t)context,
             (unsigned long long)(uintptr_t)to[0], (unsigned long long)(uintptr_t)from[1]);
    fflush(NULL);
    for (unsigned tries = 0; !CreateProcessA(program, line, NULL, NULL, TRUE, 0, NULL, NULL, &startup, &process);
         tries++) {
        /* Wine fails now and then where processes come and go by the hundred. */
        fprintf(stderr, "no child: system code %lu\n", GetLastError());
        REQUIRE(tries < 10);
        Sleep(100);
    }
    CloseHandle(process.hThread);
    CloseHandle(to[0]);
    CloseHandle(from[1]);
    child = (struct child){ .process = (intptr_t)process.hProcess, .to = (intptr_t)to[1],
                            .from = (intptr_t)from[0] };
    child_tell(&child, carried_begin(), carried_bytes());
    return child;
}

static uint64_t watch_until_ms; /* of GetTickCount64; atomic */

/* Of its own fault it dies, without a word from the system. */
static LONG WINAPI die(EXCEPTION_POINTERS *exception)
{
    TerminateProcess(GetCurrentProcess(), exception->ExceptionRecord->ExceptionCode);
    return EXCEPTION_CONTINUE_SEARCH;
}

static DWORD WINAPI watch(void *context)
{
    (void)context;
    while (GetTickCount64() < __atomic_load_n(&watch_until_ms, __ATOMIC_RELAXED))
        Sleep(100);
    TerminateProcess(GetCurrentProcess(), 124);
    return 0;
}

/* Before main: a child never gets there. */
__attribute__((constructor, used)) static void be_the_child(void)
{
    const char *words = strstr(GetCommandLineA(), MARK);
    unsigned long long work, context, from, to;
    void (*function)(void *context);

    if (!words || sscanf(words + strlen(MARK), "%llx %llx %llx %llx", &work, &context, &from, &to) != 4)
        return;
    SetErrorMode(SEM_FAILCRITICALERRORS | SEM_NOGPFAULTERRORBOX);
    SetUnhandledExceptionFilter(die);
    from_parent = (HANDLE)(uintptr_t)from;
    to_parent = (HANDLE)(uintptr_t)to;
    child_watch(SECONDS_MAX);
    CloseHandle(CreateThread(NULL, 0, watch, NULL, 0, NULL));
    REQUIRE(read_all(from_parent, carried_begin(), carried_bytes()));
    function = (void (*)(void *))(uintptr_t)work;
    function((void *)(uintptr_t)context);
    check_memory();
    fflush(NULL);
    _exit(0);
}

void child_tell(struct child *child, const void *bytes, size_t byte_count)
{
    REQUIRE(write_all((HANDLE)child->to, bytes, byte_count));
}

bool child_hear(struct child *child, void *out, size_t byte_count)
{
    return read_all((HANDLE)child->from, out, byte_count);
}

void child_hang_up(struct child *child)
{
    if (child->to)
        CloseHandle((HANDLE)child->to);
    child->to = 0;
}

static DWORD reap(struct child *child)
{
    DWORD code = 0;

    child_hang_up(child);
    REQUIRE(WaitForSingleObject((HANDLE)child->process, INFINITE) == WAIT_OBJECT_0);
    REQUIRE(GetExitCodeProcess((HANDLE)child->process, &code));
    CloseHandle((HANDLE)child->process);
    CloseHandle((HANDLE)child->from);
    *child = (struct child){ .process = 0 };
    return code;
}

int child_end(struct child *child)
{
    DWORD code = reap(child);

    return code < 256 ? (int)code : -1; /* larger: an exception's */
}

void child_kill(struct child *child)
{
    REQUIRE(WaitForSingleObject((HANDLE)child->process, 0) == WAIT_TIMEOUT);
    REQUIRE(TerminateProcess((HANDLE)child->process, 99));
    REQUIRE(reap(child) == 99);
}

void child_watch(unsigned seconds)
{
    __atomic_store_n(&watch_until_ms, GetTickCount64() + seconds * UINT64_C(1000), __ATOMIC_RELAXED);
}

void parent_tell(const void *bytes, size_t byte_count)
{
    REQUIRE(write_all(to_parent, bytes, byte_count));
}

bool parent_hear(void *out, size_t byte_count)
{
    return read_all(from_parent, out, byte_count);
}
