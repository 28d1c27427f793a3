#include "cli.h"
#include "system.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { FIRST_SHOWN_MS = 500, BETWEEN_SHOWN_MS = 200 };

/* "12.3 M" for people. */
static void scale(double amount, bool is_bytes, char out[24])
{
    static const char letters[] = " kMGTPE";
    double step = is_bytes ? 1024 : 1000;
    size_t letter_index = 0;

    while (amount >= step && letter_index + 2 < sizeof letters) {
        amount /= step;
        letter_index++;
    }
    snprintf(out, 24, letter_index ? "%.1f %c" : "%.0f%c", amount, letters[letter_index]);
}

static void show(struct cli_progress *progress, uint64_t done, uint64_t total, uint64_t now_ms)
{
    double seconds = (double)(now_ms - progress->started_ms) / 1000;
    double rate = seconds > 0 ? (double)(done - progress->first_done) / seconds : 0;
    bool is_bytes = !strcmp(progress->unit, "bytes");
    const char *unit = is_bytes ? "B" : progress->unit;
    const char *blank = is_bytes ? "" : " ";
    char done_text[24], rate_text[24];

    scale((double)done, is_bytes, done_text);
    scale(rate, is_bytes, rate_text);
    fprintf(stderr, "\r\033[K");
    if (total)
        fprintf(stderr, "%3.0f %%  ", 100 * (double)done / (double)total);
    fprintf(stderr, "%s%s%s  %s%s%s/s", done_text, blank, unit, rate_text, blank, unit);
    if (total > done && rate > 0) {
        uint64_t left_s = (uint64_t)((double)(total - done) / rate) + 1;

        fprintf(stderr, "  %" PRIu64 ":%02" PRIu64 " left", left_s / 60, left_s % 60);
    }
    fflush(stderr);
    progress->is_shown = true;
    progress->shown_ms = now_ms;
}

int cli_tick(void *context, uint64_t done, uint64_t total)
{
    struct cli *cli = context;
    struct cli_progress *progress = &cli->progress;
    uint64_t now_ms = progress->is_terminal ? cli_clock_ms() : 0;

    if (!progress->started_ms || done < progress->last_done) {
        progress->started_ms = progress->is_terminal ? now_ms : 1;
        progress->shown_ms = now_ms + FIRST_SHOWN_MS - BETWEEN_SHOWN_MS;
        progress->first_done = done;
    }
    progress->last_done = done;
    if (progress->is_terminal && now_ms >= progress->shown_ms + BETWEEN_SHOWN_MS)
        show(progress, done, total, now_ms);
    return cli_interrupted() ? 1 : 0;
}

void cli_tick_done(struct cli *cli)
{
    if (cli->progress.is_shown)
        fprintf(stderr, "\r\033[K");
    cli->progress.is_shown = false;
    cli->progress.started_ms = 0;
    cli->progress.last_done = 0;
}
