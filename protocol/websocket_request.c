/*
 * websocket_request.c: the HTTP request that asks for a WebSocket (RFC 6455 section 4.2.1).
 *
 *     GET /mqtt HTTP/1.1 CRLF
 *     Host: broker CRLF
 *     Upgrade: websocket CRLF
 *     Connection: keep-alive, Upgrade CRLF
 *     Sec-WebSocket-Version: 13 CRLF
 *     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ== CRLF
 *     Sec-WebSocket-Protocol: mqtt, mqttv3.1 CRLF
 *     CRLF
 *
 * Nothing is read twice when the request comes in one piece, as it does. The table of headers says
 * what each one is good for; others are passed over. A client that offers no subprotocol of MQTT is
 * refused: whatever it speaks, it did not say that it is MQTT.
 *
 * Pure; any thread. Cost: below a microsecond. [MQTT-6.0.0-3] [MQTT-6.0.0-4]
 */
#include "base/assert.h"
#include "mqtt/websocket.h"

#define REFUSAL(name, status_, phrase_, header_, text_) \
    static const struct websocket_refusal name = {      \
        .status = status_, .phrase = phrase_, .header = header_, .text = text_}

REFUSAL(not_http, 0, "", "", "no HTTP request; this listener has 'protocol websockets'");
REFUSAL(not_get, 405, "Method Not Allowed", "Allow: GET\r\n",
        "an HTTP request that is not a GET for a WebSocket");
REFUSAL(too_large, 431, "Request Header Fields Too Large", "",
        "a WebSocket upgrade request above 8192 bytes");
REFUSAL(bad_line, 400, "Bad Request", "", "a malformed HTTP request");
REFUSAL(bad_version, 505, "HTTP Version Not Supported", "", "an HTTP request that is not HTTP/1.1");
REFUSAL(no_host, 400, "Bad Request", "", "an HTTP request without a Host, or with several");
REFUSAL(no_upgrade, 426, "Upgrade Required", "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
        "an HTTP request that does not ask for a WebSocket");
REFUSAL(other_version, 426, "Upgrade Required",
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
        "a WebSocket of another version than 13");
REFUSAL(bad_key, 400, "Bad Request", "", "no good Sec-WebSocket-Key");
REFUSAL(no_subprotocol, 400, "Bad Request", "",
        "a WebSocket that does not offer the subprotocol mqtt");

/* What the headers have said so far. */
struct seen {
    struct slice key;
    uint8_t hosts, keys, versions; /* how many; 2 stands for more */
    bool has_upgrade, has_connection, is_version_13, has_mqtt, has_mqttv31;
};

/* ---- pieces of text ---- */

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? c | 0x20 : c;
}

/* `small` is in small letters. */
static bool is_text(struct slice text, const char *small)
{
    size_t i = 0;
    for (; i < text.len && small[i]; i++) {
        if (lower(text.ptr[i]) != (uint8_t)small[i])
            return false;
    }
    return i == text.len && !small[i];
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

static struct slice trim(struct slice text)
{
    while (text.len && is_blank(text.ptr[0]))
        text = slice_skip(text, 1);
    while (text.len && is_blank(text.ptr[text.len - 1]))
        text.len--;
    return text;
}

/* Cuts what stands before the first `separator` off *text, and the separator. All when there is
   none. */
static struct slice cut(struct slice *text, char separator)
{
    const uint8_t *end = text->len ? memchr(text->ptr, separator, text->len) : NULL;
    struct slice part = *text;
    if (end)
        part.len = (size_t)(end - text->ptr);
    *text = slice_skip(*text, part.len + (end != NULL));
    return part;
}

static void count(uint8_t *times)
{
    *times = *times ? 2 : 1;
}

/* ---- headers ---- */

static void see_host(struct seen *seen, struct slice value)
{
    (void)value;
    count(&seen->hosts);
}

static void see_upgrade(struct seen *seen, struct slice value)
{
    while (value.len)
        seen->has_upgrade |= is_text(trim(cut(&value, ',')), "websocket");
}

static void see_connection(struct seen *seen, struct slice value)
{
    while (value.len)
        seen->has_connection |= is_text(trim(cut(&value, ',')), "upgrade");
}

static void see_version(struct seen *seen, struct slice value)
{
    count(&seen->versions);
    seen->is_version_13 = is_text(value, "13");
}

static void see_key(struct seen *seen, struct slice value)
{
    count(&seen->keys);
    seen->key = value;
}

static void see_subprotocol(struct seen *seen, struct slice value)
{
    while (value.len) {
        struct slice offer = trim(cut(&value, ','));
        seen->has_mqtt |= slice_eq(offer, SLICE_LIT("mqtt"));
        seen->has_mqttv31 |= slice_eq(offer, SLICE_LIT("mqttv3.1"));
    }
}

static const struct {
    const char *name; /* in small letters */
    void (*see)(struct seen *seen, struct slice value);
} headers[] = {
    {"host", see_host},
    {"upgrade", see_upgrade},
    {"connection", see_connection},
    {"sec-websocket-version", see_version},
    {"sec-websocket-key", see_key},
    {"sec-websocket-protocol", see_subprotocol},
};

/* Names are words; values are without control characters. */
static bool is_good_header(struct slice name, struct slice value)
{
    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] <= ' ' || name.ptr[i] >= 0x7F)
            return false;
    }
    for (size_t i = 0; i < value.len; i++) {
        if ((value.ptr[i] < ' ' && value.ptr[i] != '\t') || value.ptr[i] == 0x7F)
            return false;
    }
    return name.len > 0;
}

