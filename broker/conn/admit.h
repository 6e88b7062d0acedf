/*
 * admit.h: newcomers, when many come at once: so many of them a turn, oldest first.
 *
 * A handshake costs much more than a message: a session is made, lines are logged, tables change. What
 * thousands of newcomers have sent would stand in the kernel's list of what is ready before the next
 * message of a client that has been there all along, which would wait for all of them. So only the first
 * few of a turn are read at once; the others stand in a ring, from which each turn takes a few.
 *
 * A newcomer is a connection that was read less than ADMIT_READS times: what follows a CONNECT, mostly a
 * SUBSCRIBE, comes in the same crowd, and so does the end of those who only looked in. It ceases to be
 * one before that when a read may leave something behind (admit.c).
 *
 * Not to be told of those in the ring in each turn, newcomers are waited for by edges (IO_EDGE), which
 * costs no call of the system. So whatever is not read to its end, and whoever is held for another
 * reason, is waited for as all others are.
 */
#ifndef CONN_ADMIT_H
#define CONN_ADMIT_H

#include <sys/epoll.h>
#include <sys/socket.h>

#include "conn/connection.h"

#define ADMIT_READS 4u

static inline bool admit_is_newcomer(const struct connection *connection)
{
    return UNLIKELY(connection->newcomer_reads < ADMIT_READS);
}

/* What a connection that nothing keeps from being read is waited for by. No edges where a read may end
   before the socket is empty and nothing tells: a transport may keep bytes of its own, and a Unix socket
   ends a read behind bytes that descriptors came with. */
static inline uint8_t admit_interest(const struct connection *connection)
{
    bool has_edges = admit_is_newcomer(connection) && !connection->has_transport &&
                     connection->address_family != AF_UNIX;
    return has_edges ? EPOLLIN | IO_EDGE : EPOLLIN;
}

/* A newcomer has something to read: reads it, now or when its turn comes. False: it is held for another
   reason, so there is nothing to do for it here. Without memory for the ring: now. */
bool admit_ready(struct worker *worker, struct connection *connection, uint32_t events);
/* Once a turn, before the output is written: those whose turn it is. */
void admit_turn(struct worker *worker);
void admit_fini(struct worker *worker);

#endif
