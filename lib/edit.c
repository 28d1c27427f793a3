/* Edits: records changed in place, in a map that is this process's own, and committed where they differ. */
#include "error.h"
#include "guard.h"
#include "reader.h"
#include "settle.h"
#include "turn.h"
#include "txn.h"

#include <stdlib.h>

struct stele_edit {
    struct stele *store;
    uint64_t first_index, record_count;
    uint64_t first_block, block_count;
    unsigned flags;
    bool has_turn; /* STELE_EDIT_LOCK: from open on */
    uint64_t version; /* the newest commit as of which what was not edited is known to be */
    uint8_t *records;
    void *map;
    size_t map_bytes;
    uint8_t *own, *now; /* a block each, while it is committed */
    uint8_t *differing; /* a bit for each block, ditto */
    bool has_user;
    uint64_t user_version;
    uint8_t user[STELE_USER_BYTES];
};

/* ---- open, discard ---- */

static int map_records(struct stele_edit *edit)
{
    struct stele *store = edit->store;
    uint64_t bytes;
    if (!stele_mul_fits(edit->record_count, store->fixed.record_bytes, &bytes) || bytes > SIZE_MAX)
        return stele_fail(STELE_E_FULL, "%s: an edit of %" PRIu64 " records does not fit the address space; edit in "
                          "pieces", store->path, edit->record_count);
    int rc = stele_window_map_private(&store->windows, stele_record_offset(&store->fixed, edit->first_index), bytes,
                                      &edit->records, &edit->map, &edit->map_bytes);
    return rc ? stele_fail_prefix(store->path) : STELE_OK;
}

/* Under the turn: no stripe is odd, and none is above the version. */
static int begin(struct stele_edit *edit)
{
    const struct stele_layout *layout = &edit->store->fixed;
    edit->version = stele_load(&edit->store->live.words->version.word);
    int rc = stele_reader_check_range(edit->store, NULL, edit->first_index, edit->record_count);
    if (rc || edit->record_count == 0)
        return rc;
    edit->first_block = stele_block_of(layout, edit->first_index);
    edit->block_count = stele_block_of(layout, edit->first_index + edit->record_count - 1) - edit->first_block + 1;
    return map_records(edit);
}

int stele_edit_open(struct stele *store, uint64_t first_index, uint64_t record_count, unsigned flags,
                    struct stele_edit **out)
{
    if (!store || !out || (flags & ~(unsigned)(STELE_EDIT_ATOMIC | STELE_EDIT_LOCK)))
        return stele_fail(STELE_E_USAGE, "stele_edit_open: store and out must not be NULL; flags are STELE_EDIT_ATOMIC "
                          "and STELE_EDIT_LOCK");
    struct stele_edit *edit = calloc(1, sizeof(*edit));
    if (!edit)
        return stele_fail(STELE_E_NOMEM, "out of memory for an edit");
    *edit = (struct stele_edit){ .store = store, .first_index = first_index, .record_count = record_count,
                                 .flags = flags };
    int rc = stele_turn_take(store);
    if (rc) {
        free(edit);
        return rc;
    }
    rc = begin(edit);
    edit->has_turn = !rc && (flags & STELE_EDIT_LOCK);
    if (!rc)
        __atomic_fetch_add(&store->open_count, 1, __ATOMIC_RELAXED);
    if (!edit->has_turn)
        stele_turn_give(store);
    if (rc) {
        free(edit);
        return rc;
    }
    *out = edit;
    return STELE_OK;
}

static bool is_ours(const struct stele_edit *edit)
{
    return edit->store->fork_count == stele_os_fork_count();
}

void *stele_edit_records(struct stele_edit *edit)
{
    /* A child does not inherit the map: the address may be another's there. */
    return edit && is_ours(edit) ? edit->records : NULL;
}

void stele_edit_discard(struct stele_edit *edit)
{
    if (!edit)
        return;
    struct stele *store = edit->store;
    bool gives_turn = edit->has_turn && is_ours(edit);
    if (edit->map && is_ours(edit))
        stele_window_unmap_alone(&store->windows, edit->map, edit->map_bytes);
    free(edit);
    /* Before the turn is given: who closes the store may be waiting for it. */
    __atomic_fetch_sub(&store->open_count, 1, __ATOMIC_RELEASE);
    if (gives_turn)
        stele_turn_give(store);
}

int stele_edit_user(struct stele_edit *edit, uint64_t version, const void *bytes64)
{
    if (!edit || !bytes64)
        return stele_fail(STELE_E_USAGE, "stele_edit_user: edit and bytes64 must not be NULL");
    int rc = stele_handle_check(edit->store);
    if (rc)
        return rc;
    edit->has_user = true;
    edit->user_version = version;
    memcpy(edit->user, bytes64, STELE_USER_BYTES);
    return STELE_OK;
}

