/*
 * Lies: changes of a store's image that leave its checksums right, so that what stands behind them is met.
 */
#ifndef LIES_H
#define LIES_H

#include "image.h"

/* Change @image in one or a few places, as *@state says, which moves on. */
void lies_tell(struct image *image, uint64_t *state);
/* Make checksums right again: of entries, words of blocks, schema and slots; now and then not all of them. */
void lies_repair(struct image *image, uint64_t *state);

#endif
