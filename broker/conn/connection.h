/*
 * connection.h: one network connection of one client: its socket, its place in the protocol, its
 * buffers.
 *
 * An idle connection owns no buffer: input is parsed in the reactor's read buffer and only the tail
 * of a half-arrived packet is kept; output stands in chunks from the reactor's pool that go back
 * when written.
 *
 *   ACCEPTED -- CONNECT --> [AUTHENTICATING] --> [WAITING] --> CONNECTED --> CLOSING
 *                           exchange of AUTH     for a session of another reactor
 *
 * Owned by its reactor. Others (mail) name it by handle and generation. Nothing frees a connection
 * in a callback: connection_close() says why, ends its part in the session at once, and it is
 * reaped at the end of the turn.
 */
#ifndef CONN_CONNECTION_H
#define CONN_CONNECTION_H

#include <sys/socket.h>

#include "base/assert.h"
#include "conn/broker.h"
#include "mqtt/packet.h"
#include "route/message.h"
#include "transport/transport.h"

enum connection_state {
    CONNECTION_ACCEPTED,       /* no CONNECT yet */
    CONNECTION_AUTHENTICATING, /* enhanced authentication before CONNACK */
    CONNECTION_WAITING, /* CONNECT accepted; its session is on its way from another reactor */
    CONNECTION_CONNECTED,
    CONNECTION_CLOSING, /* reason given; last bytes may still go out */
    CONNECTION_STATES
};

/* Why a connection is not read for now. */
#define HOLD_WAITING 0x01u  /* state WAITING */
#define HOLD_PRESSURE 0x02u /* publishers wait for memory or mailboxes */
#define HOLD_OUTPUT 0x04u   /* it does not read what we answer */
#define HOLD_BULK 0x08u     /* a long SUBSCRIBE or UNSUBSCRIBE is worked off in slices */
#define HOLD_SPREAD 0x10u   /* its last message is still being spread to very many */
#define HOLD_TURN 0x20u     /* what it sent takes more than one turn to work off */
#define HOLD_ADMIT 0x40u    /* a newcomer: others came before it */
#define HOLD_LEAVING 0x80u  /* another takes its place, and waits until it was heard to its end */
/* What has been read waits as well. */
#define HOLD_STOPS_PARSING (HOLD_WAITING | HOLD_OUTPUT | HOLD_BULK | HOLD_SPREAD | HOLD_TURN)

/* Bytes of a packet that has not arrived whole. */
struct tail {
    uint32_t len, cap;
    uint8_t bytes[];
};

/* CONNECT as it has to be remembered while a session is fetched or authentication goes on; on the
 * heap. */
struct pending_connect;
struct aliases;
struct bulk;
struct chunk;

/* What most connections never need. */
struct connection_rare {
    struct transport *transport; /* NULL: plain TCP; for the connection's life */
    struct aliases *aliases;     /* topic aliases, NULL until the first */
    struct bulk *bulk;
    const struct auth_method *auth_method; /* enhanced authentication it came in by, NULL: none */
    uint16_t alias_max;                    /* peer's Topic Alias Maximum, cut to ours */
};

struct connection {
    struct io io;             /* first member */
    struct timing_node timer; /* keepalive, CONNECT deadline, lingering */
    uint32_t handle;
    uint32_t generation;
    uint32_t last_packet_tick;
    struct session *session; /* attached in CONNECTED only */
    struct tail *tail;
    struct chunk *out_first, *out_last;
    struct connection *dirty_next;  /* in the worker's list of what to write, when is_dirty */
    struct connection *closed_next; /* in the worker's list of what to reap */
    struct pending_connect
        *pending;                 /* while authenticating or waiting; and for re-authentication */
    struct connection_rare *rare; /* NULL until something of it is needed */
    uint32_t out_bytes;           /* waiting to be written */
    uint32_t out_publishes;       /* QoS 0 PUBLISH packets that are not wholly written */
    uint32_t packet_bytes_max;    /* peer's Maximum Packet Size */
    uint16_t receive_maximum;     /* peer's */
    uint16_t keepalive_s;         /* in force */
    uint16_t port;
    uint8_t version : 4;        /* 0 before CONNECT */
    uint8_t newcomer_reads : 3; /* so far: see admit.h */
    bool has_last_words : 1;    /* DISCONNECT ends the output: worth waiting for its being taken */
    uint8_t listener;
    uint8_t hold;               /* HOLD_* */
    uint8_t state : 3;          /* enum connection_state */
    uint8_t close_reason : 5;   /* enum close_reason */
    uint8_t address_family : 4; /* AF_INET, AF_INET6, AF_UNIX */
    bool is_dirty : 1;
    bool is_blocked : 1;     /* the socket took less than we had; EPOLLOUT is armed */
    bool is_again : 1;       /* waits for another slice of what its session has to send */
    bool is_paused : 1;      /* in the worker's ring of paused publishers */
    bool has_spoken : 1;     /* at least one byte came */
    bool is_lingering : 1;   /* written out, waiting for the peer to close */
    bool is_finished : 1;    /* nothing more to do: free it at the end of the turn */
    bool wants_problems : 1; /* Request Problem Information */
    bool wants_drained : 1;  /* tell hooks.drained when output has room */
    bool has_transport : 1;  /* other than plain TCP */
    bool is_deaf : 1;        /* takes nothing more; what it sent before is still read */
    bool is_drained : 1;     /* nothing of its session waits for room: see deliver_waits() */
    uint8_t address[16];
};
_Static_assert(sizeof(struct connection) <= 128, "an idle connection takes two cache lines");
_Static_assert(CONNECTION_STATES <= 8 && CLOSE_COUNT <= 32 && AF_INET6 < 16, "they fit their bits");

