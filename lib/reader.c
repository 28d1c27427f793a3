#include "reader.h"

#include "error.h"
#include "guard.h"
#include "proof.h"
#include "recover.h"
#include "settle.h"

#include <stdlib.h>

#define SPINS 1000u
#define STUCK_US 10000u /* without movement of progress the writer is asked for */
#define RETRY_US 200u

static const struct stele_reading *reading_of(const struct stele *store)
{
    return __atomic_load_n(&store->reading, __ATOMIC_ACQUIRE);
}

/* ---- which mode ---- */

static int check_superseded(const struct stele *store, const struct stele_superblock *superblock)
{
    if (!stele_is_zero(superblock->slot.superseded_by, sizeof(superblock->slot.superseded_by)))
        return stele_fail(STELE_E_STALE, "%s was rewritten into a new file, which has its name; open that one",
                          store->path);
    return STELE_OK;
}

static void take_header(struct stele *store, struct stele_reading *reading, const struct stele_superblock *superblock)
{
    reading->layout_version = superblock->slot.layout_version;
    stele_handle_set_superblock(store, superblock);
}

/* Build a detached reading: header and ring as they are while nobody writes. */
static int build_detached(struct stele *store, struct stele_reading *reading)
{
    struct stele_superblock superblock;
    int rc = stele_superblock_read(&store->file, &superblock);
    /* An old file is opened several times over: its journal is not looked at each time. */
    if (!rc)
        rc = check_superseded(store, &superblock);
    if (!rc)
        rc = stele_recover_look(store, &superblock, &reading->overlay);
    reading->is_detached = true;
    if (!rc)
        take_header(store, reading, &superblock);
    return rc;
}

/* Somebody holds P: the live words count, unless they may be of an earlier life. */
static int build_live(struct stele *store, struct stele_reading *reading, const struct stele_reading *old)
{
    /*
     * Whoever opens first stores this before it takes P, so words of an earlier life are never taken for live. Who
     * read live already goes on: the words were right before this recovery began, and stripes say what moves.
     */
    if (stele_load_acquire(&store->live.words->state.word) == STELE_STATE_RECOVERING && (!old || old->is_detached))
        return STELE_END;
    struct stele_superblock superblock;
    int rc = stele_live_check(&store->live);
    if (!rc)
        rc = stele_superblock_read(&store->file, &superblock);
    if (!rc)
        rc = check_superseded(store, &superblock);
    if (!rc)
        take_header(store, reading, &superblock);
    return rc;
}

/* One try: STELE_END asks for another, because somebody is just opening the store for writing. */
static int try_attach(struct stele *store, struct stele_reading *reading, const struct stele_reading *old)
{
    bool is_present, is_writing;
    reading->session = stele_load_acquire(&store->live.words->session.word);
    int rc = stele_os_is_present_held(&store->file, &is_present);
    if (!rc)
        rc = stele_os_is_writer_held(&store->file, &is_writing);
    if (rc)
        return rc;
    if (is_present)
        rc = build_live(store, reading, old);
    else
        rc = is_writing ? STELE_END : build_detached(store, reading);
    /* Also whatever error came of looking at a header that was being written. */
    return stele_reader_is_current(store, reading) ? rc : STELE_END;
}

/* Make a reading and put it in the place of @old; nothing to do if another thread did. The mutex is not held. */
static int attach_anew(struct stele *store, const struct stele_reading *old)
{
    uint64_t deadline_us = stele_os_clock_us() + (uint64_t)store->read_wait_ms * 1000;
    struct stele_reading *reading = NULL;
    int rc;
    do {
        if (reading)
            stele_os_sleep_us(RETRY_US);
        else
            reading = malloc(sizeof(*reading));
        if (!reading)
            return stele_fail(STELE_E_NOMEM, "out of memory to open %s for reading", store->path);
        memset(reading, 0, sizeof(*reading));
        rc = try_attach(store, reading, old);
        if (rc)
            stele_replay_done(&reading->overlay);
    } while (rc == STELE_END && stele_os_clock_us() < deadline_us);
    if (rc == STELE_END)
        rc = stele_fail(STELE_E_BUSY, "%s is being opened or recovered by a writer; waited %" PRIu32 " ms",
                        store->path, store->read_wait_ms);
    if (rc) {
        free(reading);
        return rc;
    }
    stele_os_mutex_lock(&store->mutex);
    bool is_first = store->reading == old;
    if (is_first) {
        reading->previous = store->reading; /* threads may be reading by it: it goes at close */
        __atomic_store_n(&store->reading, reading, __ATOMIC_RELEASE);
    }
    stele_os_mutex_unlock(&store->mutex);
    if (!is_first) {
        stele_replay_done(&reading->overlay);
        free(reading);
    }
    return STELE_OK;
}

