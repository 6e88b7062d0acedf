/*
 * broker.h: what all reactors share, and what each reactor has of its own (`struct worker`).
 *
 * Threads: fields of `struct broker` are set before the reactors start, or atomic. A worker belongs
 * to its reactor.
 */
#ifndef CONN_BROKER_H
#define CONN_BROKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "auth/auth.h"
#include "base/assert.h"
#include "base/list.h"
#include "base/mem.h"
#include "conn/ring.h"
#include "base/table.h"
#include "route/index.h"
#include "route/index_recent.h"
#include "route/retained.h"
#include "runtime/config.h"
#include "runtime/listener.h"
#include "runtime/reactor.h"
#include "runtime/slots.h"
#include "session/session_table.h"

/* Kinds of descriptors and types of mail: the app's numbers for the runtime's tables. */
enum io_kind { IO_LISTENER, IO_CONNECTION };

enum mail_type {
    MAIL_DELIVER,    /* a publication and who of yours gets it */
    MAIL_RUN,        /* packets as they came for one session of yours */
    MAIL_TAKEOVER,   /* hand this session over to a connection of mine, or end it */
    MAIL_HANDOVER,   /* to oneself: the fence has passed, send the session now */
    MAIL_ARRIVE,     /* here is the session, or word that it is gone */
    MAIL_REVIEW,     /* from the server: go over your sessions, see review.h */
    MAIL_OLD_CONFIG, /* from the server: free it when nobody looks at it any more */
    MAIL_APP_FIRST,  /* admin's own types begin here */
};

struct worker;
struct session;
struct connection;
struct publication;

/* What admin wants to hear of; set once before the reactors start; may be NULL. */
struct broker_hooks {
    /* A session connected, disconnected or ended (its reactor, after the fact). */
    void (*session_changed)(struct worker *worker, struct session *session, bool has_ended);
    /* A client published to "$CONTROL/...": true when it was for us. Reactor of the publisher. */
    bool (*control)(struct worker *worker, struct connection *connection,
                    const struct publication *publication);
    /* A subscription was made by an admin: may start a walk over sessions. `is_new`: no such filter
     * before. */
    void (*subscribed)(struct worker *worker, struct session *session, struct slice filter,
                       index_subscriber subscriber, uint8_t retain_handling, bool is_new);
    /* Such a subscription is no more, by UNSUBSCRIBE. */
    void (*unsubscribed)(struct worker *worker, struct session *session, struct slice filter);
    /* Room again in the output or the window of a connection whose session asked to be told (walks
     * over sessions). */
    void (*drained)(struct worker *worker, struct session *session);
    /* Every tick, on each reactor. */
    void (*tick)(struct worker *worker);
};

/* Limits that clients are told: see announced.h. */
struct announced {
    uint32_t packet_bytes_max; /* MQTT_PACKET_BYTES_MAX: none but the standard's */
    uint16_t receive_maximum;
    bool has_retain;
};

#define ANNOUNCED_MAX 256u

struct broker {
    struct config *_Atomic config; /* swapped on reload; a pointer to it is good for a turn */
    struct announced announced[ANNOUNCED_MAX]; /* near nothing that others write often */
    uint32_t announced_count;                  /* the main thread's */
    _Atomic uint8_t announced_now;
    _Atomic uint32_t reviews_asked; /* see review.h */
    struct reactor_group *group;
    struct slots slots;
    struct index *index;
    struct retained *retained;
    struct session_table *sessions;
    struct auth *auth;
    struct broker_hooks hooks;
    struct worker *workers; /* [group->count] */
    uint64_t started_ms;
    uint64_t started_wall_s;
    _Atomic bool is_draining;
    _Atomic uint32_t workers_drained;
    _Atomic uint32_t listener_connections[CONFIG_LISTENERS_MAX];
    _Atomic uint32_t connections; /* all */
    _Atomic uint64_t clients_max; /* most clients ever connected at once */
};

/* A scratch string that grows; for topics with a mount point. */
struct scratch {
    uint8_t *bytes;
    uint32_t cap;
};

/* Connections that wait for another slice (again.h). */
struct again {
    struct job job;
    struct connection_ring ring;
    bool is_running;
};

/* Publishers that are not read: memory or mailboxes are nearly full (pause.h). */
struct paused {
    struct job job; /* runs while `due` is not 0 */
    struct connection_ring ring;
    uint32_t due; /* the oldest, to go on */
};

/* Newcomers that wait for their turn (admit.h). */
struct admission {
    struct connection_ring ring;
    uint32_t at_once; /* read without waiting, in this turn */
};

/* Sessions whose client is gone and whose shared messages look for others (give_up.h). */
struct giving_up {
    struct job job;
    struct list sessions; /* struct give_up */
    bool is_running;
};

/* A pass over the sessions after a reload (review.h). */
struct review {
    struct job job;
    uint32_t begun; /* the last of broker->reviews_asked that is under way, or done */
    uint32_t slot;  /* the next */
};

#define LISTENERS_MAX (2 * CONFIG_LISTENERS_MAX) /* sockets: a name may have several addresses */

