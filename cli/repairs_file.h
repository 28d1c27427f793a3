/*
 * FILE.repairs: what repaired blocks held before, a line of JSON each, durable before the change.
 *
 * Format: appended to only; UTF-8; each line an object, keys as in `stele help repair`. A line that a crash cut short
 * is ended by the next one to open the file.
 */
#ifndef STELE_CLI_REPAIRS_FILE_H
#define STELE_CLI_REPAIRS_FILE_H

#include "cli.h"
#include "text.h"

#include <stdio.h>

struct repairs_file {
    FILE *file;
    char *path;
    uint8_t file_id[16];
    struct text text;
    int exit_code;   /* of the line that could not be written; the message was given */
    bool is_written; /* a line at least */
};

struct repairs_line {
    uint64_t block, old_word, first_index;
    size_t record_count;
    uint64_t record_bytes;
    const void *old_records;
    const char *kind, *how;
};

/*
 * Open the file beside the store at @store_path, for its user only where it is new.
 *
 * Errors:  an exit code after a message; else CLI_DONE
 * Owner:   repairs_file_close, then repairs_file_done, also after an error
 */
int repairs_file_open(struct repairs_file *out, struct cli *cli, const char *store_path, const uint8_t file_id[16]);
/*
 * Append @line.
 *
 * Errors:  an exit code after a message, kept in exit_code too
 * Durability: after return the line survives power loss
 */
int repairs_file_add(struct repairs_file *file, struct cli *cli, const struct repairs_line *line);
void repairs_file_close(struct repairs_file *file); /* safe twice, and on a zeroed struct; the path stays */
void repairs_file_done(struct repairs_file *file);  /* likewise */

#endif
