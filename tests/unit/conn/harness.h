/*
 * harness.h: a whole broker in one thread: reactors are turned by hand, clients are socketpairs.
 *
 *   struct harness *h = harness_new(2, "max_inflight_messages 5\n");
 *   struct client *c = client_new(h, 0);              accepted by reactor 0
 *   client_connect(c, "id", ...); harness_settle(h);  several turns of every reactor
 *   client_expect(c, PACKET_CONNACK);
 *
 * Nothing happens between turns, so a test sees every step of what reactors do with each other.
 */
#ifndef TESTS_UNIT_CONN_HARNESS_H
#define TESTS_UNIT_CONN_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef HARNESS_ASSERTS /* who has none of cmocka defines it, and its own of these macros */
#include <cmocka.h>
#endif

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"
#include "conn/announced.h"
#include "conn/broker.h"
#include "conn/connection.h"
#include "conn/worker.h"
#include "mqtt/packet.h"
#include "runtime/log.h"
#include "session/session.h"

#define HARNESS_CLIENTS_MAX 8192u
#define HARNESS_TURNS 16u

struct client {
    struct harness *harness;
    int fd;
    uint8_t version;
    bool is_gone; /* the broker closed it, and all was read */
    uint8_t *in;
    size_t in_len, in_cap;
    /* what client_next found */
    uint8_t type, flags;
    uint8_t body[8192];
    uint32_t body_len;
};

struct harness {
    struct broker broker;
    struct reactor_group *group;
    struct config *config;
    struct listener listener;
    struct client *clients[HARNESS_CLIENTS_MAX];
    uint32_t client_count;
    uint32_t events_max; /* of a reactor that had no long turn yet */
};

/* ---- broker ---- */

static inline void harness_make_tables(struct harness *h, uint32_t reactors)
{
    struct broker *broker = &h->broker;
    broker->group = h->group;
    slots_init(&broker->slots);
    broker->index = index_new(8, &broker->slots, reactors);
    broker->retained = retained_new(8);
    broker->sessions = session_table_new(&broker->slots);
    broker->auth = auth_new();
    announced_init(broker, h->config);
    BUG_ON(!broker->index || !broker->retained);
    size_t bytes = reactors * sizeof(struct worker);
    broker->workers = aligned_alloc(_Alignof(struct worker), bytes);
    memset(broker->workers, 0, bytes);
    for (uint32_t i = 0; i < reactors; i++)
        worker_init(&broker->workers[i], broker, &h->group->reactors[i]);
    worker_install(h->group);
}

/* `text`: lines of a configuration file. */
static inline struct harness *harness_new(uint32_t reactors, const char *text)
{
    char *error = NULL;
    struct harness *h = calloc(1, sizeof(*h));
    h->config = config_load_text(text, strlen(text), "test", &error);
    if (!h->config)
        fail_msg("%s", error);
    h->config->log_dest = 0;
    h->config->connection_messages = false;
    h->listener.config = &h->config->listeners[0];
    BUG_ON(log_open(h->config));
    atomic_store(&h->broker.config, h->config);
    h->group = reactor_group_new(reactors, &worker_hooks);
    h->group->last_read_budget_ns = 1000000000;
    h->group->read_budget_ns = 1000000000; /* turns are counted here, on machines of any speed */
    h->events_max = h->group->reactors[0].events_max;
    harness_make_tables(h, reactors);
    return h;
}

static inline struct worker *harness_worker(struct harness *h, uint32_t reactor)
{
    return &h->broker.workers[reactor];
}

static inline void harness_turn(struct harness *h, uint32_t reactor)
{
    h->group->reactors[reactor].events_max = h->events_max;
    reactor_turn(&h->group->reactors[reactor], 0);
}

/* As many turns of every reactor as anything but very wide jobs can need. */
static inline void harness_settle(struct harness *h)
{
    for (uint32_t turn = 0; turn < HARNESS_TURNS; turn++) {
        for (uint32_t i = 0; i < h->group->count; i++)
            harness_turn(h, i);
    }
}

