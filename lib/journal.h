/*
 * The journal ring: redo entries, how they are made, found again and believed (FORMAT.md, section 5).
 *
 * File I/O only, never mapped. An entry is validated whole before a byte of it is used; every number in it is
 * clamped against the layout. The walk and the scan end whatever the ring holds.
 *
 * Not here: which entries to apply (replay) and when the ring is emptied (checkpoint).
 */
#ifndef STELE_JOURNAL_H
#define STELE_JOURNAL_H

#include "format.h"
#include "layout.h"
#include "os.h"

/* ---- making an entry ---- */

/* Entries of one run, one behind the other, the last under construction. Zeroed it is empty; done frees. */
struct stele_entry {
    uint8_t *bytes;
    size_t start_bytes; /* where the last one begins */
    size_t used_bytes;  /* a multiple of 8 */
    size_t room_bytes;
};

struct stele_entry_identity {
    uint64_t sequence, session, chain, synced_seq, writer;
};

/* Begin anew; the memory is kept. Errors: STELE_E_NOMEM */
int stele_entry_begin(struct stele_entry *entry);
/* Begin behind the one that was sealed last. Errors: STELE_E_NOMEM, with nothing begun */
int stele_entry_follow(struct stele_entry *entry);
/* Take back what was begun, sealed or not, also where stele_entry_follow failed: zeros are left of it. */
void stele_entry_drop(struct stele_entry *entry);
/*
 * Add an item and point *@out_payload at its @payload_bytes, zeroed.
 *
 * Owner:   *out_payload is dead with the next call
 */
int stele_entry_add(struct stele_entry *entry, uint16_t type, uint32_t region, uint64_t first, uint64_t n,
                    size_t payload_bytes, uint8_t **out_payload);
/*
 * Fill head and trailer, pad with zeros to a page, and give the trailer, which is the chain of the successor.
 *
 * Shape:   entry->used_bytes is the length of the run; *out_padded_bytes, a multiple of 4096, are to be written
 */
int stele_entry_seal(struct stele_entry *entry, const struct stele_entry_identity *identity,
                     uint64_t *out_trailer, size_t *out_padded_bytes);
void stele_entry_done(struct stele_entry *entry); /* safe twice, and on a zeroed struct */

/* What an item of @payload_bytes takes in an entry. */
static inline uint64_t stele_item_bytes(uint64_t payload_bytes)
{
    return sizeof(struct stele_item) + stele_round_up(payload_bytes, 8);
}

/* ---- room in the ring ---- */

/* Head and tail as the live region or the slot has them; both are places below journal_bytes. */
struct stele_ring {
    uint64_t bytes;
    uint64_t head;
    uint64_t tail; /* == head: empty */
};

/* The longest entry that an empty ring of @ring_bytes takes. */
static inline uint64_t stele_ring_entry_bytes_max(uint64_t ring_bytes) { return ring_bytes - STELE_PAGE_BYTES; }

/*
 * Find the place for an entry of @padded_bytes, behind the tail or at 0: false if it would reach the head.
 */
bool stele_ring_place(const struct stele_ring *ring, uint64_t padded_bytes, uint64_t *out_place);
/* Whether the @byte_count bytes behind the tail are free, up to the end of their last page: the run goes on there. */
bool stele_ring_follows(const struct stele_ring *ring, uint64_t byte_count);
/* Bytes from head to tail. */
uint64_t stele_ring_used(const struct stele_ring *ring);

/* ---- finding entries again ---- */

struct stele_walk {
    const struct stele_os_file *file;
    const struct stele_layout *layout;
    uint64_t session;
    uint64_t sequence; /* of the last entry found */
    uint64_t chain;    /* its trailer */
    uint64_t place;    /* where the next may begin */
    uint64_t walked_bytes;
    uint8_t *bytes; /* the last entry found */
    size_t room_bytes;
};

struct stele_walk_entry {
    const struct stele_entry_head *head;
    uint64_t place; /* in the ring */
    const uint8_t *items, *items_end;
};

/* Begin at @slot's head. Owner: caller calls done; @file and @layout outlive @walk */
void stele_walk_init(struct stele_walk *walk, const struct stele_os_file *file, const struct stele_layout *layout,
                     const struct stele_slot *slot);
/*
 * Find the next entry. STELE_END: there is none that fits.
 *
 * Errors:  STELE_E_VERSION an entry or item of a newer kind; STELE_E_DAMAGED an entry with right hashes that cannot be;
 *          STELE_E_IO, STELE_E_NOMEM
 * Owner:   *out is dead with the next call
 */
int stele_walk_next(struct stele_walk *walk, struct stele_walk_entry *out);
void stele_walk_done(struct stele_walk *walk); /* safe twice, and on a zeroed struct */

/* The item at *@at, which moves behind it; NULL at the end. The entry has been validated. */
const struct stele_item *stele_item_next(const uint8_t **at, const uint8_t *end, const uint8_t **out_payload);

/* What the ring holds besides the entries that the walk found. */
struct stele_scan {
    uint64_t highest_sequence; /* of the session's entries with a right head, and of a later header's whole ones */
    bool is_entry_lost;        /* an acknowledged entry behind the walk's end is gone */
    bool is_header_lost;       /* entries of a later header than the ruling one */
    uint64_t lost_first, lost_last; /* sequences */
    uint64_t resume_place;     /* of the first good entry behind the loss */
};

/*
 * Look at the whole ring after @walk came to its end. Hashes at most twice the ring's bytes.
 */
int stele_journal_scan(const struct stele_walk *walk, const struct stele_slot *slot, struct stele_scan *out);

/* Go on at the first good entry behind the loss that @scan found, whose chain cannot be checked. Errors: STELE_E_IO */
int stele_walk_resume(struct stele_walk *walk, const struct stele_scan *scan);

/* Write the ring's first lap: zeros, so that later writes do not allocate. */
int stele_journal_blank(const struct stele_os_file *file, const struct stele_layout *layout);

#endif
