/*
 * What stele needs of an operating system. Bodies: os_posix*.c and os_win32*.c, twins function by function.
 *
 * A file here is one regular file with three descriptors' worth of state: reading and storing, durable journal
 * writes, and locks (a descriptor that is never mapped). Offsets are uint64_t, memory lengths size_t. Every
 * function returns a code, never a fault, and has raised the thread's last error when it fails.
 *
 * Words: "durable" is what survives power loss. "Store" puts bytes where every view of every process sees
 * them at once, without promise of durability.
 *
 * Not here: what the bytes mean; retries and deadlines (but short reads and writes are continued, EINTR too).
 */
#ifndef STELE_OS_H
#define STELE_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct stele_os_file {
    intptr_t handle;  /* reads, stores, maps */
    intptr_t journal; /* durable writes; may be the same */
    intptr_t lock;    /* locks only: a map or a child would keep them alive */
    uint64_t fork_count; /* of the process that opened it: its locks are not a child's */
    bool is_open;
    bool is_writable;
};

struct stele_os_stat {
    uint64_t bytes;
    uint64_t disk_bytes; /* allocated */
    uint64_t links; /* names it has */
};

/* A file that is being made and has no final name yet. */
struct stele_os_draft {
    struct stele_os_file file;
    char *target;    /* the name it is to get */
    char *directory; /* of the target */
    char *temporary; /* its name until then; NULL where it has none */
};

/* ---- files ---- */

/*
 * Open the regular file at @path, for storing too if @is_writable. Never blocks on a FIFO or device.
 *
 * Errors:  STELE_E_ABSENT, STELE_E_ACCESS, STELE_E_READONLY (read-only medium or immutable file),
 *          STELE_E_FORMAT a directory, device, FIFO or socket; STELE_E_IO
 * Owner:   caller closes; descriptors are close-on-exec and above 2
 */
int stele_os_open(const char *path, bool is_writable, struct stele_os_file *out);
void stele_os_close(struct stele_os_file *file); /* safe twice, and on a zeroed struct; gives locks back */
int stele_os_stat(const struct stele_os_file *file, struct stele_os_stat *out);

/*
 * Look whether @path is free, before work is put into a draft for it; publishing is the judge.
 *
 * Errors:  STELE_E_EXISTS something is there, a dangling link too
 */
int stele_os_check_free(const char *path);
/*
 * Make an empty file that is to become @path, in the same directory, with @permissions (before umask; no
 * wider than that at any moment). Without a name where the system can.
 *
 * Errors:  STELE_E_ABSENT no such directory; STELE_E_ACCESS, _READONLY, _FULL, _IO
 */
int stele_os_draft_open(const char *path, uint32_t permissions, struct stele_os_draft *out);
/*
 * Give @draft its name and make that durable. @is_replacing: in place of the regular file there.
 *
 * Errors:  STELE_E_EXISTS something is there and @is_replacing is false; STELE_E_BUSY the file there is mapped, be it
 *          by the caller, on a system that keeps such a file; STELE_E_READONLY, _ACCESS, _FULL, _IO
 * Owner:   on success the file moves to *@out_file, and @draft is empty
 */
int stele_os_draft_publish(struct stele_os_draft *draft, bool is_replacing, struct stele_os_file *out_file);
void stele_os_draft_discard(struct stele_os_draft *draft); /* safe twice, and on a zeroed struct */
/* Give @draft the mode, owner and extended attributes of @from, or its access list, as far as this user may. */
int stele_os_draft_dress(struct stele_os_draft *draft, const struct stele_os_file *from);
/*
 * Have the @byte_count bytes of @draft from @offset on share their disk with the same bytes of @from, until one
 * of the two is stored to: a copy of any size in a moment.
 *
 * Shape:   @offset and @byte_count multiples of 64 KiB, inside of @from
 * Errors:  STELE_E_UNSUPPORTED the file system cannot, nothing has changed; STELE_E_FULL, STELE_E_IO
 */
