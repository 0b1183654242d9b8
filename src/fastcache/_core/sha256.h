/* SHA-256 (FIPS 180-4) and HMAC with it (RFC 2104, FIPS 198-1), written from those texts.
 *
 * Three functions compress blocks: by the SHA extensions of x86-64, by those of aarch64, and portably. Which of them a
 * machine has is asked at run time, so that one wheel serves every machine of its architecture.
 *
 * A message is put together in a buffer of several blocks, so that most messages that are signed are compressed in one
 * call, whose working variables stay in registers. A key of HMAC is kept as the two states behind its pads: half of what
 * HMAC costs for a short message is the pads.
 *
 * No function allocates, fails, or branches on the octets of a message or key.
 */
#ifndef FASTCACHE_SHA256_H
#define FASTCACHE_SHA256_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#define FC_SHA_X86 1
#include <cpuid.h>
#include <immintrin.h>
/* Clang before 16 declares these intrinsics only where the whole file is compiled for them. */
#elif defined(__aarch64__) && defined(__linux__) && defined(__ARM_NEON) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ && \
    (!defined(__clang__) || __clang_major__ >= 16 || defined(__ARM_FEATURE_SHA2))
#define FC_SHA_ARM 1
#include <arm_neon.h>
#include <sys/auxv.h>
#ifndef HWCAP_SHA2
#define HWCAP_SHA2 (1 << 6)
#endif
#endif

#define FC_SHA_BLOCK 64
#define FC_SHA_DIGEST 32
#define FC_SHA_GATHERED (8 * FC_SHA_BLOCK) /* octets that wait at most before they are compressed */

typedef void (*fc_sha256_function)(uint32_t state[8], const uint8_t *data, size_t blocks);

/* Section 4.2.2: the fractional parts of the cube roots of the first 64 primes. */
static const uint32_t fc_sha_constants[64] __attribute__((aligned(16))) = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

/* Section 5.3.3: the fractional parts of the square roots of the first eight primes. */
static const uint32_t fc_sha_beginning[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                             0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

static inline uint32_t fc_sha_read(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static inline void fc_sha_write(uint8_t *at, uint32_t word) {
    at[0] = (uint8_t)(word >> 24);
    at[1] = (uint8_t)(word >> 16);
    at[2] = (uint8_t)(word >> 8);
    at[3] = (uint8_t)word;
}

/* Sections 4.1.2 and 6.2.2. A round assigns to d and h only: the caller renames the others instead of moving them. */
#define FC_SHA_ROTATE(x, n) ((x) >> (n) | (x) << (32 - (n)))
#define FC_SHA_ROUND(a, b, c, d, e, f, g, h, constant, word)                                             \
    do {                                                                                                 \
        uint32_t first = h + (FC_SHA_ROTATE(e, 6) ^ FC_SHA_ROTATE(e, 11) ^ FC_SHA_ROTATE(e, 25)) +       \
                         (g ^ (e & (f ^ g))) + (constant) + (word);                                      \
        d += first;                                                                                      \
        h = first + (FC_SHA_ROTATE(a, 2) ^ FC_SHA_ROTATE(a, 13) ^ FC_SHA_ROTATE(a, 22)) +                \
            ((a & b) | (c & (a | b)));                                                                   \
    } while (0)
#define FC_SHA_EIGHT(t, word)                                                                            \
    FC_SHA_ROUND(a, b, c, d, e, f, g, h, fc_sha_constants[(t) + 0], word((t) + 0));                      \
    FC_SHA_ROUND(h, a, b, c, d, e, f, g, fc_sha_constants[(t) + 1], word((t) + 1));                      \
    FC_SHA_ROUND(g, h, a, b, c, d, e, f, fc_sha_constants[(t) + 2], word((t) + 2));                      \
    FC_SHA_ROUND(f, g, h, a, b, c, d, e, fc_sha_constants[(t) + 3], word((t) + 3));                      \
    FC_SHA_ROUND(e, f, g, h, a, b, c, d, fc_sha_constants[(t) + 4], word((t) + 4));                      \
    FC_SHA_ROUND(d, e, f, g, h, a, b, c, fc_sha_constants[(t) + 5], word((t) + 5));                      \
    FC_SHA_ROUND(c, d, e, f, g, h, a, b, fc_sha_constants[(t) + 6], word((t) + 6));                      \
    FC_SHA_ROUND(b, c, d, e, f, g, h, a, fc_sha_constants[(t) + 7], word((t) + 7))
#define FC_SHA_READ(t) (w[t] = fc_sha_read(data + 4 * (t)))
#define FC_SHA_NEXT(t) (w[(t) & 15] += fc_sha_later(w[((t) - 2) & 15], w[((t) - 7) & 15], w[((t) - 15) & 15]))

static inline uint32_t fc_sha_later(uint32_t before2, uint32_t before7, uint32_t before15) {
    return (FC_SHA_ROTATE(before2, 17) ^ FC_SHA_ROTATE(before2, 19) ^ before2 >> 10) + before7 +
           (FC_SHA_ROTATE(before15, 7) ^ FC_SHA_ROTATE(before15, 18) ^ before15 >> 3);
}

static void fc_sha256_portable(uint32_t state[8], const uint8_t *data, size_t blocks) {
    uint32_t w[16]; /* the last sixteen words of the message schedule */
    for (; blocks; blocks--, data += FC_SHA_BLOCK) {
        uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
        uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
        FC_SHA_EIGHT(0, FC_SHA_READ);
        FC_SHA_EIGHT(8, FC_SHA_READ);
        for (int t = 16; t < 64; t += 16) {
            FC_SHA_EIGHT(t, FC_SHA_NEXT);
            FC_SHA_EIGHT(t + 8, FC_SHA_NEXT);
        }
        state[0] += a;
        state[1] += b;
        state[2] += c;
        state[3] += d;
        state[4] += e;
        state[5] += f;
        state[6] += g;
        state[7] += h;
    }
}

#if defined(FC_SHA_X86)
#define FC_SHA_EXTENSION "sha-ni"
#define FC_SHA_TARGET __attribute__((target("sha,sse4.1,ssse3")))

/* The extensions, and SSE4.1 and SSSE3 for what is done beside them; XMM registers are part of x86-64. */
static int fc_sha_extension_present(void) {
    unsigned int a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & 1u << 29))
        return 0;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & 1u << 19) && (c & 1u << 9);
}

