/*
 * fuzz_session.c: a few peers and a whole broker in one thread: connections come and go, send good
 * packets and bad ones in any pieces, read what they get or not, time passes, memory fails.
 *
 * Input: [reactors, admin, manner of the end][configuration][steps]. A step is a byte, of which the
 * low five bits choose a row of `steps` and the others a peer, and what that row takes; what is
 * missing at the end is 0. So every input means something, and a changed byte changes one thing.
 *
 * After all of them the tables are whole and the gauges what counting gives. Then every peer goes,
 * or the broker is drained; two days pass, and nothing may be left: no session, no subscription, no
 * retained message but the broker's own, no job, no memory, no descriptor. What peers are sent is
 * looked at all the while (session_peer.h).
 */
#include "tests/fuzz/session_end.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const char *__asan_default_options(void);

/* A broker's tables are large: kept from being used again for long, they would be fresh pages. */
const char *__asan_default_options(void)
{
    return "quarantine_size_mb=8";
}

#define STEPS_MAX 200u
static uint8_t take(void)
{
    return play.at < play.end ? *play.at++ : 0;
}

/* One of a table, by the next byte. */
#define TAKE_OF(table) ((table)[take() % ARRAY_COUNT(table)])

static const char *const client_ids[] = {"a", "b", "c", "d", "", "e/f", "g+#%", "h"};
static const char *const topics[] = {"t",      "t/1",    "t/2",    "t/1/2", "a/b/c", "u",  "kept/1",
                                     "kept/2", "kept/3", "$own/x", "",      "/",     "t/+"};
static const char *const filters[] = {
    "t",
    "t/+",
    "t/#",
    "#",
    "+",
    "+/+",
    "a/b/c",
    "a/+/c",
    "u",
    "kept/#",
    "$SYS/#",
    "$SYS/broker/sessions/#",
    "$share/g/#",
    "$share/g/t/+",
    "$share/h/+/+",
    "$share/h/t",
    "t/+/2",
    "$SYS/broker/sessions/a",
    "",
    "x/#/y",
    "$share//t",
    "$share/g",
    "kept/+",
    "$CONTROL/#",
};
static const uint32_t intervals_s[] = {0, 1, 60, 0xFFFFFFFF};
static const uint32_t sizes[] = {0, 1, 16, 130, 1500, 9000, 70000, 200000};

/* ---- steps: connections ---- */

static void step_open(struct peer *peer)
{
    uint8_t how = take();
    peer_open(play.h, peer, how & 3, how & 4, how & 8);
}

static void need_open(struct peer *peer)
{
    if (peer->fd < 0 || peer->is_gone)
        peer_open(play.h, peer, (uint8_t)(peer - peers), false, false);
}

static void add_property_u32(uint8_t property, uint32_t value)
{
    if (value)
        add_u8(property), add_u32(value);
}

static void add_property_u16(uint8_t property, uint32_t value)
{
    if (value)
        add_u8(property), add_u16(value);
}

/* Properties of at most 127 bytes follow; returns where their length stands. */
static uint32_t open_properties(void)
{
    add_u8(0);
    return out.len;
}

static void close_properties(uint32_t start)
{
    out.bytes[start - 1] = (uint8_t)(out.len - start);
}

static void add_connect_properties(struct peer *peer, uint8_t how, uint32_t expiry_s, bool has_auth)
{
    static const uint16_t maxima[] = {0, 1, 2, 65535}, aliases[] = {0, 1, 10, 65535};
    static const uint32_t bytes[] = {0, 30, 200, 2000};
    uint32_t start = open_properties();
    add_property_u32(0x11, expiry_s);
    add_property_u16(0x21, maxima[how & 3]);
    add_property_u16(0x22, aliases[how >> 2 & 3]);
    add_property_u32(0x27, bytes[how >> 4 & 3]);
    if (has_auth)
        add_u8(0x15), add_text("M");
    close_properties(start);
    peer->receive_maximum = maxima[how & 3] ? maxima[how & 3] : 65535;
    peer->bytes_max = bytes[how >> 4 & 3] ? bytes[how >> 4 & 3] : UINT32_MAX;
}

