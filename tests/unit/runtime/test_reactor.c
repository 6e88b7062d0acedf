/* test_reactor.c: runtime/reactor.h, turned by hand with the clock turned, and with threads. */
#include "tests/unit/runtime/testing.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "runtime/reactor.h"

enum { KIND_PLAIN };
enum { MAIL_PING };

#define MS 1000000ull /* in nanoseconds */

/* What happened to a reactor. */
struct seen {
    uint32_t events, ticks, flushes, reaps, expired;
    uint32_t interest;
    struct slab slab;
    struct timing_heap *heap;
};

struct object {
    struct timing_node timer;
};

static void on_io(struct reactor *reactor, struct io *io, uint32_t events)
{
    struct seen *seen = reactor->app;
    (void)io;
    seen->events++;
    seen->interest = events;
}

static void on_tick(struct reactor *reactor)
{
    ((struct seen *)reactor->app)->ticks++;
}

static void on_flush(struct reactor *reactor)
{
    ((struct seen *)reactor->app)->flushes++;
}

static void on_reap(struct reactor *reactor)
{
    struct seen *seen = reactor->app;
    seen->reaps++;
    assert_int_equal(seen->reaps, seen->flushes); /* flush comes first */
}

static void on_expired(void *arg, uint32_t handle)
{
    struct reactor *reactor = arg;
    (void)handle;
    ((struct seen *)reactor->app)->expired++;
}

struct fixture {
    struct reactor_group *group;
    struct reactor *reactor;
    struct seen seen;
    int sockets[2];
    struct io io;
};

static int set_up(void **state)
{
    static const struct reactor_hooks hooks = {
        .on_tick = on_tick, .on_flush = on_flush, .on_reap = on_reap};
    struct fixture *f = calloc(1, sizeof *f);
    f->group = reactor_group_new(1, &hooks);
    f->group->io_handlers[KIND_PLAIN] = on_io;
    f->reactor = &f->group->reactors[0];
    f->reactor->app = &f->seen;
    slab_init(&f->seen.slab, sizeof(struct object));
    f->seen.heap = timing_heap_new(&f->seen.slab, offsetof(struct object, timer));
    reactor_heap_add(f->reactor, f->seen.heap, on_expired);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, f->sockets), 0);
    f->io = (struct io){.fd = f->sockets[0], .kind = KIND_PLAIN};
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    close(f->sockets[0]);
    close(f->sockets[1]);
    timing_heap_free(f->seen.heap);
    slab_fini(&f->seen.slab);
    reactor_group_free(f->group);
    free(f);
    return 0;
}

/* ---- descriptors ---- */

static void descriptor_that_is_ready_reaches_the_handler_of_its_kind(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(reactor_io_add(f->reactor, &f->io, EPOLLIN), ERR_OK);
    reactor_turn(f->reactor, 0);
    assert_int_equal(f->seen.events, 0);
    assert_int_equal(write(f->sockets[1], "x", 1), 1);
    reactor_turn(f->reactor, 1000);
    reactor_turn(f->reactor, 1000); /* level-triggered: nobody has read it */
    assert_int_equal(f->seen.events, 2);
    assert_int_equal(f->seen.interest, EPOLLIN);
    reactor_io_remove(f->reactor, &f->io);
}

static void interest_decides_what_is_waited_for(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(reactor_io_add(f->reactor, &f->io, EPOLLIN), ERR_OK);
    assert_int_equal(write(f->sockets[1], "x", 1), 1);
    reactor_io_set(f->reactor, &f->io, 0);
    reactor_turn(f->reactor, 0);
    assert_int_equal(f->seen.events, 0);
    reactor_io_set(f->reactor, &f->io, EPOLLIN | EPOLLOUT);
    reactor_turn(f->reactor, 0);
    assert_int_equal(f->seen.interest, EPOLLIN | EPOLLOUT);
    reactor_io_remove(f->reactor, &f->io);
    reactor_turn(f->reactor, 0);
    assert_int_equal(f->seen.events, 1);
}

#define PAIRS 20u

