/* test_websocket_transport.c: transport/websocket.h over a pair of sockets: what is written when
 * the peer reads late, and how it ends. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/mem.h"
#include "mqtt/websocket.h"
#include "transport/websocket.h"

#define REQUEST                                                                    \
    "GET / HTTP/1.1\r\nHost: b\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"   \
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" \
    "Sec-WebSocket-Protocol: mqtt\r\n\r\n"
#define ANSWER                                                                          \
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" \
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
#define PING "\x89\x84\0\0\0\0ping"

struct pair {
    struct transport *transport;
    int here, there;
};

static void pair_open(struct pair *pair)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    pair->here = fds[0];
    pair->there = fds[1];
    setsockopt(pair->here, SOL_SOCKET, SO_SNDBUF, &(int){4096}, sizeof(int));
    pair->transport = transport_table[TRANSPORT_WEBSOCKET]->make();
    assert_non_null(pair->transport);
}

static void pair_close(struct pair *pair)
{
    transport_free(pair->transport);
    close(pair->here);
    close(pair->there);
}

static ssize_t say(struct pair *pair, const void *bytes, size_t len, uint8_t *at)
{
    size_t raw;
    assert_int_equal(send(pair->there, bytes, len, 0), len);
    ssize_t got = pair->transport->ops->read(pair->transport, pair->here, at, 65536, &raw);
    assert_int_equal(raw, len);
    return got;
}

/* Writes `len` bytes of `data` until the socket is full; returns how many went. */
static size_t write_some(struct pair *pair, const uint8_t *data, size_t len)
{
    size_t at = 0, raw;
    while (at < len || pair->transport->wants_write) {
        struct iovec iov[2] = {{(void *)(data + at), (len - at) / 2},
                               {(void *)(data + at + (len - at) / 2), len - at - (len - at) / 2}};
        ssize_t part = pair->transport->ops->write(pair->transport, pair->here, iov,
                                                   at < len ? 2 : 0, len - at, &raw);
        assert_true(part >= 0);
        at += (size_t)part;
        if (pair->transport->is_full)
            break;
    }
    return at;
}

static size_t hear(struct pair *pair, uint8_t *at, size_t room)
{
    ssize_t got = recv(pair->there, at, room, 0);
    return got > 0 ? (size_t)got : 0;
}

static void open_up(struct pair *pair)
{
    uint8_t bytes[65536];
    pair_open(pair);
    assert_int_equal(say(pair, REQUEST, sizeof(REQUEST) - 1, bytes), 0);
    assert_null(pair->transport->fault);
    assert_true(pair->transport->wants_write);
    write_some(pair, NULL, 0);
    assert_false(pair->transport->wants_write);
    assert_int_equal(hear(pair, bytes, sizeof(bytes)), sizeof(ANSWER) - 1);
    assert_memory_equal(bytes, ANSWER, sizeof(ANSWER) - 1);
}

static void tcp_needs_no_transport(void **state)
{
    (void)state;
    assert_null(transport_table[TRANSPORT_TCP]);
    transport_free(NULL);
}

static void a_request_is_answered_and_may_come_in_any_pieces(void **state)
{
    (void)state;
    struct pair pair;
    uint8_t bytes[65536];
    static const char all[] = REQUEST "\x82\x82\0\0\0\0hi";
    for (size_t cut = 1; cut < sizeof(all) - 1; cut++) {
        pair_open(&pair);
        ssize_t first = say(&pair, all, cut, bytes);
        assert_true(first >= 0);
        ssize_t second = say(&pair, all + cut, sizeof(all) - 1 - cut, bytes + first);
        assert_int_equal(first + second, 2);
        assert_memory_equal(bytes, "hi", 2);
        write_some(&pair, NULL, 0);
        assert_int_equal(hear(&pair, bytes, sizeof(bytes)), sizeof(ANSWER) - 1);
        pair_close(&pair);
    }
}

static void requests_are_kept_up_to_their_largest_size(void **state)
{
    (void)state;
    struct pair pair;
    uint8_t bytes[65536];
    size_t before = mem_used_bytes(), sent = 0;
    pair_open(&pair);
    say(&pair, "GET / HTTP/1.1\r\n", 16, bytes);
    while (!pair.transport->fault && sent < 20000)
        sent += say(&pair, "X: y\r\n", 6, bytes) == 0 ? 6 : 0;
    assert_true(sent + 16 >= WEBSOCKET_REQUEST_BYTES_MAX && sent < WEBSOCKET_REQUEST_BYTES_MAX);
    write_some(&pair, NULL, 0);
    assert_true(hear(&pair, bytes, sizeof(bytes)) > 12);
    assert_memory_equal(bytes, "HTTP/1.1 431", 12);
    pair_close(&pair);
    assert_int_equal(mem_used_bytes(), before);
}

