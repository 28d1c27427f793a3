/*
 * The superblock: which of two slots rules, in every state that a crash, rot or a newer library can leave; what the
 * fields of a slot may be; how the slots flip.
 */
#include "superblock.h"

#include "create.h"
#include "scratch.h"

static struct stele_slot good_slot(uint64_t generation)
{
    struct stele_schema *schema = schema_of_bytes(100);
    struct stele_layout layout;
    static struct stele_slot slot;

    assert_ok(stele_layout_plan(100, 1000, 0, &layout));
    /* One set of ids for all slots of a test run. */
    if (slot.slot_bytes == 0)
        assert_ok(stele_create_slot(&layout, false, schema, &slot));
    stele_schema_free(schema);
    slot.generation = generation;
    stele_slot_seal(&slot);
    return slot;
}

enum kind { BLANK, GOOD, TORN, NEWER, NEWER_ELSEWHERE, FEATURE, ALTERED, OTHER_FILE };

struct state {
    enum kind kind;
    uint64_t generation;
};

static struct stele_slot slot_of(struct state state)
{
    struct stele_slot slot = good_slot(state.generation);

    switch (state.kind) {
    case BLANK:
        memset(&slot, 0, sizeof(slot));
        break;
    case GOOD:
        break;
    case TORN:
        memset((uint8_t *)&slot + 512, 0xa5, 512);
        break;
    case NEWER:
        slot.format_version = 2;
        stele_slot_seal(&slot);
        break;
    case NEWER_ELSEWHERE: /* its hash is not where ours is */
        slot.format_version = 2;
        break;
    case FEATURE:
        slot.features_incompatible |= UINT64_C(1) << 17;
        stele_slot_seal(&slot);
        break;
    case ALTERED:
        slot.count = 5;
        stele_slot_seal(&slot);
        break;
    case OTHER_FILE:
        memset(&slot, 'x', sizeof(slot));
        break;
    }
    return slot;
}

enum { A = STELE_FILE_DAMAGE_SLOT_A, B = STELE_FILE_DAMAGE_SLOT_B };

static const struct {
    const char *name;
    struct state a, b;
    int code;
    uint32_t ruling, damage;
} cases[] = {
    { "just created", { GOOD, 1 }, { GOOD, 1 }, STELE_OK, 0, 0 },
    { "first is newer", { GOOD, 2 }, { GOOD, 1 }, STELE_OK, 0, 0 },
    { "second is newer", { GOOD, 1 }, { GOOD, 2 }, STELE_OK, 1, 0 },
    { "torn while flipping to second", { GOOD, 1 }, { TORN, 2 }, STELE_OK, 0, B },
    { "torn while flipping to first", { TORN, 3 }, { GOOD, 2 }, STELE_OK, 1, A },
    { "torn while the second follows", { GOOD, 2 }, { TORN, 1 }, STELE_OK, 0, B },
    { "second never written", { GOOD, 1 }, { BLANK, 0 }, STELE_OK, 0, B },
    { "first is lost", { BLANK, 0 }, { GOOD, 1 }, STELE_OK, 1, A },
    { "first overwritten", { OTHER_FILE, 0 }, { GOOD, 1 }, STELE_OK, 1, A },
    { "both torn", { TORN, 1 }, { TORN, 2 }, STELE_E_DAMAGED, 0, 0 },
    { "first torn, second blank", { TORN, 1 }, { BLANK, 0 }, STELE_E_DAMAGED, 0, 0 },
    { "first blank, second torn", { BLANK, 0 }, { TORN, 1 }, STELE_E_DAMAGED, 0, 0 },
    { "both blank", { BLANK, 0 }, { BLANK, 0 }, STELE_E_FORMAT, 0, 0 },
    { "another file", { OTHER_FILE, 0 }, { OTHER_FILE, 0 }, STELE_E_FORMAT, 0, 0 },
    { "newer format", { NEWER, 1 }, { NEWER, 1 }, STELE_E_VERSION, 0, 0 },
    { "newer format rules", { GOOD, 1 }, { NEWER, 2 }, STELE_E_VERSION, 0, 0 },
    { "newer format was before", { GOOD, 3 }, { NEWER, 2 }, STELE_OK, 0, 0 },
    { "newer format, second torn", { NEWER, 2 }, { TORN, 1 }, STELE_E_VERSION, 0, 0 },
    { "newer format with another hash", { NEWER_ELSEWHERE, 1 }, { NEWER_ELSEWHERE, 1 }, STELE_E_VERSION, 0, 0 },
    { "newer format torn, ours good", { NEWER_ELSEWHERE, 2 }, { GOOD, 1 }, STELE_OK, 1, A },
    { "unknown feature", { FEATURE, 1 }, { FEATURE, 1 }, STELE_E_VERSION, 0, 0 },
    { "unknown feature rules", { GOOD, 1 }, { FEATURE, 2 }, STELE_E_VERSION, 0, 0 },
    { "unknown feature was before", { FEATURE, 1 }, { GOOD, 2 }, STELE_OK, 1, 0 },
    { "one generation, two contents", { GOOD, 4 }, { ALTERED, 4 }, STELE_E_DAMAGED, 0, 0 },
    { "two contents, two generations", { GOOD, 4 }, { ALTERED, 5 }, STELE_OK, 1, 0 },
};

