/*
 * moving.h: sessions between reactors (the protocol is drawn in attach.h), and messages that wait
 * for one to arrive.
 */
#ifndef CONN_MOVING_H
#define CONN_MOVING_H

#include "conn/connection.h"
#include "session/session_table.h"

/* What slot->is_moving says, from the moment slot->owner names the new owner: */
#define MOVING_SENT 1u /* it has left: the new owner stashes */
#define MOVING_FROM(reactor) \
    (2u + (reactor)) /* the old owner still has it, for what was sent there before */

struct move;
/* Requests that wait, in the order they came. All zero: none. */
struct moves {
    struct move *first, *last;
};

/* Memory for a request, to be had before anything is changed. NULL: there is none. */
struct move *moving_new(struct worker *worker) MUST_USE;
/* A request that was not made after all. */
void moving_free(struct move *move);
/* Asks the owner of `ref` to hand it over to `connection`, or with NULL to end it. */
void moving_request_take(struct worker *worker, struct move *move, struct connection *connection,
                         const struct session_ref *ref);
/* What kept a session's old connection from being heard to its end is over, or the connection has gone:
   goes on with who asked for the session, in this turn or the next. */
void moving_go_on(struct worker *worker, const struct session *session);
/* Whether a session of this reactor has such requests put aside: who wants it now comes behind them,
   so that the last one keeps it. */
bool moving_is_delayed(struct worker *worker, const struct session_ref *ref);
/* Puts a request that has come aside; then takes up again what was put aside, and forgets it there. */
void moving_delay(struct moves *delayed, struct move *move);
void moving_post_delayed(struct worker *worker, struct moves *delayed);
/* Sends what could not be sent for want of memory; each turn. */
void moving_post_again(struct worker *worker);
void moving_init(struct worker *worker);
/* Frees what is still under way, after the last turn. */
void moving_fini(struct worker *worker);

#endif
