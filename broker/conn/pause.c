/*
 * pause.c: see pause.h. A ring of references (a connection may be gone when its turn comes), grown
 * by doubling.
 */
#include "conn/pause.h"

#include "base/mem.h"

#define PAUSE_PER_SLICE 64u /* two calls of the system and some packets each */

/* Doubles the ring; the oldest is moved to its start. */
static bool pause_grow(struct paused *paused)
{
    uint32_t cap = paused->cap ? paused->cap * 2 : 64;
    struct connection_ref *ring = mem_alloc(cap * sizeof(*ring));
    if (!ring)
        return false;
    for (uint32_t i = 0; i < paused->count; i++)
        ring[i] = paused->ring[(paused->first + i) & (paused->cap - 1)];
    mem_free(paused->ring);
    paused->ring = ring;
    paused->first = 0;
    paused->cap = cap;
    return true;
}

void pause_add(struct worker *worker, struct connection *connection)
{
    struct paused *paused = &worker->paused;
    if (connection->is_paused || (paused->count == paused->cap && !pause_grow(paused)))
        return;
    paused->ring[(paused->first + paused->count++) & (paused->cap - 1)] =
        (struct connection_ref){connection->handle, connection->generation};
    connection->is_paused = true;
    metric_add(worker_metrics(worker), METRIC_READ_PAUSES, 1);
    connection_hold(worker, connection, HOLD_PRESSURE);
}

static bool pause_run(struct reactor *reactor, struct job *job)
{
    struct worker *worker = worker_of(reactor);
    struct paused *paused = &worker->paused;
    (void)job;
    for (uint32_t budget = PAUSE_PER_SLICE; budget && paused->due; budget--) {
        struct connection_ref ref = paused->ring[paused->first];
        paused->first = (paused->first + 1) & (paused->cap - 1);
        paused->count--;
        paused->due--;
        struct connection *connection = connection_find(worker, ref.handle, ref.generation);
        if (!connection || !connection->is_paused)
            continue;
        connection->is_paused = false;
        connection_unhold(worker, connection, HOLD_PRESSURE);
    }
    return paused->due == 0;
}

void pause_release(struct worker *worker)
{
    struct paused *paused = &worker->paused;
    bool is_running = paused->due > 0;
    paused->due = paused->count;
    if (paused->due == 0 || is_running)
        return;
    paused->job.run = pause_run;
    reactor_job_add(worker->reactor, &paused->job);
}

void pause_fini(struct worker *worker)
{
    mem_free(worker->paused.ring);
}
