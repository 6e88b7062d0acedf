/* test_blocks.c: runtime/blocks.h, also under sanitizers as it is without them. */
#define PAGES_ARE_REAL
#include "runtime/pages.c"

#include "runtime/blocks.c"

#include "tests/unit/runtime/testing.h"

static bool is_filled(const uint8_t *block, size_t bytes, uint8_t with)
{
    for (size_t i = 0; i < bytes; i++)
        if (block[i] != with)
            return false;
    return true;
}

static void blocks_of_every_size_are_zeroed_also_when_used_before(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 3; round++) {
        for (size_t bytes = 1; bytes <= BLOCKS_BYTES_MAX + 9; bytes++) {
            uint8_t *block = blocks_alloc(bytes);
            assert_non_null(block);
            assert_int_equal((uintptr_t)block % 8, 0);
            assert_true(is_filled(block, bytes, 0));
            memset(block, 0xFF, bytes);
            blocks_free(block, bytes);
        }
    }
    blocks_free(NULL, 8);
    blocks_free(NULL, 8000);
    blocks_check();
    pages_check();
}

#define MANY 20000u

static void many_blocks_hold_what_was_written_and_all_come_back(void **state)
{
    (void)state;
    static uint8_t *blocks[MANY];
    size_t before = mem_used_bytes();
    for (uint32_t i = 0; i < MANY; i++) {
        size_t bytes = 100 + i % 60;
        blocks[i] = blocks_alloc(bytes);
        memset(blocks[i], (int)(i & 0xFF), bytes);
    }
    assert_true(mem_used_bytes() > before + MANY * 100);
    blocks_check();
    for (uint32_t i = 0; i < MANY; i++) { /* every third first: chunks with holes */
        uint32_t at = i * 3 % MANY;
        size_t bytes = 100 + at % 60;
        assert_true(is_filled(blocks[at], bytes, (uint8_t)at));
        blocks_free(blocks[at], bytes);
        if (i == MANY / 2)
            blocks_check();
    }
    assert_true(mem_used_bytes() < before + 128 * 1024);
    assert_int_equal(pages_stats().used, 0);
    blocks_check();
    pages_check();
}

#define THREADS 3u
#define SHARED 1024u
#define ROUNDS 60000u

static _Atomic(uint64_t *) shelf[SHARED];

static size_t place_bytes(uint32_t place)
{
    return 64 + place % 3 * 8;
}

/* Puts a block where another may take and free it. */
static void *worker(void *ctx)
{
    uint64_t seed = (uintptr_t)ctx + 3;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        uint32_t place = random_below(&seed, SHARED);
        size_t bytes = place_bytes(place);
        uint64_t *mine = blocks_alloc(bytes);
        BUG_ON(!mine || mine[0] || mine[bytes / 8 - 1]);
        mine[0] = mine[bytes / 8 - 1] = place + 1;
        uint64_t *other = atomic_exchange(&shelf[place], mine);
        if (!other)
            continue;
        BUG_ON(other[0] != place + 1 || other[bytes / 8 - 1] != place + 1);
        blocks_free(other, bytes);
    }
    return NULL;
}

static void blocks_may_be_freed_by_another_thread(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, worker, (void *)i);
    for (uint32_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    blocks_check();
    for (uint32_t place = 0; place < SHARED; place++)
        blocks_free(atomic_exchange(&shelf[place], NULL), place_bytes(place));
    assert_int_equal(pages_stats().used, 0);
    blocks_check();
    pages_check();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_of_every_size_are_zeroed_also_when_used_before),
        cmocka_unit_test(many_blocks_hold_what_was_written_and_all_come_back),
        cmocka_unit_test(blocks_may_be_freed_by_another_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
