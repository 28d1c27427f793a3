#include "cli.h"
#include "data_file.h"
#include "system.h"
#include "value.h"

#include <inttypes.h>
#include <string.h>

static const char usage[] =
    "stele export FILE [OUT|-] --format csv|tsv|ndjson|raw [--range A..B] [--fields a,b] [--header]\n"
    "             [--null TEXT] [--invalid error|replace]\n"
    "\n"
    "Write the records of the store FILE to OUT (left out or -: to standard output). A file OUT that is\n"
    "there already is not overwritten; a new one is called OUT.partial until it is whole.\n"
    "\n"
    "  --format csv|tsv      a row a record, RFC 4180 quoting, LF; an array a[2] is two columns\n"
    "  --format ndjson       one JSON object a line; NaN and infinities are strings\n"
    "  --format raw          the bytes of the structs, one behind the other\n"
    "  --range A..B          records A to B, without B; A.., ..B; -1 is the last\n"
    "  --fields a,b          these fields only, in this order (not raw)\n"
    "  --header              csv, tsv: a first line with the names of the columns\n"
    "  --null TEXT           write NaN as TEXT (not raw)\n"
    "  --invalid error       stop at text that is not UTF-8 (as it is without this option)\n"
    "  --invalid replace     write U+FFFD for it\n"
    CLI_COMMON_USAGE
    "\n"
    "Example: stele export airports.stele airports.csv --format csv --header --fields name,city,country\n"
    "Exit: 0 done; 1 text that is not UTF-8, or no such records; 2 the command line is wrong; 3 the system\n"
    "or the store refuses, or OUT is there; 130 interrupted\n";

enum export_format { EXPORT_CSV, EXPORT_TSV, EXPORT_NDJSON, EXPORT_RAW };

/* Rows are collected to pieces of about this size before they are written. */
#define EXPORT_PIECE_BYTES ((size_t)256 << 10)

struct exporting {
    struct cli *cli;
    struct stele *store;
    const struct stele_schema *schema;
    struct cli_range range;
    int format, invalid;
    bool has_header;
    const char *fields, *null_text;
    struct value_selection selection;
    struct value_style style;
    struct data_target target;
    struct text piece;
    uint64_t first_index, end_index, next_index;
};

static const char *const formats[] = { "csv", "tsv", "ndjson", "raw", NULL };
static const char *const invalids[] = { "error", "replace", NULL };

static int check_options(const struct exporting *export)
{
    const struct cli *cli = export->cli;

    if (export->format < 0)
        return cli_usage_error(cli, "--format is missing: csv, tsv, ndjson or raw");
    if (export->has_header && export->format > EXPORT_TSV)
        return cli_usage_error(cli, "--header is for csv and tsv: %s has none", formats[export->format]);
    if (export->format != EXPORT_RAW)
        return CLI_DONE;
    if (export->fields)
        return cli_usage_error(cli, "--fields is for csv, tsv and ndjson: raw writes whole records");
    if (export->null_text)
        return cli_usage_error(cli, "--null is for csv, tsv and ndjson: raw writes the bytes as they are");
    if (export->invalid >= 0)
        return cli_usage_error(cli, "--invalid is for csv, tsv and ndjson: raw writes the bytes as they are");
    return CLI_DONE;
}

static int parse_options(struct exporting *export, int word_count, char **words)
{
    const struct cli_option table[] = {
        { "format", CLI_CHOICE, &export->format, formats },
        { "range", CLI_RANGE, &export->range, NULL },
        { "fields", CLI_TEXT, &export->fields, NULL },
        { "header", CLI_FLAG, &export->has_header, NULL },
        { "null", CLI_TEXT, &export->null_text, NULL },
        { "invalid", CLI_CHOICE, &export->invalid, invalids },
    };
    int rc = CLI_DONE;

    export->format = export->invalid = -1;
    rc = cli_parse(export->cli, table, sizeof table / sizeof table[0], word_count, words, 1, 2);
    return rc ? rc : check_options(export);
}

static int choose_records(struct exporting *export)
{
    uint64_t count = stele_count(export->store);

    if (cli_range_resolve(&export->range, count, &export->first_index, &export->end_index) == STELE_OK)
        return CLI_DONE;
    cli_message(export->cli, "--range: not all of these records are there: the store has %" PRIu64, count);
    return CLI_FINDINGS;
}

static int choose_fields(struct exporting *export)
{
    char error[VALUE_ERROR_BYTES];

    export->style.separator = export->format == EXPORT_TSV ? '\t' : ',';
    export->style.null_text = export->null_text;
    export->style.flags = export->invalid == 1 ? VALUE_REPLACE : 0;
    if (export->format == EXPORT_RAW)
        return CLI_DONE;
    if (value_select(export->schema, export->fields, export->format != EXPORT_NDJSON, &export->selection,
                     error))
        return cli_usage_error(export->cli, "--fields: %s", error);
    return CLI_DONE;
}

