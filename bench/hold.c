/*
 * hold.c: clients that keep a connection rather than move messages.
 *
 *   connect  connect (at --rate), subscribe to a topic of their own, stay
 *   ping     the same, and a PINGREQ each in turn at --rate, or again at each PINGRESP
 *   storm    the same as connect; then all connections are cut at once, and all come back at once
 *
 * Whoever is connected sends PINGREQ at 3/4 of the keepalive. The latency of a connection is
 * counted from when it was due, that of a PINGREQ too; in a storm from when all were cut.
 */
#include "bench/hold.h"

#define PINGS_PER_TURN 512

void hold_plan(struct worker *w)
{
    const struct load *load = w->load;
    const struct options *o = &load->options;
    uint32_t share = o->clients / load->crew, more = o->clients % load->crew;
    uint32_t number = w->number;
    w->client_count = share + (number < more);
    w->clients = bench_zalloc(w->client_count, sizeof *w->clients);
    double rate = o->rate * w->client_count / o->clients;
    if (scenario_is(load, "ping"))
        w->pings.per_second = rate;
    else if (scenario_is(load, "connect"))
        w->opens.per_second = rate;
}

void hold_on_connack(struct client *c, const struct frame *frame)
{
    (void)frame;
    char topic[TEXT_MAX];
    client_topic(c, topic);
    client_subscribe(c, topic, (int)c->worker->load->options.qos);
}

static void hold_on_ready(struct client *c)
{
    if (c->worker->phase == PHASE_SECOND)
        worker_record(c->worker, c->since_ns);
    c->since_ns = c->worker->now_ns;
}

/* ---- ping ---- */

static void hold_ping(struct client *c, uint64_t due_ns, bool timing)
{
    if (!c->awaiting)
        count_add(&c->worker->counts.unanswered, 1);
    c->awaiting = true;
    c->timing = timing;
    c->since_ns = due_ns;
    packet_bare(client_out(c), PACKET_PINGREQ);
    count_add(&c->worker->counts.pings, 1);
    client_mark(c);
}

void hold_on_pong(struct client *c)
{
    struct worker *w = c->worker;
    client_is_answered(c);
    count_add(&w->counts.pongs, 1);
    if (c->timing)
        worker_record(w, c->since_ns);
    if (scenario_is(w->load, "ping") && w->pings.per_second == 0 && w->phase == PHASE_RUN)
        hold_ping(c, w->now_ns, true);
}

/* The next client in turn that waits for nothing; NULL when there is none. */
static struct client *hold_next(struct worker *w)
{
    for (uint32_t i = 0; i < w->client_count; i++) {
        struct client *c = &w->clients[w->turn_at];
        w->turn_at = (w->turn_at + 1) % w->client_count;
        if (c->state == CLIENT_READY && !c->awaiting)
            return c;
    }
    return NULL;
}

/* PINGREQs belong to the step of RUN: what is due later is not sent. */
static uint64_t hold_pings_end_ns(const struct worker *w)
{
    return w->phase > PHASE_RUN ? w->spans[PHASE_RUN].to_ns : UINT64_MAX;
}

uint64_t hold_behind(const struct worker *w)
{
    return pace_behind(&w->pings, hold_pings_end_ns(w));
}

void hold_ping_turn(struct worker *w)
{
    uint64_t end_ns = hold_pings_end_ns(w);
    if (w->pings.per_second == 0 || !w->pings.start_ns || w->phase > PHASE_DRAIN)
        return;
    for (uint32_t i = 0; i < PINGS_PER_TURN; i++) {
        uint64_t due = pace_due_ns(&w->pings);
        if (due >= end_ns)
            return;
        if (due > w->now_ns) {
            worker_wake(w, due);
            return;
        }
        struct client *c = hold_next(w);
        if (!c) {
            worker_wake(w, w->now_ns + 1000000);
            return;
        }
        hold_ping(c, due, true);
        worker_record_late(w, due);
        w->pings.count++;
    }
    worker_wake(w, w->now_ns);
}

void hold_keepalive_turn(struct worker *w)
{
    uint64_t age_ns = w->load->options.keepalive_s * (SECOND_NS * 3 / 4);
    bool timing = w->phase == PHASE_RUN && w->pings.per_second > 0;
    if (!age_ns || w->phase == PHASE_DRAIN || w->now_ns - w->checked_ns < SECOND_NS / 2)
        return;
    w->checked_ns = w->now_ns;
    for (uint32_t i = 0; i < w->client_count; i++) {
        struct client *c = &w->clients[i];
        if (c->state == CLIENT_READY && !c->awaiting && w->now_ns > c->since_ns + age_ns)
            hold_ping(c, w->now_ns, timing);
    }
}

/* ---- turns ---- */

void hold_cut(struct client *c)
{
    struct worker *w = c->worker;
    bool is_queued = c->state == CLIENT_DOWN;
    client_cut(c);
    c->since_ns = w->now_ns;
    if (!is_queued)
        worker_queue(w, c);
}

static void storm_begin(struct worker *w)
{
    for (uint32_t i = 0; i < w->client_count; i++)
        hold_cut(&w->clients[i]);
}

static void hold_begin(struct worker *w)
{
    if (w->phase == PHASE_SECOND)
        storm_begin(w);
    if (w->phase != PHASE_RUN || !scenario_is(w->load, "ping"))
        return;
    w->pings.start_ns = w->now_ns;
    for (uint32_t i = 0; w->pings.per_second == 0 && i < w->client_count; i++)
        if (w->clients[i].state == CLIENT_READY)
            hold_ping(&w->clients[i], w->now_ns, true);
}

static void hold_turn(struct worker *w)
{
    hold_ping_turn(w);
    hold_keepalive_turn(w);
}

const struct behaviour hold_behaviour = {
    .returns_at_once = true,
    .plan = hold_plan,
    .begin = hold_begin,
    .turn = hold_turn,
    .on_connack = hold_on_connack,
    .on_ready = hold_on_ready,
    .on_pong = hold_on_pong,
    .behind = hold_behind,
};
