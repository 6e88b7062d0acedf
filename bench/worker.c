/*
 * worker.c: a thread of the load tool: its clients, its epoll, its turn.
 *
 *   a turn:  orders -> connections due -> the scenario's turn -> write -> wait -> read -> write
 *
 * With several workers each has a descriptor table of its own, unshare(CLONE_FILES): the limit of
 * descriptors counts per table, so N threads hold N times as many connections. Where that is forbidden
 * they share one, if it is large enough.
 *
 * Owner of everything here: the worker's thread, once it runs.
 */
#include <errno.h>
#include <limits.h>
#include <linux/close_range.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "bench/bench.h"

#define WITNESSES_FIRST_MAX 100 /* pairs, of 100 messages a second each */

#define WORKER_EVENTS 512
#define WORKER_OPENS_PER_TURN 256
#define WORKER_WAIT_NS (20 * 1000000ull)
#define WORKER_AGE_NS (200 * 1000000ull)
#define READ_BYTES (256 * 1024u)
#define READ_BYTES_OF_MANY (64 * 1024u) /* with many workers */
#define LENT_BYTES 512u                 /* of a new buffer */
#define SPARE_MAX 64u                   /* buffers kept */
#define SPARE_BYTES_MAX 65536u          /* larger ones are not */

/* ---- buffers ---- */

struct buf worker_lend(struct worker *w)
{
    struct buf b = {0};
    if (w->spare_count)
        return w->spare[--w->spare_count];
    buf_reserve(&b, LENT_BYTES);
    return b;
}

void worker_give_back(struct worker *w, struct buf *b)
{
    if (!b->ptr)
        return;
    b->len = 0;
    if (w->spare_count < SPARE_MAX && b->cap <= SPARE_BYTES_MAX)
        w->spare[w->spare_count++] = *b;
    else
        buf_free(b);
    *b = (struct buf){0};
}

void worker_read_room(struct worker *w, size_t held)
{
    if (LIKELY(held * 2 < w->read_cap))
        return;
    free(w->read_buf);
    w->read_cap = held * 4;
    w->read_buf = bench_zalloc(1, w->read_cap);
}

/* ---- opening ---- */

void worker_queue(struct worker *w, struct client *c)
{
    w->queue[(w->queue_first + w->queue_count++) % w->client_count] = (uint32_t)(c - w->clients);
}

static uint32_t worker_opening_max(const struct worker *w)
{
    const struct options *o = &w->load->options;
    bool all = o->opening == 0 || w->opens.per_second > 0 ||
               (w->phase > PHASE_CONNECT && w->does->returns_at_once);
    return all ? UINT32_MAX : o->opening;
}

/* Whether the next connection is due; *since_ns is when it was to begin. */
static bool worker_open_due(struct worker *w, uint64_t *since_ns)
{
    if (w->opens.per_second == 0) {
        *since_ns = w->now_ns;
        return true;
    }
    if (w->opens.start_ns == 0)
        w->opens.start_ns = w->now_ns;
    uint64_t due = pace_due_ns(&w->opens);
    if (due > w->now_ns) {
        worker_wake(w, due);
        return false;
    }
    *since_ns = due;
    w->opens.count++;
    worker_record_late(w, due);
    return true;
}

bool worker_is_opening(const struct worker *w)
{
    return w->phase < PHASE_DRAIN || (w->phase == PHASE_DRAIN && count_get(&w->counts.unsent));
}

/* What was tried before is not waiting for its turn in the pace: it had it. */
static void worker_open_queued(struct worker *w)
{
    uint32_t max = worker_opening_max(w);
    if (!worker_is_opening(w))
        return;
    if (w->now_ns < w->paused_ns) {
        worker_wake(w, w->paused_ns);
        return;
    }
    uint64_t end_ns = worker_end_ns(w);
    for (uint32_t i = 0; w->queue_count && w->opening < max; i++) {
        struct client *c = &w->clients[w->queue[w->queue_first]];
        if (i == WORKER_OPENS_PER_TURN)
            worker_wake(w, w->now_ns);
        bool is_over = !c->since_ns && w->phase == PHASE_DRAIN && !pace_behind(&w->opens, end_ns);
        if (i == WORKER_OPENS_PER_TURN ||
            (!c->since_ns && !is_over && !worker_open_due(w, &c->since_ns)))
            return;
        w->queue_first = (w->queue_first + 1) % w->client_count;
        w->queue_count--;
        if (!is_over)
            client_open(c);
    }
}

