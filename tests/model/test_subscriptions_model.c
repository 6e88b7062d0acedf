/* test_subscriptions_model.c: session/subscriptions.h against an array that is searched from end to
 * end. Hashes are few, so that many collide. */
#include "tests/unit/session/testing.h"

#include "session/subscriptions.h"

#define STEPS 100000u
#define MOST 300u

struct model {
    struct subscriptions subs;
    struct subscription items[MOST];
    uint32_t count, next;
    uint64_t seed;
};

static uint32_t some_hash(struct model *m)
{
    uint32_t hash = random_below(&m->seed, 64);
    return random_below(&m->seed, 2) ? hash : hash * 0x9E3779B1u;
}

static void add(struct model *m)
{
    struct subscription item = {.position = m->next++, .filter_hash = some_hash(m)};
    assert_int_equal(subscriptions_add(&m->subs, &item), ERR_OK);
    m->items[m->count++] = item;
}

static struct subscription *find(struct model *m, const struct subscription *item)
{
    uint32_t at = 0;
    struct subscription *found;
    while ((found = subscriptions_find(&m->subs, item->filter_hash, &at)) != NULL) {
        if (found->position == item->position)
            return found;
    }
    return NULL;
}

static void drop(struct model *m)
{
    uint32_t at = random_below(&m->seed, m->count);
    struct subscription *found = find(m, &m->items[at]);
    assert_non_null(found);
    subscriptions_remove(&m->subs, found);
    m->items[at] = m->items[--m->count];
}

/* Walks of a hash meet exactly those that have it. */
static void assert_walk(struct model *m, uint32_t hash)
{
    uint32_t at = 0, seen = 0, expected = 0;
    while (subscriptions_find(&m->subs, hash, &at))
        seen++;
    for (uint32_t i = 0; i < m->count; i++)
        expected += m->items[i].filter_hash == hash;
    assert_int_equal(seen, expected);
}

static void assert_same(struct model *m)
{
    subscriptions_check(&m->subs);
    assert_int_equal(m->subs.count, m->count);
    for (uint32_t i = 0; i < m->count; i++)
        assert_non_null(find(m, &m->items[i]));
}

static void subscriptions_do_what_an_array_does(void **state)
{
    (void)state;
    struct model *m = calloc(1, sizeof(*m));
    m->seed = 0x50B5;
    uint32_t most = 10;
    for (uint32_t i = 0; i < STEPS; i++) {
        if (i % 2000 == 0)
            most = 1 + random_below(&m->seed, i % 4000 ? 40 : MOST);
        if (m->count < most && random_below(&m->seed, 3))
            add(m);
        else if (m->count)
            drop(m);
        assert_walk(m, some_hash(m));
        if (i % 200 == 0)
            assert_same(m);
    }
    subscriptions_fini(&m->subs);
    free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(subscriptions_do_what_an_array_does)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
