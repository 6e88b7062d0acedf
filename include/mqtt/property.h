/*
 * property.h: the 27 properties of MQTT 5.0 as one table, and walking a property block.
 */
#ifndef MQTT_PROPERTY_H
#define MQTT_PROPERTY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "mqtt/reason.h"
#include "mqtt/version.h"

enum property_id {
    PROPERTY_PAYLOAD_FORMAT = 0x01,
    PROPERTY_MESSAGE_EXPIRY = 0x02,
    PROPERTY_CONTENT_TYPE = 0x03,
    PROPERTY_RESPONSE_TOPIC = 0x08,
    PROPERTY_CORRELATION_DATA = 0x09,
    PROPERTY_SUBSCRIPTION_ID = 0x0B,
    PROPERTY_SESSION_EXPIRY = 0x11,
    PROPERTY_ASSIGNED_CLIENT_ID = 0x12,
    PROPERTY_SERVER_KEEP_ALIVE = 0x13,
    PROPERTY_AUTHENTICATION_METHOD = 0x15,
    PROPERTY_AUTHENTICATION_DATA = 0x16,
    PROPERTY_REQUEST_PROBLEM_INFORMATION = 0x17,
    PROPERTY_WILL_DELAY = 0x18,
    PROPERTY_REQUEST_RESPONSE_INFORMATION = 0x19,
    PROPERTY_RESPONSE_INFORMATION = 0x1A,
    PROPERTY_SERVER_REFERENCE = 0x1C,
    PROPERTY_REASON_STRING = 0x1F,
    PROPERTY_RECEIVE_MAXIMUM = 0x21,
    PROPERTY_TOPIC_ALIAS_MAXIMUM = 0x22,
    PROPERTY_TOPIC_ALIAS = 0x23,
    PROPERTY_MAXIMUM_QOS = 0x24,
    PROPERTY_RETAIN_AVAILABLE = 0x25,
    PROPERTY_USER = 0x26,
    PROPERTY_MAXIMUM_PACKET_SIZE = 0x27,
    PROPERTY_WILDCARD_AVAILABLE = 0x28,
    PROPERTY_SUBSCRIPTION_ID_AVAILABLE = 0x29,
    PROPERTY_SHARED_AVAILABLE = 0x2A,
};

/* Where a property block stands: a packet type, or the Will Properties inside CONNECT. */
#define PROPERTY_BLOCK_WILL PACKET_RESERVED

/* One property of a block. Which of the values is set follows from the id's type in the table. */
struct property {
    uint8_t id;
    uint32_t number;    /* byte, two byte, four byte, varint */
    struct slice bytes; /* string or binary; of a user property: the name */
    struct slice value; /* of a user property: the value */
};

/* Checks a whole block (without its length) as received from a client in `block` (packet type or
   PROPERTY_BLOCK_WILL): ids known and legal there, types, values' ranges, strings UTF-8, none but
   User Property repeated. NULL or the fault. Cost: linear, no allocation; a million tiny user
   properties is fine. */
const struct fault *property_check(struct slice block_bytes, uint8_t block);

/* Walks a checked block: false at its end. *rest starts as the whole block. */
bool property_next(struct slice *rest, struct property *out);

/* The first property with `id` in a checked block. */
bool property_find(struct slice block_bytes, uint8_t id, struct property *out);

/* Bytes that property_copy_forwarded() will write: the block without Topic Alias, Message Expiry,
   Subscription Identifier and Will Delay. Order is kept [MQTT-3.3.2-18]. */
uint32_t property_forwarded_bytes(struct slice block_bytes);
/* Copies what is forwarded to subscribers; returns the end of what was written. */
uint8_t *property_copy_forwarded(struct slice block_bytes, uint8_t *dst);

#endif
