/* The thread's last failure: what is kept, how it is worded, and that threads do not see each other's. */
#include "error.h"

#include <ctype.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void every_code_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (int code = STELE_E_INTERRUPTED; code <= STELE_END; code++) {
        assert_string_not_equal(stele_strerror(code), "unknown code");
        for (int other = code + 1; other <= STELE_END; other++)
            assert_string_not_equal(stele_strerror(code), stele_strerror(other));
    }
    assert_string_equal(stele_strerror(2), "unknown code");
    assert_string_equal(stele_strerror(STELE_E_INTERRUPTED - 1), "unknown code");
    assert_string_equal(stele_strerror(INT32_MIN), "unknown code");
}

static void version_text_is_that_of_the_numbers(void **state)
{
    char text[32];

    (void)state;
    snprintf(text, sizeof(text), "%d.%d.%d", STELE_VERSION_MAJOR, STELE_VERSION_MINOR, STELE_VERSION_PATCH);
    assert_string_equal(stele_version(), text);
}

static void *look_at_a_fresh_thread(void *out)
{
    const struct stele_error *error = stele_last_error();
    int *fresh = out;

    *fresh = error->code == 0 && error->text[0] == '\0' && error->file_offset == UINT64_MAX;
    stele_fail(STELE_E_IO, "of the other thread");
    return NULL;
}

