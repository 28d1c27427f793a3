/* What the command line needs of the system beside the library: signals, clock, terminal, files. */
#include "cli.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t interrupt_count;

static void note_interrupt(int signal_number)
{
    interrupt_count = 1;
    /* The second one ends the process: the first may wait for a lock, and a store survives any death. */
    signal(signal_number, SIG_DFL);
}

void cli_catch_interrupt(void)
{
    struct sigaction action = { .sa_handler = note_interrupt };

    sigemptyset(&action.sa_mask);
    action.sa_flags = SA_RESTART;
    sigaction(SIGINT, &action, NULL);
    /* A file above the limit of the process is an error code, not a death. */
    signal(SIGXFSZ, SIG_IGN);
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

int cli_read_file(const char *path, size_t bytes_max, char **out, size_t *out_bytes)
{
    bool is_stdin = path[0] == '-' && !path[1];
    FILE *file = is_stdin ? stdin : fopen(path, "rb");
    size_t bytes = 0, room = 4096;
    char *content = NULL;
    int system_code = 0;

    if (!file)
        return errno;
    content = cli_allocate(room);
    while (!feof(file) && !system_code) {
        errno = 0;
        bytes += fread(content + bytes, 1, room - 1 - bytes, file);
        if (ferror(file))
            system_code = errno ? errno : EIO;
        else if (bytes > bytes_max)
            system_code = EFBIG;
        else if (room - 1 - bytes == 0)
            content = cli_grow(content, room *= 2);
    }
    if (!is_stdin)
        fclose(file);
    if (system_code) {
        free(content);
        return system_code;
    }
    content[bytes] = '\0';
    *out = content;
    *out_bytes = bytes;
    return 0;
}
