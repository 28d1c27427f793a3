/*
 * stele: a very large array of packed C structs in one file, mapped, shared, never corrupted.
 *
 * A store holds `count` records of `record_bytes` bytes each, described by a schema. Record i lies at
 * records_offset + i * record_bytes, so a read is pointer arithmetic and a copy. Writers take turns; any
 * number of readers, in any process, never write anything and see whole records only. Each commit goes
 * through a redo journal and survives power loss when the call returns.
 *
 * Errors:  functions return STELE_OK (0), STELE_END (1: nothing left) or a negative STELE_E_* code.
 *          stele_last_error() has the sentence that belongs to the last code of the calling thread. An
 *          error changes nothing: outputs untouched, store as before. Exceptions: STELE_E_UNKNOWN fills the
 *          sequence (the change may or may not be there), and stele_get, stele_get_many, stele_read,
 *          stele_edit_commit, stele_verify, stele_backup and stele_close say what theirs leave.
 * Threads: a handle may be used from any number of threads. Transactions, edits, cursors and views belong
 *          to one thread at a time.
 * Structs: those that a caller allocates begin with `struct_bytes`; initialise them with their _INIT.
 */
#ifndef STELE_H
#define STELE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define STELE_VERSION_MAJOR 0
#define STELE_VERSION_MINOR 1
#define STELE_VERSION_PATCH 0

#if defined(_WIN32) || !defined(__GNUC__)
#define STELE_API
#else
#define STELE_API __attribute__((visibility("default")))
#endif

/* Codes. The numbers are pinned: they never change. */
enum {
    STELE_OK = 0,
    STELE_END = 1,             /* nothing left; not an error */
    STELE_E_USAGE = -1,        /* the call breaks a documented rule */
    STELE_E_RANGE = -2,        /* an index, count or size outside what there is */
    STELE_E_SCHEMA = -3,       /* schema text is not storable, or file and program disagree */
    STELE_E_EXISTS = -4,       /* there already */
    STELE_E_ABSENT = -5,       /* not there */
    STELE_E_ACCESS = -6,       /* no permission */
    STELE_E_READONLY = -7,     /* handle or medium is read-only */
    STELE_E_BUSY = -8,         /* a lock or the writer: deadline passed */
    STELE_E_CONFLICT = -9,     /* somebody else changed it first */
    STELE_E_STALE = -10,       /* the file was replaced or removed */
    STELE_E_FULL = -11,        /* disk or address space */
    STELE_E_TOO_BIG = -12,     /* transaction against journal ring */
    STELE_E_NOMEM = -13,       /* out of memory */
    STELE_E_IO = -14,          /* the system could not read or write */
    STELE_E_UNKNOWN = -15,     /* outcome known only after recovery: see stele_outcome */
    STELE_E_POISONED = -16,    /* this handle saw a sync fail: close it and open anew */
    STELE_E_FORMAT = -17,      /* not a store */
    STELE_E_VERSION = -18,     /* newer format or unknown feature */
    STELE_E_DAMAGED = -19,     /* checksums say that bytes changed by themselves */
    STELE_E_TRUNCATED = -20,   /* bytes of the file are gone */
    STELE_E_UNSUPPORTED = -21, /* not possible on this system */
    STELE_E_REMOTE = -22,      /* network file system; this version does not look */
    STELE_E_INTERRUPTED = -23  /* the progress callback said stop */
};

struct stele;        /* a handle on a store */
struct stele_schema; /* what a record looks like */
struct stele_txn;    /* a transaction */
struct stele_cursor; /* a scan */
struct stele_edit;   /* records that are changed in place */

STELE_API const char *stele_version(void); /* "0.1.0" */

/* ---- errors -------------------------------------------------------------------------------- */

/* Owned by the library, one per thread, valid until the thread's next call. Grows at the end only. */
struct stele_error {
    int code;             /* STELE_E_* */
    int system_code;      /* errno or GetLastError(), 0 where no system call failed */
    uint64_t file_offset; /* where in the file; UINT64_MAX: nowhere in particular */
    uint64_t sequence;    /* with STELE_E_UNKNOWN: of the commit in doubt */
    int outcome_done;     /* with STELE_E_UNKNOWN: 1 if the commit is durable all the same; stele_backup has its own */
    char text[512];       /* what was wrong, where, and what to do; one sentence, no newline */
};

/* Name @code in a few words ("index out of range"). Never NULL. */
STELE_API const char *stele_strerror(int code);
/* The last failure of this thread, with its detail. Never NULL; code 0 before the first failure. */
STELE_API const struct stele_error *stele_last_error(void);

/* ---- schema -------------------------------------------------------------------------------- */

enum stele_type {
    STELE_I8 = 1, STELE_U8, STELE_I16, STELE_U16, STELE_I32, STELE_U32, STELE_I64, STELE_U64,
    STELE_F32, STELE_F64,
    STELE_BOOL,  /* one byte, 0 or 1 by convention, never rejected on read */
    STELE_TEXT,  /* char[n]: UTF-8, padded with zero bytes, no terminator needed when full */
    STELE_BYTES  /* unsigned char[n] */
};

#define STELE_NAME_BYTES_MAX 63
#define STELE_RECORD_BYTES_MAX (UINT32_C(16) << 20)

struct stele_field {
    const char *name;     /* at most 63 bytes: C identifiers, with `outer.inner` and `points[0].x` for nested ones */
    uint32_t type;        /* enum stele_type */
    uint32_t flags;       /* zero */
    uint32_t bytes;       /* of one element; text and bytes: n; 0: what the type says */
    uint32_t dims[4];     /* array dimensions, outermost first, 0 where unused */
    uint64_t offset;      /* in the record */
    uint64_t reserved[3]; /* zero */
};