/* A job's slice is so much time: on a slow machine it takes more turns to end. */
static inline void harness_finish_jobs(struct harness *h)
{
    for (uint32_t turn = 0; turn < 1000; turn++) {
        for (uint32_t i = 0; i < h->group->count; i++) {
            if (!list_is_empty(&h->group->reactors[i].jobs))
                harness_settle(h);
        }
    }
}

/* Many newcomers come in a few each turn. */
static inline void harness_admit(struct harness *h)
{
    harness_settle(h);
    for (uint32_t i = 0; i < h->group->count; i++) {
        while (harness_worker(h, i)->admission.ring.count)
            harness_settle(h);
    }
}

/* Turns the clock on by steps of half a second, with turns in between. */
static inline void harness_pass_s(struct harness *h, uint32_t seconds)
{
    for (uint32_t i = 0; i < seconds * 2; i++) {
        clock_turn_ms(500);
        for (uint32_t r = 0; r < h->group->count; r++)
            harness_turn(h, r);
    }
    harness_settle(h);
}

static inline uint64_t harness_metric(struct harness *h, enum metric metric)
{
    return reactor_group_metric(h->group, metric);
}

static inline uint64_t harness_dropped(struct harness *h, enum drop_reason reason)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < h->group->count; i++)
        sum += metric_read(&h->group->reactors[i].metrics->dropped[reason]);
    return sum;
}

static inline uint64_t harness_closed(struct harness *h, enum close_reason reason)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < h->group->count; i++)
        sum += metric_read(&h->group->reactors[i].metrics->closed[reason]);
    return sum;
}

/* The session of a client id; NULL when there is none. Owner in *owner (may be NULL). */
static inline struct session *harness_session(struct harness *h, const char *id, uint16_t *owner)
{
    struct session_ref ref = session_table_find(h->broker.sessions, slice_str(id));
    if (owner)
        *owner = ref.owner;
    return ref.slot ? slot_of(&h->broker.slots, ref.slot)->object : NULL;
}

/* ---- clients: bytes ---- */

static inline struct client *client_new(struct harness *h, uint32_t reactor)
{
    int fds[2];
    struct sockaddr_in peer = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7F000001)};
    BUG_ON(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0);
    struct client *client = calloc(1, sizeof(*client));
    client->harness = h;
    client->fd = fds[1];
    client->version = MQTT_5;
    BUG_ON(h->client_count == HARNESS_CLIENTS_MAX);
    h->clients[h->client_count++] = client;
    connection_accept(&h->group->reactors[reactor], &h->listener, fds[0], (struct sockaddr *)&peer);
    return client;
}

/* The client's end goes without a word. */
static inline void client_drop(struct client *client)
{
    if (client->fd >= 0)
        close(client->fd);
    client->fd = -1;
}

static inline void client_send(struct client *client, const void *bytes, size_t len)
{
    if (client->fd >= 0) {
        ssize_t sent = send(client->fd, bytes, len, MSG_NOSIGNAL);
        (void)sent; /* the broker may have closed it */
    }
}

/* A packet being put together. */
struct packet {
    uint8_t bytes[8192];
    uint32_t len;
};

static inline void put_u8(struct packet *p, uint32_t value)
{
    p->bytes[p->len++] = (uint8_t)value;
}

static inline void put_u16(struct packet *p, uint32_t value)
{
    put_u8(p, value >> 8);
    put_u8(p, value);
}

static inline void put_u32(struct packet *p, uint32_t value)
{
    put_u16(p, value >> 16);
    put_u16(p, value);
}

static inline void put_bytes(struct packet *p, const void *bytes, size_t len)
{
    memcpy(p->bytes + p->len, bytes, len);
    p->len += (uint32_t)len;
}

static inline void put_string(struct packet *p, const char *text)
{
    put_u16(p, (uint32_t)strlen(text));
    put_bytes(p, text, strlen(text));
}

