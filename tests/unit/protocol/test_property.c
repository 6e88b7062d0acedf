/*
 * test_property.c: mqtt/property.h, against lists written by hand from the standard's chapters:
 * what may stand where, of which type it is, and which values it may have.
 */
#include "tests/unit/protocol/testing.h"

#include "mqtt/packet.h"
#include "mqtt/property.h"
#include "protocol/property_set.h"

/* Legal identifiers per packet, from sections 3.1 to 3.15: what a client may write first, then what
   only a server may write. */
struct legal {
    uint8_t block;
    const char *ids;
    const char *server_ids;
};

static const struct legal legal_lists[] = {
    {PROPERTY_BLOCK_WILL, "\x01\x02\x03\x08\x09\x18\x26", ""},
    {PACKET_CONNECT, "\x11\x15\x16\x17\x19\x21\x22\x26\x27", ""},
    {PACKET_CONNACK, "\x11\x12\x13\x15\x16\x1A\x1C\x1F\x21\x22\x24\x25\x26\x27\x28\x29\x2A", ""},
    {PACKET_PUBLISH, "\x01\x02\x03\x08\x09\x23\x26", "\x0B"},
    {PACKET_PUBACK, "\x1F\x26", ""},
    {PACKET_PUBREC, "\x1F\x26", ""},
    {PACKET_PUBREL, "\x1F\x26", ""},
    {PACKET_PUBCOMP, "\x1F\x26", ""},
    {PACKET_SUBSCRIBE, "\x0B\x26", ""},
    {PACKET_SUBACK, "\x1F\x26", ""},
    {PACKET_UNSUBSCRIBE, "\x26", ""},
    {PACKET_UNSUBACK, "\x1F\x26", ""},
    {PACKET_PINGREQ, "", ""},
    {PACKET_PINGRESP, "", ""},
    {PACKET_DISCONNECT, "\x11\x1F\x26", "\x1C"},
    {PACKET_AUTH, "\x15\x16\x1F\x26", ""},
};

/* Types by identifier: 1, 2, 4 bytes, v varint, s string, b binary, p pair; from section 2.2.2.2.
 */
static const char *type_of(uint8_t id)
{
    static const struct {
        char type;
        const char *ids;
    } rows[] = {
        {'1', "\x01\x17\x19\x24\x25\x28\x29\x2A"},
        {'2', "\x13\x21\x22\x23"},
        {'4', "\x02\x11\x18\x27"},
        {'v', "\x0B"},
        {'s', "\x03\x08\x12\x15\x1A\x1C\x1F"},
        {'b', "\x09\x16"},
        {'p', "\x26"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        if (id && strchr(rows[i].ids, id))
            return &rows[i].type;
    }
    return "";
}

static bool is_in(const char *ids, unsigned id)
{
    return id && id < 128 && strchr(ids, (int)id) != NULL;
}

/* Adds a property with a value that is legal for it. */
static void add_sample(struct bytes *b, uint8_t id)
{
    add_u8(b, id);
    switch (*type_of(id)) {
    case '1':
        add_u8(b, 1);
        break;
    case '2':
        add_u16(b, 10);
        break;
    case '4':
        add_u32(b, 100000);
        break;
    case 'v':
        add_varint(b, 300);
        break;
    case 's':
        add_text(b, "text");
        break;
    case 'b':
        add_binary(b, "\x00\xFF", 2);
        break;
    case 'p':
        add_text(b, "name");
        add_text(b, "value");
        break;
    }
}

static const struct fault *check(struct slice block_bytes, void *block)
{
    return property_check(block_bytes, *(uint8_t *)block);
}

static const struct fault *check_bytes(const struct bytes *b, uint8_t block)
{
    return decode_exact(slice_of_bytes(b), check, &block);
}

static void every_property_is_legal_exactly_where_the_standard_lists_it(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(legal_lists); i++) {
        const struct legal *legal = &legal_lists[i];
        for (unsigned id = 0; id <= 255; id++) {
            struct bytes b = {0};
            add_sample(&b, (uint8_t)id);
            const struct fault *fault = check_bytes(&b, legal->block);
            if (is_in(legal->ids, id))
                assert_null(fault);
            else
                expect_reason(fault, is_in(legal->server_ids, id) ? REASON_PROTOCOL_ERROR
                                                                  : REASON_MALFORMED_PACKET);
            bytes_fini(&b);
        }
    }
}

