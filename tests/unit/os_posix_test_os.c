/*
 * The suite of os.h in the words of POSIX: what Linux calls by its own names, and what it answers only in trouble.
 *
 * Trouble (a call refused, a full disk, a size limit) is provoked in children: a seccomp filter has one system call
 * fail with one error there.
 */
#include "bits.h"
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>

/* cmocka catches faults to go on with its next test: not in a child. */
static void let_faults_kill(void)
{
    static const int signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGSYS };

    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        signal(signals[i], SIG_DFL);
}

static int status_of_child(void (*work)(void))
{
    int status = -1;
    pid_t child;

    fflush(NULL);
    child = fork();
    if (child == 0) {
        let_faults_kill();
        work();
        _exit(0);
    }
    if (child > 0 && waitpid(child, &status, 0) != child)
        status = -1;
    return status;
}

static void assert_in_child(void (*work)(void))
{
    assert_int_equal(status_of_child(work), 0);
}

/* From now on @call fails with @system_code, where its argument @argument_index has a bit of @bits (0:
 * always). */
static void refuse(long call, unsigned argument_index, uint32_t bits, int system_code)
{
    struct sock_filter steps[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                 (uint32_t)(offsetof(struct seccomp_data, args) + argument_index * sizeof(uint64_t))),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)system_code),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = { .len = sizeof(steps) / sizeof(steps[0]), .filter = steps };

    if (bits == 0) /* every value, then */
        steps[3] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JA, 0, 0, 0);
    REQUIRE(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    REQUIRE(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0);
}

/* A user for whom permissions count. */
static void become_nobody(void)
{
    if (geteuid() == 0)
        REQUIRE(setresgid(65534, 65534, 65534) == 0 && setresuid(65534, 65534, 65534) == 0);
}

/* Each test has an empty folder to itself, which others may enter. */
static int make_folder(void **state)
{
    return scratch_make(state) || chmod(scratch_folder, 0755);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, scratch_drop)

/* ---- files ---- */

static void open_says_what_is_there(void **state)
{
    static const struct {
        const char *name;
        int code;
        const char *words;
    } cases[] = {
        { "a.stele", STELE_OK, NULL },
        { "link", STELE_OK, NULL },
        { "absent", STELE_E_ABSENT, "is not there" },
        { "dangling", STELE_E_ABSENT, "is not there" },
        { "a.stele/x", STELE_E_ABSENT, "is not there" },
        { "", STELE_E_FORMAT, "is a directory, not a store" },
        { "folder", STELE_E_FORMAT, "is a directory, not a store" },
        { "fifo", STELE_E_FORMAT, "is a FIFO, not a store" },
        { "socket", STELE_E_FORMAT, "socket" },
        { "device", STELE_E_FORMAT, "is a device, not a store" },
        { "loop", STELE_E_IO, "cannot be opened" },
    };
    make_file(scratch_path, 10);
    assert_int_equal(symlink("a.stele", scratch_name("link")), 0);
    assert_int_equal(symlink("nowhere", scratch_name("dangling")), 0);
    assert_int_equal(symlink("loop", scratch_name("loop")), 0);
    assert_int_equal(symlink("/dev/null", scratch_name("device")), 0);
    assert_int_equal(mkdir(scratch_name("folder"), 0700), 0);
    assert_int_equal(mkfifo(scratch_name("fifo"), 0600), 0);
    assert_true(system_add_socket(scratch_name("socket")));
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        for (int is_writable = 0; is_writable < 2; is_writable++) {
            struct stele_os_file file = { .handle = 77 };
            int rc = stele_os_open(scratch_name(cases[i].name), is_writable, &file);

            print_message("%s: %s\n", cases[i].name, rc ? stele_last_error()->text : "opened");
            assert_int_equal(rc, cases[i].code);
            if (rc) {
                assert_non_null(strstr(stele_last_error()->text, cases[i].words));
                assert_non_null(strstr(stele_last_error()->text, scratch_name(cases[i].name)));
                assert_int_equal(file.handle, 77);
                assert_false(file.is_open);
            } else {
                assert_true(file.is_open && file.is_writable == is_writable);
                stele_os_close(&file);
            }
        }
    }
}

static void open_without_permission(void)
{
    struct stele_os_file file = { 0 };

    become_nobody();
    REQUIRE(stele_os_open(scratch_path, false, &file) == STELE_OK);
    stele_os_close(&file);
    REQUIRE(stele_os_open(scratch_path, true, &file) == STELE_E_ACCESS);
    REQUIRE(strstr(stele_last_error()->text, "open it read-only"));
    REQUIRE(stele_os_open(scratch_name("secret"), false, &file) == STELE_E_ACCESS);
}

static void open_needs_permission(void **state)
{
    make_file(scratch_path, 1);
    make_file(scratch_name("secret"), 1);
    chmod(scratch_path, 0444);
    chmod(scratch_name("secret"), 0);
    assert_in_child(open_without_permission);
}

static int refused_code;

