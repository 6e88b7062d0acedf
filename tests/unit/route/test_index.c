/* test_index.c: which filters match which topics, and what a subscription leaves behind. */
#include "testing.h"

static void exact_filter_matches_its_topic_only(void **state)
{
    struct rig *rig = *state;
    uint32_t slot = rig_slot(rig);
    rig_add(rig, slot, "a/b");
    assert_int_equal(rig_match_one(rig, "a/b"), slot);
    assert_int_equal(rig_match(rig, "a"), 0);
    assert_int_equal(rig_match(rig, "a/b/c"), 0);
    assert_int_equal(rig_match(rig, "a/B"), 0);
    assert_int_equal(rig_match(rig, "a/b/"), 0);
}

static void plus_takes_exactly_one_level(void **state)
{
    struct rig *rig = *state;
    rig_add(rig, rig_slot(rig), "a/+/c");
    assert_int_equal(rig_match(rig, "a/b/c"), 1);
    assert_int_equal(rig_match(rig, "a//c"), 1);
    assert_int_equal(rig_match(rig, "a/c"), 0);
    assert_int_equal(rig_match(rig, "a/b/b/c"), 0);
}

static void hash_filter_also_matches_its_parent(void **state)
{
    struct rig *rig = *state;
    rig_add(rig, rig_slot(rig), "a/b/#");
    assert_int_equal(rig_match(rig, "a/b"), 1);
    assert_int_equal(rig_match(rig, "a/b/"), 1);
    assert_int_equal(rig_match(rig, "a/b/c/d"), 1);
    assert_int_equal(rig_match(rig, "a/bc"), 0);
    assert_int_equal(rig_match(rig, "a"), 0);
}

static void plus_then_hash_matches_with_and_without_more(void **state)
{
    struct rig *rig = *state;
    rig_add(rig, rig_slot(rig), "a/+/#");
    assert_int_equal(rig_match(rig, "a"), 0);
    assert_int_equal(rig_match(rig, "a/b"), 1);
    assert_int_equal(rig_match(rig, "a/b/c"), 1);
}

static void leading_wildcards_do_not_match_dollar_topics(void **state)
{
    struct rig *rig = *state;
    rig_add(rig, rig_slot(rig), "#");
    rig_add(rig, rig_slot(rig), "+/x");
    assert_int_equal(rig_match(rig, "$SYS/x"), 0);
    assert_int_equal(rig_match(rig, "a/x"), 2);
    rig_add(rig, rig_slot(rig), "$SYS/#");
    rig_add(rig, rig_slot(rig), "$SYS/+");
    assert_int_equal(rig_match(rig, "$SYS/x"), 2);
}

static void empty_levels_are_levels(void **state)
{
    struct rig *rig = *state;
    rig_add(rig, rig_slot(rig), "/");
    rig_add(rig, rig_slot(rig), "/#");
    rig_add(rig, rig_slot(rig), "+/");
    rig_add(rig, rig_slot(rig), "+//x");
    assert_int_equal(rig_match(rig, "/"), 3);
    assert_int_equal(rig_match(rig, "a/"), 1);
    assert_int_equal(rig_match(rig, "//x"), 2);
    assert_int_equal(rig_match(rig, "a/x"), 0);
}

static void exact_match_comes_first(void **state)
{
    struct rig *rig = *state;
    rig_add(rig, rig_slot(rig), "#");
    rig_add(rig, rig_slot(rig), "a/+");
    uint32_t slot = rig_slot(rig);
    rig_add(rig, slot, "a/b");
    assert_int_equal(rig_match(rig, "a/b"), 3);
    assert_int_equal(rig->matches.lists, 3);
    assert_int_equal(index_subscriber_slot(rig->matches.items[0].subscriber), slot);
}

static void many_subscribers_of_one_filter_are_one_list(void **state)
{
    struct rig *rig = *state;
    for (uint32_t i = 0; i < 1000; i++)
        rig_add(rig, rig_slot(rig), "a");
    assert_int_equal(rig_match(rig, "a"), 1000);
    assert_int_equal(rig->matches.lists, 1);
}

