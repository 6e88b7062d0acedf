/* test_decode_connect.c: decode_connect of mqtt/packet.h, in all three versions. */
#include "tests/unit/protocol/testing.h"

#include "mqtt/packet.h"

#define USER 0x80
#define PASSWORD 0x40
#define WILL_RETAIN 0x20
#define WILL_QOS(n) ((n) << 3)
#define WILL 0x04
#define CLEAN 0x02

static const struct fault *decode(struct slice body, void *out)
{
    return decode_connect(body, out);
}

/* Decodes without a copy, so that the slices stay valid. */
static const struct fault *decode_bytes(const struct bytes *b, struct packet_connect *out)
{
    const struct fault *exact = decode_exact(slice_of_bytes(b), decode, out);
    const struct fault *fault = decode_connect(slice_of_bytes(b), out);
    assert_ptr_equal(exact, fault);
    return fault;
}

/* The variable header; `properties` goes into 5.0 only and may be NULL for none. */
static void add_header(struct bytes *b, uint8_t level, uint8_t flags,
                       const struct bytes *properties)
{
    add_text(b, (level & 0x7F) == 3 ? "MQIsdp" : "MQTT");
    add_u8(b, level);
    add_u8(b, flags);
    add_u16(b, 60);
    if (level == 5 && properties)
        add_block(b, properties);
    else if (level == 5)
        add_varint(b, 0);
}

static struct bytes minimal(uint8_t level, uint8_t flags)
{
    struct bytes b = {0};
    add_header(&b, level, flags, NULL);
    add_text(&b, "id");
    return b;
}

static void expect_flags_fault(uint8_t level, uint8_t flags, const char *clause)
{
    struct bytes b = minimal(level, flags);
    struct packet_connect packet;
    expect_fault(decode_bytes(&b, &packet), REASON_MALFORMED_PACKET, clause);
    assert_int_equal(packet.version, level);
    bytes_fini(&b);
}

static void minimal_connect_has_the_defaults(void **state)
{
    (void)state;
    for (uint8_t level = 3; level <= 5; level++) {
        for (int clean = 0; clean <= 1; clean++) {
            struct bytes b = minimal(level, clean ? CLEAN : 0);
            struct packet_connect packet;
            assert_null(decode_bytes(&b, &packet));
            assert_int_equal(packet.version, level);
            assert_false(packet.is_bridge);
            assert_int_equal(packet.clean_start, clean);
            assert_int_equal(packet.keepalive_s, 60);
            expect_slice(packet.client_id, "id");
            assert_false(packet.has_user_name || packet.has_password || packet.will.present);
            assert_false(packet.has_session_expiry);
            assert_int_equal(packet.session_expiry_s, level < 5 && !clean ? MQTT_EXPIRY_NEVER : 0);
            assert_int_equal(packet.receive_maximum, 65535);
            assert_int_equal(packet.packet_bytes_max, MQTT_PACKET_BYTES_MAX);
            assert_int_equal(packet.topic_alias_maximum, 0);
            assert_false(packet.request_response_information);
            assert_true(packet.request_problem_information);
            assert_false(packet.has_auth_method);
            bytes_fini(&b);
        }
    }
}

static void add_everything(struct bytes *b, uint8_t level)
{
    struct bytes properties = {0}, will = {0};
    add_raw(&properties, "\x11\x00\x00\x0E\x10", 5);
    add_raw(&properties, "\x21\x00\x14", 3);
    add_raw(&properties, "\x27\x00\x01\x00\x00", 5);
    add_raw(&properties, "\x22\x00\x07", 3);
    add_raw(&properties, "\x19\x01\x17\x00", 4);
    add_raw(&properties, "\x15\x00\x05SCRAM\x16\x00\x02\x00\xFF", 13);
    add_raw(&will, "\x18\x00\x00\x00\x1E\x02\x00\x00\x00\x3C\x01\x01", 12);
    add_raw(&will,
            "\x08\x00\x03"
            "a/b",
            6);
    add_header(b, level, USER | PASSWORD | WILL | WILL_QOS(2) | WILL_RETAIN | CLEAN, &properties);
    add_text(b, "client");
    if (level == 5)
        add_block(b, &will);
    add_text(b, "will/topic");
    add_text(b, "gone");
    add_text(b, "user");
    add_text(b, "pass\x80");
    bytes_fini(&properties);
    bytes_fini(&will);
}

