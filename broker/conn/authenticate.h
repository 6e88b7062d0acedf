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

#endif
