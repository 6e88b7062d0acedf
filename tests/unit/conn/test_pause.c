/* test_pause.c: publishers that are not read for a while, and how they go on (conn/pause.h). */
#include "conn/pause.h"
#include "tests/unit/conn/harness.h"

#define PUBLISHERS 500u

static struct connection *connection_of(struct harness *h, const char *id)
{
    return harness_session(h, id, NULL)->sink;
}

/* A client that has published a message which was not read, and is paused. */
static struct connection *paused_publisher(struct harness *h, const char *id)
{
    struct client *client = client_of(h, 0, id, 0);
    struct connection *connection = connection_of(h, id);
    client_publish(client, "t", "x", 0, 0);
    connection_hold(harness_worker(h, 0), connection, HOLD_BULK); /* until all are there */
    return connection;
}

static void pause_one(struct harness *h, struct connection *connection)
{
    pause_add(harness_worker(h, 0), connection);
    connection->hold &= (uint8_t)~HOLD_BULK;
}

static void paused_publishers_go_on_oldest_first_a_few_at_a_time(void **state)
{
    (void)state;
    struct harness *h = harness_new(1, "");
    struct connection *connections[PUBLISHERS];
    struct paused *paused = &harness_worker(h, 0)->paused;
    char id[16];
    for (uint32_t i = 0; i < PUBLISHERS; i++) {
        snprintf(id, sizeof(id), "p%u", i);
        connections[i] = paused_publisher(h, id);
    }
    for (uint32_t i = 0; i < PUBLISHERS; i++)
        pause_one(h, connections[i]);
    assert_int_equal(paused->ring.count, PUBLISHERS);
    pause_release(harness_worker(h, 0));
    harness_turn(h, 0);
    assert_false(connections[0]->is_paused);
    assert_true(connections[PUBLISHERS - 1]->is_paused);
    assert_in_range(paused->due, 1, PUBLISHERS - 1);
    harness_settle(h);
    harness_finish_jobs(h);
    harness_admit(h); /* they have not been here long */
    assert_int_equal(paused->ring.count, 0);
    assert_int_equal(harness_metric(h, METRIC_PUBLISH_RECEIVED), PUBLISHERS);
    harness_free(h);
}

static void publishers_that_left_while_paused_are_passed_over(void **state)
{
    (void)state;
    struct harness *h = harness_new(1, "");
    struct connection *a = paused_publisher(h, "a"), *b = paused_publisher(h, "b");
    pause_one(h, a);
    pause_one(h, b);
    connection_close_plain(harness_worker(h, 0), a, CLOSE_ADMIN);
    pause_release(harness_worker(h, 0));
    harness_settle(h);
    assert_int_equal(harness_worker(h, 0)->paused.ring.count, 0);
    assert_int_equal(harness_metric(h, METRIC_PUBLISH_RECEIVED), 1);
    harness_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paused_publishers_go_on_oldest_first_a_few_at_a_time),
        cmocka_unit_test(publishers_that_left_while_paused_are_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
