/* test_session_table_model.c: session/session_table.h against an array with a place for each client
 * id. */
#include "tests/unit/session/testing.h"

#include "session/session_table.h"

#define STEPS 300000u
#define IDS 3000u

struct model {
    struct slots slots;
    struct session_table *table;
    struct session *there[IDS];
    uint32_t count;
    uint64_t seed;
};

static struct slice numbered(char buffer[24], uint32_t number)
{
    return slice_of(buffer, (size_t)snprintf(buffer, 24, "%x", number));
}

static void end(struct model *m, struct session *session)
{
    slots_free(&m->slots, session->slot);
    session_free(session);
}

static void insert(struct model *m, uint32_t number, bool replace)
{
    char buffer[24];
    struct session_ref old;
    struct session *before = m->there[number], *fresh = session_new(numbered(buffer, number));
    fresh->slot = slots_alloc(&m->slots, fresh, 0);
    enum err err = session_table_insert(m->table, fresh, replace, &old);
    assert_int_equal(old.slot, before ? before->slot : 0);
    assert_int_equal(err, before && !replace ? ERR_EXISTS : ERR_OK);
    if (err) {
        end(m, fresh);
        return;
    }
    m->there[number] = fresh;
    m->count += !before;
    if (!before)
        return;
    assert_false(session_table_remove(m->table, before));
    end(m, before);
}

static void drop(struct model *m, uint32_t number)
{
    assert_true(session_table_remove(m->table, m->there[number]));
    end(m, m->there[number]);
    m->there[number] = NULL;
    m->count--;
}

static void session_table_does_what_an_array_does(void **state)
{
    (void)state;
    struct model *m = calloc(1, sizeof(*m));
    char buffer[24];
    m->seed = 0x7AB1E;
    slots_init(&m->slots);
    m->table = session_table_new(&m->slots);
    for (uint32_t i = 0; i < STEPS; i++) {
        uint32_t number = random_below(&m->seed, IDS);
        uint32_t found = session_table_find(m->table, numbered(buffer, number)).slot;
        assert_int_equal(found, m->there[number] ? m->there[number]->slot : 0);
        if (random_below(&m->seed, i / 50000 % 2 ? 4 : 2))
            insert(m, number, random_below(&m->seed, 2));
        else if (m->there[number])
            drop(m, number);
        if (i % 10000 == 0)
            session_table_check(m->table);
    }
    assert_int_equal(session_table_count(m->table), m->count);
    for (uint32_t number = 0; number < IDS; number++) {
        if (m->there[number])
            drop(m, number);
    }
    session_table_check(m->table);
    session_table_free(m->table);
    slots_fini(&m->slots);
    free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(session_table_does_what_an_array_does)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