static inline uint32_t put_varint(uint8_t *at, uint32_t value)
{
    uint32_t len = 0;
    do {
        at[len++] = (uint8_t)((value & 127) | (value > 127 ? 128 : 0));
        value >>= 7;
    } while (value);
    return len;
}

/* A block of properties with its length. */
static inline void put_properties(struct packet *p, const struct packet *properties)
{
    p->len += put_varint(p->bytes + p->len, properties->len);
    put_bytes(p, properties->bytes, properties->len);
}

static inline void client_send_packet(struct client *client, uint8_t first, const struct packet *p)
{
    uint8_t frame[8200];
    frame[0] = first;
    uint32_t head = 1 + put_varint(frame + 1, p->len);
    memcpy(frame + head, p->bytes, p->len);
    client_send(client, frame, head + p->len);
}

/* ---- clients: packets ---- */

struct connect {
    const char *id;
    bool clean_start;
    uint32_t expiry_s;
    uint16_t keepalive_s, receive_maximum, alias_maximum;
    uint32_t packet_bytes_max;
    const char *will_topic; /* NULL: no will */
    const char *will_payload;
    uint8_t will_qos;
    uint32_t will_delay_s;
    const char *auth_method; /* NULL: none */
    const char *auth_data;
    const char *user; /* NULL: none */
};

static inline void put_connect_properties(struct packet *p, const struct connect *connect)
{
    struct packet properties = {0};
    if (connect->expiry_s)
        put_u8(&properties, 0x11), put_u32(&properties, connect->expiry_s);
    if (connect->receive_maximum)
        put_u8(&properties, 0x21), put_u16(&properties, connect->receive_maximum);
    if (connect->alias_maximum)
        put_u8(&properties, 0x22), put_u16(&properties, connect->alias_maximum);
    if (connect->packet_bytes_max)
        put_u8(&properties, 0x27), put_u32(&properties, connect->packet_bytes_max);
    if (connect->auth_method)
        put_u8(&properties, 0x15), put_string(&properties, connect->auth_method);
    if (connect->auth_data)
        put_u8(&properties, 0x16), put_string(&properties, connect->auth_data);
    put_properties(p, &properties);
}

static inline void put_will(struct packet *p, const struct connect *connect, uint8_t version)
{
    struct packet properties = {0};
    if (connect->will_delay_s)
        put_u8(&properties, 0x18), put_u32(&properties, connect->will_delay_s);
    if (version == MQTT_5)
        put_properties(p, &properties);
    put_string(p, connect->will_topic);
    put_string(p, connect->will_payload);
}

static inline void client_connect_as(struct client *client, struct connect connect)
{
    struct packet p = {0};
    uint8_t flags = connect.clean_start ? 0x02 : 0;
    if (connect.will_topic)
        flags |= (uint8_t)(0x04 | connect.will_qos << 3);
    if (connect.user)
        flags |= 0x80;
    put_string(&p, "MQTT");
    put_u8(&p, client->version);
    put_u8(&p, flags);
    put_u16(&p, connect.keepalive_s);
    if (client->version == MQTT_5)
        put_connect_properties(&p, &connect);
    put_string(&p, connect.id);
    if (connect.will_topic)
        put_will(&p, &connect, client->version);
    if (connect.user)
        put_string(&p, connect.user);
    client_send_packet(client, 0x10, &p);
}

static inline void client_publish_bytes(struct client *client, const char *topic, const void *bytes,
                                        size_t len, uint8_t qos, uint16_t packet_id, bool retain)
{
    struct packet p = {0};
    put_string(&p, topic);
    if (qos)
        put_u16(&p, packet_id);
    if (client->version == MQTT_5)
        put_u8(&p, 0);
    put_bytes(&p, bytes, len);
    client_send_packet(client, (uint8_t)(0x30 | qos << 1 | retain), &p);
}

static inline void client_publish(struct client *client, const char *topic, const char *text,
                                  uint8_t qos, uint16_t packet_id)
{
    client_publish_bytes(client, topic, text, strlen(text), qos, packet_id, false);
}

