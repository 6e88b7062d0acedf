/* test_pool.c: runtime/pool.h. */
#include "tests/unit/runtime/testing.h"

#include "runtime/pool.h"

static void last_one_put_is_the_next_one_got(void **state)
{
    (void)state;
    struct pool pool;
    pool_init(&pool, 256, 8);
    void *first = pool_get(&pool), *second = pool_get(&pool);
    assert_true(first && second && first != second);
    assert_int_equal(pool.lent, 2);
    pool_put(&pool, first);
    pool_put(&pool, second);
    assert_ptr_equal(pool_get(&pool), second);
    assert_ptr_equal(pool_get(&pool), first);
    pool_put(&pool, first);
    pool_put(&pool, second);
    pool_fini(&pool);
}

static void at_most_keep_max_idle_ones_are_kept(void **state)
{
    (void)state;
    struct pool pool;
    void *objects[5];
    pool_init(&pool, 64, 3);
    for (size_t i = 0; i < 5; i++)
        objects[i] = pool_get(&pool);
    for (size_t i = 0; i < 5; i++)
        pool_put(&pool, objects[i]);
    assert_int_equal(pool.idle, 3);
    assert_int_equal(pool.lent, 0);
    pool_fini(&pool);
}

/* So many are lent, and come back. */
static void use(struct pool *pool, uint32_t count)
{
    void *objects[16];
    assert_true(count <= ARRAY_COUNT(objects));
    for (uint32_t i = 0; i < count; i++)
        objects[i] = pool_get(pool);
    for (uint32_t i = 0; i < count; i++)
        pool_put(pool, objects[i]);
}

static void what_nobody_needs_any_more_goes_by_halves_but_for_one(void **state)
{
    (void)state;
    struct pool pool;
    static const uint32_t left[] = {16, 8, 4, 2, 1, 1, 1};
    pool_init(&pool, 64, 32);
    pool_trim(&pool);
    use(&pool, 16);
    for (size_t i = 0; i < ARRAY_COUNT(left); i++) {
        pool_trim(&pool); /* the first time they were needed */
        assert_int_equal(pool.idle, left[i]);
    }
    pool_fini(&pool);
}

static void what_is_needed_between_two_trims_stays(void **state)
{
    (void)state;
    struct pool pool;
    pool_init(&pool, 64, 32);
    use(&pool, 16);
    for (uint32_t i = 0; i < 10; i++) {
        pool_trim(&pool);
        assert_true(pool.idle >= 5);
        use(&pool, 5);
    }
    assert_in_range(pool.idle, 5, 6);
    void *held = pool_get(&pool);
    for (uint32_t i = 0; i < 10; i++)
        pool_trim(&pool);
    assert_int_equal(pool.idle, 1);
    pool_put(&pool, held);
    pool_fini(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(last_one_put_is_the_next_one_got),
        cmocka_unit_test(at_most_keep_max_idle_ones_are_kept),
        cmocka_unit_test(what_nobody_needs_any_more_goes_by_halves_but_for_one),
        cmocka_unit_test(what_is_needed_between_two_trims_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
