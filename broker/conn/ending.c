/*
 * ending.c: sessions without a connection: their timers, their wills, and their end.
 *
 * A session ends in steps, none of which holds the reactor: out of the table at once; what it holds
 * is taken off in slices by a job, one ending session after the other; after a grace period nobody
 * can reach its slot any more, and memory and slot are given back.
 */
#include "base/assert.h"
#include "base/mem.h"
#include "conn/attach.h"
#include "conn/give_up.h"
#include "conn/publish.h"
#include "conn/replay.h"
#include "conn/report.h"
#include "conn/subscribe.h"
#include "mqtt/property.h"

#define UNSUBSCRIBES_PER_SLICE 256u
#define REPLAYS_PER_SLICE 256u
#define MESSAGES_PER_SLICE 1024u
#define TICKS_PER_S 2u
#define TICKS_AHEAD_MAX (0x7FFFFFFFu)

static uint32_t tick_after(struct worker *worker, uint64_t seconds)
{
    uint64_t ticks = seconds * TICKS_PER_S;
    return worker->reactor->now_tick +
           (uint32_t)(ticks > TICKS_AHEAD_MAX ? TICKS_AHEAD_MAX : ticks);
}

/* The expiry that holds: the client's, cut by persistent_client_expiration; MQTT_EXPIRY_NEVER:
 * never. */
static uint64_t expiry_in_force(struct worker *worker, const struct session *session)
{
    uint64_t most = broker_config(worker->broker)->persistent_client_expiration_s;
    if (most && most < session->expiry_s)
        return most;
    return session->expiry_s;
}

/* When its expiry is over; 0: never. */
static uint32_t expiry_end(struct worker *worker, const struct session *session)
{
    uint64_t expiry_s = expiry_in_force(worker, session);
    uint32_t gone_s = worker->reactor->now_s - session->changed_s;
    if (expiry_s == MQTT_EXPIRY_NEVER)
        return 0;
    return tick_after(worker, expiry_s > gone_s ? expiry_s - gone_s : 0) + 1;
}

static void offline_arm(struct worker *worker, struct session *session, struct offline *offline)
{
    uint32_t tick = offline->expiry_tick;
    if (offline->will_tick && (tick == 0 || offline->will_tick < tick))
        tick = offline->will_tick;
    if (tick && timing_heap_arm(worker->offline_heap, session->offline_handle, tick))
        session_end(worker, session); /* no memory to remember when it ends: it ends now */
}

void attach_go_offline(struct worker *worker, struct session *session)
{
    struct offline *offline = slab_alloc(&worker->offline, &session->offline_handle);
    if (!offline) {
        session->offline_handle = 0;
        session_end(worker, session);
        return;
    }
    offline->session = session;
    session_trim(session);
    uint32_t gone_s = worker->reactor->now_s - session->changed_s;
    offline->expiry_tick = expiry_end(worker, session);
    if (session->will) {
        uint32_t delay_s = session->will->delay_s;
        offline->will_tick = tick_after(worker, delay_s > gone_s ? delay_s - gone_s : 0) + 1;
    }
    offline_arm(worker, session, offline);
}

void attach_renew_expiry(struct worker *worker, struct session *session)
{
    if (session->sink || session->offline_handle == 0)
        return;
    struct offline *offline = slab_at(&worker->offline, session->offline_handle);
    uint32_t tick = expiry_end(worker, session);
    if (tick == offline->expiry_tick)
        return;
    offline->expiry_tick = tick;
    offline_arm(worker, session, offline);
}

void attach_go_online(struct worker *worker, struct session *session)
{
    give_up_cancel(session);
    if (session->offline_handle == 0)
        return;
    timing_heap_cancel(worker->offline_heap, session->offline_handle);
    slab_free(&worker->offline, session->offline_handle);
    session->offline_handle = 0;
}

