/* test_retained.c: what is retained, and what a cursor gives of it. */
#include "testing.h"
#include "route/retained.h"

struct store {
    struct epoch_domain domain;
    struct epoch_participant *me;
    struct retained *retained;
};

static int store_setup(void **state)
{
    struct store *store = aligned_alloc(64, sizeof(*store));
    memset(store, 0, sizeof(*store));
    epoch_domain_init(&store->domain);
    store->me = epoch_join(&store->domain, NULL);
    store->retained = retained_new(4);
    *state = store;
    return 0;
}

static int store_teardown(void **state)
{
    struct store *store = *state;
    retained_check(store->retained);
    epoch_drain(&store->domain);
    retained_free(store->retained);
    free(store);
    return 0;
}

static void store_set(struct store *store, const char *topic, const char *payload,
                      uint32_t expires_s)
{
    struct publication pub = {
        .topic = slice_str(topic),
        .payload = slice_str(payload),
        .expires_tick = expires_s,
    };
    assert_int_equal(retained_set(store->retained, store->me, publication_message(&pub)), ERR_OK);
    publication_fini(&pub);
}

/* True when the topic's message has this payload; NULL: when there is none. */
static bool store_has(struct store *store, const char *topic, const char *payload, uint32_t now_s)
{
    struct message *message = retained_get(store->retained, slice_str(topic), now_s);
    if (!message)
        return payload == NULL;
    bool same = payload && slice_eq(message_payload(message), slice_str(payload));
    message_unref(message, 1);
    return same;
}

/* How many topics a cursor gives, and whether the last one was `last`. */
static uint32_t store_count(struct store *store, const char *filter, const char *last)
{
    struct retained_cursor *cursor = retained_cursor_new(slice_str(filter));
    struct message *message;
    uint32_t count = 0;
    struct retained_visit visit = {.now_tick = 1, .nodes = 1000000};
    while (retained_cursor_next(store->retained, cursor, &visit, &message) == RETAINED_MESSAGE) {
        count++;
        if (last)
            assert_true(slice_eq(message_topic(message), slice_str(last)));
        message_unref(message, 1);
    }
    assert_true(visit.nodes > 0);
    retained_cursor_free(cursor);
    return count;
}

static void last_message_of_a_topic_replaces_the_one_before(void **state)
{
    struct store *store = *state;
    store_set(store, "a/b", "1", 0);
    store_set(store, "a/b", "2", 0);
    assert_true(store_has(store, "a/b", "2", 1));
    assert_true(store_has(store, "a", NULL, 1));
    struct retained_stats stats;
    retained_stats(store->retained, &stats);
    assert_int_equal(stats.messages, 1);
    assert_int_equal(stats.payload_bytes, 1);
}

static void cleared_topic_has_none(void **state)
{
    struct store *store = *state;
    store_set(store, "a/b", "1", 0);
    assert_true(retained_clear(store->retained, store->me, SLICE_LIT("a/b")));
    assert_false(retained_clear(store->retained, store->me, SLICE_LIT("a/b")));
    assert_true(store_has(store, "a/b", NULL, 1));
    struct retained_stats stats;
    retained_stats(store->retained, &stats);
    assert_int_equal(stats.messages + stats.payload_bytes + stats.bytes, 0);
}

static void expired_message_is_not_given_and_swept(void **state)
{
    struct store *store = *state;
    store_set(store, "a", "1", 10);
    store_set(store, "b", "1", 20);
    store_set(store, "c", "1", 0);
    assert_true(store_has(store, "a", "1", 9));
    assert_true(store_has(store, "a", NULL, 10));
    assert_int_equal(retained_sweep(store->retained, store->me, 10, 100), 1);
    assert_int_equal(retained_sweep(store->retained, store->me, 19, 100), 0);
    assert_int_equal(retained_sweep(store->retained, store->me, 20, 100), 1);
    assert_true(store_has(store, "c", "1", 1000));
}

static void sweep_goes_on_where_it_stopped(void **state)
{
    struct store *store = *state;
    for (uint32_t i = 0; i < 500; i++) {
        char topic[16];
        sprintf(topic, "t/%u", i);
        store_set(store, topic, "x", i % 2 ? 5 : 0);
    }
    uint32_t removed = 0;
    for (uint32_t i = 0; i < 60; i++)
        removed += retained_sweep(store->retained, store->me, 5, 10);
    assert_int_equal(removed, 250);
}

static void hash_gives_all_but_dollar_topics(void **state)
{
    struct store *store = *state;
    store_set(store, "$SYS/x", "1", 0);
    store_set(store, "a", "1", 0);
    store_set(store, "/", "1", 0);
    store_set(store, "a/b/c", "1", 0);
    assert_int_equal(store_count(store, "#", NULL), 3);
    assert_int_equal(store_count(store, "+/#", NULL), 3);
    assert_int_equal(store_count(store, "$SYS/#", "$SYS/x"), 1);
    assert_int_equal(store_count(store, "+/x", NULL), 0);
}

