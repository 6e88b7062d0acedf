/*
 * flow.c: messages in groups from publishers to subscribers, counted by number.
 *
 *   pairs      --clients groups of one publisher and one subscriber
 *   fanin      --clients publishers and one subscriber       in each of --groups
 *   fanout     one publisher and --clients subscribers       in each of --groups
 *   shared     --clients publishers and --members            in each of --groups
 *   telemetry  --clients sensors in all, a group for each of --dashboards; topics of their own.
 *              With --commands a sensor subscribes as well, to a topic that nobody publishes to
 *   witnesses  pairs at a slow pace, whatever the scenario
 *
 * Each payload begins with a record: which publisher of its group, number, and when it was to be
 * sent.
 *
 * Closed loop (--window): a message is in flight until every subscriber of its group has it, and at
 * QoS 1 and 2 until its publisher has the PUBACK or PUBCOMP. A publisher keeps `window` of them in
 * flight, and latency is counted from the write.
 *
 * Open loop (--rate): the publishers of a worker take turns at a pace that waits for nobody, and
 * latency is counted from when a message was due, however late it was written. So a broker (or a
 * load tool) that stops for a moment has all messages of that moment against it. What was due within the
 * step and could not be written is written while it drains.
 *
 * A group belongs to one worker. Per sensor: a client, a publisher, a sequence and 8 bytes.
 */
#include "bench/flow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BACKLOG_BYTES_MAX (256u << 10) /* a paced publisher whose socket is full gets no more */
#define SENDS_PER_TURN 2048
#define WITNESS_RATE 100.0 /* messages a second, each pair */
#define TOPIC_GROUP_AT 15u /* bench/01234567/GGGGGG/SSSSSS */
#define TOPIC_STREAM_AT 22u
#define TOPIC_DIGITS 6u

struct record {
    uint32_t run;
    uint32_t stream;
    uint64_t number;
    uint64_t due_ns;
};

struct publisher {
    struct client *client;
    uint32_t *arrived; /* closed loop, fan > 1: [number % window], who has a message */
    uint64_t sent, acked;
    uint64_t done;     /* delivered to all of the group */
    uint64_t floor;    /* numbers below were given up at a stall */
    uint32_t stream;   /* its number within its group */
    uint32_t progress; /* acked + done at the last look for stalls */
};

struct group {
    struct publisher *publishers;
    struct sequence *sequences; /* [subscriber][stream]; shared: [stream] */
    uint64_t *last;             /* shared: [subscriber][stream], the highest number that came */
    uint32_t number;
    uint32_t publisher_count, subscriber_count;
};

/* What a worker has of all this. */
struct flow {
    struct group *groups;
    struct publisher *publishers;
    uint32_t *turns; /* publishers in the order of their turns */
    uint32_t publisher_count;
    uint32_t window; /* 0: open loop */
    uint32_t qos;
    uint32_t fan;    /* deliveries of one message */
    uint32_t credit; /* open loop: the most that a publisher has unacknowledged */
    bool shared, own_topics, commands;
    struct buf packet; /* a PUBLISH, but for topic, id, number and time */
    struct publish_form form;
};

/* ---- planning ---- */

/* How large groups are; `publishers` of the first ones may be one more. */
struct shape {
    uint32_t groups, publishers, subscribers;
    uint32_t more; /* groups that have a publisher more */
};

static struct shape shape_of(const struct load *load, bool witness)
{
    const struct options *o = &load->options;
    if (witness)
        return (struct shape){o->witnesses, 1, 1, 0};
    if (scenario_is(load, "fanin"))
        return (struct shape){o->groups, o->clients, 1, 0};
    if (scenario_is(load, "fanout"))
        return (struct shape){o->groups, 1, o->clients, 0};
    if (scenario_is(load, "shared"))
        return (struct shape){o->groups, o->clients, o->members, 0};
    if (scenario_is(load, "telemetry"))
        return (struct shape){o->dashboards, o->clients / o->dashboards, 1,
                              o->clients % o->dashboards};
    return (struct shape){o->clients, 1, 1, 0};
}

