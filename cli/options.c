#include "cli.h"
#include "system.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- the nearest word ---- */

/* Edit distance of @a and @b (at most 63 bytes each), a swap of neighbours counting as one. */
static size_t distance(const char *a, const char *b)
{
    size_t a_bytes = strlen(a), b_bytes = strlen(b);
    size_t rows[3][64];

    if (a_bytes > 63 || b_bytes > 63)
        return SIZE_MAX;
    for (size_t j = 0; j <= b_bytes; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= a_bytes; i++) {
        size_t *row = rows[i % 3], *before = rows[(i + 2) % 3], *two_before = rows[(i + 1) % 3];

        row[0] = i;
        for (size_t j = 1; j <= b_bytes; j++) {
            size_t best = before[j - 1] + (a[i - 1] != b[j - 1]);

            best = before[j] + 1 < best ? before[j] + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                two_before[j - 2] + 1 < best)
                best = two_before[j - 2] + 1;
            row[j] = best;
        }
    }
    return rows[a_bytes % 3][b_bytes];
}

const char *cli_nearest(const char *name, const char *const *words, size_t word_count)
{
    size_t best = SIZE_MAX, near_enough = 1 + strlen(name) / 3;
    const char *out = NULL;

    for (size_t i = 0; i < word_count; i++) {
        size_t d = distance(name, words[i]);

        if (d < best && (d < strlen(name) || d < strlen(words[i]))) {
            best = d;
            out = words[i];
        }
    }
    return best <= near_enough ? out : NULL;
}

/* ---- one option ---- */

enum { OPTION_COUNT_MAX = 32 };

struct parser {
    struct cli *cli;
    const struct cli_option *options; /* of the verb */
    size_t option_count;
    struct cli_option common[2];
};

static const struct cli_option *option_at(const struct parser *parser, size_t i)
{
    if (i < parser->option_count)
        return &parser->options[i];
    return i < parser->option_count + 2 ? &parser->common[i - parser->option_count] : NULL;
}

static int unknown_option(const struct parser *parser, const char *name, size_t name_bytes)
{
    const char *names[OPTION_COUNT_MAX + 1];
    char asked[64] = { 0 };
    const char *nearest = NULL;
    size_t name_count = 0;

    for (size_t i = 0; option_at(parser, i) && i < OPTION_COUNT_MAX; i++)
        names[name_count++] = option_at(parser, i)->name;
    names[name_count++] = "help";
    memcpy(asked, name, name_bytes < sizeof asked ? name_bytes : sizeof asked - 1);
    nearest = cli_nearest(asked, names, name_count);
    if (nearest)
        return cli_usage_error(parser->cli, "--%s: unknown option; did you mean --%s?", asked, nearest);
    return cli_usage_error(parser->cli, "--%s: unknown option", asked);
}

static int bad_choice(const struct parser *parser, const struct cli_option *option, const char *value)
{
    char list[256] = { 0 };
    size_t count = 0, length = 0;
    const char *nearest = NULL;

    for (; option->choices[count]; count++) {
        size_t bytes = strlen(option->choices[count]);

        if (length + bytes + 3 > sizeof list)
            break;
        memcpy(list + length, count ? ", " : "", count ? 2 : 0);
        length += count ? 2 : 0;
        memcpy(list + length, option->choices[count], bytes);
        length += bytes;
    }
    nearest = cli_nearest(value, option->choices, count);
    return cli_usage_error(parser->cli, "--%s: \"%s\" is none of %s%s%s%s", option->name, value, list,
                           nearest ? "; did you mean " : "", nearest ? nearest : "", nearest ? "?" : "");
}

static int read_choice(const struct parser *parser, const struct cli_option *option, const char *value)
{
    for (int i = 0; option->choices[i]; i++) {
        if (!strcmp(option->choices[i], value)) {
            *(int *)option->out = i;
            return CLI_DONE;
        }
    }
    return bad_choice(parser, option, value);
}

static int read_mode(const struct parser *parser, const struct cli_option *option, const char *value)
{
    size_t digit_count = strspn(value, "01234567");
    unsigned long mode = strtoul(value, NULL, 8);

    if (!digit_count || digit_count > 6 || value[digit_count] || !mode || mode > 0777)
        return cli_usage_error(parser->cli, "--%s: \"%s\" is no file mode; give octal digits up to 0777, "
                               "like 0640", option->name, value);
    *(uint32_t *)option->out = (uint32_t)mode;
    return CLI_DONE;
}

static int read_count(const struct parser *parser, const struct cli_option *option, const char *value)
{
    bool is_size = option->kind == CLI_SIZE;
    int rc = is_size ? cli_size(value, option->out) : cli_number(value, option->out);

    if (rc == STELE_E_RANGE)
        return cli_usage_error(parser->cli, "--%s: %s is more than 64 bits hold", option->name, value);
    if (rc && value[0] == '-')
        return cli_usage_error(parser->cli, "--%s: %s is negative; give a number from 0", option->name,
                               value);
    if (rc)
        return cli_usage_error(parser->cli, "--%s: \"%s\" is no %s", option->name, value,
                               is_size ? "size; give digits, with K, M, G or T behind them if you like"
                                       : "number; give decimal digits");
    return CLI_DONE;
}

