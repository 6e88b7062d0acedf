/*
 * deliver.c: see deliver.h.
 *
 *   QoS 0     connected:    output, unless too much is waiting there
 *             offline:      queue_qos0 if that is configured, else dropped
 *   QoS 1, 2  window open:  in flight, and output
 *             else:         queue, within the session's limits
 *
 * Both queues are first in, first out, and nothing overtakes what waits in them: a new message goes
 * out at once only when the queue of its kind is empty.
 */
#include "conn/deliver.h"

#include "base/assert.h"
#include "base/mem.h"
#include "conn/again.h"
#include "conn/attach.h"
#include "conn/output.h"
#include "conn/publish.h"
#include "conn/replay.h"
#include "conn/report.h"
#include "conn/send.h"
#include "mqtt/version.h"

#define PUMP_MESSAGES_PER_CALL 256u
#define HEAD_BYTES 64u /* of a PUBLISH without topic and forwarded properties, about */

/* Whether another QoS 1 or 2 message may be on its way to the client, by number: its Receive Maximum
   counts what was published on this connection [MQTT-3.3.4-9] [MQTT-4.9.0-2], our own limit all that
   is not settled, and each needs a packet id. */
static bool window_has_place(struct worker *worker, const struct connection *connection,
                             const struct inflight *inflight)
{
    uint32_t max = broker_config(worker->broker)->max_inflight_messages;
    return inflight->published < connection->receive_maximum && (!max || inflight->count < max) &&
           inflight->count < UINT16_MAX;
}

static bool is_swamped(const struct worker *worker, const struct connection *connection)
{
    return connection->is_deaf || (connection->is_blocked && !output_has_room(worker, connection));
}

bool deliver_window_is_open(struct worker *worker, struct session *session)
{
    struct connection *connection = session->sink;
    if (!connection || is_swamped(worker, connection))
        return false;
    const struct flight *flight = session->flight;
    if (!flight)
        return true;
    uint64_t bytes_max = broker_config(worker->broker)->max_inflight_bytes;
    return window_has_place(worker, connection, &flight->inflight) &&
           (bytes_max == 0 || flight->inflight.count == 0 || flight->inflight.bytes < bytes_max);
}

static void count_out(struct session *session, const struct publication *publication)
{
    session->messages_out++;
    session->bytes_out += publication->payload.len;
}

/* What both ways of sending need. */
static struct send_options options_of(const struct delivery_wish *wish, uint32_t *id, uint8_t qos,
                                      bool retain)
{
    struct send_options options = {.qos = qos, .retain = retain};
    if (wish->ids) {
        options.subscription_ids = wish->ids->ids;
        options.subscription_id_count = wish->ids->count;
    } else if ((*id = index_subscriber_id(wish->subscriber)) != 0) {
        options.subscription_ids = id;
        options.subscription_id_count = 1;
    }
    return options;
}

/* What it is delivered with [MQTT-3.8.4-8]. */
static uint8_t effective_qos(struct worker *worker, const struct publication *publication,
                             index_subscriber subscriber)
{
    uint8_t granted = index_subscriber_qos(subscriber);
    if (publication->qos >= granted ||
        UNLIKELY(broker_config(worker->broker)->upgrade_outgoing_qos))
        return granted;
    return publication->qos;
}

/* The session's limits on what waits in the output of a connected client. */
static bool is_over_output_limits(const struct config *config, const struct connection *connection)
{
    return (config->max_queued_messages &&
            connection->out_publishes >= config->max_queued_messages) ||
           (config->max_queued_bytes && connection->out_bytes >= config->max_queued_bytes);
}

/* True when memory_limit is reached and this connection's output would need a chunk more. */
static bool lacks_memory(struct worker *worker, const struct connection *connection,
                         const struct publication *publication)
{
    if (LIKELY(!is_over_memory_limit(worker)))
        return false;
    size_t bytes = HEAD_BYTES + publication->topic.len + publication->properties_forwarded_bytes;
    if (publication->payload.len < OUTPUT_REFERENCE_BYTES)
        bytes += publication->payload.len;
    return !output_has_chunk(worker, connection, bytes);
}

