/* test_base.c: include/base: counted memory, the turned clock, slices, lists, references, hash. */
#include "tests/unit/runtime/testing.h"

#include <malloc.h>
#include <pthread.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/refcount.h"
#include "base/slice.h"

#define MIB (1024u * 1024)

static void memory_is_counted_to_64_kib_a_thread(void **state)
{
    (void)state;
    size_t before = mem_used_bytes();
    void *block = mem_alloc(10 * MIB);
    assert_in_range(mem_used_bytes() - before, 10 * MIB - 65536, 10 * MIB + 65536 + 4096);
    block = mem_realloc(block, 30 * MIB);
    assert_in_range(mem_used_bytes() - before, 30 * MIB - 65536, 30 * MIB + 65536 + 4096);
    assert_true(mem_used_bytes_max() >= mem_used_bytes());
    mem_free(block);
    mem_free(NULL);
    assert_true(mem_used_bytes() <= before + 65536);
}

static void *free_it(void *block)
{
    mem_free(block);
    return NULL;
}

static void memory_may_be_freed_by_another_thread(void **state)
{
    (void)state;
    size_t before = mem_used_bytes();
    pthread_t thread;
    uint8_t *block = mem_zalloc(MIB);
    assert_int_equal(block[0] | block[MIB - 1], 0);
    assert_int_equal(pthread_create(&thread, NULL, free_it, block), 0);
    pthread_join(thread, NULL);
    assert_true(mem_used_bytes() <= before + 2 * 65536);
}

static void pages_count_when_told(void **state)
{
    (void)state;
    size_t before = mem_used_bytes();
    mem_count(5 * MIB);
    assert_true(mem_used_bytes() >= before + 5 * MIB - 65536);
    mem_count(-(int64_t)(5 * MIB));
    assert_true(mem_used_bytes() <= before + 65536);
}

static void turning_the_clock_moves_now_but_not_the_real_clock(void **state)
{
    (void)state;
    uint64_t now_ms = clock_now_ms(), real_ns = clock_real_ns();
    clock_turn_ms(1000 * 3600);
    assert_true(clock_now_ms() >= now_ms + 1000 * 3600);
    assert_true(clock_real_ns() < real_ns + 3600ull * 1000000000);
    now_ms = clock_now_ms();
    uint64_t then_ms = clock_ms_at(clock_real_ns());
    assert_in_range(then_ms, now_ms, clock_now_ms());
}

static void slices_compare_bytewise_shorter_first(void **state)
{
    (void)state;
    assert_true(slice_eq(SLICE_LIT("abc"), slice_str("abc")));
    assert_true(slice_eq(SLICE_LIT(""), slice_of(NULL, 0)));
    assert_false(slice_eq(SLICE_LIT("abc"), SLICE_LIT("abd")));
    assert_true(slice_cmp(SLICE_LIT("ab"), SLICE_LIT("abc")) < 0);
    assert_true(slice_cmp(SLICE_LIT("b"), SLICE_LIT("abc")) > 0);
    assert_true(slice_cmp(SLICE_LIT("\x80"), SLICE_LIT("a")) > 0);
    assert_int_equal(slice_cmp(slice_of(NULL, 0), SLICE_LIT("")), 0);
    assert_true(slice_starts_with(SLICE_LIT("$SYS/x"), SLICE_LIT("$SYS/")));
    assert_false(slice_starts_with(SLICE_LIT("$S"), SLICE_LIT("$SYS/")));
    assert_true(slice_eq(slice_skip(SLICE_LIT("abc"), 2), SLICE_LIT("c")));
}

static void lists_keep_order_and_forgive_unlinking_twice(void **state)
{
    (void)state;
    struct list head, other, nodes[3];
    list_init(&head);
    list_init(&other);
    assert_null(list_pop_front(&head));
    for (size_t i = 0; i < 3; i++)
        list_push_back(i < 2 ? &head : &other, &nodes[i]);
    list_append_all(&head, &other);
    list_append_all(&head, &other);
    assert_true(list_is_empty(&other));
    list_unlink(&nodes[1]);
    list_unlink(&nodes[1]);
    assert_ptr_equal(list_pop_front(&head), &nodes[0]);
    assert_ptr_equal(list_pop_front(&head), &nodes[2]);
    assert_true(list_is_empty(&head));
}

static void last_reference_is_told_to_exactly_one(void **state)
{
    (void)state;
    struct refcount references;
    refcount_init(&references, 1);
    refcount_add(&references, 9);
    assert_false(refcount_drop(&references, 4));
    assert_false(refcount_drop(&references, 5));
    assert_true(refcount_drop(&references, 1));
}

static void hash_of_nothing_is_a_hash(void **state)
{
    (void)state;
    assert_true(hash_bytes(slice_of(NULL, 0)) == hash_bytes(SLICE_LIT("")));
    assert_true(hash_bytes(SLICE_LIT("a")) != hash_bytes(SLICE_LIT("b")));
}

/* 100 names that a table of 256 buckets has in one of them. */
static void names_chosen_to_fall_on_one_another_do_not_with_another_seed(void **state)
{
    (void)state;
    bool is_hit[256] = {false};
    uint32_t hit = 0;
    for (uint32_t number = 0, found = 0; found < 100; number++) {
        struct slice name = slice_of((const uint8_t *)&number, sizeof(number));
        hash_seed = 0;
        if (hash_bytes(name) % 256 != 7)
            continue;
        found++;
        hash_seed = 1;
        hit += !is_hit[hash_bytes(name) % 256];
        is_hit[hash_bytes(name) % 256] = true;
    }
    hash_seed = 0;
    assert_in_range(hit, 60, 100); /* 83 by chance */
}

static void a_seed_that_is_chosen_is_another_each_time(void **state)
{
    (void)state;
    hash_seed_choose();
    uint64_t first = hash_seed;
    hash_seed_choose();
    assert_true(first != hash_seed && first != 0);
    hash_seed = 0;
}

static void every_error_has_a_text(void **state)
{
    (void)state;
    for (int err = ERR_OK; err <= ERR_CLOSED; err++)
        assert_true(strlen(err_text(err)) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_counted_to_64_kib_a_thread),
        cmocka_unit_test(memory_may_be_freed_by_another_thread),
        cmocka_unit_test(pages_count_when_told),
        cmocka_unit_test(turning_the_clock_moves_now_but_not_the_real_clock),
        cmocka_unit_test(slices_compare_bytewise_shorter_first),
        cmocka_unit_test(lists_keep_order_and_forgive_unlinking_twice),
        cmocka_unit_test(last_reference_is_told_to_exactly_one),
        cmocka_unit_test(hash_of_nothing_is_a_hash),
        cmocka_unit_test(names_chosen_to_fall_on_one_another_do_not_with_another_seed),
        cmocka_unit_test(a_seed_that_is_chosen_is_another_each_time),
        cmocka_unit_test(every_error_has_a_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
