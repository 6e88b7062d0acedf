/*
 * test_encode.c: the other packets of mqtt/encode.h. What is written is taken apart again by a
 * small decoder of its own, and compared with bytes written by hand.
 */
#include "tests/unit/protocol/testing.h"

#include "mqtt/encode.h"
#include "mqtt/frame.h"
#include "mqtt/property.h"

#define ROOM 2048
#define NO_MAX MQTT_PACKET_BYTES_MAX
#define NO_TEXT ((struct slice){0})

static uint8_t out[ROOM];

/* A packet of a server, taken apart: what stands before, in and after its property block. */
struct server_packet {
    uint8_t type, flags;
    struct slice head, properties, tail;
};

static struct server_packet take_apart(size_t size, uint8_t version, size_t head_bytes)
{
    struct frame frame;
    const struct fault *fault;
    assert_true(size >= 2);
    assert_int_equal(frame_next(slice_of(out, size), version, NO_MAX, &frame, &fault), FRAME_READY);
    assert_int_equal(frame.size, size);
    assert_true(frame.body.len >= head_bytes);
    struct server_packet packet = {
        .type = frame.type,
        .flags = frame.flags,
        .head = slice_of(frame.body.ptr, head_bytes),
        .tail = slice_skip(frame.body, head_bytes),
    };
    if (version == MQTT_5 && packet.tail.len) {
        uint32_t len = packet.tail.ptr[0] & 0x7F, digits = 1; /* up to 16,383 will do */
        if (packet.tail.ptr[0] & 0x80)
            len |= (uint32_t)packet.tail.ptr[digits++] << 7;
        packet.properties = slice_of(packet.tail.ptr + digits, len);
        packet.tail = slice_skip(packet.tail, digits + len);
    }
    return packet;
}

static void expect_out(size_t size, const void *want, size_t len)
{
    assert_int_equal(size, len);
    assert_memory_equal(out, want, len);
}

#define EXPECT_OUT(size, text) expect_out(size, text, sizeof(text) - 1)

static size_t connack(uint8_t version, uint32_t max, const struct packet_connack *packet)
{
    return encode_connack(out, ROOM, version, max, packet);
}

static void connack_of_3_x_is_four_bytes(void **state)
{
    (void)state;
    struct packet_connack packet = {.session_present = true,
                                    .qos_max = 2,
                                    .has_session_expiry = true,
                                    .reason_string = SLICE_LIT("ignored")};
    EXPECT_OUT(connack(MQTT_3_1_1, 0, &packet), "\x20\x02\x01\x00");
    EXPECT_OUT(connack(MQTT_3_1, 0, &packet), "\x20\x02\x00\x00"); /* reserved there */
    packet.session_present = false;
    EXPECT_OUT(connack(MQTT_3_1_1, 0, &packet), "\x20\x02\x00\x00");
    for (unsigned reason = 0x80; reason <= 255; reason++) {
        packet.session_present = true; /* [MQTT-3.2.2-4] */
        packet.reason = (uint8_t)reason;
        assert_int_equal(connack(MQTT_3_1_1, 0, &packet), 4);
        assert_int_equal(out[2], 0);
        assert_int_equal(out[3], reason_to_connack_v3((uint8_t)reason));
    }
}

static void connack_of_5_0_without_anything_special_has_no_properties(void **state)
{
    (void)state;
    struct packet_connack packet = {.qos_max = 2, .receive_maximum = 65535};
    EXPECT_OUT(connack(MQTT_5, 0, &packet), "\x20\x03\x00\x00\x00");
    packet.session_present = true;
    EXPECT_OUT(connack(MQTT_5, 0, &packet), "\x20\x03\x01\x00\x00");
    packet.reason = REASON_UNSUPPORTED_PROTOCOL_VERSION; /* [MQTT-3.2.2-6] */
    EXPECT_OUT(connack(MQTT_5, 0, &packet), "\x20\x03\x00\x84\x00");
}

static uint32_t number_of(struct slice properties, uint8_t id)
{
    struct property property;
    assert_true(property_find(properties, id, &property));
    return property.number;
}

static struct slice bytes_of(struct slice properties, uint8_t id)
{
    struct property property;
    return property_find(properties, id, &property) ? property.bytes : NO_TEXT;
}

static const struct packet_connack full = {
    .has_session_expiry = true,
    .session_expiry_s = 7200,
    .receive_maximum = 20,
    .qos_max = 1,
    .retain_unavailable = true,
    .packet_bytes_max = 1000000,
    .assigned_client_id = SLICE_LIT("auto-1"),
    .topic_alias_maximum = 12,
    .reason_string = SLICE_LIT("because"),
    .has_server_keepalive = true,
    .server_keepalive_s = 30,
    .response_information = SLICE_LIT("resp/"),
    .server_reference = SLICE_LIT("other:1883"),
    .auth_method = SLICE_LIT("SCRAM"),
    .auth_data = SLICE_LIT("\x00\xFF"),
};

