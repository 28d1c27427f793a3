#include "cli.h"
#include "system.h"
#include "value.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "stele get FILE INDEX|A..B ... [--format text|json|csv|raw] [--fields a,b]\n"
    "\n"
    "Print records. Never writes to the file.\n"
    "\n"
    "  INDEX                 from 0; negative ones count from the end: -1 is the last record\n"
    "  A..B, A.., ..B        records A to B - 1\n"
    "  --format FORMAT       text: for people (the default); json: an object a line; csv: a row a line,\n"
    "                        array elements in columns of their own; raw: the bytes as they are stored\n"
    "  --fields a,b          only these, in this order: name, name[2], point.x\n"
    CLI_COMMON_USAGE
    "\n"
    "Example: stele get members.stele 0 10..20 -1 --format csv --fields id,name\n"
    "Exit: 0 done; 1 no such record, or text that is not UTF-8 (json, csv); 2 no such field; 3 the store\n"
    "cannot be read\n";

enum format { FORMAT_TEXT, FORMAT_JSON, FORMAT_CSV, FORMAT_RAW };
static const char *const format_names[] = { "text", "json", "csv", "raw", NULL };

struct getter {
    struct cli *cli;
    struct stele *store;
    const struct stele_schema *schema;
    int format;
    const char *field_list;
    struct value_selection selection;
    struct text line;
};

static void print_text(struct getter *getter, uint64_t index, const void *record)
{
    text_add_format(&getter->line, "record %" PRIu64 "\n", index);
    for (size_t i = 0; i < getter->selection.part_count; i++) {
        text_add_string(&getter->line, "  ");
        value_part_name(getter->schema, &getter->selection.parts[i], &getter->line);
        text_add_string(&getter->line, " = ");
        value_print_part(getter->schema, &getter->selection.parts[i], record, VALUE_SHOWN, 0, &getter->line);
        text_add_char(&getter->line, '\n');
    }
}

static void print_raw(struct getter *getter, const unsigned char *record)
{
    if (!getter->field_list)
        text_add(&getter->line, record, (size_t)stele_schema_record_bytes(getter->schema));
    for (size_t i = 0; getter->field_list && i < getter->selection.part_count; i++) {
        const struct value_part *part = &getter->selection.parts[i];
        const struct stele_field *field = stele_schema_field(getter->schema, part->field_index);
        uint64_t element_bytes = value_element_bytes(field);

        text_add(&getter->line, record + field->offset + part->first_element * element_bytes,
                 (size_t)(part->element_count * element_bytes));
    }
}

static int print_record(struct getter *getter, uint64_t index, const void *record)
{
    const struct value_style style = { .separator = ',' };
    size_t bad_part = 0;
    int rc = STELE_OK;

    text_clear(&getter->line);
    if (getter->format == FORMAT_TEXT) {
        print_text(getter, index, record);
    } else if (getter->format == FORMAT_RAW) {
        print_raw(getter, record);
    } else {
        rc = (getter->format == FORMAT_JSON ? value_print_object : value_print_cells)(
            getter->schema, &getter->selection, record, &style, &getter->line, &bad_part);
        text_add_char(&getter->line, '\n');
    }
    if (rc) {
        text_clear(&getter->line);
        value_part_name(getter->schema, &getter->selection.parts[bad_part], &getter->line);
        cli_message(getter->cli, "record %" PRIu64 ", field %s: the text is not UTF-8; --format text shows "
                    "it, raw gives the bytes", index, getter->line.bytes);
        return CLI_FINDINGS;
    }
    errno = 0;
    if (fwrite(getter->line.bytes, 1, getter->line.length, stdout) != getter->line.length)
        getter->cli->output_code = cli_file_write_code(stdout);
    return CLI_DONE;
}

