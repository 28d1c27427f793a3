#include "cli.h"

#include <stdio.h>

static const char usage[] =
    "stele version\n"
    "\n"
    "Print the version of the library.\n"
    "\n"
    "Example: stele version\n";

static int run(struct cli *cli, int word_count, char **words)
{
    int exit_code = cli_parse(cli, NULL, 0, word_count, words, 0, 0);

    if (!exit_code)
        printf("stele %s\n", stele_version());
    return exit_code;
}

const struct cli_verb cmd_version = { "version", "print the version", usage, run };
