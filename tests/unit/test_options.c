/* What the caller asked for: defaults, flags, and structs of callers older and newer than the library. */
#include "options.h"

#include "scratch.h"

enum { KNOWN = STELE_CREATE | STELE_SPARSE };

static void no_options_are_all_defaults(void **state)
{
    struct stele_options read, given = STELE_OPTIONS_INIT;

    for (unsigned i = 0; i < 2; i++) {
        memset(&read, 0xee, sizeof(read));
        assert_ok(stele_options_read(i ? &given : NULL, 0, &read));
        assert_u64(read.struct_bytes, sizeof(read));
        assert_u64(read.mode, STELE_READ_ONLY);
        assert_u64(read.flags, 0);
        assert_u64(read.permissions, 0600);
        assert_u64(read.lock_wait_ms, 5000);
        assert_u64(read.read_wait_ms, 5000);
        assert_u64(read.capacity_records, 0);
        assert_null(read.schema);
        assert_null(read.progress);
    }
}

static void what_is_set_is_kept(void **state)
{
    struct stele_options given = STELE_OPTIONS_INIT, read;

    given.mode = STELE_READ_WRITE;
    given.flags = STELE_CREATE | STELE_SPARSE;
    given.permissions = 0640;
    given.capacity_records = 5;
    given.journal_bytes = 16384;
    given.max_mapped_bytes = UINT64_C(1) << 40;
    given.lock_wait_ms = 1;
    given.read_wait_ms = UINT32_MAX;
    given.sync_interval_ms = 7;
    assert_ok(stele_options_read(&given, KNOWN, &read));
    assert_memory_equal(&read, &given, sizeof(read));
}

static void what_is_not_known_is_refused_and_named(void **state)
{
    struct stele_options read;

    for (unsigned bit = 0; bit < 32; bit++) {
        struct stele_options given = STELE_OPTIONS_INIT;
        given.flags = UINT32_C(1) << bit;
        assert_code(stele_options_read(&given, KNOWN, &read), given.flags & KNOWN ? STELE_OK : STELE_E_USAGE);
        given.flags = 0;
        given.mode = UINT32_C(1) << bit;
        assert_code(stele_options_read(&given, KNOWN, &read), bit == 0 ? STELE_OK : STELE_E_USAGE);
        given.mode = 0;
        given.permissions = UINT32_C(1) << bit;
        assert_code(stele_options_read(&given, KNOWN, &read), bit < 9 ? STELE_OK : STELE_E_USAGE);
    }
}

static void structs_of_older_callers_are_filled_up_with_defaults(void **state)
{
    /* Each shorter struct ends in memory that must not be read. */
    for (uint32_t bytes = 8; bytes <= sizeof(struct stele_options); bytes += 8) {
        struct stele_options full = STELE_OPTIONS_INIT, read;
        full.mode = STELE_READ_WRITE;
        full.permissions = 0644;
        full.capacity_records = 77;
        full.struct_bytes = bytes;
        uint8_t *given = malloc(bytes);
        assert_non_null(given);
        memcpy(given, &full, bytes);
        assert_ok(stele_options_read((const void *)given, 0, &read));
        assert_u64(read.mode, bytes >= 8 ? STELE_READ_WRITE : STELE_READ_ONLY);
        assert_u64(read.permissions, bytes >= 16 ? 0644 : 0600);
        assert_u64(read.capacity_records, bytes >= 24 ? 77 : 0);
        free(given);
    }
}

static void structs_of_newer_callers_are_taken_while_they_set_nothing_new(void **state)
{
    enum { MORE = 64 };
    union {
        struct stele_options options;
        uint8_t bytes[sizeof(struct stele_options) + MORE];
    } given = { .bytes = { 0 } };
    struct stele_options read;

    given.options.struct_bytes = sizeof(given.bytes);
    given.options.mode = STELE_READ_WRITE;
    assert_ok(stele_options_read(&given.options, 0, &read));
    assert_u64(read.mode, STELE_READ_WRITE);
    for (size_t at = sizeof(struct stele_options); at < sizeof(given.bytes); at++) {
        given.bytes[at] = 1;
        assert_code(stele_options_read(&given.options, 0, &read), STELE_E_USAGE);
        assert_says("does not know");
        given.bytes[at] = 0;
    }
}

static void a_size_that_was_never_set_is_refused(void **state)
{
    static const uint32_t sizes[] = { 0, 1, 3, 65537, UINT32_MAX };
    struct stele_options given = STELE_OPTIONS_INIT, read;
    uint32_t ours[4] = { 16, 1, 2, 3 };

    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        given.struct_bytes = sizes[i];
        assert_code(stele_options_read(&given, 0, &read), STELE_E_USAGE);
        assert_says("_INIT");
        assert_code(stele_struct_give(ours, sizeof(ours), &given), STELE_E_USAGE);
        assert_u64(given.struct_bytes, sizes[i]);
    }
}

static void what_is_given_fills_the_smaller_and_zeroes_the_rest(void **state)
{
    const uint32_t ours[4] = { 16, 1, 2, 3 };

    for (uint32_t words = 1; words <= 8; words++) {
        uint32_t theirs[9];
        memset(theirs, 0xee, sizeof(theirs));
        theirs[0] = words * 4;
        assert_ok(stele_struct_give(ours, sizeof(ours), theirs));
        assert_u64(theirs[0], words * 4); /* the size stays theirs */
        for (uint32_t i = 1; i < words; i++)
            assert_u64(theirs[i], i < 4 ? i : 0);
        assert_u64(theirs[words], 0xeeeeeeee);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_options_are_all_defaults),
        cmocka_unit_test(what_is_set_is_kept),
        cmocka_unit_test(what_is_not_known_is_refused_and_named),
        cmocka_unit_test(structs_of_older_callers_are_filled_up_with_defaults),
        cmocka_unit_test(structs_of_newer_callers_are_taken_while_they_set_nothing_new),
        cmocka_unit_test(a_size_that_was_never_set_is_refused),
        cmocka_unit_test(what_is_given_fills_the_smaller_and_zeroes_the_rest),
    };

    return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
