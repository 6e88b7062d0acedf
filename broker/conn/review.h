/*
 * review.h: after a reload that says something of them, each reactor goes over its sessions, with
 * and without connection: who is an admin now, and when who is away is forgotten.
 *
 *   main: config swapped -> reviews_asked + 1 -> MAIL_REVIEW     each reactor: job over all slots
 *
 * What came in, or came from another reactor, after the pass began was judged by the new
 * configuration; what was there before is met by the pass. A tick finds what mail did not reach.
 *
 * Cost: for each reactor a look at every slot, and at each of its own sessions.
 */
#ifndef CONN_REVIEW_H
#define CONN_REVIEW_H

#include "conn/broker.h"

/* Whether the two differ in what is reviewed. */
bool review_is_needed(const struct config *before, const struct config *after);
/* When the new configuration is in force. Any thread. */
void review_ask(struct broker *broker);
/* Starts what was asked for; every tick. */
void review_tick(struct worker *worker);
/* Mail handler: the same. */
void review_mail(struct reactor *reactor, void *payload, uint32_t bytes);

#endif
