/*
 * The system below: files, bytes, maps, locks, drafts, as os.h promises them on every system, to one process and to
 * several.
 */
#include "bits.h"
#include "files.h"

#include <pthread.h>
#include <sys/stat.h>
#include <utime.h>

/* ---- files ---- */

static void names_of_every_kind_lead_to_their_file(void **state)
{
    static const char *const names[] = {
        "with spaces in it .stele", ("gr\xC3\xB6\xC3\x9F" "e \xE2\x82\xAC \xE6\x97\xA5 \xF0\x9D\x84\x9E.stele"),
        "./././a.stele", "folder/../b.stele", "folder//c.stele", ".hidden", "no_dot", "a.b.c",
    };
    char name[900], part[101];

    assert_true(system_add_folder(scratch_name("folder")));
    for (size_t i = 0; i <= COUNT_OF(names); i++) {
        struct stele_os_draft draft = { 0 };
        struct stele_os_file file = { 0 };
        char out[4] = "";

        if (i < COUNT_OF(names)) {
            snprintf(name, sizeof(name), "%s/%s", scratch_folder, names[i]);
        } else {
            /* In a folder of a folder of a folder, in all longer than Windows takes without being asked. */
            memset(part, 'p', 100);
            part[100] = '\0';
            snprintf(name, sizeof(name), "%s", scratch_folder);
            for (unsigned depth = 0; depth < 5; depth++) {
                snprintf(name + strlen(name), sizeof(name) - strlen(name), "/%s", part);
                assert_true(system_add_folder(name));
            }
            snprintf(name + strlen(name), sizeof(name) - strlen(name), "/a.stele");
        }
        assert_code(stele_os_open(name, true, &file), STELE_E_ABSENT);
        assert_ok(stele_os_check_free(name));
        assert_ok(stele_os_draft_open(name, 0600, &draft));
        assert_ok(stele_os_write(&draft.file, 0, "own", 4));
        assert_ok(stele_os_draft_publish(&draft, false, &file));
        stele_os_close(&file);
        assert_code(stele_os_check_free(name), STELE_E_EXISTS);
        assert_ok(stele_os_open(name, true, &file));
        assert_ok(stele_os_read(&file, 0, out, 4));
        assert_string_equal(out, "own");
        stele_os_close(&file);
        assert_ok(stele_os_draft_open(name, 0600, &draft));
        assert_ok(stele_os_draft_publish(&draft, true, &file));
        assert_true(bytes_of(&file) == 0);
        stele_os_close(&file);
    }
}

static void close_is_safe_twice_and_gives_all_descriptors_back(void **state)
{
    struct stele_os_file files[40] = { 0 };
    size_t before;

    make_file(scratch_path, 1);
    files[0] = open_file(true); /* what the system keeps from the first one on */
    stele_os_close(&files[0]);
    before = system_handle_count();
    for (size_t i = 0; i < 40; i++)
        files[i] = open_file(i % 2);
    assert_true(system_handle_count() >= before + 80);
    for (size_t i = 0; i < 40; i++) {
        stele_os_close(&files[i]);
        stele_os_close(&files[i]);
        assert_false(files[i].is_open);
    }
    stele_os_close(&(struct stele_os_file){ 0 });
    assert_true(system_handle_count() == before);
    assert_int_equal(stele_os_open(scratch_folder, false, &files[0]), STELE_E_FORMAT);
    assert_true(system_handle_count() == before);
}

static void file_knows_its_size_and_whether_it_has_a_name(void **state)
{
    struct stele_os_file file;
    struct stele_os_stat status;

    make_file(scratch_path, 1000);
    file = open_file(false);
    assert_int_equal(stele_os_stat(&file, &status), STELE_OK);
    assert_true(status.bytes == 1000 && status.links == 1);
    assert_int_equal(rename(scratch_path, scratch_name("elsewhere")), 0);
    assert_int_equal(stele_os_stat(&file, &status), STELE_OK);
    assert_true(status.links == 1);
    assert_int_equal(unlink(scratch_name("elsewhere")), 0);
    assert_int_equal(stele_os_stat(&file, &status), STELE_OK);
    stele_os_close(&file);
    if (system_is_wine()) {
        print_message("Wine tells nobody that a file loses its name when the last one closes it\n");
        skip();
    }
    assert_true(status.links == 0);
}

/* ---- bytes ---- */

static void read_is_exact_or_says_where_the_file_ends(void **state)
{
    struct stele_os_file file;
    unsigned char out[100];

    make_file(scratch_path, 1000);
    file = open_file(false);
    assert_int_equal(stele_os_read(&file, 900, out, 100), STELE_OK);
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(out[i], (900 + i) % 251 + 1);
    assert_int_equal(stele_os_read(&file, 1000, out, 0), STELE_OK);
    assert_int_equal(stele_os_read(&file, 901, out, 100), STELE_E_TRUNCATED);
    assert_true(stele_last_error()->file_offset == 1000);
    assert_int_equal(stele_os_read(&file, 5000, out, 1), STELE_E_TRUNCATED);
    assert_int_equal(stele_os_read(&file, UINT64_MAX, out, 1), STELE_E_TRUNCATED);
    assert_int_equal(stele_os_read(&file, INT64_MAX, out, 1), STELE_E_TRUNCATED);
    stele_os_close(&file);
}