uint32_t flow_groups(const struct load *load)
{
    return shape_of(load, false).groups;
}

static void flow_topic(const struct flow *f, const struct load *load, const char *prefix,
                       uint32_t group, const char *stream, char topic[TEXT_MAX])
{
    snprintf(topic, TEXT_MAX, "%sbench/%08x/%06x%s%s", prefix, load->run, group & 0xffffff,
             f->own_topics ? "/" : "", f->own_topics ? stream : "");
}

/* Topics differ in digits at known places only, so one packet serves all publishers. */
static void flow_make_packet(struct flow *f, const struct worker *w)
{
    const struct options *o = &w->load->options;
    struct record record = {.run = w->load->run};
    char topic[TEXT_MAX];
    if (o->bare) {
        memset(buf_reserve(&f->packet, o->payload_bytes), 'x', o->payload_bytes);
        f->packet.len = o->payload_bytes;
    } else {
        flow_topic(f, w->load, "", 0, "000000", topic);
        f->form = packet_publish(&f->packet, (int)o->version, topic, (int)f->qos, o->payload_bytes);
    }
    memcpy(f->packet.ptr + f->form.payload_at, &record, sizeof record);
}

static struct flow *flow_new(const struct worker *w)
{
    const struct options *o = &w->load->options;
    struct flow *f = bench_zalloc(1, sizeof *f);
    f->window = w->witness || o->rate > 0 ? 0 : o->window;
    f->qos = w->witness ? 0 : o->qos;
    f->credit = UINT16_MAX;
    f->fan = !w->witness && scenario_is(w->load, "fanout") ? o->clients : 1;
    f->shared = !w->witness && scenario_is(w->load, "shared");
    f->own_topics = !w->witness && (o->own_topics || scenario_is(w->load, "telemetry"));
    f->commands = !w->witness && o->commands;
    flow_make_packet(f, w);
    return f;
}

static void publisher_init(struct publisher *p, struct client *c, const struct flow *f)
{
    p->client = c;
    p->stream = c->index;
    if (f->fan > 1 && f->window)
        p->arrived = bench_zalloc(f->window, sizeof *p->arrived);
    c->role = ROLE_PUBLISHER;
}

/* Clients of a group: its subscribers, then its publishers. */
static struct client *group_init(struct group *g, struct client *c, struct publisher *p,
                                 const struct flow *f)
{
    uint32_t pubs = g->publisher_count, subs = g->subscriber_count;
    g->publishers = p;
    g->sequences = bench_zalloc((size_t)pubs * (f->shared ? 1 : subs), sizeof *g->sequences);
    if (f->shared)
        g->last = bench_zalloc((size_t)pubs * subs, sizeof *g->last);
    for (uint32_t i = 0; i < subs + pubs; i++, c++) {
        c->group = g;
        c->role = ROLE_SUBSCRIBER;
        c->index = i < subs ? i : i - subs;
        if (i >= subs)
            publisher_init(p++, c, f);
    }
    return c;
}

static void flow_shuffle_turns(struct flow *f)
{
    f->turns = bench_zalloc(f->publisher_count, sizeof *f->turns);
    for (uint32_t i = 0; i < f->publisher_count; i++) {
        uint32_t j = (uint32_t)random() % (i + 1);
        f->turns[i] = f->turns[j];
        f->turns[j] = i;
    }
}

