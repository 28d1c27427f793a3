/*
 * Hostile files: headers, schemas and journal entries with right checksums and numbers that lie. Opening one gives a
 * sentence or a store, within 64 MiB of address space and without a fault, and a refused file is not changed.
 */
#include "hash.h"
#include "journal.h"
#include "scratch.h"
#include "wrap.h"

enum { RECORD_BYTES = 64, COUNT = 100, CAPACITY = 200, RING = 16 * KIB, FILE_BYTES_MAX = 8 * MIB,
       ROOM_BYTES = 64 * MIB };

static uint8_t image[FILE_BYTES_MAX], work[FILE_BYTES_MAX];
static uint64_t file_bytes;
static struct stele_slot slot; /* of the image */

/* ---- what an open asks for ---- */

static struct {
    uint64_t memory_bytes; /* given back or not */
    uint64_t map_count, map_bytes;
} asked;

WRAPPED(void *, malloc, size_t bytes)
{
    asked.memory_bytes += bytes;
    return REAL(malloc)(bytes);
}

WRAPPED(void *, calloc, size_t count, size_t bytes)
{
    asked.memory_bytes += (uint64_t)count * bytes;
    return REAL(calloc)(count, bytes);
}

WRAPPED(void *, realloc, void *memory, size_t bytes)
{
    asked.memory_bytes += bytes;
    return REAL(realloc)(memory, bytes);
}

WRAPPED(int, stele_os_map, const struct stele_os_file *file, uint64_t offset, size_t byte_count, bool is_writable,
        bool is_random, void **out)
{
    asked.map_count++;
    asked.map_bytes += byte_count;
    return REAL(stele_os_map)(file, offset, byte_count, is_writable, is_random, out);
}

/*
 * A number of the header is refused before anything is mapped or allocated by it, a schema before anything is mapped,
 * and no open takes more than its schema, its longest entry and its tables need, whatever the numbers are.
 */
static void require_little_asked(int code, const char *text)
{
    /* The last generation is told when it is to be written. */
    const bool is_header = code && strstr(text, ": header: ") && !strstr(text, "is at its end");
    const bool is_schema = code && strstr(text, ": schema");

    REQUIRE(!is_header || (asked.map_count == 0 && asked.memory_bytes < 16 * KIB));
    REQUIRE(!is_schema || asked.map_count == 0);
    REQUIRE(asked.memory_bytes <= 4 * MIB);
}

/* ---- the store that is changed ---- */

static void load_image(void)
{
    const char *path = scratch_name("image");

    file_bytes = size_of_file(path);
    REQUIRE(file_bytes <= sizeof(image));
    peek(path, 0, image, (size_t)file_bytes);
    memcpy(&slot, image, sizeof(slot));
    memcpy(work, image, (size_t)file_bytes);
}

static int make_image(void **state)
{
    uint8_t records[COUNT * RECORD_BYTES];

    if (scratch_make_fast(state))
        return -1;
    struct stele *store = create_store(RECORD_BYTES, CAPACITY, RING, 0);
    fill_records(records, RECORD_BYTES, 0, COUNT, 1);
    if (!store || stele_append(store, records, COUNT, NULL) || stele_close(store))
        return -1;
    copy_file(scratch_path, scratch_name("image"));
    load_image();
    return 0;
}

#define HOSTILE(test) cmocka_unit_test_setup_teardown(test, make_image, scratch_drop)

/* Write what @work holds; holes where it is zero. */
static void write_work(void)
{
    FILE *file = file_at(scratch_path, "wb", 0);

    for (uint64_t at = 0; at < file_bytes; at += 4096) {
        if (stele_is_zero(work + at, 4096))
            continue;
        REQUIRE(fseeko(file, (off_t)at, SEEK_SET) == 0);
        REQUIRE(fwrite(work + at, 1, 4096, file) == 4096);
    }
    REQUIRE(system_set_bytes(file, file_bytes));
    REQUIRE(fclose(file) == 0);
}

static void put_slot(const struct stele_slot *changed)
{
    struct stele_slot sealed = *changed;

    stele_slot_seal(&sealed);
    memcpy(work, &sealed, sizeof(sealed));
    memcpy(work + sizeof(sealed), &sealed, sizeof(sealed));
}

/* The live region means nothing; all else is as it was written. */
static bool is_unchanged(void)
{
    static uint8_t now[FILE_BYTES_MAX];

    peek(scratch_path, 0, now, (size_t)file_bytes);
    memcpy(now + STELE_LIVE_OFFSET, work + STELE_LIVE_OFFSET, STELE_LIVE_BYTES);
    return size_of_file(scratch_path) == file_bytes && memcmp(now, work, (size_t)file_bytes) == 0;
}

/* The image, which a child may not have; from here on no more address space than now and ROOM_BYTES. */
static void begin_child(void)
{
    load_image();
    system_limit_memory(ROOM_BYTES);
}

