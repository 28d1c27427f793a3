/*
 * Lines end with a line feed here as on every system: what one prints another reads, and comparing two outputs is
 * comparing bytes. A console moves to the first column at a line feed by itself.
 */
#include "system.h"

#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <io.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>
#include <windows.h>

#include <shellapi.h>

/* Virus scanners and indexers look at new files for a moment, and share nothing meanwhile. */
enum { PASSING_TRIES = 20, PASSING_MS = 25 };
/* How long Ctrl-C goes on ending a read that is just about to begin. */
enum { CANCEL_TRIES = 100, CANCEL_MS = 10 };

/* ---- codes ---- */

static int code_of(DWORD error)
{
    switch (error) {
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND:
    case ERROR_INVALID_DRIVE:
    case ERROR_BAD_NETPATH:
    case ERROR_BAD_NET_NAME:
        return ENOENT;
    case ERROR_ACCESS_DENIED:
        return EACCES;
    case ERROR_WRITE_PROTECT:
        return EROFS;
    case ERROR_SHARING_VIOLATION:
    case ERROR_LOCK_VIOLATION:
        return EBUSY;
    case ERROR_FILE_EXISTS:
    case ERROR_ALREADY_EXISTS:
        return EEXIST;
    case ERROR_DISK_FULL:
    case ERROR_HANDLE_DISK_FULL:
        return ENOSPC;
    case ERROR_INVALID_NAME:
    case ERROR_BAD_PATHNAME:
        return EINVAL;
    case ERROR_FILENAME_EXCED_RANGE:
        return ENAMETOOLONG;
    case ERROR_DIRECTORY:
        return ENOTDIR;
    case ERROR_TOO_MANY_OPEN_FILES:
        return EMFILE;
    case ERROR_NOT_ENOUGH_MEMORY:
    case ERROR_OUTOFMEMORY:
        return ENOMEM;
    case ERROR_BROKEN_PIPE:
    case ERROR_NO_DATA:
    case ERROR_PIPE_NOT_CONNECTED:
        return EPIPE;
    case ERROR_OPERATION_ABORTED:
        return EINTR;
    default:
        return EIO;
    }
}

static int last_code(void)
{
    return code_of(GetLastError());
}

/* ---- the process ---- */

static volatile LONG interrupt_count;
static volatile LONG is_reading;
static HANDLE first_thread;

static struct {
    UINT output_page;
    DWORD mode;
    bool is_page_changed, is_mode_changed;
} console_before;

static void restore_console(void)
{
    if (console_before.is_page_changed)
        SetConsoleOutputCP(console_before.output_page);
    if (console_before.is_mode_changed)
        SetConsoleMode(GetStdHandle(STD_ERROR_HANDLE), console_before.mode);
}

static BOOL WINAPI note_interrupt(DWORD kind)
{
    if (kind != CTRL_C_EVENT)
        return FALSE;
    /* The second one ends the process: the first may wait for a lock, and a store survives any death. */
    if (InterlockedIncrement(&interrupt_count) > 1) {
        restore_console();
        TerminateProcess(GetCurrentProcess(), CLI_INTERRUPTED);
    }
    for (int i = 0; is_reading && i < CANCEL_TRIES; i++) {
        CancelSynchronousIo(first_thread);
        Sleep(CANCEL_MS);
    }
    return TRUE;
}

/*
 * @wide as UTF-8, in memory of the caller's. Half a surrogate pair keeps its three bytes, which are no UTF-8: so it is
 * refused where text must be valid, and does not turn into another character.
 */
static char *utf8_of(const wchar_t *wide)
{
    char *out = cli_allocate(wcslen(wide) * 3 + 1), *at = out;

    for (; *wide; wide++) {
        uint32_t c = (uint16_t)wide[0];

        if ((c & 0xFC00) == 0xD800 && ((uint16_t)wide[1] & 0xFC00) == 0xDC00)
            c = 0x10000 + ((c & 0x3FF) << 10) + ((uint16_t)*++wide & 0x3FFU);
        if (c >= 0x10000)
            *at++ = (char)(0xF0 | c >> 18);
        if (c >= 0x800)
            *at++ = (char)(c >= 0x10000 ? 0x80 | (c >> 12 & 0x3F) : 0xE0 | c >> 12);
        if (c >= 0x80)
            *at++ = (char)(c >= 0x800 ? 0x80 | (c >> 6 & 0x3F) : 0xC0 | c >> 6);
        *at++ = (char)(c >= 0x80 ? 0x80 | (c & 0x3F) : c);
    }
    return out;
}

