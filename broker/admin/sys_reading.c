/*
 * sys_reading.c: see sys_reading.h.
 */
#include "admin/sys_reading.h"

#include <unistd.h>

static const enum metric load_metrics[LOAD_COUNT] = {
#define X(name, topic, metric) [LOAD_##name] = METRIC_##metric,
    LOAD_TABLE(X)
#undef X
};

static void add_all(uint64_t *sums, const _Atomic uint64_t *counters, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        sums[i] += metric_read(&counters[i]);
}

static void read_counters(struct sys_reading *reading, const struct reactor_group *group)
{
    memset(reading->counters, 0, sizeof(reading->counters));
    memset(reading->dropped, 0, sizeof(reading->dropped));
    memset(reading->closed, 0, sizeof(reading->closed));
    for (uint32_t i = 0; i < group->count; i++) {
        const struct metrics *metrics = group->reactors[i].metrics;
        add_all(reading->counters, metrics->counters, METRIC_COUNT);
        add_all(reading->dropped, metrics->dropped, DROP_COUNT);
        add_all(reading->closed, metrics->closed, CLOSE_COUNT);
    }
}

/* The maximum is taken away with the reading: a turn that its reactor counts just now may be lost.
 */
static void read_reactor(struct sys_reactor *out, struct metrics *metrics)
{
    uint64_t turns = metric_read(&metrics->counters[METRIC_TURNS]);
    uint64_t delay_us = metric_read(&metrics->counters[METRIC_LOOP_DELAY_US]);
    out->delay_us_avg = turns > out->turns ? (delay_us - out->delay_us) / (turns - out->turns) : 0;
    out->turns = turns;
    out->delay_us = delay_us;
    out->delay_us_max =
        atomic_exchange_explicit(&metrics->loop_delay_max_us, 0, memory_order_relaxed);
    out->connections = metric_read(&metrics->counters[METRIC_CLIENTS_CONNECTED]);
}

static void read_loads(struct sys_reading *reading, uint64_t now_ms)
{
    if (reading->at_ms == 0 || now_ms <= reading->at_ms)
        return;
    double seconds = (double)(now_ms - reading->at_ms) / 1000;
    for (uint32_t i = 0; i < LOAD_COUNT; i++)
        load_step(&reading->loads[i], reading->counters[load_metrics[i]], seconds);
}

/* What cannot be read keeps its value; what could not be read at start counts from when it can. */
static void read_netstat(struct sys_reading *reading)
{
    struct netstat now;
    if (reading->netstat_fd < 0)
        reading->netstat_fd = netstat_open();
    if (!netstat_read(reading->netstat_fd, &now))
        return;
    if (!reading->has_netstat)
        reading->netstat_at_start = now;
    reading->has_netstat = true;
    reading->netstat = now;
}

void sys_reading_begin(struct sys_reading *reading)
{
    reading->netstat_fd = netstat_open();
    read_netstat(reading);
}

void sys_reading_end(struct sys_reading *reading)
{
    if (reading->netstat_fd >= 0)
        close(reading->netstat_fd);
}

void sys_reading_take(struct sys_reading *reading, struct broker *broker, uint64_t now_ms)
{
    read_counters(reading, broker->group);
    for (uint32_t i = 0; i < broker->group->count; i++)
        read_reactor(&reading->reactors[i], broker->group->reactors[i].metrics);
    read_loads(reading, now_ms);
    index_stats(broker->index, &reading->index);
    retained_stats(broker->retained, &reading->retained);
    read_netstat(reading);
    reading->clients_max = atomic_load_explicit(&broker->clients_max, memory_order_relaxed);
    reading->uptime_s = (now_ms - broker->started_ms) / 1000;
    reading->at_ms = now_ms;
}