static void places_stay_while_others_come_and_go(void **state)
{
    struct rig *rig = *state;
    struct index_place places[500];
    uint32_t slots[500];
    for (uint32_t i = 0; i < 500; i++) {
        slots[i] = rig_slot(rig);
        places[i] = rig_add(rig, slots[i], "a");
    }
    for (uint32_t i = 0; i < 500; i++) {
        if (i % 100 == 7)
            continue;
        index_remove(rig->index, rig->me, &places[i]);
        index_check(rig->index);
    }
    assert_int_equal(rig_match(rig, "a"), 5);
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(index_subscriber_slot(rig->matches.items[i].subscriber),
                         slots[i * 100 + 7]);
    struct index_place again = rig_add(rig, slots[0], "a");
    assert_true(again.position < 500); /* a hole was used */
}

static void update_changes_options_in_place(void **state)
{
    struct rig *rig = *state;
    uint32_t slot = rig_slot(rig);
    struct index_place place = rig_add(rig, slot, "a/+");
    index_update(rig->index, &place, index_subscriber_make(slot, 268435455, 2, true, true));
    assert_int_equal(rig_match_one(rig, "a/b"), slot);
    index_subscriber subscriber = rig->matches.items[0].subscriber;
    assert_int_equal(index_subscriber_id(subscriber), 268435455);
    assert_int_equal(index_subscriber_qos(subscriber), 2);
    assert_true(index_subscriber_no_local(subscriber));
    assert_true(index_subscriber_retain_as_published(subscriber));
}

static const char *const filters[] = {
    "a",    "a/b",   "/",        "//",         "#",          "/#",           "+",
    "+/+",  "+/",    "/+",       "a/+/b",      "a/+/+/#",    "a/+//+/b/#",   "$SYS/#",
    "+//#", "+/a/#", "a/b/+/c/", "$share/g/a", "$share/g/#", "$share/x/+/a", "$share/x//",
};

static void place_gives_back_the_filter_as_subscribed(void **state)
{
    struct rig *rig = *state;
    uint8_t text[64];
    uint32_t slot = rig_slot(rig);
    for (uint32_t i = 0; i < ARRAY_COUNT(filters); i++) {
        struct index_place place = rig_add(rig, slot, filters[i]);
        uint32_t len = index_place_filter(&place, text, sizeof(text));
        assert_int_equal(len, strlen(filters[i]));
        assert_memory_equal(text, filters[i], len);
    }
}

static void place_knows_its_own_filter_among_all(void **state)
{
    struct rig *rig = *state;
    uint32_t slot = rig_slot(rig);
    struct index_place places[ARRAY_COUNT(filters)];
    for (uint32_t i = 0; i < ARRAY_COUNT(filters); i++)
        places[i] = rig_add(rig, slot, filters[i]);
    for (uint32_t i = 0; i < ARRAY_COUNT(filters); i++) {
        for (uint32_t j = 0; j < ARRAY_COUNT(filters); j++) {
            struct topic_filter filter;
            assert_null(topic_filter_parse(slice_str(filters[j]), &filter));
            assert_int_equal(index_place_is(&places[i], &filter), i == j);
        }
    }
}

static void place_filter_is_cut_to_the_buffer_but_tells_its_length(void **state)
{
    struct rig *rig = *state;
    uint8_t text[4] = {0};
    struct index_place place = rig_add(rig, rig_slot(rig), "long/+/filter");
    assert_int_equal(index_place_filter(&place, text, sizeof(text)), 13);
}

static void nothing_is_left_when_all_are_removed(void **state)
{
    struct rig *rig = *state;
    struct index_stats stats;
    struct index_place places[ARRAY_COUNT(filters)];
    index_stats(rig->index, &stats);
    uint64_t empty = stats.bytes;
    for (uint32_t i = 0; i < ARRAY_COUNT(filters); i++)
        places[i] = rig_add(rig, rig_slot(rig), filters[i]);
    index_stats(rig->index, &stats);
    assert_int_equal(stats.subscriptions, ARRAY_COUNT(filters));
    assert_int_equal(stats.shared_subscriptions, 4);
    for (uint32_t i = 0; i < ARRAY_COUNT(filters); i++)
        index_remove(rig->index, rig->me, &places[i]);
    index_stats(rig->index, &stats);
    assert_int_equal(stats.subscriptions + stats.shared_subscriptions + stats.nodes, 0);
    assert_true(stats.bytes <= empty + 8 * 1024); /* buckets stay */
}

