/*
 * connection.c: see connection.h. The life of a connection: accept, hold, close, linger, reap.
 *
 * Closing: reason and DISCONNECT are decided in connection_close(); the turn's flush writes once;
 * the reap shuts the sending side down and, when the peer may still be sending, reads and throws
 * away for at most two seconds, so that a reset does not destroy the DISCONNECT that says why. Then
 * the descriptor is closed.
 *
 * Where the socket is full, what it has taken nothing of is thrown away, DISCONNECT is put behind the
 * packet that is half written, and for at most two seconds the peer may read so far.
 */
#include "conn/connection.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/mem.h"
#include "conn/admit.h"
#include "conn/announced.h"
#include "conn/attach.h"
#include "conn/deliver.h"
#include "conn/input.h"
#include "conn/moving.h"
#include "conn/output.h"
#include "conn/report.h"
#include "mqtt/encode.h"
#include "runtime/log.h"
#include "session/session.h"

#define LINGER_TICKS 4u

static void connection_set_address(struct connection *connection, const struct sockaddr *peer)
{
    connection->address_family = peer->sa_family & 15;
    if (peer->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)peer;
        memcpy(connection->address, &in->sin_addr, 4);
        connection->port = ntohs(in->sin_port);
    } else if (peer->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)peer;
        memcpy(connection->address, &in6->sin6_addr, 16);
        connection->port = ntohs(in6->sin6_port);
    }
}

const char *connection_address(const struct connection *connection,
                               char buffer[CONNECTION_ADDRESS_BYTES])
{
    char host[INET6_ADDRSTRLEN];
    if (connection->address_family != AF_INET && connection->address_family != AF_INET6)
        return "local";
    inet_ntop(connection->address_family, connection->address, host, sizeof(host));
    if (connection->address_family == AF_INET6)
        snprintf(buffer, CONNECTION_ADDRESS_BYTES, "[%s]:%u", host, connection->port);
    else
        snprintf(buffer, CONNECTION_ADDRESS_BYTES, "%s:%u", host, connection->port);
    return buffer;
}

bool connection_is_loopback(const struct connection *connection)
{
    if (connection->address_family == AF_INET)
        return connection->address[0] == 127;
    if (connection->address_family == AF_INET6) {
        struct in6_addr address;
        memcpy(&address, connection->address, sizeof(address));
        if (IN6_IS_ADDR_V4MAPPED(&address))
            return connection->address[12] == 127;
        return IN6_IS_ADDR_LOOPBACK(&address);
    }
    return connection->address_family == AF_UNIX;
}

struct slice connection_client_id(const struct connection *connection)
{
    if (connection->session)
        return session_id(connection->session);
    if (connection->pending && pending_client_id(connection->pending).len)
        return pending_client_id(connection->pending);
    return SLICE_LIT("-");
}

struct connection_rare *connection_rare(struct connection *connection)
{
    if (!connection->rare)
        connection->rare = mem_zalloc(sizeof(*connection->rare));
    return connection->rare;
}

/* Somewhat more than memory_limit, so that whoever can free memory gets in: the owner of a long
   queue, an admin. Who is one of them is decided at CONNECT. */
static bool has_memory_to_accept(struct worker *worker)
{
    uint64_t limit = broker_config(worker->broker)->memory_limit_bytes;
    return LIKELY(limit == 0) || mem_used_bytes() <= limit + limit / 8;
}

/* Says that a connection is not taken in; `limit` is the directive's name. */
static void log_not_admitted(const struct config_listener *listener, const struct sockaddr *peer,
                             const char *limit, uint64_t value)
{
    struct connection unborn = {0};
    char address[CONNECTION_ADDRESS_BYTES], where[CONFIG_LISTENER_NAME_BYTES];
    connection_set_address(&unborn, peer);
    log_line(LOG_NOTICE_, "Connection from %s refused on listener %s: %s (%llu) is reached.",
             connection_address(&unborn, address), config_listener_name(listener, where), limit,
             (unsigned long long)value);
}

