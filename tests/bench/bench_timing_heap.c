/*
 * bench_timing_heap.c: what keepalive costs: ns for each object and period, bytes for each object.
 *
 * N objects (5 M unless told) with a keepalive of 60 s, each with the time of its last packet. At
 * expiry an object arms itself again for last packet + 90 s, as connections do. The rows differ in
 * where the objects of a tick lie:
 *   in order     as they were made, one after the other in memory: a fleet that connected at once
 *                and whose packets come like clockwork
 *   scattered    anywhere, in no order: packets come at any time (drawn at expiry, 1 to 2 ns of the
 *                figure)
 * and in the size of an object: 8 bytes is a node with little around it, 256 is a connection.
 * Beside it a binary heap of objects, as most timer queues are: an array of (deadline, handle) with
 * the position in the object. It has no lists to keep and sifts only the root at a refresh.
 *
 * Bytes: the node in the object plus what the heap holds. Usage: bench_timing_heap [objects]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"
#include "runtime/timing_heap.h"

#define KEEPALIVE_TICKS 120u /* between two packets of an object */
#define DEADLINE_TICKS 180u  /* after the last one */
#define WARM_PERIODS 3u      /* until the order of a tick's objects is as random as it gets */
#define PERIODS 3u
#define EXPIRE_BUDGET 1000u

/* The first bytes of every object. */
struct object {
    struct timing_node timer; /* or the position in the binary heap */
    uint32_t last_tick;       /* of the last packet */
};

/* A queue of deadlines under test. */
struct queue {
    const char *name;
    void (*open)(void);
    void (*arm)(uint32_t handle, uint32_t tick);
    uint32_t (*expire)(uint32_t now_tick);
    size_t (*bytes)(void); /* without what stands in the objects */
    void (*close)(void);
};

static struct slab slab;
static bool is_scattered;
static uint64_t seed = 88172645463325252u;

static uint32_t random_tick(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)((seed >> 32) * KEEPALIVE_TICKS >> 32);
}

/* A packet came meanwhile: the new deadline. */
static uint32_t object_heard(struct object *object)
{
    object->last_tick += is_scattered ? KEEPALIVE_TICKS / 2 + random_tick() : KEEPALIVE_TICKS;
    return object->last_tick + DEADLINE_TICKS;
}

static struct object *object_at(uint32_t handle)
{
    return slab_at(&slab, handle);
}

/* ---- the timing heap ---- */

static struct timing_heap *heap;

static void timing_open(void)
{
    heap = timing_heap_new(&slab, offsetof(struct object, timer));
}

static void timing_arm(uint32_t handle, uint32_t tick)
{
    BUG_ON(timing_heap_arm(heap, handle, tick));
}

static void timing_refresh(void *ctx, uint32_t handle)
{
    (void)ctx;
    timing_arm(handle, object_heard(object_at(handle)));
}

static uint32_t timing_expire(uint32_t now_tick)
{
    return timing_heap_expire(heap, now_tick, EXPIRE_BUDGET, timing_refresh, NULL);
}

static size_t timing_bytes(void)
{
    return timing_heap_bytes(heap);
}

static void timing_close(void)
{
    timing_heap_free(heap);
}

/* ---- a binary heap of objects ---- */

struct entry {
    uint32_t tick, handle;
};

static struct entry *entries;
static uint32_t entry_count;

static void entry_put(uint32_t at, struct entry entry)
{
    entries[at] = entry;
    object_at(entry.handle)->timer.place = at;
}

static void binary_open(void)
{
    entries = mem_must_zalloc((slab.used + 1) * sizeof *entries);
    entry_count = 0;
}

static void binary_arm(uint32_t handle, uint32_t tick)
{
    uint32_t at = entry_count++;
    for (; at > 0 && entries[(at - 1) / 2].tick > tick; at = (at - 1) / 2)
        entry_put(at, entries[(at - 1) / 2]);
    entry_put(at, (struct entry){tick, handle});
}