/*
 * Read the C declarations in @c_text and make a schema of struct @struct_name (NULL: the only or the
 * last struct), laid out as an x86-64 compiler would under #pragma pack(@pack) (0: natural).
 *
 * Shape:   fixed-width and classic integer types but `long`, float, double, bool, char, arrays to four
 *          dimensions, nested structs, typedefs, enums (as i32), #define and enum constants as lengths
 * Errors:  STELE_E_SCHEMA with line and column: pointers, bit-fields, unions, unknown types;
 *          STELE_E_ABSENT no such struct; STELE_E_NOMEM
 * Owner:   caller frees *out
 */
STELE_API int stele_schema_parse(const char *c_text, const char *struct_name, uint32_t pack,
                                 struct stele_schema **out);

/*
 * Make a schema called @name (without the word "struct" in front of it) of @record_bytes with the @field_count
 * fields of @fields, which are copied.
 *
 * Shape:   fields by ascending offset, not overlapping, inside the record, names unique
 * Errors:  STELE_E_SCHEMA naming the first field that breaks a rule; STELE_E_NOMEM
 * Owner:   caller frees *out
 */
STELE_API int stele_schema_new(const char *name, uint64_t record_bytes, const struct stele_field *fields,
                               size_t field_count, struct stele_schema **out);

/* Field @field_index in file order, or NULL past the last. Owned by the schema. */
STELE_API const struct stele_field *stele_schema_field(const struct stele_schema *schema, size_t field_index);
STELE_API size_t stele_schema_field_count(const struct stele_schema *schema);
STELE_API uint64_t stele_schema_record_bytes(const struct stele_schema *schema);
STELE_API uint32_t stele_schema_pack(const struct stele_schema *schema); /* 0: natural alignment */
STELE_API const char *stele_schema_name(const struct stele_schema *schema);
/* The field called @name and its index in *@out_index (NULL is fine), or NULL. */
STELE_API const struct stele_field *stele_schema_find(const struct stele_schema *schema, const char *name,
                                                      size_t *out_index);
/* Name of the @enum_index-th constant of field @field_index, its value in *@out_value; NULL past the last. */
STELE_API const char *stele_schema_enum(const struct stele_schema *schema, size_t field_index,
                                        size_t enum_index, int32_t *out_value);
/*
 * Compare the schema of a @file with that of the @program: fields, offsets, sizes. Names of structs and of enum
 * constants may differ, and a u32 may stand for an i32 with enum constants: C compilers see an enum so.
 *
 * Errors:  STELE_E_SCHEMA naming the first field that differs and how
 */
STELE_API int stele_schema_check(const struct stele_schema *file, const struct stele_schema *program);
STELE_API void stele_schema_free(struct stele_schema *schema); /* NULL is fine */

/* ---- a store ------------------------------------------------------------------------------- */

enum { STELE_READ_ONLY = 0, STELE_READ_WRITE = 1 }; /* options.mode */

enum {                  /* options.flags; others: STELE_E_USAGE */
    STELE_CREATE = 1,   /* stele_open: create if absent */
    STELE_SPARSE = 4,   /* creation: disk is allocated when records are first written */
    STELE_VERIFY_READS = 8, /* each block is checked when it is first read through this handle, and when it changed */
    STELE_NO_THREADS = 16, /* the library starts no thread: call stele_tick */
    STELE_FORCE = 256   /* stele_create: replace a store; stele_recover: go on behind a lost entry;
                           stele_resize: carry damaged blocks over, marked */
};

/*
 * Called now and then during long work with how much of @total is @done (records or bytes).
 * A result other than 0 stops the work: STELE_E_INTERRUPTED, a consistent store.
 */
typedef int stele_progress(void *context, uint64_t done, uint64_t total);

struct stele_options {
    uint32_t struct_bytes;       /* sizeof(struct stele_options): old callers keep working */
    uint32_t mode;               /* STELE_READ_ONLY or STELE_READ_WRITE; creation implies the latter */
    uint32_t flags;              /* STELE_CREATE and the others above, where they say so */
    uint32_t permissions;        /* of a new file; 0600 if 0 */
    uint64_t capacity_records;   /* room to allocate at creation; 0: a little. Appends grow it */
    uint64_t journal_bytes;      /* ring size at creation and resize; 0: chosen from record size and capacity */
    uint64_t max_mapped_bytes;   /* by this handle, views counted; 0: no limit, on 32 bit 512 MiB */
    uint32_t lock_wait_ms;       /* for the writer's turn; 0: 5000 */
    uint32_t read_wait_ms;       /* for a writer that is storing; 0: 5000 */
    uint32_t sync_interval_ms;   /* the longest that an asynchronous commit stays pending; 0: 100 */
    const struct stele_schema *schema; /* required to create; checked when opening if given; not kept */
    stele_progress *progress;    /* long work calls it; NULL is fine */
    void *progress_context;
};
#define STELE_OPTIONS_INIT { .struct_bytes = sizeof(struct stele_options) }

