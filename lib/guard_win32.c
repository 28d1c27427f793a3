/*
 * The guard by a vectored exception handler.
 *
 * A thread inside a guarded copy has a frame, which says where to go on and which addresses are its own. The handler
 * changes what the thread is to go on with when the exception is over: a small function, on the same stack, that
 * leaves for the innermost frame that owns the address. It never leaves by itself, because the system has accounts of
 * a handler that runs. Every other exception goes to whoever comes next, as if this handler were not there.
 *
 * A page that cannot be read is EXCEPTION_IN_PAGE_ERROR; some systems that stand in for Windows say
 * EXCEPTION_ACCESS_VIOLATION. Both are taken only where the address is our own.
 *
 * Words of the live region are loaded and stored bare, too often for a frame each. Nobody can cut a file below an open
 * view here (error 1224), so a fault in such a map means that the medium fails or is gone. A single page cannot be put
 * over a view; so the whole view goes, and zeros come in its place, and a word that the owner asks says so.
 */
#include "guard.h"

#include "bits.h"
#include "error.h"

#include <stdlib.h>

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#if defined(__x86_64__)
#define ARGUMENT_IN_REGISTER __attribute__((noreturn))
#elif defined(__i386__)
#define ARGUMENT_IN_REGISTER __attribute__((noreturn, fastcall))
#else
#error "say how a thread is made to go on elsewhere on this processor"
#endif

struct frame {
    void *resume[5]; /* of __builtin_setjmp */
    uintptr_t first; /* addresses from first to last, both included, are guarded */
    uintptr_t last;
    struct frame *outer;
};

/* The innermost frame of a thread. Not _Thread_local: that may take memory at its first use, inside the handler. */
static DWORD innermost = TLS_OUT_OF_INDEXES;

/* A watched map. Nodes are never freed, so that the handler may walk them at any moment; they are used again. */
struct watch {
    uint64_t is_cut; /* first: it is what the owner holds */
    bool is_taken;   /* atomic */
    bool is_writable;
    uintptr_t first; /* atomic; 0: watches nothing; those that follow belong to it */
    uintptr_t last;  /* atomic */
    struct watch *next;
};

static struct watch *watches; /* atomic; grows at the front only */

static struct watch *take_watch(void)
{
    struct watch *watch;

