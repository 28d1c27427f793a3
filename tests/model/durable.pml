/*
 * Commit, checkpoint, crash and recovery (lib/DESIGN.md), as a model for spin: tests/test_protocol.py runs it.
 *
 * Two handles take turns at a store of two records. The file is a few sectors. A sector is what the system shows, and the
 * set of what the disk may hold: what the last sync that covered it made durable, and all it was since. A power cut takes
 * one of the set, for each sector by itself, so stores reach the disk in any order. A process dies between any two stores.
 *
 * An entry of the journal fills a page of two sectors, a header slot too: it is whole where both are of one write. A
 * record is one sector, written in place. A commit of both records shows what is not all-or-nothing.
 *
 * A sync by one handle makes durable only what that handle stored itself (views on Windows; on Linux the error that tells
 * of a lost store may have been told to another one).
 *
 * Asserted always (the judge): after a recovery the records are those of one commit, of the newest that was acknowledged
 * or of a newer one, never of one that an earlier recovery had lost; no number is issued twice; damage is reported where
 * acknowledged commits are lost, and only there.
 * Asserted without JUDGE_ONLY too: what makes it so, step by step.
 *
 * Not here: how large an entry is and how entries share a page, sums, growth, creation, rewrites, bytes that a recovery
 * reads twice and that are thrown away in between, readers (seqlock.pml).
 */

/* What is planted, by its number in test_protocol.py; 0 nothing. */
#ifndef BUG
#define BUG 0
#endif
/* Bounds of a run. */
#ifndef COMMITS
#define COMMITS 3
#endif
#ifndef CRASHES
#define CRASHES 2
#endif
#ifndef CHECKPOINTS
#define CHECKPOINTS 1 /* asked for; those that a full ring needs are not counted */
#endif
#ifndef CLOSES
#define CLOSES 0
#endif
#ifndef ROTS
#define ROTS 0 /* sectors that go bad under a crash */
#endif
#ifndef FAILS
#define FAILS 0 /* syncs that fail */
#endif
#ifndef COUNTS
#define COUNTS 0 /* 1: commits that cut the count, and bulk appends */
#endif
#ifndef PLACES
#define PLACES 3 /* pages of the ring, one of which stays free */
#endif

#ifdef JUDGE_ONLY
#define HOLDS(what) skip
#else
#define HOLDS(what) assert(what)
#endif

#define LEAP 8 /* more than commits between two headers; 2^32 in the library */
#define IDS (COMMITS + 1)
#define ROTTEN 7 /* no entry and no header has this number */
#define NONE 15
#define CHAIN_OF_SESSION(session) (16 + session)

/* Live state. */
#define IDLE 0
#define COMMITTING 1
#define RECOVERING 2
#define FAILED 3

/*
 * What a handle does in its turn; LOOK: begin, and nothing else. What a commit does: SET stores all records below the
 * count, CUT takes the count from 2 to 1, BULK puts record 1 in place, then takes the count from 1 to 2.
 */
mtype = { LOOK, COMMIT, COMMIT_ASYNC, CHECKPOINT, CLOSE, SET, CUT, BULK };

/* ---- the file ---- */

/* Sectors: two header slots of two, two records, the pages of the ring of two each. */
#define SLOT(slot_) (2 * (slot_))
#define RECORD(index_) (4 + (index_))
#define RING(page_) (6 + 2 * (page_))
#define SECTORS RING(PLACES)

/* What the system shows, and bit by bit what the disk may hold. */
byte shown[SECTORS], disk[SECTORS] = 1;
/* Bit by bit: a sync failed, and the system takes the sector for clean. It writes it no more, and may throw it away. */
short stale;
byte stored_by[2]; /* the handles, bit by bit, that stored what a record shows */

/* Entries, numbered as commits are tried. What one holds is never changed. 0: the store as it was created. */
byte entry_sequence[IDS], entry_session[IDS], entry_chain[IDS], entry_synced[IDS];
mtype entry_kind[IDS];
/* The store after it. */
byte after_0[IDS], after_1[IDS], after_count[IDS];

/* Headers by number; a number comes again when no sector can hold it. */
byte head_generation[7], head_session[7], head_sequence[7], head_chain[7], head_place[7], head_count[7];
bit head_is_clean[7];
byte head_last[7]; /* the commit that it stands for: for the judge only */

/* ---- the live region ---- */

