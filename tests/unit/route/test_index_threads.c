/*
 * test_index_threads.c: matching while subscriptions come and go; meant for ThreadSanitizer.
 *
 * Three threads turn as reactors do. Each owns some filters that it adds and removes, and matches
 * all the while; some filters stay all the time and must be found by everyone.
 */
#include "testing.h"

#include <pthread.h>

#include "route/index_recent.h"

#define THREADS 3u
#define TURNS 1500u
#define OPERATIONS 12u /* a turn */
#define SESSIONS 20u

static const char *const filters[] = {
    "a/b", "a/+", "a/#", "+/b", "#", "a/+/c", "+/+/c", "$share/g/a/b", "$share/h/a/+", "a//b/#",
};
static const char *const topics[] = {"a/b", "a/x", "a/b/c", "a//b", "q"};
static const uint32_t always[] = {2, 3}; /* indexes of filters that stay */

struct crowd {
    struct rig *rig;
    uint32_t slots[SESSIONS];
    uint32_t number; /* of the thread */
    uint64_t random;
    struct index_place places[SESSIONS][ARRAY_COUNT(filters)];
    bool is_there[SESSIONS][ARRAY_COUNT(filters)];
    struct index_recent recent;
};

static uint32_t crowd_below(struct crowd *crowd, uint32_t end)
{
    crowd->random ^= crowd->random << 13;
    crowd->random ^= crowd->random >> 7;
    crowd->random ^= crowd->random << 17;
    return (uint32_t)(crowd->random >> 33) % end;
}

/* The id of a subscription says which filter it has. */
static void crowd_toggle(struct crowd *crowd, struct epoch_participant *me)
{
    uint32_t session = crowd_below(crowd, SESSIONS), f = crowd_below(crowd, ARRAY_COUNT(filters));
    struct index_place *place = &crowd->places[session][f];
    index_subscriber subscriber =
        index_subscriber_make(crowd->slots[session], f + 1, 0, false, false);
    struct topic_filter filter;
    BUG_ON(topic_filter_parse(slice_str(filters[f]), &filter) != NULL);
    bool *is_there = &crowd->is_there[session][f];
    if (!*is_there) {
        BUG_ON(index_add(crowd->rig->index, me, &filter, subscriber, place));
        *is_there = true;
    } else if (crowd_below(crowd, 4) == 0) {
        index_update(crowd->rig->index, place, subscriber | 1);
    } else {
        index_remove(crowd->rig->index, me, place);
        *is_there = false;
    }
}

static void crowd_match(struct crowd *crowd, struct index_matches *matches)
{
    struct slice topic = slice_str(topics[crowd_below(crowd, ARRAY_COUNT(topics))]);
    struct index_query query = {
        .reactor = crowd->number, .is_kept = true, .recent = &crowd->recent};
    struct index_match chosen;
    bool found[ARRAY_COUNT(filters) + 1] = {false};
    query.share_policy = (uint8_t)crowd_below(crowd, 3);
    BUG_ON(index_match(crowd->rig->index, topic, &query, matches));
    for (uint32_t i = 0; i < matches->count; i++) {
        uint32_t f = index_subscriber_id(matches->items[i].subscriber) - 1;
        struct topic_filter filter;
        BUG_ON(f >= ARRAY_COUNT(filters));
        BUG_ON(topic_filter_parse(slice_str(filters[f]), &filter) != NULL);
        BUG_ON(!topic_matches(filter.filter, topic));
        found[f] = true;
        if (matches->items[i].group)
            index_group_choose(crowd->rig->index, matches->items[i].group, topic, &query, &chosen);
    }
    for (uint32_t i = 0; i < ARRAY_COUNT(always); i++)
        BUG_ON(topic_matches(slice_str(filters[always[i]]), topic) && !found[always[i]]);
}

static void *crowd_run(void *ctx)
{
    struct crowd *crowd = ctx;
    struct epoch_participant *me = epoch_join(&crowd->rig->domain, NULL);
    struct index_matches matches = {0};
    for (uint32_t turn = 0; turn < TURNS; turn++) {
        for (uint32_t i = 0; i < OPERATIONS; i++) {
            if (crowd_below(crowd, 2))
                crowd_toggle(crowd, me);
            else
                crowd_match(crowd, &matches);
        }
        epoch_quiescent(me, 16);
        if (crowd_below(crowd, 4) == 0) {
            epoch_sleep(me);
            epoch_wake(me);
        }
    }
    index_matches_fini(&matches);
    index_recent_fini(&crowd->recent);
    epoch_sleep(me);
    return NULL;
}

