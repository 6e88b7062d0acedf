/*
 * report.h: lines of the log about messages that are dropped and packets that come and go.
 *
 * Dropped: a session's drops are counted here, and told at most once in REPORT_QUIET_S seconds for
 * each session, the first of a kind at once. Limits that an operator can raise are notices, what
 * happens by the rules (expiry, QoS 0 for who is away) is debug.
 * Packets: lines of type debug, as mosquitto's; never held back, so that what an operator asked for
 * is whole.
 *
 * Threads: the session's or connection's reactor. Cost: nothing on the way of a message that is not
 * dropped; with debug off one load and a branch for each packet.
 */
#ifndef CONN_REPORT_H
#define CONN_REPORT_H

#include "base/slice.h"
#include "conn/broker.h"
#include "conn/connection.h"
#include "mqtt/frame.h"
#include "runtime/log.h"
#include "runtime/metrics.h"

#define REPORT_QUIET_S 10u

struct publish_form;
struct send_options;

/* Counts a message that this session's client did not get, and says so. */
void report_drop(struct worker *worker, struct session *session, enum drop_reason reason);
/* The same for QoS 0 messages that were given to a connection, which ends before they are written;
   NULL: the session has gone from it already. */
void report_unsent(struct worker *worker, struct session *session, uint32_t count);
/* The same for one of this session's client that was not let in; `text`: why, NULL for the usual. */
void report_refusal(struct worker *worker, struct session *session, enum drop_reason reason,
                    const char *text);
/* The same for messages on their way to nobody in particular. */
void report_loss(struct worker *worker, enum drop_reason reason, uint32_t count);

/* Says when publishers begin and end to wait for memory; called every tick by reactor 0. */
void report_memory(struct worker *worker);

/* A packet from the client, whole; and one to it. Call them through the macros below. */
void report_received_packet(const struct connection *connection, const struct frame *frame);
void report_sent_packet(const struct connection *connection, const uint8_t *packet, size_t bytes);
void report_sent_publish(const struct connection *connection, const struct publication *publication,
                         const struct send_options *options);

#define REPORT_DEBUG(what, ...)              \
    do {                                     \
        if (UNLIKELY(log_is_on(LOG_DEBUG_))) \
            what(__VA_ARGS__);               \
    } while (0)
#define report_received(...) REPORT_DEBUG(report_received_packet, __VA_ARGS__)
#define report_sent(...) REPORT_DEBUG(report_sent_packet, __VA_ARGS__)
#define report_published(...) REPORT_DEBUG(report_sent_publish, __VA_ARGS__)

#endif
