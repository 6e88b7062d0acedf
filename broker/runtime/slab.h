/*
 * slab.h: objects of one size, named by 32-bit handles. Owned by one thread.
 *
 * Handles halve the links of lists, and 0 means none. Chunks that become empty are given back to the
 * system, and allocation prefers the lowest chunk with room, so a burst of connects leaves no lasting
 * memory behind. Objects whose size is a multiple of 64 each start on a cache line of their own.
 */
#ifndef RUNTIME_SLAB_H
#define RUNTIME_SLAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define SLAB_CHUNK_OBJECTS 256u
#define SLAB_CHUNKS_MAX 65536u

struct slab_chunk;

struct slab {
    uint32_t object_bytes;
    void **objects;            /* of each chunk; grown by doubling; NULL where one was given back */
    struct slab_chunk *chunks; /* what is used of each */
    uint64_t *room;            /* a bit for each chunk that is there and has a free object */
    uint32_t chunk_count, chunk_cap;
    uint32_t first_with_room; /* hint: no chunk below has a bit in `room` */
    uint32_t absent;          /* NULLs among the first chunk_count chunks */
    uint32_t used;            /* objects */
};

/* `object_bytes`: a multiple of the objects' alignment, at most 1,024. No memory is taken before the
   first object. */
void slab_init(struct slab *slab, uint32_t object_bytes);
/* Frees all chunks, also with objects in use. */
void slab_fini(struct slab *slab);
/* A zeroed object and its handle (never 0), or NULL when there is no memory. */
void *slab_alloc(struct slab *slab, uint32_t *handle) MUST_USE;
void slab_free(struct slab *slab, uint32_t handle);

/* The object of a handle that is in use. Two loads, no check. */
static inline void *slab_at(const struct slab *slab, uint32_t handle)
{
    uint32_t index = handle - 1;
    return (uint8_t *)slab->objects[index / SLAB_CHUNK_OBJECTS] +
           (size_t)(index % SLAB_CHUNK_OBJECTS) * slab->object_bytes;
}
/* True when the handle is in use (for tests and walks). */
bool slab_is_used(const struct slab *slab, uint32_t handle);
/* The next used handle after `handle` (0 to start), 0 at the end: for slices that walk everything.
 */
uint32_t slab_next(const struct slab *slab, uint32_t handle);
/* What it takes, with its own tables. */
size_t slab_bytes(const struct slab *slab);
/* Ends the program when an invariant is broken. */
void slab_check(const struct slab *slab);

#endif
