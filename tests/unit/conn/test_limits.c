/*
 * test_limits.c: queues and their policies, merging of copies, and ends of sessions that
 * hold much (conn/deliver.c, merge.c, ending.c, input.c).
 */
#include "tests/unit/conn/harness.h"

#define NEVER 0xFFFFFFFFu

/* Publishes the numbers `from` to `to` as text. */
static void publish_numbers(struct client *p, uint32_t from, uint32_t to, uint8_t qos)
{
    char text[16];
    for (uint32_t i = from; i <= to; i++) {
        snprintf(text, sizeof(text), "%u", i);
        client_publish(p, "t", text, qos, (uint16_t)i);
    }
}

static void expect_numbers(struct client *s, uint32_t from, uint32_t to)
{
    char text[16];
    for (uint32_t i = from; i <= to; i++) {
        snprintf(text, sizeof(text), "%u", i);
        struct got got = client_expect_publish(s, text);
        if (got.qos == 1)
            client_ack(s, PACKET_PUBACK, got.packet_id);
        harness_settle(s->harness);
    }
    client_expect_nothing(s);
}

/* S subscribed at QoS 1 and went; 1 to `count` came for it. */
static struct harness *waiting(const char *config, uint32_t count)
{
    struct harness *h = harness_new(1, config);
    struct client *s = client_of(h, 0, "S", NEVER), *p = client_of(h, 0, "P", 0);
    client_subscribe(s, "t", 1);
    client_drop(s);
    harness_settle(h);
    publish_numbers(p, 1, count, 1);
    harness_settle(h);
    return h;
}

/* 1 to 10 came, with room for 4. */
static struct harness *full_queue(const char *policy)
{
    char config[200];
    snprintf(config, sizeof(config), "max_queued_messages 4\nqueue_qos0_messages true\n%s", policy);
    return waiting(config, 10);
}

static void a_message_that_can_never_fit_moves_nobody(void **state)
{
    static const char *const policies[] = {"drop_newest", "drop_oldest"};
    static uint8_t payload[4000];
    (void)state;
    for (uint32_t i = 0; i < 2; i++) {
        char config[100];
        snprintf(config, sizeof(config), "max_queued_bytes 3000\nqueue_policy %s\n", policies[i]);
        struct harness *h = waiting(config, 5);
        struct client *p = client_of(h, 0, "Q", 0);
        client_publish_bytes(p, "t", payload, sizeof(payload), 1, 9, false);
        harness_settle(h);
        assert_int_equal(harness_dropped(h, DROP_QUEUE_BYTES), 1);
        struct client *s = client_coming_back(h, 0, "S", NEVER);
        harness_settle(h);
        client_expect(s, PACKET_CONNACK);
        expect_numbers(s, 1, 5);
        harness_free(h);
    }
}

static void messages_that_expired_make_room_for_others(void **state)
{
    (void)state;
    struct harness *h = waiting("max_queued_messages 5\n", 5);
    struct client *p = client_of(h, 0, "Q", 0);
    struct flight *flight = harness_session(h, "S", NULL)->flight;
    struct queue_cursor at = {0};
    for (uint32_t i = 0; i < 3; i++, queue_cursor_pass(&at))
        queue_cursor_peek(&flight->queue, &at)->message->expires_tick = 1;
    publish_numbers(p, 6, 9, 1);
    harness_settle(h);
    assert_int_equal(harness_dropped(h, DROP_EXPIRED), 3);
    assert_int_equal(harness_dropped(h, DROP_QUEUE_MESSAGES), 1);
    struct client *s = client_coming_back(h, 0, "S", NEVER);
    harness_settle(h);
    client_expect(s, PACKET_CONNACK);
    expect_numbers(s, 4, 8);
    harness_free(h);
}

static void queue_that_is_full_drops_the_newest(void **state)
{
    (void)state;
    struct harness *h = full_queue("");
    assert_int_equal(harness_dropped(h, DROP_QUEUE_MESSAGES), 6);
    assert_int_equal(harness_session(h, "S", NULL)->flight->dropped[DROP_QUEUE_MESSAGES], 6);
    struct client *s = client_coming_back(h, 0, "S", NEVER);
    harness_settle(h);
    client_expect(s, PACKET_CONNACK);
    expect_numbers(s, 1, 4);
    assert_int_equal(harness_metric(h, METRIC_STORED_MESSAGES), 0);
    assert_int_equal(harness_metric(h, METRIC_STORED_BYTES), 0);
    harness_free(h);
}