static void everything_is_read_where_it_stands(void **state)
{
    (void)state;
    for (uint8_t level = 3; level <= 5; level++) {
        struct bytes b = {0};
        struct packet_connect packet;
        add_everything(&b, level);
        assert_null(decode_bytes(&b, &packet));
        assert_true(packet.clean_start && packet.has_user_name && packet.has_password);
        expect_slice(packet.client_id, "client");
        expect_slice(packet.user_name, "user");
        expect_slice(packet.password, "pass\x80");
        assert_true(packet.will.present && packet.will.retain);
        assert_int_equal(packet.will.qos, 2);
        expect_slice(packet.will.topic, "will/topic");
        expect_slice(packet.will.payload, "gone");
        if (level == 5) {
            assert_true(packet.has_session_expiry && packet.session_expiry_s == 3600);
            assert_int_equal(packet.receive_maximum, 20);
            assert_int_equal(packet.packet_bytes_max, 65536);
            assert_int_equal(packet.topic_alias_maximum, 7);
            assert_true(packet.request_response_information);
            assert_false(packet.request_problem_information);
            assert_true(packet.has_auth_method);
            expect_slice(packet.auth_method, "SCRAM");
            assert_int_equal(packet.auth_data.len, 2);
            assert_int_equal(packet.properties.len, 33);
            assert_int_equal(packet.will.delay_s, 30);
            assert_true(packet.will.has_expiry && packet.will.expiry_s == 60);
            assert_true(packet.will.payload_is_utf8);
            assert_int_equal(packet.will.properties.len, 18);
        }
        bytes_fini(&b);
    }
}

static void connect_cut_anywhere_is_malformed(void **state)
{
    (void)state;
    for (uint8_t level = 4; level <= 5; level++) {
        struct bytes b = {0};
        struct packet_connect packet;
        add_everything(&b, level);
        for (size_t len = 0; len < b.len; len++)
            expect_reason(decode_exact(slice_of(b.data, len), decode, &packet),
                          REASON_MALFORMED_PACKET);
        bytes_fini(&b);
    }
}

static void credentials_missing_at_the_end_are_tolerated_in_3_1_only(void **state)
{
    (void)state;
    struct bytes b = {0};
    struct packet_connect packet;
    add_everything(&b, 3);
    /* without the password; without both */
    assert_int_equal(count_accepted_cuts(slice_of_bytes(&b), decode, &packet), 2);
    b.len -= 2 + 5;
    assert_null(decode_bytes(&b, &packet));
    assert_true(packet.has_user_name && !packet.has_password);
    b.len -= 2 + 4;
    assert_null(decode_bytes(&b, &packet));
    assert_false(packet.has_user_name || packet.has_password);
    bytes_fini(&b);

    b = minimal(4, USER);
    expect_fault(decode_bytes(&b, &packet), REASON_MALFORMED_PACKET, "MQTT-3.1.2-17");
    bytes_fini(&b);
    b = minimal(5, PASSWORD);
    expect_fault(decode_bytes(&b, &packet), REASON_MALFORMED_PACKET, "MQTT-3.1.2-19");
    bytes_fini(&b);
}

static void unknown_protocols_tell_in_which_form_to_refuse_them(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint8_t level, form;
        const char *clause;
    } rows[] = {
        {"MQTT", 0, MQTT_3_1_1, "MQTT-3.1.2-2"},
        {"MQTT", 3, MQTT_3_1_1, "MQTT-3.1.2-2"},
        {"MQTT", 6, MQTT_5, "MQTT-3.1.2-2"},
        {"MQTT", 0x86, MQTT_5, "MQTT-3.1.2-2"},
        {"MQTT", 0xFF, MQTT_5, "MQTT-3.1.2-2"},
        {"MQIsdp", 4, MQTT_3_1_1, "MQTT-3.1.2-2"},
        {"MQIsdp", 2, MQTT_3_1_1, "MQTT-3.1.2-2"},
        {"mqtt", 4, 0, "MQTT-3.1.2-1"},
        {"", 4, 0, "MQTT-3.1.2-1"},
        {"MQTTX", 4, 0, "MQTT-3.1.2-1"},
        {"HTTP", 5, 0, "MQTT-3.1.2-1"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct bytes b = {0};
        struct packet_connect packet;
        add_text(&b, rows[i].name);
        add_u8(&b, rows[i].level);
        expect_fault(decode_bytes(&b, &packet), REASON_UNSUPPORTED_PROTOCOL_VERSION,
                     rows[i].clause); /* whatever would follow */
        assert_int_equal(packet.version, rows[i].form);
        add_raw(&b, "garbage", 7);
        expect_reason(decode_bytes(&b, &packet), REASON_UNSUPPORTED_PROTOCOL_VERSION);
        bytes_fini(&b);
    }
}

