/*
 * subscriptions.h: which filters a session has, as places in the routing index.
 *
 * One is kept in the session itself; more in an array; from 16 on a hash of filters finds one among
 * 100,000 at once. What a place means is the index's business: here it is an opaque pointer and two
 * numbers.
 */
#ifndef SESSION_SUBSCRIPTIONS_H
#define SESSION_SUBSCRIPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct subscriptions_table;

/* Packed, like what holds them: 4 bytes less for each of them, 8 for each session. */
struct __attribute__((packed, aligned(4))) subscription {
    void *node;
    uint32_t position, group;
    uint32_t filter_hash; /* of the whole filter as subscribed */
};

struct __attribute__((packed, aligned(4))) subscriptions {
    union {
        struct subscription one; /* while count <= 1 and not is_many */
        struct __attribute__((packed, aligned(4))) {
            struct subscription *items;
            struct subscriptions_table *table; /* NULL up to 16 items */
            uint32_t cap;
        } many;
    };
    uint32_t count : 31;
    uint32_t is_many : 1;
};

static inline struct subscription *subscriptions_items(struct subscriptions *subs)
{
    return subs->is_many ? subs->many.items : &subs->one;
}

/* Appends. The pointer that earlier calls gave may move. */
enum err subscriptions_add(struct subscriptions *subs, const struct subscription *item) MUST_USE;
/* Walks the items with this hash: start with *at = 0, NULL at the end. */
struct subscription *subscriptions_find(struct subscriptions *subs, uint32_t filter_hash,
                                        uint32_t *at);
/* Removes an item (the last takes its place). Pointers and walks from before are over. */
void subscriptions_remove(struct subscriptions *subs, struct subscription *item);
void subscriptions_fini(struct subscriptions *subs);
uint64_t subscriptions_bytes(const struct subscriptions *subs);
/* Ends the program when an invariant is broken. */
void subscriptions_check(const struct subscriptions *subs);

#endif
