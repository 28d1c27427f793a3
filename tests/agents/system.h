/*
 * What agents need of the system beside the library. Bodies: os_posix.c, os_win32.c.
 */
#ifndef AGENTS_SYSTEM_H
#define AGENTS_SYSTEM_H

#include <stdbool.h>
#include <stdint.h>

/* First of all: what goes through standard input and output are bytes as they are. */
void agent_begin(void);
/* Die as by kill -9: nothing is closed, no buffer written. */
_Noreturn void agent_die(void);
/* A call that strace can find, and that does nothing. */
void agent_mark(void);
/* When the content of the file changed; 0 where it cannot be asked. */
uint64_t agent_changed(const char *path);
/* Have @path to ourselves until this process ends: others are kept from opening it. */
bool agent_open_alone(const char *path);

#endif
