/*
 * listener_accept.h: what opening (listener.c) and accepting (listener_accept.c) share.
 */
#ifndef RUNTIME_LISTENER_ACCEPT_H
#define RUNTIME_LISTENER_ACCEPT_H

#include "runtime/config.h"
#include "runtime/reactor.h"

#define LISTENER_WHERE_BYTES 512u

/* Where it listens, for the operator: "port 1883 on 127.0.0.1". */
void listener_describe(const struct config_listener *config, uint16_t port,
                       char text[LISTENER_WHERE_BYTES]);
/* One more listener of the reactor, or one less: a spare descriptor in its table for each, in whose
   place others are accepted to be closed. On the reactor's thread, or before the start. */
void listener_spare_add(struct reactor *reactor);
void listener_spare_remove(struct reactor *reactor);

#endif
