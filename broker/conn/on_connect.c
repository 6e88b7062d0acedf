/*
 * on_connect.c: CONNECT: checks in the order of section 3.1.4, then authentication, then the
 * session.
 */
#include "conn/handlers.h"

#include <stdio.h>
#include <sys/random.h>

#include "base/mem.h"
#include "conn/announced.h"
#include "conn/attach.h"
#include "conn/authenticate.h"
#include "conn/send.h"
#include "mqtt/topic.h"
#include "session/session.h"

#define AUTO_ID_RANDOM_BYTES 16u /* 128 bits that nobody can guess */
#define AUTO_ID_BYTES (CONFIG_AUTO_ID_PREFIX_MAX + 2 * AUTO_ID_RANDOM_BYTES + 1)

static bool is_keepalive_over(const struct config *config, const struct packet_connect *packet)
{
    uint16_t most = config->max_keepalive_s;
    return most && (packet->keepalive_s == 0 || packet->keepalive_s > most);
}

/* What the listener and the configuration say of this CONNECT: 0, or the reason and *text. */
static uint8_t check_policy(struct worker *worker, const struct connection *connection,
                            const struct packet_connect *packet, const char **text)
{
    const struct config *config = broker_config(worker->broker);
    const struct config_listener *listener = connection_listener(worker, connection);
    *text = NULL;
    if (!(listener->versions & (1u << packet->version))) {
        *text = "protocol version not accepted on this listener";
        return REASON_UNSUPPORTED_PROTOCOL_VERSION;
    }
    if (atomic_load_explicit(&worker->broker->is_draining, memory_order_relaxed)) {
        *text = "the server is shutting down";
        return config->server_reference ? REASON_USE_ANOTHER_SERVER : REASON_SERVER_UNAVAILABLE;
    }
    if (packet->version != MQTT_5 && is_keepalive_over(config, packet)) {
        *text = "keepalive above max_keepalive";
        return REASON_CLIENT_ID_NOT_VALID; /* 3.x has no code of its own: what mosquitto says */
    }
    if (packet->will.present && packet->will.qos > listener->qos_max) {
        *text = "will QoS above the maximum";
        return REASON_QOS_NOT_SUPPORTED; /* [MQTT-3.2.2-12] */
    }
    if (packet->will.present && packet->will.retain &&
        !announced_to(worker, connection)->has_retain) {
        *text = "will retain is not available";
        return REASON_RETAIN_NOT_SUPPORTED; /* [MQTT-3.2.2-13] */
    }
    if (packet->will.present && packet->will.topic.ptr[0] == '$') {
        *text = "will topic begins with '$'";
        return packet->version == MQTT_5 ? REASON_TOPIC_NAME_INVALID : REASON_NOT_AUTHORIZED;
    }
    return REASON_SUCCESS;
}

/* 16 bytes from the kernel, fetched some at a time. NULL: it has none to give. */
static const uint8_t *take_random(struct worker *worker)
{
    if (worker->random_left < AUTO_ID_RANDOM_BYTES) {
        if (getrandom(worker->random, sizeof(worker->random), 0) != sizeof(worker->random))
            return NULL;
        worker->random_left = sizeof(worker->random);
    }
    worker->random_left -= AUTO_ID_RANDOM_BYTES;
    return worker->random + worker->random_left;
}

/* A client id of our making: prefix and random bytes in hexadecimal. Empty: no random bytes. */
static struct slice make_id(struct worker *worker, const struct connection *connection,
                            char buffer[AUTO_ID_BYTES])
{
    const char *prefix = connection_listener(worker, connection)->auto_id_prefix;
    if (!prefix)
        prefix = broker_config(worker->broker)->auto_id_prefix;
    const uint8_t *random = take_random(worker);
    size_t bytes = prefix ? strlen(prefix) : 0;
    BUG_ON(bytes > CONFIG_AUTO_ID_PREFIX_MAX);
    if (!random)
        return slice_of(NULL, 0);
    if (bytes)
        memcpy(buffer, prefix, bytes);
    for (uint32_t i = 0; i < AUTO_ID_RANDOM_BYTES; i++, bytes += 2)
        snprintf(buffer + bytes, 3, "%02x", random[i]);
    return slice_of(buffer, bytes);
}

