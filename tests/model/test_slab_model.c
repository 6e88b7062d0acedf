/* test_slab_model.c: runtime/slab.h against a plain array, seeded, growing and shrinking. */
#include "tests/unit/runtime/testing.h"

#include "runtime/slab.h"

#define OBJECTS_MAX \
    (70u * SLAB_CHUNK_OBJECTS) /* more chunks than a word of the bitmap has bits \
                                                */
#define STEPS 300000u

/* What the model knows: which handles are used and what was written into their objects. */
struct model {
    uint32_t values[OBJECTS_MAX + 1];
    uint32_t handles[OBJECTS_MAX]; /* used ones, in no order */
    uint32_t count;
};

static void model_alloc(struct model *model, struct slab *slab, uint32_t value)
{
    uint32_t handle;
    uint32_t *object = slab_alloc(slab, &handle);
    assert_non_null(object);
    assert_true(handle >= 1 && handle <= OBJECTS_MAX);
    assert_int_equal(model->values[handle], 0);
    assert_int_equal(*object, 0);
    *object = model->values[handle] = value;
    model->handles[model->count++] = handle;
}

static void model_free(struct model *model, struct slab *slab, uint32_t at)
{
    uint32_t handle = model->handles[at];
    assert_int_equal(*(uint32_t *)slab_at(slab, handle), model->values[handle]);
    model->values[handle] = 0;
    model->handles[at] = model->handles[--model->count];
    slab_free(slab, handle);
    assert_false(slab_is_used(slab, handle));
}

static void assert_same(const struct model *model, const struct slab *slab)
{
    uint32_t next = slab_next(slab, 0);
    slab_check(slab);
    assert_int_equal(slab->used, model->count);
    for (uint32_t handle = 1; handle <= OBJECTS_MAX; handle++) {
        assert_int_equal(slab_is_used(slab, handle), model->values[handle] != 0);
        if (model->values[handle] == 0)
            continue;
        assert_int_equal(next, handle);
        next = slab_next(slab, handle);
    }
    assert_int_equal(next, 0);
}

static void slab_does_what_an_array_does(void **state)
{
    (void)state;
    struct model *model = calloc(1, sizeof *model);
    struct slab slab;
    uint64_t seed = 0x5EED51AB;
    slab_init(&slab, 16);
    for (uint32_t step = 0; step < STEPS; step++) {
        /* thousands of steps up, thousands down, so that whole chunks come and go */
        bool grows = random_below(&seed, 100) < (step / 25000 % 2 ? 12 : 88);
        if (grows && model->count < OBJECTS_MAX)
            model_alloc(model, &slab, step + 1);
        else if (model->count)
            model_free(model, &slab, random_below(&seed, model->count));
        if (step % 10000 == 0)
            assert_same(model, &slab);
    }
    while (model->count)
        model_free(model, &slab, model->count - 1);
    assert_same(model, &slab);
    slab_fini(&slab);
    free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slab_does_what_an_array_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
