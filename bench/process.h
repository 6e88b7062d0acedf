/* process.h: what /proc says about a process: the broker, or this one. */
#ifndef BENCH_PROCESS_H
#define BENCH_PROCESS_H

#include "bench/base.h"

/* CPU time so far, all threads that live, from schedstat; 0 when unknown or `pid` is 0. */
uint64_t process_cpu_ns(int pid);
/* What of it was spent outside of the kernel; 0 when unknown or `pid` is 0. */
uint64_t process_user_ns(int pid);
/* Resident bytes, from smaps_rollup; 0 when unknown or `pid` is 0. */
uint64_t process_rss_bytes(int pid);

#endif
