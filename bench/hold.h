/* hold.h: what the other parts know of clients that keep a connection; see hold.c. */
#ifndef BENCH_HOLD_H
#define BENCH_HOLD_H

#include "bench/bench.h"

/* Gives the worker its share of --clients. */
void hold_plan(struct worker *w);
/* Subscribes to the client's own topic. */
void hold_on_connack(struct client *c, const struct frame *frame);
void hold_on_pong(struct client *c);
/* PINGREQs that are due at the pace of `pings`, each from the next client in turn. */
void hold_ping_turn(struct worker *w);
/* How many of them were due in their step and are not sent. */
uint64_t hold_behind(const struct worker *w);
/* PINGREQ from those whose keepalive is three quarters up. */
void hold_keepalive_turn(struct worker *w);
/* Cuts the connection, and has the client come back at once. */
void hold_cut(struct client *c);

#endif
