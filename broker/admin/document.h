/*
 * document.h: a session as a JSON document, as docs/ADMIN.md describes it.
 *
 * Only on the session's own reactor. Cost: one to two microseconds, more with the list.
 */
#ifndef ADMIN_DOCUMENT_H
#define ADMIN_DOCUMENT_H

#include "admin/json.h"
#include "conn/broker.h"
#include "session/session.h"

struct document_options {
    bool has_list;            /* with the filters of the session, as many as fit */
    const char *ended_reason; /* the session ended; NULL: it lives */
};

void document_write(struct json *json, struct worker *worker, const struct session *session,
                    const struct document_options *options);

/* Seconds since the last packet, or since the client left. */
uint32_t document_idle_s(const struct worker *worker, const struct session *session);

#endif
