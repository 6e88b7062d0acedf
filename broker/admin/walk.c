/*
 * walk.c: see walk.h.
 */
#include "admin/walk.h"

#include "admin/admin_worker.h"
#include "admin/sessions_topic.h"
#include "base/assert.h"
#include "base/mem.h"
#include "conn/deliver.h"
#include "conn/output.h"
#include "mqtt/version.h"
#include "runtime/log.h"

#define WALKS_MAX 256u /* of a reactor */
#define WALKS_PER_SESSION_MAX 32u
#define DOCUMENT_QOS 2u /* the subscription decides */

struct walk {
    struct asker asker;
    struct list link; /* in walks->list */
    struct worker *worker;
    struct connection_ref connection;
    index_subscriber subscriber;
    enum sessions_filter kind;
    uint16_t reactor; /* being asked, of SESSIONS_ALL */
    uint32_t slot;    /* to go on from */
    bool is_asking, is_over;
    uint32_t filter_bytes;
    uint8_t filter[];
};

struct walks {
    struct list list;
    uint32_t count;
};

struct walks *walks_new(void)
{
    struct walks *walks = mem_must_zalloc(sizeof(*walks));
    list_init(&walks->list);
    return walks;
}

void walks_free(struct walks *walks)
{
    mem_free(walks);
}

static void walk_forget(struct asker *asker)
{
    mem_free(CONTAINER_OF(asker, struct walk, asker));
}

static void walk_end(struct walk *walk)
{
    admin_of(walk->worker)->walks->count--;
    list_unlink(&walk->link);
    ask_unregister(&walk->asker);
    walk_forget(&walk->asker);
}

static struct connection *connection_of(const struct walk *walk)
{
    struct connection *connection =
        connection_find(walk->worker, walk->connection.handle, walk->connection.generation);
    return connection && connection->state == CONNECTION_CONNECTED ? connection : NULL;
}

/* How many documents the client can take now without queueing any. */
static uint32_t room_of(const struct walk *walk, const struct connection *connection)
{
    struct session *session = connection->session;
    const struct flight *flight = session->flight;
    if (connection->is_blocked || !output_has_room(walk->worker, connection))
        return 0;
    if (index_subscriber_qos(walk->subscriber) == 0)
        return SCAN_DOCUMENTS;
    if (!deliver_window_is_open(walk->worker, session) ||
        (flight && (flight->queue.count || flight->resend)))
        return 0;
    uint32_t max = broker_config(walk->worker->broker)->max_inflight_messages;
    uint32_t published = flight ? flight->inflight.published : 0;
    uint32_t count = flight ? flight->inflight.count : 0;
    uint32_t peers = connection->receive_maximum - published; /* the window is open: above 0 */
    uint32_t ours = (max ? max : UINT16_MAX) - count;
    return peers < ours ? peers : ours;
}

/* The next question; true when one is under way. */
static bool walk_ask(struct walk *walk, uint32_t room)
{
    if (walk->kind == SESSIONS_ONE) {
        uint8_t id[MQTT_STRING_BYTES_MAX];
        uint32_t id_bytes;
        struct slice level;
        bool is_found;
        sessions_filter_parse(slice_of(walk->filter, walk->filter_bytes), &level);
        return sessions_topic_decode(level, id, &id_bytes) &&
               ask_one_post(walk->worker, &walk->asker, ASK_DOCUMENT, slice_of(id, id_bytes),
                            slice_of(NULL, 0), &is_found);
    }
    struct ask_scan scan = {
        .what = ASK_DOCUMENTS,
        .reactor = walk->reactor,
        .slot = walk->slot,
        .documents = room,
    };
    return ask_scan_post(walk->worker, &walk->asker, &scan);
}

/* Asks on when there is room, waits for hooks.drained when there is none, or ends. */
static void walk_go_on(struct walk *walk)
{
    struct connection *connection = connection_of(walk);
    if (walk->is_asking)
        return;
    if (!connection || walk->is_over) {
        walk_end(walk);
        return;
    }
    uint32_t room = room_of(walk, connection);
    if (room == 0)
        connection->wants_drained = true;
    else if (walk_ask(walk, room))
        walk->is_asking = true;
    else
        walk_end(walk); /* no such session, or no memory */
}

static void walk_give(struct walk *walk, struct session *session, const struct ask_record *record)
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
    struct delivery_wish wish = {.subscriber = walk->subscriber, .is_retained_replay = true};
    deliver_publication(walk->worker, session, &publication, &wish);
    publication_fini(&publication);
}