/* Through the file while it is mapped: where the system keeps views and file I/O together. */
static void write_beside_a_view(const struct stele_os_file *file, const unsigned char *view)
{
    assert_int_equal(stele_os_write(file, 4094, "abcd", 4), STELE_OK);
    assert_memory_equal(view + 4094, "abcd", 4);
    assert_int_equal(stele_os_write_durable(file, 8190, "efgh", 4), STELE_OK);
    assert_memory_equal(view + 8190, "efgh", 4);
    assert_int_equal(stele_os_store(file, 12286, "ijkl", 4, NULL), STELE_OK);
    assert_memory_equal(view + 12286, "ijkl", 4);
    assert_true(view[4093] == 4093 % 251 + 1 && view[4098] == 4098 % 251 + 1);
}

static void every_way_to_write_is_seen_by_reads_and_views(void **state)
{
    struct stele_os_file file;
    unsigned char *view = NULL;
    void *map = NULL, *second = NULL;
    char out[4];

    make_file(scratch_path, 64 * KIB);
    file = open_file(true);
    assert_int_equal(stele_os_write(&file, 100, "1234", 4), STELE_OK);
    assert_int_equal(stele_os_write_durable(&file, 200, "5678", 4), STELE_OK);
    assert_int_equal(stele_os_map(&file, 0, 64 * KIB, true, true, &map), STELE_OK);
    assert_int_equal(stele_os_map(&file, 0, 64 * KIB, false, false, &second), STELE_OK);
    view = map;
    assert_true(memcmp(view + 100, "1234", 4) == 0 && memcmp(view + 200, "5678", 4) == 0);
    assert_int_equal(stele_os_populate(view + 100, 8192), STELE_OK);
    if (stele_os_needs_views())
        assert_int_equal(stele_os_store(&file, 12286, "ijkl", 4, NULL), STELE_E_UNSUPPORTED);
    else
        write_beside_a_view(&file, view);
    assert_int_equal(stele_os_store(&file, 16382, "mnop", 4, view + 16382), STELE_OK);
    assert_memory_equal((unsigned char *)second + 16382, "mnop", 4);
    assert_int_equal(stele_os_flush(view + 16382, 4), STELE_OK);
    assert_int_equal(stele_os_flush(view, 64 * KIB), STELE_OK);
    assert_int_equal(stele_os_sync(&file), STELE_OK);
    stele_os_unmap(map, 64 * KIB);
    stele_os_unmap(second, 64 * KIB);
    assert_int_equal(stele_os_read(&file, 16382, out, 4), STELE_OK);
    assert_memory_equal(out, "mnop", 4);
    assert_int_equal(stele_os_write(&file, UINT64_MAX, out, 4), STELE_E_FULL);
    assert_int_equal(stele_os_write_durable(&file, UINT64_C(1) << 63, out, 4), STELE_E_FULL);
    assert_true(bytes_of(&file) == 64 * KIB);
    stele_os_will_need(&file, 0, 64 * KIB);
    stele_os_write_behind(&file, 0, 64 * KIB);
    stele_os_close(&file);
}

static void write_to_a_read_only_file_is_an_error(void **state)
{
    struct stele_os_file file;

    make_file(scratch_path, 100);
    file = open_file(false);
    assert_int_equal(stele_os_write(&file, 0, "x", 1), STELE_E_IO);
    assert_int_equal(stele_os_write_durable(&file, 0, "x", 1), STELE_E_IO);
    stele_os_close(&file);
}

static void zero_clears_the_stretch_and_nothing_else(void **state)
{
    static const struct {
        uint64_t offset, byte_count;
    } cases[] = {
        { 0, 1 },         { 1, 1 },          { 0, 4096 },   { 1, 4096 },   { 4095, 2 },
        { 4096, 4096 },   { 100, 70000 },    { 0, 0 },      { 300000, 1 }, { 65536, 131072 },
        { 16383, 16386 }, { 262143, 37857 }, { 0, 300000 },
    };
    struct stele_os_file file;
    unsigned char *out = malloc(300001);

    REQUIRE(out);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        for (int is_sparse = 0; is_sparse < 2; is_sparse++) {
            uint64_t end = cases[i].offset + cases[i].byte_count;
            void *map = NULL;

            make_file(scratch_path, 300001);
            file = open_file(true);
            if (!stele_os_needs_views())
                REQUIRE(stele_os_map(&file, 0, 300001, false, true, &map) == STELE_OK);
            REQUIRE(stele_os_zero(&file, cases[i].offset, cases[i].byte_count, is_sparse) == STELE_OK);
            REQUIRE(stele_os_read(&file, 0, out, 300001) == STELE_OK);
            REQUIRE(!map || memcmp(map, out, 300001) == 0);
            for (uint64_t at = 0; at < 300001; at++)
                REQUIRE(out[at] == (at >= cases[i].offset && at < end ? 0 : at % 251 + 1));
            REQUIRE(bytes_of(&file) == 300001);
            stele_os_unmap(map, 300001);
            stele_os_close(&file);
        }
    }
    free(out);
}

