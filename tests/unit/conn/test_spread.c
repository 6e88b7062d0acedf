/*
 * test_spread.c: publications to more subscribers than one turn may serve (conn/publish.c): order,
 * the publisher's waiting, and what else happens meanwhile.
 */
#include <sys/resource.h>

#include "tests/unit/conn/harness.h"

#define WIDE 2100u

/* Ends the turn's jobs after each slice of whatever else is at work. */
struct brake {
    struct job job;
    bool is_off;
};

static bool brake_run(struct reactor *reactor, struct job *job)
{
    uint64_t until_ns = clock_real_ns() + 1500000;
    (void)reactor;
    while (clock_real_ns() < until_ns) {
    }
    return CONTAINER_OF(job, struct brake, job)->is_off;
}

static void brake_on(struct harness *h, struct brake *brake)
{
    *brake = (struct brake){.job.run = brake_run};
    reactor_job_add(&h->group->reactors[0], &brake->job);
}

static void brake_off(struct harness *h, struct brake *brake)
{
    brake->is_off = true;
    harness_settle(h);
}

struct crowd {
    struct harness *h;
    struct client *clients[WIDE];
};

/* Clients that subscribe to "wide", dealt out to the reactors. */
static struct crowd *crowd_new(uint32_t reactors, const char *config)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    struct crowd *crowd = calloc(1, sizeof(*crowd));
    crowd->h = harness_new(reactors, config);
    char id[16];
    for (uint32_t i = 0; i < WIDE; i++) {
        struct client *client = crowd->clients[i] = client_new(crowd->h, i % reactors);
        snprintf(id, sizeof(id), "c%u", i);
        client_connect_as(client, (struct connect){.id = id, .clean_start = true});
        client_subscribe_as(client, "wide", 1, 0);
    }
    harness_admit(crowd->h);
    for (uint32_t i = 0; i < WIDE; i++) {
        client_expect(crowd->clients[i], PACKET_CONNACK);
        client_expect(crowd->clients[i], PACKET_SUBACK);
    }
    return crowd;
}

static void crowd_free(struct crowd *crowd)
{
    harness_free(crowd->h);
    free(crowd);
}

static void expect_all(struct crowd *crowd, const char *payload)
{
    for (uint32_t i = 0; i < WIDE; i++)
        client_expect_publish(crowd->clients[i], payload);
}

static struct connection *connection_of(struct harness *h, const char *id)
{
    return harness_session(h, id, NULL)->sink;
}

static void wide_publications_come_in_order(void **state)
{
    (void)state;
    for (uint32_t reactors = 1; reactors <= 2; reactors++) {
        struct crowd *crowd = crowd_new(reactors, "");
        struct client *p = client_of(crowd->h, 0, "P", 0);
        client_publish(p, "wide", "1", 0, 0);
        client_publish(p, "wide", "2", 1, 1);
        client_publish(p, "wide", "3", 0, 0);
        for (uint32_t i = 0; i < 4; i++)
            harness_settle(crowd->h);
        expect_all(crowd, "1");
        expect_all(crowd, "2");
        expect_all(crowd, "3");
        client_expect(p, PACKET_PUBACK);
        crowd_free(crowd);
    }
}

static void wide_publication_holds_its_publisher_and_nobody_else(void **state)
{
    (void)state;
    struct brake brake;
    struct crowd *crowd = crowd_new(1, "");
    struct harness *h = crowd->h;
    struct client *p = client_of(h, 0, "P", 0), *q = client_of(h, 0, "Q", 0);
    client_subscribe(q, "small", 0);
    brake_on(h, &brake);
    client_publish(p, "wide", "w", 0, 0);
    client_publish(p, "small", "from P", 0, 0);
    harness_turn(h, 0);
    assert_true(connection_of(h, "P")->hold & HOLD_SPREAD);
    client_publish(q, "small", "from Q", 0, 0);
    for (uint32_t i = 0; i < 4; i++) /* after a long turn the next one looks at few connections */
        harness_turn(h, 0);
    client_expect_publish(q, "from Q");
    client_expect_nothing(q);
    brake_off(h, &brake);
    assert_int_equal(connection_of(h, "P")->hold, 0);
    expect_all(crowd, "w");
    client_expect_publish(q, "from P");
    crowd_free(crowd);
}

