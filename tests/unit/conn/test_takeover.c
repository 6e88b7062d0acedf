/*
 * test_takeover.c: a session moves between reactors (conn/attach.h, conn/moving.c), step by step
 * and in seeded order, with publications under way all the while.
 */
#include "tests/unit/conn/harness.h"

#define NEVER 0xFFFFFFFFu

/* S is connected to reactor 0 and subscribes at QoS 1. */
static struct client *subscriber(struct harness *h)
{
    struct client *s = client_of(h, 0, "S", NEVER);
    client_subscribe(s, "t", 1);
    return s;
}

static void publish(struct client *client, const char *payload)
{
    static uint16_t packet_id;
    client_publish(client, "t", payload, 1, ++packet_id ? packet_id : ++packet_id);
}

static void expect_connack(struct client *client, bool is_present)
{
    client_expect(client, PACKET_CONNACK);
    assert_int_equal(client->body[0], is_present);
    assert_int_equal(client->body[1], 0);
}

static void takeover_moves_the_session_to_the_asking_reactor(void **state)
{
    (void)state;
    struct harness *h = harness_new(2, "");
    struct client *old = subscriber(h), *p = client_of(h, 0, "P", 0);
    uint16_t owner;
    struct client *s = client_coming_back(h, 1, "S", NEVER);
    harness_settle(h);
    expect_connack(s, true);
    assert_non_null(harness_session(h, "S", &owner));
    assert_int_equal(owner, 1);
    client_expect(old, PACKET_DISCONNECT);
    assert_int_equal(old->body[0], 0x8E);
    client_expect_closed(old);
    publish(p, "after");
    harness_settle(h);
    client_expect_publish(s, "after");
    harness_free(h);
}

/* What was mailed to the old owner before it gave the session away comes before what goes to the
 * new one. */
static void takeover_keeps_the_order_of_a_publisher_on_the_new_reactor(void **state)
{
    (void)state;
    struct harness *h = harness_new(2, "");
    subscriber(h);
    struct client *p = client_of(h, 1, "P", 0);
    struct client *s = client_coming_back(h, 1, "S", NEVER);
    publish(p, "1");
    harness_turn(h, 1); /* asks reactor 0; "1" is mailed there */
    harness_turn(h, 0); /* gives the session away */
    publish(p, "2");
    harness_turn(h, 1); /* kept: the session is on its way */
    harness_settle(h);
    expect_connack(s, true);
    client_expect_publish(s, "1");
    client_expect_publish(s, "2");
    client_expect_nothing(s);
    harness_free(h);
}

static void takeover_keeps_the_order_of_a_publisher_on_the_old_reactor(void **state)
{
    (void)state;
    struct harness *h = harness_new(2, "");
    subscriber(h);
    struct client *p = client_of(h, 0, "P", 0);
    struct client *s = client_coming_back(h, 1, "S", NEVER);
    static const char *const payloads[] = {"0", "1", "2", "3", "4", "5", "6", "7"};
    for (uint32_t i = 0; i < ARRAY_COUNT(payloads); i++) {
        publish(p, payloads[i]);
        harness_turn(h, (i + 1) % 2);
    }
    harness_settle(h);
    expect_connack(s, true);
    for (uint32_t i = 0; i < ARRAY_COUNT(payloads); i++)
        client_expect_publish(s, payloads[i]);
    client_expect_nothing(s);
    harness_free(h);
}

/* Two ask on the reactor to which the session is on its way: the second waits, and does not ask
 * itself in every turn. */
static void takeover_of_a_session_on_its_way_waits_without_turning(void **state)
{
    (void)state;
    struct harness *h = harness_new(2, "");
    struct client *p = client_of(h, 0, "P", 0);
    subscriber(h);
    struct client *first = client_coming_back(h, 1, "S", NEVER);
    harness_turn(h, 1);
    harness_turn(h, 0); /* gives the session away */
    struct client *second = client_coming_back(h, 1, "S", NEVER);
    harness_turn(h, 1);
    harness_turn(h, 1);
    uint64_t records = harness_metric(h, METRIC_MAIL_RECORDS);
    for (uint32_t i = 0; i < 10; i++)
        harness_turn(h, 1);
    assert_int_equal(harness_metric(h, METRIC_MAIL_RECORDS), records);
    publish(p, "stashed");
    harness_turn(h, 1);
    harness_settle(h);
    client_expect_closed(first);
    expect_connack(second, true);
    client_expect_publish(second, "stashed");
    harness_free(h);
}

