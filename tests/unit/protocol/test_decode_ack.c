/* test_decode_ack.c: acknowledgements, DISCONNECT, AUTH and empty packets of mqtt/packet.h. */
#include "tests/unit/protocol/testing.h"

#include "mqtt/packet.h"

struct how {
    uint8_t type, version;
    struct packet_ack ack;
    struct packet_disconnect disconnect;
    struct packet_auth auth;
};

static const struct fault *ack(struct slice body, void *context)
{
    struct how *how = context;
    return decode_ack(body, how->type, how->version, &how->ack);
}

static const struct fault *disconnect(struct slice body, void *context)
{
    struct how *how = context;
    return decode_disconnect(body, how->version, &how->disconnect);
}

static const struct fault *auth(struct slice body, void *context)
{
    struct how *how = context;
    return decode_auth(body, &how->auth);
}

static const uint8_t ack_types[] = {PACKET_PUBACK, PACKET_PUBREC, PACKET_PUBREL, PACKET_PUBCOMP};
static const char *const ack_clauses[] = {"MQTT-3.4.2-1", "MQTT-3.5.2-1", "MQTT-3.6.2-1",
                                          "MQTT-3.7.2-1"};

static void every_reason_of_every_acknowledgement_is_judged(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(ack_types); i++) {
        const char *legal = i < 2 ? "\x10\x80\x83\x87\x90\x91\x97\x99" : "\x92";
        for (unsigned reason = 0; reason <= 255; reason++) {
            uint8_t body[4] = {0x12, 0x34, (uint8_t)reason, 0};
            bool is_legal = strchr(legal, (int)reason) != NULL; /* finds 0 as well */
            for (size_t len = 3; len <= 4; len++) {
                struct how how = {.type = ack_types[i], .version = MQTT_5};
                const struct fault *fault = decode_exact(slice_of(body, len), ack, &how);
                if (!is_legal) {
                    expect_fault(fault, REASON_PROTOCOL_ERROR, ack_clauses[i]);
                    continue;
                }
                assert_null(fault);
                assert_int_equal(how.ack.packet_id, 0x1234);
                assert_int_equal(how.ack.reason, reason);
            }
        }
    }
}

static void short_form_means_success(void **state)
{
    (void)state;
    for (uint8_t version = 3; version <= 5; version++) {
        for (size_t i = 0; i < ARRAY_COUNT(ack_types); i++) {
            struct how how = {.type = ack_types[i], .version = version, .ack = {9, 9}};
            assert_null(decode_exact(SLICE_LIT("\xFF\x01"), ack, &how));
            assert_int_equal(how.ack.packet_id, 0xFF01);
            assert_int_equal(how.ack.reason, REASON_SUCCESS);
        }
    }
}

static void before_5_0_an_acknowledgement_is_two_bytes(void **state)
{
    (void)state;
    for (uint8_t version = 3; version <= 4; version++) {
        struct how how = {.type = PACKET_PUBACK, .version = version};
        for (size_t len = 0; len <= 5; len++) {
            const struct fault *fault =
                decode_exact(slice_of("\x00\x01\x00\x00\x00", len), ack, &how);
            if (len == 2)
                assert_null(fault);
            else
                expect_reason(fault, REASON_MALFORMED_PACKET);
        }
    }
}

static void acknowledgement_of_packet_id_zero_is_a_protocol_error(void **state)
{
    (void)state;
    struct how how = {.type = PACKET_PUBREL, .version = MQTT_5};
    expect_fault(decode_exact(SLICE_LIT("\x00\x00"), ack, &how), REASON_PROTOCOL_ERROR,
                 "MQTT-2.2.1-3");
}

static void acknowledgement_with_properties_cut_anywhere(void **state)
{
    (void)state;
    struct slice body = SLICE_LIT("\x00\x05\x00\x0B\x1F\x00\x01r\x26\x00\x01n\x00\x01v");
    body.len -= 1; /* the block has 11 bytes: 4 and 7 */
    struct bytes b = {0};
    add_raw(&b, "\x00\x05\x00\x0B\x1F\x00\x01r\x26\x00\x01n\x00\x01v", 15);
    for (size_t i = 0; i < ARRAY_COUNT(ack_types); i++) {
        struct how how = {.type = ack_types[i], .version = MQTT_5};
        assert_null(decode_exact(slice_of_bytes(&b), ack, &how));
        /* two bytes and three bytes are the short forms */
        assert_int_equal(count_accepted_cuts(slice_of_bytes(&b), ack, &how), 2);
    }
    struct how how = {.type = PACKET_PUBACK, .version = MQTT_5};
    expect_fault(decode_exact(body, ack, &how), REASON_MALFORMED_PACKET, "2.2.2.1");
    add_u8(&b, 0);
    expect_reason(decode_exact(slice_of_bytes(&b), ack, &how), REASON_MALFORMED_PACKET);
    expect_reason(decode_exact(SLICE_LIT("\x00\x05\x00\x02\x01\x01"), ack, &how),
                  REASON_MALFORMED_PACKET); /* Payload Format does not belong here */
    bytes_fini(&b);
}

