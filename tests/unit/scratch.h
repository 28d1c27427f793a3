/*
 * Scratch: what the suites of the store share: a folder of their own, small stores, chance.
 */
#ifndef SCRATCH_H
#define SCRATCH_H

#include "error.h"
#include "superblock.h"
#include "system.h"

#include "stele.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { KIB = 1024, MIB = 1024 * 1024 };

#define COUNT_OF(list) (sizeof(list) / sizeof((list)[0]))

/* What a call of the library is to return, with the library's own sentence where it does not. */
#define assert_code(call, code)                                                                              \
    do {                                                                                                     \
        int got_ = (call);                                                                                   \
        if (got_ != (code))                                                                                  \
            fail_msg("%s is %d, not %d; last error: %s", #call, got_, (code), stele_last_error()->text);     \
    } while (0)
#define assert_ok(call) assert_code(call, STELE_OK)
#define assert_says(words)                                                                                   \
    do {                                                                                                     \
        if (!strstr(stele_last_error()->text, (words)))                                                      \
            fail_msg("'%s' is not in: %s", (words), stele_last_error()->text);                               \
    } while (0)
#define assert_u64(a, b)                                                                                     \
    do {                                                                                                     \
        uint64_t a_ = (a), b_ = (b);                                                                         \
        if (a_ != b_)                                                                                        \
            fail_msg("%s is %" PRIu64 ", not %" PRIu64 " (%s)", #a, a_, b_, #b);                             \
    } while (0)

/* ---- the folder ---- */

static char scratch_folder[64] CARRIED;
static char scratch_path[96] CARRIED; /* a file in the folder; not made yet */

static inline int scratch_make_in(const char *where)
{
    snprintf(scratch_folder, sizeof(scratch_folder), "%s/unit-XXXXXX", where);
    if (!system_make_folder(scratch_folder))
        return -1;
    snprintf(scratch_path, sizeof(scratch_path), "%s/a.stele", scratch_folder);
    return 0;
}

static inline int scratch_make(void **state)
{
    return scratch_make_in(system_place());
}

/* In memory where the system has such a place: for suites of very many syncs. */
static inline int scratch_make_fast(void **state)
{
    return system_fast_place() ? scratch_make_in(system_fast_place()) : scratch_make(state);
}

static inline int scratch_drop(void **state)
{
    return system_drop_folder(scratch_folder) ? 0 : -1;
}

#define IN_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_make, scratch_drop)
#define IN_FAST_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_make_fast, scratch_drop)

static inline const char *scratch_name(const char *name)
{
    static char names[4][128];
    static unsigned turn;
    char *out = names[turn++ % 4];

    snprintf(out, sizeof(names[0]), "%s/%s", scratch_folder, name);
    return out;
}

/* ---- bytes of files ---- */

static inline FILE *file_at(const char *path, const char *mode, uint64_t offset)
{
    FILE *file = fopen(path, mode);

    REQUIRE(file && fseeko(file, (off_t)offset, SEEK_SET) == 0);
    return file;
}

static inline void peek(const char *path, uint64_t offset, void *out, size_t byte_count)
{
    FILE *file = file_at(path, "rb", offset);

    REQUIRE(fread(out, 1, byte_count, file) == byte_count);
    fclose(file);
}

static inline bool is_file(const char *path)
{
    FILE *file = fopen(path, "rb");

    if (file)
        fclose(file);
    return file != NULL;
}

/* What is not there is made. */
static inline void poke(const char *path, uint64_t offset, const void *bytes, size_t byte_count)
{
    FILE *file = file_at(path, is_file(path) ? "r+b" : "w+b", offset);

    REQUIRE(fwrite(bytes, 1, byte_count, file) == byte_count);
    REQUIRE(fclose(file) == 0);
}

static inline uint64_t size_of_file(const char *path)
{
    FILE *file = file_at(path, "rb", 0);
    off_t end;

    REQUIRE(fseeko(file, 0, SEEK_END) == 0);
    end = ftello(file);
    fclose(file);
    return (uint64_t)end;
}

/* Cut the file, or make it longer by zeros. */
static inline void set_size_of_file(const char *path, uint64_t bytes)
{
    FILE *file = file_at(path, "r+b", 0);

    REQUIRE(system_set_bytes(file, bytes));
    fclose(file);
}

/* Pages of zeros stay holes. */
static inline void copy_file(const char *from, const char *to)
{
    static unsigned char bytes[64 * KIB];
    FILE *source = file_at(from, "rb", 0), *target = file_at(to, "wb", 0);
    uint64_t at = 0;
    size_t got;

    while ((got = fread(bytes, 1, sizeof(bytes), source)) > 0) {
        for (size_t page = 0; page < got; page += 4096) {
            size_t n = got - page < 4096 ? got - page : 4096;

            if (stele_is_zero(bytes + page, n))
                continue;
            REQUIRE(fseeko(target, (off_t)(at + page), SEEK_SET) == 0);
            REQUIRE(fwrite(bytes + page, 1, n, target) == n);
        }
        at += got;
    }
    REQUIRE(!ferror(source) && system_set_bytes(target, at));
    fclose(source);
    fclose(target);
}

/* A hash of the whole file, to see that nothing changed. */
static inline uint64_t print_of_file(const char *path)
{
    static unsigned char bytes[64 * KIB];
    FILE *file = file_at(path, "rb", 0);
    uint64_t print = 1;
    size_t got;

    while ((got = fread(bytes, 1, sizeof(bytes), file)) > 0) {
        for (size_t i = 0; i < got; i += 8) {
            uint64_t word = 0;
            memcpy(&word, bytes + i, got - i < 8 ? got - i : 8);
            print = (print ^ word) * UINT64_C(0x9e3779b97f4a7c15);
            print ^= print >> 29;
        }
    }
    fclose(file);
    return print;
}

/* ---- chance ---- */

struct chance {
    uint64_t state;
};

/* The seed of a random test: printed, and taken from STELE_SEED. */
static inline struct chance chance_begin(void)
{
    const char *given = getenv("STELE_SEED");
    uint64_t seed = 0;

    if (given && *given)
        seed = strtoull(given, NULL, 0);
    else
        REQUIRE(stele_os_random(&seed, sizeof(seed)) == STELE_OK);
    print_message("seed: STELE_SEED=%" PRIu64 "\n", seed);
    return (struct chance){ .state = seed };
}

/* splitmix64 */
static inline uint64_t chance_next(struct chance *chance)
{
    uint64_t mixed = chance->state += UINT64_C(0x9e3779b97f4a7c15);

    mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ (mixed >> 31);
}

static inline uint64_t chance_below(struct chance *chance, uint64_t end)
{
    return end ? chance_next(chance) % end : 0;
}

static inline void chance_fill(struct chance *chance, void *out, size_t byte_count)
{
    unsigned char *at = out;

    for (size_t i = 0; i < byte_count; i++)
        at[i] = (unsigned char)(chance_next(chance) >> 40);
}

/* STELE_TEST_SCALE, in percent. */
static inline unsigned scale_percent(void)
{
    const char *given = getenv("STELE_TEST_SCALE");

    return given && *given ? (unsigned)strtoul(given, NULL, 10) : 100;
}

/* @repetitions at scale 100, fewer below, at least @least. */
static inline unsigned scaled(unsigned repetitions, unsigned least)
{
    unsigned scale = scale_percent();
    unsigned n = (unsigned)((uint64_t)repetitions * scale / 100);

    return n > least ? n : least;
}

/* ---- stores ---- */

/* One field of bytes, no padding. */
static inline struct stele_schema *schema_of_bytes(uint32_t record_bytes)
{
    struct stele_field field = { .name = "bytes", .type = STELE_BYTES, .bytes = record_bytes };
    struct stele_schema *schema = NULL;

    REQUIRE(stele_schema_new("Record", record_bytes, &field, 1, &schema) == STELE_OK);
    return schema;
}

static inline struct stele *create_store(uint32_t record_bytes, uint64_t capacity, uint64_t journal_bytes,
                                         uint32_t flags)
{
    struct stele_schema *schema = schema_of_bytes(record_bytes);
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store = NULL;

    options.schema = schema;
    options.capacity_records = capacity;
    options.journal_bytes = journal_bytes;
    options.flags = flags;
    options.lock_wait_ms = 200;
    options.read_wait_ms = 200;
    if (stele_create(scratch_path, &options, &store))
        store = NULL;
    stele_schema_free(schema);
    return store;
}

static inline struct stele *open_store(uint32_t mode)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store = NULL;

    options.mode = mode;
    options.lock_wait_ms = 200;
    options.read_wait_ms = 200;
    if (stele_open(scratch_path, &options, &store))
        store = NULL;
    return store;
}

#define assert_store(store)                                                                                  \
    do {                                                                                                     \
        if (!(store))                                                                                        \
            fail_msg("no store: %s", stele_last_error()->text);                                              \
    } while (0)

/* The bytes that record @index has in its @age-th edition. */
static inline void fill_record(uint8_t *record, size_t record_bytes, uint64_t index, uint64_t age)
{
    struct chance chance = { .state = index * UINT64_C(0x100000001b3) + age };

    for (size_t at = 0; at < record_bytes; at += 8) {
        uint64_t word = chance_next(&chance);
        memcpy(record + at, &word, record_bytes - at < 8 ? record_bytes - at : 8);
    }
}

static inline void fill_records(uint8_t *records, size_t record_bytes, uint64_t first, uint64_t count,
                                uint64_t age)
{
    for (uint64_t i = 0; i < count; i++)
        fill_record(records + i * record_bytes, record_bytes, first + i, age);
}

static inline void assert_verifies(struct stele *store)
{
    struct stele_verify_report report = STELE_VERIFY_REPORT_INIT;

    assert_ok(stele_verify(store, NULL, &report));
    assert_u64(report.damaged_count, 0);
    assert_u64(report.file_damage, 0);
    assert_u64(report.record_count, stele_count(store));
}

static inline struct stele_info info_of(struct stele *store)
{
    struct stele_info info = STELE_INFO_INIT;

    assert_ok(stele_info(store, &info));
    return info;
}

#endif
