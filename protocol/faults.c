/* faults.c: the faults that more than one decoder reports. Static; any thread. */
#include "protocol/faults.h"

const struct fault fault_cut_short = {
    REASON_MALFORMED_PACKET,
    "MQTT-4.13.1-1",
    "packet ends inside a field",
};
const struct fault fault_surplus = {
    REASON_MALFORMED_PACKET,
    "MQTT-4.13.1-1",
    "packet has bytes after its last field",
};
const struct fault fault_not_utf8 = {
    REASON_MALFORMED_PACKET,
    "MQTT-1.5.4-1",
    "string is not well-formed UTF-8 without U+0000",
};
const struct fault fault_varint_long = {
    REASON_MALFORMED_PACKET,
    "1.5.5",
    "variable byte integer longer than four bytes",
};
const struct fault fault_varint_padded = {
    REASON_MALFORMED_PACKET,
    "MQTT-1.5.5-1",
    "variable byte integer not in its shortest form",
};
const struct fault fault_property_length = {
    REASON_MALFORMED_PACKET,
    "2.2.2.1",
    "property length passes the end of the packet",
};
const struct fault fault_packet_id_zero = {
    REASON_PROTOCOL_ERROR,
    "MQTT-2.2.1-3",
    "packet identifier is 0",
};
const struct fault fault_qos_3 = {
    REASON_MALFORMED_PACKET,
    "MQTT-3.3.1-4",
    "QoS 3 does not exist",
};
