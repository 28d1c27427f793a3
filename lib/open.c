#include "open.h"

#include "error.h"
#include "guard.h"
#include "hash.h"
#include "proof.h"
#include "reader.h"
#include "recover.h"
#include "turn.h"

#include <stdlib.h>

#define REPLACED_TRIES 5u
#define BUDGET_DEFAULT_32_BIT (UINT64_C(512) << 20)

/* ---- the handle ---- */

void stele_handle_free(struct stele *store)
{
    if (!store)
        return;
    stele_reader_detach(store);
    stele_windows_done(&store->windows);
    stele_window_stores_done(&store->stores);
    stele_live_done(&store->live);
    stele_os_close(&store->file);
    /* In a child of fork a thread of the parent may hold the one or wait for the other for ever. */
    if (store->fork_count == stele_os_fork_count()) {
        stele_os_condition_done(&store->turn_over);
        stele_os_condition_done(&store->syncer_wanted);
        stele_os_condition_done(&store->group.moved);
        stele_os_mutex_done(&store->mutex);
        stele_os_mutex_done(&store->group.placing);
        stele_os_mutex_done(&store->group.runs);
    }
    stele_pending_done(&store->group.open);
    stele_pending_done(&store->group.closing);
    stele_proof_free(store->proof);
    stele_lookup_done(&store->checked);
    stele_schema_free(store->schema);
    free(store->old_block);
    free(store->new_block);
    free(store->path);
    free(store);
}

/* Windows over records and sums, within what the caller lets be mapped; one part of four is for storing. */
static int make_windows(struct stele *store, uint64_t budget_bytes)
{
    struct stele_os_stat stat;
    int rc = stele_os_stat(&store->file, &stat);
    if (rc)
        return rc;
    struct stele_window_plan plan = { .first_offset = store->fixed.records_offset, .file_bytes = stat.bytes,
                                      .overlap_bytes = stele_handle_overlap(&store->fixed) };
    uint64_t least = stele_window_budget_least(plan.file_bytes, plan.overlap_bytes);
    if (budget_bytes == 0 && SIZE_MAX == UINT32_MAX)
        budget_bytes = stele_max(BUDGET_DEFAULT_32_BIT, least);
    if (budget_bytes && budget_bytes < least)
        return stele_fail(STELE_E_RANGE, "%s: max_mapped_bytes of %" PRIu64 " is too little for this store: at least %"
                          PRIu64, store->path, budget_bytes, least);
    uint64_t for_stores = store->is_writable && stele_window_needs_views() ? budget_bytes / 4 : 0;
    plan.budget_bytes = for_stores;
    if (store->is_writable)
        rc = stele_window_stores_init(&store->stores, &store->file, &plan);
    plan.budget_bytes = budget_bytes - for_stores;
    return rc ? rc : stele_windows_init(&store->windows, &store->file, &plan);
}

int stele_handle_new(const char *path, const struct stele_options *options, struct stele_os_file *file,
                     const struct stele_superblock *superblock, struct stele_schema *schema, struct stele **out)
{
    struct stele *store = calloc(1, sizeof(*store));
    char *own_path = store ? strdup(path) : NULL;
    if (!own_path) {
        free(store);
        return stele_fail(STELE_E_NOMEM, "out of memory to open %s", path);
    }
    store->path = own_path;
    store->fork_count = stele_os_fork_count();
    store->lock_wait_ms = options->lock_wait_ms;
    store->read_wait_ms = options->read_wait_ms;
    store->sync_interval_ms = options->sync_interval_ms;
    store->has_no_threads = options->flags & STELE_NO_THREADS;
    store->progress = options->progress;
    store->progress_context = options->progress_context;
    store->is_writable = options->mode == STELE_READ_WRITE;
    store->superblock = *superblock;
    store->fixed = superblock->layout;
    store->index_limit = stele_min(STELE_CAPACITY_MAX, STELE_FILE_BYTES_MAX / store->fixed.record_bytes);
    store->opened_damage = superblock->damage;
    store->recovered.first_damaged_block = UINT64_MAX;
    int rc = stele_os_mutex_init(&store->mutex);
    if (!rc)
        rc = stele_os_condition_init(&store->turn_over);
    if (!rc)
        rc = stele_os_condition_init(&store->syncer_wanted);
    if (!rc)
        rc = stele_os_condition_init(&store->group.moved);
    if (!rc)
        rc = stele_os_mutex_init(&store->group.placing);
    if (!rc)
        rc = stele_os_mutex_init(&store->group.runs);
    if (!rc)
        rc = stele_os_random(&store->writer_id, sizeof(store->writer_id));
    if (!rc && (options->flags & STELE_VERIFY_READS))
        rc = stele_proof_new(superblock, &store->proof);
    if (!rc)
        rc = stele_guard_install();
    if (!rc) {
        store->file = *file;
        rc = make_windows(store, options->max_mapped_bytes);
    }
    if (!rc)
        rc = stele_live_map(&store->file, &store->fixed, store->is_writable, &store->live);
    if (rc) {
        memset(&store->file, 0, sizeof(store->file)); /* the caller's still */
        stele_handle_free(store);
        return rc;
    }
    memset(file, 0, sizeof(*file));
    store->schema = schema;
    *out = store;
    return STELE_OK;
}

