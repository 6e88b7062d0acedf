/*
 * watcher.h: a connection that is being given documents of sessions: by walks over all of them
 * (walk.h), and by look-ups of single ones (lookup.h).
 *
 * Made with the connection's first such subscription; when nothing is left to do it goes with the
 * next tick. There is one for each connection at most, so connections are what limits their number.
 *
 * Threads: the reactor of the connection.
 */
#ifndef ADMIN_WATCHER_H
#define ADMIN_WATCHER_H

#include "admin/ask.h"
#include "admin/lookup.h"
#include "base/list.h"
#include "base/table.h"
#include "conn/connection.h"

struct watchers {
    struct list list;
    struct table by_connection;
};

struct watcher {
    struct list link;
    struct table_node node; /* in by_connection */
    struct worker *worker;
    struct connection_ref connection;
    struct list walks;
    struct lookups lookups;
};

struct watchers *watchers_new(void);
/* Before ask_desk_free(). */
void watchers_free(struct watchers *watchers);

/* hooks.subscribed, hooks.unsubscribed, hooks.drained */
void watcher_subscribed(struct worker *worker, struct session *session, struct slice filter,
                        index_subscriber subscriber, uint8_t retain_handling, bool is_new);
void watcher_unsubscribed(struct worker *worker, struct session *session, struct slice filter);
void watcher_drained(struct worker *worker, struct session *session);
/* Every tick: forgets those that have nothing more to do, or whose connection is gone. */
void watcher_tick(struct worker *worker);

/* ---- for walks and look-ups ---- */

/* The connection, or NULL when it is gone. */
struct connection *watcher_connection(const struct watcher *watcher);
/* How many documents the client can take now without queueing any. */
uint32_t watcher_room(const struct watcher *watcher, const struct connection *connection,
                      index_subscriber subscriber);
/* Gives one document, with the retain flag. */
void watcher_give(struct watcher *watcher, struct session *session, index_subscriber subscriber,
                  const struct ask_record *record);

#endif
