/*
 * websocket.c: MQTT over WebSocket (RFC 6455) between a socket and a connection.
 *
 *   OPENING -- request --> OPEN -- close frame, fault --> ENDED
 *      \--- refused: HTTP answer --------------------------/
 *
 * Read: raw bytes come into the caller's buffer and are freed of frames and masks there. A request
 * that comes in pieces is kept, at most WEBSOCKET_REQUEST_BYTES_MAX, until it is whole; the time it
 * may take is the connection's (connect_timeout).
 *
 * Write: all that waits when a frame begins becomes one binary frame, and goes out with its header
 * in one call; `frame_left` is what the socket did not take of it. Own bytes go between frames:
 *
 *     own (HTTP answer, pong) | header | payload ... | own | header | payload ... | close frame
 *
 * A pong that waits is replaced by the next one, so a peer that sends pings and does not read costs
 * 127 bytes. After the close frame nothing is written.
 *
 * Memory: 200 bytes, a request in pieces, and an HTTP answer or a pong while it waits.
 * [MQTT-6.0.0-1] [MQTT-6.0.0-2] [MQTT-6.0.0-4]
 */
#include "transport/websocket.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/assert.h"
#include "base/mem.h"
#include "mqtt/websocket.h"

enum websocket_state { WEBSOCKET_OPENING, WEBSOCKET_OPEN, WEBSOCKET_ENDED };

/* Bytes on the heap. */
struct held {
    uint32_t at, len; /* written up to `at` */
    uint8_t bytes[];
};

struct websocket {
    struct transport transport; /* first member */
    struct held *request;       /* as much as has come; NULL: nothing, or no longer needed */
    struct held *own;           /* goes out before the next frame; NULL: nothing */
    uint32_t frame_left;        /* payload of the frame at hand that is still to be written */
    uint16_t close_code;        /* of the close frame to send when all else is written; 0: none */
    uint8_t state;              /* enum websocket_state */
    uint8_t header_at, header_len;
    uint8_t header[WEBSOCKET_SERVER_HEADER_BYTES_MAX];
    struct websocket_stream in;
};

static struct websocket *websocket_of(struct transport *transport)
{
    return (struct websocket *)transport;
}

static struct transport *websocket_make(void)
{
    struct websocket *ws = mem_zalloc(sizeof(*ws));
    if (!ws)
        return NULL;
    ws->transport.ops = &websocket_ops;
    return &ws->transport;
}

static void websocket_free(struct transport *transport)
{
    struct websocket *ws = websocket_of(transport);
    mem_free(ws->request);
    mem_free(ws->own);
    mem_free(ws);
}

/* ---- what we say ourselves ---- */

static void websocket_fail(struct websocket *ws, const char *text)
{
    ws->state = WEBSOCKET_ENDED;
    ws->transport.fault = text;
}

/* Room for bytes of our own, in place of a pong that waits. NULL: no room now, because an answer
   waits or a pong is half written, or no memory. */
static uint8_t *websocket_own(struct websocket *ws, uint32_t bytes)
{
    if (ws->own && (ws->own->at > 0 || ws->own->bytes[0] == 'H'))
        return NULL;
    struct held *own = mem_realloc(ws->own, sizeof(*own) + bytes);
    if (!own)
        return NULL;
    own->at = 0;
    own->len = bytes;
    ws->own = own;
    ws->transport.wants_write = true;
    return own->bytes;
}

static void websocket_say(struct websocket *ws, const char *text, int bytes)
{
    uint8_t *at = bytes > 0 ? websocket_own(ws, (uint32_t)bytes) : NULL;
    if (at)
        memcpy(at, text, (size_t)bytes);
}

static void websocket_refuse(struct websocket *ws, const struct websocket_refusal *refusal)
{
    char answer[512];
    websocket_fail(ws, refusal->text);
    if (refusal->status == 0)
        return;
    int bytes = snprintf(answer, sizeof(answer),
                         "HTTP/1.1 %u %s\r\n%sConnection: close\r\nContent-Type: text/plain\r\n"
                         "Content-Length: %zu\r\n\r\n%s\n",
                         refusal->status, refusal->phrase, refusal->header,
                         strlen(refusal->text) + 1, refusal->text);
    BUG_ON(bytes >= (int)sizeof(answer));
    websocket_say(ws, answer, bytes);
}