static void connack_of_5_0_writes_all_its_properties(void **state)
{
    (void)state;
    struct server_packet packet = take_apart(connack(MQTT_5, 0, &full), MQTT_5, 2);
    struct slice p = packet.properties;
    assert_int_equal(packet.type, PACKET_CONNACK);
    assert_int_equal(packet.tail.len, 0);
    assert_null(property_check(p, PACKET_CONNACK));
    assert_int_equal(number_of(p, PROPERTY_SESSION_EXPIRY), 7200);
    assert_int_equal(number_of(p, PROPERTY_RECEIVE_MAXIMUM), 20);
    assert_int_equal(number_of(p, PROPERTY_MAXIMUM_QOS), 1);
    assert_int_equal(number_of(p, PROPERTY_RETAIN_AVAILABLE), 0);
    assert_int_equal(number_of(p, PROPERTY_MAXIMUM_PACKET_SIZE), 1000000);
    assert_int_equal(number_of(p, PROPERTY_TOPIC_ALIAS_MAXIMUM), 12);
    assert_int_equal(number_of(p, PROPERTY_SERVER_KEEP_ALIVE), 30);
    expect_slice(bytes_of(p, PROPERTY_ASSIGNED_CLIENT_ID), "auto-1");
    expect_slice(bytes_of(p, PROPERTY_REASON_STRING), "because");
    expect_slice(bytes_of(p, PROPERTY_RESPONSE_INFORMATION), "resp/");
    expect_slice(bytes_of(p, PROPERTY_SERVER_REFERENCE), "other:1883");
    expect_slice(bytes_of(p, PROPERTY_AUTHENTICATION_METHOD), "SCRAM");
    assert_true(slice_eq(bytes_of(p, PROPERTY_AUTHENTICATION_DATA), full.auth_data));
}

static void reason_string_goes_before_the_packet_does(void **state)
{
    (void)state;
    size_t with = connack(MQTT_5, 0, &full), without = with - 3 - strlen("because");
    assert_int_equal(connack(MQTT_5, (uint32_t)with, &full), with);
    assert_int_equal(connack(MQTT_5, (uint32_t)with - 1, &full), without);
    struct server_packet packet = take_apart(without, MQTT_5, 2);
    assert_int_equal(bytes_of(packet.properties, PROPERTY_REASON_STRING).len, 0);
    expect_slice(bytes_of(packet.properties, PROPERTY_AUTHENTICATION_METHOD), "SCRAM");
    assert_int_equal(connack(MQTT_5, (uint32_t)without, &full), without);
    assert_int_equal(connack(MQTT_5, (uint32_t)without - 1, &full), 0);
}

/* Calls an encoder with every capacity, in memory of exactly that size. */
typedef size_t encode_fn(uint8_t *dst, size_t cap);

static void expect_every_capacity_kept(encode_fn *encode)
{
    size_t whole = encode(out, ROOM);
    for (size_t cap = 0; cap <= whole + 1; cap++) {
        uint8_t *dst = malloc(cap ? cap : 1);
        assert_non_null(dst);
        size_t size = encode(dst, cap);
        assert_true(size <= cap);
        if (cap >= whole)
            assert_int_equal(size, whole);
        free(dst);
    }
}

static size_t encode_full_connack(uint8_t *dst, size_t cap)
{
    return encode_connack(dst, cap, MQTT_5, 0, &full);
}

static size_t encode_some_suback(uint8_t *dst, size_t cap)
{
    return encode_suback(dst, cap, MQTT_5, 0, PACKET_SUBACK, 1, SLICE_LIT("\x00\x01\x02\x80"),
                         SLICE_LIT("no"));
}

static size_t encode_old_suback(uint8_t *dst, size_t cap)
{
    return encode_suback(dst, cap, MQTT_3_1_1, 0, PACKET_SUBACK, 1, SLICE_LIT("\x00\x01\x02\x87"),
                         NO_TEXT);
}

static size_t encode_some_ack(uint8_t *dst, size_t cap)
{
    return encode_ack(dst, cap, MQTT_5, 0, PACKET_PUBREC, 1, 0x97, SLICE_LIT("quota"));
}

static size_t encode_some_disconnect(uint8_t *dst, size_t cap)
{
    return encode_disconnect(dst, cap, 0, 0x9D, SLICE_LIT("moved"), SLICE_LIT("there"));
}

static size_t encode_some_auth(uint8_t *dst, size_t cap)
{
    return encode_auth(dst, cap, 0, 0x18, SLICE_LIT("m"), SLICE_LIT("data"));
}