byte state, session, logged, synced, applied, chain, ring_head, ring_tail, count_high;
byte last; /* the commit logged last: for the judge, and what a transaction is staged on */

/* ---- the handles ---- */

bit is_open[2], has_foreign[2];
byte seen_session[2], seen_logged[2], seen_applied[2], seen_head[2];

/* ---- the judge ---- */

byte next_id = 1;
byte kept;           /* the commit that the last recovery ended with */
byte first_new = 1;  /* the first commit after that recovery */
byte durable;        /* the newest one acknowledged: survives all */
byte visible;        /* the newest one acknowledged, async or not: survives the death of processes */
byte crashes = CRASHES, checkpoints = CHECKPOINTS, closes = CLOSES, rots = ROTS, fails = FAILS;
bit is_ring_rotten;

/* ---- scratch: dead between two steps ---- */

byte at, id, number, image_0, image_1, walked_sequence, walked_chain, walked_place, walked_count, walked_last, highest;
byte walked_pages, page, ruling, current;
mtype kind = SET, deed = LOOK;
bit handle, is_found, is_lost, is_checkpoint_due, is_own, is_clean_close;

/* A process may die here, or the power go. */
#define STEP if :: true :: crashes > 0 -> goto died fi

/* A sync may fail here. */
#define SYNC_STEP if :: true :: fails > 0 -> goto failed fi

#define BIT(value) (1 << (value))
#define IS_STALE(sector) (stale & BIT(sector))
#define IS_WHOLE(page_) (shown[RING(page_)] == shown[RING(page_) + 1] && shown[RING(page_)] != 0 && \
                         shown[RING(page_)] != ROTTEN)
#define IS_HEAD(page_) (shown[RING(page_)] != 0 && shown[RING(page_)] != ROTTEN)
#define IS_SLOT(slot_) (shown[SLOT(slot_)] == shown[SLOT(slot_) + 1] && shown[SLOT(slot_)] != ROTTEN)
#define IS_PENDING(page_) (IS_WHOLE(page_) && entry_session[shown[RING(page_)]] == session && \
                           entry_sequence[shown[RING(page_)]] > synced)

inline put(sector, value)
{
    printf("    stores %d to sector %d\n", value, sector);
    shown[sector] = value;
    disk[sector] = disk[sector] | BIT(value);
    stale = stale & ~BIT(sector)
}

/* The two sectors of a page. */
inline sync(sector)
{
    printf("    syncs sectors %d and %d\n", sector, sector + 1);
    if :: IS_STALE(sector) :: else -> disk[sector] = BIT(shown[sector]) fi;
    if :: IS_STALE(sector + 1) :: else -> disk[sector + 1] = BIT(shown[sector + 1]) fi
}

/* The same bytes again, so that the system takes them for new; then they are synced. */
inline rewrite(sector)
{
    if :: BUG == 26 :: else -> stale = stale & ~(BIT(sector) | BIT(sector + 1)) fi;
    sync(sector)
}

inline put_record(index_, value)
{
    if
    :: shown[RECORD(index_)] != value -> stored_by[index_] = BIT(handle)
    :: else -> stored_by[index_] = stored_by[index_] | BIT(handle)
    fi;
    put(RECORD(index_), value)
}

/* fdatasync, or flushed views. */
inline sync_records()
{
    d_step {
        printf("    syncs the records that handle %d stored\n", handle);
        if :: (stored_by[0] & BIT(handle)) && !IS_STALE(RECORD(0)) -> disk[RECORD(0)] = BIT(shown[RECORD(0)]) :: else fi;
        if :: (stored_by[1] & BIT(handle)) && !IS_STALE(RECORD(1)) -> disk[RECORD(1)] = BIT(shown[RECORD(1)]) :: else fi
    }
}

/* Which slot rules; @ruling and @current. */
inline choose_slot()
{
    d_step {
        assert(IS_SLOT(0) || IS_SLOT(1));
        if
        :: IS_SLOT(0) && IS_SLOT(1) ->
            assert(shown[SLOT(0)] == shown[SLOT(1)] || head_generation[shown[SLOT(0)]] != head_generation[shown[SLOT(1)]]);
            ruling = head_generation[shown[SLOT(1)]] > head_generation[shown[SLOT(0)]]
        :: else -> ruling = IS_SLOT(1)
        fi;
        current = shown[SLOT(ruling)]
    }
}

