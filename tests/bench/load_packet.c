/*
 * load_packet.c: the few packets that a load generator writes and reads, MQTT 3.1.1 and 5.
 *
 * Kept apart from the broker's codec on purpose: a mistake made there must not cancel out here.
 */
#include <stdlib.h>

#include "load.h"

uint8_t *buf_reserve(struct buf *b, uint32_t more)
{
    if (UNLIKELY(b->len + more > b->cap)) {
        uint32_t cap = b->cap ? b->cap : 128;
        while (cap < b->len + more)
            cap *= 2;
        b->ptr = realloc(b->ptr, cap);
        if (!b->ptr)
            load_fail("no memory");
        b->cap = cap;
    }
    return b->ptr + b->len;
}

void buf_append(struct buf *b, const void *bytes, uint32_t len)
{
    memcpy(buf_reserve(b, len), bytes, len);
    b->len += len;
}

void buf_drop(struct buf *b, uint32_t count)
{
    b->len -= count;
    if (b->len)
        memmove(b->ptr, b->ptr + count, b->len);
}

void buf_free(struct buf *b)
{
    free(b->ptr);
    *b = (struct buf){0};
}

static void put_u8(struct buf *b, uint8_t value)
{
    buf_append(b, &value, 1);
}

static void put_u16(struct buf *b, uint16_t value)
{
    uint8_t bytes[2] = {value >> 8, value & 0xff};
    buf_append(b, bytes, 2);
}

static void put_text(struct buf *b, const char *text)
{
    put_u16(b, (uint16_t)strlen(text));
    buf_append(b, text, (uint32_t)strlen(text));
}

static void put_header(struct buf *b, uint8_t first, uint32_t remaining)
{
    put_u8(b, first);
    do {
        put_u8(b, (remaining & 0x7f) | (remaining > 0x7f ? 0x80 : 0));
        remaining >>= 7;
    } while (remaining);
}

void packet_connect(struct buf *b, int version, const char *client_id, uint16_t keepalive_s)
{
    bool v5 = version == 5;
    put_header(b, PACKET_CONNECT << 4, 10 + v5 + 2 + (uint32_t)strlen(client_id));
    put_text(b, "MQTT");
    put_u8(b, (uint8_t)version);
    put_u8(b, 0x02); /* clean start */
    put_u16(b, keepalive_s);
    if (v5)
        put_u8(b, 0);
    put_text(b, client_id);
}

void packet_subscribe(struct buf *b, int version, uint16_t id, const char *filter, int qos)
{
    bool v5 = version == 5;
    put_header(b, PACKET_SUBSCRIBE << 4 | 2, 2 + v5 + 2 + (uint32_t)strlen(filter) + 1);
    put_u16(b, id);
    if (v5)
        put_u8(b, 0);
    put_text(b, filter);
    put_u8(b, (uint8_t)qos);
}

void packet_publish(struct buf *b, int version, const char *topic, int qos, uint32_t payload_bytes,
                    uint32_t *id_at, uint32_t *payload_at)
{
    bool v5 = version == 5;
    uint32_t start = b->len;
    uint32_t remaining = 2 + (uint32_t)strlen(topic) + (qos ? 2 : 0) + v5 + payload_bytes;
    put_header(b, (uint8_t)(PACKET_PUBLISH << 4 | qos << 1), remaining);
    put_text(b, topic);
    *id_at = 0;
    if (qos) {
        *id_at = b->len - start;
        put_u16(b, 0);
    }
    if (v5)
        put_u8(b, 0);
    *payload_at = b->len - start;
    memset(buf_reserve(b, payload_bytes), 'x', payload_bytes);
    b->len += payload_bytes;
}

void packet_ack(struct buf *b, enum packet_type type, uint16_t id)
{
    uint8_t bytes[4] = {(uint8_t)(type << 4 | (type == PACKET_PUBREL ? 2 : 0)), 2, id >> 8,
                        id & 0xff};
    buf_append(b, bytes, sizeof bytes);
}

void packet_bare(struct buf *b, enum packet_type type)
{
    uint8_t bytes[2] = {(uint8_t)(type << 4), 0};
    buf_append(b, bytes, sizeof bytes);
}

