/*
 * pause.h: publishers that are not read for a while, because memory or a mailbox is nearly full.
 *
 * They stand in a ring, oldest first. Each tick, and when there is room again, a job lets those go
 * on that stand there at that moment, a few at a time: each is read up to twice a second however
 * long it lasts, and 100,000 of them hold the reactor no longer than a hundred.
 */
#ifndef CONN_PAUSE_H
#define CONN_PAUSE_H

#include "conn/connection.h"

/* Does not read the connection from now on. Without memory it is read on. */
void pause_add(struct worker *worker, struct connection *connection);
/* Lets all that are paused now go on, soon. */
void pause_release(struct worker *worker);
void pause_fini(struct worker *worker);

#endif