/* Those that wait too long for a connection are told so. */
static void worker_age(struct worker *w)
{
    uint64_t limit_ms = (uint64_t)(w->load->options.timeout_s * 1000);
    uint64_t now_ms = (w->now_ns - w->load->start_ns) / 1000000;
    if (w->now_ns - w->aged_ns < WORKER_AGE_NS)
        return;
    w->aged_ns = w->now_ns;
    for (uint32_t i = 0; w->opening && i < w->client_count; i++) {
        struct client *c = &w->clients[i];
        bool opening = c->state != CLIENT_DOWN && c->state != CLIENT_READY;
        if (opening && now_ms - c->opened_ms > limit_ms)
            client_time_out(c);
    }
}

/* ---- a turn ---- */

void worker_wake(struct worker *w, uint64_t at_ns)
{
    if (at_ns < w->wake_ns)
        w->wake_ns = at_ns;
}

uint64_t worker_end_ns(const struct worker *w)
{
    uint64_t end_ns = 0;
    if (w->phase < PHASE_DRAIN)
        return UINT64_MAX;
    for (int i = 0; i < STEP_PHASES; i++)
        if (w->spans[i].to_ns > end_ns)
            end_ns = w->spans[i].to_ns;
    return end_ns;
}

/* The phase of the step that was measured at that time; -1: none. */
static int worker_step_at(const struct worker *w, uint64_t at_ns)
{
    if (w->phase > PHASE_DRAIN)
        return -1;
    int i = w->phase < STEP_PHASES ? (int)w->phase : STEP_PHASES - 1;
    while (i >= 0 && (at_ns < w->spans[i].from_ns || at_ns >= w->spans[i].to_ns))
        i--;
    return i;
}

void worker_record(struct worker *w, uint64_t from_ns)
{
    int i = worker_step_at(w, from_ns);
    if (i >= 0)
        histogram_add(&w->latency[i], w->now_ns > from_ns ? w->now_ns - from_ns : 0);
}

void worker_record_late(struct worker *w, uint64_t due_ns)
{
    if (worker_step_at(w, due_ns) >= 0)
        histogram_add(&w->late, w->now_ns - due_ns);
}

static void worker_tell_unsent(struct worker *w)
{
    if (w->phase == PHASE_DRAIN && w->does->behind)
        atomic_store_explicit(&w->counts.unsent, w->does->behind(w), memory_order_relaxed);
}

/* Writes what every marked client has. */
static void worker_flush(struct worker *w)
{
    struct client *c = w->dirty;
    w->dirty = NULL;
    if (c)
        w->now_ns = bench_clock_ns();
    while (c) {
        struct client *next = c->next_dirty;
        c->dirty = false;
        if (w->does->fill && c->state == CLIENT_READY)
            w->does->fill(c);
        if (c->state != CLIENT_DOWN)
            client_write(c);
        c = next;
    }
}

/* The kernel may be too old for a wait in nanoseconds; then one in milliseconds has to do. */
static int worker_wait(struct worker *w, struct epoll_event *events)
{
    uint64_t now = bench_clock_ns(), wait_ns = w->wake_ns > now ? w->wake_ns - now : 0;
    struct timespec ts = {.tv_nsec = (long)wait_ns};
    static _Atomic bool is_old;
    int count = -1;
    if (!atomic_load_explicit(&is_old, memory_order_relaxed)) {
        count = epoll_pwait2(w->epoll, events, WORKER_EVENTS, &ts, NULL);
        if (count < 0 && errno == ENOSYS)
            atomic_store(&is_old, true);
    }
    if (atomic_load_explicit(&is_old, memory_order_relaxed))
        count = epoll_wait(w->epoll, events, WORKER_EVENTS, (int)((wait_ns + 999999) / 1000000));
    return count;
}

/* Takes the main thread's order; main may read what the last one had written once it is seen. */
static void worker_obey(struct worker *w)
{
    uint32_t order = atomic_load_explicit(&w->load->order, memory_order_acquire);
    if (order == atomic_load_explicit(&w->seen, memory_order_relaxed))
        return;
    enum phase phase = (enum phase)(order & 0xff);
    memcpy(w->spans, w->load->spans, sizeof w->spans);
    if (phase != w->phase) {
        w->phase = phase;
        if (w->does->begin)
            w->does->begin(w);
        worker_tell_unsent(w);
    }
    atomic_store_explicit(&w->seen, order, memory_order_release);
}

