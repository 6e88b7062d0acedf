/*
 * frame.c: cuts a byte stream into packets.
 *
 *     byte 0            bytes 1..4              Remaining Length bytes
 *     [type | flags]    [Remaining Length]      [body ............... ]
 *
 * The first byte is judged as soon as it is there (table in rules.c), the length as soon as it
 * ends, the size against the limit before the body is waited for. So a peer learns of a fault at
 * the earliest byte, and nothing of an oversized packet need be kept. Pure; any thread.
 * [MQTT-1.5.5-1] [MQTT-2.1.3-1] [MQTT-3.3.1-4]; 3.1.1: [MQTT-2.2.2-2]
 */
#include "mqtt/frame.h"

#include "protocol/reader.h"
#include "protocol/rules.h"

FAULT(too_large, PACKET_TOO_LARGE, "MQTT-3.2.2-15",
      "packet is larger than the maximum packet size");

/* Reads the Remaining Length that follows the first byte. */
static enum frame_result read_length(struct reader *r, uint32_t *length, const struct fault **fault)
{
    *fault = reader_varint(r, length);
    if (LIKELY(*fault == NULL))
        return FRAME_READY;
    if (*fault != &fault_cut_short)
        return FRAME_BAD;
    *fault = NULL; /* the rest of it may yet come */
    return FRAME_SHORT;
}

enum frame_result frame_next(struct slice in, uint8_t version, uint32_t packet_bytes_max,
                             struct frame *out, const struct fault **fault)
{
    out->size = 0;
    *fault = NULL;
    if (in.len == 0)
        return FRAME_SHORT;
    struct reader r = {.at = in.ptr + 1, .end = in.ptr + in.len};
    uint8_t first = in.ptr[0];
    out->type = first >> 4;
    out->flags = first & 0x0F;
    *fault = rules_check_first_byte(first, version);
    if (UNLIKELY(*fault != NULL))
        return FRAME_BAD;

    uint32_t length;
    enum frame_result result = read_length(&r, &length, fault);
    if (UNLIKELY(result != FRAME_READY))
        return result;
    out->size = (uint32_t)(r.at - in.ptr) + length;
    if (UNLIKELY(out->size > packet_bytes_max)) {
        *fault = &too_large;
        return FRAME_BAD;
    }
    if (reader_left(&r) < length)
        return FRAME_SHORT;
    out->body = slice_of(r.at, length);
    return FRAME_READY;
}

const char *packet_type_name(uint8_t type)
{
    return packet_rules[type < PACKET_TYPE_COUNT ? type : PACKET_RESERVED].name;
}

bool packet_type_is_from_client(uint8_t type)
{
    return type < PACKET_TYPE_COUNT && packet_rules[type].from_client;
}
