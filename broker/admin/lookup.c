/*
 * lookup.c: see lookup.h.
 */
#include "admin/lookup.h"

#include "admin/sessions_topic.h"
#include "admin/watcher.h"
#include "base/assert.h"
#include "base/hash.h"
#include "base/mem.h"
#include "conn/again.h"
#include "mqtt/version.h"

#define LOOKUPS_PER_CALL 64u /* of sessions that do not exist */

struct wanted {
    struct list link;       /* in lookups->wanted */
    struct table_node node; /* in lookups->by_filter */
    index_subscriber subscriber;
    uint32_t filter_bytes;
    uint8_t filter[];
};

static uint32_t hash_of(struct slice filter)
{
    return (uint32_t)hash_bytes(filter);
}

static struct slice filter_of(const struct wanted *wanted)
{
    return slice_of(wanted->filter, wanted->filter_bytes);
}

static struct wanted *wanted_find(struct lookups *lookups, struct slice filter)
{
    struct table_node *node = table_find(&lookups->by_filter, hash_of(filter));
    for (; node; node = table_find_next(node)) {
        struct wanted *wanted = CONTAINER_OF(node, struct wanted, node);
        if (slice_eq(filter_of(wanted), filter))
            return wanted;
    }
    return NULL;
}

static void wanted_free(struct lookups *lookups, struct wanted *wanted)
{
    if (lookups->asked == wanted)
        lookups->asked = NULL;
    list_unlink(&wanted->link);
    table_remove(&lookups->by_filter, &wanted->node);
    mem_free(wanted);
}

/* False: there is no such session, or no memory. */
static bool lookup_ask(struct watcher *watcher, const struct wanted *wanted)
{
    uint8_t id[MQTT_STRING_BYTES_MAX];
    uint32_t id_bytes;
    struct slice level;
    bool is_found;
    sessions_filter_parse(filter_of(wanted), &level);
    return sessions_topic_decode(level, id, &id_bytes) &&
           ask_one_post(watcher->worker, &watcher->lookups.asker, ASK_DOCUMENT,
                        slice_of(id, id_bytes), slice_of(NULL, 0), &is_found);
}

void lookup_go_on(struct watcher *watcher)
{
    struct lookups *lookups = &watcher->lookups;
    struct connection *connection = watcher_connection(watcher);
    uint32_t budget = LOOKUPS_PER_CALL;
    while (connection && !lookups->is_asking && !list_is_empty(&lookups->wanted)) {
        struct wanted *wanted = CONTAINER_OF(lookups->wanted.next, struct wanted, link);
        bool has_room = watcher_room(watcher, connection, wanted->subscriber) > 0;
        if (!has_room || budget-- == 0) {
            connection->wants_drained = true;
            if (has_room)
                again_add(watcher->worker, connection);
            return;
        }
        if (!lookup_ask(watcher, wanted)) {
            wanted_free(lookups, wanted);
            continue;
        }
        lookups->asked = wanted;
        lookups->is_asking = true;
    }
}

/* One whose answer finds no room stays, to be asked for again: it would be old by then. */
static void lookup_answered(struct worker *worker, struct asker *asker, const struct answer *answer)
{
    struct lookups *lookups = CONTAINER_OF(asker, struct lookups, asker);
    struct watcher *watcher = CONTAINER_OF(lookups, struct watcher, lookups);
    struct connection *connection = watcher_connection(watcher);
    struct wanted *wanted = lookups->asked;
    struct slice records = answer->records;
    struct ask_record record;
    (void)worker;
    lookups->is_asking = false;
    lookups->asked = NULL;
    if (!connection || !wanted) {
        lookup_go_on(watcher);
        return;
    }
    index_subscriber subscriber = wanted->subscriber;
    bool is_there = ask_next_record(&records, &record);
    if (!is_there || watcher_room(watcher, connection, subscriber)) {
        wanted_free(lookups, wanted);
        if (is_there)
            watcher_give(watcher, connection->session, subscriber, &record);
    }
    lookup_go_on(watcher);
}

bool lookup_start(struct watcher *watcher, struct slice filter, index_subscriber subscriber)
{
    struct lookups *lookups = &watcher->lookups;
    struct wanted *wanted = wanted_find(lookups, filter);
    if (wanted) {
        wanted->subscriber = subscriber;
        return true;
    }
    wanted = mem_alloc(sizeof(*wanted) + filter.len);
    if (!wanted)
        return false;
    wanted->subscriber = subscriber;
    wanted->filter_bytes = (uint32_t)filter.len;
    memcpy(wanted->filter, filter.ptr, filter.len);
    list_push_back(&lookups->wanted, &wanted->link);
    table_add(&lookups->by_filter, &wanted->node, hash_of(filter));
    lookup_go_on(watcher);
    return true;
}

void lookup_end(struct watcher *watcher, struct slice filter)
{
    struct wanted *wanted = wanted_find(&watcher->lookups, filter);
    if (wanted)
        wanted_free(&watcher->lookups, wanted);
}

void lookups_init(struct watcher *watcher)
{
    struct lookups *lookups = &watcher->lookups;
    list_init(&lookups->wanted);
    lookups->asker.answered = lookup_answered;
    ask_register(watcher->worker, &lookups->asker);
}

void lookups_fini(struct watcher *watcher)
{
    struct lookups *lookups = &watcher->lookups;
    while (!list_is_empty(&lookups->wanted))
        wanted_free(lookups, CONTAINER_OF(lookups->wanted.next, struct wanted, link));
    table_fini(&lookups->by_filter);
    ask_unregister(watcher->worker, &lookups->asker);
}