static void the_valid_slot_with_the_higher_generation_rules(void **state)
{
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct stele_slot slots[2] = { slot_of(cases[i].a), slot_of(cases[i].b) };
        uint32_t ruling = 77, damage = 77;
        int rc = stele_superblock_choose(slots, &ruling, &damage);
        if (rc != cases[i].code)
            fail_msg("%s: %d, not %d: %s", cases[i].name, rc, cases[i].code, stele_last_error()->text);
        if (rc == STELE_OK && (ruling != cases[i].ruling || damage != cases[i].damage))
            fail_msg("%s: ruling %u, damage %u", cases[i].name, ruling, damage);
    }
}

/* ---- files ---- */

static void write_slots(const struct stele_slot *a, const struct stele_slot *b)
{
    poke(scratch_path, 0, a, sizeof(*a));
    poke(scratch_path, sizeof(*a), b, sizeof(*b));
}

static int read_file(struct stele_superblock *out)
{
    struct stele_os_file file = { .is_open = false };

    assert_ok(stele_os_open(scratch_path, false, &file));
    int rc = stele_superblock_read(&file, out);
    struct stele_error kept;
    stele_error_keep(&kept);
    stele_os_close(&file);
    stele_error_restore(&kept);
    return rc;
}

static void a_file_of_every_state_is_read_as_the_table_says(void **state)
{
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct stele_slot a = slot_of(cases[i].a), b = slot_of(cases[i].b);
        struct stele_superblock superblock;
        write_slots(&a, &b);
        assert_code(read_file(&superblock), cases[i].code);
        if (cases[i].code == STELE_OK) {
            const struct stele_slot *ruling = cases[i].ruling ? &b : &a;
            assert_memory_equal(&superblock.slot, ruling, sizeof(*ruling));
            assert_u64(superblock.damage, cases[i].damage);
            assert_u64(superblock.ruling, cases[i].ruling);
            assert_true(superblock.may_write);
        }
    }
}

static void a_file_of_every_short_length_is_refused_and_never_read_behind(void **state)
{
    struct stele_slot slot = good_slot(1);

    write_slots(&slot, &slot);
    for (unsigned length = 8192;; length -= scale_percent() < 100 ? 64 : 8) {
        struct stele_superblock superblock;
        set_size_of_file(scratch_path, length);
        int rc = read_file(&superblock);
        if (length >= 4096)
            assert_int_equal(rc, STELE_OK); /* the other slot serves */
        else if (length >= 8)
            assert_int_equal(rc, STELE_E_DAMAGED);
        else
            assert_int_equal(rc, STELE_E_FORMAT);
        if (length < 8192 && rc == STELE_OK)
            assert_u64(superblock.damage, B);
        if (length == 0)
            break;
    }
    assert_says("empty");
}

