/* test_epoch.c: when deferred work runs, and that no reader ever sees freed memory. */
#include "testing.h"

#include <pthread.h>

#include "base/mem.h"
#include "runtime/epoch.h"

struct counted {
    struct epoch_item item;
    uint32_t runs;
    struct epoch_participant *again; /* defers itself once more */
};

static void count_run(struct epoch_item *item, void *ctx)
{
    struct counted *counted = (struct counted *)item;
    (void)ctx;
    counted->runs++;
    struct epoch_participant *again = counted->again;
    counted->again = NULL;
    if (again)
        epoch_defer(again, item, count_run);
}

static struct epoch_domain domain;

static int domain_setup(void **state)
{
    (void)state;
    epoch_domain_init(&domain);
    return 0;
}

static void item_runs_after_everyone_has_ended_a_turn(void **state)
{
    struct epoch_participant *a = epoch_join(&domain, state), *b = epoch_join(&domain, NULL);
    struct counted counted = {0};
    epoch_defer(a, &counted.item, count_run);
    assert_true(epoch_quiescent(a, 10));
    assert_true(epoch_quiescent(a, 10));
    assert_int_equal(counted.runs, 0);
    assert_false(epoch_quiescent(b, 10));
    assert_false(epoch_quiescent(a, 10));
    assert_int_equal(counted.runs, 1);
}

static void alone_it_runs_at_the_end_of_the_turn(void **state)
{
    (void)state;
    struct epoch_participant *a = epoch_join(&domain, NULL);
    struct counted counted = {0};
    epoch_defer(a, &counted.item, count_run);
    assert_false(epoch_quiescent(a, 10));
    assert_int_equal(counted.runs, 1);
}

static void sleepers_hold_nothing_back(void **state)
{
    (void)state;
    struct epoch_participant *a = epoch_join(&domain, NULL), *b = epoch_join(&domain, NULL);
    struct counted counted = {0};
    epoch_sleep(b);
    epoch_defer(a, &counted.item, count_run);
    assert_false(epoch_quiescent(a, 10));
    assert_int_equal(counted.runs, 1);
}

static void who_woke_up_holds_back_again(void **state)
{
    (void)state;
    struct epoch_participant *a = epoch_join(&domain, NULL), *b = epoch_join(&domain, NULL);
    struct counted counted = {0};
    epoch_sleep(b);
    epoch_wake(b);
    epoch_defer(a, &counted.item, count_run);
    assert_true(epoch_quiescent(a, 10));
    assert_int_equal(counted.runs, 0);
    epoch_sleep(b);
    assert_false(epoch_quiescent(a, 10));
    assert_int_equal(counted.runs, 1);
}

static void budget_bounds_how_many_run(void **state)
{
    (void)state;
    struct epoch_participant *a = epoch_join(&domain, NULL);
    struct counted counted[10] = {0};
    for (uint32_t i = 0; i < 10; i++)
        epoch_defer(a, &counted[i].item, count_run);
    assert_true(epoch_quiescent(a, 4));
    assert_int_equal(counted[3].runs, 1);
    assert_int_equal(counted[4].runs, 0);
    assert_int_equal(a->deferred, 6);
    assert_false(epoch_quiescent(a, 6));
}

static void what_runs_may_defer(void **state)
{
    (void)state;
    struct epoch_participant *a = epoch_join(&domain, NULL);
    struct counted counted = {.again = a};
    epoch_defer(a, &counted.item, count_run);
    assert_true(epoch_quiescent(a, 10));
    assert_false(epoch_quiescent(a, 10));
    assert_int_equal(counted.runs, 2);
}

static void epoch_stands_still_while_nothing_is_deferred(void **state)
{
    (void)state;
    struct epoch_participant *a = epoch_join(&domain, NULL);
    uint64_t now = domain.now;
    for (uint32_t i = 0; i < 100; i++)
        assert_false(epoch_quiescent(a, 10));
    assert_int_equal(domain.now, now);
}

static void drain_runs_everything_also_what_is_deferred_meanwhile(void **state)
{
    (void)state;
    struct epoch_participant *a = epoch_join(&domain, NULL), *b = epoch_join(&domain, NULL);
    struct counted counted[2] = {{.again = b}, {.again = a}};
    epoch_defer(a, &counted[0].item, count_run);
    epoch_defer(b, &counted[1].item, count_run);
    epoch_defer_free(a, mem_alloc(100));
    epoch_drain(&domain);
    assert_int_equal(counted[0].runs + counted[1].runs, 4);
    assert_int_equal(a->deferred + b->deferred, 0);
}

/* --- threads: a pointer is swapped all the time; readers see it whole or not at all --- */

#define ALIVE 0xA11CEu
#define SWAPS 20000

struct thing {
    struct epoch_item item;
    uint32_t alive; /* not atomic: ThreadSanitizer shall see a read after the end */
};

static struct thing *_Atomic shared;
static _Atomic bool stop;

static void thing_end(struct epoch_item *item, void *ctx)
{
    (void)ctx;
    ((struct thing *)item)->alive = 0;
    mem_free(item);
}

static void *reader(void *ctx)
{
    (void)ctx;
    struct epoch_participant *me = epoch_join(&domain, NULL);
    for (uint32_t turn = 0; !atomic_load(&stop); turn++) {
        for (uint32_t i = 0; i < 10; i++) {
            struct thing *thing = atomic_load_explicit(&shared, memory_order_acquire);
            BUG_ON(thing->alive != ALIVE);
        }
        epoch_quiescent(me, 0);
        if (turn % 3 == 0) {
            epoch_sleep(me);
            epoch_wake(me);
        }
    }
    epoch_sleep(me);
    return NULL;
}

static struct thing *thing_new(void)
{
    struct thing *thing = mem_alloc(sizeof(*thing));
    thing->alive = ALIVE;
    return thing;
}

static void readers_never_see_freed_memory(void **state)
{
    (void)state;
    struct epoch_participant *me = epoch_join(&domain, NULL);
    pthread_t threads[3];
    atomic_store(&stop, false);
    atomic_store(&shared, thing_new());
    for (uint32_t i = 0; i < SWAPS; i++) {
        if (i % (SWAPS / 4) == 0 && i / (SWAPS / 4) < 3) /* some join in the middle */
            pthread_create(&threads[i / (SWAPS / 4)], NULL, reader, NULL);
        struct thing *old = atomic_exchange_explicit(&shared, thing_new(), memory_order_acq_rel);
        epoch_defer(me, &old->item, thing_end);
        if (i % 16 == 0)
            epoch_quiescent(me, 64);
    }
    atomic_store(&stop, true);
    for (uint32_t i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    while (epoch_quiescent(me, 64))
        ;
    mem_free(atomic_load(&shared));
}

#define EPOCH_TEST(name) cmocka_unit_test_setup(name, domain_setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EPOCH_TEST(item_runs_after_everyone_has_ended_a_turn),
        EPOCH_TEST(alone_it_runs_at_the_end_of_the_turn),
        EPOCH_TEST(sleepers_hold_nothing_back),
        EPOCH_TEST(who_woke_up_holds_back_again),
        EPOCH_TEST(budget_bounds_how_many_run),
        EPOCH_TEST(what_runs_may_defer),
        EPOCH_TEST(epoch_stands_still_while_nothing_is_deferred),
        EPOCH_TEST(drain_runs_everything_also_what_is_deferred_meanwhile),
        EPOCH_TEST(readers_never_see_freed_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
