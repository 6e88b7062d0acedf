/*
 * worker.c: see worker.h.
 */
#include "conn/worker.h"

#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"
#include "conn/admit.h"
#include "conn/again.h"
#include "conn/attach.h"
#include "conn/input.h"
#include "conn/connection.h"
#include "conn/give_up.h"
#include "conn/moving.h"
#include "conn/output.h"
#include "conn/pause.h"
#include "conn/publish.h"
#include "conn/replay.h"
#include "conn/report.h"
#include "conn/review.h"
#include "conn/run.h"
#include "conn/send.h"
#include "conn/spread.h"
#include "conn/subscribe.h"
#include "runtime/log.h"
#include "runtime/pages.h"
#include "session/session.h"

#define DRAIN_PER_TURN 1024u
#define CHUNKS_KEPT 2048u     /* what one spread needs; pool_trim() sees to the rest */
#define CHUNKS_KEPT_SHORT 64u /* while memory is short */
#define MATCHES_KEPT 65536u
#define MATCHES_KEPT_TICKS 20u /* more than that is kept for so long after it was needed */
#define RETAINED_SWEEP_NODES 4096u
#define TRIM_NS 1000000u /* a tick, to give memory back */

/* How much of each connection may wait in memory. */
static void set_buffer_bytes(struct worker *worker, bool is_short)
{
    worker->read_bytes = is_short ? READ_SHORT_BYTES : REACTOR_READ_BYTES;
    worker->output_high_bytes = is_short ? OUTPUT_HIGH_SHORT_BYTES : OUTPUT_HIGH_BYTES;
    worker->output_flush_bytes = is_short ? OUTPUT_FLUSH_SHORT_BYTES : OUTPUT_FLUSH_BYTES;
    worker->chunks.keep_max = is_short ? CHUNKS_KEPT_SHORT : CHUNKS_KEPT;
}

/* Publishers wait from 15/16 of memory_limit on, or while a mailbox is full. */
static bool feel_pressure(struct worker *worker)
{
    uint64_t limit = broker_config(worker->broker)->memory_limit_bytes;
    bool is_short = limit && mem_used_bytes() > limit / 16 * 15;
    set_buffer_bytes(worker, is_short);
    return is_short || mailbox_is_congested(worker->reactor);
}

/* Every retain_expiry_interval, as it is now, one pass over all retained messages, a slice each
 * tick. Reactor 0 does it. */
static void sweep_retained(struct worker *worker)
{
    const struct config *config = broker_config(worker->broker);
    uint32_t now = worker->reactor->now_tick;
    if (worker->swept_tick == 0)
        worker->swept_tick = now;
    if (worker->reactor->index != 0 || !config->retain_expiry_s)
        return;
    if (worker->sweep_slices == 0) {
        struct retained_stats stats;
        if (now - worker->swept_tick < config->retain_expiry_s * 2)
            return;
        retained_stats(worker->broker->retained, &stats);
        worker->swept_tick = now;
        worker->sweep_slices = (uint32_t)(stats.messages / RETAINED_SWEEP_NODES) + 1;
    }
    worker->sweep_slices--;
    retained_sweep(worker->broker->retained, worker->reactor->epoch, now, RETAINED_SWEEP_NODES);
}

/* Also takes up what a reload changed about them. */
static void worker_tick_listeners(struct worker *worker)
{
    bool is_nodelay = broker_config(worker->broker)->set_tcp_nodelay;
    for (uint32_t i = 0; i < worker->listener_count; i++) {
        listener_tick(&worker->listeners[i], worker->reactor);
        listener_set_nodelay(&worker->listeners[i], is_nodelay);
    }
}

/* Gives memory of free pages back. */
static void trim_pages(void)
{
    uint64_t end_ns = clock_real_ns() + TRIM_NS;
    pages_trim_begin();
    while (pages_trim() && clock_real_ns() < end_ns)
        ;
}

