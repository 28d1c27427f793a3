/*
 * The first figures: stele against the bare thing, one after the other in one run. Prints, asserts nothing.
 *
 *   figures [--dir DIR] [--bytes SIZE] [--gets N] [--sets N] [--scan SIZE]
 *
 * Each row gives the median of several rounds for stele and for the bare way, and their ratio:
 *   random get      stele_get against a memcpy of the record out of a mapped file; indexes drawn beforehand
 *   bulk load       one stele_append into a new store against write(2) of the same bytes and one fdatasync
 *   durable set     stele_set against pwritev2 of 4 KiB with RWF_DSYNC into a file that was written before
 *   open            a read-only open, one get and close of a sparse store of 16 GB
 *   scan            all records of a store by a cursor with 64 MiB mapped at most against one without a limit; turn by
 *                   turn, each by a handle of its own, out of the cache as far as memory holds it
 */
#include <stele.h>

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 5

struct settings {
    const char *directory;
    uint64_t bytes, get_count, set_count, scan_bytes;
};

static void fail(const char *what)
{
    const struct stele_error *error = stele_last_error();
    fprintf(stderr, "figures: %s: %s\n", what, error->code ? error->text : "the system refused");
    exit(3);
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static int by_value(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return left < right ? -1 : left > right;
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof(*values), by_value);
    return values[count / 2];
}

