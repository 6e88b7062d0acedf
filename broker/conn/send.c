/*
 * send.c: see send.h.
 *
 * A QoS 0 packet without properties is passed on as it came where it can be. Other small
 * publications are encoded once per form (version, QoS, flags, subscription id, expiry) and
 * copied to each further subscriber that wants the same form; only the packet id is patched.
 * Payloads from OUTPUT_REFERENCE_BYTES on are referenced in the message, not copied.
 */
#include "conn/send.h"

#include "base/mem.h"
#include "conn/aliases.h"
#include "conn/deliver.h"
#include "conn/output.h"
#include "conn/report.h"
#include "mqtt/encode.h"

#define FORM_BYTES_MAX 1024u
#define FORM_ENTRIES 4u

struct form_key {
    uint64_t serial;
    uint32_t subscription_id;
    uint8_t version, qos, flags, listener;
};

struct form_entry {
    struct form_key key;
    uint32_t bytes, packet_id_at;
    uint8_t packet[FORM_BYTES_MAX];
};

struct form_cache {
    struct form_entry entries[FORM_ENTRIES];
    uint32_t next;
};

struct form_cache *form_cache_new(void)
{
    return mem_must_zalloc(sizeof(struct form_cache));
}

void form_cache_free(struct form_cache *cache)
{
    mem_free(cache);
}

static bool key_eq(const struct form_key *a, const struct form_key *b)
{
    return a->serial == b->serial && a->subscription_id == b->subscription_id &&
           a->version == b->version && a->qos == b->qos && a->flags == b->flags &&
           a->listener == b->listener;
}

static void count_publish(struct worker *worker, struct connection *connection, uint8_t qos,
                          uint32_t payload_bytes)
{
    struct metrics *metrics = worker_metrics(worker);
    metric_add(metrics, METRIC_MESSAGES_SENT, 1);
    metric_add(metrics, METRIC_PUBLISH_SENT, 1);
    metric_add(metrics, METRIC_PUBLISH_BYTES_SENT, payload_bytes);
    connection->out_publishes += qos == 0;
}

/* Piled up in one turn: better written now than later. Where nothing can be written, its share groups
   ask others before it gets too much. */
static void write_if_much(struct worker *worker, struct connection *connection)
{
    if (UNLIKELY(connection->is_blocked))
        deliver_update_ready(worker, connection->session);
    else if (connection->out_bytes > worker->output_flush_bytes)
        output_write(worker, connection);
}

/* The topic as this connection's clients see it: without the listener's mount point. Empty when they
   do not: "site/#" matches "site" and "site/" too, which are not below "site/". */
static struct slice visible_topic(struct worker *worker, const struct connection *connection,
                                  struct slice topic)
{
    const char *mount = connection_listener(worker, connection)->mount_point;
    if (LIKELY(!mount))
        return topic;
    struct slice prefix = slice_str(mount);
    return slice_starts_with(topic, prefix) ? slice_skip(topic, prefix.len) : slice_of(NULL, 0);
}

static bool copy_form(struct worker *worker, struct connection *connection,
                      const struct form_entry *entry, uint16_t packet_id)
{
    uint8_t *at = output_reserve(worker, connection, entry->bytes);
    if (!at)
        return false;
    memcpy(at, entry->packet, entry->bytes);
    if (entry->packet_id_at) {
        at[entry->packet_id_at] = (uint8_t)(packet_id >> 8);
        at[entry->packet_id_at + 1] = (uint8_t)packet_id;
    }
    output_commit(worker, connection, entry->bytes);
    return true;
}

/* A small packet: whole in one piece, straight into the output. */
static bool send_small(struct worker *worker, struct connection *connection,
                       const struct publish_form *form, uint32_t total, struct slice payload)
{
    uint8_t *at = output_reserve(worker, connection, total);
    if (!at)
        return false;
    uint32_t head = encode_publish_head(at, form, NULL);
    if (payload.len)
        memcpy(at + head, payload.ptr, payload.len);
    output_commit(worker, connection, total);
    return true;
}

