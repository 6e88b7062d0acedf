/*
 * faults.h: the faults that more than one decoder reports. A fault that belongs to one packet
 * stands in that packet's file, made with FAULT.
 */
#ifndef PROTOCOL_FAULTS_H
#define PROTOCOL_FAULTS_H

#include "mqtt/reason.h"

/* Defines a static fault of this file. */
#define FAULT(name, reason_name, clause_id, what) \
    static const struct fault name = {REASON_##reason_name, clause_id, what}

extern const struct fault fault_cut_short;       /* the packet ends inside a field */
extern const struct fault fault_surplus;         /* bytes after the last field */
extern const struct fault fault_not_utf8;        /* a string is not well-formed UTF-8 */
extern const struct fault fault_varint_long;     /* a fifth length byte */
extern const struct fault fault_varint_padded;   /* a longer form than necessary */
extern const struct fault fault_property_length; /* a property block is longer than its packet */
extern const struct fault fault_packet_id_zero;  /* a packet identifier of 0 */
extern const struct fault fault_qos_3;           /* a PUBLISH with QoS 3 */

#endif
