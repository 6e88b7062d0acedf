/*
 * pool.c: buffers of one size, lent by a reactor to connections that have something to say.
 *
 *   first ---> idle ---> idle ---> NULL      (each links to the next through its first bytes)
 *
 * What was idle all the time between two calls of pool_trim() is too much, and halved: a burst is forgotten within
 * seconds, and what comes again and again finds its buffers.
 *
 * Invariant: `idle` counts the chain and is at most keep_max; every object lent comes back before
 * pool_fini. Threads: one owner. Cost: a get or put of an idle one is two stores.
 */
#include "base/assert.h"
#include "runtime/pages.h"
#include "runtime/pool.h"

void pool_init(struct pool *pool, uint32_t object_bytes, uint32_t keep_max)
{
    BUG_ON(object_bytes < sizeof(void *));
    *pool = (struct pool){.object_bytes = object_bytes, .keep_max = keep_max};
}

static void *pool_pop(struct pool *pool)
{
    void *object = pool->first;
    pool->first = *(void **)object;
    pool->idle--;
    if (pool->idle < pool->spare)
        pool->spare = pool->idle;
    return object;
}

void *pool_get(struct pool *pool)
{
    void *object = pool->first ? pool_pop(pool) : pages_or_mem_alloc(pool->object_bytes);
    if (object)
        pool->lent++;
    return object;
}

void pool_put(struct pool *pool, void *object)
{
    BUG_ON(pool->lent == 0);
    pool->lent--;
    if (pool->idle >= pool->keep_max) {
        pages_or_mem_free(object, pool->object_bytes);
        return;
    }
    *(void **)object = pool->first;
    pool->first = object;
    pool->idle++;
}

void pool_trim(struct pool *pool)
{
    uint32_t unused = pool->spare - pool->spare / 2;
    while (unused-- && pool->idle > 1)
        pages_or_mem_free(pool_pop(pool), pool->object_bytes);
    pool->spare = pool->idle;
}

void pool_fini(struct pool *pool)
{
    BUG_ON(pool->lent != 0);
    while (pool->idle)
        pages_or_mem_free(pool_pop(pool), pool->object_bytes);
}
