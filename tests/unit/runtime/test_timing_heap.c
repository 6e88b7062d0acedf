/* test_timing_heap.c: runtime/timing_heap.h by itself; seeded against a naive model in tests/model.
 */
#include "tests/unit/runtime/testing.h"

#include "runtime/timing_heap.h"

struct object {
    uint32_t value;
    struct timing_node timer;
};

struct fixture {
    struct slab slab;
    struct timing_heap *heap;
    uint32_t expired[64], expired_count;
    uint32_t rearm_tick, cancel_handle;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    slab_init(&f->slab, sizeof(struct object));
    f->heap = timing_heap_new(&f->slab, offsetof(struct object, timer));
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    timing_heap_check(f->heap);
    timing_heap_free(f->heap);
    slab_fini(&f->slab);
    free(f);
    return 0;
}

static uint32_t armed_object(struct fixture *f, uint32_t tick)
{
    uint32_t handle;
    assert_non_null(slab_alloc(&f->slab, &handle));
    assert_int_equal(timing_heap_arm(f->heap, handle, tick), ERR_OK);
    return handle;
}

static void on_expired(void *ctx, uint32_t handle)
{
    struct fixture *f = ctx;
    assert_int_equal(timing_heap_tick(f->heap, handle), 0);
    f->expired[f->expired_count++ % ARRAY_COUNT(f->expired)] = handle;
    if (f->rearm_tick)
        assert_int_equal(timing_heap_arm(f->heap, handle, f->rearm_tick), ERR_OK);
    if (f->cancel_handle)
        timing_heap_cancel(f->heap, f->cancel_handle);
}

static uint32_t expire(struct fixture *f, uint32_t now, uint32_t budget)
{
    return timing_heap_expire(f->heap, now, budget, on_expired, f);
}

static void nothing_is_armed_at_first(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(timing_heap_next(f->heap), 0);
    assert_int_equal(timing_heap_count(f->heap), 0);
    assert_int_equal(expire(f, UINT32_MAX, 100), 0);
}

static void objects_expire_at_their_tick_and_not_before(void **state)
{
    struct fixture *f = *state;
    uint32_t handle = armed_object(f, 10);
    assert_int_equal(timing_heap_tick(f->heap, handle), 10);
    assert_int_equal(expire(f, 9, 100), 0);
    assert_int_equal(expire(f, 10, 100), 1);
    assert_int_equal(f->expired[0], handle);
    assert_int_equal(expire(f, UINT32_MAX, 100), 0);
}

static void earlier_ticks_expire_first(void **state)
{
    struct fixture *f = *state;
    static const uint32_t ticks[] = {50, 20, 40, 10, 30};
    uint32_t handles[5];
    for (size_t i = 0; i < 5; i++)
        handles[i] = armed_object(f, ticks[i]);
    assert_int_equal(timing_heap_next(f->heap), 10);
    assert_int_equal(expire(f, 100, 100), 5);
    static const size_t order[] = {3, 1, 4, 2, 0};
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(f->expired[i], handles[order[i]]);
}

static void budget_ends_a_call_and_the_next_goes_on(void **state)
{
    struct fixture *f = *state;
    for (uint32_t i = 0; i < 25; i++)
        armed_object(f, 7);
    assert_int_equal(expire(f, 7, 10), 10);
    timing_heap_check(f->heap);
    assert_int_equal(timing_heap_count(f->heap), 15);
    assert_int_equal(expire(f, 7, 10), 10);
    assert_int_equal(expire(f, 7, 10), 5);
    assert_int_equal(expire(f, 7, 0), 0);
}

