/*
 * Functions of os.h that a suite puts its own in place of, to count, refuse or stop at calls: the linker is told their
 * names in meson.build. What an object calls in itself goes past it, so only the calls of other parts are seen.
 */
#ifndef WRAP_H
#define WRAP_H

#include "os.h"

#define REAL(name) __real_##name
/* The head of a function in place of @name, with its type and parameters; its body calls REAL(name). */
#define WRAPPED(type, name, ...)                                                                             \
    type __real_##name(__VA_ARGS__);                                                                         \
    type __wrap_##name(__VA_ARGS__);                                                                         \
    type __wrap_##name(__VA_ARGS__)

#endif