/* True when a QoS 0 message may not be added to this connection's output: it reads too slowly. */
static bool is_too_slow(struct worker *worker, struct connection *connection)
{
    const struct config *config = broker_config(worker->broker);
    if (LIKELY(!is_over_output_limits(config, connection) &&
               connection->out_bytes < worker->output_flush_bytes))
        return false;
    if (!connection->is_blocked && output_write(worker, connection) && !connection->is_blocked)
        return false;
    return is_over_output_limits(config, connection) || is_over_memory_limit(worker);
}

static enum drop_reason drop_reason_of(enum send_result result)
{
    static const enum drop_reason reasons[] = {
        [SEND_TOO_LARGE] = DROP_TOO_LARGE,
        [SEND_NO_MEMORY] = DROP_MEMORY,
        [SEND_NOT_VISIBLE] = DROP_NOT_AUTHORIZED,
    };
    return reasons[result];
}

static void drop(struct worker *worker, struct session *session, enum drop_reason reason)
{
    report_drop(worker, session, reason);
}

/* queue_policy disconnect. Not for what another member of a share group had before: one message
   would close the whole group, member by member. */
static bool may_close_slow(struct worker *worker, const struct publication *publication)
{
    return broker_config(worker->broker)->queue_policy == QUEUE_DISCONNECT &&
           !(publication->flags & MESSAGE_HANDED_OVER);
}

/* What is for admins waits in sessions too, and whoever takes one over may be none. */
static bool may_see(const struct session *session, const struct publication *publication)
{
    return LIKELY(!(publication->flags & MESSAGE_ADMIN_ONLY)) || (session->flags & SESSION_ADMIN);
}

static void send_qos0(struct worker *worker, struct session *session,
                      struct publication *publication, const struct delivery_wish *wish,
                      bool retain)
{
    uint32_t id;
    struct send_options options = options_of(wish, &id, 0, retain);
    enum send_result result = send_publish(worker, session->sink, publication, &options);
    if (result == SEND_OK)
        count_out(session, publication);
    else
        drop(worker, session, drop_reason_of(result));
}

/* Whether a message would be on its way at once, whatever its QoS. */
static bool takes_now(struct worker *worker, struct session *session)
{
    const struct connection *connection = session->sink;
    return deliver_window_is_open(worker, session) &&
           !(connection->is_blocked &&
             is_over_output_limits(broker_config(worker->broker), connection));
}

void deliver_update_ready(struct worker *worker, struct session *session)
{
    struct slot *slot = slot_of(&worker->broker->slots, session->slot);
    uint8_t ready = SLOT_OFFLINE;
    if (session->flags & SESSION_IS_ENDING)
        ready = SLOT_ENDED;
    else if (session->sink)
        ready = takes_now(worker, session) ? SLOT_READY : SLOT_BUSY;
    if (atomic_load_explicit(&slot->ready, memory_order_relaxed) != ready)
        atomic_store_explicit(&slot->ready, ready, memory_order_relaxed);
}

static void deliver_qos0(struct worker *worker, struct session *session,
                         struct publication *publication, const struct delivery_wish *wish,
                         bool retain)
{
    struct connection *connection = session->sink;
    if (UNLIKELY(lacks_memory(worker, connection, publication))) {
        drop(worker, session, DROP_MEMORY);
        return;
    }
    if (UNLIKELY(is_too_slow(worker, connection))) {
        drop(worker, session, DROP_SLOW_QOS0);
        if (may_close_slow(worker, publication))
            connection_close_plain(worker, connection, CLOSE_SLOW);
        return;
    }
    if (connection->state == CONNECTION_CONNECTED) /* the write above may have found it dead */
        send_qos0(worker, session, publication, wish, retain);
}

