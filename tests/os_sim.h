/*
 * The simulated disk: a third body of os.h, in memory. A program links it instead of os_posix*.c or os_win32*.c.
 *
 * Every handle maps the very bytes of its file, so stores of one are seen by all. Locks belong to a handle: two of one
 * program are two processes. What reaches a file is written down as events, with bytes: writes, stores through maps
 * (found by a look at what changed since the event before, word by word), sizes, names, and what each sync covered.
 * Clocks and chance come from the seed. One thread.
 *
 * Not here: what a power cut leaves of the events (crash/cut.h).
 */
#ifndef OS_SIM_H
#define OS_SIM_H

#include "os.h"

#define SIM_FILES_MAX 6u
#define SIM_FILE_BYTES_MAX (UINT64_C(8) << 20)
#define SIM_PAGE_BYTES 4096u
#define SIM_PAGES_MAX ((size_t)(SIM_FILE_BYTES_MAX / SIM_PAGE_BYTES))

enum sim_kind {
    SIM_WRITE,        /* bytes */
    SIM_MAPPED,       /* words that were stored through a map; in no known order among those marked is_more */
    SIM_SIZE,         /* byte_count is the size now */
    SIM_SYNC,         /* everything before is durable, the size too */
    SIM_SYNC_RANGE,   /* these bytes are, where they fill sectors */
    SIM_SYNC_FAILED,  /* of these bytes: those not durable count as clean from here, until they are written again */
    SIM_NAME,         /* the name leads to this file; -1: to none */
    SIM_NAME_DURABLE, /* for good */
    SIM_KINDS
};

struct sim_event {
    enum sim_kind kind;
    int file;
    unsigned process;
    bool is_more;
    uint64_t offset, byte_count;
    uint8_t *bytes; /* of SIM_WRITE and SIM_MAPPED */
};

struct sim_log {
    struct sim_event *events;
    size_t count, room;
};

/* Calls that can be made to fail. */
enum sim_call { SIM_CALL_WRITE, SIM_CALL_SYNC /* durable writes too */, SIM_CALL_ALLOCATE, SIM_CALL_MAP, SIM_CALL_NAME,
                SIM_CALLS };

struct sim_file {
    uint8_t *memory, *shadow; /* SIM_FILE_BYTES_MAX each; shadow: of watched bytes, as of the event before */
    uint64_t bytes;
    bool is_used, is_named;
    bool touched[SIM_PAGES_MAX]; /* may be other than zero */
    bool stale[SIM_PAGES_MAX];   /* written since somebody cleared it */
    struct { uint64_t first, end; } watched[16]; /* mapped for storing */
    unsigned watched_count;
    int writer;                  /* handle that has W; -1: none */
};

struct sim {
    struct sim_file files[SIM_FILES_MAX];
    struct sim_log *log;     /* where events go; NULL: nowhere */
    unsigned process;        /* that opens handles now */
    uint32_t dead;           /* processes, as bits: their calls fail and do nothing */
    size_t die_at;           /* events after which the process that makes the next one is dead; SIZE_MAX: never */
    uint64_t call_counts[SIM_CALLS];
    uint64_t fail_at[SIM_CALLS]; /* the call that fails, counted from 1; 0: none */
    bool is_failing_on;      /* and all that follow */
    uint64_t clock_us;
    uint64_t calls;          /* of all kinds; clock and calls end what hangs */
    uint64_t calls_max, clock_us_max; /* 0: no end */
    uint64_t chance;
    uint64_t failed_count;
};

extern struct sim sim;

void sim_reset(uint64_t seed);    /* no files, no faults */
uint64_t sim_chance(void);        /* what stele_os_random is made of */
void sim_notice(void);            /* write down what was stored through maps since the last event */
void sim_watch_calls(uint64_t calls_max, uint64_t clock_us_max); /* from now on */
void sim_log_clear(struct sim_log *log);
void sim_clear_faults(void);
int sim_find_name(void);          /* the file that has the name; -1: none */
/* A file for the name, without a byte; the caller fills memory, bytes, touched. */
void sim_touch(struct sim_file *file, uint64_t offset, uint64_t byte_count);
/* All that processes see now, and back to it: what a dead process still does in its call does not count. */
void sim_keep(void);
void sim_bury(void); /* to what was kept when the process died, with its locks free */

#endif
