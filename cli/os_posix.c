#include "system.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- the process ---- */

static volatile sig_atomic_t interrupt_count;

static void note_interrupt(int signal_number)
{
    interrupt_count = 1;
    /* The second one ends the process: the first may wait for a lock, and a store survives any death. */
    signal(signal_number, SIG_DFL);
}

char **cli_begin(int *word_count, char **words)
{
    struct sigaction action = { .sa_handler = note_interrupt };

    (void)word_count;
    sigemptyset(&action.sa_mask);
    action.sa_flags = SA_RESTART;
    sigaction(SIGINT, &action, NULL);
    /* A file above the limit of the process is an error code, not a death. */
    signal(SIGXFSZ, SIG_IGN);
    return words;
}

void cli_outlive_readers(void)
{
    signal(SIGPIPE, SIG_IGN);
}

bool cli_interrupted(void)
{
    return interrupt_count != 0;
}

bool cli_stderr_is_terminal(void)
{
    return isatty(STDERR_FILENO) == 1;
}

uint64_t cli_clock_ms(void)
{
    struct timespec now = { 0 };

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

const char *cli_system_text(int code)
{
    return strerror(code);
}

/* ---- files ---- */

static enum cli_file_kind kind_of(const struct stat *status)
{
    if (S_ISREG(status->st_mode))
        return CLI_FILE_REGULAR;
    return S_ISDIR(status->st_mode) ? CLI_FILE_FOLDER : CLI_FILE_SPECIAL;
}

int cli_file_kind(const char *path, enum cli_file_kind *out)
{
    struct stat status;

    *out = CLI_FILE_NONE;
    if (stat(path, &status) != 0)
        return errno == ENOENT ? 0 : errno;
    *out = kind_of(&status);
    return 0;
}

/* Some file systems cannot sync a folder: then its names are as durable as they can be. */
static void sync_folder_of(const char *path)
{
    char *copy = strdup(path);
    int folder = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

    if (folder >= 0) {
        fsync(folder);
        close(folder);
    }
    free(copy);
}

static FILE *open_to_append(const char *path)
{
    int descriptor = open(path, O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    FILE *file = NULL;

    if (descriptor >= 0)
        sync_folder_of(path);
    else if (errno == EEXIST)
        descriptor = open(path, O_WRONLY | O_APPEND | O_NONBLOCK | O_CLOEXEC);
    if (descriptor < 0)
        return NULL;
    file = fdopen(descriptor, "ab");
    if (!file)
        close(descriptor);
    return file;
}

int cli_file_open(const char *path, enum cli_file_mode mode, FILE **out)
{
    static const char *const modes[] = { "rb", "wb", "wbx" };
    FILE *file = mode == CLI_FILE_APPEND ? open_to_append(path) : fopen(path, modes[mode]);
    struct stat status;

    if (!file)
        return errno;
    /* Opening a folder to read succeeds. */
    if (fstat(fileno(file), &status) == 0 && kind_of(&status) == CLI_FILE_FOLDER) {
        fclose(file);
        return EISDIR;
    }
    *out = file;
    return 0;
}

uint64_t cli_file_bytes(FILE *file)
{
    struct stat status;

    if (fstat(fileno(file), &status) != 0 || kind_of(&status) != CLI_FILE_REGULAR || status.st_size < 0)
        return 0;
    return (uint64_t)status.st_size;
}

/*
 * Ctrl-C is to end a read that waits for a pipe or a keyboard, though elsewhere it lets system calls finish.
 * *@out_action is what restore_restart needs.
 */
static void suspend_restart(struct sigaction *out_action)
{
    struct sigaction action;

    sigaction(SIGINT, NULL, out_action);
    action = *out_action;
    action.sa_flags &= ~SA_RESTART;
    if (action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN)
        sigaction(SIGINT, &action, NULL);
}

static void restore_restart(const struct sigaction *action)
{
    /* Once pressed, the next Ctrl-C ends the process: that stays so. */
    if (!cli_interrupted())
        sigaction(SIGINT, action, NULL);
}

int cli_file_read(FILE *file, void *out, size_t capacity_bytes, size_t *out_bytes)
{
    struct sigaction action;
    int code = 0;

    suspend_restart(&action);
    errno = 0;
    *out_bytes = cli_interrupted() ? 0 : fread(out, 1, capacity_bytes, file);
    if (*out_bytes < capacity_bytes && ferror(file))
        code = errno ? errno : EIO;
    restore_restart(&action);
    return cli_interrupted() ? EINTR : code;
}

int cli_file_write_code(FILE *file)
{
    (void)file;
    return errno ? errno : EIO;
}

int cli_file_sync(FILE *file)
{
    if (fflush(file) != 0)
        return cli_file_write_code(file);
    return fsync(fileno(file)) == 0 ? 0 : errno;
}

/* The name is claimed by an empty file first, so that nothing that came meanwhile is overwritten. */
int cli_file_rename(const char *from, const char *to)
{
    FILE *claim = fopen(to, "wbx");
    int code = 0;

    if (!claim)
        return errno;
    fclose(claim);
    if (rename(from, to) == 0)
        return 0;
    code = errno;
    remove(to);
    return code;
}

void cli_file_remove(const char *path)
{
    remove(path);
}

void cli_stdout_drop(void)
{
    if (!freopen("/dev/null", "wb", stdout))
        clearerr(stdout);
}
