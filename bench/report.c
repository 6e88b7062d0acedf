/* report.c: prints what a run measured: a table, or one line of JSON. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bench/measure.h"

#define MIB 1048576.0

/* ---- figures ---- */

static double ratio(double a, double b)
{
    return b > 0 || isnan(a) ? a / b : 0;
}

/* A thread that ended takes its CPU time along. */
static double since_us(uint64_t from_ns, uint64_t to_ns)
{
    return to_ns > from_ns ? (double)(to_ns - from_ns) / 1000 : 0;
}

/* One that has ended, and is perhaps not buried yet, has no memory. */
static bool broker_lived(const struct sample *s)
{
    return s->broker_rss && s->broker_cpu_ns;
}

struct figures {
    uint64_t units;
    double seconds, per_second;
    double broker_us, broker_percent; /* CPU for each unit; of a core; NAN: it has ended */
    double user_percent;              /* of it: outside of the kernel */
    double own_us;
};

static struct figures figures_of(const struct step_result *s)
{
    struct figures f = {.units = step_units(s)};
    double units = (double)f.units;
    double broker_us =
        broker_lived(&s->to) ? since_us(s->from.broker_cpu_ns, s->to.broker_cpu_ns) : NAN;
    double user_us =
        broker_lived(&s->to) ? since_us(s->from.broker_user_ns, s->to.broker_user_ns) : NAN;
    f.seconds = (double)(s->to.at_ns - s->from.at_ns) / 1e9;
    f.per_second = ratio(units, f.seconds);
    f.broker_us = ratio(broker_us, units);
    f.broker_percent = ratio(broker_us, f.seconds * 1e4);
    f.user_percent = ratio(user_us, f.seconds * 1e4);
    f.own_us = ratio(since_us(s->from.own_cpu_ns, s->to.own_cpu_ns), units);
    return f;
}

static const struct step_result *main_step(const struct result *r)
{
    for (uint32_t i = 0; i < r->step_count; i++)
        if (r->steps[i].step->flags & STEP_MAIN)
            return &r->steps[i];
    return r->step_count ? &r->steps[r->step_count - 1] : NULL;
}

/* Growth of the broker's memory from before the first connection to when all have rested. */
static uint64_t rss_connected(const struct result *r)
{
    return r->step_count > 1 ? r->steps[1].from.broker_rss : r->end.broker_rss;
}

static double growth_each(uint64_t from, uint64_t to, uint32_t count)
{
    return from && to ? ratio((double)to - (double)from, count) : NAN;
}

static double session_bytes(const struct load *load, const struct result *r)
{
    return growth_each(r->start.broker_rss, rss_connected(r), load->client_count);
}

/* The load tool's own, with everyone connected and at rest. */
static double own_bytes_each(const struct load *load, const struct result *r)
{
    uint64_t to = r->step_count > 1 ? r->steps[1].from.own_rss : r->end.own_rss;
    return growth_each(r->start.own_rss, to, load->client_count);
}

static const char *version_text(const struct options *o)
{
    if (o->bare)
        return "none";
    return o->version == 3 ? "3.1" : o->version == 4 ? "3.1.1" : "5.0";
}

/* ---- JSON ---- */

/* What is not known is null. */
static void json_number(const char *head, double value, int decimals)
{
    if (isnan(value))
        printf("%snull", head);
    else
        printf("%s%.*f", head, decimals, value);
}

static double rss_of(uint64_t bytes)
{
    return bytes ? (double)bytes : NAN;
}

static double told_of(int64_t value)
{
    return value < 0 ? NAN : (double)value;
}

static void json_latency(const char *name, const struct histogram *h)
{
    static const struct {
        const char *name;
        double percent;
    } rows[] = {{"p50", 50}, {"p90", 90}, {"p99", 99}, {"p999", 99.9}};
    printf("\"%s\": {\"count\": %" PRIu64, name, h->count);
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
        printf(", \"%s\": %.1f", rows[i].name, histogram_percentile_ns(h, rows[i].percent) / 1000);
    printf(", \"max\": %.1f}", (double)h->max_ns / 1000);
}

