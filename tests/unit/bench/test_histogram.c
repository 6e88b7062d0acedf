/* test_histogram.c: bench/histogram.h, against sorted values. */
#include "tests/unit/bench/testing.h"

#include "bench/histogram.h"

static struct histogram h;

static int clear(void **state)
{
    (void)state;
    memset(&h, 0, sizeof h);
    return 0;
}

static void nothing_seen_is_zero(void **state)
{
    (void)state;
    assert_true(histogram_percentile_ns(&h, 50) == 0);
    assert_true(histogram_percentile_ns(&h, 100) == 0);
}

static void one_value_is_every_percentile(void **state)
{
    (void)state;
    histogram_add(&h, 1234567);
    for (double p = 0; p <= 100; p += 12.5) {
        double value = histogram_percentile_ns(&h, p);
        assert_true(value >= 1234567 * (1 - 1 / 32.0) && value <= 1234567);
    }
}

static void small_values_are_exact(void **state)
{
    (void)state;
    for (uint64_t i = 1; i <= 20; i++)
        histogram_add(&h, i);
    assert_true(histogram_percentile_ns(&h, 50) == 10);
    assert_true(histogram_percentile_ns(&h, 95) == 19);
    assert_true(histogram_percentile_ns(&h, 100) == 20);
}

static void the_largest_duration_has_a_cell(void **state)
{
    (void)state;
    histogram_add(&h, 0);
    histogram_add(&h, UINT64_MAX);
    assert_int_equal(h.max_ns, UINT64_MAX);
    assert_int_equal(h.cells[0], 1);
    assert_true(histogram_percentile_ns(&h, 100) > 1.8e19);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void percentiles_are_those_of_the_sorted_values(void **state)
{
    (void)state;
    static uint64_t values[10000];
    static const double percents[] = {1, 10, 50, 90, 99, 99.9, 100};
    uint64_t seed = 7;
    for (uint32_t i = 0; i < 10000; i++) { /* over all powers of two up to 2^40 */
        values[i] = test_random(&seed) >> test_random(&seed) % 31;
        values[i] *= 1 + test_random(&seed) % 512;
        histogram_add(&h, values[i]);
    }
    qsort(values, 10000, sizeof values[0], compare);
    for (size_t i = 0; i < sizeof percents / sizeof *percents; i++) {
        size_t rank = (size_t)(percents[i] * 100);
        double exact = (double)values[rank - 1], got = histogram_percentile_ns(&h, percents[i]);
        assert_true(got >= exact * (1 - 1 / 32.0) - 1 && got <= exact * (1 + 1 / 32.0) + 1);
    }
}

static void merging_is_adding_all_to_one(void **state)
{
    (void)state;
    static struct histogram parts[3], sum;
    uint64_t seed = 9;
    memset(parts, 0, sizeof parts);
    memset(&sum, 0, sizeof sum);
    for (uint32_t i = 0; i < 3000; i++) {
        uint64_t value = test_random(&seed);
        histogram_add(&parts[i % 3], value);
        histogram_add(&h, value);
    }
    for (uint32_t i = 0; i < 3; i++)
        histogram_merge(&sum, &parts[i]);
    assert_memory_equal(&sum, &h, sizeof h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(nothing_seen_is_zero, clear),
        cmocka_unit_test_setup(one_value_is_every_percentile, clear),
        cmocka_unit_test_setup(small_values_are_exact, clear),
        cmocka_unit_test_setup(the_largest_duration_has_a_cell, clear),
        cmocka_unit_test_setup(percentiles_are_those_of_the_sorted_values, clear),
        cmocka_unit_test_setup(merging_is_adding_all_to_one, clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