static void open_refused(void)
{
    static const struct {
        int system_code, code, code_for_writing;
    } cases[] = {
        { EROFS, STELE_E_READONLY, STELE_E_READONLY },
        { EPERM, STELE_E_ACCESS, STELE_E_READONLY },
        { ETXTBSY, STELE_E_ACCESS, STELE_E_ACCESS },
        { EMFILE, STELE_E_IO, STELE_E_IO },
        { ENOMEM, STELE_E_NOMEM, STELE_E_NOMEM },
        { EAGAIN, STELE_E_BUSY, STELE_E_BUSY },
        { EIO, STELE_E_IO, STELE_E_IO },
        { ENXIO, STELE_E_FORMAT, STELE_E_FORMAT },
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        if (cases[i].system_code == refused_code) {
            struct stele_os_file file = { 0 };

            refuse(SYS_openat, 0, 0, refused_code);
            REQUIRE(stele_os_open(scratch_path, false, &file) == cases[i].code);
            REQUIRE(stele_os_open(scratch_path, true, &file) == cases[i].code_for_writing);
            REQUIRE(stele_last_error()->system_code == refused_code);
            return;
        }
    }
    REQUIRE(false);
}

static void open_has_a_code_for_every_refusal(void **state)
{
    static const int system_codes[] = { EROFS, EPERM, ETXTBSY, EMFILE, ENOMEM, EAGAIN, EIO, ENXIO };

    make_file(scratch_path, 1);
    for (size_t i = 0; i < COUNT_OF(system_codes); i++) {
        refused_code = system_codes[i];
        assert_in_child(open_refused);
    }
}

static void open_with_standard_descriptors_closed(void)
{
    struct stele_os_draft draft = { 0 };
    struct stele_os_file file, second;

    for (int descriptor = 0; descriptor < 3; descriptor++)
        close(descriptor);
    file = open_file(true);
    if (file.handle <= 2 || file.lock <= 2 || file.handle == file.lock)
        _exit(2);
    if (!(fcntl((int)file.handle, F_GETFD) & FD_CLOEXEC) || !(fcntl((int)file.lock, F_GETFD) & FD_CLOEXEC))
        _exit(3);
    if (stele_os_draft_open(scratch_name("draft"), 0600, &draft) || draft.file.handle <= 2 ||
        draft.file.lock <= 2)
        _exit(4);
    if (stele_os_draft_publish(&draft, false, &second))
        _exit(5);
    for (int descriptor = 0; descriptor < 3; descriptor++) {
        if (fcntl(descriptor, F_GETFD) >= 0)
            _exit(6);
    }
}

static void descriptors_stay_above_the_standard_ones(void **state)
{
    make_file(scratch_path, 1);
    assert_in_child(open_with_standard_descriptors_closed);
}

/* ---- bytes ---- */

/* It writes in our name, and refuses maps of its own accord. */
static bool is_under_valgrind(void)
{
    const char *preloaded = getenv("LD_PRELOAD");

    return preloaded && strstr(preloaded, "vgpreload");
}

/* Write calls of this process so far, as the kernel counts them. */
static unsigned long long write_call_count(void)
{
    FILE *io = fopen("/proc/self/io", "r");
    unsigned long long count = 0;
    char line[80];
    bool is_found = false;

    assert_non_null(io);
    while (fgets(line, sizeof(line), io))
        is_found = is_found || sscanf(line, "syscw: %llu", &count) == 1;
    fclose(io);
    assert_true(is_found);
    return count;
}

static void durable_write_is_one_call(void **state)
{
    static unsigned char bytes[64 * KIB];
    struct stele_os_file file;
    unsigned long long before;

    make_file(scratch_path, 128 * KIB);
    file = open_file(true);
    before = write_call_count();
    assert_int_equal(stele_os_write_durable(&file, 4096, bytes, 8192), STELE_OK);
    assert_true(is_under_valgrind() || write_call_count() == before + 1);
    assert_int_equal(stele_os_write_durable(&file, 0, bytes, sizeof(bytes)), STELE_OK);
    assert_int_equal(stele_os_store(&file, 0, bytes, sizeof(bytes), NULL), STELE_OK);
    assert_true(is_under_valgrind() || write_call_count() == before + 3);
    assert_true(file.journal == file.handle);
    stele_os_close(&file);
}

static void durable_write_without_range_sync(void)
{
    struct stele_os_file file = open_file(true);
    char out[9] = "";

    refuse(SYS_pwritev2, 0, 0, refused_code);
    REQUIRE(stele_os_write_durable(&file, 5, "one two ", 8) == STELE_OK);
    REQUIRE(file.journal != file.handle && file.journal > 2);
    REQUIRE(fcntl((int)file.journal, F_GETFL) & O_DSYNC);
    REQUIRE(fcntl((int)file.journal, F_GETFD) & FD_CLOEXEC);
    REQUIRE(stele_os_write_durable(&file, 9, "xyz ", 4) == STELE_OK);
    REQUIRE(stele_os_read(&file, 5, out, 8) == STELE_OK && strcmp(out, "one xyz ") == 0);
    stele_os_close(&file);
}

static void durable_write_without_any_help(void)
{
    struct stele_os_file file = open_file(true);
    char out[9] = "";

    refuse(SYS_pwritev2, 0, 0, ENOSYS);
    refuse(SYS_openat, 0, 0, ENOENT);
    REQUIRE(stele_os_write_durable(&file, 5, "one two ", 8) == STELE_OK);
    REQUIRE(file.journal == file.handle);
    REQUIRE(stele_os_read(&file, 5, out, 8) == STELE_OK && strcmp(out, "one two ") == 0);
    /* And it does sync: where that fails, the write has. */
    refuse(SYS_fdatasync, 0, 0, EIO);
    REQUIRE(stele_os_write_durable(&file, 5, "one two ", 8) == STELE_E_IO);
    REQUIRE(stele_os_sync(&file) == STELE_E_IO);
    stele_os_close(&file);
}

