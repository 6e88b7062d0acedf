/*
 * again.c: see again.h. A ring of references (a connection may be gone when its turn comes), grown
 * by doubling.
 */
#include "conn/again.h"

#include "base/assert.h"
#include "base/mem.h"
#include "conn/deliver.h"

#define AGAIN_PER_RUN 1u

/* Doubles the ring; the oldest is moved to its start. */
static bool ring_grow(struct again *again)
{
    uint32_t cap = again->cap ? again->cap * 2 : 64;
    struct connection_ref *ring = mem_alloc(cap * sizeof(*ring));
    if (!ring)
        return false;
    for (uint32_t i = 0; i < again->count; i++)
        ring[i] = again->ring[(again->first + i) & (again->cap - 1)];
    mem_free(again->ring);
    again->ring = ring;
    again->first = 0;
    again->cap = cap;
    return true;
}

static bool again_run(struct reactor *reactor, struct job *job)
{
    struct worker *worker = worker_of(reactor);
    struct again *again = &worker->again;
    (void)job;
    for (uint32_t budget = AGAIN_PER_RUN; budget && again->count; budget--) {
        struct connection_ref ref = again->ring[again->first];
        again->first = (again->first + 1) & (again->cap - 1);
        again->count--;
        struct connection *connection = connection_find(worker, ref.handle, ref.generation);
        if (!connection)
            continue;
        connection->is_again = false;
        connection_unhold(worker, connection, HOLD_TURN);
        if (!connection->is_blocked)
            deliver_slice(worker, connection);
    }
    again->is_running = again->count > 0;
    return !again->is_running;
}

static void again_push(struct worker *worker, struct connection *connection)
{
    struct again *again = &worker->again;
    if (connection->is_again)
        return;
    if (again->count == again->cap && !ring_grow(again)) {
        connection_close_plain(worker, connection, CLOSE_MEMORY);
        return;
    }
    again->ring[(again->first + again->count++) & (again->cap - 1)] =
        (struct connection_ref){connection->handle, connection->generation};
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
    mem_free(worker->again.ring);
}
