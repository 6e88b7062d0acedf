/*
 * index.h: who gets a message: all subscriptions of the broker, found by topic.
 *
 *   filter              node: the run of literal levels before the first wildcard, and what follows
 *   fleet/7/temp        "fleet/7/temp", exact
 *   fleet/7/#           "fleet/7", '#'
 *   fleet/7/+/temp      "fleet/7", '+'  <-  "temp", exact
 *   +/7/temp            "", '+'         <-  "7/temp", exact
 *
 * Nodes stand in hash tables, in shards by the hash of the first run, so a fleet below one first
 * level still spreads over all shards, and a leading wildcard needs no visit to each. A publish
 * makes one look-up for the exact topic, and one for each depth at which any wildcard filter
 * branches off (counted, so unused depths cost nothing); then the same below each '+' that it met.
 *
 * Readers: any participant of the epoch domain, no locks. Writers: one mutex per shard; what they
 * unlink is freed after a grace period. Nothing is called back, written or mailed while a shard is
 * held.
 *
 * Subscribers of one filter stand in chunks of atomic 64-bit words whose places never move, so the
 * session that owns one remembers its place and removal is O(1) with a million of them.
 *
 * Cost: measured in docs/decisions/0001-prefix-index.md; 73 bytes for an exact subscription of its
 * own with a topic of 25 bytes.
 */
#ifndef ROUTE_INDEX_H
#define ROUTE_INDEX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "mqtt/topic.h"
#include "runtime/epoch.h"
#include "runtime/slots.h"

/* A subscription in one word: slot (32 bits, below 2^31) | subscription id (28) | qos (2) | no
   local | retain as published. 0 is "empty place". */
typedef uint64_t index_subscriber;

static inline index_subscriber index_subscriber_make(uint32_t slot, uint32_t subscription_id,
                                                     uint8_t qos, bool no_local,
                                                     bool retain_as_published)
{
    return (uint64_t)slot << 32 | (uint64_t)subscription_id << 4 | (uint64_t)(qos & 3) << 2 |
           (uint64_t)no_local << 1 | (uint64_t)retain_as_published;
}

static inline uint32_t index_subscriber_slot(index_subscriber s)
{
    return (uint32_t)(s >> 32);
}

static inline uint32_t index_subscriber_id(index_subscriber s)
{
    return (uint32_t)(s >> 4) & 0x0FFFFFFFu;
}

static inline uint8_t index_subscriber_qos(index_subscriber s)
{
    return (uint8_t)(s >> 2) & 3;
}

static inline bool index_subscriber_no_local(index_subscriber s)
{
    return s & 2;
}

static inline bool index_subscriber_retain_as_published(index_subscriber s)
{
    return s & 1;
}

struct index;        /* the whole */
struct index_node;   /* one filter */
struct index_recent; /* index_recent.h */

/* Where a session's subscription stands; kept by the session, 16 bytes. */
struct index_place {
    struct index_node *node;
    uint32_t position; /* within the node; of a share group: within the group */
    uint32_t group;    /* id of the share group, 0: an ordinary subscription */
};

/* At start-up: ends the program when there is no memory. `reactors`: query->reactor is below it. */
struct index *index_new(uint32_t shards /* power of two */, struct slots *slots, uint32_t reactors);
/* Frees it with all that is in it. After epoch_drain(), with no other thread at work. */
void index_free(struct index *index);

/* Adds a subscription; the session has none with this filter yet. The node lives as long as it has
   subscribers. ERR_NOMEM. ERR_LIMIT: more than TOPIC_LEVELS_MAX levels, more than a million share
   groups, or a filter with '+' that would let one publish look at too many others (hundreds of
   filters that all overlap in their '+', see the decision): QUOTA_EXCEEDED for the peer. */
enum err index_add(struct index *index, struct epoch_participant *me,
                   const struct topic_filter *filter, index_subscriber subscriber,
                   struct index_place *place) MUST_USE;
