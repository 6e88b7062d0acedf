/*
 * test_index_model.c: the index against a list of subscriptions that is gone through one by one.
 *
 * Random adds, updates, removes and matches from a small alphabet, so that filters overlap, share
 * nodes and empty levels abound. Seeded: a failure names its seed and step.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/assert.h"
#include "base/mem.h"
#include "route/index_recent.h"

#define SUBSCRIPTIONS_MAX 400
#define SLOTS 40
#define TEXT_MAX 64

struct model_subscription {
    char full[TEXT_MAX];
    struct topic_filter filter; /* points into full */
    index_subscriber subscriber;
    struct index_place place;
    bool is_live;
};

struct model {
    uint64_t random;
    struct slots slots;
    struct epoch_domain domain;
    struct epoch_participant *me;
    struct index *index;
    struct index_matches matches;
    struct index_recent recent;
    struct model_subscription subscriptions[SUBSCRIPTIONS_MAX];
    const char *const *words;
    uint32_t word_count, levels_max;
};

static uint32_t random_below(struct model *m, uint32_t end)
{
    m->random ^= m->random << 13;
    m->random ^= m->random >> 7;
    m->random ^= m->random << 17;
    return (uint32_t)(m->random >> 33) % end;
}

/* --- the naive way --- */

static size_t level_len(const char *text)
{
    return strcspn(text, "/");
}

/* Straight from section 4.7: level by level, '#' takes the rest and its parent. */
static bool naive_levels_match(const char *filter, const char *topic)
{
    if (strcmp(filter, "#") == 0)
        return true;
    size_t f = level_len(filter), t = level_len(topic);
    bool is_plus = f == 1 && filter[0] == '+';
    if (!is_plus && (f != t || memcmp(filter, topic, f) != 0))
        return false;
    filter += f;
    topic += t;
    if (!*topic)
        return !*filter || strcmp(filter, "/#") == 0;
    return *filter && naive_levels_match(filter + 1, topic + 1);
}

static bool naive_matches(const char *filter, const char *topic)
{
    if (topic[0] == '$' && (filter[0] == '+' || filter[0] == '#'))
        return false;
    return naive_levels_match(filter, topic);
}

/* --- random texts --- */

static void random_text(struct model *m, char *text, bool is_filter)
{
    uint32_t levels = 1 + random_below(m, m->levels_max);
    *text = 0;
    for (uint32_t i = 0; i < levels; i++) {
        uint32_t dice = is_filter ? random_below(m, 8) : 7;
        if (i > 0)
            strcat(text, "/");
        if (dice == 0 || (dice == 1 && i + 1 == levels)) {
            strcat(text, dice == 0 && i + 1 == levels ? "#" : "+");
            continue;
        }
        strcat(text, dice < 3 ? "+" : m->words[random_below(m, m->word_count)]);
    }
    if (!*text)
        strcpy(text, "/");
}

static void random_filter(struct model *m, char *text)
{
    *text = 0;
    if (random_below(m, 5) == 0)
        sprintf(text, "$share/g%u/", random_below(m, 3));
    random_text(m, text + strlen(text), true);
}

/* --- steps --- */

static struct model_subscription *model_find(struct model *m, uint32_t slot, const char *full)
{
    for (uint32_t i = 0; i < SUBSCRIPTIONS_MAX; i++) {
        struct model_subscription *s = &m->subscriptions[i];
        if (s->is_live && index_subscriber_slot(s->subscriber) == slot && !strcmp(s->full, full))
            return s;
    }
    return NULL;
}

static index_subscriber random_subscriber(struct model *m, uint32_t slot)
{
    return index_subscriber_make(slot, random_below(m, 1000), (uint8_t)random_below(m, 3),
                                 random_below(m, 2), random_below(m, 2));
}

static void step_add(struct model *m)
{
    struct model_subscription *s = &m->subscriptions[random_below(m, SUBSCRIPTIONS_MAX)];
    char full[TEXT_MAX];
    uint32_t slot = 1 + random_below(m, SLOTS);
    random_filter(m, full);
    if (s->is_live || model_find(m, slot, full))
        return;
    strcpy(s->full, full);
    assert_null(topic_filter_parse(slice_str(s->full), &s->filter));
    s->subscriber = random_subscriber(m, slot);
    assert_int_equal(index_add(m->index, m->me, &s->filter, s->subscriber, &s->place), ERR_OK);
    s->is_live = true;
}

static void step_remove(struct model *m)
{
    struct model_subscription *s = &m->subscriptions[random_below(m, SUBSCRIPTIONS_MAX)];
    if (!s->is_live)
        return;
    index_remove(m->index, m->me, &s->place);
    s->is_live = false;
}

static void step_update(struct model *m)
{
    struct model_subscription *s = &m->subscriptions[random_below(m, SUBSCRIPTIONS_MAX)];
    if (!s->is_live)
        return;
    s->subscriber = random_subscriber(m, index_subscriber_slot(s->subscriber));
    index_update(m->index, &s->place, s->subscriber);
}

static void step_place(struct model *m)
{
    struct model_subscription *s = &m->subscriptions[random_below(m, SUBSCRIPTIONS_MAX)];
    struct model_subscription *other = &m->subscriptions[random_below(m, SUBSCRIPTIONS_MAX)];
    uint8_t text[TEXT_MAX];
    if (!s->is_live)
        return;
    uint32_t len = index_place_filter(&s->place, text, sizeof(text));
    assert_int_equal(len, strlen(s->full));
    assert_memory_equal(text, s->full, len);
    assert_true(index_place_is(&s->place, &s->filter));
    if (other->is_live)
        assert_int_equal(index_place_is(&s->place, &other->filter), !strcmp(s->full, other->full));
}

