/*
 * epoch.h: when may memory that lock-free readers might still look at be freed (quiescent-state
 * reclamation).
 *
 *   turn of reactor 0   |--read--------|q|--read---|q|   (asleep)     |--read--|q|
 *   turn of reactor 1        |--read------------|q|--read--|q|
 *                                 ^ unlink + epoch_defer     ^ both have passed a q since: freed
 *
 * Every reactor is a participant. Within a turn it may read any routing table; pointers it found
 * die with the turn. At the end of the turn it calls epoch_quiescent(); around epoll_wait it is
 * asleep and counts as quiescent. Also a fence: when an item's callback runs, every participant has
 * begun a new turn since, so it has seen every store made before epoch_defer(), and everything it
 * posted before is in the mailboxes.
 *
 * Threads: each participant belongs to one thread; no locks. Cost: two relaxed loads a turn when
 * nothing is deferred.
 */
#ifndef RUNTIME_EPOCH_H
#define RUNTIME_EPOCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define EPOCH_PARTICIPANTS_MAX 256

/* Deferred work; embedded in what is to be freed, or in a small allocation of its own. */
struct epoch_item {
    struct epoch_item *next;
    void (*run)(struct epoch_item *item,
                void *ctx); /* on the thread that deferred it; ctx of the participant */
    uint64_t epoch;
};

struct epoch_participant {
    _Alignas(64) _Atomic uint64_t
        seen; /* the global epoch at its last quiescence; UINT64_MAX while asleep */
    struct epoch_domain *domain;
    void *ctx;
    struct epoch_item *first, **last; /* deferred here, oldest first */
    uint32_t deferred;
};

struct epoch_domain {
    _Alignas(64) _Atomic uint64_t now;
    _Atomic uint32_t count;
    struct epoch_participant participants[EPOCH_PARTICIPANTS_MAX];
};

/* The domain is in static storage or aligned to 64 bytes. */
void epoch_domain_init(struct epoch_domain *domain);
/* Adds a participant (awake). `ctx` is handed to items. At most EPOCH_PARTICIPANTS_MAX ever. */
struct epoch_participant *epoch_join(struct epoch_domain *domain, void *ctx);
/* End of a turn: nothing read before is used any more. Runs the items that have become safe (at
   most `budget`). True when items are left waiting: then do not sleep for long. */
bool epoch_quiescent(struct epoch_participant *me, uint32_t budget);
void epoch_sleep(struct epoch_participant *me);
void epoch_wake(struct epoch_participant *me);
/* Calls item->run(item, ctx) on this thread once nobody can still be reading what was reachable
 * before. */
void epoch_defer(struct epoch_participant *me, struct epoch_item *item,
                 void (*run)(struct epoch_item *item, void *ctx));
/* mem_free(ptr) after a grace period. Allocates a small item; falls back to leaking when there is
 * no memory. */
void epoch_defer_free(struct epoch_participant *me, void *ptr);
/* At the end of the program or a test, single-threaded: runs everything that is deferred anywhere.
 */
void epoch_drain(struct epoch_domain *domain);

#endif
