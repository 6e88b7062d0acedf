/*
 * metrics.h: what is counted: one table of counters, one block of them per reactor.
 *
 * Only the owner writes its block (relaxed, no lock prefix); anyone sums. The table makes the enum,
 * the $SYS topics and the docs.
 */
#ifndef RUNTIME_METRICS_H
#define RUNTIME_METRICS_H

#include <stdatomic.h>
#include <stdint.h>

/* X(NAME, topic below $SYS/broker/ or NULL when published by other means, help) */
#define METRIC_TABLE(X)                                                                       \
    X(MESSAGES_RECEIVED, "messages/received", "MQTT packets of any type received")            \
    X(MESSAGES_SENT, "messages/sent", "MQTT packets of any type sent")                        \
    X(PUBLISH_RECEIVED, "publish/messages/received", "PUBLISH packets received")              \
    X(PUBLISH_SENT, "publish/messages/sent", "PUBLISH packets given to a connection")         \
    X(PUBLISH_DROPPED, "publish/messages/dropped", "messages dropped, for any reason")        \
    X(PUBLISH_BYTES_RECEIVED, "publish/bytes/received", "payload bytes of PUBLISH received")  \
    X(PUBLISH_BYTES_SENT, "publish/bytes/sent", "payload bytes of PUBLISH sent")              \
    X(BYTES_RECEIVED, "bytes/received", "bytes read from clients")                            \
    X(BYTES_SENT, "bytes/sent", "bytes written to clients")                                   \
    X(CONNECT_RECEIVED, NULL, "CONNECT packets received")                                     \
    X(CONNECTS_ACCEPTED, NULL, "connections that got as far as CONNACK 0")                    \
    X(SOCKETS_ACCEPTED, "connections/accepted", "network connections accepted")               \
    X(ADMITTED_LATE, "connections/admitted_late",                                             \
      "times a newcomer was read later because many came at once")                            \
    X(SOCKETS_SILENT, "connections/silent", "connections that closed without sending a byte") \
    X(ACCEPT_DESCRIPTORS, "connections/refused/descriptors",                                  \
      "accept refused: no descriptors left")                                                  \
    X(ACCEPT_LIMIT, "connections/refused/limit",                                              \
      "connections refused: max_connections and its kin")                                     \
    X(ACCEPT_ERRORS, "connections/refused/errors",                                            \
      "accept failed: the peer or the network was gone first")                                \
    X(ACCEPT_MEMORY, "connections/refused/memory", "connections refused: memory_limit")       \
    X(ACCEPT_WATCHES, "connections/refused/watches",                                          \
      "connections refused: epoll may watch no more descriptors")                             \
    X(CLIENTS_CONNECTED, NULL, "clients connected now (a gauge: up and down)")                \
    X(SESSIONS, NULL, "sessions, connected or not (gauge)")                                   \
    X(SESSIONS_EXPIRED, "clients/expired", "sessions that ended by their expiry")             \
    X(SUBSCRIPTIONS_REFUSED, "subscriptions/refused",                                         \
      "subscriptions refused for want of room: memory, or the bound for filters with '+'")    \
    X(STORED_MESSAGES, NULL, "messages held in queues and in flight (gauge)")                 \
    X(STORED_BYTES, NULL, "bytes of payload held in queues and in flight (gauge)")            \
    X(SESSION_CHANGES_DROPPED, "session_changes/dropped",                                     \
      "changes of sessions that those who watch were not told of: too many at once")          \
    X(READS, NULL, "read system calls")                                                       \
    X(WRITES, NULL, "write system calls")                                                     \
    X(TURNS, NULL, "turns of the reactor")                                                    \
    X(MAIL_RECORDS, NULL, "records received from other reactors")                             \
    X(READ_PAUSES, "publish/paused", "times a publisher was slowed: its socket was not read") \
    X(LOOP_DELAY_US, NULL, "time spent in turns, microseconds")

enum metric {
#define X(name, topic, help) METRIC_##name,
    METRIC_TABLE(X)
#undef X
        METRIC_COUNT
};

/* Why a message was dropped: a closed list. X(NAME, name in $SYS and log, help) */
#define DROP_TABLE(X)                                                                   \
    X(QUEUE_MESSAGES, "queue_messages", "max_queued_messages of the session reached")   \
    X(QUEUE_BYTES, "queue_bytes", "max_queued_bytes of the session reached")            \
    X(SLOW_QOS0, "slow_qos0", "QoS 0 for a client that reads too slowly")               \
    X(UNSENT_QOS0, "unsent_qos0", "QoS 0 not yet written when its connection ended")    \
    X(OFFLINE_QOS0, "offline_qos0", "QoS 0 for a session that is not connected")        \
    X(EXPIRED, "expired", "message expiry interval ran out")                            \
    X(TOO_LARGE, "too_large", "larger than the client's Maximum Packet Size")           \
    X(NOT_AUTHORIZED, "not_authorized", "the publisher or reader may not")              \
    X(MEMORY, "memory", "no memory, or memory_limit reached")                           \
    X(NO_SHARED_MEMBER, "no_shared_member", "nobody in the shared group could take it") \
    X(SESSION_ENDED, "session_ended", "the session ended with the message waiting")     \
    X(REFUSED_BY_CLIENT, "refused_by_client", "the client acknowledged with an error")  \
    X(MESSAGE_SIZE, "message_size", "larger than message_size_limit")                   \
    X(TOPIC_LIMIT, "topic_limit", "topic too long or too deep with its mount point")

