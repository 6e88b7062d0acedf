/*
 * document.c: see document.h. What a peer can make long (user name, will topic) is cut at
 * TEXT_BYTES, and the list of filters ends at LIST_FILTERS or LIST_BYTES and says so.
 */
#include "admin/document.h"

#include "conn/connection.h"
#include "conn/output.h"
#include "conn/subscribe.h"
#include "mqtt/packet.h"
#include "mqtt/utf8.h"

#define TEXT_BYTES 1024u
#define LIST_FILTERS 1000u
#define LIST_BYTES 49152u
#define TICKS_PER_S 2u

static void put_number(struct json *json, const char *key, uint64_t number)
{
    json_key(json, key);
    json_number(json, number);
}

static void put_bool(struct json *json, const char *key, bool value)
{
    json_key(json, key);
    json_bool(json, value);
}

/* A string, cut between characters; NULL as ptr: null. */
static void put_text(struct json *json, const char *key, struct slice text)
{
    json_key(json, key);
    if (!text.ptr) {
        json_null(json);
        return;
    }
    json_string(json, utf8_cut(text, TEXT_BYTES));
}

static void put_number_or_null(struct json *json, const char *key, bool is_known, uint64_t number)
{
    json_key(json, key);
    if (is_known)
        json_number(json, number);
    else
        json_null(json);
}

uint32_t document_idle_s(const struct worker *worker, const struct session *session)
{
    const struct connection *connection = session->sink;
    if (connection)
        return (worker->reactor->now_tick - connection->last_packet_tick) / TICKS_PER_S;
    return worker->reactor->now_s - session->changed_s;
}

static const char *protocol_name(uint8_t version)
{
    return version == MQTT_5 ? "5.0" : version == MQTT_3_1_1 ? "3.1.1" : "3.1";
}

static void put_client(struct json *json, struct worker *worker, const struct session *session)
{
    const struct connection *connection = session->sink;
    const struct config_listener *listener =
        &broker_config(worker->broker)->listeners[session->listener];
    char address[CONNECTION_ADDRESS_BYTES];
    json_key(json, "client_id");
    json_string(json, session_id(session));
    put_text(json, "username",
             session->user ? slice_of(session->user->name, session->user->len) : slice_of(NULL, 0));
    put_text(json, "address",
             connection ? slice_str(connection_address(connection, address)) : slice_of(NULL, 0));
    if (listener->port)
        put_number(json, "listener", listener->port);
    else
        put_text(json, "listener", slice_str(listener->address));
    put_text(json, "protocol", slice_str(protocol_name(session->version)));
}

static void put_state(struct json *json, struct worker *worker, const struct session *session)
{
    const struct connection *connection = session->sink;
    uint32_t since_s = worker->reactor->now_s - session->changed_s;
    put_bool(json, "connected", connection);
    put_number_or_null(json, "connected_since_s", connection, since_s);
    put_number_or_null(json, "disconnected_since_s", !connection, since_s);
    put_text(json, "closed_reason",
             connection ? slice_of(NULL, 0) : slice_str(close_reason_name(session->closed_why)));
    put_bool(json, "clean_start", session->flags & SESSION_CLEAN_START);
    put_number_or_null(json, "session_expiry_s", session->expiry_s != MQTT_EXPIRY_NEVER,
                       session->expiry_s);
    put_number_or_null(json, "keepalive_s", connection, connection ? connection->keepalive_s : 0);
    put_number(json, "idle_s", document_idle_s(worker, session));
}

static void put_will(struct json *json, const struct will *will)
{
    json_key(json, "will");
    if (!will) {
        json_null(json);
        return;
    }
    json_open(json, '{');
    put_text(json, "topic", message_topic(will->message));
    put_number(json, "qos", will->message->qos);
    put_bool(json, "retain", will->message->flags & MESSAGE_RETAIN);
    put_number(json, "delay_s", will->delay_s);
    put_number(json, "payload_bytes", will->message->payload_bytes);
    json_close(json, '}');
}

