/*
 * reason.h: reason codes of MQTT 5.0 and the faults that carry them.
 *
 * A protocol fault is made once, in protocol/, as a pointer to a static `struct fault`; it is used
 * once each in closing, log and metrics.
 */
#ifndef MQTT_REASON_H
#define MQTT_REASON_H

#include <stdbool.h>
#include <stdint.h>

#include "mqtt/version.h"

/* X(NAME, value, text): every reason code of MQTT 5.0, section 2.4. */
#define REASON_TABLE(X)                                                               \
    X(SUCCESS, 0x00, "success")                                                       \
    X(GRANTED_QOS_1, 0x01, "granted QoS 1")                                           \
    X(GRANTED_QOS_2, 0x02, "granted QoS 2")                                           \
    X(DISCONNECT_WITH_WILL, 0x04, "disconnect with will message")                     \
    X(NO_MATCHING_SUBSCRIBERS, 0x10, "no matching subscribers")                       \
    X(NO_SUBSCRIPTION_EXISTED, 0x11, "no subscription existed")                       \
    X(CONTINUE_AUTHENTICATION, 0x18, "continue authentication")                       \
    X(REAUTHENTICATE, 0x19, "re-authenticate")                                        \
    X(UNSPECIFIED, 0x80, "unspecified error")                                         \
    X(MALFORMED_PACKET, 0x81, "malformed packet")                                     \
    X(PROTOCOL_ERROR, 0x82, "protocol error")                                         \
    X(IMPLEMENTATION_SPECIFIC, 0x83, "implementation specific error")                 \
    X(UNSUPPORTED_PROTOCOL_VERSION, 0x84, "unsupported protocol version")             \
    X(CLIENT_ID_NOT_VALID, 0x85, "client identifier not valid")                       \
    X(BAD_USER_NAME_OR_PASSWORD, 0x86, "bad user name or password")                   \
    X(NOT_AUTHORIZED, 0x87, "not authorized")                                         \
    X(SERVER_UNAVAILABLE, 0x88, "server unavailable")                                 \
    X(SERVER_BUSY, 0x89, "server busy")                                               \
    X(BANNED, 0x8A, "banned")                                                         \
    X(SERVER_SHUTTING_DOWN, 0x8B, "server shutting down")                             \
    X(BAD_AUTHENTICATION_METHOD, 0x8C, "bad authentication method")                   \
    X(KEEP_ALIVE_TIMEOUT, 0x8D, "keep alive timeout")                                 \
    X(SESSION_TAKEN_OVER, 0x8E, "session taken over")                                 \
    X(TOPIC_FILTER_INVALID, 0x8F, "topic filter invalid")                             \
    X(TOPIC_NAME_INVALID, 0x90, "topic name invalid")                                 \
    X(PACKET_ID_IN_USE, 0x91, "packet identifier in use")                             \
    X(PACKET_ID_NOT_FOUND, 0x92, "packet identifier not found")                       \
    X(RECEIVE_MAXIMUM_EXCEEDED, 0x93, "receive maximum exceeded")                     \
    X(TOPIC_ALIAS_INVALID, 0x94, "topic alias invalid")                               \
    X(PACKET_TOO_LARGE, 0x95, "packet too large")                                     \
    X(MESSAGE_RATE_TOO_HIGH, 0x96, "message rate too high")                           \
    X(QUOTA_EXCEEDED, 0x97, "quota exceeded")                                         \
    X(ADMINISTRATIVE_ACTION, 0x98, "administrative action")                           \
    X(PAYLOAD_FORMAT_INVALID, 0x99, "payload format invalid")                         \
    X(RETAIN_NOT_SUPPORTED, 0x9A, "retain not supported")                             \
    X(QOS_NOT_SUPPORTED, 0x9B, "QoS not supported")                                   \
    X(USE_ANOTHER_SERVER, 0x9C, "use another server")                                 \
    X(SERVER_MOVED, 0x9D, "server moved")                                             \
    X(SHARED_SUBSCRIPTIONS_NOT_SUPPORTED, 0x9E, "shared subscriptions not supported") \
    X(CONNECTION_RATE_EXCEEDED, 0x9F, "connection rate exceeded")                     \
    X(MAXIMUM_CONNECT_TIME, 0xA0, "maximum connect time")                             \
    X(SUBSCRIPTION_IDS_NOT_SUPPORTED, 0xA1, "subscription identifiers not supported") \
    X(WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED, 0xA2, "wildcard subscriptions not supported")

enum reason {
#define X(name, value, text) REASON_##name = value,
    REASON_TABLE(X)
#undef X
};

/* A protocol fault: static, compared by pointer or by field, never freed. */
struct fault {
    uint8_t reason; /* enum reason, as v5 puts it on the wire */
    const char
        *clause; /* "MQTT-3.1.2-3", or a section like "3.3.2.3.4" where the text has no number */
    const char *text; /* what was wrong, for log and reason string */
};

/* The text of a reason code; "unknown reason" for what is not in the table. */
const char *reason_text(uint8_t reason);
/* The CONNACK return code of MQTT 3.x (1 to 5) that stands for a v5 reason >= 0x80. Section 3.2.2.3
 * of 3.1.1. */
uint8_t reason_to_connack_v3(uint8_t reason);
/* True when a packet of this type may carry this code, from a client (section 2.4 and each packet's
 * table). */
bool reason_is_legal_from_client(uint8_t packet_type, uint8_t reason);

#endif
