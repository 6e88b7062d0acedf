/* test_frame.c: mqtt/frame.h, every first byte in every version, every form of length, every cut.
 */
#include "tests/unit/protocol/testing.h"

#include "mqtt/frame.h"

#define NO_LIMIT MQTT_PACKET_BYTES_MAX

static enum frame_result frame_exact(struct slice in, uint8_t version, uint32_t max,
                                     struct frame *out, const struct fault **fault)
{
    uint8_t *copy = exact_copy(in);
    static const struct fault stale = {0};
    *fault = &stale; /* frame_next clears it */
    enum frame_result result = frame_next(slice_of(copy, in.len), version, max, out, fault);
    if (result == FRAME_READY)
        out->body.ptr = in.ptr + (out->body.ptr - copy);
    free(copy);
    return result;
}

/* Which first bytes are legal, by hand: the type's nibbles. */
static bool is_legal_first(uint8_t first, uint8_t version)
{
    uint8_t type = first >> 4, flags = first & 15;
    bool is_retried =
        type == PACKET_PUBREL || type == PACKET_SUBSCRIBE || type == PACKET_UNSUBSCRIBE;
    if (type == 0 || (type == PACKET_AUTH && (version == 3 || version == 4)))
        return false;
    if (type == PACKET_PUBLISH)
        return (flags & 6) != 6;
    if (is_retried)
        return flags == 2 || (flags == 10 && version == 3);
    return flags == 0;
}

static void every_first_byte_is_judged_alone_in_every_version(void **state)
{
    (void)state;
    static const uint8_t versions[] = {0, 3, 4, 5};
    for (size_t v = 0; v < ARRAY_COUNT(versions); v++) {
        for (unsigned first = 0; first <= 255; first++) {
            uint8_t bytes[2] = {(uint8_t)first, 0};
            struct frame frame;
            const struct fault *fault;
            bool legal = is_legal_first((uint8_t)first, versions[v]);
            enum frame_result one =
                frame_exact(slice_of(bytes, 1), versions[v], NO_LIMIT, &frame, &fault);
            assert_int_equal(one, legal ? FRAME_SHORT : FRAME_BAD);
            enum frame_result two =
                frame_exact(slice_of(bytes, 2), versions[v], NO_LIMIT, &frame, &fault);
            assert_int_equal(two, legal ? FRAME_READY : FRAME_BAD);
            if (legal) {
                assert_int_equal(frame.type, first >> 4);
                assert_int_equal(frame.flags, first & 15);
                assert_int_equal(frame.size, 2);
                assert_int_equal(frame.body.len, 0);
            } else {
                expect_reason(fault, REASON_MALFORMED_PACKET);
            }
        }
    }
}

