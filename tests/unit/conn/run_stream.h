/*
 * run_stream.h: streams of PUBLISH packets made by chance, and what sending them came to.
 */
#ifndef TESTS_UNIT_CONN_RUN_STREAM_H
#define TESTS_UNIT_CONN_RUN_STREAM_H

#include "conn/run.h"
#include "mqtt/version.h"
#include "tests/unit/conn/harness.h"

#define PUBLISHER "publisher"
#define SUBSCRIBER "subscriber"

/* What one way of sending came to. */
struct outcome {
    uint8_t *bytes; /* all that the subscriber got */
    size_t len;
    uint64_t metrics[METRIC_COUNT];
    uint64_t dropped;
    uint64_t messages_in, bytes_in, messages_out, bytes_out;
    uint64_t long_ways; /* publications that were routed one by one */
};

struct stream {
    uint64_t random;
    uint32_t payload_bytes; /* of every packet, 0: random */
    uint8_t bytes[60000];
    uint32_t starts[2000], count, len;
};

static inline uint32_t below(struct stream *s, uint32_t end)
{
    s->random ^= s->random << 13;
    s->random ^= s->random >> 7;
    s->random ^= s->random << 17;
    return (uint32_t)(s->random >> 33) % end;
}

static inline void stream_add(struct stream *s, uint8_t first, const struct packet *p)
{
    s->starts[s->count++] = s->len;
    s->bytes[s->len++] = first;
    s->len += put_varint(s->bytes + s->len, p->len);
    memcpy(s->bytes + s->len, p->bytes, p->len);
    s->len += p->len;
}

static inline uint32_t random_payload_bytes(struct stream *s)
{
    static const uint32_t around[] = {0, 1, 63, 110, 117, 127, 128, 200, 300, 2047, 2048, 4100};
    uint32_t dice = below(s, 40);
    if (s->payload_bytes)
        return s->payload_bytes;
    return dice < ARRAY_COUNT(around) ? around[dice] : below(s, 40);
}

/* Mostly one topic at QoS 0; now and then something that must not be taken for it. */
static inline void stream_add_random(struct stream *s, uint8_t version)
{
    static const char *const topics[] = {"a/often", "a/oftem", "a/often/", "b", "a/ofte"};
    uint32_t dice = below(s, 30);
    struct packet p = {0};
    uint8_t first = 0x30;
    put_string(&p, dice < 5 ? topics[dice] : topics[0]);
    if (dice == 6)
        first = 0x31;
    if (dice == 7)
        first = 0x32, put_u16(&p, 1 + s->count);
    if (version == MQTT_5 && dice == 8)
        put_u8(&p, 2), put_u8(&p, 0x01), put_u8(&p, 1); /* Payload Format Indicator */
    else if (version == MQTT_5)
        put_u8(&p, 0);
    for (uint32_t i = random_payload_bytes(s); i > 0; i--)
        put_u8(&p, 'a' + s->count % 26);
    stream_add(s, first, &p);
}

static inline void stream_make(struct stream *s, uint64_t seed, uint8_t version,
                               uint32_t payload_bytes)
{
    memset(s, 0, sizeof(*s));
    s->payload_bytes = payload_bytes;
    s->random = seed * 0x9E3779B97F4A7C15ull + 1;
    uint32_t count = 20 + below(s, 300);
    while (s->count < count && s->len < sizeof(s->bytes) - 8300)
        stream_add_random(s, version);
    s->starts[s->count] = s->len;
}

/* All to "a/often". */
static inline void stream_make_equal(struct stream *s, uint32_t count, uint32_t payload_bytes,
                                     uint8_t version)
{
    memset(s, 0, sizeof(*s));
    while (s->count < count) {
        struct packet p = {0};
        put_string(&p, "a/often");
        if (version == MQTT_5)
            put_u8(&p, 0);
        put_bytes(&p, s->bytes, payload_bytes);
        stream_add(s, 0x30, &p);
    }
    s->starts[s->count] = s->len;
}

static inline struct client *scene_client(struct harness *h, uint32_t reactor, const char *id,
                                          uint8_t version, uint32_t packet_bytes_max)
{
    struct client *client = client_new(h, reactor);
    client->version = version;
    client_connect_as(
        client,
        (struct connect){.id = id, .clean_start = true, .packet_bytes_max = packet_bytes_max});
    harness_settle(h);
    client_expect(client, PACKET_CONNACK);
    return client;
}