static void json_step(const struct load *load, const struct step_result *s)
{
    struct figures f = figures_of(s);
    printf("\"%s\": {\"unit\": \"%s\", \"count\": %" PRIu64 ", \"seconds\": %.6f, "
           "\"per_second\": %.1f, \"complete\": %s, \"load_cpu_us\": %.4f, ",
           s->step->name, s->step->unit, f.units, f.seconds, f.per_second,
           s->complete ? "true" : "false", f.own_us);
    json_latency("latency_us", &s->latency);
    if (load->options.witnesses && s->step->phase != PHASE_CONNECT) {
        printf(", ");
        json_latency("witness_us", &s->witness);
    }
    if (load->options.pid) {
        json_number(", \"broker\": {\"cpu_us\": ", f.broker_us, 4);
        json_number(", \"cpu_percent\": ", f.broker_percent, 4);
        json_number(", \"user_percent\": ", f.user_percent, 4);
        json_number(", \"rss\": ", rss_of(s->to.broker_rss), 0);
        printf("}");
    }
    printf("}");
}

static void json_broker(const struct load *load, const struct result *r)
{
    const struct step_result *s = main_step(r);
    struct figures f = figures_of(s);
    double connect_us = s->step->phase == PHASE_CONNECT || r->steps[0].step->phase != PHASE_CONNECT
                            ? f.broker_us
                            : figures_of(&r->steps[0]).broker_us;
    json_number(", \"broker\": {\"cpu_us\": ", f.broker_us, 4);
    json_number(", \"cpu_percent\": ", f.broker_percent, 4);
    json_number(", \"connect_cpu_us\": ", connect_us, 3);
    json_number(", \"rss_start\": ", rss_of(r->start.broker_rss), 0);
    json_number(", \"rss_connected\": ", rss_of(rss_connected(r)), 0);
    json_number(", \"rss_end\": ", rss_of(r->end.broker_rss), 0);
    json_number(", \"session_bytes\": ", session_bytes(load, r), 1);
    json_number(", \"clients_before\": ", told_of(r->told.clients_before), 0);
    json_number(", \"loop_delay_us\": ", told_of(r->told.delay_us), 0);
    printf("}");
}

static bool witnesses_go_first(const struct load *load)
{
    return load->options.witnesses && load->workers[load->crew].goes_first;
}

static void json_head(const struct load *load)
{
    const struct options *o = &load->options;
    printf(
        "{\"scenario\": \"%s\", \"bare\": %s, \"websocket\": %s, \"version\": \"%s\", \"qos\": %u, "
        "\"payload\": %u, \"window\": %u, \"rate\": %.12g, \"clients\": %u, "
        "\"connections\": %u, \"witnesses\": %u, \"witnesses_first\": %s, \"threads\": %u, ",
        o->scenario, o->bare ? "true" : "false", o->websocket ? "true" : "false", version_text(o),
        o->qos, o->payload_bytes, o->rate > 0 ? 0u : o->window, o->rate, o->clients,
        load->client_count, o->witnesses, witnesses_go_first(load) ? "true" : "false", load->crew);
}

