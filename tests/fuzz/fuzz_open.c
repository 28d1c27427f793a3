/*
 * Hostile stores with right checksums: each image is opened read-only, for writing, and by force, and takes every
 * call. It is a store or a refusal with the file's name; who only reads changes no byte; what is refused is not
 * changed; what is written can be read again; and an open takes no more memory and reads no more than it may.
 */
#include "fuzz.h"
#include "image.h"
#include "lies.h"
#include "seeds.h"
#include "superblock.h"
#include "system.h"
#include "wrap.h"

#include <string.h>

enum { TELLS_MAX = 2, COUNT_MAX = 200 };
#define MIB (UINT64_C(1) << 20)
#define OPEN_BYTES_MAX (16 * MIB)
#define DISK_BYTES_MAX (16 * MIB)
#define LENGTH_MAX (UINT64_C(1) << 40)

static struct image work;
static uint8_t packed[PACKED_BYTES_MAX];
static struct {
    uint8_t *packed;
    size_t byte_count;
} seeds[SEED_COUNT];
static char folder[64], path[96];
static FILE *file;
static struct {
    unsigned long long to_read, to_write, by_force;
} opened; /* that many were taken for stores */
static uint64_t random_state; /* what the library takes for chance: the same at each start */
static uint8_t record[STELE_RECORD_BYTES_LIMIT];

/* ---- what the library asks of the system ---- */

static struct {
    uint64_t allocated_bytes; /* all that was asked for, given back or not */
    uint64_t read_bytes;
} asked;

static void count_bytes(uint64_t bytes) { asked.allocated_bytes += bytes; }

WRAPPED(void *, malloc, size_t bytes)
{
    count_bytes(bytes);
    return REAL(malloc)(bytes);
}

WRAPPED(void *, calloc, size_t count, size_t bytes)
{
    count_bytes((uint64_t)count * bytes);
    return REAL(calloc)(count, bytes);
}

WRAPPED(void *, realloc, void *memory, size_t bytes)
{
    count_bytes(bytes);
    return REAL(realloc)(memory, bytes);
}

WRAPPED(int, stele_os_read, const struct stele_os_file *from, uint64_t offset, void *out, size_t byte_count)
{
    asked.read_bytes += byte_count;
    return REAL(stele_os_read)(from, offset, out, byte_count);
}

WRAPPED(int, stele_os_sync, const struct stele_os_file *of)
{
    (void)of;
    return STELE_OK;
}

WRAPPED(int, stele_os_allocate, const struct stele_os_file *of, uint64_t offset, uint64_t byte_count)
{
    if (byte_count > DISK_BYTES_MAX)
        return stele_fail(STELE_E_FULL, "no disk for %" PRIu64 " bytes here", byte_count);
    return REAL(stele_os_allocate)(of, offset, byte_count);
}

WRAPPED(int, stele_os_random, void *out, size_t byte_count)
{
    uint8_t *at = out;

    for (size_t i = 0; i < byte_count; i++)
        at[i] = (uint8_t)(chance_next(&random_state) >> 40);
    return STELE_OK;
}

WRAPPED(uint64_t, stele_os_now_us, void)
{
    static uint64_t now_us = UINT64_C(1700000000000000);

    return now_us += 1000;
}

WRAPPED(uint64_t, stele_os_process_id, void)
{
    return 1;
}

/* ---- using what opened ---- */

/* What may come of a file that lies. */
static bool is_refusal(int code)
{
    return code == STELE_E_DAMAGED || code == STELE_E_VERSION || code == STELE_E_TRUNCATED || code == STELE_E_FORMAT ||
           code == STELE_E_STALE;
}

/* Of a call, beside those. */
static bool is_answer(int code)
{
    return code == STELE_OK || code == STELE_END || is_refusal(code) || code == STELE_E_RANGE || code == STELE_E_FULL ||
           code == STELE_E_TOO_BIG || code == STELE_E_CONFLICT;
}

