/* The atomic accesses to memory that several processes share, and why each has the order it has.
 *
 * load     acquire: who sees a counter's new value also sees what was done before it was raised.
 * store    release: the other half, for words with one writer.
 * raise    (and lower) sequentially consistent. A writer raises a fence, then forwards a write, and raises it again before its
 *          client hears of the end; a reader loads the fence, then answers. Whoever learnt of the write did so by a
 *          message, which orders more than any of this; what must not happen is that the raise itself still waits in a
 *          store buffer while the answer leaves. A read-modify-write cannot: it is done in the cache line. It is
 *          sequentially consistent, and not only a release, so that two raises of different counters are seen in one
 *          order by all, which costs nothing more on the machines at hand.
 * replace  sequentially consistent: of several that want to change the same word one does, and all others see it.
 * settle   the first of several processes wins; the others take its value.
 *
 * No access waits and none takes a lock, so that a process killed between any two instructions leaves every word with
 * its old or its new value and nobody waiting. */
#ifndef FASTCACHE_ATOMICS_H
#define FASTCACHE_ATOMICS_H

#include <stdint.h>

static inline uint64_t fc_load(const uint64_t *word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }

static inline void fc_store(uint64_t *word, uint64_t value) { __atomic_store_n(word, value, __ATOMIC_RELEASE); }

/* The value before. */
static inline uint64_t fc_raise(uint64_t *word) { return __atomic_fetch_add(word, 1, __ATOMIC_SEQ_CST); }

static inline void fc_lower(uint64_t *word) { (void)__atomic_fetch_sub(word, 1, __ATOMIC_SEQ_CST); }

/* Whether `word` was `seen`, and is `value` now; else `seen` becomes what it is. */
static inline int fc_replace(uint64_t *word, uint64_t *seen, uint64_t value) {
    return __atomic_compare_exchange_n(word, seen, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* The stored value after trying to change 0 into `value`. */
static inline uint64_t fc_settle(uint64_t *word, uint64_t value) {
    uint64_t seen = 0;
    if (__atomic_compare_exchange_n(word, &seen, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        return value;
    return seen;
}

#endif
