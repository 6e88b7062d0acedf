/*
 * moving.c: see moving.h and the drawing in attach.h.
 */
#include "conn/moving.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/mem.h"
#include "conn/attach.h"
#include "conn/authenticate.h"
#include "conn/deliver.h"
#include "conn/give_up.h"
#include "conn/publish.h"
#include "conn/spread.h"
#include "session/session.h"

/* One request for a session. Made by the reactor that asks, passed on by pointer in MAIL_TAKEOVER
 * and MAIL_HANDOVER, and freed when it comes home in MAIL_ARRIVE: from the first step on nothing
 * needs memory that might not be there. */
struct move {
    struct epoch_item item; /* first member: the grace period before the session leaves */
    struct list link;       /* in the asking worker's list of moves */
    struct move *next;      /* in a worker's list of moves that it could not post, or that wait */
    uint16_t next_to;       /* where it is to be posted, */
    enum mail_type next_type;
    struct worker *worker; /* where it is now */
    uint32_t slot, generation;
    struct connection_ref connection; /* handle 0: nobody, the session is to be ended */
    struct session *session;          /* NULL in MAIL_ARRIVE: it is gone */
    uint16_t to;                      /* the reactor that asks */
};

/* What waits here for one session that is on its way, or that is here with a connection which is still
   to be heard; there only while something does. */
struct coming {
    struct table_node by_slot; /* first member */
    struct list link;          /* in the worker's list of them */
    uint32_t slot;
    struct stash *stash_first, **stash_last;
    struct moves moves; /* requests for it, by whomever */
};

/* A publication for it. */
struct stash {
    struct stash *next;
    struct delivery_wish wish;
    struct publication publication; /* owns a reference */
    struct delivery_ids *ids;
};

/* Sends a move on, in the next turn when there is no memory for mail in this one. */
static void post_move(struct worker *worker, uint16_t to, enum mail_type type, struct move *move)
{
    struct move **mail = mailbox_post(worker->reactor, to, type, sizeof(*mail));
    if (LIKELY(mail)) {
        *mail = move;
        return;
    }
    move->next_to = to;
    move->next_type = type;
    move->next = worker->moves_unposted;
    worker->moves_unposted = move;
    worker->reactor->has_more_work = true;
}

void moving_post_again(struct worker *worker)
{
    struct move *move = worker->moves_unposted;
    worker->moves_unposted = NULL;
    while (move) {
        struct move *next = move->next;
        post_move(worker, move->next_to, move->next_type, move);
        move = next;
    }
}

void moving_delay(struct moves *delayed, struct move *move)
{
    move->next = NULL;
    *(delayed->first ? &delayed->last->next : &delayed->first) = move;
    delayed->last = move;
}

void moving_post_delayed(struct worker *worker, struct moves *delayed)
{
    struct move *move = delayed->first;
    *delayed = (struct moves){0};
    while (move) {
        struct move *next = move->next;
        post_move(worker, worker->reactor->index, MAIL_TAKEOVER, move);
        move = next;
    }
}

static struct coming *coming_find(struct worker *worker, uint32_t slot)
{
    struct table_node *node = table_find(&worker->coming_by_slot, hash_number(slot));
    while (node && ((struct coming *)node)->slot != slot)
        node = table_find_next(node);
    return (struct coming *)node;
}

static bool has_moves(struct worker *worker, uint32_t slot)
{
    struct coming *coming = coming_find(worker, slot);
    return coming && coming->moves.first;
}

struct move *moving_new(struct worker *worker)
{
    struct move *move = mem_zalloc(sizeof(*move));
    if (!move)
        return NULL;
    move->to = worker->reactor->index;
    list_push_back(&worker->moves, &move->link);
    return move;
}

void moving_free(struct move *move)
{
    list_unlink(&move->link);
    mem_free(move);
}

bool moving_is_delayed(struct worker *worker, const struct session_ref *ref)
{
    struct slot *slot = slot_of(&worker->broker->slots, ref->slot);
    if (ref->owner != worker->reactor->index || atomic_load(&slot->generation) != ref->generation)
        return false;
    const struct session *session = slot->object;
    const struct connection *connection = session->sink;
    return has_moves(worker, ref->slot) || spread_has_moves(worker, session) ||
           (connection && connection->hold & HOLD_LEAVING);
}

static void fence_passed(struct epoch_item *item, void *ctx)
{
    struct move *move = (struct move *)item;
    struct worker *worker = move->worker;
    (void)ctx;
    post_move(worker, worker->reactor->index, MAIL_HANDOVER, move);
    worker->reactor->has_more_work = true;
}

static void begin_move(struct worker *worker, struct session *session, struct move *move)
{
    struct slot *slot = slot_of(&worker->broker->slots, session->slot);
    attach_go_online(worker, session); /* its timers stay behind */
    move->session = session;
    move->worker = worker;
    atomic_store_explicit(&slot->is_moving, MOVING_FROM(worker->reactor->index),
                          memory_order_release);
    atomic_store_explicit(&slot->owner, move->to, memory_order_release);
    epoch_defer(worker->reactor->epoch, &move->item, fence_passed);
}

