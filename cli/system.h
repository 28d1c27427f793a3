/*
 * What the command line needs of the system beside the library. Bodies: os_posix.c and os_win32.c, twins function by
 * function.
 *
 * Words, paths and what is printed are UTF-8 on every system; files, standard input and output are bytes as they are.
 * A function that returns an int returns an errno of the C runtime, 0 when it did its work. Threads: the first one
 * only.
 *
 * Not here: stores (stele.h); what a message says.
 */
#ifndef STELE_CLI_SYSTEM_H
#define STELE_CLI_SYSTEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* ---- the process ---------------------------------------------------------------------------- */

/*
 * First of all: hand over the words of the command line, UTF-8, and listen to Ctrl-C.
 *
 * Shape:   @words and *@word_count are those of main(); returns what to use in their place
 */
char **cli_begin(int *word_count, char **words);
/* Have a reader that goes away be EPIPE of the write, not the end of the process. */
void cli_outlive_readers(void);
/* Whether Ctrl-C was pressed. A second Ctrl-C ends the process. */
bool cli_interrupted(void);
bool cli_stderr_is_terminal(void); /* one that knows escape sequences */
uint64_t cli_clock_ms(void);       /* monotonic */
/* What the system says about @code, for people: English, without a full stop. */
const char *cli_system_text(int code);

/* ---- files ---------------------------------------------------------------------------------- */

enum cli_file_kind {
    CLI_FILE_NONE,    /* nothing has this name */
    CLI_FILE_REGULAR,
    CLI_FILE_FOLDER,
    CLI_FILE_SPECIAL  /* a device, a pipe */
};

enum cli_file_mode {
    CLI_FILE_READ,
    CLI_FILE_WRITE,
    CLI_FILE_WRITE_NEW,
    CLI_FILE_APPEND /* behind what is there; a new one is for its user only, and its name durable */
};

int cli_file_kind(const char *path, enum cli_file_kind *out);
/*
 * Open the file at @path.
 *
 * Errors:  ENOENT; EISDIR a folder; EEXIST with CLI_FILE_WRITE_NEW
 * Owner:   caller closes by fclose
 */
int cli_file_open(const char *path, enum cli_file_mode mode, FILE **out);
/* How long a regular file is; 0 where that is not known. */
uint64_t cli_file_bytes(FILE *file);
/*
 * Read at most @capacity_bytes; *@out_bytes is 0 at the end only.
 *
 * Errors:  EINTR Ctrl-C, also while it waits for a pipe or a keyboard
 */
int cli_file_read(FILE *file, void *out, size_t capacity_bytes, size_t *out_bytes);
/* Why the write to @file that just failed did; EPIPE when nobody reads. errno is to be 0 before that write. */
int cli_file_write_code(FILE *file);
/* Make what was written durable, the stream's buffer too. */
int cli_file_sync(FILE *file);
/* Give the closed file at @from the name @to. Errors: EEXIST something has it */
int cli_file_rename(const char *from, const char *to);
void cli_file_remove(const char *path);
/* Forget what stdout still holds, and what comes. */
void cli_stdout_drop(void);

#endif
