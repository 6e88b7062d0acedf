/*
 * timing_heap.h: deadlines of millions: a heap of ticks, each with a bag of objects.
 *
 *   heap of ticks     [118] [120] [119] ...     an entry for each tick in use: thousands at most
 *                       |     |
 *   bag of a tick     [h h h . . .]             blocks of 14 handles, one cache line each;
 *                     [h h h h h h]             all but the first are full
 *                       |
 *   object            place: which block, which entry (4 bytes in each object)
 *
 * A tick is half a second. Arming and cancelling are O(1) for a tick in use, found through a small
 * hash; the heap is touched once per tick, not once per object. Callers re-arm lazily: at expiry
 * they look at when the last packet came and arm again, so a packet costs one store of a timestamp.
 * Objects of one tick expire in no particular order. Blocks, unlike linked lists, say which objects
 * come next, so their cache lines are asked for in time.
 *
 * Owned by one thread. Cost: at most 20 ns and 12 bytes for each object and period at 5 M objects.
 */
#ifndef RUNTIME_TIMING_HEAP_H
#define RUNTIME_TIMING_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "runtime/slab.h"

#define TIMING_TICK_MS 500u

/* Embedded in an object of a slab. All 0: not armed. An object is cancelled before it is freed. */
struct timing_node {
    uint32_t place; /* the heap's: block * 16 + entry; 0: not armed */
};

struct timing_heap;

/* `node_offset`: where the timing_node lies in the slab's objects. Ends the program when there is
   no memory. */
struct timing_heap *timing_heap_new(struct slab *slab, uint32_t node_offset);
/* Forgets all deadlines; does not touch the objects. NULL is fine. */
void timing_heap_free(struct timing_heap *heap);
/* Arms, or moves, the object's deadline to `tick` (> 0). ERR_NOMEM leaves it as it was. */
enum err timing_heap_arm(struct timing_heap *heap, uint32_t handle, uint32_t tick) MUST_USE;
/* Disarms; nothing happens when it is not armed. */
void timing_heap_cancel(struct timing_heap *heap, uint32_t handle);
/* The tick for which an object is armed, 0 when it is not. */
uint32_t timing_heap_tick(const struct timing_heap *heap, uint32_t handle);
/* Calls `expired` for objects with a tick <= now, earliest tick first, disarmed, at most `budget`
   of them; it may arm, cancel and free any object (what it arms for a tick that is already due may
   expire in the same call). Returns how many; equal to budget means that more may be due. */
uint32_t timing_heap_expire(struct timing_heap *heap, uint32_t now_tick, uint32_t budget,
                            void (*expired)(void *ctx, uint32_t handle), void *ctx);
/* The earliest tick, 0 when nothing is armed. */
uint32_t timing_heap_next(const struct timing_heap *heap);
/* Objects armed. */
uint32_t timing_heap_count(const struct timing_heap *heap);
/* Bytes that the heap itself takes, without the nodes in the objects. */
size_t timing_heap_bytes(const struct timing_heap *heap);
/* Ends the program when an invariant is broken. */
void timing_heap_check(const struct timing_heap *heap);

#endif
