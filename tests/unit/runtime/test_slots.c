/* test_slots.c: ids of sessions are unique while they are in use, and tell when they are not. */
#include "testing.h"

#include <pthread.h>

#include "runtime/slots.h"

static int slots_setup(void **state)
{
    struct slots *slots = calloc(1, sizeof(*slots));
    slots_init(slots);
    *state = slots;
    return 0;
}

static int slots_teardown(void **state)
{
    slots_fini(*state);
    free(*state);
    return 0;
}

static void fresh_slot_is_offline_and_knows_its_object_and_owner(void **state)
{
    struct slots *slots = *state;
    uint32_t id = slots_alloc(slots, state, 3);
    assert_int_not_equal(id, 0);
    struct slot *slot = slot_of(slots, id);
    assert_ptr_equal(slot->object, state);
    assert_int_equal(slot->owner, 3);
    assert_int_equal(slot->ready, SLOT_OFFLINE);
}

static void id_is_used_again_with_another_generation(void **state)
{
    struct slots *slots = *state;
    uint32_t id = slots_alloc(slots, state, 0);
    uint32_t first = slot_of(slots, id)->generation;
    slots_free(slots, id);
    uint32_t between = slot_of(slots, id)->generation;
    assert_false(between & 1);
    assert_int_equal(slots_alloc(slots, state, 0), id);
    uint32_t second = slot_of(slots, id)->generation;
    assert_true(first != between && between != second && first != second);
}

static void slots_stay_where_they_are_when_more_are_given_out(void **state)
{
    struct slots *slots = *state;
    uint32_t id = slots_alloc(slots, state, 0);
    struct slot *slot = slot_of(slots, id);
    for (uint32_t i = 0; i < 3 * SLOTS_PER_CHUNK; i++)
        assert_int_equal(slots_alloc(slots, slots, 0), id + 1 + i);
    assert_ptr_equal(slot_of(slots, id), slot);
    assert_ptr_equal(slot->object, state);
}

#define ROUNDS 20000

/* Takes and gives back; while an id is held nobody else may have it. */
static void *taker(void *ctx)
{
    struct slots *slots = ctx;
    uint32_t held[8] = {0};
    for (uint32_t i = 0; i < ROUNDS; i++) {
        uint32_t *id = &held[i % 8];
        if (*id) {
            BUG_ON(slot_of(slots, *id)->object != held);
            slots_free(slots, *id);
        }
        *id = slots_alloc(slots, held, 0);
        BUG_ON(*id == 0);
    }
    for (uint32_t i = 0; i < 8; i++)
        slots_free(slots, held[i]);
    return NULL;
}

static void threads_never_hold_the_same_id(void **state)
{
    struct slots *slots = *state;
    pthread_t threads[3];
    for (uint32_t i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, taker, slots);
    for (uint32_t i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    uint32_t count = 0;
    for (uint32_t id = slots->first_free; id; id = slot_of(slots, id)->next_free)
        count++;
    assert_int_equal(count, slots->end - 1);
    assert_true(slots->end <= 25);
}

#define SLOTS_TEST(name) cmocka_unit_test_setup_teardown(name, slots_setup, slots_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SLOTS_TEST(fresh_slot_is_offline_and_knows_its_object_and_owner),
        SLOTS_TEST(id_is_used_again_with_another_generation),
        SLOTS_TEST(slots_stay_where_they_are_when_more_are_given_out),
        SLOTS_TEST(threads_never_hold_the_same_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
