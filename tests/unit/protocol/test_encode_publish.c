/* test_encode_publish.c: PUBLISH of mqtt/encode.h, round trips and bytes written by hand. */
#include "tests/unit/protocol/testing.h"

#include "mqtt/encode.h"
#include "mqtt/packet.h"

/* Encodes head and payload into memory of exactly the announced size. */
static uint8_t *encode(const struct publish_form *form, const uint8_t *payload,
                       uint32_t *packet_id_at, size_t *size)
{
    *size = encode_publish_bytes(form);
    size_t head = *size - form->payload_bytes;
    uint8_t *exact = malloc(head);
    assert_non_null(exact);
    assert_int_equal(encode_publish_head(exact, form, packet_id_at), head);
    uint8_t *whole = malloc(*size);
    assert_non_null(whole);
    memcpy(whole, exact, head);
    if (form->payload_bytes)
        memcpy(whole + head, payload, form->payload_bytes);
    free(exact);
    return whole;
}

static void expect_bytes(const struct publish_form *form, const void *want, size_t len)
{
    size_t size;
    uint8_t *got = encode(form, (const uint8_t *)"PAYLOADPAYLOAD", NULL, &size);
    assert_int_equal(size, len);
    assert_memory_equal(got, want, len);
    free(got);
}

#define EXPECT_BYTES(form, text) expect_bytes(form, text, sizeof(text) - 1)

static void bytes_are_those_of_the_standard(void **state)
{
    (void)state;
    struct publish_form form = {
        .version = MQTT_3_1_1, .topic = SLICE_LIT("a/b"), .payload_bytes = 2};
    EXPECT_BYTES(&form, "\x30\x07\x00\x03"
                        "a/bPA");
    form.qos = 1;
    form.packet_id = 0x1234;
    form.retain = true;
    EXPECT_BYTES(&form, "\x33\x09\x00\x03"
                        "a/b\x12\x34PA");
    form.dup = true;
    form.qos = 2;
    form.version = MQTT_5;
    EXPECT_BYTES(&form, "\x3D\x0A\x00\x03"
                        "a/b\x12\x34\x00PA");
    uint32_t ids[] = {1, 300};
    form.has_expiry = true;
    form.expiry_s = 0x01020304;
    form.topic_alias = 5;
    form.topic = (struct slice){0};
    form.subscription_ids = ids;
    form.subscription_id_count = 2;
    form.payload_bytes = 0;
    EXPECT_BYTES(&form, "\x3D\x12\x00\x00\x12\x34\x0D"
                        "\x02\x01\x02\x03\x04\x23\x00\x05\x0B\x01\x0B\xAC\x02");
}

static void before_5_0_there_are_no_properties(void **state)
{
    (void)state;
    uint32_t id = 9;
    struct publish_form form = {.version = MQTT_3_1,
                                .topic = SLICE_LIT("t"),
                                .has_expiry = true,
                                .topic_alias = 3,
                                .subscription_ids = &id,
                                .subscription_id_count = 1,
                                .properties = SLICE_LIT("\x01\x01"),
                                .properties_forwarded_bytes = 2};
    EXPECT_BYTES(&form, "\x30\x03\x00\x01t");
}

static void what_is_not_forwarded_is_left_out(void **state)
{
    (void)state;
    struct publish_form form = {
        .version = MQTT_5,
        .topic = SLICE_LIT("t"),
        .properties = SLICE_LIT("\x01\x01\x23\x00\x07\x26\x00\x01n\x00\x01v\x02\x00\x00\x00\x01"),
    };
    form.properties_forwarded_bytes = property_forwarded_bytes(form.properties);
    EXPECT_BYTES(&form, "\x30\x0D\x00\x01t\x09\x01\x01\x26\x00\x01n\x00\x01v");
}

static void place_of_the_packet_id_is_told(void **state)
{
    (void)state;
    for (uint8_t version = 3; version <= 5; version++) {
        for (uint8_t qos = 0; qos <= 2; qos++) {
            struct publish_form form = {.version = version,
                                        .qos = qos,
                                        .packet_id = 0xABCD,
                                        .topic = SLICE_LIT("some/topic"),
                                        .payload_bytes = 200};
            uint8_t payload[200] = {0};
            uint32_t at = 99;
            size_t size;
            uint8_t *got = encode(&form, payload, &at, &size);
            if (qos == 0)
                assert_int_equal(at, 0);
            else
                assert_memory_equal(got + at, "\xAB\xCD", 2);
            free(got);
        }
    }
}