static uint64_t random_next(uint64_t *state)
{
    *state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t x = *state;
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static void path_of(const struct settings *settings, const char *name, char *out, size_t room)
{
    if ((size_t)snprintf(out, room, "%s/%s", settings->directory, name) >= room)
        fail("the directory's name is too long");
}

static struct stele_schema *schema_of(uint64_t record_bytes)
{
    struct stele_field field = { .name = "payload", .type = STELE_BYTES, .bytes = (uint32_t)record_bytes };
    struct stele_schema *schema;
    if (stele_schema_new("Record", record_bytes, &field, 1, &schema))
        fail("schema");
    return schema;
}

/* ---- bulk load ---- */

static double load_stele(const char *path, uint64_t record_bytes, const uint8_t *data, uint64_t bytes)
{
    struct stele_schema *schema = schema_of(record_bytes);
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store;
    options.schema = schema;
    unlink(path);
    double from = now_s();
    options.capacity_records = bytes / record_bytes;
    if (stele_create(path, &options, &store) || stele_append(store, data, (size_t)(bytes / record_bytes), NULL))
        fail("bulk load");
    double took = now_s() - from;
    if (stele_close(store))
        fail("close");
    stele_schema_free(schema);
    return took;
}

static double load_bare(const char *path, const uint8_t *data, uint64_t bytes)
{
    unlink(path);
    double from = now_s();
    int file = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    if (file < 0)
        fail(path);
    for (uint64_t at = 0; at < bytes;) {
        ssize_t n = write(file, data + at, (size_t)(bytes - at < 1 << 20 ? bytes - at : 1 << 20));
        if (n <= 0)
            fail("write");
        at += (uint64_t)n;
    }
    if (fdatasync(file))
        fail("fdatasync");
    double took = now_s() - from;
    close(file);
    return took;
}

/* ---- random get ---- */

static volatile uint64_t sink; /* keeps the copies alive */

static double get_stele(struct stele *store, const uint64_t *indexes, uint64_t count, uint8_t *record)
{
    uint64_t sum = 0;
    double from = now_s();
    for (uint64_t i = 0; i < count; i++) {
        if (stele_get(store, indexes[i], record))
            fail("get");
        sum += record[0];
    }
    double took = now_s() - from;
    sink += sum;
    return took;
}

static double get_bare(const uint8_t *array, uint64_t record_bytes, const uint64_t *indexes, uint64_t count,
                       uint8_t *record)
{
    uint64_t sum = 0;
    double from = now_s();
    for (uint64_t i = 0; i < count; i++) {
        memcpy(record, array + indexes[i] * record_bytes, (size_t)record_bytes);
        __asm__ volatile("" : : "r"(record) : "memory");
        sum += record[0];
    }
    double took = now_s() - from;
    sink += sum;
    return took;
}

static void warm(const uint8_t *bytes, uint64_t count)
{
    uint64_t sum = 0;
    for (uint64_t at = 0; at < count; at += 4096)
        sum += bytes[at];
    sink += sum;
}

static void row(const char *what, const char *unit, double stele, double bare)
{
    printf("  %-34s %10.1f %10.1f %-8s %6.2f x\n", what, stele, bare, unit, stele / bare);
    fflush(stdout);
}

static void get_rows(const struct settings *settings, const char *store_path, const char *bare_path,
                     uint64_t record_bytes)
{
    uint64_t count = settings->bytes / record_bytes, seed = 1;
    uint64_t *indexes = malloc((size_t)settings->get_count * sizeof(*indexes));
    uint8_t *record = malloc((size_t)record_bytes), *all = malloc(1 << 20);
    double stele_s[ROUNDS], bare_s[ROUNDS];
    struct stele *store;
    int file = open(bare_path, O_RDONLY | O_CLOEXEC);
    uint8_t *array = file < 0 ? MAP_FAILED : mmap(NULL, (size_t)settings->bytes, PROT_READ, MAP_SHARED, file, 0);
    if (!indexes || !record || !all || array == MAP_FAILED || stele_open(store_path, NULL, &store))
        fail("open for get");
    for (uint64_t i = 0; i < settings->get_count; i++)
        indexes[i] = random_next(&seed) % count;
    warm(array, settings->bytes);
    for (uint64_t i = 0; i < count; i += (1 << 20) / record_bytes) {
        uint64_t n = count - i < (1 << 20) / record_bytes ? count - i : (1 << 20) / record_bytes;
        if (stele_read(store, i, (size_t)n, all))
            fail("read");
    }
    for (int round = 0; round < ROUNDS; round++) {
        stele_s[round] = get_stele(store, indexes, settings->get_count, record);
        bare_s[round] = get_bare(array, record_bytes, indexes, settings->get_count, record);
    }
    char what[64];
    snprintf(what, sizeof(what), "random get, %" PRIu64 " bytes", record_bytes);
    row(what, "ns each", median(stele_s, ROUNDS) * 1e9 / (double)settings->get_count,
        median(bare_s, ROUNDS) * 1e9 / (double)settings->get_count);
    stele_close(store);
    munmap(array, (size_t)settings->bytes);
    close(file);
    free(indexes);
    free(record);
    free(all);
}

/* ---- durable set ---- */

static double set_bare(int file, uint64_t count)
{
    static uint8_t page[4096];
    double from = now_s();
    for (uint64_t i = 0; i < count; i++) {
        struct iovec iov = { .iov_base = page, .iov_len = sizeof(page) };
        page[0] = (uint8_t)i;
        if (pwritev2(file, &iov, 1, (off_t)(i % 256 * 4096), RWF_DSYNC) != (ssize_t)sizeof(page))
            fail("pwritev2");
    }
    return now_s() - from;
}

static double set_stele(struct stele *store, uint64_t records, uint64_t count, const uint8_t *record, uint64_t *seed)
{
    double from = now_s();
    for (uint64_t i = 0; i < count; i++) {
        if (stele_set(store, random_next(seed) % records, record))
            fail("set");
    }
    return now_s() - from;
}

static void set_rows(const struct settings *settings, const char *store_path, uint64_t record_bytes)
{
    char bare_path[4096], what[64];
    path_of(settings, "figures-ring", bare_path, sizeof(bare_path));
    uint8_t *zeros = calloc(1, 1 << 20), *record = calloc(1, (size_t)record_bytes);
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store;
    double stele_s[ROUNDS], bare_s[ROUNDS];
    uint64_t seed = 2;
    int file = open(bare_path, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);
    options.mode = STELE_READ_WRITE;
    if (!zeros || !record || file < 0 || write(file, zeros, 1 << 20) != 1 << 20 || fsync(file) ||
        stele_open(store_path, &options, &store))
        fail("open for set");
    for (int round = 0; round < ROUNDS; round++) {
        stele_s[round] = set_stele(store, settings->bytes / record_bytes, settings->set_count, record, &seed);
        bare_s[round] = set_bare(file, settings->set_count);
    }
    snprintf(what, sizeof(what), "durable set, %" PRIu64 " bytes", record_bytes);
    row(what, "us each", median(stele_s, ROUNDS) * 1e6 / (double)settings->set_count,
        median(bare_s, ROUNDS) * 1e6 / (double)settings->set_count);
    if (stele_close(store))
        fail("close");
    close(file);
    unlink(bare_path);
    free(zeros);
    free(record);
}

/* ---- open ---- */

static void open_row(const struct settings *settings)
{
    char path[4096];
    struct stele_schema *schema = schema_of(16);
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store;
    uint8_t record[16];
    double took_s[101];
    path_of(settings, "figures-sparse.stele", path, sizeof(path));
    unlink(path);
    options.schema = schema;
    options.flags = STELE_SPARSE;
    options.capacity_records = UINT64_C(1000000000);
    if (stele_create(path, &options, &store) || stele_set_count(store, options.capacity_records) || stele_close(store))
        fail("create a sparse store");
    for (size_t i = 0; i < sizeof(took_s) / sizeof(took_s[0]); i++) {
        double from = now_s();
        if (stele_open(path, NULL, &store) || stele_get(store, options.capacity_records - 1, record) ||
            stele_close(store))
            fail("open read-only");
        took_s[i] = now_s() - from;
    }
    printf("  %-34s %10.1f us: open, get and close of 10^9 records, 16 GB\n", "read-only open, sparse",
           median(took_s, sizeof(took_s) / sizeof(took_s[0])) * 1e6);
    stele_schema_free(schema);
    unlink(path);
}

/* ---- scan ---- */

static double scan(const char *path, uint64_t max_mapped_bytes, uint64_t count)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store = NULL;
    struct stele_cursor *cursor = NULL;
    const void *records;
    uint64_t seen = 0, sum = 0;
    size_t n;
    options.max_mapped_bytes = max_mapped_bytes;
    double from = now_s();
    if (stele_open(path, &options, &store) || stele_cursor_open(store, 0, UINT64_MAX, &cursor))
        fail("open for a scan");
    while (stele_cursor_next(cursor, &records, &n) == STELE_OK) {
        sum += *(const uint8_t *)records;
        seen += n;
    }
    stele_cursor_close(cursor);
    if (seen != count || stele_close(store))
        fail("scan");
    sink += sum;
    return now_s() - from;
}

