/* test_idset.c: session/idset.h, examples and a seeded walk against an array of flags. */
#include "tests/unit/session/testing.h"

#include "session/idset.h"

static void add(struct idset *set, uint16_t id)
{
    assert_int_equal(idset_add(set, id), ERR_OK);
}

static void idset_that_is_empty_has_no_memory(void **state)
{
    (void)state;
    struct idset set = {0};
    assert_false(idset_has(&set, 1));
    assert_false(idset_remove(&set, 1));
    add(&set, 1);
    assert_true(idset_has(&set, 1));
    assert_true(idset_remove(&set, 1));
    assert_null(set.ids);
    idset_check(&set);
}

static void idset_knows_the_smallest_and_the_largest_id(void **state)
{
    (void)state;
    for (uint32_t others = 0; others <= 100; others += 50) { /* array, bitmap */
        struct idset set = {0};
        for (uint32_t i = 0; i < others; i++)
            add(&set, (uint16_t)(1000 + i));
        add(&set, 1);
        add(&set, UINT16_MAX);
        idset_check(&set);
        assert_true(idset_has(&set, 1) && idset_has(&set, UINT16_MAX));
        assert_false(idset_has(&set, 2) || idset_has(&set, UINT16_MAX - 1));
        idset_clear(&set);
        idset_check(&set);
    }
}

static void idset_becomes_a_bitmap_with_the_33rd_id(void **state)
{
    (void)state;
    struct idset set = {0};
    for (uint16_t id = 1; id <= IDSET_SMALL_MAX; id++)
        add(&set, id);
    assert_null(set.bitmap);
    add(&set, IDSET_SMALL_MAX + 1);
    assert_non_null(set.bitmap);
    idset_check(&set);
    for (uint16_t id = 1; id <= IDSET_SMALL_MAX + 1; id++)
        assert_true(idset_remove(&set, id));
    assert_null(set.bitmap); /* 8 KiB do not stay with a session that is idle */
    idset_check(&set);
}

static void idset_holds_every_id(void **state)
{
    (void)state;
    struct idset set = {0};
    for (uint32_t id = 1; id <= UINT16_MAX; id++)
        add(&set, (uint16_t)id);
    idset_check(&set);
    assert_int_equal(set.count, UINT16_MAX);
    for (uint32_t id = 1; id <= UINT16_MAX; id++)
        assert_true(idset_remove(&set, (uint16_t)id));
    idset_check(&set);
}

/* Small ranges of ids keep the set near the size at which its form changes. */
static void idset_does_what_an_array_of_flags_does(void **state)
{
    (void)state;
    struct idset set = {0};
    bool *has = calloc(UINT16_MAX + 1, sizeof(bool));
    uint64_t seed = 0x1D5E7;
    uint32_t range = 40;
    for (uint32_t i = 0; i < 200000; i++) {
        uint16_t id = (uint16_t)(1 + random_below(&seed, range));
        if (i % 5000 == 0)
            range = 20 + random_below(&seed, i % 10000 ? 60 : 60000);
        assert_int_equal(idset_has(&set, id), has[id]);
        if (has[id])
            assert_true(idset_remove(&set, id));
        else if (random_below(&seed, 3))
            add(&set, id);
        else
            continue;
        has[id] = !has[id];
        if (i % 64 == 0)
            idset_check(&set);
    }
    idset_clear(&set);
    free(has);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idset_that_is_empty_has_no_memory),
        cmocka_unit_test(idset_knows_the_smallest_and_the_largest_id),
        cmocka_unit_test(idset_becomes_a_bitmap_with_the_33rd_id),
        cmocka_unit_test(idset_holds_every_id),
        cmocka_unit_test(idset_does_what_an_array_of_flags_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
