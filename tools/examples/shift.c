/*
 * A text, one byte a record; one is added to each of them through a pointer, as the classic program does that maps the
 * whole file. Here it goes in pieces that are committed, each with a mark that says where the next one begins: who is
 * killed in the middle is started again and goes on.
 *
 *   shift load FILE TEXT [JOURNAL_BYTES]   put the text into a store
 *   shift add FILE [PIECE_BYTES]           add one to each byte; goes on where an earlier one stopped
 *   shift text FILE OUT                    give it back
 */
#include <stele.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIECE_BYTES (1u << 20)
#define COPY_BYTES (64u << 10)

struct Letter {
    unsigned char letter;
};

static int complain(void)
{
    fprintf(stderr, "shift: %s\n", stele_last_error()->text);
    return 1;
}

static int complain_of(const char *path)
{
    fprintf(stderr, "shift: %s: %s\n", path, strerror(errno));
    return 1;
}

static int load_text(struct stele *store, FILE *text)
{
    struct Letter letters[COPY_BYTES];
    size_t got;
    while ((got = fread(letters, 1, sizeof(letters), text)) > 0) {
        if (stele_append(store, letters, got, NULL))
            return complain();
    }
    return 0;
}

static int load(const char *path, const char *text_path, uint64_t journal_bytes, const struct stele_schema *schema)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store;
    FILE *text = fopen(text_path, "rb");
    int result = 1;
    if (!text)
        return complain_of(text_path);
    options.schema = schema;
    options.journal_bytes = journal_bytes;
    if (stele_create(path, &options, &store)) {
        result = complain();
    } else {
        result = load_text(store, text);
        if (!result && ferror(text))
            result = complain_of(text_path);
        if (stele_close(store))
            result = complain();
    }
    fclose(text);
    return result;
}

/* Add one to @count letters from @first on, and leave the mark @next: all of that or nothing. */
static int add_to_piece(struct stele *store, uint64_t first, uint64_t count, uint64_t next)
{
    static const char name[64] = "shift: the next letter is number user_version";
    struct stele_edit *edit;
    int rc;
    do {
        rc = stele_edit_open(store, first, count, STELE_EDIT_ATOMIC, &edit);
        if (rc)
            return rc;
        struct Letter *letters = stele_edit_records(edit);
        for (uint64_t i = 0; i < count; i++)
            letters[i].letter++;
        rc = stele_edit_user(edit, next, name);
        if (!rc)
            rc = stele_edit_commit(edit, STELE_DURABLE, NULL);
        if (rc)
            stele_edit_discard(edit);
    } while (rc == STELE_E_CONFLICT); /* somebody changed letters meanwhile: these are added to */
    return rc;
}

static int add_to_all(struct stele *store, uint64_t piece_bytes)
{
    struct stele_info info = STELE_INFO_INIT;
    if (stele_info(store, &info))
        return complain();
    uint64_t next = info.user_version, count = info.count;
    if (next)
        printf("going on at letter %" PRIu64 " of %" PRIu64 "\n", next, count);
    while (next < count) {
        uint64_t n = count - next < piece_bytes ? count - next : piece_bytes;
        /* Behind the last one the mark is 0: the next run adds one to all of them again. */
        int rc = add_to_piece(store, next, n, next + n < count ? next + n : 0);
        if (rc == STELE_E_TOO_BIG && piece_bytes > 1) {
            piece_bytes /= 2;
            continue;
        }
        if (rc)
            return complain();
        next += n;
        printf("added to %" PRIu64 " of %" PRIu64 "\n", next, count);
        fflush(stdout);
    }
    return 0;
}

static int add(const char *path, uint64_t piece_bytes, const struct stele_schema *schema)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store;
    options.mode = STELE_READ_WRITE;
    options.schema = schema;
    if (stele_open(path, &options, &store))
        return complain();
    int result = add_to_all(store, piece_bytes);
    if (stele_close(store))
        result = complain();
    return result;
}

static int save(const char *path, const char *out_path, const struct stele_schema *schema)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store;
    struct stele_cursor *cursor;
    const void *letters;
    size_t n;
    options.schema = schema;
    if (stele_open(path, &options, &store))
        return complain();
    FILE *out = fopen(out_path, "wb");
    int result = out ? 0 : complain_of(out_path);
    if (!result && stele_cursor_open(store, 0, UINT64_MAX, &cursor))
        result = complain();
    else if (!result) {
        int rc;
        while ((rc = stele_cursor_next(cursor, &letters, &n)) == STELE_OK && fwrite(letters, 1, n, out) == n)
            continue;
        result = rc < 0 ? complain() : rc == STELE_END ? 0 : complain_of(out_path);
        stele_cursor_close(cursor);
    }
    if (out && fclose(out) && !result)
        result = complain_of(out_path);
    stele_close(store);
    return result;
}

int main(int argc, char **argv)
{
    struct stele_schema *schema;
    uint64_t number = argc == 4 || argc == 5 ? strtoull(argv[argc - 1], NULL, 10) : 0;
    int result = 2;
    if (STELE_SCHEMA(&schema, struct Letter, STELE_FIELD(letter)))
        return complain();
    if ((argc == 4 || argc == 5) && strcmp(argv[1], "load") == 0)
        result = load(argv[2], argv[3], argc == 5 ? number : 0, schema);
    else if ((argc == 3 || (argc == 4 && number)) && strcmp(argv[1], "add") == 0)
        result = add(argv[2], argc == 4 ? number : PIECE_BYTES, schema);
    else if (argc == 4 && strcmp(argv[1], "text") == 0)
        result = save(argv[2], argv[3], schema);
    else
        fprintf(stderr, "usage: shift load FILE TEXT [JOURNAL_BYTES] | add FILE [PIECE_BYTES] | text FILE OUT\n");
    stele_schema_free(schema);
    return result;
}