/* ---- the walk ---- */

#define FITS(page_) (IS_WHOLE(page_) && ( \
    (entry_session[shown[RING(page_)]] == head_session[current] && \
     entry_sequence[shown[RING(page_)]] == walked_sequence + 1 && entry_chain[shown[RING(page_)]] == walked_chain) || \
    (BUG == 8 && entry_session[shown[RING(page_)]] != head_session[current])))

/* What commit @id does, on top of images and count. */
inline reduce()
{
    if
    :: entry_kind[id] == SET ->
        image_0 = id;
        if :: walked_count == 2 -> image_1 = id :: else fi
    :: entry_kind[id] == CUT -> walked_count = 1; image_1 = NONE
    :: entry_kind[id] == BULK -> walked_count = 2
    fi
}

/* From the head that @current names to the first page that does not fit. */
inline walk()
{
    d_step {
        walked_sequence = head_sequence[current];
        walked_chain = head_chain[current];
        walked_place = head_place[current];
        walked_count = head_count[current];
        walked_last = head_last[current];
        walked_pages = 0;
        image_0 = NONE;
        image_1 = NONE;
        at = 0;
        do
        :: at < PLACES ->
            is_found = true;
            if
            :: walked_place < PLACES && FITS(walked_place % PLACES) -> page = walked_place
            :: else ->
                if
                :: FITS(0) -> page = 0
                :: else -> is_found = false
                fi
            fi;
            if
            :: is_found ->
                id = shown[RING(page)];
                walked_sequence = entry_sequence[id];
                walked_chain = id;
                walked_last = id;
                walked_place = page + 1;
                walked_pages = walked_pages | BIT(page);
                reduce();
                at++
            :: else -> break
            fi
        :: else -> break
        od;
        is_found = false; at = 0; id = 0; page = 0
    }
}

/* What the rest of the ring says: the highest number, and whether what is gone had been acknowledged. */
inline scan()
{
    d_step {
        highest = walked_sequence;
        is_lost = false;
        page = 0;
        do
        :: page < PLACES ->
            if
            :: IS_HEAD(page) ->
                id = shown[RING(page)];
                if
                :: entry_session[id] == head_session[current] && entry_sequence[id] > highest ->
                    highest = entry_sequence[id]
                :: else
                fi;
                if
                :: IS_WHOLE(page) && entry_session[id] == head_session[current] &&
                   entry_sequence[id] > walked_sequence && entry_synced[id] > walked_sequence -> is_lost = true
                :: IS_WHOLE(page) && entry_session[id] != head_session[current] &&
                   entry_sequence[id] >= head_sequence[current] + LEAP -> is_lost = true
                :: else
                fi
            :: else
            fi;
            page++
        :: else -> break
        od;
        if :: BUG == 9 -> is_lost = false :: else fi;
        id = 0; page = 0
    }
}

/* Log first: entry @number is durable wherever it lies, or the headers are past it. */
inline hold_logged(image)
{
    d_step {
        is_found = (image == NONE);
        page = 0;
        do
        :: page < PLACES ->
            if
            :: image != NONE && shown[RING(page)] == image && disk[RING(page)] == BIT(image) &&
               disk[RING(page) + 1] == BIT(image) -> is_found = true
            :: else
            fi;
            page++
        :: else -> break
        od;
        HOLDS(is_found);
        is_found = false; page = 0
    }
}

/* The last images, in place. */
inline put_images()
{
    hold_logged(image_0);
    hold_logged(image_1);
    if
    :: image_0 != NONE -> put_record(0, image_0); STEP
    :: else
    fi;
    if
    :: image_1 != NONE -> put_record(1, image_1); STEP
    :: else
    fi;
    image_0 = NONE; image_1 = NONE
}

/* ---- the flip ---- */

/* Both slots to header @number, which nothing holds yet; then numbers begin at 0 again. */
inline flip()
{
    put(SLOT(1 - ruling), number);
    STEP;
    put(SLOT(1 - ruling) + 1, number);
    STEP;
    SYNC_STEP;
    sync(SLOT(1 - ruling));
    STEP;
    if
    :: BUG == 5
    :: else ->
        put(SLOT(ruling), number);
        STEP;
        put(SLOT(ruling) + 1, number);
        STEP;
        SYNC_STEP;
        sync(SLOT(ruling));
        d_step {
            head_generation[0] = 0;
            head_session[0] = head_session[number];
            head_sequence[0] = head_sequence[number];
            head_chain[0] = head_chain[number];
            head_place[0] = head_place[number];
            head_count[0] = head_count[number];
            head_is_clean[0] = head_is_clean[number];
            head_last[0] = head_last[number];
            at = 0;
            do
            :: at < SLOT(2) -> shown[at] = 0; disk[at] = 1; at++
            :: else -> break
            od;
            at = 1;
            do
            :: at < 7 -> forget_head(at); at++
            :: else -> break
            od;
            at = 0; number = 0; ruling = 0; current = 0
        }
    fi
}