static void send_connect(struct peer *peer, const char *id, uint8_t what, uint8_t will, uint8_t how)
{
    static const uint16_t keepalives[] = {0, 1, 30, 65535};
    static const uint8_t versions[] = {5, 5, 4, 3};
    bool is_first = !peer->version, has_will = what & 8, has_auth = what & 0x80;
    uint8_t version = versions[what & 3];
    peer->is_wild |= !is_first; /* a second CONNECT is a fault */
    peer->version = version;
    peer->receive_maximum = 65535;
    peer->bytes_max = UINT32_MAX;
    peer->asked_auth = has_auth;
    add_text(version == 3 ? "MQIsdp" : "MQTT");
    add_u8(version);
    add_u8((what & 4 ? 2u : 0) | (has_will ? 4u | (will & 3u) << 3 | (will & 4u) << 3 : 0) |
           (what & 0x40 ? 0x80u : 0));
    add_u16(keepalives[what >> 4 & 3]);
    if (version == 5)
        add_connect_properties(peer, how, intervals_s[how >> 6], has_auth);
    add_text(id);
    if (has_will && version == 5) {
        uint32_t start = open_properties();
        add_property_u32(0x18, intervals_s[will >> 3 & 3]);
        add_property_u32(0x02, intervals_s[will >> 5 & 3]);
        close_properties(start);
    }
    if (has_will)
        add_text(will & 0x80 ? "kept/1" : "t/1"), add_text("gone");
    if (what & 0x40)
        add_text("anna");
    peer_send_packet(peer, 0x10);
}

static void step_connect(struct peer *peer)
{
    const char *id = TAKE_OF(client_ids);
    uint8_t what = take(), will = what & 8 ? take() : 0, how = take();
    need_open(peer);
    send_connect(peer, id, what, will, how);
}

/* A session that lasts for a minute; what most of a fleet does. */
static void step_come_back(struct peer *peer)
{
    const char *id = TAKE_OF(client_ids);
    need_open(peer);
    send_connect(peer, id, 0, 0, 0x80);
}

static void step_disconnect(struct peer *peer)
{
    static const uint8_t reasons[] = {0, 4, 0x80, 0x81};
    uint8_t how = take();
    if (peer->version == 5 && how) {
        add_u8(reasons[how & 3]);
        uint32_t start = open_properties();
        add_property_u32(0x11, intervals_s[how >> 2 & 3]);
        close_properties(start);
    }
    peer_send_packet(peer, 0xE0);
}

static void step_drop(struct peer *peer)
{
    peer_close(peer);
}

static void step_shut(struct peer *peer)
{
    if (peer->fd >= 0)
        shutdown(peer->fd, SHUT_WR);
}

static void step_ping(struct peer *peer)
{
    peer_send_packet(peer, 0xC0);
}

static void step_auth(struct peer *peer)
{
    uint8_t how = take();
    add_u8(how & 1 ? 0x19 : 0x18);
    uint32_t start = open_properties();
    add_u8(0x15), add_text(how & 2 ? "N" : "M");
    if (how & 4)
        add_u8(0x16), add_text(how & 8 ? "!" : "1");
    close_properties(start);
    peer->is_wild |= how & 2;
    peer_send_packet(peer, 0xF0);
}

/* ---- steps: subscriptions ---- */

static void add_filter(const char *filter, uint8_t options)
{
    add_text(filter);
    add_u8(options);
}

static void begin_list(const struct peer *peer, uint32_t subscription_id)
{
    add_u16(take() % 4u + 1);
    if (peer->version != 5)
        return;
    uint32_t start = open_properties();
    if (subscription_id)
        add_u8(0x0B), add_u8(subscription_id & 127);
    close_properties(start);
}

static void step_subscribe(struct peer *peer)
{
    uint8_t how = take();
    begin_list(peer, how >> 4);
    for (uint32_t i = 0; i <= (how & 3u); i++) {
        const char *filter = TAKE_OF(filters);
        add_filter(filter, take() & (peer->version == 5 ? 0x2E : 3));
    }
    peer_send_packet(peer, 0x82);
}

static void step_unsubscribe(struct peer *peer)
{
    uint8_t how = take();
    begin_list(peer, 0);
    for (uint32_t i = 0; i <= (how & 3u); i++)
        add_text(TAKE_OF(filters));
    peer_send_packet(peer, 0xA2);
}

/* So many that they are worked off in slices. */
static void send_many_filters(struct peer *peer, uint8_t first)
{
    uint8_t how = take();
    char text[32];
    begin_list(peer, 0);
    for (uint32_t i = 0; i < (how & 15u) * 64u; i++) {
        snprintf(text, sizeof(text), how & 16 ? "$share/g/%u/+" : how & 32 ? "+/%u/#" : "t/%u", i);
        if (first == 0x82)
            add_filter(text, how >> 6 & 1);
        else
            add_text(text);
    }
    peer_send_packet(peer, first);
}