int stele_os_draft_clone(struct stele_os_draft *draft, const struct stele_os_file *from, uint64_t offset,
                         uint64_t byte_count);

/* ---- bytes ---- */

/* Read exactly @byte_count bytes. Errors: STELE_E_TRUNCATED the file ends before; STELE_E_IO */
int stele_os_read(const struct stele_os_file *file, uint64_t offset, void *out, size_t byte_count);
/* Write to bytes that nobody has mapped. Errors: STELE_E_FULL, STELE_E_IO */
int stele_os_write(const struct stele_os_file *file, uint64_t offset, const void *bytes, size_t byte_count);
/*
 * Write to bytes that nobody has mapped and make just them durable: one sync.
 *
 * Errors:  any code: whether the bytes are on disk is not known
 */
int stele_os_write_durable(const struct stele_os_file *file, uint64_t offset, const void *bytes,
                           size_t byte_count);
/*
 * Whether views agree with views only: bytes that anybody maps must then be read, stored and zeroed through views,
 * and each view that was stored through must be flushed before a sync.
 */
bool stele_os_needs_views(void);
/*
 * Put @byte_count bytes at @offset so that every view sees them; @view is where this process has that offset
 * mapped writably, NULL where records are mapped read-only, which a system that needs views refuses.
 *
 * Errors:  STELE_E_FULL, STELE_E_IO: a code, never a fault; some of the bytes may be stored
 */
int stele_os_store(const struct stele_os_file *file, uint64_t offset, const void *bytes, size_t byte_count,
                   void *view);
/*
 * Make a stretch inside the file read as zeros by the cheapest means; views see it. @is_sparse: leave a hole. On a
 * system that needs views: of bytes that nobody has mapped.
 */
int stele_os_zero(const struct stele_os_file *file, uint64_t offset, uint64_t byte_count, bool is_sparse);
/* Make everything written and stored so far durable, views that were flushed too, and the file's size. */
int stele_os_sync(const struct stele_os_file *file);
/* Allocate disk for real; the file grows to at least offset + byte_count. Errors: STELE_E_FULL, nothing kept */
int stele_os_allocate(const struct stele_os_file *file, uint64_t offset, uint64_t byte_count);
/* Set the size of a file that nobody has mapped, or raise it. */
int stele_os_set_bytes(const struct stele_os_file *file, uint64_t bytes);
/*
 * Find the first byte from @offset on that may be other than zero: *@out_offset, the end of the file where there is
 * none. A system that does not know its holes says @offset. Errors: STELE_E_IO
 */
int stele_os_next_data(const struct stele_os_file *file, uint64_t offset, uint64_t *out_offset);
/* Say that a stretch will be read soon. Never fails. */
void stele_os_will_need(const struct stele_os_file *file, uint64_t offset, uint64_t byte_count);
/* Start writing a stretch that was stored, so that a later sync finds less to do. No promise, takes no error away. */
void stele_os_write_behind(const struct stele_os_file *file, uint64_t offset, uint64_t byte_count);
/* Tell the directory entry's file system that the content changed now (mapped stores may not). */
void stele_os_touch(const struct stele_os_file *file);

/* ---- maps (called by window only) ---- */

/* What offsets of maps must be multiples of. */
size_t stele_os_granularity(void);
/*
 * Map @byte_count bytes from @offset, shared, for reading or also for storing; not inherited by children.
 *
 * Shape:   inside the file: the caller has checked its size
 * Errors:  STELE_E_FULL address space; STELE_E_IO
 */
int stele_os_map(const struct stele_os_file *file, uint64_t offset, size_t byte_count, bool is_writable,
                 bool is_random, void **out);
