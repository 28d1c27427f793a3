#include "cli.h"

#include <inttypes.h>

static const char usage[] =
    "stele resize FILE [--capacity N] [--journal SIZE] [--force]\n"
    "\n"
    "Rewrite the store with another capacity or journal: into a new file that takes its place, whole or not\n"
    "at all; the disk has to hold both for a while. Others must not have it open for writing; programs that\n"
    "read it have to open it anew.\n"
    "\n"
    "  --capacity N          records to allocate room for, not below the count\n"
    "  --journal SIZE        bytes of the journal ring, 16K to 128M\n"
    "  --force               carry damaged blocks over, marked: verify names them still; else it refuses\n"
    CLI_COMMON_USAGE
    "\n"
    "N and SIZE take K, M, G, T: powers of 1024. One of the two has to be given.\n"
    "\n"
    "Example: stele resize members.stele --capacity 100K --journal 4M\n"
    "Exit: 0 done; 2 a size is out of range; 3 the file or the system refuses; 130 interrupted, the\n"
    "store is as before\n";

static int run(struct cli *cli, int word_count, char **words)
{
    uint64_t capacity = 0, journal_bytes = 0;
    bool is_forced = false;
    const struct cli_option table[] = {
        { "capacity", CLI_SIZE, &capacity, NULL },
        { "journal", CLI_SIZE, &journal_bytes, NULL },
        { "force", CLI_FLAG, &is_forced, NULL },
    };
    struct stele_options options = STELE_OPTIONS_INIT;
    int rc = STELE_OK, exit_code = cli_parse(cli, table, 3, word_count, words, 1, 1);

    if (exit_code)
        return exit_code;
    if (!capacity && !journal_bytes)
        return cli_usage_error(cli, "--capacity N or --journal SIZE, above 0, is missing");
    options = cli_store_options(cli, STELE_READ_WRITE);
    options.capacity_records = capacity;
    options.journal_bytes = journal_bytes;
    options.flags = is_forced ? STELE_FORCE : 0U;
    rc = stele_resize(cli->operands[0], &options);
    cli_tick_done(cli);
    return rc ? cli_fail(cli, cli->operands[0], rc) : CLI_DONE;
}

const struct cli_verb cmd_resize = { "resize", "rewrite with another capacity or journal", usage, run };
