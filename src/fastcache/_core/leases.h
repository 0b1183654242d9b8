/* A keyed hash of a lease's name. The key is random per process, so that nobody can choose names that collide. */
#ifndef FASTCACHE_LEASES_H
#define FASTCACHE_LEASES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t fc_fold(uint64_t a, uint64_t b) {
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Continues `state`; both words of the key are mixed into every step, eight octets at a time. */
static inline uint64_t fc_name_hash(const char *text, size_t length, uint64_t state, const uint64_t key[2]) {
    uint64_t word;
    state ^= length;
    while (length >= 8) {
        memcpy(&word, text, 8);
        state = fc_fold(state ^ key[0], word ^ key[1]);
        text += 8;
        length -= 8;
    }
    word = 0;
    memcpy(&word, text, length);
    return fc_fold(state ^ key[1], word ^ key[0] ^ 0x9e3779b97f4a7c15ull);
}

#endif
