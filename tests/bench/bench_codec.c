/*
 * bench_codec.c: what the codec costs: ns per packet framed, decoded and encoded again.
 *
 * Each row runs one packet over and over, from memory that stays in the cache, and prints the
 * fastest of several rounds: the cost without the machine's other work. A PUBLISH has a topic of 24
 * bytes and 64 bytes of payload; "v5 + properties" has a Content Type, a Message Expiry and two
 * User Properties. Usage: bench_codec [millions of packets per round]
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/clock.h"
#include "mqtt/encode.h"
#include "mqtt/packet.h"
#include "mqtt/topic.h"
#include "mqtt/utf8.h"

#define ROUNDS 7
#define PACKET_ROOM 512

static const char TOPIC[] = "plant/7/line/3/oven/temp";
static const uint8_t PROPERTIES[] = "\x03\x00\x0a"
                                    "text/plain"
                                    "\x02\x00\x00\x0e\x10"
                                    "\x26\x00\x04unit\x00\x07"
                                    "celsius"
                                    "\x26\x00\x06sensor\x00\x04t-17";

struct row {
    const char *name;
    uint8_t version, qos;
    struct slice properties;
    void (*once)(const struct row *row);
    uint8_t packet[PACKET_ROOM]; /* the input */
    uint32_t packet_bytes;
};

static uint8_t output[PACKET_ROOM];
static uint64_t sink; /* keeps the work from being optimised away */

static struct frame frame_row(const struct row *row)
{
    struct frame frame;
    const struct fault *fault;
    struct slice in = slice_of(row->packet, row->packet_bytes);
    BUG_ON(frame_next(in, row->version, MQTT_PACKET_BYTES_MAX, &frame, &fault) != FRAME_READY);
    return frame;
}

static void decode_publish_once(const struct row *row)
{
    struct frame frame = frame_row(row);
    struct packet_publish packet;
    BUG_ON(decode_publish(frame.body, frame.flags, row->version, &packet) != NULL);
    sink += packet.payload.len;
}

static struct publish_form form_of(const struct row *row, struct slice topic,
                                   struct slice properties)
{
    return (struct publish_form){
        .version = row->version,
        .qos = row->qos,
        .packet_id = 77,
        .topic = topic,
        .has_expiry = properties.len != 0,
        .expiry_s = 3599,
        .properties = properties,
        .properties_forwarded_bytes = property_forwarded_bytes(properties),
        .payload_bytes = 64,
    };
}

static void encode_publish_once(const struct row *row)
{
    struct publish_form form = form_of(row, slice_of(TOPIC, sizeof(TOPIC) - 1), row->properties);
    uint32_t packet_id_at;
    BUG_ON(encode_publish_bytes(&form) > sizeof(output));
    sink += encode_publish_head(output, &form, &packet_id_at);
}

static void both_publish_once(const struct row *row)
{
    struct frame frame = frame_row(row);
    struct packet_publish packet;
    BUG_ON(decode_publish(frame.body, frame.flags, row->version, &packet) != NULL);
    struct publish_form form = form_of(row, packet.topic, packet.properties);
    uint32_t packet_id_at;
    BUG_ON(encode_publish_bytes(&form) > sizeof(output));
    sink += encode_publish_head(output, &form, &packet_id_at);
}

static void connect_once(const struct row *row)
{
    struct packet_connect packet;
    BUG_ON(decode_connect(frame_row(row).body, &packet) != NULL);
    struct packet_connack answer = {.qos_max = 2, .topic_alias_maximum = 10};
    sink += encode_connack(output, sizeof(output), row->version, packet.packet_bytes_max, &answer);
}

static void subscribe_once(const struct row *row)
{
    struct packet_subscribe packet;
    struct subscribe_filter filter;
    struct topic_filter parsed;
    uint8_t codes[8];
    size_t count = 0;
    BUG_ON(decode_subscribe(frame_row(row).body, row->version, &packet) != NULL);
    while (subscribe_next_filter(&packet.filters, row->version, &filter)) {
        BUG_ON(topic_filter_parse(filter.filter, &parsed) != NULL);
        codes[count++] = filter.qos;
    }
    sink += encode_suback(output, sizeof(output), row->version, 0, PACKET_SUBACK, packet.packet_id,
                          slice_of(codes, count), (struct slice){0});
}

static void puback_once(const struct row *row)
{
    struct packet_ack packet;
    BUG_ON(decode_ack(frame_row(row).body, PACKET_PUBACK, row->version, &packet) != NULL);
    sink += encode_ack(output, sizeof(output), row->version, 0, PACKET_PUBACK, packet.packet_id,
                       packet.reason, (struct slice){0});
}

/* The inputs. */

