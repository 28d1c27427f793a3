/*
 * What the suites need of the system: Windows.
 *
 * A child is this program again, with the address of the function and the two ends of its pipes on the command line;
 * what is CARRIED comes first through the pipe. A constructor takes it from there, so that no suite's main knows of
 * it. Addresses are the same in both, because suites are linked without a movable base.
 */
#include "system.h"

#include <stdlib.h>
#include <string.h>
#include <windows.h>

#define SECONDS_MAX 60
#define MARK "--as-child"

/* ---- folders ---- */

bool system_make_folder(char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    char *tail = name + strlen(name) - 6;

    for (unsigned tries = 0; tries < 100; tries++) {
        uint64_t chance;

        REQUIRE(stele_os_random(&chance, sizeof(chance)) == STELE_OK);
        for (unsigned i = 0; i < 6; i++, chance /= 36)
            tail[i] = letters[chance % 36];
        if (CreateDirectoryA(name, NULL))
            return true;
    }
    return false;
}

void system_drop_folder(const char *folder)
{
    char path[MAX_PATH];
    WIN32_FIND_DATAA entry;
    HANDLE search;

    snprintf(path, sizeof(path), "%s/*", folder);
    search = FindFirstFileA(path, &entry);
    REQUIRE(search != INVALID_HANDLE_VALUE);
    do {
        if (strcmp(entry.cFileName, ".") == 0 || strcmp(entry.cFileName, "..") == 0)
            continue;
        snprintf(path, sizeof(path), "%s/%s", folder, entry.cFileName);
        if (entry.dwFileAttributes & FILE_ATTRIBUTE_READONLY)
            SetFileAttributesA(path, FILE_ATTRIBUTE_NORMAL);
        if (entry.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY)
            system_drop_folder(path);
        else
            REQUIRE(DeleteFileA(path));
    } while (FindNextFileA(search, &entry));
    FindClose(search);
    REQUIRE(RemoveDirectoryA(folder));
}

const char *system_place(void)
{
    const char *given = getenv("TMPDIR");

    return given && strlen(given) < 40 ? given : ".";
}

const char *system_fast_place(void)
{
    return NULL;
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
    REQUIRE(CreateProcessA(program, line, NULL, NULL, TRUE, 0, NULL, NULL, &startup, &process));
    CloseHandle(process.hThread);
    CloseHandle(to[0]);
    CloseHandle(from[1]);
    child = (struct child){ .process = (intptr_t)process.hProcess, .to = (intptr_t)to[1],
                            .from = (intptr_t)from[0] };
    child_tell(&child, carried_begin(), carried_bytes());
    return child;
}

static DWORD WINAPI watch(void *context)
{
    (void)context;
    Sleep(SECONDS_MAX * 1000);
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
    from_parent = (HANDLE)(uintptr_t)from;
    to_parent = (HANDLE)(uintptr_t)to;
    CloseHandle(CreateThread(NULL, 0, watch, NULL, 0, NULL));
    REQUIRE(read_all(from_parent, carried_begin(), carried_bytes()));
    function = (void (*)(void *))(uintptr_t)work;
    function((void *)(uintptr_t)context);
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

void parent_tell(const void *bytes, size_t byte_count)
{
    REQUIRE(write_all(to_parent, bytes, byte_count));
}

bool parent_hear(void *out, size_t byte_count)
{
    return read_all(from_parent, out, byte_count);
}
