/*
 * encode.h: writes the packets that a server sends. Pure: into memory that the caller gives.
 *
 * Each encode_* writes a whole packet at `dst` and returns its size in bytes, or 0 when it would
 * not fit in `cap` (or pass the peer's Maximum Packet Size; 0: it gave none): then nothing of use
 * was written. Reason strings are dropped, never packets, when they alone make a packet too large
 * for the peer or for `cap` (e.g. [MQTT-3.4.2-2]); pass an empty slice for none.
 */
#ifndef MQTT_ENCODE_H
#define MQTT_ENCODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "mqtt/version.h"

/* The form in which one message goes to one subscriber. */
struct publish_form {
    uint8_t version;
    uint8_t qos;
    bool dup, retain;
    uint16_t packet_id;   /* QoS 1, 2 */
    struct slice topic;   /* may be empty together with an alias */
    uint16_t topic_alias; /* 0: none */
    bool has_expiry;
    uint32_t expiry_s; /* what is left of it */
    const uint32_t *subscription_ids;
    uint32_t subscription_id_count;
    struct slice properties; /* a raw checked block; only what is forwarded is written */
    uint32_t properties_forwarded_bytes; /* property_forwarded_bytes(properties), so it is counted
                                            once */
    uint32_t payload_bytes;
};

/* Size of the whole PUBLISH, payload included. More than MQTT_PACKET_BYTES_MAX: it cannot be sent
   to anyone, and must not be given to encode_publish_head (properties added to the largest
   message). */
uint32_t encode_publish_bytes(const struct publish_form *form);
/* Writes everything before the payload, so that the payload may be copied or referenced by the
   caller; returns the bytes written. `dst` has room for encode_publish_bytes(form) - payload_bytes.
   *packet_id_at (may be NULL) is set to the offset of the two packet id bytes, 0 with QoS 0, so
   that one encoding serves many subscribers. */
uint32_t encode_publish_head(uint8_t *dst, const struct publish_form *form, uint32_t *packet_id_at);

struct packet_connack {
    bool session_present;
    uint8_t reason; /* v5 code; for 3.x it is mapped with reason_to_connack_v3 */
    /* v5 properties, written when they differ from what absence means */
    bool has_session_expiry;
    uint32_t session_expiry_s;
    uint16_t receive_maximum; /* 0 or 65,535: not written */
    uint8_t qos_max;          /* 2: not written */
    bool retain_unavailable;
    uint32_t packet_bytes_max; /* 0: not written */
    struct slice assigned_client_id;
    uint16_t topic_alias_maximum;
    struct slice reason_string;
    bool has_server_keepalive;
    uint16_t server_keepalive_s;
    struct slice response_information;
    struct slice server_reference;
    struct slice auth_method, auth_data;
};

size_t encode_connack(uint8_t *dst, size_t cap, uint8_t version, uint32_t peer_packet_bytes_max,
                      const struct packet_connack *packet);

/* PUBACK, PUBREC, PUBREL (with its flags), PUBCOMP. v5 code 0 without reason string takes the short
 * form. */
size_t encode_ack(uint8_t *dst, size_t cap, uint8_t version, uint32_t peer_packet_bytes_max,
                  uint8_t type, uint16_t packet_id, uint8_t reason, struct slice reason_string);
/* The largest encode_ack without a reason string. */
#define ENCODE_ACK_BYTES_MAX 6

/* SUBACK and UNSUBACK; 3.x UNSUBACK has no codes; 3.1.1 SUBACK turns every failure into 0x80; 3.1
   has no failure code: granted QoS 0 is written instead. Refused only when `cap` or the peer's
   maximum is too small. */
size_t encode_suback(uint8_t *dst, size_t cap, uint8_t version, uint32_t peer_packet_bytes_max,
                     uint8_t type, uint16_t packet_id, struct slice codes,
                     struct slice reason_string);
/* Room that encode_suback needs at most for `count` codes and no reason string. */
#define ENCODE_SUBACK_BYTES_MAX(count) ((size_t)(count) + 8)

size_t encode_pingresp(uint8_t *dst, size_t cap);

/* v5 only. */
size_t encode_disconnect(uint8_t *dst, size_t cap, uint32_t peer_packet_bytes_max, uint8_t reason,
                         struct slice reason_string, struct slice server_reference);
size_t encode_auth(uint8_t *dst, size_t cap, uint32_t peer_packet_bytes_max, uint8_t reason,
                   struct slice method, struct slice data);

#endif
