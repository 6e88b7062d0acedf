/*
 * walk.c: see walk.h.
 */
#include "admin/walk.h"

#include "admin/watcher.h"
#include "base/assert.h"
#include "base/mem.h"

struct walk {
    struct asker asker;
    struct list link; /* in watcher->walks */
    struct watcher *watcher;
    index_subscriber subscriber;
    uint16_t reactor; /* being asked */
    uint32_t slot;    /* to go on from */
    bool is_asking, is_over;
    uint32_t filter_bytes;
    uint8_t filter[];
};

static void walk_free(struct walk *walk)
{
    list_unlink(&walk->link);
    ask_unregister(walk->watcher->worker, &walk->asker);
    mem_free(walk);
}

/* The next question; true when one is under way. */
static bool walk_ask(struct walk *walk, uint32_t room)
{
    struct ask_scan scan = {
        .what = ASK_DOCUMENTS,
        .reactor = walk->reactor,
        .slot = walk->slot,
        .documents = room,
    };
    return ask_scan_post(walk->watcher->worker, &walk->asker, &scan);
}

/* Asks on when there is room, waits for hooks.drained when there is none, or ends. */
static void walk_go_on(struct walk *walk)
{
    struct connection *connection = watcher_connection(walk->watcher);
    if (walk->is_asking)
        return;
    if (!connection || walk->is_over) {
        walk_free(walk);
        return;
    }
    uint32_t room = watcher_room(walk->watcher, connection, walk->subscriber);
    if (room == 0)
        connection->wants_drained = true;
    else if (walk_ask(walk, room))
        walk->is_asking = true;
    else
        walk_free(walk); /* no memory */
}

/* Gives documents while there is room; false when one was left: walk->slot is its place. */
static bool walk_give_all(struct walk *walk, struct slice records)
{
    struct watcher *watcher = walk->watcher;
    struct ask_record record;
    while (ask_next_record(&records, &record)) {
        struct connection *connection = watcher_connection(watcher);
        if (!connection || watcher_room(watcher, connection, walk->subscriber) == 0) {
            walk->slot = record.slot;
            return false;
        }
        watcher_give(watcher, connection->session, walk->subscriber, &record);
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
            walk->is_over = ++walk->reactor == worker->broker->group->count;
    }
    walk_go_on(walk);
}

void walk_end(struct watcher *watcher, struct slice filter)
{
    for (struct list *at = watcher->walks.next, *next; at != &watcher->walks; at = next) {
        struct walk *walk = CONTAINER_OF(at, struct walk, link);
        next = at->next;
        if (slice_eq(slice_of(walk->filter, walk->filter_bytes), filter))
            walk_free(walk);
    }
}

void walks_end_all(struct watcher *watcher)
{
    while (!list_is_empty(&watcher->walks))
        walk_free(CONTAINER_OF(watcher->walks.next, struct walk, link));
}

bool walk_start(struct watcher *watcher, struct slice filter, index_subscriber subscriber)
{
    walk_end(watcher, filter);
    struct walk *walk = mem_zalloc(sizeof(*walk) + filter.len);
    if (!walk)
        return false;
    walk->asker.answered = walk_answered;
    walk->watcher = watcher;
    walk->subscriber = subscriber;
    walk->filter_bytes = (uint32_t)filter.len;
    memcpy(walk->filter, filter.ptr, filter.len);
    list_push_back(&watcher->walks, &walk->link);
    ask_register(watcher->worker, &walk->asker);
    walk_go_on(walk);
    return true;
}

void walks_go_on(struct watcher *watcher)
{
    for (struct list *at = watcher->walks.next, *next; at != &watcher->walks; at = next) {
        next = at->next;
        walk_go_on(CONTAINER_OF(at, struct walk, link));
    }
}