static void sparse_zero_gives_disk_back(void **state)
{
    struct stele_os_file file;
    struct stele_os_stat before, after;

    if (system_is_wine()) {
        print_message("under Wine no file has holes\n");
        skip();
    }
    make_file(scratch_path, 1024 * KIB);
    file = open_file(true);
    assert_int_equal(stele_os_sync(&file), STELE_OK);
    assert_int_equal(stele_os_stat(&file, &before), STELE_OK);
    assert_true(before.disk_bytes >= 1024 * KIB);
    assert_int_equal(stele_os_zero(&file, 0, 512 * KIB, false), STELE_OK);
    assert_int_equal(stele_os_stat(&file, &after), STELE_OK);
    assert_true(after.disk_bytes >= before.disk_bytes);
    assert_int_equal(stele_os_zero(&file, 256 * KIB, 512 * KIB, true), STELE_OK);
    assert_int_equal(stele_os_stat(&file, &after), STELE_OK);
    assert_true(after.disk_bytes <= before.disk_bytes - 512 * KIB);
    stele_os_close(&file);
}

static void allocation_takes_disk_and_keeps_bytes(void **state)
{
    struct stele_os_file file;
    struct stele_os_stat status;
    unsigned char out[10000];

    make_file(scratch_path, 5000);
    file = open_file(true);
    REQUIRE(stele_os_allocate(&file, 0, 0) == STELE_OK && bytes_of(&file) == 5000);
    REQUIRE(stele_os_allocate(&file, 100, 1000) == STELE_OK && bytes_of(&file) == 5000);
    REQUIRE(stele_os_allocate(&file, 4000, 1024 * KIB - 4000) == STELE_OK && bytes_of(&file) == 1024 * KIB);
    REQUIRE(stele_os_sync(&file) == STELE_OK && stele_os_stat(&file, &status) == STELE_OK);
    REQUIRE(status.disk_bytes >= 1024 * KIB);
    REQUIRE(stele_os_read(&file, 0, out, sizeof(out)) == STELE_OK);
    for (size_t i = 0; i < sizeof(out); i++)
        REQUIRE(out[i] == (i < 5000 ? i % 251 + 1 : 0));
    REQUIRE(stele_os_allocate(&file, 2048 * KIB, 4096) == STELE_OK && bytes_of(&file) == 2052 * KIB);
    REQUIRE(stele_os_allocate(&file, UINT64_C(1) << 62, UINT64_C(1) << 62) == STELE_E_FULL);
    REQUIRE(bytes_of(&file) == 2052 * KIB);
    stele_os_close(&file);
}

/* Every byte that it skips is zero; that it skips anything is not promised. */
static void next_data_skips_zeros_only(void **state)
{
    static const uint64_t places[] = { 0, 70000, 4 * MIB - 1, 4 * MIB, 9 * MIB + 5 };
    static unsigned char bytes[10 * MIB];
    struct stele_os_file file;
    uint64_t at = 0, next;

    make_file(scratch_path, 0);
    file = open_file(true);
    assert_ok(stele_os_set_bytes(&file, sizeof(bytes)));
    for (size_t i = 0; i < COUNT_OF(places); i++) {
        assert_ok(stele_os_write(&file, places[i], "x", 1));
        bytes[places[i]] = 'x';
    }
    assert_ok(stele_os_zero(&file, 70000, 1, true));
    bytes[70000] = 0;
    while (at < sizeof(bytes)) {
        assert_ok(stele_os_next_data(&file, at, &next));
        assert_true(next >= at && next <= sizeof(bytes));
        assert_true(stele_is_zero(bytes + at, (size_t)(next - at)));
        at = next + 4096;
    }
    stele_os_close(&file);
}

static void size_is_set_either_way(void **state)
{
    struct stele_os_file file;

    make_file(scratch_path, 100);
    file = open_file(true);
    assert_int_equal(stele_os_set_bytes(&file, 1 << 20), STELE_OK);
    assert_true(bytes_of(&file) == 1 << 20);
    assert_int_equal(stele_os_set_bytes(&file, 10), STELE_OK);
    assert_true(bytes_of(&file) == 10);
    assert_int_equal(stele_os_set_bytes(&file, UINT64_MAX), STELE_E_FULL);
    stele_os_close(&file);
}

static void touch_moves_the_time_of_change(void **state)
{
    struct utimbuf old = { .actime = 1000, .modtime = 1000 };
    struct stele_os_file file;
    struct stat status;

    make_file(scratch_path, 100);
    assert_int_equal(utime(scratch_path, &old), 0);
    assert_int_equal(stat(scratch_path, &status), 0);
    assert_true(status.st_mtime == 1000);
    file = open_file(true);
    stele_os_touch(&file);
    assert_int_equal(stat(scratch_path, &status), 0);
    assert_true(status.st_mtime > 1000000000);
    stele_os_close(&file);
}

/* ---- maps ---- */

/* It refuses maps of its own accord. */
static bool is_under_valgrind(void)
{
    const char *preloaded = getenv("LD_PRELOAD");

    return preloaded && strstr(preloaded, "vgpreload");
}

