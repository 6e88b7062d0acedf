/*
 * test_give_up.c: what came by a share group when its member goes: who gets it, in what order the
 * rest stays, and that nobody is closed for it (conn/give_up.h).
 */
#include "tests/unit/conn/harness_check.h"

#define NEVER 0xFFFFFFFFu
#define MEMBERS 20u

static void publish(struct client *p, const char *topic, uint32_t from, uint32_t to)
{
    char text[16];
    for (uint32_t i = from; i <= to; i++) {
        snprintf(text, sizeof(text), "%u", i);
        client_publish(p, topic, text, 1, (uint16_t)i);
        if (i % 100 == 0) {
            harness_settle(p->harness);
            client_read(p);
            p->in_len = 0; /* PUBACKs */
        }
    }
    harness_settle(p->harness);
}

/* A member of group g. */
static struct client *member(struct harness *h, uint32_t reactor, const char *id, uint32_t expiry_s)
{
    struct client *s = client_of(h, reactor, id, expiry_s);
    client_subscribe(s, "$share/g/t", 1);
    return s;
}

static void expect_numbers(struct client *s, uint32_t from, uint32_t to)
{
    char text[16];
    for (uint32_t i = from; i <= to; i++) {
        snprintf(text, sizeof(text), "%u", i);
        struct got got = client_expect_publish(s, text);
        client_ack(s, PACKET_PUBACK, got.packet_id);
        harness_settle(s->harness);
    }
    client_expect_nothing(s);
}

static void come_back(struct client **s, struct harness *h, const char *id)
{
    *s = client_coming_back(h, 0, id, NEVER);
    harness_settle(h);
    client_expect(*s, PACKET_CONNACK);
}

static void one_message_too_many_closes_one_member_of_a_full_group(void **state)
{
    (void)state;
    for (uint32_t reactors = 1; reactors <= 2; reactors++) {
        struct harness *h = harness_new(reactors, "max_queued_messages 1\nmax_inflight_messages 1\n"
                                                  "queue_policy disconnect\n");
        char id[8];
        for (uint32_t i = 0; i < MEMBERS; i++) {
            snprintf(id, sizeof(id), "m%u", i);
            member(h, i % reactors, id, i % 3 ? NEVER : 0);
        }
        struct client *p = client_of(h, 0, "P", 0);
        for (uint32_t i = 1; i <= MEMBERS * 2; i++)
            publish(p, "t", i, i); /* reactors hear of each other's members */
        assert_int_equal(harness_closed(h, CLOSE_SLOW), 0);
        publish(p, "t", 1, 1);
        harness_finish_jobs(h);
        assert_int_equal(harness_closed(h, CLOSE_SLOW), 1);
        harness_free(h);
    }
}

static void messages_stay_with_their_session_when_nobody_is_ready(void **state)
{
    (void)state;
    struct harness *h = harness_new(1, "max_inflight_messages 1\n");
    struct client *a = member(h, 0, "a", NEVER), *p = client_of(h, 0, "P", 0);
    publish(p, "t", 1, 5);
    struct client *b = member(h, 0, "b", NEVER);
    publish(p, "t", 6, 6);
    client_expect_publish(b, "6"); /* and is busy with it */
    client_drop(a);
    harness_settle(h);
    client_expect_nothing(b);
    come_back(&a, h, "a");
    expect_numbers(a, 1, 5);
    assert_int_equal(harness_metric(h, METRIC_STORED_MESSAGES), 1);
    harness_free(h);
}