/* The root has got a later deadline: down to where it belongs. */
static void binary_sift_root(struct entry entry)
{
    uint32_t at = 0;
    for (uint32_t child = 1; child < entry_count; child = 2 * at + 1) {
        if (child + 1 < entry_count && entries[child + 1].tick < entries[child].tick)
            child++;
        if (entries[child].tick >= entry.tick)
            break;
        entry_put(at, entries[child]);
        at = child;
    }
    entry_put(at, entry);
}

static uint32_t binary_expire(uint32_t now_tick)
{
    uint32_t done = 0;
    for (; done < EXPIRE_BUDGET && entry_count && entries[0].tick <= now_tick; done++) {
        uint32_t handle = entries[0].handle;
        binary_sift_root((struct entry){object_heard(object_at(handle)), handle});
    }
    return done;
}

static size_t binary_bytes(void)
{
    return entry_count * sizeof *entries;
}

static void binary_close(void)
{
    mem_free(entries);
}

static const struct queue queues[] = {
    {"timing heap", timing_open, timing_arm, timing_expire, timing_bytes, timing_close},
    {"binary heap", binary_open, binary_arm, binary_expire, binary_bytes, binary_close},
};

/* ---- measuring ---- */

static void make_objects(uint32_t count, uint32_t object_bytes)
{
    slab_init(&slab, object_bytes);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t handle;
        struct object *object = slab_alloc(&slab, &handle);
        BUG_ON(!object);
        uint32_t tick = (uint32_t)((uint64_t)i * KEEPALIVE_TICKS / count);
        object->last_tick = 1000 + (is_scattered ? random_tick() : tick);
    }
}

/* A period of time, in which every object is refreshed about once; returns the ns for each. */
static double run_period(const struct queue *queue, uint32_t *now_tick)
{
    uint64_t refreshed = 0, start_ns = clock_real_ns();
    for (uint32_t i = 0; i < KEEPALIVE_TICKS; i++) {
        uint32_t expired;
        do {
            expired = queue->expire(*now_tick);
            refreshed += expired;
        } while (expired == EXPIRE_BUDGET);
        ++*now_tick;
    }
    return (double)(clock_real_ns() - start_ns) / (double)refreshed;
}

static void measure(const struct queue *queue, uint32_t count, uint32_t object_bytes)
{
    uint32_t now_tick = 1000 + DEADLINE_TICKS, handle = 0;
    double best_ns = 1e9, worst_ns = 0;
    make_objects(count, object_bytes);
    queue->open();
    while ((handle = slab_next(&slab, handle)))
        queue->arm(handle, object_at(handle)->last_tick + DEADLINE_TICKS);
    for (uint32_t i = 0; i < WARM_PERIODS; i++)
        (void)run_period(queue, &now_tick);
    for (uint32_t i = 0; i < PERIODS; i++) {
        double ns = run_period(queue, &now_tick);
        best_ns = ns < best_ns ? ns : best_ns;
        worst_ns = ns > worst_ns ? ns : worst_ns;
    }
    double bytes = sizeof(struct timing_node) + (double)queue->bytes() / count;
    printf("%-12s %9u objects of %3u bytes, %-9s  %6.1f to %6.1f ns/refresh  %5.2f bytes/object\n",
           queue->name, count, object_bytes, is_scattered ? "scattered" : "in order", best_ns,
           worst_ns, bytes);
    fflush(stdout);
    queue->close();
    slab_fini(&slab);
}

int main(int argc, char **argv)
{
    static const uint32_t sizes[] = {sizeof(struct object), 64, 256};
    uint32_t count = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 5000000;
    for (size_t q = 0; q < ARRAY_COUNT(queues) && count; q++) {
        for (size_t s = 0; s < ARRAY_COUNT(sizes); s++) {
            is_scattered = false;
            measure(&queues[q], count, sizes[s]);
            is_scattered = true;
            measure(&queues[q], count, sizes[s]);
        }
    }
    return 0;
}