static void map_refuses_what_the_address_space_has_no_room_for(void **state)
{
    size_t too_many_bytes = sizeof(size_t) == 8 ? SIZE_MAX >> 17 : SIZE_MAX - 0xFFFF;
    struct stele_os_file file;
    void *map = &file;

    make_file(scratch_path, 100);
    file = open_file(false);
    if (!is_under_valgrind()) {
        int rc = stele_os_map(&file, 0, too_many_bytes, false, true, &map);

        /* Some look at the size of the file first. */
        assert_true(rc == STELE_E_FULL || (rc == STELE_E_TRUNCATED && stele_os_needs_views()));
    }
    assert_int_equal(stele_os_map(&file, 1, 1, false, true, &map), STELE_E_IO);
    assert_int_equal(stele_os_map(&file, 0, 1, true, true, &map), STELE_E_ACCESS);
    assert_ptr_equal(map, &file);
    assert_true(stele_os_granularity() >= 4096);
    stele_os_unmap(NULL, 0);
    stele_os_close(&file);
}

static void maps_begin_at_every_multiple_of_the_granularity(void **state)
{
    size_t step = stele_os_granularity();
    struct stele_os_file file;

    make_file(scratch_path, 5 * step + 7);
    file = open_file(false);
    for (uint64_t offset = 0; offset < 5 * step + 7; offset += step) {
        size_t byte_count = (size_t)stele_min(step + 1, 5 * step + 7 - offset);
        void *map = NULL;

        assert_ok(stele_os_map(&file, offset, byte_count, false, true, &map));
        for (size_t i = 0; i < byte_count; i += byte_count - 1)
            assert_int_equal(((unsigned char *)map)[i], (offset + i) % 251 + 1);
        stele_os_unmap(map, byte_count);
    }
    stele_os_close(&file);
}

static void touch_what_is_forbidden(void *context)
{
    struct stele_os_file file = open_file(false);
    volatile unsigned char *bytes;
    void *map;

    REQUIRE(stele_os_map(&file, 0, 64 * KIB, false, true, &map) == STELE_OK);
    bytes = map;
    REQUIRE(bytes[5] == 6);
    stele_os_forbid(map, 64 * KIB);
    parent_tell("x", 1);
    _exit(bytes[5] == 6 ? 0 : 1);
}

static void a_private_map_keeps_what_is_stored_and_shows_the_file_elsewhere(void **state)
{
    struct stele_os_file file;
    void *map = NULL, *shared = NULL;
    unsigned char *view = NULL, *own = NULL;
    unsigned char out[2];

    make_file(scratch_path, 128 * KIB);
    file = open_file(true);
    assert_ok(stele_os_map(&file, 0, 128 * KIB, true, true, &shared));
    assert_ok(stele_os_map_private(&file, 64 * KIB, 64 * KIB, &map));
    view = (unsigned char *)shared + 64 * KIB;
    own = map;
    assert_memory_equal(own, view, 64 * KIB);
    own[5000] = 200;
    /* A page of its own now; the others are the file's. */
    assert_ok(stele_os_store(&file, 64 * KIB + 5001, "a", 1, view + 5001));
    assert_ok(stele_os_store(&file, 64 * KIB + 20000, "b", 1, view + 20000));
    assert_int_equal(own[5000], 200);
    assert_int_equal(own[5001], (64 * KIB + 5001) % 251 + 1);
    assert_int_equal(own[20000], 'b');
    assert_int_equal(view[5000], (64 * KIB + 5000) % 251 + 1);
    stele_os_unmap(map, 64 * KIB);
    assert_ok(stele_os_flush(view, 64 * KIB));
    stele_os_unmap(shared, 128 * KIB);
    assert_ok(stele_os_sync(&file));
    assert_ok(stele_os_read(&file, 64 * KIB + 5000, out, 2));
    assert_int_equal(out[0], (64 * KIB + 5000) % 251 + 1);
    assert_int_equal(out[1], 'a');
    assert_int_equal(stele_os_map_private(&file, 1, 1, &map), STELE_E_IO);
    assert_int_equal(stele_os_map_private(&file, UINT64_C(1) << 63, 1, &map), STELE_E_TRUNCATED);
    stele_os_close(&file);
    /* Nothing of it is ever written, so a file that may only be read will do. */
    file = open_file(false);
    assert_ok(stele_os_map_private(&file, 0, 64 * KIB, &map));
    *(unsigned char *)map = 77;
    stele_os_unmap(map, 64 * KIB);
    assert_ok(stele_os_read(&file, 0, out, 1));
    assert_int_equal(out[0], 1);
    stele_os_close(&file);
}

static void a_map_that_is_forbidden_faults(void **state)
{
    struct child child;
    char byte;

    make_file(scratch_path, 64 * KIB);
    child = child_start(touch_what_is_forbidden, NULL);
    assert_true(child_hear(&child, &byte, 1));
    assert_int_not_equal(child_end(&child), 0);
}

/* ---- two processes ---- */

static unsigned char *map_of(const struct stele_os_file *file, size_t byte_count)
{
    void *map;

    REQUIRE(stele_os_map(file, 0, byte_count, true, true, &map) == STELE_OK);
    return map;
}

/* Store, tell, hear, look: what the other stored is seen at once. */
static void store_and_look(void *context)
{
    struct stele_os_file file = open_file(true);
    unsigned char *view = map_of(&file, 64 * KIB);
    char byte;

    for (unsigned turn = 0; turn < 200; turn++) {
        uint64_t at = turn * 4111 % (60 * KIB);

        REQUIRE(parent_hear(&byte, 1));
        REQUIRE(view[at] == (unsigned char)turn && view[at + 4100 - 1] == (unsigned char)~turn);
        REQUIRE(stele_os_store(&file, at + 1, "child", 5, view + at + 1) == STELE_OK);
        parent_tell("x", 1);
    }
}

