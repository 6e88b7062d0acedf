/*
 * pool.h: buffers of one size that a reactor lends to connections that have something to say.
 *
 * Owned by one thread. The last one put is the next one got (warm in the cache). Keeps at most
 * `keep_max` idle ones.
 */
#ifndef RUNTIME_POOL_H
#define RUNTIME_POOL_H

#include <stdint.h>

#include "base/err.h"

struct pool {
    uint32_t object_bytes;
    uint32_t idle, keep_max;
    uint32_t lent;
    uint32_t spare; /* the fewest idle ones since pool_trim() */
    void *first;    /* idle ones, linked through their first bytes */
};

void pool_init(struct pool *pool, uint32_t object_bytes, uint32_t keep_max);
void pool_fini(struct pool *pool);
/* Not zeroed. NULL when there is no memory. */
void *pool_get(struct pool *pool) MUST_USE;
void pool_put(struct pool *pool, void *object);
/* Now and then: gives half of those back that nobody has needed since the last time, but for one. */
void pool_trim(struct pool *pool);

#endif
