#include "cli.h"
#include "system.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct cli_verb *const verbs[] = {
    &cmd_create, &cmd_import, &cmd_export,   &cmd_append, &cmd_get,  &cmd_set,     &cmd_info,
    &cmd_schema, &cmd_verify, &cmd_recover,  &cmd_repair, &cmd_backup, &cmd_resize, &cmd_truncate,
    &cmd_help,   &cmd_version,
};

enum { VERB_COUNT = sizeof verbs / sizeof verbs[0] };

const struct cli_verb *cli_verb_at(size_t verb_index)
{
    return verb_index < VERB_COUNT ? verbs[verb_index] : NULL;
}

const struct cli_verb *cli_verb_find(const char *name)
{
    for (size_t i = 0; i < VERB_COUNT; i++)
        if (!strcmp(verbs[i]->name, name))
            return verbs[i];
    return NULL;
}

int cli_verb_unknown(const char *name)
{
    const char *names[VERB_COUNT];
    const char *nearest = NULL;

    for (size_t i = 0; i < VERB_COUNT; i++)
        names[i] = verbs[i]->name;
    nearest = cli_nearest(name, names, VERB_COUNT);
    fprintf(stderr, "stele: \"%s\" is no verb%s%s%s; `stele help` lists them\n", name,
            nearest ? ", did you mean " : "", nearest ? nearest : "", nearest ? "?" : "");
    return CLI_USAGE;
}

static bool asks_for_help(int word_count, char **words)
{
    for (int i = 0; i < word_count && strcmp(words[i], "--"); i++)
        if (!strcmp(words[i], "--help") || !strcmp(words[i], "-h"))
            return true;
    return false;
}

/* Results that did not reach stdout are a failure of the run. */
static int flush_results(const struct cli *cli, int exit_code)
{
    bool is_failed = ferror(stdout) != 0;
    int code = cli->output_code, failed = CLI_DONE;

    errno = 0;
    if (fflush(stdout) == 0 && !is_failed)
        return exit_code;
    code = code ? code : cli_file_write_code(stdout);
    /* A reader that has seen enough is no news. */
    if (code == EPIPE)
        return exit_code ? exit_code : CLI_REFUSED;
    failed = cli_refuse_system(cli, code, "standard output: the results are not complete");
    return exit_code ? exit_code : failed;
}

static int run_verb(const struct cli_verb *verb, int word_count, char **words)
{
    struct cli cli = { .verb = verb, .wait_ms = 5000 };
    int exit_code = CLI_DONE;

    if (asks_for_help(word_count, words))
        fputs(verb->usage, stdout);
    else
        exit_code = verb->run(&cli, word_count, words);
    cli_tick_done(&cli);
    exit_code = flush_results(&cli, exit_code);
    free(cli.operands);
    return exit_code;
}

int main(int word_count, char **words)
{
    const char *name = NULL;
    const struct cli_verb *verb = NULL;

    words = cli_begin(&word_count, words);
    name = word_count > 1 ? words[1] : NULL;
    if (!name) {
        fputs("stele: which verb? `stele help` lists them\n", stderr);
        return CLI_USAGE;
    }
    if (!strcmp(name, "--help") || !strcmp(name, "-h"))
        name = "help";
    if (!strcmp(name, "--version"))
        name = "version";
    verb = cli_verb_find(name);
    if (!verb)
        return cli_verb_unknown(name);
    return run_verb(verb, word_count - 2, words + 2);
}
