/* test_websocket.c: frames of mqtt/websocket.h, of every kind, cut anywhere. */
#include "tests/unit/protocol/testing.h"

#include "mqtt/websocket.h"

static const uint8_t mask[4] = {0x37, 0xFA, 0x21, 0x3D};

static void add_frame_header(struct bytes *b, uint8_t first, size_t length)
{
    add_u8(b, first);
    if (length < 126) {
        add_u8(b, (uint8_t)(0x80 | length));
    } else if (length < 65536) {
        add_u8(b, 0x80 | 126);
        add_u16(b, (uint16_t)length);
    } else {
        add_u8(b, 0x80 | 127);
        add_u32(b, (uint32_t)((uint64_t)length >> 32));
        add_u32(b, (uint32_t)length);
    }
    add_raw(b, mask, 4);
}

static void add_frame(struct bytes *b, uint8_t first, const void *payload, size_t length)
{
    add_frame_header(b, first, length);
    for (size_t i = 0; i < length; i++)
        add_u8(b, ((const uint8_t *)payload)[i] ^ mask[i & 3]);
}

/* Takes all of `in` in pieces of `step` bytes; data go to `out`, the last ping and what ended it to
   *all. */
static void take_all(struct slice in, size_t step, struct bytes *out, struct websocket_news *all)
{
    struct websocket_stream stream = {0};
    memset(all, 0, sizeof(*all));
    while (in.len) {
        size_t part = in.len < step ? in.len : step;
        uint8_t *copy = exact_copy(slice_of(in.ptr, part));
        struct websocket_news news;
        size_t data = websocket_take(&stream, copy, part, &news);
        assert_true(data <= part);
        add_raw(out, copy, data);
        free(copy);
        if (news.has_ping) {
            all->has_ping = true;
            all->ping_len = news.ping_len;
            memcpy(all->ping, news.ping, news.ping_len);
        }
        if (news.fault || news.close_code) {
            all->fault = news.fault;
            all->close_code = news.close_code;
            assert_true(stream.is_over);
        }
        in = slice_skip(in, part);
    }
}

static void any_cut_gives_the_same_data_and_news(void **state)
{
    (void)state;
    uint8_t payload[70000];
    for (size_t i = 0; i < sizeof(payload); i++)
        payload[i] = (uint8_t)(i * 7);
    static const size_t lengths[] = {0, 1, 2, 7, 8, 9, 15, 16, 17, 125, 126, 127, 300};
    struct bytes b = {0}, want = {0};
    for (size_t i = 0; i < ARRAY_COUNT(lengths); i++) {
        add_frame(&b, 0x02, payload, lengths[i]); /* begun ... */
        add_frame(&b, 0x89, payload, lengths[i] < 125 ? lengths[i] : 125);
        add_frame(&b, 0x8A, payload, 3);
        add_frame(&b, 0x80, payload + 5, lengths[i]); /* ... and ended */
        add_frame(&b, 0x82, payload, lengths[i]);
        add_raw(&want, payload, lengths[i]);
        add_raw(&want, payload + 5, lengths[i]);
        add_raw(&want, payload, lengths[i]);
    }
    add_frame(&b, 0x88,
              "\x03\xE9"
              "bye",
              5);
    for (size_t step = 1; step <= b.len; step = step < 40 ? step + 1 : step * 2) {
        struct bytes got = {0};
        struct websocket_news news;
        take_all(slice_of_bytes(&b), step, &got, &news);
        assert_int_equal(got.len, want.len);
        assert_memory_equal(got.data, want.data, want.len);
        assert_true(news.has_ping);
        assert_int_equal(news.ping_len, 125);
        assert_memory_equal(news.ping, payload, 125);
        assert_int_equal(news.close_code, 1001);
        assert_null(news.fault);
        bytes_fini(&got);
    }
    bytes_fini(&b);
    bytes_fini(&want);
}

