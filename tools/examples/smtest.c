/*
 * A packed struct of 7 bytes, written by one process and printed by another.
 *
 *   smtest write FILE        a, 100, 10
 *   smtest print FILE        c:a i:100, s:10
 *   smtest unpacked FILE     the same struct without the packing: refused, with the field that differs
 */
#include <stele.h>

#include <stdio.h>
#include <string.h>

#pragma pack(push, 1)
struct SMTEST {
    char c;
    int i;
    short s;
};
#pragma pack(pop)
_Static_assert(sizeof(struct SMTEST) == 7, "packed");

struct Unpacked {
    char c;
    int i;
    short s;
};

static int complain(void)
{
    fprintf(stderr, "smtest: %s\n", stele_last_error()->text);
    return 1;
}

static int write_record(struct stele_options *options, const char *path)
{
    struct SMTEST record = { 'a', 100, 10 };
    struct stele *store;
    options->flags = STELE_CREATE;
    if (stele_open(path, options, &store))
        return complain();
    int rc = stele_count(store) ? stele_set(store, 0, &record) : stele_append(store, &record, 1, NULL);
    if (rc)
        complain();
    return stele_close(store) || rc ? 1 : 0;
}

static int print_record(const struct stele_options *options, const char *path)
{
    struct SMTEST record;
    struct stele *store;
    if (stele_open(path, options, &store))
        return complain();
    int rc = stele_get(store, 0, &record);
    if (rc)
        complain();
    else
        printf("c:%c i:%d, s:%d\n", record.c, record.i, record.s);
    stele_close(store);
    return rc ? 1 : 0;
}

static int schema_of(const char *verb, struct stele_schema **out)
{
    if (strcmp(verb, "unpacked") == 0)
        return STELE_SCHEMA(out, struct Unpacked, STELE_FIELD(c), STELE_FIELD(i), STELE_FIELD(s));
    return STELE_SCHEMA(out, struct SMTEST, STELE_FIELD(c), STELE_FIELD(i), STELE_FIELD(s));
}

int main(int argc, char **argv)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele_schema *schema;
    if (argc != 3) {
        fprintf(stderr, "usage: smtest write|print|unpacked FILE\n");
        return 2;
    }
    if (schema_of(argv[1], &schema))
        return complain();
    options.schema = schema;
    int result = strcmp(argv[1], "write") == 0 ? write_record(&options, argv[2]) : print_record(&options, argv[2]);
    stele_schema_free(schema);
    return result;
}