static void look_at_records(struct stele *store)
{
    const uint64_t count = stele_count(store);
    const uint64_t indexes[] = { 0, 1, count / 2, count - 1, count, UINT64_MAX };
    struct stele_cursor *cursor = NULL;
    struct stele_view view = { .record_count = 0 };
    const void *batch;
    size_t n = 0;

    for (size_t i = 0; i < COUNT_OF(indexes); i++) {
        int rc = stele_get(store, indexes[i], record);
        HOLDS(is_answer(rc) && (indexes[i] < count) == (rc != STELE_E_RANGE));
    }
    HOLDS(is_answer(stele_cursor_open(store, count / 2, COUNT_MAX, &cursor)));
    if (cursor)
        HOLDS(is_answer(stele_cursor_next(cursor, &batch, &n)));
    stele_cursor_close(cursor);
    HOLDS(is_answer(stele_view_open(store, count / 2, count ? 1 : 0, &view)));
    if (view.record_count)
        HOLDS(is_answer(stele_view_copy(&view, 0, 1, record)));
    stele_view_close(&view);
}

static int look_at_all(struct stele *store)
{
    struct stele_verify_report report = STELE_VERIFY_REPORT_INIT;
    struct stele_verify_options options = STELE_VERIFY_OPTIONS_INIT;
    struct stele_info info = STELE_INFO_INIT;

    HOLDS(stele_info(store, &info) == STELE_OK);
    HOLDS(info.count == stele_count(store) && info.count <= info.capacity);
    HOLDS(stele_schema_record_bytes(stele_schema_of(store)) == info.record_bytes);
    look_at_records(store);
    options.record_count = stele_min(stele_count(store), COUNT_MAX);
    int rc = stele_verify(store, &options, &report);
    HOLDS(rc == STELE_OK || is_refusal(rc));
    HOLDS(is_answer(stele_outcome(store, info.sequence)) || stele_last_error()->code == STELE_E_ABSENT ||
          stele_last_error()->code == STELE_E_UNKNOWN);
    return rc;
}

/* ---- opening ---- */

/* The ring that the headers speak of at most. */
static uint64_t ring_bytes(void)
{
    uint64_t most = 0;

    for (unsigned which = 0; which < 2; which++) {
        const struct stele_slot *slot = image_at(&work, which * STELE_SLOT_BYTES, STELE_SLOT_BYTES);
        for (size_t i = 0; i < STELE_REGION_COUNT; i++) {
            if (slot->regions[i].kind == STELE_REGION_JOURNAL)
                most = stele_max(most, stele_min(slot->regions[i].bytes, STELE_JOURNAL_BYTES_MAX));
        }
    }
    return most;
}

static int open_within_bounds(uint32_t mode, struct stele **out)
{
    struct stele_options options = STELE_OPTIONS_INIT;

    options.mode = mode;
    options.lock_wait_ms = options.read_wait_ms = 1;
    memset(&asked, 0, sizeof(asked));
    int rc = stele_open(path, &options, out);
    const uint64_t record_bytes = rc ? 0 : stele_schema_record_bytes(stele_schema_of(*out));
    HOLDS(asked.allocated_bytes <= OPEN_BYTES_MAX + 4 * record_bytes);
    HOLDS(asked.read_bytes <= 4 * ring_bytes() + MIB);
    if (rc) {
        HOLDS(is_refusal(rc) || (rc == STELE_E_READONLY && mode == STELE_READ_WRITE));
        HOLDS(strstr(stele_last_error()->text, path) && strlen(stele_last_error()->text) > strlen(path) + 20);
    }
    return rc;
}

static int open_for_reading(void)
{
    struct stele *store = NULL;
    int rc = open_within_bounds(STELE_READ_ONLY, &store);

    if (!rc) {
        opened.to_read++;
        look_at_all(store);
        HOLDS(stele_close(store) == STELE_OK);
    }
    HOLDS(image_is_file(&work, file, 0, 0));
    return rc;
}

/* What is written is there afterwards, whoever looks. */
static void write_and_look_again(struct stele *store, uint64_t state)
{
    static uint8_t before[STELE_RECORD_BYTES_LIMIT];
    const size_t bytes = (size_t)stele_schema_record_bytes(stele_schema_of(store));
    uint64_t count = stele_count(store), index = chance_below(&state, count);

    memset(before, 0, bytes);
    before[0] = 1;
    int rc = count ? stele_set(store, index, before) : STELE_E_RANGE;
    HOLDS(is_answer(rc));
    if (!rc) {
        HOLDS(stele_get(store, index, before) == STELE_OK);
        look_at_all(store);
    }
    if (chance_below(&state, 2)) {
        int appended = stele_append(store, record, 1, NULL);
        HOLDS(is_answer(appended));
        count += !appended;
    }
    int closed = stele_close(store);
    HOLDS(closed == STELE_OK || is_refusal(closed));
    if (closed)
        return;
    HOLDS(open_within_bounds(STELE_READ_ONLY, &store) == STELE_OK);
    HOLDS(stele_count(store) == count);
    if (!rc)
        HOLDS(stele_get(store, index, record) == STELE_OK && memcmp(record, before, bytes) == 0);
    look_at_all(store);
    HOLDS(stele_close(store) == STELE_OK);
}

