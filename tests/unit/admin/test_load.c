/* test_load.c: admin/load.h: averages. */
#include "tests/unit/admin/testing.h"

#include <math.h>

#include "admin/load.h"

static void a_steady_rate_is_approached(void **state)
{
    struct load load = {0};
    (void)state;
    for (uint64_t second = 1; second <= 7200; second++) {
        double before = load.per_minute[0];
        load_step(&load, second * 5, 1);
        assert_true(load.per_minute[0] >= before && load.per_minute[0] < 300.001);
    }
    for (uint32_t i = 0; i < LOAD_SPANS; i++)
        assert_true(fabs(load.per_minute[i] - 300) < 0.2);
}

static void a_minute_keeps_one_in_e(void **state)
{
    struct load load = {0};
    (void)state;
    load_step(&load, 100, 60);
    assert_true(fabs(load.per_minute[0] - 100 * (1 - exp(-1))) < 1e-9);
    assert_true(fabs(load.per_minute[1] - 100 * (1 - exp(-0.2))) < 1e-9);
    double before = load.per_minute[0];
    load_step(&load, 100, 60);
    assert_true(fabs(load.per_minute[0] - before * exp(-1)) < 1e-9);
}

static void the_length_of_the_steps_does_not_matter(void **state)
{
    struct load fine = {0}, coarse = {0};
    (void)state;
    for (uint64_t i = 1; i <= 60; i++)
        load_step(&fine, i * 10, 1);
    load_step(&coarse, 600, 60);
    for (uint32_t i = 0; i < LOAD_SPANS; i++)
        assert_true(fabs(fine.per_minute[i] - coarse.per_minute[i]) < 1e-6);
}

static void spans_have_mosquittos_names(void **state)
{
    (void)state;
    assert_string_equal(load_span_name(0), "1min");
    assert_string_equal(load_span_name(1), "5min");
    assert_string_equal(load_span_name(2), "15min");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_steady_rate_is_approached),
        cmocka_unit_test(a_minute_keeps_one_in_e),
        cmocka_unit_test(the_length_of_the_steps_does_not_matter),
        cmocka_unit_test(spans_have_mosquittos_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
