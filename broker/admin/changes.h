/*
 * changes.h: tells those who watch $SYS/broker/sessions/... of each session that connected,
 * disconnected or ended.
 *
 * A change is noted where it happens, which may be in the middle of a delivery, and published by a
 * job of the same reactor. A session that changes again before its turn comes is told once, as it
 * is then. When more than CHANGES_MAX wait (a storm of reconnects), further ones are dropped and
 * counted in $SYS/broker/session_changes/dropped.
 *
 * Threads: the session's reactor. Cost: nothing to speak of while nobody watches.
 */
#ifndef ADMIN_CHANGES_H
#define ADMIN_CHANGES_H

#include "conn/broker.h"

#define CHANGES_MAX 8192u              /* a power of two */
#define CHANGES_ENDED_BYTES (8u << 20) /* of documents of ended sessions */

struct changes;

struct changes *changes_new(struct worker *worker);
void changes_free(struct changes *changes);
/* hooks.session_changed */
void changes_note(struct worker *worker, struct session *session, bool has_ended);

#endif
