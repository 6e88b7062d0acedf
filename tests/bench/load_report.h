/* load_report.h: what a run measures, on the main thread. */
#ifndef BENCH_LOAD_REPORT_H
#define BENCH_LOAD_REPORT_H

#include "load.h"

/* Everything that is taken at one moment. */
struct sample {
    uint64_t at_ns, broker_cpu_ns, own_cpu_ns;
    uint64_t ready, sent, acked, delivered, duplicate, disordered, foreign, refused, closed;
    uint64_t stalled, cycles;
};

struct result {
    struct sample start, connected, from, to, end;
    uint64_t rss_start, rss_connected, rss_end;
    uint64_t lost;
    struct hist latency;
};

/* CPU of a process so far in nanoseconds, from each thread's schedstat; 0 when unknown. */
uint64_t process_cpu_ns(int pid);
/* Resident bytes of a process; 0 when unknown. */
uint64_t process_rss_bytes(int pid);

/* Takes what is to be taken before the workers run. */
void load_start(struct load *load, struct result *r);
/* Goes through the phases until all that counts is in `r`. The workers run on. */
void load_measure(struct load *load, struct result *r);
void load_report(const struct load *load, const struct result *r);

#endif
