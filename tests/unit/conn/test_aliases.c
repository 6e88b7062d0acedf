/* test_aliases.c: conn/aliases.h: topics get aliases in the order they come, and keep them. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "conn/aliases.h"

static uint16_t alias_out(struct aliases **aliases, uint16_t max, uint32_t number, bool *is_known)
{
    char topic[32];
    int len = snprintf(topic, sizeof topic, "sensors/%u", number);
    return aliases_out(aliases, max, slice_of((uint8_t *)topic, (size_t)len), is_known);
}

static void topics_are_given_aliases_until_there_are_none(void **state)
{
    (void)state;
    struct aliases *aliases = NULL;
    bool is_known;
    assert_int_equal(alias_out(&aliases, 2, 7, &is_known), 1);
    assert_false(is_known);
    assert_int_equal(alias_out(&aliases, 2, 8, &is_known), 2);
    assert_false(is_known);
    assert_int_equal(alias_out(&aliases, 2, 7, &is_known), 1);
    assert_true(is_known);
    assert_int_equal(alias_out(&aliases, 2, 9, &is_known), 0);
    assert_false(is_known);
    assert_int_equal(alias_out(&aliases, 2, 8, &is_known), 2);
    assert_true(is_known);
    aliases_free(aliases);
}

static void an_alias_that_was_not_sent_is_given_to_the_next(void **state)
{
    (void)state;
    struct aliases *aliases = NULL;
    bool is_known;
    assert_int_equal(alias_out(&aliases, 3, 1, &is_known), 1);
    for (uint32_t lost = 100; lost < 200; lost++) {
        assert_int_equal(alias_out(&aliases, 3, lost, &is_known), 2);
        assert_false(is_known);
        aliases_out_undo(aliases);
    }
    assert_int_equal(alias_out(&aliases, 3, 3, &is_known), 2);
    assert_false(is_known);
    assert_int_equal(alias_out(&aliases, 3, 2, &is_known), 3);
    assert_false(is_known);
    aliases_free(aliases);
}

/* Topics by chance, some taken back at once, against a list of what was given out. */
static void all_aliases_there_can_be_are_found_again(void **state)
{
    (void)state;
    enum { TOPICS = 70000, STEPS = 400000 };
    uint16_t *given = calloc(TOPICS, sizeof(*given)), next = 1;
    struct aliases *aliases = NULL;
    uint64_t random = 1;
    for (uint32_t step = 0; step < STEPS; step++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        uint32_t topic = (uint32_t)(random >> 33) % TOPICS;
        bool is_full = next == 0, is_known;
        uint16_t alias = alias_out(&aliases, UINT16_MAX, topic, &is_known);
        assert_int_equal(is_known, given[topic] != 0);
        assert_int_equal(alias, given[topic] ? given[topic] : next);
        if (is_known || is_full)
            continue;
        if (random % 5 == 0) {
            aliases_out_undo(aliases);
            continue;
        }
        given[topic] = next++;
    }
    assert_int_equal(next, 0); /* all 65,535 */
    aliases_free(aliases);
    free(given);
    assert_int_equal(mem_used_bytes() / (64 * 1024), 0);
}

static void what_a_client_gave_an_alias_stands_for_it(void **state)
{
    (void)state;
    struct aliases *aliases = NULL;
    struct slice topic;
    assert_false(aliases_get_in(aliases, 1, &topic));
    assert_int_equal(aliases_set_in(&aliases, 10, 10, SLICE_LIT("a/b")), ERR_OK);
    assert_false(aliases_get_in(aliases, 1, &topic));
    assert_true(aliases_get_in(aliases, 10, &topic));
    assert_true(slice_eq(topic, SLICE_LIT("a/b")));
    assert_int_equal(aliases_set_in(&aliases, 10, 10, SLICE_LIT("c")), ERR_OK);
    assert_true(aliases_get_in(aliases, 10, &topic));
    assert_true(slice_eq(topic, SLICE_LIT("c")));
    aliases_free(aliases);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(topics_are_given_aliases_until_there_are_none),
        cmocka_unit_test(an_alias_that_was_not_sent_is_given_to_the_next),
        cmocka_unit_test(all_aliases_there_can_be_are_found_again),
        cmocka_unit_test(what_a_client_gave_an_alias_stands_for_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
