/* Verify: headers, schema, slack and the sum of each block. Never writes. */
#include "error.h"
#include "hash.h"
#include "options.h"
#include "reader.h"
#include "sums.h"

#include <stdlib.h>

#define PROGRESS_BYTES (UINT64_C(4) << 20)
#define AHEAD_BYTES (UINT64_C(1) << 20)
#define TRIES_MAX 100u
#define SPINS 10u
#define CUT_BLOCKS_MAX 100000u
#define RETRY_US 100u
#define CHUNK_BYTES (UINT64_C(4) << 20) /* what a thread looks at before it asks for more */
#define CHUNK_BLOCKS_MAX 1024u
#define JOBS_MAX 64u
#define CHUNKS_PER_JOB 3u
#define WAIT_US UINT64_C(1000000)

struct verify {
    struct stele *store;
    struct stele_verify_options options;
    struct stele_verify_report report;
    struct stele_layout layout; /* as of now: the sums move with growth */
    uint64_t layout_version;
    uint64_t sum_seed;
    uint64_t count;
    uint64_t total_bytes, reported_bytes, asked_until;
    bool is_sparse;
    uint64_t hole_first, hole_end; /* of the file: nothing was stored there when it was asked for */
    uint8_t *block;
};

/* One look at a block; STELE_END when a writer was in the way. */
struct look {
    uint64_t stored_word, computed_word;
    uint64_t record_count;
    uint32_t damage; /* 0: good */
};

/* Neighbouring blocks that one thread looked at, to be reported in order. */
struct chunk {
    uint64_t first_block;
    size_t looked_count; /* up to the one that @rc came of */
    int rc;
    struct stele_error why;
    bool is_done;
    struct look *looks;
};

/* What the threads share, under the mutex. Chunk k stands at k mod chunk_count, from when it is given out to when it
 * is reported. */
struct crew {
    struct stele_os_mutex mutex;
    struct stele_os_condition moved;
    uint64_t first_block, end_block, blocks_per_chunk;
    uint64_t total, given, reported; /* chunks */
    bool is_over;
    size_t chunk_count;
    struct chunk *chunks;
};

struct worker {
    struct crew *crew;
    struct verify verify; /* its own: layout, holes, memory for a block */
    struct stele_os_thread thread;
};

/* Header and sums' place as they are now. */
static int refresh(struct verify *verify)
{
    struct stele_superblock now;
    int rc = stele_superblock_read(&verify->store->file, &now);
    if (rc)
        return rc;
    verify->layout = now.layout;
    verify->layout_version = now.slot.layout_version;
    verify->sum_seed = now.slot.sum_seed;
    verify->is_sparse = now.slot.features_incompatible & STELE_FEATURE_SPARSE;
    verify->report.file_damage |= now.damage;
    return STELE_OK;
}

static bool is_unreadable(int rc) { return rc == STELE_E_TRUNCATED || rc == STELE_E_IO; }

/*
 * Whether the stretch reads as zeros because nothing was ever stored there.
 *
 * Why a block of a hole whose word is 0 is good without being read, also beside writers, and also if the hole was found
 * a while ago. A word is 0 while nothing but zeros was committed to its block: the first commit of anything else gives
 * it a sum, and it becomes 0 again only with zeros put in place behind the count. It is loaded under an even stripe.
 * So if it is 0, no commit since the hole was found put anything into the block that is not zero, and what it held
 * before are the zeros of the hole: they fit the word. If a commit came, the word says so, and the block is read. What
 * some other program stored since is missed, as it would be a moment after the block was read; damage that was there
 * before is not, for it is no hole.
 */
static int is_hole(struct verify *verify, uint64_t offset, uint64_t byte_count, bool *out_is_hole)
{
    int rc = STELE_OK;
    if (verify->is_sparse && (offset < verify->hole_first || offset >= verify->hole_end)) {
        verify->hole_first = offset;
        rc = stele_os_next_data(&verify->store->file, offset, &verify->hole_end);
    }
    *out_is_hole = !rc && offset >= verify->hole_first && offset + byte_count <= verify->hole_end;
    return rc;
}

