/*
 * run.c: see run.h.
 *
 *   first packet   30 | length | topic | (5.0: no properties) | payload
 *   the next ones  30 | length | the same bytes               | payload       ... -> one piece
 *
 *   struct mail_run | packets of one publisher | of the next | ...      to a session of another reactor
 *
 * What is mailed to a session in one turn, by whichever publishers, is one record as long as nothing
 * else is mailed to its reactor in between. There the first packet goes the long way, and the others
 * are not looked at as long as all of them are within the limits.
 *
 * Cost: some 35 instructions a packet, half of them for comparing the topic, and 70 for one whose
 * length differs from the first one's; the long way takes 1,200.
 */
#include "conn/run.h"

#include "base/assert.h"
#include "conn/input.h"
#include "conn/output.h"
#include "conn/publish.h"
#include "runtime/log.h"
#include "session/session.h"

#define RUN_MAIL_CHARGE 80u /* what a record of its own would have beside a packet: see publish.c */

struct run {
    uint32_t packets, bytes;
    uint32_t payload_bytes;
    uint32_t packet_bytes_max; /* the largest has so many at most */
};

struct mail_run {
    index_subscriber subscriber;
    uint32_t generation; /* of its slot */
    bool is_v5;          /* the form of the packets */
    struct run run;
};

/* What a run may not exceed, so that no packet of it meets a limit. */
struct run_limits {
    uint32_t packets, bytes; /* in all */
    uint32_t packet_bytes;   /* of one */
    uint32_t payload_bytes;
};

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Limits that are 0 are none. */
static uint32_t smaller_unless_0(uint32_t a, uint64_t limit)
{
    return limit && limit < a ? (uint32_t)limit : a;
}

/* What the publisher may send. */
static void limit_input(struct worker *worker, const struct connection *connection,
                        struct run_limits *limits)
{
    uint32_t payload_max = broker_config(worker->broker)->message_bytes_max;
    limits->packet_bytes =
        smaller(limits->packet_bytes, input_packet_bytes_max(worker, connection));
    limits->payload_bytes = smaller_unless_0(limits->payload_bytes, payload_max);
}

/* What `to` takes, and how much more before is_too_slow() of deliver.c would look twice. */
static void limit_output(struct worker *worker, const struct connection *to,
                         struct run_limits *limits)
{
    const struct config *config = broker_config(worker->broker);
    uint32_t bytes = smaller_unless_0(worker->output_flush_bytes, config->max_queued_bytes);
    uint32_t queued = config->max_queued_messages;
    if (UNLIKELY(is_over_memory_limit(worker)))
        limits->packets = 0; /* each is looked at */
    if (queued)
        limits->packets =
            queued > to->out_publishes ? smaller(limits->packets, queued - to->out_publishes) : 0;
    limits->bytes = smaller(limits->bytes, to->out_bytes < bytes ? bytes - to->out_bytes : 0);
    limits->packet_bytes = smaller(limits->packet_bytes, to->packet_bytes_max);
}

static const struct run_limits limits_first = {
    .packets = RUN_PACKETS_MAX,
    .bytes = UINT32_MAX,
    .packet_bytes = CHUNK_ROOM,
    .payload_bytes = OUTPUT_REFERENCE_BYTES - 1,
};

/* Its packets were within the limits above when they were mailed. */
static const struct run_limits limits_of_mail = {
    .packets = UINT32_MAX,
    .bytes = UINT32_MAX,
    .packet_bytes = UINT32_MAX,
};

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
    if (size > run->packet_bytes_max)
        run->packet_bytes_max = size;
    return true;
}

/* What the packets of a run have in common after their length: the topic, and that there are no
   properties. */
static struct slice run_head(const struct frame *frame, bool is_v5)
{
    uint32_t topic_bytes = (uint32_t)frame->body.ptr[0] << 8 | frame->body.ptr[1];
    return slice_of(frame->body.ptr, 2 + topic_bytes + is_v5);
}

/* How many packets of the length of `frame` there may be at the start of `in`, within the limits. */
static uint32_t one_size_max(struct slice in, const struct frame *frame, uint32_t payload_bytes,
                             const struct run_limits *limits)
{
    if (frame->size > limits->packet_bytes || payload_bytes > limits->payload_bytes)
        return 0;
    size_t room = (in.len < limits->bytes ? in.len : limits->bytes) / frame->size;
    return room < limits->packets ? (uint32_t)room : limits->packets;
}

static uint32_t payload_bytes_of(const struct frame *frame, struct slice head)
{
    return (uint32_t)(frame->body.len - head.len);
}

/* The packets at the start of `in` that begin as `frame` does up to the end of `head`, their length
   included, as most do: one comparison each. */