#define CROWD 200u

/* As often as a slow machine needs for all that has come: it reads less in a turn. */
static void turn_often(struct harness *h, uint32_t reactor)
{
    for (uint32_t i = 0; i < 100; i++)
        harness_turn(h, reactor);
}

/* Many sessions at once, each with messages that wait for it. */
static void takeover_of_a_crowd_gives_each_its_own_messages(void **state)
{
    (void)state;
    struct harness *h = harness_new(2, "");
    struct client *p = client_of(h, 1, "P", 0), *crowd[CROWD];
    char id[16];
    for (uint32_t i = 0; i < CROWD; i++) {
        snprintf(id, sizeof(id), "c/%u", i);
        client_subscribe(client_of(h, 0, id, NEVER), id, 1);
    }
    for (uint32_t i = 0; i < CROWD; i++) {
        snprintf(id, sizeof(id), "c/%u", i);
        crowd[i] = client_coming_back(h, 1, id, NEVER);
    }
    turn_often(h, 1);
    harness_turn(h, 0); /* gives them away */
    for (uint32_t i = 0; i < CROWD * 3; i++) {
        snprintf(id, sizeof(id), "c/%u", i % CROWD);
        client_publish(p, id, (char[2]){(char)('0' + i / CROWD), 0}, 1, (uint16_t)(i + 1));
        if (i % CROWD == CROWD - 1)
            turn_often(h, 1);
    }
    assert_int_equal(harness_worker(h, 1)->coming_by_slot.count, CROWD);
    table_check(&harness_worker(h, 1)->coming_by_slot);
    harness_settle(h);
    for (uint32_t i = 0; i < CROWD; i++) {
        expect_connack(crowd[i], true);
        client_expect_publish(crowd[i], "0");
        client_expect_publish(crowd[i], "1");
        client_expect_publish(crowd[i], "2");
        client_expect_nothing(crowd[i]);
    }
    assert_int_equal(harness_worker(h, 1)->coming_by_slot.count, 0);
    harness_free(h);
}

/* ---- any order ---- */

#define PUBLISHERS 3u
#define STEPS 300u

struct play {
    struct harness *h;
    uint64_t seed;
    struct client *publishers[PUBLISHERS];
    struct client *subscriber;      /* the last connection of S */
    uint32_t published[PUBLISHERS]; /* how many, numbered from 1 */
    uint32_t seen[PUBLISHERS];      /* the highest number that S got */
    uint32_t here[PUBLISHERS];      /* the last number on this connection, 0: none yet */
    uint32_t moves;
};

static uint32_t random_below(uint64_t *seed, uint32_t limit)
{
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    return (uint32_t)(*seed * 2685821657736338717ull >> 32) % limit;
}

/* One connection gives each publisher's messages in order; what was seen before comes again only
 * marked as such, and nothing is left out of what was not. */
static void check_got(struct play *play, const struct got *got)
{
    uint32_t words[2];
    assert_int_equal(got->payload.len, sizeof(words));
    memcpy(words, got->payload.ptr, sizeof(words));
    uint32_t *seen = &play->seen[words[0]], *here = &play->here[words[0]], number = words[1];
    if (number <= *here || number > *seen + 1 || (number <= *seen && !got->dup))
        fail_msg("publisher %u: %u came after %u (%u on earlier connections), move %u", words[0],
                 number, *here, *seen, play->moves);
    *here = number;
    if (number > *seen)
        *seen = number;
}