static int open_for_writing(int read_code, uint64_t state)
{
    struct stele *store = NULL;
    int rc = open_within_bounds(STELE_READ_WRITE, &store);

    if (rc) {
        HOLDS(image_is_file(&work, file, STELE_LIVE_OFFSET, STELE_LIVE_OFFSET + STELE_LIVE_BYTES));
        return rc;
    }
    HOLDS(read_code == STELE_OK);
    opened.to_write++;
    look_at_all(store);
    write_and_look_again(store, state);
    return rc;
}

static void recover_by_force(void)
{
    struct stele_recovery report = STELE_RECOVERY_INIT;
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store = NULL;

    options.mode = STELE_READ_WRITE;
    options.flags = STELE_FORCE;
    options.lock_wait_ms = 1;
    int rc = stele_recover(path, &options, &report);
    HOLDS(is_answer(rc) || rc == STELE_E_READONLY);
    if (rc)
        return;
    opened.by_force++;
    HOLDS(open_within_bounds(STELE_READ_ONLY, &store) == STELE_OK);
    look_at_all(store);
    HOLDS(stele_close(store) == STELE_OK);
}

static void take_seed(uint64_t which)
{
    HOLDS(image_unpack(&work, seeds[which % SEED_COUNT].packed, seeds[which % SEED_COUNT].byte_count));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t byte_count)
{
    uint64_t state = byte_count;

    if (!image_unpack(&work, data, byte_count))
        take_seed(byte_count ? data[0] : 0);
    work.file_bytes = stele_min(work.file_bytes, LENGTH_MAX);
    HOLDS(image_write(&work, file));
    int rc = open_for_reading();
    if (open_for_writing(rc, state) == STELE_E_DAMAGED)
        recover_by_force();
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t byte_count, size_t room_bytes, unsigned seed)
{
    uint64_t state = seed;

    /* What went wrong long ago leads nowhere: now and then another beginning. */
    if (!image_unpack(&work, data, byte_count) || chance_below(&state, 16) == 0)
        take_seed(chance_below(&state, SEED_COUNT));
    for (uint64_t n = 1 + chance_below(&state, TELLS_MAX); n > 0; n--)
        lies_tell(&work, &state);
    lies_repair(&work, &state);
    size_t bytes = image_pack(&work, packed, (size_t)stele_min(room_bytes, sizeof(packed)));
    if (bytes == 0)
        return byte_count;
    memcpy(data, packed, bytes);
    return bytes;
}

static void drop_folder(void)
{
    if (file)
        fclose(file);
    system_drop_folder(folder);
    for (unsigned i = 0; i < SEED_COUNT; i++)
        free(seeds[i].packed);
    fprintf(stderr, "Opened: %llu to read, %llu to write, %llu by force\n", opened.to_read, opened.to_write,
            opened.by_force);
}

int LLVMFuzzerInitialize(int *count, char ***words)
{
    const char *place = system_fast_place();

    (void)count;
    (void)words;
    snprintf(folder, sizeof(folder), "%s/fuzz-XXXXXX", place ? place : system_place());
    HOLDS(system_make_folder(folder));
    atexit(drop_folder);
    snprintf(path, sizeof(path), "%s/a.stele", folder);
    for (unsigned i = 0; i < SEED_COUNT; i++) {
        HOLDS(seed_make(path, i, &work));
        seeds[i].byte_count = image_pack(&work, packed, sizeof(packed));
        seeds[i].packed = malloc(seeds[i].byte_count);
        HOLDS(seeds[i].byte_count && seeds[i].packed);
        memcpy(seeds[i].packed, packed, seeds[i].byte_count);
    }
    file = fopen(path, "w+b");
    HOLDS(file && setvbuf(file, NULL, _IONBF, 0) == 0);
    return 0;
}