/* A large one: the head copied, the payload referenced when there is a message to refer to. */
static bool send_large(struct worker *worker, struct connection *connection,
                       struct publication *publication, const struct publish_form *form,
                       uint32_t total)
{
    uint32_t head = total - form->payload_bytes;
    struct message *message = publication->payload.len >= OUTPUT_REFERENCE_BYTES
                                  ? publication_message(publication)
                                  : NULL;
    uint8_t *buffer = mem_alloc(head);
    if (!buffer)
        return false;
    encode_publish_head(buffer, form, NULL);
    bool ok = output_append(worker, connection, buffer, head);
    mem_free(buffer);
    if (ok && message)
        ok = output_refer(worker, connection, message, message_payload(message));
    else if (ok && publication->payload.len)
        ok = output_append(worker, connection, publication->payload.ptr,
                           (uint32_t)publication->payload.len);
    if (!ok) { /* half a packet cannot be taken back, and nothing may follow it */
        output_give_up(worker, connection);
        connection_close_plain(worker, connection, CLOSE_MEMORY);
    }
    return ok;
}

static void fill_form(struct worker *worker, struct connection *connection,
                      const struct publication *publication, const struct send_options *options,
                      struct publish_form *form)
{
    *form = (struct publish_form){
        .version = connection->version,
        .qos = options->qos,
        .dup = options->dup,
        .retain = options->retain,
        .packet_id = options->packet_id,
        .topic = visible_topic(worker, connection, publication->topic),
        .payload_bytes = (uint32_t)publication->payload.len,
    };
    if (connection->version != MQTT_5)
        return;
    form->subscription_ids = options->subscription_ids;
    form->subscription_id_count = options->subscription_id_count;
    form->properties = publication->properties;
    form->properties_forwarded_bytes = publication->properties_forwarded_bytes;
    if (publication->expires_tick) {
        form->has_expiry = true;
        form->expiry_s = expiry_left_s(worker, publication->expires_tick);
    }
}

/* A topic alias for this delivery, if the peer takes any [MQTT-3.1.2-26]. The size check comes
   first: an alias is set only by a packet that is really sent. */
static void form_set_alias(struct connection *connection, struct publish_form *form)
{
    bool is_known;
    form->topic_alias = aliases_out(&connection->rare->aliases, connection->rare->alias_max,
                                    form->topic, &is_known);
    if (form->topic_alias && is_known)
        form->topic = slice_of(NULL, 0);
}

static enum send_result send_form(struct worker *worker, struct connection *connection,
                                  struct publication *publication, struct publish_form *form)
{
    if (UNLIKELY(form->topic.len == 0))
        return SEND_NOT_VISIBLE;
    uint32_t total = encode_publish_bytes(form);
    bool has_alias = connection_alias_max(connection) && connection->version == MQTT_5;
    if (total > connection->packet_bytes_max ||
        (has_alias && total + 5 > connection->packet_bytes_max))
        has_alias = false;
    if (total > connection->packet_bytes_max)
        return SEND_TOO_LARGE;
    if (has_alias) {
        form_set_alias(connection, form);
        total = encode_publish_bytes(form);
    }
    bool is_small = total <= CHUNK_ROOM && form->payload_bytes < OUTPUT_REFERENCE_BYTES;
    bool ok = is_small ? send_small(worker, connection, form, total, publication->payload)
                       : send_large(worker, connection, publication, form, total);
    if (!ok && form->topic_alias && form->topic.len)
        aliases_out_undo(connection->rare->aliases);
    return ok ? SEND_OK : SEND_NO_MEMORY;
}

/* Encodes into the cache for the subscribers that follow. NULL when the form is too large for it.
 */
static struct form_entry *cache_form(struct form_cache *cache, const struct form_key *key,
                                     const struct publish_form *form, struct slice payload)
{
    uint32_t total = encode_publish_bytes(form);
    if (total > FORM_BYTES_MAX)
        return NULL;
    struct form_entry *entry = &cache->entries[cache->next++ % FORM_ENTRIES];
    entry->key = *key;
    entry->bytes = total;
    uint32_t head = encode_publish_head(entry->packet, form, &entry->packet_id_at);
    if (payload.len)
        memcpy(entry->packet + head, payload.ptr, payload.len);
    return entry;
}

static struct form_entry *find_form(struct form_cache *cache, const struct form_key *key)
{
    for (uint32_t i = 0; i < FORM_ENTRIES; i++) {
        if (key_eq(&cache->entries[i].key, key))
            return &cache->entries[i];
    }
    return NULL;
}

