/*
 * test_memory_limit.c: memory_limit: who waits, what is refused and dropped, and what sessions keep
 * (conn/deliver.c, input.c, report.c, ending.c).
 */
#include "tests/unit/conn/harness.h"

#define NEVER 0xFFFFFFFFu

/* A publisher that fills the memory waits; when there is room it goes on, and nothing that was
 * accepted is lost. */
static void publishers_wait_for_memory_and_go_on(void **state)
{
    (void)state;
    struct harness *h = harness_new(1, "max_queued_messages 0\nmax_inflight_messages 1\n");
    struct client *s = client_of(h, 0, "S", NEVER), *p = client_of(h, 0, "P", 0);
    client_subscribe(s, "t", 1);
    uint64_t before = mem_used_bytes();
    h->config->memory_limit_bytes = before + (8u << 20);
    static uint8_t payload[4000];
    uint32_t sent = 0;
    uint16_t id = 0;
    while (harness_metric(h, METRIC_READ_PAUSES) == 0 && sent < 5000) {
        client_publish_bytes(p, "t", payload, sizeof(payload), 1, ++id, false);
        sent++;
        harness_turn(h, 0);
    }
    assert_int_equal(harness_metric(h, METRIC_READ_PAUSES), 1);
    assert_true(mem_used_bytes() < h->config->memory_limit_bytes);
    struct connection *connection = harness_session(h, "P", NULL)->sink;
    assert_true(connection->hold & HOLD_PRESSURE);
    for (uint32_t i = 0; i < 10; i++) { /* what it sends stays in its socket */
        client_publish_bytes(p, "t", payload, sizeof(payload), 1, ++id, false);
        harness_turn(h, 0);
    }
    while (client_next(p)) { /* reads its acknowledgements */
    }
    uint64_t received = harness_metric(h, METRIC_PUBLISH_RECEIVED);
    h->config->memory_limit_bytes += 64u << 20;
    clock_turn_ms(500);
    harness_settle(h);
    assert_int_equal(connection->hold, 0);
    assert_true(harness_metric(h, METRIC_PUBLISH_RECEIVED) >= received + 10);
    assert_int_equal(harness_dropped(h, DROP_MEMORY), 0);
    assert_int_equal(harness_metric(h, METRIC_STORED_MESSAGES), sent + 10);
    harness_free(h);
}

static void publications_beyond_the_memory_limit_are_refused_and_counted(void **state)
{
    (void)state;
    struct harness *h = harness_new(1, "");
    struct client *s = client_of(h, 0, "S", NEVER), *p = client_of(h, 0, "P", 0);
    client_subscribe(s, "t", 1);
    h->config->memory_limit_bytes = 1;
    client_publish(p, "t", "x", 1, 1);
    harness_settle(h);
    client_expect(p, PACKET_PUBACK);
    assert_int_equal(p->body[2], REASON_QUOTA_EXCEEDED);
    client_expect_nothing(s);
    assert_int_equal(harness_dropped(h, DROP_MEMORY), 1);
    h->config->memory_limit_bytes = 0;
    harness_free(h);
}

/* One message to many takes a chunk for each, and at QoS 1 what the session keeps of it. */
static void one_message_to_many_stays_within_the_memory_limit(void **state)
{
    enum { CLIENTS = 200 };
    (void)state;
    for (uint8_t qos = 0; qos <= 1; qos++) {
        struct harness *h = harness_new(1, "");
        struct client *clients[CLIENTS], *p = client_of(h, 0, "P", 0);
        char id[16];
        for (uint32_t i = 0; i < CLIENTS; i++) {
            snprintf(id, sizeof(id), "S%u", i);
            clients[i] = client_of(h, 0, id, NEVER);
            client_subscribe(clients[i], "t", qos);
        }
        h->config->memory_limit_bytes = mem_used_bytes() + (256u << 10);
        client_publish(p, "t", "x", qos, 1);
        harness_turn(h, 0);
        assert_true(mem_used_bytes() <= h->config->memory_limit_bytes + (64u << 10));
        harness_settle(h);
        uint32_t got = 0;
        for (uint32_t i = 0; i < CLIENTS; i++)
            got += client_next(clients[i]);
        uint64_t dropped = harness_dropped(h, DROP_MEMORY);
        assert_int_equal(got + dropped, CLIENTS);
        assert_in_range(dropped, 50, CLIENTS - 16);
        h->config->memory_limit_bytes = 0;
        client_publish(p, "t", "y", 0, 0);
        harness_settle(h);
        for (uint32_t i = 0; i < CLIENTS; i++)
            client_expect_publish(clients[i], "y");
        harness_free(h);
    }
}

/* What a session did not get is counted in it, unless that would take the memory that is short. */
static void messages_that_are_dropped_take_no_memory_that_is_short(void **state)
{
    (void)state;
    struct harness *h = harness_new(1, "");
    struct client *s = client_of(h, 0, "S", NEVER), *p = client_of(h, 0, "P", 0);
    client_subscribe(s, "t", 0);
    client_drop(s);
    harness_settle(h);
    void *ballast = mem_alloc(1 << 20);
    h->config->memory_limit_bytes = mem_used_bytes() + mem_used_bytes() / 32;
    client_publish(p, "t", "x", 0, 0);
    harness_settle(h);
    assert_int_equal(harness_dropped(h, DROP_OFFLINE_QOS0), 1);
    assert_null(harness_session(h, "S", NULL)->flight);
    h->config->memory_limit_bytes = 0;
    client_publish(p, "t", "x", 0, 0);
    harness_settle(h);
    assert_int_equal(harness_session(h, "S", NULL)->flight->dropped[DROP_OFFLINE_QOS0], 1);
    mem_free(ballast);
    harness_free(h);
}

static void a_session_that_goes_keeps_no_room_for_messages_that_it_had(void **state)
{
    (void)state;
    struct harness *h = harness_new(1, "");
    struct client *s = client_of(h, 0, "S", NEVER), *p = client_of(h, 0, "P", 0);
    client_subscribe(s, "t", 1);
    client_publish(p, "t", "x", 1, 1);
    harness_settle(h);
    client_ack(s, PACKET_PUBACK, client_expect_publish(s, "x").packet_id);
    harness_settle(h);
    assert_non_null(harness_session(h, "S", NULL)->flight);
    client_drop(s);
    harness_settle(h);
    assert_null(harness_session(h, "S", NULL)->flight);
    harness_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(publishers_wait_for_memory_and_go_on),
        cmocka_unit_test(publications_beyond_the_memory_limit_are_refused_and_counted),
        cmocka_unit_test(one_message_to_many_stays_within_the_memory_limit),
        cmocka_unit_test(messages_that_are_dropped_take_no_memory_that_is_short),
        cmocka_unit_test(a_session_that_goes_keeps_no_room_for_messages_that_it_had),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
