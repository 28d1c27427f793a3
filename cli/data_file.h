/*
 * Data files: what import reads and export writes, or standard input and output.
 *
 * The only file here that asks the system for them.
 */
#ifndef STELE_CLI_DATA_FILE_H
#define STELE_CLI_DATA_FILE_H

#include "cli.h"

#include <stdio.h>

struct data_source {
    FILE *file;
    const char *name;     /* for messages */
    uint64_t total_bytes; /* 0: unknown */
    int system_code;      /* of the read that failed */
};

/*
 * Open the file at @path, "-" for standard input, to read.
 *
 * Errors:  an exit code after a message; else CLI_DONE
 * Owner:   data_source_close
 */
int data_source_open(struct data_source *source, struct cli *cli, const char *path);
void data_source_close(struct data_source *source); /* safe twice, and on a zeroed struct */

/*
 * An input_source for a context of struct data_source *.
 *
 * Errors:  STELE_E_INTERRUPTED Ctrl-C; STELE_E_IO source->system_code says why
 */
int data_source_read(void *context, void *out, size_t capacity_bytes, size_t *out_bytes);

/*
 * Read the whole of @path, "-" for standard input, to *@out, zero-terminated.
 *
 * Errors:  an errno; EFBIG it has more than @bytes_max, EINTR Ctrl-C
 * Owner:   caller frees *out
 */
int data_file_whole(const char *path, size_t bytes_max, char **out, size_t *out_bytes);

/*
 * A file that is there when it is whole: written beside its place as OUT.partial, and renamed. What is no
 * regular file (a pipe, a device) and standard output are written as they are.
 */
struct data_target {
    FILE *file;
    const char *name;   /* for messages */
    const char *path;   /* NULL: standard output */
    char *partial_path; /* NULL: written in place */
};

/*
 * Open the file at @path, NULL or "-" for standard output, to write.
 *
 * Errors:  an exit code after a message, also if there is a file already; else CLI_DONE
 * Owner:   data_target_commit or data_target_discard
 */
int data_target_open(struct data_target *target, struct cli *cli, const char *path);
/* Write @byte_count bytes of @bytes. Errors: an exit code after a message (none for a pipe nobody reads). */
int data_target_write(struct data_target *target, struct cli *cli, const void *bytes, size_t byte_count);
/*
 * Put the file in its place.
 *
 * Errors:  an exit code after a message: nothing is left of it; else CLI_DONE
 * Durability: after return the file survives power loss
 */
int data_target_commit(struct data_target *target, struct cli *cli);
/* Remove what was written, if it is a file. Safe twice, after a commit, and on a zeroed struct. */
void data_target_discard(struct data_target *target);

#endif
