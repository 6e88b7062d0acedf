/*
 * output.h: what is to be written to a connection: a chain of chunks from the reactor's pool, and
 * references to large payloads that are not copied. Written once per turn with one writev.
 */
#ifndef CONN_OUTPUT_H
#define CONN_OUTPUT_H

#include "conn/connection.h"

#define CHUNK_BYTES 4096u /* with its header */
#define CHUNK_ROOM (CHUNK_BYTES - 40u)
/* More than this is written at once instead of at the end of the turn, and streams (replays, queues)
   stop adding above the other; the second figure while memory is short. */
#define OUTPUT_FLUSH_BYTES 65536u
#define OUTPUT_FLUSH_SHORT_BYTES 1024u
#define OUTPUT_HIGH_BYTES 131072u
#define OUTPUT_HIGH_SHORT_BYTES 1024u
#define OUTPUT_REFERENCE_BYTES 2048u /* payloads from here on are referenced, not copied */

/* A piece of the chain: bytes of its own, or of a message. */
struct chunk {
    struct chunk *next;
    struct message *message; /* a reference: data and end point into it; NULL: bytes of our own */
    const uint8_t *data;     /* start of what is not yet written */
    uint32_t len;
    uint32_t cap_left; /* room after data + len, for bytes of our own */
    /* In the first of a chain: what it begins with is the rest of a packet that is partly written. */
    uint32_t begun;      /* its bytes, which may reach into further chunks */
    bool begun_is_qos_0; /* it is a PUBLISH of QoS 0 */
};

/* `bytes` (at most CHUNK_ROOM) of contiguous room at the end, or NULL without memory. To be
   followed at once by output_commit with what was used. */
uint8_t *output_reserve(struct worker *worker, struct connection *connection, uint32_t bytes);
void output_commit(struct worker *worker, struct connection *connection, uint32_t bytes);
/* Whether so many bytes need no new memory, or so little that it does not count: for what may be left
   out when memory is short. */
bool output_has_chunk(const struct worker *worker, const struct connection *connection,
                      size_t bytes);
/* Copies any number of bytes. False without memory: nothing was added. */
bool output_append(struct worker *worker, struct connection *connection, const uint8_t *bytes,
                   uint32_t len);
/* Refers to bytes of a message; takes a reference of its own. False without memory, or with more
   than 3 GiB waiting. */
bool output_refer(struct worker *worker, struct connection *connection, struct message *message,
                  struct slice bytes);
/* The transport has bytes of its own: they go out with the next write. */
void output_want_write(struct worker *worker, struct connection *connection);
/* Writes what the socket takes. False when the connection takes nothing any more: what was to be
   written is gone, and the connection is closed when what came from it before has been read. */
bool output_write(struct worker *worker, struct connection *connection);
/* Writes for every connection that has something. */
void output_flush_all(struct worker *worker);
/* The same for now and for all that comes: the peer takes nothing more. */
void output_give_up(struct worker *worker, struct connection *connection);
/* Drops everything unwritten, and counts what QoS 0 messages nobody sends again. */
void output_clear(struct worker *worker, struct connection *connection);
/* Drops all but the rest of a packet that is partly written, so that a last one can follow it. Not
   with a transport: it has announced more already. */
void output_cut(struct worker *worker, struct connection *connection);
/* A stream may go on adding. */
static inline bool output_has_room(const struct worker *worker, const struct connection *connection)
{
    return connection->out_bytes < worker->output_high_bytes;
}

#endif
