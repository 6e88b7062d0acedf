/*
 * load_report.c: the phases of a run, what is measured in them, and the report.
 *
 *   CONNECT   every client connects, in shuffled order, and subscribes
 *   RUN       messages flow; after the warm-up, counters and the broker's CPU are taken twice
 *   DRAIN     nothing is sent any more; what is still on its way arrives, the rest is lost
 *
 * Runs on the main thread; the workers' counters are read while they count.
 */
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "load_report.h"

#define LOAD_CONNECT_LIMIT_S 120

/* ---- measuring ---- */

static struct sample sample_take(struct load *load)
{
    struct sample s = {0};
    struct timespec ts;
    for (uint32_t i = 0; i < load->options.threads; i++) {
        struct counts *c = &load->workers[i].counts;
        s.ready += count_get(&c->ready);
        s.sent += count_get(&c->sent);
        s.acked += count_get(&c->acked);
        s.delivered += count_get(&c->delivered);
        s.duplicate += count_get(&c->duplicate);
        s.disordered += count_get(&c->disordered);
        s.foreign += count_get(&c->foreign);
        s.refused += count_get(&c->refused);
        s.closed += count_get(&c->closed);
        s.stalled += count_get(&c->stalled);
        s.cycles += count_get(&c->cycles);
    }
    s.broker_cpu_ns = process_cpu_ns(load->options.pid);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    s.own_cpu_ns = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
    s.at_ns = load_clock_ns();
    return s;
}

static void sleep_s(double seconds)
{
    struct timespec ts = {.tv_sec = (time_t)seconds};
    ts.tv_nsec = (long)((seconds - (double)ts.tv_sec) * 1e9);
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, &ts) == EINTR)
        ;
}

static void wait_connected(struct load *load, uint64_t start_ns)
{
    while (sample_take(load).ready < load->client_count) {
        sleep_s(0.01);
        if (load_clock_ns() - start_ns > LOAD_CONNECT_LIMIT_S * 1000000000ull)
            load_fail("only %lu of %u clients are connected after %d s",
                      (unsigned long)sample_take(load).ready, load->client_count,
                      LOAD_CONNECT_LIMIT_S);
    }
}

/* Until all that was sent has come, or nothing has come for a second. */
static uint64_t wait_drained(struct load *load)
{
    uint64_t fan = flow_fan(&load->options), last = 0, since = load_clock_ns();
    sleep_s(0.05);
    for (;;) {
        struct sample s = sample_take(load);
        uint64_t wanted = s.sent * fan, got = s.delivered - s.duplicate;
        bool acked = !load->options.qos || s.acked >= s.sent;
        if ((got >= wanted && acked) || load_clock_ns() - since > 1000000000)
            return wanted > got ? wanted - got : 0;
        if (got + s.acked != last)
            since = load_clock_ns();
        last = got + s.acked;
        sleep_s(0.02);
    }
}

void load_measure(struct load *load, struct result *r)
{
    const struct options *o = &load->options;
    wait_connected(load, r->start.at_ns);
    r->connected = sample_take(load);
    atomic_store(&load->phase, PHASE_RUN);
    sleep_s(o->warmup_s);
    r->rss_connected = process_rss_bytes(o->pid);
    atomic_store(&load->measuring, true);
    r->from = sample_take(load);
    sleep_s(o->seconds);
    r->to = sample_take(load);
    atomic_store(&load->measuring, false);
    r->rss_end = process_rss_bytes(o->pid);
    if (load->scenario->flows) {
        atomic_store(&load->phase, PHASE_DRAIN);
        r->lost = wait_drained(load);
    }
    r->end = sample_take(load);
    for (uint32_t i = 0; i < o->threads; i++) {
        while (atomic_load(&load->workers[i].measuring))
            sleep_s(0.01);
        hist_merge(&r->latency, &load->workers[i].latency);
    }
}

void load_start(struct load *load, struct result *r)
{
    r->rss_start = process_rss_bytes(load->options.pid);
    r->start = sample_take(load);
}

/* ---- report ---- */

/* What the broker's CPU is divided by: deliveries, pings or cycles. */
static uint64_t result_units(const struct load *load, const struct result *r, const char **unit)
{
    if (load->scenario->flows) {
        *unit = "message";
        return r->to.delivered - r->from.delivered;
    }
    if (strcmp(load->scenario->name, "connect") == 0) {
        *unit = "cycle";
        return r->to.cycles - r->from.cycles;
    }
    *unit = "ping";
    return r->to.acked - r->from.acked;
}

static double ratio(double a, double b)
{
    return b > 0 ? a / b : 0;
}

/* A broker, or a thread of it, that ended takes its CPU time along. */
static uint64_t since(uint64_t from_ns, uint64_t to_ns)
{
    return to_ns > from_ns ? to_ns - from_ns : 0;
}

struct figures {
    const char *unit;
    double seconds, per_second, broker_us, broker_percent, own_us, connect_us;
    double session_bytes;
};

