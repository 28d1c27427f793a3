/*
 * The main job, as a program of yours would do it: a store of one million members, random reads, changes in
 * a transaction, an append, verify. Prints what it does, the sizes and the rates it got.
 *
 * Usage: quickstart_job FILE [COUNT]
 */
#include "stele.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct Member {
    char id[256];
    char name[256];
};

#define MEMBER_TEXT "struct Member { char id[256]; char name[256]; };"
#define BATCH_COUNT 16384u
#define READ_COUNT 1000000u
#define SPARE_COUNT 10000u /* room to append to without growth */
#define TXN_COUNT 200u
#define CHANGE_COUNT 10u /* records per transaction */

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* xorshift: the same indexes at each run. */
static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void fill(struct Member *member, uint64_t index)
{
    memset(member, 0, sizeof *member);
    snprintf(member->id, sizeof member->id, "M%07" PRIu64, index);
    snprintf(member->name, sizeof member->name, "Member number %" PRIu64, index);
}

static int complain(const char *what)
{
    fprintf(stderr, "quickstart: %s: %s\n", what, stele_last_error()->text);
    return 1;
}

static int create(const char *path, uint64_t count, struct stele **out)
{
    struct stele_schema *schema = NULL;
    struct stele_options options = STELE_OPTIONS_INIT;
    int rc = stele_schema_parse(MEMBER_TEXT, NULL, 0, &schema);
    if (rc)
        return complain("schema");
    options.flags = STELE_FORCE;
    options.capacity_records = count + SPARE_COUNT;
    options.schema = schema;
    rc = stele_create(path, &options, out);
    stele_schema_free(schema);
    return rc ? complain("create") : 0;
}

static int load(struct stele *store, uint64_t count)
{
    struct Member *batch = calloc(BATCH_COUNT, sizeof *batch);
    double begin_s = now_s();
    double library_s = 0;
    int result = 1;
    if (!batch)
        return fputs("quickstart: out of memory\n", stderr), 1;
    for (uint64_t at = 0; at < count;) {
        size_t batch_count = count - at < BATCH_COUNT ? (size_t)(count - at) : BATCH_COUNT;
        for (size_t i = 0; i < batch_count; i++)
            fill(&batch[i], at + i);
        double append_s = now_s();
        if (stele_append(store, batch, batch_count, NULL)) {
            complain("append");
            goto out;
        }
        library_s += now_s() - append_s;
        at += batch_count;
    }
    printf("load     %10" PRIu64 " members in %.2f s, of which %.2f s in the library: %.0f MB/s, each batch durable\n",
           count, now_s() - begin_s, library_s, (double)count * sizeof *batch / 1e6 / library_s);
    result = 0;
out:
    free(batch);
    return result;
}

static int read_randomly(struct stele *store)
{
    uint64_t count = stele_count(store);
    uint64_t state = UINT64_C(0x9E3779B97F4A7C15);
    double begin_s = now_s();
    for (unsigned i = 0; i < READ_COUNT; i++) {
        uint64_t index = next_random(&state) % count;
        struct Member member;
        if (stele_get(store, index, &member))
            return complain("get");
        if (strtoull(member.id + 1, NULL, 10) != index) {
            fprintf(stderr, "quickstart: record %" PRIu64 " holds member %.256s\n", index, member.id);
            return 1;
        }
    }
    double seconds = now_s() - begin_s;
    printf("read     %10u members at random places in %.2f s: %.1f million/s, each one compared\n", READ_COUNT, seconds,
           READ_COUNT / 1e6 / seconds);
    return 0;
}

static int change(struct stele *store)
{
    uint64_t state = 88172645463325252u;
    uint64_t count = stele_count(store);
    double begin_s = now_s();
    for (unsigned i = 0; i < TXN_COUNT; i++) {
        struct stele_txn *txn = NULL;
        if (stele_begin(store, &txn))
            return complain("begin");
        for (unsigned k = 0; k < CHANGE_COUNT; k++) {
            uint64_t index = next_random(&state) % count;
            struct Member member;
            int rc = stele_txn_get(txn, index, &member);
            if (!rc) {
                snprintf(member.name, sizeof member.name, "Renamed in transaction %u", i);
                rc = stele_txn_set(txn, index, &member);
            }
            if (rc) {
                stele_abort(txn);
                return complain("change");
            }
        }
        if (stele_commit(txn, STELE_DURABLE, NULL))
            return complain("commit");
    }
    double seconds = now_s() - begin_s;
    printf("change   %10u transactions of %u members in %.2f s: %.0f durable commits/s\n", TXN_COUNT, CHANGE_COUNT,
           seconds, TXN_COUNT / seconds);
    return 0;
}

static int append_one(struct stele *store)
{
    struct Member member;
    uint64_t index = 0;
    double begin_s = now_s();
    fill(&member, stele_count(store));
    if (stele_append(store, &member, 1, &index))
        return complain("append");
    printf("append            1 member, number %" PRIu64 ", durable after %.2f ms\n", index, (now_s() - begin_s) * 1e3);
    return 0;
}

static int verify(const char *path)
{
    struct stele *store = NULL;
    struct stele_info info = STELE_INFO_INIT;
    struct stele_verify_report report = STELE_VERIFY_REPORT_INIT;
    int result = 1;
    double begin_s = now_s();
    if (stele_open(path, NULL, &store))
        return complain("open");
    printf("open              read-only in %.2f ms\n", (now_s() - begin_s) * 1e3);
    begin_s = now_s();
    if (stele_verify(store, NULL, &report) || stele_info(store, &info)) {
        complain("verify");
        goto out;
    }
    double seconds = now_s() - begin_s;
    printf("verify   %10" PRIu64 " members in %.2f s: %.0f MB/s, nothing damaged\n", report.record_count, seconds,
           (double)report.bytes / 1e6 / seconds);
    printf("size     %10.1f MB file, %.1f MB on disk, for %.1f MB of records; checksums %.2f %%\n",
           (double)info.file_bytes / 1e6, (double)info.disk_bytes / 1e6, (double)(info.count * info.record_bytes) / 1e6,
           100.0 * (double)info.sums_bytes / (double)(info.capacity * info.record_bytes));
    result = 0;
out:
    stele_close(store);
    return result;
}

int main(int argc, char **argv)
{
    uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000000;
    struct stele *store = NULL;
    if (argc < 2 || count == 0) {
        fputs("usage: quickstart_job FILE [COUNT]\n", stderr);
        return 2;
    }
    if (create(argv[1], count, &store))
        return 1;
    bool is_failed = load(store, count) || read_randomly(store) || change(store) || append_one(store);
    if (stele_close(store)) /* waits until all of it is in place */
        return complain("close");
    return is_failed || verify(argv[1]) ? 1 : 0;
}
