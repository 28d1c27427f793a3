#include "commit.h"

#include "apply.h"
#include "block.h"
#include "checkpoint.h"
#include "error.h"
#include "settle.h"

#include <stdlib.h>

/* ---- the words ---- */

static int add_word(struct stele_commit_plan *plan, uint64_t block, uint64_t word)
{
    if (plan->word_count == plan->word_room) {
        size_t room = plan->word_room ? plan->word_room * 2 : 16;
        struct stele_word *words = realloc(plan->words, room * sizeof(*words));
        if (!words)
            return stele_fail(STELE_E_NOMEM, "out of memory for the sums of %zu blocks", room);
        plan->words = words;
        plan->word_room = room;
    }
    plan->words[plan->word_count++] = (struct stele_word){ .block = block, .word = word };
    return STELE_OK;
}

void stele_commit_plan_done(struct stele_commit_plan *plan)
{
    free(plan->words);
    plan->words = NULL;
    plan->word_count = plan->word_room = 0;
}

/* The word of @block after the commit; @staged are the *@at-th and following records that may lie in it. */
static int compute_block(struct stele *store, struct stele_commit_plan *plan, uint64_t block, size_t *at)
{
    const struct stele_layout *layout = &store->fixed;
    const uint64_t record_bytes = layout->record_bytes;
    const uint64_t first = stele_block_first(layout, block), end = first + layout->records_per_block;
    const uint64_t old_count = stele_block_records(layout, block, plan->old_count);
    const uint64_t new_count = stele_block_records(layout, block, plan->new_count);
    const uint64_t kept = stele_min(stele_min(old_count, new_count), plan->lowest > first ? plan->lowest - first : 0);
    const uint64_t in_place = stele_block_records(layout, block, stele_load(&store->live.words->count.word));
    uint64_t word;
    int rc = stele_block_load(store, block, in_place, &word);
    if (rc)
        return rc;
    stele_os_mutex_lock(&store->group.runs);
    stele_pending_lay(&store->group.closing, layout, block, store->old_block, &word);
    stele_pending_lay(&store->group.open, layout, block, store->old_block, &word);
    stele_os_mutex_unlock(&store->group.runs);
    memcpy(store->new_block, store->old_block, (size_t)(kept * record_bytes));
    memset(store->new_block + kept * record_bytes, 0, (size_t)((new_count - kept) * record_bytes));
    for (; *at < plan->record_count && plan->records[*at].index < end; (*at)++) {
        uint64_t place = plan->records[*at].index - first;
        if (place < new_count)
            memcpy(store->new_block + place * record_bytes, plan->records[*at].record, (size_t)record_bytes);
    }
    if (new_count == 0)
        return STELE_OK; /* a block above the count: its word means nothing */
    return add_word(plan, block, stele_block_word_after(store, block, word, old_count, new_count));
}

static bool is_count_moved(const struct stele_commit_plan *plan)
{
    return plan->new_count != plan->old_count || plan->lowest != plan->old_count;
}

/* Blocks that the count alone changes: the one that it cuts, or the one that it fills up. */
static uint64_t edge_block(const struct stele *store, const struct stele_commit_plan *plan)
{
    uint64_t edge = stele_min(plan->lowest, plan->new_count);
    bool is_inside = edge % store->fixed.records_per_block != 0;
    return is_count_moved(plan) && is_inside ? stele_block_of(&store->fixed, edge) : UINT64_MAX;
}

int stele_commit_compute(struct stele *store, struct stele_commit_plan *plan)
{
    uint64_t edge = edge_block(store, plan);
    int rc = stele_block_reserve(store);
    /* What is in place and what is pending must be of one moment. */
    stele_os_mutex_lock(&store->group.placing);
    for (size_t at = 0; !rc && (at < plan->record_count || edge != UINT64_MAX);) {
        uint64_t block = edge;
        if (at < plan->record_count)
            block = stele_min(edge, stele_block_of(&store->fixed, plan->records[at].index));
        if (block == edge)
            edge = UINT64_MAX;
        rc = compute_block(store, plan, block, &at);
    }
    stele_os_mutex_unlock(&store->group.placing);
    return rc;
}

