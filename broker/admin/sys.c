/*
 * sys.c: see sys.h.
 *
 *   every sys_interval: take a reading -> job: row 0, 1, 2, ... a slice per run -> done
 *
 * A row is a topic and a function of the reading. The rows that are always there are a table; the
 * rest (counters, reasons, averages, reactors) come from the tables that count.
 *
 * Threads: reactor 0. Cost: one reading, then about a microsecond for each value that changed.
 */
#include "admin/sys.h"

#include <stdio.h>

#include "admin/sys_reading.h"
#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"
#include "conn/publish.h"
#include "runtime/log.h"

#define ROWS_PER_SLICE 16u
#define TOPIC_BYTES 96u
#define SYS_QOS 2u /* as mosquitto: the subscription decides */

enum sys_format { SYS_NUMBER, SYS_SECONDS, SYS_HUNDREDTHS };

typedef uint64_t (*sys_reader)(const struct sys_reading *reading, uint32_t arg);

struct sys_row {
    char topic[TOPIC_BYTES];
    sys_reader read;
    uint32_t arg;
    uint8_t format; /* enum sys_format */
    bool is_out;    /* published at least once */
    uint64_t last;  /* as published */
};

struct sys {
    struct job job;
    struct broker *broker;
    struct sys_reading reading;
    struct sys_row *rows;
    uint32_t count, cap, at; /* at: the next to publish in this round */
    bool has_said_version, is_running;
};

/* ---- readers ---- */

static uint64_t read_counter(const struct sys_reading *r, uint32_t metric)
{
    return r->counters[metric];
}

/* Summed while others count, a gauge may look negative for a moment. */
static uint64_t read_gauge(const struct sys_reading *r, uint32_t metric)
{
    int64_t value = (int64_t)r->counters[metric];
    return value > 0 ? (uint64_t)value : 0;
}

static uint64_t read_dropped(const struct sys_reading *r, uint32_t reason)
{
    return r->dropped[reason];
}

static uint64_t read_closed(const struct sys_reading *r, uint32_t reason)
{
    return r->closed[reason];
}

static uint64_t read_load(const struct sys_reading *r, uint32_t arg)
{
    return (uint64_t)(r->loads[arg / LOAD_SPANS].per_minute[arg % LOAD_SPANS] * 100 + 0.5);
}

static uint64_t read_disconnected(const struct sys_reading *r, uint32_t arg)
{
    (void)arg;
    uint64_t sessions = read_gauge(r, METRIC_SESSIONS);
    uint64_t connected = read_gauge(r, METRIC_CLIENTS_CONNECTED);
    return sessions > connected ? sessions - connected : 0;
}

static uint64_t read_stored(const struct sys_reading *r, uint32_t arg)
{
    (void)arg;
    return read_gauge(r, METRIC_STORED_MESSAGES) + r->retained.messages;
}

static uint64_t read_stored_bytes(const struct sys_reading *r, uint32_t arg)
{
    (void)arg;
    return read_gauge(r, METRIC_STORED_BYTES) + r->retained.payload_bytes;
}

/* Any uint64_t of the reading itself, by its place. */
static uint64_t read_field(const struct sys_reading *r, uint32_t offset)
{
    return *(const uint64_t *)((const uint8_t *)r + offset);
}

static uint64_t read_listen_overflows(const struct sys_reading *r, uint32_t arg)
{
    (void)arg;
    return r->netstat.listen_overflows - r->netstat_at_start.listen_overflows;
}

static uint64_t read_listen_drops(const struct sys_reading *r, uint32_t arg)
{
    (void)arg;
    return r->netstat.listen_drops - r->netstat_at_start.listen_drops;
}

static uint64_t read_heap(const struct sys_reading *r, uint32_t arg)
{
    (void)r, (void)arg;
    return mem_used_bytes();
}

static uint64_t read_heap_max(const struct sys_reading *r, uint32_t arg)
{
    (void)r, (void)arg;
    return mem_used_bytes_max();
}

static uint64_t read_log_lost(const struct sys_reading *r, uint32_t arg)
{
    (void)r, (void)arg;
    return log_lost_lines();
}

static uint64_t read_log_held_back(const struct sys_reading *r, uint32_t arg)
{
    (void)r, (void)arg;
    return log_held_back_lines();
}

