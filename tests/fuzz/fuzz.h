/*
 * Fuzzing: programs that hand hostile bytes to the library. Each has the functions of libFuzzer; where the compiler has
 * none, driver.c calls them: files that are named are replayed, else runs are counted out from a seed.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "error.h"

/* What must hold of every input; libFuzzer and driver.c keep the input where it does not. */
#define HOLDS(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: not so: %s (last error: %s)\n", __FILE__, __LINE__, #condition,          \
                    stele_last_error()->text);                                                               \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

#define COUNT_OF(list) (sizeof(list) / sizeof((list)[0]))

int LLVMFuzzerInitialize(int *count, char ***words);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t byte_count);
/* Change the input of @byte_count bytes at @data, which has room for @room_bytes; its new size. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t byte_count, size_t room_bytes, unsigned seed);
/* Of libFuzzer, else of driver.c: change bytes without any knowledge of them. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t byte_count, size_t room_bytes);

/* ---- chance ---- */

/* splitmix64 */
static inline uint64_t chance_next(uint64_t *state)
{
    uint64_t mixed = *state += UINT64_C(0x9e3779b97f4a7c15);

    mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ (mixed >> 31);
}

static inline uint64_t chance_below(uint64_t *state, uint64_t end)
{
    return end ? chance_next(state) % end : 0;
}

/* A number at which something may go over: a power of two or a limit, or one beside it. */
static inline uint64_t chance_boundary(uint64_t *state)
{
    static const uint64_t limits[] = { 0, 72, 88, 100, 4096, 16384, 57344, 65536, 589824, UINT64_C(16) << 20,
                                       UINT64_C(128) << 20, UINT64_C(1) << 48, UINT64_C(1) << 61, UINT64_C(1) << 62 };
    const uint64_t kind = chance_below(state, 4);

    if (kind == 0)
        return chance_below(state, 260);
    if (kind == 1)
        return limits[chance_below(state, COUNT_OF(limits))] + chance_below(state, 3) - 1;
    return (UINT64_C(1) << chance_below(state, 64)) + (chance_below(state, 3) - 1) * (kind == 2 ? 1 : 8);
}

#endif
