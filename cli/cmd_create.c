#include "cli.h"
#include "data_file.h"
#include "system.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "stele create FILE (--struct TEXT | --struct-file HEADER [--name STRUCT]) [--pack N] [--capacity N]\n"
    "             [--journal SIZE] [--sparse] [--mode 0600] [--force]\n"
    "\n"
    "Create an empty store of records that look like a C struct.\n"
    "\n"
    "  --struct TEXT         the C declaration itself\n"
    "  --struct-file HEADER  a file with C declarations; - is standard input\n"
    "  --name STRUCT         which struct of the text; else the only or the last one\n"
    "  --pack N              lay it out as under #pragma pack(N): 1, 2, 4, 8 or 16; else naturally aligned\n"
    "  --capacity N          records to allocate room for; appends grow it anyway\n"
    "  --journal SIZE        bytes of the journal ring, 16K to 128M; else chosen from record and capacity\n"
    "  --sparse              allocate disk when records are first written, not now\n"
    "  --mode 0600           permissions of the file; on Windows those of its folder hold\n"
    "  --force               replace a store that is there\n"
    CLI_COMMON_USAGE
    "\n"
    "N and SIZE take K, M, G, T: powers of 1024.\n"
    "\n"
    "Example: stele create members.stele --struct 'struct Member { char id[256]; char name[256]; };'\n"
    "Exit: 0 done; 2 the declaration cannot be stored, or a size is out of range; 3 the file is there, or\n"
    "the system refuses\n";

enum { HEADER_BYTES_MAX = 64 << 20 };

struct arguments {
    const char *text, *header_path, *struct_name;
    uint64_t pack, capacity, journal_bytes;
    bool is_sparse, is_forced;
    uint32_t permissions;
};

/* Editors of some systems put a byte order mark before everything. */
static const char *without_mark(const char *text)
{
    return strncmp(text, "\xef\xbb\xbf", 3) ? text : text + 3;
}

static int parse_schema(struct cli *cli, const struct arguments *arguments, struct stele_schema **out)
{
    const char *where = arguments->text ? "--struct" : arguments->header_path;
    char *content = NULL;
    size_t content_bytes = 0, text_bytes = 0;
    int rc = STELE_OK;

    if (!arguments->text) {
        int system_code = data_file_whole(where, HEADER_BYTES_MAX, &content, &content_bytes);

        if (system_code == EINTR && cli_interrupted()) {
            cli_message(cli, "interrupted; nothing was created");
            return CLI_INTERRUPTED;
        }
        if (system_code)
            return cli_refuse_system(cli, system_code, "%s: the declarations cannot be read", where);
        text_bytes = strlen(content);
        if (text_bytes < content_bytes) {
            free(content);
            return cli_usage_error(cli, "%s: not a text of C declarations, byte %zu is zero", where,
                                   text_bytes);
        }
    }
    rc = stele_schema_parse(arguments->text ? arguments->text : without_mark(content), arguments->struct_name,
                            (uint32_t)arguments->pack, out);
    free(content);
    if (!rc)
        return CLI_DONE;
    cli_fail(cli, where, rc);
    return rc == STELE_E_NOMEM ? CLI_REFUSED : CLI_USAGE;
}

static int create(struct cli *cli, const struct arguments *arguments, const struct stele_schema *schema)
{
    struct stele_options options = cli_store_options(cli, STELE_READ_WRITE);
    const char *path = cli->operands[0];
    struct stele *store = NULL;
    int rc = STELE_OK, exit_code = CLI_DONE;

    options.flags = (arguments->is_sparse ? STELE_SPARSE : 0U) | (arguments->is_forced ? STELE_FORCE : 0U);
    options.permissions = arguments->permissions;
    options.capacity_records = arguments->capacity;
    options.journal_bytes = arguments->journal_bytes;
    options.schema = schema;
    rc = stele_create(path, &options, &store);
    cli_tick_done(cli);
    if (rc) {
        exit_code = cli_fail(cli, path, rc);
        return rc == STELE_E_TOO_BIG ? CLI_USAGE : exit_code;
    }
    cli_notice(cli, "%s: created, struct %s, %" PRIu64 " %s a record", path, stele_schema_name(schema),
               stele_schema_record_bytes(schema), stele_schema_record_bytes(schema) == 1 ? "byte" : "bytes");
    return cli_close(cli, path, store, CLI_DONE);
}

static int check_arguments(const struct cli *cli, const struct arguments *arguments)
{
    uint64_t pack = arguments->pack;

    if (!arguments->text == !arguments->header_path)
        return cli_usage_error(cli, arguments->text ? "--struct and --struct-file: give one of them"
                                                    : "--struct TEXT or --struct-file HEADER is missing");
    if (pack > 16 || (pack & (pack - 1)))
        return cli_usage_error(cli, "--pack: %" PRIu64 " is none of 1, 2, 4, 8, 16", pack);
    return CLI_DONE;
}

static int run(struct cli *cli, int word_count, char **words)
{
    struct arguments arguments = { 0 };
    const struct cli_option options[] = {
        { "struct", CLI_TEXT, &arguments.text, NULL },
        { "struct-file", CLI_TEXT, &arguments.header_path, NULL },
        { "name", CLI_TEXT, &arguments.struct_name, NULL },
        { "pack", CLI_NUMBER, &arguments.pack, NULL },
        { "capacity", CLI_SIZE, &arguments.capacity, NULL },
        { "journal", CLI_SIZE, &arguments.journal_bytes, NULL },
        { "sparse", CLI_FLAG, &arguments.is_sparse, NULL },
        { "mode", CLI_MODE, &arguments.permissions, NULL },
        { "force", CLI_FLAG, &arguments.is_forced, NULL },
    };
    struct stele_schema *schema = NULL;
    int exit_code = cli_parse(cli, options, sizeof options / sizeof options[0], word_count, words, 1, 1);

    if (!exit_code)
        exit_code = check_arguments(cli, &arguments);
    if (!exit_code)
        exit_code = parse_schema(cli, &arguments, &schema);
    if (!exit_code)
        exit_code = create(cli, &arguments, schema);
    stele_schema_free(schema);
    return exit_code;
}

const struct cli_verb cmd_create = { "create", "create an empty store from a C struct", usage, run };
