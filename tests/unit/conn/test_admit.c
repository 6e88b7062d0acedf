/* test_admit.c: newcomers, when many come at once (conn/admit.h). */
#include "tests/unit/conn/failing_memory.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "conn/admit.h"
#include "tests/unit/conn/harness.h"

#define NEWCOMERS 200u
#define A_TURN 32u /* read at once, and from the ring */

static bool fails_now;

static bool memory_fails(void)
{
    return fails_now;
}

/* A crowd that has sent its CONNECTs and was not looked at yet. */
struct crowd {
    struct harness *h;
    struct client *clients[NEWCOMERS];
    char ids[NEWCOMERS][8];
};

static void crowd_connect(struct crowd *crowd)
{
    for (uint32_t i = 0; i < NEWCOMERS; i++) {
        crowd->clients[i] = client_new(crowd->h, 0);
        snprintf(crowd->ids[i], sizeof(crowd->ids[i]), "n%u", i);
        client_connect_as(crowd->clients[i],
                          (struct connect){.id = crowd->ids[i], .clean_start = true});
    }
}

static struct crowd *crowd_new(struct harness *h)
{
    struct crowd *crowd = calloc(1, sizeof(*crowd));
    crowd->h = h;
    crowd_connect(crowd);
    return crowd;
}

static void crowd_free(struct crowd *crowd)
{
    harness_free(crowd->h);
    free(crowd);
}

static struct connection *connection_of(struct harness *h, const char *id)
{
    return harness_session(h, id, NULL)->sink;
}

static void ping(struct client *client)
{
    client_send(client, "\xC0\0", 2);
}

/* A client that has been here for a while. */
static struct client *old_client(struct harness *h)
{
    struct client *client = client_of(h, 0, "old", 0);
    for (uint32_t i = 0; i < ADMIT_READS; i++) {
        ping(client);
        harness_settle(h);
        client_expect(client, PACKET_PINGRESP);
    }
    return client;
}

static uint32_t waiting(struct harness *h)
{
    return harness_worker(h, 0)->admission.ring.count;
}

static void finish(struct harness *h)
{
    harness_admit(h);
    assert_false(h->group->reactors[0].is_crowded);
}

static void many_come_in_a_few_each_turn_oldest_first(void **state)
{
    (void)state;
    struct crowd *crowd = crowd_new(harness_new(1, ""));
    uint32_t in = 0;
    for (uint32_t turns = 0; in < NEWCOMERS; turns++) {
        assert_in_range(turns, 0, NEWCOMERS / 8);
        harness_turn(crowd->h, 0);
        uint32_t before = in;
        while (in < NEWCOMERS && client_next(crowd->clients[in]))
            in++;
        assert_in_range(in - before, 1, A_TURN);
        for (uint32_t i = in; i < NEWCOMERS; i++)
            client_expect_nothing(crowd->clients[i]);
    }
    assert_true(harness_metric(crowd->h, METRIC_ADMITTED_LATE) > NEWCOMERS / 2);
    finish(crowd->h);
    assert_int_equal(harness_worker(crowd->h, 0)->admission.ring.cap, 0); /* the places are free */
    crowd_free(crowd);
}

static void when_time_is_over_one_comes_in_each_turn(void **state)
{
    (void)state;
    struct crowd *crowd = crowd_new(harness_new(1, ""));
    crowd->h->group->read_budget_ns = 0;
    for (uint32_t i = 0; i < NEWCOMERS; i++) {
        harness_turn(crowd->h, 0);
        client_expect(crowd->clients[i], PACKET_CONNACK);
        if (i + 1 < NEWCOMERS)
            client_expect_nothing(crowd->clients[i + 1]);
    }
    crowd_free(crowd);
}

static void who_is_here_is_answered_before_them(void **state)
{
    (void)state;
    struct harness *h = harness_new(1, "");
    struct client *old = old_client(h);
    struct crowd *crowd = crowd_new(h);
    ping(old); /* comes last */
    harness_turn(h, 0);
    client_expect(old, PACKET_PINGRESP);
    assert_true(waiting(h) > NEWCOMERS / 2);
    crowd_free(crowd);
}

static void few_do_not_wait(void **state)
{
    (void)state;
    struct harness *h = harness_new(1, "");
    for (uint32_t i = 0; i < 10; i++) {
        char id[8];
        snprintf(id, sizeof(id), "f%u", i);
        client_of(h, 0, id, 0);
    }
    assert_int_equal(harness_metric(h, METRIC_ADMITTED_LATE), 0);
    harness_free(h);
}