static void scan_row(const struct settings *settings, const uint8_t *data)
{
    enum { RECORD_BYTES = 512 };
    char path[4096], what[64];
    struct stele_schema *schema = schema_of(RECORD_BYTES);
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store;
    double small_s[ROUNDS], free_s[ROUNDS];
    uint64_t count = 0, piece = settings->bytes / RECORD_BYTES;
    path_of(settings, "figures-scan.stele", path, sizeof(path));
    unlink(path);
    options.schema = schema;
    options.capacity_records = settings->scan_bytes / RECORD_BYTES;
    if (stele_create(path, &options, &store))
        fail("create a store to scan");
    for (; count < options.capacity_records; count += piece) {
        if (piece > options.capacity_records - count)
            piece = options.capacity_records - count;
        if (stele_append(store, data, (size_t)piece, NULL))
            fail("fill a store to scan");
    }
    if (stele_close(store))
        fail("close");
    (void)scan(path, 0, count);
    for (int round = 0; round < ROUNDS; round++) {
        small_s[round] = scan(path, UINT64_C(64) << 20, count);
        free_s[round] = scan(path, 0, count);
    }
    snprintf(what, sizeof(what), "scan with 64 MiB, without limit");
    row(what, "ms/GiB", median(small_s, ROUNDS) * 1e3 * 1073741824.0 / (double)settings->scan_bytes,
        median(free_s, ROUNDS) * 1e3 * 1073741824.0 / (double)settings->scan_bytes);
    stele_schema_free(schema);
    unlink(path);
}