void deliver_count_stored(struct worker *worker, const struct delivery *delivery, int sign)
{
    metric_add(worker_metrics(worker), METRIC_STORED_MESSAGES, (uint64_t)(int64_t)sign);
    metric_add(worker_metrics(worker), METRIC_STORED_BYTES,
               (uint64_t)(sign * (int64_t)delivery->message->payload_bytes));
}

/* Sends an entry that is in flight. False: it was dropped, the entry is gone. */
static bool send_entry(struct worker *worker, struct session *session, struct inflight_entry *entry,
                       bool dup)
{
    struct connection *connection = session->sink;
    struct publication publication = publication_of_message(entry->delivery.message);
    if (dup && publication.expires_tick && publication.expires_tick <= worker->reactor->now_tick)
        publication.expires_tick =
            worker->reactor->now_tick + 2; /* under way: expiry no longer applies [MQTT-4.3.3-7] */
    struct delivery_wish wish = {
        .subscriber =
            index_subscriber_make(session->slot, entry->delivery.subscription_id, 0, false, false),
        .ids = entry->delivery.ids,
    };
    uint32_t id;
    struct send_options options =
        options_of(&wish, &id, entry->delivery.qos, entry->delivery.flags & DELIVERY_RETAIN);
    options.dup = dup;
    options.packet_id = entry->packet_id;
    entry->is_sent = true;
    inflight_count_published(&session->flight->inflight, entry);
    enum send_result result = SEND_NOT_VISIBLE;
    if (may_see(session, &publication))
        result = send_publish(worker, connection, &publication, &options);
    if (result == SEND_OK) {
        count_out(session, &publication);
    } else if (session->sink) { /* else it was closed for that, and the next connection gets it */
        drop(worker, session, drop_reason_of(result));
        deliver_count_stored(worker, &entry->delivery, -1);
        inflight_remove(&session->flight->inflight, entry);
    }
    publication_fini(&publication);
    return result == SEND_OK;
}

/* A delivery made from a wish; owns a reference. False without memory. */
static bool make_delivery(struct publication *publication, const struct delivery_wish *wish,
                          uint8_t qos, bool retain, struct delivery *out)
{
    struct message *message = publication_message(publication);
    if (!message)
        return false;
    struct delivery_ids *ids = NULL;
    if (wish->ids) {
        size_t bytes = sizeof(*ids) + wish->ids->count * sizeof(uint32_t);
        ids = mem_alloc(bytes);
        if (!ids)
            return false;
        memcpy(ids, wish->ids, bytes);
    }
    *out = (struct delivery){
        .message = message_ref(message),
        .subscription_id = index_subscriber_id(wish->subscriber),
        .group = wish->group,
        .qos = qos,
        .flags = retain ? DELIVERY_RETAIN : 0,
        .ids = ids,
    };
    return true;
}

/* Drops the head of a queue to make room. */
static bool drop_oldest(struct worker *worker, struct session *session, struct queue *queue,
                        enum drop_reason reason)
{
    struct delivery oldest;
    if (!queue_pop(queue, &oldest))
        return false;
    deliver_count_stored(worker, &oldest, -1);
    delivery_fini(&oldest);
    drop(worker, session, reason);
    return true;
}

/* Drops the head of a queue if it has expired [MQTT-3.3.2-5]. */
static bool drop_expired(struct worker *worker, struct session *session, struct queue *queue)
{
    const struct delivery *head = queue_peek(queue);
    uint32_t expires_tick = head ? head->message->expires_tick : 0;
    return expires_tick && expires_tick <= worker->reactor->now_tick &&
           drop_oldest(worker, session, queue, DROP_EXPIRED);
}

