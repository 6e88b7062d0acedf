/*
 * replay.c: see replay.h. A session's replays are a list, the newest first, worked off one after the other; each call
 * looks at a bounded number of topics and gives a bounded number of messages, so a "#" over a
 * million of them slows nobody else.
 */
#include "conn/replay.h"

#include "base/mem.h"
#include "conn/again.h"
#include "conn/deliver.h"
#include "conn/output.h"

#define REPLAY_NODES_PER_TURN 512u
#define REPLAY_MESSAGES_PER_TURN 128u
#define REPLAY_END_NODES 16u /* what a replay costs that finds nothing: a look into each shard */

struct replay {
    struct replay *next;
    struct retained_cursor *cursor;
    index_subscriber subscriber;
    uint32_t filter_bytes;
    uint8_t filter[];
};

static void replay_free(struct replay *replay)
{
    retained_cursor_free(replay->cursor);
    mem_free(replay);
}

enum err replay_start(struct session *session, struct slice filter, index_subscriber subscriber)
{
    struct replay *replay = mem_alloc(sizeof(*replay) + filter.len);
    struct retained_cursor *cursor = retained_cursor_new(filter);
    if (!replay || !cursor) {
        mem_free(replay);
        if (cursor)
            retained_cursor_free(cursor);
        return ERR_NOMEM;
    }
    *replay = (struct replay){.next = session->replays,
                              .cursor = cursor,
                              .subscriber = subscriber,
                              .filter_bytes = (uint32_t)filter.len};
    memcpy(replay->filter, filter.ptr, filter.len);
    session->replays = replay;
    return ERR_OK;
}

void replay_stop(struct session *session, struct slice filter)
{
    struct replay **at = &session->replays;
    while (*at) {
        struct replay *replay = *at;
        bool is_it =
            filter.len == 0 || slice_eq(filter, slice_of(replay->filter, replay->filter_bytes));
        if (!is_it) {
            at = &replay->next;
            continue;
        }
        *at = replay->next;
        replay_free(replay);
    }
}

/* Gives one message; false when the connection closed meanwhile. */
static bool replay_give(struct worker *worker, struct session *session, index_subscriber subscriber,
                        struct message *message)
{
    struct publication publication = publication_of_message(message);
    publication.flags |= MESSAGE_RETAIN;
    struct delivery_wish wish = {.subscriber = subscriber, .is_retained_replay = true};
    deliver_publication(worker, session, &publication, &wish);
    publication_fini(&publication);
    message_unref(message, 1);
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
    uint32_t nodes = REPLAY_NODES_PER_TURN, messages = REPLAY_MESSAGES_PER_TURN;
    while (session->replays && may_go_on(worker, session)) {
        struct replay *replay = session->replays;
        struct message *message;
        enum retained_step step =
            nodes && messages ? retained_cursor_next(worker->broker->retained, replay->cursor,
                                                     worker->reactor->now_tick, &nodes, &message)
                              : RETAINED_AGAIN;
        if (step == RETAINED_AGAIN) {
            again_add(worker, session->sink);
            return;
        }
        if (step == RETAINED_END) {
            session->replays = replay->next;
            replay_free(replay);
            nodes -= nodes < REPLAY_END_NODES ? nodes : REPLAY_END_NODES;
            continue;
        }
        messages--;
        if (!replay_give(worker, session, replay->subscriber, message))
            return;
    }
}
