/*
 * pool.c: buffers of one size, lent by a reactor to connections that have something to say.
 *
 *   first ---> idle ---> idle ---> NULL      (each links to the next through its first bytes)
 *
 * Invariant: `idle` counts the chain and is at most keep_max; every object lent comes back before
 * pool_fini. Threads: one owner. Cost: a get or put of an idle one is two stores.
 */
#include "base/assert.h"
#include "base/mem.h"
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
    return object;
}

void *pool_get(struct pool *pool)
{
    void *object = pool->first ? pool_pop(pool) : mem_alloc(pool->object_bytes);
    if (object)
        pool->lent++;
    return object;
}

void pool_put(struct pool *pool, void *object)
{
    BUG_ON(pool->lent == 0);
    pool->lent--;
    if (pool->idle >= pool->keep_max) {
        mem_free(object);
        return;
    }
    *(void **)object = pool->first;
    pool->first = object;
    pool->idle++;
}

void pool_trim(struct pool *pool, uint32_t keep)
{
    while (pool->idle > keep)
        mem_free(pool_pop(pool));
}

void pool_fini(struct pool *pool)
{
    BUG_ON(pool->lent != 0);
    pool_trim(pool, 0);
}
