/*
 * The judge of a store whose writer was killed.
 *
 *     kill_judge look PATH SHAPE LOW HIGH LOW_SEQUENCE HIGH_SEQUENCE CAPACITY
 *     kill_judge open PATH SHAPE LOW HIGH LOW_SEQUENCE HIGH_SEQUENCE CAPACITY
 *     kill_judge cut PATH SHAPE LOW HIGH LOW_SEQUENCE HIGH_SEQUENCE CAPACITY
 *     kill_judge settle PATH SHAPE LOW HIGH LOW_SEQUENCE HIGH_SEQUENCE CAPACITY
 *
 * LOW operations were acknowledged, and LOW to HIGH (at most one more) may be there, whole or not at all. The
 * sequences are of the commits of LOW and HIGH, 0 where there is none in this session; CAPACITY was promised.
 * look opens read-only and proves that not a byte of the file moved; open does that too, then opens for writing, finds
 * the same, and dies without closing; cut is open after a power cut, which may have torn one header slot: the handle
 * that mends it tells of it once more; settle comes after one of them, recovers again, and proves that nothing changes
 * any more.
 * Prints `found NUMBER entries NUMBER` and ends with 0, or says what is wrong and ends with 1.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stele.h"
#include "system.h"
#include "work.h"

struct claim {
    const char *path;
    struct work low, high;
    uint64_t low_sequence, high_sequence, capacity;
    uint32_t damage_allowed; /* STELE_FILE_DAMAGE_* that is told until the store is opened again after recovery */
};

__attribute__((format(STELE_PRINTF, 1, 2))) static _Noreturn void refuse(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
    fflush(stdout);
    _Exit(1);
}

static void expect(int rc, int wanted, const char *what)
{
    if (rc != wanted)
        refuse("%s: %d, not %d: %s", what, rc, wanted, rc ? stele_last_error()->text : "");
}

/* ---- the file as bytes ---- */

struct bytes {
    uint8_t *at;
    size_t length;
};

/* Files here are small: a long is enough everywhere. */
static struct bytes read_bytes(const char *path, uint64_t offset, uint64_t length)
{
    struct bytes bytes = {.length = 0};
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END))
        refuse("%s cannot be read", path);
    uint64_t end = length == UINT64_MAX ? (uint64_t)ftell(file) : offset + length;
    bytes.length = (size_t)(end - offset);
    bytes.at = malloc(bytes.length + 1);
    if (!bytes.at)
        refuse("out of memory");
    if (fseek(file, (long)offset, SEEK_SET) || fread(bytes.at, 1, bytes.length, file) != bytes.length)
        refuse("%s ends early", path);
    fclose(file);
    return bytes;
}

/* Compare and free. */
static void expect_same(struct bytes *before, struct bytes *after, const char *what)
{
    if (before->length != after->length)
        refuse("%s: %zu bytes before, %zu after", what, before->length, after->length);
    for (size_t i = 0; i < before->length; i += 4096) {
        size_t n = before->length - i < 4096 ? before->length - i : 4096;
        if (memcmp(before->at + i, after->at + i, n) != 0)
            refuse("%s: differs in the page at %zu", what, i);
    }
    free(before->at);
    free(after->at);
}

/* ---- the content ---- */

/* Whether @records (count of them) are what @work says; where not, why to @why. */
static bool is_state(const struct work *work, uint64_t user_version, const uint8_t *records, uint64_t count,
                     char why[128])
{
    const size_t record_bytes = (size_t)work->shape.record_bytes;
    if (count != work->count) {
        snprintf(why, 128, "%" PRIu64 ": count is %" PRIu64 ", not %" PRIu64, work->done, count, work->count);
        return false;
    }
    if (user_version != work->user_version) {
        snprintf(why, 128, "%" PRIu64 ": user version is %" PRIu64 ", not %" PRIu64, work->done, user_version,
                 work->user_version);
        return false;
    }
    uint8_t *wanted = malloc(record_bytes + 8);
    if (!wanted)
        refuse("out of memory");
    uint64_t i = 0;
    for (; i < count; i++) {
        work_record(&work->shape, i, work->versions[i], wanted);
        if (memcmp(wanted, records + i * record_bytes, record_bytes) != 0)
            break;
    }
    free(wanted);
    if (i < count)
        snprintf(why, 128, "%" PRIu64 ": record %" PRIu64 " of version %" PRIu32 " differs", work->done, i,
                 work->versions[i]);
    return i == count;
}

