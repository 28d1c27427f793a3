/*
 * The pool: windows with a budget. Pins are counted, idle windows go when room is needed, least recently used first.
 *
 * A pin and its unpin take no lock while the window is mapped: one 32-bit change each. Mapping and unmapping are under
 * the mutex. Windows' memory is never freed before done, so whoever finds one in the table may look at its state.
 *
 * Not here: what the public calls of window.h say; they come here where there is a budget.
 */
#ifndef STELE_WINDOW_POOL_H
#define STELE_WINDOW_POOL_H

#include "window.h"

/* Who asks: a moment passes the budget rather than fail, a view does not, nor does one with copies of its own. */
enum stele_window_use { STELE_WINDOW_MOMENT, STELE_WINDOW_VIEW, STELE_WINDOW_PRIVATE };

/* Windows of a build that looks for wrong uses: as small, and mapped as short, as can be. */
bool stele_window_is_torture(void);

/* Errors: STELE_E_NOMEM */
int stele_window_pool_init(struct stele_windows *windows, uint64_t budget_bytes);
/* @is_ours: the maps are of this process. */
void stele_window_pool_done(struct stele_windows *windows, bool is_ours);
/* Unmap all that is idle. */
void stele_window_pool_drop(struct stele_windows *windows);

/* As stele_window_pin and stele_window_pin_view. */
int stele_window_pool_pin(struct stele_windows *windows, uint64_t offset, uint64_t byte_count,
                          enum stele_window_use use, struct stele_pin *out);

/* Map @byte_count bytes from @offset, whole granules, counted. Errors: STELE_E_FULL the budget, or address space */
int stele_window_pool_map(struct stele_windows *windows, uint64_t offset, size_t byte_count,
                          enum stele_window_use use, void **out);
void stele_window_pool_unmap(struct stele_windows *windows, void *map, size_t byte_count);

/* What was stored into the pinned @window: to be flushed, also when the window is gone by then. */
void stele_window_pool_dirty(struct stele_window *window, uint64_t within, uint64_t byte_count);
/* Flush what was stored, also through windows that are gone. Errors: STELE_E_FULL, STELE_E_IO, since the last one */
int stele_window_pool_flush(struct stele_windows *windows);

/* Fail unless the file reaches to the end of the stretch now; *@out_file_bytes is where it ends. */
int stele_window_check_file(const struct stele_windows *windows, uint64_t offset, uint64_t byte_count,
                            uint64_t *out_file_bytes);
/* What a window @index takes of a file of @file_bytes. Errors: STELE_E_FULL more than there are addresses */
int stele_window_stretch(const struct stele_windows *windows, uint64_t index, uint64_t file_bytes,
                         uint64_t *out_offset, size_t *out_bytes);
/* Raise that the file has grown out of the table. */
int stele_window_outgrown(void);

#endif
