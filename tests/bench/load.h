/*
 * load.h: the parts of the load generator and what they share.
 *
 *   load.c         options, workers
 *   load_report.c  phases, measuring, the report
 *   load_client.c  one connection: opening, reading, framing, one write per turn
 *   load_packet.c  the few packets that a client needs, MQTT 3.1.1 and 5
 *   load_flow.c    pairs, fanin, fanout: windows and sequence numbers
 *   load_hold.c    idle, ping, connect
 *   load_stat.c    percentiles; CPU and memory of the broker from /proc
 *
 * Threads: the main thread sets `phase` and sums counters; each worker owns its epoll, its clients
 * and its counters, and nothing of one worker is touched by another. A publisher and those it
 * sends to are always clients of one worker, so a window is plain arithmetic.
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <netinet/in.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/assert.h"

#define LOAD_TOPIC_MAX 64

struct load;
struct worker;
struct client;
struct stream;

/* ---- options ---- */

struct options {
    const char *scenario;
    struct sockaddr_in peer;
    uint32_t source_first, source_count; /* host order; count 0: let the system choose */
    int pid;                             /* the broker's, 0: not measured */
    int version;                         /* 4 or 5 */
    int qos;
    uint32_t payload_bytes;
    uint32_t window;
    uint32_t clients; /* pairs, publishers, subscribers or connections, by scenario */
    double seconds, warmup_s;
    uint32_t threads;
    double rate; /* ping: PINGREQs a second, all clients together; 0: the next when one returns */
    uint32_t gather_us; /* sleep before each turn */
    uint16_t keepalive_s;
    bool bare;    /* no MQTT: talk to tests/bench/relay */
    bool publish; /* connect: each cycle publishes to itself and disconnects */
    bool own_topics;
    bool hold; /* idle: stay until stdin ends */
    bool json;
};

/* ---- bytes ---- */

struct buf {
    uint8_t *ptr;
    uint32_t len, cap;
};

/* Room for `more` bytes at the end; returns where they go. Ends the program without memory. */
uint8_t *buf_reserve(struct buf *b, uint32_t more);
void buf_append(struct buf *b, const void *bytes, uint32_t len);
/* Forgets the first `count` bytes. */
void buf_drop(struct buf *b, uint32_t count);
void buf_free(struct buf *b);

/* ---- packets ---- */

enum packet_type {
    PACKET_CONNECT = 1,
    PACKET_CONNACK,
    PACKET_PUBLISH,
    PACKET_PUBACK,
    PACKET_PUBREC,
    PACKET_PUBREL,
    PACKET_PUBCOMP,
    PACKET_SUBSCRIBE,
    PACKET_SUBACK,
    PACKET_PINGREQ = 12,
    PACKET_PINGRESP,
    PACKET_DISCONNECT,
};

/* One whole packet in a read buffer. */
struct frame {
    const uint8_t *body;
    uint32_t len;
    uint8_t type, flags;
};

struct publish {
    const uint8_t *payload;
    uint32_t len;
    uint16_t id; /* 0 at QoS 0 */
    uint8_t qos;
};

void packet_connect(struct buf *b, int version, const char *client_id, uint16_t keepalive_s);
void packet_subscribe(struct buf *b, int version, uint16_t id, const char *filter, int qos);
/* A whole PUBLISH; the offsets of its packet id (0: none) and payload are from its first byte. */
void packet_publish(struct buf *b, int version, const char *topic, int qos, uint32_t payload_bytes,
                    uint32_t *id_at, uint32_t *payload_at);
/* PUBACK, PUBREC, PUBREL or PUBCOMP with reason 0. */
void packet_ack(struct buf *b, enum packet_type type, uint16_t id);
/* PINGREQ or DISCONNECT: no body. */
void packet_bare(struct buf *b, enum packet_type type);

/* Bytes of the packet at `p`, 0 when it is not whole yet, -1 when it cannot be one. */
long packet_next(const uint8_t *p, size_t len, struct frame *frame);
bool packet_read_publish(const struct frame *frame, int version, struct publish *publish);
/* The reason of a CONNACK, SUBACK, acknowledgement or DISCONNECT; 0 and 1, 2 are good news. */
int packet_reason(const struct frame *frame, int version);
/* The Receive Maximum of a v5 CONNACK; 65,535 when it names none. */
uint32_t packet_receive_maximum(const struct frame *frame, int version);

/* ---- counters ---- */

/* Percentiles of nanoseconds, exact to 1/32. */
#define HIST_SUB 32
#define HIST_SIZE (HIST_SUB * 60)
struct hist {
    uint64_t count[HIST_SIZE];
    uint64_t total, max_ns;
};

void hist_add(struct hist *h, uint64_t ns);
void hist_merge(struct hist *to, const struct hist *from);
double hist_percentile_us(const struct hist *h, double percent);

/* Each field has one writer; anyone reads. */
struct counts {
    _Atomic uint64_t ready;      /* clients that are where the scenario wants them */
    _Atomic uint64_t sent;       /* PUBLISH or PINGREQ */
    _Atomic uint64_t acked;      /* PUBACK, PUBCOMP or PINGRESP */
    _Atomic uint64_t delivered;  /* PUBLISH that came, duplicates included */
    _Atomic uint64_t duplicate;  /* came before */
    _Atomic uint64_t disordered; /* came after one with a higher number */
    _Atomic uint64_t foreign;    /* payload that is none of ours */
    _Atomic uint64_t refused;    /* CONNACK, SUBACK or acknowledgement with an error */
    _Atomic uint64_t closed;     /* connections that ended before their time */
    _Atomic uint64_t stalled;    /* windows opened again after a second without progress */
    _Atomic uint64_t cycles;     /* connect: finished ones */
};

