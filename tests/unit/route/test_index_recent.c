/*
 * test_index_recent.c: answers that are kept for the topic that comes again.
 *
 * `looked_up` tells a kept answer from one that was looked for: it is 0 then.
 */
#include "testing.h"

#include "route/index_recent.h"

static struct index_recent recent;

static int setup(void **state)
{
    rig_setup(state);
    ((struct rig *)*state)->query.recent = &recent;
    return 0;
}

static int teardown(void **state)
{
    index_recent_fini(&recent);
    return rig_teardown(state);
}

/* Often enough to be kept, if it is kept at all. */
static void match_twice(struct rig *rig, const char *topic)
{
    rig_match(rig, topic);
    rig_match(rig, topic);
}

static bool is_kept(struct rig *rig, const char *topic)
{
    rig_match(rig, topic);
    return rig->matches.looked_up == 0;
}

static void topic_that_comes_a_third_time_is_not_looked_up(void **state)
{
    struct rig *rig = *state;
    uint32_t slot = rig_slot(rig);
    rig_add(rig, slot, "fleet/7/+");
    match_twice(rig, "fleet/7/temp");
    assert_int_equal(rig_match_one(rig, "fleet/7/temp"), slot);
    assert_int_equal(rig->matches.lists, 1);
    assert_int_equal(rig->matches.looked_up, 0);
    assert_false(is_kept(rig, "fleet/7/tamp"));
}

static void topic_that_nobody_wants_is_kept_too(void **state)
{
    struct rig *rig = *state;
    match_twice(rig, "fleet/7/temp");
    assert_true(is_kept(rig, "fleet/7/temp"));
    assert_int_equal(rig->matches.count, 0);
}

static void subscription_is_seen_by_the_next_publish(void **state)
{
    struct rig *rig = *state;
    match_twice(rig, "a/b");
    uint32_t slot = rig_slot(rig);
    struct index_place place = rig_add(rig, slot, "a/#");
    assert_int_equal(rig_match_one(rig, "a/b"), slot);
    assert_true(is_kept(rig, "a/b"));
    index_update(rig->index, &place, index_subscriber_make(slot, 9, 2, false, false));
    rig_match(rig, "a/b");
    assert_int_equal(index_subscriber_id(rig->matches.items[0].subscriber), 9);
    index_remove(rig->index, rig->me, &place);
    assert_int_equal(rig_match(rig, "a/b"), 0);
}

/* Wherever in their topics the devices of a fleet differ, most of them have a place of their own. */
static void topics_of_a_fleet_do_not_drive_each_other_out(void **state)
{
    struct rig *rig = *state;
    static const char *const patterns[] = {"bench/5ac01d1e/%06x",
                                           "d/%02d",
                                           "%03d/t",
                                           "fleet/site07/%d/temperature",
                                           "v1/%u/up",
                                           "sensors/building/%04d/floor/room/humidity/state"};
    for (size_t p = 0; p < ARRAY_COUNT(patterns); p++) {
        char topic[64];
        int kept = 0;
        index_recent_fini(&recent);
        for (int i = 0; i < 4 * 50; i++) {
            snprintf(topic, sizeof(topic), patterns[p], i % 50);
            kept += is_kept(rig, topic);
        }
        assert_in_range(kept, 130, 150);
    }
}

/* Those that come once may have been first everywhere. */
static void topics_that_come_often_find_a_place_among_many_that_come_once(void **state)
{
    struct rig *rig = *state;
    char topic[32];
    int kept = 0;
    for (int i = 0; i < 50000; i++) {
        snprintf(topic, sizeof(topic), "once/%d", i);
        if (i % 10 == 0)
            snprintf(topic, sizeof(topic), "often/%d", i / 10 % 50);
        kept += is_kept(rig, topic);
    }
    assert_in_range(kept, 4500, 5000);
}

static void topics_that_come_once_drive_nothing_out(void **state)
{
    struct rig *rig = *state;
    char other[32];
    rig_add(rig, rig_slot(rig), "a/#");
    match_twice(rig, "a/often");
    for (int i = 0; i < 5000; i++) {
        snprintf(other, sizeof(other), "a/once/%d", i);
        assert_false(is_kept(rig, other));
    }
    assert_true(is_kept(rig, "a/often"));
}

static void topic_that_comes_often_now_takes_the_place_of_one_that_did(void **state)
{
    struct rig *rig = *state;
    char topic[32];
    uint32_t kept = 0;
    for (int i = 0; i < 2000; i++) {
        snprintf(topic, sizeof(topic), "a/%d", i);
        match_twice(rig, topic);
        kept += is_kept(rig, topic);
    }
    assert_int_equal(kept, 2000);
}

static void share_groups_choose_each_time(void **state)
{
    struct rig *rig = *state;
    uint32_t slots[2] = {rig_slot(rig), rig_slot(rig)}, got[2] = {0, 0};
    rig_add(rig, slots[0], "$share/g/a");
    rig_add(rig, slots[1], "$share/g/a");
    for (int i = 0; i < 10; i++)
        got[rig_match_one(rig, "a") == slots[1]]++;
    assert_int_equal(got[0], 5);
    assert_int_equal(got[1], 5);
}

static void long_topics_and_many_subscribers_are_looked_up(void **state)
{
    struct rig *rig = *state;
    char topic[200];
    memset(topic, 'x', sizeof(topic) - 1);
    topic[sizeof(topic) - 1] = 0;
    match_twice(rig, topic);
    assert_false(is_kept(rig, topic));
    for (int i = 0; i < 5; i++)
        rig_add(rig, rig_slot(rig), "a");
    match_twice(rig, "a");
    assert_false(is_kept(rig, "a"));
    assert_int_equal(rig->matches.count, 5);
}

static void what_is_for_admins_is_looked_up(void **state)
{
    struct rig *rig = *state;
    rig_add(rig, rig_slot(rig), "$SYS/#");
    match_twice(rig, "$SYS/broker/sessions/a");
    rig->query.levels_min = 3;
    assert_int_equal(rig_match(rig, "$SYS/broker/sessions/a"), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(topic_that_comes_a_third_time_is_not_looked_up),
        TEST(topic_that_nobody_wants_is_kept_too),
        TEST(subscription_is_seen_by_the_next_publish),
        TEST(topics_of_a_fleet_do_not_drive_each_other_out),
        TEST(topics_that_come_often_find_a_place_among_many_that_come_once),
        TEST(topics_that_come_once_drive_nothing_out),
        TEST(topic_that_comes_often_now_takes_the_place_of_one_that_did),
        TEST(share_groups_choose_each_time),
        TEST(long_topics_and_many_subscribers_are_looked_up),
        TEST(what_is_for_admins_is_looked_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
