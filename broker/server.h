/*
 * server.h: the broker as a whole: makes the shared tables, starts reactors and listeners, reloads,
 * drains, stops.
 */
#ifndef BROKER_SERVER_H
#define BROKER_SERVER_H

#include "auth/auth.h"
#include "base/err.h"
#include "runtime/config.h"

struct server;

/* Makes everything, opens the listeners (so that a busy port is an error here), starts no thread.
   Takes `config`. NULL: *error is a line for the operator; free() it. */
struct server *server_new(struct config *config, char **error);
/* For checkers and methods of authentication, before server_run. */
struct auth *server_auth(struct server *server);
/* Runs until server_stop() or a signal: SIGTERM and SIGINT drain and end, SIGHUP reloads from
   `args`. Returns the exit status. Call with those signals blocked in every thread. */
int server_run(struct server *server, const struct config_args *args);
/* The port of a listener, for tests that asked for port 0. */
uint16_t server_port(const struct server *server, uint32_t listener);
void server_free(struct server *server);

#endif
