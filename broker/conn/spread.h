/*
 * spread.h: a publication to more subscribers than one turn may serve, worked off by a job while
 * its publisher is not read, so that the order of each publisher holds and nobody is held up. That
 * also goes for a connection that takes the place of the publisher's.
 */
#ifndef CONN_SPREAD_H
#define CONN_SPREAD_H

#include "conn/connection.h"

#define SPREAD_TARGETS 2048u /* deliveries in one go */

/* Takes the worker's matches and delivers them in later turns, with `is_merging` one copy for each
   session (merge.h). `by`: the publisher, NULL: none. False without memory: they are as before. */
bool spread_start(struct worker *worker, struct connection *by, struct publication *publication,
                  bool is_merging) MUST_USE;
/* A client has connected: it is not read as long as something that came from its former connection
   is being spread here [MQTT-4.6.0-6]. */
void spread_go_behind(struct worker *worker, struct connection *connection);

struct move;
/* The same for a session that another reactor asks for. True: the move waits, and is posted again
   when that is over. */
bool spread_delays_move(struct worker *worker, const struct session *session, struct move *move);
/* Whether a move of the session waits so: who asks for it now comes behind. */
bool spread_has_moves(struct worker *worker, const struct session *session);

void spread_init(struct worker *worker);

#endif
