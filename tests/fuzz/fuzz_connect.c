/*
 * fuzz_connect.c: any bytes as the body of a CONNECT.
 *
 * What was understood, written down again by the rules of the standard, is what was read, byte for
 * byte. In 3.1 the flags say more than is there, so they are left out of the comparison.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "mqtt/packet.h"
#include "mqtt/topic.h"
#include "mqtt/utf8.h"
#include "protocol/writer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LEVEL_AT(version) ((version) == MQTT_3_1 ? 8 : 6)

static uint8_t flags_of(const struct packet_connect *packet)
{
    uint8_t flags = 0;
    flags |= packet->has_user_name ? 0x80 : 0;
    flags |= packet->has_password ? 0x40 : 0;
    flags |= packet->will.retain ? 0x20 : 0;
    flags |= (uint8_t)(packet->will.qos << 3);
    flags |= packet->will.present ? 0x04 : 0;
    flags |= packet->clean_start ? 0x02 : 0;
    return flags;
}

static uint8_t *put_block(uint8_t *dst, struct slice block)
{
    return put_bytes(put_varint(dst, (uint32_t)block.len), block);
}

static uint8_t *put_connect(uint8_t *dst, const struct packet_connect *packet)
{
    bool is_v5 = packet->version == MQTT_5;
    dst = put_binary(dst, slice_str(packet->version == MQTT_3_1 ? "MQIsdp" : "MQTT"));
    dst = put_u8(dst, packet->version | (packet->is_bridge ? 0x80 : 0));
    dst = put_u8(dst, flags_of(packet));
    dst = put_u16(dst, packet->keepalive_s);
    dst = is_v5 ? put_block(dst, packet->properties) : dst;
    dst = put_binary(dst, packet->client_id);
    if (packet->will.present) {
        dst = is_v5 ? put_block(dst, packet->will.properties) : dst;
        dst = put_binary(put_binary(dst, packet->will.topic), packet->will.payload);
    }
    dst = packet->has_user_name ? put_binary(dst, packet->user_name) : dst;
    return packet->has_password ? put_binary(dst, packet->password) : dst;
}

static void check_meaning(const struct packet_connect *packet)
{
    BUG_ON(packet->version < MQTT_3_1 || packet->version > MQTT_5);
    BUG_ON(packet->receive_maximum == 0 || packet->packet_bytes_max == 0);
    BUG_ON(!utf8_is_valid(packet->client_id) || !utf8_is_valid(packet->user_name));
    BUG_ON(packet->will.qos > 2);
    BUG_ON(packet->will.present && topic_name_check(packet->will.topic) != NULL);
    BUG_ON(packet->auth_data.len && !packet->has_auth_method);
    BUG_ON(property_check(packet->properties, PACKET_CONNECT) != NULL);
    BUG_ON(property_check(packet->will.properties, PROPERTY_BLOCK_WILL) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct packet_connect packet;
    const struct fault *fault = decode_connect(slice_of(data, size), &packet);
    if (fault) {
        BUG_ON(fault->reason < 0x80 || !fault->clause || !fault->text);
        return 0;
    }
    check_meaning(&packet);
    uint8_t *again = malloc(size);
    BUG_ON(again == NULL);
    BUG_ON(put_connect(again, &packet) != again + size);
    if (packet.version == MQTT_3_1)
        again[LEVEL_AT(MQTT_3_1) + 1] = data[LEVEL_AT(MQTT_3_1) + 1];
    BUG_ON(memcmp(again, data, size) != 0);
    free(again);
    return 0;
}