static void durable_write_finds_another_way_on_old_systems(void **state)
{
    make_file(scratch_path, 100);
    refused_code = EOPNOTSUPP;
    assert_in_child(durable_write_without_range_sync);
    refused_code = ENOSYS;
    assert_in_child(durable_write_without_range_sync);
    assert_in_child(durable_write_without_any_help);
}

static void write_refused(void)
{
    static const struct {
        int system_code, code;
    } cases[] = {
        { ENOSPC, STELE_E_FULL }, { EDQUOT, STELE_E_FULL },    { EFBIG, STELE_E_FULL },
        { EIO, STELE_E_IO },      { EROFS, STELE_E_READONLY }, { EPERM, STELE_E_READONLY },
    };
    struct stele_os_file file = open_file(true);
    int code = 0;

    for (size_t i = 0; i < COUNT_OF(cases); i++)
        code = cases[i].system_code == refused_code ? cases[i].code : code;
    refuse(SYS_pwrite64, 0, 0, refused_code);
    refuse(SYS_pwritev2, 0, 0, refused_code);
    refuse(SYS_fallocate, 0, 0, refused_code);
    REQUIRE(stele_os_write(&file, 4096, "x", 1) == code && stele_last_error()->file_offset == 4096);
    REQUIRE(stele_os_store(&file, 0, "x", 1, NULL) == code);
    REQUIRE(stele_os_write_durable(&file, 0, "x", 1) == code);
    REQUIRE(file.journal == file.handle);
    REQUIRE(stele_os_zero(&file, 0, 10, true) == code && stele_os_zero(&file, 0, 10, false) == code);
    REQUIRE(stele_os_allocate(&file, 0, 100000) == code);
    REQUIRE(bytes_of(&file) == 8192);
}

static void write_has_a_code_for_every_refusal(void **state)
{
    static const int system_codes[] = { ENOSPC, EDQUOT, EFBIG, EIO, EROFS, EPERM };

    make_file(scratch_path, 8192);
    for (size_t i = 0; i < COUNT_OF(system_codes); i++) {
        refused_code = system_codes[i];
        assert_in_child(write_refused);
    }
}

static void zero_and_allocate_without_the_call(void)
{
    struct stele_os_file file;
    struct stele_os_stat status;
    unsigned char out[10000];

    refuse(SYS_fallocate, 0, 0, EOPNOTSUPP);
    make_file(scratch_path, 5000);
    file = open_file(true);
    REQUIRE(stele_os_allocate(&file, 4000, 1024 * KIB - 4000) == STELE_OK && bytes_of(&file) == 1024 * KIB);
    REQUIRE(stele_os_sync(&file) == STELE_OK && stele_os_stat(&file, &status) == STELE_OK);
    REQUIRE(status.disk_bytes >= 1024 * KIB);
    for (int is_sparse = 0; is_sparse < 2; is_sparse++) {
        uint64_t first = is_sparse ? 100 : 4095, end = is_sparse ? 200 : 4097;

        REQUIRE(stele_os_zero(&file, first, end - first, is_sparse) == STELE_OK);
        REQUIRE(stele_os_read(&file, 0, out, sizeof(out)) == STELE_OK);
        for (uint64_t at = 150; at < sizeof(out); at++) {
            bool is_zero = at >= 5000 || (at >= first && at < end) || (is_sparse && (at == 4095 || at == 4096));

            REQUIRE(out[at] == (is_zero ? 0 : at % 251 + 1));
        }
    }
    REQUIRE(stele_os_zero(&file, 3, 900 * KIB, false) == STELE_OK);
    REQUIRE(stele_os_read(&file, 0, out, sizeof(out)) == STELE_OK);
    REQUIRE(out[2] == 3 && stele_is_zero(out + 3, sizeof(out) - 3) && bytes_of(&file) == 1024 * KIB);
    stele_os_close(&file);
}

static void zeros_and_room_are_written_where_there_is_no_call_for_them(void **state)
{
    assert_in_child(zero_and_allocate_without_the_call);
}

static void limit_size(rlim_t bytes)
{
    struct rlimit limit;

    REQUIRE(getrlimit(RLIMIT_FSIZE, &limit) == 0);
    limit.rlim_cur = bytes;
    REQUIRE(setrlimit(RLIMIT_FSIZE, &limit) == 0);
}

