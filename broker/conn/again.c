/*
 * again.c: see again.h.
 */
#include "conn/again.h"

#include "conn/deliver.h"

#define AGAIN_PER_RUN 1u

static bool again_run(struct reactor *reactor, struct job *job)
{
    struct worker *worker = worker_of(reactor);
    struct again *again = &worker->again;
    (void)job;
    for (uint32_t budget = AGAIN_PER_RUN; budget && again->ring.count; budget--) {
        struct connection_ref ref = ring_pop(&again->ring);
        struct connection *connection = connection_find(worker, ref.handle, ref.generation);
        if (!connection)
            continue;
        connection->is_again = false;
        connection_unhold(worker, connection, HOLD_TURN);
        if (!connection->is_blocked)
            deliver_slice(worker, connection);
    }
    again->is_running = again->ring.count > 0;
    return !again->is_running;
}

static void again_push(struct worker *worker, struct connection *connection)
{
    struct again *again = &worker->again;
    if (connection->is_again)
        return;
    struct connection_ref ref = {connection->handle, connection->generation};
    if (!ring_push(&again->ring, ref)) {
        connection_close_plain(worker, connection, CLOSE_MEMORY);
        return;
    }
    connection->is_again = true;
    if (again->is_running)
        return;
    again->is_running = true;
    again->job.run = again_run;
    reactor_job_add(worker->reactor, &again->job);
}

void again_add(struct worker *worker, struct connection *connection)
{
    if (!connection->is_blocked) /* else it comes again when the socket has room */
        again_push(worker, connection);
}

void again_add_input(struct worker *worker, struct connection *connection)
{
    connection_hold(worker, connection, HOLD_TURN);
    again_push(worker, connection);
}

void again_free(struct worker *worker)
{
    ring_fini(&worker->again.ring);
}
