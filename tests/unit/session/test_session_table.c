/* test_session_table.c: session/session_table.h, alone and with several threads at once. */
#include "tests/unit/session/testing.h"

#include <pthread.h>

#include "session/session_table.h"

struct rig {
    struct slots slots;
    struct session_table *table;
};

static int rig_setup(void **state)
{
    struct rig *rig = mem_must_zalloc(sizeof(*rig));
    slots_init(&rig->slots);
    rig->table = session_table_new(&rig->slots);
    *state = rig;
    return 0;
}

static int rig_teardown(void **state)
{
    struct rig *rig = *state;
    session_table_check(rig->table);
    session_table_free(rig->table);
    slots_fini(&rig->slots);
    mem_free(rig);
    return 0;
}

static struct session *make(struct rig *rig, struct slice id, uint16_t owner)
{
    struct session *session = session_new(id);
    session->slot = slots_alloc(&rig->slots, session, owner);
    session->generation = atomic_load(&slot_of(&rig->slots, session->slot)->generation);
    return session;
}

/* A session of this id in the table. */
static struct session *put(struct rig *rig, struct slice id)
{
    struct session_ref old;
    struct session *session = make(rig, id, 0);
    assert_int_equal(session_table_insert(rig->table, session, false, &old), ERR_OK);
    assert_int_equal(old.slot, 0);
    return session;
}

static void end(struct rig *rig, struct session *session)
{
    slots_free(&rig->slots, session->slot);
    session_free(session);
}

static struct slice numbered(char buffer[24], uint32_t number)
{
    return slice_of(buffer, (size_t)snprintf(buffer, 24, "sensor-%013u", number));
}

static void session_table_finds_by_every_byte_of_the_id(void **state)
{
    struct rig *rig = *state;
    struct session *a = put(rig, SLICE_LIT("a")), *ab = put(rig, SLICE_LIT("ab"));
    struct session *umlaut = put(rig, SLICE_LIT("a\xC3\xA4"));
    assert_int_equal(session_table_find(rig->table, SLICE_LIT("a")).slot, a->slot);
    assert_int_equal(session_table_find(rig->table, SLICE_LIT("ab")).slot, ab->slot);
    assert_int_equal(session_table_find(rig->table, SLICE_LIT("a\xC3\xA4")).slot, umlaut->slot);
    assert_int_equal(session_table_find(rig->table, SLICE_LIT("abc")).slot, 0);
    assert_int_equal(session_table_find(rig->table, SLICE_LIT("b")).slot, 0);
    assert_true(session_table_remove(rig->table, a));
    assert_true(session_table_remove(rig->table, ab));
    assert_true(session_table_remove(rig->table, umlaut));
    end(rig, a);
    end(rig, ab);
    end(rig, umlaut);
}

static void session_table_tells_generation_and_owner(void **state)
{
    struct rig *rig = *state;
    struct session_ref old;
    struct session *session = make(rig, SLICE_LIT("x"), 3);
    assert_int_equal(session_table_insert(rig->table, session, true, &old), ERR_OK);
    struct session_ref ref = session_table_find(rig->table, SLICE_LIT("x"));
    assert_int_equal(ref.owner, 3);
    assert_int_equal(ref.generation, session->generation);
    session_table_remove(rig->table, session);
    end(rig, session);
}

static void session_table_keeps_the_first_unless_told_to_replace(void **state)
{
    struct rig *rig = *state;
    struct session_ref old;
    struct session *first = put(rig, SLICE_LIT("x")), *second = make(rig, SLICE_LIT("x"), 1);
    assert_int_equal(session_table_insert(rig->table, second, false, &old), ERR_EXISTS);
    assert_int_equal(old.slot, first->slot);
    assert_int_equal(session_table_find(rig->table, SLICE_LIT("x")).slot, first->slot);
    assert_int_equal(session_table_insert(rig->table, second, true, &old), ERR_OK);
    assert_int_equal(old.slot, first->slot);
    assert_int_equal(old.generation, first->generation);
    assert_int_equal(session_table_find(rig->table, SLICE_LIT("x")).slot, second->slot);
    assert_int_equal(session_table_count(rig->table), 1);
    assert_false(session_table_remove(rig->table, first)); /* not its place any more */
    assert_true(session_table_remove(rig->table, second));
    assert_false(session_table_remove(rig->table, second));
    end(rig, first);
    end(rig, second);
}