/*
 * Create a store at @path and open it for writing.
 *
 * Shape:   options->schema is required; capacity at most 2^48 records, the file at most 2^61 bytes
 * Errors:  STELE_E_EXISTS something is at the path (with STELE_FORCE only: not a store, or in use:
 *          STELE_E_BUSY); STELE_E_FULL before anything is left on disk; STELE_E_RANGE sizes;
 *          STELE_E_TOO_BIG the ring cannot hold a record twice; STELE_E_ACCESS, _READONLY, _IO, _NOMEM
 * Owner:   caller closes *out
 * Durability: after return the store, empty, survives power loss; a kill leaves it whole or absent
 */
STELE_API int stele_create(const char *path, const struct stele_options *options, struct stele **out);

/*
 * Open the store at @path, read-only with NULL @options. A read-write open recovers a store whose last
 * writer died; a read-only one reads the journal's tail in memory and writes nothing.
 *
 * Errors:  STELE_E_ABSENT, _ACCESS, _READONLY; STELE_E_FORMAT not a store; STELE_E_VERSION; STELE_E_SCHEMA
 *          options->schema differs; STELE_E_DAMAGED both headers, the schema or an acknowledged journal
 *          entry are gone (stele_recover with STELE_FORCE goes on); STELE_E_TRUNCATED; STELE_E_BUSY;
 *          STELE_E_RANGE max_mapped_bytes is too little for its records: the least is named
 * Owner:   caller closes *out
 */
STELE_API int stele_open(const char *path, const struct stele_options *options, struct stele **out);

/*
 * Close @store (NULL is fine). The last read-write handle leaves an empty journal.
 *
 * Errors:  STELE_E_USAGE a transaction, edit, view or cursor is open: nothing is freed. Any other code says
 *          that not all may be durable; the handle is gone all the same. STELE_E_BUSY: asynchronous commits are
 *          pending and another keeps the turn; they are in the journal, the next writer makes them durable
 */
STELE_API int stele_close(struct stele *store);
/* As stele_close, but nothing is synced: asynchronous commits stay pending, and the next open replays the journal. */
STELE_API int stele_close_nosync(struct stele *store);

/* Records there are now. Any thread; one load for a handle that is not recovering a dead writer's store. */
STELE_API uint64_t stele_count(const struct stele *store);
/* The schema, owned by the handle. */
STELE_API const struct stele_schema *stele_schema_of(const struct stele *store);

enum { STELE_STATE_IDLE = 0, STELE_STATE_COMMITTING = 1, STELE_STATE_RECOVERING = 2, STELE_STATE_FAILED = 3,
       STELE_STATE_CLOSED = 4 /* no read-write handle anywhere has it open */ };
enum { STELE_RECOVERY_NONE = 0, STELE_RECOVERY_REPLAY = 1, STELE_RECOVERY_FORCED = 2,
       STELE_RECOVERY_RESTORE = 3, STELE_RECOVERY_CONVERSION = 4 };
enum { STELE_FILE_DAMAGE_SLOT_A = 1, STELE_FILE_DAMAGE_SLOT_B = 2, STELE_FILE_DAMAGE_SCHEMA = 4, STELE_FILE_DAMAGE_JOURNAL = 8,
       STELE_FILE_DAMAGE_SLACK = 16 /* bytes that must be zero are not */ };

struct stele_info {
    uint32_t struct_bytes;
    uint32_t format_version;
    uint32_t library_version;       /* that wrote the header: major << 16 | minor << 8 | patch */
    uint32_t state;                 /* STELE_STATE_* */
    uint32_t clean;                 /* 1: the last writer closed it */
    uint32_t sparse;                /* 1: disk is allocated when records are written */
    uint32_t header_damage;         /* STELE_FILE_DAMAGE_SLOT_A | STELE_FILE_DAMAGE_SLOT_B: the other slot serves */
    uint32_t journal_entry_count;   /* in the ring since the last checkpoint */
    uint8_t file_id[16], origin_file_id[16];
    uint64_t origin_sequence;
    uint64_t features_incompatible, features_read_only, features_compatible;
    uint64_t created_us, modified_us, checkpoint_us;        /* since 1970, UTC */
    uint64_t file_bytes, disk_bytes;                        /* length; allocated */
    uint64_t record_bytes, records_per_block, records_per_cell;
    uint64_t count, capacity;
    uint64_t generation, session, layout_version;
    uint64_t sequence;              /* of the last applied commit */
    uint64_t checkpoint_sequence;
    uint64_t records_offset, sums_offset, sums_bytes, journal_offset, journal_bytes, live_offset, live_bytes;
    uint64_t schema_offset, schema_bytes;
    uint64_t journal_used_bytes;    /* from head to tail */
    uint64_t user_version;
    uint8_t user[64];
    uint32_t tag_bytes;
    uint32_t writer_pid;            /* of the last writer; for display only */
    uint8_t tag[64];
    uint64_t writer_started_us, last_commit_us;
    uint64_t recovery_count;        /* ever, of this file */
    uint64_t recovery_kind;         /* of the last one: STELE_RECOVERY_* */
    uint64_t recovery_last_kept, recovery_first_new, recovery_us;
    uint64_t opened_entries_replayed; /* by this handle's own open (read-write: applied; read-only: in memory) */
};
#define STELE_INFO_INIT { .struct_bytes = sizeof(struct stele_info) }

/* Fill @out with layout, counts, state and the last recovery. Never writes to the file. */
STELE_API int stele_info(struct stele *store, struct stele_info *out);

/* ---- reading: any number of threads and processes ------------------------------------------ */