/* Those of the runtime are in the system's code page, and with stars and question marks replaced by files. */
static char **utf8_words(int *word_count, char **words)
{
    wchar_t **wide = CommandLineToArgvW(GetCommandLineW(), word_count);
    char **out = words;

    if (!wide)
        return words;
    out = cli_allocate(((size_t)*word_count + 1) * sizeof *out);
    for (int i = 0; i < *word_count; i++)
        out[i] = utf8_of(wide[i]);
    LocalFree(wide);
    return out;
}

static bool is_console(DWORD which)
{
    DWORD mode = 0;

    return GetConsoleMode(GetStdHandle(which), &mode) != 0;
}

static void set_streams(void)
{
    _setmode(_fileno(stdin), _O_BINARY);
    _setmode(_fileno(stdout), _O_BINARY);
    _setmode(_fileno(stderr), _O_BINARY);
    /* The runtime would write byte by byte to a console, which then cannot see characters. */
    setvbuf(stdout, NULL, _IOFBF, (size_t)1 << 16);
    setvbuf(stderr, NULL, _IOFBF, (size_t)1 << 12);
}

static void set_console(void)
{
    HANDLE error = GetStdHandle(STD_ERROR_HANDLE);

    if (is_console(STD_OUTPUT_HANDLE) || is_console(STD_ERROR_HANDLE)) {
        console_before.output_page = GetConsoleOutputCP();
        console_before.is_page_changed = SetConsoleOutputCP(CP_UTF8) != 0;
    }
    if (GetConsoleMode(error, &console_before.mode))
        console_before.is_mode_changed =
            SetConsoleMode(error, console_before.mode | ENABLE_VIRTUAL_TERMINAL_PROCESSING) != 0;
    atexit(restore_console);
}

char **cli_begin(int *word_count, char **words)
{
    set_streams();
    set_console();
    DuplicateHandle(GetCurrentProcess(), GetCurrentThread(), GetCurrentProcess(), &first_thread, 0, FALSE,
                    DUPLICATE_SAME_ACCESS);
    SetConsoleCtrlHandler(note_interrupt, TRUE);
    return utf8_words(word_count, words);
}

void cli_outlive_readers(void)
{
    /* They never were the end of a process here. */
}

bool cli_interrupted(void)
{
    return interrupt_count != 0;
}

bool cli_stderr_is_terminal(void)
{
    return console_before.is_mode_changed;
}

uint64_t cli_clock_ms(void)
{
    return GetTickCount64();
}

const char *cli_system_text(int code)
{
    /* The runtime has words of its own for these. */
    if (code == EBUSY)
        return "another program has it open and does not share it; close that one, or try again";
    if (code == EINTR)
        return "Interrupted";
    if (code == EINVAL)
        return "no file can have this name";
    return strerror(code);
}

/* ---- paths ---- */

/*
 * @path as the system wants it, whole and in its longest form where the short one has limits; NULL and *@out_code where
 * it is no path. Owner: caller frees.
 */
static wchar_t *wide_path(const char *path, int *out_code)
{
    int count = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, NULL, 0);
    wchar_t *given = cli_allocate(((size_t)count + 1) * sizeof *given), *full = NULL;
    bool is_share = false;
    DWORD room = 0;

    *out_code = count ? 0 : EILSEQ;
    if (count)
        MultiByteToWideChar(CP_UTF8, 0, path, -1, given, count);
    room = count ? GetFullPathNameW(given, 0, NULL, NULL) : 0;
    if (count && !room)
        *out_code = *path ? last_code() : ENOENT;
    if (room) {
        full = cli_allocate(((size_t)room + 8) * sizeof *full);
        GetFullPathNameW(given, room, full, NULL);
    }
    free(given);
    /* A folder's limit is shorter than a file's, by the twelve characters of a name. */
    if (!full || wcslen(full) < MAX_PATH - 12 || !wcsncmp(full, L"\\\\?\\", 4) || !wcsncmp(full, L"\\\\.\\", 4))
        return full;
    is_share = !wcsncmp(full, L"\\\\", 2);
    memmove(full + (is_share ? 7 : 4), full + (is_share ? 1 : 0), (wcslen(full) + 1 - is_share) * sizeof *full);
    memcpy(full, is_share ? L"\\\\?\\UNC" : L"\\\\?\\", (is_share ? 7 : 4) * sizeof *full);
    return full;
}

