/*
 * load_client.c: one connection of the load generator.
 *
 *   DOWN -> CONNECTING -> GREETING (CONNECT sent) -> SUBSCRIBING -> READY -> DOWN
 *
 * With --bare GREETING waits for the relay's one byte instead of a CONNACK.
 *
 * A turn reads once from each ready socket into the worker's one buffer, and only the tail of a
 * half-arrived packet is kept by the client; whatever is to be sent is gathered, and written once
 * at the end of the turn. Owner of everything here: the client's worker.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

static const struct options *client_options(const struct client *c)
{
    return &c->worker->load->options;
}

static void client_watch(struct client *c, int op, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(c->worker->epoll, op, c->fd, &event))
        load_fail("epoll_ctl: %s", strerror(errno));
}

/* The port is chosen at connect, so that each source address has all ports for each peer. */
static void client_bind(struct client *c)
{
    const struct options *o = client_options(c);
    struct sockaddr_in source = {.sin_family = AF_INET};
    int on = 1;
    if (!o->source_count)
        return;
    source.sin_addr.s_addr = htonl(o->source_first + c->number % o->source_count);
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(c->fd, (struct sockaddr *)&source, sizeof source))
        load_fail("bind to a source address: %s", strerror(errno));
}

void client_open(struct client *c)
{
    const struct options *o = client_options(c);
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        load_fail("socket: %s", strerror(errno));
    client_bind(c);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(c->fd, (const struct sockaddr *)&o->peer, sizeof o->peer) && errno != EINPROGRESS)
        load_fail("connect: %s", strerror(errno));
    c->state = CLIENT_CONNECTING;
    c->generation++;
    c->blocked = c->awaiting = false;
    c->worker->opening++;
    client_watch(c, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT);
}

void client_close(struct client *c)
{
    if (c->state == CLIENT_DOWN)
        return;
    if (c->state != CLIENT_READY)
        c->worker->opening--;
    close(c->fd);
    c->fd = -1;
    c->state = CLIENT_DOWN;
    c->out.len = c->tail.len = 0;
}

/* The connection ended and it was not us. Before everyone is connected that is the end. */
static void client_lost(struct client *c, const char *why, int reason)
{
    if (c->worker->phase == PHASE_CONNECT)
        load_fail("client %u: %s (%d)", c->number, why, reason);
    count_add(&c->worker->counts.closed, 1);
    client_close(c);
    if (c->role == ROLE_HOLDER && c->worker->phase == PHASE_RUN)
        worker_queue(c->worker, c);
}

void client_topic(const struct client *c, char topic[LOAD_TOPIC_MAX])
{
    snprintf(topic, LOAD_TOPIC_MAX, "load/%08x/%06x", c->worker->load->run, c->number & 0xffffff);
}

/* Twenty bytes, as sensors' ids often have. */
static void client_id(const struct client *c, char id[LOAD_TOPIC_MAX])
{
    uint32_t run = c->worker->load->run + c->generation;
    snprintf(id, LOAD_TOPIC_MAX, "load-%08x-%06x", run, c->number & 0xffffff);
}

static void client_greet(struct client *c)
{
    const struct options *o = client_options(c);
    char text[LOAD_TOPIC_MAX];
    c->state = CLIENT_GREETING;
    if (o->bare) {
        bool publishes = c->role == ROLE_PUBLISHER;
        uint32_t group = publishes ? c->publisher->group : c->subscriber->group;
        int len = snprintf(text, sizeof text, "%c %u %u\n", publishes ? 'P' : 'S', group,
                           o->payload_bytes);
        buf_append(&c->out, text, (uint32_t)len);
    } else {
        client_id(c, text);
        packet_connect(&c->out, o->version, text, o->keepalive_s);
    }
    client_mark(c);
}

static void client_ready(struct client *c)
{
    c->state = CLIENT_READY;
    c->worker->opening--;
    count_add(&c->worker->counts.ready, 1);
    if (c->role == ROLE_HOLDER)
        hold_on_ready(c);
}

static void client_subscribe(struct client *c)
{
    const struct options *o = client_options(c);
    char topic[LOAD_TOPIC_MAX];
    if (c->role == ROLE_SUBSCRIBER)
        flow_filter(c, topic);
    else
        client_topic(c, topic);
    packet_subscribe(&c->out, o->version, 1, topic, o->qos);
    c->packet_id = 1;
    c->state = CLIENT_SUBSCRIBING;
    client_mark(c);
}

static void client_on_connack(struct client *c, const struct frame *frame)
{
    const struct options *o = client_options(c);
    if (c->role != ROLE_PUBLISHER) {
        client_subscribe(c);
        return;
    }
    uint32_t maximum = packet_receive_maximum(frame, o->version);
    if (o->qos && c->publisher->window > maximum)
        load_fail("the broker's Receive Maximum of %u is below the window", maximum);
    client_ready(c);
}

