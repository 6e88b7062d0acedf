/*
 * fuzz_publish.c: any bytes as the body of a PUBLISH, and what is understood sent on.
 *
 * Input: [flags, version][body]. A message that is accepted, encoded for a subscriber in any
 * version and decoded again, says the same; what is forwarded of its properties is not lost.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "mqtt/encode.h"
#include "mqtt/packet.h"
#include "mqtt/topic.h"
#include "mqtt/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_same(const struct packet_publish *was, const struct packet_publish *is,
                       uint8_t version)
{
    BUG_ON(was->qos != is->qos || was->dup != is->dup || was->retain != is->retain);
    BUG_ON(was->packet_id != is->packet_id);
    BUG_ON(!slice_eq(was->topic, is->topic) || !slice_eq(was->payload, is->payload));
    if (version != MQTT_5)
        return;
    BUG_ON(was->has_expiry != is->has_expiry || was->expiry_s != is->expiry_s);
    BUG_ON(was->alias != is->alias || was->payload_is_utf8 != is->payload_is_utf8);
    BUG_ON(property_forwarded_bytes(was->properties) != property_forwarded_bytes(is->properties));
}

static void send_on(const struct packet_publish *packet, uint8_t version)
{
    struct publish_form form = {
        .version = version,
        .qos = packet->qos,
        .dup = packet->dup,
        .retain = packet->retain,
        .packet_id = packet->packet_id,
        .topic = packet->topic,
        .topic_alias = packet->alias,
        .has_expiry = packet->has_expiry,
        .expiry_s = packet->expiry_s,
        .properties = packet->properties,
        .properties_forwarded_bytes = property_forwarded_bytes(packet->properties),
        .payload_bytes = (uint32_t)packet->payload.len,
    };
    uint32_t size = encode_publish_bytes(&form), packet_id_at;
    uint8_t *bytes = malloc(size);
    struct frame frame;
    const struct fault *fault;
    struct packet_publish again;
    BUG_ON(bytes == NULL);
    uint32_t head = encode_publish_head(bytes, &form, &packet_id_at);
    BUG_ON(head + form.payload_bytes != size);
    if (form.payload_bytes)
        memcpy(bytes + head, packet->payload.ptr, form.payload_bytes);
    BUG_ON(frame_next(slice_of(bytes, size), version, size, &frame, &fault) != FRAME_READY);
    BUG_ON(frame.size != size);
    BUG_ON(decode_publish(frame.body, frame.flags, version, &again) != NULL);
    check_same(packet, &again, version);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct packet_publish packet;
    if (size == 0)
        return 0;
    uint8_t flags = data[0] & 15, version = (uint8_t)(MQTT_3_1 + (data[0] >> 4) % 3);
    const struct fault *fault =
        decode_publish(slice_of(data + 1, size - 1), flags, version, &packet);
    if (fault) {
        BUG_ON(fault->reason < 0x80 || !fault->clause || !fault->text);
        return 0;
    }
    BUG_ON(packet.topic.len == 0 && !packet.has_alias);
    BUG_ON(packet.topic.len && topic_name_check(packet.topic) != NULL);
    BUG_ON(!utf8_is_valid(packet.topic));
    BUG_ON((packet.packet_id == 0) != (packet.qos == 0));
    BUG_ON(packet.payload.ptr + packet.payload.len != data + size);
    if (packet.has_alias && packet.alias == 0)
        return 0; /* a caller refuses it, and 0 means none to the encoder */
    for (uint8_t to = MQTT_3_1; to <= MQTT_5; to++) {
        if (packet.topic.len || to == MQTT_5)
            send_on(&packet, to);
    }
    return 0;
}