inline forget_head(which)
{
    head_generation[which] = 0;
    head_session[which] = 0;
    head_sequence[which] = 0;
    head_chain[which] = 0;
    head_place[which] = 0;
    head_count[which] = 0;
    head_is_clean[which] = 0;
    head_last[which] = 0
}

/* A number that no sector of a slot holds or may hold. */
inline new_head()
{
    number = 0;
    do
    :: (disk[0] | disk[1] | disk[2] | disk[3]) & BIT(number) -> number++
    :: else -> break
    od;
    assert(number < 7);
    head_generation[number] = head_generation[current] + 1
}

/* A session that nobody has. */
inline draw_session()
{
    session++; /* another one than the live region's, of whatever life */
    at = 0;
    do
    :: at < IDS ->
        if :: entry_session[at] >= session -> session = entry_session[at] + 1 :: else fi;
        at++
    :: else -> break
    od;
    at = 0;
    do
    :: at < 7 ->
        if :: head_session[at] >= session -> session = head_session[at] + 1 :: else fi;
        at++
    :: else -> break
    od;
    at = 0
}

/* ---- recovery ---- */

/* What a recovery, or anybody who looks now, finds is allowed. */
inline judge()
{
    d_step {
        printf("  finds commit %d; acknowledged was %d; lost is reported: %d\n", walked_last, visible, is_lost);
        if
        :: is_lost -> assert(is_ring_rotten)
        :: else ->
            assert(walked_last >= visible);
            assert(walked_last == kept || walked_last >= first_new)
        fi
    }
}

inline recover()
{
    d_step {
        draw_session();
        state = RECOVERING;
        printf("  recovers: session %d\n", session)
    };
    STEP;
    choose_slot();
    if
    :: BUG == 20 /* the ruling slot is believed as the system shows it */
    :: else -> SYNC_STEP; rewrite(SLOT(ruling)); STEP
    fi;
    walk();
    scan();
    judge();
    if :: is_lost -> goto done :: else fi;
    /* The walked tail again, page by page: a crash may come in between. */
    if
    :: BUG == 21
    :: else ->
        do
        :: walked_pages ->
            SYNC_STEP;
            d_step {
                page = 0;
                do
                :: walked_pages & BIT(page) -> break
                :: else -> page++
                od;
                rewrite(RING(page));
                walked_pages = walked_pages & ~BIT(page);
                page = 0
            };
            STEP
        :: else -> break
        od
    fi;
    walked_pages = 0;
    /* From here it must end in the same, however often it is cut. */
    d_step { durable = walked_last; visible = walked_last; kept = walked_last; first_new = next_id };
    put_images();
    d_step {
        assert(walked_count == after_count[kept] && shown[RECORD(0)] == after_0[kept]);
        assert(walked_count == 1 || shown[RECORD(1)] == after_1[kept])
    };
    if
    :: BUG == 22
    :: else -> SYNC_STEP; sync_records(); STEP
    fi;
    d_step {
        choose_slot();
        new_head();
        if
        :: BUG == 13 -> head_sequence[number] = walked_sequence
        :: else -> head_sequence[number] = highest + LEAP
        fi;
        head_session[number] = session;
        head_chain[number] = CHAIN_OF_SESSION(session);
        head_place[number] = 0;
        head_count[number] = walked_count;
        head_is_clean[number] = false;
        head_last[number] = walked_last;
        logged = head_sequence[number]; synced = logged; applied = logged;
        chain = head_chain[number];
        ring_head = 0; ring_tail = 0;
        count_high = walked_count;
        last = walked_last;
        walked_sequence = 0; walked_chain = 0; walked_place = 0; walked_last = 0; walked_count = 0; highest = 0;
        HOLDS(disk[RECORD(0)] == BIT(after_0[kept]));
        HOLDS(after_count[kept] == 1 || disk[RECORD(1)] == BIT(after_1[kept]))
    };
    flip();
    d_step {
        has_foreign[handle] = false;
        seen_session[handle] = session; seen_logged[handle] = logged; seen_applied[handle] = applied;
        seen_head[handle] = ring_head;
        state = IDLE
    }
}

