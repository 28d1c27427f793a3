#include "cli.h"
#include "columns.h"
#include "data_file.h"
#include "load.h"
#include "rows.h"

#include <inttypes.h>
#include <string.h>

static const char usage[] =
    "stele import FILE DATA|- --format csv|tsv|ndjson|raw [--header] [--columns a,b,-,c] [--null TEXT]\n"
    "             [--overflow error|truncate] [--on-error stop|skip] [--skip-rows N]\n"
    "             [--async]\n"
    "\n"
    "Append the records in DATA (- for standard input) to the store FILE.\n"
    "\n"
    "  --format csv|tsv      RFC 4180 quoting, strictly; LF or CR LF\n"
    "  --format ndjson       a JSON object a line; missing keys are zero, unknown ones an error\n"
    "  --format raw          the bytes of the structs, one behind the other; padding is stored as zeros\n"
    "  --header              csv, tsv: the first line names the columns; with --columns it is passed over\n"
    "  --columns a,b,-,c     csv, tsv: what each column is, - for none; an array a[2] is two columns, a[0]\n"
    "                        and a[1]; without --header and --columns: all fields in order\n"
    "  --null TEXT           a cell TEXT becomes zero, empty text, or NaN; in quotes and for a text field\n"
    "                        it is a text like any other; ndjson: as null, in fields that are not text\n"
    "  --overflow error      text longer than its field is refused (the default)\n"
    "  --overflow truncate   such text is cut, between two characters\n"
    "  --on-error stop       stop at the first row that does not fit (the default)\n"
    "  --on-error skip       leave such rows out, and say why, for the first ten\n"
    "  --skip-rows N         leave out the first N rows: go on where an import stopped\n"
    "  --async               sync at the end, not after each batch: a power failure may take the last ones\n"
    CLI_COMMON_USAGE
    "\n"
    "Rows are stored in batches; stopped or failed, import says how many rows are in, and the --skip-rows\n"
    "that continues. A row is stored whole or not at all; a line that is malformed counts as one. After a\n"
    "kill, N is the records that `stele info` shows less those there were before, plus the rows skipped.\n"
    "\n"
    "Example: stele import airports.stele airports.dat --format csv --null '\\N'\n"
    "Exit: 0 all rows are in; 1 rows were skipped or refused; 2 the command line is wrong; 3 the system or\n"
    "the store refuses; 130 interrupted\n";

struct import_options {
    int format, overflow, on_error;
    bool has_header;
    const char *columns, *null_text;
    uint64_t skip_rows;
    bool is_async;
};

static const char *const formats[] = { "csv", "tsv", "ndjson", "raw", NULL };
static const char *const overflows[] = { "error", "truncate", NULL };
static const char *const on_errors[] = { "stop", "skip", NULL };

static int check_options(const struct cli *cli, const struct import_options *options)
{
    bool is_table = options->format == ROWS_CSV || options->format == ROWS_TSV;

    if (options->format < 0)
        return cli_usage_error(cli, "--format is missing: csv, tsv, ndjson or raw");
    if (!is_table && options->has_header)
        return cli_usage_error(cli, "--header is for csv and tsv: %s has none", formats[options->format]);
    if (!is_table && options->columns)
        return cli_usage_error(cli, "--columns is for csv and tsv: %s has none", formats[options->format]);
    if (options->format == ROWS_RAW && options->null_text)
        return cli_usage_error(cli, "--null is for csv, tsv and ndjson: raw records have no text");
    if (options->format == ROWS_RAW && options->overflow >= 0)
        return cli_usage_error(cli, "--overflow is for csv, tsv and ndjson: raw records have no text");
    return CLI_DONE;
}

static int parse_options(struct cli *cli, int word_count, char **words, struct import_options *out)
{
    const struct cli_option table[] = {
        { "format", CLI_CHOICE, &out->format, formats },
        { "header", CLI_FLAG, &out->has_header, NULL },
        { "columns", CLI_TEXT, &out->columns, NULL },
        { "null", CLI_TEXT, &out->null_text, NULL },
        { "overflow", CLI_CHOICE, &out->overflow, overflows },
        { "on-error", CLI_CHOICE, &out->on_error, on_errors },
        { "skip-rows", CLI_NUMBER, &out->skip_rows, NULL },
        { "async", CLI_FLAG, &out->is_async, NULL },
    };
    int rc = CLI_DONE;

    memset(out, 0, sizeof *out);
    out->format = out->overflow = out->on_error = -1;
    rc = cli_parse(cli, table, sizeof table / sizeof table[0], word_count, words, 2, 2);
    return rc ? rc : check_options(cli, out);
}

/* Odd bytes at the end are seen before anything is stored, where the size is known. */
static int check_raw_size(const struct cli *cli, const struct data_source *source, uint64_t record_bytes)
{
    uint64_t odd_bytes = source->total_bytes % record_bytes;

    if (odd_bytes == 0)
        return CLI_DONE;
    cli_message(cli,
                "%s has %" PRIu64 " bytes: %" PRIu64 " records of %" PRIu64 " bytes, and %" PRIu64
                " odd bytes at the end: is it an array of this struct? Nothing is stored",
                source->name, source->total_bytes, source->total_bytes / record_bytes, record_bytes,
                odd_bytes);
    return CLI_FINDINGS;
}

static void tell_nulls(const struct cli *cli, const struct rows *rows)
{
    const struct stele_schema *schema = rows->options.schema;
    struct text line = { 0 };

    for (size_t i = 0; i < stele_schema_field_count(schema); i++)
        if (rows->null_counts[i])
            text_add_format(&line, "%s`%s` %" PRIu64, line.length ? ", " : "",
                            stele_schema_field(schema, i)->name, rows->null_counts[i]);
    if (line.length)
        cli_notice(cli, "nulls: %s", line.bytes);
    text_done(&line);
}