void report_json(const struct load *load, const struct result *r)
{
    const struct step_result *s = main_step(r);
    json_head(load);
    if (s) {
        struct figures f = figures_of(s);
        printf("\"unit\": \"%s\", \"seconds\": %.6f, \"per_second\": %.1f, ", s->step->unit,
               f.seconds, f.per_second);
        json_latency("latency_us", &s->latency);
        printf(", ");
    }
#define X(name, text) \
    printf("\"%s\": %" PRIu64 ", ", #name, r->end.crew.name + r->end.witness.name);
    COUNTS(X)
#undef X
    if (r->late.count) {
        json_latency("late_us", &r->late);
        printf(", ");
    }
    printf("\"lost\": %" PRIu64 ", \"unacked\": %" PRIu64
           ", \"stopped\": %s, \"load_bytes\": %.1f, \"steps\": {",
           r->lost, r->unacked, r->stopped ? "true" : "false", own_bytes_each(load, r));
    for (uint32_t i = 0; i < r->step_count; i++) {
        printf("%s", i ? ", " : "");
        json_step(load, &r->steps[i]);
    }
    printf("}");
    if (load->options.pid && s)
        json_broker(load, r);
    printf("}\n");
    bench_flush();
}

/* ---- the table ---- */

/* A number with commas between thousands. */
static const char *commas(char text[32], double number, int decimals)
{
    char plain[32];
    snprintf(plain, sizeof plain, "%.*f", decimals, number);
    int whole = (int)strcspn(plain, "."), out = 0;
    for (int i = 0; plain[i] && out < 30; i++) {
        if (i && i < whole && (whole - i) % 3 == 0 && plain[i - 1] != '-')
            text[out++] = ',';
        text[out++] = plain[i];
    }
    text[out] = 0;
    return text;
}

/* The same, or a dash for what is not known. */
static const char *number(char text[32], double value, int decimals)
{
    return isnan(value) ? "-" : commas(text, value, decimals);
}

static void print_latency(const struct histogram *h)
{
    static const double percents[] = {50, 90, 99, 99.9};
    char text[32];
    if (!h->count) {
        printf(" %10s %10s %10s %10s %10s", "-", "-", "-", "-", "-");
        return;
    }
    for (size_t i = 0; i < ARRAY_COUNT(percents); i++)
        printf(" %10s", commas(text, histogram_percentile_ns(h, percents[i]) / 1000, 0));
    printf(" %10s", commas(text, (double)h->max_ns / 1000, 0));
}

static void print_step(const struct load *load, const struct step_result *s)
{
    struct figures f = figures_of(s);
    char what[32], a[32], b[32];
    snprintf(what, sizeof what, "%ss", s->step->unit);
    printf("%-10s %11s %-11s %9.3f %11s", s->step->name, commas(a, (double)f.units, 0), what,
           f.seconds, commas(b, f.per_second, 0));
    print_latency(&s->latency);
    if (load->options.pid)
        printf(" %10s %7s", number(a, f.units ? f.broker_us : NAN, 3),
               number(b, f.broker_percent, 2));
    printf("%s\n", s->complete ? "" : "  (not complete)");
    if (!load->options.witnesses || s->step->phase == PHASE_CONNECT)
        return;
    printf("%-10s %11s %-11s %9s %11s", "", commas(a, (double)s->witness.count, 0), "witnessed", "",
           "");
    print_latency(&s->witness);
    printf("\n");
}

static void print_table(const struct load *load, const struct result *r)
{
    printf("%-10s %11s %-11s %9s %11s %10s %10s %10s %10s %10s", "step", "", "", "seconds",
           "a second", "p50 us", "p90", "p99", "p99.9", "max");
    if (load->options.pid)
        printf(" %10s %7s", "CPU us/1", "% core");
    printf("\n");
    for (uint32_t i = 0; i < r->step_count; i++)
        print_step(load, &r->steps[i]);
}

static void print_messages(const struct result *r)
{
    char a[32], b[32], c[32], d[32], e[32], g[32];
    const struct sums *x = &r->end.crew, *y = &r->end.witness;
    printf(
        "\nmessages   sent %s, acknowledged %s, delivered %s, lost %s, duplicate %s, out of order"
        " %s\n",
        commas(a, (double)(x->sent + y->sent), 0), commas(b, (double)(x->acked + y->acked), 0),
        commas(c, (double)(x->delivered + y->delivered), 0), commas(d, (double)r->lost, 0),
        commas(e, (double)(x->duplicate + y->duplicate), 0),
        commas(g, (double)(x->disordered + y->disordered), 0));
}

static void print_trouble(const struct result *r)
{
    const struct sums *x = &r->end.crew, *y = &r->end.witness;
#define TROUBLE(name, text) \
    if (x->name + y->name)  \
        printf("trouble    %s %" PRIu64 ": %s\n", #name, x->name + y->name, text);
#define X(name, text)                                                    \
    if (offsetof(struct sums, name) >= offsetof(struct sums, refused) || \
        offsetof(struct sums, name) == offsetof(struct sums, foreign)) { \
        TROUBLE(name, text)                                              \
    }
    COUNTS(X)
#undef X
#undef TROUBLE
    if (r->unacked)
        printf("trouble    unacked %" PRIu64 ": PUBLISH without their PUBACK or PUBCOMP\n",
               r->unacked);
}

static void print_loop_delay(const struct result *r)
{
    if (r->told.delay_us >= 0)
        printf("           loop delay up to %" PRId64 " us\n", r->told.delay_us);
    else if (!r->has_sys)
        printf("           loop delay unknown: the broker does not let this user read $SYS\n");
    else if (!r->told.has_delay)
        printf("           loop delay unknown: $SYS does not tell it (Dunlin's does, unless"
               " sys_interval is 0)\n");
    else
        printf(
            "           loop delay unknown: this run did not last for a whole sys_interval of the"
            " broker (10 s by default),\n"
            "           from one figure of $SYS to the next: set that to 1, or more --seconds\n");
}

static void print_broker(const struct load *load, const struct result *r)
{
    char a[32], b[32], c[32], d[32];
    printf("broker     RSS %s MiB at first, %s connected, %s at last; %s bytes per connection\n",
           number(a, rss_of(r->start.broker_rss) / MIB, 1),
           number(b, rss_of(rss_connected(r)) / MIB, 1),
           number(c, rss_of(r->end.broker_rss) / MIB, 1), number(d, session_bytes(load, r), 0));
    if (!broker_lived(&r->end))
        printf("           its process has ended\n");
    if (r->told.clients_before > 0)
        printf("           %" PRId64
               " clients were connected to it at once before: memory that they"
               " left is used again, and bytes\n"
               "           per connection mean something for a broker that has just been started\n",
               r->told.clients_before);
    if (broker_lived(&r->end) || r->told.delay_us >= 0)
        print_loop_delay(r);
}

/* In an open loop its own lateness is in every latency: who doubts a figure looks here. */
static void print_tool(const struct load *load, const struct result *r)
{
    char a[32], b[32];
    printf("load tool  %.0f bytes per connection", own_bytes_each(load, r));
    if (r->late.count)
        printf("; sent after it was due: p50 %s us, p99 %s us",
               commas(a, histogram_percentile_ns(&r->late, 50) / 1000, 0),
               commas(b, histogram_percentile_ns(&r->late, 99) / 1000, 0));
    printf("\n");
    if (load->options.witnesses)
        printf("witnesses  %s\n", witnesses_go_first(load)
                                      ? "run before all else on their core (real-time priority)"
                                      : "wait for a core as the load tool does, and that counts as "
                                        "latency; as root they would not");
}

void report_text(const struct load *load, const struct result *r)
{
    const struct options *o = &load->options;
    char clients[32];
    printf("%s: %s %s", o->scenario, commas(clients, o->clients, 0), load->scenario->clients_text);
    if (o->bare)
        printf(", no MQTT");
    else
        printf(", MQTT %s%s, QoS %u", version_text(o), o->websocket ? " over WebSocket" : "",
               o->qos);
    printf(", %u bytes", o->payload_bytes);
    if (o->rate > 0 && load->scenario->rate_text)
        printf(", open loop: %.12g %s a second", o->rate, load->scenario->rate_text);
    else if (scenario_is_flow(load->scenario))
        printf(", closed loop: window %u", o->window);
    printf(", %u thread%s\n\n", load->crew, load->crew > 1 ? "s" : "");
    print_table(load, r);
    if (r->end.crew.sent + r->end.witness.sent)
        print_messages(r);
    else
        printf("\n");
    print_trouble(r);
    if (o->pid)
        print_broker(load, r);
    print_tool(load, r);
    bench_flush();
}
