/*
 * reactor.h: one thread, one epoll, its own timers, pools, mailbox and counters.
 *
 *   a turn:  wait -> read (each ready descriptor once) -> mailboxes -> timers -> jobs -> flush
 *            -> reap -> quiescent
 *
 * Each stage has a budget, so nothing sized by a peer holds the reactor for more than a few
 * milliseconds: what is left goes on next turn. The reactor knows nothing of MQTT: descriptors
 * belong to a kind, whose handler the app sets.
 *
 * Threads: everything here belongs to the reactor's own thread, unless said otherwise.
 */
#ifndef RUNTIME_REACTOR_H
#define RUNTIME_REACTOR_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/list.h"
#include "runtime/epoch.h"
#include "runtime/mailbox.h"
#include "runtime/metrics.h"
#include "runtime/pool.h"
#include "runtime/timing_heap.h"

#define REACTORS_MAX 128u
#define REACTOR_DESCRIPTORS 2u
#define REACTOR_READ_BYTES 65536u /* the read buffer shared by all connections of a reactor */
#define REACTOR_BURSTS 3u         /* kinds of refusals that are told of once */
#define REACTOR_KINDS_MAX 8u
#define REACTOR_MAIL_TYPES_MAX 32u
#define REACTOR_HEAPS_MAX 4u

struct reactor;

/* In an interest: events are told once each, not in every turn as long as they last, and two more are
   among them: that the peer has hung up, and that an urgent byte has come (EPOLLET, EPOLLRDHUP,
   EPOLLPRI). Whoever asks for it must leave nothing unread, and be quick: their handler is called also
   when the turn's time for reading is over. */
#define IO_EDGE 0x02u

/* Something with a descriptor; embedded. Waited for by level, unless its interest has IO_EDGE. */
struct io {
    int fd;
    uint8_t kind;
    uint8_t interest; /* EPOLLIN, EPOLLOUT, IO_EDGE: what is now waited for */
    bool is_muted;    /* by reactor_io_mute() */
    uint8_t of_app;   /* for the app's own use */
};

typedef void (*io_handler)(struct reactor *reactor, struct io *io, uint32_t events);
typedef void (*mail_handler)(struct reactor *reactor, void *payload, uint32_t bytes);

/* Work done in slices: run() does at most about 50 us of it and returns true when the job is over
   (it has been unlinked before, and may be freed or added again by run()). On false it goes on,
   perhaps in the same turn: a job that waits for something ends, and is added again by what it
   waits for. A zeroed link will do at first; list_unlink() takes a job away that was added, but not
   from inside its own run(). */
struct job {
    struct list link;
    bool (*run)(struct reactor *reactor, struct job *job);
};

/* What the app does at fixed points of each turn. Any may be NULL. */
struct reactor_hooks {
    void (*on_start)(struct reactor *reactor); /* on its own thread, before the first turn */
    void (*on_tick)(struct reactor *reactor);  /* every TIMING_TICK_MS, before timers expire; once
                                                  after a longer leap of the clock */
    void (*on_flush)(struct reactor *reactor); /* write what has piled up */
    void (*on_reap)(struct reactor *reactor);  /* free what was closed */
    void (*on_stop)(struct reactor *reactor);  /* on its own thread, when every reactor of the group
                                                  has ended its last turn; mail still under way is
                                                  dropped with the group */
};

/* What expires in a timing heap; the first argument is the struct reactor. */
struct reactor_heap {
    struct timing_heap *heap;
    void (*expired)(void *reactor, uint32_t handle);
};

#define TABLE_SPARES_MAX 16u

/* What listener_accept.c knows of a table of descriptors. All but `error` goes with a lock. */
struct descriptor_table {
    _Atomic int error;  /* 0, or why no descriptor could be had at last: EMFILE, ENFILE */
    uint32_t listeners; /* each has a spare, up to TABLE_SPARES_MAX */
    uint32_t spare_count;
    int spares[TABLE_SPARES_MAX];
};

struct reactor {
    uint16_t index;
    int epoll_fd;
    uint64_t now_ms;        /* clock_now_ms() at the start of this turn */
    uint32_t now_tick;      /* now_ms / TIMING_TICK_MS; never 0 */
    uint32_t now_s;         /* now_ms / 1000 */
    uint64_t clock_ns;      /* clock_real_ns() at the start of this turn, or the end of the last */
    uint64_t read_until_ns; /* clock_real_ns(): reading goes on no longer in this turn */
    bool is_crowded; /* newcomers wait for their turn: listeners accept few (listener_accept.c) */
    bool has_more_work; /* set by anyone during the turn: do not sleep before the next */
    struct reactor_group *group;
    void *app;            /* the app's part of this reactor */
    uint8_t *read_buffer; /* REACTOR_READ_BYTES; valid during one read handler */
    struct epoch_participant *epoch;
    struct metrics *metrics;
    struct list jobs;
    struct reactor_heap heaps[REACTOR_HEAPS_MAX];
    uint32_t heap_count;
    uint32_t events_max; /* descriptors looked at per turn: fewer when turns get long */
    struct inbox inbox;
    struct mail mail;      /* mailbox.c knows */
    uint64_t turn_ns_rest; /* part of a microsecond that METRIC_LOOP_DELAY_US does not have yet */
    uint32_t last_tick;    /* for which on_tick ran */
    bool has_due;          /* timers of this tick are left over: the budget was used */
    bool has_deferred;     /* memory waits for a grace period: sleep only shortly */
    bool is_started;
    pthread_t thread;
    struct descriptor_table table; /* of all reactors that share one: at reactor 0 */
};

