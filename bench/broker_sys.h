/* broker_sys.h: the loop delay that a Dunlin broker tells in $SYS. */
#ifndef BENCH_BROKER_SYS_H
#define BENCH_BROKER_SYS_H

#include "bench/bench.h"

struct broker_sys;

/* Connects and subscribes; NULL when the broker lets it not, or has no such topics. Never fails
 * the run. Before the workers start, so that its session counts as the broker's own memory. */
struct broker_sys *broker_sys_start(const struct load *load);
/* The longest turn of any reactor that was told so far, microseconds; -1: none was told. */
int64_t broker_sys_delay_us(const struct broker_sys *sys);
void broker_sys_stop(struct broker_sys *sys);

#endif