static void views_of_two_processes_agree_at_once(void **state)
{
    struct stele_os_file file;
    unsigned char *view, *second;
    struct child child;
    char byte;

    make_file(scratch_path, 64 * KIB);
    child = child_start(store_and_look, NULL);
    file = open_file(true);
    view = map_of(&file, 64 * KIB);
    second = map_of(&file, 64 * KIB);
    for (unsigned turn = 0; turn < 200; turn++) {
        uint64_t at = turn * 4111 % (60 * KIB);
        unsigned char first = (unsigned char)turn, last = (unsigned char)~turn;

        assert_ok(stele_os_store(&file, at, &first, 1, view + at));
        assert_ok(stele_os_store(&file, at + 4100 - 1, &last, 1, second + at + 4100 - 1));
        child_tell(&child, "x", 1);
        assert_true(child_hear(&child, &byte, 1));
        assert_memory_equal(view + at + 1, "child", 5);
        assert_memory_equal(second + at + 1, "child", 5);
    }
    assert_int_equal(child_end(&child), 0);
    stele_os_unmap(view, 64 * KIB);
    stele_os_unmap(second, 64 * KIB);
    stele_os_close(&file);
}

static void look_while_it_grows(void *context)
{
    struct stele_os_file file = open_file(true);
    unsigned char *view = map_of(&file, 64 * KIB), *larger;
    char byte;

    parent_tell("x", 1);
    REQUIRE(parent_hear(&byte, 1));
    REQUIRE(bytes_of(&file) == 1024 * KIB);
    REQUIRE(view[5] == 6 && memcmp(view + 1000, "grown", 5) == 0);
    larger = map_of(&file, 1024 * KIB);
    REQUIRE(memcmp(larger + 1000, "grown", 5) == 0 && memcmp(larger + 900 * KIB, "behind", 6) == 0);
    REQUIRE(stele_is_zero(larger + 64 * KIB, 800 * KIB));
    /* The old one and the new one are of one file. */
    REQUIRE(stele_os_store(&file, 2000, "old", 3, view + 2000) == STELE_OK);
    REQUIRE(memcmp(larger + 2000, "old", 3) == 0);
    parent_tell("x", 1);
    REQUIRE(parent_hear(&byte, 1));
}

static void a_file_grows_under_the_views_of_another_process(void **state)
{
    struct stele_os_file file;
    unsigned char *view;
    struct child child;
    char byte;

    make_file(scratch_path, 64 * KIB);
    child = child_start(look_while_it_grows, NULL);
    assert_true(child_hear(&child, &byte, 1));
    file = open_file(true);
    assert_ok(stele_os_allocate(&file, 64 * KIB, 960 * KIB));
    view = map_of(&file, 1024 * KIB);
    assert_ok(stele_os_populate(view, 1024 * KIB));
    assert_ok(stele_os_store(&file, 1000, "grown", 5, view + 1000));
    assert_ok(stele_os_store(&file, 900 * KIB, "behind", 6, view + 900 * KIB));
    child_tell(&child, "x", 1);
    assert_true(child_hear(&child, &byte, 1));
    assert_memory_equal(view + 2000, "old", 3);
    child_tell(&child, "x", 1);
    assert_int_equal(child_end(&child), 0);
    stele_os_unmap(view, 1024 * KIB);
    stele_os_close(&file);
}

static void store_and_be_killed(void *context)
{
    struct stele_os_file file = open_file(true);
    unsigned char *view;
    char byte;

    REQUIRE(stele_os_write_durable(&file, 0, "durable", 7) == STELE_OK);
    view = map_of(&file, 128 * KIB);
    REQUIRE(stele_os_store(&file, 70000, "stored", 6, view + 70000) == STELE_OK);
    parent_tell("x", 1);
    (void)parent_hear(&byte, 1);
}

static void what_was_stored_survives_the_process_that_is_killed(void **state)
{
    struct stele_os_file file;
    unsigned char *view;
    struct child child;
    char byte, out[7];

    make_file(scratch_path, 128 * KIB);
    child = child_start(store_and_be_killed, NULL);
    assert_true(child_hear(&child, &byte, 1));
    child_kill(&child);
    file = open_file(true);
    assert_ok(stele_os_read(&file, 0, out, 7));
    assert_memory_equal(out, "durable", 7);
    view = map_of(&file, 128 * KIB);
    assert_memory_equal(view + 70000, "stored", 6);
    assert_ok(stele_os_flush(view, 128 * KIB));
    stele_os_unmap(view, 128 * KIB);
    assert_ok(stele_os_sync(&file));
    stele_os_close(&file);
}

/* ---- locks ---- */

