/*
 * The file, byte by byte: structures as they stand on disk. FORMAT.md is the same in words.
 *
 * All numbers are little-endian; the code refuses to build elsewhere, so the structures are used in place.
 * Every structure has its size proven; unused bytes are zero.
 *
 * Not here: what the bytes mean together (superblock, journal, live, sums).
 */
#ifndef STELE_FORMAT_H
#define STELE_FORMAT_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "stele needs a little-endian machine: the file is mapped and used in place"
#endif

#define STELE_FORMAT_VERSION 1u
#define STELE_BYTE_ORDER_MARK UINT32_C(0x01020304)
/* Starts with a byte that is no text; LF and ^Z show a text-mode transfer, as in PNG. */
#define STELE_MAGIC "\x89STELE\x0a\x1a" /* 8 bytes, without the terminator */

#define STELE_REGION_ALIGN (UINT64_C(64) << 10) /* also the largest allocation granularity we meet */
#define STELE_PAGE_BYTES UINT64_C(4096)         /* unit of the ring and of header slots on all systems */

#define STELE_SLOT_BYTES 4096u
#define STELE_SLOT_COUNT 2u
#define STELE_SCHEMA_OFFSET UINT64_C(8192)
#define STELE_SCHEMA_BYTES_MAX (UINT32_C(56) << 10)
#define STELE_LIVE_OFFSET (UINT64_C(64) << 10)
#define STELE_LIVE_BYTES (UINT64_C(512) << 10)
#define STELE_JOURNAL_OFFSET (UINT64_C(2) << 20)
#define STELE_RECORDS_ALIGN (UINT64_C(2) << 20)

#define STELE_CAPACITY_MAX (UINT64_C(1) << 48)
#define STELE_FILE_BYTES_MAX (UINT64_C(1) << 61)
#define STELE_RECORD_BYTES_LIMIT (UINT64_C(16) << 20)
#define STELE_JOURNAL_BYTES_MIN (UINT64_C(16) << 10)
#define STELE_JOURNAL_BYTES_MAX (UINT64_C(128) << 20)
#define STELE_BLOCK_BYTES UINT64_C(4096) /* a block is the most records, a power of two, that fit this */
#define STELE_CELL_BYTES UINT64_C(128)   /* a cell is the fewest records, a power of two, that reach this */

#define STELE_SUM_KIND_XXH3_63 1u
#define STELE_STRIPE_KIND_FOLD 1u
#define STELE_STRIPE_COUNT 32768u

/* Feature bits. Incompatible: an unknown one refuses the file. */
#define STELE_FEATURE_SPARSE (UINT64_C(1) << 0)
#define STELE_FEATURES_INCOMPATIBLE_KNOWN STELE_FEATURE_SPARSE
#define STELE_FEATURES_READ_ONLY_KNOWN UINT64_C(0)

/* Region kinds and flags. */
enum { STELE_REGION_LIVE = 1, STELE_REGION_JOURNAL = 2, STELE_REGION_RECORDS = 3, STELE_REGION_SUMS = 4,
       STELE_REGION_SCHEMA = 5 };
enum { STELE_REGION_NO_OPEN = 1, STELE_REGION_NO_WRITE = 2, STELE_REGION_KEEP = 4 };
#define STELE_REGION_COUNT 24u

struct stele_region {
    uint32_t kind;      /* 0: entry unused */
    uint32_t flags;     /* what one must not do who does not know the kind */
    uint64_t offset;
    uint64_t bytes;
    uint64_t parameter; /* zero for kinds 1 to 5 */
};
static_assert(sizeof(struct stele_region) == 32, "on disk");

#define STELE_HISTORY_COUNT 64u

struct stele_history {
    uint64_t last_kept; /* highest sequence that was kept */
    uint64_t first_new; /* lowest sequence given out afterwards */
    uint64_t session;   /* begun by this recovery */
    uint32_t kind;      /* STELE_RECOVERY_*; 0: entry unused */
    uint32_t time_s;    /* since 1970 */
};
static_assert(sizeof(struct stele_history) == 32, "on disk");

