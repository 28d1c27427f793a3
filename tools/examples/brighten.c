/*
 * A very large image: the pixels between two bytes of it are brightened through a pointer, as the classic program does
 * that maps the middle of a file. The image may be larger than memory, and than the address space: it is edited in
 * pieces that fit what may be mapped, each committed with a mark that says where the next one begins.
 *
 *   brighten create FILE BYTES STEP_BYTES                  a sparse image, one opaque pixel each STEP_BYTES
 *   brighten up FILE FIRST_BYTE END_BYTE BY [MAPPED_BYTES]   opaque pixels, saturating; goes on where it stopped
 */
#include <stele.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAPPED_BYTES (UINT64_C(64) << 20) /* at once, the library's own windows too */
#define JOURNAL_BYTES (UINT64_C(4) << 20)
#define SOWN_AT_ONCE 1024u

struct MyColor {
    short r, g, b, a;
};

/* The mark: 64 bytes that are committed with each piece. */
struct job {
    uint64_t first, end; /* pixels */
    int64_t by;
    char unused[40];
};
_Static_assert(sizeof(struct job) == 64, "as stele_edit_user takes it");

static int complain(void)
{
    fprintf(stderr, "brighten: %s\n", stele_last_error()->text);
    return 1;
}

/* ---- create ---- */

static struct MyColor sown(uint64_t index)
{
    return (struct MyColor){ (short)(index % 100), (short)(index % 30000), (short)(32767 - index % 50), 255 };
}

/* One opaque pixel each @step, and the last. */
static int sow(struct stele *store, uint64_t count, uint64_t step)
{
    struct MyColor pixels[SOWN_AT_ONCE];
    uint64_t indexes[SOWN_AT_ONCE];
    uint64_t next = 0;
    while (next < count) {
        size_t n = 0;
        for (; n < SOWN_AT_ONCE && next < count; next += step, n++) {
            indexes[n] = next;
            pixels[n] = sown(next);
        }
        if (stele_set_many(store, indexes, n, pixels))
            return complain();
    }
    struct MyColor last = sown(count - 1);
    return stele_set(store, count - 1, &last) ? complain() : 0;
}

static int create(const char *path, uint64_t count, uint64_t step, const struct stele_schema *schema)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store;
    options.schema = schema;
    options.flags = STELE_SPARSE;
    options.capacity_records = count;
    options.journal_bytes = JOURNAL_BYTES;
    options.max_mapped_bytes = MAPPED_BYTES;
    if (count == 0 || step == 0) {
        fprintf(stderr, "brighten: an image has at least one pixel of %zu bytes\n", sizeof(struct MyColor));
        return 2;
    }
    if (stele_create(path, &options, &store))
        return complain();
    int result = stele_set_count(store, count) ? complain() : sow(store, count, step);
    if (stele_close(store))
        result = complain();
    return result;
}

/* ---- up ---- */

static short brighter(short value, int64_t by)
{
    int64_t sum = value + by;
    return sum > INT16_MAX ? INT16_MAX : sum < INT16_MIN ? INT16_MIN : (short)sum;
}

static void brighten(struct MyColor *pixels, uint64_t count, int64_t by)
{
    for (uint64_t i = 0; i < count; i++) {
        /* What nobody can see stays as it is: a page that is not stored to is never copied. */
        if (pixels[i].a == 0)
            continue;
        pixels[i].r = brighter(pixels[i].r, by);
        pixels[i].g = brighter(pixels[i].g, by);
        pixels[i].b = brighter(pixels[i].b, by);
    }
}

/* Brighten @count pixels from @first on, and leave the mark @next: all of that or nothing. */
static int do_piece(struct stele *store, const struct job *job, uint64_t first, uint64_t count, uint64_t next)
{
    struct stele_edit *edit;
    int rc;
    do {
        rc = stele_edit_open(store, first, count, STELE_EDIT_ATOMIC, &edit);
        if (rc)
            return rc;
        brighten(stele_edit_records(edit), count, job->by);
        rc = stele_edit_user(edit, next, job);
        if (!rc)
            rc = stele_edit_commit(edit, STELE_DURABLE, NULL);
        if (rc)
            stele_edit_discard(edit);
    } while (rc == STELE_E_CONFLICT); /* somebody else painted there: his pixels are brightened */
    return rc;
}

static int do_all(struct stele *store, const struct job *job, uint64_t piece)
{
    struct stele_info info = STELE_INFO_INIT;
    if (stele_info(store, &info))
        return complain();
    uint64_t next = job->first;
    if (info.user_version) {
        if (memcmp(info.user, job, sizeof(*job))) {
            fprintf(stderr, "brighten: another job stopped at pixel %" PRIu64 ": finish that one first\n",
                    info.user_version);
            return 1;
        }
        next = info.user_version;
        printf("going on at pixel %" PRIu64 "\n", next);
    }
    while (next < job->end) {
        uint64_t n = job->end - next < piece ? job->end - next : piece;
        int rc = do_piece(store, job, next, n, next + n < job->end ? next + n : 0);
        /* The journal, or what may be mapped, holds less. */
        if ((rc == STELE_E_TOO_BIG || rc == STELE_E_FULL) && piece > 1024) {
            piece /= 2;
            continue;
        }
        if (rc)
            return complain();
        next += n;
        printf("brightened %" PRIu64 " of %" PRIu64 "\n", next - job->first, job->end - job->first);
        fflush(stdout);
    }
    return 0;
}

static int up(const char *path, const struct job *job, uint64_t mapped_bytes, const struct stele_schema *schema)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store;
    options.mode = STELE_READ_WRITE;
    options.schema = schema;
    options.max_mapped_bytes = mapped_bytes;
    if (stele_open(path, &options, &store))
        return complain();
    /* A quarter of it for the edit: the rest is for what the library maps to compare and to store. */
    int result = do_all(store, job, mapped_bytes / 4 / sizeof(struct MyColor));
    if (stele_close(store))
        result = complain();
    return result;
}

int main(int argc, char **argv)
{
    struct stele_schema *schema;
    uint64_t numbers[4] = { 0 };
    int result = 2;
    if (STELE_SCHEMA(&schema, struct MyColor, STELE_FIELD(r), STELE_FIELD(g), STELE_FIELD(b), STELE_FIELD(a)))
        return complain();
    for (int i = 3; i < argc && i < 7; i++)
        numbers[i - 3] = strtoull(argv[i], NULL, 10);
    if (argc == 5 && strcmp(argv[1], "create") == 0) {
        result = create(argv[2], numbers[0] / sizeof(struct MyColor), numbers[1] / sizeof(struct MyColor), schema);
    } else if ((argc == 6 || argc == 7) && strcmp(argv[1], "up") == 0) {
        struct job job = { .first = numbers[0] / sizeof(struct MyColor), .end = numbers[1] / sizeof(struct MyColor),
                           .by = strtoll(argv[5], NULL, 10) };
        result = up(argv[2], &job, argc == 7 ? numbers[3] : MAPPED_BYTES, schema);
    } else {
        fprintf(stderr, "usage: brighten create FILE BYTES STEP_BYTES | up FILE FIRST_BYTE END_BYTE BY "
                        "[MAPPED_BYTES]\n");
    }
    stele_schema_free(schema);
    return result;
}
