/* test_timing_heap_model.c: runtime/timing_heap.h against an array that is searched from end to
 * end.
 */
#include "tests/unit/runtime/testing.h"

#include "runtime/timing_heap.h"

#define OBJECTS 600u
#define STEPS 60000u
#define TICKS_AHEAD 90u

struct object {
    uint64_t payload;
    struct timing_node timer;
};

struct model {
    uint32_t ticks[OBJECTS + 1]; /* by handle; 0: not armed */
    bool is_alive[OBJECTS + 1];
    struct slab slab;
    struct timing_heap *heap;
    uint64_t seed;
    uint32_t now, last_tick;
    uint32_t late; /* armed for what was due already, so the order starts anew */
};

static uint32_t earliest(const struct model *m)
{
    uint32_t least = 0;
    for (uint32_t handle = 1; handle <= OBJECTS; handle++) {
        if (m->ticks[handle] && (!least || m->ticks[handle] < least))
            least = m->ticks[handle];
    }
    return least;
}

static void arm(struct model *m, uint32_t handle)
{
    /* mostly near, sometimes far and alone, now and then already due */
    uint32_t ahead = random_below(&m->seed, 20) ? random_below(&m->seed, TICKS_AHEAD)
                                                : random_below(&m->seed, 1000000);
    m->ticks[handle] = m->now + ahead;
    m->late |= m->ticks[handle] <= m->now;
    assert_int_equal(timing_heap_arm(m->heap, handle, m->ticks[handle]), ERR_OK);
}

static void cancel(struct model *m, uint32_t handle)
{
    m->ticks[handle] = 0;
    timing_heap_cancel(m->heap, handle);
}

/* Gives an object birth or takes it away. */
static void toggle(struct model *m, uint32_t handle)
{
    if (m->is_alive[handle]) {
        cancel(m, handle);
        slab_free(&m->slab, handle);
        m->is_alive[handle] = false;
    } else if (m->slab.used < OBJECTS) {
        assert_non_null(slab_alloc(&m->slab, &handle));
        assert_true(handle <= OBJECTS && !m->is_alive[handle]);
        m->is_alive[handle] = true;
    }
}

static void on_expired(void *ctx, uint32_t handle)
{
    struct model *m = ctx;
    assert_true(m->is_alive[handle] && m->ticks[handle] && m->ticks[handle] <= m->now);
    if (!m->late)
        assert_true(m->ticks[handle] >= m->last_tick);
    m->last_tick = m->ticks[handle];
    m->ticks[handle] = 0;
    uint32_t other = 1 + random_below(&m->seed, OBJECTS);
    switch (random_below(&m->seed, 6)) {
    case 0:
        toggle(m, handle);
        break;
    case 1:
        toggle(m, other);
        break;
    case 2:
        cancel(m, m->is_alive[other] ? other : handle);
        break;
    default:
        arm(m, handle);
    }
}

static void expire(struct model *m)
{
    uint32_t budget = 1 + random_below(&m->seed, 300);
    m->now += random_below(&m->seed, 4);
    m->last_tick = 0;
    m->late = 0;
    uint32_t expired = timing_heap_expire(m->heap, m->now, budget, on_expired, m);
    assert_true(expired <= budget);
    if (expired < budget)
        assert_true(earliest(m) == 0 || earliest(m) > m->now);
}

static void assert_same(const struct model *m)
{
    uint32_t armed = 0;
    timing_heap_check(m->heap);
    for (uint32_t handle = 1; handle <= OBJECTS; handle++) {
        armed += m->ticks[handle] != 0;
        if (m->is_alive[handle])
            assert_int_equal(timing_heap_tick(m->heap, handle), m->ticks[handle]);
    }
    assert_int_equal(timing_heap_count(m->heap), armed);
    assert_int_equal(timing_heap_next(m->heap), earliest(m));
}

static void step(struct model *m)
{
    uint32_t handle = 1 + random_below(&m->seed, OBJECTS), what = random_below(&m->seed, 10);
    if (what == 0)
        expire(m);
    else if (what <= 2 || !m->is_alive[handle])
        toggle(m, handle);
    else if (what == 3)
        cancel(m, handle);
    else
        arm(m, handle);
}

static void timing_heap_does_what_a_search_does(void **state)
{
    (void)state;
    struct model *m = calloc(1, sizeof *m);
    m->seed = 0x71AE4EA9;
    m->now = 1000;
    slab_init(&m->slab, sizeof(struct object));
    m->heap = timing_heap_new(&m->slab, offsetof(struct object, timer));
    for (uint32_t i = 0; i < STEPS; i++) {
        step(m);
        if (i % 50 == 0)
            assert_same(m);
    }
    assert_same(m);
    timing_heap_free(m->heap);
    slab_fini(&m->slab);
    free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timing_heap_does_what_a_search_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