static void queue_that_is_full_drops_the_oldest(void **state)
{
    (void)state;
    struct harness *h = full_queue("queue_policy drop_oldest\n");
    assert_int_equal(harness_dropped(h, DROP_QUEUE_MESSAGES), 6);
    struct client *s = client_coming_back(h, 0, "S", NEVER);
    harness_settle(h);
    client_expect(s, PACKET_CONNACK);
    expect_numbers(s, 7, 10);
    assert_int_equal(harness_metric(h, METRIC_STORED_BYTES), 0);
    harness_free(h);
}

static void queue_that_is_full_disconnects_the_client(void **state)
{
    (void)state;
    struct harness *h =
        harness_new(1, "max_queued_messages 4\nmax_inflight_messages 1\nqueue_policy disconnect\n");
    struct client *s = client_of(h, 0, "S", NEVER), *p = client_of(h, 0, "P", 0);
    client_subscribe(s, "t", 1);
    publish_numbers(p, 1, 6, 1);
    harness_settle(h);
    client_expect_publish(s, "1");
    client_expect(s, PACKET_DISCONNECT);
    assert_int_equal(s->body[0], REASON_QUOTA_EXCEEDED);
    client_expect_closed(s);
    assert_int_equal(harness_closed(h, CLOSE_SLOW), 1);
    s = client_coming_back(h, 0, "S", NEVER);
    harness_settle(h);
    client_expect(s, PACKET_CONNACK);
    expect_numbers(s, 1, 5); /* the sixth was one too many */
    harness_free(h);
}

/* QoS 0 makes way for QoS 1, and never the other way round. */
static void queue_that_is_full_drops_qos_0_first(void **state)
{
    (void)state;
    struct harness *h = harness_new(1, "max_queued_messages 4\nqueue_qos0_messages true\n");
    struct client *s = client_of(h, 0, "S", NEVER), *p = client_of(h, 0, "P", 0);
    client_subscribe(s, "t", 1);
    client_drop(s);
    harness_settle(h);
    publish_numbers(p, 1, 4, 0);
    publish_numbers(p, 5, 8, 1);
    publish_numbers(p, 9, 9, 0);
    harness_settle(h);
    s = client_coming_back(h, 0, "S", NEVER);
    harness_settle(h);
    client_expect(s, PACKET_CONNACK);
    expect_numbers(s, 5, 8);
    harness_free(h);
}

static void queue_bytes_are_limited(void **state)
{
    (void)state;
    struct harness *h = harness_new(1, "max_queued_bytes 1000\nmax_queued_messages 0\n");
    struct client *s = client_of(h, 0, "S", NEVER), *p = client_of(h, 0, "P", 0);
    client_subscribe(s, "t", 1);
    client_drop(s);
    harness_settle(h);
    publish_numbers(p, 1, 100, 1);
    harness_settle(h);
    assert_true(harness_metric(h, METRIC_STORED_BYTES) <= 1000);
    uint64_t kept = harness_metric(h, METRIC_STORED_MESSAGES);
    assert_int_equal(harness_dropped(h, DROP_QUEUE_BYTES), 100 - kept);
    assert_true(kept > 10);
    harness_free(h);
}

static void window_is_never_passed(void **state)
{
    (void)state;
    struct harness *h = harness_new(1, "max_inflight_messages 3\n");
    struct client *s = client_of(h, 0, "S", NEVER), *p = client_of(h, 0, "P", 0);
    client_subscribe(s, "t", 1);
    publish_numbers(p, 1, 9, 1);
    harness_settle(h);
    struct got got = client_expect_publish(s, "1");
    client_expect_publish(s, "2");
    client_expect_publish(s, "3");
    client_expect_nothing(s);
    client_ack(s, PACKET_PUBACK, got.packet_id);
    harness_settle(h);
    client_expect_publish(s, "4");
    client_expect_nothing(s);
    harness_free(h);
}

/* ---- one copy for overlapping subscriptions ---- */

