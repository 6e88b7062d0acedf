/* test_decode_subscribe.c: SUBSCRIBE and UNSUBSCRIBE of mqtt/packet.h. */
#include "tests/unit/protocol/testing.h"

#include "mqtt/packet.h"

struct how {
    uint8_t version;
    struct packet_subscribe subscribe;
    struct packet_unsubscribe unsubscribe;
};

static const struct fault *subscribe(struct slice body, void *context)
{
    struct how *how = context;
    return decode_subscribe(body, how->version, &how->subscribe);
}

static const struct fault *unsubscribe(struct slice body, void *context)
{
    struct how *how = context;
    return decode_unsubscribe(body, how->version, &how->unsubscribe);
}

static struct bytes header(uint8_t version)
{
    struct bytes b = {0};
    add_u16(&b, 0x0A0B);
    if (version == MQTT_5)
        add_varint(&b, 0);
    return b;
}

/* Decodes a SUBSCRIBE of one filter. */
static const struct fault *subscribe_one(uint8_t version, const char *filter, uint8_t options)
{
    struct bytes b = header(version);
    struct how how = {.version = version};
    add_text(&b, filter);
    add_u8(&b, options);
    const struct fault *fault = decode_exact(slice_of_bytes(&b), subscribe, &how);
    bytes_fini(&b);
    return fault;
}

static void every_options_byte_is_judged_bit_by_bit(void **state)
{
    (void)state;
    for (unsigned options = 0; options <= 255; options++) {
        const struct fault *fault = subscribe_one(MQTT_5, "a", (uint8_t)options);
        if (options & 0xC0)
            expect_fault(fault, REASON_MALFORMED_PACKET, "MQTT-3.8.3-5");
        else if ((options & 3) == 3 || (options >> 4 & 3) == 3)
            expect_fault(fault, REASON_PROTOCOL_ERROR, "3.8.3.1");
        else
            assert_null(fault);
        for (uint8_t version = 3; version <= 4; version++) {
            fault = subscribe_one(version, "a", (uint8_t)options);
            if (options <= 2)
                assert_null(fault);
            else
                expect_fault(fault, REASON_MALFORMED_PACKET, "MQTT-3.8.3-4");
        }
    }
}

static void no_local_does_not_go_with_a_shared_filter(void **state)
{
    (void)state;
    expect_fault(subscribe_one(MQTT_5, "$share/g/a", 0x04), REASON_PROTOCOL_ERROR, "MQTT-3.8.3-4");
    expect_fault(subscribe_one(MQTT_5, "$share/", 0x05), REASON_PROTOCOL_ERROR, "MQTT-3.8.3-4");
    assert_null(subscribe_one(MQTT_5, "$share/g/a", 0x01));
    assert_null(subscribe_one(MQTT_5, "$shared/g/a", 0x04));
}

static void filters_are_walked_in_order_with_their_options(void **state)
{
    (void)state;
    struct bytes b = {0};
    struct how how = {.version = MQTT_5};
    struct subscribe_filter filter;
    add_u16(&b, 7);
    add_raw(&b, "\x03\x0B\xAC\x02", 4); /* subscription id 300 */
    add_text(&b, "a/+");
    add_u8(&b, 0x01);
    add_text(&b, "");
    add_u8(&b, 0x0E);
    add_text(&b, "b/#");
    add_u8(&b, 0x20);
    assert_null(subscribe(slice_of_bytes(&b), &how));
    assert_int_equal(how.subscribe.packet_id, 7);
    assert_int_equal(how.subscribe.subscription_id, 300);
    assert_int_equal(how.subscribe.properties.len, 3);
    struct slice rest = how.subscribe.filters;
    assert_true(subscribe_next_filter(&rest, MQTT_5, &filter));
    expect_slice(filter.filter, "a/+");
    assert_true(filter.qos == 1 && !filter.no_local && !filter.retain_as_published);
    assert_true(subscribe_next_filter(&rest, MQTT_5, &filter));
    expect_slice(filter.filter, ""); /* topic_filter_parse will say what is wrong */
    assert_true(filter.qos == 2 && filter.no_local && filter.retain_as_published);
    assert_true(subscribe_next_filter(&rest, MQTT_5, &filter));
    assert_true(filter.qos == 0 && filter.retain_handling == 2);
    assert_false(subscribe_next_filter(&rest, MQTT_5, &filter));
    bytes_fini(&b);
}

static void every_cut_but_between_filters_is_a_fault(void **state)
{
    (void)state;
    for (uint8_t version = 3; version <= 5; version++) {
        struct bytes one = header(version), other = header(version);
        struct how how = {.version = version};
        for (int i = 0; i < 3; i++) {
            add_text(&one, "a/b/c");
            add_u8(&one, 1);
            add_text(&other, "a/b/c");
        }
        assert_int_equal(count_accepted_cuts(slice_of_bytes(&one), subscribe, &how), 2);
        assert_int_equal(count_accepted_cuts(slice_of_bytes(&other), unsubscribe, &how), 2);
        bytes_fini(&one);
        bytes_fini(&other);
    }
}

