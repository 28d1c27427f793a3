#include "cli.h"
#include "json_out.h"
#include "names.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const char usage[] =
    "stele verify FILE [--json] [--max N] [--jobs N]\n"
    "\n"
    "Check headers, schema, journal and the sum of every block. Never writes to the file.\n"
    "\n"
    "  --max N               list at most N damaged blocks (100); all are counted\n"
    "  --jobs N              check with N threads (1), 64 at most; what is printed is the same\n"
    "  --json                one object with the keys\n"
    "                          file; sound: true or false; error: null, or why the check ended early;\n"
    "                          blocks, records, bytes: checked; never_written_blocks;\n"
    "                          damaged_blocks, known_damaged_blocks, unreadable_blocks;\n"
    "                          first_damaged_block: a number or null;\n"
    "                          file_damage: a list of \"header slot A\", \"header slot B\", \"schema\",\n"
    "                          \"journal\", \"slack\" (bytes that must be zero are not);\n"
    "                          damage: a list of objects with block, kind (sum: bytes and sum differ;\n"
    "                          known: marked earlier; unreadable; cut: the file ends before it or its sum),\n"
    "                          first_record, record_count, file_offset, bytes, stored_word, computed_word\n"
    CLI_COMMON_USAGE
    "\n"
    "Example: stele verify members.stele --json --max 10\n"
    "Exit: 0 sound; 1 damage was found; 3 not a store, or it cannot be read; 130 interrupted\n";

struct check {
    struct cli *cli;
    bool is_json;
    uint64_t listed_count_max, listed_count;
    struct json_out json; /* the list of damage */
};

static void print_damage(const struct check *check, const struct stele_damage *damage)
{
    static const char *const sentences[] = {
        "", "its bytes do not fit its sum", "marked as damaged earlier", "the system cannot read it",
        "the file ends before it or its sum"
    };

    cli_tick_done(check->cli);
    printf("block %" PRIu64 ", records %" PRIu64 "..%" PRIu64 ", %" PRIu64 " bytes at %" PRIu64 ": %s\n",
           damage->block_index, damage->first_index, damage->first_index + damage->record_count,
           damage->bytes, damage->file_offset,
           sentences[damage->kind <= STELE_DAMAGE_CUT ? damage->kind : 0]);
}

static int on_damage(void *context, const struct stele_damage *damage)
{
    struct check *check = context;
    struct json_out *json = &check->json;

    if (check->listed_count == check->listed_count_max)
        return 0;
    check->listed_count++;
    if (!check->is_json) {
        print_damage(check, damage);
        return 0;
    }
    json_begin(json, NULL, '{');
    json_number(json, "block", damage->block_index);
    json_string(json, "kind", name_of_damage(damage->kind));
    json_number(json, "first_record", damage->first_index);
    json_number(json, "record_count", damage->record_count);
    json_number(json, "file_offset", damage->file_offset);
    json_number(json, "bytes", damage->bytes);
    json_number(json, "stored_word", damage->stored_word);
    json_number(json, "computed_word", damage->computed_word);
    json_end(json, '}');
    return 0;
}

static void print_json(struct check *check, const struct stele_verify_report *report, int rc,
                       const char *error)
{
    struct json_out json = { 0 };

    json_begin(&json, NULL, '{');
    json_string(&json, "file", check->cli->operands[0]);
    json_bool(&json, "sound", !rc);
    if (error)
        json_string(&json, "error", error);
    else
        json_null(&json, "error");
    json_number(&json, "blocks", report->block_count);
    json_number(&json, "records", report->record_count);
    json_number(&json, "bytes", report->bytes);
    json_number(&json, "never_written_blocks", report->never_written_count);
    json_number(&json, "damaged_blocks", report->damaged_count);
    json_number(&json, "known_damaged_blocks", report->known_count);
    json_number(&json, "unreadable_blocks", report->unreadable_count);
    if (report->damaged_count)
        json_number(&json, "first_damaged_block", report->first_damaged_block);
    else
        json_null(&json, "first_damaged_block");
    names_json_file_damage(report->file_damage, "file_damage", &json);
    json_begin(&json, "damage", '[');
    text_add(&json.text, check->json.text.bytes, check->json.text.length);
    json.is_filled = check->listed_count > 0;
    json_end(&json, ']');
    json_end(&json, '}');
    json_print(&json);
}

