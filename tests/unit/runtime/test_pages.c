/* test_pages.c: runtime/pages.h, also under sanitizers as it is without them. */
#define PAGES_ARE_REAL
#include "runtime/pages.c"

#include "tests/unit/runtime/testing.h"

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

#define RUNS 2000u /* of 32 KiB: more than three regions have */

static uint8_t *runs[RUNS];

static void fill(void)
{
    for (uint32_t i = 0; i < RUNS; i++) {
        runs[i] = pages_alloc(32768);
        assert_non_null(runs[i]);
        memset(runs[i], 0xAA, 32768);
    }
}

static void free_all(void)
{
    for (uint32_t i = 0; i < RUNS; i++)
        pages_free(runs[i], 32768);
    pages_check();
}

/* A round. Returns the calls that were not the last. */
static uint32_t trim(void)
{
    uint32_t calls = 0;
    pages_trim_begin();
    while (pages_trim()) {
        pages_check();
        calls++;
    }
    pages_check();
    return calls;
}

static void trim_until_nothing_is_left(void)
{
    for (uint32_t i = 0; i < 64 && pages_stats().kept; i++)
        trim();
    assert_int_equal(pages_stats().kept, 0);
}

/* Whether both ends still say what was written into the run. */
static bool has_memory(const uint8_t *run)
{
    return run[0] != 0 && run[32767] != 0;
}

static void memory_of_freed_runs_goes_back_by_halves_in_large_pieces(void **state)
{
    (void)state;
    size_t all = (size_t)RUNS * 8;
    trim_until_nothing_is_left();
    fill();
    assert_int_equal(pages_stats().used, all);
    free_all();
    assert_int_equal(pages_stats().used, 0);
    assert_int_equal(pages_stats().kept, all);
    trim(); /* they were needed since the last time */
    assert_int_equal(pages_stats().kept, all);
    assert_in_range(trim(), 15, 20); /* half of 16,000 pages, 512 at a time */
    assert_int_equal(pages_stats().kept, all / 2);
    trim_until_nothing_is_left();
    for (uint32_t i = 0; i < RUNS; i++) {
        runs[i] = pages_alloc(32768);
        assert_int_equal(runs[i][0] | runs[i][32767], 0); /* as the system gives it */
    }
    free_all();
    trim_until_nothing_is_left();
}

static void what_comes_again_finds_its_memory(void **state)
{
    (void)state;
    void *held = pages_alloc(32768);
    for (uint32_t i = 0; i < 10; i++) {
        uint8_t *run = pages_alloc(32768);
        assert_true(i == 0 || has_memory(run));
        memset(run, 0xAA, 32768);
        pages_free(run, 32768);
        trim();
    }
    pages_free(held, 32768);
    trim_until_nothing_is_left();
}

static void pages_between_others_go_back_and_what_is_in_use_stays(void **state)
{
    (void)state;
    fill();
    for (uint32_t i = 0; i < RUNS; i++) {
        if (i % 3)
            pages_free(runs[i], 32768);
    }
    trim_until_nothing_is_left();
    for (uint32_t i = 0; i < RUNS; i += 3) {
        assert_true(has_memory(runs[i]));
        pages_free(runs[i], 32768);
    }
    trim_until_nothing_is_left();
    assert_int_equal(pages_stats().used, 0);
}

static void the_lowest_place_is_used_first(void **state)
{
    (void)state;
    char *low[8];
    for (uint32_t i = 0; i < 8; i++)
        low[i] = pages_alloc(4096);
    for (uint32_t i = 1; i < 8; i++)
        assert_ptr_equal(low[i], low[i - 1] + 4096);
    pages_free(low[5], 4096);
    pages_free(low[2], 4096);
    assert_ptr_equal(pages_alloc(4096), low[2]);
    assert_ptr_equal(pages_alloc(4096), low[5]);
    for (uint32_t i = 0; i < 8; i++)
        pages_free(low[i], 4096);
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
            if (sizes[i] > 65536)
                assert_true(mem_used_bytes() < before + sizes[i]);
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

static void threads_never_share_a_run_while_memory_goes_back(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, taker, (void *)i);
    for (uint32_t i = 0; i < 100; i++) {
        pages_trim_begin();
        while (pages_trim())
            ;
    }
    for (uint32_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    pages_check();
    trim_until_nothing_is_left();
    assert_int_equal(pages_stats().used, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_are_aligned_to_their_size),
        cmocka_unit_test(the_lowest_place_is_used_first),
        cmocka_unit_test(memory_of_freed_runs_goes_back_by_halves_in_large_pieces),
        cmocka_unit_test(what_comes_again_finds_its_memory),
        cmocka_unit_test(pages_between_others_go_back_and_what_is_in_use_stays),
        cmocka_unit_test(tables_are_zeroed_and_counted_at_every_size),
        cmocka_unit_test(threads_never_share_a_run_while_memory_goes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
