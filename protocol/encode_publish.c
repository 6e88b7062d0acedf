/*
 * encode_publish.c: PUBLISH as a server sends it, section 3.3.
 *
 *     [first][Remaining Length][topic][packet id] [properties: 5.0]        | [payload]
 *                                     [length][expiry][alias][ids][forwarded]   the caller's
 *
 * Sizes are computed in one place, `measure`, and both functions use it: what is announced is what
 * is written. Cost: about 10 ns and the copying of topic and properties. Pure; any thread.
 * [MQTT-3.3.2-4] [MQTT-3.3.2-6] [MQTT-3.3.2-15] to [MQTT-3.3.2-18] [MQTT-3.3.2-20] [MQTT-3.3.4-3]
 * [MQTT-2.2.1-2]
 */
#include "mqtt/encode.h"

#include "base/assert.h"
#include "mqtt/property.h"
#include "protocol/writer.h"

#define QOS_SHIFT 1
#define DUP_SHIFT 3
#define EXPIRY_BYTES 5 /* identifier and Four Byte Integer */
#define ALIAS_BYTES 3  /* identifier and Two Byte Integer */

struct measure {
    uint32_t properties; /* the block, without its length */
    uint32_t length;     /* Remaining Length */
};

static uint32_t properties_bytes(const struct publish_form *form)
{
    uint32_t bytes = form->properties_forwarded_bytes;
    bytes += form->has_expiry ? EXPIRY_BYTES : 0;
    bytes += form->topic_alias ? ALIAS_BYTES : 0;
    for (uint32_t i = 0; i < form->subscription_id_count; i++)
        bytes += 1 + varint_bytes(form->subscription_ids[i]);
    return bytes;
}

static struct measure measure(const struct publish_form *form)
{
    struct measure m = {0};
    m.length = 2 + (uint32_t)form->topic.len + (form->qos ? 2 : 0) + form->payload_bytes;
    if (form->version == MQTT_5) {
        m.properties = properties_bytes(form);
        m.length += varint_bytes(m.properties) + m.properties;
    }
    return m;
}

uint32_t encode_publish_bytes(const struct publish_form *form)
{
    uint32_t length = measure(form).length;
    return 1 + varint_bytes(length) + length;
}

static uint8_t *put_forwarded(uint8_t *dst, const struct publish_form *form)
{
    if (form->properties_forwarded_bytes == form->properties.len)
        return put_bytes(dst, form->properties);
    return property_copy_forwarded(form->properties, dst);
}

static uint8_t *put_properties(uint8_t *dst, const struct publish_form *form, uint32_t bytes)
{
    dst = put_varint(dst, bytes);
    if (form->has_expiry)
        dst = put_u32(put_u8(dst, PROPERTY_MESSAGE_EXPIRY), form->expiry_s);
    if (form->topic_alias)
        dst = put_u16(put_u8(dst, PROPERTY_TOPIC_ALIAS), form->topic_alias);
    for (uint32_t i = 0; i < form->subscription_id_count; i++)
        dst = put_varint(put_u8(dst, PROPERTY_SUBSCRIPTION_ID), form->subscription_ids[i]);
    return put_forwarded(dst, form);
}

uint32_t encode_publish_head(uint8_t *dst, const struct publish_form *form, uint32_t *packet_id_at)
{
    struct measure m = measure(form);
    BUG_ON(m.length > WRITER_VARINT_MAX); /* encode_publish_bytes said that it is too large */
    BUG_ON(form->topic.len > MQTT_STRING_BYTES_MAX);
    uint8_t first = (uint8_t)(PACKET_PUBLISH << 4 | form->dup << DUP_SHIFT |
                              form->qos << QOS_SHIFT | form->retain);
    uint8_t *end = put_varint(put_u8(dst, first), m.length);
    end = put_binary(end, form->topic);
    if (packet_id_at)
        *packet_id_at = form->qos ? (uint32_t)(end - dst) : 0;
    if (form->qos)
        end = put_u16(end, form->packet_id);
    if (form->version == MQTT_5)
        end = put_properties(end, form, m.properties);
    return (uint32_t)(end - dst);
}
