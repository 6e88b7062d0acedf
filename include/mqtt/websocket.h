/*
 * websocket.h: MQTT over WebSocket (RFC 6455), the server's side: the HTTP request that begins it,
 * and the frames that follow. Pure: bytes in, bytes out.
 *
 * A connection is a request, an answer, and then two streams of frames. Where frames begin and end
 * means nothing to MQTT [MQTT-6.0.0-2], so the stream coming in is only freed of its frames, where
 * it lies; control frames may stand between any two of them.
 */
#ifndef MQTT_WEBSOCKET_H
#define MQTT_WEBSOCKET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

/* ---- the request ---- */

#define WEBSOCKET_REQUEST_BYTES_MAX 8192u /* with the empty line at its end */
#define WEBSOCKET_KEY_BYTES 24u           /* as it stands in the request: base64 of 16 bytes */
#define WEBSOCKET_GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" /* follows the key in the hash */

enum websocket_result {
    WEBSOCKET_READY,
    WEBSOCKET_SHORT, /* more bytes are needed */
    WEBSOCKET_BAD,   /* nothing that follows can be trusted */
};

/* Why a request is refused: static. */
struct websocket_refusal {
    uint16_t status; /* of HTTP; 0: the peer does not speak HTTP, an answer would tell it nothing */
    const char *phrase; /* that goes with the status */
    const char *header; /* a line for the answer with its CRLF, or "" */
    const char *text;   /* what is wrong, for the peer and the log */
};

struct websocket_request {
    uint32_t bytes;           /* of the whole request; what follows are frames */
    struct slice key;         /* WEBSOCKET_KEY_BYTES, in the request */
    struct slice subprotocol; /* to select: "mqtt", or "mqttv3.1" for clients that offer no other;
                                 static [MQTT-6.0.0-4] */
};

/* Looks at the start of `in`. Requests: GET of any target, HTTP/1.1, a Host, Upgrade: websocket,
   Connection: Upgrade, Sec-WebSocket-Version: 13, one Sec-WebSocket-Key, and an offer of mqtt or
   mqttv3.1 [MQTT-6.0.0-3]. BAD: *refusal says why; as soon as it is seen that it is no HTTP GET or
   too long, else when the request is whole. */
enum websocket_result websocket_request_parse(struct slice in, struct websocket_request *out,
                                              const struct websocket_refusal **refusal);

/* ---- frames ---- */

enum websocket_opcode {
    WEBSOCKET_CONTINUATION = 0x0,
    WEBSOCKET_TEXT = 0x1,
    WEBSOCKET_BINARY = 0x2,
    WEBSOCKET_CLOSE = 0x8,
    WEBSOCKET_PING = 0x9,
    WEBSOCKET_PONG = 0xA,
};

/* Codes of a close frame. */
enum websocket_code {
    WEBSOCKET_CODE_NORMAL = 1000,
    WEBSOCKET_CODE_GOING_AWAY = 1001,
    WEBSOCKET_CODE_PROTOCOL = 1002,
    WEBSOCKET_CODE_UNSUPPORTED = 1003,
    WEBSOCKET_CODE_POLICY = 1008,
    WEBSOCKET_CODE_TOO_BIG = 1009,
};

#define WEBSOCKET_CONTROL_BYTES_MAX 125u
#define WEBSOCKET_HEADER_BYTES_MAX 14u        /* from a client, with its mask */
#define WEBSOCKET_SERVER_HEADER_BYTES_MAX 10u /* without */
/* Nothing is ever sized by a frame's length; a longer one can only be a fault. */
#define WEBSOCKET_FRAME_BYTES_MAX 0x7FFFFFFFu

struct websocket_fault {
    uint16_t code; /* to close with */
    const char *text;
};

struct websocket_header {
    uint8_t bytes; /* of the header itself */
    uint8_t opcode;
    bool is_last; /* FIN */
    uint32_t length;
    uint8_t mask[4];
};

/* The header of a frame from a client. Faults, as soon as the bytes that show them are there: no
   mask, reserved bits and opcodes, control frames that are long or in parts, text
   [MQTT-6.0.0-1], a length that is padded or above WEBSOCKET_FRAME_BYTES_MAX. */
enum websocket_result websocket_header_parse(struct slice in, struct websocket_header *out,
                                             const struct websocket_fault **fault);
/* The header of a whole frame from the server; returns its bytes. */
uint8_t websocket_header_encode(uint8_t out[WEBSOCKET_SERVER_HEADER_BYTES_MAX], uint8_t opcode,
                                uint64_t length);

/* Frees `len` bytes of their mask and moves them from `from` to `to`, which may be the same or lie
   before it. Turns `mask` so that it goes on with the next byte. */
void websocket_unmask(uint8_t *to, const uint8_t *from, size_t len, uint8_t mask[4]);

/* The stream from a client; zeroed memory at first. */
struct websocket_stream {
    uint32_t left; /* of the payload of the frame at hand */
    uint8_t mask[4];
    uint8_t opcode;
    uint8_t held_len;
    bool is_in_frame;                          /* its header has been read */
    bool is_in_message;                        /* the next data frame has to be a continuation */
    bool is_over;                              /* a close frame came, or a fault */
    uint8_t held[WEBSOCKET_CONTROL_BYTES_MAX]; /* of a header, or of a control frame's payload */
};

/* What came beside data. */
struct websocket_news {
    const struct websocket_fault *fault; /* NULL: none */
    uint16_t close_code; /* a close frame came, and is answered with this; 0: none */
    bool has_ping;       /* answer with a pong; of several, the last */
    uint8_t ping_len;
    uint8_t ping[WEBSOCKET_CONTROL_BYTES_MAX];
};

/* Takes all of `bytes`: the data among them are moved to the front; returns how many they are.
   Nothing after a fault or a close frame is looked at. */
size_t websocket_take(struct websocket_stream *stream, uint8_t *bytes, size_t len,
                      struct websocket_news *news);

#endif