/* `options`: the byte of a v5 SUBSCRIBE; its low bits are the QoS. 0 is no subscription id. */
static inline void client_subscribe_as(struct client *client, const char *filter, uint8_t options,
                                       uint32_t subscription_id)
{
    struct packet p = {0}, properties = {0};
    put_u16(&p, 0x5AB5);
    if (subscription_id) {
        put_u8(&properties, 0x0B);
        properties.len += put_varint(properties.bytes + properties.len, subscription_id);
    }
    if (client->version == MQTT_5)
        put_properties(&p, &properties);
    put_string(&p, filter);
    put_u8(&p, options);
    client_send_packet(client, 0x82, &p);
}

static inline void client_unsubscribe(struct client *client, const char *filter)
{
    struct packet p = {0};
    put_u16(&p, 0x5AB6);
    if (client->version == MQTT_5)
        put_u8(&p, 0);
    put_string(&p, filter);
    client_send_packet(client, 0xA2, &p);
}

/* PUBACK, PUBREC, PUBREL, PUBCOMP. */
static inline void client_ack(struct client *client, uint8_t type, uint16_t packet_id)
{
    struct packet p = {0};
    put_u16(&p, packet_id);
    client_send_packet(client, (uint8_t)(type << 4 | (type == PACKET_PUBREL ? 2 : 0)), &p);
}

static inline void client_disconnect(struct client *client, uint8_t reason)
{
    struct packet p = {0};
    if (reason)
        put_u8(&p, reason);
    client_send_packet(client, 0xE0, &p);
}

/* ---- clients: what comes back ---- */

static inline void client_read(struct client *client)
{
    for (;;) {
        if (client->in_cap - client->in_len < 2048) {
            client->in_cap = client->in_cap * 2 + 8192;
            client->in = realloc(client->in, client->in_cap);
        }
        ssize_t got = client->fd < 0 ? 0
                                     : recv(client->fd, client->in + client->in_len,
                                            client->in_cap - client->in_len, 0);
        if (got <= 0) {
            client->is_gone = got == 0 || errno != EAGAIN;
            return;
        }
        client->in_len += (size_t)got;
    }
}

/* The next packet that is there: type, flags, body. False: none. */
static inline bool client_next(struct client *client)
{
    client_read(client);
    uint32_t len = 0, at = 1, shift = 0;
    do {
        if (at >= client->in_len)
            return false;
        len |= (uint32_t)(client->in[at] & 127) << shift;
        shift += 7;
    } while (client->in[at++] & 128);
    if (client->in_len < at + len)
        return false;
    client->type = client->in[0] >> 4;
    client->flags = client->in[0] & 15;
    client->body_len = len < sizeof(client->body) ? len : sizeof(client->body);
    memcpy(client->body, client->in + at, client->body_len);
    client->in_len -= at + len;
    memmove(client->in, client->in + at + len, client->in_len);
    return true;
}

/* A PUBLISH taken apart. */
struct got {
    char topic[256];
    uint8_t qos;
    bool dup, retain;
    uint16_t packet_id;
    struct slice properties, payload; /* in the client, until its next packet */
};

static inline struct got client_got(const struct client *client)
{
    struct got got = {
        .qos = client->flags >> 1 & 3, .dup = client->flags & 8, .retain = client->flags & 1};
    const uint8_t *at = client->body;
    uint32_t topic_len = (uint32_t)(at[0] << 8 | at[1]);
    memcpy(got.topic, at + 2, topic_len);
    at += 2 + topic_len;
    if (got.qos) {
        got.packet_id = (uint16_t)(at[0] << 8 | at[1]);
        at += 2;
    }
    if (client->version == MQTT_5) { /* tests' properties are shorter than 128 bytes */
        got.properties = slice_of(at + 1, at[0]);
        at += 1 + at[0];
    }
    got.payload = slice_of(at, (size_t)(client->body + client->body_len - at));
    return got;
}