static void nothing_is_written_past_the_capacity(void **state)
{
    (void)state;
    static encode_fn *const encoders[] = {
        encode_full_connack, encode_some_suback, encode_old_suback,      encode_some_ack,
        encode_pingresp,     encode_some_auth,   encode_some_disconnect,
    };
    for (size_t i = 0; i < ARRAY_COUNT(encoders); i++)
        expect_every_capacity_kept(encoders[i]);
}

static size_t ack(uint8_t version, uint32_t max, uint8_t type, uint8_t reason, struct slice text)
{
    return encode_ack(out, ROOM, version, max, type, 0x1234, reason, text);
}

static void acknowledgements_take_the_shortest_form(void **state)
{
    (void)state;
    EXPECT_OUT(ack(MQTT_5, 0, PACKET_PUBACK, 0, NO_TEXT), "\x40\x02\x12\x34");
    EXPECT_OUT(ack(MQTT_5, 0, PACKET_PUBREL, 0, NO_TEXT), "\x62\x02\x12\x34");
    EXPECT_OUT(ack(MQTT_5, 0, PACKET_PUBCOMP, 0x92, NO_TEXT), "\x70\x03\x12\x34\x92");
    EXPECT_OUT(ack(MQTT_5, 0, PACKET_PUBREC, 0x97, SLICE_LIT("full")),
               "\x50\x0B\x12\x34\x97\x07\x1F\x00\x04"
               "full");
    EXPECT_OUT(ack(MQTT_3_1_1, 0, PACKET_PUBACK, 0x97, SLICE_LIT("full")), "\x40\x02\x12\x34");
    EXPECT_OUT(ack(MQTT_3_1, 0, PACKET_PUBREL, 0, NO_TEXT), "\x62\x02\x12\x34");
}

static void acknowledgement_drops_its_reason_string_for_a_small_peer(void **state)
{
    (void)state;
    EXPECT_OUT(ack(MQTT_5, 12, PACKET_PUBREC, 0x97, SLICE_LIT("full")), "\x50\x03\x12\x34\x97");
    EXPECT_OUT(ack(MQTT_5, 12, PACKET_PUBREC, 0, SLICE_LIT("full")), "\x50\x02\x12\x34");
    assert_int_equal(ack(MQTT_5, 13, PACKET_PUBREC, 0x97, SLICE_LIT("full")), 13);
    assert_int_equal(ack(MQTT_5, 4, PACKET_PUBREC, 0x97, NO_TEXT), 0);
    assert_int_equal(ack(MQTT_5, 4, PACKET_PUBREC, 0, NO_TEXT), 4);
    static uint8_t long_text[65536];
    EXPECT_OUT(ack(MQTT_5, 0, PACKET_PUBACK, 0x87, slice_of(long_text, 65536)),
               "\x40\x03\x12\x34\x87"); /* longer than a string can be */
}

static size_t suback(uint8_t version, uint32_t max, uint8_t type, struct slice text)
{
    return encode_suback(out, ROOM, version, max, type, 0x0102, SLICE_LIT("\x00\x01\x02\x87\x8F"),
                         text);
}

static void suback_says_what_the_version_can_say(void **state)
{
    (void)state;
    EXPECT_OUT(suback(MQTT_5, 0, PACKET_SUBACK, NO_TEXT),
               "\x90\x08\x01\x02\x00\x00\x01\x02\x87\x8F");
    EXPECT_OUT(suback(MQTT_3_1_1, 0, PACKET_SUBACK, NO_TEXT),
               "\x90\x07\x01\x02\x00\x01\x02\x80\x80");
    EXPECT_OUT(suback(MQTT_3_1, 0, PACKET_SUBACK, NO_TEXT), "\x90\x07\x01\x02\x00\x01\x02\x00\x00");
    EXPECT_OUT(suback(MQTT_5, 0, PACKET_UNSUBACK, NO_TEXT),
               "\xB0\x08\x01\x02\x00\x00\x01\x02\x87\x8F");
    EXPECT_OUT(suback(MQTT_3_1_1, 0, PACKET_UNSUBACK, NO_TEXT), "\xB0\x02\x01\x02");
    EXPECT_OUT(suback(MQTT_3_1, 0, PACKET_UNSUBACK, NO_TEXT), "\xB0\x02\x01\x02");
}

