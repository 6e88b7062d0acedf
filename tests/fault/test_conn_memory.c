/*
 * test_conn_memory.c: a scenario of clients is played again and again, and each time one more of its
 * allocations fails: the first, the second, ... to the last. The broker stays up, leaks nothing, its
 * gauges stay true, and where a message is lost it says so.
 */
#include "tests/unit/conn/failing_memory.h"

#include "tests/unit/conn/harness.h"
#include "tests/unit/conn/harness_check.h"

#define NEVER 0xFFFFFFFFu

static struct {
    bool is_on;
    uint32_t at, length; /* the allocations from `at` on, so many, fail */
    uint32_t count, failed;
} fault;

static bool memory_fails(void)
{
    if (!fault.is_on)
        return false;
    fault.count++;
    if (fault.count < fault.at || fault.count >= fault.at + fault.length)
        return false;
    fault.failed++;
    return true;
}

/* ---- scenarios: nothing is expected, everything may be refused ---- */

typedef void (*scenario_fn)(struct harness *h);

static void turn_some(struct harness *h)
{
    for (uint32_t i = 0; i < 6; i++) {
        for (uint32_t r = 0; r < h->group->count; r++)
            harness_turn(h, r);
    }
}

/* Reads all and answers as a client does. */
static void answer(struct client *client)
{
    while (client_next(client)) {
        if (client->type == PACKET_PUBLISH) {
            struct got got = client_got(client);
            if (got.qos)
                client_ack(client, got.qos == 1 ? PACKET_PUBACK : PACKET_PUBREC, got.packet_id);
        } else if (client->type == PACKET_PUBREC || client->type == PACKET_PUBREL) {
            client_ack(client, client->type + 1,
                       (uint16_t)(client->body[0] << 8 | client->body[1]));
        }
    }
}

static void answer_all(struct harness *h)
{
    for (uint32_t i = 0; i < 3; i++) {
        turn_some(h);
        for (uint32_t c = 0; c < h->client_count; c++)
            answer(h->clients[c]);
    }
    turn_some(h);
}

static struct client *come(struct harness *h, uint32_t reactor, struct connect connect)
{
    struct client *client = client_new(h, reactor);
    client_connect_as(client, connect);
    return client;
}

/* Publishes at each QoS, small and large, with properties and retained. */
static void publish_all_kinds(struct client *p, uint16_t *packet_id)
{
    static uint8_t large[5000];
    for (uint8_t qos = 0; qos <= 2; qos++) {
        client_publish(p, "t/x", "small", qos, ++*packet_id);
        client_publish_bytes(p, "t/large", large, sizeof(large), qos, ++*packet_id, false);
        client_publish_bytes(p, "t/kept", "retained", 8, qos, ++*packet_id, true);
    }
}

static void connect_subscribe_publish_disconnect(struct harness *h)
{
    uint16_t packet_id = 0;
    struct client *s = come(
        h, 0, (struct connect){.id = "S", .expiry_s = NEVER, .alias_maximum = 5, .user = "anna"});
    struct client *far = come(h, 1, (struct connect){.id = "FAR", .keepalive_s = 10});
    turn_some(h);
    for (uint8_t qos = 0; qos <= 2; qos++) {
        char filter[8] = {'t', '/', '+', 0};
        client_subscribe_as(s, qos == 0 ? "#" : qos == 1 ? filter : "t/#", qos, qos);
        client_subscribe_as(far, qos == 0 ? "$share/g/#" : qos == 1 ? filter : "t/#", qos, 0);
    }
    struct client *p = come(h, 0,
                            (struct connect){.id = "P",
                                             .clean_start = true,
                                             .will_topic = "t/will",
                                             .will_payload = "dead",
                                             .will_qos = 1});
    turn_some(h);
    publish_all_kinds(p, &packet_id);
    answer_all(h);
    client_unsubscribe(s, "#");
    client_drop(s);
    turn_some(h);
    publish_all_kinds(p, &packet_id); /* queued */
    answer_all(h);
    s = come(h, 0, (struct connect){.id = "S", .expiry_s = NEVER});
    answer_all(h);
    client_drop(p); /* its will */
    client_disconnect(far, 4);
    answer_all(h);
    client_subscribe_as(s, "t/#", 1, 0); /* replaces, retained ones again */
    answer_all(h);
    client_disconnect(s, 0);
    turn_some(h);
}