static void failure_belongs_to_its_thread(void **state)
{
    pthread_t thread;
    int fresh = 0;

    (void)state;
    stele_fail(STELE_E_RANGE, "of this thread");
    assert_int_equal(pthread_create(&thread, NULL, look_at_a_fresh_thread, &fresh), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(fresh);
    assert_int_equal(stele_last_error()->code, STELE_E_RANGE);
    assert_string_equal(stele_last_error()->text, "of this thread");
}

/* The last sentence, in the middle of which the system has its say: words of its own, not a sentence. */
static void assert_says_of_the_system(const char *begin, const char *end)
{
    const char *text = stele_last_error()->text;
    size_t bytes = strlen(text), begin_bytes = strlen(begin), end_bytes = strlen(end);

    assert_memory_equal(text, begin, begin_bytes);
    assert_true(bytes > begin_bytes + 4 + end_bytes);
    assert_string_equal(text + bytes - end_bytes, end);
    assert_null(strpbrk(text, "\r\n"));
    assert_true(isalpha((unsigned char)text[begin_bytes]) && isalpha((unsigned char)text[bytes - end_bytes - 1]));
    assert_null(strstr(text + begin_bytes, "nknown"));
    assert_null(strstr(text + begin_bytes, "uccess"));
}

static void failure_has_code_place_and_sentence(void **state)
{
    const struct stele_error *error = stele_last_error();

    (void)state;
    assert_int_equal(stele_fail(STELE_E_DAMAGED, "block %d: sum differs", 7), STELE_E_DAMAGED);
    stele_fail_at(4096);
    assert_int_equal(error->code, STELE_E_DAMAGED);
    assert_int_equal(error->system_code, 0);
    assert_int_equal(error->file_offset, 4096);
    assert_string_equal(error->text, "block 7: sum differs");

    assert_int_equal(stele_fail_unknown(12, 1, "sync failed"), STELE_E_UNKNOWN);
    assert_int_equal(error->sequence, 12);
    assert_int_equal(error->outcome_done, 1);
    assert_true(error->file_offset == UINT64_MAX);

    assert_int_equal(stele_fail_system(STELE_E_ABSENT, 2, "%s", "members.stele"), STELE_E_ABSENT);
    assert_int_equal(error->system_code, 2);
    assert_int_equal(error->sequence, 0);
    assert_int_equal(error->outcome_done, 0);
    assert_says_of_the_system("members.stele: ", " (system code 2)");
}

static void prefix_keeps_the_detail(void **state)
{
    const struct stele_error *error = stele_last_error();
    char many[600];

    (void)state;
    stele_fail_system(STELE_E_ACCESS, 13, "not readable");
    stele_fail_at(8);
    assert_int_equal(stele_fail_prefix("a.stele"), STELE_E_ACCESS);
    assert_says_of_the_system("a.stele: not readable: ", " (system code 13)");
    assert_int_equal(error->system_code, 13);
    assert_int_equal(error->file_offset, 8);

    memset(many, 'x', sizeof(many));
    many[sizeof(many) - 1] = '\0';
    assert_int_equal(stele_fail_prefix(many), STELE_E_ACCESS);
    assert_int_equal(strlen(error->text), sizeof(error->text) - 1);
}

static void last_sentence_may_be_an_argument_of_the_next(void **state)
{
    (void)state;
    stele_fail(STELE_E_IO, "inner");
    stele_fail(STELE_E_DAMAGED, "outer: %s", stele_last_error()->text);
    assert_string_equal(stele_last_error()->text, "outer: inner");
}

static void sentence_is_one_line_of_whole_characters(void **state)
{
    static const char *const characters[] = { "a", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80" };

    (void)state;
    stele_fail(STELE_E_SCHEMA, "two\nlines\tand \x1b[31mcolour\x7f");
    assert_string_equal(stele_last_error()->text, "two lines and  [31mcolour ");

    for (size_t c = 0; c < sizeof(characters) / sizeof(characters[0]); c++) {
        for (size_t lead = 0; lead < 4; lead++) {
            char text[1024] = "";
            size_t bytes = strlen(characters[c]);

            memset(text, '-', lead);
            while (strlen(text) + bytes < sizeof(text))
                strcat(text, characters[c]);
            stele_fail(STELE_E_SCHEMA, "%s", text);
            assert_int_equal((strlen(stele_last_error()->text) - lead) % bytes, 0);
            assert_true(strlen(stele_last_error()->text) > 511 - bytes);
        }
    }
}

static void detail_survives_clean_up_that_fails(void **state)
{
    struct stele_error kept;

    (void)state;
    stele_fail_system(STELE_E_FULL, 28, "append");
    stele_fail_at(99);
    stele_error_keep(&kept);
    stele_fail(STELE_E_IO, "close");
    stele_error_restore(&kept);
    assert_memory_equal(stele_last_error(), &kept, sizeof(kept));
    assert_int_equal(stele_last_error()->code, STELE_E_FULL);
}

struct heard {
    int count, level;
    char text[64];
};

static void hear(void *context, int level, const char *text)
{
    struct heard *heard = context;

    heard->count++;
    heard->level = level;
    snprintf(heard->text, sizeof(heard->text), "%s", text);
}

static void log_is_off_until_asked_for(void **state)
{
    struct heard heard = { 0 };

    (void)state;
    stele_log(STELE_LOG_ERROR, "nobody listens");
    stele_log_to(hear, &heard);
    stele_log(STELE_LOG_WARNING, "%d slots", 2);
    assert_int_equal(heard.count, 1);
    assert_int_equal(heard.level, STELE_LOG_WARNING);
    assert_string_equal(heard.text, "2 slots");
    stele_log_to(NULL, NULL);
    stele_log(STELE_LOG_ERROR, "nobody listens");
    assert_int_equal(heard.count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_has_a_name_of_its_own),
        cmocka_unit_test(version_text_is_that_of_the_numbers),
        cmocka_unit_test(failure_belongs_to_its_thread),
        cmocka_unit_test(failure_has_code_place_and_sentence),
        cmocka_unit_test(prefix_keeps_the_detail),
        cmocka_unit_test(last_sentence_may_be_an_argument_of_the_next),
        cmocka_unit_test(sentence_is_one_line_of_whole_characters),
        cmocka_unit_test(detail_survives_clean_up_that_fails),
        cmocka_unit_test(log_is_off_until_asked_for),
    };

    return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