static void matching_is_right_while_others_subscribe_and_unsubscribe(void **state)
{
    struct rig *rig = *state;
    for (uint32_t i = 0; i < ARRAY_COUNT(always); i++) {
        struct topic_filter filter;
        struct index_place place;
        assert_null(topic_filter_parse(slice_str(filters[always[i]]), &filter));
        assert_int_equal(
            index_add(rig->index, rig->me, &filter,
                      index_subscriber_make(rig_slot(rig), always[i] + 1, 0, false, false), &place),
            ERR_OK);
    }
    epoch_sleep(rig->me);
    struct crowd *crowds = calloc(THREADS, sizeof(*crowds));
    pthread_t threads[THREADS];
    for (uint32_t i = 0; i < THREADS; i++) {
        crowds[i].rig = rig;
        crowds[i].number = i;
        crowds[i].random = 77 + i;
        for (uint32_t j = 0; j < SESSIONS; j++)
            crowds[i].slots[j] = rig_slot(rig);
    }
    for (uint32_t i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, crowd_run, &crowds[i]);
    for (uint32_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    free(crowds);
}

/* ---- the table itself, which grows and shrinks ---- */

#define STAYING 100u
#define WAVE 1500u /* filters that a thread adds, and then removes */
#define WAVES 8u

struct tide {
    struct rig *rig;
    uint32_t slot, number;
    _Atomic uint32_t *running;
    struct index_place places[WAVE];
};

static struct slice staying(char text[32], uint32_t i)
{
    return slice_of(text, (size_t)snprintf(text, 32, "stays/%u", i));
}

static void tide_match(struct tide *tide, struct index_matches *matches, uint32_t i)
{
    char text[32];
    struct index_query query = {.reactor = tide->number, .is_kept = true};
    BUG_ON(index_match(tide->rig->index, staying(text, i % STAYING), &query, matches));
    BUG_ON(matches->count != 1);
    BUG_ON(index_subscriber_id(matches->items[0].subscriber) != i % STAYING + 1);
}

static void tide_move(struct tide *tide, struct epoch_participant *me, uint32_t i, bool is_rising)
{
    char text[32];
    struct topic_filter filter;
    index_subscriber subscriber = index_subscriber_make(tide->slot, 0, 0, false, false);
    snprintf(text, sizeof(text), "wave/%u/%u", tide->number, i);
    BUG_ON(topic_filter_parse(slice_str(text), &filter) != NULL);
    if (!is_rising)
        index_remove(tide->rig->index, me, &tide->places[i]);
    else
        BUG_ON(index_add(tide->rig->index, me, &filter, subscriber, &tide->places[i]));
}

static void *tide_run(void *ctx)
{
    struct tide *tide = ctx;
    struct epoch_participant *me = epoch_join(&tide->rig->domain, NULL);
    struct index_matches matches = {0};
    for (uint32_t i = 0; i < 2 * WAVES * WAVE; i++) {
        tide_move(tide, me, i % WAVE, i / WAVE % 2 == 0);
        tide_match(tide, &matches, i);
        if (i % 20 == 0)
            epoch_quiescent(me, 16);
    }
    atomic_fetch_sub(tide->running, 1);
    for (bool is_left = true;
         is_left || atomic_load(tide->running);) { /* until all of it is freed */
        tide_match(tide, &matches, 0);
        is_left = epoch_quiescent(me, 16);
    }
    index_matches_fini(&matches);
    epoch_sleep(me);
    return NULL;
}

static void what_stays_is_found_while_the_table_grows_and_shrinks_and_its_memory_goes(void **state)
{
    struct rig *rig = *state;
    static _Atomic uint32_t running = THREADS;
    struct index_stats before, after;
    uint32_t slot = rig_slot(rig);
    char text[32];
    for (uint32_t i = 0; i < STAYING; i++) {
        struct topic_filter filter;
        struct index_place place;
        assert_null(topic_filter_parse(staying(text, i), &filter));
        assert_int_equal(index_add(rig->index, rig->me, &filter,
                                   index_subscriber_make(slot, i + 1, 0, false, false), &place),
                         ERR_OK);
    }
    index_stats(rig->index, &before);
    epoch_sleep(rig->me);
    struct tide *tides = calloc(THREADS, sizeof(*tides));
    pthread_t threads[THREADS];
    for (uint32_t i = 0; i < THREADS; i++) {
        tides[i] = (struct tide){.rig = rig, .slot = slot, .number = i, .running = &running};
        pthread_create(&threads[i], NULL, tide_run, &tides[i]);
    }
    for (uint32_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    index_stats(rig->index, &after);
    /* 1,500 nodes of 3 threads had 72 KB of buckets; 3 a node are kept, in segments of powers of two. */
    assert_in_range(after.bytes, before.bytes, before.bytes * 2);
    free(tides);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_TEST(matching_is_right_while_others_subscribe_and_unsubscribe),
        RIG_TEST(what_stays_is_found_while_the_table_grows_and_shrinks_and_its_memory_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
