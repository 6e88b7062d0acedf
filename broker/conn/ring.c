/*
 * ring.c: see ring.h.
 */
#include "conn/ring.h"

#include "base/assert.h"
#include "base/mem.h"

#define RING_CAP_FIRST 64u

/* Doubles it; the oldest is moved to its start. */
static bool ring_grow(struct connection_ring *ring)
{
    uint32_t cap = ring->cap ? ring->cap * 2 : RING_CAP_FIRST;
    struct connection_ref *items = mem_alloc(cap * sizeof(*items));
    if (!items)
        return false;
    for (uint32_t i = 0; i < ring->count; i++)
        items[i] = ring->items[(ring->first + i) & (ring->cap - 1)];
    mem_free(ring->items);
    *ring = (struct connection_ring){.items = items, .count = ring->count, .cap = cap};
    return true;
}

bool ring_push(struct connection_ring *ring, struct connection_ref ref)
{
    if (ring->count == ring->cap && !ring_grow(ring))
        return false;
    ring->items[(ring->first + ring->count++) & (ring->cap - 1)] = ref;
    return true;
}

struct connection_ref ring_pop(struct connection_ring *ring)
{
    BUG_ON(ring->count == 0);
    struct connection_ref ref = ring->items[ring->first];
    ring->first = (ring->first + 1) & (ring->cap - 1);
    ring->count--;
    return ref;
}

void ring_fini(struct connection_ring *ring)
{
    mem_free(ring->items);
    *ring = (struct connection_ring){0};
}