/* ---- a checkpoint ---- */

inline checkpoint()
{
    printf("  makes a checkpoint\n");
    choose_slot();
    if
    :: has_foreign[handle] && BUG != 12 ->
        walk();
        HOLDS(walked_sequence == applied && walked_last == last);
        put_images()
    :: else
    fi;
    d_step { walked_pages = 0; walked_sequence = 0; walked_chain = 0; walked_place = 0; walked_last = 0; walked_count = 0 };
    if
    :: BUG == 4
    :: else ->
        SYNC_STEP;
        sync_records();
        STEP;
        HOLDS(disk[RECORD(0)] == BIT(after_0[last]));
        HOLDS(after_count[last] == 1 || disk[RECORD(1)] == BIT(after_1[last]))
    fi;
    state = COMMITTING;
    STEP;
    /* Where the new lap begins is a matter of size in the library: here either will do. */
    if
    :: ring_tail < PLACES -> page = ring_tail
    :: page = 0
    fi;
    d_step {
        choose_slot();
        new_head();
        head_session[number] = head_session[current];
        head_sequence[number] = applied;
        head_chain[number] = chain;
        head_place[number] = page;
        head_count[number] = after_count[last];
        head_is_clean[number] = is_clean_close;
        head_last[number] = last;
        page = 0
    };
    flip();
    if :: BUG == 4 -> SYNC_STEP; sync_records(); STEP :: else fi;
    d_step {
        choose_slot();
        ring_head = head_place[current];
        ring_tail = ring_head;
        count_high = after_count[last];
        has_foreign[handle] = false;
        ruling = 0; current = 0; number = 0;
        state = IDLE
    }
}

/* ---- a commit ---- */

/* Where the next entry goes, in @page, or NONE: it would reach the head. */
inline find_place()
{
    if
    :: ring_head != ring_tail && ring_tail <= ring_head ->
        if
        :: ring_tail + 1 < ring_head -> page = ring_tail
        :: else -> page = NONE
        fi
    :: else ->
        if
        :: ring_tail < PLACES && !(ring_tail + 1 == PLACES && ring_head == 0) -> page = ring_tail
        :: else ->
            if
            :: ring_head > 1 || (BUG == 7 && ring_head == 1) -> page = 0
            :: else -> page = NONE
            fi
        fi
    fi
}

/* One write and one sync of all that is not synced; two where it goes over the end of the ring. */
inline sync_run()
{
    SYNC_STEP;
    d_step {
        /* The page of the oldest. */
        number = NONE;
        page = 0;
        do
        :: page < PLACES ->
            if
            :: IS_PENDING(page) && entry_sequence[shown[RING(page)]] == synced + 1 -> number = page
            :: else
            fi;
            page++
        :: else -> break
        od;
        assert(number != NONE);
        is_found = false;
        page = 0;
        do
        :: page < PLACES ->
            if
            :: IS_PENDING(page) && page < number -> is_found = true
            :: IS_PENDING(page) && page >= number && !(BUG == 3 && shown[RING(page)] != last) ->
                rewrite(RING(page))
            :: else
            fi;
            page++
        :: else -> break
        od;
        page = 0
    };
    STEP;
    if
    :: is_found ->
        SYNC_STEP;
        d_step {
            page = 0;
            do
            :: page < number ->
                if :: IS_PENDING(page) -> rewrite(RING(page)) :: else fi;
                page++
            :: else -> break
            od;
            page = 0
        };
        STEP
    :: else
    fi;
    d_step { is_found = false; number = 0 }
}

/* The images of all that is logged and not applied yet. */
inline collect()
{
    d_step {
        walked_count = after_count[last]; /* scratch of reduce: the count on the way does not matter for images */
        image_0 = NONE;
        image_1 = NONE;
        id = 1;
        do
        :: id < next_id ->
            if
            :: entry_session[id] == session && entry_sequence[id] > applied && entry_sequence[id] <= logged ->
                walked_count = after_count[id];
                reduce()
            :: else
            fi;
            id++
        :: else -> break
        od;
        id = 0; walked_count = 0
    }
}

