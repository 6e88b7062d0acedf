/*
 * report.c: see report.h.
 */
#include "conn/report.h"

#include <stdio.h>

#include "base/assert.h"
#include "base/mem.h"
#include "conn/send.h"
#include "mqtt/packet.h"
#include "mqtt/version.h"
#include "session/session.h"

#define DETAIL_BYTES 256u

/* ---- dropped messages ---- */

/* What an operator can do about it. Those without advice are no limits. */
static const char *const advice_of[DROP_COUNT] = {
    [DROP_QUEUE_MESSAGES] = "max_queued_messages is reached; raise it, or see why the client is "
                            "away or slow",
    [DROP_QUEUE_BYTES] = "max_queued_bytes is reached; raise it, or see why the client is away or "
                         "slow",
    [DROP_SLOW_QOS0] = "QoS 0 for a client that reads too slowly; raise max_queued_messages or "
                       "max_queued_bytes, or see why it is slow",
    [DROP_TOO_LARGE] = "larger than the Maximum Packet Size of the client",
    [DROP_NOT_AUTHORIZED] = "not authorized",
    [DROP_MEMORY] = "memory_limit is reached, or there is no memory; raise memory_limit",
    [DROP_NO_SHARED_MEMBER] = "no member of the shared subscription could take it",
    [DROP_REFUSED_BY_CLIENT] = "the client acknowledged with an error",
    [DROP_MESSAGE_SIZE] = "larger than message_size_limit; raise it",
    [DROP_TOPIC_LIMIT] = "topic too long or too deep with the mount_point of its listener",
};

static const char *drop_text(enum drop_reason reason)
{
    return advice_of[reason] ? advice_of[reason] : "by the rules";
}

/* Counts; true when it is to be told. */
static bool drop_count(struct worker *worker, struct session *session, enum drop_reason reason,
                       uint32_t count)
{
    uint32_t type = advice_of[reason] ? LOG_NOTICE_ : LOG_DEBUG_;
    uint32_t now_s = worker->reactor->now_s;
    uint64_t spare = broker_config(worker->broker)->memory_limit_bytes / 16;
    session_count_drops(session, worker_metrics(worker), reason, count,
                        reason != DROP_MEMORY && memory_has_room(worker, spare));
    if (!log_is_on(type))
        return false;
    struct flight *flight = session->flight;
    if (!flight)
        return true;
    if (flight->dropped[reason] != count && now_s - flight->drop_told_s < REPORT_QUIET_S)
        return false;
    flight->drop_told_s = now_s;
    return true;
}

static const char *session_address(const struct session *session,
                                   char buffer[CONNECTION_ADDRESS_BYTES])
{
    return session->sink ? connection_address(session->sink, buffer) : "not connected";
}

/* A macro, so that each line has a site of its own. */
#define SAY_DROP(type, what, session, reason, text)                                     \
    do {                                                                                \
        char address[CONNECTION_ADDRESS_BYTES];                                         \
        const struct flight *flight = (session)->flight;                                \
        log_line(type, what " client %.*s (%s) are dropped: %s: %s (%u so far).",       \
                 SLICE_ARG(session_id(session)), session_address(session, address),     \
                 drop_reason_name(reason), text, flight ? flight->dropped[reason] : 1); \
    } while (0)

__attribute__((cold)) void report_drop(struct worker *worker, struct session *session,
                                       enum drop_reason reason)
{
    if (!drop_count(worker, session, reason, 1))
        return;
    if (advice_of[reason])
        SAY_DROP(LOG_NOTICE_, "Messages for", session, reason, drop_text(reason));
    else
        SAY_DROP(LOG_DEBUG_, "Messages for", session, reason, drop_text(reason));
}

__attribute__((cold)) void report_unsent(struct worker *worker, struct session *session,
                                         uint32_t count)
{
    if (!session)
        metric_drop_many(worker_metrics(worker), DROP_UNSENT_QOS0, count);
    else if (drop_count(worker, session, DROP_UNSENT_QOS0, count))
        SAY_DROP(LOG_DEBUG_, "Messages for", session, DROP_UNSENT_QOS0,
                 drop_text(DROP_UNSENT_QOS0));
}

__attribute__((cold)) void report_refusal(struct worker *worker, struct session *session,
                                          enum drop_reason reason, const char *text)
{
    if (drop_count(worker, session, reason, 1))
        SAY_DROP(LOG_NOTICE_, "Messages of", session, reason, text ? text : drop_text(reason));
}

__attribute__((cold)) void report_loss(struct worker *worker, enum drop_reason reason,
                                       uint32_t count)
{
    struct metrics *metrics = worker_metrics(worker);
    metric_counter_add(&metrics->dropped[reason], count);
    metric_add(metrics, METRIC_PUBLISH_DROPPED, count);
    if (worker->loss_told_s && worker->reactor->now_s - worker->loss_told_s < REPORT_QUIET_S)
        return;
    worker->loss_told_s = worker->reactor->now_s;
    log_line(LOG_NOTICE_, "Messages on their way are dropped: %s: %s.", drop_reason_name(reason),
             drop_text(reason));
}

