/* histogram.c: see histogram.h. */
#include "bench/histogram.h"

#include <math.h>

static uint32_t cell_of(uint64_t ns)
{
    if (ns < HISTOGRAM_SUB)
        return (uint32_t)ns;
    uint32_t shift = 63u - (uint32_t)__builtin_clzll(ns) - HISTOGRAM_SUB_BITS;
    return HISTOGRAM_SUB * shift + (uint32_t)(ns >> shift);
}

static double middle_of(uint32_t cell)
{
    if (cell < HISTOGRAM_SUB)
        return cell;
    uint32_t shift = cell / HISTOGRAM_SUB - 1;
    uint64_t low = (uint64_t)(cell - HISTOGRAM_SUB * shift) << shift;
    return (double)low + (double)((1ull << shift) - 1) / 2;
}

void histogram_add(struct histogram *h, uint64_t ns)
{
    h->cells[cell_of(ns)]++;
    h->count++;
    if (ns > h->max_ns)
        h->max_ns = ns;
}

void histogram_merge(struct histogram *to, const struct histogram *from)
{
    for (uint32_t i = 0; i < HISTOGRAM_CELLS; i++)
        to->cells[i] += from->cells[i];
    to->count += from->count;
    if (from->max_ns > to->max_ns)
        to->max_ns = from->max_ns;
}

double histogram_percentile_ns(const struct histogram *h, double percent)
{
    uint64_t rank = (uint64_t)ceil((double)h->count * percent / 100), sum = 0;
    if (rank == 0)
        rank = 1;
    for (uint32_t i = 0; h->count && i < HISTOGRAM_CELLS; i++) {
        sum += h->cells[i];
        if (sum >= rank)
            return fmin(middle_of(i), (double)h->max_ns);
    }
    return (double)h->max_ns;
}