static void read_some(struct play *play, bool acknowledge)
{
    struct client *s = play->subscriber;
    while (client_next(s)) {
        if (s->type != PACKET_PUBLISH)
            continue;
        struct got got = client_got(s);
        check_got(play, &got);
        if (acknowledge)
            client_ack(s, PACKET_PUBACK, got.packet_id);
    }
}

static void come_back(struct play *play)
{
    read_some(play, false);
    if (random_below(&play->seed, 3) == 0)
        client_drop(play->subscriber);
    memset(play->here, 0, sizeof(play->here));
    play->subscriber =
        client_coming_back(play->h, random_below(&play->seed, play->h->group->count), "S", NEVER);
    play->moves++;
}

static void publish_numbered(struct play *play, uint32_t publisher)
{
    uint32_t words[2] = {publisher, ++play->published[publisher]};
    client_publish_bytes(play->publishers[publisher], "t", words, sizeof(words), 1,
                         (uint16_t)words[1], false);
}

static void step(struct play *play)
{
    uint32_t what = random_below(&play->seed, 100);
    if (what < 50)
        harness_turn(play->h, random_below(&play->seed, play->h->group->count));
    else if (what < 85)
        publish_numbered(play, random_below(&play->seed, PUBLISHERS));
    else if (what < 96)
        read_some(play, random_below(&play->seed, 4));
    else
        come_back(play);
}

static void play_once(uint64_t seed, uint32_t reactors)
{
    struct play play = {.h = harness_new(reactors, "max_inflight_messages 7\n"), .seed = seed};
    char id[8] = "P0";
    play.subscriber = subscriber(play.h);
    for (uint32_t i = 0; i < PUBLISHERS; i++, id[1]++)
        play.publishers[i] = client_of(play.h, i % reactors, id, 0);
    for (uint32_t i = 0; i < STEPS; i++)
        step(&play);
    come_back(&play); /* whatever state the last one is in */
    for (uint32_t i = 0; i < 60; i++) {
        harness_settle(play.h);
        read_some(&play, true);
        if (play.subscriber->is_gone) /* by a CONNECT from before that was read later */
            come_back(&play);
    }
    for (uint32_t i = 0; i < PUBLISHERS; i++) {
        if (play.seen[i] != play.published[i])
            fail_msg("publisher %u: %u of %u came", i, play.seen[i], play.published[i]);
    }
    harness_free(play.h);
}

static void play_seeds(uint32_t reactors, uint32_t seeds)
{
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        print_message("seed %llu\r", (unsigned long long)seed);
        play_once(seed * 0x9E3779B97F4A7C15ull, reactors);
    }
}

static void takeover_in_any_order_loses_and_reorders_nothing(void **state)
{
    (void)state;
    play_seeds(2, 150);
}

static void takeover_among_three_reactors_loses_and_reorders_nothing(void **state)
{
    (void)state;
    play_seeds(3, 150);
}

/* ---- what moves with the session ---- */

#define KEPT 1000u

/* Acknowledges what there is; counts each retained message by its number. */
static void collect_kept(struct client *s, uint8_t seen[KEPT])
{
    while (client_next(s)) {
        if (s->type != PACKET_PUBLISH)
            continue;
        struct got got = client_got(s);
        uint32_t number = (uint32_t)atoi(got.topic + 5);
        assert_true(got.retain && number < KEPT);
        assert_true(!seen[number] || got.dup);
        seen[number] = 1;
        client_ack(s, PACKET_PUBACK, got.packet_id);
    }
}

