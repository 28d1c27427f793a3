#include "live.h"

#include "error.h"
#include "guard.h"
#include "window.h"

#include <stdlib.h>

int stele_live_map(const struct stele_os_file *file, const struct stele_layout *layout, bool is_writable,
                   struct stele_live_map *out)
{
    struct stele_os_stat stat;
    int rc = stele_os_stat(file, &stat);
    if (rc)
        return rc;
    if (stat.bytes < layout->live_offset + layout->live_bytes)
        return stele_fail(STELE_E_TRUNCATED, "the file ends at byte %" PRIu64 ", inside its live region", stat.bytes);
    struct stele_live_map live = { .map_bytes = (size_t)layout->live_bytes, .fork_count = stele_os_fork_count() };
    rc = stele_window_map_words(file, layout->live_offset, live.map_bytes, is_writable, &live.base);
    if (rc)
        return rc;
    rc = stele_guard_watch(live.base, live.map_bytes, is_writable, &live.is_cut);
    /* A copied file may have a hole here: a full disk must be a code now, not a fault later. */
    if (!rc && is_writable)
        rc = stele_os_allocate(file, layout->live_offset, layout->live_bytes);
    if (!rc && is_writable)
        rc = stele_os_populate(live.base, live.map_bytes);
    if (rc) {
        stele_live_done(&live);
        return rc;
    }
    live.words = live.base;
    live.stripes = (void *)((uint8_t *)live.base + STELE_LIVE_STRIPES_OFFSET);
    *out = live;
    return STELE_OK;
}

void stele_live_done(struct stele_live_map *live)
{
    if (live->is_cut)
        stele_guard_unwatch(live->is_cut);
    if (live->base && live->fork_count == stele_os_fork_count())
        stele_window_unmap_words(live->base, live->map_bytes);
    free(live->copy);
    memset(live, 0, sizeof(*live));
}

int stele_live_leave(struct stele_live_map *live)
{
    struct stele_live_map away = { .map_bytes = live->map_bytes, .fork_count = live->fork_count };
    away.copy = malloc(live->map_bytes);
    if (!away.copy)
        return stele_fail(STELE_E_NOMEM, "out of memory to leave the file's live region");
    memcpy(away.copy, live->base, live->map_bytes);
    away.words = away.copy;
    away.stripes = (void *)((uint8_t *)away.copy + STELE_LIVE_STRIPES_OFFSET);
    stele_live_done(live);
    *live = away;
    return STELE_OK;
}

int stele_live_return(struct stele_live_map *live, const struct stele_os_file *file, const struct stele_layout *layout,
                      bool is_writable)
{
    struct stele_live_map back;
    int rc = stele_live_map(file, layout, is_writable, &back);
    if (rc)
        return rc;
    stele_live_done(live);
    *live = back;
    return STELE_OK;
}

int stele_live_check(const struct stele_live_map *live)
{
    uint64_t version = stele_load(&live->words->live_layout_version);
    if (stele_load(&live->words->magic) != STELE_LIVE_MAGIC || version != STELE_LIVE_LAYOUT_VERSION)
        return stele_fail(STELE_E_VERSION, "another version of stele has the file open (live layout %" PRIu64
                          ", ours is %" PRIu64 "): close it first", version, STELE_LIVE_LAYOUT_VERSION);
    return STELE_OK;
}

int stele_live_claim(struct stele_live_map *live, uint64_t *out_session)
{
    uint64_t session;
    int rc = stele_os_random(&session, sizeof(session));
    if (rc)
        return rc;
    stele_store(&live->words->session.word, session);
    stele_store(&live->words->state.word, STELE_STATE_RECOVERING);
    /* Readers of the old session must find it changed before they find anything else changed. */
    stele_fence_release();
    *out_session = session;
    return STELE_OK;
}

void stele_live_publish(struct stele_live_map *live, const struct stele_live_state *state)
{
    struct stele_live *words = live->words;
    stele_store(&words->live_layout_version, STELE_LIVE_LAYOUT_VERSION);
    stele_store(&words->magic, STELE_LIVE_MAGIC);
    stele_store(&words->logged.word, state->sequence);
    stele_store(&words->synced.word, state->sequence);
    stele_store(&words->applied.word, state->sequence);
    stele_store(&words->chain.word, state->chain);
    stele_store(&words->ring_head.word, state->ring_head);
    stele_store(&words->ring_tail.word, state->ring_tail);
    stele_store(&words->count_high.word, state->count);
    stele_store(&words->layout_version.word, state->layout_version);
    /* Count last: who sees the record must see its bytes. */
    stele_store_release(&words->count.word, state->count);
    stele_store_release(&words->version.word, state->sequence);
}

void stele_live_settle_stripes(struct stele_live_map *live, uint64_t version)
{
    for (size_t i = 0; i < STELE_STRIPE_COUNT; i++) {
        uint64_t stripe = stele_load(&live->stripes[i]);
        if ((stripe & 1) || stripe >> 1 > version)
            stele_store_release(&live->stripes[i], version << 1);
    }
}

void stele_live_set_state(struct stele_live_map *live, uint64_t state)
{
    stele_store_release(&live->words->state.word, state);
}

void stele_stripes_add_range(struct stele_stripe_set *set, uint64_t first_block, uint64_t block_count)
{
    if (block_count >= STELE_STRIPE_COUNT) {
        memset(set, 0xff, sizeof(*set));
        return;
    }
    for (uint64_t i = 0; i < block_count; i++)
        stele_stripes_add(set, first_block + i);
}

void stele_stripes_hold(struct stele_live_map *live, const struct stele_stripe_set *set)
{
    for (size_t i = 0; i < STELE_STRIPE_COUNT / 64; i++) {
        for (uint64_t bits = set->bits[i]; bits; bits &= bits - 1) {
            uint64_t *stripe = &live->stripes[i * 64 + (size_t)__builtin_ctzll(bits)];
            stele_store(stripe, stele_load(stripe) | 1);
        }
    }
    stele_fence_release();
}

void stele_stripes_release(struct stele_live_map *live, const struct stele_stripe_set *set, uint64_t version)
{
    for (size_t i = 0; i < STELE_STRIPE_COUNT / 64; i++) {
        for (uint64_t bits = set->bits[i]; bits; bits &= bits - 1)
            stele_store_release(&live->stripes[i * 64 + (size_t)__builtin_ctzll(bits)], version << 1);
    }
}