/* Takes a freshly accepted socket. */
void connection_accept(struct reactor *reactor, struct listener *listener, int fd,
                       const struct sockaddr *peer);
/* io handler. */
void connection_ready(struct reactor *reactor, struct io *io, uint32_t events);
/* Ends a connection with a reason: DISCONNECT (v5, connected) with `code` and `text` if any, will
   and session by the rules, then close. Harmless when it is closing already. `text` may be NULL. */
void connection_close(struct worker *worker, struct connection *connection,
                      enum close_reason reason, uint8_t code, const char *text);
/* The same with the code that goes with the reason; where that says no more than "quota exceeded",
   the text is what the table says of the reason. */
void connection_close_plain(struct worker *worker, struct connection *connection,
                            enum close_reason reason);
/* The same for a fault of the peer. */
void connection_fault(struct worker *worker, struct connection *connection,
                      const struct fault *fault);
/* Keeps from reading, and reads on. */
void connection_hold(struct worker *worker, struct connection *connection, uint8_t why);
void connection_unhold(struct worker *worker, struct connection *connection, uint8_t why);
/* Waits for input or not, as `hold` says. */
void connection_set_reading(struct worker *worker, struct connection *connection);
/* Parses and handles as much of `in` as is whole and allowed; returns bytes used. */
size_t connection_input(struct worker *worker, struct connection *connection, struct slice in);
/* Handles what was kept while the connection was held. */
void connection_resume_input(struct worker *worker, struct connection *connection);
/* The timer of a connection ran out. */
void connection_timer(void *reactor, uint32_t handle);
/* (Re)arms for keepalive. */
void connection_arm_keepalive(struct worker *worker, struct connection *connection);
/* By handle and generation; NULL when it is gone or closing. */
struct connection *connection_find(struct worker *worker, uint32_t handle, uint32_t generation);
/* Frees what was closed this turn. */
void connection_reap_all(struct worker *worker);
/* Room for the last packet that a client gets, with a reason string and a Server Reference of 1024
   bytes (config_table.c). */
#define CONNECTION_LAST_WORDS_BYTES 2048
/* "1.2.3.4:5678", "[::1]:5678", or "local" for a Unix socket. */
#define CONNECTION_ADDRESS_BYTES 64
const char *connection_address(const struct connection *connection,
                               char buffer[CONNECTION_ADDRESS_BYTES]);
bool connection_is_loopback(const struct connection *connection);
/* Client id for logs: "-" before CONNECT, and while it has none. */
struct slice connection_client_id(const struct connection *connection);

/* The rare part, made if need be. NULL: no memory. */
struct connection_rare *connection_rare(struct connection *connection);

static inline uint16_t connection_alias_max(const struct connection *connection)
{
    return connection->rare ? connection->rare->alias_max : 0;
}

/* NULL: plain TCP. */
static inline struct transport *connection_transport(const struct connection *connection)
{
    return UNLIKELY(connection->has_transport) ? connection->rare->transport : NULL;
}

static inline const struct config_listener *connection_listener(struct worker *worker,
                                                                const struct connection *connection)
{
    return &broker_config(worker->broker)->listeners[connection->listener];
}

#endif
