/*
 * reactor.c: one thread, one epoll; see reactor.h for the turn and its budgets.
 *
 * Sleeping: the wait ends at the next tick at the latest, so timers need no descriptor. Before it
 * the reactor hands over its mail, says "asleep" in its inbox and looks once more (mailbox.c), and
 * says so to the epochs too, so that a sleeping reactor holds up nobody's memory.
 *
 *   mail handed over | inbox asleep, recheck | epoch asleep | epoll_wait | epoch awake | inbox
 * awake
 *
 * Stopping: a flag and one eventfd write for each reactor. All finish their last turn before the
 * first on_stop runs, so that there nobody else reads tables or posts mail any more.
 *
 * Invariants: now_ms never goes back within a turn; now_tick is never 0; no stage but on_flush and
 * the handlers calls the system, and only the wait blocks.
 * Threads: a reactor's own, but for reactor_group_*.
 * Cost of a turn with nothing to do: one epoll_wait, two reads of the clock, two exchanges.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"
#include "runtime/descriptor_table.h"
#include "runtime/reactor.h"

#define EVENTS_MAX 512    /* descriptors looked at in a turn, at most */
#define EVENTS_PER_LOOK 4 /* descriptors between two looks at the clock */
#define EVENTS_MIN EVENTS_PER_LOOK
#define LAST_READ_BUDGET_NS 4000000u /* what takes longer waits for another turn */
#define READ_BUDGET_NS 1000000u      /* of a turn: what is left over is read in the next */
#define TURN_LONG_NS 2000000u        /* a turn that took longer looks at fewer next time */
#define TURN_SHORT_NS 1000000u
#define MAIL_BUDGET_BYTES (256u * 1024) /* some thousand records: a millisecond or two */
#define TIMERS_BUDGET 1000u             /* objects of each heap */
#define JOBS_BUDGET_NS 50000u /* what others wait for: a replay must not double their latency */
#define EPOCH_BUDGET 1000u
#define CLOCK_TURNED_WAIT_MS 10
#define DEFERRED_WAIT_MS 2 /* memory waits for other reactors to go through a turn */

/* ---- the clock of tests ---- */

