/* test_reason.c: mqtt/reason.h, every code in every packet against a list written from the
 * standard's tables. */
#include "tests/unit/protocol/testing.h"

#include "mqtt/reason.h"

/* What a client may send, section by
 * section: 3.4.2.1, 3.5.2.1, 3.6.2.1, 3.7.2.1, 3.14.2.1, 3.15.2.1. */
struct legal {
    uint8_t type;
    const char *codes;
    size_t count;
};

#define LEGAL(type, codes)             \
    {                                  \
        type, codes, sizeof(codes) - 1 \
    }
#define RECEIPT "\x00\x10\x80\x83\x87\x90\x91\x97\x99"

static const struct legal legal_lists[] = {
    LEGAL(PACKET_PUBACK, RECEIPT),
    LEGAL(PACKET_PUBREC, RECEIPT),
    LEGAL(PACKET_PUBREL, "\x00\x92"),
    LEGAL(PACKET_PUBCOMP, "\x00\x92"),
    LEGAL(PACKET_DISCONNECT, "\x00\x04\x80\x81\x82\x83\x90\x93\x94\x95\x96\x97\x98\x99"),
    LEGAL(PACKET_AUTH, "\x18\x19"),
};

static bool is_listed(uint8_t type, uint8_t code)
{
    for (size_t i = 0; i < ARRAY_COUNT(legal_lists); i++) {
        if (legal_lists[i].type == type)
            return memchr(legal_lists[i].codes, code, legal_lists[i].count) != NULL;
    }
    return false;
}

static void every_code_is_legal_exactly_where_the_standard_lists_it(void **state)
{
    (void)state;
    for (unsigned type = 0; type <= 255; type++) {
        for (unsigned code = 0; code <= 255; code++) {
            bool legal = reason_is_legal_from_client((uint8_t)type, (uint8_t)code);
            if (legal != is_listed((uint8_t)type, (uint8_t)code))
                fail_msg("type %u code 0x%02x", type, code);
        }
    }
}

static void there_are_43_codes_and_each_has_a_text(void **state)
{
    (void)state;
    unsigned known = 0;
    for (unsigned code = 0; code <= 255; code++) {
        const char *text = reason_text((uint8_t)code);
        assert_true(text && text[0]);
        known += strcmp(text, "unknown reason") != 0;
    }
    assert_int_equal(known, 43);
    assert_string_equal(reason_text(0x8E), "session taken over");
    assert_string_equal(reason_text(0x03), "unknown reason");
    assert_string_equal(reason_text(0xFF), "unknown reason");
}

static void refusals_have_a_connack_code_of_3_1_1(void **state)
{
    (void)state;
    assert_int_equal(reason_to_connack_v3(REASON_UNSUPPORTED_PROTOCOL_VERSION), 1);
    assert_int_equal(reason_to_connack_v3(REASON_CLIENT_ID_NOT_VALID), 2);
    assert_int_equal(reason_to_connack_v3(REASON_SERVER_UNAVAILABLE), 3);
    assert_int_equal(reason_to_connack_v3(REASON_SERVER_BUSY), 3);
    assert_int_equal(reason_to_connack_v3(REASON_SERVER_SHUTTING_DOWN), 3);
    assert_int_equal(reason_to_connack_v3(REASON_BAD_USER_NAME_OR_PASSWORD), 4);
    assert_int_equal(reason_to_connack_v3(REASON_NOT_AUTHORIZED), 5);
    assert_int_equal(reason_to_connack_v3(REASON_BANNED), 5);
    for (unsigned code = 0x80; code <= 255; code++) {
        uint8_t v3 = reason_to_connack_v3((uint8_t)code);
        assert_in_range(v3, 1, 5);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_is_legal_exactly_where_the_standard_lists_it),
        cmocka_unit_test(there_are_43_codes_and_each_has_a_text),
        cmocka_unit_test(refusals_have_a_connack_code_of_3_1_1),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
