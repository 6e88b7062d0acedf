/* test_subscriptions.c: session/subscriptions.h. */
#include "tests/unit/session/testing.h"

#include "session/subscriptions.h"

static void add(struct subscriptions *subs, uint32_t number, uint32_t hash)
{
    struct subscription item = {.position = number, .filter_hash = hash};
    assert_int_equal(subscriptions_add(subs, &item), ERR_OK);
}

/* The item with this number among those with its hash, or NULL. */
static struct subscription *find(struct subscriptions *subs, uint32_t number, uint32_t hash)
{
    uint32_t at = 0;
    struct subscription *item;
    while ((item = subscriptions_find(subs, hash, &at)) != NULL) {
        assert_int_equal(item->filter_hash, hash);
        if (item->position == number)
            return item;
    }
    return NULL;
}

static void remove_one(struct subscriptions *subs, uint32_t number, uint32_t hash)
{
    struct subscription *item = find(subs, number, hash);
    assert_non_null(item);
    subscriptions_remove(subs, item);
}

static void subscriptions_of_one_take_no_memory_of_their_own(void **state)
{
    (void)state;
    struct subscriptions subs = {0};
    assert_null(find(&subs, 1, 7));
    add(&subs, 1, 7);
    assert_false(subs.is_many);
    assert_int_equal(subscriptions_bytes(&subs), 0);
    assert_non_null(find(&subs, 1, 7));
    assert_null(find(&subs, 1, 8));
    remove_one(&subs, 1, 7);
    subscriptions_check(&subs);
    assert_int_equal(subs.count, 0);
    assert_null(find(&subs, 1, 7));
}

static void subscriptions_keep_all_while_they_grow(void **state)
{
    (void)state;
    struct subscriptions subs = {0};
    for (uint32_t i = 0; i < 200; i++) {
        add(&subs, i, i * 2654435761u);
        subscriptions_check(&subs);
        for (uint32_t j = 0; j <= i; j++)
            assert_non_null(find(&subs, j, j * 2654435761u));
    }
    subscriptions_fini(&subs);
}

static void subscriptions_with_one_hash_are_all_walked(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= 60; count++) {
        struct subscriptions subs = {0};
        uint32_t at = 0, seen = 0;
        for (uint32_t i = 0; i < count; i++)
            add(&subs, i, 5);
        while (subscriptions_find(&subs, 5, &at))
            seen++;
        assert_int_equal(seen, count);
        subscriptions_fini(&subs);
    }
}

static void subscriptions_are_removed_from_either_end(void **state)
{
    (void)state;
    for (uint32_t backwards = 0; backwards <= 1; backwards++) {
        struct subscriptions subs = {0};
        for (uint32_t i = 0; i < 100; i++)
            add(&subs, i, i / 3); /* runs that collide */
        for (uint32_t n = 0; n < 100; n++) {
            uint32_t i = backwards ? 99 - n : n;
            remove_one(&subs, i, i / 3);
            subscriptions_check(&subs);
        }
        assert_int_equal(subs.count, 0);
        assert_int_equal(subscriptions_bytes(&subs), 0);
    }
}

/* Were each a search through all, this would be ten thousand million steps. */
static void subscriptions_find_and_remove_one_of_100000(void **state)
{
    (void)state;
    struct subscriptions subs = {0};
    uint64_t seed = 99;
    uint32_t *hashes = malloc(100000 * sizeof(*hashes));
    for (uint32_t i = 0; i < 100000; i++)
        add(&subs, i, hashes[i] = random_next(&seed));
    subscriptions_check(&subs);
    for (uint32_t i = 0; i < 100000; i++)
        remove_one(&subs, i, hashes[i]);
    assert_int_equal(subs.count, 0);
    free(hashes);
}

/* A session that unsubscribes from almost everything gives the memory back. */
static void subscriptions_shrink_when_few_are_left(void **state)
{
    (void)state;
    struct subscriptions subs = {0};
    for (uint32_t i = 0; i < 10000; i++)
        add(&subs, i, i);
    for (uint32_t i = 0; i < 9990; i++) {
        remove_one(&subs, i, i);
        if (i % 100 == 0)
            subscriptions_check(&subs);
    }
    subscriptions_check(&subs);
    assert_true(subscriptions_bytes(&subs) < 2000);
    for (uint32_t i = 9990; i < 10000; i++)
        assert_non_null(find(&subs, i, i));
    subscriptions_fini(&subs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(subscriptions_of_one_take_no_memory_of_their_own),
        cmocka_unit_test(subscriptions_keep_all_while_they_grow),
        cmocka_unit_test(subscriptions_with_one_hash_are_all_walked),
        cmocka_unit_test(subscriptions_are_removed_from_either_end),
        cmocka_unit_test(subscriptions_find_and_remove_one_of_100000),
        cmocka_unit_test(subscriptions_shrink_when_few_are_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