/* An id for a client that gave none, where that is allowed. 0, or the reason and *text. */
static uint8_t assign_id(struct worker *worker, const struct connection *connection,
                         const struct packet_connect *packet, char buffer[AUTO_ID_BYTES],
                         struct slice *id, const char **text)
{
    *text = "an empty client id is not allowed (allow_zero_length_clientid)";
    if (packet->version == MQTT_3_1)
        *text = "an empty client id is not allowed in MQTT 3.1";
    else if (packet->version == MQTT_3_1_1 && !packet->clean_start)
        *text = "an empty client id needs a clean session"; /* MQTT-3.1.3-8 of 3.1.1 */
    else if (connection_listener(worker, connection)->allow_zero_length_clientid)
        *text = NULL;
    if (*text)
        return REASON_CLIENT_ID_NOT_VALID;
    *id = make_id(worker, connection, buffer);
    *text = "no random numbers for a client id";
    return id->len ? 0 : REASON_SERVER_UNAVAILABLE;
}

/* Which id the session has: the client's or one of ours. 0, or the reason and *text. */
static uint8_t choose_id(struct worker *worker, const struct connection *connection,
                         const struct packet_connect *packet, char buffer[AUTO_ID_BYTES],
                         struct slice *id, const char **text)
{
    const char *prefix = broker_config(worker->broker)->clientid_prefixes;
    *id = packet->client_id;
    uint8_t reason = id->len ? 0 : assign_id(worker, connection, packet, buffer, id, text);
    if (reason)
        return reason;
    *text = "the client id does not begin as clientid_prefixes demands";
    return prefix && !slice_starts_with(*id, slice_str(prefix)) ? REASON_CLIENT_ID_NOT_VALID : 0;
}

/* The will as a message, mount point included. 0, or the reason. */
static uint8_t make_will(struct worker *worker, const struct connection *connection,
                         const struct packet_will *will, struct will **out)
{
    const char *mount = connection_listener(worker, connection)->mount_point;
    size_t mount_bytes = mount ? strlen(mount) : 0, topic_bytes = mount_bytes + will->topic.len;
    uint8_t *topic = mem_alloc(topic_bytes);
    struct will *made = mem_zalloc(sizeof(*made));
    if (!topic || !made || topic_bytes > MQTT_STRING_BYTES_MAX) {
        mem_free(topic);
        mem_free(made);
        return REASON_QUOTA_EXCEEDED;
    }
    if (mount)
        memcpy(topic, mount, mount_bytes);
    memcpy(topic + mount_bytes, will->topic.ptr, will->topic.len);
    struct publication publication = {
        .topic = slice_of(topic, topic_bytes),
        .properties = will->properties,
        .properties_forwarded_bytes =
            will->properties.len ? property_forwarded_bytes(will->properties) : 0,
        .payload = will->payload,
        .qos = will->qos,
        .flags = will->retain ? MESSAGE_RETAIN : 0,
    };
    made->message = publication_message(&publication); /* its reference passes to the will */
    mem_free(topic);
    if (!made->message) {
        mem_free(made);
        return REASON_QUOTA_EXCEEDED;
    }
    made->has_expiry = will->has_expiry;
    made->expiry_s = will->expiry_s;
    made->delay_s = will->delay_s;
    *out = made;
    return 0;
}

static void set_keepalive(struct worker *worker, const struct packet_connect *packet,
                          struct pending_connect *pending)
{
    const struct config *config = broker_config(worker->broker);
    pending->keepalive_s = packet->keepalive_s;
    if (is_keepalive_over(config, packet)) { /* of version 5, others were refused */
        pending->keepalive_s = config->max_keepalive_s;
        pending->is_keepalive_ours = true; /* [MQTT-3.1.2-21] */
    }
}

static void set_expiry(struct worker *worker, const struct packet_connect *packet,
                       struct pending_connect *pending)
{
    uint64_t most = broker_config(worker->broker)->persistent_client_expiration_s;
    pending->expiry_s = packet->session_expiry_s;
    if (most && most < packet->session_expiry_s) {
        pending->expiry_s = (uint32_t)most;
        pending->is_expiry_ours = packet->version == MQTT_5;
    }
}

