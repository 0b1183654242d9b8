/* The claims of fills as they lie in shared memory; fill_claims.pxd tells the protocol. */
#ifndef FASTCACHE_FILL_CLAIMS_H
#define FASTCACHE_FILL_CLAIMS_H

#include "atomics.h"

#define FC_CLAIMS 1024
#define FC_CLAIM_WORDS 512 /* a page each */
#define FC_CLAIM_FIXED 22

typedef struct {
    uint64_t state; /* incarnation << 32 | version << 4 | phase */
    uint64_t ticket;
    uint64_t digest[4];
    uint64_t start; /* of what was asked for, or is being brought */
    uint64_t end;
    uint64_t sent; /* 1: its request is on its way to the origin */
    uint64_t epoch; /* proof of the generation: fences, number of the request, when (bits of a double) */
    uint64_t object_fence;
    uint64_t bucket_fence;
    uint64_t request;
    uint64_t proved_at;
    uint64_t watermark; /* up to here the bytes are in files, committed or in progress */
    uint64_t part; /* number of the file in progress; 0: none */
    uint64_t part_start;
    uint64_t part_offset; /* in that file, of the byte at part_start */
    uint64_t reached; /* written by others: how far the fastest of their readers is */
    uint64_t looked_at; /* written by others: when one of them last looked, milliseconds since boot */
    uint64_t head_bytes;
    uint64_t reserved;
    uint64_t head[FC_CLAIM_WORDS - FC_CLAIM_FIXED]; /* the encoded head record */
} fc_claim;

typedef struct {
    uint64_t tickets;
    uint64_t cursor; /* where a free claim is looked for next */
    uint64_t reserved[510];
    uint64_t keys[FC_CLAIMS]; /* the first word of each claim's digest, close together to be searched */
    fc_claim claims[FC_CLAIMS];
} fc_claims;

#endif
