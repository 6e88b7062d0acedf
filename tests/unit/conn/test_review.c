/* test_review.c: sessions after a reload (conn/review.h). */
#include "tests/unit/conn/failing_memory.h"

#include "conn/review.h"
#include "tests/unit/conn/harness.h"

#define NEVER 0xFFFFFFFFu
#define SESSIONS 1000u /* of each reactor: several slices */

static bool fails_now;

static bool memory_fails(void)
{
    return fails_now;
}

/* Another configuration is in force, as after a reload. */
static struct config *swap(struct harness *h, const char *text)
{
    char *error = NULL;
    struct config *config = config_load_text(text, strlen(text), "test", &error);
    assert_non_null(config);
    config->connection_messages = false;
    atomic_store(&h->broker.config, config);
    return config;
}

static void end(struct harness *h, struct config *config)
{
    atomic_store(&h->broker.config, h->config);
    config_free(config);
    harness_free(h);
}

static bool is_admin(struct harness *h, const char *id)
{
    struct session *session = harness_session(h, id, NULL);
    assert_non_null(session);
    return session->flags & SESSION_ADMIN;
}

/* Sessions whose clients, admins of this machine, are away. */
static void make_sessions(struct harness *h, uint16_t reactor)
{
    for (uint32_t i = 0; i < SESSIONS; i++) {
        char id[16];
        struct session_ref old;
        snprintf(id, sizeof(id), "%u-%u", reactor, i);
        struct session *session = session_new(slice_str(id));
        session->slot = slots_alloc(&h->broker.slots, session, reactor);
        session->generation = atomic_load(&slot_of(&h->broker.slots, session->slot)->generation);
        session->expiry_s = NEVER;
        session->flags = SESSION_IN_TABLE | SESSION_ADMIN | SESSION_LOCAL;
        assert_int_equal(session_table_insert(h->broker.sessions, session, false, &old), ERR_OK);
    }
}

static uint32_t count_admins(struct harness *h)
{
    uint32_t count = 0;
    for (uint32_t id = 1; id < atomic_load(&h->broker.slots.end); id++) {
        const struct session *session = slot_object(slot_of(&h->broker.slots, id));
        count += (session->flags & SESSION_ADMIN) != 0;
    }
    return count;
}

/* Starts what was asked for and takes one slice; true when that was all. */
static bool slice(struct harness *h, uint32_t reactor)
{
    struct worker *worker = harness_worker(h, reactor);
    review_tick(worker);
    bool is_over = worker->review.job.run(worker->reactor, &worker->review.job);
    if (is_over)
        list_unlink(&worker->review.job.link);
    return is_over;
}

static void every_session_is_reviewed_in_slices(void **state)
{
    (void)state;
    struct harness *h = harness_new(2, "");
    make_sessions(h, 0);
    make_sessions(h, 1);
    struct config *config = swap(h, "admin_users ada\n");
    review_ask(&h->broker);
    assert_false(slice(h, 0));
    uint32_t left = count_admins(h);
    assert_in_range(left, 2 * SESSIONS - 400, 2 * SESSIONS - 1);
    harness_settle(h);
    harness_finish_jobs(h);
    assert_int_equal(count_admins(h), 0);
    end(h, config);
}

static void a_reload_during_a_review_begins_it_anew(void **state)
{
    (void)state;
    struct harness *h = harness_new(1, "");
    make_sessions(h, 0);
    struct config *first = swap(h, "admin_users ada\n");
    review_ask(&h->broker);
    assert_false(slice(h, 0));
    assert_true(count_admins(h) < SESSIONS);
    struct config *second = swap(h, "");
    review_ask(&h->broker);
    harness_settle(h);
    harness_finish_jobs(h);
    assert_int_equal(count_admins(h), SESSIONS);
    config_free(first);
    end(h, second);
}