/* Where the packet at hand went as it came, if to one session and nowhere else: see run.h. */
struct passed_on {
    struct connection *here; /* a client of this reactor; NULL: none */
    bool by_mail;            /* or there: */
    uint16_t reactor;
    index_subscriber subscriber;
    uint32_t generation; /* of its slot */
};

struct worker {
    _Alignas(64) struct reactor *reactor; /* no cache line is shared with another worker */
    struct broker *broker;
    struct slab connections;
    struct timing_heap *keepalive; /* over connections */
    struct slab offline;           /* struct offline: sessions without connection */
    struct timing_heap *offline_heap;
    struct pool chunks;          /* output buffers */
    uint32_t read_bytes;         /* read at a time: what cannot be handled now is kept */
    uint32_t output_high_bytes;  /* streams stop adding to an output above this, */
    uint32_t output_flush_bytes; /* and it is written at once: less when memory is short */
    struct pool references;      /* output references to messages */
    struct again again;
    struct admission admission;
    struct giving_up giving_up;
    struct review review;
    struct index_matches matches;
    struct index_recent recent;
    uint32_t matches_wide_tick;   /* when there were last too many for one turn */
    uint16_t owner_scratch[2048]; /* owners of the matches that go to other reactors */
    uint32_t work_units;          /* done for the packet at hand beyond decoding it: see input.c */
    uint64_t publish_serial;      /* tells publications apart, for the cache of encoded forms */
    struct form_cache *forms;
    bool is_spreading; /* the publication at hand has several subscribers here */
    struct passed_on passed;
    uint32_t spread_count; /* matches of publications that were spread at once in this turn */
    struct connection *dirty_first, **dirty_last; /* have output to write this turn */
    struct listener listeners[LISTENERS_MAX];
    uint32_t listener_count;
    struct connection *closed_first; /* to be reaped */
    struct paused paused;
    struct table coming_by_slot; /* struct coming: sessions on their way here that are waited for */
    struct list coming;          /* the same, or here and not to be had yet, */
    struct list due;             /* and those of them that can go on, by due_job */
    struct job due_job;
    struct list moves;                          /* requests for sessions made here */
    struct move *moves_unposted;                /* moves that there was no memory to mail */
    struct due_will *wills_first, **wills_last; /* published one after the other by wills_job */
    struct job wills_job;
    struct list spreads;                /* under way, of publishers */
    uint32_t spreads_without_publisher; /* under way: nobody to slow down, so wills wait */
    struct job ending_job;
    uint32_t ending_first, ending_last; /* slots of sessions that are taken apart, 0: none */
    struct scratch topic_scratch, filter_scratch;
    uint32_t generation;  /* of connections */
    bool is_pressed;      /* memory or mailboxes are nearly full: publishers wait */
    bool is_stopped;      /* drained: everything was closed */
    bool is_memory_told;  /* reactor 0: the log says that memory is short */
    uint32_t loss_told_s; /* when report_loss() last wrote a line, 0: never */
    uint32_t
        swept_tick; /* reactor 0: when expired retained messages were last looked for, or the start */
    uint32_t sweep_slices; /* left of the pass under way */
    uint32_t drain_handle;
    uint8_t random[256]; /* for client ids that are made here: the first random_left are unused */
    uint32_t random_left;
    void *admin; /* admin's part */
};

static inline const struct config *broker_config(struct broker *broker)
{
    return atomic_load_explicit(&broker->config, memory_order_acquire);
}

static inline struct worker *worker_of(struct reactor *reactor)
{
    return reactor->app;
}

/* Message expiry: the tick at which a message is dead; never early, at most half a second late.
   What lies beyond the last tick, some 68 years, counts as the longest there is. */
#define EXPIRY_TICK_FAR 0xFFFFFFFFu

static inline uint32_t expiry_tick(const struct worker *worker, uint32_t expiry_s)
{
    uint64_t tick = worker->reactor->now_tick + (uint64_t)expiry_s * 2 + 1;
    return tick < EXPIRY_TICK_FAR ? (uint32_t)tick : EXPIRY_TICK_FAR;
}

/* What is left of it in seconds, for forwarding [MQTT-3.3.2-6]. */
static inline uint32_t expiry_left_s(const struct worker *worker, uint32_t expires_tick)
{
    if (expires_tick == EXPIRY_TICK_FAR)
        return 0xFFFFFFFFu;
    return (expires_tick - worker->reactor->now_tick) / 2;
}

/* Whether what clients can make grow stays within memory_limit with so many bytes more. */
static inline bool memory_has_room(struct worker *worker, uint64_t bytes)
{
    uint64_t limit = broker_config(worker->broker)->memory_limit_bytes;
    return LIKELY(limit == 0) || mem_used_bytes() + bytes <= limit;
}

/* The same somewhat above it: for what comes to an end soon, and may make room. */
static inline bool memory_reserve_has_room(struct worker *worker, uint64_t bytes)
{
    uint64_t limit = broker_config(worker->broker)->memory_limit_bytes;
    return LIKELY(limit == 0) || mem_used_bytes() + bytes <= limit + limit / 16;
}

static inline bool is_over_memory_limit(struct worker *worker)
{
    return !memory_has_room(worker, 0);
}

static inline struct metrics *worker_metrics(struct worker *worker)
{
    return worker->reactor->metrics;
}

#endif
