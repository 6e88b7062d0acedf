/*
 * histogram.h: how often a duration was seen, to 1/32 of itself.
 *
 *   0 1 2 ... 31 | 32 33 ... 63 | 64 66 ... 126 | 128 132 ...      nanoseconds
 *     32 cells       32 cells       32 cells         32 cells for each power of two
 *
 * Adding is a handful of instructions and no branch that could be missed; 15 KB each. One writer.
 */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include "bench/base.h"

#define HISTOGRAM_SUB_BITS 5
#define HISTOGRAM_SUB (1u << HISTOGRAM_SUB_BITS)
#define HISTOGRAM_CELLS (HISTOGRAM_SUB * (64 - HISTOGRAM_SUB_BITS + 1))

struct histogram {
    uint64_t cells[HISTOGRAM_CELLS];
    uint64_t count, max_ns;
};

void histogram_add(struct histogram *h, uint64_t ns);
void histogram_merge(struct histogram *to, const struct histogram *from);
/* The middle of the cell of the smallest value that at least `percent` of all do not exceed, never
 * above the largest; 0 when there is none. */
double histogram_percentile_ns(const struct histogram *h, double percent);

#endif
