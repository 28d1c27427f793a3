#include "os_sim.h"

#include "bits.h"
#include "error.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HANDLES_MAX 64u

struct sim sim;

/* An open handle; the number of its place is what struct stele_os_file holds. */
static struct handle {
    int file;
    unsigned process;
    bool is_open, is_present, is_present_alone;
} handles[HANDLES_MAX];

/* What processes saw when one of them died. */
static struct {
    struct { uint8_t *memory; uint64_t bytes; bool is_named, touched[SIM_PAGES_MAX]; } files[SIM_FILES_MAX];
    bool is_kept;
} kept;

/* ---- events ---- */

static struct sim_event *add_event(enum sim_kind kind, int file, uint64_t offset, uint64_t byte_count)
{
    struct sim_log *log = sim.log;

    if (log->count == log->room) {
        log->room = log->room ? log->room * 2 : 256;
        log->events = realloc(log->events, log->room * sizeof(*log->events));
        if (!log->events)
            abort();
    }
    log->events[log->count] = (struct sim_event){ .kind = kind, .file = file, .process = sim.process,
                                                  .offset = offset, .byte_count = byte_count };
    return &log->events[log->count++];
}

static void add_bytes(enum sim_kind kind, int file, uint64_t offset, const void *bytes, uint64_t byte_count)
{
    struct sim_event *event = add_event(kind, file, offset, byte_count);

    event->bytes = malloc((size_t)byte_count);
    if (!event->bytes)
        abort();
    memcpy(event->bytes, bytes, (size_t)byte_count);
}

void sim_log_clear(struct sim_log *log)
{
    for (size_t i = 0; i < log->count; i++)
        free(log->events[i].bytes);
    free(log->events);
    *log = (struct sim_log){ .count = 0 };
}

void sim_touch(struct sim_file *file, uint64_t offset, uint64_t byte_count)
{
    if (byte_count == 0)
        return;
    for (uint64_t page = offset / SIM_PAGE_BYTES; page <= (offset + byte_count - 1) / SIM_PAGE_BYTES; page++)
        file->touched[page] = file->stale[page] = true;
}

static void notice_page(int index, uint64_t first, uint64_t end)
{
    struct sim_file *file = &sim.files[index];

    for (uint64_t at = first; at < end; at += 8) {
        if (memcmp(file->memory + at, file->shadow + at, 8) == 0)
            continue;
        if (sim.log) {
            add_bytes(SIM_MAPPED, index, at, file->memory + at, 8);
            sim.log->events[sim.log->count - 1].is_more = true;
        }
        memcpy(file->shadow + at, file->memory + at, 8);
        sim_touch(file, at, 8);
    }
}

void sim_notice(void)
{
    size_t before = sim.log ? sim.log->count : 0;

    for (unsigned i = 0; i < SIM_FILES_MAX; i++) {
        struct sim_file *file = &sim.files[i];

        for (unsigned k = 0; k < file->watched_count; k++) {
            for (uint64_t at = file->watched[k].first, next; at < file->watched[k].end; at = next) {
                next = stele_min(stele_round_down(at, SIM_PAGE_BYTES) + SIM_PAGE_BYTES, file->watched[k].end);
                if (memcmp(file->memory + at, file->shadow + at, (size_t)(next - at)) != 0)
                    notice_page((int)i, at, next);
            }
        }
    }
    if (sim.log && sim.log->count > before)
        sim.log->events[sim.log->count - 1].is_more = false;
}

static struct handle *handle_of(const struct stele_os_file *file) { return &handles[file->handle]; }
static struct sim_file *file_of(const struct stele_os_file *file) { return &sim.files[handle_of(file)->file]; }

static bool is_dead(unsigned process) { return sim.dead >> process & 1; }

