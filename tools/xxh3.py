#!/usr/bin/env python3
"""XXH3 with the default secret and a seed, 64 and 128 bits, as xxHash 0.8 defines it.

    hash64(data, seed)      the 64-bit hash, an integer
    hash128(data, seed)     the 128-bit hash, an integer (high half first)
    disk128(data, seed)     the 128-bit hash as a store holds it: 16 bytes, low half first

The xxhash module (Debian: python3-xxhash) does the work where it can be imported, the plain
Python below elsewhere. STELE_XXH3=plain in the environment takes the plain one in any case;
`plain64` and `plain128` are always the plain one. `body` says which one is in use.

XXH3 is the algorithm of the xxHash library (BSD 2-clause licence).
"""

import functools
import os
import struct

MASK32 = 0xFFFFFFFF
MASK64 = 0xFFFFFFFFFFFFFFFF

PRIME32_1, PRIME32_2, PRIME32_3 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D
PRIME64_1, PRIME64_2, PRIME64_3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
PRIME64_4, PRIME64_5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
PRIME_MX1, PRIME_MX2 = 0x165667919E3779F9, 0x9FB21C651E98DF25

SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f"
    "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
    "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364"
    "eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e"
    "2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e")

SECRET_BYTES = len(SECRET)
SECRET_BYTES_MIN = 136
STRIPE_BYTES = 64
STRIPES_PER_BLOCK = (SECRET_BYTES - STRIPE_BYTES) // 8
BLOCK_BYTES = STRIPE_BYTES * STRIPES_PER_BLOCK

read32 = struct.Struct("<I").unpack_from
read64 = struct.Struct("<Q").unpack_from
read_pair = struct.Struct("<2Q").unpack_from
read_stripe = struct.Struct("<8Q").unpack_from


def swap32(x):
    return int.from_bytes(x.to_bytes(4, "little"), "big")


def swap64(x):
    return int.from_bytes(x.to_bytes(8, "little"), "big")


def rotl64(x, r):
    return (x << r | x >> (64 - r)) & MASK64


def fold(a, b):
    """The two halves of the 128-bit product, xor-ed."""
    product = a * b
    return (product & MASK64) ^ (product >> 64)


def avalanche(h):
    h ^= h >> 37
    h = h * PRIME_MX1 & MASK64
    return h ^ h >> 32


def avalanche_xxh64(h):
    h ^= h >> 33
    h = h * PRIME64_2 & MASK64
    h ^= h >> 29
    h = h * PRIME64_3 & MASK64
    return h ^ h >> 32


def mix16(data, at, secret_at, seed):
    lo, hi = read_pair(data, at)
    key_lo, key_hi = read_pair(SECRET, secret_at)
    return fold(lo ^ ((key_lo + seed) & MASK64), hi ^ ((key_hi - seed) & MASK64))


def secret_xor(a, b, read=read64):
    return read(SECRET, a)[0] ^ read(SECRET, b)[0]


def combine_1to3(data):
    n = len(data)
    return data[0] << 16 | data[n >> 1] << 24 | data[n - 1] | n << 8


# --- 64 bits ----------------------------------------------------------------------------------

def short64(data, seed):
    n = len(data)
    if n > 8:
        lo = read64(data, 0)[0] ^ ((secret_xor(24, 32) + seed) & MASK64)
        hi = read64(data, n - 8)[0] ^ ((secret_xor(40, 48) - seed) & MASK64)
        return avalanche((n + swap64(lo) + hi + fold(lo, hi)) & MASK64)
    if n >= 4:
        seed ^= swap32(seed & MASK32) << 32
        joined = read32(data, n - 4)[0] + (read32(data, 0)[0] << 32)
        h = joined ^ ((secret_xor(8, 16) - seed) & MASK64)
        h ^= rotl64(h, 49) ^ rotl64(h, 24)
        h = h * PRIME_MX2 & MASK64
        h ^= (h >> 35) + n
        h = h * PRIME_MX2 & MASK64
        return h ^ h >> 28
    if n:
        return avalanche_xxh64(combine_1to3(data) ^ ((secret_xor(0, 4, read32) + seed) & MASK64))
    return avalanche_xxh64(seed ^ secret_xor(56, 64))


