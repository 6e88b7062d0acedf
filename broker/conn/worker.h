/*
 * worker.h: a reactor's part of the broker: set up, ticked, flushed, reaped, drained.
 */
#ifndef CONN_WORKER_H
#define CONN_WORKER_H

#include "conn/broker.h"

/* Fills in the tables that connect runtime with conn: kinds of descriptors, types of mail, hooks.
 */
void worker_install(struct reactor_group *group);
extern const struct reactor_hooks worker_hooks;
/* Sets a worker up for its reactor; listeners are opened separately. */
void worker_init(struct worker *worker, struct broker *broker, struct reactor *reactor);
void worker_fini(struct worker *worker);
/* The session in a slot, when it is this reactor's to look at; or NULL. The slot is looked at only when
   its generation is odd (it is given out), its owner is this reactor and it is not moving; all of
   that changes by this reactor's own hand, so what was seen holds for the turn. See slots.h, moving.c. */
struct session *worker_own_session(struct worker *worker, uint32_t slot);
/* Frees a session of any reactor, its subscriptions too; after the last turn only. */
void worker_free_session(struct worker *worker, struct session *session);
/* Closes every connection with a reason, a slice at a time; true when none is left. On its own
 * reactor. */
bool worker_drain(struct worker *worker, uint32_t budget);

#endif
