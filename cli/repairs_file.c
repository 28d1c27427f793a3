#include "repairs_file.h"

#include "system.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int repairs_file_open(struct repairs_file *out, struct cli *cli, const char *store_path, const uint8_t file_id[16])
{
    static const char ending[] = ".repairs";
    size_t length = strlen(store_path);
    int code = 0;

    memset(out, 0, sizeof *out);
    memcpy(out->file_id, file_id, sizeof out->file_id);
    out->path = cli_allocate(length + sizeof ending);
    memcpy(out->path, store_path, length);
    memcpy(out->path + length, ending, sizeof ending);
    code = cli_file_open(out->path, CLI_FILE_APPEND, &out->file);
    if (!code)
        return CLI_DONE;
    return cli_refuse_system(cli, code, "%s: what is replaced cannot be kept there; nothing was changed", out->path);
}

int repairs_file_add(struct repairs_file *file, struct cli *cli, const struct repairs_line *line)
{
    struct text *text = &file->text;
    int code = 0;

    text_clear(text);
    /* An empty line between two is nothing; a line that was cut short must not swallow this one. */
    if (!file->is_written && cli_file_bytes(file->file) > 0)
        text_add_char(text, '\n');
    text_add_format(text, "{\"time\":%" PRIu64 ",\"file_id\":\"", (uint64_t)time(NULL));
    text_add_hex(text, file->file_id, sizeof file->file_id);
    text_add_format(text, "\",\"block\":%" PRIu64 ",\"kind\":\"%s\",\"how\":\"%s\",\"first_record\":%" PRIu64
                    ",\"record_count\":%zu,\"record_bytes\":%" PRIu64 ",\"old_word\":\"%016" PRIx64
                    "\",\"old_records\":\"", line->block, line->kind, line->how, line->first_index,
                    line->record_count, line->record_bytes, line->old_word);
    text_add_hex(text, line->old_records, line->record_count * (size_t)line->record_bytes);
    text_add_string(text, "\"}\n");
    errno = 0;
    if (fwrite(text->bytes, 1, text->length, file->file) != text->length)
        code = cli_file_write_code(file->file);
    else
        code = cli_file_sync(file->file);
    file->is_written = file->is_written || !code;
    if (code)
        file->exit_code = cli_refuse_system(cli, code, "%s: block %" PRIu64 " cannot be kept there; it was not changed",
                                            file->path, line->block);
    return file->exit_code;
}

void repairs_file_close(struct repairs_file *file)
{
    if (file->file)
        fclose(file->file);
    file->file = NULL;
    text_done(&file->text);
}

void repairs_file_done(struct repairs_file *file)
{
    repairs_file_close(file);
    free(file->path);
    file->path = NULL;
}
