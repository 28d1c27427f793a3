/*
 * What the parts of the suite `crash` share: the life at hand, and where it is cut.
 */
#ifndef CRASH_H
#define CRASH_H

#include "cut.h"
#include "judge.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

extern struct life life;
extern struct sim_log outer; /* its events */
extern struct cut cut;
extern uint64_t seed;

unsigned scale_percent(void); /* STELE_TEST_SCALE */
/* Run the life to its end; its handles are gone then, without a word. */
void run_life(void);
void begin_cut(void); /* before the first event: no file at all */
int tidy(void **state);

/* rot.c: what the medium changes by itself. */
void a_rotten_entry_before_others_is_not_taken_for_the_end(void **state);
void a_rotten_last_entry_takes_nothing_along_that_was_there_before(void **state);
void a_rotten_record_is_not_made_good_by_who_changes_its_neighbour(void **state);
void a_rotten_record_is_not_made_good_by_a_new_file(void **state);

/* live.c: what goes wrong under handles that live on. */
void a_process_that_dies_anywhere_leaves_the_others_a_whole_store(void **state);
void a_sync_that_fails_is_told_and_nothing_acknowledged_is_lost(void **state);
void syncs_that_fail_for_ever_are_told_and_nothing_acknowledged_is_lost(void **state);

#endif
