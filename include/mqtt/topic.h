/*
 * topic.h: rules for topic names and topic filters (section 4.7 of both standards). Pure; no
 * allocation.
 */
#ifndef MQTT_TOPIC_H
#define MQTT_TOPIC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "mqtt/reason.h"

/* Deepest topic we route. More levels is TOPIC_NAME_INVALID / TOPIC_FILTER_INVALID, and counted. */
#define TOPIC_LEVELS_MAX 200

/* NULL when `name` may be published to: 1 to 65,535 bytes, no '+', '#' or NUL, valid UTF-8 (checked
   by the decoder already), at most TOPIC_LEVELS_MAX levels. Otherwise the fault. [MQTT-4.7.0-1]
   [MQTT-4.7.3-1] */
const struct fault *topic_name_check(struct slice name);

/* What a filter in SUBSCRIBE or UNSUBSCRIBE says. Slices point into the filter given. */
struct topic_filter {
    struct slice full;   /* as received, "$share/g/a/+" */
    struct slice share;  /* share name "g", or empty */
    struct slice filter; /* what is matched, "a/+" */
    bool is_shared;
    bool has_wildcard;
};

/* Splits and checks a filter. NULL or the fault (TOPIC_FILTER_INVALID).
   [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.8.2-1] [MQTT-4.8.2-2] */
const struct fault *topic_filter_parse(struct slice full, struct topic_filter *out);

/* True when `filter` (checked, without $share) matches the topic name. For one-off tests, replays
   and models: routing has an index. A filter that begins with a wildcard does not match "$..."
   [MQTT-4.7.2-1]. */
bool topic_matches(struct slice filter, struct slice name);

/* Cuts the next level off `rest`. False when there is none left. Start with *started = false;
   "" has one empty level, "a/" has two. */
bool topic_next_level(struct slice *rest, bool *started, struct slice *level);

/* Number of levels of a name or filter: slashes + 1. */
uint32_t topic_level_count(struct slice name);

#endif