void attach_offline_timer(void *reactor, uint32_t handle)
{
    struct worker *worker = worker_of(reactor);
    struct offline *offline = slab_at(&worker->offline, handle);
    struct session *session = offline->session;
    uint32_t now = worker->reactor->now_tick;
    if (offline->expiry_tick && offline->expiry_tick <= now) {
        metric_add(worker_metrics(worker), METRIC_SESSIONS_EXPIRED, 1);
        log_line(LOG_NOTICE_, "Session of client %.*s ended: expired, %u s after it left.",
                 SLICE_ARG(session_id(session)), worker->reactor->now_s - session->changed_s);
        session_end(worker, session);
        return;
    }
    if (offline->will_tick && offline->will_tick <= now) {
        offline->will_tick = 0;
        attach_publish_will(worker, session);
    }
    offline_arm(worker, session, offline);
}

/* A will on its way: published by a job, because wills are found in the middle of deliveries. */
struct due_will {
    struct due_will *next;
    struct will *will;
    uint64_t publisher;
};

void attach_publish_will(struct worker *worker, struct session *session)
{
    struct will *will = session->will;
    session->will = NULL; /* at most once [MQTT-3.1.2-10] */
    if (!will)
        return;
    struct due_will *due = mem_alloc(sizeof(*due));
    if (!due) {
        report_loss(worker, DROP_MEMORY, 1);
        will_free(will);
        return;
    }
    *due = (struct due_will){.will = will, .publisher = hash_bytes(session_id(session))};
    *worker->wills_last = due;
    worker->wills_last = &due->next;
    reactor_job_add(worker->reactor, &worker->wills_job);
}

static void publish_will(struct worker *worker, const struct due_will *due)
{
    struct message *message = due->will->message;
    struct publication publication = {
        .topic = message_topic(message),
        .properties = message_properties(message),
        .properties_forwarded_bytes = message->properties_bytes,
        .payload = message_payload(message),
        .qos = message->qos,
        .flags = message->flags,
        .publisher = due->publisher,
        .expires_tick = due->will->has_expiry ? expiry_tick(worker, due->will->expiry_s) : 0,
    };
    publish_message(worker, NULL, &publication);
    publication_fini(&publication);
}

/* One will a slice: when ten thousand clients vanish at once, the others have their turn in between.
   One that is still being spread to very many holds back the next: nobody else would. */
static bool wills_run(struct reactor *reactor, struct job *job)
{
    struct worker *worker = worker_of(reactor);
    struct due_will *due = worker->wills_first;
    (void)job;
    if (!due || worker->spreads_without_publisher)
        return true;
    worker->wills_first = due->next;
    if (!due->next)
        worker->wills_last = &worker->wills_first;
    publish_will(worker, due);
    will_free(due->will);
    mem_free(due);
    return false;
}

void attach_spread_is_over(struct worker *worker)
{
    worker->spreads_without_publisher--;
    if (worker->wills_first)
        reactor_job_add(worker->reactor, &worker->wills_job);
}

void attach_init_wills(struct worker *worker)
{
    worker->wills_last = &worker->wills_first;
    worker->wills_job.run = wills_run;
}

void attach_forget_due_wills(struct worker *worker)
{
    while (worker->wills_first) {
        struct due_will *due = worker->wills_first;
        worker->wills_first = due->next;
        will_free(due->will);
        mem_free(due);
    }
}

/* A session that nobody can reach any more, once a grace period is over. */
struct ended {
    struct epoch_item item; /* first member */
    struct slots *slots;
    struct session *session;
};

static void ended_free(struct epoch_item *item, void *ctx)
{
    struct ended *ended = (struct ended *)item;
    (void)ctx;
    slots_free(ended->slots, ended->session->slot);
    session_free(ended->session);
    mem_free(ended);
}

/* Messages that a session holds, and their bytes. */
struct held {
    uint64_t messages, bytes;
};

