/*
 * message.h: what is routed. A `publication` is a PUBLISH on its way: slices, nothing owned, on the
 * stack of the reactor that received it. A `message` is the one copy that is made when somebody has
 * to keep it.
 *
 * A message is shared, immutable once made, and refcounted: ref/unref from any thread.
 */
#ifndef ROUTE_MESSAGE_H
#define ROUTE_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hash.h"
#include "base/refcount.h"
#include "base/slice.h"

/* Layout of bytes[]: topic, then properties (a v5 block with what is forwarded only), then payload.
 */
struct message {
    struct refcount refs;
    uint32_t payload_bytes;
    uint32_t properties_bytes;
    uint16_t topic_bytes;
    uint8_t qos;           /* as published */
    uint8_t flags;         /* MESSAGE_* */
    uint64_t publisher;    /* hash_bytes() of the publisher's client id, 0: the broker itself */
    uint32_t expires_tick; /* tick at which it is dead, 0: never */
    uint8_t bytes[];
};

#define MESSAGE_HEAD_BYTES ((uint32_t)offsetof(struct message, bytes))

#define MESSAGE_RETAIN 0x01u     /* published with RETAIN 1 */
#define MESSAGE_ADMIN_ONLY 0x02u /* for sessions of admins only: session documents */
/* Of a publication only: another member of its share group had it before. */
#define MESSAGE_HANDED_OVER 0x08u

struct publication {
    struct slice topic;      /* full topic, alias resolved, mount point added */
    struct slice properties; /* raw checked block; only what is forwarded leaves */
    uint32_t properties_forwarded_bytes;
    struct slice payload;
    /* The packet as it came, when that is what a plain QoS 0 subscriber is sent too: QoS 0, no RETAIN,
       no properties, no mount point; else empty. In the form of 5.0, or of 3.1 and 3.1.1. */
    struct slice packet;
    bool is_packet_v5;
    uint8_t qos;
    uint8_t flags;         /* MESSAGE_* */
    uint32_t expires_tick; /* 0: never */
    /* Who published it, for No Local: the client id, hashed once somebody asks (a slot would not do:
       a retained message outlives its publisher's session). Empty and 0: the broker itself. */
    struct slice publisher_id;
    uint64_t publisher;
    struct message *message; /* the copy, once publication_message() made it; owns one reference */
};

/* The one copy; made at the first call. NULL when there is no memory (the caller counts a drop).
 * Borrowed. */
struct message *publication_message(struct publication *pub);
/* Drops the publication's own reference, if any. */
void publication_fini(struct publication *pub);
/* A publication that speaks of an existing message; takes a reference of its own. */
struct publication publication_of_message(struct message *message);
/* The same with the caller's reference. */
struct publication publication_of_message_take(struct message *message);

/* The hash of the publisher's client id; 0: the broker itself. */
static inline uint64_t publication_publisher(struct publication *pub)
{
    if (!pub->publisher && pub->publisher_id.len)
        pub->publisher = hash_bytes(pub->publisher_id);
    return pub->publisher;
}

static inline struct message *message_ref(struct message *message)
{
    refcount_add(&message->refs, 1);
    return message;
}

/* Drops `count` references, frees on the last. */
void message_unref(struct message *message, uint32_t count);

/* Memory the message takes, for limits. */
static inline uint32_t message_bytes(const struct message *message)
{
    return MESSAGE_HEAD_BYTES + message->topic_bytes + message->properties_bytes +
           message->payload_bytes;
}

static inline struct slice message_topic(const struct message *message)
{
    return slice_of(message->bytes, message->topic_bytes);
}

static inline struct slice message_properties(const struct message *message)
{
    return slice_of(message->bytes + message->topic_bytes, message->properties_bytes);
}

static inline struct slice message_payload(const struct message *message)
{
    return slice_of(message->bytes + message->topic_bytes + message->properties_bytes,
                    message->payload_bytes);
}

#endif
