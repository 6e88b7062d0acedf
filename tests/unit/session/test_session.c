/* test_session.c: session/session.h. */
#include "tests/unit/session/testing.h"

#include "session/session.h"

static void queue_one(struct session *session)
{
    struct delivery delivery = delivery_numbered(1, 1);
    assert_int_equal(queue_push_take(&session_flight(session)->queue, &delivery), ERR_OK);
}

static void session_keeps_its_id_byte_for_byte(void **state)
{
    (void)state;
    struct session *session = session_new(SLICE_LIT("s\xE2\x82\xAC nsor"));
    assert_true(slice_eq(session_id(session), SLICE_LIT("s\xE2\x82\xAC nsor")));
    session_free(session);
    session = session_new(slice_of(NULL, 0));
    assert_int_equal(session_id(session).len, 0);
    session_free(session);
}

static void session_takes_the_longest_id_there_is(void **state)
{
    (void)state;
    char *id = malloc(65535);
    memset(id, 'x', 65535);
    struct session *session = session_new(slice_of(id, 65535));
    assert_true(slice_eq(session_id(session), slice_of(id, 65535)));
    session_free(session);
    free(id);
}

static void session_that_is_new_has_no_parts(void **state)
{
    (void)state;
    struct session *session = session_new(SLICE_LIT("id"));
    assert_null(session->flight);
    assert_null(session->will);
    assert_null(session->user);
    assert_int_equal(session_bytes(session), sizeof(*session));
    session_trim(session);
    session_free(session);
}

static void session_trims_only_what_holds_nothing(void **state)
{
    (void)state;
    struct session *session = session_new(SLICE_LIT("id"));
    struct delivery delivery;
    queue_one(session);
    session_trim(session);
    assert_non_null(session->flight);
    queue_pop(&session->flight->queue, &delivery);
    assert_non_null(inflight_add_take(&session->flight->inflight, &delivery));
    session_trim(session);
    assert_non_null(session->flight);
    inflight_clear(&session->flight->inflight);
    assert_int_equal(idset_add(&session->flight->received, 9), ERR_OK);
    session_trim(session);
    assert_non_null(session->flight);
    idset_remove(&session->flight->received, 9);
    session_trim(session);
    assert_null(session->flight);
    session_free(session);
}

static void session_keeps_drop_counters_when_trimmed(void **state)
{
    (void)state;
    struct session *session = session_new(SLICE_LIT("id"));
    struct metrics *metrics = aligned_alloc(64, (sizeof(*metrics) + 63) / 64 * 64);
    memset(metrics, 0, sizeof(*metrics));
    session_count_drops(session, metrics, DROP_EXPIRED, 1, false);
    assert_null(session->flight);
    session_count_drops(session, metrics, DROP_EXPIRED, 1, true);
    session_count_drops(session, metrics, DROP_EXPIRED, 1, false);
    session_trim(session);
    assert_int_equal(session->flight->dropped[DROP_EXPIRED], 2);
    assert_int_equal(metric_read(&metrics->dropped[DROP_EXPIRED]), 3);
    assert_int_equal(metric_read(&metrics->counters[METRIC_PUBLISH_DROPPED]), 3);
    session_free(session);
    free(metrics);
}

static void session_frees_all_its_parts(void **state)
{
    (void)state;
    struct session *session = session_new(SLICE_LIT("id"));
    queue_one(session);
    struct delivery delivery = delivery_numbered(2, 2);
    assert_non_null(inflight_add_take(&session->flight->inflight, &delivery));
    delivery = delivery_numbered(3, 0);
    assert_int_equal(queue_push_take(&session->flight->queue_qos0, &delivery), ERR_OK);
    for (uint16_t id = 1; id < 100; id++)
        assert_int_equal(idset_add(&session->flight->received, id), ERR_OK);
    session->will = mem_zalloc(sizeof(*session->will));
    session->will->message = message_numbered(4);
    assert_int_equal(session_set_user(session, SLICE_LIT("anna"), true), ERR_OK);
    session_free(session); /* the sanitizer sees a leak */
}

static void session_counts_the_bytes_of_its_parts(void **state)
{
    (void)state;
    struct session *session = session_new(SLICE_LIT("id"));
    uint64_t before = session_bytes(session);
    assert_int_equal(session_set_user(session, SLICE_LIT("anna"), true), ERR_OK);
    assert_int_equal(session_bytes(session), before + sizeof(struct session_user) + 4);
    before = session_bytes(session);
    queue_one(session);
    assert_int_equal(session_bytes(session), before + sizeof(struct flight) +
                                                 sizeof(struct delivery) +
                                                 session->flight->queue.bytes);
    session_free(session);
}

static void session_user_is_replaced(void **state)
{
    (void)state;
    struct session *session = session_new(SLICE_LIT("id"));
    assert_int_equal(session_set_user(session, SLICE_LIT("anna"), true), ERR_OK);
    assert_int_equal(session_set_user(session, SLICE_LIT(""), false), ERR_OK);
    assert_int_equal(session->user->len, 0);
    assert_false(session->user->is_verified);
    session_free(session);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(session_keeps_its_id_byte_for_byte),
        cmocka_unit_test(session_takes_the_longest_id_there_is),
        cmocka_unit_test(session_that_is_new_has_no_parts),
        cmocka_unit_test(session_trims_only_what_holds_nothing),
        cmocka_unit_test(session_keeps_drop_counters_when_trimmed),
        cmocka_unit_test(session_frees_all_its_parts),
        cmocka_unit_test(session_counts_the_bytes_of_its_parts),
        cmocka_unit_test(session_user_is_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