/* Whether another connection fits; counts it in if so. */
static bool connection_is_admitted(struct worker *worker, const struct listener *listener,
                                   const struct sockaddr *peer)
{
    struct broker *broker = worker->broker;
    const struct config *config = broker_config(broker);
    const struct config_listener *of = &config->listeners[listener->index];
    uint32_t max = of->max_connections;
    if (!has_memory_to_accept(worker)) {
        metric_add(worker_metrics(worker), METRIC_ACCEPT_MEMORY, 1);
        log_not_admitted(of, peer, "memory_limit", config->memory_limit_bytes);
        return false;
    }
    uint32_t all = atomic_fetch_add(&broker->connections, 1) + 1;
    uint32_t here = atomic_fetch_add(&broker->listener_connections[listener->index], 1) + 1;
    bool is_over_all = config->global_max_connections && all > config->global_max_connections;
    if (!is_over_all && !(max && here > max))
        return true;
    atomic_fetch_sub(&broker->connections, 1);
    atomic_fetch_sub(&broker->listener_connections[listener->index], 1);
    metric_add(worker_metrics(worker), METRIC_ACCEPT_LIMIT, 1);
    log_not_admitted(of, peer, is_over_all ? "global_max_connections" : "max_connections",
                     is_over_all ? config->global_max_connections : max);
    return false;
}

static void connection_uncount(struct worker *worker, const struct connection *connection)
{
    atomic_fetch_sub(&worker->broker->connections, 1);
    atomic_fetch_sub(&worker->broker->listener_connections[connection->listener], 1);
}

/* Makes what its listener's protocol wants between socket and packets. False without memory. */
static bool connection_set_transport(struct worker *worker, struct connection *connection)
{
    static const enum transport_kind kinds[] = {
        [PROTOCOL_MQTT] = TRANSPORT_TCP,
        [PROTOCOL_WEBSOCKETS] = TRANSPORT_WEBSOCKET,
    };
    const struct transport_ops *ops =
        transport_table[kinds[connection_listener(worker, connection)->protocol]];
    if (!ops)
        return true;
    struct connection_rare *rare = connection_rare(connection);
    if (rare)
        rare->transport = ops->make();
    connection->has_transport = rare && rare->transport;
    return connection->has_transport;
}

static void connection_set_up(struct worker *worker, struct connection *connection, uint32_t handle,
                              int fd, const struct listener *listener)
{
    connection->io.fd = fd;
    connection->io.kind = IO_CONNECTION;
    connection->handle = handle;
    connection->generation = ++worker->generation;
    connection->listener = (uint8_t)listener->index;
    connection->state = CONNECTION_ACCEPTED;
    announced_take(worker, connection);
    connection->packet_bytes_max = MQTT_PACKET_BYTES_MAX;
    connection->last_packet_tick = worker->reactor->now_tick;
}

static enum err arm_connect_timeout(struct worker *worker, struct connection *connection)
{
    uint32_t timeout_s = broker_config(worker->broker)->connect_timeout_s;
    if (timeout_s == 0)
        return ERR_OK;
    return timing_heap_arm(worker->keepalive, connection->handle,
                           worker->reactor->now_tick + timeout_s * 2 + 1);
}

void connection_accept(struct reactor *reactor, struct listener *listener, int fd,
                       const struct sockaddr *peer)
{
    struct worker *worker = worker_of(reactor);
    if (!connection_is_admitted(worker, listener, peer)) {
        close(fd);
        return;
    }
    uint32_t handle;
    struct connection *connection = slab_alloc(&worker->connections, &handle);
    struct connection nobody = {.listener = (uint8_t)listener->index};
    if (!connection) {
        metric_add(worker_metrics(worker), METRIC_ACCEPT_MEMORY, 1);
        connection_uncount(worker, &nobody);
        close(fd);
        return;
    }
    connection_set_up(worker, connection, handle, fd, listener);
    connection_set_address(connection, peer);
    enum err err = connection_set_transport(worker, connection) ? ERR_OK : ERR_NOMEM;
    if (!err)
        err = reactor_io_add(reactor, &connection->io, admit_interest(connection));
    if (!err)
        err = arm_connect_timeout(worker, connection);
    if (err) {
        listener_refused(listener, reactor, err == ERR_IO ? errno : ENOMEM);
        connection_uncount(worker, connection);
        close(fd);
        attach_free_parts(worker, connection);
        slab_free(&worker->connections, handle);
    }
}

struct connection *connection_find(struct worker *worker, uint32_t handle, uint32_t generation)
{
    if (!slab_is_used(&worker->connections, handle))
        return NULL;
    struct connection *connection = slab_at(&worker->connections, handle);
    bool is_it = connection->generation == generation && connection->state != CONNECTION_CLOSING;
    return is_it ? connection : NULL;
}

void connection_set_reading(struct worker *worker, struct connection *connection)
{
    if (connection->state == CONNECTION_CLOSING)
        return;
    uint8_t out = connection->io.interest & EPOLLOUT;
    uint8_t in = out ? EPOLLIN : admit_interest(connection);
    reactor_io_set(worker->reactor, &connection->io, connection->hold ? out : out | in);
}