/*
 * Copy record @index to @out_record (record_bytes of them). No read of this section computes a checksum:
 * damage is found by stele_verify, and by the first change of its block. With STELE_VERIFY_READS stele_get,
 * stele_get_many, stele_read and cursors check each block when it is first read through the handle, and again after
 * it changed: STELE_E_DAMAGED instead of any of its records. Views and stele_txn_get do not.
 *
 * Errors:  STELE_E_RANGE at or past the count; STELE_E_BUSY a writer stopped in the middle of storing it;
 *          STELE_E_TRUNCATED, STELE_E_IO the page cannot be read; the other records stay readable. Where the
 *          record was there when the call began, @out_record is undefined after an error
 */
STELE_API int stele_get(struct stele *store, uint64_t index, void *out_record);

/*
 * Copy the @index_count records of @indexes to @out_records, one behind the other, and the code of each to
 * @out_codes (NULL is fine).
 *
 * Errors:  the first code that was not STELE_OK; the other records are there all the same
 */
STELE_API int stele_get_many(struct stele *store, const uint64_t *indexes, size_t index_count,
                             void *out_records, int *out_codes);

/*
 * Copy @record_count records from @first_index on to @out_records. Each is whole; together they need not be
 * of one commit.
 *
 * Errors:  as stele_get; where the records were there when the call began, @out_records is undefined after
 *          an error
 */
STELE_API int stele_read(struct stele *store, uint64_t first_index, size_t record_count, void *out_records);

/* 64 bytes on 32 and 64 bit. */
struct stele_view {
    union { const void *records; uint64_t records_word; }; /* record_count of them, packed, in the map itself */
    uint64_t record_count;
    uint64_t first_index;
    uint64_t hidden[5];
};

/*
 * Point @out at @record_count records from @first_index on, without a copy. The bytes are the shared ones:
 * a writer may change them while they are read; stele_view_changed tells afterwards.
 *
 * Errors:  STELE_E_RANGE; STELE_E_CONFLICT records of the range wait in the journal of a dead writer: use
 *          stele_get; STELE_E_FULL address space, or max_mapped_bytes is held by views that are open
 * Owner:   caller closes; dereferencing a page that cannot be read is the caller's own risk:
 *          stele_view_copy is the guarded way
 */
STELE_API int stele_view_open(struct stele *store, uint64_t first_index, uint64_t record_count,
                              struct stele_view *out);
/* 1: a record of the view was committed since it was opened (or may have been); 0: none; < 0: error. */
STELE_API int stele_view_changed(const struct stele_view *view);
/* Copy @count records of @view from its @first-th on to @out; a page that cannot be read gives a code. */
STELE_API int stele_view_copy(const struct stele_view *view, uint64_t first, size_t count, void *out);
STELE_API void stele_view_close(struct stele_view *view); /* safe twice, and on a zeroed struct */

/*
 * Scan @record_count records from @first_index on (UINT64_MAX: all there are when the scan gets there), in
 * batches, reading ahead.
 *
 * Owner:   caller closes *out
 */
STELE_API int stele_cursor_open(struct stele *store, uint64_t first_index, uint64_t record_count,
                                struct stele_cursor **out);
/*
 * Point *@out_records at the next *@out_count records: a copy, valid until the next call. Each record is whole.
 *
 * Errors:  STELE_END behind the last; as stele_get
 */
STELE_API int stele_cursor_next(struct stele_cursor *cursor, const void **out_records, size_t *out_count);
STELE_API void stele_cursor_close(struct stele_cursor *cursor); /* NULL is fine */

/* ---- writing: one at a time per store, any thread ------------------------------------------ */

enum stele_durability {
    STELE_DURABLE = 0, /* on return it survives power loss */
    STELE_ASYNC = 1    /* on return it survives the death of the process; power loss may take what was committed in
                          the last sync_interval_ms, the later before the earlier */
};

/*
 * Append @record_count records and put the index of the first to *@out_first_index (NULL is fine). Few are
 * journaled; many are written behind the count, synced, and published by one small entry. Either way
 * all or none.
 *
 * Errors:  STELE_E_FULL disk, nothing changed; STELE_E_BUSY; STELE_E_READONLY; STELE_E_POISONED;
 *          STELE_E_UNKNOWN fills *out_first_index; STELE_E_CONFLICT asynchronous commits before it failed, and
 *          nothing of it is there
 * Durability: after return the records survive power loss
 */
STELE_API int stele_append(struct stele *store, const void *records, size_t record_count,
                           uint64_t *out_first_index);
/* Replace record @index by @record, as one durable commit. Errors: as stele_commit; STELE_E_RANGE. */
STELE_API int stele_set(struct stele *store, uint64_t index, const void *record);
/* Replace the @index_count records of @indexes by those of @records, as one durable commit: all or none. */
STELE_API int stele_set_many(struct stele *store, const uint64_t *indexes, size_t index_count,
                             const void *records);
/* Make the count @record_count: lower cuts, higher adds zero records. One durable commit. */
STELE_API int stele_set_count(struct stele *store, uint64_t record_count);
/*
 * Promise that @record_count records in all fit without more disk.
 *
 * Errors:  STELE_E_FULL, nothing changed; STELE_E_RANGE above 2^48
 * Durability: after return the room survives power loss. On copy-on-write or thinly provisioned
 *          volumes no program can promise room
 */
STELE_API int stele_reserve(struct stele *store, uint64_t record_count);

/*
 * Begin a transaction: wait for the writer's turn, for lock_wait_ms at most, and keep it until commit or abort.
 *
 * Errors:  STELE_E_BUSY (also a second begin in the same thread); STELE_E_READONLY; STELE_E_POISONED;
 *          STELE_E_STALE; STELE_E_DAMAGED the store needs stele_recover
 * Owner:   stele_commit or stele_abort frees *out
 */
