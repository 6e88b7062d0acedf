/*
 * publish.h: the way of a message from its publisher to everyone who gets it, on whichever reactor.
 */
#ifndef CONN_PUBLISH_H
#define CONN_PUBLISH_H

#include "conn/connection.h"
#include "conn/merge.h"
#include "conn/deliver.h"

/* Retains if asked, finds the subscribers, delivers to those of this reactor and mails to the
   others. `by`: the connection it came from, NULL: the broker itself; it is held when the spreading
   takes several turns. Returns how many subscriptions matched. */
uint32_t publish_message(struct worker *worker, struct connection *by,
                         struct publication *publication);

/* A publication of the broker itself. */
void publish_own(struct worker *worker, struct slice topic, struct slice payload, uint8_t qos,
                 uint8_t flags);

/* One delivery to a session of any reactor: here at once, elsewhere by mail. `generation`: of the
   session that is meant, 0 when the match is of this turn. */
void publish_to_slot(struct worker *worker, struct publication *publication,
                     const struct index_match *match, uint32_t generation);

/* One delivery to a session of this reactor. What came by a share group for one that ends is handed
   over. */
void publish_to_session(struct worker *worker, struct session *session,
                        struct publication *publication, const struct delivery_wish *wish);

/* MAIL_DELIVER */
void publish_mail_deliver(struct reactor *reactor, void *payload, uint32_t bytes);
/* Who the match means: its slot may be somebody else's in a later turn. */
uint32_t publish_generation(struct worker *worker, const struct index_match *match);
/* Delivers `count` (at most SPREAD_TARGETS) matches. Reorders items. `generations`: of the sessions
   that are meant, NULL when the matches are of this turn. `merge`: of the matches, or NULL. */
void publish_slice(struct worker *worker, struct publication *publication,
                   struct index_match *items, const uint32_t *generations, uint32_t count,
                   const struct merge *merge);

#endif