inline put_in_place()
{
    collect();
    put_images();
    d_step {
        applied = logged;
        assert(shown[RECORD(0)] == after_0[last]);
        assert(after_count[last] == 1 || shown[RECORD(1)] == after_1[last])
    }
}

/* Another handle's commits that are not synced, or one's own before a checkpoint. */
inline settle_pending()
{
    printf("  syncs what is pending\n");
    if :: BUG == 23 :: else -> state = COMMITTING fi;
    sync_run();
    synced = logged;
    durable = last;
    if
    :: BUG == 24
    :: else -> put_in_place()
    fi;
    state = IDLE
}

inline stage()
{
    d_step {
        id = next_id;
        next_id++;
        printf("  commit %d: %e\n", id, kind);
        after_0[id] = after_0[last];
        after_1[id] = after_1[last];
        after_count[id] = after_count[last];
        if
        :: kind == SET ->
            after_0[id] = id;
            if :: after_count[id] == 2 -> after_1[id] = id :: else fi
        :: kind == CUT -> after_count[id] = 1; after_1[id] = 0
        :: kind == BULK -> after_count[id] = 2; after_1[id] = id
        fi
    }
}

/* From here the number is given out, whatever becomes of it. */
inline seal()
{
    d_step {
        entry_kind[id] = kind;
        entry_sequence[id] = logged + 1;
        entry_session[id] = session;
        entry_chain[id] = chain;
        entry_synced[id] = synced;
        printf("    sequence %d, session %d, behind %d, of which %d is synced\n", logged + 1, session, logged, synced);
        at = 1;
        do
        :: at < id -> assert(entry_sequence[at] != entry_sequence[id]); at++
        :: else -> break
        od;
        at = 0
    }
}

inline log_entry()
{
    d_step {
        logged = entry_sequence[id];
        chain = id;
        ring_tail = page + 1;
        last = id;
        if :: after_count[id] > count_high -> count_high = after_count[id] :: else fi
    }
}

inline commit()
{
    stage();
    if
    :: kind == BULK ->
        put_record(1, id);
        STEP;
        SYNC_STEP;
        sync_records();
        STEP
    :: else
    fi;
    find_place();
    assert(page != NONE);
    seal();
    state = COMMITTING;
    put(RING(page), id);
    STEP;
    put(RING(page) + 1, id);
    STEP;
    log_entry();
    kind = SET; page = 0; id = 0;
    if
    :: deed == COMMIT_ASYNC ->
        state = IDLE;
        visible = last
    :: else ->
        if :: BUG == 2 -> durable = last; visible = last; STEP :: else fi;
        if :: BUG == 1 :: else -> sync_run() fi;
        synced = logged;
        put_in_place();
        d_step { state = IDLE; durable = last; visible = last; printf("  acknowledged: commit %d is durable\n", last) }
    fi
}

/* ---- a crash ---- */

inline cut_power()
{
    printf("THE POWER GOES\n");
    page = 0;
    do
    :: page < SECTORS ->
        at = 0;
        do
        :: disk[page] & BIT(at) -> break
        :: disk[page] >> (at + 1) -> at++
        od;
        if
        :: shown[page] != at -> printf("  the disk has %d in sector %d, not %d\n", at, page, shown[page])
        :: else
        fi;
        shown[page] = at;
        disk[page] = BIT(at);
        page++
    :: else -> break
    od;
    at = 0; page = 0; stale = 0;
    stored_by[0] = 0; stored_by[1] = 0;
    visible = durable
}

inline evict()
{
    atomic {
        page = 0;
        do
        :: page < SECTORS && !IS_STALE(page) -> page++
        :: page < SECTORS && IS_STALE(page) -> page++
        :: page < SECTORS && IS_STALE(page) ->
            at = 0;
            do
            :: disk[page] & BIT(at) -> break
            :: disk[page] >> (at + 1) -> at++
            od;
            printf("  thrown away: sector %d, which now has %d\n", page, at);
            shown[page] = at;
            disk[page] = BIT(at);
            stale = stale & ~BIT(page);
            page++
        :: page == SECTORS -> break
        od;
        at = 0; page = 0
    }
}

