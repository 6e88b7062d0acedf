/*
 * merge.h: with `allow_duplicate_messages false`, a session with overlapping subscriptions gets one
 * copy: the highest QoS, and the subscription ids of all [MQTT-3.3.4-2] [MQTT-3.3.4-4].
 */
#ifndef CONN_MERGE_H
#define CONN_MERGE_H

#include "route/index.h"
#include "session/queue.h"

struct merge;

/* Merges ordinary matches of the same session in place; items that stand for several have `extra`
   set. NULL without memory (copies then stay separate). `generations` not NULL: `extra` holds who
   is meant until then, which is moved there, for each item that is left. */
struct merge *merge_matches(struct index_matches *matches, uint32_t publisher_slot,
                            uint32_t *generations);
/* The ids behind an item's `extra`, or NULL. `merge` may be NULL. */
const struct delivery_ids *merge_ids(const struct merge *merge, uint32_t extra);
void merge_free(struct merge *merge);

#endif