static uint64_t read_reactor_avg(const struct sys_reading *r, uint32_t reactor)
{
    return r->reactors[reactor].delay_us_avg;
}

static uint64_t read_reactor_max(const struct sys_reading *r, uint32_t reactor)
{
    return r->reactors[reactor].delay_us_max;
}

static uint64_t read_reactor_connections(const struct sys_reading *r, uint32_t reactor)
{
    return r->reactors[reactor].connections;
}

/* ---- rows ---- */

#define FIELD(name) read_field, offsetof(struct sys_reading, name)

static const struct {
    const char *topic;
    sys_reader read;
    uint32_t arg;
    uint8_t format;
} fixed_rows[] = {
    {"uptime", FIELD(uptime_s), SYS_SECONDS},
    {"clients/total", read_gauge, METRIC_SESSIONS, SYS_NUMBER},
    {"clients/connected", read_gauge, METRIC_CLIENTS_CONNECTED, SYS_NUMBER},
    {"clients/active", read_gauge, METRIC_CLIENTS_CONNECTED, SYS_NUMBER},
    {"clients/disconnected", read_disconnected, 0, SYS_NUMBER},
    {"clients/inactive", read_disconnected, 0, SYS_NUMBER},
    {"clients/maximum", FIELD(clients_max), SYS_NUMBER},
    {"messages/stored", read_stored, 0, SYS_NUMBER},
    {"store/messages/count", read_stored, 0, SYS_NUMBER},
    {"store/messages/bytes", read_stored_bytes, 0, SYS_NUMBER},
    {"subscriptions/count", FIELD(index.subscriptions), SYS_NUMBER},
    {"shared_subscriptions/count", FIELD(index.shared_subscriptions), SYS_NUMBER},
    {"retained messages/count", FIELD(retained.messages), SYS_NUMBER},
    {"heap/current", read_heap, 0, SYS_NUMBER},
    {"heap/maximum", read_heap_max, 0, SYS_NUMBER},
    {"connections/listen_overflows", read_listen_overflows, 0, SYS_NUMBER},
    {"connections/listen_drops", read_listen_drops, 0, SYS_NUMBER},
    {"log_lines/lost", read_log_lost, 0, SYS_NUMBER},
    {"log_lines/held_back", read_log_held_back, 0, SYS_NUMBER},
};

static const char *const load_topics[LOAD_COUNT] = {
#define X(name, topic, metric) [LOAD_##name] = topic,
    LOAD_TABLE(X)
#undef X
};

static void add_row(struct sys *sys, sys_reader read, uint32_t arg, enum sys_format format,
                    const char *topic)
{
    if (sys->count == sys->cap) {
        sys->cap = sys->cap ? sys->cap * 2 : 256;
        sys->rows = mem_realloc(sys->rows, sys->cap * sizeof(*sys->rows));
        BUG_ON(!sys->rows); /* at the start only */
    }
    struct sys_row *row = &sys->rows[sys->count++];
    *row = (struct sys_row){.read = read, .arg = arg, .format = (uint8_t)format};
    int bytes = snprintf(row->topic, sizeof(row->topic), SYS_PREFIX "%s", topic);
    BUG_ON(bytes >= (int)sizeof(row->topic));
}

static void add_counted_rows(struct sys *sys)
{
    char topic[TOPIC_BYTES];
    for (uint32_t i = 0; i < METRIC_COUNT; i++) {
        if (metric_topic(i))
            add_row(sys, read_counter, i, SYS_NUMBER, metric_topic(i));
    }
    for (uint32_t i = 0; i < DROP_COUNT; i++) {
        snprintf(topic, sizeof(topic), "dropped/%s", drop_reason_name(i));
        add_row(sys, read_dropped, i, SYS_NUMBER, topic);
    }
    for (uint32_t i = 0; i < CLOSE_COUNT; i++) {
        snprintf(topic, sizeof(topic), "closed/%s", close_reason_name(i));
        add_row(sys, read_closed, i, SYS_NUMBER, topic);
    }
    for (uint32_t i = 0; i < LOAD_COUNT * LOAD_SPANS; i++) {
        snprintf(topic, sizeof(topic), "load/%s/%s", load_topics[i / LOAD_SPANS],
                 load_span_name(i % LOAD_SPANS));
        add_row(sys, read_load, i, SYS_HUNDREDTHS, topic);
    }
}

