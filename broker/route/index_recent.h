/*
 * index_recent.h: the answers to the last topics of one reactor.
 *
 * A sensor says the same topic again and again, and who gets it changes seldom. A publish that finds
 * its topic here is spared everything that index_match.c does. An answer holds while no subscription
 * of the whole index has changed since: index->changes counts them. A reader that sees the count
 * from before a change may answer as before it, as if it had come first; one that begins after a
 * subscription's slot could be used anew has passed a grace period, and so sees the count after it.
 *
 * A table with two places for each topic. A topic takes one of them when it is empty, or when the
 * topic comes twice without another in between that would take the same one: topics that all come
 * once, of a million sensors, drive nothing out and touch two cache lines each. Kept are answers of at
 * most RECENT_MATCHES subscribers without share groups, which choose each time.
 *
 * Threads: its reactor's. Cost: RECENT_ENTRIES * 192 bytes a reactor, made by the first publish.
 */
#ifndef ROUTE_INDEX_RECENT_H
#define ROUTE_INDEX_RECENT_H

#include "route/index.h"

struct index_recent {
    struct index_recent_entry *entries; /* NULL before the first, or without memory */
};

void index_recent_fini(struct index_recent *recent);

/* What a look-up leaves for index_recent_put(). */
struct index_recent_key {
    struct index_recent_entry *entry; /* NULL: not to be kept */
    uint64_t changes;                 /* before the look-up */
    uint32_t tag;
};

/* True: the answer is in `matches`. Else *key is to be given to index_recent_put() with what was
   found after this call. */
bool index_recent_get(struct index_recent *recent, const struct index *index, struct slice topic,
                      struct index_matches *matches, struct index_recent_key *key);
void index_recent_put(const struct index_recent_key *key, struct slice topic,
                      const struct index_matches *matches);

#endif
