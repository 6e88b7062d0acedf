/*
 * bench.h: the parts of dunlin-bench and what they share.
 *
 *   main.c       argv -> options -> workers -> report
 *   options.c    one table: parser, --help, manual page            man.c
 *   scenario.c   one table: scenarios, their steps and who does them
 *   measure.c    goes through the steps, takes samples             report.c prints them
 *   worker.c     a thread: its clients, its epoll, its turn
 *   client.c     one connection: opening, reading, framing, one write per turn
 *   flow.c       pairs, fanin, fanout, shared, telemetry, witnesses
 *   hold.c       connect, ping, storm                   scale.c churn.c retained.c subscribe.c
 *   packet.c  websocket.c  histogram.c  pace.c  sequence.c  process.c  broker_sys.c  base.c
 *                                                                    know nothing of these
 *
 * Threads: the main thread gives orders (`load.order`) and sums counters; each worker owns its
 * epoll, its clients, its counters and, with several workers, a descriptor table; nothing of one
 * worker is touched by another. Those who send to each other are clients of one worker, so windows
 * and sequence numbers are plain arithmetic.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdatomic.h>
#include <sys/socket.h>

#include "bench/histogram.h"
#include "bench/options.h"
#include "bench/pace.h"
#include "bench/packet.h"
#include "bench/sequence.h"
#include "bench/websocket.h"

#define TEXT_MAX 96 /* a topic, filter or client id of ours */
#define STEPS_MAX 5
#define FILL_BYTES_MAX (4u << 20) /* a client that has so many to be written gets no more */

struct load;
struct worker;
struct client;

/* ---- counters ---- */

/* Each has one writer, its worker; anyone reads. `ready`, `unanswered`, `unsent` go down as well. */
#define COUNTS(X)                                                         \
    X(ready, "clients that are where the scenario wants them")            \
    X(connected, "connections made, those made again included")           \
    X(sent, "PUBLISH sent")                                               \
    X(acked, "PUBACK and PUBCOMP received")                               \
    X(expected, "deliveries that what was sent must make")                \
    X(delivered, "PUBLISH received, without duplicates")                  \
    X(duplicate, "received before")                                       \
    X(disordered, "received after one with a higher number")              \
    X(foreign, "received with a payload that is none of ours")            \
    X(pings, "PINGREQ sent")                                              \
    X(pongs, "PINGRESP received")                                         \
    X(cycles, "churn: cycles finished")                                   \
    X(filters, "filters acknowledged")                                    \
    X(replays, "retained: subscriptions whose replay is complete")        \
    X(refused, "CONNACK, SUBACK or acknowledgement with an error")        \
    X(closed, "connections that ended before their time")                 \
    X(retried, "connections that could not be made and were tried again") \
    X(timeouts, "connections that were not made within --timeout")        \
    X(timeouts_again, "of them: clients that had timed out before")       \
    X(stalled, "a window opened or a cycle given up without progress")    \
    X(unanswered, "PINGREQ that have no PINGRESP")                        \
    X(unsent, "open loop: due before the end, and never sent or begun")

struct counts {
#define X(name, text) _Atomic uint64_t name;
    COUNTS(X)
#undef X
};

static inline void count_add(_Atomic uint64_t *counter, uint64_t n)
{
    uint64_t old = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, old + n, memory_order_relaxed);
}

static inline uint64_t count_get(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit((_Atomic uint64_t *)counter, memory_order_relaxed);
}

/* ---- clients ---- */

enum client_state {
    CLIENT_DOWN,
    CLIENT_CONNECTING,
    CLIENT_UPGRADING,
    CLIENT_GREETING,
    CLIENT_SUBSCRIBING,
    CLIENT_READY
};
enum client_role { ROLE_HOLDER, ROLE_PUBLISHER, ROLE_SUBSCRIBER };

