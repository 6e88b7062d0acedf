/* test_pace.c: bench/pace.h. */
#include "tests/unit/bench/testing.h"

#include "bench/pace.h"

static void behind_is_what_is_due_one_by_one(void **state)
{
    (void)state;
    uint64_t seed = 1;
    for (int i = 0; i < 1000; i++) {
        struct pace p = {.start_ns = 1 + test_random(&seed) % SECOND_NS};
        p.count = test_random(&seed) % 1000;
        p.per_second = 0.1 + test_random(&seed) % 100000 / 7.0;
        uint64_t wanted = test_random(&seed) % 300;
        struct pace next = p;
        next.count += wanted;
        uint64_t due_ns = pace_due_ns(&next);
        assert_int_equal(pace_behind(&p, due_ns),
                         wanted); /* the end itself is not before the end */
        assert_int_equal(pace_behind(&p, due_ns + 1), wanted + 1);
    }
}

static void nothing_is_behind_before_it_begins(void **state)
{
    (void)state;
    struct pace never = {.per_second = 10}, none = {.start_ns = 5}, later = {100, 3, 10};
    assert_int_equal(pace_behind(&never, UINT64_MAX), 0);
    assert_int_equal(pace_behind(&none, UINT64_MAX), 0);
    assert_int_equal(pace_behind(&later, 0), 0);
    assert_int_equal(pace_behind(&later, 100 + SECOND_NS / 10), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(behind_is_what_is_due_one_by_one),
        cmocka_unit_test(nothing_is_behind_before_it_begins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