static void long_frames_are_unmasked_from_any_place_to_any_place(void **state)
{
    (void)state;
    uint8_t clear[64], masked[80];
    for (size_t from = 0; from < 9; from++) {
        for (size_t to = 0; to <= from; to++) {
            for (size_t len = 0; len <= 64; len++) {
                uint8_t turned[4];
                memcpy(turned, mask, 4);
                for (size_t i = 0; i < len; i++) {
                    clear[i] = (uint8_t)(i * 3 + 1);
                    masked[from + i] = clear[i] ^ mask[i & 3];
                }
                websocket_unmask(masked + to, masked + from, len, turned);
                assert_memory_equal(masked + to, clear, len);
                for (size_t i = 0; i < 4; i++)
                    assert_int_equal(turned[i], mask[(len + i) & 3]);
            }
        }
    }
}

/* Every beginning is short or already the fault; the whole is the fault. */
static void expect_bad(const void *bytes, size_t len, uint16_t code)
{
    struct websocket_header header;
    const struct websocket_fault *fault;
    uint8_t *copy = exact_copy(slice_of(bytes, len));
    bool was_bad = false;
    for (size_t cut = 0; cut <= len; cut++) {
        enum websocket_result result = websocket_header_parse(slice_of(copy, cut), &header, &fault);
        assert_true(result == WEBSOCKET_BAD || (!was_bad && result == WEBSOCKET_SHORT));
        was_bad = result == WEBSOCKET_BAD;
        assert_int_equal(was_bad, fault != NULL);
    }
    assert_true(was_bad);
    assert_int_equal(fault->code, code);
    free(copy);
}

static void bad_headers_are_faults_as_soon_as_it_shows(void **state)
{
    (void)state;
    expect_bad("\x81", 1, WEBSOCKET_CODE_UNSUPPORTED); /* text [MQTT-6.0.0-1] */
    expect_bad("\x01", 1, WEBSOCKET_CODE_UNSUPPORTED);
    expect_bad("\xC2", 1, WEBSOCKET_CODE_PROTOCOL);
    expect_bad("\x92", 1, WEBSOCKET_CODE_PROTOCOL);
    for (int opcode = 3; opcode < 16; opcode++) {
        uint8_t first = (uint8_t)(0x80 | opcode);
        if (opcode < 8 || opcode > 10)
            expect_bad(&first, 1, WEBSOCKET_CODE_PROTOCOL);
    }
    expect_bad("\x08", 1, WEBSOCKET_CODE_PROTOCOL); /* control frames in parts */
    expect_bad("\x09", 1, WEBSOCKET_CODE_PROTOCOL);
    expect_bad("\x82\x05", 2, WEBSOCKET_CODE_PROTOCOL); /* no mask */
    expect_bad("\x89\xFE", 2, WEBSOCKET_CODE_PROTOCOL); /* long ping */
    expect_bad("\x89\xFF", 2, WEBSOCKET_CODE_PROTOCOL);
    expect_bad("\x82\xFE\x00\x7D", 4, WEBSOCKET_CODE_PROTOCOL); /* padded */
    expect_bad("\x82\xFF\0\0\0\0\0\0\xFF\xFF", 10, WEBSOCKET_CODE_PROTOCOL);
    expect_bad("\x82\xFF\0\0\0\0\x80\0\0\0", 10, WEBSOCKET_CODE_TOO_BIG);
    expect_bad("\x82\xFF\x80\0\0\0\0\0\0\0", 10, WEBSOCKET_CODE_TOO_BIG);
}

static void the_longest_frame_is_only_a_number(void **state)
{
    (void)state;
    struct bytes b = {0};
    struct websocket_header header;
    const struct websocket_fault *fault;
    add_frame_header(&b, 0x82, WEBSOCKET_FRAME_BYTES_MAX);
    for (size_t cut = 0; cut < b.len; cut++)
        assert_int_equal(websocket_header_parse(slice_of(b.data, cut), &header, &fault),
                         WEBSOCKET_SHORT);
    assert_int_equal(websocket_header_parse(slice_of_bytes(&b), &header, &fault), WEBSOCKET_READY);
    assert_int_equal(header.length, WEBSOCKET_FRAME_BYTES_MAX);
    assert_int_equal(header.bytes, b.len);
    bytes_fini(&b);
}

