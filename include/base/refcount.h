/* refcount.h: shared ownership. ref/unref from any thread; the last unref returns true. */
#ifndef BASE_REFCOUNT_H
#define BASE_REFCOUNT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/assert.h"

struct refcount {
    _Atomic uint32_t count;
};

static inline void refcount_init(struct refcount *r, uint32_t count)
{
    atomic_store_explicit(&r->count, count, memory_order_relaxed);
}

/* Adds `count` references with one atomic. */
static inline void refcount_add(struct refcount *r, uint32_t count)
{
    uint32_t old = atomic_fetch_add_explicit(&r->count, count, memory_order_relaxed);
    BUG_ON(old == 0);
}

/* Drops `count` references; true when they were the last and the caller frees. Who has all that there
   are is alone with it: no other can add or drop one, and it takes no atomic. */
static inline bool refcount_drop(struct refcount *r, uint32_t count)
{
    if (atomic_load_explicit(&r->count, memory_order_acquire) == count) {
        atomic_store_explicit(&r->count, 0, memory_order_relaxed);
        return true;
    }
    uint32_t old = atomic_fetch_sub_explicit(&r->count, count, memory_order_acq_rel);
    BUG_ON(old < count);
    return old == count;
}

#endif