void connection_hold(struct worker *worker, struct connection *connection, uint8_t why)
{
    connection->hold |= why;
    connection_set_reading(worker, connection);
}

void connection_unhold(struct worker *worker, struct connection *connection, uint8_t why)
{
    if (!(connection->hold & why) || connection->state == CONNECTION_CLOSING)
        return;
    connection->hold &= (uint8_t)~why;
    if ((connection->hold & HOLD_LEAVING) && !(connection->hold & HOLD_STOPS_PARSING))
        moving_go_on(worker, connection->session);
    if (connection->hold)
        return;
    connection->last_packet_tick = worker->reactor->now_tick;
    connection_resume_input(worker, connection);
    connection_set_reading(worker, connection);
}

void connection_arm_keepalive(struct worker *worker, struct connection *connection)
{
    if (connection->keepalive_s == 0) {
        timing_heap_cancel(worker->keepalive, connection->handle);
        return;
    }
    uint32_t deadline = connection->last_packet_tick + connection->keepalive_s * 3u + 1;
    if (timing_heap_arm(worker->keepalive, connection->handle, deadline))
        connection_close_plain(worker, connection, CLOSE_MEMORY);
}

/* Keepalive: 1.5 times the interval without a packet. Re-armed lazily: packets only store their
 * time. */
static void connection_check_keepalive(struct worker *worker, struct connection *connection)
{
    uint32_t now = worker->reactor->now_tick;
    uint8_t ours = connection->hold & (uint8_t)~HOLD_OUTPUT;
    if (ours)
        connection->last_packet_tick = now;
    if (now - connection->last_packet_tick < connection->keepalive_s * 3u + 1) {
        session_trim(connection->session);
        connection_arm_keepalive(worker, connection);
        return;
    }
    bool is_unread = connection->hold & HOLD_OUTPUT; /* it may well have sent, but does not read */
    connection_close_plain(worker, connection, is_unread ? CLOSE_SLOW : CLOSE_KEEPALIVE);
    /* [MQTT-3.1.2-22] */
}

static void connection_finish(struct worker *worker, struct connection *connection)
{
    connection->is_finished = true;
    connection->is_lingering = false;
    connection->closed_next = worker->closed_first;
    worker->closed_first = connection;
}

void connection_timer(void *reactor, uint32_t handle)
{
    struct worker *worker = worker_of(reactor);
    struct connection *connection = slab_at(&worker->connections, handle);
    if (connection->state == CONNECTION_CLOSING) {
        if (connection->is_lingering)
            connection_finish(worker, connection);
    } else if (connection->hold & HOLD_LEAVING) {
        connection_close_plain(worker, connection, CLOSE_TAKEN_OVER); /* who came waits no longer */
    } else if (connection->state == CONNECTION_CONNECTED) {
        connection_check_keepalive(worker, connection);
    } else if (connection->state == CONNECTION_WAITING) {
        connection_close(worker, connection, CLOSE_LIMIT, close_reason_code(CLOSE_LIMIT),
                         "the session did not come from its reactor in time");
    } else if (!(connection->hold & HOLD_ADMIT) || arm_connect_timeout(worker, connection)) {
        /* one that waits to be admitted may have been in time: it is we who are not */
        connection_close_plain(worker, connection, CLOSE_CONNECT_TIMEOUT);
    }
}

static void connection_log_close(struct worker *worker, struct connection *connection,
                                 enum close_reason reason, const char *text)
{
    if (!broker_config(worker->broker)->connection_messages)
        return;
    char address[CONNECTION_ADDRESS_BYTES];
    struct slice id = connection_client_id(connection);
    bool is_calm = reason == CLOSE_CLIENT_DISCONNECT || reason == CLOSE_SHUTDOWN;
    log_line(is_calm ? LOG_INFORMATION : LOG_NOTICE_, "Client %.*s (%s) disconnected: %s%s%s.",
             SLICE_ARG(id), connection_address(connection, address), close_reason_name(reason),
             text ? ": " : "", text ? text : "");
}

