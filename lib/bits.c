#include "bits.h"

#if defined(__SANITIZE_THREAD__)
#define STELE_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define STELE_TSAN 1
#endif
#endif

#ifdef STELE_TSAN
void stele_copy_shared(void *out, const void *shared, size_t byte_count)
{
    /* The race is the design; the thread sanitizer must see it as atomic accesses. */
    unsigned char *to = out;
    const unsigned char *from = shared;
    for (size_t i = 0; i < byte_count; i++)
        to[i] = __atomic_load_n(from + i, __ATOMIC_RELAXED);
}
#else
void stele_copy_shared(void *out, const void *shared, size_t byte_count)
{
    /* The barriers keep the copy between the caller's two looks at the stripe. */
    __asm__ volatile("" ::: "memory");
    memcpy(out, shared, byte_count);
    __asm__ volatile("" ::: "memory");
}
#endif
