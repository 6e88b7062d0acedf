/* test_metrics.c: runtime/metrics.h: the tables say something about every row, and no name twice.
 */
#include "tests/unit/runtime/testing.h"

#include "runtime/metrics.h"

static void every_metric_has_help_and_topics_are_unique(void **state)
{
    (void)state;
    for (int i = 0; i < METRIC_COUNT; i++) {
        assert_true(strlen(metric_help(i)) > 0);
        for (int j = 0; j < i && metric_topic(i); j++)
            assert_true(!metric_topic(j) || strcmp(metric_topic(i), metric_topic(j)) != 0);
    }
    assert_string_equal(metric_topic(METRIC_BYTES_SENT), "bytes/sent");
    assert_null(metric_topic(METRIC_TURNS));
}

static void reasons_have_names_of_their_own(void **state)
{
    (void)state;
    for (int i = 0; i < DROP_COUNT; i++) {
        for (int j = 0; j < i; j++)
            assert_string_not_equal(drop_reason_name(i), drop_reason_name(j));
    }
    for (int i = 0; i < CLOSE_COUNT; i++) {
        for (int j = 0; j < i; j++)
            assert_string_not_equal(close_reason_name(i), close_reason_name(j));
    }
    assert_string_equal(drop_reason_name(DROP_EXPIRED), "expired");
    assert_string_equal(close_reason_name(CLOSE_KEEPALIVE), "keepalive");
    assert_int_equal(close_reason_code(CLOSE_TAKEN_OVER), 0x8E);
}

static void drops_count_by_reason_and_in_sum(void **state)
{
    (void)state;
    static struct metrics metrics;
    metric_drop(&metrics, DROP_EXPIRED);
    metric_drop(&metrics, DROP_EXPIRED);
    metric_drop(&metrics, DROP_MEMORY);
    assert_int_equal(metric_read(&metrics.dropped[DROP_EXPIRED]), 2);
    assert_int_equal(metric_read(&metrics.dropped[DROP_MEMORY]), 1);
    assert_int_equal(metric_read(&metrics.counters[METRIC_PUBLISH_DROPPED]), 3);
}

static void gauges_go_down_by_adding_minus_one(void **state)
{
    (void)state;
    static struct metrics metrics;
    metric_add(&metrics, METRIC_SESSIONS, 5);
    metric_add(&metrics, METRIC_SESSIONS, (uint64_t)-1);
    assert_int_equal(metric_read(&metrics.counters[METRIC_SESSIONS]), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_metric_has_help_and_topics_are_unique),
        cmocka_unit_test(reasons_have_names_of_their_own),
        cmocka_unit_test(drops_count_by_reason_and_in_sum),
        cmocka_unit_test(gauges_go_down_by_adding_minus_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
