#include "cli.h"
#include "system.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__attribute__((format(STELE_PRINTF, 2, 0)))
static void print_line(const struct cli *cli, const char *format, va_list list, const char *tail)
{
    fflush(stdout); /* on a terminal results and messages stay in order */
    fprintf(stderr, cli->verb ? "stele %s: " : "stele: ", cli->verb ? cli->verb->name : "");
    vfprintf(stderr, format, list);
    fprintf(stderr, "%s\n", tail);
    fflush(stderr); /* some systems have it buffered */
}

void cli_message(const struct cli *cli, const char *format, ...)
{
    va_list list;

    va_start(list, format);
    print_line(cli, format, list, "");
    va_end(list);
}

void cli_notice(const struct cli *cli, const char *format, ...)
{
    va_list list;

    if (cli->quiet)
        return;
    va_start(list, format);
    print_line(cli, format, list, "");
    va_end(list);
}

int cli_usage_error(const struct cli *cli, const char *format, ...)
{
    va_list list;

    va_start(list, format);
    print_line(cli, format, list, "");
    va_end(list);
    fprintf(stderr, "`stele help%s%s` shows how it is used\n", cli->verb ? " " : "",
            cli->verb ? cli->verb->name : "");
    return CLI_USAGE;
}

int cli_refuse(const struct cli *cli, const char *format, ...)
{
    va_list list;

    va_start(list, format);
    print_line(cli, format, list, "");
    va_end(list);
    return CLI_REFUSED;
}

int cli_refuse_system(const struct cli *cli, int system_code, const char *format, ...)
{
    char tail[160];
    va_list list;

    snprintf(tail, sizeof tail, ": %s", cli_system_text(system_code));
    va_start(list, format);
    print_line(cli, format, list, tail);
    va_end(list);
    return CLI_REFUSED;
}

int cli_exit_of(int code)
{
    switch (code) {
    case STELE_OK:
    case STELE_END:
        return CLI_DONE;
    case STELE_E_USAGE:
    case STELE_E_RANGE:
    case STELE_E_SCHEMA:
        return CLI_USAGE;
    case STELE_E_INTERRUPTED:
        return CLI_INTERRUPTED;
    default:
        return CLI_REFUSED;
    }
}

int cli_fail(const struct cli *cli, const char *path, int code)
{
    const struct stele_error *error = stele_last_error();
    char sentence[sizeof error->text] = { 0 };
    char *advice;

    snprintf(sentence, sizeof sentence, "%s", error->code == code && error->text[0] ? error->text
                                                                                    : stele_strerror(code));
    /* What a program is told to do with its handle, this one does by ending. */
    advice = strstr(sentence, "; close the handle");
    if (advice)
        *advice = '\0';
    if (code == STELE_E_INTERRUPTED)
        cli_message(cli, "%s: interrupted; the store is consistent", path);
    else if (!strncmp(sentence, path, strlen(path)))
        cli_message(cli, "%s", sentence);
    else
        cli_message(cli, "%s: %s", path, sentence);
    return cli_exit_of(code);
}

int cli_fail_change(const struct cli *cli, const char *path, int code)
{
    bool is_in_doubt = code == STELE_E_UNKNOWN && !stele_last_error()->outcome_done;
    int exit_code = cli_fail(cli, path, code);

    if (is_in_doubt)
        cli_message(cli, "%s: look whether the change is there before you make it again", path);
    return exit_code;
}

static void no_memory(size_t bytes)
{
    fprintf(stderr, "stele: out of memory for %zu bytes; the store is consistent\n", bytes);
    exit(CLI_REFUSED);
}

void *cli_allocate(size_t bytes)
{
    void *out = calloc(1, bytes ? bytes : 1);

    if (!out)
        no_memory(bytes);
    return out;
}

void *cli_grow(void *old, size_t bytes)
{
    void *out = realloc(old, bytes ? bytes : 1);

    if (!out)
        no_memory(bytes);
    return out;
}