/* Before each call that an event follows: a process that is to die by now dies here. */
static bool may_act(unsigned process)
{
    if (is_dead(process))
        return false;
    if (!sim.log)
        return true;
    sim_notice();
    if (sim.log->count >= sim.die_at) {
        sim.dead |= 1u << process;
        sim.die_at = SIZE_MAX;
        sim_keep();
        return false;
    }
    return true;
}

static void count_call(void)
{
    sim.calls++;
    if ((sim.calls_max && sim.calls > sim.calls_max) || (sim.clock_us_max && sim.clock_us > sim.clock_us_max)) {
        printf("hangs: %" PRIu64 " calls, clock at %" PRIu64 " us\n", sim.calls, sim.clock_us);
        fflush(stdout);
        abort();
    }
}

void sim_watch_calls(uint64_t calls_max, uint64_t clock_us_max)
{
    sim.calls_max = calls_max ? sim.calls + calls_max : 0;
    sim.clock_us_max = clock_us_max ? sim.clock_us + clock_us_max : 0;
}

static bool is_failing(enum sim_call call)
{
    uint64_t n = ++sim.call_counts[call], at = sim.fail_at[call];
    bool fails = at && (n == at || (sim.is_failing_on && n > at));

    sim.failed_count += fails;
    return fails;
}

static int gone(void) { return stele_fail(STELE_E_IO, "the process is dead"); }

/* ---- the whole ---- */

void sim_clear_faults(void)
{
    memset(sim.fail_at, 0, sizeof(sim.fail_at));
    memset(sim.call_counts, 0, sizeof(sim.call_counts));
    sim.is_failing_on = false;
    sim.failed_count = 0;
}

static void forget_file(struct sim_file *file)
{
    for (size_t page = 0; page < SIM_PAGES_MAX; page++) {
        if (file->touched[page])
            memset(file->memory + page * SIM_PAGE_BYTES, 0, SIM_PAGE_BYTES);
        if (file->touched[page])
            memset(file->shadow + page * SIM_PAGE_BYTES, 0, SIM_PAGE_BYTES);
        file->touched[page] = false;
        file->stale[page] = true;
    }
    file->is_used = file->is_named = false;
    file->bytes = 0;
    file->watched_count = 0;
    file->writer = -1;
}

void sim_reset(uint64_t seed)
{
    sim_notice();
    for (unsigned i = 0; i < SIM_FILES_MAX; i++)
        forget_file(&sim.files[i]);
    memset(handles, 0, sizeof(handles));
    sim.log = NULL;
    sim.process = 0;
    sim.dead = 0;
    sim.die_at = SIZE_MAX;
    sim.chance = seed;
    sim.clock_us = UINT64_C(1700000000000000);
    sim_watch_calls(0, 0);
    sim_clear_faults();
}

int sim_find_name(void)
{
    for (unsigned i = 0; i < SIM_FILES_MAX; i++) {
        if (sim.files[i].is_used && sim.files[i].is_named)
            return (int)i;
    }
    return -1;
}

void sim_keep(void)
{
    kept.is_kept = true;
    for (unsigned i = 0; i < SIM_FILES_MAX; i++) {
        struct sim_file *file = &sim.files[i];

        kept.files[i].bytes = file->bytes;
        kept.files[i].is_named = file->is_named;
        memcpy(kept.files[i].touched, file->touched, sizeof(file->touched));
        if (!kept.files[i].memory)
            kept.files[i].memory = calloc(1, (size_t)SIM_FILE_BYTES_MAX);
        if (!kept.files[i].memory)
            abort();
        for (size_t page = 0; page < SIM_PAGES_MAX; page++) {
            if (file->touched[page])
                memcpy(kept.files[i].memory + page * SIM_PAGE_BYTES, file->memory + page * SIM_PAGE_BYTES,
                       SIM_PAGE_BYTES);
        }
    }
}