static void overlapping_subscriptions_give_one_copy_when_merged(void **state)
{
    (void)state;
    for (uint32_t reactor = 0; reactor <= 1; reactor++) { /* here, and by mail */
        struct harness *h = harness_new(2, "allow_duplicate_messages false\n");
        struct client *s = client_of(h, reactor, "S", NEVER), *p = client_of(h, 0, "P", 0);
        client_subscribe_as(s, "a/b", 0, 1);
        client_subscribe_as(s, "a/+", 2, 2);
        client_subscribe_as(s, "a/#", 1, 3);
        client_subscribe_as(s, "#", 0, 0);
        harness_settle(h);
        for (uint32_t i = 0; i < 4; i++)
            client_expect(s, PACKET_SUBACK);
        client_publish(p, "a/b", "x", 2, 1);
        harness_settle(h);
        struct got got = client_expect_publish(s, "x");
        assert_int_equal(got.qos, 2); /* the highest */
        assert_int_equal(got.properties.len, 6);
        uint32_t ids = 0;
        for (uint32_t i = 0; i < 6; i += 2) {
            assert_int_equal(got.properties.ptr[i], 0x0B);
            ids |= 1u << got.properties.ptr[i + 1];
        }
        assert_int_equal(ids, 1 << 1 | 1 << 2 | 1 << 3);
        client_expect_nothing(s);
        harness_free(h);
    }
}

static void merged_ids_survive_queue_and_move(void **state)
{
    (void)state;
    struct harness *h = harness_new(2, "allow_duplicate_messages false\n");
    struct client *s = client_of(h, 0, "S", NEVER), *p = client_of(h, 1, "P", 0);
    client_subscribe_as(s, "a/b", 1, 1);
    client_subscribe_as(s, "a/+", 1, 2);
    harness_settle(h);
    client_drop(s);
    harness_settle(h);
    client_publish(p, "a/b", "queued", 1, 1);
    harness_settle(h);
    s = client_coming_back(h, 1, "S", NEVER);
    harness_turn(h, 1);
    harness_turn(h, 0);
    client_publish(p, "a/b", "stashed", 1, 2);
    harness_turn(h, 1);
    harness_settle(h);
    client_expect(s, PACKET_CONNACK);
    assert_int_equal(client_expect_publish(s, "queued").properties.len, 4);
    assert_int_equal(client_expect_publish(s, "stashed").properties.len, 4);
    harness_free(h);
}

static void overlapping_subscriptions_give_a_copy_each_by_default(void **state)
{
    (void)state;
    struct harness *h = harness_new(1, "");
    struct client *s = client_of(h, 0, "S", NEVER), *p = client_of(h, 0, "P", 0);
    client_subscribe(s, "a/b", 0);
    client_subscribe(s, "a/+", 1);
    client_publish(p, "a/b", "x", 1, 1);
    harness_settle(h);
    uint8_t qos = client_expect_publish(s, "x").qos;
    assert_int_equal(qos + client_expect_publish(s, "x").qos, 1);
    client_expect_nothing(s);
    harness_free(h);
}

/* What a session keeps of a plain subscription it also keeps as the only member of a group. */
static void qos0_is_kept_for_a_group_whose_members_are_away_where_a_session_keeps_it(void **state)
{
    static const char *const directives[] = {"queue_qos0_messages true\n",
                                             "upgrade_outgoing_qos true\n", ""};
    (void)state;
    for (uint32_t i = 0; i < 3; i++) {
        struct harness *h = harness_new(1, directives[i]);
        struct client *s = client_of(h, 0, "S", NEVER), *p = client_of(h, 0, "P", 0);
        client_subscribe(s, "$share/g/t", 1);
        client_drop(s);
        harness_settle(h);
        publish_numbers(p, 1, 3, 0);
        harness_settle(h);
        s = client_coming_back(h, 0, "S", NEVER);
        harness_settle(h);
        client_expect(s, PACKET_CONNACK);
        expect_numbers(s, 1, i < 2 ? 3 : 0);
        assert_int_equal(harness_dropped(h, DROP_NO_SHARED_MEMBER), i < 2 ? 0 : 3);
        harness_free(h);
    }
}

/* ---- QoS 2 from clients ---- */

static void qos2_from_a_client_is_published_once(void **state)
{
    (void)state;
    struct harness *h = harness_new(1, "");
    struct client *s = client_of(h, 0, "S", NEVER), *p = client_of(h, 0, "P", NEVER);
    client_subscribe(s, "t", 0);
    client_publish(p, "t", "x", 2, 7);
    client_publish(p, "t", "x", 2, 7);
    harness_settle(h);
    client_drop(p);
    harness_settle(h);
    p = client_coming_back(h, 0, "P", NEVER);
    client_publish(p, "t", "x", 2, 7);
    client_ack(p, PACKET_PUBREL, 7);
    client_publish(p, "t", "y", 2, 7);
    harness_settle(h);
    client_expect_publish(s, "x");
    client_expect_publish(s, "y");
    client_expect_nothing(s);
    harness_free(h);
}

