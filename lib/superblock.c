#include "superblock.h"

#include "error.h"
#include "hash.h"

/* A read is not atomic against a slot that is being written: what does not verify is read again. */
#define READ_TRIES 20u
#define READ_PAUSE_US 500u

enum verdict { VERDICT_BLANK, VERDICT_TORN, VERDICT_NEWER, VERDICT_GOOD };

static bool is_hash_right(const struct stele_slot *slot)
{
    uint8_t hash[16];
    stele_hash128(slot, offsetof(struct stele_slot, hash), hash);
    return memcmp(hash, slot->hash, sizeof(hash)) == 0;
}

void stele_slot_seal(struct stele_slot *slot)
{
    stele_hash128(slot, offsetof(struct stele_slot, hash), slot->hash);
}

static enum verdict judge(const struct stele_slot *slot)
{
    if (memcmp(slot->magic, STELE_MAGIC, sizeof(slot->magic)) != 0)
        return VERDICT_BLANK;
    if (!is_hash_right(slot))
        return VERDICT_TORN;
    if (slot->format_version > STELE_FORMAT_VERSION ||
        (slot->features_incompatible & ~STELE_FEATURES_INCOMPATIBLE_KNOWN))
        return VERDICT_NEWER;
    return VERDICT_GOOD;
}

int stele_superblock_choose(const struct stele_slot slots[2], uint32_t *out_ruling, uint32_t *out_damage)
{
    enum verdict a = judge(&slots[0]);
    enum verdict b = judge(&slots[1]);
    if (a < VERDICT_NEWER && b < VERDICT_NEWER) {
        if (a == VERDICT_BLANK && b == VERDICT_BLANK)
            return stele_fail(STELE_E_FORMAT, "not a stele store: it does not begin as one; check the path");
        const struct stele_slot *torn = a == VERDICT_TORN ? &slots[0] : &slots[1];
        /* A newer format may put its hash elsewhere; ours would have said 1. */
        if (torn->format_version > STELE_FORMAT_VERSION && torn->format_version < 0x10000)
            return stele_fail(STELE_E_VERSION, "format version %" PRIu32 ": this library reads up to %u; update stele",
                              torn->format_version, STELE_FORMAT_VERSION);
        return stele_fail(STELE_E_DAMAGED, "both header slots fail their checksums; restore the first 8 KiB from a "
                          "backup");
    }
    if (a >= VERDICT_NEWER && b >= VERDICT_NEWER) {
        if (slots[0].generation == slots[1].generation && memcmp(&slots[0], &slots[1], sizeof(slots[0])) != 0)
            return stele_fail(STELE_E_DAMAGED, "the two header slots differ in one generation");
        *out_ruling = slots[1].generation > slots[0].generation;
        *out_damage = 0;
    } else {
        *out_ruling = a < VERDICT_NEWER;
        *out_damage = a < VERDICT_NEWER ? STELE_FILE_DAMAGE_SLOT_A : STELE_FILE_DAMAGE_SLOT_B;
    }
    const struct stele_slot *slot = &slots[*out_ruling];
    if ((*out_ruling ? b : a) == VERDICT_NEWER)
        return stele_fail(STELE_E_VERSION,
                          "format version %" PRIu32 ", features %#" PRIx64 ": needs a newer stele than %s",
                          slot->format_version, slot->features_incompatible, stele_version());
    return STELE_OK;
}

static int damaged(const char *what, uint64_t value)
{
    return stele_fail(STELE_E_DAMAGED, "header: %s is %" PRIu64 ", which cannot be", what, value);
}

/* The hash is right, so this is either a bug, a newer writer, or a forgery. */
static int check_slot(const struct stele_slot *slot, const struct stele_layout *layout)
{
    if (slot->format_version == 0)
        return damaged("format version", slot->format_version);
    if (slot->byte_order != STELE_BYTE_ORDER_MARK)
        return damaged("byte order", slot->byte_order);
    if (slot->slot_bytes != STELE_SLOT_BYTES)
        return damaged("slot size", slot->slot_bytes);
    if (slot->sum_kind != STELE_SUM_KIND_XXH3_63)
        return stele_fail(STELE_E_VERSION, "checksum kind %u needs a newer stele", slot->sum_kind);
    if (slot->stripe_kind != STELE_STRIPE_KIND_FOLD)
        return stele_fail(STELE_E_VERSION, "stripe kind %u needs a newer stele", slot->stripe_kind);
    if (slot->count > slot->capacity)
        return damaged("count", slot->count);
    if (slot->ring_head % 8 || slot->ring_head >= layout->journal_bytes)
        return damaged("ring head", slot->ring_head);
    if (slot->sequence >> 62)
        return damaged("sequence", slot->sequence);
    if (slot->generation >> 62)
        return damaged("generation", slot->generation);
    if (slot->tag_bytes > STELE_TAG_BYTES_MAX)
        return damaged("tag size", slot->tag_bytes);
    if (slot->schema_bytes < sizeof(struct stele_schema_head) || slot->schema_bytes % 8 ||
        slot->schema_bytes > STELE_SCHEMA_BYTES_MAX)
        return damaged("schema size", slot->schema_bytes);
    return STELE_OK;
}