def middle64(data, seed):
    n = len(data)
    total = n * PRIME64_1
    if n <= 128:
        for step in range((n - 1) // 32, -1, -1):
            total += mix16(data, 16 * step, 32 * step, seed)
            total += mix16(data, n - 16 * (step + 1), 32 * step + 16, seed)
        return avalanche(total & MASK64)
    for i in range(8):
        total += mix16(data, 16 * i, 16 * i, seed)
    total = avalanche(total & MASK64)
    for i in range(8, n // 16):
        total += mix16(data, 16 * i, 16 * (i - 8) + 3, seed)
    total += mix16(data, n - 16, SECRET_BYTES_MIN - 17, seed)
    return avalanche(total & MASK64)


# --- more than 240 bytes ----------------------------------------------------------------------

@functools.lru_cache(maxsize=16)
def seeded_secret(seed):
    """The secret of a seed: the default one, its words raised and lowered by the seed in turn."""
    words = struct.unpack("<24Q", SECRET)
    return struct.pack("<24Q", *((w - seed if i & 1 else w + seed) & MASK64 for i, w in enumerate(words)))


def accumulate(acc, data, at, key):
    values = read_stripe(data, at)
    for i in range(8):
        value = values[i]
        mixed = value ^ key[i]
        acc[i ^ 1] += value
        acc[i] += (mixed & MASK32) * (mixed >> 32)


def long_accumulators(data, secret):
    acc = [PRIME32_3, PRIME64_1, PRIME64_2, PRIME64_3, PRIME64_4, PRIME32_2, PRIME64_5, PRIME32_1]
    keys = [read_stripe(secret, 8 * i) for i in range(STRIPES_PER_BLOCK)]
    scramble = read_stripe(secret, SECRET_BYTES - STRIPE_BYTES)
    n = len(data)
    at = 0
    for _ in range((n - 1) // BLOCK_BYTES):
        for key in keys:
            accumulate(acc, data, at, key)
            at += STRIPE_BYTES
        for i in range(8):
            a = acc[i] & MASK64
            acc[i] = ((a ^ a >> 47) ^ scramble[i]) * PRIME32_1 & MASK64
    for i in range((n - 1 - at) // STRIPE_BYTES):
        accumulate(acc, data, at + i * STRIPE_BYTES, keys[i])
    accumulate(acc, data, n - STRIPE_BYTES, read_stripe(secret, SECRET_BYTES - STRIPE_BYTES - 7))
    return [a & MASK64 for a in acc]


def merge(acc, secret, at, start):
    for i in range(4):
        lo, hi = read_pair(secret, at + 16 * i)
        start += fold(acc[2 * i] ^ lo, acc[2 * i + 1] ^ hi)
    return avalanche(start & MASK64)


def plain64(data, seed=0):
    seed &= MASK64
    n = len(data)
    if n <= 16:
        return short64(data, seed)
    if n <= 240:
        return middle64(data, seed)
    secret = seeded_secret(seed)
    return merge(long_accumulators(data, secret), secret, 11, n * PRIME64_1 & MASK64)


# --- 128 bits ---------------------------------------------------------------------------------

def short128(data, seed):
    """A pair: low half, high half."""
    n = len(data)
    if n > 8:
        lo = read64(data, 0)[0]
        hi = read64(data, n - 8)[0]
        product = (lo ^ hi ^ ((secret_xor(32, 40) - seed) & MASK64)) * PRIME64_1
        low = ((product & MASK64) + ((n - 1) << 54)) & MASK64
        hi ^= (secret_xor(48, 56) + seed) & MASK64
        high = ((product >> 64) + hi + (hi & MASK32) * (PRIME32_2 - 1)) & MASK64
        low ^= swap64(high)
        product = low * PRIME64_2
        return avalanche(product & MASK64), avalanche(((product >> 64) + high * PRIME64_2) & MASK64)
    if n >= 4:
        seed ^= swap32(seed & MASK32) << 32
        joined = read32(data, 0)[0] + (read32(data, n - 4)[0] << 32)
        product = (joined ^ ((secret_xor(16, 24) + seed) & MASK64)) * (PRIME64_1 + (n << 2))
        low = product & MASK64
        high = ((product >> 64) + (low << 1)) & MASK64
        low ^= high >> 3
        low ^= low >> 35
        low = low * PRIME_MX2 & MASK64
        return low ^ low >> 28, avalanche(high)
    if n:
        low = combine_1to3(data)
        swapped = swap32(low)
        high = (swapped << 13 | swapped >> 19) & MASK32
        return (avalanche_xxh64(low ^ ((secret_xor(0, 4, read32) + seed) & MASK64)),
                avalanche_xxh64(high ^ ((secret_xor(8, 12, read32) - seed) & MASK64)))
    return avalanche_xxh64(seed ^ secret_xor(64, 72)), avalanche_xxh64(seed ^ secret_xor(80, 88))


def mix32(low, high, data, at_1, at_2, secret_at, seed):
    low = (low + mix16(data, at_1, secret_at, seed)) & MASK64
    low ^= sum(read_pair(data, at_2)) & MASK64
    high = (high + mix16(data, at_2, secret_at + 16, seed)) & MASK64
    high ^= sum(read_pair(data, at_1)) & MASK64
    return low, high


def middle128(data, seed):
    n = len(data)
    low, high = n * PRIME64_1 & MASK64, 0
    if n <= 128:
        for step in range((n - 1) // 32, -1, -1):
            low, high = mix32(low, high, data, 16 * step, n - 16 * (step + 1), 32 * step, seed)
    else:
        for i in range(4):
            low, high = mix32(low, high, data, 32 * i, 32 * i + 16, 32 * i, seed)
        low, high = avalanche(low), avalanche(high)
        for i in range(4, n // 32):
            low, high = mix32(low, high, data, 32 * i, 32 * i + 16, 3 + 32 * (i - 4), seed)
        low, high = mix32(low, high, data, n - 16, n - 32, SECRET_BYTES_MIN - 33, -seed & MASK64)
    last = low * PRIME64_1 + high * PRIME64_4 + (n - seed) * PRIME64_2
    return avalanche((low + high) & MASK64), -avalanche(last & MASK64) & MASK64


def plain128(data, seed=0):
    seed &= MASK64
    n = len(data)
    if n <= 16:
        low, high = short128(data, seed)
    elif n <= 240:
        low, high = middle128(data, seed)
    else:
        secret = seeded_secret(seed)
        acc = long_accumulators(data, secret)
        low = merge(acc, secret, 11, n * PRIME64_1 & MASK64)
        high = merge(acc, secret, SECRET_BYTES - 64 - 11, ~(n * PRIME64_2) & MASK64)
    return high << 64 | low


# --- which body -------------------------------------------------------------------------------

def load_module():
    """The xxhash module when it is there and its XXH3 is that of 0.8, else None."""
    try:
        import xxhash
        if not xxhash.XXHASH_VERSION.startswith("0.8"):
            return None
        return xxhash if xxhash.xxh3_64_intdigest(b"") == plain64(b"") else None
    except (ImportError, AttributeError):
        return None


module = None if os.environ.get("STELE_XXH3") == "plain" else load_module()

if module:
    body = "module"
    hash64 = module.xxh3_64_intdigest
    hash128 = module.xxh3_128_intdigest
else:
    body = "plain"
    hash64 = plain64
    hash128 = plain128


def disk128(data, seed=0):
    return hash128(data, seed).to_bytes(16, "little")
