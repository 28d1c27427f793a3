#include "cli.h"

#include <inttypes.h>
#include <string.h>

struct stele_options cli_store_options(struct cli *cli, uint32_t mode)
{
    struct stele_options options = STELE_OPTIONS_INIT;

    options.mode = mode;
    /* The library takes 0 for its default; the user means: do not wait. */
    options.lock_wait_ms = cli->wait_ms ? cli->wait_ms : 1;
    options.read_wait_ms = options.lock_wait_ms;
    options.progress = cli_tick;
    options.progress_context = cli;
    return options;
}

int cli_try_open(struct cli *cli, const char *path, uint32_t mode, struct stele **out)
{
    struct stele_options options = cli_store_options(cli, mode);
    struct stele_info info = STELE_INFO_INIT;
    struct stele *store = NULL;
    int rc = stele_open(path, &options, &store);

    cli_tick_done(cli);
    if (rc)
        return rc;
    if (!stele_info(store, &info) && info.opened_entries_replayed)
        cli_notice(cli, "%s: its last writer died or left without a sync (--async); %" PRIu64 " journal %s replayed%s",
                   path, info.opened_entries_replayed, info.opened_entries_replayed == 1 ? "entry" : "entries",
                   mode == STELE_READ_ONLY ? " in memory, the file is unchanged" : "");
    *out = store;
    return STELE_OK;
}

int cli_open(struct cli *cli, const char *path, uint32_t mode, struct stele **out)
{
    int rc = cli_try_open(cli, path, mode, out);

    return rc ? cli_fail(cli, path, rc) : CLI_DONE;
}

int cli_append(struct stele *store, const void *records, size_t record_count, bool is_async, uint64_t *out_index)
{
    struct stele_txn *txn = NULL;
    int rc = STELE_OK;

    if (!is_async)
        return stele_append(store, records, record_count, out_index);
    rc = stele_begin(store, &txn);
    if (rc)
        return rc;
    rc = stele_txn_append(txn, records, record_count, out_index);
    if (!rc)
        return stele_commit(txn, STELE_ASYNC, NULL);
    stele_abort(txn);
    return rc;
}

int cli_close(struct cli *cli, const char *path, struct stele *store, int exit_code)
{
    int rc = cli->is_async ? stele_close_nosync(store) : stele_close(store);

    int failed = CLI_DONE;

    cli_tick_done(cli);
    /* A handle that is done for has said why when it came to be. */
    if (rc && !(exit_code && rc == STELE_E_POISONED))
        failed = cli_fail(cli, path, rc);
    return exit_code ? exit_code : failed;
}
