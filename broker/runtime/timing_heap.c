/*
 * timing_heap.c: deadlines of millions: a heap of ticks, each with a bag of objects.
 *
 *   hash    tick -> bucket          open addressing, at most half full
 *   order   [b3, b0, b7, ...]       binary min-heap of bucket numbers by tick
 *   buckets [b0 {tick, block, fill, at}, ...]
 *   blocks  one cache line: next block, bucket, 14 handles; in a slab
 *
 * The first block of a bucket holds `fill` handles (1 to 14), the others 14. Taking a handle out of
 * the middle moves the last one of the first block into its place, so there are never holes, and
 * the cost of a handle is 64/14 bytes however often it is moved.
 *
 * Expiry takes handles from the end of the first block. By then the next block is in the cache, so
 * with each handle taken the object of the same entry in the next block is asked for: fourteen
 * loads from memory are under way at any time, where a linked list would wait for one by one.
 *
 * Invariants (timing_heap_check): every bucket has a handle; each armed object's place leads to a
 * block entry that holds its handle; order is a heap and knows where each bucket stands; the hash
 * finds each tick.
 * Cost: measured by tests/bench/bench_timing_heap.c. Threads: one owner.
 */
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "runtime/timing_heap.h"

#define BLOCK_HANDLES 14u
#define PLACE_ENTRIES 16u
#define BUCKETS_MIN 64u

struct block {
    uint32_t next;   /* 0: the last of its bucket */
    uint32_t bucket; /* whose it is */
    uint32_t handles[BLOCK_HANDLES];
};
_Static_assert(sizeof(struct block) == 64, "a block is a cache line");
_Static_assert((uint64_t)SLAB_CHUNKS_MAX *SLAB_CHUNK_OBJECTS *PLACE_ENTRIES <= UINT32_MAX / 8,
               "a place fits 32 bits");

struct bucket {
    uint32_t tick;
    uint32_t block;      /* the first; of a free bucket: the next free one + 1 */
    uint32_t fill;       /* handles in the first block */
    uint32_t at;         /* where it stands in `order` */
    struct block *first; /* the same as `block`, found without a walk through the slab */
};

struct timing_heap {
    struct slab *slab;
    uint32_t node_offset;
    uint32_t armed;
    struct bucket *buckets;
    uint32_t *order; /* [used] of bucket numbers */
    uint32_t *hash;  /* [2 * cap] of bucket numbers + 1; 0: empty */
    uint32_t used, cap, end;
    uint32_t first_free; /* bucket + 1 */
    struct slab blocks;
};

static struct timing_node *node_at(const struct timing_heap *heap, uint32_t handle)
{
    return (struct timing_node *)((uint8_t *)slab_at(heap->slab, handle) + heap->node_offset);
}

static struct block *block_at(const struct timing_heap *heap, uint32_t block)
{
    uint32_t index = block - 1; /* slab_at() with a size known here, measurably cheaper */
    struct block *chunk = heap->blocks.objects[index / SLAB_CHUNK_OBJECTS];
    return chunk + index % SLAB_CHUNK_OBJECTS;
}

/* ---- hash: tick -> bucket ---- */

static uint32_t hash_mask(const struct timing_heap *heap)
{
    return 2 * heap->cap - 1;
}

static uint32_t hash_home(const struct timing_heap *heap, uint32_t tick)
{
    return (tick * 2654435769u >> 7) & hash_mask(heap);
}

/* Where the tick's bucket stands in the hash, or the empty place where it would. */
static uint32_t hash_find(const struct timing_heap *heap, uint32_t tick)
{
    uint32_t i = hash_home(heap, tick);
    while (heap->hash[i] && heap->buckets[heap->hash[i] - 1].tick != tick)
        i = (i + 1) & hash_mask(heap);
    return i;
}

