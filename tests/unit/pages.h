/*
 * Pages that cannot be read, for the suite of the guard. Bodies: os_posix_test_guard.c, by a file that is cut;
 * os_win32_test_guard.c, where nobody can cut what is mapped, by pages without access.
 */
#ifndef PAGES_H
#define PAGES_H

#include <stdbool.h>
#include <stddef.h>

enum { PAGE_COUNT = 8 };

extern unsigned char *pages; /* a shared map, page p filled with p + 1 */
extern size_t page_bytes;

bool pages_make(void);
void pages_drop(void);
/* Only the first @count can be read from now on; those that come back may be zeros. */
void pages_leave(size_t count);

#endif
