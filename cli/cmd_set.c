#include "assign.h"
#include "cli.h"

#include <inttypes.h>
#include <stdlib.h>

static const char usage[] =
    "stele set FILE INDEX field=value ... [--async]\n"
    "\n"
    "Change fields of one record, as one durable commit. Fields that are not named stay as they are.\n"
    "\n"
    "  INDEX                 from 0; negative ones count from the end: -1 is the last record\n"
    "  field=value           a field; field[2]=value one element, field=[1,2,3] all of an array\n"
    "  --async               do not wait for the disk: a power failure may take the change, a kill may not;\n"
    "                        the next to open the store says that it replays the journal\n"
    CLI_COMMON_USAGE
    "\n"
    "Example: stele set members.stele -1 name='Gandalf the White'\n"
    "Exit: 0 done; 1 no such record; 2 a value does not fit its field; 3 the store cannot be opened or\n"
    "written\n";

/* Under the writer's lock, so that no other change of the record is lost. */
static int change(struct cli *cli, struct stele_txn *txn, const struct stele_schema *schema,
                  const struct cli_range *where, void *record)
{
    const char *path = cli->operands[0];
    uint64_t index = 0, end = 0;
    int rc = cli_range_resolve(where, stele_txn_count(txn), &index, &end);
    int exit_code = CLI_DONE;

    if (rc) {
        cli_message(cli, "%s: no record %s; the store has %" PRIu64, path, cli->operands[1],
                    stele_txn_count(txn));
        return CLI_FINDINGS;
    }
    rc = stele_txn_get(txn, index, record);
    if (rc)
        return cli_fail(cli, path, rc);
    exit_code = assign_words(cli, schema, cli->operand_count - 2, cli->operands + 2, record);
    if (exit_code)
        return exit_code;
    rc = stele_txn_set(txn, index, record);
    return rc ? cli_fail(cli, path, rc) : CLI_DONE;
}

static int set(struct cli *cli, struct stele *store, const struct cli_range *where)
{
    const struct stele_schema *schema = stele_schema_of(store);
    void *record = NULL;
    struct stele_txn *txn = NULL;
    int rc = stele_begin(store, &txn), exit_code = CLI_DONE;

    if (rc)
        return cli_fail(cli, cli->operands[0], rc);
    record = cli_allocate((size_t)stele_schema_record_bytes(schema));
    exit_code = change(cli, txn, schema, where, record);
    free(record);
    if (exit_code) {
        stele_abort(txn);
        return exit_code;
    }
    rc = stele_commit(txn, cli->is_async ? STELE_ASYNC : STELE_DURABLE, NULL);
    return rc ? cli_fail_change(cli, cli->operands[0], rc) : CLI_DONE;
}

static int run(struct cli *cli, int word_count, char **words)
{
    struct cli_range where = { 0 };
    struct stele *store = NULL;
    const struct cli_option table[] = { { "async", CLI_FLAG, &cli->is_async, NULL } };
    int exit_code = cli_parse(cli, table, 1, word_count, words, 3, SIZE_MAX);

    if (!exit_code && (cli_range(cli->operands[1], &where) || !where.is_single))
        exit_code = cli_usage_error(cli, "\"%s\" is no index; give a number like 0 or -1", cli->operands[1]);
    if (!exit_code)
        exit_code = cli_open(cli, cli->operands[0], STELE_READ_WRITE, &store);
    if (!exit_code)
        exit_code = set(cli, store, &where);
    return store ? cli_close(cli, cli->operands[0], store, exit_code) : exit_code;
}

const struct cli_verb cmd_set = { "set", "change fields of one record", usage, run };