static struct figures figures_make(const struct load *load, const struct result *r)
{
    struct figures f;
    uint64_t units = result_units(load, r, &f.unit);
    double cpu_us = (double)since(r->from.broker_cpu_ns, r->to.broker_cpu_ns) / 1000;
    double own_us = (double)(r->to.own_cpu_ns - r->from.own_cpu_ns) / 1000;
    double connect_us = (double)since(r->start.broker_cpu_ns, r->connected.broker_cpu_ns) / 1000;
    f.seconds = (double)(r->to.at_ns - r->from.at_ns) / 1e9;
    f.per_second = ratio((double)units, f.seconds);
    f.broker_us = ratio(cpu_us, (double)units);
    f.broker_percent = cpu_us / f.seconds / 1e4;
    f.own_us = ratio(own_us, (double)units);
    f.connect_us = ratio(connect_us, (double)r->connected.ready);
    f.session_bytes = ((double)r->rss_connected - (double)r->rss_start) / load->client_count;
    return f;
}

static void report_json(const struct load *load, const struct result *r)
{
    const struct options *o = &load->options;
    struct figures f = figures_make(load, r);
    const struct sample *e = &r->end;
    printf("{\"scenario\": \"%s\", \"bare\": %s, \"version\": %d, \"qos\": %d, \"payload\": %u, "
           "\"window\": %u, \"clients\": %u, \"connections\": %u, \"threads\": %u, ",
           o->scenario, o->bare ? "true" : "false", o->version, o->qos, o->payload_bytes, o->window,
           o->clients, load->client_count, o->threads);
    printf("\"seconds\": %.3f, \"unit\": \"%s\", \"per_second\": %.1f, ", f.seconds, f.unit,
           f.per_second);
    printf("\"sent\": %lu, \"acked\": %lu, \"delivered\": %lu, \"lost\": %lu, \"duplicate\": %lu, "
           "\"disordered\": %lu, \"foreign\": %lu, \"refused\": %lu, \"closed\": %lu, "
           "\"stalled\": %lu, \"cycles\": %lu, ",
           e->sent, e->acked, e->delivered, r->lost, e->duplicate, e->disordered, e->foreign,
           e->refused, e->closed, e->stalled, e->cycles);
    printf("\"latency_us\": {\"p50\": %.1f, \"p99\": %.1f, \"max\": %.1f}, ",
           hist_percentile_us(&r->latency, 50), hist_percentile_us(&r->latency, 99),
           (double)r->latency.max_ns / 1000);
    printf("\"load_cpu_us\": %.4f, \"connect_s\": %.3f", f.own_us,
           (double)(r->connected.at_ns - r->start.at_ns) / 1e9);
    if (o->pid)
        printf(", \"broker\": {\"cpu_us\": %.4f, \"cpu_percent\": %.3f, \"connect_cpu_us\": %.3f, "
               "\"rss_start\": %lu, \"rss_connected\": %lu, \"rss_end\": %lu, "
               "\"session_bytes\": %.1f}",
               f.broker_us, f.broker_percent, f.connect_us, r->rss_start, r->rss_connected,
               r->rss_end, f.session_bytes);
    printf("}\n");
    fflush(stdout);
}

static void report_text(const struct load *load, const struct result *r)
{
    const struct options *o = &load->options;
    struct figures f = figures_make(load, r);
    const struct sample *e = &r->end;
    printf("%s: %u %s, %s, QoS %d, %u bytes, window %u, %u thread(s), %.1f s\n", o->scenario,
           o->clients, load->scenario->unit,
           o->bare           ? "bare"
           : o->version == 5 ? "MQTT 5"
                             : "MQTT 3.1.1",
           o->qos, o->payload_bytes, o->window, o->threads, f.seconds);
    printf("  rate       %.0f %ss/s\n", f.per_second, f.unit);
    if (load->scenario->flows)
        printf("  messages   sent %lu, acknowledged %lu, delivered %lu, lost %lu, duplicate %lu, "
               "out of order %lu\n",
               e->sent, e->acked, e->delivered, r->lost, e->duplicate, e->disordered);
    if (e->foreign + e->refused + e->closed + e->stalled)
        printf("  trouble    foreign %lu, refused %lu, closed %lu, stalled %lu\n", e->foreign,
               e->refused, e->closed, e->stalled);
    if (r->latency.total)
        printf("  latency    p50 %.0f us, p99 %.0f us, max %.0f us\n",
               hist_percentile_us(&r->latency, 50), hist_percentile_us(&r->latency, 99),
               (double)r->latency.max_ns / 1000);
    if (o->pid) {
        printf(
            "  broker     %.3f us of CPU per %s, %.2f %% of a core; %.1f us per connection made\n",
            f.broker_us, f.unit, f.broker_percent, f.connect_us);
        printf("  memory     RSS %.1f MiB at start, %.1f connected, %.1f at the end; "
               "%.0f bytes per session\n",
               (double)r->rss_start / 1048576, (double)r->rss_connected / 1048576,
               (double)r->rss_end / 1048576, f.session_bytes);
    }
    printf("  load       %.3f us of CPU per %s\n", f.own_us, f.unit);
    fflush(stdout);
}

void load_report(const struct load *load, const struct result *r)
{
    (load->options.json ? report_json : report_text)(load, r);
}
