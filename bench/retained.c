/*
 * retained.c: --topics retained messages are set, then --clients subscribers want them all at once.
 *
 *   CONNECT  a setter for each worker, and the subscribers, without a subscription
 *   RUN      the setters set their share, QoS 1, --window at a time
 *   SECOND   every subscriber subscribes to all topics; its time ends with the last message
 *   THIRD    subscribers are gone; the setters clear what they set, so that nothing is left behind
 *
 * What has come is a bit for each topic, for each subscriber. The order is the broker's own.
 */
#include <stdio.h>
#include <string.h>

#include "bench/bench.h"

#define DEFAULT_WINDOW 16u

struct record {
    uint32_t run;
    uint32_t topic;
    uint64_t unused[2];
};

/* What a worker's clients have; by c->index for subscribers. */
struct flow {
    uint64_t **came;        /* bits */
    uint32_t *count;        /* topics that came */
    uint32_t first, topics; /* the setter's share */
    uint32_t sent, acked, window;
};

static void retained_plan(struct worker *w)
{
    const struct load *load = w->load;
    const struct options *o = &load->options;
    struct flow *f = w->flow = bench_zalloc(1, sizeof *f);
    uint32_t subscribers = o->clients / load->crew + (w->number < o->clients % load->crew);
    uint64_t end = (uint64_t)o->topics * (w->number + 1) / load->crew;
    f->first = (uint32_t)((uint64_t)o->topics * w->number / load->crew);
    f->topics = (uint32_t)end - f->first;
    f->window = o->window ? o->window : DEFAULT_WINDOW;
    w->client_count = 1 + subscribers;
    w->clients = bench_zalloc(w->client_count, sizeof *w->clients);
    w->clients[0].role = ROLE_PUBLISHER;
    f->came = bench_zalloc(subscribers, sizeof *f->came);
    f->count = bench_zalloc(subscribers, sizeof *f->count);
    for (uint32_t i = 0; i < subscribers; i++) {
        f->came[i] = bench_zalloc(o->topics / 64 + 1, sizeof(uint64_t));
        w->clients[1 + i].role = ROLE_SUBSCRIBER;
        w->clients[1 + i].index = i;
    }
}

static void retained_on_connack(struct client *c, const struct frame *frame)
{
    struct flow *f = c->worker->flow;
    uint32_t maximum = packet_receive_maximum(frame, (int)c->worker->load->options.version);
    if (f->window > maximum)
        f->window = maximum;
    client_set_ready(c);
}

/* ---- setting and clearing ---- */

static void retained_send(struct client *c, uint32_t number, bool clear)
{
    const struct load *load = c->worker->load;
    struct buf *out = client_out(c);
    uint32_t start = out->len;
    char topic[TEXT_MAX];
    snprintf(topic, sizeof topic, "bench/%08x/retained/%08x", load->run, number);
    struct publish_form form = packet_publish(out, (int)load->options.version, topic, 1,
                                              clear ? 0 : load->options.payload_bytes);
    uint8_t *packet = out->ptr + start;
    uint16_t id = client_next_id(c);
    struct record record = {load->run, number, {0}};
    packet[0] |= 1; /* retain */
    packet[form.id_at] = id >> 8;
    packet[form.id_at + 1] = id & 0xff;
    if (!clear)
        memcpy(packet + form.payload_at, &record, sizeof record);
}

static void retained_fill(struct client *c)
{
    struct worker *w = c->worker;
    struct flow *f = w->flow;
    bool clear = w->phase == PHASE_THIRD;
    if (c->role != ROLE_PUBLISHER || (w->phase != PHASE_RUN && !clear))
        return;
    for (; f->sent < f->topics && f->sent - f->acked < f->window && c->out.len < FILL_BYTES_MAX;
         f->sent++) {
        retained_send(c, f->first + f->sent, clear);
        count_add(&w->counts.sent, 1);
    }
}

static void retained_on_ack(struct client *c, const struct frame *frame)
{
    (void)frame;
    c->worker->flow->acked++;
    count_add(&c->worker->counts.acked, 1);
    client_mark(c);
}

/* ---- the replay ---- */

static void replay_begin(struct client *c)
{
    const struct load *load = c->worker->load;
    char filter[TEXT_MAX];
    snprintf(filter, sizeof filter, "bench/%08x/retained/+", load->run);
    c->since_ns = c->worker->now_ns;
    client_subscribe(c, filter, (int)load->options.qos);
    count_add(&c->worker->counts.expected, load->options.topics);
}

static void retained_on_publish(struct client *c, const struct publish *publish)
{
    struct worker *w = c->worker;
    struct flow *f = w->flow;
    struct record record = {0};
    if (publish->len >= sizeof record)
        memcpy(&record, publish->payload, sizeof record);
    client_acknowledge(c, publish);
    if (publish->len == 0) /* another worker has begun to clear */
        return;
    if (c->role != ROLE_SUBSCRIBER || record.run != w->load->run ||
        record.topic >= w->load->options.topics) {
        count_add(&w->counts.foreign, 1);
        return;
    }
    uint64_t *word = &f->came[c->index][record.topic / 64], bit = 1ull << record.topic % 64;
    bool again = *word & bit;
    count_add(again ? &w->counts.duplicate : &w->counts.delivered, 1);
    if (again)
        return;
    *word |= bit;
    if (++f->count[c->index] == w->load->options.topics) {
        count_add(&w->counts.replays, 1);
        worker_record(w, c->since_ns);
    }
}

static void retained_begin(struct worker *w)
{
    struct flow *f = w->flow;
    if (w->phase == PHASE_RUN || w->phase == PHASE_THIRD) {
        f->sent = f->acked = 0;
        client_mark(&w->clients[0]);
    }
    for (uint32_t i = 1; i < w->client_count; i++) {
        struct client *c = &w->clients[i];
        if (w->phase == PHASE_SECOND && c->state == CLIENT_READY)
            replay_begin(c);
        if (w->phase == PHASE_THIRD)
            client_close(c);
    }
}

const struct behaviour retained_behaviour = {
    .plan = retained_plan,
    .begin = retained_begin,
    .on_connack = retained_on_connack,
    .on_publish = retained_on_publish,
    .on_ack = retained_on_ack,
    .fill = retained_fill,
};