static void meet_the_size_limit(void)
{
    struct stele_os_file file = open_file(true);
    char bytes[8192] = "";
    sigset_t pending, mask;

    limit_size(64 * KIB);
    REQUIRE(stele_os_allocate(&file, 0, 64 * KIB) == STELE_OK);
    REQUIRE(stele_os_allocate(&file, 0, 64 * KIB + 1) == STELE_E_FULL && bytes_of(&file) == 64 * KIB);
    REQUIRE(stele_os_set_bytes(&file, 64 * KIB + 1) == STELE_E_FULL && bytes_of(&file) == 64 * KIB);
    REQUIRE(stele_os_write(&file, 64 * KIB, bytes, 1) == STELE_E_FULL);
    REQUIRE(strstr(stele_last_error()->text, "ulimit -f"));
    /* The kernel takes the part that fits first. */
    REQUIRE(stele_os_write(&file, 60 * KIB, bytes, 8192) == STELE_E_FULL);
    REQUIRE(stele_last_error()->file_offset == 64 * KIB && bytes_of(&file) == 64 * KIB);
    /* Lowered below what is there: the next durable write notices, and stores after it. */
    limit_size(8 * KIB);
    REQUIRE(stele_os_write_durable(&file, 16 * KIB, bytes, 4096) == STELE_E_FULL);
    REQUIRE(stele_os_store(&file, 16 * KIB, bytes, 4096, NULL) == STELE_E_FULL);
    REQUIRE(stele_os_write_durable(&file, 4 * KIB, bytes, 4096) == STELE_OK);
    /* Nothing of it is left behind in the thread. */
    REQUIRE(sigpending(&pending) == 0 && sigismember(&pending, SIGXFSZ) == 0);
    REQUIRE(pthread_sigmask(SIG_BLOCK, NULL, &mask) == 0 && sigismember(&mask, SIGXFSZ) == 0);
    /* A signal that the application has pending stays. */
    sigemptyset(&mask);
    sigaddset(&mask, SIGXFSZ);
    REQUIRE(pthread_sigmask(SIG_BLOCK, &mask, NULL) == 0 && raise(SIGXFSZ) == 0);
    REQUIRE(stele_os_store(&file, 16 * KIB, bytes, 4096, NULL) == STELE_E_FULL);
    REQUIRE(sigpending(&pending) == 0 && sigismember(&pending, SIGXFSZ) == 1);
    stele_os_close(&file);
}

/* Here the allocation gets half of the way before it fails. */
static void meet_the_size_limit_without_the_call(void)
{
    struct stele_os_file file = open_file(true);

    refuse(SYS_fallocate, 0, 0, EOPNOTSUPP);
    limit_size(64 * KIB);
    REQUIRE(stele_os_allocate(&file, 0, 100 * KIB) == STELE_E_FULL);
    REQUIRE(stele_last_error()->file_offset == 64 * KIB && bytes_of(&file) == 100);
    stele_os_close(&file);
}

static void size_limit_is_a_code_and_no_signal(void **state)
{
    make_file(scratch_path, 100);
    assert_in_child(meet_the_size_limit_without_the_call);
    assert_in_child(meet_the_size_limit);
}

static bool write_text(const char *place, const char *text)
{
    int descriptor = open(place, O_WRONLY | O_CLOEXEC);
    bool is_written = descriptor >= 0 && write(descriptor, text, strlen(text)) == (ssize_t)strlen(text);

    if (descriptor >= 0)
        close(descriptor);
    return is_written;
}

/* In a user namespace this process is root, once its user and group have names there. */
static bool become_root_of_a_namespace(void)
{
    char user[32], group[32];

    snprintf(user, sizeof(user), "0 %u 1", (unsigned)getuid());
    snprintf(group, sizeof(group), "0 %u 1", (unsigned)getgid());
    return unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 && write_text("/proc/self/uid_map", user) &&
           write_text("/proc/self/setgroups", "deny") && write_text("/proc/self/gid_map", group);
}

static void meet_the_full_disk(void)
{
    static unsigned char bytes[64 * KIB];
    struct stele_os_file file;
    int rc = STELE_OK;

    /* The mount goes with the child. Who is not root is in a user namespace of his own, where that is
     * allowed. */
    if (unshare(CLONE_NEWNS) && !become_root_of_a_namespace())
        _exit(77);
    if (mount("none", "/", "none", MS_REC | MS_PRIVATE, "") || mount("tmpfs", scratch_folder, "tmpfs", 0, "size=1m"))
        _exit(77);
    make_file(scratch_path, 4096);
    file = open_file(true);
    REQUIRE(stele_os_allocate(&file, 0, 64 * KIB) == STELE_OK);
    REQUIRE(stele_os_allocate(&file, 4096, 4096 * KIB) == STELE_E_FULL);
    REQUIRE(strstr(stele_last_error()->text, "disk is full"));
    REQUIRE(bytes_of(&file) == 64 * KIB);
    /* What was allocated can be written, and the rest of the disk is free again. */
    REQUIRE(stele_os_write(&file, 0, bytes, sizeof(bytes)) == STELE_OK);
    REQUIRE(stele_os_allocate(&file, 0, 512 * KIB) == STELE_OK);
    for (uint64_t at = 512 * KIB; !rc && at < 4096 * KIB; at += sizeof(bytes))
        rc = stele_os_store(&file, at, bytes, sizeof(bytes), NULL);
    REQUIRE(rc == STELE_E_FULL);
    stele_os_close(&file);
}

static void full_disk_is_a_code_and_leaves_the_size(void **state)
{
    int status = status_of_child(meet_the_full_disk);

    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        print_message("a small tmpfs can be mounted by root only here\n");
        skip();
    }
    assert_int_equal(status, 0);
}

/* ---- maps ---- */

static void *inherited_map;

static void look_for_map(void)
{
    unsigned char resident;

    REQUIRE(mincore(inherited_map, 4096, &resident) == -1 && errno == ENOMEM);
}

static void map_is_not_inherited(void **state)
{
    struct stele_os_file file;
    unsigned char resident;

    make_file(scratch_path, 4096);
    file = open_file(true);
    assert_int_equal(stele_os_map(&file, 0, 4096, true, false, &inherited_map), STELE_OK);
    assert_int_equal(mincore(inherited_map, 4096, &resident), 0);
    assert_in_child(look_for_map);
    stele_os_unmap(inherited_map, 4096);
    stele_os_close(&file);
}

