/*
 * harness_check.h: what must be true of the broker of harness.h whatever its clients did.
 */
#ifndef TESTS_UNIT_CONN_HARNESS_CHECK_H
#define TESTS_UNIT_CONN_HARNESS_CHECK_H

#include "conn/deliver.h"
#include "tests/unit/conn/harness.h"

static inline void harness_check_session(const struct session *session, uint64_t *messages,
                                         uint64_t *bytes)
{
    const struct flight *flight = session->flight;
    const struct connection *connection = session->sink;
    subscriptions_check(&session->subscriptions);
    if (connection && connection->is_drained)
        assert_true(!deliver_has_more(session));
    if (!flight || session->flags & SESSION_IS_ENDING)
        return;
    inflight_check(&flight->inflight);
    queue_check(&flight->queue);
    queue_check(&flight->queue_qos0);
    idset_check(&flight->received);
    for (uint32_t i = 0; flight->inflight.entries && i <= flight->inflight.mask; i++) {
        const struct inflight_entry *entry = &flight->inflight.entries[i];
        *messages += entry->state != INFLIGHT_FREE && entry->delivery.message;
    }
    *messages += flight->queue.count + flight->queue_qos0.count;
    *bytes += flight->inflight.bytes + flight->queue.bytes + flight->queue_qos0.bytes;
}

/* Every table of the broker is whole, and each gauge is what counting gives. After harness_settle(). */
static inline void harness_check(struct harness *h)
{
    uint64_t messages = 0, bytes = 0, sessions = 0, connected = 0;
    uint32_t end = atomic_load(&h->broker.slots.end);
    for (uint32_t id = 1; id < end; id++) {
        struct session *session = slot_object(slot_of(&h->broker.slots, id));
        if (!session)
            continue;
        harness_check_session(session, &messages, &bytes);
        sessions += !(session->flags & SESSION_IS_ENDING);
        connected += session->sink != NULL;
    }
    session_table_check(h->broker.sessions);
    index_check(h->broker.index);
    assert_int_equal(session_table_count(h->broker.sessions), sessions);
    assert_int_equal(harness_metric(h, METRIC_SESSIONS), sessions);
    assert_int_equal(harness_metric(h, METRIC_CLIENTS_CONNECTED), connected);
    assert_int_equal(harness_metric(h, METRIC_STORED_MESSAGES), messages);
    assert_int_equal(harness_metric(h, METRIC_STORED_BYTES), bytes);
}

#endif
