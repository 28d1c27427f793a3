/*
 * The frame of the command line: verbs, options, messages, exit codes, progress.
 *
 * main() looks up the verb and hands its words to run(), which calls cli_parse() with its option table,
 * works through stele.h and returns an exit code. Each message goes to stderr as "stele VERB: sentence";
 * results go to stdout, which main() flushes and checks.
 *
 * Not here: values and fields (value.h), growable text (text.h), JSON output (json_out.h), the system (system.h).
 */
#ifndef STELE_CLI_H
#define STELE_CLI_H

#include "stele.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CLI_DONE = 0,
    CLI_FINDINGS = 1,     /* it ran: rows refused, damage, no such record */
    CLI_USAGE = 2,        /* the command line is wrong */
    CLI_REFUSED = 3,      /* by the system or the file */
    CLI_INTERRUPTED = 130 /* Ctrl-C */
};

struct cli;

/* ---- verbs --------------------------------------------------------------------------------- */

struct cli_verb {
    const char *name;
    const char *summary; /* one line of `stele help` */
    const char *usage;   /* `stele help VERB`: synopsis, options, an example; ends with a newline */
    int (*run)(struct cli *cli, int word_count, char **words); /* the words behind the verb; an exit code */
};

extern const struct cli_verb cmd_create, cmd_import, cmd_export, cmd_append, cmd_get, cmd_set, cmd_info,
    cmd_schema, cmd_verify, cmd_recover, cmd_repair, cmd_backup, cmd_resize, cmd_truncate, cmd_help, cmd_version;

/* The options that each verb has: the end of its usage. */
#define CLI_COMMON_USAGE \
    "  --wait MS             wait at most MS milliseconds for another that writes (5000)\n" \
    "  --quiet               no notices and no progress on stderr\n"

/* Verb @verb_index in the order of `stele help`, or NULL past the last. */
const struct cli_verb *cli_verb_at(size_t verb_index);
/* The verb called @name, or NULL. */
const struct cli_verb *cli_verb_find(const char *name);
/* Say that @name is no verb, with the nearest one. Returns CLI_USAGE. */
int cli_verb_unknown(const char *name);

/* ---- one run of a verb --------------------------------------------------------------------- */

struct cli_progress {
    const char *unit;       /* what done and total count: "bytes" (set by cli_parse), "records", "rows" */
    bool is_terminal;       /* stderr is one, and no --quiet */
    bool is_shown;          /* a line stands on the terminal */
    uint64_t started_ms, shown_ms;
    uint64_t first_done, last_done; /* done at the first call and at the last */
};

struct cli {
    const struct cli_verb *verb;
    bool quiet;             /* --quiet: no notices, no progress */
    uint32_t wait_ms;       /* --wait; 5000 */
    bool is_async;          /* --async of one change: what it commits may stay pending when it closes */
    char **operands;        /* the words that are not options, in order; inside the words given */
    size_t operand_count;
    int output_code;        /* errno of a write to stdout that failed, where the verb saw it; 0: none */
    struct cli_progress progress;
};

enum cli_kind {
    CLI_FLAG,   /* bool *: no value */
    CLI_TEXT,   /* const char **: any text */
    CLI_NUMBER, /* uint64_t *: decimal digits */
    CLI_SIZE,   /* uint64_t *: digits, then nothing or one of K M G T */
    CLI_MODE,   /* uint32_t *: octal permission bits, 1 to 0777 */
    CLI_CHOICE, /* int *: place of the word in @choices; leave it at -1 to see that it was not given */
    CLI_RANGE   /* struct cli_range *: A..B, A.., ..B or one index */
};

struct cli_option {
    const char *name;           /* without the dashes */
    enum cli_kind kind;
    void *out;                  /* as the kind says; untouched when the option is not given */
    const char *const *choices; /* CLI_CHOICE: the words, then NULL */
};

/*
 * Sort the @word_count words of a verb into options, as the @option_count entries of @options say, and
 * operands; @operand_count_min to @operand_count_max of these are expected (SIZE_MAX: any number).
 *
 * Shape:   --quiet and --wait MS are known everywhere (--help is handled before run()). `--name value` and
 *          `--name=value`; "--" ends the options; a word like -1 and a lone "-" are operands
 * Errors:  CLI_USAGE after a message; else CLI_DONE
 */
int cli_parse(struct cli *cli, const struct cli_option *options, size_t option_count, int word_count,
              char **words, size_t operand_count_min, size_t operand_count_max);