/* A variable byte integer at `p`: its length in bytes, 0 when short, -1 when longer than four. */
static int read_varint(const uint8_t *p, size_t len, uint32_t *value)
{
    *value = 0;
    for (int i = 0; i < 4; i++) {
        if ((size_t)i >= len)
            return 0;
        *value |= (uint32_t)(p[i] & 0x7f) << (7 * i);
        if (!(p[i] & 0x80))
            return i + 1;
    }
    return -1;
}

long packet_next(const uint8_t *p, size_t len, struct frame *frame)
{
    if (len < 2)
        return 0;
    int digits = read_varint(p + 1, len - 1, &frame->len);
    if (digits <= 0)
        return digits;
    size_t total = 1 + (size_t)digits + frame->len;
    if (total > len)
        return 0;
    frame->type = p[0] >> 4;
    frame->flags = p[0] & 0x0f;
    frame->body = p + 1 + digits;
    return (long)total;
}

bool packet_read_publish(const struct frame *frame, int version, struct publish *publish)
{
    const uint8_t *p = frame->body, *end = p + frame->len;
    if (frame->len < 2)
        return false;
    p += 2 + (p[0] << 8 | p[1]);
    publish->qos = frame->flags >> 1 & 3;
    publish->id = 0;
    if (publish->qos) {
        if (p + 2 > end)
            return false;
        publish->id = (uint16_t)(p[0] << 8 | p[1]);
        p += 2;
    }
    if (version == 5) {
        uint32_t properties;
        int digits = p < end ? read_varint(p, (size_t)(end - p), &properties) : 0;
        if (digits <= 0 || properties > (size_t)(end - p) - (size_t)digits)
            return false;
        p += (uint32_t)digits + properties;
    }
    if (p > end)
        return false;
    publish->payload = p;
    publish->len = (uint32_t)(end - p);
    return true;
}

int packet_reason(const struct frame *frame, int version)
{
    uint32_t at = 2; /* acknowledgements: after the packet id */
    switch (frame->type) {
    case PACKET_CONNACK:
        at = 1;
        break;
    case PACKET_DISCONNECT:
        at = 0;
        break;
    case PACKET_SUBACK: {
        uint32_t properties = 0;
        int digits = 0;
        if (version == 5 && frame->len > 2)
            digits = read_varint(frame->body + 2, frame->len - 2, &properties);
        at = 2 + (uint32_t)digits + properties;
        if (at >= frame->len)
            return 0x81; /* a SUBACK without a reason is malformed */
        break;
    }
    }
    return at < frame->len ? frame->body[at] : 0;
}

/* Bytes of the value of a CONNACK property, 0 when unknown. */
static uint32_t property_bytes(uint8_t id, const uint8_t *value, size_t len)
{
    switch (id) {
    case 0x24: /* maximum QoS */
    case 0x25: /* retain available */
    case 0x28: /* wildcards available */
    case 0x29: /* subscription identifiers available */
    case 0x2a: /* shared subscriptions available */
        return 1;
    case 0x13: /* server keep alive */
    case 0x21: /* receive maximum */
    case 0x22: /* topic alias maximum */
        return 2;
    case 0x11: /* session expiry */
    case 0x27: /* maximum packet size */
        return 4;
    case 0x26: { /* user property */
        uint32_t name = len >= 2 ? 2u + (uint32_t)(value[0] << 8 | value[1]) : 0;
        return name && len >= name + 2 ? name + 2u + (uint32_t)(value[name] << 8 | value[name + 1])
                                       : 0;
    }
    default: /* the rest are text or binary */
        return len >= 2 ? 2u + (uint32_t)(value[0] << 8 | value[1]) : 0;
    }
}

uint32_t packet_receive_maximum(const struct frame *frame, int version)
{
    uint32_t properties, maximum = 65535;
    int digits;
    if (version != 5 || frame->len < 3)
        return maximum;
    digits = read_varint(frame->body + 2, frame->len - 2, &properties);
    if (digits <= 0)
        return maximum;
    const uint8_t *p = frame->body + 2 + digits, *end = frame->body + frame->len;
    while (p + 1 < end) {
        uint8_t id = *p++;
        uint32_t bytes = property_bytes(id, p, (size_t)(end - p));
        if (!bytes || bytes > (size_t)(end - p))
            break;
        if (id == 0x21)
            maximum = (uint32_t)(p[0] << 8 | p[1]);
        p += bytes;
    }
    return maximum;
}