/* The instruction takes and gives the variables in pairs, (A, B, E, F) and (C, D, G, H), does two rounds, and leaves
 * the second pair to be renamed: what was (A, B, E, F) before them is (C, D, G, H) after them. */
#define FC_SHA_FOUR(t, words)                                                                            \
    do {                                                                                                 \
        __m128i sums = _mm_add_epi32(words, _mm_load_si128((const __m128i *)(fc_sha_constants + (t)))); \
        cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sums);                                                  \
        abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sums, 0x0e));                         \
    } while (0)
/* `oldest`, the words 16 to 13 before, become the next four; `c` and `d` are those 8 to 5 and 4 to 1 before. */
#define FC_SHA_WORDS(oldest, b, c, d) \
    oldest = _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32(oldest, b), _mm_alignr_epi8(d, c, 4)), d)
#define FC_SHA_LOAD(n) _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(data + 16 * (n))), reversed)

FC_SHA_TARGET static void fc_sha256_extension(uint32_t state[8], const uint8_t *data, size_t blocks) {
    const __m128i reversed = _mm_set_epi64x(0x0c0d0e0f08090a0bll, 0x0405060700010203ll);
    __m128i dcba = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state), 0x1b);
    __m128i hgfe = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(state + 4)), 0x1b);
    __m128i abef = _mm_unpackhi_epi64(hgfe, dcba), cdgh = _mm_unpacklo_epi64(hgfe, dcba);
    for (; blocks; blocks--, data += FC_SHA_BLOCK) {
        const __m128i abef_before = abef, cdgh_before = cdgh;
        __m128i w0 = FC_SHA_LOAD(0), w1 = FC_SHA_LOAD(1), w2 = FC_SHA_LOAD(2), w3 = FC_SHA_LOAD(3);
        FC_SHA_FOUR(0, w0);
        FC_SHA_FOUR(4, w1);
        FC_SHA_FOUR(8, w2);
        FC_SHA_FOUR(12, w3);
        for (int t = 16; t < 64; t += 16) {
            FC_SHA_WORDS(w0, w1, w2, w3);
            FC_SHA_FOUR(t, w0);
            FC_SHA_WORDS(w1, w2, w3, w0);
            FC_SHA_FOUR(t + 4, w1);
            FC_SHA_WORDS(w2, w3, w0, w1);
            FC_SHA_FOUR(t + 8, w2);
            FC_SHA_WORDS(w3, w0, w1, w2);
            FC_SHA_FOUR(t + 12, w3);
        }
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }
    dcba = _mm_unpackhi_epi64(cdgh, abef);
    hgfe = _mm_unpacklo_epi64(cdgh, abef);
    _mm_storeu_si128((__m128i *)state, _mm_shuffle_epi32(dcba, 0x1b));
    _mm_storeu_si128((__m128i *)(state + 4), _mm_shuffle_epi32(hgfe, 0x1b));
}

#elif defined(FC_SHA_ARM)
#define FC_SHA_EXTENSION "armv8-sha2"
#define FC_SHA_TARGET __attribute__((target("+crypto")))

