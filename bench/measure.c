/*
 * measure.c: goes through the steps of a scenario, and takes samples between them.
 *
 *   for each step:  order -> [warm-up] -> sample -> until its end -> sample
 *   at the end:     DRAIN: what is on its way arrives, the rest is lost; in an open loop what was due
 *                   and could not be sent is sent first, the rest of that is unsent
 *                   REST:  latencies
 *
 * What was due within a step has its latency counted there, whenever it arrives: else a broker that
 * stops at the end of a step would have nothing against it (coordinated omission). Units and seconds
 * are those between the samples, and no others.
 *
 * Runs on the main thread. Counters are read while the workers count. A worker's latencies are
 * read when it has seen that it rests.
 */
#include "bench/measure.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "bench/process.h"

#define LOOK_S 0.001                  /* how often it is looked whether a step is at its end */
#define PROGRESS_S 0.25               /* how often the line on the terminal is written */
#define DRAIN_NS (5 * SECOND_NS)      /* without an arrival: what is missing then is lost */
#define ROUND_NS (21 * SECOND_NS / 2) /* a round of $SYS that takes longer is not waited for */

/* ---- samples ---- */

static void sums_add(struct sums *sums, const struct counts *counts)
{
#define X(name, text) sums->name += count_get(&counts->name);
    COUNTS(X)
#undef X
}

static struct sums sums_of(const struct load *load, bool witness)
{
    struct sums sums = {0};
    for (uint32_t i = 0; i < load->worker_count; i++)
        if (load->workers[i].witness == witness)
            sums_add(&sums, &load->workers[i].counts);
    return sums;
}

static uint64_t sum_at(const struct sums *sums, size_t offset_of_count)
{
    /* The fields are the same and in the same order, one uint64_t each. */
    return *(const uint64_t *)((const char *)sums + offset_of_count);
}

_Static_assert(sizeof(struct sums) == sizeof(struct counts), "sums are read by offsets in counts");

static struct sample sample_take(const struct load *load)
{
    struct sample s = {0};
    struct timespec ts;
    int pid = (int)load->options.pid;
    s.crew = sums_of(load, false);
    s.witness = sums_of(load, true);
    s.broker_cpu_ns = process_cpu_ns(pid);
    s.broker_user_ns = process_user_ns(pid);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    s.own_cpu_ns = (uint64_t)ts.tv_sec * SECOND_NS + (uint64_t)ts.tv_nsec;
    s.at_ns = bench_clock_ns();
    s.broker_rss = process_rss_bytes(pid);
    s.own_rss = process_rss_bytes((int)getpid());
    return s;
}

uint64_t step_units(const struct step_result *s)
{
    uint64_t from = sum_at(&s->from.crew, s->step->units), to = sum_at(&s->to.crew, s->step->units);
    return to > from ? to - from : 0;
}

/* ---- progress ---- */

static void progress(const struct load *load, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void progress(const struct load *load, const char *format, ...)
{
    static uint64_t last_ns;
    uint64_t now_ns = bench_clock_ns();
    va_list args;
    if (load->options.quiet || !isatty(STDERR_FILENO) ||
        now_ns - last_ns < (uint64_t)(PROGRESS_S * 1e9))
        return;
    last_ns = now_ns;
    va_start(args, format);
    fputs("\r\x1b[K", stderr);
    vfprintf(stderr, format, args);
    va_end(args);
}

static void progress_end(const struct load *load)
{
    if (!load->options.quiet && isatty(STDERR_FILENO))
        fputs("\r\x1b[K", stderr);
}

static void progress_step(const struct load *load, const struct step_result *s, uint64_t target)
{
    struct sums sums = sums_of(load, false);
    uint64_t units = sum_at(&sums, s->step->units) - sum_at(&s->from.crew, s->step->units);
    uint64_t gauge = sum_at(&sums, s->step->gauge);
    double seconds = (double)(bench_clock_ns() - s->from.at_ns) / 1e9;
    double rate = seconds > 0 ? (double)units / seconds : 0;
    if (target)
        progress(load, "%s: %lu of %lu, %.0f %ss/s", s->step->name, gauge, target, rate,
                 s->step->unit);
    else
        progress(load, "%s: %.1f s, %lu %ss, %.0f/s", s->step->name, seconds, units, s->step->unit,
                 rate);
}

/* ---- orders ---- */

static void sleep_s(double seconds)
{
    struct timespec ts = {.tv_sec = (time_t)seconds};
    ts.tv_nsec = (long)((seconds - (double)ts.tv_sec) * 1e9);
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, &ts) == EINTR)
        ;
}