/* Fails unless the next packet is of this type. */
static inline void client_expect(struct client *client, uint8_t type)
{
    if (!client_next(client))
        fail_msg("nothing came instead of packet type %u%s", type,
                 client->is_gone ? ": the connection is closed" : "");
    if (client->type != type)
        fail_msg("packet type %u came instead of %u", client->type, type);
}

static inline struct got client_expect_publish(struct client *client, const char *payload)
{
    client_expect(client, PACKET_PUBLISH);
    struct got got = client_got(client);
    if (!slice_eq(got.payload, slice_str(payload)))
        fail_msg("\"%.*s\" came instead of \"%s\"", SLICE_ARG(got.payload), payload);
    return got;
}

static inline void client_expect_nothing(struct client *client)
{
    if (client_next(client))
        fail_msg("packet type %u came", client->type);
}

static inline void client_expect_closed(struct client *client)
{
    while (client_next(client)) {
    }
    assert_true(client->is_gone);
}

/* ---- several steps in one ---- */

/* A v5 client that is connected: clean start, session for `expiry_s`. */
static inline struct client *client_of(struct harness *h, uint32_t reactor, const char *id,
                                       uint32_t expiry_s)
{
    struct client *client = client_new(h, reactor);
    client_connect_as(client,
                      (struct connect){.id = id, .clean_start = true, .expiry_s = expiry_s});
    harness_settle(h);
    client_expect(client, PACKET_CONNACK);
    assert_int_equal(client->body[1], 0);
    return client;
}

/* Sends CONNECT for a session that is there; the answer is still to come. */
static inline struct client *client_coming_back(struct harness *h, uint32_t reactor, const char *id,
                                                uint32_t expiry_s)
{
    struct client *client = client_new(h, reactor);
    client_connect_as(client, (struct connect){.id = id, .expiry_s = expiry_s});
    return client;
}

static inline void client_subscribe(struct client *client, const char *filter, uint8_t options)
{
    client_subscribe_as(client, filter, options, 0);
    harness_settle(client->harness);
    client_expect(client, PACKET_SUBACK);
}

/* ---- the end ---- */

static inline void harness_free_clients(struct harness *h)
{
    for (uint32_t i = 0; i < h->client_count; i++) {
        client_drop(h->clients[i]);
        free(h->clients[i]->in);
        free(h->clients[i]);
    }
    h->client_count = 0;
}

static inline void harness_free_sessions(struct harness *h)
{
    uint32_t end = atomic_load(&h->broker.slots.end);
    for (uint32_t id = 1; id < end; id++) {
        struct session *session = slot_object(slot_of(&h->broker.slots, id));
        if (session)
            worker_free_session(&h->broker.workers[0], session);
    }
}

/* Frees everything as it stands, without another turn: the broker ends in the middle of its work.
 */
static inline void harness_free_now(struct harness *h)
{
    harness_free_clients(h);
    epoch_drain(h->group->epochs);
    harness_free_sessions(h);
    for (uint32_t i = 0; i < h->group->count; i++)
        worker_fini(&h->broker.workers[i]);
    epoch_drain(h->group->epochs);
    session_table_free(h->broker.sessions);
    index_free(h->broker.index);
    retained_free(h->broker.retained);
    auth_free(h->broker.auth);
    reactor_group_free(h->group);
    slots_fini(&h->broker.slots);
    free(h->broker.workers);
    config_free(h->config);
    free(h);
}

/* Lets all clients go, checks that nothing is left under way and every table, and frees all. */
static inline void harness_free(struct harness *h)
{
    harness_free_clients(h);
    harness_settle(h);
    harness_pass_s(h, 3);
    harness_finish_jobs(h);
    for (uint32_t i = 0; i < h->group->count; i++) {
        assert_int_equal(harness_worker(h, i)->connections.used, 0);
        assert_true(list_is_empty(&h->group->reactors[i].jobs));
    }
    session_table_check(h->broker.sessions);
    index_check(h->broker.index);
    harness_free_now(h);
}

#endif
