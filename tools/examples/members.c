/*
 * An array of 1000 structs that was written with one fwrite, taken into a store and read back by index.
 *
 *   members array RAW           write the raw array, as the classic program does
 *   members load FILE RAW       put it into a store
 *   members print FILE          member[2].id and member[3].name, by stele_get and through a view
 */
#include <stele.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MEMBER_COUNT 1000

struct Member {
    char id[256];
    char name[256];
};

static int complain(void)
{
    fprintf(stderr, "members: %s\n", stele_last_error()->text);
    return 1;
}

static int write_array(const char *raw_path)
{
    struct Member *members = calloc(MEMBER_COUNT, sizeof(*members));
    FILE *raw = fopen(raw_path, "wb");
    size_t written = 0;
    if (members && raw) {
        for (int i = 0; i < MEMBER_COUNT; i++) {
            snprintf(members[i].id, sizeof(members[i].id), "id-%d", i);
            snprintf(members[i].name, sizeof(members[i].name), "name of member %d", i);
        }
        written = fwrite(members, sizeof(*members), MEMBER_COUNT, raw);
    }
    int is_closed = raw && fclose(raw) == 0;
    free(members);
    if (written == MEMBER_COUNT && is_closed)
        return 0;
    perror(raw_path);
    return 1;
}

static int read_array(const char *raw_path, struct Member *members)
{
    FILE *raw = fopen(raw_path, "rb");
    size_t count = raw ? fread(members, sizeof(*members), MEMBER_COUNT, raw) : 0;
    if (raw)
        fclose(raw);
    if (count == MEMBER_COUNT)
        return 0;
    fprintf(stderr, "members: %s: %d structs of %zu bytes were expected, %zu read\n", raw_path, MEMBER_COUNT,
            sizeof(*members), count);
    return 1;
}

static int load(const char *path, const char *raw_path, const struct stele_schema *schema)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct Member *members = malloc(MEMBER_COUNT * sizeof(*members));
    struct stele *store;
    options.schema = schema;
    options.capacity_records = MEMBER_COUNT;
    int result = !members || read_array(raw_path, members);
    if (!result && stele_create(path, &options, &store)) {
        result = complain();
    } else if (!result) {
        if (stele_append(store, members, MEMBER_COUNT, NULL))
            result = complain();
        if (stele_close(store))
            result = complain();
    }
    free(members);
    return result;
}

static int print(const char *path, const struct stele_schema *schema)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store;
    struct stele_view view;
    struct Member second, third;
    options.schema = schema;
    if (stele_open(path, &options, &store))
        return complain();
    int rc = stele_get(store, 2, &second);
    if (!rc)
        rc = stele_get(store, 3, &third);
    if (!rc)
        rc = stele_view_open(store, 0, stele_count(store), &view);
    if (!rc) {
        const struct Member *member = view.records;
        printf("get:  member[2].id = %s, member[3].name = %s\n", second.id, third.name);
        printf("view: member[2].id = %s, member[3].name = %s\n", member[2].id, member[3].name);
        stele_view_close(&view);
    } else {
        complain();
    }
    stele_close(store);
    return rc ? 1 : 0;
}

int main(int argc, char **argv)
{
    struct stele_schema *schema;
    int result = 2;
    if (STELE_SCHEMA(&schema, struct Member, STELE_FIELD(id), STELE_FIELD(name)))
        return complain();
    if (argc == 3 && strcmp(argv[1], "array") == 0)
        result = write_array(argv[2]);
    else if (argc == 4 && strcmp(argv[1], "load") == 0)
        result = load(argv[2], argv[3], schema);
    else if (argc == 3 && strcmp(argv[1], "print") == 0)
        result = print(argv[2], schema);
    else
        fprintf(stderr, "usage: members array RAW | load FILE RAW | print FILE\n");
    stele_schema_free(schema);
    return result;
}