static struct run run_gather_same(struct slice in, const struct frame *frame, struct slice head,
                                  const struct run_limits *limits)
{
    const uint8_t *start = frame->body.ptr + frame->body.len - frame->size;
    size_t same_bytes = (size_t)(head.ptr + head.len - start);
    uint32_t count = 0, most = one_size_max(in, frame, payload_bytes_of(frame, head), limits);
    const uint8_t *at = in.ptr;
    for (; count < most && memcmp(at, start, same_bytes) == 0; at += frame->size)
        count++;
    return (struct run){.packets = count,
                        .bytes = count * frame->size,
                        .payload_bytes = count * payload_bytes_of(frame, head),
                        .packet_bytes_max = count ? frame->size : 0};
}

/* The packets at the start of `in` that begin as `frame` does, within the limits. */
static struct run run_gather(const struct frame *frame, bool is_v5, struct slice in,
                             const struct run_limits *limits)
{
    struct slice head = run_head(frame, is_v5);
    uint8_t first = (uint8_t)(frame->type << 4 | frame->flags);
    struct run run = run_gather_same(in, frame, head, limits);
    while (run.packets < limits->packets &&
           run_add(&run, slice_skip(in, run.bytes), first, head, limits))
        ;
    return run;
}

static void run_join(struct run *run, const struct run *more)
{
    run->packets += more->packets;
    run->bytes += more->bytes;
    run->payload_bytes += more->payload_bytes;
    if (more->packet_bytes_max > run->packet_bytes_max)
        run->packet_bytes_max = more->packet_bytes_max;
}

/* Its largest packet may be among those that are left. */
static void run_skip(struct run *run, const struct run *first)
{
    run->packets -= first->packets;
    run->bytes -= first->bytes;
    run->payload_bytes -= first->payload_bytes;
}

static void count_in(struct worker *worker, struct connection *connection, const struct run *run)
{
    struct metrics *metrics = worker_metrics(worker);
    metric_add(metrics, METRIC_MESSAGES_RECEIVED, run->packets);
    metric_add(metrics, METRIC_PUBLISH_RECEIVED, run->packets);
    metric_add(metrics, METRIC_PUBLISH_BYTES_RECEIVED, run->payload_bytes);
    connection->session->messages_in += run->packets;
    connection->session->bytes_in += run->payload_bytes;
}

static void count_out(struct worker *worker, struct connection *to, const struct run *run)
{
    struct metrics *metrics = worker_metrics(worker);
    metric_add(metrics, METRIC_MESSAGES_SENT, run->packets);
    metric_add(metrics, METRIC_PUBLISH_SENT, run->packets);
    metric_add(metrics, METRIC_PUBLISH_BYTES_SENT, run->payload_bytes);
    to->session->messages_out += run->packets;
    to->session->bytes_out += run->payload_bytes;
    to->out_publishes += run->packets;
}

/* Into the output of a client of this reactor. False: nothing was done. */
static bool run_append(struct worker *worker, struct connection *to, struct slice in,
                       const struct run *run)
{
    if (run->packets == 0 || !memory_has_room(worker, run->bytes) ||
        !output_append(worker, to, in.ptr, run->bytes))
        return false;
    count_out(worker, to, run);
    return true;
}

static bool takes_runs(const struct connection *to)
{
    return to->state == CONNECTION_CONNECTED && !to->is_blocked && !log_is_on(LOG_DEBUG_);
}

/* The record that was mailed last, if it is for the same session and has room for `bytes` more, or a
   new one. */
static struct mail_run *run_record(struct worker *worker, bool is_v5, uint32_t bytes)
{
    const struct passed_on *passed = &worker->passed;
    struct mail_run *mail = mailbox_last(worker->reactor, passed->reactor, MAIL_RUN, bytes);
    if (mail && mail->subscriber == passed->subscriber && mail->generation == passed->generation &&
        mail->is_v5 == is_v5 && mail->run.bytes + bytes <= RUN_MAIL_BYTES) {
        mailbox_lengthen(worker->reactor, passed->reactor, bytes);
        return mail;
    }
    mail = mailbox_post(worker->reactor, passed->reactor, MAIL_RUN,
                        (uint32_t)sizeof(struct mail_run) + bytes);
    if (mail)
        *mail = (struct mail_run){
            .subscriber = passed->subscriber, .generation = passed->generation, .is_v5 = is_v5};
    return mail;
}

/* Into a record for the reactor that has the session. False: nothing was done. */
static bool run_post(struct worker *worker, bool is_v5, const uint8_t *packets,
                     const struct run *run)
{
    struct mail_run *mail = run_record(worker, is_v5, run->bytes);
    if (!mail)
        return false;
    memcpy((uint8_t *)(mail + 1) + mail->run.bytes, packets, run->bytes);
    run_join(&mail->run, run);
    return true;
}