/* Single reads agree with the many. */
static void check_gets(struct stele *store, const uint8_t *records, uint64_t count, size_t record_bytes)
{
    enum { GETS = 40 };
    uint64_t indexes[GETS];
    uint8_t *one = malloc(record_bytes * GETS);
    if (!one)
        refuse("out of memory");
    expect(stele_get(store, count, one), STELE_E_RANGE, "get behind the count");
    for (uint64_t i = 0; i < GETS && count; i++) {
        indexes[i] = i < 4 ? count - 1 - i % count : work_mix(i, count) % count;
        expect(stele_get(store, indexes[i], one), STELE_OK, "get");
        if (memcmp(one, records + indexes[i] * record_bytes, record_bytes) != 0)
            refuse("get and read differ in record %" PRIu64, indexes[i]);
    }
    if (count) {
        expect(stele_get_many(store, indexes, GETS, one, NULL), STELE_OK, "get_many");
        for (uint64_t i = 0; i < GETS; i++)
            if (memcmp(one + i * record_bytes, records + indexes[i] * record_bytes, record_bytes) != 0)
                refuse("get_many and read differ in record %" PRIu64, indexes[i]);
    }
    free(one);
}

/* Which of the two states the store is in. */
static const struct work *find_state(const struct claim *claim, struct stele *store,
                                     const struct stele_info *info)
{
    const size_t record_bytes = (size_t)claim->low.shape.record_bytes;
    uint64_t count = stele_count(store);
    char why_low[128] = "", why_high[128] = "";
    uint8_t *records = malloc((size_t)count * record_bytes + 1);
    if (!records)
        refuse("out of memory");
    expect(stele_read(store, 0, (size_t)count, records), STELE_OK, "read");
    check_gets(store, records, count, record_bytes);
    bool is_low = is_state(&claim->low, info->user_version, records, count, why_low);
    bool is_high = is_state(&claim->high, info->user_version, records, count, why_high);
    free(records);
    if (!is_low && !is_high)
        refuse("neither the acknowledged state nor the one in flight: %s; %s", why_low, why_high);
    /* Two versions of one byte may look alike: then the outcome decides. */
    if (is_low && is_high)
        is_high = claim->high_sequence && stele_outcome(store, claim->high_sequence) == STELE_OK;
    return is_high ? &claim->high : &claim->low;
}

static void check_outcomes(const struct claim *claim, struct stele *store, const struct work *found)
{
    if (claim->low_sequence)
        expect(stele_outcome(store, claim->low_sequence), STELE_OK,
               "outcome of the last acknowledged commit");
    if (!claim->high_sequence || claim->high.done == claim->low.done)
        return;
    int rc = stele_outcome(store, claim->high_sequence);
    bool is_there = found == &claim->high;
    /* Before a recovery nobody has said yet that it will never be. */
    if (is_there ? rc != STELE_OK : rc != STELE_E_ABSENT && rc != STELE_E_RANGE)
        refuse("outcome of the commit in flight is %d, and it is %sthere", rc, is_there ? "" : "not ");
}

/* All that can be asked of an open store. */
static const struct work *check_store(const struct claim *claim, struct stele *store,
                                      uint32_t damage_allowed, uint64_t *out_entry_count)
{
    struct stele_info info = STELE_INFO_INIT;
    struct stele_verify_report report = STELE_VERIFY_REPORT_INIT;
    expect(stele_info(store, &info), STELE_OK, "info");
    const struct work *found = find_state(claim, store, &info);
    check_outcomes(claim, store, found);
    int rc = stele_verify(store, NULL, &report);
    if (rc != STELE_E_DAMAGED || !report.file_damage || (report.file_damage & ~damage_allowed))
        expect(rc, STELE_OK, "verify");
    if ((report.file_damage & ~damage_allowed) || report.damaged_count || report.record_count != found->count)
        refuse("verify looked at %" PRIu64 " records and found damage %" PRIu32 ", %" PRIu64 " blocks",
               report.record_count, report.file_damage, report.damaged_count);
    if (info.capacity < claim->capacity || info.capacity < info.count)
        refuse("capacity is %" PRIu64 ", %" PRIu64 " was promised", info.capacity, claim->capacity);
    *out_entry_count = info.opened_entries_replayed;
    return found;
}