struct reactor_group {
    uint32_t count;
    struct reactor *reactors; /* [count] */
    struct epoch_domain *epochs;
    const struct reactor_hooks *hooks;
    io_handler io_handlers[REACTOR_KINDS_MAX];
    mail_handler mail_handlers[REACTOR_MAIL_TYPES_MAX];
    _Atomic bool is_stopping;
    bool is_clock_turned;         /* DUNLIN_TEST_CLOCK: wake every 10 ms */
    uint64_t last_read_budget_ns; /* for what is left of a connection whose place is taken */
    uint64_t read_budget_ns;      /* of a turn; tests that count turns raise it */
    bool has_private_descriptors; /* set before the start, when descriptor_table_probe() allows it:
                                     each reactor has a table of its own */
    pthread_mutex_t gate;         /* held while threads are started */
    pthread_barrier_t all_ended;  /* on_stop runs when every reactor has ended its last turn */
    _Atomic uint32_t accept_quiet_ticks
        [REACTOR_BURSTS]; /* listener_accept.c: bursts of refusals are over then */
    _Alignas(64) _Atomic int32_t congested; /* inboxes with more than MAIL_CONGESTED_BYTES */
};

/* Makes the group: epolls, inboxes, epochs; no threads yet, no descriptors but epoll and eventfd.
   `hooks` may be NULL, and is borrowed. The caller then sets app of each reactor and the handlers.
   DUNLIN_TEST_CLOCK in the environment is honoured here. NULL with errno: the system has no
   descriptors for it, of which it needs REACTOR_DESCRIPTORS each, or no watches. Ends the program when
   there is no memory. */
struct reactor_group *reactor_group_new(uint32_t count, const struct reactor_hooks *hooks) MUST_USE;
/* Starts the threads ("reactor-N", signals blocked). ERR_IO with errno; then none is running.
   With has_private_descriptors each takes a copy of the descriptors that are open now: those that
   all use must be open, and keep their numbers from here on (eventfds, the log's file). on_start
   closes what belongs to others. */
enum err reactor_group_start(struct reactor_group *group) MUST_USE;
/* Asks every reactor to end after its turn. Any thread; async-signal-safe. */
void reactor_group_stop(struct reactor_group *group);
/* Waits for the threads to end. */
void reactor_group_join(struct reactor_group *group);
void reactor_group_free(struct reactor_group *group);
/* One turn of one reactor on the calling thread, waiting at most `wait_ms`: for tests and for
   benchmarks in process, with a group that was not started. on_start and on_stop are not called.
   Several reactors may be turned by one thread, one after the other. */
void reactor_turn(struct reactor *reactor, int wait_ms);

/* Waits for `interest` on io->fd, and hands events to the handler of io->kind. ERR_IO: errno. */
enum err reactor_io_add(struct reactor *reactor, struct io *io, uint8_t interest) MUST_USE;
/* Changes what is waited for; one epoll_ctl, and none when it is the same. Errors and hang-ups are
   reported whatever the interest. */
void reactor_io_set(struct reactor *reactor, struct io *io, uint8_t interest);
/* Interest 0, and errors and hang-ups are not reported either (once more at most), until
   reactor_io_set() asks for something. Needs no memory. */
void reactor_io_mute(struct reactor *reactor, struct io *io);
/* Stops waiting (before close). Events of this turn may still come: the app marks the object closed
 * and reaps later. */
void reactor_io_remove(struct reactor *reactor, struct io *io);
/* Runs the job from this turn on; no effect when it is waiting to run already. */
void reactor_job_add(struct reactor *reactor, struct job *job);
/* Expires `heap` from now on, once a tick: what is armed later for a tick that has begun already
   expires with the next. At most REACTOR_HEAPS_MAX; borrowed. */
void reactor_heap_add(struct reactor *reactor, struct timing_heap *heap,
                      void (*expired)(void *reactor, uint32_t handle));
/* Sums a counter over the group. Any thread. */
uint64_t reactor_group_metric(struct reactor_group *group, enum metric metric);

#endif