/*
 * Map @byte_count bytes from @offset, writable, for this process alone: a page shows the file until it is first stored
 * to, and its own copy of what the file was at that moment from then on; nothing of it ever goes to the file. Not
 * inherited by children. Shape and errors: as stele_os_map, STELE_E_FULL also memory for copies of all pages.
 */
int stele_os_map_private(const struct stele_os_file *file, uint64_t offset, size_t byte_count, void **out);
void stele_os_unmap(void *address, size_t byte_count);
/* Fault all pages of a writable map in now. Errors: STELE_E_FULL, STELE_E_IO instead of a fault later */
int stele_os_populate(void *address, size_t byte_count);
/* Hand what was stored through a map over, so that the next sync makes it durable. Errors: STELE_E_FULL, _IO */
int stele_os_flush(void *address, size_t byte_count);
/* Have each access to a map fault from now on, until it is unmapped: for builds that look for wrong ones. */
void stele_os_forbid(void *address, size_t byte_count);

/* ---- locks: W the writer, P present for writing (protocol: lib/DESIGN.md, Locks) ---- */
/* In a child of the process that opened @file each of them is STELE_E_STALE, and unlocking does nothing. */

int stele_os_lock_writer(const struct stele_os_file *file); /* try: STELE_E_BUSY */
void stele_os_unlock_writer(const struct stele_os_file *file);
int stele_os_lock_present(const struct stele_os_file *file); /* shared: never waits; STELE_E_BUSY held alone */
int stele_os_lock_present_alone(const struct stele_os_file *file); /* try: STELE_E_BUSY others are present */
void stele_os_unlock_present(const struct stele_os_file *file);
/* Whether another handle holds it. Takes nothing, works on read-only files. */
int stele_os_is_writer_held(const struct stele_os_file *file, bool *out_is_held);
int stele_os_is_present_held(const struct stele_os_file *file, bool *out_is_held);

/* ---- the rest ---- */

uint64_t stele_os_now_us(void);   /* since 1970, UTC */
uint64_t stele_os_clock_us(void); /* monotonic */
void stele_os_sleep_us(uint64_t us);
void stele_os_yield(void);
int stele_os_random(void *out, size_t byte_count);
uint64_t stele_os_process_id(void);
/* How often this process is the child of one that had stele files open: a handle of the parent is dead in it. */
extern uint64_t stele_os_forks; /* what the next function loads; atomic */
static inline uint64_t stele_os_fork_count(void) { return __atomic_load_n(&stele_os_forks, __ATOMIC_RELAXED); }
/* Wake every process and thread that waits for the low half of @word to change. Never fails. */
void stele_os_wake(const uint64_t *word);

/* A mutex and a condition, in the caller's memory. */
struct stele_os_mutex { uint64_t storage[8]; };
struct stele_os_condition { uint64_t storage[8]; };
int stele_os_mutex_init(struct stele_os_mutex *mutex);
void stele_os_mutex_done(struct stele_os_mutex *mutex);
void stele_os_mutex_lock(struct stele_os_mutex *mutex);
void stele_os_mutex_unlock(struct stele_os_mutex *mutex);
int stele_os_condition_init(struct stele_os_condition *condition);
void stele_os_condition_done(struct stele_os_condition *condition);
/* Wait until signalled or stele_os_clock_us() reaches @deadline_us; false at the deadline. */
bool stele_os_condition_wait(struct stele_os_condition *condition, struct stele_os_mutex *mutex,
                             uint64_t deadline_us);
void stele_os_condition_broadcast(struct stele_os_condition *condition);

/* A thread; in the caller's memory, which stays until it is joined. */
struct stele_os_thread { uint64_t storage[2]; void (*run)(void *context); void *context; };
/* Run @run(@context) beside the caller, with no signal but those of faults. Errors: STELE_E_NOMEM there is no thread */
int stele_os_thread_start(struct stele_os_thread *out, void (*run)(void *context), void *context);
void stele_os_thread_join(struct stele_os_thread *thread); /* waits until it has returned */

#endif
