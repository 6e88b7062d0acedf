/*
 * test_run_mail.c: packets that are passed on as they came to a session of another reactor, by several
 * publishers: they share records of mail, and nobody can tell.
 */
#include "run_stream.h"

#include "conn/output.h"
#include "conn/publish.h"
#include "runtime/log.h"

#define CROWD 3u
#define CROWD_STEPS 12u

struct crowd {
    struct harness *h;
    struct client *publishers[CROWD], *one, *two; /* reactor 0; reactor 1: both subscribers */
};

static struct crowd crowd_new(uint64_t seed, const char *config)
{
    struct crowd crowd = {.h = harness_new(2, config)};
    static const char *const ids[CROWD] = {PUBLISHER, "publisher-1", "publisher-2"};
    for (uint32_t i = 0; i < CROWD; i++)
        crowd.publishers[i] =
            scene_client(crowd.h, 0, ids[i], seed >> i & 1 ? MQTT_5 : MQTT_3_1_1, 0);
    crowd.one = scene_client(crowd.h, 1, SUBSCRIBER, seed % 3 ? MQTT_3_1_1 : MQTT_5, 0);
    crowd.two = scene_client(crowd.h, 1, "two", MQTT_3_1_1, 0);
    client_subscribe(crowd.one, "a/#", 0);
    client_subscribe(crowd.two, "b", 0);
    client_subscribe(crowd.two, seed % 5 ? "a/oftem" : "a/often", 0);
    return crowd;
}

/* In each step all publishers have sent something before their reactor reads. */
static struct outcome play_crowd(uint64_t seed, const char *config, bool has_pings)
{
    static struct stream s;
    struct crowd crowd = crowd_new(seed, config);
    struct harness *h = crowd.h;
    uint64_t serial = long_ways(h);
    for (uint32_t step = 0; step < CROWD_STEPS * CROWD; step++) {
        struct client *publisher = crowd.publishers[step % CROWD];
        memset(&s, 0, sizeof(s));
        s.random = (seed * 1000 + step) * 0x9E3779B97F4A7C15ull + 1;
        s.payload_bytes = seed % 4 ? 0 : 20;
        for (uint32_t left = 1 + below(&s, 25); left; left--)
            stream_add_random(&s, publisher->version);
        s.starts[s.count] = s.len;
        stream_send(&s, publisher, has_pings);
        if (step % CROWD == CROWD - 1)
            harness_settle(h);
        client_read(crowd.one);
        client_read(crowd.two);
    }
    struct outcome outcome = outcome_of(h, crowd.one, serial);
    outcome_add(&outcome, crowd.two);
    harness_free(h);
    return outcome;
}

static void packets_of_several_publishers_are_what_single_ones_are(void **state)
{
    (void)state;
    static const char *const configs[] = {"max_queued_messages 0\n", "max_queued_messages 7\n",
                                          "max_queued_messages 0\nmax_queued_bytes 700\n"};
    uint64_t spared = 0;
    for (uint64_t seed = 400; seed < 448; seed++) {
        const char *config = configs[seed / 16 % ARRAY_COUNT(configs)];
        struct outcome run = play_crowd(seed, config, false);
        struct outcome single = play_crowd(seed, config, true);
        expect_equal(&run, &single);
        spared += single.long_ways - run.long_ways;
        free(run.bytes);
        free(single.bytes);
    }
    assert_true(spared > 10000);
}

/* What arrives in one turn for one session is one record, up to a limit, of which the first packet goes
   the long way and the others do not. */
static void packets_of_several_publishers_share_records(void **state)
{
    (void)state;
    static const struct {
        uint32_t packets, payload_bytes; /* of each publisher */
        uint32_t records_min, records_max;
    } cases[] = {{10, 30, 1, 1},
                 {150, 200, CROWD * 150 * 212 / RUN_MAIL_BYTES, 25},
                 {1, OUTPUT_REFERENCE_BYTES, CROWD, CROWD}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        static struct stream s;
        struct crowd crowd = crowd_new(8, "max_queued_messages 0\n"); /* all of 3.1.1 */
        uint64_t before = harness_metric(crowd.h, METRIC_MAIL_RECORDS);
        uint64_t serial = harness_worker(crowd.h, 1)->publish_serial;
        stream_make_equal(&s, cases[i].packets, cases[i].payload_bytes, MQTT_3_1_1);
        for (uint32_t j = 0; j < CROWD; j++)
            stream_send(&s, crowd.publishers[j], false);
        harness_settle(crowd.h);
        client_read(crowd.one);
        assert_int_equal(crowd.one->in_len, CROWD * s.len);
        uint64_t records = harness_metric(crowd.h, METRIC_MAIL_RECORDS) - before;
        assert_in_range(records, cases[i].records_min, cases[i].records_max);
        serial = harness_worker(crowd.h, 1)->publish_serial - serial;
        assert_in_range(serial, records, 2 * records);
        harness_free(crowd.h);
    }
}