static void fill_publish(struct row *row)
{
    struct publish_form form = form_of(row, slice_of(TOPIC, sizeof(TOPIC) - 1), row->properties);
    row->packet_bytes = encode_publish_bytes(&form);
    uint32_t head = encode_publish_head(row->packet, &form, NULL);
    memset(row->packet + head, 'x', row->packet_bytes - head);
}

static void fill_bytes(struct row *row, const void *bytes, size_t len)
{
    memcpy(row->packet, bytes, len);
    row->packet_bytes = (uint32_t)len;
}

#define CONNECT_V3 "\x10\x20\x00\x04MQTT\x04\x02\x00\x3c\x00\x14sensor-0000000000017"
#define CONNECT_V5                                                             \
    "\x10\x29\x00\x04MQTT\x05\x02\x00\x3c\x08\x11\x00\x00\x0e\x10\x21\x00\x14" \
    "\x00\x14sensor-0000000000017"
#define SUBSCRIBE_V3 "\x82\x1d\x00\x09\x00\x18plant/7/+/+/oven/temp/in\x01"
#define SUBSCRIBE_V5 "\x82\x20\x00\x09\x02\x0b\x05\x00\x18plant/7/+/+/oven/temp/in\x01"
#define PUBACK "\x40\x02\x00\x4d"
#define FILL(row, text) fill_bytes(row, text, sizeof(text) - 1)

static double row_ns(const struct row *row, uint64_t packets)
{
    double best = 1e18;
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t start = clock_real_ns();
        for (uint64_t i = 0; i < packets; i++)
            row->once(row);
        double ns = (double)(clock_real_ns() - start) / (double)packets;
        best = ns < best ? ns : best;
    }
    return best;
}

#define NO_PROPERTIES \
    {                 \
        NULL, 0       \
    }
#define SOME_PROPERTIES                    \
    {                                      \
        PROPERTIES, sizeof(PROPERTIES) - 1 \
    }

static struct row publish_rows[] = {
    {"PUBLISH v3.1.1 QoS 0", MQTT_3_1_1, 0, NO_PROPERTIES, NULL, "", 0},
    {"PUBLISH v3.1.1 QoS 1", MQTT_3_1_1, 1, NO_PROPERTIES, NULL, "", 0},
    {"PUBLISH v5 QoS 0", MQTT_5, 0, NO_PROPERTIES, NULL, "", 0},
    {"PUBLISH v5 QoS 1", MQTT_5, 1, NO_PROPERTIES, NULL, "", 0},
    {"PUBLISH v5 QoS 0 + properties", MQTT_5, 0, SOME_PROPERTIES, NULL, "", 0},
    {"PUBLISH v5 QoS 1 + properties", MQTT_5, 1, SOME_PROPERTIES, NULL, "", 0},
};

static struct row other_rows[] = {
    {"CONNECT v3.1.1 -> CONNACK", MQTT_3_1_1, 0, NO_PROPERTIES, connect_once, "", 0},
    {"CONNECT v5 -> CONNACK", MQTT_5, 0, NO_PROPERTIES, connect_once, "", 0},
    {"SUBSCRIBE v3.1.1 -> SUBACK", MQTT_3_1_1, 0, NO_PROPERTIES, subscribe_once, "", 0},
    {"SUBSCRIBE v5 -> SUBACK", MQTT_5, 0, NO_PROPERTIES, subscribe_once, "", 0},
    {"PUBACK v5 -> PUBACK", MQTT_5, 0, NO_PROPERTIES, puback_once, "", 0},
};

int main(int argc, char **argv)
{
    uint64_t packets = (argc > 1 ? strtoull(argv[1], NULL, 10) : 2) * 1000000;
    printf("%-34s %10s %10s %10s\n", "ns per packet", "decode", "encode", "both");
    for (size_t i = 0; i < ARRAY_COUNT(publish_rows); i++) {
        struct row *row = &publish_rows[i];
        fill_publish(row);
        row->once = decode_publish_once;
        double decode = row_ns(row, packets);
        row->once = encode_publish_once;
        double encode = row_ns(row, packets);
        row->once = both_publish_once;
        printf("%-34s %10.1f %10.1f %10.1f\n", row->name, decode, encode, row_ns(row, packets));
    }
    FILL(&other_rows[0], CONNECT_V3);
    FILL(&other_rows[1], CONNECT_V5);
    FILL(&other_rows[2], SUBSCRIBE_V3);
    FILL(&other_rows[3], SUBSCRIBE_V5);
    FILL(&other_rows[4], PUBACK);
    for (size_t i = 0; i < ARRAY_COUNT(other_rows); i++)
        printf("%-34s %10s %10s %10.1f\n", other_rows[i].name, "", "",
               row_ns(&other_rows[i], packets));
    return sink == 0;
}