/* The word of the @word_count at @words nearest to @name, if near enough to be meant; else NULL. */
const char *cli_nearest(const char *name, const char *const *words, size_t word_count);

/* ---- messages: each is one line on stderr, "stele VERB: sentence" --------------------------- */

void cli_message(const struct cli *cli, const char *format, ...) __attribute__((format(STELE_PRINTF, 2, 3)));
/* As cli_message, unless --quiet. */
void cli_notice(const struct cli *cli, const char *format, ...) __attribute__((format(STELE_PRINTF, 2, 3)));
/* The command line is wrong: message and where to read on. Returns CLI_USAGE. */
int cli_usage_error(const struct cli *cli, const char *format, ...) __attribute__((format(STELE_PRINTF, 2, 3)));
/* The system or the file refuses. Returns CLI_REFUSED. */
int cli_refuse(const struct cli *cli, const char *format, ...) __attribute__((format(STELE_PRINTF, 2, 3)));
/* As cli_refuse, with what the system says about @system_code (errno). */
int cli_refuse_system(const struct cli *cli, int system_code, const char *format, ...)
    __attribute__((format(STELE_PRINTF, 3, 4)));
/*
 * Say that the library returned @code for @path: stele_last_error()'s sentence, with the path before it if
 * it does not begin with it. Returns cli_exit_of(code).
 */
int cli_fail(const struct cli *cli, const char *path, int code);
/* The same of a change that may be there all the same: the user is told to look. */
int cli_fail_change(const struct cli *cli, const char *path, int code);
/* The exit code of a library @code: 0; USAGE, RANGE, SCHEMA 2; INTERRUPTED 130; all others 3. */
int cli_exit_of(int code);

/* ---- memory: there is nothing to go on with when it is out: a message, then exit 3 ----------- */

void *cli_allocate(size_t bytes); /* zeroed; free() it */
void *cli_grow(void *old, size_t bytes);

/* ---- numbers and ranges --------------------------------------------------------------------- */

/* Decimal digits only, all of @text. Errors: STELE_E_USAGE no number; STELE_E_RANGE above UINT64_MAX. */
int cli_number(const char *text, uint64_t *out);
/* As cli_number, with K, M, G or T (powers of 1024) behind the digits. */
int cli_size(const char *text, uint64_t *out);

struct cli_range {
    bool is_given, is_single;             /* is_single: one index, in first */
    bool has_first, has_end;
    bool first_from_end, end_from_end;    /* "-3": three before the count */
    uint64_t first, end;                  /* magnitudes; half-open */
};

/* Read "A..B", "A..", "..B" or "A"; numbers may be negative. Errors: STELE_E_USAGE, STELE_E_RANGE. */
int cli_range(const char *text, struct cli_range *out);
/*
 * Resolve @range (not given: everything) against @count records to [*@out_first, *@out_end), cut to what
 * there is.
 *
 * Errors:  STELE_E_RANGE some of it is not there: the outputs hold what is
 */
int cli_range_resolve(const struct cli_range *range, uint64_t count, uint64_t *out_first, uint64_t *out_end);

/* ---- stores -------------------------------------------------------------------------------- */

/* Options for opening or creating: mode, lock_wait_ms, progress. */
struct stele_options cli_store_options(struct cli *cli, uint32_t mode);
/*
 * Open the store at @path; says in one line on stderr when entries of a dead writer were replayed.
 *
 * Errors:  an exit code after a message; else CLI_DONE
 * Owner:   caller closes *out by cli_close
 */
int cli_open(struct cli *cli, const char *path, uint32_t mode, struct stele **out);
/* As cli_open, without the message of a failure: returns the library's code. */
int cli_try_open(struct cli *cli, const char *path, uint32_t mode, struct stele **out);
/* Append as stele_append does, or with @is_async as one asynchronous commit, which must fit the journal. */
int cli_append(struct stele *store, const void *records, size_t record_count, bool is_async, uint64_t *out_index);
/* Close @store (NULL is fine). Returns @exit_code, or that of a failed close after a message. */
int cli_close(struct cli *cli, const char *path, struct stele *store, int exit_code);

/* ---- long work ------------------------------------------------------------------------------ */

/* A stele_progress for a struct cli * as context: shows @done of @total (0: unknown); 1 after Ctrl-C. */
int cli_tick(void *context, uint64_t done, uint64_t total);
/* Take the progress line away, before other output and when the work is done; the next tick starts anew. */
void cli_tick_done(struct cli *cli);
#endif