static void bridge_bit_is_masked_off_and_told(void **state)
{
    (void)state;
    for (uint8_t level = 3; level <= 4; level++) {
        struct bytes b = minimal(level | 0x80, CLEAN);
        struct packet_connect packet;
        assert_null(decode_bytes(&b, &packet));
        assert_int_equal(packet.version, level);
        assert_true(packet.is_bridge);
        bytes_fini(&b);
    }
}

static void fault_before_the_level_leaves_no_version(void **state)
{
    (void)state;
    struct packet_connect packet;
    expect_reason(decode_connect(SLICE_LIT("\x00\x04MQT"), &packet), REASON_MALFORMED_PACKET);
    assert_int_equal(packet.version, 0);
    expect_reason(decode_connect((struct slice){0}, &packet), REASON_MALFORMED_PACKET);
    assert_int_equal(packet.version, 0);
    expect_reason(decode_connect(SLICE_LIT("\x00\x04MQTT\x04"), &packet), REASON_MALFORMED_PACKET);
    assert_int_equal(packet.version, MQTT_3_1_1);
}

static void flags_that_make_no_sense_are_malformed(void **state)
{
    (void)state;
    for (uint8_t level = 4; level <= 5; level++) {
        expect_flags_fault(level, 0x01, "MQTT-3.1.2-3");
        expect_flags_fault(level, WILL_QOS(1), "MQTT-3.1.2-11");
        expect_flags_fault(level, WILL_QOS(3), "MQTT-3.1.2-12");
        expect_flags_fault(level, WILL | WILL_QOS(3), "MQTT-3.1.2-12");
        expect_flags_fault(level, WILL_RETAIN, "MQTT-3.1.2-13");
    }
    expect_flags_fault(3, WILL_QOS(3), "MQTT-3.1.2-12");
}

static void password_needs_a_user_name_before_5_0(void **state)
{
    (void)state;
    struct packet_connect packet;
    expect_flags_fault(3, PASSWORD, "MQTT-3.1.2-22");
    expect_flags_fault(4, PASSWORD, "MQTT-3.1.2-22");
    struct bytes b = minimal(5, PASSWORD);
    add_text(&b, "secret");
    assert_null(decode_bytes(&b, &packet));
    assert_true(packet.has_password && !packet.has_user_name);
    bytes_fini(&b);
}

static void reserved_flags_mean_nothing_in_3_1(void **state)
{
    (void)state;
    struct bytes b = minimal(3, CLEAN | 0x01 | WILL_RETAIN);
    struct packet_connect packet;
    assert_null(decode_bytes(&b, &packet));
    assert_false(packet.will.present || packet.will.retain);
    bytes_fini(&b);
}

static void bytes_that_no_flag_announces_are_malformed(void **state)
{
    (void)state;
    static const struct {
        uint8_t flags, fields;
        const char *clause;
    } rows[] = {
        {0, 1, "MQTT-3.1.2-16"},
        {USER, 2, "MQTT-3.1.2-18"},
        {USER | PASSWORD, 3, "MQTT-4.13.1-1"},
    };
    for (uint8_t level = 3; level <= 5; level++) {
        for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
            struct bytes b = minimal(level, rows[i].flags);
            struct packet_connect packet;
            for (unsigned k = 0; k < rows[i].fields; k++)
                add_text(&b, "field");
            expect_fault(decode_bytes(&b, &packet), REASON_MALFORMED_PACKET, rows[i].clause);
            bytes_fini(&b);
        }
    }
}

static void strings_are_utf8(void **state)
{
    (void)state;
    for (uint8_t level = 3; level <= 5; level++) {
        for (int bad = 0; bad < 3; bad++) { /* client id, will topic, user name */
            struct bytes b = {0};
            struct packet_connect packet;
            add_header(&b, level, WILL | USER, NULL);
            add_text(&b, bad == 0 ? "\xFF" : "id");
            if (level == 5)
                add_varint(&b, 0);
            add_text(&b, bad == 1 ? "a/\xED\xA0\x80" : "a/b");
            add_text(&b, "\xFF"); /* a payload is anything */
            add_text(&b, bad == 2 ? "\xC0\x80" : "user");
            expect_fault(decode_bytes(&b, &packet), REASON_MALFORMED_PACKET, "MQTT-1.5.4-1");
            bytes_fini(&b);
        }
    }
}

