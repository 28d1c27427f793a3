#include "cli.h"
#include "schema_out.h"

#include <stdio.h>

static const char usage[] =
    "stele schema FILE [--as c|json|numpy]\n"
    "\n"
    "Print what a record looks like. Never writes to the file.\n"
    "\n"
    "  --as c                C declarations with the same layout (the default)\n"
    "  --as json             an object with the keys\n"
    "                          name, record_bytes, pack (of #pragma pack; 0: natural),\n"
    "                          fields: a list of objects with name, type (i8 u8 i16 u16 i32 u32 i64 u64\n"
    "                          f32 f64 bool text bytes), offset, element_bytes, dims (a list, outermost\n"
    "                          first), and for enums constants: an object of name and value\n"
    "  --as numpy            a Python expression, numpy.dtype({...}), for numpy.memmap at the offset of the\n"
    "                        records that `stele info` prints\n"
    CLI_COMMON_USAGE
    "\n"
    "Example: stele schema members.stele --as c > members.h\n"
    "Exit: 0 done; 1 --as c: no C struct under one #pragma pack has this layout, a comment says what it is;\n"
    "3 the store cannot be read\n";

enum language { AS_C, AS_JSON, AS_NUMPY };
static const char *const languages[] = { "c", "json", "numpy", NULL };

static int print_c(const struct cli *cli, const struct stele_schema *schema, struct text *text)
{
    if (!schema_out_c(schema, text))
        return CLI_DONE;
    cli_message(cli, "%s: no C struct under one #pragma pack has this layout; --as json gives it exactly",
                cli->operands[0]);
    return CLI_FINDINGS;
}

static int run(struct cli *cli, int word_count, char **words)
{
    int language = AS_C;
    const struct cli_option options[] = { { "as", CLI_CHOICE, &language, languages } };
    struct stele *store = NULL;
    struct json_out json = { 0 };
    struct text text = { 0 };
    int exit_code = cli_parse(cli, options, 1, word_count, words, 1, 1);

    if (!exit_code)
        exit_code = cli_open(cli, cli->operands[0], STELE_READ_ONLY, &store);
    if (exit_code)
        return exit_code;
    if (language == AS_JSON) {
        schema_out_json(stele_schema_of(store), NULL, &json);
        json_print(&json);
    } else {
        if (language == AS_NUMPY)
            schema_out_numpy(stele_schema_of(store), &text);
        else
            exit_code = print_c(cli, stele_schema_of(store), &text);
        fwrite(text.bytes, 1, text.length, stdout);
        text_done(&text);
    }
    return cli_close(cli, cli->operands[0], store, exit_code);
}

const struct cli_verb cmd_schema = { "schema", "print the record as C, JSON or NumPy", usage, run };
