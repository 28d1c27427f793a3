#include "info_out.h"

#include "json_out.h"
#include "names.h"
#include "schema_out.h"
#include "value.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* ---- for people ---- */

static void print_time(const char *label, uint64_t time_us)
{
    time_t seconds = (time_t)(time_us / 1000000);
    const struct tm *parts = time_us ? gmtime(&seconds) : NULL; /* no other thread asks */
    char text[32];

    if (!parts || !strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", parts))
        printf("%-12s-\n", label);
    else
        printf("%-12s%s UTC\n", label, text);
}

static void print_size(const char *label, uint64_t bytes, const char *tail)
{
    static const char letters[] = "KMGTPE";
    double amount = (double)bytes / 1024;
    size_t i = 0;

    for (; amount >= 1024 && i + 2 < sizeof letters; i++)
        amount /= 1024;
    if (bytes < 1024)
        printf("%s%" PRIu64 " bytes%s", label, bytes, tail);
    else
        printf("%s%.1f %ciB%s", label, amount, letters[i], tail);
}

static const char *sentence_of_state(const struct stele_info *info)
{
    if (info->state != STELE_STATE_CLOSED)
        return ", open for writing now";
    return info->clean ? " in good order"
                       : " by the death of its last writer, or with --async; the next to write recovers it";
}

/* Each first opening for writing is a recovery to the library, also when there was nothing to replay. */
static void print_sessions(const struct stele_info *info)
{
    bool is_opening = info->recovery_kind == STELE_RECOVERY_REPLAY;

    printf("%-12s%" PRIu64 "\n", "sessions", info->recovery_count);
    if (!info->recovery_kind)
        return;
    printf("%-12sthe last one began by %s:\n", "", is_opening ? "opening for writing"
                                                              : name_of_recovery(info->recovery_kind));
    print_time("", info->recovery_us);
    printf("%-12skept commits up to %" PRIu64 ", its own begin at %" PRIu64 "\n", "",
           info->recovery_last_kept, info->recovery_first_new);
}

/* Made by backup or resize. */
static void print_origin(const struct stele_info *info)
{
    unsigned bits = 0;

    for (size_t i = 0; i < sizeof info->origin_file_id; i++)
        bits |= info->origin_file_id[i];
    if (!bits)
        return;
    printf("%-12s", "copy of");
    for (size_t i = 0; i < sizeof info->origin_file_id; i++)
        printf("%02x", info->origin_file_id[i]);
    printf(", as of commit %" PRIu64 "\n", info->origin_sequence);
}

static void print_state(const struct stele_info *info)
{
    printf("%-12s%s%s\n", "state", name_of_state(info->state), sentence_of_state(info));
    for (uint32_t bits = info->header_damage; bits; bits &= bits - 1)
        printf("%-12s%s: damaged, the other one serves\n", "", name_of_file_damage(bits & (0 - bits)));
    print_sessions(info);
    print_origin(info);
    print_time("created", info->created_us);
    print_time("modified", info->modified_us);
    print_time("checkpoint", info->checkpoint_us);
}

static void print_layout(const struct stele_info *info)
{
    printf("%-12s%" PRIu64 " of %" PRIu64 " bytes, room for %" PRIu64 "\n", "records", info->count,
           info->record_bytes, info->capacity);
    printf("%-12s%" PRIu64 " records a block\n", "blocks", info->records_per_block);
    printf("%-12s", "file");
    print_size("", info->file_bytes, ", ");
    print_size("", info->disk_bytes, info->sparse ? " on disk, sparse\n" : " on disk\n");
    printf("%-12s%" PRIu64 " entries, ", "journal", (uint64_t)info->journal_entry_count);
    print_size("", info->journal_used_bytes, " of ");
    print_size("", info->journal_bytes, "\n");
    printf("%-12slive %" PRIu64 ", journal %" PRIu64 ", records %" PRIu64 ", sums %" PRIu64 "\n", "offsets",
           info->live_offset, info->journal_offset, info->records_offset, info->sums_offset);
}

static void print_fields(const struct stele_schema *schema)
{
    printf("\nstruct %s\n%10s  %-6s %10s  name\n", stele_schema_name(schema), "offset", "type", "bytes");
    for (size_t i = 0; i < stele_schema_field_count(schema); i++) {
        const struct stele_field *field = stele_schema_field(schema, i);

        printf("%10" PRIu64 "  %-6s %10" PRIu64 "  %s", field->offset, schema_type_name(field->type),
               value_element_count(field) * value_element_bytes(field), field->name);
        for (unsigned j = 0; j < 4 && field->dims[j]; j++)
            printf("[%" PRIu32 "]", field->dims[j]);
        putchar('\n');
    }
}

void info_out_text(const char *path, const struct stele_info *info, const struct stele_schema *schema)
{
    printf("%-12s%s\n", "store", path);
    printf("%-12s%" PRIu32 ", written by stele %" PRIu32 ".%" PRIu32 ".%" PRIu32 "\n", "format",
           info->format_version, info->library_version >> 16, info->library_version >> 8 & 255,
           info->library_version & 255);
    print_layout(info);
    print_state(info);
    print_fields(schema);
}

/* ---- for programs ---- */

static void json_region(struct json_out *json, const char *key, uint64_t offset, uint64_t bytes)
{
    json_begin(json, key, '{');
    json_number(json, "offset", offset);
    json_number(json, "bytes", bytes);
    json_end(json, '}');
}

static void json_identity(struct json_out *json, const struct stele_info *info)
{
    char version[40];

    snprintf(version, sizeof version, "%" PRIu32 ".%" PRIu32 ".%" PRIu32, info->library_version >> 16,
             info->library_version >> 8 & 255, info->library_version & 255);
    json_number(json, "format_version", info->format_version);
    json_string(json, "library_version", version);
    json_hex(json, "file_id", info->file_id, sizeof info->file_id);
    json_hex(json, "origin_file_id", info->origin_file_id, sizeof info->origin_file_id);
    json_number(json, "origin_sequence", info->origin_sequence);
    json_begin(json, "features", '{');
    json_number(json, "incompatible", info->features_incompatible);
    json_number(json, "read_only", info->features_read_only);
    json_number(json, "compatible", info->features_compatible);
    json_end(json, '}');
    json_string(json, "state", name_of_state(info->state));
    json_bool(json, "clean", info->clean != 0);
    json_bool(json, "sparse", info->sparse != 0);
    names_json_file_damage(info->header_damage, "header_damage", json);
    json_number(json, "created_us", info->created_us);
    json_number(json, "modified_us", info->modified_us);
    json_number(json, "checkpoint_us", info->checkpoint_us);
}

static void json_layout(struct json_out *json, const struct stele_info *info)
{
    json_number(json, "file_bytes", info->file_bytes);
    json_number(json, "disk_bytes", info->disk_bytes);
    json_number(json, "count", info->count);
    json_number(json, "capacity", info->capacity);
    json_number(json, "record_bytes", info->record_bytes);
    json_number(json, "records_per_block", info->records_per_block);
    json_number(json, "records_per_cell", info->records_per_cell);
    json_number(json, "generation", info->generation);
    json_number(json, "session", info->session);
    json_number(json, "layout_version", info->layout_version);
    json_number(json, "sequence", info->sequence);
    json_number(json, "checkpoint_sequence", info->checkpoint_sequence);
    json_begin(json, "regions", '{');
    json_region(json, "live", info->live_offset, info->live_bytes);
    json_region(json, "journal", info->journal_offset, info->journal_bytes);
    json_region(json, "records", info->records_offset, info->capacity * info->record_bytes);
    json_region(json, "sums", info->sums_offset, info->sums_bytes);
    json_region(json, "schema", info->schema_offset, info->schema_bytes);
    json_end(json, '}');
}

static void json_history(struct json_out *json, const struct stele_info *info)
{
    json_begin(json, "journal", '{');
    json_number(json, "entries", info->journal_entry_count);
    json_number(json, "used_bytes", info->journal_used_bytes);
    json_number(json, "replayed", info->opened_entries_replayed);
    json_end(json, '}');
    json_number(json, "user_version", info->user_version);
    json_hex(json, "user", info->user, sizeof info->user);
    json_hex(json, "tag", info->tag, info->tag_bytes <= sizeof info->tag ? info->tag_bytes : 0);
    json_begin(json, "writer", '{');
    json_number(json, "pid", info->writer_pid);
    json_number(json, "started_us", info->writer_started_us);
    json_number(json, "last_commit_us", info->last_commit_us);
    json_end(json, '}');
    json_begin(json, "recovery", '{');
    json_number(json, "count", info->recovery_count);
    json_string(json, "kind", name_of_recovery(info->recovery_kind));
    json_number(json, "last_kept", info->recovery_last_kept);
    json_number(json, "first_new", info->recovery_first_new);
    json_number(json, "time_us", info->recovery_us);
    json_end(json, '}');
}

void info_out_json(const char *path, const struct stele_info *info, const struct stele_schema *schema)
{
    struct json_out json = { 0 };

    json_begin(&json, NULL, '{');
    json_string(&json, "file", path);
    json_identity(&json, info);
    json_layout(&json, info);
    json_history(&json, info);
    schema_out_json(schema, "schema", &json);
    json_end(&json, '}');
    json_print(&json);
}