static void add_header(struct exporting *export)
{
    struct text name = { 0 };

    for (size_t i = 0; i < export->selection.part_count; i++) {
        if (i > 0)
            text_add_char(&export->piece, export->style.separator);
        text_clear(&name);
        value_part_name(export->schema, &export->selection.parts[i], &name);
        text_add_csv(&export->piece, name.bytes, name.length, export->style.separator, false);
    }
    text_add_char(&export->piece, '\n');
    text_done(&name);
}

static int fail_text(const struct exporting *export, size_t part_index)
{
    struct text name = { 0 };

    value_part_name(export->schema, &export->selection.parts[part_index], &name);
    cli_tick_done(export->cli);
    cli_message(export->cli,
                "record %" PRIu64
                ", field `%s`: the text is not UTF-8: --invalid replace writes U+FFFD for it, "
                "--format raw keeps it",
                export->next_index, name.bytes);
    text_done(&name);
    return CLI_FINDINGS;
}

static int flush(struct exporting *export)
{
    int rc = CLI_DONE;

    if (export->piece.length)
        rc = data_target_write(&export->target, export->cli, export->piece.bytes, export->piece.length);
    text_clear(&export->piece);
    return rc;
}

static int write_record(struct exporting *export, const void *record)
{
    size_t part_index = 0;
    int rc = STELE_OK;

    if (export->format == EXPORT_RAW) {
        text_add(&export->piece, record, (size_t)stele_schema_record_bytes(export->schema));
    } else {
        rc = (export->format == EXPORT_NDJSON ? value_print_object : value_print_cells)(
            export->schema, &export->selection, record, &export->style, &export->piece, &part_index);
        if (rc)
            return fail_text(export, part_index);
        text_add_char(&export->piece, '\n');
    }
    export->next_index++;
    return export->piece.length >= EXPORT_PIECE_BYTES ? flush(export) : CLI_DONE;
}

static int write_batch(struct exporting *export, const uint8_t *records, size_t record_count)
{
    size_t record_bytes = (size_t)stele_schema_record_bytes(export->schema);
    int rc = CLI_DONE;

    for (size_t i = 0; !rc && i < record_count; i++)
        rc = cli_interrupted() ? CLI_INTERRUPTED : write_record(export, records + i * record_bytes);
    if (!rc && cli_tick(export->cli, export->next_index - export->first_index,
                        export->end_index - export->first_index) != 0)
        rc = CLI_INTERRUPTED;
    return rc;
}

static int write_records(struct exporting *export)
{
    const char *path = export->cli->operands[0];
    struct stele_cursor *cursor = NULL;
    const void *records = NULL;
    size_t record_count = 0;
    int exit_code = CLI_DONE;
    int rc = stele_cursor_open(export->store, export->first_index, export->end_index - export->first_index,
                               &cursor);

    export->next_index = export->first_index;
    if (export->has_header)
        add_header(export);
    while (!rc && !exit_code) {
        rc = stele_cursor_next(cursor, &records, &record_count);
        if (!rc)
            exit_code = write_batch(export, records, record_count);
    }
    if (rc < 0)
        exit_code = cli_fail(export->cli, path, rc);
    if (!exit_code)
        exit_code = flush(export);
    cli_tick_done(export->cli);
    stele_cursor_close(cursor);
    return exit_code;
}

static int export_to(struct exporting *export, const char *out_path)
{
    int rc = choose_records(export);

    if (!rc)
        rc = choose_fields(export);
    if (!rc)
        rc = data_target_open(&export->target, export->cli, out_path);
    if (!rc)
        rc = write_records(export);
    if (!rc)
        return data_target_commit(&export->target, export->cli);
    if (rc == CLI_INTERRUPTED)
        cli_message(export->cli, "interrupted after %" PRIu64 " of %" PRIu64 " records%s",
                    export->next_index - export->first_index, export->end_index - export->first_index,
                    export->target.partial_path ? ": no file is left" : "");
    return rc;
}

static int run(struct cli *cli, int word_count, char **words)
{
    struct exporting export = { .cli = cli };
    int rc = parse_options(&export, word_count, words);

    if (rc)
        return rc;
    cli->progress.unit = "records";
    rc = cli_open(cli, cli->operands[0], STELE_READ_ONLY, &export.store);
    if (rc)
        return rc;
    export.schema = stele_schema_of(export.store);
    rc = export_to(&export, cli->operand_count > 1 ? cli->operands[1] : NULL);
    data_target_discard(&export.target);
    text_done(&export.piece);
    value_selection_done(&export.selection);
    return cli_close(cli, cli->operands[0], export.store, rc);
}

const struct cli_verb cmd_export = {
    .name = "export",
    .summary = "write records as CSV, TSV, NDJSON or raw structs",
    .usage = usage,
    .run = run,
};
