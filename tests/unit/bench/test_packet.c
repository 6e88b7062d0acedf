/* test_packet.c: bench/packet.h, against bytes written out by hand. */
#include "tests/unit/bench/testing.h"

#include <sys/wait.h>
#include <unistd.h>

#include "bench/packet.h"

#define BYTES(...) ((const uint8_t[]){__VA_ARGS__})
#define ASSERT_BYTES(b, ...)                                               \
    do {                                                                   \
        assert_int_equal((b).len, sizeof((const uint8_t[]){__VA_ARGS__})); \
        assert_memory_equal((b).ptr, BYTES(__VA_ARGS__), (b).len);         \
    } while (0)

/* How the program ends when so much room is asked for: its status, or -1 for a signal. */
static int status_of_reserve(uint32_t len, uint32_t more)
{
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct buf b = {.len = len};
        alarm(20); /* rather than for ever */
        close(STDERR_FILENO);
        buf_reserve(&b, more);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void a_buffer_beyond_a_gibibyte_ends_the_program_with_a_word(void **state)
{
    (void)state;
    assert_int_equal(status_of_reserve(0, 1000), 0);
    assert_int_equal(status_of_reserve(0, BUF_BYTES_MAX + 1), 1);
    assert_int_equal(status_of_reserve(BUF_BYTES_MAX, 1), 1);
    assert_int_equal(status_of_reserve(1u << 31, 1), 1);
    assert_int_equal(status_of_reserve(UINT32_MAX, 2), 1);
}

static void connect_has_what_the_version_has(void **state)
{
    (void)state;
    struct buf b = {0};
    struct login login = {"ab", NULL, NULL, 60};
    packet_connect(&b, 4, &login);
    ASSERT_BYTES(b, 0x10, 14, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60, 0, 2, 'a', 'b');
    b.len = 0;
    packet_connect(&b, 5, &login);
    ASSERT_BYTES(b, 0x10, 15, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 60, 0, 0, 2, 'a', 'b');
    b.len = 0;
    login.username = "u";
    login.password = "pw";
    packet_connect(&b, 3, &login);
    ASSERT_BYTES(b, 0x10, 23, 0, 6, 'M', 'Q', 'I', 's', 'd', 'p', 3, 0xc2, 0, 60, 0, 2, 'a', 'b', 0,
                 1, 'u', 0, 2, 'p', 'w');
    buf_free(&b);
}

static void subscribe_has_a_length_as_short_as_can_be(void **state)
{
    (void)state;
    struct buf b = {0};
    struct frame frame;
    uint32_t begun = packet_subscribe_begin(&b, 4, 7);
    packet_subscribe_filter(&b, "a/+", 1);
    packet_subscribe_end(&b, begun);
    ASSERT_BYTES(b, 0x82, 8, 0, 7, 0, 3, 'a', '/', '+', 1);
    begun = packet_subscribe_begin(&b, 5, 8); /* behind another packet */
    for (uint32_t i = 0; i < 4000; i++)
        packet_subscribe_filter(&b, "a/b", 0);
    packet_subscribe_end(&b, begun);
    assert_int_equal(packet_next(b.ptr + begun, b.len - begun, &frame), b.len - begun);
    assert_int_equal(frame.len, 3 + 4000 * 6);
    assert_int_equal(b.len - begun - frame.len, 4);
    assert_memory_equal(frame.body, BYTES(0, 8, 0, 0, 3, 'a', '/', 'b', 0), 9);
    buf_free(&b);
}

static void publish_is_read_as_it_was_written(void **state)
{
    (void)state;
    for (int version = 3; version <= 5; version++) {
        for (int qos = 0; qos <= 2; qos++) {
            struct buf b = {0};
            struct frame frame;
            struct publish publish;
            struct publish_form form = packet_publish(&b, version, "t/1", qos, 300);
            assert_int_equal(packet_next(b.ptr, b.len, &frame), b.len);
            assert_true(packet_read_publish(&frame, version, &publish));
            assert_int_equal(publish.qos, qos);
            assert_int_equal(publish.len, 300);
            assert_ptr_equal(publish.payload, b.ptr + form.payload_at);
            assert_ptr_equal(publish.topic, b.ptr + form.topic_at);
            assert_int_equal(publish.topic_len, 3);
            assert_int_equal(form.id_at != 0, qos > 0);
            buf_free(&b);
        }
    }
}

static void a_packet_cut_at_any_byte_is_not_whole(void **state)
{
    (void)state;
    struct buf b = {0};
    struct frame frame;
    packet_publish(&b, 5, "topic", 1, 200);
    for (uint32_t len = 0; len < b.len; len++)
        assert_int_equal(packet_next(b.ptr, len, &frame), 0);
    assert_int_equal(packet_next(BYTES(0x30, 0x80, 0x80, 0x80, 0x80, 1), 6, &frame), -1);
    buf_free(&b);
}

/* What a broker may send by mistake is refused; nothing is read behind the packet's end. */
static void a_publish_with_wrong_lengths_is_refused(void **state)
{
    (void)state;
    struct buf b = {0};
    struct frame frame;
    struct publish publish;
    packet_publish(&b, 5, "topic", 1, 0);
    packet_next(b.ptr, b.len, &frame);
    for (uint32_t len = 0; len < frame.len; len++) {
        uint8_t *copy = malloc(len + 1);
        memcpy(copy, frame.body, len);
        struct frame cut = {copy, len, frame.type, frame.flags};
        assert_false(packet_read_publish(&cut, 5, &publish));
        free(copy);
    }
    buf_free(&b);
}

static int reason_of(const uint8_t *bytes, size_t len, int version)
{
    struct frame frame;
    assert_int_equal(packet_next(bytes, len, &frame), len);
    return packet_reason(&frame, version);
}

static void reasons_are_found(void **state)
{
    (void)state;
    assert_int_equal(reason_of(BYTES(0x20, 2, 0, 5), 4, 4), 5);
    assert_int_equal(reason_of(BYTES(0x20, 3, 0, 0x87, 0), 5, 5), 0x87);
    assert_int_equal(reason_of(BYTES(0x40, 2, 0, 1), 4, 5), 0);
    assert_int_equal(reason_of(BYTES(0x40, 3, 0, 1, 0x97), 5, 5), 0x97);
    assert_int_equal(reason_of(BYTES(0xe0, 1, 0x8b), 3, 5), 0x8b);
    assert_int_equal(reason_of(BYTES(0x90, 5, 0, 1, 1, 0x80, 1), 7, 4), 0x80);
    assert_int_equal(reason_of(BYTES(0x90, 5, 0, 1, 0, 1, 0x87), 7, 5), 0x87);
    assert_int_equal(reason_of(BYTES(0x90, 2, 0, 1), 4, 4), 0x81);
}

static void receive_maximum_is_found_among_properties(void **state)
{
    (void)state;
    static const uint8_t connack[] = {0x20, 17,  0,    0, 14, 0x22, 0, 9,    0x1f, 0,
                                      1,    'x', 0x21, 0, 20, 0x24, 1, 0x2a, 1};
    struct frame frame;
    assert_int_equal(packet_next(connack, sizeof connack, &frame), sizeof connack);
    assert_int_equal(packet_receive_maximum(&frame, 5), 20);
    assert_int_equal(packet_receive_maximum(&frame, 4), 65535);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_buffer_beyond_a_gibibyte_ends_the_program_with_a_word),
        cmocka_unit_test(connect_has_what_the_version_has),
        cmocka_unit_test(subscribe_has_a_length_as_short_as_can_be),
        cmocka_unit_test(publish_is_read_as_it_was_written),
        cmocka_unit_test(a_packet_cut_at_any_byte_is_not_whole),
        cmocka_unit_test(a_publish_with_wrong_lengths_is_refused),
        cmocka_unit_test(reasons_are_found),
        cmocka_unit_test(receive_maximum_is_found_among_properties),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