STELE_API int stele_begin(struct stele *store, struct stele_txn **out);
STELE_API int stele_txn_set(struct stele_txn *txn, uint64_t index, const void *record);
STELE_API int stele_txn_append(struct stele_txn *txn, const void *records, size_t record_count,
                               uint64_t *out_first_index);
STELE_API int stele_txn_set_count(struct stele_txn *txn, uint64_t record_count);
/* Copy record @index as this transaction sees it. */
STELE_API int stele_txn_get(struct stele_txn *txn, uint64_t index, void *out_record);
STELE_API uint64_t stele_txn_count(const struct stele_txn *txn);
/* Store a @version of your own and 64 @bytes with the commit; stele_info gives them back. */
STELE_API int stele_txn_user(struct stele_txn *txn, uint64_t version, const void *bytes64);
/* Name the commit by @byte_count (1 to 64) @bytes of yours; stele_info gives the last one back. */
STELE_API int stele_txn_tag(struct stele_txn *txn, const void *bytes, size_t byte_count);
/*
 * Commit @txn and free it, whatever the result; its sequence to *@out_sequence (NULL is fine).
 *
 * Errors:  nothing changed: STELE_E_TOO_BIG (the message names the ring that would do), STELE_E_FULL,
 *          STELE_E_DAMAGED a block that it changes fails its checksum. STELE_E_UNKNOWN: the sync
 *          failed, it may or may not be there after recovery; *out_sequence is filled. STELE_E_CONFLICT:
 *          asynchronous commits before it failed so; of this one nothing is there
 * Durability: STELE_DURABLE: after return it survives power loss, and so do the asynchronous ones before it.
 *          STELE_ASYNC: as above; this handle sees it at once by stele_get, _read, _count, cursors and
 *          transactions, views and others see it when it is synced: after sync_interval_ms, by stele_sync, by
 *          the next durable commit of any handle, at close. One that cuts the count, or raises it over records
 *          that were not appended, is durable all the same
 */
STELE_API int stele_commit(struct stele_txn *txn, enum stele_durability durability, uint64_t *out_sequence);
STELE_API void stele_abort(struct stele_txn *txn); /* NULL is fine */

enum {                       /* flags of stele_edit_open; others: STELE_E_USAGE */
    STELE_EDIT_ATOMIC = 1,   /* one commit: all of the edit or nothing */
    STELE_EDIT_LOCK = 2      /* keep the writer's turn until the edit ends: no other commit comes between */
};

/*
 * Open @record_count records from @first_index on for editing: stele_edit_records points at them, packed, to be
 * changed as in any array. What is stored there is seen by nobody else and goes nowhere until stele_edit_commit.
 *
 * A record that was not changed may show a commit that comes meanwhile, and while it is being made half of it; what
 * is made of such a record is refused when it is committed. With STELE_EDIT_LOCK there are none.
 *
 * Shape:   the records are mapped as long as the edit is open: edit a range larger than max_mapped_bytes, or than
 *          memory for the pages that are changed, piece by piece. On return every commit of this handle is in it
 * Errors:  as stele_begin, whose turn it takes for a moment; STELE_E_RANGE; STELE_E_FULL address space, or
 *          max_mapped_bytes is held by views and edits that are open
 * Owner:   stele_edit_discard frees *out, or the stele_edit_commit that succeeds; to touch a page that cannot be read is
 *          the caller's own risk, as with a view
 */
STELE_API int stele_edit_open(struct stele *store, uint64_t first_index, uint64_t record_count, unsigned flags,
                              struct stele_edit **out);
/* The records of @edit, writable; NULL where there are none, and in a child of the process that opened it. */
STELE_API void *stele_edit_records(struct stele_edit *edit);
/* Store a @version of your own and 64 @bytes with the commit that makes @edit whole, as stele_txn_user. */
STELE_API int stele_edit_user(struct stele_edit *edit, uint64_t version, const void *bytes64);
/*
 * Commit the records of @edit that differ from those of the store, padding aside, and close it.
 *
 * Where they need more than half of the journal they are committed in pieces, in the order of their indexes, each all
 * or nothing, with no other commit between them; with STELE_EDIT_ATOMIC as one. *@out_committed_count (NULL is fine)
 * becomes the number of records that were committed, whatever the result.
 *
 * Errors:  nothing changed: STELE_E_CONFLICT since the edit was opened a commit, be it of this handle, touched the block
 *          (4 KiB of records, as a rule) of one that differs; STELE_E_RANGE the records do not all exist any more;
 *          STELE_E_TOO_BIG with STELE_EDIT_ATOMIC; STELE_E_TRUNCATED, STELE_E_IO a page cannot be read; as stele_begin.
 *          Pieces before it are in: STELE_E_DAMAGED a block fails its checksum; STELE_E_FULL, STELE_E_NOMEM;
 *          STELE_E_UNKNOWN this piece may be in or not
 * Owner:   after an error @edit is open as before: discard it, or commit what is left of it again
 * Durability: as stele_commit, each piece
 */
STELE_API int stele_edit_commit(struct stele_edit *edit, enum stele_durability durability,
                                uint64_t *out_committed_count);
STELE_API void stele_edit_discard(struct stele_edit *edit); /* NULL is fine */

