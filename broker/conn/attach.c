/*
 * attach.c: see attach.h. Claiming a session, CONNACK, and detaching.
 */
#include "conn/attach.h"

#include <netinet/in.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"
#include "conn/aliases.h"
#include "conn/announced.h"
#include "conn/authenticate.h"
#include "conn/bulk.h"
#include "conn/give_up.h"
#include "conn/input.h"
#include "conn/moving.h"
#include "conn/output.h"
#include "conn/replay.h"
#include "conn/report.h"
#include "conn/send.h"
#include "conn/spread.h"
#include "mqtt/encode.h"
#include "runtime/log.h"

#define WAITING_TICKS 20u
#define LEAVING_TICKS 10u /* who took the place waits no longer for what was sent before */

struct slice pending_client_id(const struct pending_connect *pending)
{
    return pending->client_id;
}

void attach_forget_pending(struct worker *worker, struct connection *connection)
{
    struct pending_connect *pending = connection->pending;
    (void)worker;
    if (!pending)
        return;
    connection->pending = NULL;
    if (pending->method && pending->method_state)
        pending->method->end(pending->method->ctx, pending->method_state);
    if (pending->will)
        will_free(pending->will);
    mem_free(pending);
}

void attach_free_parts(struct worker *worker, struct connection *connection)
{
    attach_forget_pending(worker, connection);
    struct connection_rare *rare = connection->rare;
    if (!rare)
        return;
    aliases_free(rare->aliases);
    transport_free(rare->transport);
    if (rare->bulk)
        bulk_abandon(connection);
    mem_free(rare);
    connection->rare = NULL;
}

void attach_refuse(struct worker *worker, struct connection *connection, uint8_t code,
                   const char *text)
{
    uint8_t packet[CONNECTION_LAST_WORDS_BYTES];
    struct packet_connack connack = {
        .reason = code,
        .reason_string = text ? slice_str(text) : slice_of(NULL, 0),
        .qos_max = connection_listener(worker, connection)->qos_max, /* [MQTT-3.2.2-9] */
    };
    const char *reference = broker_config(worker->broker)->server_reference;
    if (reference && (code == REASON_SERVER_MOVED || code == REASON_USE_ANOTHER_SERVER))
        connack.server_reference = slice_str(reference);
    if (connection->version) {
        size_t bytes = encode_connack(packet, sizeof(packet), connection->version,
                                      connection->packet_bytes_max, &connack);
        send_packet(worker, connection, packet, bytes);
    }
    connection_close(worker, connection, CLOSE_REFUSED, code, text ? text : reason_text(code));
}

/* What CONNACK tells a v5 client of our limits. */
static void fill_connack(struct worker *worker, const struct connection *connection,
                         const struct pending_connect *pending, struct packet_connack *connack)
{
    const struct config *config = broker_config(worker->broker);
    const struct config_listener *listener = connection_listener(worker, connection);
    const struct announced *announced = announced_to(worker, connection);
    connack->has_session_expiry = pending->is_expiry_ours;
    connack->session_expiry_s = pending->expiry_s;
    connack->receive_maximum = announced->receive_maximum;
    connack->qos_max = listener->qos_max;
    connack->retain_unavailable = !announced->has_retain;
    if (announced->packet_bytes_max < MQTT_PACKET_BYTES_MAX)
        connack->packet_bytes_max = announced->packet_bytes_max;
    connack->topic_alias_maximum = listener->topic_alias_max;
    connack->has_server_keepalive = pending->is_keepalive_ours;
    connack->server_keepalive_s = pending->keepalive_s;
    if (pending->is_id_assigned)
        connack->assigned_client_id = pending->client_id; /* [MQTT-3.1.3-7] */
    if (pending->wants_response_information && config->response_information)
        connack->response_information = slice_str(config->response_information);
    if (pending->method) {
        connack->auth_method = slice_str(pending->method->name);
        connack->auth_data = pending->auth_reply;
    }
}