/* Whether the ring has images of records of the stretch. */
static bool has_images(const struct stele_replay *overlay, uint64_t first_index, uint64_t record_count)
{
    if (!overlay || overlay->records.count == 0)
        return false;
    size_t at = stele_runs_at(&overlay->records, first_index);
    return at < overlay->records.count && overlay->records.list[at].first < first_index + record_count;
}

static int read_word(struct verify *verify, uint64_t block, const struct stele_replay *overlay, uint64_t *out_word)
{
    uint64_t place;
    return overlay && stele_runs_find(&overlay->words, block, &place)
               ? stele_os_read(&verify->store->file, verify->layout.journal_offset + place, out_word, 8)
               : stele_handle_copy(verify->store, stele_word_offset(&verify->layout, block), out_word, 8);
}

static int read_records(struct verify *verify, uint64_t first, const struct stele_replay *overlay,
                        uint64_t record_count)
{
    const struct stele_layout *layout = &verify->layout;
    uint64_t place;
    int rc = stele_handle_copy(verify->store, stele_record_offset(layout, first), verify->block,
                               (size_t)(record_count * layout->record_bytes));
    for (uint64_t i = 0; has_images(overlay, first, record_count) && i < record_count && !rc; i++) {
        if (stele_runs_find(&overlay->records, first + i, &place))
            rc = stele_os_read(&verify->store->file, layout->journal_offset + place,
                               verify->block + i * layout->record_bytes, (size_t)layout->record_bytes);
    }
    return rc;
}

static void ask_ahead(struct verify *verify, uint64_t block)
{
    uint64_t at = stele_record_offset(&verify->layout, stele_block_first(&verify->layout, block));
    if (at + AHEAD_BYTES < verify->asked_until)
        return;
    verify->asked_until = stele_max(verify->asked_until, at);
    stele_os_will_need(&verify->store->file, verify->asked_until, AHEAD_BYTES);
    verify->asked_until += AHEAD_BYTES;
}

static int judge(struct verify *verify, uint64_t block, const struct stele_replay *overlay, struct look *look)
{
    uint64_t first = stele_block_first(&verify->layout, block);
    bool is_empty = false;
    int rc = read_word(verify, block, overlay, &look->stored_word);
    look->damage = 0;
    if (!rc && stele_word_is_unwritten(look->stored_word) && !has_images(overlay, first, look->record_count))
        rc = is_hole(verify, stele_record_offset(&verify->layout, first),
                     look->record_count * verify->layout.record_bytes, &is_empty);
    if (is_empty)
        return rc;
    ask_ahead(verify, block);
    if (!rc)
        rc = read_records(verify, first, overlay, look->record_count);
    if (rc == STELE_E_TRUNCATED)
        look->damage = STELE_DAMAGE_CUT;
    else if (rc == STELE_E_IO)
        look->damage = STELE_DAMAGE_UNREADABLE;
    else if (rc)
        return rc;
    else if (stele_word_is_known_damaged(look->stored_word))
        look->damage = STELE_DAMAGE_KNOWN;
    else if (!stele_sum_check(&verify->layout, verify->sum_seed, block, verify->block, look->record_count,
                              look->stored_word, &look->computed_word))
        look->damage = STELE_DAMAGE_SUM;
    return STELE_OK;
}