/* DISCONNECT from the server, wherever v5 allows one [MQTT-3.14.0-1]. */
static void connection_say_why(struct worker *worker, struct connection *connection, uint8_t code,
                               const char *text)
{
    if (connection->version != MQTT_5 || connection->state != CONNECTION_CONNECTED || code < 0x80 ||
        (connection->is_blocked && connection->has_transport))
        return;
    struct slice reason_string = text ? slice_str(text) : slice_str(reason_text(code));
    const char *reference = broker_config(worker->broker)->server_reference;
    bool has_reference =
        reference && (code == REASON_SERVER_MOVED || code == REASON_USE_ANOTHER_SERVER);
    uint8_t packet[CONNECTION_LAST_WORDS_BYTES];
    size_t bytes =
        encode_disconnect(packet, sizeof(packet), connection->packet_bytes_max, code, reason_string,
                          has_reference ? slice_str(reference) : slice_of(NULL, 0));
    if (bytes && output_append(worker, connection, packet, (uint32_t)bytes)) {
        connection->has_last_words = true;
        report_sent(connection, packet, bytes);
        metric_add(worker_metrics(worker), METRIC_MESSAGES_SENT, 1);
    }
}

/* The last word of the transport, behind ours. What a full socket cuts off ends without one. */
static void connection_finish_transport(struct worker *worker, struct connection *connection,
                                        enum close_reason reason)
{
    enum transport_end how = reason == CLOSE_CLIENT_DISCONNECT ? TRANSPORT_END_CALM
                             : reason == CLOSE_SHUTDOWN        ? TRANSPORT_END_SHUTDOWN
                                                               : TRANSPORT_END_REFUSED;
    struct transport *transport = connection->rare->transport;
    if (reason != CLOSE_CLIENT_GONE && reason != CLOSE_NETWORK && !connection->is_blocked)
        transport->ops->finish(transport, how);
    if (transport->wants_write)
        output_want_write(worker, connection);
}

void connection_close(struct worker *worker, struct connection *connection,
                      enum close_reason reason, uint8_t code, const char *text)
{
    if (connection->state == CONNECTION_CLOSING)
        return;
    struct metrics *metrics = worker_metrics(worker);
    if (!connection->has_spoken) {
        metric_add(metrics, METRIC_SOCKETS_SILENT, 1);
    } else {
        metric_counter_add(&metrics->closed[reason], 1);
        connection_log_close(worker, connection, reason, text);
    }
    bool has_peer = reason != CLOSE_CLIENT_DISCONNECT && reason != CLOSE_CLIENT_GONE &&
                    reason != CLOSE_NETWORK &&
                    !(reason == CLOSE_SHUTDOWN && connection->is_blocked); /* not waited for */
    if (connection->is_blocked)
        output_cut(worker, connection);
    if (has_peer)
        connection_say_why(worker, connection, code, text);
    if (connection->has_transport)
        connection_finish_transport(worker, connection, reason);
    bool was_connected = connection->state == CONNECTION_CONNECTED;
    connection->state = CONNECTION_CLOSING;
    connection->close_reason = reason & 31;
    if (was_connected)
        attach_detach(worker, connection);
    attach_forget_pending(worker, connection);
    connection->closed_next = worker->closed_first;
    worker->closed_first = connection;
}

void connection_close_plain(struct worker *worker, struct connection *connection,
                            enum close_reason reason)
{
    uint8_t code = close_reason_code(reason);
    connection_close(worker, connection, reason, code,
                     code == REASON_QUOTA_EXCEEDED ? close_reason_help(reason) : NULL);
}

static enum close_reason close_reason_of_fault(uint8_t reason)
{
    switch (reason) {
    case REASON_MALFORMED_PACKET:
        return CLOSE_MALFORMED;
    case REASON_RECEIVE_MAXIMUM_EXCEEDED:
        return CLOSE_RECEIVE_MAXIMUM;
    case REASON_PACKET_TOO_LARGE:
        return CLOSE_PACKET_TOO_LARGE;
    case REASON_TOPIC_ALIAS_INVALID:
        return CLOSE_TOPIC_ALIAS;
    case REASON_QOS_NOT_SUPPORTED:
    case REASON_RETAIN_NOT_SUPPORTED:
        return CLOSE_UNSUPPORTED;
    case REASON_NOT_AUTHORIZED:
        return CLOSE_NOT_AUTHORIZED;
    default:
        return CLOSE_PROTOCOL_ERROR;
    }
}

void connection_fault(struct worker *worker, struct connection *connection,
                      const struct fault *fault)
{
    connection_close(worker, connection, close_reason_of_fault(fault->reason), fault->reason,
                     fault->text);
}

/* Frees a connection whose descriptor has nothing more to say. Nobody has a copy of the descriptor,
   so closing it ends the wait for it too, without a call of its own. */
static void connection_free(struct worker *worker, struct connection *connection)
{
    timing_heap_cancel(worker->keepalive, connection->handle);
    close(connection->io.fd);
    output_clear(worker, connection);
    BUG_ON(connection->is_dirty);
    attach_free_parts(worker, connection);
    mem_free(connection->tail);
    connection_uncount(worker, connection);
    slab_free(&worker->connections, connection->handle);
}