static void give_back_pages(unsigned index)
{
    static const uint8_t zeros[SIM_PAGE_BYTES];
    struct sim_file *file = &sim.files[index];

    file->bytes = kept.files[index].bytes;
    file->is_named = kept.files[index].is_named;
    for (size_t page = 0; page < SIM_PAGES_MAX; page++) {
        size_t at = page * SIM_PAGE_BYTES;
        const uint8_t *from = kept.files[index].touched[page] ? kept.files[index].memory + at : zeros;

        if (!file->touched[page])
            continue;
        memcpy(file->memory + at, from, SIM_PAGE_BYTES);
        memcpy(file->shadow + at, from, SIM_PAGE_BYTES);
        file->stale[page] = true;
    }
}

void sim_bury(void)
{
    sim_notice();
    for (unsigned i = 0; kept.is_kept && i < SIM_FILES_MAX; i++) {
        if (sim.files[i].is_used)
            give_back_pages(i);
    }
    kept.is_kept = false;
    for (size_t i = 0; i < HANDLES_MAX; i++) {
        if (!handles[i].is_open || !is_dead(handles[i].process))
            continue;
        handles[i].is_present = handles[i].is_present_alone = false;
        if (sim.files[handles[i].file].writer == (int)i)
            sim.files[handles[i].file].writer = -1;
    }
}

/* ---- files ---- */

static int new_handle(int file, bool is_writable, struct stele_os_file *out)
{
    for (size_t i = 0; i < HANDLES_MAX; i++) {
        if (handles[i].is_open)
            continue;
        handles[i] = (struct handle){ .file = file, .process = sim.process, .is_open = true };
        *out = (struct stele_os_file){ .handle = (intptr_t)i, .journal = (intptr_t)i, .lock = (intptr_t)i,
                                       .fork_count = stele_os_fork_count(), .is_open = true,
                                       .is_writable = is_writable };
        return STELE_OK;
    }
    return stele_fail(STELE_E_IO, "no more handles in the simulation");
}

int stele_os_open(const char *path, bool is_writable, struct stele_os_file *out)
{
    int file = sim_find_name();

    count_call();
    if (is_dead(sim.process))
        return gone();
    if (file < 0)
        return stele_fail(STELE_E_ABSENT, "%s is not there", path);
    return new_handle(file, is_writable, out);
}

static void drop_unused(int index)
{
    struct sim_file *file = &sim.files[index];
    bool is_used = file->is_named;

    for (size_t i = 0; i < HANDLES_MAX; i++)
        is_used |= handles[i].is_open && handles[i].file == index;
    if (is_used)
        return;
    sim_notice();
    /* Its bytes may be looked at in the log for as long as there is one: a place is used again only without. */
    if (!sim.log)
        forget_file(file);
}

void stele_os_close(struct stele_os_file *file)
{
    struct handle *handle;

    if (!file->is_open)
        return;
    handle = handle_of(file);
    if (sim.files[handle->file].writer == (int)file->handle)
        sim.files[handle->file].writer = -1;
    handle->is_open = handle->is_present = handle->is_present_alone = false;
    drop_unused(handle->file);
    *file = (struct stele_os_file){ .handle = -1, .journal = -1, .lock = -1 };
}

int stele_os_stat(const struct stele_os_file *file, struct stele_os_stat *out)
{
    count_call();
    if (is_dead(handle_of(file)->process))
        return gone();
    *out = (struct stele_os_stat){ .bytes = file_of(file)->bytes, .disk_bytes = file_of(file)->bytes,
                                   .links = file_of(file)->is_named };
    return STELE_OK;
}

int stele_os_check_free(const char *path)
{
    return sim_find_name() >= 0 ? stele_fail(STELE_E_EXISTS, "%s is there already", path) : STELE_OK;
}