static void send_connack(struct worker *worker, struct connection *connection,
                         const struct pending_connect *pending, bool is_present)
{
    struct packet_connack connack = {.session_present =
                                         is_present && connection->version != MQTT_3_1};
    fill_connack(worker, connection, pending, &connack);
    uint32_t room =
        256 + (uint32_t)(connack.assigned_client_id.len + connack.response_information.len +
                         connack.auth_method.len + connack.auth_data.len);
    uint8_t *packet = mem_alloc(room);
    size_t bytes = packet ? encode_connack(packet, room, connection->version,
                                           connection->packet_bytes_max, &connack)
                          : 0;
    if (bytes && output_append(worker, connection, packet, (uint32_t)bytes)) {
        report_sent(connection, packet, bytes);
        metric_add(worker_metrics(worker), METRIC_MESSAGES_SENT, 1);
    } else { /* no room at the peer's, or here; without CONNACK nothing may be said [MQTT-3.14.0-1] */
        bool is_too_large = packet && !bytes;
        connection_close(worker, connection, is_too_large ? CLOSE_PACKET_TOO_LARGE : CLOSE_MEMORY,
                         0, NULL);
    }
    mem_free(packet);
}

static void log_connected(struct worker *worker, struct connection *connection, bool is_present)
{
    if (!broker_config(worker->broker)->connection_messages)
        return;
    const struct session *session = connection->session;
    char address[CONNECTION_ADDRESS_BYTES];
    struct slice id = session_id(session);
    log_line(LOG_NOTICE_,
             "Client %.*s (%s) connected: v%s, clean start %d, session present %d, keepalive %u "
             "s%s%.*s.",
             SLICE_ARG(id), connection_address(connection, address),
             connection->version == MQTT_5       ? "5"
             : connection->version == MQTT_3_1_1 ? "3.1.1"
                                                 : "3.1",
             (session->flags & SESSION_CLEAN_START) != 0, is_present, connection->keepalive_s,
             session->user ? ", user " : "", session->user ? session->user->len : 0,
             session->user ? session->user->name : "");
}

static void log_no_memory(const struct connection *connection, const char *what)
{
    char address[CONNECTION_ADDRESS_BYTES];
    struct slice id = connection_client_id(connection);
    log_line(LOG_ERROR, "Client %.*s (%s): no memory for %s.", SLICE_ARG(id),
             connection_address(connection, address), what);
}

/* The session takes on what CONNECT said. */
static void session_take_pending(struct worker *worker, struct session *session,
                                 struct connection *connection, struct pending_connect *pending)
{
    session->expiry_s = pending->expiry_s;
    session->version = connection->version;
    session->listener = connection->listener;
    session->changed_s = worker->reactor->now_s;
    if (session->will)
        will_free(session->will); /* back within the delay: suppressed [MQTT-3.1.3-9] */
    session->will = pending->will;
    pending->will = NULL;
    session->flags &= (uint8_t) ~(SESSION_ADMIN | SESSION_CLEAN_START | SESSION_LOCAL);
    session->flags |= (uint8_t)((pending->is_admin ? SESSION_ADMIN : 0) |
                                (pending->clean_start ? SESSION_CLEAN_START : 0) |
                                (connection_is_loopback(connection) ? SESSION_LOCAL : 0));
    mem_free(session->user);
    session->user = NULL;
    if (pending->has_user_name &&
        session_set_user(session, pending->user_name, pending->is_verified))
        log_no_memory(connection, "its user name");
    authenticate_again(worker, session); /* there may have been a reload since CONNECT */
}

static void count_connected(struct worker *worker)
{
    struct broker *broker = worker->broker;
    metric_add(worker_metrics(worker), METRIC_CLIENTS_CONNECTED, 1);
    metric_add(worker_metrics(worker), METRIC_CONNECTS_ACCEPTED, 1);
    uint64_t most = atomic_load_explicit(&broker->clients_max, memory_order_relaxed);
    if (atomic_load_explicit(&broker->connections, memory_order_relaxed) <= most)
        return;
    uint64_t now = reactor_group_metric(broker->group, METRIC_CLIENTS_CONNECTED);
    while (now > most && !atomic_compare_exchange_weak(&broker->clients_max, &most, now)) {
    }
}

