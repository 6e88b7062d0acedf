/* test_replay.c: replays of retained messages that are stopped, begun again and left half done. */
#include "tests/unit/conn/harness.h"

#define NEVER 0xFFFFFFFFu
#define FILTERS 1000u

static void keep(struct client *p, const char *topic, const char *text)
{
    client_publish_bytes(p, topic, text, strlen(text), 1, 1, true);
    harness_settle(p->harness);
}

/* SUBSCRIBE or UNSUBSCRIBE of "r/0/+", "r/1/+" ... in packets of a size the harness has room for. */
static void send_filters(struct client *s, uint8_t first)
{
    char filter[16];
    for (uint32_t i = 0; i < FILTERS;) {
        struct packet list = {0};
        put_u16(&list, 9);
        put_u8(&list, 0);
        for (uint32_t end = i + 500; i < end; i++) {
            snprintf(filter, sizeof(filter), "r/%u/+", i);
            put_string(&list, filter);
            if (first == 0x82)
                put_u8(&list, 1);
        }
        client_send_packet(s, first, &list);
    }
    harness_settle(s->harness);
    harness_finish_jobs(s->harness);
}

/* S has a window of one place, which is taken: replays begin and wait. */
static struct client *client_with_full_window(struct harness *h)
{
    struct client *s = client_new(h, 0);
    client_connect_as(
        s,
        (struct connect){.id = "S", .clean_start = true, .expiry_s = NEVER, .receive_maximum = 1});
    harness_settle(h);
    client_expect(s, PACKET_CONNACK);
    client_subscribe(s, "full", 1);
    client_expect_publish(s, "first");
    return s;
}

static struct harness *harness_with_kept(void)
{
    struct harness *h = harness_new(1, "");
    struct client *p = client_of(h, 0, "P", 0);
    keep(p, "full", "first");
    for (uint32_t i = 0; i < FILTERS; i += 100) {
        char topic[16], text[16];
        snprintf(topic, sizeof(topic), "r/%u/x", i);
        snprintf(text, sizeof(text), "%u", i);
        keep(p, topic, text);
    }
    return h;
}

/* Acknowledges what comes; returns how many PUBLISH that was. */
static uint32_t count_kept(struct client *s)
{
    uint32_t count = 0;
    client_ack(s, PACKET_PUBACK, 1);
    for (uint32_t i = 0; i < 200; i++) {
        harness_settle(s->harness);
        while (client_next(s)) {
            if (s->type != PACKET_PUBLISH)
                continue;
            count++;
            client_ack(s, PACKET_PUBACK, client_got(s).packet_id);
        }
    }
    return count;
}

static void filters_subscribed_again_give_each_message_once(void **state)
{
    (void)state;
    struct harness *h = harness_with_kept();
    struct client *s = client_with_full_window(h);
    send_filters(s, 0x82);
    send_filters(s, 0x82);
    assert_int_equal(count_kept(s), FILTERS / 100);
    assert_null(harness_session(h, "S", NULL)->replays);
    harness_free(h);
}

static void filters_unsubscribed_give_nothing_more(void **state)
{
    (void)state;
    struct harness *h = harness_with_kept();
    struct client *s = client_with_full_window(h);
    send_filters(s, 0x82);
    assert_non_null(harness_session(h, "S", NULL)->replays);
    send_filters(s, 0xA2);
    client_unsubscribe(s, "full"); /* its replay has given its message, and does not know it */
    harness_settle(h);
    assert_null(harness_session(h, "S", NULL)->replays);
    assert_int_equal(count_kept(s), 0);
    harness_free(h);
}

/* "$share/g/r/0/+" is another subscription, and has no replay. */
static void unsubscribing_a_shared_filter_leaves_the_replay_of_the_plain_one(void **state)
{
    (void)state;
    struct harness *h = harness_with_kept();
    struct client *s = client_with_full_window(h);
    client_subscribe(s, "$share/g/r/0/+", 1);
    client_subscribe(s, "r/0/+", 1);
    assert_non_null(harness_session(h, "S", NULL)->replays);
    client_unsubscribe(s, "$share/g/r/0/+");
    harness_settle(h);
    client_expect(s, PACKET_UNSUBACK);
    assert_int_equal(count_kept(s), 1);
    harness_free(h);
}

static void session_that_ends_leaves_its_replays_in_slices(void **state)
{
    (void)state;
    struct harness *h = harness_with_kept();
    struct client *s = client_with_full_window(h);
    send_filters(s, 0x82);
    assert_non_null(harness_session(h, "S", NULL)->replays);
    client_of(h, 0, "S", 0); /* clean start */
    harness_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(filters_subscribed_again_give_each_message_once),
        cmocka_unit_test(filters_unsubscribed_give_nothing_more),
        cmocka_unit_test(unsubscribing_a_shared_filter_leaves_the_replay_of_the_plain_one),
        cmocka_unit_test(session_that_ends_leaves_its_replays_in_slices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