/* Whether a client that said goodbye in MQTT has yet to say it in its transport as well. */
static bool connection_has_more_goodbyes(const struct connection *connection)
{
    const struct transport *transport = connection_transport(connection);
    return connection->close_reason == CLOSE_CLIENT_DISCONNECT && transport && !transport->is_over;
}

/* Lets the peer read our last words: shuts down sending and waits a little for it to close. */
static bool connection_linger(struct worker *worker, struct connection *connection)
{
    bool is_calm = (connection->close_reason == CLOSE_CLIENT_DISCONNECT &&
                    !connection_has_more_goodbyes(connection)) ||
                   connection->close_reason == CLOSE_CLIENT_GONE ||
                   connection->close_reason == CLOSE_NETWORK ||
                   connection->close_reason == CLOSE_SHUTDOWN || !connection->has_spoken;
    bool is_written = connection->out_bytes == 0;
    if (is_calm || !(is_written || (connection->is_blocked && connection->has_last_words)))
        return false;
    if (is_written && shutdown(connection->io.fd, SHUT_WR))
        return false;
    if (timing_heap_arm(worker->keepalive, connection->handle,
                        worker->reactor->now_tick + LINGER_TICKS))
        return false;
    mem_free(connection->tail);
    connection->tail = NULL;
    connection->is_lingering = true;
    reactor_io_set(worker->reactor, &connection->io, is_written ? EPOLLIN : EPOLLIN | EPOLLOUT);
    return true;
}

void connection_reap_all(struct worker *worker)
{
    struct connection *connection = worker->closed_first;
    worker->closed_first = NULL;
    while (connection) {
        struct connection *next = connection->closed_next;
        if (connection->is_dirty) { /* its last words are written first: next turn */
            connection->closed_next = worker->closed_first;
            worker->closed_first = connection;
            worker->reactor->has_more_work = true;
        } else if (connection->is_finished || !connection_linger(worker, connection)) {
            connection_free(worker, connection);
        }
        connection = next;
    }
}

/* Reads and throws away what a closed peer still sends. */
static void connection_discard(struct worker *worker, struct connection *connection)
{
    ssize_t got = recv(connection->io.fd, worker->reactor->read_buffer, REACTOR_READ_BYTES, 0);
    if (got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR)))
        return;
    connection_finish(worker, connection);
}

/* A closed peer reads, or sends, or is gone. */
static void connection_linger_ready(struct worker *worker, struct connection *connection,
                                    uint32_t events)
{
    if (!(events & EPOLLOUT) || events & (EPOLLERR | EPOLLHUP))
        connection_discard(worker, connection);
    else if (!output_write(worker, connection) ||
             (connection->out_bytes == 0 && !connection_linger(worker, connection)))
        connection_finish(worker, connection);
}

/* The peer is gone: nothing can be written any more, so nothing is waited for on that account, but
   what it sent before is read to its end, which closes the connection. */
static void connection_hear_out(struct worker *worker, struct connection *connection)
{
    output_give_up(worker, connection);
    connection_unhold(worker, connection, HOLD_OUTPUT);
}

void connection_ready(struct reactor *reactor, struct io *io, uint32_t events)
{
    struct worker *worker = worker_of(reactor);
    struct connection *connection = (struct connection *)io;
    if (connection->state == CONNECTION_CLOSING) {
        if (connection->is_lingering)
            connection_linger_ready(worker, connection, events);
        return;
    }
    bool is_dead = events & (EPOLLERR | EPOLLHUP);
    if (is_dead)
        connection_hear_out(worker, connection);
    else if ((events & EPOLLOUT) && output_write(worker, connection)) {
        if (connection->hold &
            HOLD_OUTPUT) /* it reads, however slowly; that we do not is our choice */
            connection->last_packet_tick = reactor->now_tick;
        if (connection->state == CONNECTION_CONNECTED) /* the limits may no longer be passed */
            deliver_update_ready(worker, connection->session);
        if (output_has_room(worker, connection))
            deliver_drained(worker, connection);
    }
    if (connection->state == CONNECTION_CLOSING || !(is_dead || (events & EPOLLIN)))
        return;
    if (admit_is_newcomer(connection) && admit_ready(worker, connection, events))
        return;
    if (!connection->hold)
        input_read(worker, connection);
    else if (is_dead)
        reactor_io_mute(reactor, &connection->io); /* else it would be told in every turn */
}