/* Groups number, number + step, ... of a shape are this worker's. */
static void flow_plan(struct worker *w)
{
    struct flow *f = w->flow = flow_new(w);
    struct shape shape = shape_of(w->load, w->witness);
    uint32_t step = w->witness ? 1 : w->load->crew, first = w->witness ? 0 : w->number;
    uint32_t count = first < shape.groups ? (shape.groups - first + step - 1) / step : 0;
    f->groups = bench_zalloc(count, sizeof *f->groups);
    for (uint32_t i = 0; i < count; i++) {
        struct group *g = &f->groups[i];
        /* Witnesses' groups are numbered from the end, apart from the scenario's. */
        g->number = w->witness ? 0xffffff - i : first + i * step;
        g->publisher_count = shape.publishers + (first + i * step < shape.more);
        g->subscriber_count = shape.subscribers;
        f->publisher_count += g->publisher_count;
        w->client_count += g->publisher_count + g->subscriber_count;
    }
    struct client *c = w->clients = bench_zalloc(w->client_count, sizeof *w->clients);
    struct publisher *p = f->publishers = bench_zalloc(f->publisher_count, sizeof *f->publishers);
    for (uint32_t i = 0; i < count; p += f->groups[i].publisher_count, i++)
        c = group_init(&f->groups[i], c, p, f);
    flow_shuffle_turns(f);
    const struct options *o = &w->load->options;
    if (w->witness)
        w->sends.per_second = WITNESS_RATE * count;
    else if (o->rate > 0)
        w->sends.per_second = o->rate * count / shape.groups;
}

/* ---- connecting ---- */

uint32_t flow_bare_greeting(const struct client *c, char text[TEXT_MAX])
{
    return (uint32_t)snprintf(text, TEXT_MAX, "%c %u %u\n", c->role == ROLE_PUBLISHER ? 'P' : 'S',
                              c->group->number, c->worker->load->options.payload_bytes);
}

static struct publisher *publisher_of(const struct client *c)
{
    return &c->group->publishers[c->index];
}

static void flow_on_connack(struct client *c, const struct frame *frame)
{
    struct flow *f = c->worker->flow;
    char filter[TEXT_MAX];
    if (c->role == ROLE_SUBSCRIBER) {
        flow_topic(f, c->worker->load, f->shared ? "$share/bench/" : "", c->group->number, "+",
                   filter);
        client_subscribe(c, filter, (int)f->qos);
        return;
    }
    uint32_t maximum = packet_receive_maximum(frame, (int)c->worker->load->options.version);
    if (f->qos && f->window > maximum)
        bench_fail("the broker's Receive Maximum is %u: --window %u is more than it allows",
                   maximum, f->window);
    if (f->credit > maximum)
        f->credit = maximum;
    if (f->commands) {
        client_topic(c, filter);
        client_subscribe(c, filter, (int)f->qos);
        return;
    }
    client_set_ready(c);
}

/* ---- sending ---- */

static void put_digits(uint8_t *at, uint32_t value)
{
    for (uint32_t i = TOPIC_DIGITS; i--; value >>= 4)
        at[i] = (uint8_t) "0123456789abcdef"[value & 15];
}

/* Makes the worker's packet that of this publisher, but for id, number and time. */
static void flow_address(struct flow *f, const struct publisher *p)
{
    if (f->form.topic_at)
        put_digits(f->packet.ptr + f->form.topic_at + TOPIC_GROUP_AT, p->client->group->number);
    if (f->own_topics && f->form.topic_at)
        put_digits(f->packet.ptr + f->form.topic_at + TOPIC_STREAM_AT, p->stream);
    memcpy(f->packet.ptr + f->form.payload_at + offsetof(struct record, stream), &p->stream,
           sizeof p->stream);
}

/* Appends `count` messages that were due at `due_ns`. */
static void publisher_send(struct publisher *p, uint32_t count, uint64_t due_ns)
{
    struct client *c = p->client;
    struct flow *f = c->worker->flow;
    uint32_t bytes = f->packet.len;
    struct buf *out = client_out(c);
    uint8_t *at = buf_reserve(out, count * bytes);
    flow_address(f, p);
    for (uint32_t i = 0; i < count; i++, at += bytes) {
        uint8_t *record = at + f->form.payload_at;
        uint64_t number = p->sent++;
        memcpy(at, f->packet.ptr, bytes);
        memcpy(record + offsetof(struct record, number), &number, sizeof number);
        memcpy(record + offsetof(struct record, due_ns), &due_ns, sizeof due_ns);
        if (f->form.id_at) {
            uint16_t id = client_next_id(c);
            at[f->form.id_at] = id >> 8;
            at[f->form.id_at + 1] = id & 0xff;
        }
    }
    out->len += count * bytes;
    count_add(&c->worker->counts.sent, count);
    count_add(&c->worker->counts.expected, (uint64_t)count * f->fan);
}

