/*
 * Growth: more capacity in place. Records stay, the sums move behind the new end, both slots flip.
 *
 * Threads: the one that has the turn
 */
#ifndef STELE_GROWTH_H
#define STELE_GROWTH_H

#include "handle.h"

/*
 * Make room for @capacity records at least; nothing to do where there is. A growth that appends ask for (@is_ahead)
 * doubles up to 1 GiB a step, then adds an eighth.
 *
 * Errors:  STELE_E_FULL disk, the file as before; STELE_E_RANGE limits; STELE_E_VERSION a region of a newer stele
 *          stands in the way; a failed sync poisons
 * Durability: after return the room survives power loss
 */
int stele_growth_make(struct stele *store, uint64_t capacity, bool is_ahead);

#endif
