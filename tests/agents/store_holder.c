/*
 * A process that holds a store, for tests of what others meet meanwhile and afterwards. It prints "held"
 * when it has done what it was asked for.
 *
 *   store_holder hold PATH         begin a transaction, keep it until standard input ends
 *   store_holder alone PATH        open the file and share it with nobody until standard input ends
 *   store_holder die PATH N        append N zero records, each as a commit of its own, and die as by kill -9
 *   store_holder die-holding PATH  begin a transaction and die so
 */
#include "stele.h"
#include "system.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int append_zeros(struct stele *store, unsigned long record_count)
{
    void *record = calloc(1, (size_t)stele_schema_record_bytes(stele_schema_of(store)));
    int rc = record ? STELE_OK : STELE_E_NOMEM;

    for (unsigned long i = 0; i < record_count && !rc; i++)
        rc = stele_append(store, record, 1, NULL);
    free(record);
    return rc;
}

static void wait_for_end(void)
{
    puts("held");
    fflush(stdout);
    while (getchar() != EOF)
        continue;
}

static int failed(void)
{
    fprintf(stderr, "store_holder: %s\n", stele_last_error()->text);
    return 1;
}

int main(int word_count, char **words)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store = NULL;
    struct stele_txn *txn = NULL;

    if (word_count < 3)
        return 2;
    agent_begin();
    if (!strcmp(words[1], "alone")) {
        if (!agent_open_alone(words[2]))
            return 3;
        wait_for_end();
        return 0;
    }
    options.mode = STELE_READ_WRITE;
    if (stele_open(words[2], &options, &store))
        return failed();
    if (!strcmp(words[1], "die") ? append_zeros(store, word_count > 3 ? strtoul(words[3], NULL, 10) : 0)
                                 : stele_begin(store, &txn))
        return failed();
    if (strcmp(words[1], "hold")) {
        puts("held");
        fflush(stdout);
        agent_die();
    }
    wait_for_end();
    stele_abort(txn);
    return stele_close(store) ? failed() : 0;
}