static void takeover_goes_on_with_retained_messages(void **state)
{
    (void)state;
    struct harness *h = harness_new(2, "max_inflight_messages 5\n");
    struct client *p = client_of(h, 0, "P", 0), *s = client_of(h, 0, "S", NEVER);
    static uint8_t seen[KEPT];
    char topic[16];
    memset(seen, 0, sizeof(seen));
    for (uint32_t i = 0; i < KEPT; i++) {
        snprintf(topic, sizeof(topic), "kept/%u", i);
        client_publish_bytes(p, topic, "x", 1, 0, 0, true);
        harness_turn(h, 0);
    }
    client_subscribe_as(s, "kept/+", 1, 0);
    for (uint32_t move = 1; move <= 40; move++) {
        for (uint32_t i = 0; i < 4; i++) {
            harness_turn(h, i % 2);
            collect_kept(s, seen);
        }
        s = client_coming_back(h, move % 2, "S", NEVER);
        harness_settle(h);
    }
    for (uint32_t i = 0; i < 2000; i++) {
        harness_turn(h, i % 2);
        collect_kept(s, seen);
    }
    for (uint32_t i = 0; i < KEPT; i++)
        assert_true(seen[i]);
    assert_null(harness_session(h, "S", NULL)->replays);
    harness_free(h);
}

/* A SUBSCRIBE of a thousand filters is half done when its client is taken over: what was done
 * stays, and the client asks again. */
static void takeover_in_the_middle_of_a_long_subscribe_keeps_what_was_done(void **state)
{
    (void)state;
    struct harness *h = harness_new(2, "");
    struct client *old = client_of(h, 0, "S", NEVER), *p = client_of(h, 0, "P", 0);
    struct packet list = {0};
    char filter[8];
    put_u16(&list, 9);
    put_u8(&list, 0);
    for (uint32_t i = 0; i < 900; i++) {
        snprintf(filter, sizeof(filter), "f/%u", i);
        put_string(&list, filter);
        put_u8(&list, 1);
    }
    struct client *s = client_coming_back(h, 1, "S", NEVER);
    client_send_packet(old, 0x82, &list);
    harness_turn(h, 1);
    harness_turn(h, 0);
    harness_settle(h);
    client_expect_closed(old);
    expect_connack(s, true);
    client_send_packet(s, 0x82, &list);
    harness_settle(h);
    client_expect(s, PACKET_SUBACK);
    assert_int_equal(harness_session(h, "S", NULL)->subscriptions.count, 900);
    client_publish(p, "f/899", "x", 1, 1);
    harness_settle(h);
    client_expect_publish(s, "x");
    client_expect_nothing(s);
    harness_free(h);
}

/* QoS 2 in both directions goes on where it was. */
static void takeover_keeps_qos_2_handshakes(void **state)
{
    (void)state;
    struct harness *h = harness_new(2, "");
    struct client *old = client_of(h, 0, "S", NEVER), *p = client_of(h, 1, "P", 0);
    client_subscribe(old, "t", 2);
    client_publish(p, "t", "rec", 2, 1);
    client_publish(p, "t", "comp", 2, 2);
    harness_settle(h);
    uint16_t rec = client_expect_publish(old, "rec").packet_id;
    uint16_t comp = client_expect_publish(old, "comp").packet_id;
    client_ack(old, PACKET_PUBREC, comp);
    client_publish(old, "other", "x", 2, 77);
    harness_settle(h);
    struct client *s = client_coming_back(h, 1, "S", NEVER);
    harness_settle(h);
    expect_connack(s, true);
    client_expect(s, PACKET_PUBREL); /* no window holds it back, so it comes first */
    assert_int_equal(s->body[0] << 8 | s->body[1], comp);
    struct got got = client_expect_publish(s, "rec");
    assert_true(got.dup && got.packet_id == rec);
    client_expect_nothing(s);
    client_publish(s, "other", "x", 2, 77); /* a repetition */
    client_ack(s, PACKET_PUBREL, 77);
    harness_settle(h);
    client_expect(s, PACKET_PUBREC);
    client_expect(s, PACKET_PUBCOMP);
    assert_int_equal(s->body_len, 2); /* success: the id was known */
    harness_free(h);
}

