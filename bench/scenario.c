/* scenario.c: the scenarios: who does them, in which steps, and how they are called. */
#include <string.h>

#include "bench/bench.h"

static uint64_t all_clients(const struct load *load)
{
    return load->crew_clients;
}

static uint64_t all_topics(const struct load *load)
{
    return load->options.topics;
}

static uint64_t all_topics_twice(const struct load *load)
{
    return load->options.topics * 2ull;
}

static uint64_t all_subscribers(const struct load *load)
{
    return load->options.clients;
}

static uint64_t all_filters(const struct load *load)
{
    return load->options.filters;
}

#define OF(counter) offsetof(struct counts, counter)

static const struct step flow_steps[] = {
    {"connect", PHASE_CONNECT, "connection", OF(connected), OF(ready), all_clients, 0},
    {"run", PHASE_RUN, "message", OF(delivered), 0, NULL, STEP_MAIN},
    {0},
};

static const struct step connect_steps[] = {
    {"connect", PHASE_CONNECT, "connection", OF(connected), OF(ready), all_clients, STEP_MAIN},
    {"rest", PHASE_RUN, "ping", OF(pongs), 0, NULL, 0},
    {0},
};

static const struct step ping_steps[] = {
    {"connect", PHASE_CONNECT, "connection", OF(connected), OF(ready), all_clients, 0},
    {"run", PHASE_RUN, "ping", OF(pongs), 0, NULL, STEP_MAIN},
    {0},
};

static const struct step churn_steps[] = {
    {"run", PHASE_RUN, "cycle", OF(cycles), 0, NULL, STEP_MAIN},
    {0},
};

static const struct step storm_steps[] = {
    {"connect", PHASE_CONNECT, "connection", OF(connected), OF(ready), all_clients, 0},
    {"calm", PHASE_RUN, "ping", OF(pongs), 0, NULL, 0},
    {"storm", PHASE_SECOND, "connection", OF(connected), OF(ready), all_clients, STEP_MAIN},
    {0},
};

static const struct step scale_steps[] = {
    {"connect", PHASE_CONNECT, "connection", OF(connected), OF(ready), all_clients, 0},
    {"rest", PHASE_RUN, "ping", OF(pongs), 0, NULL, 0},
    {"messages", PHASE_SECOND, "message", OF(delivered), OF(delivered), all_clients, STEP_MAIN},
    {"return", PHASE_THIRD, "connection", OF(connected), OF(ready), all_clients,
     STEP_WAITS_FOR_ACKS},
    {0},
};

static const struct step retained_steps[] = {
    {"connect", PHASE_CONNECT, "connection", OF(connected), OF(ready), all_clients, 0},
    {"set", PHASE_RUN, "message", OF(acked), OF(acked), all_topics, 0},
    {"replay", PHASE_SECOND, "message", OF(delivered), OF(replays), all_subscribers, STEP_MAIN},
    {"clear", PHASE_THIRD, "message", OF(acked), OF(acked), all_topics_twice, 0},
    {0},
};

static const struct step subscribe_steps[] = {
    {"connect", PHASE_CONNECT, "connection", OF(connected), OF(ready), all_clients, 0},
    {"subscribe", PHASE_RUN, "filter", OF(filters), OF(filters), all_filters, STEP_MAIN},
    {"prove", PHASE_SECOND, "message", OF(delivered), OF(delivered), all_filters, 0},
    {0},
};

static const struct scenario scenarios[] = {
    {"connect", "connections", 1000, 0, "connections", &hold_behaviour, connect_steps, 0,
     "clients connect, subscribe to a topic of their own each, and rest"},
    {"telemetry", "sensors", 1000, 1000, "messages", &flow_behaviour, flow_steps, 0,
     "sensors with a topic each publish to dashboards with wildcards, 1000 messages a second where"
     " no rate and no window is given"},
    {"pairs", "pairs", 50, 0, "messages", &flow_behaviour, flow_steps, 0,
     "publishers, each with a subscriber of its own"},
    {"fanin", "publishers", 100, 0, "messages", &flow_behaviour, flow_steps, 0,
     "publishers to one subscriber"},
    {"fanout", "subscribers", 500, 0, "messages", &flow_behaviour, flow_steps, 0,
     "one publisher to many subscribers"},
    {"shared", "publishers", 10, 0, "messages", &flow_behaviour, flow_steps, 0,
     "publishers to the members of a shared subscription"},
    {"ping", "connections", 1000, 10000, "pings", &hold_behaviour, ping_steps, 0,
     "connected clients send PINGREQ, 10000 a second where no rate is given"},
    {"churn", "cycles at once", 16, 0, "cycles", &churn_behaviour, churn_steps, 0,
     "cycles of connect, subscribe, publish to itself, disconnect"},
    {"storm", "connections", 1000, 0, NULL, &hold_behaviour, storm_steps, 10,
     "all are connected, all are cut at once, and all come back at once, while witnesses (10 pairs)"
     " go on"},
    {"scale", "connections", 1000, 10000, "messages", &scale_behaviour, scale_steps, 0,
     "clients connect, subscribe and rest; each publishes one message to another, 10000 a second"
     " where no rate is given; a tenth is cut and comes back"},
    {"retained", "subscribers", 10, 0, NULL, &retained_behaviour, retained_steps, 0,
     "retained messages are set, and all subscribers want all of them at once"},
    {"subscribe", "subscribers", 100, 0, NULL, &subscribe_behaviour, subscribe_steps, 0,
     "many filters are subscribed to, and each is proved by a message"},
};

const struct scenario *scenario_at(size_t index)
{
    return index < ARRAY_COUNT(scenarios) ? &scenarios[index] : NULL;
}

const struct scenario *scenario_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_COUNT(scenarios); i++)
        if (strcmp(scenarios[i].name, name) == 0)
            return &scenarios[i];
    return NULL;
}

bool scenario_is_flow(const struct scenario *s)
{
    return s->behaviour == &flow_behaviour;
}

bool scenario_is(const struct load *load, const char *name)
{
    return strcmp(load->scenario->name, name) == 0;
}