/* A packet with a reason of 0x80 and above (3.1.1's CONNACK: 1 and above) is bad news. */
static bool client_refused(struct client *c, const struct frame *frame)
{
    int reason = packet_reason(frame, client_options(c)->version);
    if (reason < 0x80 && (frame->type != PACKET_CONNACK || reason == 0))
        return false;
    count_add(&c->worker->counts.refused, 1);
    if (frame->type == PACKET_CONNACK || frame->type == PACKET_SUBACK)
        load_fail("client %u: refused with reason 0x%02x", c->number, reason);
    return true;
}

static void client_packet(struct client *c, const struct frame *frame)
{
    struct publish publish;
    switch (frame->type) {
    case PACKET_PUBLISH:
        if (!packet_read_publish(frame, client_options(c)->version, &publish))
            load_fail("client %u: a PUBLISH that cannot be read", c->number);
        if (c->role == ROLE_HOLDER)
            hold_on_publish(c, &publish);
        else
            flow_on_publish(c, &publish);
        break;
    case PACKET_PUBACK:
    case PACKET_PUBREC:
    case PACKET_PUBREL:
    case PACKET_PUBCOMP:
        client_refused(c, frame);
        flow_on_ack(c, frame);
        break;
    case PACKET_CONNACK:
        if (!client_refused(c, frame))
            client_on_connack(c, frame);
        break;
    case PACKET_SUBACK:
        if (!client_refused(c, frame))
            client_ready(c);
        break;
    case PACKET_PINGRESP:
        hold_on_pong(c);
        break;
    case PACKET_DISCONNECT:
        client_lost(c, "disconnected", packet_reason(frame, client_options(c)->version));
        break;
    default:
        load_fail("client %u: a packet of type %u", c->number, frame->type);
    }
}

/* Works through whole packets; returns the bytes that are left over, all of them `len` at most. */
static size_t client_packets(struct client *c, const uint8_t *p, size_t len)
{
    struct frame frame;
    while (len) {
        long used = packet_next(p, len, &frame);
        if (used < 0)
            load_fail("client %u: a length of five bytes", c->number);
        if (used == 0)
            break;
        client_packet(c, &frame);
        if (c->state == CLIENT_DOWN)
            return 0;
        p += used;
        len -= (size_t)used;
    }
    return len;
}

/* --bare: records of the payload's size and nothing else, after the relay's one byte. */
static size_t client_records(struct client *c, const uint8_t *p, size_t len)
{
    uint32_t bytes = client_options(c)->payload_bytes;
    if (c->state == CLIENT_GREETING && len) {
        client_ready(c);
        p++;
        len--;
    }
    for (; len >= bytes; p += bytes, len -= bytes)
        flow_on_record(c, p, bytes);
    return len;
}

static void client_read(struct client *c)
{
    struct worker *w = c->worker;
    uint32_t held = c->tail.len;
    if (held)
        memcpy(w->read_buf, c->tail.ptr, held);
    ssize_t got = recv(c->fd, w->read_buf + held, w->read_cap - held, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        client_lost(c, got ? strerror(errno) : "closed by the broker", c->state);
        return;
    }
    w->now_ns = load_clock_ns();
    size_t len = held + (size_t)got, left;
    left = client_options(c)->bare ? client_records(c, w->read_buf, len)
                                   : client_packets(c, w->read_buf, len);
    c->tail.len = 0;
    if (left)
        buf_append(&c->tail, w->read_buf + len - left, (uint32_t)left);
}

void client_event(struct client *c, uint32_t events)
{
    if (c->state == CLIENT_DOWN)
        return;
    if (c->state == CLIENT_CONNECTING) {
        int error = 0;
        socklen_t len = sizeof error;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
        if (error)
            load_fail("client %u: connect: %s", c->number, strerror(error));
        client_watch(c, EPOLL_CTL_MOD, EPOLLIN);
        client_greet(c);
        return;
    }
    if (events & EPOLLOUT)
        client_mark(c);
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        client_read(c);
}

void client_mark(struct client *c)
{
    if (c->dirty)
        return;
    c->dirty = true;
    c->next_dirty = c->worker->dirty;
    c->worker->dirty = c;
}

void client_write(struct client *c)
{
    if (!c->out.len)
        return;
    ssize_t put = send(c->fd, c->out.ptr, c->out.len, MSG_NOSIGNAL);
    if (put < 0) {
        if (errno != EAGAIN && errno != EINTR) {
            client_lost(c, strerror(errno), c->state);
            return;
        }
        put = 0;
    }
    buf_drop(&c->out, (uint32_t)put);
    bool blocked = c->out.len > 0;
    if (blocked != c->blocked)
        client_watch(c, EPOLL_CTL_MOD, blocked ? EPOLLIN | EPOLLOUT : EPOLLIN);
    c->blocked = blocked;
}

void worker_flush(struct worker *w)
{
    struct client *c = w->dirty;
    w->dirty = NULL;
    if (c)
        w->now_ns = load_clock_ns();
    while (c) {
        struct client *next = c->next_dirty;
        c->dirty = false;
        if (c->state == CLIENT_READY && c->role == ROLE_PUBLISHER && w->phase == PHASE_RUN)
            flow_fill(c);
        if (c->state != CLIENT_DOWN)
            client_write(c);
        c = next;
    }
}
