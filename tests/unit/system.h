/*
 * What the suites need of the system beside the library: folders, and processes of their own. Bodies: os_posix.c,
 * os_win32.c.
 *
 * A child does one function of the suite and ends. Where the system forks it sees all that its parent had; where it
 * does not, the program starts itself again, and of the parent's variables the child has only those that are
 * CARRIED, plain data without pointers to the heap or the stack. So a test that is to run everywhere hands its
 * child NULL, a pointer to constants, or a pointer to something CARRIED, and opens its stores in the child.
 *
 * Checks in children are REQUIRE; cmocka's own would go on there with its other tests.
 */
#ifndef SYSTEM_H
#define SYSTEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include "error.h"

#define REQUIRE(condition)                                                                                   \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: not so: %s (last error: %s)\n", __FILE__, __LINE__, #condition,          \
                    stele_last_error()->text);                                                               \
            fflush(stderr);                                                                                  \
            _exit(1);                                                                                        \
        }                                                                                                    \
    } while (0)

/* Of a static variable: a child has the value that it had in its parent when the child was started. */
#define CARRIED __attribute__((section(".carry$m")))

/* ---- folders ---- */

/* Make a folder; @name ends in XXXXXX, which is replaced. */
bool system_make_folder(char *name);
void system_drop_folder(const char *folder); /* with all that is in it */
const char *system_place(void);              /* where folders go */
const char *system_fast_place(void);         /* the same in memory; NULL where there is no such place */

/* ---- children ---- */

struct child {
    intptr_t process; /* 0: none */
    intptr_t to, from;
};

/* Start a child that does @work and leaves with 0; a watch ends it after a minute. */
struct child child_start(void (*work)(void *context), void *context);
void child_tell(struct child *child, const void *bytes, size_t byte_count);
bool child_hear(struct child *child, void *out, size_t byte_count); /* false: it hung up */
void child_hang_up(struct child *child);                            /* its parent_hear is false from here */
int child_end(struct child *child);  /* hang up, wait; its exit code, -1 if it died of something else */
void child_kill(struct child *child); /* as if the power went for it alone; it must have lived till then */

/* The same from within. */
void parent_tell(const void *bytes, size_t byte_count);
bool parent_hear(void *out, size_t byte_count);

/* Exit code of a child that does @work and leaves with 0; -1 if it dies of something else. */
static inline int exit_of_child(void (*work)(void *context), void *context)
{
    struct child child = child_start(work, context);

    return child_end(&child);
}

#endif
