/*
 * fuzz_subscribe.c: any bytes as the body of a SUBSCRIBE and of an UNSUBSCRIBE.
 *
 * Input: [version][body]. A list that was accepted is walked to its last byte, every option lies in
 * its range, and the answer has one code per filter.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "mqtt/encode.h"
#include "mqtt/packet.h"
#include "mqtt/topic.h"
#include "mqtt/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_filter(const struct subscribe_filter *filter, uint8_t version)
{
    struct topic_filter parsed;
    BUG_ON(!utf8_is_valid(filter->filter));
    BUG_ON(filter->qos > 2 || filter->retain_handling > 2);
    BUG_ON(version != MQTT_5 && (filter->no_local || filter->retain_as_published));
    if (topic_filter_parse(filter->filter, &parsed) == NULL)
        BUG_ON(parsed.is_shared && filter->no_local);
}

/* Answers `count` filters and looks at the answer. */
static void answer(uint8_t version, uint8_t type, uint16_t packet_id, size_t count)
{
    size_t room = ENCODE_SUBACK_BYTES_MAX(count);
    uint8_t *codes = calloc(count, 1), *bytes = malloc(room);
    struct frame frame;
    const struct fault *fault;
    BUG_ON(codes == NULL || bytes == NULL);
    size_t size = encode_suback(bytes, room, version, 0, type, packet_id, slice_of(codes, count),
                                (struct slice){0});
    BUG_ON(size == 0);
    BUG_ON(frame_next(slice_of(bytes, size), version, (uint32_t)size, &frame, &fault) !=
           FRAME_READY);
    bool has_codes = version == MQTT_5 || type == PACKET_SUBACK;
    BUG_ON(frame.body.len != 2 + (version == MQTT_5) + (has_codes ? count : 0));
    free(codes);
    free(bytes);
}

static void try_subscribe(struct slice body, uint8_t version)
{
    struct packet_subscribe packet;
    struct subscribe_filter filter;
    size_t count = 0;
    if (decode_subscribe(body, version, &packet) != NULL)
        return;
    BUG_ON(packet.packet_id == 0);
    while (subscribe_next_filter(&packet.filters, version, &filter)) {
        check_filter(&filter, version);
        count++;
    }
    BUG_ON(count == 0 || packet.filters.len != 0);
    BUG_ON(packet.filters.ptr != body.ptr + body.len);
    answer(version, PACKET_SUBACK, packet.packet_id, count);
}

static void try_unsubscribe(struct slice body, uint8_t version)
{
    struct packet_unsubscribe packet;
    struct slice filter;
    size_t count = 0;
    if (decode_unsubscribe(body, version, &packet) != NULL)
        return;
    BUG_ON(packet.packet_id == 0);
    while (unsubscribe_next_filter(&packet.filters, &filter)) {
        BUG_ON(!utf8_is_valid(filter));
        count++;
    }
    BUG_ON(count == 0 || packet.filters.len != 0);
    answer(version, PACKET_UNSUBACK, packet.packet_id, count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    uint8_t version = (uint8_t)(MQTT_3_1 + data[0] % 3);
    struct slice body = slice_of(data + 1, size - 1);
    try_subscribe(body, version);
    try_unsubscribe(body, version);
    return 0;
}