/* What it sent is read in slices; it said DISCONNECT, so there is no will. */
static void takeover_hears_first_what_had_arrived_from_the_old_connection(void **state)
{
    (void)state;
    static uint8_t all[1500 * 7 + 2];
    struct harness *h = harness_new(1, "");
    struct client *w = client_of(h, 0, "W", 0), *c = client_new(h, 0);
    client_subscribe(w, "#", 0);
    client_connect_as(
        c, (struct connect){
               .id = "C", .clean_start = true, .will_topic = "will", .will_payload = "dead"});
    harness_settle(h);
    h->group->read_budget_ns = 0; /* as in a busy turn */
    for (uint32_t i = 0; i < 1500; i++)
        memcpy(all + i * 7, "\x30\x05\0\1t\0x", 7);
    memcpy(all + 1500 * 7, "\xe0\0", 2);
    client_send(c, all, sizeof all);
    client_drop(c);
    harness_turn(h, 0);
    client_coming_back(h, 0, "C", 0);
    harness_settle(h);
    harness_finish_jobs(h);
    for (uint32_t i = 0; i < 1500; i++)
        client_expect_publish(w, "x");
    client_expect_nothing(w);
    harness_free(h);
}

static void takeover_by_a_dead_connection_leaves_qos_0_messages_for_the_next(void **state)
{
    (void)state;
    struct harness *h = harness_new(2, "queue_qos0_messages true\n");
    struct client *s = client_of(h, 0, "S", NEVER), *p = client_of(h, 0, "P", 0);
    client_subscribe(s, "t", 1);
    client_drop(s);
    harness_settle(h);
    for (uint32_t i = 0; i < 20; i++)
        client_publish(p, "t", "x", 0, 0);
    harness_settle(h);
    struct client *dead = client_coming_back(h, 1, "S", NEVER);
    harness_turn(h, 1);
    client_drop(dead);
    harness_settle(h);
    struct client *next = client_coming_back(h, 1, "S", NEVER);
    harness_settle(h);
    harness_settle(h);
    expect_connack(next, true);
    for (uint32_t i = 0; i < 20; i++)
        client_expect_publish(next, "x");
    harness_free(h);
}

/* ---- what may go wrong meanwhile ---- */

/* The connection that asked is gone when the session comes: it stays there, offline. */
static void takeover_by_a_connection_that_dies_keeps_the_session(void **state)
{
    (void)state;
    struct harness *h = harness_new(2, "");
    subscriber(h);
    struct client *p = client_of(h, 0, "P", 0);
    struct client *asking = client_coming_back(h, 1, "S", NEVER);
    harness_turn(h, 1);
    client_drop(asking);
    publish(p, "1");
    harness_settle(h);
    publish(p, "2");
    harness_settle(h);
    uint16_t owner;
    struct session *session = harness_session(h, "S", &owner);
    assert_non_null(session);
    assert_null(session->sink);
    assert_int_equal(owner, 1);
    struct client *s = client_coming_back(h, 0, "S", NEVER);
    harness_settle(h);
    expect_connack(s, true);
    client_expect_publish(s, "1");
    client_expect_publish(s, "2");
    harness_free(h);
}

static void takeover_by_two_at_once_ends_with_one(void **state)
{
    (void)state;
    for (uint32_t second = 0; second <= 1; second++) { /* on the old reactor, on the new one */
        struct harness *h = harness_new(2, "");
        struct client *old = subscriber(h), *p = client_of(h, 0, "P", 0);
        struct client *a = client_coming_back(h, 1, "S", NEVER);
        struct client *b = client_coming_back(h, second, "S", NEVER);
        publish(p, "1");
        harness_settle(h);
        client_expect_closed(old);
        client_read(a);
        client_read(b);
        assert_true(a->is_gone != b->is_gone);
        publish(p, "2");
        harness_settle(h);
        struct client *left = a->is_gone ? b : a;
        expect_connack(left, true);
        struct got got = client_expect_publish(left, "1");
        assert_int_equal(got.qos, 1);
        client_expect_publish(left, "2");
        client_expect_nothing(left);
        harness_free(h);
    }
}