/* ---- the entry ---- */

static size_t record_run(const struct stele_commit_plan *plan, size_t from)
{
    size_t n = 1;
    while (from + n < plan->record_count && plan->records[from + n].index == plan->records[from].index + n)
        n++;
    return n;
}

static size_t word_run(const struct stele_commit_plan *plan, size_t from)
{
    size_t n = 1;
    while (from + n < plan->word_count && plan->words[from + n].block == plan->words[from].block + n)
        n++;
    return n;
}

/* What the words take, in the order and the runs in which stele_commit_compute and encode will have them. */
static uint64_t words_bytes(const struct stele *store, const struct stele_commit_plan *plan)
{
    uint64_t edge = edge_block(store, plan), next = UINT64_MAX, bytes = 0;
    for (size_t at = 0; at < plan->record_count || edge != UINT64_MAX;) {
        uint64_t block = edge;
        if (at < plan->record_count)
            block = stele_min(edge, stele_block_of(&store->fixed, plan->records[at].index));
        if (block == edge)
            edge = UINT64_MAX;
        while (at < plan->record_count && stele_block_of(&store->fixed, plan->records[at].index) == block)
            at++;
        bytes += block == next ? 8 : stele_item_bytes(8);
        next = block + 1;
    }
    return bytes;
}

uint64_t stele_commit_entry_bytes(const struct stele *store, const struct stele_commit_plan *plan)
{
    uint64_t bytes = sizeof(struct stele_entry_head) + STELE_ENTRY_TRAILER_BYTES + stele_item_bytes(0);
    if (is_count_moved(plan))
        bytes += stele_item_bytes(0);
    bytes += plan->repaired_count * stele_item_bytes(8);
    if (plan->user)
        bytes += stele_item_bytes(STELE_USER_BYTES);
    if (plan->tag)
        bytes += stele_item_bytes(plan->tag_bytes);
    for (size_t i = 0, n; i < plan->record_count; i += n) {
        n = record_run(plan, i);
        bytes += stele_item_bytes(n * store->fixed.record_bytes);
    }
    return bytes + words_bytes(store, plan);
}

int stele_commit_check_size(const struct stele *store, uint64_t entry_bytes)
{
    uint64_t padded_bytes = stele_round_up(entry_bytes, STELE_PAGE_BYTES);
    if (padded_bytes <= stele_ring_entry_bytes_max(store->fixed.journal_bytes))
        return STELE_OK;
    uint64_t ring_bytes = padded_bytes + STELE_PAGE_BYTES;
    if (ring_bytes > STELE_JOURNAL_BYTES_MAX)
        return stele_fail(STELE_E_TOO_BIG, "%s: a transaction of %" PRIu64 " journal bytes; the largest journal takes %"
                          PRIu64 ": commit in smaller pieces", store->path, entry_bytes,
                          STELE_JOURNAL_BYTES_MAX - STELE_PAGE_BYTES);
    return stele_fail(STELE_E_TOO_BIG, "%s: the transaction needs a journal of %" PRIu64 " bytes, this one has %" PRIu64
                      ": stele resize %s --journal %" PRIu64 ", or commit in smaller pieces", store->path, ring_bytes,
                      store->fixed.journal_bytes, store->path, ring_bytes);
}

static int encode_count_and_records(struct stele *store, const struct stele_commit_plan *plan)
{
    const uint64_t record_bytes = store->fixed.record_bytes;
    struct stele_entry *run = &store->group.open.run;
    uint8_t *payload;
    int rc = stele_entry_follow(run);
    if (!rc && is_count_moved(plan))
        rc = stele_entry_add(run, STELE_ITEM_COUNT, 0, plan->lowest, plan->new_count, 0, &payload);
    for (size_t i = 0, n; i < plan->record_count && !rc; i += n) {
        n = record_run(plan, i);
        rc = stele_entry_add(run, STELE_ITEM_RECORDS, STELE_REGION_RECORDS, plan->records[i].index, n,
                             (size_t)(n * record_bytes), &payload);
        for (size_t k = 0; k < n && !rc; k++)
            memcpy(payload + k * record_bytes, plan->records[i + k].record, (size_t)record_bytes);
    }
    return rc;
}

