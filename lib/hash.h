/*
 * The one hash of the format: XXH3 with the default secret, seeded (FORMAT.md). Inlined, because cells are short.
 */
#ifndef STELE_HASH_H
#define STELE_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

static inline uint64_t stele_hash64(const void *bytes, size_t byte_count, uint64_t seed)
{
    return XXH3_64bits_withSeed(bytes, byte_count, seed);
}

/* 128 bits, low half first, as they stand on disk. */
static inline void stele_hash128(const void *bytes, size_t byte_count, uint8_t out[16])
{
    XXH128_hash_t hash = XXH3_128bits_withSeed(bytes, byte_count, 0);
    memcpy(out, &hash.low64, 8);
    memcpy(out + 8, &hash.high64, 8);
}

#endif
