/*
 * server.h: the broker as a whole: makes the shared tables, starts reactors and listeners, reloads,
 * drains, stops.
 */
#ifndef BROKER_SERVER_H
#define BROKER_SERVER_H

#include <sys/types.h>

#include "base/err.h"
#include "runtime/config.h"

struct server;

/* How many reactors a configuration means on this machine. */
uint32_t server_reactors(const struct config *config);

/* Whether this machine allows the tables of descriptors that the configuration wants; false: *error as
   below. */
bool server_may_have_tables(const struct config *config, char **error);
/* Makes everything, opens the listeners (so that a busy port is an error here), starts no thread.
   Takes `config`. NULL: *error is a line for the operator; free() it. */
struct server *server_new(struct config *config, char **error);
/* Runs until a signal: SIGTERM and SIGINT drain and end, SIGHUP reloads from
   `args`. Returns the exit status. Call with those signals blocked in every thread. */
int server_run(struct server *server, const struct config_args *args);
/* How many tables of descriptors there are for connections: 1, or one for each reactor. */
uint32_t server_descriptor_tables(const struct server *server);
/* Gives the files of Unix sockets to the user that root becomes. Returns 0 or errno. */
int server_give_sockets(const struct server *server, uid_t user, gid_t group);
void server_free(struct server *server);

#endif