int stele_os_draft_open(const char *path, uint32_t permissions, struct stele_os_draft *out)
{
    struct stele_os_draft draft = { .target = NULL };

    (void)permissions;
    for (int i = 0; i < (int)SIM_FILES_MAX; i++) {
        if (sim.files[i].is_used)
            continue;
        if (!sim.files[i].memory) {
            sim.files[i].memory = calloc(1, (size_t)SIM_FILE_BYTES_MAX);
            sim.files[i].shadow = calloc(1, (size_t)SIM_FILE_BYTES_MAX);
        }
        draft.target = malloc(strlen(path) + 1);
        if (!sim.files[i].memory || !sim.files[i].shadow || !draft.target)
            abort();
        strcpy(draft.target, path);
        forget_file(&sim.files[i]);
        sim.files[i].is_used = true;
        *out = draft;
        return new_handle(i, true, &out->file);
    }
    return stele_fail(STELE_E_FULL, "no more files in the simulation");
}

int stele_os_draft_publish(struct stele_os_draft *draft, bool is_replacing, struct stele_os_file *out_file)
{
    struct handle *handle = handle_of(&draft->file);
    int old = sim_find_name();

    count_call();
    if (!may_act(handle->process))
        return gone();
    if (old >= 0 && !is_replacing)
        return stele_fail(STELE_E_EXISTS, "%s is there already", draft->target);
    if (is_failing(SIM_CALL_NAME))
        return stele_fail(STELE_E_IO, "%s could not be named, says the simulation", draft->target);
    if (old >= 0)
        sim.files[old].is_named = false;
    sim.files[handle->file].is_named = true;
    if (sim.log) {
        add_event(SIM_NAME, handle->file, 0, 0);
        add_event(SIM_NAME_DURABLE, handle->file, 0, 0);
    }
    if (old >= 0)
        drop_unused(old);
    *out_file = draft->file;
    draft->file = (struct stele_os_file){ .is_open = false };
    stele_os_draft_discard(draft);
    return STELE_OK;
}

void stele_os_draft_discard(struct stele_os_draft *draft)
{
    stele_os_close(&draft->file);
    free(draft->target);
    *draft = (struct stele_os_draft){ .target = NULL };
}

int stele_os_draft_dress(struct stele_os_draft *draft, const struct stele_os_file *from)
{
    (void)draft;
    (void)from;
    return STELE_OK;
}

int stele_os_draft_clone(struct stele_os_draft *draft, const struct stele_os_file *from, uint64_t offset,
                         uint64_t byte_count)
{
    (void)from;
    (void)offset;
    (void)byte_count;
    return stele_fail(STELE_E_UNSUPPORTED, "%s cannot share the disk of another file", draft->target);
}

/* ---- bytes ---- */

static bool is_inside(uint64_t offset, uint64_t byte_count)
{
    return offset <= SIM_FILE_BYTES_MAX && byte_count <= SIM_FILE_BYTES_MAX - offset;
}

int stele_os_read(const struct stele_os_file *file, uint64_t offset, void *out, size_t byte_count)
{
    const struct sim_file *from = file_of(file);

    count_call();
    if (is_dead(handle_of(file)->process))
        return gone();
    if (offset > from->bytes || byte_count > from->bytes - offset)
        return stele_fail(STELE_E_TRUNCATED, "the file ends before byte %" PRIu64, offset + byte_count);
    memcpy(out, from->memory + offset, byte_count);
    return STELE_OK;
}

static void set_size(struct sim_file *file, uint64_t bytes)
{
    if (bytes < file->bytes) {
        sim_touch(file, bytes, file->bytes - bytes);
        memset(file->memory + bytes, 0, (size_t)(file->bytes - bytes));
        memset(file->shadow + bytes, 0, (size_t)(file->bytes - bytes));
    }
    file->bytes = bytes;
    if (sim.log)
        add_event(SIM_SIZE, (int)(file - sim.files), 0, bytes);
}

