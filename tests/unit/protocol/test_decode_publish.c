/* test_decode_publish.c: decode_publish of mqtt/packet.h. */
#include "tests/unit/protocol/testing.h"

#include "mqtt/packet.h"

#define DUP 0x08
#define RETAIN 0x01
#define QOS(n) ((n) << 1)

struct how {
    uint8_t flags, version;
    struct packet_publish packet;
};

static const struct fault *decode(struct slice body, void *context)
{
    struct how *how = context;
    return decode_publish(body, how->flags, how->version, &how->packet);
}

static const struct fault *decode_bytes(const struct bytes *b, struct how *how)
{
    const struct fault *exact = decode_exact(slice_of_bytes(b), decode, how);
    assert_ptr_equal(decode(slice_of_bytes(b), how), exact);
    return exact;
}

/* A 5.0 message with such properties; QoS 0. */
static const struct fault *decode_with(const char *topic, const void *properties, size_t len,
                                       struct how *how)
{
    static struct bytes b; /* outlives the call, as the slices point into it */
    bytes_fini(&b);
    add_text(&b, topic);
    add_varint(&b, (uint32_t)len);
    add_raw(&b, properties, len);
    *how = (struct how){.version = MQTT_5};
    return decode_bytes(&b, how);
}

static void flags_topic_id_and_payload_are_read_in_every_version(void **state)
{
    (void)state;
    for (uint8_t version = 3; version <= 5; version++) {
        for (uint8_t flags = 0; flags < 16; flags++) {
            struct bytes b = {0};
            struct how how = {.flags = flags, .version = version};
            uint8_t qos = flags >> 1 & 3;
            add_text(&b, "a/b");
            if (qos)
                add_u16(&b, 0x1234);
            if (version == MQTT_5)
                add_varint(&b, 0);
            add_raw(&b, "payload", 7);
            const struct fault *fault = decode_bytes(&b, &how);
            if (qos == 3) {
                expect_fault(fault, REASON_MALFORMED_PACKET, "MQTT-3.3.1-4");
            } else if (flags == DUP || flags == (DUP | RETAIN)) {
                expect_fault(fault, REASON_MALFORMED_PACKET, "MQTT-3.3.1-2");
            } else {
                assert_null(fault);
                assert_int_equal(how.packet.qos, qos);
                assert_int_equal(how.packet.dup, flags >> 3);
                assert_int_equal(how.packet.retain, flags & 1);
                assert_int_equal(how.packet.packet_id, qos ? 0x1234 : 0);
                expect_slice(how.packet.topic, "a/b");
                expect_slice(how.packet.payload, "payload");
                assert_int_equal(how.packet.properties.len, 0);
                assert_false(how.packet.has_alias || how.packet.has_expiry);
            }
            bytes_fini(&b);
        }
    }
}

static void every_cut_before_the_payload_is_malformed(void **state)
{
    (void)state;
    for (uint8_t version = 3; version <= 5; version++) {
        struct bytes b = {0};
        struct how how = {.flags = QOS(1), .version = version};
        add_text(&b, "sensors/temp");
        add_u16(&b, 9);
        if (version == MQTT_5)
            add_raw(&b, "\x0C\x23\x00\x05\x02\x00\x00\x00\x09\x03\x00\x01x", 13);
        assert_int_equal(count_accepted_cuts(slice_of_bytes(&b), decode, &how), 0);
        assert_null(decode_bytes(&b, &how));
        assert_int_equal(how.packet.payload.len, 0);
        add_raw(&b, "xyz", 3);
        assert_int_equal(count_accepted_cuts(slice_of_bytes(&b), decode, &how), 3);
        bytes_fini(&b);
    }
}

static void properties_are_picked_out_and_kept(void **state)
{
    (void)state;
    struct how how;
    static const char properties[] =
        "\x23\x01\x02\x02\x00\x00\x0E\x10\x01\x01\x26\x00\x01n\x00\x01v";
    assert_null(decode_with("t", properties, sizeof(properties) - 1, &how));
    assert_true(how.packet.has_alias && how.packet.alias == 0x0102);
    assert_true(how.packet.has_expiry && how.packet.expiry_s == 3600);
    assert_true(how.packet.payload_is_utf8);
    assert_int_equal(how.packet.properties.len, sizeof(properties) - 1);
    assert_memory_equal(how.packet.properties.ptr, properties, sizeof(properties) - 1);
}

