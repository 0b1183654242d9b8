/* Counting octets that have no place in a plain request head, many at a time. */
#ifndef FASTCACHE_RECOGNISER_H
#define FASTCACHE_RECOGNISER_H

#include <stddef.h>

/* How many octets are controls (below 0x20, or DEL), and in `high` whether any is outside ASCII. The inner loop has a
 * fixed small bound and byte-wide sums, so that a compiler turns it into a few vector instructions. */
#if defined(__GNUC__) && !defined(__clang__)
__attribute__((optimize("tree-vectorize")))
#endif
static size_t fc_count_controls(const unsigned char *text, size_t length, int *high) {
    size_t total = 0;
    unsigned char top = 0;
    while (length) {
        size_t step = length < 128 ? length : 128;
        unsigned char found = 0;
        for (size_t i = 0; i < step; i++) {
            found += (unsigned char)((text[i] < 0x20) | (text[i] == 0x7f));
            top |= text[i];
        }
        total += found;
        text += step;
        length -= step;
    }
    *high = top >> 7;
    return total;
}

#endif