static void will_topic_is_a_topic_name(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "a/#", "+", "a/+/b"};
    for (uint8_t level = 3; level <= 5; level++) {
        for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
            struct bytes b = {0};
            struct packet_connect packet;
            add_header(&b, level, WILL, NULL);
            add_text(&b, "id");
            if (level == 5)
                add_varint(&b, 0);
            add_text(&b, bad[i]);
            add_text(&b, "");
            expect_reason(decode_bytes(&b, &packet), REASON_TOPIC_NAME_INVALID);
            assert_int_equal(packet.version, level);
            bytes_fini(&b);
        }
    }
}

static void properties_have_their_own_rules(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        uint8_t len, reason;
    } rows[] = {
        {"\x21\x00\x00", 3, REASON_PROTOCOL_ERROR},
        {"\x27\x00\x00\x00\x00", 5, REASON_PROTOCOL_ERROR},
        {"\x17\x02", 2, REASON_PROTOCOL_ERROR},
        {"\x19\x02", 2, REASON_PROTOCOL_ERROR},
        {"\x16\x00\x01x", 4, REASON_PROTOCOL_ERROR}, /* data without a method */
        {"\x17\x01\x17\x01", 4, REASON_PROTOCOL_ERROR},
        {"\x01\x01", 2, REASON_MALFORMED_PACKET}, /* belongs in the will */
        {"\x7E", 1, REASON_MALFORMED_PACKET},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct bytes b = {0}, properties = {0};
        struct packet_connect packet;
        add_raw(&properties, rows[i].bytes, rows[i].len);
        add_header(&b, 5, CLEAN, &properties);
        add_text(&b, "id");
        expect_reason(decode_bytes(&b, &packet), rows[i].reason);
        assert_int_equal(packet.version, 5);
        bytes_fini(&b);
        bytes_fini(&properties);
    }
}

static void property_length_past_the_end_is_malformed(void **state)
{
    (void)state;
    struct packet_connect packet;
    struct slice long_block = SLICE_LIT("\x00\x04MQTT\x05\x02\x00\x3C\x05\x00\x02id");
    expect_fault(decode_connect(long_block, &packet), REASON_MALFORMED_PACKET, "2.2.2.1");
    struct slice padded = SLICE_LIT("\x00\x04MQTT\x05\x02\x00\x3C\x80\x00\x00\x02id");
    expect_fault(decode_connect(padded, &packet), REASON_MALFORMED_PACKET, "MQTT-1.5.5-1");
}

static void empty_client_id_is_left_to_the_caller(void **state)
{
    (void)state;
    for (uint8_t level = 3; level <= 5; level++) {
        struct bytes b = {0};
        struct packet_connect packet;
        add_header(&b, level, 0, NULL);
        expect_fault(decode_bytes(&b, &packet), REASON_MALFORMED_PACKET, "MQTT-3.1.3-3");
        add_text(&b, "");
        assert_null(decode_bytes(&b, &packet));
        assert_int_equal(packet.client_id.len, 0);
        bytes_fini(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(minimal_connect_has_the_defaults),
        cmocka_unit_test(everything_is_read_where_it_stands),
        cmocka_unit_test(connect_cut_anywhere_is_malformed),
        cmocka_unit_test(credentials_missing_at_the_end_are_tolerated_in_3_1_only),
        cmocka_unit_test(unknown_protocols_tell_in_which_form_to_refuse_them),
        cmocka_unit_test(bridge_bit_is_masked_off_and_told),
        cmocka_unit_test(fault_before_the_level_leaves_no_version),
        cmocka_unit_test(flags_that_make_no_sense_are_malformed),
        cmocka_unit_test(password_needs_a_user_name_before_5_0),
        cmocka_unit_test(reserved_flags_mean_nothing_in_3_1),
        cmocka_unit_test(bytes_that_no_flag_announces_are_malformed),
        cmocka_unit_test(strings_are_utf8),
        cmocka_unit_test(will_topic_is_a_topic_name),
        cmocka_unit_test(properties_have_their_own_rules),
        cmocka_unit_test(property_length_past_the_end_is_malformed),
        cmocka_unit_test(empty_client_id_is_left_to_the_caller),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