/* The session's expiry is 0: it ends with its connection, and the new one gets a new session. */
static void takeover_of_a_session_that_ends_with_its_connection_gives_a_new_one(void **state)
{
    (void)state;
    struct harness *h = harness_new(2, "");
    struct client *old = client_of(h, 0, "S", 0);
    client_subscribe(old, "t", 1);
    struct client *s = client_coming_back(h, 1, "S", NEVER);
    harness_settle(h);
    expect_connack(s, false);
    client_expect_closed(old);
    assert_int_equal(harness_metric(h, METRIC_SESSIONS), 1);
    harness_free(h);
}

/* It expires between the asking and the owner's hearing of it. */
static void takeover_of_a_session_that_expires_meanwhile_gives_a_new_one(void **state)
{
    (void)state;
    struct harness *h = harness_new(2, "");
    struct client *old = client_of(h, 0, "S", 5);
    client_drop(old);
    harness_settle(h);
    struct client *s = client_coming_back(h, 1, "S", NEVER);
    harness_turn(h, 1);
    session_table_check(h->broker.sessions);
    clock_turn_ms(7000);
    harness_settle(h);
    client_expect(s, PACKET_CONNACK);
    /* mail is read before timers: it is as well possible that it was still there */
    assert_int_equal(harness_metric(h, METRIC_SESSIONS), 1);
    uint16_t owner;
    assert_non_null(harness_session(h, "S", &owner));
    assert_int_equal(owner, 1);
    harness_free(h);
}

static void takeover_by_a_dead_connection_lets_the_session_expire_where_it_is(void **state)
{
    (void)state;
    struct harness *h = harness_new(2, "");
    struct client *old = client_of(h, 0, "S", 10);
    client_subscribe(old, "t", 1);
    struct client *asking = client_coming_back(h, 1, "S", 10);
    harness_turn(h, 1);
    client_drop(asking);
    harness_settle(h);
    assert_non_null(harness_session(h, "S", NULL));
    harness_pass_s(h, 12);
    assert_null(harness_session(h, "S", NULL));
    assert_int_equal(harness_metric(h, METRIC_SESSIONS), 0);
    assert_int_equal(harness_metric(h, METRIC_SESSIONS_EXPIRED), 1);
    harness_free(h);
}

/* Clean start while the session is between two reactors: that one ends wherever it is by then. */
static void clean_start_during_a_move_ends_the_moving_session(void **state)
{
    (void)state;
    for (uint32_t turns = 1; turns <= 8; turns++) {
        struct harness *h = harness_new(2, "");
        subscriber(h);
        struct client *p = client_of(h, 0, "P", 0);
        struct client *asking = client_coming_back(h, 1, "S", NEVER);
        for (uint32_t i = 0; i < turns; i++)
            harness_turn(h, (i + 1) % 2);
        struct client *fresh = client_new(h, turns % 2);
        client_connect_as(fresh, (struct connect){.id = "S", .clean_start = true});
        harness_settle(h);
        expect_connack(fresh, false);
        client_read(asking);
        assert_true(asking->is_gone);
        publish(p, "1");
        harness_settle(h);
        client_expect_nothing(fresh); /* no subscription is left */
        assert_int_equal(harness_metric(h, METRIC_SESSIONS), 2);
        harness_free(h);
    }
}

/* What ended an earlier connection is not the reason of this one's end. */
static void clean_start_tells_the_old_connection_that_it_was_taken_over(void **state)
{
    (void)state;
    struct harness *h = harness_new(2, "");
    struct client *old = client_of(h, 0, "S", NEVER);
    struct session *session = harness_session(h, "S", NULL);
    connection_close_plain(harness_worker(h, 0), session->sink, CLOSE_ADMIN);
    harness_settle(h);
    client_expect(old, PACKET_DISCONNECT);
    assert_int_equal(old->body[0], 0x98);
    old = client_coming_back(h, 0, "S", NEVER);
    harness_settle(h);
    expect_connack(old, true);
    client_of(h, 1, "S", 0);
    harness_settle(h);
    client_expect(old, PACKET_DISCONNECT);
    assert_int_equal(old->body[0], 0x8E);
    harness_free(h);
}

