/*
 * test_run.c: packets of one topic that are passed on in one piece, against the same packets that
 * are not: with a PINGREQ between any two of them each goes the long way.
 */
#include "run_stream.h"

#include "conn/output.h"

struct scene {
    const char *config;
    uint8_t publisher_version, subscriber_version;
    uint32_t packet_bytes_max; /* of the subscriber, 0: none */
    const char *filters[3];    /* NULL: no more */
    bool has_second;           /* one more subscriber, to "a/often" */
    bool is_elsewhere;         /* the subscriber is on another reactor */
    bool has_absent_share;     /* a share of "a/often" with nobody there to take it */
    uint32_t payload_bytes;    /* of every packet, 0: random */
};

static struct outcome play(const struct scene *scene, const struct stream *s, bool has_pings)
{
    struct harness *h = harness_new(2, scene->config);
    struct client *publisher = scene_client(h, 0, PUBLISHER, scene->publisher_version, 0);
    struct client *subscriber = scene_client(h, scene->is_elsewhere, SUBSCRIBER,
                                             scene->subscriber_version, scene->packet_bytes_max);
    for (uint32_t i = 0; i < 3 && scene->filters[i]; i++)
        client_subscribe(subscriber, scene->filters[i], 0);
    if (scene->has_second)
        client_subscribe(scene_client(h, 0, "second", MQTT_3_1_1, 0), "a/often", 0);
    if (scene->has_absent_share) {
        struct client *away = client_of(h, 0, "away", 1000);
        client_subscribe(away, "$share/g/a/often", 0);
        client_drop(away);
        harness_settle(h);
    }
    uint64_t serial = long_ways(h);
    stream_send(s, publisher, has_pings);
    for (int i = 0; i < 20; i++) {
        harness_settle(h);
        client_read(subscriber);
    }
    struct outcome outcome = outcome_of(h, subscriber, serial);
    harness_free(h);
    return outcome;
}

/* Both ways come to the same. Returns how many packets the run spared the long way. */
static uint64_t compare(const struct scene *scene, uint64_t seed)
{
    static struct stream s;
    stream_make(&s, seed, scene->publisher_version, scene->payload_bytes);
    struct outcome run = play(scene, &s, false), single = play(scene, &s, true);
    assert_int_equal(single.messages_in, s.count);
    assert_int_equal(single.metrics[METRIC_MESSAGES_RECEIVED],
                     run.metrics[METRIC_MESSAGES_RECEIVED] + s.count);
    expect_equal(&run, &single);
    free(run.bytes);
    free(single.bytes);
    return single.long_ways - run.long_ways;
}

#define PLAIN .publisher_version = MQTT_3_1_1, .subscriber_version = MQTT_3_1_1

static void run_is_what_single_packets_are(void **state)
{
    (void)state;
    uint64_t spared = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct scene scene = {.config = "max_queued_messages 0\n", PLAIN, .filters = {"a/#"}};
        if (seed % 3 == 0)
            scene.publisher_version = scene.subscriber_version = MQTT_5;
        if (seed % 2 == 0)
            scene.filters[0] = "a/often";
        spared += compare(&scene, seed);
    }
    assert_true(spared > 2000);
}

static void run_to_another_reactor_is_what_single_packets_are(void **state)
{
    (void)state;
    uint64_t spared = 0;
    for (uint64_t seed = 301; seed <= 340; seed++) {
        struct scene scene = {.config = "max_queued_messages 0\n",
                              PLAIN,
                              .filters = {seed % 2 ? "a/#" : "a/often"},
                              .is_elsewhere = true};
        if (seed % 3 == 0)
            scene.publisher_version = MQTT_5;
        if (seed % 5 == 0)
            scene.subscriber_version = MQTT_5;
        spared += compare(&scene, seed);
    }
    assert_true(spared > 2000);
}