/*
 * Ask whether the commit with @sequence is in the store: STELE_OK there, STELE_E_ABSENT not.
 *
 * Errors:  STELE_E_POISONED on the handle that saw the sync fail: open anew and ask there;
 *          STELE_E_UNKNOWN older than the history of 64 recoveries; STELE_E_RANGE never given out;
 *          STELE_E_BUSY a writer stopped in the middle and none has come yet to decide it (read-only handles)
 */
STELE_API int stele_outcome(struct stele *store, uint64_t sequence);

/*
 * Make all commits of this handle durable and visible to others.
 *
 * Errors:  STELE_E_UNKNOWN the sync failed; STELE_E_POISONED one failed earlier
 */
STELE_API int stele_sync(struct stele *store);
/*
 * Do what is due: with STELE_NO_THREADS call it now and then, so that asynchronous commits do not stay pending for
 * longer than sync_interval_ms. Cheap where nothing is due; any thread. Errors: as stele_sync
 */
STELE_API int stele_tick(struct stele *store);
/* Make all records durable in place and empty the journal. Durability: as before, and the next open replays nothing. */
STELE_API int stele_checkpoint(struct stele *store);

/* ---- care ---------------------------------------------------------------------------------- */

enum { STELE_DAMAGE_SUM = 1,      /* the block's bytes do not fit its sum */
       STELE_DAMAGE_KNOWN = 2,    /* marked as damaged earlier */
       STELE_DAMAGE_UNREADABLE = 3, /* the system cannot read it */
       STELE_DAMAGE_CUT = 4       /* the file ends before it or its sum */ };

struct stele_damage { /* library-owned; grows at the end only */
    uint32_t kind;                      /* STELE_DAMAGE_SUM … */
    uint32_t reserved;
    uint64_t block_index;
    uint64_t first_index, record_count; /* its records below the count */
    uint64_t file_offset, bytes;
    uint64_t stored_word, computed_word;
};

struct stele_verify_options {
    uint32_t struct_bytes;
    uint32_t flags;                     /* zero */
    uint64_t first_index, record_count; /* record_count 0: all from first_index on */
    int (*damaged)(void *context, const struct stele_damage *damage); /* a result other than 0 stops: STELE_E_INTERRUPTED */
    void *damaged_context;
    stele_progress *progress;           /* in bytes */
    void *progress_context;
    uint32_t jobs;                      /* threads that check blocks, 64 at most; 0 or 1: the caller's alone */
    uint32_t reserved;                  /* zero */
};
#define STELE_VERIFY_OPTIONS_INIT { .struct_bytes = sizeof(struct stele_verify_options) }

struct stele_verify_report {
    uint32_t struct_bytes;
    uint32_t file_damage;               /* STELE_FILE_DAMAGE_* */
    uint64_t block_count, record_count, bytes; /* checked */
    uint64_t never_written_count;       /* blocks whose word is 0 and whose bytes are zero */
    uint64_t damaged_count;             /* blocks, all kinds */
    uint64_t known_count, unreadable_count; /* of those */
    uint64_t first_damaged_block;       /* UINT64_MAX: none */
};
#define STELE_VERIFY_REPORT_INIT { .struct_bytes = sizeof(struct stele_verify_report) }

/*
 * Check headers, schema, journal and the sum of each block of @options (NULL: of all). Never writes. What is
 * reported, its order and the thread that is called back in do not depend on how many threads work; a handle with
 * STELE_NO_THREADS has none. Zero space that is not zero is reported and means nothing: no read uses it. A header slot
 * that is damaged is mended by the next open for writing, what is damaged in blocks by stele_repair.
 *
 * Errors:  STELE_E_DAMAGED with the report in @out when anything was found; STELE_E_INTERRUPTED with the
 *          report of what was checked until then
 */
STELE_API int stele_verify(struct stele *store, const struct stele_verify_options *options,
                           struct stele_verify_report *out);

enum { STELE_REPAIR_REPLACE = 1, /* by the records given */
       STELE_REPAIR_ZERO = 2,
       STELE_REPAIR_ACCEPT = 3   /* the bytes stay as they are and get a new sum: they may be wrong */ };

/*
 * Make the damaged blocks of @record_count records from @first_index on good again, as @how says; blocks that are
 * good stay as they are, whatever @records_or_null has for them. @records_or_null: all records of the range with
 * STELE_REPAIR_REPLACE, else NULL. Before a block changes, @log is called with what is there now: number and word of
 * the block and all its records below the count. It must not use @store for writing. Blocks are repaired in batches of
 * 256 KiB at most, each one commit; all calls of @log for a batch come before it.
 *
 * Shape:   a damaged block holds records of which nobody knows which are wrong, so the range covers all of it, or
 *          what comes out fits the sum that it has: one record, brought back as it was, may make it good
 * Errors:  STELE_E_RANGE the range does not exist, or covers a damaged block in part: the message names its records;
 *          STELE_E_INTERRUPTED @log returned something else than 0, or progress did; STELE_E_IO the system cannot read
 *          a block, which then has nothing to hand out: move the file to another medium first. Where blocks before it
 *          were repaired in batches of their own they stay so; of the block's own batch nothing changed.
 *          As stele_commit
 * Durability: after return the repaired blocks survive power loss; a batch that was cut short is whole or not there
 */
STELE_API int stele_repair(struct stele *store, uint64_t first_index, uint64_t record_count,
                           const void *records_or_null, uint32_t how,
                           int (*log)(void *context, uint64_t block, uint64_t old_word, uint64_t first_index,
                                      const void *old_records, size_t record_count),
                           void *context);

