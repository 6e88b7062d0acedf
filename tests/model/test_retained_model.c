/*
 * test_retained_model.c: the retained store against a table of topics, with cursors on their way
 * while it changes.
 *
 * Topics are made of few words, among them '!' and '0', which stand before and behind '/' in byte
 * order. The store changes between two turns and, as other reactors are at work, between any two
 * messages of one. What a cursor owes: every matching topic that was there all the time, once;
 * nothing twice; of each topic the message of this moment.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/mem.h"
#include "mqtt/topic.h"
#include "route/retained.h"

#define TOPICS 300
#define CURSORS 4
#define TEXT_MAX 64

struct model_topic {
    char text[TEXT_MAX];
    uint32_t version; /* 0: not there */
    uint32_t expires_tick;
};

struct model_cursor {
    struct retained_cursor *cursor;
    char filter[TEXT_MAX];
    bool given[TOPICS], always[TOPICS]; /* always: there since it began */
};

struct model {
    uint64_t random;
    struct epoch_domain domain;
    struct epoch_participant *me;
    struct retained *retained;
    uint32_t now_s, versions;
    struct model_topic topics[TOPICS];
    struct model_cursor cursors[CURSORS];
};

static const char *const words[] = {"a", "", "a!", "a0", "!", "0", "b", "$a"};

static uint32_t random_below(struct model *m, uint32_t end)
{
    m->random ^= m->random << 13;
    m->random ^= m->random >> 7;
    m->random ^= m->random << 17;
    return (uint32_t)(m->random >> 33) % end;
}

static void random_text(struct model *m, char *text, bool is_filter)
{
    uint32_t levels = 1 + random_below(m, 4);
    *text = 0;
    for (uint32_t i = 0; i < levels; i++) {
        uint32_t dice = is_filter ? random_below(m, 6) : 6;
        if (i > 0)
            strcat(text, "/");
        if (dice == 0 && i + 1 == levels)
            strcat(text, "#");
        else if (dice < 3)
            strcat(text, "+");
        else
            strcat(text, words[random_below(m, sizeof(words) / sizeof(words[0]))]);
    }
    if (!*text)
        strcpy(text, "/");
}

static bool model_is_there(const struct model *m, const struct model_topic *topic)
{
    return topic->version && (!topic->expires_tick || topic->expires_tick > m->now_s);
}

static struct message *model_message(struct model *m, struct model_topic *topic)
{
    struct publication pub = {
        .topic = slice_str(topic->text),
        .payload = slice_of(&m->versions, sizeof(m->versions)),
        .expires_tick = topic->expires_tick,
    };
    struct message *message = publication_message(&pub);
    assert_non_null(message);
    return message;
}

static uint32_t message_version(const struct message *message)
{
    uint32_t version;
    assert_int_equal(message->payload_bytes, sizeof(version));
    memcpy(&version, message_payload(message).ptr, sizeof(version));
    return version;
}

static void model_set(struct model *m, uint32_t i)
{
    struct model_topic *topic = &m->topics[i];
    topic->version = ++m->versions;
    topic->expires_tick = random_below(m, 4) ? 0 : m->now_s + 1 + random_below(m, 50);
    struct message *message = model_message(m, topic);
    assert_int_equal(retained_set(m->retained, m->me, message), ERR_OK);
    message_unref(message, 1);
}

static void model_gone(struct model *m, uint32_t i)
{
    for (uint32_t c = 0; c < CURSORS; c++)
        m->cursors[c].always[i] = false;
}

static void model_clear(struct model *m, uint32_t i)
{
    struct model_topic *topic = &m->topics[i];
    bool was_there = retained_clear(m->retained, m->me, slice_str(topic->text));
    if (!was_there)
        assert_false(model_is_there(m, topic)); /* an expired one may have been swept or not */
    else
        assert_true(topic->version);
    topic->version = 0;
    model_gone(m, i);
}

static void step_get(struct model *m)
{
    struct model_topic *topic = &m->topics[random_below(m, TOPICS)];
    struct message *message = retained_get(m->retained, slice_str(topic->text), m->now_s);
    assert_int_equal(message != NULL, model_is_there(m, topic));
    if (!message)
        return;
    assert_int_equal(message_version(message), topic->version);
    message_unref(message, 1);
}

static void step_time(struct model *m)
{
    m->now_s++;
    for (uint32_t i = 0; i < TOPICS; i++)
        if (!model_is_there(m, &m->topics[i]))
            model_gone(m, i);
    retained_sweep(m->retained, m->me, m->now_s, 1 + random_below(m, 50));
}