static void packets_of_another_version_are_not_passed_on(void **state)
{
    (void)state;
    struct scene up = {"max_queued_messages 0\n", MQTT_3_1_1, MQTT_5, .filters = {"a/#"}};
    struct scene down = {"max_queued_messages 0\n", MQTT_5, MQTT_3_1_1, .filters = {"a/#"}};
    assert_int_equal(compare(&up, 71), 0);
    assert_int_equal(compare(&down, 72), 0);
}

static void limits_of_either_side_hold_within_a_run(void **state)
{
    (void)state;
    static const struct scene scenes[] = {
        {"max_queued_messages 5\n", PLAIN, .filters = {"a/#"}},
        {"max_queued_messages 0\nmax_queued_bytes 700\n", PLAIN, .filters = {"a/#"}},
        {"message_size_limit 30\n", PLAIN, .filters = {"a/#"}},
        {"message_size_limit 30\n", PLAIN, .filters = {"a/#"}, .is_elsewhere = true},
        {"max_queued_messages 5\n", PLAIN, .filters = {"a/#"}, .is_elsewhere = true},
        {"max_queued_messages 0\n", MQTT_5, MQTT_5, .packet_bytes_max = 60, .filters = {"a/#"}},
        {"max_queued_messages 0\nmax_queued_bytes 700\n", PLAIN, .filters = {"a/#"},
         .is_elsewhere = true},
        {"max_queued_messages 0\n", MQTT_5, MQTT_5, .packet_bytes_max = 60, .filters = {"a/#"},
         .is_elsewhere = true},
    };
    static const uint32_t lengths[] = {0, 1, 30, 31, 49, 50, 60, 116, 117, 118, 119, 2047, 2048};
    for (size_t i = 0; i < ARRAY_COUNT(scenes); i++) {
        for (uint64_t seed = 100; seed < 100 + ARRAY_COUNT(lengths); seed++) {
            struct scene scene = scenes[i];
            compare(&scene, seed);
            scene.payload_bytes = lengths[seed - 100];
            compare(&scene, seed);
        }
    }
    struct scene vast = {"max_queued_messages 0\nmax_queued_bytes 4294967297\n", PLAIN,
                         .filters = {"a/#"}};
    assert_true(compare(&vast, 100) > 0); /* a limit of more than 32 bits is none to a run */
}

/* After so many packets at most, one goes the long way, where the limit is looked at. */
static void limit_ends_a_run_of_equal_packets(void **state)
{
    (void)state;
    static const struct {
        struct scene scene;
        uint32_t payload_bytes, run_packets;
    } cases[] = {
        {{"max_queued_messages 0\n", PLAIN, .filters = {"a/#"}}, 60, RUN_PACKETS_MAX},
        {{"max_queued_messages 5\n", PLAIN, .filters = {"a/#"}}, 60, 5},
        {{"max_queued_messages 0\nmax_queued_bytes 700\n", PLAIN, .filters = {"a/#"}}, 60, 10},
        {{"", PLAIN, .filters = {"a/#"}, .is_elsewhere = true}, 60, RUN_PACKETS_MAX},
        {{"", PLAIN, .filters = {"a/#"}, .is_elsewhere = true}, 1000, 8},
        {{"max_queued_messages 0\n", PLAIN, .filters = {"a/#"}}, OUTPUT_REFERENCE_BYTES - 1, 20},
        {{"max_queued_messages 0\n", PLAIN, .filters = {"a/#"}}, OUTPUT_REFERENCE_BYTES, 0},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        static struct stream s;
        uint32_t most = sizeof(s.bytes) / (cases[i].payload_bytes + 20);
        stream_make_equal(&s, most < 600 ? most : 600, cases[i].payload_bytes, MQTT_3_1_1);
        struct outcome outcome = play(&cases[i].scene, &s, false);
        free(outcome.bytes);
        assert_int_equal(outcome.messages_out, s.count);
        assert_in_range(outcome.long_ways, s.count / (cases[i].run_packets + 1),
                        cases[i].run_packets ? s.count - 1 : s.count);
    }
}