static void take_over(struct harness *h)
{
    uint16_t packet_id = 0;
    struct client *p = come(h, 1, (struct connect){.id = "P", .clean_start = true});
    struct client *s = come(h, 0, (struct connect){.id = "S", .expiry_s = NEVER});
    turn_some(h);
    client_subscribe_as(s, "t/#", 1, 3);
    client_subscribe_as(s, "t/+", 2, 4);
    turn_some(h);
    for (uint32_t i = 0; i < 4; i++) {
        publish_all_kinds(p, &packet_id);
        s = come(h, (i + 1) % 2,
                 (struct connect){.id = "S", .expiry_s = NEVER, .clean_start = i == 3});
        harness_turn(h, 1);
        publish_all_kinds(p, &packet_id);
        harness_turn(h, 0);
        harness_turn(h, 1);
        answer_all(h);
    }
    client_disconnect(s, 0);
    answer_all(h);
}

/* Shared members that go, filters by the hundred, ids by the dozen. */
static void crowd(struct harness *h)
{
    char text[32];
    struct client *members[3], *p = come(h, 0, (struct connect){.id = "P", .clean_start = true});
    for (uint32_t i = 0; i < 3; i++) {
        snprintf(text, sizeof(text), "M%u", i);
        members[i] = come(h, i % 2, (struct connect){.id = text, .clean_start = true});
        turn_some(h);
        client_subscribe_as(members[i], "$share/g/t/#", 1, 0);
    }
    struct packet list = {0};
    put_u16(&list, 9);
    put_u8(&list, 0);
    for (uint32_t i = 0; i < 150; i++) {
        snprintf(text, sizeof(text), "t/%u", i);
        put_string(&list, text);
        put_u8(&list, 1);
    }
    client_send_packet(members[0], 0x82, &list);
    turn_some(h);
    for (uint16_t id = 1; id <= 60; id++) {
        snprintf(text, sizeof(text), "t/%u", id);
        client_publish(p, text, "x", id % 3, id);
    }
    turn_some(h);
    client_drop(members[1]); /* gives up what it has not acknowledged */
    turn_some(h);
    client_drop(members[2]);
    answer_all(h);
    client_drop(members[0]);
    client_drop(p);
    turn_some(h);
}

/* ---- what must hold whatever failed ---- */

/* Whether any counter speaks of memory, or a CONNECT was refused. */
static bool says_so(struct harness *h)
{
    return harness_dropped(h, DROP_MEMORY) || harness_closed(h, CLOSE_MEMORY) ||
           harness_closed(h, CLOSE_REFUSED) || harness_metric(h, METRIC_ACCEPT_MEMORY);
}

static uint32_t plays, plays_told;

/* Plays it once; returns how many allocations it made. */
static uint32_t play(scenario_fn scenario, uint32_t at, uint32_t length)
{
    struct harness *h = harness_new(2, "allow_duplicate_messages false\nqueue_qos0_messages true\n"
                                       "max_inflight_messages 5\n");
    harness_settle(h);
    fault.at = at;
    fault.length = length;
    fault.count = fault.failed = 0;
    fault.is_on = true;
    scenario(h);
    fault.is_on = false;
    harness_settle(h);
    harness_check(h);
    plays++;
    plays_told += says_so(h);
    harness_free(h);
    return fault.count;
}