static int print_range(struct getter *getter, uint64_t first, uint64_t end)
{
    const unsigned char *records = NULL;
    struct stele_cursor *cursor = NULL;
    size_t count = 0;
    int exit_code = CLI_DONE;
    int rc = stele_cursor_open(getter->store, first, end - first, &cursor);

    while (!rc && first < end) {
        rc = stele_cursor_next(cursor, (const void **)&records, &count);
        for (size_t i = 0; !rc && i < count && !ferror(stdout); i++) {
            int code = print_record(getter, first + i,
                                    records + i * stele_schema_record_bytes(getter->schema));

            exit_code = code ? code : exit_code;
            if (cli_interrupted())
                rc = STELE_E_INTERRUPTED;
        }
        first += count;
        if (ferror(stdout))
            break;
    }
    stele_cursor_close(cursor);
    if (rc == STELE_END || rc == STELE_E_RANGE) {
        cli_message(getter->cli, "%s: the store was cut meanwhile; records from %" PRIu64 " on are gone",
                    getter->cli->operands[0], first);
        return CLI_FINDINGS;
    }
    return rc ? cli_fail(getter->cli, getter->cli->operands[0], rc) : exit_code;
}

static int print_ranges(struct getter *getter, const struct cli_range *ranges, size_t range_count)
{
    struct cli *cli = getter->cli;
    int exit_code = CLI_DONE;

    for (size_t i = 0; i < range_count && exit_code <= CLI_FINDINGS; i++) {
        uint64_t count = stele_count(getter->store), first = 0, end = 0;
        int range_rc = cli_range_resolve(&ranges[i], count, &first, &end);
        int code = first < end ? print_range(getter, first, end) : CLI_DONE;

        exit_code = code ? code : exit_code;
        if (range_rc && exit_code <= CLI_FINDINGS) {
            cli_message(cli, "%s: no record %s; the store has %" PRIu64, cli->operands[0],
                        cli->operands[i + 1], count);
            exit_code = CLI_FINDINGS;
        }
    }
    return exit_code;
}

static int get(struct getter *getter, const struct cli_range *ranges)
{
    char error[VALUE_ERROR_BYTES];

    getter->schema = stele_schema_of(getter->store);
    if (value_select(getter->schema, getter->field_list, getter->format == FORMAT_CSV, &getter->selection,
                     error))
        return cli_usage_error(getter->cli, "--fields: %s", error);
    return print_ranges(getter, ranges, getter->cli->operand_count - 1);
}

static int read_ranges(const struct cli *cli, struct cli_range *ranges)
{
    for (size_t i = 1; i < cli->operand_count; i++)
        if (cli_range(cli->operands[i], &ranges[i - 1]))
            return cli_usage_error(cli, "\"%s\" is no index and no range; give 7, -1, A..B, A.. or ..B, "
                                   "B not before A", cli->operands[i]);
    return CLI_DONE;
}

static int run(struct cli *cli, int word_count, char **words)
{
    struct getter getter = { .cli = cli, .format = FORMAT_TEXT };
    const struct cli_option options[] = {
        { "format", CLI_CHOICE, &getter.format, format_names },
        { "fields", CLI_TEXT, &getter.field_list, NULL },
    };
    struct cli_range *ranges = NULL;
    int exit_code = cli_parse(cli, options, 2, word_count, words, 2, SIZE_MAX);

    if (exit_code)
        return exit_code;
    ranges = cli_allocate((cli->operand_count - 1) * sizeof *ranges);
    exit_code = read_ranges(cli, ranges);
    if (!exit_code)
        exit_code = cli_open(cli, cli->operands[0], STELE_READ_ONLY, &getter.store);
    if (!exit_code)
        exit_code = get(&getter, ranges);
    value_selection_done(&getter.selection);
    text_done(&getter.line);
    free(ranges);
    return getter.store ? cli_close(cli, cli->operands[0], getter.store, exit_code) : exit_code;
}

const struct cli_verb cmd_get = { "get", "print records", usage, run };
