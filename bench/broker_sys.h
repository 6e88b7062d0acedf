/* broker_sys.h: what a Dunlin broker tells of itself in $SYS: loop delay, clients before the run. */
#ifndef BENCH_BROKER_SYS_H
#define BENCH_BROKER_SYS_H

#include "bench/bench.h"

struct broker_sys;

struct broker_told {
    int64_t delay_us; /* the longest turn of any reactor, of whole intervals; -1: none passed */
    int64_t clients_before; /* most that were connected at once before the run; -1: not told */
    uint64_t interval_ns;   /* between the last two rounds of $SYS; 0: fewer came */
    uint32_t rounds;        /* of $SYS, since we subscribed */
    bool has_ended;         /* it will tell no more */
    bool has_delay;         /* it is a broker that tells its loop delay */
};

/* Connects and subscribes; NULL when the broker lets it not. Never fails
 * the run. Before the workers start, so that its session counts as the broker's own memory. */
struct broker_sys *broker_sys_start(const struct load *load);
/* What it has told so far. `sys` may be NULL. */
struct broker_told broker_sys_told(struct broker_sys *sys);
void broker_sys_stop(struct broker_sys *sys);

#endif
