#include "proof.h"

#include "error.h"
#include "hash.h"
#include "sums.h"

#include <stdlib.h>

#define GOOD_COUNT 65536u /* blocks of 4 KiB: 256 MiB */

struct place {
    struct stele_layout layout; /* the sums move with growth */
    uint64_t layout_version, sum_seed;
};

struct stele_proof {
    struct stele_os_mutex mutex;
    struct place place;
    uint64_t good[GOOD_COUNT]; /* print of block, stripe and session; atomic */
};

static struct place place_of(const struct stele_superblock *superblock)
{
    return (struct place){ .layout = superblock->layout, .layout_version = superblock->slot.layout_version,
                           .sum_seed = superblock->slot.sum_seed };
}

int stele_proof_new(const struct stele_superblock *superblock, struct stele_proof **out)
{
    struct stele_proof *proof = calloc(1, sizeof(*proof));
    if (!proof)
        return stele_fail(STELE_E_NOMEM, "out of memory to verify reads");
    int rc = stele_os_mutex_init(&proof->mutex);
    proof->place = place_of(superblock);
    if (rc)
        free(proof);
    else
        *out = proof;
    return rc;
}

void stele_proof_free(struct stele_proof *proof)
{
    if (proof)
        stele_os_mutex_done(&proof->mutex);
    free(proof);
}

/* Where the sums are at @layout_version; STELE_END where the header is not there yet, or further. */
static int find_place(struct stele *store, uint64_t layout_version, struct place *out)
{
    struct stele_superblock now;
    int rc = STELE_OK;
    stele_os_mutex_lock(&store->proof->mutex);
    if (store->proof->place.layout_version != layout_version) {
        rc = stele_superblock_read(&store->file, &now);
        if (!rc)
            store->proof->place = place_of(&now);
        if (!rc && store->proof->place.layout_version != layout_version)
            rc = STELE_END;
    }
    *out = store->proof->place;
    stele_os_mutex_unlock(&store->proof->mutex);
    return rc;
}

/* Records and word of @block, those in the ring's tail from there. */
static int load(struct stele *store, const struct place *place, const struct stele_replay *overlay, uint64_t block,
                uint64_t record_count, uint8_t *out, uint64_t *out_word)
{
    const struct stele_layout *layout = &place->layout;
    const size_t record_bytes = (size_t)layout->record_bytes;
    uint64_t first = stele_block_first(layout, block), at;
    int rc = overlay && stele_runs_find(&overlay->words, block, &at)
                 ? stele_os_read(&store->file, layout->journal_offset + at, out_word, 8)
                 : stele_handle_copy(store, stele_word_offset(layout, block), out_word, 8);
    if (!rc)
        rc = stele_handle_copy(store, stele_record_offset(layout, first), out, (size_t)record_count * record_bytes);
    for (uint64_t i = 0; overlay && i < record_count && !rc; i++) {
        if (stele_runs_find(&overlay->records, first + i, &at))
            rc = stele_os_read(&store->file, layout->journal_offset + at, out + i * record_bytes, record_bytes);
    }
    return rc;
}

static int damaged(const struct stele *store, uint64_t block, uint64_t record_count, bool is_known)
{
    uint64_t first = stele_block_first(&store->fixed, block);
    int rc = stele_fail(STELE_E_DAMAGED, "%s: block %" PRIu64 " (records %" PRIu64 " to %" PRIu64 ") %s; stele verify "
                        "lists all damage, stele repair mends it", store->path, block, first, first + record_count - 1,
                        is_known ? "is marked as damaged" : "does not fit its checksum");
    stele_fail_at(stele_record_offset(&store->fixed, first));
    return rc;
}

/* Damage only if nothing moved since. */
static bool is_still(const struct stele *store, const struct stele_reading *reading, uint64_t block, uint64_t stripe,
                     uint64_t count, uint64_t layout_version)
{
    const struct stele_live *words = store->live.words;
    stele_fence_acquire();
    if (reading && stele_load(&words->session.word) != reading->session)
        return false;
    return (reading && reading->is_detached) ||
           (stele_load(stele_live_stripe(&store->live, block)) == stripe && stele_load(&words->count.word) == count &&
            stele_load(&words->layout_version.word) == layout_version);
}

int stele_proof_check(struct stele *store, const struct stele_reading *reading, uint64_t block, uint64_t stripe,
                      uint64_t count)
{
    const struct stele_replay *overlay = reading && reading->is_detached ? &reading->overlay : NULL;
    const uint64_t seen[3] = { block, stripe, reading ? reading->session : 0 };
    const uint64_t print = stele_hash64(seen, sizeof(seen), 0) | 1;
    uint64_t *good = &store->proof->good[block % GOOD_COUNT];
    if (stele_load(good) == print)
        return STELE_OK;
    uint64_t layout_version = overlay ? reading->layout_version : stele_load_acquire(
                                                                      &store->live.words->layout_version.word);
    uint64_t records = stele_block_records(&store->fixed, block, count), word, computed;
    struct place place;
    uint8_t *bytes = malloc((size_t)stele_handle_overlap(&store->fixed));
    int rc = bytes ? find_place(store, layout_version, &place) : stele_fail(STELE_E_NOMEM, "out of memory to verify");
    if (!rc)
        rc = load(store, &place, overlay, block, records, bytes, &word);
    bool is_good = !rc && !stele_word_is_known_damaged(word) &&
                   stele_sum_check(&place.layout, place.sum_seed, block, bytes, records, word, &computed);
    free(bytes);
    if (rc != STELE_E_NOMEM && !is_still(store, reading, block, stripe, count, layout_version))
        return STELE_END;
    if (rc)
        return rc;
    if (!is_good)
        return damaged(store, block, records, stele_word_is_known_damaged(word));
    stele_store(good, print);
    return STELE_OK;
}