/* More than what is looked at between two looks at the clock. */
static void make_ready(struct fixture *f, struct io *ios, int *peers, uint8_t interest)
{
    for (uint32_t i = 0; i < PAIRS; i++) {
        int fds[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
        ios[i] = (struct io){.fd = fds[0], .kind = KIND_PLAIN};
        peers[i] = fds[1];
        assert_int_equal(reactor_io_add(f->reactor, &ios[i], interest), ERR_OK);
        assert_int_equal(write(peers[i], "x", 1), 1);
    }
}

static void close_all(const struct io *ios, const int *peers)
{
    for (uint32_t i = 0; i < PAIRS; i++) {
        close(ios[i].fd);
        close(peers[i]);
    }
}

static void what_waits_by_level_is_looked_at_later_when_time_is_over(void **state)
{
    struct fixture *f = *state;
    struct io ios[PAIRS];
    int peers[PAIRS];
    f->group->read_budget_ns = 0;
    make_ready(f, ios, peers, EPOLLIN);
    reactor_turn(f->reactor, 0);
    assert_in_range(f->seen.events, 1, PAIRS - 1);
    reactor_turn(f->reactor, 0); /* nobody read: all are told again */
    assert_true(f->seen.events >= 2);
    close_all(ios, peers);
}

static void edges_are_told_once_and_all_of_them_also_when_time_is_over(void **state)
{
    struct fixture *f = *state;
    struct io ios[PAIRS];
    int peers[PAIRS];
    f->group->read_budget_ns = 0;
    make_ready(f, ios, peers, EPOLLIN | IO_EDGE);
    reactor_turn(f->reactor, 0);
    assert_int_equal(f->seen.events, PAIRS);
    reactor_turn(f->reactor, 0);
    assert_int_equal(f->seen.events, PAIRS);
    reactor_io_set(f->reactor, &ios[3], EPOLLIN); /* by level again: it is still there */
    reactor_turn(f->reactor, 0);
    assert_int_equal(f->seen.events, PAIRS + 1);
    close_all(ios, peers);
}

static void an_edge_says_that_the_peer_has_hung_up(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(reactor_io_add(f->reactor, &f->io, EPOLLIN | IO_EDGE), ERR_OK);
    assert_int_equal(write(f->sockets[1], "x", 1), 1);
    reactor_turn(f->reactor, 0);
    assert_false(f->seen.interest & EPOLLRDHUP);
    shutdown(f->sockets[1], SHUT_WR);
    reactor_turn(f->reactor, 0);
    assert_int_equal(f->seen.events, 2);
    assert_true(f->seen.interest & EPOLLRDHUP);
}

static void a_bad_descriptor_is_an_error_with_errno(void **state)
{
    struct fixture *f = *state;
    struct io bad = {.fd = 1 << 20, .kind = KIND_PLAIN};
    assert_int_equal(reactor_io_add(f->reactor, &bad, EPOLLIN), ERR_IO);
    assert_int_equal(errno, EBADF);
}

/* ---- time ---- */

static void turned_clock_expires_timers_and_ticks_once_a_leap(void **state)
{
    struct fixture *f = *state;
    uint32_t handle;
    reactor_turn(f->reactor, 0);
    assert_true(f->reactor->now_tick > 0);
    assert_int_equal(f->reactor->now_s, f->reactor->now_ms / 1000);
    assert_non_null(slab_alloc(&f->seen.slab, &handle));
    uint32_t due = f->reactor->now_tick + 100;
    assert_int_equal(timing_heap_arm(f->seen.heap, handle, due), ERR_OK);
    f->seen.ticks = 0;
    clock_turn_ms(98 * TIMING_TICK_MS);
    reactor_turn(f->reactor, 0);
    assert_int_equal(f->seen.ticks, 1);
    assert_int_equal(f->seen.expired, 0);
    clock_turn_ms(2 * TIMING_TICK_MS);
    reactor_turn(f->reactor, 0);
    assert_int_equal(f->seen.expired, 1);
    assert_int_equal(f->seen.ticks, 2);
}

static void a_mass_of_timers_is_spread_over_turns_that_do_not_sleep(void **state)
{
    struct fixture *f = *state;
    uint32_t handle, turns = 0;
    for (uint32_t i = 0; i < 2500; i++) {
        assert_non_null(slab_alloc(&f->seen.slab, &handle));
        assert_int_equal(timing_heap_arm(f->seen.heap, handle, f->reactor->now_tick + 1), ERR_OK);
    }
    clock_turn_ms(2 * TIMING_TICK_MS);
    for (reactor_turn(f->reactor, 0); f->reactor->has_more_work; turns++) {
        assert_true(f->seen.expired <= 1000 * (turns + 1));
        uint64_t start_ns = clock_real_ns();
        reactor_turn(f->reactor, 60000);
        assert_true(clock_real_ns() - start_ns < 400 * MS);
    }
    assert_int_equal(f->seen.expired, 2500);
    assert_in_range(turns, 2, 3);
}

static void what_is_armed_for_a_tick_that_has_begun_expires_with_the_next(void **state)
{
    struct fixture *f = *state;
    uint32_t handle;
    reactor_turn(f->reactor, 0);
    uint32_t tick = f->reactor->now_tick;
    assert_non_null(slab_alloc(&f->seen.slab, &handle));
    assert_int_equal(timing_heap_arm(f->seen.heap, handle, tick), ERR_OK);
    reactor_turn(f->reactor, 0);
    assert_int_equal(f->seen.expired, f->reactor->now_tick > tick);
    clock_turn_ms(TIMING_TICK_MS);
    reactor_turn(f->reactor, 0);
    assert_int_equal(f->seen.expired, 1);
}

static void waiting_ends_with_the_tick(void **state)
{
    struct fixture *f = *state;
    reactor_turn(f->reactor, 0);
    uint32_t tick = f->reactor->now_tick;
    uint64_t start_ns = clock_real_ns();
    reactor_turn(f->reactor, 60000);
    assert_true(f->reactor->now_tick > tick || f->reactor->has_deferred);
    assert_true(clock_real_ns() - start_ns < 2000 * MS);
}

/* ---- jobs ---- */

struct slow_job {
    struct job job;
    uint32_t runs, runs_max;
};

static bool slow_run(struct reactor *reactor, struct job *job)
{
    struct slow_job *slow = CONTAINER_OF(job, struct slow_job, job);
    (void)reactor;
    uint64_t until_ns = clock_real_ns() + MS / 10;
    while (clock_real_ns() < until_ns)
        ;
    return ++slow->runs == slow->runs_max;
}

static void jobs_take_turns_and_are_cut_after_a_millisecond(void **state)
{
    struct fixture *f = *state;
    struct slow_job jobs[2] = {{.job.run = slow_run, .runs_max = 60},
                               {.job.run = slow_run, .runs_max = 60}};
    reactor_job_add(f->reactor, &jobs[0].job);
    reactor_job_add(f->reactor, &jobs[1].job);
    reactor_job_add(f->reactor, &jobs[1].job); /* waits already */
    uint32_t turns = 0, before = 0;
    for (; !list_is_empty(&f->reactor->jobs); turns++) {
        reactor_turn(f->reactor, 60000); /* does not sleep: there are jobs */
        uint32_t runs = jobs[0].runs + jobs[1].runs;
        assert_in_range(runs - before, 1, 10);
        assert_in_range(jobs[0].runs - jobs[1].runs, 0, 1);
        before = runs;
    }
    assert_int_equal(jobs[0].runs, 60);
    assert_int_equal(jobs[1].runs, 60);
    assert_true(turns >= 12);
}

static bool free_run(struct reactor *reactor, struct job *job)
{
    struct seen *seen = reactor->app;
    seen->expired = 77;
    free(job);
    return true;
}

static void a_job_that_is_over_may_free_itself(void **state)
{
    struct fixture *f = *state;
    struct job *job = calloc(1, sizeof *job);
    job->run = free_run;
    reactor_job_add(f->reactor, job);
    reactor_turn(f->reactor, 0);
    assert_int_equal(f->seen.expired, 77);
    assert_true(list_is_empty(&f->reactor->jobs));
}

static bool again_run(struct reactor *reactor, struct job *job)
{
    struct slow_job *again = CONTAINER_OF(job, struct slow_job, job);
    if (++again->runs < 3)
        reactor_job_add(reactor, job);
    return true;
}

static void a_job_may_add_itself_again(void **state)
{
    struct fixture *f = *state;
    struct slow_job again = {.job.run = again_run};
    reactor_job_add(f->reactor, &again.job);
    reactor_turn(f->reactor, 0);
    assert_int_equal(again.runs, 3);
}

/* ---- counting, memory ---- */

static bool nap_run(struct reactor *reactor, struct job *job)
{
    (void)reactor, (void)job;
    usleep(5000);
    return true;
}

static void longest_turn_is_seen(void **state)
{
    struct fixture *f = *state;
    struct job nap = {.run = nap_run};
    reactor_turn(f->reactor, 0);
    reactor_job_add(f->reactor, &nap);
    reactor_turn(f->reactor, 0);
    reactor_turn(f->reactor, 50); /* waiting is not working */
    uint64_t max_us = atomic_load(&f->reactor->metrics->loop_delay_max_us);
    assert_true(max_us >= 5000 && max_us < 45000);
    assert_true(reactor_group_metric(f->group, METRIC_LOOP_DELAY_US) >= max_us);
    assert_int_equal(reactor_group_metric(f->group, METRIC_TURNS), 3);
}

static void on_deferred(struct epoch_item *item, void *ctx)
{
    struct reactor *reactor = ctx;
    (void)item;
    ((struct seen *)reactor->app)->expired = 99;
}

static void deferred_work_runs_within_a_few_turns(void **state)
{
    struct fixture *f = *state;
    struct epoch_item item;
    epoch_defer(f->reactor->epoch, &item, on_deferred);
    uint64_t start_ns = clock_real_ns();
    for (int turn = 0; turn < 5 && f->seen.expired != 99; turn++)
        reactor_turn(f->reactor, 1000);
    assert_int_equal(f->seen.expired, 99);
    assert_true(clock_real_ns() - start_ns < 1000 * MS);
}

/* ---- threads ---- */

#define CROWD 2u
#define PINGS 2000u

struct threaded {
    _Atomic uint32_t starts, stops, pings, faults;
};

static bool is_left_to_main(int signal)
{
    sigset_t blocked;
    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    return sigismember(&blocked, signal) == 1;
}

static void on_start(struct reactor *reactor)
{
    struct threaded *t = reactor->app;
    char name[16], expected[16];
    pthread_getname_np(pthread_self(), name, sizeof name);
    snprintf(expected, sizeof expected, "reactor-%u", reactor->index);
    bool is_right = is_left_to_main(SIGPIPE) && is_left_to_main(SIGTERM) &&
                    is_left_to_main(SIGHUP) && !is_left_to_main(SIGSEGV) &&
                    strcmp(name, expected) == 0;
    atomic_fetch_add(&t->faults, !is_right);
    atomic_fetch_add(&t->starts, 1);
}

static void on_stop(struct reactor *reactor)
{
    atomic_fetch_add(&((struct threaded *)reactor->app)->stops, 1);
}

/* Sends the ball back until it was played often enough. */
static void on_ping(struct reactor *reactor, void *payload, uint32_t bytes)
{
    struct threaded *t = reactor->app;
    (void)payload, (void)bytes;
    if (atomic_fetch_add(&t->pings, 1) < PINGS)
        BUG_ON(!mailbox_post(reactor, !reactor->index, MAIL_PING, 0));
}

static struct reactor_group *crowd_start(struct threaded *t)
{
    static const struct reactor_hooks hooks = {.on_start = on_start, .on_stop = on_stop};
    struct reactor_group *group = reactor_group_new(CROWD, &hooks);
    group->mail_handlers[MAIL_PING] = on_ping;
    for (uint32_t i = 0; i < CROWD; i++)
        group->reactors[i].app = t;
    assert_int_equal(reactor_group_start(group), ERR_OK);
    return group;
}

static void crowd_end(struct reactor_group *group)
{
    reactor_group_stop(group);
    reactor_group_join(group);
    reactor_group_free(group);
}

static bool becomes(_Atomic uint32_t *value, uint32_t least)
{
    for (int ms = 0; ms < 20000 && atomic_load(value) < least; ms++)
        usleep(1000);
    return atomic_load(value) >= least;
}

static void reactors_start_with_names_and_without_signals_and_stop_together(void **state)
{
    (void)state;
    struct threaded t = {0};
    struct reactor_group *group = crowd_start(&t);
    assert_false(is_left_to_main(SIGTERM)); /* only theirs */
    assert_true(becomes(&t.starts, CROWD));
    uint64_t start_ns = clock_real_ns();
    crowd_end(group);
    assert_true(clock_real_ns() - start_ns < 400 * MS); /* woken, not waited for */
    assert_int_equal(atomic_load(&t.stops), CROWD);
    assert_int_equal(atomic_load(&t.faults), 0);
}

static void sleeping_reactors_are_woken_by_mail(void **state)
{
    (void)state;
    struct threaded t = {0};
    struct reactor_group *group = crowd_start(&t);
    uint64_t start_ns = clock_real_ns();
    assert_int_equal(mailbox_send(group, 0, MAIL_PING, NULL, 0), ERR_OK);
    assert_true(becomes(&t.pings, PINGS)); /* half a second each, were nobody woken */
    assert_true(clock_real_ns() - start_ns < 15000 * MS);
    crowd_end(group);
}

static void idle_reactors_sleep(void **state)
{
    (void)state;
    struct threaded t = {0};
    struct reactor_group *group = crowd_start(&t);
    assert_true(becomes(&t.starts, CROWD));
    usleep(1200 * 1000);
    assert_in_range(reactor_group_metric(group, METRIC_TURNS), CROWD, CROWD * 6);
    crowd_end(group);
}

/* ---- a start that the machine does not allow ---- */

static int lowest_free(void)
{
    int fd = dup(0);
    BUG_ON(fd < 0);
    close(fd);
    return fd;
}

static void a_group_for_which_descriptors_do_not_suffice_is_not_made(void **state)
{
    (void)state;
    struct rlimit limit, less;
    int first = lowest_free();
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    for (uint32_t left = 0; left <= CROWD * REACTOR_DESCRIPTORS; left++) {
        less = (struct rlimit){.rlim_cur = (rlim_t)first + left, .rlim_max = limit.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &less), 0);
        struct reactor_group *group = reactor_group_new(CROWD, NULL);
        int error = errno;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
        assert_int_equal(!group, left < CROWD * REACTOR_DESCRIPTORS);
        assert_true(group || error == EMFILE);
        reactor_group_free(group);
        assert_int_equal(lowest_free(), first); /* nothing stays open */
    }
}