/* A refused message does not use its packet id up [MQTT-4.3.3-9]. */
static void qos2_that_was_refused_leaves_its_id_free(void **state)
{
    (void)state;
    struct harness *h = harness_new(1, "message_size_limit 3\n");
    struct client *s = client_of(h, 0, "S", NEVER), *p = client_of(h, 0, "P", NEVER);
    client_subscribe(s, "t", 0);
    client_publish(p, "t", "too long", 2, 7);
    harness_settle(h);
    client_expect(p, PACKET_PUBREC);
    assert_int_equal(p->body[2], REASON_QUOTA_EXCEEDED);
    client_publish(p, "t", "ok", 2, 7);
    harness_settle(h);
    client_expect_publish(s, "ok");
    harness_free(h);
}

/* ---- ends ---- */

/* A session that ends with many messages waiting gives back their memory and their counts. */
static void session_that_holds_much_ends_and_is_counted(void **state)
{
    (void)state;
    struct harness *h = harness_new(1, "max_queued_messages 0\n");
    struct client *s = client_of(h, 0, "S", NEVER), *p = client_of(h, 0, "P", 0);
    client_subscribe(s, "t", 1);
    client_drop(s);
    harness_settle(h);
    for (uint32_t i = 0; i < 100; i++) {
        publish_numbers(p, 1, 100, 1);
        harness_turn(h, 0);
        while (client_next(p)) {
        }
    }
    harness_settle(h);
    assert_int_equal(harness_session(h, "S", NULL)->flight->queue.count, 10000);
    client_of(h, 0, "S", NEVER);
    harness_settle(h);
    harness_settle(h);
    assert_int_equal(harness_metric(h, METRIC_STORED_MESSAGES), 0);
    assert_int_equal(harness_metric(h, METRIC_STORED_BYTES), 0);
    assert_int_equal(harness_dropped(h, DROP_SESSION_ENDED), 10000);
    harness_free(h);
}

/* A client that starts anew at the limit of sessions replaces its own and needs no room. */
static void clean_start_fits_when_global_max_clients_is_reached(void **state)
{
    (void)state;
    struct harness *h = harness_new(1, "global_max_clients 2\n");
    client_of(h, 0, "A", NEVER);
    client_of(h, 0, "B", NEVER);
    struct client *c = client_new(h, 0);
    client_connect_as(c, (struct connect){.id = "C", .clean_start = true});
    harness_settle(h);
    client_expect(c, PACKET_CONNACK);
    assert_int_equal(c->body[1], REASON_QUOTA_EXCEEDED);
    client_of(h, 0, "A", NEVER);
    assert_int_equal(harness_metric(h, METRIC_SESSIONS), 2);
    harness_free(h);
}

static uint32_t slow_seen, slow_last;
static bool slow_is_in_order;

/* Publications that take 100 us each. */
static bool slow_control(struct worker *worker, struct connection *connection,
                         const struct publication *publication)
{
    uint64_t until_ns = clock_real_ns() + 100000;
    uint32_t number;
    (void)worker, (void)connection;
    memcpy(&number, publication->payload.ptr, sizeof(number));
    slow_is_in_order = slow_is_in_order && number == slow_last + 1;
    slow_last = number;
    slow_seen++;
    while (clock_real_ns() < until_ns) {
    }
    return true;
}

/* A read full of packets that take long: the others have their turn in between. */
static void one_read_that_takes_long_is_worked_off_in_slices(void **state)
{
    (void)state;
    struct harness *h = harness_new(1, "");
    h->broker.hooks.control = slow_control;
    h->group->read_budget_ns = 2000000;
    struct client *p = client_of(h, 0, "P", 0);
    slow_seen = slow_last = 0;
    slow_is_in_order = true;
    for (uint32_t i = 1; i <= 250; i++)
        client_publish_bytes(p, "$CONTROL/x", &i, sizeof(i), 0, 0, false);
    client_send(p, "\xC0\x00", 2); /* PINGREQ */
    harness_turn(h, 0);
    assert_true(slow_seen > 0 && slow_seen < 200);
    for (uint32_t turn = 0; turn < 500 && slow_seen < 250; turn++)
        harness_turn(h, 0);
    harness_settle(h);
    assert_int_equal(slow_seen, 250);
    assert_true(slow_is_in_order);
    client_expect(p, PACKET_PINGRESP);
    harness_free(h);
}

