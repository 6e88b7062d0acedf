/*
 * client.c: one connection of the load tool.
 *
 *   DOWN -> CONNECTING [-> UPGRADING] -> GREETING (CONNECT sent) [-> SUBSCRIBING] -> READY -> DOWN
 *
 * UPGRADING: the request for a WebSocket is not answered yet; from then on all goes through its frames.
 * With --bare GREETING waits for the relay's one byte instead of a CONNACK.
 *
 * A turn reads once from each ready socket into the worker's one buffer, and only the tail of a
 * half-arrived packet is kept by the client; whatever is to be sent is gathered, and written once
 * at the end of the turn. Buffers are lent by the worker, so that a client at rest has none.
 *
 * Owner of everything here: the client's worker. A client at rest costs sizeof(struct client).
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "bench/bench.h"
#include "bench/flow.h"

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif
#define RETRY_PAUSE_NS (100 * 1000000ull)
#define TROUBLE_NS (500 * 1000000ull) /* so long it is tried while nobody was ever connected */

_Static_assert(sizeof(struct client) <= 112, "a client at rest must be small");

static const struct options *client_options(const struct client *c)
{
    return &c->worker->load->options;
}

/* ---- what goes wrong ---- */

static const char *connect_advice(const struct client *c, int error)
{
    switch (error) {
    case ECONNREFUSED:
        return "nothing listens there. Start a broker, or say where it is: --host and --port";
    case ENETUNREACH:
    case EHOSTUNREACH:
    case ETIMEDOUT:
        return "nobody answers there: is the address right (--host), is a firewall between?";
    default:
        if (client_options(c)->websocket)
            return "is it a WebSocket listener, without TLS? Plain MQTT is without --websocket. "
                   "The broker's log may say why";
        return "is it an MQTT listener, without TLS? One for WebSocket wants --websocket. "
               "The broker's log may say why";
    }
}

static void fail_ports(const struct client *c)
{
    const struct load *load = c->worker->load;
    bench_fail("no port left to connect from at client %u: each source address has a limited number"
               " of them for one broker (/proc/sys/net/ipv4/ip_local_port_range), and closed"
               " connections hold theirs for a while. More addresses have more:"
               " --source 127.0.0.2-127.0.0.%u, or %s",
               c->number, load->client_count / 20000 + 9,
               load->options.source_count ? "a longer range than now"
                                          : "a range that this machine has");
}

static void fail_descriptors(const struct client *c, int error)
{
    if (error == EMFILE)
        bench_fail("no descriptor left at client %u: --threads N gives each of N threads as many as"
                   " `ulimit -Hn` says",
                   c->number);
    bench_fail("no socket at client %u: %s", c->number, strerror(error));
}

/* Whether a client that lost its connection is to have another. */
static bool client_returns(const struct client *c)
{
    const struct worker *w = c->worker;
    return c->role == ROLE_HOLDER ? worker_is_opening(w) : w->phase == PHASE_CONNECT;
}

/* Whether it is no use to try again: nobody was ever connected, and not for want of a moment. */
static bool client_is_hopeless(const struct client *c, int error)
{
    struct worker *w = c->worker;
    if (atomic_load(&w->load->met))
        return false;
    if (!w->trouble_ns)
        w->trouble_ns = w->now_ns;
    return (error && error != ECONNRESET && error != EPIPE) ||
           w->now_ns - w->trouble_ns > TROUBLE_NS;
}

/* The connection ended and it was not us. */
static void client_lost(struct client *c, const char *why, int error)
{
    struct worker *w = c->worker;
    bool was_ready = c->state == CLIENT_READY;
    if (client_is_hopeless(c, error))
        bench_fail("cannot connect to %s: %s; %s", w->load->peer_text, why,
                   connect_advice(c, error));
    count_add(was_ready ? &w->counts.closed : &w->counts.retried, 1);
    client_close(c);
    if (!client_returns(c))
        return;
    if (was_ready)
        c->since_ns = w->now_ns;
    else
        w->paused_ns = w->now_ns + RETRY_PAUSE_NS;
    worker_queue(w, c);
}

void client_time_out(struct client *c)
{
    struct worker *w = c->worker;
    if (!atomic_load(&w->load->met))
        bench_fail(
            "cannot connect to %s: no answer within %g s (--timeout); is it an MQTT listener,"
            " without TLS?",
            w->load->peer_text, w->load->options.timeout_s);
    count_add(&w->counts.timeouts, 1);
    if (c->timed_out)
        count_add(&w->counts.timeouts_again, 1);
    c->timed_out = true;
    client_cut(c);
    if (client_returns(c))
        worker_queue(w, c);
}