/* Nobody has it open: live words of this life mean nothing any more. */
inline forget_live()
{
    is_open[0] = false; is_open[1] = false;
    state = IDLE; session = 0; logged = 0; synced = 0; applied = 0; chain = 0; ring_head = 0; ring_tail = 0;
    count_high = 0; last = 0;
    forget_handle(0);
    forget_handle(1)
}

inline forget_handle(which)
{
    is_open[which] = false;
    has_foreign[which] = false;
    seen_session[which] = 0; seen_logged[which] = 0; seen_applied[which] = 0; seen_head[which] = 0
}

inline forget_scratch()
{
    at = 0; id = 0; number = 0; image_0 = NONE; image_1 = NONE; walked_sequence = 0; walked_chain = 0;
    walked_place = 0; walked_count = 0; walked_last = 0; highest = 0; walked_pages = 0; page = 0; ruling = 0;
    current = 0; kind = SET; deed = LOOK; is_found = false; is_lost = false; is_checkpoint_due = false; is_own = false;
    is_clean_close = false
}

#define IS_DURABLE(sector) (disk[sector] == BIT(shown[sector]) && disk[sector + 1] == BIT(shown[sector + 1]))

/* A sector of the medium goes bad: of a slot while the disk has the other whole, or of an entry with proof behind it. */
inline rot()
{
    if
    :: true
    :: rots > 0 && IS_SLOT(0) && IS_DURABLE(SLOT(1)) && IS_SLOT(1) ->
        rots--;
        printf("  slot 0 goes bad\n");
        shown[SLOT(0)] = ROTTEN; disk[SLOT(0)] = BIT(ROTTEN)
    :: rots > 0 && IS_SLOT(1) && IS_DURABLE(SLOT(0)) && IS_SLOT(0) ->
        rots--;
        printf("  slot 1 goes bad\n");
        shown[SLOT(1)] = ROTTEN; disk[SLOT(1)] = BIT(ROTTEN)
    :: rots > 0 && IS_SLOT(0) && IS_SLOT(1) && shown[SLOT(0)] == shown[SLOT(1)] ->
        current = shown[SLOT(0)];
        walk();
        page = 0;
        do
        :: page + 1 < PLACES -> page++
        :: true -> break
        od;
        /* Not of the last group that the disk has: that looks like a torn write. */
        if
        :: (walked_pages & BIT(page)) && entry_sequence[shown[RING(page)]] <= entry_synced[walked_last] &&
           IS_DURABLE(RING(walked_place - 1)) ->
            rots--;
            printf("  page %d of the ring goes bad\n", page);
            is_ring_rotten = true;
            if
            :: shown[RING(page)] = ROTTEN; disk[RING(page)] = BIT(ROTTEN)
            :: shown[RING(page) + 1] = ROTTEN; disk[RING(page) + 1] = BIT(ROTTEN)
            fi
        :: else
        fi
    fi;
    forget_scratch()
}

/* ---- the world ---- */

