/* Verify: headers, schema, slack and the sum of each block. Never writes. */
#include "error.h"
#include "options.h"
#include "reader.h"
#include "sums.h"

#include <stdlib.h>

#define PROGRESS_BYTES (UINT64_C(4) << 20)
#define AHEAD_BYTES (UINT64_C(1) << 20)
#define TRIES_MAX 1000u
#define RETRY_US 100u

struct verify {
    struct stele *store;
    struct stele_verify_options options;
    struct stele_verify_report report;
    struct stele_layout layout; /* as of now: the sums move with growth */
    uint64_t layout_version;
    uint64_t sum_seed;
    uint64_t count;
    uint64_t total_bytes, reported_bytes, asked_until;
    uint8_t *block;
};

/* One look at a block; STELE_END when a writer was in the way. */
struct look {
    uint64_t stored_word, computed_word;
    uint64_t record_count;
    uint32_t damage; /* 0: good */
};

/* Header and sums' place as they are now. */
static int refresh(struct verify *verify)
{
    struct stele_superblock now;
    int rc = stele_superblock_read(&verify->store->file, &now);
    if (rc)
        return rc;
    verify->layout = now.layout;
    verify->layout_version = now.slot.layout_version;
    verify->sum_seed = now.slot.sum_seed;
    verify->report.file_damage |= now.damage;
    return STELE_OK;
}

static bool is_unreadable(int rc) { return rc == STELE_E_TRUNCATED || rc == STELE_E_IO; }

static int read_block(struct verify *verify, uint64_t block, const struct stele_replay *overlay, struct look *look)
{
    const struct stele_layout *layout = &verify->layout;
    uint64_t first = stele_block_first(layout, block);
    const struct stele_image *word = overlay ? stele_images_find(&overlay->words, block) : NULL;
    int rc = stele_handle_copy(verify->store, stele_word_offset(layout, block), &look->stored_word, 8);
    if (word)
        look->stored_word = word->value;
    if (!rc)
        rc = stele_handle_copy(verify->store, stele_record_offset(layout, first), verify->block,
                               (size_t)(look->record_count * layout->record_bytes));
    for (uint64_t i = 0; overlay && overlay->records.count && i < look->record_count && !rc; i++) {
        const struct stele_image *image = stele_images_find(&overlay->records, first + i);
        if (image)
            rc = stele_os_read(&verify->store->file, layout->journal_offset + image->value,
                               verify->block + i * layout->record_bytes, (size_t)layout->record_bytes);
    }
    return rc;
}

static int judge(struct verify *verify, uint64_t block, const struct stele_replay *overlay, struct look *look)
{
    int rc = read_block(verify, block, overlay, look);
    look->damage = 0;
    if (rc == STELE_E_TRUNCATED)
        look->damage = STELE_DAMAGE_CUT;
    else if (rc == STELE_E_IO)
        look->damage = STELE_DAMAGE_UNREADABLE;
    else if (rc)
        return rc;
    else if (stele_word_is_known_damaged(look->stored_word))
        look->damage = STELE_DAMAGE_KNOWN;
    else if (!stele_sum_check(&verify->layout, verify->sum_seed, block, verify->block, look->record_count,
                              look->stored_word, &look->computed_word))
        look->damage = STELE_DAMAGE_SUM;
    return STELE_OK;
}

static int look_once(struct verify *verify, uint64_t block, struct look *look)
{
    struct stele *store = verify->store;
    const struct stele_live *words = store->live.words;
    const uint64_t *stripe = stele_live_stripe(&store->live, block);
    const struct stele_reading *reading;
    int rc = stele_reader_current(store, &reading);
    if (rc)
        return rc;
    const struct stele_replay *overlay = stele_reader_overlay(reading);
    uint64_t before = stele_load_acquire(stripe);
    if (!overlay && (before & 1))
        return STELE_END;
    /* While a detached handle reads nobody writes; then the layout is the header's. */
    uint64_t layout_version = overlay ? reading->slot.layout_version
                                      : stele_load_acquire(&words->layout_version.word);
    if (layout_version != verify->layout_version) {
        rc = refresh(verify);
        return rc ? rc : STELE_END;
    }
    uint64_t count = stele_reader_count(store, reading);
    look->record_count = stele_block_records(&verify->layout, block, count);
    if (look->record_count == 0)
        return STELE_OK; /* truncated away meanwhile */
    rc = judge(verify, block, overlay, look);
    if (rc || !look->damage)
        return rc;
    /* Damage only if nothing moved: session, stripe, count, layout. */
    bool is_still = stele_reader_is_current(store, reading) && stele_reader_count(store, reading) == count &&
                    (overlay || (stele_load(stripe) == before &&
                                 stele_load(&words->layout_version.word) == verify->layout_version));
    return is_still ? STELE_OK : STELE_END;
}

