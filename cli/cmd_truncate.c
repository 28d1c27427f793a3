#include "cli.h"

static const char usage[] =
    "stele truncate FILE COUNT\n"
    "\n"
    "Make the store COUNT records long: a lower count cuts, a higher one adds zero records.\n"
    "\n"
    "  COUNT                 records; K, M, G, T are powers of 1024\n"
    CLI_COMMON_USAGE
    "\n"
    "Example: stele truncate members.stele 1000\n"
    "Exit: 0 done; 2 COUNT is no count; 3 the store cannot be opened or written, or the disk is full\n";

static int run(struct cli *cli, int word_count, char **words)
{
    uint64_t count = 0;
    struct stele *store = NULL;
    int rc = STELE_OK, exit_code = cli_parse(cli, NULL, 0, word_count, words, 2, 2);

    if (!exit_code && cli_size(cli->operands[1], &count))
        exit_code = cli_usage_error(cli, "\"%s\" is no count of records; give digits, with K, M, G or T "
                                    "behind them if you like", cli->operands[1]);
    if (!exit_code)
        exit_code = cli_open(cli, cli->operands[0], STELE_READ_WRITE, &store);
    if (exit_code)
        return exit_code;
    rc = stele_set_count(store, count);
    if (rc)
        exit_code = cli_fail_change(cli, cli->operands[0], rc);
    return cli_close(cli, cli->operands[0], store, exit_code);
}

const struct cli_verb cmd_truncate = { "truncate", "cut records off, or add zero records", usage, run };
