/*
 * session_peer.h: a peer that sends what it likes, in pieces of any size, and holds what it gets
 * against the standard: whole packets of kinds that a server may send, CONNACK first, nothing after
 * DISCONNECT, no packet id twice, never more in flight or larger than it allowed.
 *
 * Who has sent something malformed (`is_wild`) may be told anything, as long as it is whole packets.
 */
#ifndef TESTS_FUZZ_SESSION_PEER_H
#define TESTS_FUZZ_SESSION_PEER_H

#include "tests/fuzz/session_world.h"

#define PEERS 8u
#define PACKET_ROOM (256u * 1024)
#define CUTS_MAX 64u

struct peer {
    struct harness *harness;
    int fd; /* -1: none */
    uint8_t reactor;
    bool is_ws, is_upgraded, is_wild, is_gone;
    uint8_t cut; /* so many bytes at a time, with a turn in between; 0: all at once */
    uint8_t mangle_at, mangle_by;        /* a byte of the next packet, counted from its beginning */
    uint32_t mangle_cut;                 /* the next packet ends here; 0: whole */
    uint8_t version;                     /* of the last CONNECT */
    uint32_t receive_maximum, bytes_max; /* the same */
    bool has_connack, has_disconnect, asked_auth;
    uint8_t *in; /* MQTT */
    size_t in_len, in_cap;
    uint8_t *raw; /* WebSocket frames */
    size_t raw_len, raw_cap;
    uint32_t inflight_count;
    uint8_t inflight[65536]; /* by packet id: 1 PUBLISH, 2 PUBREC sent */
};

static struct peer peers[PEERS];

/* A packet being put together; what does not fit is left out. */
static struct {
    uint8_t bytes[PACKET_ROOM];
    uint32_t len;
} out;

static void add(const void *bytes, size_t len)
{
    if (len > PACKET_ROOM - out.len)
        return;
    memcpy(out.bytes + out.len, bytes, len);
    out.len += (uint32_t)len;
}

static void add_u8(uint32_t value)
{
    add(&(uint8_t){(uint8_t)value}, 1);
}

static void add_u16(uint32_t value)
{
    add_u8(value >> 8);
    add_u8(value);
}

static void add_u32(uint32_t value)
{
    add_u16(value >> 16);
    add_u16(value);
}

static void add_text(const char *text)
{
    add_u16((uint32_t)strlen(text));
    add(text, strlen(text));
}

/* ---- the socket ---- */

static void peer_close(struct peer *peer)
{
    if (peer->fd >= 0)
        close(peer->fd);
    peer->fd = -1;
}

static void peer_send_now(struct peer *peer, const uint8_t *bytes, size_t len)
{
    while (len && peer->fd >= 0) {
        ssize_t sent = send(peer->fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent <= 0) {
            peer->is_wild = true; /* what is missing makes the next packet nonsense */
            return;
        }
        bytes += sent;
        len -= (size_t)sent;
    }
}

static void peer_send_bytes(struct peer *peer, const uint8_t *bytes, size_t len)
{
    for (uint32_t cuts = 0; peer->cut && len > peer->cut && cuts < CUTS_MAX; cuts++) {
        peer_send_now(peer, bytes, peer->cut);
        bytes += peer->cut;
        len -= peer->cut;
        harness_turn(peer->harness, peer->reactor);
    }
    peer_send_now(peer, bytes, len);
}

static void peer_open(struct harness *h, struct peer *peer, uint8_t reactor, bool is_ws,
                      bool is_small)
{
    static const char upgrade[] =
        "GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Protocol: mqtt\r\n\r\n";
    int fds[2], small = 1;
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7F000001)};
    peer_close(peer);
    BUG_ON(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0);
    if (is_small)
        setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    struct peer fresh = {.harness = h,
                         .fd = fds[1],
                         .is_ws = is_ws,
                         .cut = peer->cut,
                         .in = peer->in,
                         .in_cap = peer->in_cap,
                         .raw = peer->raw,
                         .raw_cap = peer->raw_cap,
                         .reactor = reactor % (uint8_t)h->group->count};
    memcpy(peer, &fresh, offsetof(struct peer, inflight));
    memset(peer->inflight, 0, sizeof(peer->inflight));
    struct listener listener = {.index = is_ws, .config = &h->config->listeners[is_ws]};
    connection_accept(&h->group->reactors[peer->reactor], &listener, fds[0],
                      (struct sockaddr *)&from);
    if (is_ws)
        peer_send_bytes(peer, (const uint8_t *)upgrade, sizeof(upgrade) - 1);
}

