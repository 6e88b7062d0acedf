/*
 * transport.h: what lies between a socket and the bytes of MQTT: one table of operations.
 *
 * A connection over plain TCP has no transport (NULL) and talks to its socket itself, without a
 * call or a copy more. Any other has one, made when it is accepted, by what its listener's
 * `protocol` says. The connection asks the transport to read and write; everything the transport
 * has to say of its own (an HTTP answer, a pong, a close frame) it keeps until the next write, and
 * says so in `wants_write`.
 *
 *     socket --read--> raw bytes in the reactor's buffer --in place--> bytes of MQTT
 *     chain of chunks --write--> [own bytes][header][chunks ...] in one system call --> socket
 *
 * Threads: belongs to its connection. Memory is counted (base/mem.h); a peer sizes none of it
 * beyond the bounds that each transport names.
 */
#ifndef TRANSPORT_TRANSPORT_H
#define TRANSPORT_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

enum transport_kind { TRANSPORT_TCP, TRANSPORT_WEBSOCKET, TRANSPORT_KINDS };

#define TRANSPORT_IOVECS 64u /* at most, in one write */

/* Results of read and write below 0; 0 is "nothing now". */
#define TRANSPORT_GONE (-1)   /* the peer closed the connection */
#define TRANSPORT_FAILED (-2) /* the system call failed: errno */

/* How a connection ends, for a last word to the peer. */
enum transport_end { TRANSPORT_END_CALM, TRANSPORT_END_SHUTDOWN, TRANSPORT_END_REFUSED };

struct transport {
    const struct transport_ops *ops;
    const char *fault; /* the peer's, or word that it took its leave: close the connection when what
                          was read has been handled; static text. NULL: none */
    bool wants_write;  /* has bytes of its own to write */
    bool is_full;      /* the socket took less than the last write had for it */
    bool is_over;      /* the peer took its leave; not to wait for */
};

struct transport_ops {
    struct transport *(*make)(void); /* NULL without memory */
    void (*free)(struct transport *transport);
    /* Reads once into `at`: > 0 bytes of MQTT, 0, TRANSPORT_GONE or TRANSPORT_FAILED. `raw` gets
       the bytes that came over the network. Look at fault and wants_write afterwards. */
    ssize_t (*read)(struct transport *transport, int fd, uint8_t *at, size_t room, size_t *raw);
    /* Writes once: own bytes, then of `iov` (at most TRANSPORT_IOVECS, the first of `waiting` bytes
       that are to be written in all). Returns how many of these went out, or TRANSPORT_FAILED. */
    ssize_t (*write)(struct transport *transport, int fd, const struct iovec *iov, size_t count,
                     size_t waiting, size_t *raw);
    /* Puts a last word behind what is waiting to be written. Nothing is added after it. */
    void (*finish)(struct transport *transport, enum transport_end how);
};

extern const struct transport_ops *const transport_table[TRANSPORT_KINDS]; /* TCP: NULL */

/* NULL is fine. */
static inline void transport_free(struct transport *transport)
{
    if (transport)
        transport->ops->free(transport);
}

#endif