static void hash_gives_the_parent_and_all_below_but_not_what_sorts_between(void **state)
{
    struct store *store = *state;
    static const char *const topics[] = {"a/b", "a/b!", "a/b!/c", "a/b/c", "a/b/", "a/b0", "a"};
    for (uint32_t i = 0; i < ARRAY_COUNT(topics); i++)
        store_set(store, topics[i], "1", 0);
    assert_int_equal(store_count(store, "a/b/#", NULL), 3);
    assert_int_equal(store_count(store, "a/b/+", NULL), 2);
    assert_int_equal(store_count(store, "a/b", "a/b"), 1);
    assert_int_equal(store_count(store, "a/#", NULL), 7);
    assert_int_equal(store_count(store, "a/+/c", NULL), 2);
}

static void empty_first_level_is_matched_by_plus(void **state)
{
    struct store *store = *state;
    store_set(store, "/b", "1", 0);
    store_set(store, "/c", "1", 0);
    store_set(store, "a/c", "1", 0);
    assert_int_equal(store_count(store, "+/c", NULL), 2);
}

static void cursor_leaps_over_what_cannot_match(void **state)
{
    struct store *store = *state;
    for (uint32_t i = 0; i < 20; i++) {
        for (uint32_t j = 0; j < 1000; j++) {
            char topic[32];
            sprintf(topic, "x/y/%u/%u", i, j);
            store_set(store, topic, "1", 0);
        }
    }
    struct retained_cursor *cursor = retained_cursor_new(SLICE_LIT("x/y/+/77"));
    struct message *message;
    uint32_t count = 0;
    struct retained_visit visit = {.now_tick = 1, .nodes = 2000}; /* of 20,000 */
    while (retained_cursor_next(store->retained, cursor, &visit, &message) == RETAINED_MESSAGE) {
        count++;
        message_unref(message, 1);
    }
    assert_int_equal(count, 20);
    assert_true(visit.nodes > 0);
    retained_cursor_free(cursor);
}

static void cursor_stops_at_its_budget_and_goes_on(void **state)
{
    struct store *store = *state;
    for (uint32_t i = 0; i < 100; i++) {
        char topic[16];
        sprintf(topic, "t/x/%u", i);
        store_set(store, topic, "1", 0);
    }
    struct retained_cursor *cursor = retained_cursor_new(SLICE_LIT("t/x/#"));
    struct message *message;
    uint32_t count = 0, stops = 0;
    for (enum retained_step step = RETAINED_AGAIN; step != RETAINED_END;) {
        struct retained_visit visit = {.now_tick = 1, .nodes = 7};
        while ((step = retained_cursor_next(store->retained, cursor, &visit, &message)) ==
               RETAINED_MESSAGE) {
            count++;
            message_unref(message, 1);
        }
        stops += step == RETAINED_AGAIN;
    }
    assert_int_equal(count, 100);
    assert_int_equal(stops, 14);
    retained_cursor_free(cursor);
}

static void a_message_in_hand_survives_being_replaced(void **state)
{
    struct store *store = *state;
    store_set(store, "a", "1", 0);
    struct message *message = retained_get(store->retained, SLICE_LIT("a"), 1);
    store_set(store, "a", "2", 0);
    retained_clear(store->retained, store->me, SLICE_LIT("a"));
    epoch_drain(&store->domain);
    assert_true(slice_eq(message_payload(message), SLICE_LIT("1")));
    message_unref(message, 1);
}

static void long_topics_are_kept(void **state)
{
    struct store *store = *state;
    char *topic = malloc(65536);
    memset(topic, 'x', 65535);
    topic[1] = '/';
    topic[65535] = 0;
    store_set(store, topic, "1", 0);
    assert_true(store_has(store, topic, "1", 1));
    assert_int_equal(store_count(store, "+/#", topic), 1);
    free(topic);
}

#define STORE_TEST(name) cmocka_unit_test_setup_teardown(name, store_setup, store_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(last_message_of_a_topic_replaces_the_one_before),
        STORE_TEST(cleared_topic_has_none),
        STORE_TEST(expired_message_is_not_given_and_swept),
        STORE_TEST(sweep_goes_on_where_it_stopped),
        STORE_TEST(hash_gives_all_but_dollar_topics),
        STORE_TEST(hash_gives_the_parent_and_all_below_but_not_what_sorts_between),
        STORE_TEST(empty_first_level_is_matched_by_plus),
        STORE_TEST(cursor_leaps_over_what_cannot_match),
        STORE_TEST(cursor_stops_at_its_budget_and_goes_on),
        STORE_TEST(a_message_in_hand_survives_being_replaced),
        STORE_TEST(long_topics_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
