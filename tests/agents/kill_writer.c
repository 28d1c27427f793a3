/*
 * The process that is killed. It tells through its standard output, note by note, what it is about to do and
 * what it was told is done.
 *
 *     kill_writer create PATH SHAPE CAPACITY FLAGS    make an empty store
 *     kill_writer run PATH SHAPE DONE                 go on behind operation DONE until killed
 *     kill_writer early PATH SHAPE DONE               the same, with a bug: acknowledges before it commits
 *     kill_writer torn PATH SHAPE DONE                the same, with a bug: a transaction is several commits
 *     kill_writer step PATH SHAPE DONE                as run, but after each note it waits for a byte of standard input
 *     kill_writer hasty PATH SHAPE DONE               as early, waiting in the same way
 *     kill_writer fill PATH SHAPE DONE N              make N operations, close
 *     kill_writer recover PATH SHAPE                  announce, recover, close
 *     kill_writer one PATH SHAPE DONE [N]             make N operations (1) between two marks
 *     kill_writer grow|checkpoint PATH SHAPE DONE N   make N operations, then do that between two marks
 *     kill_writer open|resize PATH SHAPE              do that between two marks
 *     kill_writer made PATH SHAPE CAPACITY FLAGS      create between two marks
 *
 * SHAPE is four words: see work_shape_read. A mark is for strace (agent_mark).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stele.h"
#include "system.h"
#include "work.h"

static bool waits_for_answers;

static void tell(const struct work_note *notes, size_t note_count)
{
    /* One write, below PIPE_BUF: all or nothing. */
    if (fwrite(notes, sizeof(*notes), note_count, stdout) != note_count || fflush(stdout) != 0 ||
        (waits_for_answers && getchar() == EOF))
        work_die("nobody listens");
}

static void tell_one(uint64_t mark_of_note, uint64_t number, uint64_t sequence, uint64_t capacity)
{
    struct work_note note = {
        .mark = mark_of_note, .number = number, .sequence = sequence, .capacity = capacity};
    tell(&note, 1);
}

static struct stele_info info_of(struct stele *store)
{
    struct stele_info info = STELE_INFO_INIT;
    work_check(stele_info(store, &info), "info");
    return info;
}

static struct stele *open_for_writing(const char *path)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store;
    options.mode = STELE_READ_WRITE;
    work_check(stele_open(path, &options, &store), "open");
    return store;
}

static struct stele *create(const char *path, const struct work_shape *shape, uint64_t capacity,
                            uint64_t flags, bool is_marked)
{
    struct stele_field body = {.name = "body", .type = STELE_BYTES, .bytes = (uint32_t)shape->record_bytes};
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele_schema *schema;
    struct stele *store;
    work_check(stele_schema_new("Work", shape->record_bytes, &body, 1, &schema), "schema");
    options.schema = schema;
    options.capacity_records = capacity;
    options.journal_bytes = shape->journal_bytes;
    options.flags = (uint32_t)flags;
    if (is_marked)
        agent_mark();
    work_check(stele_create(path, &options, &store), "create");
    if (is_marked)
        agent_mark();
    stele_schema_free(schema);
    return store;
}

enum bug { BUG_NONE, BUG_EARLY, BUG_TORN };

#define AHEAD_COUNT 16u

/* Operations made ready before the first of them begins, so that little but commits is there to be killed. */
struct ahead {
    struct work_op ops[AHEAD_COUNT];
    struct work_note notes[AHEAD_COUNT];
    uint8_t *images[AHEAD_COUNT];
    uint64_t sequence; /* of the last commit */
};

static void make_ready(struct work *work, struct ahead *ahead)
{
    for (unsigned i = 0; i < AHEAD_COUNT; i++) {
        struct work_op *op = &ahead->ops[i];
        work_plan(work, op);
        ahead->images[i] = work_images(work, op);
        ahead->sequence += work_is_commit(op);
        ahead->notes[i] = (struct work_note){.mark = WORK_NOTE_BEGIN,
                                             .number = work->done + 1,
                                             .sequence = work_is_commit(op) ? ahead->sequence : 0};
        work_apply(work, op);
    }
}

/* Acknowledge and begin the next in one breath: between the two there is nothing to be killed in. */
static void tell_done(struct ahead *ahead, unsigned i, uint64_t capacity)
{
    struct work_note notes[2] = {ahead->notes[i]};
    notes[0].mark = WORK_NOTE_ACK;
    notes[0].capacity = capacity;
    if (i + 1 < AHEAD_COUNT) {
        notes[1] = ahead->notes[i + 1];
        notes[1].capacity = capacity;
    }
    tell(notes, i + 1 < AHEAD_COUNT ? 2 : 1);
}