/* Which limit of the session a further message would pass; DROP_COUNT: none. */
static enum drop_reason queue_is_full(struct worker *worker, const struct flight *flight,
                                      uint32_t bytes)
{
    const struct config *config = broker_config(worker->broker);
    uint32_t count = flight->queue.count + flight->queue_qos0.count;
    if (config->max_queued_messages && count >= config->max_queued_messages)
        return DROP_QUEUE_MESSAGES;
    if (config->max_queued_bytes &&
        flight->queue.bytes + flight->queue_qos0.bytes + bytes > config->max_queued_bytes)
        return DROP_QUEUE_BYTES;
    return DROP_COUNT;
}

/* Makes room: what has expired goes first, then QoS 0, then by the policy newest, oldest, or the
 * client. A message that could not fit at all moves nobody. True when there is room now. */
static bool make_room(struct worker *worker, struct session *session, uint8_t qos,
                      const struct publication *publication)
{
    struct flight *flight = session->flight;
    uint32_t bytes = (uint32_t)publication->payload.len;
    uint64_t bytes_max = broker_config(worker->broker)->max_queued_bytes;
    bool may_fit = !bytes_max || bytes <= bytes_max;
    enum drop_reason why;
    while ((why = queue_is_full(worker, flight, bytes)) != DROP_COUNT) {
        if (may_fit && (drop_expired(worker, session, &flight->queue_qos0) ||
                        drop_expired(worker, session, &flight->queue)))
            continue;
        if (may_fit && qos > 0 && drop_oldest(worker, session, &flight->queue_qos0, why))
            continue;
        uint8_t policy = broker_config(worker->broker)->queue_policy;
        struct queue *queue = qos > 0 ? &flight->queue : &flight->queue_qos0;
        if (may_fit && policy == QUEUE_DROP_OLDEST && drop_oldest(worker, session, queue, why))
            continue;
        drop(worker, session, why);
        if (session->sink && may_close_slow(worker, publication))
            connection_close_plain(worker, session->sink, CLOSE_SLOW);
        return false;
    }
    return true;
}

/* Takes the delivery; false without memory. */
static bool queue_delivery(struct worker *worker, struct session *session,
                           struct delivery *delivery)
{
    struct flight *flight = session->flight;
    if (queue_push_take(delivery->qos ? &flight->queue : &flight->queue_qos0, delivery)) {
        delivery_fini(delivery);
        return false;
    }
    deliver_waits(session);
    deliver_count_stored(worker, delivery, 1);
    return true;
}

/* Queues, or drops and counts. */
static void deliver_later(struct worker *worker, struct session *session,
                          struct publication *publication, const struct delivery_wish *wish,
                          uint8_t qos, bool retain)
{
    struct delivery delivery;
    if (!session_flight(session) || is_over_memory_limit(worker)) {
        drop(worker, session, DROP_MEMORY);
        return;
    }
    if (!make_room(worker, session, qos, publication))
        return;
    if (!make_delivery(publication, wish, qos, retain, &delivery) ||
        !queue_delivery(worker, session, &delivery))
        drop(worker, session, DROP_MEMORY);
    deliver_update_ready(worker, session);
}

bool deliver_to_queue(struct worker *worker, struct session *session,
                      struct publication *publication, const struct delivery_wish *wish)
{
    struct delivery delivery;
    uint8_t qos = effective_qos(worker, publication, wish->subscriber);
    return qos && session_flight(session) &&
           make_delivery(publication, wish, qos, false, &delivery) &&
           queue_delivery(worker, session, &delivery);
}

/* Puts a delivery in flight and sends it. Takes the delivery. False: it was dropped. */
static bool put_in_flight(struct worker *worker, struct session *session, struct delivery *delivery)
{
    struct inflight_entry *entry = inflight_add_take(&session->flight->inflight, delivery);
    if (!entry) {
        drop(worker, session, DROP_MEMORY);
        deliver_count_stored(worker, delivery, -1);
        delivery_fini(delivery);
        return false;
    }
    return send_entry(worker, session, entry, false);
}