#define STELE_TAG_BYTES_MAX 64u
#define STELE_USER_BYTES 64u
#define STELE_CLEAN UINT32_C(1) /* slot.state_flags: closed in good order; information only */

struct stele_slot {
    uint8_t magic[8];
    uint32_t format_version;
    uint32_t byte_order;
    uint32_t library_version; /* that wrote the slot: major << 16 | minor << 8 | patch */
    uint32_t slot_bytes;      /* 4096 */
    uint64_t features_incompatible;
    uint64_t features_read_only;
    uint64_t features_compatible;
    uint8_t file_id[16];
    uint8_t origin_file_id[16];
    uint64_t origin_sequence;
    uint64_t sum_seed;
    uint64_t generation; /* header age: the higher one rules */
    uint64_t session;    /* whose ring entries count */
    uint64_t created_us;
    uint64_t modified_us;
    uint64_t checkpoint_us;
    uint32_t record_bytes;
    uint32_t records_per_block;
    uint32_t records_per_cell;
    uint16_t sum_kind;
    uint16_t stripe_kind;
    uint32_t schema_bytes;
    uint32_t state_flags;
    uint8_t schema_hash[16]; /* XXH3-128 of the schema_bytes at the schema region's offset */
    uint64_t layout_version;
    uint64_t capacity;
    /* as of the checkpoint: */
    uint64_t count;
    uint64_t sequence;
    uint64_t ring_head; /* bytes from the ring's start */
    uint64_t chain;
    uint8_t tag[STELE_TAG_BYTES_MAX];
    uint32_t tag_bytes;
    uint32_t reserved0;
    uint8_t superseded_by[16];
    uint64_t user_version;
    uint8_t user[STELE_USER_BYTES];
    struct stele_region regions[STELE_REGION_COUNT];
    uint64_t history_total; /* entry k, counted from 0, stands at k mod 64 */
    struct stele_history history[STELE_HISTORY_COUNT];
    uint8_t reserved1[872];
    uint8_t hash[16]; /* XXH3-128 of bytes 0..4079, seed 0 */
};
static_assert(sizeof(struct stele_slot) == STELE_SLOT_BYTES, "on disk");
static_assert(offsetof(struct stele_slot, file_id) == 48, "on disk");
static_assert(offsetof(struct stele_slot, record_bytes) == 136, "on disk");
static_assert(offsetof(struct stele_slot, schema_hash) == 160, "on disk");
static_assert(offsetof(struct stele_slot, tag) == 224, "on disk");
static_assert(offsetof(struct stele_slot, regions) == 384, "on disk");
static_assert(offsetof(struct stele_slot, history_total) == 1152, "on disk");
static_assert(offsetof(struct stele_slot, history) == 1160, "on disk");
static_assert(offsetof(struct stele_slot, reserved1) == 3208, "on disk");
static_assert(offsetof(struct stele_slot, hash) == 4080, "on disk");

/* The schema. Fields follow the head, attributes follow each field's name. */
#define STELE_SCHEMA_VERSION 1u
#define STELE_FIELD_NAME_BYTES_MAX 63u
#define STELE_ATTRIBUTE_ENUM UINT16_C(0x8001) /* i32 value, then the constant's name */
#define STELE_ATTRIBUTE_OPTIONAL UINT16_C(0x8000)

struct stele_schema_head {
    uint32_t version;
    uint32_t bytes; /* of the whole schema, a multiple of 8 */
    uint64_t record_bytes;
    uint32_t pack; /* #pragma pack value, 0: natural */
    uint32_t field_count;
    uint8_t name[64]; /* zero-padded */
};
static_assert(sizeof(struct stele_schema_head) == 88, "on disk");

struct stele_schema_field {
    uint16_t bytes; /* head, name, attributes and padding: a multiple of 8 */
    uint8_t type;   /* enum stele_type */
    uint8_t flags;  /* zero */
    uint32_t element_bytes;
    uint32_t dims[4];
    uint64_t offset;
    uint16_t name_bytes;
    uint16_t attribute_count;
    uint32_t reserved;
};
static_assert(sizeof(struct stele_schema_field) == 40, "on disk");

