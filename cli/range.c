#include "cli.h"

#include <string.h>

/* Digits up to a byte that is none. */
static int read_digits(const char **place, uint64_t *out)
{
    const char *c = *place;
    bool is_above = false;
    uint64_t number = 0;

    if (*c < '0' || *c > '9')
        return STELE_E_USAGE;
    for (; *c >= '0' && *c <= '9'; c++) {
        uint64_t digit = (uint64_t)(*c - '0');

        is_above = is_above || number > (UINT64_MAX - digit) / 10;
        number = number * 10 + digit;
    }
    *place = c;
    *out = number;
    return is_above ? STELE_E_RANGE : STELE_OK;
}

int cli_number(const char *text, uint64_t *out)
{
    uint64_t number = 0;
    int rc = read_digits(&text, &number);

    if (rc == STELE_E_USAGE || *text)
        return STELE_E_USAGE;
    if (!rc)
        *out = number;
    return rc;
}

int cli_size(const char *text, uint64_t *out)
{
    static const char letters[] = "KMGTkmgt";
    const char *letter = NULL;
    unsigned shift = 0;
    uint64_t number = 0;
    int rc = read_digits(&text, &number);

    if (rc == STELE_E_USAGE)
        return rc;
    letter = *text ? strchr(letters, *text) : NULL;
    if (letter) {
        shift = 10 * (unsigned)((letter - letters) % 4 + 1);
        text++;
    }
    if (*text)
        return STELE_E_USAGE;
    if (rc || number > UINT64_MAX >> shift)
        return STELE_E_RANGE;
    *out = number << shift;
    return STELE_OK;
}

static int read_end(const char **place, bool *out_has, bool *out_from_end, uint64_t *out)
{
    const char *c = *place;
    int rc = STELE_OK;

    *out_from_end = *c == '-';
    if (*c == '-')
        c++;
    else if (*c < '0' || *c > '9')
        return STELE_OK;
    rc = read_digits(&c, out);
    *out_has = true;
    *place = c;
    return rc;
}

int cli_range(const char *text, struct cli_range *out)
{
    struct cli_range range = { .is_given = true };
    int rc = read_end(&text, &range.has_first, &range.first_from_end, &range.first);

    if (rc)
        return rc;
    if (!*text && range.has_first) {
        range.is_single = true;
        *out = range;
        return STELE_OK;
    }
    if (text[0] != '.' || text[1] != '.')
        return STELE_E_USAGE;
    text += 2;
    rc = read_end(&text, &range.has_end, &range.end_from_end, &range.end);
    if (rc)
        return rc;
    if (*text)
        return STELE_E_USAGE;
    if (range.has_first && range.has_end && range.first_from_end == range.end_from_end &&
        (range.first_from_end ? range.first < range.end : range.first > range.end))
        return STELE_E_USAGE;
    *out = range;
    return STELE_OK;
}

/* The place that @magnitude means, cut to 0..@count; clears *@in_range when it had to be cut. */
static uint64_t resolve_end(uint64_t magnitude, bool is_from_end, uint64_t count, bool *in_range)
{
    if (magnitude > count) {
        *in_range = false;
        return is_from_end ? 0 : count;
    }
    return is_from_end ? count - magnitude : magnitude;
}

int cli_range_resolve(const struct cli_range *range, uint64_t count, uint64_t *out_first, uint64_t *out_end)
{
    bool in_range = true;
    uint64_t first = 0, end = count;

    if (range->is_given && range->has_first)
        first = resolve_end(range->first, range->first_from_end, count, &in_range);
    if (range->is_given && range->has_end)
        end = resolve_end(range->end, range->end_from_end, count, &in_range);
    if (range->is_given && range->is_single) {
        end = first + 1;
        if (!in_range || first == count) { /* "-0" is the count too: no record */
            in_range = false;
            first = end = count;
        }
    }
    *out_first = first;
    *out_end = end < first ? first : end;
    return in_range ? STELE_OK : STELE_E_RANGE;
}
