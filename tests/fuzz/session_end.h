/*
 * session_end.h: how an input of fuzz_session.c ends: everybody goes, time passes, nothing is left.
 */
#ifndef TESTS_FUZZ_SESSION_END_H
#define TESTS_FUZZ_SESSION_END_H

#include "tests/fuzz/session_peer.h"

#define CONFIGS_MAX 8u /* that are loaded in place of others */
#define TURNS_MAX 20000u

static struct play {
    struct harness *h;
    const uint8_t *at, *end;
    struct config *loaded[CONFIGS_MAX];
    uint32_t loaded_count;
    bool has_admin;
} play;

static bool has_jobs(void)
{
    for (uint32_t i = 0; i < play.h->group->count; i++) {
        if (!list_is_empty(&play.h->group->reactors[i].jobs))
            return true;
    }
    return false;
}

static void finish(void)
{
    harness_settle(play.h);
    for (uint32_t i = 0; has_jobs(); i++) {
        BUG_ON(i == TURNS_MAX);
        harness_settle(play.h);
    }
}

/* Everybody reads what there is, or the broker says good-bye to those who do not. */
static void part(bool is_drained)
{
    struct broker *broker = &play.h->broker;
    if (is_drained) {
        atomic_store(&broker->is_draining, true);
        for (uint32_t i = 0; atomic_load(&broker->workers_drained) < play.h->group->count; i++) {
            BUG_ON(i == 64);
            harness_pass_s(play.h, 1);
        }
    }
    for (uint32_t i = 0; i < PEERS; i++) {
        peer_read(&peers[i], false);
        peer_close(&peers[i]);
    }
    finish();
}

/* Takes away what clients had retained; the broker's own is below "$". */
static void clear_retained(void)
{
    struct retained *retained = play.h->broker.retained;
    struct reactor *reactor = &play.h->group->reactors[0];
    struct retained_cursor *cursor = retained_cursor_new(SLICE_LIT("#"));
    enum retained_step step;
    retained_check(retained);
    retained_sweep(retained, reactor->epoch, reactor->now_tick, UINT32_MAX);
    do {
        struct retained_visit visit = {.now_tick = reactor->now_tick, .nodes = 1000};
        struct message *message = NULL;
        step = retained_cursor_next(retained, cursor, &visit, &message);
        if (step == RETAINED_MESSAGE) {
            BUG_ON(!retained_clear(retained, reactor->epoch, message_topic(message)));
            message_unref(message, 1);
        }
    } while (step != RETAINED_END);
    retained_cursor_free(cursor);
}

static void check_nothing_is_left(void)
{
    struct broker *broker = &play.h->broker;
    struct index_stats index;
    struct retained_stats retained;
    index_stats(broker->index, &index);
    retained_stats(broker->retained, &retained);
    assert_int_equal(harness_metric(play.h, METRIC_SESSIONS), 0);
    assert_int_equal(session_table_count(broker->sessions), 0);
    assert_int_equal(index.subscriptions + index.shared_subscriptions + index.nodes, 0);
    assert_true(play.has_admin || retained.messages == 0);
    assert_int_equal(atomic_load(&broker->connections), 0);
    assert_int_equal(atomic_load(&broker->listener_connections[0]), 0);
    assert_int_equal(atomic_load(&broker->listener_connections[1]), 0);
    for (uint32_t id = 1; id < atomic_load(&broker->slots.end); id++)
        assert_true(!slot_object(slot_of(&broker->slots, id)));
    for (uint32_t i = 0; i < play.h->group->count; i++) {
        struct worker *worker = harness_worker(play.h, i);
        slab_check(&worker->connections);
        slab_check(&worker->offline);
        timing_heap_check(worker->keepalive);
        timing_heap_check(worker->offline_heap);
        assert_int_equal(worker->connections.used + worker->offline.used, 0);
        assert_int_equal(worker->coming_by_slot.count + worker->spreads_without_publisher, 0);
        assert_true(list_is_empty(&worker->coming) && list_is_empty(&worker->moves));
        assert_true(list_is_empty(&worker->giving_up.sessions) && !worker->moves_unposted);
        assert_true(!worker->wills_first && !worker->ending_first && !worker->closed_first);
        assert_true(!mailbox_has_mail(worker->reactor) && !worker->paused.due);
    }
}

static void play_to_the_end(uint8_t how)
{
    world.fail_count = 0;
    world.step_ns = WORLD_STEP_NS;
    finish();
    harness_check(play.h);
    retained_check(play.h->broker.retained);
    part(how & 8);
    harness_pass_s(play.h, 3);
    clock_turn_ms(2 * 86400 * 1000);
    harness_pass_s(play.h, 2);
    finish();
    clear_retained();
    finish();
    harness_check(play.h);
    check_nothing_is_left();
}

#endif