/* ---- files ---- */

static bool is_passing(int try)
{
    if (GetLastError() != ERROR_SHARING_VIOLATION || try >= PASSING_TRIES)
        return false;
    Sleep(PASSING_MS);
    return true;
}

static HANDLE open_handle(const wchar_t *path, DWORD access, DWORD disposition, DWORD flags)
{
    const DWORD share = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
    HANDLE handle = INVALID_HANDLE_VALUE;
    int try = 0;

    do {
        handle = CreateFileW(path, access, share, NULL, disposition, FILE_ATTRIBUTE_NORMAL | flags, NULL);
    } while (handle == INVALID_HANDLE_VALUE && is_passing(try++));
    return handle;
}

static int kind_of(const wchar_t *path, enum cli_file_kind *out)
{
    /* This flag is what opens folders. */
    HANDLE handle = open_handle(path, 0, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS);
    DWORD attributes = 0;

    if (handle == INVALID_HANDLE_VALUE)
        return last_code();
    attributes = GetFileAttributesW(path);
    if (GetFileType(handle) != FILE_TYPE_DISK)
        *out = CLI_FILE_SPECIAL;
    else if (attributes != INVALID_FILE_ATTRIBUTES && attributes & FILE_ATTRIBUTE_DIRECTORY)
        *out = CLI_FILE_FOLDER;
    else
        *out = CLI_FILE_REGULAR;
    CloseHandle(handle);
    return 0;
}

int cli_file_kind(const char *path, enum cli_file_kind *out)
{
    int code = 0;
    wchar_t *wide = wide_path(path, &code);

    *out = CLI_FILE_NONE;
    if (!wide)
        return code;
    /* NUL, CON and their like. */
    if (!wcsncmp(wide, L"\\\\.\\", 4))
        *out = CLI_FILE_SPECIAL;
    else
        code = kind_of(wide, out);
    free(wide);
    return code == ENOENT ? 0 : code;
}

static int stream_of(HANDLE handle, enum cli_file_mode mode, FILE **out)
{
    int descriptor = _open_osfhandle((intptr_t)handle, _O_BINARY | (mode == CLI_FILE_READ ? _O_RDONLY : 0));

    if (descriptor < 0) {
        CloseHandle(handle);
        return EMFILE;
    }
    *out = _fdopen(descriptor, mode == CLI_FILE_READ ? "rb" : "wb");
    if (*out)
        return 0;
    _close(descriptor);
    return EMFILE;
}

int cli_file_open(const char *path, enum cli_file_mode mode, FILE **out)
{
    static const DWORD dispositions[] = { OPEN_EXISTING, CREATE_ALWAYS, CREATE_NEW, OPEN_ALWAYS };
    int code = 0;
    wchar_t *wide = wide_path(path, &code);
    HANDLE handle = INVALID_HANDLE_VALUE;

    if (!wide)
        return code;
    /* What may only append does so wherever others write. */
    handle = open_handle(wide, mode == CLI_FILE_READ ? GENERIC_READ
                               : mode == CLI_FILE_APPEND ? FILE_APPEND_DATA | FILE_READ_ATTRIBUTES | SYNCHRONIZE
                                                         : GENERIC_WRITE,
                         dispositions[mode], 0);
    if (handle == INVALID_HANDLE_VALUE) {
        DWORD attributes = 0;

        code = last_code();
        attributes = GetFileAttributesW(wide);
        if (code == EACCES && attributes != INVALID_FILE_ATTRIBUTES && attributes & FILE_ATTRIBUTE_DIRECTORY)
            code = EISDIR;
    } else {
        code = stream_of(handle, mode, out);
    }
    free(wide);
    return code;
}

uint64_t cli_file_bytes(FILE *file)
{
    HANDLE handle = (HANDLE)_get_osfhandle(_fileno(file));
    LARGE_INTEGER bytes;

    if (handle == INVALID_HANDLE_VALUE || GetFileType(handle) != FILE_TYPE_DISK || !GetFileSizeEx(handle, &bytes))
        return 0;
    return (uint64_t)bytes.QuadPart;
}

