/* test_table.c: the intrusive hash table (base/table.h), also against a naive list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/table.h"

#define NODES 5000u

static uint32_t random_below(uint64_t *seed, uint32_t limit)
{
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    return (uint32_t)(*seed * 2685821657736338717ull >> 32) % limit;
}

static void empty_table_has_nothing_and_frees_nothing(void **state)
{
    (void)state;
    struct table table = {0};
    assert_null(table_find(&table, 7));
    table_check(&table);
    table_fini(&table);
}

static void nodes_of_one_hash_are_all_found(void **state)
{
    (void)state;
    struct table table = {0};
    struct table_node same[3], other;
    table_add(&table, &other, 9);
    for (uint32_t i = 0; i < 3; i++)
        table_add(&table, &same[i], 5);
    uint32_t found = 0;
    for (struct table_node *node = table_find(&table, 5); node; node = table_find_next(node))
        found++;
    assert_int_equal(found, 3);
    table_remove(&table, &same[1]);
    assert_non_null(table_find(&table, 5));
    table_check(&table);
    table_fini(&table);
}

/* Few hashes, so that many nodes share one; the naive list is whether each is in. */
static void table_is_what_a_naive_list_is(void **state)
{
    (void)state;
    static struct table_node nodes[NODES];
    static bool is_in[NODES];
    struct table table = {0};
    uint64_t seed = 0x7AB1E;
    for (uint32_t step = 0; step < 60000; step++) {
        uint32_t i = random_below(&seed, step < 20000 ? 40 : NODES);
        if (is_in[i])
            table_remove(&table, &nodes[i]);
        else
            table_add(&table, &nodes[i], i / 2 * 2654435761u);
        is_in[i] = !is_in[i];
        bool is_found = false;
        for (struct table_node *node = table_find(&table, i / 2 * 2654435761u); node;
             node = table_find_next(node))
            is_found |= node == &nodes[i];
        assert_int_equal(is_found, is_in[i]);
        if (step % 1000 == 0)
            table_check(&table);
    }
    for (uint32_t i = 0; i < NODES; i++) {
        if (is_in[i])
            table_remove(&table, &nodes[i]);
    }
    assert_int_equal(table.count, 0);
    table_check(&table);
    table_fini(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_table_has_nothing_and_frees_nothing),
        cmocka_unit_test(nodes_of_one_hash_are_all_found),
        cmocka_unit_test(table_is_what_a_naive_list_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
