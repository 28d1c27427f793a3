#include "image.h"

#include <string.h>

#include "bits.h"
#include "system.h"

enum { PIECE_HEAD = 8, GAP_BYTES = 24 };

void image_clear(struct image *image, uint64_t file_bytes)
{
    for (size_t i = 0; i < IMAGE_PAGES; i++) {
        if (image->is_used[i])
            memset(image->bytes + i * IMAGE_PAGE, 0, IMAGE_PAGE);
        image->is_used[i] = false;
    }
    image->file_bytes = file_bytes;
}

void *image_at(struct image *image, uint64_t offset, uint64_t byte_count)
{
    if (offset > IMAGE_BYTES || byte_count > IMAGE_BYTES - offset)
        return NULL;
    for (uint64_t page = offset / IMAGE_PAGE; byte_count && page <= (offset + byte_count - 1) / IMAGE_PAGE; page++)
        image->is_used[page] = true;
    return image->bytes + offset;
}

bool image_unpack(struct image *image, const uint8_t *packed, size_t byte_count)
{
    uint64_t file_bytes;
    size_t at = sizeof(file_bytes);

    if (byte_count < sizeof(file_bytes) + PIECE_HEAD)
        return false;
    memcpy(&file_bytes, packed, sizeof(file_bytes));
    image_clear(image, file_bytes);
    while (byte_count - at >= PIECE_HEAD) {
        uint32_t head[2];
        memcpy(head, packed + at, PIECE_HEAD);
        at += PIECE_HEAD;
        size_t n = head[1] < byte_count - at ? head[1] : byte_count - at;
        uint8_t *to = image_at(image, head[0], n);
        if (to)
            memcpy(to, packed + at, n);
        at += n;
    }
    return true;
}

static bool is_word_zero(const struct image *image, size_t at)
{
    uint64_t word;

    memcpy(&word, image->bytes + at, sizeof(word));
    return word == 0;
}

/* The end of the piece that begins at @at: before a longer stretch of zeros. */
static size_t piece_end(const struct image *image, size_t at)
{
    size_t last = at, end = at + 8;

    while (end < IMAGE_BYTES && end - last < GAP_BYTES && (end % IMAGE_PAGE || image->is_used[end / IMAGE_PAGE])) {
        if (!is_word_zero(image, end))
            last = end;
        end += 8;
    }
    return last + 8;
}

size_t image_pack(const struct image *image, uint8_t *out, size_t room_bytes)
{
    size_t used = sizeof(image->file_bytes);

    if (room_bytes < used)
        return 0;
    memcpy(out, &image->file_bytes, used);
    for (size_t at = 0; at < IMAGE_BYTES;) {
        if (at % IMAGE_PAGE == 0 && !image->is_used[at / IMAGE_PAGE]) {
            at += IMAGE_PAGE;
        } else if (is_word_zero(image, at)) {
            at += 8;
        } else {
            size_t end = piece_end(image, at);
            const uint32_t head[2] = { (uint32_t)at, (uint32_t)(end - at) };
            if (room_bytes - used < PIECE_HEAD || room_bytes - used - PIECE_HEAD < end - at)
                return 0;
            memcpy(out + used, head, PIECE_HEAD);
            memcpy(out + used + PIECE_HEAD, image->bytes + at, end - at);
            used += PIECE_HEAD + (end - at);
            at = end;
        }
    }
    return used;
}

bool image_write(const struct image *image, FILE *file)
{
    if (!system_set_bytes(file, 0))
        return false;
    for (size_t i = 0; i < IMAGE_PAGES; i++) {
        uint64_t at = (uint64_t)i * IMAGE_PAGE;
        if (!image->is_used[i] || at >= image->file_bytes)
            continue;
        size_t n = image->file_bytes - at < IMAGE_PAGE ? (size_t)(image->file_bytes - at) : IMAGE_PAGE;
        if (fseeko(file, (off_t)at, SEEK_SET) || fwrite(image->bytes + at, 1, n, file) != n)
            return false;
    }
    return fflush(file) == 0 && system_set_bytes(file, image->file_bytes);
}

static uint64_t length_of(FILE *file)
{
    return fseeko(file, 0, SEEK_END) ? 0 : (uint64_t)ftello(file);
}

bool image_read(struct image *image, FILE *file)
{
    uint8_t page[IMAGE_PAGE];

    image_clear(image, length_of(file));
    for (uint64_t at = 0; at < IMAGE_BYTES && at < image->file_bytes; at += IMAGE_PAGE) {
        if (fseeko(file, (off_t)at, SEEK_SET))
            return false;
        size_t n = fread(page, 1, sizeof(page), file);
        if (!stele_is_zero(page, n))
            memcpy(image_at(image, at, n), page, n);
    }
    return true;
}

bool image_is_file(const struct image *image, FILE *file, uint64_t from, uint64_t to)
{
    uint8_t page[IMAGE_PAGE];

    if (length_of(file) != image->file_bytes)
        return false;
    for (size_t i = 0; i < IMAGE_PAGES; i++) {
        uint64_t at = (uint64_t)i * IMAGE_PAGE;
        if (!image->is_used[i] || at >= image->file_bytes || (at >= from && at < to))
            continue;
        size_t n = image->file_bytes - at < IMAGE_PAGE ? (size_t)(image->file_bytes - at) : IMAGE_PAGE;
        if (fseeko(file, (off_t)at, SEEK_SET) || fread(page, 1, n, file) != n || memcmp(page, image->bytes + at, n) != 0)
            return false;
    }
    return true;
}
