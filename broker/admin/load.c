/*
 * load.c: see load.h.
 *
 *   average' = rate + e^(-seconds / span) * (average - rate)
 */
#include "admin/load.h"

#include <math.h>

static const struct {
    const char *name;
    double seconds;
} spans[LOAD_SPANS] = {{"1min", 60}, {"5min", 300}, {"15min", 900}};

const char *load_span_name(uint32_t span)
{
    return spans[span].name;
}

void load_step(struct load *load, uint64_t count, double seconds)
{
    double rate = (double)(count - load->last_count) * 60 / seconds;
    load->last_count = count;
    for (uint32_t i = 0; i < LOAD_SPANS; i++) {
        double kept = exp(-seconds / spans[i].seconds);
        load->per_minute[i] = rate + kept * (load->per_minute[i] - rate);
    }
}
