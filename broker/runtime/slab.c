/*
 * slab.c: objects of one size, named by 32-bit handles.
 *
 *   objects [0] ----> | object 1 | object 2 | ... | object 256 |      chunks [0] bitmap of 256, used
 *           [1] NULL   (was empty: given back)                               [1] -
 *           [2] ----> | object 513 | ...                                     [2] bitmap of 256, used
 *   room     1 0 1    chunks that are there and have a free object
 *
 * A new object goes into the lowest chunk with room; only when there is none, a chunk is made, at
 * the lowest absent place. So the high chunks drain and are freed.
 *
 * Invariants (slab_check): `room` says what the bitmaps say; no chunk is empty; the last of the
 * chunk_count chunks is there.
 * Cost: alloc and free touch the chunk's bitmap and the object; looking for room reads one
 * 64-bit word for each 64 chunks (16 k objects), from the hint on.
 * Threads: one owner.
 */
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "runtime/pages.h"
#include "runtime/slab.h"

#define SLAB_WORDS (SLAB_CHUNK_OBJECTS / 64)

struct slab_chunk {
    uint64_t bitmap[SLAB_WORDS];
    uint32_t used;
};

void slab_init(struct slab *slab, uint32_t object_bytes)
{
    BUG_ON(object_bytes == 0 || object_bytes > PAGES_BYTES_MAX / SLAB_CHUNK_OBJECTS);
    *slab = (struct slab){.object_bytes = object_bytes};
}

static void room_set(struct slab *slab, uint32_t chunk)
{
    slab->room[chunk / 64] |= 1ull << (chunk % 64);
    if (chunk < slab->first_with_room)
        slab->first_with_room = chunk;
}

static void room_clear(struct slab *slab, uint32_t chunk)
{
    slab->room[chunk / 64] &= ~(1ull << (chunk % 64));
}

/* ---- chunks ---- */

static size_t chunk_bytes(const struct slab *slab)
{
    return (size_t)SLAB_CHUNK_OBJECTS * slab->object_bytes;
}

static void objects_free(struct slab *slab, uint32_t place)
{
    pages_or_mem_free(slab->objects[place], chunk_bytes(slab));
    slab->objects[place] = NULL;
}

void slab_fini(struct slab *slab)
{
    for (uint32_t i = 0; i < slab->chunk_count; i++)
        objects_free(slab, i);
    mem_free(slab->objects);
    mem_free(slab->chunks);
    mem_free(slab->room);
    *slab = (struct slab){.object_bytes = slab->object_bytes};
}

static bool slab_grow(struct slab *slab)
{
    if (slab->chunk_cap == SLAB_CHUNKS_MAX)
        return false;
    uint32_t cap = slab->chunk_cap ? slab->chunk_cap * 2 : 64;
    void **objects = mem_realloc(slab->objects, cap * sizeof *objects);
    if (!objects)
        return false;
    slab->objects = objects;
    struct slab_chunk *chunks = mem_realloc(slab->chunks, cap * sizeof *chunks);
    if (!chunks)
        return false;
    slab->chunks = chunks;
    uint64_t *room = mem_realloc(slab->room, cap / 64 * sizeof *room);
    if (!room)
        return false;
    slab->room = room;
    memset(&room[slab->chunk_cap / 64], 0, (cap - slab->chunk_cap) / 64 * sizeof *room);
    slab->chunk_cap = cap;
    return true;
}

/* The lowest place without a chunk. Once for each 256 objects that grow the slab, so it may walk.
 */
static uint32_t absent_place(const struct slab *slab)
{
    if (slab->absent == 0)
        return slab->chunk_count;
    uint32_t i = 0;
    while (slab->objects[i])
        i++;
    return i;
}

static bool slab_add_chunk(struct slab *slab)
{
    uint32_t place = absent_place(slab);
    if (place == slab->chunk_cap && !slab_grow(slab))
        return false;
    void *objects = pages_or_mem_alloc(chunk_bytes(slab));
    if (!objects)
        return false;
    if (place == slab->chunk_count)
        slab->chunk_count++;
    else
        slab->absent--;
    slab->objects[place] = objects;
    slab->chunks[place] = (struct slab_chunk){0};
    room_set(slab, place);
    return true;
}

static void slab_drop_chunk(struct slab *slab, uint32_t place)
{
    room_clear(slab, place);
    objects_free(slab, place);
    slab->absent++;
    while (slab->chunk_count && !slab->objects[slab->chunk_count - 1]) {
        slab->chunk_count--;
        slab->absent--;
    }
}

/* ---- objects ---- */

/* The lowest chunk with room, made if there is none; UINT32_MAX when there is no memory. */
static uint32_t slab_find_room(struct slab *slab)
{
    uint32_t words = (slab->chunk_count + 63) / 64;
    for (uint32_t w = slab->first_with_room / 64; w < words; w++) {
        if (slab->room[w])
            return slab->first_with_room = w * 64 + (uint32_t)__builtin_ctzll(slab->room[w]);
    }
    slab->first_with_room = words * 64;
    return slab_add_chunk(slab) ? slab->first_with_room : UINT32_MAX;
}

