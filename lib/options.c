#include "options.h"

#include "bits.h"
#include "error.h"

#define STRUCT_BYTES_MAX 65536u /* more than any version will have */

static int size_of(const void *theirs, uint32_t *out_bytes)
{
    memcpy(out_bytes, theirs, sizeof(*out_bytes));
    if (*out_bytes < sizeof(*out_bytes) || *out_bytes > STRUCT_BYTES_MAX)
        return stele_fail(STELE_E_USAGE, "struct_bytes is %" PRIu32 ": initialise the struct with its _INIT",
                          *out_bytes);
    return STELE_OK;
}

int stele_struct_check(const void *theirs)
{
    uint32_t bytes;
    return size_of(theirs, &bytes);
}

int stele_struct_give(const void *ours, size_t our_bytes, void *theirs)
{
    uint32_t bytes;
    int rc = size_of(theirs, &bytes);
    if (rc)
        return rc;
    size_t common = (size_t)stele_min(bytes, our_bytes);
    memcpy((uint8_t *)theirs + sizeof(bytes), (const uint8_t *)ours + sizeof(bytes), common - sizeof(bytes));
    memset((uint8_t *)theirs + common, 0, bytes - common);
    return STELE_OK;
}

int stele_struct_take(void *ours, size_t our_bytes, const void *theirs)
{
    uint32_t bytes;
    int rc = size_of(theirs, &bytes);
    if (rc)
        return rc;
    size_t common = (size_t)stele_min(bytes, our_bytes);
    if (!stele_is_zero((const uint8_t *)theirs + common, bytes - common))
        return stele_fail(STELE_E_USAGE, "the program sets something that this version of stele (%s) does not know",
                          stele_version());
    memset(ours, 0, our_bytes);
    memcpy(ours, theirs, common);
    return STELE_OK;
}

int stele_options_read(const struct stele_options *options, uint32_t flags_known, struct stele_options *out)
{
    struct stele_options read = STELE_OPTIONS_INIT;
    int rc = options ? stele_struct_take(&read, sizeof(read), options) : STELE_OK;
    if (rc)
        return rc;
    if (read.flags & ~flags_known)
        return stele_fail(STELE_E_USAGE, "flags %#" PRIx32 " are not known to this call", read.flags & ~flags_known);
    if (read.mode > STELE_READ_WRITE)
        return stele_fail(STELE_E_USAGE, "mode %" PRIu32 " is not known", read.mode);
    if (read.permissions & ~UINT32_C(0777))
        return stele_fail(STELE_E_USAGE, "permissions %#" PRIo32 ": only the bits of 0777 can be set",
                          read.permissions);
    if (read.permissions == 0)
        read.permissions = 0600;
    if (read.lock_wait_ms == 0)
        read.lock_wait_ms = STELE_WAIT_MS_DEFAULT;
    if (read.read_wait_ms == 0)
        read.read_wait_ms = STELE_WAIT_MS_DEFAULT;
    if (read.sync_interval_ms == 0)
        read.sync_interval_ms = STELE_SYNC_INTERVAL_MS_DEFAULT;
    *out = read;
    return STELE_OK;
}