static void without_memory_for_mail_it_begins_with_the_next_tick(void **state)
{
    (void)state;
    struct harness *h = harness_new(1, "");
    client_of(h, 0, "S", NEVER);
    assert_true(is_admin(h, "S"));
    struct config *config = swap(h, "admin_users ada\n");
    fails_now = true;
    review_ask(&h->broker);
    fails_now = false;
    assert_true(is_admin(h, "S"));
    harness_pass_s(h, 1);
    assert_false(is_admin(h, "S"));
    end(h, config);
}

/* The broker closes the one connection that a reactor has. */
static void close_only(struct worker *worker)
{
    struct connection *connection =
        slab_at(&worker->connections, slab_next(&worker->connections, 0));
    assert_int_equal(connection->state, CONNECTION_WAITING);
    connection_close_plain(worker, connection, CLOSE_ADMIN);
}

/* S of reactor 0 is on its way to reactor 1 when the review passes both. */
static struct client *review_on_the_way(struct harness *h, bool stays, struct config **config)
{
    client_of(h, 0, "S", NEVER);
    struct client *newcomer = client_coming_back(h, 1, "S", NEVER);
    harness_turn(h, 1);
    harness_turn(h, 0);
    const struct session *session = harness_session(h, "S", NULL);
    assert_true(atomic_load(&slot_of(&h->broker.slots, session->slot)->is_moving) != 0);
    if (!stays)
        close_only(harness_worker(h, 1));
    *config = swap(h, "admin_users ada\n");
    review_ask(&h->broker);
    assert_true(slice(h, 0));
    assert_true(slice(h, 1));
    assert_true(is_admin(h, "S"));
    harness_settle(h);
    return newcomer;
}

static void a_session_that_moves_meanwhile_is_judged_where_it_arrives(void **state)
{
    (void)state;
    for (int stays = 0; stays < 2; stays++) {
        struct config *config;
        struct harness *h = harness_new(2, "");
        struct client *newcomer = review_on_the_way(h, stays, &config);
        if (stays)
            client_expect(newcomer, PACKET_CONNACK);
        assert_false(is_admin(h, "S"));
        end(h, config);
    }
}

static void away(struct harness *h, const char *id, uint32_t expiry_s)
{
    client_drop(client_of(h, 0, id, expiry_s));
    harness_settle(h);
}

static void review_now(struct harness *h)
{
    review_ask(&h->broker);
    harness_settle(h);
    harness_finish_jobs(h);
}

static void who_is_away_is_forgotten_by_the_new_expiration(void **state)
{
    (void)state;
    struct harness *h = harness_new(1, "");
    away(h, "never", NEVER);
    away(h, "short", 20);
    harness_pass_s(h, 10);
    struct config *config = swap(h, "persistent_client_expiration 60s\n");
    review_now(h);
    harness_pass_s(h, 8);
    assert_non_null(harness_session(h, "short", NULL));
    harness_pass_s(h, 4);
    assert_null(harness_session(h, "short", NULL));
    harness_pass_s(h, 36);
    assert_non_null(harness_session(h, "never", NULL));
    harness_pass_s(h, 4);
    assert_null(harness_session(h, "never", NULL));
    end(h, config);
}

static void who_is_away_is_kept_by_a_longer_expiration(void **state)
{
    (void)state;
    struct harness *h = harness_new(1, "");
    away(h, "never", NEVER);
    struct config *shorter = swap(h, "persistent_client_expiration 20s\n");
    review_now(h);
    away(h, "told", NEVER); /* CONNACK said 20 */
    struct config *none = swap(h, "");
    review_now(h);
    harness_pass_s(h, 60);
    assert_non_null(harness_session(h, "never", NULL));
    assert_null(harness_session(h, "told", NULL));
    config_free(shorter);
    end(h, none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_session_is_reviewed_in_slices),
        cmocka_unit_test(a_reload_during_a_review_begins_it_anew),
        cmocka_unit_test(without_memory_for_mail_it_begins_with_the_next_tick),
        cmocka_unit_test(a_session_that_moves_meanwhile_is_judged_where_it_arrives),
        cmocka_unit_test(who_is_away_is_forgotten_by_the_new_expiration),
        cmocka_unit_test(who_is_away_is_kept_by_a_longer_expiration),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