static void levels_up_to_the_limit_are_routed(void **state)
{
    struct rig *rig = *state;
    char text[2 * TOPIC_LEVELS_MAX + 2];
    for (uint32_t i = 0; i < 2 * TOPIC_LEVELS_MAX; i++)
        text[i] = i % 2 ? '/' : '+';
    text[2 * TOPIC_LEVELS_MAX - 1] = 0;
    rig_add(rig, rig_slot(rig), text);
    memset(text, '/', sizeof(text));
    text[TOPIC_LEVELS_MAX - 1] = 0;
    rig_add(rig, rig_slot(rig), text);
    assert_int_equal(rig_match(rig, text), 2);
    text[TOPIC_LEVELS_MAX - 1] = '/';
    text[TOPIC_LEVELS_MAX] = 0;
    assert_int_equal(index_match(rig->index, slice_str(text), &rig->query, &rig->matches),
                     ERR_LIMIT);
}

static void filters_of_65535_bytes_are_routed(void **state)
{
    struct rig *rig = *state;
    char *text = malloc(65536);
    memset(text, 'x', 65535);
    text[65535] = 0;
    rig_add(rig, rig_slot(rig), text);
    text[0] = '+';
    text[1] = '/';
    struct index_place place = rig_add(rig, rig_slot(rig), text);
    uint8_t *buffer = malloc(65536);
    assert_int_equal(index_place_filter(&place, buffer, 65536), 65535);
    assert_memory_equal(buffer, text, 65535);
    text[0] = 'y';
    assert_int_equal(rig_match(rig, text), 1);
    free(buffer);
    free(text);
}

/* {a, +} in each of 16 levels below a '+': 65,536 filters, of which some are refused. */
static void a_branch_that_would_cost_too_much_is_refused(void **state)
{
    struct rig *rig = *state;
    uint32_t slot = rig_slot(rig), accepted = 0;
    struct index_place *places = malloc(65536 * sizeof(*places));
    for (uint32_t bits = 0; bits < 65536; bits++) {
        char text[36] = "+";
        for (uint32_t i = 0; i < 16; i++)
            strcat(text, bits >> i & 1 ? "/+" : "/a");
        enum err err = rig_try_add(rig, slot, text, &places[accepted]);
        assert_true(err == ERR_OK || err == ERR_LIMIT);
        accepted += err == ERR_OK;
    }
    assert_true(accepted > 64);
    assert_true(accepted < 2000);
    index_check(rig->index);
    struct index_place place; /* what costs nothing more is welcome all the same */
    assert_int_equal(rig_try_add(rig, slot, "+/b/c", &place), ERR_OK);
    assert_int_equal(rig_try_add(rig, slot, "+/x/b", &place), ERR_OK);
    assert_int_equal(rig_try_add(rig, slot, "+/status", &place), ERR_OK); /* nor does one '+' */
    assert_int_equal(rig_try_add(rig, slot, "+/#", &place), ERR_OK);
    assert_int_equal(rig_try_add(rig, slot, "+/1/2/3/4/5/6/#", &place), ERR_OK);
    assert_int_equal(rig_try_add(rig, slot, "+/1/2/3/4/5/6/+/8/+", &place), ERR_LIMIT);
    while (accepted > 0)
        index_remove(rig->index, rig->me, &places[--accepted]);
    free(places);
}

/* {a, +} in each of 9 levels below `root`: returns how many of 512 were accepted. */
static uint32_t add_combinations(struct rig *rig, const char *root, struct index_place places[512])
{
    uint32_t accepted = 0;
    for (uint32_t bits = 0; bits < 512; bits++) {
        char text[32];
        strcpy(text, root);
        for (uint32_t i = 0; i < 9; i++)
            strcat(text, bits >> i & 1 ? "/+" : "/a");
        accepted += rig_try_add(rig, 1, text, &places[accepted]) == ERR_OK;
    }
    return accepted;
}