static void every_flipped_bit_of_a_slot_is_noticed(void **state)
{
    const struct stele_slot slot = good_slot(1);
    struct stele_slot slots[2] = { slot, slot };
    uint32_t ruling, damage;

    for (size_t bit = 0; bit < sizeof(slot) * 8; bit += scale_percent() < 100 ? 31 : 1) {
        for (unsigned which = 0; which < 2; which++) {
            uint8_t *bytes = (uint8_t *)&slots[which];
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
            assert_int_equal(stele_superblock_choose(slots, &ruling, &damage), STELE_OK);
            assert_u64(ruling, 1 - which);
            assert_u64(damage, which ? B : A);
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
    }
}

/* ---- fields, with the hash repaired ---- */

#define FIELD(name, is_fine) \
    { #name, offsetof(struct stele_slot, name), sizeof(((struct stele_slot *)0)->name), is_fine }
#define REGION(number, member, is_fine)                                                                      \
    { "region " #number " " #member,                                                                         \
      offsetof(struct stele_slot, regions) + (number) * sizeof(struct stele_region) +                        \
          offsetof(struct stele_region, member),                                                             \
      sizeof(((struct stele_region *)0)->member), is_fine }

static bool never(uint64_t value) { return false; }
static bool always(uint64_t value) { return true; }
static bool is_count(uint64_t value) { return value <= 1000; }
static bool is_tag_size(uint64_t value) { return value <= 64; }
static bool is_head(uint64_t value) { return value % 8 == 0 && value < MIB; }
static bool is_sequence(uint64_t value) { return value < UINT64_C(1) << 62; }
static bool is_schema_size(uint64_t value) { return value >= 88 && value % 8 == 0 && value <= 57344; }
static bool is_room(uint64_t value) { return value >= 144 && value <= 57344; }
/* Whether a region of @bytes may stand at @value: the store of good_slot has these places free. */
static bool is_free(uint64_t value, uint64_t align, uint64_t bytes)
{
    static const uint64_t places[][2] = { { 589824, 2 * MIB }, { 3 * MIB, 4 * MIB },
                                          { 4 * MIB + 128 * KIB + 256, UINT64_C(1) << 62 } };

    if (value % align || value > UINT64_C(1) << 61)
        return false;
    for (size_t i = 0; i < COUNT_OF(places); i++) {
        if (value >= places[i][0] && value < places[i][1] && bytes <= places[i][1] - value)
            return true;
    }
    return false;
}
static bool is_live_place(uint64_t value)
{
    /* Its own old place is free too. */
    return is_free(value, 65536, 524288) || (value % 65536 == 0 && value >= 65536 && value <= 2 * MIB - 524288);
}
static bool is_ring_place(uint64_t value) { return is_free(value, 65536, MIB); }
static bool is_ring_size(uint64_t value) { return value % 4096 == 0 && value >= 16384 && value <= 2 * MIB; }
static bool is_sums_place(uint64_t value)
{
    return value < UINT64_C(1) << 61 && value > 4 * MIB + 65536 && value % 65536 == 0;
}
static bool is_schema_place(uint64_t value) { return is_free(value, 8, 57344); }

/* Regions stand in the table in the order of their kinds: live, journal, records, sums, schema. */
static const struct {
    const char *name;
    size_t offset, bytes;
    bool (*is_fine)(uint64_t value);
} fields[] = {
    FIELD(format_version, never), FIELD(byte_order, never), FIELD(library_version, always), FIELD(slot_bytes, never),
    FIELD(features_compatible, always), FIELD(features_read_only, always), FIELD(origin_sequence, always),
    FIELD(sum_seed, always), FIELD(generation, is_sequence), FIELD(session, always), FIELD(created_us, always),
    FIELD(modified_us, always), FIELD(checkpoint_us, always), FIELD(record_bytes, never),
    FIELD(records_per_block, never), FIELD(records_per_cell, never), FIELD(sum_kind, never),
    FIELD(stripe_kind, never), FIELD(schema_bytes, is_schema_size), FIELD(state_flags, always),
    FIELD(layout_version, always), FIELD(capacity, never), FIELD(count, is_count), FIELD(sequence, is_sequence),
    FIELD(ring_head, is_head), FIELD(chain, always), FIELD(tag_bytes, is_tag_size), FIELD(user_version, always),
    FIELD(history_total, always),
    REGION(0, kind, never), REGION(0, flags, always), REGION(0, offset, is_live_place), REGION(0, bytes, never),
    REGION(1, kind, never), REGION(1, flags, always), REGION(1, offset, is_ring_place), REGION(1, bytes, is_ring_size),
    REGION(2, kind, never), REGION(2, flags, always), REGION(2, offset, never), REGION(2, bytes, never),
    REGION(3, kind, never), REGION(3, flags, always), REGION(3, offset, is_sums_place), REGION(3, bytes, never),
    REGION(4, kind, never), REGION(4, flags, always), REGION(4, offset, is_schema_place), REGION(4, bytes, is_room),
};

/* Round every power of two, and round what the slot has. */
static size_t boundary_values(uint64_t own, uint64_t out[256])
{
    size_t n = 0;

    for (unsigned shift = 0; shift < 64; shift++) {
        out[n++] = (UINT64_C(1) << shift) - 1;
        out[n++] = UINT64_C(1) << shift;
        out[n++] = (UINT64_C(1) << shift) + 1;
    }
    out[n++] = UINT64_MAX;
    out[n++] = UINT64_MAX - 7;
    out[n++] = UINT64_MAX - 4095;
    out[n++] = UINT64_MAX - 65535;
    out[n++] = own - 1;
    out[n++] = own + 1;
    out[n++] = own - 8;
    out[n++] = own + 8;
    out[n++] = own * 2;
    out[n++] = own / 2;
    return n;
}

static void every_number_of_a_slot_at_every_boundary_is_taken_or_refused_with_a_sentence(void **state)
{
    const struct stele_slot good = good_slot(1);
    unsigned taken = 0, refused = 0;

    for (size_t f = 0; f < COUNT_OF(fields); f++) {
        uint64_t values[256], own = 0;
        uint64_t mask = fields[f].bytes == 8 ? UINT64_MAX : (UINT64_C(1) << fields[f].bytes * 8) - 1;
        memcpy(&own, (const uint8_t *)&good + fields[f].offset, fields[f].bytes);
        size_t n = boundary_values(own, values);
        for (size_t i = 0; i < n; i++) {
            struct stele_slot slot = good;
            struct stele_superblock superblock;
            uint64_t value = values[i] & mask;
            if (value == own || values[i] != value)
                continue;
            memcpy((uint8_t *)&slot + fields[f].offset, &value, fields[f].bytes);
            stele_slot_seal(&slot);
            write_slots(&slot, &slot);
            int rc = read_file(&superblock);
            bool is_fine = fields[f].is_fine(value);
            if (is_fine ? rc != STELE_OK : rc != STELE_E_DAMAGED && rc != STELE_E_VERSION)
                fail_msg("%s of %" PRIu64 ": %d, %s", fields[f].name, value, rc, stele_last_error()->text);
            if (rc != STELE_OK && strlen(stele_last_error()->text) < 20)
                fail_msg("%s of %" PRIu64 ": no sentence", fields[f].name, value);
            taken += is_fine;
            refused += !is_fine;
        }
    }
    assert_true(taken > 1000);
    assert_true(refused > 2000);
}

static void features_say_who_may_do_what(void **state)
{
    for (unsigned bit = 0; bit < 64; bit++) {
        struct stele_superblock superblock;
        struct stele_slot slot = good_slot(1);
        slot.features_incompatible = UINT64_C(1) << bit;
        stele_slot_seal(&slot);
        write_slots(&slot, &slot);
        assert_code(read_file(&superblock), bit == 0 ? STELE_OK : STELE_E_VERSION);
        slot.features_incompatible = 0;
        slot.features_read_only = UINT64_C(1) << bit;
        stele_slot_seal(&slot);
        write_slots(&slot, &slot);
        assert_ok(read_file(&superblock));
        assert_false(superblock.may_write);
        slot.features_read_only = 0;
        slot.features_compatible = UINT64_C(1) << bit;
        stele_slot_seal(&slot);
        write_slots(&slot, &slot);
        assert_ok(read_file(&superblock));
        assert_true(superblock.may_write);
    }
}

/* ---- flips ---- */

static void a_flip_leaves_both_slots_with_the_next_generation_and_all_that_it_does_not_know(void **state)
{
    struct stele_slot slot = good_slot(1), on_disk[2];
    struct stele_superblock superblock;
    struct stele_os_file file = { .is_open = false };

    memset(slot.reserved1, 0x5a, sizeof(slot.reserved1));
    slot.features_compatible = UINT64_C(1) << 40;
    slot.regions[20] = (struct stele_region){ .kind = 99, .flags = 4, .offset = UINT64_C(1) << 41, .bytes = 7,
                                              .parameter = 13 };
    stele_slot_seal(&slot);
    write_slots(&slot, &slot);
    assert_ok(stele_os_open(scratch_path, true, &file));
    assert_ok(stele_superblock_read(&file, &superblock));
    for (unsigned flip = 1; flip <= 5; flip++) {
        struct stele_slot next = superblock.slot;
        next.count = flip;
        assert_ok(stele_superblock_flip(&file, &superblock, &next));
        peek(scratch_path, 0, on_disk, sizeof(on_disk));
        assert_memory_equal(&on_disk[0], &on_disk[1], sizeof(on_disk[0]));
        assert_memory_equal(&on_disk[0], &superblock.slot, sizeof(on_disk[0]));
        assert_u64(on_disk[0].generation, 1 + flip);
        assert_u64(on_disk[0].count, flip);
        assert_memory_equal(on_disk[0].reserved1, slot.reserved1, sizeof(slot.reserved1));
        assert_memory_equal(&on_disk[0].regions[20], &slot.regions[20], sizeof(slot.regions[20]));
        assert_u64(on_disk[0].features_compatible, UINT64_C(1) << 40);
    }
    stele_os_close(&file);
}

static void a_flip_never_writes_a_number_that_no_reader_takes(void **state)
{
    static const struct { uint64_t generation, sequence; bool is_fine; } ends[] = {
        { (UINT64_C(1) << 62) - 2, 5, true },
        { (UINT64_C(1) << 62) - 1, 5, false },
        { 5, (UINT64_C(1) << 62) - (UINT64_C(1) << 32) - 1, true },
        { 5, (UINT64_C(1) << 62) - (UINT64_C(1) << 32), false },
        { 5, UINT64_MAX, false },
    };

    for (size_t i = 0; i < COUNT_OF(ends); i++) {
        struct stele_superblock superblock;
        struct stele_slot slot = good_slot(5), next;
        struct stele_os_file file = { .is_open = false };

        write_slots(&slot, &slot);
        assert_ok(stele_os_open(scratch_path, true, &file));
        assert_ok(stele_superblock_read(&file, &superblock));
        next = superblock.slot;
        superblock.slot.generation = ends[i].generation;
        next.sequence = ends[i].sequence;
        int rc = stele_superblock_flip(&file, &superblock, &next);
        if (rc != (ends[i].is_fine ? STELE_OK : STELE_E_DAMAGED))
            fail_msg("case %zu: %d", i, rc);
        assert_ok(stele_superblock_read(&file, &superblock));
        stele_os_close(&file);
    }
}

static void a_flip_mends_the_slot_that_was_damaged(void **state)
{
    for (unsigned which = 0; which < 2; which++) {
        struct stele_slot slot = good_slot(7), torn = slot_of((struct state){ TORN, 7 });
        struct stele_superblock superblock;
        struct stele_os_file file = { .is_open = false };
        write_slots(which ? &slot : &torn, which ? &torn : &slot);
        assert_ok(stele_os_open(scratch_path, true, &file));
        assert_ok(stele_superblock_read(&file, &superblock));
        assert_u64(superblock.damage, which ? B : A);
        slot = superblock.slot;
        assert_ok(stele_superblock_flip(&file, &superblock, &slot));
        assert_u64(superblock.damage, 0);
        assert_ok(stele_superblock_read(&file, &superblock));
        assert_u64(superblock.damage, 0);
        assert_u64(superblock.slot.generation, 8);
        stele_os_close(&file);
    }
}

static void flip_without_the_right_to(void *context)
{
    struct stele_superblock superblock;
    struct stele_os_file file = { .is_open = false };

    /* Opened for reading only: no write succeeds. */
    REQUIRE(stele_os_open(scratch_path, false, &file) == STELE_OK);
    REQUIRE(stele_superblock_read(&file, &superblock) == STELE_OK);
    struct stele_slot next = superblock.slot;
    next.count = 3;
    REQUIRE(stele_superblock_flip(&file, &superblock, &next) < 0);
    stele_os_close(&file);
}

static void a_flip_that_fails_leaves_a_slot_that_rules(void **state)
{
    struct stele_slot slot = good_slot(1);
    struct stele_superblock superblock, after;
    struct stele_os_file file = { .is_open = false };

    write_slots(&slot, &slot);
    assert_ok(stele_os_open(scratch_path, false, &file));
    assert_ok(stele_superblock_read(&file, &superblock));
    assert_int_equal(exit_of_child(flip_without_the_right_to, NULL), 0);
    assert_ok(stele_superblock_read(&file, &after));
    assert_memory_equal(&after.slot, &slot, sizeof(slot));
    stele_os_close(&file);
}

static void history_goes_round_after_64_entries(void **state)
{
    struct stele_slot slot = good_slot(1);

    for (uint64_t i = 0; i < 200; i++) {
        struct stele_history entry = { .last_kept = i, .first_new = i + 5, .session = ~i, .kind = 1, .time_s = 9 };
        stele_slot_add_history(&slot, &entry);
        assert_u64(slot.history_total, i + 1);
        for (uint64_t k = i < 63 ? 0 : i - 63; k <= i; k++)
            assert_u64(slot.history[k % 64].last_kept, k);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_valid_slot_with_the_higher_generation_rules),
        IN_FAST_SCRATCH(a_file_of_every_state_is_read_as_the_table_says),
        IN_FAST_SCRATCH(a_file_of_every_short_length_is_refused_and_never_read_behind),
        cmocka_unit_test(every_flipped_bit_of_a_slot_is_noticed),
        IN_FAST_SCRATCH(every_number_of_a_slot_at_every_boundary_is_taken_or_refused_with_a_sentence),
        IN_FAST_SCRATCH(features_say_who_may_do_what),
        IN_SCRATCH(a_flip_leaves_both_slots_with_the_next_generation_and_all_that_it_does_not_know),
        IN_SCRATCH(a_flip_never_writes_a_number_that_no_reader_takes),
        IN_SCRATCH(a_flip_mends_the_slot_that_was_damaged),
        IN_SCRATCH(a_flip_that_fails_leaves_a_slot_that_rules),
        cmocka_unit_test(history_goes_round_after_64_entries),
    };

    return cmocka_run_group_tests_name("superblock", tests, NULL, NULL);
}