static void writer_excludes_every_other_handle(void **state)
{
    struct stele_os_file first, second, reader;

    make_file(scratch_path, 100);
    first = open_file(true);
    second = open_file(true);
    reader = open_file(false);
    assert_false(is_writer_held(&reader));
    assert_int_equal(stele_os_lock_writer(&first), STELE_OK);
    assert_int_equal(stele_os_lock_writer(&second), STELE_E_BUSY);
    assert_true(is_writer_held(&reader) && is_writer_held(&second));
    /* A handle asks about others. */
    assert_false(is_writer_held(&first));
    assert_false(is_present_held(&reader));
    /* Others come and go on the same file, in the same process. */
    stele_os_close(&second);
    fclose(fopen(scratch_path, "r+b"));
    assert_true(is_writer_held(&reader));
    second = open_file(true);
    stele_os_unlock_writer(&second);
    assert_true(is_writer_held(&reader));
    stele_os_unlock_writer(&first);
    assert_false(is_writer_held(&reader));
    assert_int_equal(stele_os_lock_writer(&second), STELE_OK);
    stele_os_close(&second);
    assert_false(is_writer_held(&reader));
    stele_os_close(&first);
    stele_os_close(&reader);
}

static void present_is_shared_until_one_holds_it_alone(void **state)
{
    struct stele_os_file first, second, reader;

    make_file(scratch_path, 100);
    first = open_file(true);
    second = open_file(true);
    reader = open_file(false);
    assert_int_equal(stele_os_lock_present(&first), STELE_OK);
    assert_int_equal(stele_os_lock_present(&second), STELE_OK);
    assert_true(is_present_held(&reader) && is_present_held(&first));
    assert_false(is_writer_held(&reader));
    assert_int_equal(stele_os_lock_present_alone(&first), STELE_E_BUSY);
    /* Who failed to be alone is present still. */
    stele_os_unlock_present(&second);
    assert_true(is_present_held(&second));
    /* More often than there are places for those who are present. */
    for (unsigned i = 0; i < 1100; i++) {
        assert_int_equal(stele_os_lock_present(&second), STELE_OK);
        stele_os_unlock_present(&second);
    }
    assert_int_equal(stele_os_lock_present_alone(&first), STELE_OK);
    assert_int_equal(stele_os_lock_present(&second), STELE_E_BUSY);
    assert_true(is_present_held(&reader));
    /* Back to shared. */
    assert_int_equal(stele_os_lock_present(&first), STELE_OK);
    assert_int_equal(stele_os_lock_present(&second), STELE_OK);
    /* W and P are places apart. */
    assert_int_equal(stele_os_lock_writer(&first), STELE_OK);
    stele_os_unlock_writer(&first);
    assert_true(is_present_held(&second));
    stele_os_close(&first);
    stele_os_close(&second);
    assert_false(is_present_held(&reader));
    stele_os_close(&reader);
}

/* W and P, by a handle of its own. */
static void hold_the_locks(void *context)
{
    struct stele_os_file file = open_file(true);
    char byte;

    REQUIRE(stele_os_lock_writer(&file) == STELE_OK && stele_os_lock_present(&file) == STELE_OK);
    parent_tell("x", 1);
    (void)parent_hear(&byte, 1);
}

static void locks_end_with_the_process_that_is_killed(void **state)
{
    struct stele_os_file file, reader;
    struct child child;
    char byte;

    make_file(scratch_path, 100);
    child = child_start(hold_the_locks, NULL);
    assert_true(child_hear(&child, &byte, 1));
    file = open_file(true);
    reader = open_file(false);
    assert_true(is_writer_held(&file) && is_present_held(&file));
    assert_true(is_writer_held(&reader) && is_present_held(&reader));
    assert_int_equal(stele_os_lock_writer(&file), STELE_E_BUSY);
    assert_int_equal(stele_os_lock_present_alone(&file), STELE_E_BUSY);
    assert_int_equal(stele_os_lock_present(&file), STELE_OK);
    child_kill(&child);
    assert_false(is_writer_held(&file) || is_present_held(&file));
    assert_false(is_writer_held(&reader));
    assert_int_equal(stele_os_lock_writer(&file), STELE_OK);
    assert_int_equal(stele_os_lock_present_alone(&file), STELE_OK);
    stele_os_close(&reader);
    stele_os_close(&file);
}

/* Asks until it is told to stop, with a reader's handle; says whether ever somebody was there. */
static void probe_for_ever(void *context)
{
    struct stele_os_file file = open_file(false);
    unsigned held_count = 0;

    parent_tell("x", 1);
    for (unsigned i = 0; i < 3000; i++)
        held_count += is_writer_held(&file) || is_present_held(&file);
    parent_tell(&held_count, sizeof(held_count));
}

static void probes_take_nothing_and_never_see_each_other(void **state)
{
    struct child children[3];
    struct stele_os_file file;
    unsigned held_count;
    char byte;

    make_file(scratch_path, 100);
    file = open_file(true);
    for (size_t i = 0; i < COUNT_OF(children); i++) {
        children[i] = child_start(probe_for_ever, NULL);
        assert_true(child_hear(&children[i], &byte, 1));
    }
    for (size_t i = 0; i < COUNT_OF(children); i++) {
        assert_true(child_hear(&children[i], &held_count, sizeof(held_count)));
        assert_int_equal(held_count, 0);
        assert_int_equal(child_end(&children[i]), 0);
    }
    /* Nor is anybody kept out by one. */
    for (size_t i = 0; i < COUNT_OF(children); i++) {
        children[i] = child_start(probe_for_ever, NULL);
        assert_true(child_hear(&children[i], &byte, 1));
    }
    for (unsigned i = 0; i < 500; i++) {
        assert_int_equal(stele_os_lock_writer(&file), STELE_OK);
        assert_int_equal(stele_os_lock_present_alone(&file), STELE_OK);
        stele_os_unlock_present(&file);
        stele_os_unlock_writer(&file);
        assert_int_equal(stele_os_lock_present(&file), STELE_OK);
        stele_os_unlock_present(&file);
    }
    for (size_t i = 0; i < COUNT_OF(children); i++) {
        assert_true(child_hear(&children[i], &held_count, sizeof(held_count)));
        assert_int_equal(child_end(&children[i]), 0);
    }
    stele_os_close(&file);
}

