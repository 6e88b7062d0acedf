/*
 * watcher.c: see watcher.h.
 */
#include "admin/watcher.h"

#include "admin/admin_worker.h"
#include "admin/sessions_topic.h"
#include "admin/walk.h"
#include "base/assert.h"
#include "base/hash.h"
#include "base/mem.h"
#include "conn/deliver.h"
#include "conn/output.h"
#include "mqtt/version.h"
#include "runtime/log.h"

#define DOCUMENT_QOS 2u /* the subscription decides */

struct watchers *watchers_new(void)
{
    struct watchers *watchers = mem_must_zalloc(sizeof(*watchers));
    list_init(&watchers->list);
    return watchers;
}

static void watcher_free(struct watchers *watchers, struct watcher *watcher)
{
    walks_end_all(watcher);
    lookups_fini(watcher);
    table_remove(&watchers->by_connection, &watcher->node);
    list_unlink(&watcher->link);
    mem_free(watcher);
}

void watchers_free(struct watchers *watchers)
{
    while (!list_is_empty(&watchers->list))
        watcher_free(watchers, CONTAINER_OF(watchers->list.next, struct watcher, link));
    table_fini(&watchers->by_connection);
    mem_free(watchers);
}

/* NULL: it has none. */
static struct watcher *watcher_find(struct worker *worker, const struct connection *connection)
{
    struct watchers *watchers = admin_of(worker)->watchers;
    struct table_node *node = table_find(&watchers->by_connection, hash_number(connection->handle));
    for (; node; node = table_find_next(node)) {
        struct watcher *watcher = CONTAINER_OF(node, struct watcher, node);
        if (watcher->connection.handle == connection->handle &&
            watcher->connection.generation == connection->generation)
            return watcher;
    }
    return NULL;
}

/* The one it has, or a new one. NULL: no memory. */
static struct watcher *watcher_get(struct worker *worker, const struct connection *connection)
{
    struct watchers *watchers = admin_of(worker)->watchers;
    struct watcher *watcher = watcher_find(worker, connection);
    if (watcher || !(watcher = mem_zalloc(sizeof(*watcher))))
        return watcher;
    watcher->worker = worker;
    watcher->connection = (struct connection_ref){connection->handle, connection->generation};
    list_init(&watcher->walks);
    lookups_init(watcher);
    list_push_back(&watchers->list, &watcher->link);
    table_add(&watchers->by_connection, &watcher->node, hash_number(connection->handle));
    return watcher;
}

struct connection *watcher_connection(const struct watcher *watcher)
{
    struct connection *connection = connection_find(watcher->worker, watcher->connection.handle,
                                                    watcher->connection.generation);
    return connection && connection->state == CONNECTION_CONNECTED ? connection : NULL;
}

uint32_t watcher_room(const struct watcher *watcher, const struct connection *connection,
                      index_subscriber subscriber)
{
    struct session *session = connection->session;
    const struct flight *flight = session->flight;
    if (connection->is_blocked || !output_has_room(watcher->worker, connection))
        return 0;
    if (index_subscriber_qos(subscriber) == 0)
        return SCAN_DOCUMENTS;
    if (!deliver_window_is_open(watcher->worker, session) ||
        (flight && (flight->queue.count || flight->resend)))
        return 0;
    uint32_t max = broker_config(watcher->worker->broker)->max_inflight_messages;
    uint32_t published = flight ? flight->inflight.published : 0;
    uint32_t count = flight ? flight->inflight.count : 0;
    uint32_t peers = connection->receive_maximum - published; /* the window is open: above 0 */
    uint32_t ours = (max ? max : UINT16_MAX) - count;
    return peers < ours ? peers : ours;
}

void watcher_give(struct watcher *watcher, struct session *session, index_subscriber subscriber,
                  const struct ask_record *record)
{
    uint8_t topic[MQTT_STRING_BYTES_MAX];
    uint32_t bytes = sessions_topic_make(record->id, topic, sizeof(topic));
    if (bytes == 0)
        return; /* such a topic cannot be; listSessions shows the session */
    struct publication publication = {
        .topic = slice_of(topic, bytes),
        .payload = record->document,
        .qos = DOCUMENT_QOS,
        .flags = MESSAGE_RETAIN | MESSAGE_ADMIN_ONLY,
    };
    struct delivery_wish wish = {.subscriber = subscriber, .is_retained_replay = true};
    deliver_publication(watcher->worker, session, &publication, &wish);
    publication_fini(&publication);
}

void watcher_subscribed(struct worker *worker, struct session *session, struct slice filter,
                        index_subscriber subscriber, uint8_t retain_handling, bool is_new)
{
    struct slice level;
    bool wanted = retain_handling == 0 || (retain_handling == 1 && is_new); /* [MQTT-3.3.1-9..11] */
    if (!(session->flags & SESSION_ADMIN) || !session->sink || !wanted)
        return;
    enum sessions_filter kind = sessions_filter_parse(filter, &level);
    if (kind == SESSIONS_NONE)
        return;
    struct watcher *watcher = watcher_get(worker, session->sink);
    if (watcher && (kind == SESSIONS_ONE ? lookup_start(watcher, filter, subscriber)
                                         : walk_start(watcher, filter, subscriber)))
        return;
    char address[CONNECTION_ADDRESS_BYTES];
    log_line(LOG_WARNING_, "Client %.*s (%s) gets no documents for %.*s: no memory.",
             SLICE_ARG(session_id(session)), connection_address(session->sink, address),
             SLICE_ARG(filter));
}

void watcher_unsubscribed(struct worker *worker, struct session *session, struct slice filter)
{
    struct watcher *watcher = session->sink ? watcher_find(worker, session->sink) : NULL;
    if (!watcher)
        return;
    walk_end(watcher, filter);
    lookup_end(watcher, filter);
}

void watcher_drained(struct worker *worker, struct session *session)
{
    struct connection *connection = session->sink;
    struct watcher *watcher = watcher_find(worker, connection);
    connection->wants_drained = false;
    if (!watcher)
        return;
    walks_go_on(watcher);
    lookup_go_on(watcher);
}

void watcher_tick(struct worker *worker)
{
    struct watchers *watchers = admin_of(worker)->watchers;
    for (struct list *at = watchers->list.next, *next; at != &watchers->list; at = next) {
        struct watcher *watcher = CONTAINER_OF(at, struct watcher, link);
        bool is_idle = list_is_empty(&watcher->walks) && list_is_empty(&watcher->lookups.wanted);
        next = at->next;
        if (is_idle || !watcher_connection(watcher))
            watcher_free(watchers, watcher);
    }
}