static void print_text(const struct check *check, const struct stele_verify_report *report)
{
    const char *path = check->cli->operands[0];
    uint32_t bits = report->file_damage;

    for (; bits; bits &= bits - 1)
        printf("%s: damaged\n", name_of_file_damage(bits & (0 - bits)));
    if (report->damaged_count > check->listed_count)
        printf("and %" PRIu64 " more blocks; --max %" PRIu64 " lists all\n",
               report->damaged_count - check->listed_count, report->damaged_count);
    printf("%s: %" PRIu64 " records in %" PRIu64 " blocks checked, %" PRIu64 " damaged%s\n", path,
           report->record_count, report->block_count, report->damaged_count,
           report->file_damage ? ", and the file itself as listed" : "");
}

/* Damage is what was asked for, not a refusal, also when it keeps the store from being opened. */
static int finish(struct check *check, const struct stele_verify_report *report, int rc)
{
    bool is_finding = rc == STELE_E_DAMAGED || rc == STELE_E_TRUNCATED;
    bool is_whole = !rc || (rc == STELE_E_DAMAGED && (report->damaged_count || report->file_damage));
    char error[sizeof stele_last_error()->text] = { 0 };
    int exit_code = CLI_DONE;

    if (!is_whole)
        snprintf(error, sizeof error, "%s", stele_last_error()->text);
    if (rc == STELE_E_INTERRUPTED)
        cli_message(check->cli,
                    "%s: interrupted: %" PRIu64 " records in %" PRIu64 " blocks checked, %" PRIu64
                    " damaged; the rest was not looked at",
                    check->cli->operands[0], report->record_count, report->block_count,
                    report->damaged_count);
    else if (!is_whole)
        exit_code = cli_fail(check->cli, check->cli->operands[0], rc);
    if (check->is_json && (is_whole || is_finding || rc == STELE_E_INTERRUPTED))
        print_json(check, report, rc, is_whole ? NULL : error);
    else if (is_whole)
        print_text(check, report);
    if (rc == STELE_E_INTERRUPTED)
        exit_code = CLI_INTERRUPTED;
    return is_finding ? CLI_FINDINGS : exit_code;
}

static int run(struct cli *cli, int word_count, char **words)
{
    struct check check = { .cli = cli, .listed_count_max = 100, .json = { .depth = 2 } };
    uint64_t jobs = 1;
    const struct cli_option table[] = {
        { "jobs", CLI_NUMBER, &jobs, NULL },
        { "json", CLI_FLAG, &check.is_json, NULL },
        { "max", CLI_NUMBER, &check.listed_count_max, NULL },
    };
    struct stele_verify_options options = STELE_VERIFY_OPTIONS_INIT;
    struct stele_verify_report report = STELE_VERIFY_REPORT_INIT;
    struct stele *store = NULL;
    int rc = STELE_OK, exit_code = cli_parse(cli, table, 3, word_count, words, 1, 1);

    if (exit_code)
        return exit_code;
    if (jobs == 0 || jobs > 64)
        return cli_usage_error(cli, "--jobs %" PRIu64 ": 1 to 64 threads", jobs);
    options.jobs = (uint32_t)jobs;
    options.damaged = on_damage;
    options.damaged_context = &check;
    options.progress = cli_tick;
    options.progress_context = cli;
    text_add_string(&check.json.text, "");
    rc = cli_try_open(cli, cli->operands[0], STELE_READ_ONLY, &store);
    if (!rc)
        rc = stele_verify(store, &options, &report);
    cli_tick_done(cli);
    exit_code = finish(&check, &report, rc);
    text_done(&check.json.text);
    return cli_close(cli, cli->operands[0], store, exit_code);
}

const struct cli_verb cmd_verify = { "verify", "check all sums; names what is damaged", usage, run };