struct stele_recovery {
    uint32_t struct_bytes;
    uint32_t kind;                      /* STELE_RECOVERY_NONE, _REPLAY, _FORCED */
    uint64_t entry_count;               /* replayed */
    uint64_t restored_count;            /* records stored again */
    uint64_t last_kept, first_new;      /* sequences */
    uint64_t lost_first, lost_last;     /* forced: sequences given up; 0, 0: none */
    uint64_t count;                     /* records now */
    uint64_t damaged_count, first_damaged_block; /* blocks that differ from their journaled sum afterwards */
    uint32_t header_damage;             /* STELE_FILE_DAMAGE_SLOT_A | STELE_FILE_DAMAGE_SLOT_B: mended from the other */
    uint32_t reserved;
};
#define STELE_RECOVERY_INIT { .struct_bytes = sizeof(struct stele_recovery) }

/*
 * Recover the store at @path as a read-write open would, and report. With STELE_FORCE in options->flags go on
 * behind an acknowledged entry that is lost; @out lists what was given up.
 *
 * Errors:  STELE_E_DAMAGED an acknowledged entry is lost and STELE_FORCE is not set; as stele_open
 */
STELE_API int stele_recover(const char *path, const struct stele_options *options, struct stele_recovery *out);

/*
 * Rewrite the store at @path with options->capacity_records (0: as before) and options->journal_bytes
 * (0: as before) into a new file that takes its place.
 *
 * Errors:  STELE_E_BUSY anybody else has it open for writing; STELE_E_RANGE capacity below the count;
 *          STELE_E_DAMAGED a block fails its sum (with STELE_FORCE it is carried over, marked); STELE_E_FULL
 * Durability: whole or not at all, also across power loss. Open readers get STELE_E_STALE
 */
STELE_API int stele_resize(const char *path, const struct stele_options *options);

/*
 * Copy @store, as of one commit, to a new file at @out_path, while others go on writing. Of @options (NULL: none)
 * permissions (0: those of the store's file), progress (in bytes) and progress_context count; flags are zero. The
 * copy has an id of its own and says in stele_info what it is a copy of: origin_file_id, origin_sequence.
 *
 * Shape:   a read-write handle takes the writer's turn for the last step, a moment as a rule; a read-only one writes
 *          nothing to the store and waits up to read_wait_ms for a moment in which nothing is committed
 * Errors:  STELE_E_EXISTS something is at @out_path; STELE_E_FULL; STELE_E_BUSY no turn, or no such moment;
 *          STELE_E_STALE the store was replaced meanwhile; STELE_E_TRUNCATED; STELE_E_INTERRUPTED; STELE_E_ACCESS,
 *          _READONLY, _ABSENT, _IO, _VERSION: no file is left. STELE_E_DAMAGED blocks of the store are damaged: if
 *          stele_last_error()->outcome_done is 1 the copy was made, and they are damaged in it, too
 * Durability: whole or not at all, also across power loss; after return it survives it
 */
STELE_API int stele_backup(struct stele *store, const char *out_path, const struct stele_options *options);

/*
 * Have @log called with messages of the library (@level 0 error, 1 warning, 2 notice); NULL: off, the default.
 *
 * Threads: set it before other threads use the library
 */
STELE_API void stele_log_to(void (*log)(void *context, int level, const char *text), void *context);

/* ---- the typed layer: a schema of a struct as the compiler knows it (C only) ----------------- */

#ifndef __cplusplus

/*
 * Make a schema of @type, a struct, with the fields that follow, and put it to *@out_schema:
 *
 *     struct stele_schema *schema = NULL;
 *     int rc = STELE_SCHEMA(&schema, struct Member, STELE_FIELD(id), STELE_FIELD(inner.x),
 *                           STELE_FIELD_AS(matrix, STELE_F64, 4, 4));
 *
 * It is an expression with the result of stele_schema_new, inside of a function. Offsets and sizes are the
 * compiler's; members that are not named are padding. Compilers for 32-bit x86 on Linux put 8-byte members on
 * multiples of 4: where a file is to serve 64-bit programs too, give such members _Alignas(8).
 *
 * Shape:   fields by ascending offset; the compiler stops at a type that cannot be told or does not fit
 * Errors:  as stele_schema_new
 * Owner:   caller frees *@out_schema
 */
#define STELE_SCHEMA(out_schema, type, ...)                                                              \
    (__extension__({                                                                                     \
        typedef type stele_record_;                                                                      \
        static const struct stele_field stele_fields_[] = { __VA_ARGS__ };                               \
        stele_schema_new(#type, sizeof(stele_record_), stele_fields_,                                    \
                         sizeof(stele_fields_) / sizeof(stele_fields_[0]), (out_schema));                \
    }))

/*
 * A scalar or an array of one dimension; char[n] is text, unsigned char[n] bytes. The language does not tell
 * an enum from the integer that it is made of, u32 as a rule: stele_schema_check takes u32 and an i32 with
 * enum constants for the same; STELE_FIELD_AS(member, STELE_I32) says it outright.
 */
#define STELE_FIELD(member)                                                                              \
    {                                                                                                    \
        .name = #member, .type = STELE_TYPE_OF_(member), .bytes = STELE_ELEMENT_BYTES_(member),          \
        .dims = { STELE_LENGTH_OF_(member) },                                                            \
        .offset = offsetof(stele_record_, member) +                                                      \
                  STELE_ASSERT_(STELE_TYPE_OF_(member) != 0, "name its type with STELE_FIELD_AS")        \
    }

