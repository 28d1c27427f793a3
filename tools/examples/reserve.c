/*
 * Room that is promised before it is needed: a full disk is an error at once, not in the middle of the work.
 *
 *   reserve make FILE COUNT     a store of COUNT measurements
 *   reserve room FILE COUNT     room for COUNT in all. Where there is none: the reason, a look that nothing changed,
 *                               and another try for each line on standard input
 */
#include <stele.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct Measurement {
    uint64_t time_us;
    double values[7];
};

static int complain(void)
{
    fprintf(stderr, "reserve: %s\n", stele_last_error()->text);
    return 1;
}

static struct Measurement measurement(uint64_t index)
{
    struct Measurement made = { .time_us = index * 1000 };
    for (unsigned i = 0; i < 7; i++)
        made.values[i] = (double)index + i / 8.0;
    return made;
}

static int make(struct stele *store, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        struct Measurement next = measurement(i);
        if (stele_append(store, &next, 1, NULL))
            return complain();
    }
    printf("made %" PRIu64 "\n", stele_count(store));
    return 0;
}

/* Whether the store is the one that @before tells of, record by record. */
static int is_unchanged(struct stele *store, const struct stele_info *before)
{
    struct stele_info now = STELE_INFO_INIT;
    struct stele_verify_report report = STELE_VERIFY_REPORT_INIT;
    if (stele_info(store, &now) || stele_verify(store, NULL, &report))
        return complain() == 0;
    for (uint64_t i = 0; i < now.count; i++) {
        struct Measurement found, expected = measurement(i);
        if (stele_get(store, i, &found) || memcmp(&found, &expected, sizeof(found)) != 0)
            return 0;
    }
    return now.count == before->count && now.capacity == before->capacity && now.file_bytes == before->file_bytes &&
           now.sequence == before->sequence;
}

static int room(struct stele *store, uint64_t count)
{
    struct stele_info before = STELE_INFO_INIT;
    char line[80];
    int rc;
    if (stele_info(store, &before))
        return complain();
    while ((rc = stele_reserve(store, count)) == STELE_E_FULL) {
        complain();
        puts(is_unchanged(store, &before) ? "no room; nothing changed" : "no room, and the store is another");
        fflush(stdout);
        if (!fgets(line, sizeof(line), stdin))
            return 1;
    }
    if (rc)
        return complain();
    struct Measurement next = measurement(before.count);
    if (stele_append(store, &next, 1, NULL))
        return complain();
    printf("room for %" PRIu64 "\n", count);
    return 0;
}

int main(int argc, char **argv)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele_schema *schema;
    struct stele *store;
    uint64_t count = argc == 4 ? strtoull(argv[3], NULL, 10) : 0;
    if (count == 0 || (strcmp(argv[1], "make") != 0 && strcmp(argv[1], "room") != 0)) {
        fprintf(stderr, "usage: reserve make|room FILE COUNT\n");
        return 2;
    }
    if (STELE_SCHEMA(&schema, struct Measurement, STELE_FIELD(time_us), STELE_FIELD(values)))
        return complain();
    options.schema = schema;
    options.mode = STELE_READ_WRITE;
    options.capacity_records = count;
    options.flags = argv[1][0] == 'm' ? STELE_CREATE : 0;
    int rc = stele_open(argv[2], &options, &store);
    stele_schema_free(schema);
    if (rc)
        return complain();
    int result = argv[1][0] == 'm' ? make(store, count) : room(store, count);
    return stele_close(store) ? complain() : result;
}
