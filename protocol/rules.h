/*
 * rules.h: what the standard says of each packet type before its body is looked at: one table.
 */
#ifndef PROTOCOL_RULES_H
#define PROTOCOL_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mqtt/reason.h"
#include "mqtt/version.h"

/* The versions as columns; before CONNECT the newest one judges. */
enum rules_column { RULES_3_1, RULES_3_1_1, RULES_5, RULES_COLUMN_COUNT };

struct packet_rule {
    const char *name;
    bool from_client, from_server;      /* who may send it, in any version */
    uint16_t flags[RULES_COLUMN_COUNT]; /* bit n set: flag nibble n is legal; 0: no such packet */
    const struct fault *flags_fault;    /* what another nibble is */
};

extern const struct packet_rule packet_rules[PACKET_TYPE_COUNT];

/* The column of a version; 0 and unknown ones are judged as 5.0. */
static inline enum rules_column rules_column_of(uint8_t version)
{
    return version == MQTT_3_1 ? RULES_3_1 : version == MQTT_3_1_1 ? RULES_3_1_1 : RULES_5;
}

/* NULL when a packet may begin with this byte in `version`, or the fault. */
static inline const struct fault *rules_check_first_byte(uint8_t first, uint8_t version)
{
    const struct packet_rule *rule = &packet_rules[first >> 4];
    bool is_legal = rule->flags[rules_column_of(version)] >> (first & 0x0F) & 1;
    return __builtin_expect(is_legal, 1) ? NULL : rule->flags_fault;
}

#endif
