/*
 * authenticate.h: between CONNECT and the session: user name and password, or an exchange of AUTH
 * (section 4.12).
 */
#ifndef CONN_AUTHENTICATE_H
#define CONN_AUTHENTICATE_H

#include "conn/connection.h"

/* Goes on to attach_begin(), sends AUTH, or refuses. connection->pending is set. */
void authenticate_connect(struct worker *worker, struct connection *connection,
                          const struct packet_connect *packet);

/* Whether the session's client is an admin by the configuration as it is now. On its reactor. */
void authenticate_again(struct worker *worker, struct session *session);

#endif
