/*
 * What libFuzzer does, for compilers without it, with the same words:
 *
 *     fuzz_open FILE…                    replay them
 *     fuzz_open -runs=N [-seed=S] [-first=K] [FOLDER…]
 *
 * Run K changes the empty input, now and then one of the folders, as seed and K say; no run depends on another, so
 * -first=K -runs=1 makes a failure again. Coverage guides nothing here.
 */
#include "fuzz.h"

#include <dirent.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

enum { INPUTS_MAX = 256, ROOM_BYTES = 128 * 1024, CHANGES_MAX = 3, FOLDERS_TURN = 16 };

static struct input {
    uint8_t *bytes;
    size_t byte_count;
} inputs[INPUTS_MAX];
static size_t input_count;
static unsigned long long seed, run;
static const char *replayed; /* the file */
static uint64_t mutate_state;

/* Bytes without knowledge of them. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t byte_count, size_t room_bytes)
{
    uint64_t *state = &mutate_state;

    for (uint64_t n = 1 + chance_below(state, 4); n > 0; n--) {
        if (byte_count < room_bytes && chance_below(state, 8) == 0) {
            size_t at = (size_t)chance_below(state, byte_count + 1);
            memmove(data + at + 1, data + at, byte_count - at);
            data[at] = (uint8_t)chance_next(state);
            byte_count++;
        } else if (byte_count > 1 && chance_below(state, 8) == 0) {
            size_t at = (size_t)chance_below(state, byte_count);
            memmove(data + at, data + at + 1, byte_count - at - 1);
            byte_count--;
        } else if (byte_count > 0) {
            size_t at = (size_t)chance_below(state, byte_count);
            uint64_t kind = chance_below(state, 3);
            uint64_t byte = kind == 0   ? chance_next(state)
                            : kind == 1 ? data[at] ^ UINT64_C(1) << chance_below(state, 8)
                                        : data[chance_below(state, byte_count)];
            data[at] = (uint8_t)byte;
        }
    }
    return byte_count;
}

static void say_where(int signal_number)
{
    if (replayed)
        fprintf(stderr, "signal %d while replaying %s\n", signal_number, replayed);
    else
        fprintf(stderr, "signal %d in run %llu: again with -seed=%llu -first=%llu -runs=1\n", signal_number, run, seed,
                run);
    fflush(stderr);
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static bool load(const char *path)
{
    FILE *file = fopen(path, "rb");

    if (!file || input_count == INPUTS_MAX) {
        fprintf(stderr, "%s cannot be read\n", path);
        return false;
    }
    struct input *input = &inputs[input_count++];
    input->bytes = malloc(ROOM_BYTES);
    if (input->bytes)
        input->byte_count = fread(input->bytes, 1, ROOM_BYTES, file);
    fclose(file);
    return input->bytes != NULL;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool load_folder(const char *path)
{
    char *names[INPUTS_MAX];
    size_t count = 0;
    bool is_fine = true;
    DIR *folder = opendir(path);

    for (struct dirent *entry; folder && (entry = readdir(folder)) && count < INPUTS_MAX;) {
        size_t room = strlen(path) + strlen(entry->d_name) + 2;
        if (entry->d_name[0] == '.' || !(names[count] = malloc(room)))
            continue;
        snprintf(names[count++], room, "%s/%s", path, entry->d_name);
    }
    if (folder)
        closedir(folder);
    /* In the same order on every system, so that a seed means the same. */
    qsort(names, count, sizeof(names[0]), compare_names);
    for (size_t i = 0; i < count; i++) {
        is_fine = is_fine && load(names[i]);
        free(names[i]);
    }
    return is_fine;
}

static bool replay(const char *path)
{
    if (!load(path))
        return false;
    replayed = path;
    LLVMFuzzerTestOneInput(inputs[input_count - 1].bytes, inputs[input_count - 1].byte_count);
    replayed = NULL;
    return true;
}

static void run_all(unsigned long long first, unsigned long long count)
{
    static uint8_t work[ROOM_BYTES];
    static const struct input empty;

    for (run = first; run < first + count; run++) {
        uint64_t state = seed * UINT64_C(0x100000001b3) + run;
        bool is_of_folder = input_count && chance_below(&state, FOLDERS_TURN) == 0;
        const struct input *input = is_of_folder ? &inputs[chance_below(&state, input_count)] : &empty;
        size_t bytes = input->byte_count;
        if (bytes)
            memcpy(work, input->bytes, bytes);
        mutate_state = chance_next(&state);
        for (uint64_t n = 1 + chance_below(&state, CHANGES_MAX); n > 0; n--)
            bytes = LLVMFuzzerCustomMutator(work, bytes, sizeof(work), (unsigned)chance_next(&state));
        LLVMFuzzerTestOneInput(work, bytes);
    }
}

int main(int count, char **words)
{
    unsigned long long runs = 0, first = 0;
    struct stat status;
    int replays = 0;

    signal(SIGABRT, say_where);
    signal(SIGSEGV, say_where);
    LLVMFuzzerInitialize(&count, &words);
    for (int i = 1; i < count; i++) {
        if (sscanf(words[i], "-runs=%llu", &runs) == 1 || sscanf(words[i], "-seed=%llu", &seed) == 1 ||
            sscanf(words[i], "-first=%llu", &first) == 1 || words[i][0] == '-')
            continue;
        bool is_folder = stat(words[i], &status) == 0 && S_ISDIR(status.st_mode);
        if (!(is_folder ? load_folder(words[i]) : replay(words[i])))
            return 1;
        replays += !is_folder;
    }
    if (replays == 0) {
        fprintf(stderr, "INFO: Seed: %llu\n", seed);
        run_all(first, runs);
    }
    for (size_t i = 0; i < input_count; i++)
        free(inputs[i].bytes);
    fprintf(stderr, "Done %llu runs\n", replays ? (unsigned long long)replays : runs);
    return 0;
}
