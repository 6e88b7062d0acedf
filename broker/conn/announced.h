/*
 * announced.h: what CONNACK tells clients of our limits holds for them as long as they are
 * connected, whatever a reload changes meanwhile (sections 3.2.2.3.3, 3.2.2.3.5, 3.2.2.3.6): who
 * keeps to it is not thrown out. 3.x clients are told nothing; they are treated alike.
 *
 *   broker->announced    [at start] [after a reload] [...]    each set of limits once
 *                             ^                        ^
 *   connection           io.of_app                broker->announced_now: for who connects now
 *
 * Threads: sets are made by the main thread, read by any reactor, and never change.
 */
#ifndef CONN_ANNOUNCED_H
#define CONN_ANNOUNCED_H

#include "conn/connection.h"

/* The first set; before there are reactors. */
void announced_init(struct broker *broker, const struct config *config);
/* Who connects from now on is told what `config` says. False: there were ANNOUNCED_MAX different
   sets already, and nothing changes. Main thread. */
bool announced_change(struct broker *broker, const struct config *config);
/* For a new connection, and again at CONNECT. */
void announced_take(struct worker *worker, struct connection *connection);

static inline const struct announced *announced_to(const struct worker *worker,
                                                   const struct connection *connection)
{
    return &worker->broker->announced[connection->io.of_app];
}

#endif
