/*
 * decode_ack.c: the small packets: PUBACK, PUBREC, PUBREL, PUBCOMP, DISCONNECT, AUTH, PINGREQ.
 *
 *     PUBACK ...    [packet id] [reason] [properties]     5.0 may stop after the id or the reason
 *     DISCONNECT                [reason] [properties]     5.0 may stop before or after the reason
 *     AUTH                      [reason] [properties]     5.0 only; the method is obligatory
 *
 * Packets of 3.x have neither reason nor properties. Pure; any thread.
 * [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1] [MQTT-3.14.2-1] [MQTT-3.15.2-1]
 */
#include "mqtt/packet.h"

#include "protocol/property_set.h"
#include "protocol/reader.h"

FAULT(auth_no_method, PROTOCOL_ERROR, "3.15.2.2.2", "AUTH without Authentication Method");

/* A reason that the packet's table does not have, or that only a server may send. */
static const struct fault illegal_reasons[PACKET_TYPE_COUNT] = {
#define ILLEGAL(packet, clause) \
    [PACKET_##packet] = {REASON_PROTOCOL_ERROR, clause, #packet " with an illegal reason code"}
    ILLEGAL(PUBACK, "MQTT-3.4.2-1"),      ILLEGAL(PUBREC, "MQTT-3.5.2-1"),
    ILLEGAL(PUBREL, "MQTT-3.6.2-1"),      ILLEGAL(PUBCOMP, "MQTT-3.7.2-1"),
    ILLEGAL(DISCONNECT, "MQTT-3.14.2-1"), ILLEGAL(AUTH, "MQTT-3.15.2-1"),
#undef ILLEGAL
};

/* Reads [reason] [properties], either of which may be left out in 5.0; the caller knows whether it
   may be. set->seen is 0 without properties. */
static const struct fault *read_reason(struct reader *r, uint8_t type, uint8_t *reason,
                                       struct property_set *set)
{
    struct slice properties;
    *reason = REASON_SUCCESS;
    set->seen = 0;
    reader_u8(r, reason);
    if (!reason_is_legal_from_client(type, *reason))
        return &illegal_reasons[type];
    if (reader_left(r) == 0)
        return NULL;
    const struct fault *fault = reader_property_block(r, &properties);
    if (!fault && reader_left(r))
        fault = &fault_surplus;
    return fault ? fault : property_set_read(properties, type, set);
}

const struct fault *decode_ack(struct slice body, uint8_t type, uint8_t version,
                               struct packet_ack *out)
{
    struct reader r = reader_of(body);
    struct property_set set;
    out->reason = REASON_SUCCESS;
    const struct fault *fault = reader_packet_id(&r, &out->packet_id);
    if (UNLIKELY(fault != NULL) || reader_left(&r) == 0)
        return fault;
    return version == MQTT_5 ? read_reason(&r, type, &out->reason, &set) : &fault_surplus;
}

const struct fault *decode_disconnect(struct slice body, uint8_t version,
                                      struct packet_disconnect *out)
{
    struct reader r = reader_of(body);
    struct property_set set;
    *out = (struct packet_disconnect){0};
    if (version != MQTT_5)
        return decode_empty(body);
    const struct fault *fault = read_reason(&r, PACKET_DISCONNECT, &out->reason, &set);
    if (fault)
        return fault;
    out->has_session_expiry = property_set_has(&set, PROPERTY_SESSION_EXPIRY);
    out->session_expiry_s = property_set_number(&set, PROPERTY_SESSION_EXPIRY, 0);
    return NULL;
}

const struct fault *decode_auth(struct slice body, struct packet_auth *out)
{
    struct reader r = reader_of(body);
    struct property_set set;
    *out = (struct packet_auth){0};
    if (body.len == 1)
        return &fault_cut_short; /* only reason and properties together may be left out */
    const struct fault *fault = read_reason(&r, PACKET_AUTH, &out->reason, &set);
    if (fault)
        return fault;
    out->has_method = property_set_has(&set, PROPERTY_AUTHENTICATION_METHOD);
    out->method = property_set_bytes(&set, PROPERTY_AUTHENTICATION_METHOD);
    out->data = property_set_bytes(&set, PROPERTY_AUTHENTICATION_DATA);
    return out->has_method ? NULL : &auth_no_method;
}

const struct fault *decode_empty(struct slice body)
{
    return body.len == 0 ? NULL : &fault_surplus;
}
