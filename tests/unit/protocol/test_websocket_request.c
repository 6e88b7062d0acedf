/* test_websocket_request.c: the HTTP request of mqtt/websocket.h, good and bad, cut at each byte.
 */
#include "tests/unit/protocol/testing.h"

#include "mqtt/websocket.h"

#define LINE "GET /mqtt HTTP/1.1\r\n"
#define HOST "Host: broker.example.org:8080\r\n"
#define UPGRADE "Upgrade: websocket\r\n"
#define CONNECTION "Connection: Upgrade\r\n"
#define VERSION "Sec-WebSocket-Version: 13\r\n"
#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define OFFER "Sec-WebSocket-Protocol: mqtt\r\n"

static enum websocket_result parse_exact(struct slice in, struct websocket_request *out,
                                         const struct websocket_refusal **refusal)
{
    uint8_t *copy = exact_copy(in);
    enum websocket_result result = websocket_request_parse(slice_of(copy, in.len), out, refusal);
    if (result == WEBSOCKET_READY)
        out->key.ptr = in.ptr + (out->key.ptr - copy);
    free(copy);
    return result;
}

static void expect_good(const char *text, const char *subprotocol)
{
    struct slice in = slice_str(text);
    struct websocket_request request;
    const struct websocket_refusal *refusal;
    for (size_t cut = 0; cut < in.len; cut++) {
        assert_int_equal(parse_exact(slice_of(in.ptr, cut), &request, &refusal), WEBSOCKET_SHORT);
        assert_null(refusal);
    }
    assert_int_equal(parse_exact(in, &request, &refusal), WEBSOCKET_READY);
    assert_int_equal(request.bytes, in.len);
    expect_slice(request.key, "dGhlIHNhbXBsZSBub25jZQ==");
    expect_slice(request.subprotocol, subprotocol);
}

/* A beginning is short, or is refused for the same. */
static void expect_refused(const char *text, uint16_t status)
{
    struct slice in = slice_str(text);
    struct websocket_request request;
    const struct websocket_refusal *refusal, *early;
    assert_int_equal(parse_exact(in, &request, &refusal), WEBSOCKET_BAD);
    assert_int_equal(refusal->status, status);
    assert_true(refusal->text[0]);
    for (size_t cut = 0; cut < in.len; cut++) {
        if (parse_exact(slice_of(in.ptr, cut), &request, &early) != WEBSOCKET_SHORT)
            assert_ptr_equal(early, refusal);
    }
}

static void a_request_is_ready_with_its_last_byte(void **state)
{
    (void)state;
    expect_good(LINE HOST UPGRADE CONNECTION VERSION KEY OFFER "\r\n", "mqtt");
}

static void names_and_words_are_found_however_they_are_written(void **state)
{
    (void)state;
    expect_good("GET http://b/?x=1 HTTP/1.1\r\n"
                "HOST:b\r\nOrigin: https://example.org\r\nX-Empty:\r\n"
                "upgrade: h2c ,\tWebSocket\r\nconnection: keep-alive, UPGRADE\r\n"
                "sec-websocket-version:13 \r\nSEC-WEBSOCKET-KEY: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                "Sec-WebSocket-Extensions: permessage-deflate\r\n"
                "sec-websocket-protocol: chat\r\nsec-websocket-protocol: mqttv3.1,,mqtt\r\n\r\n",
                "mqtt");
    expect_good(LINE HOST UPGRADE "Connection: close\r\n" CONNECTION VERSION KEY
                                  "Sec-WebSocket-Protocol: mqttv3.1\r\n\r\n",
                "mqttv3.1");
}