/* ---- what differs ---- */

/* Records of one block that are in the edit: edit->own has them as edited, edit->now as they are, without padding. */
struct stretch {
    uint64_t first;
    size_t count;
    bool differs;
};

static int load(struct stele_edit *edit, uint64_t block, struct stretch *out)
{
    struct stele *store = edit->store;
    const struct stele_layout *layout = &store->fixed;
    const uint64_t first = stele_max(stele_block_first(layout, block), edit->first_index);
    const uint64_t end = stele_min(stele_block_first(layout, block + 1), edit->first_index + edit->record_count);
    const uint64_t offset = stele_record_offset(layout, first);
    const size_t bytes = (size_t)((end - first) * layout->record_bytes);
    const uint8_t *own = edit->records + (size_t)((first - edit->first_index) * layout->record_bytes);
    *out = (struct stretch){ .first = first, .count = (size_t)(end - first) };
    /* A copy: what is compared, hashed and logged must be the same bytes, whatever other threads store meanwhile. */
    if (!stele_guard_copy(edit->own, own, bytes))
        return stele_handle_fault(store, offset, bytes);
    int rc = stele_handle_copy(store, offset, edit->now, bytes);
    if (rc || memcmp(edit->own, edit->now, bytes) == 0)
        return rc;
    stele_schema_clear_padding(store->schema, edit->own, out->count);
    stele_schema_clear_padding(store->schema, edit->now, out->count);
    out->differs = memcmp(edit->own, edit->now, bytes) != 0;
    return STELE_OK;
}

static const uint8_t *edited(const struct stele_edit *edit, size_t at)
{
    const size_t record_bytes = (size_t)edit->store->fixed.record_bytes;
    const uint8_t *own = edit->own + at * record_bytes;
    return memcmp(own, edit->now + at * record_bytes, record_bytes) ? own : NULL;
}

/*
 * What differs is an edit only if nobody committed to the block since: a page of the map is what the file was when it
 * was first stored to, which may be older than another's commit, or half of one that was being stored.
 */
static int check_conflict(const struct stele_edit *edit, uint64_t block, const struct stretch *stretch)
{
    struct stele *store = edit->store;
    uint64_t stripe = stele_load(stele_live_stripe(&store->live, block));
    if (!(stripe & 1) && stripe >> 1 <= edit->version)
        return STELE_OK;
    return stele_fail(STELE_E_CONFLICT, "%s: records %" PRIu64 " to %" PRIu64 " are edited and another commit touched "
                      "their block since the edit was opened; nothing was changed: discard it, open another one and "
                      "edit anew", store->path, stretch->first, stretch->first + stretch->count - 1);
}

/* ---- how long an entry is that holds some records ---- */

struct size {
    uint64_t bytes;
    uint64_t next_index, run_bytes; /* of the run of neighbours that ends before next_index */
    uint64_t last_block;
};

static struct size size_of_none(const struct stele_edit *edit)
{
    uint64_t bytes = sizeof(struct stele_entry_head) + STELE_ENTRY_TRAILER_BYTES + stele_item_bytes(0);
    return (struct size){ .bytes = bytes + (edit->has_user ? stele_item_bytes(STELE_USER_BYTES) : 0),
                          .next_index = UINT64_MAX, .last_block = UINT64_MAX - 1 };
}

static void size_add(const struct stele_layout *layout, struct size *size, uint64_t index)
{
    uint64_t block = stele_block_of(layout, index);
    if (index != size->next_index)
        size->run_bytes = 0;
    else
        size->bytes -= stele_item_bytes(size->run_bytes);
    size->run_bytes += layout->record_bytes;
    size->bytes += stele_item_bytes(size->run_bytes);
    if (block != size->last_block)
        size->bytes += block == size->last_block + 1 ? 8 : stele_item_bytes(8);
    size->next_index = index + 1;
    size->last_block = block;
}

/* ---- commit: under the turn ---- */

/* Find the blocks that differ, none of which anybody else may have touched; nothing is changed. */
static int find(struct stele_edit *edit)
{
    struct stele *store = edit->store;
    const struct stele_layout *layout = &store->fixed;
    struct size size = size_of_none(edit);
    for (uint64_t at = 0; at < edit->block_count; at++) {
        struct stretch stretch;
        int rc = load(edit, edit->first_block + at, &stretch);
        if (!rc && stretch.differs)
            rc = check_conflict(edit, edit->first_block + at, &stretch);
        if (rc)
            return rc;
        if (!stretch.differs)
            continue;
        edit->differing[at / 8] |= (uint8_t)(1u << at % 8);
        for (size_t i = 0; i < stretch.count; i++) {
            if (edited(edit, i))
                size_add(layout, &size, stretch.first + i);
        }
    }
    return edit->flags & STELE_EDIT_ATOMIC ? stele_commit_check_size(store, size.bytes) : STELE_OK;
}