/* Empties a place and moves up what stands behind it only because it was taken. */
static void hash_remove(struct timing_heap *heap, uint32_t tick)
{
    uint32_t mask = hash_mask(heap), hole = hash_find(heap, tick);
    for (uint32_t i = (hole + 1) & mask; heap->hash[i]; i = (i + 1) & mask) {
        uint32_t home = hash_home(heap, heap->buckets[heap->hash[i] - 1].tick);
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            heap->hash[hole] = heap->hash[i];
            hole = i;
        }
    }
    heap->hash[hole] = 0;
}

/* ---- order: the heap of ticks ---- */

static uint32_t order_tick(const struct timing_heap *heap, uint32_t at)
{
    return heap->buckets[heap->order[at]].tick;
}

static void order_put(struct timing_heap *heap, uint32_t at, uint32_t bucket)
{
    heap->order[at] = bucket;
    heap->buckets[bucket].at = at;
}

static void order_up(struct timing_heap *heap, uint32_t at)
{
    uint32_t bucket = heap->order[at], tick = heap->buckets[bucket].tick;
    while (at > 0 && order_tick(heap, (at - 1) / 2) > tick) {
        order_put(heap, at, heap->order[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    order_put(heap, at, bucket);
}

static void order_down(struct timing_heap *heap, uint32_t at)
{
    uint32_t bucket = heap->order[at], tick = heap->buckets[bucket].tick;
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child + 1 < heap->used && order_tick(heap, child + 1) < order_tick(heap, child))
            child++;
        if (child >= heap->used || order_tick(heap, child) >= tick)
            break;
        order_put(heap, at, heap->order[child]);
        at = child;
    }
    order_put(heap, at, bucket);
}

/* ---- buckets ---- */

static bool buckets_reserve(struct timing_heap *heap, uint32_t cap)
{
    struct bucket *buckets = mem_realloc(heap->buckets, cap * sizeof *buckets);
    if (!buckets)
        return false;
    heap->buckets = buckets;
    uint32_t *order = mem_realloc(heap->order, cap * sizeof *order);
    if (!order)
        return false;
    heap->order = order;
    uint32_t *hash = mem_zalloc(2 * (size_t)cap * sizeof *hash);
    if (!hash)
        return false;
    mem_free(heap->hash);
    heap->hash = hash;
    heap->cap = cap;
    for (uint32_t at = 0; at < heap->used; at++)
        heap->hash[hash_find(heap, order_tick(heap, at))] = heap->order[at] + 1;
    return true;
}

/* The bucket's first block gets a fresh one before it; false when there is no memory. */
static bool bucket_add_block(struct timing_heap *heap, uint32_t bucket)
{
    uint32_t handle;
    struct block *block = slab_alloc(&heap->blocks, &handle);
    if (!block)
        return false;
    block->next = heap->buckets[bucket].block;
    block->bucket = bucket;
    heap->buckets[bucket].block = handle;
    heap->buckets[bucket].first = block;
    heap->buckets[bucket].fill = 0;
    return true;
}

static void bucket_release(struct timing_heap *heap, uint32_t bucket)
{
    heap->buckets[bucket].tick = 0;
    heap->buckets[bucket].block = heap->first_free;
    heap->first_free = bucket + 1;
}

/* A bucket with an empty block for a tick that has none; UINT32_MAX when there is no memory. */
static uint32_t bucket_open(struct timing_heap *heap, uint32_t tick)
{
    if (heap->used == heap->cap && !buckets_reserve(heap, heap->cap * 2))
        return UINT32_MAX;
    uint32_t bucket = heap->first_free ? heap->first_free - 1 : heap->end++;
    if (heap->first_free)
        heap->first_free = heap->buckets[bucket].block;
    heap->buckets[bucket] = (struct bucket){.tick = tick};
    if (!bucket_add_block(heap, bucket)) {
        bucket_release(heap, bucket);
        return UINT32_MAX;
    }
    heap->hash[hash_find(heap, tick)] = bucket + 1;
    heap->order[heap->used] = bucket;
    order_up(heap, heap->used++);
    return bucket;
}

static void bucket_close(struct timing_heap *heap, uint32_t bucket)
{
    uint32_t at = heap->buckets[bucket].at;
    hash_remove(heap, heap->buckets[bucket].tick);
    bucket_release(heap, bucket);
    heap->used--;
    if (at == heap->used)
        return;
    uint32_t moved = heap->order[heap->used];
    order_put(heap, at, moved);
    order_up(heap, at);
    order_down(heap, heap->buckets[moved].at);
}

/* The bucket of a tick with room in its first block. */
static uint32_t bucket_with_room(struct timing_heap *heap, uint32_t tick)
{
    uint32_t found = heap->hash[hash_find(heap, tick)];
    if (!found)
        return bucket_open(heap, tick);
    if (heap->buckets[found - 1].fill == BLOCK_HANDLES && !bucket_add_block(heap, found - 1))
        return UINT32_MAX;
    return found - 1;
}

static uint32_t bucket_push(struct timing_heap *heap, uint32_t bucket, uint32_t handle)
{
    struct bucket *b = &heap->buckets[bucket];
    uint32_t entry = b->fill++;
    b->first->handles[entry] = handle;
    return b->block * PLACE_ENTRIES + entry;
}

/* Takes the last handle of the first block; closes the bucket with its last handle. */
static uint32_t bucket_pop(struct timing_heap *heap, uint32_t bucket)
{
    struct bucket *b = &heap->buckets[bucket];
    uint32_t handle = b->first->handles[--b->fill];
    if (b->fill)
        return handle;
    uint32_t next = b->first->next;
    slab_free(&heap->blocks, b->block);
    b->block = next;
    b->first = next ? block_at(heap, next) : NULL;
    b->fill = BLOCK_HANDLES;
    if (!next)
        bucket_close(heap, bucket);
    return handle;
}

/* Takes out the entry at `place`: the bucket's last handle moves there. */
static void bucket_remove(struct timing_heap *heap, uint32_t place)
{
    struct block *block = block_at(heap, place / PLACE_ENTRIES);
    uint32_t taken = block->handles[place % PLACE_ENTRIES];
    struct bucket *b = &heap->buckets[block->bucket];
    uint32_t last = b->first->handles[b->fill - 1];
    if (last != taken) {
        block->handles[place % PLACE_ENTRIES] = last;
        node_at(heap, last)->place = place;
    }
    (void)bucket_pop(heap, block->bucket);
}

/* ---- the contract ---- */

struct timing_heap *timing_heap_new(struct slab *slab, uint32_t node_offset)
{
    struct timing_heap *heap = mem_must_zalloc(sizeof *heap);
    heap->slab = slab;
    heap->node_offset = node_offset;
    slab_init(&heap->blocks, sizeof(struct block));
    BUG_ON(!buckets_reserve(heap, BUCKETS_MIN));
    return heap;
}

void timing_heap_free(struct timing_heap *heap)
{
    if (!heap)
        return;
    slab_fini(&heap->blocks);
    mem_free(heap->buckets);
    mem_free(heap->order);
    mem_free(heap->hash);
    mem_free(heap);
}

uint32_t timing_heap_tick(const struct timing_heap *heap, uint32_t handle)
{
    uint32_t place = node_at(heap, handle)->place;
    return place ? heap->buckets[block_at(heap, place / PLACE_ENTRIES)->bucket].tick : 0;
}

enum err timing_heap_arm(struct timing_heap *heap, uint32_t handle, uint32_t tick)
{
    BUG_ON(tick == 0);
    struct timing_node *node = node_at(heap, handle);
    if (node->place && timing_heap_tick(heap, handle) == tick)
        return ERR_OK;
    uint32_t bucket = bucket_with_room(heap, tick);
    if (bucket == UINT32_MAX)
        return ERR_NOMEM;
    uint32_t place = bucket_push(heap, bucket, handle);
    if (node->place)
        bucket_remove(heap, node->place);
    else
        heap->armed++;
    node->place = place;
    return ERR_OK;
}

void timing_heap_cancel(struct timing_heap *heap, uint32_t handle)
{
    struct timing_node *node = node_at(heap, handle);
    if (!node->place)
        return;
    bucket_remove(heap, node->place);
    node->place = 0;
    heap->armed--;
}

/* The block after a bucket's first one, or NULL. */
static struct block *block_ahead(const struct timing_heap *heap, const struct bucket *b)
{
    uint32_t next = b->first->next;
    return next ? block_at(heap, next) : NULL;
}

/* Takes one object of the earliest tick, and asks for what the next block will need: with each
   entry the object of the same entry there, with the first also the block behind it. The prefetches
   stand in a function that stores: gcc drops calls of functions that do nothing else. */
static uint32_t expire_one(struct timing_heap *heap)
{
    uint32_t bucket = heap->order[0], fill = heap->buckets[bucket].fill;
    struct block *ahead = block_ahead(heap, &heap->buckets[bucket]);
    if (ahead) {
        __builtin_prefetch(node_at(heap, ahead->handles[fill - 1]), 1);
        if (fill == BLOCK_HANDLES && ahead->next)
            __builtin_prefetch(block_at(heap, ahead->next));
    }
    uint32_t handle = bucket_pop(heap, bucket);
    node_at(heap, handle)->place = 0;
    heap->armed--;
    return handle;
}

uint32_t timing_heap_expire(struct timing_heap *heap, uint32_t now_tick, uint32_t budget,
                            void (*expired)(void *ctx, uint32_t handle), void *ctx)
{
    uint32_t done = 0;
    while (done < budget && heap->used && order_tick(heap, 0) <= now_tick) {
        expired(ctx, expire_one(heap));
        done++;
    }
    return done;
}

uint32_t timing_heap_next(const struct timing_heap *heap)
{
    return heap->used ? order_tick(heap, 0) : 0;
}

uint32_t timing_heap_count(const struct timing_heap *heap)
{
    return heap->armed;
}

size_t timing_heap_bytes(const struct timing_heap *heap)
{
    size_t per_bucket = sizeof *heap->buckets + sizeof *heap->order + 2 * sizeof *heap->hash;
    return sizeof *heap + heap->cap * per_bucket + slab_bytes(&heap->blocks);
}

/* Walks a bucket's blocks; returns its handles. */
static uint32_t bucket_check(const struct timing_heap *heap, uint32_t bucket)
{
    const struct bucket *b = &heap->buckets[bucket];
    uint32_t count = 0, fill = b->fill;
    BUG_ON(b->tick == 0 || fill == 0 || fill > BLOCK_HANDLES || b->block == 0);
    BUG_ON(b->first != block_at(heap, b->block));
    BUG_ON(heap->hash[hash_find(heap, b->tick)] != bucket + 1);
    for (uint32_t at = b->block; at; at = block_at(heap, at)->next, fill = BLOCK_HANDLES) {
        BUG_ON(!slab_is_used(&heap->blocks, at) || block_at(heap, at)->bucket != bucket);
        for (uint32_t entry = 0; entry < fill; entry++, count++) {
            uint32_t handle = block_at(heap, at)->handles[entry];
            BUG_ON(!slab_is_used(heap->slab, handle));
            BUG_ON(node_at(heap, handle)->place != at * PLACE_ENTRIES + entry);
        }
    }
    return count;
}

void timing_heap_check(const struct timing_heap *heap)
{
    uint32_t armed = 0;
    for (uint32_t at = 0; at < heap->used; at++) {
        BUG_ON(heap->buckets[heap->order[at]].at != at);
        BUG_ON(at > 0 && order_tick(heap, (at - 1) / 2) >= order_tick(heap, at));
        armed += bucket_check(heap, heap->order[at]);
    }
    BUG_ON(armed != heap->armed);
    uint32_t hashed = 0;
    for (uint32_t i = 0; i < 2 * heap->cap; i++)
        hashed += heap->hash[i] != 0;
    BUG_ON(hashed != heap->used);
    slab_check(&heap->blocks);
}
