/*
 * A stele whose allocations, or maps, fail: linked with the command line's main. STELE_FAIL names the kind, "memory" or
 * "maps"; STELE_FAIL_AT the call that fails, from 1 on, or 0 for none; STELE_FAIL_ON is set where all behind it do too.
 * At its end it tells how many there were.
 */
#include "os.h"

#include "error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REAL(name) __real_##name
#define WRAPPED(type, name, ...)                                                                             \
    type __real_##name(__VA_ARGS__);                                                                         \
    type __wrap_##name(__VA_ARGS__);                                                                         \
    type __wrap_##name(__VA_ARGS__)

static unsigned long seen;

static bool is_refused(const char *kind)
{
    const char *failing = getenv("STELE_FAIL"), *at = getenv("STELE_FAIL_AT");
    unsigned long first = at ? strtoul(at, NULL, 10) : 0;

    if (!failing || strcmp(failing, kind) != 0)
        return false;
    seen++;
    return first && (seen == first || (seen > first && getenv("STELE_FAIL_ON")));
}

WRAPPED(void *, malloc, size_t bytes)
{
    return is_refused("memory") ? NULL : REAL(malloc)(bytes);
}

WRAPPED(void *, calloc, size_t count, size_t bytes)
{
    return is_refused("memory") ? NULL : REAL(calloc)(count, bytes);
}

WRAPPED(void *, realloc, void *old, size_t bytes)
{
    return is_refused("memory") ? NULL : REAL(realloc)(old, bytes);
}

WRAPPED(char *, strdup, const char *text)
{
    return is_refused("memory") ? NULL : REAL(strdup)(text);
}

WRAPPED(int, stele_os_map, const struct stele_os_file *file, uint64_t offset, size_t byte_count, bool is_writable,
        bool is_random, void **out)
{
    if (is_refused("maps"))
        return stele_fail(STELE_E_FULL, "no address space for a map, as was asked for");
    return REAL(stele_os_map)(file, offset, byte_count, is_writable, is_random, out);
}

__attribute__((destructor)) static void tell(void)
{
    fprintf(stderr, "%lu calls\n", seen);
}
