/*
 * Small arithmetic and the memory operations that protocols are made of.
 *
 * Not here: anything that can fail.
 */
#ifndef STELE_BITS_H
#define STELE_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t stele_min(uint64_t a, uint64_t b) { return a < b ? a : b; }
static inline uint64_t stele_max(uint64_t a, uint64_t b) { return a > b ? a : b; }

/* @alignment is a power of two; the caller knows that the sum does not overflow. */
static inline uint64_t stele_round_up(uint64_t value, uint64_t alignment)
{
    return (value + (alignment - 1)) & ~(alignment - 1);
}
static inline uint64_t stele_round_down(uint64_t value, uint64_t alignment) { return value & ~(alignment - 1); }
static inline uint64_t stele_div_up(uint64_t value, uint64_t by) { return value / by + (value % by != 0); }

/* The sum or product of @a and @b in *@out; false when it does not fit 64 bits. */
static inline bool stele_add_fits(uint64_t a, uint64_t b, uint64_t *out) { return !__builtin_add_overflow(a, b, out); }
static inline bool stele_mul_fits(uint64_t a, uint64_t b, uint64_t *out) { return !__builtin_mul_overflow(a, b, out); }

static inline bool stele_is_zero(const void *bytes, size_t byte_count)
{
    const unsigned char *at = bytes;
    return byte_count == 0 || (at[0] == 0 && memcmp(at, at + 1, byte_count - 1) == 0);
}

/*
 * Words that other processes see. Native 64-bit loads and stores, also on 32 bit, where the type by itself promises
 * an alignment of 4 only: these words have 8.
 */
typedef uint64_t stele_word __attribute__((aligned(8)));

static inline uint64_t stele_load(const uint64_t *word)
{
    return __atomic_load_n((const stele_word *)word, __ATOMIC_RELAXED);
}
static inline uint64_t stele_load_acquire(const uint64_t *word)
{
    return __atomic_load_n((const stele_word *)word, __ATOMIC_ACQUIRE);
}
static inline void stele_store(uint64_t *word, uint64_t value)
{
    __atomic_store_n((stele_word *)word, value, __ATOMIC_RELAXED);
}
static inline void stele_store_release(uint64_t *word, uint64_t value)
{
    __atomic_store_n((stele_word *)word, value, __ATOMIC_RELEASE);
}
static inline void stele_fence_acquire(void) { __atomic_thread_fence(__ATOMIC_ACQUIRE); }
static inline void stele_fence_release(void) { __atomic_thread_fence(__ATOMIC_RELEASE); }

/*
 * Copy bytes that another process may be storing at this moment. The caller checks a stripe afterwards and
 * throws the copy away if it was torn.
 */
#if defined(__SANITIZE_THREAD__)
#define STELE_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define STELE_TSAN 1
#endif
#endif

static inline void stele_copy_shared(void *out, const void *shared, size_t byte_count)
{
#ifdef STELE_TSAN
    /* The race is the design; the thread sanitizer must see it as atomic accesses. */
    for (size_t i = 0; i < byte_count; i++)
        ((unsigned char *)out)[i] = __atomic_load_n((const unsigned char *)shared + i, __ATOMIC_RELAXED);
#else
    /* The barriers keep the copy between the caller's two looks at the stripe. */
    __asm__ volatile("" ::: "memory");
    memcpy(out, shared, byte_count);
    __asm__ volatile("" ::: "memory");
#endif
}

#endif
