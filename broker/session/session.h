/*
 * session.h: what the broker remembers of a client, connected or not (section 4.1).
 *
 * Laid out for millions that are idle: what only busy sessions need (messages in flight, queues,
 * QoS 2 ids, drop counters) is in `struct flight`, made when first needed. A will is made when
 * there is one.
 *
 * Owner: the reactor that slot_of(id)->owner names. Everybody else holds id and generation. The
 * client id never changes and may be read under the session table's shard lock by anyone.
 */
#ifndef SESSION_SESSION_H
#define SESSION_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/slice.h"
#include "route/message.h"
#include "runtime/metrics.h"
#include "session/idset.h"
#include "session/inflight.h"
#include "session/queue.h"
#include "session/subscriptions.h"

/* Delivery state of a session that has any. */
struct flight {
    struct inflight inflight;
    struct queue queue;      /* QoS 1 and 2, waiting for the window or the client */
    struct queue queue_qos0; /* only with queue_qos0_messages; dropped first */
    struct idset received;   /* QoS 2 from the client, not yet released */
    uint32_t dropped[DROP_COUNT];
    uint32_t drop_told_s; /* reactor time of the last line in the log about drops */
    uint16_t *resend; /* after a reconnect: packet ids in flight in their old order, NULL when all
                         went out */
    uint32_t resend_at, release_at, resend_count; /* next PUBLISH, next PUBREL */
    struct give_up *give_up; /* its shared messages are being handed over; NULL: no. conn knows */
};

/* A will that waits for the connection to end (section 3.1.2.5). */
struct will {
    struct message *message; /* expires_s unused: expiry counts from publication */
    bool has_expiry;
    uint32_t expiry_s;
    uint32_t delay_s;
};

struct replays; /* retained messages still to be given; conn knows */

/* What the session's last connection was, for admins; made only when there is a user name to keep.
 */
struct session_user {
    bool is_verified; /* a checker knew the password */
    uint16_t len;
    char name[];
};

struct session {
    uint32_t slot;
    uint32_t generation;
    void *sink;                /* the connection while attached, or NULL */
    struct flight *flight;     /* NULL while nothing is in flight or queued */
    struct will *will;         /* NULL: none */
    struct replays *replays;   /* NULL: none */
    struct session_user *user; /* NULL: anonymous */
    struct subscriptions subscriptions;
    uint64_t bytes_in, bytes_out;
    uint32_t messages_in, messages_out; /* PUBLISH, modulo 2^32 */
    uint32_t expiry_s;                  /* session expiry interval; MQTT_EXPIRY_NEVER */
    union {
        uint32_t offline_handle; /* its entry in the reactor's table of offline sessions, 0: none */
        uint32_t next_ending;    /* SESSION_IS_ENDING: slot of the next that ends, 0: none */
    };
    uint32_t changed_s; /* reactor time of the last connect or disconnect */
    uint16_t id_bytes;
    uint8_t closed_why; /* enum close_reason of the last connection */
    uint8_t version;    /* of the last connection */
    uint8_t listener;
    uint8_t flags; /* SESSION_* */
    char id[];     /* client id, id_bytes long, not terminated */
};

#define SESSION_ADMIN 0x01u       /* may see and use the admin topics */
#define SESSION_CLEAN_START 0x02u /* of the last CONNECT */
#define SESSION_IS_ENDING 0x04u   /* out of the table; being taken apart */
#define SESSION_IN_TABLE 0x08u
#define SESSION_LOCAL 0x10u /* the last connection came from this machine */

/* A session without slot, connection or subscriptions. NULL: no memory. */
struct session *session_new(struct slice id);
/* Frees everything but subscriptions and the slot, which must be gone. */
void session_free(struct session *session);
/* Delivery state, made if need be. NULL: no memory. */
struct flight *session_flight(struct session *session);
/* Frees the delivery state when it holds nothing (drop counters included). */
void session_trim(struct session *session);
/* Sets or clears the user. */
enum err session_set_user(struct session *session, struct slice name, bool is_verified) MUST_USE;
void will_free(struct will *will);
/* Bytes of memory the session takes, not counting its connection and places in the index. */
uint64_t session_bytes(const struct session *session);

static inline struct slice session_id(const struct session *session)
{
    return slice_of(session->id, session->id_bytes);
}

/* Counts messages that this session did not get; with `has_memory` also in the session when it has no
   delivery state yet. */
static inline void session_count_drops(struct session *session, struct metrics *metrics,
                                       enum drop_reason reason, uint32_t count, bool has_memory)
{
    metric_drop_many(metrics, reason, count);
    struct flight *flight = has_memory ? session_flight(session) : session->flight;
    if (flight)
        flight->dropped[reason] += count;
}

#endif
