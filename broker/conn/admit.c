/*
 * admit.c: see admit.h.
 *
 *   ready -- budget left, nobody waits --> read now
 *     '----- else ---> HOLD_ADMIT, in the ring -- each turn, oldest first --> read
 *
 *   edges: a read that took less than it had room for found the socket empty, and what comes after it is
 *   a new edge. Not so when the end of the stream is there, which is said once, perhaps together with
 *   data, nor before an urgent byte, where a read ends with more behind it. The read after such a word is
 *   the last of a newcomer. After it, and after a full read, waiting by level tells what is left.
 *
 * Invariants: who is in the ring has HOLD_ADMIT (or has left: such references are passed over);
 * is_crowded says that the ring is not empty.
 * Threads: its reactor's. Cost for one that waits: 8 bytes, no call of the system (two without edges);
 * for each connection one epoll_ctl when it ceases to be a newcomer.
 */
#include "conn/admit.h"

#include "base/clock.h"
#include "conn/input.h"

/* In a turn; with answers about a third of a millisecond. What they send may cost more than that: those
   read at once end with the time for reading, those from the ring have half as much, and one comes in
   whatever the time. */
#define ADMITS_AT_ONCE 16u
#define ADMITS_FROM_RING 16u
#define RING_SHARE 2
#define PASSED_OVER 256u
#define PLACES_KEPT 64u /* of an empty ring */

static void admit_read(struct worker *worker, struct connection *connection)
{
    connection->newcomer_reads++;
    if (!input_read(worker, connection))
        connection->newcomer_reads = ADMIT_READS;
    connection_set_reading(worker, connection);
}

static void admit_next(struct worker *worker, struct connection *connection)
{
    connection->hold &= (uint8_t)~HOLD_ADMIT;
    connection_resume_input(worker, connection);
    if (connection->state != CONNECTION_CLOSING && !connection->hold)
        admit_read(worker, connection);
    else
        connection_set_reading(worker, connection);
}

static bool admit_later(struct worker *worker, struct connection *connection)
{
    struct admission *admission = &worker->admission;
    struct connection_ref ref = {connection->handle, connection->generation};
    if (!ring_push(&admission->ring, ref))
        return false;
    metric_add(worker_metrics(worker), METRIC_ADMITTED_LATE, 1);
    connection->hold |= HOLD_ADMIT;
    if (!(connection->io.interest & IO_EDGE))
        connection_set_reading(worker, connection);
    worker->reactor->is_crowded = true;
    return true;
}

bool admit_ready(struct worker *worker, struct connection *connection, uint32_t events)
{
    struct admission *admission = &worker->admission;
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI))
        connection->newcomer_reads = ADMIT_READS - 1;
    if (connection->hold)
        return (connection->hold & HOLD_ADMIT) && (connection->io.interest & IO_EDGE);
    bool is_now = admission->ring.count == 0 && admission->at_once < ADMITS_AT_ONCE &&
                  clock_real_ns() <= worker->reactor->read_until_ns;
    if (!is_now && admit_later(worker, connection))
        return true;
    admission->at_once++;
    admit_read(worker, connection);
    return true;
}

static void admit_from_ring(struct worker *worker)
{
    struct connection_ring *ring = &worker->admission.ring;
    uint64_t until_ns = clock_real_ns() + worker->reactor->group->read_budget_ns / RING_SHARE;
    uint32_t admits = ADMITS_FROM_RING, looks = PASSED_OVER;
    while (ring->count && admits && looks--) {
        struct connection_ref ref = ring_pop(ring);
        struct connection *connection = connection_find(worker, ref.handle, ref.generation);
        if (!connection)
            continue;
        admits--;
        admit_next(worker, connection);
        if (clock_real_ns() > until_ns)
            return;
    }
}

void admit_turn(struct worker *worker)
{
    struct admission *admission = &worker->admission;
    admission->at_once = 0;
    if (admission->ring.count)
        admit_from_ring(worker);
    if (admission->ring.count == 0 && admission->ring.cap > PLACES_KEPT)
        ring_fini(&admission->ring);
    worker->reactor->is_crowded = admission->ring.count > 0;
    worker->reactor->has_more_work |= worker->reactor->is_crowded;
}

void admit_fini(struct worker *worker)
{
    ring_fini(&worker->admission.ring);
}
