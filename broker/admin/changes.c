/*
 * changes.c: see changes.h.
 *
 *   ring:   first -> [slot, generation] [slot, generation, document of an ended one] ... <- end
 *   recent: slot modulo its size -> position in the ring, to find a session that waits already
 *
 * `recent` forgets when two sessions share a place: then a change is told twice, which does no
 * harm. Positions count on for ever; modulo CHANGES_MAX they are places.
 */
#include "admin/changes.h"

#include "admin/admin_worker.h"
#include "admin/document.h"
#include "admin/sessions_topic.h"
#include "base/assert.h"
#include "base/mem.h"
#include "conn/publish.h"
#include "conn/worker.h"
#include "mqtt/version.h"

#define CHANGES_PER_SLICE 8u
#define RECENT_MAX 1024u
#define DOCUMENT_BYTES_MAX (1u << 20)
#define DOCUMENT_BYTES_KEPT 16384u
#define CHANGE_QOS 2u /* the subscription decides */

/* What is left of a session that ended. */
struct ended {
    uint32_t id_bytes, document_bytes;
    uint8_t bytes[]; /* id, document */
};

struct change {
    uint32_t slot, generation;
    struct ended *ended; /* NULL: the session is looked at when its turn comes */
};

struct changes {
    struct job job;
    struct worker *worker;
    struct change *ring; /* [CHANGES_MAX], made with the first */
    uint32_t first, end; /* positions */
    uint32_t recent[RECENT_MAX];
    uint64_t ended_bytes;
    struct json document;       /* being published */
    struct json ended_document; /* publishing may end sessions: not the same */
};

static struct change *change_at(struct changes *changes, uint32_t position)
{
    return &changes->ring[position % CHANGES_MAX];
}

/* ---- publishing ---- */

static void publish(struct worker *worker, struct slice id, struct slice document)
{
    uint8_t topic[MQTT_STRING_BYTES_MAX];
    uint32_t bytes = sessions_topic_make(id, topic, sizeof(topic));
    if (bytes)
        publish_own(worker, slice_of(topic, bytes), document, CHANGE_QOS, MESSAGE_ADMIN_ONLY);
}

static void publish_ended(struct changes *changes, const struct ended *ended)
{
    struct slice id = slice_of(ended->bytes, ended->id_bytes);
    if (session_table_find(changes->worker->broker->sessions, id).slot)
        return; /* another session has the id by now, and its own document is the news */
    publish(changes->worker, id, slice_of(ended->bytes + id.len, ended->document_bytes));
}

static void publish_change(struct changes *changes, const struct change *change)
{
    struct worker *worker = changes->worker;
    struct session *session = worker_own_session(worker, change->slot);
    struct document_options options = {0};
    if (!session || session->generation != change->generation)
        return; /* ended, or with another reactor, which tells */
    json_reset(&changes->document, DOCUMENT_BYTES_KEPT);
    document_write(&changes->document, worker, session, &options);
    if (!changes->document.is_full)
        publish(worker, session_id(session), json_text(&changes->document));
}

static bool changes_run(struct reactor *reactor, struct job *job)
{
    struct changes *changes = CONTAINER_OF(job, struct changes, job);
    uint32_t left = CHANGES_PER_SLICE;
    (void)reactor;
    while (changes->first != changes->end && left--) {
        struct change change = *change_at(changes, changes->first++);
        if (change.ended) {
            publish_ended(changes, change.ended);
            changes->ended_bytes -= change.ended->id_bytes + change.ended->document_bytes;
            mem_free(change.ended);
        } else {
            publish_change(changes, &change);
        }
    }
    return changes->first == changes->end;
}

/* ---- noting ---- */

static bool is_waiting(struct changes *changes, const struct session *session)
{
    uint32_t position = changes->recent[session->slot % RECENT_MAX];
    if (position - changes->first >= changes->end - changes->first)
        return false;
    const struct change *change = change_at(changes, position);
    return change->slot == session->slot && change->generation == session->generation &&
           !change->ended;
}

static const char *ended_reason(struct worker *worker, const struct session *session)
{
    if (admin_of(worker)->is_deleting)
        return "deleted";
    return session->expiry_s == 0 ? "disconnected" : "expired";
}

/* The document is made now: the session will not be there any more. NULL: no room. */
static struct ended *make_ended(struct changes *changes, const struct session *session)
{
    struct json *document = &changes->ended_document;
    struct document_options options = {.ended_reason = ended_reason(changes->worker, session)};
    json_reset(document, DOCUMENT_BYTES_KEPT);
    document_write(document, changes->worker, session, &options);
    uint32_t bytes = session->id_bytes + document->len;
    if (document->is_full || changes->ended_bytes + bytes > CHANGES_ENDED_BYTES)
        return NULL;
    struct ended *ended = mem_alloc(sizeof(*ended) + bytes);
    if (!ended)
        return NULL;
    *ended = (struct ended){.id_bytes = session->id_bytes, .document_bytes = document->len};
    memcpy(ended->bytes, session->id, session->id_bytes);
    memcpy(ended->bytes + session->id_bytes, document->bytes, document->len);
    changes->ended_bytes += bytes;
    return ended;
}

static bool has_room(struct changes *changes)
{
    if (!changes->ring)
        changes->ring = mem_alloc(CHANGES_MAX * sizeof(*changes->ring));
    return changes->ring && changes->end - changes->first < CHANGES_MAX;
}

void changes_note(struct worker *worker, struct session *session, bool has_ended)
{
    struct changes *changes = admin_of(worker)->changes;
    struct ended *ended = NULL;
    if (!index_has_below(worker->broker->index, SLICE_LIT("$SYS/broker/sessions")))
        return;
    if (!has_ended && is_waiting(changes, session))
        return;
    if (!has_room(changes) || (has_ended && !(ended = make_ended(changes, session)))) {
        metric_add(worker_metrics(worker), METRIC_SESSION_CHANGES_DROPPED, 1);
        return;
    }
    changes->recent[session->slot % RECENT_MAX] = changes->end;
    *change_at(changes, changes->end++) =
        (struct change){.slot = session->slot, .generation = session->generation, .ended = ended};
    reactor_job_add(worker->reactor, &changes->job);
}

/* ---- life ---- */

struct changes *changes_new(struct worker *worker)
{
    struct changes *changes = mem_must_zalloc(sizeof(*changes));
    changes->worker = worker;
    changes->job.run = changes_run;
    json_init(&changes->document, DOCUMENT_BYTES_MAX);
    json_init(&changes->ended_document, DOCUMENT_BYTES_MAX);
    return changes;
}

void changes_free(struct changes *changes)
{
    for (; changes->first != changes->end; changes->first++)
        mem_free(change_at(changes, changes->first)->ended);
    mem_free(changes->ring);
    json_fini(&changes->document);
    json_fini(&changes->ended_document);
    mem_free(changes);
}