/* What has to be remembered of CONNECT. NULL: no memory. */
static struct pending_connect *make_pending(struct worker *worker,
                                            const struct packet_connect *packet, struct slice id)
{
    size_t user_bytes = packet->has_user_name ? packet->user_name.len : 0;
    struct pending_connect *pending = mem_zalloc(sizeof(*pending) + id.len + user_bytes);
    if (!pending)
        return NULL;
    if (id.len)
        memcpy(pending->bytes, id.ptr, id.len);
    if (user_bytes)
        memcpy(pending->bytes + id.len, packet->user_name.ptr, user_bytes);
    pending->client_id = slice_of(pending->bytes, id.len);
    pending->user_name = slice_of(pending->bytes + id.len, user_bytes);
    pending->has_user_name = packet->has_user_name;
    pending->clean_start = packet->clean_start;
    pending->is_id_assigned = packet->client_id.len == 0;
    pending->wants_response_information = packet->request_response_information;
    set_keepalive(worker, packet, pending);
    set_expiry(worker, packet, pending);
    return pending;
}

static void take_limits(struct worker *worker, struct connection *connection,
                        const struct packet_connect *packet)
{
    uint16_t ours = connection_listener(worker, connection)->topic_alias_broker_max;
    announced_take(worker, connection);
    connection->packet_bytes_max = packet->packet_bytes_max;
    connection->receive_maximum = packet->receive_maximum;
    uint16_t most = packet->topic_alias_maximum < ours ? packet->topic_alias_maximum : ours;
    if (most && connection_rare(connection)) /* without memory there are no aliases */
        connection->rare->alias_max = most;
    connection->wants_problems = packet->request_problem_information;
}

/* Refuses a CONNECT that could not even be decoded. */
static void refuse_fault(struct worker *worker, struct connection *connection,
                         const struct fault *fault, const struct packet_connect *packet)
{
    uint8_t version = packet->version;
    bool is_version = fault->reason == REASON_UNSUPPORTED_PROTOCOL_VERSION;
    connection->version =
        version == MQTT_5 || is_version ? version : 0; /* 3.x: closed without CONNACK */
    if (packet->packet_bytes_max) /* it was read before the fault [MQTT-3.1.2-24] */
        connection->packet_bytes_max = packet->packet_bytes_max;
    if (packet->client_id.len) /* for the log; without memory it has none */
        connection->pending = make_pending(worker, packet, packet->client_id);
    if (connection->version)
        attach_refuse(worker, connection, fault->reason, fault->text);
    else
        connection_fault(worker, connection, fault);
}

/* Everything that can refuse a CONNECT before its user is looked at. 0, or the reason and *text. */
static uint8_t check_connect(struct worker *worker, struct connection *connection,
                             const struct packet_connect *packet, const char **text)
{
    char buffer[AUTO_ID_BYTES];
    struct slice id;
    const char *id_text;
    uint8_t id_reason = choose_id(worker, connection, packet, buffer, &id, &id_text);
    connection->pending = make_pending(worker, packet, id); /* first, as the log names it */
    *text = "no memory";
    if (!connection->pending)
        return REASON_QUOTA_EXCEEDED;
    uint8_t reason = check_policy(worker, connection, packet, text);
    if (!reason && id_reason) {
        reason = id_reason;
        *text = id_text;
    }
    if (reason || !packet->will.present)
        return reason;
    *text = "no memory for the will, or its topic is too long with the mount_point";
    return make_will(worker, connection, &packet->will, &connection->pending->will);
}

void on_connect(struct worker *worker, struct connection *connection, const struct frame *frame)
{
    struct packet_connect packet;
    const char *text;
    metric_add(worker_metrics(worker), METRIC_CONNECT_RECEIVED, 1);
    const struct fault *fault = decode_connect(frame->body, &packet);
    if (fault) {
        refuse_fault(worker, connection, fault, &packet);
        return;
    }
    connection->version = packet.version;
    take_limits(worker, connection, &packet);
    /* Three strings of 64 KiB at most: whoever has a session may bring them above memory_limit too;
       others are refused when it turns out that they have none. */
    if (!memory_reserve_has_room(worker, 0)) {
        attach_refuse(worker, connection, REASON_QUOTA_EXCEEDED, "memory_limit is reached");
        return;
    }
    uint8_t reason = check_connect(worker, connection, &packet, &text);
    if (reason)
        attach_refuse(worker, connection, reason, text);
    else
        authenticate_connect(worker, connection, &packet);
}