/* A line of the log for each. */
static void packets_go_one_by_one_while_each_is_logged(void **state)
{
    (void)state;
    static struct stream s;
    struct crowd crowd = crowd_new(8, "max_queued_messages 0\n");
    uint64_t serial = harness_worker(crowd.h, 1)->publish_serial;
    stream_make_equal(&s, 20, 30, MQTT_3_1_1);
    uint32_t types = atomic_exchange(&log_types_on, LOG_DEBUG_);
    for (uint32_t i = 0; i < CROWD; i++)
        stream_send(&s, crowd.publishers[i], false);
    harness_settle(crowd.h);
    atomic_store(&log_types_on, types);
    assert_int_equal(harness_worker(crowd.h, 1)->publish_serial - serial, CROWD * 20);
    harness_free(crowd.h);
}

static void expect_numbers(struct client *subscriber, uint32_t packets)
{
    uint32_t last = 0, got = 0;
    expect_rising(subscriber, &last, &got);
    assert_int_equal(got, packets);
}

static void two_subscribers_of_another_reactor_get_all(void **state)
{
    (void)state;
    uint32_t number = 0;
    struct harness *h = harness_new(2, "");
    struct client *publisher = client_of(h, 0, PUBLISHER, 0);
    struct client *one = client_of(h, 1, SUBSCRIBER, 0), *two = client_of(h, 1, "two", 0);
    client_subscribe(one, "a", 0);
    client_subscribe(two, "a", 0);
    send_numbers(publisher, &number);
    harness_settle(h);
    expect_numbers(one, 10);
    expect_numbers(two, 10);
    harness_free(h);
}

/* What was under way to a member of a share group that ended is for another one. */
static void packets_find_another_member_of_a_share_group(void **state)
{
    (void)state;
    uint32_t number = 0;
    struct harness *h = harness_new(2, "");
    struct client *publisher = client_of(h, 0, PUBLISHER, 0);
    struct client *one = client_of(h, 1, SUBSCRIBER, 0), *two = client_of(h, 1, "two", 0);
    client_subscribe(one, "$share/g/a", 0);
    client_subscribe(two, "$share/g/a", 0);
    send_numbers(publisher, &number);
    harness_turn(h, 0);
    client_drop(two);
    harness_settle(h);
    uint32_t got = 0;
    while (client_next(one))
        got += one->type == PACKET_PUBLISH;
    assert_int_equal(got, 10);
    harness_free(h);
}

/* Its publisher is looked at where the session is: [MQTT-3.8.3-3]. */
static void no_local_holds_on_another_reactor(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {0x30, 5, 0, 1, 'a', 0, 'x'};
    struct harness *h = harness_new(2, "");
    struct client *subscriber = scene_client(h, 1, SUBSCRIBER, MQTT_5, 0);
    client_subscribe(subscriber, "a", 4);
    static const char *const publishers[] = {SUBSCRIBER, "somebody", SUBSCRIBER};
    for (uint32_t i = 0; i < ARRAY_COUNT(publishers); i++) {
        struct publication publication = {.topic = slice_of(bytes + 4, 1),
                                          .payload = slice_of(bytes + 6, 1),
                                          .packet = slice_of(bytes, sizeof(bytes)),
                                          .is_packet_v5 = true,
                                          .publisher_id = slice_str(publishers[i])};
        assert_int_equal(publish_message(harness_worker(h, 0), NULL, &publication), 1);
    }
    harness_settle(h);
    client_expect_publish(subscriber, "x");
    client_expect_nothing(subscriber);
    harness_free(h);
}

