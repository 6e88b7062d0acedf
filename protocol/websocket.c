/*
 * websocket.c: frames of WebSocket (RFC 6455 section 5), from clients and to them.
 *
 *     byte 0                  byte 1           0, 2 or 8 bytes   4 bytes   Length bytes
 *     [FIN | 3 bits | opcode] [MASK | length]  [longer length]   [mask]    [payload, masked ...]
 *
 * A stream takes what one read brought, frees data of frames and masks where they lie, and hands
 * the data over in one piece at the front: bytes move at most once, and never up. What a read cuts
 * in two is kept when it is a header or the payload of a control frame, at most 125 bytes; of data
 * nothing is kept, as packets are put together behind this.
 *
 * Invariants: left > 0 while is_in_frame; held_len > 0 without is_in_frame is part of a header.
 * Pure; any thread. Cost: a few ns a frame, and a tenth of a nanosecond a byte.
 * [MQTT-6.0.0-1] [MQTT-6.0.0-2]
 */
#include "mqtt/websocket.h"

#define FAULT(name, code_, text_) \
    static const struct websocket_fault name = {.code = WEBSOCKET_CODE_##code_, .text = text_}

FAULT(reserved_bits, PROTOCOL, "WebSocket frame with reserved bits set");
FAULT(reserved_opcode, PROTOCOL, "WebSocket frame with a reserved opcode");
FAULT(not_masked, PROTOCOL, "WebSocket frame of a client without mask");
FAULT(long_control, PROTOCOL, "WebSocket control frame above 125 bytes");
FAULT(split_control, PROTOCOL, "WebSocket control frame in parts");
FAULT(padded_length, PROTOCOL, "WebSocket frame with a padded length");
FAULT(too_long, TOO_BIG, "WebSocket frame above 2147483647 bytes");
FAULT(is_text, UNSUPPORTED, "WebSocket text frame; MQTT is binary");
FAULT(stray_continuation, PROTOCOL, "WebSocket continuation of nothing");
FAULT(unfinished_message, PROTOCOL, "WebSocket message inside another");
FAULT(bad_close, PROTOCOL, "WebSocket close frame with an illegal code");

/* ---- headers ---- */

static bool is_control(uint8_t opcode)
{
    return (opcode & 8) != 0;
}

static const struct websocket_fault *check_first_byte(uint8_t first)
{
    uint8_t opcode = first & 15;
    if (first & 0x70)
        return &reserved_bits;
    if (opcode == WEBSOCKET_TEXT)
        return &is_text;
    if ((opcode > WEBSOCKET_BINARY && opcode < WEBSOCKET_CLOSE) || opcode > WEBSOCKET_PONG)
        return &reserved_opcode;
    return is_control(opcode) && !(first & 0x80) ? &split_control : NULL;
}

static const struct websocket_fault *check_second_byte(uint8_t first, uint8_t second)
{
    if (!(second & 0x80))
        return &not_masked;
    return is_control(first & 15) && (second & 0x7F) > WEBSOCKET_CONTROL_BYTES_MAX ? &long_control
                                                                                   : NULL;
}

static const struct websocket_fault *read_length(const uint8_t *at, uint8_t bytes, uint32_t *length)
{
    uint64_t value = 0;
    for (uint8_t i = 0; i < bytes; i++)
        value = value << 8 | at[i];
    *length = (uint32_t)value;
    if (value > WEBSOCKET_FRAME_BYTES_MAX)
        return &too_long;
    return value < (bytes == 2 ? 126 : 65536) ? &padded_length : NULL;
}

enum websocket_result websocket_header_parse(struct slice in, struct websocket_header *out,
                                             const struct websocket_fault **fault)
{
    *fault = in.len > 0 ? check_first_byte(in.ptr[0]) : NULL;
    if (!*fault && in.len > 1)
        *fault = check_second_byte(in.ptr[0], in.ptr[1]);
    if (*fault)
        return WEBSOCKET_BAD;
    if (in.len < 2)
        return WEBSOCKET_SHORT;
    uint8_t length = in.ptr[1] & 0x7F;
    uint8_t longer = length == 127 ? 8 : length == 126 ? 2 : 0;
    out->length = length;
    if (longer && in.len >= 2u + longer) {
        *fault = read_length(in.ptr + 2, longer, &out->length);
        if (*fault)
            return WEBSOCKET_BAD;
    }
    out->bytes = 2 + longer + 4;
    if (in.len < out->bytes)
        return WEBSOCKET_SHORT;
    out->opcode = in.ptr[0] & 15;
    out->is_last = (in.ptr[0] & 0x80) != 0;
    memcpy(out->mask, in.ptr + 2 + longer, 4);
    return WEBSOCKET_READY;
}

uint8_t websocket_header_encode(uint8_t out[WEBSOCKET_SERVER_HEADER_BYTES_MAX], uint8_t opcode,
                                uint64_t length)
{
    uint8_t longer = length < 126 ? 0 : length < 65536 ? 2 : 8;
    out[0] = 0x80 | opcode;
    out[1] = longer == 0 ? (uint8_t)length : longer == 2 ? 126 : 127;
    for (uint8_t i = 0; i < longer; i++)
        out[2 + i] = (uint8_t)(length >> (8 * (longer - 1 - i)));
    return 2 + longer;
}

/* ---- masks ---- */

void websocket_unmask(uint8_t *to, const uint8_t *from, size_t len, uint8_t mask[4])
{
    uint32_t four;
    memcpy(&four, mask, 4);
    uint64_t eight = (uint64_t)four << 32 | four;
    size_t at = 0;
    for (; len - at >= 8; at += 8) {
        uint64_t word;
        memcpy(&word, from + at, 8);
        word ^= eight;
        memcpy(to + at, &word, 8);
    }
    uint8_t turned[4];
    for (uint8_t i = 0; i < 4; i++)
        turned[i] = mask[(len + i) & 3];
    for (; at < len; at++)
        to[at] = from[at] ^ mask[at & 3];
    memcpy(mask, turned, 4);
}

/* ---- the stream ---- */

static void fail(struct websocket_stream *stream, struct websocket_news *news,
                 const struct websocket_fault *fault)
{
    stream->is_over = true;
    news->fault = fault;
}

static bool is_legal_code(uint16_t code)
{
    if (code >= 3000)
        return code < 5000;
    return code >= 1000 && code <= 1014 && (code < 1004 || code > 1006);
}

static void end_close(struct websocket_stream *stream, struct websocket_news *news)
{
    stream->is_over = true;
    uint16_t code = WEBSOCKET_CODE_NORMAL;
    if (stream->held_len > 0)
        code = stream->held_len == 1 ? 0 : (uint16_t)(stream->held[0] << 8 | stream->held[1]);
    if (is_legal_code(code))
        news->close_code = code;
    else
        news->fault = &bad_close;
}

static void end_frame(struct websocket_stream *stream, struct websocket_news *news)
{
    stream->is_in_frame = false;
    if (stream->opcode == WEBSOCKET_CLOSE) {
        end_close(stream, news);
    } else if (stream->opcode == WEBSOCKET_PING) {
        news->has_ping = true;
        news->ping_len = stream->held_len;
        memcpy(news->ping, stream->held, stream->held_len);
    }
    stream->held_len = 0;
}

static void begin_frame(struct websocket_stream *stream, const struct websocket_header *header,
                        struct websocket_news *news)
{
    stream->held_len = 0;
    if (!is_control(header->opcode)) {
        bool is_more = header->opcode == WEBSOCKET_CONTINUATION;
        if (is_more != stream->is_in_message) {
            fail(stream, news, is_more ? &stray_continuation : &unfinished_message);
            return;
        }
        stream->is_in_message = !header->is_last;
    }
    stream->opcode = header->opcode;
    stream->left = header->length;
    memcpy(stream->mask, header->mask, 4);
    stream->is_in_frame = true;
    if (header->length == 0)
        end_frame(stream, news);
}

/* Returns how many of the bytes belong to the header. */
static size_t take_header(struct websocket_stream *stream, struct slice in,
                          struct websocket_news *news)
{
    struct websocket_header header;
    const struct websocket_fault *fault;
    enum websocket_result result = WEBSOCKET_SHORT;
    size_t used = 0;
    if (stream->held_len == 0) {
        result = websocket_header_parse(in, &header, &fault);
        if (result == WEBSOCKET_READY)
            used = header.bytes;
    }
    while (result == WEBSOCKET_SHORT && used < in.len) { /* byte by byte: it is cut in two */
        stream->held[stream->held_len++] = in.ptr[used++];
        result = websocket_header_parse(slice_of(stream->held, stream->held_len), &header, &fault);
    }
    if (result == WEBSOCKET_READY)
        begin_frame(stream, &header, news);
    else if (result == WEBSOCKET_BAD)
        fail(stream, news, fault);
    return used;
}

/* Returns how many of the bytes belong to the frame at hand; data among them go to *to. */
static size_t take_payload(struct websocket_stream *stream, const uint8_t *from, size_t len,
                           uint8_t **to, struct websocket_news *news)
{
    size_t part = len < stream->left ? len : stream->left;
    if (is_control(stream->opcode)) {
        websocket_unmask(stream->held + stream->held_len, from, part, stream->mask);
        stream->held_len += (uint8_t)part;
    } else {
        websocket_unmask(*to, from, part, stream->mask);
        *to += part;
    }
    stream->left -= (uint32_t)part;
    if (stream->left == 0)
        end_frame(stream, news);
    return part;
}

size_t websocket_take(struct websocket_stream *stream, uint8_t *bytes, size_t len,
                      struct websocket_news *news)
{
    uint8_t *to = bytes;
    size_t at = 0;
    news->fault = NULL;
    news->close_code = 0;
    news->has_ping = false;
    while (at < len && !stream->is_over) {
        if (stream->is_in_frame)
            at += take_payload(stream, bytes + at, len - at, &to, news);
        else
            at += take_header(stream, slice_of(bytes + at, len - at), news);
    }
    return (size_t)(to - bytes);
}
