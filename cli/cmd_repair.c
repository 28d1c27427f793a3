#include "cli.h"
#include "json_out.h"
#include "names.h"
#include "repairs_file.h"
#include "system.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "stele repair FILE A..B (--zero | --from DATA | --accept) [--json]\n"
    "\n"
    "Make the damaged blocks of records A to B good again; blocks that are good stay as they are. What a block\n"
    "holds is first appended to FILE.repairs, one line of JSON a block, and made durable. Of a damaged block nobody\n"
    "knows which records are wrong, so the range must hold all of it (`stele verify` names it), unless the records\n"
    "of DATA bring it back as it was.\n"
    "\n"
    "  A..B                  records, half-open, as for get; -1 is the last one\n"
    "  --zero                with zeros\n"
    "  --from DATA           with the same records of the store DATA, a backup that is whole there; or DATA has\n"
    "                          just the packed records A to B\n"
    "  --accept              as they are: they get a new sum, and may be wrong\n"
    "  --json                one object with the keys\n"
    "                          file; how: zero, replace or accept; repairs_file: a path, or null where nothing\n"
    "                          was written; damaged_blocks: found; repaired_blocks;\n"
    "                          repaired: a list of objects with block, kind (as of verify), first_record,\n"
    "                          record_count, old_word\n"
    CLI_COMMON_USAGE
    "\n"
    "A line of FILE.repairs has the keys time (seconds since 1970), file_id, block, kind, how, first_record,\n"
    "record_count, record_bytes, old_word (16 hex digits) and old_records (hex). It is written before the change:\n"
    "a line without the change is left by a repair that was interrupted or refused. Empty lines mean nothing.\n"
    "\n"
    "Example: stele repair members.stele 128..256 --from members-monday.stele\n"
    "Exit: 0 done, or nothing was damaged; 2 the range covers a damaged block in part, or does not exist;\n"
    "3 the file, DATA or the system refuses; 130 interrupted\n";

enum { RUN_BYTES = 1 << 20 };

/* A damaged block, as verify found it. */
struct spot {
    uint64_t block, first, count, old_word;
    uint32_t kind;
    bool is_repaired;
};

struct repair {
    struct cli *cli;
    const char *path, *data_path;
    uint32_t how;
    struct stele *store, *backup; /* backup: DATA, where it is a store */
    struct repairs_file log;
    FILE *data;
    uint64_t first, end;          /* the range */
    struct spot *spots;
    size_t spot_count, spot_room, repaired_count;
    size_t spot_end;              /* those from here on are done */
    uint64_t record_bytes;
};

static const char *name_of_how(uint32_t how)
{
    return how == STELE_REPAIR_ZERO ? "zero" : how == STELE_REPAIR_ACCEPT ? "accept" : "replace";
}

/* ---- what is damaged ---- */

static int note(void *context, const struct stele_damage *damage)
{
    struct repair *repair = context;

    if (repair->spot_count == repair->spot_room) {
        repair->spot_room = repair->spot_room ? repair->spot_room * 2 : 16;
        repair->spots = cli_grow(repair->spots, repair->spot_room * sizeof *repair->spots);
    }
    repair->spots[repair->spot_count++] = (struct spot){
        .block = damage->block_index, .first = damage->first_index, .count = damage->record_count,
        .old_word = damage->stored_word, .kind = damage->kind,
    };
    return 0;
}

static int find_damage(struct repair *repair)
{
    struct stele_verify_options options = STELE_VERIFY_OPTIONS_INIT;
    struct stele_verify_report report = STELE_VERIFY_REPORT_INIT;
    int rc = STELE_OK;

    options.first_index = repair->first;
    options.record_count = repair->end - repair->first;
    options.damaged = note;
    options.damaged_context = repair;
    options.progress = cli_tick;
    options.progress_context = repair->cli;
    rc = stele_verify(repair->store, &options, &report);
    cli_tick_done(repair->cli);
    return rc && rc != STELE_E_DAMAGED ? cli_fail(repair->cli, repair->path, rc) : CLI_DONE;
}

