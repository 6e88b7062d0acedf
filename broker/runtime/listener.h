/*
 * listener.h: sockets that accept. One per reactor for each configured listener (SO_REUSEPORT), so
 * no core waits for another and the kernel spreads connections.
 *
 * Descriptor exhaustion: whoever comes is accepted in the place of a spare descriptor, of which the table has one
 * for each listener, and closed, so
 * that nobody is left hanging: half a second after the first EMFILE/ENFILE, from then on whenever
 * somebody waits, at most once each half second, until a descriptor is free again. Each is counted;
 * the first of a burst is logged with the limit and how to raise it. For ENOMEM and ENOBUFS accepting
 * rests for half a second instead. No spinning, no silence.
 * A burst is over after ten seconds in which no reactor met such an error: the limits are those of
 * the process (with private tables the same number for each), so the first of all its listeners says
 * it, the others count.
 *
 * Addresses: without one, a socket for IPv6 and IPv4 together (IPv4 alone where there is no IPv6);
 * IPv4 peers of it are reported as IPv4. A name with several addresses takes a struct listener for
 * each: listener_resolve() asks once, so that all reactors have the same ones. Unix sockets cannot be shared between reactors: reactor 0
 * opens them, on others such a listener is there without a descriptor; see listener_unix.h.
 *
 * Threads: each struct listener belongs to its reactor; whether a burst is on is one atomic of the
 * group for each kind of error.
 */
#ifndef RUNTIME_LISTENER_H
#define RUNTIME_LISTENER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "base/err.h"
#include "runtime/config.h"
#include "runtime/reactor.h"

#define LISTENER_ACCEPTS_PER_TURN 64u

/* One address of a name. */
struct listener_address {
    struct sockaddr_storage name;
    socklen_t bytes;
};

/* The file of a Unix socket, told from others of its name. */
struct listener_file {
    dev_t device;
    ino_t inode;
};

struct listener {
    struct io io; /* first member; io.kind is set by the caller, fd -1: not open */
    const struct config_listener *config;
    const struct listener_address *address; /* NULL: what config->address means, the first */
    uint16_t index;                         /* of the config's listener */
    bool is_armed;
    bool is_nodelay;           /* accepted sockets have TCP_NODELAY, which they inherit */
    bool is_refusing;          /* since the last tick: the table of descriptors is full */
    uint32_t rearm_tick;       /* 0: not disarmed by an error */
    struct listener_file file; /* of an open Unix socket */
    /* The port that the first of the reactors' sockets got, shared by all of them; 0 before. It is
       how they find each other when config->port is 0 (tests: the kernel chooses, unless the
       address is a path), and how a port that another program has is told from our own. May be
       NULL: then reactor 0 opens first. */
    _Atomic uint16_t *port_shared;
    /* Called for each accepted socket: non-blocking, close-on-exec. Takes the descriptor. */
    void (*on_accept)(struct reactor *reactor, struct listener *listener, int fd,
                      const struct sockaddr *peer);
};

/* The addresses of config->address, each once, IPv4 before IPv6. *count is 0 where there is nothing
   to choose: all addresses, or a Unix socket. ERR_INVALID as listener_open(), ERR_LIMIT: more than
   `max`, of which the first are given. */
enum err listener_resolve(const struct config_listener *config, struct listener_address *out,
                          uint32_t max, uint32_t *count, char **error) MUST_USE;
/* Opens the socket and starts listening, on the reactor's thread or before it is started; a Unix
   socket while there is only one thread. The caller has set io.kind, on_accept, address and port_shared before. ERR_NOT_FOUND: this machine
   does not have listener->address. That, ERR_IO, ERR_INVALID: *error is a line
   for the operator that names address, port and what to do (freed by the caller), NULL without
   memory. */
enum err listener_open(struct listener *listener, struct reactor *reactor,
                       const struct config_listener *config, uint16_t index, char **error) MUST_USE;
/* The io handler for listeners' kind. */
void listener_ready(struct reactor *reactor, struct io *io, uint32_t events);
/* What was accepted is closed again, because the system refused (`error`): counted, and logged when it
   is the first of a burst. Memory is one such reason. */
void listener_refused(struct listener *listener, struct reactor *reactor, int error);
/* Called every tick (reactor's on_tick): re-arms after errors, and ends or begins to refuse. */
void listener_tick(struct listener *listener, struct reactor *reactor);
/* For a reactor that has a table of descriptors of its own, on its thread before its first turn. */
void listener_own_spares(struct reactor *reactor);
/* Whether Nagle's algorithm is off for connections accepted from now on. No call to the system when
   that is so already; no effect on Unix sockets. */
void listener_set_nodelay(struct listener *listener, bool is_nodelay);
/* Stops accepting (draining, or while the broker has too much to do); and goes on. */
void listener_disarm(struct listener *listener, struct reactor *reactor);
void listener_arm(struct listener *listener, struct reactor *reactor);
/* Closes the socket, and removes the file of a Unix socket, unless somebody has put another there.
   Twice is harmless, before listener_open() it is not. */
void listener_close(struct listener *listener, struct reactor *reactor);
/* Gives the file of an open Unix socket to a user and a group; other listeners have none. Returns 0
   or errno. */
int listener_give(const struct listener *listener, uid_t user, gid_t group);

/* Raises the soft limit of open files to the hard one; returns the number in force. */
uint64_t listener_raise_descriptors(void);

#endif
