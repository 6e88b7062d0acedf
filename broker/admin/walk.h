/*
 * walk.h: answers a subscription to $SYS/broker/sessions/... with a document of each session,
 * RETAIN 1, made on the fly.
 *
 *   subscribed -> ask reactor 0 -> answer: deliver what has room -> ask on ... reactor 1 ... -> end
 *                     ^                        | no room: wait for hooks.drained
 *                     +------------------------+
 *
 * Nothing is kept while a walk waits: a document for which there was no room is asked for again,
 * so no old state ever overtakes the news of a change. The subscription's QoS and the client's
 * window are respected. A walk ends with its connection or subscription; subscribing again begins
 * anew.
 *
 * Threads: the reactor of the subscriber. Cost: per turn at most one answer for each walk.
 */
#ifndef ADMIN_WALK_H
#define ADMIN_WALK_H

#include "conn/broker.h"

struct walks;

struct walks *walks_new(void);
void walks_free(struct walks *walks);
/* hooks.subscribed, hooks.unsubscribed, hooks.drained */
void walk_subscribed(struct worker *worker, struct session *session, struct slice filter,
                     index_subscriber subscriber, uint8_t retain_handling, bool is_new);
void walk_unsubscribed(struct worker *worker, struct session *session, struct slice filter);
void walk_drained(struct worker *worker, struct session *session);
/* Every tick: forgets walks whose connection is gone. */
void walk_tick(struct worker *worker);

#endif