static int look_once(struct verify *verify, uint64_t block, struct look *look)
{
    struct stele *store = verify->store;
    const struct stele_live *words = store->live.words;
    const uint64_t *stripe = stele_live_stripe(&store->live, block);
    const struct stele_reading *reading;
    int rc = stele_reader_current(store, &reading);
    if (rc)
        return rc;
    const struct stele_replay *overlay = stele_reader_overlay(reading);
    uint64_t before = stele_load_acquire(stripe);
    if (!overlay && (before & 1))
        return STELE_END;
    /* While a detached handle reads nobody writes; then the layout is the header's. */
    uint64_t layout_version = overlay ? reading->layout_version
                                      : stele_load_acquire(&words->layout_version.word);
    if (layout_version != verify->layout_version) {
        rc = refresh(verify);
        return rc ? rc : STELE_END;
    }
    uint64_t count = stele_reader_count(store, reading);
    look->record_count = stele_block_records(&verify->layout, block, count);
    if (look->record_count == 0)
        return STELE_OK; /* truncated away meanwhile */
    rc = judge(verify, block, overlay, look);
    if (rc || !look->damage)
        return rc;
    /* Damage only if nothing moved: session, stripe, count, layout. */
    bool is_still = stele_reader_is_current(store, reading) && stele_reader_count(store, reading) == count &&
                    (overlay || (stele_load(stripe) == before &&
                                 stele_load(&words->layout_version.word) == verify->layout_version));
    return is_still ? STELE_OK : STELE_END;
}

static int look_at(struct verify *verify, uint64_t block, struct look *look)
{
    uint64_t deadline_us = 0;
    int rc = STELE_END;
    for (unsigned i = 0; rc == STELE_END; i++) {
        *look = (struct look){ .stored_word = 0 };
        rc = look_once(verify, block, look);
        if (rc != STELE_END || i < SPINS)
            continue;
        if (deadline_us == 0)
            deadline_us = stele_os_clock_us() + (uint64_t)verify->store->read_wait_ms * 1000;
        if (stele_os_clock_us() >= deadline_us)
            break;
        stele_os_sleep_us(RETRY_US);
    }
    if (rc == STELE_END)
        return stele_fail(STELE_E_BUSY, "%s: block %" PRIu64 " is being stored by a writer that does not come to "
                          "an end", verify->store->path, block);
    return rc;
}

static int report_damage(struct verify *verify, uint64_t block, const struct look *look)
{
    const struct stele_layout *layout = &verify->layout;
    struct stele_damage damage = {
        .kind = look->damage,
        .block_index = block,
        .first_index = stele_block_first(layout, block),
        .record_count = look->record_count,
        .file_offset = stele_record_offset(layout, stele_block_first(layout, block)),
        .bytes = look->record_count * layout->record_bytes,
        .stored_word = look->stored_word,
        .computed_word = look->computed_word,
    };
    struct stele_verify_report *report = &verify->report;
    if (report->damaged_count++ == 0)
        report->first_damaged_block = block;
    report->known_count += look->damage == STELE_DAMAGE_KNOWN;
    report->unreadable_count += look->damage == STELE_DAMAGE_UNREADABLE || look->damage == STELE_DAMAGE_CUT;
    if (verify->options.damaged && verify->options.damaged(verify->options.damaged_context, &damage))
        return stele_fail(STELE_E_INTERRUPTED, "%s: verify was stopped", verify->store->path);
    return STELE_OK;
}

static int report_progress(struct verify *verify)
{
    uint64_t done = verify->report.bytes;
    if (!verify->options.progress || done - verify->reported_bytes < PROGRESS_BYTES)
        return STELE_OK;
    verify->reported_bytes = done;
    if (verify->options.progress(verify->options.progress_context, done, verify->total_bytes))
        return stele_fail(STELE_E_INTERRUPTED, "%s: verify was stopped", verify->store->path);
    return STELE_OK;
}

/*
 * Behind the end of a cut file every word is gone. A header may claim 2^48 records in a file of a few bytes: after
 * this many blocks named one by one the rest, up to @end_block, is one stretch.
 */
static int report_rest(struct verify *verify, uint64_t block, uint64_t end_block, bool *out_is_done)
{
    struct stele_os_stat stat;
    *out_is_done = false;
    if (verify->report.unreadable_count < CUT_BLOCKS_MAX)
        return STELE_OK;
    int rc = stele_os_stat(&verify->store->file, &stat);
    if (rc || stat.bytes > stele_word_offset(&verify->layout, block))
        return rc;
    uint64_t first = stele_block_first(&verify->layout, block);
    uint64_t end = stele_min(stele_block_first(&verify->layout, end_block), verify->count);
    struct look look = { .damage = STELE_DAMAGE_CUT, .record_count = end - first };
    verify->report.block_count += end_block - block;
    verify->report.record_count += look.record_count;
    rc = report_damage(verify, block, &look);
    verify->report.damaged_count += end_block - block - 1;
    verify->report.unreadable_count += end_block - block - 1;
    *out_is_done = true;
    return rc;
}

