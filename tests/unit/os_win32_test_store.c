/* The suite of stores in the words of Windows: a mode is no more than a word there; a mask there is not. */
#include "scratch.h"

#include <windows.h>

static void permissions_are_those_asked_for_and_0600_by_default(void **state)
{
    static const uint32_t asked[] = { 0, 0600, 0644, 0660, 0777 };
    struct stele_schema *schema = schema_of_bytes(8);
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store;

    options.schema = schema;
    options.journal_bytes = 16 * KIB;
    for (size_t i = 0; i < COUNT_OF(asked); i++) {
        options.permissions = asked[i];
        assert_ok(stele_create(scratch_path, &options, &store));
        assert_ok(stele_close(store));
        /* Who may do what, the folder says; what is asked for makes it no other file. */
        DWORD attributes = GetFileAttributesA(scratch_path);
        assert_false(attributes & (FILE_ATTRIBUTE_READONLY | FILE_ATTRIBUTE_HIDDEN | FILE_ATTRIBUTE_TEMPORARY));
        store = open_store(STELE_READ_WRITE);
        assert_store(store);
        assert_ok(stele_close(store));
        assert_int_equal(unlink(scratch_path), 0);
    }
    stele_schema_free(schema);
}

static void a_mask_that_takes_the_owner_s_rights_away_keeps_nobody_from_creating(void **state)
{
    print_message("Windows has no mask of rights that new files do not get\n");
    skip();
}

int system_tests(void)
{
    const struct CMUnitTest tests[] = {
        IN_SCRATCH(permissions_are_those_asked_for_and_0600_by_default),
        IN_SCRATCH(a_mask_that_takes_the_owner_s_rights_away_keeps_nobody_from_creating),
    };

    return cmocka_run_group_tests_name("store, system", tests, NULL, NULL);
}
