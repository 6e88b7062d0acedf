/*
 * fuzz_ack.c: any bytes as the body of an acknowledgement, DISCONNECT, AUTH or empty packet.
 *
 * Input: [type and version][body]. What is accepted has a legal reason, and encoded in its short
 * form and decoded again it says the same.
 */
#include "base/assert.h"
#include "mqtt/encode.h"
#include "mqtt/packet.h"
#include "mqtt/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ROOM 200000

static uint8_t room[ROOM];

static struct slice frame_of(size_t size, uint8_t version, uint8_t type)
{
    struct frame frame;
    const struct fault *fault;
    BUG_ON(size == 0 || size > ROOM);
    BUG_ON(frame_next(slice_of(room, size), version, ROOM, &frame, &fault) != FRAME_READY);
    BUG_ON(frame.type != type || frame.size != size);
    return frame.body;
}

static void try_ack(struct slice body, uint8_t version, uint8_t type)
{
    struct packet_ack packet, again;
    if (decode_ack(body, type, version, &packet) != NULL)
        return;
    BUG_ON(packet.packet_id == 0 || !reason_is_legal_from_client(type, packet.reason));
    size_t size = encode_ack(room, ENCODE_ACK_BYTES_MAX, version, 0, type, packet.packet_id,
                             packet.reason, (struct slice){0});
    BUG_ON(decode_ack(frame_of(size, version, type), type, version, &again) != NULL);
    BUG_ON(again.packet_id != packet.packet_id || again.reason != packet.reason);
}

static void try_disconnect(struct slice body, uint8_t version)
{
    struct packet_disconnect packet, again;
    if (decode_disconnect(body, version, &packet) != NULL)
        return;
    BUG_ON(!reason_is_legal_from_client(PACKET_DISCONNECT, packet.reason));
    BUG_ON(version != MQTT_5 && packet.has_session_expiry);
    size_t size =
        encode_disconnect(room, ROOM, 0, packet.reason, (struct slice){0}, (struct slice){0});
    BUG_ON(decode_disconnect(frame_of(size, MQTT_5, PACKET_DISCONNECT), MQTT_5, &again) != NULL);
    BUG_ON(again.reason != packet.reason);
}

static void try_auth(struct slice body)
{
    struct packet_auth packet, again;
    if (decode_auth(body, &packet) != NULL)
        return;
    BUG_ON(!packet.has_method || !utf8_is_valid(packet.method));
    BUG_ON(!reason_is_legal_from_client(PACKET_AUTH, packet.reason));
    if (packet.method.len == 0)
        return; /* the encoder leaves out what is empty */
    size_t size = encode_auth(room, ROOM, 0, packet.reason, packet.method, packet.data);
    BUG_ON(decode_auth(frame_of(size, MQTT_5, PACKET_AUTH), &again) != NULL);
    BUG_ON(again.reason != packet.reason || !slice_eq(again.method, packet.method));
    BUG_ON(!slice_eq(again.data, packet.data));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    uint8_t version = (uint8_t)(MQTT_3_1 + (data[0] >> 4) % 3);
    struct slice body = slice_of(data + 1, size - 1);
    switch (data[0] & 7) {
    case 4:
        try_disconnect(body, version);
        break;
    case 5:
        try_auth(body);
        break;
    case 6:
        BUG_ON((decode_empty(body) == NULL) != (body.len == 0));
        break;
    default:
        try_ack(body, version, (uint8_t)(PACKET_PUBACK + (data[0] & 3)));
        break;
    }
    return 0;
}