struct stele_schema_attribute {
    uint16_t tag;   /* bit 15: who does not know it skips it */
    uint16_t bytes; /* of the value that follows, unpadded */
};
static_assert(sizeof(struct stele_schema_attribute) == 4, "on disk");

/* The live region: a line of 64 bytes per hot word, then the stripes. */
#define STELE_LIVE_MAGIC UINT64_C(0x4556494c454c4554) /* "TELELIVE" */
#define STELE_LIVE_LAYOUT_VERSION UINT64_C(1)
#define STELE_LIVE_STRIPES_OFFSET UINT64_C(65536) /* from the region's start */

struct stele_live_line {
    uint64_t word;
    uint64_t reserved[7];
};

struct stele_live {
    uint64_t magic;
    uint64_t live_layout_version;
    uint64_t reserved0[6];
    struct stele_live_line session;
    struct stele_live_line state;
    struct stele_live_line holds;
    struct stele_live_line logged;
    struct stele_live_line synced;
    struct stele_live_line applied;
    struct stele_live_line chain;
    struct stele_live_line ring_head;
    struct stele_live_line ring_tail;
    struct stele_live_line version;
    struct stele_live_line count;
    struct stele_live_line count_high;
    struct stele_live_line layout_version;
    struct stele_live_line progress;
    struct stele_live_line wanted;
    uint64_t writer_pid; /* for display only */
    uint64_t writer_started_us;
    uint64_t last_commit_us;
    uint64_t stored_end; /* index: behind it no view was ever stored through; outlives sessions */
    uint64_t run_place;  /* where the unsynced run begins in the ring, and */
    uint64_t run_chain;  /* the trailer before it; of a run only, so of logged > synced */
    uint64_t reserved1[2];
};
static_assert(sizeof(struct stele_live) == 17 * 64, "on disk");
static_assert(sizeof(struct stele_live) <= STELE_LIVE_STRIPES_OFFSET, "on disk");
static_assert(STELE_LIVE_STRIPES_OFFSET + STELE_STRIPE_COUNT * 8 <= STELE_LIVE_BYTES, "on disk");

/* The journal. */
#define STELE_ENTRY_MAGIC UINT32_C(0x4c455453) /* "STEL" */
enum { STELE_ENTRY_COMMIT = 0 };
enum { STELE_ITEM_COUNT = 1, STELE_ITEM_RECORDS = 2, STELE_ITEM_SUMS = 3, STELE_ITEM_REPAIR = 4,
       STELE_ITEM_USER = 5, STELE_ITEM_TAG = 6, STELE_ITEM_TIME = 7, STELE_ITEM_BYTES = 8 };
#define STELE_ITEM_OPTIONAL UINT16_C(1) /* flag: who does not know the type skips it */

struct stele_entry_head {
    uint32_t magic;
    uint16_t kind;
    uint16_t flags;
    uint64_t length; /* head to trailer, both included; a multiple of 8 */
    uint64_t sequence;
    uint64_t session;
    uint64_t chain;      /* trailer of the predecessor, or the slot's chain word */
    uint64_t synced_seq; /* durable when this entry was written */
    uint64_t writer;     /* random id of the handle */
    uint64_t hash;       /* XXH3-64 of the 56 bytes before, seed: session */
};
static_assert(sizeof(struct stele_entry_head) == 64, "on disk");
#define STELE_ENTRY_TRAILER_BYTES 8u /* XXH3-64 of everything before it, seed: session */

struct stele_item {
    uint16_t type;
    uint16_t flags;
    uint32_t region; /* kind of the region the payload belongs to, 0: none */
    uint64_t bytes;  /* of the payload, before its padding to 8 */
    uint64_t first;
    uint64_t n;
};
static_assert(sizeof(struct stele_item) == 32, "on disk");

#endif