/* ---- memory ---- */

void report_memory(struct worker *worker)
{
    uint64_t limit = broker_config(worker->broker)->memory_limit_bytes, used = mem_used_bytes();
    uint64_t end = limit / 8 * 7; /* below where it begins, so that it is not told all the time */
    if (!worker->is_memory_told && limit && used > limit / 16 * 15)
        log_line(LOG_WARNING_,
                 "Memory is short: %llu of %llu bytes (memory_limit) are in use; publishers are "
                 "read only now and then until there are less.",
                 (unsigned long long)used, (unsigned long long)limit);
    else if (worker->is_memory_told && (!limit || used < end))
        log_line(LOG_NOTICE_,
                 "Memory is no longer short: %llu of %llu bytes (memory_limit) are in "
                 "use; publishers go on.",
                 (unsigned long long)used, (unsigned long long)limit);
    else
        return;
    worker->is_memory_told = !worker->is_memory_told;
}

/* ---- packets ---- */

static unsigned byte_at(struct slice body, size_t at)
{
    return body.len > at ? body.ptr[at] : 0;
}

static unsigned packet_id_of(struct slice body)
{
    return byte_at(body, 0) << 8 | byte_at(body, 1);
}

/* What is in a packet other than PUBLISH, as " (...)"; "" for what says no more than its name. */
static void describe(uint8_t type, struct slice body, char text[DETAIL_BYTES])
{
    text[0] = 0;
    switch (type) {
    case PACKET_PUBACK:
    case PACKET_PUBREC:
    case PACKET_PUBREL:
    case PACKET_PUBCOMP:
        snprintf(text, DETAIL_BYTES, " (m%u, rc%u)", packet_id_of(body), byte_at(body, 2));
        return;
    case PACKET_SUBSCRIBE:
    case PACKET_SUBACK:
    case PACKET_UNSUBSCRIBE:
    case PACKET_UNSUBACK:
        snprintf(text, DETAIL_BYTES, " (m%u)", packet_id_of(body));
        return;
    case PACKET_CONNACK:
        snprintf(text, DETAIL_BYTES, " (%u, %u)", byte_at(body, 0), byte_at(body, 1));
        return;
    case PACKET_DISCONNECT:
    case PACKET_AUTH:
        snprintf(text, DETAIL_BYTES, " (rc%u)", byte_at(body, 0));
        return;
    default:
        return;
    }
}

static void say_publish(const char *what, const struct connection *connection,
                        const struct packet_publish *packet)
{
    log_line(LOG_DEBUG_, "%s %.*s (d%d, q%u, r%d, m%u, '%.*s', ... (%zu bytes))", what,
             SLICE_ARG(connection_client_id(connection)), packet->dup, packet->qos, packet->retain,
             packet->packet_id, SLICE_ARG(packet->topic), packet->payload.len);
}

void report_received_packet(const struct connection *connection, const struct frame *frame)
{
    struct packet_publish packet;
    char text[DETAIL_BYTES], address[CONNECTION_ADDRESS_BYTES];
    if (frame->type == PACKET_PUBLISH &&
        !decode_publish(frame->body, frame->flags, connection->version, &packet)) {
        say_publish("Received PUBLISH from", connection, &packet);
        return;
    }
    describe(frame->type, frame->body, text);
    if (frame->type == PACKET_CONNECT)
        log_line(LOG_DEBUG_, "Received CONNECT from %s", connection_address(connection, address));
    else
        log_line(LOG_DEBUG_, "Received %s from %.*s%s", packet_type_name(frame->type),
                 SLICE_ARG(connection_client_id(connection)), text);
}

void report_sent_packet(const struct connection *connection, const uint8_t *packet, size_t bytes)
{
    char text[DETAIL_BYTES];
    size_t head = 2;
    while (head < bytes && packet[head - 1] & 0x80)
        head++;
    if (bytes < head)
        return;
    describe(packet[0] >> 4, slice_of(packet + head, bytes - head), text);
    log_line(LOG_DEBUG_, "Sending %s to %.*s%s", packet_type_name(packet[0] >> 4),
             SLICE_ARG(connection_client_id(connection)), text);
}

void report_sent_publish(const struct connection *connection, const struct publication *publication,
                         const struct send_options *options)
{
    const struct packet_publish packet = {
        .topic = publication->topic,
        .payload = publication->payload,
        .qos = options->qos,
        .dup = options->dup,
        .retain = options->retain,
        .packet_id = options->packet_id,
    };
    say_publish("Sending PUBLISH to", connection, &packet);
}
