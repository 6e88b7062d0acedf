/*
 * replay.h: retained messages for a new subscription: a cursor, pulled as the socket drains, never
 * a copy.
 */
#ifndef CONN_REPLAY_H
#define CONN_REPLAY_H

#include "conn/connection.h"
#include "session/session.h"

/* Starts giving the retained messages that match `filter` (with mount point) to the session. O(1):
   a SUBSCRIBE may have 100,000 filters. A replay of the same filter that is under way is to be
   stopped before. */
enum err replay_start(struct session *session, struct slice filter,
                      index_subscriber subscriber) MUST_USE;
/* Goes on while window, output and the turn's budget have room. */
void replay_pump(struct worker *worker, struct session *session);
/* Ends the replay of one subscription, if it is under way. O(1). */
void replay_stop(struct session *session, struct slice filter);
/* Ends up to `budget` of them; true when none is left. */
bool replay_stop_all(struct session *session, uint32_t budget);

#endif