/* ---- what it is replaced by ---- */

static int open_data(struct repair *repair)
{
    static const unsigned char magic[8] = { 0x89, 'S', 'T', 'E', 'L', 'E', '\n', 0x1a };
    struct stele_options options = cli_store_options(repair->cli, STELE_READ_ONLY);
    unsigned char begin[sizeof magic] = { 0 };
    uint64_t bytes = (repair->end - repair->first) * repair->record_bytes;
    size_t got = 0;
    int rc = STELE_OK, code = cli_file_open(repair->data_path, CLI_FILE_READ, &repair->data);

    if (!code)
        code = cli_file_read(repair->data, begin, sizeof begin, &got);
    if (code)
        return cli_refuse_system(repair->cli, code, "%s: cannot be read", repair->data_path);
    if (got < sizeof magic || memcmp(begin, magic, sizeof magic) != 0) {
        if (cli_file_bytes(repair->data) == bytes)
            return CLI_DONE;
        return cli_refuse(repair->cli, "%s: is no store, and has %" PRIu64 " bytes; %" PRIu64 " records of %" PRIu64
                          " bytes take %" PRIu64, repair->data_path, cli_file_bytes(repair->data),
                          repair->end - repair->first, repair->record_bytes, bytes);
    }
    options.schema = stele_schema_of(repair->store);
    rc = stele_open(repair->data_path, &options, &repair->backup);
    return rc ? cli_fail(repair->cli, repair->data_path, rc) : CLI_DONE;
}

/* Records [@first, @first + @count) of a backup, which must be whole itself: damage is not to be copied. */
static int read_backup(struct repair *repair, uint64_t first, uint64_t count, void *out)
{
    struct stele_verify_options options = STELE_VERIFY_OPTIONS_INIT;
    struct stele_verify_report report = STELE_VERIFY_REPORT_INIT;
    int rc = STELE_OK;

    options.first_index = first;
    options.record_count = count;
    rc = stele_verify(repair->backup, &options, &report);
    if (rc == STELE_E_DAMAGED && report.damaged_count)
        return cli_refuse(repair->cli, "%s: is damaged itself at block %" PRIu64 "; take another backup",
                          repair->data_path, report.first_damaged_block);
    if (!rc || rc == STELE_E_DAMAGED)
        rc = stele_read(repair->backup, first, (size_t)count, out);
    return rc ? cli_fail(repair->cli, repair->data_path, rc) : CLI_DONE;
}

static int read_data(struct repair *repair, uint64_t first, uint64_t count, void *out)
{
    uint64_t bytes = count * repair->record_bytes;
    unsigned char *at = out;
    int code = 0;

    if (repair->backup)
        return read_backup(repair, first, count, out);
    if (fseeko(repair->data, (off_t)((first - repair->first) * repair->record_bytes), SEEK_SET) != 0)
        code = errno;
    while (!code && bytes) {
        size_t got = 0;

        code = cli_file_read(repair->data, at, (size_t)bytes, &got);
        if (!code && !got)
            code = EIO;
        at += got;
        bytes -= got;
    }
    return code ? cli_refuse_system(repair->cli, code, "%s: cannot be read", repair->data_path) : CLI_DONE;
}

/* ---- repair ---- */

static int hand_out(void *context, uint64_t block, uint64_t old_word, uint64_t first_index, const void *old_records,
                    size_t record_count)
{
    struct repair *repair = context;
    struct repairs_line line = {
        .block = block, .old_word = old_word, .first_index = first_index, .record_count = record_count,
        .old_records = old_records, .record_bytes = repair->record_bytes, .how = name_of_how(repair->how),
        .kind = "sum",
    };

    for (size_t i = 0; i < repair->spot_count; i++)
        if (repair->spots[i].block == block) {
            line.kind = name_of_damage(repair->spots[i].kind);
            repair->spots[i].is_repaired = true; /* once the call returns */
        }
    return repairs_file_add(&repair->log, repair->cli, &line);
}