static int encode(struct stele *store, const struct stele_commit_plan *plan, uint64_t now_us)
{
    struct stele_entry *run = &store->group.open.run;
    uint8_t *payload;
    int rc = encode_count_and_records(store, plan);
    for (size_t i = 0, n; i < plan->word_count && !rc; i += n) {
        n = word_run(plan, i);
        rc = stele_entry_add(run, STELE_ITEM_SUMS, STELE_REGION_SUMS, plan->words[i].block, n, n * 8,
                             &payload);
        for (size_t k = 0; k < n && !rc; k++)
            memcpy(payload + k * 8, &plan->words[i + k].word, 8);
    }
    for (size_t i = 0; i < plan->repaired_count && !rc; i++) {
        rc = stele_entry_add(run, STELE_ITEM_REPAIR, STELE_REGION_SUMS, plan->repaired[i].block, 1, 8,
                             &payload);
        if (!rc)
            memcpy(payload, &plan->repaired[i].word, 8);
    }
    if (!rc && plan->user) {
        rc = stele_entry_add(run, STELE_ITEM_USER, 0, plan->user_version, 0, STELE_USER_BYTES, &payload);
        if (!rc)
            memcpy(payload, plan->user, STELE_USER_BYTES);
    }
    if (!rc && plan->tag) {
        rc = stele_entry_add(run, STELE_ITEM_TAG, 0, 0, 0, plan->tag_bytes, &payload);
        if (!rc)
            memcpy(payload, plan->tag, plan->tag_bytes);
    }
    if (!rc)
        rc = stele_entry_add(run, STELE_ITEM_TIME, 0, now_us, 0, 0, &payload);
    return rc;
}

/* ---- the steps ---- */

static int allocate(struct stele *store, const struct stele_commit_plan *plan)
{
    int rc = STELE_OK;
    for (size_t i = 0, n; i < plan->record_count && !rc; i += n) {
        n = record_run(plan, i);
        rc = stele_apply_prepare_records(store, plan->records[i].index, n);
    }
    for (size_t i = 0; i < plan->word_count && !rc; i++)
        rc = stele_apply_prepare_word(store, plan->words[i].block);
    return rc;
}

static void remember(struct stele *store, const struct stele_commit_plan *plan, uint64_t now_us)
{
    store->modified_us = now_us;
    stele_store(&store->live.words->last_commit_us, now_us);
    if (plan->user) {
        store->has_user = true;
        store->user_version = plan->user_version;
        memcpy(store->user, plan->user, STELE_USER_BYTES);
    }
    if (plan->tag) {
        store->has_tag = true;
        store->tag_bytes = (uint32_t)plan->tag_bytes;
        memset(store->tag, 0, sizeof(store->tag));
        memcpy(store->tag, plan->tag, plan->tag_bytes);
    }
}

/* Whether an entry of @entry_bytes has room behind the open run, or for a run of its own; group.runs is locked. */
static int has_place(struct stele *store, uint64_t entry_bytes, bool *out_has)
{
    struct stele_group *group = &store->group;
    struct stele_pending *open = &group->open;
    struct stele_ring ring;
    int rc = stele_handle_ring(store, &ring);
    if (rc)
        return rc;
    ring.tail = group->tail;
    if (stele_pending_is_any(open)) {
        *out_has = open->run.used_bytes + entry_bytes <= stele_min(STELE_RUN_BYTES_MAX, ring.bytes / 2) &&
                   stele_ring_follows(&ring, entry_bytes);
        return STELE_OK;
    }
    *out_has = stele_ring_place(&ring, stele_round_up(entry_bytes, STELE_PAGE_BYTES), &open->place);
    return STELE_OK;
}