int stele_reader_attach(struct stele *store)
{
    return attach_anew(store, reading_of(store));
}

void stele_reader_detach(struct stele *store)
{
    struct stele_reading *reading = store->reading;
    store->reading = NULL;
    while (reading) {
        struct stele_reading *previous = reading->previous;
        stele_replay_done(&reading->overlay);
        free(reading);
        reading = previous;
    }
}

bool stele_reader_is_current(const struct stele *store, const struct stele_reading *reading)
{
    stele_fence_acquire();
    return !reading || stele_load(&store->live.words->session.word) == reading->session;
}

int stele_reader_current(struct stele *store, const struct stele_reading **out)
{
    const struct stele_reading *reading = reading_of(store);
    /* The load is what finds out: from then on all words of live read as zero, for who writes as well. */
    if (stele_load(&store->live.words->session.word) == 0 && stele_live_is_cut(&store->live))
        return stele_handle_cut(store);
    if (!stele_reader_is_current(store, reading)) {
        int rc = attach_anew(store, reading);
        if (rc)
            return rc;
        reading = reading_of(store);
    }
    *out = reading;
    return STELE_OK;
}

const struct stele_replay *stele_reader_overlay(const struct stele_reading *reading)
{
    return reading && reading->is_detached ? &reading->overlay : NULL;
}

/* ---- what this handle left pending ---- */

/* The count with what is pending; false where nothing is. */
static bool pending_says(const struct stele *store, uint64_t *out_count)
{
    struct stele *own = (struct stele *)(uintptr_t)store; /* the mutex is no part of what a caller sees */
    if (!stele_settle_lock_read(own))
        return false;
    *out_count = own->group.open.async_count ? own->group.open.count : own->group.closing.count;
    stele_os_mutex_unlock(&own->group.runs);
    return true;
}

/* Copy the pending image of record @index; false where there is none. */
static bool copy_pending(struct stele *store, uint64_t index, void *out)
{
    if (!stele_settle_lock_read(store))
        return false;
    const uint8_t *image = stele_settle_find(store, index, false);
    if (image)
        memcpy(out, image, (size_t)store->fixed.record_bytes);
    stele_os_mutex_unlock(&store->group.runs);
    return image != NULL;
}

uint64_t stele_reader_count(const struct stele *store, const struct stele_reading *reading)
{
    /* Of live words only where the reading says live: those of an earlier life may say anything. */
    uint64_t pending_count;
    if (!reading && pending_says(store, &pending_count))
        return pending_count;
    return reading && reading->is_detached
               ? reading->overlay.count
               : stele_min(stele_load_acquire(&store->live.words->count.word), store->index_limit);
}

/* ---- one record ---- */

static int out_of_range(const struct stele *store, uint64_t index, uint64_t count)
{
    if (stele_live_is_cut(&store->live))
        return stele_handle_cut(store);
    return stele_fail(STELE_E_RANGE, "%s: record %" PRIu64 " does not exist: there are %" PRIu64, store->path, index,
                      count);
}

int stele_reader_check_range(const struct stele *store, const struct stele_reading *reading, uint64_t first_index,
                             uint64_t record_count)
{
    uint64_t count = stele_reader_count(store, reading);
    if (first_index <= count && record_count <= count - first_index)
        return STELE_OK;
    return stele_fail(STELE_E_RANGE, "%s: %" PRIu64 " records from %" PRIu64 " on do not all exist: there are %" PRIu64,
                      store->path, record_count, first_index, count);
}

struct wait {
    uint64_t started_us, moved_us, progress;
    unsigned spins;
    bool is_free; /* nobody held W at the last look */
};

