/*
 * packet.h: what each packet that a client may send says, as structs of slices that point into the
 * bytes given.
 *
 * Every decode_* takes the body of a frame (after the fixed header) and returns NULL, or the fault
 * of a malformed packet or protocol error; *out is then undefined. Nothing is allocated, nothing is
 * copied. Property blocks are checked whole here; single values are picked out into fields, the raw
 * block is kept.
 */
#ifndef MQTT_PACKET_H
#define MQTT_PACKET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "mqtt/frame.h"
#include "mqtt/property.h"
#include "mqtt/reason.h"
#include "mqtt/version.h"

struct packet_will {
    bool present;
    uint8_t qos;
    bool retain;
    struct slice topic, payload;
    struct slice properties; /* raw block, v5 */
    uint32_t delay_s;
    bool has_expiry;
    uint32_t expiry_s;    /* message expiry */
    bool payload_is_utf8; /* Payload Format Indicator 1 */
};

struct packet_connect {
    uint8_t version; /* enum mqtt_version; the wire's level with the bridge bit 0x80 masked off */
    bool is_bridge;  /* the bridge bit was set */
    bool clean_start;
    uint16_t keepalive_s; /* 0: off */
    struct slice client_id;
    bool has_user_name, has_password;
    struct slice user_name, password;
    struct packet_will will;
    /* v5 properties, or the values that their absence means */
    bool has_session_expiry;
    uint32_t
        session_expiry_s; /* 0 if absent. For 3.x: 0 with clean session, else MQTT_EXPIRY_NEVER */
    uint16_t receive_maximum;  /* 65,535 if absent */
    uint32_t packet_bytes_max; /* Maximum Packet Size; MQTT_PACKET_BYTES_MAX if absent */
    uint16_t topic_alias_maximum;
    bool request_response_information;
    bool request_problem_information; /* true if absent */
    bool has_auth_method;
    struct slice auth_method, auth_data;
    struct slice properties;
};

/* A CONNECT whose protocol name or level we do not speak gives UNSUPPORTED_PROTOCOL_VERSION;
   out->version is then set to the version whose CONNACK form the answer should take (MQTT_3_1_1 or
   MQTT_5), 0 for none. On every other fault out->version is the version that was read, 0 when it
   was not reached. [MQTT-3.1.2-1] [MQTT-3.1.2-2] The client id, topics and strings are UTF-8
   checked; emptiness and policy are the caller's business. Password without user name in 3.1.1 is
   malformed; the will topic is checked with topic_name_check. */
const struct fault *decode_connect(struct slice body, struct packet_connect *out);

struct packet_publish {
    uint8_t qos;
    bool dup, retain;
    uint16_t packet_id; /* QoS 1, 2 */
    struct slice topic; /* empty when an alias stands for it */
    struct slice payload;
    bool has_alias;
    uint16_t alias; /* as received; 0 and too large are left to the caller, who knows the limit */
    bool has_expiry;
    uint32_t expiry_s;
    struct slice properties; /* raw block, v5 */
    bool payload_is_utf8;    /* Payload Format Indicator 1 */
};

/* `flags` from the frame. Checks the topic with topic_name_check unless empty; empty without alias
   is a protocol error in v5. A Subscription Identifier is a protocol error [MQTT-3.3.4-6]. Response
   Topic without wildcards. */
const struct fault *decode_publish(struct slice body, uint8_t flags, uint8_t version,
                                   struct packet_publish *out);

/* PUBACK, PUBREC, PUBREL, PUBCOMP */
struct packet_ack {
    uint16_t packet_id;
    uint8_t reason;
};

const struct fault *decode_ack(struct slice body, uint8_t type, uint8_t version,
                               struct packet_ack *out);

struct packet_subscribe {
    uint16_t packet_id;
    uint32_t subscription_id; /* 0: none */
    struct slice properties;
    struct slice filters; /* raw list, to be walked with subscribe_next_filter(); at least one */
};

struct subscribe_filter {
    struct slice filter; /* UTF-8 checked, otherwise as received: topic_filter_parse() says whether
                            it is valid */
    uint8_t qos;
    bool no_local, retain_as_published;
    uint8_t retain_handling;
};

/* Checks the whole packet, every filter's string and options byte included (reserved bits, QoS 3,
   retain handling 3, no-local on "$share/"). 3.1 and 3.1.1: options byte is the QoS. */
const struct fault *decode_subscribe(struct slice body, uint8_t version,
                                     struct packet_subscribe *out);
/* Walks a checked list; *rest starts as packet.filters. */
bool subscribe_next_filter(struct slice *rest, uint8_t version, struct subscribe_filter *out);

struct packet_unsubscribe {
    uint16_t packet_id;
    struct slice properties;
    struct slice filters; /* raw list for unsubscribe_next_filter(); at least one */
};

const struct fault *decode_unsubscribe(struct slice body, uint8_t version,
                                       struct packet_unsubscribe *out);
bool unsubscribe_next_filter(struct slice *rest, struct slice *filter);

struct packet_disconnect {
    uint8_t reason;
    bool has_session_expiry;
    uint32_t session_expiry_s;
};

const struct fault *decode_disconnect(struct slice body, uint8_t version,
                                      struct packet_disconnect *out);

struct packet_auth {
    uint8_t reason;
    bool has_method;
    struct slice method, data;
};

const struct fault *decode_auth(struct slice body, struct packet_auth *out);

/* PINGREQ and any packet without a body: fault unless empty. */
const struct fault *decode_empty(struct slice body);

#endif