static void every_reason_of_disconnect_is_judged(void **state)
{
    (void)state;
    for (unsigned reason = 0; reason <= 255; reason++) {
        uint8_t body[2] = {(uint8_t)reason, 0};
        bool is_legal =
            strchr("\x04\x80\x81\x82\x83\x90\x93\x94\x95\x96\x97\x98\x99", (int)reason) != NULL;
        for (size_t len = 1; len <= 2; len++) {
            struct how how = {.version = MQTT_5};
            const struct fault *fault = decode_exact(slice_of(body, len), disconnect, &how);
            if (is_legal) {
                assert_null(fault);
                assert_int_equal(how.disconnect.reason, reason);
                assert_false(how.disconnect.has_session_expiry);
            } else {
                expect_fault(fault, REASON_PROTOCOL_ERROR, "MQTT-3.14.2-1");
            }
        }
    }
}

static void empty_disconnect_is_normal(void **state)
{
    (void)state;
    for (uint8_t version = 3; version <= 5; version++) {
        struct how how = {.version = version};
        assert_null(decode_exact((struct slice){0}, disconnect, &how));
        assert_int_equal(how.disconnect.reason, REASON_SUCCESS);
        const struct fault *fault = decode_exact(SLICE_LIT("\x00"), disconnect, &how);
        if (version == MQTT_5)
            assert_null(fault);
        else
            expect_reason(fault, REASON_MALFORMED_PACKET);
    }
}

static void disconnect_may_change_the_session_expiry(void **state)
{
    (void)state;
    struct slice body = SLICE_LIT("\x04\x05\x11\x00\x00\x01\x00");
    struct how how = {.version = MQTT_5};
    assert_null(decode_exact(body, disconnect, &how));
    assert_int_equal(how.disconnect.reason, REASON_DISCONNECT_WITH_WILL);
    assert_true(how.disconnect.has_session_expiry);
    assert_int_equal(how.disconnect.session_expiry_s, 256);
    assert_int_equal(count_accepted_cuts(body, disconnect, &how), 2); /* nothing, or the reason */
}

static void server_reference_from_a_client_is_a_protocol_error(void **state)
{
    (void)state;
    struct how how = {.version = MQTT_5};
    expect_fault(decode_exact(SLICE_LIT("\x00\x04\x1C\x00\x01s"), disconnect, &how),
                 REASON_PROTOCOL_ERROR, "3.14.2.2.5");
}

static void every_reason_of_auth_is_judged(void **state)
{
    (void)state;
    for (unsigned reason = 0; reason <= 255; reason++) {
        uint8_t body[] = {(uint8_t)reason, 4, 0x15, 0, 1, 'm'};
        struct how how = {0};
        const struct fault *fault = decode_exact(slice_of(body, sizeof(body)), auth, &how);
        if (reason == REASON_CONTINUE_AUTHENTICATION || reason == REASON_REAUTHENTICATE) {
            assert_null(fault);
            assert_int_equal(how.auth.reason, reason);
        } else {
            expect_fault(fault, REASON_PROTOCOL_ERROR, "MQTT-3.15.2-1");
        }
    }
}

static void auth_needs_a_method(void **state)
{
    (void)state;
    struct how how = {0};
    expect_fault(decode_exact(SLICE_LIT("\x18\x00"), auth, &how), REASON_PROTOCOL_ERROR,
                 "3.15.2.2.2");
    expect_fault(decode_exact(SLICE_LIT("\x18\x04\x16\x00\x01x"), auth, &how),
                 REASON_PROTOCOL_ERROR, "3.15.2.2.2");
    expect_reason(decode_exact((struct slice){0}, auth, &how), REASON_PROTOCOL_ERROR);
}

static void auth_with_a_reason_alone_is_malformed(void **state)
{
    (void)state;
    struct how how = {0};
    expect_fault(decode_exact(SLICE_LIT("\x18"), auth, &how), REASON_MALFORMED_PACKET,
                 "MQTT-4.13.1-1");
}

static void auth_gives_method_and_data_and_may_not_be_cut(void **state)
{
    (void)state;
    struct slice body = SLICE_LIT("\x18\x0A\x15\x00\x01m\x16\x00\x03\x00\x01\x02");
    struct how how = {0};
    assert_null(decode_auth(body, &how.auth));
    assert_true(how.auth.has_method);
    expect_slice(how.auth.method, "m");
    assert_true(slice_eq(how.auth.data, SLICE_LIT("\x00\x01\x02")));
    assert_int_equal(count_accepted_cuts(body, auth, &how), 0);
}

static void empty_packet_is_empty(void **state)
{
    (void)state;
    assert_null(decode_empty((struct slice){0}));
    expect_reason(decode_empty(SLICE_LIT("\x00")), REASON_MALFORMED_PACKET);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_reason_of_every_acknowledgement_is_judged),
        cmocka_unit_test(short_form_means_success),
        cmocka_unit_test(before_5_0_an_acknowledgement_is_two_bytes),
        cmocka_unit_test(acknowledgement_of_packet_id_zero_is_a_protocol_error),
        cmocka_unit_test(acknowledgement_with_properties_cut_anywhere),
        cmocka_unit_test(every_reason_of_disconnect_is_judged),
        cmocka_unit_test(empty_disconnect_is_normal),
        cmocka_unit_test(disconnect_may_change_the_session_expiry),
        cmocka_unit_test(server_reference_from_a_client_is_a_protocol_error),
        cmocka_unit_test(every_reason_of_auth_is_judged),
        cmocka_unit_test(auth_needs_a_method),
        cmocka_unit_test(auth_with_a_reason_alone_is_malformed),
        cmocka_unit_test(auth_gives_method_and_data_and_may_not_be_cut),
        cmocka_unit_test(empty_packet_is_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
