/* measure.h: what a run measures, on the main thread. */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include "bench/bench.h"
#include "bench/broker_sys.h"

struct sums {
#define X(name, text) uint64_t name;
    COUNTS(X)
#undef X
};

/* Everything that is taken at one moment. */
struct sample {
    uint64_t at_ns, broker_cpu_ns, broker_user_ns, own_cpu_ns;
    uint64_t broker_rss, own_rss;
    struct sums crew, witness;
};

struct step_result {
    const struct step *step;
    struct sample from, to;
    struct histogram latency, witness;
    bool complete; /* it came to its end: all there, or all its time */
};

struct result {
    struct sample start, end;
    struct step_result steps[STEPS_MAX];
    uint32_t step_count;
    struct histogram late; /* open loop: how late the load tool itself was, without witnesses */
    uint64_t lost, unacked;
    struct broker_told told; /* by the broker, in $SYS */
    bool has_sys;            /* it lets us read that */
    bool stopped;            /* by ^C */
};

/* Takes what is to be taken before the workers run, but for start.own_rss: it is of before they
 * were planned. */
void measure_start(struct load *load, struct result *r);
/* Goes through the steps until all that counts is in `r`. The workers run on. */
void measure_steps(struct load *load, struct result *r, struct broker_sys *sys);
/* Whether all went well: all that was sent came once, in order, and was answered, nothing was refused
 * or closed, and every step came to its end. */
bool result_is_good(const struct result *r);
/* Units of a step between its samples. */
uint64_t step_units(const struct step_result *s);

void report_text(const struct load *load, const struct result *r);
void report_json(const struct load *load, const struct result *r);

#endif
