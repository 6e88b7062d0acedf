/*
 * test_run.c: packets of one topic that are passed on in one piece, against the same packets that
 * are not: with a PINGREQ between any two of them each goes the long way.
 */
#include "harness.h"

#include "conn/output.h"
#include "conn/run.h"
#include "mqtt/version.h"

#define PUBLISHER "publisher"
#define SUBSCRIBER "subscriber"

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

/* What one way of sending came to. */
struct outcome {
    uint8_t *bytes; /* all that the subscriber got */
    size_t len;
    uint64_t metrics[METRIC_COUNT];
    uint64_t dropped;
    uint64_t messages_in, bytes_in, messages_out, bytes_out;
    uint64_t long_ways; /* publications that were routed one by one */
};

struct stream {
    uint64_t random;
    uint32_t payload_bytes; /* of every packet, 0: random */
    uint8_t bytes[60000];
    uint32_t starts[2000], count, len;
};

static uint32_t below(struct stream *s, uint32_t end)
{
    s->random ^= s->random << 13;
    s->random ^= s->random >> 7;
    s->random ^= s->random << 17;
    return (uint32_t)(s->random >> 33) % end;
}

static void stream_add(struct stream *s, uint8_t first, const struct packet *p)
{
    s->starts[s->count++] = s->len;
    s->bytes[s->len++] = first;
    s->len += put_varint(s->bytes + s->len, p->len);
    memcpy(s->bytes + s->len, p->bytes, p->len);
    s->len += p->len;
}

static uint32_t random_payload_bytes(struct stream *s)
{
    static const uint32_t around[] = {0, 1, 63, 110, 117, 127, 128, 200, 300, 2047, 2048, 4100};
    uint32_t dice = below(s, 40);
    if (s->payload_bytes)
        return s->payload_bytes;
    return dice < ARRAY_COUNT(around) ? around[dice] : below(s, 40);
}

/* Mostly one topic at QoS 0; now and then something that must not be taken for it. */
static void stream_add_random(struct stream *s, uint8_t version)
{
    static const char *const topics[] = {"a/often", "a/oftem", "a/often/", "b", "a/ofte"};
    uint32_t dice = below(s, 30);
    struct packet p = {0};
    uint8_t first = 0x30;
    put_string(&p, dice < 5 ? topics[dice] : topics[0]);
    if (dice == 6)
        first = 0x31;
    if (dice == 7)
        first = 0x32, put_u16(&p, 1 + s->count);
    if (version == MQTT_5 && dice == 8)
        put_u8(&p, 2), put_u8(&p, 0x01), put_u8(&p, 1); /* Payload Format Indicator */
    else if (version == MQTT_5)
        put_u8(&p, 0);
    for (uint32_t i = random_payload_bytes(s); i > 0; i--)
        put_u8(&p, 'a' + s->count % 26);
    stream_add(s, first, &p);
}

static void stream_make(struct stream *s, uint64_t seed, uint8_t version, uint32_t payload_bytes)
{
    memset(s, 0, sizeof(*s));
    s->payload_bytes = payload_bytes;
    s->random = seed * 0x9E3779B97F4A7C15ull + 1;
    uint32_t count = 20 + below(s, 300);
    while (s->count < count && s->len < sizeof(s->bytes) - 8300)
        stream_add_random(s, version);
    s->starts[s->count] = s->len;
}

/* All to "a/often". */
static void stream_make_equal(struct stream *s, uint32_t count, uint32_t payload_bytes,
                              uint8_t version)
{
    memset(s, 0, sizeof(*s));
    while (s->count < count) {
        struct packet p = {0};
        put_string(&p, "a/often");
        if (version == MQTT_5)
            put_u8(&p, 0);
        put_bytes(&p, s->bytes, payload_bytes);
        stream_add(s, 0x30, &p);
    }
    s->starts[s->count] = s->len;
}

static struct client *scene_client(struct harness *h, uint32_t reactor, const char *id,
                                   uint8_t version, uint32_t packet_bytes_max)
{
    struct client *client = client_new(h, reactor);
    client->version = version;
    client_connect_as(
        client,
        (struct connect){.id = id, .clean_start = true, .packet_bytes_max = packet_bytes_max});
    harness_settle(h);
    client_expect(client, PACKET_CONNACK);
    return client;
}

/* The packets in one go, or with a PINGREQ after each. */
static void stream_send(const struct stream *s, struct client *publisher, bool has_pings)
{
    static uint8_t whole[sizeof(s->bytes) + 2 * ARRAY_COUNT(s->starts)];
    uint32_t len = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        uint32_t bytes = s->starts[i + 1] - s->starts[i];
        memcpy(whole + len, s->bytes + s->starts[i], bytes);
        len += bytes;
        if (has_pings)
            whole[len++] = 0xC0, whole[len++] = 0;
    }
    client_send(publisher, whole, len);
}

/* Publications that were routed, or delivered from mail, one by one. */
static uint64_t long_ways(struct harness *h)
{
    return harness_worker(h, 0)->publish_serial + harness_worker(h, 1)->publish_serial;
}