static void parts_of_messages_come_in_their_order(void **state)
{
    (void)state;
    static const uint8_t orders[][2] = {{0x80, 0}, {0x00, 0}, {0x02, 0x82}, {0x02, 0x02}};
    for (size_t i = 0; i < ARRAY_COUNT(orders); i++) {
        struct bytes b = {0}, got = {0};
        struct websocket_news news;
        add_frame(&b, orders[i][0], "a", 1);
        if (orders[i][1])
            add_frame(&b, orders[i][1], "b", 1);
        take_all(slice_of_bytes(&b), 3, &got, &news);
        assert_int_equal(got.len, orders[i][1] ? 1 : 0); /* what came before counts */
        assert_non_null(news.fault);
        assert_int_equal(news.fault->code, WEBSOCKET_CODE_PROTOCOL);
        bytes_fini(&b);
        bytes_fini(&got);
    }
}

static void close_codes_are_those_that_may_be_sent(void **state)
{
    (void)state;
    for (unsigned code = 0; code < 65536; code++) {
        struct bytes b = {0}, got = {0};
        struct websocket_news news;
        uint8_t payload[2] = {(uint8_t)(code >> 8), (uint8_t)code};
        bool is_legal = (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
                        (code >= 3000 && code <= 4999);
        add_frame(&b, 0x88, payload, 2);
        take_all(slice_of_bytes(&b), 99, &got, &news);
        assert_int_equal(news.close_code, is_legal ? code : 0);
        assert_int_equal(news.fault == NULL, is_legal);
        bytes_fini(&b);
    }
}

static void nothing_after_the_end_is_looked_at(void **state)
{
    (void)state;
    struct bytes b = {0}, got = {0};
    struct websocket_news news;
    add_frame(&b, 0x82, "a", 1);
    add_frame(&b, 0x88, "", 0);
    add_frame(&b, 0x82, "b", 1);
    add_u8(&b, 0x81);
    for (size_t step = 1; step <= b.len; step++) {
        got.len = 0;
        take_all(slice_of_bytes(&b), step, &got, &news);
        assert_int_equal(got.len, 1);
        assert_int_equal(news.close_code, WEBSOCKET_CODE_NORMAL);
        assert_null(news.fault);
    }
    bytes_fini(&b);
    bytes_fini(&got);
}

static void headers_of_the_server_are_as_short_as_can_be(void **state)
{
    (void)state;
    uint8_t out[WEBSOCKET_SERVER_HEADER_BYTES_MAX];
    assert_int_equal(websocket_header_encode(out, WEBSOCKET_BINARY, 0), 2);
    assert_memory_equal(out, "\x82\x00", 2);
    assert_int_equal(websocket_header_encode(out, WEBSOCKET_PONG, 125), 2);
    assert_memory_equal(out, "\x8A\x7D", 2);
    assert_int_equal(websocket_header_encode(out, WEBSOCKET_BINARY, 126), 4);
    assert_memory_equal(out, "\x82\x7E\x00\x7E", 4);
    assert_int_equal(websocket_header_encode(out, WEBSOCKET_BINARY, 65535), 4);
    assert_memory_equal(out, "\x82\x7E\xFF\xFF", 4);
    assert_int_equal(websocket_header_encode(out, WEBSOCKET_BINARY, 65536), 10);
    assert_memory_equal(out, "\x82\x7F\0\0\0\0\0\x01\0\0", 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_cut_gives_the_same_data_and_news),
        cmocka_unit_test(long_frames_are_unmasked_from_any_place_to_any_place),
        cmocka_unit_test(bad_headers_are_faults_as_soon_as_it_shows),
        cmocka_unit_test(the_longest_frame_is_only_a_number),
        cmocka_unit_test(parts_of_messages_come_in_their_order),
        cmocka_unit_test(close_codes_are_those_that_may_be_sent),
        cmocka_unit_test(nothing_after_the_end_is_looked_at),
        cmocka_unit_test(headers_of_the_server_are_as_short_as_can_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