static void there_are_27_properties(void **state)
{
    (void)state;
    unsigned known = 0;
    for (unsigned id = 0; id <= 255; id++) {
        struct bytes b = {0};
        struct slice rest;
        struct property property;
        add_sample(&b, (uint8_t)id);
        add_raw(&b, "\x00\x00\x00\x00\x00\x00\x00\x00", 8);
        rest = slice_of_bytes(&b);
        known += property_next(&rest, &property);
        bytes_fini(&b);
    }
    assert_int_equal(known, 27);
}

static void only_user_property_may_be_repeated(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(legal_lists); i++) {
        for (const char *id = legal_lists[i].ids; *id; id++) {
            struct bytes b = {0};
            add_sample(&b, (uint8_t)*id);
            add_sample(&b, PROPERTY_USER); /* something in between */
            add_sample(&b, (uint8_t)*id);
            const struct fault *fault = check_bytes(&b, legal_lists[i].block);
            if (*id == PROPERTY_USER)
                assert_null(fault);
            else
                expect_reason(fault, REASON_PROTOCOL_ERROR);
            bytes_fini(&b);
        }
    }
}

static void all_legal_properties_stand_together_in_any_order(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(legal_lists); i++) {
        struct bytes forth = {0}, back = {0};
        size_t count = strlen(legal_lists[i].ids);
        for (size_t k = 0; k < count; k++) {
            add_sample(&forth, (uint8_t)legal_lists[i].ids[k]);
            add_sample(&back, (uint8_t)legal_lists[i].ids[count - 1 - k]);
        }
        assert_null(check_bytes(&forth, legal_lists[i].block));
        assert_null(check_bytes(&back, legal_lists[i].block));
        bytes_fini(&forth);
        bytes_fini(&back);
    }
}

static void block_cut_inside_a_property_is_malformed(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(legal_lists); i++) {
        struct bytes b = {0};
        uint8_t block = legal_lists[i].block;
        for (const char *id = legal_lists[i].ids; *id; id++)
            add_sample(&b, (uint8_t)*id);
        /* What ends between two properties is fine: one less than there are, and the empty block.
         */
        assert_int_equal(count_accepted_cuts(slice_of_bytes(&b), check, &block),
                         strlen(legal_lists[i].ids));
        for (size_t len = 0; len < b.len; len++) {
            const struct fault *fault = decode_exact(slice_of(b.data, len), check, &block);
            if (fault)
                expect_reason(fault, REASON_MALFORMED_PACKET);
        }
        bytes_fini(&b);
    }
}

