/* flow.h: what the other parts know of messages in groups; see flow.c. */
#ifndef BENCH_FLOW_H
#define BENCH_FLOW_H

#include "bench/bench.h"

/* How many groups there are: no more workers than that are of use. */
uint32_t flow_groups(const struct load *load);
/* --bare: the line that the relay wants first; returns its length. */
uint32_t flow_bare_greeting(const struct client *c, char text[TEXT_MAX]);
/* --bare: a record came from the relay. */
void flow_on_record(struct client *c, const uint8_t *payload, uint32_t len);

#endif