static int fc_sha_extension_present(void) { return (getauxval(AT_HWCAP) & HWCAP_SHA2) != 0; }

#define FC_SHA_FOUR(t, words)                                            \
    do {                                                                 \
        uint32x4_t sums = vaddq_u32(words, vld1q_u32(fc_sha_constants + (t))), before = abcd; \
        abcd = vsha256hq_u32(abcd, efgh, sums);                          \
        efgh = vsha256h2q_u32(efgh, before, sums);                       \
    } while (0)
#define FC_SHA_WORDS(oldest, b, c, d) oldest = vsha256su1q_u32(vsha256su0q_u32(oldest, b), c, d)
#define FC_SHA_LOAD(n) vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(data + 16 * (n))))

FC_SHA_TARGET static void fc_sha256_extension(uint32_t state[8], const uint8_t *data, size_t blocks) {
    uint32x4_t abcd = vld1q_u32(state), efgh = vld1q_u32(state + 4);
    for (; blocks; blocks--, data += FC_SHA_BLOCK) {
        const uint32x4_t abcd_before = abcd, efgh_before = efgh;
        uint32x4_t w0 = FC_SHA_LOAD(0), w1 = FC_SHA_LOAD(1), w2 = FC_SHA_LOAD(2), w3 = FC_SHA_LOAD(3);
        FC_SHA_FOUR(0, w0);
        FC_SHA_FOUR(4, w1);
        FC_SHA_FOUR(8, w2);
        FC_SHA_FOUR(12, w3);
        for (int t = 16; t < 64; t += 16) {
            FC_SHA_WORDS(w0, w1, w2, w3);
            FC_SHA_FOUR(t, w0);
            FC_SHA_WORDS(w1, w2, w3, w0);
            FC_SHA_FOUR(t + 4, w1);
            FC_SHA_WORDS(w2, w3, w0, w1);
            FC_SHA_FOUR(t + 8, w2);
            FC_SHA_WORDS(w3, w0, w1, w2);
            FC_SHA_FOUR(t + 12, w3);
        }
        abcd = vaddq_u32(abcd, abcd_before);
        efgh = vaddq_u32(efgh, efgh_before);
    }
    vst1q_u32(state, abcd);
    vst1q_u32(state + 4, efgh);
}
#endif

/* The function of the machine's own instructions, or NULL. */
static fc_sha256_function fc_sha256_of_machine(void) {
#ifdef FC_SHA_EXTENSION
    if (fc_sha_extension_present())
        return fc_sha256_extension;
#endif
    return NULL;
}

static const char *fc_sha256_extension_name(void) {
#ifdef FC_SHA_EXTENSION
    return FC_SHA_EXTENSION;
#else
    return "";
#endif
}

/* A message on its way through. Plain data: it may be dropped at any time. */
typedef struct {
    uint32_t state[8];
    uint64_t compressed; /* octets that `state` has seen */
    size_t waiting;      /* octets in `gathered`, at most FC_SHA_GATHERED */
    fc_sha256_function compress;
    uint8_t gathered[FC_SHA_GATHERED + FC_SHA_BLOCK]; /* one block more, for the padding */
} fc_sha256;

static inline void fc_sha256_begin(fc_sha256 *hash, fc_sha256_function compress) {
    memcpy(hash->state, fc_sha_beginning, sizeof hash->state);
    hash->compressed = 0;
    hash->waiting = 0;
    hash->compress = compress;
}

static void fc_sha256_overflow(fc_sha256 *hash, const uint8_t *data, size_t length) {
    size_t room = FC_SHA_GATHERED - hash->waiting, blocks;
    memcpy(hash->gathered + hash->waiting, data, room);
    hash->compress(hash->state, hash->gathered, FC_SHA_GATHERED / FC_SHA_BLOCK);
    data += room;
    length -= room;
    blocks = length / FC_SHA_BLOCK;
    hash->compress(hash->state, data, blocks);
    hash->compressed += FC_SHA_GATHERED + blocks * FC_SHA_BLOCK;
    hash->waiting = length - blocks * FC_SHA_BLOCK;
    memcpy(hash->gathered, data + blocks * FC_SHA_BLOCK, hash->waiting);
}

/* Most pieces of a canonical request are short: two loads that overlap cost less than the call of memcpy. */
static inline void fc_sha_copy(uint8_t *to, const uint8_t *from, size_t length) {
    if (length > 32) {
        memcpy(to, from, length);
    } else if (length >= 16) {
        uint64_t first[2], last[2];
        memcpy(first, from, 16);
        memcpy(last, from + length - 16, 16);
        memcpy(to, first, 16);
        memcpy(to + length - 16, last, 16);
    } else if (length >= 8) {
        uint64_t first, last;
        memcpy(&first, from, 8);
        memcpy(&last, from + length - 8, 8);
        memcpy(to, &first, 8);
        memcpy(to + length - 8, &last, 8);
    } else if (length >= 4) {
        uint32_t first, last;
        memcpy(&first, from, 4);
        memcpy(&last, from + length - 4, 4);
        memcpy(to, &first, 4);
        memcpy(to + length - 4, &last, 4);
    } else if (length) {
        to[0] = from[0];
        to[length / 2] = from[length / 2];
        to[length - 1] = from[length - 1];
    }
}