static int put(const struct stele_os_file *file, uint64_t offset, const void *bytes, size_t byte_count)
{
    struct sim_file *to = file_of(file);

    count_call();
    if (!may_act(handle_of(file)->process))
        return gone();
    if (!file->is_writable)
        return stele_fail(STELE_E_READONLY, "the file was opened for reading");
    if (!is_inside(offset, byte_count))
        return stele_fail(STELE_E_FULL, "the simulated disk is full");
    if (is_failing(SIM_CALL_WRITE))
        return stele_fail(STELE_E_IO, "a write failed, says the simulation");
    if (offset + byte_count > to->bytes)
        set_size(to, offset + byte_count);
    if (bytes)
        memcpy(to->memory + offset, bytes, byte_count);
    else
        memset(to->memory + offset, 0, byte_count);
    memcpy(to->shadow + offset, to->memory + offset, byte_count);
    sim_touch(to, offset, byte_count);
    if (sim.log)
        add_bytes(SIM_WRITE, handle_of(file)->file, offset, to->memory + offset, byte_count);
    return STELE_OK;
}

int stele_os_write(const struct stele_os_file *file, uint64_t offset, const void *bytes, size_t byte_count)
{
    return put(file, offset, bytes, byte_count);
}

/* What was written stays in the cache when a sync fails, and counts as clean there. */
static int sync_range(const struct stele_os_file *file, enum sim_kind kind, uint64_t offset, uint64_t byte_count)
{
    if (!may_act(handle_of(file)->process))
        return gone();
    if (is_failing(SIM_CALL_SYNC)) {
        if (sim.log)
            add_event(SIM_SYNC_FAILED, handle_of(file)->file, offset, byte_count);
        return stele_fail(STELE_E_IO, "a sync failed, says the simulation");
    }
    if (sim.log)
        add_event(kind, handle_of(file)->file, offset, byte_count);
    return STELE_OK;
}

int stele_os_write_durable(const struct stele_os_file *file, uint64_t offset, const void *bytes, size_t byte_count)
{
    int rc = put(file, offset, bytes, byte_count);

    return rc ? rc : sync_range(file, SIM_SYNC_RANGE, offset, byte_count);
}

bool stele_os_needs_views(void) { return false; }

int stele_os_store(const struct stele_os_file *file, uint64_t offset, const void *bytes, size_t byte_count, void *view)
{
    (void)view;
    return put(file, offset, bytes, byte_count);
}

int stele_os_zero(const struct stele_os_file *file, uint64_t offset, uint64_t byte_count, bool is_sparse)
{
    (void)is_sparse;
    return byte_count ? put(file, offset, NULL, (size_t)byte_count) : STELE_OK;
}

int stele_os_sync(const struct stele_os_file *file)
{
    count_call();
    return sync_range(file, SIM_SYNC, 0, UINT64_MAX);
}

int stele_os_allocate(const struct stele_os_file *file, uint64_t offset, uint64_t byte_count)
{
    count_call();
    if (!may_act(handle_of(file)->process))
        return gone();
    if (!is_inside(offset, byte_count) || is_failing(SIM_CALL_ALLOCATE))
        return stele_fail(STELE_E_FULL, "the simulated disk is full");
    if (offset + byte_count > file_of(file)->bytes)
        set_size(file_of(file), offset + byte_count);
    return STELE_OK;
}

int stele_os_set_bytes(const struct stele_os_file *file, uint64_t bytes)
{
    count_call();
    if (!may_act(handle_of(file)->process))
        return gone();
    if (!is_inside(bytes, 0) || is_failing(SIM_CALL_ALLOCATE))
        return stele_fail(STELE_E_FULL, "the simulated disk is full");
    set_size(file_of(file), bytes);
    return STELE_OK;
}

int stele_os_next_data(const struct stele_os_file *file, uint64_t offset, uint64_t *out_offset)
{
    (void)file;
    *out_offset = offset;
    return STELE_OK;
}

void stele_os_will_need(const struct stele_os_file *file, uint64_t offset, uint64_t byte_count)
{
    (void)file;
    (void)offset;
    (void)byte_count;
}

void stele_os_write_behind(const struct stele_os_file *file, uint64_t offset, uint64_t byte_count)
{
    stele_os_will_need(file, offset, byte_count);
}