/* NULL: no memory. */
static struct coming *coming_make(struct worker *worker, uint32_t slot)
{
    struct coming *coming = coming_find(worker, slot);
    if (coming)
        return coming;
    coming = mem_zalloc(sizeof(*coming));
    if (!coming)
        return NULL;
    coming->slot = slot;
    coming->stash_last = &coming->stash_first;
    list_push_back(&worker->coming, &coming->link);
    table_add(&worker->coming_by_slot, &coming->by_slot, hash_number(slot));
    return coming;
}

/* The session of the move is on its way here, or its connection is to be heard: the move waits for it,
   without memory by asking every turn. */
static void wait_for_session(struct worker *worker, struct move *move)
{
    struct coming *coming = coming_make(worker, move->slot);
    if (!coming) {
        post_move(worker, worker->reactor->index, MAIL_TAKEOVER, move);
        return;
    }
    moving_delay(&coming->moves, move);
}

void moving_request_take(struct worker *worker, struct move *move, struct connection *connection,
                         const struct session_ref *ref)
{
    move->slot = ref->slot;
    move->generation = ref->generation;
    if (connection)
        move->connection = (struct connection_ref){connection->handle, connection->generation};
    if (!connection || !moving_is_delayed(worker, ref)) {
        post_move(worker, ref->owner, MAIL_TAKEOVER, move);
        return;
    }
    const struct session *session = slot_of(&worker->broker->slots, ref->slot)->object; /* ours */
    if (has_moves(worker, ref->slot) || !spread_has_moves(worker, session))
        wait_for_session(worker, move);
    else
        spread_delays_move(worker, session, move);
}

/* The session that a move asks for; NULL when it is not here, or ending. */
static struct session *session_of_move(struct worker *worker, const struct move *move)
{
    struct slot *slot = slot_of(&worker->broker->slots, move->slot);
    bool is_here =
        atomic_load_explicit(&slot->generation, memory_order_acquire) == move->generation &&
        atomic_load_explicit(&slot->owner, memory_order_acquire) == worker->reactor->index &&
        !atomic_load(&slot->is_moving);
    struct session *session = is_here ? slot->object : NULL;
    return session && !(session->flags & SESSION_IS_ENDING) ? session : NULL;
}

/* Whether its connection has sent something that comes before the move. Ends both if that says so. */
static bool must_wait(struct worker *worker, const struct move *move)
{
    struct session *session = session_of_move(worker, move);
    return session && session->sink && !attach_hear_before_takeover(worker, session->sink);
}

/* The session ends, or loses its connection and goes to who asks. */
static void take(struct worker *worker, struct move *move)
{
    struct session *session = session_of_move(worker, move);
    if (session && move->connection.handle == 0)
        session_end(worker, session);
    else if (session && session->sink)
        connection_close_plain(worker, session->sink, CLOSE_TAKEN_OVER); /* [MQTT-3.1.4-3] */
    bool is_leaving = session && !(session->flags & SESSION_IS_ENDING);
    if (is_leaving && spread_delays_move(worker, session, move))
        return;
    if (is_leaving)
        begin_move(worker, session, move);
    else
        post_move(worker, move->to, MAIL_ARRIVE, move);
}

static void receive_move(struct worker *worker, struct move *move)
{
    struct slot *slot = slot_of(&worker->broker->slots, move->slot);
    uint16_t owner = atomic_load_explicit(&slot->owner, memory_order_acquire);
    bool is_it = atomic_load_explicit(&slot->generation, memory_order_acquire) == move->generation;
    if (is_it && owner != worker->reactor->index)
        post_move(worker, owner, MAIL_TAKEOVER, move); /* it has moved on */
    else if (is_it && (atomic_load(&slot->is_moving) || has_moves(worker, move->slot) ||
                       must_wait(worker, move)))
        wait_for_session(worker, move);
    else
        take(worker, move);
}

void attach_mail_takeover(struct reactor *reactor, void *payload, uint32_t bytes)
{
    (void)bytes;
    receive_move(worker_of(reactor), *(struct move **)payload);
}

/* From here on what still comes for the session goes after it. */
void attach_mail_handover(struct reactor *reactor, void *payload, uint32_t bytes)
{
    struct worker *worker = worker_of(reactor);
    struct move *move = *(struct move **)payload;
    (void)bytes;
    atomic_store_explicit(&slot_of(&worker->broker->slots, move->slot)->is_moving, MOVING_SENT,
                          memory_order_release);
    post_move(worker, move->to, MAIL_ARRIVE, move);
}