    for (watch = __atomic_load_n(&watches, __ATOMIC_ACQUIRE); watch; watch = watch->next) {
        if (!__atomic_exchange_n(&watch->is_taken, true, __ATOMIC_ACQ_REL))
            return watch;
    }
    watch = calloc(1, sizeof(*watch));
    if (!watch)
        return NULL;
    watch->is_taken = true;
    watch->next = __atomic_load_n(&watches, __ATOMIC_ACQUIRE);
    while (!__atomic_compare_exchange_n(&watches, &watch->next, watch, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        continue;
    return watch;
}

int stele_guard_watch(void *base, size_t byte_count, bool is_writable, uint64_t **out_is_cut)
{
    struct watch *watch = take_watch();

    if (!watch)
        return stele_fail(STELE_E_NOMEM, "out of memory to watch a map");
    stele_store(&watch->is_cut, 0);
    __atomic_store_n(&watch->is_writable, is_writable, __ATOMIC_RELAXED);
    __atomic_store_n(&watch->last, (uintptr_t)base + (byte_count - 1), __ATOMIC_RELAXED);
    __atomic_store_n(&watch->first, (uintptr_t)base, __ATOMIC_RELEASE);
    *out_is_cut = &watch->is_cut;
    return STELE_OK;
}

void stele_guard_unwatch(uint64_t *is_cut)
{
    struct watch *watch = (struct watch *)(void *)is_cut;

    __atomic_store_n(&watch->first, 0, __ATOMIC_RELAXED);
    /* The handler must find it gone before it finds it taken again. */
    __atomic_thread_fence(__ATOMIC_RELEASE);
    __atomic_store_n(&watch->is_taken, false, __ATOMIC_RELEASE);
}

/* Whether @watch watches @address now. Its words count only if it was not given to another map meanwhile. */
static bool is_watching(const struct watch *watch, uintptr_t address, struct watch *out)
{
    out->first = __atomic_load_n(&watch->first, __ATOMIC_ACQUIRE);
    out->last = __atomic_load_n(&watch->last, __ATOMIC_RELAXED);
    out->is_writable = __atomic_load_n(&watch->is_writable, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return out->first && address >= out->first && address <= out->last &&
           __atomic_load_n(&watch->first, __ATOMIC_RELAXED) == out->first;
}

/* Put zeros in the place of the view @watch. Of several threads that meet the lost page one does it. */
static bool replace_view(const struct watch *watch)
{
    static SRWLOCK mutex = SRWLOCK_INIT;
    MEMORY_BASIC_INFORMATION memory;
    void *base = (void *)watch->first;
    bool is_done;

    AcquireSRWLockExclusive(&mutex);
    is_done = VirtualQuery(base, &memory, sizeof(memory)) && memory.State == MEM_COMMIT && memory.Type == MEM_PRIVATE;
    /* Between the two another thread may be given the place; then there is no place for zeros. */
    if (!is_done && UnmapViewOfFile(base))
        is_done = VirtualAlloc(base, watch->last - watch->first + 1, MEM_RESERVE | MEM_COMMIT,
                               watch->is_writable ? PAGE_READWRITE : PAGE_READONLY) == base;
    ReleaseSRWLockExclusive(&mutex);
    return is_done;
}

/* Put zeros in the place of the map at @address if it is watched. */
static bool put_zeros(uintptr_t address)
{
    struct watch found = { .first = 0 };

    for (struct watch *watch = __atomic_load_n(&watches, __ATOMIC_ACQUIRE); watch; watch = watch->next) {
        if (!is_watching(watch, address, &found))
            continue;
        stele_store_release(&watch->is_cut, 1);
        return replace_view(&found);
    }
    return false;
}

/* What a thread goes on with that met a lost page. It is jumped to, not called: nothing may return from it. */
ARGUMENT_IN_REGISTER
static void leave(struct frame *frame)
{
    __builtin_longjmp(frame->resume, 1);
}

static void go_on_with_leave(CONTEXT *context, struct frame *frame)
{
    /* As a call leaves the stack: a multiple of 16 less the return address; room for arguments in registers. */
#if defined(__x86_64__)
    context->Rsp = ((context->Rsp - 64) & ~(DWORD64)15) - 8;
    context->Rcx = (DWORD64)(uintptr_t)frame;
    context->Rip = (DWORD64)(uintptr_t)leave;
#else
    context->Esp = ((context->Esp - 64) & ~(DWORD)15) - 4;
    context->Ecx = (DWORD)(uintptr_t)frame;
    context->Eip = (DWORD)(uintptr_t)leave;
#endif
}

static LONG CALLBACK on_exception(EXCEPTION_POINTERS *exception)
{
    const EXCEPTION_RECORD *record = exception->ExceptionRecord;
    LONG answer = EXCEPTION_CONTINUE_SEARCH;
    uintptr_t address;
    DWORD system_code;

    if ((record->ExceptionCode != (DWORD)EXCEPTION_IN_PAGE_ERROR &&
         record->ExceptionCode != (DWORD)EXCEPTION_ACCESS_VIOLATION) ||
        record->NumberParameters < 2)
        return answer;
    address = (uintptr_t)record->ExceptionInformation[1];
    system_code = GetLastError(); /* TlsGetValue and others change it */
    for (struct frame *frame = TlsGetValue(innermost); frame; frame = frame->outer) {
        if (address >= frame->first && address <= frame->last) {
            TlsSetValue(innermost, frame->outer);
            go_on_with_leave(exception->ContextRecord, frame);
            answer = EXCEPTION_CONTINUE_EXECUTION;
            break;
        }
    }
    if (answer == EXCEPTION_CONTINUE_SEARCH && put_zeros(address))
        answer = EXCEPTION_CONTINUE_EXECUTION;
    SetLastError(system_code);
    return answer;
}

static DWORD install_system_code;

static BOOL CALLBACK install(INIT_ONCE *once, void *argument, void **out)
{
    HMODULE self;

    (void)once;
    (void)argument;
    (void)out;
    innermost = TlsAlloc();
    /* First, so that nobody reports a crash that is none. And the handler must not outlive its code. */
    if (innermost == TLS_OUT_OF_INDEXES || !AddVectoredExceptionHandler(1, on_exception))
        install_system_code = GetLastError() ? GetLastError() : ERROR_NOT_ENOUGH_MEMORY;
    (void)GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_PIN | GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS,
                             (const wchar_t *)(void *)&watches, &self);
    return TRUE;
}

int stele_guard_install(void)
{
    static INIT_ONCE once = INIT_ONCE_STATIC_INIT;

    InitOnceExecuteOnce(&once, install, NULL, NULL);
    return install_system_code ? stele_fail(STELE_E_IO, "no handler for unreadable pages can be installed (system "
                                            "code %lu)", install_system_code)
                               : STELE_OK;
}

bool stele_guard_copy(void *out, const void *shared, size_t byte_count)
{
    struct frame frame;

    if (byte_count == 0)
        return true;
    frame.first = (uintptr_t)shared;
    frame.last = (uintptr_t)shared + (byte_count - 1);
    frame.outer = TlsGetValue(innermost);
    if (__builtin_setjmp(frame.resume))
        return false;
    TlsSetValue(innermost, &frame);
    /* The frame is whole before the first byte is touched, and there until the last one was. */
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    stele_copy_shared(out, shared, byte_count);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    TlsSetValue(innermost, frame.outer);
    return true;
}

/* What a guarded piece of work needs to know. */
struct work {
    unsigned char *shared;
    const unsigned char *bytes;
    size_t byte_count;
    size_t page_bytes;
};

/* Do @work on its stretch of a map; false if a page of it could not be had. */
static bool guard(void (*act)(const struct work *work), const struct work *work)
{
    struct frame frame;

    if (work->byte_count == 0)
        return true;
    frame.first = (uintptr_t)work->shared;
    frame.last = (uintptr_t)work->shared + (work->byte_count - 1);
    frame.outer = TlsGetValue(innermost);
    if (__builtin_setjmp(frame.resume))
        return false;
    TlsSetValue(innermost, &frame);
    /* The act is a call, so the frame is whole before it and there until it is over. */
    act(work);
    TlsSetValue(innermost, frame.outer);
    return true;
}

static void act_store(const struct work *work)
{
    memcpy(work->shared, work->bytes, work->byte_count);
}

bool stele_guard_store(void *shared, const void *bytes, size_t byte_count)
{
    struct work work = { .shared = shared, .bytes = bytes, .byte_count = byte_count };

    return guard(act_store, &work);
}

static void act_touch(const struct work *work)
{
    for (size_t at = 0; at < work->byte_count; at += work->page_bytes)
        __atomic_fetch_or(work->shared + at, 0, __ATOMIC_RELAXED);
}

bool stele_guard_touch(void *shared, size_t byte_count)
{
    SYSTEM_INFO information;
    size_t page_bytes, within;
    struct work work;

    GetSystemInfo(&information);
    page_bytes = information.dwPageSize;
    within = (uintptr_t)shared % page_bytes;
    work = (struct work){ .shared = (unsigned char *)shared - within, .byte_count = byte_count + within,
                          .page_bytes = page_bytes };
    return byte_count == 0 || guard(act_touch, &work);
}