/* What one reactor does for all. */
static void tick_of_all(struct worker *worker)
{
    trim_pages();
    report_memory(worker);
    if (worker->reactor->now_tick % 20 == 0)
        log_report_held_back(false);
}

static void worker_tick(struct reactor *reactor)
{
    struct worker *worker = worker_of(reactor);
    worker_tick_listeners(worker);
    if (reactor->group->has_private_descriptors)
        log_follow();
    pause_release(worker); /* also when still pressed: nobody waits much longer than a tick */
    sweep_retained(worker);
    review_tick(worker);
    pool_trim(&worker->chunks);
    pool_trim(&worker->references);
    if (worker->matches.cap > MATCHES_KEPT &&
        reactor->now_tick - worker->matches_wide_tick > MATCHES_KEPT_TICKS)
        index_matches_fini(&worker->matches);
    if (reactor->index == 0)
        tick_of_all(worker);
    if (worker->broker->hooks.tick)
        worker->broker->hooks.tick(worker);
    if (atomic_load_explicit(&worker->broker->is_draining, memory_order_acquire))
        reactor->has_more_work = true;
}

static void drain_step(struct worker *worker)
{
    for (uint32_t i = 0; i < worker->listener_count; i++)
        listener_disarm(&worker->listeners[i], worker->reactor);
    if (worker_drain(worker, DRAIN_PER_TURN) && !worker->is_stopped) {
        worker->is_stopped = true;
        atomic_fetch_add(&worker->broker->workers_drained, 1);
    }
    if (!worker->is_stopped)
        worker->reactor->has_more_work = true;
}

static void worker_flush(struct reactor *reactor)
{
    struct worker *worker = worker_of(reactor);
    worker->spread_count = 0;
    admit_turn(worker);
    if (UNLIKELY(atomic_load_explicit(&worker->broker->is_draining, memory_order_acquire)))
        drain_step(worker);
    if (UNLIKELY(worker->moves_unposted))
        moving_post_again(worker);
    bool was_pressed = worker->is_pressed;
    worker->is_pressed = feel_pressure(worker);
    if (was_pressed && !worker->is_pressed)
        pause_release(worker);
    output_flush_all(worker);
}

static void worker_reap(struct reactor *reactor)
{
    connection_reap_all(worker_of(reactor));
}

/* With a descriptor table of our own: the listening sockets of others are not for us to keep open. */
static void worker_start(struct reactor *reactor)
{
    struct broker *broker = worker_of(reactor)->broker;
    if (!reactor->group->has_private_descriptors)
        return;
    for (uint32_t i = 0; i < broker->group->count; i++) {
        const struct worker *other = &broker->workers[i];
        for (uint32_t l = 0; i != reactor->index && l < other->listener_count; l++) {
            if (other->listeners[l].io.fd >= 0)
                close(other->listeners[l].io.fd);
        }
    }
    listener_own_spares(reactor);
}

const struct reactor_hooks worker_hooks = {
    .on_start = worker_start,
    .on_tick = worker_tick,
    .on_flush = worker_flush,
    .on_reap = worker_reap,
};

void worker_install(struct reactor_group *group)
{
    group->io_handlers[IO_LISTENER] = listener_ready;
    group->io_handlers[IO_CONNECTION] = connection_ready;
    group->mail_handlers[MAIL_DELIVER] = publish_mail_deliver;
    group->mail_handlers[MAIL_RUN] = run_mail;
    group->mail_handlers[MAIL_TAKEOVER] = attach_mail_takeover;
    group->mail_handlers[MAIL_HANDOVER] = attach_mail_handover;
    group->mail_handlers[MAIL_ARRIVE] = attach_mail_arrive;
    group->mail_handlers[MAIL_REVIEW] = review_mail;
}