/* What was typed and not asked for yet, and half a character that waits for its other half. */
static struct {
    char bytes[4096];
    size_t begin, end;
    wchar_t half;
} typed;

/* Ask for a line; none at the end, which is Ctrl-Z at the beginning of one. */
static int read_line(HANDLE console)
{
    wchar_t wide[1026] = { typed.half };
    DWORD count = 0, held = typed.half ? 1 : 0;
    char *bytes = NULL;

    typed.begin = typed.end = 0;
    typed.half = 0;
    if (!ReadConsoleW(console, wide + held, 1024, &count, NULL))
        return last_code();
    /* A line that Ctrl-C ended comes back empty, at times before the news of it. */
    for (int i = 0; !count && !interrupt_count && i < CANCEL_TRIES / 5; i++)
        Sleep(CANCEL_MS);
    if (!count || wide[held] == L'\x1a')
        return 0;
    count += held;
    if ((wide[count - 1] & 0xFC00) == 0xD800)
        typed.half = wide[--count];
    wide[count] = 0;
    bytes = utf8_of(wide);
    typed.end = strlen(bytes);
    memcpy(typed.bytes, bytes, typed.end);
    free(bytes);
    return typed.end ? 0 : read_line(console);
}

static int read_console(HANDLE console, void *out, size_t capacity_bytes, size_t *out_bytes)
{
    int code = typed.begin < typed.end ? 0 : read_line(console);
    size_t bytes = typed.end - typed.begin;

    if (bytes > capacity_bytes)
        bytes = capacity_bytes;
    memcpy(out, typed.bytes + typed.begin, bytes);
    typed.begin += bytes;
    *out_bytes = bytes;
    return code;
}

int cli_file_read(FILE *file, void *out, size_t capacity_bytes, size_t *out_bytes)
{
    HANDLE handle = (HANDLE)_get_osfhandle(_fileno(file));
    DWORD mode = 0;
    int code = 0;

    *out_bytes = 0;
    InterlockedExchange(&is_reading, 1);
    if (cli_interrupted()) {
        code = EINTR;
    } else if (GetConsoleMode(handle, &mode)) {
        code = read_console(handle, out, capacity_bytes, out_bytes);
    } else {
        errno = 0;
        *out_bytes = fread(out, 1, capacity_bytes, file);
        if (*out_bytes < capacity_bytes && ferror(file))
            code = errno ? errno : EIO;
    }
    InterlockedExchange(&is_reading, 0);
    return cli_interrupted() ? EINTR : code;
}

int cli_file_write_code(FILE *file)
{
    HANDLE handle = (HANDLE)_get_osfhandle(_fileno(file));

    if (errno && errno != EINVAL)
        return errno;
    /* The runtime has no name for what the system said. */
    if (errno && _doserrno)
        return code_of(_doserrno);
    /* It was cut short, which is no failure to the system: no more room, or nobody reads the rest. */
    return handle != INVALID_HANDLE_VALUE && GetFileType(handle) == FILE_TYPE_PIPE ? EPIPE : ENOSPC;
}

int cli_file_sync(FILE *file)
{
    if (fflush(file) != 0)
        return cli_file_write_code(file);
    return _commit(_fileno(file)) == 0 ? 0 : errno;
}

int cli_file_rename(const char *from, const char *to)
{
    int from_code = 0, to_code = 0, code = 0, try = 0;
    wchar_t *wide_from = wide_path(from, &from_code), *wide_to = wide_path(to, &to_code);
    BOOL is_renamed = FALSE;

    if (wide_from && wide_to) {
        do {
            is_renamed = MoveFileExW(wide_from, wide_to, MOVEFILE_WRITE_THROUGH);
        } while (!is_renamed && is_passing(try++));
        code = is_renamed ? 0 : last_code();
    }
    free(wide_from);
    free(wide_to);
    return from_code ? from_code : to_code ? to_code : code;
}

void cli_file_remove(const char *path)
{
    int code = 0;
    wchar_t *wide = wide_path(path, &code);

    if (wide)
        DeleteFileW(wide);
    free(wide);
}

void cli_stdout_drop(void)
{
    if (!freopen("NUL", "wb", stdout))
        clearerr(stdout);
}
