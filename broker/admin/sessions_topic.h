/*
 * sessions_topic.h: the topics of session documents, $SYS/broker/sessions/<client id>.
 *
 * A client id is one level of the topic: '%', '+', '#', '/' and control characters in it are
 * written as %XX, with capital digits. Only filters with at least "$SYS/broker/sessions/" before
 * the first wildcard are given documents: a dashboard that reads "$SYS/#" is not flooded with a
 * million of them. Pure.
 */
#ifndef ADMIN_SESSIONS_TOPIC_H
#define ADMIN_SESSIONS_TOPIC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

#define SESSIONS_TOPIC_PREFIX "$SYS/broker/sessions/"

enum sessions_filter { SESSIONS_NONE, SESSIONS_ONE, SESSIONS_ALL };

/* Which sessions a (checked) filter asks for; *level is the encoded id of SESSIONS_ONE. */
enum sessions_filter sessions_filter_parse(struct slice filter, struct slice *level);

/* The topic of a client id, written into `buffer`; its length, or 0 when it does not fit `cap`. */
uint32_t sessions_topic_make(struct slice id, uint8_t *buffer, uint32_t cap);
/* The client id of an encoded level, written into `buffer` of at least level.len bytes; false when
   sessions_topic_make() would never write this level. */
bool sessions_topic_decode(struct slice level, uint8_t *buffer, uint32_t *bytes);

#endif
