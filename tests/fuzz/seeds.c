#include "seeds.h"

#include "fuzz.h"
#include "stele.h"

#include <string.h>
#include <unistd.h>

static const char nested[] = "enum Kind { ROUND = 1, SQUARE = -5 };\n"
                             "struct Point { double x; double y; };\n"
                             "struct Shape { uint64_t id; enum Kind kind; uint8_t color[3]; char name[17];\n"
                             "               struct Point points[2]; uint16_t grid[2][3]; bool is_open; };\n";

static const struct kind {
    const char *declaration; /* NULL: one field of record_bytes */
    uint32_t record_bytes;
    uint32_t flags;
    uint64_t capacity, count, journal_bytes;
    unsigned commits; /* that wait in the ring */
    bool is_closed;
} kinds[SEED_COUNT] = {
    { NULL, 64, 0, 200, 100, 16384, 6, true },
    { NULL, 64, 0, 200, 100, 65536, 8, false },
    { NULL, 64, 0, 130, 70, 16384, 23, false }, /* round the ring's end */
    { NULL, 1, 0, 5000, 4200, 16384, 3, false },
    { NULL, 5000, STELE_SPARSE, 5, 3, 32768, 2, false },
    { nested, 0, STELE_SPARSE, 100, 40, 32768, 5, false },
    { nested, 0, 0, 10, 9, 16384, 12, true }, /* grows */
};

static struct stele_schema *schema_of(const struct kind *kind)
{
    const struct stele_field field = { .name = "bytes", .type = STELE_BYTES, .bytes = kind->record_bytes };
    struct stele_schema *schema = NULL;

    HOLDS((kind->declaration ? stele_schema_parse(kind->declaration, "Shape", 0, &schema)
                             : stele_schema_new("Record", kind->record_bytes, &field, 1, &schema)) == STELE_OK);
    return schema;
}

static void commit(struct stele *store, unsigned turn, const uint8_t *records)
{
    const uint64_t indexes[] = { turn % 3, 1 + turn % 5 + 2, stele_count(store) - 1 };
    struct stele_txn *txn = NULL;

    switch (turn % 4) {
    case 0:
        HOLDS(stele_set_many(store, indexes, stele_count(store) > 8 ? 3 : 1, records) == STELE_OK);
        break;
    case 1:
        HOLDS(stele_append(store, records, 2, NULL) == STELE_OK);
        break;
    case 2:
        HOLDS(stele_begin(store, &txn) == STELE_OK);
        HOLDS(stele_txn_set(txn, 0, records) == STELE_OK && stele_txn_set_count(txn, stele_count(store) - 1) == 0);
        HOLDS(stele_txn_user(txn, turn, records) == STELE_OK && stele_txn_tag(txn, "tag", 3) == STELE_OK);
        HOLDS(stele_commit(txn, STELE_DURABLE, NULL) == STELE_OK);
        break;
    default:
        HOLDS(stele_set_count(store, stele_count(store) + 1) == STELE_OK);
        break;
    }
}

static bool look(const char *path, struct image *out)
{
    FILE *file = fopen(path, "rb");
    bool is_fine = file && image_read(out, file);

    if (file)
        fclose(file);
    return is_fine;
}

bool seed_make(const char *path, unsigned which, struct image *out)
{
    const struct kind *kind = &kinds[which % SEED_COUNT];
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store = NULL;
    static uint8_t records[64 * 1024];
    uint64_t state = which;
    bool is_fine = true;

    struct stele_schema *schema = schema_of(kind);
    for (size_t i = 0; i < sizeof(records); i++)
        records[i] = (uint8_t)(chance_next(&state) >> 40);
    options.schema = schema;
    options.capacity_records = kind->capacity;
    options.journal_bytes = kind->journal_bytes;
    options.flags = kind->flags;
    HOLDS(stele_create(path, &options, &store) == STELE_OK);
    HOLDS(stele_append(store, records, (size_t)kind->count, NULL) == STELE_OK);
    HOLDS(stele_checkpoint(store) == STELE_OK);
    for (unsigned turn = 0; turn < kind->commits; turn++)
        commit(store, turn + which, records + turn);
    if (!kind->is_closed)
        is_fine = look(path, out);
    HOLDS(stele_close(store) == STELE_OK);
    if (kind->is_closed)
        is_fine = look(path, out);
    stele_schema_free(schema);
    return is_fine && unlink(path) == 0;
}
