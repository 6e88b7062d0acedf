/*
 * scale.c: a whole fleet on one broker, as a story in four steps.
 *
 *   connect   all connect, and subscribe to a topic of their own
 *   rest      PINGREQs, each client one in --ping-every seconds, and nothing else
 *   messages  each publishes once (at --rate, all together), to the topic of a client that is far
 *             from it in the order of numbers, most often in another thread; each gets one
 *   return    when all is acknowledged, --cut percent of the connections are cut at once, and come back at once
 *
 * The latency of a message or PINGREQ is counted from when it was due, that of a return from the cut. The
 * payload says which client it is for, and that client's `index` how many have come.
 */
#include <string.h>

#include "bench/hold.h"

#define SENDS_PER_TURN 256
#define BEGIN_NS (100 * 1000000ull) /* by then every worker keeps latencies, as receivers must */
#define CUT_STRIDE 37u /* prime to 100: those who are cut are spread over all numbers */

struct record {
    uint32_t run;
    uint32_t to;
    uint64_t from;
    uint64_t due_ns;
};

static void scale_on_ready(struct client *c)
{
    if (c->worker->phase == PHASE_THIRD)
        worker_record(c->worker, c->since_ns);
    c->since_ns = c->worker->now_ns;
}

/* ---- messages ---- */

/* Each number is that of one receiver: the first half sends to the second, and back. */
static uint32_t scale_receiver(const struct load *load, uint32_t from)
{
    return (from + load->crew_clients / 2) % load->crew_clients;
}

static void scale_send(struct client *c, uint64_t due_ns)
{
    const struct load *load = c->worker->load;
    const struct options *o = &load->options;
    struct record record = {load->run, scale_receiver(load, c->number), c->number, due_ns};
    char topic[TEXT_MAX];
    struct buf *out = client_out(c);
    uint32_t start = out->len;
    load_topic(load, record.to, topic);
    struct publish_form form =
        packet_publish(out, (int)o->version, topic, (int)o->qos, o->payload_bytes);
    if (form.id_at) {
        uint16_t id = client_next_id(c);
        out->ptr[start + form.id_at] = id >> 8;
        out->ptr[start + form.id_at + 1] = id & 0xff;
    }
    memcpy(out->ptr + start + form.payload_at, &record, sizeof record);
    count_add(&c->worker->counts.sent, 1);
    count_add(&c->worker->counts.expected, 1);
    client_mark(c);
}

/* One that is not connected now is waited for, and what is late has it counted. */
static void messages_turn(struct worker *w)
{
    for (uint32_t i = 0; i < SENDS_PER_TURN && w->sends.count < w->client_count; i++) {
        uint64_t due = w->sends.per_second > 0 ? pace_due_ns(&w->sends) : w->sends.start_ns;
        struct client *c = &w->clients[w->sends.count];
        if (due > w->now_ns || c->state != CLIENT_READY) {
            worker_wake(w, due > w->now_ns ? due : w->now_ns + 1000000);
            return;
        }
        scale_send(c, due);
        worker_record_late(w, due);
        w->sends.count++;
    }
    if (w->sends.count < w->client_count)
        worker_wake(w, w->now_ns);
}

static void scale_on_publish(struct client *c, const struct publish *publish)
{
    struct worker *w = c->worker;
    struct record record = {0};
    if (publish->len >= sizeof record)
        memcpy(&record, publish->payload, sizeof record);
    if (record.run != w->load->run || record.to != c->number) {
        count_add(&w->counts.foreign, 1);
        return;
    }
    bool again = c->index++ > 0;
    count_add(again ? &w->counts.duplicate : &w->counts.delivered, 1);
    if (!again)
        worker_record(w, record.due_ns);
    client_acknowledge(c, publish);
}

static void scale_on_ack(struct client *c, const struct frame *frame)
{
    (void)frame;
    count_add(&c->worker->counts.acked, 1);
}

/* ---- turns ---- */

static void scale_cut(struct worker *w)
{
    for (uint32_t i = 0; i < w->client_count; i++) {
        struct client *c = &w->clients[i];
        if ((uint64_t)c->number * CUT_STRIDE % 100 < w->load->options.cut_percent)
            hold_cut(c);
    }
}

static void scale_begin(struct worker *w)
{
    const struct options *o = &w->load->options;
    struct pace pings = {w->now_ns, 0, w->client_count / o->ping_every_s};
    struct pace messages = {w->now_ns + BEGIN_NS, 0, o->rate * w->client_count / o->clients};
    if (w->phase == PHASE_RUN)
        w->pings = pings;
    if (w->phase == PHASE_SECOND)
        w->sends = messages;
    if (w->phase == PHASE_THIRD)
        scale_cut(w);
}

static void scale_turn(struct worker *w)
{
    hold_ping_turn(w);
    if (w->phase == PHASE_SECOND)
        messages_turn(w);
    hold_keepalive_turn(w);
}

static uint64_t scale_behind(const struct worker *w)
{
    return hold_behind(w) + (w->sends.start_ns ? w->client_count - w->sends.count : 0);
}

const struct behaviour scale_behaviour = {
    .returns_at_once = true,
    .plan = hold_plan,
    .begin = scale_begin,
    .turn = scale_turn,
    .on_connack = hold_on_connack,
    .on_ready = scale_on_ready,
    .on_publish = scale_on_publish,
    .on_ack = scale_on_ack,
    .on_pong = hold_on_pong,
    .behind = scale_behind,
};