static void values_outside_their_range_are_protocol_errors(void **state)
{
    (void)state;
    static const struct {
        uint8_t block, id;
        uint32_t value;
        bool legal;
    } rows[] = {
        {PACKET_PUBLISH, PROPERTY_PAYLOAD_FORMAT, 0, true},
        {PACKET_PUBLISH, PROPERTY_PAYLOAD_FORMAT, 2, false},
        {PROPERTY_BLOCK_WILL, PROPERTY_PAYLOAD_FORMAT, 255, false},
        {PACKET_PUBLISH, PROPERTY_MESSAGE_EXPIRY, 0, true},
        {PACKET_PUBLISH, PROPERTY_MESSAGE_EXPIRY, 0xFFFFFFFF, true},
        {PACKET_PUBLISH, PROPERTY_TOPIC_ALIAS, 0, true}, /* 0x94 is the caller's to say */
        {PACKET_PUBLISH, PROPERTY_TOPIC_ALIAS, 65535, true},
        {PACKET_SUBSCRIBE, PROPERTY_SUBSCRIPTION_ID, 0, false},
        {PACKET_SUBSCRIBE, PROPERTY_SUBSCRIPTION_ID, 1, true},
        {PACKET_SUBSCRIBE, PROPERTY_SUBSCRIPTION_ID, 268435455, true},
        {PACKET_CONNECT, PROPERTY_RECEIVE_MAXIMUM, 0, false},
        {PACKET_CONNECT, PROPERTY_RECEIVE_MAXIMUM, 1, true},
        {PACKET_CONNECT, PROPERTY_MAXIMUM_PACKET_SIZE, 0, false},
        {PACKET_CONNECT, PROPERTY_MAXIMUM_PACKET_SIZE, 1, true},
        {PACKET_CONNECT, PROPERTY_MAXIMUM_PACKET_SIZE, 0xFFFFFFFF, true},
        {PACKET_CONNECT, PROPERTY_TOPIC_ALIAS_MAXIMUM, 0, true},
        {PACKET_CONNECT, PROPERTY_SESSION_EXPIRY, 0, true},
        {PACKET_CONNECT, PROPERTY_SESSION_EXPIRY, 0xFFFFFFFF, true},
        {PACKET_CONNECT, PROPERTY_REQUEST_PROBLEM_INFORMATION, 2, false},
        {PACKET_CONNECT, PROPERTY_REQUEST_RESPONSE_INFORMATION, 2, false},
        {PACKET_CONNECT, PROPERTY_REQUEST_PROBLEM_INFORMATION, 0, true},
        {PACKET_CONNACK, PROPERTY_MAXIMUM_QOS, 2, false},
        {PACKET_CONNACK, PROPERTY_RETAIN_AVAILABLE, 2, false},
        {PACKET_CONNACK, PROPERTY_WILDCARD_AVAILABLE, 3, false},
        {PACKET_CONNACK, PROPERTY_SUBSCRIPTION_ID_AVAILABLE, 2, false},
        {PACKET_CONNACK, PROPERTY_SHARED_AVAILABLE, 2, false},
        {PACKET_CONNACK, PROPERTY_RECEIVE_MAXIMUM, 0, false},
        {PROPERTY_BLOCK_WILL, PROPERTY_WILL_DELAY, 0xFFFFFFFF, true},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct bytes b = {0};
        add_u8(&b, rows[i].id);
        char type = *type_of(rows[i].id);
        if (type == '1')
            add_u8(&b, (uint8_t)rows[i].value);
        else if (type == '2')
            add_u16(&b, (uint16_t)rows[i].value);
        else if (type == '4')
            add_u32(&b, rows[i].value);
        else
            add_varint(&b, rows[i].value);
        const struct fault *fault = check_bytes(&b, rows[i].block);
        if (rows[i].legal)
            assert_null(fault);
        else
            expect_reason(fault, REASON_PROTOCOL_ERROR);
        bytes_fini(&b);
    }
}

static void strings_are_utf8_and_binary_is_anything(void **state)
{
    (void)state;
    static const char bad[] = "ab\xFF"
                              "d";
    for (size_t i = 0; i < ARRAY_COUNT(legal_lists); i++) {
        for (const char *id = legal_lists[i].ids; *id; id++) {
            char type = *type_of((uint8_t)*id);
            if (!strchr("sbp", type))
                continue;
            struct bytes b = {0};
            add_u8(&b, (uint8_t)*id);
            if (type == 'p')
                add_text(&b, "name");
            add_text(&b, bad);
            const struct fault *fault = check_bytes(&b, legal_lists[i].block);
            if (type == 'b')
                assert_null(fault);
            else
                expect_fault(fault, REASON_MALFORMED_PACKET, "MQTT-1.5.4-1");
            bytes_fini(&b);
        }
    }
}

static void name_of_a_user_property_is_utf8_too(void **state)
{
    (void)state;
    struct bytes b = {0};
    add_u8(&b, PROPERTY_USER);
    add_text(&b, "\xC0\x80");
    add_text(&b, "value");
    expect_fault(check_bytes(&b, PACKET_PUBLISH), REASON_MALFORMED_PACKET, "MQTT-1.5.4-1");
    bytes_fini(&b);
}

static void response_topic_is_a_topic_name(void **state)
{
    (void)state;
    static const char *const bad[] = {"a/+", "#", "a#b", ""};
    static const uint8_t blocks[] = {PACKET_PUBLISH, PROPERTY_BLOCK_WILL};
    for (size_t i = 0; i < ARRAY_COUNT(bad) * 2; i++) {
        struct bytes b = {0};
        add_u8(&b, PROPERTY_RESPONSE_TOPIC);
        add_text(&b, bad[i / 2]);
        expect_fault(check_bytes(&b, blocks[i % 2]), REASON_PROTOCOL_ERROR, "MQTT-3.3.2-14");
        bytes_fini(&b);
    }
}

