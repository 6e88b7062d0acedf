/*
 * test_drained.c: what waits for a client that had nothing waiting, and does not read now, comes
 * when it reads (deliver_drained() in conn/deliver.h looks at a session only when it must).
 */
#include "tests/unit/conn/harness.h"

#define MESSAGES 600u
#define PAYLOAD_BYTES 6000u /* all of them are more than socket and output hold */

/* An idle client: all that it was sent is written, and nothing waits. */
static struct client *idle_client(struct harness *h)
{
    struct client *s = client_of(h, 0, "S", 0);
    harness_settle(h);
    assert_true(((struct connection *)harness_session(h, "S", NULL)->sink)->is_drained);
    return s;
}

static void publish_all(struct client *p, bool retain)
{
    static uint8_t payload[PAYLOAD_BYTES];
    char topic[16];
    for (uint32_t i = 0; i < MESSAGES; i++) {
        snprintf(topic, sizeof(topic), "t/%u", i);
        client_publish_bytes(p, topic, payload, sizeof(payload), 1, (uint16_t)(i + 1), retain);
        harness_turn(p->harness, 0);
        client_read(p);
        p->in_len = 0; /* PUBACKs */
    }
    harness_settle(p->harness);
}

/* It reads what there is, and says nothing, until nothing more comes. */
static uint32_t read_all(struct client *s)
{
    uint32_t publishes = 0, before;
    do {
        before = publishes;
        while (client_next(s))
            publishes += s->type == PACKET_PUBLISH;
        harness_settle(s->harness);
    } while (publishes != before);
    return publishes;
}

static void assert_is_stuck(struct harness *h)
{
    struct connection *connection = harness_session(h, "S", NULL)->sink;
    assert_true(connection && connection->is_blocked);
    assert_false(connection->is_drained);
}

static void queue_of_a_client_that_was_idle_comes_when_it_reads(void **state)
{
    (void)state;
    struct harness *h = harness_new(1, "max_inflight_messages 0\nmax_queued_messages 0\n");
    struct client *s = idle_client(h), *p = client_of(h, 0, "P", 0);
    client_subscribe(s, "t/#", 1);
    publish_all(p, false);
    assert_is_stuck(h);
    assert_in_range(harness_session(h, "S", NULL)->flight->queue.count, 1, MESSAGES - 1);
    assert_int_equal(read_all(s), MESSAGES);
    assert_int_equal(harness_metric(h, METRIC_PUBLISH_DROPPED), 0);
    harness_free(h);
}

static void replay_to_a_client_that_was_idle_goes_on_when_it_reads(void **state)
{
    (void)state;
    for (uint8_t qos = 0; qos < 2; qos++) {
        struct harness *h = harness_new(1, "max_inflight_messages 0\nmax_queued_messages 0\n");
        struct client *p = client_of(h, 0, "P", 0);
        publish_all(p, true);
        struct client *s = idle_client(h);
        client_subscribe_as(s, "t/#", qos, 0);
        harness_settle(h);
        assert_is_stuck(h);
        assert_non_null(harness_session(h, "S", NULL)->replays);
        assert_int_equal(read_all(s), MESSAGES);
        assert_null(harness_session(h, "S", NULL)->replays);
        harness_free(h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(queue_of_a_client_that_was_idle_comes_when_it_reads),
        cmocka_unit_test(replay_to_a_client_that_was_idle_goes_on_when_it_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