/* How many more the window has room for. */
static uint32_t publisher_room(const struct publisher *p, const struct flow *f)
{
    uint64_t done = f->qos && p->acked < p->done ? p->acked : p->done;
    uint64_t flying = p->sent > done ? p->sent - done : 0;
    uint32_t room = flying < f->window ? f->window - (uint32_t)flying : 0;
    uint32_t most = FILL_BYTES_MAX / f->packet.len + 1;
    return room < most ? room : most;
}

static bool flow_is_sending(const struct worker *w)
{
    return w->phase >= PHASE_RUN && w->phase < PHASE_DRAIN;
}

/* Closed loop: as many messages as the window has room for. */
static void flow_fill(struct client *c)
{
    const struct worker *w = c->worker;
    const struct flow *f = w->flow;
    if (c->role != ROLE_PUBLISHER || !f->window || !flow_is_sending(w) || c->blocked)
        return;
    uint32_t count = publisher_room(publisher_of(c), f);
    if (count)
        publisher_send(publisher_of(c), count, w->now_ns);
}

/* Open loop: whether this publisher can take a message now; if not, all wait for it, and what is
 * late has it counted. */
static bool publisher_can_send(const struct publisher *p, const struct flow *f)
{
    uint64_t flying = p->sent - p->acked;
    return p->client->out.len < BACKLOG_BYTES_MAX && (!f->qos || flying < f->credit);
}

/* The next one in turn that is connected; NULL when there is none. */
static struct publisher *flow_next_publisher(struct worker *w)
{
    struct flow *f = w->flow;
    for (uint32_t i = 0; i < f->publisher_count; i++) {
        struct publisher *p = &f->publishers[f->turns[w->turn_at]];
        if (p->client->state == CLIENT_READY)
            return p;
        w->turn_at = (w->turn_at + 1) % f->publisher_count;
    }
    return NULL;
}

static void flow_send_due(struct worker *w)
{
    struct flow *f = w->flow;
    uint64_t end_ns = worker_end_ns(w);
    for (uint32_t i = 0; i < SENDS_PER_TURN; i++) {
        uint64_t due = pace_due_ns(&w->sends);
        if (due >= end_ns)
            return;
        if (due > w->now_ns) {
            worker_wake(w, due);
            return;
        }
        struct publisher *p = flow_next_publisher(w);
        if (!p || !publisher_can_send(p, f)) {
            worker_wake(w, w->now_ns + 1000000);
            return;
        }
        publisher_send(p, 1, due);
        worker_record_late(w, due);
        client_mark(p->client);
        w->turn_at = (w->turn_at + 1) % f->publisher_count;
        w->sends.count++;
    }
    worker_wake(w, w->now_ns);
}

/* ---- receiving ---- */

/* One subscriber has message `number`; when all have, the window opens by one. */
static void publisher_arrived(struct publisher *p, const struct flow *f, uint64_t number)
{
    if (!f->window || number < p->floor || number >= p->sent)
        return;
    if (p->arrived) {
        uint32_t *arrived = &p->arrived[number % f->window];
        if (++*arrived < f->fan)
            return;
        *arrived = 0;
    }
    p->done++;
    client_mark(p->client);
}

/* Members of a shared subscription get numbers with gaps: each sees them rise, the group sees all.
 */
static enum sequence_seen group_note(struct group *g, const struct client *c,
                                     const struct record *r)
{
    size_t place = (size_t)c->index * g->publisher_count + r->stream;
    if (!g->last)
        return sequence_note(&g->sequences[place], r->number);
    enum sequence_seen seen = sequence_note(&g->sequences[r->stream], r->number);
    if (seen == SEQUENCE_AGAIN)
        return seen;
    bool late = r->number < g->last[place];
    if (!late)
        g->last[place] = r->number;
    return late ? SEQUENCE_LATE : SEQUENCE_NEW;
}