static void suback_drops_its_reason_string_but_not_a_code(void **state)
{
    (void)state;
    size_t with = suback(MQTT_5, 0, PACKET_SUBACK, SLICE_LIT("acl"));
    struct server_packet packet = take_apart(with, MQTT_5, 2);
    expect_slice(bytes_of(packet.properties, PROPERTY_REASON_STRING), "acl");
    assert_true(slice_eq(packet.tail, SLICE_LIT("\x00\x01\x02\x87\x8F")));
    assert_int_equal(suback(MQTT_5, (uint32_t)with - 1, PACKET_SUBACK, SLICE_LIT("acl")), with - 6);
    packet = take_apart(with - 6, MQTT_5, 2);
    assert_true(slice_eq(packet.tail, SLICE_LIT("\x00\x01\x02\x87\x8F")));
    assert_int_equal(suback(MQTT_5, (uint32_t)with - 7, PACKET_SUBACK, SLICE_LIT("acl")), 0);
}

static void suback_of_any_length_fits_the_announced_room(void **state)
{
    (void)state;
    static const size_t counts[] = {1, 120, 125, 128, 16380, 16384, 100000, 2097150, 2097160};
    for (size_t i = 0; i < ARRAY_COUNT(counts); i++) {
        size_t cap = ENCODE_SUBACK_BYTES_MAX(counts[i]);
        uint8_t *codes = calloc(counts[i], 1), *dst = malloc(cap);
        assert_true(codes && dst);
        size_t size = encode_suback(dst, cap, MQTT_5, 0, PACKET_SUBACK, 5,
                                    slice_of(codes, counts[i]), NO_TEXT);
        assert_in_range(size, counts[i] + 5, cap);
        free(codes);
        free(dst);
    }
}

static void disconnect_names_reason_and_reference(void **state)
{
    (void)state;
    size_t size = encode_disconnect(out, ROOM, 0, 0x8E, NO_TEXT, NO_TEXT);
    EXPECT_OUT(size, "\xE0\x02\x8E\x00");
    size = encode_disconnect(out, ROOM, 0, 0x9D, SLICE_LIT("moved"), SLICE_LIT("there"));
    struct server_packet packet = take_apart(size, MQTT_5, 1);
    assert_int_equal(packet.head.ptr[0], 0x9D);
    expect_slice(bytes_of(packet.properties, PROPERTY_REASON_STRING), "moved");
    expect_slice(bytes_of(packet.properties, PROPERTY_SERVER_REFERENCE), "there");
    assert_int_equal(encode_disconnect(out, ROOM, (uint32_t)size - 1, 0x9D, SLICE_LIT("moved"),
                                       SLICE_LIT("there")),
                     size - 8);
    size = encode_disconnect(out, ROOM, 3, 0x9D, SLICE_LIT("moved"), SLICE_LIT("there"));
    EXPECT_OUT(size, "\xE0\x01\x9D"); /* hardly anything fits */
    assert_int_equal(encode_disconnect(out, ROOM, 2, 0x9D, NO_TEXT, NO_TEXT), 0);
}

static void auth_and_pingresp_are_written(void **state)
{
    (void)state;
    size_t size = encode_auth(out, ROOM, 0, 0x18, SLICE_LIT("m"), SLICE_LIT("\x00"));
    EXPECT_OUT(size, "\xF0\x0A\x18\x08\x15\x00\x01m\x16\x00\x01\x00");
    assert_int_equal(encode_auth(out, ROOM, 11, 0x18, SLICE_LIT("m"), SLICE_LIT("\x00")), 0);
    EXPECT_OUT(encode_pingresp(out, ROOM), "\xD0\x00");
}

static void strings_that_no_packet_can_carry_are_refused(void **state)
{
    (void)state;
    static uint8_t big[65536], room[140000];
    struct packet_connack packet = {.qos_max = 2, .assigned_client_id = {big, sizeof(big)}};
    assert_int_equal(encode_connack(room, sizeof(room), MQTT_5, 0, &packet), 0);
    packet.assigned_client_id.len--;
    assert_int_equal(encode_connack(room, sizeof(room), MQTT_5, 0, &packet),
                     1 + 3 + 2 + 3 + 3 + 65535);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connack_of_3_x_is_four_bytes),
        cmocka_unit_test(connack_of_5_0_without_anything_special_has_no_properties),
        cmocka_unit_test(connack_of_5_0_writes_all_its_properties),
        cmocka_unit_test(reason_string_goes_before_the_packet_does),
        cmocka_unit_test(nothing_is_written_past_the_capacity),
        cmocka_unit_test(acknowledgements_take_the_shortest_form),
        cmocka_unit_test(acknowledgement_drops_its_reason_string_for_a_small_peer),
        cmocka_unit_test(suback_says_what_the_version_can_say),
        cmocka_unit_test(suback_drops_its_reason_string_but_not_a_code),
        cmocka_unit_test(suback_of_any_length_fits_the_announced_room),
        cmocka_unit_test(disconnect_names_reason_and_reference),
        cmocka_unit_test(auth_and_pingresp_are_written),
        cmocka_unit_test(strings_that_no_packet_can_carry_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
