/* The suite of stores in the words of POSIX: modes and masks. */
#include "scratch.h"

#include <sys/stat.h>

static uint8_t record[64];

static struct stele_options options_for(const struct stele_schema *schema)
{
    struct stele_options options = STELE_OPTIONS_INIT;

    options.schema = schema;
    options.mode = STELE_READ_WRITE;
    options.journal_bytes = 16 * KIB;
    options.lock_wait_ms = 200;
    return options;
}

static void permissions_are_those_asked_for_and_0600_by_default(void **state)
{
    static const struct { uint32_t asked, is; } cases[] = {
        { 0, 0600 }, { 0600, 0600 }, { 0644, 0644 }, { 0660, 0660 }, { 0400, 0400 }, { 0777, 0777 },
    };
    struct stele_schema *schema = schema_of_bytes(8);
    mode_t mask = umask(0);

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct stele_options options = options_for(schema);
        struct stele *store;
        struct stat status;
        options.permissions = cases[i].asked;
        if (stele_create(scratch_path, &options, &store)) {
            assert_u64(cases[i].asked, 0400); /* may be refused to who is not root */
            continue;
        }
        assert_int_equal(stat(scratch_path, &status), 0);
        assert_u64(status.st_mode & 07777, cases[i].is);
        assert_ok(stele_close(store));
        assert_int_equal(unlink(scratch_path), 0);
    }
    umask(mask);
    stele_schema_free(schema);
}

/* As an ordinary user: who is root may do anything with a file of any mode. */
static void create_under_masks(void *context)
{
    static const mode_t masks[] = { 0777, 0700, 0200, 0400, 0077 };
    const struct stele_schema *schema = context;

    REQUIRE(geteuid() != 0 || (setgid(65534) == 0 && setuid(65534) == 0));
    for (size_t i = 0; i < COUNT_OF(masks); i++) {
        struct stele_options options = options_for(schema);
        struct stele *store;
        struct stat status;
        umask(masks[i]);
        REQUIRE(stele_create(scratch_path, &options, &store) == STELE_OK);
        REQUIRE(stele_append(store, record, 1, NULL) == STELE_OK);
        REQUIRE(stele_close(store) == STELE_OK);
        REQUIRE(stat(scratch_path, &status) == 0 && (status.st_mode & 07777) == (0600 & ~masks[i]));
        REQUIRE(unlink(scratch_path) == 0);
    }
}

static void a_mask_that_takes_the_owner_s_rights_away_keeps_nobody_from_creating(void **state)
{
    struct stele_schema *schema = schema_of_bytes(8);

    assert_int_equal(chmod(scratch_folder, 0777), 0);
    assert_int_equal(exit_of_child(create_under_masks, schema), 0);
    stele_schema_free(schema);
}

int system_tests(void)
{
    const struct CMUnitTest tests[] = {
        IN_SCRATCH(permissions_are_those_asked_for_and_0600_by_default),
        IN_SCRATCH(a_mask_that_takes_the_owner_s_rights_away_keeps_nobody_from_creating),
    };

    return cmocka_run_group_tests_name("store, system", tests, NULL, NULL);
}
