/* test_websocket.c: bench/websocket.h, against bytes written out by hand, and cut at each byte. */
#include "tests/unit/bench/testing.h"

#include "bench/websocket.h"

#include <stdlib.h>

static void a_frame_has_all_that_waits_and_a_mask_of_zero(void **state)
{
    (void)state;
    struct websocket ws = {0};
    struct buf out = {0};
    assert_int_equal(websocket_wrap(&ws, &out), 0);
    buf_append(&out, "abc", 3);
    assert_int_equal(websocket_wrap(&ws, &out), 9);
    assert_memory_equal(out.ptr, "\x82\x83\0\0\0\0abc", 9);
    buf_append(&out, "later", 5);
    assert_int_equal(websocket_wrap(&ws, &out), 9); /* the first one has not gone */
    buf_drop(&out, 9);
    ws.framed = 0;
    assert_int_equal(websocket_wrap(&ws, &out), 11);
    assert_memory_equal(out.ptr, "\x82\x85\0\0\0\0later", 11);
    buf_free(&out);
}

static void long_frames_have_long_lengths(void **state)
{
    (void)state;
    static const struct {
        uint32_t len, header;
        const char *bytes;
    } rows[] = {{125, 2, "\x82\xfd"},
                {126, 4, "\x82\xfe\0\x7e"},
                {65535, 4, "\x82\xfe\xff\xff"},
                {65536, 10, "\x82\xff\0\0\0\0\0\x01\0\0"}};
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct websocket ws = {0};
        struct buf out = {0};
        memset(buf_reserve(&out, rows[i].len), 'x', rows[i].len);
        out.len = rows[i].len;
        assert_int_equal(websocket_wrap(&ws, &out), rows[i].len + rows[i].header + 4);
        assert_memory_equal(out.ptr, rows[i].bytes, rows[i].header);
        assert_int_equal(out.ptr[rows[i].header + 4], 'x');
        buf_free(&out);
    }
}

/* Three frames with MQTT, of which one has a long length and one is a continuation; a ping; an empty one. */
static size_t make_stream(uint8_t *p, uint8_t *payload, size_t *payload_len)
{
    static const uint8_t first[] = {0x82, 3, 'a', 'b', 'c', 0x89, 2, '?', '?', 0x82, 0};
    size_t len = sizeof first;
    memcpy(p, first, len);
    memcpy(payload, "abc", 3);
    memcpy(p + len, "\x02\x7e\x01\x00", 4);
    memset(p + len + 4, 'y', 256);
    memcpy(p + len + 260, "\x80\x01z", 3);
    memset(payload + 3, 'y', 256);
    payload[259] = 'z';
    *payload_len = 260;
    return len + 263;
}

static void headers_are_taken_out_wherever_the_stream_is_cut(void **state)
{
    (void)state;
    uint8_t stream[512], payload[512], got[512];
    size_t want, len = make_stream(stream, payload, &want);
    for (size_t cut = 0; cut <= len; cut++) {
        struct websocket ws = {0};
        uint8_t *first = malloc(cut + 1), *second = malloc(len - cut + 1);
        memcpy(first, stream, cut);
        memcpy(second, stream + cut, len - cut);
        long a = websocket_unwrap(&ws, first, cut), b = websocket_unwrap(&ws, second, len - cut);
        assert_true(a >= 0 && b >= 0);
        memcpy(got, first, (size_t)a);
        memcpy(got + a, second, (size_t)b);
        assert_int_equal(a + b, want);
        assert_memory_equal(got, payload, want);
        free(first);
        free(second);
    }
}

static void a_close_a_mask_and_text_end_it(void **state)
{
    (void)state;
    uint8_t rows[][3] = {{0x88, 0, 0}, {0x82, 0x81, 0}, {0x81, 1, 'a'}};
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct websocket ws = {0};
        assert_int_equal(websocket_unwrap(&ws, rows[i], 3), -1);
    }
}

static void only_a_101_is_an_answer(void **state)
{
    (void)state;
    static const char yes[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
    static const char no[] = "HTTP/1.1 404 Not Found\r\n\r\n";
    for (size_t len = 0; len < sizeof yes - 1; len++)
        assert_int_equal(websocket_answer((const uint8_t *)yes, len), 0);
    assert_int_equal(websocket_answer((const uint8_t *)yes, sizeof yes - 1), sizeof yes - 1);
    assert_int_equal(websocket_answer((const uint8_t *)no, sizeof no - 1), -1);
    assert_int_equal(websocket_answer((const uint8_t *)"\x20\x02\0\0", 4), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_has_all_that_waits_and_a_mask_of_zero),
        cmocka_unit_test(long_frames_have_long_lengths),
        cmocka_unit_test(headers_are_taken_out_wherever_the_stream_is_cut),
        cmocka_unit_test(a_close_a_mask_and_text_end_it),
        cmocka_unit_test(only_a_101_is_an_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
