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

static void trim_leaves_as_many_as_it_is_told(void **state)
{
    (void)state;
    struct pool pool;
    void *objects[5];
    pool_init(&pool, 64, 10);
    for (size_t i = 0; i < 5; i++)
        objects[i] = pool_get(&pool);
    for (size_t i = 0; i < 5; i++)
        pool_put(&pool, objects[i]);
    pool_trim(&pool, 2);
    assert_int_equal(pool.idle, 2);
    pool_trim(&pool, 4);
    assert_int_equal(pool.idle, 2);
    pool_trim(&pool, 0);
    assert_null(pool.first);
    pool_fini(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(last_one_put_is_the_next_one_got),
        cmocka_unit_test(at_most_keep_max_idle_ones_are_kept),
        cmocka_unit_test(trim_leaves_as_many_as_it_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