/* ---- opening and closing ---- */

static void client_watch(struct client *c, int op, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(c->worker->epoll, op, c->fd, &event))
        bench_fail("epoll_ctl: %s", strerror(errno));
}

/* The port is chosen at connect, so that each source address has all ports for each peer. */
static void client_bind(const struct client *c)
{
    const struct options *o = client_options(c);
    struct sockaddr_in source = {.sin_family = AF_INET};
    int on = 1;
    if (!o->source_count)
        return;
    source.sin_addr.s_addr = htonl(o->source_first + c->number % o->source_count);
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(c->fd, (struct sockaddr *)&source, sizeof source))
        bench_fail("--source: this machine cannot connect from address %u of the range: %s",
                   c->number % o->source_count + 1, strerror(errno));
}

void client_open(struct client *c)
{
    struct worker *w = c->worker;
    const struct load *load = w->load;
    int on = 1;
    if (load->options.websocket && !c->ws)
        c->ws = bench_zalloc(1, sizeof *c->ws);
    if (c->ws)
        *c->ws = (struct websocket){0};
    c->fd = socket(load->peer.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        fail_descriptors(c, errno);
    client_bind(c);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    int error = connect(c->fd, (const struct sockaddr *)&load->peer, load->peer_len) ? errno : 0;
    if (error == EADDRNOTAVAIL || error == EADDRINUSE)
        fail_ports(c);
    c->state = CLIENT_CONNECTING;
    c->opened_ms = (uint32_t)((w->now_ns - load->start_ns) / 1000000);
    c->blocked = false;
    w->opening++;
    if (error && error != EINPROGRESS)
        client_lost(c, strerror(error), error);
    else
        client_watch(c, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT);
}

void client_is_answered(struct client *c)
{
    if (c->awaiting)
        count_add(&c->worker->counts.unanswered, (uint64_t)-1);
    c->awaiting = false;
}

void client_close(struct client *c)
{
    struct worker *w = c->worker;
    if (c->state == CLIENT_DOWN)
        return;
    if (c->state == CLIENT_READY)
        count_add(&w->counts.ready, (uint64_t)-1);
    else
        w->opening--;
    client_is_answered(c);
    close(c->fd);
    c->fd = -1;
    c->state = CLIENT_DOWN;
    c->out.len = c->tail.len = 0;
    worker_give_back(w, &c->out);
    worker_give_back(w, &c->tail);
}

void client_cut(struct client *c)
{
    struct linger now = {.l_onoff = 1};
    if (c->state != CLIENT_DOWN)
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    client_close(c);
}

/* ---- writing ---- */

struct buf *client_out(struct client *c)
{
    if (!c->out.ptr)
        c->out = worker_lend(c->worker);
    return &c->out;
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
    bool is_wrapped = c->ws && c->state != CLIENT_UPGRADING;
    uint32_t len = is_wrapped ? websocket_wrap(c->ws, &c->out) : c->out.len;
    ssize_t put = send(c->fd, c->out.ptr, len, MSG_NOSIGNAL);
    if (put < 0) {
        if (errno != EAGAIN && errno != EINTR) {
            client_lost(c, strerror(errno), errno);
            return;
        }
        put = 0;
    }
    buf_drop(&c->out, (uint32_t)put);
    if (is_wrapped)
        c->ws->framed -= (uint32_t)put;
    bool blocked = c->out.len > 0;
    if (blocked != c->blocked)
        client_watch(c, EPOLL_CTL_MOD, blocked ? EPOLLIN | EPOLLOUT : EPOLLIN);
    c->blocked = blocked;
    if (!blocked)
        worker_give_back(c->worker, &c->out);
}

uint16_t client_next_id(struct client *c)
{
    c->packet_id = c->packet_id == UINT16_MAX ? 1 : c->packet_id + 1;
    return c->packet_id;
}

void client_acknowledge(struct client *c, const struct publish *publish)
{
    if (!publish->qos)
        return;
    packet_ack(client_out(c), publish->qos == 1 ? PACKET_PUBACK : PACKET_PUBREC, publish->id);
    client_mark(c);
}

void client_subscribe(struct client *c, const char *filter, int qos)
{
    struct buf *out = client_out(c);
    int version = (int)client_options(c)->version;
    uint32_t begun = packet_subscribe_begin(out, version, client_next_id(c));
    packet_subscribe_filter(out, filter, qos);
    packet_subscribe_end(out, begun);
    if (c->state == CLIENT_GREETING)
        c->state = CLIENT_SUBSCRIBING;
    client_mark(c);
}

static void topic_write(char topic[TEXT_MAX], uint32_t run, uint32_t number)
{
    snprintf(topic, TEXT_MAX, "bench/%08x/%06x", run, number & 0xffffff);
}

void load_topic(const struct load *load, uint32_t number, char topic[TEXT_MAX])
{
    topic_write(topic, load->run, number);
}

void client_topic(const struct client *c, char topic[TEXT_MAX])
{
    topic_write(topic, c->worker->load->run + c->generation, c->number);
}

/* ---- the beginning of a connection ---- */

static void client_greet(struct client *c)
{
    const struct options *o = client_options(c);
    char text[TEXT_MAX];
    c->state = CLIENT_GREETING;
    c->packet_id = 0;
    if (o->bare) {
        uint32_t len = flow_bare_greeting(c, text);
        buf_append(client_out(c), text, len);
    } else { /* twenty bytes, as sensors' ids often have */
        snprintf(text, sizeof text, "bench%08x-%06x", c->worker->load->run + c->generation,
                 c->number & 0xffffff);
        struct login login = {text, o->username, o->password, (uint16_t)o->keepalive_s};
        packet_connect(client_out(c), (int)o->version, &login);
    }
    client_mark(c);
}

static void client_ask_upgrade(struct client *c)
{
    const struct options *o = client_options(c);
    c->state = CLIENT_UPGRADING;
    websocket_request(client_out(c), o->host, (int)o->version);
    client_mark(c);
}

void client_set_ready(struct client *c)
{
    struct worker *w = c->worker;
    c->state = CLIENT_READY;
    w->opening--;
    count_add(&w->counts.ready, 1);
    count_add(&w->counts.connected, 1);
    if (w->phase == PHASE_CONNECT)
        worker_record(w, c->since_ns);
    if (w->does->on_ready)
        w->does->on_ready(c);
}

static void client_on_connack(struct client *c, const struct frame *frame)
{
    struct worker *w = c->worker;
    if (c->state != CLIENT_GREETING)
        bench_fail("client %u: a CONNACK out of turn", c->number);
    if (!atomic_load_explicit(&w->load->met, memory_order_relaxed))
        atomic_store(&w->load->met, true);
    if (w->does->on_connack)
        w->does->on_connack(c, frame);
    else
        client_set_ready(c);
}

/* What a refusal means depends on when: nobody gets in, or one of many does not now. */
static void client_on_refusal(struct client *c, const struct frame *frame)
{
    struct worker *w = c->worker;
    int version = (int)client_options(c)->version, reason = packet_reason(frame, version);
    const char *text = packet_reason_text(reason, version);
    count_add(&w->counts.refused, 1);
    if (frame->type == PACKET_CONNACK && w->phase == PHASE_CONNECT)
        bench_fail("client %u: the broker refuses the connection: %s (0x%02x)%s", c->number, text,
                   reason, packet_reason_advice(reason, version));
    if (frame->type == PACKET_SUBACK)
        bench_fail("client %u: the broker refuses a subscription: %s (0x%02x); may this user"
                   " subscribe to bench/#?",
                   c->number, text, reason);
    if (frame->type == PACKET_CONNACK)
        client_lost(c, text, 0);
}

/* ---- reading ---- */

static void client_on_ack(struct client *c, const struct frame *frame)
{
    if (frame->type == PACKET_PUBREC || frame->type == PACKET_PUBREL) {
        packet_ack(client_out(c), frame->type + 1, packet_id(frame));
        client_mark(c);
    } else if (c->worker->does->on_ack) {
        c->worker->does->on_ack(c, frame);
    }
}

static void client_on_publish(struct client *c, const struct frame *frame)
{
    struct publish publish;
    if (!packet_read_publish(frame, (int)client_options(c)->version, &publish))
        bench_fail("client %u: a PUBLISH that cannot be read", c->number);
    if (c->worker->does->on_publish)
        c->worker->does->on_publish(c, &publish);
    else
        client_acknowledge(c, &publish);
}

static void client_on_suback(struct client *c)
{
    if (c->state == CLIENT_SUBSCRIBING)
        client_set_ready(c);
    else if (c->worker->does->on_suback)
        c->worker->does->on_suback(c);
}

static void client_on_disconnect(struct client *c, const struct frame *frame)
{
    char text[TEXT_MAX];
    int version = (int)client_options(c)->version, reason = packet_reason(frame, version);
    snprintf(text, sizeof text, "the broker disconnects: %s (0x%02x)",
             packet_reason_text(reason, version), reason);
    client_lost(c, text, 0);
}

static void client_packet(struct client *c, const struct frame *frame)
{
    if (frame->type != PACKET_PUBLISH && frame->type != PACKET_DISCONNECT &&
        packet_is_refusal(frame, (int)client_options(c)->version)) {
        client_on_refusal(c, frame);
        if (frame->type == PACKET_CONNACK)
            return;
    }
    switch (frame->type) {
    case PACKET_PUBLISH:
        client_on_publish(c, frame);
        break;
    case PACKET_PUBACK:
    case PACKET_PUBREC:
    case PACKET_PUBREL:
    case PACKET_PUBCOMP:
        client_on_ack(c, frame);
        break;
    case PACKET_CONNACK:
        client_on_connack(c, frame);
        break;
    case PACKET_SUBACK:
        client_on_suback(c);
        break;
    case PACKET_PINGRESP:
        if (c->worker->does->on_pong)
            c->worker->does->on_pong(c);
        break;
    case PACKET_DISCONNECT:
        client_on_disconnect(c, frame);
        break;
    default:
        bench_fail("client %u: a packet of type %u", c->number, frame->type);
    }
}

/* Works through whole packets; returns the bytes that are left over. */
static size_t client_packets(struct client *c, const uint8_t *p, size_t len)
{
    struct frame frame;
    while (len) {
        long used = packet_next(p, len, &frame);
        if (used < 0)
            client_lost(c, "it answers with something that is not MQTT", 0);
        else if (used > 0)
            client_packet(c, &frame);
        if (c->state == CLIENT_DOWN)
            return 0;
        if (used == 0)
            break;
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
        atomic_store(&c->worker->load->met, true);
        client_set_ready(c);
        p++;
        len--;
    }
    for (; len >= bytes; p += bytes, len -= bytes)
        flow_on_record(c, p, bytes);
    return len;
}

/* Keeps what is left of a packet; one that is larger than the read buffer grows that first. */
static void client_keep(struct client *c, const uint8_t *left, size_t len)
{
    struct worker *w = c->worker;
    c->tail.len = 0;
    if (len) {
        if (!c->tail.ptr)
            c->tail = worker_lend(w);
        buf_append(&c->tail, left, (uint32_t)len);
        worker_read_room(w, len);
    } else {
        worker_give_back(w, &c->tail);
    }
}

/* The answer to the request for a WebSocket, as far as it has come, is all that was read. */
static void client_upgrade(struct client *c, size_t len)
{
    long used = websocket_answer(c->worker->read_buf, len);
    if (used < 0 || (used > 0 && (size_t)used < len)) {
        client_lost(c, "it does not open a WebSocket there", 0);
        return;
    }
    client_keep(c, c->worker->read_buf, used ? 0 : len);
    if (used)
        client_greet(c);
}

/* All that was read, once what is behind `held` is free of frames; 0: the connection is lost. */
static size_t client_unwrap(struct client *c, size_t held, size_t got)
{
    long fresh = websocket_unwrap(c->ws, c->worker->read_buf + held, got);
    if (fresh < 0)
        client_lost(c, "it ends the WebSocket", 0);
    return fresh < 0 ? 0 : held + (size_t)fresh;
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
        client_lost(c, got ? strerror(errno) : "the broker closes the connection", got ? errno : 0);
        return;
    }
    w->now_ns = bench_clock_ns();
    size_t len = held + (size_t)got, left;
    if (c->state == CLIENT_UPGRADING) {
        client_upgrade(c, len);
        return;
    }
    if (c->ws)
        len = client_unwrap(c, held, (size_t)got);
    if (c->state == CLIENT_DOWN)
        return;
    left = client_options(c)->bare ? client_records(c, w->read_buf, len)
                                   : client_packets(c, w->read_buf, len);
    if (c->state != CLIENT_DOWN)
        client_keep(c, w->read_buf + len - left, left);
}

void client_event(struct client *c, uint32_t events)
{
    if (c->state == CLIENT_DOWN)
        return;
    if (c->state == CLIENT_CONNECTING) {
        int error = 0;
        socklen_t len = sizeof error;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
        if (error) {
            client_lost(c, strerror(error), error);
            return;
        }
        client_watch(c, EPOLL_CTL_MOD, EPOLLIN);
        if (c->ws)
            client_ask_upgrade(c);
        else
            client_greet(c);
        return;
    }
    if (events & EPOLLOUT)
        client_mark(c);
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        client_read(c);
}