static void tell_summary(const struct cli *cli, const struct load *load)
{
    const struct rows *rows = load->rows;

    cli_notice(cli, "%" PRIu64 " rows read, %" PRIu64 " stored, %" PRIu64 " skipped",
               load->row_count - load->passed_count, load->stored_count, load->skipped_count);
    if (load->skipped_count > LOAD_REASONS_SHOWN)
        cli_notice(cli, "of the skipped rows the first %d are named above", LOAD_REASONS_SHOWN);
    tell_nulls(cli, rows);
    if (rows->padding_bytes)
        cli_notice(cli,
                   "padding, %zu bytes a record, is stored as zeros; it was not zero in %" PRIu64 " records",
                   rows->padding_bytes, rows->padded_count);
}

/* How far it got, and how to go on. */
static void tell_stopped(const struct cli *cli, const struct load *load)
{
    cli_message(cli,
                "stopped: %" PRIu64 " rows are in, %" PRIu64 " of them stored by this run and %" PRIu64
                " skipped; --skip-rows %" PRIu64 " continues",
                load->row_count_in, load->stored_count, load->skipped_count, load->row_count_in);
    if (load->is_in_doubt)
        cli_message(cli,
                    "the next %zu rows may be in as well: if `stele info` shows %" PRIu64
                    " records more than before this run, --skip-rows %" PRIu64 " continues",
                    load->batch_count, load->stored_count + load->batch_count, load->row_count);
}

static int fail_source(const struct cli *cli, const struct data_source *source, int code)
{
    if (code == STELE_E_INTERRUPTED)
        return CLI_INTERRUPTED;
    if (code == STELE_E_NOMEM)
        return cli_refuse(cli, "out of memory");
    return cli_refuse_system(cli, source->system_code, "%s cannot be read", source->name);
}

static int run_load(struct cli *cli, struct load *load, const struct import_options *options,
                    const struct data_source *source)
{
    bool is_store = false;
    int rc = load_pass(load, options->skip_rows);

    if (rc == STELE_END) {
        cli_tick_done(cli);
        cli_message(cli, "%s has %" PRIu64 " rows: --skip-rows %" PRIu64 " leaves none", source->name,
                    load->passed_count, options->skip_rows);
        return CLI_FINDINGS;
    }
    cli_tick_done(cli); /* rows passed over say nothing about how fast rows are stored */
    if (!rc)
        rc = load_run(load, &is_store);
    cli_tick_done(cli);
    if (!rc) {
        tell_summary(cli, load);
        return load->skipped_count ? CLI_FINDINGS : CLI_DONE;
    }
    if (rc == STELE_E_FORMAT)
        rc = CLI_FINDINGS;
    else
        rc = is_store ? cli_fail(cli, cli->operands[0], rc) : fail_source(cli, source, rc);
    tell_stopped(cli, load);
    return rc;
}

static int open_rows(const struct cli *cli, const struct rows_options *options, struct data_source *source,
                     struct rows *out)
{
    int rc = rows_init(out, options, data_source_read, source);

    if (rc == STELE_E_FORMAT) {
        cli_message(cli, "%s:%" PRIu64 ":%" PRIu64 ": %s", source->name, out->problem.place.line,
                    out->problem.place.column, out->problem.text);
        return CLI_FINDINGS;
    }
    return rc ? fail_source(cli, source, rc) : CLI_DONE;
}

static int import_into(struct cli *cli, struct stele *store, const struct import_options *options,
                       struct data_source *source)
{
    struct rows_options rows_options = {
        .schema = stele_schema_of(store),
        .format = (enum rows_format)options->format,
        .has_header = options->has_header,
        .null_text = options->null_text,
        .flags = options->overflow == 1 ? VALUE_TRUNCATE : 0,
    };
    struct columns columns = { 0 };
    struct rows rows = { 0 };
    struct load load = { 0 };
    char error[VALUE_ERROR_BYTES];
    int rc = CLI_DONE;

    if (options->format == ROWS_RAW)
        rc = check_raw_size(cli, source, stele_schema_record_bytes(rows_options.schema));
    if (rc)
        return rc;
    if (columns_from_list(rows_options.schema, options->columns, &columns, error) != STELE_OK)
        return cli_usage_error(cli, "--columns: %s", error);
    if (options->columns || !options->has_header)
        rows_options.columns = &columns;
    rc = open_rows(cli, &rows_options, source, &rows);
    if (rc)
        goto out;
    load_init(&load, cli, store, &rows, source->name);
    load.total_bytes = source->total_bytes;
    load.skips_refused = options->on_error == 1;
    if (options->is_async)
        load_asynchronously(&load);
    rc = run_load(cli, &load, options, source);
out:
    load_done(&load);
    rows_done(&rows);
    columns_done(&columns);
    return rc;
}

static int run(struct cli *cli, int word_count, char **words)
{
    struct import_options options;
    struct data_source source = { 0 };
    struct stele *store = NULL;
    int rc = parse_options(cli, word_count, words, &options);

    if (rc)
        return rc;
    rc = data_source_open(&source, cli, cli->operands[1]);
    if (rc)
        goto out;
    rc = cli_open(cli, cli->operands[0], STELE_READ_WRITE, &store);
    if (rc)
        goto out;
    rc = import_into(cli, store, &options, &source);
out:
    data_source_close(&source);
    return store ? cli_close(cli, cli->operands[0], store, rc) : rc;
}

const struct cli_verb cmd_import = {
    .name = "import",
    .summary = "append records from CSV, TSV, NDJSON or raw structs",
    .usage = usage,
    .run = run,
};
