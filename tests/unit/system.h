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
bool system_drop_folder(const char *folder); /* with all that is in it */
const char *system_place(void);              /* where folders go */
const char *system_fast_place(void);         /* the same in memory; NULL where there is no such place */

/* ---- files, memory, faults ---- */

/* Give a file the @mode-th of some sets of permissions, on Windows of attributes; false where none is kept. */
enum { SYSTEM_MODES = 5 };
bool system_set_mode(const char *path, unsigned mode);
bool system_has_mode(const char *path, unsigned mode);
/* Give a file a second name. */
bool system_link(const char *path, const char *second);
/* Refuse this process a file of more than @bytes, UINT64_MAX: none; false where the system sets no such limit. */
bool system_limit_file_bytes(uint64_t bytes);
/*
 * Have the child that calls it fail when it takes @more_bytes of address space beyond what it has: at once, or at its
 * end; false where that cannot be told, as under a sanitizer. Wine tells of memory that was touched only.
 */
bool system_limit_memory(uint64_t more_bytes);
uint64_t system_heap_bytes(void); /* in use */
uint64_t system_peak_bytes(void); /* the most memory that this process ever held, maps too */
/* Take pages of a map, from @address on, for such that the medium cannot read. */
bool system_break(void *address, size_t byte_count);
static inline bool system_break_page(void *address) { return system_break(address, 4096); }
/* Whether a test may do that: ThreadSanitizer takes a handler that jumps out of a signal for one that never ends. */
bool system_may_break(void);
/* cmocka takes faults for each of its tests: note who has them before, and give them back in a test. */
void system_note_faults(void);
void system_return_faults(void);

/* What may stand where a file is expected; false where the system has no such thing, or keeps it from this user. */
bool system_add_folder(const char *path);
bool system_add_link(const char *target, const char *path);
bool system_add_fifo(const char *path);
bool system_add_socket(const char *path);
const char *system_device(void); /* the path of one */

/* Cut an open file, or make it longer by zeros. */
bool system_set_bytes(FILE *file, uint64_t bytes);
/* Make a file longer by a hole. */
bool system_lengthen(const char *path, uint64_t bytes);
/* Cut a file or make it longer by zeros; false where the system keeps who has it mapped from that. */
bool system_cut(const char *path, uint64_t bytes);
/* Whether it is not Windows itself that we run on: some of it has no body there. */
bool system_is_wine(void);
/* How many files, maps and the like this process has open. */
size_t system_handle_count(void);

/* ---- the tests of a suite that are in the words of one system: os_posix_test_*.c, os_win32_test_*.c ---- */

/* Run them; how many failed. Both files have the same tests: what the other system promises in the same place. */
int system_tests(void);

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
void child_watch(unsigned seconds); /* have the watch end this child after so long from now */
void parent_tell(const void *bytes, size_t byte_count);
bool parent_hear(void *out, size_t byte_count);

/* Exit code of a child that does @work and leaves with 0; -1 if it dies of something else. */
static inline int exit_of_child(void (*work)(void *context), void *context)
{
    struct child child = child_start(work, context);

    return child_end(&child);
}

#endif
