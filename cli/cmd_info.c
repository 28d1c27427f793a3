#include "cli.h"
#include "info_out.h"

static const char usage[] =
    "stele info FILE [--json]\n"
    "\n"
    "Print layout, schema, counts, state and the last recovery. Never writes to the file.\n"
    "\n"
    "  --json                one object with the keys\n"
    "                          file, format_version, library_version (text), file_id, origin_file_id (hex),\n"
    "                          origin_sequence; features: an object with incompatible, read_only,\n"
    "                          compatible; state: idle, committing, recovering, failed or closed;\n"
    "                          clean, sparse: true or false; header_damage: a list of \"header slot A\",\n"
    "                          \"header slot B\"; created_us, modified_us, checkpoint_us: since 1970, UTC;\n"
    "                          file_bytes, disk_bytes; count, capacity, record_bytes, records_per_block,\n"
    "                          records_per_cell; generation, session, layout_version, sequence,\n"
    "                          checkpoint_sequence; regions: an object with live, journal, records, sums,\n"
    "                          schema, each with offset and bytes; journal: an object with entries,\n"
    "                          used_bytes, replayed (by this open, in memory); user_version, user, tag\n"
    "                          (hex); writer: an object with pid, started_us, last_commit_us;\n"
    "                          recovery: an object with count, kind (none, replay, forced, restore,\n"
    "                          conversion), last_kept, first_new, time_us;\n"
    "                          schema: as `stele schema --as json`\n"
    CLI_COMMON_USAGE
    "\n"
    "Example: stele info members.stele\n"
    "Exit: 0 done; 3 not a store, or it cannot be read\n";

static int run(struct cli *cli, int word_count, char **words)
{
    bool is_json = false;
    const struct cli_option options[] = { { "json", CLI_FLAG, &is_json, NULL } };
    struct stele_info info = STELE_INFO_INIT;
    struct stele *store = NULL;
    int rc = STELE_OK, exit_code = cli_parse(cli, options, 1, word_count, words, 1, 1);

    if (!exit_code)
        exit_code = cli_open(cli, cli->operands[0], STELE_READ_ONLY, &store);
    if (exit_code)
        return exit_code;
    rc = stele_info(store, &info);
    if (rc)
        exit_code = cli_fail(cli, cli->operands[0], rc);
    else if (is_json)
        info_out_json(cli->operands[0], &info, stele_schema_of(store));
    else
        info_out_text(cli->operands[0], &info, stele_schema_of(store));
    return cli_close(cli, cli->operands[0], store, exit_code);
}

const struct cli_verb cmd_info = { "info", "print layout, schema, counts and state", usage, run };
