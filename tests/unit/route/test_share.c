/* test_share.c: who of a share group gets a message. */
#include "testing.h"

static void set_ready(struct rig *rig, uint32_t slot, enum slot_ready ready)
{
    slot_of(&rig->slots, slot)->ready = ready;
}

/* Three members of $share/g/a. */
static void add_three(struct rig *rig, uint32_t slots[3], struct index_place places[3])
{
    for (uint32_t i = 0; i < 3; i++) {
        slots[i] = rig_slot(rig);
        places[i] = rig_add(rig, slots[i], "$share/g/a");
    }
}

static void members_take_turns(void **state)
{
    struct rig *rig = *state;
    uint32_t slots[3], counts[4] = {0};
    struct index_place places[3];
    add_three(rig, slots, places);
    for (uint32_t i = 0; i < 30; i++)
        counts[rig_match_one(rig, "a")]++;
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(counts[slots[i]], 10);
}

static void each_group_gets_one_copy_and_plain_subscribers_theirs(void **state)
{
    struct rig *rig = *state;
    rig_add(rig, rig_slot(rig), "$share/g/a");
    rig_add(rig, rig_slot(rig), "$share/g/a");
    rig_add(rig, rig_slot(rig), "$share/h/a");
    rig_add(rig, rig_slot(rig), "$share/g/#");
    rig_add(rig, rig_slot(rig), "a");
    assert_int_equal(rig_match(rig, "a"), 4);
    assert_int_equal(rig->matches.lists, 4);
}

static void busy_members_are_passed_over(void **state)
{
    struct rig *rig = *state;
    uint32_t slots[3];
    struct index_place places[3];
    add_three(rig, slots, places);
    set_ready(rig, slots[0], SLOT_BUSY);
    set_ready(rig, slots[1], SLOT_OFFLINE);
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(rig_match_one(rig, "a"), slots[2]);
    set_ready(rig, slots[2], SLOT_OFFLINE);
    assert_int_equal(rig_match_one(rig, "a"), slots[0]);
}

static void offline_members_queue_in_turn_but_get_no_qos_0(void **state)
{
    struct rig *rig = *state;
    uint32_t slots[3], counts[4] = {0};
    struct index_place places[3];
    add_three(rig, slots, places);
    for (uint32_t i = 0; i < 3; i++)
        set_ready(rig, slots[i], SLOT_OFFLINE);
    for (uint32_t i = 0; i < 30; i++)
        counts[rig_match_one(rig, "a")]++;
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(counts[slots[i]], 10);
    rig->query.is_kept = false;
    assert_int_equal(rig_match(rig, "a"), 0);
    assert_int_equal(rig->matches.dropped_groups, 1);
}

static void who_gives_up_a_message_is_not_chosen_again(void **state)
{
    struct rig *rig = *state;
    uint32_t slots[3];
    struct index_place places[3];
    struct index_match match;
    add_three(rig, slots, places);
    rig->query.not_slot = slots[1];
    for (uint32_t i = 0; i < 10; i++) {
        assert_true(
            index_group_choose(rig->index, places[0].group, SLICE_LIT("a"), &rig->query, &match));
        assert_int_not_equal(index_subscriber_slot(match.subscriber), slots[1]);
        assert_int_equal(match.group, places[0].group);
    }
    index_remove(rig->index, rig->me, &places[0]);
    index_remove(rig->index, rig->me, &places[2]);
    assert_false(
        index_group_choose(rig->index, places[1].group, SLICE_LIT("a"), &rig->query, &match));
}

static void nobody_but_ready_members_is_chosen_when_asked_so(void **state)
{
    struct rig *rig = *state;
    uint32_t slots[3];
    struct index_place places[3];
    struct index_match match;
    add_three(rig, slots, places);
    rig->query.only_ready = true;
    set_ready(rig, slots[0], SLOT_BUSY);
    set_ready(rig, slots[1], SLOT_OFFLINE);
    for (uint32_t policy = SHARE_ROUND_ROBIN; policy <= SHARE_HASH_TOPIC; policy++) {
        rig->query.share_policy = (uint8_t)policy;
        set_ready(rig, slots[2], SLOT_READY);
        assert_true(
            index_group_choose(rig->index, places[0].group, SLICE_LIT("a"), &rig->query, &match));
        assert_int_equal(index_subscriber_slot(match.subscriber), slots[2]);
        set_ready(rig, slots[2], SLOT_BUSY);
        assert_false(
            index_group_choose(rig->index, places[0].group, SLICE_LIT("a"), &rig->query, &match));
    }
}

/* It would be dropped as QoS 0 for a session that is not connected. */
static void offline_members_granted_qos_0_are_chosen_last(void **state)
{
    struct rig *rig = *state;
    uint32_t slots[3];
    struct index_place places[3];
    add_three(rig, slots, places);
    for (uint32_t i = 0; i < 3; i++)
        set_ready(rig, slots[i], SLOT_OFFLINE);
    for (uint32_t i = 0; i < 2; i++)
        index_update(rig->index, &places[i], index_subscriber_make(slots[i], 0, 0, false, false));
    for (uint32_t i = 0; i < 10; i++)
        assert_int_equal(rig_match_one(rig, "a"), slots[2]);
    index_remove(rig->index, rig->me, &places[2]);
    assert_int_equal(rig_match(rig, "a"), 1);
}