static void step_subscribe_many(struct peer *peer)
{
    send_many_filters(peer, 0x82);
}

static void step_unsubscribe_many(struct peer *peer)
{
    send_many_filters(peer, 0xA2);
}

/* ---- steps: messages ---- */

static void send_publish(struct peer *peer, const char *topic, uint8_t how, uint16_t packet_id,
                         uint8_t properties)
{
    static const uint8_t payload[200000] = {'x'};
    uint8_t qos = how & 3;
    add_text(topic);
    if (qos)
        add_u16(packet_id);
    if (peer->version == 5) {
        uint32_t start = open_properties();
        if (properties & 3)
            add_u8(0x23), add_u16(properties & 3u);
        add_property_u32(0x02, intervals_s[properties >> 2 & 3]);
        if (properties & 16)
            add_u8(0x08), add_text("t/2");
        if (properties & 32)
            add_u8(0x09), add_text("data");
        if (properties & 64)
            add_u8(0x26), add_text("key"), add_text("value");
        close_properties(start);
    }
    add(payload, sizes[how >> 4 & 7]);
    peer_send_packet(peer, (uint8_t)(0x30 | qos << 1 | (how & 4) >> 2 | (how & 8)));
}

static void step_publish(struct peer *peer)
{
    const char *topic = TAKE_OF(topics);
    uint8_t how = take();
    send_publish(peer, topic, how, take() % 8u, 0);
}

static void step_publish_properties(struct peer *peer)
{
    const char *topic = TAKE_OF(topics);
    uint8_t how = take(), properties = take();
    send_publish(peer, topic, how, take() % 8u, properties);
}

static void step_publish_many(struct peer *peer)
{
    uint8_t how = take(), count = take();
    char topic[16];
    for (uint32_t i = 0; i < count; i++) {
        snprintf(topic, sizeof(topic), how & 0x80 ? "t/%u" : "t", i % 100);
        send_publish(peer, topic, how & 0x37, (uint16_t)(100 + i), 0);
    }
}

static void step_ack(struct peer *peer)
{
    uint8_t how = take(), type = PACKET_PUBACK + (how & 3);
    uint16_t packet_id = how & 0x40 ? (uint16_t)(take() + 100) : (uint16_t)(how >> 2 & 7);
    add_u16(packet_id);
    if (how & 0x80 && peer->version == 5)
        add_u8(type == PACKET_PUBREL || type == PACKET_PUBCOMP ? 0x92 : 0x87);
    peer_send_packet(peer, (uint8_t)(type << 4 | (type == PACKET_PUBREL ? 2 : 0)));
    if (peer->inflight[packet_id])
        set_inflight(peer, packet_id, 0);
    else
        peer->is_wild = true; /* it may be on its way, and is done with before it has arrived */
}

static void step_control(struct peer *peer)
{
    static const char *const requests[] = {
        "{\"command\":\"listSessions\",\"limit\":2}",
        "{\"command\":\"countSessions\",\"state\":\"connected\"}",
        "{\"command\":\"getSession\",\"clientId\":\"a\"}",
        "{\"command\":\"disconnectSession\",\"clientId\":\"a\",\"reason\":\"r\"}",
        "{\"command\":\"deleteSession\",\"clientId\":\"a\"}",
        "{\"command\":\"deleteSession\",\"clientId\":\"b\"}",
        "{\"command\":\"listSessions\",\"cursor\":\"x\",\"prefix\":\"a\",\"idleLongerThan\":1}",
        "{\"command\":7}",
    };
    uint8_t how = take(), qos = how & 1;
    add_text("$CONTROL/sessions/v1");
    if (qos)
        add_u16(50);
    if (peer->version == 5) {
        uint32_t start = open_properties();
        if (how & 2)
            add_u8(0x08), add_text("t/1");
        close_properties(start);
    }
    add("{\"commands\":[", 13);
    for (uint32_t i = 0; i <= (how >> 2 & 3u); i++) {
        const char *request = TAKE_OF(requests);
        add(",", i ? 1 : 0);
        add(request, strlen(request));
    }
    add("]}", 2);
    peer_send_packet(peer, (uint8_t)(0x30 | qos << 1));
}

/* ---- steps: bytes ---- */

/* Bytes of the input, as they are or as the body of a packet. */
static void step_raw(struct peer *peer)
{
    uint8_t how = take();
    for (uint32_t i = 0; i < (how & 127u); i++)
        add_u8(take());
    need_open(peer);
    peer->is_wild = true;
    if (how & 128) {
        peer_send_packet(peer, take());
    } else {
        peer_send(peer, out.bytes, out.len);
        out.len = 0;
    }
}

