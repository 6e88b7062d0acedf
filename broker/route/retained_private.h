/*
 * retained_private.h: what the store and its cursors share. Only retained*.c includes it.
 */
#ifndef ROUTE_RETAINED_PRIVATE_H
#define ROUTE_RETAINED_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/mem.h"
#include "route/retained.h"

#define RETAINED_HEIGHT_MAX 12u

/* One topic. Behind next[] stands the topic, so that a search does not touch the messages. */
struct retained_node {
    struct message *_Atomic message; /* owns a reference */
    struct retained_node *limbo;     /* once unlinked: the next one there */
    uint32_t expires_tick;           /* that of the message; under the mutex */
    uint16_t topic_bytes;
    uint8_t height;
    _Atomic bool is_gone; /* unlinked: what its links say is of that moment */
    struct retained_node *_Atomic next[];
};

struct retained_shard {
    _Alignas(64) struct retained_node *_Atomic first[RETAINED_HEIGHT_MAX];
    _Alignas(64) pthread_mutex_t mutex;
    uint64_t random;
    struct epoch_item item;          /* for those that wait */
    struct epoch_participant *freer; /* whose queue the item is in; NULL: in none */
    struct retained_node *gathering, *waiting;
    uint64_t messages, expiring, payload_bytes, bytes;
};

struct retained {
    struct retained_shard *shards;
    uint32_t shard_count;
    void *shards_memory;
    uint32_t sweep_shard; /* the sweep goes on behind this topic of this shard */
    uint32_t sweep_topic_bytes, sweep_topic_cap;
    uint8_t *sweep_topic;
};

/* A topic in up to three pieces, so that a place to seek needs no memory of its own. */
struct retained_target {
    struct slice pieces[3];
    bool is_after; /* the first topic greater than this; otherwise greater or equal */
};

static inline struct slice retained_node_topic(const struct retained_node *node)
{
    return slice_of(node->next + node->height, node->topic_bytes);
}

static inline struct retained_node *retained_link(struct retained_node *const _Atomic *link)
{
    return atomic_load_explicit(link, memory_order_acquire);
}

/* The links of a node, or those of the shard itself for NULL. */
static inline struct retained_node *_Atomic *retained_links(struct retained_shard *shard,
                                                            struct retained_node *node)
{
    return node ? node->next : shard->first;
}

static inline struct message *retained_node_message(const struct retained_node *node)
{
    return atomic_load_explicit(&node->message, memory_order_acquire);
}

static inline bool retained_is_expired(uint32_t expires_tick, uint32_t now_tick)
{
    return expires_tick && expires_tick <= now_tick;
}

/* True when the topic lies before the target. */
static inline bool retained_is_before(struct slice topic, const struct retained_target *target)
{
    for (uint32_t i = 0; i < 3; i++) {
        struct slice piece = target->pieces[i];
        size_t len = topic.len < piece.len ? topic.len : piece.len;
        int order = len ? memcmp(topic.ptr, piece.ptr, len) : 0;
        if (order)
            return order < 0;
        if (topic.len < piece.len)
            return true;
        topic = slice_skip(topic, piece.len);
    }
    return target->is_after && topic.len == 0;
}

/* The shard of all topics that begin with the first two levels of this one. */
struct retained_shard *retained_shard_of(struct retained *retained, struct slice topic);
/* Lock-free: the first node that is not before the target, or NULL. */
struct retained_node *retained_seek(struct retained_shard *shard,
                                    const struct retained_target *target);

#endif