static void worker_turn(struct worker *w, struct epoll_event *events)
{
    struct timespec gather = {.tv_nsec = w->load->options.gather_us * 1000l};
    w->now_ns = bench_clock_ns();
    w->wake_ns = w->now_ns + WORKER_WAIT_NS;
    worker_obey(w);
    worker_open_queued(w);
    worker_age(w);
    if (w->does->turn)
        w->does->turn(w);
    worker_tell_unsent(w);
    worker_flush(w);
    if (gather.tv_nsec && w->phase == PHASE_RUN)
        nanosleep(&gather, NULL);
    int count = worker_wait(w, events);
    w->now_ns = bench_clock_ns();
    worker_obey(w); /* before what others have sent since: it may be of a step that has begun */
    for (int i = 0; i < count; i++)
        client_event(events[i].data.ptr, events[i].events);
    worker_flush(w);
}

/* ---- life ---- */

/* unshare() is forbidden in many containers, close_range() is not. Of unshare: errno. */
static bool worker_leave_table(void)
{
#ifdef __SANITIZE_THREAD__
    return true; /* it knows one table only: equal numbers of different threads would be a race */
#else
    if (unshare(CLONE_FILES) == 0)
        return true;
    int error = errno;
    bool has_left = close_range(UINT_MAX, UINT_MAX, CLOSE_RANGE_UNSHARE) == 0;
    errno = error;
    return has_left;
#endif
}

static void worker_own_descriptors(const struct worker *w)
{
    if (w->load->worker_count > 1 && !worker_leave_table() && !w->load->fits_one_table)
        bench_fail(
            "a thread cannot have a descriptor table of its own: unshare(CLONE_FILES): %s; and"
            " %u connections are too many for one. Allow unshare or close_range in the"
            " container's seccomp profile, or raise the limit (`ulimit -Hn`) to %u",
            strerror(errno), w->load->client_count,
            w->load->client_count + w->load->worker_count * WORKER_DESCRIPTORS);
}

/* Before all else on its core, if the kernel allows it: else witnesses measure how long they wait for
   the threads that make the load. Not with so many that others would starve. */
static bool worker_goes_first(const struct worker *w)
{
    if (!w->witness || w->load->options.witnesses > WITNESSES_FIRST_MAX)
        return false;
    struct sched_param first = {.sched_priority = sched_get_priority_min(SCHED_FIFO)};
    return pthread_setschedparam(pthread_self(), SCHED_FIFO, &first) == 0;
}

void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct epoll_event events[WORKER_EVENTS];
    worker_own_descriptors(w);
    w->goes_first = worker_goes_first(w);
    prctl(PR_SET_TIMERSLACK, 1);
    w->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (w->epoll < 0)
        bench_fail("epoll_create1: %s", strerror(errno));
    while (w->phase != PHASE_QUIT)
        worker_turn(w, events);
    for (uint32_t i = 0; i < w->client_count; i++)
        client_close(&w->clients[i]);
    close(w->epoll);
    return NULL;
}

/* Neighbours in the broker's tables must not be neighbours in a pair. */
static void worker_shuffle(struct worker *w)
{
    w->queue = bench_zalloc(w->client_count, sizeof *w->queue);
    for (uint32_t i = 0; i < w->client_count; i++)
        w->queue[i] = i;
    for (uint32_t i = w->client_count; i > 1; i--) {
        uint32_t j = (uint32_t)random() % i, other = w->queue[j];
        w->queue[j] = w->queue[i - 1];
        w->queue[i - 1] = other;
    }
    w->queue_count = w->client_count;
}

void worker_plan(struct worker *w)
{
    w->read_cap = w->load->worker_count > 8 ? READ_BYTES_OF_MANY : READ_BYTES;
    w->read_buf = bench_zalloc(1, w->read_cap);
    w->spare = bench_zalloc(SPARE_MAX, sizeof *w->spare);
    w->does->plan(w);
    for (uint32_t i = 0; i < w->client_count; i++) {
        w->clients[i].worker = w;
        w->clients[i].fd = -1;
    }
    worker_shuffle(w);
}