/* ---- in chunks, by one thread or several ---- */

static void look_at_chunk(struct verify *verify, struct chunk *chunk, uint64_t end_block)
{
    chunk->looked_count = 0;
    chunk->rc = STELE_OK;
    while (chunk->first_block + chunk->looked_count < end_block) {
        struct look *look = &chunk->looks[chunk->looked_count];
        chunk->rc = look_at(verify, chunk->first_block + chunk->looked_count, look);
        if (chunk->rc) {
            stele_error_keep(&chunk->why);
            return;
        }
        chunk->looked_count++;
    }
}

static int report_block(struct verify *verify, uint64_t block, const struct look *look)
{
    int rc = STELE_OK;
    if (look->record_count == 0)
        return STELE_OK;
    verify->report.block_count++;
    verify->report.record_count += look->record_count;
    verify->report.bytes += look->record_count * verify->layout.record_bytes;
    verify->report.never_written_count += !look->damage && stele_word_is_unwritten(look->stored_word);
    if (look->damage)
        rc = report_damage(verify, block, look);
    return rc ? rc : report_progress(verify);
}

/* In order, in the caller's thread: what is told does not depend on how many looked. */
static int report_chunk(struct verify *verify, const struct chunk *chunk, uint64_t end_block, bool *out_is_done)
{
    int rc = STELE_OK;
    for (size_t i = 0; i < chunk->looked_count && !rc; i++) {
        rc = report_rest(verify, chunk->first_block + i, end_block, out_is_done);
        if (rc || *out_is_done)
            return rc;
        rc = report_block(verify, chunk->first_block + i, &chunk->looks[i]);
    }
    if (!rc && chunk->rc) {
        stele_error_restore(&chunk->why);
        rc = chunk->rc;
    }
    return rc;
}

static uint64_t chunk_first(const struct crew *crew, uint64_t number)
{
    return crew->first_block + number * crew->blocks_per_chunk;
}

static void work(void *context)
{
    struct worker *worker = context;
    struct crew *crew = worker->crew;
    stele_os_mutex_lock(&crew->mutex);
    while (!crew->is_over && crew->given < crew->total) {
        if (crew->given - crew->reported >= crew->chunk_count) {
            stele_os_condition_wait(&crew->moved, &crew->mutex, stele_os_clock_us() + WAIT_US);
            continue;
        }
        uint64_t number = crew->given++;
        struct chunk *chunk = &crew->chunks[number % crew->chunk_count];
        stele_os_mutex_unlock(&crew->mutex);
        chunk->first_block = chunk_first(crew, number);
        look_at_chunk(&worker->verify, chunk, stele_min(chunk_first(crew, number + 1), crew->end_block));
        stele_os_mutex_lock(&crew->mutex);
        chunk->is_done = true;
        stele_os_condition_broadcast(&crew->moved);
    }
    stele_os_mutex_unlock(&crew->mutex);
}

/* Report what the threads find until all is told, or one says stop. */
static int report_crew(struct verify *verify, struct crew *crew)
{
    int rc = STELE_OK;
    bool is_done = false;
    for (uint64_t number = 0; number < crew->total && !rc && !is_done; number++) {
        struct chunk *chunk = &crew->chunks[number % crew->chunk_count];
        stele_os_mutex_lock(&crew->mutex);
        while (!chunk->is_done)
            stele_os_condition_wait(&crew->moved, &crew->mutex, stele_os_clock_us() + WAIT_US);
        stele_os_mutex_unlock(&crew->mutex);
        rc = report_chunk(verify, chunk, crew->end_block, &is_done);
        stele_os_mutex_lock(&crew->mutex);
        chunk->is_done = false;
        crew->reported++;
        crew->is_over = rc || is_done;
        stele_os_condition_broadcast(&crew->moved);
        stele_os_mutex_unlock(&crew->mutex);
    }
    return rc;
}