static void what_waits_is_one_frame_however_slowly_it_is_read(void **state)
{
    (void)state;
    struct pair pair;
    static uint8_t data[100000], heard[200000];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 31);
    open_up(&pair);
    size_t sent = write_some(&pair, data, sizeof(data)), got = 0;
    assert_true(sent < sizeof(data) && pair.transport->is_full);
    static uint8_t scratch[65536];
    say(&pair, PING, sizeof(PING) - 1, scratch); /* answered when the frame is whole */
    while (sent < sizeof(data) || pair.transport->wants_write) {
        got += hear(&pair, heard + got, 1000);
        sent += write_some(&pair, data + sent, sizeof(data) - sent);
    }
    for (size_t part = 1; part; got += part)
        part = hear(&pair, heard + got, sizeof(heard) - got);
    assert_int_equal(got, 10 + sizeof(data) + 6);
    assert_memory_equal(heard, "\x82\x7F\0\0\0\0\x00\x01\x86\xA0", 10);
    assert_memory_equal(heard + 10, data, sizeof(data));
    assert_memory_equal(heard + 10 + sizeof(data), "\x8A\x04ping", 6);
    pair_close(&pair);
}

static void of_many_pings_the_last_is_answered(void **state)
{
    (void)state;
    struct pair pair;
    uint8_t bytes[65536];
    open_up(&pair);
    size_t before = mem_used_bytes();
    for (int i = 0; i < 1000; i++)
        assert_int_equal(say(&pair, "\x89\x81\0\0\0\0x" PING, 17, bytes), 0);
    assert_true(mem_used_bytes() - before < 1000);
    assert_int_equal(write_some(&pair, (const uint8_t *)"data", 4), 4);
    assert_int_equal(hear(&pair, bytes, sizeof(bytes)), 12);
    assert_memory_equal(bytes,
                        "\x8A\x04ping\x82\x04"
                        "data",
                        12);
    pair_close(&pair);
}

static void the_last_word_comes_last_and_once(void **state)
{
    (void)state;
    static const struct {
        enum transport_end how;
        const char *bytes;
    } rows[] = {{TRANSPORT_END_CALM, "\x88\x02\x03\xE8"},
                {TRANSPORT_END_SHUTDOWN, "\x88\x02\x03\xE9"},
                {TRANSPORT_END_REFUSED, "\x88\x02\x03\xF0"}};
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct pair pair;
        uint8_t bytes[65536];
        open_up(&pair);
        pair.transport->ops->finish(pair.transport, rows[i].how);
        pair.transport->ops->finish(pair.transport, TRANSPORT_END_REFUSED);
        assert_int_equal(write_some(&pair, (const uint8_t *)"data", 4), 4);
        assert_int_equal(hear(&pair, bytes, sizeof(bytes)), 10);
        assert_memory_equal(bytes, "\x82\x04", 2);
        assert_memory_equal(bytes + 6, rows[i].bytes, 4);
        assert_int_equal(say(&pair, "\x82\x81\0\0\0\0x", 7, bytes), 0); /* not looked at */
        pair_close(&pair);
    }
}

static void faults_follow_the_data_before_them(void **state)
{
    (void)state;
    struct pair pair;
    uint8_t bytes[65536];
    open_up(&pair);
    assert_int_equal(say(&pair, "\x82\x81\0\0\0\0x\x81", 8, bytes), 1);
    assert_int_equal(bytes[0], 'x');
    assert_non_null(pair.transport->fault);
    assert_false(pair.transport->is_over);
    write_some(&pair, NULL, 0);
    assert_int_equal(hear(&pair, bytes, sizeof(bytes)), 4);
    assert_memory_equal(bytes, "\x88\x02\x03\xEB", 4);
    pair_close(&pair);
}

static void a_close_is_answered_with_its_code(void **state)
{
    (void)state;
    struct pair pair;
    uint8_t bytes[65536];
    open_up(&pair);
    assert_int_equal(say(&pair, "\x88\x82\0\0\0\0\x0F\xA0", 8, bytes), 0);
    assert_true(pair.transport->is_over);
    pair.transport->ops->finish(pair.transport, TRANSPORT_END_CALM);
    write_some(&pair, NULL, 0);
    assert_int_equal(hear(&pair, bytes, sizeof(bytes)), 4);
    assert_memory_equal(bytes, "\x88\x02\x0F\xA0", 4);
    pair_close(&pair);
}

static void the_end_of_the_socket_is_told(void **state)
{
    (void)state;
    struct pair pair;
    uint8_t bytes[16];
    size_t raw;
    struct iovec iov = {"x", 1};
    open_up(&pair);
    assert_int_equal(pair.transport->ops->read(pair.transport, pair.here, bytes, 16, &raw), 0);
    shutdown(pair.there, SHUT_WR);
    assert_int_equal(pair.transport->ops->read(pair.transport, pair.here, bytes, 16, &raw),
                     TRANSPORT_GONE);
    close(pair.there);
    pair.there = dup(pair.here);
    assert_int_equal(pair.transport->ops->write(pair.transport, pair.here, &iov, 1, 1, &raw),
                     TRANSPORT_FAILED);
    pair_close(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tcp_needs_no_transport),
        cmocka_unit_test(a_request_is_answered_and_may_come_in_any_pieces),
        cmocka_unit_test(requests_are_kept_up_to_their_largest_size),
        cmocka_unit_test(what_waits_is_one_frame_however_slowly_it_is_read),
        cmocka_unit_test(of_many_pings_the_last_is_answered),
        cmocka_unit_test(the_last_word_comes_last_and_once),
        cmocka_unit_test(faults_follow_the_data_before_them),
        cmocka_unit_test(a_close_is_answered_with_its_code),
        cmocka_unit_test(the_end_of_the_socket_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
