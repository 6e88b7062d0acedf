/*
 * spans.c: how long a broker is out of the kernel between two of its system calls: a library that is
 * loaded before it (LD_PRELOAD), and prints to stderr when it ends.
 *
 *   epoll_wait |====| recv |====| send |====| epoll_wait        ==== is measured, by the clock
 *
 * What /proc, top and perf call user time is counted by ticks on most kernels (CONFIG_TICK_CPU_ACCOUNTING),
 * and a tick that falls due while the kernel has interrupts off, as on its way out, is counted for the
 * first instruction after it: for whoever made the call. Here that way is in the kernel, where it belongs.
 *
 *   LD_PRELOAD=build/tests/bench/spans.so build/dunlin -c FILE
 *
 * SIGUSR2 begins, and ends: connecting and leaving are other work. Turns with exactly one event are told
 * apart. A span of more than SPAN_NS_MAX is none: the thread was not running.
 *
 * Threads: each counts for itself; they are added up when all have ended. Cost: a look at the clock before
 * and after each of these calls, part of which is in the figures.
 */
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SPAN_NS_MAX 50000u
#define BUCKET_NS 20u
#define BUCKETS (SPAN_NS_MAX / BUCKET_NS)

enum call { CALL_NONE, CALL_WAIT, CALL_RECV, CALL_SEND, CALL_COUNT };

static const char *const call_names[] = {"?", "epoll_wait", "recv", "send"};

struct spans {
    uint64_t count, ns;
    uint32_t buckets[BUCKETS];
};

struct counts {
    struct counts *next;
    uint64_t last_ns; /* when the last call came back */
    enum call last;
    int events;       /* in this turn */
    uint64_t turn_ns; /* of this turn, so far; SPAN_NS_MAX: not to be counted */
    uint64_t turns;
    struct spans user[CALL_COUNT][CALL_COUNT], inside[CALL_COUNT], turn;
};

static struct counts *_Atomic all;
static _Atomic bool is_on;
static __thread struct counts *mine __attribute__((tls_model("initial-exec")));

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static struct counts *counts_of_thread(void)
{
    if (mine)
        return mine;
    mine = calloc(1, sizeof *mine);
    if (!mine)
        abort();
    mine->next = atomic_load(&all);
    while (!atomic_compare_exchange_weak(&all, &mine->next, mine))
        ;
    return mine;
}

static void spans_add(struct spans *spans, uint64_t ns)
{
    if (ns >= SPAN_NS_MAX)
        return;
    spans->count++;
    spans->ns += ns;
    spans->buckets[ns / BUCKET_NS]++;
}

/* A turn ends where the next wait begins. */
static void end_turn(struct counts *counts)
{
    counts->turns++;
    if (counts->events == 1)
        spans_add(&counts->turn, counts->turn_ns);
}

static void before(struct counts *counts, enum call call)
{
    uint64_t now = now_ns(), span = now - counts->last_ns;
    if (atomic_load_explicit(&is_on, memory_order_relaxed) && counts->last != CALL_NONE) {
        spans_add(&counts->user[counts->last][call], span);
        counts->turn_ns += span < SPAN_NS_MAX ? span : SPAN_NS_MAX;
        if (call == CALL_WAIT)
            end_turn(counts);
    }
    counts->last = call;
    counts->last_ns = now;
}

static void after(struct counts *counts, enum call call)
{
    uint64_t now = now_ns();
    if (atomic_load_explicit(&is_on, memory_order_relaxed))
        spans_add(&counts->inside[call], now - counts->last_ns);
    counts->last_ns = now;
}

/* ---- the calls ---- */

int epoll_wait(int fd, struct epoll_event *events, int events_max, int ms)
{
    struct counts *counts = counts_of_thread();
    before(counts, CALL_WAIT);
    int count = (int)syscall(SYS_epoll_wait, fd, events, events_max, ms);
    after(counts, CALL_WAIT);
    counts->events = count;
    counts->turn_ns = 0;
    return count;
}

ssize_t recv(int fd, void *buffer, size_t bytes, int flags)
{
    struct counts *counts = counts_of_thread();
    before(counts, CALL_RECV);
    ssize_t got = syscall(SYS_recvfrom, fd, buffer, bytes, flags, NULL, NULL);
    after(counts, CALL_RECV);
    return got;
}

ssize_t send(int fd, const void *buffer, size_t bytes, int flags)
{
    struct counts *counts = counts_of_thread();
    before(counts, CALL_SEND);
    ssize_t sent = syscall(SYS_sendto, fd, buffer, bytes, flags, NULL, 0);
    after(counts, CALL_SEND);
    return sent;
}

/* ---- the report ---- */

static void spans_sum(struct spans *sum, const struct spans *more)
{
    sum->count += more->count;
    sum->ns += more->ns;
    for (unsigned i = 0; i < BUCKETS; i++)
        sum->buckets[i] += more->buckets[i];
}

static uint64_t percentile(const struct spans *spans, unsigned percent)
{
    uint64_t seen = 0, wanted = spans->count * percent / 100;
    unsigned i = 0;
    while (i < BUCKETS - 1 && (seen += spans->buckets[i]) <= wanted)
        i++;
    return (uint64_t)i * BUCKET_NS + BUCKET_NS / 2;
}

static void spans_print(const char *what, const char *from, const char *to,
                        const struct spans *spans)
{
    if (spans->count)
        fprintf(stderr, "%-8s %-10s %-10s %8lu times  mean %5lu  p10 %5lu  p50 %5lu  p90 %5lu ns\n",
                what, from, to, spans->count, spans->ns / spans->count, percentile(spans, 10),
                percentile(spans, 50), percentile(spans, 90));
}

static void on_signal(int number)
{
    (void)number;
    atomic_store(&is_on, !atomic_load(&is_on));
}

__attribute__((constructor)) static void spans_begin(void)
{
    signal(SIGUSR2, on_signal);
}

__attribute__((destructor)) static void spans_end(void)
{
    static struct counts sum;
    for (const struct counts *one = all; one; one = one->next) {
        sum.turns += one->turns;
        spans_sum(&sum.turn, &one->turn);
        for (unsigned call = 0; call < CALL_COUNT; call++) {
            spans_sum(&sum.inside[call], &one->inside[call]);
            for (unsigned to = 0; to < CALL_COUNT; to++)
                spans_sum(&sum.user[call][to], &one->user[call][to]);
        }
    }
    fprintf(stderr, "%lu turns\n", sum.turns);
    for (unsigned call = 0; call < CALL_COUNT; call++)
        for (unsigned to = 0; to < CALL_COUNT; to++)
            spans_print("between", call_names[call], call_names[to], &sum.user[call][to]);
    for (unsigned call = 0; call < CALL_COUNT; call++)
        spans_print("inside", call_names[call], "", &sum.inside[call]);
    spans_print("outside", "a turn of", "one event", &sum.turn);
}