static struct outcome play(const struct scene *scene, const struct stream *s, bool has_pings)
{
    struct outcome outcome = {0};
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
    outcome.long_ways = long_ways(h) - serial;
    outcome.len = subscriber->in_len;
    outcome.bytes = malloc(subscriber->in_len + 1);
    memcpy(outcome.bytes, subscriber->in, subscriber->in_len);
    for (int i = 0; i < METRIC_COUNT; i++)
        outcome.metrics[i] = harness_metric(h, i);
    for (int i = 0; i < DROP_COUNT; i++)
        outcome.dropped += harness_dropped(h, i);
    struct session *from = harness_session(h, PUBLISHER, NULL);
    struct session *to = harness_session(h, SUBSCRIBER, NULL);
    outcome.messages_in = from->messages_in, outcome.bytes_in = from->bytes_in;
    outcome.messages_out = to->messages_out, outcome.bytes_out = to->bytes_out;
    harness_free(h);
    return outcome;
}

static void expect_equal(const struct outcome *one, const struct outcome *other)
{
    static const enum metric same[] = {METRIC_PUBLISH_RECEIVED, METRIC_PUBLISH_BYTES_RECEIVED,
                                       METRIC_PUBLISH_SENT, METRIC_PUBLISH_BYTES_SENT};
    assert_int_equal(one->len, other->len);
    assert_memory_equal(one->bytes, other->bytes, one->len);
    for (size_t i = 0; i < ARRAY_COUNT(same); i++)
        assert_int_equal(one->metrics[same[i]], other->metrics[same[i]]);
    assert_int_equal(one->dropped, other->dropped);
    assert_int_equal(one->messages_in, other->messages_in);
    assert_int_equal(one->bytes_in, other->bytes_in);
    assert_int_equal(one->messages_out, other->messages_out);
    assert_int_equal(one->bytes_out, other->bytes_out);
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

/* A slow reader loses messages, and every one of them is counted. */
static void nothing_is_lost_uncounted_when_the_subscriber_does_not_read(void **state)
{
    (void)state;
    struct harness *h = harness_new(1, "max_queued_messages 100\n");
    struct client *subscriber = client_of(h, 0, SUBSCRIBER, 0);
    struct client *publisher = client_of(h, 0, PUBLISHER, 0);
    static struct stream s;
    uint64_t got = 0;
    client_subscribe(subscriber, "a/often", 0);
    stream_make_equal(&s, 400, 100, MQTT_5);
    for (int i = 0; i < 30; i++) {
        stream_send(&s, publisher, false);
        harness_settle(h);
        struct connection *to = harness_session(h, SUBSCRIBER, NULL)->sink;
        assert_in_range(to->out_bytes, 0, 100 * s.starts[1]);
    }
    while (client_next(subscriber) || (harness_settle(h), client_next(subscriber)))
        got += subscriber->type == PACKET_PUBLISH;
    assert_true(harness_dropped(h, DROP_SLOW_QOS0) > 0);
    assert_int_equal(got + harness_dropped(h, DROP_SLOW_QOS0), 30 * 400);
    harness_free(h);
}

/* Numbers go up over all of the subscriber's connections, wherever they are. */
static void expect_rising(struct client *client, uint32_t *last, uint32_t *got)
{
    while (client_next(client)) {
        if (client->type != PACKET_PUBLISH)
            continue;
        struct got message = client_got(client);
        uint32_t number;
        assert_int_equal(message.payload.len, sizeof(number));
        memcpy(&number, message.payload.ptr, sizeof(number));
        assert_true(number > *last);
        *last = number;
        ++*got;
    }
}

static void send_numbers(struct client *publisher, uint32_t *number)
{
    uint8_t bytes[10 * 16];
    uint32_t len = 0;
    for (int i = 0; i < 10; i++) {
        static const uint8_t head[] = {0x30, 8, 0, 1, 'a', 0};
        ++*number;
        memcpy(bytes + len, head, sizeof(head));
        memcpy(bytes + len + sizeof(head), number, sizeof(*number));
        len += sizeof(head) + sizeof(*number);
    }
    client_send(publisher, bytes, len);
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
        cmocka_unit_test(run_is_what_single_packets_are),
        cmocka_unit_test(run_to_another_reactor_is_what_single_packets_are),
        cmocka_unit_test(packets_of_another_version_are_not_passed_on),
        cmocka_unit_test(limits_of_either_side_hold_within_a_run),
        cmocka_unit_test(limit_ends_a_run_of_equal_packets),
        cmocka_unit_test(two_subscribers_and_shared_ones_get_what_they_would),
        cmocka_unit_test(run_may_be_cut_at_any_byte),
        cmocka_unit_test(runs_do_not_make_a_turn_long),
        cmocka_unit_test(order_holds_when_the_session_moves_between_reactors),
        cmocka_unit_test(nothing_is_lost_uncounted_when_the_subscriber_does_not_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