static void what_lacks_is_refused(void **state)
{
    (void)state;
    expect_refused(LINE UPGRADE CONNECTION VERSION KEY OFFER "\r\n", 400);
    expect_refused(LINE HOST HOST UPGRADE CONNECTION VERSION KEY OFFER "\r\n", 400);
    expect_refused(LINE HOST CONNECTION VERSION KEY OFFER "\r\n", 426);
    expect_refused(LINE HOST UPGRADE VERSION KEY OFFER "\r\n", 426);
    expect_refused(LINE HOST UPGRADE CONNECTION KEY OFFER "\r\n", 426);
    expect_refused(LINE HOST UPGRADE CONNECTION "Sec-WebSocket-Version: 8\r\n" KEY OFFER "\r\n",
                   426);
    expect_refused(LINE HOST UPGRADE CONNECTION VERSION VERSION KEY OFFER "\r\n", 426);
    expect_refused(LINE HOST UPGRADE CONNECTION VERSION OFFER "\r\n", 400);
    expect_refused(LINE HOST UPGRADE CONNECTION VERSION KEY KEY OFFER "\r\n", 400);
    expect_refused(LINE HOST UPGRADE CONNECTION VERSION KEY "\r\n", 400);
    expect_refused(LINE HOST UPGRADE CONNECTION VERSION KEY "Sec-WebSocket-Protocol: Mqtt\r\n\r\n",
                   400);
    expect_refused(LINE "\r\n", 400);
}

static void keys_are_sixteen_bytes(void **state)
{
    (void)state;
    static const char *const keys[] = {"",
                                       "dGhlIHNhbXBsZSBub25jZQ=",
                                       "dGhlIHNhbXBsZSBub25jZQA=",
                                       "dGhlIHNhbXBsZSBub25j Q==",
                                       "dGhlIHNhbXBsZSBub25jZQ==x",
                                       "dGhlIHNhbXBsZSBub25j-Q=="};
    for (size_t i = 0; i < ARRAY_COUNT(keys); i++) {
        char text[512];
        snprintf(text, sizeof(text),
                 LINE HOST UPGRADE CONNECTION VERSION OFFER "Sec-WebSocket-Key: %s\r\n\r\n",
                 keys[i]);
        expect_refused(text, 400);
    }
}

static void what_is_no_http_is_refused_at_once(void **state)
{
    (void)state;
    expect_refused("\x10", 0);         /* CONNECT */
    expect_refused("\x16\x03\x01", 0); /* TLS */
    expect_refused("POST", 405);
    expect_refused("GETX", 405);
    expect_refused("get ", 0);
    expect_refused("GET \r\n\r\n", 400);
    expect_refused("GET / HTTP/1.0\r\n\r\n", 505);
    expect_refused("GET / HTTP/2\r\n\r\n", 505);
    expect_refused("GET / a HTTP/1.1\r\n\r\n", 400);
    expect_refused("GET  HTTP/1.1\r\n\r\n", 400);
}

static void malformed_lines_are_refused(void **state)
{
    (void)state;
    static const char *const lines[] = {" folded\r\n", "nothing\r\n",  ": x\r\n",    "a b: x\r\n",
                                        "a: \x01\r\n", "a: x\x7F\r\n", "a: b\nc: d", "a\n"};
    for (size_t i = 0; i < ARRAY_COUNT(lines); i++) {
        char text[512];
        snprintf(text, sizeof(text), LINE HOST UPGRADE CONNECTION VERSION KEY OFFER "%s\r\n\r\n",
                 lines[i]);
        expect_refused(text, 400);
    }
}

static void a_request_has_its_largest_size(void **state)
{
    (void)state;
    static const char head[] = LINE HOST UPGRADE CONNECTION VERSION KEY OFFER "X: ";
    for (size_t more = 0; more < 2; more++) {
        size_t size = WEBSOCKET_REQUEST_BYTES_MAX + more;
        char *text = malloc(size + 1);
        memset(text, 'x', size);
        memcpy(text, head, sizeof(head) - 1);
        memcpy(text + size - 4, "\r\n\r\n", 5);
        struct websocket_request request;
        const struct websocket_refusal *refusal;
        enum websocket_result result = parse_exact(slice_of(text, size), &request, &refusal);
        assert_int_equal(result, more ? WEBSOCKET_BAD : WEBSOCKET_READY);
        if (more)
            assert_int_equal(refusal->status, 431);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_ready_with_its_last_byte),
        cmocka_unit_test(names_and_words_are_found_however_they_are_written),
        cmocka_unit_test(what_lacks_is_refused),
        cmocka_unit_test(keys_are_sixteen_bytes),
        cmocka_unit_test(what_is_no_http_is_refused_at_once),
        cmocka_unit_test(malformed_lines_are_refused),
        cmocka_unit_test(a_request_has_its_largest_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
