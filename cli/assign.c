#include "assign.h"

#include "value.h"

#include <stdlib.h>
#include <string.h>

static int assign_word(const struct cli *cli, const struct stele_schema *schema, const char *word,
                       struct value_part *part, void *record)
{
    const char *equals = strchr(word, '=');
    char error[VALUE_ERROR_BYTES];

    if (!equals)
        return cli_usage_error(cli, "\"%s\": expected field=value", word);
    if (value_find(schema, word, (size_t)(equals - word), part, error))
        return cli_usage_error(cli, "%s: %s", word, error);
    if (value_parse_part(schema, part, equals + 1, strlen(equals + 1), 0, record, error))
        return cli_usage_error(cli, "field %.*s: %s", (int)(equals - word), word, error);
    return CLI_DONE;
}

int assign_words(const struct cli *cli, const struct stele_schema *schema, size_t word_count, char **words,
                 void *record)
{
    struct value_part *parts = cli_allocate(word_count * sizeof *parts);
    int exit_code = CLI_DONE;

    for (size_t i = 0; i < word_count && !exit_code; i++) {
        exit_code = assign_word(cli, schema, words[i], &parts[i], record);
        for (size_t j = 0; j < i && !exit_code; j++)
            if (parts[j].field_index == parts[i].field_index &&
                parts[j].first_element == parts[i].first_element &&
                parts[j].element_count == parts[i].element_count)
                exit_code = cli_usage_error(cli, "%s: this field has a value already, by %s", words[i],
                                            words[j]);
    }
    free(parts);
    return exit_code;
}
