/*
 * The limits of FORMAT.md section 10, which is read here: each is tried as a file has it and as a program asks for it,
 * at the limit and one step beyond.
 */
#include "create.h"
#include "hash.h"
#include "journal.h"
#include "schema.h"
#include "scratch.h"

enum { RECORD_BYTES = 64, CAPACITY = 1000, RING = 65536, ROWS_MAX = 32, FAR_MIB = 512 };

static struct stele_slot slot; /* of a store with all numbers in the middle */
static struct stele_layout layout;

static int make_slot(void **state)
{
    struct stele_schema *schema = schema_of_bytes(RECORD_BYTES);

    if (scratch_make_fast(state) || stele_layout_plan(RECORD_BYTES, CAPACITY, RING, &layout) ||
        stele_create_slot(&layout, false, schema, &slot))
        return -1;
    stele_schema_free(schema);
    return 0;
}

#define LIMITED(test) cmocka_unit_test_setup_teardown(test, make_slot, scratch_drop)

/* ---- numbers in a file ---- */

static int read_slot(struct stele_slot *changed)
{
    struct stele_os_file file = { .is_open = false };
    struct stele_superblock superblock;

    stele_slot_seal(changed);
    poke(scratch_path, 0, changed, sizeof(*changed));
    poke(scratch_path, sizeof(*changed), changed, sizeof(*changed));
    assert_ok(stele_os_open(scratch_path, false, &file));
    int rc = stele_superblock_read(&file, &superblock);
    stele_os_close(&file);
    return rc;
}

/* The layout that the formulas make of these, whatever the limits are. */
static int read_layout(uint64_t record_bytes, uint64_t capacity, uint64_t ring_bytes, uint64_t sums_offset)
{
    struct stele_slot changed = slot;
    struct stele_layout own = layout;

    own.record_bytes = record_bytes;
    own.records_per_block = stele_records_per_block(stele_max(record_bytes, 1));
    own.records_per_cell = stele_records_per_cell(stele_max(record_bytes, 1));
    own.capacity = capacity;
    own.journal_bytes = ring_bytes;
    own.records_offset = FAR_MIB * (uint64_t)MIB;
    own.sums_offset = sums_offset;
    if (sums_offset == 0)
        own.sums_offset = stele_round_up(own.records_offset + record_bytes * capacity, 65536);
    own.sums_bytes = 8 * stele_div_up(capacity, own.records_per_block);
    stele_layout_to(&own, &changed);
    changed.count = 0;
    return read_slot(&changed);
}

static int file_record_bytes(uint64_t value) { return read_layout(value, 1, 128 * MIB, 0); }

static int file_capacity(uint64_t value) { return read_layout(1, value, RING, 0); }

/* The sums stand at the end, and are the last 64 KiB and what passes them. */
static int file_bytes(uint64_t value)
{
    const uint64_t sums_offset = (UINT64_C(1) << 61) - 65536;

    return read_layout(4096, (value - sums_offset) / 8, RING, sums_offset);
}

static int file_ring(uint64_t value) { return read_layout(RECORD_BYTES, CAPACITY, value, 0); }
static int file_ring_of_large(uint64_t value) { return read_layout(65536, CAPACITY, value, 0); }

#define NUMBER_OF_SLOT(name, member)                                                                         \
    static int name(uint64_t value)                                                                          \
    {                                                                                                        \
        struct stele_slot changed = slot;                                                                    \
        changed.member = value;                                                                              \
        return read_slot(&changed);                                                                          \
    }
NUMBER_OF_SLOT(file_count, count)
NUMBER_OF_SLOT(file_ring_head, ring_head)
NUMBER_OF_SLOT(file_sequence, sequence)
NUMBER_OF_SLOT(file_generation, generation)

static int file_tag_bytes(uint64_t value)
{
    struct stele_slot changed = slot;

    changed.tag_bytes = (uint32_t)value;
    return read_slot(&changed);
}

static int file_schema_bytes(uint64_t value)
{
    struct stele_slot changed = slot;

    changed.schema_bytes = (uint32_t)value;
    return read_slot(&changed);
}

