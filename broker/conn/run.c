/*
 * run.c: see run.h.
 *
 *   first packet   30 | length | topic | (5.0: no properties) | payload
 *   the next ones  30 | length | the same bytes               | payload       ... -> one piece
 *
 * Cost: some 60 instructions a packet, of which the comparison of the topic is a third; the long way
 * takes 1,200.
 */
#include "conn/run.h"

#include "base/assert.h"
#include "conn/input.h"
#include "conn/output.h"
#include "runtime/log.h"
#include "session/session.h"

/* What a run may not exceed, so that no packet of it meets a limit. */
struct run_limits {
    uint32_t packets, bytes; /* in all */
    uint32_t packet_bytes;   /* of one */
    uint32_t payload_bytes;
};

struct run {
    uint32_t packets, bytes;
    uint64_t payload_bytes;
};

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Limits that are 0 are none. */
static uint32_t smaller_unless_0(uint32_t a, uint32_t limit)
{
    return limit ? smaller(a, limit) : a;
}

/* How much more the output of `to` takes before is_too_slow() of deliver.c would look twice. */
static void limit_output(struct worker *worker, const struct connection *to,
                         struct run_limits *limits)
{
    const struct config *config = broker_config(worker->broker);
    uint32_t bytes = smaller_unless_0(worker->output_flush_bytes, config->max_queued_bytes);
    uint32_t packets = RUN_PACKETS_MAX;
    if (config->max_queued_messages)
        packets = config->max_queued_messages > to->out_publishes
                      ? smaller(packets, config->max_queued_messages - to->out_publishes)
                      : 0;
    limits->packets = packets;
    limits->bytes = to->out_bytes < bytes ? bytes - to->out_bytes : 0;
}

static struct run_limits run_limits_of(struct worker *worker, const struct connection *connection,
                                       const struct connection *to)
{
    const struct config *config = broker_config(worker->broker);
    struct run_limits limits;
    limit_output(worker, to, &limits);
    limits.packet_bytes = smaller_unless_0(smaller(CHUNK_ROOM, to->packet_bytes_max),
                                           input_packet_bytes_max(worker, connection));
    limits.payload_bytes = smaller_unless_0(OUTPUT_REFERENCE_BYTES - 1, config->message_bytes_max);
    return limits;
}

/* Adds the packet at the start of `in` to the run if it begins with `first` and, after its length,
   with `head`. */
static inline bool run_add(struct run *run, struct slice in, uint8_t first, struct slice head,
                           const struct run_limits *limits)
{
    if (in.len < 3 || in.ptr[0] != first)
        return false;
    uint32_t at = 2, body = in.ptr[1];
    if (body & 0x80) {
        if (in.ptr[2] & 0x80 || in.ptr[2] == 0)
            return false;
        body = (body & 0x7F) | (uint32_t)in.ptr[2] << 7;
        at = 3;
    }
    uint32_t size = at + body;
    if (size > in.len || size > limits->packet_bytes || size > limits->bytes - run->bytes ||
        body < head.len || body - head.len > limits->payload_bytes ||
        memcmp(in.ptr + at, head.ptr, head.len) != 0)
        return false;
    run->packets++;
    run->bytes += size;
    run->payload_bytes += body - head.len;
    return true;
}

static void count_run(struct worker *worker, struct connection *connection, struct connection *to,
                      const struct run *run)
{
    struct metrics *metrics = worker_metrics(worker);
    metric_add(metrics, METRIC_MESSAGES_RECEIVED, run->packets);
    metric_add(metrics, METRIC_PUBLISH_RECEIVED, run->packets);
    metric_add(metrics, METRIC_PUBLISH_BYTES_RECEIVED, run->payload_bytes);
    metric_add(metrics, METRIC_MESSAGES_SENT, run->packets);
    metric_add(metrics, METRIC_PUBLISH_SENT, run->packets);
    metric_add(metrics, METRIC_PUBLISH_BYTES_SENT, run->payload_bytes);
    connection->session->messages_in += run->packets;
    connection->session->bytes_in += run->payload_bytes;
    to->session->messages_out += run->packets;
    to->session->bytes_out += run->payload_bytes;
    to->out_publishes += run->packets;
}

/* What the packets of a run have in common after their length: the topic, and that there are no
   properties. */
static struct slice run_head(const struct connection *connection, const struct frame *frame)
{
    uint32_t topic_bytes = (uint32_t)frame->body.ptr[0] << 8 | frame->body.ptr[1];
    return slice_of(frame->body.ptr, 2 + topic_bytes + (connection->version == MQTT_5));
}

size_t run_follow(struct worker *worker, struct connection *connection, const struct frame *frame,
                  struct slice in)
{
    struct connection *to = worker->passed_to;
    struct run run = {0};
    if (connection->state != CONNECTION_CONNECTED || to->state != CONNECTION_CONNECTED ||
        connection->hold || to->is_blocked || log_is_on(LOG_DEBUG_))
        return 0;
    struct run_limits limits = run_limits_of(worker, connection, to);
    struct slice head = run_head(connection, frame);
    uint8_t first = (uint8_t)(frame->type << 4 | frame->flags);
    while (run.packets < limits.packets &&
           run_add(&run, slice_skip(in, run.bytes), first, head, &limits))
        ;
    if (run.packets == 0 || !memory_has_room(worker, run.bytes) ||
        !output_append(worker, to, in.ptr, run.bytes))
        return 0;
    count_run(worker, connection, to, &run);
    return run.bytes;
}
