/*
 * pause.c: see pause.h.
 */
#include "conn/pause.h"

#define PAUSE_PER_SLICE 64u /* two calls of the system and some packets each */

void pause_add(struct worker *worker, struct connection *connection)
{
    struct paused *paused = &worker->paused;
    struct connection_ref ref = {connection->handle, connection->generation};
    if (connection->is_paused || !ring_push(&paused->ring, ref))
        return;
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
        struct connection_ref ref = ring_pop(&paused->ring);
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
    paused->due = paused->ring.count;
    if (paused->due == 0 || is_running)
        return;
    paused->job.run = pause_run;
    reactor_job_add(worker->reactor, &paused->job);
}

void pause_fini(struct worker *worker)
{
    ring_fini(&worker->paused.ring);
}
