/* websocket.c: see websocket.h. */
#include "bench/websocket.h"

#include <stdio.h>
#include <string.h>

#define REQUEST_MAX 512
#define IS_MASKED 0x80u

enum opcode { OPCODE_MORE, OPCODE_BINARY = 2, OPCODE_CLOSE = 8, OPCODE_PING, OPCODE_PONG };

void websocket_request(struct buf *out, const char *host, int version)
{
    char text[REQUEST_MAX];
    int len = snprintf(text, sizeof text,
                       "GET /mqtt HTTP/1.1\r\nHost: %.200s\r\nUpgrade: websocket\r\n"
                       "Connection: Upgrade\r\nSec-WebSocket-Key: ZHVubGluLWJlbmNoLi4uLg==\r\n"
                       "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: %s\r\n\r\n",
                       host, version == 3 ? "mqttv3.1" : "mqtt");
    buf_append(out, text, (uint32_t)len);
}

long websocket_answer(const uint8_t *p, size_t len)
{
    static const char granted[] = "HTTP/1.1 101 ", end[] = "\r\n\r\n";
    size_t begun = len < sizeof granted - 1 ? len : sizeof granted - 1;
    if (memcmp(p, granted, begun))
        return -1;
    const uint8_t *at = memmem(p, len, end, sizeof end - 1);
    return at ? at + sizeof end - 1 - p : 0;
}

/* ---- out ---- */

/* Big-endian; returns the header's length without the mask. */
static uint32_t header_write(uint8_t header[WEBSOCKET_HEADER_MAX], uint32_t len)
{
    uint32_t bytes = len < 126 ? 0 : len <= UINT16_MAX ? 2 : 8;
    header[0] = 0x80 | OPCODE_BINARY;
    header[1] = (uint8_t)(IS_MASKED | (bytes == 0 ? len : bytes == 2 ? 126 : 127));
    for (uint32_t i = 0; i < bytes; i++)
        header[2 + i] = (uint8_t)((uint64_t)len >> 8 * (bytes - 1 - i));
    return 2 + bytes;
}

uint32_t websocket_wrap(struct websocket *ws, struct buf *out)
{
    uint8_t header[WEBSOCKET_HEADER_MAX] = {0};
    if (ws->framed || !out->len)
        return ws->framed;
    uint32_t bytes = header_write(header, out->len) + 4;
    buf_reserve(out, bytes);
    memmove(out->ptr + bytes, out->ptr, out->len);
    memcpy(out->ptr, header, bytes);
    out->len += bytes;
    return ws->framed = out->len;
}

/* ---- in ---- */

/* What the header needs, as far as it has come. */
static uint32_t header_needs(const struct websocket *ws)
{
    if (ws->have < 2)
        return 2;
    return ws->header[1] == 126 ? 4 : ws->header[1] == 127 ? 10 : 2;
}

/* A header is whole; false when it is one that no server of MQTT may send, or the end. */
static bool header_read(struct websocket *ws)
{
    uint32_t opcode = ws->header[0] & 15;
    bool is_data = opcode == OPCODE_MORE || opcode == OPCODE_BINARY;
    ws->is_skipped = opcode == OPCODE_PING || opcode == OPCODE_PONG;
    ws->left = ws->have == 2 ? ws->header[1] : 0;
    for (uint32_t i = 2; i < ws->have; i++)
        ws->left = ws->left << 8 | ws->header[i];
    bool is_masked = ws->header[1] & IS_MASKED;
    ws->have = 0;
    return (is_data || ws->is_skipped) && !is_masked;
}

long websocket_unwrap(struct websocket *ws, uint8_t *p, size_t len)
{
    size_t put = 0;
    for (size_t at = 0; at < len;) {
        if (ws->left == 0) {
            ws->header[ws->have++] = p[at++];
            if (ws->have == header_needs(ws) && !header_read(ws))
                return -1;
            continue;
        }
        size_t part = ws->left < len - at ? (size_t)ws->left : len - at;
        if (!ws->is_skipped) {
            memmove(p + put, p + at, part);
            put += part;
        }
        at += part;
        ws->left -= part;
    }
    return (long)put;
}
