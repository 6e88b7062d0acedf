/*
 * encode.c: the packets that a server sends, PUBLISH apart.
 *
 * Each encoder lists its properties, sums up the size, compares it with what there is room for, and
 * only then writes. A reason string is the last of the list: when the packet is too large with it,
 * it is tried without. Pure; any thread. [MQTT-2.2.2-1] [MQTT-3.1.2-24] [MQTT-3.2.2-1]
 * [MQTT-3.2.2-6] [MQTT-3.2.2-19] [MQTT-3.4.2-2] [MQTT-3.5.2-2] [MQTT-3.6.2-2] [MQTT-3.7.2-2]
 * [MQTT-3.9.2-1] [MQTT-3.11.2-1] [MQTT-3.14.2-3] 3.1.1: [MQTT-3.2.2-4] [MQTT-3.9.3-2]
 */
#include "mqtt/encode.h"

#include "mqtt/property.h"
#include "protocol/property_set.h"
#include "protocol/writer.h"

#define FIRST_BYTE(type) ((uint8_t)((type) << 4))
#define PUBREL_FLAGS 0x02u
#define PROPERTIES_MAX 16 /* CONNACK may have all of them */
#define SUBACK_FAILURE_V3 0x80u

/* The properties of one packet, in the order of writing. */
struct property_list {
    unsigned count;
    size_t bytes;
    bool is_invalid; /* one of them cannot be written */
    struct property properties[PROPERTIES_MAX];
};

/* The places are not cleared: `count` says which of them mean anything. */
static void list_init(struct property_list *list)
{
    list->count = 0;
    list->bytes = 0;
    list->is_invalid = false;
}

static void list_add(struct property_list *list, struct property property)
{
    size_t bytes = property_bytes(&property);
    list->is_invalid |= bytes == 0;
    list->bytes += bytes;
    list->properties[list->count++] = property;
}

static void list_add_number(struct property_list *list, uint8_t id, uint32_t number)
{
    list_add(list, (struct property){.id = id, .number = number});
}

static void list_add_bytes(struct property_list *list, uint8_t id, struct slice bytes)
{
    if (bytes.len)
        list_add(list, (struct property){.id = id, .bytes = bytes});
}

static uint8_t *list_write(uint8_t *dst, const struct property_list *list)
{
    dst = put_varint(dst, (uint32_t)list->bytes);
    for (unsigned i = 0; i < list->count; i++)
        dst = property_write(dst, &list->properties[i]);
    return dst;
}

/* A packet put together: [first byte][Remaining Length][head][properties][tail]. */
struct parts {
    uint8_t first;
    struct slice head, tail;
    struct property_list *list; /* NULL: no property length either */
};

static size_t parts_length(const struct parts *parts)
{
    size_t length = parts->head.len + parts->tail.len;
    if (parts->list)
        length += varint_bytes((uint32_t)parts->list->bytes) + parts->list->bytes;
    return length;
}

/* Writes the packet if it has at most `bytes_max` bytes; returns its size or 0. */
static size_t parts_write(uint8_t *dst, size_t bytes_max, const struct parts *parts)
{
    size_t length = parts_length(parts);
    if (length > WRITER_VARINT_MAX || (parts->list && parts->list->is_invalid))
        return 0;
    size_t size = 1 + varint_bytes((uint32_t)length) + length;
    if (size > bytes_max)
        return 0;
    uint8_t *end = put_u8(dst, parts->first);
    end = put_varint(end, (uint32_t)length);
    end = put_bytes(end, parts->head);
    if (parts->list)
        end = list_write(end, parts->list);
    put_bytes(end, parts->tail);
    return size;
}

/* Writes the packet with the reason string if it may be that large, else without. */
static size_t parts_write_with_reason(uint8_t *dst, size_t bytes_max, const struct parts *parts,
                                      struct slice reason_string)
{
    struct property_list *list = parts->list;
    if (reason_string.len && reason_string.len <= MQTT_STRING_BYTES_MAX) {
        unsigned count = list->count;
        size_t bytes = list->bytes;
        list_add_bytes(list, PROPERTY_REASON_STRING, reason_string);
        size_t size = parts_write(dst, bytes_max, parts);
        if (size)
            return size;
        list->count = count;
        list->bytes = bytes;
    }
    return parts_write(dst, bytes_max, parts);
}

/* The smaller of the room and of the peer's Maximum Packet Size, where it gave one. */
static size_t bytes_max_of(size_t cap, uint32_t peer_packet_bytes_max)
{
    return peer_packet_bytes_max && peer_packet_bytes_max < cap ? peer_packet_bytes_max : cap;
}

static void list_connack(struct property_list *list, const struct packet_connack *packet)
{
    if (packet->has_session_expiry)
        list_add_number(list, PROPERTY_SESSION_EXPIRY, packet->session_expiry_s);
    if (packet->receive_maximum != 0 && packet->receive_maximum != UINT16_MAX)
        list_add_number(list, PROPERTY_RECEIVE_MAXIMUM, packet->receive_maximum);
    if (packet->qos_max < 2)
        list_add_number(list, PROPERTY_MAXIMUM_QOS, packet->qos_max);
    if (packet->retain_unavailable)
        list_add_number(list, PROPERTY_RETAIN_AVAILABLE, 0);
    if (packet->packet_bytes_max)
        list_add_number(list, PROPERTY_MAXIMUM_PACKET_SIZE, packet->packet_bytes_max);
    list_add_bytes(list, PROPERTY_ASSIGNED_CLIENT_ID, packet->assigned_client_id);
    if (packet->topic_alias_maximum)
        list_add_number(list, PROPERTY_TOPIC_ALIAS_MAXIMUM, packet->topic_alias_maximum);
    if (packet->has_server_keepalive)
        list_add_number(list, PROPERTY_SERVER_KEEP_ALIVE, packet->server_keepalive_s);
    list_add_bytes(list, PROPERTY_RESPONSE_INFORMATION, packet->response_information);
    list_add_bytes(list, PROPERTY_SERVER_REFERENCE, packet->server_reference);
    list_add_bytes(list, PROPERTY_AUTHENTICATION_METHOD, packet->auth_method);
    list_add_bytes(list, PROPERTY_AUTHENTICATION_DATA, packet->auth_data);
}