static void list_without_a_filter_is_a_protocol_error(void **state)
{
    (void)state;
    for (uint8_t version = 3; version <= 5; version++) {
        struct bytes b = header(version);
        struct how how = {.version = version};
        expect_fault(decode_exact(slice_of_bytes(&b), subscribe, &how), REASON_PROTOCOL_ERROR,
                     "MQTT-3.8.3-2");
        expect_fault(decode_exact(slice_of_bytes(&b), unsubscribe, &how), REASON_PROTOCOL_ERROR,
                     "MQTT-3.10.3-2");
        bytes_fini(&b);
    }
}

static void packet_id_zero_is_a_protocol_error(void **state)
{
    (void)state;
    struct how how = {.version = MQTT_3_1_1};
    struct slice body = SLICE_LIT("\x00\x00\x00\x01"
                                  "a\x00");
    expect_fault(decode_exact(body, subscribe, &how), REASON_PROTOCOL_ERROR, "MQTT-2.2.1-3");
    body.len--;
    expect_fault(decode_exact(body, unsubscribe, &how), REASON_PROTOCOL_ERROR, "MQTT-2.2.1-3");
}

static void filters_are_utf8_wherever_they_stand(void **state)
{
    (void)state;
    for (uint8_t version = 3; version <= 5; version++) {
        for (int bad = 0; bad < 3; bad++) {
            struct bytes one = header(version), other = header(version);
            struct how how = {.version = version};
            for (int i = 0; i < 3; i++) {
                add_text(&one, i == bad ? "\xED\xA0\x80" : "ok");
                add_u8(&one, 0);
                add_text(&other, i == bad ? "\xFF" : "ok");
            }
            expect_fault(decode_exact(slice_of_bytes(&one), subscribe, &how),
                         REASON_MALFORMED_PACKET, "MQTT-1.5.4-1");
            expect_fault(decode_exact(slice_of_bytes(&other), unsubscribe, &how),
                         REASON_MALFORMED_PACKET, "MQTT-1.5.4-1");
            bytes_fini(&one);
            bytes_fini(&other);
        }
    }
}

static void subscription_id_belongs_in_subscribe_once(void **state)
{
    (void)state;
    struct how how = {.version = MQTT_5};
    expect_reason(decode_exact(SLICE_LIT("\x00\x01\x02\x0B\x00\x00\x01"
                                         "a\x00"),
                               subscribe, &how),
                  REASON_PROTOCOL_ERROR);
    expect_reason(decode_exact(SLICE_LIT("\x00\x01\x04\x0B\x01\x0B\x01\x00\x01"
                                         "a\x00"),
                               subscribe, &how),
                  REASON_PROTOCOL_ERROR);
    expect_reason(decode_exact(SLICE_LIT("\x00\x01\x02\x0B\x01\x00\x01"
                                         "a"),
                               unsubscribe, &how),
                  REASON_MALFORMED_PACKET);
}

static void unsubscribe_filters_are_walked_in_order(void **state)
{
    (void)state;
    struct bytes b = header(MQTT_5);
    struct how how = {.version = MQTT_5};
    struct slice filter;
    add_text(&b, "$share/g/x");
    add_text(&b, "y");
    assert_null(unsubscribe(slice_of_bytes(&b), &how));
    assert_int_equal(how.unsubscribe.packet_id, 0x0A0B);
    struct slice rest = how.unsubscribe.filters;
    assert_true(unsubscribe_next_filter(&rest, &filter));
    expect_slice(filter, "$share/g/x");
    assert_true(unsubscribe_next_filter(&rest, &filter));
    expect_slice(filter, "y");
    assert_false(unsubscribe_next_filter(&rest, &filter));
    bytes_fini(&b);
}

static void a_hundred_thousand_filters_are_walked(void **state)
{
    (void)state;
    struct bytes b = header(MQTT_3_1_1);
    struct how how = {.version = MQTT_3_1_1};
    struct subscribe_filter filter;
    size_t count = 0;
    for (int i = 0; i < 100000; i++) {
        add_text(&b, "f");
        add_u8(&b, 2);
    }
    assert_null(subscribe(slice_of_bytes(&b), &how));
    for (struct slice rest = how.subscribe.filters;
         subscribe_next_filter(&rest, MQTT_3_1_1, &filter);)
        count += filter.qos == 2;
    assert_int_equal(count, 100000);
    bytes_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_options_byte_is_judged_bit_by_bit),
        cmocka_unit_test(no_local_does_not_go_with_a_shared_filter),
        cmocka_unit_test(filters_are_walked_in_order_with_their_options),
        cmocka_unit_test(every_cut_but_between_filters_is_a_fault),
        cmocka_unit_test(list_without_a_filter_is_a_protocol_error),
        cmocka_unit_test(packet_id_zero_is_a_protocol_error),
        cmocka_unit_test(filters_are_utf8_wherever_they_stand),
        cmocka_unit_test(subscription_id_belongs_in_subscribe_once),
        cmocka_unit_test(unsubscribe_filters_are_walked_in_order),
        cmocka_unit_test(a_hundred_thousand_filters_are_walked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
