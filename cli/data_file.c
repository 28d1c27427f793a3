#include "data_file.h"

#include "system.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int data_source_open(struct data_source *source, struct cli *cli, const char *path)
{
    int code = 0;

    memset(source, 0, sizeof *source);
    source->name = path;
    if (strcmp(path, "-") == 0) {
        source->file = stdin;
        source->name = "standard input";
    } else {
        code = cli_file_open(path, CLI_FILE_READ, &source->file);
    }
    if (code == EISDIR)
        return cli_refuse(cli, "%s is a directory: name a file, or - for standard input", path);
    if (code)
        return cli_refuse_system(cli, code, "%s cannot be read", path);
    source->total_bytes = cli_file_bytes(source->file);
    return CLI_DONE;
}

void data_source_close(struct data_source *source)
{
    if (source->file && source->file != stdin)
        fclose(source->file);
    source->file = NULL;
}

int data_source_read(void *context, void *out, size_t capacity_bytes, size_t *out_bytes)
{
    struct data_source *source = context;
    int code = cli_file_read(source->file, out, capacity_bytes, out_bytes);

    if (cli_interrupted())
        return STELE_E_INTERRUPTED;
    if (!code)
        return STELE_OK;
    source->system_code = code;
    return STELE_E_IO;
}

int data_file_whole(const char *path, size_t bytes_max, char **out, size_t *out_bytes)
{
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *file = stdin;
    size_t bytes = 0, got = 1, room = 4096;
    char *content = NULL;
    int code = is_stdin ? 0 : cli_file_open(path, CLI_FILE_READ, &file);

    if (code)
        return code;
    content = cli_allocate(room);
    while (got && !code) {
        code = cli_file_read(file, content + bytes, room - 1 - bytes, &got);
        bytes += got;
        if (!code && bytes > bytes_max)
            code = EFBIG;
        if (!code && room - 1 - bytes == 0)
            content = cli_grow(content, room *= 2);
    }
    if (!is_stdin)
        fclose(file);
    if (code) {
        free(content);
        return code;
    }
    content[bytes] = '\0';
    *out = content;
    *out_bytes = bytes;
    return 0;
}

/* Regular files that are there already are not overwritten. */
static int check_free(struct cli *cli, const char *path, bool *out_is_special)
{
    enum cli_file_kind kind;
    int code = cli_file_kind(path, &kind);

    *out_is_special = kind == CLI_FILE_SPECIAL;
    if (code)
        return cli_refuse_system(cli, code, "%s cannot be written", path);
    if (kind == CLI_FILE_FOLDER)
        return cli_refuse(cli, "%s is a directory: name a file", path);
    if (kind == CLI_FILE_REGULAR)
        return cli_refuse(cli, "%s is there already and is not overwritten: remove it or choose another name",
                          path);
    return CLI_DONE;
}

static int open_partial(struct data_target *target, struct cli *cli, const char *path)
{
    static const char suffix[] = ".partial";
    size_t path_bytes = strlen(path);
    char *partial_path = cli_allocate(path_bytes + sizeof suffix);
    int code = 0, rc = CLI_DONE;

    memcpy(partial_path, path, path_bytes);
    memcpy(partial_path + path_bytes, suffix, sizeof suffix);
    code = cli_file_open(partial_path, CLI_FILE_WRITE_NEW, &target->file);
    if (!code) {
        target->partial_path = partial_path;
        return CLI_DONE;
    }
    if (code == EEXIST)
        rc = cli_refuse(cli, "%s is in the way: another export is writing it, or was killed: then remove it",
                        partial_path);
    else if (code == ENOENT)
        rc = cli_refuse(cli, "%s cannot be written: its directory is not there; make it first", path);
    else
        rc = cli_refuse_system(cli, code, "%s cannot be written: choose another directory", path);
    free(partial_path);
    return rc;
}

int data_target_open(struct data_target *target, struct cli *cli, const char *path)
{
    bool is_special = false;
    int rc = CLI_DONE, code = 0;

    memset(target, 0, sizeof *target);
    cli_outlive_readers();
    if (!path || strcmp(path, "-") == 0) {
        target->file = stdout;
        target->name = "standard output";
        return CLI_DONE;
    }
    target->path = target->name = path;
    rc = check_free(cli, path, &is_special);
    if (rc)
        return rc;
    if (!is_special)
        return open_partial(target, cli, path);
    code = cli_file_open(path, CLI_FILE_WRITE, &target->file);
    return code ? cli_refuse_system(cli, code, "%s cannot be written", path) : CLI_DONE;
}

/* A reader that has seen enough is no news. */
static int write_failed(struct data_target *target, struct cli *cli, int code)
{
    int rc = CLI_REFUSED;

    if (code == EINTR && cli_interrupted())
        rc = CLI_INTERRUPTED;
    else if (code != EPIPE)
        rc = cli_refuse_system(cli, code, "%s cannot be written", target->name);
    /* What stdout still holds must not fail again at the end. */
    if (target->file == stdout)
        cli_stdout_drop();
    return rc;
}

int data_target_write(struct data_target *target, struct cli *cli, const void *bytes, size_t byte_count)
{
    errno = 0;
    if (fwrite(bytes, 1, byte_count, target->file) == byte_count)
        return CLI_DONE;
    return write_failed(target, cli, cli_file_write_code(target->file));
}

/* Close the file, which is whole, and give it its name. */
static int put_in_place(struct data_target *target, struct cli *cli)
{
    FILE *file = target->file;
    int code = 0;

    /* Some systems do not rename what is open. */
    target->file = NULL;
    errno = 0;
    if (fclose(file) != 0)
        return cli_refuse_system(cli, errno ? errno : EIO, "%s cannot be written", target->name);
    code = cli_file_rename(target->partial_path, target->path);
    if (code == EEXIST)
        return cli_refuse(cli, "%s cannot be written: it came to be there meanwhile; choose another name",
                          target->path);
    if (code)
        return cli_refuse_system(cli, code, "%s cannot be renamed to %s", target->partial_path, target->path);
    free(target->partial_path);
    target->partial_path = NULL;
    return CLI_DONE;
}

int data_target_commit(struct data_target *target, struct cli *cli)
{
    int rc = CLI_DONE, code = 0;

    errno = 0;
    if (fflush(target->file) != 0)
        rc = write_failed(target, cli, cli_file_write_code(target->file));
    if (!rc && target->partial_path)
        code = cli_file_sync(target->file);
    if (code)
        rc = cli_refuse_system(cli, code, "%s cannot be written", target->name);
    if (!rc && target->partial_path)
        rc = put_in_place(target, cli);
    data_target_discard(target);
    return rc;
}

void data_target_discard(struct data_target *target)
{
    if (target->file && target->file != stdout)
        fclose(target->file);
    target->file = NULL;
    if (target->partial_path)
        cli_file_remove(target->partial_path);
    free(target->partial_path);
    target->partial_path = NULL;
}