size_t encode_connack(uint8_t *dst, size_t cap, uint8_t version, uint32_t peer_packet_bytes_max,
                      const struct packet_connack *packet)
{
    bool is_accepted = packet->reason == REASON_SUCCESS;
    uint8_t head[2] = {is_accepted && packet->session_present && version != MQTT_3_1,
                       packet->reason};
    struct parts parts = {FIRST_BYTE(PACKET_CONNACK), slice_of(head, 2), {0}, NULL};
    size_t bytes_max = bytes_max_of(cap, peer_packet_bytes_max);
    if (version != MQTT_5) {
        head[1] = is_accepted ? 0 : reason_to_connack_v3(packet->reason);
        return parts_write(dst, bytes_max, &parts);
    }
    struct property_list list;
    list_init(&list);
    list_connack(&list, packet);
    parts.list = &list;
    return parts_write_with_reason(dst, bytes_max, &parts, packet->reason_string);
}

size_t encode_ack(uint8_t *dst, size_t cap, uint8_t version, uint32_t peer_packet_bytes_max,
                  uint8_t type, uint16_t packet_id, uint8_t reason, struct slice reason_string)
{
    uint8_t head[3] = {(uint8_t)(packet_id >> 8), (uint8_t)packet_id, reason};
    uint8_t first = FIRST_BYTE(type) | (type == PACKET_PUBREL ? PUBREL_FLAGS : 0);
    size_t bytes_max = bytes_max_of(cap, peer_packet_bytes_max);
    struct parts parts = {first, slice_of(head, 3), {0}, NULL};
    if (version == MQTT_5 && reason_string.len && reason_string.len <= MQTT_STRING_BYTES_MAX) {
        struct property_list list;
        list_init(&list);
        list_add_bytes(&list, PROPERTY_REASON_STRING, reason_string);
        parts.list = &list;
        size_t size = parts_write(dst, bytes_max, &parts);
        if (size)
            return size;
        parts.list = NULL;
    }
    if (version != MQTT_5 || reason == REASON_SUCCESS)
        parts.head.len = 2;
    return parts_write(dst, bytes_max, &parts);
}

/* What a 3.x client is told instead of a v5 code. */
static uint8_t suback_code_v3(uint8_t version, uint8_t code)
{
    if (code < 0x80)
        return code;
    return version == MQTT_3_1 ? 0 : SUBACK_FAILURE_V3;
}

size_t encode_suback(uint8_t *dst, size_t cap, uint8_t version, uint32_t peer_packet_bytes_max,
                     uint8_t type, uint16_t packet_id, struct slice codes,
                     struct slice reason_string)
{
    uint8_t head[2] = {(uint8_t)(packet_id >> 8), (uint8_t)packet_id};
    struct property_list list;
    list_init(&list);
    struct parts parts = {FIRST_BYTE(type), slice_of(head, 2), codes, &list};
    size_t bytes_max = bytes_max_of(cap, peer_packet_bytes_max);
    if (version == MQTT_5)
        return parts_write_with_reason(dst, bytes_max, &parts, reason_string);
    parts.list = NULL;
    if (type == PACKET_UNSUBACK)
        parts.tail.len = 0;
    size_t size = parts_write(dst, bytes_max, &parts);
    for (size_t i = size ? size - parts.tail.len : 0; i < size; i++)
        dst[i] = suback_code_v3(version, dst[i]);
    return size;
}

size_t encode_pingresp(uint8_t *dst, size_t cap)
{
    if (cap < 2)
        return 0;
    dst[0] = FIRST_BYTE(PACKET_PINGRESP);
    dst[1] = 0;
    return 2;
}

size_t encode_disconnect(uint8_t *dst, size_t cap, uint32_t peer_packet_bytes_max, uint8_t reason,
                         struct slice reason_string, struct slice server_reference)
{
    struct property_list list;
    list_init(&list);
    struct parts parts = {FIRST_BYTE(PACKET_DISCONNECT), slice_of(&reason, 1), {0}, &list};
    size_t bytes_max = bytes_max_of(cap, peer_packet_bytes_max);
    list_add_bytes(&list, PROPERTY_SERVER_REFERENCE, server_reference);
    size_t size = parts_write_with_reason(dst, bytes_max, &parts, reason_string);
    if (size)
        return size;
    parts.list = NULL; /* the short form, for peers that take hardly anything */
    return parts_write(dst, bytes_max, &parts);
}

size_t encode_auth(uint8_t *dst, size_t cap, uint32_t peer_packet_bytes_max, uint8_t reason,
                   struct slice method, struct slice data)
{
    struct property_list list;
    list_init(&list);
    struct parts parts = {FIRST_BYTE(PACKET_AUTH), slice_of(&reason, 1), {0}, &list};
    list_add_bytes(&list, PROPERTY_AUTHENTICATION_METHOD, method);
    list_add_bytes(&list, PROPERTY_AUTHENTICATION_DATA, data);
    return parts_write(dst, bytes_max_of(cap, peer_packet_bytes_max), &parts);
}
