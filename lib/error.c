/* The thread's last failure, the names of codes, and the application's log. */
#include "error.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { TEXT_BYTES = sizeof(((struct stele_error *)0)->text) };

static _Thread_local struct stele_error last = { .file_offset = UINT64_MAX };

static void (*log_function)(void *context, int level, const char *text);
static void *log_context;

static const struct {
    int code;
    const char *name;
} code_names[] = {
    { STELE_OK, "no error" },
    { STELE_END, "nothing left" },
    { STELE_E_USAGE, "wrong use of the library" },
    { STELE_E_RANGE, "index or size out of range" },
    { STELE_E_SCHEMA, "schema not storable or not the file's" },
    { STELE_E_EXISTS, "exists already" },
    { STELE_E_ABSENT, "not there" },
    { STELE_E_ACCESS, "no permission" },
    { STELE_E_READONLY, "read-only" },
    { STELE_E_BUSY, "busy: deadline passed" },
    { STELE_E_CONFLICT, "somebody else changed it first" },
    { STELE_E_STALE, "file was replaced or removed" },
    { STELE_E_FULL, "no room on disk or in the address space" },
    { STELE_E_TOO_BIG, "too big for the journal" },
    { STELE_E_NOMEM, "out of memory" },
    { STELE_E_IO, "the system could not read or write" },
    { STELE_E_UNKNOWN, "outcome known only after recovery" },
    { STELE_E_POISONED, "handle unusable after a failed sync" },
    { STELE_E_FORMAT, "not a store" },
    { STELE_E_VERSION, "newer format or unknown feature" },
    { STELE_E_DAMAGED, "damaged" },
    { STELE_E_TRUNCATED, "bytes of the file are gone" },
    { STELE_E_UNSUPPORTED, "not possible on this system" },
    { STELE_E_REMOTE, "network file system" },
    { STELE_E_INTERRUPTED, "interrupted" },
};

const char *stele_strerror(int code)
{
    for (size_t i = 0; i < sizeof(code_names) / sizeof(code_names[0]); i++) {
        if (code_names[i].code == code)
            return code_names[i].name;
    }
    return "unknown code";
}

const struct stele_error *stele_last_error(void)
{
    return &last;
}

/* Length of @text without a UTF-8 character that a full buffer cut in two. */
static size_t whole_characters_bytes(const char *text, size_t text_bytes)
{
    size_t start = text_bytes;
    size_t need_bytes = 1;

    while (start > 0 && text_bytes - start < 3 && ((unsigned char)text[start - 1] & 0xC0) == 0x80)
        start--;
    if (start == 0)
        return text_bytes;
    start--;
    if (((unsigned char)text[start] & 0xE0) == 0xC0)
        need_bytes = 2;
    else if (((unsigned char)text[start] & 0xF0) == 0xE0)
        need_bytes = 3;
    else if (((unsigned char)text[start] & 0xF8) == 0xF0)
        need_bytes = 4;
    return start + need_bytes > text_bytes ? start : text_bytes;
}

/* Make @text one line that ends with a whole character: names in it may come from a hostile file. */
static void tidy(char *text)
{
    size_t text_bytes = strlen(text);

    if (text_bytes == TEXT_BYTES - 1)
        text[whole_characters_bytes(text, text_bytes)] = '\0';
    for (; *text; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7F)
            *text = ' ';
    }
}

/* As snprintf, where a cut is fine: a sentence too long is still a sentence. */
__attribute__((format(STELE_PRINTF, 3, 4)))
static void print(char *out_text, size_t text_bytes, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    if (vsnprintf(out_text, text_bytes, format, arguments) < 0)
        out_text[0] = '\0';
    va_end(arguments);
}

/* What the system says about a failure; @description is NULL where no system call failed. */
struct cause {
    int system_code;
    const char *description;
};

__attribute__((format(STELE_PRINTF, 4, 0)))
static int record_failure(int code, struct cause cause, uint64_t sequence, const char *format, va_list arguments)
{
    char text[TEXT_BYTES] = ""; /* not last.text itself: it may be one of the arguments */
    size_t text_bytes;

    assert(code < 0);
    if (vsnprintf(text, sizeof(text), format, arguments) < 0)
        snprintf(text, sizeof(text), "%s", stele_strerror(code));
    text_bytes = strlen(text);
    if (cause.description)
        print(text + text_bytes, sizeof(text) - text_bytes, ": %s (system code %d)", cause.description,
              cause.system_code);
    tidy(text);
    last = (struct stele_error){ .code = code, .system_code = cause.system_code, .file_offset = UINT64_MAX,
                                 .sequence = sequence };
    memcpy(last.text, text, sizeof(text));
    return code;
}

int stele_fail(int code, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    record_failure(code, (struct cause){ .description = NULL }, 0, format, arguments);
    va_end(arguments);
    return code;
}

int stele_fail_system(int code, int system_code, const char *format, ...)
{
    /* strerror is used by one thread at a time or has a buffer per thread in every C library we meet */
    struct cause cause = { system_code, system_code ? strerror(system_code) : NULL };
    va_list arguments;

    va_start(arguments, format);
    record_failure(code, cause, 0, format, arguments);
    va_end(arguments);
    return code;
}

int stele_fail_described(int code, int system_code, const char *description, const char *format, ...)
{
    struct cause cause = { system_code, system_code ? description : NULL };
    va_list arguments;

    va_start(arguments, format);
    record_failure(code, cause, 0, format, arguments);
    va_end(arguments);
    return code;
}

int stele_fail_unknown(uint64_t sequence, int outcome_done, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    record_failure(STELE_E_UNKNOWN, (struct cause){ .description = NULL }, sequence, format, arguments);
    va_end(arguments);
    last.outcome_done = outcome_done;
    return STELE_E_UNKNOWN;
}

void stele_fail_at(uint64_t file_offset)
{
    last.file_offset = file_offset;
}

int stele_fail_prefix(const char *text)
{
    char sentence[TEXT_BYTES];

    assert(last.code < 0);
    memcpy(sentence, last.text, sizeof(sentence));
    print(last.text, sizeof(last.text), "%s: %s", text, sentence);
    tidy(last.text);
    return last.code;
}

int stele_fail_in(const char *path)
{
    return strncmp(last.text, path, strlen(path)) == 0 ? last.code : stele_fail_prefix(path);
}

int stele_fail_advise(const char *advice)
{
    char sentence[TEXT_BYTES];

    assert(last.code < 0);
    memcpy(sentence, last.text, sizeof(sentence));
    print(last.text, sizeof(last.text), "%s; %s", sentence, advice);
    tidy(last.text);
    return last.code;
}

void stele_error_keep(struct stele_error *out)
{
    *out = last;
}

void stele_error_restore(const struct stele_error *kept)
{
    last = *kept;
}

void stele_log_to(void (*log)(void *context, int level, const char *text), void *context)
{
    log_function = log;
    log_context = context;
}

void stele_log(int level, const char *format, ...)
{
    char text[TEXT_BYTES];
    va_list arguments;

    if (!log_function)
        return;
    va_start(arguments, format);
    if (vsnprintf(text, sizeof(text), format, arguments) < 0)
        text[0] = '\0';
    va_end(arguments);
    tidy(text);
    log_function(log_context, level, text);
}