void worker_init(struct worker *worker, struct broker *broker, struct reactor *reactor)
{
    worker->reactor = reactor;
    worker->broker = broker;
    reactor->app = worker;
    worker->dirty_last = &worker->dirty_first;
    moving_init(worker);
    spread_init(worker);
    attach_init_wills(worker);
    list_init(&worker->giving_up.sessions);
    slab_init(&worker->connections, sizeof(struct connection));
    slab_init(&worker->offline, sizeof(struct offline));
    worker->keepalive = timing_heap_new(&worker->connections, offsetof(struct connection, timer));
    worker->offline_heap = timing_heap_new(&worker->offline, offsetof(struct offline, timer));
    BUG_ON(!worker->keepalive || !worker->offline_heap);
    pool_init(&worker->chunks, CHUNK_BYTES, CHUNKS_KEPT);
    pool_init(&worker->references, sizeof(struct chunk), CHUNKS_KEPT);
    set_buffer_bytes(worker, false);
    worker->forms = form_cache_new();
    reactor_heap_add(reactor, worker->keepalive, connection_timer);
    reactor_heap_add(reactor, worker->offline_heap, attach_offline_timer);
}

/* Says good-bye, and where else to go if there is such a place. */
static void drain_connection(struct worker *worker, struct connection *connection)
{
    bool has_other = broker_config(worker->broker)->server_reference;
    uint8_t code = has_other ? REASON_USE_ANOTHER_SERVER : close_reason_code(CLOSE_SHUTDOWN);
    connection_close(worker, connection, CLOSE_SHUTDOWN, code, NULL);
}

bool worker_drain(struct worker *worker, uint32_t budget)
{
    uint32_t handle = worker->drain_handle;
    while (budget-- && (handle = slab_next(&worker->connections, handle)) != 0) {
        struct connection *connection = slab_at(&worker->connections, handle);
        if (connection->state != CONNECTION_CLOSING)
            drain_connection(worker, connection);
    }
    worker->drain_handle = handle;
    return worker->connections.used == 0 && list_is_empty(&worker->reactor->jobs);
}

struct session *worker_own_session(struct worker *worker, uint32_t slot_id)
{
    struct slot *slot = slot_of(&worker->broker->slots, slot_id);
    uint32_t generation = atomic_load_explicit(&slot->generation, memory_order_acquire);
    if (!(generation & 1) ||
        atomic_load_explicit(&slot->owner, memory_order_acquire) != worker->reactor->index)
        return NULL;
    if (atomic_load_explicit(&slot->is_moving, memory_order_acquire))
        return NULL;
    struct session *session = slot->object;
    bool is_there = (session->flags & (SESSION_IN_TABLE | SESSION_IS_ENDING)) == SESSION_IN_TABLE;
    return is_there ? session : NULL;
}

void worker_free_session(struct worker *worker, struct session *session)
{
    session->sink = NULL;
    give_up_cancel(session);
    while (session->subscriptions.count) {
        struct subscription *items = subscriptions_items(&session->subscriptions);
        subscribe_remove(worker, session, &items[session->subscriptions.count - 1]);
    }
    replay_stop_all(session, UINT32_MAX);
    session_free(session);
}

/* Ends what is left, after the last turn: sessions' memory is the server's to free. */
void worker_fini(struct worker *worker)
{
    for (uint32_t handle = 0; (handle = slab_next(&worker->connections, handle)) != 0;) {
        struct connection *connection = slab_at(&worker->connections, handle);
        connection->state = CONNECTION_CLOSING;
        connection->session = NULL; /* freed before */
        connection->is_dirty = false;
        output_clear(worker, connection);
        attach_free_parts(worker, connection);
        mem_free(connection->tail);
    }
    moving_fini(worker);
    attach_forget_due_wills(worker);
    timing_heap_free(worker->keepalive);
    timing_heap_free(worker->offline_heap);
    slab_fini(&worker->connections);
    slab_fini(&worker->offline);
    pool_fini(&worker->chunks);
    pool_fini(&worker->references);
    form_cache_free(worker->forms);
    index_matches_fini(&worker->matches);
    index_recent_fini(&worker->recent);
    mem_free(worker->topic_scratch.bytes);
    mem_free(worker->filter_scratch.bytes);
    again_free(worker);
    admit_fini(worker);
    pause_fini(worker);
}