int stele_open_schema(const struct stele_os_file *file, const struct stele_superblock *superblock,
                      struct stele_schema **out)
{
    const struct stele_slot *slot = &superblock->slot;
    uint8_t hash[16];
    uint8_t *bytes = malloc(slot->schema_bytes);
    struct stele_schema *schema = NULL;
    int rc = bytes ? stele_os_read(file, superblock->layout.schema_offset, bytes, slot->schema_bytes)
                   : stele_fail(STELE_E_NOMEM, "out of memory for the schema");
    if (!rc) {
        stele_hash128(bytes, slot->schema_bytes, hash);
        if (memcmp(hash, slot->schema_hash, sizeof(hash)) != 0)
            rc = stele_fail(STELE_E_DAMAGED, "the schema fails its checksum; restore the first 64 KiB from a backup");
    }
    if (!rc)
        rc = stele_schema_decode(bytes, slot->schema_bytes, &schema);
    if (!rc && stele_schema_record_bytes(schema) != slot->record_bytes) {
        rc = stele_fail(STELE_E_DAMAGED, "the schema's record has %" PRIu64 " bytes, the header's %" PRIu32,
                        stele_schema_record_bytes(schema), slot->record_bytes);
        stele_schema_free(schema);
    }
    free(bytes);
    if (!rc)
        *out = schema;
    return rc;
}

/* ---- attaching for writing ---- */

/* Nobody else has it open for writing: W is held, so nobody else can be deciding the same. */
static int attach_first(struct stele *store, bool is_forced)
{
    uint64_t session;
    /* Session and state before P: a reader that finds P held must not take words of an earlier life for live. */
    int rc = stele_live_claim(&store->live, &session);
    if (!rc)
        rc = stele_os_lock_present(&store->file);
    if (rc)
        return rc;
    store->is_present = true;
    return stele_recover_make(store, is_forced, &store->recovered);
}

static int attach_next(struct stele *store, bool is_forced)
{
    int rc = stele_live_check(&store->live);
    if (!rc)
        rc = stele_os_lock_present(&store->file);
    if (rc)
        return rc;
    store->is_present = true;
    if (stele_load_acquire(&store->live.words->state.word) != STELE_STATE_IDLE)
        return stele_recover_make(store, is_forced, &store->recovered);
    store->has_foreign = true;
    return STELE_OK;
}

/* Between the first look at the file and W another may have replaced or rewritten it: STELE_E_STALE. */
static int check_still_there(struct stele *store)
{
    struct stele_os_stat stat;
    struct stele_superblock now;
    int rc = stele_os_stat(&store->file, &stat);
    if (!rc && stat.links == 0)
        rc = stele_fail(STELE_E_STALE, "%s: was replaced while it was being opened; try again", store->path);
    if (!rc)
        rc = stele_superblock_read(&store->file, &now);
    if (!rc && !stele_is_zero(now.slot.superseded_by, sizeof(now.slot.superseded_by)))
        rc = stele_fail(STELE_E_STALE, "%s: was rewritten into a new file, which this is not; open that one under "
                        "its name", store->path);
    if (!rc)
        stele_handle_set_superblock(store, &now);
    return rc;
}

