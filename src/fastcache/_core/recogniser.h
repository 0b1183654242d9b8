/* Looking at many octets of a request head at a time. */
#ifndef FASTCACHE_RECOGNISER_H
#define FASTCACHE_RECOGNISER_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* How many octets are controls, DEL or outside ASCII. Compared as signed numbers, so that what is outside ASCII is below
 * the space too. */
static size_t fc_count_controls(const char *text, size_t length) {
    size_t total = 0;
#ifdef __SSE2__
    const __m128i space = _mm_set1_epi8(0x20), del = _mm_set1_epi8(0x7f), zero = _mm_setzero_si128();
    while (length >= 16) {
        size_t steps = length / 16 < 255 ? length / 16 : 255; /* a sum of bytes holds no more */
        __m128i found = zero;
        length -= steps * 16;
        for (; steps; steps--, text += 16) {
            __m128i octets = _mm_loadu_si128((const __m128i *)text);
            __m128i bad = _mm_or_si128(_mm_cmplt_epi8(octets, space), _mm_cmpeq_epi8(octets, del));
            found = _mm_sub_epi8(found, bad);
        }
        found = _mm_sad_epu8(found, zero);
        total += (size_t)_mm_cvtsi128_si32(found) + (size_t)_mm_cvtsi128_si32(_mm_srli_si128(found, 8));
    }
#endif
    for (; length; length--, text++)
        total += (size_t)(((signed char)*text < 0x20) | (*text == 0x7f));
    return total;
}

/* The end of the run of token characters (RFC 9110 section 5.6.2) at `text`; the caller knows that there is another
 * octet behind it. */
#define FC_T 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1
#define FC_N 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
static const unsigned char fc_token[256] = {
    FC_N, FC_N,
    0, 1, 0, 1, 1, 1, 1, 1, 0, 0, 1, 1, 0, 1, 1, 0, /* space ! " # $ % & ' ( ) * + , - . / */
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, /* digits : ; < = > ? */
    0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, /* @ A-O */
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 1, 1, /* P-Z [ \ ] ^ _ */
    FC_T,                                           /* ` a-o */
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 0, 1, 0, /* p-z { | } ~ DEL */
    FC_N, FC_N, FC_N, FC_N, FC_N, FC_N, FC_N, FC_N};

static inline const char *fc_token_end(const char *text) {
    const unsigned char *at = (const unsigned char *)text;
    for (;; at += 4) {
        if (!fc_token[at[0]]) return (const char *)at;
        if (!fc_token[at[1]]) return (const char *)at + 1;
        if (!fc_token[at[2]]) return (const char *)at + 2;
        if (!fc_token[at[3]]) return (const char *)at + 3;
    }
}

/* Whether `length` octets are those of `lower`, letters without regard to case. Eight at a time, the last eight
 * overlapping. Setting bit 5 makes a letter lower case and no other octet of a token, or printable value that is
 * compared here, equal to one of `lower`'s. */
static inline int fc_same_name(const char *text, const char *lower, size_t length) {
    const uint64_t fold = 0x2020202020202020ull;
    uint64_t have, want;
    if (length >= 8) {
        for (size_t at = 0; at + 8 < length; at += 8) {
            memcpy(&have, text + at, 8);
            memcpy(&want, lower + at, 8);
            if ((have | fold) != want)
                return 0;
        }
        memcpy(&have, text + length - 8, 8);
        memcpy(&want, lower + length - 8, 8);
        return (have | fold) == want;
    }
    for (size_t at = 0; at < length; at++)
        if ((text[at] | 0x20) != lower[at])
            return 0;
    return 1;
}

#endif
