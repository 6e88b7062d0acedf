/*
 * dispatch.c: the table of packets and states. What is not legal is an entry too.
 */
#include "base/assert.h"
#include "conn/handlers.h"
#include "conn/input.h"
#include "conn/report.h"

static const struct fault fault_before_connect = {REASON_PROTOCOL_ERROR, "MQTT-3.1.0-1",
                                                  "the first packet is not CONNECT"};
static const struct fault fault_second_connect = {REASON_PROTOCOL_ERROR, "MQTT-3.1.0-2",
                                                  "a second CONNECT"};
static const struct fault fault_server_only = {REASON_PROTOCOL_ERROR, "2.1.2",
                                               "a packet that only a server sends"};
static const struct fault fault_while_authenticating = {
    REASON_PROTOCOL_ERROR, "MQTT-3.1.2-30", "only AUTH or DISCONNECT while authenticating"};

/* Closes without a word: nothing may be said before a CONNECT [MQTT-3.14.0-1]. */
static void before_connect(struct worker *worker, struct connection *connection,
                           const struct frame *frame)
{
    (void)frame;
    connection_fault(worker, connection, &fault_before_connect);
}

static void second_connect(struct worker *worker, struct connection *connection,
                           const struct frame *frame)
{
    (void)frame;
    connection_fault(worker, connection, &fault_second_connect);
}

static void server_only(struct worker *worker, struct connection *connection,
                        const struct frame *frame)
{
    (void)frame;
    connection_fault(worker, connection, &fault_server_only);
}

static void not_yet(struct worker *worker, struct connection *connection, const struct frame *frame)
{
    (void)frame;
    connection_fault(worker, connection, &fault_while_authenticating);
}

/* Row: packet. Columns: ACCEPTED, AUTHENTICATING, CONNECTED. */
static const struct {
    packet_handler accepted, authenticating, connected;
} handlers[PACKET_TYPE_COUNT] = {
    [PACKET_RESERVED] = {before_connect, not_yet, server_only},
    [PACKET_CONNECT] = {on_connect, not_yet, second_connect},
    [PACKET_CONNACK] = {before_connect, not_yet, server_only},
    [PACKET_PUBLISH] = {before_connect, not_yet, on_publish},
    [PACKET_PUBACK] = {before_connect, not_yet, on_puback},
    [PACKET_PUBREC] = {before_connect, not_yet, on_pubrec},
    [PACKET_PUBREL] = {before_connect, not_yet, on_pubrel},
    [PACKET_PUBCOMP] = {before_connect, not_yet, on_pubcomp},
    [PACKET_SUBSCRIBE] = {before_connect, not_yet, on_subscribe},
    [PACKET_SUBACK] = {before_connect, not_yet, server_only},
    [PACKET_UNSUBSCRIBE] = {before_connect, not_yet, on_unsubscribe},
    [PACKET_UNSUBACK] = {before_connect, not_yet, server_only},
    [PACKET_PINGREQ] = {before_connect, not_yet, on_pingreq},
    [PACKET_PINGRESP] = {before_connect, not_yet, server_only},
    [PACKET_DISCONNECT] = {before_connect, on_disconnect, on_disconnect},
    [PACKET_AUTH] = {before_connect, on_auth, on_auth},
};

void dispatch_packet(struct worker *worker, struct connection *connection,
                     const struct frame *frame)
{
    packet_handler handler;
    report_received(connection, frame);
    switch (connection->state) {
    case CONNECTION_CONNECTED:
        handler = handlers[frame->type].connected;
        break;
    case CONNECTION_ACCEPTED:
        handler = handlers[frame->type].accepted;
        break;
    default:
        BUG_ON(connection->state != CONNECTION_AUTHENTICATING);
        handler = handlers[frame->type].authenticating;
    }
    handler(worker, connection, frame);
}
