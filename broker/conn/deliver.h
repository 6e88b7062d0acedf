/*
 * deliver.h: brings publications to sessions of this reactor, and goes on when acknowledgements or
 * room come.
 *
 * The session's limits are kept here; every message that is not delivered is counted with its
 * reason. All functions on the session's own reactor.
 */
#ifndef CONN_DELIVER_H
#define CONN_DELIVER_H

#include "conn/connection.h"
#include "session/session.h"

/* How one subscription wants one publication. */
struct delivery_wish {
    index_subscriber subscriber;
    uint32_t group;                 /* share group it came by, 0: none */
    const struct delivery_ids *ids; /* merged copy: all its ids; NULL: the subscriber's own */
    bool is_retained_replay;        /* keeps RETAIN 1 whatever Retain As Published says */
};

/* Sends now, queues, or drops and counts. */
void deliver_publication(struct worker *worker, struct session *session,
                         struct publication *publication, const struct delivery_wish *wish);
/* Only queues, past every limit: for a session that ends, which is chosen no more, so that only what
   was on its way already can come. False: no memory, or it would be delivered with QoS 0. */
bool deliver_to_queue(struct worker *worker, struct session *session,
                      struct publication *publication, const struct delivery_wish *wish) MUST_USE;
/* Sends what is waiting while the window and the output have room. */
void deliver_pump(struct worker *worker, struct session *session);
/* After reconnecting: what was in flight is sent again in order, then the queue [MQTT-4.4.0-1]. */
void deliver_resume(struct worker *worker, struct session *session);
/* Something of this session waits from now on: in a queue, a replay, to be sent again. */
static inline void deliver_waits(const struct session *session)
{
    struct connection *connection = session->sink;
    if (connection)
        connection->is_drained = false;
}

/* Whether something of this session waits for room in its connection's output, or for its window. */
static inline bool deliver_has_more(const struct session *session)
{
    const struct flight *flight = session->flight;
    return session->replays ||
           (flight && (flight->queue.count || flight->queue_qos0.count || flight->resend));
}

/* The output of a connection has room again: what its session has waiting gets a slice soon. Where
   it had nothing the last time, and nothing since, the session is not looked at: of an idle client
   it is in no cache. */
void deliver_drained(struct worker *worker, struct connection *connection);
/* Sends one slice of it. */
void deliver_slice(struct worker *worker, struct connection *connection);
/* Whether a message of this QoS is kept for sessions that are away, as far as their subscription lets it. */
static inline bool deliver_is_kept(const struct config *config, uint8_t qos)
{
    return qos > 0 || config->queue_qos0_messages || config->upgrade_outgoing_qos;
}
/* True when a QoS 1 or 2 message could be sent at once. */
bool deliver_window_is_open(struct worker *worker, struct session *session);
/* Tells the routing index whether this session can take messages now (share groups ask). */
void deliver_update_ready(struct worker *worker, struct session *session);
/* Counts a message that a session holds from now on (1), or no longer (-1). */
void deliver_count_stored(struct worker *worker, const struct delivery *delivery, int sign);

#endif