/* Shared ones go, in order; the others stay, in order. */
static void ready_members_get_what_is_shared_and_nothing_else(void **state)
{
    (void)state;
    struct harness *h = harness_new(1, "max_inflight_messages 1\n");
    struct client *a = member(h, 0, "a", NEVER), *p = client_of(h, 0, "P", 0);
    client_subscribe(a, "own", 1);
    for (uint32_t i = 1; i <= 40; i++)
        publish(p, i % 2 ? "t" : "own", i, i);
    struct client *b = client_new(h, 0);
    h->config->max_inflight_messages = 100;
    client_connect_as(b, (struct connect){.id = "b", .clean_start = true});
    harness_settle(h);
    client_expect(b, PACKET_CONNACK);
    client_subscribe(b, "$share/g/t", 1);
    client_drop(a);
    harness_settle(h);
    for (uint32_t i = 1; i <= 39; i += 2)
        client_expect_publish(b, (char[3]){(char)(i < 10 ? '0' + i : '0' + i / 10),
                                           (char)(i < 10 ? 0 : '0' + i % 10)});
    client_expect_nothing(b);
    queue_check(&harness_session(h, "a", NULL)->flight->queue);
    assert_int_equal(harness_session(h, "a", NULL)->flight->queue.count, 20);
    assert_int_equal(harness_metric(h, METRIC_STORED_MESSAGES), 40);
    come_back(&a, h, "a");
    for (uint32_t i = 2; i <= 40; i += 2)
        client_expect_publish(a, (char[3]){(char)(i < 10 ? '0' + i : '0' + i / 10),
                                           (char)(i < 10 ? 0 : '0' + i % 10)});
    harness_free(h);
}

static void session_that_ends_hands_over_to_whoever_is_left(void **state)
{
    (void)state;
    struct harness *h = harness_new(1, "max_inflight_messages 1\n");
    struct client *a = member(h, 0, "a", 0), *p = client_of(h, 0, "P", 0);
    publish(p, "t", 1, 5);
    struct client *b = member(h, 0, "b", NEVER);
    client_drop(b);
    harness_settle(h);
    client_drop(a);
    harness_settle(h);
    harness_finish_jobs(h);
    assert_int_equal(harness_dropped(h, DROP_SESSION_ENDED), 0);
    assert_int_equal(harness_metric(h, METRIC_STORED_MESSAGES), 5);
    come_back(&b, h, "b");
    expect_numbers(b, 1, 5);
    harness_free(h);
}

static void session_that_ends_as_the_last_member_counts_what_is_lost(void **state)
{
    (void)state;
    struct harness *h = harness_new(1, "max_inflight_messages 1\n");
    struct client *a = member(h, 0, "a", 0), *p = client_of(h, 0, "P", 0);
    client_subscribe(a, "own", 1);
    publish(p, "t", 1, 3);
    publish(p, "own", 4, 6);
    client_drop(a);
    harness_settle(h);
    harness_finish_jobs(h);
    assert_int_equal(harness_dropped(h, DROP_SESSION_ENDED), 6);
    assert_int_equal(harness_metric(h, METRIC_PUBLISH_DROPPED), 6);
    assert_int_equal(harness_metric(h, METRIC_STORED_MESSAGES), 0);
    assert_int_equal(harness_metric(h, METRIC_STORED_BYTES), 0);
    harness_free(h);
}

/* It was on its way from the publisher's reactor when the session ended. */
static void message_that_comes_after_the_end_is_handed_over_behind_the_others(void **state)
{
    (void)state;
    struct harness *h = harness_new(2, "share_policy sticky\n");
    struct client *a = member(h, 0, "a", 0), *p = client_of(h, 1, "P", 0);
    for (uint32_t reactor = 0; reactor < 2; reactor++) {
        publish(p, "t", 1, 5);
        struct client *b = member(h, reactor, reactor ? "c" : "b", 0);
        client_publish(p, "t", "6", 1, 6);
        harness_turn(h, 1);
        client_drop(a);
        harness_settle(h);
        harness_finish_jobs(h);
        expect_numbers(b, 1, 6);
        a = b;
    }
    assert_int_equal(harness_metric(h, METRIC_PUBLISH_DROPPED), 0);
    assert_int_equal(harness_metric(h, METRIC_STORED_MESSAGES), 0);
    assert_int_equal(harness_metric(h, METRIC_STORED_BYTES), 0);
    harness_free(h);
}

/* They wait on the new reactor for a session that is on its way there, with a client that has said
   DISCONNECT already. */
