/*
 * again.h: connections that have more to send, or more input to be worked off, than one turn allows:
 * first come, first served, a slice each.
 *
 * One job for each reactor takes them in turn, within the reactor's budget for jobs, so ten
 * thousand replays at once hold it no longer than one.
 */
#ifndef CONN_AGAIN_H
#define CONN_AGAIN_H

#include "conn/connection.h"

/* Queues the connection for another slice; harmless when it is queued already. */
void again_add(struct worker *worker, struct connection *connection);
/* The same for input that has arrived: holds the connection (HOLD_TURN) until its slice comes. */
void again_add_input(struct worker *worker, struct connection *connection);
void again_free(struct worker *worker);

#endif