static void websocket_accept(struct websocket *ws, const struct websocket_request *request)
{
    char answer[256], accept[WEBSOCKET_ACCEPT_BYTES];
    if (!websocket_accept_key(request->key, accept)) {
        websocket_fail(ws, "no SHA-1 in the library");
        return;
    }
    int bytes = snprintf(answer, sizeof(answer),
                         "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                         "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n"
                         "Sec-WebSocket-Protocol: %.*s\r\n\r\n",
                         accept, SLICE_ARG(request->subprotocol));
    ws->state = WEBSOCKET_OPEN;
    websocket_say(ws, answer, bytes);
    if (!ws->transport.wants_write)
        websocket_fail(ws, "no memory");
}

static void websocket_pong(struct websocket *ws, const struct websocket_news *news)
{
    uint8_t *at = websocket_own(ws, 2u + news->ping_len);
    if (!at)
        return;
    websocket_header_encode(at, WEBSOCKET_PONG, news->ping_len);
    memcpy(at + 2, news->ping, news->ping_len);
}

static void websocket_close(struct websocket *ws, uint16_t code)
{
    if (ws->close_code == 0) {
        ws->close_code = code;
        ws->transport.wants_write = true;
    }
    ws->state = WEBSOCKET_ENDED;
}

static void websocket_finish(struct transport *transport, enum transport_end how)
{
    static const uint16_t codes[] = {
        [TRANSPORT_END_CALM] = WEBSOCKET_CODE_NORMAL,
        [TRANSPORT_END_SHUTDOWN] = WEBSOCKET_CODE_GOING_AWAY,
        [TRANSPORT_END_REFUSED] = WEBSOCKET_CODE_POLICY,
    };
    if (websocket_of(transport)->state == WEBSOCKET_OPEN)
        websocket_close(websocket_of(transport), codes[how]);
}

/* ---- reading ---- */

/* Keeps what has come of the request. */
static void websocket_keep(struct websocket *ws, const uint8_t *bytes, size_t len)
{
    uint32_t old = ws->request ? ws->request->len : 0;
    struct held *request = mem_realloc(ws->request, sizeof(*request) + old + len);
    if (!request) {
        websocket_fail(ws, "no memory");
        return;
    }
    memcpy(request->bytes + old, bytes, len);
    request->len = old + (uint32_t)len;
    ws->request = request;
}

/* Returns how many of the bytes belong to the request. */
static size_t websocket_open(struct websocket *ws, const uint8_t *bytes, size_t len)
{
    uint32_t before = ws->request ? ws->request->len : 0;
    struct slice whole = slice_of(bytes, len);
    if (before) {
        size_t room = WEBSOCKET_REQUEST_BYTES_MAX - before;
        websocket_keep(ws, bytes, len < room ? len : room);
        if (ws->state == WEBSOCKET_ENDED)
            return len;
        whole = slice_of(ws->request->bytes, ws->request->len);
    }
    struct websocket_request request;
    const struct websocket_refusal *refusal;
    enum websocket_result result = websocket_request_parse(whole, &request, &refusal);
    size_t used = len;
    if (result == WEBSOCKET_READY) {
        used = request.bytes - before;
        websocket_accept(ws, &request);
    } else if (result == WEBSOCKET_BAD) {
        websocket_refuse(ws, refusal);
    } else if (!before) {
        websocket_keep(ws, bytes, len);
    }
    if (result != WEBSOCKET_SHORT) {
        mem_free(ws->request);
        ws->request = NULL;
    }
    return used;
}

/* Frees bytes of their frames, where they lie. */
static size_t websocket_unframe(struct websocket *ws, uint8_t *bytes, size_t len)
{
    struct websocket_news news;
    size_t data = websocket_take(&ws->in, bytes, len, &news);
    if (news.has_ping)
        websocket_pong(ws, &news);
    if (news.close_code) {
        websocket_close(ws, news.close_code);
        ws->transport.is_over = true;
        ws->transport.fault = "the client closed the WebSocket";
    } else if (news.fault) {
        websocket_close(ws, news.fault->code);
        ws->transport.fault = news.fault->text;
    }
    return data;
}