static void cursor_start(struct model *m, struct model_cursor *c)
{
    random_text(m, c->filter, true);
    c->cursor = retained_cursor_new(slice_str(c->filter));
    assert_non_null(c->cursor);
    for (uint32_t i = 0; i < TOPICS; i++) {
        struct slice topic = slice_str(m->topics[i].text);
        c->given[i] = false;
        c->always[i] =
            model_is_there(m, &m->topics[i]) && topic_matches(slice_str(c->filter), topic);
    }
}

static void cursor_end(struct model_cursor *c)
{
    for (uint32_t i = 0; i < TOPICS; i++)
        assert_true(c->given[i] || !c->always[i]);
    retained_cursor_free(c->cursor);
    c->cursor = NULL;
}

/* Returns which topic it was. */
static uint32_t cursor_gives(struct model *m, struct model_cursor *c, struct message *message)
{
    uint32_t i = 0;
    while (i < TOPICS && !slice_eq(slice_str(m->topics[i].text), message_topic(message)))
        i++;
    assert_int_not_equal(i, TOPICS);
    assert_true(topic_matches(slice_str(c->filter), message_topic(message)));
    assert_true(model_is_there(m, &m->topics[i]));
    assert_int_equal(message_version(message), m->topics[i].version);
    assert_false(c->given[i]);
    c->given[i] = true;
    return i;
}

/* What other reactors do before the cursor's next step: now and then to the topic that it stands on,
 * `given`, and to those around it. */
static void changes_within_a_turn(struct model *m, uint32_t given)
{
    if (random_below(m, 3) == 0)
        model_clear(m, given);
    for (uint32_t count = random_below(m, 8); count > 0; count--) {
        uint32_t i = random_below(m, 6) ? random_below(m, TOPICS) : given;
        if (random_below(m, 2))
            model_set(m, i);
        else
            model_clear(m, i);
    }
    if (random_below(m, 8) == 0)
        retained_sweep(m->retained, m->me, m->now_s, 1 + random_below(m, 50));
}

/* One turn: two cursors (or one, twice) share the visit, until one is at its end or out of nodes. */
static void step_visit(struct model *m, bool is_changing)
{
    struct model_cursor *both[2];
    for (uint32_t i = 0; i < 2; i++) {
        both[i] = &m->cursors[random_below(m, CURSORS)];
        if (!both[i]->cursor)
            cursor_start(m, both[i]);
    }
    struct retained_visit visit = {.now_tick = m->now_s, .nodes = 1 + random_below(m, 40)};
    struct message *message;
    for (;;) {
        struct model_cursor *c = both[random_below(m, 4) == 0];
        enum retained_step step = retained_cursor_next(m->retained, c->cursor, &visit, &message);
        if (step == RETAINED_END)
            cursor_end(c);
        if (step != RETAINED_MESSAGE)
            return;
        uint32_t given = cursor_gives(m, c, message);
        message_unref(message, 1);
        if (is_changing)
            changes_within_a_turn(m, given);
    }
}

static void model_fill_topics(struct model *m)
{
    for (uint32_t i = 0; i < TOPICS;) {
        random_text(m, m->topics[i].text, false);
        uint32_t j = 0;
        while (strcmp(m->topics[j].text, m->topics[i].text) != 0)
            j++;
        i += j == i;
    }
}

static void model_run(struct model *m, uint32_t steps)
{
    for (uint32_t step = 0; step < steps; step++) {
        uint32_t dice = random_below(m, 100);
        uint32_t sets = step / 3000 % 2 ? 8 : 40;
        if (dice < sets)
            model_set(m, random_below(m, TOPICS));
        else if (dice < 50)
            model_clear(m, random_below(m, TOPICS));
        else if (dice < 65)
            step_get(m);
        else if (dice < 68)
            step_time(m);
        else
            step_visit(m, dice < 84);
        if (step % 5 == 0)
            epoch_quiescent(m->me, 3);
        if (step % 500 == 0)
            retained_check(m->retained);
    }
}

static void model_test(uint64_t seed, uint32_t shards)
{
    struct model *m = aligned_alloc(64, sizeof(*m));
    memset(m, 0, sizeof(*m));
    m->random = seed;
    epoch_domain_init(&m->domain);
    m->me = epoch_join(&m->domain, NULL);
    m->retained = retained_new(shards);
    model_fill_topics(m);
    model_run(m, 30000);
    for (uint32_t c = 0; c < CURSORS; c++)
        retained_cursor_free(m->cursors[c].cursor);
    epoch_drain(&m->domain);
    retained_free(m->retained);
    free(m);
}

static void retained_agrees_with_a_table_in_one_shard(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++)
        model_test(seed, 1);
}

static void retained_agrees_with_a_table_in_many_shards(void **state)
{
    (void)state;
    for (uint64_t seed = 11; seed <= 13; seed++)
        model_test(seed, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(retained_agrees_with_a_table_in_one_shard),
        cmocka_unit_test(retained_agrees_with_a_table_in_many_shards),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
