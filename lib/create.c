#include "create.h"

#include "error.h"
#include "hash.h"
#include "journal.h"
#include "superblock.h"

int stele_create_slot(const struct stele_layout *layout, bool is_sparse, const struct stele_schema *schema,
                      struct stele_slot *out)
{
    struct stele_slot slot = {
        .format_version = STELE_FORMAT_VERSION,
        .byte_order = STELE_BYTE_ORDER_MARK,
        .library_version = STELE_VERSION_MAJOR << 16 | STELE_VERSION_MINOR << 8 | STELE_VERSION_PATCH,
        .slot_bytes = STELE_SLOT_BYTES,
        .features_incompatible = is_sparse ? STELE_FEATURE_SPARSE : 0,
        .generation = 1,
        .sum_kind = STELE_SUM_KIND_XXH3_63,
        .stripe_kind = STELE_STRIPE_KIND_FOLD,
        .layout_version = 1,
    };
    memcpy(slot.magic, STELE_MAGIC, sizeof(slot.magic));
    stele_layout_to(layout, &slot);
    const uint8_t *encoded = stele_schema_encoded(schema, &slot.schema_bytes);
    stele_hash128(encoded, slot.schema_bytes, slot.schema_hash);
    slot.created_us = slot.modified_us = slot.checkpoint_us = stele_os_now_us();
    int rc = stele_os_random(slot.file_id, sizeof(slot.file_id));
    if (!rc)
        rc = stele_os_random(&slot.sum_seed, sizeof(slot.sum_seed));
    if (!rc)
        rc = stele_os_random(&slot.session, sizeof(slot.session));
    if (!rc)
        rc = stele_os_random(&slot.chain, sizeof(slot.chain));
    if (!rc)
        *out = slot;
    return rc;
}

int stele_create_fill(const struct stele_os_file *file, const struct stele_layout *layout, bool is_sparse,
                      const struct stele_schema *schema)
{
    uint32_t schema_bytes;
    const uint8_t *encoded = stele_schema_encoded(schema, &schema_bytes);
    /* Disk first, the largest part before all: a full one is found, and its size told, before anything is written. */
    int rc = is_sparse ? STELE_OK : stele_os_allocate(file, layout->records_offset,
                                                      layout->file_bytes - layout->records_offset);
    if (!rc)
        rc = stele_os_allocate(file, layout->journal_offset, layout->journal_bytes);
    if (!rc)
        rc = stele_os_allocate(file, 0, layout->live_offset + layout->live_bytes);
    if (!rc)
        rc = stele_os_set_bytes(file, layout->file_bytes);
    if (!rc)
        rc = stele_journal_blank(file, layout);
    if (!rc)
        rc = stele_os_write(file, layout->schema_offset, encoded, schema_bytes);
    return rc;
}