/* Replaces options and id of a subscription in place: no message is lost meanwhile [MQTT-3.8.4-4].
 */
void index_update(struct index *index, const struct index_place *place,
                  index_subscriber subscriber);
/* Removes it. Readers in this turn may still see it. */
void index_remove(struct index *index, struct epoch_participant *me,
                  const struct index_place *place);

/* The filter as subscribed, "$share/g/a/+" included, written into `buffer` (MQTT_STRING_BYTES_MAX +
   1 bytes is always enough): for admins and for finding a session's subscription by filter. Returns
   its length, also when it was longer than `cap`. Only by the owner of a subscription there. */
uint32_t index_place_filter(const struct index_place *place, uint8_t *buffer, uint32_t cap);
/* The subscription that stands there, with its options as they are now. Only by its owner. */
index_subscriber index_place_subscriber(const struct index_place *place);
/* True when the place's filter is exactly `full`. Cheap: compares lengths/hashes first. */
bool index_place_is(const struct index_place *place, const struct topic_filter *filter);

/* One delivery. */
struct index_match {
    index_subscriber subscriber;
    uint32_t group; /* id of the share group that chose it, 0: ordinary */
    uint32_t extra; /* with merging: index into extra ids + 1, 0: none */
};

/* Matches of one topic; reused, owned by one reactor. */
struct index_matches {
    struct index_match *items;
    uint32_t count, cap;
    uint32_t lists; /* how many filters gave at least one: with 1 no session can be there twice */
    uint32_t dropped_groups; /* share groups without anyone to take it */
    uint32_t looked_up;      /* look-ups that it took */
};

void index_matches_fini(struct index_matches *matches);

/* How share groups choose (config_share_policy) and what they need to know. */
struct index_query {
    uint32_t reactor;            /* index of the asking reactor: its round-robin counters */
    uint8_t share_policy;        /* enum config_share_policy */
    bool is_kept;                /* by members that are away; otherwise they get nothing */
    bool only_ready;             /* nobody but members that are SLOT_READY */
    uint32_t not_slot;           /* a member to leave out (hands its messages over), 0: none */
    struct index_recent *recent; /* of the asking reactor; NULL: nothing is remembered */
    uint32_t levels_min; /* not 0: only filters with so many levels before the first wildcard, and
                             no share groups */
};

/* All who get a message with this topic, replacing what was in `matches`; the exact filter's come
   first. Share groups give one member each: one that is SLOT_READY, else connected, else any, those
   last for whom it would be QoS 0 (in turn; of more than a thousand members not all are asked each
   time). ERR_NOMEM leaves what was
   found; ERR_LIMIT: the topic has more than TOPIC_LEVELS_MAX levels, nothing was looked for. No
   locks. Matching "$..." follows [MQTT-4.7.2-1]. */
enum err index_match(struct index *index, struct slice topic, const struct index_query *query,
                     struct index_matches *matches) MUST_USE;
/* Another member of a share group for a message that `query->not_slot` gives up, chosen as above;
   false when there is none to take it. The group may be gone already: an id may be kept as long as
   one likes, it comes to mean another group only after 4,096 uses of its number. */
bool index_group_choose(struct index *index, uint32_t group, struct slice topic,
                        const struct index_query *query, struct index_match *match);
/* Cheap: may anybody be subscribed to something at or below this literal prefix? "No" is certain.
   For prefixes that begin with '$' "yes" means it, but for a rare shared cell and levels after the
   third; for others it means that there are subscriptions at all. */
bool index_has_below(struct index *index, struct slice prefix);

/* Counts, any thread, one shard's mutex at a time: subscriptions, of them shared, nodes, bytes
   asked of the allocator. */
struct index_stats {
    uint64_t subscriptions, shared_subscriptions, nodes, bytes;
};
void index_stats(struct index *index, struct index_stats *stats);
/* Walks everything and finds any broken invariant; for tests, with no writer at work. */
void index_check(struct index *index);

#endif