/* Each subscriber gets the bytes of the publication that is meant, whatever is encoded meanwhile. */
static void wide_publications_at_once_do_not_mix(void **state)
{
    (void)state;
    struct brake brake;
    struct crowd *crowd = crowd_new(1, "");
    struct harness *h = crowd->h;
    struct client *p = client_of(h, 0, "P", 0), *q = client_of(h, 0, "Q", 0);
    struct client *a = client_of(h, 0, "A", 0), *b = client_of(h, 0, "B", 0);
    client_subscribe(a, "small", 0);
    client_subscribe(b, "small", 0);
    brake_on(h, &brake);
    client_publish(p, "wide", "from P", 0, 0);
    harness_turn(h, 0);
    for (uint32_t i = 0; i < 20; i++) {
        client_publish(q, "small", "from Q", 0, 0);
        harness_turn(h, 0);
        client_expect_publish(a, "from Q");
        client_expect_publish(b, "from Q");
    }
    client_publish(p, "wide", "again P", 0, 0);
    client_publish(q, "wide", "again Q", 0, 0);
    for (uint32_t i = 0; i < 60; i++)
        harness_turn(h, 0);
    brake_off(h, &brake);
    expect_all(crowd, "from P");
    for (uint32_t i = 0; i < WIDE; i++) {
        client_expect(crowd->clients[i], PACKET_PUBLISH);
        uint8_t first = client_got(crowd->clients[i]).payload.ptr[6];
        client_expect_publish(crowd->clients[i], first == 'P' ? "again Q" : "again P");
    }
    crowd_free(crowd);
}

static void wide_publication_outlives_its_publisher(void **state)
{
    (void)state;
    struct brake brake;
    struct crowd *crowd = crowd_new(2, "");
    struct harness *h = crowd->h;
    struct client *p = client_of(h, 0, "P", 0);
    brake_on(h, &brake);
    client_publish(p, "wide", "w", 1, 1);
    harness_turn(h, 0);
    struct client *other = client_new(h, 1); /* takes its place */
    client_connect_as(other, (struct connect){.id = "P", .clean_start = true});
    for (uint32_t i = 0; i < 3; i++) {
        harness_turn(h, 1);
        harness_turn(h, 0);
    }
    uint16_t owner;
    assert_non_null(harness_session(h, "P", &owner));
    assert_int_equal(owner, 1);
    client_expect(p, PACKET_PUBACK);
    client_expect(p, PACKET_DISCONNECT);
    brake_off(h, &brake);
    expect_all(crowd, "w");
    crowd_free(crowd);
}

/* Its session goes to who asked last, also when an earlier one, which may be gone, is still to get it. */
static void publisher_that_comes_back_twice_keeps_its_last_connection(void **state)
{
    (void)state;
    struct brake brake;
    struct crowd *crowd = crowd_new(2, "");
    struct harness *h = crowd->h;
    struct client *first = client_of(h, 0, "P", 1000);
    brake_on(h, &brake);
    client_publish(first, "wide", "w", 0, 0);
    harness_turn(h, 0);
    struct client *second = client_coming_back(h, 1, "P", 1000);
    harness_turn(h, 1);
    harness_turn(h, 0);
    client_expect(first, PACKET_DISCONNECT);
    client_expect_nothing(second);
    client_drop(second);
    struct client *third = client_coming_back(h, 0, "P", 1000);
    harness_turn(h, 0);
    brake_off(h, &brake);
    harness_finish_jobs(h);
    harness_settle(h);
    client_expect(third, PACKET_CONNACK);
    client_expect_nothing(third);
    assert_non_null(connection_of(h, "P"));
    expect_all(crowd, "w");
    crowd_free(crowd);
}

/* It said DISCONNECT before it left: that is read when its publication is spread, so no will. */
static void publisher_that_left_is_heard_out_after_its_wide_publication(void **state)
{
    (void)state;
    struct brake brake;
    struct crowd *crowd = crowd_new(1, "");
    struct harness *h = crowd->h;
    struct client *p = client_new(h, 0);
    client_connect_as(p, (struct connect){.id = "P", .will_topic = "wide", .will_payload = "will"});
    harness_settle(h);
    client_expect(p, PACKET_CONNACK);
    brake_on(h, &brake);
    client_publish(p, "wide", "w", 0, 0);
    client_publish(p, "wide", "last", 0, 0);
    client_disconnect(p, 0);
    harness_turn(h, 0);
    client_drop(p);
    for (uint32_t i = 0; i < 6; i++)
        harness_turn(h, 0);
    assert_non_null(harness_session(h, "P", NULL));
    brake_off(h, &brake);
    harness_finish_jobs(h);
    for (uint32_t i = 0; i < WIDE; i++) {
        client_expect_publish(crowd->clients[i], "w");
        client_expect_publish(crowd->clients[i], "last");
        client_expect_nothing(crowd->clients[i]);
    }
    assert_null(harness_session(h, "P", NULL));
    crowd_free(crowd);
}

