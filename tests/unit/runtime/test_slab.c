/* test_slab.c: runtime/slab.h by itself; against a naive model in tests/model/test_slab_model.c. */
#include "tests/unit/runtime/testing.h"

#include "base/mem.h"
#include "runtime/slab.h"

#define OBJECT_BYTES 24u

static void fill(struct slab *slab, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t handle;
        assert_non_null(slab_alloc(slab, &handle));
        assert_int_equal(handle, i + 1);
    }
}

static void objects_are_zeroed_also_when_used_before(void **state)
{
    (void)state;
    struct slab slab;
    uint32_t first, handle;
    static const uint8_t zeros[OBJECT_BYTES];
    slab_init(&slab, OBJECT_BYTES);
    assert_non_null(slab_alloc(&slab, &first));
    for (int round = 0; round < 3; round++) {
        uint8_t *object = slab_alloc(&slab, &handle);
        assert_memory_equal(object, zeros, OBJECT_BYTES);
        assert_ptr_equal(object, slab_at(&slab, handle));
        memset(object, 0xFF, OBJECT_BYTES);
        slab_free(&slab, handle);
    }
    slab_fini(&slab);
}

static void handle_0_is_never_given_and_never_used(void **state)
{
    (void)state;
    struct slab slab;
    slab_init(&slab, OBJECT_BYTES);
    assert_false(slab_is_used(&slab, 0));
    fill(&slab, 1);
    assert_false(slab_is_used(&slab, 0));
    assert_true(slab_is_used(&slab, 1));
    assert_false(slab_is_used(&slab, 2));
    assert_false(slab_is_used(&slab, UINT32_MAX));
    slab_fini(&slab);
}

static void lowest_hole_is_filled_first(void **state)
{
    (void)state;
    struct slab slab;
    uint32_t handle;
    slab_init(&slab, OBJECT_BYTES);
    fill(&slab, 3 * SLAB_CHUNK_OBJECTS);
    slab_free(&slab, 700);
    slab_free(&slab, 17);
    slab_free(&slab, 300);
    static const uint32_t expected[] = {17, 300, 700, 769};
    for (size_t i = 0; i < ARRAY_COUNT(expected); i++) {
        assert_non_null(slab_alloc(&slab, &handle));
        assert_int_equal(handle, expected[i]);
        slab_check(&slab);
    }
    slab_fini(&slab);
}

static void empty_chunks_are_given_back_and_their_places_used_again(void **state)
{
    (void)state;
    struct slab slab;
    uint32_t handle;
    slab_init(&slab, OBJECT_BYTES);
    fill(&slab, 4 * SLAB_CHUNK_OBJECTS);
    for (handle = 257; handle <= 512; handle++)
        slab_free(&slab, handle);
    assert_int_equal(slab.absent, 1);
    assert_null(slab.objects[1]);
    slab_free(&slab, 1000);
    assert_non_null(slab_alloc(&slab, &handle));
    assert_int_equal(handle, 1000); /* a chunk that is there comes before a new one */
    assert_non_null(slab_alloc(&slab, &handle));
    assert_int_equal(handle, 257);
    slab_check(&slab);
    slab_fini(&slab);
}

static void burst_leaves_no_memory_behind(void **state)
{
    (void)state;
    struct slab slab;
    slab_init(&slab, 1024);
    size_t before = mem_used_bytes();
    fill(&slab, 100 * SLAB_CHUNK_OBJECTS);
    assert_true(mem_used_bytes() > before + 25u * 1024 * 1024 / 2);
    for (uint32_t handle = 1; handle <= 100 * SLAB_CHUNK_OBJECTS; handle++)
        slab_free(&slab, handle);
    assert_int_equal(slab.chunk_count, 0);
    assert_true(mem_used_bytes() < before + 256 * 1024);
    slab_check(&slab);
    slab_fini(&slab);
}

static void walk_meets_every_used_object_once_in_order(void **state)
{
    (void)state;
    struct slab slab;
    slab_init(&slab, OBJECT_BYTES);
    assert_int_equal(slab_next(&slab, 0), 0);
    fill(&slab, 5 * SLAB_CHUNK_OBJECTS);
    for (uint32_t handle = 1; handle <= 5 * SLAB_CHUNK_OBJECTS; handle++) {
        if (handle % 63 != 0 && handle != 256 && handle != 257)
            slab_free(&slab, handle);
    }
    uint32_t met = 0, before = 0;
    for (uint32_t handle = slab_next(&slab, 0); handle; handle = slab_next(&slab, handle)) {
        assert_true(handle > before && slab_is_used(&slab, handle));
        before = handle;
        met++;
    }
    assert_int_equal(met, slab.used);
    slab_fini(&slab);
}

static void objects_of_64_bytes_start_on_cache_lines(void **state)
{
    (void)state;
    struct slab slab;
    uint32_t handle;
    slab_init(&slab, 64);
    for (uint32_t i = 0; i < 2 * SLAB_CHUNK_OBJECTS; i++)
        assert_int_equal((uintptr_t)slab_alloc(&slab, &handle) % 64, 0);
    slab_fini(&slab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(objects_are_zeroed_also_when_used_before),
        cmocka_unit_test(handle_0_is_never_given_and_never_used),
        cmocka_unit_test(lowest_hole_is_filled_first),
        cmocka_unit_test(empty_chunks_are_given_back_and_their_places_used_again),
        cmocka_unit_test(burst_leaves_no_memory_behind),
        cmocka_unit_test(walk_meets_every_used_object_once_in_order),
        cmocka_unit_test(objects_of_64_bytes_start_on_cache_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