static int report_alone(struct verify *verify, struct crew *crew)
{
    int rc = STELE_OK;
    bool is_done = false;
    for (uint64_t number = 0; number < crew->total && !rc && !is_done; number++) {
        crew->chunks->first_block = chunk_first(crew, number);
        look_at_chunk(verify, crew->chunks, stele_min(chunk_first(crew, number + 1), crew->end_block));
        rc = report_chunk(verify, crew->chunks, crew->end_block, &is_done);
    }
    return rc;
}

/* As many threads as the system gives of those asked for; with none it is done here. */
static int report_by(struct verify *verify, struct crew *crew, struct worker *workers, size_t worker_count)
{
    size_t started_count = 0;
    for (; started_count < worker_count; started_count++) {
        struct worker *worker = &workers[started_count];
        worker->crew = crew;
        worker->verify = *verify;
        worker->verify.report.file_damage = 0;
        worker->verify.block = malloc((size_t)stele_handle_overlap(&verify->store->fixed));
        if (!worker->verify.block || stele_os_thread_start(&worker->thread, work, worker)) {
            free(worker->verify.block);
            break;
        }
    }
    int rc = started_count ? report_crew(verify, crew) : report_alone(verify, crew);
    for (size_t i = 0; i < started_count; i++) {
        stele_os_thread_join(&workers[i].thread);
        verify->report.file_damage |= workers[i].verify.report.file_damage;
        free(workers[i].verify.block);
    }
    return rc;
}

static int check_by_jobs(struct verify *verify, struct crew *crew, size_t job_count)
{
    struct worker *workers = NULL;
    struct look *looks;
    crew->chunk_count = job_count > 1 ? job_count * CHUNKS_PER_JOB : 1;
    crew->chunks = calloc(crew->chunk_count, sizeof(*crew->chunks));
    looks = calloc(crew->chunk_count * (size_t)crew->blocks_per_chunk, sizeof(*looks));
    workers = calloc(job_count, sizeof(*workers));
    int rc = crew->chunks && looks && workers ? STELE_OK : stele_fail(STELE_E_NOMEM, "out of memory to verify");
    for (size_t i = 0; i < crew->chunk_count && !rc; i++)
        crew->chunks[i].looks = looks + i * (size_t)crew->blocks_per_chunk;
    if (!rc)
        rc = stele_os_mutex_init(&crew->mutex);
    if (!rc) {
        rc = stele_os_condition_init(&crew->moved);
        if (!rc) {
            rc = report_by(verify, crew, workers, job_count > 1 ? job_count : 0);
            stele_os_condition_done(&crew->moved);
        }
        stele_os_mutex_done(&crew->mutex);
    }
    free(workers);
    free(looks);
    free(crew->chunks);
    return rc;
}

static int check_blocks(struct verify *verify)
{
    const struct stele_layout *layout = &verify->layout;
    uint64_t first = verify->options.first_index, n = verify->options.record_count;
    if (first > verify->count || n > verify->count - first)
        return stele_fail(STELE_E_RANGE, "%s: records %" PRIu64 " and %" PRIu64 " more: there are %" PRIu64,
                          verify->store->path, first, n, verify->count);
    uint64_t end = n ? first + n : verify->count;
    if (first == end)
        return STELE_OK;
    uint64_t block_bytes = layout->records_per_block * layout->record_bytes;
    struct crew crew = {
        .first_block = stele_block_of(layout, first),
        .end_block = stele_blocks_below(layout, end),
        .blocks_per_chunk = stele_max(stele_min(CHUNK_BYTES / block_bytes, CHUNK_BLOCKS_MAX), 1),
    };
    crew.total = stele_div_up(crew.end_block - crew.first_block, crew.blocks_per_chunk);
    verify->total_bytes = (end - first) * layout->record_bytes;
    size_t jobs = verify->store->has_no_threads ? 1 : (size_t)stele_min(stele_max(verify->options.jobs, 1), JOBS_MAX);
    return check_by_jobs(verify, &crew, (size_t)stele_min(jobs, crew.total));
}

