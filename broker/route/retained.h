/*
 * retained.h: the last message with RETAIN 1 of each topic.
 *
 * Shards by xxHash of the first two levels; each shard is a skip list in byte order of topics.
 * Readers: any participant of the epoch domain, no locks. Writers: one mutex per shard. A cursor is
 * the last topic it looked at, so it survives any change between two slices and a wide replay needs
 * no copy.
 */
#ifndef ROUTE_RETAINED_H
#define ROUTE_RETAINED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/slice.h"
#include "route/message.h"
#include "runtime/epoch.h"

struct retained;

struct retained *retained_new(uint32_t shards /* power of two */);
/* After epoch_drain(), with no other thread at work. */
void retained_free(struct retained *retained);

/* now_tick is the reactor's, as the messages' expiry is. */

/* Keeps `message` as the retained one of its topic (takes a reference of its own), replacing.
 * [MQTT-3.3.1-5] */
enum err retained_set(struct retained *retained, struct epoch_participant *me,
                      struct message *message) MUST_USE;
/* Forgets the topic's; true when there was one. [MQTT-3.3.1-6] */
bool retained_clear(struct retained *retained, struct epoch_participant *me, struct slice topic);
/* The message of a topic, with a reference for the caller, or NULL. Expired ones are not given. */
struct message *retained_get(struct retained *retained, struct slice topic, uint32_t now_tick);

/* A walk over everything that matches a filter. Owned by one reactor; small; the filter is copied.
 */
struct retained_cursor;
/* `filter` as checked, without $share. NULL when there is no memory. */
struct retained_cursor *retained_cursor_new(struct slice filter);
void retained_cursor_free(struct retained_cursor *cursor);

enum retained_step {
    RETAINED_MESSAGE, /* *message is the next one, with a reference for the caller */
    RETAINED_AGAIN,   /* the budget of nodes looked at is used up: call again next turn */
    RETAINED_END,
};

/* What the walks of one turn share, on the stack: never kept beyond the turn, as it knows where in the
   store a cursor is. Cursors may take turns; the one that was last finds its place without a search. */
struct retained_visit {
    uint32_t now_tick;
    uint32_t nodes; /* that may be looked at */
    /* The cursor's own, NULL at first: */
    const struct retained_cursor *cursor;
    struct retained_node *node; /* where that cursor is */
};

/* The next match. `visit->nodes` counts down with each node looked at (a filter like "+/x" may pass
   many). A filter with n literal levels looks only at what is below them; without wildcard it is
   one look-up. Without memory for its place it gives RETAINED_AGAIN and uses up the nodes. The store
   may change between any two calls: a message set during the walk may or may not be given; none is
   given twice. */
enum retained_step retained_cursor_next(struct retained *retained, struct retained_cursor *cursor,
                                        struct retained_visit *visit, struct message **message);

/* Removes expired messages, a slice at a time: looks at up to `budget` nodes from where the last
   call ended. Returns how many it removed. One caller (reactor 0). */
uint32_t retained_sweep(struct retained *retained, struct epoch_participant *me, uint32_t now_tick,
                        uint32_t budget);

struct retained_stats {
    uint64_t messages, payload_bytes, bytes;
};
void retained_stats(struct retained *retained, struct retained_stats *stats);
void retained_check(struct retained *retained);

#endif