/*
 * Below scale 100 only each n-th case is tried, from a random one on; but all of them where numbers of 64 bits meet a
 * system of 32.
 */
static bool is_turn(void)
{
    static uint64_t turn;
    const char *platform = getenv("STELE_PLATFORM");
    const unsigned scale = platform && strcmp(platform, "linux32") == 0 ? 100 : scale_percent();

    if (turn == 0)
        turn = chance_begin().state % 1000;
    return turn++ % (scale && scale < 100 ? 100 / scale : 1) == 0;
}

/* ---- opening ---- */

static bool is_refusal(int code)
{
    return code == STELE_E_DAMAGED || code == STELE_E_VERSION || code == STELE_E_TRUNCATED;
}

static bool is_answer(int code)
{
    return code == STELE_OK || code == STELE_E_RANGE || code == STELE_E_TRUNCATED;
}

/* A store that opened takes every call; what it cannot do it says. */
static void use_store(struct stele *store)
{
    struct stele_verify_report report = STELE_VERIFY_REPORT_INIT;
    struct stele_verify_options options = STELE_VERIFY_OPTIONS_INIT;
    struct stele_info info = STELE_INFO_INIT;
    const uint64_t count = stele_count(store);
    const uint64_t indexes[] = { 0, 1, COUNT - 1, COUNT, count / 2, count - 1, count, UINT64_MAX };
    uint8_t *record = malloc((size_t)stele_schema_record_bytes(stele_schema_of(store)));

    REQUIRE(record && stele_info(store, &info) == STELE_OK);
    REQUIRE(info.count == count && count <= info.capacity);
    for (size_t i = 0; i < COUNT_OF(indexes); i++) {
        int rc = stele_get(store, indexes[i], record);
        REQUIRE(is_answer(rc) && (indexes[i] < count) == (rc != STELE_E_RANGE));
    }
    options.record_count = count < 1000 ? count : 1000;
    int rc = stele_verify(store, &options, &report);
    REQUIRE(rc == STELE_OK || rc == STELE_E_DAMAGED || rc == STELE_E_TRUNCATED);
    free(record);
}

/* What the file as it lies there comes to, read-only and then for writing. */
struct result {
    int read_code, write_code;
    char text[512]; /* of the read-only refusal */
};

static struct result open_both(void)
{
    struct result result = { .text = "" };
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store = NULL;

    write_work();
    memset(&asked, 0, sizeof(asked));
    result.read_code = stele_open(scratch_path, NULL, &store);
    require_little_asked(result.read_code, result.read_code ? stele_last_error()->text : "");
    if (result.read_code) {
        snprintf(result.text, sizeof(result.text), "%s", stele_last_error()->text);
        REQUIRE(is_refusal(result.read_code) && strstr(result.text, scratch_path) && !store);
    } else {
        use_store(store);
        REQUIRE(stele_close(store) == STELE_OK);
    }
    REQUIRE(is_unchanged());
    store = NULL;
    options.mode = STELE_READ_WRITE;
    options.lock_wait_ms = 200;
    memset(&asked, 0, sizeof(asked));
    result.write_code = stele_open(scratch_path, &options, &store);
    require_little_asked(result.write_code, result.write_code ? stele_last_error()->text : "");
    if (result.write_code) {
        REQUIRE(is_refusal(result.write_code) || result.write_code == STELE_E_READONLY);
        REQUIRE(strstr(stele_last_error()->text, scratch_path));
        REQUIRE(is_unchanged());
    } else {
        REQUIRE(result.read_code == STELE_OK);
        use_store(store);
        REQUIRE(stele_close(store) == STELE_OK);
    }
    return result;
}

/* ---- header numbers ---- */

static const uint64_t boundaries[] = {
    0, 1, 2, 3, 7, 8, 9, 16, 63, 64, 65, 88, 99, 100, 101, 127, 128, 199, 200, 201, 255, 256, 4088, 4095, 4096, 4097,
    8191, 8192, 16376, 16383, 16384, 16385, 20480, 57343, 57344, 57345, 65535, 65536, 65537, 131072, 589823, 589824,
    UINT64_C(1) << 20, (UINT64_C(2) << 20) - 1, UINT64_C(2) << 20, (UINT64_C(2) << 20) + 1, UINT64_C(4) << 20,
    (UINT64_C(16) << 20) - 1, UINT64_C(16) << 20, (UINT64_C(16) << 20) + 1, UINT64_C(128) << 20,
    (UINT64_C(128) << 20) + 4096, UINT64_C(1) << 31, UINT32_MAX, UINT64_C(1) << 32, (UINT64_C(1) << 32) + 64,
    (UINT64_C(1) << 48) - 1, UINT64_C(1) << 48, (UINT64_C(1) << 48) + 1, UINT64_C(1) << 58, UINT64_C(1) << 60,
    (UINT64_C(1) << 61) - 4096, UINT64_C(1) << 61, (UINT64_C(1) << 61) + 1, (UINT64_C(1) << 62) - 1, UINT64_C(1) << 62,
    UINT64_C(1) << 63, UINT64_MAX - 65535, UINT64_MAX - 4095, UINT64_MAX - 7, UINT64_MAX - 1, UINT64_MAX,
};