static void messages_that_waited_for_a_session_that_ends_on_arrival_are_handed_over(void **state)
{
    (void)state;
    struct harness *h = harness_new(2, "share_policy sticky\n");
    member(h, 0, "a", NEVER);
    struct client *b = client_new(h, 1), *p = client_of(h, 1, "P", 0);
    publish(p, "t", 1, 5);
    struct client *next = client_coming_back(h, 1, "a", 0);
    client_disconnect(next, 0);
    harness_turn(h, 1);
    harness_turn(h, 0); /* gives the session away */
    client_publish(p, "t", "6", 1, 6);
    client_publish(p, "t", "7", 1, 7);
    harness_turn(h, 1);
    client_connect_as(b, (struct connect){.id = "b", .clean_start = true, .expiry_s = NEVER});
    client_subscribe_as(b, "$share/g/t", 1, 0);
    harness_turn(h, 1);
    harness_settle(h);
    harness_finish_jobs(h);
    client_expect(b, PACKET_CONNACK);
    client_expect(b, PACKET_SUBACK);
    assert_null(harness_session(h, "a", NULL));
    expect_numbers(b, 1, 7);
    assert_int_equal(harness_metric(h, METRIC_STORED_MESSAGES), 0);
    harness_free(h);
}

#define MANY 6000u

/* In slices: after one turn some are gone, and what is left waits for its client in order. */
static void client_that_is_back_gets_what_was_not_handed_over_yet(void **state)
{
    (void)state;
    struct harness *h = harness_new(1, "max_inflight_messages 1\nmax_queued_messages 0\n");
    struct client *a = member(h, 0, "a", NEVER), *p = client_of(h, 0, "P", 0);
    publish(p, "t", 1, MANY);
    struct client *b = client_new(h, 0);
    h->config->max_inflight_messages = 0;
    client_connect_as(b, (struct connect){.id = "b", .clean_start = true});
    harness_settle(h);
    client_expect(b, PACKET_CONNACK);
    client_subscribe(b, "$share/g/t", 1);
    client_drop(a);
    harness_turn(h, 0);
    harness_turn(h, 0);
    struct flight *flight = harness_session(h, "a", NULL)->flight;
    uint32_t left = flight->queue.count;
    assert_in_range(left, 1, MANY - 2);
    queue_check(&flight->queue);
    come_back(&a, h, "a");
    harness_finish_jobs(h);
    uint32_t first = 0, count = 0;
    while (client_next(a)) {
        if (a->type != PACKET_PUBLISH)
            continue;
        struct got got = client_got(a);
        uint32_t number = 0;
        for (uint32_t i = 0; i < got.payload.len; i++)
            number = number * 10 + got.payload.ptr[i] - '0';
        first = first ? first : number;
        assert_int_equal(number, first + count++);
        client_ack(a, PACKET_PUBACK, got.packet_id);
        harness_settle(h);
    }
    assert_int_equal(first + count - 1, MANY);
    assert_in_range(count, 1, left);
    harness_free(h);
}

/* ---- any order ---- */

#define STEPS 400u
#define GROUP 4u
#define PUBLISHERS 3u
#define MESSAGES_MAX 512u

/* Members come and go, also within one read; one of the group has a session throughout, so nothing may
   be lost. */
struct play {
    struct harness *h;
    uint64_t seed;
    struct client *members[GROUP], *publishers[PUBLISHERS];
    uint32_t published;
    bool seen[MESSAGES_MAX];
};

static uint32_t random_below(struct play *play, uint32_t limit)
{
    play->seed ^= play->seed >> 12;
    play->seed ^= play->seed << 25;
    play->seed ^= play->seed >> 27;
    return (uint32_t)(play->seed * 2685821657736338717ull >> 32) % limit;
}

/* Member 0 never ends its session. */
static void come_again(struct play *play, uint32_t number, bool for_ever)
{
    char id[4] = {'m', (char)('0' + number), 0};
    struct client *s = client_new(play->h, random_below(play, play->h->group->count));
    for_ever = for_ever || number == 0;
    struct connect connect = {.id = id};
    connect.clean_start = !for_ever && random_below(play, 4) == 0;
    connect.expiry_s = for_ever || random_below(play, 2) ? NEVER : 0;
    connect.receive_maximum = (uint16_t)(1 + random_below(play, 5));
    client_connect_as(s, connect);
    client_subscribe_as(s, "$share/g/t", 1, 0);
    if (!for_ever && random_below(play, 4) == 0)
        client_disconnect(s, 0);
    play->members[number] = s;
}