static inline void fc_sha256_put(fc_sha256 *hash, const void *data, size_t length) {
    if (length > FC_SHA_GATHERED - hash->waiting) {
        fc_sha256_overflow(hash, (const uint8_t *)data, length);
        return;
    }
    fc_sha_copy(hash->gathered + hash->waiting, (const uint8_t *)data, length);
    hash->waiting += length;
}

/* Ends the message; `digest` has FC_SHA_DIGEST octets. */
static void fc_sha256_end(fc_sha256 *hash, uint8_t *digest) {
    uint64_t bits = (hash->compressed + hash->waiting) * 8;
    size_t end = (hash->waiting + 1 + 8 + FC_SHA_BLOCK - 1) / FC_SHA_BLOCK * FC_SHA_BLOCK;
    hash->gathered[hash->waiting] = 0x80;
    memset(hash->gathered + hash->waiting + 1, 0, end - 8 - hash->waiting - 1);
    fc_sha_write(hash->gathered + end - 8, (uint32_t)(bits >> 32));
    fc_sha_write(hash->gathered + end - 4, (uint32_t)bits);
    hash->compress(hash->state, hash->gathered, end / FC_SHA_BLOCK);
    for (int i = 0; i < 8; i++)
        fc_sha_write(digest + 4 * i, hash->state[i]);
}

/* A digest as 64 lower-case hexadecimal digits. Without a table or a branch, because some are secret until they are
 * compared. Eight half-octets are spread over eight octets and made digits at once. */
static inline void fc_sha256_hex(const uint8_t *digest, char *text) {
    for (int i = 0; i < FC_SHA_DIGEST; i += 4) {
        uint64_t halves = fc_sha_read(digest + i), letters;
        halves = (halves | halves << 16) & 0x0000ffff0000ffffull;
        halves = (halves | halves << 8) & 0x00ff00ff00ff00ffull;
        halves = (halves | halves << 4) & 0x0f0f0f0f0f0f0f0full;
        letters = (halves + 0x0606060606060606ull) >> 4 & 0x0101010101010101ull; /* 1 for those from 10 on */
        halves += 0x3030303030303030ull + letters * ('a' - '0' - 10);
        fc_sha_write((uint8_t *)text + 2 * i, (uint32_t)(halves >> 32));
        fc_sha_write((uint8_t *)text + 2 * i + 4, (uint32_t)halves);
    }
}

/* A key: the states that its inner and its outer pad leave. As secret as the key itself. */
typedef struct {
    uint32_t inner[8], outer[8];
} fc_hmac_key;

static void fc_hmac_take_key(fc_hmac_key *key, fc_sha256_function compress, const void *octets, size_t length) {
    uint8_t pad[FC_SHA_BLOCK] = {0};
    fc_sha256 hash;
    if (length > FC_SHA_BLOCK) {
        fc_sha256_begin(&hash, compress);
        fc_sha256_put(&hash, octets, length);
        fc_sha256_end(&hash, pad);
    } else {
        memcpy(pad, octets, length);
    }
    memcpy(key->inner, fc_sha_beginning, sizeof key->inner);
    memcpy(key->outer, fc_sha_beginning, sizeof key->outer);
    for (int i = 0; i < FC_SHA_BLOCK; i++)
        pad[i] ^= 0x36;
    compress(key->inner, pad, 1);
    for (int i = 0; i < FC_SHA_BLOCK; i++)
        pad[i] ^= 0x36 ^ 0x5c;
    compress(key->outer, pad, 1);
    explicit_bzero(pad, sizeof pad);
}

static inline void fc_hmac_begin(fc_sha256 *hash, const fc_hmac_key *key, fc_sha256_function compress) {
    memcpy(hash->state, key->inner, sizeof hash->state);
    hash->compressed = FC_SHA_BLOCK;
    hash->waiting = 0;
    hash->compress = compress;
}

static void fc_hmac_end(fc_sha256 *hash, const fc_hmac_key *key, uint8_t *digest) {
    fc_sha256_end(hash, digest);
    memcpy(hash->state, key->outer, sizeof hash->state);
    hash->compressed = FC_SHA_BLOCK;
    hash->waiting = 0;
    fc_sha256_put(hash, digest, FC_SHA_DIGEST);
    fc_sha256_end(hash, digest);
}

#endif
