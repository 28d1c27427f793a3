#include "window_store.h"

#include "error.h"
#include "guard.h"
#include "window_pool.h"

#include <assert.h>
#include <stdlib.h>

#define ZERO_BYTES 16384u

bool stele_window_needs_views(void) { return stele_os_needs_views() || stele_window_is_torture(); }

int stele_window_stores_init(struct stele_window_stores *stores, const struct stele_os_file *file,
                             const struct stele_window_plan *plan)
{
    /* Always counted, so that what was stored is known: here a lock more costs nothing. */
    struct stele_window_plan own = *plan;
    int rc;

    *stores = (struct stele_window_stores){ .file = file };
    if (!stele_window_needs_views())
        return STELE_OK;
    own.overlap_bytes = 0; /* a store is cut at borders */
    own.is_writable = true;
    own.budget_bytes = plan->budget_bytes ? plan->budget_bytes : UINT64_MAX;
    stores->windows = malloc(sizeof(*stores->windows));
    if (!stores->windows)
        return stele_fail(STELE_E_NOMEM, "no memory for windows to store through");
    rc = stele_windows_init(stores->windows, file, &own);
    if (rc) {
        free(stores->windows);
        stores->windows = NULL;
    }
    return rc;
}

void stele_window_stores_done(struct stele_window_stores *stores)
{
    if (stores->windows)
        stele_windows_done(stores->windows);
    free(stores->windows);
    stores->windows = NULL;
}

void stele_window_stores_drop(struct stele_window_stores *stores)
{
    if (stores->windows)
        stele_windows_drop(stores->windows);
}

/* Pin as much of the stretch as one window has, at most @most_bytes, its pages in memory and writable. */
static int pin_piece(struct stele_windows *windows, uint64_t offset, uint64_t most_bytes, struct stele_pin *out,
                     size_t *out_bytes)
{
    uint64_t within = (offset - windows->first_offset) & (windows->window_bytes - 1);
    uint64_t piece = stele_min(most_bytes, windows->window_bytes - within);
    int rc = stele_window_pin(windows, offset, (size_t)piece, out);

    if (rc)
        return rc;
    rc = stele_os_populate((void *)(uintptr_t)out->bytes, (size_t)piece);
    if (rc) {
        stele_fail_at(offset);
        stele_window_unpin(out);
        return rc;
    }
    *out_bytes = (size_t)piece;
    return STELE_OK;
}

int stele_window_store(struct stele_window_stores *stores, uint64_t offset, const void *bytes, uint64_t byte_count)
{
    struct stele_windows *windows = stores->windows;
    const uint8_t *from = bytes;

    if (!windows)
        return stele_os_store(stores->file, offset, bytes, (size_t)byte_count, NULL);
    while (byte_count > 0) {
        struct stele_pin pin = { .window = NULL };
        size_t piece = 0;
        int rc = pin_piece(windows, offset, byte_count, &pin, &piece);

        if (rc)
            return rc;
        stele_window_pool_dirty(pin.window, (uint64_t)(pin.bytes - pin.window->bytes), piece);
        rc = stele_os_store(stores->file, offset, from, piece, (void *)(uintptr_t)pin.bytes);
        stele_window_unpin(&pin);
        if (rc)
            return rc;
        offset += piece;
        from += piece;
        byte_count -= piece;
    }
    return STELE_OK;
}

int stele_window_zero(struct stele_window_stores *stores, uint64_t offset, uint64_t byte_count, bool is_sparse)
{
    static const uint8_t zeros[ZERO_BYTES];
    uint64_t end = offset + byte_count;

    if (!stores->windows)
        return stele_os_zero(stores->file, offset, byte_count, is_sparse);
    /*
     * Also where zeros are read: who stored them may have been killed before its flush, or its flush may have failed,
     * and the disk has other bytes then, which a flush is sure to replace only where this handle has stored. Nobody
     * ever stored into a hole, so the disk has none but zeros there either.
     */
    while (offset < end) {
        uint64_t data = offset, piece;
        int rc = stele_os_next_data(stores->file, offset, &data);

        if (!rc && data > offset) {
            offset = stele_min(data, end);
            continue;
        }
        /* To the end of a page: what a store makes of a hole would else be the data of the next piece, and so on. */
        piece = stele_min(end - offset, ZERO_BYTES - offset % ZERO_BYTES);
        if (!rc)
            rc = stele_window_store(stores, offset, zeros, piece);
        if (rc)
            return rc;
        offset += piece;
    }
    return STELE_OK;
}

/* Whether the stretch, of at most ZERO_BYTES, reads as zeros; what cannot be read does not. */
static int is_zero_now(struct stele_windows *windows, uint64_t offset, size_t byte_count, bool *out_is_zero)
{
    uint8_t bytes[ZERO_BYTES];
    struct stele_pin pin = { .window = NULL };
    int rc = stele_window_pin(windows, offset, byte_count, &pin);

    if (rc)
        return rc;
    *out_is_zero = stele_guard_copy(bytes, pin.bytes, byte_count) && stele_is_zero(bytes, byte_count);
    stele_window_unpin(&pin);
    return STELE_OK;
}

int stele_window_next_data(struct stele_window_stores *stores, uint64_t offset, uint64_t end, uint64_t *out_offset)
{
    struct stele_windows *windows = stores->windows;

    while (offset < end) {
        uint64_t within = (offset - windows->first_offset) & (windows->window_bytes - 1);
        uint64_t piece = stele_min(end - offset, stele_min(ZERO_BYTES, windows->window_bytes - within));
        uint64_t data = offset;
        bool is_zero = true;
        int rc = stele_os_next_data(stores->file, offset, &data);

        if (!rc && data == offset)
            rc = is_zero_now(windows, offset, (size_t)piece, &is_zero);
        if (rc)
            return rc;
        if (!is_zero)
            break;
        offset = data > offset ? stele_min(data, end) : offset + piece;
    }
    *out_offset = offset;
    return STELE_OK;
}

int stele_window_prepare(struct stele_window_stores *stores, uint64_t offset, uint64_t byte_count)
{
    while (stores->windows && byte_count > 0) {
        struct stele_pin pin = { .window = NULL };
        size_t piece = 0;
        int rc = pin_piece(stores->windows, offset, byte_count, &pin, &piece);

        if (rc)
            return rc;
        /* It stays mapped, the most recently used: nobody else uses these windows until the store comes. */
        stele_window_unpin(&pin);
        offset += piece;
        byte_count -= piece;
    }
    return STELE_OK;
}

int stele_window_flush(struct stele_window_stores *stores)
{
    return stores->windows ? stele_window_pool_flush(stores->windows) : STELE_OK;
}