/* Takes one match that is due out of the list; false when it is not due. */
static bool matches_take(struct index_matches *matches, index_subscriber subscriber)
{
    for (uint32_t i = 0; i < matches->count; i++) {
        if (matches->items[i].group || matches->items[i].subscriber != subscriber)
            continue;
        matches->items[i] = matches->items[--matches->count];
        return true;
    }
    return false;
}

/* Takes the match of one group; false when none is there. The chosen one must be a member. */
static bool matches_take_group(struct model *m, uint32_t group)
{
    struct index_matches *matches = &m->matches;
    for (uint32_t i = 0; i < matches->count; i++) {
        struct index_match match = matches->items[i];
        if (match.group != group)
            continue;
        matches->items[i] = matches->items[--matches->count];
        for (uint32_t j = 0; j < SUBSCRIPTIONS_MAX; j++) {
            struct model_subscription *s = &m->subscriptions[j];
            if (s->is_live && s->place.group == group && s->subscriber == match.subscriber)
                return true;
        }
    }
    return false;
}

static void match_topic(struct model *m, const char *topic)
{
    uint32_t groups[SUBSCRIPTIONS_MAX], group_count = 0;
    struct index_query query = {
        .is_kept = true, .share_policy = (uint8_t)random_below(m, 3), .recent = &m->recent};
    assert_int_equal(index_match(m->index, slice_str(topic), &query, &m->matches), ERR_OK);
    for (uint32_t i = 0; i < SUBSCRIPTIONS_MAX; i++) {
        struct model_subscription *s = &m->subscriptions[i];
        char filter[TEXT_MAX];
        if (!s->is_live)
            continue;
        snprintf(filter, sizeof(filter), "%.*s", SLICE_ARG(s->filter.filter));
        if (!naive_matches(filter, topic))
            continue;
        uint32_t known = 0;
        while (known < group_count && groups[known] != s->place.group)
            known++;
        if (!s->place.group)
            assert_true(matches_take(&m->matches, s->subscriber));
        else if (known == group_count)
            groups[group_count++] = s->place.group;
    }
    for (uint32_t i = 0; i < group_count; i++)
        assert_true(matches_take_group(m, groups[i]));
    assert_int_equal(m->matches.count, 0);
}

/* Most topics come again at once, some of them after a change: answers that were kept count too. */
static void step_match(struct model *m)
{
    char topic[TEXT_MAX];
    random_text(m, topic, false);
    for (uint32_t i = random_below(m, 4); i < 4; i++) {
        match_topic(m, topic);
        if (random_below(m, 4) == 0)
            step_update(m);
        if (random_below(m, 8) == 0)
            step_remove(m);
    }
}

static void model_run(struct model *m, uint32_t steps)
{
    for (uint32_t step = 0; step < steps; step++) {
        uint32_t dice = random_below(m, 100);
        /* Waves: now it grows, now it shrinks to nothing. */
        uint32_t adds = step / 2000 % 2 ? 15 : 45;
        if (dice < adds)
            step_add(m);
        else if (dice < 60)
            step_remove(m);
        else if (dice < 70)
            step_update(m);
        else if (dice < 75)
            step_place(m);
        else
            step_match(m);
        if (step % 7 == 0)
            epoch_quiescent(m->me, 3);
        if (step % 500 == 0)
            index_check(m->index);
    }
}

static void model_test(uint64_t seed, const char *const *words, uint32_t word_count,
                       uint32_t levels_max, uint32_t shards)
{
    struct model *m = aligned_alloc(64, sizeof(*m));
    memset(m, 0, sizeof(*m));
    m->random = seed;
    m->words = words;
    m->word_count = word_count;
    m->levels_max = levels_max;
    slots_init(&m->slots);
    epoch_domain_init(&m->domain);
    m->me = epoch_join(&m->domain, NULL);
    m->index = index_new(shards, &m->slots, 1);
    for (uint32_t i = 0; i < SLOTS; i++)
        assert_int_equal(slots_alloc(&m->slots, m, 0), i + 1);
    model_run(m, 20000);
    for (uint32_t i = 0; i < SUBSCRIPTIONS_MAX; i++)
        if (m->subscriptions[i].is_live)
            index_remove(m->index, m->me, &m->subscriptions[i].place);
    index_check(m->index);
    struct index_stats stats;
    index_stats(m->index, &stats);
    assert_int_equal(stats.subscriptions + stats.shared_subscriptions + stats.nodes, 0);
    epoch_drain(&m->domain);
    index_free(m->index);
    index_matches_fini(&m->matches);
    index_recent_fini(&m->recent);
    slots_fini(&m->slots);
    free(m);
}

static const char *const words_tiny[] = {"a", ""};
static const char *const words_some[] = {"a", "b", "ab", "", "$", "a b"};
static const char *const words_dollar[] = {"$SYS", "$", "a"};

static void index_agrees_with_a_list_when_all_filters_overlap(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++)
        model_test(seed, words_tiny, ARRAY_COUNT(words_tiny), 5, 1);
}

static void index_agrees_with_a_list_when_filters_differ(void **state)
{
    (void)state;
    for (uint64_t seed = 11; seed <= 13; seed++)
        model_test(seed, words_some, ARRAY_COUNT(words_some), 4, 16);
}

static void index_agrees_with_a_list_on_dollar_topics(void **state)
{
    (void)state;
    model_test(21, words_dollar, ARRAY_COUNT(words_dollar), 3, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(index_agrees_with_a_list_when_all_filters_overlap),
        cmocka_unit_test(index_agrees_with_a_list_when_filters_differ),
        cmocka_unit_test(index_agrees_with_a_list_on_dollar_topics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