/* Through the cache; used when a publication has several subscribers. */
static enum send_result send_cached(struct worker *worker, struct connection *connection,
                                    struct publication *publication,
                                    const struct send_options *options)
{
    struct form_key key = {
        .serial = worker->publish_serial,
        .subscription_id = options->subscription_id_count ? options->subscription_ids[0] : 0,
        .version = connection->version,
        .qos = options->qos,
        .flags = options->retain,
        .listener = connection->listener,
    };
    struct form_entry *entry = find_form(worker->forms, &key);
    if (!entry) {
        struct publish_form form;
        fill_form(worker, connection, publication, options, &form);
        if (UNLIKELY(form.topic.len == 0))
            return SEND_NOT_VISIBLE;
        entry = cache_form(worker->forms, &key, &form, publication->payload);
        if (!entry)
            return send_form(worker, connection, publication, &form);
    }
    if (entry->bytes > connection->packet_bytes_max)
        return SEND_TOO_LARGE;
    return copy_form(worker, connection, entry, options->packet_id) ? SEND_OK : SEND_NO_MEMORY;
}

/* Whether the packet as its publisher sent it is what this subscriber gets. */
static bool can_pass_on(struct worker *worker, const struct connection *connection,
                        const struct publication *publication, const struct send_options *options)
{
    return publication->packet.len && options->qos == 0 && !options->retain &&
           options->subscription_id_count == 0 &&
           (connection->version == MQTT_5) == publication->is_packet_v5 &&
           publication->packet.len <= connection->packet_bytes_max &&
           publication->payload.len < OUTPUT_REFERENCE_BYTES &&
           publication->packet.len <= CHUNK_ROOM && connection_alias_max(connection) == 0 &&
           !connection_listener(worker, connection)->mount_point;
}

static enum send_result pass_on(struct worker *worker, struct connection *connection,
                                struct slice packet)
{
    uint8_t *at = output_reserve(worker, connection, (uint32_t)packet.len);
    if (!at)
        return SEND_NO_MEMORY;
    memcpy(at, packet.ptr, packet.len);
    output_commit(worker, connection, (uint32_t)packet.len);
    worker->passed.here = connection;
    return SEND_OK;
}

enum send_result send_publish(struct worker *worker, struct connection *connection,
                              struct publication *publication, const struct send_options *options)
{
    bool has_alias = connection_alias_max(connection) && connection->version == MQTT_5;
    bool is_cacheable =
        worker->is_spreading && !has_alias && !options->dup && options->subscription_id_count <= 1;
    enum send_result result;
    if (can_pass_on(worker, connection, publication, options)) {
        result = pass_on(worker, connection, publication->packet);
    } else if (is_cacheable) {
        result = send_cached(worker, connection, publication, options);
    } else {
        struct publish_form form;
        fill_form(worker, connection, publication, options, &form);
        result = send_form(worker, connection, publication, &form);
    }
    if (result == SEND_OK) {
        report_published(connection, publication, options);
        count_publish(worker, connection, options->qos, (uint32_t)publication->payload.len);
        write_if_much(worker, connection);
    }
    return result;
}

void send_packet(struct worker *worker, struct connection *connection, const uint8_t *packet,
                 size_t bytes)
{
    if (bytes == 0)
        return;
    if (!output_append(worker, connection, packet, (uint32_t)bytes)) {
        connection_close_plain(worker, connection, CLOSE_MEMORY);
        return;
    }
    report_sent(connection, packet, bytes);
    metric_add(worker_metrics(worker), METRIC_MESSAGES_SENT, 1);
}

void send_ack(struct worker *worker, struct connection *connection, uint8_t type,
              uint16_t packet_id, uint8_t reason, const char *text)
{
    struct slice reason_string =
        text && connection->wants_problems ? slice_str(text) : slice_of(NULL, 0);
    uint32_t room = ENCODE_ACK_BYTES_MAX + (uint32_t)reason_string.len + 16;
    uint8_t *at = output_reserve(worker, connection, room);
    if (!at) {
        connection_close_plain(worker, connection, CLOSE_MEMORY);
        return;
    }
    size_t bytes = encode_ack(at, room, connection->version, connection->packet_bytes_max, type,
                              packet_id, reason, reason_string);
    report_sent(connection, at, bytes);
    output_commit(worker, connection, (uint32_t)bytes);
    metric_add(worker_metrics(worker), METRIC_MESSAGES_SENT, 1);
}