struct client {
    struct worker *worker;
    struct group *group; /* flows */
    struct client *next_dirty;
    struct buf out;       /* not written yet; lent by the worker while there is something in it */
    struct buf tail;      /* the packet of which only a part has come; lent as well */
    struct websocket *ws; /* NULL: plain TCP */
    uint64_t since_ns;    /* when what is waited for was to begin: a connection, PINGREQ, cycle */
    uint32_t opened_ms;   /* when the last try to connect began, since the load's start */
    int fd;
    uint32_t number;     /* among all clients */
    uint32_t index;      /* flows: among its kind in its group; else the scenario's own */
    uint32_t generation; /* churn: each cycle has a client id and a topic of its own */
    uint16_t packet_id;  /* the last one used */
    uint8_t role, state; /* enum client_role, client_state */
    bool dirty, blocked, awaiting, timed_out;
    bool timing; /* the latency of the PINGREQ that it awaits the answer to is kept */
};

/* Begins to connect. */
void client_open(struct client *c);
/* Ends the connection from here. */
void client_close(struct client *c);
/* Its PINGREQ has its answer, or nobody waits for that any more. */
void client_is_answered(struct client *c);
/* Ends it by a reset: as when a network is cut, and without a port that waits. */
void client_cut(struct client *c);
void client_event(struct client *c, uint32_t events);
/* Where bytes to be written are appended; the client is written at the end of the turn. */
struct buf *client_out(struct client *c);
/* Has the client filled and written at the end of this turn. */
void client_mark(struct client *c);
/* Writes now what can be written. */
void client_write(struct client *c);
/* It has all that it is to have before the steps begin. */
void client_set_ready(struct client *c);
/* Its connection was not made in time. */
void client_time_out(struct client *c);
uint16_t client_next_id(struct client *c);
/* Acknowledges a PUBLISH of QoS 1 or 2. */
void client_acknowledge(struct client *c, const struct publish *publish);
void client_subscribe(struct client *c, const char *filter, int qos);
/* "bench/<run>/<client>": a topic of its own, or that of the client with this number. */
void load_topic(const struct load *load, uint32_t number, char topic[TEXT_MAX]);
void client_topic(const struct client *c, char topic[TEXT_MAX]);

/* ---- what clients do ---- */

/* All but `plan` may be NULL. Called on the worker's thread, `plan` before it runs. */
struct behaviour {
    bool returns_at_once;            /* after the first step --opening does not hold them back */
    void (*plan)(struct worker *w);  /* makes the worker's clients */
    void (*begin)(struct worker *w); /* the phase has changed */
    void (*turn)(struct worker *w);
    void (*on_connack)(struct client *c, const struct frame *frame);
    void (*on_ready)(struct client *c);
    void (*on_publish)(struct client *c, const struct publish *publish);
    void (*on_ack)(struct client *c, const struct frame *frame); /* PUBACK, PUBCOMP */
    void (*on_suback)(struct client *c);
    void (*on_pong)(struct client *c);
    void (*fill)(struct client *c); /* a marked client is about to be written */
    /* Open loop: what was due before the end and is not sent yet. Asked while it drains. */
    uint64_t (*behind)(const struct worker *w);
};

extern const struct behaviour flow_behaviour, hold_behaviour, scale_behaviour, churn_behaviour,
    retained_behaviour, subscribe_behaviour;

/* ---- steps ---- */

/* DRAIN: what was due arrives, and is sent if it could not be before; REST: nothing is waited for. */
enum phase {
    PHASE_CONNECT,
    PHASE_RUN,
    PHASE_SECOND,
    PHASE_THIRD,
    PHASE_DRAIN,
    PHASE_REST,
    PHASE_QUIT
};
#define STEP_PHASES PHASE_DRAIN

/* When a step was measured. The latency of all that was due then is kept, however late it ends. */
struct span {
    uint64_t from_ns, to_ns;
};

#define STEP_MAIN 1u           /* the figures of the whole run are those of this step */
#define STEP_WAITS_FOR_ACKS 2u /* it would throw away those that are on their way */
/* What is measured by itself: a line of the report. */
struct step {
    const char *name;
    enum phase phase;
    const char *unit;                           /* "message": one of what `units` counts */
    size_t units;                               /* offset in struct counts */
    size_t gauge;                               /* offset of what ends the step */
    uint64_t (*until)(const struct load *load); /* the gauge's value then; NULL: after --seconds */
    uint32_t flags;                             /* STEP_* */
};

