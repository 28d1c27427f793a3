/*
 * Work: what the writers of the kill tests do, operation by operation, and what the store must hold after
 * each.
 *
 * Operation k follows from the shape and from what k - 1 operations left, and from nothing else. So a number
 * says all about a state: the judge makes the same operations in memory and knows every byte.
 *
 * Invariants
 *  1. An operation is one commit, or none (reserve, checkpoint).
 *  2. Record @index written by operation @version has the bytes that work_record gives; version 0 means
 * zeros.
 */
#ifndef WORK_H
#define WORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct stele;

enum work_kind {
    WORK_APPEND,
    WORK_BULK,
    WORK_SET,
    WORK_MANY,
    WORK_COUNT,
    WORK_GROWTH,
    WORK_MIXED,
    WORK_HUNDRED
};

struct work_shape {
    enum work_kind kind;
    uint64_t record_bytes, journal_bytes, seed;
};

enum work_verb { WORK_STEP_SET, WORK_STEP_APPEND, WORK_STEP_COUNT };

/* Records first, first + stride, … (n of them); n more records; or the count n. */
struct work_step {
    enum work_verb verb;
    uint64_t first, n, stride;
};

#define WORK_STEPS_MAX 4u

enum work_way { WORK_BY_CALL, WORK_BY_TRANSACTION, WORK_BY_RESERVE, WORK_BY_CHECKPOINT };

struct work_op {
    enum work_way way;
    struct work_step steps[WORK_STEPS_MAX];
    size_t step_count;
};

struct work {
    struct work_shape shape;
    uint64_t done; /* operations */
    uint64_t count;
    uint64_t user_version; /* the last transaction's */
    uint32_t *versions;    /* of the records below count */
    size_t room;
};

/* A line of what a writer tells through its pipe. */
struct work_note {
    uint64_t mark;     /* WORK_NOTE_* */
    uint64_t number;   /* of the operation */
    uint64_t sequence; /* that its commit has, or will have; 0: it commits nothing */
    uint64_t capacity; /* that is promised by now */
};
enum { WORK_NOTE_OPEN = 'O', WORK_NOTE_BEGIN = 'B', WORK_NOTE_ACK = 'A' };

/* Read KIND RECORD_BYTES JOURNAL_BYTES SEED from @words; ends the process when they make no sense. */
struct work_shape work_shape_read(char *const words[]);
/* Make @done operations in memory. Owner: caller frees by work_done. */
void work_init(struct work *work, const struct work_shape *shape, uint64_t done);
void work_done(struct work *work);

/* Plan the next operation. */
void work_plan(const struct work *work, struct work_op *out);
bool work_is_commit(const struct work_op *op);
/* Put the images of all steps of @op, one behind the other, into memory of the caller's to free. */
uint8_t *work_images(const struct work *work, const struct work_op *op);
/* Make @op in memory. */
void work_apply(struct work *work, const struct work_op *op);
/*
 * Make @op, operation @number, in @store, which has room for @capacity; what went wrong ends the process.
 * @is_torn: as several commits, which a judge has to notice.
 */
void work_make(const struct work_shape *shape, const struct work_op *op, uint64_t number,
               const uint8_t *images, struct stele *store, uint64_t capacity, bool is_torn);

void work_record(const struct work_shape *shape, uint64_t index, uint64_t version, uint8_t *out);
uint64_t work_mix(uint64_t a, uint64_t b);

/* End the process with @code when @rc is not STELE_OK, saying @what went wrong. */
void work_check(int rc, const char *what);
_Noreturn void work_die(const char *text);

#endif