static inline void count_add(_Atomic uint64_t *counter, uint64_t n)
{
    uint64_t old = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, old + n, memory_order_relaxed);
}

static inline uint64_t count_get(_Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

/* ---- clients ---- */

enum client_state {
    CLIENT_DOWN,
    CLIENT_CONNECTING,
    CLIENT_GREETING,
    CLIENT_SUBSCRIBING,
    CLIENT_READY
};
enum client_role { ROLE_PUBLISHER, ROLE_SUBSCRIBER, ROLE_HOLDER };

struct client {
    struct worker *worker;
    struct publisher *publisher;   /* ROLE_PUBLISHER */
    struct subscriber *subscriber; /* ROLE_SUBSCRIBER */
    struct client *next_dirty;
    struct buf out;   /* not written yet */
    struct buf tail;  /* the packet of which only a part has come */
    uint64_t sent_ns; /* when the last PINGREQ or cycle began */
    int fd;
    uint32_t number;     /* among all clients */
    uint32_t generation; /* times it was opened: each has a client id of its own */
    uint16_t packet_id;  /* the last one used */
    uint8_t role, state;
    bool dirty, blocked, awaiting;
};

/* Begins to connect. */
void client_open(struct client *c);
void client_close(struct client *c);
void client_event(struct client *c, uint32_t events);
/* Has the client written at the end of this turn. */
void client_mark(struct client *c);
/* Writes now what can be written. */
void client_write(struct client *c);
/* Writes what every marked client has. */
void worker_flush(struct worker *w);
void client_topic(const struct client *c, char topic[LOAD_TOPIC_MAX]);

/* ---- flows ---- */

struct publisher {
    struct client *client;
    struct buf form;            /* the packet, but for id, number and time */
    uint32_t id_at, payload_at; /* in `form` */
    uint32_t group;
    uint32_t stream; /* its number within its group */
    uint32_t fan;    /* subscribers that get each message */
    uint32_t window;
    uint64_t sent, acked, done; /* done: delivered to all of `fan` */
    uint64_t floor;             /* numbers below were given up at a stall */
    uint64_t progress;          /* acked + done at the last look for stalls */
    uint32_t *arrived;          /* [number % window]: deliveries of one message, fan > 1 */
};

struct subscriber {
    struct publisher *publishers; /* of its group, by stream number */
    struct stream *streams;
    uint32_t stream_count;
    uint32_t group;
};

/* Makes the clients of pairs, fanin or fanout. */
void flow_plan(struct load *load);
void flow_fill(struct client *c);
void flow_on_publish(struct client *c, const struct publish *publish);
void flow_on_record(struct client *c, const uint8_t *payload, uint32_t len);
void flow_on_ack(struct client *c, const struct frame *frame);
void flow_turn(struct worker *w);
uint64_t flow_fan(const struct options *o); /* deliveries that one message makes */
void flow_filter(const struct client *c, char topic[LOAD_TOPIC_MAX]);

/* ---- holds ---- */

void hold_plan(struct load *load);
void hold_turn(struct worker *w);
void hold_on_ready(struct client *c);
void hold_on_pong(struct client *c);
void hold_on_publish(struct client *c, const struct publish *publish);

/* ---- the whole ---- */

enum phase { PHASE_CONNECT, PHASE_RUN, PHASE_DRAIN, PHASE_QUIT };

struct worker {
    struct load *load;
    struct client **queue; /* to be opened; a ring, each client at most once in it */
    uint32_t queue_first, queue_count, queue_cap;
    uint32_t opening;
    struct client *dirty;
    struct client **clients; /* all of its own */
    uint32_t client_count;
    uint32_t turn_at;    /* hold_turn's place among them */
    uint64_t now_ns;     /* of this turn */
    uint64_t checked_ns; /* the last look for stalls and keepalives */
    uint64_t started_ns; /* ping: when the rate began to count */
    uint64_t started_sent;
    uint8_t *read_buf;
    size_t read_cap;
    int epoll;
    enum phase phase;       /* as this turn saw it */
    _Atomic bool measuring; /* latencies are kept; main reads, to know when they rest */
    struct counts counts;
    struct hist latency;
};

struct load {
    struct options options;
    const struct scenario *scenario;
    struct client *clients;
    struct worker *workers;
    struct publisher *publishers;
    uint32_t client_count, publisher_count;
    uint32_t run; /* tells this run's ids and topics from others' */
    _Atomic int phase;
    _Atomic bool measuring;
};

struct scenario {
    const char *name;
    const char *unit; /* what one of `clients` is */
    uint32_t clients; /* default */
    void (*plan)(struct load *load);
    void (*turn)(struct worker *w);
    bool flows; /* messages go from clients to clients */
};

/* Allocates or ends the program. */
void *load_zalloc(size_t count, size_t bytes);
/* Prints to stderr and ends the program. */
void load_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
/* Gives a client to a worker, to be opened in its turn. */
void worker_queue(struct worker *w, struct client *c);
uint64_t load_clock_ns(void);

#endif
