/*
 * Images: the first megabytes of a store file, of which most are zeros, and the file's length. An input is an image
 * packed: u64 length, then pieces of u32 offset, u32 n and n bytes. What is no such thing stands for one of the
 * seeds, by its first byte.
 */
#ifndef IMAGE_H
#define IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { IMAGE_BYTES = 5 * 1024 * 1024, IMAGE_PAGE = 4096, IMAGE_PAGES = IMAGE_BYTES / IMAGE_PAGE,
       PACKED_BYTES_MAX = 96 * 1024 };

struct image {
    uint64_t file_bytes;
    bool is_used[IMAGE_PAGES]; /* else zeros */
    _Alignas(64) uint8_t bytes[IMAGE_BYTES];
};

/* Make it all zeros and @file_bytes long. */
void image_clear(struct image *image, uint64_t file_bytes);
/* The @byte_count bytes at @offset, to be changed; NULL where they are not all inside. */
void *image_at(struct image *image, uint64_t offset, uint64_t byte_count);
/* Whether @packed was an image. */
bool image_unpack(struct image *image, const uint8_t *packed, size_t byte_count);
/* How many bytes were packed to @out; 0: it needs more than @room_bytes. */
size_t image_pack(const struct image *image, uint8_t *out, size_t room_bytes);
/* Make the file what @image is. */
bool image_write(const struct image *image, FILE *file);
bool image_read(struct image *image, FILE *file);
/* Whether the file still is what @image is, where that is not zero; but for [from, to). */
bool image_is_file(const struct image *image, FILE *file, uint64_t from, uint64_t to);

#endif