static void deliver_now(struct worker *worker, struct session *session,
                        struct publication *publication, const struct delivery_wish *wish,
                        uint8_t qos, bool retain)
{
    struct delivery delivery;
    if (is_over_memory_limit(worker) || !session_flight(session) ||
        !make_delivery(publication, wish, qos, retain, &delivery)) {
        drop(worker, session, DROP_MEMORY);
        return;
    }
    deliver_count_stored(worker, &delivery, 1);
    put_in_flight(worker, session, &delivery);
    deliver_update_ready(worker, session);
}

void deliver_publication(struct worker *worker, struct session *session,
                         struct publication *publication, const struct delivery_wish *wish)
{
    index_subscriber subscriber = wish->subscriber;
    if (UNLIKELY(session->flags & SESSION_IS_ENDING))
        return;
    if (UNLIKELY(index_subscriber_no_local(subscriber)) &&
        publication_publisher(publication) == hash_bytes(session_id(session)))
        return; /* [MQTT-3.8.3-3] */
    if (UNLIKELY(!may_see(session, publication)))
        return;
    uint8_t qos = effective_qos(worker, publication, subscriber);
    const struct config *config = broker_config(worker->broker);
    bool retain = (publication->flags & MESSAGE_RETAIN) &&
                  (wish->is_retained_replay || index_subscriber_retain_as_published(subscriber));
    if (publication->expires_tick && publication->expires_tick <= worker->reactor->now_tick) {
        drop(worker, session, DROP_EXPIRED);
    } else if (qos == 0 && session->sink &&
               !(session->flight && session->flight->queue_qos0.count)) {
        deliver_qos0(worker, session, publication, wish, retain);
    } else if (qos == 0 && !session->sink && !config->queue_qos0_messages) {
        drop(worker, session, DROP_OFFLINE_QOS0);
    } else if (qos && deliver_window_is_open(worker, session) &&
               (!session->flight ||
                (session->flight->queue.count == 0 && !session->flight->resend))) {
        deliver_now(worker, session, publication, wish, qos, retain);
    } else {
        deliver_later(worker, session, publication, wish, qos, retain);
    }
}

/* Moves heads of the queue into flight while there is room. */
static void pump_queue(struct worker *worker, struct session *session)
{
    struct delivery delivery;
    uint32_t budget = PUMP_MESSAGES_PER_CALL;
    while (session->sink && session->flight && deliver_window_is_open(worker, session) &&
           output_has_room(worker, session->sink)) {
        if (budget-- == 0) {
            again_add(worker, session->sink);
            return;
        }
        if (!queue_pop(&session->flight->queue, &delivery))
            return;
        uint32_t expires_tick = delivery.message->expires_tick;
        if (expires_tick && expires_tick <= worker->reactor->now_tick) { /* [MQTT-3.3.2-5] */
            deliver_count_stored(worker, &delivery, -1);
            delivery_fini(&delivery);
            drop(worker, session, DROP_EXPIRED);
            continue;
        }
        put_in_flight(worker, session, &delivery);
    }
}

/* QoS 0 messages kept while the client was away. New ones wait behind them [MQTT-4.6.0-6]. */
static void pump_queue_qos0(struct worker *worker, struct session *session)
{
    struct delivery delivery;
    uint32_t budget = PUMP_MESSAGES_PER_CALL;
    while (session->sink && session->flight->queue_qos0.count) {
        struct connection *connection = session->sink;
        if (is_swamped(worker, connection) || !output_has_room(worker, connection) ||
            connection->is_blocked)
            return;
        if (budget-- == 0) {
            again_add(worker, connection);
            return;
        }
        queue_pop(&session->flight->queue_qos0, &delivery);
        deliver_count_stored(worker, &delivery, -1);
        struct publication publication = publication_of_message(delivery.message);
        struct delivery_wish wish = {
            .subscriber =
                index_subscriber_make(session->slot, delivery.subscription_id, 0, false, false),
            .ids = delivery.ids,
        };
        if (publication.expires_tick && publication.expires_tick <= worker->reactor->now_tick)
            drop(worker, session, DROP_EXPIRED);
        else if (!may_see(session, &publication))
            drop(worker, session, DROP_NOT_AUTHORIZED);
        else
            send_qos0(worker, session, &publication, &wish, delivery.flags & DELIVERY_RETAIN);
        publication_fini(&publication);
        delivery_fini(&delivery);
    }
}

