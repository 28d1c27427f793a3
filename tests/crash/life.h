/*
 * Lives of a store: what programs do with it, kept beside what they may expect of it.
 *
 * A life is one of the rows of `works`. Each call of it that changes records begins a state: what the records are to
 * be when it is over. What a cut leaves must be one of them: none before the last that was acknowledged, none behind
 * the last that had begun.
 */
#ifndef LIFE_H
#define LIFE_H

#include "os_sim.h"
#include "stele.h"

#define LIFE_PATH "simulated/a.stele"
#define LIFE_HANDLES 2u
#define LIFE_STATES_MAX 512u
#define LIFE_BYTES_MAX 98304u /* of all records */

struct life_state {
    uint64_t count;
    uint8_t *records;
    uint64_t sequence;   /* of the commit that made it; 0: none */
    size_t begun, acked; /* events in the log then; SIZE_MAX: never */
    size_t durable;      /* as acked, for good: asynchronous ones are it later */
    bool is_same;        /* no commit: what was there before */
};

struct life {
    const struct work *work;
    struct sim_log *log;
    struct stele *handles[LIFE_HANDLES];
    unsigned processes[LIFE_HANDLES];
    struct life_state states[LIFE_STATES_MAX];
    size_t state_count;
    uint64_t age, chance;
    size_t created;      /* events in the log when stele_create returned; SIZE_MAX: it has not */
    int stopped;         /* the code of the call that failed; nothing is done from then on */
    unsigned stopped_handle;
    void (*after_create)(struct life *life); /* NULL is fine */
    bool is_async;       /* commits from here on are */
    bool is_stopped_by_commit;
};

struct work {
    const char *name;
    uint32_t record_bytes;
    uint64_t capacity, journal_bytes;
    uint32_t flags;
    void (*run)(struct life *life);
};

extern const struct work works[];
extern const size_t work_count;

/* Make @life one of @work, from no file at all, events to @log; then run it. */
void life_begin(struct life *life, const struct work *work, uint64_t seed, struct sim_log *log);
void life_run(struct life *life);
/* Create the store: what each work begins with. */
void life_create(struct life *life);
void life_done(struct life *life); /* closes what is open */
/* The handles of @process are gone, without a word. */
void life_kill(struct life *life, unsigned handle);
int life_open(struct life *life, unsigned handle);

struct stele_options life_options(const struct work *work);

#endif
