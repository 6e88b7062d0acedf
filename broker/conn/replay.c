/*
 * replay.c: see replay.h. A session's replays are a list, the newest first, worked off one after
 * the other; each call looks at a bounded number of topics and gives a bounded number of messages,
 * so a "#" over a million of them slows nobody else. A table by filter finds the one to be stopped
 * among 100,000; all of it is there only while there are replays.
 */
#include "conn/replay.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/table.h"
#include "conn/again.h"
#include "conn/deliver.h"
#include "conn/output.h"

#define REPLAY_NODES_PER_TURN 512u
#define REPLAY_MESSAGES_PER_TURN 128u
#define REPLAY_END_NODES 16u /* what a replay costs that finds nothing: a look into each shard */

struct replay {
    struct table_node by_filter; /* first member */
    struct list link;
    struct retained_cursor *cursor;
    index_subscriber subscriber;
    uint32_t filter_bytes;
    uint8_t filter[];
};

struct replays {
    struct list list; /* never empty */
    struct table by_filter;
};

static struct replay *replay_first(const struct session *session)
{
    return CONTAINER_OF(session->replays->list.next, struct replay, link);
}

/* The last one takes what they stood in with it. */
static void replay_free(struct session *session, struct replay *replay)
{
    struct replays *replays = session->replays;
    list_unlink(&replay->link);
    table_remove(&replays->by_filter, &replay->by_filter);
    retained_cursor_free(replay->cursor);
    mem_free(replay);
    if (replays->by_filter.count)
        return;
    session->replays = NULL;
    table_fini(&replays->by_filter);
    mem_free(replays);
}

static bool replays_make(struct session *session)
{
    if (session->replays)
        return true;
    session->replays = mem_zalloc(sizeof(*session->replays));
    if (session->replays)
        list_init(&session->replays->list);
    return session->replays != NULL;
}

enum err replay_start(struct session *session, struct slice filter, index_subscriber subscriber)
{
    struct replay *replay = mem_alloc(sizeof(*replay) + filter.len);
    struct retained_cursor *cursor = retained_cursor_new(filter);
    if (!replay || !cursor || !replays_make(session)) {
        mem_free(replay);
        if (cursor)
            retained_cursor_free(cursor);
        return ERR_NOMEM;
    }
    *replay = (struct replay){
        .cursor = cursor, .subscriber = subscriber, .filter_bytes = (uint32_t)filter.len};
    memcpy(replay->filter, filter.ptr, filter.len);
    struct replays *replays = session->replays;
    list_push_back(replays->list.next, &replay->link); /* before the first */
    table_add(&replays->by_filter, &replay->by_filter, (uint32_t)hash_bytes(filter));
    deliver_waits(session);
    return ERR_OK;
}

void replay_stop(struct session *session, struct slice filter)
{
    if (!session->replays)
        return;
    struct table_node *node =
        table_find(&session->replays->by_filter, (uint32_t)hash_bytes(filter));
    for (; node; node = table_find_next(node)) {
        struct replay *replay = (struct replay *)node;
        if (!slice_eq(filter, slice_of(replay->filter, replay->filter_bytes)))
            continue;
        replay_free(session, replay);
        return;
    }
}

bool replay_stop_all(struct session *session, uint32_t budget)
{
    while (session->replays && budget--)
        replay_free(session, replay_first(session));
    return !session->replays;
}

/* Gives one message, and takes its reference; false when the connection closed meanwhile. */
static bool replay_give_take(struct worker *worker, struct session *session,
                             index_subscriber subscriber, struct message *message)
{
    struct publication publication = publication_of_message_take(message);
    publication.flags |= MESSAGE_RETAIN;
    struct delivery_wish wish = {.subscriber = subscriber, .is_retained_replay = true};
    deliver_publication(worker, session, &publication, &wish);
    publication_fini(&publication);
    return session->sink != NULL;
}

static bool may_go_on(struct worker *worker, struct session *session)
{
    struct connection *connection = session->sink;
    return connection && output_has_room(worker, connection) && !connection->is_blocked &&
           deliver_window_is_open(worker, session);
}

void replay_pump(struct worker *worker, struct session *session)
{
    struct retained *retained = worker->broker->retained;
    uint32_t messages = REPLAY_MESSAGES_PER_TURN;
    struct retained_visit visit = {
        .now_tick = worker->reactor->now_tick,
        .nodes = REPLAY_NODES_PER_TURN,
    };
    while (session->replays && may_go_on(worker, session)) {
        struct replay *replay = replay_first(session);
        struct message *message;
        enum retained_step step =
            messages ? retained_cursor_next(retained, replay->cursor, &visit, &message)
                     : RETAINED_AGAIN;
        if (step == RETAINED_AGAIN) {
            again_add(worker, session->sink);
            return;
        }
        if (step == RETAINED_END) {
            replay_free(session, replay);
            visit.nodes -= visit.nodes < REPLAY_END_NODES ? visit.nodes : REPLAY_END_NODES;
            continue;
        }
        messages--;
        if (!replay_give_take(worker, session, replay->subscriber, message))
            return;
    }
}