void stele_os_touch(const struct stele_os_file *file) { (void)file; }

/* ---- maps: the bytes themselves ---- */

size_t stele_os_granularity(void) { return 65536; }

static void watch(struct sim_file *file, uint64_t first, uint64_t end)
{
    unsigned at = file->watched_count;

    for (unsigned i = 0; i < file->watched_count; i++) {
        if (first <= file->watched[i].end && end >= file->watched[i].first) {
            first = stele_min(first, file->watched[i].first);
            end = stele_max(end, file->watched[i].end);
            at = i;
            break;
        }
    }
    if (at == sizeof(file->watched) / sizeof(file->watched[0]))
        abort();
    file->watched[at].first = first;
    file->watched[at].end = end;
    file->watched_count += at == file->watched_count;
}

int stele_os_map(const struct stele_os_file *file, uint64_t offset, size_t byte_count, bool is_writable,
                 bool is_random, void **out)
{
    (void)is_random;
    count_call();
    if (is_dead(handle_of(file)->process))
        return gone();
    if (is_failing(SIM_CALL_MAP))
        return stele_fail(STELE_E_FULL, "no address space, says the simulation");
    if (offset > file_of(file)->bytes || byte_count > file_of(file)->bytes - offset)
        return stele_fail(STELE_E_TRUNCATED, "a map behind the end of the simulated file");
    if (is_writable)
        watch(file_of(file), offset, offset + byte_count);
    *out = file_of(file)->memory + offset;
    return STELE_OK;
}

/* A copy from the start: all of its pages count as stored to. */
int stele_os_map_private(const struct stele_os_file *file, uint64_t offset, size_t byte_count, void **out)
{
    void *map = NULL, *copy = malloc(byte_count);
    int rc = copy ? stele_os_map(file, offset, byte_count, false, true, &map)
                  : stele_fail(STELE_E_FULL, "no memory for a private map");

    if (rc) {
        free(copy);
        return rc;
    }
    memcpy(copy, map, byte_count);
    *out = copy;
    return STELE_OK;
}

void stele_os_unmap(void *address, size_t byte_count)
{
    uintptr_t at = (uintptr_t)address;

    (void)byte_count;
    for (unsigned i = 0; i < SIM_FILES_MAX; i++) {
        uintptr_t first = (uintptr_t)sim.files[i].memory;

        if (first && at >= first && at - first < SIM_FILE_BYTES_MAX)
            return;
    }
    free(address);
}

int stele_os_populate(void *address, size_t byte_count)
{
    (void)address;
    (void)byte_count;
    return STELE_OK;
}

int stele_os_flush(void *address, size_t byte_count) { return stele_os_populate(address, byte_count); }
void stele_os_forbid(void *address, size_t byte_count) { (void)stele_os_populate(address, byte_count); }

/* ---- locks ---- */

int stele_os_lock_writer(const struct stele_os_file *file)
{
    count_call();
    if (!may_act(handle_of(file)->process))
        return gone();
    if (file_of(file)->writer >= 0 && file_of(file)->writer != (int)file->handle)
        return stele_fail(STELE_E_BUSY, "another writer has the store");
    file_of(file)->writer = (int)file->handle;
    return STELE_OK;
}

void stele_os_unlock_writer(const struct stele_os_file *file)
{
    if (file->is_open && may_act(handle_of(file)->process) && file_of(file)->writer == (int)file->handle)
        file_of(file)->writer = -1;
}

static bool is_present_elsewhere(const struct stele_os_file *file, bool is_alone_only)
{
    for (size_t i = 0; i < HANDLES_MAX; i++) {
        if (handles[i].is_open && (intptr_t)i != file->handle && handles[i].file == handle_of(file)->file &&
            (handles[i].is_present_alone || (handles[i].is_present && !is_alone_only)))
            return true;
    }
    return false;
}

