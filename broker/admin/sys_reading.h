/*
 * sys_reading.h: all that $SYS tells, summed over the reactors at one moment.
 *
 * Owned by reactor 0. Cost: some microseconds a reactor, once per sys_interval.
 */
#ifndef ADMIN_SYS_READING_H
#define ADMIN_SYS_READING_H

#include "admin/load.h"
#include "conn/broker.h"
#include "runtime/netstat.h"

/* X(NAME, topic below $SYS/broker/load/, counter it averages) */
#define LOAD_TABLE(X)                                            \
    X(MESSAGES_RECEIVED, "messages/received", MESSAGES_RECEIVED) \
    X(MESSAGES_SENT, "messages/sent", MESSAGES_SENT)             \
    X(PUBLISH_DROPPED, "publish/dropped", PUBLISH_DROPPED)       \
    X(PUBLISH_RECEIVED, "publish/received", PUBLISH_RECEIVED)    \
    X(PUBLISH_SENT, "publish/sent", PUBLISH_SENT)                \
    X(BYTES_RECEIVED, "bytes/received", BYTES_RECEIVED)          \
    X(BYTES_SENT, "bytes/sent", BYTES_SENT)                      \
    X(SOCKETS, "sockets", SOCKETS_ACCEPTED)                      \
    X(CONNECTIONS, "connections", CONNECT_RECEIVED)

enum load_kind {
#define X(name, topic, metric) LOAD_##name,
    LOAD_TABLE(X)
#undef X
        LOAD_COUNT
};

/* What is told of one reactor. */
struct sys_reactor {
    uint64_t turns, delay_us;            /* since the start */
    uint64_t delay_us_avg, delay_us_max; /* of a turn, since the last reading */
    uint64_t connections;
};

struct sys_reading {
    uint64_t at_ms; /* of the reactor's clock; 0: none yet */
    uint64_t counters[METRIC_COUNT], dropped[DROP_COUNT], closed[CLOSE_COUNT];
    struct load loads[LOAD_COUNT];
    struct index_stats index;
    struct retained_stats retained;
    struct netstat netstat, netstat_at_start;
    bool has_netstat;
    int netstat_fd; /* open from the start, before reactors part with the table of descriptors */
    uint64_t clients_max;
    uint64_t uptime_s;
    struct sys_reactor *reactors; /* [group->count] */
};

/* Looks at what the kernel has counted before us. At start; `reading` is zeroed memory. */
void sys_reading_begin(struct sys_reading *reading);
/* Closes what is open. */
void sys_reading_end(struct sys_reading *reading);
/* The averages begin at 0 with the first call. */
void sys_reading_take(struct sys_reading *reading, struct broker *broker, uint64_t now_ms);

#endif
