#include "cli.h"
#include "json_out.h"
#include "names.h"

#include <inttypes.h>
#include <stdio.h>

static const char usage[] =
    "stele recover FILE [--force] [--json]\n"
    "\n"
    "Replay the journal of a store whose last writer died, and report. Opening for writing does the same.\n"
    "\n"
    "  --force               go on behind an acknowledged entry that is lost, and list what was given up\n"
    "  --json                one object with the keys\n"
    "                          file; kind: none, replay or forced; entries: replayed;\n"
    "                          records_restored; last_kept, first_new: sequences;\n"
    "                          lost_first, lost_last: sequences given up, or null; records: there now;\n"
    "                          damaged_blocks; first_damaged_block: a number or null;\n"
    "                          header_mended: a list of \"header slot A\", \"header slot B\"\n"
    CLI_COMMON_USAGE
    "\n"
    "Example: stele recover members.stele\n"
    "Exit: 0 done, or nothing to do; 1 commits were given up, or blocks are damaged; 3 an acknowledged\n"
    "entry is lost and --force was not given, or the file or the system refuses\n";

static void print_json(const char *path, const struct stele_recovery *recovery)
{
    bool is_lost = recovery->lost_last != 0;
    struct json_out json = { 0 };

    json_begin(&json, NULL, '{');
    json_string(&json, "file", path);
    json_string(&json, "kind", name_of_recovery(recovery->kind));
    json_number(&json, "entries", recovery->entry_count);
    json_number(&json, "records_restored", recovery->restored_count);
    json_number(&json, "last_kept", recovery->last_kept);
    json_number(&json, "first_new", recovery->first_new);
    if (is_lost)
        json_number(&json, "lost_first", recovery->lost_first);
    else
        json_null(&json, "lost_first");
    if (is_lost)
        json_number(&json, "lost_last", recovery->lost_last);
    else
        json_null(&json, "lost_last");
    json_number(&json, "records", recovery->count);
    json_number(&json, "damaged_blocks", recovery->damaged_count);
    if (recovery->damaged_count)
        json_number(&json, "first_damaged_block", recovery->first_damaged_block);
    else
        json_null(&json, "first_damaged_block");
    names_json_file_damage(recovery->header_damage, "header_mended", &json);
    json_end(&json, '}');
    json_print(&json);
}

static void print_text(const char *path, const struct stele_recovery *recovery)
{
    if (recovery->kind == STELE_RECOVERY_NONE)
        printf("%s: nothing to recover", path);
    else
        printf("%s: %" PRIu64 " journal entries replayed, %" PRIu64 " records stored again", path,
               recovery->entry_count, recovery->restored_count);
    printf("; %" PRIu64 " records\n", recovery->count);
    for (uint32_t bits = recovery->header_damage; bits; bits &= bits - 1)
        printf("%s was damaged and is mended from the other one\n", name_of_file_damage(bits & (0 - bits)));
    if (recovery->lost_last)
        printf("given up: commits %" PRIu64 " to %" PRIu64 "\n", recovery->lost_first, recovery->lost_last);
    if (recovery->damaged_count)
        printf("%" PRIu64 " blocks are damaged, the first is block %" PRIu64 "; `stele verify %s` lists "
               "them\n", recovery->damaged_count, recovery->first_damaged_block, path);
}

static int run(struct cli *cli, int word_count, char **words)
{
    bool is_forced = false, is_json = false;
    const struct cli_option table[] = {
        { "force", CLI_FLAG, &is_forced, NULL },
        { "json", CLI_FLAG, &is_json, NULL },
    };
    struct stele_recovery recovery = STELE_RECOVERY_INIT;
    struct stele_options options = STELE_OPTIONS_INIT;
    int rc = STELE_OK, exit_code = cli_parse(cli, table, 2, word_count, words, 1, 1);

    if (exit_code)
        return exit_code;
    options = cli_store_options(cli, STELE_READ_WRITE);
    options.flags = is_forced ? STELE_FORCE : 0U;
    rc = stele_recover(cli->operands[0], &options, &recovery);
    cli_tick_done(cli);
    if (rc)
        return cli_fail(cli, cli->operands[0], rc);
    if (is_json)
        print_json(cli->operands[0], &recovery);
    else
        print_text(cli->operands[0], &recovery);
    return recovery.lost_last || recovery.damaged_count ? CLI_FINDINGS : CLI_DONE;
}

const struct cli_verb cmd_recover = { "recover", "replay the journal of a writer that died", usage, run };