static void populate_is_a_code_where_a_store_would_fault(void **state)
{
    struct stele_os_file file;
    void *map;

    make_file(scratch_path, 64 * KIB);
    file = open_file(true);
    assert_int_equal(stele_os_map(&file, 0, 64 * KIB, true, true, &map), STELE_OK);
    assert_int_equal(stele_os_populate(map, 64 * KIB), STELE_OK);
    assert_int_equal(*((unsigned char *)map + 5), 6);
    assert_int_equal(stele_os_set_bytes(&file, 4096), STELE_OK);
    assert_int_equal(stele_os_populate(map, 4096), STELE_OK);
    assert_int_equal(stele_os_populate(map, 64 * KIB), STELE_E_FULL);
    stele_os_unmap(map, 64 * KIB);
    stele_os_close(&file);
}

/* ---- locks ---- */

/* A failing test must not leave a child behind. */
static void wait_for_death(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;)
        pause();
}

static struct stele_os_file inherited;
static uint64_t fork_count_before;

static void use_what_the_parent_opened(void)
{
    struct stele_os_file own;
    int number = (int)inherited.lock;
    bool is_held;

    REQUIRE(stele_os_fork_count() == fork_count_before + 1);
    REQUIRE(fcntl((int)inherited.lock, F_GETFD) == -1);
    REQUIRE(stele_os_lock_writer(&inherited) == STELE_E_STALE);
    REQUIRE(stele_os_lock_present(&inherited) == STELE_E_STALE);
    REQUIRE(stele_os_lock_present_alone(&inherited) == STELE_E_STALE);
    REQUIRE(stele_os_is_writer_held(&inherited, &is_held) == STELE_E_STALE);
    REQUIRE(stele_os_is_present_held(&inherited, &is_held) == STELE_E_STALE);
    stele_os_unlock_writer(&inherited);
    stele_os_unlock_present(&inherited);
    own = open_file(true);
    /* The number that was closed serves again: what the parent's handle does must not hit it. */
    if (own.lock != inherited.lock && own.handle != inherited.lock)
        REQUIRE(dup2((int)own.lock, (int)inherited.lock) >= 0);
    REQUIRE(is_writer_held(&own) && is_present_held(&own));
    REQUIRE(stele_os_lock_present(&own) == STELE_OK);
    stele_os_unlock_present(&inherited);
    stele_os_close(&inherited);
    REQUIRE(fcntl((int)own.lock, F_GETFD) >= 0 && fcntl((int)own.handle, F_GETFD) >= 0);
    REQUIRE(fcntl(number, F_GETFD) >= 0);
    stele_os_close(&own);
}

static void unlock_what_the_parent_opened(void)
{
    struct stele_os_file own = { 0 }, other = { 0 };

    REQUIRE(stele_os_open(scratch_name("own"), true, &own) == STELE_OK);
    REQUIRE(stele_os_open(scratch_name("own"), true, &other) == STELE_OK);
    REQUIRE(stele_os_lock_writer(&own) == STELE_OK && stele_os_lock_present(&own) == STELE_OK);
    /* The number of the parent's lock descriptor is this one's by now. */
    if (own.lock != inherited.lock)
        REQUIRE(dup2((int)own.lock, (int)inherited.lock) >= 0);
    stele_os_unlock_writer(&inherited);
    stele_os_unlock_present(&inherited);
    REQUIRE(is_writer_held(&other) && is_present_held(&other));
}

static void fork_leaves_the_locks_with_the_parent(void **state)
{
    struct stele_os_file other;

    make_file(scratch_path, 100);
    inherited = open_file(true);
    other = open_file(true);
    fork_count_before = stele_os_fork_count();
    assert_int_equal(stele_os_lock_writer(&inherited), STELE_OK);
    assert_int_equal(stele_os_lock_present(&inherited), STELE_OK);
    assert_in_child(use_what_the_parent_opened);
    make_file(scratch_name("own"), 1);
    assert_in_child(unlock_what_the_parent_opened);
    assert_true(is_writer_held(&other) && is_present_held(&other));
    assert_true(stele_os_fork_count() == fork_count_before);
    stele_os_close(&other);
    stele_os_close(&inherited);
}

static void say_fork_count(void)
{
    REQUIRE(stele_os_fork_count() == fork_count_before);
}

static void fork_without_open_files_does_not_count(void **state)
{
    fork_count_before = stele_os_fork_count();
    assert_in_child(say_fork_count);
}

static void locks_are_free_though_a_child_lives_on(void **state)
{
    /* As fork does it, then as a bare system call does, which runs no handler in the child. */
    for (int is_bare = 0; is_bare < 2; is_bare++) {
        struct stele_os_file file;
        pid_t child;

        make_file(scratch_path, 100);
        file = open_file(true);
        assert_int_equal(stele_os_lock_writer(&file), STELE_OK);
        assert_int_equal(stele_os_lock_present(&file), STELE_OK);
        child = is_bare ? (pid_t)syscall(SYS_clone, (unsigned long)SIGCHLD, NULL, NULL, NULL, 0) : fork();
        if (child == 0) {
            wait_for_death();
        }
        assert_true(child > 0);
        stele_os_close(&file);
        file = open_file(true);
        assert_false(is_writer_held(&file) || is_present_held(&file));
        assert_int_equal(stele_os_lock_writer(&file), STELE_OK);
        stele_os_close(&file);
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, NULL, 0), child);
    }
}

