/*
 * test_ready.c: a member of a share group whose output is full is passed over while another can take
 * messages, and gets its share again when it reads (deliver_update_ready() in conn/deliver.h).
 */
#include "tests/unit/conn/harness.h"

#define FILTER "$share/g/t"

struct group {
    struct harness *h;
    struct client *p, *idle, *stuck;
    uint32_t at_idle, at_stuck; /* PUBLISH that came */
};

/* Two members on the reactors 0 and `reactor`, of which the latter's socket takes little. */
static struct group group_new(uint32_t reactor, const char *config, uint8_t qos)
{
    struct group g = {.h = harness_new(reactor + 1, config)};
    int bytes = 4096;
    g.p = client_of(g.h, 0, "P", 0);
    g.idle = client_of(g.h, 0, "idle", 0);
    g.stuck = client_of(g.h, reactor, "stuck", 0);
    client_subscribe(g.idle, FILTER, qos);
    client_subscribe(g.stuck, FILTER, qos);
    const struct connection *connection = harness_session(g.h, "stuck", NULL)->sink;
    BUG_ON(setsockopt(connection->io.fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)));
    return g;
}

static uint8_t stuck_is(const struct group *g)
{
    return slot_of(&g->h->broker.slots, harness_session(g->h, "stuck", NULL)->slot)->ready;
}

static uint32_t read_publishes(struct client *c)
{
    uint32_t count = 0;
    for (; client_next(c); count += c->type == PACKET_PUBLISH) {
        if (c->type == PACKET_PUBLISH && c->flags & 6)
            client_ack(c, PACKET_PUBACK, client_got(c).packet_id);
    }
    return count;
}

/* One after the other; the idle member reads each at once. */
static void publish(struct group *g, const char *topic, uint32_t count, size_t bytes, uint8_t qos)
{
    static uint8_t payload[8000];
    for (uint32_t i = 0; i < count; i++) {
        client_publish_bytes(g->p, topic, payload, bytes, qos, 1, false);
        harness_settle(g->h);
        g->at_idle += read_publishes(g->idle);
        harness_settle(g->h);
        read_publishes(g->p); /* PUBACK */
    }
}

static void read_all(struct group *g)
{
    uint32_t before;
    do {
        before = g->at_stuck;
        g->at_stuck += read_publishes(g->stuck);
        harness_settle(g->h);
    } while (g->at_stuck != before);
}

/* All come, most of them at the member that reads; when the other one reads, they share again. */
static void expect_others_first(struct group *g, size_t bytes)
{
    publish(g, "t", 1000, bytes, 0);
    assert_int_equal(stuck_is(g), SLOT_BUSY);
    assert_int_equal(harness_metric(g->h, METRIC_PUBLISH_DROPPED), 0);
    assert_in_range(g->at_idle, 800, 999);
    read_all(g);
    assert_int_equal(g->at_idle + g->at_stuck, 1000);
    assert_int_equal(stuck_is(g), SLOT_READY);
    g->at_idle = g->at_stuck = 0;
    for (uint32_t i = 0; i < 100; i++) {
        publish(g, "t", 1, bytes, 0);
        read_all(g);
    }
    assert_int_equal(g->at_idle, 50);
    assert_int_equal(g->at_stuck, 50);
    harness_free(g->h);
}

static void member_with_as_many_messages_as_may_wait_is_passed_over(void **state)
{
    (void)state;
    for (uint32_t reactor = 0; reactor < 2; reactor++) {
        struct group g = group_new(reactor, "max_queued_messages 50\n", 0);
        expect_others_first(&g, 100);
    }
}

static void member_with_as_many_bytes_as_may_wait_is_passed_over(void **state)
{
    (void)state;
    struct group g = group_new(0, "max_queued_bytes 20000\n", 0);
    expect_others_first(&g, 1000);
}

static void member_whose_output_is_full_is_passed_over(void **state)
{
    (void)state;
    for (uint32_t reactor = 0; reactor < 2; reactor++) {
        struct group g = group_new(reactor, "max_queued_messages 0\n", 0);
        expect_others_first(&g, 4000);
    }
}

/* It need not read all. */
static void member_that_has_read_some_gets_its_share_again(void **state)
{
    (void)state;
    struct group g = group_new(0, "max_queued_messages 50\n", 0);
    publish(&g, "t", 400, 1000, 0);
    assert_int_equal(stuck_is(&g), SLOT_BUSY);
    const struct connection *connection = harness_session(g.h, "stuck", NULL)->sink;
    uint32_t reads = 0;
    uint8_t some[600];
    while (stuck_is(&g) == SLOT_BUSY && reads++ < 100) {
        assert_true(recv(g.stuck->fd, some, sizeof(some), 0) > 0);
        harness_settle(g.h);
    }
    assert_true(connection->is_blocked); /* the socket is full again already */
    assert_int_equal(stuck_is(&g), SLOT_READY);
    assert_in_range(connection->out_publishes, 1, 49);
    harness_free(g.h);
}

static void jobs_do_not_wait_behind_what_a_member_does_not_read(void **state)
{
    (void)state;
    for (uint32_t reactor = 0; reactor < 2; reactor++) {
        struct group g = group_new(reactor, "max_queued_messages 1000\n", 1);
        client_subscribe(g.stuck, "flood", 0);
        publish(&g, "flood", 100, 4000, 0);
        publish(&g, "t", 100, 10, 1);
        assert_int_equal(g.at_idle, 100);
        const struct flight *flight = harness_session(g.h, "stuck", NULL)->flight;
        assert_int_equal(flight ? flight->queue.count + flight->inflight.count : 0, 0);
        harness_free(g.h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(member_with_as_many_messages_as_may_wait_is_passed_over),
        cmocka_unit_test(member_with_as_many_bytes_as_may_wait_is_passed_over),
        cmocka_unit_test(member_whose_output_is_full_is_passed_over),
        cmocka_unit_test(member_that_has_read_some_gets_its_share_again),
        cmocka_unit_test(jobs_do_not_wait_behind_what_a_member_does_not_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
