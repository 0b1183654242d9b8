/* The fences as they lie in shared memory; atomics.h argues the orders. */
#ifndef FASTCACHE_FENCES_H
#define FASTCACHE_FENCES_H

#include "atomics.h"

#define FC_FENCES 65536
#define FC_FENCES_MAGIC 0x3165636e65664346ull /* "FCfence1" */

typedef struct {
    uint64_t magic;
    uint64_t epoch; /* random, never 0: 0 means "not yet chosen" */
    uint64_t reserved[6];
    uint64_t objects[FC_FENCES];
    uint64_t buckets[FC_FENCES];
} fc_fences;

/* Digests are uniform, so that their first two bytes are as good an index as any hash of them. */
static inline unsigned fc_stripe(const uint8_t *digest) { return (unsigned)digest[0] << 8 | digest[1]; }

#endif
