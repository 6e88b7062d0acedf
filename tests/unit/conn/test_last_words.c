/*
 * test_last_words.c: what a connection has sent when another one takes its session over is heard
 * first, whatever keeps it from being read, within bounds (conn/attach.h, conn/moving.c).
 */
#include "conn/pause.h"
#include "tests/unit/conn/harness.h"

#define NEVER 0xFFFFFFFFu
#define ENTRANTS 20u

static struct connection *connection_of(struct harness *h, const char *id)
{
    return harness_session(h, id, NULL)->sink;
}

/* C is connected to reactor 0 and has a will; W hears of everything. */
static struct client *client_with_will(struct harness *h, struct client **w)
{
    *w = client_of(h, 0, "W", 0);
    client_subscribe(*w, "#", 0);
    struct client *c = client_new(h, 0);
    client_connect_as(
        c, (struct connect){
               .id = "C", .expiry_s = NEVER, .will_topic = "will", .will_payload = "dead"});
    harness_settle(h);
    client_expect(c, PACKET_CONNACK);
    return c;
}

static void say_goodbye(struct client *c)
{
    client_publish(c, "t", "last", 0, 0);
    client_disconnect(c, 0);
}

static void settle_all(struct harness *h)
{
    harness_settle(h);
    harness_finish_jobs(h);
    harness_admit(h);
}

static void expect_heard(struct client *w, struct client *next)
{
    client_expect_publish(w, "last");
    client_expect_nothing(w);
    client_expect(next, PACKET_CONNACK);
    assert_int_equal(next->body[0], 1);
    client_expect_nothing(next);
}

/* The CONNECT is handled first: on its own reactor because it came first there, on another one as that
   turns first and the old one has no time to read. */
static void takeover_hears_what_was_not_read_yet(void **state)
{
    (void)state;
    for (uint32_t reactor = 0; reactor <= 1; reactor++) {
        struct harness *h = harness_new(2, "");
        struct client *w, *c = client_with_will(h, &w);
        struct client *next = client_coming_back(h, reactor, "C", NEVER);
        if (reactor == 1)
            harness_turn(h, 1);
        say_goodbye(c);
        h->group->read_budget_ns = reactor == 0 ? 1000000000 : 0;
        harness_turn(h, 0);
        settle_all(h);
        expect_heard(w, next);
        harness_free(h);
    }
}

static void takeover_hears_who_waits_for_memory(void **state)
{
    (void)state;
    for (uint32_t reactor = 0; reactor <= 1; reactor++) {
        struct harness *h = harness_new(2, "");
        struct client *w, *c = client_with_will(h, &w);
        pause_add(harness_worker(h, 0), connection_of(h, "C"));
        say_goodbye(c);
        struct client *next = client_coming_back(h, reactor, "C", NEVER);
        settle_all(h);
        expect_heard(w, next);
        harness_free(h);
    }
}

static void takeover_hears_who_does_not_read_our_answers(void **state)
{
    (void)state;
    for (uint32_t reactor = 0; reactor <= 1; reactor++) {
        struct harness *h = harness_new(2, "");
        struct client *w, *c = client_with_will(h, &w);
        connection_hold(harness_worker(h, 0), connection_of(h, "C"), HOLD_OUTPUT);
        say_goodbye(c);
        struct client *next = client_coming_back(h, reactor, "C", NEVER);
        settle_all(h);
        expect_heard(w, next);
        harness_free(h);
    }
}

/* It waits for the end of the SUBSCRIBE, also when the client has hung up meanwhile. */
static void takeover_hears_what_comes_after_a_long_subscribe(void **state)
{
    (void)state;
    struct packet list = {0};
    char filter[8];
    put_u16(&list, 9);
    put_u8(&list, 0);
    for (uint32_t i = 0; i < 900; i++) {
        snprintf(filter, sizeof(filter), "f/%u", i);
        put_string(&list, filter);
        put_u8(&list, 1);
    }
    for (uint32_t reactor = 0; reactor <= 1; reactor++) {
        struct harness *h = harness_new(2, "");
        struct client *w, *c = client_with_will(h, &w);
        struct client *next = client_coming_back(h, reactor, "C", NEVER);
        if (reactor == 1)
            harness_turn(h, 1);
        client_send_packet(c, 0x82, &list);
        say_goodbye(c);
        client_drop(c);
        settle_all(h);
        expect_heard(w, next);
        assert_int_equal(harness_session(h, "C", NULL)->subscriptions.count, 900);
        harness_free(h);
    }
}

/* Something that never ends keeps the last words from being heard: who came waits five seconds. */
static void takeover_waits_for_last_words_a_few_seconds(void **state)
{
    (void)state;
    for (uint32_t reactor = 0; reactor <= 1; reactor++) {
        struct harness *h = harness_new(2, "");
        struct client *w, *c = client_with_will(h, &w);
        connection_hold(harness_worker(h, 0), connection_of(h, "C"), HOLD_BULK);
        say_goodbye(c);
        struct client *next = client_coming_back(h, reactor, "C", NEVER);
        settle_all(h);
        harness_pass_s(h, 3);
        client_expect_nothing(next);
        harness_pass_s(h, 3);
        settle_all(h);
        client_expect(c, PACKET_DISCONNECT);
        assert_int_equal(c->body[0], 0x8E);
        client_expect_publish(w, "dead");
        client_expect_nothing(w);
        client_expect(next, PACKET_CONNACK);
        harness_free(h);
    }
}