enum { TURNS = 300 };

/* Under W nobody else is: a number in the file is read, left alone for a while, and raised. */
static void take_turns(void *context)
{
    struct stele_os_file file = open_file(true);
    unsigned char *view = map_of(&file, 100);

    for (unsigned done = 0; done < TURNS;) {
        uint64_t number;

        if (stele_os_lock_writer(&file) == STELE_E_BUSY) {
            stele_os_yield();
            continue;
        }
        memcpy(&number, view + 8, 8);
        stele_os_yield();
        number++;
        REQUIRE(stele_os_store(&file, 8, &number, 8, view + 8) == STELE_OK);
        stele_os_unlock_writer(&file);
        done++;
    }
}

static void writers_of_several_processes_take_turns(void **state)
{
    struct child children[3];
    struct stele_os_file file;
    uint64_t number = 0;

    make_file(scratch_path, 100);
    poke(scratch_path, 8, &number, 8);
    for (size_t i = 0; i < COUNT_OF(children); i++)
        children[i] = child_start(take_turns, NULL);
    for (size_t i = 0; i < COUNT_OF(children); i++)
        assert_int_equal(child_end(&children[i]), 0);
    file = open_file(true);
    assert_ok(stele_os_read(&file, 8, &number, 8));
    assert_u64(number, COUNT_OF(children) * TURNS);
    stele_os_close(&file);
}

/* ---- drafts ---- */

static void require_file_says(const char *words)
{
    struct stele_os_file file = open_file(false);
    char out[4] = "";

    assert_ok(stele_os_read(&file, 0, out, 4));
    assert_string_equal(out, words);
    stele_os_close(&file);
}

static void draft_becomes_the_file_whole_or_not_at_all(void **state)
{
    struct stele_os_draft draft = { 0 }, second = { 0 };
    struct stele_os_file file = { 0 }, other, replaced = { 0 };

    assert_ok(stele_os_draft_open(scratch_path, 0600, &draft));
    assert_int_equal(access(scratch_path, F_OK), -1);
    assert_ok(stele_os_write(&draft.file, 0, "new", 4));
    assert_ok(stele_os_lock_writer(&draft.file));
    assert_ok(stele_os_lock_present(&draft.file));
    assert_ok(stele_os_draft_open(scratch_path, 0600, &second));
    assert_ok(stele_os_draft_publish(&draft, false, &file));
    assert_int_equal(entry_count(), second.temporary ? 2 : 1);
    assert_true(!draft.target && !draft.directory && !draft.temporary && !draft.file.is_open);
    stele_os_draft_discard(&draft);
    require_file_says("new");
    /* The locks came along. */
    other = open_file(true);
    assert_true(is_writer_held(&other) && is_present_held(&other));

    /* Who comes second changes nothing, and may go over it when told to. */
    assert_ok(stele_os_write(&second.file, 0, "2nd", 4));
    assert_code(stele_os_draft_publish(&second, false, &replaced), STELE_E_EXISTS);
    require_file_says("new");
    assert_true(second.file.is_open && !replaced.is_open);
    int rc = stele_os_draft_publish(&second, true, &replaced);
    if (rc == STELE_E_BUSY && stele_os_needs_views()) {
        /* Or not while anybody has it open. */
        require_file_says("new");
        stele_os_close(&other);
        stele_os_close(&file);
        rc = stele_os_draft_publish(&second, true, &replaced);
    }
    assert_code(rc, STELE_OK);
    require_file_says("2nd");
    stele_os_close(&replaced);
    stele_os_close(&other);
    stele_os_close(&file);
    assert_int_equal(entry_count(), 1);
    assert_int_equal(unlink(scratch_path), 0);
}

static void draft_may_replace_nothing_and_leaves_nothing_when_thrown_away(void **state)
{
    struct stele_os_draft draft = { 0 };
    struct stele_os_file file = { 0 };

    assert_ok(stele_os_draft_open(scratch_path, 0600, &draft));
    assert_ok(stele_os_draft_publish(&draft, true, &file));
    assert_int_equal(entry_count(), 1);
    stele_os_close(&file);
    assert_ok(stele_os_draft_open(scratch_path, 0600, &draft));
    stele_os_draft_discard(&draft);
    stele_os_draft_discard(&draft);
    assert_int_equal(entry_count(), 1);
    assert_int_equal(unlink(scratch_path), 0);
    stele_os_draft_discard(&(struct stele_os_draft){ 0 });
}

/* ---- the rest ---- */