void attach_stash(struct worker *worker, uint32_t slot, struct publication *publication,
                  const struct delivery_wish *wish)
{
    struct message *message = publication_message(publication);
    struct coming *coming = message ? coming_make(worker, slot) : NULL;
    struct stash *stash = coming ? mem_zalloc(sizeof(*stash)) : NULL;
    if (!stash) {
        metric_drop(worker_metrics(worker), DROP_MEMORY);
        return;
    }
    stash->wish = *wish;
    stash->publication = publication_of_message(message);
    stash->publication.expires_tick = publication->expires_tick;
    stash->publication.flags |= publication->flags & MESSAGE_HANDED_OVER;
    if (wish->ids) {
        size_t bytes = sizeof(*stash->ids) + wish->ids->count * sizeof(uint32_t);
        stash->ids = mem_alloc(bytes);
        if (stash->ids)
            memcpy(stash->ids, wish->ids, bytes);
        stash->wish.ids = stash->ids;
    }
    *coming->stash_last = stash;
    coming->stash_last = &stash->next;
}

static void stash_free(struct stash *stash)
{
    publication_fini(&stash->publication);
    mem_free(stash->ids);
    mem_free(stash);
}

static void coming_free_stash(struct coming *coming)
{
    while (coming->stash_first) {
        struct stash *stash = coming->stash_first;
        coming->stash_first = stash->next;
        stash_free(stash);
    }
    coming->stash_last = &coming->stash_first;
}

/* Forgets what waited; the moves are in the lists of who made them. */
static void coming_free(struct coming *coming)
{
    coming_free_stash(coming);
    list_unlink(&coming->link);
    mem_free(coming);
}

static void coming_end(struct worker *worker, struct coming *coming)
{
    table_remove(&worker->coming_by_slot, &coming->by_slot);
    coming_free(coming);
    if (worker->coming_by_slot.count == 0)
        table_fini(&worker->coming_by_slot);
}

/* What waits for one session: all of it in the order in which it came, or none of it yet. It stands in
   the table until then, so that who asks meanwhile comes behind. */
static bool due_run(struct reactor *reactor, struct job *job)
{
    struct worker *worker = worker_of(reactor);
    struct list *link = list_pop_front(&worker->due);
    (void)job;
    if (!link)
        return true;
    struct coming *coming = CONTAINER_OF(link, struct coming, link);
    list_push_back(&worker->coming, link);
    struct move *move = coming->moves.first;
    if (!move || !must_wait(worker, move)) {
        coming_end(worker, coming);
        while (move) {
            struct move *next = move->next;
            receive_move(worker, move);
            move = next;
        }
    }
    return list_is_empty(&worker->due);
}

void moving_go_on(struct worker *worker, const struct session *session)
{
    struct coming *coming = coming_find(worker, session->slot);
    if (!coming)
        return;
    list_unlink(&coming->link);
    list_push_back(&worker->due, &coming->link);
    worker->due_job.run = due_run;
    reactor_job_add(worker->reactor, &worker->due_job);
}

/* Delivers what came for the session while it was on its way, and goes on with who asked for it
   meanwhile. */
static void coming_arrived(struct worker *worker, struct session *session)
{
    struct coming *coming = coming_find(worker, session->slot);
    if (!coming)
        return;
    for (struct stash *stash = coming->stash_first; stash; stash = stash->next)
        publish_to_session(worker, session, &stash->publication, &stash->wish);
    coming_free_stash(coming);
    if (coming->moves.first)
        moving_go_on(worker, session);
    else
        coming_end(worker, coming);
}

/* Nobody waits for it any more. */
static void arrive_offline(struct worker *worker, struct session *session)
{
    authenticate_again(worker, session); /* a review may have missed it on its way */
    attach_go_offline(worker, session);
}

void attach_mail_arrive(struct reactor *reactor, void *payload, uint32_t bytes)
{
    struct worker *worker = worker_of(reactor);
    struct move *move = *(struct move **)payload;
    struct session *session = move->session;
    struct connection *connection =
        connection_find(worker, move->connection.handle, move->connection.generation);
    (void)bytes;
    moving_free(move);
    if (connection && connection->state != CONNECTION_WAITING)
        connection = NULL;
    if (session)
        atomic_store_explicit(&slot_of(&worker->broker->slots, session->slot)->is_moving, 0,
                              memory_order_release);
    if (connection)
        attach_arrived(worker, connection, session);
    else if (session)
        arrive_offline(worker, session);
    if (session)
        coming_arrived(worker, session);
    if (session && !connection)
        give_up_begin(worker,
                      session); /* nobody came for it: others may take its shared messages */
}

void moving_init(struct worker *worker)
{
    list_init(&worker->moves);
    list_init(&worker->coming);
    list_init(&worker->due);
}

void moving_fini(struct worker *worker)
{
    struct list *link;
    while ((link = list_pop_front(&worker->moves)) != NULL)
        mem_free(CONTAINER_OF(link, struct move, link));
    list_append_all(&worker->coming, &worker->due);
    while ((link = list_pop_front(&worker->coming)) != NULL)
        coming_free(CONTAINER_OF(link, struct coming, link));
    table_fini(&worker->coming_by_slot);
}