/* A will with delay does not go out when the session is taken over in time; one without does. */
static void takeover_treats_wills_as_a_reconnect_does(void **state)
{
    (void)state;
    for (uint32_t delay_s = 0; delay_s <= 5; delay_s += 5) {
        struct harness *h = harness_new(2, "");
        struct client *watcher = client_of(h, 0, "W", 0);
        client_subscribe(watcher, "will", 1);
        struct client *old = client_new(h, 0);
        client_connect_as(old, (struct connect){.id = "S",
                                                .expiry_s = NEVER,
                                                .will_topic = "will",
                                                .will_payload = "gone",
                                                .will_delay_s = delay_s});
        harness_settle(h);
        client_coming_back(h, 1, "S", NEVER);
        harness_settle(h);
        harness_pass_s(h, 10);
        if (delay_s == 0)
            client_expect_publish(watcher, "gone");
        client_expect_nothing(watcher);
        harness_free(h);
    }
}

/* A waiting connection whose session never comes is not left waiting. */
static void takeover_that_is_not_answered_ends_in_time(void **state)
{
    (void)state;
    struct harness *h = harness_new(2, "");
    subscriber(h);
    struct client *s = client_coming_back(h, 1, "S", NEVER);
    harness_turn(h, 1);
    for (uint32_t i = 0; i < 24; i++) {
        clock_turn_ms(500);
        harness_turn(h, 1);
    }
    client_expect_closed(s);
    assert_int_equal(harness_closed(h, CLOSE_LIMIT), 1);
    harness_settle(h);
    harness_free(h);
}

/* Everything under way when the broker ends is freed (the sanitizer sees a leak). */
static void broker_may_end_at_every_step_of_a_move(void **state)
{
    (void)state;
    for (uint32_t turns = 0; turns <= 8; turns++) {
        struct harness *h = harness_new(2, "");
        subscriber(h);
        struct client *p = client_of(h, 1, "P", 0);
        client_coming_back(h, 1, "S", NEVER);
        for (uint32_t i = 0; i < turns; i++) {
            publish(p, "x");
            harness_turn(h, (i + 1) % 2);
        }
        harness_free_now(h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takeover_moves_the_session_to_the_asking_reactor),
        cmocka_unit_test(takeover_keeps_the_order_of_a_publisher_on_the_new_reactor),
        cmocka_unit_test(takeover_keeps_the_order_of_a_publisher_on_the_old_reactor),
        cmocka_unit_test(takeover_of_a_session_on_its_way_waits_without_turning),
        cmocka_unit_test(takeover_of_a_crowd_gives_each_its_own_messages),
        cmocka_unit_test(takeover_in_any_order_loses_and_reorders_nothing),
        cmocka_unit_test(takeover_among_three_reactors_loses_and_reorders_nothing),
        cmocka_unit_test(takeover_goes_on_with_retained_messages),
        cmocka_unit_test(takeover_in_the_middle_of_a_long_subscribe_keeps_what_was_done),
        cmocka_unit_test(takeover_keeps_qos_2_handshakes),
        cmocka_unit_test(takeover_hears_first_what_had_arrived_from_the_old_connection),
        cmocka_unit_test(takeover_by_a_dead_connection_leaves_qos_0_messages_for_the_next),
        cmocka_unit_test(takeover_by_a_connection_that_dies_keeps_the_session),
        cmocka_unit_test(takeover_by_two_at_once_ends_with_one),
        cmocka_unit_test(takeover_of_a_session_that_ends_with_its_connection_gives_a_new_one),
        cmocka_unit_test(takeover_of_a_session_that_expires_meanwhile_gives_a_new_one),
        cmocka_unit_test(takeover_by_a_dead_connection_lets_the_session_expire_where_it_is),
        cmocka_unit_test(clean_start_during_a_move_ends_the_moving_session),
        cmocka_unit_test(clean_start_tells_the_old_connection_that_it_was_taken_over),
        cmocka_unit_test(takeover_treats_wills_as_a_reconnect_does),
        cmocka_unit_test(takeover_that_is_not_answered_ends_in_time),
        cmocka_unit_test(broker_may_end_at_every_step_of_a_move),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