/* Whether header and session are still those of @before: what was found is damage and not a change. */
static int is_same_header(struct verify *verify, const struct stele_superblock *before, uint64_t session,
                          bool *out_is_same)
{
    struct stele_superblock now;
    int rc = stele_superblock_read(&verify->store->file, &now);
    *out_is_same = !rc && now.slot.generation == before->slot.generation &&
                   now.slot.session == before->slot.session &&
                   stele_load(&verify->store->live.words->session.word) == session;
    return rc;
}

static int check_schema(struct verify *verify, const struct stele_superblock *superblock, uint32_t *out_damage)
{
    uint8_t hash[16];
    uint8_t *bytes = malloc(superblock->slot.schema_bytes);
    if (!bytes)
        return stele_fail(STELE_E_NOMEM, "out of memory to verify the schema");
    int rc = stele_os_read(&verify->store->file, superblock->layout.schema_offset, bytes,
                           superblock->slot.schema_bytes);
    if (!rc) {
        stele_hash128(bytes, superblock->slot.schema_bytes, hash);
        *out_damage |= memcmp(hash, superblock->slot.schema_hash, sizeof(hash)) ? STELE_FILE_DAMAGE_SCHEMA : 0;
    }
    free(bytes);
    return rc;
}

/* The ring from the checkpoint on holds every commit up to the last one applied. */
static int check_journal(struct verify *verify, const struct stele_superblock *superblock, uint64_t applied,
                         uint32_t *out_damage)
{
    struct stele_walk walk;
    struct stele_replay replay;
    stele_walk_init(&walk, &verify->store->file, &superblock->layout, &superblock->slot);
    stele_replay_init(&replay, &superblock->layout, &superblock->slot, 0);
    replay.is_brief = true;
    int rc = stele_replay_walk(&replay, &walk, applied);
    if (rc == STELE_E_DAMAGED || rc == STELE_E_VERSION || is_unreadable(rc) || (!rc && walk.sequence < applied)) {
        *out_damage |= STELE_FILE_DAMAGE_JOURNAL;
        rc = STELE_OK;
    }
    stele_walk_done(&walk);
    stele_replay_done(&replay);
    return rc;
}

/* Bytes that must be zero: behind the schema, between the records and the sums, and behind the sums. */
static int check_slack(struct verify *verify, const struct stele_superblock *superblock, uint32_t *out_damage)
{
    uint8_t bytes[4096];
    const struct stele_layout *layout = &superblock->layout;
    uint64_t schema_end = layout->schema_offset + superblock->slot.schema_bytes;
    uint64_t records_end = layout->records_offset + layout->capacity * layout->record_bytes;
    /* The least that the format promises: a header that lies may put the regions any distance apart. */
    const struct { uint64_t from, to; } slack[] = {
        { schema_end, layout->schema_offset + stele_min(layout->schema_room_bytes, STELE_SCHEMA_BYTES_MAX) },
        { records_end, stele_min(stele_round_up(records_end, STELE_REGION_ALIGN), layout->sums_offset) },
        { layout->sums_offset + layout->sums_bytes, layout->file_bytes },
    };
    for (unsigned i = 0; i < sizeof(slack) / sizeof(slack[0]); i++) {
        for (uint64_t at = slack[i].from; at < slack[i].to;) {
            size_t n = (size_t)stele_min(sizeof(bytes), slack[i].to - at);
            int rc = stele_handle_read(verify->store, at, bytes, n);
            if (rc && !is_unreadable(rc))
                return rc;
            if (!rc && !stele_is_zero(bytes, n))
                *out_damage |= STELE_FILE_DAMAGE_SLACK;
            at += n;
        }
    }
    return STELE_OK;
}

