/*
 * subscribe.c: --filters filters, spread over --clients, and a message to prove each.
 *
 *   CONNECT  the clients connect, without a subscription
 *   RUN      each subscribes to its share, up to 100 filters in a SUBSCRIBE, the next one at SUBACK
 *   SECOND   each publishes to all of its own topics in turn, --window at a time, and gets
 *            them back
 *
 * Per client: a few counters and a sequence.
 */
#include <stdio.h>
#include <string.h>

#include "bench/bench.h"

#define FILTERS_PER_PACKET 100u
#define DEFAULT_WINDOW 16u

struct record {
    uint32_t run;
    uint32_t client;
    uint64_t number;
    uint64_t sent_ns;
};

struct share {
    struct sequence sequence;
    uint32_t filters;  /* to be subscribed to */
    uint32_t asked;    /* in a SUBSCRIBE that was sent */
    uint32_t answered; /* SUBACK came */
    uint32_t sent;     /* messages to the first of them */
    uint32_t arrived, acked;
};

/* What a worker has: a share for each client, by its place. */
struct flow {
    struct share *shares;
    uint32_t window;
};

static struct share *share_of(const struct client *c)
{
    return &c->worker->flow->shares[c - c->worker->clients];
}

static void subscribe_plan(struct worker *w)
{
    const struct load *load = w->load;
    const struct options *o = &load->options;
    struct flow *f = w->flow = bench_zalloc(1, sizeof *f);
    f->window = o->window ? o->window : DEFAULT_WINDOW;
    w->client_count = o->clients / load->crew + (w->number < o->clients % load->crew);
    w->clients = bench_zalloc(w->client_count, sizeof *w->clients);
    f->shares = bench_zalloc(w->client_count, sizeof *f->shares);
    for (uint32_t i = 0; i < w->client_count; i++) {
        uint32_t place = w->number + i * load->crew; /* 0 to clients - 1, each once */
        f->shares[i].filters = o->filters / o->clients + (place < o->filters % o->clients);
    }
}

static void subscribe_on_connack(struct client *c, const struct frame *frame)
{
    struct flow *f = c->worker->flow;
    const struct options *o = &c->worker->load->options;
    uint32_t maximum = packet_receive_maximum(frame, (int)o->version);
    if (o->qos && f->window > maximum)
        f->window = maximum;
    client_set_ready(c);
}

static void filter_text(const struct client *c, uint32_t number, char text[TEXT_MAX])
{
    snprintf(text, TEXT_MAX, "bench/%08x/%06x/%08x", c->worker->load->run, c->number & 0xffffff,
             number);
}

/* ---- subscribing ---- */

static void share_ask(struct client *c)
{
    struct share *s = share_of(c);
    const struct options *o = &c->worker->load->options;
    struct buf *out = client_out(c);
    char text[TEXT_MAX];
    c->since_ns = c->worker->now_ns;
    uint32_t begun = packet_subscribe_begin(out, (int)o->version, client_next_id(c));
    for (uint32_t i = 0; i < FILTERS_PER_PACKET && s->asked < s->filters; i++) {
        filter_text(c, s->asked++, text);
        packet_subscribe_filter(out, text, (int)o->qos);
    }
    packet_subscribe_end(out, begun);
    client_mark(c);
}

static void subscribe_on_suback(struct client *c)
{
    struct share *s = share_of(c);
    worker_record(c->worker, c->since_ns);
    count_add(&c->worker->counts.filters, s->asked - s->answered);
    s->answered = s->asked;
    if (s->asked < s->filters && c->worker->phase == PHASE_RUN)
        share_ask(c);
}

/* ---- proving ---- */

static void share_send(struct client *c)
{
    struct share *s = share_of(c);
    const struct worker *w = c->worker;
    const struct options *o = &w->load->options;
    struct record record = {w->load->run, c->number, s->sent, w->now_ns};
    struct buf *out = client_out(c);
    uint32_t start = out->len;
    char text[TEXT_MAX];
    filter_text(c, s->sent++, text);
    struct publish_form form =
        packet_publish(out, (int)o->version, text, (int)o->qos, o->payload_bytes);
    if (form.id_at) {
        uint16_t id = client_next_id(c);
        out->ptr[start + form.id_at] = id >> 8;
        out->ptr[start + form.id_at + 1] = id & 0xff;
    }
    memcpy(out->ptr + start + form.payload_at, &record, sizeof record);
}

static void subscribe_fill(struct client *c)
{
    struct worker *w = c->worker;
    struct share *s = share_of(c);
    if (w->phase != PHASE_SECOND)
        return;
    bool acks = w->load->options.qos > 0;
    for (;;) {
        uint32_t done = acks && s->acked < s->arrived ? s->acked : s->arrived;
        if (s->sent >= s->answered || s->sent - done >= w->flow->window ||
            c->out.len >= FILL_BYTES_MAX)
            return;
        share_send(c);
        count_add(&w->counts.sent, 1);
        count_add(&w->counts.expected, 1);
    }
}

static void subscribe_on_publish(struct client *c, const struct publish *publish)
{
    struct worker *w = c->worker;
    struct share *s = share_of(c);
    struct record record = {0};
    if (publish->len >= sizeof record)
        memcpy(&record, publish->payload, sizeof record);
    client_acknowledge(c, publish);
    if (record.run != w->load->run || record.client != c->number || record.number >= s->sent) {
        count_add(&w->counts.foreign, 1);
        return;
    }
    enum sequence_seen seen = sequence_note(&s->sequence, record.number);
    count_add(seen == SEQUENCE_AGAIN ? &w->counts.duplicate : &w->counts.delivered, 1);
    if (seen == SEQUENCE_AGAIN)
        return;
    if (seen == SEQUENCE_LATE)
        count_add(&w->counts.disordered, 1);
    s->arrived++;
    worker_record(w, record.sent_ns);
    client_mark(c);
}

static void subscribe_on_ack(struct client *c, const struct frame *frame)
{
    (void)frame;
    share_of(c)->acked++;
    count_add(&c->worker->counts.acked, 1);
    client_mark(c);
}

static void subscribe_begin(struct worker *w)
{
    for (uint32_t i = 0; i < w->client_count; i++) {
        struct client *c = &w->clients[i];
        if (w->phase == PHASE_RUN && c->state == CLIENT_READY && share_of(c)->filters)
            share_ask(c);
        else if (w->phase == PHASE_SECOND)
            client_mark(c);
    }
}

const struct behaviour subscribe_behaviour = {
    .plan = subscribe_plan,
    .begin = subscribe_begin,
    .on_connack = subscribe_on_connack,
    .on_publish = subscribe_on_publish,
    .on_ack = subscribe_on_ack,
    .on_suback = subscribe_on_suback,
    .fill = subscribe_fill,
};
