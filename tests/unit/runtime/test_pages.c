/* test_pages.c: runtime/pages.h. Where an address sanitizer has every run from malloc, only what is seen from outside. */
#include "tests/unit/runtime/testing.h"

#include <pthread.h>

#include "base/mem.h"
#include "runtime/pages.h"

#ifdef __SANITIZE_ADDRESS__
#define HAS_REGIONS 0
#else
#define HAS_REGIONS 1
#endif

static size_t power_of_two(size_t bytes)
{
    size_t run = PAGES_BYTES_MIN;
    while (run < bytes)
        run *= 2;
    return run;
}

static void runs_are_aligned_to_their_size(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 4096, 4097, 12000, 32768, 65536, 100000, PAGES_BYTES_MAX};
    void *runs[ARRAY_COUNT(sizes)];
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        runs[i] = pages_alloc(sizes[i]);
        assert_non_null(runs[i]);
        assert_int_equal((uintptr_t)runs[i] % power_of_two(sizes[i]), 0);
        memset(runs[i], 0xAA, sizes[i]);
        pages_check();
    }
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++)
        pages_free(runs[i], sizes[i]);
    pages_check();
}

#define RUNS 2000u /* of 32 KiB: more than one region has */

/* One byte for each run that still has memory of the RUNS that are filled and freed here. */
static size_t runs_with_memory(void)
{
    static uint8_t *runs[RUNS];
    size_t full = 0;
    for (uint32_t i = 0; i < RUNS; i++) {
        runs[i] = pages_alloc(32768);
        assert_non_null(runs[i]);
        memset(runs[i], 0xAA, 32768);
    }
    for (uint32_t i = 0; i < RUNS; i++)
        pages_free(runs[i], 32768);
    pages_check();
    for (uint32_t i = 0; i < RUNS; i++) {
        runs[i] = pages_alloc(32768);
        full += runs[i][32767] != 0;
    }
    for (uint32_t i = 0; i < RUNS; i++)
        pages_free(runs[i], 32768);
    return full;
}

static void memory_of_freed_runs_goes_back_but_for_a_few(void **state)
{
    (void)state;
    if (!HAS_REGIONS)
        skip();
    assert_in_range(runs_with_memory(), 1, 8);
    pages_check();
}

static void the_lowest_place_is_used_first(void **state)
{
    (void)state;
    if (!HAS_REGIONS)
        skip();
    char *runs[8];
    for (uint32_t i = 0; i < 8; i++)
        runs[i] = pages_alloc(4096);
    for (uint32_t i = 1; i < 8; i++)
        assert_ptr_equal(runs[i], runs[i - 1] + 4096);
    pages_free(runs[5], 4096);
    pages_free(runs[2], 4096);
    assert_ptr_equal(pages_alloc(4096), runs[2]);
    assert_ptr_equal(pages_alloc(4096), runs[5]);
    for (uint32_t i = 0; i < 8; i++)
        pages_free(runs[i], 4096);
    pages_check();
}

static void tables_are_zeroed_and_counted_at_every_size(void **state)
{
    (void)state;
    static const size_t sizes[] = {64, 4095, 4096, 65536, PAGES_BYTES_MAX, 3 * PAGES_BYTES_MAX};
    for (uint32_t round = 0; round < 3; round++) {
        for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
            size_t before = mem_used_bytes();
            uint8_t *table = pages_or_mem_zalloc(sizes[i]);
            for (size_t at = 0; at < sizes[i]; at++)
                assert_int_equal(table[at], 0);
            memset(table, 0xFF, sizes[i]);
            if (sizes[i] >= 65536) /* the sum is exact to that */
                assert_true(mem_used_bytes() > before);
            pages_or_mem_free(table, sizes[i]);
        }
    }
    pages_or_mem_free(NULL, 4096);
    pages_or_mem_free(NULL, 64);
}

#define THREADS 3u
#define HELD 16u
#define ROUNDS 5000u

struct holding {
    uint32_t *run;
    size_t bytes;
};

/* Runs of all sizes come and go; what is written at both ends of one stays there. */
static void *taker(void *ctx)
{
    uint64_t seed = (uintptr_t)ctx + 7;
    struct holding held[HELD] = {0};
    for (uint32_t i = 0; i < ROUNDS + HELD; i++) {
        struct holding *one = &held[i % HELD];
        if (one->run) {
            BUG_ON(one->run[0] != i - HELD || one->run[one->bytes / 4 - 1] != i - HELD);
            pages_free(one->run, one->bytes);
        }
        *one = (struct holding){0};
        if (i >= ROUNDS)
            continue;
        one->bytes = PAGES_BYTES_MIN << random_below(&seed, 7);
        one->run = pages_alloc(one->bytes);
        BUG_ON(!one->run);
        one->run[0] = one->run[one->bytes / 4 - 1] = i;
    }
    return NULL;
}

static void threads_never_share_a_run(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, taker, (void *)i);
    for (uint32_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    pages_check();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_are_aligned_to_their_size),
        cmocka_unit_test(the_lowest_place_is_used_first),
        cmocka_unit_test(memory_of_freed_runs_goes_back_but_for_a_few),
        cmocka_unit_test(tables_are_zeroed_and_counted_at_every_size),
        cmocka_unit_test(threads_never_share_a_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
