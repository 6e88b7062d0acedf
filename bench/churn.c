/*
 * churn.c: cycles of connect, subscribe, publish to itself, receive, DISCONNECT, close.
 *
 * With --no-publish a cycle is connect, subscribe, close. --clients is how many are in a cycle at
 * once; with --rate so many cycles begin each second, and their time is counted from when they were
 * due. Each cycle has a client id and a topic of its own, so that nothing reaches a connection that the
 * broker has not seen end yet, and a sequence number. One that does not get what it waits for within
 * --timeout is given up, and counted as stalled.
 */
#include <string.h>

#include "bench/bench.h"

#define CHECK_NS (SECOND_NS / 10)

struct record {
    uint32_t run;
    uint32_t client;
    uint64_t cycle;
    uint64_t unused;
};

static void churn_plan(struct worker *w)
{
    const struct load *load = w->load;
    const struct options *o = &load->options;
    w->client_count = o->clients / load->crew + (w->number < o->clients % load->crew);
    w->clients = bench_zalloc(w->client_count, sizeof *w->clients);
    w->opens.per_second = o->rate * w->client_count / o->clients;
}

static void cycle_next(struct client *c)
{
    client_close(c);
    c->generation++;
    c->since_ns = 0;
    if (worker_is_opening(c->worker))
        worker_queue(c->worker, c);
}

static void cycle_end(struct client *c)
{
    worker_record(c->worker, c->since_ns);
    count_add(&c->worker->counts.cycles, 1);
    cycle_next(c);
}

static void churn_turn(struct worker *w)
{
    uint64_t now_ms = (w->now_ns - w->load->start_ns) / 1000000;
    uint64_t age_ms = (uint64_t)(w->load->options.timeout_s * 1000);
    if (w->phase >= PHASE_DRAIN || w->now_ns - w->checked_ns < CHECK_NS)
        return;
    w->checked_ns = w->now_ns;
    for (uint32_t i = 0; i < w->client_count; i++) {
        struct client *c = &w->clients[i];
        if (c->state != CLIENT_READY || now_ms < c->opened_ms + age_ms)
            continue;
        count_add(&w->counts.stalled, 1);
        cycle_next(c);
    }
}

/* Those without a beginning, and those whose connection is not made yet. */
static uint64_t churn_behind(const struct worker *w)
{
    uint64_t end_ns = worker_end_ns(w), count = pace_behind(&w->opens, end_ns);
    for (uint32_t i = 0; w->opens.per_second > 0 && i < w->client_count; i++) {
        const struct client *c = &w->clients[i];
        count += c->since_ns && c->since_ns < end_ns && c->state != CLIENT_READY;
    }
    return count;
}

static void churn_on_connack(struct client *c, const struct frame *frame)
{
    (void)frame;
    char topic[TEXT_MAX];
    client_topic(c, topic);
    client_subscribe(c, topic, (int)c->worker->load->options.qos);
}

static void churn_on_ready(struct client *c)
{
    const struct options *o = &c->worker->load->options;
    struct record record = {c->worker->load->run, c->number, c->generation, 0};
    char topic[TEXT_MAX];
    c->index = 0;
    if (o->no_publish) {
        cycle_end(c);
        return;
    }
    struct buf *out = client_out(c);
    uint32_t start = out->len;
    client_topic(c, topic);
    struct publish_form form =
        packet_publish(out, (int)o->version, topic, (int)o->qos, o->payload_bytes);
    if (form.id_at)
        out->ptr[start + form.id_at + 1] = (uint8_t)client_next_id(c);
    memcpy(out->ptr + start + form.payload_at, &record, sizeof record);
    count_add(&c->worker->counts.sent, 1);
    count_add(&c->worker->counts.expected, 1);
    client_mark(c);
}

/* DISCONNECT leaves at once, as the socket is closed in this turn. */
static void cycle_disconnect(struct client *c)
{
    packet_bare(client_out(c), PACKET_DISCONNECT);
    client_write(c);
    if (c->state != CLIENT_DOWN)
        cycle_end(c);
}

/* Whatever comes first, its own message or its acknowledgement: the cycle waits for both. */
static void cycle_proceed(struct client *c, uint32_t has)
{
    c->index |= has;
    if (c->index == 3)
        cycle_disconnect(c);
}

static void churn_on_publish(struct client *c, const struct publish *publish)
{
    struct worker *w = c->worker;
    struct record record = {0};
    if (publish->len >= sizeof record)
        memcpy(&record, publish->payload, sizeof record);
    if (record.run != w->load->run || record.client != c->number) {
        count_add(&w->counts.foreign, 1);
        return;
    }
    bool again = record.cycle != c->generation || c->index & 1;
    count_add(again ? &w->counts.duplicate : &w->counts.delivered, 1);
    client_acknowledge(c, publish);
    if (!again)
        cycle_proceed(c, w->load->options.qos ? 1 : 3);
}

static void churn_on_ack(struct client *c, const struct frame *frame)
{
    (void)frame;
    count_add(&c->worker->counts.acked, 1);
    cycle_proceed(c, 2);
}

const struct behaviour churn_behaviour = {
    .plan = churn_plan,
    .turn = churn_turn,
    .on_connack = churn_on_connack,
    .on_ready = churn_on_ready,
    .on_publish = churn_on_publish,
    .on_ack = churn_on_ack,
    .behind = churn_behind,
};
