/*
 * rules.c: the table of packet types: who sends them, and which flag nibbles are legal.
 *
 * Section 2.1 of 5.0, 2.2 of 3.1.1. In 3.1 the DUP bit exists on every type that may be sent again,
 * so SUBSCRIBE, UNSUBSCRIBE and PUBREL may carry it. Static; any thread.
 */
#include "protocol/rules.h"

#include "protocol/faults.h"

#define NIBBLE(n) (1u << (n))
#define NO_FLAGS                        \
    {                                   \
        NIBBLE(0), NIBBLE(0), NIBBLE(0) \
    }
#define QOS_1_FLAGS                                  \
    {                                                \
        NIBBLE(2) | NIBBLE(10), NIBBLE(2), NIBBLE(2) \
    } /* 3.1: with DUP on a retry */
#define NOT_QOS_3 (0xFFFFu & ~(NIBBLE(6) | NIBBLE(7) | NIBBLE(14) | NIBBLE(15)))

FAULT(reserved_type, MALFORMED_PACKET, "2.1.2", "reserved packet type");
FAULT(flags_of_any, MALFORMED_PACKET, "MQTT-2.1.3-1", "reserved flag bits are set");
FAULT(flags_of_pubrel, MALFORMED_PACKET, "MQTT-3.6.1-1", "PUBREL flags are not 0010");
FAULT(flags_of_subscribe, MALFORMED_PACKET, "MQTT-3.8.1-1", "SUBSCRIBE flags are not 0010");
FAULT(flags_of_unsubscribe, MALFORMED_PACKET, "MQTT-3.10.1-1", "UNSUBSCRIBE flags are not 0010");
FAULT(flags_of_disconnect, MALFORMED_PACKET, "MQTT-3.14.1-1", "DISCONNECT flags are not 0000");
FAULT(flags_of_auth, MALFORMED_PACKET, "MQTT-3.15.1-1", "AUTH flags are not 0000, or not MQTT 5.0");

const struct packet_rule packet_rules[PACKET_TYPE_COUNT] = {
    [PACKET_RESERVED] = {"RESERVED", false, false, {0, 0, 0}, &reserved_type},
    [PACKET_CONNECT] = {"CONNECT", true, false, NO_FLAGS, &flags_of_any},
    [PACKET_CONNACK] = {"CONNACK", false, true, NO_FLAGS, &flags_of_any},
    [PACKET_PUBLISH] = {"PUBLISH", true, true, {NOT_QOS_3, NOT_QOS_3, NOT_QOS_3}, &fault_qos_3},
    [PACKET_PUBACK] = {"PUBACK", true, true, NO_FLAGS, &flags_of_any},
    [PACKET_PUBREC] = {"PUBREC", true, true, NO_FLAGS, &flags_of_any},
    [PACKET_PUBREL] = {"PUBREL", true, true, QOS_1_FLAGS, &flags_of_pubrel},
    [PACKET_PUBCOMP] = {"PUBCOMP", true, true, NO_FLAGS, &flags_of_any},
    [PACKET_SUBSCRIBE] = {"SUBSCRIBE", true, false, QOS_1_FLAGS, &flags_of_subscribe},
    [PACKET_SUBACK] = {"SUBACK", false, true, NO_FLAGS, &flags_of_any},
    [PACKET_UNSUBSCRIBE] = {"UNSUBSCRIBE", true, false, QOS_1_FLAGS, &flags_of_unsubscribe},
    [PACKET_UNSUBACK] = {"UNSUBACK", false, true, NO_FLAGS, &flags_of_any},
    [PACKET_PINGREQ] = {"PINGREQ", true, false, NO_FLAGS, &flags_of_any},
    [PACKET_PINGRESP] = {"PINGRESP", false, true, NO_FLAGS, &flags_of_any},
    [PACKET_DISCONNECT] = {"DISCONNECT", true, true, NO_FLAGS, &flags_of_disconnect},
    [PACKET_AUTH] = {"AUTH", true, true, {0, 0, NIBBLE(0)}, &flags_of_auth},
};