/* What goes into one entry. */
struct piece {
    struct stele_txn *txn;
    uint64_t count;
    struct size size;
    enum stele_durability durability;
    uint64_t done_count; /* records of pieces that are committed */
};

static int begin_piece(struct stele_edit *edit, struct piece *piece)
{
    piece->count = 0;
    piece->size = size_of_none(edit);
    return stele_txn_begin_in_turn(edit->store, &piece->txn);
}

static int commit_piece(struct stele_edit *edit, struct piece *piece)
{
    uint64_t sequence = 0;
    int rc = stele_commit(piece->txn, piece->durability, &sequence);
    piece->txn = NULL;
    if (rc)
        return rc;
    piece->done_count += piece->count;
    /* What the stripes of its blocks say, now or when it is applied, is this edit's own. */
    edit->version = stele_max(edit->version, sequence);
    return STELE_OK;
}

static int add(struct stele_edit *edit, struct piece *piece, uint64_t index, const uint8_t *record)
{
    const struct stele_layout *layout = &edit->store->fixed;
    struct size size = piece->size;
    int rc = STELE_OK;
    size_add(layout, &size, index);
    if (!(edit->flags & STELE_EDIT_ATOMIC) && piece->count && size.bytes > layout->journal_bytes / 2) {
        rc = commit_piece(edit, piece);
        if (!rc)
            rc = begin_piece(edit, piece);
        size = piece->size;
        size_add(layout, &size, index);
    }
    if (!rc)
        rc = stele_txn_set(piece->txn, index, record);
    if (!rc) {
        piece->size = size;
        piece->count++;
    }
    return rc;
}

static int commit_differing(struct stele_edit *edit, struct piece *piece)
{
    int rc = begin_piece(edit, piece);
    for (uint64_t at = 0; at < edit->block_count && !rc; at++) {
        struct stretch stretch;
        if (!(edit->differing[at / 8] >> at % 8 & 1))
            continue;
        rc = load(edit, edit->first_block + at, &stretch);
        for (size_t i = 0; i < stretch.count && stretch.differs && !rc; i++) {
            const uint8_t *record = edited(edit, i);
            rc = record ? add(edit, piece, stretch.first + i, record) : STELE_OK;
        }
    }
    if (!rc && edit->has_user)
        rc = stele_txn_user(piece->txn, edit->user_version, edit->user);
    if (!rc)
        rc = commit_piece(edit, piece);
    stele_abort(piece->txn);
    return rc;
}

static int commit(struct stele_edit *edit, struct piece *piece)
{
    struct stele *store = edit->store;
    const size_t block_bytes = (size_t)stele_handle_overlap(&store->fixed);
    int rc = stele_handle_is_poisoned(store)
                 ? stele_fail(STELE_E_POISONED, "%s: a sync failed under this handle; close it and open the store "
                              "again", store->path)
                 : stele_reader_check_range(store, NULL, edit->first_index, edit->record_count);
    /* Pieces of an earlier try: what is compared is what is in place. */
    if (!rc)
        rc = stele_settle_pending(store);
    if (rc)
        return rc;
    edit->own = malloc(block_bytes);
    edit->now = malloc(block_bytes);
    edit->differing = calloc(1, (size_t)(edit->block_count / 8 + 1));
    if (!edit->own || !edit->now || !edit->differing)
        rc = stele_fail(STELE_E_NOMEM, "out of memory to commit an edit");
    if (!rc)
        rc = find(edit);
    if (!rc) {
        /* What is not edited is as it was when the edit was opened, so it is also as of now. */
        edit->version = stele_load(&store->live.words->version.word);
        rc = commit_differing(edit, piece);
    }
    free(edit->own);
    free(edit->now);
    free(edit->differing);
    edit->own = edit->now = edit->differing = NULL;
    return rc;
}

int stele_edit_commit(struct stele_edit *edit, enum stele_durability durability, uint64_t *out_committed_count)
{
    if (!edit)
        return stele_fail(STELE_E_USAGE, "stele_edit_commit: edit must not be NULL");
    struct piece piece = { .durability = durability };
    int rc = stele_handle_check(edit->store);
    if (rc)
        return rc;
    if (!edit->has_turn)
        rc = stele_turn_take(edit->store);
    if (!rc) {
        rc = commit(edit, &piece);
        /* What is in doubt the next turn makes whole, so this one ends, whatever the flags say. */
        if (rc == STELE_E_UNKNOWN)
            edit->has_turn = false;
        if (!edit->has_turn)
            stele_turn_give(edit->store);
    }
    if (out_committed_count)
        *out_committed_count = piece.done_count;
    if (!rc)
        stele_edit_discard(edit);
    return rc;
}