/* ---- drafts ---- */

static void refuse_nameless_drafts(void)
{
    refuse(SYS_openat, 2, O_TMPFILE & ~O_DIRECTORY, EOPNOTSUPP);
}

static void publish_by_name(void)
{
    struct stele_os_draft draft = { 0 }, second = { 0 };
    struct stele_os_file file = { 0 }, replaced = { 0 }, other;
    char out[4] = "";

    REQUIRE(stele_os_draft_open(scratch_path, 0600, &draft) == STELE_OK && draft.temporary);
    REQUIRE(strncmp(draft.temporary, scratch_name(".a.stele."), strlen(scratch_folder) + 10) == 0);
    REQUIRE(access(scratch_path, F_OK) == -1 && entry_count() == 1);
    REQUIRE(stele_os_write(&draft.file, 0, "new", 4) == STELE_OK);
    REQUIRE(stele_os_lock_writer(&draft.file) == STELE_OK);
    REQUIRE(stele_os_draft_open(scratch_path, 0600, &second) == STELE_OK);
    REQUIRE(stele_os_draft_publish(&draft, false, &file) == STELE_OK);
    REQUIRE(entry_count() == 2);
    other = open_file(true);
    REQUIRE(stele_os_read(&other, 0, out, 4) == STELE_OK && strcmp(out, "new") == 0 && is_writer_held(&other));
    REQUIRE(stele_os_draft_publish(&second, false, &replaced) == STELE_E_EXISTS);
    REQUIRE(stele_os_draft_publish(&second, true, &replaced) == STELE_OK);
    REQUIRE(entry_count() == 1 && bytes_of(&replaced) == 0);
    stele_os_close(&other);
    stele_os_close(&replaced);
    stele_os_close(&file);
    REQUIRE(stele_os_draft_open(scratch_path, 0600, &draft) == STELE_OK && entry_count() == 2);
    stele_os_draft_discard(&draft);
    REQUIRE(entry_count() == 1 && unlink(scratch_path) == 0);
}

static void publish_with_names(void)
{
    refuse_nameless_drafts();
    publish_by_name();
}

static void publish_with_links(void)
{
    refuse_nameless_drafts();
    refuse(SYS_renameat2, 0, 0, EINVAL);
    publish_by_name();
}

static void draft_has_a_name_of_its_own_where_it_must(void **state)
{
    assert_in_child(publish_with_names);
    assert_in_child(publish_with_links);
}

static void publish_where_something_is(void)
{
    static const struct {
        const char *name;
        int code, code_replacing;
        const char *words;
    } cases[] = {
        { "file", STELE_E_EXISTS, STELE_OK, "" },
        { "link", STELE_E_EXISTS, STELE_E_EXISTS, "is a symbolic link" },
        { "dangling", STELE_E_EXISTS, STELE_E_EXISTS, "is a symbolic link" },
        { "folder", STELE_E_EXISTS, STELE_E_EXISTS, "is no regular file" },
        { "fifo", STELE_E_EXISTS, STELE_E_EXISTS, "is no regular file" },
    };

    make_file(scratch_name("file"), 5);
    REQUIRE(symlink("file", scratch_name("link")) == 0 && symlink("nowhere", scratch_name("dangling")) == 0);
    REQUIRE(mkdir(scratch_name("folder"), 0700) == 0 && mkfifo(scratch_name("fifo"), 0600) == 0);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct stele_os_draft draft = { 0 };
        struct stele_os_file file = { 0 };
        struct stat status;

        REQUIRE(stele_os_draft_open(scratch_name(cases[i].name), 0600, &draft) == STELE_OK);
        REQUIRE(stele_os_draft_publish(&draft, false, &file) == cases[i].code);
        REQUIRE(strstr(stele_last_error()->text, "is there already; choose another name"));
        REQUIRE(stele_os_draft_publish(&draft, true, &file) == cases[i].code_replacing);
        REQUIRE(strstr(stele_last_error()->text, cases[i].words));
        stele_os_draft_discard(&draft);
        stele_os_close(&file);
        REQUIRE(lstat(scratch_name(cases[i].name), &status) == 0);
        REQUIRE(entry_count() == 5);
    }
    REQUIRE(access(scratch_name("nowhere"), F_OK) == -1);
    REQUIRE(unlink(scratch_name("file")) == 0 && unlink(scratch_name("link")) == 0 &&
            unlink(scratch_name("fifo")) == 0);
    REQUIRE(unlink(scratch_name("dangling")) == 0 && rmdir(scratch_name("folder")) == 0);
}

static void publish_where_something_is_with_names(void)
{
    refuse_nameless_drafts();
    publish_where_something_is();
}

static void draft_replaces_regular_files_only(void **state)
{
    publish_where_something_is();
    assert_in_child(publish_where_something_is_with_names);
}