static void while_they_wait_the_reactor_is_crowded(void **state)
{
    (void)state;
    struct crowd *crowd = crowd_new(harness_new(1, ""));
    harness_turn(crowd->h, 0);
    assert_true(crowd->h->group->reactors[0].is_crowded);
    finish(crowd->h);
    crowd_free(crowd);
}

static void what_they_send_while_they_wait_is_read_with_the_rest(void **state)
{
    (void)state;
    struct crowd *crowd = crowd_new(harness_new(1, ""));
    struct client *last = crowd->clients[NEWCOMERS - 1];
    harness_turn(crowd->h, 0);
    ping(last);
    harness_turn(crowd->h, 0);
    ping(last);
    finish(crowd->h);
    client_expect(last, PACKET_CONNACK);
    client_expect(last, PACKET_PINGRESP);
    client_expect(last, PACKET_PINGRESP);
    crowd_free(crowd);
}

static void those_that_leave_while_they_wait_are_noticed(void **state)
{
    (void)state;
    struct crowd *crowd = crowd_new(harness_new(1, ""));
    harness_turn(crowd->h, 0);
    for (uint32_t i = NEWCOMERS / 2; i < NEWCOMERS; i++)
        client_drop(crowd->clients[i]);
    finish(crowd->h);
    assert_int_equal(harness_metric(crowd->h, METRIC_CLIENTS_CONNECTED), NEWCOMERS / 2);
    assert_int_equal(harness_closed(crowd->h, CLOSE_CLIENT_GONE), NEWCOMERS / 2);
    crowd_free(crowd);
}

static void an_end_that_comes_with_the_last_words_is_noticed(void **state)
{
    (void)state;
    struct harness *h = harness_new(1, "");
    for (uint32_t reads = 0; reads <= ADMIT_READS; reads++) {
        struct client *client = client_new(h, 0);
        client_connect_as(client, (struct connect){.id = "e", .clean_start = true});
        for (uint32_t i = 0; i < reads; i++) {
            harness_settle(h);
            ping(client);
        }
        client_drop(client); /* in the same turn */
        harness_settle(h);
        assert_int_equal(harness_metric(h, METRIC_CLIENTS_CONNECTED), 0);
        assert_int_equal(harness_worker(h, 0)->connections.used, 0);
    }
    harness_free(h);
}

/* Larger than the reactor's buffer: one read does not take all. */
static void a_long_first_message_is_read_to_its_end(void **state)
{
    (void)state;
    struct harness *h = harness_new(1, "");
    struct client *s = client_of(h, 0, "S", 0);
    client_subscribe(s, "t", 0);
    struct client *p = client_new(h, 0);
    int bytes = 8 << 20;
    setsockopt(p->fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
    client_connect_as(p, (struct connect){.id = "P", .clean_start = true});
    uint32_t sent = 0;
    for (char payload[1024] = {0}; sent < 150; sent++)
        client_publish_bytes(p, "t", payload, sizeof(payload), 0, 0, false);
    harness_settle(h);
    assert_int_equal(harness_metric(h, METRIC_PUBLISH_RECEIVED), sent);
    harness_free(h);
}

/* A client by TCP, whose bytes come in two parts: both are there before the broker looks. */
static int tcp_client(struct harness *h)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof(name);
    int listening = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listening, (struct sockaddr *)&name, sizeof(name)), 0);
    assert_int_equal(listen(listening, 1), 0);
    assert_int_equal(getsockname(listening, (struct sockaddr *)&name, &bytes), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&name, sizeof(name)), 0);
    int accepted = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(accepted >= 0);
    connection_accept(&h->group->reactors[0], &h->listener, accepted, (struct sockaddr *)&name);
    close(listening);
    return fd;
}

static int unix_client(struct harness *h)
{
    int fds[2];
    struct sockaddr name = {.sa_family = AF_UNIX};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    connection_accept(&h->group->reactors[0], &h->listener, fds[0], &name);
    return fds[1];
}

static const uint8_t a_connect[] = "\x10\x0D\0\4MQTT\4\2\0\0\0\1u";
#define A_CONNECT_BYTES (sizeof(a_connect) - 1)
#define PART_BYTES 5u

static void send_rest(int fd)
{
    ssize_t rest = A_CONNECT_BYTES - PART_BYTES;
    assert_int_equal(send(fd, a_connect + PART_BYTES, (size_t)rest, 0), rest);
}