/* Bytes as they are, within a WebSocket frame (masked with zeros) where that is spoken. */
static void peer_send(struct peer *peer, const uint8_t *bytes, size_t len)
{
    if (peer->is_ws) {
        uint8_t head[14] = {0x82, 0x80 | 127};
        for (uint32_t i = 0; i < 8; i++)
            head[2 + i] = (uint8_t)((uint64_t)len >> (56 - 8 * i));
        uint32_t head_len = 14;
        if (len < 65536) { /* the shortest form */
            bool is_short = len < 126;
            head[1] = (uint8_t)(0x80 | (is_short ? len : 126));
            head[2] = is_short ? 0 : (uint8_t)(len >> 8);
            head[3] = is_short ? 0 : (uint8_t)len;
            memset(head + 4, 0, 10);
            head_len = is_short ? 6 : 8;
        }
        peer_send_bytes(peer, head, head_len);
    }
    peer_send_bytes(peer, bytes, len);
}

/* Sends what has been put together, with its first byte and length; as mangled as is wished. */
static void peer_send_packet(struct peer *peer, uint8_t first)
{
    static uint8_t frame[PACKET_ROOM + 5];
    frame[0] = first;
    size_t len = 1 + put_varint(frame + 1, out.len);
    memcpy(frame + len, out.bytes, out.len);
    len += out.len;
    if (peer->mangle_by && peer->mangle_at < len) {
        frame[peer->mangle_at] ^= peer->mangle_by;
        peer->is_wild = true;
    }
    if (peer->mangle_cut && peer->mangle_cut < len) {
        len = peer->mangle_cut;
        peer->is_wild = true;
    }
    peer->mangle_by = 0;
    peer->mangle_cut = 0;
    out.len = 0;
    peer_send(peer, frame, len);
}

/* ---- what comes back ---- */

static void set_inflight(struct peer *peer, uint16_t packet_id, uint8_t state)
{
    peer->inflight_count += (state != 0) - (peer->inflight[packet_id] != 0);
    peer->inflight[packet_id] = state;
}

static void send_ack(struct peer *peer, uint8_t type, uint16_t packet_id)
{
    add_u16(packet_id);
    peer_send_packet(peer, (uint8_t)(type << 4 | (type == PACKET_PUBREL ? 2 : 0)));
}

static void peer_got_publish(struct peer *peer, uint8_t flags, struct slice body, bool answer)
{
    uint8_t qos = flags >> 1 & 3;
    uint32_t topic_len = (uint32_t)(body.ptr[0] << 8 | body.ptr[1]);
    BUG_ON(qos == 3 || body.len < 2 + topic_len + (qos ? 2u : 0));
    BUG_ON(qos == 0 && flags & 8);
    if (qos == 0)
        return;
    uint16_t packet_id = (uint16_t)(body.ptr[2 + topic_len] << 8 | body.ptr[3 + topic_len]);
    BUG_ON(packet_id == 0);
    if (!peer->is_wild) {
        BUG_ON(peer->inflight[packet_id]);
        set_inflight(peer, packet_id, 1);
        BUG_ON(peer->inflight_count > peer->receive_maximum);
    }
    if (answer && qos == 1)
        set_inflight(peer, packet_id, 0);
    if (answer)
        send_ack(peer, qos == 1 ? PACKET_PUBACK : PACKET_PUBREC, packet_id);
}

static void peer_got(struct peer *peer, uint8_t first, struct slice body, size_t size, bool answer)
{
    uint8_t type = first >> 4;
    uint16_t packet_id = (uint16_t)(body.len < 2 ? 0 : body.ptr[0] << 8 | body.ptr[1]);
    const uint32_t legal = 1 << PACKET_CONNACK | 1 << PACKET_PUBLISH | 1 << PACKET_PUBACK |
                           1 << PACKET_PUBREC | 1 << PACKET_PUBREL | 1 << PACKET_PUBCOMP |
                           1 << PACKET_SUBACK | 1 << PACKET_UNSUBACK | 1 << PACKET_PINGRESP |
                           1 << PACKET_DISCONNECT | 1 << PACKET_AUTH;
    BUG_ON(!(legal >> type & 1));
    BUG_ON(type != PACKET_PUBLISH && (first & 15) != (type == PACKET_PUBREL ? 2 : 0));
    BUG_ON(peer->has_disconnect);
    BUG_ON(type == PACKET_CONNACK && peer->has_connack);
    BUG_ON(type != PACKET_CONNACK && type != PACKET_AUTH && !peer->has_connack);
    BUG_ON(!peer->is_wild && size > peer->bytes_max);
    BUG_ON(!peer->is_wild && type == PACKET_AUTH && !peer->asked_auth);
    BUG_ON(!peer->is_wild && type == PACKET_DISCONNECT && peer->version != MQTT_5);
    peer->has_connack |= type == PACKET_CONNACK;
    peer->has_disconnect = type == PACKET_DISCONNECT;
    if (type == PACKET_PUBLISH)
        peer_got_publish(peer, first & 15, body, answer);
    else if (type == PACKET_PUBREC && answer)
        send_ack(peer, PACKET_PUBREL, packet_id);
    else if (type == PACKET_PUBREL && answer) {
        if (peer->inflight[packet_id])
            set_inflight(peer, packet_id, 0);
        send_ack(peer, PACKET_PUBCOMP, packet_id);
    }
}