/*
 * A field whose enum stele_type and dimensions, up to four, are named: STELE_FIELD_AS(member, type, dims). Text
 * and bytes take as many bytes each as the dimensions leave: char names[4][16] is
 * STELE_FIELD_AS(names, STELE_TEXT, 4).
 */
#define STELE_FIELD_AS(member, ...) STELE_FIELD_AS_(member, __VA_ARGS__, 0, 0, 0, 0, 0)

/* Behind the names above. */
#define STELE_FIELD_AS_(member, type_, a, b, c, d, ...)                                                  \
    {                                                                                                    \
        .name = #member, .type = (uint32_t)(type_), .dims = { (a), (b), (c), (d) },                      \
        .bytes = (uint32_t)(STELE_IS_SIZED_(type_)                                                       \
                                ? sizeof(STELE_MEMBER_(member)) / STELE_PRODUCT_(a, b, c, d)             \
                                : STELE_BYTES_OF_(type_)),                                               \
        .offset = offsetof(stele_record_, member) +                                                      \
                  STELE_ASSERT_(STELE_PRODUCT_(a, b, c, d) *                                             \
                                        (STELE_IS_SIZED_(type_)                                          \
                                             ? sizeof(STELE_MEMBER_(member)) / STELE_PRODUCT_(a, b, c, d) \
                                             : STELE_BYTES_OF_(type_)) ==                                \
                                    sizeof(STELE_MEMBER_(member)),                                       \
                                "type and dimensions do not make the size of the member")                \
    }
#define STELE_MEMBER_(member) (((stele_record_ *)0)->member)
#define STELE_ASSERT_(condition, text) (0 * sizeof(struct { _Static_assert(condition, text); char unused; }))
#define STELE_PRODUCT_(a, b, c, d) \
    ((size_t)((a) ? (a) : 1) * (size_t)((b) ? (b) : 1) * (size_t)((c) ? (c) : 1) * (size_t)((d) ? (d) : 1))
#define STELE_IS_SIZED_(type_) ((type_) == STELE_TEXT || (type_) == STELE_BYTES)
#define STELE_BYTES_OF_(type_)                                                                           \
    ((type_) <= STELE_U8 || (type_) == STELE_BOOL ? 1u                                                   \
     : (type_) <= STELE_U16                       ? 2u                                                   \
     : (type_) <= STELE_U32 || (type_) == STELE_F32 ? 4u                                                 \
                                                    : 8u)
#define STELE_IS_ARRAY_(member) (STELE_SCALAR_(STELE_MEMBER_(member)) == 0)
/* A pointer looks like the array that decays to it; its address does not. */
#define STELE_TYPE_OF_(member)                                                                           \
    ((uint32_t)(STELE_SCALAR_(STELE_MEMBER_(member))          ? STELE_SCALAR_(STELE_MEMBER_(member))     \
                : STELE_IS_POINTER_(&STELE_MEMBER_(member)) ? 0                                          \
                                                            : STELE_ARRAY_(STELE_MEMBER_(member))))
#define STELE_ELEMENT_BYTES_(member)                                                                     \
    ((uint32_t)(STELE_IS_SIZED_(STELE_TYPE_OF_(member)) ? sizeof(STELE_MEMBER_(member))                  \
                                                        : STELE_BYTES_OF_(STELE_TYPE_OF_(member))))
#define STELE_LENGTH_OF_(member)                                                                         \
    ((uint32_t)(STELE_IS_ARRAY_(member) ? sizeof(STELE_MEMBER_(member)) / STELE_ELEMENT_BYTES_(member)   \
                                        : 0) *                                                           \
     (STELE_IS_SIZED_(STELE_TYPE_OF_(member)) ? 0u : 1u))
#define STELE_LONG_ (sizeof(long) == 8 ? STELE_I64 : STELE_I32)
#define STELE_UNSIGNED_LONG_ (sizeof(long) == 8 ? STELE_U64 : STELE_U32)
#define STELE_SCALAR_(value)                                                                             \
    _Generic((value), char: STELE_TEXT, signed char: STELE_I8, unsigned char: STELE_U8, short: STELE_I16, \
        unsigned short: STELE_U16, int: STELE_I32, unsigned int: STELE_U32, long: STELE_LONG_,           \
        unsigned long: STELE_UNSIGNED_LONG_, long long: STELE_I64, unsigned long long: STELE_U64,        \
        float: STELE_F32, double: STELE_F64, _Bool: STELE_BOOL, default: 0)
#define STELE_ARRAY_(value)                                                                              \
    _Generic((value), char *: STELE_TEXT, signed char *: STELE_I8, unsigned char *: STELE_BYTES,         \
        short *: STELE_I16, unsigned short *: STELE_U16, int *: STELE_I32, unsigned int *: STELE_U32,    \
        long *: STELE_LONG_, unsigned long *: STELE_UNSIGNED_LONG_, long long *: STELE_I64,              \
        unsigned long long *: STELE_U64, float *: STELE_F32, double *: STELE_F64, _Bool *: STELE_BOOL,   \
        default: 0)
#define STELE_IS_POINTER_(address)                                                                       \
    _Generic((address), char **: 1, signed char **: 1, unsigned char **: 1, short **: 1,                 \
        unsigned short **: 1, int **: 1, unsigned int **: 1, long **: 1, unsigned long **: 1,            \
        long long **: 1, unsigned long long **: 1, float **: 1, double **: 1, _Bool **: 1, default: 0)

#endif

#ifdef __cplusplus
}
#endif

#endif