/* The same when another connection takes its place meanwhile. */
static void publisher_that_is_taken_over_is_heard_out_after_its_wide_publication(void **state)
{
    (void)state;
    for (uint32_t reactor = 0; reactor <= 1; reactor++) {
        struct brake brake;
        struct crowd *crowd = crowd_new(2, "");
        struct harness *h = crowd->h;
        struct client *p = client_new(h, 0);
        client_connect_as(
            p, (struct connect){
                   .id = "P", .expiry_s = 1000, .will_topic = "wide", .will_payload = "will"});
        harness_settle(h);
        client_expect(p, PACKET_CONNACK);
        brake_on(h, &brake);
        client_publish(p, "wide", "w", 0, 0);
        client_publish(p, "wide", "again", 0, 0);
        client_publish(p, "wide", "last", 0, 0);
        client_disconnect(p, 0);
        harness_turn(h, 0);
        struct client *next = client_coming_back(h, reactor, "P", 1000);
        client_drop(p);
        for (uint32_t i = 0; i < 3; i++) {
            harness_turn(h, 1);
            harness_turn(h, 0);
        }
        assert_true(connection_of(h, "P")->hold & HOLD_LEAVING);
        client_expect_nothing(next);
        brake_off(h, &brake);
        harness_finish_jobs(h);
        harness_settle(h);
        client_expect(next, PACKET_CONNACK);
        for (uint32_t i = 0; i < WIDE; i++) {
            client_expect_publish(crowd->clients[i], "w");
            client_expect_publish(crowd->clients[i], "again");
            client_expect_publish(crowd->clients[i], "last");
            client_expect_nothing(crowd->clients[i]);
        }
        crowd_free(crowd);
    }
}

static void subscribers_may_go_while_a_wide_publication_is_spread(void **state)
{
    (void)state;
    struct brake brake;
    struct crowd *crowd = crowd_new(1, "");
    struct harness *h = crowd->h;
    struct client *p = client_of(h, 0, "P", 0);
    brake_on(h, &brake);
    client_publish(p, "wide", "w", 1, 1);
    harness_turn(h, 0);
    for (uint32_t i = 0; i < WIDE; i += 2)
        client_drop(crowd->clients[i]);
    for (uint32_t i = 0; i < 30; i++)
        harness_turn(h, 0);
    brake_off(h, &brake);
    for (uint32_t i = 1; i < WIDE; i += 2)
        client_expect_publish(crowd->clients[i], "w");
    crowd_free(crowd);
}

/* A slot that was given to another client meanwhile gets nothing that was meant for the first. */
static void newcomers_get_nothing_of_a_spread_from_before_their_time(void **state)
{
    (void)state;
    struct brake brake;
    struct crowd *crowd = crowd_new(1, "");
    struct harness *h = crowd->h;
    struct client *p = client_of(h, 0, "P", 0);
    brake_on(h, &brake);
    client_publish(p, "wide", "w", 1, 1);
    harness_turn(h, 0);
    client_drop(crowd->clients[WIDE - 1]);
    client_drop(crowd->clients[WIDE - 2]);
    for (uint32_t i = 0; i < 4; i++)
        harness_turn(h, 0);
    struct client *n1 = client_new(h, 0), *n2 = client_new(h, 0);
    client_connect_as(n1, (struct connect){.id = "N1", .clean_start = true});
    client_connect_as(n2, (struct connect){.id = "N2", .clean_start = true});
    for (uint32_t i = 0; i < 30; i++)
        harness_turn(h, 0);
    brake_off(h, &brake);
    client_expect(n1, PACKET_CONNACK);
    client_expect_nothing(n1);
    client_expect(n2, PACKET_CONNACK);
    client_expect_nothing(n2);
    crowd_free(crowd);
}