/* 199 levels are within the limit of 200; the mount point adds two. */
static void topic_that_its_mount_point_makes_too_deep_is_refused(void **state)
{
    (void)state;
    struct harness *h = harness_new(1, "listener 1883\nallow_anonymous true\nmount_point a/b/\n");
    struct client *p = client_of(h, 0, "P", 0);
    char topic[400];
    for (uint32_t i = 0; i < 199; i++)
        memcpy(topic + 2 * i, "x/", 2);
    topic[397] = 0;
    client_publish_bytes(p, topic, "x", 1, 1, 1, true);
    harness_settle(h);
    client_expect(p, PACKET_PUBACK);
    assert_int_equal(p->body[2], REASON_TOPIC_NAME_INVALID);
    assert_int_equal(harness_dropped(h, DROP_TOPIC_LIMIT), 1);
    assert_int_equal(harness_dropped(h, DROP_MEMORY), 0);
    assert_int_equal(harness_metric(h, METRIC_PUBLISH_DROPPED), 1);
    topic[393] = 0; /* two levels less */
    client_publish_bytes(p, topic, "x", 1, 1, 2, false);
    harness_settle(h);
    client_expect(p, PACKET_PUBACK);
    assert_int_equal(p->body[2], REASON_NO_MATCHING_SUBSCRIBERS);
    harness_free(h);
}

/* A PUBLISH of 20,000 bytes to "t", of which `bytes` are sent, 2,000 each 8 s. */
static struct client *slow_client(struct harness *h, uint32_t bytes)
{
    static uint8_t packet[20004];
    struct client *c = client_new(h, 0);
    c->version = MQTT_3_1_1;
    client_connect_as(c, (struct connect){.id = "C", .clean_start = true, .keepalive_s = 10});
    harness_settle(h);
    client_expect(c, PACKET_CONNACK);
    memcpy(packet, "\x30\xa0\x9c\x01\0\1t", 7);
    for (uint32_t at = 0; at < bytes; at += 2000) {
        client_send(c, packet + at, bytes - at < 2000 ? bytes - at : 2000);
        harness_pass_s(h, 8);
    }
    return c;
}

static void slow_link_may_send_a_large_packet(void **state)
{
    (void)state;
    struct harness *h = harness_new(1, "");
    struct client *s = client_of(h, 0, "S", 0);
    client_subscribe(s, "t", 0);
    struct client *c = slow_client(h, 20004);
    client_expect(s, PACKET_PUBLISH);
    client_read(c);
    assert_false(c->is_gone);
    harness_free(h);
}

/* Large or not: it ends where a byte now and then would do. */
static void packet_that_does_not_end_is_no_sign_of_life(void **state)
{
    (void)state;
    struct harness *h = harness_new(1, "");
    struct client *c = slow_client(h, 19005); /* 999 are missing */
    for (uint32_t i = 0; i < 3; i++) {
        client_send(c, "x", 1);
        harness_pass_s(h, 4);
    }
    client_expect_closed(c);
    assert_int_equal(harness_closed(h, CLOSE_KEEPALIVE), 1);
    harness_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(queue_that_is_full_drops_the_newest),
        cmocka_unit_test(queue_that_is_full_drops_the_oldest),
        cmocka_unit_test(queue_that_is_full_disconnects_the_client),
        cmocka_unit_test(queue_that_is_full_drops_qos_0_first),
        cmocka_unit_test(queue_bytes_are_limited),
        cmocka_unit_test(window_is_never_passed),
        cmocka_unit_test(overlapping_subscriptions_give_one_copy_when_merged),
        cmocka_unit_test(merged_ids_survive_queue_and_move),
        cmocka_unit_test(overlapping_subscriptions_give_a_copy_each_by_default),
        cmocka_unit_test(one_read_that_takes_long_is_worked_off_in_slices),
        cmocka_unit_test(qos0_is_kept_for_a_group_whose_members_are_away_where_a_session_keeps_it),
        cmocka_unit_test(a_message_that_can_never_fit_moves_nobody),
        cmocka_unit_test(messages_that_expired_make_room_for_others),
        cmocka_unit_test(slow_link_may_send_a_large_packet),
        cmocka_unit_test(packet_that_does_not_end_is_no_sign_of_life),
        cmocka_unit_test(qos2_from_a_client_is_published_once),
        cmocka_unit_test(qos2_that_was_refused_leaves_its_id_free),
        cmocka_unit_test(session_that_holds_much_ends_and_is_counted),
        cmocka_unit_test(clean_start_fits_when_global_max_clients_is_reached),
        cmocka_unit_test(topic_that_its_mount_point_makes_too_deep_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