/* A stripe is odd, or moved: wait a little. STELE_OK: look again. */
static int wait_for_writer(struct stele *store, struct wait *wait, uint64_t index)
{
    if (wait->spins++ < SPINS)
        return STELE_OK;
    uint64_t now_us = stele_os_clock_us();
    uint64_t progress = stele_load(&store->live.words->progress.word);
    if (wait->started_us == 0 || progress != wait->progress) {
        wait->moved_us = now_us;
        wait->progress = progress;
        if (wait->started_us == 0)
            wait->started_us = now_us;
    }
    stele_os_yield();
    if (now_us - wait->moved_us < STUCK_US)
        return STELE_OK;
    bool is_writing = true;
    int rc = stele_os_is_writer_held(&store->file, &is_writing);
    if (rc)
        return rc;
    /* The probe sees other handles only; this one's own writer is another thread, which lives as long as this one. */
    is_writing = is_writing || __atomic_load_n(&store->group.is_writer_held, __ATOMIC_ACQUIRE);
    /* Twice, with a look at the record in between: a writer that merely finished is not a dead one. */
    bool is_dead = !is_writing && wait->is_free;
    wait->is_free = !is_writing;
    if (!is_dead && now_us - wait->started_us < (uint64_t)store->read_wait_ms * 1000) {
        stele_os_sleep_us(RETRY_US);
        return STELE_OK;
    }
    if (is_dead)
        return stele_fail(STELE_E_BUSY, "%s: record %" PRIu64 " was being stored by a writer that died; the next "
                          "writer puts that right, or: stele recover", store->path, index);
    return stele_fail(STELE_E_BUSY, "%s: record %" PRIu64 " is being stored by a writer that does not go on; waited %"
                      PRIu32 " ms", store->path, index, store->read_wait_ms);
}

/* A stretch that is read piece by piece, pinned as far as a window reaches: a pin for each piece is dear. */
struct stretch {
    struct stele_pin pin; /* of the bytes from @first to @end */
    uint64_t first, end;
    uint64_t whole_end; /* of all that is to be read */
};

/* Have @byte_count bytes from @offset pinned, and of what follows as much as goes with them. */
static int stretch_reach(struct stele *store, struct stretch *stretch, uint64_t offset, size_t byte_count)
{
    if (offset >= stretch->first && offset + byte_count <= stretch->end)
        return STELE_OK;
    uint64_t reach = stele_min(stretch->whole_end - offset, stele_window_reach(&store->windows, offset));
    stele_window_unpin(&stretch->pin);
    stretch->end = 0;
    int rc = stele_window_pin(&store->windows, offset, (size_t)reach, &stretch->pin);
    /* Of a cut file the first pieces may be there. */
    if (rc && reach > byte_count) {
        reach = byte_count;
        rc = stele_window_pin(&store->windows, offset, byte_count, &stretch->pin);
    }
    if (rc)
        return stele_fail_prefix(store->path);
    stretch->first = offset;
    stretch->end = offset + reach;
    return STELE_OK;
}

/* Bytes of the map to @out, guarded; without a @stretch nothing is kept pinned. */
static inline int copy_bytes(struct stele *store, struct stretch *stretch, uint64_t offset, void *out,
                             size_t byte_count)
{
    if (stretch) {
        int reached = stretch_reach(store, stretch, offset, byte_count);
        if (reached)
            return reached;
        return stele_guard_copy(out, stretch->pin.bytes + (offset - stretch->first), byte_count)
                   ? STELE_OK : stele_handle_fault(store, offset, byte_count);
    }
    struct stele_pin pin;
    int rc = stele_window_pin(&store->windows, offset, byte_count, &pin);
    if (rc)
        return stele_fail_prefix(store->path);
    bool is_readable = stele_guard_copy(out, pin.bytes, byte_count);
    stele_window_unpin(&pin);
    return is_readable ? STELE_OK : stele_handle_fault(store, offset, byte_count);
}