static void arming_again_moves_the_deadline_both_ways(void **state)
{
    struct fixture *f = *state;
    uint32_t handle = armed_object(f, 10);
    assert_int_equal(timing_heap_arm(f->heap, handle, 30), ERR_OK);
    assert_int_equal(timing_heap_next(f->heap), 30);
    assert_int_equal(timing_heap_arm(f->heap, handle, 5), ERR_OK);
    assert_int_equal(timing_heap_arm(f->heap, handle, 5), ERR_OK);
    assert_int_equal(timing_heap_next(f->heap), 5);
    assert_int_equal(timing_heap_count(f->heap), 1);
    assert_int_equal(expire(f, 5, 100), 1);
    assert_int_equal(expire(f, 100, 100), 0);
}

static void cancelled_objects_do_not_expire_and_leave_no_tick_behind(void **state)
{
    struct fixture *f = *state;
    uint32_t early = armed_object(f, 10), late = armed_object(f, 20);
    timing_heap_cancel(f->heap, early);
    timing_heap_cancel(f->heap, early);
    assert_int_equal(timing_heap_next(f->heap), 20);
    timing_heap_cancel(f->heap, late);
    assert_int_equal(timing_heap_next(f->heap), 0);
    assert_int_equal(expire(f, 100, 100), 0);
}

static void every_object_of_a_full_tick_can_be_cancelled(void **state)
{
    struct fixture *f = *state;
    uint32_t handles[50]; /* several blocks */
    for (size_t i = 0; i < 50; i++)
        handles[i] = armed_object(f, 10);
    for (size_t i = 0; i < 50; i++) {
        timing_heap_cancel(f->heap, handles[i * 37 % 50]);
        timing_heap_check(f->heap);
    }
    assert_int_equal(timing_heap_count(f->heap), 0);
}

static void callback_may_arm_the_object_again(void **state)
{
    struct fixture *f = *state;
    for (uint32_t i = 0; i < 40; i++)
        armed_object(f, 10);
    f->rearm_tick = 11;
    assert_int_equal(expire(f, 10, 100), 40);
    assert_int_equal(timing_heap_count(f->heap), 40);
    assert_int_equal(timing_heap_next(f->heap), 11);
}

static void callback_may_cancel_another_that_was_due(void **state)
{
    struct fixture *f = *state;
    uint32_t first = armed_object(f, 10);
    f->cancel_handle = armed_object(f, 11);
    assert_int_equal(expire(f, 20, 100), 1);
    assert_int_equal(f->expired[0], first);
}

static void an_overdue_object_that_arms_itself_again_uses_the_budget_and_no_more(void **state)
{
    struct fixture *f = *state;
    armed_object(f, 10);
    f->rearm_tick = 10;
    assert_int_equal(expire(f, 10, 50), 50);
}

static void thousands_of_ticks_are_found_again(void **state)
{
    struct fixture *f = *state;
    for (uint32_t i = 0; i < 5000; i++)
        armed_object(f, i * 256 + 1); /* all in one corner of a bad hash */
    timing_heap_check(f->heap);
    assert_int_equal(expire(f, 4999 * 256, 10000), 4999);
    assert_int_equal(timing_heap_next(f->heap), 4999 * 256 + 1);
}

static void last_tick_of_all_is_a_tick_like_any(void **state)
{
    struct fixture *f = *state;
    armed_object(f, UINT32_MAX);
    assert_int_equal(expire(f, UINT32_MAX - 1, 100), 0);
    assert_int_equal(expire(f, UINT32_MAX, 100), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_is_armed_at_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(objects_expire_at_their_tick_and_not_before, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(earlier_ticks_expire_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(budget_ends_a_call_and_the_next_goes_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(arming_again_moves_the_deadline_both_ways, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(cancelled_objects_do_not_expire_and_leave_no_tick_behind,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_object_of_a_full_tick_can_be_cancelled, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(callback_may_arm_the_object_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(callback_may_cancel_another_that_was_due, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            an_overdue_object_that_arms_itself_again_uses_the_budget_and_no_more, set_up,
            tear_down),
        cmocka_unit_test_setup_teardown(thousands_of_ticks_are_found_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(last_tick_of_all_is_a_tick_like_any, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