static uint32_t chunk_take(struct slab_chunk *chunk)
{
    uint32_t w = 0;
    while (chunk->bitmap[w] == UINT64_MAX)
        w++;
    uint32_t bit = (uint32_t)__builtin_ctzll(~chunk->bitmap[w]);
    chunk->bitmap[w] |= 1ull << bit;
    chunk->used++;
    return w * 64 + bit;
}

void *slab_alloc(struct slab *slab, uint32_t *handle)
{
    uint32_t place = slab_find_room(slab);
    if (place == UINT32_MAX)
        return NULL;
    struct slab_chunk *chunk = &slab->chunks[place];
    *handle = place * SLAB_CHUNK_OBJECTS + chunk_take(chunk) + 1;
    if (chunk->used == SLAB_CHUNK_OBJECTS)
        room_clear(slab, place);
    slab->used++;
    return memset(slab_at(slab, *handle), 0, slab->object_bytes);
}

void slab_free(struct slab *slab, uint32_t handle)
{
    BUG_ON(!slab_is_used(slab, handle));
    uint32_t place = (handle - 1) / SLAB_CHUNK_OBJECTS, object = (handle - 1) % SLAB_CHUNK_OBJECTS;
    struct slab_chunk *chunk = &slab->chunks[place];
    chunk->bitmap[object / 64] &= ~(1ull << (object % 64));
    chunk->used--;
    slab->used--;
    if (chunk->used == 0)
        slab_drop_chunk(slab, place);
    else
        room_set(slab, place);
}

bool slab_is_used(const struct slab *slab, uint32_t handle)
{
    uint32_t place = (handle - 1) / SLAB_CHUNK_OBJECTS, object = (handle - 1) % SLAB_CHUNK_OBJECTS;
    if (handle == 0 || place >= slab->chunk_count || !slab->objects[place])
        return false;
    return slab->chunks[place].bitmap[object / 64] >> (object % 64) & 1;
}

/* The first used object of a chunk at or after `from`, SLAB_CHUNK_OBJECTS when there is none. */
static uint32_t chunk_next(const struct slab_chunk *chunk, uint32_t from)
{
    for (uint32_t w = from / 64; w < SLAB_WORDS; w++) {
        uint64_t bits = chunk->bitmap[w];
        if (w == from / 64)
            bits &= UINT64_MAX << (from % 64);
        if (bits)
            return w * 64 + (uint32_t)__builtin_ctzll(bits);
    }
    return SLAB_CHUNK_OBJECTS;
}

uint32_t slab_next(const struct slab *slab, uint32_t handle)
{
    uint32_t from = handle % SLAB_CHUNK_OBJECTS;
    for (uint32_t i = handle / SLAB_CHUNK_OBJECTS; i < slab->chunk_count; i++, from = 0) {
        if (!slab->objects[i])
            continue;
        uint32_t object = chunk_next(&slab->chunks[i], from);
        if (object < SLAB_CHUNK_OBJECTS)
            return i * SLAB_CHUNK_OBJECTS + object + 1;
    }
    return 0;
}

size_t slab_bytes(const struct slab *slab)
{
    size_t per_chunk = sizeof *slab->objects + sizeof *slab->chunks;
    return (slab->chunk_count - slab->absent) * chunk_bytes(slab) + slab->chunk_cap * per_chunk +
           slab->chunk_cap / 64 * sizeof *slab->room;
}

static void chunk_check(const struct slab *slab, uint32_t place)
{
    const struct slab_chunk *chunk = &slab->chunks[place];
    bool is_there = slab->objects[place] != NULL;
    uint32_t bits = 0;
    for (uint32_t w = 0; is_there && w < SLAB_WORDS; w++)
        bits += (uint32_t)__builtin_popcountll(chunk->bitmap[w]);
    BUG_ON(is_there && (bits == 0 || bits != chunk->used));
    bool has_room = slab->room[place / 64] >> (place % 64) & 1;
    BUG_ON(has_room != (is_there && bits < SLAB_CHUNK_OBJECTS));
    BUG_ON(has_room && place < slab->first_with_room);
}

void slab_check(const struct slab *slab)
{
    uint32_t used = 0, absent = 0;
    for (uint32_t i = 0; i < slab->chunk_count; i++) {
        chunk_check(slab, i);
        used += slab->objects[i] ? slab->chunks[i].used : 0;
        absent += !slab->objects[i];
    }
    BUG_ON(used != slab->used || absent != slab->absent);
    BUG_ON(slab->chunk_count && !slab->objects[slab->chunk_count - 1]);
    BUG_ON(slab->chunk_count > slab->chunk_cap);
}