/* Gives documents while there is room; false when one was left: walk->slot is its place. */
static bool walk_give_all(struct walk *walk, struct slice records)
{
    struct ask_record record;
    while (ask_next_record(&records, &record)) {
        struct connection *connection = connection_of(walk);
        if (!connection || room_of(walk, connection) == 0) {
            walk->slot = record.slot;
            return false;
        }
        walk_give(walk, connection->session, &record);
    }
    return true;
}

static void walk_answered(struct worker *worker, struct asker *asker, const struct answer *answer)
{
    struct walk *walk = CONTAINER_OF(asker, struct walk, asker);
    walk->is_asking = false;
    if (walk_give_all(walk, answer->records)) {
        walk->slot = answer->next_slot;
        if (walk->slot == 0)
            walk->is_over =
                walk->kind == SESSIONS_ONE || ++walk->reactor == worker->broker->group->count;
    }
    walk_go_on(walk);
}

/* The client's walks for this filter, or all with a NULL filter, end. Returns how many are left. */
static uint32_t end_walks(struct worker *worker, const struct connection *connection,
                          struct slice filter)
{
    struct list *walks = &admin_of(worker)->walks->list;
    uint32_t left = 0;
    for (struct list *at = walks->next, *next; at != walks; at = next) {
        struct walk *walk = CONTAINER_OF(at, struct walk, link);
        next = at->next;
        if (walk->connection.handle != connection->handle ||
            walk->connection.generation != connection->generation)
            continue;
        if (slice_eq(slice_of(walk->filter, walk->filter_bytes), filter))
            walk_end(walk);
        else
            left++;
    }
    return left;
}

static void walk_start(struct worker *worker, struct connection *connection, struct slice filter,
                       index_subscriber subscriber, enum sessions_filter kind)
{
    struct walks *walks = admin_of(worker)->walks;
    uint32_t others = end_walks(worker, connection, filter);
    struct walk *walk = NULL;
    if (walks->count < WALKS_MAX && others < WALKS_PER_SESSION_MAX)
        walk = mem_zalloc(sizeof(*walk) + filter.len);
    if (!walk) {
        struct slice id = connection_client_id(connection);
        char address[CONNECTION_ADDRESS_BYTES];
        log_line(
            LOG_WARNING_,
            "Client %.*s (%s) gets no documents for %.*s: %u walks over sessions are under way.",
            SLICE_ARG(id), connection_address(connection, address), SLICE_ARG(filter),
            walks->count);
        return;
    }
    walk->asker.answered = walk_answered;
    walk->asker.free = walk_forget;
    walk->worker = worker;
    walk->connection = (struct connection_ref){connection->handle, connection->generation};
    walk->subscriber = subscriber;
    walk->kind = kind;
    walk->filter_bytes = (uint32_t)filter.len;
    memcpy(walk->filter, filter.ptr, filter.len);
    walks->count++;
    list_push_back(&walks->list, &walk->link);
    ask_register(worker, &walk->asker);
    walk_go_on(walk);
}

void walk_subscribed(struct worker *worker, struct session *session, struct slice filter,
                     index_subscriber subscriber, uint8_t retain_handling, bool is_new)
{
    struct slice level;
    bool wanted = retain_handling == 0 || (retain_handling == 1 && is_new); /* [MQTT-3.3.1-9..11] */
    if (!(session->flags & SESSION_ADMIN) || !session->sink || !wanted)
        return;
    enum sessions_filter kind = sessions_filter_parse(filter, &level);
    if (kind != SESSIONS_NONE)
        walk_start(worker, session->sink, filter, subscriber, kind);
}

void walk_unsubscribed(struct worker *worker, struct session *session, struct slice filter)
{
    if (session->sink)
        end_walks(worker, session->sink, filter);
}

void walk_drained(struct worker *worker, struct session *session)
{
    struct connection *connection = session->sink;
    struct list *walks = &admin_of(worker)->walks->list;
    connection->wants_drained = false;
    for (struct list *at = walks->next, *next; at != walks; at = next) {
        struct walk *walk = CONTAINER_OF(at, struct walk, link);
        next = at->next;
        if (walk->connection.handle == connection->handle &&
            walk->connection.generation == connection->generation)
            walk_go_on(walk);
    }
}

void walk_tick(struct worker *worker)
{
    struct list *walks = &admin_of(worker)->walks->list;
    for (struct list *at = walks->next, *next; at != walks; at = next) {
        struct walk *walk = CONTAINER_OF(at, struct walk, link);
        next = at->next;
        if (!connection_of(walk))
            walk_end(walk);
    }
}