/* Make room: settle what is pending; where nothing is, empty the ring. */
static int make_place(struct stele *store, uint64_t entry_bytes)
{
    if (!stele_settle_is_due(store))
        return stele_checkpoint_make(store, stele_round_up(entry_bytes, STELE_PAGE_BYTES), false);
    return stele_settle_before(store);
}

/* Seal the entry of @plan behind the open run and add its images; group.runs is locked. */
static int add_entry(struct stele *store, const struct stele_commit_plan *plan, uint64_t now_us)
{
    struct stele_group *group = &store->group;
    struct stele_pending *open = &group->open;
    struct stele_entry_identity identity = {
        .sequence = group->logged + 1,
        .session = store->session,
        .chain = group->chain,
        .synced_seq = stele_load(&store->live.words->synced.word),
        .writer = store->writer_id,
    };
    uint64_t trailer;
    size_t padded_bytes;
    int rc = encode(store, plan, now_us);
    if (!rc)
        rc = stele_entry_seal(&open->run, &identity, &trailer, &padded_bytes);
    if (!rc)
        rc = stele_pending_reserve(open, plan->record_count, plan->word_count);
    if (!rc)
        rc = stele_pending_add(open, &store->fixed);
    if (rc) {
        stele_entry_drop(&open->run);
        return rc;
    }
    if (open->entry_count == 0) {
        open->session = store->session;
        open->first_sequence = identity.sequence;
        open->chain_before = group->chain;
        open->began_us = stele_os_clock_us();
    }
    open->last_sequence = identity.sequence;
    open->chain = trailer;
    open->count = plan->new_count;
    group->logged = identity.sequence;
    group->chain = trailer;
    group->tail = open->place + open->run.used_bytes;
    open->entry_count++;
    stele_settle_tell(group);
    return STELE_OK;
}

int stele_commit_add(struct stele *store, const struct stele_commit_plan *plan, enum stele_durability durability,
                     uint64_t *out_sequence)
{
    const bool is_async = durability == STELE_ASYNC;
    struct stele_group *group = &store->group;
    uint64_t now_us = stele_os_now_us(), entry_bytes = stele_commit_entry_bytes(store, plan);
    bool has = false;
    int rc = stele_commit_check_size(store, entry_bytes);
    if (!rc) {
        stele_os_mutex_lock(&group->placing);
        rc = allocate(store, plan);
        stele_os_mutex_unlock(&group->placing);
    }
    /* Settled, then emptied: there is room at the latest then. */
    for (unsigned tries = 0; !rc && !has; tries++) {
        stele_settle_lock(store, is_async);
        rc = stele_handle_is_poisoned(store)
                 ? stele_fail(STELE_E_CONFLICT, "%s: a sync failed under this handle; nothing of this commit is in the "
                              "store; close the handle and open the store again", store->path)
                 : has_place(store, entry_bytes, &has);
        if (!rc && has)
            break; /* locked */
        stele_os_mutex_unlock(&group->runs);
        if (!rc && tries == 2)
            rc = stele_fail(STELE_E_TOO_BIG, "%s: no room in an empty journal for %" PRIu64 " bytes", store->path,
                            entry_bytes);
        if (!rc)
            rc = make_place(store, entry_bytes);
    }
    if (rc)
        return rc;
    rc = add_entry(store, plan, now_us);
    *out_sequence = group->logged;
    if (!rc && is_async)
        rc = stele_settle_later(store);
    stele_os_mutex_unlock(&group->runs);
    if (!rc)
        remember(store, plan, now_us);
    return rc;
}

int stele_commit_write(struct stele *store, const struct stele_commit_plan *plan, uint64_t *out_sequence)
{
    uint64_t sequence = 0;
    int rc = stele_commit_add(store, plan, STELE_DURABLE, &sequence);
    if (rc)
        return rc;
    stele_settle_join(store);
    rc = stele_settle_wait(store, sequence);
    if (out_sequence && (!rc || rc == STELE_E_UNKNOWN))
        *out_sequence = sequence;
    return rc;
}
