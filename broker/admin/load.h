/*
 * load.h: exponential averages per minute over 1, 5 and 15 minutes, as mosquitto and `uptime`
 * count.
 *
 * Pure. The sum of `count` over time goes in; what comes out is what one would expect per minute.
 */
#ifndef ADMIN_LOAD_H
#define ADMIN_LOAD_H

#include <stdint.h>

#define LOAD_SPANS 3u

struct load {
    uint64_t last_count;
    double per_minute[LOAD_SPANS];
};

/* "1min", "5min", "15min" */
const char *load_span_name(uint32_t span);
/* `seconds` (> 0) have passed since the last step, or the start; the counter is at `count` now and
   never goes back. */
void load_step(struct load *load, uint64_t count, double seconds);

#endif
