/*
 * slots.h: ids for sessions: id -> owner reactor, generation, object, readiness.
 *
 * Others hold an id and a generation, never a pointer. 16 bytes a slot, in chunks that are never
 * moved, so a reader needs no lock. Slot 0 is never given out and means "nobody".
 *
 * Threads: alloc and free from any thread (a mutex, held for a few ns; for one new id in 4,096 while
 * 64 KiB are zeroed). `owner` and `ready` are read by anyone and written by the current owner only; `object` is dereferenced by the owner only.
 */
#ifndef RUNTIME_SLOTS_H
#define RUNTIME_SLOTS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "base/err.h"

#define SLOTS_PER_CHUNK 4096u
#define SLOTS_CHUNKS_MAX 16384u /* 64 M sessions */

enum slot_ready {
    SLOT_OFFLINE = 0, /* queues only */
    SLOT_BUSY,        /* connected, its window or output is full */
    SLOT_READY,       /* connected and can take a message now */
    SLOT_ENDED,       /* takes nothing any more, though subscriptions still stand in the index */
};

struct slot {
    union {
        void *object;
        uint32_t next_free; /* while nobody has it: the next such id, 0: none */
    };
    _Atomic uint32_t
        generation;         /* changes each time the slot is given out or back; odd: somebody's */
    _Atomic uint16_t owner; /* index of a reactor */
    _Atomic uint8_t ready;  /* enum slot_ready */
    _Atomic uint8_t
        is_moving; /* the new owner does not have it yet: deliveries are stashed there */
};

struct slots {
    struct slot *_Atomic chunks[SLOTS_CHUNKS_MAX];
    pthread_mutex_t mutex;
    uint32_t first_free;
    _Atomic uint32_t end; /* ids ever given out are below this */
};

void slots_init(struct slots *slots);
void slots_fini(struct slots *slots);
/* A fresh id for `object`, owned by reactor `owner`; 0 when there is no memory. */
uint32_t slots_alloc(struct slots *slots, void *object, uint16_t owner) MUST_USE;
/* Gives the id back. Only after nothing refers to it: subscriptions removed and a grace period
 * over. */
void slots_free(struct slots *slots, uint32_t id);

/* The slot of an id that was given out. No lock, no check of the generation. */
static inline struct slot *slot_of(struct slots *slots, uint32_t id)
{
    return &atomic_load_explicit(&slots->chunks[id / SLOTS_PER_CHUNK],
                                 memory_order_acquire)[id % SLOTS_PER_CHUNK];
}

/* Whose the id is, NULL: nobody's; for walks when no other thread is at it. */
static inline void *slot_object(const struct slot *slot)
{
    return atomic_load_explicit(&slot->generation, memory_order_relaxed) & 1 ? slot->object : NULL;
}

#endif