/* One look under the stripe, all records in one block; STELE_END if a writer was in the way. */
static inline int look_live(struct stele *store, const struct stele_reading *reading, struct stretch *stretch,
                            uint64_t index, uint64_t record_count, void *out)
{
    const struct stele_layout *layout = &store->fixed;
    const uint64_t *stripe = stele_live_stripe(&store->live, stele_block_of(layout, index));
    uint64_t before = stele_load_acquire(stripe);
    uint64_t count = stele_load_acquire(&store->live.words->count.word);
    if (before & 1)
        return STELE_END;
    if (!stele_reader_is_current(store, reading))
        return STELE_END;
    if (index >= count || record_count > count - index || count > store->index_limit)
        return out_of_range(store, index + record_count - 1, count);
    int rc = copy_bytes(store, stretch, stele_record_offset(layout, index), out,
                        (size_t)(record_count * layout->record_bytes));
    if (rc)
        return rc;
    stele_fence_acquire();
    if (stele_load(stripe) != before)
        return STELE_END;
    return store->proof ? stele_proof_check(store, reading, stele_block_of(layout, index), before, count) : STELE_OK;
}

/* One look while nobody writes, at one record; STELE_END if somebody began to. */
static inline int look_detached(struct stele *store, const struct stele_reading *reading, struct stretch *stretch,
                                uint64_t index, void *out)
{
    if (!stele_reader_is_current(store, reading))
        return STELE_END;
    if (index >= reading->overlay.count)
        return out_of_range(store, index, reading->overlay.count);
    uint64_t place;
    bool is_in_ring = reading->overlay.records.count && stele_runs_find(&reading->overlay.records, index, &place);
    const size_t byte_count = (size_t)store->fixed.record_bytes;
    int rc = is_in_ring ? stele_os_read(&store->file, store->fixed.journal_offset + place, out, byte_count)
                   : copy_bytes(store, stretch, stele_record_offset(&store->fixed, index), out, byte_count);
    if (!rc && store->proof)
        rc = stele_proof_check(store, reading, stele_block_of(&store->fixed, index), 0, reading->overlay.count);
    return stele_reader_is_current(store, reading) ? rc : STELE_END;
}

static inline int look(struct stele *store, const struct stele_reading *reading, struct stretch *stretch,
                       uint64_t index, uint64_t record_count, void *out)
{
    if (!reading || !reading->is_detached)
        return look_live(store, reading, stretch, index, record_count, out);
    int rc = STELE_OK;
    for (uint64_t i = 0; i < record_count && !rc; i++)
        rc = look_detached(store, reading, stretch, index + i, (uint8_t *)out + i * store->fixed.record_bytes);
    return rc;
}

/* Look again and again, within the deadlines, and in the mode of the moment. */
static int look_again(struct stele *store, struct stretch *stretch, uint64_t index, uint64_t record_count, void *out)
{
    struct wait wait = { .spins = 0 };
    for (;;) {
        const struct stele_reading *reading;
        int rc = stele_reader_current(store, &reading);
        if (!rc)
            rc = look(store, reading, stretch, index, record_count, out);
        if (rc != STELE_END)
            return rc;
        rc = wait_for_writer(store, &wait, index);
        if (rc)
            return rc;
    }
}

int stele_reader_copy(struct stele *store, uint64_t index, void *out)
{
    if (stele_settle_is_due(store) && copy_pending(store, index, out))
        return STELE_OK;
    int rc = look(store, reading_of(store), NULL, index, 1, out);
    return rc == STELE_END ? look_again(store, NULL, index, 1, out) : rc;
}

int stele_reader_copy_range(struct stele *store, uint64_t first_index, uint64_t record_count, void *out)
{
    const struct stele_layout *layout = &store->fixed;
    struct stretch stretch = { .whole_end = stele_record_offset(layout, first_index + record_count) };
    uint8_t *at = out;
    int rc = STELE_OK;
    for (uint64_t done = 0; done < record_count && !rc;) {
        /* As many as share the stripe. */
        uint64_t index = first_index + done;
        uint64_t block_end = stele_block_first(layout, stele_block_of(layout, index) + 1);
        uint64_t n = stele_settle_is_due(store) ? 1 : stele_min(block_end - index, record_count - done);
        if (n == 1 && copy_pending(store, index, at))
            goto next;
        rc = look(store, reading_of(store), &stretch, index, n, at);
        if (rc == STELE_END)
            rc = look_again(store, &stretch, index, n, at);
next:
        done += n;
        at += n * layout->record_bytes;
    }
    stele_window_unpin(&stretch.pin);
    return rc;
}
