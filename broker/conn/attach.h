/*
 * attach.h: connections and sessions find each other, part, and move between reactors.
 *
 * Taking over a session of another reactor B from reactor C, without losing a message or its order:
 *
 *   C: MAIL_TAKEOVER -> B              the connection waits, unread
 *   B: reads what its old connection has sent, waits when that takes longer, and closes it; goes on
 *      when nothing that came from it is being spread
 *      is_moving = MOVING_FROM(B), owner = C      new deliveries now go to C, which stashes them
 *      waits for a grace period        every reactor has begun a turn since: all that was sent to B
 *                                      is in B's mailbox, and is delivered into the session by B
 *   B: MAIL_HANDOVER to itself         behind all of that
 *      is_moving = MOVING_SENT, MAIL_ARRIVE -> C
 *   C: is_moving = 0; attaches, then delivers its stash
 *
 * All functions on the reactor's own thread.
 */
#ifndef CONN_ATTACH_H
#define CONN_ATTACH_H

#include "conn/connection.h"
#include "conn/deliver.h"

/* CONNECT, remembered until CONNACK. */
struct pending_connect {
    struct slice client_id, user_name; /* in bytes[] */
    uint32_t expiry_s;
    uint16_t keepalive_s;   /* in force */
    bool is_keepalive_ours; /* told as Server Keep Alive */
    bool is_expiry_ours;
    bool clean_start;
    bool is_id_assigned;
    bool wants_response_information;
    bool has_user_name, is_verified, is_admin;
    struct will *will;                /* owned, NULL: none */
    const struct auth_method *method; /* enhanced authentication, NULL: none */
    void *method_state;
    struct slice auth_reply; /* for CONNACK; belongs to the method */
    bool is_reauthentication;
    uint8_t bytes[];
};

struct slice pending_client_id(const struct pending_connect *pending);

/* Finds or makes the session for connection->pending, and ends with CONNACK, now or by mail. */
void attach_begin(struct worker *worker, struct connection *connection);
/* Refuses a CONNECT: CONNACK with the code in the form of its version, then close. */
void attach_refuse(struct worker *worker, struct connection *connection, uint8_t code,
                   const char *text);
/* Another connection takes the session over: works off what has arrived from this one, as a DISCONNECT
   may be among it [MQTT-3.14.4-3]. True: that is done, and this one is to be closed, if it has not come
   to that; the session may have ended by it. False: some of it waits for something (a message that is
   being spread, a long SUBSCRIBE, time); who asked waits in moving.c, five seconds at most. */
bool attach_hear_before_takeover(struct worker *worker, struct connection *connection);
/* The connection closes: will, expiry and shared messages by the rules. */
void attach_detach(struct worker *worker, struct connection *connection);
void attach_forget_pending(struct worker *worker, struct connection *connection);
/* Frees aliases and the like at the end. */
void attach_free_parts(struct worker *worker, struct connection *connection);

/* Ends a session of this reactor: its will goes out, its subscriptions are taken apart in slices,
 * memory follows. */
void session_end(struct worker *worker, struct session *session);
/* Timer of a session without connection: will delay or session expiry. */
void attach_offline_timer(void *reactor, uint32_t handle);
/* Publishes and forgets the will. */
void attach_publish_will(struct worker *worker, struct session *session);

void attach_init_wills(struct worker *worker);
/* A publication to very many without a publisher who could wait has been spread. */
void attach_spread_is_over(struct worker *worker);
/* Frees wills that are due, after the last turn. */
void attach_forget_due_wills(struct worker *worker);
/* Starts and ends the timers of a session without connection. */
void attach_go_offline(struct worker *worker, struct session *session);
void attach_go_online(struct worker *worker, struct session *session);
/* Its expiry is what the configuration now says, if it has no connection. It may end by that. */
void attach_renew_expiry(struct worker *worker, struct session *session);
/* The session that a WAITING connection asked for is here; NULL: it is gone, look again. */
void attach_arrived(struct worker *worker, struct connection *connection, struct session *session);

/* Mail handlers. */
void attach_mail_takeover(struct reactor *reactor, void *payload, uint32_t bytes);
void attach_mail_handover(struct reactor *reactor, void *payload, uint32_t bytes);
void attach_mail_arrive(struct reactor *reactor, void *payload, uint32_t bytes);

/* A session that is not connected, in the reactor's offline slab. */
struct offline {
    struct timing_node timer;
    uint32_t will_tick;   /* 0: none pending */
    uint32_t expiry_tick; /* 0: never */
    struct session *session;
};

/* Keeps a publication for a session that is on its way here, behind earlier ones. */
void attach_stash(struct worker *worker, uint32_t slot, struct publication *publication,
                  const struct delivery_wish *wish);

#endif
