/*
 * base.c: the few parts of include/base that need one definition: the turned clock and counted
 * memory.
 *
 * Threads: any. Cost: malloc plus a thread-local addition.
 */
#include <malloc.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"

static _Atomic int64_t clock_unturned;
_Atomic int64_t *clock_turned_ms = &clock_unturned;

#define MEM_SETTLE_BYTES (64 * 1024)

static _Atomic int64_t mem_settled_bytes, mem_settled_bytes_max;
static _Thread_local int64_t mem_unsettled_bytes;

void mem_count(int64_t bytes)
{
    mem_unsettled_bytes += bytes;
    if (LIKELY(mem_unsettled_bytes < MEM_SETTLE_BYTES && mem_unsettled_bytes > -MEM_SETTLE_BYTES))
        return;
    int64_t used =
        atomic_fetch_add_explicit(&mem_settled_bytes, mem_unsettled_bytes, memory_order_relaxed) +
        mem_unsettled_bytes;
    mem_unsettled_bytes = 0;
    if (used > atomic_load_explicit(&mem_settled_bytes_max, memory_order_relaxed))
        atomic_store_explicit(&mem_settled_bytes_max, used, memory_order_relaxed);
}

static void *mem_counted(void *ptr)
{
    if (ptr)
        mem_count((int64_t)malloc_usable_size(ptr));
    return ptr;
}

void *mem_alloc(size_t bytes)
{
    return mem_counted(malloc(bytes));
}

void *mem_zalloc(size_t bytes)
{
    return mem_counted(calloc(1, bytes));
}

void *mem_realloc(void *ptr, size_t bytes)
{
    int64_t before = ptr ? (int64_t)malloc_usable_size(ptr) : 0;
    void *grown = realloc(ptr, bytes);
    if (grown)
        mem_count((int64_t)malloc_usable_size(grown) - before);
    return grown;
}

void mem_free(void *ptr)
{
    if (!ptr)
        return;
    mem_count(-(int64_t)malloc_usable_size(ptr));
    free(ptr);
}

void *mem_must_zalloc(size_t bytes)
{
    void *ptr = mem_zalloc(bytes);
    BUG_ON(!ptr);
    return ptr;
}

size_t mem_used_bytes(void)
{
    int64_t used = atomic_load_explicit(&mem_settled_bytes, memory_order_relaxed);
    return used > 0 ? (size_t)used : 0;
}

size_t mem_used_bytes_max(void)
{
    return (size_t)atomic_load_explicit(&mem_settled_bytes_max, memory_order_relaxed);
}
