/* input.h: from a readable socket to handled packets. */
#ifndef CONN_INPUT_H
#define CONN_INPUT_H

#define READ_SHORT_BYTES 4096u /* read at a time while memory is short, or answers pile up */

#include "conn/connection.h"

/* Reads once and handles what came. False: there may be more to read that was there before. */
bool input_read(struct worker *worker, struct connection *connection);
/* Another connection takes the place: reads a last time, a bounded part of what has arrived, and handles
   what can be handled now. */
void input_read_last(struct worker *worker, struct connection *connection);
/* Whether a whole packet has been read that something else comes before. */
bool input_waits(struct worker *worker, const struct connection *connection);
/* The largest packet that is taken from the peer as things stand. */
uint32_t input_packet_bytes_max(struct worker *worker, const struct connection *connection);
/* Handles one whole packet (the handler table's entry for its type and the connection's state). */
void dispatch_packet(struct worker *worker, struct connection *connection,
                     const struct frame *frame);

#endif
