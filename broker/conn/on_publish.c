/*
 * on_publish.c: PUBLISH from clients: checks in the order that decides the reason code, then the
 * router, then the acknowledgement, which is sent only after every check that could refuse the
 * message.
 */
#include "conn/handlers.h"

#include "base/mem.h"
#include "conn/aliases.h"
#include "conn/announced.h"
#include "conn/publish.h"
#include "conn/report.h"
#include "conn/send.h"
#include "mqtt/topic.h"
#include "session/session.h"

static const struct fault fault_alias_invalid = {REASON_TOPIC_ALIAS_INVALID, "MQTT-3.3.2-9",
                                                 "topic alias 0 or above the maximum"};
static const struct fault fault_alias_unknown = {REASON_PROTOCOL_ERROR, "3.3.2.3.4",
                                                 "topic alias was not set before"};
static const struct fault fault_qos = {REASON_QOS_NOT_SUPPORTED, "MQTT-3.2.2-11",
                                       "QoS above the maximum"};
static const struct fault fault_retain = {REASON_RETAIN_NOT_SUPPORTED, "MQTT-3.2.2-14",
                                          "retain is not available"};
static const struct fault fault_receive_maximum = {
    REASON_RECEIVE_MAXIMUM_EXCEEDED, "MQTT-3.3.4-7",
    "more messages in flight than the receive maximum"};

/* Sets, or resolves, a topic alias. NULL or the fault. */
static const struct fault *resolve_alias(struct worker *worker, struct connection *connection,
                                         struct packet_publish *packet)
{
    uint16_t max = connection_listener(worker, connection)->topic_alias_max;
    if (!packet->has_alias)
        return NULL;
    if (packet->alias == 0 || packet->alias > max)
        return &fault_alias_invalid;
    if (packet->topic.len == 0)
        return connection->rare &&
                       aliases_get_in(connection->rare->aliases, packet->alias, &packet->topic)
                   ? NULL
                   : &fault_alias_unknown;
    static const struct fault no_memory = {REASON_QUOTA_EXCEEDED, "3.3.2.3.4",
                                           "no memory for a topic alias"};
    struct connection_rare *rare =
        is_over_memory_limit(worker) ? NULL : connection_rare(connection);
    bool ok = rare && !aliases_set_in(&rare->aliases, packet->alias, max, packet->topic);
    return ok ? NULL : &no_memory;
}

/* What ends the connection. */
static const struct fault *check_publish(struct worker *worker, struct connection *connection,
                                         struct packet_publish *packet)
{
    if (packet->qos > connection_listener(worker, connection)->qos_max)
        return &fault_qos;
    if (packet->retain && !announced_to(worker, connection)->has_retain)
        return &fault_retain;
    return resolve_alias(worker, connection, packet);
}

/* What refuses a message but keeps the connection. */
struct refusal {
    uint8_t reason; /* for the acknowledgement */
    enum drop_reason why;
    const char *text;
};

static const struct refusal refused_reserved = {
    REASON_NOT_AUTHORIZED, DROP_NOT_AUTHORIZED,
    "topics that begin with '$' are not for clients"}; /* section 4.7.2 */
static const struct refusal refused_access = {REASON_NOT_AUTHORIZED, DROP_NOT_AUTHORIZED,
                                              "the client may not publish to this topic"};
static const struct refusal refused_size = {REASON_QUOTA_EXCEEDED, DROP_MESSAGE_SIZE,
                                            "the payload is larger than message_size_limit"};
static const struct refusal refused_memory = {REASON_QUOTA_EXCEEDED, DROP_MEMORY,
                                              "memory_limit is reached"};
static const struct refusal refused_mount = {
    REASON_TOPIC_NAME_INVALID, DROP_TOPIC_LIMIT,
    "the topic is too long or has too many levels with the mount_point"};

