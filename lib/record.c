/* Records by index: one, some, a range. */
#include "error.h"
#include "reader.h"

int stele_get(struct stele *store, uint64_t index, void *out_record)
{
    if (!store || !out_record)
        return stele_fail(STELE_E_USAGE, "stele_get: store and out_record must not be NULL");
    int rc = stele_handle_check(store);
    return rc ? rc : stele_reader_copy(store, index, out_record);
}

int stele_get_many(struct stele *store, const uint64_t *indexes, size_t index_count, void *out_records,
                   int *out_codes)
{
    if (!store || (index_count && (!indexes || !out_records)))
        return stele_fail(STELE_E_USAGE, "stele_get_many: store, indexes and out_records must not be NULL");
    int rc = stele_handle_check(store);
    if (rc)
        return rc;
    struct stele_error first_error;
    uint8_t *at = out_records;
    for (size_t i = 0; i < index_count; i++, at += store->fixed.record_bytes) {
        int code = stele_reader_copy(store, indexes[i], at);
        if (out_codes)
            out_codes[i] = code;
        if (code && !rc) {
            rc = code;
            stele_error_keep(&first_error);
        }
    }
    if (rc)
        stele_error_restore(&first_error);
    return rc;
}

int stele_read(struct stele *store, uint64_t first_index, size_t record_count, void *out_records)
{
    if (!store || (record_count && !out_records))
        return stele_fail(STELE_E_USAGE, "stele_read: store and out_records must not be NULL");
    int rc = stele_handle_check(store);
    if (rc)
        return rc;
    const struct stele_reading *reading;
    rc = stele_reader_current(store, &reading);
    /* Before anything is copied: a range that does not exist leaves the output untouched. */
    if (!rc)
        rc = stele_reader_check_range(store, reading, first_index, record_count);
    return rc ? rc : stele_reader_copy_range(store, first_index, record_count, out_records);
}

uint64_t stele_count(const struct stele *store)
{
    if (!store || store->fork_count != stele_os_fork_count())
        return 0;
    struct stele *own = (struct stele *)(uintptr_t)store; /* looking anew changes nothing that a caller sees */
    const struct stele_reading *reading;
    struct stele_error kept;
    stele_error_keep(&kept);
    if (stele_reader_current(own, &reading)) {
        /* What it was when it could be read. */
        reading = __atomic_load_n(&own->reading, __ATOMIC_ACQUIRE);
        stele_error_restore(&kept);
    }
    return stele_reader_count(store, reading);
}