static void play_all(scenario_fn scenario, uint32_t length)
{
    uint32_t total = play(scenario, UINT32_MAX / 2, 0);
    assert_true(total > 50);
    for (uint32_t at = 1; at <= total; at++) {
        if (getenv("FAULT_VERBOSE"))
            fprintf(stderr, "%u of %u\n", at, total);
        play(scenario, at, length);
    }
    print_message("%u allocations\n", total);
}

static void one_allocation_fails_in_every_place(void **state)
{
    (void)state;
    play_all(connect_subscribe_publish_disconnect, 1);
    play_all(take_over, 1);
    play_all(crowd, 1);
    print_message("%u of %u plays say that memory was short\n", plays_told, plays);
    assert_true(plays_told > plays / 2);
}

static void many_allocations_fail_from_every_place_on(void **state)
{
    (void)state;
    play_all(connect_subscribe_publish_disconnect, 20);
    play_all(take_over, 20);
    play_all(crowd, 20);
}

/* Memory that comes back after a while: who asked for a session gets it, or is told why not. */
static void takeover_without_memory_is_refused_or_done(void **state)
{
    (void)state;
    for (uint32_t at = 1; at < 40; at++) {
        struct harness *h = harness_new(2, "");
        struct client *old = client_of(h, 0, "S", NEVER);
        client_subscribe(old, "t", 1);
        struct client *s = client_coming_back(h, 1, "S", NEVER);
        fault.at = at;
        fault.length = 3;
        fault.count = 0;
        fault.is_on = true;
        turn_some(h);
        fault.is_on = false;
        harness_settle(h);
        bool has_answer = client_next(s);
        if (has_answer)
            assert_true(s->body[1] == 0 || s->body[1] >= 0x80);
        else
            assert_true(s->is_gone);
        struct client *p = client_of(h, 0, "P", 0);
        client_publish(p, "t", "x", 1, 1);
        harness_settle(h);
        bool is_present = has_answer && s->body[1] == 0 && s->body[0] == 1;
        if (is_present)
            client_expect_publish(s, "x");
        harness_check(h);
        harness_free(h);
    }
}

/* CONNACK is the first packet or there is none; DISCONNECT comes after it only [MQTT-3.14.0-1]. */
static void connect_without_memory_is_never_answered_by_disconnect(void **state)
{
    (void)state;
    uint32_t answered = 0, silent = 0;
    for (fault.at = 1; fault.at < 30; fault.at++) {
        struct harness *h = harness_new(1, "");
        struct client *c = come(h, 0, (struct connect){.id = "C", .clean_start = true});
        fault.length = 1;
        fault.count = 0;
        fault.is_on = true;
        turn_some(h);
        fault.is_on = false;
        harness_settle(h);
        if (client_next(c))
            assert_int_equal(c->type, PACKET_CONNACK);
        answered += c->type != 0;
        silent += c->type == 0;
        harness_free(h);
    }
    assert_true(answered && silent);
}

/* A socket that there is no memory for is closed and counted; also where a transport has to be made. */
static void accept_without_memory_closes_the_socket(void **state)
{
    (void)state;
    struct harness *h = harness_new(1, "listener 1883\nprotocol websockets\n");
    uint32_t refused = 0;
    fault.length = 1;
    for (fault.at = 1; fault.at < 5; fault.at++) {
        fault.count = fault.failed = 0;
        fault.is_on = true;
        client_new(h, 0);
        fault.is_on = false;
        refused += fault.failed;
    }
    assert_true(refused >= 2);
    assert_int_equal(harness_metric(h, METRIC_ACCEPT_MEMORY), refused);
    assert_int_equal(atomic_load(&h->broker.connections), h->client_count - refused);
    assert_int_equal(harness_worker(h, 0)->connections.used, h->client_count - refused);
    harness_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_allocation_fails_in_every_place),
        cmocka_unit_test(many_allocations_fail_from_every_place_on),
        cmocka_unit_test(takeover_without_memory_is_refused_or_done),
        cmocka_unit_test(connect_without_memory_is_never_answered_by_disconnect),
        cmocka_unit_test(accept_without_memory_closes_the_socket),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