static bool read_header(struct slice line, struct seen *seen)
{
    if (line.len == 0 || !memchr(line.ptr, ':', line.len))
        return false;
    struct slice name = cut(&line, ':');
    struct slice value = trim(line);
    if (!is_good_header(name, value))
        return false;
    for (size_t i = 0; i < ARRAY_COUNT(headers); i++) {
        if (is_text(name, headers[i].name))
            headers[i].see(seen, value);
    }
    return true;
}

/* ---- the request ---- */

static const struct websocket_refusal *read_request_line(struct slice line)
{
    cut(&line, ' '); /* GET */
    struct slice target = cut(&line, ' ');
    if (!is_good_header(target, line) || !slice_starts_with(line, SLICE_LIT("HTTP/")))
        return &bad_line;
    return slice_eq(line, SLICE_LIT("HTTP/1.1")) ? NULL : &bad_version;
}

/* Sixteen bytes in base64. */
static bool is_good_key(struct slice key)
{
    if (key.len != WEBSOCKET_KEY_BYTES || key.ptr[22] != '=' || key.ptr[23] != '=')
        return false;
    for (size_t i = 0; i < 22; i++) {
        uint8_t c = key.ptr[i], l = lower(c);
        if (!((l >= 'a' && l <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/'))
            return false;
    }
    return true;
}

static const struct websocket_refusal *judge(const struct seen *seen)
{
    if (seen->hosts != 1)
        return &no_host;
    if (!seen->has_upgrade || !seen->has_connection)
        return &no_upgrade;
    if (seen->versions != 1 || !seen->is_version_13)
        return &other_version;
    if (seen->keys != 1 || !is_good_key(seen->key))
        return &bad_key;
    return seen->has_mqtt || seen->has_mqttv31 ? NULL : &no_subprotocol;
}

/* `in`: all lines of the request with their CRLF, but not the empty one. */
static const struct websocket_refusal *read_request(struct slice in, struct seen *seen)
{
    const struct websocket_refusal *refusal = NULL;
    for (bool is_first = true; in.len && !refusal; is_first = false) {
        struct slice line = cut(&in, '\n');
        if (line.len == 0 || line.ptr[line.len - 1] != '\r')
            return &bad_line;
        line.len--;
        if (is_first)
            refusal = read_request_line(line);
        else if (!read_header(line, seen))
            refusal = &bad_line;
    }
    return refusal ? refusal : judge(seen);
}

/* What the first bytes show already: NULL, or why it will never do. */
static const struct websocket_refusal *check_beginning(struct slice in)
{
    static const char method[] = "GET ";
    for (size_t i = 0; i < in.len && i < 4; i++) {
        if (in.ptr[i] == (uint8_t)method[i])
            continue;
        return in.ptr[0] >= 'A' && in.ptr[0] <= 'Z' ? &not_get : &not_http;
    }
    return NULL;
}

/* Where the request ends: behind its empty line; 0: not yet. */
static size_t find_end(struct slice in)
{
    struct slice rest = in;
    while (rest.len) {
        const uint8_t *end = memchr(rest.ptr, '\n', rest.len);
        if (!end)
            return 0;
        rest = slice_skip(rest, (size_t)(end - rest.ptr) + 1);
        if (slice_starts_with(rest, SLICE_LIT("\r\n")))
            return (size_t)(rest.ptr - in.ptr) + 2;
    }
    return 0;
}

enum websocket_result websocket_request_parse(struct slice in, struct websocket_request *out,
                                              const struct websocket_refusal **refusal)
{
    struct seen seen = {0};
    *refusal = check_beginning(in);
    if (*refusal)
        return WEBSOCKET_BAD;
    size_t limit = in.len < WEBSOCKET_REQUEST_BYTES_MAX ? in.len : WEBSOCKET_REQUEST_BYTES_MAX;
    size_t end = find_end(slice_of(in.ptr, limit));
    if (end == 0 && in.len < WEBSOCKET_REQUEST_BYTES_MAX)
        return WEBSOCKET_SHORT;
    *refusal = end ? read_request(slice_of(in.ptr, end - 2), &seen) : &too_large;
    if (*refusal)
        return WEBSOCKET_BAD;
    out->bytes = (uint32_t)end;
    out->key = seen.key;
    out->subprotocol = seen.has_mqtt ? SLICE_LIT("mqtt") : SLICE_LIT("mqttv3.1");
    return WEBSOCKET_READY;
}