static void a_branch_is_cheap_again_when_the_costly_filters_are_gone(void **state)
{
    struct rig *rig = *state;
    struct index_place places[512];
    rig_add(rig, rig_slot(rig), "+/keeps/the/branch");
    uint32_t first = add_combinations(rig, "+", places);
    assert_true(first < 512);
    struct index_place more[512]; /* elsewhere in the branch there is little room left */
    uint32_t second = add_combinations(rig, "+/x/y/z", more);
    assert_true(second < first / 2);
    for (uint32_t i = 0; i < second; i++)
        index_remove(rig->index, rig->me, &more[i]);
    for (uint32_t i = 0; i < first; i++)
        index_remove(rig->index, rig->me, &places[i]);
    for (uint32_t i = 0; i < 9; i++) { /* light ones, where the heavy ones were */
        char text[32] = "+";
        for (uint32_t j = 0; j < i; j++)
            strcat(text, "/a");
        rig_add(rig, 1, strcat(text, "/+/light"));
    }
    assert_true(add_combinations(rig, "+/x/y/z", more) > first / 2);
}

static void has_below_tells_dollar_prefixes_apart(void **state)
{
    struct rig *rig = *state;
    assert_false(index_has_below(rig->index, SLICE_LIT("$SYS/broker")));
    assert_false(index_has_below(rig->index, SLICE_LIT("a")));
    struct index_place place = rig_add(rig, rig_slot(rig), "$SYS/broker/sessions/+");
    assert_true(index_has_below(rig->index, SLICE_LIT("$SYS/broker/sessions")));
    assert_true(index_has_below(rig->index, SLICE_LIT("$SYS")));
    index_remove(rig->index, rig->me, &place);
    assert_false(index_has_below(rig->index, SLICE_LIT("$SYS/broker/sessions")));
    rig_add(rig, rig_slot(rig), "#");
    assert_false(index_has_below(rig->index, SLICE_LIT("$SYS/broker/sessions")));
    rig_add(rig, rig_slot(rig), "$SYS/#");
    assert_true(index_has_below(rig->index, SLICE_LIT("$SYS/broker/sessions")));
}

static void a_reader_of_this_turn_may_still_use_what_was_removed(void **state)
{
    struct rig *rig = *state;
    struct epoch_participant *reader = epoch_join(&rig->domain, NULL);
    struct index_place place = rig_add(rig, rig_slot(rig), "a/+/b");
    index_remove(rig->index, rig->me, &place);
    for (uint32_t i = 0; i < 4; i++)
        assert_true(epoch_quiescent(rig->me, 100)); /* the reader's turn has not ended */
    for (uint32_t i = 0; i < 4; i++) {
        epoch_quiescent(reader, 0);
        epoch_quiescent(rig->me, 100);
    }
    assert_false(epoch_quiescent(rig->me, 100));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_TEST(exact_filter_matches_its_topic_only),
        RIG_TEST(plus_takes_exactly_one_level),
        RIG_TEST(hash_filter_also_matches_its_parent),
        RIG_TEST(plus_then_hash_matches_with_and_without_more),
        RIG_TEST(leading_wildcards_do_not_match_dollar_topics),
        RIG_TEST(empty_levels_are_levels),
        RIG_TEST(exact_match_comes_first),
        RIG_TEST(many_subscribers_of_one_filter_are_one_list),
        RIG_TEST(places_stay_while_others_come_and_go),
        RIG_TEST(update_changes_options_in_place),
        RIG_TEST(place_gives_back_the_filter_as_subscribed),
        RIG_TEST(place_knows_its_own_filter_among_all),
        RIG_TEST(place_filter_is_cut_to_the_buffer_but_tells_its_length),
        RIG_TEST(nothing_is_left_when_all_are_removed),
        RIG_TEST(levels_up_to_the_limit_are_routed),
        RIG_TEST(filters_of_65535_bytes_are_routed),
        RIG_TEST(a_branch_that_would_cost_too_much_is_refused),
        RIG_TEST(a_branch_is_cheap_again_when_the_costly_filters_are_gone),
        RIG_TEST(has_below_tells_dollar_prefixes_apart),
        RIG_TEST(a_reader_of_this_turn_may_still_use_what_was_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
