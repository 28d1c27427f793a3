/*
 * The judge of what a cut left: of all that was acknowledged nothing is missing, what was not is there whole or not at
 * all and in order, nothing is damaged, and going through it again changes nothing.
 */
#ifndef JUDGE_H
#define JUDGE_H

#include "life.h"

/* What may be found after @event_count events, when the power goes, or processes die. */
struct judge_range {
    bool may_be_absent; /* the store was not created yet */
    bool is_undecided;  /* a reader may say that a writer has to come first, of what was not acknowledged */
    size_t first, end;  /* states; none where the store may not be there at all */
};

struct judge_range judge_range(const struct life *life, size_t event_count, bool is_death);
/*
 * Open what the simulation has, by reading and then by writing, over and over; false: @out_why says what is wrong.
 * @out_state: which state it is in, SIZE_MAX: absent. @goes_on: commit once more at the end. The second time the first
 * open for writing is cut off at its end: what a recovery was worth.
 */
bool judge_image(const struct life *life, const struct judge_range *range, bool goes_on, size_t *out_state);
/* The records behind @store are those of a state of @range, and it knows which commits are there. */
bool judge_store(const struct life *life, const struct judge_range *range, struct stele *store, size_t *out_state);
/* It verifies, but for damage of the @allowed kinds to the file around the records. */
bool judge_verifies(struct stele *store, uint32_t allowed);
extern char judge_why[1024];

#endif
