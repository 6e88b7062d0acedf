/*
 * ring.h: connections that wait for something, first come, first served, by reference: one may be gone
 * when its turn comes. Grown by doubling. Belongs to its worker.
 */
#ifndef CONN_RING_H
#define CONN_RING_H

#include <stdbool.h>
#include <stdint.h>

/* A connection as it may be remembered: it may be gone. */
struct connection_ref {
    uint32_t handle, generation;
};

struct connection_ring {
    struct connection_ref *items;
    uint32_t first, count, cap; /* cap: a power of two, or 0 */
};

/* False without memory. */
bool ring_push(struct connection_ring *ring, struct connection_ref ref);
/* The oldest; there must be one. */
struct connection_ref ring_pop(struct connection_ring *ring);
void ring_fini(struct connection_ring *ring);

#endif
