#include "data_file.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int data_source_open(struct data_source *source, struct cli *cli, const char *path)
{
    struct stat status;

    memset(source, 0, sizeof *source);
    if (strcmp(path, "-") == 0) {
        source->file = stdin;
        source->name = "standard input";
    } else {
        source->file = fopen(path, "rb");
        source->name = path;
    }
    if (!source->file)
        return cli_refuse_system(cli, errno, "%s cannot be read", path);
    if (fstat(fileno(source->file), &status) != 0)
        return cli_refuse_system(cli, errno, "%s cannot be read", source->name);
    if (S_ISDIR(status.st_mode))
        return cli_refuse(cli, "%s is a directory: name a file, or - for standard input", source->name);
    if (S_ISREG(status.st_mode) && status.st_size > 0)
        source->total_bytes = (uint64_t)status.st_size;
    return CLI_DONE;
}

void data_source_close(struct data_source *source)
{
    if (source->file && source->file != stdin)
        fclose(source->file);
    source->file = NULL;
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

int data_source_read(void *context, void *out, size_t capacity_bytes, size_t *out_bytes)
{
    struct data_source *source = context;
    struct sigaction action;

    suspend_restart(&action);
    *out_bytes = cli_interrupted() ? 0 : fread(out, 1, capacity_bytes, source->file);
    restore_restart(&action);
    if (cli_interrupted())
        return STELE_E_INTERRUPTED;
    if (*out_bytes < capacity_bytes && ferror(source->file)) {
        source->system_code = errno;
        return STELE_E_IO;
    }
    return STELE_OK;
}

/* Regular files that are there already are not overwritten. */
static int check_free(struct cli *cli, const char *path, bool *out_is_special)
{
    struct stat status;

    *out_is_special = false;
    if (stat(path, &status) != 0) {
        if (errno == ENOENT)
            return CLI_DONE;
        return cli_refuse_system(cli, errno, "%s cannot be written", path);
    }
    if (S_ISDIR(status.st_mode))
        return cli_refuse(cli, "%s is a directory: name a file", path);
    if (S_ISREG(status.st_mode))
        return cli_refuse(cli, "%s is there already and is not overwritten: remove it or choose another name",
                          path);
    *out_is_special = true;
    return CLI_DONE;
}

static int open_partial(struct data_target *target, struct cli *cli, const char *path)
{
    static const char suffix[] = ".partial";
    size_t path_bytes = strlen(path);

    target->partial_path = cli_allocate(path_bytes + sizeof suffix);
    memcpy(target->partial_path, path, path_bytes);
    memcpy(target->partial_path + path_bytes, suffix, sizeof suffix);
    target->file = fopen(target->partial_path, "wbx");
    if (target->file)
        return CLI_DONE;
    if (errno == EEXIST) {
        int rc =
            cli_refuse(cli, "%s is in the way: another export is writing it, or was killed: then remove it",
                       target->partial_path);

        free(target->partial_path);
        target->partial_path = NULL;
        return rc;
    }
    if (errno == ENOENT)
        return cli_refuse(cli, "%s cannot be written: its directory is not there; make it first", path);
    return cli_refuse_system(cli, errno, "%s cannot be written: choose another directory", path);
}

int data_target_open(struct data_target *target, struct cli *cli, const char *path)
{
    bool is_special = false;
    int rc = CLI_DONE;

    memset(target, 0, sizeof *target);
    /* A reader that goes away is an error of the write, not the end of the process. */
    signal(SIGPIPE, SIG_IGN);
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
    target->file = fopen(path, "wb");
    return target->file ? CLI_DONE : cli_refuse_system(cli, errno, "%s cannot be written", path);
}

/* A reader that has seen enough is no news. */
static int write_failed(struct data_target *target, struct cli *cli)
{
    int rc = CLI_REFUSED;

    if (errno == EINTR && cli_interrupted())
        rc = CLI_INTERRUPTED;
    else if (errno != EPIPE)
        rc = cli_refuse_system(cli, errno, "%s cannot be written", target->name);
    /* What stdout still holds must not fail again at the end. */
    if (target->file == stdout && !freopen("/dev/null", "wb", stdout))
        clearerr(stdout);
    return rc;
}

int data_target_write(struct data_target *target, struct cli *cli, const void *bytes, size_t byte_count)
{
    if (fwrite(bytes, 1, byte_count, target->file) == byte_count)
        return CLI_DONE;
    return write_failed(target, cli);
}

/* The name is claimed by an empty file first, so that nothing that came meanwhile is overwritten. */
static int put_in_place(struct data_target *target, struct cli *cli)
{
    FILE *claim = fopen(target->path, "wbx");

    if (!claim)
        return cli_refuse_system(cli, errno, "%s cannot be written", target->path);
    fclose(claim);
    if (rename(target->partial_path, target->path) != 0) {
        int rc =
            cli_refuse_system(cli, errno, "%s cannot be renamed to %s", target->partial_path, target->path);

        remove(target->path);
        return rc;
    }
    free(target->partial_path);
    target->partial_path = NULL;
    return CLI_DONE;
}

int data_target_commit(struct data_target *target, struct cli *cli)
{
    int rc = CLI_DONE;

    if (fflush(target->file) != 0)
        rc = write_failed(target, cli);
    if (!rc && target->partial_path && fsync(fileno(target->file)) != 0)
        rc = cli_refuse_system(cli, errno, "%s cannot be written", target->name);
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
        remove(target->partial_path);
    free(target->partial_path);
    target->partial_path = NULL;
}
