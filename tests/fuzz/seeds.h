/* Seeds: stores of every kind that the library makes, to begin with; the same ones at each start. */
#ifndef SEEDS_H
#define SEEDS_H

#include "image.h"

enum { SEED_COUNT = 7 };

/* Make the @which-th store at @path, empty or absent before and after, and look at it while it is open or closed. */
bool seed_make(const char *path, unsigned which, struct image *out);

#endif
