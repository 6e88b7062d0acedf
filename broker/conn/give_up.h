/*
 * give_up.h: messages that came to a session by share groups go to other members when it cannot
 * take them: QoS 1 in flight, and what is queued.
 *
 * A client that is gone hands over what others are ready for now; the rest stays with its session,
 * and so does everything from the moment that it is back. A session that ends hands over to whoever
 * would get a new message; what nobody takes is dropped and counted. Either goes on in slices, from
 * a job and never within a delivery, and closes nobody: a full queue refuses what is handed over.
 *
 * All functions on the session's own reactor.
 */
#ifndef CONN_GIVE_UP_H
#define CONN_GIVE_UP_H

#include "conn/broker.h"
#include "conn/deliver.h"
#include "session/session.h"

/* The client of a session that lives on is gone. O(1) when nothing came by a share group. */
void give_up_begin(struct worker *worker, struct session *session);
/* What was not handed over yet stays with the session. */
void give_up_cancel(struct session *session);
/* A message of a share group came for a session that ends: it goes behind those that are still to be
   handed over, or it would overtake them. False: none are, or no memory: it can go at once. */
bool give_up_add(struct worker *worker, struct session *session, struct publication *publication,
                 const struct delivery_wish *wish) MUST_USE;
/* One slice for a session that ends; true when nothing shared is left, or there is no memory. */
bool give_up_at_end(struct worker *worker, struct session *session);

#endif