/* Puts the listener's mount point before the topic. NULL: that went well. */
static const struct refusal *mount_topic(struct worker *worker, const struct connection *connection,
                                         struct slice *topic)
{
    const char *mount = connection_listener(worker, connection)->mount_point;
    if (!mount)
        return NULL;
    size_t mount_bytes = strlen(mount), total = mount_bytes + topic->len;
    struct scratch *scratch = &worker->topic_scratch;
    if (total > MQTT_STRING_BYTES_MAX)
        return &refused_mount;
    if (scratch->cap < total) {
        uint8_t *grown = mem_realloc(scratch->bytes, total);
        if (!grown)
            return &refused_memory;
        scratch->bytes = grown;
        scratch->cap = (uint32_t)total;
    }
    memcpy(scratch->bytes, mount, mount_bytes);
    memcpy(scratch->bytes + mount_bytes, topic->ptr, topic->len);
    *topic = slice_of(scratch->bytes, total);
    bool is_too_deep = total >= TOPIC_LEVELS_MAX && topic_level_count(*topic) > TOPIC_LEVELS_MAX;
    return is_too_deep ? &refused_mount : NULL;
}

/* Puts the mount point before the topic. NULL: nothing refuses the message. */
static const struct refusal *refuse_publish(struct worker *worker, struct connection *connection,
                                            struct packet_publish *packet)
{
    const struct config *config = broker_config(worker->broker);
    const struct session *session = connection->session;
    if (packet->topic.ptr[0] == '$')
        return &refused_reserved;
    const struct refusal *refusal = mount_topic(worker, connection, &packet->topic);
    if (refusal)
        return refusal;
    if (worker->broker->auth->has_access_checks) {
        struct slice user =
            session->user ? slice_of(session->user->name, session->user->len) : slice_of(NULL, 0);
        if (!auth_may(worker->broker->auth, session_id(session), user, packet->topic, AUTH_WRITE))
            return &refused_access;
    }
    if (config->message_bytes_max && packet->payload.len > config->message_bytes_max)
        return &refused_size;
    if (packet->retain && packet->payload.len == 0)
        return NULL; /* clearing a retained message makes room */
    if (!memory_has_room(worker, packet->payload.len))
        return &refused_memory;
    return NULL;
}

static void acknowledge(struct worker *worker, struct connection *connection,
                        const struct packet_publish *packet, uint8_t reason, const char *text)
{
    if (packet->qos == 0 || connection->state != CONNECTION_CONNECTED)
        return;
    if (connection->version != MQTT_5)
        reason = 0;
    send_ack(worker, connection, packet->qos == 1 ? PACKET_PUBACK : PACKET_PUBREC,
             packet->packet_id, reason, text);
}

/* QoS 1 is acknowledged at once, so what is in flight to us is QoS 2 that was not released yet. */
static bool is_over_receive_maximum(struct worker *worker, const struct connection *connection)
{
    const struct flight *flight = connection->session->flight;
    return flight && connection->version == MQTT_5 &&
           flight->received.count >= announced_to(worker, connection)->receive_maximum;
}

/* QoS 2: takes the packet id in. False when this is a repetition, answered here, or an error. */
static bool receive_qos2(struct worker *worker, struct connection *connection,
                         const struct packet_publish *packet)
{
    struct flight *flight = session_flight(connection->session);
    if (flight && idset_has(&flight->received, packet->packet_id)) { /* [MQTT-4.3.3-10] */
        acknowledge(worker, connection, packet, REASON_SUCCESS, NULL);
        return false;
    }
    if (is_over_receive_maximum(worker, connection)) {
        connection_fault(worker, connection, &fault_receive_maximum);
        return false;
    }
    if (!flight || idset_add(&flight->received, packet->packet_id)) {
        report_refusal(worker, connection->session, DROP_MEMORY, NULL);
        connection_close_plain(worker, connection, CLOSE_MEMORY); /* 3.x knows no refusal */
        return false;
    }
    return true;
}