static void rows_of(const struct settings *settings, uint64_t record_bytes, const uint8_t *data)
{
    char store_path[4096], bare_path[4096], what[64];
    double stele_s[ROUNDS], bare_s[ROUNDS], bytes = (double)settings->bytes;
    path_of(settings, "figures.stele", store_path, sizeof(store_path));
    path_of(settings, "figures-bare", bare_path, sizeof(bare_path));
    for (int round = 0; round < 3; round++) {
        stele_s[round] = load_stele(store_path, record_bytes, data, settings->bytes);
        bare_s[round] = load_bare(bare_path, data, settings->bytes);
    }
    snprintf(what, sizeof(what), "bulk load, %" PRIu64 " bytes", record_bytes);
    row(what, "ms/GiB", median(stele_s, 3) * 1e3 * 1073741824.0 / bytes,
        median(bare_s, 3) * 1e3 * 1073741824.0 / bytes);
    get_rows(settings, store_path, bare_path, record_bytes);
    set_rows(settings, store_path, record_bytes);
    unlink(store_path);
    unlink(bare_path);
}

static uint64_t size_of(const char *text)
{
    char *end;
    unsigned long long value = strtoull(text, &end, 10);
    unsigned shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
    if (end == text || (shift ? end[1] : end[0])) {
        fprintf(stderr, "figures: %s: not a number, or a size like 64M\n", text);
        exit(2);
    }
    return (uint64_t)value << shift;
}

int main(int argc, char **argv)
{
    struct settings settings = { .directory = ".", .bytes = UINT64_C(1) << 30, .get_count = 4000000,
                                 .set_count = 1000, .scan_bytes = UINT64_C(4) << 30 };
    for (int i = 1; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (value && strcmp(argv[i], "--dir") == 0) {
            settings.directory = value;
        } else if (value && strcmp(argv[i], "--bytes") == 0) {
            settings.bytes = size_of(value) & ~UINT64_C(1048575);
        } else if (value && strcmp(argv[i], "--gets") == 0) {
            settings.get_count = size_of(value);
        } else if (value && strcmp(argv[i], "--sets") == 0) {
            settings.set_count = size_of(value);
        } else if (value && strcmp(argv[i], "--scan") == 0) {
            settings.scan_bytes = size_of(value) & ~UINT64_C(1048575);
        } else {
            fprintf(stderr, "usage: figures [--dir DIR] [--bytes SIZE] [--gets N] [--sets N] [--scan SIZE]\n");
            return 2;
        }
    }
    if (settings.bytes == 0 || settings.get_count == 0 || settings.set_count == 0 || settings.scan_bytes == 0) {
        fprintf(stderr, "figures: sizes and counts must not be zero; at least 1M bytes\n");
        return 2;
    }
    uint8_t *data = malloc((size_t)settings.bytes);
    uint64_t seed = 3;
    if (!data)
        fail("out of memory");
    for (uint64_t at = 0; at < settings.bytes; at += 8) {
        uint64_t word = random_next(&seed);
        memcpy(data + at, &word, sizeof(word));
    }
    printf("figures of stele %s, %.0f MiB of records in %s; medians\n", stele_version(),
           (double)settings.bytes / 1048576.0, settings.directory);
    printf("  %-34s %10s %10s\n", "", "stele", "bare");
    rows_of(&settings, 512, data);
    rows_of(&settings, 16, data);
    open_row(&settings);
    scan_row(&settings, data);
    free(data);
    return 0;
}