void flow_on_record(struct client *c, const uint8_t *payload, uint32_t len)
{
    struct worker *w = c->worker;
    struct group *g = c->group;
    struct record record = {0};
    if (len >= sizeof record)
        memcpy(&record, payload, sizeof record);
    if (UNLIKELY(c->role != ROLE_SUBSCRIBER || len < sizeof record || record.run != w->load->run ||
                 record.stream >= g->publisher_count)) {
        count_add(&w->counts.foreign, 1);
        return;
    }
    enum sequence_seen seen = group_note(g, c, &record);
    count_add(seen == SEQUENCE_AGAIN ? &w->counts.duplicate : &w->counts.delivered, 1);
    if (seen == SEQUENCE_AGAIN)
        return;
    if (seen == SEQUENCE_LATE)
        count_add(&w->counts.disordered, 1);
    publisher_arrived(&g->publishers[record.stream], w->flow, record.number);
    worker_record(w, record.due_ns);
}

static void flow_on_publish(struct client *c, const struct publish *publish)
{
    flow_on_record(c, publish->payload, publish->len);
    client_acknowledge(c, publish);
}

static void flow_on_ack(struct client *c, const struct frame *frame)
{
    (void)frame;
    if (c->role != ROLE_PUBLISHER)
        return;
    publisher_of(c)->acked++;
    count_add(&c->worker->counts.acked, 1);
    client_mark(c);
}

/* ---- turns ---- */

/* Opens a window whose messages were lost, after a second without progress. What was not acknowledged
   stays in flight all the same: the broker may be slow, and its Receive Maximum holds [MQTT-3.3.4-7]. */
static void publisher_unstall(struct publisher *p, const struct flow *f)
{
    uint32_t progress = (uint32_t)(p->acked + p->done);
    bool stuck = progress == p->progress && p->sent > p->floor && p->client->state == CLIENT_READY;
    p->progress = progress;
    if (!stuck || p->client->blocked)
        return;
    count_add(&p->client->worker->counts.stalled, 1);
    p->floor = p->done = p->sent;
    if (!f->qos)
        p->acked = p->sent;
    p->progress = (uint32_t)(p->acked + p->done);
    if (p->arrived)
        memset(p->arrived, 0, f->window * sizeof *p->arrived);
    client_mark(p->client);
}

static void flow_turn(struct worker *w)
{
    struct flow *f = w->flow;
    if (!f->window && w->sends.start_ns && f->publisher_count && w->phase <= PHASE_DRAIN)
        flow_send_due(w);
    if (!f->window || !flow_is_sending(w) || !f->publisher_count)
        return;
    if (w->now_ns - w->checked_ns < SECOND_NS)
        return;
    w->checked_ns = w->now_ns;
    for (uint32_t i = 0; i < f->publisher_count; i++)
        publisher_unstall(&f->publishers[i], f);
}

static void flow_begin(struct worker *w)
{
    struct flow *f = w->flow;
    if (w->phase != PHASE_RUN)
        return;
    w->sends.start_ns = w->checked_ns = w->now_ns;
    for (uint32_t i = 0; f->window && i < f->publisher_count; i++)
        client_mark(f->publishers[i].client);
}

static uint64_t flow_behind(const struct worker *w)
{
    const struct flow *f = w->flow;
    return f->window || !f->publisher_count ? 0 : pace_behind(&w->sends, worker_end_ns(w));
}

const struct behaviour flow_behaviour = {
    .plan = flow_plan,
    .begin = flow_begin,
    .turn = flow_turn,
    .on_connack = flow_on_connack,
    .on_publish = flow_on_publish,
    .on_ack = flow_on_ack,
    .fill = flow_fill,
    .behind = flow_behind,
};