static void step_mangle(struct peer *peer)
{
    peer->mangle_at = take();
    peer->mangle_by = take();
}

static void step_truncate(struct peer *peer)
{
    peer->mangle_cut = take();
}

static void step_cut(struct peer *peer)
{
    peer->cut = take();
}

static void step_read(struct peer *peer)
{
    peer_read(peer, false);
}

static void step_answer(struct peer *peer)
{
    peer_read(peer, true);
}

/* Everybody reads and answers. */
static void step_answer_all(struct peer *peer)
{
    (void)peer;
    harness_settle(play.h);
    for (uint32_t i = 0; i < PEERS; i++)
        peer_read(&peers[i], true);
    harness_settle(play.h);
}

/* ---- steps: the world ---- */

static void step_turn(struct peer *peer)
{
    uint32_t reactor = (uint32_t)(peer - peers) % play.h->group->count;
    for (uint32_t i = 0; i <= (take() & 7u); i++)
        harness_turn(play.h, reactor);
}

static void step_pass(struct peer *peer)
{
    static const uint32_t leaps_ms[] = {500, 500, 1000, 2500, 11000, 46000, 61000, 3600000};
    (void)peer;
    clock_turn_ms(TAKE_OF(leaps_ms));
    harness_settle(play.h);
}

static void step_slow_machine(struct peer *peer)
{
    static const uint32_t steps_ns[] = {WORLD_STEP_NS, 20000, 60000, 1100000};
    (void)peer;
    world.step_ns = TAKE_OF(steps_ns);
}

static void step_memory_fails(struct peer *peer)
{
    (void)peer;
    uint8_t count = take();
    world.fail_at = take();
    world.fail_count = count & 0x80 ? 1 + (count & 63u) : 1;
}

static void step_reload(struct peer *peer)
{
    (void)peer;
    char *error = NULL;
    const char *text = world_config(take());
    if (play.loaded_count == CONFIGS_MAX)
        return;
    struct config *config = config_load_text(text, strlen(text), "reload", &error);
    BUG_ON(!config);
    config->log_dest = 0;
    config->connection_messages = false;
    config_keep_fixed(config, atomic_load(&play.h->broker.config));
    BUG_ON(!announced_change(&play.h->broker, config));
    atomic_store(&play.h->broker.config, config);
    review_ask(&play.h->broker);
    play.loaded[play.loaded_count++] = config;
}

static void step_check(struct peer *peer)
{
    (void)peer;
    harness_settle(play.h);
    harness_finish_jobs(play.h);
    harness_check(play.h);
    retained_check(play.h->broker.retained);
}

typedef void (*step_fn)(struct peer *peer);

static const step_fn steps[32] = {
    step_open,
    step_connect,
    step_come_back,
    step_disconnect,
    step_drop,
    step_shut,
    step_ping,
    step_auth,
    step_subscribe,
    step_subscribe,
    step_unsubscribe,
    step_subscribe_many,
    step_publish,
    step_publish,
    step_publish_properties,
    step_publish_many,
    step_ack,
    step_control,
    step_raw,
    step_mangle,
    step_truncate,
    step_cut,
    step_read,
    step_answer,
    step_answer_all,
    step_turn,
    step_pass,
    step_slow_machine,
    step_memory_fails,
    step_reload,
    step_check,
    step_unsubscribe_many,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int64_t memory = memory_now();
    int descriptor = descriptor_now();
    memset(&play, 0, sizeof(play));
    play.at = data;
    play.end = data + size;
    uint8_t how = take();
    play.has_admin = how & 4;
    play.h = world_begin(1 + (how & 3) % 3u, take(), play.has_admin);
    peers_begin(play.h);
    for (uint32_t i = 0; i < STEPS_MAX && play.at < play.end; i++) {
        uint8_t step = take();
        out.len = 0;
        steps[step & 31](&peers[step >> 5]);
        for (uint32_t r = 0; how & 16 && r < play.h->group->count; r++)
            harness_turn(play.h, r);
    }
    play_to_the_end(how);
    peers_end();
    world_end(play.h, play.has_admin);
    for (uint32_t i = 0; i < play.loaded_count; i++)
        config_free(play.loaded[i]);
    assert_int_equal(memory_now(), memory);
    assert_int_equal(descriptor_now(), descriptor);
    return 0;
}
