/*
 * The last failure of a thread: raised once, where it is seen, and passed on unchanged above.
 *
 * Threads: any; each has its own detail
 */
#ifndef STELE_ERROR_H
#define STELE_ERROR_H

#include "stele.h"

#include <inttypes.h>

/* Record @code with the sentence of @format and return @code. */
int stele_fail(int code, const char *format, ...) __attribute__((format(STELE_PRINTF, 2, 3)));
/* As stele_fail, with an errno, whose text is added to the sentence. */
int stele_fail_system(int code, int system_code, const char *format, ...) __attribute__((format(STELE_PRINTF, 3, 4)));
/* As stele_fail_system, for a system that has codes of its own: @description is what it calls @system_code. */
int stele_fail_described(int code, int system_code, const char *description, const char *format, ...)
    __attribute__((format(STELE_PRINTF, 4, 5)));
/* Add where in the file the last failure happened. */
void stele_fail_at(uint64_t file_offset);
/* Record STELE_E_UNKNOWN for @sequence; @outcome_done: durable all the same. Returns STELE_E_UNKNOWN. */
int stele_fail_unknown(uint64_t sequence, int outcome_done, const char *format, ...)
    __attribute__((format(STELE_PRINTF, 3, 4)));
/* Put @text before the sentence of the last failure, as "text: sentence". Returns its code. */
int stele_fail_prefix(const char *text);
/* Put @path there, unless the sentence begins with it. Returns the code of the last failure. */
int stele_fail_in(const char *path);
/* Add what to do to it, as "sentence; advice". Returns its code. */
int stele_fail_advise(const char *advice);
/* Keep and restore the thread's detail around clean-up that may fail itself. */
void stele_error_keep(struct stele_error *out);
void stele_error_restore(const struct stele_error *kept);

enum { STELE_LOG_ERROR = 0, STELE_LOG_WARNING = 1, STELE_LOG_NOTICE = 2 };
/* Hand a message to the application's log, if it set one. */
void stele_log(int level, const char *format, ...) __attribute__((format(STELE_PRINTF, 2, 3)));

#endif