/* Gives an order and waits until every worker has seen it, and taken `load->spans` with it. */
static void order(struct load *load, enum phase phase)
{
    uint32_t number = (atomic_load_explicit(&load->order, memory_order_relaxed) >> 8) + 1;
    uint32_t value = (uint32_t)phase | number << 8;
    atomic_store_explicit(&load->order, value, memory_order_release);
    for (uint32_t i = 0; i < load->worker_count; i++)
        while (atomic_load_explicit(&load->workers[i].seen, memory_order_acquire) != value)
            sleep_s(LOOK_S);
}

/* ---- steps ---- */

/* The witnesses count only while everyone connects. */
static bool step_is_done(const struct load *load, const struct step *step, uint64_t gauge)
{
    uint64_t target = step->until(load);
    struct sums witness = sums_of(load, true);
    return gauge >= target &&
           (step->phase != PHASE_CONNECT || witness.ready >= 2ull * load->options.witnesses);
}

/* Until the gauge has reached what it is to reach; false when it does not move any more. */
static bool wait_until(struct load *load, const struct step_result *s)
{
    uint64_t last = 0, moved_ns = bench_clock_ns();
    uint64_t limit_ns = (uint64_t)(load->options.timeout_s * 1.2e9) + SECOND_NS;
    while (!atomic_load(&load->stop)) {
        struct sums sums = sums_of(load, false);
        uint64_t gauge = sum_at(&sums, s->step->gauge);
        uint64_t units = sum_at(&sums, s->step->units);
        if (step_is_done(load, s->step, gauge))
            return true;
        uint64_t now_ns = bench_clock_ns();
        if (gauge + units != last)
            moved_ns = now_ns;
        last = gauge + units;
        if (now_ns - moved_ns > limit_ns)
            return false;
        progress_step(load, s, s->step->until(load));
        sleep_s(LOOK_S);
    }
    return false;
}

/* Until the time is up; false when it was cut short. */
static bool wait_seconds(struct load *load, const struct step_result *s, double seconds)
{
    uint64_t end_ns = bench_clock_ns() + (uint64_t)(seconds * 1e9);
    while (!atomic_load(&load->stop)) {
        uint64_t now_ns = bench_clock_ns();
        if (now_ns >= end_ns)
            return true;
        double left = (double)(end_ns - now_ns) / 1e9;
        sleep_s(left < PROGRESS_S / 5 ? left : PROGRESS_S / 5);
        if (s)
            progress_step(load, s, 0);
    }
    return false;
}

static void step_take_latencies(const struct load *load, struct step_result *s)
{
    for (uint32_t i = 0; i < load->worker_count; i++) {
        const struct worker *w = &load->workers[i];
        histogram_merge(w->witness ? &s->witness : &s->latency, &w->latency[s->step->phase]);
    }
}

/* PUBLISH packets without their PUBACK or PUBCOMP. */
static uint64_t unacked(const struct load *load, const struct sums *crew)
{
    bool acks = load->options.qos > 0 || scenario_is(load, "retained");
    return acks && crew->sent > crew->acked ? crew->sent - crew->acked : 0;
}

/* Until what was sent is acknowledged, or nothing has moved for DRAIN_NS. */
static void wait_acked(struct load *load)
{
    uint64_t last = 0, moved_ns = bench_clock_ns();
    while (!atomic_load(&load->stop)) {
        struct sums crew = sums_of(load, false);
        uint64_t left = unacked(load, &crew);
        uint64_t now_ns = bench_clock_ns();
        if (left != last)
            moved_ns = now_ns;
        last = left;
        if (left == 0 || now_ns - moved_ns > DRAIN_NS)
            return;
        progress(load, "waiting for acknowledgements: %lu", left);
        sleep_s(LOOK_S);
    }
}

static void step_run(struct load *load, struct result *r, uint32_t slot)
{
    struct step_result *s = &r->steps[slot];
    struct span *span = &load->spans[s->step->phase];
    if (s->step->flags & STEP_WAITS_FOR_ACKS)
        wait_acked(load);
    if (s->step->until) {
        s->from = slot ? sample_take(load) : r->start;
        if (slot) /* the first one has begun with the workers */
            *span = (struct span){bench_clock_ns(), UINT64_MAX};
        order(load, s->step->phase);
        s->complete = wait_until(load, s);
    } else {
        order(load, s->step->phase);
        wait_seconds(load, NULL, load->options.warmup_s);
        span->from_ns = bench_clock_ns();
        span->to_ns = span->from_ns + (uint64_t)(load->options.seconds * 1e9);
        order(load, s->step->phase);
        s->from = sample_take(load);
        s->complete = wait_seconds(load, s, load->options.seconds);
    }
    s->to = sample_take(load);
    if (span->to_ns > s->to.at_ns)
        span->to_ns = s->to.at_ns;
}