static void sticky_stays_until_the_member_cannot(void **state)
{
    struct rig *rig = *state;
    uint32_t slots[3];
    struct index_place places[3];
    add_three(rig, slots, places);
    rig->query.share_policy = SHARE_STICKY;
    uint32_t first = rig_match_one(rig, "a");
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(rig_match_one(rig, "a"), first);
    set_ready(rig, first, SLOT_BUSY);
    uint32_t second = rig_match_one(rig, "a");
    assert_int_not_equal(second, first);
    set_ready(rig, first, SLOT_READY);
    assert_int_equal(rig_match_one(rig, "a"), second);
}

static void hash_keeps_a_topic_with_its_member_even_while_busy(void **state)
{
    struct rig *rig = *state;
    uint32_t chosen[20], seen = 0;
    for (uint32_t i = 0; i < 4; i++)
        rig_add(rig, rig_slot(rig), "$share/g/+");
    rig->query.share_policy = SHARE_HASH_TOPIC;
    for (uint32_t i = 0; i < 20; i++) {
        char topic[2] = {(char)('a' + i), 0};
        chosen[i] = rig_match_one(rig, topic);
        seen |= 1u << chosen[i];
        set_ready(rig, chosen[i], SLOT_BUSY);
        assert_int_equal(rig_match_one(rig, topic), chosen[i]);
        set_ready(rig, chosen[i], SLOT_READY);
    }
    assert_int_equal(__builtin_popcount(seen), 4);
    set_ready(rig, chosen[0], SLOT_OFFLINE);
    assert_int_not_equal(rig_match_one(rig, "a"), chosen[0]);
}

static void reactors_go_round_on_their_own(void **state)
{
    struct rig *rig = *state;
    uint32_t slots[3];
    struct index_place places[3];
    add_three(rig, slots, places);
    uint32_t first = rig_match_one(rig, "a");
    rig->query.reactor = 1;
    assert_int_equal(rig_match_one(rig, "a"), first);
}

static void id_of_a_group_that_is_gone_never_means_another(void **state)
{
    struct rig *rig = *state;
    uint32_t slot = rig_slot(rig);
    struct index_place first = rig_add(rig, slot, "$share/g/a");
    index_remove(rig->index, rig->me, &first);
    for (uint32_t i = 0; i < 3000; i++) {
        char text[32];
        struct index_match match;
        sprintf(text, "$share/g%u/a", i);
        struct index_place place = rig_add(rig, slot, text);
        assert_int_not_equal(place.group, first.group);
        assert_false(
            index_group_choose(rig->index, first.group, SLICE_LIT("a"), &rig->query, &match));
        index_remove(rig->index, rig->me, &place);
        epoch_quiescent(rig->me, 100);
    }
    struct index_place last = rig_add(rig, slot, "$share/last/a");
    assert_true((last.group & 0xFFFFF) < 600); /* numbers are used again */
}

static void a_crowd_can_join_and_leave_and_is_asked_in_bounded_steps(void **state)
{
    struct rig *rig = *state;
    const uint32_t crowd = 50000;
    struct index_place *places = malloc(crowd * sizeof(*places));
    uint32_t *slots = malloc(crowd * sizeof(*slots));
    for (uint32_t i = 0; i < crowd; i++) {
        slots[i] = rig_slot(rig);
        set_ready(rig, slots[i], SLOT_OFFLINE);
        places[i] = rig_add(rig, slots[i], "$share/g/a");
    }
    rig->query.is_kept = false;
    set_ready(rig, slots[30000], SLOT_READY);
    uint32_t asked = 0;
    while (rig_match(rig, "a") == 0)
        asked++;
    assert_true(asked < 60); /* it goes on where it stopped */
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(rig_match_one(rig, "a"), slots[30000]); /* and then remembers */
    for (uint32_t i = 0; i < crowd; i++)
        index_remove(rig->index, rig->me, &places[i]);
    struct index_stats stats;
    index_stats(rig->index, &stats);
    assert_int_equal(stats.nodes, 0);
    free(slots);
    free(places);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_TEST(members_take_turns),
        RIG_TEST(each_group_gets_one_copy_and_plain_subscribers_theirs),
        RIG_TEST(busy_members_are_passed_over),
        RIG_TEST(offline_members_queue_in_turn_but_get_no_qos_0),
        RIG_TEST(who_gives_up_a_message_is_not_chosen_again),
        RIG_TEST(nobody_but_ready_members_is_chosen_when_asked_so),
        RIG_TEST(offline_members_granted_qos_0_are_chosen_last),
        RIG_TEST(sticky_stays_until_the_member_cannot),
        RIG_TEST(hash_keeps_a_topic_with_its_member_even_while_busy),
        RIG_TEST(reactors_go_round_on_their_own),
        RIG_TEST(id_of_a_group_that_is_gone_never_means_another),
        RIG_TEST(a_crowd_can_join_and_leave_and_is_asked_in_bounded_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