static void draft_in_places_that_do_not_serve(void)
{
    struct stele_os_draft draft = { 0 };
    char name[300];

    REQUIRE(stele_os_draft_open(scratch_name("none/a.stele"), 0600, &draft) == STELE_E_ABSENT);
    REQUIRE(strstr(stele_last_error()->text, "no directory"));
    REQUIRE(stele_os_draft_open(scratch_name("file/a.stele"), 0600, &draft) == STELE_E_ABSENT);
    REQUIRE(stele_os_draft_open(scratch_name("closed/a.stele"), 0600, &draft) == STELE_E_ACCESS);
    REQUIRE(stele_os_draft_open(scratch_name("closed/"), 0600, &draft) == STELE_E_USAGE);
    REQUIRE(stele_os_draft_open("", 0600, &draft) == STELE_E_USAGE);
    REQUIRE(!draft.target && !draft.file.is_open);
    /* A name as long as names get leaves no room in a temporary one for all of it. */
    REQUIRE(chdir(scratch_name("open")) == 0);
    memset(name, 'n', 255);
    name[255] = '\0';
    REQUIRE(stele_os_draft_open(name, 0600, &draft) == STELE_OK);
    REQUIRE(stele_os_draft_publish(&draft, true, &draft.file) == STELE_OK);
    stele_os_close(&draft.file);
    REQUIRE(access(name, R_OK | W_OK) == 0);
}

static void draft_as_nobody(void)
{
    become_nobody();
    draft_in_places_that_do_not_serve();
}

static void draft_as_nobody_with_names(void)
{
    refuse_nameless_drafts();
    become_nobody();
    draft_in_places_that_do_not_serve();
}

static void draft_says_why_it_cannot_be(void **state)
{
    make_file(scratch_name("file"), 1);
    assert_int_equal(mkdir(scratch_name("closed"), 0555), 0);
    assert_int_equal(mkdir(scratch_name("open"), 0777), 0);
    assert_int_equal(chmod(scratch_name("open"), 0777), 0);
    assert_in_child(draft_as_nobody);
    assert_in_child(draft_as_nobody_with_names);
}

static void draft_permissions(void)
{
    static const struct {
        uint32_t permissions;
        mode_t mask, expected;
    } cases[] = {
        { 0600, 0, 0600 },    { 0666, 0022, 0644 }, { 0666, 0077, 0600 }, { 0644, 0, 0644 },
        { 0777, 0027, 0750 }, { 0444, 0, 0444 },    { 0440, 0077, 0400 }, { 04600, 0, 0600 },
    };

    become_nobody();
    REQUIRE(chdir(scratch_name("open")) == 0);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct stele_os_draft draft = { 0 };
        struct stele_os_file file;
        struct stat status;

        umask(cases[i].mask);
        REQUIRE(stele_os_draft_open("a", cases[i].permissions, &draft) == STELE_OK);
        REQUIRE(fstat((int)draft.file.handle, &status) == 0 && (status.st_mode & 07777) == cases[i].expected);
        REQUIRE(stele_os_draft_publish(&draft, true, &file) == STELE_OK);
        REQUIRE(stat("a", &status) == 0 && (status.st_mode & 07777) == cases[i].expected);
        stele_os_close(&file);
    }
}

static void draft_permissions_with_names(void)
{
    refuse_nameless_drafts();
    draft_permissions();
}

static void permissions_are_those_asked_for_less_the_umask(void **state)
{
    assert_int_equal(mkdir(scratch_name("open"), 0777), 0);
    assert_int_equal(chmod(scratch_name("open"), 0777), 0);
    assert_in_child(draft_permissions);
    assert_in_child(draft_permissions_with_names);
}

static void die_in_a_draft(void)
{
    struct stele_os_draft draft = { 0 };

    REQUIRE(stele_os_draft_open(scratch_path, 0600, &draft) == STELE_OK);
    REQUIRE(stele_os_write(&draft.file, 0, "half", 4) == STELE_OK);
    if (draft.temporary)
        _exit(77);
    raise(SIGKILL);
}

static void killed_draft_leaves_nothing(void **state)
{
    int status = status_of_child(die_in_a_draft);

    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        print_message("files without a name are not known to the file system of %s\n", scratch_folder);
        skip();
    }
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_int_equal(entry_count(), 0);
}

static void fail_to_sync_the_directory(void)
{
    struct stele_os_draft draft = { 0 };
    struct stele_os_file file = { 0 };

    REQUIRE(stele_os_draft_open(scratch_path, 0600, &draft) == STELE_OK);
    refuse(SYS_fsync, 0, 0, EIO);
    REQUIRE(stele_os_draft_publish(&draft, false, &file) == STELE_E_IO);
    REQUIRE(entry_count() == 0 && !file.is_open);
    stele_os_draft_discard(&draft);
}

static void name_that_is_not_durable_is_taken_back(void **state)
{
    assert_in_child(fail_to_sync_the_directory);
}

