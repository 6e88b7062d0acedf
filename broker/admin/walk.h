/*
 * walk.h: answers a subscription to $SYS/broker/sessions/# or .../+ with a document of each session,
 * RETAIN 1, made on the fly.
 *
 *   subscribed -> ask reactor 0 -> answer: deliver what has room -> ask on ... reactor 1 ... -> end
 *                     ^                        | no room: wait for hooks.drained
 *                     +------------------------+
 *
 * Nothing is kept while a walk waits: a document for which there was no room is asked for again,
 * so no old state ever overtakes the news of a change. The subscription's QoS and the client's
 * window are respected. A walk ends with its connection or subscription; subscribing again begins
 * anew. There are only a few such filters, so a connection has few walks.
 *
 * Threads: the reactor of the subscriber. Cost: per turn at most one answer for each walk.
 */
#ifndef ADMIN_WALK_H
#define ADMIN_WALK_H

#include "conn/broker.h"

struct watcher;

/* False without memory. */
bool walk_start(struct watcher *watcher, struct slice filter, index_subscriber subscriber);
void walk_end(struct watcher *watcher, struct slice filter);
void walks_end_all(struct watcher *watcher);
/* There is room again. */
void walks_go_on(struct watcher *watcher);

#endif
