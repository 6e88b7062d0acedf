/*
 * give_up.c: see give_up.h. First what is in flight, in its order, then the queue, through a cursor
 * that leaves everything else where it is.
 *
 * Cost: nothing for sessions without shared messages; else a look at each that is queued, and a
 * choice for each of a group that had somebody when it was last asked in this slice.
 */
#include "conn/give_up.h"

#include "base/mem.h"
#include "conn/publish.h"

#define GIVE_UP_LOOKS_PER_SLICE 512u
#define GIVE_UP_CHOICE_LOOKS 16u /* what it costs to choose a member and send */

struct give_up {
    struct list link; /* in the worker's list, while the session lives on */
    struct worker *worker;
    struct session *session;
    uint16_t *ids; /* in flight when it began, in order */
    uint32_t count, at;
    struct queue_cursor cursor;
    bool is_end;      /* the session ends */
    uint32_t refused; /* the group that had nobody; of this slice */
    uint32_t looks;   /* left of this slice */
};

static struct give_up *give_up_new(struct worker *worker, struct session *session, bool is_end)
{
    struct flight *flight = session->flight;
    struct give_up *give_up = mem_zalloc(sizeof(*give_up));
    if (!give_up)
        return NULL;
    list_init(&give_up->link);
    give_up->worker = worker;
    give_up->session = session;
    give_up->is_end = is_end;
    if (flight->inflight.shared)
        give_up->ids = inflight_in_order(&flight->inflight, &give_up->count);
    flight->give_up = give_up;
    return give_up;
}

void give_up_cancel(struct session *session)
{
    struct give_up *give_up = session->flight ? session->flight->give_up : NULL;
    if (!give_up)
        return;
    session->flight->give_up = NULL;
    list_unlink(&give_up->link);
    mem_free(give_up->ids);
    mem_free(give_up);
}

static bool has_shared(const struct session *session)
{
    return session->flight && session->flight->inflight.shared + session->flight->queue.shared;
}

/* Finds another member for a message. True when one got it. */
static bool hand_over(struct give_up *give_up, const struct delivery *delivery)
{
    struct worker *worker = give_up->worker;
    struct index_query query = {
        .reactor = worker->reactor->index,
        .share_policy = broker_config(worker->broker)->share_policy,
        .is_kept = deliver_is_kept(broker_config(worker->broker), delivery->message->qos),
        .only_ready = !give_up->is_end,
        .not_slot = give_up->session->slot,
    };
    struct index_match match;
    if (delivery->group == give_up->refused)
        return false;
    give_up->looks -= give_up->looks < GIVE_UP_CHOICE_LOOKS ? give_up->looks : GIVE_UP_CHOICE_LOOKS;
    if (!index_group_choose(worker->broker->index, delivery->group,
                            message_topic(delivery->message), &query, &match)) {
        give_up->refused = delivery->group;
        return false;
    }
    struct publication publication = publication_of_message(delivery->message);
    publication.flags |= MESSAGE_HANDED_OVER;
    publish_to_slot(worker, &publication, &match, 0);
    publication_fini(&publication);
    return true;
}

/* Whether the session has done with it: somebody else got it, or it is dropped with its session. */
static bool is_done_with(struct give_up *give_up, const struct delivery *delivery)
{
    if (delivery->group == 0)
        return false;
    bool is_handed_over = hand_over(give_up, delivery);
    if (!is_handed_over && !give_up->is_end)
        return false;
    if (!is_handed_over)
        metric_drop(worker_metrics(give_up->worker), DROP_SESSION_ENDED);
    deliver_count_stored(give_up->worker, delivery, -1);
    return true;
}

static void give_up_in_flight(struct give_up *give_up, uint16_t packet_id)
{
    struct inflight *inflight = &give_up->session->flight->inflight;
    struct inflight_entry *entry = inflight_find(inflight, packet_id);
    if (entry && inflight_is_shared(entry) && is_done_with(give_up, &entry->delivery))
        inflight_remove(inflight, entry);
}

/* The entry at the cursor; false at the end of the queue. */
static bool give_up_queued(struct give_up *give_up)
{
    struct queue *queue = &give_up->session->flight->queue;
    struct delivery *at = queue->shared ? queue_cursor_peek(queue, &give_up->cursor) : NULL;
    struct delivery taken;
    if (!at)
        return false;
    if (is_done_with(give_up, at)) {
        queue_cursor_take(queue, &give_up->cursor, &taken);
        delivery_fini(&taken);
    } else {
        queue_cursor_pass(&give_up->cursor);
    }
    return true;
}

/* True when it is at its end. */
static bool give_up_slice(struct give_up *give_up)
{
    give_up->refused = 0;
    for (give_up->looks = GIVE_UP_LOOKS_PER_SLICE; give_up->looks;
         give_up->looks -= give_up->looks > 0) {
        if (give_up->at < give_up->count)
            give_up_in_flight(give_up, give_up->ids[give_up->at++]);
        else if (!give_up_queued(give_up))
            return true;
    }
    return false;
}

static bool give_up_run(struct reactor *reactor, struct job *job)
{
    struct giving_up *giving_up = CONTAINER_OF(job, struct giving_up, job);
    struct list *link = list_pop_front(&giving_up->sessions);
    (void)reactor;
    if (link) {
        struct give_up *give_up = CONTAINER_OF(link, struct give_up, link);
        list_push_back(&giving_up->sessions, link);
        if (give_up_slice(give_up))
            give_up_cancel(give_up->session);
    }
    giving_up->is_running = !list_is_empty(&giving_up->sessions);
    return !giving_up->is_running;
}

void give_up_begin(struct worker *worker, struct session *session)
{
    struct giving_up *giving_up = &worker->giving_up;
    if (!has_shared(session) || session->flags & SESSION_IS_ENDING)
        return;
    struct give_up *give_up = give_up_new(worker, session, false);
    if (!give_up)
        return;
    list_push_back(&giving_up->sessions, &give_up->link);
    if (giving_up->is_running)
        return;
    giving_up->is_running = true;
    giving_up->job.run = give_up_run;
    reactor_job_add(worker->reactor, &giving_up->job);
}

bool give_up_add(struct worker *worker, struct session *session, struct publication *publication,
                 const struct delivery_wish *wish)
{
    return has_shared(session) && deliver_to_queue(worker, session, publication, wish);
}

bool give_up_at_end(struct worker *worker, struct session *session)
{
    struct give_up *give_up = session->flight->give_up;
    if (!give_up && has_shared(session))
        give_up = give_up_new(worker, session, true);
    if (give_up && !give_up_slice(give_up))
        return false;
    give_up_cancel(session);
    return true;
}