/* The session is here and free: joins it with the connection and says so. */
static void attach_complete(struct worker *worker, struct connection *connection,
                            struct session *session, bool is_present)
{
    struct pending_connect *pending = connection->pending;
    attach_go_online(worker, session);
    session_take_pending(worker, session, connection, pending);
    session->sink = connection;
    connection->session = session;
    connection->state = CONNECTION_CONNECTED;
    connection->keepalive_s = pending->keepalive_s;
    connection->last_packet_tick = worker->reactor->now_tick;
    count_connected(worker);
    send_connack(worker, connection, pending, is_present);
    if (connection->state != CONNECTION_CONNECTED)
        return;
    connection_arm_keepalive(worker, connection);
    if (connection->state != CONNECTION_CONNECTED)
        return; /* no memory for its timer */
    log_connected(worker, connection, is_present);
    attach_forget_pending(worker, connection);
    deliver_update_ready(worker, session);
    if (worker->broker->hooks.session_changed)
        worker->broker->hooks.session_changed(worker, session, false);
    if (is_present)
        deliver_resume(worker, session);
    if (connection->state == CONNECTION_CONNECTED)
        spread_go_behind(worker, connection);
    connection_unhold(worker, connection, HOLD_WAITING);
}

/* A new session of this reactor for the connection; NULL: refused (done). */
static struct session *make_session(struct worker *worker, struct connection *connection)
{
    struct session *session = session_new(connection->pending->client_id);
    uint32_t slot =
        session ? slots_alloc(&worker->broker->slots, session, worker->reactor->index) : 0;
    if (!slot) {
        if (session)
            session_free(session);
        attach_refuse(worker, connection, REASON_QUOTA_EXCEEDED, "no memory for a session");
        return NULL;
    }
    session->slot = slot;
    session->generation = atomic_load(&slot_of(&worker->broker->slots, slot)->generation);
    return session;
}

static bool has_room_for_session(struct worker *worker, struct connection *connection)
{
    const struct pending_connect *pending = connection->pending;
    uint32_t max = broker_config(worker->broker)->global_max_clients;
    bool is_full = max && reactor_group_metric(worker->broker->group, METRIC_SESSIONS) >= max;
    bool is_short = is_over_memory_limit(worker) && !pending->is_admin;
    if (LIKELY(!is_full && !is_short))
        return true;
    if (session_table_find(worker->broker->sessions, pending->client_id).slot)
        return true; /* a clean start: it takes the place of its own */
    attach_refuse(worker, connection, REASON_QUOTA_EXCEEDED,
                  is_full ? "global_max_clients is reached" : "memory_limit is reached");
    return false;
}

/* Creates the session, replacing another with Clean Start. True when done (also when refused);
   false: there is one already, told in *old. */
static bool attach_fresh(struct worker *worker, struct connection *connection,
                         struct session_ref *old)
{
    bool clean_start = connection->pending->clean_start;
    *old = (struct session_ref){0};
    if (!has_room_for_session(worker, connection))
        return true;
    struct session *session = make_session(worker, connection);
    if (!session)
        return true;
    struct move *move = moving_new(worker);
    enum err err = !move
                       ? ERR_NOMEM
                       : session_table_insert(worker->broker->sessions, session, clean_start, old);
    if (move && (err || !old->slot))
        moving_free(move);
    if (err) {
        slots_free(&worker->broker->slots, session->slot);
        session_free(session);
        if (err == ERR_EXISTS)
            return false;
        attach_refuse(worker, connection, REASON_QUOTA_EXCEEDED, "no memory for a session");
        return true;
    }
    session->flags |= SESSION_IN_TABLE;
    metric_add(worker_metrics(worker), METRIC_SESSIONS, 1);
    if (old->slot)
        moving_request_take(worker, move, NULL,
                            old); /* ends the old one, wherever it is [MQTT-3.1.2-4] */
    attach_complete(worker, connection, session, false);
    return true;
}

/* Nobody reads our answers any more, so they hold nothing up. */
static void stop_answering(struct worker *worker, struct connection *connection)
{
    output_give_up(worker, connection);
    connection->hold &= (uint8_t)~HOLD_OUTPUT;
}

bool attach_hear_before_takeover(struct worker *worker, struct connection *connection)
{
    uint64_t until_ns = worker->reactor->read_until_ns;
    bool is_first = !(connection->hold & HOLD_LEAVING);
    worker->reactor->read_until_ns = clock_real_ns() + worker->reactor->group->last_read_budget_ns;
    connection->hold |= HOLD_LEAVING;
    if (connection->hold & HOLD_OUTPUT)
        stop_answering(worker, connection);
    if (is_first)
        input_read_last(worker, connection);
    else
        connection_resume_input(worker, connection);
    worker->reactor->read_until_ns = until_ns;
    if (connection->state == CONNECTION_CLOSING || !input_waits(worker, connection))
        return true;
    if (!is_first)
        return false;
    connection_set_reading(worker, connection);
    return timing_heap_arm(worker->keepalive, connection->handle,
                           worker->reactor->now_tick + LEAVING_TICKS) != ERR_OK;
}

