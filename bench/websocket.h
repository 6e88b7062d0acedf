/*
 * websocket.h: the client's side of MQTT over WebSocket (RFC 6455): request, frames out, frames in.
 *
 *   out:  | header, mask 0 | all that waited |      one binary frame for each write that begins
 *   in:   | header | payload | header | payload     headers are taken out where they stand
 *
 * The mask is zero: valid, costs this side nothing, and the broker undoes it like any other. The answer's
 * Sec-WebSocket-Accept is not looked at, and pings are not answered.
 *
 * Pure but for the buffer that a frame is made in. One owner.
 */
#ifndef BENCH_WEBSOCKET_H
#define BENCH_WEBSOCKET_H

#include "bench/packet.h"

#define WEBSOCKET_HEADER_MAX 14u

/* All zero is a connection without a byte. */
struct websocket {
    uint64_t left;   /* of the frame that comes in */
    uint32_t framed; /* bytes of the buffer going out that are in a frame already */
    uint8_t have;    /* of the header that comes in */
    uint8_t header[WEBSOCKET_HEADER_MAX];
    bool is_skipped; /* the frame that comes in carries no MQTT */
};

/* Appends the request that asks `host` for MQTT of this version. */
void websocket_request(struct buf *out, const char *host, int version);
/* The length of an answer that grants it; 0: not whole yet; -1: it is another answer. */
long websocket_answer(const uint8_t *p, size_t len);
/* Puts all of `out` into a frame, unless a frame there has not gone yet; returns what may be sent. */
uint32_t websocket_wrap(struct websocket *ws, struct buf *out);
/* Takes the headers out of what came: the length of the rest; -1: a close, or no WebSocket. */
long websocket_unwrap(struct websocket *ws, uint8_t *p, size_t len);

#endif