static void alias_of_any_number_is_left_to_the_caller(void **state)
{
    (void)state;
    struct how how;
    assert_null(decode_with("t", "\x23\x00\x00", 3, &how));
    assert_true(how.packet.has_alias && how.packet.alias == 0);
    assert_null(decode_with("", "\x23\xFF\xFF", 3, &how));
    assert_true(how.packet.has_alias && how.packet.alias == 65535);
    assert_int_equal(how.packet.topic.len, 0);
}

static void empty_topic_needs_an_alias(void **state)
{
    (void)state;
    struct how how;
    expect_fault(decode_with("", "", 0, &how), REASON_PROTOCOL_ERROR, "MQTT-4.7.3-1");
    expect_fault(decode_with("", "\x01\x01", 2, &how), REASON_PROTOCOL_ERROR, "MQTT-4.7.3-1");
    for (uint8_t version = 3; version <= 4; version++) {
        struct how v3 = {.version = version};
        expect_reason(decode_exact(SLICE_LIT("\x00\x00payload"), decode, &v3),
                      REASON_PROTOCOL_ERROR);
    }
}

static void topic_is_a_topic_name(void **state)
{
    (void)state;
    static const char *const wild[] = {"a/+", "#", "+", "sport/#", "a#"};
    struct how how;
    for (size_t i = 0; i < ARRAY_COUNT(wild); i++)
        expect_fault(decode_with(wild[i], "", 0, &how), REASON_TOPIC_NAME_INVALID, "MQTT-4.7.0-1");
    expect_fault(decode_with("a/\xFF", "", 0, &how), REASON_MALFORMED_PACKET, "MQTT-1.5.4-1");
    how = (struct how){.version = MQTT_3_1_1};
    expect_fault(decode_exact(SLICE_LIT("\x00\x03"
                                        "a\0b"),
                              decode, &how),
                 REASON_MALFORMED_PACKET, "MQTT-1.5.4-1");
}

static void packet_id_zero_is_a_protocol_error(void **state)
{
    (void)state;
    for (uint8_t version = 3; version <= 5; version++) {
        for (uint8_t qos = 1; qos <= 2; qos++) {
            struct how how = {.flags = QOS(qos), .version = version};
            expect_fault(decode_exact(SLICE_LIT("\x00\x01t\x00\x00\x00"), decode, &how),
                         REASON_PROTOCOL_ERROR, "MQTT-2.2.1-3");
        }
    }
}

static void property_faults_are_passed_on(void **state)
{
    (void)state;
    struct how how;
    expect_fault(decode_with("t", "\x0B\x01", 2, &how), REASON_PROTOCOL_ERROR, "MQTT-3.3.4-6");
    expect_fault(decode_with("t", "\x08\x00\x01#", 4, &how), REASON_PROTOCOL_ERROR,
                 "MQTT-3.3.2-14");
    expect_reason(decode_with("t", "\x11\x00\x00\x00\x01", 5, &how), REASON_MALFORMED_PACKET);
    expect_reason(decode_with("t", "\x23\x00\x01\x23\x00\x01", 6, &how), REASON_PROTOCOL_ERROR);
    how = (struct how){.version = MQTT_5};
    expect_fault(decode_exact(SLICE_LIT("\x00\x01t\x05\x01\x01"), decode, &how),
                 REASON_MALFORMED_PACKET, "2.2.2.1");
    expect_fault(decode_exact(SLICE_LIT("\x00\x01t\x80\x00"), decode, &how),
                 REASON_MALFORMED_PACKET, "MQTT-1.5.5-1");
    expect_reason(decode_exact(SLICE_LIT("\x00\x01t"), decode, &how), REASON_MALFORMED_PACKET);
}

static void before_5_0_all_that_follows_the_topic_is_payload(void **state)
{
    (void)state;
    struct how how = {.version = MQTT_3_1_1};
    assert_null(decode(SLICE_LIT("\x00\x01t\xFF\xFF\xFF"), &how));
    assert_int_equal(how.packet.payload.len, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flags_topic_id_and_payload_are_read_in_every_version),
        cmocka_unit_test(every_cut_before_the_payload_is_malformed),
        cmocka_unit_test(properties_are_picked_out_and_kept),
        cmocka_unit_test(alias_of_any_number_is_left_to_the_caller),
        cmocka_unit_test(empty_topic_needs_an_alias),
        cmocka_unit_test(topic_is_a_topic_name),
        cmocka_unit_test(packet_id_zero_is_a_protocol_error),
        cmocka_unit_test(property_faults_are_passed_on),
        cmocka_unit_test(before_5_0_all_that_follows_the_topic_is_payload),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
