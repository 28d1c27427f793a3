#include "cli.h"

#include <stdio.h>

static const char usage[] =
    "stele help [VERB]\n"
    "\n"
    "List the verbs, or say how VERB is used.\n"
    "\n"
    "Example: stele help import\n";

static void list_verbs(void)
{
    const struct cli_verb *verb = NULL;

    puts("stele VERB FILE ...: very large arrays of C structs in files\n");
    for (size_t i = 0; (verb = cli_verb_at(i)) != NULL; i++)
        printf("  %-10s %s\n", verb->name, verb->summary);
    puts("\nEach verb takes --wait MS (for another that writes) and --quiet.\n"
         "`stele help VERB` shows options and an example.\n"
         "Exit codes: 0 done; 1 it ran, with findings; 2 the command line is wrong; 3 refused by the system\n"
         "or the file; 130 interrupted.");
}

static int run(struct cli *cli, int word_count, char **words)
{
    const struct cli_verb *verb = NULL;
    int exit_code = cli_parse(cli, NULL, 0, word_count, words, 0, 1);

    if (exit_code)
        return exit_code;
    if (!cli->operand_count) {
        list_verbs();
        return CLI_DONE;
    }
    verb = cli_verb_find(cli->operands[0]);
    if (!verb)
        return cli_verb_unknown(cli->operands[0]);
    fputs(verb->usage, stdout);
    return CLI_DONE;
}

const struct cli_verb cmd_help = { "help", "list the verbs, or show how one is used", usage, run };