static int look_at(struct verify *verify, uint64_t block, struct look *look)
{
    int rc = STELE_END;
    for (unsigned i = 0; i < TRIES_MAX && rc == STELE_END; i++) {
        *look = (struct look){ .stored_word = 0 };
        rc = look_once(verify, block, look);
        if (rc == STELE_END && i > 10)
            stele_os_sleep_us(RETRY_US);
    }
    if (rc == STELE_END)
        return stele_fail(STELE_E_BUSY, "%s: block %" PRIu64 " is being stored by a writer that does not come to "
                          "an end", verify->store->path, block);
    return rc;
}

static int report_damage(struct verify *verify, uint64_t block, const struct look *look)
{
    const struct stele_layout *layout = &verify->layout;
    struct stele_damage damage = {
        .kind = look->damage,
        .block_index = block,
        .first_index = stele_block_first(layout, block),
        .record_count = look->record_count,
        .file_offset = stele_record_offset(layout, stele_block_first(layout, block)),
        .bytes = look->record_count * layout->record_bytes,
        .stored_word = look->stored_word,
        .computed_word = look->computed_word,
    };
    struct stele_verify_report *report = &verify->report;
    if (report->damaged_count++ == 0)
        report->first_damaged_block = block;
    report->known_count += look->damage == STELE_DAMAGE_KNOWN;
    report->unreadable_count += look->damage == STELE_DAMAGE_UNREADABLE || look->damage == STELE_DAMAGE_CUT;
    if (verify->options.damaged && verify->options.damaged(verify->options.damaged_context, &damage))
        return stele_fail(STELE_E_INTERRUPTED, "%s: verify was stopped", verify->store->path);
    return STELE_OK;
}

static int report_progress(struct verify *verify)
{
    uint64_t done = verify->report.bytes;
    if (!verify->options.progress || done - verify->reported_bytes < PROGRESS_BYTES)
        return STELE_OK;
    verify->reported_bytes = done;
    if (verify->options.progress(verify->options.progress_context, done, verify->total_bytes))
        return stele_fail(STELE_E_INTERRUPTED, "%s: verify was stopped", verify->store->path);
    return STELE_OK;
}

static void ask_ahead(struct verify *verify, uint64_t block)
{
    uint64_t at = stele_record_offset(&verify->layout, stele_block_first(&verify->layout, block));
    if (at + AHEAD_BYTES < verify->asked_until)
        return;
    verify->asked_until = stele_max(verify->asked_until, at);
    stele_os_will_need(&verify->store->file, verify->asked_until, AHEAD_BYTES);
    verify->asked_until += AHEAD_BYTES;
}

static int check_blocks(struct verify *verify)
{
    const struct stele_layout *layout = &verify->layout;
    uint64_t first = verify->options.first_index, n = verify->options.record_count;
    if (first > verify->count || n > verify->count - first)
        return stele_fail(STELE_E_RANGE, "%s: records %" PRIu64 " and %" PRIu64 " more: there are %" PRIu64,
                          verify->store->path, first, n, verify->count);
    uint64_t end = n ? first + n : verify->count;
    uint64_t end_block = stele_blocks_below(layout, end);
    verify->total_bytes = (end - first) * layout->record_bytes;
    int rc = STELE_OK;
    for (uint64_t block = stele_block_of(layout, first); block < end_block && !rc && first < end; block++) {
        struct look look;
        ask_ahead(verify, block);
        rc = look_at(verify, block, &look);
        if (rc || look.record_count == 0)
            continue;
        verify->report.block_count++;
        verify->report.record_count += look.record_count;
        verify->report.bytes += look.record_count * layout->record_bytes;
        verify->report.never_written_count += !look.damage && stele_word_is_unwritten(look.stored_word);
        if (look.damage)
            rc = report_damage(verify, block, &look);
        if (!rc)
            rc = report_progress(verify);
    }
    return rc;
}