enum drop_reason {
#define X(name, text, help) DROP_##name,
    DROP_TABLE(X)
#undef X
        DROP_COUNT
};

/* Why a connection was closed: a closed list. X(NAME, name, default v5 reason code, help) */
#define CLOSE_TABLE(X)                                                             \
    X(CLIENT_DISCONNECT, "client_disconnect", 0x00, "the client sent DISCONNECT")  \
    X(CLIENT_GONE, "client_gone", 0x80, "the peer closed or reset the connection") \
    X(MALFORMED, "malformed", 0x81, "malformed packet")                            \
    X(PROTOCOL_ERROR, "protocol_error", 0x82, "protocol error")                    \
    X(KEEPALIVE, "keepalive", 0x8D, "nothing heard for 1.5 times the keep alive")  \
    X(CONNECT_TIMEOUT, "connect_timeout", 0x80, "no CONNECT in time")              \
    X(TAKEN_OVER, "taken_over", 0x8E, "another connection took the session")       \
    X(REFUSED, "refused", 0x87, "CONNECT was refused")                             \
    X(NOT_AUTHORIZED, "not_authorized", 0x87, "not authorized")                    \
    X(SLOW, "slow", 0x97, "the client does not read what it is sent")              \
    X(ADMIN, "admin", 0x98, "closed by an admin")                                  \
    X(SHUTDOWN, "shutdown", 0x8B, "the server is shutting down")                   \
    X(MEMORY, "memory", 0x97, "no memory, or memory_limit reached")                \
    X(LIMIT, "limit", 0x97, "another limit of the server")                         \
    X(RECEIVE_MAXIMUM, "receive_maximum", 0x93, "more in flight than we allowed")  \
    X(PACKET_TOO_LARGE, "packet_too_large", 0x95, "packet larger than we allowed") \
    X(TOPIC_ALIAS, "topic_alias", 0x94, "topic alias invalid")                     \
    X(UNSUPPORTED, "unsupported", 0x9B,                                            \
      "QoS, retain or another feature that we said we do not have")                \
    X(NETWORK, "network", 0x80, "a read or write failed")                          \
    X(TRANSPORT, "transport", 0x82, "no WebSocket upgrade, or a fault in WebSocket frames")

enum close_reason {
#define X(name, text, reason, help) CLOSE_##name,
    CLOSE_TABLE(X)
#undef X
        CLOSE_COUNT
};

struct metrics {
    _Alignas(64) _Atomic uint64_t counters[METRIC_COUNT];
    _Atomic uint64_t dropped[DROP_COUNT];
    _Atomic uint64_t closed[CLOSE_COUNT];
    _Atomic uint64_t loop_delay_max_us; /* longest turn since it was last read */
};

static inline void metric_counter_add(_Atomic uint64_t *counter, uint64_t by)
{
    uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, value + by, memory_order_relaxed);
}

/* Owner only. Gauges go down by adding (uint64_t)-1. */
static inline void metric_add(struct metrics *metrics, enum metric metric, uint64_t by)
{
    metric_counter_add(&metrics->counters[metric], by);
}

/* Counts dropped messages with their reason; owner only. */
static inline void metric_drop_many(struct metrics *metrics, enum drop_reason reason,
                                    uint32_t count)
{
    metric_counter_add(&metrics->dropped[reason], count);
    metric_counter_add(&metrics->counters[METRIC_PUBLISH_DROPPED], count);
}

static inline void metric_drop(struct metrics *metrics, enum drop_reason reason)
{
    metric_drop_many(metrics, reason, 1);
}

static inline uint64_t metric_read(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

const char *drop_reason_name(enum drop_reason reason);
const char *close_reason_name(enum close_reason reason);
/* What the table says of it. */
const char *close_reason_help(enum close_reason reason);
/* The v5 reason code that goes with it. */
uint8_t close_reason_code(enum close_reason reason);
/* Topic below $SYS/broker/ and help text of a counter; NULL topic when it has none of its own. */
const char *metric_topic(enum metric metric);
const char *metric_help(enum metric metric);

#endif