/* As many bytes of schema: fields of one byte each, with names of @name_bytes. */
static int decode(uint64_t field_count, size_t name_bytes, uint32_t element_bytes)
{
    static uint8_t bytes[(STELE_FIELD_COUNT_MAX + 8) * 128];
    struct stele_schema_head head = { .version = 1, .record_bytes = field_count > 1 ? 4096 : RECORD_BYTES,
                                      .field_count = (uint32_t)field_count, .name = "Record" };
    struct stele_schema *schema = NULL;
    size_t used = sizeof(head);

    memset(bytes, 0, sizeof(bytes));
    for (uint64_t i = 0; i < field_count; i++) {
        struct stele_schema_field field = { .type = STELE_BYTES, .element_bytes = element_bytes, .offset = i,
                                            .name_bytes = (uint16_t)name_bytes };
        char name[80];
        snprintf(name, sizeof(name), "%c%0*" PRIu64, 'f', name_bytes > 1 ? (int)name_bytes - 1 : 1, i);
        field.bytes = (uint16_t)stele_round_up(sizeof(field) + name_bytes, 8);
        memcpy(bytes + used, &field, sizeof(field));
        memcpy(bytes + used + sizeof(field), name, name_bytes);
        used += field.bytes;
    }
    head.bytes = (uint32_t)used;
    memcpy(bytes, &head, sizeof(head));
    int rc = stele_schema_decode(bytes, used, &schema);
    stele_schema_free(schema);
    return rc;
}

static int file_field_count(uint64_t value) { return decode(value, 5, 1); }
static int file_name_bytes(uint64_t value) { return decode(1, (size_t)value, 1); }
static int file_field_bytes(uint64_t value) { return decode(1, 5, (uint32_t)value); }

/* An entry of no item, or of one that may be skipped, from the ring's start on. */
static int file_entry_length(uint64_t value)
{
    static uint8_t ring[2 * RING];
    struct stele_os_file file = { .is_open = false };
    struct stele_walk_entry entry;
    struct stele_walk walk;
    struct stele_entry_head head = { .magic = STELE_ENTRY_MAGIC, .length = value, .session = slot.session,
                                     .sequence = slot.sequence + 1, .chain = slot.chain };
    const size_t length = (size_t)value;

    memset(ring, 0, sizeof(ring));
    head.hash = stele_hash64(&head, offsetof(struct stele_entry_head, hash), head.session);
    memcpy(ring, &head, sizeof(head));
    if (length >= 72 + sizeof(struct stele_item)) {
        struct stele_item item = { .type = 99, .flags = STELE_ITEM_OPTIONAL,
                                   .bytes = value - 72 - sizeof(struct stele_item) };
        memcpy(ring + sizeof(head), &item, sizeof(item));
    }
    if (length >= 72) {
        uint64_t trailer = stele_hash64(ring, length - 8, head.session);
        memcpy(ring + length - 8, &trailer, 8);
    }
    poke(scratch_path, layout.journal_offset, ring, sizeof(ring));
    assert_ok(stele_os_open(scratch_path, false, &file));
    stele_walk_init(&walk, &file, &layout, &slot);
    int rc = stele_walk_next(&walk, &entry);
    stele_walk_done(&walk);
    stele_os_close(&file);
    return rc;
}

/* ---- numbers that are asked for ---- */

static int plan(uint64_t record_bytes, uint64_t capacity, uint64_t ring_bytes)
{
    struct stele_layout out;

    return stele_layout_plan(record_bytes, capacity, ring_bytes, &out);
}

static int make_schema(uint64_t record_bytes, size_t field_count, const char *name, uint32_t element_bytes)
{
    static struct stele_field fields[STELE_FIELD_COUNT_MAX + 8];
    static char names[STELE_FIELD_COUNT_MAX + 8][24];
    struct stele_schema *schema = NULL;

    for (size_t i = 0; i < field_count; i++) {
        snprintf(names[i], sizeof(names[i]), "f%zu", i);
        fields[i] = (struct stele_field){ .name = name ? name : names[i], .type = STELE_BYTES, .bytes = element_bytes,
                                          .offset = i };
    }
    int rc = stele_schema_new("Record", record_bytes, fields, field_count, &schema);
    stele_schema_free(schema);
    return rc;
}

static int ask_record_bytes(uint64_t value) { return make_schema(value, 1, NULL, 1); }
static int ask_capacity(uint64_t value) { return plan(1, value, RING); }
static int ask_ring(uint64_t value) { return plan(RECORD_BYTES, CAPACITY, value); }
static int ask_ring_of_large(uint64_t value) { return plan(65536, CAPACITY, value); }
static int ask_field_count(uint64_t value) { return make_schema(4096, (size_t)value, NULL, 1); }
static int ask_field_bytes(uint64_t value) { return make_schema(64, 1, NULL, (uint32_t)value); }

/* The most blocks that end where the file may, and one more. */
static int ask_file_bytes(uint64_t value)
{
    struct stele_layout own = layout, grown;

    own.record_bytes = 16 * MIB;
    own.records_per_block = own.records_per_cell = 1;
    own.block_shift = 0;
    /* Sums begin on a multiple of 64 KiB: the last capacity that fits is a few blocks below. */
    uint64_t capacity = (value - own.records_offset) / (16 * MIB + 8);
    return stele_layout_grow(&own, value > UINT64_C(1) << 61 ? capacity + 2 : capacity - 1, &grown);
}

