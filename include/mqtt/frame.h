/*
 * frame.h: cuts a byte stream into packets. Pure: reads, never copies.
 */
#ifndef MQTT_FRAME_H
#define MQTT_FRAME_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "mqtt/reason.h"
#include "mqtt/version.h"

enum frame_result {
    FRAME_READY, /* *out is a whole packet */
    FRAME_SHORT, /* more bytes are needed; out->size says how many in all, 0 when not known yet */
    FRAME_BAD,   /* *fault says why (else it is NULL); nothing that follows can be trusted */
};

struct frame {
    uint8_t type;  /* enum packet_type */
    uint8_t flags; /* low nibble of the first byte */
    uint32_t
        size; /* of the whole packet, fixed header included (what Maximum Packet Size limits) */
    struct slice body; /* what follows the fixed header: Remaining Length bytes */
};

/* Looks at the start of `in`. `packet_bytes_max`: larger packets are BAD with PACKET_TOO_LARGE as
   soon as their length is known. `version` 0 before CONNECT. Faults: reserved types, wrong flag
   nibbles [MQTT-2.1.3-1] (3.1 may set DUP on SUBSCRIBE, UNSUBSCRIBE and PUBREL), a fifth length
   byte, padded lengths [MQTT-1.5.5-1], QoS 3 [MQTT-3.3.1-4], AUTH in 3.x. Cost: a few ns. */
enum frame_result frame_next(struct slice in, uint8_t version, uint32_t packet_bytes_max,
                             struct frame *out, const struct fault **fault);

/* "PUBLISH" and so on, for logs; "RESERVED" for what is none. Static. */
const char *packet_type_name(uint8_t type);
/* False for packets that only a server sends (CONNACK, SUBACK, UNSUBACK, PINGRESP): those are
   framed like any other, and are a PROTOCOL_ERROR to the caller. */
bool packet_type_is_from_client(uint8_t type);

#endif
