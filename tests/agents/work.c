#include "work.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stele.h"

#define LOGGED_BYTES_MAX (UINT64_C(64) << 10) /* an append of more is a bulk append */
#define ENTRY_RECORDS_MAX 100u
#define COUNT_FLOOR 24u
#define COUNT_CEILING 3000u
#define FILE_BYTES_MAX (UINT64_C(48) << 20) /* growth ends here */

_Noreturn void work_die(const char *text)
{
    fprintf(stderr, "%s\n", text);
    exit(3);
}

void work_check(int rc, const char *what)
{
    if (rc) {
        fprintf(stderr, "%s: %d (%s): %s\n", what, rc, stele_strerror(rc), stele_last_error()->text);
        exit(3);
    }
}

uint64_t work_mix(uint64_t a, uint64_t b)
{
    uint64_t x = a * UINT64_C(0x9e3779b97f4a7c15) + b + UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static uint64_t number_of(const char *text)
{
    char *end;
    uint64_t value = strtoull(text, &end, 10);
    if (!*text || *end)
        work_die("a word is no number");
    return value;
}

struct work_shape work_shape_read(char *const words[])
{
    static const char *const kinds[] = {"append", "bulk",   "set",   "many",
                                        "count",  "growth", "mixed", "hundred"};
    struct work_shape shape = {.record_bytes = number_of(words[1]),
                               .journal_bytes = number_of(words[2]),
                               .seed = number_of(words[3])};
    for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(words[0], kinds[i]) == 0) {
            shape.kind = (enum work_kind)i;
            return shape;
        }
    }
    work_die("no such kind of work");
}

/* ---- bytes ---- */

void work_record(const struct work_shape *shape, uint64_t index, uint64_t version, uint8_t *out)
{
    size_t bytes = (size_t)shape->record_bytes;
    if (version == 0) {
        memset(out, 0, bytes);
        return;
    }
    uint64_t word =
        (version ^ shape->seed) * UINT64_C(0x9e3779b97f4a7c15) + index * UINT64_C(0xbf58476d1ce4e5b9);
    for (size_t at = 0; at < bytes; at += 8) {
        uint64_t mixed = (word ^ (word >> 29)) * UINT64_C(0x94d049bb133111eb);
        mixed =
            mixed >> 56 | mixed << 8; /* the top byte is the best mixed one, and a record may have no other */
        memcpy(out + at, &mixed, bytes - at < 8 ? bytes - at : 8);
        word += UINT64_C(0x2545f4914f6cdd1d);
    }
}

/* ---- planning ---- */

