/*
 * One reader beside one writer (lib/reader.c, live.c, settle.c), as a model for spin: tests/test_protocol.py runs it.
 *
 * Nothing holds a processor to the order of a program but what the program says. A store becomes visible before an earlier
 * one, unless it is a release, a release fence stands between the two, or both are to one place. A load is made before an
 * earlier one, unless that one is an acquire, an acquire fence stands between the two, or both are of one place. What is
 * visible is so to all.
 *
 * A record is two words. What the writer does is one of the scenes below; the reader looks once, at any moment, and what
 * it takes for whole must be the record of one commit, of the one that its stripe names or a newer one.
 *
 * Not here: waiting, deadlines, dead writers, which mode a reader is in, snapshots, views.
 */

#ifndef BUG
#define BUG 0
#endif
/*
 * 1  two commits, one behind the other, change the record
 * 2  a bulk append stores the record behind the count, then raises the count
 * 3  the record is cut, then stored anew by a bulk append
 * 4  a first open stores the record anew, while the reader is detached: it knows the session only
 */
#ifndef SCENE
#define SCENE 1
#endif

#define STRIPE 0
#define COUNT 1
#define SESSION 2
#define WORD_0 3
#define WORD_1 4

byte memory[5];

/* ---- the writer's program: stores, in order ---- */

#define STORES_MAX 10
byte place[STORES_MAX], value[STORES_MAX];
bit is_release[STORES_MAX], is_behind_fence[STORES_MAX];
byte store_count;
bit is_fence_next, is_visible[STORES_MAX];

inline store(place_, value_, is_release_)
{
    place[store_count] = place_;
    value[store_count] = value_;
    is_release[store_count] = is_release_;
    is_behind_fence[store_count] = is_fence_next;
    is_fence_next = false;
    store_count++
}

inline store_record(version)
{
    store(WORD_0, version, false);
    store(WORD_1, version, false)
}

inline hold(before)
{
    store(STRIPE, 2 * (before) + 1, false);
    is_fence_next = (BUG != 101)
}

inline release(version)
{
    store(STRIPE, 2 * (version), BUG != 102)
}

/* Whether store @which may become visible now. */
#define CANNOT_PASS(earlier, which) (!is_visible[earlier] && \
    (is_release[which] || place[earlier] == place[which] || is_fence_between))

/* ---- the reader's program: loads, in order ---- */

#define LOADS_MAX 6
byte from[LOADS_MAX], got[LOADS_MAX];
bit is_acquire[LOADS_MAX], is_load_behind_fence[LOADS_MAX], is_made[LOADS_MAX];
byte load_count;

inline load(place_, is_acquire_, is_behind_fence_)
{
    from[load_count] = place_;
    is_acquire[load_count] = is_acquire_;
    is_load_behind_fence[load_count] = is_behind_fence_;
    load_count++
}

byte at, step;
bit is_fence_between, is_blocked;

/* Look whether store @which has to wait for an earlier one. */
inline look_at_store(which)
{
    is_blocked = false;
    is_fence_between = false;
    at = which;
    do
    :: at > 0 ->
        if :: is_behind_fence[at] -> is_fence_between = true :: else fi;
        at--;
        if :: CANNOT_PASS(at, which) -> is_blocked = true :: else fi
    :: else -> break
    od;
    is_fence_between = false
}

inline look_at_load(which)
{
    is_blocked = false;
    is_fence_between = false;
    at = which;
    do
    :: at > 0 ->
        if :: is_load_behind_fence[at] -> is_fence_between = true :: else fi;
        at--;
        if
        :: !is_made[at] && (is_acquire[at] || from[at] == from[which] || is_fence_between) -> is_blocked = true
        :: else
        fi
    :: else -> break
    od;
    is_fence_between = false
}

inline judge()
{
    d_step {
        if
        :: SCENE == 4 ->
            /* Session, two words, session. */
            if
            :: got[0] == got[3] && got[0] == 0 -> assert(got[1] == 0 && got[2] == 0)
            :: else
            fi
        :: else ->
            /* Stripe, count, session, two words, stripe. */
            if
            :: got[0] == got[5] && got[0] % 2 == 0 && got[1] == 2 ->
                assert(got[3] == got[4]);
                assert(SCENE != 1 || got[3] == got[0] / 2);
                assert(SCENE != 2 || got[3] == 1)
            :: else
            fi
        fi
    }
}

active proctype world()
{
    /* The record is the one at index 1. */
    d_step {
        if
        :: SCENE == 1 ->
            memory[COUNT] = 2;
            hold(0); store_record(1); store(COUNT, 2, BUG != 105); release(1);
            hold(1); store_record(2); store(COUNT, 2, BUG != 105); release(2)
        :: SCENE == 2 ->
            memory[COUNT] = 1;
            if
            :: BUG == 17 -> store(COUNT, 2, true); store_record(1)
            :: else -> store_record(1); store(COUNT, 2, BUG != 105)
            fi
        :: SCENE == 3 ->
            memory[COUNT] = 2;
            if
            :: BUG == 107 -> store(COUNT, 1, true)
            :: else -> hold(0); store(COUNT, 1, BUG != 105); release(1)
            fi;
            store_record(2);
            store(COUNT, 2, BUG != 105)
        :: SCENE == 4 ->
            if :: BUG == 18 :: else -> store(SESSION, 1, false) fi;
            is_fence_next = (BUG != 108);
            store_record(1)
        fi;
        if
        :: SCENE == 4 ->
            load(SESSION, false, false);
            load(WORD_0, false, false);
            load(WORD_1, false, false);
            load(SESSION, false, BUG != 109)
        :: else ->
            load(STRIPE, BUG != 103, false);
            load(COUNT, BUG != 106, false);
            /* The fence of the look at the session orders what precedes it once more. */
            load(SESSION, false, BUG != 103 && BUG != 106);
            load(WORD_0, false, BUG != 103 && BUG != 106);
            load(WORD_1, false, false);
            load(STRIPE, false, BUG != 104)
        fi
    };
    /* Any store and any load that may be next, in any order. */
    do
    :: atomic {
        step = 0;
        do
        :: step + 1 < store_count -> step++
        :: true -> break
        od;
        if
        :: !is_visible[step] ->
            look_at_store(step);
            if
            :: !is_blocked ->
                memory[place[step]] = value[step];
                is_visible[step] = true;
                printf("visible: place %d is %d\n", place[step], value[step])
            :: else
            fi
        :: else
        fi;
        step = 0; is_blocked = false
    }
    :: atomic {
        step = 0;
        do
        :: step + 1 < load_count -> step++
        :: true -> break
        od;
        if
        :: !is_made[step] ->
            look_at_load(step);
            if
            :: !is_blocked ->
                got[step] = memory[from[step]];
                is_made[step] = true;
                printf("    loaded: place %d has %d\n", from[step], got[step])
            :: else
            fi
        :: else
        fi;
        step = 0; is_blocked = false
    }
    :: is_made[0] && is_made[1] && is_made[2] && is_made[3] && (load_count == 4 || (is_made[4] && is_made[5])) -> break
    od;
    judge()
}