/* A message at random: decoded again it says the same. */
static void expect_round_trip(const struct publish_form *form, const uint8_t *payload)
{
    struct frame frame;
    const struct fault *fault;
    struct packet_publish packet;
    struct property property;
    size_t size;
    uint8_t *got = encode(form, payload, NULL, &size);
    assert_int_equal(
        frame_next(slice_of(got, size), form->version, MQTT_PACKET_BYTES_MAX, &frame, &fault),
        FRAME_READY);
    assert_int_equal(frame.size, size);
    assert_null(decode_publish(frame.body, frame.flags, form->version, &packet));
    assert_int_equal(packet.qos, form->qos);
    assert_int_equal(packet.dup, form->dup);
    assert_int_equal(packet.retain, form->retain);
    assert_int_equal(packet.packet_id, form->qos ? form->packet_id : 0);
    assert_true(slice_eq(packet.topic, form->topic));
    assert_true(slice_eq(packet.payload, slice_of(payload, form->payload_bytes)));
    if (form->version == MQTT_5) {
        assert_int_equal(packet.has_expiry, form->has_expiry);
        assert_int_equal(packet.expiry_s, form->has_expiry ? form->expiry_s : 0);
        assert_int_equal(packet.alias, form->topic_alias);
        assert_int_equal(property_forwarded_bytes(packet.properties),
                         form->properties_forwarded_bytes);
        assert_int_equal(property_find(packet.properties, PROPERTY_USER, &property),
                         form->properties_forwarded_bytes > 2);
    }
    free(got);
}

static void random_messages_survive_the_round_trip(void **state)
{
    (void)state;
    static uint8_t payload[300];
    static const struct slice blocks[] = {
        {(const uint8_t *)"", 0},
        {(const uint8_t *)"\x01\x01", 2},
        {(const uint8_t *)"\x26\x00\x01n\x00\x01v\x03\x00\x04text", 14},
        {(const uint8_t *)"\x02\x00\x00\x00\x01\x26\x00\x01n\x00\x01v", 12},
    };
    static const char topic[] = "a/very/long/topic/with/many/levels/that/goes/on/and/on";
    uint64_t seed = 11;
    for (int round = 0; round < 20000; round++) {
        struct publish_form form = {
            .version = (uint8_t)(3 + next_random(&seed) % 3),
            .qos = next_random(&seed) % 3,
            .retain = next_random(&seed) % 2,
            .packet_id = (uint16_t)(1 + next_random(&seed) % 65535),
            .topic = slice_of(topic, 1 + next_random(&seed) % (sizeof(topic) - 1)),
            .topic_alias = (uint16_t)(next_random(&seed) % 3),
            .has_expiry = next_random(&seed) % 2,
            .expiry_s = next_random(&seed),
            .payload_bytes = next_random(&seed) % sizeof(payload),
            .properties = blocks[next_random(&seed) % ARRAY_COUNT(blocks)],
        };
        form.dup = form.qos && next_random(&seed) % 2;
        form.properties_forwarded_bytes = property_forwarded_bytes(form.properties);
        expect_round_trip(&form, payload);
    }
}

static void size_is_right_at_every_boundary_of_the_length(void **state)
{
    (void)state;
    static const uint32_t lengths[] = {127, 128, 16383, 16384, 2097151, 2097152, 268435455};
    for (size_t i = 0; i < ARRAY_COUNT(lengths); i++) {
        struct publish_form form = {.version = MQTT_3_1_1, .topic = SLICE_LIT("t")};
        form.payload_bytes = lengths[i] - 3;
        uint8_t head[16];
        uint32_t head_bytes = encode_publish_head(head, &form, NULL);
        assert_int_equal(encode_publish_bytes(&form), head_bytes + form.payload_bytes);
        assert_int_equal(encode_publish_bytes(&form) - lengths[i], head_bytes - 3);
    }
}

static void too_large_a_message_says_so(void **state)
{
    (void)state;
    struct publish_form form = {.version = MQTT_5, .topic = SLICE_LIT("t")};
    form.payload_bytes = 268435455 - 4;
    assert_int_equal(encode_publish_bytes(&form), MQTT_PACKET_BYTES_MAX);
    form.payload_bytes++;
    assert_true(encode_publish_bytes(&form) > MQTT_PACKET_BYTES_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_those_of_the_standard),
        cmocka_unit_test(before_5_0_there_are_no_properties),
        cmocka_unit_test(what_is_not_forwarded_is_left_out),
        cmocka_unit_test(place_of_the_packet_id_is_told),
        cmocka_unit_test(random_messages_survive_the_round_trip),
        cmocka_unit_test(size_is_right_at_every_boundary_of_the_length),
        cmocka_unit_test(too_large_a_message_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
