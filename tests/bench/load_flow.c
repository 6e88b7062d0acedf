/*
 * load_flow.c: messages from publishers to subscribers, in windows, counted by number.
 *
 *   pairs   N groups of one publisher and one subscriber
 *   fanin   one group, N publishers and one subscriber
 *   fanout  one group, one publisher and N subscribers
 *
 * A message is in flight until every subscriber of its group has it, and at QoS 1 and 2 until its
 * publisher has the PUBACK or PUBCOMP. A publisher keeps `window` messages in flight. Each payload
 * begins with a record: which publisher of its group, number, time of sending.
 */
#include <stdio.h>
#include <stdlib.h>

#include "load.h"

#define SEEN_BITS 4096 /* how far back a late number is told from a duplicate */

struct record {
    uint32_t run;
    uint32_t stream;
    uint64_t number;
    uint64_t sent_ns;
};

/* What one subscriber has seen of one publisher. */
struct stream {
    uint64_t next;
    uint64_t seen[SEEN_BITS / 64];
};

uint64_t flow_fan(const struct options *o)
{
    return strcmp(o->scenario, "fanout") == 0 ? o->clients : 1;
}

static void flow_topic(const struct load *load, uint32_t group, uint32_t stream,
                       char topic[LOAD_TOPIC_MAX])
{
    int len = snprintf(topic, LOAD_TOPIC_MAX, "load/%08x/%u", load->run, group);
    if (load->options.own_topics)
        snprintf(topic + len, LOAD_TOPIC_MAX - (size_t)len, "/%u", stream);
}

void flow_filter(const struct client *c, char topic[LOAD_TOPIC_MAX])
{
    const struct load *load = c->worker->load;
    int len = snprintf(topic, LOAD_TOPIC_MAX, "load/%08x/%u", load->run, c->subscriber->group);
    if (load->options.own_topics)
        snprintf(topic + len, LOAD_TOPIC_MAX - (size_t)len, "/+");
}

/* ---- planning ---- */

static void publisher_init(struct load *load, struct publisher *p, uint32_t group, uint32_t stream)
{
    const struct options *o = &load->options;
    struct record *record;
    char topic[LOAD_TOPIC_MAX];
    p->group = group;
    p->stream = stream;
    p->fan = (uint32_t)flow_fan(o);
    p->window = o->window;
    if (p->fan > 1)
        p->arrived = load_zalloc(o->window, sizeof *p->arrived);
    if (o->bare) {
        memset(buf_reserve(&p->form, o->payload_bytes), 'x', o->payload_bytes);
        p->form.len = o->payload_bytes;
    } else {
        flow_topic(load, group, stream, topic);
        packet_publish(&p->form, o->version, topic, o->qos, o->payload_bytes, &p->id_at,
                       &p->payload_at);
    }
    record = &(struct record){.run = load->run, .stream = stream};
    memcpy(p->form.ptr + p->payload_at, record, sizeof *record);
}

static void subscriber_init(struct client *c, struct publisher *publishers, uint32_t count,
                            uint32_t group)
{
    struct subscriber *s = load_zalloc(1, sizeof *s);
    s->group = group;
    s->publishers = publishers;
    s->streams = load_zalloc(count, sizeof *s->streams);
    s->stream_count = count;
    c->subscriber = s;
    c->role = ROLE_SUBSCRIBER;
}

void flow_plan(struct load *load)
{
    const struct options *o = &load->options;
    bool fanin = strcmp(o->scenario, "fanin") == 0, fanout = strcmp(o->scenario, "fanout") == 0;
    uint32_t groups = fanin || fanout ? 1 : o->clients;
    uint32_t pubs = fanin ? o->clients : 1, subs = fanout ? o->clients : 1;
    struct client *c = load->clients =
        load_zalloc((size_t)groups * (pubs + subs), sizeof *load->clients);
    struct publisher *p = load->publishers =
        load_zalloc((size_t)groups * pubs, sizeof *load->publishers);
    for (uint32_t g = 0; g < groups; g++) {
        struct worker *w = &load->workers[g % o->threads];
        for (uint32_t i = 0; i < subs; i++, c++) {
            subscriber_init(c, p, pubs, g);
            c->worker = w;
        }
        for (uint32_t i = 0; i < pubs; i++, c++, p++) {
            publisher_init(load, p, g, i);
            p->client = c;
            c->publisher = p;
            c->role = ROLE_PUBLISHER;
            c->worker = w;
        }
    }
    load->client_count = groups * (pubs + subs);
    load->publisher_count = groups * pubs;
}

/* ---- sending ---- */

static uint32_t publisher_credit(const struct publisher *p, int qos)
{
    uint64_t done = qos && p->acked < p->done ? p->acked : p->done;
    uint64_t flying = p->sent > done ? p->sent - done : 0;
    return flying < p->window ? p->window - (uint32_t)flying : 0;
}