/* Bytes that must be zero: behind the schema, between the records and the sums, and behind the sums. */
static int look_at_slack(struct verify *verify, const struct stele_superblock *now, bool *out_is_zero)
{
    uint8_t bytes[4096];
    const struct stele_layout *layout = &now->layout;
    uint64_t schema_end = layout->schema_offset + now->slot.schema_bytes;
    uint64_t records_end = layout->records_offset + layout->capacity * layout->record_bytes;
    /* The least that the format promises: a header that lies may put the regions any distance apart. */
    const struct { uint64_t from, to; } slack[] = {
        { schema_end, layout->schema_offset + stele_min(layout->schema_room_bytes, STELE_SCHEMA_BYTES_MAX) },
        { records_end, stele_min(stele_round_up(records_end, STELE_REGION_ALIGN), layout->sums_offset) },
        { layout->sums_offset + layout->sums_bytes, layout->file_bytes },
    };
    *out_is_zero = true;
    for (unsigned i = 0; i < sizeof(slack) / sizeof(slack[0]); i++) {
        for (uint64_t at = slack[i].from; at < slack[i].to;) {
            size_t n = (size_t)stele_min(sizeof(bytes), slack[i].to - at);
            int rc = stele_os_read(&verify->store->file, at, bytes, n);
            if (rc && !is_unreadable(rc))
                return rc;
            if (!rc && !stele_is_zero(bytes, n))
                *out_is_zero = false;
            at += n;
        }
    }
    return STELE_OK;
}

static int check_slack(struct verify *verify)
{
    struct stele_superblock before, after;
    bool is_zero = true;
    int rc = stele_superblock_read(&verify->store->file, &after);
    do {
        before = after;
        if (!rc)
            rc = look_at_slack(verify, &before, &is_zero);
        if (!rc)
            rc = stele_superblock_read(&verify->store->file, &after);
        /* Records may take that space as soon as a growth has moved the sums. */
    } while (!rc && !is_zero && before.slot.layout_version != after.slot.layout_version);
    if (!rc && !is_zero)
        verify->report.file_damage |= STELE_FILE_DAMAGE_SLACK;
    return rc;
}

/* What of the file is damaged though all records are good. */
static int fail_file_damage(const struct verify *verify)
{
    uint32_t damage = verify->report.file_damage;
    uint32_t slots = damage & (STELE_FILE_DAMAGE_SLOT_A | STELE_FILE_DAMAGE_SLOT_B);
    const char *slot = slots == 0 ? "" : slots == STELE_FILE_DAMAGE_SLOT_A ? "header slot A is damaged"
                       : slots == STELE_FILE_DAMAGE_SLOT_B                 ? "header slot B is damaged"
                                                                           : "both header slots were damaged";
    const char *slack = damage & STELE_FILE_DAMAGE_SLACK ? "space between regions that must be zero is not" : "";
    return stele_fail(STELE_E_DAMAGED, "%s: %s%s%s; the records are good", verify->store->path, slot,
                      *slot && *slack ? ", and " : "", slack);
}

int stele_verify(struct stele *store, const struct stele_verify_options *options, struct stele_verify_report *out)
{
    struct verify verify = { .store = store, .report = { .first_damaged_block = UINT64_MAX } };
    if (!store || !out)
        return stele_fail(STELE_E_USAGE, "stele_verify: store and out must not be NULL");
    int rc = stele_handle_check(store);
    if (!rc && options)
        rc = stele_struct_take(&verify.options, sizeof(verify.options), options);
    if (!rc && verify.options.flags)
        rc = stele_fail(STELE_E_USAGE, "stele_verify: flags must be zero in this version");
    if (!rc)
        rc = refresh(&verify);
    if (rc)
        return rc;
    verify.report.file_damage |= store->opened_damage;
    verify.count = stele_count(store);
    verify.block = malloc((size_t)stele_handle_overlap(&store->fixed));
    if (!verify.block)
        return stele_fail(STELE_E_NOMEM, "out of memory to verify");
    rc = check_slack(&verify);
    if (!rc)
        rc = check_blocks(&verify);
    free(verify.block);
    if (rc && rc != STELE_E_INTERRUPTED)
        return rc;
    int given = stele_struct_give(&verify.report, sizeof(verify.report), out);
    if (rc || given)
        return rc ? rc : given;
    if (verify.report.damaged_count)
        return stele_fail(STELE_E_DAMAGED, "%s: %" PRIu64 " of %" PRIu64 " blocks are damaged", store->path,
                          verify.report.damaged_count, verify.report.block_count);
    return verify.report.file_damage ? fail_file_damage(&verify) : STELE_OK;
}