static void subscription_id_in_a_publish_of_a_client_names_its_clause(void **state)
{
    (void)state;
    struct bytes b = {0};
    add_sample(&b, PROPERTY_SUBSCRIPTION_ID);
    expect_fault(check_bytes(&b, PACKET_PUBLISH), REASON_PROTOCOL_ERROR, "MQTT-3.3.4-6");
    bytes_fini(&b);
}

static void subscription_id_in_a_long_form_is_malformed(void **state)
{
    (void)state;
    uint8_t block = PACKET_SUBSCRIBE;
    expect_fault(decode_exact(SLICE_LIT("\x0B\x81\x00"), check, &block), REASON_MALFORMED_PACKET,
                 "MQTT-1.5.5-1");
    expect_fault(decode_exact(SLICE_LIT("\x0B\xFF\xFF\xFF\xFF\x01"), check, &block),
                 REASON_MALFORMED_PACKET, "1.5.5");
    /* an identifier is a varint as well: two bytes long, it is none that we know */
    expect_reason(decode_exact(SLICE_LIT("\x8B\x00\x01"), check, &block), REASON_MALFORMED_PACKET);
}

static void walking_a_block_gives_back_what_was_put_in(void **state)
{
    (void)state;
    struct bytes b = {0};
    static const char ids[] = "\x01\x02\x03\x08\x09\x23\x26";
    for (const char *id = ids; *id; id++)
        add_sample(&b, (uint8_t)*id);
    struct slice rest = slice_of_bytes(&b);
    struct property property;
    for (const char *id = ids; *id; id++) {
        assert_true(property_next(&rest, &property));
        assert_int_equal(property.id, *id);
        switch (*type_of((uint8_t)*id)) {
        case '1':
            assert_int_equal(property.number, 1);
            break;
        case '2':
            assert_int_equal(property.number, 10);
            break;
        case '4':
            assert_int_equal(property.number, 100000);
            break;
        case 's':
            expect_slice(property.bytes, "text");
            break;
        case 'b':
            assert_true(slice_eq(property.bytes, SLICE_LIT("\x00\xFF")));
            break;
        case 'p':
            expect_slice(property.bytes, "name");
            expect_slice(property.value, "value");
            break;
        }
    }
    assert_false(property_next(&rest, &property));
    assert_int_equal(rest.len, 0);
    assert_true(property_find(slice_of_bytes(&b), PROPERTY_CORRELATION_DATA, &property));
    assert_int_equal(property.bytes.len, 2);
    assert_false(property_find(slice_of_bytes(&b), PROPERTY_WILL_DELAY, &property));
    assert_false(property_find((struct slice){0}, PROPERTY_USER, &property));
    bytes_fini(&b);
}

static void every_property_is_written_as_it_was_read(void **state)
{
    (void)state;
    for (uint8_t id = 1; id < 0x2B; id++) {
        struct bytes b = {0};
        struct property property;
        uint8_t out[64];
        if (!*type_of(id))
            continue;
        add_sample(&b, id);
        struct slice rest = slice_of_bytes(&b);
        assert_true(property_next(&rest, &property));
        assert_int_equal(property_bytes(&property), b.len);
        assert_ptr_equal(property_write(out, &property), out + b.len);
        assert_memory_equal(out, b.data, b.len);
        bytes_fini(&b);
    }
}

static void what_cannot_be_written_has_no_size(void **state)
{
    (void)state;
    static uint8_t big[65536];
    struct property long_name = {.id = PROPERTY_USER, .bytes = {big, 65536}};
    struct property long_value = {.id = PROPERTY_USER, .value = {big, 65536}};
    struct property zero = {.id = PROPERTY_SUBSCRIPTION_ID, .number = 0};
    struct property wide = {.id = PROPERTY_SERVER_KEEP_ALIVE, .number = 65536};
    assert_int_equal(property_bytes(&long_name), 0);
    assert_int_equal(property_bytes(&long_value), 0);
    assert_int_equal(property_bytes(&zero), 0);
    assert_int_equal(property_bytes(&wide), 0);
    long_name.bytes.len = 65535;
    assert_int_equal(property_bytes(&long_name), 1 + 2 + 65535 + 2);
}

