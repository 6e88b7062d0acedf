/*
 * lookup.h: answers subscriptions to $SYS/broker/sessions/<client id>: the document of that session.
 *
 *   subscribed -> wanted: [id] [id] [id] -> ask the session's reactor -> deliver -> the next one
 *                                            no room: wait for hooks.drained, then ask
 *
 * Any number of them may wait. What is kept for each is less than its subscription takes, and goes
 * with it: one for each filter, so the subscriptions are the limit. One is asked for at a time.
 *
 * Threads: the reactor of the subscriber. Cost: a question and an answer for each.
 */
#ifndef ADMIN_LOOKUP_H
#define ADMIN_LOOKUP_H

#include "admin/ask.h"
#include "base/list.h"
#include "base/table.h"
#include "conn/broker.h"

struct watcher;
struct wanted;

/* The part of a watcher. */
struct lookups {
    struct asker asker;
    struct list wanted; /* in the order of the subscriptions */
    struct table by_filter;
    struct wanted *asked; /* the one that is asked for; NULL: none, or it is not wanted any more */
    bool is_asking;
};

void lookups_init(struct watcher *watcher);
void lookups_fini(struct watcher *watcher);
/* Wants the document of one session. False without memory. */
bool lookup_start(struct watcher *watcher, struct slice filter, index_subscriber subscriber);
void lookup_end(struct watcher *watcher, struct slice filter);
/* Asks on when there is room. */
void lookup_go_on(struct watcher *watcher);

#endif