static void wills_go_out_while_a_wide_publication_is_spread(void **state)
{
    (void)state;
    struct brake brake;
    struct crowd *crowd = crowd_new(1, "");
    struct harness *h = crowd->h;
    struct client *p = client_of(h, 0, "P", 0), *dying = client_new(h, 0);
    struct client *a = client_of(h, 0, "A", 0), *b = client_of(h, 0, "B", 0);
    client_subscribe(a, "will", 1);
    client_subscribe(b, "will", 1);
    client_connect_as(dying, (struct connect){.id = "D",
                                              .clean_start = true,
                                              .will_topic = "will",
                                              .will_payload = "dead",
                                              .will_qos = 1});
    harness_settle(h);
    brake_on(h, &brake);
    client_publish(p, "wide", "w", 1, 1);
    harness_turn(h, 0);
    client_drop(dying);
    for (uint32_t i = 0; i < 3; i++) /* brake, spread and will take turns */
        harness_turn(h, 0);
    client_expect_publish(a, "dead");
    client_expect_publish(b, "dead");
    brake_off(h, &brake);
    expect_all(crowd, "w");
    crowd_free(crowd);
}

/* The will of the publisher itself, to all of those its last message is still on its way to. */
static void wide_will_comes_to_everyone(void **state)
{
    (void)state;
    struct brake brake;
    struct crowd *crowd = crowd_new(1, "");
    struct harness *h = crowd->h;
    struct client *p = client_new(h, 0);
    client_connect_as(p, (struct connect){.id = "P",
                                          .clean_start = true,
                                          .will_topic = "wide",
                                          .will_payload = "dead",
                                          .will_qos = 1});
    harness_settle(h);
    brake_on(h, &brake);
    client_publish(p, "wide", "w", 1, 1);
    harness_turn(h, 0);
    client_drop(p);
    for (uint32_t i = 0; i < 40; i++)
        harness_turn(h, 0);
    brake_off(h, &brake);
    for (uint32_t i = 0; i < WIDE; i++) {
        client_expect(crowd->clients[i], PACKET_PUBLISH);
        bool is_will = client_got(crowd->clients[i]).payload.len == 4;
        client_expect_publish(crowd->clients[i], is_will ? "w" : "dead");
    }
    crowd_free(crowd);
}

static void wide_and_merged_publications_give_one_copy_each(void **state)
{
    (void)state;
    struct crowd *crowd = crowd_new(2, "allow_duplicate_messages false\n");
    struct harness *h = crowd->h;
    struct client *p = client_of(h, 0, "P", 0);
    for (uint32_t i = 0; i < WIDE; i += 2) {
        client_subscribe_as(crowd->clients[i], "+", 0, 5);
    }
    harness_admit(h);
    for (uint32_t i = 0; i < WIDE; i += 2)
        client_expect(crowd->clients[i], PACKET_SUBACK);
    client_publish(p, "wide", "w", 1, 1);
    for (uint32_t i = 0; i < 4; i++)
        harness_settle(h);
    for (uint32_t i = 0; i < WIDE; i++) {
        struct got got = client_expect_publish(crowd->clients[i], "w");
        assert_int_equal(got.qos, 1);
        assert_int_equal(got.properties.len, i % 2 ? 0 : 2);
        client_expect_nothing(crowd->clients[i]);
    }
    crowd_free(crowd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wide_publications_come_in_order),
        cmocka_unit_test(wide_publication_holds_its_publisher_and_nobody_else),
        cmocka_unit_test(wide_publications_at_once_do_not_mix),
        cmocka_unit_test(wide_publication_outlives_its_publisher),
        cmocka_unit_test(publisher_that_comes_back_twice_keeps_its_last_connection),
        cmocka_unit_test(publisher_that_left_is_heard_out_after_its_wide_publication),
        cmocka_unit_test(publisher_that_is_taken_over_is_heard_out_after_its_wide_publication),
        cmocka_unit_test(subscribers_may_go_while_a_wide_publication_is_spread),
        cmocka_unit_test(newcomers_get_nothing_of_a_spread_from_before_their_time),
        cmocka_unit_test(wills_go_out_while_a_wide_publication_is_spread),
        cmocka_unit_test(wide_will_comes_to_everyone),
        cmocka_unit_test(wide_and_merged_publications_give_one_copy_each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