static const struct work *look(const struct claim *claim, uint64_t *out_entry_count)
{
    struct bytes before = read_bytes(claim->path, 0, UINT64_MAX);
    uint64_t changed = agent_changed(claim->path);
    struct stele *store;
    expect(stele_open(claim->path, NULL, &store), STELE_OK, "open read-only");
    const struct work *found = check_store(claim, store, claim->damage_allowed, out_entry_count);
    expect(stele_close(store), STELE_OK, "close");
    struct bytes after = read_bytes(claim->path, 0, UINT64_MAX);
    if (!changed || changed != agent_changed(claim->path))
        refuse("a read-only handle changed the time of the file");
    expect_same(&before, &after, "the file under a read-only handle");
    return found;
}

/* ---- recovery ---- */

/* Open for writing and look; the store stays open until this process dies. */
static void open_for_writing(const struct claim *claim, const struct work *found)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store;
    uint64_t entry_count;
    options.mode = STELE_READ_WRITE;
    expect(stele_open(claim->path, &options, &store), STELE_OK, "open for writing");
    const struct work *again = check_store(claim, store, claim->damage_allowed, &entry_count);
    if (again != found)
        refuse("read-only showed the state of %" PRIu64 ", recovery made that of %" PRIu64, found->done,
               again->done);
}

/* Recover what recovered already; the state that is there then, in *@out_entry_count what was left to replay. */
static const struct work *settle(const struct claim *claim, uint64_t *out_entry_count)
{
    struct stele_info info = STELE_INFO_INIT;
    struct stele_recovery report = STELE_RECOVERY_INIT;
    struct stele *store;
    expect(stele_open(claim->path, NULL, &store), STELE_OK, "open after recovery");
    expect(stele_info(store, &info), STELE_OK, "info");
    expect(stele_close(store), STELE_OK, "close");
    uint64_t blocks = (info.count + info.records_per_block - 1) / info.records_per_block;
    struct bytes records = read_bytes(claim->path, info.records_offset, info.count * info.record_bytes);
    struct bytes sums = read_bytes(claim->path, info.sums_offset, blocks * 8);
    expect(stele_recover(claim->path, NULL, &report), STELE_OK, "recover again");
    if (report.kind != STELE_RECOVERY_NONE || report.entry_count || report.restored_count ||
        report.damaged_count || report.count != info.count)
        refuse("the second recovery found something to do: %" PRIu64 " entries", report.entry_count);
    struct bytes records_again = read_bytes(claim->path, info.records_offset, info.count * info.record_bytes);
    struct bytes sums_again = read_bytes(claim->path, info.sums_offset, blocks * 8);
    expect_same(&records, &records_again, "records after the second recovery");
    expect_same(&sums, &sums_again, "sums after the second recovery");
    return look(claim, out_entry_count);
}

int main(int count, char **words)
{
    if (count != 12)
        work_die("usage: kill_judge look|open|cut|settle PATH SHAPE LOW HIGH LOW_SEQUENCE HIGH_SEQUENCE CAPACITY");
    agent_begin();
    const char *verb = words[1];
    struct work_shape shape = work_shape_read(words + 3);
    uint64_t numbers[5], entry_count;
    for (unsigned i = 0; i < 5; i++)
        numbers[i] = strtoull(words[7 + i], NULL, 10);
    struct claim claim = {
        .path = words[2], .low_sequence = numbers[2], .high_sequence = numbers[3], .capacity = numbers[4]};
    work_init(&claim.low, &shape, numbers[0]);
    work_init(&claim.high, &shape, numbers[1]);
    if (strcmp(verb, "cut") == 0)
        claim.damage_allowed = STELE_FILE_DAMAGE_SLOT_A | STELE_FILE_DAMAGE_SLOT_B;
    const struct work *found =
        strcmp(verb, "settle") == 0 ? settle(&claim, &entry_count) : look(&claim, &entry_count);
    const bool dies = strcmp(verb, "open") == 0 || strcmp(verb, "cut") == 0;
    if (dies)
        open_for_writing(&claim, found);
    printf("found %" PRIu64 " entries %" PRIu64 "\n", found->done, entry_count);
    fflush(stdout);
    work_done(&claim.low);
    work_done(&claim.high);
    if (dies)
        agent_die();
    return 0;
}
