/*
 * decode_subscribe.c: SUBSCRIBE and UNSUBSCRIBE, sections 3.8 and 3.10.
 *
 *     [packet id] [properties: 5.0] [filter][options] [filter][options] ...
 *     [packet id] [properties: 5.0] [filter] [filter] ...
 *
 * Everything is checked in one pass here; afterwards the list is walked without another check, so
 * that a caller may work through many filters in slices. Pure; any thread.
 * [MQTT-3.8.3-1] [MQTT-3.8.3-2] [MQTT-3.8.3-4] [MQTT-3.8.3-5] [MQTT-3.10.3-1] [MQTT-3.10.3-2]
 * 3.1.1: [MQTT-3.8.3-4]
 */
#include "mqtt/packet.h"

#include "protocol/property_set.h"
#include "protocol/reader.h"

#define OPTION_QOS 0x03u
#define OPTION_NO_LOCAL 0x04u
#define OPTION_RETAIN_AS_PUBLISHED 0x08u
#define OPTION_RETAIN_HANDLING 0x30u
#define OPTION_RESERVED 0xC0u
#define RETAIN_HANDLING_SHIFT 4
#define SHARE_PREFIX SLICE_LIT("$share/")

FAULT(no_filter, PROTOCOL_ERROR, "MQTT-3.8.3-2", "SUBSCRIBE without a topic filter");
FAULT(no_unsubscribe_filter, PROTOCOL_ERROR, "MQTT-3.10.3-2", "UNSUBSCRIBE without a topic filter");
FAULT(reserved_option, MALFORMED_PACKET, "MQTT-3.8.3-5", "reserved subscription option is set");
FAULT(reserved_option_v3, MALFORMED_PACKET, "MQTT-3.8.3-4", "requested QoS is not 0, 1 or 2");
FAULT(qos_3, PROTOCOL_ERROR, "3.8.3.1", "subscription option QoS is 3");
FAULT(retain_handling_3, PROTOCOL_ERROR, "3.8.3.1", "subscription option Retain Handling is 3");
FAULT(no_local_shared, PROTOCOL_ERROR, "MQTT-3.8.3-4", "No Local on a shared subscription");

static const struct fault *check_options_v5(struct slice filter, uint8_t options)
{
    if (options & OPTION_RESERVED)
        return &reserved_option;
    if ((options & OPTION_QOS) == OPTION_QOS)
        return &qos_3;
    if ((options & OPTION_RETAIN_HANDLING) == OPTION_RETAIN_HANDLING)
        return &retain_handling_3;
    if ((options & OPTION_NO_LOCAL) && slice_starts_with(filter, SHARE_PREFIX))
        return &no_local_shared;
    return NULL;
}

static const struct fault *check_options(struct slice filter, uint8_t options, uint8_t version)
{
    if (version == MQTT_5)
        return check_options_v5(filter, options);
    return options > 2 ? &reserved_option_v3 : NULL;
}

/* Reads what both packets begin with. The subscription id is legal in SUBSCRIBE only; the table of
   properties knows. */
static const struct fault *read_header(struct reader *r, uint8_t type, uint8_t version,
                                       uint16_t *packet_id, struct slice *properties,
                                       uint32_t *subscription_id)
{
    struct property_set set;
    *properties = (struct slice){0};
    *subscription_id = 0;
    const struct fault *fault = reader_packet_id(r, packet_id);
    if (fault || version != MQTT_5)
        return fault;
    fault = reader_property_block(r, properties);
    if (!fault)
        fault = property_set_read(*properties, type, &set);
    if (!fault)
        *subscription_id = property_set_number(&set, PROPERTY_SUBSCRIPTION_ID, 0);
    return fault;
}

const struct fault *decode_subscribe(struct slice body, uint8_t version,
                                     struct packet_subscribe *out)
{
    struct reader r = reader_of(body);
    const struct fault *fault = read_header(&r, PACKET_SUBSCRIBE, version, &out->packet_id,
                                            &out->properties, &out->subscription_id);
    if (fault)
        return fault;
    out->filters = reader_rest(&r);
    if (out->filters.len == 0)
        return &no_filter;
    while (reader_left(&r)) {
        struct slice filter;
        uint8_t options;
        fault = reader_string(&r, &filter);
        if (!fault && !reader_u8(&r, &options))
            fault = &fault_cut_short;
        if (!fault)
            fault = check_options(filter, options, version);
        if (fault)
            return fault;
    }
    return NULL;
}

bool subscribe_next_filter(struct slice *rest, uint8_t version, struct subscribe_filter *out)
{
    struct reader r = reader_of(*rest);
    uint8_t options;
    if (!reader_binary(&r, &out->filter) || !reader_u8(&r, &options))
        return false;
    bool is_v5 = version == MQTT_5;
    out->qos = options & OPTION_QOS;
    out->no_local = is_v5 && (options & OPTION_NO_LOCAL);
    out->retain_as_published = is_v5 && (options & OPTION_RETAIN_AS_PUBLISHED);
    out->retain_handling = is_v5 ? (options & OPTION_RETAIN_HANDLING) >> RETAIN_HANDLING_SHIFT : 0;
    *rest = reader_rest(&r);
    return true;
}

const struct fault *decode_unsubscribe(struct slice body, uint8_t version,
                                       struct packet_unsubscribe *out)
{
    struct reader r = reader_of(body);
    uint32_t subscription_id; /* cannot be there */
    const struct fault *fault = read_header(&r, PACKET_UNSUBSCRIBE, version, &out->packet_id,
                                            &out->properties, &subscription_id);
    if (fault)
        return fault;
    out->filters = reader_rest(&r);
    if (out->filters.len == 0)
        return &no_unsubscribe_filter;
    while (reader_left(&r)) {
        struct slice filter;
        fault = reader_string(&r, &filter);
        if (fault)
            return fault;
    }
    return NULL;
}

bool unsubscribe_next_filter(struct slice *rest, struct slice *filter)
{
    struct reader r = reader_of(*rest);
    if (!reader_binary(&r, filter))
        return false;
    *rest = reader_rest(&r);
    return true;
}