/* A packet for whoever had the place of a session before is not one for who has it now. */
static void packets_for_different_sessions_of_one_slot_share_no_record(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {0x30, 4, 0, 1, 'a', 'x'};
    struct harness *h = harness_new(2, "");
    struct client *subscriber = client_of(h, 1, SUBSCRIBER, 0);
    struct worker *worker = harness_worker(h, 0);
    uint32_t slot = harness_session(h, SUBSCRIBER, NULL)->slot;
    struct publication publication = {.topic = slice_of(bytes + 4, 1),
                                      .payload = slice_of(bytes + 5, 1),
                                      .packet = slice_of(bytes, sizeof(bytes))};
    struct index_match match = {.subscriber = index_subscriber_make(slot, 0, 0, false, false)};
    uint32_t generation = publish_generation(worker, &match);
    for (uint32_t i = 0; i < 4; i++) {
        worker->passed = (struct passed_on){.by_mail = true,
                                            .reactor = 1,
                                            .subscriber = match.subscriber,
                                            .generation = generation + (i & 1)};
        assert_true(run_mail_packet(worker, &publication));
    }
    harness_settle(h);
    client_expect_publish(subscriber, "x");
    client_expect_publish(subscriber, "x");
    client_expect_nothing(subscriber);
    harness_free(h);
}

static void order_holds_when_the_session_moves_between_reactors(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct stream random = {.random = seed * 0x9E3779B97F4A7C15ull};
        struct harness *h = harness_new(3, "max_queued_messages 0\nqueue_qos0_messages true\n");
        struct client *publisher = client_of(h, 0, PUBLISHER, 0);
        struct client *subscriber = client_of(h, 1, SUBSCRIBER, 1000);
        uint32_t number = 0, last = 0, got = 0;
        client_subscribe(subscriber, "a", 0);
        for (int step = 0; step < 200; step++) {
            send_numbers(publisher, &number);
            if (below(&random, 20) == 0) {
                struct client *next = client_coming_back(h, below(&random, 3), SUBSCRIBER, 1000);
                for (int i = 0; i < 6; i++)
                    harness_turn(h, below(&random, 3));
                harness_settle(h);
                expect_rising(subscriber, &last, &got);
                subscriber = next;
            }
            for (int i = 0; i < 3; i++)
                harness_turn(h, below(&random, 3));
            expect_rising(subscriber, &last, &got);
        }
        harness_settle(h);
        expect_rising(subscriber, &last, &got);
        assert_int_equal(last, number);
        assert_in_range(got, number / 2,
                        number); /* some were under way to a connection that ended */
        harness_free(h);
    }
}

/* Packets that are to be handled one by one count as much in a turn as if they had come one by one. */
static void runs_do_not_make_a_turn_long(void **state)
{
    (void)state;
    static const uint8_t packet[] = {0x30, 3, 0, 1, 'a'};
    static uint8_t many[12000 * sizeof(packet)];
    struct harness *h = harness_new(2, "");
    struct client *publisher = scene_client(h, 0, PUBLISHER, MQTT_3_1_1, 0);
    client_subscribe(scene_client(h, 1, SUBSCRIBER, MQTT_5, 0), "a", 0);
    for (size_t i = 0; i < sizeof(many); i += sizeof(packet))
        memcpy(many + i, packet, sizeof(packet));
    for (int i = 0; i < 6; i++) {
        client_send(publisher, many, sizeof(many));
        harness_turn(h, 0);
    }
    assert_int_equal(harness_session(h, PUBLISHER, NULL)->messages_in, 6 * 12000);
    uint64_t serial = harness_worker(h, 1)->publish_serial;
    harness_turn(h, 1);
    assert_in_range(harness_worker(h, 1)->publish_serial - serial, 1000, 5000);
    for (int i = 0; i < 10; i++)
        harness_settle(h);
    assert_int_equal(harness_worker(h, 1)->publish_serial - serial, 6 * 12000);
    harness_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packets_of_several_publishers_are_what_single_ones_are),
        cmocka_unit_test(packets_of_several_publishers_share_records),
        cmocka_unit_test(packets_go_one_by_one_while_each_is_logged),
        cmocka_unit_test(two_subscribers_of_another_reactor_get_all),
        cmocka_unit_test(packets_find_another_member_of_a_share_group),
        cmocka_unit_test(no_local_holds_on_another_reactor),
        cmocka_unit_test(packets_for_different_sessions_of_one_slot_share_no_record),
        cmocka_unit_test(runs_do_not_make_a_turn_long),
        cmocka_unit_test(order_holds_when_the_session_moves_between_reactors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