/* The packets in one go, or with a PINGREQ after each. */
static inline void stream_send(const struct stream *s, struct client *publisher, bool has_pings)
{
    static uint8_t whole[sizeof(s->bytes) + 2 * ARRAY_COUNT(s->starts)];
    uint32_t len = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        uint32_t bytes = s->starts[i + 1] - s->starts[i];
        memcpy(whole + len, s->bytes + s->starts[i], bytes);
        len += bytes;
        if (has_pings)
            whole[len++] = 0xC0, whole[len++] = 0;
    }
    client_send(publisher, whole, len);
}

/* Publications that were routed, or delivered from mail, one by one. */
static inline uint64_t long_ways(struct harness *h)
{
    return harness_worker(h, 0)->publish_serial + harness_worker(h, 1)->publish_serial;
}

static inline void outcome_add(struct outcome *outcome, const struct client *subscriber)
{
    outcome->bytes = realloc(outcome->bytes, outcome->len + subscriber->in_len + 1);
    memcpy(outcome->bytes + outcome->len, subscriber->in, subscriber->in_len);
    outcome->len += subscriber->in_len;
}

/* What a way of sending came to in figures, and what its subscriber got. */
static inline struct outcome outcome_of(struct harness *h, const struct client *subscriber,
                                        uint64_t long_ways_before)
{
    struct outcome outcome = {.long_ways = long_ways(h) - long_ways_before};
    outcome_add(&outcome, subscriber);
    for (int i = 0; i < METRIC_COUNT; i++)
        outcome.metrics[i] = harness_metric(h, i);
    for (int i = 0; i < DROP_COUNT; i++)
        outcome.dropped += harness_dropped(h, i);
    struct session *from = harness_session(h, PUBLISHER, NULL);
    struct session *to = harness_session(h, SUBSCRIBER, NULL);
    outcome.messages_in = from->messages_in, outcome.bytes_in = from->bytes_in;
    outcome.messages_out = to->messages_out, outcome.bytes_out = to->bytes_out;
    return outcome;
}

static inline void expect_equal(const struct outcome *one, const struct outcome *other)
{
    static const enum metric same[] = {METRIC_PUBLISH_RECEIVED, METRIC_PUBLISH_BYTES_RECEIVED,
                                       METRIC_PUBLISH_SENT, METRIC_PUBLISH_BYTES_SENT};
    assert_int_equal(one->len, other->len);
    assert_memory_equal(one->bytes, other->bytes, one->len);
    for (size_t i = 0; i < ARRAY_COUNT(same); i++)
        assert_int_equal(one->metrics[same[i]], other->metrics[same[i]]);
    assert_int_equal(one->dropped, other->dropped);
    assert_int_equal(one->messages_in, other->messages_in);
    assert_int_equal(one->bytes_in, other->bytes_in);
    assert_int_equal(one->messages_out, other->messages_out);
    assert_int_equal(one->bytes_out, other->bytes_out);
}

/* Numbers go up over all of the subscriber's connections, wherever they are. */
static inline void expect_rising(struct client *client, uint32_t *last, uint32_t *got)
{
    while (client_next(client)) {
        if (client->type != PACKET_PUBLISH)
            continue;
        struct got message = client_got(client);
        uint32_t number;
        assert_int_equal(message.payload.len, sizeof(number));
        memcpy(&number, message.payload.ptr, sizeof(number));
        assert_true(number > *last);
        *last = number;
        ++*got;
    }
}

static inline void send_numbers(struct client *publisher, uint32_t *number)
{
    uint8_t bytes[10 * 16];
    uint32_t len = 0;
    for (int i = 0; i < 10; i++) {
        static const uint8_t head[] = {0x30, 8, 0, 1, 'a', 0};
        ++*number;
        memcpy(bytes + len, head, sizeof(head));
        memcpy(bytes + len + sizeof(head), number, sizeof(*number));
        len += sizeof(head) + sizeof(*number);
    }
    client_send(publisher, bytes, len);
}

#endif
