#include "assign.h"
#include "cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const char usage[] =
    "stele append FILE field=value ... [--async]\n"
    "\n"
    "Append one record and print its index. Fields that are not named are zero or empty.\n"
    "\n"
    "  field=value           a field; field[2]=value one element, field=[1,2,3] all of an array;\n"
    "                        integers in decimal or 0x.., true or false, bytes as hex, enum constants\n"
    "                        by name\n"
    "  --async               do not wait for the disk: a power failure may take the change, a kill may not;\n"
    "                        the next to open the store says that it replays the journal\n"
    CLI_COMMON_USAGE
    "\n"
    "Example: stele append members.stele id=gandalf name='Gandalf the Grey'\n"
    "Exit: 0 done; 2 a value does not fit its field; 3 the store cannot be opened or written\n";

static int append(struct cli *cli, const char *path, struct stele *store)
{
    const struct stele_schema *schema = stele_schema_of(store);
    void *record = cli_allocate((size_t)stele_schema_record_bytes(schema));
    uint64_t index = 0;
    int exit_code = assign_words(cli, schema, cli->operand_count - 1, cli->operands + 1, record);

    if (!exit_code) {
        int rc = cli_append(store, record, 1, cli->is_async, &index);

        if (rc)
            exit_code = cli_fail_change(cli, path, rc);
        else
            printf("%" PRIu64 "\n", index);
    }
    free(record);
    return exit_code;
}

static int run(struct cli *cli, int word_count, char **words)
{
    struct stele *store = NULL;
    const struct cli_option table[] = { { "async", CLI_FLAG, &cli->is_async, NULL } };
    int exit_code = cli_parse(cli, table, 1, word_count, words, 1, SIZE_MAX);

    if (!exit_code)
        exit_code = cli_open(cli, cli->operands[0], STELE_READ_WRITE, &store);
    if (!exit_code)
        exit_code = append(cli, cli->operands[0], store);
    return store ? cli_close(cli, cli->operands[0], store, exit_code) : exit_code;
}

const struct cli_verb cmd_append = { "append", "append one record from field=value words", usage, run };