static void two_subscribers_and_shared_ones_get_what_they_would(void **state)
{
    (void)state;
    static const struct scene scenes[] = {
        {"", PLAIN, .filters = {"a/often"}, .has_second = true},
        {"", PLAIN, .filters = {"$share/g/a/often"}},
        {"", PLAIN, .filters = {"a/often", "a/#", "+/often"}},
        {"", PLAIN, .filters = {"b"}},
        {"", PLAIN, .filters = {"a/often"}, .has_absent_share = true},
        {"", PLAIN, .filters = {"a/often"}, .has_absent_share = true, .is_elsewhere = true},
    };
    for (size_t i = 0; i < ARRAY_COUNT(scenes); i++) {
        for (uint64_t seed = 200; seed < 205; seed++)
            compare(&scenes[i], seed);
    }
}

/* The end of what was read is in the middle of a packet, wherever that is. */
static void run_may_be_cut_at_any_byte(void **state)
{
    (void)state;
    struct harness *h = harness_new(1, "");
    struct client *subscriber = client_of(h, 0, SUBSCRIBER, 0);
    struct client *publisher = client_of(h, 0, PUBLISHER, 0);
    static const uint8_t packet[] = {0x30, 6, 0, 1, 'a', 0, 'x', 'y'};
    uint8_t three[3 * sizeof(packet)];
    for (int i = 0; i < 3; i++)
        memcpy(three + i * sizeof(packet), packet, sizeof(packet));
    client_subscribe(subscriber, "a", 0);
    for (size_t cut = 0; cut <= sizeof(three); cut++) {
        client_send(publisher, three, cut);
        harness_settle(h);
        client_send(publisher, three + cut, sizeof(three) - cut);
        harness_settle(h);
        for (int i = 0; i < 3; i++)
            client_expect_publish(subscriber, "xy");
        client_expect_nothing(subscriber);
    }
    harness_free(h);
}

static void lose_some(uint32_t reactor, const char *config, uint32_t payload_bytes,
                      uint32_t bytes_max)
{
    struct harness *h = harness_new(2, config);
    struct client *subscriber = client_of(h, reactor, SUBSCRIBER, 0);
    struct client *publisher = client_of(h, 0, PUBLISHER, 0);
    static struct stream s;
    uint64_t got = 0;
    client_subscribe(subscriber, "a/often", 0);
    stream_make_equal(&s, 400, payload_bytes, MQTT_5);
    for (int i = 0; i < 30; i++) {
        stream_send(&s, publisher, false);
        harness_settle(h);
        struct connection *to = harness_session(h, SUBSCRIBER, NULL)->sink;
        assert_in_range(to->out_bytes, 0, bytes_max);
    }
    while (client_next(subscriber) || (harness_settle(h), client_next(subscriber)))
        got += subscriber->type == PACKET_PUBLISH;
    assert_true(harness_dropped(h, DROP_SLOW_QOS0) > 0);
    assert_int_equal(got + harness_dropped(h, DROP_SLOW_QOS0), 30 * 400);
    harness_free(h);
}

/* A slow reader loses messages, and every one of them is counted. */
static void nothing_is_lost_uncounted_when_the_subscriber_does_not_read(void **state)
{
    (void)state;
    static const char by_bytes[] = "max_queued_messages 0\nmax_queued_bytes 2000\n";
    for (uint32_t reactor = 0; reactor < 2; reactor++) {
        lose_some(reactor, "max_queued_messages 20\n", 100, 20 * 112);
        lose_some(reactor, by_bytes, 100, 2000 + 112);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run_is_what_single_packets_are),
        cmocka_unit_test(run_to_another_reactor_is_what_single_packets_are),
        cmocka_unit_test(packets_of_another_version_are_not_passed_on),
        cmocka_unit_test(limits_of_either_side_hold_within_a_run),
        cmocka_unit_test(limit_ends_a_run_of_equal_packets),
        cmocka_unit_test(two_subscribers_and_shared_ones_get_what_they_would),
        cmocka_unit_test(run_may_be_cut_at_any_byte),
        cmocka_unit_test(nothing_is_lost_uncounted_when_the_subscriber_does_not_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
