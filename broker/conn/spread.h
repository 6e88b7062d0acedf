/*
 * spread.h: a publication to more subscribers than one turn may serve, worked off by a job while
 * its publisher is not read, so that the order of each publisher holds and nobody is held up.
 */
#ifndef CONN_SPREAD_H
#define CONN_SPREAD_H

#include "conn/connection.h"

#define SPREAD_TARGETS 2048u /* deliveries in one go */

/* Takes the worker's matches and delivers them in later turns, with `is_merging` one copy for each
   session (merge.h). `by`: the publisher, NULL: none. False without memory: they are as before. */
bool spread_start(struct worker *worker, struct connection *by, struct publication *publication,
                  bool is_merging) MUST_USE;

#endif