struct scenario {
    const char *name;
    const char *clients_text; /* what one of --clients is, in the plural */
    uint32_t clients;         /* default */
    double rate;              /* default; 0: none */
    const char *rate_text;    /* what --rate paces; NULL: nothing */
    const struct behaviour *behaviour;
    const struct step *steps; /* up to the one without name */
    uint32_t witnesses;       /* default */
    const char *text;         /* for --help */
};

const struct scenario *scenario_find(const char *name);
/* The scenario at `index` of the table; NULL behind the last. */
const struct scenario *scenario_at(size_t index);
/* Whether messages flow in groups: pairs, fanin, fanout, shared, telemetry. */
bool scenario_is_flow(const struct scenario *s);
bool scenario_is(const struct load *load, const char *name);

/* ---- workers ---- */

struct worker {
    struct load *load;
    const struct behaviour *does;
    uint32_t number;
    bool witness;           /* pairs that measure latency while others do what they do */
    bool goes_first;        /* a witness that the kernel runs before all else; read after its end */
    struct client *clients; /* all of its own */
    uint32_t client_count;
    uint32_t *queue; /* clients to be opened; a ring, each client at most once in it */
    uint32_t queue_first, queue_count;
    uint32_t opening;    /* connections being made now */
    uint64_t paused_ns;  /* no connection is opened before */
    uint64_t trouble_ns; /* the first connection that failed while nobody was connected yet */
    struct pace opens, sends, pings;
    struct flow *flow; /* flow.c's own */
    struct client *dirty;
    struct buf *spare; /* buffers to lend */
    uint32_t spare_count;
    uint32_t turn_at;    /* whose turn it is among the clients */
    uint64_t now_ns;     /* of this turn */
    uint64_t wake_ns;    /* the wait of this turn ends then */
    uint64_t checked_ns; /* the last look for stalls and keepalives */
    uint64_t aged_ns;    /* the last look for time-outs */
    uint8_t *read_buf;
    size_t read_cap;
    int epoll;
    enum phase phase; /* as this turn saw it */
    struct counts counts;
    struct span spans[STEP_PHASES]; /* those of the load when its last order was seen */
    struct histogram latency[STEP_PHASES];
    struct histogram late; /* open loop: how long after it was due a message was sent */
    _Atomic uint32_t seen; /* the last order that was followed */
};

/* Makes clients, queue and buffers. */
void worker_plan(struct worker *w);
/* The thread. */
void *worker_main(void *arg);
/* Gives a client to be opened in its turn. */
void worker_queue(struct worker *w, struct client *c);
/* Has the wait of this turn end at `at_ns` at the latest. */
void worker_wake(struct worker *w, uint64_t at_ns);
struct buf worker_lend(struct worker *w);
void worker_give_back(struct worker *w, struct buf *b);
/* The end of all that is measured: what is due later is not sent any more. UINT64_MAX while unknown. */
uint64_t worker_end_ns(const struct worker *w);
/* Whether connections are made, or made again. */
bool worker_is_opening(const struct worker *w);
/* Keeps the latency of what began, or was due, at `from_ns`, if a step was measured then. */
void worker_record(struct worker *w, uint64_t from_ns);
/* Keeps how late something is sent that was due at `due_ns`. */
void worker_record_late(struct worker *w, uint64_t due_ns);

/* Room in the read buffer for a packet of which `held` bytes have come, and as much again. */
void worker_read_room(struct worker *w, size_t held);

/* Descriptors that a worker needs beside those of its clients. */
#define WORKER_DESCRIPTORS 24

/* ---- the whole ---- */

struct load {
    struct options options;
    const struct scenario *scenario;
    struct worker *workers; /* the last one has the witnesses, if there are any */
    uint32_t worker_count;
    uint32_t crew; /* workers without that one */
    uint32_t client_count;
    bool fits_one_table;   /* of descriptors: all workers could share one */
    uint32_t crew_clients; /* without the witnesses */
    uint32_t run;          /* tells this run's ids and topics from others' */
    uint64_t start_ns;
    struct sockaddr_storage peer;
    socklen_t peer_len;
    char peer_text[80];
    _Atomic bool met;               /* a client was connected once: the broker is there */
    _Atomic bool stop;              /* ^C */
    struct span spans[STEP_PHASES]; /* of the main thread; workers copy them at each order */
    _Atomic uint32_t order;         /* phase | number of the order << 8 */
};

#endif