static void put_dropped(struct json *json, const struct flight *flight)
{
    json_key(json, "dropped");
    json_open(json, '{');
    for (uint32_t i = 0; flight && i < DROP_COUNT; i++) {
        if (flight->dropped[i])
            put_number(json, drop_reason_name(i), flight->dropped[i]);
    }
    json_close(json, '}');
}

static uint64_t memory_bytes(const struct session *session)
{
    const struct connection *connection = session->sink;
    uint64_t bytes = session_bytes(session);
    if (connection)
        bytes += sizeof(*connection) + (connection->tail ? connection->tail->cap : 0) +
                 (connection->out_bytes + CHUNK_ROOM - 1) / CHUNK_ROOM * CHUNK_BYTES;
    return bytes;
}

static void put_traffic(struct json *json, const struct session *session)
{
    static const struct flight none;
    const struct flight *flight = session->flight ? session->flight : &none;
    const struct connection *connection = session->sink;
    put_number(json, "queued_messages", flight->queue.count + flight->queue_qos0.count);
    put_number(json, "queued_bytes", flight->queue.bytes + flight->queue_qos0.bytes);
    put_number(json, "inflight_messages", flight->inflight.count);
    put_number(json, "inflight_bytes", flight->inflight.bytes);
    put_number(json, "unsent_messages", connection ? connection->out_publishes : 0);
    put_number(json, "unsent_bytes", connection ? connection->out_bytes : 0);
    put_number(json, "messages_in", session->messages_in);
    put_number(json, "messages_out", session->messages_out);
    put_number(json, "bytes_in", session->bytes_in);
    put_number(json, "bytes_out", session->bytes_out);
    put_dropped(json, session->flight);
    put_number(json, "memory_bytes", memory_bytes(session));
}

static void put_subscription(struct json *json, const struct index_place *place,
                             struct slice filter)
{
    index_subscriber subscriber = index_place_subscriber(place);
    uint32_t id = index_subscriber_id(subscriber);
    json_open(json, '{');
    json_key(json, "filter");
    json_string(json, filter);
    put_number(json, "qos", index_subscriber_qos(subscriber));
    put_bool(json, "no_local", index_subscriber_no_local(subscriber));
    put_bool(json, "retain_as_published", index_subscriber_retain_as_published(subscriber));
    put_number_or_null(json, "subscription_id", id, id);
    json_close(json, '}');
}

static void put_list(struct json *json, const struct session *session)
{
    uint8_t filter[MQTT_STRING_BYTES_MAX + 1];
    struct subscriptions subs = session->subscriptions;
    const struct subscription *items = subscriptions_items(&subs);
    uint32_t begin = json->len, listed = 0;
    json_key(json, "subscription_list");
    json_open(json, '[');
    for (; listed < subs.count && listed < LIST_FILTERS; listed++) {
        struct index_place place = subscribe_place(&items[listed]);
        uint32_t bytes = index_place_filter(&place, filter, sizeof(filter));
        if (json->len - begin + bytes > LIST_BYTES)
            break;
        put_subscription(json, &place, slice_of(filter, bytes));
    }
    json_close(json, ']');
    if (listed < subs.count)
        put_number(json, "subscriptions_not_listed", subs.count - listed);
}

void document_write(struct json *json, struct worker *worker, const struct session *session,
                    const struct document_options *options)
{
    json_open(json, '{');
    put_client(json, worker, session);
    if (options->ended_reason) {
        put_bool(json, "ended", true);
        put_text(json, "ended_reason", slice_str(options->ended_reason));
    }
    put_state(json, worker, session);
    put_will(json, session->will);
    put_number(json, "subscriptions", session->subscriptions.count);
    if (options->has_list)
        put_list(json, session);
    put_traffic(json, session);
    put_number(json, "reactor", worker->reactor->index);
    json_close(json, '}');
}