static int ask_name_bytes(uint64_t value)
{
    char name[80];

    snprintf(name, sizeof(name), "%.*s", (int)value,
             "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    return make_schema(RECORD_BYTES, 1, name, 1);
}

/* Constants of an enum fill a schema to the byte. */
static int ask_schema_bytes(uint64_t value)
{
    static struct stele_enum_constant constants[STELE_SCHEMA_BYTES_MAX / 16];
    const struct stele_field field = { .name = "eight", .type = STELE_I32 };
    struct stele_field_enum own = { .constants = constants };
    struct stele_schema *schema = NULL;
    uint32_t encoded_bytes = 0;

    if (value < sizeof(struct stele_schema_head))
        return make_schema(4, 0, NULL, 1);
    /* Head, field, its name; then 16 bytes for each constant, and 8 more for the last. */
    uint64_t left = value - sizeof(struct stele_schema_head) - sizeof(struct stele_schema_field) - 8 + 3;
    if (value == sizeof(struct stele_schema_head))
        return STELE_OK; /* a head alone: no schema is so short */
    own.constant_count = (size_t)(left / 16);
    for (size_t i = 0; i < own.constant_count; i++)
        snprintf(constants[i].name, sizeof(constants[i].name), "c%07zu%s", i,
                 i + 1 == own.constant_count && left % 16 >= 8 ? "12345678" : "");
    int rc = stele_schema_make("Record", 4, 0, &field, &own, 1, &schema);
    if (!rc) {
        stele_schema_encoded(schema, &encoded_bytes);
        assert_u64(encoded_bytes, value);
    }
    stele_schema_free(schema);
    return rc;
}

static int ask_tag_bytes(uint64_t value)
{
    const uint8_t tag[128] = { 1 };
    struct stele *store = create_store(RECORD_BYTES, 10, 16 * KIB, 0);
    struct stele_txn *txn = NULL;

    assert_store(store);
    assert_ok(stele_begin(store, &txn));
    int rc = value ? stele_txn_tag(txn, tag, (size_t)value) : STELE_OK;
    stele_abort(txn);
    assert_ok(stele_close(store));
    unlink(scratch_path);
    return rc;
}

/* A transaction is written in pages, and one page stays free. */
static int ask_entry_length(uint64_t value)
{
    struct stele *store = create_store(RECORD_BYTES, 2 * CAPACITY, RING, 0);
    static uint8_t records[2 * CAPACITY * RECORD_BYTES];
    struct stele_txn *txn = NULL;

    assert_store(store);
    assert_ok(stele_begin(store, &txn));
    assert_ok(stele_txn_append(txn, records, (size_t)(value > RING ? RING : value) / RECORD_BYTES, NULL));
    if (value <= RING)
        assert_ok(stele_txn_set_count(txn, 3));
    int rc = stele_commit(txn, STELE_DURABLE, NULL);
    assert_ok(stele_close(store));
    unlink(scratch_path);
    return rc;
}

/* ---- the table ---- */

static const struct probe {
    const char *name;
    int (*in_file)(uint64_t value);
    int (*asked)(uint64_t value); /* NULL: nobody asks for it */
} probes[] = {
    { "record_bytes", file_record_bytes, ask_record_bytes },
    { "capacity", file_capacity, ask_capacity },
    { "bytes of the file", file_bytes, ask_file_bytes },
    { "bytes of the ring", file_ring, ask_ring },
    { "bytes of the ring, record_bytes 65536", file_ring_of_large, ask_ring_of_large },
    { "count, capacity 1000", file_count, NULL },
    { "ring_head, ring of 65536", file_ring_head, NULL },
    { "sequence", file_sequence, NULL },
    { "generation", file_generation, NULL },
    { "tag_bytes", file_tag_bytes, ask_tag_bytes },
    { "schema_bytes", file_schema_bytes, ask_schema_bytes },
    { "field_count", file_field_count, ask_field_count },
    { "bytes of a field's name", file_name_bytes, ask_name_bytes },
    { "bytes of a field, record_bytes 64", file_field_bytes, ask_field_bytes },
    { "length of an entry, ring of 65536", file_entry_length, ask_entry_length },
};

enum { NAME, LEAST, MOST, STEP, CHECKED_BY, IN_FILE, ASKED, CELLS };

struct row {
    char cells[CELLS][64];
};

static size_t read_rows(struct row *rows)
{
    char path[512], line[1024];
    const char *top = getenv("STELE_SOURCE");
    size_t count = 0;
    bool is_inside = false;

    snprintf(path, sizeof(path), "%s/lib/FORMAT.md", top ? top : ".");
    FILE *page = fopen(path, "rb");
    if (!page)
        fail_msg("%s cannot be read: set STELE_SOURCE to the top of the project", path);
    while (fgets(line, sizeof(line), page)) {
        if (line[0] == '#')
            is_inside = !strncmp(line, "## 10. Limits", 13);
        if (!is_inside || line[0] != '|' || !strncmp(line, "|-", 2) || !strncmp(line, "| number", 8))
            continue;
        assert_true(count < ROWS_MAX);
        const char *at = line + 1;
        for (size_t i = 0; i < CELLS; i++, at++) {
            const char *end = strchr(at, '|');
            assert_non_null(end);
            snprintf(rows[count].cells[i], sizeof(rows[0].cells[0]), "%.*s", (int)(end - at), at);
            char *cell = rows[count].cells[i];
            memmove(cell, cell + strspn(cell, " "), strlen(cell) + 1 - strspn(cell, " "));
            while (*cell && cell[strlen(cell) - 1] == ' ')
                cell[strlen(cell) - 1] = 0;
            at = end;
        }
        count++;
    }
    fclose(page);
    return count;
}

/* "2^62 - 1", "88". */
static uint64_t number_of(const char *text)
{
    unsigned shift = 0, less = 0;

    if (strncmp(text, "2^", 2) != 0)
        return strtoull(text, NULL, 10);
    assert_true(sscanf(text, "2^%u - %u", &shift, &less) >= 1 && shift < 64);
    return (UINT64_C(1) << shift) - less;
}

static int code_of(const char *name)
{
    static const struct { const char *name; int code; } codes[] = {
        { "STELE_E_DAMAGED", STELE_E_DAMAGED }, { "STELE_E_SCHEMA", STELE_E_SCHEMA }, { "STELE_END", STELE_END },
        { "STELE_E_RANGE", STELE_E_RANGE }, { "STELE_E_USAGE", STELE_E_USAGE }, { "STELE_E_TOO_BIG", STELE_E_TOO_BIG },
    };

    for (size_t i = 0; i < COUNT_OF(codes); i++) {
        if (!strcmp(codes[i].name, name))
            return codes[i].code;
    }
    fail_msg("FORMAT.md section 10 names a code that this test does not know: %s", name);
    return 0;
}

static void expect(const char *name, const char *where, uint64_t value, int code, int expected)
{
    if (code != expected)
        fail_msg("%s of %" PRIu64 " %s: %d, not %d (last error: %s)", name, value, where, code, expected,
                 stele_last_error()->text);
}

/* At both ends, and one step beyond each that there is. */
static void try_row(const struct row *row, const struct probe *probe, bool is_asked)
{
    const char *where = is_asked ? "asked for" : "in a file", *name = row->cells[NAME];
    int (*try)(uint64_t value) = is_asked ? probe->asked : probe->in_file;
    const int refusal = code_of(row->cells[is_asked ? ASKED : IN_FILE]);
    const uint64_t step = number_of(row->cells[STEP]);

    if (row->cells[LEAST][0]) {
        uint64_t least = number_of(row->cells[LEAST]);
        expect(name, where, least, try(least), STELE_OK);
        /* Nobody can ask for none of what is there as soon as something is, and 0 stands for "choose". */
        if (least && (!is_asked || try != ask_capacity) && try != ask_entry_length)
            expect(name, where, least - step, try(least - step), refusal);
    }
    if (row->cells[MOST][0]) {
        uint64_t most = number_of(row->cells[MOST]);
        expect(name, where, most, try(most), STELE_OK);
        expect(name, where, most + step, try(most + step), refusal);
    }
}

static void try_rows(bool is_asked)
{
    static struct row rows[ROWS_MAX];
    size_t count = read_rows(rows);

    assert_int_equal(count, COUNT_OF(probes));
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(rows[i].cells[NAME], probes[i].name);
        assert_true((rows[i].cells[ASKED][0] != 0) == (probes[i].asked != NULL));
        if (!is_asked || probes[i].asked)
            try_row(&rows[i], &probes[i], is_asked);
    }
}

static void every_limit_holds_in_a_file(void **state) { try_rows(false); }
static void every_limit_holds_for_who_asks(void **state) { try_rows(true); }

int main(void)
{
    const struct CMUnitTest tests[] = {
        LIMITED(every_limit_holds_in_a_file),
        LIMITED(every_limit_holds_for_who_asks),
    };
    return cmocka_run_group_tests_name("limits", tests, NULL, NULL);
}
