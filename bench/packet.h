/*
 * packet.h: the few packets that a load tool writes and reads, MQTT 3.1, 3.1.1 and 5.
 *
 * Kept apart from the broker's codec on purpose: a mistake made there must not cancel out here.
 * Writers append to a buffer; readers return slices that point into what they are given.
 */
#ifndef BENCH_PACKET_H
#define BENCH_PACKET_H

#include "bench/base.h"

/* ---- bytes ---- */

struct buf {
    uint8_t *ptr;
    uint32_t len, cap;
};

#define BUF_BYTES_MAX (1u << 30)

/* Room for `more` bytes at the end; returns where they go. Ends the program without memory, and where
 * they would be more than BUF_BYTES_MAX. */
uint8_t *buf_reserve(struct buf *b, uint32_t more);
void buf_append(struct buf *b, const void *bytes, uint32_t len);
/* Forgets the first `count` bytes. */
void buf_drop(struct buf *b, uint32_t count);
void buf_free(struct buf *b);

/* ---- packets ---- */

enum packet_type {
    PACKET_CONNECT = 1,
    PACKET_CONNACK,
    PACKET_PUBLISH,
    PACKET_PUBACK,
    PACKET_PUBREC,
    PACKET_PUBREL,
    PACKET_PUBCOMP,
    PACKET_SUBSCRIBE,
    PACKET_SUBACK,
    PACKET_PINGREQ = 12,
    PACKET_PINGRESP,
    PACKET_DISCONNECT,
};

/* One whole packet in a read buffer. */
struct frame {
    const uint8_t *body;
    uint32_t len;
    uint8_t type, flags;
};

struct publish {
    const uint8_t *topic, *payload;
    uint32_t len; /* of the payload */
    uint16_t id;  /* 0 at QoS 0 */
    uint16_t topic_len;
    uint8_t qos;
};

struct login {
    const char *client_id;
    const char *username, *password; /* NULL: none */
    uint16_t keepalive_s;
};

/* `version` is 3, 4 or 5 throughout, as CONNECT has it. */
void packet_connect(struct buf *b, int version, const struct login *login);
/* A SUBSCRIBE grows: begin, one or more filters, end. Returns what end wants. */
uint32_t packet_subscribe_begin(struct buf *b, int version, uint16_t id);
void packet_subscribe_filter(struct buf *b, const char *filter, int qos);
void packet_subscribe_end(struct buf *b, uint32_t begun);

/* Where the parts of a PUBLISH are, from its first byte; id_at is 0 at QoS 0. */
struct publish_form {
    uint32_t topic_at, id_at, payload_at;
};
/* A whole PUBLISH with id 0 and a payload of 'x'. */
struct publish_form packet_publish(struct buf *b, int version, const char *topic, int qos,
                                   uint32_t payload_bytes);
/* PUBACK, PUBREC, PUBREL or PUBCOMP with reason 0. */
void packet_ack(struct buf *b, enum packet_type type, uint16_t id);
/* PINGREQ or DISCONNECT: no body. */
void packet_bare(struct buf *b, enum packet_type type);

/* Bytes of the packet at `p`, 0 when it is not whole yet, -1 when it cannot be one. */
long packet_next(const uint8_t *p, size_t len, struct frame *frame);
bool packet_read_publish(const struct frame *frame, int version, struct publish *publish);
/* The packet id of an acknowledgement or SUBACK; 0 when it has none. */
uint16_t packet_id(const struct frame *frame);
/* The reason of a CONNACK, acknowledgement or DISCONNECT, or the worst of a SUBACK. */
int packet_reason(const struct frame *frame, int version);
/* Whether that reason is bad news. */
bool packet_is_refusal(const struct frame *frame, int version);
/* The Receive Maximum of a v5 CONNACK; 65,535 when it names none. */
uint32_t packet_receive_maximum(const struct frame *frame, int version);
/* What a reason of CONNACK or DISCONNECT means, in a few words. */
const char *packet_reason_text(int reason, int version);
/* Options that help against that reason of a CONNACK, as the end of a sentence; "": none does. */
const char *packet_reason_advice(int reason, int version);

#endif