/* Blocks next to each other, from spot *@at on, in one call; those that the range covers in part by themselves. */
static int repair_run(struct repair *repair, size_t *at)
{
    const struct spot *spots = repair->spots;
    size_t n = 1, first_spot = *at;
    uint64_t first = 0, end = 0;
    void *records = NULL;
    int rc = STELE_OK, exit_code = CLI_DONE;

    while (first_spot + n < repair->spot_end && spots[first_spot + n].block == spots[first_spot].block + n &&
           (n + 1) * spots[first_spot].count * repair->record_bytes <= RUN_BYTES)
        n++;
    *at += n;
    first = spots[first_spot].first > repair->first ? spots[first_spot].first : repair->first;
    end = spots[first_spot + n - 1].first + spots[first_spot + n - 1].count;
    end = end < repair->end ? end : repair->end;
    if (repair->how == STELE_REPAIR_REPLACE) {
        records = cli_allocate((size_t)((end - first) * repair->record_bytes));
        exit_code = read_data(repair, first, end - first, records);
    }
    if (!exit_code) {
        rc = stele_repair(repair->store, first, end - first, records, repair->how, hand_out, repair);
        cli_tick_done(repair->cli);
        /* What the log says is said already. */
        exit_code = rc ? repair->log.exit_code : CLI_DONE;
        if (rc == STELE_E_INTERRUPTED && !exit_code)
            exit_code = CLI_INTERRUPTED;
        else if (rc && !exit_code)
            exit_code = cli_fail(repair->cli, repair->path, rc);
    }
    free(records);
    for (size_t i = first_spot; i < first_spot + n; i++) {
        repair->spots[i].is_repaired = repair->spots[i].is_repaired && !exit_code;
        repair->repaired_count += repair->spots[i].is_repaired;
    }
    return exit_code;
}

static int repair_all(struct repair *repair)
{
    struct stele_info info = STELE_INFO_INIT;
    int rc = stele_info(repair->store, &info), exit_code = CLI_DONE;
    size_t last = 0;

    if (rc)
        return cli_fail(repair->cli, repair->path, rc);
    if (!repair->spot_count)
        return CLI_DONE;
    last = repair->spot_count - 1;
    exit_code = repairs_file_open(&repair->log, repair->cli, repair->path, info.file_id);
    repair->spot_end = repair->spot_count;
    /* What may be refused comes first. */
    if (!exit_code && repair->spots[last].first + repair->spots[last].count > repair->end) {
        exit_code = repair_run(repair, &last);
        repair->spot_end--;
    }
    for (size_t at = 0; at < repair->spot_end && !exit_code;)
        exit_code = cli_interrupted() ? CLI_INTERRUPTED : repair_run(repair, &at);
    repairs_file_close(&repair->log);
    if (exit_code == CLI_INTERRUPTED)
        cli_message(repair->cli,
                    "%s: interrupted: %zu of %zu damaged blocks are repaired; the same command again goes on",
                    repair->path, repair->repaired_count, repair->spot_count);
    else if (exit_code && repair->repaired_count)
        cli_message(repair->cli, "%s: %zu of %zu damaged blocks were repaired before that", repair->path,
                    repair->repaired_count, repair->spot_count);
    return exit_code;
}

static void print_json(const struct repair *repair)
{
    struct json_out json = { 0 };

    json_begin(&json, NULL, '{');
    json_string(&json, "file", repair->path);
    json_string(&json, "how", name_of_how(repair->how));
    if (repair->log.is_written)
        json_string(&json, "repairs_file", repair->log.path);
    else
        json_null(&json, "repairs_file");
    json_number(&json, "damaged_blocks", repair->spot_count);
    json_number(&json, "repaired_blocks", repair->repaired_count);
    json_begin(&json, "repaired", '[');
    for (size_t i = 0; i < repair->spot_count; i++) {
        const struct spot *spot = &repair->spots[i];

        if (!spot->is_repaired)
            continue;
        json_begin(&json, NULL, '{');
        json_number(&json, "block", spot->block);
        json_string(&json, "kind", name_of_damage(spot->kind));
        json_number(&json, "first_record", spot->first);
        json_number(&json, "record_count", spot->count);
        json_number(&json, "old_word", spot->old_word);
        json_end(&json, '}');
    }
    json_end(&json, ']');
    json_end(&json, '}');
    json_print(&json);
}