/* Whether a session of this reactor has a connection that is to be heard first. In the reactor's read
   buffer lies what came from the connection that asks. */
static bool attach_must_wait(struct worker *worker, const struct session_ref *ref)
{
    struct slot *slot = slot_of(&worker->broker->slots, ref->slot);
    struct session *session = slot->object;
    bool is_it = atomic_load(&slot->generation) == ref->generation;
    if (!is_it || !session->sink)
        return false;
    uint8_t *buffer = worker->reactor->read_buffer, *other = mem_alloc(REACTOR_READ_BYTES);
    if (!other)
        return false;
    worker->reactor->read_buffer = other;
    bool is_heard = attach_hear_before_takeover(worker, session->sink);
    worker->reactor->read_buffer = buffer;
    mem_free(other);
    return !is_heard;
}

/* The session is known to be of this reactor: takes it over, or says false when it is not there any
 * more. */
static bool attach_here(struct worker *worker, struct connection *connection,
                        const struct session_ref *ref)
{
    struct slot *slot = slot_of(&worker->broker->slots, ref->slot);
    struct session *session = slot->object;
    if (atomic_load(&slot->generation) != ref->generation || (session->flags & SESSION_IS_ENDING))
        return false;
    if (session->sink)
        connection_close_plain(worker, session->sink, CLOSE_TAKEN_OVER); /* [MQTT-3.1.4-3] */
    if (session->flags & SESSION_IS_ENDING)
        return false; /* it did not outlive that connection */
    attach_complete(worker, connection, session, true);
    return true;
}

static void attach_wait(struct worker *worker, struct connection *connection,
                        const struct session_ref *ref)
{
    struct move *move = moving_new(worker);
    if (!move) {
        attach_refuse(worker, connection, REASON_QUOTA_EXCEEDED, "no memory to fetch the session");
        return;
    }
    connection->state = CONNECTION_WAITING;
    connection_hold(worker, connection, HOLD_WAITING);
    if (timing_heap_arm(worker->keepalive, connection->handle,
                        worker->reactor->now_tick + WAITING_TICKS))
        log_no_memory(connection, "the timer of its CONNECT");
    moving_request_take(worker, move, connection, ref);
}

void attach_begin(struct worker *worker, struct connection *connection)
{
    struct session_ref ref;
    struct broker *broker = worker->broker;
    for (;;) {
        if (connection->pending->clean_start) {
            attach_fresh(worker, connection, &ref);
            return;
        }
        ref = session_table_find(broker->sessions, connection->pending->client_id);
        if (ref.slot == 0 && attach_fresh(worker, connection, &ref))
            return;
        if (ref.slot == 0)
            continue;
        struct slot *slot = slot_of(&broker->slots, ref.slot);
        if (ref.owner != worker->reactor->index || atomic_load(&slot->is_moving) ||
            moving_is_delayed(worker, &ref) || attach_must_wait(worker, &ref)) {
            attach_wait(worker, connection, &ref);
            return;
        }
        if (attach_here(worker, connection, &ref))
            return;
    }
}

void attach_arrived(struct worker *worker, struct connection *connection, struct session *session)
{
    connection->state = CONNECTION_ACCEPTED;
    if (session)
        attach_complete(worker, connection, session, true);
    else
        attach_begin(worker, connection);
    if (connection->state == CONNECTION_CONNECTED)
        connection_unhold(worker, connection, HOLD_WAITING);
}

void attach_detach(struct worker *worker, struct connection *connection)
{
    struct session *session = connection->session;
    session->sink = NULL;
    session->closed_why = connection->close_reason;
    session->changed_s = worker->reactor->now_s;
    connection->session = NULL;
    metric_add(worker_metrics(worker), METRIC_CLIENTS_CONNECTED, (uint64_t)-1);
    deliver_update_ready(worker, session);
    if (connection->hold & HOLD_LEAVING)
        moving_go_on(worker, session);
    if (session->expiry_s == 0) {
        session_end(worker, session);
        return;
    }
    if (session->will && session->will->delay_s == 0)
        attach_publish_will(worker, session);
    attach_go_offline(worker, session);
    give_up_begin(worker, session);
    if (worker->broker->hooks.session_changed)
        worker->broker->hooks.session_changed(worker, session, false);
}