int stele_os_lock_present(const struct stele_os_file *file)
{
    if (!may_act(handle_of(file)->process))
        return gone();
    if (is_present_elsewhere(file, true))
        return stele_fail(STELE_E_BUSY, "another process holds the store for itself alone");
    handle_of(file)->is_present = true;
    handle_of(file)->is_present_alone = false;
    return STELE_OK;
}

int stele_os_lock_present_alone(const struct stele_os_file *file)
{
    if (!may_act(handle_of(file)->process))
        return gone();
    if (is_present_elsewhere(file, false))
        return stele_fail(STELE_E_BUSY, "others have the store open for writing");
    handle_of(file)->is_present = handle_of(file)->is_present_alone = true;
    return STELE_OK;
}

void stele_os_unlock_present(const struct stele_os_file *file)
{
    if (file->is_open && may_act(handle_of(file)->process))
        handle_of(file)->is_present = handle_of(file)->is_present_alone = false;
}

int stele_os_is_writer_held(const struct stele_os_file *file, bool *out_is_held)
{
    count_call();
    *out_is_held = file_of(file)->writer >= 0 && file_of(file)->writer != (int)file->handle;
    return STELE_OK;
}

int stele_os_is_present_held(const struct stele_os_file *file, bool *out_is_held)
{
    *out_is_held = is_present_elsewhere(file, false);
    return STELE_OK;
}

/* ---- clocks, chance, one thread ---- */

uint64_t stele_os_forks;

uint64_t stele_os_now_us(void) { return sim.clock_us; }

uint64_t stele_os_clock_us(void)
{
    count_call();
    return sim.clock_us++;
}

void stele_os_sleep_us(uint64_t us)
{
    count_call();
    sim.clock_us += us;
}

void stele_os_yield(void) { stele_os_sleep_us(1); }

/* splitmix64 */
uint64_t sim_chance(void)
{
    uint64_t mixed = sim.chance += UINT64_C(0x9e3779b97f4a7c15);

    mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ (mixed >> 31);
}

int stele_os_random(void *out, size_t byte_count)
{
    uint8_t *to = out;

    for (size_t at = 0; at < byte_count; at += 8) {
        uint64_t word = sim_chance();
        memcpy(to + at, &word, byte_count - at < 8 ? byte_count - at : 8);
    }
    return STELE_OK;
}

uint64_t stele_os_process_id(void) { return 100 + sim.process; }
void stele_os_wake(const uint64_t *word) { (void)word; }

int stele_os_mutex_init(struct stele_os_mutex *mutex)
{
    *mutex = (struct stele_os_mutex){ .storage = { 0 } };
    return STELE_OK;
}

void stele_os_mutex_done(struct stele_os_mutex *mutex) { (void)mutex; }
void stele_os_mutex_lock(struct stele_os_mutex *mutex) { (void)mutex; }
void stele_os_mutex_unlock(struct stele_os_mutex *mutex) { (void)mutex; }

int stele_os_condition_init(struct stele_os_condition *condition)
{
    *condition = (struct stele_os_condition){ .storage = { 0 } };
    return STELE_OK;
}

void stele_os_condition_done(struct stele_os_condition *condition) { (void)condition; }

/* Nobody else is there to signal it. */
bool stele_os_condition_wait(struct stele_os_condition *condition, struct stele_os_mutex *mutex, uint64_t deadline_us)
{
    (void)condition;
    (void)mutex;
    sim.clock_us = stele_max(sim.clock_us, deadline_us);
    return false;
}

void stele_os_condition_broadcast(struct stele_os_condition *condition) { (void)condition; }

int stele_os_thread_start(struct stele_os_thread *out, void (*run)(void *context), void *context)
{
    out->run = run;
    out->context = context;
    return stele_fail(STELE_E_NOMEM, "the simulation has one thread");
}

void stele_os_thread_join(struct stele_os_thread *thread) { (void)thread; }
