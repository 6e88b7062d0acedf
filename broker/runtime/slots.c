/*
 * slots.c: giving out session ids.
 *
 *   chunks[0] -> 4096 slots   chunks[1] -> 4096 slots   chunks[2] = NULL ...
 *   ids 1 ... end-1 were given out at some time; those that came back are a stack, linked through next_free
 *
 * Chunks are made when the first id in them is given out and stay until the end, so a pointer to a
 * slot is good for ever. The generation changes when an id is given out and when it comes back:
 * who remembers an id with its generation can tell at any time that it is no longer theirs.
 *
 * Threads: see slots.h. Cost: 16 bytes a slot.
 */
#include <string.h>

#include "base/assert.h"
#include "runtime/pages.h"
#include "runtime/slots.h"

void slots_init(struct slots *slots)
{
    memset(slots, 0, sizeof(*slots));
    pthread_mutex_init(&slots->mutex, NULL);
    atomic_init(&slots->end, 1); /* 0 is nobody */
}

void slots_fini(struct slots *slots)
{
    for (uint32_t i = 0; i < SLOTS_CHUNKS_MAX; i++)
        pages_or_mem_free(atomic_load_explicit(&slots->chunks[i], memory_order_relaxed),
                          SLOTS_PER_CHUNK * sizeof(struct slot));
    pthread_mutex_destroy(&slots->mutex);
}

/* An id nobody had before, or 0. */
static uint32_t slots_extend(struct slots *slots)
{
    uint32_t id = atomic_load_explicit(&slots->end, memory_order_relaxed);
    uint32_t chunk = id / SLOTS_PER_CHUNK;
    if (chunk >= SLOTS_CHUNKS_MAX)
        return 0;
    if (!atomic_load_explicit(&slots->chunks[chunk], memory_order_relaxed)) {
        struct slot *fresh = pages_or_mem_zalloc(SLOTS_PER_CHUNK * sizeof(*fresh));
        if (!fresh)
            return 0;
        atomic_store_explicit(&slots->chunks[chunk], fresh, memory_order_release);
    }
    atomic_store_explicit(&slots->end, id + 1, memory_order_release);
    return id;
}

static uint32_t slots_pop(struct slots *slots)
{
    uint32_t id = slots->first_free;
    slots->first_free = slot_of(slots, id)->next_free;
    return id;
}

uint32_t slots_alloc(struct slots *slots, void *object, uint16_t owner)
{
    pthread_mutex_lock(&slots->mutex);
    uint32_t id = slots->first_free ? slots_pop(slots) : slots_extend(slots);
    if (id) {
        struct slot *slot = slot_of(slots, id);
        slot->object = object;
        atomic_store_explicit(&slot->owner, owner, memory_order_relaxed);
        atomic_store_explicit(&slot->ready, SLOT_OFFLINE, memory_order_relaxed);
        atomic_fetch_add_explicit(&slot->generation, 1, memory_order_release);
    }
    pthread_mutex_unlock(&slots->mutex);
    return id;
}

void slots_free(struct slots *slots, uint32_t id)
{
    pthread_mutex_lock(&slots->mutex);
    BUG_ON(id == 0 || id >= atomic_load_explicit(&slots->end, memory_order_relaxed));
    struct slot *slot = slot_of(slots, id);
    BUG_ON(!(atomic_load_explicit(&slot->generation, memory_order_relaxed) & 1));
    atomic_store_explicit(&slot->ready, SLOT_OFFLINE, memory_order_relaxed);
    atomic_fetch_add_explicit(&slot->generation, 1, memory_order_release);
    slot->object = NULL;
    slot->next_free = slots->first_free;
    slots->first_free = id;
    pthread_mutex_unlock(&slots->mutex);
}
