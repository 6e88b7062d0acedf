/*
 * reason.c: texts of reason codes, which of them a client may use, and what they were called
 * in 3.x.
 *
 * One entry per code value, found by index. The rows of `from_client` follow section 2.4 and the
 * tables of each packet; codes that only a server sends have no row. Static; any thread.
 * [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1] [MQTT-3.14.2-1] [MQTT-3.15.2-1]
 */
#include "mqtt/reason.h"

#include <stddef.h>

#define REASON_LIMIT 256

static const char *const texts[REASON_LIMIT] = {
#define X(name, value, text) [value] = text,
    REASON_TABLE(X)
#undef X
};

const char *reason_text(uint8_t reason)
{
    return texts[reason] ? texts[reason] : "unknown reason";
}

#define ON(packet) (1u << PACKET_##packet)
#define ON_RECEIPT (ON(PUBACK) | ON(PUBREC))
#define ON_RELEASE (ON(PUBREL) | ON(PUBCOMP))

/* Bit n set: a packet of type n from a client may carry the code. */
static const uint16_t from_client[REASON_LIMIT] = {
    [REASON_SUCCESS] = ON_RECEIPT | ON_RELEASE | ON(DISCONNECT),
    [REASON_DISCONNECT_WITH_WILL] = ON(DISCONNECT),
    [REASON_NO_MATCHING_SUBSCRIBERS] = ON_RECEIPT,
    [REASON_CONTINUE_AUTHENTICATION] = ON(AUTH),
    [REASON_REAUTHENTICATE] = ON(AUTH),
    [REASON_UNSPECIFIED] = ON_RECEIPT | ON(DISCONNECT),
    [REASON_MALFORMED_PACKET] = ON(DISCONNECT),
    [REASON_PROTOCOL_ERROR] = ON(DISCONNECT),
    [REASON_IMPLEMENTATION_SPECIFIC] = ON_RECEIPT | ON(DISCONNECT),
    [REASON_NOT_AUTHORIZED] = ON_RECEIPT,
    [REASON_TOPIC_NAME_INVALID] = ON_RECEIPT | ON(DISCONNECT),
    [REASON_PACKET_ID_IN_USE] = ON_RECEIPT,
    [REASON_PACKET_ID_NOT_FOUND] = ON_RELEASE,
    [REASON_RECEIVE_MAXIMUM_EXCEEDED] = ON(DISCONNECT),
    [REASON_TOPIC_ALIAS_INVALID] = ON(DISCONNECT),
    [REASON_PACKET_TOO_LARGE] = ON(DISCONNECT),
    [REASON_MESSAGE_RATE_TOO_HIGH] = ON(DISCONNECT),
    [REASON_QUOTA_EXCEEDED] = ON_RECEIPT | ON(DISCONNECT),
    [REASON_ADMINISTRATIVE_ACTION] = ON(DISCONNECT),
    [REASON_PAYLOAD_FORMAT_INVALID] = ON_RECEIPT | ON(DISCONNECT),
};

bool reason_is_legal_from_client(uint8_t packet_type, uint8_t reason)
{
    return packet_type < PACKET_TYPE_COUNT && (from_client[reason] >> packet_type & 1);
}

/* CONNACK return codes of 3.x, section 3.2.2.3 of 3.1.1. */
enum connack_v3 {
    CONNACK_V3_VERSION = 1,
    CONNACK_V3_CLIENT_ID = 2,
    CONNACK_V3_UNAVAILABLE = 3,
    CONNACK_V3_USER_NAME_OR_PASSWORD = 4,
    CONNACK_V3_NOT_AUTHORIZED = 5,
};

/* Refusals that are not of the client's making are "unavailable"; what has no row is policy. */
static const uint8_t connack_v3[REASON_LIMIT] = {
    [REASON_UNSPECIFIED] = CONNACK_V3_UNAVAILABLE,
    [REASON_IMPLEMENTATION_SPECIFIC] = CONNACK_V3_UNAVAILABLE,
    [REASON_UNSUPPORTED_PROTOCOL_VERSION] = CONNACK_V3_VERSION,
    [REASON_CLIENT_ID_NOT_VALID] = CONNACK_V3_CLIENT_ID,
    [REASON_BAD_USER_NAME_OR_PASSWORD] = CONNACK_V3_USER_NAME_OR_PASSWORD,
    [REASON_SERVER_UNAVAILABLE] = CONNACK_V3_UNAVAILABLE,
    [REASON_SERVER_BUSY] = CONNACK_V3_UNAVAILABLE,
    [REASON_SERVER_SHUTTING_DOWN] = CONNACK_V3_UNAVAILABLE,
    [REASON_QUOTA_EXCEEDED] = CONNACK_V3_UNAVAILABLE,
    [REASON_USE_ANOTHER_SERVER] = CONNACK_V3_UNAVAILABLE,
    [REASON_SERVER_MOVED] = CONNACK_V3_UNAVAILABLE,
    [REASON_CONNECTION_RATE_EXCEEDED] = CONNACK_V3_UNAVAILABLE,
};

uint8_t reason_to_connack_v3(uint8_t reason)
{
    return connack_v3[reason] ? connack_v3[reason] : CONNACK_V3_NOT_AUTHORIZED;
}