static void print_text(const struct repair *repair)
{
    for (size_t i = 0; i < repair->spot_count; i++)
        if (repair->spots[i].is_repaired)
            printf("block %" PRIu64 ", records %" PRIu64 "..%" PRIu64 ": repaired (%s)\n", repair->spots[i].block,
                   repair->spots[i].first, repair->spots[i].first + repair->spots[i].count, name_of_how(repair->how));
    if (!repair->spot_count)
        printf("%s: nothing is damaged in records %" PRIu64 "..%" PRIu64 "; nothing was changed\n", repair->path,
               repair->first, repair->end);
    else
        printf("%s: %zu of %zu damaged blocks repaired; what they held is in %s\n", repair->path,
               repair->repaired_count, repair->spot_count, repair->log.path);
}

static int repair_store(struct repair *repair, const struct cli_range *range, bool is_json)
{
    uint64_t count = 0;
    int exit_code = cli_open(repair->cli, repair->path, STELE_READ_WRITE, &repair->store);

    if (exit_code)
        return exit_code;
    count = stele_count(repair->store);
    repair->record_bytes = stele_schema_record_bytes(stele_schema_of(repair->store));
    if (cli_range_resolve(range, count, &repair->first, &repair->end))
        return cli_usage_error(repair->cli, "%s: there are %" PRIu64 " records; \"%s\" is not all of them there",
                               repair->path, count, repair->cli->operands[1]);
    if (repair->data_path)
        exit_code = open_data(repair);
    if (!exit_code && repair->first < repair->end)
        exit_code = find_damage(repair);
    if (!exit_code)
        exit_code = repair_all(repair);
    if (!exit_code || repair->repaired_count) {
        if (is_json)
            print_json(repair);
        else
            print_text(repair);
    }
    return exit_code;
}

static int run(struct cli *cli, int word_count, char **words)
{
    bool is_zero = false, is_accept = false, is_json = false;
    const char *data_path = NULL;
    const struct cli_option table[] = {
        { "zero", CLI_FLAG, &is_zero, NULL },
        { "from", CLI_TEXT, &data_path, NULL },
        { "accept", CLI_FLAG, &is_accept, NULL },
        { "json", CLI_FLAG, &is_json, NULL },
    };
    struct repair repair = { .cli = cli };
    struct cli_range range = { 0 };
    int exit_code = cli_parse(cli, table, 4, word_count, words, 2, 2);

    if (exit_code)
        return exit_code;
    if (is_zero + is_accept + (data_path != NULL) != 1)
        return cli_usage_error(cli, "say one of --zero, --from DATA and --accept");
    if (cli_range(cli->operands[1], &range))
        return cli_usage_error(cli, "\"%s\" is no range of records; say A..B", cli->operands[1]);
    repair.path = cli->operands[0];
    repair.data_path = data_path;
    repair.how = is_zero ? STELE_REPAIR_ZERO : is_accept ? STELE_REPAIR_ACCEPT : STELE_REPAIR_REPLACE;
    exit_code = repair_store(&repair, &range, is_json);
    if (repair.data)
        fclose(repair.data);
    exit_code = cli_close(cli, repair.data_path, repair.backup, exit_code);
    exit_code = cli_close(cli, repair.path, repair.store, exit_code);
    repairs_file_done(&repair.log);
    free(repair.spots);
    return exit_code;
}

const struct cli_verb cmd_repair = { "repair", "make damaged blocks good again", usage, run };