active proctype world()
{
    d_step {
        after_count[0] = 2;
        /* Created, and opened by handle 0, which recovered: session 1. */
        head_session[0] = 1; head_chain[0] = CHAIN_OF_SESSION(1); head_count[0] = 2;
        session = 1; chain = head_chain[0]; count_high = 2;
        is_open[0] = true;
        seen_session[0] = 1;
        image_0 = NONE; image_1 = NONE
    };
turn:
    /* The system throws away what it takes for clean; what the disk has comes back. */
    if
    :: true
    :: stale != 0 -> evict()
    fi;
    /* Which deed, by which handle. */
    atomic {
        if
        :: next_id < IDS ->
            if
            :: deed = COMMIT
            :: deed = COMMIT_ASYNC
            fi
        :: checkpoints > 0 && (is_open[0] || is_open[1]) -> checkpoints--; deed = CHECKPOINT
        :: closes > 0 && (is_open[0] || is_open[1]) -> closes--; deed = CLOSE
        :: (!is_open[0] && !is_open[1]) || state != IDLE || logged != synced -> deed = LOOK
        :: crashes > 0 && (is_open[0] || is_open[1]) ->
            if
            :: is_open[0] -> handle = 0
            :: is_open[1] -> handle = 1
            fi;
            goto died
        :: next_id == IDS && !(checkpoints > 0 && (is_open[0] || is_open[1])) -> goto done
        fi;
        if
        :: is_open[0] || is_open[1] ->
            if
            :: handle = 0
            :: handle = 1
            fi
        :: else -> handle = 0
        fi;
        if
        :: deed == CLOSE && !is_open[handle] -> handle = 1 - handle
        :: else
        fi
    };
    printf("handle %d: %e\n", handle, deed);
    /* Begin. */
    if
    :: is_open[handle] && state == IDLE
    :: !is_open[handle] && is_open[1 - handle] && state == IDLE ->
        d_step { is_open[handle] = true; has_foreign[handle] = true }
    :: !is_open[handle] && !is_open[1 - handle] && BUG == 6 && IS_SLOT(0) && IS_SLOT(1) && shown[SLOT(0)] == shown[SLOT(1)] &&
       head_is_clean[shown[SLOT(0)]] ->
        d_step {
            is_open[handle] = true;
            current = shown[SLOT(0)];
            session = head_session[current]; logged = head_sequence[current]; synced = logged; applied = logged;
            chain = head_chain[current]; ring_head = head_place[current]; ring_tail = ring_head;
            count_high = head_count[current]; last = head_last[current];
            seen_session[handle] = session; seen_logged[handle] = logged; seen_applied[handle] = applied;
        seen_head[handle] = ring_head;
            current = 0
        }
    :: else ->
        is_open[handle] = true;
        recover()
    fi;
    d_step {
        /* What others did since. */
        is_own = seen_session[handle] == session && seen_logged[handle] == logged;
        if
        :: seen_session[handle] != session || seen_head[handle] != ring_head || seen_logged[handle] != logged ||
           (seen_applied[handle] != applied && BUG != 25) -> has_foreign[handle] = true
        :: else
        fi
    };
    /* What the commit does, now that the count is known. */
    if
    :: deed != COMMIT && deed != COMMIT_ASYNC
    :: deed == COMMIT || deed == COMMIT_ASYNC -> kind = SET
    :: COUNTS && (deed == COMMIT || deed == COMMIT_ASYNC) && after_count[last] == 2 -> kind = CUT
    :: COUNTS && deed == COMMIT && after_count[last] == 1 -> kind = BULK
    fi;
    d_step {
        find_place();
        is_checkpoint_due = deed == CHECKPOINT || (deed == CLOSE && !is_open[1 - handle]);
        is_clean_close = deed == CLOSE;
        if
        :: (deed == COMMIT || deed == COMMIT_ASYNC) && page == NONE -> is_checkpoint_due = true
        :: else
        fi;
        if
        :: kind == BULK && after_count[last] < count_high && BUG != 10 -> is_checkpoint_due = true
        :: else
        fi;
        page = 0
    };
    if
    :: logged != synced && (!is_own || is_checkpoint_due || deed == CLOSE) -> settle_pending()
    :: else
    fi;
    is_own = false;
    if
    :: is_checkpoint_due -> checkpoint()
    :: else
    fi;
    is_checkpoint_due = false; is_clean_close = false;
    if
    :: deed == COMMIT || deed == COMMIT_ASYNC -> commit()
    :: else
    fi;
    d_step {
        seen_session[handle] = session; seen_logged[handle] = logged; seen_applied[handle] = applied;
        seen_head[handle] = ring_head;
        if
        :: deed == CLOSE ->
            forget_handle(handle);
            if :: !is_open[1 - handle] -> forget_live() :: else fi
        :: else
        fi;
        deed = LOOK
    };
    goto turn;

died:
    atomic {
        crashes--;
        if
        :: is_open[1 - handle] -> printf("HANDLE %d DIES\n", handle); forget_handle(handle)
        :: printf("ALL HANDLES DIE\n"); forget_live(); rot()
        :: forget_live(); cut_power(); rot()
        fi;
        forget_scratch();
        handle = 0
    };
    goto turn;

failed:
    /* All that is not durable counts as clean from here. A recovery begins anew; any other handle is closed. */
    atomic {
        fails--;
        printf("  A SYNC FAILS\n");
        at = 0;
        do
        :: at < SECTORS ->
            if :: disk[at] != BIT(shown[at]) -> stale = stale | BIT(at) :: else fi;
            at++
        :: else -> break
        od;
        visible = durable;
        if
        :: state == RECOVERING
        :: state != RECOVERING && is_open[1 - handle] ->
            state = FAILED;
            forget_handle(handle)
        :: state != RECOVERING && !is_open[1 - handle] -> forget_live()
        fi;
        forget_scratch();
        handle = 0
    };
    goto turn;

done:
    skip
}