enum rule { FREE, FIXED };

/* FIXED: any other number is refused, by a sentence with the word in it. */
static const struct number {
    const char *name;
    size_t offset, bytes;
    enum rule rule;
    const char *word;
} numbers[] = {
#define NUMBER(member, rule, word)                                                                           \
    { #member, offsetof(struct stele_slot, member), sizeof(((struct stele_slot *)0)->member), rule, word }
    NUMBER(format_version, FIXED, "format version"), NUMBER(byte_order, FIXED, "byte order"),
    NUMBER(library_version, FREE, NULL), NUMBER(slot_bytes, FIXED, "slot size"),
    NUMBER(features_incompatible, FREE, NULL), NUMBER(features_read_only, FREE, NULL),
    NUMBER(features_compatible, FREE, NULL), NUMBER(origin_sequence, FREE, NULL), NUMBER(generation, FREE, NULL),
    NUMBER(session, FREE, NULL), NUMBER(created_us, FREE, NULL), NUMBER(modified_us, FREE, NULL),
    NUMBER(checkpoint_us, FREE, NULL), NUMBER(record_bytes, FIXED, "cannot be"),
    NUMBER(records_per_block, FIXED, "records per block"), NUMBER(records_per_cell, FIXED, "records per cell"),
    NUMBER(sum_kind, FIXED, "checksum kind"), NUMBER(stripe_kind, FIXED, "stripe kind"),
    NUMBER(schema_bytes, FIXED, "schema"), NUMBER(state_flags, FREE, NULL), NUMBER(layout_version, FREE, NULL),
    NUMBER(capacity, FIXED, "cannot be"), NUMBER(count, FREE, NULL), NUMBER(sequence, FREE, NULL),
    NUMBER(ring_head, FREE, NULL), NUMBER(chain, FREE, NULL), NUMBER(tag_bytes, FREE, NULL),
    NUMBER(user_version, FREE, NULL), NUMBER(history_total, FREE, NULL),
    NUMBER(regions[0].kind, FIXED, "region"), NUMBER(regions[0].flags, FREE, NULL),
    NUMBER(regions[0].offset, FREE, NULL), NUMBER(regions[0].bytes, FIXED, "region"),
    NUMBER(regions[0].parameter, FREE, NULL), NUMBER(regions[1].kind, FIXED, "region"),
    NUMBER(regions[1].offset, FREE, NULL), NUMBER(regions[1].bytes, FREE, NULL),
    NUMBER(regions[2].kind, FIXED, "region"), NUMBER(regions[2].offset, FREE, NULL),
    NUMBER(regions[2].bytes, FIXED, "region|records' size"), NUMBER(regions[3].kind, FIXED, "region"),
    NUMBER(regions[3].offset, FREE, NULL), NUMBER(regions[3].bytes, FIXED, "region|sums' size"),
    NUMBER(regions[4].kind, FIXED, "region"), NUMBER(regions[4].offset, FREE, NULL),
    NUMBER(regions[4].bytes, FREE, NULL), NUMBER(regions[4].flags, FREE, NULL), NUMBER(regions[5].kind, FREE, NULL),
    NUMBER(history[0].first_new, FREE, NULL), NUMBER(history[63].kind, FREE, NULL),
#undef NUMBER
};

/* One of the words that '|' divides stands in @text. */
static bool has_one_of(const char *text, const char *words)
{
    char list[64];

    snprintf(list, sizeof(list), "%s", words);
    for (char *word = strtok(list, "|"); word; word = strtok(NULL, "|")) {
        if (strstr(text, word))
            return true;
    }
    return false;
}

static void try_number(const struct number *number, uint64_t value)
{
    if (!is_turn())
        return;
    struct stele_slot changed = slot;
    const uint64_t mask = number->bytes == 8 ? UINT64_MAX : (UINT64_C(1) << (8 * number->bytes)) - 1;
    uint64_t truth = 0;

    value &= mask;
    memcpy(&truth, (uint8_t *)&slot + number->offset, number->bytes);
    memcpy((uint8_t *)&changed + number->offset, &value, number->bytes);
    put_slot(&changed);
    struct result result = open_both();
    bool is_fine = value == truth ? !result.read_code && !result.write_code
                                  : number->rule == FREE ||
                                        (is_refusal(result.read_code) && is_refusal(result.write_code) &&
                                         has_one_of(result.text, number->word));
    if (!is_fine) {
        fprintf(stderr, "%s = %" PRIu64 ": %d, %d: %s\n", number->name, value, result.read_code, result.write_code,
                result.text);
        _exit(1);
    }
}

static void try_numbers(void *context)
{
    const struct number *number = context;
    uint64_t truth = 0;

    begin_child();
    memcpy(&truth, (uint8_t *)&slot + number->offset, number->bytes);
    for (size_t i = 0; i < COUNT_OF(boundaries); i++)
        try_number(number, boundaries[i]);
    const uint64_t near_truth[] = { truth, truth + 1, truth - 1, truth + 8, truth - 8, truth + 4096, truth - 4096,
                                    truth + 65536, truth - 65536, truth * 2, truth / 2 };
    for (size_t i = 0; i < COUNT_OF(near_truth); i++)
        try_number(number, near_truth[i]);
}

static void every_number_of_the_header_at_every_boundary_gives_a_store_or_a_sentence(void **state)
{
    for (size_t i = 0; i < COUNT_OF(numbers); i++) {
        if (exit_of_child(try_numbers, (void *)(uintptr_t)&numbers[i]))
            fail_msg("header field %s", numbers[i].name);
    }
}

/* Headers whose numbers fit each other and nothing else: how large a store they speak of. */
static const struct {
    uint64_t record_bytes, capacity, ring_bytes, count;
} giants[] = {
    { 64, UINT64_C(1) << 48, RING, 100 },
    { 64, UINT64_C(1) << 48, RING, UINT64_C(1) << 48 },
    { 64, (UINT64_C(1) << 48) - 1, RING, (UINT64_C(1) << 48) - 1 },
    { 64, UINT64_C(1) << 40, 128 * MIB, UINT64_C(1) << 39 },
    { 64, 200, 128 * MIB, 100 },
    { 64, 201, RING, 201 },
    { 64, UINT64_C(1) << 26, RING, 1 },
};

static void open_giants(void *context)
{
    begin_child();
    for (size_t i = 0; i < COUNT_OF(giants); i++) {
        struct stele_slot changed = slot;
        struct stele_layout layout;
        REQUIRE(stele_layout_plan(giants[i].record_bytes, giants[i].capacity, giants[i].ring_bytes, &layout) ==
                STELE_OK);
        stele_layout_to(&layout, &changed);
        changed.count = giants[i].count;
        put_slot(&changed);
        struct result result = open_both();
        REQUIRE(result.read_code == STELE_OK || result.read_code == STELE_E_TRUNCATED);
        REQUIRE(giants[i].capacity < CAPACITY + 2 || result.write_code == STELE_E_TRUNCATED);
    }
}

static void a_header_of_a_store_too_large_for_its_file_is_a_cut_file(void **state)
{
    assert_int_equal(exit_of_child(open_giants, NULL), 0);
}

/* Sums and schema room far behind everything, with the file behind them a hole. */
static void open_stretched(void *context)
{
    begin_child();
    for (unsigned shift = 22; shift < 61; shift++) {
        for (unsigned region = 3; region < 5; region++) {
            struct stele_slot changed = slot;
            if (!is_turn())
                continue;
            changed.regions[region].offset = UINT64_C(1) << shift;
            if (region == 4)
                changed.regions[region].bytes = UINT64_C(1) << shift;
            put_slot(&changed);
            open_both();
        }
    }
}

/* Here the windows may be as large as they are. */
static void use_stretched(void *context)
{
    struct stele_slot changed;
    struct stele *store = NULL;

    load_image();
    changed = slot;
    changed.regions[3].offset = UINT64_C(1) << 40;
    put_slot(&changed);
    write_work();
    REQUIRE(system_lengthen(scratch_path, (UINT64_C(1) << 40) + 4096));
    REQUIRE(stele_open(scratch_path, NULL, &store) == STELE_OK);
    use_store(store);
    REQUIRE(stele_close(store) == STELE_OK);
}

static void regions_any_distance_apart_cost_no_more_work(void **state)
{
    assert_int_equal(exit_of_child(open_stretched, NULL), 0);
    assert_int_equal(exit_of_child(use_stretched, NULL), 0);
}

/* ---- schemas ---- */

struct bomb_field {
    struct stele_schema_field head;
    char name[80];
};

/* Head and fields to @work, the slot's hash and size made right. */
static void put_schema(const struct stele_schema_head *head, const uint8_t *fields, size_t bytes)
{
    struct stele_slot changed = slot;
    uint8_t *at = work + STELE_SCHEMA_OFFSET;

    memset(at, 0, STELE_SCHEMA_BYTES_MAX);
    memcpy(at, head, sizeof(*head));
    memcpy(at + sizeof(*head), fields, bytes);
    changed.schema_bytes = (uint32_t)(sizeof(*head) + bytes);
    stele_hash128(at, changed.schema_bytes, changed.schema_hash);
    put_slot(&changed);
}

static struct stele_schema_head schema_head(uint32_t field_count, size_t bytes)
{
    return (struct stele_schema_head){ .version = 1, .bytes = (uint32_t)(sizeof(struct stele_schema_head) + bytes),
                                       .record_bytes = RECORD_BYTES, .field_count = field_count, .name = "Bomb" };
}

static size_t put_field(uint8_t *out, const struct stele_schema_field *field, const char *name)
{
    struct stele_schema_field head = *field;
    size_t bytes = (size_t)stele_round_up(sizeof(head) + strlen(name), 8);

    if (head.bytes == 0)
        head.bytes = (uint16_t)bytes;
    if (head.name_bytes == 0)
        head.name_bytes = (uint16_t)strlen(name);
    memset(out, 0, bytes);
    memcpy(out, &head, sizeof(head));
    memcpy(out + sizeof(head), name, strlen(name));
    return bytes;
}

#define MANY UINT32_C(0xffffffff)

/* Two fields; the second is the one that lies. */
static const struct {
    const char *what;
    struct stele_schema_field field;
    const char *name;
} bombs[] = {
    { "dims beyond 64 bits", { .type = 2, .element_bytes = 1, .dims = { MANY, MANY, MANY, MANY }, .offset = 8 }, "b" },
    { "2^64 elements", { .type = 2, .element_bytes = 1, .dims = { 65536, 65536, 65536, 65536 }, .offset = 8 }, "b" },
    { "a large element", { .type = 13, .element_bytes = MANY, .offset = 8 }, "b" },
    { "element times dims", { .type = 13, .element_bytes = MANY, .dims = { MANY, MANY }, .offset = 8 }, "b" },
    { "an offset at the end of numbers", { .type = 2, .element_bytes = 1, .offset = UINT64_MAX }, "b" },
    { "an offset that wraps", { .type = 8, .element_bytes = 8, .offset = UINT64_MAX - 7 }, "b" },
    { "behind the record", { .type = 2, .element_bytes = 1, .offset = 64 }, "b" },
    { "over the end of the record", { .type = 8, .element_bytes = 8, .offset = 57 }, "b" },
    { "overlapping", { .type = 8, .element_bytes = 8, .offset = 4 }, "b" },
    { "a dim behind a zero dim", { .type = 2, .element_bytes = 1, .dims = { 0, 2 }, .offset = 8 }, "b" },
    { "no type", { .type = 0, .element_bytes = 1, .offset = 8 }, "b" },
    { "an unknown type", { .type = 14, .element_bytes = 1, .offset = 8 }, "b" },
    { "flags", { .type = 2, .flags = 1, .element_bytes = 1, .offset = 8 }, "b" },
    { "a size that is not the type's", { .type = 8, .element_bytes = 4, .offset = 8 }, "b" },
    { "no element size", { .type = 12, .element_bytes = 0, .offset = 8 }, "b" },
    { "a twin", { .type = 2, .element_bytes = 1, .offset = 8 }, "a" },
    { "a name that is too long for it", { .type = 2, .element_bytes = 1, .offset = 8, .name_bytes = 65535 }, "b" },
    { "many attributes", { .type = 5, .element_bytes = 4, .offset = 8, .attribute_count = 65535 }, "b" },
    { "a field behind the end", { .bytes = 65528, .type = 2, .element_bytes = 1, .offset = 8 }, "b" },
    { "a field of 8 bytes", { .bytes = 8, .type = 2, .element_bytes = 1, .offset = 8 }, "b" },
    { "a field of odd size", { .bytes = 47, .type = 2, .element_bytes = 1, .offset = 8 }, "b" },
    { "not UTF-8", { .type = 2, .element_bytes = 1, .offset = 8 }, "\xff\xfe" },
    { "a name with a line feed", { .type = 2, .element_bytes = 1, .offset = 8 }, "a\nb" },
};

static void open_bombs(void *context)
{
    static const struct stele_schema_field good = { .type = 8, .element_bytes = 8 };
    uint8_t fields[512];

    begin_child();
    for (size_t i = 0; i < COUNT_OF(bombs); i++) {
        size_t bytes = put_field(fields, &good, "a");
        bytes += put_field(fields + bytes, &bombs[i].field, bombs[i].name);
        struct stele_schema_head head = schema_head(2, bytes);
        put_schema(&head, fields, bytes);
        struct result result = open_both();
        if (!is_refusal(result.read_code) || !is_refusal(result.write_code)) {
            fprintf(stderr, "schema with %s: %d, %d\n", bombs[i].what, result.read_code, result.write_code);
            _exit(1);
        }
    }
}

static void a_schema_bomb_is_refused(void **state)
{
    assert_int_equal(exit_of_child(open_bombs, NULL), 0);
}

/* As many one-byte fields as there is room for, and heads that say more or other than what is there. */
static void open_crowds(void *context)
{
    static uint8_t fields[STELE_SCHEMA_BYTES_MAX];
    const uint32_t room = (STELE_SCHEMA_BYTES_MAX - (uint32_t)sizeof(struct stele_schema_head)) / 48;
    static const uint32_t claims[] = { 0, 1, 63, 65, 1193, 65535, 65536, 0x7fffffff, MANY };
    size_t bytes = 0;

    begin_child();
    for (uint32_t n = 0; n < room; n++) {
        char name[8];
        struct stele_schema_field field = { .type = 2, .element_bytes = 1, .offset = n };
        snprintf(name, sizeof(name), "f%" PRIu32, n);
        bytes += put_field(fields + bytes, &field, name);
        struct stele_schema_head head = schema_head(n + 1, bytes);
        if (n != 63 && n + 1 != room)
            continue;
        put_schema(&head, fields, bytes);
        struct result result = open_both();
        REQUIRE(n == 63 ? !result.read_code && !result.write_code : is_refusal(result.read_code));
        for (size_t i = 0; i < COUNT_OF(claims); i++) {
            head.field_count = claims[i];
            put_schema(&head, fields, bytes);
            REQUIRE(!is_turn() || is_refusal(open_both().read_code));
        }
        head.field_count = n + 1;
        for (size_t i = 0; i < COUNT_OF(boundaries); i++) {
            head.record_bytes = boundaries[i] == RECORD_BYTES ? 1 : boundaries[i];
            put_schema(&head, fields, bytes);
            REQUIRE(!is_turn() || is_refusal(open_both().read_code));
        }
    }
}

static void a_schema_that_says_more_fields_than_it_has_is_refused(void **state)
{
    assert_int_equal(exit_of_child(open_crowds, NULL), 0);
}

/* ---- journal entries ---- */

/* An entry that fits the walk at the slot's head, with right hashes, whatever it says. */
static void put_entry(const struct stele_entry_head *lie, const uint8_t *items, size_t items_bytes)
{
    struct stele_entry_head head = *lie;
    uint8_t *at = work + STELE_JOURNAL_OFFSET + slot.ring_head;
    const size_t bytes = sizeof(head) + items_bytes;

    memset(work + STELE_JOURNAL_OFFSET, 0, RING);
    REQUIRE(slot.ring_head + bytes + 8 <= RING);
    head.hash = stele_hash64(&head, offsetof(struct stele_entry_head, hash), head.session);
    memcpy(at, &head, sizeof(head));
    memcpy(at + sizeof(head), items, items_bytes);
    uint64_t trailer = stele_hash64(at, bytes, head.session);
    memcpy(at + bytes, &trailer, sizeof(trailer));
}

static struct stele_entry_head entry_head(size_t items_bytes)
{
    return (struct stele_entry_head){ .magic = STELE_ENTRY_MAGIC,
                                      .length = sizeof(struct stele_entry_head) + items_bytes + 8,
                                      .sequence = slot.sequence + 1, .session = slot.session, .chain = slot.chain,
                                      .synced_seq = slot.sequence, .writer = 1 };
}

/* Items that are right, each with its payload's bytes: the truth from which one number at a time departs. */
static const struct stele_item good_items[] = {
    { .type = STELE_ITEM_COUNT, .first = 90, .n = 120 },
    { .type = STELE_ITEM_RECORDS, .region = 3, .bytes = 128, .first = 5, .n = 2 },
    { .type = STELE_ITEM_SUMS, .region = 4, .bytes = 16, .first = 0, .n = 2 },
    { .type = STELE_ITEM_REPAIR, .region = 4, .bytes = 8, .first = 1, .n = 1 },
    { .type = STELE_ITEM_USER, .bytes = 64, .first = 7 },
    { .type = STELE_ITEM_TAG, .bytes = 5 },
    { .type = STELE_ITEM_TIME, .first = 1000 },
};

static size_t put_item(uint8_t *out, const struct stele_item *item, uint64_t payload_bytes)
{
    memset(out, 0, (size_t)(sizeof(*item) + stele_round_up(payload_bytes, 8)));
    memcpy(out, item, sizeof(*item));
    return (size_t)(sizeof(*item) + stele_round_up(payload_bytes, 8));
}

static const struct {
    const char *name;
    size_t offset, bytes;
} item_numbers[] = {
    { "type", 0, 2 }, { "flags", 2, 2 }, { "region", 4, 4 }, { "bytes", 8, 8 }, { "first", 16, 8 }, { "n", 24, 8 },
};

/* By FORMAT.md section 5; -1 where more than one answer is right. */
static int expected_of(const struct stele_item *item)
{
    bool is_newer = (item->flags & ~STELE_ITEM_OPTIONAL) ||
                    ((item->type == 0 || item->type >= STELE_ITEM_BYTES) && !(item->flags & STELE_ITEM_OPTIONAL));
    bool is_inside;

    if (is_newer)
        return STELE_E_VERSION;
    switch (item->type) {
    case STELE_ITEM_COUNT:
        is_inside = item->first <= item->n && item->n <= CAPACITY;
        return item->bytes == 0 && item->region == 0 && is_inside ? STELE_OK : STELE_E_DAMAGED;
    case STELE_ITEM_RECORDS:
        is_inside = item->n >= 1 && item->n <= CAPACITY && item->first <= CAPACITY - item->n;
        return is_inside && item->region == 3 && item->bytes == item->n * RECORD_BYTES ? STELE_OK : STELE_E_DAMAGED;
    case STELE_ITEM_SUMS:
    case STELE_ITEM_REPAIR:
        is_inside = item->n >= 1 && item->n <= 4 && item->first <= 4 - item->n;
        return is_inside && item->region == 4 && item->bytes == item->n * 8 ? STELE_OK : STELE_E_DAMAGED;
    default:
        return -1;
    }
}

static void try_item(const struct stele_item *truth, size_t which, uint64_t value)
{
    if (!is_turn())
        return;
    struct stele_item lie = *truth;
    uint8_t items[1024];

    memcpy((uint8_t *)&lie + item_numbers[which].offset, &value, item_numbers[which].bytes);
    size_t bytes = put_item(items, &lie, truth->bytes);
    struct stele_entry_head head = entry_head(bytes);
    put_entry(&head, items, bytes);
    struct result result = open_both();
    int expected = expected_of(&lie);
    /* Where the sizes of the payload do not come out, another item begins in it. */
    bool is_fine = lie.bytes == truth->bytes && expected != -1
                       ? result.read_code == expected && result.write_code == expected
                       : result.read_code == result.write_code;
    if (!is_fine) {
        fprintf(stderr, "item %u, %s = %" PRIu64 ": %d, %d, not %d: %s\n", truth->type, item_numbers[which].name, value,
                result.read_code, result.write_code, expected, result.text);
        _exit(1);
    }
}

static void try_items(void *context)
{
    const struct stele_item *truth = context;

    begin_child();
    put_slot(&slot);
    for (size_t which = 0; which < COUNT_OF(item_numbers); which++) {
        for (size_t i = 0; i < COUNT_OF(boundaries); i++)
            try_item(truth, which, boundaries[i]);
        for (uint64_t value = 0; value < 12; value++)
            try_item(truth, which, value);
    }
}

static void every_number_of_an_item_at_every_boundary_is_taken_or_refused_as_the_format_says(void **state)
{
    for (size_t i = 0; i < COUNT_OF(good_items); i++) {
        if (exit_of_child(try_items, (void *)(uintptr_t)&good_items[i]))
            fail_msg("item of type %u", good_items[i].type);
    }
}

/* Items without a payload that speak of no record or word. */
static void try_empty_items(void *context)
{
    uint8_t items[64];

    begin_child();
    put_slot(&slot);
    for (uint16_t type = STELE_ITEM_RECORDS; type <= STELE_ITEM_REPAIR; type++) {
        const struct stele_item empty = { .type = type, .region = type == STELE_ITEM_RECORDS ? 3 : 4 };
        size_t bytes = put_item(items, &empty, 0);
        struct stele_entry_head head = entry_head(bytes);
        put_entry(&head, items, bytes);
        struct result result = open_both();
        REQUIRE(result.read_code == STELE_E_DAMAGED && result.write_code == STELE_E_DAMAGED);
    }
}

static void an_item_of_nothing_is_refused(void **state)
{
    assert_int_equal(exit_of_child(try_empty_items, NULL), 0);
}

static void try_heads(void *context)
{
    uint8_t items[256];
    size_t bytes = put_item(items, &good_items[0], 0);

    begin_child();
    put_slot(&slot);
    for (size_t i = 0; i < COUNT_OF(boundaries); i++) {
        struct stele_entry_head head = entry_head(bytes);
        if (!is_turn())
            continue;
        head.length = boundaries[i];
        put_entry(&head, items, bytes);
        REQUIRE(head.length == sizeof(head) + bytes + 8 || open_both().read_code == STELE_OK);
        head = entry_head(bytes);
        head.sequence = boundaries[i];
        put_entry(&head, items, bytes);
        open_both();
        head = entry_head(bytes);
        head.synced_seq = boundaries[i];
        put_entry(&head, items, bytes);
        REQUIRE(open_both().read_code == STELE_OK);
        head = entry_head(bytes);
        head.kind = (uint16_t)boundaries[i];
        put_entry(&head, items, bytes);
        REQUIRE(open_both().read_code == (head.kind ? STELE_E_VERSION : STELE_OK));
        head = entry_head(bytes);
        head.flags = (uint16_t)boundaries[i];
        put_entry(&head, items, bytes);
        REQUIRE(open_both().read_code == (head.flags ? STELE_E_VERSION : STELE_OK));
    }
    /* Items that end anywhere but at the trailer. */
    for (size_t cut = 8; cut < sizeof(struct stele_item); cut += 8) {
        struct stele_entry_head head = entry_head(bytes + cut);
        memset(items + bytes, 0, cut);
        put_entry(&head, items, bytes + cut);
        REQUIRE(open_both().read_code == STELE_E_DAMAGED);
    }
}

static void every_number_of_an_entry_head_at_every_boundary_ends_the_walk_or_is_refused(void **state)
{
    assert_int_equal(exit_of_child(try_heads, NULL), 0);
}

/* The smallest entries there are, one behind the other through the whole ring, and more of them than it holds. */
static void open_full_ring(void *context)
{
    uint64_t chain;
    struct stele_slot changed;

    begin_child();
    chain = slot.chain;
    changed = slot;
    changed.ring_head = 0;
    put_slot(&changed);
    for (uint64_t place = 0; place + 72 <= RING; place += 72) {
        struct stele_entry_head head = entry_head(0);
        uint8_t *at = work + STELE_JOURNAL_OFFSET + place;
        head.sequence = slot.sequence + 1 + place / 72;
        head.chain = chain;
        head.hash = stele_hash64(&head, offsetof(struct stele_entry_head, hash), head.session);
        memcpy(at, &head, sizeof(head));
        chain = stele_hash64(at, sizeof(head), head.session);
        memcpy(at + sizeof(head), &chain, sizeof(chain));
    }
    write_work();
    struct stele *store = open_store(STELE_READ_ONLY);
    REQUIRE(store);
    REQUIRE(info_of(store).journal_entry_count == RING / 72);
    REQUIRE(stele_close(store) == STELE_OK);
    struct result result = open_both();
    REQUIRE(result.read_code == STELE_OK && result.write_code == STELE_OK);
}

static void a_ring_full_of_the_smallest_entries_is_walked_once(void **state)
{
    assert_int_equal(exit_of_child(open_full_ring, NULL), 0);
}

/* ---- words of the live region, which any process that has the file open may store to ---- */

static void store_word(size_t offset, uint64_t value)
{
    poke(scratch_path, STELE_LIVE_OFFSET + offset, &value, sizeof(value));
}

static void try_words(void *context)
{
    static const size_t offsets[] = { 0, 8, 64, 128, 256, 320, 384, 448, 512, 576, 640, 704, 768, 832, 896, 960, 1048 };
    uint8_t record[RECORD_BYTES] = { 1 };

    for (size_t i = 0; i < COUNT_OF(offsets); i++) {
        for (size_t k = 0; k < COUNT_OF(boundaries); k++) {
            struct stele_options options = STELE_OPTIONS_INIT;
            struct stele *writer = NULL, *reader = NULL;
            struct stele_info info = STELE_INFO_INIT;
            if (!is_turn())
                continue;
            copy_file(scratch_name("image"), scratch_path);
            options.lock_wait_ms = options.read_wait_ms = 1;
            REQUIRE(stele_open(scratch_path, NULL, &reader) == STELE_OK);
            options.mode = STELE_READ_WRITE;
            REQUIRE(stele_open(scratch_path, &options, &writer) == STELE_OK);
            store_word(offsets[i], boundaries[k]);
            asked.memory_bytes = 0;
            struct stele *const handles[] = { reader, writer };
            for (size_t h = 0; h < COUNT_OF(handles); h++) {
                /* The count is clamped to what an index can be; a page that is not there is a code. */
                uint64_t count = stele_count(handles[h]);
                (void)stele_get(handles[h], 0, record);
                (void)stele_get(handles[h], count - 1, record);
                (void)stele_info(handles[h], &info);
                (void)stele_outcome(handles[h], 1);
            }
            (void)stele_set(writer, 0, record);
            (void)stele_append(writer, record, 1, NULL);
            REQUIRE(asked.memory_bytes <= 4 * MIB);
            /* What was written went where it may: header, schema and the records' place are what they were. */
            REQUIRE(size_of_file(scratch_path) <= FILE_BYTES_MAX);
            (void)stele_close(reader);
            (void)stele_close(writer);
            reader = NULL;
            if (stele_open(scratch_path, NULL, &reader))
                REQUIRE(is_refusal(stele_last_error()->code));
            else
                use_store(reader);
            (void)stele_close(reader);
        }
    }
}

static void every_word_of_the_live_region_at_every_boundary_is_survived(void **state)
{
    assert_int_equal(exit_of_child(try_words, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HOSTILE(every_number_of_the_header_at_every_boundary_gives_a_store_or_a_sentence),
        HOSTILE(a_header_of_a_store_too_large_for_its_file_is_a_cut_file),
        HOSTILE(regions_any_distance_apart_cost_no_more_work),
        HOSTILE(a_schema_bomb_is_refused),
        HOSTILE(a_schema_that_says_more_fields_than_it_has_is_refused),
        HOSTILE(every_number_of_an_item_at_every_boundary_is_taken_or_refused_as_the_format_says),
        HOSTILE(an_item_of_nothing_is_refused),
        HOSTILE(every_number_of_an_entry_head_at_every_boundary_ends_the_walk_or_is_refused),
        HOSTILE(a_ring_full_of_the_smallest_entries_is_walked_once),
        HOSTILE(every_word_of_the_live_region_at_every_boundary_is_survived),
    };
    return cmocka_run_group_tests_name("hostile", tests, NULL, NULL);
}