static void add_reactor_rows(struct sys *sys)
{
    static const struct {
        const char *topic;
        sys_reader read;
    } rows[] = {{"loop_delay_us_avg", read_reactor_avg},
                {"loop_delay_us_max", read_reactor_max},
                {"connections", read_reactor_connections}};
    char topic[TOPIC_BYTES];
    for (uint32_t i = 0; i < sys->broker->group->count; i++) {
        for (uint32_t j = 0; j < ARRAY_COUNT(rows); j++) {
            snprintf(topic, sizeof(topic), "reactors/%u/%s", i, rows[j].topic);
            add_row(sys, rows[j].read, i, SYS_NUMBER, topic);
        }
    }
}

/* ---- rounds ---- */

static void publish_row(struct sys *sys, struct worker *worker, struct sys_row *row)
{
    uint64_t value = row->read(&sys->reading, row->arg);
    char text[48];
    if (row->is_out && row->last == value)
        return;
    row->is_out = true;
    row->last = value;
    unsigned long long number = value;
    int bytes = 0;
    if (row->format == SYS_HUNDREDTHS)
        bytes = snprintf(text, sizeof(text), "%llu.%02llu", number / 100, number % 100);
    else
        bytes = snprintf(text, sizeof(text), "%llu%s", number,
                         row->format == SYS_SECONDS ? " seconds" : "");
    publish_own(worker, slice_str(row->topic), slice_of(text, (size_t)bytes), SYS_QOS,
                MESSAGE_RETAIN);
}

static bool sys_run(struct reactor *reactor, struct job *job)
{
    struct sys *sys = CONTAINER_OF(job, struct sys, job);
    struct worker *worker = worker_of(reactor);
    if (!sys->has_said_version) {
        sys->has_said_version = true;
        publish_own(worker, SLICE_LIT(SYS_PREFIX "version"),
                    SLICE_LIT("dunlin version " DUNLIN_VERSION), SYS_QOS, MESSAGE_RETAIN);
    }
    for (uint32_t left = ROWS_PER_SLICE; left && sys->at < sys->count; left--)
        publish_row(sys, worker, &sys->rows[sys->at++]);
    sys->is_running = sys->at < sys->count;
    return !sys->is_running;
}

/* Reads the figures of a round that is due: by the interval of now, which a reload may change. */
static bool round_begin(struct sys *sys, struct worker *worker, uint64_t now_ms)
{
    uint32_t interval_s = broker_config(worker->broker)->sys_interval_s;
    uint64_t last_ms = sys->reading.at_ms;
    bool is_due = last_ms == 0 || now_ms >= last_ms + interval_s * 1000ull;
    if (interval_s == 0 || sys->is_running || !is_due)
        return false;
    sys_reading_take(&sys->reading, worker->broker, now_ms);
    sys->at = 0;
    return sys->is_running = true;
}

void sys_begin(struct sys *sys, struct worker *worker)
{
    if (!round_begin(sys, worker, clock_now_ms()))
        return;
    while (!sys_run(worker->reactor, &sys->job)) {
    }
}

void sys_tick(struct sys *sys, struct worker *worker)
{
    if (round_begin(sys, worker, worker->reactor->now_ms))
        reactor_job_add(worker->reactor, &sys->job);
}

/* ---- life ---- */

struct sys *sys_new(struct broker *broker)
{
    struct sys *sys = mem_must_zalloc(sizeof(*sys));
    sys->broker = broker;
    sys->job.run = sys_run;
    sys_reading_begin(&sys->reading);
    sys->reading.reactors = mem_must_zalloc(broker->group->count * sizeof(*sys->reading.reactors));
    for (uint32_t i = 0; i < ARRAY_COUNT(fixed_rows); i++)
        add_row(sys, fixed_rows[i].read, fixed_rows[i].arg, fixed_rows[i].format,
                fixed_rows[i].topic);
    add_counted_rows(sys);
    add_reactor_rows(sys);
    return sys;
}

void sys_free(struct sys *sys)
{
    sys_reading_end(&sys->reading);
    mem_free(sys->reading.reactors);
    mem_free(sys->rows);
    mem_free(sys);
}