static void clocks_go_forward(void **state)
{
    uint64_t before = stele_os_clock_us();

    assert_true(stele_os_now_us() > UINT64_C(1600000000000000));
    stele_os_sleep_us(3000);
    assert_true(stele_os_clock_us() >= before + 3000);
    stele_os_sleep_us(0);
    stele_os_yield();
}

static void random_bytes_differ(void **state)
{
    unsigned char first[600] = { 0 }, second[600] = { 0 };

    assert_ok(stele_os_random(first, sizeof(first)));
    assert_ok(stele_os_random(second, sizeof(second)));
    assert_true(memcmp(first, second, 16) != 0);
    /* Every part is drawn: sixteen bytes in a row are not zero by chance. */
    for (size_t at = 0; at + 16 <= sizeof(first); at++)
        assert_false(stele_is_zero(first + at, 16));
}

static uint64_t parent_process_id CARRIED;

static void compare_process_ids(void *context)
{
    REQUIRE(stele_os_process_id() == (uint64_t)getpid() && stele_os_process_id() != parent_process_id);
}

static void processes_are_told_apart(void **state)
{
    parent_process_id = stele_os_process_id();
    assert_int_equal(exit_of_child(compare_process_ids, NULL), 0);
}

static struct stele_os_mutex mutex;
static struct stele_os_condition condition;
static uint64_t counter; /* under the mutex */

static void *count_up(void *context)
{
    for (int i = 0; i < 10000; i++) {
        stele_os_mutex_lock(&mutex);
        counter++;
        stele_os_mutex_unlock(&mutex);
    }
    stele_os_mutex_lock(&mutex);
    counter += 1000000;
    stele_os_condition_broadcast(&condition);
    stele_os_mutex_unlock(&mutex);
    return NULL;
}

static void mutex_excludes_and_condition_wakes(void **state)
{
    uint64_t deadline_us = stele_os_clock_us() + 60000000;
    pthread_t threads[4];

    assert_int_equal(stele_os_mutex_init(&mutex), STELE_OK);
    assert_int_equal(stele_os_condition_init(&condition), STELE_OK);
    stele_os_mutex_lock(&mutex);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_up, NULL), 0);
    while (counter < 4000000)
        assert_true(stele_os_condition_wait(&condition, &mutex, deadline_us));
    assert_true(counter == 4040000);
    /* Nobody signals any more. */
    deadline_us = stele_os_clock_us() + 2000;
    while (stele_os_condition_wait(&condition, &mutex, deadline_us))
        continue;
    assert_true(stele_os_clock_us() >= deadline_us);
    assert_false(stele_os_condition_wait(&condition, &mutex, 0));
    stele_os_mutex_unlock(&mutex);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    stele_os_condition_done(&condition);
    stele_os_mutex_done(&mutex);
}

int main(void)
{
    /* Each test has an empty folder to itself. */
    const struct CMUnitTest tests[] = {
        IN_SCRATCH(names_of_every_kind_lead_to_their_file),
        IN_SCRATCH(close_is_safe_twice_and_gives_all_descriptors_back),
        IN_SCRATCH(file_knows_its_size_and_whether_it_has_a_name),
        IN_SCRATCH(read_is_exact_or_says_where_the_file_ends),
        IN_SCRATCH(every_way_to_write_is_seen_by_reads_and_views),
        IN_SCRATCH(write_to_a_read_only_file_is_an_error),
        IN_SCRATCH(zero_clears_the_stretch_and_nothing_else),
        IN_SCRATCH(sparse_zero_gives_disk_back),
        IN_SCRATCH(allocation_takes_disk_and_keeps_bytes),
        IN_SCRATCH(next_data_skips_zeros_only),
        IN_SCRATCH(size_is_set_either_way),
        IN_SCRATCH(touch_moves_the_time_of_change),
        IN_SCRATCH(map_refuses_what_the_address_space_has_no_room_for),
        IN_SCRATCH(maps_begin_at_every_multiple_of_the_granularity),
        IN_SCRATCH(a_private_map_keeps_what_is_stored_and_shows_the_file_elsewhere),
        IN_SCRATCH(a_map_that_is_forbidden_faults),
        IN_SCRATCH(views_of_two_processes_agree_at_once),
        IN_SCRATCH(a_file_grows_under_the_views_of_another_process),
        IN_SCRATCH(what_was_stored_survives_the_process_that_is_killed),
        IN_SCRATCH(writer_excludes_every_other_handle),
        IN_SCRATCH(present_is_shared_until_one_holds_it_alone),
        IN_SCRATCH(locks_end_with_the_process_that_is_killed),
        IN_SCRATCH(probes_take_nothing_and_never_see_each_other),
        IN_SCRATCH(writers_of_several_processes_take_turns),
        IN_SCRATCH(draft_becomes_the_file_whole_or_not_at_all),
        IN_SCRATCH(draft_may_replace_nothing_and_leaves_nothing_when_thrown_away),
        IN_SCRATCH(clocks_go_forward),
        IN_SCRATCH(random_bytes_differ),
        IN_SCRATCH(processes_are_told_apart),
        IN_SCRATCH(mutex_excludes_and_condition_wakes),
    };

    return cmocka_run_group_tests_name("os", tests, NULL, NULL) + system_tests();
}
