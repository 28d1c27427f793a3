/* What the suites need of the system: POSIX. */
#include "system.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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

void system_drop_folder(const char *folder)
{
    REQUIRE(nftw(folder, drop_entry, 8, FTW_DEPTH | FTW_PHYS) == 0);
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

void parent_tell(const void *bytes, size_t byte_count)
{
    REQUIRE(write_all(to_parent, bytes, byte_count));
}

bool parent_hear(void *out, size_t byte_count)
{
    return read_all(from_parent, out, byte_count);
}
