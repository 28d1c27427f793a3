/* What the suites need of the system: POSIX. */
#include "system.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#define SECONDS_MAX 60

/* ---- folders ---- */

bool system_make_folder(char *name)
{
    return mkdtemp(name) != NULL;
}

static int drop_entry(const char *name, const struct stat *status, int type, struct FTW *place)
{
    (void)status;
    (void)type;
    (void)place;
    return remove(name);
}

bool system_drop_folder(const char *folder)
{
    return nftw(folder, drop_entry, 8, FTW_DEPTH | FTW_PHYS) == 0;
}

const char *system_place(void)
{
    const char *given = getenv("TMPDIR");

    return given && strlen(given) < 40 ? given : "/tmp";
}

const char *system_fast_place(void)
{
    return access("/dev/shm", W_OK) == 0 ? "/dev/shm" : NULL;
}

/* ---- files, memory, faults ---- */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HAS_SHADOW 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HAS_SHADOW 1
#endif
#endif
#ifndef HAS_SHADOW
#define HAS_SHADOW 0
#endif

#if defined(__SANITIZE_THREAD__)
#define HAS_THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HAS_THREAD_SANITIZER 1
#endif
#endif
#ifndef HAS_THREAD_SANITIZER
#define HAS_THREAD_SANITIZER 0
#endif

static const mode_t modes[SYSTEM_MODES] = { 0600, 0640, 0664, 0700, 0666 };

bool system_set_mode(const char *path, unsigned mode)
{
    return chmod(path, modes[mode]) == 0;
}

bool system_has_mode(const char *path, unsigned mode)
{
    struct stat status;

    return stat(path, &status) == 0 && (status.st_mode & 07777) == modes[mode];
}

bool system_link(const char *path, const char *second)
{
    return link(path, second) == 0;
}

bool system_limit_file_bytes(uint64_t bytes)
{
    struct rlimit limit;

    REQUIRE(getrlimit(RLIMIT_FSIZE, &limit) == 0);
    limit.rlim_cur = bytes < limit.rlim_max ? (rlim_t)bytes : limit.rlim_max;
    return setrlimit(RLIMIT_FSIZE, &limit) == 0;
}

bool system_limit_memory(uint64_t more_bytes)
{
    const char *variant = getenv("STELE_VARIANT");
    unsigned long pages = 0;
    FILE *sizes;
    struct rlimit limit;

    if (HAS_SHADOW || (variant && strcmp(variant, "memcheck") == 0))
        return false;
    sizes = fopen("/proc/self/statm", "re");
    REQUIRE(sizes && fscanf(sizes, "%lu", &pages) == 1);
    fclose(sizes);
    limit.rlim_max = limit.rlim_cur = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + (rlim_t)more_bytes;
    return setrlimit(RLIMIT_AS, &limit) == 0;
}

/* A sanitizer keeps what was freed for a while, so it is asked what is in use; so is the C library. */
size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

uint64_t system_heap_bytes(void)
{
    if (__sanitizer_get_current_allocated_bytes)
        return __sanitizer_get_current_allocated_bytes();
    return mallinfo2().uordblks;
}

uint64_t system_peak_bytes(void)
{
    struct rusage usage;

    REQUIRE(getrusage(RUSAGE_SELF, &usage) == 0);
    return (uint64_t)usage.ru_maxrss * 1024;
}

/* A page of a file that has none raises the same signal. */
bool system_break(void *address, size_t byte_count)
{
    int empty = memfd_create("empty", MFD_CLOEXEC);
    void *pages;

    REQUIRE(empty >= 0);
    pages = mmap(address, byte_count, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, empty, 0);
    close(empty);
    return pages == address;
}

bool system_may_break(void)
{
    return !HAS_THREAD_SANITIZER;
}

static struct sigaction faults;

void system_note_faults(void)
{
    REQUIRE(sigaction(SIGBUS, NULL, &faults) == 0);
}

void system_return_faults(void)
{
    REQUIRE(sigaction(SIGBUS, &faults, NULL) == 0);
}

bool system_add_folder(const char *path)
{
    return mkdir(path, 0700) == 0;
}

bool system_add_link(const char *target, const char *path)
{
    return symlink(target, path) == 0;
}

bool system_add_fifo(const char *path)
{
    return mkfifo(path, 0600) == 0;
}

