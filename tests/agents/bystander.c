/*
 * A process that keeps a store open while others do things to its file. It answers each line of its standard input with
 * a line: the code, and after it what the call gave or the library's sentence.
 *
 *   bystander ro|rw PATH    the first answer is that of the opening
 *   get I                   the record in hex
 *   set I | append          by a record whose bytes are all 0x5a
 *   begin | commit | abort  one transaction; between them set, append and count go into it
 *   count N                 set the count
 *   verify                  the number of damaged blocks
 */
#include "stele.h"
#include "system.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct stele *store;
static struct stele_txn *txn;
static uint64_t record_bytes;
static uint8_t *record;

static void answer(int code, const char *text)
{
    printf("%d %s\n", code, code < 0 ? stele_last_error()->text : text);
    fflush(stdout);
}

static void answer_get(uint64_t index)
{
    char *hex = calloc(1, (size_t)(2 * record_bytes + 1));
    int code = txn ? stele_txn_get(txn, index, record) : stele_get(store, index, record);

    for (uint64_t i = 0; hex && i < record_bytes; i++)
        snprintf(hex + 2 * i, 3, "%02x", record[i]);
    answer(code, hex ? hex : "");
    free(hex);
}

static void answer_verify(void)
{
    struct stele_verify_report report = STELE_VERIFY_REPORT_INIT;
    char text[32];
    int code = stele_verify(store, NULL, &report);

    snprintf(text, sizeof(text), "%" PRIu64, report.damaged_count);
    printf("%d %s\n", code, code && code != STELE_E_DAMAGED ? stele_last_error()->text : text);
    fflush(stdout);
}

static int change(const char *verb, uint64_t index)
{
    int code;

    memset(record, 0x5a, (size_t)record_bytes);
    if (!strcmp(verb, "set"))
        return txn ? stele_txn_set(txn, index, record) : stele_set(store, index, record);
    if (!strcmp(verb, "append"))
        return txn ? stele_txn_append(txn, record, 1, NULL) : stele_append(store, record, 1, NULL);
    if (!strcmp(verb, "count"))
        return txn ? stele_txn_set_count(txn, index) : stele_set_count(store, index);
    if (!strcmp(verb, "begin"))
        return stele_begin(store, &txn);
    code = strcmp(verb, "commit") ? STELE_OK : stele_commit(txn, STELE_DURABLE, NULL);
    if (strcmp(verb, "commit"))
        stele_abort(txn);
    txn = NULL;
    return code;
}

int main(int word_count, char **words)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    char line[64], verb[16];
    uint64_t index;

    agent_begin();
    if (word_count != 3)
        return 2;
    options.mode = strcmp(words[1], "rw") ? STELE_READ_ONLY : STELE_READ_WRITE;
    int code = stele_open(words[2], &options, &store);
    answer(code, "");
    if (code)
        return 1;
    record_bytes = stele_schema_record_bytes(stele_schema_of(store));
    record = malloc((size_t)record_bytes);
    while (record && fgets(line, sizeof(line), stdin)) {
        index = 0;
        if (sscanf(line, "%15s %" SCNu64, verb, &index) < 1)
            return 2;
        if (!strcmp(verb, "get"))
            answer_get(index);
        else if (!strcmp(verb, "verify"))
            answer_verify();
        else
            answer(change(verb, index), "");
    }
    stele_abort(txn);
    stele_close(store);
    free(record);
    return 0;
}
