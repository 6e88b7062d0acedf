/* pace.h: when the next of a series is due, whatever became of those before it. */
#ifndef BENCH_PACE_H
#define BENCH_PACE_H

#include "bench/base.h"

struct pace {
    uint64_t start_ns; /* 0: not started */
    uint64_t count;    /* those that have had their turn */
    double per_second; /* 0: no pace */
};

static inline uint64_t pace_due_ns(const struct pace *p)
{
    return p->start_ns + (uint64_t)((double)p->count * (double)SECOND_NS / p->per_second);
}

/* How many are due before `end_ns` and have not had their turn. */
uint64_t pace_behind(const struct pace *p, uint64_t end_ns);

#endif
