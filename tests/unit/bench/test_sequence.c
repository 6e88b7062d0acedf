/* test_sequence.c: bench/sequence.h, examples and seeded walks against an array of flags. */
#include "tests/unit/bench/testing.h"

#include "bench/sequence.h"

#define NEW SEQUENCE_NEW
#define LATE SEQUENCE_LATE
#define AGAIN SEQUENCE_AGAIN

static void note(struct sequence *s, uint64_t number, enum sequence_seen expected)
{
    assert_int_equal(sequence_note(s, number), expected);
}

static void numbers_in_order_are_new_and_need_no_memory(void **state)
{
    (void)state;
    struct sequence s = {0};
    for (uint64_t i = 0; i < 1000; i++)
        note(&s, i, NEW);
    assert_int_equal(s.next, 1000);
    assert_int_equal(s.missing, 1000);
    assert_null(s.past);
    sequence_fini(&s);
}

static void what_came_before_comes_again(void **state)
{
    (void)state;
    struct sequence s = {0};
    note(&s, 0, NEW);
    note(&s, 0, AGAIN);
    for (uint64_t i = 1; i < 100000; i++)
        note(&s, i, NEW);
    note(&s, 0, AGAIN);
    note(&s, 99999, AGAIN);
    assert_null(s.past);
    sequence_fini(&s);
}

static void what_was_passed_over_is_late_once(void **state)
{
    (void)state;
    struct sequence s = {0};
    note(&s, 0, NEW);
    note(&s, 3, NEW);
    assert_int_equal(s.missing, 1);
    note(&s, 2, LATE);
    note(&s, 2, AGAIN);
    assert_int_equal(s.missing, 1);
    note(&s, 1, LATE);
    note(&s, 1, AGAIN);
    assert_int_equal(s.missing, 4);
    note(&s, 4, NEW);
    assert_int_equal(s.missing, 5);
    sequence_fini(&s);
}

static void the_first_may_be_missing(void **state)
{
    (void)state;
    struct sequence s = {0};
    note(&s, 5, NEW);
    assert_int_equal(s.missing, 0);
    note(&s, 0, LATE);
    assert_int_equal(s.missing, 1);
    sequence_fini(&s);
}

static void one_that_is_missing_is_remembered_for_long(void **state)
{
    (void)state;
    struct sequence s = {0};
    for (uint64_t i = 1; i < SEQUENCE_BITS_MAX; i++)
        note(&s, i, NEW);
    note(&s, 0, LATE);
    note(&s, 1, AGAIN);
    assert_int_equal(s.missing, SEQUENCE_BITS_MAX);
    sequence_fini(&s);
}

static void what_is_further_back_than_that_is_given_up(void **state)
{
    (void)state;
    struct sequence s = {0};
    for (uint64_t i = 1; i <= SEQUENCE_BITS_MAX; i++)
        note(&s, i, NEW);
    note(&s, 0, AGAIN);
    assert_int_equal(s.missing, s.next);
    note(&s, 10ull * SEQUENCE_BITS_MAX, NEW); /* a gap larger than the bitmap */
    note(&s, 9ull * SEQUENCE_BITS_MAX, AGAIN);
    note(&s, 9ull * SEQUENCE_BITS_MAX + 1, LATE);
    note(&s, 9ull * SEQUENCE_BITS_MAX + 1, AGAIN);
    note(&s, 10ull * SEQUENCE_BITS_MAX, AGAIN);
    sequence_fini(&s);
}

static void numbers_may_be_very_large(void **state)
{
    (void)state;
    struct sequence s = {0};
    note(&s, 1ull << 60, NEW);
    note(&s, (1ull << 60) + 1, NEW);
    note(&s, (1ull << 60) - 1, LATE);
    note(&s, 7, AGAIN);
    sequence_fini(&s);
}

/* Numbers near a place that moves on, in any order, some twice, some never. */
static void walk(uint64_t seed, uint32_t spread, uint32_t steps)
{
    struct sequence s = {0};
    uint8_t *came = calloc(steps * 2 + spread, 1);
    uint64_t highest = 0, distinct = 0, again = 0;
    assert_non_null(came);
    for (uint32_t i = 0; i < steps; i++) {
        uint64_t number = i + test_random(&seed) % spread;
        enum sequence_seen expected = came[number] ? AGAIN : number < highest ? LATE : NEW;
        note(&s, number, expected);
        distinct += !came[number];
        again += came[number];
        came[number] = 1;
        if (number >= highest)
            highest = number + 1;
        assert_int_equal(s.next, highest);
        assert_true(s.missing <= s.next);
    }
    for (uint64_t i = 0; i < s.missing; i++)
        assert_true(came[i]);
    assert_int_equal(distinct + again, steps);
    free(came);
    sequence_fini(&s);
}

static void walks_agree_with_an_array_of_flags(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        walk(seed, 1 + (uint32_t)seed % 3, 5000);
        walk(seed, 64, 5000);
        walk(seed, 3000, 20000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_in_order_are_new_and_need_no_memory),
        cmocka_unit_test(what_came_before_comes_again),
        cmocka_unit_test(what_was_passed_over_is_late_once),
        cmocka_unit_test(the_first_may_be_missing),
        cmocka_unit_test(one_that_is_missing_is_remembered_for_long),
        cmocka_unit_test(what_is_further_back_than_that_is_given_up),
        cmocka_unit_test(numbers_may_be_very_large),
        cmocka_unit_test(walks_agree_with_an_array_of_flags),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