static struct run run_of_one(const struct publication *publication)
{
    return (struct run){.packets = 1,
                        .bytes = (uint32_t)publication->packet.len,
                        .payload_bytes = (uint32_t)publication->payload.len,
                        .packet_bytes_max = (uint32_t)publication->packet.len};
}

bool run_mail_packet(struct worker *worker, const struct publication *publication)
{
    struct run run = run_of_one(publication);
    return run_post(worker, publication->is_packet_v5, publication->packet.ptr, &run);
}

/* To where the packet before went. False: nothing was done. */
static bool run_pass_on(struct worker *worker, bool is_v5, struct slice in, const struct run *run)
{
    struct connection *to = worker->passed.here;
    if (to)
        return run_append(worker, to, in, run);
    return run->packets && memory_has_room(worker, run->bytes) &&
           run_post(worker, is_v5, in.ptr, run);
}

size_t run_follow(struct worker *worker, struct connection *connection, const struct frame *frame,
                  struct slice in)
{
    struct connection *to = worker->passed.here;
    struct run_limits limits = limits_first;
    if (connection->state != CONNECTION_CONNECTED || connection->hold || log_is_on(LOG_DEBUG_))
        return 0;
    if (to && !takes_runs(to))
        return 0;
    limit_input(worker, connection, &limits);
    if (to)
        limit_output(worker, to, &limits);
    else
        limits.bytes = RUN_MAIL_BYTES;
    bool is_v5 = connection->version == MQTT_5;
    struct run run = run_gather(frame, is_v5, in, &limits);
    if (!run_pass_on(worker, is_v5, in, &run))
        return 0;
    count_in(worker, connection, &run);
    return run.bytes;
}

/* The packet at the start of `in`, as a publication. Its length takes one byte or two: it is at most
   CHUNK_ROOM. */
static inline struct publication mail_packet(const struct mail_run *mail, struct slice in)
{
    uint32_t at = 2, body = in.ptr[1];
    if (body & 0x80) {
        body = (body & 0x7F) | (uint32_t)in.ptr[2] << 7;
        at = 3;
    }
    uint32_t topic_bytes = (uint32_t)in.ptr[at] << 8 | in.ptr[at + 1];
    uint32_t head = 2 + topic_bytes + mail->is_v5;
    BUG_ON(at + body > in.len || head > body);
    return (struct publication){
        .topic = slice_of(in.ptr + at + 2, topic_bytes),
        .payload = slice_of(in.ptr + at + head, body - head),
        .packet = slice_of(in.ptr, at + body),
        .is_packet_v5 = mail->is_v5,
    };
}

/* A packet goes the long way, which may also be on to another reactor. */
static void mail_deliver(struct worker *worker, const struct mail_run *mail,
                         struct publication *publication)
{
    struct index_match match = {.subscriber = mail->subscriber};
    worker->publish_serial++;
    worker->passed.here = NULL;
    publish_to_slot(worker, publication, &match, mail->generation);
    publication_fini(publication);
}

/* The packets at the start of `in`, where those of `left` are, that are within the limits. */
static struct run mail_cut(const struct mail_run *mail, struct slice in, const struct run *left,
                           const struct run_limits *limits)
{
    if (LIKELY(left->packets <= limits->packets && left->bytes <= limits->bytes &&
               left->packet_bytes_max <= limits->packet_bytes))
        return *left;
    struct run run = {0};
    while (in.len && run.packets < limits->packets) {
        struct publication next = mail_packet(mail, in);
        if (next.packet.len > limits->packet_bytes || next.packet.len > limits->bytes - run.bytes)
            break;
        struct run one = run_of_one(&next);
        run_join(&run, &one);
        in = slice_skip(in, next.packet.len);
    }
    return run;
}

void run_mail(struct reactor *reactor, void *payload, uint32_t bytes)
{
    struct worker *worker = worker_of(reactor);
    const struct mail_run *mail = payload;
    struct slice in = slice_of(mail + 1, bytes - sizeof(*mail));
    struct run left = mail->run;
    while (in.len) {
        struct publication publication = mail_packet(mail, in);
        struct run run = run_of_one(&publication);
        mail_deliver(worker, mail, &publication);
        in = slice_skip(in, run.bytes);
        run_skip(&left, &run);
        mailbox_charge(reactor, RUN_MAIL_CHARGE);
        struct connection *to = worker->passed.here;
        if (!to || !takes_runs(to))
            continue;
        struct run_limits limits = limits_of_mail;
        limit_output(worker, to, &limits);
        run = mail_cut(mail, in, &left, &limits);
        if (run_append(worker, to, in, &run)) {
            in = slice_skip(in, run.bytes);
            run_skip(&left, &run);
        }
    }
}
