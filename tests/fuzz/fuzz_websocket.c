/*
 * fuzz_websocket.c: any bytes as an HTTP request, and as a stream of frames from a client.
 *
 * Input: [0: request, else frames cut every so many bytes][bytes]. However a stream is cut, it
 * gives the same data and ends for the same reason; a beginning of a request is never judged
 * otherwise than the whole.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "mqtt/websocket.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CUTS_MAX 64u

static void check_ready(struct slice in, const struct websocket_request *request)
{
    BUG_ON(request->bytes > in.len || request->bytes > WEBSOCKET_REQUEST_BYTES_MAX);
    BUG_ON(memcmp(in.ptr + request->bytes - 4, "\r\n\r\n", 4) != 0);
    BUG_ON(request->key.len != WEBSOCKET_KEY_BYTES || request->key.ptr < in.ptr);
    BUG_ON(request->key.ptr + request->key.len > in.ptr + request->bytes);
}

static void try_request(struct slice in)
{
    struct websocket_request request;
    const struct websocket_refusal *refusal, *early;
    enum websocket_result result = websocket_request_parse(in, &request, &refusal);
    BUG_ON((result == WEBSOCKET_BAD) != (refusal != NULL));
    if (result == WEBSOCKET_READY)
        check_ready(in, &request);
    size_t step = in.len / CUTS_MAX + 1;
    for (size_t cut = 0; cut < in.len; cut += step) {
        struct websocket_request other;
        enum websocket_result part = websocket_request_parse(slice_of(in.ptr, cut), &other, &early);
        BUG_ON(part == WEBSOCKET_BAD && early != refusal);
        BUG_ON(part == WEBSOCKET_READY &&
               (result != WEBSOCKET_READY || other.bytes != request.bytes));
    }
}

/* What a stream gave. */
struct given {
    uint8_t *data;
    size_t len;
    const struct websocket_fault *fault;
    uint16_t close_code;
    uint8_t ping_len;
    bool has_ping;
};

static struct given take(struct slice in, size_t step)
{
    struct websocket_stream stream = {0};
    struct given given = {.data = malloc(in.len + 1)};
    BUG_ON(!given.data);
    while (in.len && !stream.is_over) {
        size_t part = in.len < step ? in.len : step;
        uint8_t *copy = malloc(part);
        struct websocket_news news;
        BUG_ON(!copy);
        memcpy(copy, in.ptr, part);
        size_t data = websocket_take(&stream, copy, part, &news);
        BUG_ON(data > part || stream.held_len > WEBSOCKET_CONTROL_BYTES_MAX);
        BUG_ON(stream.is_over != (news.fault || news.close_code));
        memcpy(given.data + given.len, copy, data);
        given.len += data;
        given.fault = news.fault;
        given.close_code = news.close_code;
        if (news.has_ping) {
            given.has_ping = true;
            given.ping_len = news.ping_len;
        }
        free(copy);
        in = slice_skip(in, part);
    }
    return given;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct slice in = slice_of(data + 1, size - 1);
    if (data[0] == 0) {
        try_request(in);
        return 0;
    }
    struct given whole = take(in, in.len), parts = take(in, data[0]);
    BUG_ON(whole.len != parts.len || memcmp(whole.data, parts.data, whole.len) != 0);
    BUG_ON(whole.fault != parts.fault || whole.close_code != parts.close_code);
    BUG_ON(whole.has_ping != parts.has_ping || whole.ping_len != parts.ping_len);
    free(whole.data);
    free(parts.data);
    return 0;
}