bool system_add_socket(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int descriptor = socket(AF_UNIX, SOCK_STREAM, 0);
    bool is_there;

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    is_there = bind(descriptor, (const struct sockaddr *)&address, sizeof(address)) == 0;
    close(descriptor);
    return is_there;
}

const char *system_device(void)
{
    return "/dev/null";
}

bool system_set_bytes(FILE *file, uint64_t bytes)
{
    return fflush(file) == 0 && ftruncate(fileno(file), (off_t)bytes) == 0;
}

bool system_lengthen(const char *path, uint64_t bytes)
{
    return truncate(path, (off_t)bytes) == 0;
}

bool system_cut(const char *path, uint64_t bytes)
{
    REQUIRE(truncate(path, (off_t)bytes) == 0);
    return true;
}

bool system_is_wine(void)
{
    return false;
}

size_t system_handle_count(void)
{
    size_t count = 0;

    for (int descriptor = 0; descriptor < 256; descriptor++)
        count += fcntl(descriptor, F_GETFD) >= 0;
    return count;
}

/* ---- children ---- */

static int from_parent = -1, to_parent = -1;

static void make_pipe(int *ends)
{
    REQUIRE(pipe(ends) == 0);
    REQUIRE(fcntl(ends[0], F_SETFD, FD_CLOEXEC) == 0 && fcntl(ends[1], F_SETFD, FD_CLOEXEC) == 0);
}

static void be_the_child(void (*work)(void *context), void *context)
{
    static const int signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGSYS, SIGABRT };

    /* cmocka catches faults to go on with its next test: not in a child. */
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        signal(signals[i], SIG_DFL);
    signal(SIGPIPE, SIG_IGN);
    alarm(SECONDS_MAX);
    work(context);
    _exit(0);
}

struct child child_start(void (*work)(void *context), void *context)
{
    int to[2], from[2];
    struct child child;

    make_pipe(to);
    make_pipe(from);
    fflush(NULL);
    child = (struct child){ .process = fork(), .to = to[1], .from = from[0] };
    REQUIRE(child.process >= 0);
    if (child.process == 0) {
        from_parent = to[0];
        to_parent = from[1];
        close(to[1]);
        close(from[0]);
        be_the_child(work, context);
    }
    close(to[0]);
    close(from[1]);
    return child;
}

static bool write_all(int descriptor, const void *bytes, size_t byte_count)
{
    for (size_t done = 0; done < byte_count;) {
        ssize_t some = write(descriptor, (const char *)bytes + done, byte_count - done);

        if (some < 0 && errno == EINTR)
            continue;
        if (some <= 0)
            return false;
        done += (size_t)some;
    }
    return true;
}

static bool read_all(int descriptor, void *out, size_t byte_count)
{
    for (size_t done = 0; done < byte_count;) {
        ssize_t some = read(descriptor, (char *)out + done, byte_count - done);

        if (some < 0 && errno == EINTR)
            continue;
        if (some <= 0)
            return false;
        done += (size_t)some;
    }
    return true;
}

void child_tell(struct child *child, const void *bytes, size_t byte_count)
{
    REQUIRE(write_all((int)child->to, bytes, byte_count));
}

bool child_hear(struct child *child, void *out, size_t byte_count)
{
    return read_all((int)child->from, out, byte_count);
}

void child_hang_up(struct child *child)
{
    if (child->to >= 0)
        close((int)child->to);
    child->to = -1;
}

/* Its status as waitpid gives it. */
static int reap(struct child *child)
{
    int status = -1;

    child_hang_up(child);
    REQUIRE(waitpid((pid_t)child->process, &status, 0) == (pid_t)child->process);
    close((int)child->from);
    *child = (struct child){ .to = -1, .from = -1 };
    return status;
}

int child_end(struct child *child)
{
    int status = reap(child);

    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void child_kill(struct child *child)
{
    int status;

    REQUIRE(kill((pid_t)child->process, SIGKILL) == 0);
    status = reap(child);
    REQUIRE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

void child_watch(unsigned seconds)
{
    alarm(seconds);
}

void parent_tell(const void *bytes, size_t byte_count)
{
    REQUIRE(write_all(to_parent, bytes, byte_count));
}

bool parent_hear(void *out, size_t byte_count)
{
    return read_all(from_parent, out, byte_count);
}