static void fail_connecting(const struct load *load, const struct step_result *s)
{
    bench_fail("only %lu of %u clients are connected, and no more came for over %g s (--timeout);"
               " the broker's log may say why",
               s->to.crew.ready + s->to.witness.ready, load->client_count, load->options.timeout_s);
}

/* ---- the end ---- */

static uint64_t missing(const struct sums *s)
{
    return s->expected > s->delivered ? s->expected - s->delivered : 0;
}

/* Until all that was due is sent, has come and is answered, or nothing has moved for DRAIN_NS. */
static void wait_drained(struct load *load, struct result *r)
{
    uint64_t last = 0, since_ns = bench_clock_ns();
    for (;;) {
        struct sums crew = sums_of(load, false), witness = sums_of(load, true);
        uint64_t lost = missing(&crew) + missing(&witness);
        uint64_t open = unacked(load, &crew);
        uint64_t unsent = crew.unsent + witness.unsent;
        uint64_t got = crew.delivered + crew.acked + crew.pongs + crew.cycles + witness.delivered +
                       crew.connected + crew.sent + crew.pings + witness.sent;
        uint64_t now_ns = bench_clock_ns();
        if (got != last)
            since_ns = now_ns;
        last = got;
        r->lost = lost;
        r->unacked = open;
        uint64_t left = lost + open + crew.unanswered + unsent;
        if (left == 0 || now_ns - since_ns > DRAIN_NS)
            return;
        progress(load, "waiting for what is on its way: %lu", left);
        sleep_s(LOOK_S * 5);
    }
}

void measure_start(struct load *load, struct result *r)
{
    uint64_t own_rss = r->start.own_rss;
    r->start = sample_take(load);
    r->start.own_rss = own_rss;
}

/* The loop delay of what came last is in the next round of $SYS. When not one has come since the
 * beginning, the next is of a time before that as well, and of no use. */
static void wait_told(struct load *load, struct result *r, struct broker_sys *sys)
{
    r->told = broker_sys_told(sys);
    r->has_sys = sys != NULL;
    uint32_t before = r->told.rounds;
    uint64_t limit_ns = r->told.interval_ns ? r->told.interval_ns + SECOND_NS / 2 : ROUND_NS;
    uint64_t end_ns = bench_clock_ns() + (limit_ns < ROUND_NS ? limit_ns : ROUND_NS);
    if (!before || !r->told.has_delay)
        return;
    while (r->told.rounds == before && !r->told.has_ended && bench_clock_ns() < end_ns &&
           !atomic_load(&load->stop)) {
        progress(load, "waiting for the broker's loop delay, which $SYS tells each sys_interval");
        sleep_s(LOOK_S * 5);
        r->told = broker_sys_told(sys);
    }
}

void measure_steps(struct load *load, struct result *r, struct broker_sys *sys)
{
    const struct step *step = load->scenario->steps;
    for (uint32_t i = 0; step[i].name && !atomic_load(&load->stop); i++) {
        r->steps[i].step = &step[i];
        r->step_count = i + 1;
        step_run(load, r, i);
        if (step[i].phase == PHASE_CONNECT && !r->steps[i].complete && !atomic_load(&load->stop))
            fail_connecting(load, &r->steps[i]);
    }
    r->stopped = atomic_load(&load->stop);
    order(load, PHASE_DRAIN);
    wait_drained(load, r);
    r->end = sample_take(load);
    order(load, PHASE_REST);
    for (uint32_t i = 0; i < r->step_count; i++)
        step_take_latencies(load, &r->steps[i]);
    for (uint32_t i = 0; i < load->crew; i++)
        histogram_merge(&r->late, &load->workers[i].late);
    wait_told(load, r, sys);
    progress_end(load);
}

static bool sums_are_good(const struct sums *s)
{
    return !s->refused && !s->closed && !s->foreign && !s->duplicate && !s->disordered &&
           !s->unanswered && !s->unsent;
}

bool result_is_good(const struct result *r)
{
    bool complete = true;
    for (uint32_t i = 0; i < r->step_count; i++)
        complete = complete && r->steps[i].complete;
    return complete && !r->lost && !r->unacked && sums_are_good(&r->end.crew) &&
           sums_are_good(&r->end.witness);
}