static ssize_t websocket_read(struct transport *transport, int fd, uint8_t *at, size_t room,
                              size_t *raw)
{
    struct websocket *ws = websocket_of(transport);
    *raw = 0;
    ssize_t got = recv(fd, at, room, 0);
    if (got == 0)
        return TRANSPORT_GONE;
    if (got < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : TRANSPORT_FAILED;
    *raw = (size_t)got;
    size_t used = 0;
    if (ws->state == WEBSOCKET_OPENING)
        used = websocket_open(ws, at, (size_t)got);
    if (ws->state != WEBSOCKET_OPEN || used == (size_t)got)
        return 0;
    size_t data = websocket_unframe(ws, at + used, (size_t)got - used);
    if (used && data)
        memmove(at, at + used, data);
    return (ssize_t)data;
}

/* ---- writing ---- */

/* Begins a frame of all that waits, or the close frame when nothing does. */
static void websocket_begin_frame(struct websocket *ws, size_t waiting)
{
    if (ws->frame_left || ws->header_at < ws->header_len)
        return;
    ws->header_at = ws->header_len = 0;
    if (waiting) {
        ws->frame_left = (uint32_t)waiting;
        ws->header_len = websocket_header_encode(ws->header, WEBSOCKET_BINARY, waiting);
    } else if (ws->close_code) {
        ws->header_len = websocket_header_encode(ws->header, WEBSOCKET_CLOSE, 2) + 2;
        ws->header[2] = (uint8_t)(ws->close_code >> 8);
        ws->header[3] = (uint8_t)ws->close_code;
        ws->close_code = 0;
    }
}

/* Whether own bytes can go out: not when a frame was begun and is not yet whole. */
static bool websocket_is_between(const struct websocket *ws)
{
    return ws->header_at == 0 || (ws->header_at == ws->header_len && ws->frame_left == 0);
}

/* What goes out: own bytes, header, payload of the frame. Returns how many pieces; *total bytes. */
static size_t websocket_gather(struct websocket *ws, const struct iovec *iov, size_t count,
                               struct iovec *out, bool with_own, size_t *total)
{
    size_t used = 0;
    struct held *own = ws->own;
    *total = 0;
    if (with_own)
        out[used++] = (struct iovec){own->bytes + own->at, own->len - own->at};
    if (ws->header_at < ws->header_len)
        out[used++] = (struct iovec){ws->header + ws->header_at, ws->header_len - ws->header_at};
    size_t left = ws->frame_left;
    for (size_t i = 0; i < count && left; i++) {
        size_t part = iov[i].iov_len < left ? iov[i].iov_len : left;
        out[used++] = (struct iovec){iov[i].iov_base, part};
        left -= part;
    }
    for (size_t i = 0; i < used; i++)
        *total += out[i].iov_len;
    return used;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Takes what was written off own bytes and header; returns what it was of the payload. */
static size_t websocket_written(struct websocket *ws, size_t written, bool with_own)
{
    if (with_own) {
        size_t part = smaller(written, ws->own->len - ws->own->at);
        ws->own->at += (uint32_t)part;
        written -= part;
        if (ws->own->at == ws->own->len) {
            mem_free(ws->own);
            ws->own = NULL;
        }
    }
    size_t part = smaller(written, (size_t)(ws->header_len - ws->header_at));
    ws->header_at += (uint8_t)part;
    written -= part;
    ws->frame_left -= (uint32_t)written;
    return written;
}

static ssize_t websocket_write(struct transport *transport, int fd, const struct iovec *iov,
                               size_t count, size_t waiting, size_t *raw)
{
    struct websocket *ws = websocket_of(transport);
    struct iovec out[TRANSPORT_IOVECS + 2];
    size_t total;
    bool with_own = ws->own && websocket_is_between(ws);
    websocket_begin_frame(ws, waiting);
    size_t used = websocket_gather(ws, iov, count, out, with_own, &total);
    struct msghdr msg = {.msg_iov = out, .msg_iovlen = used};
    ssize_t written = total ? sendmsg(fd, &msg, MSG_NOSIGNAL) : 0;
    *raw = written > 0 ? (size_t)written : 0;
    if (written < 0 && errno != EAGAIN && errno != EINTR && errno != ENOBUFS && errno != ENOMEM)
        return TRANSPORT_FAILED;
    size_t payload = websocket_written(ws, *raw, with_own);
    transport->is_full = *raw < total;
    transport->wants_write = ws->own || ws->close_code || ws->header_at < ws->header_len;
    return (ssize_t)payload;
}

const struct transport_ops websocket_ops = {
    .make = websocket_make,
    .free = websocket_free,
    .read = websocket_read,
    .write = websocket_write,
    .finish = websocket_finish,
};