static void dress_takes_mode_owner_and_attributes(void **state)
{
    struct stele_os_draft draft = { 0 };
    struct stele_os_file old, file = { 0 };
    struct stat status;
    char value[8] = "";
    bool has_attributes, is_root = geteuid() == 0;

    make_file(scratch_path, 10);
    assert_int_equal(chmod(scratch_path, 0640), 0);
    if (is_root)
        assert_int_equal(chown(scratch_path, 1234, 2345), 0);
    has_attributes = setxattr(scratch_path, "user.stele", "kept", 4, 0) == 0;
    old = open_file(true);
    assert_int_equal(stele_os_draft_open(scratch_path, 0600, &draft), STELE_OK);
    assert_int_equal(stele_os_draft_dress(&draft, &old), STELE_OK);
    assert_int_equal(stele_os_draft_publish(&draft, true, &file), STELE_OK);
    assert_int_equal(stat(scratch_path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0640);
    if (is_root)
        assert_true(status.st_uid == 1234 && status.st_gid == 2345);
    if (has_attributes) {
        assert_int_equal(getxattr(scratch_path, "user.stele", value, sizeof(value)), 4);
        assert_memory_equal(value, "kept", 4);
    }
    stele_os_close(&old);
    stele_os_close(&file);
}

static void dress_as_nobody(void)
{
    struct stele_os_draft draft = { 0 };
    struct stele_os_file old = { 0 };
    struct stat status;

    if (geteuid())
        _exit(0);
    REQUIRE(chown(scratch_path, 0, 2345) == 0 && chmod(scratch_path, 0664) == 0 && chmod(scratch_folder, 0777) == 0);
    become_nobody();
    REQUIRE(stele_os_open(scratch_path, false, &old) == STELE_OK);
    REQUIRE(stele_os_draft_open(scratch_path, 0600, &draft) == STELE_OK);
    REQUIRE(stele_os_draft_dress(&draft, &old) == STELE_OK);
    REQUIRE(fstat((int)draft.file.handle, &status) == 0 && (status.st_mode & 07777) == 0644);
    stele_os_draft_discard(&draft);
    stele_os_close(&old);
}

static void dress_gives_a_foreign_group_no_more_than_everybody(void **state)
{
    make_file(scratch_path, 10);
    assert_in_child(dress_as_nobody);
}

/* ---- the rest ---- */

static void draw(void)
{
    unsigned char first[600] = { 0 }, second[600] = { 0 };

    REQUIRE(stele_os_random(first, sizeof(first)) == STELE_OK);
    REQUIRE(stele_os_random(second, sizeof(second)) == STELE_OK);
    REQUIRE(memcmp(first, second, 16) != 0);
    for (size_t at = 0; at + 16 <= sizeof(first); at++)
        REQUIRE(!stele_is_zero(first + at, 16));
}

static void draw_without_the_call(void)
{
    refuse(SYS_getrandom, 0, 0, ENOSYS);
    draw();
}

static void draw_without_anything(void)
{
    unsigned char bytes[8];

    refuse(SYS_getrandom, 0, 0, ENOSYS);
    refuse(SYS_openat, 0, 0, EACCES);
    REQUIRE(stele_os_random(bytes, sizeof(bytes)) == STELE_E_IO);
}

static void random_bytes_come_from_elsewhere_on_old_systems(void **state)
{
    assert_in_child(draw_without_the_call);
    assert_in_child(draw_without_anything);
}

static void wake_reaches_a_waiter_in_another_process(void **state)
{
    uint64_t *word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int status = -1;
    pid_t child;

    assert_true(word != MAP_FAILED);
    child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        /* The high half may change as it likes. */
        stele_store_release(word + 1, 1);
        while ((uint32_t)stele_load(word) == 0)
            syscall(SYS_futex, word, FUTEX_WAIT, 0, NULL, NULL, 0);
        _exit(0);
    }
    assert_true(child > 0);
    while (stele_load_acquire(word + 1) == 0)
        stele_os_yield();
    stele_os_sleep_us(20000);
    stele_store_release(word, 2);
    stele_os_wake(word);
    for (int tries = 0; tries < 2000 && waitpid(child, &status, WNOHANG) == 0; tries++)
        stele_os_sleep_us(10000);
    kill(child, SIGKILL);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    munmap(word, 4096);
}

int system_tests(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(open_says_what_is_there),
        IN_FOLDER(open_needs_permission),
        IN_FOLDER(open_has_a_code_for_every_refusal),
        IN_FOLDER(descriptors_stay_above_the_standard_ones),
        IN_FOLDER(durable_write_is_one_call),
        IN_FOLDER(durable_write_finds_another_way_on_old_systems),
        IN_FOLDER(write_has_a_code_for_every_refusal),
        IN_FOLDER(zeros_and_room_are_written_where_there_is_no_call_for_them),
        IN_FOLDER(size_limit_is_a_code_and_no_signal),
        IN_FOLDER(full_disk_is_a_code_and_leaves_the_size),
        IN_FOLDER(map_is_not_inherited),
        IN_FOLDER(populate_is_a_code_where_a_store_would_fault),
        IN_FOLDER(fork_leaves_the_locks_with_the_parent),
        IN_FOLDER(fork_without_open_files_does_not_count),
        IN_FOLDER(locks_are_free_though_a_child_lives_on),
        IN_FOLDER(draft_has_a_name_of_its_own_where_it_must),
        IN_FOLDER(draft_replaces_regular_files_only),
        IN_FOLDER(draft_says_why_it_cannot_be),
        IN_FOLDER(permissions_are_those_asked_for_less_the_umask),
        IN_FOLDER(killed_draft_leaves_nothing),
        IN_FOLDER(name_that_is_not_durable_is_taken_back),
        IN_FOLDER(dress_takes_mode_owner_and_attributes),
        IN_FOLDER(dress_gives_a_foreign_group_no_more_than_everybody),
        IN_FOLDER(random_bytes_come_from_elsewhere_on_old_systems),
        IN_FOLDER(wake_reaches_a_waiter_in_another_process),
    };

    return cmocka_run_group_tests_name("os, system", tests, NULL, NULL);
}