/* A read ends before an urgent byte, with more behind it. */
static void what_comes_behind_an_urgent_byte_is_read(void **state)
{
    (void)state;
    struct harness *h = harness_new(1, "");
    int fd = tcp_client(h);
    assert_int_equal(send(fd, a_connect, PART_BYTES, 0), PART_BYTES);
    assert_int_equal(send(fd, "!", 1, MSG_OOB), 1);
    send_rest(fd);
    harness_settle(h);
    assert_int_equal(harness_metric(h, METRIC_CLIENTS_CONNECTED), 1);
    close(fd);
    harness_free(h);
}

/* A read ends behind bytes that descriptors came with. */
static void what_comes_behind_a_descriptor_is_read(void **state)
{
    (void)state;
    struct harness *h = harness_new(1, "");
    int fd = unix_client(h);
    union {
        struct cmsghdr head;
        uint8_t bytes[CMSG_SPACE(sizeof(int))];
    } control = {.head = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
    memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
    struct iovec part = {(void *)a_connect, PART_BYTES};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control.bytes)};
    assert_int_equal(sendmsg(fd, &message, 0), PART_BYTES);
    send_rest(fd);
    harness_settle(h);
    assert_int_equal(harness_metric(h, METRIC_CLIENTS_CONNECTED), 1);
    close(fd);
    harness_free(h);
}

static void those_that_are_closed_while_they_wait_are_passed_over(void **state)
{
    (void)state;
    struct crowd *crowd = crowd_new(harness_new(1, ""));
    struct worker *worker = harness_worker(crowd->h, 0);
    harness_turn(crowd->h, 0);
    for (uint32_t handle = 0; (handle = slab_next(&worker->connections, handle)) != 0;) {
        struct connection *connection = slab_at(&worker->connections, handle);
        if (connection->hold & HOLD_ADMIT)
            connection_close_plain(worker, connection, CLOSE_ADMIN);
    }
    finish(crowd->h);
    assert_in_range(harness_metric(crowd->h, METRIC_CLIENTS_CONNECTED), 1, A_TURN);
    assert_in_range(worker->connections.used, 1, A_TURN);
    crowd_free(crowd);
}

static void waiting_here_is_not_the_clients_fault(void **state)
{
    (void)state;
    struct crowd *crowd = crowd_new(harness_new(1, "connect_timeout 5\n"));
    harness_turn(crowd->h, 0);
    clock_turn_ms(60000);
    finish(crowd->h);
    assert_int_equal(harness_metric(crowd->h, METRIC_CLIENTS_CONNECTED), NEWCOMERS);
    harness_free(crowd->h);
    free(crowd);
}

static void without_memory_to_wait_they_are_read_at_once(void **state)
{
    (void)state;
    struct harness *h = harness_new(1, "");
    struct crowd *crowd = crowd_new(h);
    fails_now = true; /* so that no session can be made either: the answer says so */
    harness_turn(h, 0);
    fails_now = false;
    assert_int_equal(waiting(h), 0);
    harness_settle(h);
    assert_int_equal(harness_metric(h, METRIC_CONNECT_RECEIVED), NEWCOMERS);
    crowd_free(crowd);
}

static void a_newcomer_becomes_like_all_others(void **state)
{
    (void)state;
    struct harness *h = harness_new(1, "");
    old_client(h);
    const struct connection *connection = connection_of(h, "old");
    assert_false(admit_is_newcomer(connection));
    assert_int_equal(connection->io.interest, EPOLLIN);
    struct client *young = client_of(h, 0, "young", 0);
    assert_int_equal(connection_of(h, "young")->io.interest, EPOLLIN | IO_EDGE);
    client_drop(young);
    harness_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_come_in_a_few_each_turn_oldest_first),
        cmocka_unit_test(when_time_is_over_one_comes_in_each_turn),
        cmocka_unit_test(who_is_here_is_answered_before_them),
        cmocka_unit_test(few_do_not_wait),
        cmocka_unit_test(while_they_wait_the_reactor_is_crowded),
        cmocka_unit_test(what_they_send_while_they_wait_is_read_with_the_rest),
        cmocka_unit_test(those_that_leave_while_they_wait_are_noticed),
        cmocka_unit_test(an_end_that_comes_with_the_last_words_is_noticed),
        cmocka_unit_test(a_long_first_message_is_read_to_its_end),
        cmocka_unit_test(what_comes_behind_an_urgent_byte_is_read),
        cmocka_unit_test(what_comes_behind_a_descriptor_is_read),
        cmocka_unit_test(those_that_are_closed_while_they_wait_are_passed_over),
        cmocka_unit_test(waiting_here_is_not_the_clients_fault),
        cmocka_unit_test(without_memory_to_wait_they_are_read_at_once),
        cmocka_unit_test(a_newcomer_becomes_like_all_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