static struct held held_by(const struct flight *flight)
{
    const struct inflight *inflight = &flight->inflight;
    struct held held = {
        .messages = (uint64_t)flight->queue.count + flight->queue_qos0.count,
        .bytes = inflight->bytes + flight->queue.bytes + flight->queue_qos0.bytes,
    };
    for (uint32_t i = 0; inflight->entries && i <= inflight->mask; i++) {
        const struct inflight_entry *entry = &inflight->entries[i];
        held.messages += entry->state != INFLIGHT_FREE && entry->delivery.message;
    }
    return held;
}

/* Hands over what came by share groups, then drops and counts the rest; true when none is left. */
static bool ending_messages(struct worker *worker, struct session *session)
{
    struct flight *flight = session->flight;
    if (!flight)
        return true;
    if (!give_up_at_end(worker, session))
        return false;
    struct held before = held_by(flight);
    inflight_clear(&flight->inflight);
    bool is_done = queue_clear(&flight->queue, MESSAGES_PER_SLICE) &&
                   queue_clear(&flight->queue_qos0, MESSAGES_PER_SLICE);
    struct held after = held_by(flight);
    struct metrics *metrics = worker_metrics(worker);
    metric_add(metrics, METRIC_STORED_MESSAGES, after.messages - before.messages);
    metric_add(metrics, METRIC_STORED_BYTES, after.bytes - before.bytes);
    metric_drop_many(metrics, DROP_SESSION_ENDED, before.messages - after.messages);
    return is_done;
}

/* Takes a slice off what the session holds; true when nothing is left. */
static bool ending_slice(struct worker *worker, struct session *session)
{
    uint32_t budget = UNSUBSCRIBES_PER_SLICE;
    if (!ending_messages(worker, session) || !replay_stop_all(session, REPLAYS_PER_SLICE))
        return false;
    while (session->subscriptions.count && budget--) {
        struct subscription *items = subscriptions_items(&session->subscriptions);
        subscribe_remove(worker, session, &items[session->subscriptions.count - 1]);
    }
    return session->subscriptions.count == 0;
}

/* Works on the first of the worker's ending sessions. Without memory for the last step it is tried
 * again. */
static bool ending_run(struct reactor *reactor, struct job *job)
{
    struct worker *worker = worker_of(reactor);
    struct slots *slots = &worker->broker->slots;
    struct session *session = slot_of(slots, worker->ending_first)->object;
    (void)job;
    struct ended *ended = ending_slice(worker, session) ? mem_alloc(sizeof(*ended)) : NULL;
    if (!ended)
        return false;
    worker->ending_first = session->next_ending;
    session->next_ending = 0;
    ended->slots = slots;
    ended->session = session;
    epoch_defer(reactor->epoch, &ended->item, ended_free);
    return worker->ending_first == 0;
}

static void ending_add(struct worker *worker, struct session *session)
{
    if (worker->ending_first) {
        struct session *last = slot_of(&worker->broker->slots, worker->ending_last)->object;
        last->next_ending = session->slot;
    } else {
        worker->ending_first = session->slot;
    }
    worker->ending_last = session->slot;
    worker->ending_job.run = ending_run;
    reactor_job_add(worker->reactor, &worker->ending_job);
}

void session_end(struct worker *worker, struct session *session)
{
    if (session->flags & SESSION_IS_ENDING)
        return;
    session->flags |= SESSION_IS_ENDING;
    session_table_remove(worker->broker->sessions, session);
    metric_add(worker_metrics(worker), METRIC_SESSIONS, (uint64_t)-1);
    if (session->sink) {
        session->expiry_s = 1; /* detaching must not end it again */
        connection_close_plain(worker, session->sink, CLOSE_TAKEN_OVER);
    }
    attach_publish_will(worker, session); /* the session ends: so does the delay [MQTT-3.1.2-8] */
    attach_go_online(worker, session);
    session->flags |= SESSION_IS_ENDING;
    deliver_update_ready(worker, session);
    if (worker->broker->hooks.session_changed)
        worker->broker->hooks.session_changed(worker, session, true);
    ending_add(worker, session);
}