static void forwarding_leaves_out_what_belongs_to_the_hop_and_keeps_the_order(void **state)
{
    (void)state;
    static const char dropped[] = "\x02\x0B\x18\x23";
    uint64_t seed = 3;
    for (int round = 0; round < 2000; round++) {
        struct bytes all = {0}, want = {0};
        uint8_t out[512];
        size_t count = next_random(&seed) % 12;
        for (size_t i = 0; i < count; i++) {
            static const char ids[] = "\x01\x02\x03\x08\x09\x0B\x18\x23\x26\x26\x26";
            uint8_t id = (uint8_t)ids[next_random(&seed) % (sizeof(ids) - 1)];
            add_sample(&all, id);
            if (!is_in(dropped, id))
                add_sample(&want, id);
        }
        uint8_t *copy = exact_copy(slice_of_bytes(&all));
        struct slice block = slice_of(copy, all.len);
        assert_int_equal(property_forwarded_bytes(block), want.len);
        assert_ptr_equal(property_copy_forwarded(block, out), out + want.len);
        assert_memory_equal(out, want.len ? want.data : (uint8_t *)"", want.len);
        free(copy);
        bytes_fini(&all);
        bytes_fini(&want);
    }
}

static void walking_broken_blocks_ends_inside_them(void **state)
{
    (void)state;
    struct bytes b = {0};
    for (const char *id = "\x01\x02\x03\x08\x09\x0B\x18\x23\x26"; *id; id++)
        add_sample(&b, (uint8_t)*id);
    for (size_t len = 0; len <= b.len; len++) {
        uint8_t out[128];
        uint8_t *copy = exact_copy(slice_of(b.data, len));
        struct slice rest = slice_of(copy, len);
        struct property property;
        uint32_t bytes = property_forwarded_bytes(rest);
        assert_true(bytes <= len);
        assert_ptr_equal(property_copy_forwarded(rest, out), out + bytes);
        while (property_next(&rest, &property))
            assert_true(rest.len < len);
        free(copy);
    }
    bytes_fini(&b);
}

static void a_million_tiny_user_properties_are_fine(void **state)
{
    (void)state;
    struct bytes b = {0};
    struct property property;
    for (int i = 0; i < 1000000; i++)
        add_raw(&b, "\x26\x00\x01n\x00\x00", 6);
    assert_null(check_bytes(&b, PACKET_PUBLISH));
    assert_int_equal(property_forwarded_bytes(slice_of_bytes(&b)), b.len);
    size_t count = 0;
    struct slice rest = slice_of_bytes(&b);
    while (property_next(&rest, &property))
        count++;
    assert_int_equal(count, 1000000);
    add_u8(&b, 0x7F);
    expect_reason(check_bytes(&b, PACKET_PUBLISH), REASON_MALFORMED_PACKET);
    bytes_fini(&b);
}

static void faults_name_the_property(void **state)
{
    (void)state;
    struct bytes b = {0};
    add_sample(&b, PROPERTY_CONTENT_TYPE);
    assert_string_equal(check_bytes(&b, PACKET_CONNECT)->text,
                        "Content Type does not belong in this packet");
    add_sample(&b, PROPERTY_CONTENT_TYPE);
    assert_string_equal(check_bytes(&b, PACKET_PUBLISH)->text,
                        "Content Type is given more than once");
    bytes_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_property_is_legal_exactly_where_the_standard_lists_it),
        cmocka_unit_test(there_are_27_properties),
        cmocka_unit_test(only_user_property_may_be_repeated),
        cmocka_unit_test(all_legal_properties_stand_together_in_any_order),
        cmocka_unit_test(block_cut_inside_a_property_is_malformed),
        cmocka_unit_test(values_outside_their_range_are_protocol_errors),
        cmocka_unit_test(strings_are_utf8_and_binary_is_anything),
        cmocka_unit_test(name_of_a_user_property_is_utf8_too),
        cmocka_unit_test(response_topic_is_a_topic_name),
        cmocka_unit_test(subscription_id_in_a_publish_of_a_client_names_its_clause),
        cmocka_unit_test(subscription_id_in_a_long_form_is_malformed),
        cmocka_unit_test(walking_a_block_gives_back_what_was_put_in),
        cmocka_unit_test(every_property_is_written_as_it_was_read),
        cmocka_unit_test(what_cannot_be_written_has_no_size),
        cmocka_unit_test(forwarding_leaves_out_what_belongs_to_the_hop_and_keeps_the_order),
        cmocka_unit_test(walking_broken_blocks_ends_inside_them),
        cmocka_unit_test(a_million_tiny_user_properties_are_fine),
        cmocka_unit_test(faults_name_the_property),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