static void session_table_of_100000_loses_none_and_keeps_no_memory_of_them(void **state)
{
    struct rig *rig = *state;
    const uint32_t count = 100000;
    struct session **all = malloc(count * sizeof(*all));
    char buffer[24];
    for (uint32_t i = 0; i < count; i++)
        all[i] = put(rig, numbered(buffer, i));
    session_table_check(rig->table);
    assert_int_equal(session_table_count(rig->table), count);
    size_t full_bytes = mem_used_bytes();
    for (uint32_t i = 0; i < count; i += 2)
        session_table_remove(rig->table, all[i]);
    session_table_check(rig->table);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t slot = session_table_find(rig->table, numbered(buffer, i)).slot;
        if (slot != (i % 2 ? all[i]->slot : 0))
            fail_msg("session %u", i);
    }
    for (uint32_t i = 1; i < count; i += 2)
        session_table_remove(rig->table, all[i]);
    assert_int_equal(session_table_count(rig->table), 0);
    /* Of its 1 to 2 MB it keeps 8 KB; the sessions and their slots are still there. */
    assert_true(mem_used_bytes() < full_bytes - 1000u * 1024);
    for (uint32_t i = 0; i < count; i++)
        end(rig, all[i]);
    free(all);
}

/* ---- threads: each connects and ends clients of the same few ids ---- */

#define THREADS 4u
#define IDS 32u
#define STEPS 20000u

struct player {
    struct rig *rig;
    pthread_t thread;
    uint16_t owner;
    struct session *mine[STEPS];
    uint32_t count, inserted, replaced, removed;
};

/* Sessions stay until all threads are done: who may free them, and when, is not the table's. */
static void play_one(struct player *player, uint64_t *seed)
{
    char buffer[24];
    struct session_ref old;
    struct session_table *table = player->rig->table;
    struct slice id = numbered(buffer, random_below(seed, IDS));
    uint32_t what = random_below(seed, 4), any = random_next(seed);
    if (what == 0 && player->count) {
        player->removed += session_table_remove(table, player->mine[any % player->count]);
    } else if (what == 1) {
        BUG_ON(session_table_find(table, id).owner >= THREADS);
    } else {
        struct session *session = make(player->rig, id, player->owner);
        player->mine[player->count++] = session;
        enum err err = session_table_insert(table, session, any % 2, &old);
        player->inserted += err == ERR_OK;
        player->replaced += err == ERR_OK && old.slot;
    }
}

static void *play(void *arg)
{
    struct player *player = arg;
    uint64_t seed = 1000u + player->owner;
    for (uint32_t i = 0; i < STEPS; i++)
        play_one(player, &seed);
    return NULL;
}

static void session_table_serves_several_threads(void **state)
{
    struct rig *rig = *state;
    struct player *players = calloc(THREADS, sizeof(*players));
    uint64_t there = 0;
    for (uint16_t i = 0; i < THREADS; i++) {
        players[i].rig = rig;
        players[i].owner = i;
        assert_int_equal(pthread_create(&players[i].thread, NULL, play, &players[i]), 0);
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        pthread_join(players[i].thread, NULL);
        there += players[i].inserted;
        there -= players[i].replaced + players[i].removed;
    }
    session_table_check(rig->table);
    assert_int_equal(session_table_count(rig->table), there);
    for (uint32_t i = 0; i < THREADS; i++) {
        for (uint32_t j = 0; j < players[i].count; j++) {
            session_table_remove(rig->table, players[i].mine[j]);
            end(rig, players[i].mine[j]);
        }
    }
    assert_int_equal(session_table_count(rig->table), 0);
    free(players);
}

#define RIG_TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_TEST(session_table_finds_by_every_byte_of_the_id),
        RIG_TEST(session_table_tells_generation_and_owner),
        RIG_TEST(session_table_keeps_the_first_unless_told_to_replace),
        RIG_TEST(session_table_of_100000_loses_none_and_keeps_no_memory_of_them),
        RIG_TEST(session_table_serves_several_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