/* Half a packet is no last word. */
static void takeover_does_not_wait_for_half_a_packet(void **state)
{
    (void)state;
    struct harness *h = harness_new(2, "");
    struct client *w, *c = client_with_will(h, &w);
    connection_hold(harness_worker(h, 0), connection_of(h, "C"), HOLD_BULK);
    client_send(c, "\x30\x05\0\1t", 5);
    struct client *next = client_coming_back(h, 1, "C", NEVER);
    settle_all(h);
    client_expect(c, PACKET_DISCONNECT);
    client_expect_publish(w, "dead");
    client_expect(next, PACKET_CONNACK);
    harness_free(h);
}

/* While the last words wait, many ask for the session on both reactors: they get it in the order in
   which they came to the reactor that has it, so the last one keeps it. */
static void takeovers_that_wait_leave_the_session_to_the_last(void **state)
{
    (void)state;
    struct client *entrants[ENTRANTS];
    for (uint32_t other = 0; other <= 1; other++) {
        struct harness *h = harness_new(2, "");
        struct client *w, *c = client_with_will(h, &w);
        connection_hold(harness_worker(h, 0), connection_of(h, "C"), HOLD_BULK);
        say_goodbye(c);
        for (uint32_t i = 0; i < ENTRANTS; i++) {
            entrants[i] = client_coming_back(h, other ? i % 2 : 0, "C", NEVER);
            harness_settle(h);
        }
        connection_unhold(harness_worker(h, 0), connection_of(h, "C"), HOLD_BULK);
        struct client *last = client_coming_back(h, 0, "C", NEVER); /* before the others go on */
        for (uint32_t i = 0; i < ENTRANTS; i++)                     /* each has it for a moment */
            settle_all(h);
        client_expect_publish(w, "last");
        client_expect_nothing(w);
        for (uint32_t i = 0; i < ENTRANTS; i++)
            client_expect_closed(entrants[i]);
        client_expect(last, PACKET_CONNACK);
        client_expect_nothing(last);
        assert_false(last->is_gone);
        assert_int_equal(harness_worker(h, 0)->coming_by_slot.count, 0);
        harness_free(h);
    }
}

/* It sends more than is heard of it: that is a few reads, and the next one has the session. */
static void takeover_hears_a_bounded_part_of_what_does_not_end(void **state)
{
    (void)state;
    static uint8_t all[1 << 20];
    struct harness *h = harness_new(2, "");
    struct client *w, *c = client_with_will(h, &w);
    int room = 1 << 20;
    setsockopt(c->fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
    for (size_t i = 0; i + 1024 <= sizeof(all); i += 1024) {
        memset(all + i, 'x', 1024);
        memcpy(all + i, "\x30\xfd\x07\0\1t\0", 7);
    }
    struct client *next = client_coming_back(h, 1, "C", NEVER);
    harness_turn(h, 1);
    client_send(c, all, sizeof(all));
    h->group->read_budget_ns = 0;
    harness_turn(h, 0);
    settle_all(h);
    client_expect(next, PACKET_CONNACK);
    uint64_t heard = harness_metric(h, METRIC_PUBLISH_RECEIVED);
    assert_in_range(heard, 1, 4 * 65536 / 1024);
    harness_free(h);
}

/* Everything under way when the broker ends is freed (the sanitizer sees a leak). */
static void broker_may_end_while_last_words_wait(void **state)
{
    (void)state;
    struct harness *h = harness_new(2, "");
    struct client *w, *c = client_with_will(h, &w);
    connection_hold(harness_worker(h, 0), connection_of(h, "C"), HOLD_BULK);
    say_goodbye(c);
    client_coming_back(h, 0, "C", NEVER);
    client_coming_back(h, 1, "C", NEVER);
    harness_settle(h);
    connection_unhold(harness_worker(h, 0), connection_of(h, "C"), HOLD_BULK);
    assert_false(list_is_empty(&harness_worker(h, 0)->due));
    list_unlink(&harness_worker(h, 0)->due_job.link);
    harness_free_now(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takeover_hears_what_was_not_read_yet),
        cmocka_unit_test(takeover_hears_who_waits_for_memory),
        cmocka_unit_test(takeover_hears_who_does_not_read_our_answers),
        cmocka_unit_test(takeover_hears_what_comes_after_a_long_subscribe),
        cmocka_unit_test(takeover_waits_for_last_words_a_few_seconds),
        cmocka_unit_test(takeover_does_not_wait_for_half_a_packet),
        cmocka_unit_test(takeovers_that_wait_leave_the_session_to_the_last),
        cmocka_unit_test(takeover_hears_a_bounded_part_of_what_does_not_end),
        cmocka_unit_test(broker_may_end_while_last_words_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
