/* packet.c: see packet.h. */
#include "bench/packet.h"

#include <stdlib.h>
#include <string.h>

uint8_t *buf_reserve(struct buf *b, uint32_t more)
{
    uint64_t need = (uint64_t)b->len + more;
    if (UNLIKELY(need > b->cap)) {
        uint32_t cap = b->cap ? b->cap : 128;
        if (need > BUF_BYTES_MAX)
            bench_fail("more than 1 GiB would wait in memory for one client: smaller messages?");
        while (cap < need)
            cap *= 2;
        b->ptr = realloc(b->ptr, cap);
        if (!b->ptr)
            bench_fail("no memory");
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

void packet_connect(struct buf *b, int version, const struct login *login)
{
    const char *name = version == 3 ? "MQIsdp" : "MQTT";
    bool v5 = version == 5;
    uint32_t remaining = 2 + (uint32_t)strlen(name) + 4 + v5;
    uint8_t flags = 0x02; /* clean start */
    remaining += 2 + (uint32_t)strlen(login->client_id);
    if (login->username) {
        flags |= 0x80;
        remaining += 2 + (uint32_t)strlen(login->username);
    }
    if (login->password) {
        flags |= 0x40;
        remaining += 2 + (uint32_t)strlen(login->password);
    }
    put_header(b, PACKET_CONNECT << 4, remaining);
    put_text(b, name);
    put_u8(b, (uint8_t)version);
    put_u8(b, flags);
    put_u16(b, login->keepalive_s);
    if (v5)
        put_u8(b, 0);
    put_text(b, login->client_id);
    if (login->username)
        put_text(b, login->username);
    if (login->password)
        put_text(b, login->password);
}

/* The remaining length takes four bytes, so that it can be filled in at the end. */
uint32_t packet_subscribe_begin(struct buf *b, int version, uint16_t id)
{
    static const uint8_t header[5] = {PACKET_SUBSCRIBE << 4 | 2, 0x80, 0x80, 0x80, 0};
    uint32_t begun = b->len;
    buf_append(b, header, sizeof header);
    put_u16(b, id);
    if (version == 5)
        put_u8(b, 0);
    return begun;
}

void packet_subscribe_filter(struct buf *b, const char *filter, int qos)
{
    put_text(b, filter);
    put_u8(b, (uint8_t)qos);
}

void packet_subscribe_end(struct buf *b, uint32_t begun)
{
    uint8_t *packet = b->ptr + begun, digits = 1;
    uint32_t remaining = b->len - begun - 5;
    for (uint32_t rest = remaining >> 7; rest; rest >>= 7)
        digits++;
    for (uint32_t i = 0; i < digits; i++)
        packet[1 + i] = (remaining >> (7 * i) & 0x7f) | (i + 1 < digits ? 0x80 : 0);
    memmove(packet + 1 + digits, packet + 5, remaining);
    b->len -= 4u - digits;
}

struct publish_form packet_publish(struct buf *b, int version, const char *topic, int qos,
                                   uint32_t payload_bytes)
{
    struct publish_form form = {0};
    bool v5 = version == 5;
    uint32_t start = b->len;
    uint32_t remaining = 2 + (uint32_t)strlen(topic) + (qos ? 2 : 0) + v5 + payload_bytes;
    put_header(b, (uint8_t)(PACKET_PUBLISH << 4 | qos << 1), remaining);
    form.topic_at = b->len + 2 - start;
    put_text(b, topic);
    if (qos) {
        form.id_at = b->len - start;
        put_u16(b, 0);
    }
    if (v5)
        put_u8(b, 0);
    form.payload_at = b->len - start;
    memset(buf_reserve(b, payload_bytes), 'x', payload_bytes);
    b->len += payload_bytes;
    return form;
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
    publish->topic = p + 2;
    publish->topic_len = (uint16_t)(p[0] << 8 | p[1]);
    p += 2 + publish->topic_len;
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

uint16_t packet_id(const struct frame *frame)
{
    return frame->len >= 2 ? (uint16_t)(frame->body[0] << 8 | frame->body[1]) : 0;
}

/* The first reason of 0x80 and above, else the last; a SUBACK without a reason is malformed. */
static int suback_reason(const struct frame *frame, int version)
{
    uint32_t properties = 0, at = 2;
    int reason = 0x81;
    if (version == 5 && frame->len > 2)
        at += (uint32_t)read_varint(frame->body + 2, frame->len - 2, &properties) + properties;
    for (; at < frame->len; at++) {
        reason = frame->body[at];
        if (reason >= 0x80)
            break;
    }
    return reason;
}

int packet_reason(const struct frame *frame, int version)
{
    uint32_t at = 2; /* acknowledgements: after the packet id */
    if (frame->type == PACKET_SUBACK)
        return suback_reason(frame, version);
    if (frame->type == PACKET_CONNACK)
        at = 1;
    if (frame->type == PACKET_DISCONNECT)
        at = 0;
    return at < frame->len ? frame->body[at] : 0;
}

bool packet_is_refusal(const struct frame *frame, int version)
{
    int reason = packet_reason(frame, version);
    return reason >= 0x80 || (frame->type == PACKET_CONNACK && reason != 0);
}

struct reason_row {
    uint8_t v3, v5;
    const char *text;
    const char *advice; /* NULL: none */
};

static const struct reason_row *reason_find(int reason, int version)
{
    static const struct reason_row rows[] = {
        {1, 0x84, "it does not speak this version of MQTT", "; --version chooses another"},
        {2, 0x85, "it does not like the client id", NULL},
        {3, 0x88, "it is not available", NULL},
        {4, 0x86, "user name or password are wrong", "; --username and --password log in"},
        {5, 0x87, "not authorized", "; --username and --password log in"},
        {0, 0x81, "malformed packet", NULL},
        {0, 0x82, "protocol error", NULL},
        {0, 0x89, "it is busy", NULL},
        {0, 0x8b, "it shuts down", NULL},
        {0, 0x8d, "keepalive time-out", NULL},
        {0, 0x8e, "the session was taken over", NULL},
        {0, 0x93, "receive maximum exceeded", NULL},
        {0, 0x95, "packet too large", NULL},
        {0, 0x97, "quota exceeded", NULL},
        {0, 0x9a, "it does not support retained messages", NULL},
        {0, 0x9b, "it does not support this QoS", NULL},
        {0, 0x9e, "it does not support shared subscriptions", NULL},
        {0, 0xa1, "it does not support subscription ids", NULL},
        {0, 0xa2, "it does not support wildcards", NULL},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
        if (reason == (version == 5 ? rows[i].v5 : rows[i].v3) && reason)
            return &rows[i];
    return NULL;
}

const char *packet_reason_text(int reason, int version)
{
    const struct reason_row *row = reason_find(reason, version);
    return row ? row->text : "it does not say why";
}

const char *packet_reason_advice(int reason, int version)
{
    const struct reason_row *row = reason_find(reason, version);
    return row && row->advice ? row->advice : "";
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
