/* websocket.h: MQTT over WebSocket as a transport (transport.h), and the hash that accepts one. */
#ifndef TRANSPORT_WEBSOCKET_H
#define TRANSPORT_WEBSOCKET_H

#include "base/slice.h"
#include "transport/transport.h"

extern const struct transport_ops websocket_ops;

#define WEBSOCKET_ACCEPT_BYTES 29u /* with a NUL */

/* Sec-WebSocket-Accept for a key: base64 of the SHA-1 of key and GUID. False when the library has
   no SHA-1. */
bool websocket_accept_key(struct slice key, char accept[WEBSOCKET_ACCEPT_BYTES]);

#endif
