/*
 * blocks.c: small objects of any size.
 *
 *   shard (one for each thread that allocates, as long as there are)
 *     rooms[size / 8] <--> chunk <--> chunk ...          chunks of that size that have room
 *
 *   chunk, 32 KiB: | head | block | freed, next > | block | ... | not used yet |
 *                                    ^ free                      ^ fresh
 *
 * A chunk belongs to the shard that made it, and a block to its chunk, which the address says: whoever frees it locks
 * that shard. Of a chunk without blocks the pages are free. New blocks go to the chunk that has had room for longest, so
 * that those which a burst has filled can drain. Chunks are what is counted (base/mem.h): one may be nearly empty, and serves
 * no other size.
 *
 * Invariants (blocks_check): a chunk is in its room exactly while it has one; none is empty; `used` and the free list
 * together are what lies below `fresh`.
 * Cost: a mutex, and the chunk's first line. Sessions are mostly freed where they were made; of the index's nodes one thread
 * frees what all have removed, and locks each one's shard for it.
 * Threads: any. Below a shard's mutex only that of pages.c is taken.
 */
#include "runtime/blocks.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/assert.h"
#include "base/list.h"
#include "base/mem.h"
#include "runtime/pages.h"

/* Sanitizers get malloc instead, which shows them leaks and late uses. Tests of what follows say PAGES_ARE_REAL. */
#if (defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)) && !defined(PAGES_ARE_REAL)

void *blocks_alloc(size_t bytes)
{
    return mem_zalloc(bytes);
}

void blocks_free(void *block, size_t bytes)
{
    (void)bytes;
    mem_free(block);
}

void blocks_check(void)
{
}

#else

#define CHUNK_BYTES 32768u
#define STEP_BYTES 8u
#define SHARDS 64u

struct chunk {
    struct list link; /* in its room, or alone when it is full */
    struct shard *shard;
    void *free; /* blocks that came back, linked through their first bytes */
    uint16_t block_bytes;
    uint16_t fresh; /* no block from here on was ever used */
    uint16_t used;
};
#define CHUNK_HEAD_BYTES 64u
_Static_assert(sizeof(struct chunk) <= CHUNK_HEAD_BYTES, "the head of a chunk fits");

struct shard {
    _Alignas(64) pthread_mutex_t mutex;
    bool is_made;
    struct list rooms[BLOCKS_BYTES_MAX / STEP_BYTES + 1];
};

static struct shard shards[SHARDS];
static _Atomic uint32_t shards_given;

static struct shard *shard_make(void)
{
    uint32_t number = atomic_fetch_add_explicit(&shards_given, 1, memory_order_relaxed) % SHARDS;
    return &shards[number];
}

/* The calling thread's, locked. */
static struct shard *shard_lock(void)
{
    static _Thread_local struct shard *mine;
    if (!mine)
        mine = shard_make();
    pthread_mutex_lock(&mine->mutex);
    for (uint32_t i = 0; !mine->is_made && i < ARRAY_COUNT(mine->rooms); i++)
        list_init(&mine->rooms[i]);
    mine->is_made = true;
    return mine;
}

static uint16_t block_bytes(size_t bytes)
{
    return (uint16_t)((bytes + STEP_BYTES - 1) / STEP_BYTES * STEP_BYTES);
}

static struct list *room_of(const struct chunk *chunk)
{
    return &chunk->shard->rooms[chunk->block_bytes / STEP_BYTES];
}

static struct chunk *chunk_of(void *block)
{
    return (struct chunk *)((uintptr_t)block & ~(uintptr_t)(CHUNK_BYTES - 1));
}

static bool chunk_has_room(const struct chunk *chunk)
{
    return chunk->free || chunk->fresh + chunk->block_bytes <= CHUNK_BYTES;
}

static struct chunk *chunk_new(struct shard *shard, uint16_t bytes)
{
    struct chunk *chunk = pages_or_mem_alloc(CHUNK_BYTES);
    if (!chunk)
        return NULL;
    *chunk = (struct chunk){.shard = shard, .block_bytes = bytes, .fresh = CHUNK_HEAD_BYTES};
    list_push_back(room_of(chunk), &chunk->link);
    return chunk;
}

static void *chunk_take(struct chunk *chunk)
{
    void *block = chunk->free;
    if (block) {
        chunk->free = *(void **)block;
    } else {
        block = (char *)chunk + chunk->fresh;
        chunk->fresh = (uint16_t)(chunk->fresh + chunk->block_bytes);
    }
    chunk->used++;
    if (!chunk_has_room(chunk))
        list_unlink(&chunk->link);
    return block;
}

/* True when it was the last, and the chunk has left its room. */
static bool chunk_put(struct chunk *chunk, void *block)
{
    if (!chunk_has_room(chunk))
        list_push_back(room_of(chunk), &chunk->link);
    *(void **)block = chunk->free;
    chunk->free = block;
    chunk->used--;
    if (chunk->used == 0)
        list_unlink(&chunk->link);
    return chunk->used == 0;
}

void *blocks_alloc(size_t bytes)
{
    if (bytes > BLOCKS_BYTES_MAX)
        return mem_zalloc(bytes);
    uint16_t size = block_bytes(bytes);
    struct shard *shard = shard_lock();
    struct list *room = &shard->rooms[size / STEP_BYTES];
    struct chunk *chunk =
        list_is_empty(room) ? chunk_new(shard, size) : CONTAINER_OF(room->next, struct chunk, link);
    void *block = chunk ? chunk_take(chunk) : NULL;
    pthread_mutex_unlock(&shard->mutex);
    return block ? memset(block, 0, size) : NULL;
}

void blocks_free(void *block, size_t bytes)
{
    if (!block || bytes > BLOCKS_BYTES_MAX) {
        mem_free(block);
        return;
    }
    struct chunk *chunk = chunk_of(block);
    struct shard *shard = chunk->shard;
    uint16_t size = block_bytes(bytes);
    pthread_mutex_lock(&shard->mutex);
    BUG_ON(chunk->block_bytes != size || chunk->used == 0);
    bool is_empty = chunk_put(chunk, block);
    pthread_mutex_unlock(&shard->mutex);
    if (is_empty)
        pages_or_mem_free(chunk, CHUNK_BYTES);
}

static void chunk_check(const struct chunk *chunk)
{
    uint32_t count = chunk->used;
    for (void *block = chunk->free; block; block = *(void **)block) {
        BUG_ON(chunk_of(block) != chunk);
        count++;
    }
    BUG_ON(!chunk_has_room(chunk) || chunk->used == 0);
    BUG_ON(CHUNK_HEAD_BYTES + count * chunk->block_bytes != chunk->fresh);
}

void blocks_check(void)
{
    for (uint32_t i = 0; i < SHARDS; i++) {
        for (uint32_t room = 0; shards[i].is_made && room < ARRAY_COUNT(shards[i].rooms); room++) {
            struct list *head = &shards[i].rooms[room];
            for (struct list *at = head->next; at != head; at = at->next) {
                struct chunk *chunk = CONTAINER_OF(at, struct chunk, link);
                BUG_ON(chunk->shard != &shards[i] || chunk->block_bytes != room * STEP_BYTES);
                chunk_check(chunk);
            }
        }
    }
}

#endif