static void read_member(struct play *play, struct client *s)
{
    while (client_next(s)) {
        if (s->type != PACKET_PUBLISH)
            continue;
        struct got got = client_got(s);
        uint16_t number;
        assert_int_equal(got.payload.len, sizeof(number));
        memcpy(&number, got.payload.ptr, sizeof(number));
        play->seen[number] = true;
        client_ack(s, PACKET_PUBACK, got.packet_id);
    }
}

static void play_step(struct play *play)
{
    uint32_t what = random_below(play, 100), number = random_below(play, GROUP);
    if (what < 45) {
        harness_turn(play->h, random_below(play, play->h->group->count));
    } else if (what < 75) {
        uint16_t text = (uint16_t)play->published++;
        client_publish_bytes(play->publishers[number % PUBLISHERS], "t", &text, sizeof(text), 1,
                             (uint16_t)(text + 1), false);
    } else if (what < 80) {
        read_member(play, play->members[number]);
    } else if (what < 90) {
        if (random_below(play, 2))
            client_disconnect(play->members[number], 0);
        else
            client_drop(play->members[number]);
    } else {
        come_again(play, number, false);
    }
}

static bool is_something_stored(struct play *play)
{
    return harness_metric(play->h, METRIC_STORED_MESSAGES) != 0;
}

static void play_once(uint64_t seed, uint32_t reactors)
{
    struct play play = {.h = harness_new(reactors, "max_inflight_messages 3\n"), .seed = seed};
    char id[4] = "P0";
    for (uint32_t i = 0; i < PUBLISHERS; i++, id[1]++)
        play.publishers[i] = client_of(play.h, i % reactors, id, 0);
    for (uint32_t i = 0; i < GROUP; i++)
        come_again(&play, i, true);
    harness_settle(play.h);
    for (uint32_t i = 0; i < STEPS; i++)
        play_step(&play);
    for (uint32_t i = 0; i < GROUP; i++)
        come_again(&play, i, true);
    for (uint32_t round = 0; round < 10 || (is_something_stored(&play) && round < 500); round++) {
        harness_settle(play.h);
        for (uint32_t i = 0; i < GROUP; i++) {
            read_member(&play, play.members[i]);
            if (play.members[i]->is_gone) /* by a CONNECT from before that was read later */
                come_again(&play, i, true);
        }
    }
    for (uint32_t i = 0; i < play.published; i++) {
        if (!play.seen[i])
            fail_msg("message %u of %u is lost", i, play.published);
    }
    assert_int_equal(harness_metric(play.h, METRIC_PUBLISH_DROPPED), 0);
    assert_int_equal(harness_metric(play.h, METRIC_STORED_MESSAGES), 0);
    harness_check(play.h);
    harness_free(play.h);
}

static void members_that_come_and_go_in_any_order_lose_nothing(void **state)
{
    (void)state;
    for (uint32_t reactors = 1; reactors <= 3; reactors++) {
        for (uint64_t seed = 1; seed <= 40; seed++) {
            print_message("%u reactors, seed %llu\r", reactors, (unsigned long long)seed);
            play_once(seed * 0x9E3779B97F4A7C15ull, reactors);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_message_too_many_closes_one_member_of_a_full_group),
        cmocka_unit_test(messages_stay_with_their_session_when_nobody_is_ready),
        cmocka_unit_test(ready_members_get_what_is_shared_and_nothing_else),
        cmocka_unit_test(session_that_ends_hands_over_to_whoever_is_left),
        cmocka_unit_test(session_that_ends_as_the_last_member_counts_what_is_lost),
        cmocka_unit_test(message_that_comes_after_the_end_is_handed_over_behind_the_others),
        cmocka_unit_test(messages_that_waited_for_a_session_that_ends_on_arrival_are_handed_over),
        cmocka_unit_test(client_that_is_back_gets_what_was_not_handed_over_yet),
        cmocka_unit_test(members_that_come_and_go_in_any_order_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
