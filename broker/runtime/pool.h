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
    void *first; /* idle ones, linked through their first bytes */
};

void pool_init(struct pool *pool, uint32_t object_bytes, uint32_t keep_max);
void pool_fini(struct pool *pool);
/* Not zeroed. NULL when there is no memory. */
void *pool_get(struct pool *pool) MUST_USE;
void pool_put(struct pool *pool, void *object);
/* Gives idle ones above `keep` back to the system; called now and then when little is lent. */
void pool_trim(struct pool *pool, uint32_t keep);

#endif