/* Shares the count of milliseconds in `path` with whoever turns the clock. Returns 0 or errno. */
static int clock_map(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno;
    void *mapped = MAP_FAILED;
    if (fstat(fd, &st) == 0 &&
        (st.st_size >= (off_t)sizeof(int64_t) || ftruncate(fd, sizeof(int64_t)) == 0))
        mapped = mmap(NULL, sizeof(int64_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    int error = mapped == MAP_FAILED ? errno : 0;
    close(fd);
    if (!error)
        clock_turned_ms = mapped;
    return error;
}

static bool clock_is_turned_by_file(void)
{
    const char *path = getenv("DUNLIN_TEST_CLOCK");
    if (!path || !*path)
        return false;
    int error = clock_map(path);
    if (error)
        fprintf(stderr, "dunlin: DUNLIN_TEST_CLOCK=%s: %s\n", path, strerror(error));
    return !error;
}

/* ---- the stages of a turn ---- */

static void reactor_read_clock(struct reactor *reactor)
{
    reactor->clock_ns = clock_real_ns();
    reactor->now_ms = clock_ms_at(reactor->clock_ns);
    reactor->now_s = (uint32_t)(reactor->now_ms / 1000);
    uint32_t tick = (uint32_t)(reactor->now_ms / TIMING_TICK_MS);
    reactor->now_tick = tick ? tick : 1;
}

/* How long the wait may be: not at all with work left, else until the next tick, counted from when
   the last turn ended: that was just now. */
static int reactor_wait_ms(const struct reactor *reactor, int wait_ms)
{
    if (reactor->has_more_work || !list_is_empty(&reactor->jobs) || mailbox_has_mail(reactor))
        return 0;
    int until_tick = (int)(TIMING_TICK_MS - clock_ms_at(reactor->clock_ns) % TIMING_TICK_MS);
    if (until_tick < wait_ms)
        wait_ms = until_tick;
    if (reactor->group->is_clock_turned && wait_ms > CLOCK_TURNED_WAIT_MS)
        wait_ms = CLOCK_TURNED_WAIT_MS;
    return reactor->has_deferred && wait_ms > DEFERRED_WAIT_MS ? DEFERRED_WAIT_MS : wait_ms;
}

/* Asks for what a descriptor belongs to before it is looked at: of many it is in no cache. An io is
   the first of what it is embedded in, and two cache lines are what most have (connection.h). */
static inline void reactor_fetch(const struct epoll_event *event)
{
    __builtin_prefetch(event->data.ptr, 1);
    __builtin_prefetch((const void *)(uintptr_t)(event->data.u64 + 64), 1);
}

static int reactor_poll(struct reactor *reactor, struct epoll_event *events, int wait_ms)
{
    int count = epoll_wait(reactor->epoll_fd, events, (int)reactor->events_max, wait_ms);
    BUG_ON(count < 0 && errno != EINTR);
    if (count > 0)
        reactor_fetch(&events[0]);
    return count < 0 ? 0 : count;
}

/* Sleeps until something happens, at most `wait_ms`; returns the events. */
static int reactor_wait(struct reactor *reactor, struct epoll_event *events, int wait_ms)
{
    wait_ms = reactor_wait_ms(reactor, wait_ms);
    if (wait_ms <= 0 || !mailbox_fall_asleep(reactor))
        return reactor_poll(reactor, events, 0);
    epoch_sleep(reactor->epoch);
    int count = reactor_poll(reactor, events, wait_ms);
    epoch_wake(reactor->epoch);
    mailbox_wake_up(reactor);
    return count;
}

static void reactor_drain_wake(struct reactor *reactor)
{
    uint64_t wakes;
    ssize_t got = read(reactor->inbox.wake_fd, &wakes, sizeof wakes);
    (void)got; /* its only purpose was to end the wait */
}

static void reactor_handle(struct reactor *reactor, const struct epoll_event *event)
{
    struct io *io = event->data.ptr;
    if (io)
        reactor->group->io_handlers[io->kind](reactor, io, event->events);
    else
        reactor_drain_wake(reactor);
}

/* The time for reading is over. What waits by level is reported again; edges are not. */
static void reactor_read_edges(struct reactor *reactor, const struct epoll_event *events, int count)
{
    for (int i = 0; i < count; i++) {
        const struct io *io = events[i].data.ptr;
        if (i + 1 < count)
            reactor_fetch(&events[i + 1]);
        if (io && (io->interest & IO_EDGE))
            reactor_handle(reactor, &events[i]);
    }
}

static void reactor_read(struct reactor *reactor, const struct epoll_event *events, int count)
{
    for (int i = 0; i < count; i++) {
        if (i + 1 < count)
            reactor_fetch(&events[i + 1]);
        reactor_handle(reactor, &events[i]);
        if (i % EVENTS_PER_LOOK == EVENTS_PER_LOOK - 1 &&
            clock_real_ns() > reactor->read_until_ns && i + 1 < count) {
            reactor->has_more_work = true;
            reactor->events_max = (uint32_t)i + 1 > EVENTS_MIN ? (uint32_t)i + 1 : EVENTS_MIN;
            reactor_read_edges(reactor, &events[i + 1], count - i - 1);
            return;
        }
    }
}

static void reactor_run_timers(struct reactor *reactor)
{
    const struct reactor_hooks *hooks = reactor->group->hooks;
    if (LIKELY(reactor->last_tick == reactor->now_tick && !reactor->has_due))
        return;
    if (reactor->last_tick != reactor->now_tick && hooks->on_tick)
        hooks->on_tick(reactor);
    reactor->last_tick = reactor->now_tick;
    reactor->has_due = false;
    for (uint32_t i = 0; i < reactor->heap_count; i++) {
        const struct reactor_heap *timers = &reactor->heaps[i];
        uint32_t expired = timing_heap_expire(timers->heap, reactor->now_tick, TIMERS_BUDGET,
                                              timers->expired, reactor);
        if (expired == TIMERS_BUDGET)
            reactor->has_due = reactor->has_more_work = true;
    }
}

static void reactor_run_jobs(struct reactor *reactor)
{
    if (list_is_empty(&reactor->jobs))
        return;
    uint64_t deadline_ns = clock_real_ns() + JOBS_BUDGET_NS;
    do {
        struct list *link = list_pop_front(&reactor->jobs);
        struct job *job = CONTAINER_OF(link, struct job, link);
        if (!job->run(reactor, job))
            reactor_job_add(reactor, job);
    } while (!list_is_empty(&reactor->jobs) && clock_real_ns() < deadline_ns);
}

/* How many descriptors the next turn looks at: what fits into the time for reading. The kernel puts all
   that it reported to the end of its list, in their old order, so what was reported and not looked at
   would come last again and again: at least EVENTS_PER_LOOK are always looked at, and few are asked
   for when few fit. */
static void reactor_adapt(struct reactor *reactor, uint64_t turn_ns)
{
    if (turn_ns > TURN_LONG_NS)
        reactor->events_max =
            reactor->events_max > EVENTS_MIN * 2 ? reactor->events_max / 2 : EVENTS_MIN;
    else if (turn_ns < TURN_SHORT_NS && reactor->events_max < EVENTS_MAX)
        reactor->events_max =
            reactor->events_max < EVENTS_MAX / 2 ? reactor->events_max * 2 : EVENTS_MAX;
}

static void reactor_count_turn(struct reactor *reactor, uint64_t turn_ns)
{
    struct metrics *metrics = reactor->metrics;
    uint64_t us = (turn_ns + reactor->turn_ns_rest) / 1000;
    reactor->turn_ns_rest = (turn_ns + reactor->turn_ns_rest) % 1000;
    metric_add(metrics, METRIC_TURNS, 1);
    metric_add(metrics, METRIC_LOOP_DELAY_US, us);
    if (turn_ns / 1000 > metric_read(&metrics->loop_delay_max_us))
        atomic_store_explicit(&metrics->loop_delay_max_us, turn_ns / 1000, memory_order_relaxed);
}

void reactor_turn(struct reactor *reactor, int wait_ms)
{
    const struct reactor_hooks *hooks = reactor->group->hooks;
    struct epoll_event events[EVENTS_MAX];
    mailbox_flush(reactor); /* what was posted between turns, by on_start and tests */
    int count = reactor_wait(reactor, events, wait_ms);
    reactor_read_clock(reactor);
    uint64_t start_ns = reactor->clock_ns;
    reactor->read_until_ns = start_ns + reactor->group->read_budget_ns;
    reactor->has_more_work = false;
    reactor_read(reactor, events, count);
    mailbox_run(reactor, MAIL_BUDGET_BYTES);
    reactor_run_timers(reactor);
    reactor_run_jobs(reactor);
    mailbox_flush(reactor); /* others begin while we write */
    if (hooks->on_flush)
        hooks->on_flush(reactor);
    if (hooks->on_reap)
        hooks->on_reap(reactor);
    mailbox_flush(reactor);
    reactor->has_deferred = epoch_quiescent(reactor->epoch, EPOCH_BUDGET);
    mailbox_flush(reactor); /* what deferred items posted */
    reactor->clock_ns = clock_real_ns();
    uint64_t turn_ns = reactor->clock_ns - start_ns;
    reactor_adapt(reactor, turn_ns);
    reactor_count_turn(reactor, turn_ns);
}

/* ---- threads ---- */

/* From here on the descriptors of this thread are its own, and so is the limit of their number. What
   other reactors wait with is closed in our copy. */
static void reactor_leave_table(struct reactor *reactor)
{
    int error = descriptor_table_leave();
    BUG_ON(error); /* descriptor_table_probe() said that we may */
    for (uint32_t i = 0; i < reactor->group->count; i++) {
        if (i != reactor->index)
            close(reactor->group->reactors[i].epoll_fd);
    }
}

/* Nobody cancels a reactor. The type is set all the same: while it is not this one, glibc sets it around
   each recv, send and epoll_wait, by two compare-and-swaps. */
static void reactor_refuse_cancellation(void)
{
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
}

static void *reactor_main(void *arg)
{
    struct reactor *reactor = arg;
    struct reactor_group *group = reactor->group;
    pthread_mutex_lock(&group->gate); /* until all are started */
    pthread_mutex_unlock(&group->gate);
    reactor_refuse_cancellation();
    if (group->has_private_descriptors)
        reactor_leave_table(reactor);
    reactor_read_clock(reactor);
    if (group->hooks->on_start)
        group->hooks->on_start(reactor);
    while (!atomic_load_explicit(&group->is_stopping, memory_order_acquire))
        reactor_turn(reactor, TIMING_TICK_MS);
    pthread_barrier_wait(&group->all_ended);
    if (group->hooks->on_stop)
        group->hooks->on_stop(reactor);
    epoch_sleep(reactor->epoch);
    return NULL;
}

/* The signals that reactors leave to the main thread: all that are not faults of the program. */
static void block_signals(sigset_t *before)
{
    static const int faults[] = {SIGSEGV, SIGBUS,  SIGFPE, SIGILL,
                                 SIGABRT, SIGTRAP, SIGSYS, SIGPROF};
    sigset_t blocked;
    sigfillset(&blocked);
    for (size_t i = 0; i < ARRAY_COUNT(faults); i++)
        sigdelset(&blocked, faults[i]);
    pthread_sigmask(SIG_BLOCK, &blocked, before);
}

static int reactor_start(struct reactor *reactor)
{
    int error = pthread_create(&reactor->thread, NULL, reactor_main, reactor);
    if (error)
        return error;
    char name[16];
    snprintf(name, sizeof name, "reactor-%u", reactor->index);
    pthread_setname_np(reactor->thread, name);
    reactor->is_started = true;
    return 0;
}

enum err reactor_group_start(struct reactor_group *group)
{
    sigset_t before;
    uint32_t started = 0;
    int error = 0;
    block_signals(&before);
    pthread_mutex_lock(&group->gate);
    while (started < group->count && !error) {
        error = reactor_start(&group->reactors[started]);
        started += !error;
    }
    if (started)
        pthread_barrier_init(&group->all_ended, NULL, started);
    if (error)
        reactor_group_stop(group);
    pthread_mutex_unlock(&group->gate);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!error)
        return ERR_OK;
    reactor_group_join(group);
    errno = error;
    return ERR_IO;
}

void reactor_group_stop(struct reactor_group *group)
{
    atomic_store_explicit(&group->is_stopping, true, memory_order_release);
    for (uint32_t i = 0; i < group->count; i++) {
        uint64_t one = 1;
        ssize_t written = write(group->reactors[i].inbox.wake_fd, &one, sizeof one);
        (void)written;
    }
}

void reactor_group_join(struct reactor_group *group)
{
    bool was_started = group->reactors[0].is_started;
    for (uint32_t i = 0; i < group->count; i++) {
        if (group->reactors[i].is_started)
            pthread_join(group->reactors[i].thread, NULL);
        group->reactors[i].is_started = false;
    }
    if (was_started)
        pthread_barrier_destroy(&group->all_ended);
}

/* ---- life ---- */

/* Zeroed and on a cache line of its own; free() gives it back. For start-up. */
static void *aligned_zalloc(size_t bytes)
{
    void *ptr = aligned_alloc(64, (bytes + 63) / 64 * 64);
    BUG_ON(!ptr);
    return memset(ptr, 0, bytes);
}

/* False with errno; then nothing is open. */
static bool reactor_open(struct reactor *reactor)
{
    reactor->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (reactor->epoll_fd < 0)
        return false;
    struct epoll_event wake = {.events = EPOLLIN, .data.ptr = NULL};
    bool has_mailbox = mailbox_init(reactor) == ERR_OK;
    if (has_mailbox &&
        epoll_ctl(reactor->epoll_fd, EPOLL_CTL_ADD, reactor->inbox.wake_fd, &wake) == 0)
        return true;
    int error = errno;
    if (has_mailbox)
        mailbox_fini(reactor);
    close(reactor->epoll_fd);
    errno = error;
    return false;
}

/* False with errno; then there is nothing to be freed. */
static bool reactor_init(struct reactor *reactor, struct reactor_group *group, uint16_t index)
{
    reactor->index = index;
    reactor->group = group;
    if (!reactor_open(reactor))
        return false;
    reactor->events_max = EVENTS_MAX;
    reactor->read_buffer = mem_must_zalloc(REACTOR_READ_BYTES);
    reactor->metrics = aligned_zalloc(sizeof *reactor->metrics);
    reactor->epoch = epoch_join(group->epochs, reactor);
    list_init(&reactor->jobs);
    reactor_read_clock(reactor);
    reactor->last_tick = reactor->now_tick;
    return true;
}

static void reactor_fini(struct reactor *reactor)
{
    BUG_ON(reactor->is_started);
    mailbox_fini(reactor);
    close(reactor->epoll_fd);
    mem_free(reactor->read_buffer);
    free(reactor->metrics);
}

static void group_free(struct reactor_group *group, uint32_t reactors)
{
    epoch_drain(group->epochs);
    for (uint32_t i = 0; i < reactors; i++)
        reactor_fini(&group->reactors[i]);
    pthread_mutex_destroy(&group->gate);
    free(group->reactors);
    free(group->epochs);
    free(group);
}

struct reactor_group *reactor_group_new(uint32_t count, const struct reactor_hooks *hooks)
{
    static const struct reactor_hooks no_hooks;
    BUG_ON(count == 0 || count > REACTORS_MAX);
    struct reactor_group *group = aligned_zalloc(sizeof *group);
    group->count = count;
    group->hooks = hooks ? hooks : &no_hooks;
    group->is_clock_turned = clock_is_turned_by_file();
    group->read_budget_ns = READ_BUDGET_NS;
    group->last_read_budget_ns = LAST_READ_BUDGET_NS;
    group->epochs = aligned_zalloc(sizeof *group->epochs);
    epoch_domain_init(group->epochs);
    pthread_mutex_init(&group->gate, NULL);
    group->reactors = aligned_zalloc(count * sizeof *group->reactors);
    for (uint32_t i = 0; i < count; i++) {
        if (reactor_init(&group->reactors[i], group, (uint16_t)i))
            continue;
        int error = errno;
        group_free(group, i);
        errno = error;
        return NULL;
    }
    return group;
}

void reactor_group_free(struct reactor_group *group)
{
    if (group)
        group_free(group, group->count);
}

/* ---- descriptors, jobs, heaps ---- */

static uint32_t io_events(uint8_t interest)
{
    _Static_assert(!(IO_EDGE & (EPOLLIN | EPOLLOUT)), "a bit of its own");
    uint32_t edge = interest & IO_EDGE ? EPOLLET | EPOLLRDHUP | EPOLLPRI : 0;
    return (interest & ~IO_EDGE) | edge;
}

enum err reactor_io_add(struct reactor *reactor, struct io *io, uint8_t interest)
{
    BUG_ON(io->kind >= REACTOR_KINDS_MAX || !reactor->group->io_handlers[io->kind]);
    struct epoll_event event = {.events = io_events(interest), .data.ptr = io};
    if (epoll_ctl(reactor->epoll_fd, EPOLL_CTL_ADD, io->fd, &event) < 0)
        return ERR_IO;
    io->interest = interest;
    return ERR_OK;
}

void reactor_io_set(struct reactor *reactor, struct io *io, uint8_t interest)
{
    if (io->interest == interest)
        return;
    struct epoll_event event = {.events = io_events(interest), .data.ptr = io};
    BUG_ON(epoll_ctl(reactor->epoll_fd, EPOLL_CTL_MOD, io->fd, &event) < 0);
    io->interest = interest;
    io->is_muted = false;
}

void reactor_io_mute(struct reactor *reactor, struct io *io)
{
    if (io->is_muted)
        return;
    struct epoll_event event = {.events = EPOLLONESHOT, .data.ptr = io};
    BUG_ON(epoll_ctl(reactor->epoll_fd, EPOLL_CTL_MOD, io->fd, &event) < 0);
    io->interest = 0;
    io->is_muted = true;
}

void reactor_io_remove(struct reactor *reactor, struct io *io)
{
    BUG_ON(epoll_ctl(reactor->epoll_fd, EPOLL_CTL_DEL, io->fd, NULL) < 0);
    io->interest = 0;
}

void reactor_job_add(struct reactor *reactor, struct job *job)
{
    if (!job->link.next || list_is_empty(&job->link)) /* NULL: zeroed, never linked */
        list_push_back(&reactor->jobs, &job->link);
}

void reactor_heap_add(struct reactor *reactor, struct timing_heap *heap,
                      void (*expired)(void *reactor, uint32_t handle))
{
    BUG_ON(reactor->heap_count == REACTOR_HEAPS_MAX);
    reactor->heaps[reactor->heap_count++] = (struct reactor_heap){.heap = heap, .expired = expired};
}

uint64_t reactor_group_metric(struct reactor_group *group, enum metric metric)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < group->count; i++)
        sum += metric_read(&group->reactors[i].metrics->counters[metric]);
    return sum;
}
