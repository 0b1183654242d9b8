/* The fences as they lie in shared memory. Raising is sequentially consistent, so that a reader who sees the origin's
 * answer to a write also sees the fence that was raised before it; reading is an acquire. */
#ifndef FASTCACHE_FENCES_H
#define FASTCACHE_FENCES_H

#include <stdint.h>

#define FC_FENCES 65536
#define FC_FENCES_MAGIC 0x3165636e65664346ull /* "FCfence1" */

typedef struct {
    uint64_t magic;
    uint64_t epoch; /* random, never 0: 0 means "not yet chosen" */
    uint64_t reserved[6];
    uint64_t objects[FC_FENCES];
    uint64_t buckets[FC_FENCES];
} fc_fences;

static inline uint64_t fc_load(const uint64_t *counter) { return __atomic_load_n(counter, __ATOMIC_ACQUIRE); }

static inline void fc_raise(uint64_t *counter) { (void)__atomic_add_fetch(counter, 1, __ATOMIC_SEQ_CST); }

/* The stored value after trying to change 0 into `value`: the first of several processes wins. */
static inline uint64_t fc_settle(uint64_t *field, uint64_t value) {
    uint64_t seen = 0;
    if (__atomic_compare_exchange_n(field, &seen, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        return value;
    return seen;
}

/* Digests are uniform, so that their first two bytes are as good an index as any hash of them. */
static inline unsigned fc_stripe(const uint8_t *digest) { return (unsigned)digest[0] << 8 | digest[1]; }

#endif
