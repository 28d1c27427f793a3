#include "cli.h"

#include <string.h>

static const char usage[] =
    "stele backup FILE OUT [--mode OCTAL]\n"
    "\n"
    "Copy a store, as of one commit, into the new file OUT, while others go on writing. OUT appears whole or\n"
    "not at all, is not replaced where something is there, and `stele info OUT` says what it is a copy of.\n"
    "Where the file system can, the two share their disk until one of them is written to. FILE is opened for\n"
    "reading only; if its writers leave no moment for the last step, their turn is taken for it.\n"
    "\n"
    "  --mode OCTAL          permissions of OUT; else those of FILE\n"
    CLI_COMMON_USAGE
    "\n"
    "Example: stele backup members.stele members-monday.stele\n"
    "Exit: 0 done; 1 OUT was made, and blocks of FILE are damaged, there as here: keep earlier backups;\n"
    "3 OUT is there already, or the file or the system refuses; 130 interrupted: there is no OUT\n";

static int backup_as(struct cli *cli, uint32_t mode, const struct stele_options *options)
{
    struct stele *store = NULL;
    int rc = cli_try_open(cli, cli->operands[0], mode, &store), closed = STELE_OK, exit_code = CLI_DONE;

    if (!rc)
        rc = stele_backup(store, cli->operands[1], options);
    cli_tick_done(cli);
    if (rc == STELE_E_BUSY && store && mode == STELE_READ_ONLY) {
        closed = stele_close(store);
        cli_notice(cli, "%s: its writers leave no moment to copy the last of it; taking their turn", cli->operands[0]);
        return closed ? cli_fail(cli, cli->operands[0], closed) : backup_as(cli, STELE_READ_WRITE, options);
    }
    if (rc == STELE_E_DAMAGED && store && stele_last_error()->outcome_done) {
        cli_message(cli, "%s", stele_last_error()->text);
        exit_code = CLI_FINDINGS;
    } else if (rc == STELE_E_INTERRUPTED) {
        cli_message(cli, "%s: interrupted; there is no %s", cli->operands[0], cli->operands[1]);
        exit_code = CLI_INTERRUPTED;
    } else if (rc) {
        exit_code = cli_fail(cli, cli->operands[0], rc);
    }
    return cli_close(cli, cli->operands[0], store, exit_code);
}

static int run(struct cli *cli, int word_count, char **words)
{
    uint32_t permissions = 0;
    const struct cli_option table[] = {
        { "mode", CLI_MODE, &permissions, NULL },
    };
    struct stele_options options = STELE_OPTIONS_INIT;
    int exit_code = cli_parse(cli, table, 1, word_count, words, 2, 2);

    if (exit_code)
        return exit_code;
    if (!strcmp(cli->operands[1], "-"))
        return cli_usage_error(cli, "OUT cannot be standard output; name a file, and ./- for one that is called -");
    options.permissions = permissions;
    options.progress = cli_tick;
    options.progress_context = cli;
    return backup_as(cli, STELE_READ_ONLY, &options);
}

const struct cli_verb cmd_backup = { "backup", "copy a store while others write to it", usage, run };