/* Everything but the blocks; looked at again when a checkpoint or a growth came in between. */
static int check_file(struct verify *verify)
{
    struct stele *store = verify->store;
    for (unsigned i = 0; i < TRIES_MAX; i++) {
        const struct stele_reading *reading;
        struct stele_superblock superblock;
        uint32_t damage = 0;
        bool is_same = false;
        int rc = stele_reader_current(store, &reading);
        uint64_t session = stele_load_acquire(&store->live.words->session.word);
        uint64_t applied = stele_load_acquire(&store->live.words->applied.word);
        if (!rc)
            rc = stele_superblock_read(&store->file, &superblock);
        if (!rc && stele_reader_overlay(reading)) {
            session = reading->session;
            applied = stele_reader_overlay(reading)->sequence;
        } else if (!rc && superblock.slot.session != session) {
            applied = 0; /* a recovery is on its way to the flip: what it applied last stands in no entry */
        }
        if (!rc)
            rc = check_schema(verify, &superblock, &damage);
        if (!rc)
            rc = check_journal(verify, &superblock, applied, &damage);
        if (!rc)
            rc = check_slack(verify, &superblock, &damage);
        if (!rc && damage)
            rc = is_same_header(verify, &superblock, session, &is_same);
        if (rc)
            return rc;
        if (damage && !is_same)
            continue;
        verify->report.file_damage |= damage;
        return STELE_OK;
    }
    return stele_fail(STELE_E_BUSY, "%s: writers come and go too fast to verify the header", store->path);
}

static int report_of(struct verify *verify)
{
    static const struct { uint32_t bit; const char *text; } names[] = {
        { STELE_FILE_DAMAGE_SLOT_A, " header slot A" }, { STELE_FILE_DAMAGE_SLOT_B, " header slot B" },
        { STELE_FILE_DAMAGE_SCHEMA, " schema" }, { STELE_FILE_DAMAGE_JOURNAL, " journal" },
        { STELE_FILE_DAMAGE_SLACK, " zero space" },
    };
    const struct stele_verify_report *report = &verify->report;
    char text[128] = "";
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (report->file_damage & names[i].bit)
            strncat(text, names[i].text, sizeof(text) - strlen(text) - 1);
    }
    if (report->damaged_count)
        return stele_fail(STELE_E_DAMAGED, "%s: %" PRIu64 " of %" PRIu64 " blocks are damaged%s%s", verify->store->path,
                          report->damaged_count, report->block_count, *text ? ", and also:" : "", text);
    if (report->file_damage)
        return stele_fail(STELE_E_DAMAGED, "%s: damaged:%s; the blocks are good", verify->store->path, text);
    return STELE_OK;
}

int stele_verify(struct stele *store, const struct stele_verify_options *options, struct stele_verify_report *out)
{
    struct verify verify = { .store = store, .report = { .first_damaged_block = UINT64_MAX } };
    if (!store || !out)
        return stele_fail(STELE_E_USAGE, "stele_verify: store and out must not be NULL");
    int rc = stele_handle_check(store);
    if (!rc)
        rc = stele_struct_check(out);
    if (!rc && options)
        rc = stele_struct_take(&verify.options, sizeof(verify.options), options);
    if (!rc && (verify.options.flags || verify.options.reserved))
        rc = stele_fail(STELE_E_USAGE, "stele_verify: flags and reserved must be zero in this version");
    if (rc)
        return rc;
    /* Before the header is read: a growth in between only makes more room. */
    verify.count = stele_count(store);
    rc = refresh(&verify);
    if (!rc && verify.count > verify.layout.capacity)
        rc = stele_fail(STELE_E_DAMAGED, "%s: live region: a count of %" PRIu64 " with a capacity of %" PRIu64,
                        store->path, verify.count, verify.layout.capacity);
    if (rc)
        return rc;
    verify.report.file_damage |= store->opened_damage;
    verify.block = malloc((size_t)stele_handle_overlap(&store->fixed));
    if (!verify.block)
        return stele_fail(STELE_E_NOMEM, "out of memory to verify");
    rc = check_file(&verify);
    if (!rc)
        rc = check_blocks(&verify);
    free(verify.block);
    if (rc && rc != STELE_E_INTERRUPTED)
        return rc;
    int given = stele_struct_give(&verify.report, sizeof(verify.report), out);
    if (rc || given)
        return rc ? rc : given;
    return report_of(&verify);
}