static void wrong_flags_name_the_clause_of_their_packet(void **state)
{
    (void)state;
    static const struct {
        uint8_t first, version;
        const char *clause;
    } rows[] = {
        {0x00, 5, "2.1.2"},         {0x11, 5, "MQTT-2.1.3-1"},  {0x36, 5, "MQTT-3.3.1-4"},
        {0x3E, 4, "MQTT-3.3.1-4"},  {0x60, 5, "MQTT-3.6.1-1"},  {0x80, 5, "MQTT-3.8.1-1"},
        {0x8A, 4, "MQTT-3.8.1-1"},  {0xA0, 5, "MQTT-3.10.1-1"}, {0xE1, 5, "MQTT-3.14.1-1"},
        {0xF1, 5, "MQTT-3.15.1-1"}, {0xF0, 4, "MQTT-3.15.1-1"}, {0xC1, 5, "MQTT-2.1.3-1"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct frame frame;
        const struct fault *fault;
        assert_int_equal(
            frame_exact(slice_of(&rows[i].first, 1), rows[i].version, NO_LIMIT, &frame, &fault),
            FRAME_BAD);
        expect_fault(fault, REASON_MALFORMED_PACKET, rows[i].clause);
    }
}

static void nothing_is_short_of_unknown_size(void **state)
{
    (void)state;
    struct frame frame = {.size = 99};
    const struct fault *fault;
    assert_int_equal(frame_next((struct slice){0}, 5, NO_LIMIT, &frame, &fault), FRAME_SHORT);
    assert_int_equal(frame.size, 0);
}

static void size_is_told_as_soon_as_the_length_has_ended(void **state)
{
    (void)state;
    static const uint32_t lengths[] = {0,     1,       126,     127,       128,      16383,
                                       16384, 2097151, 2097152, 268435455, 268435454};
    for (size_t i = 0; i < ARRAY_COUNT(lengths); i++) {
        struct bytes b = {0};
        struct frame frame;
        const struct fault *fault;
        add_u8(&b, 0x30);
        add_varint(&b, lengths[i]);
        for (size_t cut = 1; cut < b.len; cut++) {
            assert_int_equal(frame_exact(slice_of(b.data, cut), 4, NO_LIMIT, &frame, &fault),
                             FRAME_SHORT);
            assert_int_equal(frame.size, 0);
        }
        enum frame_result result = frame_exact(slice_of_bytes(&b), 4, NO_LIMIT, &frame, &fault);
        assert_int_equal(result, lengths[i] ? FRAME_SHORT : FRAME_READY);
        assert_int_equal(frame.size, b.len + lengths[i]);
        bytes_fini(&b);
    }
}

static void packet_is_ready_with_its_last_byte_and_not_before(void **state)
{
    (void)state;
    struct bytes b = {0};
    struct frame frame;
    const struct fault *fault;
    add_u8(&b, 0x32);
    add_varint(&b, 300);
    for (int i = 0; i < 300; i++)
        add_u8(&b, (uint8_t)i);
    size_t size = b.len;
    add_raw(&b, "\xC0\x00", 2); /* the next packet is left alone */
    for (size_t cut = 3; cut < size; cut++) {
        assert_int_equal(frame_exact(slice_of(b.data, cut), 5, NO_LIMIT, &frame, &fault),
                         FRAME_SHORT);
        assert_int_equal(frame.size, size);
    }
    for (size_t cut = size; cut <= b.len; cut++) {
        assert_int_equal(frame_exact(slice_of(b.data, cut), 5, NO_LIMIT, &frame, &fault),
                         FRAME_READY);
        assert_int_equal(frame.size, size);
        assert_int_equal(frame.body.len, 300);
        assert_ptr_equal(frame.body.ptr, b.data + 3);
    }
    bytes_fini(&b);
}

static void fifth_length_byte_is_malformed_before_it_arrives(void **state)
{
    (void)state;
    struct frame frame;
    const struct fault *fault;
    struct slice five = SLICE_LIT("\x30\xFF\xFF\xFF\xFF\x01");
    assert_int_equal(frame_exact(five, 5, NO_LIMIT, &frame, &fault), FRAME_BAD);
    expect_fault(fault, REASON_MALFORMED_PACKET, "1.5.5");
    five.len = 5; /* the fourth says that there is a fifth */
    assert_int_equal(frame_exact(five, 5, NO_LIMIT, &frame, &fault), FRAME_BAD);
    five = SLICE_LIT("\x30\x80\x80\x80\x80\x00");
    assert_int_equal(frame_exact(five, 4, NO_LIMIT, &frame, &fault), FRAME_BAD);
}

static void padded_length_is_malformed(void **state)
{
    (void)state;
    static const struct slice padded[] = {
        {(const uint8_t *)"\xC0\x80\x00", 3},         {(const uint8_t *)"\xC0\x80\x80\x00", 4},
        {(const uint8_t *)"\xC0\x80\x80\x80\x00", 5}, {(const uint8_t *)"\x30\x85\x00", 3},
        {(const uint8_t *)"\x30\xFF\xFF\x00", 4},
    };
    for (size_t i = 0; i < ARRAY_COUNT(padded); i++) {
        struct frame frame;
        const struct fault *fault;
        assert_int_equal(frame_exact(padded[i], 5, NO_LIMIT, &frame, &fault), FRAME_BAD);
        expect_fault(fault, REASON_MALFORMED_PACKET, "MQTT-1.5.5-1");
    }
}

static void only_a_bad_packet_has_a_fault(void **state)
{
    (void)state;
    static const struct slice shorts[] = {
        {(const uint8_t *)"", 0},
        {(const uint8_t *)"\xF0", 1},
        {(const uint8_t *)"\x30\x80", 2},
        {(const uint8_t *)"\x30\x01", 2},
    };
    struct frame frame;
    const struct fault *fault;
    for (size_t i = 0; i < ARRAY_COUNT(shorts); i++) {
        assert_int_equal(frame_exact(shorts[i], 5, NO_LIMIT, &frame, &fault), FRAME_SHORT);
        assert_null(fault);
    }
    assert_int_equal(frame_exact(SLICE_LIT("\xC0\x00"), 5, NO_LIMIT, &frame, &fault), FRAME_READY);
    assert_null(fault);
}

static void packet_over_the_limit_is_too_large_without_its_body(void **state)
{
    (void)state;
    struct frame frame;
    const struct fault *fault;
    struct slice in = SLICE_LIT("\x30\x62"); /* 98 and 2 */
    assert_int_equal(frame_exact(in, 5, 100, &frame, &fault), FRAME_SHORT);
    assert_int_equal(frame_exact(in, 5, 99, &frame, &fault), FRAME_BAD);
    expect_fault(fault, REASON_PACKET_TOO_LARGE, "MQTT-3.2.2-15");
}

static void packets_that_only_a_server_sends_are_framed_and_told_apart(void **state)
{
    (void)state;
    static const uint8_t from_server[] = {PACKET_CONNACK, PACKET_SUBACK, PACKET_UNSUBACK,
                                          PACKET_PINGRESP};
    for (uint8_t type = 1; type < PACKET_TYPE_COUNT; type++) {
        bool only_server = memchr(from_server, type, sizeof(from_server)) != NULL;
        assert_int_equal(packet_type_is_from_client(type), !only_server);
    }
    assert_false(packet_type_is_from_client(PACKET_RESERVED));
    assert_false(packet_type_is_from_client(16));
    assert_string_equal(packet_type_name(PACKET_PINGRESP), "PINGRESP");
    assert_string_equal(packet_type_name(200), "RESERVED");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_first_byte_is_judged_alone_in_every_version),
        cmocka_unit_test(wrong_flags_name_the_clause_of_their_packet),
        cmocka_unit_test(nothing_is_short_of_unknown_size),
        cmocka_unit_test(size_is_told_as_soon_as_the_length_has_ended),
        cmocka_unit_test(packet_is_ready_with_its_last_byte_and_not_before),
        cmocka_unit_test(fifth_length_byte_is_malformed_before_it_arrives),
        cmocka_unit_test(padded_length_is_malformed),
        cmocka_unit_test(only_a_bad_packet_has_a_fault),
        cmocka_unit_test(packet_over_the_limit_is_too_large_without_its_body),
        cmocka_unit_test(packets_that_only_a_server_sends_are_framed_and_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
