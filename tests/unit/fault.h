/*
 * Calls that fail: the n-th, once or for ever. A suite asks in its wrapped functions whether this one is to.
 */
#ifndef FAULT_H
#define FAULT_H

#include "error.h"

#include <errno.h>

static struct {
    unsigned at; /* which call fails, from 1 on; 0: none does, and none is counted */
    bool is_for_ever; /* and all behind it */
    unsigned seen, failed;
} fault;

static inline void fault_begin(unsigned at, bool is_for_ever)
{
    fault.at = at;
    fault.is_for_ever = is_for_ever;
    fault.seen = fault.failed = 0;
}

/* Nothing fails from here; whether anything did. */
static inline bool fault_end(void)
{
    fault.at = 0;
    return fault.failed != 0;
}

static inline bool fault_is_now(void)
{
    if (!fault.at)
        return false;
    fault.seen++;
    if (fault.seen != fault.at && !(fault.is_for_ever && fault.seen > fault.at))
        return false;
    fault.failed++;
    return true;
}

#endif