/* The next of what a reconnect left unsent; *at moves on to it. NULL: none is left. */
static struct inflight_entry *next_unsent(struct flight *flight, uint32_t *at, bool is_release)
{
    for (; *at < flight->resend_count; (*at)++) {
        struct inflight_entry *entry = inflight_find(&flight->inflight, flight->resend[*at]);
        if (entry && !entry->is_sent && (entry->state == INFLIGHT_AWAIT_PUBCOMP) == is_release)
            return entry;
    }
    return NULL;
}

/* Sends again what was in flight on an earlier connection, in its old order: first each PUBREL,
   which no window holds back [MQTT-4.3.3-6] [MQTT-3.3.4-10], then PUBLISH as far as the window
   allows. True when all is out. */
static bool resend_unsent(struct worker *worker, struct session *session)
{
    struct flight *flight = session->flight;
    struct inflight_entry *entry;
    while ((entry = next_unsent(flight, &flight->release_at, true))) {
        if (!output_has_room(worker, session->sink))
            return false;
        entry->is_sent = true;
        send_ack(worker, session->sink, PACKET_PUBREL, entry->packet_id, 0, NULL);
        if (!session->sink)
            return false;
    }
    while ((entry = next_unsent(flight, &flight->resend_at, false))) {
        const struct connection *connection = session->sink;
        if (flight->inflight.published >= connection->receive_maximum ||
            !output_has_room(worker, connection))
            return false;
        send_entry(worker, session, entry, true);
        if (!session->sink)
            return false;
    }
    mem_free(flight->resend);
    flight->resend = NULL;
    flight->resend_at = flight->release_at = flight->resend_count = 0;
    return true;
}

void deliver_pump(struct worker *worker, struct session *session)
{
    struct flight *flight = session->flight;
    bool is_in_order =
        !flight || !flight->resend || (session->sink && resend_unsent(worker, session));
    if (flight && session->sink && flight->queue_qos0.count)
        pump_queue_qos0(worker, session);
    if (flight && session->sink && is_in_order && flight->queue.count)
        pump_queue(worker, session);
    if (session->replays && session->sink && !((struct connection *)session->sink)->is_again)
        replay_pump(worker, session);
    deliver_update_ready(worker, session);
}

void deliver_resume(struct worker *worker, struct session *session)
{
    struct flight *flight = session->flight;
    if (flight && flight->inflight.count) {
        inflight_forget_sent(&flight->inflight);
        mem_free(flight->resend);
        flight->resend_at = flight->release_at = 0;
        flight->resend = inflight_in_order(&flight->inflight, &flight->resend_count);
        if (!flight->resend) {
            connection_close_plain(worker, session->sink, CLOSE_MEMORY);
            return;
        }
        deliver_waits(session);
    }
    deliver_pump(worker, session);
}

void deliver_slice(struct worker *worker, struct connection *connection)
{
    if (connection->state != CONNECTION_CONNECTED)
        return;
    struct session *session = connection->session;
    if (session->replays || session->flight)
        deliver_pump(worker, session);
    if (connection->wants_drained && connection->state == CONNECTION_CONNECTED &&
        worker->broker->hooks.drained)
        worker->broker->hooks.drained(worker, session);
}

void deliver_drained(struct worker *worker, struct connection *connection)
{
    if (connection->state != CONNECTION_CONNECTED)
        return;
    if (!connection->is_drained)
        connection->is_drained = !deliver_has_more(connection->session);
    if (!connection->is_drained || connection->wants_drained)
        again_add(worker, connection);
    if (connection->hold & HOLD_OUTPUT)
        connection_unhold(worker, connection, HOLD_OUTPUT);
}
