/*
 * subscribe.h: SUBSCRIBE and UNSUBSCRIBE: filters checked one by one, kept in the session and the
 * routing index.
 */
#ifndef CONN_SUBSCRIBE_H
#define CONN_SUBSCRIBE_H

#include "conn/connection.h"
#include "session/session.h"

/* Makes, or replaces, one subscription; returns the SUBACK code. */
uint8_t subscribe_one(struct worker *worker, struct connection *connection,
                      const struct subscribe_filter *wish, uint32_t subscription_id);
/* Ends one by its filter; returns the UNSUBACK code. */
uint8_t unsubscribe_one(struct worker *worker, struct connection *connection, struct slice filter);
/* Takes a subscription out of the index and the session. */
void subscribe_remove(struct worker *worker, struct session *session,
                      struct subscription *subscription);
/* The place in the index that a subscription of a session stands for. */
struct index_place subscribe_place(const struct subscription *subscription);

#endif