static void run(const char *path, const struct work_shape *shape, uint64_t done, enum bug bug)
{
    struct ahead ahead;
    struct work work;
    work_init(&work, shape, done);
    struct stele *store = open_for_writing(path);
    struct stele_info info = info_of(store);
    uint64_t capacity = info.capacity;
    ahead.sequence = info.sequence;
    tell_one(WORK_NOTE_OPEN, done, info.generation, capacity);
    for (;;) {
        make_ready(&work, &ahead);
        ahead.notes[0].capacity = capacity;
        tell(ahead.notes, 1);
        for (unsigned i = 0; i < AHEAD_COUNT; i++) {
            if (bug == BUG_EARLY)
                tell_done(&ahead, i, capacity);
            work_make(shape, &ahead.ops[i], ahead.notes[i].number, ahead.images[i], store, capacity,
                      bug == BUG_TORN);
            if (ahead.ops[i].way == WORK_BY_RESERVE)
                capacity = info_of(store).capacity;
            if (bug != BUG_EARLY)
                tell_done(&ahead, i, capacity);
            free(ahead.images[i]);
        }
    }
}

/* Make @n operations; with marks before and behind the work in the store itself. */
static void make(const char *path, const struct work_shape *shape, uint64_t done, uint64_t n, bool is_marked)
{
    struct work work;
    work_init(&work, shape, done);
    struct stele *store = open_for_writing(path);
    for (uint64_t i = 0; i < n; i++) {
        struct work_op op;
        work_plan(&work, &op);
        uint8_t *images = work_images(&work, &op);
        uint64_t capacity = info_of(store).capacity;
        if (is_marked)
            agent_mark();
        work_make(shape, &op, work.done + 1, images, store, capacity, false);
        if (is_marked)
            agent_mark();
        free(images);
        work_apply(&work, &op);
    }
    work_check(stele_close(store), "close");
    work_done(&work);
}

/* Make @n operations and leave them in the journal. */
static struct stele *open_and_make(const char *path, const struct work_shape *shape, uint64_t done,
                                   uint64_t n)
{
    struct work work;
    work_init(&work, shape, done);
    struct stele *store = open_for_writing(path);
    uint64_t capacity = info_of(store).capacity;
    for (uint64_t i = 0; i < n; i++) {
        struct work_op op;
        work_plan(&work, &op);
        uint8_t *images = work_images(&work, &op);
        work_make(shape, &op, work.done + 1, images, store, capacity, false);
        free(images);
        work_apply(&work, &op);
    }
    work_done(&work);
    return store;
}

static void resize_marked(const char *path, const struct work_shape *shape)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store;
    work_check(stele_open(path, NULL, &store), "open");
    options.capacity_records = info_of(store).capacity * 3;
    options.journal_bytes = shape->journal_bytes * 2;
    work_check(stele_close(store), "close");
    agent_mark();
    work_check(stele_resize(path, &options), "resize");
    agent_mark();
}

static void do_marked(const char *verb, const char *path, const struct work_shape *shape, uint64_t done,
                      uint64_t n)
{
    struct stele *store;
    if (strcmp(verb, "open") == 0) {
        agent_mark();
        store = open_for_writing(path);
        agent_mark();
    } else {
        store = open_and_make(path, shape, done, n);
        uint64_t capacity = info_of(store).capacity;
        agent_mark();
        if (strcmp(verb, "grow") == 0)
            work_check(stele_reserve(store, capacity + 1), "reserve");
        else if (strcmp(verb, "checkpoint") == 0)
            work_check(stele_checkpoint(store), "checkpoint");
        else
            work_die("no such verb");
        agent_mark();
    }
    work_check(stele_close(store), "close");
}

static void recover(const char *path)
{
    struct stele_recovery report = STELE_RECOVERY_INIT;
    tell_one(WORK_NOTE_BEGIN, 0, 0, 0);
    work_check(stele_recover(path, NULL, &report), "recover");
    tell_one(WORK_NOTE_ACK, 0, 0, 0);
}

int main(int count, char **words)
{
    agent_begin();
    if (count < 7)
        work_die("usage: kill_writer VERB PATH KIND RECORD_BYTES JOURNAL_BYTES SEED ...");
    const char *verb = words[1], *path = words[2];
    struct work_shape shape = work_shape_read(words + 3);
    uint64_t first = count > 7 ? strtoull(words[7], NULL, 10) : 0;
    uint64_t second = count > 8 ? strtoull(words[8], NULL, 10) : 1;
    waits_for_answers = strcmp(verb, "step") == 0 || strcmp(verb, "hasty") == 0;
    if (strcmp(verb, "create") == 0 || strcmp(verb, "made") == 0)
        work_check(stele_close(create(path, &shape, first, second, *verb == 'm')), "close");
    else if (strcmp(verb, "run") == 0 || strcmp(verb, "step") == 0)
        run(path, &shape, first, BUG_NONE);
    else if (strcmp(verb, "early") == 0 || strcmp(verb, "hasty") == 0)
        run(path, &shape, first, BUG_EARLY);
    else if (strcmp(verb, "torn") == 0)
        run(path, &shape, first, BUG_TORN);
    else if (strcmp(verb, "fill") == 0 || strcmp(verb, "one") == 0)
        make(path, &shape, first, second, *verb == 'o');
    else if (strcmp(verb, "recover") == 0)
        recover(path);
    else if (strcmp(verb, "resize") == 0)
        resize_marked(path, &shape);
    else
        do_marked(verb, path, &shape, first, second);
    return 0;
}