/* Appends as many messages as the window has room for. */
void flow_fill(struct client *c)
{
    struct publisher *p = c->publisher;
    const struct options *o = &c->worker->load->options;
    uint32_t credit = c->blocked ? 0 : publisher_credit(p, o->qos);
    uint8_t *at = credit ? buf_reserve(&c->out, credit * p->form.len) : NULL;
    for (uint32_t i = 0; i < credit; i++, at += p->form.len) {
        struct record *record = (struct record *)(at + p->payload_at);
        uint64_t number = p->sent++;
        memcpy(at, p->form.ptr, p->form.len);
        memcpy((uint8_t *)record + offsetof(struct record, number), &number, sizeof number);
        memcpy((uint8_t *)record + offsetof(struct record, sent_ns), &c->worker->now_ns,
               sizeof(uint64_t));
        if (p->id_at) {
            c->packet_id = c->packet_id == UINT16_MAX ? 1 : c->packet_id + 1;
            at[p->id_at] = c->packet_id >> 8;
            at[p->id_at + 1] = c->packet_id & 0xff;
        }
    }
    c->out.len += credit * p->form.len;
    count_add(&c->worker->counts.sent, credit);
}

/* ---- receiving ---- */

enum seen { SEEN_NEW, SEEN_LATE, SEEN_AGAIN };

/* Notes a number; numbers further back than the bitmap reaches count as seen before. */
static enum seen stream_note(struct stream *s, uint64_t number)
{
    uint64_t *word = &s->seen[number % SEEN_BITS / 64], bit = 1ull << number % 64;
    if (LIKELY(number == s->next)) {
        *word |= bit;
        s->next++;
    } else if (number > s->next) {
        uint64_t gap = number - s->next;
        for (uint64_t i = 0; i < gap && i < SEEN_BITS; i++)
            s->seen[(number - 1 - i) % SEEN_BITS / 64] &= ~(1ull << (number - 1 - i) % 64);
        *word |= bit;
        s->next = number + 1;
    } else if (s->next - number > SEEN_BITS || *word & bit) {
        return SEEN_AGAIN;
    } else {
        *word |= bit;
        return SEEN_LATE;
    }
    return SEEN_NEW;
}

/* One subscriber has message `number`; when all have, the window opens by one. */
static void publisher_arrived(struct publisher *p, uint64_t number)
{
    if (number < p->floor || number >= p->sent)
        return;
    if (p->fan > 1) {
        uint32_t *arrived = &p->arrived[number % p->window];
        if (++*arrived < p->fan)
            return;
        *arrived = 0;
    }
    p->done++;
    client_mark(p->client);
}

void flow_on_record(struct client *c, const uint8_t *payload, uint32_t len)
{
    struct worker *w = c->worker;
    struct subscriber *s = c->subscriber;
    struct record record;
    if (!s || len < sizeof record) {
        count_add(&w->counts.foreign, 1);
        return;
    }
    memcpy(&record, payload, sizeof record);
    if (record.run != w->load->run || record.stream >= s->stream_count) {
        count_add(&w->counts.foreign, 1);
        return;
    }
    enum seen seen = stream_note(&s->streams[record.stream], record.number);
    count_add(&w->counts.delivered, 1);
    if (seen == SEEN_AGAIN) {
        count_add(&w->counts.duplicate, 1);
        return;
    }
    if (seen == SEEN_LATE)
        count_add(&w->counts.disordered, 1);
    publisher_arrived(&s->publishers[record.stream], record.number);
    if (atomic_load_explicit(&w->measuring, memory_order_relaxed))
        hist_add(&w->latency, w->now_ns > record.sent_ns ? w->now_ns - record.sent_ns : 0);
}

void flow_on_publish(struct client *c, const struct publish *publish)
{
    flow_on_record(c, publish->payload, publish->len);
    if (publish->qos) {
        packet_ack(&c->out, publish->qos == 1 ? PACKET_PUBACK : PACKET_PUBREC, publish->id);
        client_mark(c);
    }
}

void flow_on_ack(struct client *c, const struct frame *frame)
{
    uint16_t id = frame->len >= 2 ? (uint16_t)(frame->body[0] << 8 | frame->body[1]) : 0;
    if (frame->type == PACKET_PUBREC || frame->type == PACKET_PUBREL) {
        packet_ack(&c->out, frame->type + 1, id);
    } else if (c->publisher) {
        c->publisher->acked++;
        count_add(&c->worker->counts.acked, 1);
    }
    client_mark(c);
}

/* ---- turns ---- */

/* Opens a window whose messages were lost, after a second without progress. */
static void publisher_unstall(struct publisher *p)
{
    uint64_t progress = p->acked + p->done;
    bool stuck = progress == p->progress && p->sent > p->floor && p->client->state == CLIENT_READY;
    p->progress = progress;
    if (!stuck || p->client->blocked)
        return;
    count_add(&p->client->worker->counts.stalled, 1);
    p->floor = p->done = p->acked = p->sent;
    p->progress = p->acked + p->done;
    if (p->fan > 1)
        memset(p->arrived, 0, p->window * sizeof *p->arrived);
    client_mark(p->client);
}

void flow_turn(struct worker *w)
{
    if (w->phase != PHASE_RUN || w->now_ns - w->checked_ns < 1000000000)
        return;
    bool first = w->checked_ns == 0;
    w->checked_ns = w->now_ns;
    for (uint32_t i = 0; i < w->client_count; i++) {
        struct client *c = w->clients[i];
        if (c->role != ROLE_PUBLISHER)
            continue;
        if (first)
            client_mark(c);
        else
            publisher_unstall(c->publisher);
    }
}
