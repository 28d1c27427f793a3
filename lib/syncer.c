#include "syncer.h"

#include "error.h"
#include "settle.h"
#include "turn.h"

static int settle(struct stele *store)
{
    int rc = stele_turn_take(store);
    if (!rc)
        stele_turn_give(store);
    return rc;
}

static void run(void *context)
{
    struct stele *store = context;
    stele_os_mutex_lock(&store->mutex);
    while (!store->is_closing) {
        if (!stele_settle_is_due(store)) {
            (void)stele_os_condition_wait(&store->syncer_wanted, &store->mutex, UINT64_MAX);
            continue;
        }
        uint64_t due_us = stele_os_clock_us() + (uint64_t)store->sync_interval_ms * 1000;
        while (!store->is_closing && stele_os_clock_us() < due_us)
            (void)stele_os_condition_wait(&store->syncer_wanted, &store->mutex, due_us);
        if (store->is_closing)
            break;
        stele_os_mutex_unlock(&store->mutex);
        int rc = settle(store);
        /* A turn that is not to be had is tried again; of a failed sync every later call says what became of it. */
        if (rc && rc != STELE_E_BUSY)
            stele_log(STELE_LOG_ERROR, "%s", stele_last_error()->text);
        stele_os_mutex_lock(&store->mutex);
    }
    stele_os_mutex_unlock(&store->mutex);
}

int stele_syncer_start(struct stele *store)
{
    if (store->has_no_threads || store->has_syncer)
        return STELE_OK;
    int rc = stele_os_thread_start(&store->syncer, run, store);
    store->has_syncer = !rc;
    return rc;
}

void stele_syncer_wake(struct stele *store)
{
    if (!store->has_syncer)
        return;
    stele_os_mutex_lock(&store->mutex);
    stele_os_condition_broadcast(&store->syncer_wanted);
    stele_os_mutex_unlock(&store->mutex);
}

void stele_syncer_stop(struct stele *store)
{
    if (!store->has_syncer)
        return;
    stele_os_mutex_lock(&store->mutex);
    store->is_closing = true;
    stele_os_condition_broadcast(&store->syncer_wanted);
    stele_os_mutex_unlock(&store->mutex);
    stele_os_thread_join(&store->syncer);
    store->has_syncer = false;
}

int stele_syncer_tick(struct stele *store)
{
    stele_os_mutex_lock(&store->group.runs);
    bool is_due = stele_pending_is_any(&store->group.open) &&
                  stele_os_clock_us() - store->group.open.began_us >= (uint64_t)store->sync_interval_ms * 1000;
    stele_os_mutex_unlock(&store->group.runs);
    return is_due ? settle(store) : STELE_OK;
}
