/*
 * on_ack.c: acknowledgements from clients, and PINGREQ.
 */
#include "conn/again.h"
#include "conn/deliver.h"
#include "conn/handlers.h"
#include "conn/report.h"
#include "conn/send.h"
#include "mqtt/encode.h"
#include "session/session.h"

/* Decodes; on a fault closes and returns false. */
static bool read_ack(struct worker *worker, struct connection *connection,
                     const struct frame *frame, struct packet_ack *ack)
{
    const struct fault *fault = decode_ack(frame->body, frame->type, connection->version, ack);
    if (fault)
        connection_fault(worker, connection, fault);
    return !fault;
}

static struct inflight_entry *find_inflight(struct connection *connection, uint16_t packet_id)
{
    struct flight *flight = connection->session->flight;
    return flight ? inflight_find(&flight->inflight, packet_id) : NULL;
}

/* The handshake of a message is over: room for the next. */
static void finish(struct worker *worker, struct session *session, struct inflight_entry *entry,
                   uint8_t reason)
{
    struct metrics *metrics = worker_metrics(worker);
    if (entry->delivery.message) {
        metric_add(metrics, METRIC_STORED_MESSAGES, (uint64_t)-1);
        metric_add(metrics, METRIC_STORED_BYTES,
                   (uint64_t) - (int64_t)entry->delivery.message->payload_bytes);
    }
    if (reason >= 0x80)
        report_drop(worker, session,
                    DROP_REFUSED_BY_CLIENT); /* settled all the same [MQTT-4.4.0-2] */
    inflight_remove(&session->flight->inflight, entry);
    deliver_pump(worker, session);
    struct connection *connection = session->sink;
    if (connection && connection->wants_drained && connection->state == CONNECTION_CONNECTED)
        again_add(worker, connection);
}

void on_puback(struct worker *worker, struct connection *connection, const struct frame *frame)
{
    struct packet_ack ack;
    if (!read_ack(worker, connection, frame, &ack))
        return;
    struct inflight_entry *entry = find_inflight(connection, ack.packet_id);
    if (entry && entry->state == INFLIGHT_AWAIT_PUBACK)
        finish(worker, connection->session, entry, ack.reason);
}

void on_pubrec(struct worker *worker, struct connection *connection, const struct frame *frame)
{
    struct packet_ack ack;
    if (!read_ack(worker, connection, frame, &ack))
        return;
    struct inflight_entry *entry = find_inflight(connection, ack.packet_id);
    if (!entry || entry->state == INFLIGHT_AWAIT_PUBACK) {
        if (ack.reason < 0x80)
            send_ack(worker, connection, PACKET_PUBREL, ack.packet_id, REASON_PACKET_ID_NOT_FOUND,
                     NULL);
        return;
    }
    if (ack.reason >= 0x80) {
        finish(worker, connection->session, entry, ack.reason);
        return;
    }
    if (entry->delivery.message) {
        struct metrics *metrics = worker_metrics(worker);
        metric_add(metrics, METRIC_STORED_MESSAGES, (uint64_t)-1);
        metric_add(metrics, METRIC_STORED_BYTES,
                   (uint64_t) - (int64_t)entry->delivery.message->payload_bytes);
        inflight_release_message(&connection->session->flight->inflight, entry);
    }
    entry->state = INFLIGHT_AWAIT_PUBCOMP;
    entry->is_sent = true; /* also one of an earlier connection: not to be sent again */
    send_ack(worker, connection, PACKET_PUBREL, ack.packet_id, REASON_SUCCESS,
             NULL); /* [MQTT-4.3.3-4] */
}

void on_pubrel(struct worker *worker, struct connection *connection, const struct frame *frame)
{
    struct packet_ack ack;
    if (!read_ack(worker, connection, frame, &ack))
        return;
    struct flight *flight = connection->session->flight;
    bool is_known = flight && idset_remove(&flight->received, ack.packet_id);
    send_ack(worker, connection, PACKET_PUBCOMP, ack.packet_id,
             is_known ? REASON_SUCCESS : REASON_PACKET_ID_NOT_FOUND, NULL); /* [MQTT-4.3.3-11] */
}

void on_pubcomp(struct worker *worker, struct connection *connection, const struct frame *frame)
{
    struct packet_ack ack;
    if (!read_ack(worker, connection, frame, &ack))
        return;
    struct inflight_entry *entry = find_inflight(connection, ack.packet_id);
    if (entry && entry->state == INFLIGHT_AWAIT_PUBCOMP)
        finish(worker, connection->session, entry, REASON_SUCCESS);
}

void on_pingreq(struct worker *worker, struct connection *connection, const struct frame *frame)
{
    const struct fault *fault = decode_empty(frame->body);
    if (fault) {
        connection_fault(worker, connection, fault);
        return;
    }
    uint8_t packet[2];
    send_packet(worker, connection, packet, encode_pingresp(packet, sizeof(packet)));
}