static struct publication publication_of_packet(struct worker *worker,
                                                struct connection *connection,
                                                const struct packet_publish *packet)
{
    return (struct publication){
        .topic = packet->topic,
        .properties = packet->properties,
        .properties_forwarded_bytes =
            packet->properties.len ? property_forwarded_bytes(packet->properties) : 0,
        .payload = packet->payload,
        .qos = packet->qos,
        .flags = packet->retain ? MESSAGE_RETAIN : 0,
        .expires_tick = packet->has_expiry ? expiry_tick(worker, packet->expiry_s) : 0,
        .publisher_id = session_id(connection->session),
    };
}

/* The whole packet, when it can be passed on as it is; else nothing. */
static struct slice passable_packet(struct worker *worker, const struct connection *connection,
                                    const struct packet_publish *packet, const struct frame *frame)
{
    bool is_plain = packet->qos == 0 && !packet->retain && packet->properties.len == 0 &&
                    !connection_listener(worker, connection)->mount_point;
    if (!is_plain)
        return slice_of(NULL, 0);
    return slice_of(frame->body.ptr + frame->body.len - frame->size, frame->size);
}

/* "$CONTROL/...": requests of admins. True when it was one (and was answered). */
static bool handle_control(struct worker *worker, struct connection *connection,
                           const struct packet_publish *packet)
{
    if (!slice_starts_with(packet->topic, SLICE_LIT("$CONTROL/")) || !worker->broker->hooks.control)
        return false;
    struct publication publication = publication_of_packet(worker, connection, packet);
    return worker->broker->hooks.control(worker, connection, &publication);
}

/* Routes it; returns the reason for the acknowledgement, and *text with one that refuses it. */
static uint8_t route_publish(struct worker *worker, struct connection *connection,
                             const struct frame *frame, struct packet_publish *packet,
                             const char **text)
{
    *text = NULL;
    if (handle_control(worker, connection, packet))
        return REASON_SUCCESS;
    const struct refusal *refusal = refuse_publish(worker, connection, packet);
    if (refusal) {
        report_refusal(worker, connection->session, refusal->why, refusal->text);
        *text = refusal->text;
        return refusal->reason;
    }
    struct publication publication = publication_of_packet(worker, connection, packet);
    publication.packet = passable_packet(worker, connection, packet, frame);
    publication.is_packet_v5 = connection->version == MQTT_5;
    uint32_t matched = publish_message(worker, connection, &publication);
    publication_fini(&publication);
    return matched ? REASON_SUCCESS : REASON_NO_MATCHING_SUBSCRIBERS;
}

void on_publish(struct worker *worker, struct connection *connection, const struct frame *frame)
{
    struct packet_publish packet;
    const struct fault *fault =
        decode_publish(frame->body, frame->flags, connection->version, &packet);
    if (!fault)
        fault = check_publish(worker, connection, &packet);
    if (fault) {
        connection_fault(worker, connection, fault);
        return;
    }
    struct session *session = connection->session;
    struct metrics *metrics = worker_metrics(worker);
    metric_add(metrics, METRIC_PUBLISH_RECEIVED, 1);
    metric_add(metrics, METRIC_PUBLISH_BYTES_RECEIVED, packet.payload.len);
    session->messages_in++;
    session->bytes_in += packet.payload.len;
    if (packet.qos == 2 && !receive_qos2(worker, connection, &packet))
        return;
    if (packet.qos == 1 && is_over_receive_maximum(worker, connection)) {
        connection_fault(worker, connection, &fault_receive_maximum);
        return;
    }
    const char *text;
    uint8_t reason = route_publish(worker, connection, frame, &packet, &text);
    if (packet.qos == 2 && reason >= 0x80)
        idset_remove(&session->flight->received, packet.packet_id); /* [MQTT-4.3.3-9] */
    acknowledge(worker, connection, &packet, reason, text);
}