static uint64_t lesser(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}
static uint64_t greater(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t logged_records(const struct work_shape *shape)
{
    return greater(lesser(LOGGED_BYTES_MAX, shape->journal_bytes / 4) / shape->record_bytes, 1);
}

/* How many scattered records one entry of the smallest half of the ring holds, with their sums. */
static uint64_t entry_records(const struct work_shape *shape)
{
    return lesser(greater((shape->journal_bytes - 4096 - 700) / (shape->record_bytes + 96), 1),
                  ENTRY_RECORDS_MAX);
}

static void add_step(struct work_op *op, enum work_verb verb, uint64_t first, uint64_t n, uint64_t stride)
{
    op->steps[op->step_count++] = (struct work_step){.verb = verb, .first = first, .n = n, .stride = stride};
}

static uint64_t bulk_records(const struct work_shape *shape, uint64_t chance)
{
    uint64_t logged = logged_records(shape);
    return logged + 1 + chance % (logged / 2 + 1);
}

static uint64_t ceiling(const struct work_shape *shape)
{
    return greater(COUNT_CEILING, 6 * bulk_records(shape, logged_records(shape) / 2));
}

static void plan_sets(const struct work *work, uint64_t chance, uint64_t n_max, struct work_op *op)
{
    uint64_t n = lesser(1 + chance % n_max, work->count);
    uint64_t stride = 1 + (chance >> 16) % greater(work->count / n, 1);
    uint64_t room = work->count - (n - 1) * stride;
    add_step(op, WORK_STEP_SET, (chance >> 32) % room, n, stride);
}

static void plan_transaction(const struct work *work, uint64_t chance, struct work_op *op)
{
    const struct work_shape *shape = &work->shape;
    uint64_t n_max = greater(entry_records(shape) / 3, 1);
    op->way = WORK_BY_TRANSACTION;
    if (entry_records(shape) < 3) {
        plan_sets(work, chance, entry_records(shape), op);
        return;
    }
    plan_sets(work, chance, n_max, op);
    add_step(op, WORK_STEP_APPEND, 0, 1 + (chance >> 8) % n_max, 0);
    if (chance % 3 == 0) {
        uint64_t cut = (chance >> 24) % greater(work->count / 4, 1);
        add_step(op, WORK_STEP_COUNT, 0, work->count - cut, 0);
        add_step(op, WORK_STEP_APPEND, 0, 1 + (chance >> 40) % n_max, 0);
    }
}

static void plan_count(const struct work *work, uint64_t chance, struct work_op *op)
{
    uint64_t step = 1 + (chance >> 8) % (chance % 5 ? 40 : 600);
    bool is_down = (chance >> 4 & 1) && step < work->count;
    add_step(op, WORK_STEP_COUNT, 0, is_down ? work->count - step : work->count + step, 0);
}

static void plan_append(const struct work *work, uint64_t chance, struct work_op *op)
{
    add_step(op, WORK_STEP_APPEND, 0, 1 + chance % lesser(logged_records(&work->shape), 9), 0);
}

void work_plan(const struct work *work, struct work_op *out)
{
    const struct work_shape *shape = &work->shape;
    uint64_t chance = work_mix(shape->seed, work->done + 1);
    enum work_kind kind = shape->kind;
    *out = (struct work_op){.way = WORK_BY_CALL};
    if (work->count > ceiling(shape)) {
        add_step(out, WORK_STEP_COUNT, 0, work->count / 3, 0);
        return;
    }
    if (work->count < COUNT_FLOOR && kind != WORK_BULK) {
        add_step(out, WORK_STEP_APPEND, 0, kind == WORK_HUNDRED ? 300 : lesser(logged_records(shape), 9), 0);
        return;
    }
    if (kind == WORK_MIXED) {
        static const enum work_kind mixture[] = {WORK_APPEND, WORK_BULK,  WORK_SET,
                                                 WORK_MANY,   WORK_COUNT, WORK_MIXED};
        kind = mixture[(chance >> 48) % (sizeof(mixture) / sizeof(mixture[0]))];
    }
    if (kind == WORK_APPEND) {
        plan_append(work, chance, out);
    } else if (kind == WORK_BULK) {
        add_step(out, WORK_STEP_APPEND, 0, bulk_records(shape, chance), 0);
    } else if (kind == WORK_SET) {
        plan_sets(work, chance, 1, out);
    } else if (kind == WORK_MANY && chance % 2) {
        plan_transaction(work, chance >> 1, out);
    } else if (kind == WORK_MANY) {
        plan_sets(work, chance, entry_records(shape), out);
    } else if (kind == WORK_COUNT) {
        plan_count(work, chance, out);
    } else if (kind == WORK_HUNDRED) {
        add_step(out, WORK_STEP_SET, work->done % 2, 100, 3);
    } else if (kind == WORK_GROWTH && chance % 4) {
        out->way = WORK_BY_RESERVE;
    } else if (kind == WORK_MIXED) {
        out->way = chance % 2 ? WORK_BY_RESERVE : WORK_BY_CHECKPOINT;
    } else {
        plan_append(work, chance, out);
    }
}

bool work_is_commit(const struct work_op *op)
{
    return op->way == WORK_BY_CALL || op->way == WORK_BY_TRANSACTION;
}

uint8_t *work_images(const struct work *work, const struct work_op *op)
{
    const size_t bytes = (size_t)work->shape.record_bytes;
    uint64_t count = work->count, total = 0;
    for (size_t i = 0; i < op->step_count; i++)
        total += op->steps[i].verb == WORK_STEP_COUNT ? 0 : op->steps[i].n;
    uint8_t *images = malloc((size_t)total * bytes + 1), *at = images;
    if (!images)
        work_die("out of memory");
    for (size_t i = 0; i < op->step_count; i++) {
        const struct work_step *step = &op->steps[i];
        if (step->verb == WORK_STEP_COUNT) {
            count = step->n;
            continue;
        }
        bool is_append = step->verb == WORK_STEP_APPEND;
        for (uint64_t k = 0; k < step->n; k++, at += bytes)
            work_record(&work->shape, is_append ? count + k : step->first + k * step->stride, work->done + 1,
                        at);
        count += is_append ? step->n : 0;
    }
    return images;
}

/* ---- in memory ---- */

static void set_count(struct work *work, uint64_t count, uint32_t version)
{
    if (count > work->room) {
        work->room = (size_t)count * 2;
        work->versions = realloc(work->versions, work->room * sizeof(*work->versions));
        if (!work->versions)
            work_die("out of memory");
    }
    for (uint64_t i = work->count; i < count; i++)
        work->versions[i] = version;
    work->count = count;
}

void work_apply(struct work *work, const struct work_op *op)
{
    uint32_t version = (uint32_t)(work->done + 1);
    for (size_t i = 0; i < op->step_count; i++) {
        const struct work_step *step = &op->steps[i];
        if (step->verb == WORK_STEP_COUNT)
            set_count(work, step->n, 0);
        else if (step->verb == WORK_STEP_APPEND)
            set_count(work, work->count + step->n, version);
        else
            for (uint64_t k = 0; k < step->n; k++)
                work->versions[step->first + k * step->stride] = version;
    }
    work->done++;
    if (op->way == WORK_BY_TRANSACTION)
        work->user_version = work->done;
}

void work_init(struct work *work, const struct work_shape *shape, uint64_t done)
{
    *work = (struct work){.shape = *shape};
    while (work->done < done) {
        struct work_op op;
        work_plan(work, &op);
        work_apply(work, &op);
    }
}

void work_done(struct work *work)
{
    free(work->versions);
    *work = (struct work){.done = 0};
}

/* ---- in the store ---- */

static void make_by_transaction(const struct work_shape *shape, const struct work_op *op, uint64_t number,
                                const uint8_t *images, struct stele *store, bool is_torn)
{
    uint8_t user[64] = {0};
    struct stele_txn *txn;
    work_check(stele_begin(store, &txn), "begin");
    for (size_t i = 0; i < op->step_count; i++) {
        const struct work_step *step = &op->steps[i];
        if (step->verb == WORK_STEP_COUNT) {
            work_check(stele_txn_set_count(txn, step->n), "txn_set_count");
        } else if (step->verb == WORK_STEP_APPEND) {
            work_check(stele_txn_append(txn, images, (size_t)step->n, NULL), "txn_append");
            images += step->n * shape->record_bytes;
        } else {
            for (uint64_t k = 0; k < step->n; k++, images += shape->record_bytes)
                work_check(stele_txn_set(txn, step->first + k * step->stride, images), "txn_set");
        }
        if (is_torn && i + 1 < op->step_count) {
            work_check(stele_commit(txn, STELE_DURABLE, NULL), "commit");
            work_check(stele_begin(store, &txn), "begin");
        }
    }
    work_check(stele_txn_user(txn, number, user), "txn_user");
    work_check(stele_commit(txn, STELE_DURABLE, NULL), "commit");
}

static void make_sets(const struct work_step *step, const uint8_t *images, struct stele *store)
{
    uint64_t indexes[ENTRY_RECORDS_MAX];
    if (step->n == 1) {
        work_check(stele_set(store, step->first, images), "set");
        return;
    }
    for (uint64_t k = 0; k < step->n; k++)
        indexes[k] = step->first + k * step->stride;
    work_check(stele_set_many(store, indexes, (size_t)step->n, images), "set_many");
}

void work_make(const struct work_shape *shape, const struct work_op *op, uint64_t number,
               const uint8_t *images, struct stele *store, uint64_t capacity, bool is_torn)
{
    const struct work_step *step = &op->steps[0];
    if (op->way == WORK_BY_TRANSACTION) {
        make_by_transaction(shape, op, number, images, store, is_torn);
    } else if (op->way == WORK_BY_RESERVE) {
        bool is_small = capacity * shape->record_bytes < FILE_BYTES_MAX;
        work_check(stele_reserve(store, is_small ? capacity + 1 : capacity), "reserve");
    } else if (op->way == WORK_BY_CHECKPOINT) {
        work_check(stele_checkpoint(store), "checkpoint");
    } else if (step->verb == WORK_STEP_APPEND) {
        work_check(stele_append(store, images, (size_t)step->n, NULL), "append");
    } else if (step->verb == WORK_STEP_COUNT) {
        work_check(stele_set_count(store, step->n), "set_count");
    } else {
        make_sets(step, images, store);
    }
}