int stele_superblock_read(const struct stele_os_file *file, struct stele_superblock *out)
{
    struct stele_slot slots[2] = { 0 }, before[2];
    struct stele_os_stat stat;
    int rc = stele_os_stat(file, &stat);
    if (rc)
        return rc;
    if (stat.bytes == 0)
        return stele_fail(STELE_E_FORMAT, "not a stele store: the file is empty; check the path");
    uint32_t ruling = 0, damage = 0;
    bool is_certain = false;
    for (unsigned i = 0; i < READ_TRIES && !is_certain; i++) {
        bool is_writing;
        memcpy(before, slots, sizeof(slots));
        rc = stele_os_is_writer_held(file, &is_writing);
        if (!rc)
            rc = stele_os_read(file, 0, slots, (size_t)stele_min(stat.bytes, sizeof(slots)));
        if (rc)
            return rc;
        damage = 0;
        rc = stele_superblock_choose(slots, &ruling, &damage);
        /* A writer may have come between the two: damage is what two reads find alike while nobody writes. */
        is_certain = (!rc && !damage) || (i && !is_writing && memcmp(before, slots, sizeof(slots)) == 0);
        if (!is_certain && is_writing)
            stele_os_sleep_us(READ_PAUSE_US);
    }
    if (rc == STELE_E_DAMAGED && stat.bytes < sizeof(slots))
        return stele_fail(rc, "the file is cut inside its header, which takes %zu bytes: it has %" PRIu64 "; restore "
                          "it from a backup", sizeof(slots), stat.bytes);
    if (rc)
        return rc;
    struct stele_superblock superblock = { .slot = slots[ruling], .ruling = ruling, .damage = damage,
        .may_write = !(slots[ruling].features_read_only & ~STELE_FEATURES_READ_ONLY_KNOWN) };
    rc = stele_layout_of(&superblock.slot, &superblock.layout, &superblock.may_write);
    if (!rc)
        rc = check_slot(&superblock.slot, &superblock.layout);
    if (!rc)
        *out = superblock;
    return rc;
}

static int write_slot(const struct stele_os_file *file, const struct stele_slot *slot, uint32_t which)
{
    int rc = stele_os_write_durable(file, (uint64_t)which * STELE_SLOT_BYTES, slot, sizeof(*slot));
    if (rc)
        stele_fail_prefix(which ? "header slot B" : "header slot A");
    return rc;
}

int stele_superblock_rewrite(const struct stele_os_file *file, const struct stele_superblock *superblock)
{
    return write_slot(file, &superblock->slot, superblock->ruling);
}

int stele_superblock_flip(const struct stele_os_file *file, struct stele_superblock *superblock,
                          const struct stele_slot *next)
{
    struct stele_slot slot = *next;
    slot.generation = superblock->slot.generation + 1;
    /* Only a header that lies comes here. What no reader takes must not be written; nor may the commits run out. */
    if (slot.generation >> 62 || slot.sequence >= (UINT64_C(1) << 62) - (UINT64_C(1) << 32))
        return stele_fail(STELE_E_DAMAGED, "header: generation %" PRIu64 " or sequence %" PRIu64 " is at its end; "
                          "export the records into a new store", superblock->slot.generation, slot.sequence);
    slot.library_version = STELE_VERSION_MAJOR << 16 | STELE_VERSION_MINOR << 8 | STELE_VERSION_PATCH;
    stele_slot_seal(&slot);
    uint32_t other = 1 - superblock->ruling;
    int rc = write_slot(file, &slot, other);
    if (rc)
        return rc;
    /* From here the new content rules whatever happens; the second write only makes it safe against rot. */
    superblock->slot = slot;
    superblock->ruling = other;
    rc = write_slot(file, &slot, 1 - other);
    if (!rc)
        superblock->damage = 0;
    return rc;
}

int stele_superblock_write_new(const struct stele_os_file *file, const struct stele_slot *slot)
{
    struct stele_slot sealed = *slot;
    stele_slot_seal(&sealed);
    int rc = stele_os_write(file, 0, &sealed, sizeof(sealed));
    return rc ? rc : stele_os_write(file, STELE_SLOT_BYTES, &sealed, sizeof(sealed));
}

void stele_slot_add_history(struct stele_slot *slot, const struct stele_history *entry)
{
    slot->history[slot->history_total % STELE_HISTORY_COUNT] = *entry;
    slot->history_total++;
}