/* ---- the clock in a file ---- */

static void clock_in_a_file_is_followed_within_10_ms(void **state)
{
    (void)state;
    struct threaded t = {0};
    char path[] = "/tmp/dunlin-clock-XXXXXX";
    int fd = mkstemp(path);
    int64_t turned_ms = 3600 * 1000;
    assert_true(fd >= 0);
    setenv("DUNLIN_TEST_CLOCK", path, 1);
    struct reactor_group *group = crowd_start(&t);
    unsetenv("DUNLIN_TEST_CLOCK");
    assert_true(group->is_clock_turned);
    assert_true(becomes(&t.starts, CROWD));
    uint64_t before_ms = clock_now_ms(), turns = reactor_group_metric(group, METRIC_TURNS);
    assert_int_equal(pwrite(fd, &turned_ms, sizeof turned_ms, 0), sizeof turned_ms);
    assert_true(clock_now_ms() >= before_ms + (uint64_t)turned_ms);
    usleep(300 * 1000);
    assert_true(reactor_group_metric(group, METRIC_TURNS) >= turns + 6);
    crowd_end(group);
    close(fd);
    unlink(path);
}

#define BY_HAND(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BY_HAND(descriptor_that_is_ready_reaches_the_handler_of_its_kind),
        BY_HAND(interest_decides_what_is_waited_for),
        BY_HAND(what_waits_by_level_is_looked_at_later_when_time_is_over),
        BY_HAND(edges_are_told_once_and_all_of_them_also_when_time_is_over),
        BY_HAND(an_edge_says_that_the_peer_has_hung_up),
        BY_HAND(a_bad_descriptor_is_an_error_with_errno),
        BY_HAND(turned_clock_expires_timers_and_ticks_once_a_leap),
        BY_HAND(a_mass_of_timers_is_spread_over_turns_that_do_not_sleep),
        BY_HAND(what_is_armed_for_a_tick_that_has_begun_expires_with_the_next),
        BY_HAND(waiting_ends_with_the_tick),
        BY_HAND(jobs_take_turns_and_are_cut_after_a_millisecond),
        BY_HAND(a_job_that_is_over_may_free_itself),
        BY_HAND(a_job_may_add_itself_again),
        BY_HAND(longest_turn_is_seen),
        BY_HAND(deferred_work_runs_within_a_few_turns),
        cmocka_unit_test(reactors_start_with_names_and_without_signals_and_stop_together),
        cmocka_unit_test(sleeping_reactors_are_woken_by_mail),
        cmocka_unit_test(idle_reactors_sleep),
        cmocka_unit_test(a_group_for_which_descriptors_do_not_suffice_is_not_made),
        cmocka_unit_test(clock_in_a_file_is_followed_within_10_ms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
