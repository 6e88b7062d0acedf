/*
 * load_hold.c: clients that keep a connection rather than move messages.
 *
 *   idle     connect, subscribe to a topic of their own, stay; PINGREQ at 3/4 of the keepalive
 *   ping     the same, and a PINGREQ each in turn at a common rate, or again at each PINGRESP
 *   connect  connect, subscribe [, publish to itself, receive, DISCONNECT], close, again
 */
#include <stdlib.h>

#include "load.h"

#define HOLD_PINGS_PER_TURN 512

void hold_plan(struct load *load)
{
    const struct options *o = &load->options;
    load->client_count = o->clients;
    load->clients = load_zalloc(o->clients, sizeof *load->clients);
    for (uint32_t i = 0; i < o->clients; i++) {
        load->clients[i].worker = &load->workers[i % o->threads];
        load->clients[i].role = ROLE_HOLDER;
    }
}

static bool hold_is(const struct client *c, const char *scenario)
{
    return strcmp(c->worker->load->options.scenario, scenario) == 0;
}

static void hold_ping(struct client *c)
{
    c->awaiting = true;
    c->sent_ns = c->worker->now_ns;
    packet_bare(&c->out, PACKET_PINGREQ);
    count_add(&c->worker->counts.sent, 1);
    client_mark(c);
}

/* ---- connect ---- */

static void cycle_end(struct client *c)
{
    struct worker *w = c->worker;
    if (atomic_load_explicit(&w->measuring, memory_order_relaxed))
        hist_add(&w->latency, load_clock_ns() - c->sent_ns);
    count_add(&w->counts.cycles, 1);
    client_close(c);
    if (w->phase <= PHASE_RUN)
        worker_queue(w, c);
}

static void cycle_publish(struct client *c)
{
    const struct options *o = &c->worker->load->options;
    uint32_t start = c->out.len, id_at, payload_at;
    char topic[LOAD_TOPIC_MAX];
    client_topic(c, topic);
    packet_publish(&c->out, o->version, topic, o->qos, o->payload_bytes, &id_at, &payload_at);
    if (id_at)
        c->out.ptr[start + id_at + 1] = 1;
    count_add(&c->worker->counts.sent, 1);
    client_mark(c);
}

/* Its own message came back. DISCONNECT leaves at once, as the socket is closed in this turn. */
void hold_on_publish(struct client *c, const struct publish *publish)
{
    count_add(&c->worker->counts.delivered, 1);
    if (publish->qos)
        packet_ack(&c->out, publish->qos == 1 ? PACKET_PUBACK : PACKET_PUBREC, publish->id);
    packet_bare(&c->out, PACKET_DISCONNECT);
    client_write(c);
    cycle_end(c);
}

/* ---- idle and ping ---- */

void hold_on_ready(struct client *c)
{
    if (!hold_is(c, "connect")) {
        c->sent_ns = c->worker->now_ns;
        return;
    }
    if (c->worker->load->options.publish)
        cycle_publish(c);
    else
        cycle_end(c);
}

void hold_on_pong(struct client *c)
{
    struct worker *w = c->worker;
    c->awaiting = false;
    count_add(&w->counts.acked, 1);
    if (atomic_load_explicit(&w->measuring, memory_order_relaxed))
        hist_add(&w->latency, w->now_ns - c->sent_ns);
    if (w->load->options.rate == 0 && w->phase == PHASE_RUN && hold_is(c, "ping"))
        hold_ping(c);
}

/* The next clients in turn, as many as the rate wants by now; who still waits is passed over. */
static void ping_turn(struct worker *w)
{
    const struct options *o = &w->load->options;
    uint64_t sent = count_get(&w->counts.sent), due = w->client_count;
    if (w->started_ns == 0) {
        w->started_ns = w->now_ns;
        w->started_sent = sent;
    }
    if (o->rate > 0) {
        double passed_s = (double)(w->now_ns - w->started_ns) / 1e9;
        uint64_t wanted = w->started_sent + (uint64_t)(passed_s * o->rate / o->threads);
        due = wanted > sent ? wanted - sent : 0;
        if (due > HOLD_PINGS_PER_TURN)
            due = HOLD_PINGS_PER_TURN;
    } else if (sent > w->started_sent) {
        return; /* each pong brings the next ping */
    }
    for (uint32_t looked = 0; due && looked < w->client_count; looked++) {
        struct client *c = w->clients[w->turn_at++ % w->client_count];
        if (c->state != CLIENT_READY || c->awaiting)
            continue;
        hold_ping(c);
        due--;
    }
}

static void keepalive_turn(struct worker *w)
{
    uint64_t age_ns = (uint64_t)w->load->options.keepalive_s * 750000000;
    if (!age_ns || w->now_ns - w->checked_ns < 500000000)
        return;
    w->checked_ns = w->now_ns;
    for (uint32_t i = 0; i < w->client_count; i++) {
        struct client *c = w->clients[i];
        if (c->state == CLIENT_READY && !c->awaiting && w->now_ns - c->sent_ns > age_ns)
            hold_ping(c);
    }
}

void hold_turn(struct worker *w)
{
    const char *scenario = w->load->options.scenario;
    if (strcmp(scenario, "connect") == 0)
        return;
    if (strcmp(scenario, "ping") == 0 && w->phase == PHASE_RUN)
        ping_turn(w);
    keepalive_turn(w);
}