static int attach_writer(struct stele *store, bool is_forced)
{
    bool is_present;
    int rc = stele_turn_wait_lock(store, stele_os_clock_us() + (uint64_t)store->lock_wait_ms * 1000);
    if (rc)
        return rc;
    struct stele_live *words = store->live.words;
    stele_store(&words->holds.word, stele_load(&words->holds.word) + 1);
    rc = check_still_there(store);
    if (!rc)
        rc = stele_os_is_present_held(&store->file, &is_present);
    if (!rc)
        rc = is_present ? attach_next(store, is_forced) : attach_first(store, is_forced);
    if (!rc) {
        stele_store(&words->writer_pid, stele_os_process_id());
        stele_store(&words->writer_started_us, stele_os_now_us());
        store->opened_entry_count = store->recovered.entry_count;
    }
    /* P before W: the next one to open must not find one present who never came to lay the live region out. */
    if (rc && store->is_present) {
        stele_os_unlock_present(&store->file);
        store->is_present = false;
    }
    stele_os_unlock_writer(&store->file);
    return rc;
}

/* ---- opening ---- */

static int check_size(const char *path, const struct stele_os_file *file, const struct stele_superblock *superblock,
                      bool is_writable)
{
    const struct stele_layout *layout = &superblock->layout;
    struct stele_os_stat stat;
    int rc = stele_os_stat(file, &stat);
    if (rc)
        return rc;
    /* What is left of a cut file can be read, but nothing may be built on it. */
    uint64_t need_bytes = is_writable ? layout->file_bytes : layout->records_offset;
    if (stat.bytes < need_bytes)
        return stele_fail(STELE_E_TRUNCATED, "%s: the file has %" PRIu64 " bytes, its header says %" PRIu64 "%s", path,
                          stat.bytes, layout->file_bytes,
                          stat.bytes >= layout->records_offset ? "; open it read-only to save what is left"
                                                                 : "; it was cut: restore it from a backup");
    return STELE_OK;
}

static int check_program_schema(const struct stele_options *options, const struct stele_schema *schema)
{
    return options->schema ? stele_schema_check(schema, options->schema) : STELE_OK;
}

static int open_once(const char *path, const struct stele_options *options, bool is_forced, struct stele **out)
{
    struct stele_os_file file = { .is_open = false };
    struct stele_superblock superblock;
    struct stele_schema *schema = NULL;
    struct stele *store = NULL;
    bool is_writable = options->mode == STELE_READ_WRITE;
    int rc = stele_os_open(path, is_writable, &file);
    if (rc)
        return rc;
    rc = stele_superblock_read(&file, &superblock);
    if (!rc && is_writable && !superblock.may_write)
        rc = stele_fail(STELE_E_READONLY, "has features of a newer stele that allow reading only");
    if (!rc)
        rc = stele_open_schema(&file, &superblock, &schema);
    if (!rc)
        rc = check_program_schema(options, schema);
    if (rc)
        goto out;
    rc = check_size(path, &file, &superblock, is_writable);
    if (!rc)
        rc = stele_handle_new(path, options, &file, &superblock, schema, &store);
    if (rc)
        goto out;
    schema = NULL; /* the handle's now */
    rc = is_writable ? attach_writer(store, is_forced) : stele_reader_attach(store);
    if (!rc && !is_writable && store->reading->is_detached)
        store->opened_entry_count = store->reading->overlay.entry_count;
out:
    /* Header, schema and journal do not know the path. */
    if (rc)
        stele_fail_in(path);
    stele_os_close(&file);
    stele_schema_free(schema);
    if (rc)
        stele_handle_free(store);
    else
        *out = store;
    return rc;
}

int stele_open_path(const char *path, const struct stele_options *options, bool is_forced, struct stele **out)
{
    int rc = STELE_E_STALE;
    for (unsigned i = 0; i < REPLACED_TRIES && rc == STELE_E_STALE; i++)
        rc = open_once(path, options, is_forced, out);
    return rc;
}