/* Takes frames off; a message of the server is one frame of binary data, or a close. */
static void peer_unwrap(struct peer *peer)
{
    if (!peer->is_upgraded) {
        uint8_t *end = !peer->raw_len ? NULL : memmem(peer->raw, peer->raw_len, "\r\n\r\n", 4);
        if (!end)
            return;
        peer->is_upgraded = true;
        peer->raw_len -= (size_t)(end + 4 - peer->raw);
        memmove(peer->raw, end + 4, peer->raw_len);
    }
    for (;;) {
        if (peer->raw_len < 2)
            return;
        uint64_t len = peer->raw[1] & 127, head = len < 126 ? 2 : len == 126 ? 4 : 10;
        BUG_ON(peer->raw[1] & 128);
        if (peer->raw_len < head)
            return;
        for (uint64_t i = 2, value = 0; i < head; i++)
            len = value = value << 8 | peer->raw[i];
        if (peer->raw_len < head + len)
            return;
        if (peer->raw[0] == 0x82) {
            if (peer->in_len + len > peer->in_cap)
                BUG_ON(!(peer->in = realloc(peer->in, peer->in_cap = peer->in_len + len)));
            memcpy(peer->in + peer->in_len, peer->raw + head, len);
            peer->in_len += len;
        }
        peer->raw_len -= head + len;
        memmove(peer->raw, peer->raw + head + len, peer->raw_len);
    }
}

/* Reads all there is. */
static void peer_receive(struct peer *peer)
{
    uint8_t **in = peer->is_ws ? &peer->raw : &peer->in;
    size_t *len = peer->is_ws ? &peer->raw_len : &peer->in_len;
    size_t *cap = peer->is_ws ? &peer->raw_cap : &peer->in_cap;
    while (peer->fd >= 0 && !peer->is_gone) {
        if (*cap - *len < 4096)
            BUG_ON(!(*in = realloc(*in, *cap = *cap * 2 + 16384)));
        ssize_t got = recv(peer->fd, *in + *len, *cap - *len, MSG_DONTWAIT);
        if (got < 0 && errno == EAGAIN)
            break;
        peer->is_gone = got <= 0;
        *len += got > 0 ? (size_t)got : 0;
    }
    if (peer->is_ws)
        peer_unwrap(peer);
}

/* Reads all there is, holds it against the standard, and answers as a good client if wished. */
static void peer_read(struct peer *peer, bool answer)
{
    size_t at = 0;
    peer_receive(peer);
    for (;;) {
        uint32_t len = 0, head = 1, shift = 0;
        bool is_more = true;
        while (is_more && at + head < peer->in_len) {
            len |= (uint32_t)(peer->in[at + head] & 127) << shift;
            shift += 7;
            is_more = peer->in[at + head++] & 128;
        }
        if (is_more || at + head + len > peer->in_len)
            break;
        BUG_ON(shift > 28);
        peer_got(peer, peer->in[at], slice_of(peer->in + at + head, len), head + len, answer);
        at += head + len;
    }
    peer->in_len -= at;
    if (at)
        memmove(peer->in, peer->in + at, peer->in_len);
    BUG_ON(peer->is_gone && peer->in_len && !peer->is_wild && peer->has_disconnect);
}

static void peers_begin(struct harness *h)
{
    for (uint32_t i = 0; i < PEERS; i++) {
        memset(&peers[i], 0, offsetof(struct peer, inflight)); /* the rest when it is opened */
        peers[i].harness = h;
        peers[i].fd = -1;
    }
}

static void peers_end(void)
{
    for (uint32_t i = 0; i < PEERS; i++) {
        peer_close(&peers[i]);
        free(peers[i].in);
        free(peers[i].raw);
    }
}

#endif