static int read_value(const struct parser *parser, const struct cli_option *option, const char *value)
{
    int rc = STELE_OK;

    switch (option->kind) {
    case CLI_FLAG:
        *(bool *)option->out = true;
        return CLI_DONE;
    case CLI_TEXT:
        *(const char **)option->out = value;
        return CLI_DONE;
    case CLI_NUMBER:
    case CLI_SIZE:
        return read_count(parser, option, value);
    case CLI_MODE:
        return read_mode(parser, option, value);
    case CLI_CHOICE:
        return read_choice(parser, option, value);
    case CLI_RANGE:
        rc = cli_range(value, option->out);
        if (rc)
            return cli_usage_error(parser->cli, "--%s: \"%s\" is no range; give A..B, A.. or ..B, B not "
                                   "before A", option->name, value);
        return CLI_DONE;
    }
    return CLI_DONE;
}

/* Read the option at @words[0], with its value; the words it took to *@out_taken. */
static int read_option(const struct parser *parser, char **words, int word_count, int *out_taken)
{
    const char *name = words[0] + 2, *equals = strchr(name, '=');
    size_t name_bytes = equals ? (size_t)(equals - name) : strlen(name);
    const struct cli_option *option = NULL;

    for (size_t i = 0; (option = option_at(parser, i)) != NULL; i++)
        if (strlen(option->name) == name_bytes && !memcmp(option->name, name, name_bytes))
            break;
    if (!option)
        return unknown_option(parser, name, name_bytes);
    *out_taken = 1;
    if (option->kind == CLI_FLAG) {
        if (equals)
            return cli_usage_error(parser->cli, "--%s takes no value", option->name);
        return read_value(parser, option, NULL);
    }
    if (equals)
        return read_value(parser, option, equals + 1);
    if (word_count < 2 || (words[1][0] == '-' && words[1][1] == '-'))
        return cli_usage_error(parser->cli, "--%s needs a value%s", option->name,
                               word_count < 2 ? "" : "; write --NAME=VALUE if it begins with --");
    *out_taken = 2;
    return read_value(parser, option, words[1]);
}

/* ---- all words ---- */

static bool is_operand(const char *word)
{
    return word[0] != '-' || !word[1] || (word[1] >= '0' && word[1] <= '9');
}

static int read_words(struct parser *parser, int word_count, char **words)
{
    struct cli *cli = parser->cli;
    bool is_ended = false;

    for (int i = 0, taken = 1; i < word_count; i += taken) {
        int exit_code = CLI_DONE;

        taken = 1;
        if (is_ended || is_operand(words[i]))
            cli->operands[cli->operand_count++] = words[i];
        else if (!strcmp(words[i], "--"))
            is_ended = true;
        else if (words[i][1] != '-')
            exit_code = cli_usage_error(cli, "%s: unknown option; all options are long, like --quiet",
                                        words[i]);
        else
            exit_code = read_option(parser, words + i, word_count - i, &taken);
        if (exit_code)
            return exit_code;
    }
    return CLI_DONE;
}

/* Say which word of the usage, "stele VERB WORD WORD ...", is missing. */
static int missing_operand(const struct cli *cli)
{
    const char *word = cli->verb->usage;

    for (size_t i = 0; i < cli->operand_count + 2 && *word; i++) {
        word += strcspn(word, " \n");
        word += strspn(word, " ");
    }
    return cli_usage_error(cli, "%.*s is missing behind \"%s\"", (int)strcspn(word, " \n"), word,
                           cli->operands[cli->operand_count - 1]);
}

static int check_operands(const struct cli *cli, size_t operand_count_min, size_t operand_count_max)
{
    if (!cli->operand_count && operand_count_min)
        return cli_usage_error(cli, "FILE is missing");
    if (cli->operand_count && !cli->operands[0][0])
        return cli_usage_error(cli, "FILE is an empty word; name a file");
    if (cli->operand_count && !strncmp(cli->operands[0], "shm:", 4))
        return cli_usage_error(cli, "%s: this version keeps stores in files only; write ./%s for a file of "
                               "that name", cli->operands[0], cli->operands[0]);
    if (cli->operand_count < operand_count_min)
        return missing_operand(cli);
    if (cli->operand_count > operand_count_max)
        return cli_usage_error(cli, "\"%s\" is one word too many", cli->operands[operand_count_max]);
    return CLI_DONE;
}

int cli_parse(struct cli *cli, const struct cli_option *options, size_t option_count, int word_count,
              char **words, size_t operand_count_min, size_t operand_count_max)
{
    uint64_t wait_ms = cli->wait_ms;
    struct parser parser = { .cli = cli, .options = options, .option_count = option_count,
                             .common = { { "quiet", CLI_FLAG, &cli->quiet, NULL },
                                         { "wait", CLI_NUMBER, &wait_ms, NULL } } };
    int exit_code = CLI_DONE;

    cli->operands = cli_allocate((size_t)word_count * sizeof *cli->operands);
    exit_code = read_words(&parser, word_count, words);
    if (exit_code)
        return exit_code;
    if (wait_ms > UINT32_MAX)
        return cli_usage_error(cli, "--wait: %" PRIu64 " ms is more than 49 days", wait_ms);
    cli->wait_ms = (uint32_t)wait_ms;
    cli->progress.unit = "bytes";
    cli->progress.is_terminal = !cli->quiet && cli_stderr_is_terminal();
    return check_operands(cli, operand_count_min, operand_count_max);
}
